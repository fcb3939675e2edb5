//! Content, key exchange and roots share no key id and no value, whichever comes first.

use keyward_crypto::{
    ContentKey, SecretBytes,
    exchange::{Algorithm, Operation},
};
use keyward_server::{Error, key_exchange, roots::NewRoot};

use super::*;

fn exchange(kid: Option<Kid>, algorithm: Algorithm) -> key_exchange::NewKey {
    key_exchange::NewKey {
        kid,
        ..key_exchange::NewKey::new("meters", algorithm, Operation::Decrypt)
    }
}

fn root_of(kid: Kid) -> NewRoot {
    NewRoot {
        kid: Some(kid),
        ..NewRoot::new("another")
    }
}

#[tokio::test]
async fn a_key_id_is_of_one_space_for_good() {
    let world = world().await;
    let server = &world.server;
    let meters = Kid::new([0x4d; 16]);
    server
        .create_exchange_key(exchange(Some(meters), Algorithm::A128Gcm))
        .await
        .unwrap();
    assert!(matches!(
        server.create_root(root_of(KID)).await,
        Err(Error::KidOfContent(_))
    ));
    assert!(matches!(
        server.create_root(root_of(meters)).await,
        Err(Error::KidOfExchange(_))
    ));
    assert!(matches!(
        server.create_root(root_of(ROOT)).await,
        Err(Error::KidOfRoot(_))
    ));
    let refused = server.register_key(ROOT, KeyType::File, 1).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        format!("the key id {ROOT} is a root's")
    );
    let key = ContentKey::new([1; 16]);
    let refused = server.import_key(ROOT, KeyType::File, &key).await;
    assert!(matches!(refused, Err(Error::KidOfRoot(_))));
    let refused = server.create_exchange_key(exchange(Some(ROOT), Algorithm::A128Gcm));
    assert!(matches!(refused.await, Err(Error::KidOfRoot(_))));
    assert!(matches!(
        server.content_key_for_packaging(ROOT).await,
        Err(Error::KidUnknown(_))
    ));
    let refused = server.create_root(NewRoot::new("sport")).await.unwrap_err();
    assert_eq!(refused.to_string(), "there is a root `sport` already");
    assert_eq!(server.roots().await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_value_of_a_root_serves_nothing_else() {
    let world = granted().await;
    let server = &world.server;
    let mut device = world.device(1).await;
    let response = ask(&world, &mut device, &[ROOT]).await;
    let (_, key) = open_root(&world, &device, &response.results[0]);
    let (first, second) = key.expose().split_at(16);
    let film = Kid::new([0xf1; 16]);
    for half in [first, second] {
        let half = ContentKey::from_slice(half).unwrap();
        let refused = server.import_key(film, KeyType::CencCtr, &half).await;
        assert_eq!(
            refused.unwrap_err().to_string(),
            format!("the value for key id {film}, or a part of it, is the key of a root")
        );
    }
    let value = |bytes: &[u8]| SecretBytes::new(bytes.to_vec());
    for (algorithm, value) in [
        (Algorithm::A256Gcm, value(key.expose())),
        (Algorithm::A128Gcm, value(second)),
        (Algorithm::A256Gcm, value(&[&[7; 16], first].concat())),
    ] {
        let refused = server
            .import_exchange_key(exchange(None, algorithm), &value)
            .await;
        assert!(matches!(refused, Err(Error::KeyOfRoot(_))));
    }
    assert!(server.exchange_keys().await.unwrap().is_empty());
}

#[tokio::test]
async fn roots_have_keys_of_their_own() {
    let world = world().await;
    let mut device = world.device(1).await;
    let mut keys = std::collections::BTreeSet::new();
    for number in 0..5 {
        let kid = world
            .server
            .create_root(NewRoot::new(format!("root {number}")))
            .await
            .unwrap();
        grant(&world, ACCOUNT, kid).await;
        let response = ask(&world, &mut device, &[kid]).await;
        keys.insert((kid, *open_root(&world, &device, &response.results[0]).1.expose()));
    }
    let values: std::collections::BTreeSet<_> = keys.iter().map(|(_, key)| *key).collect();
    assert_eq!((keys.len(), values.len()), (5, 5));
}

/// The schema keeps the spaces apart on its own, and roots as they are.
#[tokio::test]
async fn the_schema_keeps_the_spaces_apart() {
    let world = world().await;
    world
        .server
        .create_exchange_key(exchange(None, Algorithm::A128Gcm))
        .await
        .unwrap();
    world
        .server
        .put_content_under_root(ROOT, "news", keyward_server::roots::Periods::ALL)
        .await
        .unwrap();
    let kids = periods(&world, "news", 0, 1).await;
    assert_eq!(kids.len(), 1);
    let pool = world.pool().await;
    for (statement, why) in [
        (
            "INSERT INTO keys (kid, key_type, seed, fingerprint, created_at)
             SELECT kid, 1, 1, randomblob(32), 0 FROM roots",
            "the key id is a root's",
        ),
        (
            "INSERT INTO keys (kid, key_type, seed, fingerprint, created_at)
             SELECT randomblob(16), 1, 1, fingerprint, 0 FROM root_fingerprints",
            "the key is a root's",
        ),
        (
            "INSERT INTO exchange_keys (kid, name, algorithm, operation, created_at)
             SELECT kid, 'x', 1, 3, 0 FROM roots",
            "the key id is a root's",
        ),
        (
            "INSERT INTO exchange_fingerprints (fingerprint, kid, version)
             SELECT r.fingerprint, v.kid, v.version FROM root_fingerprints r, exchange_key_versions v",
            "the key is a root's",
        ),
        (
            "INSERT INTO roots SELECT kid, 'x', x'00', NULL, 0, 0 FROM keys",
            "the key id is registered already",
        ),
        (
            "INSERT INTO roots SELECT kid, 'x', x'00', NULL, 0, 0 FROM exchange_keys",
            "the key id is registered already",
        ),
        (
            "INSERT INTO root_fingerprints SELECT k.fingerprint, r.kid FROM keys k, roots r",
            "the key serves content or key exchange",
        ),
        (
            "INSERT INTO root_fingerprints SELECT e.fingerprint, r.kid FROM exchange_fingerprints e, roots r",
            "the key serves content or key exchange",
        ),
        (
            "UPDATE roots SET minimum_security_level = 150",
            "a root stays as it was made",
        ),
        ("DELETE FROM roots", "a root stays"),
        ("DELETE FROM root_fingerprints", "known as one for good"),
        ("DELETE FROM tracks", "a track keeps its key id"),
        ("UPDATE tracks SET period = 7", "a track keeps its key id"),
        (
            "INSERT INTO root_contents SELECT kid, 'x', 5, 5, 0 FROM roots",
            "CHECK constraint failed",
        ),
        (
            "INSERT INTO blackouts SELECT 9, kid, 'x', 5, 5, 0 FROM roots",
            "CHECK constraint failed",
        ),
        (
            "INSERT INTO channels VALUES ('x', 60, NULL, 46, 0)",
            "CHECK constraint failed",
        ),
        (
            "INSERT INTO root_keys SELECT kid, kid, 0 FROM roots",
            "FOREIGN KEY constraint failed",
        ),
    ] {
        let refused = sqlx::query(statement).execute(&pool).await.unwrap_err();
        assert!(refused.to_string().contains(why), "{why}: {refused}");
    }
}
