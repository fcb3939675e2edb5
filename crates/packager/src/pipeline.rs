//! Reading, sealing and writing at the same time, with a fixed number of buffers that go in a circle.
//!
//! ```text
//!   worker thread: read a batch, seal its chunks ── full ──▶ calling thread: write
//!                          ▲                                      │
//!                          └──────────────── empty ───────────────┘
//! ```

use std::{
    io::{self, ErrorKind, Read, Write},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use keyward_content::file::{FileError, Positions, Sealer};
use keyward_crypto::stream::TAG_LEN;

use crate::PackagerError;

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
    let (empty_in, empty_out) = sync_channel(BATCHES);
    let (full_in, full_out) = sync_channel(BATCHES);
    for _ in 0..BATCHES {
        empty_in.send(Batch::new(sealer)).ok();
    }
    thread::scope(|scope| {
        let worker = scope.spawn(move || seal_all(input, sealer, positions, &empty_out, &full_in));
        let written = write_all(output, full_out, empty_in, progress);
        // After a write error both channels are closed, at which the worker ends; that error comes first.
        let done = written?;
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(done)
    })
}

/// Takes full batches until the worker ends, and sends them back empty.
#[expect(
    clippy::needless_pass_by_value,
    reason = "dropping both ends is what stops the worker after an error"
)]
fn write_all(
    output: &mut impl Write,
    full: Receiver<Batch>,
    empty: SyncSender<Batch>,
    progress: &mut dyn FnMut(u64),
) -> Result<Done, PackagerError> {
    let mut done = Done::default();
    for batch in &full {
        let sealed = batch.sealed();
        output.write_all(sealed).map_err(PackagerError::Write)?;
        done.sealed_len = done.sealed_len.saturating_add(sealed.len() as u64);
        done.plain_len = done.plain_len.saturating_add(batch.plain_len as u64);
        progress(done.plain_len);
        // The worker may have ended already.
        empty.send(batch).ok();
    }
    Ok(done)
}

/// Reads and seals batch after batch. A batch is sealed once the next one is read, because its last
/// chunk may be the last of the file.
fn seal_all(
    mut input: impl Read,
    sealer: &Sealer,
    mut positions: Positions,
    empty: &Receiver<Batch>,
    full: &SyncSender<Batch>,
) -> Result<(), PackagerError> {
    // A closed channel means that writing failed; the writer has the error.
    let Ok(mut current) = empty.recv() else {
        return Ok(());
    };
    current.fill(&mut input).map_err(PackagerError::Read)?;
    while current.is_full() {
        let Ok(mut next) = empty.recv() else { return Ok(()) };
        next.fill(&mut input).map_err(PackagerError::Read)?;
        if next.plain_len == 0 {
            break;
        }
        current.seal(sealer, &mut positions)?;
        if full.send(current).is_err() {
            return Ok(());
        }
        current = next;
    }
    current.seal_end(sealer, positions)?;
    full.send(current).ok();
    Ok(())
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
