//! Floods: whatever a server sends, the store stays within its bounds, says which one was reached, and goes on
//! once there is room.

use keyward_client::{
    ClientError,
    acquire::Wanted,
    install::AcquiredKey,
    session::Acquisition,
    store::{RecordKey, StoreBound, StoreLimits},
};
use keyward_testkit::{
    fake_server::FakeServer,
    pki::{DAY, NOW},
};

use crate::world::{KIND_LICENSE, KIND_PENDING, KIND_TOMBSTONE, TestClient, World, kid, opens, wanted};

/// A world whose device is enrolled, under other bounds than usual.
fn limited(limits: StoreLimits) -> (World, TestClient) {
    let mut world = World::new();
    world.limits = limits;
    let client = world.enrol_new();
    (world, client)
}

fn is_full<T: core::fmt::Debug>(result: Result<T, ClientError>, expected: StoreBound, value: u64) {
    let refused = result.expect_err("it is full");
    assert!(
        matches!(refused, ClientError::StoreFull { bound, limit } if bound == expected && limit == value),
        "{refused}"
    );
}

fn records(world: &mut World) -> Vec<(RecordKey, Vec<u8>)> {
    let records = world.device.store.records_mut().iter();
    records.map(|(key, value)| (*key, value.clone())).collect()
}

fn in_memory(numbers: &[u8]) -> Wanted {
    Wanted {
        in_memory: true,
        ..wanted(numbers)
    }
}

#[test]
fn a_full_store_does_not_ask_for_licenses_that_it_cannot_keep() {
    let (mut world, mut client) = limited(StoreLimits {
        licenses: 3,
        ..StoreLimits::default()
    });
    world.run(client.acquire(wanted(&[1, 2, 3]))).unwrap();
    let (sent, before) = (world.sent.len(), records(&mut world));
    is_full(world.run(client.acquire(wanted(&[4]))), StoreBound::Licenses, 3);
    is_full(world.run(client.request(wanted(&[4]))), StoreBound::Licenses, 3);
    assert_eq!(world.sent.len(), sent, "nothing was asked for");
    assert_eq!(records(&mut world), before, "nothing was written");
    // What is there is of use, in memory there is room, and in the store once something is deleted.
    let opened = world.run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never));
    assert!(opens(&opened.unwrap().bound[0], 1));
    world.run(client.acquire(in_memory(&[4]))).unwrap();
    assert_eq!(world.run(client.remove_licenses(kid(1))).unwrap(), 1);
    world.run(client.acquire(wanted(&[4]))).unwrap();
}

#[test]
fn a_response_of_many_key_ids_is_taken_whole_or_not_at_all_and_waits_until_there_is_room() {
    let (mut world, mut client) = limited(StoreLimits {
        licenses: 3,
        ..StoreLimits::default()
    });
    world.run(client.acquire(wanted(&[9]))).unwrap();
    let request = world.run(client.request(wanted(&[1, 2, 3]))).unwrap();
    let response = world.answer(&request);
    let before = records(&mut world);
    for _ in 0..2 {
        let refused = world.run(client.install(response.clone()));
        is_full(refused, StoreBound::Licenses, 3);
        assert_eq!(records(&mut world), before, "nothing was written");
    }
    assert_eq!(world.device.count(KIND_PENDING), 1, "the request still waits");
    assert_eq!(world.run(client.remove_licenses(kid(9))).unwrap(), 1);
    // The same request again gets the same answer, in a later process too.
    drop(client);
    let mut client = world.open().unwrap();
    let acquired = world.run(client.install(response)).unwrap();
    assert!(
        acquired
            .outcomes
            .iter()
            .all(|(_, outcome)| matches!(outcome, AcquiredKey::Stored(_)))
    );
    assert_eq!(world.device.count(KIND_LICENSE), 3);
    assert_eq!(world.device.count(KIND_PENDING), 0);
}

