//! Leaf licenses under root licenses: which chains open content, and for how long.

use keyward_client::{
    ClientError, LicenseFault,
    acquire::Wanted,
    enforce::{Availability, Stop},
    explain::Circumstances,
    session::Acquisition,
};
use keyward_license::{
    ids::{Kid, LicenseId},
    license::{Binding, Flag, LicenseBody, LicenseKind},
    usage_rules::Refusal,
};
use keyward_testkit::{
    fake_server::{FakeServer, ORIGIN},
    pki::{DAY, NOW},
};

use crate::{
    chained::{
        OTHER_ROOT, ROOT, acquire, acquire_leaves, acquire_root, asked, held, license_of, open, open_with,
        rooted, with_root,
    },
    licensed::{asking, commits, go_on, pass, restarted, sixty_seconds},
    world::{KIND_LICENSE, TestClient, Trace, World, kid, opens, wanted},
};

fn is_rootless(result: &Result<impl Sized, ClientError>, number: u8, root: u8) -> bool {
    matches!(result, Err(ClientError::NoRoot { kid: of, root: by }) if *of == kid(number) && *by == kid(root))
}

#[test]
fn v_037_a_leaf_opens_under_its_root_and_no_key_of_a_root_opens_content() {
    let (mut world, mut client) = with_root(|_| {});
    acquire_leaves(&mut world, &mut client, &[1, 2], ROOT);
    for number in [1, 2] {
        let opened = open(&mut world, &mut client, number).unwrap();
        let root = opened.bound[0].root().unwrap();
        assert_eq!((root.kind, root.asked_kid()), (LicenseKind::Root, Ok(kid(ROOT))));
        assert_eq!(opened.bound[0].terms().kind, LicenseKind::Leaf);
    }
    let root = world.run(client.open_content(vec![kid(ROOT)], wanted(&[ROOT]), Acquisition::Never));
    assert!(matches!(root, Err(ClientError::RootKey { kid: of }) if of == kid(ROOT)));
    // The store has both, and the next process opens what this one did.
    let mut client = restarted(&mut world, client);
    open(&mut world, &mut client, 2).unwrap();
}

#[test]
fn v_037_without_its_root_a_leaf_opens_nothing() {
    let (mut world, mut client) = rooted();
    acquire_leaves(&mut world, &mut client, &[1], ROOT);
    assert!(is_rootless(&open(&mut world, &mut client, 1), 1, ROOT));
    assert_eq!(world.run(client.find(kid(1))).unwrap(), Availability::Missing);
    let leaf = &held(&mut world, &client, 1)[0];
    assert_eq!(leaf.verdict, Err(Stop::NoRoot(kid(ROOT))));
    assert!(leaf.root.is_none() && leaf.usable_until().is_none());
    // Another bundle's root is none of it.
    acquire_root(&mut world, &mut client, OTHER_ROOT, |_| {});
    assert!(is_rootless(&open(&mut world, &mut client, 1), 1, ROOT));
    acquire_root(&mut world, &mut client, ROOT, |_| {});
    open(&mut world, &mut client, 1).unwrap();
}

#[test]
fn v_037_a_leaf_that_names_a_root_and_is_sealed_under_another_is_refused() {
    let (mut world, mut client) = with_root(|_| {});
    world.server.leaves.insert(kid(1), kid(OTHER_ROOT));
    world.server.bent.license = Some(Box::new(|body| body.binding = Binding::root(kid(ROOT))));
    let refused = world.run(client.acquire(wanted(&[1]))).unwrap_err();
    let fault = LicenseFault::KeyNotOpened;
    assert!(matches!(refused, ClientError::LicenseRefused { fault: of, .. } if of == fault));
    assert!(matches!(
        open(&mut world, &mut client, 1),
        Err(ClientError::NoLicense { .. })
    ));
    // In content it is skipped, whether or not its root is here.
    let forged = world.server.leaf(kid(1), kid(OTHER_ROOT));
    let opened = open_with(&mut world, &mut client, 1, &[forged]);
    assert!(matches!(opened, Err(ClientError::NoLicense { .. })), "{opened:?}");
}

