//! which of several licenses of a key is used.

use core::cmp::Reverse;
use std::sync::Arc;

use keyward_license::{
    ids::{Digest, Kid, LicenseId},
    license::{LicenseBody, LicenseKind},
    time::Timestamp,
    usage_rules::{Action, Allowed, Decision, Refusal, Rule, Verdict},
};

use crate::{
    ClientError,
    store::{KeyUses, LicenseRecord, RecordKey},
    verified::TrustedLicense,
};

/// Why a license does not permit something now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stop {
    /// A usage rule refuses.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// every output is blocked; the rule that blocks the first.
    #[error("no output may carry it: {}", .0.says())]
    Blocked(Rule),
    /// V-037: a leaf license that stands under no root license of this client; the key id of its root.
    #[error("it needs the license of its root, {0}, which is not there")]
    NoRoot(Kid),
    /// V-020: the license is none any more: since it was opened, a revocation list has come that names its signer from
    /// before it was issued on.
    #[error("its signer was revoked before it was issued")]
    Distrusted,
}

impl Stop {
    /// The rule that decided.
    #[must_use]
    pub const fn rule(&self) -> Rule {
        match self {
            Self::Refused(refusal) => refusal.rule(),
            Self::Blocked(rule) => *rule,
            // Without its root a leaf is no chain, and no chain is no permission; nor is what is no license.
            Self::NoRoot(_) | Self::Distrusted => Rule::Right,
        }
    }

    /// When time alone makes it another answer; never, if absent.
    #[must_use]
    pub const fn changes_at(&self) -> Option<Timestamp> {
        match self {
            Self::Refused(refusal) => refusal.changes_at(),
            Self::Blocked(_) | Self::NoRoot(_) | Self::Distrusted => None,
        }
    }

    /// Whether a license that was issued later may permit what this one refuses. Of outputs a license server
    /// knows nothing.
    pub(crate) const fn may_be_helped(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::NoRoot(_) | Self::Distrusted)
    }

    /// Whether time refused, so that the time is worth remembering.
    pub(crate) const fn is_by_time(&self) -> bool {
        matches!(
            self,
            Self::Refused(
                Refusal::Ended { .. } | Refusal::FirstPlayExpired { .. } | Refusal::NotYetValid { .. }
            )
        )
    }

    /// Whether another license may take its place: time refused this one, or it is none any more.
    pub(crate) const fn asks_for_another(&self) -> bool {
        self.is_by_time() || matches!(self, Self::Distrusted)
    }

    pub(crate) const fn of(self, kid: Kid) -> ClientError {
        match self {
            Self::Refused(refusal) => ClientError::Refused { kid, refusal },
            Self::Blocked(rule) => ClientError::Blocked { kid, rule },
            Self::NoRoot(root) => ClientError::NoRoot { kid, root },
            Self::Distrusted => ClientError::NoLicense { kid },
        }
    }
}

/// what the rules say, and a refusal if they permit it nowhere.
pub(crate) fn judged(decision: Decision) -> Result<Allowed, Stop> {
    let allowed = match decision {
        Decision::Allowed(allowed) => allowed,
        Decision::Refused(refusal) => return Err(refusal.into()),
    };
    match allowed.outputs.first() {
        Some(first) if blocked(&allowed) == allowed.outputs.len() => Err(Stop::Blocked(first.decided_by)),
        _ => Ok(allowed),
    }
}

fn blocked(allowed: &Allowed) -> usize {
    let blocks = allowed
        .outputs
        .iter()
        .filter(|output| output.verdict == Verdict::Block);
    blocks.count()
}

/// What the keys of a license are for. No license serves both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Content, by every action but one.
    Content,
    /// The application's own data.
    Exchange,
}

impl Purpose {
    pub(crate) const fn of(action: Action) -> Self {
        match action {
            Action::Perform => Self::Exchange,
            Action::Play | Action::Extended(_) => Self::Content,
        }
    }

    pub(crate) fn of_license(license: &LicenseBody) -> Self {
        if license.kind == LicenseKind::KeyExchange {
            Self::Exchange
        } else {
            Self::Content
        }
    }

    /// What the holder of such a license does before anything else.
    pub(crate) const fn action(self) -> Action {
        match self {
            Self::Content => Action::Play,
            Self::Exchange => Action::Perform,
        }
    }

    /// The error for a key id whose licenses are all for the other purpose.
    pub(crate) const fn not_of(self, kid: Kid) -> ClientError {
        match self {
            Self::Content => ClientError::NotAContentKey { kid },
            Self::Exchange => ClientError::NotAnExchangeKey { kid },
        }
    }
}

/// Where a license is.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// In the store, under a key.
    Store(RecordKey, LicenseRecord),
    /// In memory.
    Memory,
}

/// What the use of a license has left behind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorded {
    /// the first play.
    pub(crate) first_play: Option<Timestamp>,
    /// the uses of its exchange keys.
    pub(crate) uses: Vec<KeyUses>,
}

impl Recorded {
    /// Whether the license has been used in a way that counts.
    pub(crate) const fn is_begun(&self) -> bool {
        self.first_play.is_some() || !self.uses.is_empty()
    }

    /// how many uses of a key were taken.
    pub(crate) fn taken(&self, kid: Kid) -> u64 {
        let of_kid = self.uses.iter().find(|uses| uses.kid == kid);
        of_kid.map_or(0, |uses| uses.taken)
    }

    /// states how many uses of a key were taken.
    pub(crate) fn set_taken(&mut self, kid: Kid, taken: u64) {
        self.uses.retain(|uses| uses.kid != kid);
        if taken > 0 {
            self.uses.push(KeyUses { kid, taken });
        }
    }
}

