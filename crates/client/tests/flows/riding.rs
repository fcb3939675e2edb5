//! V-039: licenses that ride in content.

use keyward_client::{
    ClientError,
    acquire::Wanted,
    host::HostProfile,
    install::ToEmbed,
    session::{Acquisition, Needs, Opened},
};
use keyward_content::media::MAX_RIDING_LICENSES;
use keyward_crypto::{RootKey, hpke::Suite, x509::Role};
use keyward_license::{
    embedded::EmbeddedStore,
    ids::Kid,
    license::{Flag, LicenseBody, LicenseKind},
    response::Denial,
    usage_rules::Refusal,
};
use keyward_testkit::pki::{DAY, Leaf, NOW};

use crate::{
    chained::{
        OTHER_ROOT, ROOT, acquire, acquire_leaves, acquire_root, asked, held, license_of, needs, open,
        open_live, open_with, rooted, with_root,
    },
    licensed::{asking, commits, go_on, pass, restarted},
    world::{Device, KIND_LICENSE, KIND_TOMBSTONE, TestClient, World, kid, opens, wanted},
};

/// Opens content with leave to ask.
fn stream(
    world: &mut World,
    client: &mut TestClient,
    number: u8,
    licenses: &[Vec<u8>],
) -> Result<Opened, ClientError> {
    let wanted = Wanted {
        licenses: licenses.to_vec(),
        ..wanted(&[number])
    };
    world.run(client.open_content(vec![kid(number)], wanted, Acquisition::Reactive))
}

/// A simple license for this device that its store does not know: acquired, and then the store was put back.
fn carried(world: &mut World, client: TestClient, edit: fn(&mut LicenseBody)) -> (TestClient, Vec<u8>) {
    drop(client);
    let before = world.device.store.clone();
    let mut client = world.open().unwrap().on_host(asking());
    world.server.bent.license = Some(Box::new(edit));
    acquire(world, &mut client, &[1]);
    world.server.bent.license = None;
    let signed = held(world, &client, 1)[0].signed.clone();
    drop(client);
    world.device.store = before;
    (world.open().unwrap().on_host(asking()), signed)
}

fn is_missing(result: &Result<Opened, ClientError>) -> bool {
    matches!(result, Err(ClientError::NoLicense { .. }))
}

#[test]
fn v_039_a_leaf_that_rides_in_content_opens_it_and_is_not_stored() {
    let (mut world, mut client) = with_root(|_| {});
    let leaf = world.server.leaf(kid(1), kid(ROOT));
    let (requests, before) = (world.server.requests.len(), world.device.count(KIND_LICENSE));
    world.trace.clear();
    let opened = stream(&mut world, &mut client, 1, &[leaf]).unwrap();
    assert!(opens(&opened.bound[0], 1) && opened.acquired.is_none());
    assert_eq!(world.server.requests.len(), requests, "nothing was asked for");
    assert_eq!((commits(&world), world.device.count(KIND_LICENSE)), (0, before));
    assert!(
        is_missing(&open(&mut world, &mut client, 1)),
        "it is not there without the content"
    );
}

#[test]
fn v_039_what_is_of_no_use_is_skipped_and_keeps_nothing_from_being_opened() {
    let (mut world, mut client) = with_root(|_| {});
    let device = core::mem::replace(&mut world.device, Device::new(3));
    let mut other = world.enrol_new();
    acquire(&mut world, &mut other, &[1]);
    let of_another = held(&mut world, &other, 1)[0].signed.clone();
    drop(other);
    world.device = device;
    let leaf = world.server.leaf(kid(1), kid(ROOT));
    let mut altered = leaf.clone();
    *altered.last_mut().unwrap() ^= 1;
    let of_no_use = [
        b"no license".to_vec(),
        Vec::new(),
        of_another,
        altered,
        world.server.leaf(kid(2), kid(ROOT)),
    ];
    let opened = open_with(&mut world, &mut client, 1, &of_no_use);
    assert!(is_missing(&opened), "{opened:?}");
    let rootless = world.server.leaf(kid(1), kid(OTHER_ROOT));
    let all: Vec<_> = of_no_use.into_iter().chain([rootless, leaf.clone()]).collect();
    open_with(&mut world, &mut client, 1, &all).unwrap();
    // A part brings so many, and a longer list is no part's.
    let ballast = vec![b"no license".to_vec(); MAX_RIDING_LICENSES];
    let beyond = [&ballast[..], core::slice::from_ref(&leaf)].concat();
    assert!(is_missing(&open_with(&mut world, &mut client, 1, &beyond)));
    let within = [&ballast[1..], &[leaf]].concat();
    open_with(&mut world, &mut client, 1, &within).unwrap();
}

