//! Reading a file from any place.

use core::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom};

use keyward_crypto::stream::TAG_LEN;

use super::{FileError, FileHeader, Opener, open::Layout};

/// Reads the plaintext of a file from any place.
///
/// The last chunk is opened before anything else, so that the length is known to be true and a file
/// that was cut off or extended is noticed before a byte of it is given out.
pub struct SeekReader<R> {
    opener: Opener,
    source: R,
    layout: Layout,
    /// The chunk in `buffer`, opened.
    loaded: Option<u64>,
    buffer: Vec<u8>,
    plain_len: usize,
    /// Where `source` stands, if that is known.
    source_at: Option<u64>,
    /// Where in the plaintext the next read begins; may be past the end.
    position: u64,
}

impl<R: Read + Seek> SeekReader<R> {
    /// Takes a `source` that begins with the first byte of the file, and opens the last chunk.
    ///
    /// # Errors
    /// Those of `source`; [`FileError`] inside for a file that was cut off, extended or altered.
    pub fn new(opener: Opener, mut source: R) -> io::Result<Self> {
        let layout = opener.layout(source.seek(SeekFrom::End(0))?)?;
        let buffer = vec![0; opener.sealed_len()];
        let mut reader = Self {
            opener,
            source,
            layout,
            loaded: None,
            buffer,
            plain_len: 0,
            source_at: None,
            position: 0,
        };
        reader.load(layout.last_index)?;
        Ok(reader)
    }

    /// What the header of the file says.
    #[must_use]
    pub const fn header(&self) -> &FileHeader {
        self.opener.header()
    }

    /// Plaintext bytes in the file; authenticated.
    #[must_use]
    pub const fn plain_len(&self) -> u64 {
        self.layout.plain_len
    }

    /// Opens chunk `index` into the buffer.
    fn load(&mut self, index: u64) -> io::Result<()> {
        if self.loaded == Some(index) {
            return Ok(());
        }
        self.loaded = None;
        let chunk_len = self.opener.header().chunk_size.bytes() as u64;
        let last = index == self.layout.last_index;
        let plain_len = if last {
            self.layout
                .plain_len
                .saturating_sub(index.saturating_mul(chunk_len))
        } else {
            chunk_len
        };
        let sealed_len = plain_len.saturating_add(TAG_LEN as u64);
        let start = index
            .checked_mul(self.opener.sealed_len() as u64)
            .and_then(|offset| offset.checked_add(self.opener.chunks_start()))
            .ok_or(FileError::TooLarge)?;
        let chunk = usize::try_from(sealed_len)
            .ok()
            .and_then(|len| self.buffer.get_mut(..len));
        let chunk = chunk.ok_or(FileError::TooLarge)?;
        if self.source_at.take() != Some(start) {
            self.source.seek(SeekFrom::Start(start))?;
        }
        self.source.read_exact(chunk)?;
        self.source_at = start.checked_add(sealed_len);
        self.plain_len = self.opener.open(index, last, chunk)?.len();
        self.loaded = Some(index);
        Ok(())
    }
}

/// Without the buffer, which holds plaintext.
impl<R> fmt::Debug for SeekReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeekReader")
            .field("position", &self.position)
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

impl<R: Read + Seek> BufRead for SeekReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position >= self.layout.plain_len {
            return Ok(&[]);
        }
        let chunk_size = self.opener.header().chunk_size;
        self.load(self.position >> chunk_size.log2())?;
        let within = self.position & (chunk_size.bytes() as u64).saturating_sub(1);
        let within = usize::try_from(within).map_err(|_| FileError::TooLarge)?;
        Ok(self.buffer.get(within..self.plain_len).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.position = self.position.saturating_add(amount as u64);
    }
}

impl<R: Read + Seek> Read for SeekReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: Read + Seek> Seek for SeekReader<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.layout.plain_len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        let before = || {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "the position is before the start of the file",
            )
        };
        self.position = target.ok_or_else(before)?;
        Ok(self.position)
    }
}
