//! The operator's certificates.
//!
//! ```text
//!  root, 10 years
//!  ├── device authority, 5 years ──── devices
//!  ├── packager authority, 5 years ── packagers
//!  └── server authority, 5 years ─┬── license server, 1 year
//!                                 ├── request encryption, 1 year
//!                                 ├── receipt, 1 year
//!                                 └── revocation list, 1 year
//! ```
//! A device authority cannot make a license server or a packager, and the other way round: an authority
//! carries the roles that it may issue for.

use keyward_crypto::{
    Secret,
    ecdsa::{PublicKey, SigningKey},
    x509::{
        Anchor, Certificate, Role,
        issue::{self, Profile},
    },
};
use keyward_license::time::Timestamp;
use rand_core::CryptoRng;

use super::keys::{Certified, PurposeKey};
use crate::{
    Error,
    store::{AuthorityRequestRow, OperatorCertificate, Purpose},
};

/// A new operator's keys and certificates.
pub(super) struct Authority {
    pub(super) root: Vec<u8>,
    pub(super) root_key: SigningKey,
    /// The first key of each purpose.
    pub(super) keys: Vec<(Purpose, PurposeKey)>,
    pub(super) proof_secret: Secret<32>,
    pub(super) fingerprint_secret: Secret<32>,
    pub(super) certificates: Vec<OperatorCertificate>,
}

/// An authority that issues leaves.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) certificate: Certificate,
    pub(crate) key: SigningKey,
}

/// Makes all keys and certificates of a new operator; its root is marked if it is one for tests.
pub(super) fn found(
    name: &str,
    is_test: bool,
    now: Timestamp,
    rng: &mut impl CryptoRng,
) -> Result<Authority, Error> {
    let root_key = SigningKey::generate(rng);
    let root_subject = format!("{name} root");
    let root_profile = authority_profile(&root_subject, &[], 1, now, ROOT_YEARS, rng);
    let root = match is_test {
        true => issue::self_signed_test(&root_profile, &root_key)?,
        false => issue::self_signed(&root_profile, &root_key)?,
    };
    let root_certificate = Certificate::parse(&root)?;

    let (mut keys, mut certificates) = (Vec::new(), Vec::new());
    let mut server_authority = None;
    for purpose in Purpose::of_authorities(true) {
        let key = SigningKey::generate(rng);
        let request = AuthorityRequestRow {
            purpose,
            key: 0,
            serial: serial(rng),
            not_before: now.minus(CLOCK_TOLERANCE),
            not_after: authority_end(now, &root_certificate),
        };
        let der = authority(name, &request, key.public_key(), &root_certificate, &root_key)?;
        certificates.push(stored((purpose, 0), &der, now)?);
        if purpose == Purpose::ServerAuthority {
            server_authority = Some(Issuer {
                certificate: Certificate::parse(&der)?,
                key: SigningKey::from_scalar(key.scalar().duplicate())?,
            });
        }
        keys.push((purpose, PurposeKey::Signing(key)));
    }
    let issuer = server_authority.ok_or(Error::Damaged("there is no server authority"))?;
    for purpose in Purpose::of_authorities(false).filter(|purpose| !purpose.comes_later()) {
        keys.push((purpose, PurposeKey::generate(purpose, rng)));
    }
    for (purpose, key) in keys.iter().filter(|(purpose, _)| !purpose.is_authority()) {
        let certified = key.certified()?;
        certificates.push(leaf(name, &issuer, (*purpose, 0), &certified, serial(rng), now)?);
    }
    Ok(Authority {
        root,
        root_key,
        keys,
        proof_secret: Secret::random(rng),
        fingerprint_secret: Secret::random(rng),
        certificates,
    })
}

impl Issuer {
    /// Whether it may certify keys of a purpose.
    pub(super) fn certifies(&self, purpose: Purpose) -> bool {
        let mut roles = purpose.roles().iter();
        roles.all(|role| self.certificate.roles().contains(role))
    }
}

/// A certificate of a key that the server authority certifies.
pub(super) fn leaf(
    name: &str,
    issuer: &Issuer,
    (purpose, number): (Purpose, u64),
    certified: &Certified,
    serial: [u8; 16],
    now: Timestamp,
) -> Result<OperatorCertificate, Error> {
    let profile = Profile {
        subject: &subject(name, purpose),
        roles: purpose.roles(),
        authority: None,
        not_before: now.minus(CLOCK_TOLERANCE).0,
        not_after: now
            .plus(LEAF_YEARS.saturating_mul(YEAR))
            .0
            .min(issuer.certificate.not_after()),
        claims: certified.claims.as_deref(),
        serial,
    };
    let der = issue::issue(&profile, &certified.key, &issuer.certificate, &issuer.key)?;
    stored((purpose, number), &der, now)
}

