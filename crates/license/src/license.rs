//! The license: one signed object that is stored, embedded, forwarded and judged alone.
//!
//! ```text
//! COSE_Sign1 [ body: bstr .cbor LicenseBody, sealed: bstr .cbor SealedKey ]
//!                  │                                │ HPKE info (or AEAD aad) = context, suite, SHA-256(body)
//!                  └── all terms                    └── { key, proof key }
//! ```
//! The sealed key opens only under the hash of the body: a license whose terms were altered does not
//! open, even for a client that forgot the signature.

mod chain;
mod explicit;
mod guid;
mod keys;
mod sealed;
mod terms;

use crate::{
    cbor_enum, cbor_map,
    codec::{Bytes, DecodeError},
    ids::{DeviceId, DomainId, Kid, LicenseId, Nonce},
    signed::{PROTOCOL_VERSION, SignedBody},
    time::Timestamp,
};

pub use chain::{Chain, LeafFault};
pub use explicit::{AgcAndColourStripe, CopyControl, ExplicitRestriction, HdcpType, REDUCED_PIXELS};
pub use guid::{Guid, GuidParseError};
pub use keys::{CoseAlgorithm, KeyDescription, KeyType, MAX_CONTEXT, MAX_EXCHANGE_KEYS, MAX_USES};
pub use sealed::{KEY_CONTEXT, License, LicenseKeys, PreparedLicense, ROOT_SUITE, SealedKey, Sealing};
pub use terms::{
    ExtendedRestriction, ExtendedRight, Flag, MAX_EXPLICIT_RESTRICTIONS, MAX_EXTENDED_DATA,
    MAX_EXTENDED_RESTRICTIONS, MAX_EXTENDED_RIGHTS, MAX_PLAY_ENABLERS, OutputProtectionLevels, PlayEnabler,
    Resolution,
};

cbor_map! {
    /// Body of a license: everything but the key.
    ///
    /// Keys 21, 22 and 27 are assigned by `spec/license.md` to terms that this version does not know;
    /// being critical, they make it refuse the license.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct LicenseBody = "license" {
        /// Protocol version.
        [1] version: u64,
        /// Names the license.
        [2] id: LicenseId,
        /// Simple, root, leaf or key exchange.
        [3] kind: LicenseKind,
        /// What the sealed keys are, in their order: exactly one, but for key exchange (V-032).
        [4] keys: Vec<KeyDescription>,
        /// Whom the keys are sealed to.
        [5] binding: Binding,
        /// When it was issued, by the server's clock.
        [6] issued: Timestamp,
        /// True: may be stored. False: in memory only, and then `nonce` is there.
        [7] persistent: bool,
        /// The request's nonce, in in-memory licenses.
        [8?] nonce: Nonce,
        /// What the holder may do (R-001): for key exchange to perform, otherwise to play, or nothing where
        /// there are extended rights.
        [9] rights: Vec<Right>,
        /// Not usable before.
        [10?] begin: Timestamp,
        /// Not usable from this time on.
        [11?] end: Timestamp,
        /// Smallest security level of a device that may use it.
        [12?] minimum_security_level: u64,
        /// Not usable from this many seconds after the first play on (R-012).
        [13?] expiration_after_first_play: u64,
        /// What ends the license stops a playback as well (R-014).
        [14?] real_time_expiration: Flag,
        /// The client may remove it from its store from this time on.
        [15?] removal_date: Timestamp,
        /// For how many seconds after the end it may still be used (R-013).
        [16?] grace_period: u64,
        /// The least protection that outputs must have.
        [17?] output_protection_levels: OutputProtectionLevels,
        /// Demands on decoder and outputs that are named by a GUID; at most [`MAX_EXPLICIT_RESTRICTIONS`].
        [18?] explicit_restrictions: Vec<ExplicitRestriction>,
        /// Outputs that are permitted by name; at most [`MAX_PLAY_ENABLERS`].
        [19?] play_enablers: Vec<PlayEnabler>,
        /// The client writes the license into the content's embedded license store (R-045).
        [23?] embed: Flag,
        /// Where the content comes from (R-006).
        [24?] source_id: u64,
        /// Demands of the application; at most [`MAX_EXTENDED_RESTRICTIONS`].
        [25?] extended_restrictions: Vec<ExtendedRestriction>,
        /// What the license is called, for people; up to 255 bytes.
        [26?] name: String,
        /// What the application may do besides; at most [`MAX_EXTENDED_RIGHTS`].
        [28?] extended_rights: Vec<ExtendedRight>,
        /// Not usable any more once the device is revoked, as far as the client knows (R-015).
        [29?] ends_with_revocation: Flag,
    }
}

