//! Where output goes.

use std::io::{self, Write};

/// A destination that holds everything or nothing.
///
/// What is written becomes visible with [`commit`](Self::commit). A sink that is dropped without it
/// leaves nothing: a file sink writes beside its destination, and on commit syncs and renames.
pub trait OutputSink: Write {
    /// What a finished output is: a path, a length, bytes.
    type Output;

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

    fn commit(self) -> io::Result<Vec<u8>> {
        Ok(self.0)
    }
}
