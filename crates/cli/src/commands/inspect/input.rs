//! What is explained: a file, or what comes through a pipe. Its beginning is looked at before anything
//! else of it is read.

use std::{
    fs::File,
    io::{self, Cursor, IsTerminal, Read, Seek},
    path::Path,
};

use crate::failure::{Failure, file_error};

/// Most bytes of the beginning that tell what something is.
const HEAD: u64 = 16;

/// Something to explain.
pub(super) struct Input {
    head: Vec<u8>,
    source: Source,
}

enum Source {
    /// At its first byte.
    File(File),
    /// Behind the head.
    Pipe(Box<dyn Read>),
}

/// A source that can be read from any place.
pub(super) trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

impl Input {
    /// Opens a file, or standard input for `-`.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let failed = file_error("read", path);
        if path == Path::new("-") {
            if io::stdin().is_terminal() {
                return Err(Failure::new(
                    "there is nothing to explain",
                    "name a file, or pipe it in; `keyward inspect --help` says what is understood",
                ));
            }
            return Self::pipe(Box::new(io::stdin())).map_err(failed);
        }
        let file = File::open(path).map_err(&failed)?;
        if file.metadata().map_err(&failed)?.is_file() {
            Self::file(file).map_err(failed)
        } else {
            Self::pipe(Box::new(file)).map_err(failed)
        }
    }

    fn file(mut file: File) -> io::Result<Self> {
        let head = beginning(&mut file)?;
        file.rewind()?;
        Ok(Self {
            head,
            source: Source::File(file),
        })
    }

    fn pipe(mut pipe: Box<dyn Read>) -> io::Result<Self> {
        Ok(Self {
            head: beginning(&mut pipe)?,
            source: Source::Pipe(pipe),
        })
    }

    /// The first bytes, up to 16.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// All of it, or nothing if it is longer than `limit`.
    pub(super) fn whole(self, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        self.into_read()
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)?;
        let fits = u64::try_from(bytes.len()).is_ok_and(|length| length <= limit);
        Ok(fits.then_some(bytes))
    }

    /// All of it, to read once through.
    pub(super) fn into_read(self) -> Box<dyn Read> {
        match self.source {
            Source::File(file) => Box::new(file),
            Source::Pipe(pipe) => Box::new(Cursor::new(self.head).chain(pipe)),
        }
    }

    /// All of it, to read from any place. What comes through a pipe is kept in a file without a name.
    pub(super) fn into_seek(self) -> io::Result<Box<dyn ReadSeek>> {
        if let Source::File(file) = self.source {
            return Ok(Box::new(file));
        }
        let mut kept = tempfile::tempfile()?;
        io::copy(&mut self.into_read(), &mut kept)?;
        kept.rewind()?;
        Ok(Box::new(kept))
    }
}

fn beginning(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    source.by_ref().take(HEAD).read_to_end(&mut head)?;
    Ok(head)
}
