//! The operator's own list: models, companies, and certificates that are exempt from these.

use keyward_crypto::kdf::sha256;
use keyward_license::{
    ids::{DeviceId, Digest},
    time::Timestamp,
};
use rusqlite::{Connection, params};

use super::{
    super::{
        Store, connection::Statements, founding::record_event, id, milliseconds, signed, timestamp, unsigned,
    },
    changed,
};
use crate::{
    Error,
    fail_points::Write,
    revocation::{MAX_ALLOWED, MAX_MODELS},
    store::revocation::{ExemptRow, ListOf, ModelRow},
};

impl Store {
    /// Puts a model or company on the list, in the place of what the list says of it.
    ///
    /// # Errors
    /// [`Error::RevokedEarlier`], [`Error::ListFull`].
    pub(crate) async fn revoke_model(&self, model: ModelRow, now: Timestamp) -> Result<i64, Error> {
        self.writer
            .run(Write::RevokedModel, move |db| revoke_model(db, &model, now))
            .await
    }

    /// Takes a model or company off the list.
    ///
    /// # Errors
    /// [`Error::ModelUnknown`].
    pub(crate) async fn restore_model(&self, model: i64, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::RevokedModel, move |db| {
                let taken = db.run("DELETE FROM revoked_models WHERE id = ?1", [model])?;
                if taken == 0 {
                    return Err(Error::ModelUnknown(model));
                }
                changed(db, ListOf::Own.as_str())?;
                record_event(db, now, "model-restored", &model.to_string(), "")
            })
            .await
    }

    /// Every model and company on the list.
    pub(crate) async fn revoked_models(&self) -> Result<Vec<ModelRow>, Error> {
        self.read(read_models).await
    }

    /// How many enrolled devices an entry names.
    pub(crate) async fn count_devices(
        &self,
        maker: &str,
        model: Option<&str>,
        robustness_below: Option<u64>,
    ) -> Result<u64, Error> {
        let below = robustness_below.map(|below| signed("a robustness version", below));
        let below = below.transpose()?;
        self.read(|db| {
            let named: i64 = db.value(
                "SELECT count(*) FROM devices WHERE role = 'device' AND revoked_at IS NULL AND maker = ?1
                     AND model = ifnull(?2, model) AND (?3 IS NULL OR ifnull(robustness_version, 0) < ?3)",
                params![maker, model, below],
            )?;
            unsigned(named)
        })
        .await
    }

    /// Exempts a certificate from what the list says of models and companies, until it ends.
    ///
    /// # Errors
    /// [`Error::ListFull`].
    pub(crate) async fn allow_certificate(
        &self,
        certificate: ExemptRow,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.writer
            .run(Write::RevokedModel, move |db| {
                allow_certificate(db, &certificate, now)
            })
            .await
    }

    /// The certificates with these digests, each with its device and its end, as far as there are such that have not
    /// ended. Every one is looked at.
    pub(crate) async fn certificates_of(
        &self,
        digests: &[Digest],
        now: Timestamp,
    ) -> Result<Vec<(Digest, DeviceId, Timestamp)>, Error> {
        type Row = (Vec<u8>, Vec<u8>, Vec<u8>, i64);
        let (mut found, mut after) = (Vec::new(), Vec::new());
        while found.len() < digests.len() {
            let read = sqlx::query_as(
                "SELECT serial, device, der, not_after FROM device_certificates
                 WHERE serial > ?1 AND der IS NOT NULL AND not_after >= ?2 ORDER BY serial LIMIT 1000",
            )
            .bind(after)
            .bind(milliseconds(now));
            let rows: Vec<Row> = self.noted(read.fetch_all(&self.lists).await)?;
            for (_, device, der, not_after) in &rows {
                let digest = Digest::new(sha256(&[der]));
                if digests.contains(&digest) {
                    found.push((digest, id(device)?, timestamp(*not_after)));
                }
            }
            match rows.into_iter().next_back() {
                Some((serial, ..)) => after = serial,
                None => break,
            }
        }
        Ok(found)
    }

    /// Ends an exemption.
    ///
    /// # Errors
    /// [`Error::CertificateNotAllowed`].
    pub(crate) async fn disallow_certificate(&self, digest: Digest, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::RevokedModel, move |db| {
                let taken = db.run(
                    "DELETE FROM allowed_certificates WHERE digest = ?1",
                    [&digest.as_bytes()[..]],
                )?;
                if taken == 0 {
                    return Err(Error::CertificateNotAllowed(digest));
                }
                changed(db, ListOf::Own.as_str())?;
                record_event(db, now, "certificate-disallowed", &digest.to_string(), "")
            })
            .await
    }

    /// Every certificate that is exempt, by digest.
    pub(crate) async fn allowed_certificates(&self, now: Timestamp) -> Result<Vec<Digest>, Error> {
        self.read(|db| read_allowed(db, now)).await
    }
}

