//! Issuing certificates (the operator's root, its intermediates, and leaves for every role) and the revocation
//! lists of those authorities.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, RevocationReason, RevokedCertParams, SerialNumber, SignatureAlgorithm, SigningKey,
};
use time::OffsetDateTime;

use super::{ARC, Certificate, Role, TEST_MARK, revocation::RevocationList, rules::check_serial};
use crate::{
    CryptoError,
    ecdsa::{PublicKey, Signer},
    kdf::sha256,
};

/// What a certificate says.
#[derive(Debug, Clone)]
pub struct Profile<'a> {
    /// The subject's common name.
    pub subject: &'a str,
    /// Roles of the subject; of an authority, the roles it may issue for.
    pub roles: &'a [Role],
    /// `Some(n)`: a certificate authority with at most `n` intermediates below it.
    pub authority: Option<u8>,
    /// Start of validity, seconds UTC.
    pub not_before: u64,
    /// End of validity, seconds UTC, included.
    pub not_after: u64,
    /// Content of the claims extension (deterministic CBOR), if any.
    pub claims: Option<&'a [u8]>,
    /// Serial number: 16 random bytes (the first bit is cleared, RFC 5280 §4.1.2.2).
    pub serial: [u8; 16],
}

/// Issues a self-signed root.
///
/// # Errors
/// [`CryptoError::MalformedCertificate`] if a date is out of range; what the signer reports.
pub fn self_signed(profile: &Profile<'_>, key: &dyn Signer) -> Result<Vec<u8>, CryptoError> {
    let params = params(profile, key.public_key())?;
    let certificate = params.self_signed(&SignerAdapter(key)).map_err(issuing)?;
    Ok(certificate.der().to_vec())
}

/// As [`self_signed`], with the mark of a test operator ([`super::Anchor::is_test`]).
///
/// # Errors
/// As [`self_signed`].
pub fn self_signed_test(profile: &Profile<'_>, key: &dyn Signer) -> Result<Vec<u8>, CryptoError> {
    let mut params = params(profile, key.public_key())?;
    let mark = CustomExtension::from_oid_content(&[2, 25, ARC.into(), 4], TEST_MARK.to_vec());
    params.custom_extensions.push(mark);
    let certificate = params.self_signed(&SignerAdapter(key)).map_err(issuing)?;
    Ok(certificate.der().to_vec())
}

/// Issues a certificate for `subject_key`, signed by the authority that `issuer` and `issuer_key` are.
///
/// # Errors
/// [`CryptoError::MalformedCertificate`] if a date is out of range or the issuer's key is not that of
/// its certificate; what the signer reports.
pub fn issue(
    profile: &Profile<'_>,
    subject_key: &PublicKey,
    issuer: &Certificate,
    issuer_key: &dyn Signer,
) -> Result<Vec<u8>, CryptoError> {
    let authority = authority(issuer, issuer_key)?;
    let certificate = params(profile, subject_key)?
        .signed_by(&Subject(subject_key), &authority)
        .map_err(issuing)?;
    Ok(certificate.der().to_vec())
}

/// What a revocation list says.
#[derive(Debug, Clone)]
pub struct ListProfile<'a> {
    /// Higher than that of every earlier list of this authority (RFC 5280 §5.2.3).
    pub number: u64,
    /// Time of issue, seconds UTC.
    pub this_update: u64,
    /// When the next list is due at the latest, seconds UTC.
    pub next_update: u64,
    /// All certificates of the authority that are revoked, each once; of those that certified signers,
    /// the expired ones too.
    pub revoked: &'a [Revoked<'a>],
}

/// An entry of a revocation list.
#[derive(Debug, Clone)]
pub struct Revoked<'a> {
    /// The certificate's [`Certificate::serial`].
    pub serial: &'a [u8],
    /// When the authority revoked it, seconds UTC.
    pub at: u64,
    /// Since when the key may have been in other hands, seconds UTC, if that is earlier than `at`. Licenses
    /// that were signed from then on are refused too. A thief can date a license back: if it is not known
    /// since when, this is the start of the certificate's validity.
    pub invalid_since: Option<u64>,
    /// Why, for those who read lists; nothing is judged by it.
    pub reason: Option<Reason>,
}

