//! The PlayReady Object: a length, then typed records, all little-endian.
//!
//! ```text
//!   length u32 ‖ record count u16 ‖ { type u16 ‖ length u16 ‖ value }*
//! ```

use core::ops::Range;

use super::HeaderError;

/// Longest object, in bytes (15 KiB).
pub const MAX_LEN: usize = 15 * 1024;

const PREFIX_LEN: usize = 6;
/// Type and length in front of the value of a record.
const RECORD_LEN: usize = 4;
const HEADER_RECORD: u16 = 1;
const RESERVED_RECORD: u16 = 2;
const STORE_RECORD: u16 = 3;

/// The records of a PlayReady Object that mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Object<'a> {
    /// Record 1: a PlayReady Header in UTF-16LE, as found.
    pub header: Option<&'a [u8]>,
    /// Record 3: an embedded license store, opaque here.
    pub embedded_store: Option<&'a [u8]>,
}

impl<'a> Object<'a> {
    /// Splits an object into its records. Record 2 is reserved and skipped.
    ///
    /// # Errors
    /// [`HeaderError`] if the length field is not the length of `bytes`, above [`MAX_LEN`] bytes, if the
    /// records do not fill the object exactly, for a type above 3, or if a type stands twice.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, HeaderError> {
        let [header, embedded_store] = records(bytes)?;
        let of = |range: Option<Range<usize>>| range.and_then(|range| bytes.get(range));
        Ok(Self {
            header: of(header),
            embedded_store: of(embedded_store),
        })
    }

    /// Where in an object the value of record 3 is, to be filled in place; nothing if there is none.
    ///
    /// # Errors
    /// As [`Object::parse`].
    pub fn store_range(bytes: &[u8]) -> Result<Option<Range<usize>>, HeaderError> {
        let [_, embedded_store] = records(bytes)?;
        Ok(embedded_store)
    }

    /// Most bytes of an embedded license store beside a header record of `header_len` bytes.
    #[must_use]
    pub const fn room_beside(header_len: usize) -> usize {
        let taken = PREFIX_LEN
            .saturating_add(2 * RECORD_LEN)
            .saturating_add(header_len);
        MAX_LEN.saturating_sub(taken)
    }

    /// Writes the object, record 1 first.
    ///
    /// # Errors
    /// [`HeaderError::TooLong`] above [`MAX_LEN`] bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, HeaderError> {
        let records = [(HEADER_RECORD, self.header), (STORE_RECORD, self.embedded_store)];
        let present = || {
            records
                .iter()
                .filter_map(|(kind, value)| value.map(|value| (*kind, value)))
        };
        let len = present().fold(PREFIX_LEN, |len, (_, value)| {
            len.saturating_add(value.len()).saturating_add(RECORD_LEN)
        });
        let too_long = HeaderError::TooLong(len);
        if len > MAX_LEN {
            return Err(too_long);
        }
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(&u32::try_from(len).map_err(|_| too_long)?.to_le_bytes());
        bytes.extend_from_slice(
            &u16::try_from(present().count())
                .map_err(|_| too_long)?
                .to_le_bytes(),
        );
        for (kind, value) in present() {
            bytes.extend_from_slice(&kind.to_le_bytes());
            bytes.extend_from_slice(&u16::try_from(value.len()).map_err(|_| too_long)?.to_le_bytes());
            bytes.extend_from_slice(value);
        }
        Ok(bytes)
    }
}

/// Where in an object the values of records 1 and 3 are.
fn records(bytes: &[u8]) -> Result<[Option<Range<usize>>; 2], HeaderError> {
    if bytes.len() > MAX_LEN {
        return Err(HeaderError::TooLong(bytes.len()));
    }
    let mut rest = bytes;
    let stated = u32::from_le_bytes(take(&mut rest)?);
    if usize::try_from(stated) != Ok(bytes.len()) {
        return Err(HeaderError::LengthMismatch {
            stated,
            actual: bytes.len(),
        });
    }
    let count = u16::from_le_bytes(take(&mut rest)?);
    let (mut header, mut store) = (None, None);
    for _ in 0..count {
        let kind = u16::from_le_bytes(take(&mut rest)?);
        let len = u16::from_le_bytes(take(&mut rest)?);
        let start = bytes.len().saturating_sub(rest.len());
        let (value, after) = rest
            .split_at_checked(len.into())
            .ok_or(HeaderError::RecordBounds)?;
        rest = after;
        let slot = match kind {
            HEADER_RECORD => &mut header,
            STORE_RECORD => &mut store,
            RESERVED_RECORD => continue,
            _ => return Err(HeaderError::RecordType(kind)),
        };
        let range = start..start.saturating_add(value.len());
        if slot.replace(range).is_some() {
            return Err(HeaderError::RepeatedRecord(kind));
        }
    }
    if rest.is_empty() {
        Ok([header, store])
    } else {
        Err(HeaderError::RecordBounds)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], HeaderError> {
    let (head, after) = rest.split_first_chunk().ok_or(HeaderError::RecordBounds)?;
    *rest = after;
    Ok(*head)
}

/// Reads UTF-16LE.
pub(super) fn decode_utf16(bytes: &[u8]) -> Result<String, HeaderError> {
    let (units, odd) = bytes.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(HeaderError::NotUtf16);
    }
    char::decode_utf16(units.iter().map(|unit| u16::from_le_bytes(*unit)))
        .collect::<Result<_, _>>()
        .map_err(|_| HeaderError::NotUtf16)
}

