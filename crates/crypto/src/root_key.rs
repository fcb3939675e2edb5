//! The key of a root license: under it stand the keys of any number of leaf licenses.
//!
//! The key seals nothing itself. Each sealed message has a key of its own, derived from the root key for
//! what the message is bound to:
//!
//! ```text
//! key    = HKDF-SHA256(input: root key, salt: empty, info: binding), 32 bytes      RFC 5869
//! sealed = nonce (12, random) ‖ AES-256-GCM(key, nonce, clear, associated data: binding)  SP 800-38D
//! ```

use core::fmt;

use rand_core::CryptoRng;

use crate::{CryptoError, Secret, SecretBytes, aead, kdf::hkdf_sha256};

/// A root license's key: 32 random bytes, never derived from a license key seed.
///
/// It opens and seals the keys of leaf licenses and does nothing else. It is wiped on drop.
#[derive(PartialEq, Eq)]
pub struct RootKey(Secret<32>);

impl RootKey {
    /// Bytes of a root key.
    pub const LEN: usize = 32;

    /// Takes ownership of a key. The caller wipes any copy it keeps.
    #[must_use]
    pub const fn new(key: Secret<32>) -> Self {
        Self(key)
    }

    /// A fresh key from `rng`.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        Self(Secret::random(rng))
    }

    /// Copies a slice of exactly 32 bytes.
    ///
    /// # Errors
    /// [`CryptoError::MalformedKey`] if the length differs.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, CryptoError> {
        Secret::from_slice(bytes).map(Self)
    }

    /// The raw bytes, for a root license or a vault. Every caller handles a secret in the clear.
    #[must_use]
    pub const fn expose(&self) -> &[u8; Self::LEN] {
        self.0.expose()
    }

    /// A second copy, for the few owners that must outlive each other. Named so that a search finds it.
    #[must_use]
    pub const fn duplicate(&self) -> Self {
        Self(self.0.duplicate())
    }

    /// Seals `clear` under this key for one binding.
    ///
    /// # Errors
    /// As [`aead::seal`].
    pub fn seal(
        &self,
        binding: &[u8],
        clear: &[u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Vec<u8>, CryptoError> {
        aead::seal(&self.derive(binding)?, binding, clear, rng)
    }

    /// Opens what [`Self::seal`] made with the same key and binding.
    ///
    /// # Errors
    /// [`CryptoError::NotOpened`] for another key, another binding, or altered or short bytes.
    pub fn open(&self, binding: &[u8], sealed: &[u8]) -> Result<SecretBytes, CryptoError> {
        aead::open(&self.derive(binding)?, binding, sealed)
    }

    fn derive(&self, binding: &[u8]) -> Result<Secret<32>, CryptoError> {
        hkdf_sha256(self.0.expose(), &[], binding)
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::from_seed([1; 32])
    }

    #[test]
    fn opens_under_its_key_and_binding_alone() {
        let rng = &mut rng();
        let (key, other) = (RootKey::random(rng), RootKey::random(rng));
        let sealed = key.seal(b"leaf 1", b"content key", rng).unwrap();
        assert_eq!(sealed.len(), b"content key".len() + aead::OVERHEAD);
        assert_eq!(key.open(b"leaf 1", &sealed).unwrap().expose(), b"content key");
        for refused in [key.open(b"leaf 2", &sealed), other.open(b"leaf 1", &sealed)] {
            assert_eq!(refused.unwrap_err(), CryptoError::NotOpened);
        }
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(key.open(b"leaf 1", &altered).is_err(), "byte {at}");
            assert!(key.open(b"leaf 1", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    /// By hand from the formula, with the parts that other tests hold against published vectors.
    #[test]
    fn a_message_is_the_published_formula() {
        let rng = &mut rng();
        let root = RootKey::random(rng);
        let sealed = root.seal(b"binding", b"clear", rng).unwrap();
        let key = hkdf_sha256::<32>(root.expose(), b"", b"binding").unwrap();
        assert_eq!(aead::open(&key, b"binding", &sealed).unwrap().expose(), b"clear");
    }

    #[test]
    fn debug_never_shows_the_key() {
        assert_eq!(
            format!("{:?}", RootKey::new(Secret::new([0x5f; 32]))),
            "RootKey(redacted)"
        );
    }

    #[test]
    fn length_is_checked() {
        for (len, right) in [(0, false), (16, false), (31, false), (32, true), (33, false)] {
            assert_eq!(RootKey::from_slice(&vec![1; len]).is_ok(), right, "{len} bytes");
        }
    }
}
