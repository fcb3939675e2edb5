//! The story of an exchange key, and what is refused of it.

use keyward_crypto::exchange::{Algorithm, Operation};
use keyward_license::ids::Kid;
use keyward_server::{
    Error,
    key_exchange::{Destroy, KeyState, NewKey},
};

use super::{METERS, new_key, told, value, world_with};
use crate::common::World;

#[tokio::test]
async fn a_key_is_made_rotated_disabled_and_destroyed() {
    let mut world = world_with(Algorithm::A256Gcm, Operation::Decrypt).await;
    let server = &world.server;
    for expected in 2..=4 {
        assert_eq!(server.rotate_exchange_key(METERS).await.unwrap(), expected);
    }
    server.set_exchange_minimum_version(METERS, 2).await.unwrap();
    server.set_exchange_minimum_version(METERS, 1).await.unwrap();
    server
        .destroy_exchange_key(METERS, Destroy::Version(1))
        .await
        .unwrap();
    let key = server.exchange_key(METERS).await.unwrap();
    assert_eq!(key.minimum_version, 2, "it stands at a version that is there");
    assert!(server.set_exchange_minimum_version(METERS, 1).await.is_err());
    server.set_exchange_minimum_version(METERS, 4).await.unwrap();
    server
        .destroy_exchange_key(METERS, Destroy::Version(2))
        .await
        .unwrap();
    let lowered = server.set_exchange_minimum_version(METERS, 2).await;
    assert!(matches!(lowered, Err(Error::OutOfRange { .. })));
    server.set_exchange_minimum_version(METERS, 3).await.unwrap();
    server.disable_exchange_key(METERS).await.unwrap();
    server.disable_exchange_key(METERS).await.unwrap();
    assert_eq!(
        server.exchange_key(METERS).await.unwrap().state,
        KeyState::Disabled
    );
    server.enable_exchange_key(METERS).await.unwrap();
    server
        .set_exchange_minimum_level(METERS, Some(3000))
        .await
        .unwrap();

    world.reopen().await;
    let server = &world.server;
    let key = server.exchange_key(METERS).await.unwrap();
    assert_eq!((key.state, key.minimum_version), (KeyState::Enabled, 3));
    assert_eq!(key.minimum_security_level, Some(3000));
    let versions: Vec<_> = key
        .versions
        .iter()
        .map(|one| (one.version, one.destroyed))
        .collect();
    assert_eq!(versions, [(4, false), (3, false), (2, true), (1, true)]);

    server.destroy_exchange_key(METERS, Destroy::All).await.unwrap();
    server.destroy_exchange_key(METERS, Destroy::All).await.unwrap();
    let sealed = "SELECT count(*) FROM exchange_key_versions WHERE sealed IS NOT NULL";
    assert_eq!(world.count(sealed).await, 0);
    let gone = format!("exchange key {METERS} was destroyed");
    assert_eq!(told(server.rotate_exchange_key(METERS).await), gone);
    assert_eq!(told(server.enable_exchange_key(METERS).await), gone);
    assert_eq!(told(server.disable_exchange_key(METERS).await), gone);
    assert_eq!(told(server.set_exchange_minimum_version(METERS, 4).await), gone);
    assert_eq!(told(server.set_exchange_minimum_level(METERS, None).await), gone);
    for (kind, count) in [
        ("created", 1),
        ("rotated", 3),
        ("minimum-set", 4),
        ("destroyed", 3),
        ("disabled", 1),
        ("enabled", 1),
        ("level-set", 1),
    ] {
        let pool = world.pool().await;
        let found: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE kind = ?1 AND subject = ?2")
            .bind(format!("exchange-key-{kind}"))
            .bind(METERS.to_string())
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(found, count, "{kind}");
    }
}

#[tokio::test]
async fn every_algorithm_is_made_and_taken_over_for_each_of_its_operations() {
    let world = World::new().await;
    let server = &world.server;
    for (number, algorithm) in (1_u8..).zip(Algorithm::ALL) {
        for operation in algorithm.operations() {
            let name = format!("{algorithm} {operation}");
            let kid = server
                .create_exchange_key(NewKey::new(name, algorithm, operation))
                .await
                .unwrap();
            let key = server.exchange_key(kid).await.unwrap();
            assert_eq!((key.algorithm, key.operation), (algorithm, operation));
            let (sealed, version) = (value(number, algorithm.key_len()), key.versions[0].version);
            assert_eq!(version, 1);
            if operation == algorithm.operations()[0] {
                let taken = NewKey::new("taken over", algorithm, operation);
                server.import_exchange_key(taken, &sealed).await.unwrap();
            }
            let other = server.rotate_exchange_key(kid).await.unwrap();
            assert_eq!(other, 2);
        }
    }
    assert_eq!(server.exchange_keys().await.unwrap().len(), 39);
}

