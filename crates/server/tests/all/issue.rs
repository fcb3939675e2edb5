//! License requests against a whole server, without HTTP.

mod verified;

use crate::common::{ACCOUNT, Device, KID, NOW, World, denial, ids, pending, read};
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
