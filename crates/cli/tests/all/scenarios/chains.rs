//! Attacks on chains: a leaf opens under the root that it was made for, at the operator that made it, on a device of the
//! level that it asks for, until the root ends; and under nothing else.

use std::{cell::RefCell, rc::Rc};

use keyward_client::{
    ClientError,
    acquire::Wanted,
    flow::{Answer, Moment, Outgoing},
    session::{Acquisition, Needs, Opened},
};
use keyward_client_native::{Clock, NativeClient, Options, Transport};
use keyward_crypto::RootKey;
use keyward_license::{
    certificate::{SECURITY_LEVEL_HARDWARE, SECURITY_LEVEL_SOFTWARE, SECURITY_LEVEL_TEST},
    error_code::ErrorCode,
    ids::Kid,
    license::{KeyType, LicenseBody},
    usage_rules::Refusal,
};
use keyward_server::{
    Error,
    admin::TokenRequest,
    policy::{PolicyTerms, Preset},
    roots::NewRoot,
};
use keyward_testkit::{fake_server::FakeServer, pki};

use crate::scenarios::{
    broadcast::{ROOT, Segment, Studio},
    world::{ALICE, DAY, Device, FILM, HOUR, NOW, World},
};

const OTHER: Kid = Kid::new([0xa9; 16]);

/// A channel under a root that alice has a stored license of, without end unless the terms say one.
fn subscribed(terms: PolicyTerms) -> (World, Vec<Segment>) {
    let world = World::under(terms);
    world.root(ROOT, "news", &["news"]);
    world.grant(ALICE, ROOT);
    let segments = Studio::new(&world).channel("news", 0..6);
    (world, segments)
}

/// Nothing of these licenses opens the segment, and nothing that was refused stays behind.
fn stays_shut(device: &mut Device, segment: &Segment, licenses: Vec<Vec<u8>>) {
    let before = device.client().store_usage();
    let mut opened = device.tune(Acquisition::Never);
    let needs = Needs {
        licenses,
        ..segment.needs()
    };
    let refused = device.see_by(&mut opened, segment, needs).unwrap_err();
    assert!(
        matches!(
            refused,
            ClientError::NoLicense { .. } | ClientError::NoRoot { .. }
        ),
        "{refused:?}"
    );
    assert!(opened.bound.is_empty() && !segment.is_decrypted_by(&opened.keys()));
    assert_eq!(device.client().store_usage(), before);
}

#[test]
fn v_037_a_leaf_of_one_operator_never_opens_under_a_root_of_another() {
    let (world, ours) = subscribed(Preset::Purchase.terms());
    // The other operator calls its root, its channel and its accounts the same.
    let elsewhere = "http://127.0.0.1:8480";
    let other = World::at(elsewhere, NOW, Preset::Purchase.terms());
    other.root(ROOT, "news", &["news"]);
    other.grant(ALICE, ROOT);
    let theirs = Studio::new(&other).channel("news", 0..6);
    *world.network.other.borrow_mut() = Some(Rc::clone(&other.network));

    let mut device = world.device("tv");
    device.acquire_ahead(&[ROOT]).unwrap();
    for segment in &theirs {
        stays_shut(&mut device, segment, segment.leaves.clone());
    }
    // Not even when the device knows that operator, as long as it has no license of its root.
    other.enrol(&mut device, TokenRequest::new(ALICE)).unwrap();
    for segment in &theirs {
        stays_shut(&mut device, segment, segment.leaves.clone());
    }
    // With one root of each, each opens its own, in one playback.
    let wanted = Wanted {
        kids: vec![ROOT],
        license_url: Some(elsewhere.into()),
        ..Wanted::default()
    };
    device.client().acquire(wanted).unwrap();
    let mut opened = device.tune(Acquisition::Never);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        device.see(&mut opened, theirs).unwrap();
        device.see(&mut opened, ours).unwrap();
    }
    // Without ours, theirs does not serve for it.
    let held = device.client().held_licenses().unwrap();
    let of_ours = |held: &&keyward_client::held::HeldLicense| held.operator != operator_of(&other);
    let root = held.iter().find(of_ours).unwrap().body.id;
    assert!(device.client().remove_license(ROOT, root).unwrap());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        stays_shut(&mut device, ours, ours.leaves.clone());
        let mut opened = device.tune(Acquisition::Never);
        device.see(&mut opened, theirs).unwrap();
    }
}

fn operator_of(world: &World) -> keyward_license::ids::Digest {
    world.invitation(TokenRequest::new(ALICE)).0.operator()
}

