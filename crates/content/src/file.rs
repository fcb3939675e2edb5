//! The any-file container: a file of any kind, encrypted under one content key.
//!
//! ```text
//!   magic 8 │ length 4 │ header (CBOR) │ key commitment 32 │ embedded license store │ chunk 0 │ … │ last chunk
//!   └──────── header hash ───────────┘                     └─ filled in place later ┘
//! ```
//!
//! The chunks are sealed under a key made from the content key, a random salt and the header hash
//! ([`keyward_crypto::stream`]), so no byte outside the embedded license store can change unnoticed, no
//! chunk can be moved, repeated, left out or taken from another file, and a file that was cut off does
//! not open to its end. `spec/content.md` is normative.
//!
//! | step | type | what it may be used for |
//! | --- | --- | --- |
//! | parse | [`LockedFile`] | finding a license: nothing in it is verified |
//! | unlock with the content key | [`Opener`] | the header's words, and chunks by their index |
//! | read | [`StreamReader`], [`SeekReader`] | the file, whole or from any place |
//!
//! [`Sealer`] writes it.

mod header;
mod open;
mod read;
mod seal;
mod seek;

use keyward_crypto::CryptoError;
use keyward_license::{codec::DecodeError, ids::Kid};

use crate::header::HeaderError;

pub use header::{FileHeader, LockedFile, Parsed, is_base_name};
pub use open::Opener;
pub use read::StreamReader;
pub use seal::{Position, Positions, Sealer};
pub use seek::SeekReader;

/// The first eight bytes. Like PNG's they show transfer as text, as 7 bits, or with changed line ends.
pub const MAGIC: &[u8; 8] = b"\x89KWF\r\n\x1a\n";
/// Version of the container, key 1 of the header.
pub const VERSION: u64 = 1;
/// Longest header, in bytes.
pub const MAX_HEADER_LEN: usize = 64 * 1024;
/// Most bytes reserved for an embedded license store.
pub const MAX_STORE_LEN: u32 = 64 * 1024;
/// Longest file name or media type, in bytes of UTF-8.
pub const MAX_TEXT_LEN: usize = 255;
/// Most plaintext bytes in a file, whatever its chunk size.
pub const MAX_FILE_LEN: u64 = 1 << 48;

/// Plaintext bytes in every chunk but the last: a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkSize(u32);

impl ChunkSize {
    /// 2^`log2` bytes.
    ///
    /// # Errors
    /// [`FileError::ChunkSize`] unless `log2` is 12 to 24.
    pub fn from_log2(log2: u64) -> Result<Self, FileError> {
        match u32::try_from(log2) {
            Ok(log2 @ 12..=24) => Ok(Self(log2)),
            _ => Err(FileError::ChunkSize(log2)),
        }
    }

    /// The exponent, 12 to 24.
    #[must_use]
    pub fn log2(self) -> u64 {
        self.0.into()
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        1 << self.0
    }

    /// Most chunks of this size in one file.
    #[must_use]
    pub fn max_chunks(self) -> u64 {
        keyward_crypto::stream::MAX_CHUNKS.min(MAX_FILE_LEN >> self.0)
    }
}

impl Default for ChunkSize {
    /// 64 KiB: larger gains no speed, smaller costs more in tags and calls.
    fn default() -> Self {
        Self(16)
    }
}

/// Why a file does not open, or cannot be made.
///
/// The readers give it inside a [`std::io::Error`]; [`FileError::within`] takes it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The bytes do not begin with [`MAGIC`].
    #[error("this is not a Keyward protected file")]
    NotAFile,
    /// The header length is outside its bound.
    #[error("the header states {0} bytes, more than the 65536 allowed")]
    HeaderLength(u32),
    /// The header is not the CBOR map that it should be.
    #[error("the file header is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// A container version that this program does not know.
    #[error("the file has container version {0}, this program knows version 1")]
    UnsupportedVersion(u64),
    /// The content header in the file header is not one.
    #[error("{0}")]
    ContentHeader(#[from] HeaderError),
    /// The chunk size is outside its bound.
    #[error("the chunk size 2^{0} is not between 2^12 and 2^24")]
    ChunkSize(u64),
    /// The embedded license store is outside its bound.
    #[error("the embedded license store has {0} bytes, more than the 65536 allowed")]
    StoreLength(u64),
    /// The key id of the file is not one of its content header.
    #[error("the content header does not name the key {0} that the file is encrypted with")]
    KidNotInHeader(Kid),
    /// The file name is not a plain base name.
    #[error("the file name in the header is not a plain name of at most 255 bytes")]
    Name,
    /// The media type is not `type/subtype`.
    #[error("the media type in the header is not a type and subtype of at most 255 bytes")]
    MediaType,
    /// The key commitment does not hold: another content key, or an altered header.
    #[error("the content key does not fit this file")]
    WrongKey,
    /// The file ends inside its header or before its first chunk.
    #[error("the file is cut off")]
    CutOff,
    /// A chunk does not open: altered, moved, from another file, or last where it should not be.
    #[error("chunk {0} was altered, or the file was cut off or extended")]
    Chunk(u64),
    /// More plaintext than the container carries.
    #[error("the file is larger than its chunk size permits")]
    TooLarge,
    /// A chunk to be sealed is not full, or overfull, or an empty last chunk of a file that is not empty.
    #[error("the chunk to be sealed has {0} bytes")]
    ChunkLength(usize),
    /// The cryptographic library failed on good input.
    #[error(transparent)]
    Crypto(CryptoError),
}

impl FileError {
    /// What the person who met the error can do next.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NotAFile => "check that this is the file that was protected, not its original",
            Self::UnsupportedVersion(_) => "update Keyward, or have the file protected again",
            Self::ContentHeader(error) => error.hint(),
            Self::WrongKey => "acquire a license for this file again; if it persists, get the file again",
            Self::ChunkSize(_)
            | Self::StoreLength(_)
            | Self::Name
            | Self::MediaType
            | Self::KidNotInHeader(_) => {
                "protect the file again with other options, or get it again from its source"
            }
            Self::TooLarge => "protect the file with larger chunks, or in parts",
            Self::ChunkLength(_) | Self::Crypto(_) => "this is a fault of Keyward; please report it",
            _ => "get the file again from its source",
        }
    }

    /// The error that a reader put into a [`std::io::Error`], if it is one of ours.
    #[must_use]
    pub fn within(error: &std::io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<FileError> for std::io::Error {
    fn from(error: FileError) -> Self {
        let kind = match error {
            FileError::CutOff => std::io::ErrorKind::UnexpectedEof,
            _ => std::io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests;
