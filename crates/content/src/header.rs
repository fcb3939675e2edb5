//! The content header: which keys a piece of content needs, and where licenses for it are.
//!
//! It is a PlayReady Header (XML) inside a PlayReady Object (records), both as Microsoft publishes
//! them; `spec/content.md` restates the rules that Keyward keeps. A header is not signed: whatever it
//! says is a hint from a stranger. Only its key ids decide anything, and they decide only which license
//! is looked for.
//!
//! ```text
//!   PlayReady Object                  object   little-endian records
//!   └ record 1: PlayReady Header      xml      UTF-16LE XML, versions 4.0 to 4.3
//!   └ record 3: embedded license store         opaque here
//! ```

pub mod object;
pub mod xml;

use keyward_crypto::{
    ContentKey,
    seed::{self, CHECKSUM_LEN},
};
use keyward_license::{ids::Kid, license::KeyType};

pub use object::Object;

/// Why bytes are not a content header, or fields cannot be written as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The object is longer than [`object::MAX_LEN`].
    #[error("the content header has {0} bytes, more than the 15360 allowed")]
    TooLong(usize),
    /// The length field of the object is not its length.
    #[error("the content header states {stated} bytes but has {actual}")]
    LengthMismatch {
        /// The length field.
        stated: u32,
        /// The bytes there are.
        actual: usize,
    },
    /// The object ends inside a record, or goes on after its last one.
    #[error("the records of the content header do not fill it exactly")]
    RecordBounds,
    /// A record of a type that is not published.
    #[error("the content header has a record of unknown type {0}")]
    RecordType(u16),
    /// Two records of one type.
    #[error("the content header has two records of type {0}")]
    RepeatedRecord(u16),
    /// No record 1.
    #[error("the content header has no header record")]
    NoHeaderRecord,
    /// The header record is not UTF-16LE text.
    #[error("the content header is not UTF-16LE text")]
    NotUtf16,
    /// The header begins with a byte order mark.
    #[error("the content header begins with a byte order mark")]
    ByteOrderMark,
    /// The header begins with an XML declaration.
    #[error("the content header begins with an XML declaration")]
    XmlDeclaration,
    /// The header is not well-formed XML, or uses a document type.
    #[error("the content header is not well-formed XML at line {line}, column {column}")]
    NotXml {
        /// Line, from 1.
        line: u32,
        /// Column, from 1.
        column: u32,
    },
    /// The root element is not WRMHEADER in the PlayReady Header namespace.
    #[error("the content header is not a WRMHEADER element in the PlayReady Header namespace")]
    WrongRoot,
    /// A version above 4.3, below 4.0, or none that is published.
    #[error("the version of the content header is not 4.0, 4.1, 4.2 or 4.3")]
    UnsupportedVersion,
    /// A required element or attribute is absent.
    #[error("the content header lacks {0}")]
    Missing(&'static str),
    /// An element stands twice where it may stand once.
    #[error("the content header has {0} twice")]
    Repeated(&'static str),
    /// An element is present without a value.
    #[error("the content header has an empty {0}")]
    Empty(&'static str),
    /// An element or attribute has a value outside its rule.
    #[error("{element} of the content header is not {expected}")]
    Invalid {
        /// Element or attribute.
        element: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Key references disagree on the algorithm.
    #[error("the keys of the content header do not all have the same ALGID")]
    MixedAlgorithms,
    /// One key id stands twice.
    #[error("the content header names a key id twice")]
    RepeatedKid,
    /// The fields are legal, but this header version has no place for all of them.
    #[error("header version {0} cannot carry all of the fields")]
    NotExpressible(HeaderVersion),
}

impl HeaderError {
    /// What the person who met the error can do next.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::UnsupportedVersion => {
                "package the content with header version 4.3 or lower, or update Keyward"
            }
            Self::NotExpressible(_) => "write the header as version 4.3",
            _ => "the content was damaged or made by a faulty packager; get it again from its source",
        }
    }
}

