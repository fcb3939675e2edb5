//! What the client holds, for people: licenses to list, explain and remove, and the operators behind them.

use std::collections::BTreeMap;

use keyward_crypto::{
    CryptoError,
    x509::{Anchor, Certificate, Role},
};
use keyward_license::{
    codec::Wire,
    ids::{Digest, Kid, LicenseId},
    license::{License, LicenseBody, LicenseKind},
    operator_profile::OperatorProfile,
    time::Timestamp,
    usage_rules::Allowed,
};
use rand_core::CryptoRng;

use crate::{
    Client, ClientError, Held,
    choose::{Kept, Place, Purpose, Stop},
    device::KeyStore,
    enforce::{Fit, Question},
    explain,
    flow::Io,
    operator::Operator,
    store::{Tombstone, Write},
};

/// A license that the client holds.
#[derive(Debug, Clone)]
pub struct HeldLicense {
    /// Its terms.
    pub body: LicenseBody,
    /// V-037: of a leaf, the terms of the root license that it stands under, the best of those that are held;
    /// its limits in time are there. None if no such root is held, and of any other license.
    pub root: Option<LicenseBody>,
    /// The operator whose license server signed it: SHA-256 of the root certificate.
    pub operator: Digest,
    /// The signed license. Its key is sealed to the device.
    pub signed: Vec<u8>,
    /// When it was stored, if the clock could be read; none for one that lives in memory.
    pub installed: Option<Timestamp>,
    /// when its key was first released; of a leaf what its root has recorded.
    pub first_play: Option<Timestamp>,
    /// The device's security level under the operator.
    pub security_level: u64,
    /// of each exchange key that has a use limit, how many uses were taken.
    pub uses: Vec<(Kid, u64)>,
    /// Whether it may be used now on this host (played; or, for key exchange, performed with), and if not, why.
    pub verdict: Result<Allowed, Stop>,
    /// Whether it is for this device and holds nothing that this host does not enforce (V-029). Only then is it
    /// ever used.
    pub is_for_this_host: bool,
}

impl HeldLicense {
    /// From when on it can be used no more, whatever happens: of a leaf when its root cannot.
    #[must_use]
    pub fn usable_until(&self) -> Option<Timestamp> {
        self.root.as_ref().unwrap_or(&self.body).usable_until()
    }
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

    /// Whether the operator is one for tests, which issues licenses to anybody.
    #[must_use]
    pub const fn is_test(&self) -> bool {
        self.0.anchor().is_test()
    }

    /// The device's certificate, whatever the time.
    ///
    /// # Errors
    /// [`CryptoError::ChainRefused`] if the operator's root does not vouch for it at the time it begins.
    pub fn certificate(&self) -> Result<Certificate, CryptoError> {
        let leaf = self.0.chain.first().map(|der| Certificate::parse(der));
        let leaf = leaf.ok_or(CryptoError::MalformedCertificate("no certificate"))??;
        // A certificate that was revoked is the device's all the same.
        let anchor = Anchor::from_der(&self.0.profile.root.0)?;
        anchor.verify(&self.0.chain, Role::Device, leaf.not_before())
    }
}

/// A license as it is held: verified, signed, and when it was stored.
type Listed = (Kept, Vec<u8>, Option<Timestamp>);

/// The root licenses that this device and this host can use, by their key ids.
fn roots(all: &[Listed], fit: &Fit) -> BTreeMap<Kid, Vec<Kept>> {
    let mut roots = BTreeMap::<Kid, Vec<Kept>>::new();
    for (kept, ..) in all {
        let body = kept.license.body();
        if let (LicenseKind::Root, Ok(kid)) = (body.kind, body.asked_kid())
            && fit.covers(body, kid)
        {
            roots.entry(kid).or_default().push(kept.clone());
        }
    }
    roots
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// removes every license whose removal date has come by this device's clock, as by request. Returns how
    /// many there were.
    pub(crate) async fn run_clean(&mut self, io: &Io) -> Result<usize, ClientError> {
        let Some(now) = self.now(io) else { return Ok(0) };
        let mut removed = 0;
        for held in self.run_held(io).await? {
            let kid = held.body.asked_kid().ok();
            if let Some(kid) = kid.filter(|_| held.body.may_be_removed(now)) {
                removed += self.run_remove(io, kid, Some(held.body.id)).await?;
            }
        }
        Ok(removed)
    }

    pub(crate) async fn run_held(&self, io: &Io) -> Result<Vec<HeldLicense>, ClientError> {
        let now = self.now(io);
        let stored = self.store.all_licenses(io).await?;
        let stored = stored.into_iter().map(|record| {
            let recorded = record.recorded();
            (record.operator, record.license.0, record.installed, recorded)
        });
        let in_memory = self
            .memory
            .iter()
            .map(|held| (held.operator, held.license.clone(), None, held.recorded.clone()));
        let mut all = Vec::new();
        for (operator, signed, installed, recorded) in stored.chain(in_memory) {
            let Some(license) = self.verified(&operator, &signed) else {
                continue;
            };
            let kept = Kept {
                license,
                operator,
                place: Place::Memory,
                recorded,
            };
            all.push((kept, signed, installed));
        }
        let fit = self.fit()?;
        let roots = roots(&all, &fit);
        let held = all.iter().map(|(kept, signed, installed)| {
            let body = kept.license.body();
            let above = body.leaf_of().and_then(|root| roots.get(&root));
            let question = Question::of(Purpose::of_license(body).action(), now);
            let candidates = self.candidates_of(kept, above.map_or(&[], Vec::as_slice), &question);
            let best = candidates.into_iter().min_by(explain::best_first)?;
            Some(HeldLicense {
                is_for_this_host: body.asked_kid().is_ok_and(|kid| fit.covers(body, kid)),
                body: body.clone(),
                root: best.root_body().cloned(),
                operator: kept.operator,
                signed: signed.clone(),
                installed: *installed,
                first_play: best.recorded.first_play,
                uses: explain::uses(&best.recorded),
                security_level: best.level,
                verdict: best.verdict,
            })
        });
        Ok(held.flatten().collect())
    }

    /// The tombstone of a license that is removed. One that has ended for certain needs none: nothing makes it of
    /// use again.
    pub(crate) fn tombstone_of(&self, license: &License) -> Result<Option<Write>, ClientError> {
        let end = license.body().usable_until();
        if end.zip(self.store.told()).is_some_and(|(end, now)| end <= now) {
            return Ok(None);
        }
        let id = license.body().id;
        let (key, tombstone) = (self.store.tombstone_key(&id)?, Tombstone { id, end });
        Ok(Some(Write::PutUntil(key, tombstone.encode(), end)))
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
        let mut gone = Vec::new();
        for (key, record) in self.store.licenses(io, &kid).await? {
            let license = self.verified(&record.operator, &record.license.0);
            let id = license.as_ref().map(|license| license.body().id);
            if only.is_some() && id != only {
                continue;
            }
            removed += 1;
            gone.extend(id);
            writes.push(Write::Delete(key));
            if let Some(license) = license {
                writes.extend(self.tombstone_of(&license)?);
            }
        }
        let in_memory = self.memory.iter().filter(|held| held.kid == kid);
        gone.extend(
            in_memory
                .map(|held| held.id)
                .filter(|id| only.is_none_or(|only| only == *id)),
        );
        self.end_handles(|license| gone.contains(&license));
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
