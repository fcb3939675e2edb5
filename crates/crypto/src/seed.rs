//! License key seed: from a key id to its content key, and the checksum that tells a right key.
//!
//! The two algorithms are Microsoft's published *PlayReady key seed* and *PlayReady header, checksum
//! algorithm AESCTR*. Whoever shares a seed (packager, license server) needs no other channel to agree
//! on the key of a key id.
//!
//! Both work on the key id in GUID form: the first three fields little-endian. Everywhere else in
//! Keyward a key id is 16 big-endian bytes, so the functions here take those and convert.

use core::fmt;

use aes::{
    Aes128,
    cipher::{BlockCipherEncrypt, KeyInit},
};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{ContentKey, CryptoError, Secret, kdf};

/// Bytes of a seed that take part in the derivation.
pub const SEED_LEN: usize = 30;
/// Longest seed that is accepted; what is longer is not a seed but a mistake.
pub const MAX_SEED_LEN: usize = 64;
/// Bytes of an AESCTR key checksum.
pub const CHECKSUM_LEN: usize = 8;

/// The secret from which the content key of every key id is derived.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct LicenseKeySeed([u8; SEED_LEN]);

impl LicenseKeySeed {
    /// Takes the first 30 bytes of a seed, as published. The caller wipes its copy.
    ///
    /// # Errors
    /// [`CryptoError::MalformedKey`] unless `seed` has 30 to 64 bytes.
    pub fn new(seed: &[u8]) -> Result<Self, CryptoError> {
        if seed.len() > MAX_SEED_LEN {
            return Err(CryptoError::MalformedKey(
                "a license key seed has at most 64 bytes",
            ));
        }
        seed.first_chunk()
            .map(|used| Self(*used))
            .ok_or(CryptoError::MalformedKey(
                "a license key seed has at least 30 bytes",
            ))
    }

    /// The content key of the key id `kid` (16 bytes, big-endian).
    ///
    /// With `s` the seed and `k` the key id in GUID form, it folds `SHA-256(s‖k)`, `SHA-256(s‖k‖s)`
    /// and `SHA-256(s‖k‖s‖k)` into 16 bytes by exclusive or.
    #[must_use]
    pub fn derive(&self, kid: &[u8; 16]) -> ContentKey {
        let guid = swap_guid(kid);
        let (s, k) = (self.0.as_slice(), guid.as_slice());
        let mut key = [0; 16];
        for mut digest in [
            kdf::sha256(&[s, k]),
            kdf::sha256(&[s, k, s]),
            kdf::sha256(&[s, k, s, k]),
        ] {
            for half in digest.as_chunks::<16>().0 {
                key.iter_mut().zip(half).for_each(|(byte, part)| *byte ^= part);
            }
            digest.zeroize();
        }
        Secret::new(key)
    }
}

impl fmt::Debug for LicenseKeySeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LicenseKeySeed(redacted)")
    }
}

/// The AESCTR checksum of a content key: the first 8 bytes of the AES-128 encryption, as one block, of
/// the key id in GUID form. `kid` is 16 bytes, big-endian.
///
/// It tells a right key from a wrong one and is public; the key cannot be computed from it.
#[must_use]
pub fn aesctr_checksum(key: &ContentKey, kid: &[u8; 16]) -> [u8; CHECKSUM_LEN] {
    let mut block = swap_guid(kid).into();
    Aes128::new(key.expose().into()).encrypt_block(&mut block);
    let [a, b, c, d, e, f, g, h, ..]: [u8; 16] = block.into();
    [a, b, c, d, e, f, g, h]
}

