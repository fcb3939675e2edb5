//! What is wrong with a client directory, and what will go wrong.
//!
//! Opening the store is part of it: a commit that a crash cut short is finished on the occasion, as at every
//! opening. Nothing else is written, and nothing is sent.

use std::path::Path;

use keyward_client::{
    CLOCK_TOLERANCE,
    held::{Enrolment, HeldLicense},
};
pub use keyward_license::finding::{Finding, Standing};
use keyward_license::{
    carrier::one_line,
    finding::{AHEAD, days},
    operator_profile::OperatorProfile,
    time::Timestamp,
};

use crate::{
    Clock, NativeClient, NativeError, NoTransport, Options,
    keys::{KEYS, SECRET},
    store::{DATABASE, EPOCH},
};

/// Examines the client in `folder` as it is opened by default.
#[must_use]
pub fn examine(folder: &Path) -> Vec<Finding> {
    examine_with(folder, Options::default())
}

/// [`examine`] with another clock.
#[must_use]
pub fn examine_with_clock(folder: &Path, clock: Box<dyn Clock>) -> Vec<Finding> {
    let options = Options {
        clock,
        ..Options::default()
    };
    examine_with(folder, options)
}

/// [`examine`] with another clock or other bounds of the store.
#[must_use]
pub fn examine_with(folder: &Path, options: Options) -> Vec<Finding> {
    // One that is not there would be made, which explains nothing.
    if !folder.join(KEYS).is_file() && !folder.join(DATABASE).is_file() {
        return vec![Finding::error(
            "files",
            format!("there is no client in {}", folder.display()),
            "enrol this device: `keyward enrol --profile FILE --token TOKEN`",
        )];
    }
    let mut findings = vec![judge_files(folder)];
    let now = options.clock.moment().utc;
    match NativeClient::open_with(folder, Box::new(NoTransport), options) {
        Ok(mut client) => {
            let held = client.held_licenses();
            findings.push(judge_store(held.as_deref(), now));
            findings.extend(judge_room(&client));
            findings.extend(judge_distrusted(&mut client));
            let floor = (client.clock_floor(), client.clock_floor_is_stated());
            findings.push(judge_clock(floor, now));
            findings.extend(judge_untimed(&client));
            findings.extend(judge_enrolments(client.enrolments(), now));
            findings.extend(judge_revocation(&mut client));
        }
        Err(error @ NativeError::StoreInUse(_)) => {
            findings.push(Finding::warning("store", error.to_string(), error.hint()));
        }
        Err(error) => findings.push(Finding::error("store", error.to_string(), error.hint())),
    }
    findings
}

fn judge_files(folder: &Path) -> Finding {
    let exposed: Vec<_> = [KEYS, SECRET, DATABASE, EPOCH]
        .into_iter()
        .filter(|name| is_exposed(&folder.join(name)))
        .collect();
    if exposed.is_empty() {
        return Finding::good("files", "all are their owner's alone");
    }
    Finding::warning(
        "files",
        format!("other users of this machine may read {}", exposed.join(", ")),
        "run `chmod 600` on them; if others may have read both key files, enrol anew with new keys",
    )
}

fn judge_store(held: Result<&[HeldLicense], &NativeError>, now: Option<Timestamp>) -> Finding {
    let held = match held {
        Ok(held) => held,
        Err(error) => return Finding::error("store", error.to_string(), error.hint()),
    };
    let has_ended = |license: &&HeldLicense| {
        license
            .body
            .usable_until()
            .zip(now)
            .is_some_and(|(end, now)| end <= now)
    };
    let ended = held.iter().filter(has_ended).count();
    Finding::good(
        "store",
        format!(
            "the license store is whole: {} licenses, of which {ended} have ended",
            held.len()
        ),
    )
}

/// Licenses that are none any more, which are not among those that are counted.
fn judge_distrusted(client: &mut NativeClient) -> Option<Finding> {
    let distrusted = client.distrusted_licenses(None).ok()?.len();
    (distrusted > 0).then(|| {
        Finding::warning(
            "store",
            format!("licenses that are not trusted any more, besides those: {distrusted}"),
            "see which and why: `keyward licenses list`; request new ones: `keyward acquire FILE`",
        )
    })
}

/// Operators that trust this device no more.
fn judge_revocation(client: &mut NativeClient) -> Vec<Finding> {
    let known = client.trust().unwrap_or_default();
    let revoked = known.into_iter().filter_map(|known| {
        let why = known.revoked?;
        let mut operators = client.operators();
        let name = operators.find(|profile| profile.operator() == known.operator)?;
        let what = format!("{} has revoked this device: {why}", one_line(&name.name));
        Some(Finding::error("enrolment", what, "ask the operator"))
    });
    revoked.collect()
}

