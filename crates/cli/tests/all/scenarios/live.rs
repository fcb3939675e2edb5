//! Live with scalable rotation: the key changes with every segment of two seconds, the leaf rides in the segment, and
//! one root license opens all of them.

use std::fs;

use keyward_client::{
    ClientError,
    acquire::Wanted,
    install::AcquiredKey,
    session::{Acquisition, Opened},
};
use keyward_license::usage_rules::Refusal;
use keyward_server::policy::{PolicyTerms, Preset};

use crate::scenarios::{
    broadcast::{PERIOD, ROOT, Segment, Studio},
    world::{ALICE, Device, HOUR, MINUTE, NOW, World},
};

const SEGMENTS_A_MINUTE: u64 = MINUTE / PERIOD;
/// An hour.
const SEGMENTS: u64 = HOUR / PERIOD;
/// Most keys that a playback keeps.
const KEPT: usize = 64;

/// A channel for so many periods, which alice has a root for under these terms.
fn on_air(terms: PolicyTerms, segments: u64) -> (World, Vec<Segment>) {
    let world = World::under(terms);
    world.root(ROOT, "channels", &["news"]);
    world.grant(ALICE, ROOT);
    let segments = Studio::new(&world).channel("news", 0..segments);
    assert!(segments.iter().all(|segment| segment.leaves.len() == 1));
    (world, segments)
}

/// A device that has acquired the root, and turned the channel on.
fn tuned_in(world: &World, acquisition: Acquisition) -> (Device, Opened) {
    let mut device = world.device("tv");
    device.acquire_ahead(&[ROOT]).unwrap();
    let opened = device.tune(acquisition);
    (device, opened)
}

fn at(segments: &[Segment], minute: u64) -> &Segment {
    &segments[usize::try_from(minute * SEGMENTS_A_MINUTE).unwrap()]
}

/// Bytes of the store's files.
fn on_disk(world: &World) -> u64 {
    let files = ["licenses.redb", "licenses.epoch"];
    let length = |name| fs::metadata(world.home().join("tv").join(name)).unwrap().len();
    files.into_iter().map(length).sum()
}

#[test]
fn an_hour_of_keys_that_change_with_each_segment_costs_one_request() {
    let (world, segments) = on_air(Preset::Live.terms(), SEGMENTS);
    let mut device = world.device("tv");
    let enrolled = world.network.sent.get();
    device.acquire_ahead(&[ROOT]).unwrap();
    assert_eq!(world.network.sent.get() - enrolled, 1);
    let mut opened = device.tune(Acquisition::Reactive);
    let keys = opened.keys();
    let (usage, disk) = (device.client().store_usage(), on_disk(&world));
    for (number, segment) in segments.iter().enumerate() {
        // One in seventeen never arrives, and now and then five minutes of them.
        let is_lost = number % 17 == 3 || (900..1050).contains(&number);
        if !is_lost {
            device.see(&mut opened, segment).unwrap();
            assert!(
                segment.is_decrypted_by(&keys),
                "keys that were taken once stay good"
            );
        }
        // Back by ten minutes, whose keys have gone, and by ten seconds, whose keys are there.
        if number % 500 == 499 {
            assert!(!segments[number - 300].is_decrypted_by(&keys));
            for back in (number - 300..number - 290).chain(number - 5..number) {
                device.see(&mut opened, &segments[back]).unwrap();
            }
        }
        assert!(opened.bound.len() <= KEPT);
        world.pass(PERIOD);
    }
    assert_eq!(
        world.network.sent.get() - enrolled,
        1,
        "the root was all that was asked for"
    );
    // Nothing of 1,800 leaves stays behind, in memory or on the disk.
    assert_eq!(device.client().store_usage(), usage);
    assert!(on_disk(&world) <= disk);
    assert_eq!(opened.bound.len(), KEPT);
    let is_of_root = |bound: &keyward_client::enforce::Bound| bound.root().is_some();
    assert!(opened.bound.iter().all(is_of_root));
}

#[test]
fn whoever_comes_late_gets_the_root_by_the_first_leaf_and_needs_nothing_more() {
    let (world, segments) = on_air(Preset::Live.terms(), 200);
    world.pass(100 * PERIOD);
    let mut device = world.device("tv");
    let before = world.network.sent.get();
    let mut opened = device.tune(Acquisition::Reactive);
    assert_eq!(device.watch(&world, &mut opened, &segments[100..]), 100);
    assert_eq!(world.network.sent.get() - before, 1);
    let acquired = opened.acquired.take().unwrap();
    assert!(matches!(
        acquired.outcomes[..],
        [(ROOT, AcquiredKey::InMemory(_))]
    ));
    // Another channel that was turned on meanwhile, and this one from its beginning, with the same root.
    world.network.online.set(false);
    let mut again = device.tune(Acquisition::Never);
    for segment in &segments {
        device.see(&mut again, segment).unwrap();
    }
    device.see(&mut opened, &segments[0]).unwrap();
}

#[test]
fn without_a_right_to_the_root_nothing_of_the_channel_plays() {
    let (world, segments) = on_air(Preset::Live.terms(), 20);
    world.end_entitlements();
    let mut device = world.device("tv");
    let mut opened = device.tune(Acquisition::Reactive);
    let denied = device.see(&mut opened, &segments[0]).unwrap_err();
    assert!(matches!(denied, ClientError::Denied { .. }), "{denied:?}");
    let mut opened = device.tune(Acquisition::Never);
    for segment in &segments {
        let refused = device.see(&mut opened, segment).unwrap_err();
        assert!(matches!(
            refused,
            ClientError::NoLicense { .. } | ClientError::NoRoot { .. }
        ));
    }
    assert!(opened.bound.is_empty());
}