#[test]
fn v_037_a_leaf_never_opens_under_a_root_of_another_operator() {
    let (mut world, mut client) = with_root(|_| {});
    let honest = world.server.leaf(kid(1), kid(ROOT));
    // Another operator, of the same device, has got hold of the root's key.
    let mut thief = FakeServer::new([7; 32]);
    thief.keys = world.server.keys.clone();
    thief.roots = core::mem::take(&mut world.server.roots);
    core::mem::swap(&mut world.server, &mut thief);
    let stolen = world.server.leaf(kid(1), kid(ROOT));
    let skipped = |result| matches!(result, Err(ClientError::NoLicense { .. }));
    assert!(
        skipped(open_with(
            &mut world,
            &mut client,
            1,
            core::slice::from_ref(&stolen)
        )),
        "no operator of this device"
    );
    let profile = world.profile();
    world.run(client.enrol(profile, "token".into())).unwrap();
    assert!(is_rootless(
        &open_with(&mut world, &mut client, 1, core::slice::from_ref(&stolen)),
        1,
        ROOT
    ));
    open_with(&mut world, &mut client, 1, &[stolen, honest]).unwrap();
}

#[test]
fn v_037_a_leaf_never_opens_under_a_root_of_a_lower_level() {
    for (root_level, leaf_level, opens) in [
        (None, Some(150), false),
        (Some(150), Some(2000), false),
        (Some(2000), Some(2000), true),
        (Some(2000), Some(150), true),
        (Some(150), None, true),
    ] {
        let (mut world, mut client) = with_root(move |body| body.minimum_security_level = root_level);
        world.server.bent.license = Some(Box::new(move |body| {
            if body.kind == LicenseKind::Leaf {
                body.minimum_security_level = leaf_level;
            }
        }));
        acquire_leaves(&mut world, &mut client, &[1], ROOT);
        let opened = open(&mut world, &mut client, 1);
        assert_eq!(opened.is_ok(), opens, "{root_level:?} {leaf_level:?}");
        assert!(opens || is_rootless(&opened, 1, ROOT));
    }
}

#[test]
fn r_002_a_chain_is_as_strict_as_its_strictest_license() {
    let (mut world, mut client) = with_root(|body| body.minimum_security_level = Some(3000));
    acquire_leaves(&mut world, &mut client, &[1], ROOT);
    let refused = open(&mut world, &mut client, 1).unwrap_err();
    let refusal = Refusal::SecurityLevelTooLow {
        needed: 3000,
        actual: 2000,
    };
    assert!(matches!(refused, ClientError::Refused { refusal: of, .. } if of == refusal));
}

#[test]
fn r_005_leaves_end_with_their_root_and_a_renewed_root_revives_all_of_them() {
    let end = NOW.plus(60);
    let (mut world, mut client) = with_root(move |body| body.end = Some(end));
    acquire_leaves(&mut world, &mut client, &[1, 2, 3], ROOT);
    for number in [1, 2, 3] {
        assert_eq!(
            open(&mut world, &mut client, number).unwrap().bound[0].until(),
            Some(end)
        );
        let leaf = &held(&mut world, &client, number)[0];
        assert_eq!((leaf.usable_until(), leaf.body.usable_until()), (Some(end), None));
        let explained = world
            .run(client.explain(kid(number), Circumstances::default()))
            .unwrap();
        assert_eq!(explained.len(), 1);
        assert_eq!(explained[0].verdict.as_ref().unwrap().until, Some(end));
        assert_eq!(explained[0].root.as_ref().unwrap().end, Some(end));
        assert!(explained[0].is_usable_here);
    }
    pass(&mut world, 60);
    for number in [1, 2, 3] {
        let refused = open(&mut world, &mut client, number).unwrap_err();
        assert!(
            matches!(refused, ClientError::Refused { refusal: Refusal::Ended { end: at }, .. } if at == end)
        );
    }
    world.server.now = world.server.now.plus(60);
    let from = world.server.requests.len();
    acquire_root(&mut world, &mut client, ROOT, move |body| {
        body.end = Some(end.plus(DAY))
    });
    assert_eq!(asked(&world, from), [[kid(ROOT)]], "the root alone was fetched");
    for number in [1, 2, 3] {
        let until = open(&mut world, &mut client, number).unwrap().bound[0].until();
        assert_eq!(until, Some(end.plus(DAY)));
    }
}

