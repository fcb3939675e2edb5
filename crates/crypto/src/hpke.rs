//! HPKE base mode (RFC 9180 §6.1), KDF HKDF-SHA256, AEAD AES-256-GCM.
//!
//! `aad` is always empty and `info` carries the binding, because stock libraries differ in their
//! support for single-shot `aad`. Suite numbers are Keyward's own and stand in [`Suite`]; the drafts'
//! KEM code points stand beside them.
//!
//! Native builds do suite 1's arithmetic with aws-lc-rs; WebAssembly, where that library does not build, uses
//! the pure Rust `p256`. Both are compiled natively under test and checked against each other.

#[cfg(not(target_family = "wasm"))]
mod native;

use hpke::{
    Deserializable, Kem, OpModeR, OpModeS, Serializable, aead::AesGcm256, kdf::HkdfSha256, kem::XWing,
    single_shot_open, single_shot_seal_with_rng,
};
use rand_core::CryptoRng;

use crate::{CryptoError, SecretBytes};

#[cfg(target_family = "wasm")]
use hpke::kem::DhP256HkdfSha256 as DhP256;
#[cfg(not(target_family = "wasm"))]
use native::DhP256;

/// A cipher suite for sealing to a receiver's public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Suite {
    /// Suite 1: DHKEM(P-256, HKDF-SHA256), KEM id 0x0010. Everyone has it (hardware keys, any library).
    P256,
    /// Suite 2: X-Wing (ML-KEM-768 with X25519), KEM id 0x647a (draft-connolly-cfrg-xwing-kem).
    /// Post-quantum confidentiality; the default for software devices.
    XWing,
}

impl Suite {
    /// All suites, weakest first: a later one is preferred.
    pub const ALL: [Self; 2] = [Self::P256, Self::XWing];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::P256 => 1,
            Self::XWing => 2,
        }
    }

    /// The suite of a wire number, or `None` if this build does not know it.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.number() == number)
    }

    /// Length of a public key in bytes.
    #[must_use]
    pub const fn public_key_len(self) -> usize {
        match self {
            Self::P256 => 65,
            Self::XWing => 1216,
        }
    }

    /// Length of the encapsulated key in bytes.
    #[must_use]
    pub const fn encapsulated_len(self) -> usize {
        match self {
            Self::P256 => 65,
            Self::XWing => 1120,
        }
    }
}

/// A message sealed to one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The encapsulated key (`enc` of RFC 9180).
    pub encapsulated: Vec<u8>,
    /// Ciphertext with its 16-byte tag at the end.
    pub ciphertext: Vec<u8>,
}

/// Seals `plaintext` to `public_key`, bound to `info`.
///
/// # Errors
/// [`CryptoError::MalformedKey`] if the public key is not one of this suite.
pub fn seal(
    suite: Suite,
    public_key: &[u8],
    info: &[u8],
    plaintext: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<Sealed, CryptoError> {
    match suite {
        Suite::P256 => seal_with::<DhP256>(public_key, info, plaintext, rng),
        Suite::XWing => seal_with::<XWing>(public_key, info, plaintext, rng),
    }
}

/// A receiver's key pair of one suite.
pub struct KeyPair {
    private: SecretBytes,
    public: Vec<u8>,
    opener: Opener,
}

/// The private key as its KEM has it, read once: reading costs as much as opening.
enum Opener {
    P256(<DhP256 as Kem>::PrivateKey),
    XWing(Box<<XWing as Kem>::PrivateKey>),
}

impl Opener {
    fn x_wing(key: <XWing as Kem>::PrivateKey) -> Self {
        Self::XWing(Box::new(key))
    }
}

impl KeyPair {
    /// A fresh key pair.
    pub fn generate(suite: Suite, rng: &mut impl CryptoRng) -> Self {
        match suite {
            Suite::P256 => Self::of::<DhP256>(DhP256::gen_keypair_with_rng(rng).0, Opener::P256),
            Suite::XWing => Self::of::<XWing>(XWing::gen_keypair_with_rng(rng).0, Opener::x_wing),
        }
    }

    /// Rebuilds the pair from the private key's encoding (RFC 9180 §7.1.2; X-Wing: its 32-byte seed).
    ///
    /// # Errors
    /// [`CryptoError::MalformedKey`].
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a secret changes its owner, and is wiped with it"
    )]
    pub fn from_private(suite: Suite, private: SecretBytes) -> Result<Self, CryptoError> {
        Ok(match suite {
            Suite::P256 => Self::of::<DhP256>(read_private::<DhP256>(&private)?, Opener::P256),
            Suite::XWing => Self::of::<XWing>(read_private::<XWing>(&private)?, Opener::x_wing),
        })
    }

    /// The suite this key belongs to.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        match self.opener {
            Opener::P256(_) => Suite::P256,
            Opener::XWing(_) => Suite::XWing,
        }
    }

    /// The public key's encoding.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// The private key's encoding, for sealing at rest.
    #[must_use]
    pub const fn private_key(&self) -> &SecretBytes {
        &self.private
    }

    /// Opens a message sealed to this key under the same `info`.
    ///
    /// # Errors
    /// [`CryptoError::NotOpened`].
    pub fn open(
        &self,
        info: &[u8],
        encapsulated: &[u8],
        ciphertext: &[u8],
    ) -> Result<SecretBytes, CryptoError> {
        match &self.opener {
            Opener::P256(key) => open_with::<DhP256>(key, info, encapsulated, ciphertext),
            Opener::XWing(key) => open_with::<XWing>(key, info, encapsulated, ciphertext),
        }
    }

    fn of<K: Kem>(key: K::PrivateKey, opener: fn(K::PrivateKey) -> Opener) -> Self {
        Self {
            private: SecretBytes::new(key.to_bytes().to_vec()),
            public: K::sk_to_pk(&key).to_bytes().to_vec(),
            opener: opener(key),
        }
    }
}

