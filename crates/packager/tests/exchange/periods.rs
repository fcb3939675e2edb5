//! Keys of crypto periods, and the leaf licenses that come along.

use keyward_crypto::RootKey;
use keyward_license::{
    carrier::{Answer, Outgoing},
    ids::{Kid, Nonce},
    license::{Binding, KeyType, LicenseBody},
    packaging::{PackagingResponse, Periods},
    request::ClientInfo,
    time::Timestamp,
};
use keyward_packager::{
    PackagerError, PeriodSource, TrackKind, TrackSelector,
    exchange::{ExchangeError, ExchangePeriods, Host, TrackData, Wanted},
};
use keyward_testkit::{
    fake_server::key_of,
    pki::{NOW, YEAR},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::{World, film};

/// Three periods of two tracks, under two roots.
fn broadcast() -> Wanted {
    Wanted {
        content_header: false,
        periods: Some(Periods { first: 7, count: 3 }),
        leaves: true,
        ..film()
    }
}

fn under_roots() -> World {
    let mut world = World::new();
    for number in [1, 2] {
        let key = RootKey::random(&mut world.rng);
        world.server.roots.insert(Kid::new([0xf0 | number; 16]), key);
    }
    world
}

#[test]
fn crypto_periods_have_keys_of_their_own_and_leaves_under_each_root() {
    let mut world = under_roots();
    let packager = world.enrolled();
    let data = world.ask(&packager, &broadcast()).unwrap();
    assert_eq!(data.roots, [Kid::new([0xf1; 16]), Kid::new([0xf2; 16])]);
    let places: Vec<_> = data
        .tracks
        .iter()
        .map(|track| (&track.label[..], track.period))
        .collect();
    let wanted = (7..10).flat_map(|period| [("video", Some(period)), ("audio", Some(period))]);
    assert!(places.into_iter().eq(wanted));
    let mut leaves: Vec<_> = data.leaves.iter().map(|leaf| (leaf.kid(), leaf.root())).collect();
    let kids = data
        .tracks
        .iter()
        .flat_map(|track| data.roots.iter().map(|root| (track.kid, *root)));
    let mut wanted: Vec<_> = kids.collect();
    leaves.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(leaves, wanted);
    // The same again, whichever periods they are asked for with.
    let one = Wanted {
        periods: Some(Periods { first: 8, count: 1 }),
        leaves: false,
        ..broadcast()
    };
    let again = world.ask(&packager, &one).unwrap();
    assert!(again.leaves.is_empty());
    let kids = |tracks: &[TrackData]| tracks.iter().map(|track| track.kid).collect::<Vec<_>>();
    assert_eq!(kids(&again.tracks), kids(data.tracks.get(2..4).unwrap()));
}

#[test]
fn v_075_tracks_of_other_periods_are_refused() {
    let changes: [fn(&mut PackagingResponse); 5] = [
        |response| response.tracks.swap(0, 2),
        |response| response.tracks.iter_mut().for_each(|track| track.period = None),
        |response| drop(response.tracks.pop()),
        |response| {
            response
                .tracks
                .iter_mut()
                .for_each(|track| track.period = Some(7))
        },
        |response| response.roots = Some(vec![response.tracks.first().unwrap().kid]),
    ];
    for change in changes {
        let mut world = under_roots();
        let packager = world.enrolled();
        world.server.bent.packaging = Some(Box::new(change));
        let refused = world.ask(&packager, &broadcast()).unwrap_err();
        assert!(matches!(refused, ExchangeError::Tracks(_)), "{refused}");
    }
}

#[test]
fn v_078_a_leaf_license_that_is_none_for_this_content_is_refused() {
    let changes: [fn(&mut LicenseBody); 5] = [
        |leaf| leaf.binding = Binding::root(Kid::new([0xf3; 16])),
        |leaf| leaf.keys.first_mut().unwrap().kid = Kid::new([1; 16]),
        |leaf| leaf.keys.first_mut().unwrap().key_type = KeyType::CencCbc,
        |leaf| (leaf.nonce, leaf.persistent) = (Some(Nonce::new([1; 16])), false),
        |leaf| leaf.issued = NOW.plus(2 * YEAR),
    ];
    for change in changes {
        let mut world = under_roots();
        let packager = world.enrolled();
        world.server.bent.packaging_leaf = Some(Box::new(change));
        let refused = world.ask(&packager, &broadcast()).unwrap_err();
        assert!(matches!(refused, ExchangeError::Leaves(_)), "{refused}");
        assert!(refused.hint().contains("does not follow the protocol"));
    }
    let edits: [fn(&mut Vec<Vec<u8>>); 3] = [
        |leaves| leaves.push(leaves.first().unwrap().clone()),
        |leaves| *leaves.first_mut().unwrap().last_mut().unwrap() ^= 1,
        |leaves| *leaves = vec![vec![0; 3]],
    ];
    for edit in edits {
        let mut world = under_roots();
        let packager = world.enrolled();
        world.server.bent.packaging_leaves = Some(Box::new(edit));
        let refused = world.ask(&packager, &broadcast()).unwrap_err();
        assert!(matches!(refused, ExchangeError::Leaves(_)), "{refused}");
    }
}

/// The keys of a film are fetched as it is packaged, and the leaves ride in it.
#[test]
fn media_is_packaged_with_the_keys_of_the_license_server() {
    let mut world = under_roots();
    let packager = world.enrolled();
    let selected = [TrackKind::Video, TrackKind::Audio].map(TrackSelector::Kind);
    let tracks = selected.into_iter().zip(film().tracks).collect::<Vec<_>>();
    let mut rng = world.rng.clone();
    let mut source =
        ExchangePeriods::new(&packager, "film".into(), tracks.clone(), &mut world, &mut rng).with_leaves();
    assert_eq!(
        source.most(),
        1,
        "how many leaves come with a period is not known yet"
    );
    assert_eq!(source.has_roots(), None);
    assert_eq!(source.license_url(7).unwrap(), "https://license.example");
    assert_eq!((source.most(), source.has_roots()), (60, Some(true)));
    let batch = source.keys(7, 3).unwrap();
    assert_eq!(batch.roots.len(), 2);
    for (period, index) in batch.periods.iter().zip(7..) {
        assert_eq!(
            (period.index, period.keys.len(), period.leaves.len()),
            (index, 2, 4)
        );
        for key in &period.keys {
            assert_eq!(key.key.content_key(key.kid), key_of(key.kid));
            assert_eq!(period.leaves.iter().filter(|leaf| leaf.kid == key.kid).count(), 2);
        }
    }
    assert_eq!(source.at_most(5).most(), 5);
    // Under no root.
    world.server.roots.clear();
    let mut source = ExchangePeriods::new(&packager, "film".into(), tracks.clone(), &mut world, &mut rng);
    assert!(source.keys(7, 1).unwrap().roots.is_empty());
    assert_eq!(source.has_roots(), Some(false));
    // Tracks with one label share a key, which is asked for once.
    let shared = [(TrackSelector::Id(7), tracks[0].1.clone())];
    let shared: Vec<_> = tracks.iter().cloned().chain(shared).collect();
    let mut source = ExchangePeriods::new(&packager, "film".into(), shared, &mut world, &mut rng);
    for period in source.keys(7, 2).unwrap().periods {
        let kids: Vec<Kid> = period.keys.iter().map(|key| key.kid).collect();
        assert!(kids[0] == kids[2] && kids[0] != kids[1] && kids.len() == 3);
        assert_eq!(period.keys[2].tracks, TrackSelector::Id(7));
        assert_eq!(period.keys[2].key.content_key(kids[2]), key_of(kids[2]));
    }
    // A refusal ends the packaging.
    world.server.bent.packaging = Some(Box::new(|response| drop(response.tracks.pop())));
    let mut source = ExchangePeriods::new(&packager, "film".into(), tracks, &mut world, &mut rng);
    assert!(matches!(source.keys(7, 1), Err(PackagerError::Exchange(_))));
}

/// The worker that makes the fragments asks, in a thread of its own.
#[test]
fn a_source_of_keys_goes_to_another_thread() {
    struct Nobody;

    impl Host for Nobody {
        fn now(&self) -> Timestamp {
            NOW
        }

        fn client_info(&self) -> ClientInfo {
            World::new().client_info()
        }

        fn send(&mut self, _: &Outgoing) -> Result<Answer, String> {
            Err("nobody is there".into())
        }
    }

    let packager = World::new().enrolled();
    let (mut host, mut rng) = (Nobody, ChaCha20Rng::from_seed([1; 32]));
    let mut source = ExchangePeriods::new(&packager, "film".into(), Vec::new(), &mut host, &mut rng);
    let source: &mut (dyn PeriodSource + Send) = &mut source;
    let refused =
        std::thread::scope(|scope| scope.spawn(move || source.keys(0, 1).unwrap_err()).join()).unwrap();
    assert_eq!(
        refused.to_string(),
        "cannot reach the license server: nobody is there"
    );
    assert!(!refused.hint().is_empty());
}
