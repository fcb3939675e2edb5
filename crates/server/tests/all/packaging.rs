//! Packaging requests against a whole server, without HTTP.

mod periods;

use std::collections::BTreeSet;

use crate::asking::{ask, media, read, request, sealed, send, track};
use crate::common::{ACCOUNT, Device, KID, NOW, World};
use keyward_content::header::{Algorithm, ContentHeader};
use keyward_crypto::hpke::Suite;
use keyward_license::{
    enrolment::EnrolmentRole,
    ids::Nonce,
    license::KeyType,
    packaging::{MAX_TRACKS, PackagingRequest},
};
use keyward_server::{Error, Server, admin::TokenRequest, sealing::KekSource};

async fn code(world: &World, packager: &mut Device, body: &PackagingRequest) -> u64 {
    send(world, packager, body).await.unwrap_err().code
}

#[tokio::test]
async fn a_packager_gets_key_ids_keys_and_a_header_in_every_suite() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    for (seed, best) in [(1, Suite::P256), (2, Suite::XWing)] {
        let suites: Vec<_> = Suite::ALL.into_iter().filter(|suite| *suite <= best).collect();
        let mut packager = world.packager(seed, &suites).await;
        let body = request(&mut packager, &recipient, "film", media());
        let packaged = ask(&world, &mut packager, &body).await.unwrap();
        assert_eq!(packaged.suite, best.number(), "the best suite of the certificate");
        assert_eq!(packaged.body.check_tracks(&media(), None), Ok(()));
        assert_eq!(packaged.body.license_url, "http://127.0.0.1:8470");
        assert_eq!(packaged.body.server_time, NOW);
        for (kid, key) in packaged.pairs() {
            let registered = world.server.content_key_for_packaging(kid).await.unwrap();
            assert_eq!(
                (registered.key.expose(), registered.key_type),
                (&key, KeyType::CencCtr),
                "the license server has the same key"
            );
        }
        let header = packaged.body.content_header.as_ref().unwrap();
        let header = ContentHeader::read_object(&header.0).unwrap();
        let named: Vec<_> = header.kids.iter().map(|key| (key.kid, key.algorithm)).collect();
        let expected: Vec<_> = packaged
            .kids()
            .into_iter()
            .map(|kid| (kid, Some(Algorithm::AesCtr)))
            .collect();
        assert_eq!(named, expected);
        assert_eq!(header.license_url.as_deref(), Some("http://127.0.0.1:8470"));
        let without = PackagingRequest {
            content_header: false,
            ..request(&mut packager, &recipient, "film", media())
        };
        let again = ask(&world, &mut packager, &without).await.unwrap();
        assert_eq!(
            (again.body.content_header.is_none(), again.pairs()),
            (true, packaged.pairs())
        );
    }
    let claims =
        keyward_license::certificate::Claims::of(&world.packager(3, &Suite::ALL).await.certificate());
    let claims = claims.unwrap();
    assert_eq!(
        (claims.security_level, claims.maker, claims.model),
        (None, None, None)
    );
}

#[tokio::test]
async fn a_device_plays_what_a_packager_was_given() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let mut packager = world.packager(1, &Suite::ALL).await;
    let body = request(&mut packager, &recipient, "film", media());
    let packaged = ask(&world, &mut packager, &body).await.unwrap();
    let mut device = world.device(2).await;
    let asked = device.request(&recipient, &packaged.kids());
    let response = device.ask(&world, &asked).await.unwrap();
    for (result, (kid, key)) in response.results.iter().zip(packaged.pairs()) {
        let (license, opened) = device.open(&world, result);
        assert_eq!((license.body().keys[0].kid, opened), (kid, key));
    }
}

