//! Path validation (RFC 5280 §6): `rustls-webpki` builds the path and checks signatures, validity, basic
//! constraints, name constraints and extended key usages; each path it finds is then held against the
//! rules for single certificates and the operator's revocation lists.

use core::time::Duration;

use pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, UnixTime, alg_id,
};
use webpki::{Cert, EndEntityCert, ExtendedKeyUsageValidator, VerifiedPath};

use super::{
    Anchor, Certificate,
    rules::{self, Issuer},
    signed,
};
use crate::{ChainFault, CryptoError, ecdsa::PublicKey};

/// Validates `chain` (DER, leaf first, without the root) for `usage` at `at` (seconds UTC) and returns the
/// leaf.
pub(super) fn validate(
    anchor: &Anchor,
    chain: &[Vec<u8>],
    usage: impl ExtendedKeyUsageValidator,
    at: u64,
) -> Result<Certificate, CryptoError> {
    let leaf = chain.first().ok_or(NO_CERTIFICATE)?;
    follow(anchor, chain, usage, at, |_| ())?;
    Certificate::parse(leaf)
}

/// Validates as [`validate`] does and returns the authorities between leaf and root.
pub(super) fn authorities(
    anchor: &Anchor,
    chain: &[Vec<u8>],
    usage: impl ExtendedKeyUsageValidator,
    at: u64,
) -> Result<Vec<Issuer>, CryptoError> {
    follow(anchor, chain, usage, at, |path| {
        let authorities = path.intermediate_certificates();
        authorities
            .map(|authority| Issuer::intermediate(&authority.der()))
            .collect()
    })?
}

fn follow<T>(
    anchor: &Anchor,
    chain: &[Vec<u8>],
    usage: impl ExtendedKeyUsageValidator,
    at: u64,
    then: impl FnOnce(&VerifiedPath<'_>) -> T,
) -> Result<T, CryptoError> {
    let (leaf, intermediates) = chain.split_first().ok_or(NO_CERTIFICATE)?;
    let leaf = CertificateDer::from(&leaf[..]);
    let leaf = EndEntityCert::try_from(&leaf).map_err(refused)?;
    let intermediates: Vec<_> = intermediates
        .iter()
        .map(|der| CertificateDer::from(&der[..]))
        .collect();
    let path = leaf.verify_for_usage(
        &[&Es256],
        core::slice::from_ref(&anchor.anchor),
        &intermediates,
        UnixTime::since_unix_epoch(Duration::from_secs(at)),
        usage,
        None,
        Some(&|path| judge(anchor, path, at)),
    );
    path.map(|path| then(&path)).map_err(refused)
}

/// Judges a path that leads to the anchor: the rules for each certificate, and the revocation lists.
fn judge(anchor: &Anchor, path: &VerifiedPath<'_>, at: u64) -> Result<(), webpki::Error> {
    let revocation = anchor.revocation.as_deref();
    let judge = |subject: &Cert<'_>, issuer: &Issuer| {
        revocation.map_or(Ok(()), |lists| lists.judge(subject.serial(), issuer, at))
    };
    let mut subject: &Cert<'_> = path.end_entity();
    rules::check_leaf(&subject.der()).map_err(|_| webpki::Error::ExtensionValueInvalid)?;
    for authority in path.intermediate_certificates() {
        let issuer =
            Issuer::intermediate(&authority.der()).map_err(|_| webpki::Error::ExtensionValueInvalid)?;
        judge(subject, &issuer)?;
        subject = authority;
    }
    judge(subject, &anchor.issuer)
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
        let signature = signed::fixed(signature).ok_or(InvalidSignature)?;
        PublicKey::from_point(public_key)
            .and_then(|key| key.verify(message, &signature))
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
pub(super) fn refused(error: webpki::Error) -> CryptoError {
    use webpki::Error as E;
    CryptoError::ChainRefused(match error {
        E::UnknownIssuer => ChainFault::UnknownIssuer,
        E::CertExpired { .. } => ChainFault::Expired,
        E::CertNotValidYet { .. } => ChainFault::NotYetValid,
        E::RequiredEkuNotFoundContext(_) | E::CaUsedAsEndEntity => ChainFault::WrongRole,
        E::CertRevoked => ChainFault::Revoked,
        E::UnknownRevocationStatus => ChainFault::RevocationUnknown,
        E::CrlExpired { .. } => ChainFault::RevocationListExpired,
        E::InvalidCrlSignatureForPublicKey | E::IssuerNotCrlSigner => ChainFault::RevocationListInvalid,
        _ => ChainFault::Invalid,
    })
}

const NO_CERTIFICATE: CryptoError = CryptoError::MalformedCertificate("no certificate");
