//! The bytes of a key, all its versions, in one place.

use keyward_crypto::{SecretBytes, exchange::Material};
use keyward_license::{
    key_exchange::{ExchangeError, Ring},
    license::{LicenseBody, LicenseKeys, MAX_EXCHANGE_KEYS},
};
use zeroize::Zeroizing;

use super::{About, flows::Tool};

/// Longest material of a version: a point of P-256.
const LONGEST: usize = 65;

/// The material of every version of a key. Between calls it is all that there is of the key: what an operation makes of
/// it (the schedule of a cipher, the state of a hash) lives for the call.
pub(super) struct KeyBytes {
    bytes: Zeroizing<[u8; MAX_EXCHANGE_KEYS * LONGEST]>,
    /// Bytes of each version, one behind the other.
    lengths: Vec<usize>,
}

impl KeyBytes {
    pub(super) fn empty() -> Self {
        Self {
            bytes: Zeroizing::new([0; MAX_EXCHANGE_KEYS * LONGEST]),
            lengths: Vec::new(),
        }
    }

    /// Takes the versions of one key out of what a license opened to, each to where it stays.
    pub(super) fn fill(
        &mut self,
        license: &LicenseBody,
        keys: &LicenseKeys,
        about: &About,
    ) -> Result<(), ExchangeError> {
        let of_kid = license.keys.iter().zip(&keys.keys);
        let of_kid = of_kid.filter(|(description, _)| description.kid == about.kid);
        let mut rest = &mut self.bytes[..];
        for (_, key) in of_kid {
            let (to, behind) = rest
                .split_at_mut_checked(key.0.len())
                .ok_or(ExchangeError::MalformedKey)?;
            to.copy_from_slice(&key.0);
            self.lengths.push(key.0.len());
            rest = behind;
        }
        Ok(())
    }

    /// What does the operation, for one call. The caller clears the stack.
    #[inline(never)]
    pub(super) fn tool<T: Tool>(&self, about: &About) -> Result<T, ExchangeError> {
        let mut rest = &self.bytes[..];
        let mut versions = Vec::with_capacity(self.lengths.len());
        for (length, version) in self.lengths.iter().zip(&about.versions) {
            let (key, behind) = rest
                .split_at_checked(*length)
                .ok_or(ExchangeError::MalformedKey)?;
            let key = SecretBytes::new(key.to_vec());
            versions.push((
                *version,
                Material::from_bytes(about.algorithm, about.operation, key)?,
            ));
            rest = behind;
        }
        T::of(Ring::new(about.kid, about.context.clone(), versions)?)
    }
}
