//! Opening chunks by their index.

use std::io::{Read, Seek};

use keyward_crypto::{
    CryptoError,
    stream::{ChunkCipher, TAG_LEN},
};

use super::{FileError, FileHeader, LockedFile, SeekReader, StreamReader};
use crate::header::ContentHeader;

/// A protected file whose header the content key has proven, and the cipher of its chunks.
#[derive(Debug)]
pub struct Opener {
    cipher: ChunkCipher,
    file: LockedFile,
}

impl Opener {
    pub(super) const fn new(file: LockedFile, cipher: ChunkCipher) -> Self {
        Self { cipher, file }
    }

    /// What the header says.
    #[must_use]
    pub const fn header(&self) -> &FileHeader {
        &self.file.header
    }

    /// The content header.
    #[must_use]
    pub const fn content_header(&self) -> &ContentHeader {
        &self.file.content_header
    }

    /// Where in the file the first chunk stands.
    #[must_use]
    pub const fn chunks_start(&self) -> u64 {
        self.file.prefix_len as u64
    }

    /// Bytes of a full chunk in the file.
    #[must_use]
    pub const fn sealed_len(&self) -> usize {
        self.file.header.chunk_size.bytes() + TAG_LEN
    }

    /// Opens a chunk in place and returns its plaintext. Chunks open in any order, from any thread.
    ///
    /// # Errors
    /// [`FileError::Chunk`] if these are not the bytes of chunk `index` of this file, or it is not last
    /// where `last` says so (or the reverse). Then `buffer` holds no plaintext.
    pub fn open<'a>(&self, index: u64, last: bool, buffer: &'a mut [u8]) -> Result<&'a mut [u8], FileError> {
        let len = buffer.len();
        // A last chunk without content exists in an empty file alone, so that a file has one form.
        let fits = if last {
            len <= self.sealed_len() && (len > TAG_LEN || index == 0)
        } else {
            len == self.sealed_len()
        };
        if !fits {
            return Err(FileError::Chunk(index));
        }
        self.cipher
            .open(index, last, buffer)
            .map_err(|error| match error {
                CryptoError::NotOpened => FileError::Chunk(index),
                CryptoError::LimitReached(_) => FileError::TooLarge,
                other => FileError::Crypto(other),
            })
    }

    /// How the chunks lie in a file of `file_len` bytes.
    ///
    /// # Errors
    /// [`FileError::CutOff`] if there is no whole chunk or the last one is too short to be one,
    /// [`FileError::TooLarge`] if there are more than the chunk size permits.
    pub(super) fn layout(&self, file_len: u64) -> Result<Layout, FileError> {
        let (sealed_len, tag_len) = (self.sealed_len() as u64, TAG_LEN as u64);
        let sealed = file_len
            .checked_sub(self.chunks_start())
            .ok_or(FileError::CutOff)?;
        let chunks = sealed.div_ceil(sealed_len);
        if chunks > self.file.header.chunk_size.max_chunks() {
            return Err(FileError::TooLarge);
        }
        let last_index = chunks.checked_sub(1).ok_or(FileError::CutOff)?;
        let last_sealed_len = sealed.saturating_sub(last_index.saturating_mul(sealed_len));
        if last_sealed_len < tag_len {
            return Err(FileError::CutOff);
        }
        Ok(Layout {
            last_index,
            plain_len: sealed.saturating_sub(chunks.saturating_mul(tag_len)),
        })
    }

    /// A reader over the chunks that `source` has next, for pipes and for reading once through.
    #[must_use]
    pub fn stream<R: Read>(self, source: R) -> StreamReader<R> {
        StreamReader::new(self, source)
    }

    /// A reader that can start anywhere, over a `source` that begins with the first byte of the file.
    ///
    /// # Errors
    /// As [`SeekReader::new`].
    pub fn seekable<R: Read + Seek>(self, source: R) -> std::io::Result<SeekReader<R>> {
        SeekReader::new(self, source)
    }
}

/// How the chunks of a file lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Index of the last chunk.
    pub(super) last_index: u64,
    /// Plaintext bytes in the file.
    pub(super) plain_len: u64,
}
