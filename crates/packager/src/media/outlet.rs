//! What the worker makes of the output: bytes in order, gathered in buffers of a fixed size.

use std::io::{Read, Seek};

use super::{encrypt::FragmentCipher, source::Source};
use crate::{MediaError, PackagerError, pipeline::Circle};

/// Bytes of a buffer.
const BATCH_LEN: usize = 512 * 1024;

/// Some of the output.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Bytes of `bytes` that are there.
    filled: usize,
    /// Bytes of the input that are in the output with it.
    pub(super) input_done: u64,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; BATCH_LEN],
            filled: 0,
            input_done: 0,
        }
    }

    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }

    /// Appends what there is room for and returns the rest.
    fn append<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let room = self.bytes.get_mut(self.filled..).unwrap_or_default();
        let (now, later) = bytes.split_at(bytes.len().min(room.len()));
        if let Some(room) = room.get_mut(..now.len()) {
            room.copy_from_slice(now);
        }
        self.filled = self.filled.saturating_add(now.len());
        later
    }

    const fn is_full(&self) -> bool {
        self.filled >= self.bytes.len()
    }
}

/// The end of the output that is written to.
#[derive(Debug)]
pub(super) struct Outlet {
    circle: Circle<Batch>,
    current: Batch,
    /// Bytes of `current` that are in their final form.
    done: usize,
    /// Bytes of the output before `current`.
    before: u64,
    input_done: u64,
}

impl Outlet {
    pub(super) fn new(circle: Circle<Batch>) -> Result<Self, PackagerError> {
        let mut current = circle.take()?;
        current.filled = 0;
        Ok(Self {
            circle,
            current,
            done: 0,
            before: 0,
            input_done: 0,
        })
    }

    /// Bytes of the output so far.
    pub(super) const fn position(&self) -> u64 {
        self.before.saturating_add(self.current.filled as u64)
    }

    /// Bytes of the input that are in the output.
    pub(super) const fn input_done(&self) -> u64 {
        self.input_done
    }

    /// Says how much of the input is in the output.
    pub(super) const fn set_input_done(&mut self, input_done: u64) {
        self.input_done = input_done;
    }

    /// Appends bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), PackagerError> {
        self.check_done()?;
        let mut rest = bytes;
        loop {
            rest = self.current.append(rest);
            self.done = self.current.filled;
            if rest.is_empty() {
                return Ok(());
            }
            self.turn()?;
        }
    }

    /// Appends a range of the input as it is.
    pub(super) fn copy<R: Read + Seek>(
        &mut self,
        source: &mut Source<R>,
        offset: u64,
        len: u64,
    ) -> Result<(), PackagerError> {
        self.stream(source, offset, len, &mut |bytes| Ok(bytes.len()))
    }

    /// Appends a range of the input, encrypted. The ranges of a fragment follow one another.
    pub(super) fn encrypt<R: Read + Seek>(
        &mut self,
        source: &mut Source<R>,
        offset: u64,
        len: u64,
        cipher: &mut FragmentCipher<'_>,
    ) -> Result<(), PackagerError> {
        self.stream(source, offset, len, &mut |bytes| Ok(cipher.process(bytes)?))
    }

    /// Hands out the rest.
    pub(super) fn finish(mut self) -> Result<u64, PackagerError> {
        self.check_done()?;
        self.current.input_done = self.input_done;
        let len = self.position();
        self.circle.send(self.current)?;
        Ok(len)
    }

    fn stream<R: Read + Seek>(
        &mut self,
        source: &mut Source<R>,
        mut offset: u64,
        len: u64,
        process: &mut dyn FnMut(&mut [u8]) -> Result<usize, PackagerError>,
    ) -> Result<(), PackagerError> {
        let end = offset.saturating_add(len);
        while offset < end {
            if self.current.is_full() {
                self.turn()?;
            }
            let left = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
            let room = self
                .current
                .bytes
                .get_mut(self.current.filled..)
                .unwrap_or_default();
            let taken = left.min(room.len());
            let room = room.get_mut(..taken).unwrap_or_default();
            source.read_at(offset, room).map_err(PackagerError::Read)?;
            offset = offset.saturating_add(taken as u64);
            source.release(offset);
            self.current.filled = self.current.filled.saturating_add(taken);
            let undone = self.current.bytes.get_mut(self.done..self.current.filled);
            let done = process(undone.unwrap_or_default())?;
            self.done = self.done.saturating_add(done);
        }
        Ok(())
    }

    /// No byte is left that should have been encrypted.
    fn check_done(&self) -> Result<(), MediaError> {
        if self.done == self.current.filled {
            Ok(())
        } else {
            Err(MediaError::Unfinished)
        }
    }

    /// Hands out the bytes that are done; the others, a few, begin the next buffer.
    fn turn(&mut self) -> Result<(), PackagerError> {
        let mut next = self.circle.take()?;
        next.filled = 0;
        let undone = self.current.bytes.get(self.done..self.current.filled);
        next.append(undone.unwrap_or_default());
        self.before = self.before.saturating_add(self.done as u64);
        self.current.filled = self.done;
        self.current.input_done = self.input_done;
        self.done = 0;
        self.circle.send(core::mem::replace(&mut self.current, next))
    }
}
