//! Devices without a network: discovery documents, enrolments and licenses that others carry.

use keyward_client::{ClientError, enforce::Availability, host::HostProfile};
use keyward_crypto::{hpke::Suite, x509::Role};
use keyward_license::{
    codec::Wire, envelope::SealedRequest, ids::Digest, request::ClockKind, signed::MessageError,
    time::Timestamp,
};
use keyward_testkit::{
    fake_server::FakeServer,
    pki::{DAY, NOW, Operator, YEAR},
};

use crate::world::{Device, TestClient, World, kid, wanted};

/// A world without a network.
fn offline() -> World {
    let mut world = World::new();
    world.online = false;
    world
}

fn seconds(days: u64) -> i64 {
    i64::try_from(days * DAY).unwrap()
}

/// Time goes on for everybody.
fn later(world: &mut World, days: u64) {
    world.clock(seconds(days));
    world.server.now = NOW.plus(days * DAY);
}

/// Whom a request is sealed to.
fn recipient(request: &[u8]) -> Digest {
    SealedRequest::decode(request).unwrap().recipient
}

#[test]
fn a_device_that_never_has_a_network_enrols_and_gets_licenses() {
    let mut world = offline();
    let mut client = world.open().unwrap();
    let request = world.request_enrolment(&mut client);
    assert_eq!(client.operators().count(), 0);
    let response = world.answer_enrolment(&request);
    // In another process, a day later.
    drop(client);
    later(&mut world, 1);
    let mut client = world.open().unwrap();
    let enrolled = world.run(client.install_enrolment(response.clone())).unwrap();
    assert_eq!(enrolled.operator, world.server.operator.id());
    world.by_hand(&mut client, wanted(&[1])).unwrap();
    let ready = world.run(client.find(kid(1))).unwrap();
    assert!(matches!(ready, Availability::Ready { .. }), "{ready:?}");

    // Weeks later the stored document is not in use any more, and a fresh one is.
    later(&mut world, 21);
    let stale = world.run(client.request(wanted(&[2])));
    assert!(
        matches!(
            stale,
            Err(ClientError::DiscoveryRefused("it is not in use at this time"))
        ),
        "{stale:?}"
    );
    let document = world.server.discovery();
    let operator = world.run(client.install_discovery(document)).unwrap();
    assert_eq!(operator, enrolled.operator);
    world.by_hand(&mut client, wanted(&[2])).unwrap();
    assert!(world.sent.is_empty(), "nothing went over a network");
}

#[test]
fn v_010_an_enrolment_response_is_consumed_once_whatever_comes_of_it() {
    let mut world = offline();
    let mut client = world.open().unwrap();
    let request = world.request_enrolment(&mut client);
    let response = world.answer_enrolment(&request);
    world.server.bent.enrolment = Some(Box::new(|response| drop(response.shares.pop())));
    let refused = world.answer_enrolment(&request);
    let fault = world.run(client.install_enrolment(refused));
    assert!(
        matches!(fault, Err(ClientError::CertificateRefused(_))),
        "{fault:?}"
    );
    let consumed = world.run(client.install_enrolment(response));
    assert!(
        matches!(consumed, Err(ClientError::NoPendingRequest)),
        "{consumed:?}"
    );
    assert_eq!(client.operators().count(), 0);
}