#[test]
fn r_005_the_end_of_the_root_stops_at_the_next_key_at_the_latest() {
    for (real_time, back) in [(false, true), (true, false)] {
        let terms = PolicyTerms {
            duration_seconds: Some(30 * MINUTE),
            grace_period_seconds: None,
            real_time_expiration: real_time,
            ..Preset::Live.terms()
        };
        let (world, segments) = on_air(terms, 31 * SEGMENTS_A_MINUTE);
        let (mut device, mut opened) = tuned_in(&world, Acquisition::Reactive);
        world.end_entitlements();
        let seen = device.watch(&world, &mut opened, &segments);
        assert_eq!(seen, 900, "of what begins before the end, all is seen");
        // Of what was begun the rest is seen where no real-time expiration says otherwise, and no key more.
        let last = device.see(&mut opened, &segments[899]);
        assert_eq!(last.is_ok(), back, "{last:?}");
        assert_eq!(segments[899].is_decrypted_by(&opened.keys()), back);
        for segment in [&segments[900], &segments[0]] {
            device.see(&mut opened, segment).unwrap_err();
            assert!(!segment.is_decrypted_by(&opened.keys()));
        }
        let mut again = device.tune(Acquisition::Never);
        let ended = device.see(&mut again, &segments[899]).unwrap_err();
        let end = NOW.plus(30 * MINUTE);
        assert!(
            matches!(ended, ClientError::Refused { refusal: Refusal::Ended { end: of }, .. } if of == end),
            "{ended:?}"
        );
        // A new root, and all leaves of before are good again.
        world.grant(ALICE, ROOT);
        device.acquire_ahead(&[ROOT]).unwrap();
        for minute in [0, 10, 30] {
            device.see(&mut again, at(&segments, minute)).unwrap();
        }
    }
}

#[test]
fn r_013_a_root_is_renewed_within_its_grace_without_a_gap() {
    let terms = PolicyTerms {
        duration_seconds: Some(20 * MINUTE),
        grace_period_seconds: Some(5 * MINUTE),
        ..Preset::Live.terms()
    };
    let (world, segments) = on_air(terms, SEGMENTS);
    let (mut device, mut opened) = tuned_in(&world, Acquisition::Reactive);
    let before = world.network.carried.borrow().len();
    for (number, segment) in segments.iter().enumerate() {
        // The network is away when the first root comes to its end, and for three minutes more.
        let seconds = u64::try_from(number).unwrap() * PERIOD;
        world
            .network
            .online
            .set(!(19 * MINUTE..23 * MINUTE).contains(&seconds));
        device.see(&mut opened, segment).unwrap();
        world.pass(PERIOD);
        // It is tried again, minute by minute, long before the grace is over.
        let renewed = world.network.carried.borrow().len() - before;
        assert!(
            renewed == 1 || !(24 * MINUTE..40 * MINUTE).contains(&seconds),
            "{seconds}"
        );
    }
    assert_eq!(world.network.carried.borrow().len() - before, 2);
    assert!(opened.bound.iter().all(|bound| bound.stopped().is_none()));
}

#[test]
fn r_046_a_root_is_renewed_before_its_end_when_the_server_has_said_so() {
    let terms = PolicyTerms {
        duration_seconds: Some(20 * MINUTE),
        grace_period_seconds: None,
        ..Preset::Live.terms()
    };
    let (world, segments) = on_air(terms, SEGMENTS);
    let config = world.home().join("operator/operator.toml");
    let toml = fs::read_to_string(&config).unwrap();
    let said = toml.replace("# renewal_spread_seconds = 0", "renewal_spread_seconds = 240");
    assert_ne!(toml, said);
    fs::write(&config, said).unwrap();
    world.restart_server();
    let mut device = world.device("tv");
    let wanted = Wanted {
        kids: vec![ROOT],
        ..Wanted::default()
    };
    let mut opened = device.tune(Acquisition::Reactive);
    device.see(&mut opened, &segments[0]).unwrap();
    let renew_at = opened.acquired.take().unwrap().renew_at.unwrap();
    assert!((NOW.plus(16 * MINUTE)..NOW.plus(19 * MINUTE)).contains(&renew_at));
    let before = world.network.carried.borrow().len();
    assert_eq!(device.watch(&world, &mut opened, &segments), segments.len());
    let asked = world.network.carried.borrow().len() - before;
    assert_eq!(
        asked, 3,
        "once in each of the first three spans of sixteen minutes or more"
    );
    // Whoever asks by themselves is told as well.
    let acquired = device.client().acquire(wanted).unwrap();
    assert!(acquired.renew_at.is_some());
}

#[test]
fn v_028_a_root_that_is_removed_while_the_channel_plays_opens_no_further_key() {
    let terms = PolicyTerms {
        persistent_allowed: true,
        ..Preset::Live.terms()
    };
    let (world, segments) = on_air(terms, 40);
    let (mut device, mut opened) = tuned_in(&world, Acquisition::Never);
    assert_eq!(device.watch(&world, &mut opened, &segments[..20]), 20);
    let root = opened.bound[0].root().unwrap().id;
    assert!(device.client().remove_license(ROOT, root).unwrap());
    for segment in &segments[20..] {
        let refused = device.see(&mut opened, segment).unwrap_err();
        assert!(matches!(
            refused,
            ClientError::NoLicense { .. } | ClientError::NoRoot { .. }
        ));
    }
    device.restart();
    let mut opened = device.tune(Acquisition::Never);
    assert_eq!(device.watch(&world, &mut opened, &segments), 0);
}
