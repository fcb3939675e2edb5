//! Key exchange: one operation on the application's own data, with all versions of one key.
//!
//! License server and client share this: the client makes a [`Ring`] of a license, the server of the keys that it
//! stores, for the mirror operation. A ring becomes the one handle that its operation permits, and no other:
//!
//! ```text
//!   LicenseBody, LicenseKeys ──Ring::of──┐
//!                                        ├──► Ring ──new──► Encryptor   Decryptor     results
//!   stored keys, their versions ──new────┘                  Signer      Verifier      version (4) ‖ what the
//!                                                           Wrapper     Unwrapper     algorithm puts out
//! ```
//! What produces uses the newest version; what consumes reads the version off the result and takes that one
//! (`spec/license.md`, "Key exchange"). Additional data has to equal the key's context (R-051), and everything has its
//! bounds. Whether a license permits the call is asked before, by
//! [`evaluate`](crate::usage_rules::evaluate) with [`Action::Perform`](crate::usage_rules::Action::Perform).
//!
//! Keys are wiped when a handle is dropped. There is no way from a handle to its key, nor to another operation.
//!
//! ```
//! use keyward_crypto::exchange::{Algorithm, ExchangeKey, Operation};
//! use keyward_license::{ids::Kid, key_exchange::{Decryptor, Encryptor, ExchangeError, Ring}};
//! # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! # let mut rng = ChaCha20Rng::from_seed([1; 32]);
//! let kid = Kid::new([7; 16]);
//! let [old, new] = [1, 2].map(|_| ExchangeKey::generate(Algorithm::A256Gcm, &mut rng));
//!
//! let before = Encryptor::new(Ring::new(kid, None, vec![(1, old.material(Operation::Encrypt)?)])?)?;
//! let result = before.encrypt(b"", b"a secret of the application", &mut rng)?;
//! assert_eq!(result[..4], [0, 0, 0, 1]);
//!
//! let both = vec![(2, new.material(Operation::Decrypt)?), (1, old.material(Operation::Decrypt)?)];
//! let reader = Decryptor::new(Ring::new(kid, None, both)?)?;
//! assert_eq!(reader.decrypt(b"", &result)?.expose(), b"a secret of the application");
//!
//! let newest = Ring::new(kid, None, vec![(2, new.material(Operation::Decrypt)?)])?;
//! let error = Decryptor::new(newest)?.decrypt(b"", &result).unwrap_err();
//! assert_eq!(error.to_string(), "it was made with version 1 of the key, and here is version 2");
//! # Ok::<(), ExchangeError>(())
//! ```

mod error;
mod handles;
mod performer;
mod streams;

use keyward_crypto::exchange::{Algorithm, Material, Operation};

use crate::{
    ids::Kid,
    license::{KeyDescription, LicenseBody, LicenseKeys},
};

pub use error::ExchangeError;
pub use handles::{Around, Decryptor, Encryptor, Signer, Unwrapper, Verifier, Wrapper};
pub use performer::{Input, Output, Performer};
pub use streams::{StreamDecryptor, StreamEncryptor, StreamSigner, StreamVerifier};

/// Bytes of the version that every result begins with, big-endian.
pub const VERSION_LEN: usize = 4;
/// Most messages that one handle encrypts with GCM and random nonces (SP 800-38D §8.3).
pub const MAX_MESSAGES: u64 = crate::license::MAX_USES;

/// The versions of one exchange key, for one operation.
#[derive(Debug)]
pub struct Ring {
    about: About,
    /// As `about.versions`.
    materials: Vec<Material>,
}

/// What is public about an exchange key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Key id, of all versions.
    pub kid: Kid,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// The one operation that is permitted here.
    pub operation: Operation,
    /// R-051: what the additional data of every call equals, if it is set.
    pub context: Option<Vec<u8>>,
    /// The versions that are here, newest first.
    pub versions: Vec<u32>,
}

impl Ring {
    /// A ring of keys and their versions, newest first.
    ///
    /// # Errors
    /// [`ExchangeError::NotARing`] for no version, version 0, versions that do not descend, materials of several
    /// algorithms or operations, or a context where there is no additional data.
    pub fn new(
        kid: Kid,
        context: Option<Vec<u8>>,
        versions: Vec<(u32, Material)>,
    ) -> Result<Self, ExchangeError> {
        let (versions, materials): (Vec<u32>, Vec<Material>) = versions.into_iter().unzip();
        let first = materials.first().ok_or(ExchangeError::NotARing)?;
        let (algorithm, operation) = (first.algorithm(), first.operation());
        let is_one_key = materials
            .iter()
            .all(|material| material.algorithm() == algorithm && material.operation() == operation);
        let descends = versions.is_sorted_by(|newer, older| newer > older) && !versions.contains(&0);
        if !is_one_key || !descends || context.is_some() && !algorithm.takes_aad() {
            return Err(ExchangeError::NotARing);
        }
        let about = About {
            kid,
            algorithm,
            operation,
            context,
            versions,
        };
        Ok(Self { about, materials })
    }

    /// The ring of one key id in a license, with the keys that the license opened to.
    ///
    /// # Errors
    /// [`ExchangeError::NotInLicense`] if the license holds no exchange key of this id; V-034:
    /// [`ExchangeError::MalformedKey`].
    pub fn of(body: &LicenseBody, keys: &LicenseKeys, kid: Kid) -> Result<Self, ExchangeError> {
        let of_kid = || {
            let described = body.keys.iter().zip(&keys.keys);
            described
                .filter(move |(description, _)| description.kid == kid && description.permits().is_some())
        };
        let material = |(description, key): (&KeyDescription, &crate::codec::Bytes)| {
            let version = description.version.unwrap_or_default();
            let version = u32::try_from(version).map_err(|_| ExchangeError::NotARing)?;
            let material = description.material(&key.0);
            Ok((version, material.map_err(|_| ExchangeError::MalformedKey)?))
        };
        let (first, _) = of_kid().next().ok_or(ExchangeError::NotInLicense { kid })?;
        let context = first.context.as_ref().map(|context| context.0.clone());
        Self::new(
            kid,
            context,
            of_kid().map(material).collect::<Result<_, ExchangeError>>()?,
        )
    }

    /// What is public about the key.
    #[must_use]
    pub const fn about(&self) -> &About {
        &self.about
    }

    /// R-050: the ring, if it is for what is asked.
    fn permit(&self, asked: Operation) -> Result<(), ExchangeError> {
        let permitted = self.about.operation;
        if permitted == asked {
            Ok(())
        } else {
            Err(ExchangeError::WrongOperation { permitted, asked })
        }
    }
}

#[cfg(test)]
mod tests;