/// A verified license as this client has it.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) license: Arc<TrustedLicense>,
    /// Whose root certificate it is judged by.
    pub(crate) operator: Digest,
    pub(crate) place: Place,
    pub(crate) recorded: Recorded,
}

/// A license, or a leaf and the root that it stands under, and what the rules say of it.
pub(crate) struct Candidate {
    /// The license that holds the key.
    pub(crate) license: Arc<TrustedLicense>,
    /// V-037: the root license, if that one is a leaf.
    pub(crate) root: Option<Arc<TrustedLicense>>,
    /// Whose root certificate they are judged by.
    pub(crate) operator: Digest,
    /// Where the license is that records the use: of a chain the root.
    pub(crate) place: Place,
    /// Security level of the device under the license's operator.
    pub(crate) level: u64,
    /// What that license has recorded.
    pub(crate) recorded: Recorded,
    pub(crate) verdict: Result<Allowed, Stop>,
}

impl Candidate {
    /// The license that holds the key.
    pub(crate) fn body(&self) -> &LicenseBody {
        self.license.body()
    }

    pub(crate) fn id(&self) -> LicenseId {
        self.body().id
    }

    /// The root of a chain.
    pub(crate) fn root_body(&self) -> Option<&LicenseBody> {
        self.root.as_deref().map(|root| root.body())
    }

    /// The license that holds the limits in time and records the use: of a chain the root.
    pub(crate) fn records(&self) -> &LicenseBody {
        self.root_body().unwrap_or_else(|| self.body())
    }

    /// What is judged together, a root before its leaf.
    pub(crate) fn chain(&self) -> Vec<&LicenseBody> {
        self.root_body().into_iter().chain([self.body()]).collect()
    }
}

/// A candidate that the rules permit, and how.
pub(crate) struct Chosen {
    pub(crate) candidate: Candidate,
    pub(crate) allowed: Allowed,
}

/// Why there is no license that may be used.
#[derive(Debug, Clone)]
pub(crate) struct Unusable {
    /// Of the licenses that there are the stop that says most; nothing if there is none.
    pub(crate) stop: Option<Stop>,
    /// Whether time refused one of them, whatever says most.
    pub(crate) by_time: bool,
    /// whether one of them permits no further use of its key.
    pub(crate) used_up: bool,
    /// The roots of leaves that may be of use under another license of their root.
    pub(crate) roots: Vec<Kid>,
}

/// The best license, or why there is none.
pub(crate) fn best(candidates: Vec<Candidate>) -> Result<Chosen, Unusable> {
    let stops = candidates.iter().filter_map(|one| one.verdict.as_ref().err());
    let unusable = Unusable {
        stop: closest(&candidates),
        by_time: { stops }.any(Stop::is_by_time),
        used_up: false,
        roots: roots_to_renew(&candidates),
    };
    let allowed = candidates.into_iter().filter_map(|candidate| {
        let allowed = candidate.verdict.clone().ok()?;
        Some(Chosen { candidate, allowed })
    });
    allowed
        .min_by_key(|chosen| order(&chosen.candidate, &chosen.allowed))
        .ok_or(unusable)
}

/// the order of those that the rules permit, the best first. For key exchange with the newest version: an
/// operator that renews a key may not accept what the version before it makes. Of a chain the root is asked first when
/// it was issued and for its id, then the leaf.
pub(crate) fn order(candidate: &Candidate, allowed: &Allowed) -> impl Ord + use<> {
    let body = candidate.body();
    let last = |time: Option<Timestamp>| Reverse(time.unwrap_or(Timestamp(u64::MAX)));
    let version = body.keys.first().and_then(|key| key.version);
    let begins_first_play = allowed.first_play.is_some() && candidate.recorded.first_play.is_none();
    (
        Reverse(version),
        begins_first_play,
        blocked(allowed),
        allowed.in_grace,
        last(allowed.until),
        last(allowed.playback_ends),
        candidate.chain().iter().any(|license| !license.persistent),
        (Reverse(candidate.records().issued), Reverse(body.issued)),
        (candidate.records().id, body.id),
    )
}

/// Of the leaves that a later license of their root may help, the key ids of the roots.
fn roots_to_renew(candidates: &[Candidate]) -> Vec<Kid> {
    let helped = candidates.iter().filter(|candidate| {
        let stop = candidate.verdict.as_ref().err();
        stop.is_some_and(|stop| stop.is_by_time() || matches!(stop, Stop::NoRoot(_)))
    });
    let mut roots: Vec<_> = helped
        .filter_map(|candidate| candidate.body().leaf_of())
        .collect();
    roots.sort_unstable();
    roots.dedup();
    roots
}

/// The stop that tells the viewer most: what the viewer can mend, then what time alone heals, before any other.
fn closest(candidates: &[Candidate]) -> Option<Stop> {
    let rank = |stop: &Stop| match stop {
        Stop::Blocked(_) => 0,
        Stop::Refused(Refusal::NotYetValid { .. }) => 1,
        Stop::Refused(Refusal::NoUsableClock) => 2,
        Stop::Refused(Refusal::Ended { .. } | Refusal::FirstPlayExpired { .. }) => 3,
        Stop::Refused(_) => 4,
        Stop::NoRoot(_) => 5,
        Stop::Distrusted => 6,
    };
    let stops = candidates.iter().filter_map(|one| one.verdict.as_ref().err());
    stops.copied().min_by_key(rank)
}
