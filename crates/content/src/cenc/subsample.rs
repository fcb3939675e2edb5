//! Subsamples: which bytes of a sample are protected.

use super::CencError;

/// A clear range of a sample and the protected range behind it (ISO/IEC 23001-7, 9.5; an entry of
/// `senc`, there 6 bytes big-endian).
///
/// A sample without subsamples is protected as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subsample {
    /// Bytes that stay clear.
    pub clear: u16,
    /// Bytes that are protected.
    pub protected: u32,
}

impl Subsample {
    /// Bytes of both ranges.
    #[must_use]
    pub fn len(&self) -> u64 {
        u64::from(self.clear).saturating_add(self.protected.into())
    }

    /// Whether both ranges are empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.clear == 0 && self.protected == 0
    }
}

/// Bytes that `subsamples` cover.
#[must_use]
pub fn total_len(subsamples: &[Subsample]) -> u64 {
    subsamples
        .iter()
        .fold(0, |total: u64, subsample| total.saturating_add(subsample.len()))
}

/// Which part of a range of slice data is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alignment {
    /// All of it (`cbcs`).
    Bytes,
    /// Its whole blocks of 16 bytes, from its first byte on: up to 15 bytes at its end stay clear.
    FromStart,
    /// As many whole blocks, up to its last byte: up to 15 bytes at its beginning stay clear, so that every
    /// subsample begins with a NAL unit. Some decryptors in television sets take that for granted.
    ToEnd,
}

/// Writes the subsamples of one sample, range by range.
///
/// Clear ranges that follow one another become one, and one above 65,535 bytes is cut into subsamples of
/// 65,535 clear bytes each and the rest: no other form is written, so a map is the same whoever made it.
#[derive(Debug)]
pub struct SubsampleMap<'a> {
    out: &'a mut Vec<Subsample>,
    alignment: Alignment,
    clear: u64,
}

impl<'a> SubsampleMap<'a> {
    /// Empties `out` and begins a map in it.
    pub fn new(out: &'a mut Vec<Subsample>, alignment: Alignment) -> Self {
        out.clear();
        Self {
            out,
            alignment,
            clear: 0,
        }
    }

    /// Appends `clear` clear bytes, then `data` bytes of slice data, protected as far as the alignment goes.
    ///
    /// # Errors
    /// [`CencError::TooLong`] if a range is 4 GiB or longer.
    pub fn push(&mut self, clear: u64, data: u64) -> Result<(), CencError> {
        let excess = data % 16;
        let (before, behind) = match self.alignment {
            Alignment::Bytes => (0, 0),
            Alignment::FromStart => (0, excess),
            Alignment::ToEnd => (excess, 0),
        };
        let protected = data.saturating_sub(before).saturating_sub(behind);
        let protected = u32::try_from(protected).map_err(|_| CencError::TooLong(data))?;
        self.clear = self.clear.saturating_add(clear).saturating_add(before);
        if protected > 0 {
            self.flush(protected)?;
        }
        self.clear = self.clear.saturating_add(behind);
        Ok(())
    }

    /// Ends the map: clear bytes at the sample's end become its last subsample.
    ///
    /// # Errors
    /// [`CencError::TooLong`] if they are 4 GiB or more.
    pub fn finish(mut self) -> Result<(), CencError> {
        if self.clear > 0 { self.flush(0) } else { Ok(()) }
    }

    fn flush(&mut self, protected: u32) -> Result<(), CencError> {
        if self.clear > u32::MAX.into() {
            return Err(CencError::TooLong(self.clear));
        }
        let clear = loop {
            match u16::try_from(self.clear) {
                Ok(clear) => break clear,
                Err(_) => {
                    self.out.push(Subsample {
                        clear: u16::MAX,
                        protected: 0,
                    });
                    self.clear = self.clear.saturating_sub(u16::MAX.into());
                }
            }
        };
        self.out.push(Subsample { clear, protected });
        self.clear = 0;
        Ok(())
    }
}