#[test]
fn v_037_a_leaf_of_one_bundle_never_opens_under_the_root_of_another() {
    let (world, news) = subscribed(Preset::Purchase.terms());
    world.root(OTHER, "films", &["films"]);
    world.grant("bob", OTHER);
    let films = Studio::new(&world).channel("films", 0..6);
    let mut device = world.device_of("tv", TokenRequest::new("bob"));
    device.acquire_ahead(&[OTHER]).unwrap();
    let mut opened = device.tune(Acquisition::Never);
    for (news, films) in news.iter().zip(&films) {
        stays_shut(&mut device, news, news.leaves.clone());
        // Neither with leaves that the device can open, of other keys.
        stays_shut(&mut device, news, films.leaves.clone());
        device.see(&mut opened, films).unwrap();
        assert!(!news.is_decrypted_by(&opened.keys()));
    }
    // Who asks for the root that they have no right to gets none.
    device.wanted.kids = vec![ROOT];
    assert_eq!(device.refused_by_server(), ErrorCode::NotEntitled.number());
}

#[test]
fn v_020_v_036_a_leaf_that_was_altered_or_stands_in_the_wrong_place_opens_nothing() {
    let (world, segments) = subscribed(Preset::Purchase.terms());
    let mut device = world.device("tv");
    device.acquire_ahead(&[ROOT]).unwrap();
    let (segment, leaf) = (&segments[0], &segments[0].leaves[0]);
    stays_shut(&mut device, segment, segments[1].leaves.clone());
    stays_shut(&mut device, segment, Vec::new());
    for at in (0..leaf.len()).step_by(7).chain([leaf.len() - 1]) {
        let mut altered = leaf.clone();
        altered[at] ^= 0x10;
        stays_shut(&mut device, segment, vec![altered]);
    }
    for length in [0, 1, leaf.len() / 2, leaf.len() - 1] {
        stays_shut(&mut device, segment, vec![leaf[..length].to_vec()]);
    }
    // Among all of that the true one is found.
    let mut altered = leaf.clone();
    altered[leaf.len() / 2] ^= 1;
    let needs = Needs {
        licenses: vec![altered, segments[1].leaves[0].clone(), Vec::new(), leaf.clone()],
        ..segment.needs()
    };
    let mut opened = device.tune(Acquisition::Never);
    device.see_by(&mut opened, segment, needs).unwrap();
}

#[test]
fn v_022_a_root_license_serves_its_device_alone_and_removed_not_even_that_one() {
    let (world, segments) = subscribed(Preset::Purchase.terms());
    let mut device = world.device("tv");
    device.acquire_ahead(&[ROOT]).unwrap();
    let held = device.client().held_licenses().unwrap();
    let root = held[0].signed.clone();
    let with_root = |segment: &Segment| vec![root.clone(), segment.leaves[0].clone()];
    let mut other = world.device("other");
    for segment in &segments {
        stays_shut(&mut other, segment, with_root(segment));
    }
    device.client().remove_licenses(ROOT).unwrap();
    device.restart();
    for segment in &segments {
        stays_shut(&mut device, segment, with_root(segment));
    }
}

