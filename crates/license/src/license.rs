//! The license: one signed object that is stored, embedded, forwarded and judged alone.
//!
//! ```text
//! COSE_Sign1 [ body: bstr .cbor LicenseBody, sealed: bstr .cbor SealedKey ]
//!                  │                                │ HPKE info (or AEAD aad) = context, suite, SHA-256(body)
//!                  └── all terms                    └── { key, proof key }
//! ```
//! The sealed key opens only under the hash of the body: a license whose terms were altered does not
//! open, even for a client that forgot the signature.

use keyward_crypto::{
    Secret,
    ecdsa::Signer,
    hpke::{self, Suite},
    x509::Role,
};
use rand_core::CryptoRng;

use crate::{
    cbor_enum, cbor_map,
    codec::{Bytes, DecodeError, Wire},
    envelope::binding,
    ids::{DeviceId, Digest, DomainId, Kid, LicenseId, Nonce},
    signed::{self, ChainVerifier, MessageError, SignedBody, Unverified, Verified},
    time::Timestamp,
};

/// Context of the key inside a license: first member of its HPKE `info`.
pub const KEY_CONTEXT: &str = "keyward/1 license-key";

cbor_map! {
    /// Body of a license: everything but the key.
    ///
    /// Keys 13 to 25 and 27 to 31 are assigned by `spec/license.md` to terms that this version does not
    /// enforce; being critical, they make it refuse the license.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct LicenseBody = "license" {
        /// Protocol version.
        [1] version: u64,
        /// Names the license.
        [2] id: LicenseId,
        /// Simple, root, leaf or key exchange.
        [3] kind: LicenseKind,
        /// What the sealed keys are, in their order: exactly one, but for key exchange.
        [4] keys: Vec<KeyDescription>,
        /// Whom the keys are sealed to.
        [5] binding: Binding,
        /// When it was issued, by the server's clock.
        [6] issued: Timestamp,
        /// True: may be stored. False: in memory only, and then `nonce` is there.
        [7] persistent: bool,
        /// The request's nonce, in in-memory licenses.
        [8?] nonce: Nonce,
        /// What the holder may do.
        [9] rights: Vec<Right>,
        /// Not usable before.
        [10?] begin: Timestamp,
        /// Not usable from this time on.
        [11?] end: Timestamp,
        /// Smallest security level of a device that may use it.
        [12?] minimum_security_level: u64,
        /// What the license is called, for people; up to 255 bytes.
        [26?] name: String,
    }
}

impl SignedBody for LicenseBody {
    const MEDIA_TYPE: &'static str = "application/vnd.keyward.license+cose";
    const CONTEXT: &'static str = "keyward/1 license";
    const ATTACHMENTS: usize = 1;
}

impl LicenseBody {
    /// Terms that this version enforces, as keys of the license body: what a client announces.
    pub const TERMS: [u64; 3] = [10, 11, 12];

    /// V-021, V-026: checks that the body's fields fit together.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`].
    pub fn check(&self) -> Result<(), DecodeError> {
        let exchange = self.kind == LicenseKind::KeyExchange;
        let end = self.end.unwrap_or(Timestamp(u64::MAX));
        let checks = [
            (
                self.keys.len() == 1 || exchange && !self.keys.is_empty(),
                "a license holds exactly one key",
            ),
            (
                self.keys.iter().all(|key| key.fits(self.kind)),
                "the license holds a key that its kind may not hold",
            ),
            (
                self.binding.fits(self.kind),
                "the license is bound to what its kind may not be bound to",
            ),
            (
                self.persistent != self.nonce.is_some(),
                "an in-memory license holds the request's nonce, another does not",
            ),
            (
                self.begin.unwrap_or_default() < end,
                "the license ends before it begins",
            ),
            (!self.rights.is_empty(), "a license grants at least one right"),
            (
                self.name.as_ref().is_none_or(|name| name.len() <= 255),
                "the license's name is too long",
            ),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            Some((_, fault)) => Err(DecodeError::Invalid(fault)),
            None => Ok(()),
        }
    }

