//! Acquisition: proactive, reactive, in memory, by other means, denied.

use keyward_client::{
    ClientError,
    acquire::Wanted,
    enforce::{Availability, Bound},
    install::AcquiredKey,
    session::Acquisition,
};
use keyward_crypto::hpke::Suite;
use keyward_license::{error_code::ErrorCode, response::Denial};
use keyward_testkit::fake_server::{LICENSE_PATH, Reply, problem};

use crate::world::{KIND_LICENSE, KIND_PENDING, Trace, World, header, kid, opens, wanted};

#[test]
fn a_license_is_acquired_before_it_is_needed_and_used_with_the_server_gone() {
    for suites in [&Suite::ALL[..], &[Suite::P256]] {
        let mut world = World::with_suites(suites);
        let mut client = world.enrol_new();
        assert_eq!(world.run(client.find(kid(1))).unwrap(), Availability::Missing);
        let acquired = world.run(client.acquire(wanted(&[1]))).unwrap();
        let [(of, AcquiredKey::Stored(id))] = acquired.outcomes[..] else {
            panic!("{acquired:?}")
        };
        assert_eq!(of, kid(1));
        let ready = Availability::Ready {
            license: id,
            until: None,
        };
        assert_eq!(world.run(client.find(kid(1))).unwrap(), ready);

        drop(client);
        world.online = false;
        let mut client = world.open().unwrap();
        assert_eq!(world.run(client.find(kid(1))).unwrap(), ready);
        let opened = world
            .run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive))
            .unwrap();
        assert_eq!(opened.acquired, None);
        assert_eq!(
            (
                opened.bound[0].kid(),
                opened.bound[0].license(),
                opened.bound[0].is_persistent()
            ),
            (kid(1), id, true)
        );
        assert!(opens(&opened.bound[0], 1) && !opens(&opened.bound[0], 2));
    }
}

#[test]
fn a_license_is_acquired_when_content_is_opened() {
    let (mut world, mut client) = World::enrolled();
    let refused = world.run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never));
    assert!(
        matches!(refused, Err(ClientError::NoLicense { kid: of }) if of == kid(1)),
        "{refused:?}"
    );
    let content = Wanted::header(header(1, Some("https://license.example/anything")));
    let opened = world
        .run(client.open_content(vec![kid(1)], content.clone(), Acquisition::Reactive))
        .unwrap();
    assert_eq!(opened.acquired.unwrap().outcomes.len(), 1);
    assert!(opens(&opened.bound[0], 1));
    world.online = false;
    let opened = world
        .run(client.open_content(vec![kid(1)], content, Acquisition::Reactive))
        .unwrap();
    assert!(opened.acquired.is_none() && opens(&opened.bound[0], 1));
}

#[test]
fn without_a_network_nothing_is_opened_and_the_client_goes_on() {
    let (mut world, mut client) = World::enrolled();
    world.online = false;
    assert!(
        world
            .drive(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive))
            .is_none()
    );
    world.online = true;
    assert!(
        world
            .run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive))
            .is_ok()
    );
}

#[test]
fn licenses_in_memory_die_with_the_client() {
    let (mut world, mut client) = World::enrolled();
    let in_memory = Wanted {
        in_memory: true,
        ..wanted(&[1])
    };
    let acquired = world.run(client.acquire(in_memory.clone())).unwrap();
    assert!(
        matches!(acquired.outcomes[..], [(_, AcquiredKey::InMemory(_))]),
        "{acquired:?}"
    );
    let opened = world
        .run(client.open_content(vec![kid(1)], in_memory, Acquisition::Never))
        .unwrap();
    assert!(opens(&opened.bound[0], 1) && !opened.bound[0].is_persistent());
    assert_eq!(world.run(client.licenses()).unwrap().len(), 1);
    assert_eq!(world.device.count(KIND_LICENSE), 0);

    drop(client);
    let client = world.open().unwrap();
    assert_eq!(world.run(client.find(kid(1))).unwrap(), Availability::Missing);
    assert_eq!(world.run(client.licenses()).unwrap(), []);
}

#[test]
fn licenses_in_memory_of_one_key_do_not_pile_up() {
    let (mut world, mut client) = World::enrolled();
    for _ in 0..10 {
        world
            .run(client.acquire(Wanted {
                in_memory: true,
                ..wanted(&[1])
            }))
            .unwrap();
    }
    world
        .run(client.acquire(Wanted {
            in_memory: true,
            ..wanted(&[2])
        }))
        .unwrap();
    let licenses = world.run(client.licenses()).unwrap();
    assert_eq!(
        licenses.iter().filter(|body| body.keys[0].kid == kid(1)).count(),
        8
    );
    assert_eq!(world.run(client.remove_licenses(kid(1))).unwrap(), 8);
    assert_eq!(world.run(client.licenses()).unwrap().len(), 1);
}

