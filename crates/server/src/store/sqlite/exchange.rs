//! Exchange keys: registered, rotated, changed, destroyed; kept apart from the keys of content.
//!
//! Every write asks first what the schema would refuse as well, so that whoever is refused is told why.

mod basis;
mod changes;
mod tokens;
mod uses;

use keyward_license::{ids::Kid, time::Timestamp};
use rusqlite::{Connection, Row, params};

use super::{
    Store, connection::Statements, founding::record_event, id, milliseconds, roots::is_root_value, signed,
    timestamp, unsigned,
};
use crate::{
    Error,
    fail_points::Write,
    key_exchange::KeyState,
    store::exchange::{ExchangeChange, ExchangeKeyRow, ExchangeVersionRow, NewExchangeKey, NewExchangeValue},
};

use changes::{destroy, set_level, set_minimum, set_state};

pub(super) use basis::still_holds;

/// Most keys that travel in the licenses of one other.
pub(crate) const MAX_BESIDE: i64 = 8;

impl Store {
    /// Registers an exchange key with its first version.
    ///
    /// # Errors
    /// [`Error::KidOfContent`], [`Error::ExchangeKeyExists`], [`Error::KeyOfContent`], [`Error::KeyOfExchange`],
    /// [`Error::BesideRefused`].
    pub(crate) async fn add_exchange_key(&self, key: NewExchangeKey, now: Timestamp) -> Result<(), Error> {
        self.run_sealed(Write::ExchangeKey, move |db| add(db, &key, now))
            .await
    }

    /// Adds a version to an exchange key, and returns its number. `seal` binds the value to it.
    ///
    /// # Errors
    /// [`Error::ExchangeKeyUnknown`], [`Error::ExchangeKeyDestroyed`], [`Error::KeyOfContent`],
    /// [`Error::KeyOfExchange`], [`Error::OutOfRange`] after 2^32-1 versions.
    pub(crate) async fn rotate_exchange_key(
        &self,
        kid: Kid,
        seal: impl FnOnce(u32) -> Result<NewExchangeValue, Error> + Send + 'static,
        now: Timestamp,
    ) -> Result<u32, Error> {
        self.run_sealed(Write::ExchangeChange, move |db| {
            let key = known(db, &kid)?;
            if key.state == KeyState::Destroyed {
                return Err(Error::ExchangeKeyDestroyed(kid));
            }
            let version = key.newest().checked_add(1).ok_or(Error::OutOfRange {
                what: "the number of versions",
                expected: "below 2^32",
            })?;
            insert_version(db, (&kid, version), &seal(version)?, now)?;
            let (subject, detail) = (kid.to_string(), version.to_string());
            record_event(db, now, "exchange-key-rotated", &subject, &detail)?;
            Ok(version)
        })
        .await
    }

    /// Changes an exchange key. The same again changes nothing.
    ///
    /// # Errors
    /// [`Error::ExchangeKeyUnknown`], [`Error::ExchangeKeyDestroyed`], [`Error::ExchangeVersionUnknown`],
    /// [`Error::OutOfRange`].
    pub(crate) async fn change_exchange_key(
        &self,
        kid: Kid,
        change: ExchangeChange,
        now: Timestamp,
    ) -> Result<(), Error> {
        let write = match change {
            ExchangeChange::Destroy(_) => Write::ExchangeDestruction,
            _ => Write::ExchangeChange,
        };
        self.writer
            .run(write, move |db| {
                let key = known(db, &kid)?;
                match change {
                    ExchangeChange::MinimumVersion(version) => set_minimum(db, &key, version, now),
                    ExchangeChange::MinimumSecurityLevel(level) => set_level(db, &key, level, now),
                    ExchangeChange::Disable => set_state(db, &key, KeyState::Disabled, now),
                    ExchangeChange::Enable => set_state(db, &key, KeyState::Enabled, now),
                    ExchangeChange::Destroy(what) => destroy(db, &key, what, now),
                }
            })
            .await
    }

    /// An exchange key with its versions.
    pub(crate) async fn exchange_key(&self, kid: &Kid) -> Result<Option<ExchangeKeyRow>, Error> {
        self.read(|db| read_key(db, kid)).await
    }

    /// An exchange key, and after it those that travel in its licenses, in the order of their making.
    pub(crate) async fn exchange_family(&self, kid: &Kid) -> Result<Vec<ExchangeKeyRow>, Error> {
        self.read(|db| {
            let mut family: Vec<_> = read_key(db, kid)?.into_iter().collect();
            let beside: Vec<Vec<u8>> = db.values(
                "SELECT kid FROM exchange_keys WHERE beside = ?1 ORDER BY created_at, kid",
                params![&kid.as_bytes()[..]],
            )?;
            for other in beside {
                family.extend(read_key(db, &id(&other)?)?);
            }
            Ok(family)
        })
        .await
    }

