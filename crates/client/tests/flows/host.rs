//! What a host says of itself: outputs, clock, abilities; and what it gets.

use keyward_client::{
    ClientError,
    enforce::{Availability, Stop},
    host::HostProfile,
    session::Acquisition,
};
use keyward_license::{
    license::{
        ExplicitRestriction, ExtendedRestriction, ExtendedRight, HdcpType, LicenseBody,
        OutputProtectionLevels, PlayEnabler, Resolution, Right,
    },
    request::{ClockKind, ClockState},
    usage_rules::{Action, Hdcp, Refusal, Rule, Understood, Verdict},
};
use keyward_testkit::pki::{DAY, NOW};

use crate::{
    licensed::{
        INTERNAL, Screens, TYPE_0, acquire, asking, go_on, hdmi, licensed, needs_hdcp, on, open, pass,
        refusal, restarted, sixty_seconds, verdicts,
    },
    world::{Stop as Crash, World, kid, opens, wanted},
};

#[test]
fn r_026_each_output_gets_its_decision_and_is_judged_again_when_it_changes() {
    let (mut world, client) = licensed(needs_hdcp);
    drop(client);
    let screens = Screens::default();
    screens.show(&[INTERNAL, hdmi(Hdcp::Off)]);
    let mut client = on(&mut world, &screens);
    let mut opened = open(&mut world, &mut client).unwrap();
    let digital = Rule::UncompressedDigitalVideo;
    assert_eq!(
        verdicts(&opened),
        [(Verdict::Pass, Rule::BuiltIn), (Verdict::Block, digital)]
    );
    let engage = opened.bound[0].outputs().nth(1).unwrap().1.engage;
    assert_eq!(engage.hdcp, Some(HdcpType::Type0));
    assert!(opened.holds(world.moment, &screens));
    // The host engages HDCP and asks again.
    screens.show(&[INTERNAL, hdmi(TYPE_0)]);
    assert!(!opened.holds(world.moment, &screens));
    assert_eq!(go_on(&mut world, &mut client, &mut opened).stopped, []);
    assert_eq!(verdicts(&opened)[1], (Verdict::Pass, digital));
    assert!(opened.holds(world.moment, &screens));
    // The lid is closed, and HDCP fails: nothing is left to play on.
    screens.show(&[hdmi(Hdcp::Off)]);
    let standing = go_on(&mut world, &mut client, &mut opened);
    assert_eq!(standing.stopped, [(kid(1), Stop::Blocked(digital))]);
    assert!(!opens(&opened.bound[0], 1));
}

#[test]
fn r_042_content_that_may_go_to_no_output_is_not_opened_and_no_license_is_asked_for() {
    let (mut world, client) = licensed(needs_hdcp);
    drop(client);
    let screens = Screens::default();
    screens.show(&[hdmi(Hdcp::Off), hdmi(Hdcp::Off)]);
    let mut client = on(&mut world, &screens);
    let rule = Rule::UncompressedDigitalVideo;
    assert_eq!(
        world.run(client.find(kid(1))).unwrap(),
        Availability::Blocked(rule)
    );
    let sent = world.sent.len();
    let blocked = world.run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive));
    assert!(
        matches!(blocked, Err(ClientError::Blocked { rule: of, .. }) if of == rule),
        "{blocked:?}"
    );
    assert_eq!(world.sent.len(), sent);
    screens.show(&[hdmi(Hdcp::Off), hdmi(TYPE_0)]);
    open(&mut world, &mut client).unwrap();
}

#[test]
fn r_010_an_end_that_was_seen_beside_a_blocked_license_stays_seen() {
    let (mut world, client) = licensed(|body| {
        needs_hdcp(body);
        body.end = Some(NOW.plus(DAY));
    });
    drop(client);
    let screens = Screens::default();
    screens.show(&[hdmi(Hdcp::Off)]);
    let mut client = on(&mut world, &screens);
    acquire(&mut world, &mut client, |body| body.end = Some(NOW.plus(100)));
    open(&mut world, &mut client).unwrap();
    pass(&mut world, 200);
    let is_blocked = |opened| matches!(opened, Err(ClientError::Blocked { .. }));
    assert!(is_blocked(open(&mut world, &mut client)));
    // The clock is set back, by less than is tolerated, to before the end of the other license.
    world.moment.utc = world.moment.utc.map(|utc| utc.minus(150));
    assert!(is_blocked(open(&mut world, &mut client)));
}

#[test]
fn r_041_a_host_that_lists_no_outputs_plays_what_demands_nothing_of_them() {
    let (mut world, mut client) = licensed(|body| body.end = Some(NOW.plus(DAY)));
    let opened = open(&mut world, &mut client).unwrap();
    assert_eq!(verdicts(&opened), []);
}

