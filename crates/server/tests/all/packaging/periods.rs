//! Crypto periods, and the leaf licenses that come with their keys.

use std::collections::{BTreeMap, BTreeSet};

use keyward_crypto::hpke::Suite;
use keyward_license::{
    ids::Kid,
    license::{Flag, KeyType},
    packaging::{MAX_LEAVES, MAX_PERIOD_TRACKS, PackagingRequest, WantedTrack},
};
use keyward_server::{
    Server,
    roots::{NewRoot, Periods},
    sealing::KekSource,
};

use super::code;
use crate::{
    asking::{Packaged, ask, media, read, request, sealed, send, track},
    common::{Device, NOW, Recipient, World},
};

fn live(
    packager: &mut Device,
    recipient: &Recipient,
    (first, count): (u64, u64),
    tracks: Vec<WantedTrack>,
) -> PackagingRequest {
    PackagingRequest {
        content_header: false,
        crypto_periods: Some(count),
        first_period: Some(first),
        leaves: Some(Flag),
        ..request(packager, recipient, "news", tracks)
    }
}

/// The keys by period and label.
fn placed(packaged: &Packaged) -> BTreeMap<(Option<u64>, String), (Kid, [u8; 16])> {
    let tracks = packaged.body.tracks.iter();
    let places = tracks.map(|track| (track.period, track.label.clone()));
    places.zip(packaged.pairs()).collect()
}

/// Roots with the channel under them.
async fn roots(world: &World, count: usize) -> Vec<Kid> {
    let mut roots = Vec::new();
    for number in 0..count {
        let new = NewRoot {
            kid: Some(Kid::new([0xa0 + u8::try_from(number).unwrap(); 16])),
            ..NewRoot::new(format!("root {number}"))
        };
        let kid = world.server.create_root(new).await.unwrap();
        world
            .server
            .put_content_under_root(kid, "news", Periods::ALL)
            .await
            .unwrap();
        roots.push(kid);
    }
    roots
}

fn leaves(packaged: &Packaged) -> BTreeSet<(Kid, Kid)> {
    let pair = |leaf: &keyward_license::license::License| {
        let body = leaf.body();
        assert_eq!((body.persistent, body.nonce, body.issued), (true, None, NOW));
        (body.leaf_of().unwrap(), body.asked_kid().unwrap())
    };
    packaged.leaves.iter().map(pair).collect()
}

#[tokio::test]
async fn each_period_has_keys_of_its_own_which_stay_whoever_asks() {
    let mut world = World::new().await;
    let recipient = world.recipient().await;
    let mut one = world.packager(1, &Suite::ALL).await;
    let body = live(&mut one, &recipient, (7, 4), media());
    let first = ask(&world, &mut one, &body).await.unwrap();
    let places: Vec<_> = placed(&first)
        .into_keys()
        .map(|(period, _)| period.unwrap())
        .collect();
    assert_eq!(places, [7, 7, 8, 8, 9, 9, 10, 10]);
    assert_eq!((first.body.roots.as_deref(), first.leaves.len()), (None, 0));

    world.reopen().await;
    let mut two = world.packager(2, &[Suite::P256]).await;
    let recipient = world.recipient().await;
    let body = live(&mut two, &recipient, (9, 4), media());
    let second = ask(&world, &mut two, &body).await.unwrap();
    let (first, second) = (placed(&first), placed(&second));
    let both: BTreeSet<_> = first.keys().filter(|place| second.contains_key(*place)).collect();
    assert_eq!(both.len(), 4);
    assert!(both.iter().all(|place| first[*place] == second[*place]));
    // And none is another's, nor that of the content without periods.
    let body = request(&mut two, &recipient, "news", media());
    let without = ask(&world, &mut two, &body).await.unwrap();
    let all: BTreeSet<_> = first
        .values()
        .chain(second.values())
        .copied()
        .chain(without.pairs())
        .collect();
    let kids: BTreeSet<_> = all.iter().map(|(kid, _)| kid).collect();
    let keys: BTreeSet<_> = all.iter().map(|(_, key)| key).collect();
    assert_eq!((all.len(), kids.len(), keys.len()), (14, 14, 14));
    for (kid, key) in all {
        let registered = world.server.content_key_for_packaging(kid).await.unwrap();
        assert_eq!(registered.key.expose(), &key);
    }
    // Drawn, and not counted up: nobody who knows one knows the next.
    let numbers: Vec<u128> = first
        .values()
        .map(|(kid, _)| u128::from_be_bytes(*kid.as_bytes()))
        .collect();
    let near = numbers
        .iter()
        .flat_map(|one| numbers.iter().map(|two| one.abs_diff(*two)));
    assert!(near.filter(|apart| *apart > 0).min().unwrap() > 1 << 64);
}

