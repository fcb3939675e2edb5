//! The usage rules: one pure function that the server (before it issues), the client (before it
//! decrypts) and a person who asks "why" all call. Rule numbers are those of `spec/rules.md`.
//!
//! ```text
//!  chain: licenses ─┐                       ┌── Refused: the rule, and when time heals it
//!  usage: first play├─► evaluate(…, now) ───┤
//!  host: level, outputs, what it can do     └── Allowed: until when, and each output's decision
//!  action: a right ─┘
//! ```
//! ```
//! use keyward_license::{
//!     ids::{DeviceId, Kid, LicenseId},
//!     license::{Binding, KeyDescription, KeyType, LicenseBody, LicenseKind},
//!     time::Timestamp,
//!     usage_rules::{Action, Decision, Host, Refusal, Usage, evaluate},
//! };
//! # let key = KeyDescription::content(Kid::new([2; 16]), KeyType::File);
//! # let binding = Binding::device(&DeviceId::new([3; 32]));
//! let rental = LicenseBody {
//!     end: Some(Timestamp(1_000)),
//!     expiration_after_first_play: Some(100),
//!     ..LicenseBody::new(LicenseId::new([1; 16]), LicenseKind::Simple, key, binding, Timestamp(0))
//! };
//! let played = Usage { first_play: Some(Timestamp(500)), ..Usage::default() };
//! let ask = |now| evaluate(&[&rental], &played, &Host::of_level(2000), Action::Play, Some(Timestamp(now)));
//! assert!(matches!(ask(599), Decision::Allowed(allowed) if allowed.until == Some(Timestamp(600))));
//! assert_eq!(ask(600), Decision::Refused(Refusal::FirstPlayExpired { at: Timestamp(600) }));
//! ```

mod output;
mod outputs;
mod rule;
mod time;

use crate::{
    license::{ExplicitRestriction, ExtendedRestriction, Guid, LicenseBody, Resolution, Right},
    time::Timestamp,
};

pub use output::{Connector, Hdcp, HdcpVersion, Output, OutputKind};
pub use outputs::{OutputDecision, OutputRules, Protections, Verdict};
pub use rule::{Refusal, Rule};

/// What the holder of a license wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Play: decrypt and render, or hand the clear bytes of a file to the application.
    Play,
    /// Key exchange: the operation that the description of the license's key names.
    Perform,
    /// The extended right of this kind.
    Extended(u64),
}

impl From<Right> for Action {
    fn from(right: Right) -> Self {
        match right {
            Right::Play => Self::Play,
            Right::Perform => Self::Perform,
        }
    }
}

/// What the client has recorded about the use of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// When it was first played: of a chain, the earliest among its licenses that expire after first play.
    pub first_play: Option<Timestamp>,
    /// R-014: a playback is going on that was opened under this chain.
    pub playing: bool,
}

/// The device that wants to use a license, and its circumstances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host<'a> {
    /// Security level from the device's certificate.
    pub security_level: u64,
    /// Whether the device is revoked, as far as is known (R-015).
    pub revoked: bool,
    /// Every way by which content would leave, in the host's order.
    pub outputs: &'a [Output],
    /// Size of the frames to be decoded, if it is known.
    pub frame: Option<Resolution>,
    /// The extended restrictions that the application understands.
    pub extended: &'a [Understood],
    /// Source ids whose rules the host follows.
    pub sources: &'a [u64],
    /// Watermark technologies that the host embeds.
    pub watermarks: &'a [Guid],
}

impl Host<'_> {
    /// A device of this level that is not revoked, has no outputs and understands nothing that needs
    /// understanding.
    #[must_use]
    pub const fn of_level(security_level: u64) -> Self {
        Self {
            security_level,
            revoked: false,
            outputs: &[],
            frame: None,
            extended: &[],
            sources: &[],
            watermarks: &[],
        }
    }
}

/// An extended restriction that an application understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Understood {
    /// Its kind.
    pub kind: u64,
    /// Whether the application can carry it out now.
    pub engaged: bool,
}

/// The answer to "may this be done now?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes, and for how long, and where it may go.
    Allowed(Allowed),
    /// No, and why.
    Refused(Refusal),
}

/// How and for how long an action is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// From when on the same question is refused; never, if absent. Of an expiration after first play that
    /// has not begun, what it will be if the first play is now.
    pub until: Option<Timestamp>,
    /// When this answer becomes another one: at `until`, or before, where a grace period begins.
    pub changes_at: Option<Timestamp>,
    /// R-014: when a playback that is opened now, or goes on, has to stop; never, if absent.
    pub playback_ends: Option<Timestamp>,
    /// The rule that `until` comes from; [`Rule::Right`] if there is none.
    pub decided_by: Rule,
    /// R-013: the license has ended and is in its grace period, so that a new one is to be asked for.
    pub in_grace: bool,
    /// R-012: the first play that the license's record has to hold before the key is used.
    pub first_play: Option<Timestamp>,
    /// R-011: the largest frame that may be decoded.
    pub largest_frame: Option<Resolution>,
    /// Where it may go: a decision for each of the host's outputs, in their order.
    pub outputs: Vec<OutputDecision>,
}