/// Programmes of many bundles: each key has a leaf for each.
#[test]
fn v_039_whose_root_comes_last_of_many_and_whose_keys_are_many_finds_all_leaves() {
    let (mut world, mut client) = with_root(|_| {});
    let mut riding = Vec::new();
    for number in 0..100 {
        let bundle = Kid::new([&[number; 8][..], &[0xbb; 8]].concat().try_into().unwrap());
        let key = RootKey::from_slice(&[number; 32]).unwrap();
        world.server.roots.insert(bundle, key);
        riding.push(world.server.leaf(kid(1), bundle));
    }
    riding.push(world.server.leaf(kid(1), kid(ROOT)));
    open_with(&mut world, &mut client, 1, &riding).unwrap();
    // More keys than signatures are verified of one.
    let mut opened = open_live(&mut world, &mut client, Wanted::default(), Acquisition::Never);
    for number in 2..90 {
        riding.push(world.server.leaf(kid(number), kid(ROOT)));
    }
    let place = Needs {
        kids: (1..90).map(kid).collect(),
        licenses: riding,
        ..Needs::default()
    };
    world.run(client.reach(&mut opened, place)).unwrap();
    assert_eq!(opened.bound.len(), 89);
}

#[test]
fn v_039_a_simple_license_of_content_is_stored_where_its_first_play_is_recorded() {
    let (mut world, client) = World::enrolled();
    let (mut client, signed) = carried(&mut world, client, |body| {
        body.expiration_after_first_play = Some(60)
    });
    world.trace.clear();
    let opened = open_with(&mut world, &mut client, 1, core::slice::from_ref(&signed)).unwrap();
    assert_eq!(opened.bound[0].first_play(), Some(NOW));
    pass(&mut world, 60);
    // Neither another process nor another copy of the content begins anew.
    let mut client = restarted(&mut world, client);
    let refused = open_with(&mut world, &mut client, 1, &[signed]).unwrap_err();
    assert!(matches!(
        refused,
        ClientError::Refused {
            refusal: Refusal::FirstPlayExpired { .. },
            ..
        }
    ));
    assert_eq!(world.device.count(KIND_LICENSE), 1);
}

#[test]
fn v_039_a_root_license_of_content_is_for_its_device_alone_and_stored() {
    let (mut world, client) = rooted();
    drop(client);
    let before = world.device.store.clone();
    let mut client = world.open().unwrap();
    acquire_root(&mut world, &mut client, ROOT, |_| {});
    let root = held(&mut world, &client, ROOT)[0].signed.clone();
    drop(client);
    world.device.store = before;
    let mut client = world.open().unwrap();
    let leaf = world.server.leaf(kid(1), kid(ROOT));
    open_with(&mut world, &mut client, 1, &[leaf, root]).unwrap();
    assert_eq!(held(&mut world, &client, ROOT).len(), 1);
}

#[test]
fn v_028_v_039_what_was_removed_does_not_come_back_with_content() {
    let (mut world, mut client) = with_root(|_| {});
    acquire_leaves(&mut world, &mut client, &[1], ROOT);
    let leaf = held(&mut world, &client, 1)[0].signed.clone();
    open_with(&mut world, &mut client, 1, core::slice::from_ref(&leaf)).unwrap();
    assert_eq!(world.run(client.remove_licenses(kid(1))).unwrap(), 1);
    assert_eq!(world.device.count(KIND_TOMBSTONE), 1);
    assert!(is_missing(&open_with(&mut world, &mut client, 1, &[leaf])));
    // The same for a simple license.
    let simple = acquire(&mut world, &mut client, &[2]);
    let signed = held(&mut world, &client, 2)[0].signed.clone();
    let id = license_of(&simple, kid(2));
    assert!(world.run(client.remove_license(kid(2), id)).unwrap());
    assert!(is_missing(&open_with(&mut world, &mut client, 2, &[signed])));
}