/// What the root signs for an authority: nothing of it is for the asker to say but the key, the serial number and the
/// dates.
pub(crate) fn authority(
    name: &str,
    request: &AuthorityRequestRow,
    key: &PublicKey,
    root: &Certificate,
    root_key: &SigningKey,
) -> Result<Vec<u8>, Error> {
    let profile = Profile {
        subject: &subject(name, request.purpose),
        roles: request.purpose.roles(),
        authority: Some(0),
        not_before: request.not_before.0,
        not_after: request.not_after.0,
        claims: None,
        serial: request.serial,
    };
    Ok(issue::issue(&profile, key, root, root_key)?)
}

/// When an authority ends that is made now: after five years, or with the root.
pub(crate) fn authority_end(now: Timestamp, root: &Certificate) -> Timestamp {
    let years = now.plus(AUTHORITY_YEARS.saturating_mul(YEAR));
    Timestamp(years.0.min(root.not_after()))
}

/// Whether a certificate is the one that was asked for, and what this authority issues is trusted: for each of its
/// roles one certificate is issued and verified.
pub(crate) fn check_authority(
    anchor: &Anchor,
    request: &AuthorityRequestRow,
    authority: &Issuer,
    rng: &mut impl CryptoRng,
) -> Result<(), Error> {
    let found = &authority.certificate;
    let mut named = request.serial;
    named[0] = named[0] & 0x7f | 0x40;
    let asked = found.public_key() == authority.key.public_key()
        && found.serial() == named
        && found.not_before() == request.not_before.0
        && found.not_after() == request.not_after.0
        && found.claims().is_none();
    if !asked {
        return Err(Error::NotTheAuthority("it is not what was asked for"));
    }
    let mut wanted = request.purpose.roles().to_vec();
    wanted.sort_unstable();
    let mut roles = found.roles().to_vec();
    roles.sort_unstable();
    if roles != wanted {
        return Err(Error::NotTheAuthority("it is for other roles"));
    }
    let trial = SigningKey::generate(rng);
    for role in wanted {
        let profile = Profile {
            subject: "trial",
            roles: &[role],
            authority: None,
            not_before: found.not_before(),
            not_after: found.not_after(),
            claims: None,
            serial: serial(rng),
        };
        let der = issue::issue(&profile, trial.public_key(), found, &authority.key)?;
        let chain = [der, found.der().to_vec()];
        anchor
            .verify(&chain, role, found.not_before())
            .map_err(|_| Error::NotTheAuthority("the root did not sign it"))?;
    }
    Ok(())
}

/// As people read it in certificates.
fn subject(name: &str, purpose: Purpose) -> String {
    format!("{name} {}", purpose.as_str().replace('-', " "))
}

/// A serial number for a certificate, as it will stand in it: 16 random bytes, but for the first two bits.
pub(crate) fn serial(rng: &mut impl CryptoRng) -> [u8; 16] {
    let mut drawn = [0; 16];
    rng.fill_bytes(&mut drawn);
    serial_number(drawn)
}

/// A serial number as it stands in the certificate, out of bytes that were drawn for it: positive and of full length.
pub(crate) const fn serial_number(mut drawn: [u8; 16]) -> [u8; 16] {
    drawn[0] = drawn[0] & 0x7f | 0x40;
    drawn
}

fn authority_profile<'a>(
    subject: &'a str,
    roles: &'a [Role],
    below: u8,
    now: Timestamp,
    years: u64,
    rng: &mut impl CryptoRng,
) -> Profile<'a> {
    Profile {
        subject,
        roles,
        authority: Some(below),
        not_before: now.minus(CLOCK_TOLERANCE).0,
        not_after: now.plus(years.saturating_mul(YEAR)).0,
        claims: None,
        serial: serial(rng),
    }
}

fn stored((purpose, key): (Purpose, u64), der: &[u8], now: Timestamp) -> Result<OperatorCertificate, Error> {
    Ok(OperatorCertificate {
        purpose,
        key,
        der: der.to_vec(),
        not_after: Timestamp(Certificate::parse(der)?.not_after()),
        created: now,
    })
}

/// A certificate begins this many seconds before it is made, for clocks that are behind.
pub(crate) const CLOCK_TOLERANCE: u64 = 3600;

pub(super) const YEAR: u64 = 365 * 86_400;
const ROOT_YEARS: u64 = 10;
/// How long an authority lasts.
pub(super) const AUTHORITY_YEARS: u64 = 5;
const LEAF_YEARS: u64 = 1;

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn a_serial_number_is_drawn_as_it_stands_in_the_certificate() {
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        for _ in 0..64 {
            let serial = serial(&mut rng);
            assert_eq!(serial[0] & 0xc0, 0x40);
            assert_eq!(serial_number(serial), serial);
        }
    }
}
