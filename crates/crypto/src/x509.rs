//! X.509 certificates (RFC 5280) in Keyward's profile: P-256 keys, ECDSA with SHA-256, one operator
//! root, roles as extended key usages, one claims extension.
//!
//! Path validation is `rustls-webpki`'s; this module gives it our one signature algorithm, the role
//! that is asked for and the time to judge at, holds the path that it finds against the rules for single
//! certificates and the revocation lists ([`revocation`]), and reads the leaf afterwards. Issuing stands
//! in `issue`, behind the feature `authority`.
//!
//! ```text
//! 2.25.1843534794.1.<role>   extended key usage, one per role; issuing authorities carry the same
//! 2.25.1843534794.2          claims extension: an OCTET STRING that holds deterministic CBOR
//! 2.25.1843534794.4          test mark of a root: an OCTET STRING that holds CBOR `true`
//! ```
//! The claims extension and the test mark are not critical, because path validators refuse critical
//! extensions they do not know; that claims are present is checked where a claim is needed, and the mark
//! ([`Anchor::is_test`]) where an operator is accepted.

mod authority;
#[cfg(feature = "authority")]
pub mod issue;
#[cfg(test)]
mod limbo;
mod path;
pub mod revocation;
mod rules;
mod signed;
#[cfg(all(test, feature = "authority"))]
mod test_pki;

use std::sync::Arc;

use const_oid::{ObjectIdentifier, db::rfc5280::ID_CE_EXT_KEY_USAGE};
use der::{
    Decode, Encode,
    asn1::{AnyRef, OctetString},
};
use pki_types::{CertificateDer, TrustAnchor};
use webpki::{KeyUsage, anchor_from_trusted_cert};
use x509_cert::ext::pkix::ExtendedKeyUsage;

use self::{
    revocation::{Revocation, RevocationList, UnknownStatus},
    rules::Issuer,
};
use crate::{CryptoError, ecdsa::PublicKey, kdf::sha256};

/// The project's arc under 2.25 (ITU-T X.667). Below 2^31, because larger UUID arcs break current
/// X.509 libraries. All object identifiers of Keyward derive from this number.
pub const ARC: u32 = 1_843_534_794;

/// What a certificate's holder may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// A client that requests and keeps licenses.
    Device,
    /// Signs licenses, license responses and the discovery document.
    LicenseServer,
    /// Receives sealed requests.
    RequestEncryption,
    /// Signs server time.
    Time,
    /// Signs receipts.
    Receipt,
    /// Signs revocation lists of ours (models, companies, allow list).
    RevocationList,
    /// Signs checkpoints of the audit log.
    AuditLog,
    /// Issues domain certificates.
    Domain,
    /// Receives metering reports.
    Metering,
    /// Receives secure stops.
    SessionService,
    /// Asks for packaging data.
    Packager,
    /// Issues other certificates.
    CertificateAuthority,
}

impl Role {
    /// Every role, by number.
    pub const ALL: [Self; 12] = [
        Self::Device,
        Self::LicenseServer,
        Self::RequestEncryption,
        Self::Time,
        Self::Receipt,
        Self::RevocationList,
        Self::AuditLog,
        Self::Domain,
        Self::Metering,
        Self::SessionService,
        Self::Packager,
        Self::CertificateAuthority,
    ];

    /// The last arc of the role's extended key usage, from 1.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Device => 1,
            Self::LicenseServer => 2,
            Self::RequestEncryption => 3,
            Self::Time => 4,
            Self::Receipt => 5,
            Self::RevocationList => 6,
            Self::AuditLog => 7,
            Self::Domain => 8,
            Self::Metering => 9,
            Self::SessionService => 10,
            Self::Packager => 11,
            Self::CertificateAuthority => 12,
        }
    }

    /// The role's object identifier.
    #[must_use]
    pub fn oid(self) -> ObjectIdentifier {
        EKU_ARC.push_arc(self.number().into()).unwrap_or(EKU_ARC)
    }

    fn key_usage(self) -> KeyUsage {
        KeyUsage::required(match self {
            Self::Device => &const { eku_bytes(Self::Device) },
            Self::LicenseServer => &const { eku_bytes(Self::LicenseServer) },
            Self::RequestEncryption => &const { eku_bytes(Self::RequestEncryption) },
            Self::Time => &const { eku_bytes(Self::Time) },
            Self::Receipt => &const { eku_bytes(Self::Receipt) },
            Self::RevocationList => &const { eku_bytes(Self::RevocationList) },
            Self::AuditLog => &const { eku_bytes(Self::AuditLog) },
            Self::Domain => &const { eku_bytes(Self::Domain) },
            Self::Metering => &const { eku_bytes(Self::Metering) },
            Self::SessionService => &const { eku_bytes(Self::SessionService) },
            Self::Packager => &const { eku_bytes(Self::Packager) },
            Self::CertificateAuthority => &const { eku_bytes(Self::CertificateAuthority) },
        })
    }
}