#[test]
fn v_027_v_039_a_simple_license_of_a_weaker_suite_is_skipped() {
    let (mut world, client) = World::enrolled();
    world.server.bent.license_suite = Some(Suite::P256);
    drop(client);
    let mut client = world.open().unwrap();
    assert!(
        world.run(client.acquire(wanted(&[1]))).is_err(),
        "a response with it is refused"
    );
    // A device with that suite alone has one.
    world.server.bent.license_suite = None;
    let (client, signed) = carried(&mut world, client, |_| {});
    let mut client = client;
    open_with(&mut world, &mut client, 1, &[signed]).unwrap();
}

#[test]
fn v_037_the_root_that_a_leaf_needs_is_asked_for_and_nothing_else() {
    let (mut world, mut client) = rooted();
    let leaf = world.server.leaf(kid(1), kid(ROOT));
    let from = world.server.requests.len();
    let opened = stream(&mut world, &mut client, 1, core::slice::from_ref(&leaf)).unwrap();
    assert!(opens(&opened.bound[0], 1));
    assert_eq!(asked(&world, from), [[kid(ROOT)]]);
    // From then on everything under it opens without a server.
    world.online = false;
    let next = world.server.leaf(kid(2), kid(ROOT));
    open_with(&mut world, &mut client, 2, &[next]).unwrap();
}

#[test]
fn v_037_a_root_that_is_denied_is_asked_for_once_and_then_the_key_itself() {
    let (mut world, mut client) = rooted();
    let denial = Denial {
        code: 301,
        sentence: "not subscribed".into(),
        url: None,
    };
    world.server.denials.insert(kid(ROOT), denial.clone());
    world.server.denials.insert(kid(3), denial);
    let from = world.server.requests.len();
    let mut opened = open_live(&mut world, &mut client, Wanted::default(), Acquisition::Reactive);
    let leaves = [1, 2, 3].map(|number| world.server.leaf(kid(number), kid(ROOT)));
    for number in [1, 2] {
        let place = needs(number, &leaves);
        world.run(client.reach(&mut opened, place)).unwrap();
        assert_eq!(opened.bound.last().unwrap().terms().kind, LicenseKind::Simple);
    }
    assert_eq!(asked(&world, from), [[kid(ROOT)], [kid(1)], [kid(2)]]);
    let denied = world
        .run(client.reach(&mut opened, needs(3, &leaves)))
        .unwrap_err();
    assert!(matches!(denied, ClientError::Denied { kid: of, .. } if of == kid(3)));
    // Where the key is not asked for, it is the root's denial that counts.
    let wanted = Wanted {
        licenses: leaves.to_vec(),
        ..wanted(&[ROOT])
    };
    let denied = world.run(client.open_content(vec![kid(1)], wanted.clone(), Acquisition::Reactive));
    assert!(denied.is_ok(), "it has a license of its own by now");
    world.run(client.remove_licenses(kid(1))).unwrap();
    let denied = world.run(client.open_content(vec![kid(1)], wanted, Acquisition::Reactive));
    assert!(matches!(denied, Err(ClientError::Denied { kid: of, .. }) if of == kid(ROOT)));
}

#[test]
fn r_045_licenses_that_say_so_are_handed_out_to_be_embedded_and_usable_whether_or_not_they_are() {
    let (mut world, mut client) = with_root(|_| {});
    world.server.bent.license = Some(Box::new(|body| {
        body.embed = (body.keys[0].kid != kid(3)).then_some(Flag);
    }));
    world.server.leaves.insert(kid(2), kid(ROOT));
    let acquired = acquire(&mut world, &mut client, &[1, 2, 3]);
    let announced = &world.server.requests.last().unwrap().capabilities;
    assert!(announced.terms.contains(&23));
    let embed = |number| ToEmbed {
        kid: kid(number),
        id: license_of(&acquired, kid(number)),
        license: held(&mut world, &client, number)[0].signed.clone(),
    };
    let expected: Vec<_> = [1, 2].map(embed).into();
    assert_eq!(acquired.embed, expected);
    // What goes through the content comes back from it.
    let mut store = EmbeddedStore::default();
    store.put(&acquired.embed[1].license).unwrap();
    let store = EmbeddedStore::read(&store.write(4_096).unwrap()).unwrap();
    world
        .run(client.open_content(vec![kid(2)], Wanted::default(), Acquisition::Never))
        .unwrap();
    open_with(&mut world, &mut client, 2, store.licenses()).unwrap();
    // Another host of the device, that embeds nothing, uses it as well, and is given none.
    drop(client);
    let mut client = world.open().unwrap();
    open(&mut world, &mut client, 1).unwrap();
    open(&mut world, &mut client, 2).unwrap();
    let riding = world.server.leaf(kid(4), kid(ROOT));
    open_with(&mut world, &mut client, 4, &[riding]).unwrap();
    assert!(world.run(client.acquire(wanted(&[1]))).is_err(), "V-029");
}