impl core::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("KeyPair")
            .field("suite", &self.suite())
            .finish_non_exhaustive()
    }
}

fn seal_with<K: Kem>(
    public_key: &[u8],
    info: &[u8],
    plaintext: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<Sealed, CryptoError> {
    let public_key =
        K::PublicKey::from_bytes(public_key).map_err(|_| CryptoError::MalformedKey("HPKE public key"))?;
    let (encapsulated, ciphertext) = single_shot_seal_with_rng::<AesGcm256, HkdfSha256, K>(
        &OpModeS::Base,
        &public_key,
        info,
        plaintext,
        &[],
        rng,
    )
    .map_err(|_| CryptoError::MalformedKey("HPKE public key"))?;
    Ok(Sealed {
        encapsulated: encapsulated.to_bytes().to_vec(),
        ciphertext,
    })
}

fn open_with<K: Kem>(
    private: &K::PrivateKey,
    info: &[u8],
    encapsulated: &[u8],
    ciphertext: &[u8],
) -> Result<SecretBytes, CryptoError> {
    let encapsulated = K::EncappedKey::from_bytes(encapsulated).map_err(|_| CryptoError::NotOpened)?;
    single_shot_open::<AesGcm256, HkdfSha256, K>(
        &OpModeR::Base,
        private,
        &encapsulated,
        info,
        ciphertext,
        &[],
    )
    .map(SecretBytes::new)
    .map_err(|_| CryptoError::NotOpened)
}

fn read_private<K: Kem>(private: &SecretBytes) -> Result<K::PrivateKey, CryptoError> {
    K::PrivateKey::from_bytes(private.expose()).map_err(|_| CryptoError::MalformedKey("HPKE private key"))
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn round_trip_in_every_suite() {
        let mut rng = ChaCha20Rng::from_seed([6; 32]);
        for suite in Suite::ALL {
            let pair = KeyPair::generate(suite, &mut rng);
            assert_eq!(pair.public_key().len(), suite.public_key_len());
            let sealed = seal(suite, pair.public_key(), b"info", b"secret", &mut rng).unwrap();
            assert_eq!(sealed.encapsulated.len(), suite.encapsulated_len());
            let again =
                KeyPair::from_private(suite, SecretBytes::new(pair.private_key().expose().to_vec())).unwrap();
            assert_eq!(again.public_key(), pair.public_key());
            assert_eq!(
                again
                    .open(b"info", &sealed.encapsulated, &sealed.ciphertext)
                    .unwrap()
                    .expose(),
                b"secret"
            );
            let other = KeyPair::generate(suite, &mut rng);
            for (pair, info) in [(&pair, &b"other"[..]), (&other, &b"info"[..])] {
                let opened = pair.open(info, &sealed.encapsulated, &sealed.ciphertext);
                assert_eq!(opened.unwrap_err(), CryptoError::NotOpened);
            }
            assert_eq!(Suite::from_number(suite.number()), Some(suite));
        }
        assert_eq!(Suite::from_number(3), None);
    }

    #[test]
    fn malformed_keys_are_refused() {
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        for suite in Suite::ALL {
            for key in [
                vec![],
                vec![4; 64],
                vec![0; suite.public_key_len()],
                vec![0xff; suite.public_key_len()],
            ] {
                let sealed = seal(suite, &key, b"", b"", &mut rng);
                // X25519 has no invalid points but all-zero output; ML-KEM keys are checked by modulus.
                if suite == Suite::P256 || key.len() != suite.public_key_len() {
                    assert!(sealed.is_err(), "{suite:?} {}", key.len());
                }
            }
        }
    }
}
