//! First plays: when they are recorded, and what outlives what.

use keyward_client::{ClientError, session::Acquisition};
use keyward_license::{ids::LicenseId, license::LicenseBody, usage_rules::Refusal};
use keyward_testkit::pki::{DAY, NOW};

use crate::{
    licensed::{acquire, asking, commits, licensed, open, refusal, rental, restarted},
    world::{KIND_LICENSE, Stop as Crash, Trace, World, kid, wanted},
};

#[test]
fn r_012_the_first_play_is_committed_before_the_key_is_released_and_once() {
    let (mut world, mut client) = licensed(rental);
    world.clock(100);
    let opened = open(&mut world, &mut client).unwrap();
    assert_eq!(opened.bound[0].first_play(), Some(NOW.plus(100)));
    assert_eq!(opened.bound[0].until(), Some(NOW.plus(100 + 2 * DAY)));
    assert_eq!(world.trace.last(), Some(&Trace::Commit));
    assert_eq!(commits(&world), 1, "one commit with the floor");
    world.trace.clear();
    world.clock(130);
    let opened = open(&mut world, &mut client).unwrap();
    assert_eq!(opened.bound[0].first_play(), Some(NOW.plus(100)));
    assert_eq!(commits(&world), 0);
}

#[test]
fn r_012_a_crash_before_the_commit_releases_nothing_and_one_after_it_has_begun_the_time() {
    for (crash, begun) in [
        (Crash::Before, false),
        (Crash::Between, true),
        (Crash::After, true),
    ] {
        let (mut world, mut client) = licensed(rental);
        world.clock(100);
        open(&mut world, &mut client).unwrap();
        let steps = world.trace.len();
        let (mut world, mut client) = licensed(rental);
        world.clock(100);
        world.stop = Some((steps - 1, crash));
        let flow = client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never);
        match world.drive(flow) {
            None => {}
            Some(other) => assert!(crash == Crash::Between && other.is_err(), "{other:?}"),
        }
        world.stop = None;
        let mut client = restarted(&mut world, client);
        world.clock(1_000);
        let first_play = open(&mut world, &mut client).unwrap().bound[0].first_play();
        assert_eq!(
            first_play,
            Some(NOW.plus(if begun { 100 } else { 1_000 })),
            "{crash:?}"
        );
    }
}

#[test]
fn r_012_the_time_after_first_play_outlives_restarts_and_the_clock_going_back() {
    let (mut world, mut client) = licensed(|body| body.expiration_after_first_play = Some(1_000));
    world.clock(200);
    open(&mut world, &mut client).unwrap();
    client = restarted(&mut world, client);
    world.clock(0);
    open(&mut world, &mut client).unwrap();
    world.clock(1_100);
    open(&mut world, &mut client).unwrap();
    client = restarted(&mut world, client);
    world.clock(1_200);
    let over = Refusal::FirstPlayExpired { at: NOW.plus(1_200) };
    assert_eq!(refusal(&mut world, &mut client), over);
    world.clock(1_000);
    assert_eq!(refusal(&mut world, &mut client), over, "it was seen to be over");
    client = restarted(&mut world, client);
    world.clock(500);
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
}

#[test]
fn r_012_the_same_license_again_does_not_begin_anew() {
    let fixed = |body: &mut LicenseBody| {
        body.id = LicenseId::new([7; 16]);
        body.expiration_after_first_play = Some(1_000);
    };
    let (mut world, mut client) = licensed(fixed);
    open(&mut world, &mut client).unwrap();
    // The same license in another response: from the server again, or from a file.
    acquire(&mut world, &mut client, fixed);
    world.clock(999);
    assert_eq!(
        open(&mut world, &mut client).unwrap().bound[0].first_play(),
        Some(NOW)
    );
    // Removed, it does not come back at all (V-028).
    assert_eq!(world.run(client.remove_licenses(kid(1))).unwrap(), 1);
    let again = world.run(client.acquire(wanted(&[1])));
    assert!(
        matches!(again, Err(ClientError::LicenseRefused { .. })),
        "{again:?}"
    );
    client = restarted(&mut world, client);
    assert!(matches!(
        open(&mut world, &mut client),
        Err(ClientError::NoLicense { .. })
    ));
}

#[test]
fn r_012_a_license_that_made_room_for_others_does_not_begin_anew() {
    let fixed = |body: &mut LicenseBody| {
        body.id = LicenseId::new([7; 16]);
        body.expiration_after_first_play = Some(1_000);
    };
    let (mut world, mut client) = licensed(fixed);
    open(&mut world, &mut client).unwrap();
    for number in 1..=8 {
        world.clock(number);
        acquire(&mut world, &mut client, |body| body.end = Some(NOW.plus(100)));
    }
    assert_eq!(world.device.count(KIND_LICENSE), 8);
    world.server.bent.license = Some(Box::new(fixed));
    let again = world.run(client.acquire(wanted(&[1])));
    assert!(
        matches!(again, Err(ClientError::LicenseRefused { .. })),
        "{again:?}"
    );
}

