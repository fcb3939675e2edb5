//! License requests against a whole server, without HTTP.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test that calls them"
)]

mod common;

use common::{ACCOUNT, Device, KID, NOW, World, denial, ids, pending, read};
use keyward_content::header::{ContentHeader, KeyReference};
use keyward_crypto::{ContentKey, hpke::Suite};
use keyward_license::{
    codec::{Bytes, Wire},
    envelope::SealedRequest,
    ids::{EpochId, Kid},
    license::KeyType,
    request::{ClockKind, LicenseRequest, StoreState},
    response::LicenseResponse,
    signed::{self, SignedBody},
    time::Timestamp,
};
use keyward_server::{admin::TokenRequest, policy::PolicyTerms};

const OTHER: Kid = Kid::new([0x22; 16]);

async fn code(world: &World, device: &mut Device, body: &LicenseRequest) -> u64 {
    device.ask(world, body).await.unwrap_err().code
}

#[tokio::test]
async fn a_device_gets_the_content_key_in_every_suite() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let expected = world.server.content_key_for_packaging(KID).await.unwrap();
    for (seed, best) in [(1, Suite::P256), (2, Suite::XWing)] {
        let suites: Vec<_> = Suite::ALL.into_iter().filter(|suite| *suite <= best).collect();
        let mut device = Device::new(seed, &suites);
        device.enrol(&world, &world.token().await).await.unwrap();
        for envelope in Suite::ALL {
            let body = device.request(&recipient, &[KID]);
            let sealed = device.seal(&recipient, envelope, &body);
            let answer = world.server.issue(&sealed).await.unwrap();
            let response = read(&world, &answer, &pending(&body));
            assert_eq!((response.server_time, response.results.len()), (NOW, 1));
            let (license, key) = device.open(&world, &response.results[0]);
            assert_eq!(&key, expected.key.expose());
            assert_eq!(
                license.sealing().suite().unwrap(),
                best,
                "licenses are sealed with the best suite of the certificate"
            );
            let terms = license.body();
            assert_eq!((terms.keys[0].kid, terms.keys[0].key_type), (KID, KeyType::File));
            assert_eq!((terms.issued, terms.persistent, terms.nonce), (NOW, true, None));
            assert_eq!(terms.begin, Some(NOW.minus(300)));
            assert_eq!(terms.end, Some(NOW.plus(30 * 86_400)));
            assert_eq!(terms.minimum_security_level, Some(2000));
        }
    }
}

#[tokio::test]
async fn an_in_memory_license_holds_the_nonce() {
    let world = World::new().await;
    let terms = PolicyTerms {
        persistent_allowed: false,
        ..PolicyTerms::DEFAULT
    };
    world.server.create_policy("live", terms).await.unwrap();
    world
        .server
        .register_key(OTHER, KeyType::CencCtr, 1)
        .await
        .unwrap();
    world
        .server
        .grant(ACCOUNT, Some(OTHER), "live", None)
        .await
        .unwrap();
    let mut device = world.device(3).await;
    let recipient = world.recipient().await;
    // The client wants it so, then the policy does.
    for (kid, persistent) in [(KID, false), (OTHER, true)] {
        let body = LicenseRequest {
            persistent,
            ..device.request(&recipient, &[kid])
        };
        let response = device.ask(&world, &body).await.unwrap();
        let (license, _) = device.open(&world, &response.results[0]);
        assert_eq!(
            (license.body().persistent, license.body().nonce),
            (false, Some(body.nonce))
        );
    }
}

