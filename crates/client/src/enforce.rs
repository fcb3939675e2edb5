//! Enforcement: finds the licenses of a key, judges them, and gives the key only to what may use it.

use std::sync::Arc;

use keyward_license::{
    ids::{DeviceId, Digest, Kid, LicenseId},
    license::{KeyType, LicenseBody, Resolution},
    request::Capabilities,
    time::Timestamp,
    usage_rules::{Action, Allowed, Host, Output, Refusal, Rule, Usage, evaluate},
};
use rand_core::CryptoRng;

pub use crate::{bound::Bound, choose::Stop};

use crate::{
    Client, ClientError,
    bound::Slot,
    chain::{self, RootKeys},
    choose::{self, Candidate, Chosen, Kept, Purpose, Unusable},
    device::{KeyStore, STACK},
    flow::Io,
    host::EMBED,
    verified::TrustedLicense,
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
    /// There is no license, or there are leaves and none of their roots.
    Missing,
}

/// What is asked of the rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'q> {
    /// What the holder wants to do.
    pub(crate) action: Action,
    /// The time, if the clock may be used.
    pub(crate) now: Option<Timestamp>,
    /// The size of the frames that are to be decoded, if it is known.
    pub(crate) frame: Option<Resolution>,
    /// Outputs in the place of the host's.
    pub(crate) outputs: Option<&'q [Output]>,
    /// A security level in the place of the device's.
    pub(crate) security_level: Option<u64>,
    /// V-039: leaf licenses that ride in the content.
    pub(crate) riding: &'q [Kept],
}

impl Question<'_> {
    /// May this be done now, on this host?
    #[must_use]
    pub(crate) const fn of(action: Action, now: Option<Timestamp>) -> Self {
        Self {
            action,
            now,
            frame: None,
            outputs: None,
            security_level: None,
            riding: &[],
        }
    }
}

/// What this device and this host can use.
pub(crate) struct Fit {
    device: DeviceId,
    capabilities: Capabilities,
}

impl Fit {
    pub(crate) const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Whether a license is for a key and for this device or a root, and holds nothing that this host does not enforce.
    pub(crate) fn covers(&self, license: &LicenseBody, kid: Kid) -> bool {
        // V-029: a license of a later version of this client, or of another host, is none for this one.
        (license.binding.is_device(&self.device) || license.leaf_of().is_some())
            && license.asked_kid() == Ok(kid)
            && self.capabilities.cover(license).is_ok()
    }
}

/// The terms of a chain.
pub(crate) fn bodies<'l>(chain: &[&'l TrustedLicense]) -> Vec<&'l LicenseBody> {
    chain.iter().map(|license| license.body()).collect()
}