/// Version of a PlayReady Header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeaderVersion {
    /// 4.0.0.0: exactly one key id.
    V4_0,
    /// 4.1.0.0: at most one key id, as attributes.
    V4_1,
    /// 4.2.0.0: any number of key ids.
    V4_2,
    /// 4.3.0.0: AESCBC, and ALGID may be left out.
    V4_3,
}

impl HeaderVersion {
    /// Every version, ascending.
    pub const ALL: [Self; 4] = [Self::V4_0, Self::V4_1, Self::V4_2, Self::V4_3];

    /// The `version` attribute.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4_0 => "4.0.0.0",
            Self::V4_1 => "4.1.0.0",
            Self::V4_2 => "4.2.0.0",
            Self::V4_3 => "4.3.0.0",
        }
    }
}

impl core::fmt::Display for HeaderVersion {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The ALGID of a key: the cipher its content is encrypted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// AES-128 in counter mode (`cenc`, `cens`).
    AesCtr,
    /// AES-128 in cipher block chaining mode (`cbcs`, `cbc1`). Header version 4.3 only.
    AesCbc,
    /// The cipher of an older system. Headers that name it are read, content is not decrypted.
    Cocktail,
}

impl Algorithm {
    /// The ALGID text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AesCtr => "AESCTR",
            Self::AesCbc => "AESCBC",
            Self::Cocktail => "COCKTAIL",
        }
    }

    /// The ALGID of keys of this type; none for keys that encrypt no samples.
    #[must_use]
    pub const fn of_key_type(key_type: KeyType) -> Option<Self> {
        match key_type {
            KeyType::CencCtr => Some(Self::AesCtr),
            KeyType::CencCbc => Some(Self::AesCbc),
            _ => None,
        }
    }
}

/// One key that the content needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyReference {
    /// Key id, big-endian (the header holds it in GUID form; the conversion happens here).
    pub kid: Kid,
    /// ALGID; left out for plain files.
    pub algorithm: Option<Algorithm>,
    /// CHECKSUM: 8 bytes for AESCTR and for no ALGID, 7 for COCKTAIL, never with AESCBC.
    pub checksum: Option<Vec<u8>>,
}

impl KeyReference {
    /// A reference by key id alone.
    #[must_use]
    pub const fn new(kid: Kid) -> Self {
        Self {
            kid,
            algorithm: None,
            checksum: None,
        }
    }

    /// Whether `key` is the key that the checksum was made from, or `None` where there is no AESCTR
    /// checksum to tell by. A checksum is no proof: whoever altered the header chose it.
    #[must_use]
    pub fn fits(&self, key: &ContentKey) -> Option<bool> {
        let checksum: &[u8; CHECKSUM_LEN] = self.checksum.as_deref()?.try_into().ok()?;
        Some(*checksum == seed::aesctr_checksum(key, self.kid.as_bytes()))
    }
}

/// A content header, as unverified as every header is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContentHeader {
    /// Header version, as read or to be written.
    pub version: HeaderVersion,
    /// The keys; may be empty for live content whose keys come later.
    pub kids: Vec<KeyReference>,
    /// LA_URL: where licenses are requested; an absolute URL.
    pub license_url: Option<String>,
    /// LUI_URL: where a person can obtain a license; an absolute URL.
    pub license_ui_url: Option<String>,
    /// DS_ID: id of the domain service, 16 bytes, big-endian.
    pub domain_service_id: Option<[u8; 16]>,
    /// CUSTOMATTRIBUTES: the XML between its tags, which belongs to the application. Keyward ignores it.
    pub custom_attributes: Option<String>,
    /// DECRYPTORSETUP is ONDEMAND: the keys of the content become known while it plays.
    pub on_demand: bool,
    /// LICENSEREQUESTED: false if the request made from this header asks for no license. Version 4.3.
    pub license_requested: bool,
}

