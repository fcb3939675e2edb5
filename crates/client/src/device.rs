//! The device's identity: its keys, behind a trait, and the certificate that an operator gave it.

use keyward_crypto::{CryptoError, Secret, SecretBytes, ecdsa::Signer, hpke::Suite};
use keyward_license::{
    cbor_map,
    certificate::{SealingKey, device_id},
    codec::{DecodeError, Wire},
    ids::DeviceId,
    party::{PartyKeys, PrivateKey, SoftwareParty},
};
use rand_core::CryptoRng;

pub use keyward_license::party::KeysError;

/// Bytes of the stack that are overwritten after keys were handled there. The deepest call below the one that clears
/// is HPKE's, of X-Wing.
pub(crate) const STACK: usize = if cfg!(target_family = "wasm") {
    64 * 1024
} else {
    256 * 1024
};

/// Where the device's private keys live: in memory ([`SoftwareKeys`]), in a token or in an enclave.
/// The keys themselves never come out.
pub trait KeyStore: PartyKeys {
    /// The key that seals the store's epoch file.
    ///
    /// # Errors
    /// Whatever keeps the key from being used.
    fn store_key(&self) -> Result<Secret<32>, CryptoError>;

    /// The device's id: SHA-256 of its signing key's SPKI.
    ///
    /// # Errors
    /// [`CryptoError::Internal`] never in practice.
    fn device_id(&self) -> Result<DeviceId, CryptoError> {
        device_id(self.signer().public_key())
    }
}

/// Device keys in memory, with sealing keys of every suite. The host keeps their encoding sealed at
/// rest; against somebody who reads the process's memory they offer nothing, which is why a
/// certificate for such keys says security level 2000 at most.
pub struct SoftwareKeys {
    party: SoftwareParty,
    store_key: Secret<32>,
}

impl SoftwareKeys {
    /// Fresh keys.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self {
            party: SoftwareParty::generate(rng),
            store_key: Secret::random(rng),
        }
    }

    /// The keys' encoding. Whoever has it is the device.
    #[must_use]
    pub fn to_secret_bytes(&self) -> SecretBytes {
        let (signing, sealing) = self.party.private_keys();
        let encoding = KeyFile {
            version: 1,
            signing,
            sealing,
            store_key: self.store_key.duplicate(),
        };
        SecretBytes::new(encoding.encode())
    }

    /// Reads the encoding.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn from_secret_bytes(bytes: &SecretBytes) -> Result<Self, KeysError> {
        let file = KeyFile::decode(bytes.expose())?;
        if file.version != 1 {
            return Err(DecodeError::Invalid("the device keys are of another version").into());
        }
        Ok(Self {
            party: SoftwareParty::from_private_keys(file.signing, file.sealing)?,
            store_key: file.store_key,
        })
    }
}

impl PartyKeys for SoftwareKeys {
    fn signer(&self) -> &dyn Signer {
        self.party.signer()
    }

    fn sealing_keys(&self) -> Vec<SealingKey> {
        self.party.sealing_keys()
    }

    fn open(
        &self,
        suite: Suite,
        info: &[u8],
        encapsulated: &[u8],
        ciphertext: &[u8],
    ) -> Result<SecretBytes, CryptoError> {
        self.party.open(suite, info, encapsulated, ciphertext)
    }
}

impl KeyStore for SoftwareKeys {
    fn store_key(&self) -> Result<Secret<32>, CryptoError> {
        Ok(self.store_key.duplicate())
    }
}

impl core::fmt::Debug for SoftwareKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SoftwareKeys")
            .field("public", self.party.signer().public_key())
            .finish_non_exhaustive()
    }
}

cbor_map! {
    /// Encoding of software keys.
    struct KeyFile = "device keys" {
        /// Format version.
        [1] version: u64,
        /// Private scalar of the signing key.
        [2] signing: Secret<32>,
        /// One private key a suite.
        [3] sealing: Vec<PrivateKey>,
        /// Seals the epoch file.
        [4] store_key: Secret<32>,
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn keys_survive_their_encoding() {
        let keys = SoftwareKeys::generate(&mut ChaCha20Rng::from_seed([1; 32]));
        let again = SoftwareKeys::from_secret_bytes(&keys.to_secret_bytes()).unwrap();
        assert_eq!(again.device_id(), keys.device_id());
        assert_eq!(again.sealing_keys(), keys.sealing_keys());
        assert_eq!(again.store_key, keys.store_key);
    }

    #[test]
    fn truncated_keys_are_refused_and_debug_is_redacted() {
        let keys = SoftwareKeys::generate(&mut ChaCha20Rng::from_seed([2; 32]));
        let bytes = keys.to_secret_bytes();
        for end in 0..bytes.expose().len() {
            assert!(
                SoftwareKeys::from_secret_bytes(&SecretBytes::new(bytes.expose()[..end].to_vec())).is_err()
            );
        }
        let shown = format!("{keys:?}");
        assert!(
            shown.starts_with("SoftwareKeys { public: PublicKey(") && shown.ends_with("…), .. }"),
            "{shown}"
        );
    }
}