/// Turns 16 big-endian bytes of a UUID into GUID form (first three fields little-endian), or back.
#[must_use]
pub const fn swap_guid(bytes: &[u8; 16]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *bytes;
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The public test seed of Microsoft's PlayReady test server page, there in base64 as
    /// `XVBovsmzhP9gRIZxWfFta3VVRPzVEWmJsazEJ46I`.
    const TEST_SEED: &str = "5d5068bec9b384ff6044867159f16d6b755544fcd5116989b1acc4278e88";

    /// Key id (big-endian), content key, checksum: printed in the PlayReady header specification 4.0
    /// and 4.2, the DASH, HLS and Smooth samples and the MP4 dump; the last two are computed.
    const CASES: [(&str, &str, &str); 9] = [
        (
            "a2c786d0f9ef4cb3b333cd323a4284a5",
            "4edb7704cdbf03617f4800bd878a6df2",
            "c4dbd6571a16934e",
        ),
        (
            "db06a8feec164de292282c71e9b856ab",
            "3179923adf3c929892951e62f93a518a",
            "1a729a40845a70f5",
        ),
        (
            "09e091abf83841d29e3558531fd19ec7",
            "9cb061164b7013eaefcc7d6d18424c2c",
            "c3e39956bf2fceb4",
        ),
        (
            "6f651ae1dbe44434bcb4690d1564c41c",
            "88da852ae4fa2e1e36aeb2d5c94997b1",
            "28b8f743340ffcd0",
        ),
        (
            "10000000100010001000100000000001",
            "3a2a1b68dd2bd9b2eeb25e84c4776668",
            "e53cc8610da1ace6",
        ),
        (
            "72633b87ceed4cc3a5bd0f6da6cfabc7",
            "d9ea9dfc25b0ad2c5b4794d8e1e7d039",
            "f322e7f84621705a",
        ),
        (
            "f4adf6ee9d444c54939e3237de46c665",
            "1191ae647cb5eabc05cf87f0bfce4050",
            "4577e8583132cc91",
        ),
        (
            "1e97f7b877b4482b9c182a583011ac67",
            "1de6f9966fee43b3a4f489a6acc5f59c",
            "eb197156341ea041",
        ),
        (
            "11c0519b2e124ff0ae0010996384d7da",
            "d0b0065022727ca009f68cfc93139b6f",
            "9d4bf6c3cd09fae8",
        ),
    ];

    fn hex16(text: &str) -> [u8; 16] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    fn test_seed() -> LicenseKeySeed {
        LicenseKeySeed::new(&hex::decode(TEST_SEED).unwrap()).unwrap()
    }

    #[test]
    fn published_keys_and_checksums() {
        for (kid, key, checksum) in CASES {
            let derived = test_seed().derive(&hex16(kid));
            assert_eq!(hex::encode(derived.expose()), key, "key of {kid}");
            assert_eq!(
                hex::encode(aesctr_checksum(&derived, &hex16(kid))),
                checksum,
                "checksum of {kid}"
            );
        }
    }

    #[test]
    fn keys_of_another_seed_do_not_match() {
        for (kid, printed) in [
            ("80aa1cd0a71d4f86a93905faf9b0cdc5", "208be468d35bde67"),
            ("0b630844cb17496a97003702e1d23ee2", "aa12961c968bd352"),
        ] {
            let derived = test_seed().derive(&hex16(kid));
            assert_ne!(hex::encode(aesctr_checksum(&derived, &hex16(kid))), printed);
        }
    }

    #[test]
    fn checksums_of_literal_keys() {
        for (kid, key, checksum) in [
            (
                "b04986018a4a44189fa55a326ea2961c",
                "12345678123456781234567812345678",
                "956ea863a5b1f4da",
            ),
            (
                "0000000003fceacd0000000000000000",
                "31e5ca8a5861a0b976e421c54c610346",
                "eeeb0b9f7bdceabe",
            ),
        ] {
            let key = ContentKey::new(hex16(key));
            assert_eq!(hex::encode(aesctr_checksum(&key, &hex16(kid))), checksum);
        }
    }

    #[test]
    fn guid_form_swaps_the_first_three_fields() {
        let uuid = hex16("f81d4fae7dec11d0a76500a0c91e6bf6");
        assert_eq!(hex::encode(swap_guid(&uuid)), "ae4f1df8ec7dd011a76500a0c91e6bf6");
        assert_eq!(swap_guid(&swap_guid(&uuid)), uuid);
    }

    #[test]
    fn only_the_first_30_bytes_count() {
        let kid = hex16(CASES[0].0);
        let mut longer = hex::decode(TEST_SEED).unwrap();
        longer.resize(64, 0x77);
        assert_eq!(
            LicenseKeySeed::new(&longer).unwrap().derive(&kid),
            test_seed().derive(&kid)
        );
        longer[29] ^= 1;
        assert_ne!(
            LicenseKeySeed::new(&longer).unwrap().derive(&kid),
            test_seed().derive(&kid)
        );
    }

    #[test]
    fn seed_length_is_checked() {
        for (len, accepted) in [(0, false), (29, false), (30, true), (64, true), (65, false)] {
            assert_eq!(
                LicenseKeySeed::new(&vec![1; len]).is_ok(),
                accepted,
                "{len} bytes"
            );
        }
    }

    #[test]
    fn debug_never_shows_the_seed() {
        assert_eq!(format!("{:?}", test_seed()), "LicenseKeySeed(redacted)");
    }
}
