//! Devices: tokens, enrolment, certificates.

use keyward_license::{
    certificate::Claims,
    codec::Wire,
    enrolment::EnrolmentRole,
    ids::{DeviceId, Digest},
    time::Timestamp,
};
use sqlx::SqliteConnection;

use super::{Store, founding::record_event, milliseconds, timestamp, unsigned};
use crate::{
    Error, Refusal,
    admin::{role_from_name, role_name},
    fail_points::Write,
    refusal::TokenFault,
    store::{DeviceProfile, EnrolmentRecord, PreparedCertificate, Recorded, TokenRow},
};

impl Store {
    /// What the token with this hash is good for.
    pub(crate) async fn enrolment_token(&self, hash: &Digest) -> Result<Option<TokenRow>, Error> {
        let mut db = self.readers.acquire().await?;
        let read = self.noted(read_token(&mut db, hash).await)?;
        Ok(read.map(|(token, _)| token))
    }

    /// Uses a token: records the device and everything that will stand in its certificate.
    ///
    /// The token's profile is read again in the transaction; `certificate` was prepared from an earlier
    /// look at it, and tokens do not change.
    ///
    /// # Errors
    /// V-042 (a revoked device does not enrol again), V-051; [`Refusal::Failed`].
    pub(crate) async fn record_enrolment(
        &self,
        token: Digest,
        certificate: PreparedCertificate,
        now: Timestamp,
    ) -> Result<EnrolmentRecord, Refusal> {
        self.writer
            .run(Write::Enrolment, move |db| {
                Box::pin(record_enrolment(db, token, certificate, now))
            })
            .await
    }

    /// Keeps a certificate that was signed, before it leaves. If two answers to the same enrolment were
    /// signed at the same time, the first is the certificate; that one is returned.
    pub(crate) async fn keep_certificate(&self, serial: [u8; 16], der: Vec<u8>) -> Result<Vec<u8>, Error> {
        self.writer
            .run(Write::DeviceCertificate, move |db| {
                Box::pin(async move {
                    sqlx::query("UPDATE device_certificates SET der = ?2 WHERE serial = ?1 AND der IS NULL")
                        .bind(&serial[..])
                        .bind(&der)
                        .execute(&mut *db)
                        .await?;
                    sqlx::query_scalar("SELECT der FROM device_certificates WHERE serial = ?1")
                        .bind(&serial[..])
                        .fetch_one(&mut *db)
                        .await
                        .map_err(Error::from)
                })
            })
            .await
    }
}

type UsedBy = Option<Vec<u8>>;

async fn read_token(db: &mut SqliteConnection, hash: &Digest) -> Result<Option<(TokenRow, UsedBy)>, Error> {
    let row: Option<(i64, String, i64, String, String, i64, UsedBy)> = sqlx::query_as(
        "SELECT account, role, security_level, maker, model, expires_at, used_by
         FROM enrolment_tokens WHERE hash = ?1",
    )
    .bind(&hash.as_bytes()[..])
    .fetch_optional(db)
    .await?;
    row.map(|(account, role, level, maker, model, expires, used_by)| {
        let profile = DeviceProfile {
            security_level: unsigned(level)?,
            maker,
            model,
        };
        Ok((
            TokenRow {
                account,
                role: role_from_name(&role).ok_or(Error::Damaged("a token has no role"))?,
                profile,
                expires: timestamp(expires),
            },
            used_by,
        ))
    })
    .transpose()
}

async fn record_enrolment(
    db: &mut SqliteConnection,
    hash: Digest,
    certificate: PreparedCertificate,
    now: Timestamp,
) -> Result<EnrolmentRecord, Refusal> {
    // V-051
    let (token, used_by) = read_token(db, &hash).await?.ok_or(TokenFault::Unknown)?;
    if token.expires <= now {
        return Err(TokenFault::Expired.into());
    }
    // V-054
    if token.role != certificate.role {
        return Err(TokenFault::OtherRole.into());
    }
    if let Some((role, revoked_at)) = read_enrolled(db, &certificate.device).await? {
        if role != certificate.role {
            return Err(Refusal::KeyOfOtherRole);
        }
        // V-042, V-071
        if revoked_at.is_some() {
            return Err(Refusal::DeviceRevoked);
        }
    }
    match used_by {
        Some(device) if device != certificate.device.as_bytes() => {
            return Err(TokenFault::UsedByAnother.into());
        }
        Some(_) => return read_certificate(db, &hash, &certificate).await,
        None => {}
    }
    insert_enrolment(db, &hash, &token, &certificate, now).await?;
    Ok(EnrolmentRecord::ToSign(Recorded(certificate)))
}

