//! The operator's own rows: made once by `init`, read when the server opens.

use std::path::Path;

use keyward_license::time::Timestamp;
use rusqlite::{Connection, params};

use super::{Store, connection::Statements, milliseconds, timestamp};
use crate::{
    Error, config,
    fail_points::Write,
    policy::{DEFAULT_POLICY, PolicyTerms},
    store::{Founding, OperatorCertificate, Purpose},
};

impl Store {
    /// Fills the empty database file at `path`: schema, secrets, certificates, policy `default`.
    pub(crate) async fn found(path: &Path, founding: Founding, now: Timestamp) -> Result<(), Error> {
        let settings = config::Database {
            readers: 1,
            group_commit: 1,
            busy: core::time::Duration::from_secs(5),
        };
        let store = Self::open(path, &settings).await?;
        let done = store
            .writer
            .run(Write::Founding, move |db| insert(db, &founding, now))
            .await;
        store.close().await;
        done
    }

    pub(crate) async fn root_certificate(&self) -> Result<Vec<u8>, Error> {
        let read = sqlx::query_scalar("SELECT value FROM settings WHERE name = 'root-certificate'")
            .fetch_optional(&self.lists)
            .await;
        self.noted(read)?
            .ok_or(Error::Damaged("the root certificate is missing"))
    }

    /// The sealed secret of a name.
    pub(crate) async fn secret(&self, name: &str) -> Result<Vec<u8>, Error> {
        let read = sqlx::query_scalar("SELECT sealed FROM secrets WHERE name = ?1")
            .bind(name)
            .fetch_optional(&self.lists)
            .await;
        self.noted(read)?
            .ok_or(Error::Damaged("a secret of the server is missing"))
    }

    /// The operator's certificates that are valid after `now`, newest first.
    pub(crate) async fn operator_certificates(
        &self,
        now: Timestamp,
    ) -> Result<Vec<OperatorCertificate>, Error> {
        let rows: Vec<(String, Vec<u8>, i64)> = self.noted(
            sqlx::query_as(
                "SELECT purpose, der, not_after FROM certificates WHERE not_after >= ?1 ORDER BY id DESC",
            )
            .bind(milliseconds(now))
            .fetch_all(&self.lists)
            .await,
        )?;
        rows.into_iter()
            .map(|(purpose, der, not_after)| {
                let purpose =
                    Purpose::from_text(&purpose).ok_or(Error::Damaged("a certificate has no purpose"))?;
                Ok(OperatorCertificate {
                    purpose,
                    der,
                    not_after: timestamp(not_after),
                })
            })
            .collect()
    }

    /// Records that a certificate of the operator is about to be issued.
    pub(crate) async fn announce_certificate(
        &self,
        subject: String,
        serial: String,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.writer
            .run(Write::CertificateAnnouncement, move |db| {
                record_event(db, now, "certificate-announced", &subject, &serial)
            })
            .await
    }

    /// Adds a certificate of the operator.
    pub(crate) async fn add_certificate(
        &self,
        certificate: OperatorCertificate,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.writer
            .run(Write::Certificate, move |db| {
                insert_certificate(db, &certificate, now)
            })
            .await
    }
}

fn insert(db: &Connection, founding: &Founding, now: Timestamp) -> Result<(), Error> {
    db.run(
        "INSERT INTO settings (name, value) VALUES ('root-certificate', ?1)",
        params![&founding.root],
    )?;
    for (name, sealed) in &founding.secrets {
        db.run(
            "INSERT INTO secrets (name, sealed, created_at) VALUES (?1, ?2, ?3)",
            params![*name, sealed, milliseconds(now)],
        )?;
    }
    db.run(
        "INSERT INTO seeds (number, sealed, created_at) VALUES (1, ?1, ?2)",
        params![&founding.seed, milliseconds(now)],
    )?;
    for certificate in &founding.certificates {
        insert_certificate(db, certificate, now)?;
    }
    let (hash, name) = &founding.admin_token;
    super::admin::insert_admin_token(db, hash, name, "full", now)?;
    super::policies::insert_policy(db, DEFAULT_POLICY, &PolicyTerms::DEFAULT, now)?;
    record_event(db, now, "operator-founded", "", "")
}

fn insert_certificate(
    db: &Connection,
    certificate: &OperatorCertificate,
    now: Timestamp,
) -> Result<(), Error> {
    db.run(
        "INSERT INTO certificates (purpose, der, not_after, created_at) VALUES (?1, ?2, ?3, ?4)",
        params![
            certificate.purpose.as_str(),
            &certificate.der,
            milliseconds(certificate.not_after),
            milliseconds(now)
        ],
    )?;
    Ok(())
}

/// Records what an auditor asks about.
pub(super) fn record_event(
    db: &Connection,
    now: Timestamp,
    kind: &str,
    subject: &str,
    detail: &str,
) -> Result<(), Error> {
    db.run(EVENT, params![milliseconds(now), kind, subject, detail])?;
    Ok(())
}

pub(super) const EVENT: &str = "INSERT INTO events (at, kind, subject, detail) VALUES (?1, ?2, ?3, ?4)";
