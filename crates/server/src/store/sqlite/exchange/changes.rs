//! What is changed of an exchange key, up to its end.

use keyward_license::{ids::Kid, time::Timestamp};
use rusqlite::{Connection, params};

use super::super::{
    connection::{Statements, overwriting},
    founding::record_event,
    signed,
};
use crate::{
    Error,
    key_exchange::{Destroy, KeyState},
    store::exchange::ExchangeKeyRow,
};

pub(super) fn set_minimum(
    db: &Connection,
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
    db.run(
        "UPDATE exchange_keys SET minimum_version = ?2 WHERE kid = ?1",
        params![&key.kid.as_bytes()[..], version],
    )?;
    let (subject, detail) = (key.kid.to_string(), version.to_string());
    record_event(db, now, "exchange-key-minimum-set", &subject, &detail)
}

pub(super) fn set_level(
    db: &Connection,
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
    db.run(
        "UPDATE exchange_keys SET minimum_security_level = ?2 WHERE kid = ?1",
        params![
            &key.kid.as_bytes()[..],
            level.map(|level| signed("a security level", level)).transpose()?
        ],
    )?;
    let detail = level.map_or_else(|| "none".to_owned(), |level| level.to_string());
    record_event(db, now, "exchange-key-level-set", &key.kid.to_string(), &detail)
}

pub(super) fn set_state(
    db: &Connection,
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
    write_state(db, &key.kid, state)?;
    let kind = match state {
        KeyState::Enabled => "exchange-key-enabled",
        KeyState::Disabled | KeyState::Destroyed => "exchange-key-disabled",
    };
    record_event(db, now, kind, &key.kid.to_string(), "")
}

fn write_state(db: &Connection, kid: &Kid, state: KeyState) -> Result<(), Error> {
    db.run(
        "UPDATE exchange_keys SET state = ?2 WHERE kid = ?1",
        params![&kid.as_bytes()[..], state.name()],
    )?;
    Ok(())
}

/// Takes values out of the database.
pub(super) fn destroy(
    db: &Connection,
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
    overwriting(db, || write_destroyed(db, key, version))?;
    let detail = version.map_or_else(|| "all".to_owned(), |version| version.to_string());
    record_event(db, now, "exchange-key-destroyed", &key.kid.to_string(), &detail)
}

fn write_destroyed(db: &Connection, key: &ExchangeKeyRow, version: Option<u32>) -> Result<(), Error> {
    let kid = &key.kid.as_bytes()[..];
    db.run(
        "UPDATE exchange_key_versions SET sealed = NULL
         WHERE kid = ?1 AND (?2 IS NULL OR version = ?2) AND sealed IS NOT NULL",
        params![kid, version],
    )?;
    if version.is_none() {
        return write_state(db, &key.kid, KeyState::Destroyed);
    }
    // What is destroyed is not accepted: the minimum stands at a version that is there.
    db.run(
        "UPDATE exchange_keys SET minimum_version = (SELECT min(version) FROM exchange_key_versions
             WHERE kid = ?1 AND sealed IS NOT NULL AND version >= minimum_version)
         WHERE kid = ?1",
        params![kid],
    )?;
    Ok(())
}