/// Judges a chain of licenses, a root before its leaf, for one action. `now` is absent if the clock may not be
/// used. Nothing is allocated but the list of the outputs' decisions.
#[must_use]
pub fn evaluate(
    chain: &[&LicenseBody],
    usage: &Usage,
    host: &Host<'_>,
    action: Action,
    now: Option<Timestamp>,
) -> Decision {
    match judge(chain, usage, host, action, now) {
        Ok(allowed) => Decision::Allowed(allowed),
        Err(refusal) => Decision::Refused(refusal),
    }
}

fn judge(
    chain: &[&LicenseBody],
    usage: &Usage,
    host: &Host<'_>,
    action: Action,
    now: Option<Timestamp>,
) -> Result<Allowed, Refusal> {
    granted(chain, action)?;
    host_suffices(chain, host)?;
    restrictions_hold(chain, host, action)?;
    let largest_frame = frame_fits(chain, host)?;
    let times = time::judge(chain, usage, now)?;
    let rules = OutputRules::of(chain);
    let decide = |output| rules.decide(output, host.security_level);
    Ok(Allowed {
        until: times.until,
        changes_at: times.changes_at,
        playback_ends: times.playback_ends,
        decided_by: times.decided_by,
        in_grace: times.in_grace,
        first_play: times.first_play,
        largest_frame,
        outputs: host.outputs.iter().map(decide).collect(),
    })
}

/// R-001
fn granted(chain: &[&LicenseBody], action: Action) -> Result<(), Refusal> {
    let grants = |license: &&LicenseBody| match action {
        Action::Play => license.rights.contains(&Right::Play),
        Action::Perform => license.rights.contains(&Right::Perform),
        Action::Extended(kind) => license.extended_right(kind).is_some(),
    };
    if !chain.is_empty() && chain.iter().all(grants) {
        Ok(())
    } else {
        Err(Refusal::RightNotGranted)
    }
}

fn host_suffices(chain: &[&LicenseBody], host: &Host<'_>) -> Result<(), Refusal> {
    // R-002
    let needed = chain
        .iter()
        .filter_map(|license| license.minimum_security_level)
        .max();
    if let Some(needed) = needed.filter(|needed| *needed > host.security_level) {
        return Err(Refusal::SecurityLevelTooLow {
            needed,
            actual: host.security_level,
        });
    }
    // R-015
    if host.revoked && chain.iter().any(|license| license.ends_with_revocation.is_some()) {
        return Err(Refusal::DeviceRevoked);
    }
    // R-006
    let mut sources = chain.iter().filter_map(|license| license.source_id);
    match sources.find(|source| !host.sources.contains(source)) {
        Some(id) => Err(Refusal::SourceNotFollowed { id }),
        None => Ok(()),
    }
}

fn restrictions_hold(chain: &[&LicenseBody], host: &Host<'_>, action: Action) -> Result<(), Refusal> {
    let understood = |one: &ExtendedRestriction| {
        let kind = one.kind;
        host.extended.iter().filter(move |known| known.kind == kind)
    };
    // R-007
    let unknown = |one: &&ExtendedRestriction| one.must_understand && understood(one).next().is_none();
    if let Some(one) = extended(chain, action).find(unknown) {
        return Err(Refusal::RestrictionNotUnderstood { kind: one.kind });
    }
    // R-008
    let fails = |one: &&ExtendedRestriction| !one.best_effort && understood(one).any(|known| !known.engaged);
    if let Some(one) = extended(chain, action).find(fails) {
        return Err(Refusal::RestrictionNotEngaged { kind: one.kind });
    }
    // R-009
    let missing = |one: &ExplicitRestriction| match one {
        ExplicitRestriction::Watermark(technology) => {
            Some(*technology).filter(|technology| !host.watermarks.contains(technology))
        }
        _ => None,
    };
    match explicit(chain).find_map(missing) {
        Some(technology) => Err(Refusal::WatermarkNotEmbedded { technology }),
        None => Ok(()),
    }
}

/// R-011: the largest frame that may be decoded, if there is a maximum.
fn frame_fits(chain: &[&LicenseBody], host: &Host<'_>) -> Result<Option<Resolution>, Refusal> {
    let maxima = explicit(chain).filter_map(|one| match one {
        ExplicitRestriction::MaximumDecodeResolution(largest) => Some(*largest),
        _ => None,
    });
    let largest = maxima.reduce(Resolution::smaller);
    match (largest, host.frame) {
        (Some(largest), Some(frame)) if !frame.fits(largest) => {
            Err(Refusal::FrameTooLarge { frame, largest })
        }
        _ => Ok(largest),
    }
}

/// Every extended restriction that counts for an action: the licenses' own and those of the extended right.
fn extended<'a>(
    chain: &'a [&'a LicenseBody],
    action: Action,
) -> impl Iterator<Item = &'a ExtendedRestriction> {
    chain.iter().flat_map(move |license| {
        let right = match action {
            Action::Play | Action::Perform => None,
            Action::Extended(kind) => license.extended_right(kind),
        };
        let of_right = right.into_iter().flat_map(|right| right.restrictions());
        license.extended_restrictions().iter().chain(of_right)
    })
}

fn explicit<'a>(chain: &'a [&'a LicenseBody]) -> impl Iterator<Item = &'a ExplicitRestriction> {
    chain.iter().flat_map(|license| license.explicit_restrictions())
}

#[cfg(test)]
mod tests;
