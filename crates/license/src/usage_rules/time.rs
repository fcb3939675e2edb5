//! what time says about a chain.

use super::{Refusal, Rule, Usage};
use crate::{license::LicenseBody, time::Timestamp};

/// What time says where it does not refuse.
pub(super) struct Times {
    pub(super) until: Option<Timestamp>,
    pub(super) changes_at: Option<Timestamp>,
    pub(super) playback_ends: Option<Timestamp>,
    pub(super) decided_by: Rule,
    pub(super) in_grace: bool,
    pub(super) first_play: Option<Timestamp>,
}

impl Times {
    const UNLIMITED: Self = Self {
        until: None,
        changes_at: None,
        playback_ends: None,
        decided_by: Rule::Right,
        in_grace: false,
        first_play: None,
    };
}

pub(super) fn judge(chain: &[&LicenseBody], usage: &Usage, now: Option<Timestamp>) -> Result<Times, Refusal> {
    //
    let counts = |license: &&&LicenseBody| !usage.playing || is_real_time(license);
    let licenses = || chain.iter().filter(counts);
    if !licenses().any(|license| license.is_time_limited()) {
        return Ok(Times::UNLIMITED);
    }
    //
    let now = now.ok_or(Refusal::NoUsableClock)?;
    //
    let begin = licenses().filter_map(|license| license.begin).max();
    if let Some(begin) = begin.filter(|begin| now < *begin) {
        return Err(Refusal::NotYetValid { begin });
    }
    //
    let end = licenses().filter_map(|license| license.usable_until()).min();
    if let Some(end) = end.filter(|end| *end <= now) {
        return Err(Refusal::Ended { end });
    }
    //
    let first_play = usage.first_play.map_or(now, |played| played.min(now));
    let after_first_play = |license: &LicenseBody| {
        license
            .expiration_after_first_play
            .map(|seconds| first_play.plus(seconds))
    };
    let played_out = licenses().filter_map(|license| after_first_play(license)).min();
    if let Some(at) = played_out.filter(|at| *at <= now) {
        return Err(Refusal::FirstPlayExpired { at });
    }
    let until = end.into_iter().chain(played_out).min();
    //
    let ends_before_grace = || {
        licenses()
            .filter(|license| license.grace_period.is_some())
            .filter_map(|license| license.end)
    };
    let in_grace = ends_before_grace().any(|end| end <= now);
    // A later one changes nothing in an answer that is in grace already.
    let grace_begins = ends_before_grace()
        .min()
        .filter(|end| now < *end && until.is_none_or(|until| *end < until));
    //
    let expiry = |license: &&LicenseBody| {
        let end = license.usable_until();
        end.into_iter().chain(after_first_play(license)).min()
    };
    let playback_ends = chain
        .iter()
        .filter(|license| is_real_time(license))
        .filter_map(expiry)
        .min();
    Ok(Times {
        until,
        changes_at: grace_begins.or(until),
        playback_ends,
        decided_by: match until {
            None => Rule::Right,
            Some(_) if until != end => Rule::FirstPlay,
            Some(_) if in_grace => Rule::Grace,
            Some(_) => Rule::End,
        },
        in_grace,
        first_play: played_out.map(|_| first_play),
    })
}

fn is_real_time(license: &LicenseBody) -> bool {
    license.real_time_expiration.is_some()
}