#[tokio::test]
async fn each_key_id_gets_its_own_result() {
    let world = World::new().await;
    let [imported, unknown, refused, high] = [0x31, 0x32, 0x33, 0x34].map(|byte| Kid::new([byte; 16]));
    let server = &world.server;
    server
        .import_key(imported, KeyType::CencCbc, &ContentKey::new([0x5a; 16]))
        .await
        .unwrap();
    for kid in [refused, high] {
        server.register_key(kid, KeyType::File, 1).await.unwrap();
    }
    let hardware = PolicyTerms {
        minimum_security_level: 3000,
        ..PolicyTerms::DEFAULT
    };
    server.create_policy("hardware", hardware).await.unwrap();
    // Bob has two key ids and no more.
    server
        .grant("bob", Some(imported), "default", None)
        .await
        .unwrap();
    server.grant("bob", Some(high), "hardware", None).await.unwrap();
    let mut device = Device::new(4, &Suite::ALL);
    device
        .enrol(&world, &world.token_for(TokenRequest::new("bob")).await)
        .await
        .unwrap();

    let recipient = world.recipient().await;
    // A content header counts by its key ids; what is named twice gets one result.
    let header = ContentHeader::new(vec![KeyReference::new(refused), KeyReference::new(imported)]);
    let body = LicenseRequest {
        content_headers: Some(vec![Bytes(header.to_object_bytes().unwrap())]),
        ..device.request(&recipient, &[imported, unknown, high])
    };
    let response = device.ask(&world, &body).await.unwrap();
    let kids: Vec<_> = response.results.iter().map(|result| result.kid).collect();
    assert_eq!(kids, [refused, imported, unknown, high]);
    assert_eq!(denial(&response.results[0]), 301, "not entitled");
    assert_eq!(device.open(&world, &response.results[1]).1, [0x5a; 16]);
    assert_eq!(denial(&response.results[2]), 302, "unknown key id");
    // R-002 would refuse it on the device, so it is not issued.
    assert_eq!(denial(&response.results[3]), 303, "security level");
}

#[tokio::test]
async fn what_the_client_cannot_use_is_not_issued() {
    let world = World::new().await;
    let mut device = world.device(5).await;
    let recipient = world.recipient().await;
    type Change = fn(&mut LicenseRequest);
    let cases: [(&str, Change); 4] = [
        ("key type", |body| body.capabilities.key_types = vec![1, 2, 77]),
        ("term", |body| body.capabilities.terms = vec![10, 12]),
        ("suite", |body| body.capabilities.suites = vec![1]),
        // the default policy is limited in time.
        ("clock", |body| body.capabilities.clock = ClockKind::None),
    ];
    for (what, change) in cases {
        let mut body = device.request(&recipient, &[KID]);
        change(&mut body);
        let response = device.ask(&world, &body).await.unwrap();
        assert_eq!(denial(&response.results[0]), 304, "{what}");
    }
}

#[tokio::test]
async fn time_alone_may_be_asked_for() {
    let world = World::new().await;
    let mut device = world.device(6).await;
    let recipient = world.recipient().await;
    let body = LicenseRequest {
        license_requested: false,
        kids: None,
        ..device.request(&recipient, &[])
    };
    let response = device.ask(&world, &body).await.unwrap();
    assert_eq!((response.results, response.server_time), (vec![], NOW));
    let body = LicenseRequest {
        license_requested: false,
        ..device.request(&recipient, &[KID])
    };
    let response = device.ask(&world, &body).await.unwrap();
    assert_eq!(denial(&response.results[0]), 305);
    assert_eq!(world.count("SELECT count(*) FROM issued").await, 0);
}

#[tokio::test]
async fn entitlements_end_and_the_specific_one_goes_first() {
    let world = World::new().await;
    let mut device = world.device(7).await;
    let recipient = world.recipient().await;
    let short = PolicyTerms {
        duration_seconds: Some(60),
        ..PolicyTerms::DEFAULT
    };
    world.server.create_policy("short", short).await.unwrap();
    let specific = world
        .server
        .grant(ACCOUNT, Some(KID), "short", Some(NOW.plus(1000)))
        .await
        .unwrap();
    let body = device.request(&recipient, &[KID]);
    let response = device.ask(&world, &body).await.unwrap();
    assert_eq!(
        device.open(&world, &response.results[0]).0.body().end,
        Some(NOW.plus(60))
    );

    world.server.revoke_entitlement(specific).await.unwrap();
    let all = world.server.entitlements(ACCOUNT).await.unwrap();
    assert_eq!(all.len(), 1);
    world.server.revoke_entitlement(all[0].id).await.unwrap();
    let body = device.request(&recipient, &[KID]);
    let response = device.ask(&world, &body).await.unwrap();
    assert_eq!(denial(&response.results[0]), 301);

    world
        .server
        .grant(ACCOUNT, Some(KID), "short", Some(NOW.plus(10)))
        .await
        .unwrap();
    world.clock.advance(10);
    let body = device.request(&recipient, &[KID]);
    let response = device.ask(&world, &body).await.unwrap();
    assert_eq!(
        denial(&response.results[0]),
        301,
        "an entitlement ends at its end"
    );
}

