//! What is revoked, and the lists that say so. Every change of what a list says raises its generation in the same
//! transaction; who judges by lists asks whether that is still the one that they are of.

mod lists;
mod models;

use std::collections::{BTreeMap, BTreeSet};

use keyward_crypto::x509::Certificate;
use keyward_license::{ids::DeviceId, time::Timestamp};
use rusqlite::{Connection, params};

use super::{Store, connection::Statements, founding::record_event, id, milliseconds, timestamp};
use crate::{
    Error,
    fail_points::Write,
    operator::serial_number,
    store::{
        Purpose,
        revocation::{Generations, IssuedCertificateRow, RevokedRow, reason_from_name, reason_name},
    },
};

pub(super) use models::exempt_following;

impl Store {
    /// How often what each list says has changed.
    pub(crate) async fn generations(&self) -> Result<Generations, Error> {
        self.read(|db| {
            let rows = db.rows("SELECT list, generation FROM revocation_generations", [])?;
            Ok(Generations::new(rows))
        })
        .await
    }

    /// Every certificate that lists name, by serial number.
    pub(crate) async fn revoked_certificates(&self) -> Result<Vec<RevokedRow>, Error> {
        self.read(|db| read_revoked(db, None)).await
    }

    /// As [`Store::revoked_certificates`], each with the device or packager that has it, if it is one's.
    pub(crate) async fn revoked_with_devices(&self) -> Result<Vec<(RevokedRow, Option<DeviceId>)>, Error> {
        let with_device = |db: &Connection, row: RevokedRow| {
            let of = device_of(db, &row.serial)?;
            Ok((row, of.map(|of| of.device)))
        };
        self.read(|db| {
            let rows = read_revoked(db, None)?.into_iter();
            rows.map(|row| with_device(db, row)).collect()
        })
        .await
    }

    /// Puts a certificate on the list of its authority, and with it all that are for the same key: they would serve
    /// whoever has it. Of one that stands there the earlier time counts.
    ///
    /// # Errors
    /// [`Error::CertificateUnknown`], [`Error::CertificateInUse`].
    pub(crate) async fn revoke_certificate(&self, revoked: RevokedRow, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::CertificateRevocation, move |db| {
                let found = known_certificate(db, &revoked.serial)?
                    .ok_or_else(|| Error::CertificateUnknown(hex::encode(&revoked.serial)))?;
                if found.in_use {
                    return Err(Error::CertificateInUse(hex::encode(&revoked.serial)));
                }
                put_on_list(db, &revoked)?;
                for (serial, not_after) in of_same_key(db, &revoked.serial)? {
                    let sibling = RevokedRow {
                        serial,
                        not_after,
                        ..revoked.clone()
                    };
                    put_on_list(db, &sibling)?;
                }
                let (serial, authority) = (hex::encode(&revoked.serial), revoked.authority.as_str());
                record_event(db, now, "certificate-revoked", &serial, authority)
            })
            .await
    }

    /// Takes a certificate, and all that are for the same key, off the list of its authority.
    ///
    /// # Errors
    /// [`Error::CertificateNotRevoked`]; [`Error::DeviceRevokedForGood`] if its device or packager is.
    pub(crate) async fn restore_certificate(&self, serial: Vec<u8>, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::CertificateRevocation, move |db| restore(db, &serial, now))
            .await
    }

    /// What the database has of a certificate that the operator issued.
    pub(crate) async fn issued_certificate(
        &self,
        serial: &[u8],
    ) -> Result<Option<IssuedCertificateRow>, Error> {
        self.read(|db| known_certificate(db, serial)).await
    }

    /// The newest certificate of a device, if it was signed.
    pub(crate) async fn device_certificate(&self, device: DeviceId) -> Result<Option<Vec<u8>>, Error> {
        self.read(|db| {
            let der: Option<Option<Vec<u8>>> = db.value_if_any(
                "SELECT der FROM device_certificates WHERE device = ?1 ORDER BY not_after DESC, created_at DESC",
                [&device.as_bytes()[..]],
            )?;
            Ok(der.flatten())
        })
        .await
    }
}

/// How often anything that lists say has changed.
pub(super) fn generation(db: &Connection) -> Result<i64, Error> {
    Ok(db.value("SELECT sum(generation) FROM revocation_generations", [])?)
}

/// Whether a list names the certificate of a device or packager, by the bytes that were drawn for its serial number.
pub(super) fn is_revoked(db: &Connection, drawn: &[u8]) -> Result<bool, Error> {
    let serial = serial_number(id(drawn)?);
    let found: Option<i64> = db.value_if_any(
        "SELECT 1 FROM revoked_certificates WHERE serial = ?1",
        [&serial[..]],
    )?;
    Ok(found.is_some())
}

/// What a list says has changed.
pub(super) fn changed(db: &Connection, list: &str) -> Result<(), Error> {
    db.run(
        "UPDATE revocation_generations SET generation = generation + 1 WHERE list = ?1",
        [list],
    )?;
    Ok(())
}

