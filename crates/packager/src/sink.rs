//! Where output goes.

use std::io::{self, ErrorKind, Write};

/// A destination that holds everything or nothing.
///
/// What is written becomes visible with [`commit`](Self::commit). A sink that is dropped without it
/// leaves nothing: a file sink writes beside its destination, and on commit syncs and renames.
pub trait OutputSink: Write {
    /// What a finished output is: a path, a length, bytes.
    type Output;

    /// Whether [`overwrite`](Self::overwrite) works. A pipe or a device cannot be gone back in.
    fn can_overwrite(&self) -> bool {
        false
    }

    /// Puts `bytes` over those that were written from `offset` on, counted from the first byte written.
    /// Writing goes on at the end as before.
    ///
    /// # Errors
    /// Those of the destination; [`ErrorKind::InvalidInput`] if fewer bytes were written;
    /// [`ErrorKind::Unsupported`] if it cannot be gone back in.
    fn overwrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let _ = (offset, bytes);
        Err(ErrorKind::Unsupported.into())
    }

    /// Finishes the output durably and makes it visible.
    ///
    /// # Errors
    /// Those of the destination; then nothing is visible.
    fn commit(self) -> io::Result<Self::Output>;
}

/// A sink into memory.
#[derive(Debug, Default)]
pub struct MemorySink(Vec<u8>);

impl Write for MemorySink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl OutputSink for MemorySink {
    type Output = Vec<u8>;

    fn can_overwrite(&self) -> bool {
        true
    }

    fn overwrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let written = usize::try_from(offset)
            .ok()
            .and_then(|start| self.0.get_mut(start..)?.get_mut(..bytes.len()))
            .ok_or(ErrorKind::InvalidInput)?;
        written.copy_from_slice(bytes);
        Ok(())
    }

    fn commit(self) -> io::Result<Vec<u8>> {
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_is_overwritten() {
        let mut sink = MemorySink::default();
        sink.write_all(b"some words").unwrap();
        sink.overwrite(5, b"W").unwrap();
        sink.overwrite(10, b"").unwrap();
        for (offset, bytes) in [(9, &b"ab"[..]), (11, b""), (u64::MAX, b"a")] {
            let refused = sink.overwrite(offset, bytes).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{offset}");
        }
        sink.write_all(b"!").unwrap();
        assert_eq!(sink.commit().unwrap(), b"some Words!");
    }
}
