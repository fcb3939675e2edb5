//! Why may this be done, or not: the answers of the usage rules, for people.
//!
//! The same function answers as before a key is released ([`usage_rules`](keyward_license::usage_rules)); what it
//! is told can be something else than what is: another time, another device, other outputs.

use core::cmp::Ordering;

use keyward_license::{
    ids::{Digest, Kid},
    license::LicenseBody,
    time::Timestamp,
    usage_rules::{Action, Allowed, Output, OutputDecision, OutputRules},
};
use rand_core::CryptoRng;

use crate::{
    Client, ClientError,
    choose::{self, Candidate, Kept, Place, Recorded, Stop},
    device::KeyStore,
    enforce::Question,
    flow::Io,
};

/// What to judge by, in the place of what is.
#[derive(Debug, Clone)]
pub struct Circumstances {
    /// What the holder wants to do.
    pub action: Action,
    /// Another time than now.
    pub at: Option<Timestamp>,
    /// Another security level than the device's.
    pub security_level: Option<u64>,
    /// Other outputs than the host's.
    pub outputs: Option<Vec<Output>>,
}

impl Default for Circumstances {
    fn default() -> Self {
        Self {
            action: Action::Play,
            at: None,
            security_level: None,
            outputs: None,
        }
    }
}

/// What the rules say of one license, or of one leaf under one root license of its root.
#[derive(Debug, Clone)]
pub struct Explained {
    /// Its terms.
    pub body: LicenseBody,
    /// V-037: of a leaf, the terms of the root license that it is judged with, as strictly as the stricter of both. None
    /// if no root is held that it stands under, and of any other license.
    pub root: Option<LicenseBody>,
    /// The operator whose license server signed it: SHA-256 of the root certificate.
    pub operator: Digest,
    /// its first play, if there was one; of a leaf its root's.
    pub first_play: Option<Timestamp>,
    /// of each exchange key that has a use limit, how many uses were taken.
    pub uses: Vec<(Kid, u64)>,
    /// Whether this client holds it and may use it; not so a license file of another device, or one that demands
    /// what this client does not enforce (V-029).
    pub is_usable_here: bool,
    /// The time that it was judged at; none if the clock may not be used.
    pub now: Option<Timestamp>,
    /// The security level that it was judged with.
    pub security_level: u64,
    /// The outputs that it was judged with.
    pub outputs: Vec<Output>,
    /// The decision about each, if it was allowed or refused because all are blocked; otherwise none.
    pub decisions: Vec<OutputDecision>,
    /// The answer.
    pub verdict: Result<Allowed, Stop>,
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    pub(crate) async fn run_explain(
        &self,
        io: &Io,
        kid: Kid,
        circumstances: &Circumstances,
    ) -> Result<Vec<Explained>, ClientError> {
        let question = self.question(io, circumstances);
        let mut candidates = self.all_candidates(io, kid, &question).await?;
        candidates.sort_by(best_first);
        let explain = |candidate| self.explained(candidate, &question, true);
        Ok(candidates.into_iter().map(explain).collect())
    }

    pub(crate) async fn run_explain_license(
        &self,
        io: &Io,
        signed: &[u8],
        circumstances: &Circumstances,
    ) -> Result<Option<Explained>, ClientError> {
        let question = self.question(io, circumstances);
        let mut operators = self.operators.keys();
        let verified = operators.find_map(|id| Some((*id, self.verified(id, signed)?)));
        let Some((operator, license)) = verified else {
            return Ok(None);
        };
        let (id, kid) = (license.body().id, license.body().asked_kid().ok());
        let fit = self.fit()?;
        let is_for = kid.is_some_and(|kid| fit.covers(license.body(), kid));
        // One that is held has a first play; a file has none.
        let mut held = match kid {
            Some(kid) => self.all_candidates(io, kid, &question).await?,
            None => Vec::new(),
        };
        held.retain(|held| held.id() == id);
        if held.is_empty() {
            let roots = match license.body().leaf_of() {
                Some(root) => self.roots(io, root).await?,
                None => Vec::new(),
            };
            let kept = Kept {
                license,
                operator,
                place: Place::Memory,
                recorded: Recorded::default(),
            };
            held = self.candidates_of(&kept, &roots, &question);
        }
        let best = held.into_iter().min_by(best_first);
        Ok(best.map(|best| self.explained(best, &question, is_for)))
    }

    fn question<'q>(&self, io: &Io, circumstances: &'q Circumstances) -> Question<'q> {
        Question {
            action: circumstances.action,
            now: circumstances.at.or_else(|| self.now(io)),
            frame: None,
            outputs: circumstances.outputs.as_deref(),
            security_level: circumstances.security_level,
            riding: &[],
        }
    }

    fn explained(&self, candidate: Candidate, question: &Question<'_>, is_usable_here: bool) -> Explained {
        let body = candidate.body().clone();
        let chain = candidate.chain();
        let outputs = self.outputs_asked(&chain, question);
        let security_level = question.security_level.unwrap_or(candidate.level);
        let decisions = match &candidate.verdict {
            Ok(allowed) => allowed.outputs.clone(),
            Err(Stop::Blocked(_)) => {
                let rules = OutputRules::of(&chain);
                let decide = |output| rules.decide(output, security_level);
                outputs.iter().map(decide).collect()
            }
            Err(Stop::Refused(_) | Stop::NoRoot(_) | Stop::Distrusted) => Vec::new(),
        };
        Explained {
            outputs,
            decisions,
            body,
            root: candidate.root_body().cloned(),
            operator: candidate.operator,
            first_play: candidate.recorded.first_play,
            uses: uses(&candidate.recorded),
            is_usable_here: is_usable_here && !matches!(candidate.verdict, Err(Stop::NoRoot(_))),
            now: question.now,
            security_level,
            verdict: candidate.verdict,
        }
    }
}

/// The uses that were taken of each key.
pub(crate) fn uses(recorded: &Recorded) -> Vec<(Kid, u64)> {
    recorded.uses.iter().map(|uses| (uses.kid, uses.taken)).collect()
}

/// R-040, then those that are refused.
pub(crate) fn best_first(one: &Candidate, other: &Candidate) -> Ordering {
    match (&one.verdict, &other.verdict) {
        (Ok(allowed), Ok(also)) => choose::order(one, allowed).cmp(&choose::order(other, also)),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => one.id().cmp(&other.id()),
    }
}
