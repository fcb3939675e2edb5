//! The keys that an identity holds, opened once each.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use keyward_crypto::{ecdsa::SigningKey, hpke::KeyPair, x509::Certificate};

use super::{
    super::{
        keys::{self, PurposeKey, Secrets},
        pki::Issuer,
    },
    find,
};
use crate::{
    Error,
    store::{OperatorCertificate, Purpose},
};

/// The number of the newest key of each purpose. It serves even if all of its certificates have ended: what was rolled
/// does not come back.
pub(super) struct NewestKeys(HashMap<Purpose, u64>);

impl NewestKeys {
    pub(super) fn of(certificates: &[OperatorCertificate]) -> Self {
        let mut newest = HashMap::new();
        for stored in certificates {
            let number = newest.entry(stored.purpose).or_insert(stored.key);
            *number = stored.key.max(*number);
        }
        Self(newest)
    }

    pub(super) fn number(&self, purpose: Purpose) -> u64 {
        self.0.get(&purpose).copied().unwrap_or_default()
    }
}

/// Every key that is in use, opened once.
pub(super) struct Keys {
    pub(super) newest: NewestKeys,
    signing: HashMap<(Purpose, u64), Arc<SigningKey>>,
    sealing: HashMap<(Purpose, u64), Arc<Vec<KeyPair>>>,
}

impl Keys {
    pub(super) fn open(
        secrets: &Secrets<'_>,
        certificates: &[OperatorCertificate],
        newest: NewestKeys,
    ) -> Result<Self, Error> {
        let renewed = Purpose::of_authorities(false)
            .filter(|purpose| !purpose.comes_later() || secrets.has(*purpose))
            .map(|purpose| (purpose, newest.number(purpose)));
        let certified = certificates.iter().map(|stored| (stored.purpose, stored.key));
        let used: HashSet<_> = certified.chain(renewed).collect();
        let mut keys = Self {
            newest,
            signing: HashMap::new(),
            sealing: HashMap::new(),
        };
        for of in used {
            match PurposeKey::open(secrets, of)? {
                PurposeKey::Signing(key) => drop(keys.signing.insert(of, Arc::new(key))),
                PurposeKey::Sealing(pairs) => drop(keys.sealing.insert(of, Arc::new(pairs))),
            }
        }
        Ok(keys)
    }

    pub(super) fn signing(&self, of: (Purpose, u64)) -> Result<&Arc<SigningKey>, Error> {
        self.signing.get(&of).ok_or(Error::Damaged(NO_KEY))
    }

    pub(super) fn sealing(&self, of: (Purpose, u64)) -> Result<&Arc<Vec<KeyPair>>, Error> {
        self.sealing.get(&of).ok_or(Error::Damaged(NO_KEY))
    }

    pub(super) fn certified(&self, of: (Purpose, u64)) -> Result<keys::Certified, Error> {
        match self.sealing.get(&of) {
            Some(pairs) => keys::certified_pairs(pairs),
            None => Ok(keys::certified_key(self.signing(of)?)),
        }
    }

    pub(super) fn issuer(&self, stored: &OperatorCertificate) -> Result<Issuer, Error> {
        let key = self.signing((stored.purpose, stored.key))?;
        Ok(Issuer {
            certificate: Certificate::parse(&stored.der)?,
            key: SigningKey::from_scalar(key.scalar().duplicate())?,
        })
    }

    pub(super) fn has_newest(&self, purpose: Purpose) -> bool {
        let of = (purpose, self.newest.number(purpose));
        self.signing.contains_key(&of) || self.sealing.contains_key(&of)
    }
}

/// The server authority, if it has not ended.
pub(super) fn newest_issuer(
    secrets: &Secrets<'_>,
    certificates: &[OperatorCertificate],
) -> Result<Option<Issuer>, Error> {
    let Ok(stored) = find(certificates, Purpose::ServerAuthority) else {
        return Ok(None);
    };
    Ok(Some(Issuer {
        certificate: Certificate::parse(&stored.der)?,
        key: PurposeKey::open(secrets, (stored.purpose, stored.key))?.into_signing()?,
    }))
}

const NO_KEY: &str = "a certificate of the operator has no key";
