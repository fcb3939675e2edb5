//! AES-128-GCM and AES-256-GCM (SP 800-38D) in place, with nonces of 12 bytes and whole tags.
//!
//! Native builds use aws-lc-rs; WebAssembly, where that library does not build, uses RustCrypto. Both
//! are compiled natively under test and checked against each other.

use zeroize::Zeroize;

use crate::CryptoError;

#[cfg(not(target_family = "wasm"))]
use native as backend;
#[cfg(target_family = "wasm")]
use portable as backend;

/// Bytes of a nonce.
pub(crate) const NONCE_LEN: usize = 12;
/// Bytes of a tag.
pub(crate) const TAG_LEN: usize = 16;

const FAILED: CryptoError = CryptoError::Internal("AES-GCM");
const WRONG_KEY: CryptoError = CryptoError::MalformedKey("an AES key has 16 or 32 bytes");

/// A key of 16 or 32 bytes, expanded. Wiped when it is dropped, by either library.
pub(crate) struct Cipher(backend::Cipher);

impl Cipher {
    /// Expands `key`, whose length says which cipher it is for.
    pub(crate) fn new(key: &[u8]) -> Result<Self, CryptoError> {
        backend::Cipher::new(key).map(Self)
    }

    /// Encrypts `text` and returns the tag. The caller never uses a nonce twice.
    pub(crate) fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CryptoError> {
        self.0.seal(nonce, aad, text)
    }

    /// Decrypts `text` if `tag` is right, and wipes it if not.
    pub(crate) fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CryptoError> {
        let opened = self.0.open(nonce, aad, text, tag);
        if opened.is_err() {
            // A backend may leave unauthenticated plaintext behind.
            text.zeroize();
        }
        opened
    }
}

/// AES-GCM by aws-lc-rs. Its contexts are freed with `OPENSSL_free`, which wipes them.
#[cfg(not(target_family = "wasm"))]
pub(crate) mod native {
    use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    use super::{FAILED, NONCE_LEN, TAG_LEN, WRONG_KEY};
    use crate::CryptoError;

    pub(crate) struct Cipher(LessSafeKey);

    impl Cipher {
        pub(crate) fn new(key: &[u8]) -> Result<Self, CryptoError> {
            let algorithm = match key.len() {
                16 => &AES_128_GCM,
                32 => &AES_256_GCM,
                _ => return Err(WRONG_KEY),
            };
            let key = UnboundKey::new(algorithm, key).map_err(|_| FAILED)?;
            Ok(Self(LessSafeKey::new(key)))
        }

        pub(crate) fn seal(
            &self,
            nonce: [u8; NONCE_LEN],
            aad: &[u8],
            text: &mut [u8],
        ) -> Result<[u8; TAG_LEN], CryptoError> {
            self.0
                .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text)
                .ok()
                .and_then(|tag| tag.as_ref().try_into().ok())
                .ok_or(FAILED)
        }

        pub(crate) fn open(
            &self,
            nonce: [u8; NONCE_LEN],
            aad: &[u8],
            text: &mut [u8],
            tag: &[u8; TAG_LEN],
        ) -> Result<(), CryptoError> {
            self.0
                .open_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), tag, text)
                .map(|_| ())
                .map_err(|_| CryptoError::NotOpened)
        }
    }
}

/// AES-GCM by RustCrypto: where aws-lc does not run, and the oracle of `native` in tests. Feature
/// `zeroize` wipes round keys and hash key.
#[cfg(any(target_family = "wasm", test))]
pub(crate) mod portable {
    use aes_gcm::{AeadInOut, Aes128Gcm, Aes256Gcm, KeyInit};

    use super::{FAILED, NONCE_LEN, TAG_LEN, WRONG_KEY};
    use crate::CryptoError;

    pub(crate) enum Cipher {
        Aes128(Box<Aes128Gcm>),
        Aes256(Box<Aes256Gcm>),
    }

    impl Cipher {
        pub(crate) fn new(key: &[u8]) -> Result<Self, CryptoError> {
            match key.len() {
                16 => Aes128Gcm::new_from_slice(key).map(|key| Self::Aes128(Box::new(key))),
                _ => Aes256Gcm::new_from_slice(key).map(|key| Self::Aes256(Box::new(key))),
            }
            .map_err(|_| WRONG_KEY)
        }

        pub(crate) fn seal(
            &self,
            nonce: [u8; NONCE_LEN],
            aad: &[u8],
            text: &mut [u8],
        ) -> Result<[u8; TAG_LEN], CryptoError> {
            match self {
                Self::Aes128(key) => key.encrypt_inout_detached(&nonce.into(), aad, text.into()),
                Self::Aes256(key) => key.encrypt_inout_detached(&nonce.into(), aad, text.into()),
            }
            .map(Into::into)
            .map_err(|_| FAILED)
        }

        pub(crate) fn open(
            &self,
            nonce: [u8; NONCE_LEN],
            aad: &[u8],
            text: &mut [u8],
            tag: &[u8; TAG_LEN],
        ) -> Result<(), CryptoError> {
            match self {
                Self::Aes128(key) => key.decrypt_inout_detached(&nonce.into(), aad, text.into(), tag.into()),
                Self::Aes256(key) => key.decrypt_inout_detached(&nonce.into(), aad, text.into(), tag.into()),
            }
            .map_err(|_| CryptoError::NotOpened)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_and_portable_agree_both_ways() {
        for (key, aad) in [
            (vec![7; 16], &b""[..]),
            (vec![7; 32], b""),
            (vec![9; 32], b"context"),
        ] {
            let native = native::Cipher::new(&key).unwrap();
            let portable = portable::Cipher::new(&key).unwrap();
            for len in [0, 1, 15, 16, 17, 255, 4096, 70_001] {
                let plaintext: Vec<u8> = (0..=250).cycle().take(len).collect();
                let nonce = [key[0]; NONCE_LEN];
                let (mut one, mut two) = (plaintext.clone(), plaintext.clone());
                let tag = native.seal(nonce, aad, &mut one).unwrap();
                assert_eq!(portable.seal(nonce, aad, &mut two).unwrap(), tag);
                assert_eq!(one, two);
                portable.open(nonce, aad, &mut one, &tag).unwrap();
                native.open(nonce, aad, &mut two, &tag).unwrap();
                assert_eq!((&one, &two), (&plaintext, &plaintext));
                assert!(portable.open(nonce, b"other", &mut one, &tag).is_err());
                assert!(native.open(nonce, b"other", &mut two, &tag).is_err());
            }
        }
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let cipher = Cipher::new(&[1; 32]).unwrap();
        let mut text = *b"secret words";
        let mut tag = cipher.seal([0; NONCE_LEN], b"", &mut text).unwrap();
        tag[15] ^= 1;
        assert_eq!(
            cipher.open([0; NONCE_LEN], b"", &mut text, &tag),
            Err(CryptoError::NotOpened)
        );
        assert_eq!(text, [0; 12]);
    }

    #[test]
    fn only_two_key_lengths_exist() {
        for len in [0, 15, 17, 24, 31, 33] {
            assert_eq!(native::Cipher::new(&vec![0; len]).err(), Some(WRONG_KEY));
            assert_eq!(portable::Cipher::new(&vec![0; len]).err(), Some(WRONG_KEY));
        }
    }
}
