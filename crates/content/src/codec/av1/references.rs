//! The reference frames, as far as later frame headers depend on them: 7.20, 7.21, and the choice of references
//! by their order, 7.8.

use super::{frame::Frame, quantizer::Segmentation, sequence::Sequence};

/// References of a frame.
pub(super) const USED: usize = 7;

/// A reference frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reference {
    /// Width before it was scaled down, and height.
    pub(super) size: (u32, u32),
    pub(super) segmentation: Segmentation,
    pub(super) is_key_frame: bool,
}

#[derive(Debug, Default)]
pub(super) struct References {
    /// Nothing where there is no frame, or none that may be used any more.
    frames: [Option<Reference>; 8],
    /// `RefOrderHint`.
    order_hints: [u32; 8],
}

impl References {
    pub(super) fn get(&self, index: u32) -> Option<&Reference> {
        self.frames.get(usize::try_from(index).ok()?)?.as_ref()
    }

    pub(super) fn order_hint(&self, index: u32) -> Option<u32> {
        self.order_hints.get(usize::try_from(index).ok()?).copied()
    }

    /// A key frame that is shown makes all of them unusable.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes in the order hint that a frame states of a reference: one with another may not be used, 5.9.2.
    pub(super) fn expect(&mut self, index: usize, order_hint: u32) -> Option<()> {
        let known = self.order_hints.get_mut(index)?;
        if *known != order_hint {
            *known = order_hint;
            *self.frames.get_mut(index)? = None;
        }
        Some(())
    }

    /// Shows the frame `index` again. If it is a key frame, all references become it, 7.21.
    pub(super) fn show(&mut self, index: u32) -> Option<()> {
        let shown = *self.get(index)?;
        if shown.is_key_frame {
            self.order_hints = [self.order_hint(index)?; 8];
            self.frames = [Some(shown); 8];
        }
        Some(())
    }

    /// 7.20.
    pub(super) fn update(&mut self, frame: &Frame) {
        let slots = self.frames.iter_mut().zip(&mut self.order_hints);
        for (number, (reference, order_hint)) in (0..).zip(slots) {
            if frame.refresh & (1 << number) != 0 {
                *reference = Some(Reference {
                    size: frame.size,
                    segmentation: frame.segmentation,
                    is_key_frame: frame.is_key_frame,
                });
                *order_hint = frame.order_hint;
            }
        }
    }

    /// The references of a frame that names two of them and leaves the others to their order, 7.8.
    pub(super) fn by_order(
        &self,
        sequence: &Sequence,
        order_hint: u32,
        last: u32,
        golden: u32,
    ) -> Option<[u32; USED]> {
        let distances = self.order_hints.map(|hint| sequence.distance(hint, order_hint));
        let choice = Choice {
            distances,
            used: [false; 8],
        };
        choice.all(last, golden)
    }
}

/// Which references are left, and how far after the frame each is.
struct Choice {
    distances: [i64; 8],
    used: [bool; 8],
}

impl Choice {
    /// LAST, LAST2, LAST3, GOLDEN, BWDREF, ALTREF2, ALTREF.
    fn all(mut self, last: u32, golden: u32) -> Option<[u32; USED]> {
        self.take(last)?;
        self.take(golden)?;
        let mut chosen = [Some(last), None, None, Some(golden), None, None, None];
        for (at, latest) in [(6, true), (4, false), (5, false)] {
            *chosen.get_mut(at)? = self.backward(latest);
        }
        for at in [1, 2, 4, 5, 6] {
            let slot = chosen.get_mut(at)?;
            if slot.is_none() {
                *slot = self.latest_forward();
            }
        }
        let earliest = self.earliest()?;
        Some(chosen.map(|index| index.unwrap_or(earliest)))
    }

    fn take(&mut self, index: u32) -> Option<u32> {
        *self.used.get_mut(usize::try_from(index).ok()?)? = true;
        Some(index)
    }

    fn left(&self) -> impl Iterator<Item = (u32, i64)> {
        let numbered = (0..8).zip(self.distances).zip(self.used);
        numbered.filter(|(_, used)| !used).map(|(entry, _)| entry)
    }

    /// The latest or the earliest one that is not before the frame. Of several the last one is the latest, and
    /// the first one the earliest.
    fn backward(&mut self, latest: bool) -> Option<u32> {
        let behind = self.left().filter(|(_, distance)| *distance >= 0);
        let found = if latest {
            behind.max_by_key(|(_, distance)| *distance)
        } else {
            behind.min_by_key(|(_, distance)| *distance)
        };
        self.take(found?.0)
    }

    /// The latest one before the frame; of several the last one.
    fn latest_forward(&mut self) -> Option<u32> {
        let before = self.left().filter(|(_, distance)| *distance < 0);
        let found = before.max_by_key(|(_, distance)| *distance);
        self.take(found?.0)
    }

    /// The earliest of all; of several the first one.
    fn earliest(&self) -> Option<u32> {
        let all = (0..8).zip(self.distances);
        all.min_by_key(|(_, distance)| *distance).map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(distances: [i64; 8], last: u32, golden: u32) -> [u32; USED] {
        Choice {
            distances,
            used: [false; 8],
        }
        .all(last, golden)
        .unwrap()
    }

    /// Three before the frame and three behind it, and two that are there twice.
    #[test]
    fn references_are_chosen_by_their_order() {
        let chosen = choice([-1, -2, -4, 1, 3, 7, -4, 7], 0, 2);
        assert_eq!(chosen, [0, 1, 6, 2, 3, 4, 7]);
    }

    /// What is left over is the earliest of all.
    #[test]
    fn references_may_be_chosen_twice() {
        let chosen = choice([-1, -3, -3, -3, -3, -3, -3, -3], 0, 1);
        assert_eq!(chosen, [0, 7, 6, 1, 5, 4, 3]);
        let chosen = choice([0, 0, 0, 0, 0, 0, 0, -5], 7, 7);
        assert_eq!(chosen, [7, 7, 7, 7, 0, 1, 6]);
    }
}