/// Whether a time has come. Without a clock nobody knows, and it may have.
pub(crate) fn has_come(from: Option<Timestamp>, now: Option<Timestamp>) -> bool {
    from.is_some_and(|from| now.is_none_or(|now| from <= now))
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
                Some(Stop::NoRoot(_) | Stop::Distrusted) => Availability::Missing,
                None if unusable.used_up => Availability::UsedUp,
                None => Availability::Missing,
            },
        })
    }

    /// Step 11: opens the keys of licenses that permit it, records their use, and only then gives the keys out: of all,
    /// or of none.
    pub(crate) async fn release(
        &mut self,
        io: &Io,
        chosen: Vec<Chosen>,
        question: &Question<'_>,
        roots: &mut RootKeys,
    ) -> Result<Vec<Bound>, ClientError> {
        let outputs_seen = self.host.outputs.changes();
        let mut bound = Vec::with_capacity(chosen.len());
        for Chosen { candidate, allowed } in &chosen {
            let slot = self.open_slot(candidate, roots);
            zeroize::zeroize_stack::<STACK>();
            bound.push(Bound {
                slot: slot?,
                license: Arc::clone(&candidate.license),
                root: candidate.root.clone(),
                operator: candidate.operator,
                level: candidate.level,
                first_play: allowed.first_play,
                action: question.action,
                allowed: allowed.clone(),
                outputs: self.host.outputs_for(&candidate.chain()),
                outputs_seen,
                frame: question.frame,
                changes_at: None,
                reached: 0,
            });
        }
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
    fn open_slot(&self, candidate: &Candidate, roots: &mut RootKeys) -> Result<Arc<Slot>, ClientError> {
        let key = candidate.body().single_key()?;
        if key.key_type == KeyType::Root {
            return Err(ClientError::RootKey { kid: key.kid });
        }
        if !key.key_type.is_for_content() {
            return Err(ClientError::NotAContentKey { kid: key.kid });
        }
        let root = candidate
            .root
            .as_deref()
            .map(|root| (&candidate.operator, &**root));
        let opened = self.open_content_key(&candidate.license, root, roots)?;
        Ok(Arc::new(Slot::new(key.kid, key.key_type, opened)))
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

    /// Every license of the key, verified again and judged: a leaf with each root license that it stands under.
    pub(crate) async fn all_candidates(
        &self,
        io: &Io,
        kid: Kid,
        question: &Question<'_>,
    ) -> Result<Vec<Candidate>, ClientError> {
        let mut kept = self.kept(io, kid).await?;
        for riding in question.riding {
            let body = riding.license.body();
            let is_new = kept.iter().all(|kept| kept.license.body().id != body.id);
            // V-028: what was removed does not come back with the content.
            if body.asked_kid() == Ok(kid) && is_new && self.store.tombstone(io, &body.id).await?.is_none() {
                kept.push(riding.clone());
            }
        }
        let fit = self.fit()?;
        kept.retain(|kept| fit.covers(kept.license.body(), kid));
        let roots = kept.iter().filter_map(|kept| kept.license.body().leaf_of());
        let roots = self.roots_of(io, roots).await?;
        let mut candidates = Vec::new();
        for kept in &kept {
            let root = kept.license.body().leaf_of();
            let above = root.and_then(|root| roots.get(&root));
            candidates.extend(self.candidates_of(kept, above.map_or(&[], Vec::as_slice), question));
        }
        Ok(candidates)
    }

    /// A license, judged; a leaf once with each root license that it stands under (V-037), and if there is none, refused
    /// for that.
    pub(crate) fn candidates_of(
        &self,
        kept: &Kept,
        roots: &[Kept],
        question: &Question<'_>,
    ) -> Vec<Candidate> {
        let Some(root) = kept.license.body().leaf_of() else {
            return vec![self.candidate(kept, None, question)];
        };
        let above = roots.iter().filter(|root| chain::stands_under(kept, root));
        let chains: Vec<_> = above
            .map(|root| self.candidate(kept, Some(root), question))
            .collect();
        if chains.is_empty() {
            let verdict = Err(Stop::NoRoot(root));
            return vec![Candidate {
                verdict,
                ..self.candidate(kept, None, question)
            }];
        }
        chains
    }

    /// The outputs that a question is about.
    pub(crate) fn outputs_asked(&self, chain: &[&LicenseBody], question: &Question<'_>) -> Vec<Output> {
        match question.outputs {
            Some(outputs) => outputs.to_vec(),
            None => self.host.outputs_for(chain),
        }
    }

    fn candidate(&self, kept: &Kept, root: Option<&Kept>, question: &Question<'_>) -> Candidate {
        let Kept { place, recorded, .. } = root.unwrap_or(kept).clone();
        let usage = Usage {
            first_play: recorded.first_play,
            playing: false,
        };
        let level = self.level(&kept.operator);
        let chain = root.into_iter().chain([kept]);
        let chain: Vec<_> = chain.map(|kept| &*kept.license).collect();
        let outputs = self.outputs_asked(&bodies(&chain), question);
        let verdict = self.judge(&chain, usage, (&kept.operator, level), &outputs, question);
        Candidate {
            license: Arc::clone(&kept.license),
            root: root.map(|root| Arc::clone(&root.license)),
            operator: kept.operator,
            place,
            level,
            recorded,
            verdict,
        }
    }

    /// What a license must fit. What was installed to be embedded may be used whether or not it ever was.
    pub(crate) fn fit(&self) -> Result<Fit, ClientError> {
        let mut capabilities = self.capabilities();
        if !capabilities.terms.contains(&EMBED) {
            capabilities.terms.push(EMBED);
        }
        Ok(Fit {
            device: self.keys.device_id()?,
            capabilities,
        })
    }

    /// The device's security level under an operator.
    pub(crate) fn level(&self, operator: &Digest) -> u64 {
        let operator = self.operators.get(operator);
        operator
            .and_then(|operator| operator.claims.security_level)
            .unwrap_or_default()
    }

    /// What the rules say of a chain of licenses of an operator on this host, with these outputs; nothing permits what
    /// is no license any more.
    pub(crate) fn judge(
        &self,
        chain: &[&TrustedLicense],
        usage: Usage,
        (operator, level): (&Digest, u64),
        outputs: &[Output],
        question: &Question<'_>,
    ) -> Result<Allowed, Stop> {
        // V-020
        if !chain.iter().all(|license| self.trusts(operator, license)) {
            return Err(Stop::Distrusted);
        }
        let chain = bodies(chain);
        //
        let from = self.revoked_from(operator, &chain);
        let host = Host {
            security_level: question.security_level.unwrap_or(level),
            revoked: has_come(from, question.now),
            outputs,
            frame: question.frame,
            extended: &self.host.extended,
            sources: &self.host.sources,
            watermarks: &self.host.watermarks,
        };
        // What plays goes on by the time that it was opened at.
        let now = question
            .now
            .filter(|_| usage.playing || !self.is_untimed(operator));
        choose::judged(evaluate(&chain, &usage, &host, question.action, now))
    }

    /// a time at which a license was refused has been seen; setting the clock back afterwards does
    /// not revive the license.
    pub(crate) async fn remember_time(
        &mut self,
        io: &Io,
        unusable: &Unusable,
        now: Option<Timestamp>,
    ) -> Result<(), ClientError> {
        if unusable.by_time {
            self.store_floor(io, now).await?;
        }
        Ok(())
    }

    /// The time, if the clock may be used.
    pub(crate) fn now(&self, io: &Io) -> Option<Timestamp> {
        self.reading(io).now
    }
}
