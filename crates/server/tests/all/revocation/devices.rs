//! A device that is revoked: signed denials, nothing issued, nothing repeated.

use keyward_license::{codec::Wire, ids::Kid};
use keyward_server::{Error, Server};

use super::*;
use crate::common::{NOW, pending, read};

const OTHER: Kid = Kid::new([0x22; 16]);

#[tokio::test]
async fn v_042_a_revoked_device_gets_a_denial_for_every_key_id_and_the_list_that_names_it() {
    let world = World::new().await;
    let (mut device, mut other) = (world.device(1).await, world.device(2).await);
    assert_eq!(told(&world, &mut device).await, 0);
    world.server.revoke_device(device.id()).await.unwrap();

    let recipient = world.recipient().await;
    let body = device.request(&recipient, &[KID, OTHER]);
    let response = device.ask(&world, &body).await.unwrap();
    let denials: Vec<_> = response
        .results
        .iter()
        .map(|result| (result.kid, denial(result)))
        .collect();
    assert_eq!(denials, [(KID, 204), (OTHER, 204)]);
    let lists: Vec<_> = response
        .revocation_lists
        .unwrap()
        .iter()
        .map(|list| certificates(&world, list))
        .collect();
    let serial = device.certificate().serial().to_vec();
    assert_eq!(
        lists
            .iter()
            .filter(|list| list.revoked_since(&serial) == Some(NOW.0))
            .count(),
        1
    );

    // It names one device, and is of no use to others.
    let pushed = ask(&world, &mut other).await.revocation_lists.unwrap();
    assert!(pushed.iter().all(|list| certificates(&world, list).is_empty()));
    assert_eq!(told(&world, &mut other).await, 0);
}

