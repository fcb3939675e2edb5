//! `spec/rules.md`, R-001 to R-036, in the order and in the words of its tables and without any haste: each rule
//! looks through the whole chain for itself and knows nothing of the others.
//!
//! R-010 is the client's: a clock that may not be used is a question without `now`.

// Named, so that the file can be included from elsewhere.
#[path = "naive/outputs.rs"]
mod outputs;

use keyward_license::{
    license::{ExplicitRestriction, ExtendedRestriction, LicenseBody, Resolution, Right},
    usage_rules::{Action, Decision, Protections, Refusal, Rule, Verdict},
};

use crate::generate::Case;
use outputs::{WHERE_IT_MAY_GO, decide};

/// A decision with everything in it that the spec says, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Refused {
        rule: &'static str,
        changes_at: Option<u64>,
    },
    Allowed {
        until: Option<u64>,
        changes_at: Option<u64>,
        playback_ends: Option<u64>,
        rule: &'static str,
        in_grace: bool,
        first_play: Option<u64>,
        largest_frame: Option<Resolution>,
        outputs: Vec<(Verdict, &'static str, Protections)>,
    },
}

impl Answer {
    /// The rule that decided.
    pub(crate) fn rule(&self) -> &'static str {
        match self {
            Self::Refused { rule, .. } | Self::Allowed { rule, .. } => rule,
        }
    }
}

impl From<&Decision> for Answer {
    fn from(decision: &Decision) -> Self {
        match decision {
            Decision::Refused(refusal) => Self::Refused {
                rule: refusal.rule().number(),
                changes_at: refusal.changes_at().map(|time| time.0),
            },
            Decision::Allowed(allowed) => Self::Allowed {
                until: allowed.until.map(|time| time.0),
                changes_at: allowed.changes_at.map(|time| time.0),
                playback_ends: allowed.playback_ends.map(|time| time.0),
                rule: allowed.decided_by.number(),
                in_grace: allowed.in_grace,
                first_play: allowed.first_play.map(|time| time.0),
                largest_frame: allowed.largest_frame,
                outputs: allowed
                    .outputs
                    .iter()
                    .map(|output| (output.verdict, output.decided_by.number(), output.engage))
                    .collect(),
            },
        }
    }
}

/// What the spec says about the case.
pub(crate) fn answer(case: &Case) -> Answer {
    // No license is no permission.
    if case.chain.is_empty() {
        return Answer::Refused {
            rule: "R-001",
            changes_at: None,
        };
    }
    for (rule, refuses) in WHETHER_IT_MAY_BE_USED {
        if case.chain.iter().any(|license| refuses(case, license)) {
            let changes_at = (rule == "R-004").then(|| latest_begin(case)).flatten();
            return Answer::Refused { rule, changes_at };
        }
    }
    let until = until(case);
    let in_grace = case.chain.iter().any(|license| r_013(case, license));
    Answer::Allowed {
        until: until.map(|(time, _)| time),
        changes_at: changes_at(case, until.map(|(time, _)| time)),
        playback_ends: playback_ends(case),
        rule: match until {
            None => "R-001",
            Some((_, "R-005")) if in_grace => "R-013",
            Some((_, rule)) => rule,
        },
        in_grace,
        first_play: first_play_to_record(case),
        largest_frame: largest_frame(case),
        outputs: case.outputs.iter().map(|output| decide(case, output)).collect(),
    }
}