#[test]
fn r_005_no_leaf_opens_after_the_end_of_its_root_whatever_is_done_to_the_clock() {
    let terms = PolicyTerms {
        duration_seconds: Some(DAY),
        grace_period_seconds: None,
        ..Preset::Subscription.terms()
    };
    let (world, segments) = subscribed(terms);
    let mut device = world.device("tv");
    device.acquire_ahead(&[ROOT]).unwrap();
    world.network.online.set(false);
    let see = |device: &mut Device, segment| {
        let mut opened: Opened = device.tune(Acquisition::Never);
        device.see(&mut opened, segment).map(|()| opened)
    };
    world.pass(DAY - 1);
    see(&mut device, &segments[0]).unwrap();
    world.pass(1);
    let end = NOW.plus(DAY);
    let refusal = |device: &mut Device, segment| match see(device, segment) {
        Err(ClientError::Refused { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal(&mut device, &segments[0]), Refusal::Ended { end });
    // A leaf that was made after that end is as old as its root.
    let late = Studio::new(&world).channel("news", 6..7);
    assert_eq!(refusal(&mut device, &late[0]), Refusal::Ended { end });
    for utc in [Some(NOW), Some(end.minus(HOUR)), None] {
        device.clock.set(utc);
        refusal(&mut device, &segments[1]);
        device.restart();
        assert_eq!(refusal(&mut device, &segments[1]), Refusal::NoUsableClock);
    }
}

#[test]
fn v_037_keys_of_a_level_have_leaves_under_roots_of_that_level_alone() {
    let (world, segments) = subscribed(Preset::Purchase.terms());
    let uhd = Kid::new([2; 16]);
    let level = Some(SECURITY_LEVEL_HARDWARE);
    world.operator(async |server| {
        let registered = server.register_key_of_level(uhd, KeyType::File, 1, level);
        registered.await.unwrap();
        let refused = server.put_key_under_root(ROOT, uhd).await;
        assert!(matches!(refused, Err(Error::AboveRoot { root: ROOT, kid }) if kid == uhd));
        let new = NewRoot {
            kid: Some(OTHER),
            minimum_security_level: level,
            ..NewRoot::new("uhd")
        };
        server.create_root(new).await.unwrap();
        server.put_key_under_root(OTHER, uhd).await.unwrap();
    });
    world.grant(ALICE, OTHER);
    let hardware = TokenRequest {
        security_level: SECURITY_LEVEL_HARDWARE,
        ..TokenRequest::new(ALICE)
    };
    let mut device = world.device_of("box", hardware);
    device.wanted.kids = vec![uhd, ROOT];
    device.acquire().unwrap();
    device.wanted.kids = vec![uhd];
    let opened = device.play().unwrap();
    assert!(world.unlocks(&opened, uhd));
    // A device that is of a lower level from now on has the chain, and must not use it; what is for it goes on.
    world.enrol(&mut device, TokenRequest::new(ALICE)).unwrap();
    device.restart();
    assert!(matches!(device.refusal(), Refusal::SecurityLevelTooLow { .. }));
    let mut opened = device.tune(Acquisition::Never);
    device.see(&mut opened, &segments[0]).unwrap();
    let mut other = world.device("tv");
    for kids in [vec![uhd], vec![OTHER]] {
        other.wanted.kids = kids;
        assert_eq!(other.refused_by_server(), ErrorCode::SecurityLevelTooLow.number());
    }
}

/// A line to a server that signs whatever it is told to.
#[derive(Clone)]
struct Crooked(Rc<RefCell<FakeServer>>);

impl Transport for Crooked {
    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String> {
        let reply = self.0.borrow_mut().answer(&outgoing.url, &outgoing.body);
        Ok(Answer {
            status: reply.status,
            body: reply.body,
        })
    }

    fn wait(&mut self, _: std::time::Duration) {}
}

/// Stands still at the time of that server.
struct Standing;

impl Clock for Standing {
    fn moment(&self) -> Moment {
        Moment {
            utc: Some(pki::NOW),
            monotonic: 0,
        }
    }
}

#[test]
fn v_037_a_leaf_of_a_higher_level_than_its_root_opens_nothing_even_if_a_server_signs_one() {
    let level = |level| move |body: &mut LicenseBody| body.minimum_security_level = level;
    for (of_root, of_leaf, opens) in [
        (None, Some(SECURITY_LEVEL_TEST), false),
        (
            Some(SECURITY_LEVEL_SOFTWARE),
            Some(SECURITY_LEVEL_HARDWARE),
            false,
        ),
        (Some(SECURITY_LEVEL_HARDWARE), Some(SECURITY_LEVEL_HARDWARE), true),
    ] {
        let mut server = FakeServer::new([1; 32]);
        server.security_level = SECURITY_LEVEL_HARDWARE;
        server.roots.insert(ROOT, RootKey::from_slice(&[7; 32]).unwrap());
        server.keys.insert(FILM, [0xc5; 16]);
        server.bent.license = Some(Box::new(level(of_root)));
        let profile = server.operator.profile();
        let server = Rc::new(RefCell::new(server));
        let line = Crooked(Rc::clone(&server));
        let options = Options {
            clock: Box::new(Standing),
            ..Options::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let mut client = NativeClient::open_with(folder.path(), Box::new(line), options).unwrap();
        client.enrol(profile, "token".into()).unwrap();
        let wanted = |kid, licenses| Wanted {
            kids: vec![kid],
            licenses,
            ..Wanted::default()
        };
        client.acquire(wanted(ROOT, Vec::new())).unwrap();
        server.borrow_mut().bent.license = Some(Box::new(level(of_leaf)));
        let leaf = server.borrow_mut().leaf(FILM, ROOT);
        // It comes with the content, and in a response.
        let riding = wanted(FILM, vec![leaf]);
        let opened = client.open_content(vec![FILM], riding, Acquisition::Never);
        assert_eq!(opened.is_ok(), opens, "{opened:?}");
        server.borrow_mut().leaves.insert(FILM, ROOT);
        client.acquire(wanted(FILM, Vec::new())).unwrap();
        let opened = client.open_content(vec![FILM], wanted(FILM, Vec::new()), Acquisition::Never);
        assert_eq!(opened.is_ok(), opens, "{opened:?}");
    }
}