fn revoke_model(db: &Connection, model: &ModelRow, now: Timestamp) -> Result<i64, Error> {
    let below = model
        .robustness_below
        .map(|below| signed("a robustness version", below));
    let before: Option<(i64, i64)> = db.row_if_any(
        "SELECT id, since FROM revoked_models WHERE maker = ?1 AND model IS ?2",
        params![&model.maker, &model.model],
    )?;
    if let Some((before, since)) = before
        && timestamp(since) <= now
        && model.since > now
    {
        return Err(Error::RevokedEarlier(before));
    }
    db.run(
        "DELETE FROM revoked_models WHERE maker = ?1 AND model IS ?2",
        params![&model.maker, &model.model],
    )?;
    db.run(
        "INSERT INTO revoked_models (maker, model, robustness_below, since, reason, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            &model.maker,
            &model.model,
            below.transpose()?,
            milliseconds(model.since),
            &model.reason,
            milliseconds(now),
        ],
    )?;
    let row = db.last_insert_rowid();
    check_room(db, "SELECT count(*) FROM revoked_models", MAX_MODELS)?;
    changed(db, ListOf::Own.as_str())?;
    let subject = model
        .model
        .as_ref()
        .map_or_else(|| model.maker.clone(), |name| format!("{} {name}", model.maker));
    record_event(db, now, "model-revoked", &subject, &row.to_string())?;
    Ok(row)
}

fn allow_certificate(db: &Connection, certificate: &ExemptRow, now: Timestamp) -> Result<(), Error> {
    let ExemptRow { digest, not_after } = certificate;
    let added = db.run(
        "INSERT INTO allowed_certificates (digest, created_at, not_after) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        params![
            &digest.as_bytes()[..],
            milliseconds(now),
            not_after.map(milliseconds)
        ],
    )?;
    if added == 0 {
        // It may have been exempt since before ends were kept.
        db.run(
            "UPDATE allowed_certificates SET not_after = ?2 WHERE digest = ?1 AND not_after IS NULL",
            params![&digest.as_bytes()[..], not_after.map(milliseconds)],
        )?;
        return Ok(());
    }
    make_room(db, now)?;
    check_room(db, "SELECT count(*) FROM allowed_certificates", MAX_ALLOWED)?;
    changed(db, ListOf::Own.as_str())?;
    record_event(db, now, "certificate-allowed", &digest.to_string(), "")
}

/// Those that have ended stand on no list any more, and make room where it is wanted. Until then they stay: a clock that
/// was ahead takes no exemption away.
fn make_room(db: &Connection, now: Timestamp) -> Result<(), Error> {
    db.run(
        "DELETE FROM allowed_certificates
         WHERE not_after < ?1 AND (SELECT count(*) FROM allowed_certificates) >= ?2",
        params![milliseconds(now), i64::try_from(MAX_ALLOWED).unwrap_or(i64::MAX)],
    )?;
    Ok(())
}

/// Exempts a certificate that follows an exempt one. For want of room on the list it is not, which is logged.
pub(in super::super) fn exempt_following(
    db: &Connection,
    earlier: &Digest,
    following: &ExemptRow,
    now: Timestamp,
) -> Result<(), Error> {
    let is_exempt: bool = db.value(
        "SELECT EXISTS (SELECT 1 FROM allowed_certificates WHERE digest = ?1)",
        [&earlier.as_bytes()[..]],
    )?;
    if !is_exempt {
        return Ok(());
    }
    make_room(db, now)?;
    let exempt: i64 = db.value("SELECT count(*) FROM allowed_certificates", [])?;
    if usize::try_from(exempt).is_ok_and(|exempt| exempt < MAX_ALLOWED) {
        return allow_certificate(db, following, now);
    }
    tracing::warn!(certificate = %following.digest, "the allow list is full: a renewed certificate is not exempt any more");
    Ok(())
}

fn check_room(db: &Connection, count: &str, most: usize) -> Result<(), Error> {
    let there: i64 = db.value(count, [])?;
    match usize::try_from(there) {
        Ok(there) if there <= most => Ok(()),
        _ => Err(Error::ListFull(most)),
    }
}

pub(super) fn read_models(db: &Connection) -> Result<Vec<ModelRow>, Error> {
    type Row = (i64, String, Option<String>, Option<i64>, i64, Option<String>, i64);
    let rows: Vec<Row> = db.rows(
        "SELECT id, maker, model, robustness_below, since, reason, created_at FROM revoked_models ORDER BY id",
        [],
    )?;
    rows.into_iter()
        .map(|(id, maker, model, below, since, reason, created)| {
            Ok(ModelRow {
                id,
                maker,
                model,
                robustness_below: below.map(unsigned).transpose()?,
                since: timestamp(since),
                reason,
                created: timestamp(created),
            })
        })
        .collect()
}

/// Those that have not ended: of the others nobody accepts anything.
pub(super) fn read_allowed(db: &Connection, now: Timestamp) -> Result<Vec<Digest>, Error> {
    let digests: Vec<Vec<u8>> = db.values(
        "SELECT digest FROM allowed_certificates WHERE ifnull(not_after >= ?1, TRUE) ORDER BY digest",
        [milliseconds(now)],
    )?;
    digests.iter().map(|digest| id(digest)).collect()
}
