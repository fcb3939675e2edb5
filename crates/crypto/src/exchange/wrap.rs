//! Wrapping keys with AES key wrap (RFC 3394, SP 800-38F KW).

use core::fmt;

use aes_kw::{IV_LEN, KeyInit, KwAes128, KwAes256};
use zeroize::Zeroizing;

use super::{Algorithm, Material, Operation, check_prefix, material::WRONG_ALGORITHM};
use crate::{CryptoError, SecretBytes};

/// Fewest bytes of a key to wrap.
pub const MIN_WRAPPED: usize = 16;
/// Most bytes of a key to wrap.
pub const MAX_WRAPPED: usize = 4096;

/// Wraps keys: encrypts them so that a change is noticed. The same key gives the same output.
pub struct Wrapper {
    algorithm: Algorithm,
    key: Key,
}

impl Wrapper {
    /// A handle of material for [`Operation::Wrap`].
    ///
    /// # Errors
    /// [`CryptoError::NotPermitted`] if the material is for another operation.
    pub fn new(material: &Material) -> Result<Self, CryptoError> {
        let bytes = material.for_operation(Operation::Wrap)?;
        let algorithm = material.algorithm();
        Ok(Self {
            algorithm,
            key: Key::new(algorithm, bytes)?,
        })
    }

    /// What the key is for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Wraps `key`, [`MIN_WRAPPED`] to [`MAX_WRAPPED`] bytes and a multiple of 8. The output is 8 bytes
    /// longer.
    ///
    /// # Errors
    /// [`CryptoError::WrongLength`] for any other length.
    pub fn wrap(&self, key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.wrap_into(&[], key)
    }

    /// The same with `prefix` in front, which is not authenticated.
    ///
    /// # Errors
    /// As [`wrap`](Self::wrap), and [`CryptoError::LimitReached`] for a prefix above
    /// [`MAX_PREFIX`](super::MAX_PREFIX).
    pub fn wrap_into(&self, prefix: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        check_prefix(prefix)?;
        check_key_len(key.len())?;
        let len = key.len().saturating_add(IV_LEN);
        let mut output = vec![0; prefix.len().saturating_add(len)];
        let (start, wrapped) = output.split_at_mut(prefix.len());
        start.copy_from_slice(prefix);
        match &self.key {
            Key::Aes128(cipher) => cipher.wrap_key(key, wrapped),
            Key::Aes256(cipher) => cipher.wrap_key(key, wrapped),
        }
        .map_err(|_| CryptoError::Internal("AES key wrap"))?;
        Ok(output)
    }
}

impl fmt::Debug for Wrapper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wrapper({}, redacted)", self.algorithm)
    }
}

/// Unwraps what a [`Wrapper`] wrapped.
pub struct Unwrapper {
    algorithm: Algorithm,
    key: Key,
}

impl Unwrapper {
    /// A handle of material for [`Operation::Unwrap`].
    ///
    /// # Errors
    /// [`CryptoError::NotPermitted`] if the material is for another operation.
    pub fn new(material: &Material) -> Result<Self, CryptoError> {
        let bytes = material.for_operation(Operation::Unwrap)?;
        let algorithm = material.algorithm();
        Ok(Self {
            algorithm,
            key: Key::new(algorithm, bytes)?,
        })
    }

    /// What the key is for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key that was wrapped.
    ///
    /// # Errors
    /// [`CryptoError::NotOpened`] for a wrong key, and altered, short or long bytes.
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<SecretBytes, CryptoError> {
        let len = wrapped
            .len()
            .checked_sub(IV_LEN)
            .filter(|len| check_key_len(*len).is_ok())
            .ok_or(CryptoError::NotOpened)?;
        let mut key = Zeroizing::new(vec![0; len]);
        match &self.key {
            Key::Aes128(cipher) => cipher.unwrap_key(wrapped, &mut key),
            Key::Aes256(cipher) => cipher.unwrap_key(wrapped, &mut key),
        }
        .map_err(|_| CryptoError::NotOpened)?;
        Ok(SecretBytes::new(core::mem::take(&mut *key)))
    }
}

impl fmt::Debug for Unwrapper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unwrapper({}, redacted)", self.algorithm)
    }
}

/// Expanded keys; feature `zeroize` of `aes` wipes them. RustCrypto on every platform: what is wrapped is
/// short.
enum Key {
    Aes128(Box<KwAes128>),
    Aes256(Box<KwAes256>),
}

impl Key {
    fn new(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, CryptoError> {
        match algorithm {
            Algorithm::A128Kw => KwAes128::new_from_slice(bytes).map(|key| Self::Aes128(Box::new(key))),
            Algorithm::A256Kw => KwAes256::new_from_slice(bytes).map(|key| Self::Aes256(Box::new(key))),
            _ => return Err(WRONG_ALGORITHM),
        }
        .map_err(|_| CryptoError::MalformedKey("wrong length"))
    }
}

const fn check_key_len(len: usize) -> Result<(), CryptoError> {
    if len < MIN_WRAPPED || len > MAX_WRAPPED || !len.is_multiple_of(IV_LEN) {
        return Err(CryptoError::WrongLength(
            "a key to wrap has 16 to 4096 bytes, a multiple of 8",
        ));
    }
    Ok(())
}
