//! The operator's own list: models, companies, and certificates that are exempt from these.

use keyward_license::{ids::Digest, time::Timestamp};
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
    store::revocation::{ListOf, ModelRow},
};

impl Store {
    /// Puts a model or company on the list, in the place of what the list says of it.
    ///
    /// # Errors
    /// [`Error::ListFull`].
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

    /// Exempts a certificate from what the list says of models and companies.
    ///
    /// # Errors
    /// [`Error::ListFull`].
    pub(crate) async fn allow_certificate(&self, digest: Digest, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::RevokedModel, move |db| allow_certificate(db, &digest, now))
            .await
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
    pub(crate) async fn allowed_certificates(&self) -> Result<Vec<Digest>, Error> {
        self.read(read_allowed).await
    }
}

fn revoke_model(db: &Connection, model: &ModelRow, now: Timestamp) -> Result<i64, Error> {
    let below = model
        .robustness_below
        .map(|below| signed("a robustness version", below));
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

fn allow_certificate(db: &Connection, digest: &Digest, now: Timestamp) -> Result<(), Error> {
    let added = db.run(
        "INSERT INTO allowed_certificates (digest, created_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        params![&digest.as_bytes()[..], milliseconds(now)],
    )?;
    if added == 0 {
        return Ok(());
    }
    check_room(db, "SELECT count(*) FROM allowed_certificates", MAX_ALLOWED)?;
    changed(db, ListOf::Own.as_str())?;
    record_event(db, now, "certificate-allowed", &digest.to_string(), "")
}

/// Exempts a certificate that follows an exempt one. For want of room on the list it is not, which is logged.
pub(in super::super) fn exempt_following(
    db: &Connection,
    earlier: &Digest,
    following: &Digest,
    now: Timestamp,
) -> Result<(), Error> {
    let is_exempt: bool = db.value(
        "SELECT EXISTS (SELECT 1 FROM allowed_certificates WHERE digest = ?1)",
        [&earlier.as_bytes()[..]],
    )?;
    if !is_exempt {
        return Ok(());
    }
    let exempt: i64 = db.value("SELECT count(*) FROM allowed_certificates", [])?;
    if usize::try_from(exempt).is_ok_and(|exempt| exempt < MAX_ALLOWED) {
        return allow_certificate(db, following, now);
    }
    tracing::warn!(certificate = %following, "the allow list is full: a renewed certificate is not exempt any more");
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

pub(super) fn read_allowed(db: &Connection) -> Result<Vec<Digest>, Error> {
    let digests: Vec<Vec<u8>> = db.values("SELECT digest FROM allowed_certificates ORDER BY digest", [])?;
    digests.iter().map(|digest| id(digest)).collect()
}
