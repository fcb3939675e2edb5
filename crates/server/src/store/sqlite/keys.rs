//! The vault's rows: seeds and keys.

use keyward_license::{ids::Kid, time::Timestamp};
use rusqlite::{Connection, params};

use super::{
    Store,
    connection::Statements,
    exchange::{Space, is_exchange_value, space},
    founding::record_event,
    issuance::key_row,
    milliseconds,
    roots::is_root_value,
    signed,
};
use crate::{
    Error,
    fail_points::Write,
    store::{KeyRow, KeySource},
};

impl Store {
    /// The sealed seed of a number.
    pub(crate) async fn seed(&self, number: u64) -> Result<Option<Vec<u8>>, Error> {
        let number = signed("a seed number", number)?;
        self.read(|db| Ok(db.value_if_any("SELECT sealed FROM seeds WHERE number = ?1", [number])?))
            .await
    }

    /// Adds a seed under the next number, which it returns. `seal` binds it to that number; `imported` says that it
    /// came from elsewhere.
    pub(crate) async fn add_seed(
        &self,
        imported: bool,
        seal: impl FnOnce(u64) -> Result<Vec<u8>, Error> + Send + 'static,
        now: Timestamp,
    ) -> Result<u64, Error> {
        self.run_sealed(Write::Seed, move |db| {
            let last: i64 = db.value("SELECT max(number) FROM seeds", [])?;
            let number = last
                .checked_add(1)
                .ok_or(Error::Damaged("there are too many seeds"))?;
            let unsigned = super::unsigned(number)?;
            let sealed = seal(unsigned)?;
            db.run(
                "INSERT INTO seeds (number, sealed, created_at, imported) VALUES (?1, ?2, ?3, ?4)",
                params![number, sealed, milliseconds(now), imported],
            )?;
            record_event(db, now, "seed-added", &number.to_string(), "")?;
            Ok(unsigned)
        })
        .await
    }

    /// The number of the newest seed that was made here.
    pub(crate) async fn newest_seed(&self) -> Result<u64, Error> {
        let newest = |db: &Connection| {
            let number: Option<i64> = db.value("SELECT max(number) FROM seeds WHERE imported = 0", [])?;
            super::unsigned(number.ok_or(Error::Damaged("there is no license key seed"))?)
        };
        self.read(newest).await
    }

    /// A registered key id.
    pub(crate) async fn key(&self, kid: &Kid) -> Result<Option<KeyRow>, Error> {
        let read = self.read(|db| read_key(db, kid)).await?;
        Ok(read.map(|(key, _)| key))
    }

    /// Every registered key id, by key id.
    pub(crate) async fn keys(&self) -> Result<Vec<KeyRow>, Error> {
        type Row = (Vec<u8>, i64, Option<i64>, Option<Vec<u8>>, Option<i64>);
        let rows: Vec<Row> = self.noted(
            sqlx::query_as(
                "SELECT kid, key_type, seed, sealed, minimum_security_level FROM keys ORDER BY kid",
            )
            .fetch_all(&self.lists)
            .await,
        )?;
        rows.into_iter()
            .map(|(kid, key_type, seed, sealed, level)| {
                key_row(super::id(&kid)?, key_type, (seed, sealed), level)
            })
            .collect()
    }

    /// Registers a key id. The same key id again is fine if type, kind of source and key are the same; a
    /// minimum security level that is given counts from then on.
    ///
    /// # Errors
    /// [`Error::KeyConflict`], [`Error::KeyReused`], [`Error::KidOfExchange`], [`Error::KeyOfExchange`].
    pub(crate) async fn register_key(
        &self,
        key: KeyRow,
        fingerprint: [u8; 32],
        now: Timestamp,
    ) -> Result<(), Error> {
        self.run_sealed(Write::Key, move |db| register(db, key, fingerprint, now))
            .await
    }
}

fn read_key(db: &Connection, kid: &Kid) -> Result<Option<(KeyRow, Vec<u8>)>, Error> {
    type Row = (i64, Option<i64>, Option<Vec<u8>>, Option<i64>, Vec<u8>);
    let row: Option<Row> = db.row_if_any(
        "SELECT key_type, seed, sealed, minimum_security_level, fingerprint FROM keys WHERE kid = ?1",
        params![&kid.as_bytes()[..]],
    )?;
    row.map(|(key_type, seed, sealed, level, fingerprint)| {
        Ok((key_row(*kid, key_type, (seed, sealed), level)?, fingerprint))
    })
    .transpose()
}

pub(super) fn register(
    db: &Connection,
    key: KeyRow,
    fingerprint: [u8; 32],
    now: Timestamp,
) -> Result<(), Error> {
    if let Some((registered, print)) = read_key(db, &key.kid)? {
        let same_source = match (&registered.source, &key.source) {
            (KeySource::Seed(old), KeySource::Seed(new)) => old == new,
            // Sealed twice, one key has two forms; the fingerprint tells whether it is one.
            (KeySource::Sealed(_), KeySource::Sealed(_)) => true,
            _ => false,
        };
        let same = same_source && registered.key_type == key.key_type && print == fingerprint;
        return match key.minimum_security_level {
            _ if !same => Err(Error::KeyConflict(key.kid)),
            Some(level) if registered.minimum_security_level != Some(level) => {
                set_level(db, &key.kid, level, now)
            }
            _ => Ok(()),
        };
    }
    match space(db, &key.kid)? {
        Some(Space::Exchange) => return Err(Error::KidOfExchange(key.kid)),
        Some(Space::Root) => return Err(Error::KidOfRoot(key.kid)),
        Some(Space::Content) | None => {}
    }
    if is_exchange_value(db, &fingerprint)? {
        return Err(Error::KeyOfExchange(key.kid));
    }
    if is_root_value(db, &fingerprint)? {
        return Err(Error::KeyOfRoot(key.kid));
    }
    let used: Option<i64> = db.value_if_any(
        "SELECT 1 FROM keys WHERE fingerprint = ?1",
        params![&fingerprint[..]],
    )?;
    if used.is_some() {
        return Err(Error::KeyReused(key.kid));
    }
    let level = key
        .minimum_security_level
        .map(|level| signed("a security level", level));
    let level = level.transpose()?;
    let (seed, sealed) = match key.source {
        KeySource::Seed(number) => (Some(signed("a seed number", number)?), None),
        KeySource::Sealed(sealed) => (None, Some(sealed)),
        KeySource::Exchange => return Err(Error::KeyTypeRefused(key.key_type.number())),
    };
    db.run(
        "INSERT INTO keys (kid, key_type, seed, sealed, fingerprint, created_at, minimum_security_level)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            &key.kid.as_bytes()[..],
            signed("a key type", key.key_type.number())?,
            seed,
            sealed,
            &fingerprint[..],
            milliseconds(now),
            level
        ],
    )?;
    record_event(db, now, "key-registered", &key.kid.to_string(), "")
}

fn set_level(db: &Connection, kid: &Kid, level: u64, now: Timestamp) -> Result<(), Error> {
    db.run(
        "UPDATE keys SET minimum_security_level = ?2 WHERE kid = ?1",
        params![&kid.as_bytes()[..], signed("a security level", level)?],
    )?;
    record_event(db, now, "key-level-set", &kid.to_string(), &level.to_string())
}
