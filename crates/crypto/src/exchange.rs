//! Key exchange: keys for one operation on the application's own data, never on content.
//!
//! The server holds an [`ExchangeKey`]. A client is given [`Material`] for one [`Operation`], and makes
//! of it the one handle that the operation permits:
//!
//! ```text
//!   ExchangeKey ──material(operation)──► Material ──new──► Encryptor   Decryptor     GCM, CBC, CTR
//!   (whole key, on the server)           (one operation)   Signer      Verifier      HMAC, ECDSA, Ed25519
//!                                                          Wrapper     Unwrapper     AES key wrap
//! ```
//!
//! A handle does its operation any number of times and nothing else; material of another operation is
//! refused. A verifier of an asymmetric algorithm holds the public key only, from which there is no way
//! back. Nonces are chosen inside, from the random numbers that the caller hands in.
//!
//! | [`Algorithm`] | output | standard |
//! | --- | --- | --- |
//! | A128GCM, A256GCM | nonce (12) ‖ ciphertext ‖ tag (16) | SP 800-38D, RFC 9053 §4.1 |
//! | A128CBC, A256CBC | IV (16) ‖ ciphertext, padded (PKCS #7) | SP 800-38A, RFC 9459 §5 |
//! | A128CTR, A256CTR | first counter block (16) ‖ ciphertext | SP 800-38A, RFC 9459 §4 |
//! | A128KW, A256KW | wrapped key, 8 bytes longer | RFC 3394, RFC 9053 §6.2.1 |
//! | HMAC256, HMAC384, HMAC512 | tag (32, 48, 64) | RFC 2104, RFC 9053 §3.1 |
//! | ESP256 | r ‖ s (64) | FIPS 186-5, RFC 9864 §2.1 |
//! | Ed25519 | signature (64) | RFC 8032 §5.1, RFC 9864 §2.2 |
//!
//! **CBC and CTR do not authenticate.** Whoever can alter a ciphertext alters the plaintext without
//! being seen, and whoever can have altered ciphertexts decrypted and sees which of them fail reads
//! CBC plaintext byte by byte (a padding oracle). They are there for data of systems that use them; for
//! anything new, take GCM. [`Algorithm::is_authenticated`] tells them apart.
//!
//! Messages are held in memory up to [`MAX_MESSAGE`] bytes; more goes through a stream, in pieces of any
//! size and flat memory. Encryption and decryption with a GCM key stream in a chunked form that never
//! gives out a byte it has not verified (see [`Encryptor::stream`]).
//!
//! Every failure that depends on a secret is one opaque error: [`CryptoError::NotOpened`] or
//! [`CryptoError::BadSignature`]. Key bytes and everything expanded from them stand in the heap and are
//! wiped when they are dropped: by `zeroize` here and in RustCrypto and dalek (their feature of that
//! name), by `OPENSSL_cleanse` in aws-lc. What a library computes on the stack while it works is out of
//! reach, as it is for every library.
//!
//! ```
//! use keyward_crypto::exchange::{Algorithm, Decryptor, Encryptor, ExchangeKey, Operation};
//! # use rand_core::SeedableRng;
//! # let mut rng = rand_chacha::ChaCha20Rng::from_seed([7; 32]);
//! let key = ExchangeKey::generate(Algorithm::A256Gcm, &mut rng);
//! let client = Encryptor::new(&key.material(Operation::Encrypt)?)?;
//! let server = Decryptor::new(&key.material(Operation::Encrypt.mirror())?)?;
//!
//! let output = client.encrypt(b"meter 17", b"42 kWh", &mut rng)?;
//! assert_eq!(server.decrypt(b"meter 17", &output)?.expose(), b"42 kWh");
//! assert!(Decryptor::new(&key.material(Operation::Encrypt)?).is_err());
//! # Ok::<(), keyward_crypto::CryptoError>(())
//! ```

use crate::CryptoError;

mod algorithm;
mod block;
mod chunked;
mod ed25519;
mod encrypt;
mod hmac;
mod material;
mod sign;
mod stream;
mod wrap;

pub use algorithm::{Algorithm, Operation};
pub use chunked::{CHUNK_LOG2, DEFAULT_CHUNK_LOG2, HEADER_LEN};
pub use encrypt::{Decryptor, Detached, Encryptor};
pub use material::{ExchangeKey, Material};
pub use sign::{Signer, StreamSigner, StreamVerifier, Verifier};
pub use stream::{StreamDecryptor, StreamEncryptor};
pub use wrap::{MAX_WRAPPED, MIN_WRAPPED, Unwrapper, Wrapper};

/// Most bytes of a message in memory: plaintext, or what is signed (64 MiB).
pub const MAX_MESSAGE: usize = 1 << 26;
/// Most bytes of a message in a stream (256 TiB), far inside what every algorithm carries.
pub const MAX_STREAM: u64 = 1 << 48;
/// Most bytes of additional authenticated data (64 KiB).
pub const MAX_AAD: usize = 1 << 16;
/// Most bytes of a prefix that is put in front of an output.
pub const MAX_PREFIX: usize = 255;

fn check_message(len: usize) -> Result<(), CryptoError> {
    check_len(len, MAX_MESSAGE, "bytes of a message in memory")
}

/// Additional data is taken by authenticated encryption only: elsewhere it would seem to be bound and
/// is not.
fn check_aad(algorithm: Algorithm, aad: &[u8]) -> Result<(), CryptoError> {
    if !aad.is_empty() && !algorithm.takes_aad() {
        return Err(CryptoError::NotPermitted(
            "the algorithm takes no additional authenticated data",
        ));
    }
    check_len(aad.len(), MAX_AAD, "bytes of additional authenticated data")
}

fn check_prefix(prefix: &[u8]) -> Result<(), CryptoError> {
    check_len(prefix.len(), MAX_PREFIX, "bytes of a prefix")
}

const fn check_len(len: usize, limit: usize, what: &'static str) -> Result<(), CryptoError> {
    if len > limit {
        Err(CryptoError::LimitReached(what))
    } else {
        Ok(())
    }
}

/// The length of a stream so far.
struct Counted {
    bytes: u64,
    limit: u64,
}

impl Counted {
    /// Of a message.
    const MESSAGE: Self = Self {
        bytes: 0,
        limit: MAX_STREAM,
    };
    /// Of the output for a message. The smallest chunks add a 256th part of the message.
    const OUTPUT: Self = Self {
        bytes: 0,
        limit: MAX_STREAM + MAX_STREAM / 128,
    };

    /// Counts a piece.
    fn add(&mut self, piece: &[u8]) -> Result<(), CryptoError> {
        let len = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(len);
        self.check()
    }

    /// Whether all pieces so far were taken.
    const fn check(&self) -> Result<(), CryptoError> {
        if self.bytes > self.limit {
            Err(CryptoError::LimitReached("bytes of a stream"))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
