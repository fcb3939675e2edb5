//! Deterministic CBOR (RFC 8949 §4.2.1) with unsigned-integer map keys: one strict gate, one macro.
//!
//! Every byte string from outside passes [`gate::check`] before a decoder sees it. Maps are declared
//! with [`cbor_map!`](crate::cbor_map): keys below 128 are critical (a reader that does not know one
//! refuses the message), keys from 128 on are optional (a reader skips what it does not know).
//! Writers grease that joint with [`grease`], so that no reader rusts shut.

pub mod gate;

use minicbor::{Decoder, Encoder, data::Type};

pub use gate::GateError;

/// Keys from this number on may be skipped by a reader that does not know them.
pub const FIRST_OPTIONAL_KEY: u64 = 128;

/// Grease keys are drawn from `FIRST_GREASE_KEY..FIRST_GREASE_KEY + 65536`; the spec assigns none of them.
pub const FIRST_GREASE_KEY: u64 = 0x1_0000;

/// Whether each of these names stands there once.
pub(crate) fn nothing_twice<T: Ord>(names: impl IntoIterator<Item = T>) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    names.into_iter().all(|name| seen.insert(name))
}

/// Why bytes are not a message of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are not deterministic CBOR in our profile.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// A map holds a critical key that this version does not know.
    #[error("{map} holds critical key {key}, which this version does not know")]
    UnknownCritical {
        /// The map, in the spec's words.
        map: &'static str,
        /// The key.
        key: u64,
    },
    /// A map lacks a key that every such map has.
    #[error("{map} lacks required key {key}")]
    Missing {
        /// The map, in the spec's words.
        map: &'static str,
        /// The key.
        key: u64,
    },
    /// A value is of another type than the spec says, or outside its range.
    #[error("expected {expected} at byte {position}")]
    WrongType {
        /// What should have been there.
        expected: &'static str,
        /// Offset in the message.
        position: usize,
    },
    /// An enumerated number that this version does not know.
    #[error("{what} {number} is not known to this version")]
    UnknownNumber {
        /// What the number enumerates.
        what: &'static str,
        /// The number.
        number: u64,
    },
    /// A value breaks a rule of its message; in a license V-021, V-026, V-030, V-031, V-032
    /// and V-036, in an embedded license store V-038, in packaging data V-075, V-076 and V-078.
    #[error("{0}")]
    Invalid(&'static str),
}

/// A value with one CBOR form.
pub trait Wire: Sized {
    /// Appends the value.
    fn write(&self, writer: &mut Writer);

    /// Reads the value.
    ///
    /// # Errors
    /// [`DecodeError`].
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// The value's bytes.
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.write(&mut writer);
        writer.into_bytes()
    }

    /// Passes `bytes` through the gate and reads them whole.
    ///
    /// # Errors
    /// [`DecodeError`].
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        gate::check(bytes)?;
        let mut reader = Reader::new(bytes);
        Self::read(&mut reader)
    }
}

/// Writes deterministic CBOR into memory.
pub struct Writer(Encoder<Vec<u8>>);

impl Default for Writer {
    fn default() -> Self {
        Self(Encoder::new(Vec::new()))
    }
}

/// Each minicbor call writes into a `Vec`, which cannot fail; the `Result` is of the trait's making.
impl Writer {
    /// An unsigned integer.
    pub fn uint(&mut self, value: u64) {
        self.0.u64(value).ok();
    }

    /// An integer of either sign, as other standards number things.
    pub fn int(&mut self, value: i64) {
        self.0.i64(value).ok();
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) {
        self.0.bytes(value).ok();
    }

    /// A text string.
    pub fn text(&mut self, value: &str) {
        self.0.str(value).ok();
    }

    /// `true` or `false`.
    pub fn bool(&mut self, value: bool) {
        self.0.bool(value).ok();
    }

    /// The head of an array of `len` items.
    pub fn array(&mut self, len: usize) {
        self.0.array(len as u64).ok();
    }

