//! SHA-256 (FIPS 180-4), HMAC-SHA256 (RFC 2104) and HKDF-SHA256 (RFC 5869).

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{CryptoError, Secret};

/// SHA-256 of the concatenation of `parts`.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// SHA-256 of what comes piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Sha256Stream(Sha256);

impl Sha256Stream {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// HMAC-SHA256 over the concatenation of `parts`.
///
/// # Errors
/// [`CryptoError::Internal`] never in practice: HMAC takes keys of any length.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Result<[u8; 32], CryptoError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| CryptoError::Internal("hmac"))?;
    parts.iter().for_each(|part| mac.update(part));
    Ok(mac.finalize().into_bytes().into())
}

/// HKDF-SHA256: extract with `salt` and `input`, then expand to `N` bytes with `info`.
///
/// # Errors
/// [`CryptoError::LimitReached`] for `N` above 8160 (RFC 5869 §2.3).
pub fn hkdf_sha256<const N: usize>(input: &[u8], salt: &[u8], info: &[u8]) -> Result<Secret<N>, CryptoError> {
    let mut output = [0; N];
    Hkdf::<Sha256>::new(Some(salt), input)
        .expand(info, &mut output)
        .map_err(|_| CryptoError::LimitReached("HKDF output length"))?;
    Ok(Secret::new(output))
}

/// Compares two byte strings in time that depends on their lengths alone.
#[must_use]
pub fn equal_constant_time(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}