#[tokio::test]
async fn v_001_to_v_005_altered_messages_are_refused() {
    let world = World::new().await;
    let mut device = world.device(8).await;
    let recipient = world.recipient().await;
    let issue = async |message: &[u8], device: &mut Device| {
        let sealed = common::seal::<LicenseRequest>(&recipient, Suite::P256, message, &mut device.rng);
        world.server.issue(&sealed).await.unwrap_err().code
    };
    // V-001: the envelope, then the message inside.
    for garbage in [
        &[][..],
        &[0xa0],
        &[0xff; 40],
        &[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ] {
        assert_eq!(world.server.issue(garbage).await.unwrap_err().code, 101);
    }
    assert_eq!(issue(&[0xa0], &mut device).await, 101);
    let mut critical = device.request(&recipient, &[KID]).encode();
    critical[0] += 1;
    critical.extend([0x18, 0x40, 0x00]);
    let message = signed::sign::<LicenseRequest>(&critical, &[], &device.chain, &device.signing).unwrap();
    assert_eq!(issue(&message, &mut device).await, 101, "an unknown critical key");
    // V-002: a message of another type, signed by the device.
    let response = signed::sign::<LicenseResponse>(&[0xa0], &[], &device.chain, &device.signing).unwrap();
    assert_eq!(issue(&response, &mut device).await, 101);
    // V-003: every part of the message is under the signature.
    let body = device.request(&recipient, &[KID]);
    let message = device.sign(&body);
    for from_end in [1, 64, 100, 200] {
        let mut altered = message.clone();
        let position = altered.len() - from_end;
        altered[position] ^= 1;
        let code = issue(&altered, &mut device).await;
        assert!(code == 201 || code == 101, "{code}");
    }
    let mut altered = message.clone();
    *altered.last_mut().unwrap() ^= 1;
    assert_eq!(issue(&altered, &mut device).await, 201);
    // V-004: a chain of nobody.
    let stranger = Device::new(99, &[Suite::P256]);
    let message =
        signed::sign::<LicenseRequest>(&body.encode(), &[], &device.chain[..1], &device.signing).unwrap();
    assert_eq!(issue(&message, &mut device).await, 202);
    let message =
        signed::sign::<LicenseRequest>(&body.encode(), &[], &device.chain, &stranger.signing).unwrap();
    assert_eq!(
        issue(&message, &mut device).await,
        201,
        "another key than the certificate's"
    );
    // V-005: another version of the protocol.
    let newer = LicenseRequest {
        version: 2,
        ..device.request(&recipient, &[KID])
    };
    assert_eq!(code(&world, &mut device, &newer).await, 102);
}

#[tokio::test]
async fn v_040_a_request_for_another_server_is_refused() {
    let (here, there) = (World::seeded(1).await, World::seeded(2).await);
    let mut device = here.device(9).await;
    let (recipient, other) = (here.recipient().await, there.recipient().await);
    // Sealed to the other server.
    let body = device.request(&other, &[KID]);
    let sealed = device.seal(&other, Suite::P256, &body);
    assert_eq!(here.server.issue(&sealed).await.unwrap_err().code, 103);
    // A request to the other server that the other server re-seals to this one.
    let resealed = device.seal(&recipient, Suite::P256, &body);
    assert_eq!(here.server.issue(&resealed).await.unwrap_err().code, 103);
    // Names this server, but was sealed to a key that is not its own.
    let envelope = SealedRequest::seal(
        LicenseRequest::CONTEXT,
        Suite::P256,
        recipient.digest,
        other.key(Suite::P256),
        &device.sign(&body),
        &mut device.rng,
    );
    assert_eq!(
        here.server
            .issue(&envelope.unwrap().encode())
            .await
            .unwrap_err()
            .code,
        104
    );
    // Sealed as another kind of message.
    let context = keyward_license::enrolment::EnrolmentRequest::CONTEXT;
    let message = device.sign(&body);
    let envelope = SealedRequest::seal(
        context,
        Suite::P256,
        recipient.digest,
        recipient.key(Suite::P256),
        &message,
        &mut device.rng,
    );
    assert_eq!(
        here.server
            .issue(&envelope.unwrap().encode())
            .await
            .unwrap_err()
            .code,
        104
    );
    assert_eq!(here.count("SELECT count(*) FROM answers").await, 0);
}

#[tokio::test]
async fn v_041_an_expired_certificate_is_refused() {
    let world = World::new().await;
    let mut device = world.device(10).await;
    let recipient = world.recipient().await;
    let body = device.request(&recipient, &[KID]);
    device.ask(&world, &body).await.unwrap();
    // The chain is in the cache by now; that must not make it last longer.
    let ends = device.certificate().not_after();
    assert_eq!(ends, NOW.plus(730 * 86_400).0);
    world.clock.set(Timestamp(ends));
    let body = device.request(&recipient, &[KID]);
    let sealed = device.seal(&recipient, Suite::P256, &body);
    assert!(
        world
            .server
            .issue(&sealed)
            .await
            .is_err_and(|problem| problem.code == 103),
        "the server's has ended before"
    );
    // Seal to the certificate that the server uses by then.
    let document = world.server.discovery().await.unwrap();
    let renewed = common::Recipient::read(
        &document,
        &world.anchor(),
        world.profile().operator(),
        Timestamp(ends),
    );
    let body = device.request(&renewed, &[KID]);
    let sealed = device.seal(&renewed, Suite::P256, &body);
    assert!(
        world.server.issue(&sealed).await.is_ok(),
        "valid to the last second"
    );
    world.clock.advance(1);
    let body = device.request(&renewed, &[KID]);
    let sealed = device.seal(&renewed, Suite::P256, &body);
    assert_eq!(world.server.issue(&sealed).await.unwrap_err().code, 202);
}

#[tokio::test]
async fn v_042_an_unknown_or_revoked_device_is_refused() {
    let world = World::new().await;
    let mut device = world.device(11).await;
    let recipient = world.recipient().await;
    let body = device.request(&recipient, &[KID]);
    device.ask(&world, &body).await.unwrap();
    world.server.revoke_device(device.id()).await.unwrap();
    // Neither a new request nor the old one again.
    for body in [device.request(&recipient, &[KID]), body] {
        let response = device.ask(&world, &body).await.unwrap();
        assert_eq!(denial(&response.results[0]), 204);
    }
    // Nor a new enrolment of the same key.
    let token = world.token().await;
    assert_eq!(device.enrol(&world, &token).await.unwrap_err().code, 204);

    // A certificate of this operator whose device stands in no row (a database from before it).
    let mut lost = world.device(12).await;
    world
        .sql("PRAGMA foreign_keys = OFF; DELETE FROM devices WHERE revoked_at IS NULL")
        .await;
    let body = lost.request(&recipient, &[KID]);
    assert_eq!(code(&world, &mut lost, &body).await, 203);
}

#[tokio::test]
async fn v_043_the_same_request_gets_the_same_answer_and_another_with_its_nonce_none() {
    let mut world = World::new().await;
    let mut device = world.device(13).await;
    let recipient = world.recipient().await;
    let body = device.request(&recipient, &[KID]);
    let [first, again] = [Suite::P256, Suite::XWing].map(|suite| device.seal(&recipient, suite, &body));
    let answer = world.server.issue(&first).await.unwrap();
    // Sealed again or not: the same bytes.
    for repeated in [&first, &again] {
        assert_eq!(world.server.issue(repeated).await.unwrap(), answer);
    }
    // After a restart: the same results and time, signed again.
    world.reopen().await;
    world.clock.advance(60);
    let later = world.server.issue(&first).await.unwrap();
    let [before, after] = [&answer, &later].map(|answer| read(&world, answer, &pending(&body)));
    assert_eq!(ids(&world, &before), ids(&world, &after));
    assert_eq!(before.server_time, after.server_time);
    assert_eq!(world.server.issue(&again).await.unwrap(), later);
    assert_eq!(world.count("SELECT count(*) FROM issued").await, 1);

    let other = LicenseRequest {
        nonce: body.nonce,
        ..device.request(&recipient, &[KID])
    };
    assert_eq!(code(&world, &mut device, &other).await, 205);
    // A nonce belongs to its device.
    let mut neighbour = world.device(14).await;
    let same = LicenseRequest {
        nonce: body.nonce,
        ..neighbour.request(&recipient, &[KID])
    };
    assert!(neighbour.ask(&world, &same).await.is_ok());
}

#[tokio::test]
async fn v_043_many_at_once_get_one_set_of_licenses() {
    let world = World::new().await;
    let mut device = world.device(15).await;
    let recipient = world.recipient().await;
    let body = device.request(&recipient, &[KID]);
    let sealed = device.seal(&recipient, Suite::P256, &body);
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let (server, sealed) = (world.server.clone(), sealed.clone());
            tokio::spawn(async move { server.issue(&sealed).await.unwrap() })
        })
        .collect();
    let mut seen = Vec::new();
    for task in asked {
        seen.push(ids(&world, &read(&world, &task.await.unwrap(), &pending(&body))));
    }
    assert!(seen.iter().all(|ids| *ids == seen[0] && ids.len() == 1));
    assert_eq!(world.count("SELECT count(*) FROM issued").await, 1);
}