/// Why a certificate was revoked (RFC 5280 §5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The holder's private key may be known to others.
    KeyCompromise,
    /// The private key of an authority may be known to others.
    AuthorityCompromise,
    /// The holder has another certificate now.
    Superseded,
    /// The holder no longer does what the certificate is for.
    CessationOfOperation,
    /// The holder may no longer do it.
    PrivilegeWithdrawn,
}

/// Issues a revocation list of the authority that `issuer` and `issuer_key` are.
///
/// # Errors
/// [`CryptoError::MalformedRevocationList`] if the list would not be accepted: the next update is not later,
/// a certificate stands there twice. [`CryptoError::MalformedCertificate`] if a date is out of range, a
/// serial number is not positive, or the issuer is not an authority or not that of the key.
/// [`CryptoError::ChainRefused`] if the issuer may not sign lists; what the signer reports.
pub fn revocation_list(
    profile: &ListProfile<'_>,
    issuer: &Certificate,
    issuer_key: &dyn Signer,
) -> Result<Vec<u8>, CryptoError> {
    let params = CertificateRevocationListParams {
        this_update: date(profile.this_update)?,
        next_update: date(profile.next_update)?,
        crl_number: SerialNumber::from(profile.number),
        issuing_distribution_point: None,
        revoked_certs: profile.revoked.iter().map(entry).collect::<Result<_, _>>()?,
        key_identifier_method: key_identifier(issuer.public_key()),
    };
    let authority = authority(issuer, issuer_key)?;
    let der = params.signed_by(&authority).map_err(|error| match error {
        rcgen::Error::InvalidCrlNextUpdate => {
            CryptoError::MalformedRevocationList("the next update is not after this one")
        }
        _ => CryptoError::Internal("revocation list issuing"),
    })?;
    let list = RevocationList::parse(der.der())?;
    list.verify(issuer)?;
    Ok(list.der().to_vec())
}

fn entry(revoked: &Revoked<'_>) -> Result<RevokedCertParams, CryptoError> {
    check_serial(revoked.serial)?;
    Ok(RevokedCertParams {
        serial_number: SerialNumber::from_slice(revoked.serial),
        revocation_time: date(revoked.at)?,
        reason_code: revoked.reason.map(|reason| match reason {
            Reason::KeyCompromise => RevocationReason::KeyCompromise,
            Reason::AuthorityCompromise => RevocationReason::CaCompromise,
            Reason::Superseded => RevocationReason::Superseded,
            Reason::CessationOfOperation => RevocationReason::CessationOfOperation,
            Reason::PrivilegeWithdrawn => RevocationReason::PrivilegeWithdrawn,
        }),
        invalidity_date: revoked.invalid_since.map(date).transpose()?,
    })
}

