//! A subscription by chain: many leaves without dates, and one root with dates. What is renewed is the root alone.

use keyward_client::{
    ClientError,
    acquire::Wanted,
    enforce::Stop,
    install::{Acquired, AcquiredKey},
    session::{Acquisition, Opened},
};
use keyward_license::{
    ids::Kid,
    license::{KeyType, LicenseKind},
    usage_rules::Refusal,
};
use keyward_server::{policy::Preset, roots::NewRoot};

use crate::scenarios::{
    broadcast::ROOT,
    world::{ALICE, DAY, Device, NOW, World, client_error},
};

/// Films of the subscription, or episodes of the season.
const TITLES: u8 = 40;

fn title(number: u8) -> Kid {
    Kid::new([number; 16])
}

fn titles() -> Vec<Kid> {
    (2..2 + TITLES).map(title).collect()
}

/// Alice subscribes; all titles are under one root.
fn subscribed(accompany: bool) -> World {
    let world = World::offering(Preset::Subscription);
    world.operator(async |server| {
        let root = NewRoot {
            kid: Some(ROOT),
            accompany,
            ..NewRoot::new("season")
        };
        server.create_root(root).await.unwrap();
        for kid in titles() {
            server.register_key(kid, KeyType::File, 1).await.unwrap();
            server.put_key_under_root(ROOT, kid).await.unwrap();
        }
    });
    world.grant(ALICE, ROOT);
    world
}

fn ask(device: &mut Device, kids: Vec<Kid>) -> Acquired {
    device.wanted = Wanted {
        kids,
        ..Wanted::default()
    };
    device.acquire().unwrap()
}

fn open(device: &mut Device, kid: Kid) -> Result<Opened, ClientError> {
    let wanted = Wanted {
        kids: vec![kid],
        ..Wanted::default()
    };
    client_error(
        device
            .client()
            .open_content(vec![kid], wanted, Acquisition::Never),
    )
}

fn all_play(world: &World, device: &mut Device) {
    for kid in titles() {
        let opened = open(device, kid).unwrap();
        assert!(!opened.bound[0].is_in_grace() && world.unlocks(&opened, kid));
    }
}

/// What the first license of each title says against playing it.
fn stops(device: &mut Device) -> Vec<Option<Stop>> {
    let held = device.client().held_licenses().unwrap();
    let leaves = held
        .into_iter()
        .filter(|held| held.body.kind == LicenseKind::Leaf);
    leaves.map(|held| held.verdict.err()).collect()
}

fn stored(acquired: &Acquired) -> Vec<Kid> {
    let is_stored = |(_, outcome): &&(Kid, AcquiredKey)| matches!(outcome, AcquiredKey::Stored(_));
    let mut kids: Vec<Kid> = acquired
        .outcomes
        .iter()
        .filter(is_stored)
        .map(|(kid, _)| *kid)
        .collect();
    kids.sort_unstable();
    kids
}

fn with_root(mut kids: Vec<Kid>) -> Vec<Kid> {
    kids.push(ROOT);
    kids
}

#[test]
fn a_renewed_root_revives_every_leaf_and_is_all_that_is_fetched() {
    let world = subscribed(false);
    let mut device = world.device("phone");
    assert_eq!(stored(&ask(&mut device, titles())), with_root(titles()));
    for license in device.client().licenses().unwrap() {
        let times = [license.begin, license.end, license.removal_date];
        let dated = times.iter().any(Option::is_some);
        assert_eq!(
            dated,
            license.kind == LicenseKind::Root,
            "the limits in time are the root's"
        );
    }
    for month in 1..=3 {
        world.pass(30 * DAY);
        device.restart();
        assert!(
            open(&mut device, title(2)).unwrap().bound[0].is_in_grace(),
            "month {month}"
        );
        let carried = world.network.carried.borrow().len();
        assert_eq!(stored(&ask(&mut device, vec![ROOT])), [ROOT]);
        assert_eq!(world.network.carried.borrow().len() - carried, 1);
        world.network.online.set(false);
        device.restart();
        all_play(&world, &mut device);
        world.network.online.set(true);
    }
    // Whoever just plays renews the same way: the root, whichever title is on.
    world.pass(30 * DAY);
    let wanted = Wanted {
        kids: vec![title(7)],
        ..Wanted::default()
    };
    let client = device.client();
    let mut opened = client
        .open_content(vec![title(7)], wanted, Acquisition::Reactive)
        .unwrap();
    let renewed = client.renew(&mut opened).unwrap().unwrap();
    assert!(stored(&renewed).contains(&ROOT));
    all_play(&world, &mut device);
}

#[test]
fn r_005_without_renewal_everything_stops_at_the_roots_date() {
    let world = subscribed(false);
    let mut device = world.device("phone");
    ask(&mut device, titles());
    world.end_entitlements();
    world.pass(33 * DAY - 1);
    device.restart();
    for kid in titles() {
        assert!(open(&mut device, kid).unwrap().bound[0].is_in_grace());
    }
    world.pass(1);
    device.restart();
    let end = NOW.plus(33 * DAY);
    let ended = Stop::Refused(Refusal::Ended { end });
    assert_eq!(stops(&mut device), vec![Some(ended); TITLES.into()]);
    for kid in titles() {
        let refused = open(&mut device, kid).unwrap_err();
        assert!(matches!(
            refused,
            ClientError::Refused {
                refusal: Refusal::Ended { .. },
                ..
            }
        ));
    }
    // The leaves themselves have no end: who subscribes again has them at once.
    world.grant(ALICE, ROOT);
    assert_eq!(stored(&ask(&mut device, vec![ROOT])), [ROOT]);
    all_play(&world, &mut device);
}

#[test]
fn v_037_leaves_are_of_no_use_without_their_root() {
    let world = subscribed(false);
    let mut device = world.device("phone");
    // Of a client that takes nothing that goes along, leaves alone.
    device.client().host_mut().takes_more = false;
    assert_eq!(stored(&ask(&mut device, titles())), titles());
    for _ in 0..2 {
        for kid in titles() {
            let refused = open(&mut device, kid).unwrap_err();
            assert!(
                matches!(refused, ClientError::NoRoot { root: ROOT, .. }),
                "{refused:?}"
            );
        }
        device.restart();
    }
    assert_eq!(stops(&mut device), vec![Some(Stop::NoRoot(ROOT)); TITLES.into()]);
    ask(&mut device, vec![ROOT]);
    all_play(&world, &mut device);
    // Nor after it was removed, and for good.
    assert_eq!(device.client().remove_licenses(ROOT).unwrap(), 1);
    assert_eq!(stops(&mut device), vec![Some(Stop::NoRoot(ROOT)); TITLES.into()]);
}

#[test]
fn asking_for_the_first_episode_brings_the_season() {
    let world = subscribed(true);
    let mut device = world.device("phone");
    let before = world.network.carried.borrow().len();
    let acquired = ask(&mut device, vec![title(2)]);
    assert_eq!(stored(&acquired), with_root(titles()));
    assert_eq!(world.network.carried.borrow().len() - before, 1);
    world.network.online.set(false);
    device.restart();
    all_play(&world, &mut device);
}