#[tokio::test]
async fn the_same_content_gets_the_same_keys_whoever_asks_and_other_content_others() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let mut one = world.packager(1, &Suite::ALL).await;
    let mut two = world.packager(2, &[Suite::P256]).await;
    let body = request(&mut one, &recipient, "film", media());
    let first = ask(&world, &mut one, &body).await.unwrap();

    // Another packager, in another order, with one track more; and after the operator was opened anew.
    let more = vec![
        track("audio", KeyType::CencCtr),
        track("subtitles", KeyType::CencCtr),
        track("video", KeyType::CencCtr),
    ];
    let mut world = world;
    world.reopen().await;
    let body = request(&mut two, &recipient, "film", more);
    let second = ask(&world, &mut two, &body).await.unwrap();
    assert_eq!(
        [second.pairs()[2], second.pairs()[0]],
        [first.pairs()[0], first.pairs()[1]]
    );

    // Another content id, label, key type, or letter case: another key id and key.
    let mut seen: BTreeSet<_> = second.pairs().into_iter().collect();
    for (content_id, label, key_type) in [
        ("film 2", "video", KeyType::CencCtr),
        ("film", "Video", KeyType::CencCtr),
        ("Film", "video", KeyType::CencCtr),
        ("film", "video", KeyType::CencCbc),
        ("film", "video", KeyType::File),
    ] {
        let body = request(&mut one, &recipient, content_id, vec![track(label, key_type)]);
        let other = ask(&world, &mut one, &body).await.unwrap();
        assert!(seen.insert(other.pairs()[0]), "{content_id} {label} {key_type:?}");
    }
    let kids: BTreeSet<_> = seen.iter().map(|(kid, _)| kid).collect();
    let keys: BTreeSet<_> = seen.iter().map(|(_, key)| key).collect();
    assert_eq!((kids.len(), keys.len()), (8, 8));
    assert_eq!(world.count("SELECT count(*) FROM tracks").await, 8);
    assert_eq!(
        world
            .count("SELECT count(*) FROM events WHERE kind = 'content-key-exported'")
            .await,
        2 + 3 + 5
    );
}

#[tokio::test]
async fn many_packagers_at_once_get_one_set_of_keys() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let mut asked = Vec::new();
    for seed in 1..=8 {
        let mut packager = world.packager(seed, &[Suite::P256]).await;
        // Each asks for the shared tracks, and one of its own in front of them.
        let mut tracks = vec![track(&format!("own-{seed}"), KeyType::CencCtr)];
        tracks.extend(media());
        let body = request(&mut packager, &recipient, "film", tracks);
        let message = sealed(&mut packager, &recipient, &body);
        asked.push((packager, body, message));
    }
    // A second server on the same database, as two processes would be.
    let other = Server::open(&world.dir(), KekSource::File, world.clock.clone())
        .await
        .unwrap();
    let mut tasks = Vec::new();
    for (at, (packager, body, message)) in asked.into_iter().enumerate() {
        let server = if at % 2 == 0 {
            world.server.clone()
        } else {
            other.clone()
        };
        tasks.push((
            packager,
            body,
            tokio::spawn(async move { server.package(&message).await }),
        ));
    }
    let mut shared = BTreeSet::new();
    for (packager, body, task) in tasks {
        let answer = task.await.unwrap().unwrap();
        shared.insert(read(&world, &packager, &body, &answer).pairs()[1..].to_vec());
    }
    other.close().await;
    assert_eq!(shared.len(), 1, "two packagers got different keys");
    assert_eq!(world.count("SELECT count(*) FROM tracks").await, 2 + 8);
    assert_eq!(
        world.count("SELECT count(*) FROM keys").await,
        1 + 2 + 8,
        "a key was registered for nothing"
    );
}

