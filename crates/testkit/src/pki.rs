//! A test operator: root, authorities, servers and devices, all drawn from one seed.
//!
//! ```text
//!  root ── device authority ── devices (signing key, a sealing key a suite)
//!     └─── server authority ── leaves: license server, request encryption, time, receipt, …
//! ```
//! Certificates are valid around [`NOW`], the time at which tests play. Where a test needs one that is
//! not, [`Operator::issue`] takes a [`Leaf`] with any window, role and claims.

use keyward_crypto::{
    CryptoError, Secret, SecretBytes,
    ecdsa::{PublicKey, SIGNATURE_LEN, Signer, SigningKey},
    hpke::{KeyPair, Suite},
    x509::{
        Anchor, Certificate, Role,
        issue::{ListProfile, Profile, issue, revocation_list, self_signed},
    },
};
use keyward_license::{
    certificate::{Claims, SECURITY_LEVEL_SOFTWARE, SealingKey, certificate_digest, device_id},
    codec::{Bytes, Wire},
    ids::{DeviceId, Digest},
    operator_profile::OperatorProfile,
    time::Timestamp,
};
use p256::ecdsa::signature::Signer as _;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// The time at which tests play: 2027-01-15T08:00:00Z.
pub const NOW: Timestamp = Timestamp(1_800_000_000);
/// A day in seconds.
pub const DAY: u64 = 86_400;
/// A year of 365 days in seconds.
pub const YEAR: u64 = 365 * DAY;

/// Roles that the server authority issues for: every role but device and certificate authority.
pub const SERVER_ROLES: [Role; 10] = [
    Role::LicenseServer,
    Role::RequestEncryption,
    Role::Time,
    Role::Receipt,
    Role::RevocationList,
    Role::AuditLog,
    Role::Domain,
    Role::Metering,
    Role::SessionService,
    Role::Packager,
];

/// A signing key whose signatures are deterministic (RFC 6979), unlike those of the product.
pub struct TestKey {
    scalar: Secret<32>,
    public: PublicKey,
}

impl TestKey {
    /// A key drawn from `rng`.
    pub fn generate(rng: &mut ChaCha20Rng) -> Self {
        let key = SigningKey::generate(rng);
        Self {
            scalar: key.scalar().duplicate(),
            public: *key.public_key(),
        }
    }

    /// The private scalar, 32 big-endian bytes.
    #[must_use]
    pub const fn scalar(&self) -> &Secret<32> {
        &self.scalar
    }

    /// The same key as the product's type, whose signatures are randomised.
    #[must_use]
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::from_scalar(self.scalar.duplicate()).unwrap()
    }
}

impl Signer for TestKey {
    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], CryptoError> {
        let key = p256::ecdsa::SigningKey::from_slice(self.scalar.expose()).unwrap();
        let signature: p256::ecdsa::Signature = key.sign(message);
        Ok(signature.to_bytes().into())
    }

    fn public_key(&self) -> &PublicKey {
        &self.public
    }
}

/// What [`Operator::issue`] writes into a leaf certificate.
#[derive(Debug, Clone)]
pub struct Leaf<'a> {
    /// Common name.
    pub subject: &'a str,
    /// Roles.
    pub roles: &'a [Role],
    /// Start of validity.
    pub not_before: Timestamp,
    /// Last second of validity.
    pub not_after: Timestamp,
    /// Claims, if the certificate has the extension.
    pub claims: Option<Claims>,
}

impl<'a> Leaf<'a> {
    /// A leaf of these roles, valid from a month before [`NOW`] until a year after, without claims.
    #[must_use]
    pub const fn new(subject: &'a str, roles: &'a [Role]) -> Self {
        Self {
            subject,
            roles,
            not_before: NOW.minus(30 * DAY),
            not_after: NOW.plus(YEAR),
            claims: None,
        }
    }
}

/// A certified signing key: chain (DER, leaf first, without the root) and key.
pub struct Identity {
    /// Certificate chain as it travels in `x5chain`.
    pub chain: Vec<Vec<u8>>,
    /// The leaf's key.
    pub key: TestKey,
}

impl Identity {
    /// The leaf certificate.
    #[must_use]
    pub fn leaf(&self) -> Certificate {
        Certificate::parse(self.chain.first().unwrap()).unwrap()
    }

    /// SHA-256 of the leaf certificate.
    #[must_use]
    pub fn digest(&self) -> Digest {
        certificate_digest(&self.leaf())
    }
}

/// A certificate that messages are sealed to, with its private keys.
pub struct Recipient {
    /// Chain and signing key of the certificate.
    pub identity: Identity,
    /// The sealing keys that its claims name, one a suite, ascending.
    pub sealing: Vec<KeyPair>,
}

