//! Bits, most significant first: of a raw byte sequence payload (H.264 7.3.1, H.265 7.3.1.1) without its
//! emulation prevention bytes, or of plain bytes (AV1, VP9).

/// A reader that answers nothing once the bytes have ended.
#[derive(Debug, Clone)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Bytes taken so far, emulation prevention bytes included.
    taken: usize,
    /// Zero bytes in a row before the next byte.
    zeros: u8,
    current: u8,
    /// Bits of `current` that are not read yet.
    left: u32,
    /// Whether there are emulation prevention bytes.
    escaped: bool,
}

impl<'a> Bits<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            taken: 0,
            zeros: 0,
            current: 0,
            left: 0,
            escaped: true,
        }
    }

    /// Of bytes without emulation prevention.
    pub(super) const fn plain(bytes: &'a [u8]) -> Self {
        let mut bits = Self::new(bytes);
        bits.escaped = false;
        bits
    }

    /// Bytes from the beginning to the last bit read, emulation prevention bytes included.
    pub(super) const fn bytes_read(&self) -> usize {
        self.taken
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        if self.left == 0 {
            self.next_byte()?;
        }
        self.left = self.left.checked_sub(1)?;
        Some(self.current.checked_shr(self.left)? & 1 == 1)
    }

    /// `u(count)`, at most 32 bits.
    pub(super) fn bits(&mut self, count: u32) -> Option<u32> {
        if count > 32 {
            return None;
        }
        (0..count).try_fold(0_u32, |value, _| Some(value << 1 | u32::from(self.flag()?)))
    }

    pub(super) fn skip(&mut self, count: u32) -> Option<()> {
        (0..count).try_for_each(|_| self.flag().map(drop))
    }

    /// `ue(v)`, H.265 9.2.
    pub(super) fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0_u32;
        while !self.flag()? {
            zeros = zeros.checked_add(1).filter(|zeros| *zeros < 32)?;
        }
        let base = 1_u32.checked_shl(zeros)?.checked_sub(1)?;
        base.checked_add(self.bits(zeros)?)
    }

    /// `ue(v)` of at most `max`.
    pub(super) fn at_most(&mut self, max: u32) -> Option<u32> {
        self.unsigned().filter(|value| *value <= max)
    }

    /// Skips `ue(v)` or `se(v)`: they have the same length.
    pub(super) fn skip_exp_golomb(&mut self) -> Option<()> {
        self.unsigned().map(drop)
    }

    /// `byte_alignment()`, H.265 7.3.2.12: a one, then zeros to the end of the byte. Anything else shows that
    /// what came before was misread.
    pub(super) fn alignment(&mut self) -> Option<()> {
        let one = self.flag()?;
        let zeros = self.bits(self.left)?;
        (one && zeros == 0).then_some(())
    }

    /// Zeros to the end of the byte. Anything else shows that what came before was misread.
    pub(super) fn zeros_to_byte(&mut self) -> Option<()> {
        (self.bits(self.left)? == 0).then_some(())
    }

    /// Zero bytes to byte `len`.
    pub(super) fn zero_bytes_to(&mut self, len: u64) -> Option<()> {
        while (self.taken as u64) < len {
            self.next_byte()?;
            if self.current != 0 {
                return None;
            }
            self.left = 0;
        }
        (self.taken as u64 == len).then_some(())
    }

    fn next_byte(&mut self) -> Option<()> {
        if self.escaped && self.zeros >= 2 && *self.bytes.get(self.taken)? == 3 {
            self.taken = self.taken.checked_add(1)?;
            self.zeros = 0;
        }
        self.current = *self.bytes.get(self.taken)?;
        self.taken = self.taken.checked_add(1)?;
        self.zeros = if self.current == 0 {
            self.zeros.saturating_add(1)
        } else {
            0
        };
        self.left = 8;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read() {
        // 1 010 011 00100 00101 | 101
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1101_0000]);
        for expected in [0, 1, 2, 3, 4] {
            assert_eq!(bits.unsigned(), Some(expected));
        }
        assert_eq!(bits.bits(3), Some(0b101));
        assert_eq!(bits.bytes_read(), 3);
        assert_eq!(bits.bits(5), None);
    }

    #[test]
    fn emulation_prevention_bytes_are_left_out_and_counted() {
        let mut bits = Bits::new(&[0, 0, 3, 1, 0, 0, 3, 0, 3]);
        assert_eq!(bits.bits(24), Some(1));
        assert_eq!(bits.bytes_read(), 4);
        assert_eq!(bits.bits(32), Some(3));
        assert_eq!(bits.bytes_read(), 9);
        let mut unread = Bits::new(&[0, 0, 3, 1]);
        assert_eq!((unread.bits(16), unread.bytes_read()), (Some(0), 2));
    }

    #[test]
    fn plain_bytes_have_no_emulation_prevention() {
        let mut bits = Bits::plain(&[0, 0, 3, 1]);
        assert_eq!((bits.bits(32), bits.bytes_read()), (Some(0x301), 4));
        let mut padded = Bits::plain(&[0b1010_0000, 0b1010_0001]);
        padded.skip(3).unwrap();
        assert_eq!(padded.zeros_to_byte(), Some(()));
        assert_eq!(padded.zeros_to_byte(), Some(()), "nothing is left of the byte");
        padded.skip(3).unwrap();
        assert_eq!(padded.zeros_to_byte(), None);
    }

    #[test]
    fn alignment_is_checked() {
        for (byte, aligned) in [(0b1011_0000, true), (0b1010_0000, false), (0b1011_0100, false)] {
            let data = [byte];
            let mut bits = Bits::new(&data);
            bits.skip(3).unwrap();
            assert_eq!(bits.alignment().is_some(), aligned, "{byte:08b}");
        }
        let mut full = Bits::new(&[0xff, 0x80]);
        full.skip(8).unwrap();
        assert_eq!(full.alignment().map(|()| full.bytes_read()), Some(2));
    }

    #[test]
    fn the_longest_number_is_bounded() {
        assert_eq!(
            Bits::new(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).unsigned(),
            Some(u32::MAX - 1)
        );
        assert_eq!(
            Bits::new(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]).unsigned(),
            None
        );
        assert_eq!(Bits::new(&[0; 3]).unsigned(), None);
    }
}
