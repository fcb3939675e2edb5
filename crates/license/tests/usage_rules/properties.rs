//! What holds of every chain, whatever its terms: one more restriction permits nothing more, an answer holds until
//! it says that it changes, and there is always one.

use keyward_license::{
    license::LicenseBody,
    time::Timestamp,
    usage_rules::{Allowed, Decision, Hdcp, HdcpVersion, Output, Protections},
};
use proptest::{collection::vec, option::weighted, prelude::*};

use crate::{
    config,
    generate::{Case, cases, licenses},
    naive::Answer,
    stricter::{TERMS, stricter},
};

proptest! {
    #![proptest_config(config(4000))]

    /// A chain is as strict as its strictest license: one license more permits nothing more.
    #[test]
    fn a_license_more_permits_nothing_more(case in cases(), license in licenses(), at in 0_usize..4) {
        if case.chain.is_empty() {
            return Ok(());
        }
        let mut longer = case.clone();
        longer.chain.insert(at.min(case.chain.len()), license);
        permits_nothing_more(&case.decide(), &longer.decide())?;
    }

    /// A stricter term permits nothing more, whichever license of the chain it is in.
    #[test]
    fn a_stricter_term_permits_nothing_more(
        case in cases(),
        donor in licenses(),
        at in 0_usize..3,
        term in 0..TERMS.len(),
    ) {
        if case.chain.is_empty() {
            return Ok(());
        }
        let mut changed = case.clone();
        let at = at % case.chain.len();
        changed.chain[at] = stricter(term, &case.chain[at], donor);
        permits_nothing_more(&case.decide(), &changed.decide())?;
    }

    /// an answer holds until it says that it changes, and changes then.
    #[test]
    fn an_answer_holds_until_it_changes(case in cases(), share in 0..SHARES) {
        let Some(now) = case.now else { return Ok(()) };
        let decision = case.decide();
        let case = recorded(case, &decision);
        let changes_at = match &decision {
            Decision::Allowed(allowed) => allowed.changes_at,
            Decision::Refused(refusal) => refusal.changes_at(),
        };
        for time in between(now, changes_at, share) {
            let later = at(&case, time).decide();
            // Of what is over by both, R-005 speaks for R-012.
            let over = (refused_by(&decision), refused_by(&later)) == ("R-012", "R-005");
            let holds = Answer::from(&later) == Answer::from(&decision);
            prop_assert!(over || holds, "at {time:?} {later:?}, before {decision:?}");
        }
        if let Some(time) = changes_at {
            prop_assert!(now < time, "{changes_at:?}");
            let later = at(&case, time).decide();
            prop_assert_ne!(but_for_when_it_changes(&later), but_for_when_it_changes(&decision));
        }
    }

    /// V-036: under a leaf without terms of time the root's are the chain's, and a renewed root's the chain's again.
    #[test]
    fn a_chain_has_the_times_of_its_root(case in cases(), leaf in licenses(), renewed in limits()) {
        let Some(root) = case.chain.first().cloned() else { return Ok(()) };
        let leaf = timeless(leaf);
        for root in [root.clone(), LicenseBody { end: renewed.0, begin: renewed.1, ..root }] {
            let alone = Case { chain: vec![root.clone()], ..case.clone() };
            let chain = Case { chain: vec![root, leaf.clone()], ..case.clone() };
            match (chain.decide(), alone.decide()) {
                (Decision::Allowed(chain), Decision::Allowed(alone)) => {
                    let times = |allowed: &Allowed| {
                        let Allowed { until, changes_at, playback_ends, first_play, .. } = allowed;
                        (*until, *changes_at, *playback_ends, *first_play)
                    };
                    prop_assert_eq!(times(&chain), times(&alone));
                }
                (Decision::Refused(chain), Decision::Allowed(_)) => {
                    let timely = ["R-003", "R-004", "R-005", "R-012"];
                    prop_assert!(!timely.contains(&chain.rule().number()), "{chain:?}");
                }
                (Decision::Refused(_), Decision::Refused(_)) => {}
                (Decision::Allowed(chain), Decision::Refused(alone)) => {
                    return Err(TestCaseError::fail(format!("{chain:?}, the root alone {alone:?}")));
                }
            }
        }
    }

    /// what is allowed until a time is refused from then on.
    #[test]
    fn from_until_on_it_is_refused(case in cases(), share in 0..SHARES) {
        let decision = case.decide();
        let case = recorded(case, &decision);
        let Decision::Allowed(Allowed { until: Some(until), .. }) = decision else { return Ok(()) };
        for time in between(until, None, share) {
            let later = at(&case, time).decide();
            prop_assert!(matches!(refused_by(&later), "R-005" | "R-012"), "at {time:?} {later:?}");
        }
    }

    /// what was opened plays on exactly until the playback ends.
    #[test]
    fn a_playback_goes_on_until_it_ends(case in cases(), share in 0..SHARES) {
        let Some(now) = case.now else { return Ok(()) };
        let decision = case.decide();
        let mut case = recorded(case, &decision);
        let Decision::Allowed(Allowed { playback_ends, .. }) = decision else { return Ok(()) };
        case.usage.playing = true;
        for time in between(now, playback_ends, share) {
            let later = at(&case, time).decide();
            prop_assert!(matches!(later, Decision::Allowed(_)), "at {time:?} {later:?}");
        }
        if let Some(time) = playback_ends {
            let later = at(&case, time).decide();
            prop_assert!(matches!(refused_by(&later), "R-005" | "R-012"), "at {time:?} {later:?}");
        }
    }

    /// without a real-time expiration, time takes nothing from a playback, nor does the lack of a clock.
    #[test]
    fn a_playback_without_real_time_expiration_knows_no_time(case in cases(), time: Option<u64>) {
        let mut case = case;
        case.usage.playing = true;
        case.chain.iter_mut().for_each(|license| license.real_time_expiration = None);
        let decision = case.decide();
        case.now = time.map(Timestamp);
        prop_assert_eq!(case.decide(), decision);
    }

    /// an output that engages what it is asked to, and nothing else, goes as far as any state of it.
    #[test]
    fn what_is_asked_to_be_engaged_suffices(case in cases()) {
        let Decision::Allowed(as_it_is) = case.decide() else { return Ok(()) };
        let mut engaged = case;
        for (output, decision) in engaged.outputs.iter_mut().zip(&as_it_is.outputs) {
            engage(output, decision.engage);
        }
        let Decision::Allowed(engaged) = engaged.decide() else {
            return Err(TestCaseError::fail("outputs decide where it may go, not whether"));
        };
        for (before, after) in as_it_is.outputs.iter().zip(&engaged.outputs) {
            prop_assert!(after.verdict <= before.verdict, "{before:?} became {after:?}");
            prop_assert_eq!(after.engage, before.engage);
        }
    }

    /// Whatever stands in a chain, even twice or where messages refuse it, there is an answer.
    #[test]
    fn there_is_an_answer_to_everything(case in cases(), more in vec(licenses(), 0..6)) {
        let mut case = case;
        case.extended.extend_from_within(..);
        case.chain.extend(more.iter().cloned());
        if let Some(first) = case.chain.first_mut() {
            for other in more {
                heap(&mut first.explicit_restrictions, other.explicit_restrictions);
                heap(&mut first.extended_restrictions, other.extended_restrictions);
                heap(&mut first.extended_rights, other.extended_rights);
                heap(&mut first.play_enablers, other.play_enablers);
            }
        }
        match case.decide() {
            Decision::Refused(refusal) => prop_assert!(!refusal.to_string().is_empty()),
            Decision::Allowed(allowed) => prop_assert_eq!(allowed.outputs.len(), case.outputs.len()),
        }
    }
}