/// Puts every certificate of a device or packager on the list of its authority.
pub(super) fn revoke_certificates_of(
    db: &Connection,
    device: &DeviceId,
    now: Timestamp,
) -> Result<(), Error> {
    let role: String = db.value("SELECT role FROM devices WHERE id = ?1", [&device.as_bytes()[..]])?;
    let authority = authority_of(&role)?;
    let certificates: Vec<(Vec<u8>, i64)> = db.rows(
        "SELECT serial, not_after FROM device_certificates WHERE device = ?1",
        [&device.as_bytes()[..]],
    )?;
    for (serial, not_after) in certificates {
        put_on_list(
            db,
            &RevokedRow {
                serial: serial_number(id(&serial)?).to_vec(),
                authority,
                not_after: timestamp(not_after),
                revoked: now,
                invalid_since: None,
                reason: None,
            },
        )?;
    }
    // Of a device without certificates as well: who judges by lists looks again.
    changed(db, authority.as_str())
}

fn authority_of(role: &str) -> Result<Purpose, Error> {
    match role {
        "device" => Ok(Purpose::DeviceAuthority),
        "packager" => Ok(Purpose::PackagerAuthority),
        _ => Err(Error::Damaged("a device has no role")),
    }
}

fn put_on_list(db: &Connection, revoked: &RevokedRow) -> Result<(), Error> {
    db.run(
        "INSERT INTO revoked_certificates (serial, authority, not_after, revoked_at, invalid_since, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET reason = ifnull(excluded.reason, reason),
             invalid_since = ifnull(min(invalid_since, excluded.invalid_since),
                                    ifnull(invalid_since, excluded.invalid_since))",
        params![
            revoked.serial,
            revoked.authority.as_str(),
            milliseconds(revoked.not_after),
            milliseconds(revoked.revoked),
            revoked.invalid_since.map(milliseconds),
            revoked.reason.and_then(reason_name),
        ],
    )?;
    changed(db, revoked.authority.as_str())
}

fn restore(db: &Connection, serial: &[u8], now: Timestamp) -> Result<(), Error> {
    let authority: Option<String> = db.value_if_any(
        "SELECT authority FROM revoked_certificates WHERE serial = ?1",
        [serial],
    )?;
    let authority = authority.ok_or_else(|| Error::CertificateNotRevoked(hex::encode(serial)))?;
    if device_of(db, serial)?.is_some_and(|of| of.is_revoked) {
        return Err(Error::DeviceRevokedForGood(hex::encode(serial)));
    }
    db.run("DELETE FROM revoked_certificates WHERE serial = ?1", [serial])?;
    for (sibling, _) in of_same_key(db, serial)? {
        db.run("DELETE FROM revoked_certificates WHERE serial = ?1", [sibling])?;
    }
    changed(db, &authority)?;
    record_event(db, now, "certificate-restored", &hex::encode(serial), &authority)
}

/// A certificate of a device or packager.
struct OfDevice {
    issued: IssuedCertificateRow,
    device: DeviceId,
    /// Whether the device or packager is revoked itself.
    is_revoked: bool,
}

/// The certificate of a device or packager that has this serial number.
fn device_of(db: &Connection, serial: &[u8]) -> Result<Option<OfDevice>, Error> {
    // The first two bits of what was drawn are not in the certificate. A list names what is, and nothing else.
    let of_device: Option<[u8; 16]> = serial.try_into().ok();
    let Some(serial) = of_device.filter(|serial| serial_number(*serial) == *serial) else {
        return Ok(None);
    };
    for bits in [0, 0x40, 0x80, 0xc0] {
        let mut drawn = serial;
        drawn[0] = drawn[0] & 0x3f | bits;
        let row: Option<(Vec<u8>, String, i64, Option<i64>)> = db.row_if_any(
            "SELECT d.id, d.role, c.not_after, d.revoked_at
             FROM device_certificates c JOIN devices d ON d.id = c.device WHERE c.serial = ?1",
            [&drawn[..]],
        )?;
        if let Some((device, role, not_after, revoked_at)) = row {
            let issued = IssuedCertificateRow {
                authority: authority_of(&role)?,
                not_after: timestamp(not_after),
                in_use: false,
            };
            return Ok(Some(OfDevice {
                issued,
                device: id(&device)?,
                is_revoked: revoked_at.is_some(),
            }));
        }
    }
    Ok(None)
}

/// Serial number and end of every certificate that is for the key of this one: those of its device or packager, or of the
/// operator's own those of its purpose and key.
fn of_same_key(db: &Connection, serial: &[u8]) -> Result<Vec<(Vec<u8>, Timestamp)>, Error> {
    let Some(OfDevice { device, .. }) = device_of(db, serial)? else {
        let own = own_of_same_key(db, serial)?.into_iter();
        return Ok(own.map(|one| (one.serial, one.not_after)).collect());
    };
    let rows: Vec<(Vec<u8>, i64)> = db.rows(
        "SELECT serial, not_after FROM device_certificates WHERE device = ?1",
        [&device.as_bytes()[..]],
    )?;
    rows.into_iter()
        .map(|(drawn, not_after)| Ok((serial_number(id(&drawn)?).to_vec(), timestamp(not_after))))
        .collect()
}

