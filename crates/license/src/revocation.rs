//! Revocation lists: what an operator no longer trusts, and since when.
//!
//! ```text
//!  certificate revocation list   X.509, one for each authority       which certificates
//!  device revocation list        our own form, one for an operator   which makers and models; what is exempt
//!          │
//!          ├── in license responses, newer ones than the client says it holds
//!          └── in a file, without a network (RevocationListsFile)
//!                          │
//!                          ▼
//!                   RevocationLists     verified, bounded, never back to an earlier one
//! ```
//! Every list is signed on its own, so it does not matter who carries it.

mod lists;

use keyward_crypto::x509::revocation::RevocationList as CertificateRevocationList;

use crate::{
    cbor_map,
    certificate::Claims,
    codec::{Bytes, DecodeError, Reader, Wire, Writer},
    ids::Digest,
    signed::SignedBody,
    time::Timestamp,
};

pub use keyward_crypto::x509::revocation::UnknownStatus;
pub use lists::{Adopted, DeviceFault, ListBounds, ListFault, ListState, RevocationLists};

/// Most lists that a client holds of one operator, and says that it holds.
pub const MAX_LISTS_HELD: usize = 32;
/// Most lists in one response.
pub const MAX_PUSHED: usize = 16;
/// Most lists in one file.
pub const MAX_LISTS_IN_FILE: usize = 64;
/// Most certificates between a certificate revocation list and the root.
pub const MAX_PATH: usize = 4;
/// Longest name of a list, in bytes.
pub const MAX_LIST_ID: usize = 64;
/// Most makers and models that a device revocation list names.
pub const MAX_REVOKED: usize = 1024;
/// Most certificates that a device revocation list exempts.
pub const MAX_ALLOWED: usize = 4096;
/// Longest maker, model or reason, in bytes.
pub const MAX_TEXT: usize = 255;
/// How far ahead of the reader's clock a list may have been issued, in seconds.
pub const ISSUED_AHEAD: u64 = 300;

/// One list, as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationList {
    /// Certificates that an authority revoked.
    Certificates {
        /// DER CertificateList (RFC 5280 §5.1).
        list: Bytes,
        /// Certificates of the authority and of those above it, the issuing authority first, the root left
        /// out; at most [`MAX_PATH`].
        path: Vec<Bytes>,
    },
    /// A signed [`DeviceRevocationList`].
    Devices(Bytes),
}

impl RevocationList {
    /// Bytes that it takes, encoded.
    #[must_use]
    pub fn size(&self) -> usize {
        self.encode().len()
    }
}

cbor_map! {
    /// Either form.
    struct Form = "revocation list" {
        /// DER CertificateList.
        [1?] list: Bytes,
        /// Path of its authority.
        [2?] path: Vec<Bytes>,
        /// Signed device revocation list.
        [3?] devices: Bytes,
    }
}

impl Wire for RevocationList {
    fn write(&self, writer: &mut Writer) {
        let form = match self.clone() {
            Self::Certificates { list, path } => Form {
                list: Some(list),
                path: Some(path),
                devices: None,
            },
            Self::Devices(list) => Form {
                list: None,
                path: None,
                devices: Some(list),
            },
        };
        form.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let form = Form::read(reader)?;
        match (form.list, form.path, form.devices) {
            (Some(list), Some(path), None) if path.len() <= MAX_PATH => Ok(Self::Certificates { list, path }),
            (None, None, Some(list)) => Ok(Self::Devices(list)),
            _ => Err(DecodeError::Invalid(
                "a revocation list is of certificates, with the path of their authority, or of devices",
            )),
        }
    }
}

cbor_map! {
    /// Body of the device revocation list: the makers and models that an operator no longer trusts, and the
    /// certificates that it trusts nevertheless.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct DeviceRevocationList = "device revocation list" {
        /// Protocol version.
        [1] version: u64,
        /// SHA-256 of the operator's root certificate.
        [2] operator: Digest,
        /// Higher than that of every earlier list of the operator; from 1.
        [3] number: u64,
        /// Time of issue.
        [4] issued: Timestamp,
        /// When the next one is due at the latest. From then on this one tells only what is revoked, no
        /// longer what is not.
        [5] next_update: Timestamp,
        /// What is revoked; 1 to [`MAX_REVOKED`].
        [6?] revoked: Vec<RevokedDevices>,
        /// SHA-256 of device certificates that `revoked` does not count for; 1 to [`MAX_ALLOWED`].
        [7?] allowed: Vec<Digest>,
    }
}

