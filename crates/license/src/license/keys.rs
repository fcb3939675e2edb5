//! What the keys of a license are: descriptions, and what a license for key exchange may describe.

use keyward_crypto::{
    SecretBytes,
    exchange::{Algorithm, Material, Operation},
};

use super::{LicenseBody, LicenseKind, terms::nothing_twice};
use crate::{
    cbor_enum, cbor_map,
    codec::{Bytes, DecodeError, Reader, Wire, Writer},
    ids::Kid,
};

/// Most keys in a license for key exchange, versions counted each.
pub const MAX_EXCHANGE_KEYS: usize = 16;
/// Longest context of an exchange key, in bytes.
pub const MAX_CONTEXT: usize = 255;
/// Largest use limit of an exchange key.
pub const MAX_USES: u64 = 1 << 32;

cbor_map! {
    /// One key of a license.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct KeyDescription = "key description" {
        /// Key id.
        [1] kid: Kid,
        /// What the key serves, and nothing else.
        [2] key_type: KeyType,
        /// Key exchange: the algorithm (V-032).
        [3?] algorithm: CoseAlgorithm,
        /// Key exchange: the one permitted operation, as a number of COSE's `key_ops`
        /// (RFC 9052, table 5).
        [4?] operation: u64,
        /// Key exchange: which version of the key this is, 1 to 2^32-1.
        [5?] version: u64,
        /// Key exchange with GCM: the additional data that every use names; 1 to [`MAX_CONTEXT`] bytes.
        [6?] context: Bytes,
        /// Key exchange: how often the key may be used, all its versions together; 1 to
        /// [`MAX_USES`].
        [7?] uses: u64,
    }
}

impl KeyDescription {
    /// A key for content, or a root license's.
    #[must_use]
    pub const fn content(kid: Kid, key_type: KeyType) -> Self {
        Self {
            kid,
            key_type,
            algorithm: None,
            operation: None,
            version: None,
            context: None,
            uses: None,
        }
    }

    /// One version of an exchange key for one operation, without context and use limit.
    #[must_use]
    pub fn exchange(kid: Kid, algorithm: Algorithm, operation: Operation, version: u32) -> Self {
        Self {
            algorithm: Some(algorithm.into()),
            operation: Some(operation.number().into()),
            version: Some(version.into()),
            ..Self::content(kid, KeyType::Exchange)
        }
    }

    /// V-032: what an exchange key permits: an algorithm that this version knows, and one of its operations.
    #[must_use]
    pub fn permits(&self) -> Option<(Algorithm, Operation)> {
        let algorithm = self.algorithm?.known()?;
        let operation = Operation::from_number(self.operation?)?;
        algorithm.permits(operation).then_some((algorithm, operation))
    }

    /// how often the key may be used, all its versions together; any number of times, if absent.
    /// Encrypting with GCM always has a limit (SP 800-38D §8.3).
    #[must_use]
    pub fn use_limit(&self) -> Option<u64> {
        let encrypts = |(algorithm, operation): (Algorithm, Operation)| {
            algorithm.takes_aad() && operation == Operation::Encrypt
        };
        let always = self.permits().is_some_and(encrypts).then_some(MAX_USES);
        self.uses.or(always)
    }

    /// V-034: the exchange key that this describes, of its length and form.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`].
    pub fn material(&self, key: &[u8]) -> Result<Material, DecodeError> {
        let (algorithm, operation) = self.permits().ok_or(DecodeError::Invalid(NOT_PERMITTED))?;
        Material::from_bytes(algorithm, operation, SecretBytes::new(key.to_vec()))
            .map_err(|_| DecodeError::Invalid("an exchange key is not one of its algorithm and operation"))
    }

    /// V-021: whether a license of this kind may hold the key.
    pub(super) const fn fits(&self, kind: LicenseKind) -> bool {
        match (kind, self.key_type) {
            (LicenseKind::KeyExchange, KeyType::Exchange) => true,
            (LicenseKind::Root, KeyType::Root)
            | (
                LicenseKind::Simple | LicenseKind::Leaf,
                KeyType::CencCtr | KeyType::CencCbc | KeyType::File,
            ) => !self.says_what_exchange_is_for(),
            _ => false,
        }
    }

    const fn says_what_exchange_is_for(&self) -> bool {
        self.algorithm.is_some()
            || self.operation.is_some()
            || self.version.is_some()
            || self.context.is_some()
            || self.uses.is_some()
    }

    /// V-032: whether version, context and use limit are within their bounds.
    fn is_bounded(&self) -> bool {
        let version = self.version.unwrap_or_default();
        let context = self.context.as_ref().map(|context| context.0.len());
        let takes_context = self.permits().is_some_and(|(algorithm, _)| algorithm.takes_aad());
        (1..=u64::from(u32::MAX)).contains(&version)
            && context.is_none_or(|length| takes_context && (1..=MAX_CONTEXT).contains(&length))
            && self.uses.is_none_or(|uses| (1..=MAX_USES).contains(&uses))
    }

