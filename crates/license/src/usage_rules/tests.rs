//! Every rule of `spec/rules.md`, at its boundaries. The outputs' rules have a file of their own.

use super::*;
use crate::{
    codec::Bytes,
    ids::{DeviceId, Kid, LicenseId},
    license::{Binding, ExtendedRight, Flag, KeyDescription, KeyType, LicenseKind},
};

pub(super) fn license() -> LicenseBody {
    let key = KeyDescription::content(Kid::new([2; 16]), KeyType::File);
    let binding = Binding::device(&DeviceId::new([3; 32]));
    LicenseBody::new(
        LicenseId::new([1; 16]),
        LicenseKind::Simple,
        key,
        binding,
        Timestamp(0),
    )
}

fn within(begin: impl Into<Option<u64>>, end: impl Into<Option<u64>>) -> LicenseBody {
    LicenseBody {
        begin: begin.into().map(Timestamp),
        end: end.into().map(Timestamp),
        ..license()
    }
}

fn restricted(kind: u64, must_understand: bool, best_effort: bool) -> ExtendedRestriction {
    ExtendedRestriction {
        kind,
        must_understand,
        best_effort,
        data: Bytes::default(),
    }
}

const HOST: Host<'static> = Host::of_level(2000);
const UNUSED: Usage = Usage {
    first_play: None,
    playing: false,
};

fn ask(chain: &[&LicenseBody], usage: &Usage, now: impl Into<Option<u64>>) -> Decision {
    evaluate(chain, usage, &HOST, Action::Play, now.into().map(Timestamp))
}

fn on(chain: &[&LicenseBody], host: &Host<'_>) -> Decision {
    evaluate(chain, &UNUSED, host, Action::Play, None)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the answer is asked and taken apart in one line"
)]
fn refusal(decision: Decision) -> Option<Refusal> {
    match decision {
        Decision::Refused(refusal) => Some(refusal),
        Decision::Allowed(_) => None,
    }
}

fn allowed(decision: Decision) -> Allowed {
    match decision {
        Decision::Allowed(allowed) => allowed,
        Decision::Refused(refusal) => panic!("{} {refusal}", refusal.rule()),
    }
}

/// `until`, `changes_at` and `playback_ends`.
fn times(allowed: &Allowed) -> [Option<u64>; 3] {
    [allowed.until, allowed.changes_at, allowed.playback_ends].map(|time| time.map(|time| time.0))
}

#[test]
fn r_001_every_license_of_the_chain_grants_the_right() {
    let none = LicenseBody {
        rights: vec![],
        ..license()
    };
    let not_granted = Some(Refusal::RightNotGranted);
    assert_eq!(refusal(ask(&[&none], &UNUSED, 1)), not_granted);
    assert_eq!(refusal(ask(&[&license(), &none], &UNUSED, 1)), not_granted);
    assert_eq!(refusal(ask(&[], &UNUSED, 1)), not_granted);
    let free = allowed(ask(&[&license()], &UNUSED, None));
    assert_eq!((free.decided_by, times(&free)), (Rule::Right, [None; 3]));
}

#[test]
fn r_001_an_extended_right_is_granted_by_its_kind() {
    let extended = LicenseBody {
        rights: vec![],
        extended_rights: Some(vec![ExtendedRight {
            kind: 500,
            restrictions: None,
        }]),
        ..license()
    };
    let ask = |action| refusal(evaluate(&[&extended], &UNUSED, &HOST, action, None));
    assert_eq!(ask(Action::Extended(500)), None);
    assert_eq!(ask(Action::Extended(501)), Some(Refusal::RightNotGranted));
    assert_eq!(ask(Action::from(Right::Play)), Some(Refusal::RightNotGranted));
}

#[test]
fn r_002_the_highest_minimum_of_the_chain_must_be_reached() {
    let of = |level| LicenseBody {
        minimum_security_level: Some(level),
        ..license()
    };
    let low = Refusal::SecurityLevelTooLow {
        needed: 3000,
        actual: 2000,
    };
    assert_eq!(refusal(ask(&[&of(2000)], &UNUSED, None)), None);
    assert_eq!(refusal(ask(&[&of(3000)], &UNUSED, None)), Some(low));
    assert_eq!(refusal(ask(&[&of(150), &of(3000)], &UNUSED, None)), Some(low));
}