/// Writes UTF-16LE without byte order mark or terminator.
pub(super) fn encode_utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Records = (Option<Vec<u8>>, Option<Vec<u8>>);

    fn parse(hex: &str) -> Result<Records, HeaderError> {
        let bytes = hex::decode(hex.replace(' ', "")).unwrap();
        Object::parse(&bytes).map(|o| (o.header.map(Vec::from), o.embedded_store.map(Vec::from)))
    }

    #[test]
    fn objects_against_commented_hex() {
        let hex = "13000000 0200 0100 0200 3c00 0300 0300 aabbcc";
        assert_eq!(
            parse(hex),
            Ok((Some(vec![0x3c, 0]), Some(vec![0xaa, 0xbb, 0xcc])))
        );
        let object = Object {
            header: Some(&[0x3c, 0]),
            embedded_store: Some(&[0xaa, 0xbb, 0xcc]),
        };
        assert_eq!(hex::encode(object.to_bytes().unwrap()), hex.replace(' ', ""));
        assert_eq!(parse("06000000 0000"), Ok((None, None)));
        assert_eq!(
            parse("0c000000 0100 0200 0200 ffff"),
            Ok((None, None)),
            "record 2 is skipped"
        );
    }

    #[test]
    fn each_fault_has_its_error() {
        let cases = [
            ("", HeaderError::RecordBounds),
            ("060000", HeaderError::RecordBounds),
            (
                "06000000 00",
                HeaderError::LengthMismatch { stated: 6, actual: 5 },
            ),
            (
                "07000000 0000",
                HeaderError::LengthMismatch { stated: 7, actual: 6 },
            ),
            (
                "05000000 0000",
                HeaderError::LengthMismatch { stated: 5, actual: 6 },
            ),
            (
                "ffffffff 0000",
                HeaderError::LengthMismatch {
                    stated: u32::MAX,
                    actual: 6,
                },
            ),
            ("05000000 00", HeaderError::RecordBounds),
            ("06000000 0100", HeaderError::RecordBounds),
            ("06000000 ffff", HeaderError::RecordBounds),
            ("0a000000 0100 0100 0100", HeaderError::RecordBounds),
            ("0a000000 0000 0100 0000", HeaderError::RecordBounds),
            ("0a000000 0100 0400 0000", HeaderError::RecordType(4)),
            ("0a000000 0100 0000 0000", HeaderError::RecordType(0)),
            (
                "0e000000 0200 0100 0000 0100 0000",
                HeaderError::RepeatedRecord(1),
            ),
            (
                "0e000000 0200 0300 0000 0300 0000",
                HeaderError::RepeatedRecord(3),
            ),
        ];
        for (hex, error) in cases {
            assert_eq!(parse(hex), Err(error), "{hex}");
        }
    }

    #[test]
    fn an_embedded_license_store_is_found_in_place() {
        let range = |hex: &str| Object::store_range(&hex::decode(hex.replace(' ', "")).unwrap());
        assert_eq!(
            range("13000000 0200 0100 0200 3c00 0300 0300 aabbcc"),
            Ok(Some(16..19))
        );
        assert_eq!(
            range("13000000 0200 0300 0300 aabbcc 0100 0200 3c00"),
            Ok(Some(10..13))
        );
        assert_eq!(range("0c000000 0100 0100 0200 3c00"), Ok(None));
        assert_eq!(range("0a000000 0100 0300 0100"), Err(HeaderError::RecordBounds));
    }

    #[test]
    fn a_store_fills_the_room_beside_a_header() {
        for header_len in [0, 2, 700] {
            let header = vec![0; header_len];
            let mut store = vec![0; Object::room_beside(header_len)];
            let of = |store: &[u8]| {
                let object = Object {
                    header: Some(&header),
                    embedded_store: Some(store),
                };
                object.to_bytes().map(|bytes| bytes.len())
            };
            assert_eq!(of(&store), Ok(MAX_LEN));
            store.push(0);
            assert_eq!(of(&store), Err(HeaderError::TooLong(MAX_LEN + 1)));
        }
        assert_eq!(Object::room_beside(MAX_LEN), 0);
    }

    #[test]
    fn the_length_is_bounded_both_ways() {
        let store = vec![0; MAX_LEN - 10];
        let bytes = Object {
            header: None,
            embedded_store: Some(&store),
        }
        .to_bytes()
        .unwrap();
        assert_eq!(bytes.len(), MAX_LEN);
        assert!(Object::parse(&bytes).is_ok());
        let store = vec![0; MAX_LEN - 9];
        let too_long = Object {
            header: None,
            embedded_store: Some(&store),
        };
        assert_eq!(too_long.to_bytes(), Err(HeaderError::TooLong(MAX_LEN + 1)));
        assert_eq!(
            Object::parse(&vec![0; MAX_LEN + 1]),
            Err(HeaderError::TooLong(MAX_LEN + 1))
        );
    }

    #[test]
    fn utf16_is_strict() {
        assert_eq!(decode_utf16(&encode_utf16("aä€😀")).as_deref(), Ok("aä€😀"));
        assert_eq!(decode_utf16(&[0x3c]), Err(HeaderError::NotUtf16));
        assert_eq!(decode_utf16(&[0x00, 0xd8]), Err(HeaderError::NotUtf16));
        assert_eq!(decode_utf16(&[0x00, 0xdc, 0x3c, 0]), Err(HeaderError::NotUtf16));
    }
}
