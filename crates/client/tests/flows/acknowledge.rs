//! V-065: license servers are told what became of their answers.

use std::cell::RefCell;

use keyward_client::{ClientError, acquire::Wanted, host::HostProfile};
use keyward_crypto::x509::Role;
use keyward_license::{
    acknowledgement::LicenseOutcome,
    error_code::ErrorCode,
    ids::{Digest, Nonce, TransactionId},
    license::Binding,
};
use keyward_testkit::{
    fake_server::{ACKNOWLEDGEMENT_PATH, FakeServer, ORIGIN, problem},
    pki::{NOW, YEAR},
};

use crate::{
    licensed::asking,
    world::{KIND_PENDING, TestClient, World, kid, wanted},
};

/// Where another operator's license server is.
const OTHER: &str = "https://other.example:443";

fn telling() -> HostProfile {
    HostProfile {
        acknowledges: true,
        ..asking()
    }
}

/// A world whose server wants to know, and a host that says so.
fn world() -> (World, TestClient) {
    let mut world = World::new();
    world.server.wants_acknowledgements = true;
    let client = world.enrol_new().on_host(telling());
    (world, client)
}

fn reopened(world: &mut World, client: TestClient) -> TestClient {
    drop(client);
    world.open().unwrap().on_host(telling())
}

/// What the server answers to an acknowledgement that was carried.
fn receipt(world: &mut World, request: &[u8]) -> Vec<u8> {
    let reply = world
        .server
        .answer(&format!("{ORIGIN}{ACKNOWLEDGEMENT_PATH}"), request);
    assert_eq!(reply.status, 200);
    reply.body
}

#[test]
fn v_065_a_server_that_wants_to_know_is_told_and_its_receipt_ends_it() {
    let (mut world, mut client) = world();
    let content = Wanted {
        in_memory: false,
        ..wanted(&[1, 2])
    };
    let acquired = world.run(client.acquire(content)).unwrap();
    let transaction = acquired.transaction.unwrap();
    assert!(client.owes_acknowledgement());
    assert_eq!(client.waiting_acknowledgements(), 1);
    let told = world.run(client.acknowledge()).unwrap();
    assert_eq!((&told.received[..], told.waiting), (&[transaction][..], 0));
    assert!(told.failed.is_none());
    assert!(!client.owes_acknowledgement());
    let acknowledged = world.server.acknowledged.last().unwrap();
    assert_eq!(acknowledged.transaction, transaction);
    let kids: Vec<_> = acknowledged.licenses.iter().map(|license| license.kid).collect();
    assert_eq!(kids, [kid(1), kid(2)]);
    assert!(acknowledged.licenses.iter().all(|license| {
        license.outcome == LicenseOutcome::Stored && license.license.is_some() && license.reason.is_none()
    }));
    let sent = world.sent.len();
    assert_eq!(world.run(client.acknowledge()).unwrap().received, []);
    assert_eq!(world.sent.len(), sent);

    let in_memory = Wanted {
        in_memory: true,
        ..wanted(&[1])
    };
    world.run(client.acquire(in_memory)).unwrap();
    world.run(client.acknowledge()).unwrap();
    let acknowledged = world.server.acknowledged.last().unwrap();
    assert_eq!(acknowledged.licenses[0].outcome, LicenseOutcome::InMemory);
}

#[test]
fn v_065_a_host_that_does_not_tell_does_not_say_so_and_nothing_waits() {
    let mut world = World::new();
    world.server.wants_acknowledgements = true;
    let mut client = world.enrol_new();
    // Nor does one wait for a server that asks unannounced.
    world.server.bent.response = Some(Box::new(|response| {
        response.transaction = Some(TransactionId::new([7; 16]));
    }));
    let acquired = world.run(client.acquire(wanted(&[1]))).unwrap();
    assert_eq!(acquired.transaction, None);
    let request = world.server.requests.last().unwrap();
    assert!(request.capabilities.acknowledges.is_none());
    assert_eq!(client.waiting_acknowledgements(), 0);
}