#[tokio::test]
async fn v_044_a_store_that_went_back_is_refused() {
    let world = World::new().await;
    let mut device = world.device(16).await;
    let recipient = world.recipient().await;
    let (first, second) = (EpochId::new([1; 16]), EpochId::new([2; 16]));
    let steps = [
        (first, 5, None),
        (first, 5, None),
        (first, 4, Some(206)),
        (second, 1, None),
        (first, 4, Some(206)),
        (first, 6, None),
        (first, 5, Some(206)),
        (first, u64::MAX, Some(101)),
    ];
    for (epoch, generation, refused) in steps {
        let store = StoreState { epoch, generation };
        let body = LicenseRequest {
            store,
            ..device.request(&recipient, &[KID])
        };
        let answer = device
            .ask(&world, &body)
            .await
            .map(drop)
            .map_err(|problem| problem.code);
        assert_eq!(answer.err(), refused, "{epoch} {generation}");
    }
    world.server.accept_restored_store(device.id()).await.unwrap();
    let store = StoreState {
        epoch: first,
        generation: 1,
    };
    let body = LicenseRequest {
        store,
        ..device.request(&recipient, &[KID])
    };
    assert!(device.ask(&world, &body).await.is_ok());
}

#[tokio::test]
async fn a_crash_between_record_and_sign_loses_no_license() {
    let mut world = World::new().await;
    let mut device = world.device(17).await;
    let recipient = world.recipient().await;
    let body = device.request(&recipient, &[KID, OTHER]);
    let sealed = device.seal(&recipient, Suite::P256, &body);
    let before = read(
        &world,
        &world.server.issue(&sealed).await.unwrap(),
        &pending(&body),
    );
    // What a crash after step 6 leaves is what the database has at any time: everything recorded, nothing signed.
    world.reopen().await;
    world.clock.advance(3600);
    let after = read(
        &world,
        &world.server.issue(&sealed).await.unwrap(),
        &pending(&body),
    );
    assert_eq!(ids(&world, &after), ids(&world, &before));
    assert_eq!((ids(&world, &after).len(), after.server_time), (1, NOW));
    assert_eq!(denial(&after.results[1]), 302);
    assert_eq!(
        device.open(&world, &after.results[0]).1,
        device.open(&world, &before.results[0]).1
    );
    assert_eq!(world.count("SELECT count(*) FROM issued").await, 1);
}