#[test]
fn r_041_r_023_a_host_that_lists_no_outputs_is_an_unknown_output_to_what_demands_something() {
    type Edit = fn(&mut LicenseBody);
    let demands: [Edit; 4] = [
        needs_hdcp,
        |body| {
            body.output_protection_levels = Some(OutputProtectionLevels {
                compressed_digital_audio: Some(100),
                ..OutputProtectionLevels::default()
            });
        },
        |body| body.explicit_restrictions = Some(vec![ExplicitRestriction::DigitalVideoOnly]),
        |body| body.play_enablers = Some(vec![PlayEnabler::AIRPLAY]),
    ];
    for demand in demands {
        let (mut world, mut client) = licensed(demand);
        let Availability::Blocked(rule) = world.run(client.find(kid(1))).unwrap() else {
            panic!("it was found")
        };
        assert!(
            [Rule::UnknownOutput, Rule::DigitalVideoOnly].contains(&rule),
            "{rule}"
        );
        assert!(open(&mut world, &mut client).is_err());
        acquire(&mut world, &mut client, move |body| {
            demand(body);
            body.play_enablers = Some(vec![PlayEnabler::UNKNOWN_OUTPUT]);
        });
        let opened = open(&mut world, &mut client);
        assert_eq!(opened.is_ok(), rule == Rule::UnknownOutput, "{opened:?}");
    }
}

#[test]
fn r_011_the_size_of_the_frames_is_judged_while_it_changes() {
    let screens = Screens::default();
    let (mut world, client) = World::enrolled();
    drop(client);
    let mut client = on(&mut world, &screens);
    let largest = Resolution {
        width: 1920,
        height: 1080,
    };
    acquire(&mut world, &mut client, move |body| {
        body.explicit_restrictions = Some(vec![ExplicitRestriction::MaximumDecodeResolution(largest)]);
    });
    let mut opened = open(&mut world, &mut client).unwrap();
    assert_eq!(opened.bound[0].largest_frame(), Some(largest));
    opened.set_frame(
        kid(1),
        Resolution {
            width: 1080,
            height: 1920,
        },
    );
    assert!(!opened.holds(world.moment, &screens));
    assert_eq!(go_on(&mut world, &mut client, &mut opened).stopped, []);
    assert!(opened.holds(world.moment, &screens));
    let frame = Resolution {
        width: 3840,
        height: 2160,
    };
    opened.set_frame(kid(1), frame);
    let stopped = go_on(&mut world, &mut client, &mut opened).stopped;
    assert_eq!(
        stopped,
        [(kid(1), Stop::Refused(Refusal::FrameTooLarge { frame, largest }))]
    );
}

/// A disk that fails while the first of two keys is judged again.
#[test]
fn r_011_a_key_that_could_not_be_judged_is_not_held_to_be_settled() {
    let screens = Screens::default();
    let (mut world, client) = World::enrolled();
    drop(client);
    let mut client = on(&mut world, &screens);
    let largest = Resolution {
        width: 1920,
        height: 1080,
    };
    world.server.bent.license = Some(Box::new(move |body| {
        body.explicit_restrictions = Some(vec![ExplicitRestriction::MaximumDecodeResolution(largest)]);
    }));
    world.run(client.acquire(wanted(&[1, 2]))).unwrap();
    let content = client.open_content(vec![kid(1), kid(2)], wanted(&[1, 2]), Acquisition::Never);
    let mut opened = world.run(content).unwrap();
    for number in [1, 2] {
        let frame = Resolution {
            width: 3840,
            height: 2160,
        };
        opened.set_frame(kid(number), frame);
    }
    world.stop = Some((world.trace.len(), Crash::Before));
    assert!(world.drive(client.go_on(&mut opened)).is_none());
    assert!(opened.bound.iter().any(|bound| bound.stopped().is_none()));
    assert!(!opened.holds(world.moment, &screens));
    world.stop = None;
    assert_eq!(go_on(&mut world, &mut client, &mut opened).playing, 0);
}

#[test]
fn r_006_r_007_r_008_sources_and_extended_restrictions_are_those_of_the_host() {
    let restriction = |must_understand| ExtendedRestriction {
        kind: 400,
        must_understand,
        best_effort: false,
        data: keyward_license::codec::Bytes(Vec::new()),
    };
    let edit = move |body: &mut LicenseBody| {
        body.source_id = Some(267);
        body.extended_restrictions = Some(vec![restriction(true)]);
    };
    let (mut world, mut client) = licensed(edit);
    assert_eq!(
        refusal(&mut world, &mut client),
        Refusal::SourceNotFollowed { id: 267 }
    );
    let host = |extended: &[Understood]| HostProfile {
        sources: vec![267],
        extended: extended.to_vec(),
        ..asking()
    };
    let mut client = restarted(&mut world, client).on_host(host(&[]));
    let refused = Refusal::RestrictionNotUnderstood { kind: 400 };
    assert_eq!(refusal(&mut world, &mut client), refused);
    for engaged in [false, true] {
        client = restarted(&mut world, client).on_host(host(&[Understood { kind: 400, engaged }]));
        let opened = open(&mut world, &mut client);
        assert_eq!(opened.is_ok(), engaged, "{opened:?}");
    }
}

