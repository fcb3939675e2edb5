//! What certificates and revocation lists have in common: a part that is signed, and ECDSA with SHA-256 over it.

use const_oid::db::rfc5912::ECDSA_WITH_SHA_256;
use der::{Decode, Reader, SliceReader};
use x509_cert::spki::AlgorithmIdentifierOwned;

/// Whether both places that name the signature algorithm (RFC 5280 §4.1.1.2, §5.1.1.2) name ECDSA with SHA-256.
pub(super) fn is_es256(named: [&AlgorithmIdentifierOwned; 2]) -> bool {
    let is = |algorithm: &AlgorithmIdentifierOwned| {
        algorithm.oid == ECDSA_WITH_SHA_256 && algorithm.parameters.is_none()
    };
    named.into_iter().all(is)
}

/// The signature in the fixed form that is ours; X.509 carries the DER form (RFC 3279 §2.2.3).
pub(super) fn fixed(der: &[u8]) -> Option<[u8; 64]> {
    let signature = p256::ecdsa::Signature::from_der(der).ok()?;
    Some(signature.to_bytes().into())
}

/// Where the signed part of a certificate or list stands: as it was received, since a signature is over
/// those bytes.
pub(super) fn part(der: &[u8]) -> Option<core::ops::Range<usize>> {
    let end = |reader: &SliceReader<'_>| usize::try_from(reader.position()).ok();
    let mut reader = SliceReader::new(der).ok()?;
    der::Header::decode(&mut reader).ok()?;
    let start = end(&reader)?;
    reader.tlv_bytes().ok()?;
    Some(start..end(&reader)?)
}
