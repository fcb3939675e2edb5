//! The input: read in long pieces where samples are copied, sparsely where they are mapped. Small fragments
//! are held as a whole, so that their many short samples cost no call each.

use std::io::{self, Read, Seek, SeekFrom};

use keyward_content::{codec::SampleSource, isobmff::TopBoxes};

use super::kept::Kept;

/// Bytes that are fetched around a NAL unit's head.
const LOOK: usize = 4096;
/// Most bytes that are held. Where a fragment is longer, its samples are long enough to be read one by one.
const MAX_HELD: u64 = 4 << 20;

/// A reader that seeks only when it must.
#[derive(Debug)]
pub(super) struct Source<R> {
    reader: R,
    len: u64,
    /// Where the next read is to be.
    wanted: u64,
    /// Where the reader is, if that is known.
    actual: Option<u64>,
    window: Vec<u8>,
    window_at: u64,
    /// Of a pipe, which is read once: in the place of the window, what may still be asked for.
    kept: Option<Kept>,
}

impl<R: Read + Seek> Source<R> {
    pub(super) fn new(mut reader: R) -> io::Result<Self> {
        let len = reader.seek(SeekFrom::End(0))?;
        Ok(Self {
            reader,
            len,
            wanted: len,
            actual: Some(len),
            window: Vec::new(),
            window_at: 0,
            kept: None,
        })
    }

    /// What is read once, from its first byte on, and never sought in.
    pub(super) fn of_pipe(reader: R) -> Self {
        Self {
            reader,
            len: u64::MAX,
            wanted: 0,
            actual: None,
            window: Vec::new(),
            window_at: 0,
            kept: Some(Kept::default()),
        }
    }

    /// Whether it is read once.
    pub(super) const fn is_pipe(&self) -> bool {
        self.kept.is_some()
    }

    /// Bytes of the input; of a pipe, the most there can be until it has ended.
    pub(super) fn len(&self) -> u64 {
        self.kept
            .as_ref()
            .map_or(self.len, |kept| kept.ended_at().unwrap_or(u64::MAX))
    }

    /// The boxes of the input, from its first byte on.
    pub(super) fn boxes(&mut self) -> io::Result<TopBoxes<&mut Self>> {
        if self.is_pipe() {
            Ok(TopBoxes::of_stream(self))
        } else {
            TopBoxes::new(self)
        }
    }

    /// Says that nothing before `offset` will be asked for again: a pipe keeps no more than it must.
    pub(super) fn release(&mut self, offset: u64) {
        if let Some(kept) = &mut self.kept {
            kept.release(offset);
        }
    }

    /// What came through a pipe and is kept, and the reader of the rest.
    pub(super) fn into_parts(self) -> (Vec<u8>, R) {
        let kept = self.kept.map(Kept::into_bytes);
        (kept.unwrap_or_default(), self.reader)
    }

    /// Whether `len` bytes can be read in any order.
    pub(super) const fn can_hold(&self, len: u64) -> bool {
        !self.is_pipe() || len <= Kept::MOST
    }

    /// Holds the `len` bytes at `offset`, most of which will be asked for, unless they are too many.
    pub(super) fn hold(&mut self, offset: u64, len: u64) -> io::Result<()> {
        match usize::try_from(len) {
            Ok(bytes) if len <= MAX_HELD || self.is_pipe() => self.fill_window(offset, bytes),
            _ => Ok(()),
        }
    }

    /// Fills `bytes` from `offset` on.
    pub(super) fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        if let Some(held) = self.in_window(offset, bytes.len()) {
            bytes.copy_from_slice(held);
            return Ok(());
        }
        self.wanted = offset;
        self.read_exact(bytes)
    }

    /// A sample of `len` bytes at `offset`, to be read sparsely.
    pub(super) const fn sample(&mut self, offset: u64, len: u64) -> SparseSample<'_, R> {
        SparseSample {
            source: self,
            offset,
            len,
        }
    }

    /// The `len` bytes at `offset`, and what else is in the window stays there for the next call.
    fn look(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        if self.in_window(offset, len).is_none() {
            let there = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
            // Where a pipe ends is not known.
            let more = if self.is_pipe() { 0 } else { LOOK.min(there) };
            self.fill_window(offset, more.max(len))?;
        }
        self.in_window(offset, len)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn in_window(&self, offset: u64, len: usize) -> Option<&[u8]> {
        if let Some(kept) = &self.kept {
            return kept.get(offset, len);
        }
        let at = usize::try_from(offset.checked_sub(self.window_at)?).ok()?;
        self.window.get(at..)?.get(..len)
    }

    fn fill_window(&mut self, offset: u64, len: usize) -> io::Result<()> {
        if let Some(kept) = &mut self.kept {
            return kept.fill(&mut self.reader, offset, len);
        }
        let mut window = core::mem::take(&mut self.window);
        window.resize(len, 0);
        self.wanted = offset;
        self.read_exact(&mut window)?;
        self.window = window;
        self.window_at = offset;
        Ok(())
    }
}