#[tokio::test]
async fn too_much_in_one_request_is_refused() {
    let world = World::new().await;
    let mut device = world.device(18).await;
    let recipient = world.recipient().await;
    let kids: Vec<_> = (0..=255u8).map(|byte| Kid::new([byte; 16])).collect();
    let header = ContentHeader::new(vec![KeyReference::new(Kid::new(*b"one more key id."))]);
    let headers = Some(vec![Bytes(header.to_object_bytes().unwrap())]);
    let body = LicenseRequest {
        content_headers: headers,
        ..device.request(&recipient, &kids)
    };
    assert_eq!(code(&world, &mut device, &body).await, 105);
    let broken = Some(vec![Bytes(vec![1, 2, 3])]);
    let body = LicenseRequest {
        content_headers: broken,
        ..device.request(&recipient, &[])
    };
    assert_eq!(code(&world, &mut device, &body).await, 101);
    let nothing = device.request(&recipient, &[]);
    assert_eq!(code(&world, &mut device, &nothing).await, 101);
}

#[tokio::test]
async fn licenses_weaker_than_the_operators_minimum_are_not_issued() {
    let mut world = World::new().await;
    let mut device = Device::new(19, &[Suite::P256]);
    device.enrol(&world, &world.token().await).await.unwrap();
    let path = world.dir().join("operator.toml");
    let toml = std::fs::read_to_string(&path)
        .unwrap()
        .replace("# minimum_suite = 1", "minimum_suite = 2");
    std::fs::write(&path, toml).unwrap();
    world.reopen().await;
    let recipient = world.recipient().await;
    let body = device.request(&recipient, &[KID]);
    let response = device.ask(&world, &body).await.unwrap();
    assert_eq!(denial(&response.results[0]), 304);
}

