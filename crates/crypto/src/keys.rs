//! Secret key material as types: no `Clone`, no serialisation, wiped on drop, redacted in `Debug`.

use core::fmt;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::CryptoError;

/// `N` secret bytes.
///
/// The bytes leave only through [`Secret::expose`]. Equality is constant-time.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Takes ownership of secret bytes. The caller wipes any copy it keeps.
    #[must_use]
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// Fresh random bytes from `rng`.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; N];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// Copies a slice of exactly `N` bytes.
    ///
    /// # Errors
    /// [`CryptoError::MalformedKey`] if the length differs.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, CryptoError> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| CryptoError::MalformedKey("wrong length"))
    }

    /// The raw bytes. Every caller of this method handles a secret in the clear.
    #[must_use]
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// A second copy, for the few owners that must outlive each other. Named so that a search finds it.
    #[must_use]
    pub const fn duplicate(&self) -> Self {
        Self(self.0)
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{N}>(redacted)")
    }
}

/// A content key: the 16-byte AES key (ISO/IEC 23001-7) that one key id (KID) names.
///
/// For plain files it is the input of the file key derivation, see `spec/content.md`.
pub type ContentKey = Secret<16>;

/// Secret bytes of a length known only at run time (a decrypted message, a private key encoding).
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes ownership of secret bytes.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The raw bytes. Every caller of this method handles a secret in the clear.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_a_secret() {
        let key = ContentKey::new([0x5f; 16]);
        assert_eq!(format!("{key:?}"), "Secret<16>(redacted)");
        let bytes = SecretBytes::new(vec![0x5f; 4]);
        assert_eq!(format!("{bytes:?}"), "SecretBytes(redacted)");
    }

    #[test]
    fn length_is_checked() {
        assert_eq!(
            ContentKey::from_slice(&[1; 15]),
            Err(CryptoError::MalformedKey("wrong length"))
        );
        assert_eq!(ContentKey::from_slice(&[1; 16]), Ok(ContentKey::new([1; 16])));
    }
}