/// The role that a key is enrolled in, and when it was revoked.
async fn read_enrolled(
    db: &mut SqliteConnection,
    device: &DeviceId,
) -> Result<Option<(EnrolmentRole, Option<i64>)>, Error> {
    let row: Option<(String, Option<i64>)> =
        sqlx::query_as("SELECT role, revoked_at FROM devices WHERE id = ?1")
            .bind(&device.as_bytes()[..])
            .fetch_optional(db)
            .await?;
    row.map(|(role, revoked_at)| {
        let role = role_from_name(&role).ok_or(Error::Damaged("a device has no role"))?;
        Ok((role, revoked_at))
    })
    .transpose()
}

async fn insert_enrolment(
    db: &mut SqliteConnection,
    hash: &Digest,
    token: &TokenRow,
    certificate: &PreparedCertificate,
    now: Timestamp,
) -> Result<(), Error> {
    let device = &certificate.device.as_bytes()[..];
    let level = super::signed("a security level", token.profile.security_level)?;
    sqlx::query(
        "INSERT INTO devices (id, account, security_level, maker, model, enrolled_at, role)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT DO UPDATE SET account = excluded.account, security_level = excluded.security_level,
             maker = excluded.maker, model = excluded.model, enrolled_at = excluded.enrolled_at",
    )
    .bind(device)
    .bind(token.account)
    .bind(level)
    .bind(&token.profile.maker)
    .bind(&token.profile.model)
    .bind(milliseconds(now))
    .bind(role_name(token.role))
    .execute(&mut *db)
    .await?;
    sqlx::query("UPDATE enrolment_tokens SET used_by = ?2, used_at = ?3 WHERE hash = ?1")
        .bind(&hash.as_bytes()[..])
        .bind(device)
        .bind(milliseconds(now))
        .execute(&mut *db)
        .await?;
    sqlx::query(
        "INSERT INTO device_certificates (serial, device, token, claims, not_before, not_after, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(&certificate.serial[..])
    .bind(device)
    .bind(&hash.as_bytes()[..])
    .bind(certificate.claims.encode())
    .bind(milliseconds(certificate.not_before))
    .bind(milliseconds(certificate.not_after))
    .bind(milliseconds(now))
    .execute(&mut *db)
    .await?;
    let (device, role) = (certificate.device.to_string(), role_name(token.role));
    record_event(db, now, "device-enrolled", &device, role).await
}

/// What the device got, or was to get, for this token. Other sealing keys than then are refused: a
/// token makes one certificate.
async fn read_certificate(
    db: &mut SqliteConnection,
    hash: &Digest,
    asked: &PreparedCertificate,
) -> Result<EnrolmentRecord, Refusal> {
    type Row = (Vec<u8>, Vec<u8>, i64, i64, Option<Vec<u8>>);
    let (serial, claims, not_before, not_after, der): Row = sqlx::query_as(
        "SELECT serial, claims, not_before, not_after, der FROM device_certificates WHERE token = ?1",
    )
    .bind(&hash.as_bytes()[..])
    .fetch_one(db)
    .await
    .map_err(Error::from)?;
    let claims = Claims::decode(&claims).map_err(|_| Error::Damaged("a device's claims do not decode"))?;
    if claims.sealing_keys != asked.claims.sealing_keys {
        return Err(TokenFault::OtherSealingKeys.into());
    }
    Ok(match der {
        Some(der) => EnrolmentRecord::Issued(der),
        None => EnrolmentRecord::ToSign(Recorded(PreparedCertificate {
            device: asked.device,
            role: asked.role,
            serial: serial[..]
                .try_into()
                .map_err(|_| Error::Damaged("a serial number has the wrong length"))?,
            claims,
            not_before: timestamp(not_before),
            not_after: timestamp(not_after),
        })),
    })
}