impl<R: Read + Seek> Read for Source<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if let Some(kept) = &mut self.kept {
            let read = kept.read(&mut self.reader, self.wanted, bytes)?;
            self.wanted = self.wanted.saturating_add(read as u64);
            return Ok(read);
        }
        if self.actual != Some(self.wanted) {
            self.actual = None;
            self.reader.seek(SeekFrom::Start(self.wanted))?;
        }
        let read = self.reader.read(bytes)?;
        self.wanted = self.wanted.saturating_add(read as u64);
        self.actual = Some(self.wanted);
        Ok(read)
    }
}

impl<R: Read + Seek> Seek for Source<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let wanted = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(_) if self.is_pipe() => return Err(io::ErrorKind::NotSeekable.into()),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.wanted.checked_add_signed(by),
        };
        self.wanted = wanted.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.wanted)
    }
}

/// A sample that only parts of are fetched of.
#[derive(Debug)]
pub(super) struct SparseSample<'s, R> {
    source: &'s mut Source<R>,
    offset: u64,
    len: u64,
}

impl<R: Read + Seek> SampleSource for SparseSample<'_, R> {
    fn len(&self) -> u64 {
        self.len
    }

    fn bytes(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let end = at.checked_add(len as u64).filter(|end| *end <= self.len);
        let offset = end.and_then(|_| self.offset.checked_add(at));
        self.source.look(offset.ok_or(io::ErrorKind::UnexpectedEof)?, len)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A reader that counts what it is asked for.
    struct Counted {
        inner: Cursor<Vec<u8>>,
        seeks: usize,
        reads: usize,
    }

    impl Read for Counted {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.reads += 1;
            self.inner.read(bytes)
        }
    }

    impl Seek for Counted {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.seeks += 1;
            self.inner.seek(to)
        }
    }

    fn counted(len: usize) -> Source<Counted> {
        let bytes = (0..=250).cycle().take(len).collect();
        let inner = Cursor::new(bytes);
        Source::new(Counted {
            inner,
            seeks: 0,
            reads: 0,
        })
        .unwrap()
    }

    fn pattern(at: u64) -> u8 {
        u8::try_from(at % 251).unwrap()
    }

    #[test]
    fn what_follows_is_read_without_seeking() {
        let mut source = counted(1000);
        assert_eq!(source.len(), 1000);
        let mut bytes = [0; 10];
        for offset in [100, 110, 120] {
            source.read_at(offset, &mut bytes).unwrap();
            assert_eq!(u64::from(bytes[9]), (offset + 9) % 251);
        }
        assert_eq!((source.reader.seeks, source.reader.reads), (2, 3));
        assert!(source.read_at(995, &mut bytes).is_err(), "past the end");
    }

    #[test]
    fn a_look_fetches_little_and_keeps_it() {
        let mut source = counted(20_000);
        let mut sample = source.sample(5_000, 10_000);
        assert_eq!(sample.bytes(0, 100).unwrap()[0], pattern(5_000));
        assert_eq!(sample.bytes(3_000, 1_000).unwrap()[0], pattern(8_000));
        assert_eq!(source.reader.reads, 1);
        let mut sample = source.sample(5_000, 10_000);
        assert_eq!(sample.bytes(9_000, 1_000).unwrap()[999], pattern(14_999));
        for (at, len) in [(9_001, 1_000), (10_001, 0), (u64::MAX, 1)] {
            assert!(sample.bytes(at, len).is_err(), "{at}");
        }
        let mut last = source.sample(19_990, 10);
        assert_eq!(last.bytes(0, 10).unwrap().len(), 10);
    }

    #[test]
    fn what_is_held_is_not_read_again() {
        let mut source = counted(20_000);
        source.hold(1_000, 10_000).unwrap();
        let mut bytes = [0; 100];
        for offset in [1_000, 10_900, 5_000] {
            source.read_at(offset, &mut bytes).unwrap();
            assert_eq!(bytes[0], pattern(offset));
            assert_eq!(source.sample(offset, 100).bytes(0, 100).unwrap(), bytes);
        }
        assert_eq!(source.reader.reads, 1);
        source.read_at(10_901, &mut bytes).unwrap();
        assert_eq!(bytes[99], pattern(11_000));
        source.hold(0, MAX_HELD + 1).unwrap();
        assert!(source.hold(15_000, 5_001).is_err(), "past the end");
    }

    #[test]
    fn a_sample_longer_than_the_window_is_there() {
        let mut source = counted(70_000);
        let bytes = source.sample(1, 60_000);
        let mut bytes = bytes;
        assert_eq!(bytes.bytes(0, 50_000).unwrap().len(), 50_000);
    }
}