#[test]
fn r_015_a_revoked_device_does_not_use_what_ends_with_that() {
    let ending = LicenseBody {
        ends_with_revocation: Some(Flag),
        ..license()
    };
    let revoked = Host {
        revoked: true,
        ..HOST
    };
    for (chain, host, verdict) in [
        (&[&license()][..], &revoked, None),
        (&[&ending], &HOST, None),
        (&[&ending], &revoked, Some(Refusal::DeviceRevoked)),
        (&[&ending, &license()], &revoked, Some(Refusal::DeviceRevoked)),
        (&[&license(), &ending], &revoked, Some(Refusal::DeviceRevoked)),
    ] {
        assert_eq!(refusal(on(chain, host)), verdict);
        // A playback that is going on stops too.
        let playing = Usage {
            playing: true,
            ..UNUSED
        };
        let going_on = evaluate(chain, &playing, host, Action::Play, None);
        assert_eq!(refusal(going_on), verdict);
    }
}

#[test]
fn r_003_a_time_limit_needs_a_clock() {
    let first_play = LicenseBody {
        expiration_after_first_play: Some(1),
        ..license()
    };
    for limited in [within(1, None), within(None, 9), within(1, 9), first_play] {
        let chain = [&license(), &limited];
        assert_eq!(refusal(ask(&chain, &UNUSED, None)), Some(Refusal::NoUsableClock));
    }
    let unlimited = LicenseBody {
        removal_date: Some(Timestamp(1)),
        ..license()
    };
    assert_eq!(refusal(ask(&[&unlimited], &UNUSED, None)), None);
}

#[test]
fn r_004_and_r_005_the_window_is_half_open() {
    let license = within(10, 20);
    for (now, expected) in [
        (9, Some(Refusal::NotYetValid { begin: Timestamp(10) })),
        (10, None),
        (19, None),
        (20, Some(Refusal::Ended { end: Timestamp(20) })),
        (u64::MAX, Some(Refusal::Ended { end: Timestamp(20) })),
    ] {
        assert_eq!(refusal(ask(&[&license], &UNUSED, now)), expected, "at {now}");
    }
    let holds = allowed(ask(&[&license], &UNUSED, 10));
    assert_eq!(times(&holds), [Some(20), Some(20), None]);
    assert_eq!(holds.decided_by, Rule::End);
    let early = Refusal::NotYetValid { begin: Timestamp(10) };
    assert_eq!(early.changes_at(), Some(Timestamp(10)));
    assert_eq!(Refusal::Ended { end: Timestamp(20) }.changes_at(), None);
}

#[test]
fn r_004_and_r_005_a_chain_is_as_strict_as_its_strictest() {
    let (root, leaf) = (within(10, 30), within(15, 40));
    for chain in [[&root, &leaf], [&leaf, &root]] {
        assert_eq!(
            refusal(ask(&chain, &UNUSED, 14)),
            Some(Refusal::NotYetValid { begin: Timestamp(15) })
        );
        assert_eq!(times(&allowed(ask(&chain, &UNUSED, 15)))[0], Some(30));
        assert_eq!(
            refusal(ask(&chain, &UNUSED, 30)),
            Some(Refusal::Ended { end: Timestamp(30) })
        );
    }
}

#[test]
fn r_006_a_restricted_source_needs_a_host_that_follows_its_rules() {
    let license = LicenseBody {
        source_id: Some(267),
        ..license()
    };
    assert_eq!(
        refusal(on(&[&license], &HOST)),
        Some(Refusal::SourceNotFollowed { id: 267 })
    );
    let follows = Host {
        sources: &[1, 267],
        ..HOST
    };
    assert_eq!(refusal(on(&[&license], &follows)), None);
}

#[test]
fn r_007_and_r_008_must_understand_and_best_effort() {
    let not_understood = Some(Refusal::RestrictionNotUnderstood { kind: 400 });
    let not_engaged = Some(Refusal::RestrictionNotEngaged { kind: 400 });
    // must understand, best effort; not known, known and idle, known and engaged
    let cases = [
        (true, false, [not_understood, not_engaged, None]),
        (true, true, [not_understood, None, None]),
        (false, false, [None, not_engaged, None]),
        (false, true, [None, None, None]),
    ];
    for (must_understand, best_effort, expected) in cases {
        let license = LicenseBody {
            extended_restrictions: Some(vec![restricted(400, must_understand, best_effort)]),
            ..license()
        };
        let known = |kind, engaged| [Understood { kind, engaged }];
        for (known, expected) in [known(401, true), known(400, false), known(400, true)]
            .iter()
            .zip(expected)
        {
            let host = Host {
                extended: known,
                ..HOST
            };
            assert_eq!(
                refusal(on(&[&license], &host)),
                expected,
                "{must_understand} {best_effort} {known:?}"
            );
        }
    }
}

