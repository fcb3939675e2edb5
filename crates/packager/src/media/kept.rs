//! What came through a pipe and may still be asked for.
//!
//! ```text
//!   let go ─────────┐ kept ────────────────┐ to come
//!   ················│▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│················
//!                   at                     came
//! ```

use std::io::{self, ErrorKind, Read};

/// Bytes of a pipe, from the first that nobody let go to the last that came.
#[derive(Debug, Default)]
pub(super) struct Kept {
    bytes: Vec<u8>,
    /// Bytes of `bytes` that were let go.
    gone: usize,
    /// Place of the first byte that is kept. Behind `came` if bytes were let go before they came.
    at: u64,
    /// Bytes that came so far.
    came: u64,
    ended: bool,
}

impl Kept {
    /// Most bytes that are kept: a fragment of ten seconds at 100 Mbit/s.
    pub(super) const MOST: u64 = 128 << 20;

    /// Where the pipe ended, if it has.
    pub(super) fn ended_at(&self) -> Option<u64> {
        self.ended.then_some(self.came)
    }

    /// The `len` bytes at `offset`, if all of them are here.
    pub(super) fn get(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let from = usize::try_from(offset.checked_sub(self.at)?).ok()?;
        self.here().get(from..)?.get(..len)
    }

    /// Has the `len` bytes at `offset` come.
    ///
    /// # Errors
    /// Those of the pipe; [`ErrorKind::UnexpectedEof`] if it ends before.
    pub(super) fn fill(&mut self, pipe: &mut impl Read, offset: u64, len: usize) -> io::Result<()> {
        self.reach(pipe, offset.saturating_add(len as u64))?;
        match self.get(offset, len) {
            Some(_) => Ok(()),
            None => Err(self.cut_off()),
        }
    }

    /// Copies bytes from `offset` on: all that `out` has room for, fewer only at the end.
    ///
    /// # Errors
    /// Those of the pipe; [`ErrorKind::UnexpectedEof`] if it ended before `offset`: in a box that was passed over.
    pub(super) fn read(&mut self, pipe: &mut impl Read, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.reach(pipe, offset.saturating_add(out.len() as u64))?;
        if offset < self.at {
            return Err(io::Error::new(
                ErrorKind::NotSeekable,
                "what went through a pipe cannot be read again",
            ));
        }
        if self.ended && offset > self.came {
            return Err(self.cut_off());
        }
        let from = usize::try_from(offset.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let here = self.here().get(from..).unwrap_or_default();
        let read = here.len().min(out.len());
        if let (Some(out), Some(here)) = (out.get_mut(..read), here.get(..read)) {
            out.copy_from_slice(here);
        }
        // A header is looked for where the pipe may end; inside of a box it may not.
        Ok(read)
    }

    /// Lets go of everything before `offset`.
    pub(super) fn release(&mut self, offset: u64) {
        let passed = usize::try_from(offset.saturating_sub(self.at)).unwrap_or(usize::MAX);
        self.gone = self.gone.saturating_add(passed).min(self.bytes.len());
        self.at = self.at.max(offset);
    }

    /// Everything that is kept.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.drain(..self.gone);
        self.bytes
    }

    fn here(&self) -> &[u8] {
        self.bytes.get(self.gone..).unwrap_or_default()
    }

    /// Has everything before `end` come, or all there is.
    fn reach(&mut self, pipe: &mut impl Read, end: u64) -> io::Result<()> {
        if end <= self.came || self.ended {
            return Ok(());
        }
        if end.saturating_sub(self.at) > Self::MOST {
            return Err(io::Error::new(
                ErrorKind::FileTooLarge,
                "a box is longer than 128 MiB, too long for a pipe",
            ));
        }
        self.make_room();
        // Bytes that were let go before they came.
        let unwanted = self.at.saturating_sub(self.came);
        let passed = io::copy(&mut pipe.by_ref().take(unwanted), &mut io::sink())?;
        self.came = self.came.saturating_add(passed);
        let wanted = end.saturating_sub(self.came);
        let got = pipe.by_ref().take(wanted).read_to_end(&mut self.bytes)?;
        self.came = self.came.saturating_add(got as u64);
        self.ended = (got as u64) < wanted;
        Ok(())
    }

