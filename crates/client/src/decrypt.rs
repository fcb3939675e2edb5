//! Handing out clear bytes under licenses: nothing leaves without having been asked for.
//!
//! The rules are judged when a license is bound (see [`enforce`](crate::enforce)), before the first byte. While
//! content plays, whoever hands it out asks for every piece whether the playback still holds: time may have
//! ended it, or an output has changed (R-043). [`Watched`] does so for anything that reads; protected media asks
//! its [`Keys`](crate::bound::Keys) for each sample besides.
//!
//! ```
//! use std::io::{BufRead, Read};
//! use keyward_client::decrypt::Watched;
//! let mut left = 2;
//! let ask = || {
//!     left -= 1;
//!     if left >= 0 { Ok(()) } else { Err(std::io::Error::other("the license has ended")) }
//! };
//! let mut clear = Watched::new(&b"clear bytes"[..], ask);
//! assert_eq!(clear.fill_buf()?, b"clear bytes");
//! clear.consume(6);
//! assert_eq!(clear.fill_buf()?, b"bytes");
//! assert!(clear.fill_buf().is_err() && clear.read(&mut [0]).is_err());
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io::{self, BufRead, Read, Seek, SeekFrom};

/// A reader of clear bytes that asks before it hands out anything. The first refusal drops the reader, with the
/// ciphers and the clear bytes in it, and every later read fails.
pub struct Watched<R, A> {
    reader: Option<R>,
    ask: A,
}

impl<R: BufRead, A: FnMut() -> io::Result<()>> Watched<R, A> {
    /// Watches a reader. `ask` says whether content may still be handed out.
    pub const fn new(reader: R, ask: A) -> Self {
        Self {
            reader: Some(reader),
            ask,
        }
    }
}

impl<R: BufRead, A: FnMut() -> io::Result<()>> BufRead for Watched<R, A> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Err(refused) = (self.ask)() {
            self.reader = None;
            return Err(refused);
        }
        match &mut self.reader {
            Some(reader) => reader.fill_buf(),
            None => Err(stopped()),
        }
    }

    fn consume(&mut self, amount: usize) {
        if let Some(reader) = &mut self.reader {
            reader.consume(amount);
        }
    }
}

impl<R: BufRead, A: FnMut() -> io::Result<()>> Read for Watched<R, A> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

/// Moving asks nothing; the bytes at the new place do.
impl<R: Seek, A> Seek for Watched<R, A> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &mut self.reader {
            Some(reader) => reader.seek(to),
            None => Err(stopped()),
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("playing was stopped")
}

/// Without the reader, which holds clear bytes.
impl<R, A> core::fmt::Debug for Watched<R, A> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Watched")
            .field("stopped", &self.reader.is_none())
            .finish_non_exhaustive()
    }
}