impl Recipient {
    /// The sealing key of `suite`.
    #[must_use]
    pub fn sealing_key(&self, suite: Suite) -> &KeyPair {
        self.sealing.iter().find(|pair| pair.suite() == suite).unwrap()
    }

    /// The device that this certificate's key is.
    #[must_use]
    pub fn id(&self) -> DeviceId {
        device_id(self.identity.key.public_key()).unwrap()
    }
}

/// A device: what its key store holds after enrolment.
pub type Device = Recipient;

/// A test operator. Every method that issues draws on its seeded generator, so the order of calls is
/// part of the seed.
pub struct Operator {
    rng: ChaCha20Rng,
    root: Authority,
    devices: Authority,
    servers: Authority,
}

impl Operator {
    /// Makes root and authorities from `seed`, whose first byte stands in their names.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let [first, ..] = seed;
        let root = Authority::root(&format!("Test root {first}"), &mut rng);
        let devices = root.authority(
            &format!("Test device authority {first}"),
            &[Role::Device],
            &mut rng,
        );
        let servers = root.authority(&format!("Test server authority {first}"), &SERVER_ROLES, &mut rng);
        Self {
            rng,
            root,
            devices,
            servers,
        }
    }

    /// The root certificate's DER.
    #[must_use]
    pub fn root(&self) -> &[u8] {
        self.root.certificate.der()
    }

    /// The root's key: what `init` would have put away.
    #[must_use]
    pub const fn root_key(&self) -> &TestKey {
        &self.root.key
    }

    /// The trust anchor that parties are configured with.
    #[must_use]
    pub fn anchor(&self) -> Anchor {
        Anchor::from_der(self.root()).unwrap()
    }

    /// SHA-256 of the root certificate: names the operator.
    #[must_use]
    pub fn id(&self) -> Digest {
        Digest::new(self.anchor().operator())
    }

    /// A profile that names `https://license.example` and takes licenses of every suite.
    #[must_use]
    pub fn profile(&self) -> OperatorProfile {
        OperatorProfile {
            version: 1,
            name: "Test operator".into(),
            root: Bytes(self.root().to_vec()),
            license_servers: vec!["https://license.example".into()],
            minimum_suite: Suite::P256.number(),
        }
    }

    /// The generator, for nonces and sealing in the same sequence.
    pub const fn rng(&mut self) -> &mut ChaCha20Rng {
        &mut self.rng
    }

    /// A server leaf of one role with a signing key.
    pub fn server(&mut self, role: Role) -> Identity {
        self.issue(&Leaf::new(&format!("Test {role:?}"), &[role]))
    }

    /// A server leaf of one role that messages are sealed to, with keys of both suites.
    pub fn recipient(&mut self, role: Role) -> Recipient {
        let sealing = self.sealing_keys();
        let (subject, roles) = (format!("Test {role:?}"), [role]);
        let leaf = Leaf {
            claims: Some(claims(None, &sealing)),
            ..Leaf::new(&subject, &roles)
        };
        Recipient {
            identity: self.issue(&leaf),
            sealing,
        }
    }

    /// A device of the software level with sealing keys of both suites.
    pub fn device(&mut self) -> Device {
        self.device_of_level(SECURITY_LEVEL_SOFTWARE)
    }

    /// A device of any level with sealing keys of both suites.
    pub fn device_of_level(&mut self, level: u64) -> Device {
        let sealing = self.sealing_keys();
        let leaf = Leaf {
            claims: Some(claims(Some(level), &sealing)),
            ..Leaf::new("Test device", &[Role::Device])
        };
        Recipient {
            identity: self.issue(&leaf),
            sealing,
        }
    }

    /// Issues any leaf for a fresh key: by the device authority if its first role is device, else by
    /// the server authority.
    pub fn issue(&mut self, leaf: &Leaf<'_>) -> Identity {
        let key = TestKey::generate(&mut self.rng);
        let chain = self.certify(leaf, key.public_key());
        Identity { chain, key }
    }

    /// As [`Operator::issue`], for a key that the caller holds: the chain, leaf first.
    pub fn certify(&mut self, leaf: &Leaf<'_>, key: &PublicKey) -> Vec<Vec<u8>> {
        let serial = serial(&mut self.rng);
        let authority = self.authority(leaf.roles.first().copied());
        let claims = leaf.claims.as_ref().map(Wire::encode);
        let profile = Profile {
            subject: leaf.subject,
            roles: leaf.roles,
            authority: None,
            not_before: leaf.not_before.0,
            not_after: leaf.not_after.0,
            claims: claims.as_deref(),
            serial,
        };
        let certificate = issue(&profile, key, &authority.certificate, &authority.key).unwrap();
        vec![certificate, authority.certificate.der().to_vec()]
    }

    /// A revocation list of the authority that issues for this role, or of the root.
    #[must_use]
    pub fn revocation_list(&self, issued: Option<Role>, list: &ListProfile<'_>) -> Vec<u8> {
        let authority = issued.map_or(&self.root, |role| self.authority(Some(role)));
        revocation_list(list, &authority.certificate, &authority.key).unwrap()
    }

    /// The certificate (DER) of the authority that issues for this role.
    #[must_use]
    pub fn authority_certificate(&self, role: Role) -> &[u8] {
        self.authority(Some(role)).certificate.der()
    }

    /// The key of the authority that issues for this role.
    #[must_use]
    pub fn authority_key(&self, role: Role) -> &TestKey {
        &self.authority(Some(role)).key
    }

    fn authority(&self, first_role: Option<Role>) -> &Authority {
        if first_role == Some(Role::Device) {
            &self.devices
        } else {
            &self.servers
        }
    }

    fn sealing_keys(&mut self) -> Vec<KeyPair> {
        Suite::ALL
            .into_iter()
            .map(|suite| KeyPair::generate(suite, &mut self.rng))
            .collect()
    }
}

