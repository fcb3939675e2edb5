//! What a client does by itself about what a server tells it: asks again, later or for fewer keys.

use std::{cell::Cell, rc::Rc};

use keyward_client::{ClientError, acquire::Wanted, session::Acquisition};
use keyward_license::{
    error_code::{Behaviour, ErrorCode},
    response::Denial,
};
use keyward_testkit::{
    fake_server::{ENROLMENT_PATH, LICENSE_PATH, problem},
    pki::{DAY, NOW},
};

use crate::{
    licensed::{asking, pass},
    world::{KIND_LICENSE, Trace, World, header, kid, opens, wanted},
};

/// Lets the server refuse the first requests for a path.
pub(crate) fn refuse_first(world: &mut World, path: &'static str, code: ErrorCode, times: usize) {
    let left = Cell::new(times);
    world.on_the_way = Some(Box::new(move |outgoing, answer| {
        if outgoing.url.ends_with(path) && left.get() > 0 {
            left.set(left.get() - 1);
            let refused = problem(code);
            (answer.status, answer.body) = (refused.status, refused.body);
        }
    }));
}

fn waits(world: &World) -> Vec<u64> {
    let waits = world.trace.iter().filter_map(|step| match step {
        Trace::Wait(milliseconds) => Some(*milliseconds),
        _ => None,
    });
    waits.collect()
}

fn bodies(world: &World, path: &str) -> Vec<Vec<u8>> {
    let sent = world
        .sent
        .iter()
        .filter(|(outgoing, _)| outgoing.url.ends_with(path));
    sent.map(|(outgoing, _)| outgoing.body.clone()).collect()
}

/// Whether waits are as long as this, in seconds, and up to half as long again.
fn are_about(waits: &[u64], seconds: &[u64]) -> bool {
    waits.len() == seconds.len()
        && (waits.iter().zip(seconds))
            .all(|(wait, seconds)| (seconds * 1_000..=seconds * 1_500).contains(wait))
}

#[test]
fn who_is_told_to_come_again_does_with_the_same_bytes_and_longer_waits_each_time() {
    for code in ErrorCode::ALL
        .iter()
        .filter(|code| code.behaviour() == Behaviour::Retry)
    {
        let (mut world, mut client) = World::enrolled();
        world.trace.clear();
        refuse_first(&mut world, LICENSE_PATH, *code, 3);
        let acquired = world.run(client.acquire(wanted(&[1]))).unwrap();
        assert_eq!(acquired.outcomes.len(), 1, "{code:?}");
        let bodies = bodies(&world, LICENSE_PATH);
        assert_eq!(bodies.len(), 4, "{code:?}");
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{code:?}");
        assert!(
            are_about(&waits(&world), &[1, 2, 4]),
            "{code:?} {:?}",
            waits(&world)
        );
    }
}

#[test]
fn nobody_asks_for_ever() {
    let (mut world, mut client) = World::enrolled();
    world.trace.clear();
    refuse_first(&mut world, LICENSE_PATH, ErrorCode::Internal, usize::MAX);
    let refused = world.run(client.acquire(wanted(&[1]))).unwrap_err();
    assert!(matches!(&refused, ClientError::ServerRefused(problem) if problem.code == 501));
    assert_eq!(refused.behaviour(), Some(Behaviour::Retry));
    assert_eq!(waits(&world).len(), 3);
    assert_eq!(bodies(&world, LICENSE_PATH).len(), 4);
}

#[test]
fn the_servers_own_word_says_how_long_to_wait_within_bounds() {
    for (retry_after, waited) in [
        (0, Some(1)),
        (1, Some(1)),
        (8, Some(8)),
        (20, Some(20)),
        (31, None),
        (u64::MAX, None),
    ] {
        let (mut world, mut client) = World::enrolled();
        world.trace.clear();
        world.retry_after = Some(retry_after);
        refuse_first(&mut world, LICENSE_PATH, ErrorCode::RateLimited, 1);
        let acquired = world.run(client.acquire(wanted(&[1])));
        assert_eq!(acquired.is_ok(), waited.is_some(), "{retry_after}");
        let seconds: Vec<u64> = waited.into_iter().collect();
        assert!(
            are_about(&waits(&world), &seconds),
            "{retry_after}: {:?}",
            waits(&world)
        );
    }
    let (mut world, mut client) = World::enrolled();
    world.trace.clear();
    world.retry_after = Some(30);
    refuse_first(&mut world, LICENSE_PATH, ErrorCode::Busy, 1);
    world.run(client.acquire(wanted(&[1]))).unwrap();
    assert_eq!(waits(&world), [30_000], "nobody waits longer than that");
}

#[test]
fn what_no_waiting_mends_is_not_repeated() {
    // With status 200 there is no problem document.
    let good = |code: &&ErrorCode| {
        code.status() != 200
            && !matches!(
                code.behaviour(),
                Behaviour::Retry | Behaviour::Discover | Behaviour::Split
            )
    };
    for code in ErrorCode::ALL.iter().filter(good) {
        let (mut world, mut client) = World::enrolled();
        world.trace.clear();
        refuse_first(&mut world, LICENSE_PATH, *code, 1);
        let refused = world.run(client.acquire(wanted(&[1]))).unwrap_err();
        assert_eq!(refused.behaviour(), Some(code.behaviour()), "{code:?}");
        assert_eq!(
            (waits(&world).len(), bodies(&world, LICENSE_PATH).len()),
            (0, 1),
            "{code:?}"
        );
    }
    // A page of somebody on the way is no word of the protocol, whatever its status, nor is another status's problem.
    for (status, body) in [
        (503, b"<html>later</html>".to_vec()),
        (502, problem(ErrorCode::Busy).body),
    ] {
        let (mut world, mut client) = World::enrolled();
        world.trace.clear();
        world.on_the_way = Some(Box::new(move |_, answer| {
            (answer.status, answer.body) = (status, body.clone());
        }));
        world.run(client.acquire(wanted(&[1]))).unwrap_err();
        assert_eq!((waits(&world).len(), world.sent.len()), (0, 3), "{status}");
    }
}

