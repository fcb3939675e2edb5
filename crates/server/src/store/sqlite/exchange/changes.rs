//! What is changed of an exchange key, up to its end.

use keyward_license::{ids::Kid, time::Timestamp};
use sqlx::SqliteConnection;

use super::super::{founding::record_event, signed};
use crate::{
    Error,
    key_exchange::{Destroy, KeyState},
    store::exchange::ExchangeKeyRow,
};

pub(super) async fn set_minimum(
    db: &mut SqliteConnection,
    key: &ExchangeKeyRow,
    version: u32,
    now: Timestamp,
) -> Result<(), Error> {
    let mut destroyed = key.versions.iter().filter(|version| version.sealed.is_none());
    let lowered = version < key.minimum_version;
    if key.state == KeyState::Destroyed {
        return Err(Error::ExchangeKeyDestroyed(key.kid));
    }
    if version == 0 || version > key.newest() {
        return Err(Error::ExchangeVersionUnknown(key.kid, version));
    }
    // Newest first: the first one is the highest that was destroyed.
    if lowered && destroyed.next().is_some_and(|last| version <= last.version) {
        return Err(Error::OutOfRange {
            what: "the minimum version",
            expected: "above every version that was destroyed, where it is lowered",
        });
    }
    if version == key.minimum_version {
        return Ok(());
    }
    sqlx::query("UPDATE exchange_keys SET minimum_version = ?2 WHERE kid = ?1")
        .bind(&key.kid.as_bytes()[..])
        .bind(version)
        .execute(&mut *db)
        .await?;
    let (subject, detail) = (key.kid.to_string(), version.to_string());
    record_event(db, now, "exchange-key-minimum-set", &subject, &detail).await
}

pub(super) async fn set_level(
    db: &mut SqliteConnection,
    key: &ExchangeKeyRow,
    level: Option<u64>,
    now: Timestamp,
) -> Result<(), Error> {
    if key.state == KeyState::Destroyed {
        return Err(Error::ExchangeKeyDestroyed(key.kid));
    }
    if level == key.minimum_security_level {
        return Ok(());
    }
    sqlx::query("UPDATE exchange_keys SET minimum_security_level = ?2 WHERE kid = ?1")
        .bind(&key.kid.as_bytes()[..])
        .bind(level.map(|level| signed("a security level", level)).transpose()?)
        .execute(&mut *db)
        .await?;
    let detail = level.map_or_else(|| "none".to_owned(), |level| level.to_string());
    record_event(db, now, "exchange-key-level-set", &key.kid.to_string(), &detail).await
}

pub(super) async fn set_state(
    db: &mut SqliteConnection,
    key: &ExchangeKeyRow,
    state: KeyState,
    now: Timestamp,
) -> Result<(), Error> {
    if key.state == KeyState::Destroyed {
        return Err(Error::ExchangeKeyDestroyed(key.kid));
    }
    if key.state == state {
        return Ok(());
    }
    write_state(db, &key.kid, state).await?;
    let kind = match state {
        KeyState::Enabled => "exchange-key-enabled",
        KeyState::Disabled | KeyState::Destroyed => "exchange-key-disabled",
    };
    record_event(db, now, kind, &key.kid.to_string(), "").await
}

async fn write_state(db: &mut SqliteConnection, kid: &Kid, state: KeyState) -> Result<(), Error> {
    sqlx::query("UPDATE exchange_keys SET state = ?2 WHERE kid = ?1")
        .bind(&kid.as_bytes()[..])
        .bind(state.name())
        .execute(db)
        .await?;
    Ok(())
}

/// Takes values out of the database. Their bytes are overwritten where they stood; a copy in the write-ahead log
/// goes when the log is written over, one in a backup stays, and all of them are sealed.
pub(super) async fn destroy(
    db: &mut SqliteConnection,
    key: &ExchangeKeyRow,
    what: Destroy,
    now: Timestamp,
) -> Result<(), Error> {
    let version = match what {
        Destroy::Version(version) => Some(version),
        Destroy::All => None,
    };
    if let Some(version) = version {
        let found = key.versions.iter().find(|one| one.version == version);
        match found {
            None => return Err(Error::ExchangeVersionUnknown(key.kid, version)),
            Some(found) if found.sealed.is_none() => return Ok(()),
            Some(found) if found.version == key.newest() => {
                return Err(Error::OutOfRange {
                    what: "a version that is destroyed alone",
                    expected: "below the newest, without which there is no key",
                });
            }
            Some(_) => {}
        }
    } else if key.state == KeyState::Destroyed {
        return Ok(());
    }
    let overwrites: i64 = sqlx::query_scalar("PRAGMA secure_delete")
        .fetch_one(&mut *db)
        .await?;
    sqlx::query("PRAGMA secure_delete = ON").execute(&mut *db).await?;
    let destroyed = write_destroyed(db, key, version).await;
    if overwrites == 0 {
        sqlx::query("PRAGMA secure_delete = OFF")
            .execute(&mut *db)
            .await?;
    }
    destroyed?;
    let detail = version.map_or_else(|| "all".to_owned(), |version| version.to_string());
    record_event(db, now, "exchange-key-destroyed", &key.kid.to_string(), &detail).await
}

async fn write_destroyed(
    db: &mut SqliteConnection,
    key: &ExchangeKeyRow,
    version: Option<u32>,
) -> Result<(), Error> {
    let kid = &key.kid.as_bytes()[..];
    sqlx::query(
        "UPDATE exchange_key_versions SET sealed = NULL
         WHERE kid = ?1 AND (?2 IS NULL OR version = ?2) AND sealed IS NOT NULL",
    )
    .bind(kid)
    .bind(version)
    .execute(&mut *db)
    .await?;
    if version.is_none() {
        return write_state(db, &key.kid, KeyState::Destroyed).await;
    }
    // What is destroyed is not accepted: the minimum stands at a version that is there.
    sqlx::query(
        "UPDATE exchange_keys SET minimum_version = (SELECT min(version) FROM exchange_key_versions
             WHERE kid = ?1 AND sealed IS NOT NULL AND version >= minimum_version)
         WHERE kid = ?1",
    )
    .bind(kid)
    .execute(db)
    .await?;
    Ok(())
}
