//! Identifiers, as fixed-size byte strings.
//!
//! Ids are 16 random bytes; a device is the SHA-256 of its signing key. A key id (KID) is always the
//! 16 big-endian bytes of ISO/IEC 23001-7; the little-endian GUID form of PlayReady Headers exists
//! only inside `keyward-content`.

use core::fmt;

/// Declares a fixed-size public identifier that prints as lower-case hex.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            #[doc = concat!("Length in bytes: ", stringify!($len), ".")]
            pub const LEN: usize = $len;

            /// Wraps the bytes.
            #[must_use]
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Fresh random bytes.
            pub fn random(rng: &mut impl rand_core::CryptoRng) -> Self {
                let mut bytes = [0; $len];
                rng.fill_bytes(&mut bytes);
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = core::array::TryFromSliceError;

            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                bytes.try_into().map(Self)
            }
        }

        impl crate::codec::Wire for $name {
            fn write(&self, writer: &mut crate::codec::Writer) {
                writer.bytes(&self.0);
            }

            fn read(reader: &mut crate::codec::Reader<'_>) -> Result<Self, crate::codec::DecodeError> {
                <[u8; $len] as crate::codec::Wire>::read(reader).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

id!(
    /// Key id: names one content key (ISO/IEC 23001-7 `KID`), 16 bytes, big-endian.
    Kid, 16
);
id!(
    /// Names one license.
    LicenseId, 16
);
id!(
    /// Drawn fresh for every request; ties the response to it.
    Nonce, 16
);
id!(
    /// Names one state of a client's store between two crypto-erasures.
    EpochId, 16
);
id!(
    /// Names one domain.
    DomainId, 16
);
id!(
    /// Names one acquisition that the client acknowledges.
    TransactionId, 16
);
id!(
    /// A device: SHA-256 of the DER SubjectPublicKeyInfo of its signing key.
    DeviceId, 32
);
id!(
    /// A SHA-256 digest, of stored body bytes or of a certificate's DER bytes.
    Digest, 32
);

impl core::str::FromStr for Kid {
    type Err = KidParseError;

    /// Reads 32 hex digits, with or without the hyphens of a UUID.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| *c != '-')
            .map(|c| {
                c.to_digit(16)
                    .and_then(|d| u8::try_from(d).ok())
                    .ok_or(KidParseError)
            })
            .collect::<Result<_, _>>()?;
        let (pairs, rest) = digits.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(KidParseError);
        }
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        Self::try_from(bytes.as_slice()).map_err(|_| KidParseError)
    }
}

/// A text that is not a key id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key id is 32 hexadecimal digits, hyphens allowed")]
pub struct KidParseError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kid_reads_both_spellings() {
        let plain: Kid = "a2c786d0f9ef4cb3b333cd323a4284a5".parse().unwrap();
        assert_eq!("a2c786d0-f9ef-4cb3-b333-cd323a4284a5".parse(), Ok(plain));
        assert_eq!(plain.to_string(), "a2c786d0f9ef4cb3b333cd323a4284a5");
        assert_eq!("a2c786".parse::<Kid>(), Err(KidParseError));
        assert_eq!(
            "a2c786d0f9ef4cb3b333cd323a4284ag".parse::<Kid>(),
            Err(KidParseError)
        );
    }
}
