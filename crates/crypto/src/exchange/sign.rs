//! Signing and verifying: HMAC, ESP256 and Ed25519.

use core::fmt;
use std::sync::Arc;

use super::{
    Algorithm, Counted, Material, Operation, check_message, check_prefix, ed25519, hmac,
    material::WRONG_ALGORITHM,
};
use crate::{
    CryptoError, Secret,
    ecdsa::{self, Signer as _},
    kdf,
};

/// Makes signatures, or tags of HMAC.
pub struct Signer {
    algorithm: Algorithm,
    key: Signing,
}

enum Signing {
    Hmac(hmac::Key),
    // Shared with its streams, which sign at their end.
    Esp256(Arc<ecdsa::SigningKey>),
    Ed25519(ed25519::SigningKey),
}

impl Signer {
    /// A handle of material for [`Operation::Sign`].
    ///
    /// # Errors
    /// [`CryptoError::NotPermitted`] if the material is for another operation.
    pub fn new(material: &Material) -> Result<Self, CryptoError> {
        let bytes = material.for_operation(Operation::Sign)?;
        let algorithm = material.algorithm();
        let key = match algorithm {
            Algorithm::HmacSha256 | Algorithm::HmacSha384 | Algorithm::HmacSha512 => {
                Signing::Hmac(hmac::Key::new(algorithm, bytes)?)
            }
            Algorithm::Esp256 => {
                let key = ecdsa::SigningKey::from_scalar(Secret::from_slice(bytes)?)?;
                Signing::Esp256(Arc::new(key))
            }
            Algorithm::Ed25519 => Signing::Ed25519(ed25519::SigningKey::new(bytes)?),
            _ => return Err(WRONG_ALGORITHM),
        };
        Ok(Self { algorithm, key })
    }

    /// What the key is for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Signs `message`: the tag of HMAC, `r ‖ s` of ESP256 (32 big-endian bytes each), or the signature
    /// of Ed25519.
    ///
    /// ESP256 draws the secret of each signature from the operating system (aws-lc does it itself), or
    /// from key and message where aws-lc does not build (RFC 6979); the others draw nothing.
    ///
    /// # Errors
    /// [`CryptoError::LimitReached`] for a message above [`MAX_MESSAGE`](super::MAX_MESSAGE).
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.sign_into(&[], message)
    }

    /// The same with `prefix` in front, which is not signed.
    ///
    /// # Errors
    /// As [`sign`](Self::sign), and [`CryptoError::LimitReached`] for a prefix above
    /// [`MAX_PREFIX`](super::MAX_PREFIX).
    pub fn sign_into(&self, prefix: &[u8], message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        check_prefix(prefix)?;
        check_message(message.len())?;
        let mut output = prefix.to_vec();
        match &self.key {
            Signing::Hmac(key) => {
                let mut stream = key.stream();
                stream.update(message);
                output.extend_from_slice(&stream.finish());
            }
            Signing::Esp256(key) => output.extend_from_slice(&key.sign(message)?),
            Signing::Ed25519(key) => output.extend_from_slice(&key.sign(message)?),
        }
        Ok(output)
    }

    /// Begins a message that comes piece by piece. Its signature is that of the whole message.
    ///
    /// # Errors
    /// [`CryptoError::NotPermitted`] for Ed25519, which reads its message twice.
    pub fn stream(&self) -> Result<StreamSigner, CryptoError> {
        let state = match &self.key {
            Signing::Hmac(key) => SigningState::Hmac(key.stream()),
            Signing::Esp256(key) => SigningState::Esp256(Arc::clone(key), ecdsa::Hasher::new()),
            Signing::Ed25519(_) => return Err(NOT_STREAMED),
        };
        Ok(StreamSigner {
            counted: Counted::MESSAGE,
            state,
        })
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({}, redacted)", self.algorithm)
    }
}

/// Checks signatures, or tags of HMAC.
pub struct Verifier {
    algorithm: Algorithm,
    key: Verifying,
}

enum Verifying {
    Hmac(hmac::Key),
    Esp256(Box<ecdsa::PublicKey>),
    Ed25519(Box<ed25519::PublicKey>),
}

impl Verifier {
    /// A handle of material for [`Operation::Verify`].
    ///
    /// # Errors
    /// [`CryptoError::NotPermitted`] if the material is for another operation.
    pub fn new(material: &Material) -> Result<Self, CryptoError> {
        let bytes = material.for_operation(Operation::Verify)?;
        let algorithm = material.algorithm();
        let key = match algorithm {
            Algorithm::HmacSha256 | Algorithm::HmacSha384 | Algorithm::HmacSha512 => {
                Verifying::Hmac(hmac::Key::new(algorithm, bytes)?)
            }
            Algorithm::Esp256 => Verifying::Esp256(Box::new(ecdsa::PublicKey::from_point(bytes)?)),
            Algorithm::Ed25519 => Verifying::Ed25519(Box::new(ed25519::PublicKey::new(bytes)?)),
            _ => return Err(WRONG_ALGORITHM),
        };
        Ok(Self { algorithm, key })
    }

