//! New keys in the place of old ones, and everything sealed under another key-encryption key.

use std::sync::{Arc, PoisonError};

use keyward_license::{ids::Kid, time::Timestamp};
use rusqlite::{Connection, params};

use super::{
    Store,
    connection::{Statements, overwriting},
    founding::{insert_certificate, insert_secrets, record_event},
    id, milliseconds, signed, timestamp, unsigned,
    writer::Failure,
};
use crate::{
    Error,
    chance::rng,
    fail_points::Write,
    key_exchange,
    operator::{CHECK, secret_cell},
    sealing::{Cell, KeyEncryptionKey},
    store::{AuthorityRequestRow, NewSecret, OperatorCertificate, Purpose},
    vault,
};

/// How many values were sealed anew.
pub(crate) type Resealed = u64;

impl Store {
    /// Makes this the key-encryption key's era: what is sealed is stored only while it lasts. An era is told by the
    /// sealed check, of which no two are the same.
    pub(crate) fn begin_era(&self, check: Option<Vec<u8>>) {
        *self.era.write().unwrap_or_else(PoisonError::into_inner) = check.map(Arc::from);
    }

    fn era(&self) -> Option<Arc<[u8]>> {
        self.era.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As [`Writer::run`](super::writer::Writer::run), of work that stores what was sealed with the key-encryption key
    /// that this store was opened with.
    ///
    /// # Errors
    /// [`Error::KekRolled`] if another has taken its place.
    pub(super) async fn run_sealed<T, E, F>(&self, write: Write, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: Failure,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let era = self.era();
        self.writer
            .run(write, move |db| {
                if let Some(era) = era {
                    check_era(db, &era)?;
                }
                work(db)
            })
            .await
    }

    /// Adds a key of the operator with its certificate: from then on it is the newest of its purpose. Nothing is
    /// added if that has a key of this number.
    ///
    /// # Errors
    /// [`Error::KekRolled`], [`Error::RolledMeanwhile`].
    pub(crate) async fn add_key(
        &self,
        secrets: Vec<NewSecret>,
        certificate: OperatorCertificate,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.run_sealed(Write::Roll, move |db| {
            let purpose = certificate.purpose;
            if number_after(db, purpose)? != certificate.key {
                return Err(Error::RolledMeanwhile(purpose.as_str()));
            }
            insert_secrets(db, &secrets, now)?;
            insert_certificate(db, &certificate, now)?;
            let (subject, number) = (purpose.as_str(), certificate.key.to_string());
            record_event(db, now, "key-rolled", subject, &number)
        })
        .await
    }

    /// Takes a key of the operator out of the database, by its rows. Its certificates stay.
    pub(crate) async fn destroy_key(
        &self,
        (purpose, number): (Purpose, u64),
        rows: Vec<String>,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.writer
            .run(Write::KeyDestruction, move |db| {
                let destroyed = overwriting(db, || {
                    let mut destroyed = 0;
                    for name in &rows {
                        destroyed += db.run("DELETE FROM secrets WHERE name = ?1", [name])?;
                    }
                    Ok(destroyed)
                })?;
                // Another process may have been first.
                match destroyed {
                    0 => Ok(()),
                    _ => record_event(db, now, "key-destroyed", purpose.as_str(), &number.to_string()),
                }
            })
            .await
    }

    /// The number of the next key of a purpose.
    pub(crate) async fn next_key(&self, purpose: Purpose) -> Result<u64, Error> {
        self.read(|db| number_after(db, purpose)).await
    }

    /// What the root is to sign for an authority, if it was asked for and has not come.
    pub(crate) async fn authority_request(
        &self,
        purpose: Purpose,
    ) -> Result<Option<AuthorityRequestRow>, Error> {
        self.read(|db| read_request(db, purpose)).await
    }

    /// Adds a key of an authority that has no certificate yet, and says what the root is to sign for it.
    ///
    /// # Errors
    /// [`Error::KekRolled`], [`Error::RolledMeanwhile`].
    pub(crate) async fn request_authority(
        &self,
        secrets: Vec<NewSecret>,
        request: AuthorityRequestRow,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.run_sealed(Write::AuthorityRequest, move |db| {
            let purpose = request.purpose.as_str();
            if number_after(db, request.purpose)? != request.key
                || read_request(db, request.purpose)?.is_some()
            {
                return Err(Error::RolledMeanwhile(purpose));
            }
            insert_secrets(db, &secrets, now)?;
            db.run(
                "INSERT INTO authority_requests (purpose, key, serial, not_before, not_after, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    purpose,
                    signed("the number of a key", request.key)?,
                    &request.serial[..],
                    milliseconds(request.not_before),
                    milliseconds(request.not_after),
                    milliseconds(now)
                ],
            )?;
            record_event(
                db,
                now,
                "certificate-announced",
                purpose,
                &hex::encode(request.serial),
            )
        })
        .await
    }

    /// Adds the certificate that the root signed for an authority: from then on it is the newest of its purpose.
    ///
    /// # Errors
    /// [`Error::RolledMeanwhile`] if it is not what is asked for any more.
    pub(crate) async fn add_authority(
        &self,
        request: AuthorityRequestRow,
        certificate: OperatorCertificate,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.writer
            .run(Write::Roll, move |db| {
                let purpose = request.purpose.as_str();
                if read_request(db, request.purpose)? != Some(request) {
                    return Err(Error::RolledMeanwhile(purpose));
                }
                db.run(
                    "DELETE FROM authority_requests WHERE purpose = ?1",
                    params![purpose],
                )?;
                insert_certificate(db, &certificate, now)?;
                record_event(db, now, "key-rolled", purpose, &certificate.key.to_string())
            })
            .await
    }