#[test]
fn a_flood_of_responses_cannot_fill_the_disk() {
    const BYTES: u64 = 40_000;
    let (mut world, mut client) = limited(StoreLimits {
        license_bytes: BYTES,
        pending_requests: 4,
        ..StoreLimits::default()
    });
    let mut refused = 0;
    let mut largest = 0;
    for round in 0..40_u8 {
        // Requests that are made while there is room are answered when there is none.
        let numbers: Vec<u8> = (0..3).map(|number| 3 * round + number).collect();
        let request = world.run(client.request(wanted(&numbers)));
        let installed = request.and_then(|request| {
            let response = world.answer(&request);
            world.run(client.install(response))
        });
        if let Err(error) = installed {
            is_full(Err::<(), _>(error), StoreBound::LicenseBytes, BYTES);
            refused += 1;
        }
        let of_licenses: usize = records(&mut world)
            .iter()
            .filter(|(key, _)| key.as_bytes()[0] == KIND_LICENSE)
            .map(|(_, value)| value.len())
            .sum();
        assert!(of_licenses as u64 <= BYTES, "{of_licenses}");
        largest = largest.max(records(&mut world).iter().map(|(_, value)| value.len()).sum());
    }
    assert!(refused > 30, "{refused}");
    assert!(largest < 60_000, "{largest} bytes in all");
    drop(client);
    let client = world.open().unwrap();
    let listed = world.run(client.licenses()).unwrap();
    assert!(listed.len() > 9 && listed.len() == world.device.count(KIND_LICENSE));
}

#[test]
fn licenses_in_memory_are_bounded_over_all_key_ids_and_those_that_have_ended_make_room() {
    let (mut world, mut client) = limited(StoreLimits {
        licenses_in_memory: 3,
        ..StoreLimits::default()
    });
    world.run(client.acquire(in_memory(&[1, 2]))).unwrap();
    let request = world.run(client.request(in_memory(&[3, 4]))).unwrap();
    let response = world.answer(&request);
    let refused = world.run(client.install(response.clone()));
    is_full(refused, StoreBound::LicensesInMemory, 3);
    assert_eq!(world.run(client.licenses()).unwrap().len(), 2);
    assert_eq!(world.run(client.remove_licenses(kid(1))).unwrap(), 1);
    world.run(client.install(response)).unwrap();
    assert_eq!(world.run(client.licenses()).unwrap().len(), 3);

    drop(client);
    let mut client = world.open().unwrap();
    world.server.terms.end = Some(NOW.plus(100));
    world.run(client.acquire(in_memory(&[1, 2, 3]))).unwrap();
    world.clock(100);
    world.server.terms.end = None;
    world.run(client.acquire(in_memory(&[4]))).unwrap();
    assert_eq!(world.run(client.licenses()).unwrap().len(), 1);
}

/// The leaves of keys that passed by long ago leave room for those that come.
#[test]
fn leaves_in_memory_make_room_for_others_and_nothing_else_does() {
    let (mut world, mut client) = limited(StoreLimits {
        licenses_in_memory: 3,
        ..StoreLimits::default()
    });
    let key = keyward_crypto::RootKey::from_slice(&[9; 32]).unwrap();
    world.server.roots.insert(kid(200), key);
    world
        .server
        .leaves
        .extend([1, 2, 4].map(|number| (kid(number), kid(200))));
    let held = |world: &mut World, client: &TestClient| {
        let held = world.run(client.licenses()).unwrap();
        let mut kids: Vec<_> = held.iter().map(|body| body.asked_kid().unwrap()).collect();
        kids.sort_unstable();
        kids
    };
    world.run(client.acquire(in_memory(&[1]))).unwrap();
    world.run(client.acquire(in_memory(&[2, 3]))).unwrap();
    world.run(client.acquire(in_memory(&[4]))).unwrap();
    assert_eq!(
        held(&mut world, &client),
        [2, 3, 4].map(kid),
        "the oldest leaf went"
    );
    let too_many = world.run(client.acquire(in_memory(&[5, 6, 7])));
    is_full(too_many, StoreBound::LicensesInMemory, 3);
    assert_eq!(
        held(&mut world, &client),
        [2, 3, 4].map(kid),
        "and none for nothing"
    );
    world.run(client.acquire(in_memory(&[5, 6]))).unwrap();
    assert_eq!(held(&mut world, &client), [3, 5, 6].map(kid));
}

#[test]
fn of_one_key_id_a_license_in_memory_that_has_ended_makes_room_before_an_older_one() {
    let (mut world, mut client) = limited(StoreLimits {
        licenses_per_kid: 2,
        ..StoreLimits::default()
    });
    world.run(client.acquire(in_memory(&[1]))).unwrap();
    let oldest = world.run(client.licenses()).unwrap()[0].id;
    world.server.terms.end = Some(NOW.plus(100));
    world.run(client.acquire(in_memory(&[1]))).unwrap();
    world.clock(100);
    world.server.terms.end = None;
    world.run(client.acquire(in_memory(&[1]))).unwrap();
    let held = world.run(client.licenses()).unwrap();
    assert_eq!(held.len(), 2);
    assert!(held.iter().any(|license| license.id == oldest));
    assert!(held.iter().all(|license| license.end.is_none()));
}