/// What the operator issued under this serial number: to a device, a packager, or to itself.
///
/// # Errors
/// [`Error::OfAuthority`] of what the root issued.
fn known_certificate(db: &Connection, serial: &[u8]) -> Result<Option<IssuedCertificateRow>, Error> {
    if let Some(of) = device_of(db, serial)? {
        return Ok(Some(of.issued));
    }
    let of_key = own_of_same_key(db, serial)?;
    if let Some(own) = of_key.iter().find(|own| own.serial == serial) {
        return Ok(Some(IssuedCertificateRow {
            authority: Purpose::ServerAuthority,
            not_after: own.not_after,
            in_use: of_key.iter().any(|own| own.is_newest),
        }));
    }
    let authorities = db.values::<Vec<u8>>(
        "SELECT der FROM certificates WHERE purpose LIKE '%-authority'",
        [],
    )?;
    for der in authorities {
        if Certificate::parse(&der)?.serial() == serial {
            return Err(Error::OfAuthority(hex::encode(serial)));
        }
    }
    Ok(None)
}

/// A certificate of the operator's own, of no authority.
struct OwnCertificate {
    serial: Vec<u8>,
    not_after: Timestamp,
    /// Whether it is the newest of its purpose.
    is_newest: bool,
}

/// The operator's own certificates for the key of the one that has this serial number, itself among them; none if it is
/// none of these. A renewal keeps the key: there may be several.
fn own_of_same_key(db: &Connection, serial: &[u8]) -> Result<Vec<OwnCertificate>, Error> {
    let rows: Vec<(String, i64, Vec<u8>, i64)> = db.rows(
        "SELECT purpose, key, der, not_after FROM certificates
         WHERE purpose IN ('license-server', 'request-encryption', 'receipt', 'revocation-list') ORDER BY id DESC",
        [],
    )?;
    let (mut newer, mut of_key) = (BTreeSet::new(), BTreeMap::<_, Vec<_>>::new());
    let mut found = None;
    for (purpose, key, der, not_after) in rows {
        let own = OwnCertificate {
            serial: Certificate::parse(&der)?.serial().to_vec(),
            not_after: timestamp(not_after),
            is_newest: newer.insert(purpose.clone()),
        };
        if own.serial == serial {
            found = Some((purpose.clone(), key));
        }
        of_key.entry((purpose, key)).or_default().push(own);
    }
    Ok(found.and_then(|found| of_key.remove(&found)).unwrap_or_default())
}

/// Certificates that lists name, of one authority or of all. Those that ended before `since` are left out.
pub(super) fn read_revoked(
    db: &Connection,
    of: Option<(Purpose, Timestamp)>,
) -> Result<Vec<RevokedRow>, Error> {
    type Row = (Vec<u8>, String, i64, i64, Option<i64>, Option<String>);
    let (authority, since) = of.unzip();
    let rows: Vec<Row> = db.rows(
        "SELECT serial, authority, not_after, revoked_at, invalid_since, reason FROM revoked_certificates
         WHERE authority = ifnull(?1, authority) AND not_after >= ifnull(?2, not_after) ORDER BY authority, serial",
        params![authority.map(Purpose::as_str), since.map(milliseconds)],
    )?;
    rows.into_iter()
        .map(|(serial, authority, not_after, revoked, invalid_since, reason)| {
            let reason = reason
                .map(|name| reason_from_name(&name).ok_or(Error::Damaged("a revocation has no reason")));
            Ok(RevokedRow {
                serial,
                authority: Purpose::from_text(&authority)
                    .ok_or(Error::Damaged("a revocation has no authority"))?,
                not_after: timestamp(not_after),
                revoked: timestamp(revoked),
                invalid_since: invalid_since.map(timestamp),
                reason: reason.transpose()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use keyward_crypto::{
        ecdsa::SigningKey,
        x509::issue::{Profile, self_signed},
    };
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn a_serial_number_is_what_stands_in_the_certificate() {
        let key = SigningKey::generate(&mut ChaCha20Rng::from_seed([1; 32]));
        for first in [0x00, 0x3f, 0x40, 0x7f, 0x80, 0xff] {
            let mut drawn = [7; 16];
            drawn[0] = first;
            let profile = Profile {
                subject: "root",
                roles: &[],
                authority: Some(1),
                not_before: 0,
                not_after: 9,
                claims: None,
                serial: drawn,
            };
            let certificate = Certificate::parse(&self_signed(&profile, &key).unwrap()).unwrap();
            assert_eq!(certificate.serial(), serial_number(drawn), "{first:x}");
        }
    }
}