/// V-072
#[tokio::test]
async fn v_072_the_same_request_gets_the_same_answer_and_another_with_its_nonce_none() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let mut packager = world.packager(1, &Suite::ALL).await;
    let body = request(&mut packager, &recipient, "film", media());
    let first = send(&world, &mut packager, &body).await.unwrap();
    assert_eq!(
        send(&world, &mut packager, &body).await.unwrap(),
        first,
        "sealed anew, answered alike"
    );
    let other = PackagingRequest {
        content_id: "other".into(),
        nonce: body.nonce,
        ..request(&mut packager, &recipient, "film", media())
    };
    assert_eq!(code(&world, &mut packager, &other).await, 205);
    assert_eq!(
        world
            .count("SELECT count(*) FROM tracks WHERE content_id = 'other'")
            .await,
        0
    );
    // The same nonce of another packager is another request.
    let mut second = world.packager(2, &Suite::ALL).await;
    let same_nonce = PackagingRequest {
        nonce: body.nonce,
        ..request(&mut second, &recipient, "film", media())
    };
    assert!(ask(&world, &mut second, &same_nonce).await.is_ok());
    assert_eq!(world.count("SELECT count(*) FROM packagings").await, 2);
}

#[tokio::test]
async fn a_crash_between_record_and_sign_loses_no_key_id() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let mut packager = world.packager(1, &Suite::ALL).await;
    let body = request(&mut packager, &recipient, "film", media());
    let first = ask(&world, &mut packager, &body).await.unwrap();
    // As if the server had died after the commit: recorded, not signed.
    world.sql("UPDATE packagings SET answer = NULL").await;
    world.clock.set(NOW.plus(60));
    let again = ask(&world, &mut packager, &body).await.unwrap();
    assert_eq!(
        (again.pairs(), &again.body),
        (first.pairs(), &first.body),
        "signed from what was recorded"
    );
}

/// V-070
#[tokio::test]
async fn v_070_who_has_no_packager_certificate_gets_nothing() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let mut device = world.device(1).await;
    let body = request(&mut device, &recipient, "film", media());
    let refused = send(&world, &mut device, &body).await.unwrap_err();
    assert_eq!(refused.code, 202, "a device is no packager");
    assert!(
        refused.detail.contains("not valid for this role"),
        "{}",
        refused.detail
    );
    // A packager of another operator.
    let other = World::seeded(9).await;
    let mut stranger = other.packager(2, &Suite::ALL).await;
    let body = request(&mut stranger, &recipient, "film", media());
    assert_eq!(code(&world, &mut stranger, &body).await, 202);
    // After the certificate's end.
    let mut packager = world.packager(3, &Suite::ALL).await;
    world.clock.set(NOW.plus(731 * 86_400));
    let recipient = world.recipient().await;
    let body = request(&mut packager, &recipient, "film", media());
    assert_eq!(code(&world, &mut packager, &body).await, 202);
    assert_eq!(world.count("SELECT count(*) FROM tracks").await, 0);
}

#[tokio::test]
async fn v_041_a_packager_gets_no_license() {
    let world = World::new().await;
    world
        .server
        .grant("packaging", None, "default", None)
        .await
        .unwrap();
    let recipient = world.recipient().await;
    let mut packager = world.packager(1, &Suite::ALL).await;
    let body = packager.request(&recipient, &[KID]);
    assert_eq!(packager.ask(&world, &body).await.unwrap_err().code, 202);
}

/// V-071
#[tokio::test]
async fn v_071_an_unknown_or_revoked_packager_is_refused() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let mut packager = world.packager(1, &Suite::ALL).await;
    let answered = request(&mut packager, &recipient, "film", media());
    ask(&world, &mut packager, &answered).await.unwrap();
    world.server.revoke_device(packager.id()).await.unwrap();
    let body = request(&mut packager, &recipient, "film", media());
    assert_eq!(code(&world, &mut packager, &body).await, 204);
    assert_eq!(
        code(&world, &mut packager, &answered).await,
        204,
        "not even what it had before"
    );
    let token = world.packager_token().await;
    assert_eq!(
        packager.enrol(&world, &token).await.unwrap_err().code,
        204,
        "nor enrolled again"
    );
    let listed = world.server.devices().await.unwrap();
    assert_eq!(
        (listed[0].role, listed[0].revoked),
        (EnrolmentRole::Packager, Some(NOW))
    );
    // Certified, and not in the register: as after a restored backup.
    let mut lost = world.packager(2, &Suite::ALL).await;
    world
        .sql(
            "PRAGMA foreign_keys = OFF; DELETE FROM device_certificates; UPDATE enrolment_tokens SET used_by = NULL;
             DELETE FROM devices WHERE revoked_at IS NULL",
        )
        .await;
    let body = request(&mut lost, &recipient, "film", media());
    assert_eq!(code(&world, &mut lost, &body).await, 203);
}

