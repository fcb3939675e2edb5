//! License key seeds.

use keyward_crypto::{SecretBytes, seed::LicenseKeySeed};
use keyward_license::{ids::Kid, license::KeyType};
use keyward_server::{danger, vault::Source};

use super::*;

/// Packages a piece of content, and returns its key ids with their keys and the seed that each derives from.
async fn package(world: &World, packager: &mut Device, content: &str) -> Vec<(Kid, [u8; 16], Source)> {
    let recipient = world.recipient().await;
    let body = asking::request(packager, &recipient, content, asking::media());
    let answer = asking::send(world, packager, &body).await.unwrap();
    let mut packaged = Vec::new();
    for (kid, key) in asking::read(world, packager, &body, &answer).pairs() {
        let registered = world.server.registered_key(kid).await.unwrap().unwrap();
        packaged.push((kid, key, registered.source));
    }
    packaged
}

#[tokio::test]
async fn new_tracks_derive_from_the_newest_seed_and_old_ones_keep_their_keys() {
    let mut world = World::new().await;
    let mut packager = world.packager(1, &Suite::ALL).await;
    let before = package(&world, &mut packager, "film").await;
    let imported = world
        .server
        .import_seed(SecretBytes::new(vec![9; 40]))
        .await
        .unwrap();
    let rolled = world.server.roll_seed().await.unwrap();
    assert_eq!((imported, rolled.number, rolled.used), (2, 3, true));
    for _ in 0..2 {
        assert_eq!(package(&world, &mut packager, "film").await, before);
        let after = package(&world, &mut packager, "series").await;
        let seed = danger::export_seed(&world.server, 3).await.unwrap();
        let seed = LicenseKeySeed::new(seed.expose()).unwrap();
        for (kid, key, source) in after {
            assert_eq!(source, Source::Seed(3));
            assert_eq!(&key, seed.derive(kid.as_bytes()).expose());
        }
        world.reopen().await;
    }
    assert!(before.iter().all(|(_, _, source)| *source == Source::Seed(1)));
    // One that was imported is not followed: others have it.
    world
        .server
        .import_seed(SecretBytes::new(vec![8; 40]))
        .await
        .unwrap();
    assert_eq!(world.server.seed_of_new_keys().await.unwrap(), Some(3));
    world
        .server
        .register_key(Kid::new([7; 16]), KeyType::File, 4)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_seed_that_is_named_stays() {
    let mut world = World::new().await;
    let path = world.dir().join("operator.toml");
    let toml = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, toml.replace("# seed = \"newest\"", "seed = 1")).unwrap();
    world.reopen().await;
    let rolled = world.server.roll_seed().await.unwrap();
    assert_eq!((rolled.number, rolled.used), (2, false));
    let mut packager = world.packager(1, &Suite::ALL).await;
    let packaged = package(&world, &mut packager, "film").await;
    assert!(packaged.iter().all(|(_, _, source)| *source == Source::Seed(1)));
}
