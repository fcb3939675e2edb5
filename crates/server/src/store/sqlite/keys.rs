//! The vault's rows: seeds and keys.

use keyward_license::{ids::Kid, time::Timestamp};
use sqlx::SqliteConnection;

use super::{
    Store,
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
        let sealed = sqlx::query_scalar("SELECT sealed FROM seeds WHERE number = ?1");
        let sealed = sealed.bind(signed("a seed number", number)?);
        self.noted(sealed.fetch_optional(&self.readers).await)
    }

    /// Adds a seed under the next number, which it returns. `seal` binds it to that number.
    pub(crate) async fn add_seed(
        &self,
        seal: impl FnOnce(u64) -> Result<Vec<u8>, Error> + Send + 'static,
        now: Timestamp,
    ) -> Result<u64, Error> {
        self.writer
            .run(Write::Seed, move |db| {
                Box::pin(async move {
                    let last: i64 = sqlx::query_scalar("SELECT max(number) FROM seeds")
                        .fetch_one(&mut *db)
                        .await?;
                    let number = last
                        .checked_add(1)
                        .ok_or(Error::Damaged("there are too many seeds"))?;
                    let unsigned = super::unsigned(number)?;
                    let sealed = seal(unsigned)?;
                    sqlx::query("INSERT INTO seeds (number, sealed, created_at) VALUES (?1, ?2, ?3)")
                        .bind(number)
                        .bind(sealed)
                        .bind(milliseconds(now))
                        .execute(&mut *db)
                        .await?;
                    record_event(db, now, "seed-added", &number.to_string(), "").await?;
                    Ok(unsigned)
                })
            })
            .await
    }

    /// A registered key id.
    pub(crate) async fn key(&self, kid: &Kid) -> Result<Option<KeyRow>, Error> {
        let mut db = self.readers.acquire().await?;
        let read = self.noted(read_key(&mut db, kid).await)?;
        Ok(read.map(|(key, _)| key))
    }

    /// Every registered key id, by key id.
    pub(crate) async fn keys(&self) -> Result<Vec<KeyRow>, Error> {
        type Row = (Vec<u8>, i64, Option<i64>, Option<Vec<u8>>, Option<i64>);
        let rows: Vec<Row> = self.noted(
            sqlx::query_as(
                "SELECT kid, key_type, seed, sealed, minimum_security_level FROM keys ORDER BY kid",
            )
            .fetch_all(&self.readers)
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
        self.writer
            .run(Write::Key, move |db| {
                Box::pin(register(db, key, fingerprint, now))
            })
            .await
    }
}

async fn read_key(db: &mut SqliteConnection, kid: &Kid) -> Result<Option<(KeyRow, Vec<u8>)>, Error> {
    type Row = (i64, Option<i64>, Option<Vec<u8>>, Option<i64>, Vec<u8>);
    let row: Option<Row> = sqlx::query_as(
        "SELECT key_type, seed, sealed, minimum_security_level, fingerprint FROM keys WHERE kid = ?1",
    )
    .bind(&kid.as_bytes()[..])
    .fetch_optional(db)
    .await?;
    row.map(|(key_type, seed, sealed, level, fingerprint)| {
        Ok((key_row(*kid, key_type, (seed, sealed), level)?, fingerprint))
    })
    .transpose()
}

pub(super) async fn register(
    db: &mut SqliteConnection,
    key: KeyRow,
    fingerprint: [u8; 32],
    now: Timestamp,
) -> Result<(), Error> {
    if let Some((registered, print)) = read_key(db, &key.kid).await? {
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
                set_level(db, &key.kid, level, now).await
            }
            _ => Ok(()),
        };
    }
    match space(db, &key.kid).await? {
        Some(Space::Exchange) => return Err(Error::KidOfExchange(key.kid)),
        Some(Space::Root) => return Err(Error::KidOfRoot(key.kid)),
        Some(Space::Content) | None => {}
    }
    if is_exchange_value(db, &fingerprint).await? {
        return Err(Error::KeyOfExchange(key.kid));
    }
    if is_root_value(db, &fingerprint).await? {
        return Err(Error::KeyOfRoot(key.kid));
    }
    let used: Option<i64> = sqlx::query_scalar("SELECT 1 FROM keys WHERE fingerprint = ?1")
        .bind(&fingerprint[..])
        .fetch_optional(&mut *db)
        .await?;
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
    sqlx::query(
        "INSERT INTO keys (kid, key_type, seed, sealed, fingerprint, created_at, minimum_security_level)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(&key.kid.as_bytes()[..])
    .bind(signed("a key type", key.key_type.number())?)
    .bind(seed)
    .bind(sealed)
    .bind(&fingerprint[..])
    .bind(milliseconds(now))
    .bind(level)
    .execute(&mut *db)
    .await?;
    record_event(db, now, "key-registered", &key.kid.to_string(), "").await
}

async fn set_level(db: &mut SqliteConnection, kid: &Kid, level: u64, now: Timestamp) -> Result<(), Error> {
    sqlx::query("UPDATE keys SET minimum_security_level = ?2 WHERE kid = ?1")
        .bind(&kid.as_bytes()[..])
        .bind(signed("a security level", level)?)
        .execute(&mut *db)
        .await?;
    record_event(db, now, "key-level-set", &kid.to_string(), &level.to_string()).await
}