#[test]
fn one_operator_too_many_gets_no_enrolment_and_no_token() {
    let (mut world, mut client) = limited(StoreLimits {
        operators: 1,
        ..StoreLimits::default()
    });
    let (own, other) = (world.profile(), FakeServer::new([7; 32]).operator.profile());
    let sent = world.sent.len();
    let refused = world.run(client.enrol(other, "token".into()));
    is_full(refused, StoreBound::Operators, 1);
    let posted = |(outgoing, _): &(keyward_client::flow::Outgoing, _)| !outgoing.body.is_empty();
    assert!(!world.sent[sent..].iter().any(posted));
    world.run(client.enrol(own, "token".into())).unwrap();
}

#[test]
fn tombstones_are_bounded_and_go_when_their_licenses_have_ended() {
    let (mut world, mut client) = limited(StoreLimits {
        tombstones: 2,
        ..StoreLimits::default()
    });
    world.server.terms.end = Some(NOW.plus(DAY));
    world.run(client.acquire(wanted(&[1, 2, 3]))).unwrap();
    for number in [1, 2] {
        assert_eq!(world.run(client.remove_licenses(kid(number))).unwrap(), 1);
    }
    is_full(
        world.run(client.remove_licenses(kid(3))),
        StoreBound::Tombstones,
        2,
    );
    let opened = world.run(client.open_content(vec![kid(3)], wanted(&[3]), Acquisition::Never));
    assert!(opens(&opened.unwrap().bound[0], 3), "nothing was removed");
    // The local clock alone frees nothing: a server's answer may lower it again.
    world.clock(i64::try_from(2 * DAY).unwrap());
    let ended = world.run(client.open_content(vec![kid(3)], wanted(&[3]), Acquisition::Never));
    assert!(matches!(ended, Err(ClientError::Refused { .. })), "{ended:?}");
    is_full(
        world.run(client.remove_licenses(kid(3))),
        StoreBound::Tombstones,
        2,
    );
    assert_eq!(world.device.count(KIND_TOMBSTONE), 2);
    // A server's word does, and then a license that has ended leaves no tombstone either.
    world.server.now = NOW.plus(2 * DAY);
    world.server.terms.end = None;
    world.run(client.acquire(wanted(&[4]))).unwrap();
    assert_eq!(world.run(client.remove_licenses(kid(3))).unwrap(), 1);
    assert_eq!(world.device.count(KIND_TOMBSTONE), 0);
    assert_eq!(world.run(client.remove_licenses(kid(4))).unwrap(), 1);
    assert_eq!(world.device.count(KIND_TOMBSTONE), 1);
}

#[test]
fn a_tombstone_that_went_lets_no_license_be_used_again() {
    let (mut world, mut client) = World::enrolled();
    world.server.terms.end = Some(NOW.plus(DAY));
    let request = world.run(client.request(wanted(&[1]))).unwrap();
    let copy = world.device.store.clone();
    let response = world.answer(&request);
    world.run(client.install(response.clone())).unwrap();
    world.run(client.remove_licenses(kid(1))).unwrap();
    world.clock(i64::try_from(2 * DAY).unwrap());
    world.server.now = NOW.plus(2 * DAY);
    world.run(client.acquire(wanted(&[2]))).unwrap();
    world.run(client.request(wanted(&[2]))).unwrap();
    assert_eq!(world.device.count(KIND_TOMBSTONE), 0);
    // The clock is set back, and the response tried again.
    world.clock(0);
    let again = world.run(client.install(response.clone()));
    assert!(matches!(again, Err(ClientError::NoPendingRequest)), "{again:?}");
    let refused = world.run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never));
    assert!(
        matches!(refused, Err(ClientError::NoLicense { .. })),
        "{refused:?}"
    );
    // Nor do the records of then fit the epoch file of now.
    drop(client);
    *world.device.store.records_mut() = copy.clone().records_mut().clone();
    assert!(matches!(world.open(), Err(ClientError::StoreRolledBack)));
}