/// Whether a refusal's particulars are those of the chain: of levels and begins the highest, of what expires the
/// earliest, and for the rest some that refuse.
pub(crate) fn particulars_fit(case: &Case, refusal: &Refusal) -> bool {
    let restrictions = || case.chain.iter().flat_map(|license| extended(case, license));
    match *refusal {
        Refusal::RightNotGranted | Refusal::NoUsableClock => true,
        Refusal::SecurityLevelTooLow { needed, actual } => {
            let levels = case.chain.iter().filter_map(|one| one.minimum_security_level);
            levels.max() == Some(needed) && actual == case.security_level
        }
        Refusal::DeviceRevoked => {
            case.revoked && case.chain.iter().any(|one| one.ends_with_revocation.is_some())
        }
        Refusal::SourceNotFollowed { id } => {
            case.chain.iter().any(|one| one.source_id == Some(id)) && !case.sources.contains(&id)
        }
        Refusal::RestrictionNotUnderstood { kind } => {
            restrictions().any(|one| one.kind == kind && one.must_understand)
                && !case.extended.iter().any(|one| one.kind == kind)
        }
        Refusal::RestrictionNotEngaged { kind } => {
            restrictions().any(|one| one.kind == kind && !one.best_effort)
                && case.extended.iter().any(|one| one.kind == kind && !one.engaged)
        }
        Refusal::WatermarkNotEmbedded { technology } => {
            has(case, &ExplicitRestriction::Watermark(technology)) && !case.watermarks.contains(&technology)
        }
        Refusal::FrameTooLarge { frame, largest } => {
            case.frame == Some(frame) && largest_frame(case).map(sides) == Some(sides(largest))
        }
        Refusal::NotYetValid { begin } => latest_begin(case) == Some(begin.0),
        Refusal::Ended { end } => earliest(case, "R-005") == Some(end.0),
        Refusal::FirstPlayExpired { at } => earliest(case, "R-012") == Some(at.0),
        _ => false,
    }
}

/// The rules of the first table that refuse, in its order: each says whether it refuses for one license.
const WHETHER_IT_MAY_BE_USED: [(&str, Refuses); 12] = [
    ("R-001", r_001),
    ("R-002", r_002),
    ("R-015", r_015),
    ("R-006", r_006),
    ("R-007", r_007),
    ("R-008", r_008),
    ("R-009", r_009),
    ("R-011", r_011),
    ("R-003", r_003),
    ("R-004", r_004),
    ("R-005", r_005),
    ("R-012", r_012),
];

type Refuses = fn(&Case, &LicenseBody) -> bool;

/// the action is granted.
fn r_001(case: &Case, license: &LicenseBody) -> bool {
    let granted = match case.action {
        Action::Play => license.rights.contains(&Right::Play),
        Action::Perform => license.rights.contains(&Right::Perform),
        Action::Extended(kind) => license
            .extended_rights
            .iter()
            .flatten()
            .any(|right| right.kind == kind),
    };
    !granted
}

/// the device's security level is at least the license's minimum.
fn r_002(case: &Case, license: &LicenseBody) -> bool {
    match license.minimum_security_level {
        Some(minimum) => case.security_level < minimum,
        None => false,
    }
}

/// a device that is revoked does not use a license that ends with that.
fn r_015(case: &Case, license: &LicenseBody) -> bool {
    case.revoked && license.ends_with_revocation.is_some()
}

/// the host follows the rules of the license's source.
fn r_006(case: &Case, license: &LicenseBody) -> bool {
    match license.source_id {
        Some(id) => !case.sources.contains(&id),
        None => false,
    }
}

/// a kind that the host does not understand refuses if it must be understood.
fn r_007(case: &Case, license: &LicenseBody) -> bool {
    extended(case, license).any(|restriction| {
        let understood = case.extended.iter().any(|one| one.kind == restriction.kind);
        !understood && restriction.must_understand
    })
}

/// a kind that the host understands and cannot engage refuses, unless it is best effort.
fn r_008(case: &Case, license: &LicenseBody) -> bool {
    extended(case, license).any(|restriction| {
        let not_engaged = case
            .extended
            .iter()
            .any(|one| one.kind == restriction.kind && !one.engaged);
        not_engaged && !restriction.best_effort
    })
}

/// the host embeds a watermark of the technology that is demanded.
fn r_009(case: &Case, license: &LicenseBody) -> bool {
    explicit(license).any(|restriction| match restriction {
        ExplicitRestriction::Watermark(technology) => !case.watermarks.contains(technology),
        _ => false,
    })
}

