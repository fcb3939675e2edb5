//! Names that are published as GUIDs.

use core::{fmt, str::FromStr};

use crate::codec::{DecodeError, Reader, Wire, Writer};

/// A GUID, as 16 bytes in the order of its text (RFC 9562), which is the order on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid([u8; 16]);

impl Guid {
    /// Wraps the bytes, in the order of the text.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The GUID whose text has these hexadecimal digits.
    #[must_use]
    pub const fn of(digits: u128) -> Self {
        Self(digits.to_be_bytes())
    }

    /// The bytes, in the order of the text.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Guid {
    /// In lower case, with hyphens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guid({self})")
    }
}

impl FromStr for Guid {
    type Err = GuidParseError;

    /// Reads 32 hexadecimal digits of either case, with the four hyphens of RFC 9562 or with none.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let groups: Vec<_> = text.split('-').map(str::len).collect();
        let known = matches!(groups[..], [32] | [8, 4, 4, 4, 12]);
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        if !known || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(GuidParseError);
        }
        let digits = u128::from_str_radix(&digits, 16).map_err(|_| GuidParseError)?;
        Ok(Self::of(digits))
    }
}

/// A text that is not a GUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a GUID is 32 hexadecimal digits, with hyphens after the 8th, 12th, 16th and 20th or with none")]
pub struct GuidParseError;

impl Wire for Guid {
    fn write(&self, writer: &mut Writer) {
        writer.bytes(&self.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        <[u8; 16] as Wire>::read(reader).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_read_in_both_spellings_and_no_other() {
        let guid = Guid::of(0x760a_e755_682a_41e0_b1b3_dcdf_836a_7306);
        assert_eq!(guid.to_string(), "760ae755-682a-41e0-b1b3-dcdf836a7306");
        for text in [
            "760AE755-682A-41E0-B1B3-DCDF836A7306",
            "760ae755682a41e0b1b3dcdf836a7306",
        ] {
            assert_eq!(text.parse(), Ok(guid));
        }
        for text in [
            "",
            "760ae755",
            "760ae755-682a-41e0-b1b3-dcdf836a730g",
            "760ae755-682a-41e0-b1b3dcdf836a73066",
            "+60ae755682a41e0b1b3dcdf836a7306",
            "{760ae755-682a-41e0-b1b3-dcdf836a7306}",
        ] {
            assert_eq!(text.parse::<Guid>(), Err(GuidParseError), "{text}");
        }
        assert_eq!(guid.encode()[..5], [0x50, 0x76, 0x0a, 0xe7, 0x55]);
    }
}
