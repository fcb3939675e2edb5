//! The discovery document: signed once, served many times, signed again in the middle of its life.

use std::sync::{Mutex, PoisonError};

use keyward_license::{
    codec::{Bytes, Wire, grease},
    discovery::Discovery,
    signed::{self, PROTOCOL_VERSION},
    time::Timestamp,
};

use crate::{Error, chance::rng, operator::Identity, store::Purpose};

/// Path of license acquisition, below the origin.
pub const LICENSE_PATH: &str = "/license";
/// Path of enrolment, below the origin.
pub const ENROLMENT_PATH: &str = "/enrolment";

/// Path of packaging data, below the origin.
pub const PACKAGING_PATH: &str = "/packaging";

/// Path of acknowledgement, below the origin.
pub const ACKNOWLEDGEMENT_PATH: &str = "/acknowledgement";

/// The document that is served now.
#[derive(Debug, Default)]
pub(crate) struct DiscoveryCache(Mutex<Option<Document>>);

#[derive(Debug, Clone)]
struct Document {
    bytes: Vec<u8>,
    issued: Timestamp,
    renew: Timestamp,
}

impl DiscoveryCache {
    /// The document, unless it is time for a new one.
    pub(crate) fn held(&self, now: Timestamp) -> Option<Vec<u8>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back makes the document one from the future.
        held.as_ref()
            .filter(|held| held.issued <= now && now < held.renew)
            .map(|held| held.bytes.clone())
    }

    /// Forgets the document: what it says has changed.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Signs a document that is valid for `lifetime` seconds from now, and holds it for half of them.
    pub(crate) fn sign(&self, identity: &Identity, lifetime: u64, now: Timestamp) -> Result<Vec<u8>, Error> {
        let bytes = sign(identity, lifetime, now)?;
        let document = Document {
            bytes: bytes.clone(),
            issued: now,
            renew: now.plus(lifetime / 2),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(document);
        Ok(bytes)
    }
}

/// Signs a document that is valid for `lifetime` seconds from now.
pub(crate) fn sign(identity: &Identity, lifetime: u64, now: Timestamp) -> Result<Vec<u8>, Error> {
    let body = Discovery {
        version: PROTOCOL_VERSION,
        operator: identity.operator,
        request_encryption: identity
            .request_encryption_chain
            .iter()
            .cloned()
            .map(Bytes)
            .collect(),
        license_path: LICENSE_PATH.to_owned(),
        enrolment_path: ENROLMENT_PATH.to_owned(),
        issued: now,
        expires: now.plus(lifetime),
        packaging_path: identity.certifies_packagers().then(|| PACKAGING_PATH.to_owned()),
        acknowledgement_path: identity
            .signs(Purpose::Receipt)
            .is_some()
            .then(|| ACKNOWLEDGEMENT_PATH.to_owned()),
    };
    let body = grease(&body.encode(), &mut rng())?;
    let signer = identity.signer(Purpose::LicenseServer)?;
    signed::sign::<Discovery>(&body, &[], &signer.chain, &*signer.key).map_err(Error::Making)
}
