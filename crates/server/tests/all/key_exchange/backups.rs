//! A backup holds the exchange keys, and doctor judges them.

use std::sync::Arc;

use keyward_crypto::exchange::{Algorithm, Operation};
use keyward_server::{
    Server, backup,
    clock::Clock,
    doctor::{Standing, examine},
    key_exchange::Destroy,
    sealing::KekSource,
};

use super::{METERS, decrypt, encrypt, new_key, world_with};

#[tokio::test]
async fn an_operator_that_was_restored_has_its_exchange_keys() {
    let world = world_with(Algorithm::A256Ctr, Operation::Encrypt).await;
    let mirror = new_key(
        keyward_license::ids::Kid::new([3; 16]),
        Algorithm::A128Ctr,
        Operation::Decrypt,
    );
    let mirrored = world.server.create_exchange_key(mirror).await.unwrap();
    world.server.rotate_exchange_key(METERS).await.unwrap();
    let token = world.server.create_exchange_token("meters", None).await.unwrap();
    encrypt(&world.server, mirrored, b"before").await;
    let (copy, restored) = (world.home.path().join("copy"), world.home.path().join("restored"));
    backup::back_up(&world.dir(), &copy, true, world.clock.now())
        .await
        .unwrap();
    // What is destroyed after a backup is still in it, sealed.
    let destroyed = world.server.destroy_exchange_key(mirrored, Destroy::All);
    destroyed.await.unwrap();
    backup::restore(&copy, &restored, None, world.clock.now())
        .await
        .unwrap();
    let clock = Arc::clone(&world.clock);
    let server = Server::open(&restored, KekSource::File, clock).await.unwrap();
    let keys = server.exchange_keys().await.unwrap();
    assert_eq!(keys.len(), 2);
    assert_eq!(server.exchange_key(METERS).await.unwrap().versions.len(), 2);
    let caller = server.authenticate_exchange(token.expose()).await.unwrap();
    assert_eq!(caller.unwrap().name(), "token:meters");
    assert_eq!(server.exchange_uses(mirrored, None, 9).await.unwrap().len(), 1);
    let result = encrypt(&server, mirrored, b"after").await;
    assert_eq!(
        decrypt(&server, mirrored, &result).await.unwrap_err(),
        "wrong-operation"
    );
    server.close().await;
}

#[tokio::test]
async fn doctor_says_which_key_needs_care() {
    let world = world_with(Algorithm::A256Gcm, Operation::Decrypt).await;
    let findings = || async {
        let found = examine(&world.dir(), KekSource::File, world.clock.now()).await;
        let about = found.into_iter().filter(|finding| finding.about == "exchange");
        about.map(|finding| finding.standing).collect::<Vec<_>>()
    };
    assert_eq!(findings().await, [Standing::Good]);
    world
        .sql("UPDATE exchange_key_versions SET messages = 4000000000")
        .await;
    assert_eq!(findings().await, [Standing::Warning, Standing::Good]);
    world.server.rotate_exchange_key(METERS).await.unwrap();
    assert_eq!(findings().await, [Standing::Good]);
    world
        .sql(
            "DROP TRIGGER exchange_key_versions_are_only_destroyed;
             UPDATE exchange_key_versions SET sealed = zeroblob(80) WHERE version = 1",
        )
        .await;
    assert_eq!(findings().await, [Standing::Error]);
}

/// What no foreign key says is examined all the same.
#[tokio::test]
async fn doctor_sees_a_key_in_both_spaces() {
    let world = world_with(Algorithm::A256Gcm, Operation::Decrypt).await;
    world
        .sql(
            "DROP TRIGGER keys_are_not_of_exchange;
             INSERT INTO keys (kid, key_type, seed, fingerprint, created_at)
             SELECT kid, 1, 1, randomblob(32), 0 FROM exchange_keys",
        )
        .await;
    let found = examine(&world.dir(), KekSource::File, world.clock.now()).await;
    let fault = found.iter().find(|finding| finding.about == "database").unwrap();
    assert_eq!(fault.standing, Standing::Error);
    assert!(
        fault.what.contains("1 keys serve content and key exchange both"),
        "{fault:?}"
    );
}
