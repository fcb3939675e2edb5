//! Enforcement: finds the licenses of a key, judges them, and gives the key only to what may use it.

use std::sync::Arc;

use keyward_crypto::{ContentKey, CryptoError};
use keyward_license::{
    ids::{DeviceId, Digest, Kid, LicenseId},
    license::{License, LicenseBody, LicenseKeys, Resolution},
    request::Capabilities,
    time::Timestamp,
    usage_rules::{Action, Allowed, Host, Output, Refusal, Rule, Usage, evaluate},
};
use rand_core::CryptoRng;

pub use crate::{bound::Bound, choose::Stop};

use crate::{
    Client, ClientError,
    bound::Slot,
    choose::{self, Candidate, Chosen, Place, Purpose, Recorded, Unusable},
    device::{KeyStore, STACK},
    flow::Io,
};

/// Whether content can be opened now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// a license permits it, the best of those that do.
    Ready {
        /// The license.
        license: LicenseId,
        /// Until when, if the license ends.
        until: Option<Timestamp>,
    },
    /// There are licenses, and none permits it now.
    Refused(Refusal),
    /// there are licenses, and what they permit may go to no output of this host.
    Blocked(Rule),
    /// there are licenses for key exchange, and every use that they permit has been made.
    UsedUp,
    /// There is no license.
    Missing,
}

/// What is asked of the rules.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// What the holder wants to do.
    pub action: Action,
    /// The time, if the clock may be used.
    pub now: Option<Timestamp>,
    /// The size of the frames that are to be decoded, if it is known.
    pub frame: Option<Resolution>,
    /// Outputs in the place of the host's.
    pub outputs: Option<&'q [Output]>,
    /// A security level in the place of the device's.
    pub security_level: Option<u64>,
}

impl Question<'_> {
    /// May this be done now, on this host?
    #[must_use]
    pub const fn of(action: Action, now: Option<Timestamp>) -> Self {
        Self {
            action,
            now,
            frame: None,
            outputs: None,
            security_level: None,
        }
    }
}

/// What this device and this host can use.
pub(crate) struct Fit {
    device: DeviceId,
    capabilities: Capabilities,
}

impl Fit {
    /// Whether a license is for a key and for this device, and holds nothing that this host does not enforce.
    pub(crate) fn covers(&self, license: &LicenseBody, kid: Kid) -> bool {
        // V-029: a license of a later version of this client, or of another host, is none for this one.
        license.binding.is_device(&self.device)
            && license.asked_kid() == Ok(kid)
            && self.capabilities.cover(license).is_ok()
    }
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// Steps 4 and 5 of the main job: can this be opened?
    pub(crate) async fn run_find(
        &self,
        io: &Io,
        kid: Kid,
        action: Action,
    ) -> Result<Availability, ClientError> {
        let question = Question::of(action, self.now(io));
        let found = match Purpose::of(action) {
            Purpose::Content => self.best(io, kid, &question).await?,
            Purpose::Exchange => self.best_with_uses(io, kid, &question).await?,
        };
        Ok(match found {
            Ok(Chosen { candidate, allowed }) => Availability::Ready {
                license: candidate.id(),
                until: allowed.until,
            },
            Err(unusable) => match unusable.stop {
                Some(Stop::Refused(refusal)) => Availability::Refused(refusal),
                Some(Stop::Blocked(rule)) => Availability::Blocked(rule),
                None if unusable.used_up => Availability::UsedUp,
                None => Availability::Missing,
            },
        })
    }

    /// Step 11: binds the best license of each key and releases the keys: of all, or of none. The first plays and
    /// the clock's floor are stored before.
    pub(crate) async fn run_bind(
        &mut self,
        io: &Io,
        kids: &[Kid],
        action: Action,
    ) -> Result<Vec<Bound>, ClientError> {
        let question = Question::of(action, self.now(io));
        let mut chosen = Vec::with_capacity(kids.len());
        for kid in kids {
            match self.best(io, *kid, &question).await? {
                Ok(license) => chosen.push(license),
                Err(unusable) => {
                    self.remember_time(io, unusable).await?;
                    let none = ClientError::NoLicense { kid: *kid };
                    return Err(unusable.stop.map_or(none, |stop| stop.of(*kid)));
                }
            }
        }
        self.release(io, chosen, &question).await
    }

    /// Opens the keys of licenses that permit it, records their use, and only then gives the keys out.
    pub(crate) async fn release(
        &mut self,
        io: &Io,
        chosen: Vec<Chosen>,
        question: &Question<'_>,
    ) -> Result<Vec<Bound>, ClientError> {
        let outputs_seen = self.host.outputs.changes();
        let bound = chosen.iter().map(|chosen| {
            let Chosen { candidate, allowed } = chosen;
            let body = candidate.body();
            let slot = self.open_slot(&candidate.license);
            zeroize::zeroize_stack::<STACK>();
            Ok(Bound {
                slot: slot?,
                license: body.clone(),
                level: candidate.level,
                first_play: allowed.first_play,
                action: question.action,
                allowed: allowed.clone(),
                outputs: self.host.outputs_for(body),
                outputs_seen,
                frame: question.frame,
                changes_at: None,
            })
        });
        let mut bound = bound.collect::<Result<Vec<_>, ClientError>>()?;
        for bound in &mut bound {
            // What permits to open it permits to play it.
            self.judge_again(bound, question.now)
                .map_err(|stop| stop.of(bound.kid()))?;
        }
        self.record_use(io, &chosen, question.now).await?;
        Ok(bound)
    }