    /// Whether the other describes the same key: everything but the version.
    fn is_version_of(&self, other: &Self) -> bool {
        let Self {
            kid,
            key_type,
            algorithm,
            operation,
            version: _,
            context,
            uses,
        } = self;
        (kid, key_type, algorithm, operation, context, uses)
            == (
                &other.kid,
                &other.key_type,
                &other.algorithm,
                &other.operation,
                &other.context,
                &other.uses,
            )
    }
}

/// V-032: checks the descriptions of a license for key exchange; other licenses pass.
///
/// # Errors
/// [`DecodeError::Invalid`].
pub(super) fn check(body: &LicenseBody) -> Result<(), DecodeError> {
    if body.kind != LicenseKind::KeyExchange {
        return Ok(());
    }
    let keys = &body.keys;
    let groups = || keys.chunk_by(|one, next| one.kid == next.kid);
    let first_of_each: Vec<&KeyDescription> = groups().filter_map(<[_]>::first).collect();
    let descends = |versions: &[KeyDescription]| {
        versions.is_sorted_by(|newer, older| newer.is_version_of(older) && newer.version > older.version)
    };
    let checks = [
        (keys.len() <= MAX_EXCHANGE_KEYS, "a license holds too many keys"),
        (keys.iter().all(|key| key.permits().is_some()), NOT_PERMITTED),
        (keys.iter().all(KeyDescription::is_bounded), UNBOUNDED),
        (
            nothing_twice(&first_of_each, |key| key.kid),
            "the versions of a key do not stand together in the license",
        ),
        (
            groups().all(descends),
            "the versions of a key in a license differ in more than the version, or not in that, or stand not \
             newest first",
        ),
        (
            nothing_twice(&first_of_each, |key| key.algorithm),
            "a license holds two keys of one algorithm",
        ),
    ];
    match checks.iter().find(|(holds, _)| !holds) {
        Some((_, fault)) => Err(DecodeError::Invalid(fault)),
        None => Ok(()),
    }
}

const NOT_PERMITTED: &str =
    "an exchange key is for no algorithm of this version, or for no operation of its algorithm";
const UNBOUNDED: &str =
    "an exchange key has no version, or a version, context or use limit out of its bounds";

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

impl KeyType {
    /// Whether content is encrypted with keys of this type.
    #[must_use]
    pub const fn is_for_content(self) -> bool {
        matches!(self, Self::CencCtr | Self::CencCbc | Self::File)
    }
}

/// A cryptographic algorithm by its COSE number, whether this version knows it or not.
///
/// The numbers are those of the IANA registry "COSE Algorithms" (RFC 9053, RFC 9459, RFC 9864), 64 bits
/// with sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoseAlgorithm(pub i64);

impl CoseAlgorithm {
    /// The algorithm, if this version knows it.
    #[must_use]
    pub fn known(self) -> Option<Algorithm> {
        Algorithm::from_number(self.0)
    }
}

impl From<Algorithm> for CoseAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        Self(algorithm.number())
    }
}

/// The name where it is known, otherwise the number.
impl core::fmt::Display for CoseAlgorithm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.known() {
            Some(algorithm) => algorithm.fmt(f),
            None => self.0.fmt(f),
        }
    }
}

