//! Sealing the chunks of a file of any kind, batch by batch.

use std::io::{self, ErrorKind, Read, Write};

use keyward_content::file::{FileError, Positions, Sealer};
use keyward_crypto::stream::TAG_LEN;

use crate::{
    PackagerError,
    pipeline::{self, Circle},
};

/// Plaintext bytes in a batch where the chunks are smaller; larger batches gain nothing.
const BATCH_LEN: usize = 512 * 1024;
/// Two are being filled (a batch is sealed once it is known whether more follows), two written or waiting.
const BATCHES: usize = 4;

/// How much went through.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    pub(crate) plain_len: u64,
    pub(crate) sealed_len: u64,
}

/// Seals all of `input` into `output`.
pub(crate) fn run(
    input: impl Read + Send,
    output: &mut impl Write,
    sealer: &Sealer,
    positions: Positions,
    progress: &mut dyn FnMut(u64),
) -> Result<Done, PackagerError> {
    let mut done = Done::default();
    pipeline::run(
        (0..BATCHES).map(|_| Batch::new(sealer)).collect(),
        |circle| seal_all(input, sealer, positions, &circle),
        |batch: &Batch| {
            let sealed = batch.sealed();
            output.write_all(sealed).map_err(PackagerError::Write)?;
            done.sealed_len = done.sealed_len.saturating_add(sealed.len() as u64);
            done.plain_len = done.plain_len.saturating_add(batch.plain_len as u64);
            progress(done.plain_len);
            Ok(())
        },
    )?;
    Ok(done)
}

/// Reads and seals batch after batch. A batch is sealed once the next one is read, because its last
/// chunk may be the last of the file.
fn seal_all(
    mut input: impl Read,
    sealer: &Sealer,
    mut positions: Positions,
    circle: &Circle<Batch>,
) -> Result<(), PackagerError> {
    let mut current = circle.take()?;
    current.fill(&mut input).map_err(PackagerError::Read)?;
    while current.is_full() {
        let mut next = circle.take()?;
        next.fill(&mut input).map_err(PackagerError::Read)?;
        if next.plain_len == 0 {
            break;
        }
        current.seal(sealer, &mut positions)?;
        circle.send(current)?;
        current = next;
    }
    current.seal_end(sealer, positions)?;
    circle.send(current)
}

/// Some whole chunks with room for their tags; the last batch may end in a partial one.
struct Batch {
    buffer: Vec<u8>,
    chunk_len: usize,
    plain_len: usize,
}

impl Batch {
    fn new(sealer: &Sealer) -> Self {
        let chunk_len = sealer.chunk_len();
        let chunks = (BATCH_LEN / chunk_len).max(1);
        Self {
            buffer: vec![0; chunks * sealer.sealed_len()],
            chunk_len,
            plain_len: 0,
        }
    }

    /// Reads until the batch is full or the input ends.
    fn fill(&mut self, input: &mut impl Read) -> io::Result<()> {
        self.plain_len = 0;
        for slot in self.buffer.chunks_exact_mut(self.chunk_len + TAG_LEN) {
            let chunk = slot.get_mut(..self.chunk_len).unwrap_or_default();
            let read = read_until_full(input, chunk)?;
            self.plain_len += read;
            if read < self.chunk_len {
                break;
            }
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.plain_len + self.chunks() * TAG_LEN == self.buffer.len()
    }

    /// Chunks that hold something.
    const fn chunks(&self) -> usize {
        self.plain_len.div_ceil(self.chunk_len)
    }

    /// Seals a batch that others follow.
    fn seal(&mut self, sealer: &Sealer, positions: &mut Positions) -> Result<(), FileError> {
        let chunks = self.chunks();
        self.seal_first(chunks, sealer, positions)
    }

    /// Seals the batch that ends the file; that of an empty file has one chunk, an empty one.
    fn seal_end(&mut self, sealer: &Sealer, mut positions: Positions) -> Result<(), FileError> {
        let before = self.chunks().saturating_sub(1);
        self.seal_first(before, sealer, &mut positions)?;
        let last_len = self.plain_len - before * self.chunk_len;
        let start = before * sealer.sealed_len();
        let last = self
            .buffer
            .get_mut(start..start + last_len + TAG_LEN)
            .unwrap_or_default();
        sealer.seal(positions.last(), last)
    }

    fn seal_first(
        &mut self,
        chunks: usize,
        sealer: &Sealer,
        positions: &mut Positions,
    ) -> Result<(), FileError> {
        let mut slots = self.buffer.chunks_exact_mut(sealer.sealed_len()).take(chunks);
        slots.try_for_each(|slot| sealer.seal(positions.full()?, slot))
    }

    /// The sealed chunks. They lie without gaps, since all but the last are full.
    fn sealed(&self) -> &[u8] {
        let len = self.plain_len + self.chunks().max(1) * TAG_LEN;
        self.buffer.get(..len).unwrap_or_default()
    }
}

fn read_until_full(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
        match input.read(room) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