    /// The key of a license that holds one.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] unless there is exactly one.
    pub fn single_key(&self) -> Result<&KeyDescription, DecodeError> {
        match &self.keys[..] {
            [key] => Ok(key),
            _ => Err(DecodeError::Invalid("a license holds exactly one key")),
        }
    }

    /// Whether any term depends on time.
    #[must_use]
    pub const fn is_time_limited(&self) -> bool {
        self.begin.is_some() || self.end.is_some()
    }
}

cbor_enum! {
    /// The kinds of license.
    pub enum LicenseKind = "license kind" {
        /// Bound to a device or domain; carries a content key.
        Simple = 1,
        /// Bound to a device or domain; its key opens leaf licenses.
        Root = 2,
        /// Bound to a root license's key; carries a content key.
        Leaf = 3,
        /// Carries keys for the application's own data.
        KeyExchange = 4,
    }
}

cbor_enum! {
    /// What a right permits.
    pub enum Right = "right" {
        /// Decrypt and render, or hand the clear bytes of a file to the application.
        Play = 1,
    }
}

cbor_map! {
    /// One key of a license.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct KeyDescription = "key description" {
        /// Key id.
        [1] kid: Kid,
        /// What the key serves, and nothing else.
        [2] key_type: KeyType,
        /// Key exchange: the COSE algorithm number.
        [3?] algorithm: u64,
        /// Key exchange: the one permitted operation.
        [4?] operation: u64,
    }
}

impl KeyDescription {
    /// Whether a license of this kind may hold the key.
    fn fits(&self, kind: LicenseKind) -> bool {
        let operation_named = self.algorithm.is_some() && self.operation.is_some();
        let operation_absent = self.algorithm.is_none() && self.operation.is_none();
        match (kind, self.key_type) {
            (LicenseKind::KeyExchange, KeyType::Exchange) => operation_named,
            (LicenseKind::Root, KeyType::Root)
            | (
                LicenseKind::Simple | LicenseKind::Leaf,
                KeyType::CencCtr | KeyType::CencCbc | KeyType::File,
            ) => operation_absent,
            _ => false,
        }
    }
}

cbor_enum! {
    /// What a key serves. A KID is registered with one type, so that no key serves in two modes.
    pub enum KeyType = "key type" {
        /// Media in AES-CTR: protection schemes `cenc` and `cens`.
        CencCtr = 1,
        /// Media in AES-CBC: protection schemes `cbcs` and `cbc1`.
        CencCbc = 2,
        /// A plain file in Keyward's container.
        File = 3,
        /// A root license's key.
        Root = 4,
        /// The application's own data.
        Exchange = 5,
    }
}

cbor_map! {
    /// Whom a license's keys are sealed to.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Binding = "binding" {
        /// Device, domain or root.
        [1] kind: BindingKind,
        /// Device id (32 bytes), domain id (16) or the root's KID (16).
        [2] id: Bytes,
        /// Domain: its revision.
        [3?] revision: u64,
    }
}

impl Binding {
    /// A binding to a device.
    #[must_use]
    pub fn device(device: &DeviceId) -> Self {
        Self {
            kind: BindingKind::Device,
            id: Bytes(device.as_bytes().to_vec()),
            revision: None,
        }
    }

    /// Whether a license of this kind may be bound so, and the id is one of its kind.
    fn fits(&self, kind: LicenseKind) -> bool {
        let leaf = kind == LicenseKind::Leaf;
        match self.kind {
            BindingKind::Device => !leaf && self.id.0.len() == DeviceId::LEN && self.revision.is_none(),
            BindingKind::Domain => !leaf && self.id.0.len() == DomainId::LEN && self.revision.is_some(),
            BindingKind::Root => leaf && self.id.0.len() == Kid::LEN && self.revision.is_none(),
        }
    }

    /// V-022: whether this names `device`.
    #[must_use]
    pub fn is_device(&self, device: &DeviceId) -> bool {
        *self == Self::device(device)
    }
}