impl SignedBody for DeviceRevocationList {
    const MEDIA_TYPE: &'static str = "application/vnd.keyward.revocation-list+cose";
    const CONTEXT: &'static str = "keyward/1 revocation-list";
}

impl DeviceRevocationList {
    /// Checks counts, lengths and times that the decoder does not.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`].
    pub fn check_bounds(&self) -> Result<(), DecodeError> {
        let counts = |list: Option<usize>, most: usize| list.is_none_or(|len| (1..=most).contains(&len));
        let checks = [
            (self.number > 0, "a device revocation list has a number from 1"),
            (
                self.issued < self.next_update,
                "the next update is not after the issue of the list",
            ),
            (
                counts(self.revoked.as_ref().map(Vec::len), MAX_REVOKED)
                    && counts(self.allowed.as_ref().map(Vec::len), MAX_ALLOWED),
                "a list that is there has something, and not too much",
            ),
            (
                self.revoked.iter().flatten().all(RevokedDevices::is_bounded),
                "a maker, model, robustness version or reason is out of its bounds",
            ),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            Some((_, fault)) => Err(DecodeError::Invalid(fault)),
            None => Ok(()),
        }
    }

    /// The entry that revokes a device with these claims and this certificate first, if one does, whatever
    /// the time is.
    #[must_use]
    pub fn revokes(&self, claims: &Claims, certificate: &Digest) -> Option<&RevokedDevices> {
        let allowed = self.allowed.as_deref().unwrap_or_default();
        if allowed.contains(certificate) {
            return None;
        }
        let named = self.revoked.iter().flatten().filter(|entry| entry.names(claims));
        named.min_by_key(|entry| entry.since)
    }
}

cbor_map! {
    /// Devices that are revoked: of a maker, or of one model of a maker; all of them, or those that were made
    /// to early robustness rules. Texts are compared byte for byte.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct RevokedDevices = "revoked devices" {
        /// Who made them; 1 to [`MAX_TEXT`] bytes.
        [1] maker: String,
        /// Their model; absent: every model of the maker.
        [2?] model: String,
        /// Those of an earlier robustness version than this, from 1; absent: those of every version.
        [3?] robustness_below: u64,
        /// From when on.
        [4] since: Timestamp,
        /// Why, for people.
        [5?] reason: String,
    }
}

impl RevokedDevices {
    /// Whether a device with these claims is among them. A device that claims no robustness version is of
    /// version 0; one that claims no maker is nobody's.
    #[must_use]
    pub fn names(&self, claims: &Claims) -> bool {
        let version = claims.robustness_version.unwrap_or_default();
        claims.maker.as_ref() == Some(&self.maker)
            && (self.model.is_none() || self.model == claims.model)
            && self.robustness_below.is_none_or(|below| version < below)
    }

    fn is_bounded(&self) -> bool {
        let name = 1..=MAX_TEXT;
        name.contains(&self.maker.len())
            && self
                .model
                .as_ref()
                .is_none_or(|model| name.contains(&model.len()))
            && self.robustness_below != Some(0)
            && self.reason.as_ref().is_none_or(|reason| reason.len() <= MAX_TEXT)
    }
}

cbor_map! {
    /// Revocation lists of one operator, carried without a network. Nobody has signed the file: each list in it
    /// is signed.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct RevocationListsFile = "revocation lists" {
        /// Version of this format: 1.
        [1] version: u64,
        /// SHA-256 of the operator's root certificate.
        [2] operator: Digest,
        /// The lists; 1 to [`MAX_LISTS_IN_FILE`].
        [3] lists: Vec<RevocationList>,
    }
}

impl RevocationListsFile {
    /// Version of the format that this crate reads and writes.
    pub const VERSION: u64 = 1;

    /// Checks the version and the number of lists.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`].
    pub fn check_bounds(&self) -> Result<(), DecodeError> {
        if self.version != Self::VERSION {
            return Err(DecodeError::Invalid("revocation lists of another version"));
        }
        match (1..=MAX_LISTS_IN_FILE).contains(&self.lists.len()) {
            true => Ok(()),
            false => Err(DecodeError::Invalid("a file of revocation lists holds 1 to 64")),
        }
    }