#[test]
fn request_and_installation_may_fall_into_different_processes() {
    let (mut world, mut client) = World::enrolled();
    let request = world.run(client.request(wanted(&[1, 2]))).unwrap();
    drop(client);
    let response = world.answer(&request);
    let mut client = world.open().unwrap();
    let installed = world.run(client.install(response)).unwrap();
    assert_eq!(installed.outcomes.len(), 2);
    drop(client);
    let mut client = world.open().unwrap();
    let opened = world
        .run(client.open_content(vec![kid(2)], wanted(&[2]), Acquisition::Never))
        .unwrap();
    assert!(opens(&opened.bound[0], 2));
}

#[test]
fn responses_to_several_requests_are_installed_in_any_order() {
    let (mut world, mut client) = World::enrolled();
    let requests: Vec<_> = (1..=3)
        .map(|number| world.run(client.request(wanted(&[number]))).unwrap())
        .collect();
    let responses: Vec<_> = requests.iter().map(|request| world.answer(request)).collect();
    for response in responses.into_iter().rev() {
        world.run(client.install(response)).unwrap();
    }
    assert_eq!(world.device.count(KIND_LICENSE), 3);
    assert_eq!(world.device.count(KIND_PENDING), 0);
}

#[test]
fn the_oldest_of_too_many_pending_requests_makes_room() {
    let (mut world, mut client) = World::enrolled();
    let requests: Vec<_> = (0..65)
        .map(|_| world.run(client.request(wanted(&[1]))).unwrap())
        .collect();
    let [first, second] = [0, 1].map(|at| world.answer(&requests[at]));
    let refused = world.run(client.install(first));
    assert!(
        matches!(refused, Err(ClientError::NoPendingRequest)),
        "{refused:?}"
    );
    world.run(client.install(second)).unwrap();
}

#[test]
fn a_denial_says_why_and_where_to_go() {
    let (mut world, mut client) = World::enrolled();
    let denial = Denial {
        code: ErrorCode::NotEntitled.number(),
        sentence: "the subscription has ended".into(),
        url: Some("https://shop.example/renew".into()),
    };
    world.server.denials.insert(kid(1), denial.clone());
    let refused = world.run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive));
    match refused {
        Err(ClientError::Denied {
            kid: of,
            denial: told,
        }) => assert_eq!((of, told), (kid(1), denial.clone())),
        other => panic!("{other:?}"),
    }
    let acquired = world.run(client.acquire(wanted(&[1]))).unwrap();
    assert_eq!(acquired.outcomes, [(kid(1), AcquiredKey::Denied(denial))]);
    assert_eq!(world.device.count(KIND_PENDING), 0);
}

#[test]
fn a_grant_of_some_keys_is_used_for_those() {
    let (mut world, mut client) = World::enrolled();
    world.server.keys.remove(&kid(2));
    let opened = world
        .run(client.open_content(vec![kid(1)], wanted(&[1, 2]), Acquisition::Reactive))
        .unwrap();
    assert!(opens(&opened.bound[0], 1));
    let outcomes = opened.acquired.unwrap().outcomes;
    assert!(
        matches!(&outcomes[..], [(_, AcquiredKey::Stored(_)), (of, AcquiredKey::Denied(denial))]
        if *of == kid(2) && denial.code == ErrorCode::KidUnknown.number()),
        "{outcomes:?}"
    );
    let refused = world.run(client.open_content(vec![kid(2)], wanted(&[1, 2]), Acquisition::Reactive));
    assert!(matches!(refused, Err(ClientError::Denied { .. })), "{refused:?}");
}

#[test]
fn the_keys_of_several_key_ids_are_released_together_or_not_at_all() {
    let (mut world, mut client) = World::enrolled();
    let both = vec![kid(1), kid(2)];
    let opened = world
        .run(client.open_content(both.clone(), wanted(&[1, 2]), Acquisition::Reactive))
        .unwrap();
    let released: Vec<_> = opened.bound.iter().map(Bound::kid).collect();
    assert_eq!(released, both);
    assert_eq!(world.server.requests.len(), 1, "one request for all keys");

    world.run(client.remove_licenses(kid(2))).unwrap();
    let refused = world.run(client.open_content(both.clone(), wanted(&[1, 2]), Acquisition::Never));
    assert!(
        matches!(refused, Err(ClientError::NoLicense { kid: of }) if of == kid(2)),
        "{refused:?}"
    );
    world.server.keys.remove(&kid(2));
    let refused = world.run(client.open_content(both, wanted(&[1, 2]), Acquisition::Reactive));
    assert!(
        matches!(&refused, Err(ClientError::Denied { kid: of, .. }) if *of == kid(2)),
        "{refused:?}"
    );
}

