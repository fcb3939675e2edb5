//! Keys and the few primitives that Keyward is made of.
//!
//! This is the only crate of the project that names a cryptographic library. It offers whole
//! operations in the form the protocol uses them, never their parts:
//!
//! ```text
//!  keys    secrets as types: wiped, redacted, compared in constant time
//!  ecdsa   ES256 signatures (P-256, SHA-256)                 RFC 9053 §2.1, FIPS 186-5
//!  cose    COSE_Sign1 in Keyward's profile                    RFC 9052, RFC 9360, RFC 9596
//!  hpke    sealing to a receiver: suite 1 P-256, 2 X-Wing     RFC 9180
//!  aead    AES-256-GCM for messages, columns and records      SP 800-38D
//!  cenc    AES-CTR, AES-CBC and their patterns for media    SP 800-38A, ISO/IEC 23001-7
//!  kdf     HKDF-SHA256, HMAC-SHA256, SHA-256                  RFC 5869, RFC 2104, FIPS 180-4
//!  x509    certificates, roles, paths, revocation, issuing     RFC 5280
//!  root_key  the key of a root license, which opens leaf licenses
//!  seed    license key seed: key id to content key            PlayReady key seed, as published
//!  stream  chunked AEAD for files of any size                 STREAM (HRRV 2015)
//!  exchange  keys for one operation on the application's own data: GCM, CBC, CTR, key wrap, HMAC,
//!            ECDSA, Ed25519                                  RFC 9053, RFC 9459, RFC 9864
//!  md5     a fingerprint that media tools compare; no security  RFC 1321
//! ```
//!
//! What it refuses: in the protocol, any signature but ES256, any curve but P-256 for signatures, any
//! HPKE suite that is not in [`hpke::Suite`], a COSE header that is not byte for byte the one our profile
//! writes, and a certificate chain that does not end at the configured root for the role that is asked of
//! it; of an exchange key, any operation but its one.
//!
//! No sockets, files, clock or threads: time and randomness are arguments.
//!
//! ```
//! use keyward_crypto::{ecdsa::SigningKey, cose};
//! # use rand_core::SeedableRng;
//! # let mut rng = rand_chacha::ChaCha20Rng::from_seed([7; 32]);
//! let key = SigningKey::generate(&mut rng);
//! let signed = cose::sign1("application/example+cose", &[], b"payload", b"context", &key)?;
//! let message = cose::Sign1::parse(&signed)?;
//! assert_eq!(message.verify(b"context", key.public_key())?, b"payload");
//! # Ok::<(), keyward_crypto::CryptoError>(())
//! ```

pub mod aead;
pub mod cenc;
pub mod cose;
pub mod ecdsa;
pub mod error;
pub mod exchange;
mod gcm;
pub mod hpke;
pub mod kdf;
pub mod keys;
pub mod md5;
pub mod root_key;
pub mod seed;
pub mod stream;
pub mod x509;

pub use error::{ChainFault, CryptoError};
pub use keys::{ContentKey, Secret, SecretBytes};
pub use root_key::RootKey;