#[test]
fn r_040_of_several_roots_and_leaves_the_best_chain_is_used() {
    let (mut world, mut client) = rooted();
    let ends = |seconds| move |body: &mut LicenseBody| body.end = Some(NOW.plus(seconds));
    let short = acquire_root(&mut world, &mut client, ROOT, ends(60));
    acquire_leaves(&mut world, &mut client, &[1], ROOT);
    let root = |world: &mut World, client: &mut TestClient| {
        let opened = open(world, client, 1).unwrap();
        opened.bound[0].root().unwrap().id
    };
    assert_eq!(root(&mut world, &mut client), short);
    // Two licenses of one root.
    let longer = acquire_root(&mut world, &mut client, ROOT, ends(100));
    assert_eq!(root(&mut world, &mut client), longer);
    // The key under another root as well.
    let longest = acquire_root(&mut world, &mut client, OTHER_ROOT, ends(200));
    assert_eq!(root(&mut world, &mut client), longer);
    let leaf = acquire_leaves(&mut world, &mut client, &[1], OTHER_ROOT);
    assert_eq!(root(&mut world, &mut client), longest);
    let found = world.run(client.find(kid(1))).unwrap();
    assert!(matches!(found, Availability::Ready { license, .. } if license == license_of(&leaf, kid(1))));
    // All chains are there to be explained, the best first.
    let explained = world
        .run(client.explain(kid(1), Circumstances::default()))
        .unwrap();
    let roots: Vec<_> = explained
        .iter()
        .map(|one| one.root.as_ref().unwrap().id)
        .collect();
    assert_eq!(roots, [longest, longer, short]);
    // A simple license of the key that does not end is better than any.
    let simple = acquire(&mut world, &mut client, &[1]);
    let opened = open(&mut world, &mut client, 1).unwrap();
    assert_eq!(opened.bound[0].license(), license_of(&simple, kid(1)));
    assert!(opened.bound[0].root().is_none());
}

#[test]
fn r_012_the_first_play_of_any_leaf_is_in_the_record_of_its_root() {
    let (mut world, mut client) = with_root(|body| body.expiration_after_first_play = Some(100));
    acquire_leaves(&mut world, &mut client, &[1, 2], ROOT);
    let both = vec![kid(1), kid(2)];
    world.trace.clear();
    let opened = world
        .run(client.open_content(both, wanted(&[1, 2]), Acquisition::Never))
        .unwrap();
    assert_eq!(commits(&world), 1, "one record, once");
    assert!(opened.bound.iter().all(|bound| bound.first_play() == Some(NOW)));
    pass(&mut world, 50);
    let mut client = restarted(&mut world, client);
    let opened = open(&mut world, &mut client, 2).unwrap();
    assert_eq!(opened.bound[0].first_play(), Some(NOW));
    assert_eq!(opened.bound[0].until(), Some(NOW.plus(100)));
    assert_eq!(held(&mut world, &client, ROOT)[0].first_play, Some(NOW));
    assert_eq!(held(&mut world, &client, 1)[0].first_play, Some(NOW));
    pass(&mut world, 50);
    for number in [1, 2] {
        let refused = open(&mut world, &mut client, number).unwrap_err();
        let refusal = Refusal::FirstPlayExpired { at: NOW.plus(100) };
        assert!(matches!(refused, ClientError::Refused { refusal: of, .. } if of == refusal));
    }
    // Another leaf does not begin anew; another license of the root does.
    acquire_leaves(&mut world, &mut client, &[3], ROOT);
    assert!(open(&mut world, &mut client, 3).is_err());
    acquire_root(&mut world, &mut client, ROOT, |body| {
        body.expiration_after_first_play = Some(100)
    });
    let opened = open(&mut world, &mut client, 3).unwrap();
    assert_eq!(opened.bound[0].first_play(), Some(NOW.plus(100)));
}

