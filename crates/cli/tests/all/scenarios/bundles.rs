//! Bundles of channels, by region: one root for all of a bundle's channels, a blackout of a programme, and the archive
//! of what was live sold by the programme.

use core::ops::Range;

use keyward_client::{
    ClientError,
    install::AcquiredKey,
    session::{Acquisition, Opened},
};
use keyward_license::ids::Kid;
use keyward_server::{
    admin::TokenRequest,
    policy::{PolicyTerms, Preset},
};

use crate::scenarios::{
    broadcast::{ROOT, Segment, Studio},
    world::{Device, World},
};

const NORTH: Kid = ROOT;
const SOUTH: Kid = Kid::new([0xa1; 16]);
/// The bundle that neither region's root opens.
const FILMS: Kid = Kid::new([0xa2; 16]);
/// Crypto periods of the programme that is blacked out in the north.
const DERBY: Range<usize> = 10..20;

/// What a device has seen of a channel, segment by segment.
fn seen(device: &mut Device, opened: &mut Opened, segments: &[Segment]) -> Vec<bool> {
    segments
        .iter()
        .map(|segment| match device.see(opened, segment) {
            Ok(()) => true,
            Err(ClientError::NoRoot { .. } | ClientError::NoLicense { .. } | ClientError::Denied { .. }) => {
                assert!(!segment.is_decrypted_by(&opened.keys()));
                false
            }
            Err(other) => panic!("{other:?}"),
        })
        .collect()
}

/// Two regions with two channels, and a bundle of films; with the channels' segments.
fn regions() -> (World, [Vec<Segment>; 3]) {
    let world = World::under(Preset::Live.terms());
    world.root(NORTH, "sport, north", &["sport 1", "sport 2"]);
    world.root(SOUTH, "sport, south", &["sport 1", "sport 2"]);
    world.root(FILMS, "films", &["films"]);
    let (from, to) = (10, Some(20));
    world.operator(async |server| server.black_out(NORTH, "sport 1", from, to).await.unwrap());
    for (account, root) in [("north", NORTH), ("south", SOUTH), ("films", FILMS)] {
        world.grant(account, root);
    }
    let studio = Studio::new(&world);
    let channels = ["sport 1", "sport 2", "films"].map(|channel| studio.channel(channel, 0..30));
    drop(studio);
    (world, channels)
}

fn viewer(world: &World, account: &str, roots: &[Kid]) -> (Device, Opened) {
    let mut device = world.device_of(account, TokenRequest::new(account));
    device.acquire_ahead(roots).unwrap();
    let opened = device.tune(Acquisition::Never);
    (device, opened)
}

#[test]
fn one_root_opens_the_channels_of_its_bundle_and_no_other() {
    let (world, [one, two, films]) = regions();
    let (mut device, mut opened) = viewer(&world, "south", &[SOUTH]);
    let before = world.network.sent.get();
    // From channel to channel with each segment, in one playback.
    for (one, two) in one.iter().zip(&two) {
        device.see(&mut opened, one).unwrap();
        device.see(&mut opened, two).unwrap();
    }
    assert_eq!(world.network.sent.get(), before);
    assert_eq!(seen(&mut device, &mut opened, &films), [false; 30]);
    let (mut device, mut opened) = viewer(&world, "films", &[FILMS]);
    assert_eq!(seen(&mut device, &mut opened, &films), [true; 30]);
    assert_eq!(seen(&mut device, &mut opened, &one), [false; 30]);
}

#[test]
fn a_region_that_is_blacked_out_misses_that_programme_and_nothing_before_or_after_it() {
    let (world, [one, two, _]) = regions();
    let riding = |segment: &Segment| segment.leaves.len();
    assert!(DERBY.map(|at| riding(&one[at])).eq([1; 10]));
    assert!((0..10).chain(20..30).all(|at| riding(&one[at]) == 2));
    let dark: Vec<bool> = (0..30).map(|at| !DERBY.contains(&at)).collect();

    let (mut north, mut opened) = viewer(&world, "north", &[NORTH]);
    assert_eq!(seen(&mut north, &mut opened, &one), dark);
    // On the other channel it goes on at that time, and a leaf that rode by is kept from nothing.
    assert_eq!(seen(&mut north, &mut opened, &two[DERBY]), [true; 10]);
    let (mut south, mut opened) = viewer(&world, "south", &[SOUTH]);
    assert_eq!(seen(&mut south, &mut opened, &one), [true; 30]);

    // Who asks the server for the programme's keys gets none either; what is asked for so stays out of reach.
    let mut opened = north.tune(Acquisition::Reactive);
    assert_eq!(seen(&mut north, &mut opened, &one[8..22]), dark[8..22]);
    north.wanted.kids = one[DERBY].iter().map(|segment| segment.kid).collect();
    let acquired = north.acquire().unwrap();
    let denied = |(_, outcome): &(Kid, AcquiredKey)| matches!(outcome, AcquiredKey::Denied(_));
    assert!(acquired.outcomes.len() == 10 && acquired.outcomes.iter().all(denied));
}

#[test]
fn the_same_archive_is_a_subscribers_by_the_root_and_a_buyers_by_the_programme() {
    let terms = PolicyTerms {
        persistent_allowed: true,
        ..Preset::Purchase.terms()
    };
    let world = World::under(terms);
    world.root(ROOT, "news", &["news"]);
    world.grant("subscriber", ROOT);
    let archive = Studio::new(&world).channel("news", 0..30);
    let programme: Vec<Kid> = archive[DERBY].iter().map(|segment| segment.kid).collect();
    for kid in &programme {
        world.grant("buyer", *kid);
    }

    let (mut subscriber, mut opened) = viewer(&world, "subscriber", &[ROOT]);
    assert_eq!(seen(&mut subscriber, &mut opened, &archive), [true; 30]);
    assert_eq!(subscriber.client().licenses().unwrap().len(), 1);

    let before = world.network.sent.get();
    let (mut buyer, mut opened) = viewer(&world, "buyer", &programme);
    let enrolment = 2;
    assert_eq!(
        world.network.sent.get() - before,
        enrolment + 1,
        "one request for the whole programme"
    );
    assert_eq!(buyer.client().licenses().unwrap().len(), programme.len());
    let bought: Vec<bool> = (0..30).map(|at| DERBY.contains(&at)).collect();
    assert_eq!(seen(&mut buyer, &mut opened, &archive), bought);
    assert!(opened.bound.iter().all(|bound| bound.root().is_none()));
    // Without the riding leaves it is the same, and with a right to ask, too.
    let bare: Vec<Segment> = archive.iter().map(Segment::without_leaves).collect();
    assert_eq!(seen(&mut buyer, &mut opened, &bare), bought);
    let mut opened = buyer.tune(Acquisition::Reactive);
    assert_eq!(seen(&mut buyer, &mut opened, &archive), bought);

    // One day the buyer subscribes: the one root opens the rest.
    world.grant("buyer", ROOT);
    buyer.acquire_ahead(&[ROOT]).unwrap();
    assert_eq!(seen(&mut buyer, &mut opened, &archive), [true; 30]);
}