/// Bounds that will soon be reached.
fn judge_room(client: &NativeClient) -> Vec<Finding> {
    let scarce = client.store_usage().scarce(client.store_limits());
    let warn = |(bound, limit)| {
        Finding::warning(
            "room",
            format!("the license store is nearly full: this client may hold {limit} {bound}"),
            "delete licenses that are not needed before it is full: `keyward licenses list`, `keyward licenses delete`",
        )
    };
    scarce.into_iter().map(warn).collect()
}

/// a clock that is behind what was seen is not used, and time-limited licenses with it.
fn judge_clock((floor, is_stated): (Timestamp, bool), now: Option<Timestamp>) -> Finding {
    let Some(now) = now.filter(|now| *now > Timestamp(0)) else {
        return Finding::error(
            "clock",
            "this machine's clock is not set: licenses with a begin or end cannot be used",
            "set the clock",
        );
    };
    let behind = floor.0.saturating_sub(now.0);
    if behind > CLOCK_TOLERANCE && is_stated {
        Finding::error(
            "clock",
            format!(
                "this machine's clock is {behind} seconds behind a time that a license server stated: licenses with a begin or end cannot be used"
            ),
            "set the clock; if it is right, the license server's was ahead: wait until that time has come, or enrol in another client directory, as no later answer takes it back",
        )
    } else if behind > CLOCK_TOLERANCE {
        Finding::error(
            "clock",
            format!(
                "this machine's clock is {behind} seconds behind a time that was seen: licenses with a begin or end cannot be used"
            ),
            "set the clock; if it was ahead before, acquire any license over the network, which corrects what was seen",
        )
    } else {
        Finding::good("clock", "it is not behind what was seen")
    }
}

/// operators whose word on the time is waited for.
fn judge_untimed(client: &NativeClient) -> Vec<Finding> {
    let untimed = client.untimed_operators();
    let waiting = client
        .operators()
        .filter(|profile| untimed.contains(&profile.operator()));
    let warn = |profile: &OperatorProfile| {
        let name = one_line(&profile.name);
        Finding::warning(
            "clock",
            format!(
                "another operator's license server has put this device's time back: licenses of {name} with a begin or end cannot be used until its own has told the time"
            ),
            "have it tell the time, over the network: `keyward acquire --time-only --server URL`",
        )
    };
    waiting.map(warn).collect()
}

fn judge_enrolments<'a>(
    enrolments: impl Iterator<Item = Enrolment<'a>>,
    now: Option<Timestamp>,
) -> Vec<Finding> {
    let findings: Vec<_> = enrolments
        .map(|enrolment| judge_enrolment(enrolment, now))
        .collect();
    if findings.is_empty() {
        return vec![Finding::warning(
            "enrolment",
            "this device is enrolled with no operator",
            "enrol it: `keyward enrol --profile FILE --token TOKEN`",
        )];
    }
    findings
}

fn judge_enrolment(enrolment: Enrolment<'_>, now: Option<Timestamp>) -> Finding {
    let name = &enrolment.profile().name;
    let name = one_line(name);
    let certificate = match enrolment.certificate() {
        Ok(certificate) => certificate,
        Err(error) => {
            let what = format!("the certificate of {name} is not trusted: {error}");
            return Finding::error("enrolment", what, ENROL_AGAIN);
        }
    };
    // Without a clock its end cannot be judged; the clock's own finding says so.
    let now = now.unwrap_or(Timestamp(certificate.not_before()));
    let left = certificate.not_after().saturating_sub(now.0);
    if now.0 > certificate.not_after() {
        let ago = days(now.0.saturating_sub(certificate.not_after()));
        let what = format!("the certificate of {name} has ended {ago} ago: no license can be acquired");
        Finding::error("enrolment", what, ENROL_AGAIN)
    } else if left < AHEAD {
        let what = format!("the certificate of {name} ends in {}", days(left));
        Finding::warning("enrolment", what, ENROL_AGAIN)
    } else {
        let mark = match enrolment.is_test() {
            true => "the test operator ",
            false => "",
        };
        let what = format!("enrolled with {mark}{name} for {} more", days(left));
        Finding::good("enrolment", what)
    }
}

#[cfg(unix)]
fn is_exposed(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_exposed(_: &Path) -> bool {
    false
}

const ENROL_AGAIN: &str = "enrol again with a new token of the operator; licenses that are stored stay";
