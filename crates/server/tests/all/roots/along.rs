//! What goes along with a leaf: the others of its root, where the root says so.

use std::collections::BTreeSet;

use keyward_license::{
    error_code::ErrorCode,
    license::{KeyType, LicenseKind},
};
use keyward_server::{
    Server,
    handler::{Asked, Decision, HandlerError, LicenseHandler, Rows},
    roots::{MAX_ALONG, NewRoot, Periods},
    sealing::KekSource,
};

use super::*;

const SEASON: Kid = Kid::new([0x5e; 16]);

/// A season of three episodes, of which one is another account's alone.
async fn season() -> (World, [Kid; 3]) {
    let world = world().await;
    let season = NewRoot {
        kid: Some(SEASON),
        accompany: true,
        ..NewRoot::new("season 1")
    };
    world.server.create_root(season).await.unwrap();
    let episodes = [0x31, 0x32, 0x33].map(|byte| Kid::new([byte; 16]));
    for episode in episodes {
        world
            .server
            .register_key(episode, KeyType::File, 1)
            .await
            .unwrap();
        world.server.put_key_under_root(SEASON, episode).await.unwrap();
    }
    grant(&world, ACCOUNT, SEASON).await;
    (world, episodes)
}

fn leaves(world: &World, response: &LicenseResponse) -> BTreeSet<Kid> {
    let leaf = |(kid, kind)| (kind == Ok(LicenseKind::Leaf)).then_some(kid);
    kinds(world, response).into_iter().filter_map(leaf).collect()
}

#[tokio::test]
async fn who_asks_for_one_episode_gets_the_season() {
    let (world, episodes) = season().await;
    let mut device = world.device(1).await;
    let response = ask(&world, &mut device, &episodes[..1]).await;
    assert_eq!(
        response.results[0].kid, episodes[0],
        "what was asked for comes first"
    );
    assert_eq!(response.results.len(), 4);
    let (_, key) = open_root(&world, &device, result(&response, SEASON));
    for episode in episodes {
        let leaf = license(&world, result(&response, episode));
        let expected = world.server.content_key_for_packaging(episode).await.unwrap();
        assert_eq!(&open_leaf(&leaf, &key), expected.key.expose());
    }
    // What is asked for by itself is not there twice.
    let response = ask(&world, &mut device, &[episodes[2], SEASON, episodes[0]]).await;
    assert_eq!(response.results.len(), 4);
    // Who renews the root alone gets it alone.
    let response = ask(&world, &mut device, &[SEASON]).await;
    assert_eq!(kinds(&world, &response), [(SEASON, Ok(LicenseKind::Root))]);
    // And who takes no more gets no more.
    let mut body = request(&world, &mut device, &episodes[..1]).await;
    body.capabilities.more_licenses = None;
    assert_eq!(answered(&world, &mut device, &body).await.results.len(), 1);
}

#[tokio::test]
async fn nothing_goes_along_where_not_the_rows_alone_decide() {
    /// Says of one episode what the rows do not say.
    struct ParentalLock(Kid);
    impl LicenseHandler for ParentalLock {
        async fn decide(&self, asked: &Asked) -> Result<Decision, HandlerError> {
            let mut decision = Rows.decide(asked).await?;
            decision.deny(self.0, ErrorCode::NotEntitled, "not for children", None);
            Ok(decision)
        }
    }
    let (mut world, episodes) = season().await;
    world.server.close().await;
    let (clock, lock) = (world.clock.clone(), ParentalLock(episodes[1]));
    world.server = Server::open_with_handler(&world.dir(), KekSource::File, clock, lock)
        .await
        .unwrap();
    let mut device = world.device(1).await;
    let response = ask(&world, &mut device, &episodes[..1]).await;
    assert_eq!(leaves(&world, &response), BTreeSet::from([episodes[0]]));
    assert_eq!(response.results.len(), 2, "its root does");
}