/// The operator's root: the one certificate a party is configured with.
#[derive(Debug, Clone)]
pub struct Anchor {
    der: Vec<u8>,
    anchor: TrustAnchor<'static>,
    issuer: Issuer,
    is_test: bool,
    revocation: Option<Arc<Revocation>>,
}

impl Anchor {
    /// Reads the root certificate's DER.
    ///
    /// # Errors
    /// [`CryptoError::MalformedCertificate`].
    pub fn from_der(der: &[u8]) -> Result<Self, CryptoError> {
        let certificate = CertificateDer::from(der);
        let anchor = anchor_from_trusted_cert(&certificate)
            .map_err(|_| CryptoError::MalformedCertificate("not a root certificate"))?
            .to_owned();
        Ok(Self {
            der: der.to_vec(),
            anchor,
            issuer: Issuer::root(der)?,
            is_test: is_test(der)?,
            revocation: None,
        })
    }

    /// The same anchor, which from here on refuses a chain with a revoked certificate: `lists` are the
    /// revocation lists of the operator's authorities, in any order, and `unknown` says what to do with a
    /// certificate whose status they do not tell. Earlier lists of this anchor are replaced.
    ///
    /// Without this no chain is refused for a revocation.
    #[must_use]
    pub fn with_revocation(self, lists: Vec<RevocationList>, unknown: UnknownStatus) -> Self {
        Self {
            revocation: Some(Arc::new(Revocation::new(lists, unknown))),
            ..self
        }
    }

    /// The root certificate's DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the root certificate: names the operator.
    #[must_use]
    pub fn operator(&self) -> [u8; 32] {
        sha256(&[&self.der])
    }

    /// Whether the root is marked as one of a test operator, which issues to anybody and has no secrets. A
    /// party that guards content refuses to be configured with it.
    #[must_use]
    pub const fn is_test(&self) -> bool {
        self.is_test
    }

    /// Validates `chain` (DER, leaf first, without the root) for `role` at `at` (seconds UTC) and
    /// returns the leaf.
    ///
    /// # Errors
    /// [`CryptoError::ChainRefused`], or [`CryptoError::MalformedCertificate`] if the leaf does not
    /// follow the profile.
    pub fn verify(&self, chain: &[Vec<u8>], role: Role, at: u64) -> Result<Certificate, CryptoError> {
        path::validate(self, chain, role.key_usage(), at)
    }

    /// Checks that `list` is signed by the root or by an authority between it and the leaf of `chain`, which
    /// is judged as by [`Self::verify`]. A party that receives a list asks this before it keeps the list,
    /// because an anchor refuses a chain for a list that only claims to be its authority's.
    ///
    /// Whether the list is newer than a held one, [`RevocationList::supersedes`] tells. Whether it is
    /// current is judged where it is used.
    ///
    /// # Errors
    /// As [`Self::verify`]; [`CryptoError::ChainRefused`] with [`crate::ChainFault::RevocationListInvalid`]
    /// if none of them signed the list.
    pub fn verify_list(
        &self,
        list: &RevocationList,
        chain: &[Vec<u8>],
        role: Role,
        at: u64,
    ) -> Result<(), CryptoError> {
        let authorities = path::authorities(self, chain, role.key_usage(), at)?;
        list.verify_by_any(core::iter::once(&self.issuer).chain(&authorities))
    }

