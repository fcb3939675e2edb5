//! The usage rules and the clock.

use std::{cell::RefCell, rc::Rc};

use keyward_client::{
    ClientError, enforce::Availability, flow::Answer, install::AcquiredKey, session::Acquisition,
};
use keyward_license::{error_code::ErrorCode, request::ClockState, time::Timestamp, usage_rules::Refusal};
use keyward_testkit::{
    fake_server::{FakeServer, LICENSE_PATH},
    pki::{DAY, NOW},
};

use crate::{
    again::refuse_first,
    world::{KIND_LICENSE, TestClient, Trace, World, kid, opens, wanted},
};

/// A world whose device has one license for key 1 with these terms, seconds after [`NOW`].
fn licensed(begin: Option<u64>, end: Option<u64>) -> (World, TestClient) {
    let (mut world, mut client) = World::enrolled();
    (world.server.terms.begin, world.server.terms.end) =
        (begin.map(|at| NOW.plus(at)), end.map(|at| NOW.plus(at)));
    world.run(client.acquire(wanted(&[1]))).unwrap();
    world.online = false;
    // A later process: what a server told the first about time is lost with it.
    drop(client);
    client = world.open().unwrap();
    world.trace.clear();
    (world, client)
}

fn open(world: &mut World, client: &mut TestClient) -> Result<(), ClientError> {
    let opened = world.run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never))?;
    assert!(opens(&opened.bound[0], 1));
    Ok(())
}

fn refusal(world: &mut World, client: &mut TestClient) -> Refusal {
    let Availability::Refused(found) = world.run(client.find(kid(1))).unwrap() else {
        panic!("it was found")
    };
    match open(world, client) {
        Err(ClientError::Refused { kid: of, refusal }) if of == kid(1) && refusal == found => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn r_001_a_license_that_grants_nothing_never_gets_in() {
    // V-021 keeps it out, so R-001 has nothing to refuse as long as there is one right.
    let (mut world, mut client) = World::enrolled();
    world.server.bent.license = Some(Box::new(|body| body.rights.clear()));
    assert!(world.run(client.acquire(wanted(&[1]))).is_err());
    assert_eq!(world.run(client.find(kid(1))).unwrap(), Availability::Missing);
}

#[test]
fn r_002_the_security_level_of_the_certificate_must_suffice() {
    for (level, needed, allowed) in [
        (2000, 2000, true),
        (2000, 3000, false),
        (150, 2000, false),
        (3000, 3000, true),
    ] {
        let mut world = World::new();
        world.server.security_level = level;
        world.server.terms.minimum_security_level = Some(needed);
        let mut client = world.enrol_new();
        world.run(client.acquire(wanted(&[1]))).unwrap();
        if allowed {
            open(&mut world, &mut client).unwrap();
        } else {
            let refused = Refusal::SecurityLevelTooLow {
                needed,
                actual: level,
            };
            assert_eq!(refusal(&mut world, &mut client), refused);
        }
    }
}

#[test]
fn r_003_a_license_that_is_limited_in_time_needs_a_clock() {
    for (begin, end) in [(Some(0), None), (None, Some(DAY)), (Some(0), Some(DAY))] {
        let (mut world, mut client) = licensed(begin, end);
        open(&mut world, &mut client).unwrap();
        for unset in [None, Some(Timestamp(0))] {
            world.moment.utc = unset;
            assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
        }
    }
    let (mut world, mut client) = licensed(None, None);
    world.moment.utc = None;
    open(&mut world, &mut client).unwrap();
}

#[test]
fn r_004_and_r_005_a_license_is_used_from_its_begin_until_its_end() {
    let (mut world, mut client) = licensed(Some(100), Some(1_000));
    let expected = [
        (0, Err(Refusal::NotYetValid { begin: NOW.plus(100) })),
        (99, Err(Refusal::NotYetValid { begin: NOW.plus(100) })),
        (100, Ok(())),
        (999, Ok(())),
        (1_000, Err(Refusal::Ended { end: NOW.plus(1_000) })),
        (5_000, Err(Refusal::Ended { end: NOW.plus(1_000) })),
    ];
    for (at, result) in expected {
        world.clock(at);
        match result {
            Ok(()) => open(&mut world, &mut client).unwrap(),
            Err(refused) => assert_eq!(refusal(&mut world, &mut client), refused, "at {at}"),
        }
    }
}

#[test]
fn r_005_a_license_that_has_ended_is_replaced_when_content_is_opened() {
    let (mut world, mut client) = licensed(None, Some(1_000));
    world.clock(2_000);
    world.online = true;
    world.server.now = NOW.plus(2_000);
    world.server.terms.end = Some(NOW.plus(DAY));
    let opened = world
        .run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive))
        .unwrap();
    assert!(opened.acquired.is_some());
    assert_eq!(opened.bound[0].until(), Some(NOW.plus(DAY)));
}

