//! A license as it travels: the keys sealed under its body's hash, and the signature around both.

use keyward_crypto::{
    Secret,
    ecdsa::Signer,
    hpke::{self, Suite},
    x509::Role,
};
use rand_core::CryptoRng;

use super::{LicenseBody, LicenseKind};
use crate::{
    cbor_map,
    codec::{Bytes, DecodeError, Wire},
    envelope::binding,
    ids::Digest,
    signed::{self, ChainVerifier, MessageError, Unverified, Verified},
    time::Timestamp,
};

/// Context of the key inside a license: first member of its HPKE `info`.
pub const KEY_CONTEXT: &str = "keyward/1 license-key";

cbor_map! {
    /// The sealed part of a license.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SealedKey = "sealed key" {
        /// HPKE suite number (1, 2), or 16: AES-256-GCM under a root license's key.
        [1] suite: u64,
        /// HPKE: the encapsulated key. Suite 16: empty.
        [2] encapsulated: Bytes,
        /// Ciphertext with its tag.
        [3] ciphertext: Bytes,
    }
}

cbor_map! {
    /// The secrets inside a license.
    #[derive(Debug)]
    pub struct LicenseKeys = "license keys" {
        /// The keys, in the order of the body's descriptions.
        [1] keys: Vec<Bytes>,
        /// HMAC of a server secret over the license id: authenticates a later stop.
        [2] proof_key: Secret<32>,
    }
}

impl Drop for LicenseKeys {
    fn drop(&mut self) {
        self.keys
            .iter_mut()
            .for_each(|key| zeroize::Zeroize::zeroize(&mut key.0));
    }
}

/// A license that is complete but for its signature: it must be recorded first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedLicense {
    /// The encoded body.
    pub body: Vec<u8>,
    /// The encoded sealed part.
    pub sealed: Vec<u8>,
}

impl PreparedLicense {
    /// Seals `keys` to the device's public key of `suite`, bound to the encoded `body`.
    ///
    /// # Errors
    /// [`MessageError::Making`].
    pub fn for_device(
        body: Vec<u8>,
        keys: &LicenseKeys,
        suite: Suite,
        public_key: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Self, MessageError> {
        let info = binding(KEY_CONTEXT, suite, &body_digest(&body));
        let clear = keyward_crypto::SecretBytes::new(keys.encode());
        let sealed =
            hpke::seal(suite, public_key, &info, clear.expose(), rng).map_err(MessageError::Making)?;
        let sealed = SealedKey {
            suite: suite.number(),
            encapsulated: Bytes(sealed.encapsulated),
            ciphertext: Bytes(sealed.ciphertext),
        };
        Ok(Self {
            body,
            sealed: sealed.encode(),
        })
    }

    /// Signs the license; it can be signed once, by move.
    ///
    /// # Errors
    /// [`MessageError::Making`].
    pub fn sign(self, chain: &[Vec<u8>], signer: &dyn Signer) -> Result<Vec<u8>, MessageError> {
        signed::sign::<LicenseBody>(&self.body, &[&self.sealed], chain, signer)
    }
}

/// A license whose signature, signer and form were checked. Whether it may be used is another
/// question: [`evaluate`](crate::usage_rules::evaluate).
#[derive(Debug)]
pub struct License {
    verified: Verified<LicenseBody>,
    sealed: SealedKey,
    suite: Suite,
}

impl License {
    /// Verifies a license's signature and its signer: V-001 to V-005, V-020, V-021, V-026, V-030
    /// to V-032.
    ///
    /// The signer must have been valid when the license was issued and, where `arriving_at` is given
    /// (the license comes in a response), must be valid then as well.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn verify(
        bytes: &[u8],
        verifier: &dyn ChainVerifier,
        arriving_at: Option<Timestamp>,
    ) -> Result<Self, MessageError> {
        let verified =
            Unverified::<LicenseBody>::parse(bytes)?.verify(verifier, Role::LicenseServer, |body| {
                core::iter::once(body.issued).chain(arriving_at).collect()
            })?;
        verified.body().check()?;
        let sealed = verified
            .attachments()
            .first()
            .ok_or(DecodeError::Invalid("the license has no sealed key"))?;
        let sealed = SealedKey::decode(&sealed.0)?;
        let suite = Suite::from_number(sealed.suite).ok_or(DecodeError::UnknownNumber {
            what: "suite",
            number: sealed.suite,
        })?;
        Ok(Self {
            verified,
            sealed,
            suite,
        })
    }

    /// The license's terms.
    #[must_use]
    pub const fn body(&self) -> &LicenseBody {
        self.verified.body()
    }

    /// The suite the key is sealed with.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The sealed key.
    #[must_use]
    pub const fn sealed(&self) -> &SealedKey {
        &self.sealed
    }

    /// The HPKE `info` under which the key opens.
    #[must_use]
    pub fn key_binding(&self) -> Vec<u8> {
        binding(KEY_CONTEXT, self.suite, &self.verified.digest())
    }

    /// V-023, V-034: reads the opened key part and checks that it fits the body.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn read_keys(&self, opened: &keyward_crypto::SecretBytes) -> Result<LicenseKeys, DecodeError> {
        let keys = LicenseKeys::decode(opened.expose())?;
        let described = &self.body().keys;
        if keys.keys.len() != described.len() {
            return Err(DecodeError::Invalid(
                "the license does not hold the keys it describes",
            ));
        }
        if self.body().kind == LicenseKind::KeyExchange {
            for (description, key) in described.iter().zip(&keys.keys) {
                description.material(&key.0)?;
            }
        }
        Ok(keys)
    }
}

fn body_digest(body: &[u8]) -> Digest {
    Digest::new(keyward_crypto::kdf::sha256(&[body]))
}