#[test]
fn r_012_records_from_before_the_first_play_are_noticed() {
    let (mut world, mut client) = licensed(rental);
    // Two copies of the records: as they were, and with one more commit, as a backup program may have found them.
    let before = world.device.store.clone();
    world.run(client.acquire(wanted(&[2]))).unwrap();
    open(&mut world, &mut client).unwrap();
    drop(client);
    let epoch = world.device.store.epoch().map(<[u8]>::to_vec);
    let mut copy = before.clone();
    core::mem::swap(world.device.store.records_mut(), copy.records_mut());
    let set_back = world.open_with_epoch(epoch.clone());
    assert!(
        matches!(set_back, Err(ClientError::StoreRolledBack)),
        "{set_back:?}"
    );
    // The license's record alone.
    core::mem::swap(world.device.store.records_mut(), copy.records_mut());
    let mut old = before;
    for (key, record) in old
        .records_mut()
        .iter()
        .filter(|(key, _)| key.as_bytes()[0] == KIND_LICENSE)
    {
        world.device.store.records_mut().insert(*key, record.clone());
    }
    let mut client = world.open_with_epoch(epoch).unwrap().on_host(asking());
    let damaged = open(&mut world, &mut client);
    assert!(
        matches!(damaged, Err(ClientError::StoreDamaged(_))),
        "{damaged:?}"
    );
}

#[test]
fn r_012_a_first_play_with_the_clock_ahead_counts_from_now_once_it_is_right() {
    let (mut world, mut client) = licensed(|body| body.expiration_after_first_play = Some(1_000));
    world.clock(50_000);
    open(&mut world, &mut client).unwrap();
    // A server frees the clock that was ahead.
    world.clock(100);
    world.server.now = NOW.plus(100);
    world.run(client.ask_time(wanted(&[]))).unwrap();
    let opened = open(&mut world, &mut client).unwrap();
    assert_eq!(opened.bound[0].first_play(), Some(NOW.plus(100)));
    client = restarted(&mut world, client);
    world.clock(1_100);
    assert!(matches!(
        refusal(&mut world, &mut client),
        Refusal::FirstPlayExpired { .. }
    ));
}

#[test]
fn r_012_in_memory_the_first_play_is_kept_in_memory() {
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(asking());
    world.server.bent.license = Some(Box::new(|body| body.expiration_after_first_play = Some(1_000)));
    let in_memory = keyward_client::acquire::Wanted {
        in_memory: true,
        ..wanted(&[1])
    };
    world.run(client.acquire(in_memory)).unwrap();
    world.trace.clear();
    assert_eq!(
        open(&mut world, &mut client).unwrap().bound[0].first_play(),
        Some(NOW)
    );
    assert_eq!(commits(&world), 0);
    world.clock(999);
    assert_eq!(
        open(&mut world, &mut client).unwrap().bound[0].first_play(),
        Some(NOW)
    );
    world.clock(1_000);
    assert!(matches!(
        refusal(&mut world, &mut client),
        Refusal::FirstPlayExpired { .. }
    ));
}

#[test]
fn r_013_a_license_in_grace_is_used_and_says_so() {
    let (mut world, mut client) = licensed(|body| {
        body.end = Some(NOW.plus(1_000));
        body.grace_period = Some(500);
    });
    assert!(!open(&mut world, &mut client).unwrap().bound[0].is_in_grace());
    world.clock(1_499);
    let opened = open(&mut world, &mut client).unwrap();
    assert!(opened.bound[0].is_in_grace());
    assert_eq!(opened.bound[0].until(), Some(NOW.plus(1_500)));
    world.clock(1_500);
    assert_eq!(
        refusal(&mut world, &mut client),
        Refusal::Ended { end: NOW.plus(1_500) }
    );
}

#[test]
fn many_licenses_come_in_one_response_and_each_key_has_its_first_play() {
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(asking());
    world.server.bent.license = Some(Box::new(rental));
    let numbers: Vec<u8> = (1..=100).collect();
    world.run(client.acquire(wanted(&numbers))).unwrap();
    world.trace.clear();
    let kids: Vec<_> = numbers.iter().map(|number| kid(*number)).collect();
    let flow = client.open_content(kids, wanted(&numbers), Acquisition::Never);
    let opened = world.run(flow).unwrap();
    assert!(opened.bound.iter().all(|bound| bound.first_play() == Some(NOW)));
    assert_eq!(commits(&world), 1, "all first plays are one commit");
    // Of all keys or of none: a key without a license begins no time.
    let flow = client.open_content(vec![kid(101), kid(1)], wanted(&[1]), Acquisition::Never);
    assert!(matches!(world.run(flow), Err(ClientError::NoLicense { .. })));
    assert_eq!(commits(&world), 1);
}