#[tokio::test]
async fn there_is_a_leaf_for_each_key_under_each_root_but_what_is_blacked_out() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let roots = roots(&world, 2).await;
    world.server.black_out(roots[1], "news", 2, None).await.unwrap();
    let mut packager = world.packager(1, &Suite::ALL).await;
    let body = live(&mut packager, &recipient, (1, 3), media());
    let packaged = ask(&world, &mut packager, &body).await.unwrap();
    let kids = packaged.kids();
    let expected: BTreeSet<_> = kids
        .iter()
        .map(|kid| (roots[0], *kid))
        .chain(kids[..2].iter().map(|kid| (roots[1], *kid)))
        .collect();
    assert_eq!(leaves(&packaged), expected);
    assert_eq!(packaged.body.roots, Some(roots.clone()));
    // Not wanted, not made; the roots are named all the same.
    let body = PackagingRequest {
        leaves: None,
        ..live(&mut packager, &recipient, (1, 3), media())
    };
    let without = ask(&world, &mut packager, &body).await.unwrap();
    assert_eq!(
        (without.leaves.len(), without.body.roots),
        (0, Some(roots.clone()))
    );
    assert_eq!(world.count("SELECT count(*) FROM packaged_leaves").await, 8);
    // A window that is over is no root of what comes.
    let over = Periods {
        from: None,
        to: Some(3),
    };
    world
        .server
        .put_content_under_root(roots[0], "news", over)
        .await
        .unwrap();
    let body = live(&mut packager, &recipient, (3, 1), media());
    let later = ask(&world, &mut packager, &body).await.unwrap();
    assert_eq!((later.body.roots, later.leaves.len()), (Some(vec![roots[1]]), 0));
    let text = world.server.metrics().await.unwrap();
    assert!(
        text.contains("keyward_chain_licenses_total{kind=\"packaged-leaf\"} 8"),
        "{text}"
    );
}

#[tokio::test]
async fn content_without_periods_has_leaves_too_and_a_single_key_under_a_root() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let roots = roots(&world, 1).await;
    let single = world.server.create_root(NewRoot::new("single")).await.unwrap();
    let mut packager = world.packager(1, &Suite::ALL).await;
    let body = PackagingRequest {
        leaves: Some(Flag),
        ..request(&mut packager, &recipient, "news", media())
    };
    let packaged = ask(&world, &mut packager, &body).await.unwrap();
    let kids = packaged.kids();
    let of_all = kids.iter().map(|kid| (roots[0], *kid));
    assert_eq!(leaves(&packaged), of_all.clone().collect());
    assert!(packaged.body.content_header.is_some());
    world.server.put_key_under_root(single, kids[1]).await.unwrap();
    let body = PackagingRequest {
        leaves: Some(Flag),
        ..request(&mut packager, &recipient, "news", media())
    };
    let packaged = ask(&world, &mut packager, &body).await.unwrap();
    assert_eq!(leaves(&packaged), of_all.chain([(single, kids[1])]).collect());
    assert_eq!(packaged.body.roots.map(|roots| roots.len()), Some(2));
}