/// The rate counts real seconds: a machine that stood still between the two requests gave a turn back. Then another
/// device asks.
#[tokio::test]
async fn what_goes_along_counts_in_the_devices_rate() {
    let (mut world, episodes) = season().await;
    let slow = [
        ("# device_rate = 10", "device_rate = 1"),
        ("# device_burst = 100", "device_burst = 3"),
    ];
    crate::surroundings::configure(&mut world, &slow).await;
    for seed in 1..=20 {
        let mut device = world.device(seed).await;
        let mut sizes = Vec::new();
        for _ in 0..2 {
            sizes.push(ask(&world, &mut device, &episodes[..1]).await.results.len());
        }
        match sizes[..] {
            // The second time there is a turn for what was asked for, and none for more.
            [4, 2] => return,
            [4, 4] => {}
            _ => panic!("{sizes:?}"),
        }
    }
    panic!("what goes along costs nothing");
}

#[tokio::test]
async fn what_the_device_cannot_use_or_is_of_periods_does_not_go_along() {
    let (world, episodes) = season().await;
    let server = &world.server;
    // A film by its content id, a channel, and a key that the client has no use for.
    for content_id in ["film", "news"] {
        server
            .put_content_under_root(SEASON, content_id, Periods::ALL)
            .await
            .unwrap();
    }
    let news = periods(&world, "news", 0, 3).await;
    server.put_key_under_root(SEASON, news[0]).await.unwrap();
    let mut packager = world.packager(9, &keyward_crypto::hpke::Suite::ALL).await;
    let recipient = world.recipient().await;
    let body = asking::request(&mut packager, &recipient, "film", asking::media());
    let film = asking::ask(&world, &mut packager, &body).await.unwrap().kids();
    let other = Kid::new([0x41; 16]);
    server.register_key(other, KeyType::CencCbc, 1).await.unwrap();
    server.put_key_under_root(SEASON, other).await.unwrap();

    let mut device = world.device(1).await;
    let mut body = request(&world, &mut device, &episodes[..1]).await;
    body.capabilities
        .key_types
        .retain(|key_type| *key_type != KeyType::CencCbc.number());
    let response = answered(&world, &mut device, &body).await;
    let expected: BTreeSet<Kid> = episodes.into_iter().chain(film).collect();
    assert_eq!(leaves(&world, &response), expected);
}

#[tokio::test]
async fn a_key_that_went_off_the_root_or_above_it_does_not_go_along() {
    let (world, episodes) = season().await;
    world.server.take_key_off_root(SEASON, episodes[1]).await.unwrap();
    world
        .server
        .register_key_of_level(episodes[2], KeyType::File, 1, Some(2000))
        .await
        .unwrap();
    let mut device = world.device(1).await;
    let response = ask(&world, &mut device, &episodes[..1]).await;
    assert_eq!(leaves(&world, &response), BTreeSet::from([episodes[0]]));
}

#[tokio::test]
async fn no_more_go_along_than_may() {
    let (world, episodes) = season().await;
    world
        .sql(
            "WITH RECURSIVE many (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < 600)
             INSERT INTO keys (kid, key_type, seed, fingerprint, created_at)
             SELECT unhex(printf('%032x', n)), 3, 1, randomblob(32), 0 FROM many",
        )
        .await;
    world
        .sql(
            "INSERT INTO root_keys SELECT unhex('5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e'), kid, 0 FROM keys
             WHERE created_at = 0",
        )
        .await;
    let mut device = world.device(1).await;
    let response = ask(&world, &mut device, &[episodes[0]]).await;
    assert_eq!(leaves(&world, &response).len(), 1 + MAX_ALONG);
    assert_eq!(response.results.len(), 2 + MAX_ALONG);
    assert_eq!(
        world.count("SELECT count(*) FROM issued").await,
        2 + i64::try_from(MAX_ALONG).unwrap()
    );
    let text = world.server.metrics().await.unwrap();
    assert!(
        text.contains("keyward_chain_licenses_total{kind=\"leaf\"} 513"),
        "{text}"
    );
    assert!(text.contains("keyward_chain_licenses_total{kind=\"root\"} 1"));
}
