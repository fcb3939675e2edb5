//! A license as it travels: the keys sealed under its body's hash, and the signature around both.

use keyward_crypto::{
    CryptoError, RootKey, Secret, SecretBytes,
    ecdsa::Signer,
    hpke::{self, Suite},
    x509::Role,
};
use rand_core::CryptoRng;

use super::{KeyType, LicenseBody, LicenseKind};
use crate::{
    cbor_map,
    codec::{Bytes, DecodeError, Wire},
    envelope::numbered_binding,
    ids::Digest,
    signed::{self, ChainVerifier, MessageError, Unverified, Verified},
    time::Timestamp,
};

/// Context of the key inside a license: first member of its HPKE `info`.
pub const KEY_CONTEXT: &str = "keyward/1 license-key";

/// Number of the suite that seals under a root license's key.
pub const ROOT_SUITE: u64 = 16;

/// How the keys of a license are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sealing {
    /// To a receiver's public key, in a suite of HPKE.
    Hpke(Suite),
    /// Under the key of the root license that the license is bound to (suite 16).
    Root,
}

impl Sealing {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Hpke(suite) => suite.number(),
            Self::Root => ROOT_SUITE,
        }
    }

    /// The sealing of a wire number, or `None` if this version does not know it.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        match number {
            ROOT_SUITE => Some(Self::Root),
            _ => Suite::from_number(number).map(Self::Hpke),
        }
    }

    /// The suite of HPKE, if it is one.
    #[must_use]
    pub const fn suite(self) -> Option<Suite> {
        match self {
            Self::Hpke(suite) => Some(suite),
            Self::Root => None,
        }
    }
}

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

impl LicenseKeys {
    /// The key of a root license.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] unless it is the only key, and of a root key's length.
    pub fn root_key(&self) -> Result<RootKey, DecodeError> {
        let one = match &self.keys[..] {
            [key] => RootKey::from_slice(&key.0).ok(),
            _ => None,
        };
        one.ok_or(DecodeError::Invalid("the license holds no root key"))
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
        let info = binding(Sealing::Hpke(suite), &body_digest(&body));
        let clear = SecretBytes::new(keys.encode());
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

    /// Seals `keys` under the key of the root license that the encoded `body`, a leaf license's, is bound to.
    ///
    /// # Errors
    /// [`MessageError::Making`].
    pub fn under_root(
        body: Vec<u8>,
        keys: &LicenseKeys,
        root: &RootKey,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, MessageError> {
        let bound_to = binding(Sealing::Root, &body_digest(&body));
        let clear = SecretBytes::new(keys.encode());
        let ciphertext = root
            .seal(&bound_to, clear.expose(), rng)
            .map_err(MessageError::Making)?;
        let sealed = SealedKey {
            suite: ROOT_SUITE,
            encapsulated: Bytes::default(),
            ciphertext: Bytes(ciphertext),
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
    sealing: Sealing,
}

impl License {
    /// Verifies a license's signature and its signer: V-001 to V-005, V-020, V-021, V-026, V-030
    /// to V-032, V-036.
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
        let sealing = sealed.sealing_of(verified.body().kind)?;
        Ok(Self {
            verified,
            sealed,
            sealing,
        })
    }

    /// The license's terms.
    #[must_use]
    pub const fn body(&self) -> &LicenseBody {
        self.verified.body()
    }

    /// How the keys are sealed.
    #[must_use]
    pub const fn sealing(&self) -> Sealing {
        self.sealing
    }

    /// The sealed key.
    #[must_use]
    pub const fn sealed(&self) -> &SealedKey {
        &self.sealed
    }

    /// What the keys open under: HPKE's `info`; of a leaf the info of its key and the associated data.
    #[must_use]
    pub fn key_binding(&self) -> Vec<u8> {
        binding(self.sealing, &self.verified.digest())
    }

    /// V-023: opens the keys of a leaf license with its root license's key.
    ///
    /// # Errors
    /// [`MessageError::NotOpened`] if the license is sealed to a receiver, under another root, or does not
    /// open; [`MessageError::Decode`] if what is opened does not fit the body.
    pub fn open_under(&self, root: &RootKey) -> Result<LicenseKeys, MessageError> {
        if self.sealing != Sealing::Root {
            return Err(MessageError::NotOpened);
        }
        let opened = root
            .open(&self.key_binding(), &self.sealed.ciphertext.0)
            .map_err(|_: CryptoError| MessageError::NotOpened)?;
        Ok(self.read_keys(&opened)?)
    }

    /// V-023, V-034: reads the opened key part and checks that it fits the body.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn read_keys(&self, opened: &SecretBytes) -> Result<LicenseKeys, DecodeError> {
        let keys = LicenseKeys::decode(opened.expose())?;
        let described = &self.body().keys;
        if keys.keys.len() != described.len() {
            return Err(DecodeError::Invalid(
                "the license does not hold the keys it describes",
            ));
        }
        for (description, key) in described.iter().zip(&keys.keys) {
            match description.key_type {
                KeyType::Exchange => drop(description.material(&key.0)?),
                KeyType::Root => check_len(key, RootKey::LEN)?,
                KeyType::CencCtr | KeyType::CencCbc | KeyType::File => check_len(key, CONTENT_KEY_LEN)?,
            }
        }
        Ok(keys)
    }
}

impl SealedKey {
    /// V-036: how the keys are sealed, if a license of this kind may be sealed so: a leaf under its root's
    /// key and with nothing encapsulated, any other to a receiver.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn sealing_of(&self, kind: LicenseKind) -> Result<Sealing, DecodeError> {
        let sealing = Sealing::from_number(self.suite).ok_or(DecodeError::UnknownNumber {
            what: "suite",
            number: self.suite,
        })?;
        let leaf = kind == LicenseKind::Leaf;
        match sealing {
            Sealing::Root if leaf && self.encapsulated.0.is_empty() => Ok(sealing),
            Sealing::Hpke(_) if !leaf => Ok(sealing),
            _ => Err(DecodeError::Invalid(
                "the license is sealed as its kind may not be sealed",
            )),
        }
    }
}

fn check_len(key: &Bytes, len: usize) -> Result<(), DecodeError> {
    match key.0.len() == len {
        true => Ok(()),
        false => Err(DecodeError::Invalid(
            "a key of the license is not as long as its type says",
        )),
    }
}

fn binding(sealing: Sealing, digest: &Digest) -> Vec<u8> {
    numbered_binding(KEY_CONTEXT, sealing.number(), digest)
}

/// Bytes of a content key.
const CONTENT_KEY_LEN: usize = 16;

fn body_digest(body: &[u8]) -> Digest {
    Digest::new(keyward_crypto::kdf::sha256(&[body]))
}
