//! What the claims extension of a certificate says.

use keyward_crypto::{CryptoError, ecdsa::PublicKey, hpke::Suite, kdf::sha256, x509::Certificate};

use crate::{
    cbor_map,
    codec::{Bytes, DecodeError, Wire},
    ids::{DeviceId, Digest},
    time::Timestamp,
};

/// Security level of a device whose keys anybody could read: development and tests.
pub const SECURITY_LEVEL_TEST: u64 = 150;
/// Security level of a device whose keys software protects.
pub const SECURITY_LEVEL_SOFTWARE: u64 = 2000;
/// Security level of a device whose keys hardware protects.
pub const SECURITY_LEVEL_HARDWARE: u64 = 3000;

cbor_map! {
    /// The claims of a certificate, in its extension 2.25.1843534794.2.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Claims = "certificate claims" {
        /// Security level: 150, 2000 or 3000.
        [1?] security_level: u64,
        /// Who made the device.
        [2?] maker: String,
        /// The device's model.
        [3?] model: String,
        /// Version of the robustness rules the device was made to.
        [4?] robustness_version: u64,
        /// Public keys that messages may be sealed to, one a suite.
        [5?] sealing_keys: Vec<SealingKey>,
    }
}

cbor_map! {
    /// A public key of one HPKE suite. The suite is a number, so that a certificate may carry keys of
    /// suites that a reader does not know.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SealingKey = "sealing key" {
        /// Suite number, see [`Suite`].
        [1] suite: u64,
        /// The public key in the suite's encoding.
        [2] public_key: Bytes,
    }
}

impl Claims {
    /// Reads the claims of a certificate.
    ///
    /// # Errors
    /// [`DecodeError`]; a certificate without the extension has no claims, which is an error here.
    pub fn of(certificate: &Certificate) -> Result<Self, DecodeError> {
        let bytes = certificate
            .claims()
            .ok_or(DecodeError::Invalid("the certificate has no claims extension"))?;
        Self::decode(bytes)
    }

    /// The best suite that the certificate and `usable` share, with its public key.
    #[must_use]
    pub fn best_sealing_key(&self, usable: &[Suite]) -> Option<(Suite, &[u8])> {
        self.sealing_keys
            .iter()
            .flatten()
            .filter_map(|key| Some((Suite::from_number(key.suite)?, &key.public_key.0[..])))
            .filter(|(suite, key)| usable.contains(suite) && key.len() == suite.public_key_len())
            .max_by_key(|(suite, _)| *suite)
    }
}

/// The device that holds this signing key.
///
/// # Errors
/// [`CryptoError::Internal`] never in practice.
pub fn device_id(key: &PublicKey) -> Result<DeviceId, CryptoError> {
    Ok(DeviceId::new(sha256(&[&key.to_spki_der()?])))
}

/// The device that this certificate is of.
#[must_use]
pub fn certified_device(certificate: &Certificate) -> DeviceId {
    DeviceId::new(certificate.public_key_digest())
}

/// V-055: whether the last third of a certificate's life has begun, and it has not ended: its holder asks for the one
/// that follows.
#[must_use]
pub fn is_ending(certificate: &Certificate, now: Timestamp) -> bool {
    let left = certificate.not_after().saturating_sub(now.0);
    let life = certificate.not_after().saturating_sub(certificate.not_before());
    now.0 <= certificate.not_after() && left < life / 3
}

/// SHA-256 of a certificate's DER bytes.
#[must_use]
pub fn certificate_digest(certificate: &Certificate) -> Digest {
    Digest::new(certificate.digest())
}