/// The server takes no acknowledgement from now on, for this reason.
fn refuses(world: &mut World, why: ErrorCode) {
    world
        .server
        .bent
        .instead
        .insert(ACKNOWLEDGEMENT_PATH, problem(why));
}

#[test]
fn v_065_what_cannot_be_told_waits_for_the_next_contact_in_this_process_or_a_later_one() {
    let (mut world, mut client) = world();
    world.run(client.acquire(wanted(&[1]))).unwrap();
    refuses(&mut world, ErrorCode::Internal);
    let told = world.run(client.acknowledge()).unwrap();
    assert_eq!((told.received.len(), told.waiting), (0, 1));
    assert!(matches!(told.failed, Some(ClientError::ServerRefused(_))));
    assert!(
        !client.owes_acknowledgement(),
        "not before there is contact again"
    );
    let mut client = reopened(&mut world, client);
    assert_eq!(client.waiting_acknowledgements(), 1);
    assert!(!client.owes_acknowledgement());
    world.server.bent.instead.clear();
    world.run(client.acquire(wanted(&[2]))).unwrap();
    assert!(client.owes_acknowledgement());
    let told = world.run(client.acknowledge()).unwrap();
    assert_eq!((told.received.len(), told.waiting), (2, 0));
    // Without a network the flow is dropped, and it waits.
    world.run(client.acquire(wanted(&[3]))).unwrap();
    world.online = false;
    assert!(world.drive(client.acknowledge()).is_none());
    assert_eq!(client.waiting_acknowledgements(), 1);
}

#[test]
fn v_065_what_a_server_knows_nothing_of_waits_no_more() {
    let (mut world, mut client) = world();
    world.run(client.acquire(wanted(&[1]))).unwrap();
    refuses(&mut world, ErrorCode::TransactionRefused);
    let told = world.run(client.acknowledge()).unwrap();
    assert_eq!((told.received.len(), told.waiting), (0, 0));
    assert!(matches!(told.failed, Some(ClientError::ServerRefused(_))));
    assert_eq!(client.waiting_acknowledgements(), 0);
    let client = reopened(&mut world, client);
    assert_eq!(client.waiting_acknowledgements(), 0);
}

#[test]
fn v_065_a_refused_response_is_told_with_the_step_that_failed() {
    let (mut world, mut client) = world();
    world.server.bent.license = Some(Box::new(|body| {
        if body.keys[0].kid == kid(2) {
            body.binding = Binding::device(&keyward_license::ids::DeviceId::new([3; 32]));
        }
    }));
    let refused = world.run(client.acquire(wanted(&[1, 2])));
    assert!(matches!(refused, Err(ClientError::LicenseRefused { kid: of, .. }) if of == kid(2)));
    assert_eq!(world.device.count(KIND_PENDING), 0);
    assert!(client.owes_acknowledgement());
    let mut client = reopened(&mut world, client);
    world.run(client.acknowledge()).unwrap();
    let acknowledged = world.server.acknowledged.last().unwrap();
    assert!(
        acknowledged
            .licenses
            .iter()
            .all(|license| license.outcome == LicenseOutcome::Refused)
    );
    let reasons: Vec<_> = acknowledged
        .licenses
        .iter()
        .map(|license| license.reason.as_deref())
        .collect();
    assert_eq!(
        reasons,
        [None, Some("V-022: it is bound to another device")],
        "{reasons:?}"
    );
}