#[test]
fn of_several_licenses_the_one_that_lasts_longest_is_used() {
    let (mut world, mut client) = World::enrolled();
    for end in [Some(10), Some(2 * DAY), Some(DAY)] {
        world.server.terms.end = end.map(|at| NOW.plus(at));
        world.run(client.acquire(wanted(&[1]))).unwrap();
    }
    let opened = world
        .run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never))
        .unwrap();
    assert_eq!(opened.bound[0].until(), Some(NOW.plus(2 * DAY)));
    world.server.terms.end = None;
    world.run(client.acquire(wanted(&[1]))).unwrap();
    let opened = world
        .run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never))
        .unwrap();
    assert_eq!(opened.bound[0].until(), None);
}

#[test]
fn eight_licenses_of_a_key_are_kept_and_the_oldest_makes_room() {
    let (mut world, mut client) = World::enrolled();
    let mut ids = Vec::new();
    for number in 0..10 {
        world.clock(number);
        let acquired = world.run(client.acquire(wanted(&[1]))).unwrap();
        let [(_, AcquiredKey::Stored(id))] = acquired.outcomes[..] else {
            panic!("{acquired:?}")
        };
        ids.push(id);
    }
    let mut kept: Vec<_> = world
        .run(client.licenses())
        .unwrap()
        .iter()
        .map(|body| body.id)
        .collect();
    kept.sort_unstable();
    let mut newest = ids[2..].to_vec();
    newest.sort_unstable();
    assert_eq!(kept, newest);
    assert_eq!(world.device.count(KIND_LICENSE), 8);
}

#[test]
fn a_license_that_has_ended_makes_room_before_an_older_one_that_has_not() {
    let (mut world, mut client) = World::enrolled();
    let acquired = world.run(client.acquire(wanted(&[1]))).unwrap();
    let [(_, AcquiredKey::Stored(for_good))] = acquired.outcomes[..] else {
        panic!("{acquired:?}")
    };
    world.server.terms.end = Some(NOW.plus(50));
    for number in 1..20 {
        world.clock(number * 60);
        world.server.now = NOW.plus(number.unsigned_abs() * 60);
        world.server.terms.end = Some(world.server.now.plus(50));
        world.run(client.acquire(wanted(&[1]))).unwrap();
    }
    let kept = world.run(client.licenses()).unwrap();
    assert_eq!(kept.len(), 8);
    assert!(kept.iter().any(|body| body.id == for_good));
}

#[test]
fn the_same_license_again_takes_its_own_place() {
    let (mut world, mut client) = World::enrolled();
    for number in 0..8_u8 {
        world.server.bent.license = Some(Box::new(move |body| {
            body.id = keyward_license::ids::LicenseId::new([number; 16])
        }));
        world.run(client.acquire(wanted(&[1]))).unwrap();
    }
    world.run(client.acquire(wanted(&[1]))).unwrap();
    assert_eq!(world.run(client.licenses()).unwrap().len(), 8);
}

#[test]
fn r_010_the_floor_is_stored_before_the_key_is_released() {
    let (mut world, mut client) = licensed(None, Some(DAY));
    world.clock(600);
    open(&mut world, &mut client).unwrap();
    assert_eq!(
        world.trace.last(),
        Some(&Trace::Commit),
        "nothing but the end follows the commit"
    );
    assert_eq!(
        world.trace.iter().filter(|step| **step == Trace::Commit).count(),
        1
    );
    // A flow that dies before that commit has released nothing, and one that dies after it keeps the floor.
    world.clock(1_200);
    let commit = world.trace.len() + world.trace.iter().filter(|step| **step != Trace::Commit).count();
    world.stop = Some((commit, crate::world::Stop::After));
    assert!(
        world
            .drive(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never))
            .is_none()
    );
    assert_eq!(world.trace.last(), Some(&Trace::Commit));
    drop(client);
    world.stop = None;
    let mut client = world.open().unwrap();
    world.clock(1_200 - 301);
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
}

#[test]
fn r_010_a_license_without_a_time_limit_costs_no_commit() {
    let (mut world, mut client) = licensed(None, None);
    world.clock(600);
    open(&mut world, &mut client).unwrap();
    assert!(!world.trace.contains(&Trace::Commit));
}

