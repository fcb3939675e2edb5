//! The operations: one on each type, and no other.

use keyward_crypto::SecretBytes;
use keyward_license::key_exchange::{Around, ExchangeError};
use rand_core::CryptoRng;

use super::{
    DecryptStream, Decryptor, EncryptStream, Encryptor, PerformError, Prepared, SignStream, Signer,
    Unwrapper, Verifier, VerifyStream, Wrapper, flows::Tool,
};
use crate::flow::Moment;

impl Encryptor {
    /// Encrypts a message of at most 64 MiB. The result begins with the version of the key; the nonce is fresh, drawn
    /// from `rng`. With CBC and CTR the result is not authenticated. `aad` is for GCM alone, and equals the key's
    /// context if it has one.
    ///
    /// # Errors
    /// [`PerformError`].
    pub fn encrypt(
        &self,
        moment: Moment,
        aad: &[u8],
        plaintext: &[u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Vec<u8>, PerformError> {
        self.perform(moment, |key| key.encrypt(aad, plaintext, rng))
    }

    /// [`Encryptor::encrypt`] where the message stands: the result is [`Around::front`], the buffer,
    /// [`Around::tag`]. Not with CBC, whose padding has no room.
    ///
    /// # Errors
    /// [`PerformError`].
    pub fn encrypt_in_place(
        &self,
        moment: Moment,
        aad: &[u8],
        buffer: &mut [u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Around, PerformError> {
        let encrypt = |key: &keyward_license::key_exchange::Encryptor| key.encrypt_in_place(aad, buffer, rng);
        self.perform(moment, encrypt)
    }

    /// Begins a message that comes in pieces, of any size together. With GCM the result is of another format than that
    /// of [`Encryptor::encrypt`]. It counts as one use.
    ///
    /// # Errors
    /// [`PerformError`].
    pub fn stream(
        &self,
        moment: Moment,
        aad: &[u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<EncryptStream<'_>, PerformError> {
        EncryptStream::begin(&self.inner, moment, |key| key.stream(aad, rng))
    }
}

impl Decryptor {
    /// Decrypts the result of a message. With CBC and CTR nothing says who made it.
    ///
    /// # Errors
    /// [`PerformError`].
    pub fn decrypt(&self, moment: Moment, aad: &[u8], result: &[u8]) -> Result<SecretBytes, PerformError> {
        self.perform(moment, |key| key.decrypt(aad, result))
    }

    /// [`Decryptor::decrypt`] where the result stands; returns the part of it that is the plaintext now.
    ///
    /// # Errors
    /// [`PerformError`]; then nothing of the plaintext is left in `result`.
    pub fn decrypt_in_place<'b>(
        &self,
        moment: Moment,
        aad: &[u8],
        result: &'b mut [u8],
    ) -> Result<&'b mut [u8], PerformError> {
        self.perform(moment, move |key| key.decrypt_in_place(aad, result))
    }

    /// Begins the result of a stream. It counts as one use.
    ///
    /// # Errors
    /// [`PerformError`].
    pub fn stream(&self, moment: Moment, aad: &[u8]) -> Result<DecryptStream<'_>, PerformError> {
        DecryptStream::begin(&self.inner, moment, |key| key.stream(aad))
    }
}

impl Signer {
    /// Signs a message, or makes its authentication code.
    ///
    /// # Errors
    /// [`PerformError`].
    pub fn sign(&self, moment: Moment, message: &[u8]) -> Result<Vec<u8>, PerformError> {
        self.perform(moment, |key| key.sign(message))
    }

    /// Begins a message that comes in pieces; the result is that of [`Signer::sign`]. It counts as one use. Not with
    /// Ed25519, which needs the whole message.
    ///
    /// # Errors
    /// [`PerformError`].
    pub fn stream(&self, moment: Moment) -> Result<SignStream<'_>, PerformError> {
        SignStream::begin(&self.inner, moment, keyward_license::key_exchange::Signer::stream)
    }
}

impl Verifier {
    /// Verifies the signature, or the authentication code, of a message.
    ///
    /// # Errors
    /// [`PerformError`]: it is not one, or the license does not permit to say.
    pub fn verify(&self, moment: Moment, message: &[u8], result: &[u8]) -> Result<(), PerformError> {
        self.perform(moment, |key| key.verify(message, result))
    }

    /// Begins a message that comes in pieces, of which `result` was made. It counts as one use. Not with Ed25519.
    ///
    /// # Errors
    /// [`PerformError`].
    pub fn stream(&self, moment: Moment, result: &[u8]) -> Result<VerifyStream<'_>, PerformError> {
        VerifyStream::begin(&self.inner, moment, |key| key.stream(result))
    }
}

impl Wrapper {
    /// Wraps a key of 16 to 4096 bytes, a multiple of 8.
    ///
    /// # Errors
    /// [`PerformError`].
    pub fn wrap(&self, moment: Moment, key_to_wrap: &[u8]) -> Result<Vec<u8>, PerformError> {
        self.perform(moment, |key| key.wrap(key_to_wrap))
    }
}

impl Unwrapper {
    /// Unwraps a key.
    ///
    /// # Errors
    /// [`PerformError`].
    pub fn unwrap(&self, moment: Moment, result: &[u8]) -> Result<SecretBytes, PerformError> {
        self.perform(moment, |key| key.unwrap(result))
    }
}

impl<T> Prepared<T> {
    fn perform<V>(
        &self,
        moment: Moment,
        use_key: impl FnOnce(&T) -> Result<V, ExchangeError>,
    ) -> Result<V, PerformError>
    where
        T: Tool,
    {
        self.inner.perform(moment, use_key)
    }
}
