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
/// replaced later; so a change makes everything be read again, by a parser that knows nothing else.
#[derive(Default)]
pub(super) struct Sets<P> {
    parser: P,
    sequence: BTreeMap<u8, Vec<u8>>,
    picture: BTreeMap<u8, Vec<u8>>,
}

impl<P: SetParser> Sets<P> {
    pub(super) const fn parser(&self) -> &P {
        &self.parser
    }

    pub(super) fn take_sequence(&mut self, nal: &[u8]) -> Option<()> {
        if self.sequence.values().any(|known| known == nal) {
            return Some(());
        }
        let id = P::default().sequence(nal)?;
        self.sequence.insert(id, nal.to_vec());
        self.read_again()
    }

    pub(super) fn take_picture(&mut self, nal: &[u8]) -> Option<()> {
        if self.picture.values().any(|known| known == nal) {
            return Some(());
        }
        let id = self.parser.picture(nal)?;
        self.picture.insert(id, nal.to_vec());
        self.read_again()
    }

    /// A picture parameter set that no longer fits its sequence parameter set is dropped; slices that name
    /// it are then refused.
    fn read_again(&mut self) -> Option<()> {
        let mut parser = P::default();
        for nal in self.sequence.values() {
            parser.sequence(nal)?;
        }
        self.picture.retain(|_, nal| parser.picture(nal).is_some());
        self.parser = parser;
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
/// streams ask for. The panic message goes where the host's panic hook sends it.
pub(super) fn guarded<T>(parse: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(parse)).ok().flatten()
}
