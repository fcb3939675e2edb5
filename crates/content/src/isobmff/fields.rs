//! Reading the fields of a box, every one checked against the bytes that are there.

use super::{BoxError, BoxPath, FourCc, Place};

/// The fields of a box that are not read yet. Numbers are big-endian (ISO/IEC 14496-12, 4.2).
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    rest: &'a [u8],
    /// Of the first byte of `rest`, from the first byte of the box.
    offset: u64,
    path: BoxPath,
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(rest: &'a [u8], offset: u64, path: BoxPath) -> Self {
        Self { rest, offset, path }
    }

    /// Where the next field is.
    #[must_use]
    pub const fn place(&self) -> Place {
        Place {
            path: self.path,
            offset: self.offset,
        }
    }

    /// All bytes that are left.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`BoxError::CutOff`] if there are fewer; so of all the methods below.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], BoxError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(BoxError::CutOff(self.place()))?;
        self.rest = rest;
        self.offset = self.offset.saturating_add(wide(len));
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], BoxError> {
        let place = self.place();
        let (taken, rest) = self.rest.split_first_chunk().ok_or(BoxError::CutOff(place))?;
        self.rest = rest;
        self.offset = self.offset.saturating_add(wide(N));
        Ok(*taken)
    }

    /// A number of 8 bits.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn u8(&mut self) -> Result<u8, BoxError> {
        self.array().map(u8::from_be_bytes)
    }

    /// A number of 16 bits.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn u16(&mut self) -> Result<u16, BoxError> {
        self.array().map(u16::from_be_bytes)
    }

    /// A number of 32 bits.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn u32(&mut self) -> Result<u32, BoxError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A signed number of 32 bits.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn i32(&mut self) -> Result<i32, BoxError> {
        self.array().map(i32::from_be_bytes)
    }

    /// A number of 64 bits.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn u64(&mut self) -> Result<u64, BoxError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A number of 64 bits if `long`, else of 32.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn u32_or_u64(&mut self, long: bool) -> Result<u64, BoxError> {
        if long {
            self.u64()
        } else {
            self.u32().map(u64::from)
        }
    }

    /// A four-character code.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn fourcc(&mut self) -> Result<FourCc, BoxError> {
        self.array().map(FourCc)
    }

    /// Version and flags of a full box (4.2.2).
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn version_and_flags(&mut self) -> Result<(u8, u32), BoxError> {
        let [version, a, b, c] = self.array()?;
        Ok((version, u32::from_be_bytes([0, a, b, c])))
    }

    /// A table of `count` entries of `N` bytes each.
    ///
    /// # Errors
    /// [`BoxError::Count`] if there are fewer bytes.
    pub fn table<const N: usize>(&mut self, count: u32) -> Result<&'a [[u8; N]], BoxError> {
        let place = self.place();
        let (entries, _) = self.rest.as_chunks::<N>();
        let error = BoxError::Count {
            place,
            stated: count.into(),
            held: wide(entries.len()),
        };
        let count = usize::try_from(count).map_err(|_| error)?;
        let table = entries.get(..count).ok_or(error)?;
        self.bytes(table.as_flattened().len())?;
        Ok(table)
    }

    /// The error for a field that breaks `rule`.
    #[must_use]
    pub const fn invalid(&self, rule: &'static str) -> BoxError {
        BoxError::Invalid {
            place: self.place(),
            rule,
        }
    }

    /// The error for a field that asks for `what`.
    #[must_use]
    pub const fn unsupported(&self, what: &'static str) -> BoxError {
        BoxError::Unsupported {
            place: self.place(),
            what,
        }
    }
}

/// A length as a number of 64 bits: no platform has wider lengths.
pub(crate) const fn wide(len: usize) -> u64 {
    len as u64
}
