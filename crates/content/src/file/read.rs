//! Reading a file once through, from a pipe or anything else that reads.

use core::fmt;
use std::io::{self, BufRead, ErrorKind, Read};

use keyward_crypto::stream::TAG_LEN;

use super::{FileError, FileHeader, Opener};

/// Reads the plaintext of a file, chunk after chunk. It never gives out a byte that was not
/// authenticated, and gives an error instead of an end where the file was cut off.
///
/// The plaintext of a cut-off file up to the fault *is* given out; who must not act on half a file
/// waits for the end. After a fault every further read fails alike.
///
/// [`BufRead`] spares a copy: `fill_buf` lends a whole chunk.
pub struct StreamReader<R> {
    opener: Opener,
    source: R,
    /// A sealed chunk and one byte of the next, which tells whether it is the last.
    buffer: Vec<u8>,
    /// Bytes at the start of `buffer` that are read but not opened.
    filled: usize,
    /// The plaintext in `buffer` that is not yet given out.
    plain: core::ops::Range<usize>,
    index: u64,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Reading,
    /// The chunk in the buffer is not the last; the byte after it belongs to the next.
    Between,
    Ended,
    Failed(FileError),
}

impl<R: Read> StreamReader<R> {
    /// Reads chunks from where `source` stands, which is after the beginning that
    /// [`LockedFile::read_from`](super::LockedFile::read_from) took.
    #[must_use]
    pub fn new(opener: Opener, source: R) -> Self {
        let buffer = vec![0; opener.sealed_len().saturating_add(1)];
        Self {
            opener,
            source,
            buffer,
            filled: 0,
            plain: 0..0,
            index: 0,
            state: State::Reading,
        }
    }

    /// What the header of the file says.
    #[must_use]
    pub const fn header(&self) -> &FileHeader {
        self.opener.header()
    }

    /// Opens the next chunk into the buffer. The state survives an error of `source`, so that reading
    /// can go on after a temporary one.
    fn advance(&mut self) -> io::Result<()> {
        let sealed_len = self.opener.sealed_len();
        if matches!(self.state, State::Between) {
            if let Some((first, [.., carried])) = self.buffer.split_first_mut() {
                *first = *carried;
            }
            self.filled = 1;
            self.state = State::Reading;
        }
        self.fill()?;
        let last = self.filled <= sealed_len;
        let chunk = self
            .buffer
            .get_mut(..self.filled.min(sealed_len))
            .unwrap_or_default();
        let opened = match chunk.len() {
            ..TAG_LEN => Err(FileError::CutOff),
            _ => self.opener.open(self.index, last, chunk),
        };
        match opened {
            Ok(plain) => {
                self.plain = 0..plain.len();
                self.index = self.index.saturating_add(1);
                self.state = if last { State::Ended } else { State::Between };
                Ok(())
            }
            Err(error) => {
                self.state = State::Failed(error);
                Err(error.into())
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        loop {
            let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
            if room.is_empty() {
                return Ok(());
            }
            match self.source.read(room) {
                Ok(0) => return Ok(()),
                Ok(read) => self.filled = self.filled.saturating_add(read),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Without the buffer, which holds plaintext.
impl<R> fmt::Debug for StreamReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReader")
            .field("next_chunk", &self.index)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<R: Read> BufRead for StreamReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.plain.is_empty() {
            match self.state {
                State::Reading | State::Between => self.advance()?,
                State::Ended => {}
                State::Failed(error) => return Err(error.into()),
            }
        }
        Ok(self.buffer.get(self.plain.clone()).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.plain.start = self.plain.start.saturating_add(amount).min(self.plain.end);
    }
}

impl<R: Read> Read for StreamReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}
