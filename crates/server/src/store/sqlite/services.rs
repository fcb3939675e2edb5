//! Tokens of services that carry requests.

use keyward_license::{ids::Digest, time::Timestamp};
use rusqlite::{Connection, params};

use super::{Store, connection::Statements, founding::record_event, id, milliseconds, timestamp};
use crate::{Error, fail_points::Write};

/// A service token.
pub(crate) struct ServiceTokenRow {
    pub(crate) hash: Digest,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) revoked: Option<Timestamp>,
}

impl Store {
    /// Every service token, also those that were revoked, in the order of their making.
    pub(crate) async fn service_tokens(&self) -> Result<Vec<ServiceTokenRow>, Error> {
        self.read(read).await
    }

    pub(crate) async fn add_service_token(
        &self,
        hash: Digest,
        name: String,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.writer
            .run(Write::ServiceToken, move |db| {
                db.run(
                    "INSERT INTO service_tokens (hash, name, created_at) VALUES (?1, ?2, ?3)",
                    params![&hash.as_bytes()[..], &name, milliseconds(now)],
                )?;
                record_event(db, now, "service-token-added", &name, "")
            })
            .await
    }

    /// Revokes a service token, for good. Revoking it again changes nothing.
    pub(crate) async fn revoke_service_token(&self, name: String, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::ServiceTokenRevocation, move |db| revoke(db, name, now))
            .await
    }
}

fn read(db: &Connection) -> Result<Vec<ServiceTokenRow>, Error> {
    type Row = (Vec<u8>, String, i64, Option<i64>);
    let rows: Vec<Row> = db.rows(
        "SELECT hash, name, created_at, revoked_at FROM service_tokens ORDER BY created_at, name",
        [],
    )?;
    rows.into_iter()
        .map(|(hash, name, created, revoked)| {
            Ok(ServiceTokenRow {
                hash: id(&hash)?,
                name,
                created: timestamp(created),
                revoked: revoked.map(timestamp),
            })
        })
        .collect()
}

fn revoke(db: &Connection, name: String, now: Timestamp) -> Result<(), Error> {
    let revoked: Option<Option<i64>> = db.value_if_any(
        "SELECT revoked_at FROM service_tokens WHERE name = ?1",
        params![&name],
    )?;
    match revoked {
        None => Err(Error::ServiceTokenUnknown(name)),
        Some(Some(_)) => Ok(()),
        Some(None) => {
            db.run(
                "UPDATE service_tokens SET revoked_at = ?2 WHERE name = ?1",
                params![&name, milliseconds(now)],
            )?;
            record_event(db, now, "service-token-revoked", &name, "")
        }
    }
}
