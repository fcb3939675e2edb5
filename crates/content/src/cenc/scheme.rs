//! Protection schemes and patterns.

use core::fmt;

use keyward_license::license::KeyType;

use super::{Alignment, CencError};

/// A protection scheme of ISO/IEC 23001-7, clause 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `cenc`: AES-CTR, every protected byte.
    Cenc,
    /// `cens`: AES-CTR, whole blocks of a pattern.
    Cens,
    /// `cbc1`: AES-CBC, every whole block, one chain a sample.
    Cbc1,
    /// `cbcs`: AES-CBC, whole blocks of a pattern, one chain a subsample.
    Cbcs,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 4] = [Self::Cenc, Self::Cens, Self::Cbc1, Self::Cbcs];

    /// The scheme of a `schm` box's `scheme_type`; nothing for a scheme that is not common encryption.
    #[must_use]
    pub fn from_fourcc(fourcc: [u8; 4]) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.fourcc() == fourcc)
    }

    /// The `scheme_type` of a `schm` box.
    #[must_use]
    pub const fn fourcc(self) -> [u8; 4] {
        *match self {
            Self::Cenc => b"cenc",
            Self::Cens => b"cens",
            Self::Cbc1 => b"cbc1",
            Self::Cbcs => b"cbcs",
        }
    }

    /// The four letters as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cenc => "cenc",
            Self::Cens => "cens",
            Self::Cbc1 => "cbc1",
            Self::Cbcs => "cbcs",
        }
    }

    /// The type that a key for this scheme has in its license. No key serves both.
    #[must_use]
    pub const fn key_type(self) -> KeyType {
        match self {
            Self::Cenc | Self::Cens => KeyType::CencCtr,
            Self::Cbc1 | Self::Cbcs => KeyType::CencCbc,
        }
    }

    /// Whether the scheme may have a pattern (`cens`, `cbcs`).
    #[must_use]
    pub const fn has_pattern(self) -> bool {
        matches!(self, Self::Cens | Self::Cbcs)
    }

    /// Which part of slice data a packager protects: whole blocks but in `cbcs`. The standard asks for that
    /// in `cbc1` and `cens` (10.2, 10.3), CMAF (ISO/IEC 23000-19) in `cenc`.
    #[must_use]
    pub const fn alignment(self) -> Alignment {
        match self {
            Self::Cbcs => Alignment::Bytes,
            Self::Cenc | Self::Cens | Self::Cbc1 => Alignment::FromStart,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which blocks of 16 bytes of a protected range are encrypted: `crypt` blocks, then `skip` clear ones,
/// and so on to its end (`default_crypt_byte_block` and `default_skip_byte_block` of `tenc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pattern {
    crypt: u8,
    skip: u8,
}

impl Pattern {
    /// 0:0, no pattern: every block is encrypted.
    pub const NONE: Self = Self { crypt: 0, skip: 0 };
    /// 1:9, what everybody uses for video in `cbcs`.
    pub const VIDEO: Self = Self { crypt: 1, skip: 9 };

    /// `crypt` encrypted and `skip` clear blocks. 0:0 is [`Pattern::NONE`].
    ///
    /// # Errors
    /// [`CencError::Pattern`] for a number above 15, and if `crypt` alone is 0: nothing would be
    /// protected.
    pub const fn new(crypt: u8, skip: u8) -> Result<Self, CencError> {
        if crypt > 15 || skip > 15 || (crypt == 0 && skip != 0) {
            return Err(CencError::Pattern { crypt, skip });
        }
        Ok(Self { crypt, skip })
    }

    /// Blocks that are encrypted in a row.
    #[must_use]
    pub const fn crypt(self) -> u8 {
        self.crypt
    }

    /// Blocks that stay clear in a row.
    #[must_use]
    pub const fn skip(self) -> u8 {
        self.skip
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.crypt, self.skip)
    }
}