#[tokio::test]
async fn what_no_key_can_be_is_refused() {
    let world = World::new().await;
    let server = &world.server;
    let good = || new_key(METERS, Algorithm::A256Gcm, Operation::Encrypt);
    let refused = [
        NewKey {
            name: String::new(),
            ..good()
        },
        NewKey {
            name: "n".repeat(256),
            ..good()
        },
        NewKey {
            operation: Operation::Sign,
            ..good()
        },
        NewKey {
            context: Some(Vec::new()),
            ..good()
        },
        NewKey {
            context: Some(vec![0; 256]),
            ..good()
        },
        NewKey {
            algorithm: Algorithm::A256Ctr,
            context: Some(vec![1]),
            ..good()
        },
        NewKey {
            uses: Some(0),
            ..good()
        },
        NewKey {
            uses: Some((1 << 32) + 1),
            ..good()
        },
        NewKey {
            minimum_security_level: Some(2500),
            ..good()
        },
    ];
    for new in refused {
        let why = format!("{new:?}");
        let result = server.create_exchange_key(new).await;
        assert!(matches!(result, Err(Error::OutOfRange { .. })), "{why}");
    }
    let most = NewKey {
        name: "n".repeat(255),
        context: Some(vec![0; 255]),
        uses: Some(1 << 32),
        minimum_security_level: Some(150),
        ..good()
    };
    server.create_exchange_key(most).await.unwrap();
    assert_eq!(
        told(server.create_exchange_key(good()).await),
        format!("there is an exchange key {METERS} already")
    );
    for (len, algorithm) in [
        (16, Algorithm::A256Gcm),
        (31, Algorithm::Ed25519),
        (33, Algorithm::HmacSha256),
    ] {
        let new = NewKey::new("short", algorithm, algorithm.operations()[0]);
        let result = server.import_exchange_key(new, &value(3, len)).await;
        assert!(
            matches!(result, Err(Error::ExchangeKeyRefused { .. })),
            "{algorithm}"
        );
    }
    let scalar = NewKey::new("scalar", Algorithm::Esp256, Operation::Sign);
    let result = server.import_exchange_key(scalar, &value(0xff, 32)).await;
    assert!(matches!(result, Err(Error::ExchangeKeyRefused { .. })));
    let rotated = server.rotate_exchange_key_to(METERS, &value(5, 16)).await;
    assert!(matches!(rotated, Err(Error::ExchangeKeyRefused { .. })));
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let world = world_with(Algorithm::A256Gcm, Operation::Decrypt).await;
    let server = &world.server;
    let none = Kid::new([9; 16]);
    let unknown = format!("there is no exchange key {none}");
    assert_eq!(told(server.exchange_key(none).await), unknown);
    assert_eq!(told(server.rotate_exchange_key(none).await), unknown);
    assert_eq!(told(server.disable_exchange_key(none).await), unknown);
    assert_eq!(
        told(server.destroy_exchange_key(none, Destroy::All).await),
        unknown
    );
    assert_eq!(told(server.exchange_uses(none, None, 1).await), unknown);
    let version = format!("exchange key {METERS} has no version 2");
    assert_eq!(
        told(server.set_exchange_minimum_version(METERS, 2).await),
        version
    );
    assert_eq!(
        told(server.destroy_exchange_key(METERS, Destroy::Version(2)).await),
        version
    );
    assert!(server.set_exchange_minimum_version(METERS, 0).await.is_err());
    let newest = server.destroy_exchange_key(METERS, Destroy::Version(1)).await;
    assert!(
        matches!(newest, Err(Error::OutOfRange { .. })),
        "the newest alone"
    );
}