/// the frame fits in either orientation, if it is known.
fn r_011(case: &Case, license: &LicenseBody) -> bool {
    let Some(frame) = case.frame.map(sides) else {
        return false;
    };
    explicit(license).any(|restriction| match restriction {
        ExplicitRestriction::MaximumDecodeResolution(maximum) => {
            let maximum = sides(*maximum);
            frame.0 > maximum.0 || frame.1 > maximum.1
        }
        _ => false,
    })
}

/// a license that is limited in time is used only with a clock that may be used.
fn r_003(case: &Case, license: &LicenseBody) -> bool {
    let limited =
        license.begin.is_some() || license.end.is_some() || license.expiration_after_first_play.is_some();
    r_014(case, license) && limited && case.now.is_none()
}

/// not before `begin`.
fn r_004(case: &Case, license: &LicenseBody) -> bool {
    match (case.now, license.begin) {
        (Some(now), Some(begin)) => r_014(case, license) && now.0 < begin.0,
        _ => false,
    }
}

/// not from `end` on; with a grace period, not from `end` plus the grace period on.
fn r_005(case: &Case, license: &LicenseBody) -> bool {
    match (case.now, ends(license)) {
        (Some(now), Some(ends)) => r_014(case, license) && now.0 >= ends,
        _ => false,
    }
}

/// not from the first play plus the expiration after first play on.
fn r_012(case: &Case, license: &LicenseBody) -> bool {
    match (case.now, expires_after_first_play(case, license)) {
        (Some(now), Some(expires)) => r_014(case, license) && now.0 >= expires,
        _ => false,
    }
}

/// from `end` on, within the grace period, the license is in grace.
fn r_013(case: &Case, license: &LicenseBody) -> bool {
    match (case.now, license.end, license.grace_period) {
        (Some(now), Some(end), Some(grace)) => {
            r_014(case, license) && now.0 >= end.0 && now.0 < sum(end.0, grace)
        }
        _ => false,
    }
}

/// whether look at the license.
fn r_014(case: &Case, license: &LicenseBody) -> bool {
    !case.usage.playing || license.real_time_expiration.is_some()
}

/// When R-005 refuses from.
fn ends(license: &LicenseBody) -> Option<u64> {
    match (license.end, license.grace_period) {
        (Some(end), Some(grace)) => Some(sum(end.0, grace)),
        (Some(end), None) => Some(end.0),
        (None, _) => None,
    }
}

/// When R-012 refuses from.
fn expires_after_first_play(case: &Case, license: &LicenseBody) -> Option<u64> {
    let now = case.now?.0;
    let after = license.expiration_after_first_play?;
    Some(sum(first_play(case, now), after))
}

/// a first play that is not recorded, or lies after now, is now.
fn first_play(case: &Case, now: u64) -> u64 {
    match case.usage.first_play {
        Some(recorded) if recorded.0 <= now => recorded.0,
        _ => now,
    }
}

/// When anything expires, by R-005 or by R-012, in licenses that `counts` picks.
fn expiries(case: &Case, counts: impl Fn(&LicenseBody) -> bool) -> Vec<(u64, &'static str)> {
    let mut all = Vec::new();
    for license in case.chain.iter().filter(|license| counts(license)) {
        all.extend(ends(license).map(|time| (time, "R-005")));
        all.extend(expires_after_first_play(case, license).map(|time| (time, "R-012")));
    }
    all
}

/// The earliest of what expires, and the rule that it comes from: R-005 before R-012 where they are equal.
fn until(case: &Case) -> Option<(u64, &'static str)> {
    expiries(case, |license| r_014(case, license)).into_iter().min()
}

/// The earliest of what expires by one of the rules.
fn earliest(case: &Case, by: &str) -> Option<u64> {
    expiries(case, |license| r_014(case, license))
        .into_iter()
        .filter(|(_, rule)| *rule == by)
        .map(|(time, _)| time)
        .min()
}