#[test]
fn v_065_no_other_receipt_ends_it() {
    type Bend = fn(&mut World);
    let bends: [Bend; 6] = [
        |world| world.server.bent.receipt_signer = Some(world.server.operator.server(Role::LicenseServer)),
        |world| {
            let mut stranger = keyward_testkit::pki::Operator::new([9; 32]);
            world.server.bent.receipt_signer = Some(stranger.server(Role::Receipt));
        },
        |world| {
            world.server.bent.receipt = Some(Box::new(|receipt| {
                receipt.transaction = TransactionId::new([1; 16])
            }));
        },
        |world| world.server.bent.receipt = Some(Box::new(|receipt| receipt.nonce = Nonce::new([1; 16]))),
        |world| world.server.bent.receipt = Some(Box::new(|receipt| receipt.request = Digest::new([1; 32]))),
        // A signer cannot state a time at which it is not valid.
        |world| {
            world.server.bent.receipt = Some(Box::new(|receipt| receipt.server_time = NOW.plus(3 * YEAR)));
        },
    ];
    for (number, bend) in bends.into_iter().enumerate() {
        let (mut world, mut client) = world();
        world.run(client.acquire(wanted(&[1]))).unwrap();
        bend(&mut world);
        let told = world.run(client.acknowledge()).unwrap();
        assert_eq!((told.received.len(), told.waiting), (0, 1), "{number}");
        assert!(
            matches!(
                told.failed,
                Some(ClientError::Message { .. } | ClientError::ResponseMismatch(_))
            ),
            "{number}: {:?}",
            told.failed
        );
        world.server.bent.receipt_signer = None;
        world.server.bent.receipt = None;
        assert_eq!(world.run(client.acknowledge()).unwrap().waiting, 0, "{number}");
    }
}

#[test]
fn v_065_a_revoked_receipt_signer_gives_no_receipt() {
    let (mut world, mut client) = world();
    world.run(client.acquire(wanted(&[1]))).unwrap();
    let signer = world.server.operator.server(Role::Receipt);
    let list = world
        .server
        .list(Some(Role::Receipt), 1, &[(&signer.chain[0], NOW)]);
    world.server.bent.receipt_signer = Some(signer);
    let file = world.server.lists_file(vec![list]);
    world.run(client.install_lists(file)).unwrap();
    assert_eq!(world.run(client.acknowledge()).unwrap().waiting, 1);
}

#[test]
fn v_065_request_and_receipt_can_be_carried() {
    let (mut world, mut client) = world();
    world.by_hand(&mut client, wanted(&[1])).unwrap();
    assert!(!client.owes_acknowledgement(), "there is no contact");
    assert_eq!(client.waiting_acknowledgements(), 1);
    let request = world.run(client.request_acknowledgement()).unwrap();
    let bytes = receipt(&mut world, &request);
    let (mut other, mut another) = self::world();
    let refused = other.run(another.install_receipt(bytes.clone()));
    assert!(matches!(refused, Err(ClientError::NoWaitingAcknowledgement)));
    let mut client = reopened(&mut world, client);
    let transaction = world.run(client.install_receipt(bytes.clone())).unwrap();
    assert_eq!(world.server.acknowledged.last().unwrap().transaction, transaction);
    assert_eq!(client.waiting_acknowledgements(), 0);
    let again = world.run(client.install_receipt(bytes));
    assert!(matches!(again, Err(ClientError::NoWaitingAcknowledgement)));
    let none = world.run(client.request_acknowledgement());
    assert!(matches!(none, Err(ClientError::NothingToAcknowledge)));
    let garbage = world.run(client.install_receipt(b"nothing".to_vec()));
    assert!(matches!(garbage, Err(ClientError::NotAResponse)));
}

#[test]
fn v_065_several_are_carried_one_after_the_other_and_come_back_in_any_order() {
    let (mut world, mut client) = world();
    for number in 1..=3 {
        world.by_hand(&mut client, wanted(&[number])).unwrap();
    }
    assert!(!world.run(client.replaces_acknowledgement()).unwrap());
    let requests: Vec<_> = (0..3)
        .map(|_| world.run(client.request_acknowledgement()).unwrap())
        .collect();
    assert!(world.run(client.replaces_acknowledgement()).unwrap());
    let receipts: Vec<_> = requests
        .iter()
        .map(|request| receipt(&mut world, request))
        .collect();
    let transactions: std::collections::BTreeSet<_> = receipts
        .into_iter()
        .rev()
        .map(|receipt| world.run(client.install_receipt(receipt)).unwrap())
        .collect();
    assert_eq!(transactions.len(), 3);
    assert_eq!(client.waiting_acknowledgements(), 0);
}

