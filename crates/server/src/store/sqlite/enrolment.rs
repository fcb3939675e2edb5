//! Devices: tokens, enrolment, certificates.

use keyward_crypto::x509::Certificate;
use keyward_license::{
    certificate::Claims,
    codec::Wire,
    enrolment::EnrolmentRole,
    ids::{DeviceId, Digest},
    time::Timestamp,
};
use rusqlite::{Connection, params};

use super::{
    Store, connection::Statements, founding::record_event, milliseconds, revocation, signed, timestamp,
    unsigned,
};
use crate::{
    Error, Refusal,
    admin::{role_from_name, role_name},
    fail_points::Write,
    refusal::TokenFault,
    store::{DeviceProfile, EnrolmentRecord, PreparedCertificate, Recorded, TokenRow, revocation::ExemptRow},
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

    /// What a party is recorded as that has a certificate.
    ///
    /// # Errors
    /// V-042, V-071; V-055 if it is enrolled in another role; [`Refusal::Failed`].
    pub(crate) async fn enrolled_profile(
        &self,
        party: DeviceId,
        role: EnrolmentRole,
    ) -> Result<DeviceProfile, Refusal> {
        let read = self.read(|db| read_profile(db, &party)).await?;
        judge_enrolled(read, role)
    }

    /// Records a certificate that follows another of the same party. As long as the newest of its keys is not in its last
    /// third, that one comes back.
    ///
    /// # Errors
    /// Those of [`Store::enrolled_profile`]; [`Refusal::ListsChanged`] if it was judged by lists of another generation.
    pub(crate) async fn record_renewal(
        &self,
        certificate: PreparedCertificate,
        judged_by: i64,
        now: Timestamp,
    ) -> Result<EnrolmentRecord, Refusal> {
        self.writer
            .run(Write::Enrolment, move |db| {
                if revocation::generation(db)? != judged_by {
                    return Err(Refusal::ListsChanged);
                }
                record_renewal(db, certificate, now)
            })
            .await
    }

    /// Keeps a certificate that was signed, before it leaves. If two answers to the same enrolment were
    /// signed at the same time, the first is the certificate; that one is returned.
    ///
    /// V-055: one that follows an exempt one for the same keys is exempt as well.
    pub(crate) async fn keep_certificate(
        &self,
        serial: [u8; 16],
        der: Vec<u8>,
        now: Timestamp,
    ) -> Result<Vec<u8>, Error> {
        self.writer
            .run(Write::DeviceCertificate, move |db| {
                let kept = db.run(
                    "UPDATE device_certificates SET der = ?2 WHERE serial = ?1 AND der IS NULL",
                    params![&serial[..], &der],
                )?;
                if let (true, Some(earlier)) = (kept > 0, followed_by(db, &serial)?) {
                    let earlier = Digest::new(Certificate::parse(&earlier)?.digest());
                    let following = ExemptRow::of(&Certificate::parse(&der)?);
                    revocation::exempt_following(db, &earlier, &following, now)?;
                }
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
    type Row = (i64, String, i64, String, String, Option<i64>, i64, UsedBy);
    let row: Option<Row> = db.row_if_any(
        "SELECT account, role, security_level, maker, model, robustness_version, expires_at, used_by
         FROM enrolment_tokens WHERE hash = ?1",
        params![&hash.as_bytes()[..]],
    )?;
    row.map(
        |(account, role, level, maker, model, version, expires, used_by)| {
            let profile = DeviceProfile {
                security_level: unsigned(level)?,
                maker,
                model,
                robustness_version: version.map(unsigned).transpose()?,
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
        },
    )
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

type Enrolled = (EnrolmentRole, Option<i64>, DeviceProfile);

fn read_profile(db: &Connection, party: &DeviceId) -> Result<Option<Enrolled>, Error> {
    type Row = (String, Option<i64>, i64, String, String, Option<i64>);
    let row: Option<Row> = db.row_if_any(
        "SELECT role, revoked_at, security_level, maker, model, robustness_version FROM devices WHERE id = ?1",
        params![&party.as_bytes()[..]],
    )?;
    row.map(|(role, revoked_at, level, maker, model, version)| {
        let role = role_from_name(&role).ok_or(Error::Damaged("a device has no role"))?;
        let profile = DeviceProfile {
            security_level: unsigned(level)?,
            maker,
            model,
            robustness_version: version.map(unsigned).transpose()?,
        };
        Ok((role, revoked_at, profile))
    })
    .transpose()
}

fn judge_enrolled(found: Option<Enrolled>, role: EnrolmentRole) -> Result<DeviceProfile, Refusal> {
    // V-042, V-071
    match found {
        None => Err(Refusal::DeviceUnknown),
        Some((_, Some(_), _)) => Err(Refusal::DeviceRevoked),
        Some((enrolled, None, _)) if enrolled != role => Err(Refusal::KeyOfOtherRole),
        Some((_, None, profile)) => Ok(profile),
    }
}

fn record_renewal(
    db: &Connection,
    certificate: PreparedCertificate,
    now: Timestamp,
) -> Result<EnrolmentRecord, Refusal> {
    judge_enrolled(read_profile(db, &certificate.device)?, certificate.role)?;
    let device = &certificate.device.as_bytes()[..];
    let rows: Vec<CertificateRow> = db
        .rows(
            "SELECT serial, claims, not_before, not_after, der FROM device_certificates WHERE device = ?1
             ORDER BY not_after DESC, created_at DESC",
            params![device],
        )
        .map_err(Error::from)?;
    for row in rows {
        if revocation::is_revoked(db, &row.0)? {
            continue;
        }
        let (begins, ends) = (timestamp(row.2), timestamp(row.3));
        let newest = recorded_certificate(row, &certificate)?;
        if let Some(newest) = newest {
            let life = ends.0.saturating_sub(begins.0);
            // V-055
            if ends.0.saturating_sub(now.0) >= life / 3 {
                return Ok(newest);
            }
            break;
        }
    }
    insert_certificate(db, None, &certificate, now)?;
    record_event(
        db,
        now,
        "certificate-renewed",
        &certificate.device.to_string(),
        role_name(certificate.role),
    )?;
    Ok(EnrolmentRecord::ToSign(Recorded(certificate)))
}

/// The newest earlier certificate for the keys of one that was renewed.
fn followed_by(db: &Connection, renewed: &[u8; 16]) -> Result<Option<Vec<u8>>, Error> {
    let rows: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> = db.rows(
        "SELECT earlier.der, earlier.claims, renewed.claims
         FROM device_certificates AS renewed JOIN device_certificates AS earlier USING (device)
         WHERE renewed.serial = ?1 AND renewed.token IS NULL AND earlier.serial <> renewed.serial
             AND earlier.der IS NOT NULL AND earlier.created_at <= renewed.created_at
         ORDER BY earlier.not_after DESC, earlier.created_at DESC",
        params![&renewed[..]],
    )?;
    for (der, of_earlier, of_renewed) in rows {
        if read_claims(&of_earlier)?.sealing_keys == read_claims(&of_renewed)?.sealing_keys {
            return Ok(Some(der));
        }
    }
    Ok(None)
}

fn read_claims(claims: &[u8]) -> Result<Claims, Error> {
    Claims::decode(claims).map_err(|_| Error::Damaged("a device's claims do not decode"))
}

/// Serial number, claims, dates, and the certificate once it is signed.
type CertificateRow = (Vec<u8>, Vec<u8>, i64, i64, Option<Vec<u8>>);

/// A recorded certificate, if it is for the keys that are asked about.
fn recorded_certificate(
    (serial, claims, not_before, not_after, der): CertificateRow,
    asked: &PreparedCertificate,
) -> Result<Option<EnrolmentRecord>, Refusal> {
    let claims = read_claims(&claims)?;
    if claims.sealing_keys != asked.claims.sealing_keys {
        return Ok(None);
    }
    Ok(Some(match der {
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
    }))
}

fn insert_certificate(
    db: &Connection,
    token: Option<&Digest>,
    certificate: &PreparedCertificate,
    now: Timestamp,
) -> Result<(), Error> {
    db.run(
        "INSERT INTO device_certificates (serial, device, token, claims, not_before, not_after, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            &certificate.serial[..],
            &certificate.device.as_bytes()[..],
            token.map(|hash| &hash.as_bytes()[..]),
            certificate.claims.encode(),
            milliseconds(certificate.not_before),
            milliseconds(certificate.not_after),
            milliseconds(now)
        ],
    )?;
    Ok(())
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
    let level = signed("a security level", token.profile.security_level)?;
    db.run(
        "INSERT INTO devices (id, account, security_level, maker, model, enrolled_at, role, robustness_version)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT DO UPDATE SET account = excluded.account, security_level = excluded.security_level,
             maker = excluded.maker, model = excluded.model, enrolled_at = excluded.enrolled_at,
             robustness_version = excluded.robustness_version",
        params![
            device,
            token.account,
            level,
            &token.profile.maker,
            &token.profile.model,
            milliseconds(now),
            role_name(token.role),
            version_column(&token.profile)?
        ],
    )?;
    db.run(
        "UPDATE enrolment_tokens SET used_by = ?2, used_at = ?3 WHERE hash = ?1",
        params![&hash.as_bytes()[..], device, milliseconds(now)],
    )?;
    insert_certificate(db, Some(hash), certificate, now)?;
    let (device, role) = (certificate.device.to_string(), role_name(token.role));
    record_event(db, now, "device-enrolled", &device, role)
}

/// The column of a profile's robustness version.
pub(super) fn version_column(profile: &DeviceProfile) -> Result<Option<i64>, Error> {
    let version = profile.robustness_version;
    version
        .map(|version| signed("a robustness version", version))
        .transpose()
}

/// What the device got, or was to get, for this token. Other sealing keys than then are refused: a
/// token makes one certificate.
fn read_certificate(
    db: &Connection,
    hash: &Digest,
    asked: &PreparedCertificate,
) -> Result<EnrolmentRecord, Refusal> {
    let row: CertificateRow = db
        .row(
            "SELECT serial, claims, not_before, not_after, der FROM device_certificates WHERE token = ?1",
            params![&hash.as_bytes()[..]],
        )
        .map_err(Error::from)?;
    recorded_certificate(row, asked)?.ok_or(TokenFault::OtherSealingKeys.into())
}