impl SignedBody for LicenseBody {
    const MEDIA_TYPE: &'static str = "application/vnd.keyward.license+cose";
    const CONTEXT: &'static str = "keyward/1 license";
    const ATTACHMENTS: usize = 1;
}

impl LicenseBody {
    /// Every term that this version knows, as its key in the license body. A client announces those of
    /// them that it enforces.
    pub const TERMS: [u64; 15] = [10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 23, 24, 25, 28, 29];

    /// A license of one key for playing, or for key exchange to perform, persistent and without terms.
    #[must_use]
    pub fn new(
        id: LicenseId,
        kind: LicenseKind,
        key: KeyDescription,
        binding: Binding,
        issued: Timestamp,
    ) -> Self {
        Self {
            version: PROTOCOL_VERSION,
            id,
            kind,
            keys: vec![key],
            binding,
            issued,
            persistent: true,
            nonce: None,
            rights: vec![kind.right()],
            begin: None,
            end: None,
            minimum_security_level: None,
            expiration_after_first_play: None,
            real_time_expiration: None,
            removal_date: None,
            grace_period: None,
            output_protection_levels: None,
            explicit_restrictions: None,
            play_enablers: None,
            embed: None,
            source_id: None,
            extended_restrictions: None,
            name: None,
            extended_rights: None,
            ends_with_revocation: None,
        }
    }

    /// Keys of the terms that the license holds, ascending.
    pub fn terms(&self) -> impl Iterator<Item = u64> {
        let held = [
            self.begin.is_some(),
            self.end.is_some(),
            self.minimum_security_level.is_some(),
            self.expiration_after_first_play.is_some(),
            self.real_time_expiration.is_some(),
            self.removal_date.is_some(),
            self.grace_period.is_some(),
            self.output_protection_levels.is_some(),
            self.explicit_restrictions.is_some(),
            self.play_enablers.is_some(),
            self.embed.is_some(),
            self.source_id.is_some(),
            self.extended_restrictions.is_some(),
            self.extended_rights.is_some(),
            self.ends_with_revocation.is_some(),
        ];
        Self::TERMS
            .into_iter()
            .zip(held)
            .filter_map(|(term, held)| held.then_some(term))
    }