#[test]
fn r_007_restrictions_of_an_extended_right_count_for_that_right_alone() {
    let right = |kind, restrictions| ExtendedRight { kind, restrictions };
    let license = LicenseBody {
        extended_rights: Some(vec![
            right(500, Some(vec![restricted(400, true, false)])),
            right(501, None),
        ]),
        ..license()
    };
    let ask = |action| refusal(evaluate(&[&license], &UNUSED, &HOST, action, None));
    assert_eq!(
        ask(Action::Extended(500)),
        Some(Refusal::RestrictionNotUnderstood { kind: 400 })
    );
    assert_eq!(ask(Action::Extended(501)), None);
    assert_eq!(ask(Action::Play), None);
}

#[test]
fn r_009_a_watermark_is_embedded_or_the_license_refuses() {
    let technology = Guid::new([7; 16]);
    let license = LicenseBody {
        explicit_restrictions: Some(vec![ExplicitRestriction::Watermark(technology)]),
        ..license()
    };
    let other = Host {
        watermarks: &[Guid::new([8; 16])],
        ..HOST
    };
    let embeds = Host {
        watermarks: &[technology],
        ..HOST
    };
    let missing = Some(Refusal::WatermarkNotEmbedded { technology });
    assert_eq!(refusal(on(&[&license], &other)), missing);
    assert_eq!(refusal(on(&[&license], &embeds)), None);
}

#[test]
fn r_011_a_frame_fits_in_either_orientation() {
    let size = |width, height| Resolution { width, height };
    let of = |largest| LicenseBody {
        explicit_restrictions: Some(vec![ExplicitRestriction::MaximumDecodeResolution(largest)]),
        ..license()
    };
    let hd = of(size(1920, 1080));
    let of_frame = |chain: &[&LicenseBody], frame| on(chain, &Host { frame, ..HOST });
    for (frame, fits) in [
        (size(1920, 1080), true),
        (size(1080, 1920), true),
        (size(1, 1), true),
        (size(1921, 1080), false),
        (size(1081, 1920), false),
        (size(1200, 1200), false),
    ] {
        let decision = of_frame(&[&hd], Some(frame));
        let largest = size(1920, 1080);
        let expected = (!fits).then_some(Refusal::FrameTooLarge { frame, largest });
        assert_eq!(refusal(decision), expected, "{frame:?}");
    }
    let unknown = allowed(of_frame(&[&hd], None));
    assert_eq!(unknown.largest_frame, Some(size(1920, 1080)));
    let upright = of(size(1000, 4000));
    let both = allowed(of_frame(&[&hd, &upright], None));
    assert_eq!(both.largest_frame, Some(size(1920, 1000)));
    assert!(refusal(of_frame(&[&hd, &upright], Some(size(1900, 1001)))).is_some());
}

#[test]
fn r_012_the_time_after_first_play_counts_from_the_recorded_first_play() {
    let license = LicenseBody {
        expiration_after_first_play: Some(100),
        ..within(None, 10_000)
    };
    let new = allowed(ask(&[&license], &UNUSED, 500));
    assert_eq!(times(&new), [Some(600), Some(600), None]);
    assert_eq!(
        (new.decided_by, new.first_play),
        (Rule::FirstPlay, Some(Timestamp(500)))
    );
    let played = Usage {
        first_play: Some(Timestamp(500)),
        ..UNUSED
    };
    let again = allowed(ask(&[&license], &played, 599));
    assert_eq!(
        (times(&again)[0], again.first_play),
        (Some(600), Some(Timestamp(500)))
    );
    let over = Some(Refusal::FirstPlayExpired { at: Timestamp(600) });
    assert_eq!(refusal(ask(&[&license], &played, 600)), over);
    // The end comes first where it is earlier.
    let late = allowed(ask(&[&license], &UNUSED, 9_950));
    assert_eq!((times(&late)[0], late.decided_by), (Some(10_000), Rule::End));
    // Equal: the lower number.
    assert_eq!(allowed(ask(&[&license], &UNUSED, 9_900)).decided_by, Rule::End);
}

#[test]
fn r_012_a_first_play_after_now_is_now_and_recorded_as_such() {
    let license = LicenseBody {
        expiration_after_first_play: Some(100),
        ..license()
    };
    let ahead = Usage {
        first_play: Some(Timestamp(1_000_000)),
        ..UNUSED
    };
    let set_back = allowed(ask(&[&license], &ahead, 50));
    assert_eq!(set_back.first_play, Some(Timestamp(50)));
    assert_eq!(times(&set_back)[0], Some(150));
}