cbor_enum! {
    /// What a license may be bound to.
    pub enum BindingKind = "binding kind" {
        /// One device.
        Device = 1,
        /// One revision of a domain.
        Domain = 2,
        /// A root license.
        Root = 3,
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
    /// Verifies a license's signature and its signer: V-001 to V-005, V-020, V-021, V-026.
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

    /// V-023: reads the opened key part and checks that it fits the body.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn read_keys(&self, opened: &keyward_crypto::SecretBytes) -> Result<LicenseKeys, DecodeError> {
        let keys = LicenseKeys::decode(opened.expose())?;
        if keys.keys.len() == self.body().keys.len() {
            Ok(keys)
        } else {
            Err(DecodeError::Invalid(
                "the license does not hold the keys it describes",
            ))
        }
    }
}

fn body_digest(body: &[u8]) -> Digest {
    Digest::new(keyward_crypto::kdf::sha256(&[body]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simple() -> LicenseBody {
        LicenseBody {
            version: 1,
            id: LicenseId::new([1; 16]),
            kind: LicenseKind::Simple,
            keys: vec![key(KeyType::File, None)],
            binding: Binding::device(&DeviceId::new([2; 32])),
            issued: Timestamp(1),
            persistent: true,
            nonce: None,
            rights: vec![Right::Play],
            begin: None,
            end: None,
            minimum_security_level: None,
            name: None,
        }
    }

    fn key(key_type: KeyType, operation: Option<u64>) -> KeyDescription {
        KeyDescription {
            kid: Kid::new([3; 16]),
            key_type,
            algorithm: operation,
            operation,
        }
    }

    fn binding(kind: BindingKind, len: usize, revision: Option<u64>) -> Binding {
        Binding {
            kind,
            id: Bytes(vec![4; len]),
            revision,
        }
    }

    #[test]
    fn v_021_kind_key_and_binding_fit_together() {
        use BindingKind as B;
        use LicenseKind as K;
        let (device, domain, root) = (
            binding(B::Device, 32, None),
            binding(B::Domain, 16, Some(1)),
            binding(B::Root, 16, None),
        );
        let cases = [
            (K::Simple, key(KeyType::File, None), &device, true),
            (K::Simple, key(KeyType::CencCtr, None), &domain, true),
            (K::Simple, key(KeyType::Root, None), &device, false),
            (K::Simple, key(KeyType::Exchange, Some(1)), &device, false),
            (K::Simple, key(KeyType::File, Some(1)), &device, false),
            (K::Simple, key(KeyType::File, None), &root, false),
            (K::Root, key(KeyType::Root, None), &device, true),
            (K::Root, key(KeyType::File, None), &device, false),
            (K::Root, key(KeyType::Root, None), &root, false),
            (K::Leaf, key(KeyType::CencCbc, None), &root, true),
            (K::Leaf, key(KeyType::CencCbc, None), &device, false),
            (K::KeyExchange, key(KeyType::Exchange, Some(1)), &device, true),
            (K::KeyExchange, key(KeyType::Exchange, None), &device, false),
            (K::KeyExchange, key(KeyType::File, None), &device, false),
        ];
        for (kind, key, binding, fits) in cases {
            let (keys, binding) = (vec![key], binding.clone());
            let body = LicenseBody {
                kind,
                keys,
                binding,
                ..simple()
            };
            assert_eq!(body.check().is_ok(), fits, "{body:?}");
        }
    }

    #[test]
    fn a_binding_names_an_id_of_its_kind() {
        use BindingKind as B;
        for (kind, len, revision) in [
            (B::Device, 16, None),
            (B::Device, 32, Some(1)),
            (B::Domain, 16, None),
            (B::Domain, 32, Some(1)),
        ] {
            let body = LicenseBody {
                binding: binding(kind, len, revision),
                ..simple()
            };
            assert!(body.check().is_err(), "{body:?}");
        }
        assert!(simple().check().is_ok());
    }
}
