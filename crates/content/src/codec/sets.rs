//! Parameter sets: kept as bytes, and read anew when one changes.

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// A reader of parameter sets. The ids it answers are those of the sets.
pub(super) trait SetParser: Default {
    /// Takes in a sequence parameter set.
    fn sequence(&mut self, nal: &[u8]) -> Option<u8>;

    /// Takes in a picture parameter set, whose sequence parameter set it knows.
    fn picture(&mut self, nal: &[u8]) -> Option<u8>;
}

/// The parameter sets in force.
///
/// A picture parameter set is read by way of the sequence parameter set it names, and that may be
/// replaced later. It is then read again, but not before a slice names it: a stream that changes its sets all
/// the time makes no more work than one that has a set in front of each slice.
#[derive(Default)]
pub(super) struct Sets<P> {
    parser: P,
    sequence: BTreeMap<u8, Vec<u8>>,
    picture: BTreeMap<u8, Picture>,
    /// How often a sequence parameter set was taken in.
    changes: u64,
}

struct Picture {
    nal: Vec<u8>,
    /// [`Sets::changes`] when it was read.
    read_at: u64,
}

impl<P: SetParser> Sets<P> {
    /// The parser, for a slice that names the picture parameter set `id`; nothing if there is no such set, or
    /// if it does not fit the sequence parameter set that it names now.
    pub(super) fn parser_for(&mut self, id: u8) -> Option<&P> {
        let picture = self.picture.get_mut(&id)?;
        if picture.read_at != self.changes {
            self.parser.picture(&picture.nal)?;
            picture.read_at = self.changes;
        }
        Some(&self.parser)
    }

    pub(super) fn take_sequence(&mut self, nal: &[u8]) -> Option<()> {
        if self.sequence.values().any(|known| known == nal) {
            return Some(());
        }
        let id = self.parser.sequence(nal)?;
        self.sequence.insert(id, nal.to_vec());
        self.changes = self.changes.checked_add(1)?;
        Some(())
    }

    pub(super) fn take_picture(&mut self, nal: &[u8]) -> Option<()> {
        if self.picture.values().any(|known| known.nal == nal) {
            return Some(());
        }
        let id = self.parser.picture(nal)?;
        let picture = Picture {
            nal: nal.to_vec(),
            read_at: self.changes,
        };
        self.picture.insert(id, picture);
        Some(())
    }
}

impl<P> fmt::Debug for Sets<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sets")
            .field("sequence", &self.sequence.keys())
            .field("picture", &self.picture.keys())
            .finish_non_exhaustive()
    }
}

/// Calls into the bitstream parser, which is allowed to fail by panic: it checks less than hostile
/// streams ask for. The panic message goes where the host's panic hook sends it. The parser keeps a set only
/// when all of it was read, so one that panicked holds what it held before. Where panics abort, nothing is
/// caught.
pub(super) fn guarded<T>(parse: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(parse)).ok().flatten()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local!(static READ: Cell<usize> = const { Cell::new(0) });

    /// Sets whose first byte is their id.
    #[derive(Default)]
    struct Counting;

    impl SetParser for Counting {
        fn sequence(&mut self, nal: &[u8]) -> Option<u8> {
            READ.set(READ.get() + 1);
            nal.first().copied()
        }

        fn picture(&mut self, nal: &[u8]) -> Option<u8> {
            self.sequence(nal)
        }
    }

    #[test]
    fn sets_are_read_again_only_for_slices_that_name_them() {
        let mut sets = Sets::<Counting>::default();
        for id in 0..=255 {
            sets.take_picture(&[id]).unwrap();
        }
        for change in 0..=255 {
            sets.take_sequence(&[0, change]).unwrap();
        }
        assert_eq!(READ.get(), 512);
        for _ in 0..10 {
            assert!(sets.parser_for(7).is_some());
        }
        assert_eq!(READ.get(), 513);
    }
}