/// The issuing side of an authority.
fn authority<'a>(
    issuer: &Certificate,
    key: &'a dyn Signer,
) -> Result<Issuer<'static, SignerAdapter<'a>>, CryptoError> {
    if issuer.public_key() != key.public_key() {
        return Err(CryptoError::MalformedCertificate(
            "the issuing key is not the issuer's",
        ));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = name(issuer.subject());
    params.key_identifier_method = key_identifier(issuer.public_key());
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(Issuer::new(params, SignerAdapter(key)))
}

pub(super) fn params(profile: &Profile<'_>, key: &PublicKey) -> Result<CertificateParams, CryptoError> {
    let mut serial = profile.serial;
    serial[0] = serial[0] & 0x7f | 0x40; // positive and of full length
    let (is_ca, key_usages) = match profile.authority {
        Some(below) => (
            IsCa::Ca(BasicConstraints::Constrained(below)),
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign],
        ),
        None => (IsCa::ExplicitNoCa, vec![KeyUsagePurpose::DigitalSignature]),
    };
    let mut params = CertificateParams::default();
    params.not_before = date(profile.not_before)?;
    params.not_after = date(profile.not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = name(profile.subject);
    params.is_ca = is_ca;
    params.key_usages = key_usages;
    params.extended_key_usages = profile.roles.iter().map(|role| usage(*role)).collect();
    params.custom_extensions = profile
        .claims
        .map(claims_extension)
        .transpose()?
        .into_iter()
        .collect();
    params.use_authority_key_identifier_extension = true;
    params.key_identifier_method = key_identifier(key);
    Ok(params)
}

fn usage(role: Role) -> ExtendedKeyUsagePurpose {
    ExtendedKeyUsagePurpose::Other(vec![2, 25, ARC.into(), 1, role.number().into()])
}

fn claims_extension(claims: &[u8]) -> Result<CustomExtension, CryptoError> {
    let octets = der::asn1::OctetStringRef::new(claims)
        .and_then(|octets| der::Encode::to_der(&octets))
        .map_err(|_| CryptoError::MalformedCertificate("claims extension"))?;
    Ok(CustomExtension::from_oid_content(&[2, 25, ARC.into(), 2], octets))
}

pub(super) fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// RFC 7093 §2 method 1: the first 20 bytes of SHA-256 over the subject public key's bits.
pub(super) fn key_identifier(key: &PublicKey) -> KeyIdMethod {
    KeyIdMethod::PreSpecified(sha256(&[key.as_point()]).iter().take(20).copied().collect())
}

pub(super) fn date(seconds: u64) -> Result<OffsetDateTime, CryptoError> {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .filter(|date| date.year() < 9999)
        .ok_or(CryptoError::MalformedCertificate("date out of range"))
}

fn issuing(_: rcgen::Error) -> CryptoError {
    CryptoError::Internal("certificate issuing")
}

pub(super) struct Subject<'a>(pub(super) &'a PublicKey);

impl PublicKeyData for Subject<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.as_point()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

pub(super) struct SignerAdapter<'a>(pub(super) &'a dyn Signer);

