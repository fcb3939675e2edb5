//! Everything before the first chunk: parsing it, writing it, and unlocking the file.

use std::{io::Read, ops::Range};

use keyward_crypto::{
    ContentKey, kdf,
    stream::{COMMITMENT_LEN, FileKeys, derive_file_keys},
};
use keyward_license::{
    cbor_map,
    codec::{self, Bytes, DecodeError, Reader, Wire},
    ids::Kid,
};
use rand_core::CryptoRng;

use super::{ChunkSize, FileError, MAGIC, MAX_HEADER_LEN, MAX_STORE_LEN, MAX_TEXT_LEN, Opener, VERSION};
use crate::header::ContentHeader;

const FIXED_LEN: usize = MAGIC.len() + 4;
const SALT_LEN: usize = 32;

/// What the header of a protected file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHeader {
    /// The PlayReady Object of the file, byte for byte.
    pub content_header: Vec<u8>,
    /// The key id whose content key encrypts the file; one of the content header's.
    pub kid: Kid,
    /// Plaintext bytes in a chunk.
    pub chunk_size: ChunkSize,
    /// Bytes reserved for an embedded license store, at most [`MAX_STORE_LEN`].
    pub store_len: u32,
    /// Name of the original file, without folders. A suggestion: it never overwrites anything.
    pub name: Option<String>,
    /// Media type of the original file (RFC 6838), without parameters.
    pub media_type: Option<String>,
}

impl FileHeader {
    /// The least a protected file says.
    #[must_use]
    pub fn new(content_header: Vec<u8>, kid: Kid) -> Self {
        Self {
            content_header,
            kid,
            chunk_size: ChunkSize::default(),
            store_len: 0,
            name: None,
            media_type: None,
        }
    }

    /// Holds the fields against their rules and gives the content header.
    fn check(&self) -> Result<ContentHeader, FileError> {
        let content_header = ContentHeader::read_object(&self.content_header)?;
        if content_header.key(self.kid).is_none() {
            return Err(FileError::KidNotInHeader(self.kid));
        }
        if self.store_len > MAX_STORE_LEN {
            return Err(FileError::StoreLength(self.store_len.into()));
        }
        if self.name.as_deref().is_some_and(|name| !is_base_name(name)) {
            return Err(FileError::Name);
        }
        if self
            .media_type
            .as_deref()
            .is_some_and(|media_type| !is_media_type(media_type))
        {
            return Err(FileError::MediaType);
        }
        Ok(content_header)
    }

    /// Makes everything before the first chunk, with a fresh salt, and the keys that go with it.
    pub(super) fn lock(
        &self,
        content_key: &ContentKey,
        rng: &mut impl CryptoRng,
    ) -> Result<(Vec<u8>, FileKeys), FileError> {
        self.check()?;
        let mut salt = [0; SALT_LEN];
        rng.fill_bytes(&mut salt);
        let header = codec::grease(&self.to_wire(salt).encode(), rng)?;
        let header_len = u32::try_from(header.len()).unwrap_or(u32::MAX);
        if header.len() > MAX_HEADER_LEN {
            return Err(FileError::HeaderLength(header_len));
        }
        let mut prefix = [MAGIC.as_slice(), &header_len.to_be_bytes(), &header].concat();
        let keys =
            derive_file_keys(content_key, &salt, &kdf::sha256(&[&prefix])).map_err(FileError::Crypto)?;
        prefix.extend_from_slice(keys.commitment());
        let store_len = usize::try_from(self.store_len).map_err(|_| FileError::TooLarge)?;
        prefix.resize(prefix.len().saturating_add(store_len), 0);
        Ok((prefix, keys))
    }

    fn to_wire(&self, salt: [u8; SALT_LEN]) -> WireHeader {
        WireHeader {
            version: VERSION,
            content_header: self.content_header.clone().into(),
            salt,
            chunk_size_log2: self.chunk_size.log2(),
            store_len: self.store_len.into(),
            kid: *self.kid.as_bytes(),
            name: self.name.clone(),
            media_type: self.media_type.clone(),
        }
    }