    /// As [`Self::verify_list`] for a list that comes without a leaf: `path` is that of the authority that
    /// issued it (DER, the issuing authority first, without the root; empty for the root's own list), at
    /// most four certificates. It has to lead to the root, to be valid at `at`, and to hold nothing that the
    /// anchor's lists name as revoked by `now` (both seconds UTC). Roles have no part in it.
    ///
    /// A list outlives the certificate of its authority, so `at` is usually the time of issue of the list.
    ///
    /// # Errors
    /// [`CryptoError::ChainRefused`], with [`crate::ChainFault::RevocationListInvalid`] if the path is good
    /// and its first authority did not sign the list.
    pub fn verify_list_of(
        &self,
        list: &RevocationList,
        path: &[Vec<u8>],
        at: u64,
        now: u64,
    ) -> Result<(), CryptoError> {
        list.verify_by_any([&authority::issuing(self, path, at, now)?])
    }

    /// From which second (UTC) on `chain` (DER, leaf first, without the root) is refused because the anchor's
    /// lists name one of its certificates: the earliest, if there is one. Nothing else of the chain is
    /// judged: it may have expired.
    ///
    /// # Errors
    /// [`CryptoError::MalformedCertificate`]; [`CryptoError::ChainRefused`] with
    /// [`crate::ChainFault::RevocationListInvalid`] if a list only claims to be of one of its authorities.
    pub fn revoked_since(&self, chain: &[Vec<u8>]) -> Result<Option<u64>, CryptoError> {
        let Some(lists) = &self.revocation else {
            return Ok(None);
        };
        let mut earliest: Option<u64> = None;
        for (at, der) in chain.iter().enumerate() {
            let above = chain.get(at.saturating_add(1));
            let issuer = above
                .map(|authority| Issuer::intermediate(authority))
                .transpose()?;
            let certificate = Certificate::parse(der)?;
            let since = lists.revoked_since(certificate.serial(), issuer.as_ref().unwrap_or(&self.issuer))?;
            earliest = earliest.into_iter().chain(since).min();
        }
        Ok(earliest)
    }
}

/// The fields of one certificate that Keyward reads. Having one says nothing about trust: only
/// [`Anchor::verify`] does. Clones share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate(Arc<Fields>);

#[derive(Debug, PartialEq, Eq)]
struct Fields {
    der: Vec<u8>,
    serial: Vec<u8>,
    subject: String,
    public_key: PublicKey,
    public_key_digest: [u8; 32],
    not_before: u64,
    not_after: u64,
    roles: Vec<Role>,
    claims: Option<Vec<u8>>,
}

impl Certificate {
    /// Reads DER.
    ///
    /// # Errors
    /// [`CryptoError::MalformedCertificate`] or [`CryptoError::MalformedKey`].
    pub fn parse(der: &[u8]) -> Result<Self, CryptoError> {
        let certificate = x509_cert::Certificate::from_der(der)
            .map_err(|_| CryptoError::MalformedCertificate("not X.509"))?;
        let tbs = certificate.tbs_certificate();
        let spki = tbs
            .subject_public_key_info()
            .to_der()
            .map_err(|_| CryptoError::MalformedCertificate("public key"))?;
        let fields = Fields {
            der: der.to_vec(),
            serial: serial(&certificate)?,
            subject: common_name(tbs.subject())?,
            public_key: PublicKey::from_spki_der(&spki)?,
            public_key_digest: sha256(&[&spki]),
            not_before: tbs.validity().not_before.to_unix_duration().as_secs(),
            not_after: tbs.validity().not_after.to_unix_duration().as_secs(),
            roles: roles(&certificate)?,
            claims: claims(&certificate)?,
        };
        Ok(Self(Arc::new(fields)))
    }

    /// The DER bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// SHA-256 of the DER bytes.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        sha256(&[&self.0.der])
    }

    /// The serial number as its issuer's revocation lists name it: the content of the DER INTEGER,
    /// big-endian, in two's complement.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.0.serial
    }

    /// The subject's common name.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The subject's public key.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public_key
    }

    /// SHA-256 of the subject's SubjectPublicKeyInfo, in DER.
    #[must_use]
    pub fn public_key_digest(&self) -> [u8; 32] {
        self.0.public_key_digest
    }

    /// Start of validity, seconds UTC.
    #[must_use]
    pub fn not_before(&self) -> u64 {
        self.0.not_before
    }

    /// End of validity, seconds UTC, included.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.0.not_after
    }

    /// The roles it names.
    #[must_use]
    pub fn roles(&self) -> &[Role] {
        &self.0.roles
    }

    /// The bytes inside the claims extension (deterministic CBOR, see `spec/protocol.md`), if there.
    #[must_use]
    pub fn claims(&self) -> Option<&[u8]> {
        self.0.claims.as_deref()
    }
}