#[test]
fn r_013_a_grace_period_lengthens_the_end_and_asks_for_a_new_license() {
    let license = LicenseBody {
        grace_period: Some(5),
        ..within(None, 20)
    };
    let before = allowed(ask(&[&license], &UNUSED, 19));
    assert_eq!(times(&before), [Some(25), Some(20), None]);
    assert_eq!((before.in_grace, before.decided_by), (false, Rule::End));
    let within_grace = allowed(ask(&[&license], &UNUSED, 20));
    assert_eq!(times(&within_grace), [Some(25), Some(25), None]);
    assert_eq!(
        (within_grace.in_grace, within_grace.decided_by),
        (true, Rule::Grace)
    );
    assert_eq!(
        refusal(ask(&[&license], &UNUSED, 25)),
        Some(Refusal::Ended { end: Timestamp(25) })
    );
    // The strictest of a chain: a grace period does not help against another license's end.
    let strict = within(None, 22);
    assert_eq!(
        refusal(ask(&[&license, &strict], &UNUSED, 22)),
        Some(Refusal::Ended { end: Timestamp(22) })
    );
}

#[test]
fn r_014_only_a_real_time_expiration_stops_a_playback() {
    let playing = Usage {
        first_play: Some(Timestamp(5)),
        playing: true,
    };
    let plain = within(None, 20);
    let goes_on = allowed(ask(&[&plain], &playing, 20));
    assert_eq!(times(&goes_on), [None; 3]);
    assert_eq!(refusal(ask(&[&plain], &playing, None)), None);

    let real_time = LicenseBody {
        real_time_expiration: Some(Flag),
        expiration_after_first_play: Some(30),
        ..within(None, 20)
    };
    let opened = allowed(ask(&[&real_time], &UNUSED, 19));
    assert_eq!(times(&opened), [Some(20), Some(20), Some(20)]);
    for (now, expected) in [
        (Some(19), None),
        (Some(20), Some(Refusal::Ended { end: Timestamp(20) })),
        (None, Some(Refusal::NoUsableClock)),
    ] {
        assert_eq!(refusal(ask(&[&real_time], &playing, now)), expected, "{now:?}");
    }
    // Each license of a chain by its own flag.
    let earlier = within(None, 10);
    let chain = [&earlier, &real_time];
    assert_eq!(
        times(&allowed(ask(&chain, &UNUSED, 9))),
        [Some(10), Some(10), Some(20)]
    );
    assert_eq!(times(&allowed(ask(&chain, &playing, 10)))[0], Some(20));
    // Every other rule is asked while it plays.
    let no_right = LicenseBody {
        rights: vec![],
        ..license()
    };
    assert_eq!(
        refusal(ask(&[&no_right], &playing, 1)),
        Some(Refusal::RightNotGranted)
    );
}

#[test]
fn sums_of_times_do_not_wrap() {
    let license = LicenseBody {
        grace_period: Some(u64::MAX),
        expiration_after_first_play: Some(u64::MAX),
        ..within(None, 20)
    };
    let far = allowed(ask(&[&license], &UNUSED, u64::MAX - 1));
    assert_eq!(times(&far)[0], Some(u64::MAX));
    assert_eq!(
        refusal(ask(&[&license], &UNUSED, u64::MAX)),
        Some(Refusal::Ended {
            end: Timestamp(u64::MAX)
        })
    );
}

#[test]
fn rules_are_taken_in_the_order_of_the_spec() {
    let mut worst = LicenseBody {
        rights: vec![],
        minimum_security_level: Some(3000),
        source_id: Some(1),
        extended_restrictions: Some(vec![restricted(1, true, false), restricted(2, true, false)]),
        explicit_restrictions: Some(vec![
            ExplicitRestriction::Watermark(Guid::new([1; 16])),
            ExplicitRestriction::MaximumDecodeResolution(Resolution { width: 1, height: 1 }),
        ]),
        expiration_after_first_play: Some(1),
        ..within(10, 5)
    };
    let host = Host {
        frame: Some(Resolution { width: 2, height: 2 }),
        extended: &[Understood {
            kind: 2,
            engaged: false,
        }],
        ..HOST
    };
    let mut now = None;
    let mut order = Vec::new();
    for step in 0..11 {
        let usage = Usage {
            first_play: Some(Timestamp(0)),
            ..UNUSED
        };
        let refused = refusal(evaluate(&[&worst], &usage, &host, Action::Play, now));
        order.extend(refused.map(|refusal| refusal.rule().number()));
        match step {
            0 => worst.rights = vec![Right::Play],
            1 => worst.minimum_security_level = None,
            2 => worst.source_id = None,
            3 => worst.extended_restrictions = Some(vec![restricted(2, true, false)]),
            4 => worst.extended_restrictions = None,
            5 => drop(worst.explicit_restrictions.as_mut().map(|all| all.remove(0))),
            6 => worst.explicit_restrictions = None,
            7 => now = Some(Timestamp(7)),
            8 => worst.begin = None,
            9 => worst.end = None,
            _ => {}
        }
    }
    assert_eq!(
        order,
        [
            "R-001", "R-002", "R-006", "R-007", "R-008", "R-009", "R-011", "R-003", "R-004", "R-005", "R-012"
        ]
    );
}