#[test]
fn r_010_a_clock_that_was_set_back_is_not_believed_in_this_process_and_the_next() {
    let (mut world, mut client) = licensed(None, Some(DAY));
    world.clock(10_000);
    open(&mut world, &mut client).unwrap();
    for _ in 0..2 {
        // Small steps back are network time at work; time stands still meanwhile.
        world.clock(10_000 - 300);
        open(&mut world, &mut client).unwrap();
        world.clock(10_000 - 301);
        assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
        world.clock(-1_000_000);
        assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
        drop(client);
        client = world.open().unwrap();
    }
    world.clock(10_001);
    open(&mut world, &mut client).unwrap();
}

#[test]
fn r_010_time_does_not_run_backwards_within_the_tolerance() {
    let (mut world, mut client) = licensed(None, Some(1_000));
    world.clock(900);
    open(&mut world, &mut client).unwrap();
    world.clock(1_000);
    assert!(matches!(refusal(&mut world, &mut client), Refusal::Ended { .. }));
    // It was seen to end: setting the clock back does not revive it, in this process or the next.
    world.clock(700);
    assert!(matches!(refusal(&mut world, &mut client), Refusal::Ended { .. }));
    drop(client);
    client = world.open().unwrap();
    world.clock(100);
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
    // The license's begin lies before the floor: the clock within the tolerance reads the floor.
    let (mut world, mut client) = licensed(Some(500), None);
    world.clock(600);
    open(&mut world, &mut client).unwrap();
    world.clock(400);
    open(&mut world, &mut client).unwrap();
}

#[test]
fn r_010_a_server_frees_a_device_whose_clock_was_once_far_ahead() {
    let (mut world, mut client) = licensed(None, Some(100 * DAY));
    world.clock(50 * 86_400);
    open(&mut world, &mut client).unwrap();
    world.clock(100);
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
    // The answer to a request by other means only raises the floor.
    world.server.now = NOW.plus(100);
    world.by_hand(&mut client, wanted(&[2])).unwrap();
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
    // So does an answer that took too long.
    world.online = true;
    world.round_trip = 5 * 60 * 1000 + 1;
    world.run(client.acquire(wanted(&[3]))).unwrap();
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
    world.round_trip = 5 * 60 * 1000;
    world.run(client.acquire(wanted(&[4]))).unwrap();
    open(&mut world, &mut client).unwrap();
    let request = world.server.requests.last().unwrap();
    assert_eq!(
        (request.clock.state, request.clock.last_trusted),
        (ClockState::RolledBack, Some(NOW))
    );
}

/// Enrols with another operator, whose server says that this many seconds have passed; the network is gone afterwards, and
/// the device's own server is back.
fn hear_another_operator(world: &mut World, client: &mut TestClient, seconds: u64) {
    let mut other = FakeServer::new([66; 32]);
    other.now = NOW.plus(seconds);
    core::mem::swap(&mut world.server, &mut other);
    world.online = true;
    let profile = world.profile();
    world.run(client.enrol(profile, "token".into())).unwrap();
    world.online = false;
    core::mem::swap(&mut world.server, &mut other);
}

/// Enrols anew with the device's own operator, whose server says that this many seconds have passed.
fn hear_its_own_operator(world: &mut World, client: &mut TestClient, seconds: u64) {
    world.server.now = NOW.plus(seconds);
    world.online = true;
    let profile = world.profile();
    world.run(client.enrol(profile, "token".into())).unwrap();
    world.online = false;
}

#[test]
fn r_010_another_operators_word_does_not_begin_a_license_anew_that_has_ended() {
    let (mut world, mut client) = licensed(None, Some(1_000));
    world.clock(2_000);
    assert!(matches!(refusal(&mut world, &mut client), Refusal::Ended { .. }));
    // The owner sets the clock back, and has an operator of their own say that it is right.
    world.clock(10);
    hear_another_operator(&mut world, &mut client, 10);
    assert_eq!(client.clock_floor(), NOW.plus(10));
    for _ in 0..2 {
        assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
        drop(client);
        client = world.open().unwrap();
    }
    // Again, and again in answer to the same operator: nothing comes of it.
    hear_another_operator(&mut world, &mut client, 11);
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
    // Not even with the clock set right, without its own operator's word.
    world.clock(2_000);
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
    hear_its_own_operator(&mut world, &mut client, 2_000);
    assert!(matches!(refusal(&mut world, &mut client), Refusal::Ended { .. }));
}

#[test]
fn r_010_each_operator_frees_its_own_licenses_from_a_clock_that_was_far_ahead() {
    let (mut world, mut client) = licensed(None, Some(100 * DAY));
    world.clock(50 * 86_400);
    open(&mut world, &mut client).unwrap();
    world.clock(100);
    hear_another_operator(&mut world, &mut client, 100);
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
    hear_its_own_operator(&mut world, &mut client, 100);
    open(&mut world, &mut client).unwrap();
    // What lowers nothing takes nothing from anybody.
    hear_another_operator(&mut world, &mut client, 100);
    open(&mut world, &mut client).unwrap();
}

