//! X.509 certificates (RFC 5280) in Keyward's profile: P-256 keys, ECDSA with SHA-256, one operator
//! root, roles as extended key usages, one claims extension.
//!
//! Path validation is `rustls-webpki`'s; this module gives it our one signature algorithm, the role
//! that is asked for and the time to judge at, and reads the leaf afterwards. Issuing stands in
//! `issue`, behind the feature `authority`.
//!
//! ```text
//! 2.25.1843534794.1.<role>   extended key usage, one per role; issuing authorities carry the same
//! 2.25.1843534794.2          claims extension: an OCTET STRING that holds deterministic CBOR
//! ```
//! The claims extension is not critical, because path validators refuse critical extensions they do
//! not know; that it is present is checked where a claim is needed.

#[cfg(feature = "authority")]
pub mod issue;

use core::time::Duration;

use const_oid::{ObjectIdentifier, db::rfc5280::ID_CE_EXT_KEY_USAGE};
use der::{Decode, Encode, asn1::OctetString};
use pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, TrustAnchor,
    UnixTime, alg_id,
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::ext::pkix::ExtendedKeyUsage;

use crate::{ChainFault, CryptoError, ecdsa::PublicKey, kdf::sha256};

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
        })
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

    /// Validates `chain` (DER, leaf first, without the root) for `role` at `at` (seconds UTC) and
    /// returns the leaf.
    ///
    /// # Errors
    /// [`CryptoError::ChainRefused`], or [`CryptoError::MalformedCertificate`] if the leaf does not
    /// follow the profile.
    pub fn verify(&self, chain: &[Vec<u8>], role: Role, at: u64) -> Result<Certificate, CryptoError> {
        let (leaf, intermediates) = chain
            .split_first()
            .ok_or(CryptoError::MalformedCertificate("no certificate"))?;
        let leaf_der = CertificateDer::from(&leaf[..]);
        let intermediates: Vec<_> = intermediates
            .iter()
            .map(|der| CertificateDer::from(&der[..]))
            .collect();
        EndEntityCert::try_from(&leaf_der)
            .map_err(refused)?
            .verify_for_usage(
                &[&Es256],
                core::slice::from_ref(&self.anchor),
                &intermediates,
                UnixTime::since_unix_epoch(Duration::from_secs(at)),
                role.key_usage(),
                None,
                None,
            )
            .map_err(refused)?;
        Certificate::parse(leaf)
    }
}

/// The fields of one certificate that Keyward reads. Having one says nothing about trust: only
/// [`Anchor::verify`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    subject: String,
    public_key: PublicKey,
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
        Ok(Self {
            der: der.to_vec(),
            subject: common_name(tbs.subject())?,
            public_key: PublicKey::from_spki_der(&spki)?,
            not_before: tbs.validity().not_before.to_unix_duration().as_secs(),
            not_after: tbs.validity().not_after.to_unix_duration().as_secs(),
            roles: roles(&certificate)?,
            claims: claims(&certificate)?,
        })
    }

    /// The DER bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the DER bytes.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        sha256(&[&self.der])
    }

    /// The subject's common name.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The subject's public key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Start of validity, seconds UTC.
    #[must_use]
    pub const fn not_before(&self) -> u64 {
        self.not_before
    }

    /// End of validity, seconds UTC, included.
    #[must_use]
    pub const fn not_after(&self) -> u64 {
        self.not_after
    }

    /// The roles it names.
    #[must_use]
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// The bytes inside the claims extension (deterministic CBOR, see `spec/protocol.md`), if there.
    #[must_use]
    pub fn claims(&self) -> Option<&[u8]> {
        self.claims.as_deref()
    }
}

/// The one signature algorithm path validation is given: ECDSA on P-256 with SHA-256.
#[derive(Debug)]
struct Es256;

impl SignatureVerificationAlgorithm for Es256 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        // X.509 carries the DER form of a signature (RFC 3279 §2.2.3); ours is the fixed form.
        let signature = p256::ecdsa::Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        PublicKey::from_point(public_key)
            .and_then(|key| key.verify(message, &signature.to_bytes()))
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn refused(error: webpki::Error) -> CryptoError {
    use webpki::Error as E;
    CryptoError::ChainRefused(match error {
        E::UnknownIssuer => ChainFault::UnknownIssuer,
        E::CertExpired { .. } => ChainFault::Expired,
        E::CertNotValidYet { .. } => ChainFault::NotYetValid,
        E::RequiredEkuNotFoundContext(_) | E::CaUsedAsEndEntity => ChainFault::WrongRole,
        _ => ChainFault::Invalid,
    })
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

fn extension(certificate: &x509_cert::Certificate, oid: ObjectIdentifier) -> Option<&[u8]> {
    let extensions = certificate.tbs_certificate().extensions()?;
    extensions
        .iter()
        .find(|extension| extension.extn_id == oid)
        .map(|found| found.extn_value.as_bytes())
}

const EKU_ARC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.25.1843534794.1");
const CLAIMS_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.25.1843534794.2");

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
