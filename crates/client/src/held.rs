//! What the client holds, for people: licenses to list, explain and remove, and the operators behind them.

use keyward_crypto::{
    CryptoError,
    x509::{Certificate, Role},
};
use keyward_license::{
    codec::Wire,
    ids::{Digest, Kid, LicenseId},
    license::LicenseBody,
    operator_profile::OperatorProfile,
    time::Timestamp,
};
use rand_core::CryptoRng;

use crate::{
    Client, ClientError, Held,
    device::KeyStore,
    flow::Io,
    operator::Operator,
    store::{Tombstone, Write},
};

/// A license that the client holds.
#[derive(Debug, Clone)]
pub struct HeldLicense {
    /// Its terms.
    pub body: LicenseBody,
    /// The operator whose license server signed it: SHA-256 of the root certificate.
    pub operator: Digest,
    /// The signed license. Its key is sealed to the device.
    pub signed: Vec<u8>,
    /// When it was stored, if the clock could be read; none for one that lives in memory.
    pub installed: Option<Timestamp>,
}

/// An operator that the device is enrolled with.
#[derive(Debug, Clone, Copy)]
pub struct Enrolment<'a>(&'a Operator);

impl<'a> Enrolment<'a> {
    pub(crate) const fn of(operator: &'a Operator) -> Self {
        Self(operator)
    }

    /// The operator's profile.
    #[must_use]
    pub const fn profile(&self) -> &'a OperatorProfile {
        &self.0.profile
    }

    /// The device's certificate, whatever the time.
    ///
    /// # Errors
    /// [`CryptoError::ChainRefused`] if the operator's root does not vouch for it at the time it begins.
    pub fn certificate(&self) -> Result<Certificate, CryptoError> {
        let leaf = self.0.chain.first().map(|der| Certificate::parse(der));
        let leaf = leaf.ok_or(CryptoError::MalformedCertificate("no certificate"))??;
        self.0
            .anchor
            .verify(&self.0.chain, Role::Device, leaf.not_before())
    }
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    pub(crate) async fn run_held(&self, io: &Io) -> Result<Vec<HeldLicense>, ClientError> {
        let stored = self.store.all_licenses(io).await?;
        let stored = stored
            .into_iter()
            .map(|record| (record.operator, record.license.0, record.installed));
        let in_memory = self
            .memory
            .iter()
            .map(|held| (held.operator, held.license.clone(), None));
        let held = stored
            .chain(in_memory)
            .filter_map(|(operator, signed, installed)| {
                let body = self.verified(&operator, &signed)?.body().clone();
                Some(HeldLicense {
                    body,
                    operator,
                    signed,
                    installed,
                })
            });
        Ok(held.collect())
    }

    /// Removes the licenses of a key id, or only one of them.
    pub(crate) async fn run_remove(
        &mut self,
        io: &Io,
        kid: Kid,
        only: Option<LicenseId>,
    ) -> Result<usize, ClientError> {
        let mut writes = Vec::new();
        let mut removed = 0;
        for (key, record) in self.store.licenses(io, &kid).await? {
            let license = self.verified(&record.operator, &record.license.0);
            let id = license.as_ref().map(|license| license.body().id);
            if only.is_some() && id != only {
                continue;
            }
            removed += 1;
            writes.push(Write::Delete(key));
            if let Some(license) = license {
                let tombstone = Tombstone {
                    id: license.body().id,
                    end: license.body().end,
                };
                writes.push(Write::Put(
                    self.store.tombstone_key(&tombstone.id)?,
                    tombstone.encode(),
                ));
            }
        }
        if !writes.is_empty() {
            self.store.commit(io, &mut self.rng, writes, |_| ()).await?;
        }
        let held = core::mem::take(&mut self.memory);
        let before = held.len();
        let stays = |held: &Held| {
            let is_another = |only| {
                self.verified(&held.operator, &held.license)
                    .is_none_or(|license| license.body().id != only)
            };
            held.kid != kid || only.is_some_and(is_another)
        };
        let kept: Vec<_> = held.into_iter().filter(stays).collect();
        self.memory = kept;
        Ok(removed + before - self.memory.len())
    }
}