#[test]
fn r_010_an_answer_is_as_old_as_the_first_sending_of_its_request() {
    let (mut world, mut client) = licensed(None, Some(100 * DAY));
    world.clock(50 * 86_400);
    open(&mut world, &mut client).unwrap();
    world.clock(100);
    world.server.now = NOW.plus(100);
    world.online = true;
    // Whoever is in between keeps the answer, says that the server is busy, and gives it to the second sending.
    world.round_trip = 3 * 60 * 1000;
    refuse_first(&mut world, LICENSE_PATH, ErrorCode::Busy, 1);
    world.run(client.acquire(wanted(&[3]))).unwrap();
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
    world.run(client.acquire(wanted(&[4]))).unwrap();
    open(&mut world, &mut client).unwrap();
}

#[test]
fn r_003_a_server_that_tells_the_time_stands_in_for_a_clock_until_the_process_ends() {
    let (mut world, mut client) = World::enrolled();
    drop(client);
    client = world.open().unwrap();
    world.moment.utc = None;
    world.server.terms.end = Some(NOW.plus(1_000));
    world.run(client.acquire(wanted(&[1]))).unwrap();
    world.online = false;
    open(&mut world, &mut client).unwrap();
    // Time passes by the clock that never steps.
    world.moment.monotonic += 1_001_000;
    assert!(matches!(refusal(&mut world, &mut client), Refusal::Ended { .. }));
    drop(client);
    client = world.open().unwrap();
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
}

#[test]
fn r_010_a_servers_time_raises_the_floor() {
    let (mut world, mut client) = licensed(None, Some(DAY));
    world.online = true;
    world.server.now = NOW.plus(2 * DAY);
    world.run(client.acquire(wanted(&[2]))).unwrap();
    let told = refusal(&mut world, &mut client);
    assert!(
        matches!(told, Refusal::Ended { .. }),
        "by the time that the server told this process"
    );
    drop(client);
    let mut client = world.open().unwrap();
    assert_eq!(
        refusal(&mut world, &mut client),
        Refusal::NoUsableClock,
        "the clock is two days behind"
    );
    world.clock(2 * 86_400);
    assert!(matches!(refusal(&mut world, &mut client), Refusal::Ended { .. }));
}

#[test]
fn r_010_a_server_cannot_lower_a_floor_that_a_server_set() {
    let (mut world, mut client) = licensed(None, Some(DAY));
    world.clock(5_000);
    open(&mut world, &mut client).unwrap();
    // Enrolment and acquisition stated NOW; an answer from before that does not take the floor below it.
    world.online = true;
    world.server.now = NOW.minus(2_000);
    world.run(client.acquire(wanted(&[2]))).unwrap();
    world.clock(-301);
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
    world.clock(0);
    open(&mut world, &mut client).unwrap();
}

#[test]
fn v_012_an_answer_that_was_kept_does_not_pass_for_a_fresh_one() {
    let (mut world, mut client) = licensed(None, Some(DAY));
    world.online = true;
    // Who owns the network keeps the answer to a request, until the license has been seen to end.
    let kept = Rc::new(RefCell::new(Vec::new()));
    let keep = Rc::clone(&kept);
    world.on_the_way = Some(Box::new(move |outgoing, answer| {
        if outgoing.url.ends_with(LICENSE_PATH) {
            *keep.borrow_mut() = core::mem::take(&mut answer.body);
        }
    }));
    let lost = world.run(client.acquire(wanted(&[2])));
    assert!(matches!(lost, Err(ClientError::NotAnAnswer { .. })), "{lost:?}");
    world.clock(i64::try_from(DAY).unwrap());
    assert!(matches!(refusal(&mut world, &mut client), Refusal::Ended { .. }));
    // Then the clock is set back, and today's request gets the answer of yesterday: its nonce is pending.
    world.clock(100);
    let old = kept.take();
    let body = old.clone();
    world.on_the_way = Some(Box::new(move |outgoing, answer| {
        if outgoing.url.ends_with(LICENSE_PATH) {
            *answer = Answer {
                status: 200,
                body: body.clone(),
            };
        }
    }));
    let refused = world.run(client.acquire(wanted(&[3])));
    assert!(
        matches!(refused, Err(ClientError::ResponseMismatch(why)) if why.contains("earlier request")),
        "{refused:?}"
    );
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
    // By other means it is welcome: it has no round trip, and only raises the floor.
    world.run(client.install(old)).unwrap();
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
}