/// The license without its terms of time, as a leaf is.
fn timeless(license: LicenseBody) -> LicenseBody {
    LicenseBody {
        begin: None,
        end: None,
        expiration_after_first_play: None,
        real_time_expiration: None,
        removal_date: None,
        grace_period: None,
        ..license
    }
}

/// An end and a begin, near the times of the cases.
fn limits() -> impl Strategy<Value = (Option<Timestamp>, Option<Timestamp>)> {
    let time = || weighted(0.7, (94_u64..112).prop_map(Timestamp));
    (time(), time())
}

/// Refused stays refused; what is allowed is so no longer, no larger, and by no output less strictly.
fn permits_nothing_more(before: &Decision, after: &Decision) -> Result<(), TestCaseError> {
    let (before, after) = match (before, after) {
        (_, Decision::Refused(_)) => return Ok(()),
        (Decision::Refused(refusal), Decision::Allowed(_)) => {
            return Err(TestCaseError::fail(format!(
                "allowed, and was refused: {refusal:?}"
            )));
        }
        (Decision::Allowed(before), Decision::Allowed(after)) => (before, after),
    };
    let latest = |time: Option<Timestamp>| time.map_or(u128::MAX, |time| time.0.into());
    prop_assert!(latest(after.until) <= latest(before.until));
    prop_assert!(latest(after.playback_ends) <= latest(before.playback_ends));
    if let Some(largest) = before.largest_frame {
        prop_assert!(after.largest_frame.is_some_and(|frame| frame.fits(largest)));
    }
    for (before, after) in before.outputs.iter().zip(&after.outputs) {
        prop_assert!(after.verdict >= before.verdict, "{before:?} became {after:?}");
    }
    Ok(())
}

