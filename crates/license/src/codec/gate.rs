//! The strict gate: one pass over foreign bytes before any decoder sees them.
//!
//! It lets through exactly the deterministic encodings (RFC 8949 §4.2.1) of unsigned and negative
//! integers, byte and text strings, arrays, maps, `true`, `false`, `null` and tags, and refuses
//! duplicate and unsorted map keys, non-shortest heads, indefinite lengths, floats and other simple
//! values, excess depth and trailing bytes. It allocates nothing.

/// Deepest nesting let through. The deepest message of the spec nests 6 levels.
pub const MAX_DEPTH: usize = 12;

/// Why the gate refused the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// The bytes end inside an item.
    #[error("the message is cut off")]
    Truncated,
    /// There are bytes after the item.
    #[error("bytes follow the message")]
    TrailingBytes,
    /// A head could have been written shorter.
    #[error("a number or length is not in its shortest form")]
    NotShortest,
    /// A string, array or map of indefinite length.
    #[error("an item has indefinite length")]
    IndefiniteLength,
    /// A map's keys do not ascend strictly.
    #[error("map keys are duplicate or not sorted")]
    MapOrder,
    /// A map key that is neither an integer nor a string.
    #[error("a map key is not an integer or a string")]
    MapKeyType,
    /// A text string that is not UTF-8.
    #[error("a text string is not UTF-8")]
    NotUtf8,
    /// A float, `undefined` or another simple value.
    #[error("a value is of a type that the protocol does not use")]
    ForbiddenType,
    /// Nesting beyond [`MAX_DEPTH`].
    #[error("the message nests too deeply")]
    TooDeep,
}

/// Checks that `bytes` are one item in the strict form.
///
/// # Errors
/// [`GateError`], the first fault met.
pub fn check(bytes: &[u8]) -> Result<(), GateError> {
    let mut cursor = Cursor { rest: bytes };
    cursor.item(0)?;
    if cursor.rest.is_empty() {
        Ok(())
    } else {
        Err(GateError::TrailingBytes)
    }
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn item(&mut self, depth: usize) -> Result<(), GateError> {
        if depth > MAX_DEPTH {
            return Err(GateError::TooDeep);
        }
        let (major, value) = self.head()?;
        match major {
            UNSIGNED | NEGATIVE | SIMPLE => Ok(()),
            BYTES => self.take(value).map(drop),
            TEXT => core::str::from_utf8(self.take(value)?)
                .map(drop)
                .map_err(|_| GateError::NotUtf8),
            ARRAY => (0..value).try_for_each(|_| self.item(depth + 1)),
            MAP => self.map(value, depth + 1),
            _tag => self.item(depth + 1),
        }
    }

    fn map(&mut self, pairs: u64, depth: usize) -> Result<(), GateError> {
        let mut previous: &[u8] = &[];
        for _ in 0..pairs {
            let start = self.rest;
            if start.first().is_some_and(|initial| initial >> 5 > TEXT) {
                return Err(GateError::MapKeyType);
            }
            self.item(depth)?;
            let length = start.len() - self.rest.len();
            let key = start.get(..length).unwrap_or_default();
            // Bytewise order of the encodings (§4.2.1); the first key is above the empty string.
            if key <= previous {
                return Err(GateError::MapOrder);
            }
            previous = key;
            self.item(depth)?;
        }
        Ok(())
    }

    /// Reads an item's head: major type and argument.
    fn head(&mut self) -> Result<(u8, u64), GateError> {
        let (&initial, rest) = self.rest.split_first().ok_or(GateError::Truncated)?;
        self.rest = rest;
        let (major, info) = (initial >> 5, initial & 0x1f);
        if major == SIMPLE {
            // 20 false, 21 true, 22 null.
            return if (20..=22).contains(&info) {
                Ok((major, 0))
            } else {
                Err(GateError::ForbiddenType)
            };
        }
        let (value, least) = match info {
            0..=23 => (u64::from(info), 0),
            24 => (self.argument(1)?, 24),
            25 => (self.argument(2)?, 1 << 8),
            26 => (self.argument(4)?, 1 << 16),
            27 => (self.argument(8)?, 1 << 32),
            31 => return Err(GateError::IndefiniteLength),
            _ => return Err(GateError::ForbiddenType),
        };
        if value < least {
            Err(GateError::NotShortest)
        } else {
            Ok((major, value))
        }
    }

    fn argument(&mut self, length: u64) -> Result<u64, GateError> {
        Ok(self
            .take(length)?
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], GateError> {
        let length = usize::try_from(length).map_err(|_| GateError::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(GateError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const SIMPLE: u8 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deterministic_items_pass() {
        for hex in [
            "00",
            "17",
            "1818",
            "1903e8",
            "20",
            "40",
            "4101",
            "6161",
            "80",
            "8101",
            "a0",
            "a201000200",
            "f5",
            "f6",
            "d28101",
        ] {
            assert_eq!(check(&hex::decode(hex).unwrap()), Ok(()), "{hex}");
        }
    }

    #[test]
    fn each_fault_has_its_error() {
        let cases = [
            ("", GateError::Truncated),
            ("19 03", GateError::Truncated),
            ("42 01", GateError::Truncated),
            ("5b ffffffffffffffff", GateError::Truncated),
            ("9b ffffffffffffffff", GateError::Truncated),
            ("00 00", GateError::TrailingBytes),
            ("18 17", GateError::NotShortest),
            ("19 00ff", GateError::NotShortest),
            ("1a 0000ffff", GateError::NotShortest),
            ("1b 00000000ffffffff", GateError::NotShortest),
            ("58 01 00", GateError::NotShortest),
            ("5f 41 00 ff", GateError::IndefiniteLength),
            ("9f ff", GateError::IndefiniteLength),
            ("bf ff", GateError::IndefiniteLength),
            ("a2 01 00 01 00", GateError::MapOrder),
            ("a2 02 00 01 00", GateError::MapOrder),
            ("a2 61 61 00 01 00", GateError::MapOrder),
            ("a1 80 00", GateError::MapKeyType),
            ("a1 f5 00", GateError::MapKeyType),
            ("61 ff", GateError::NotUtf8),
            ("f7", GateError::ForbiddenType),
            ("f9 0000", GateError::ForbiddenType),
            ("f8 20", GateError::ForbiddenType),
            ("1c", GateError::ForbiddenType),
            ("ff", GateError::ForbiddenType),
            ("81 81 81 81 81 81 81 81 81 81 81 81 81 00", GateError::TooDeep),
        ];
        for (hex, error) in cases {
            assert_eq!(
                check(&hex::decode(hex.replace(' ', "")).unwrap()),
                Err(error),
                "{hex}"
            );
        }
    }

    #[test]
    fn a_nesting_bomb_ends_early() {
        assert_eq!(check(&vec![0x81; 1 << 20]), Err(GateError::TooDeep));
        assert_eq!(check(&vec![0xc1; 1 << 20]), Err(GateError::TooDeep));
    }
}