    /// Moves what is kept to the front, once half of the buffer was let go.
    fn make_room(&mut self) {
        if self.gone >= self.bytes.len().div_ceil(2) {
            self.bytes.drain(..self.gone);
            self.gone = 0;
        }
    }

    fn cut_off(&self) -> io::Error {
        io::Error::new(
            ErrorKind::UnexpectedEof,
            format!("it ended at byte {}, in the middle of a box", self.came),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn pipe() -> Cursor<Vec<u8>> {
        Cursor::new((0..=250).cycle().take(10_000).collect())
    }

    fn read(kept: &mut Kept, pipe: &mut Cursor<Vec<u8>>, offset: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        let read = kept.read(pipe, offset, &mut out).unwrap();
        out.truncate(read);
        out
    }

    #[test]
    fn what_was_not_let_go_is_read_in_any_order() {
        let (mut kept, mut pipe) = (Kept::default(), pipe());
        let all = pipe.get_ref().clone();
        for (offset, len) in [(0, 10), (5_000, 100), (20, 4_000), (5_100, 1), (0, 1)] {
            assert_eq!(
                read(&mut kept, &mut pipe, offset as u64, len),
                all[offset..offset + len]
            );
        }
        assert_eq!(pipe.position(), 5_101, "no byte more than was asked for");
        kept.fill(&mut pipe, 6_000, 50).unwrap();
        assert_eq!(kept.get(6_000, 50), Some(&all[6_000..6_050]));
        assert_eq!(kept.get(6_000, 51), None);
        assert_eq!(kept.ended_at(), None);
    }

    #[test]
    fn what_was_let_go_takes_no_memory_and_cannot_be_read_again() {
        let (mut kept, mut pipe) = (Kept::default(), pipe());
        let all = pipe.get_ref().clone();
        for offset in (0..9_900).step_by(100) {
            assert_eq!(
                read(&mut kept, &mut pipe, offset as u64, 100),
                all[offset..offset + 100]
            );
            kept.release(offset as u64 + 100);
            assert!(kept.bytes.len() <= 200, "{}", kept.bytes.len());
        }
        let again = kept.read(&mut pipe, 9_899, &mut [0; 1]).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::NotSeekable);
        assert_eq!(kept.get(9_899, 1), None);
    }

    #[test]
    fn what_is_let_go_before_it_comes_is_passed_over() {
        let (mut kept, mut pipe) = (Kept::default(), pipe());
        let all = pipe.get_ref().clone();
        kept.fill(&mut pipe, 0, 10).unwrap();
        kept.release(7_000);
        assert_eq!(read(&mut kept, &mut pipe, 7_010, 20), all[7_010..7_030]);
        assert_eq!(kept.into_bytes(), all[7_000..7_030]);
    }

    #[test]
    fn the_end_is_found_and_bytes_behind_it_are_an_error() {
        let (mut kept, mut pipe) = (Kept::default(), pipe());
        assert_eq!(read(&mut kept, &mut pipe, 9_990, 32).len(), 10);
        assert_eq!(kept.ended_at(), Some(10_000));
        assert_eq!(read(&mut kept, &mut pipe, 10_000, 32).len(), 0);
        let short = kept.fill(&mut pipe, 9_990, 11).unwrap_err();
        let passed_over = kept.read(&mut pipe, 10_001, &mut [0; 1]).unwrap_err();
        for error in [short, passed_over] {
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
            assert!(error.to_string().contains("ended at byte 10000"), "{error}");
        }
    }

    #[test]
    fn more_than_the_most_is_not_kept() {
        let (mut kept, mut endless) = (Kept::default(), io::repeat(7));
        let long = kept.fill(&mut endless, 1, usize::try_from(Kept::MOST).unwrap());
        assert_eq!(long.unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert!(kept.bytes.is_empty());
    }
}
