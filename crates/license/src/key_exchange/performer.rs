//! Whatever operation a ring is for, where that is known only when the program runs.

use keyward_crypto::{SecretBytes, exchange::Operation};
use rand_core::CryptoRng;

use super::{About, Decryptor, Encryptor, ExchangeError, Ring, Signer, Unwrapper, Verifier, Wrapper};

/// The handle of a ring, whichever it is.
#[derive(Debug)]
#[non_exhaustive]
pub enum Performer {
    /// To encrypt.
    Encryptor(Encryptor),
    /// To decrypt.
    Decryptor(Decryptor),
    /// To sign.
    Signer(Signer),
    /// To verify.
    Verifier(Verifier),
    /// To wrap.
    Wrapper(Wrapper),
    /// To unwrap.
    Unwrapper(Unwrapper),
}

/// What one call takes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Input<'a> {
    /// What is encrypted, signed, verified or wrapped; the result that is decrypted or unwrapped.
    pub data: &'a [u8],
    /// Additional data, to encrypt and decrypt with GCM; otherwise empty.
    pub aad: &'a [u8],
    /// The result of signing `data`, to verify it; otherwise absent.
    pub signature: Option<&'a [u8]>,
}

/// What one call gives.
#[derive(Debug)]
pub enum Output {
    /// A result: of encrypt, sign and wrap.
    Result(Vec<u8>),
    /// What was in a result: of decrypt and unwrap.
    Secret(SecretBytes),
    /// It verifies.
    Verified,
}

impl Performer {
    /// The handle of a ring.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub fn new(ring: Ring) -> Result<Self, ExchangeError> {
        match ring.about().operation {
            Operation::Encrypt => Encryptor::new(ring).map(Self::Encryptor),
            Operation::Decrypt => Decryptor::new(ring).map(Self::Decryptor),
            Operation::Sign => Signer::new(ring).map(Self::Signer),
            Operation::Verify => Verifier::new(ring).map(Self::Verifier),
            Operation::Wrap => Wrapper::new(ring).map(Self::Wrapper),
            Operation::Unwrap => Unwrapper::new(ring).map(Self::Unwrapper),
        }
    }

    /// What is public about its key.
    #[must_use]
    pub const fn about(&self) -> &About {
        match self {
            Self::Encryptor(key) => key.about(),
            Self::Decryptor(key) => key.about(),
            Self::Signer(key) => key.about(),
            Self::Verifier(key) => key.about(),
            Self::Wrapper(key) => key.about(),
            Self::Unwrapper(key) => key.about(),
        }
    }

    /// Does the operation once.
    ///
    /// # Errors
    /// [`ExchangeError::WrongInput`] for an input that the operation does not take, and as the handles.
    pub fn perform(
        &self,
        input: &Input<'_>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Output, ExchangeError> {
        let Input { data, aad, signature } = *input;
        let About {
            operation, algorithm, ..
        } = *self.about();
        if !aad.is_empty() && !algorithm.takes_aad() {
            return Err(ExchangeError::NoAdditionalData(algorithm));
        }
        match (self, signature) {
            (Self::Encryptor(key), None) => key.encrypt(aad, data, rng).map(Output::Result),
            (Self::Decryptor(key), None) => key.decrypt(aad, data).map(Output::Secret),
            (Self::Signer(key), None) => key.sign(data).map(Output::Result),
            (Self::Verifier(key), Some(signature)) => key.verify(data, signature).map(|()| Output::Verified),
            (Self::Wrapper(key), None) => key.wrap(data).map(Output::Result),
            (Self::Unwrapper(key), None) => key.unwrap(data).map(Output::Secret),
            _ => Err(ExchangeError::WrongInput(operation)),
        }
    }
}