    fn from_wire(wire: WireHeader) -> Result<Self, FileError> {
        Ok(Self {
            content_header: wire.content_header.0,
            kid: Kid::new(wire.kid),
            chunk_size: ChunkSize::from_log2(wire.chunk_size_log2)?,
            store_len: u32::try_from(wire.store_len).map_err(|_| FileError::StoreLength(wire.store_len))?,
            name: wire.name,
            media_type: wire.media_type,
        })
    }
}

cbor_map! {
    /// `file-header` of `spec/content.cddl`.
    struct WireHeader = "file header" {
        [1] version: u64,
        [2] content_header: Bytes,
        [3] salt: [u8; SALT_LEN],
        [4] chunk_size_log2: u64,
        [5] store_len: u64,
        [6] kid: [u8; 16],
        [128?] name: String,
        [129?] media_type: String,
    }
}

/// What [`LockedFile::parse`] made of the bytes it was given.
#[derive(Debug)]
pub enum Parsed {
    /// Nothing is wrong yet, but it takes this many bytes, from the first of the file, to go on.
    NeedsMore(usize),
    /// Everything before the first chunk.
    Complete(Box<LockedFile>),
}

/// A protected file before its content key is known. Anyone may have written what it says.
#[derive(Debug)]
pub struct LockedFile {
    pub(super) header: FileHeader,
    pub(super) content_header: ContentHeader,
    pub(super) embedded_store: Vec<u8>,
    pub(super) prefix_len: usize,
    salt: [u8; SALT_LEN],
    header_hash: [u8; 32],
    commitment: [u8; COMMITMENT_LEN],
}

impl LockedFile {
    /// Most bytes before the first chunk.
    pub const MAX_PREFIX_LEN: usize = FIXED_LEN + MAX_HEADER_LEN + COMMITMENT_LEN + MAX_STORE_LEN as usize;

    /// Parses the beginning of a file, of which `prefix` is as much as there is so far.
    ///
    /// # Errors
    /// [`FileError`], the first fault met. A file that is merely short is [`Parsed::NeedsMore`], never of
    /// more than [`Self::MAX_PREFIX_LEN`] bytes.
    pub fn parse(prefix: &[u8]) -> Result<Parsed, FileError> {
        let Some(header_len) = header_len(prefix)? else {
            return Ok(Parsed::NeedsMore(FIXED_LEN));
        };
        let header_end = FIXED_LEN.saturating_add(header_len);
        let commitment_end = header_end.saturating_add(COMMITMENT_LEN);
        let (Some(hashed), Some(header), Some(commitment)) = (
            prefix.get(..header_end),
            prefix.get(FIXED_LEN..header_end),
            prefix
                .get(header_end..commitment_end)
                .and_then(|commitment| commitment.try_into().ok()),
        ) else {
            return Ok(Parsed::NeedsMore(commitment_end));
        };
        let wire = decode(header)?;
        let salt = wire.salt;
        let header = FileHeader::from_wire(wire)?;
        let content_header = header.check()?;
        let store_len = usize::try_from(header.store_len).map_err(|_| FileError::TooLarge)?;
        let prefix_len = commitment_end.saturating_add(store_len);
        let Some(store) = prefix.get(commitment_end..prefix_len) else {
            return Ok(Parsed::NeedsMore(prefix_len));
        };
        let (embedded_store, header_hash) = (store.to_vec(), kdf::sha256(&[hashed]));
        let file = Self {
            header,
            content_header,
            embedded_store,
            prefix_len,
            salt,
            header_hash,
            commitment,
        };
        Ok(Parsed::Complete(Box::new(file)))
    }