#[tokio::test]
async fn a_closed_server_says_that_it_is_stopping() {
    let world = World::new().await;
    let mut device = world.device(20).await;
    let recipient = world.recipient().await;
    let body = device.request(&recipient, &[KID]);
    let sealed = device.seal(&recipient, Suite::P256, &body);
    world.server.close().await;
    let problem = world.server.issue(&sealed).await.unwrap_err();
    assert_eq!((problem.code, problem.status), (502, 503));
}

#[tokio::test]
async fn a_license_does_not_outlast_its_entitlement() {
    let world = World::new().await;
    let mut device = world.device(50).await;
    let recipient = world.recipient().await;
    world
        .server
        .grant(ACCOUNT, Some(KID), "default", Some(NOW.plus(10)))
        .await
        .unwrap();
    let body = device.request(&recipient, &[KID]);
    let response = device.ask(&world, &body).await.unwrap();
    let (license, _) = device.open(&world, &response.results[0]);
    assert_eq!(license.body().end, Some(NOW.plus(10)));

    // A policy without an end of its own, and one that begins when the entitlement has ended.
    let endless = PolicyTerms {
        duration_seconds: None,
        ..PolicyTerms::DEFAULT
    };
    let later = PolicyTerms {
        begin_offset_seconds: Some(10),
        ..PolicyTerms::DEFAULT
    };
    for (name, terms, expected) in [
        ("endless", endless, Ok(Some(NOW.plus(10)))),
        ("later", later, Err(301)),
    ] {
        world.server.create_policy(name, terms).await.unwrap();
        world
            .server
            .grant(ACCOUNT, Some(KID), name, Some(NOW.plus(10)))
            .await
            .unwrap();
        let body = device.request(&recipient, &[KID]);
        let response = device.ask(&world, &body).await.unwrap();
        let result = &response.results[0];
        let end = match &result.license {
            Some(_) => Ok(device.open(&world, result).0.body().end),
            None => Err(denial(result)),
        };
        assert_eq!(end, expected, "{name}");
    }
}

