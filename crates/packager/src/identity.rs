//! A packager as an operator knows it: its keys, and the certificate that the operator gave it.

use keyward_crypto::{
    CryptoError, Secret, SecretBytes,
    x509::{Anchor, Certificate},
};
use keyward_license::{
    cbor_map,
    certificate::{device_id, is_ending},
    codec::{Bytes, DecodeError, Wire},
    ids::DeviceId,
    operator_profile::OperatorProfile,
    party::{KeysError, PartyKeys, PrivateKey, SoftwareParty},
    time::Timestamp,
};
use rand_core::CryptoRng;

/// The keys of a packager, and the operator that it is enrolled with, if any.
#[derive(Debug)]
pub struct Identity {
    pub(crate) keys: SoftwareParty,
    pub(crate) enrolment: Option<Enrolment>,
}

/// An operator that the packager is enrolled with.
#[derive(Debug, Clone)]
pub(crate) struct Enrolment {
    pub(crate) profile: OperatorProfile,
    pub(crate) anchor: Anchor,
    /// The packager's certificate chain, leaf first, without the root.
    pub(crate) chain: Vec<Vec<u8>>,
    /// The best suite that the operator's server has offered.
    pub(crate) best_suite: u64,
}

impl Identity {
    /// Fresh keys, enrolled nowhere.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self {
            keys: SoftwareParty::generate(rng),
            enrolment: None,
        }
    }

    /// The packager's id: SHA-256 of its signing key's SPKI. The operator lists it among its devices.
    ///
    /// # Errors
    /// [`CryptoError::Internal`] never in practice.
    pub fn id(&self) -> Result<DeviceId, CryptoError> {
        device_id(self.keys.signer().public_key())
    }

    /// Profile of the operator that the packager is enrolled with.
    #[must_use]
    pub fn operator(&self) -> Option<&OperatorProfile> {
        self.enrolment.as_ref().map(|enrolment| &enrolment.profile)
    }

    /// V-055: whether the packager's certificate is to be renewed: the last third of its life has begun, and it has
    /// not ended.
    #[must_use]
    pub fn owes_renewal(&self, now: Timestamp) -> bool {
        let chain = self.enrolment.as_ref().map(|enrolment| &enrolment.chain);
        let leaf = chain.and_then(|chain| Certificate::parse(chain.first()?).ok());
        leaf.is_some_and(|leaf| is_ending(&leaf, now))
    }

    /// The encoding, to be sealed at rest. Whoever has it is the packager.
    #[must_use]
    pub fn to_secret_bytes(&self) -> SecretBytes {
        let (signing, sealing) = self.keys.private_keys();
        let enrolment = self.enrolment.as_ref().map(|enrolment| EnrolmentRecord {
            profile: Bytes(enrolment.profile.encode()),
            chain: enrolment.chain.iter().cloned().map(Bytes).collect(),
            best_suite: enrolment.best_suite,
        });
        let file = IdentityFile {
            version: VERSION,
            signing,
            sealing,
            enrolment,
        };
        SecretBytes::new(file.encode())
    }

    /// Reads the encoding.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn from_secret_bytes(bytes: &SecretBytes) -> Result<Self, KeysError> {
        let file = IdentityFile::decode(bytes.expose())?;
        if file.version != VERSION {
            return Err(DecodeError::Invalid("the packager's keys are of another version").into());
        }
        Ok(Self {
            keys: SoftwareParty::from_private_keys(file.signing, file.sealing)?,
            enrolment: file.enrolment.map(Enrolment::from_record).transpose()?,
        })
    }
}

impl Enrolment {
    /// The certificate was verified when it was stored.
    fn from_record(record: EnrolmentRecord) -> Result<Self, KeysError> {
        let profile = OperatorProfile::decode(&record.profile.0)?;
        Ok(Self {
            anchor: Anchor::from_der(&profile.root.0)?,
            chain: record.chain.into_iter().map(|der| der.0).collect(),
            best_suite: record.best_suite,
            profile,
        })
    }
}

const VERSION: u64 = 1;

cbor_map! {
    /// Encoding of an identity.
    struct IdentityFile = "packager keys" {
        /// Format version.
        [1] version: u64,
        /// Private scalar of the signing key.
        [2] signing: Secret<32>,
        /// One private key a suite.
        [3] sealing: Vec<PrivateKey>,
        /// The operator, once there is one.
        [4?] enrolment: EnrolmentRecord,
    }
}

cbor_map! {
    /// An operator that the packager is enrolled with.
    struct EnrolmentRecord = "packager enrolment" {
        /// The operator profile.
        [1] profile: Bytes,
        /// The certificate chain, leaf first, without the root.
        [2] chain: Vec<Bytes>,
        /// The best suite that the operator's server has offered.
        [3] best_suite: u64,
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn keys_survive_their_encoding_and_nothing_else_is_one() {
        let identity = Identity::generate(&mut ChaCha20Rng::from_seed([1; 32]));
        let bytes = identity.to_secret_bytes();
        let again = Identity::from_secret_bytes(&bytes).unwrap();
        assert_eq!(again.id(), identity.id());
        assert_eq!(again.to_secret_bytes().expose(), bytes.expose());
        assert!(again.operator().is_none());
        for end in 0..bytes.expose().len() {
            let cut = SecretBytes::new(bytes.expose()[..end].to_vec());
            assert!(Identity::from_secret_bytes(&cut).is_err(), "{end}");
        }
        let mut other = bytes.expose().to_vec();
        other[2] = 2;
        assert!(Identity::from_secret_bytes(&SecretBytes::new(other)).is_err());
    }

    #[test]
    fn debug_never_shows_a_key() {
        let identity = Identity::generate(&mut ChaCha20Rng::from_seed([2; 32]));
        let (signing, _) = identity.keys.private_keys();
        let shown = format!("{identity:?}");
        assert!(!shown.contains(&hex::encode(signing.expose())), "{shown}");
        assert!(!shown.contains("Secret"), "{shown}");
    }
}