    /// Every exchange key, in the order of their making.
    pub(crate) async fn exchange_keys(&self) -> Result<Vec<ExchangeKeyRow>, Error> {
        self.read(read_keys).await
    }
}

impl ExchangeKeyRow {
    /// Number of the newest version; 0 if there is none, which the schema does not let happen.
    pub(crate) fn newest(&self) -> u32 {
        self.versions.first().map_or(0, |newest| newest.version)
    }
}

/// Every exchange key, in the order of their making.
pub(super) fn read_keys(db: &Connection) -> Result<Vec<ExchangeKeyRow>, Error> {
    let rows: Vec<KeyColumns> = db.rows(KEYS_IN_ORDER, [])?;
    let mut keys = Vec::with_capacity(rows.len());
    for row in rows {
        let versions = read_versions(db, &row.kid)?;
        keys.push(row.with(versions)?);
    }
    Ok(keys)
}

/// Whether a key id is one of key exchange.
pub(super) fn is_exchange_kid(db: &Connection, kid: &Kid) -> Result<bool, Error> {
    Ok(space(db, kid)? == Some(Space::Exchange))
}

/// Whether a value is or was an exchange key, or 16 bytes of one.
pub(super) fn is_exchange_value(db: &Connection, fingerprint: &[u8; 32]) -> Result<bool, Error> {
    let known = "SELECT EXISTS (SELECT 1 FROM exchange_fingerprints WHERE fingerprint = ?1)";
    Ok(db.value(known, [fingerprint])?)
}

/// What a key id is registered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    Content,
    Exchange,
    Root,
}

/// In which space a key id is.
pub(super) fn space(db: &Connection, kid: &Kid) -> Result<Option<Space>, Error> {
    let space: Option<String> =
        db.value_if_any("SELECT space FROM key_ids WHERE kid = ?1", [kid.as_bytes()])?;
    space
        .map(|space| match &space[..] {
            "content" => Ok(Space::Content),
            "exchange" => Ok(Space::Exchange),
            "root" => Ok(Space::Root),
            _ => Err(Error::Damaged("a key id has no space")),
        })
        .transpose()
}

fn add(db: &Connection, key: &NewExchangeKey, now: Timestamp) -> Result<(), Error> {
    match space(db, &key.kid)? {
        Some(Space::Exchange) => return Err(Error::ExchangeKeyExists(key.kid)),
        Some(Space::Content) => return Err(Error::KidOfContent(key.kid)),
        Some(Space::Root) => return Err(Error::KidOfRoot(key.kid)),
        None => {}
    }
    if let Some(beside) = key.beside {
        check_beside(db, key.algorithm, beside)?;
    }
    let level = key
        .minimum_security_level
        .map(|level| signed("a security level", level));
    let uses = key.uses.map(|uses| signed("the use limit", uses));
    db.run(
        "INSERT INTO exchange_keys
             (kid, name, algorithm, operation, context, uses, minimum_security_level, beside, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            &key.kid.as_bytes()[..],
            &key.name,
            key.algorithm,
            signed("an operation", key.operation)?,
            &key.context,
            uses.transpose()?,
            level.transpose()?,
            key.beside.map(|beside| beside.as_bytes().to_vec()),
            milliseconds(now)
        ],
    )?;
    insert_version(db, (&key.kid, 1), &key.value, now)?;
    let kind = match key.imported {
        true => "exchange-key-imported",
        false => "exchange-key-created",
    };
    record_event(db, now, kind, &key.kid.to_string(), &key.name)
}

/// Whether a key of the algorithm may travel in the licenses of another, where every algorithm stands once.
fn check_beside(db: &Connection, algorithm: i64, beside: Kid) -> Result<(), Error> {
    let refused = |why| Err(Error::BesideRefused(beside, why));
    let Some(other) = read_key(db, &beside)? else {
        return Err(Error::ExchangeKeyUnknown(beside));
    };
    if other.state == KeyState::Destroyed {
        return Err(Error::ExchangeKeyDestroyed(beside));
    }
    if other.beside.is_some() {
        return refused("it travels in the licenses of another itself");
    }
    let (count, taken): (i64, i64) = db.row(
        "SELECT count(*), count(*) FILTER (WHERE algorithm = ?2) FROM exchange_keys
         WHERE beside = ?1 AND state <> 'destroyed'",
        params![&beside.as_bytes()[..], algorithm],
    )?;
    if taken > 0 || other.algorithm == algorithm {
        return refused("a license holds no two keys of one algorithm");
    }
    if count >= MAX_BESIDE {
        return refused("eight others travel in its licenses already");
    }
    Ok(())
}