/// A host that trusts nothing that comes without lists that are not over, and the device's root license.
fn demanding() -> (World, TestClient) {
    let (world, client) = with_root(|_| {});
    let host = HostProfile {
        demands_lists: true,
        ..asking()
    };
    (world, client.on_host(host))
}

/// Lists of the root and of the authority of servers, of now.
fn install_lists(world: &mut World, client: &mut TestClient, number: u64) {
    let of = [None, Some(Role::LicenseServer)];
    let lists = of.map(|of| world.server.list(of, number, &[]));
    let file = world.server.lists_file(lists.to_vec());
    let (_, taken) = world.run(client.install_lists(file)).unwrap();
    assert!(taken.newer && taken.refused.is_empty());
}

#[test]
fn v_039_v_064_where_lists_are_demanded_nothing_that_rides_is_used_without_them() {
    let (mut world, mut client) = demanding();
    let leaf = world.server.leaf(kid(1), kid(ROOT));
    let rootless = world.server.leaf(kid(2), kid(OTHER_ROOT));
    let opened = open_with(&mut world, &mut client, 1, core::slice::from_ref(&leaf));
    assert!(is_missing(&opened), "{opened:?}");
    // Nor does it say what is asked for.
    let requests = world.server.requests.len();
    assert!(stream(&mut world, &mut client, 2, core::slice::from_ref(&rootless)).is_err());
    assert_eq!(asked(&world, requests), [[kid(2)]]);
    install_lists(&mut world, &mut client, 1);
    open_with(&mut world, &mut client, 1, core::slice::from_ref(&leaf)).unwrap();
    let requests = world.server.requests.len();
    stream(&mut world, &mut client, 2, &[rootless]).unwrap();
    assert_eq!(asked(&world, requests), [[kid(OTHER_ROOT)]]);
    // They are over; what plays does not depend on that, and what comes does.
    let mut opened = open_live(&mut world, &mut client, Wanted::default(), Acquisition::Never);
    let place = needs(1, core::slice::from_ref(&leaf));
    world.run(client.reach(&mut opened, place)).unwrap();
    pass(&mut world, 8 * DAY);
    world.server.now = NOW.plus(8 * DAY);
    assert_eq!(go_on(&mut world, &mut client, &mut opened).playing, 1);
    let late = open_with(&mut world, &mut client, 1, core::slice::from_ref(&leaf));
    assert!(is_missing(&late), "{late:?}");
    install_lists(&mut world, &mut client, 2);
    open_with(&mut world, &mut client, 1, &[leaf]).unwrap();
}

#[test]
fn v_039_v_064_a_signer_that_has_ended_is_judged_by_a_list_that_reaches_to_its_end() {
    let (mut world, mut client) = demanding();
    let ending = |world: &mut World, days| {
        let signer = world.server.operator.issue(&Leaf {
            not_after: NOW.plus(days * DAY),
            ..Leaf::new("ending", &[Role::LicenseServer])
        });
        world.server.bent.license_signer = Some(signer);
        let leaf = world.server.leaf(kid(1), kid(ROOT));
        world.server.bent.license_signer = None;
        leaf
    };
    let (within, beyond) = (ending(&mut world, 6), ending(&mut world, 8));
    install_lists(&mut world, &mut client, 1);
    pass(&mut world, 9 * DAY);
    let opened = open_with(&mut world, &mut client, 1, &[beyond]);
    assert!(is_missing(&opened), "{opened:?}");
    open_with(&mut world, &mut client, 1, &[within]).unwrap();
}

#[test]
fn v_039_v_064_where_lists_are_demanded_no_license_of_content_is_stored_without_them() {
    let (mut world, client) = World::enrolled();
    let (client, signed) = carried(&mut world, client, |_| {});
    let mut client = client.on_host(HostProfile {
        demands_lists: true,
        ..asking()
    });
    let opened = open_with(&mut world, &mut client, 1, core::slice::from_ref(&signed));
    assert!(is_missing(&opened), "{opened:?}");
    assert_eq!(world.device.count(KIND_LICENSE), 0);
    install_lists(&mut world, &mut client, 1);
    open_with(&mut world, &mut client, 1, &[signed]).unwrap();
    assert_eq!(world.device.count(KIND_LICENSE), 1);
}
