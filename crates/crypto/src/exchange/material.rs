//! Exchange keys, and what of them the holder of one operation gets.

use core::fmt;

use p256::elliptic_curve::sec1::ToSec1Point;
use rand_core::CryptoRng;

use super::{Algorithm, Operation, ed25519};
use crate::{CryptoError, SecretBytes, ecdsa};

/// A whole exchange key, as the server that makes it holds it: a symmetric key, or the private half.
pub struct ExchangeKey {
    algorithm: Algorithm,
    bytes: SecretBytes,
}

impl ExchangeKey {
    /// A fresh key for `algorithm`.
    pub fn generate(algorithm: Algorithm, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        // A random scalar of P-256 is out of range with probability 2^-32: draw again.
        loop {
            let mut bytes = vec![0; algorithm.key_len()];
            rng.fill_bytes(&mut bytes);
            let bytes = SecretBytes::new(bytes);
            if check_private(algorithm, bytes.expose()).is_ok() {
                return Self { algorithm, bytes };
            }
        }
    }

    /// Takes a copy of a key: [`Algorithm::key_len`] bytes. For ESP256 they are the private scalar,
    /// big-endian, for Ed25519 the seed (RFC 8032 §5.1.5).
    ///
    /// # Errors
    /// [`CryptoError::MalformedKey`] for another length, or a scalar that is zero or not below the group
    /// order.
    pub fn import(algorithm: Algorithm, bytes: &SecretBytes) -> Result<Self, CryptoError> {
        check_private(algorithm, bytes.expose())?;
        Ok(Self {
            algorithm,
            bytes: copy(bytes.expose()),
        })
    }

    /// What the key is for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key itself, in the form that [`import`](Self::import) takes, for sealing at rest.
    #[must_use]
    pub const fn bytes(&self) -> &SecretBytes {
        &self.bytes
    }

    /// What the holder of `operation` gets: the key, or to verify with an asymmetric one its public half.
    ///
    /// # Errors
    /// [`CryptoError::NotPermitted`] for an operation that the algorithm does not have.
    pub fn material(&self, operation: Operation) -> Result<Material, CryptoError> {
        let bytes = match (self.algorithm, operation) {
            (Algorithm::Esp256, Operation::Verify) => SecretBytes::new(public_point(self.bytes.expose())?),
            (Algorithm::Ed25519, Operation::Verify) => {
                SecretBytes::new(ed25519::public_key(self.bytes.expose())?.to_vec())
            }
            _ => copy(self.bytes.expose()),
        };
        Material::from_bytes(self.algorithm, operation, bytes)
    }
}

impl fmt::Debug for ExchangeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExchangeKey({}, redacted)", self.algorithm)
    }
}

/// What the holder of one operation gets of an exchange key, and all a handle is made of.
pub struct Material {
    algorithm: Algorithm,
    operation: Operation,
    bytes: SecretBytes,
}

impl Material {
    /// Takes the bytes of a license or a database: the key, or to verify with ESP256 the uncompressed
    /// point (SEC 1 §2.3.3, 65 bytes), with Ed25519 the public key (RFC 8032 §5.1.2, 32 bytes).
    ///
    /// # Errors
    /// [`CryptoError::NotPermitted`] for an operation that the algorithm does not have.
    /// [`CryptoError::MalformedKey`] for a length other than [`Algorithm::material_len`], a scalar out of
    /// range, a point off the curve, or a public key of Ed25519 that is not canonical or of small order.
    pub fn from_bytes(
        algorithm: Algorithm,
        operation: Operation,
        bytes: SecretBytes,
    ) -> Result<Self, CryptoError> {
        if !algorithm.permits(operation) {
            return Err(CryptoError::NotPermitted(
                "the algorithm does not have this operation",
            ));
        }
        match (algorithm, operation) {
            (Algorithm::Esp256, Operation::Verify) => {
                ecdsa::PublicKey::from_point(bytes.expose())?;
            }
            (Algorithm::Ed25519, Operation::Verify) => ed25519::check_public(bytes.expose())?,
            _ => check_private(algorithm, bytes.expose())?,
        }
        Ok(Self {
            algorithm,
            operation,
            bytes,
        })
    }

    /// What the key is for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The one operation that this permits.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        self.operation
    }

    /// The raw bytes. Every caller of this method handles a secret in the clear.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.bytes.expose()
    }

    /// The bytes for a handle that does `operation`.
    ///
    /// # Errors
    /// [`CryptoError::NotPermitted`] if the material is for another one.
    pub(super) fn for_operation(&self, operation: Operation) -> Result<&[u8], CryptoError> {
        if self.operation == operation {
            Ok(self.bytes.expose())
        } else {
            Err(CryptoError::NotPermitted("the key is for another operation"))
        }
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Material({}, {}, redacted)", self.algorithm, self.operation)
    }
}

/// An algorithm that reached a handle of another kind: the operation was checked before.
pub(super) const WRONG_ALGORITHM: CryptoError =
    CryptoError::NotPermitted("the algorithm does not have this operation");

pub(super) fn copy(bytes: &[u8]) -> SecretBytes {
    SecretBytes::new(bytes.to_vec())
}

fn check_private(algorithm: Algorithm, bytes: &[u8]) -> Result<(), CryptoError> {
    if bytes.len() != algorithm.key_len() {
        return Err(CryptoError::MalformedKey("wrong length"));
    }
    if algorithm == Algorithm::Esp256 {
        scalar(bytes)?;
    }
    Ok(())
}

/// `p256` wipes a secret key when it is dropped, whatever its features.
fn scalar(bytes: &[u8]) -> Result<p256::SecretKey, CryptoError> {
    p256::SecretKey::from_slice(bytes).map_err(|_| CryptoError::MalformedKey("private scalar out of range"))
}

fn public_point(bytes: &[u8]) -> Result<Vec<u8>, CryptoError> {
    Ok(scalar(bytes)?
        .public_key()
        .to_sec1_point(false)
        .as_bytes()
        .to_vec())
}
