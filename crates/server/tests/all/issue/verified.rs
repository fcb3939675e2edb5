//! What is refused before anything is decided: messages, devices, nonces, stores.

use super::*;

#[tokio::test]
async fn v_001_to_v_005_altered_messages_are_refused() {
    let world = World::new().await;
    let mut device = world.device(8).await;
    let recipient = world.recipient().await;
    let issue = async |message: &[u8], device: &mut Device| {
        let sealed = crate::common::seal::<LicenseRequest>(&recipient, Suite::P256, message, &mut device.rng);
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
    let renewed = crate::common::Recipient::read(
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