#[tokio::test]
async fn a_key_for_a_higher_level_than_the_roots_has_no_leaf() {
    let mut world = World::new().await;
    let path = world.dir().join("operator.toml");
    let toml = std::fs::read_to_string(&path).unwrap();
    let (unset, set) = (
        "# minimum_security_levels = {}",
        "minimum_security_levels = { video = 3000, audio = 2000 }",
    );
    assert!(toml.contains(unset));
    std::fs::write(&path, toml.replace(unset, set)).unwrap();
    world.reopen().await;
    let recipient = world.recipient().await;
    let new = NewRoot {
        minimum_security_level: Some(2000),
        ..NewRoot::new("hd")
    };
    let hd = world.server.create_root(new).await.unwrap();
    world
        .server
        .put_content_under_root(hd, "news", Periods::ALL)
        .await
        .unwrap();
    let mut packager = world.packager(1, &Suite::ALL).await;
    let body = live(&mut packager, &recipient, (0, 2), media());
    let packaged = ask(&world, &mut packager, &body).await.unwrap();
    let kids = packaged.kids();
    assert_eq!(leaves(&packaged), BTreeSet::from([(hd, kids[1]), (hd, kids[3])]));
    for leaf in &packaged.leaves {
        assert_eq!(leaf.body().minimum_security_level, Some(2000));
    }
    let refused = world.server.put_content_under_root(
        hd,
        "news",
        Periods {
            from: Some(1),
            to: None,
        },
    );
    assert!(matches!(refused.await, Err(keyward_server::Error::AboveRoot { kid, .. }) if kid == kids[2]));
    let later = Periods {
        from: Some(2),
        to: None,
    };
    assert!(
        world
            .server
            .put_content_under_root(hd, "news", later)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_crash_between_record_and_sign_repeats_the_same_leaves() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let roots = roots(&world, 2).await;
    let mut packager = world.packager(1, &Suite::ALL).await;
    let body = live(&mut packager, &recipient, (0, 3), media());
    let first = ask(&world, &mut packager, &body).await.unwrap();
    // As if the server had died after the commit: recorded, not signed. What changes later changes nothing of it.
    world.sql("UPDATE packagings SET answer = NULL").await;
    world
        .server
        .take_content_off_root(roots[0], "news")
        .await
        .unwrap();
    world.server.black_out(roots[1], "news", 0, None).await.unwrap();
    let again = ask(&world, &mut packager, &body).await.unwrap();
    assert_eq!((again.pairs(), &again.body), (first.pairs(), &first.body));
    let ids =
        |packaged: &Packaged| -> Vec<_> { packaged.leaves.iter().map(|leaf| leaf.body().clone()).collect() };
    assert_eq!((ids(&again), again.leaves.len()), (ids(&first), 12));
    // A new request is decided anew.
    let body = live(&mut packager, &recipient, (0, 3), media());
    let anew = ask(&world, &mut packager, &body).await.unwrap();
    assert_eq!(
        (anew.leaves.len(), anew.body.roots.as_deref()),
        (0, Some(&roots[1..]))
    );
    assert_eq!(anew.pairs(), first.pairs());
}

#[tokio::test]
async fn many_packagers_at_once_get_one_set_of_keys_for_each_period() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let roots = roots(&world, 1).await;
    let other = Server::open(&world.dir(), KekSource::File, world.clock.clone())
        .await
        .unwrap();
    let mut tasks = Vec::new();
    for seed in 1..=6 {
        let mut packager = world.packager(seed, &[Suite::P256]).await;
        let body = live(&mut packager, &recipient, (u64::from(seed) / 2, 4), media());
        let message = sealed(&mut packager, &recipient, &body);
        let server = if seed % 2 == 0 {
            world.server.clone()
        } else {
            other.clone()
        };
        let answer = tokio::spawn(async move { server.package(&message).await });
        tasks.push((packager, body, answer));
    }
    let mut all = BTreeMap::new();
    for (packager, body, answer) in tasks {
        let packaged = read(&world, &packager, &body, &answer.await.unwrap().unwrap());
        assert_eq!(
            leaves(&packaged),
            packaged.kids().iter().map(|kid| (roots[0], *kid)).collect()
        );
        for (place, key) in placed(&packaged) {
            assert_eq!(*all.entry(place.clone()).or_insert(key), key, "{place:?}");
        }
    }
    other.close().await;
    // Periods 0 to 6, two tracks each.
    assert_eq!(all.len(), 14);
    assert_eq!(world.count("SELECT count(*) FROM tracks").await, 14);
    assert_eq!(
        world.count("SELECT count(*) FROM keys").await,
        15,
        "a key was registered for nothing"
    );
    assert_eq!(world.count("SELECT count(*) FROM packaged_leaves").await, 48);
}

