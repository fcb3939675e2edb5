//! Making output in one thread and writing it in another, with a fixed number of buffers that go in a
//! circle.
//!
//! ```text
//!   worker thread: read, encrypt ── full ──▶ calling thread: write
//!                          ▲                      │
//!                          └────── empty ─────────┘
//! ```

use std::{
    io::ErrorKind,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use crate::PackagerError;

/// The worker's end of the circle.
#[derive(Debug)]
pub(crate) struct Circle<B> {
    empty: Receiver<B>,
    full: SyncSender<B>,
}

impl<B> Circle<B> {
    /// An empty buffer.
    ///
    /// # Errors
    /// After a write error, which is what [`run`] will report.
    pub(crate) fn take(&self) -> Result<B, PackagerError> {
        self.empty.recv().map_err(|_| stopped())
    }

    /// Hands a full buffer over to be written.
    ///
    /// # Errors
    /// As [`Circle::take`].
    pub(crate) fn send(&self, buffer: B) -> Result<(), PackagerError> {
        self.full.send(buffer).map_err(|_| stopped())
    }
}

/// Ends the worker when the writer is gone.
fn stopped() -> PackagerError {
    PackagerError::Write(ErrorKind::BrokenPipe.into())
}

/// Runs `work` in a thread of its own with the empty `buffers`, and `write` here with each full one, in
/// order.
///
/// # Errors
/// The first of `write`, else that of `work`.
pub(crate) fn run<B: Send, T: Send>(
    buffers: Vec<B>,
    work: impl FnOnce(Circle<B>) -> Result<T, PackagerError> + Send,
    write: impl FnMut(&B) -> Result<(), PackagerError>,
) -> Result<T, PackagerError> {
    let (empty_in, empty) = sync_channel(buffers.len());
    let (full, full_out) = sync_channel(buffers.len());
    for buffer in buffers {
        empty_in.send(buffer).map_err(|_| stopped())?;
    }
    thread::scope(|scope| {
        let worker = scope.spawn(move || work(Circle { empty, full }));
        let written = write_all(full_out, empty_in, write);
        // After a write error both channels are closed, at which the worker ends; that error comes first.
        let done = worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        written.and(done)
    })
}

/// Takes full buffers until the worker ends, and sends them back empty.
#[expect(
    clippy::needless_pass_by_value,
    reason = "dropping both ends is what stops the worker after an error"
)]
fn write_all<B>(
    full: Receiver<B>,
    empty: SyncSender<B>,
    mut write: impl FnMut(&B) -> Result<(), PackagerError>,
) -> Result<(), PackagerError> {
    for buffer in &full {
        write(&buffer)?;
        // The worker may have ended already.
        empty.send(buffer).ok();
    }
    Ok(())
}