#[tokio::test]
async fn keys_beside_one_have_other_algorithms_and_are_few() {
    let world = world_with(Algorithm::A256Gcm, Operation::Decrypt).await;
    let server = &world.server;
    let beside = |algorithm: Algorithm| NewKey {
        beside: Some(METERS),
        ..NewKey::new("beside", algorithm, algorithm.operations()[0])
    };
    let mut made = Vec::new();
    for algorithm in [
        Algorithm::A128Gcm,
        Algorithm::A128Ctr,
        Algorithm::A256Ctr,
        Algorithm::A128Cbc,
        Algorithm::A256Cbc,
        Algorithm::HmacSha256,
        Algorithm::HmacSha384,
        Algorithm::Ed25519,
    ] {
        made.push(server.create_exchange_key(beside(algorithm)).await.unwrap());
    }
    let refused = |why| format!("no key can be beside exchange key {METERS}: {why}");
    let same = "a license holds no two keys of one algorithm";
    for algorithm in [Algorithm::A256Gcm, Algorithm::A128Gcm] {
        assert_eq!(
            told(server.create_exchange_key(beside(algorithm)).await),
            refused(same)
        );
    }
    let full = server.create_exchange_key(beside(Algorithm::Esp256)).await;
    assert_eq!(told(full), refused("eight others travel in its licenses already"));
    let chained = NewKey {
        beside: Some(made[0]),
        ..NewKey::new("chained", Algorithm::Esp256, Operation::Sign)
    };
    assert!(matches!(
        server.create_exchange_key(chained).await,
        Err(Error::BesideRefused(..))
    ));
    server.destroy_exchange_key(made[0], Destroy::All).await.unwrap();
    server
        .create_exchange_key(beside(Algorithm::A128Gcm))
        .await
        .unwrap();
    server.destroy_exchange_key(METERS, Destroy::All).await.unwrap();
    let late = server.create_exchange_key(beside(Algorithm::HmacSha512)).await;
    assert!(matches!(late, Err(Error::ExchangeKeyDestroyed(METERS))));
}

/// What was destroyed is overwritten where it stood, whichever way SQLite frees room otherwise.
#[tokio::test]
async fn a_value_that_was_destroyed_is_nowhere_in_the_file() {
    let mut world = world_with(Algorithm::HmacSha512, Operation::Sign).await;
    world.server.rotate_exchange_key(METERS).await.unwrap();
    let pool = world.pool().await;
    let sealed: Vec<Vec<u8>> = sqlx::query_scalar("SELECT sealed FROM exchange_key_versions")
        .fetch_all(&pool)
        .await
        .unwrap();
    pool.close().await;
    world.reopen().await;
    let path = world.dir().join("keyward.db");
    let stand = || {
        let file = std::fs::read(&path).unwrap();
        let stands = |value: &Vec<u8>| file.windows(value.len()).any(|bytes| bytes == value);
        sealed.iter().filter(|value| stands(value)).count()
    };
    assert_eq!(stand(), 2);
    world
        .server
        .destroy_exchange_key(METERS, Destroy::All)
        .await
        .unwrap();
    world.reopen().await;
    assert_eq!(stand(), 0);
}

/// What the code refuses, the schema refuses as well, whoever writes.
#[tokio::test]
async fn the_schema_keeps_what_a_key_is() {
    let world = world_with(Algorithm::A256Gcm, Operation::Decrypt).await;
    let server = &world.server;
    server.rotate_exchange_key(METERS).await.unwrap();
    server
        .destroy_exchange_key(METERS, Destroy::Version(1))
        .await
        .unwrap();
    let pool = world.pool().await;
    for statement in [
        "UPDATE exchange_keys SET algorithm = 1",
        "UPDATE exchange_keys SET operation = 3",
        "UPDATE exchange_keys SET context = x'00'",
        "UPDATE exchange_keys SET uses = 1",
        "UPDATE exchange_keys SET minimum_version = 1",
        "UPDATE exchange_keys SET minimum_version = 3",
        "DELETE FROM exchange_keys",
        "UPDATE exchange_key_versions SET sealed = x'00' WHERE version = 1",
        "UPDATE exchange_key_versions SET sealed = x'00' WHERE version = 2",
        "UPDATE exchange_key_versions SET version = 9 WHERE version = 2",
        "UPDATE exchange_key_versions SET messages = -1",
        "DELETE FROM exchange_key_versions",
        "INSERT INTO exchange_key_versions (kid, version, sealed, created_at)
         SELECT kid, 4, x'00', 0 FROM exchange_keys",
        "UPDATE exchange_fingerprints SET version = 2",
        "DELETE FROM exchange_fingerprints",
    ] {
        let refused = sqlx::query(statement).execute(&pool).await;
        assert!(refused.is_err(), "{statement}");
    }
    server.destroy_exchange_key(METERS, Destroy::All).await.unwrap();
    for statement in [
        "UPDATE exchange_keys SET state = 'enabled'",
        "INSERT INTO exchange_key_versions (kid, version, sealed, created_at)
         SELECT kid, 3, x'00', 0 FROM exchange_keys",
    ] {
        let refused = sqlx::query(statement).execute(&pool).await;
        assert!(refused.is_err(), "{statement}");
    }
}
