//! Content and key exchange share no key id and no value, whichever comes first.

use keyward_crypto::{
    ContentKey, SecretBytes,
    exchange::{Algorithm, Operation},
    seed::LicenseKeySeed,
};
use keyward_license::{ids::Kid, license::KeyType};
use keyward_server::{
    Error, danger,
    key_exchange::{Destroy, NewKey},
};

use super::{METERS, new_key, told, value, world_with};
use crate::common::{KID, World};

const FILM: Kid = Kid::new([0xf1; 16]);

fn key(algorithm: Algorithm) -> NewKey {
    NewKey::new("meters", algorithm, algorithm.operations()[0])
}

#[tokio::test]
async fn a_key_id_is_of_one_space_for_good() {
    let world = world_with(Algorithm::A256Gcm, Operation::Decrypt).await;
    let server = &world.server;
    let content = format!("the key id {KID} is registered for content");
    let gcm = |kid| new_key(kid, Algorithm::A256Gcm, Operation::Decrypt);
    assert_eq!(told(server.create_exchange_key(gcm(KID)).await), content);
    let imported = server.import_exchange_key(gcm(KID), &value(7, 32)).await;
    assert_eq!(told(imported), content);
    let exchange = format!("the key id {METERS} is registered for key exchange");
    assert_eq!(
        told(server.register_key(METERS, KeyType::File, 1).await),
        exchange
    );
    let film = ContentKey::new([1; 16]);
    let imported = server.import_key(METERS, KeyType::CencCtr, &film).await;
    assert_eq!(told(imported), exchange);
    server.destroy_exchange_key(METERS, Destroy::All).await.unwrap();
    assert_eq!(
        told(server.register_key(METERS, KeyType::File, 1).await),
        exchange
    );
    assert!(server.registered_key(METERS).await.unwrap().is_none());
    assert!(server.content_key_for_packaging(METERS).await.is_err());
}

#[tokio::test]
async fn a_value_of_content_is_no_exchange_key_nor_a_part_of_one() {
    let world = World::new().await;
    let server = &world.server;
    let film = ContentKey::new([0xab; 16]);
    server.import_key(FILM, KeyType::CencCtr, &film).await.unwrap();
    let halves = |first: u8, second: u8| SecretBytes::new([[first; 16], [second; 16]].concat());
    let four = |place: usize| {
        let mut blocks = [[1; 16], [2; 16], [3; 16], [4; 16]];
        blocks[place] = [0xab; 16];
        SecretBytes::new(blocks.concat())
    };
    let refused = [
        (Algorithm::A128Gcm, value(0xab, 16)),
        (Algorithm::A128Kw, value(0xab, 16)),
        (Algorithm::A256Gcm, halves(0xab, 1)),
        (Algorithm::Ed25519, halves(1, 0xab)),
        (Algorithm::HmacSha512, four(0)),
        (Algorithm::HmacSha512, four(3)),
    ];
    for (algorithm, value) in refused {
        let result = server.import_exchange_key(key(algorithm), &value).await;
        assert!(matches!(result, Err(Error::KeyOfContent(_))), "{algorithm}");
    }
    let kid = server.create_exchange_key(key(Algorithm::A256Gcm)).await.unwrap();
    let rotated = server.rotate_exchange_key_to(kid, &halves(0xab, 2)).await;
    assert!(matches!(rotated, Err(Error::KeyOfContent(_))));
    assert_eq!(server.exchange_key(kid).await.unwrap().versions.len(), 1);
    let made = world.count("SELECT count(*) FROM exchange_keys").await;
    assert_eq!(made, 1, "what was refused left nothing behind");
}