    /// Reads a file and checks its bounds.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let file = Self::decode(bytes)?;
        file.check_bounds().map(|()| file)
    }
}

cbor_map! {
    /// A revocation list that a party holds.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ListHeld = "revocation list held" {
        /// Which list.
        [1] list: ListId,
        /// Its number.
        [2] number: ListNumber,
    }
}

/// Names the lists of one issuer: the key identifier of an authority, or nothing for the operator's device
/// revocation list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListId(Vec<u8>);

impl ListId {
    /// The operator's device revocation list.
    pub const DEVICES: Self = Self(Vec::new());

    /// The lists of the authority that this list claims to be of; `None` if its name is too long.
    #[must_use]
    pub fn of(list: &CertificateRevocationList) -> Option<Self> {
        let key = list.authority_key_identifier();
        (1..=MAX_LIST_ID).contains(&key.len()).then(|| Self(key.to_vec()))
    }

    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl core::fmt::Display for ListId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Wire for ListId {
    fn write(&self, writer: &mut Writer) {
        writer.bytes(&self.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let name = reader.bytes()?;
        match name.len() <= MAX_LIST_ID {
            true => Ok(Self(name.to_vec())),
            false => Err(DecodeError::Invalid("the name of a revocation list is too long")),
        }
    }
}

/// Number of a list: at most 20 bytes (RFC 5280 §5.2.3). It is big-endian on the wire, without leading
/// zeros, 0 being one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListNumber([u8; 20]);

impl ListNumber {
    /// Big-endian, filled up with zeros in front.
    #[must_use]
    pub const fn new(number: [u8; 20]) -> Self {
        Self(number)
    }

    fn significant(&self) -> &[u8] {
        let zeros = self.0.iter().take_while(|byte| **byte == 0).count();
        self.0.get(zeros.min(self.0.len() - 1)..).unwrap_or_default()
    }
}

impl From<u64> for ListNumber {
    fn from(number: u64) -> Self {
        let mut bytes = [0; 20];
        if let Some(last) = bytes.last_chunk_mut::<8>() {
            *last = number.to_be_bytes();
        }
        Self(bytes)
    }
}

/// Decimal if it has at most 8 bytes, otherwise hexadecimal.
impl core::fmt::Display for ListNumber {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let bytes = self.significant();
        if bytes.len() <= 8 {
            let number = bytes
                .iter()
                .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            return write!(f, "{number}");
        }
        f.write_str("0x")?;
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Wire for ListNumber {
    fn write(&self, writer: &mut Writer) {
        writer.bytes(self.significant());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        const FAULT: DecodeError =
            DecodeError::Invalid("the number of a revocation list has 1 to 20 bytes, without leading zeros");
        let bytes = reader.bytes()?;
        let mut number = [0; 20];
        let start = number.len().checked_sub(bytes.len()).ok_or(FAULT)?;
        number.get_mut(start..).ok_or(FAULT)?.copy_from_slice(bytes);
        let number = Self(number);
        match number.significant() == bytes {
            true => Ok(number),
            false => Err(FAULT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_form() {
        for (hex, text) in [
            ("4100", Some("0")),
            ("4101", Some("1")),
            ("420100", Some("256")),
            ("48ffffffffffffffff", Some("18446744073709551615")),
            ("49010000000000000000", Some("0x010000000000000000")),
            (
                "54ffffffffffffffffffffffffffffffffffffffff",
                Some("0xffffffffffffffffffffffffffffffffffffffff"),
            ),
            ("40", None),
            ("420001", None),
            ("420000", None),
            ("55ffffffffffffffffffffffffffffffffffffffffff", None),
            ("01", None),
        ] {
            let bytes = hex::decode(hex).unwrap();
            let number = ListNumber::decode(&bytes).ok();
            assert_eq!(number.map(|number| number.to_string()).as_deref(), text, "{hex}");
            if let Some(number) = number {
                assert_eq!(number.encode(), bytes);
            }
        }
        assert_eq!(ListNumber::from(256), ListNumber::decode(&[0x42, 1, 0]).unwrap());
        assert!(ListNumber::from(u64::MAX) < ListNumber::new([1; 20]));
    }

    #[test]
    fn a_list_has_one_of_two_forms() {
        let bytes = Bytes(vec![7]);
        let certificates = |path: usize| RevocationList::Certificates {
            list: bytes.clone(),
            path: vec![bytes.clone(); path],
        };
        for list in [
            RevocationList::Devices(bytes.clone()),
            certificates(0),
            certificates(4),
        ] {
            assert_eq!(RevocationList::decode(&list.encode()), Ok(list.clone()));
            assert_eq!(list.size(), list.encode().len());
        }
        for refused in [
            "a0",
            "a10141ff",
            "a10280",
            "a30141ff0280034107",
            "a20141ff034107",
            "a20280034107",
        ] {
            let bytes = hex::decode(refused).unwrap();
            assert!(
                matches!(RevocationList::decode(&bytes), Err(DecodeError::Invalid(_))),
                "{refused}"
            );
        }
        assert!(RevocationList::decode(&certificates(5).encode()).is_err());
    }

    #[test]
    fn entries_name_makers_models_and_versions() {
        let claims = |maker: &str, model: &str, version| Claims {
            maker: Some(maker.into()),
            model: Some(model.into()),
            robustness_version: version,
            ..Claims::default()
        };
        let entry = |model: Option<&str>, robustness_below| RevokedDevices {
            maker: "Ajax".into(),
            model: model.map(str::to_owned),
            robustness_below,
            since: Timestamp(1),
            reason: None,
        };
        let (player, other) = (claims("Ajax", "player", Some(3)), claims("Ajax", "box", None));
        for (entry, of_player, of_other) in [
            (entry(None, None), true, true),
            (entry(Some("player"), None), true, false),
            (entry(None, Some(3)), false, true),
            (entry(None, Some(4)), true, true),
            (entry(Some("player"), Some(3)), false, false),
        ] {
            assert_eq!(
                (entry.names(&player), entry.names(&other)),
                (of_player, of_other),
                "{entry:?}"
            );
            assert!(!entry.names(&claims("ajax", "player", None)));
            assert!(!entry.names(&Claims::default()));
        }
    }

    #[test]
    fn a_device_list_is_bounded() {
        let entry = RevokedDevices {
            maker: "m".repeat(255),
            model: Some("n".repeat(255)),
            robustness_below: Some(1),
            since: Timestamp(1),
            reason: Some("r".repeat(255)),
        };
        let list = DeviceRevocationList {
            version: 1,
            operator: Digest::new([1; 32]),
            number: 1,
            issued: Timestamp(1),
            next_update: Timestamp(2),
            revoked: Some(vec![entry.clone(); MAX_REVOKED]),
            allowed: Some(vec![Digest::new([2; 32]); MAX_ALLOWED]),
        };
        assert_eq!(list.check_bounds(), Ok(()));
        assert!(list.encode().len() < 1 << 20);
        let broken = |edit: fn(&mut DeviceRevocationList, &mut RevokedDevices)| {
            let (mut list, mut entry) = (list.clone(), entry.clone());
            list.revoked = None;
            edit(&mut list, &mut entry);
            list.revoked.get_or_insert_with(|| vec![entry]);
            list.check_bounds().is_err()
        };
        assert!(!broken(|_, _| ()));
        assert!(broken(|list, _| list.number = 0));
        assert!(broken(|list, _| list.next_update = list.issued));
        assert!(broken(|list, _| list.revoked = Some(vec![])));
        assert!(broken(|list, _| list.allowed = Some(vec![])));
        assert!(broken(
            |list, entry| list.revoked = Some(vec![entry.clone(); MAX_REVOKED + 1])
        ));
        assert!(broken(
            |list, _| list.allowed = Some(vec![Digest::new([2; 32]); MAX_ALLOWED + 1])
        ));
        assert!(broken(|_, entry| entry.maker.clear()));
        assert!(broken(|_, entry| entry.maker.push('m')));
        assert!(broken(|_, entry| entry.model = Some(String::new())));
        assert!(broken(|_, entry| entry.robustness_below = Some(0)));
        assert!(broken(|_, entry| entry.reason = Some("r".repeat(256))));
    }
}
