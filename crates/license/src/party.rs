//! The keys of a party that an operator enrols: a device or a packager.

use keyward_crypto::{
    CryptoError, Secret, SecretBytes,
    ecdsa::{Signer, SigningKey},
    hpke::{KeyPair, Suite},
};
use rand_core::CryptoRng;

use crate::{
    cbor_map,
    certificate::SealingKey,
    codec::{Bytes, DecodeError},
};

/// Where a party's private keys live: in memory ([`SoftwareParty`]), in a token or in an enclave.
/// The keys themselves never come out.
pub trait PartyKeys {
    /// The signing key.
    fn signer(&self) -> &dyn Signer;

    /// Public keys that keys may be sealed to: one a suite, suites ascending, suite 1 first.
    fn sealing_keys(&self) -> Vec<SealingKey>;

    /// Opens what was sealed to the key of `suite` under `info` (HPKE base mode, empty `aad`).
    ///
    /// # Errors
    /// [`CryptoError::NotOpened`]; whatever keeps the key from being used.
    fn open(
        &self,
        suite: Suite,
        info: &[u8],
        encapsulated: &[u8],
        ciphertext: &[u8],
    ) -> Result<SecretBytes, CryptoError>;

    /// The suites of [`PartyKeys::sealing_keys`] that this version knows.
    fn suites(&self) -> Vec<Suite> {
        let keys = self.sealing_keys();
        keys.iter()
            .filter_map(|key| Suite::from_number(key.suite))
            .collect()
    }
}

/// A party's keys in memory, with sealing keys of every suite.
pub struct SoftwareParty {
    signing: SigningKey,
    sealing: Vec<KeyPair>,
}

impl SoftwareParty {
    /// Fresh keys.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self {
            signing: SigningKey::generate(rng),
            sealing: Suite::ALL
                .into_iter()
                .map(|suite| KeyPair::generate(suite, rng))
                .collect(),
        }
    }

    /// The private keys, for an encoding that is sealed at rest: the signing key's scalar, and one key a
    /// suite. Whoever has them is the party.
    #[must_use]
    pub fn private_keys(&self) -> (Secret<32>, Vec<PrivateKey>) {
        let private = |pair: &KeyPair| PrivateKey {
            suite: pair.suite().number(),
            private_key: SecretBytes::new(pair.private_key().expose().to_vec()),
        };
        (
            self.signing.scalar().duplicate(),
            self.sealing.iter().map(private).collect(),
        )
    }

    /// The party that has these private keys.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn from_private_keys(signing: Secret<32>, sealing: Vec<PrivateKey>) -> Result<Self, KeysError> {
        let pair = |key: PrivateKey| {
            let suite = Suite::from_number(key.suite).ok_or(DecodeError::UnknownNumber {
                what: "suite",
                number: key.suite,
            })?;
            Ok(KeyPair::from_private(suite, key.private_key)?)
        };
        Ok(Self {
            sealing: sealing.into_iter().map(pair).collect::<Result<_, KeysError>>()?,
            signing: SigningKey::from_scalar(signing)?,
        })
    }
}

impl PartyKeys for SoftwareParty {
    fn signer(&self) -> &dyn Signer {
        &self.signing
    }

    fn sealing_keys(&self) -> Vec<SealingKey> {
        let public = |pair: &KeyPair| SealingKey {
            suite: pair.suite().number(),
            public_key: Bytes(pair.public_key().to_vec()),
        };
        self.sealing.iter().map(public).collect()
    }

    fn open(
        &self,
        suite: Suite,
        info: &[u8],
        encapsulated: &[u8],
        ciphertext: &[u8],
    ) -> Result<SecretBytes, CryptoError> {
        let pair = self
            .sealing
            .iter()
            .find(|pair| pair.suite() == suite)
            .ok_or(CryptoError::NotOpened)?;
        pair.open(info, encapsulated, ciphertext)
    }
}

impl core::fmt::Debug for SoftwareParty {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SoftwareParty")
            .field("public", self.signing.public_key())
            .finish_non_exhaustive()
    }
}

cbor_map! {
    /// A private key of one suite.
    #[derive(Debug)]
    pub struct PrivateKey = "private key" {
        /// Suite number.
        [1] suite: u64,
        /// The private key's encoding.
        [2] private_key: SecretBytes,
    }
}

/// Why a party's keys cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The encoding is malformed.
    #[error("the keys are malformed: {0}")]
    Decode(#[from] DecodeError),
    /// A key is malformed.
    #[error("the keys are malformed: {0}")]
    Key(#[from] CryptoError),
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn keys_survive_their_parts_and_never_show_in_debug() {
        let party = SoftwareParty::generate(&mut ChaCha20Rng::from_seed([3; 32]));
        let (signing, sealing) = party.private_keys();
        for (shown, hidden) in [
            (format!("{party:?}"), signing.expose().to_vec()),
            (format!("{sealing:?}"), sealing[1].private_key.expose().to_vec()),
        ] {
            assert!(!shown.contains(&hex::encode(hidden)), "{shown}");
        }
        assert!(format!("{sealing:?}").contains("redacted"));
        let again = SoftwareParty::from_private_keys(signing, sealing).unwrap();
        assert_eq!(again.signer().public_key(), party.signer().public_key());
        assert_eq!(again.sealing_keys(), party.sealing_keys());
        assert_eq!(again.suites(), Suite::ALL);
    }

    #[test]
    fn keys_of_unknown_suites_and_wrong_lengths_are_refused() {
        let mut rng = ChaCha20Rng::from_seed([4; 32]);
        for (suite, length) in [(3, 32), (1, 31), (1, 0)] {
            let (signing, mut sealing) = SoftwareParty::generate(&mut rng).private_keys();
            let private_key = SecretBytes::new(sealing[0].private_key.expose()[..length].to_vec());
            sealing[0] = PrivateKey { suite, private_key };
            assert!(
                SoftwareParty::from_private_keys(signing, sealing).is_err(),
                "{suite} {length}"
            );
        }
        let (_, sealing) = SoftwareParty::generate(&mut rng).private_keys();
        assert!(SoftwareParty::from_private_keys(Secret::new([0; 32]), sealing).is_err());
    }
}
