//! What a license for key exchange rests on, asked once more where it is recorded.

use keyward_license::ids::Kid;
use rusqlite::{Connection, params};

use super::super::{connection::Statements, signed, unsigned};
use crate::Error;

/// Whether each exchange key is still as it was when the licenses were decided: none was changed, rotated, disabled
/// or destroyed meanwhile.
pub(crate) fn still_holds(db: &Connection, keys: &[(Kid, u64)]) -> Result<bool, Error> {
    for (kid, revision) in keys {
        if read_revision(db, kid)? != Some(*revision) {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn read_revision(db: &Connection, kid: &Kid) -> Result<Option<u64>, Error> {
    let revision: Option<i64> = db.value_if_any(
        "SELECT revision FROM exchange_keys WHERE kid = ?1",
        params![&kid.as_bytes()[..]],
    )?;
    revision.map(unsigned).transpose()
}

/// Counts messages of a version in GCM, unless they were more than one key bears.
pub(super) fn count_messages(
    db: &Connection,
    kid: &Kid,
    (version, messages): (u32, u64),
) -> Result<bool, Error> {
    let counted = db.run(
        "UPDATE exchange_key_versions SET messages = messages + ?3
         WHERE kid = ?1 AND version = ?2 AND messages + ?3 <= ?4",
        params![
            &kid.as_bytes()[..],
            version,
            signed("messages", messages)?,
            signed("messages", crate::key_exchange::MAX_MESSAGES)?
        ],
    )?;
    Ok(counted == 1)
}