/// The earliest `end` with a grace period if that is still to come and before *until*, otherwise *until*.
fn changes_at(case: &Case, until: Option<u64>) -> Option<u64> {
    let (now, until) = (case.now?.0, until?);
    let end_with_grace = case
        .chain
        .iter()
        .filter(|license| r_014(case, license) && license.grace_period.is_some())
        .filter_map(|license| license.end)
        .map(|end| end.0)
        .min();
    match end_with_grace {
        Some(end) if end > now && end < until => Some(end),
        _ => Some(until),
    }
}

/// The earliest of what expires in licenses with a real-time expiration.
fn playback_ends(case: &Case) -> Option<u64> {
    expiries(case, |license| license.real_time_expiration.is_some())
        .into_iter()
        .map(|(time, _)| time)
        .min()
}

/// If a license of the chain that R-012 looks at expires after first play.
fn first_play_to_record(case: &Case) -> Option<u64> {
    let expires = case
        .chain
        .iter()
        .any(|license| r_014(case, license) && license.expiration_after_first_play.is_some());
    let now = case.now?.0;
    expires.then(|| first_play(case, now))
}

fn latest_begin(case: &Case) -> Option<u64> {
    case.chain
        .iter()
        .filter(|license| r_014(case, license))
        .filter_map(|license| license.begin)
        .map(|begin| begin.0)
        .max()
}

/// the maximum; of several the smaller longer side as the width, the smaller shorter side as the height.
fn largest_frame(case: &Case) -> Option<Resolution> {
    let maxima: Vec<_> = all_explicit(case)
        .filter_map(|restriction| match restriction {
            ExplicitRestriction::MaximumDecodeResolution(maximum) => Some(*maximum),
            _ => None,
        })
        .collect();
    match maxima[..] {
        [] => None,
        [maximum] => Some(maximum),
        _ => Some(Resolution {
            width: maxima.iter().map(|maximum| sides(*maximum).0).min()?,
            height: maxima.iter().map(|maximum| sides(*maximum).1).min()?,
        }),
    }
}

fn has(case: &Case, restriction: &ExplicitRestriction) -> bool {
    all_explicit(case).any(|one| one == restriction)
}

fn all_explicit(case: &Case) -> impl Iterator<Item = &ExplicitRestriction> {
    case.chain.iter().flat_map(explicit)
}

fn explicit(license: &LicenseBody) -> impl Iterator<Item = &ExplicitRestriction> {
    license.explicit_restrictions.iter().flatten()
}

/// the license's own extended restrictions, and those of the extended right that is the action.
fn extended<'a>(case: &'a Case, license: &'a LicenseBody) -> impl Iterator<Item = &'a ExtendedRestriction> {
    let of_action = license
        .extended_rights
        .iter()
        .flatten()
        .filter(|right| case.action == Action::Extended(right.kind))
        .flat_map(|right| right.restrictions.iter().flatten());
    license.extended_restrictions.iter().flatten().chain(of_action)
}

/// Sums of times stay at the largest number instead of wrapping.
fn sum(time: u64, seconds: u64) -> u64 {
    let sum = u128::from(time) + u128::from(seconds);
    u64::try_from(sum).unwrap_or(u64::MAX)
}

/// The longer side and the shorter one.
fn sides(size: Resolution) -> (u32, u32) {
    if size.width >= size.height {
        (size.width, size.height)
    } else {
        (size.height, size.width)
    }
}

/// Every number that a rule may decide with, so that a test can ask whether all of them came up.
pub(crate) fn numbers() -> impl Iterator<Item = &'static str> {
    let of_use = WHETHER_IT_MAY_BE_USED.iter().map(|(rule, _)| *rule);
    let of_outputs = WHERE_IT_MAY_GO.iter().map(|(rule, _)| *rule);
    of_use.chain(["R-013"]).chain(of_outputs)
}

#[test]
fn the_rules_are_those_of_the_library() {
    // R-014 decides nothing for itself: it says what others look at.
    let mut named: Vec<_> = numbers().chain(["R-014"]).collect();
    named.sort_unstable();
    let mut known: Vec<_> = Rule::ALL.iter().map(|rule| rule.number()).collect();
    known.sort_unstable();
    assert_eq!(named, known);
}
