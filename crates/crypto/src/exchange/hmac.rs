//! HMAC (RFC 2104) with SHA-256, SHA-384 or SHA-512, whole tags.
//!
//! Native builds use aws-lc-rs; WebAssembly, where that library does not build, uses RustCrypto. Both
//! are compiled natively under test and checked against each other.

use super::{Algorithm, material::WRONG_ALGORITHM};
use crate::CryptoError;

#[cfg(not(target_family = "wasm"))]
pub(super) use native::{Key, Stream};
#[cfg(target_family = "wasm")]
pub(super) use portable::{Key, Stream};

/// HMAC by aws-lc-rs. `HMAC_CTX_cleanup`, which is called when a key or context is dropped, wipes it.
#[cfg(not(target_family = "wasm"))]
mod native {
    use aws_lc_rs::hmac;
    use zeroize::Zeroizing;

    use super::{Algorithm, CryptoError, WRONG_ALGORITHM};

    pub(crate) struct Key(Box<hmac::Key>);

    impl Key {
        pub(crate) fn new(algorithm: Algorithm, key: &[u8]) -> Result<Self, CryptoError> {
            let hash = match algorithm {
                Algorithm::HmacSha256 => hmac::HMAC_SHA256,
                Algorithm::HmacSha384 => hmac::HMAC_SHA384,
                Algorithm::HmacSha512 => hmac::HMAC_SHA512,
                _ => return Err(WRONG_ALGORITHM),
            };
            Ok(Self(Box::new(hmac::Key::new(hash, key))))
        }

        pub(crate) fn stream(&self) -> Stream {
            Stream(Box::new(hmac::Context::with_key(&self.0)))
        }
    }

    pub(crate) struct Stream(Box<hmac::Context>);

    impl Stream {
        pub(crate) fn update(&mut self, piece: &[u8]) {
            self.0.update(piece);
        }

        pub(crate) fn finish(self) -> Zeroizing<Vec<u8>> {
            // Of a copy: what is moved out of a box leaves its bytes there, and nobody wipes them.
            let context = hmac::Context::clone(&self.0);
            Zeroizing::new(context.sign().as_ref().to_vec())
        }
    }
}

/// HMAC by RustCrypto: where aws-lc does not run, and the oracle of `native` in tests. Feature `zeroize`
/// wipes the hash states that are made of the key.
#[cfg(any(target_family = "wasm", test))]
mod portable {
    use ::hmac::{Hmac, KeyInit, Mac};
    use sha2::{Sha256, Sha384, Sha512};
    use zeroize::Zeroizing;

    use super::{Algorithm, CryptoError, WRONG_ALGORITHM};

    const FAILED: CryptoError = CryptoError::Internal("HMAC");

    pub(crate) struct Key(Stream);

    impl Key {
        pub(crate) fn new(algorithm: Algorithm, key: &[u8]) -> Result<Self, CryptoError> {
            let begun = match algorithm {
                Algorithm::HmacSha256 => Hmac::new_from_slice(key).map(|mac| Stream::Sha256(Box::new(mac))),
                Algorithm::HmacSha384 => Hmac::new_from_slice(key).map(|mac| Stream::Sha384(Box::new(mac))),
                Algorithm::HmacSha512 => Hmac::new_from_slice(key).map(|mac| Stream::Sha512(Box::new(mac))),
                _ => return Err(WRONG_ALGORITHM),
            };
            begun.map(Self).map_err(|_| FAILED)
        }

        pub(crate) fn stream(&self) -> Stream {
            self.0.clone()
        }
    }

    #[derive(Clone)]
    pub(crate) enum Stream {
        Sha256(Box<Hmac<Sha256>>),
        Sha384(Box<Hmac<Sha384>>),
        Sha512(Box<Hmac<Sha512>>),
    }

    impl Stream {
        pub(crate) fn update(&mut self, piece: &[u8]) {
            match self {
                Self::Sha256(mac) => mac.update(piece),
                Self::Sha384(mac) => mac.update(piece),
                Self::Sha512(mac) => mac.update(piece),
            }
        }

        pub(crate) fn finish(self) -> Zeroizing<Vec<u8>> {
            // Of a copy: what is moved out of a box leaves its bytes there, and nobody wipes them.
            Zeroizing::new(match self {
                Self::Sha256(mac) => Hmac::clone(&mac).finalize().into_bytes().to_vec(),
                Self::Sha384(mac) => Hmac::clone(&mac).finalize().into_bytes().to_vec(),
                Self::Sha512(mac) => Hmac::clone(&mac).finalize().into_bytes().to_vec(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, WRONG_ALGORITHM, native, portable};

    const ALGORITHMS: [Algorithm; 3] = [
        Algorithm::HmacSha256,
        Algorithm::HmacSha384,
        Algorithm::HmacSha512,
    ];

    fn both(algorithm: Algorithm, key: &[u8], pieces: &[&[u8]]) -> [String; 2] {
        let mut one = native::Key::new(algorithm, key).unwrap().stream();
        let mut two = portable::Key::new(algorithm, key).unwrap().stream();
        pieces.iter().for_each(|piece| one.update(piece));
        pieces.iter().for_each(|piece| two.update(piece));
        [hex::encode(&*one.finish()), hex::encode(&*two.finish())]
    }

    /// RFC 4231, 4.2 and 4.3.
    #[test]
    fn examples_of_the_rfc_in_both_backends() {
        let first = [
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4\
             be9d914eeb61f1702e696c203a126854",
        ];
        let second = [
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd\
             caeab1a34d4a6b4b636e070a38bce737",
        ];
        for (algorithm, (first, second)) in ALGORITHMS.into_iter().zip(first.into_iter().zip(second)) {
            assert_eq!(both(algorithm, &[0x0b; 20], &[b"Hi There"]), [first; 2]);
            let pieces: [&[u8]; 3] = [b"what do ya", b"", b" want for nothing?"];
            assert_eq!(both(algorithm, b"Jefe", &pieces), [second; 2]);
        }
    }

    #[test]
    fn native_and_portable_agree() {
        let message: Vec<u8> = (0..=250).cycle().take(3000).collect();
        for algorithm in ALGORITHMS {
            for len in [0, 1, 63, 64, 65, 127, 128, 129, 3000] {
                let (one, two) = message[..len].split_at(len / 3);
                let [native, portable] = both(algorithm, &message[..algorithm.key_len()], &[one, two]);
                assert_eq!(native, portable);
                assert_eq!(native.len(), algorithm.key_len() * 2);
            }
        }
        assert_eq!(
            native::Key::new(Algorithm::A128Kw, &[]).err(),
            Some(WRONG_ALGORITHM)
        );
        assert_eq!(
            portable::Key::new(Algorithm::A128Kw, &[]).err(),
            Some(WRONG_ALGORITHM)
        );
    }
}