/// V-073
#[tokio::test]
async fn v_073_what_is_not_made_is_refused() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let mut packager = world.packager(1, &Suite::ALL).await;
    let mixed = vec![track("a", KeyType::CencCtr), track("b", KeyType::CencCbc)];
    let body = request(&mut packager, &recipient, "film", mixed);
    assert_eq!(code(&world, &mut packager, &body).await, 601);
    let body = PackagingRequest {
        content_header: false,
        nonce: Nonce::new([9; 16]),
        ..body
    };
    assert!(
        ask(&world, &mut packager, &body).await.is_ok(),
        "without a header they may differ"
    );
}

#[tokio::test]
async fn requests_have_bounds() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let mut packager = world.packager(1, &Suite::ALL).await;
    let many = |count: usize| -> Vec<_> {
        (0..count)
            .map(|at| track(&format!("track {at}"), KeyType::CencCtr))
            .collect()
    };
    let body = request(&mut packager, &recipient, &"c".repeat(255), many(MAX_TRACKS));
    let most = ask(&world, &mut packager, &body).await.unwrap();
    assert_eq!(most.keys.len(), MAX_TRACKS);
    assert!(most.body.content_header.is_some(), "the longest header fits");
    let named = |label: &str, key_type| vec![track(label, key_type)];
    let cases = [
        ("", media()),
        (&"c".repeat(256)[..], media()),
        ("film", Vec::new()),
        ("film", many(MAX_TRACKS + 1)),
        ("film", named("", KeyType::File)),
        ("film", named(&"l".repeat(65), KeyType::File)),
        ("film", named("a", KeyType::Root)),
        ("film", named("a", KeyType::Exchange)),
        (
            "film",
            vec![track("a", KeyType::CencCtr), track("a", KeyType::CencCbc)],
        ),
    ];
    for (content_id, tracks) in cases {
        let body = request(&mut packager, &recipient, content_id, tracks);
        assert_eq!(code(&world, &mut packager, &body).await, 101, "{body:?}");
    }
    // V-040 holds here as well.
    let other = World::seeded(9).await;
    let body = request(&mut packager, &recipient, "film", media());
    let message = sealed(&mut packager, &recipient, &body);
    assert_eq!(other.server.package(&message).await.unwrap_err().code, 103);
}

/// V-054
#[tokio::test]
async fn v_054_a_token_is_for_one_role_and_a_key_too() {
    let world = World::new().await;
    let (for_device, for_packager) = (world.token().await, world.packager_token().await);
    let mut device = Device::new(1, &Suite::ALL);
    assert_eq!(device.enrol(&world, &for_packager).await.unwrap_err().code, 401);
    let mut packager = Device::new(2, &Suite::ALL);
    packager.role = EnrolmentRole::Packager;
    assert_eq!(packager.enrol(&world, &for_device).await.unwrap_err().code, 401);
    device.enrol(&world, &for_device).await.unwrap();
    packager.enrol(&world, &for_packager).await.unwrap();
    // The device's key does not become a packager's.
    device.role = EnrolmentRole::Packager;
    let token = world.packager_token().await;
    let refused = device.enrol(&world, &token).await.unwrap_err();
    assert_eq!(
        (refused.code, &refused.detail[..]),
        (402, "the key is enrolled in another role")
    );
    let roles: Vec<_> = world
        .server
        .devices()
        .await
        .unwrap()
        .into_iter()
        .map(|listed| (listed.account, listed.role))
        .collect();
    assert_eq!(roles.len(), 2);
    assert!(roles.contains(&(ACCOUNT.to_owned(), EnrolmentRole::Device)));
    assert!(roles.contains(&("packaging".to_owned(), EnrolmentRole::Packager)));
}