#[test]
fn v_011_responses_of_another_device_install_nothing() {
    let mut world = offline();
    let mut client = world.open().unwrap();
    let request = world.request_enrolment(&mut client);
    let response = world.answer_enrolment(&request);
    drop(client);
    let first = core::mem::replace(&mut world.device, Device::new(77));
    let mut other = world.open().unwrap();
    world.request_enrolment(&mut other);
    for (bytes, installs_nothing) in [(response.clone(), true), (b"no response".to_vec(), false)] {
        let refused = world.run(other.install_enrolment(bytes));
        match refused {
            Err(ClientError::NoPendingRequest) => assert!(installs_nothing),
            Err(ClientError::NotAResponse) => assert!(!installs_nothing),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(other.operators().count(), 0);
    // It was not used up by that.
    drop(other);
    world.device = first;
    let mut client = world.open().unwrap();
    world.run(client.install_enrolment(response)).unwrap();
}

#[test]
fn several_enrolments_may_be_on_their_way_and_the_oldest_make_room() {
    let mut world = offline();
    let mut client = world.open().unwrap();
    let requests: Vec<_> = (0..9).map(|_| world.request_enrolment(&mut client)).collect();
    let responses: Vec<_> = requests
        .iter()
        .map(|request| world.answer_enrolment(request))
        .collect();
    let forgotten = world.run(client.install_enrolment(responses[0].clone()));
    assert!(
        matches!(forgotten, Err(ClientError::NoPendingRequest)),
        "{forgotten:?}"
    );
    for response in responses.into_iter().skip(1).rev() {
        world.run(client.install_enrolment(response)).unwrap();
    }
    assert_eq!(client.operators().count(), 1);
}

#[test]
fn v_060_v_061_a_carried_document_passes_the_checks_of_one_that_was_fetched() {
    let (mut world, mut client) = World::enrolled();
    world.online = false;
    let before = world.device.store.clone();
    let own = world.server.discovery();

    let mut altered = own.clone();
    *altered.last_mut().unwrap() ^= 1;
    let refused = world.run(client.install_discovery(altered));
    let is_altered = |refused: &Result<Digest, ClientError>| {
        matches!(
            refused,
            Err(ClientError::Message {
                error: MessageError::BadSignature,
                ..
            })
        )
    };
    assert!(is_altered(&refused), "{refused:?}");

    // Of another operator, honestly and under this operator's name.
    let mut foreign = FakeServer::new([66; 32]);
    let refused = world.run(client.install_discovery(foreign.discovery()));
    assert!(
        matches!(
            refused,
            Err(ClientError::DiscoveryRefused(
                "this device is not enrolled with its operator"
            ))
        ),
        "{refused:?}"
    );
    let id = world.server.operator.id();
    foreign.bent.discovery = Some(Box::new(move |document| document.operator = id));
    let refused = world.run(client.install_discovery(foreign.discovery()));
    let by_signer = matches!(
        refused,
        Err(ClientError::Message {
            error: MessageError::Signer(_),
            ..
        })
    );
    assert!(by_signer, "{refused:?}");

    // Signed by the operator, in another role.
    world.server.bent.discovery_signer = Some(world.server.operator.server(Role::Time));
    let document = world.server.discovery();
    assert!(world.run(client.install_discovery(document)).is_err());
    world.server.bent.discovery_signer = None;

    // No document at all.
    assert!(world.run(client.install_discovery(b"<html>".to_vec())).is_err());

    // Expired, and from the future.
    for (days, hence) in [(8, 0), (0, 8)] {
        world.server.now = NOW.plus(hence * DAY);
        let document = world.server.discovery();
        world.clock(seconds(days));
        let refused = world.run(client.install_discovery(document));
        assert!(
            matches!(
                refused,
                Err(ClientError::DiscoveryRefused("it is not in use at this time"))
            ),
            "{refused:?}"
        );
    }
    assert!(
        world.device.store.records_mut() == before.clone().records_mut(),
        "something was stored"
    );
    world.clock(0);
    world.run(client.install_discovery(own)).unwrap();
}

#[test]
fn v_060_an_enrolment_is_requested_by_a_document_of_the_profiles_operator_alone() {
    let mut world = offline();
    let mut client = world.open().unwrap();
    let profile = world.profile();
    let mut foreign = FakeServer::new([66; 32]);
    let id = world.server.operator.id();
    let documents = [
        foreign.discovery(),
        {
            foreign.bent.discovery = Some(Box::new(move |document| document.operator = id));
            foreign.discovery()
        },
        {
            world.server.now = NOW.minus(8 * DAY);
            world.server.discovery()
        },
        Vec::new(),
    ];
    for document in documents {
        let refused = world.run(client.request_enrolment(profile.clone(), "token".into(), document));
        assert!(refused.is_err(), "{refused:?}");
    }
    assert!(
        world.device.store.records_mut().is_empty(),
        "something was stored"
    );
}

#[test]
fn v_061_an_older_document_brings_back_no_recipient_that_was_given_up() {
    let (mut world, mut client) = World::enrolled();
    world.online = false;
    let older = world.server.discovery();
    let given_up = world.server.recipient();
    later(&mut world, 1);
    world.server.roll_recipient(&Suite::ALL);
    let newer = world.server.discovery();
    world.run(client.install_discovery(newer)).unwrap();
    // The older one is in use still, and says nothing new.
    world.run(client.install_discovery(older.clone())).unwrap();
    let request = world.run(client.request(wanted(&[1]))).unwrap();
    assert_eq!(recipient(&request), world.server.recipient());
    assert_ne!(recipient(&request), given_up);

    // Nor when the newer one has expired before it.
    world.clock(seconds(2));
    let short = {
        world.server.now = NOW.plus(2 * DAY);
        world.server.bent.discovery = Some(Box::new(|document| document.expires = document.issued.plus(60)));
        world.server.discovery()
    };
    world.run(client.install_discovery(short)).unwrap();
    world.clock(seconds(3));
    let refused = world.run(client.install_discovery(older.clone()));
    let why = "it is older than the one that this device has";
    assert!(
        matches!(refused, Err(ClientError::DiscoveryRefused(said)) if said == why),
        "{refused:?}"
    );

    // Nor when the device has no clock to judge by.
    drop(client);
    let mut client = world.open().unwrap();
    world.moment.utc = None;
    world.run(client.install_discovery(older)).unwrap();
    let request = world.run(client.request(wanted(&[2]))).unwrap();
    assert_eq!(recipient(&request), world.server.recipient());
}

#[test]
fn v_027_a_carried_document_with_weaker_suites_is_refused() {
    let (mut world, mut client) = World::enrolled();
    world.online = false;
    world.server.now = NOW.plus(60);
    world.server.roll_recipient(&[Suite::P256]);
    let document = world.server.discovery();
    let refused = world.run(client.install_discovery(document));
    let why = "it offers weaker suites than the operator has used before";
    assert!(
        matches!(refused, Err(ClientError::DiscoveryRefused(said)) if said == why),
        "{refused:?}"
    );
    // A better one that was carried is remembered as one that was fetched.
    let mut world = World::with_suites(&[Suite::P256]);
    let mut client = world.enrol_new();
    let weaker = world.server.discovery();
    world.server.now = NOW.plus(60);
    world.server.roll_recipient(&Suite::ALL);
    let better = world.server.discovery();
    world.run(client.install_discovery(better)).unwrap();
    let refused = world.run(client.install_discovery(weaker));
    assert!(
        matches!(refused, Err(ClientError::DiscoveryRefused(said)) if said == why),
        "{refused:?}"
    );
}

#[test]
fn v_061_without_a_clock_a_document_from_before_what_a_server_told_is_refused() {
    let (mut world, mut client) = World::enrolled();
    let old = world.server.discovery();
    world.server.now = NOW.plus(8 * DAY);
    world.moment.utc = None;
    world.run(client.acquire(wanted(&[1]))).unwrap();
    world.online = false;
    drop(client);
    let mut client = world.open().unwrap();
    let refused = world.run(client.install_discovery(old));
    assert!(
        matches!(
            refused,
            Err(ClientError::DiscoveryRefused("it is not in use at this time"))
        ),
        "{refused:?}"
    );
    assert_eq!(client.clock_floor(), Timestamp(NOW.0 + 8 * DAY));
}

#[test]
fn a_device_of_two_operators_takes_each_document_for_its_own() {
    let (mut world, mut client) = World::enrolled();
    let mut second = FakeServer::new([66; 32]);
    core::mem::swap(&mut world.server, &mut second);
    let profile = world.profile();
    world.run(client.enrol(profile, "token".into())).unwrap();
    let documents = [&world.server, &second].map(|server| (server.operator.id(), server.discovery()));
    for (operator, document) in documents {
        assert_eq!(world.run(client.install_discovery(document)).unwrap(), operator);
    }
    let stranger = FakeServer::new([67; 32]).discovery();
    assert!(world.run(client.install_discovery(stranger)).is_err());
    assert_ne!(world.server.operator.id(), Operator::new([67; 32]).id());
}

#[test]
fn v_061_an_enrolment_that_was_long_on_its_way_does_not_bring_back_an_older_document() {
    let (mut world, mut client) = World::enrolled();
    world.online = false;
    let older = world.server.discovery();
    let request = world.request_enrolment(&mut client);
    let response = world.answer_enrolment(&request);
    later(&mut world, 1);
    world.server.roll_recipient(&Suite::ALL);
    let newer = world.server.discovery();
    world.run(client.install_discovery(newer)).unwrap();
    world.run(client.install_enrolment(response)).unwrap();
    let request = world.run(client.request(wanted(&[1]))).unwrap();
    assert_eq!(recipient(&request), world.server.recipient());

    // Nor is a token sealed to whom the operator has given up.
    let refused = world.run(client.request_enrolment(world.profile(), "token".into(), older));
    let why = "it is older than the one that this device has";
    assert!(
        matches!(refused, Err(ClientError::DiscoveryRefused(said)) if said == why),
        "{refused:?}"
    );
}

/// When the device's certificate ends: at first a year after it was enrolled, 395 days from its beginning.
fn ends(client: &TestClient) -> u64 {
    let enrolment = client.enrolments().next().unwrap();
    enrolment.certificate().unwrap().not_after()
}

#[test]
fn v_055_a_certificate_in_its_last_third_is_renewed_by_what_is_carried() {
    let (mut world, mut client) = World::enrolled();
    later(&mut world, 233);
    let document = world.server.discovery();
    world.run(client.install_discovery(document)).unwrap();
    world.by_hand(&mut client, wanted(&[1])).unwrap();
    assert!(!client.owes_renewal());
    let early = world.run(client.request_renewal());
    assert!(matches!(early, Err(ClientError::NothingToRenew)), "{early:?}");
    later(&mut world, 234);
    let document = world.server.discovery();
    world.run(client.install_discovery(document)).unwrap();
    world.by_hand(&mut client, wanted(&[2])).unwrap();
    assert!(client.owes_renewal(), "the carried answer says what time it is");
    // In another process, which has no network.
    world.online = false;
    drop(client);
    let mut client = world.open().unwrap();
    let request = world.run(client.request_renewal()).unwrap();
    let response = world.answer_enrolment(&request);
    drop(client);
    let mut client = world.open().unwrap();
    let enrolled = world.run(client.install_enrolment(response.clone())).unwrap();
    assert_eq!(enrolled.valid_until, NOW.plus(234 * DAY + YEAR));
    assert_eq!(ends(&client), enrolled.valid_until.0);
    let again = world.run(client.install_enrolment(response));
    assert!(matches!(again, Err(ClientError::NoPendingRequest)), "{again:?}");
    let done = world.run(client.request_renewal());
    assert!(matches!(done, Err(ClientError::NothingToRenew)), "{done:?}");
    // What it held is there, and it asks with the new certificate.
    assert_eq!(world.run(client.licenses()).unwrap().len(), 2);
    world.by_hand(&mut client, wanted(&[3])).unwrap();
    assert!(!client.owes_renewal());
}

#[test]
fn v_055_a_carried_renewal_that_comes_to_nothing_changes_nothing() {
    let (mut world, mut client) = World::enrolled();
    later(&mut world, 250);
    let before = ends(&client);
    let stale = world.run(client.request_renewal());
    assert!(
        matches!(stale, Err(ClientError::DiscoveryRefused(_))),
        "{stale:?}"
    );
    let document = world.server.discovery();
    world.run(client.install_discovery(document)).unwrap();
    let request = world.run(client.request_renewal()).unwrap();
    world.server.bent.enrolment = Some(Box::new(|response| response.chain.0.reverse()));
    let response = world.answer_enrolment(&request);
    assert!(world.run(client.install_enrolment(response)).is_err());
    assert_eq!(ends(&client), before);
    // Its request is consumed, and another one may be made.
    world.server.bent.enrolment = None;
    let late = world.answer_enrolment(&request);
    assert!(world.run(client.install_enrolment(late)).is_err());
    let request = world.run(client.request_renewal()).unwrap();
    let response = world.answer_enrolment(&request);
    world.run(client.install_enrolment(response)).unwrap();
    assert_eq!(ends(&client), NOW.plus(250 * DAY + YEAR).0);
    // One that has ended is renewed by nobody.
    later(&mut world, 250 + 366);
    let ended = world.run(client.request_renewal());
    assert!(matches!(ended, Err(ClientError::NothingToRenew)), "{ended:?}");
}

#[test]
fn v_055_without_a_clock_what_a_carried_answer_told_says_that_a_certificate_ends() {
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(HostProfile {
        clock: ClockKind::None,
        ..HostProfile::default()
    });
    world.moment.utc = None;
    let none = world.run(client.request_renewal());
    assert!(matches!(none, Err(ClientError::NothingToRenew)), "{none:?}");
    let request = world.run(client.request(wanted(&[1]))).unwrap();
    world.server.now = NOW.plus(250 * DAY);
    let response = world.answer(&request);
    world.run(client.install(response)).unwrap();
    assert!(client.owes_renewal());
    let document = world.server.discovery();
    world.run(client.install_discovery(document)).unwrap();
    let request = world.run(client.request_renewal()).unwrap();
    let response = world.answer_enrolment(&request);
    world.run(client.install_enrolment(response)).unwrap();
    assert_eq!(ends(&client), NOW.plus(250 * DAY + YEAR).0);
    assert!(!client.owes_renewal());
}