#[test]
fn v_028_whoever_removes_a_root_ends_its_leaves_and_it_does_not_come_back() {
    let (mut world, mut client) = rooted();
    let request = world.run(client.request(wanted(&[ROOT]))).unwrap();
    let again = world.run(client.request(wanted(&[ROOT]))).unwrap();
    let id = LicenseId::new([5; 16]);
    world.server.bent.license = Some(Box::new(move |body| {
        if body.kind == LicenseKind::Root {
            body.id = id;
        }
    }));
    let (first, second) = (world.answer(&request), world.answer(&again));
    world.run(client.install(first)).unwrap();
    acquire_leaves(&mut world, &mut client, &[1, 2], ROOT);
    open(&mut world, &mut client, 1).unwrap();
    assert_eq!(world.run(client.remove_licenses(kid(ROOT))).unwrap(), 1);
    for number in [1, 2] {
        assert!(is_rootless(&open(&mut world, &mut client, number), number, ROOT));
    }
    let refused = world.run(client.install(second)).unwrap_err();
    let fault = LicenseFault::Removed;
    assert!(matches!(refused, ClientError::LicenseRefused { fault: of, .. } if of == fault));
    assert!(is_rootless(&open(&mut world, &mut client, 1), 1, ROOT));
    acquire_root(&mut world, &mut client, ROOT, |_| {});
    open(&mut world, &mut client, 1).unwrap();
}

#[test]
fn r_014_a_root_with_real_time_expiration_stops_what_plays_under_it_and_another_does_not() {
    for real_time in [true, false] {
        let (mut world, mut client) = with_root(move |body| {
            body.end = Some(NOW.plus(60));
            body.real_time_expiration = real_time.then_some(Flag);
        });
        acquire_leaves(&mut world, &mut client, &[1], ROOT);
        let mut opened = open(&mut world, &mut client, 1).unwrap();
        pass(&mut world, 59);
        assert!(opened.holds(world.moment, &*client.host().outputs));
        pass(&mut world, 1);
        assert_eq!(opened.holds(world.moment, &*client.host().outputs), !real_time);
        let standing = go_on(&mut world, &mut client, &mut opened);
        let ended = Stop::Refused(Refusal::Ended { end: NOW.plus(60) });
        let stopped = if real_time { vec![(kid(1), ended)] } else { vec![] };
        assert_eq!(standing.stopped, stopped);
        assert_eq!(opens(&opened.bound[0], 1), !real_time);
    }
}

#[test]
fn r_043_what_plays_goes_on_under_a_renewed_root_without_a_gap() {
    let (mut world, mut client) = with_root(sixty_seconds);
    acquire_leaves(&mut world, &mut client, &[1], ROOT);
    let asking = Wanted {
        license_url: Some(ORIGIN.into()),
        ..wanted(&[1])
    };
    let mut opened = world
        .run(client.open_content(vec![kid(1)], asking, Acquisition::Reactive))
        .unwrap();
    let keys = opened.keys();
    let (root, from) = (opened.bound[0].root().unwrap().id, world.server.requests.len());
    world.server.bent.license = Some(Box::new(sixty_seconds));
    world.server.now = world.server.now.plus(60);
    pass(&mut world, 60);
    let standing = go_on(&mut world, &mut client, &mut opened);
    assert!(standing.stopped.is_empty(), "{standing:?}");
    assert_ne!(opened.bound[0].root().unwrap().id, root);
    assert!(opens(&opened.bound[0], 1));
    assert_eq!(asked(&world, from), [[kid(ROOT)]], "the root alone");
    assert!(opened.acquired.is_some());
    drop(keys);
}

