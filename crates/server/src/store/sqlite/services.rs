//! Tokens of services that carry requests.

use keyward_license::{ids::Digest, time::Timestamp};
use sqlx::SqliteConnection;

use super::{Store, founding::record_event, id, milliseconds, timestamp};
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
        type Row = (Vec<u8>, String, i64, Option<i64>);
        let rows: Vec<Row> = self.noted(
            sqlx::query_as(
                "SELECT hash, name, created_at, revoked_at FROM service_tokens ORDER BY created_at, name",
            )
            .fetch_all(&self.readers)
            .await,
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

    pub(crate) async fn add_service_token(
        &self,
        hash: Digest,
        name: String,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.writer
            .run(Write::ServiceToken, move |db| {
                Box::pin(async move {
                    sqlx::query("INSERT INTO service_tokens (hash, name, created_at) VALUES (?1, ?2, ?3)")
                        .bind(&hash.as_bytes()[..])
                        .bind(&name)
                        .bind(milliseconds(now))
                        .execute(&mut *db)
                        .await?;
                    record_event(db, now, "service-token-added", &name, "").await
                })
            })
            .await
    }

    /// Revokes a service token, for good. Revoking it again changes nothing.
    pub(crate) async fn revoke_service_token(&self, name: String, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::ServiceTokenRevocation, move |db| {
                Box::pin(async move { revoke(db, name, now).await })
            })
            .await
    }
}

async fn revoke(db: &mut SqliteConnection, name: String, now: Timestamp) -> Result<(), Error> {
    let revoked: Option<Option<i64>> =
        sqlx::query_scalar("SELECT revoked_at FROM service_tokens WHERE name = ?1")
            .bind(&name)
            .fetch_optional(&mut *db)
            .await?;
    match revoked {
        None => Err(Error::ServiceTokenUnknown(name)),
        Some(Some(_)) => Ok(()),
        Some(None) => {
            sqlx::query("UPDATE service_tokens SET revoked_at = ?2 WHERE name = ?1")
                .bind(&name)
                .bind(milliseconds(now))
                .execute(&mut *db)
                .await?;
            record_event(db, now, "service-token-revoked", &name, "").await
        }
    }
}