/// Whoever revokes was told that it is done: nothing is issued on what was read before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_before_the_record_counts() {
    let changes = [
        "UPDATE entitlements SET revoked_at = 1",
        "UPDATE entitlements SET expires_at = 1900000000000 + 1000",
        "UPDATE devices SET security_level = 150",
        "INSERT INTO accounts (id, name, created_at) VALUES (99, 'bob', 0); UPDATE devices SET account = 99",
        "INSERT INTO policies SELECT name, version + 1, json_set(terms, '$.duration_seconds', 1), 0 FROM policies",
        "UPDATE keys SET minimum_security_level = 3000",
    ];
    for (seed, change) in (60..).zip(changes) {
        let world = World::seeded(seed).await;
        let mut device = world.device(seed).await;
        let recipient = world.recipient().await;
        let body = device.request(&recipient, &[KID]);
        let sealed = device.seal(&recipient, Suite::P256, &body);
        // They are there before anything is decided.
        world.server.revocation_lists().await.unwrap();
        let mut locked = world.locked().await;
        let (server, request) = (world.server.clone(), sealed.clone());
        let asked = tokio::spawn(async move { server.issue(&request).await });
        // By now the request has been decided and waits to be recorded.
        tokio::time::sleep(std::time::Duration::from_millis(1000)).await;
        sqlx::raw_sql(change).execute(&mut *locked).await.unwrap();
        sqlx::query("COMMIT").execute(&mut *locked).await.unwrap();
        assert_eq!(asked.await.unwrap().unwrap_err().code, 502, "{change}");
        assert_eq!(world.count("SELECT count(*) FROM issued").await, 0);
        // The same request may come again, and is decided anew.
        let again = read(
            &world,
            &world.server.issue(&sealed).await.unwrap(),
            &pending(&body),
        );
        assert_eq!(again.results.len(), 1);
    }
}

#[tokio::test]
async fn a_generation_beyond_counting_is_malformed() {
    let world = World::new().await;
    let mut device = world.device(70).await;
    let recipient = world.recipient().await;
    let most = i64::MAX.unsigned_abs();
    for generation in [most + 1, u64::MAX] {
        let mut body = device.request(&recipient, &[KID]);
        body.store.generation = generation;
        assert_eq!(code(&world, &mut device, &body).await, 101);
    }
    let mut body = device.request(&recipient, &[KID]);
    body.store.generation = most;
    assert!(device.ask(&world, &body).await.is_ok());
}

/// Requests that wait for the database at the same time are recorded together, and judged one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_recorded_together_are_judged_in_turn() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let (mut device, mut neighbour) = (world.device(31).await, world.device(32).await);
    let store = device.store.clone();
    let at = |generation| StoreState {
        generation,
        ..store.clone()
    };
    let mut requests = Vec::new();
    for generation in [1, 6, 5, 6] {
        let store = at(generation);
        requests.push(LicenseRequest {
            store,
            ..device.request(&recipient, &[KID])
        });
    }
    let mut sealed: Vec<_> = requests
        .iter()
        .map(|body| device.seal(&recipient, Suite::P256, body))
        .collect();
    // The second once more, and another device's.
    sealed.push(sealed[1].clone());
    let other = neighbour.request(&recipient, &[KID, OTHER]);
    sealed.push(neighbour.seal(&recipient, Suite::P256, &other));

    let mut locked = world.locked().await;
    let mut asked = Vec::new();
    for request in sealed {
        let server = world.server.clone();
        asked.push(tokio::spawn(async move { server.issue(&request).await }));
        tokio::time::sleep(core::time::Duration::from_millis(100)).await;
    }
    sqlx::query("COMMIT").execute(&mut *locked).await.unwrap();
    let mut answers = Vec::new();
    for task in asked {
        answers.push(task.await.unwrap());
    }
    let codes: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().err().map(|problem| problem.code))
        .collect();
    assert_eq!(codes, [None, None, Some(206), None, None, None]);
    let licenses = |place: usize, body| {
        ids(
            &world,
            &read(&world, answers[place].as_ref().unwrap(), &pending(body)),
        )
    };
    assert_eq!(licenses(1, &requests[1]), licenses(4, &requests[1]));
    assert_ne!(licenses(1, &requests[1]), licenses(3, &requests[3]));
    assert_eq!(licenses(5, &other).len(), 1);
    assert_eq!(world.count("SELECT count(*) FROM issued").await, 4);
    assert_eq!(world.count("SELECT max(generation) FROM store_epochs").await, 6);
}