    /// V-021, V-026, V-030, V-031, V-032, V-036: checks that the body's fields are bounded and fit together.
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
            (
                !self.rights.is_empty() || self.extended_rights.is_some(),
                "a license grants at least one right",
            ),
            (
                terms::nothing_twice(&self.rights, |right| *right),
                "a license grants a right twice",
            ),
            (
                self.rights.iter().all(|right| *right == self.kind.right())
                    && !(exchange && self.extended_rights.is_some()),
                "the license grants a right that its kind may not grant",
            ),
            (
                self.name.as_ref().is_none_or(|name| name.len() <= 255),
                "the license's name is too long",
            ),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            Some((_, fault)) => Err(DecodeError::Invalid(fault)),
            None => terms::check(self)
                .and_then(|()| keys::check(self))
                .and_then(|()| chain::check(self)),
        }
    }

    /// The key id that the license is asked for and kept under: the one of its first description (V-025).
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] if there is no description.
    pub fn asked_kid(&self) -> Result<Kid, DecodeError> {
        let first = self.keys.first().map(|key| key.kid);
        first.ok_or(DecodeError::Invalid("a license holds no key"))
    }

    /// The key id of the root license that a leaf license is bound to; `None` of any other kind.
    #[must_use]
    pub fn leaf_of(&self) -> Option<Kid> {
        let bound = self.kind == LicenseKind::Leaf && self.binding.kind == BindingKind::Root;
        bound
            .then(|| Kid::try_from(&self.binding.id.0[..]).ok())
            .flatten()
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

    /// R-003: whether any term depends on time, so that the license needs a clock.
    #[must_use]
    pub const fn is_time_limited(&self) -> bool {
        self.begin.is_some() || self.expires()
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

impl LicenseKind {
    /// V-021: the one right that a license of this kind grants, besides extended rights.
    #[must_use]
    pub const fn right(self) -> Right {
        match self {
            Self::Simple | Self::Root | Self::Leaf => Right::Play,
            Self::KeyExchange => Right::Perform,
        }
    }
}

cbor_enum! {
    /// What a right permits.
    pub enum Right = "right" {
        /// Decrypt and render, or hand the clear bytes of a file to the application.
        Play = 1,
        /// Key exchange: the operation that the key's description names, on the application's own data
        /// (R-050).
        Perform = 2,
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

    /// A leaf license's binding: to the root license whose key has this id.
    #[must_use]
    pub fn root(kid: Kid) -> Self {
        Self {
            kind: BindingKind::Root,
            id: Bytes(kid.as_bytes().to_vec()),
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

#[cfg(test)]
mod tests {
    use keyward_crypto::exchange::{Algorithm, Operation};

    use super::*;

    const KID: Kid = Kid::new([3; 16]);

    fn simple() -> LicenseBody {
        LicenseBody::new(
            LicenseId::new([1; 16]),
            LicenseKind::Simple,
            KeyDescription::content(KID, KeyType::File),
            Binding::device(&DeviceId::new([2; 32])),
            Timestamp(1),
        )
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
        let content = |key_type| KeyDescription::content(KID, key_type);
        let exchange = KeyDescription::exchange(KID, Algorithm::A256Gcm, Operation::Encrypt, 1);
        let named = KeyDescription {
            operation: Some(3),
            ..content(KeyType::File)
        };
        let cases = [
            (K::Simple, content(KeyType::File), &device, true),
            (K::Simple, content(KeyType::CencCtr), &domain, true),
            (K::Simple, content(KeyType::Root), &device, false),
            (K::Simple, exchange.clone(), &device, false),
            (K::Simple, named, &device, false),
            (K::Simple, content(KeyType::File), &root, false),
            (K::Root, content(KeyType::Root), &device, true),
            (K::Root, content(KeyType::File), &device, false),
            (K::Root, content(KeyType::Root), &root, false),
            (K::Leaf, content(KeyType::CencCbc), &root, true),
            (K::Leaf, content(KeyType::CencCbc), &device, false),
            (K::KeyExchange, exchange.clone(), &device, true),
            (K::KeyExchange, exchange, &root, false),
            (K::KeyExchange, content(KeyType::Exchange), &device, false),
            (K::KeyExchange, content(KeyType::File), &device, false),
        ];
        for (kind, key, binding, fits) in cases {
            let (keys, binding) = (vec![key], binding.clone());
            let body = LicenseBody {
                kind,
                keys,
                binding,
                rights: vec![kind.right()],
                ..simple()
            };
            assert_eq!(body.check().is_ok(), fits, "{body:?}");
        }
    }

    #[test]
    fn v_021_rights_are_those_of_the_kind_and_stand_there_once() {
        use Right::{Perform, Play};
        let exchange = || LicenseBody {
            kind: LicenseKind::KeyExchange,
            keys: vec![KeyDescription::exchange(
                KID,
                Algorithm::A256Gcm,
                Operation::Encrypt,
                1,
            )],
            ..simple()
        };
        let extended = || ExtendedRight {
            kind: 500,
            restrictions: None,
        };
        let cases = [
            (simple(), vec![Play], false, true),
            (simple(), vec![Play], true, true),
            (simple(), vec![], true, true),
            (simple(), vec![], false, false),
            (simple(), vec![Play, Play], false, false),
            (simple(), vec![Perform], false, false),
            (simple(), vec![Play, Perform], false, false),
            (exchange(), vec![Perform], false, true),
            (exchange(), vec![Perform], true, false),
            (exchange(), vec![], true, false),
            (exchange(), vec![Perform, Perform], false, false),
            (exchange(), vec![Play], false, false),
        ];
        for (body, rights, more, fits) in cases {
            let extended_rights = more.then(|| vec![extended()]);
            let body = LicenseBody {
                rights,
                extended_rights,
                ..body
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