/// Another copy of a sealing key pair, which has no `Clone` because it is a secret.
#[must_use]
pub fn duplicate(pair: &KeyPair) -> KeyPair {
    KeyPair::from_private(
        pair.suite(),
        SecretBytes::new(pair.private_key().expose().to_vec()),
    )
    .unwrap()
}

/// The claims of a certificate that messages are sealed to.
#[must_use]
pub fn claims(level: Option<u64>, sealing: &[KeyPair]) -> Claims {
    let keys = sealing.iter().map(|pair| SealingKey {
        suite: pair.suite().number(),
        public_key: Bytes(pair.public_key().to_vec()),
    });
    Claims {
        security_level: level,
        maker: level.map(|_| "Keyward".into()),
        model: level.map(|_| "test".into()),
        robustness_version: level.map(|_| 1),
        sealing_keys: Some(keys.collect()),
    }
}

struct Authority {
    certificate: Certificate,
    key: TestKey,
}

impl Authority {
    fn root(subject: &str, rng: &mut ChaCha20Rng) -> Self {
        let key = TestKey::generate(rng);
        let der = self_signed(&authority_profile(subject, &[], 1, rng), &key).unwrap();
        Self {
            certificate: Certificate::parse(&der).unwrap(),
            key,
        }
    }

    fn authority(&self, subject: &str, roles: &[Role], rng: &mut ChaCha20Rng) -> Self {
        let key = TestKey::generate(rng);
        let profile = authority_profile(subject, roles, 0, rng);
        let der = issue(&profile, key.public_key(), &self.certificate, &self.key).unwrap();
        Self {
            certificate: Certificate::parse(&der).unwrap(),
            key,
        }
    }
}

fn authority_profile<'a>(
    subject: &'a str,
    roles: &'a [Role],
    below: u8,
    rng: &mut ChaCha20Rng,
) -> Profile<'a> {
    Profile {
        subject,
        roles,
        authority: Some(below),
        not_before: NOW.minus(YEAR).0,
        not_after: NOW.plus(10 * YEAR).0,
        claims: None,
        serial: serial(rng),
    }
}

fn serial(rng: &mut ChaCha20Rng) -> [u8; 16] {
    let mut serial = [0; 16];
    rng.fill_bytes(&mut serial);
    serial
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let chains = [(); 2].map(|()| {
            let mut operator = Operator::new([1; 32]);
            let device = operator.device();
            (
                operator.root().to_vec(),
                device.identity.chain,
                device.identity.key.sign(b"message"),
            )
        });
        assert_eq!(chains[0], chains[1]);
        assert_ne!(Operator::new([2; 32]).root(), chains[0].0);
    }

    #[test]
    fn every_role_is_valid_for_itself_alone() {
        let mut operator = Operator::new([1; 32]);
        let anchor = operator.anchor();
        for role in SERVER_ROLES {
            let identity = operator.server(role);
            assert!(anchor.verify(&identity.chain, role, NOW.0).is_ok(), "{role:?}");
            assert!(
                anchor.verify(&identity.chain, Role::Device, NOW.0).is_err(),
                "{role:?}"
            );
        }
        let device = operator.device();
        assert!(anchor.verify(&device.identity.chain, Role::Device, NOW.0).is_ok());
        assert!(
            anchor
                .verify(&device.identity.chain, Role::LicenseServer, NOW.0)
                .is_err()
        );
    }

    #[test]
    fn signatures_are_those_of_the_key() {
        let key = TestKey::generate(&mut ChaCha20Rng::from_seed([1; 32]));
        let signature = key.sign(b"message").unwrap();
        key.signing_key()
            .public_key()
            .verify(b"message", &signature)
            .unwrap();
        assert_eq!(key.sign(b"message").unwrap(), signature);
    }
}