/// Engages these and nothing else, HDCP in the first version that can carry every type.
fn engage(output: &mut Output, protections: Protections) {
    output.hdcp = protections.hdcp.map_or(Hdcp::Off, |stream_type| Hdcp::Engaged {
        version: HdcpVersion { major: 2, minor: 2 },
        stream_type,
    });
    output.cgms_a = protections.cgms_a;
    output.scms = protections.scms;
    output.agc = protections.agc;
}

/// The same after the client recorded the first play that the answer asks for.
fn recorded(case: Case, decision: &Decision) -> Case {
    let mut case = case;
    if let Decision::Allowed(Allowed {
        first_play: Some(time),
        ..
    }) = decision
    {
        case.usage.first_play = Some(*time);
    }
    case
}

/// The same at another time.
fn at(case: &Case, time: Timestamp) -> Case {
    Case {
        now: Some(time),
        ..case.clone()
    }
}

fn but_for_when_it_changes(decision: &Decision) -> Answer {
    let mut answer = Answer::from(decision);
    match &mut answer {
        Answer::Refused { changes_at, .. } | Answer::Allowed { changes_at, .. } => *changes_at = None,
    }
    answer
}

/// Times in the window `[begin, end)`: the first two, the last two, and one at a share of it.
fn between(begin: Timestamp, end: Option<Timestamp>, share: u64) -> Vec<Timestamp> {
    let last = end.map_or(u64::MAX, |end| end.0 - 1);
    let span = last - begin.0;
    let within = span / SHARES * share;
    [0, 1.min(span), within, span.saturating_sub(1), span]
        .map(|seconds| Timestamp(begin.0 + seconds))
        .to_vec()
}

/// The number of the rule that refused, none if it is allowed.
fn refused_by(decision: &Decision) -> &'static str {
    match decision {
        Decision::Refused(refusal) => refusal.rule().number(),
        Decision::Allowed(_) => "",
    }
}

fn heap<T>(list: &mut Option<Vec<T>>, more: Option<Vec<T>>) {
    list.get_or_insert_default().extend(more.unwrap_or_default());
}

const SHARES: u64 = 1000;