#[test]
fn a_busy_server_is_asked_again_to_enrol_and_for_its_discovery_document() {
    for path in [ENROLMENT_PATH, "/.well-known/keyward"] {
        let mut world = World::new();
        let mut client = world.open().unwrap();
        refuse_first(&mut world, path, ErrorCode::Busy, 2);
        let profile = world.profile();
        world.run(client.enrol(profile, "token".into())).unwrap();
        assert!(are_about(&waits(&world), &[1, 2]), "{path} {:?}", waits(&world));
    }
}

#[test]
fn what_is_asked_for_ahead_is_not_waited_for() {
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(asking());
    world.server.terms.end = Some(NOW.plus(DAY));
    world.server.bent.license = Some(Box::new(|body| body.grace_period = Some(DAY)));
    world.run(client.acquire(wanted(&[1]))).unwrap();
    pass(&mut world, DAY + 60);
    let mut opened = world
        .run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive))
        .unwrap();
    assert!(opened.bound[0].is_in_grace());
    world.trace.clear();
    refuse_first(&mut world, LICENSE_PATH, ErrorCode::Busy, 1);
    assert!(world.run(client.renew(&mut opened)).is_err());
    assert_eq!(waits(&world), [0_u64; 0], "what plays goes on, and asks later");
}

#[test]
fn a_host_that_cannot_wait_drops_the_flow_and_nothing_is_lost() {
    let (mut world, mut client) = World::enrolled();
    refuse_first(&mut world, LICENSE_PATH, ErrorCode::Busy, 1);
    let at = world.trace.len();
    let mut trial = World::enrolled();
    refuse_first(&mut trial.0, LICENSE_PATH, ErrorCode::Busy, 1);
    trial.0.run(trial.1.acquire(wanted(&[1]))).unwrap();
    let wait = trial
        .0
        .trace
        .iter()
        .position(|step| matches!(step, Trace::Wait(_)));
    world.stop = Some((wait.unwrap(), crate::world::Stop::Before));
    assert!(at < wait.unwrap());
    assert!(world.drive(client.acquire(wanted(&[1]))).is_none());
    world.stop = None;
    assert!(world.run(client.acquire(wanted(&[1]))).is_ok());
}

#[test]
fn too_many_keys_are_asked_for_in_several_requests() {
    for most in [1, 2, 3, 5, 6] {
        let (mut world, mut client) = World::enrolled();
        world.server.most_kids = most;
        let content = Wanted {
            kids: vec![kid(1), kid(2), kid(3), kid(4), kid(5)],
            custom_data: Some(b"told".to_vec()),
            ..Wanted::header(header(6, Some("https://license.example")))
        };
        let acquired = world.run(client.acquire(content)).unwrap();
        let mut kids: Vec<_> = acquired.outcomes.iter().map(|(kid, _)| *kid).collect();
        kids.sort_unstable();
        assert_eq!(kids, (1..=6).map(kid).collect::<Vec<_>>(), "{most}");
        assert_eq!(world.device.count(KIND_LICENSE), 6);
        assert!(world.server.requests.iter().all(|request| {
            let kids = request.kids.as_ref().map_or(0, Vec::len);
            let headers = request.content_headers.as_ref().map_or(0, Vec::len);
            kids + headers <= most && request.custom_data.as_ref().unwrap().0 == b"told"
        }));
        let opened = world
            .run(client.open_content(vec![kid(6)], wanted(&[6]), Acquisition::Never))
            .unwrap();
        assert!(opens(&opened.bound[0], 6));
    }
}

#[test]
fn a_single_key_that_is_too_much_is_refused_after_few_requests() {
    let (mut world, mut client) = World::enrolled();
    world.server.most_kids = 0;
    let before = world.sent.len();
    let refused = world.run(client.acquire(wanted(&[1, 2, 3, 4, 5, 6, 7, 8])));
    assert!(matches!(&refused, Err(ClientError::ServerRefused(problem)) if problem.code == 105));
    assert_eq!(refused.unwrap_err().behaviour(), Some(Behaviour::Split));
    assert_eq!(world.sent.len() - before, 4, "8, 4, 2 and 1");
    assert_eq!(world.device.count(KIND_LICENSE), 0);
}

#[test]
fn a_denial_brings_its_page_and_what_is_to_be_done() {
    let (mut world, mut client) = World::enrolled();
    let denial = Denial {
        code: ErrorCode::NotEntitled.number(),
        sentence: "not part of your plan".into(),
        url: Some("https://shop.example".into()),
    };
    for (code, behaviour) in [
        (ErrorCode::NotEntitled.number(), Behaviour::Show),
        (
            ErrorCode::DomainRequired.number(),
            ErrorCode::DomainRequired.behaviour(),
        ),
        (9_999, Behaviour::Show),
    ] {
        let denial = Denial {
            code,
            ..denial.clone()
        };
        world.server.denials.insert(kid(1), denial);
        let denied = world
            .run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive))
            .unwrap_err();
        assert_eq!(denied.page(), Some("https://shop.example"));
        assert_eq!(denied.behaviour(), Some(behaviour));
    }
    let none = Rc::new(ClientError::HostOutOfStep);
    assert_eq!((none.behaviour(), none.page()), (None, None));
}