#[tokio::test]
async fn keys_come_from_the_vault_where_the_operator_says_so() {
    let mut world = World::new().await;
    let recipient = world.recipient().await;
    let mut packager = world.packager(1, &Suite::ALL).await;
    let body = request(&mut packager, &recipient, "film", media());
    let derived = ask(&world, &mut packager, &body).await.unwrap();
    let path = world.dir().join("operator.toml");
    let toml = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, toml.replace("# vault_keys = false", "vault_keys = true")).unwrap();
    world.reopen().await;
    let mut tracks = media();
    tracks.push(track("commentary", KeyType::CencCtr));
    let body = request(&mut packager, &recipient, "film", tracks);
    let packaged = ask(&world, &mut packager, &body).await.unwrap();
    assert_eq!(
        packaged.pairs()[..2],
        derived.pairs()[..],
        "what is registered stays"
    );
    let registered = world
        .server
        .content_key_for_packaging(packaged.kids()[2])
        .await
        .unwrap();
    assert_eq!(registered.key.expose(), &packaged.keys[2]);
    assert_eq!(
        world
            .count("SELECT count(*) FROM keys WHERE sealed IS NOT NULL")
            .await,
        1,
        "the new one alone is in the vault"
    );
}

#[tokio::test]
async fn v_077_keys_weaker_than_the_operators_minimum_are_not_given() {
    let mut world = World::new().await;
    let mut packager = world.packager(1, &[Suite::P256]).await;
    let path = world.dir().join("operator.toml");
    let toml = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, toml.replace("# minimum_suite = 1", "minimum_suite = 2")).unwrap();
    world.reopen().await;
    let recipient = world.recipient().await;
    let body = request(&mut packager, &recipient, "film", media());
    assert_eq!(code(&world, &mut packager, &body).await, 304);
}

#[tokio::test]
async fn an_operator_without_a_packager_authority_says_so() {
    let mut world = World::new().await;
    world
        .sql("DELETE FROM certificates WHERE purpose = 'packager-authority'")
        .await;
    world.reopen().await;
    let refused = world
        .server
        .create_enrolment_token(TokenRequest {
            role: EnrolmentRole::Packager,
            ..TokenRequest::new("packaging")
        })
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "this operator has no authority for packagers"
    );
    assert!(world.server.discovery().await.is_ok());
    world.device(1).await;
}

#[tokio::test]
async fn a_packager_authority_that_cannot_be_read_is_damage() {
    let world = World::new().await;
    world
        .sql("UPDATE certificates SET der = x'30' WHERE purpose = 'packager-authority'")
        .await;
    let opened = Server::open(&world.dir(), KekSource::File, world.clock.clone()).await;
    assert!(matches!(opened, Err(Error::Crypto(_))), "{opened:?}");
}

#[tokio::test]
async fn a_seed_that_is_not_there_is_told_before_packagers_come() {
    let mut world = World::new().await;
    let path = world.dir().join("operator.toml");
    let toml = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, toml.replace("# seed = \"newest\"", "seed = 7")).unwrap();
    // Administration goes on: the seed may be about to be added.
    world.reopen().await;
    let listener = || async { tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap() };
    let server = world.server.clone();
    let served = server
        .serve(listener().await, listener().await, async {})
        .await
        .unwrap_err();
    assert_eq!(
        served.to_string(),
        "operator.toml: packaging.seed must be the number of a license key seed of this operator"
    );
}
