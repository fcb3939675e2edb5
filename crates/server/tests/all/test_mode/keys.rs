//! Which key a license holds: of the published seed, of another, a given one, a registered one, an exchange key.

use keyward_crypto::seed::LicenseKeySeed;
use keyward_license::license::{LicenseKind, Right};
use keyward_server::test_mode::TEST_SEED;

use super::*;

pub(crate) fn of_test_seed(kid: Kid) -> [u8; 16] {
    *LicenseKeySeed::new(&TEST_SEED)
        .unwrap()
        .derive(kid.as_bytes())
        .expose()
}

async fn key(world: &World, device: &mut Device, query: &str) -> ([u8; 16], KeyType) {
    let response = ask(world, device, &[FILM], query).await;
    let (license, key) = device.open(world, result(&response, FILM));
    (key, license.body().keys[0].key_type)
}

#[tokio::test]
async fn the_key_is_of_the_seed_or_the_one_that_was_named() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    let own = LicenseKeySeed::new(&[7; 30]).unwrap().derive(FILM.as_bytes());
    for (query, expected, key_type) in [
        ("cfg=()", of_test_seed(FILM), KeyType::CencCtr),
        ("cfg=(ckt:aes128bitcbc)", of_test_seed(FILM), KeyType::CencCbc),
        ("cfg=(ckt:aesctr)", of_test_seed(FILM), KeyType::CencCtr),
        ("cfg=(ckt:file)", of_test_seed(FILM), KeyType::File),
        (
            "cfg=(keyseed:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH)",
            *own.expose(),
            KeyType::CencCtr,
        ),
        (
            "cfg=(contentkey:CQkJCQkJCQkJCQkJCQkJCQ==)",
            [9; 16],
            KeyType::CencCtr,
        ),
        (
            "cfg=(ck:CQkJCQkJCQkJCQkJCQkJCQ==,ckt:file)",
            [9; 16],
            KeyType::File,
        ),
    ] {
        assert_eq!(
            key(&world, &mut device, query).await,
            (expected, key_type),
            "{query}"
        );
    }
    for (query, expected) in [
        ("cfg=(contentkey:CQkJ)", "`contentkey` must be 16 bytes"),
        ("cfg=(keyseed:CQkJ)", "`keyseed` must be 30 bytes"),
        ("cfg=(ckt:rc4)", "`ckt` must be"),
        ("cfg=(algorithm:A128GCM)", "`ckt` must be `keyexchange`"),
        ("cfg=(ckt:keyexchange,algorithm:A256GCM)", "`algorithm` must be"),
        ("cfg=(ckt:keyexchange,operation:sign)", "`operation` must be"),
    ] {
        let told = denied(&ask(&world, &mut device, &[FILM], query).await);
        assert!(told.sentence.contains(expected), "{query}: {}", told.sentence);
    }
}

#[tokio::test]
async fn what_is_registered_keeps_its_key_and_type() {
    let world = world().await;
    let given = keyward_crypto::ContentKey::new([5; 16]);
    world
        .server
        .import_key(FILM, KeyType::CencCbc, &given)
        .await
        .unwrap();
    let mut device = device(&world, 3).await;
    for (query, expected, key_type) in [
        ("cfg=(sl:150)", [5; 16], KeyType::CencCbc),
        ("cfg=(ckt:file)", [5; 16], KeyType::File),
        (
            "cfg=(contentkey:CQkJCQkJCQkJCQkJCQkJCQ==)",
            [9; 16],
            KeyType::CencCbc,
        ),
    ] {
        assert_eq!(
            key(&world, &mut device, query).await,
            (expected, key_type),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_key_for_key_exchange_has_an_algorithm_and_an_operation() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    for (query, algorithm, operation) in [
        ("cfg=(ckt:keyexchange,contentkey:CQkJCQkJCQkJCQkJCQkJCQ==)", 1, 4),
        (
            "cfg=(ckt:keyexchange,contentkey:CQkJCQkJCQkJCQkJCQkJCQ==,operation:encrypt)",
            1,
            3,
        ),
        (
            "cfg=(ckt:keyexchange,contentkey:CQkJCQkJCQkJCQkJCQkJCQ==,algorithm:A128KW,persist:true)",
            -3,
            6,
        ),
    ] {
        let response = ask(&world, &mut device, &[FILM], query).await;
        let (license, key) = device.open(&world, result(&response, FILM));
        let body = license.body();
        assert_eq!(
            (body.kind, &body.rights[..]),
            (LicenseKind::KeyExchange, &[Right::Perform][..])
        );
        assert_eq!(body.keys[0].algorithm, Some(CoseAlgorithm(algorithm)), "{query}");
        assert_eq!(body.keys[0].operation, Some(operation), "{query}");
        assert_eq!(key, [9; 16]);
    }
    let told = denied(&ask(&world, &mut device, &[FILM], "cfg=(ckt:keyexchange,firstexp:60)").await);
    assert!(
        told.sentence.contains("expiration_after_first_play"),
        "{}",
        told.sentence
    );
}