    /// Seals everything that is sealed under `old` under `new`, at once or not at all. Returns how many values that
    /// were, and the check that tells the new era.
    ///
    /// # Errors
    /// [`Error::KekRolled`] if it is not sealed under `old`; [`Error::Damaged`] if a value does not open.
    pub(crate) async fn reseal(
        &self,
        old: KeyEncryptionKey,
        new: KeyEncryptionKey,
        now: Timestamp,
    ) -> Result<(Resealed, Vec<u8>), Error> {
        self.run_sealed(Write::Resealing, move |db| reseal(db, &old, &new, now))
            .await
    }
}

fn check_era(db: &Connection, era: &[u8]) -> Result<(), Error> {
    let now: Vec<u8> = db.value("SELECT sealed FROM secrets WHERE name = ?1", [CHECK])?;
    if now == era { Ok(()) } else { Err(Error::KekRolled) }
}

/// What follows the newest key of a purpose, or the one that waits for its certificate.
fn number_after(db: &Connection, purpose: Purpose) -> Result<u64, Error> {
    let number: i64 = db.value(
        "SELECT ifnull(max(key), -1) + 1 FROM (SELECT key FROM certificates WHERE purpose = ?1
             UNION ALL SELECT key FROM authority_requests WHERE purpose = ?1
             UNION ALL SELECT 0 FROM secrets WHERE name IN (?1, ?1 || '-1'))",
        [purpose.as_str()],
    )?;
    unsigned(number)
}

fn read_request(db: &Connection, purpose: Purpose) -> Result<Option<AuthorityRequestRow>, Error> {
    let row: Option<(i64, Vec<u8>, i64, i64)> = db.row_if_any(
        "SELECT key, serial, not_before, not_after FROM authority_requests WHERE purpose = ?1",
        [purpose.as_str()],
    )?;
    row.map(|(key, serial, not_before, not_after)| {
        Ok(AuthorityRequestRow {
            purpose,
            key: unsigned(key)?,
            serial: serial[..]
                .try_into()
                .map_err(|_| Error::Damaged("a serial number has the wrong length"))?,
            not_before: timestamp(not_before),
            not_after: timestamp(not_after),
        })
    })
    .transpose()
}

fn reseal(
    db: &Connection,
    old: &KeyEncryptionKey,
    new: &KeyEncryptionKey,
    now: Timestamp,
) -> Result<(Resealed, Vec<u8>), Error> {
    db.run("INSERT INTO resealing (one) VALUES (1)", [])?;
    let anew = Anew { old, new };
    let mut resealed = 0;
    for (name, sealed) in db.rows::<(String, Vec<u8>)>("SELECT name, sealed FROM secrets", [])? {
        let sealed = anew.seal(secret_cell(&name), &sealed)?;
        resealed += db.run(
            "UPDATE secrets SET sealed = ?2 WHERE name = ?1",
            params![name, sealed],
        )?;
    }
    for (number, sealed) in db.rows::<(i64, Vec<u8>)>("SELECT number, sealed FROM seeds", [])? {
        let row = unsigned(number)?.to_be_bytes();
        let sealed = anew.seal(vault::seed_cell(&row), &sealed)?;
        resealed += db.run(
            "UPDATE seeds SET sealed = ?2 WHERE number = ?1",
            params![number, sealed],
        )?;
    }
    let keys = "SELECT kid, sealed FROM keys WHERE sealed IS NOT NULL";
    for (kid, sealed) in db.rows::<(Vec<u8>, Vec<u8>)>(keys, [])? {
        let sealed = anew.seal(vault::key_cell(&id::<Kid>(&kid)?), &sealed)?;
        resealed += db.run("UPDATE keys SET sealed = ?2 WHERE kid = ?1", params![kid, sealed])?;
    }
    for (kid, sealed) in db.rows::<(Vec<u8>, Vec<u8>)>("SELECT kid, sealed FROM roots", [])? {
        let sealed = anew.seal(vault::root_cell(&id::<Kid>(&kid)?), &sealed)?;
        resealed += db.run(
            "UPDATE roots SET sealed = ?2 WHERE kid = ?1",
            params![kid, sealed],
        )?;
    }
    resealed += reseal_exchange_keys(db, &anew)?;
    db.run("DELETE FROM resealing", [])?;
    record_event(db, now, "key-rolled", "kek", "")?;
    let check = db.value("SELECT sealed FROM secrets WHERE name = ?1", [CHECK])?;
    Ok((u64::try_from(resealed).unwrap_or(u64::MAX), check))
}

fn reseal_exchange_keys(db: &Connection, anew: &Anew<'_>) -> Result<usize, Error> {
    let versions = "SELECT kid, version, sealed FROM exchange_key_versions WHERE sealed IS NOT NULL";
    let mut resealed = 0;
    for (kid, version, sealed) in db.rows::<(Vec<u8>, u32, Vec<u8>)>(versions, [])? {
        let row = key_exchange::version_row(&id::<Kid>(&kid)?, version);
        let sealed = anew.seal(key_exchange::version_cell(&row), &sealed)?;
        resealed += db.run(
            "UPDATE exchange_key_versions SET sealed = ?3 WHERE kid = ?1 AND version = ?2",
            params![kid, version, sealed],
        )?;
    }
    Ok(resealed)
}

/// From one key-encryption key to another.
struct Anew<'a> {
    old: &'a KeyEncryptionKey,
    new: &'a KeyEncryptionKey,
}

impl Anew<'_> {
    /// The same value, in the same place.
    fn seal(&self, cell: Cell<'_>, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let opened = self.old.open(cell, sealed);
        let opened = opened.map_err(|_| Error::Damaged("a sealed value does not open"))?;
        Ok(self.new.seal(cell, opened.expose(), &mut rng())?)
    }
}