    /// The head of a map of `len` pairs.
    pub fn map(&mut self, len: u64) {
        self.0.map(len).ok();
    }

    /// The bytes written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_writer()
    }
}

/// Reads CBOR that the gate has passed.
pub struct Reader<'a>(Decoder<'a>);

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Decoder::new(bytes))
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// [`DecodeError::WrongType`], as every method here.
    pub fn uint(&mut self) -> Result<u64, DecodeError> {
        self.expect("an unsigned integer", |d| d.u64())
    }

    /// An integer of either sign, as other standards number things.
    ///
    /// # Errors
    /// [`DecodeError::WrongType`].
    pub fn int(&mut self) -> Result<i64, DecodeError> {
        self.expect("an integer", |d| d.i64())
    }

    /// A byte string.
    ///
    /// # Errors
    /// [`DecodeError::WrongType`].
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        self.expect("a byte string", |d| d.bytes())
    }

    /// A text string.
    ///
    /// # Errors
    /// [`DecodeError::WrongType`].
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        self.expect("a text string", |d| d.str())
    }

    /// A boolean.
    ///
    /// # Errors
    /// [`DecodeError::WrongType`].
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        self.expect("true or false", |d| d.bool())
    }

    /// The head of an array: its number of items.
    ///
    /// # Errors
    /// [`DecodeError::WrongType`].
    pub fn array(&mut self) -> Result<u64, DecodeError> {
        let position = self.0.position();
        let wrong = DecodeError::WrongType {
            expected: "an array",
            position,
        };
        self.expect("an array", |d| d.array())?.ok_or(wrong)
    }

    /// The head of a map: its number of pairs.
    ///
    /// # Errors
    /// [`DecodeError::WrongType`].
    pub fn map(&mut self) -> Result<u64, DecodeError> {
        let position = self.0.position();
        let wrong = DecodeError::WrongType {
            expected: "a map",
            position,
        };
        self.expect("a map", |d| d.map())?.ok_or(wrong)
    }

    /// A text string, or `None` for any other value, which is skipped.
    ///
    /// # Errors
    /// [`DecodeError::WrongType`].
    pub fn text_or_skip(&mut self) -> Result<Option<&'a str>, DecodeError> {
        match self.expect("a value", |d| d.datatype())? {
            Type::String => self.text().map(Some),
            _ => self.expect("a value", Decoder::skip).map(|()| None),
        }
    }

    /// Skips the value of an unknown `key` if it is optional.
    ///
    /// # Errors
    /// [`DecodeError::UnknownCritical`] if it is critical.
    pub fn skip_unknown(&mut self, map: &'static str, key: u64) -> Result<(), DecodeError> {
        if key < FIRST_OPTIONAL_KEY {
            return Err(DecodeError::UnknownCritical { map, key });
        }
        self.expect("a value", Decoder::skip)
    }

    fn expect<T>(
        &mut self,
        expected: &'static str,
        read: impl FnOnce(&mut Decoder<'a>) -> Result<T, minicbor::decode::Error>,
    ) -> Result<T, DecodeError> {
        let position = self.0.position();
        read(&mut self.0).map_err(|_| DecodeError::WrongType { expected, position })
    }
}

/// Appends one unknown optional key with a random value to an encoded map.
///
/// Readers must skip it; a reader that does not is noticed in its first test, not in the field when a
/// real optional key arrives.
///
/// # Errors
/// [`DecodeError::WrongType`] if `map` is not an encoded map.
pub fn grease(map: &[u8], rng: &mut impl rand_core::CryptoRng) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(map);
    let pairs = reader.map()?;
    let rest = map.get(reader.0.position()..).unwrap_or_default();
    let mut noise = [0; 6];
    rng.fill_bytes(&mut noise);
    let [high, low, len, value @ ..] = noise;
    let mut writer = Writer::default();
    writer.map(pairs.saturating_add(1));
    writer.0.writer_mut().extend_from_slice(rest);
    writer.uint(FIRST_GREASE_KEY + u64::from(u16::from_be_bytes([high, low])));
    writer.bytes(value.get(..usize::from(len) % 4).unwrap_or_default());
    Ok(writer.into_bytes())
}