impl PublicKeyData for SignerAdapter<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_point()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for SignerAdapter<'_> {
    fn sign(&self, msg: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let fixed = self.0.sign(msg).map_err(|_| rcgen::Error::RemoteKeyError)?;
        let signature =
            p256::ecdsa::Signature::from_slice(&fixed).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;
    use crate::{ChainFault, ecdsa::SigningKey as Key, x509::Anchor};

    const DAY: u64 = 86_400;

    struct Pki {
        anchor: Anchor,
        chain: Vec<Vec<u8>>,
    }

    fn profile<'a>(subject: &'a str, roles: &'a [Role], authority: Option<u8>) -> Profile<'a> {
        Profile {
            subject,
            roles,
            authority,
            not_before: DAY,
            not_after: 10 * DAY,
            claims: None,
            serial: [0xff; 16],
        }
    }

    fn pki(ca_roles: &[Role], leaf_roles: &[Role]) -> Pki {
        let mut rng = ChaCha20Rng::from_seed([8; 32]);
        let [root_key, ca_key, leaf_key] = [(); 3].map(|()| Key::generate(&mut rng));
        let root = self_signed(&profile("root", &[], Some(1)), &root_key).unwrap();
        let root_certificate = Certificate::parse(&root).unwrap();
        let ca = issue(
            &profile("ca", ca_roles, Some(0)),
            ca_key.public_key(),
            &root_certificate,
            &root_key,
        )
        .unwrap();
        let leaf_profile = Profile {
            claims: Some(&[0xa0]),
            ..profile("leaf", leaf_roles, None)
        };
        let ca_certificate = Certificate::parse(&ca).unwrap();
        let leaf = issue(&leaf_profile, leaf_key.public_key(), &ca_certificate, &ca_key).unwrap();
        Pki {
            anchor: Anchor::from_der(&root).unwrap(),
            chain: vec![leaf, ca],
        }
    }

    #[test]
    fn a_test_operator_is_marked_in_its_root() {
        let key = Key::generate(&mut ChaCha20Rng::from_seed([9; 32]));
        let root = profile("root", &[], Some(1));
        let plain = self_signed(&root, &key).unwrap();
        let marked = self_signed_test(&root, &key).unwrap();
        assert!(!Anchor::from_der(&plain).unwrap().is_test());
        assert!(Anchor::from_der(&marked).unwrap().is_test());
        for other in [&[0x04, 0x01, 0xf4][..], &[0x05, 0x00], &[]] {
            let mut params = params(&root, key.public_key()).unwrap();
            let mark = CustomExtension::from_oid_content(&[2, 25, ARC.into(), 4], other.to_vec());
            params.custom_extensions.push(mark);
            let odd = params.self_signed(&SignerAdapter(&key)).unwrap();
            assert_eq!(
                Anchor::from_der(odd.der()).unwrap_err(),
                CryptoError::MalformedCertificate("test mark"),
                "{other:?}"
            );
        }
    }

    #[test]
    fn a_chain_is_judged_by_role_and_time() {
        let roles = [Role::LicenseServer, Role::Time];
        let pki = pki(&roles, &roles);
        let leaf = pki.anchor.verify(&pki.chain, Role::Time, 5 * DAY).unwrap();
        assert_eq!(
            (leaf.subject(), leaf.roles(), leaf.claims()),
            ("leaf", &roles[..], Some(&[0xa0][..]))
        );
        assert_eq!((leaf.not_before(), leaf.not_after()), (DAY, 10 * DAY));
        let cases = [
            (Role::Device, 5 * DAY, ChainFault::WrongRole),
            (Role::Time, DAY - 1, ChainFault::NotYetValid),
            (Role::Time, 10 * DAY + 1, ChainFault::Expired),
        ];
        for (role, at, fault) in cases {
            assert_eq!(
                pki.anchor.verify(&pki.chain, role, at),
                Err(CryptoError::ChainRefused(fault))
            );
        }
    }

    #[test]
    fn an_authority_cannot_issue_beyond_its_roles() {
        let pki = pki(&[Role::Device], &[Role::LicenseServer]);
        let refused = pki.anchor.verify(&pki.chain, Role::LicenseServer, 5 * DAY);
        assert_eq!(refused, Err(CryptoError::ChainRefused(ChainFault::WrongRole)));
    }

    #[test]
    fn another_root_a_missing_link_and_an_altered_leaf_are_refused() {
        let pki = pki(&[Role::Device], &[Role::Device]);
        let mut rng = ChaCha20Rng::from_seed([9; 32]);
        let other_key = Key::generate(&mut rng);
        let other = self_signed(&profile("root", &[], Some(1)), &other_key).unwrap();
        let other = Anchor::from_der(&other).unwrap();
        let unknown = Err(CryptoError::ChainRefused(ChainFault::UnknownIssuer));
        assert!(other.verify(&pki.chain, Role::Device, 5 * DAY).is_err());
        assert_eq!(pki.anchor.verify(&pki.chain[..1], Role::Device, 5 * DAY), unknown);
        assert!(pki.anchor.verify(&[], Role::Device, 5 * DAY).is_err());
        for position in 0..pki.chain[0].len() {
            let mut chain = pki.chain.clone();
            chain[0][position] ^= 1;
            assert!(
                pki.anchor.verify(&chain, Role::Device, 5 * DAY).is_err(),
                "byte {position}"
            );
        }
    }

    #[test]
    fn a_ca_is_no_device() {
        let pki = pki(&[Role::Device], &[Role::Device]);
        assert!(pki.anchor.verify(&pki.chain[1..], Role::Device, 5 * DAY).is_err());
    }
}