#[test]
fn the_oldest_of_too_many_waiting_acknowledgements_makes_room() {
    let (mut world, mut client) = world();
    for number in 0..70 {
        world.run(client.acquire(wanted(&[number]))).unwrap();
    }
    assert_eq!(client.waiting_acknowledgements(), 64);
    let mut client = reopened(&mut world, client);
    let told = world.run(client.acknowledge()).unwrap();
    assert_eq!((told.received.len(), told.waiting), (64, 0));
    let first = &world.server.acknowledged[0].licenses[0];
    assert_eq!(first.kid, kid(6));
}

#[test]
fn a_server_that_takes_none_is_not_asked_without_end() {
    let (mut world, mut client) = world();
    world.run(client.acquire(wanted(&[1]))).unwrap();
    world.server.wants_acknowledgements = false;
    // Its document is fetched anew only where the kept one does not say where to.
    let told = world.run(client.acknowledge()).unwrap();
    assert_eq!(
        told.waiting, 0,
        "the path that the kept document names still answers"
    );
    // A fresh one that names none ends all that waits.
    world.server.wants_acknowledgements = true;
    world.run(client.acquire(wanted(&[1]))).unwrap();
    world.run(client.acquire(wanted(&[2]))).unwrap();
    world.server.wants_acknowledgements = false;
    let document = world.server.discovery();
    world.run(client.install_discovery(document)).unwrap();
    let told = world.run(client.acknowledge()).unwrap();
    assert!(matches!(told.failed, Some(ClientError::NoAcknowledgements)));
    assert_eq!((told.waiting, client.waiting_acknowledgements()), (0, 0));
}

#[test]
fn v_065_after_a_failure_the_rest_of_that_operator_waits_for_the_next_contact() {
    let (mut world, mut client) = world();
    for number in 1..=3 {
        world.run(client.acquire(wanted(&[number]))).unwrap();
    }
    refuses(&mut world, ErrorCode::Internal);
    let sent = world.sent.len();
    let told = world.run(client.acknowledge()).unwrap();
    assert_eq!((told.received.len(), told.waiting), (0, 3));
    assert_eq!(world.sent.len(), sent + 1, "one request came to nothing");
}

#[test]
fn v_065_an_operator_that_was_not_contacted_keeps_nothing_from_the_others() {
    let (mut world, mut client) = world();
    world.run(client.acquire(wanted(&[1]))).unwrap();
    // Its network fails: it waits, and is told when it answers again.
    world.online = false;
    assert!(world.drive(client.acknowledge()).is_none());
    world.online = true;
    let mut server = FakeServer::new([9; 32]);
    server.wants_acknowledgements = true;
    server.keys.insert(kid(2), [2; 16]);
    let mut profile = server.operator.profile();
    profile.license_servers = vec![OTHER.into()];
    let server = RefCell::new(server);
    world.on_the_way = Some(Box::new(move |outgoing, answer| {
        if let Some(path) = outgoing.url.strip_prefix(OTHER) {
            let reply = { server.borrow_mut() }.answer(&format!("{ORIGIN}{path}"), &outgoing.body);
            (answer.status, answer.body) = (reply.status, reply.body);
        }
    }));
    world.run(client.enrol(profile, "token".into())).unwrap();
    let other = Wanted {
        license_url: Some(OTHER.into()),
        ..wanted(&[2])
    };
    let acquired = world.run(client.acquire(other)).unwrap();
    let told = world.run(client.acknowledge()).unwrap();
    assert_eq!(told.received, [acquired.transaction.unwrap()]);
    assert!(told.failed.is_none(), "{told:?}");
    assert_eq!(told.waiting, 1);
    assert_eq!(world.run(client.acknowledge()).unwrap().waiting, 0);
}
