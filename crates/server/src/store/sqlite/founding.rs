//! The operator's own rows: made once by `init`, read when the server opens.

use std::path::Path;

use keyward_license::time::Timestamp;
use rusqlite::{Connection, params};

use super::{Store, connection::Statements, milliseconds, signed, timestamp, unsigned};
use crate::{
    Error, config,
    fail_points::Write,
    policy::{DEFAULT_POLICY, PolicyTerms},
    store::{Founding, NewSecret, OperatorCertificate, Purpose},
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
        let named = "SELECT value FROM settings WHERE name = 'root-certificate'";
        let root = self.read(|db| Ok(db.value_if_any(named, [])?)).await?;
        root.ok_or(Error::Damaged("the root certificate is missing"))
    }

    /// Names and sealed values of all secrets, of one state of the database.
    pub(crate) async fn secrets(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.read(|db| Ok(db.rows("SELECT name, sealed FROM secrets", [])?))
            .await
    }

    /// Adds a secret that operators of earlier versions do not have, unless another process was first.
    ///
    /// # Errors
    /// [`Error::KekRolled`].
    pub(crate) async fn add_secret(&self, secret: NewSecret, now: Timestamp) -> Result<(), Error> {
        self.run_sealed(Write::Secret, move |db| {
            let added = db.run(
                "INSERT INTO secrets (name, sealed, created_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                params![&secret.name, &secret.sealed, milliseconds(now)],
            )?;
            if added > 0 {
                record_event(db, now, "secret-made", &secret.name, "")?;
            }
            Ok(())
        })
        .await
    }

    /// The operator's certificates that are valid after `now`, newest first.
    pub(crate) async fn operator_certificates(
        &self,
        now: Timestamp,
    ) -> Result<Vec<OperatorCertificate>, Error> {
        self.read(|db| {
            let rows: Vec<CertificateColumns> = db.rows(CERTIFICATES, [milliseconds(now)])?;
            rows.into_iter().map(certificate).collect()
        })
        .await
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
    if founding.is_test {
        db.run(
            "INSERT INTO settings (name, value) VALUES ('test-operator', x'f5')",
            [],
        )?;
    }
    insert_secrets(db, &founding.secrets, now)?;
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

/// Adds keys, sealed.
pub(super) fn insert_secrets(db: &Connection, secrets: &[NewSecret], now: Timestamp) -> Result<(), Error> {
    for secret in secrets {
        db.run(
            "INSERT INTO secrets (name, sealed, created_at) VALUES (?1, ?2, ?3)",
            params![&secret.name, &secret.sealed, milliseconds(now)],
        )?;
    }
    Ok(())
}

/// The columns of a certificate of the operator, those that are valid after a time; newest first.
pub(super) const CERTIFICATES: &str = "SELECT purpose, key, der, not_after, created_at FROM certificates WHERE not_after >= ?1 ORDER BY id DESC";

/// These columns, as they are read.
pub(super) type CertificateColumns = (String, i64, Vec<u8>, i64, i64);

/// A certificate of the operator, out of its columns.
pub(super) fn certificate(
    (purpose, key, der, not_after, created): CertificateColumns,
) -> Result<OperatorCertificate, Error> {
    Ok(OperatorCertificate {
        purpose: Purpose::from_text(&purpose).ok_or(Error::Damaged("a certificate has no purpose"))?,
        key: unsigned(key)?,
        der,
        not_after: timestamp(not_after),
        created: timestamp(created),
    })
}

pub(super) fn insert_certificate(
    db: &Connection,
    certificate: &OperatorCertificate,
    now: Timestamp,
) -> Result<(), Error> {
    db.run(
        "INSERT INTO certificates (purpose, key, der, not_after, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            certificate.purpose.as_str(),
            signed("the number of a key", certificate.key)?,
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