#[test]
fn the_applications_bytes_and_the_viewers_token_arrive_and_come_back() {
    let (mut world, mut client) = World::enrolled();
    let asked = Wanted {
        authorization: Some("viewer-token".into()),
        custom_data: Some(b"shelf 7".to_vec()),
        ..wanted(&[1])
    };
    let shown = format!("{asked:?}");
    assert!(
        !shown.contains("viewer-token") && shown.contains("0101"),
        "{shown}"
    );
    let acquired = world.run(client.acquire(asked)).unwrap();
    assert_eq!(acquired.custom_data.as_deref(), Some(&b"shelf 7"[..]));
    let request = world.server.requests.last().unwrap();
    assert_eq!(request.authorization.as_deref(), Some("viewer-token"));
    assert!(
        world
            .sent
            .iter()
            .all(|(outgoing, _)| !outgoing.body.windows(12).any(|at| at == b"viewer-token"))
    );
}

#[test]
fn the_generation_that_requests_state_rises() {
    let (mut world, mut client) = World::enrolled();
    for _ in 0..3 {
        world.run(client.acquire(wanted(&[1]))).unwrap();
    }
    let states: Vec<_> = world
        .server
        .requests
        .iter()
        .map(|request| request.store.clone())
        .collect();
    assert!(
        states
            .windows(2)
            .all(|pair| pair[0].epoch == pair[1].epoch && pair[0].generation < pair[1].generation)
    );
    assert_eq!(states.len(), 3);
}

#[test]
fn content_cannot_send_the_client_elsewhere() {
    let (mut world, mut client) = World::enrolled();
    world.sent.clear();
    let urls = [
        "https://evil.example/",
        "http://license.example/",
        "https://license.example:444/",
        "https://license.example@evil.example/",
    ];
    for url in urls {
        let refused = world.run(client.acquire(Wanted::header(header(1, Some(url)))));
        assert!(
            matches!(refused, Err(ClientError::UrlRefused { .. })),
            "{url}: {refused:?}"
        );
    }
    assert!(world.sent.is_empty());
    let refused = world.run(client.acquire(Wanted::header(b"no header".to_vec())));
    assert!(
        matches!(refused, Err(ClientError::ContentHeader(_))),
        "{refused:?}"
    );
}

#[test]
fn a_device_without_an_operator_asks_nobody() {
    let mut world = World::new();
    let mut client = world.open().unwrap();
    let refused = world.run(client.acquire(wanted(&[1])));
    assert!(
        matches!(refused, Err(ClientError::OperatorNotNamed(_))),
        "{refused:?}"
    );
    let refused = world.run(client.acquire(Wanted::header(header(1, Some("https://license.example/")))));
    assert!(
        matches!(refused, Err(ClientError::UnknownOperator { .. })),
        "{refused:?}"
    );
}

#[test]
fn whatever_else_answers_is_named_and_costs_nothing() {
    let (mut world, mut client) = World::enrolled();
    for status in [200, 302, 502] {
        let html = Reply {
            status,
            body: b"<html>busy</html>".to_vec(),
        };
        world.server.bent.instead.insert(LICENSE_PATH, html);
        let refused = world.run(client.acquire(wanted(&[1])));
        let named = matches!(refused, Err(ClientError::NotAnAnswer { status: said }) if said == status);
        assert!(named, "{refused:?}");
    }
    world
        .server
        .bent
        .instead
        .insert(LICENSE_PATH, problem(ErrorCode::DeviceRevoked));
    match world.run(client.acquire(wanted(&[1]))) {
        Err(ClientError::ServerRefused(problem)) => assert_eq!(problem.name, "device-revoked"),
        other => panic!("{other:?}"),
    }
    world.server.bent.instead.clear();
    world.run(client.acquire(wanted(&[1]))).unwrap();
}

#[test]
fn a_request_is_sent_only_after_it_is_remembered() {
    let (mut world, mut client) = World::enrolled();
    world.trace.clear();
    world.run(client.acquire(wanted(&[1]))).unwrap();
    let commits_and_sends: Vec<_> = world
        .trace
        .iter()
        .filter(|step| !matches!(step, Trace::Get(_)))
        .collect();
    assert!(
        matches!(
            commits_and_sends[..],
            [Trace::Commit, Trace::Send(_), Trace::Commit]
        ),
        "{:?}",
        world.trace
    );
}
