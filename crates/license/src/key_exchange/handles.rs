//! The handles: one type for each operation.

use core::sync::atomic::{AtomicU64, Ordering};

use keyward_crypto::{
    CryptoError, SecretBytes,
    exchange::{self, Algorithm, DEFAULT_CHUNK_LOG2, MAX_AAD, MAX_MESSAGE, Material, Operation},
};
use rand_core::CryptoRng;

use super::{
    About, ExchangeError, MAX_MESSAGES, Ring, StreamDecryptor, StreamEncryptor, StreamSigner, StreamVerifier,
    VERSION_LEN,
};

/// Declares a handle over all versions of a ring, or over the newest alone.
macro_rules! handle {
    ($(#[$doc:meta])* $name:ident, $operation:ident, $versions:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(Keys<exchange::$name>);

        impl $name {
            /// The handle of a ring.
            ///
            /// # Errors
            /// [`ExchangeError::WrongOperation`] if the ring is for another operation.
            pub fn new(ring: Ring) -> Result<Self, ExchangeError> {
                Keys::$versions(ring, Operation::$operation, exchange::$name::new).map(Self)
            }

            /// What is public about its key.
            #[must_use]
            pub const fn about(&self) -> &About {
                &self.0.about
            }
        }
    };
}

/// Encrypts. The results begin with the newest version.
#[derive(Debug)]
pub struct Encryptor {
    keys: Keys<exchange::Encryptor>,
    messages: AtomicU64,
}

handle!(
    /// Decrypts results of every version of its ring.
    Decryptor, Decrypt, all
);
handle!(
    /// Signs, or makes message authentication codes. The results begin with the newest version.
    Signer, Sign, newest
);
handle!(
    /// Verifies results of every version of its ring.
    Verifier, Verify, all
);
handle!(
    /// Wraps other keys. The results begin with the newest version.
    Wrapper, Wrap, newest
);
handle!(
    /// Unwraps results of every version of its ring.
    Unwrapper, Unwrap, all
);

impl Encryptor {
    /// The handle of a ring.
    ///
    /// # Errors
    /// [`ExchangeError::WrongOperation`] if the ring is for another operation.
    pub fn new(ring: Ring) -> Result<Self, ExchangeError> {
        Ok(Self {
            keys: Keys::newest(ring, Operation::Encrypt, exchange::Encryptor::new)?,
            messages: AtomicU64::new(0),
        })
    }

    /// What is public about its key.
    #[must_use]
    pub const fn about(&self) -> &About {
        &self.keys.about
    }

    /// Encrypts a message of at most [`MAX_MESSAGE`] bytes, with a nonce drawn from `rng`.
    ///
    /// # Errors
    /// [`ExchangeError`]: too large, additional data that is not the context or not taken, or R-052.
    pub fn encrypt(
        &self,
        aad: &[u8],
        plaintext: &[u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Vec<u8>, ExchangeError> {
        self.keys.check(aad, plaintext.len())?;
        let (version, key) = self.keys.produces()?;
        self.count()?;
        self.keys.outcome(key.encrypt_into(&version, aad, plaintext, rng))
    }

    /// Encrypts `buffer` where it stands. The result is [`Around::front`], `buffer`, [`Around::tag`].
    ///
    /// # Errors
    /// As [`Encryptor::encrypt`]; [`ExchangeError::NotInPlace`] for CBC, which pads.
    pub fn encrypt_in_place(
        &self,
        aad: &[u8],
        buffer: &mut [u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Around, ExchangeError> {
        let algorithm = self.about().algorithm;
        if matches!(algorithm, Algorithm::A128Cbc | Algorithm::A256Cbc) {
            return Err(ExchangeError::NotInPlace(algorithm));
        }
        self.keys.check(aad, buffer.len())?;
        let (version, key) = self.keys.produces()?;
        self.count()?;
        let detached = self.keys.outcome(key.encrypt_in_place(aad, buffer, rng))?;
        Ok(Around {
            front: [&version, detached.start()].concat(),
            tag: detached.tag().to_vec(),
        })
    }

    /// Begins a stream, with chunks of 64 KiB.
    ///
    /// # Errors
    /// As [`Encryptor::encrypt`]. A stream counts as one message.
    pub fn stream(
        &self,
        aad: &[u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<StreamEncryptor, ExchangeError> {
        self.stream_with_chunks(aad, DEFAULT_CHUNK_LOG2, rng)
    }

    /// Begins a stream with chunks of 2^`log2` bytes, from 2^12 to 2^20. Of GCM alone; the others have none.
    ///
    /// # Errors
    /// As [`Encryptor::stream`].
    pub fn stream_with_chunks(
        &self,
        aad: &[u8],
        log2: u8,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<StreamEncryptor, ExchangeError> {
        self.keys.check(aad, 0)?;
        let (version, key) = self.keys.produces()?;
        self.count()?;
        let stream = self
            .keys
            .outcome(key.stream_with_chunks(aad, &version, log2, rng))?;
        Ok(StreamEncryptor::new(stream))
    }

    /// no more messages than is safe with random nonces.
    fn count(&self) -> Result<(), ExchangeError> {
        if !self.about().algorithm.takes_aad() {
            return Ok(());
        }
        let next = |messages: u64| {
            messages
                .checked_add(1)
                .filter(|messages| *messages <= MAX_MESSAGES)
        };
        self.messages
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .map_err(|_| ExchangeError::MessagesUsedUp)?;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn has_encrypted(&self, messages: u64) {
        self.messages.store(messages, Ordering::Relaxed);
    }
}

/// What stands around a message that was encrypted in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Around {
    front: Vec<u8>,
    tag: Vec<u8>,
}

impl Around {
    /// What goes in front: the version, and the nonce or first counter block.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        &self.front
    }

    /// What goes behind: the tag of GCM, nothing with CTR.
    #[must_use]
    pub fn tag(&self) -> &[u8] {
        &self.tag
    }
}

impl Decryptor {
    /// Decrypts a result that was made as a message. With CBC and CTR nothing says who made it.
    ///
    /// # Errors
    /// [`ExchangeError`]; V-035: [`ExchangeError::UnknownVersion`], [`ExchangeError::Failed`].
    pub fn decrypt(&self, aad: &[u8], result: &[u8]) -> Result<SecretBytes, ExchangeError> {
        self.0.check(aad, result.len().saturating_sub(OVERHEAD))?;
        let (key, output) = self.0.consumes(result)?;
        self.0.outcome(key.decrypt(aad, output))
    }

    /// Decrypts a result where it stands, and returns the part of it that is now the plaintext.
    ///
    /// # Errors
    /// As [`Decryptor::decrypt`]; then nothing of the plaintext is left in `result`.
    pub fn decrypt_in_place<'a>(
        &self,
        aad: &[u8],
        result: &'a mut [u8],
    ) -> Result<&'a mut [u8], ExchangeError> {
        self.0.check(aad, result.len().saturating_sub(OVERHEAD))?;
        let (key, _) = self.0.consumes(result)?;
        let (_, output) = result.split_at_mut(VERSION_LEN);
        self.0.outcome(key.decrypt_in_place(aad, output))
    }

    /// Begins the result of a stream.
    ///
    /// # Errors
    /// [`ExchangeError`]: additional data that is not the context, or not taken.
    pub fn stream(&self, aad: &[u8]) -> Result<StreamDecryptor, ExchangeError> {
        self.0.check(aad, 0)?;
        let begin = |(version, key): (u32, &exchange::Decryptor)| {
            let stream = self.0.outcome(key.stream(aad, &version.to_be_bytes()))?;
            Ok((version, stream))
        };
        let streams = self.0.each().map(begin).collect::<Result<_, ExchangeError>>()?;
        Ok(StreamDecryptor::new(streams))
    }
}

impl Signer {
    /// Signs a message of at most [`MAX_MESSAGE`] bytes.
    ///
    /// # Errors
    /// [`ExchangeError::LongMessage`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ExchangeError> {
        self.0.check(&[], message.len())?;
        let (version, key) = self.0.produces()?;
        self.0.outcome(key.sign_into(&version, message))
    }

    /// Begins a message that comes piece by piece. The result is the same.
    ///
    /// # Errors
    /// [`ExchangeError::NotStreamed`] for Ed25519.
    pub fn stream(&self) -> Result<StreamSigner, ExchangeError> {
        self.0.streams()?;
        let (version, key) = self.0.produces()?;
        Ok(StreamSigner::new(version, self.0.outcome(key.stream())?))
    }
}

impl Verifier {
    /// Checks that `result` was made by signing `message`.
    ///
    /// # Errors
    /// V-035: [`ExchangeError::Failed`] if it was not, [`ExchangeError::UnknownVersion`], or another
    /// [`ExchangeError`].
    pub fn verify(&self, message: &[u8], result: &[u8]) -> Result<(), ExchangeError> {
        self.0.check(&[], message.len())?;
        let (key, signature) = self.0.consumes(result)?;
        self.0.outcome(key.verify(message, signature))
    }

    /// Begins a message that comes piece by piece. Its result comes first, since that says the version.
    ///
    /// # Errors
    /// [`ExchangeError::NotStreamed`] for Ed25519; V-035: [`ExchangeError::UnknownVersion`].
    pub fn stream(&self, result: &[u8]) -> Result<StreamVerifier, ExchangeError> {
        self.0.streams()?;
        let (key, signature) = self.0.consumes(result)?;
        let stream = self.0.outcome(key.stream())?;
        Ok(StreamVerifier::new(stream, signature.to_vec()))
    }
}

impl Wrapper {
    /// Wraps a key of 16 to 4096 bytes, a multiple of 8.
    ///
    /// # Errors
    /// [`ExchangeError::WrapLength`].
    pub fn wrap(&self, key_to_wrap: &[u8]) -> Result<Vec<u8>, ExchangeError> {
        let (version, key) = self.0.produces()?;
        self.0.outcome(key.wrap_into(&version, key_to_wrap))
    }
}

impl Unwrapper {
    /// Unwraps a key.
    ///
    /// # Errors
    /// V-035: [`ExchangeError::Failed`], [`ExchangeError::UnknownVersion`].
    pub fn unwrap(&self, result: &[u8]) -> Result<SecretBytes, ExchangeError> {
        let (key, wrapped) = self.0.consumes(result)?;
        self.0.outcome(key.unwrap(wrapped))
    }
}

/// The versions of a key, each ready for the operation.
#[derive(Debug)]
struct Keys<T> {
    about: About,
    /// As `about.versions`; of what produces the first alone.
    keys: Vec<T>,
}

impl<T> Keys<T> {
    fn all(
        ring: Ring,
        operation: Operation,
        make: impl Fn(&Material) -> Result<T, CryptoError>,
    ) -> Result<Self, ExchangeError> {
        ring.permit(operation)?;
        let keys = ring.materials.iter().map(make).collect::<Result<_, _>>()?;
        Ok(Self {
            about: ring.about,
            keys,
        })
    }

    fn newest(
        mut ring: Ring,
        operation: Operation,
        make: impl Fn(&Material) -> Result<T, CryptoError>,
    ) -> Result<Self, ExchangeError> {
        ring.materials.truncate(1);
        Self::all(ring, operation, make)
    }

    /// The newest version as a result begins with it, and its key.
    fn produces(&self) -> Result<([u8; VERSION_LEN], &T), ExchangeError> {
        let (version, key) = self.each().next().ok_or(ExchangeError::NotARing)?;
        Ok((version.to_be_bytes(), key))
    }

    /// V-035: the key that the result's version names, and the rest of the result.
    fn consumes<'a>(&self, result: &'a [u8]) -> Result<(&T, &'a [u8]), ExchangeError> {
        let (version, output) = result
            .split_first_chunk::<VERSION_LEN>()
            .ok_or(ExchangeError::NotAResult)?;
        let made_with = u32::from_be_bytes(*version);
        let key = self.each().find(|(version, _)| *version == made_with);
        let (_, key) = key.ok_or_else(|| ExchangeError::UnknownVersion {
            made_with,
            held: self.about.versions.clone(),
        })?;
        Ok((key, output))
    }

    fn each(&self) -> impl Iterator<Item = (u32, &T)> {
        self.about.versions.iter().copied().zip(&self.keys)
    }

    /// R-051, and the bounds of a call.
    fn check(&self, aad: &[u8], message: usize) -> Result<(), ExchangeError> {
        let algorithm = self.about.algorithm;
        if !aad.is_empty() && !algorithm.takes_aad() {
            return Err(ExchangeError::NoAdditionalData(algorithm));
        }
        if self.about.context.as_ref().is_some_and(|context| context != aad) {
            return Err(ExchangeError::WrongContext);
        }
        if aad.len() > MAX_AAD {
            return Err(ExchangeError::LongAdditionalData);
        }
        if message > MAX_MESSAGE {
            return Err(ExchangeError::LongMessage);
        }
        Ok(())
    }

    fn streams(&self) -> Result<(), ExchangeError> {
        let algorithm = self.about.algorithm;
        if algorithm.can_stream() {
            Ok(())
        } else {
            Err(ExchangeError::NotStreamed(algorithm))
        }
    }

    fn outcome<V>(&self, outcome: Result<V, CryptoError>) -> Result<V, ExchangeError> {
        outcome.map_err(|error| ExchangeError::of(error, self.about.operation))
    }
}

/// Most bytes that a result is longer than its plaintext: version, IV and padding.
const OVERHEAD: usize = VERSION_LEN + 32;