impl Wire for CoseAlgorithm {
    fn write(&self, writer: &mut Writer) {
        writer.int(self.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.int().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use keyward_crypto::exchange::ExchangeKey;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;
    use crate::{
        ids::{DeviceId, LicenseId},
        license::Binding,
        time::Timestamp,
    };

    const KIDS: [Kid; 2] = [Kid::new([1; 16]), Kid::new([2; 16])];

    fn gcm(version: u32) -> KeyDescription {
        KeyDescription::exchange(KIDS[0], Algorithm::A256Gcm, Operation::Decrypt, version)
    }

    fn hmac(version: u32) -> KeyDescription {
        KeyDescription::exchange(KIDS[1], Algorithm::HmacSha256, Operation::Verify, version)
    }

    fn fault(keys: Vec<KeyDescription>) -> Option<&'static str> {
        let binding = Binding::device(&DeviceId::new([2; 32]));
        let (id, kind) = (LicenseId::new([1; 16]), LicenseKind::KeyExchange);
        let body = LicenseBody {
            keys,
            ..LicenseBody::new(id, kind, gcm(1), binding, Timestamp(1))
        };
        match body.check() {
            Ok(()) => None,
            Err(DecodeError::Invalid(fault)) => Some(fault),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn v_032_keys_and_their_versions_fit_together() {
        let other_kid = |version| KeyDescription {
            kid: KIDS[1],
            ..gcm(version)
        };
        let order = "the versions of a key in a license differ in more than the version, or not in that, or \
                     stand not newest first";
        let apart = "the versions of a key do not stand together in the license";
        let twice = "a license holds two keys of one algorithm";
        let with = |edit: fn(&mut KeyDescription)| {
            let mut key = gcm(1);
            edit(&mut key);
            vec![gcm(2), key]
        };
        let cases = [
            (vec![gcm(1)], None),
            (vec![gcm(9), gcm(3), gcm(1), hmac(7), hmac(2)], None),
            ((1..=16).rev().map(gcm).collect(), None),
            (
                (1..=17).rev().map(gcm).collect(),
                Some("a license holds too many keys"),
            ),
            (vec![gcm(1), gcm(2)], Some(order)),
            (vec![gcm(2), gcm(2)], Some(order)),
            (vec![gcm(2), hmac(1), gcm(1)], Some(apart)),
            (vec![gcm(2), other_kid(1)], Some(twice)),
            (with(|key| key.operation = Some(3)), Some(order)),
            (with(|key| key.algorithm = Some(CoseAlgorithm(1))), Some(order)),
            (with(|key| key.context = Some(Bytes(vec![1]))), Some(order)),
            (with(|key| key.uses = Some(1)), Some(order)),
        ];
        for (keys, expected) in cases {
            assert_eq!(fault(keys.clone()), expected, "{keys:?}");
        }
    }

    #[test]
    fn v_032_each_entry_is_bounded() {
        type Edit = fn(&mut KeyDescription);
        let cases: [(Edit, Option<&str>); 22] = [
            (|key| key.algorithm = None, Some(NOT_PERMITTED)),
            (|key| key.algorithm = Some(CoseAlgorithm(2)), Some(NOT_PERMITTED)),
            (
                |key| key.algorithm = Some(CoseAlgorithm(i64::MIN)),
                Some(NOT_PERMITTED),
            ),
            (|key| key.operation = None, Some(NOT_PERMITTED)),
            (|key| key.operation = Some(0), Some(NOT_PERMITTED)),
            (|key| key.operation = Some(1), Some(NOT_PERMITTED)),
            (|key| key.operation = Some(7), Some(NOT_PERMITTED)),
            (|key| key.operation = Some(3), None),
            (|key| key.version = None, Some(UNBOUNDED)),
            (|key| key.version = Some(0), Some(UNBOUNDED)),
            (|key| key.version = Some(u32::MAX.into()), None),
            (|key| key.version = Some(1 << 32), Some(UNBOUNDED)),
            (|key| key.context = Some(Bytes(vec![])), Some(UNBOUNDED)),
            (|key| key.context = Some(Bytes(vec![0; 1])), None),
            (|key| key.context = Some(Bytes(vec![0; 255])), None),
            (|key| key.context = Some(Bytes(vec![0; 256])), Some(UNBOUNDED)),
            (
                |key| {
                    key.algorithm = Some(Algorithm::A256Cbc.into());
                    key.context = Some(Bytes(vec![0; 1]));
                },
                Some(UNBOUNDED),
            ),
            (|key| key.uses = Some(0), Some(UNBOUNDED)),
            (|key| key.uses = Some(1), None),
            (|key| key.uses = Some(MAX_USES), None),
            (|key| key.uses = Some(MAX_USES + 1), Some(UNBOUNDED)),
            (|key| key.algorithm = Some(Algorithm::A128Ctr.into()), None),
        ];
        for (at, (edit, expected)) in cases.into_iter().enumerate() {
            let mut key = gcm(1);
            edit(&mut key);
            assert_eq!(fault(vec![key]), expected, "case {at}");
        }
    }

    #[test]
    fn v_034_a_key_is_of_its_algorithm_and_operation() {
        for algorithm in Algorithm::ALL {
            for operation in algorithm.operations() {
                let key = KeyDescription::exchange(KIDS[0], algorithm, operation, 1);
                let length = algorithm.material_len(operation);
                for wrong in [0, length - 1, length + 1] {
                    assert!(
                        key.material(&vec![1; wrong]).is_err(),
                        "{algorithm} {operation} {wrong}"
                    );
                }
                let right = ExchangeKey::generate(algorithm, &mut ChaCha20Rng::from_seed([1; 32]));
                let right = right.material(operation).unwrap();
                assert!(key.material(right.expose()).is_ok(), "{algorithm} {operation}");
            }
        }
        let scalar = KeyDescription::exchange(KIDS[0], Algorithm::Esp256, Operation::Sign, 1);
        assert!(scalar.material(&[0; 32]).is_err() && scalar.material(&[0xff; 32]).is_err());
    }

    #[test]
    fn r_052_encrypting_with_gcm_always_has_a_limit() {
        let key = |algorithm, operation| KeyDescription::exchange(KIDS[0], algorithm, operation, 1);
        let limit = |uses, algorithm, operation| {
            KeyDescription {
                uses,
                ..key(algorithm, operation)
            }
            .use_limit()
        };
        use Operation::{Decrypt, Encrypt};
        assert_eq!(limit(None, Algorithm::A128Gcm, Encrypt), Some(MAX_USES));
        assert_eq!(limit(Some(7), Algorithm::A256Gcm, Encrypt), Some(7));
        assert_eq!(limit(None, Algorithm::A256Gcm, Decrypt), None);
        assert_eq!(limit(None, Algorithm::A256Ctr, Encrypt), None);
        assert_eq!(limit(Some(1), Algorithm::A256Ctr, Encrypt), Some(1));
    }
}