impl ContentHeader {
    /// A version 4.3 header for content under the keys `kids`, nothing else set.
    #[must_use]
    pub const fn new(kids: Vec<KeyReference>) -> Self {
        Self {
            version: HeaderVersion::V4_3,
            kids,
            license_url: None,
            license_ui_url: None,
            domain_service_id: None,
            custom_attributes: None,
            on_demand: false,
            license_requested: true,
        }
    }

    /// A version 4.3 header for a plain file: one key id, ALGID left out.
    #[must_use]
    pub fn for_file(kid: Kid, license_url: Option<String>) -> Self {
        Self {
            license_url,
            ..Self::new(vec![KeyReference::new(kid)])
        }
    }

    /// Reads a PlayReady Object: its header record. An embedded license store is reached through
    /// [`Object::parse`].
    ///
    /// # Errors
    /// [`HeaderError`], the first fault met.
    pub fn read_object(bytes: &[u8]) -> Result<Self, HeaderError> {
        let header = Object::parse(bytes)?.header.ok_or(HeaderError::NoHeaderRecord)?;
        xml::read(&object::decode_utf16(header)?)
    }

    /// Writes a PlayReady Object of one record: the header in canonical form, in its own `version`.
    ///
    /// # Errors
    /// [`HeaderError`] for a field outside its rule, [`HeaderError::NotExpressible`] if `version` has no
    /// place for a field that is set, [`HeaderError::TooLong`].
    pub fn to_object_bytes(&self) -> Result<Vec<u8>, HeaderError> {
        self.to_object_with_store(None)
    }

    /// The same with an embedded license store as record 3: licenses, or zeros to be filled in place.
    ///
    /// # Errors
    /// As [`Self::to_object_bytes`].
    pub fn to_object_with_store(&self, embedded_store: Option<&[u8]>) -> Result<Vec<u8>, HeaderError> {
        let header = object::encode_utf16(&xml::write(self)?);
        Object {
            header: Some(&header),
            embedded_store,
        }
        .to_bytes()
    }

    /// Most bytes of an embedded license store beside this header.
    ///
    /// # Errors
    /// As [`Self::to_object_bytes`].
    pub fn store_room(&self) -> Result<usize, HeaderError> {
        let header = object::encode_utf16(&xml::write(self)?);
        Ok(Object::room_beside(header.len()))
    }

    /// The reference to `kid`, if the content needs that key.
    #[must_use]
    pub fn key(&self, kid: Kid) -> Option<&KeyReference> {
        self.kids.iter().find(|key| key.kid == kid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_tells_the_key() {
        let kid: Kid = "10000000-1000-1000-1000-100000000001".parse().unwrap();
        let key = ContentKey::from_slice(&hex::decode("3a2a1b68dd2bd9b2eeb25e84c4776668").unwrap()).unwrap();
        let checksum = Some(hex::decode("e53cc8610da1ace6").unwrap());
        let reference = KeyReference {
            checksum,
            ..KeyReference::new(kid)
        };
        assert_eq!(reference.fits(&key), Some(true));
        assert_eq!(reference.fits(&ContentKey::new([1; 16])), Some(false));
        assert_eq!(KeyReference::new(kid).fits(&key), None);
    }

    #[test]
    fn a_key_type_has_one_algorithm_or_none() {
        let algorithms = [
            (KeyType::CencCtr, Some("AESCTR")),
            (KeyType::CencCbc, Some("AESCBC")),
            (KeyType::File, None),
            (KeyType::Root, None),
            (KeyType::Exchange, None),
        ];
        for (key_type, name) in algorithms {
            assert_eq!(Algorithm::of_key_type(key_type).map(Algorithm::as_str), name);
        }
    }

    #[test]
    fn an_object_of_a_store_alone_is_no_header() {
        let bytes = Object {
            header: None,
            embedded_store: Some(b"store"),
        }
        .to_bytes()
        .unwrap();
        assert_eq!(
            ContentHeader::read_object(&bytes),
            Err(HeaderError::NoHeaderRecord)
        );
    }
}