fn serial(certificate: &x509_cert::Certificate) -> Result<Vec<u8>, CryptoError> {
    let number = certificate.tbs_certificate().serial_number().to_der();
    let number = number.as_deref().map(AnyRef::from_der);
    match number {
        Ok(Ok(number)) => Ok(number.value().to_vec()),
        _ => Err(CryptoError::MalformedCertificate("serial number")),
    }
}

fn common_name(name: &x509_cert::name::Name) -> Result<String, CryptoError> {
    const MISSING: CryptoError = CryptoError::MalformedCertificate("no common name");
    let attribute = name
        .iter()
        .find(|a| a.oid == const_oid::db::rfc4519::CN)
        .ok_or(MISSING)?;
    attribute
        .value
        .decode_as::<der::asn1::Utf8StringRef<'_>>()
        .map(|text| text.to_string())
        .map_err(|_| MISSING)
}

fn roles(certificate: &x509_cert::Certificate) -> Result<Vec<Role>, CryptoError> {
    let Some(value) = extension(certificate, ID_CE_EXT_KEY_USAGE) else {
        return Ok(Vec::new());
    };
    let usages = ExtendedKeyUsage::from_der(value)
        .map_err(|_| CryptoError::MalformedCertificate("extended key usage"))?;
    Ok(Role::ALL
        .into_iter()
        .filter(|role| usages.0.contains(&role.oid()))
        .collect())
}

fn claims(certificate: &x509_cert::Certificate) -> Result<Option<Vec<u8>>, CryptoError> {
    extension(certificate, CLAIMS_OID)
        .map(OctetString::from_der)
        .transpose()
        .map(|value| value.map(|octets| octets.as_bytes().to_vec()))
        .map_err(|_| CryptoError::MalformedCertificate("claims extension"))
}

/// Whether a root has the test mark. One with anything else in its place is no root of ours.
fn is_test(der: &[u8]) -> Result<bool, CryptoError> {
    const MALFORMED: CryptoError = CryptoError::MalformedCertificate("test mark");
    let root = x509_cert::Certificate::from_der(der).map_err(|_| MALFORMED)?;
    match extension(&root, TEST_OID) {
        None => Ok(false),
        Some(value) if value == TEST_MARK => Ok(true),
        Some(_) => Err(MALFORMED),
    }
}

fn extension(certificate: &x509_cert::Certificate, oid: ObjectIdentifier) -> Option<&[u8]> {
    let extensions = certificate.tbs_certificate().extensions()?;
    extensions
        .iter()
        .find(|extension| extension.extn_id == oid)
        .map(|found| found.extn_value.as_bytes())
}

const EKU_ARC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.25.1843534794.1");
const CLAIMS_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.25.1843534794.2");
const TEST_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.25.1843534794.4");
/// Value of the test mark: a DER OCTET STRING that holds CBOR `true`.
const TEST_MARK: [u8; 3] = [0x04, 0x01, 0xf5];

/// DER contents of `2.25.ARC.1.role`: first two arcs as 40*2+25, then base-128 (X.690 §8.19).
const fn eku_bytes(role: Role) -> [u8; 8] {
    const fn group(shift: u32, last: bool) -> u8 {
        let bits = ((ARC >> shift) & 0x7f).to_be_bytes()[3];
        if last { bits } else { bits | 0x80 }
    }
    [
        105,
        group(28, false),
        group(21, false),
        group(14, false),
        group(7, false),
        group(0, true),
        1,
        role.number(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_oids_derive_from_the_arc() {
        assert_eq!(EKU_ARC.to_string(), format!("2.25.{ARC}.1"));
        assert_eq!(CLAIMS_OID.to_string(), format!("2.25.{ARC}.2"));
        assert_eq!(TEST_OID.to_string(), format!("2.25.{ARC}.4"));
        for (index, role) in Role::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(role.number()), index + 1);
            assert_eq!(role.oid().as_bytes(), eku_bytes(role));
        }
    }

    #[test]
    fn garbage_is_refused() {
        for bytes in [&[][..], &[0x30], &[0x30, 0x03, 1, 1, 1], &[0xff; 300]] {
            assert!(Certificate::parse(bytes).is_err());
            assert!(Anchor::from_der(bytes).is_err());
        }
    }
}
