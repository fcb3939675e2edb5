//! What a license for key exchange rests on, asked once more where it is recorded.

use keyward_license::ids::Kid;
use sqlx::SqliteConnection;

use super::super::{signed, unsigned};
use crate::Error;

/// Whether each exchange key is still as it was when the licenses were decided: none was changed, rotated, disabled
/// or destroyed meanwhile.
pub(crate) async fn still_holds(db: &mut SqliteConnection, keys: &[(Kid, u64)]) -> Result<bool, Error> {
    for (kid, revision) in keys {
        if read_revision(db, kid).await? != Some(*revision) {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) async fn read_revision(db: &mut SqliteConnection, kid: &Kid) -> Result<Option<u64>, Error> {
    let revision: Option<i64> = sqlx::query_scalar("SELECT revision FROM exchange_keys WHERE kid = ?1")
        .bind(&kid.as_bytes()[..])
        .fetch_optional(db)
        .await?;
    revision.map(unsigned).transpose()
}

/// Counts messages of a version in GCM, unless they were more than one key bears.
pub(super) async fn count_messages(
    db: &mut SqliteConnection,
    kid: &Kid,
    (version, messages): (u32, u64),
) -> Result<bool, Error> {
    let counted = sqlx::query(
        "UPDATE exchange_key_versions SET messages = messages + ?3
         WHERE kid = ?1 AND version = ?2 AND messages + ?3 <= ?4",
    )
    .bind(&kid.as_bytes()[..])
    .bind(version)
    .bind(signed("messages", messages)?)
    .bind(signed("messages", crate::key_exchange::MAX_MESSAGES)?)
    .execute(db)
    .await?;
    Ok(counted.rows_affected() == 1)
}