impl Wire for u64 {
    fn write(&self, writer: &mut Writer) {
        writer.uint(*self);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.uint()
    }
}

impl Wire for bool {
    fn write(&self, writer: &mut Writer) {
        writer.bool(*self);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.bool()
    }
}

impl Wire for String {
    fn write(&self, writer: &mut Writer) {
        writer.text(self);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.text().map(Self::from)
    }
}

/// A byte string of any length the gate lets through.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Bytes(pub Vec<u8>);

impl core::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Wire for Bytes {
    fn write(&self, writer: &mut Writer) {
        writer.bytes(&self.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.bytes().map(|bytes| Self(bytes.to_vec()))
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn write(&self, writer: &mut Writer) {
        writer.bytes(self);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let position = reader.0.position();
        let wrong = DecodeError::WrongType {
            expected: "a byte string of the fixed length",
            position,
        };
        reader.bytes()?.try_into().map_err(|_| wrong)
    }
}

impl<const N: usize> Wire for keyward_crypto::Secret<N> {
    fn write(&self, writer: &mut Writer) {
        writer.bytes(self.expose());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        <[u8; N]>::read(reader).map(Self::new)
    }
}

impl Wire for keyward_crypto::SecretBytes {
    fn write(&self, writer: &mut Writer) {
        writer.bytes(self.expose());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.bytes().map(|bytes| Self::new(bytes.to_vec()))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn write(&self, writer: &mut Writer) {
        writer.array(self.len());
        self.iter().for_each(|item| item.write(writer));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        // No reservation by the stated length: the gate bounds it by the message's bytes, not by memory.
        (0..reader.array()?).map(|_| T::read(reader)).collect()
    }
}

/// Declares a struct that is a CBOR map with unsigned-integer keys.
///
/// `[3] name: Type` is a required entry, `[9?] name: Type` an optional one (the field is an
/// `Option`). Entries stand in ascending order of their keys; a test of the spec's CDDL keeps it so.
/// The text after `=` names the map in error messages.
///
/// ```
/// use keyward_license::{cbor_map, codec::{DecodeError, Wire}};
/// cbor_map! {
///     /// A point.
///     #[derive(Debug, PartialEq)]
///     pub struct Point = "point" {
///         /// Distance from the left, in pixels.
///         [1] x: u64,
///         /// Name, if it has one.
///         [2?] name: String,
///     }
/// }
/// let point = Point { x: 7, name: None };
/// assert_eq!(point.encode(), [0xa1, 0x01, 0x07]);
/// assert_eq!(Point::decode(&[0xa1, 0x01, 0x07]), Ok(point));
/// assert_eq!(Point::decode(&[0xa2, 0x01, 0x07, 0x03, 0x00]),
///            Err(DecodeError::UnknownCritical { map: "point", key: 3 }));
/// ```
#[macro_export]
macro_rules! cbor_map {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident = $label:literal {
            $( $(#[$field_meta:meta])* [$key:literal $($optional:tt)?] $field:ident : $ty:ty ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $( $(#[$field_meta])* pub $field: $crate::cbor_map!(@type $ty $(, $optional)?), )*
        }

        impl $crate::codec::Wire for $name {
            fn write(&self, writer: &mut $crate::codec::Writer) {
                let pairs = 0 $( + $crate::cbor_map!(@count self.$field $(, $optional)?) )*;
                writer.map(pairs);
                $( $crate::cbor_map!(@write writer, $key, $ty, self.$field $(, $optional)?); )*
            }

            fn read(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                $( let mut $field: Option<$ty> = None; )*
                for _ in 0..reader.map()? {
                    match reader.uint()? {
                        $( $key => $field = Some(<$ty as $crate::codec::Wire>::read(reader)?), )*
                        unknown => reader.skip_unknown($label, unknown)?,
                    }
                }
                Ok(Self { $( $field: $crate::cbor_map!(@take $label, $key, $field $(, $optional)?), )* })
            }
        }
    };
    (@type $ty:ty) => { $ty };
    (@type $ty:ty, ?) => { Option<$ty> };
    (@count $value:expr) => { 1 };
    (@count $value:expr, ?) => { u64::from($value.is_some()) };
    (@write $writer:ident, $key:literal, $ty:ty, $value:expr) => {
        $writer.uint($key);
        <$ty as $crate::codec::Wire>::write(&$value, $writer);
    };
    (@write $writer:ident, $key:literal, $ty:ty, $value:expr, ?) => {
        if let Some(value) = &$value {
            $writer.uint($key);
            <$ty as $crate::codec::Wire>::write(value, $writer);
        }
    };
    (@take $label:literal, $key:literal, $field:ident) => {
        $field.ok_or($crate::codec::DecodeError::Missing { map: $label, key: $key })?
    };
    (@take $label:literal, $key:literal, $field:ident, ?) => { $field };
}

/// Declares an enumeration of wire numbers; a number that is not listed is refused.
#[macro_export]
macro_rules! cbor_enum {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident = $label:literal {
            $( $(#[$variant_meta:meta])* $variant:ident = $number:literal ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name { $( $(#[$variant_meta])* $variant ),* }

        impl $name {
            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u64 {
                match self { $( Self::$variant => $number ),* }
            }

            /// The value of a wire number, or `None` if this version does not know it.
            #[must_use]
            pub const fn from_number(number: u64) -> Option<Self> {
                match number { $( $number => Some(Self::$variant), )* _ => None }
            }
        }

        impl $crate::codec::Wire for $name {
            fn write(&self, writer: &mut $crate::codec::Writer) {
                writer.uint(self.number());
            }

            fn read(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                let number = reader.uint()?;
                Self::from_number(number)
                    .ok_or($crate::codec::DecodeError::UnknownNumber { what: $label, number })
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    cbor_map! {
        /// For the tests.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(super) struct Sample = "sample" {
            /// Required.
            [1] number: u64,
            /// Optional.
            [7?] list: Vec<String>,
            /// Optional and skippable.
            [128?] bytes: Bytes,
        }
    }

    #[test]
    fn values_against_commented_hex() {
        let full = Sample {
            number: 500,
            list: Some(vec!["a".into()]),
            bytes: Some(Bytes(vec![0xff])),
        };
        let hex = concat!("a3", "01", "1901f4", "07", "81", "6161", "1880", "41ff");
        assert_eq!(hex::encode(full.encode()), hex);
        assert_eq!(Sample::decode(&hex::decode(hex).unwrap()), Ok(full));
    }

    #[test]
    fn each_fault_has_its_error() {
        let cases: [(&str, DecodeError); 5] = [
            (
                "a0",
                DecodeError::Missing {
                    map: "sample",
                    key: 1,
                },
            ),
            (
                "a201000200",
                DecodeError::UnknownCritical {
                    map: "sample",
                    key: 2,
                },
            ),
            (
                "a10141ff",
                DecodeError::WrongType {
                    expected: "an unsigned integer",
                    position: 2,
                },
            ),
            (
                "80",
                DecodeError::WrongType {
                    expected: "a map",
                    position: 0,
                },
            ),
            ("a1010000", DecodeError::Gate(GateError::TrailingBytes)),
        ];
        for (hex, error) in cases {
            assert_eq!(Sample::decode(&hex::decode(hex).unwrap()), Err(error), "{hex}");
        }
    }

    #[test]
    fn grease_is_skipped_by_a_reader() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let plain = Sample {
            number: 1,
            list: None,
            bytes: None,
        };
        for _ in 0..64 {
            let greased = grease(&plain.encode(), &mut rng).unwrap();
            assert_ne!(greased, plain.encode());
            assert_eq!(Sample::decode(&greased).as_ref(), Ok(&plain));
        }
    }
}