fn insert_version(
    db: &Connection,
    (kid, version): (&Kid, u32),
    value: &NewExchangeValue,
    now: Timestamp,
) -> Result<(), Error> {
    for fingerprint in &value.fingerprints {
        if is_content_value(db, fingerprint)? {
            return Err(Error::KeyOfContent(*kid));
        }
        if is_exchange_value(db, fingerprint)? {
            return Err(Error::KeyOfExchange(*kid));
        }
        if is_root_value(db, fingerprint)? {
            return Err(Error::KeyOfRoot(*kid));
        }
    }
    db.run(
        "INSERT INTO exchange_key_versions (kid, version, sealed, created_at) VALUES (?1, ?2, ?3, ?4)",
        params![&kid.as_bytes()[..], version, &value.sealed, milliseconds(now)],
    )?;
    for fingerprint in &value.fingerprints {
        db.run(
            "INSERT INTO exchange_fingerprints (fingerprint, kid, version) VALUES (?1, ?2, ?3)",
            params![&fingerprint[..], &kid.as_bytes()[..], version],
        )?;
    }
    Ok(())
}

pub(super) fn is_content_value(db: &Connection, fingerprint: &[u8; 32]) -> Result<bool, Error> {
    let known = "SELECT EXISTS (SELECT 1 FROM keys WHERE fingerprint = ?1)";
    Ok(db.value(known, [fingerprint])?)
}

/// An exchange key that there must be.
fn known(db: &Connection, kid: &Kid) -> Result<ExchangeKeyRow, Error> {
    read_key(db, kid)?.ok_or(Error::ExchangeKeyUnknown(*kid))
}

fn read_key(db: &Connection, kid: &Kid) -> Result<Option<ExchangeKeyRow>, Error> {
    let row: Option<KeyColumns> = db.row_if_any(ONE_KEY, params![&kid.as_bytes()[..]])?;
    let Some(row) = row else {
        return Ok(None);
    };
    let versions = read_versions(db, &row.kid)?;
    row.with(versions).map(Some)
}

fn read_versions(db: &Connection, kid: &[u8]) -> Result<Vec<ExchangeVersionRow>, Error> {
    let rows: Vec<(u32, Option<Vec<u8>>, i64, i64)> = db.rows(
        "SELECT version, sealed, messages, created_at FROM exchange_key_versions
         WHERE kid = ?1 ORDER BY version DESC",
        params![kid],
    )?;
    let version = |(version, sealed, messages, created)| {
        Ok(ExchangeVersionRow {
            version,
            sealed,
            messages: unsigned(messages)?,
            created: timestamp(created),
        })
    };
    rows.into_iter().map(version).collect()
}

struct KeyColumns {
    kid: Vec<u8>,
    name: String,
    algorithm: i64,
    operation: i64,
    context: Option<Vec<u8>>,
    uses: Option<i64>,
    minimum_version: u32,
    minimum_security_level: Option<i64>,
    beside: Option<Vec<u8>>,
    state: String,
    revision: i64,
    created_at: i64,
}

impl TryFrom<&Row<'_>> for KeyColumns {
    type Error = rusqlite::Error;

    fn try_from(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            kid: row.get("kid")?,
            name: row.get("name")?,
            algorithm: row.get("algorithm")?,
            operation: row.get("operation")?,
            context: row.get("context")?,
            uses: row.get("uses")?,
            minimum_version: row.get("minimum_version")?,
            minimum_security_level: row.get("minimum_security_level")?,
            beside: row.get("beside")?,
            state: row.get("state")?,
            revision: row.get("revision")?,
            created_at: row.get("created_at")?,
        })
    }
}

impl KeyColumns {
    fn with(self, versions: Vec<ExchangeVersionRow>) -> Result<ExchangeKeyRow, Error> {
        Ok(ExchangeKeyRow {
            kid: id(&self.kid)?,
            name: self.name,
            algorithm: self.algorithm,
            operation: unsigned(self.operation)?,
            context: self.context,
            uses: self.uses.map(unsigned).transpose()?,
            minimum_version: self.minimum_version,
            minimum_security_level: self.minimum_security_level.map(unsigned).transpose()?,
            beside: self.beside.as_deref().map(id).transpose()?,
            state: KeyState::from_name(&self.state).ok_or(Error::Damaged("an exchange key has no state"))?,
            revision: unsigned(self.revision)?,
            created: timestamp(self.created_at),
            versions,
        })
    }
}

const ONE_KEY: &str = "SELECT * FROM exchange_keys WHERE kid = ?1";
const KEYS_IN_ORDER: &str = "SELECT * FROM exchange_keys ORDER BY created_at, kid";