#[tokio::test]
async fn a_value_of_key_exchange_is_no_content_key_nor_a_part_of_it() {
    let world = World::new().await;
    let server = &world.server;
    let whole = SecretBytes::new([[5; 16], [6; 16]].concat());
    let kid = server
        .import_exchange_key(key(Algorithm::A256Gcm), &whole)
        .await
        .unwrap();
    server
        .import_exchange_key(key(Algorithm::A128Gcm), &value(7, 16))
        .await
        .unwrap();
    for half in [5, 6, 7] {
        let film = ContentKey::new([half; 16]);
        let result = server.import_key(FILM, KeyType::CencCtr, &film).await;
        assert!(matches!(result, Err(Error::KeyOfExchange(_))), "{half}");
    }
    // Destroyed, it does not come back either, on any way.
    server.rotate_exchange_key(kid).await.unwrap();
    server
        .destroy_exchange_key(kid, Destroy::Version(1))
        .await
        .unwrap();
    let film = ContentKey::new([5; 16]);
    let result = server.import_key(FILM, KeyType::CencCtr, &film).await;
    assert!(matches!(result, Err(Error::KeyOfExchange(_))));
    let again = server.rotate_exchange_key_to(kid, &whole).await;
    assert!(matches!(again, Err(Error::KeyOfExchange(_))));
    let other = server.import_exchange_key(key(Algorithm::A256Kw), &whole).await;
    assert!(matches!(other, Err(Error::KeyOfExchange(_))));
    let half = server
        .import_exchange_key(key(Algorithm::A128Ctr), &value(6, 16))
        .await;
    assert!(matches!(half, Err(Error::KeyOfExchange(_))));
}

/// The derived key of a key id that is registered is as much a key of content as one that was imported.
#[tokio::test]
async fn a_derived_key_is_no_exchange_key_in_either_order() {
    let world = World::new().await;
    let server = &world.server;
    let seed = danger::export_seed(server, 1).await.unwrap();
    let seed = LicenseKeySeed::new(seed.expose()).unwrap();
    let derived = |kid: Kid| SecretBytes::new(seed.derive(kid.as_bytes()).expose().to_vec());
    let taken = server
        .import_exchange_key(key(Algorithm::A128Gcm), &derived(KID))
        .await;
    assert!(matches!(taken, Err(Error::KeyOfContent(_))));
    // One that is not registered is free, and is then taken.
    server
        .import_exchange_key(key(Algorithm::A128Gcm), &derived(FILM))
        .await
        .unwrap();
    let registered = server.register_key(FILM, KeyType::File, 1).await;
    assert!(matches!(registered, Err(Error::KeyOfExchange(_))));
    assert!(server.registered_key(FILM).await.unwrap().is_none());
}

/// The schema keeps the spaces apart on its own.
#[tokio::test]
async fn the_schema_keeps_the_spaces_apart() {
    let world = world_with(Algorithm::A128Gcm, Operation::Decrypt).await;
    let pool = world.pool().await;
    for (statement, why) in [
        (
            "INSERT INTO keys (kid, key_type, seed, fingerprint, created_at)
             SELECT kid, 1, 1, randomblob(32), 0 FROM exchange_keys",
            "the key id is registered for key exchange",
        ),
        (
            "INSERT INTO keys (kid, key_type, seed, fingerprint, created_at)
             SELECT randomblob(16), 1, 1, fingerprint, 0 FROM exchange_fingerprints",
            "the key serves key exchange, or did",
        ),
        (
            "INSERT INTO exchange_keys (kid, name, algorithm, operation, created_at)
             SELECT kid, 'x', 1, 3, 0 FROM keys",
            "the key id is registered for content",
        ),
        (
            "INSERT INTO exchange_fingerprints (fingerprint, kid, version)
             SELECT k.fingerprint, v.kid, v.version FROM keys k, exchange_key_versions v",
            "the key serves content",
        ),
        (
            "INSERT INTO issued (license, answer, kid, policy, policy_version, body, sealed)
             VALUES (randomblob(16), 1, randomblob(16), 'p', 1, x'00', x'00')",
            "a license names a registered key id",
        ),
    ] {
        let refused = sqlx::query(statement).execute(&pool).await.unwrap_err();
        assert!(refused.to_string().contains(why), "{why}: {refused}");
    }
}