    /// Reads the beginning of a file and leaves `source` at its first chunk.
    ///
    /// # Errors
    /// Those of `source`; [`FileError`] inside, [`FileError::CutOff`] where the file ends too early.
    pub fn read_from(source: &mut impl Read) -> std::io::Result<Box<Self>> {
        let mut prefix = Vec::new();
        loop {
            let needed = match Self::parse(&prefix)? {
                Parsed::Complete(file) => return Ok(file),
                Parsed::NeedsMore(needed) => needed,
            };
            let missing = needed.saturating_sub(prefix.len()) as u64;
            source.by_ref().take(missing).read_to_end(&mut prefix)?;
            if prefix.len() < needed {
                // A short file of another kind is named as such; only a beginning of ours is cut off.
                Self::parse(&prefix)?;
                return Err(FileError::CutOff.into());
            }
        }
    }

    /// The key id whose content key opens the file.
    #[must_use]
    pub const fn kid(&self) -> Kid {
        self.header.kid
    }

    /// The content header, to look for or request a license.
    #[must_use]
    pub const fn content_header(&self) -> &ContentHeader {
        &self.content_header
    }

    /// The bytes of the embedded license store, zero while it is empty. They are outside of what the
    /// content key protects: each license in it is judged by its own signature.
    #[must_use]
    pub fn embedded_store(&self) -> &[u8] {
        &self.embedded_store
    }

    /// Where in the file the embedded license store stands, to fill it in place.
    #[must_use]
    pub fn embedded_store_range(&self) -> Range<u64> {
        let end = self.prefix_len as u64;
        end.saturating_sub(self.header.store_len.into())..end
    }

    /// What the header says, verified by nothing. To show to a person, marked as such; not to act on.
    #[must_use]
    pub const fn unverified_header(&self) -> &FileHeader {
        &self.header
    }

    /// Proves the header with the content key; from here on its words can be relied on.
    ///
    /// # Errors
    /// [`FileError::WrongKey`] if the file was made with another key, or its header was altered since.
    pub fn unlock(self, content_key: &ContentKey) -> Result<Opener, FileError> {
        let keys = derive_file_keys(content_key, &self.salt, &self.header_hash).map_err(FileError::Crypto)?;
        if !keys.commits_to(&self.commitment) {
            return Err(FileError::WrongKey);
        }
        Ok(Opener::new(self, keys.into_cipher().map_err(FileError::Crypto)?))
    }
}

/// Checks the magic, as far as it is there, and reads the header length behind it.
fn header_len(prefix: &[u8]) -> Result<Option<usize>, FileError> {
    if !prefix.iter().zip(MAGIC).all(|(byte, magic)| byte == magic) {
        return Err(FileError::NotAFile);
    }
    let Some([.., a, b, c, d]) = prefix.first_chunk::<FIXED_LEN>() else {
        return Ok(None);
    };
    let stated = u32::from_be_bytes([*a, *b, *c, *d]);
    match usize::try_from(stated) {
        Ok(len @ ..=MAX_HEADER_LEN) => Ok(Some(len)),
        _ => Err(FileError::HeaderLength(stated)),
    }
}

/// Reads the header map. A version that is not ours comes before any other fault: its map is another.
fn decode(header: &[u8]) -> Result<WireHeader, FileError> {
    codec::gate::check(header).map_err(DecodeError::Gate)?;
    let mut reader = Reader::new(header);
    if reader.map()? > 0 && reader.uint()? == 1 {
        let version = reader.uint()?;
        if version != VERSION {
            return Err(FileError::UnsupportedVersion(version));
        }
    }
    Ok(WireHeader::decode(header)?)
}

/// A name without folders, drive or stream, that stays what it is when it is printed.
#[must_use]
pub fn is_base_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= MAX_TEXT_LEN
        && !name
            .chars()
            .any(|c| c.is_control() || matches!(c, '/' | '\\' | ':') || is_bidi_control(c))
}

/// Characters that reorder what is printed after them (Unicode Bidi_Control): `a\u{202e}fdp.exe`.
const fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// RFC 6838 §4.2: `type/subtype`, both restricted names.
fn is_media_type(text: &str) -> bool {
    let restricted = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.len() <= 127
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c))
    };
    text.split_once('/')
        .is_some_and(|(kind, subtype)| restricted(kind) && restricted(subtype))
}