#[tokio::test]
async fn so_many_leaves_come_with_an_answer_and_no_more() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    roots(&world, MAX_LEAVES / MAX_PERIOD_TRACKS).await;
    let mut packager = world.packager(1, &Suite::ALL).await;
    let most = u64::try_from(MAX_PERIOD_TRACKS).unwrap();
    let tracks = || vec![track("video", KeyType::CencCtr)];
    let body = live(&mut packager, &recipient, (0, most), tracks());
    let packaged = ask(&world, &mut packager, &body).await.unwrap();
    assert_eq!(
        (packaged.keys.len(), packaged.leaves.len()),
        (MAX_PERIOD_TRACKS, MAX_LEAVES)
    );
    let more = world.server.create_root(NewRoot::new("one more")).await.unwrap();
    world
        .server
        .put_content_under_root(more, "news", Periods::ALL)
        .await
        .unwrap();
    let body = live(&mut packager, &recipient, (0, most), tracks());
    let refused = send(&world, &mut packager, &body).await.unwrap_err();
    assert_eq!(
        (refused.code, &refused.detail[..]),
        (105, "the request is for more than 1024 leaf licenses")
    );
    // Without leaves, or fewer periods, it goes on.
    let body = PackagingRequest {
        leaves: None,
        ..live(&mut packager, &recipient, (0, most), tracks())
    };
    assert!(ask(&world, &mut packager, &body).await.is_ok());
    let body = live(&mut packager, &recipient, (0, 204), tracks());
    assert_eq!(
        ask(&world, &mut packager, &body).await.unwrap().leaves.len(),
        1020
    );
}

/// V-073
#[tokio::test]
async fn v_073_periods_have_no_header_and_are_bounded() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let mut packager = world.packager(1, &Suite::ALL).await;
    let last = (1 << 48) - 1;
    for (periods, first, header, refused) in [
        (Some(1), Some(0), false, None),
        (Some(128), Some(0), false, None),
        (Some(129), Some(0), false, Some(101)),
        (Some(0), Some(0), false, Some(101)),
        (Some(u64::MAX), Some(0), false, Some(101)),
        (Some(1), None, false, Some(101)),
        (None, Some(0), false, Some(101)),
        (Some(1), Some(last), false, None),
        (Some(2), Some(last), false, Some(101)),
        (Some(1), Some(u64::MAX), false, Some(101)),
        (Some(1), Some(0), true, Some(601)),
        (None, None, true, None),
    ] {
        let body = PackagingRequest {
            content_header: header,
            crypto_periods: periods,
            first_period: first,
            ..request(&mut packager, &recipient, "film", media())
        };
        let told = match refused {
            None => ask(&world, &mut packager, &body)
                .await
                .map(drop)
                .err()
                .map(|problem| problem.code),
            Some(_) => Some(code(&world, &mut packager, &body).await),
        };
        assert_eq!(told, refused, "{periods:?} {first:?} {header}");
    }
}
