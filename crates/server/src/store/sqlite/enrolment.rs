//! Devices: tokens, enrolment, certificates.

use keyward_license::{
    certificate::Claims,
    codec::Wire,
    enrolment::EnrolmentRole,
    ids::{DeviceId, Digest},
    time::Timestamp,
};
use rusqlite::{Connection, params};

use super::{Store, connection::Statements, founding::record_event, milliseconds, timestamp, unsigned};
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
        let read = self.read(|db| read_token(db, hash)).await?;
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
                record_enrolment(db, token, certificate, now)
            })
            .await
    }

    /// Keeps a certificate that was signed, before it leaves. If two answers to the same enrolment were
    /// signed at the same time, the first is the certificate; that one is returned.
    pub(crate) async fn keep_certificate(&self, serial: [u8; 16], der: Vec<u8>) -> Result<Vec<u8>, Error> {
        self.writer
            .run(Write::DeviceCertificate, move |db| {
                db.run(
                    "UPDATE device_certificates SET der = ?2 WHERE serial = ?1 AND der IS NULL",
                    params![&serial[..], &der],
                )?;
                db.value(
                    "SELECT der FROM device_certificates WHERE serial = ?1",
                    params![&serial[..]],
                )
                .map_err(Error::from)
            })
            .await
    }
}

type UsedBy = Option<Vec<u8>>;

fn read_token(db: &Connection, hash: &Digest) -> Result<Option<(TokenRow, UsedBy)>, Error> {
    let row: Option<(i64, String, i64, String, String, i64, UsedBy)> = db.row_if_any(
        "SELECT account, role, security_level, maker, model, expires_at, used_by
         FROM enrolment_tokens WHERE hash = ?1",
        params![&hash.as_bytes()[..]],
    )?;
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

fn record_enrolment(
    db: &Connection,
    hash: Digest,
    certificate: PreparedCertificate,
    now: Timestamp,
) -> Result<EnrolmentRecord, Refusal> {
    // V-051
    let (token, used_by) = read_token(db, &hash)?.ok_or(TokenFault::Unknown)?;
    if token.expires <= now {
        return Err(TokenFault::Expired.into());
    }
    // V-054
    if token.role != certificate.role {
        return Err(TokenFault::OtherRole.into());
    }
    if let Some((role, revoked_at)) = read_enrolled(db, &certificate.device)? {
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
        Some(_) => return read_certificate(db, &hash, &certificate),
        None => {}
    }
    insert_enrolment(db, &hash, &token, &certificate, now)?;
    Ok(EnrolmentRecord::ToSign(Recorded(certificate)))
}

/// The role that a key is enrolled in, and when it was revoked.
fn read_enrolled(db: &Connection, device: &DeviceId) -> Result<Option<(EnrolmentRole, Option<i64>)>, Error> {
    let row: Option<(String, Option<i64>)> = db.row_if_any(
        "SELECT role, revoked_at FROM devices WHERE id = ?1",
        params![&device.as_bytes()[..]],
    )?;
    row.map(|(role, revoked_at)| {
        let role = role_from_name(&role).ok_or(Error::Damaged("a device has no role"))?;
        Ok((role, revoked_at))
    })
    .transpose()
}

fn insert_enrolment(
    db: &Connection,
    hash: &Digest,
    token: &TokenRow,
    certificate: &PreparedCertificate,
    now: Timestamp,
) -> Result<(), Error> {
    let device = &certificate.device.as_bytes()[..];
    let level = super::signed("a security level", token.profile.security_level)?;
    db.run(
        "INSERT INTO devices (id, account, security_level, maker, model, enrolled_at, role)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT DO UPDATE SET account = excluded.account, security_level = excluded.security_level,
             maker = excluded.maker, model = excluded.model, enrolled_at = excluded.enrolled_at",
        params![
            device,
            token.account,
            level,
            &token.profile.maker,
            &token.profile.model,
            milliseconds(now),
            role_name(token.role)
        ],
    )?;
    db.run(
        "UPDATE enrolment_tokens SET used_by = ?2, used_at = ?3 WHERE hash = ?1",
        params![&hash.as_bytes()[..], device, milliseconds(now)],
    )?;
    db.run(
        "INSERT INTO device_certificates (serial, device, token, claims, not_before, not_after, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            &certificate.serial[..],
            device,
            &hash.as_bytes()[..],
            certificate.claims.encode(),
            milliseconds(certificate.not_before),
            milliseconds(certificate.not_after),
            milliseconds(now)
        ],
    )?;
    let (device, role) = (certificate.device.to_string(), role_name(token.role));
    record_event(db, now, "device-enrolled", &device, role)
}

/// What the device got, or was to get, for this token. Other sealing keys than then are refused: a
/// token makes one certificate.
fn read_certificate(
    db: &Connection,
    hash: &Digest,
    asked: &PreparedCertificate,
) -> Result<EnrolmentRecord, Refusal> {
    type Row = (Vec<u8>, Vec<u8>, i64, i64, Option<Vec<u8>>);
    let (serial, claims, not_before, not_after, der): Row = db
        .row(
            "SELECT serial, claims, not_before, not_after, der FROM device_certificates WHERE token = ?1",
            params![&hash.as_bytes()[..]],
        )
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