#[test]
fn v_024_roots_and_leaves_live_in_memory_with_the_nonce_of_their_request() {
    let (mut world, mut client) = rooted();
    world.server.leaves.insert(kid(1), kid(ROOT));
    let both = Wanted {
        in_memory: true,
        ..wanted(&[1, ROOT])
    };
    world.run(client.acquire(both.clone())).unwrap();
    assert_eq!(world.device.count(KIND_LICENSE), 0);
    let opened = open(&mut world, &mut client, 1).unwrap();
    assert!(!opened.bound[0].is_persistent());
    let nonces = held(&mut world, &client, 1)[0].body.nonce.is_some();
    assert!(nonces && held(&mut world, &client, ROOT)[0].body.nonce.is_some());
    // Its bytes are of no use outside of their answer.
    let leaf = held(&mut world, &client, 1)[0].signed.clone();
    let mut client = restarted(&mut world, client);
    acquire_root(&mut world, &mut client, ROOT, |_| {});
    assert!(matches!(
        open_with(&mut world, &mut client, 1, &[leaf]),
        Err(ClientError::NoLicense { .. })
    ));
    // A nonce of another request.
    world.server.bent.license = Some(Box::new(|body| {
        if body.nonce.is_some() {
            body.nonce = Some(keyward_license::ids::Nonce::new([1; 16]));
        }
    }));
    let refused = world.run(client.acquire(both)).unwrap_err();
    let fault = LicenseFault::OtherNonce;
    assert!(matches!(refused, ClientError::LicenseRefused { fault: of, .. } if of == fault));
}

#[test]
fn finding_a_leaf_costs_the_same_however_many_stand_under_its_root() {
    let (mut world, mut client) = with_root(|_| {});
    let steps = |world: &mut World, client: &mut TestClient| {
        world.trace.clear();
        open(world, client, 1).unwrap();
        world
            .trace
            .iter()
            .filter(|step| matches!(step, Trace::Get(_)))
            .count()
    };
    acquire_leaves(&mut world, &mut client, &[1], ROOT);
    let alone = steps(&mut world, &mut client);
    let many: Vec<_> = (0..2_000_u32).map(numbered).collect();
    for batch in many.chunks(1_000) {
        world.server.along = batch.to_vec();
        for of in batch {
            world.server.keys.insert(*of, [9; 16]);
            world.server.leaves.insert(*of, kid(ROOT));
        }
        // The root brings its leaves.
        let acquired = acquire(&mut world, &mut client, &[ROOT]);
        assert_eq!(acquired.outcomes.len(), 1_001);
        world.server.keys.retain(|of, _| !batch.contains(of));
    }
    assert_eq!(client.store_usage().licenses, 2_004);
    let mut client = restarted(&mut world, client);
    assert_eq!(steps(&mut world, &mut client), alone);
    for of in many.into_iter().step_by(400) {
        assert!(matches!(
            world.run(client.find(of)).unwrap(),
            Availability::Ready { .. }
        ));
    }
}