/// What was issued before is recorded and stays so, and is not signed again.
#[tokio::test]
async fn v_042_a_request_that_was_answered_before_is_answered_with_denials() {
    let mut world = World::new().await;
    let mut device = world.device(3).await;
    let recipient = world.recipient().await;
    let body = device.request(&recipient, &[KID]);
    let sealed = device.seal(&recipient, keyward_crypto::hpke::Suite::P256, &body);
    let first = world.server.issue(&sealed).await.unwrap();
    assert!(read(&world, &first, &pending(&body)).results[0].license.is_some());
    world.server.revoke_device(device.id()).await.unwrap();
    for _ in 0..2 {
        let again = world.server.issue(&sealed).await.unwrap();
        let response = read(&world, &again, &pending(&body));
        assert_eq!(denial(&response.results[0]), 204);
        // From the database as well as from memory.
        world.reopen().await;
    }
    assert_eq!(world.count("SELECT count(*) FROM answers").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM issued").await, 1);
    // Another request with its nonce is one all the same.
    let mut other = device.request(&recipient, &[OTHER]);
    other.nonce = body.nonce;
    assert_eq!(device.ask(&world, &other).await.unwrap_err().code, 205);
}

#[tokio::test]
async fn v_043_denials_of_a_revoked_device_are_recorded_and_repeated() {
    let mut world = World::new().await;
    let mut device = world.device(4).await;
    world.server.revoke_device(device.id()).await.unwrap();
    let recipient = world.recipient().await;
    // Whatever its store looks like.
    device.store.generation = 0;
    let body = device.request(&recipient, &[KID]);
    let told = device.ask(&world, &body).await.unwrap();
    assert_eq!(denial(&told.results[0]), 204);
    assert_eq!(world.count("SELECT count(*) FROM answers").await, 1);
    world.reopen().await;
    world.clock.advance(60);
    let again = device.ask(&world, &body).await.unwrap();
    assert_eq!((again.results, again.server_time), (told.results, NOW));
    assert_eq!(world.count("SELECT count(*) FROM answers").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM store_epochs").await, 0);
}

/// A command beside the server revokes; the server has judged by the lists of before.
#[tokio::test]
async fn v_047_what_another_process_revokes_is_refused_at_once() {
    let world = World::new().await;
    let mut device = world.device(5).await;
    assert_eq!(told(&world, &mut device).await, 0);
    let beside = Server::open(&world.dir(), KekSource::File, world.clock.clone())
        .await
        .unwrap();
    let serial = device.certificate().serial().to_vec();
    beside.revoke_certificate(&serial, None, None).await.unwrap();
    assert_eq!(told(&world, &mut device).await, 204);
    beside.restore_certificate(&serial).await.unwrap();
    assert_eq!(told(&world, &mut device).await, 0);
    beside.close().await;
}

/// Decided before it was revoked, and recorded after: not with a license.
#[tokio::test]
async fn v_047_no_license_is_recorded_for_a_device_that_was_revoked_while_it_was_decided() {
    let world = World::new().await;
    let mut device = world.device(6).await;
    let recipient = world.recipient().await;
    assert_eq!(told(&world, &mut device).await, 0);
    for _ in 0..20 {
        let body = device.request(&recipient, &[KID]);
        let sealed = device.seal(&recipient, keyward_crypto::hpke::Suite::P256, &body);
        let serial = device.certificate().serial().to_vec();
        let revoke = async {
            world
                .server
                .revoke_certificate(&serial, None, None)
                .await
                .unwrap();
            world.count("SELECT count(*) FROM issued").await
        };
        let (answer, issued) = tokio::join!(world.server.issue(&sealed), revoke);
        let response = read(&world, &answer.unwrap(), &pending(&body));
        let later = world.count("SELECT count(*) FROM issued").await;
        match &response.results[0].license {
            Some(_) => assert_eq!(later, issued, "recorded before it was revoked"),
            None => assert_eq!(denial(&response.results[0]), 204),
        }
        assert_eq!(told(&world, &mut device).await, 204);
        world.server.restore_certificate(&serial).await.unwrap();
    }
}

#[tokio::test]
async fn v_041_a_certificate_that_is_revoked_is_the_devices_no_more_and_it_can_enrol_again() {
    let world = World::new().await;
    let mut device = world.device(7).await;
    let serial = device.certificate().serial().to_vec();
    world
        .server
        .revoke_certificate(&serial, None, None)
        .await
        .unwrap();
    assert_eq!(told(&world, &mut device).await, 204);
    let token = world.token().await;
    device.enrol(&world, &token).await.unwrap();
    assert_ne!(device.certificate().serial(), serial);
    assert_eq!(told(&world, &mut device).await, 0);
    assert_eq!(list(&world, "device-authority").await.entries, 1);
}

/// A device's row may have other bits at the beginning than its certificate: a list names what stands in that.
#[tokio::test]
async fn v_041_only_the_serial_number_that_stands_in_a_certificate_is_revoked() {
    let world = World::new().await;
    let (mut device, mut other) = (world.device(10).await, world.device(11).await);
    let serial = device.certificate().serial().to_vec();
    for bits in [0, 0x80, 0xc0] {
        let drawn = [&[serial[0] & 0x3f | bits], &serial[1..]].concat();
        let pool = world.pool().await;
        sqlx::query("UPDATE device_certificates SET serial = ?1 WHERE device = ?2")
            .bind(&drawn)
            .bind(&device.id().as_bytes()[..])
            .execute(&pool)
            .await
            .unwrap();
        pool.close().await;
        let refused = world
            .server
            .revoke_certificate(&drawn, None, None)
            .await
            .unwrap_err();
        assert!(matches!(refused, Error::CertificateUnknown(_)), "{refused}");
        assert_eq!(
            (told(&world, &mut device).await, told(&world, &mut other).await),
            (0, 0)
        );
        assert_eq!(
            world
                .server
                .devices()
                .await
                .unwrap()
                .iter()
                .filter(|one| one.certificates[0].serial == serial)
                .count(),
            1
        );
        world
            .server
            .revoke_certificate(&serial, None, None)
            .await
            .unwrap();
        assert_eq!(
            (told(&world, &mut device).await, told(&world, &mut other).await),
            (204, 0)
        );
        let listed = world.server.revoked_certificates().await.unwrap();
        assert_eq!(
            (&listed[0].serial, listed[0].device),
            (&serial, Some(device.id()))
        );
        world.server.restore_certificate(&serial).await.unwrap();
    }
}

#[tokio::test]
async fn who_is_revoked_already_is_told_since_when() {
    let world = World::new().await;
    let device = world.device(12).await;
    assert_eq!(world.server.revoke_device(device.id()).await.unwrap(), None);
    world.clock.advance(9);
    assert_eq!(world.server.revoke_device(device.id()).await.unwrap(), Some(NOW));
    let events = "SELECT count(*) FROM events WHERE kind = 'device-revoked'";
    assert_eq!(world.count(events).await, 1);
}

#[tokio::test]
async fn a_denial_for_revocation_names_the_operators_page() {
    let mut world = World::new().await;
    let mut device = world.device(8).await;
    let path = world.dir().join("operator.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let page =
        "[denials]\ndevice-revoked = { sentence = \"Ask us.\", url = \"https://help.example/device\" }\n";
    std::fs::write(&path, config.replace("[denials]\n", page)).unwrap();
    world.reopen().await;
    world.server.revoke_device(device.id()).await.unwrap();
    let response = ask(&world, &mut device).await;
    let denied = response.results[0].denial.clone().unwrap();
    assert_eq!((denied.code, &denied.sentence[..]), (204, "Ask us."));
    assert_eq!(denied.url.as_deref(), Some("https://help.example/device"));
}

/// Asking for time and lists alone is asking all the same.
#[tokio::test]
async fn a_revoked_device_that_wants_no_license_gets_the_time_and_the_lists() {
    let world = World::new().await;
    let mut device = world.device(9).await;
    world.server.revoke_device(device.id()).await.unwrap();
    let recipient = world.recipient().await;
    let mut body = device.request(&recipient, &[]);
    (body.kids, body.license_requested) = (None, false);
    let response = device.ask(&world, &body).await.unwrap();
    assert_eq!((response.results, response.server_time), (vec![], NOW));
    assert!(
        response
            .revocation_lists
            .unwrap()
            .iter()
            .any(|list| list.encode().len() > 100)
    );
}
