//! The operator's certificates.
//!
//! ```text
//!  root, 10 years
//!  ├── device authority, 5 years ──── devices
//!  ├── packager authority, 5 years ── packagers
//!  └── server authority, 5 years ─┬── license server, 1 year
//!                                 └── request encryption, 1 year
//! ```
//! A device authority cannot make a license server or a packager, and the other way round: an authority
//! carries the roles that it may issue for.

use keyward_crypto::{
    Secret,
    ecdsa::{PublicKey, SigningKey},
    hpke::{KeyPair, Suite},
    x509::{
        Certificate, Role,
        issue::{self, Profile},
    },
};
use keyward_license::{
    certificate::{Claims, SealingKey},
    codec::{Bytes, Wire},
    time::Timestamp,
};
use rand_core::CryptoRng;

use crate::{
    Error,
    store::{OperatorCertificate, Purpose},
};

/// A new operator's keys and certificates.
pub(super) struct Authority {
    pub(super) root: Vec<u8>,
    pub(super) root_key: SigningKey,
    pub(super) device_authority_key: SigningKey,
    pub(super) packager_authority_key: SigningKey,
    pub(super) server_authority_key: SigningKey,
    pub(super) license_server_key: SigningKey,
    /// One a suite, ascending.
    pub(super) request_encryption_keys: Vec<KeyPair>,
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

/// Makes all keys and certificates of a new operator.
pub(super) fn found(name: &str, now: Timestamp, rng: &mut impl CryptoRng) -> Result<Authority, Error> {
    let root_key = SigningKey::generate(rng);
    let root_subject = format!("{name} root");
    let root_profile = authority_profile(&root_subject, &[], 1, now, ROOT_YEARS, rng);
    let root = issue::self_signed(&root_profile, &root_key)?;
    let root_certificate = Certificate::parse(&root)?;

    let intermediate = |subject: &str, roles: &[Role], rng: &mut _| -> Result<Issuer, Error> {
        let key = SigningKey::generate(rng);
        let subject = format!("{name} {subject}");
        let profile = authority_profile(&subject, roles, 0, now, AUTHORITY_YEARS, rng);
        let der = issue::issue(&profile, key.public_key(), &root_certificate, &root_key)?;
        Ok(Issuer {
            certificate: Certificate::parse(&der)?,
            key,
        })
    };
    let device_authority = intermediate("device authority", &[Role::Device], rng)?;
    let packager_authority = intermediate("packager authority", &[Role::Packager], rng)?;
    let server_authority = intermediate("server authority", &SERVER_ROLES, rng)?;

    let license_server_key = SigningKey::generate(rng);
    let request_encryption_keys: Vec<_> = Suite::ALL
        .into_iter()
        .map(|suite| KeyPair::generate(suite, rng))
        .collect();
    let license_server = license_server(
        name,
        &server_authority,
        license_server_key.public_key(),
        serial(rng),
        now,
    )?;
    let request_encryption = request_encryption(
        name,
        &server_authority,
        &request_encryption_keys,
        serial(rng),
        now,
    )?;
    let certificates = vec![
        stored(Purpose::DeviceAuthority, device_authority.certificate.der())?,
        stored(Purpose::PackagerAuthority, packager_authority.certificate.der())?,
        stored(Purpose::ServerAuthority, server_authority.certificate.der())?,
        license_server,
        request_encryption,
    ];
    Ok(Authority {
        root,
        root_key,
        device_authority_key: device_authority.key,
        packager_authority_key: packager_authority.key,
        server_authority_key: server_authority.key,
        license_server_key,
        request_encryption_keys,
        proof_secret: Secret::random(rng),
        fingerprint_secret: Secret::random(rng),
        certificates,
    })
}

/// The certificate that signs licenses, responses and the discovery document.
pub(super) fn license_server(
    name: &str,
    issuer: &Issuer,
    key: &PublicKey,
    serial: [u8; 16],
    now: Timestamp,
) -> Result<OperatorCertificate, Error> {
    let subject = format!("{name} license server");
    let roles = [Role::LicenseServer, Role::Time];
    let profile = leaf_profile(&subject, &roles, None, issuer, serial, now);
    let der = issue::issue(&profile, key, &issuer.certificate, &issuer.key)?;
    stored(Purpose::LicenseServer, &der)
}

/// The certificate that requests are sealed to: its subject key is the suite 1 key, its claims hold the
/// keys of all suites.
pub(super) fn request_encryption(
    name: &str,
    issuer: &Issuer,
    keys: &[KeyPair],
    serial: [u8; 16],
    now: Timestamp,
) -> Result<OperatorCertificate, Error> {
    let sealing_keys = keys
        .iter()
        .map(|key| SealingKey {
            suite: key.suite().number(),
            public_key: Bytes(key.public_key().to_vec()),
        })
        .collect();
    let claims = Claims {
        sealing_keys: Some(sealing_keys),
        ..Claims::default()
    }
    .encode();
    let subject = format!("{name} request encryption");
    let profile = leaf_profile(
        &subject,
        &[Role::RequestEncryption],
        Some(&claims),
        issuer,
        serial,
        now,
    );
    let point = keys
        .iter()
        .find(|key| key.suite() == Suite::P256)
        .ok_or(Error::Damaged("there is no suite 1 request-encryption key"))?
        .public_key();
    let der = issue::issue(
        &profile,
        &PublicKey::from_point(point)?,
        &issuer.certificate,
        &issuer.key,
    )?;
    stored(Purpose::RequestEncryption, &der)
}

/// A serial number for a certificate: 16 random bytes.
pub(crate) fn serial(rng: &mut impl CryptoRng) -> [u8; 16] {
    let mut serial = [0; 16];
    rng.fill_bytes(&mut serial);
    serial
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

fn leaf_profile<'a>(
    subject: &'a str,
    roles: &'a [Role],
    claims: Option<&'a [u8]>,
    issuer: &Issuer,
    serial: [u8; 16],
    now: Timestamp,
) -> Profile<'a> {
    Profile {
        subject,
        roles,
        authority: None,
        not_before: now.minus(CLOCK_TOLERANCE).0,
        not_after: now
            .plus(LEAF_YEARS.saturating_mul(YEAR))
            .0
            .min(issuer.certificate.not_after()),
        claims,
        serial,
    }
}

fn stored(purpose: Purpose, der: &[u8]) -> Result<OperatorCertificate, Error> {
    let not_after = Timestamp(Certificate::parse(der)?.not_after());
    Ok(OperatorCertificate {
        purpose,
        der: der.to_vec(),
        not_after,
    })
}

/// What the server authority may issue for.
const SERVER_ROLES: [Role; 4] = [
    Role::LicenseServer,
    Role::RequestEncryption,
    Role::Time,
    Role::Receipt,
];

/// A certificate begins this many seconds before it is made, for clocks that are behind.
pub(crate) const CLOCK_TOLERANCE: u64 = 3600;

const YEAR: u64 = 365 * 86_400;
const ROOT_YEARS: u64 = 10;
const AUTHORITY_YEARS: u64 = 5;
const LEAF_YEARS: u64 = 1;