fn numbered(number: u32) -> Kid {
    let mut bytes = [0xee; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Kid::new(bytes)
}

#[test]
fn r_046_an_answer_says_when_to_ask_for_what_comes_next() {
    let (mut world, mut client) = World::enrolled();
    world.server.renew_at = Some(NOW.plus(50));
    assert_eq!(
        acquire(&mut world, &mut client, &[1]).renew_at,
        Some(NOW.plus(50))
    );
    let mut client = restarted(&mut world, client);
    world.server.bent.license = Some(Box::new(|body| body.end = Some(NOW.plus(100))));
    let mut opened = world
        .run(client.open_content(vec![kid(2)], wanted(&[2]), Acquisition::Reactive))
        .unwrap();
    let outputs = asking().outputs;
    let from = world.server.requests.len();
    pass(&mut world, 49);
    assert!(opened.holds(world.moment, &*outputs));
    assert!(world.run(client.renew(&mut opened)).unwrap().is_none());
    pass(&mut world, 1);
    assert!(!opened.holds(world.moment, &*outputs), "the time has come");
    go_on(&mut world, &mut client, &mut opened);
    assert!(opened.holds(world.moment, &*outputs), "what plays goes on");
    world.server.now = NOW.plus(50);
    world.server.renew_at = Some(NOW.plus(150));
    assert!(world.run(client.renew(&mut opened)).unwrap().is_some());
    assert!(world.run(client.renew(&mut opened)).unwrap().is_none(), "once");
    assert_eq!(asked(&world, from), [[kid(2)]]);
    pass(&mut world, 99);
    assert!(opened.holds(world.moment, &*outputs));
    pass(&mut world, 1);
    assert!(!opened.holds(world.moment, &*outputs), "and again");
    // A server that cannot be asked is asked a minute later.
    go_on(&mut world, &mut client, &mut opened);
    world.server.bent.response = Some(Box::new(|response| {
        response.nonce = keyward_license::ids::Nonce::new([0; 16])
    }));
    assert!(world.run(client.renew(&mut opened)).is_err());
    pass(&mut world, 59);
    assert!(opened.holds(world.moment, &*outputs));
    pass(&mut world, 1);
    assert!(!opened.holds(world.moment, &*outputs));
}

/// The server's times are of the server's clock, and a playback goes by its own.
#[test]
fn r_046_a_clock_that_differs_from_the_servers_asks_neither_without_end_nor_too_late() {
    for ahead in [3_600, -200] {
        let (mut world, mut client) = World::enrolled();
        world.clock(ahead);
        world.server.renew_at = Some(NOW.plus(50));
        let mut opened = world
            .run(client.open_content(vec![kid(2)], wanted(&[2]), Acquisition::Reactive))
            .unwrap();
        let outputs = asking().outputs;
        pass(&mut world, 49);
        assert!(opened.holds(world.moment, &*outputs), "{ahead}");
        pass(&mut world, 1);
        assert!(!opened.holds(world.moment, &*outputs), "{ahead}");
        go_on(&mut world, &mut client, &mut opened);
        // A time that has passed already is taken to come in a few seconds.
        world.server.now = NOW.plus(60);
        assert!(world.run(client.renew(&mut opened)).unwrap().is_some());
        pass(&mut world, 4);
        assert!(opened.holds(world.moment, &*outputs), "{ahead}");
        pass(&mut world, 1);
        assert!(!opened.holds(world.moment, &*outputs), "{ahead}");
    }
}

/// A host that cannot send drops the flow.
#[test]
fn r_046_a_renewal_that_could_not_be_sent_is_tried_again() {
    let (mut world, mut client) = World::enrolled();
    world.server.renew_at = Some(NOW.plus(500));
    let mut opened = world
        .run(client.open_content(vec![kid(2)], wanted(&[2]), Acquisition::Reactive))
        .unwrap();
    let outputs = asking().outputs;
    pass(&mut world, 500);
    world.online = false;
    for _ in 0..3 {
        assert!(!opened.holds(world.moment, &*outputs));
        go_on(&mut world, &mut client, &mut opened);
        assert!(world.drive(client.renew(&mut opened)).is_none());
        pass(&mut world, 59);
        assert!(opened.holds(world.moment, &*outputs));
        pass(&mut world, 1);
    }
    assert!(!opened.holds(world.moment, &*outputs));
    go_on(&mut world, &mut client, &mut opened);
    world.online = true;
    assert!(world.run(client.renew(&mut opened)).unwrap().is_some());
}

#[test]
fn r_046_content_that_may_not_ask_is_not_told_to() {
    let (mut world, mut client) = World::enrolled();
    world.server.renew_at = Some(NOW.plus(50));
    acquire(&mut world, &mut client, &[1]);
    let mut opened = open(&mut world, &mut client, 1).unwrap();
    pass(&mut world, 60);
    assert!(opened.holds(world.moment, &*asking().outputs));
    assert!(opened.renewal().is_none());
}