    /// What the key is for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Checks that `signature` is one of `message`. Tags are compared in constant time, and only whole.
    ///
    /// # Errors
    /// [`CryptoError::BadSignature`] if it is not; [`CryptoError::LimitReached`] for a message above
    /// [`MAX_MESSAGE`](super::MAX_MESSAGE).
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        check_message(message.len())?;
        match &self.key {
            Verifying::Hmac(key) => {
                let mut stream = key.stream();
                stream.update(message);
                check_tag(&stream.finish(), signature)
            }
            Verifying::Esp256(key) => key.verify(message, signature),
            Verifying::Ed25519(key) => key.verify(message, signature),
        }
    }

    /// Begins a message that comes piece by piece.
    ///
    /// # Errors
    /// [`CryptoError::NotPermitted`] for Ed25519.
    pub fn stream(&self) -> Result<StreamVerifier, CryptoError> {
        let state = match &self.key {
            Verifying::Hmac(key) => VerifyingState::Hmac(key.stream()),
            Verifying::Esp256(key) => VerifyingState::Esp256(key.clone(), ecdsa::Hasher::new()),
            Verifying::Ed25519(_) => return Err(NOT_STREAMED),
        };
        Ok(StreamVerifier {
            counted: Counted::MESSAGE,
            state,
        })
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({}, redacted)", self.algorithm)
    }
}

/// A message that is being signed, see [`Signer::stream`]. It holds the key until it is dropped.
pub struct StreamSigner {
    counted: Counted,
    state: SigningState,
}

enum SigningState {
    Hmac(hmac::Stream),
    Esp256(Arc<ecdsa::SigningKey>, ecdsa::Hasher),
}

impl StreamSigner {
    /// Takes the next piece.
    ///
    /// # Errors
    /// [`CryptoError::LimitReached`] above [`MAX_STREAM`](super::MAX_STREAM) bytes.
    pub fn update(&mut self, piece: &[u8]) -> Result<(), CryptoError> {
        self.counted.add(piece)?;
        match &mut self.state {
            SigningState::Hmac(stream) => stream.update(piece),
            SigningState::Esp256(_, hasher) => hasher.update(piece),
        }
        Ok(())
    }

    /// The signature of all pieces.
    ///
    /// # Errors
    /// [`CryptoError::LimitReached`] if a piece was refused.
    pub fn finish(self) -> Result<Vec<u8>, CryptoError> {
        self.counted.check()?;
        match self.state {
            SigningState::Hmac(stream) => Ok(stream.finish().to_vec()),
            SigningState::Esp256(key, hasher) => Ok(key.sign_hashed(hasher)?.to_vec()),
        }
    }
}

impl fmt::Debug for StreamSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamSigner(redacted)")
    }
}

/// A message whose signature is being checked, see [`Verifier::stream`].
///
/// Nothing that was put in is known to be genuine before [`finish`](Self::finish) says so.
pub struct StreamVerifier {
    counted: Counted,
    state: VerifyingState,
}

enum VerifyingState {
    Hmac(hmac::Stream),
    Esp256(Box<ecdsa::PublicKey>, ecdsa::Hasher),
}

impl StreamVerifier {
    /// Takes the next piece.
    ///
    /// # Errors
    /// [`CryptoError::LimitReached`] above [`MAX_STREAM`](super::MAX_STREAM) bytes.
    pub fn update(&mut self, piece: &[u8]) -> Result<(), CryptoError> {
        self.counted.add(piece)?;
        match &mut self.state {
            VerifyingState::Hmac(stream) => stream.update(piece),
            VerifyingState::Esp256(_, hasher) => hasher.update(piece),
        }
        Ok(())
    }

    /// Checks that `signature` is one of all pieces.
    ///
    /// # Errors
    /// [`CryptoError::BadSignature`] if it is not; [`CryptoError::LimitReached`] if a piece was refused.
    pub fn finish(self, signature: &[u8]) -> Result<(), CryptoError> {
        self.counted.check()?;
        match self.state {
            VerifyingState::Hmac(stream) => check_tag(&stream.finish(), signature),
            VerifyingState::Esp256(key, hasher) => key.verify_hashed(hasher, signature),
        }
    }
}

impl fmt::Debug for StreamVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamVerifier(redacted)")
    }
}

const NOT_STREAMED: CryptoError =
    CryptoError::NotPermitted("Ed25519 needs the whole message at once and is not streamed");

fn check_tag(right: &[u8], claimed: &[u8]) -> Result<(), CryptoError> {
    if kdf::equal_constant_time(right, claimed) {
        Ok(())
    } else {
        Err(CryptoError::BadSignature)
    }
}
