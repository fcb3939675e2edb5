//! Files one after the other, as one.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    path::PathBuf,
};

use crate::failure::{Failure, file_error};

/// Reads files as if they were one: an initialisation segment and media segments, say.
pub(crate) struct Joined {
    /// Where each begins, ascending. Empty ones are left out.
    pieces: Vec<(u64, File)>,
    len: u64,
    position: u64,
}

impl Joined {
    /// Opens all of them.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self, Failure> {
        let (mut pieces, mut len) = (Vec::new(), 0_u64);
        for path in paths {
            let failed = file_error("open", path);
            let mut file = File::open(path).map_err(&failed)?;
            // Not by its metadata: a block device has a length as well.
            let piece = file.seek(SeekFrom::End(0)).map_err(&failed)?;
            if piece > 0 {
                pieces.push((len, file));
                len = len.checked_add(piece).ok_or_else(|| failed(too_long()))?;
            }
        }
        Ok(Self {
            pieces,
            len,
            position: 0,
        })
    }

    /// Bytes of all of them.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }
}

fn too_long() -> io::Error {
    io::Error::new(ErrorKind::FileTooLarge, "the files together are too long")
}

impl Read for Joined {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.len {
            return Ok(0);
        }
        let behind = self.pieces.partition_point(|(start, _)| *start <= self.position);
        let end = self.pieces.get(behind).map_or(self.len, |(start, _)| *start);
        let Some((start, file)) = behind.checked_sub(1).and_then(|at| self.pieces.get_mut(at)) else {
            return Ok(0);
        };
        file.seek(SeekFrom::Start(self.position.saturating_sub(*start)))?;
        let read = file.take(end.saturating_sub(self.position)).read(out)?;
        if read == 0 && !out.is_empty() {
            // It was cut off while it was read.
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.position = self.position.saturating_add(read as u64);
        Ok(read)
    }
}

impl Seek for Joined {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = target.ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn pieces_read_as_the_whole_from_any_place() {
        let pieces = [&b"one"[..], b"", b"two, longer", b"3"];
        let whole = pieces.concat();
        let files = pieces.map(|piece| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(piece).unwrap();
            file
        });
        let paths: Vec<_> = files.iter().map(|file| file.path().to_path_buf()).collect();
        let mut joined = Joined::open(&paths).unwrap();
        for start in 0..=whole.len() + 2 {
            joined.seek(SeekFrom::Start(start as u64)).unwrap();
            let mut read = Vec::new();
            joined.read_to_end(&mut read).unwrap();
            assert_eq!(read, whole.get(start..).unwrap_or_default());
        }
        assert_eq!(joined.seek(SeekFrom::End(-2)).unwrap(), whole.len() as u64 - 2);
        assert_eq!(joined.seek(SeekFrom::Current(1)).unwrap(), whole.len() as u64 - 1);
        assert!(joined.seek(SeekFrom::Current(-100)).is_err());
    }
}
