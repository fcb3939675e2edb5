//! Points in time.

use core::fmt;

use crate::codec::{DecodeError, Reader, Wire, Writer};

/// Seconds since 1970-01-01T00:00:00Z, without leap seconds. Windows are `[begin, end)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This many seconds later; stays at the largest value instead of wrapping.
    #[must_use]
    pub const fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// This many seconds earlier; stays at zero instead of wrapping.
    #[must_use]
    pub const fn minus(self, seconds: u64) -> Self {
        Self(self.0.saturating_sub(seconds))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({})", self.0)
    }
}

impl Wire for Timestamp {
    fn write(&self, writer: &mut Writer) {
        writer.uint(self.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.uint().map(Self)
    }
}