#[test]
fn r_001_an_extended_right_is_no_right_to_play() {
    let right = ExtendedRight {
        kind: 500,
        restrictions: None,
    };
    let (mut world, mut client) = licensed(move |body| {
        body.rights = Vec::<Right>::new();
        body.extended_rights = Some(vec![right.clone()]);
    });
    assert_eq!(refusal(&mut world, &mut client), Refusal::RightNotGranted);
    let ready = world.run(client.find_for(Action::Extended(500), kid(1))).unwrap();
    assert!(matches!(ready, Availability::Ready { .. }));
    let flow = client.open_content_for(
        Action::Extended(500),
        vec![kid(1)],
        wanted(&[1]),
        Acquisition::Never,
    );
    assert!(opens(&world.run(flow).unwrap().bound[0], 1));
}

#[test]
fn v_029_what_a_host_does_not_enforce_is_neither_announced_nor_installed() {
    let (mut world, mut client) = World::enrolled();
    world.server.bent.license = Some(Box::new(sixty_seconds));
    assert!(world.run(client.acquire(wanted(&[1]))).is_err());
    let announced = &world.server.requests.last().unwrap().capabilities;
    assert!(!announced.terms.contains(&14) && announced.terms.contains(&13));
    assert!(!announced.terms.contains(&23), "it embeds nothing");
    let restrictions = announced.explicit_restrictions.as_deref().unwrap();
    assert!(!restrictions.contains(&ExplicitRestriction::WATERMARK));
    assert!(!restrictions.contains(&ExplicitRestriction::MAXIMUM_DECODE_RESOLUTION));
    assert!(restrictions.contains(&ExplicitRestriction::HDCP_TYPE));
    assert_eq!(announced.clock, ClockKind::AntiRollback);
    // A license that another host of the device has installed is none for this one.
    let mut asking = restarted(&mut world, client);
    acquire(&mut world, &mut asking, sixty_seconds);
    let announced = &world.server.requests.last().unwrap().capabilities;
    assert_eq!(announced.terms, LicenseBody::TERMS);
    drop(asking);
    let client = world.open().unwrap();
    assert_eq!(world.run(client.find(kid(1))).unwrap(), Availability::Missing);
}

#[test]
fn r_003_a_host_without_a_clock_uses_no_license_that_is_limited_in_time() {
    let (mut world, client) = licensed(|body| body.end = Some(NOW.plus(DAY)));
    let host = HostProfile {
        clock: ClockKind::None,
        ..asking()
    };
    let mut client = restarted(&mut world, client).on_host(host);
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
    // What a server tells does not give it one, and it states none.
    world.run(client.ask_time(wanted(&[]))).unwrap();
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
    let request = world.server.requests.last().unwrap();
    assert_eq!(request.capabilities.clock, ClockKind::None);
    assert_eq!(
        (request.clock.now, request.clock.state),
        (None, ClockState::NotSet)
    );
    let acquired = acquire(&mut world, &mut client, |_| {});
    assert_eq!(
        open(&mut world, &mut client).unwrap().bound[0].license(),
        acquired
    );
}

#[test]
fn r_003_an_unset_clock_asks_for_the_time_and_for_no_other_license() {
    let (mut world, client) = licensed(sixty_seconds);
    let mut client = restarted(&mut world, client);
    world.moment.utc = None;
    world.server.now = NOW.plus(10);
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
    let flow = client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive);
    let mut opened = world.run(flow).unwrap();
    assert!(opened.acquired.is_none());
    let request = world.server.requests.last().unwrap();
    assert!(!request.license_requested);
    assert_eq!((&request.kids, &request.content_headers), (&None, &None));
    assert_eq!(request.clock.state, ClockState::NotSet);
    // The time that was told goes on by the clock that never steps, in a later client of the playback as well.
    world.online = false;
    world.moment.monotonic += 49_000;
    assert!(opened.holds(world.moment, &Screens::default()));
    client = restarted(&mut world, client);
    assert_eq!(go_on(&mut world, &mut client, &mut opened).stopped, []);
    world.moment.monotonic += 1_000;
    assert!(!opened.holds(world.moment, &Screens::default()));
    // It would acquire the next license, and there is no network.
    assert!(world.drive(client.go_on(&mut opened)).is_none());
    assert_eq!(
        opened.bound[0].stopped(),
        Some(Stop::Refused(Refusal::Ended { end: NOW.plus(60) }))
    );
}

#[test]
fn r_010_an_answer_about_the_time_that_took_too_long_is_no_clock() {
    let (mut world, client) = licensed(|body| body.end = Some(NOW.plus(DAY)));
    let mut client = restarted(&mut world, client);
    world.moment.utc = None;
    world.round_trip = 5 * 60 * 1000 + 1;
    assert_eq!(world.run(client.ask_time(wanted(&[]))).unwrap(), NOW);
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
    world.round_trip -= 1;
    world.run(client.ask_time(wanted(&[]))).unwrap();
    open(&mut world, &mut client).unwrap();
}