    /// Opens the content key of a license into its place. The caller clears the stack.
    #[inline(never)]
    fn open_slot(&self, license: &License) -> Result<Arc<Slot>, ClientError> {
        let key = license.body().single_key()?;
        if !key.key_type.is_for_content() {
            return Err(ClientError::NotAContentKey { kid: key.kid });
        }
        let slot = Slot::new(key.kid, key.key_type, self.open_content_key(license)?);
        Ok(Arc::new(slot))
    }

    /// V-023: opens the sealed part with the device's key, under the hash of the body.
    pub(crate) fn open_keys(&self, license: &License) -> Result<LicenseKeys, ClientError> {
        let sealed = license.sealed();
        let opened = self.keys.open(
            license.suite(),
            &license.key_binding(),
            &sealed.encapsulated.0,
            &sealed.ciphertext.0,
        )?;
        Ok(license.read_keys(&opened)?)
    }

    /// V-023: the one content key that is described in the license.
    pub(crate) fn open_content_key(&self, license: &License) -> Result<ContentKey, ClientError> {
        let keys = self.open_keys(license)?;
        let key = keys.keys.first().ok_or(CryptoError::NotOpened)?;
        Ok(ContentKey::from_slice(&key.0)?)
    }

    /// the best license of a key, or why there is none.
    pub(crate) async fn best(
        &self,
        io: &Io,
        kid: Kid,
        question: &Question<'_>,
    ) -> Result<Result<Chosen, Unusable>, ClientError> {
        Ok(choose::best(self.candidates(io, kid, question).await?))
    }

    /// Every license of the key that is for the purpose of the question. A key id whose licenses are all for the
    /// other one is refused.
    pub(crate) async fn candidates(
        &self,
        io: &Io,
        kid: Kid,
        question: &Question<'_>,
    ) -> Result<Vec<Candidate>, ClientError> {
        let purpose = Purpose::of(question.action);
        let mut found = self.all_candidates(io, kid, question).await?;
        let there_are_some = !found.is_empty();
        found.retain(|candidate| Purpose::of_license(candidate.body()) == purpose);
        if found.is_empty() && there_are_some {
            return Err(purpose.not_of(kid));
        }
        Ok(found)
    }

    /// Every license of the key, verified again and judged. A license that no longer verifies (its
    /// operator was removed) is none.
    pub(crate) async fn all_candidates(
        &self,
        io: &Io,
        kid: Kid,
        question: &Question<'_>,
    ) -> Result<Vec<Candidate>, ClientError> {
        let mut found = Vec::new();
        for (key, record) in self.store.licenses(io, &kid).await? {
            let license = self.verified(&record.operator, &record.license.0);
            let (operator, recorded) = (record.operator, record.recorded());
            found.extend(license.map(|license| (license, operator, recorded, Place::Store(key, record))));
        }
        for held in self.memory.iter().filter(|held| held.kid == kid) {
            let license = self.verified(&held.operator, &held.license);
            let (operator, recorded) = (held.operator, held.recorded.clone());
            found.extend(license.map(|license| (license, operator, recorded, Place::Memory)));
        }
        let fit = self.fit()?;
        found.retain(|(license, ..)| fit.covers(license.body(), kid));
        let candidates = found.into_iter().map(|(license, operator, recorded, place)| {
            self.candidate(license, &operator, recorded, place, question)
        });
        Ok(candidates.collect())
    }

    /// The outputs that a question is about.
    pub(crate) fn outputs_asked(&self, license: &LicenseBody, question: &Question<'_>) -> Vec<Output> {
        match question.outputs {
            Some(outputs) => outputs.to_vec(),
            None => self.host.outputs_for(license),
        }
    }

    pub(crate) fn candidate(
        &self,
        license: License,
        operator: &Digest,
        recorded: Recorded,
        place: Place,
        question: &Question<'_>,
    ) -> Candidate {
        let usage = Usage {
            first_play: recorded.first_play,
            playing: false,
        };
        let level = self.level(operator);
        let outputs = self.outputs_asked(license.body(), question);
        let verdict = self.judge(license.body(), usage, level, &outputs, question);
        Candidate {
            license,
            operator: *operator,
            place,
            level,
            recorded,
            verdict,
        }
    }

    /// What a license must fit.
    pub(crate) fn fit(&self) -> Result<Fit, ClientError> {
        Ok(Fit {
            device: self.keys.device_id()?,
            capabilities: self.capabilities(),
        })
    }

    /// The device's security level under an operator.
    pub(crate) fn level(&self, operator: &Digest) -> u64 {
        let operator = self.operators.get(operator);
        operator
            .and_then(|operator| operator.claims.security_level)
            .unwrap_or_default()
    }

    /// What the rules say of one license on this host, with these outputs.
    pub(crate) fn judge(
        &self,
        license: &LicenseBody,
        usage: Usage,
        level: u64,
        outputs: &[Output],
        question: &Question<'_>,
    ) -> Result<Allowed, Stop> {
        let host = Host {
            security_level: question.security_level.unwrap_or(level),
            outputs,
            frame: question.frame,
            extended: &self.host.extended,
            sources: &self.host.sources,
            watermarks: &self.host.watermarks,
        };
        choose::judged(evaluate(&[license], &usage, &host, question.action, question.now))
    }

    /// a time at which a license was refused has been seen; setting the clock back afterwards does
    /// not revive the license.
    pub(crate) async fn remember_time(&mut self, io: &Io, unusable: Unusable) -> Result<(), ClientError> {
        if unusable.by_time {
            let now = self.now(io);
            self.store_floor(io, now).await?;
        }
        Ok(())
    }

    /// The time, if the clock may be used.
    pub(crate) fn now(&self, io: &Io) -> Option<Timestamp> {
        self.reading(io).now
    }
}
