//! Initialisation vectors.

use core::fmt;

use super::CencError;

/// The IV of a sample: 8 or 16 bytes (ISO/IEC 23001-7, 9.1).
///
/// An IV is public.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Iv {
    /// The bytes, followed by zeros.
    block: [u8; 16],
    short: bool,
}

impl Iv {
    /// Takes an IV as it stands in `senc`, `tenc` or a `seig` entry.
    ///
    /// # Errors
    /// [`CencError::IvLength`] unless it has 8 or 16 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, CencError> {
        if let Ok(half) = <[u8; 8]>::try_from(bytes) {
            return Ok(Self::from_u64(u64::from_be_bytes(half)));
        }
        let block = bytes.try_into().map_err(|_| CencError::IvLength(bytes.len()))?;
        Ok(Self { block, short: false })
    }

    /// The 8-byte IV with these bytes, big-endian.
    #[must_use]
    pub fn from_u64(value: u64) -> Self {
        let block = (u128::from(value) << 64).to_be_bytes();
        Self { block, short: true }
    }

    /// The 8 or 16 bytes, as a box holds them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let (half, _) = self.block.split_at(8);
        if self.short { half } else { &self.block }
    }

    /// The first block, in CTR and in CBC: of an 8-byte IV its bytes and eight zeros, where the block counter of
    /// CTR begins.
    #[must_use]
    pub const fn block(&self) -> &[u8; 16] {
        &self.block
    }

    /// The IV for the sample that follows one with `protected` protected bytes, under the same key.
    ///
    /// An 8-byte IV counts samples: one more. A 16-byte IV counts blocks in its lower half: as many more
    /// as the sample used, so that in CTR no block of key stream serves twice (9.2 and 9.3 there).
    #[must_use]
    pub fn following(&self, protected: u64) -> Self {
        let value = u128::from_be_bytes(self.block);
        let (step, mask) = if self.short {
            (1 << 64, !u128::from(u64::MAX))
        } else {
            (u128::from(protected.div_ceil(16)), u128::from(u64::MAX))
        };
        let sum = value.wrapping_add(step);
        Self {
            block: ((value & !mask) | (sum & mask)).to_be_bytes(),
            short: self.short,
        }
    }
}

impl fmt::Debug for Iv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Iv(")?;
        for byte in self.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}
