//! Rolls, and what is not trusted any more.

use keyward_crypto::x509::revocation::RevocationList as CertificateRevocationList;
use keyward_license::revocation::{DeviceRevocationList, RevocationList};
use keyward_server::{
    Error,
    admin::TokenRequest,
    revocation::{NewModel, PublishedList, RevokedAuthority},
};

use super::{renewal::LATE, *};

async fn lists(world: &World, name: &str) -> Vec<PublishedList> {
    let mut lists = world.server.revocation_lists().await.unwrap();
    lists.retain(|list| list.name == name);
    lists
}

/// Whether a list of certificates names one, as whoever gets the list reads it.
fn names(world: &World, list: &PublishedList, serial: &[u8]) -> bool {
    let RevocationList::Certificates { list, path } = &list.list else {
        panic!("a list of devices");
    };
    let list = CertificateRevocationList::parse(&list.0).unwrap();
    let path: Vec<_> = path.iter().map(|der| der.0.clone()).collect();
    let now = world.clock.now().0;
    world.anchor().verify_list_of(&list, &path, now, now).unwrap();
    list.revoked_since(serial).is_some()
}

/// Serial number of the newest certificate of a purpose.
async fn newest(world: &World, purpose: &str) -> Vec<u8> {
    let certificates = world.server.certificates().await.unwrap();
    let newest = certificates.into_iter().find(|issued| issued.purpose == purpose);
    newest.unwrap().serial
}

fn acme() -> NewModel {
    NewModel {
        maker: "Acme".into(),
        model: None,
        robustness_below: None,
        since: None,
        reason: None,
    }
}

#[tokio::test]
async fn the_operators_own_list_is_signed_anew_by_the_key_that_was_rolled() {
    let mut world = World::new().await;
    world.server.revoke_model(acme()).await.unwrap();
    let signer = |list: &PublishedList| {
        let RevocationList::Devices(list) = &list.list else {
            panic!("a list of certificates");
        };
        let list = Unverified::<DeviceRevocationList>::parse(&list.0).unwrap();
        let now = world.clock.now();
        let list = list.verify(&world.anchor(), Role::RevocationList, |_| vec![now]);
        list.unwrap().signer().unwrap().public_key_digest()
    };
    let before = lists(&world, "own").await;
    let of_before = newest(&world, "revocation-list").await;
    let in_use = world.server.revoke_certificate(&of_before, None, None).await;
    assert!(matches!(in_use, Err(Error::CertificateInUse(_))));
    for purpose in [Purpose::RevocationList, Purpose::Receipt] {
        let rolled = world.server.roll_key(purpose).await.unwrap();
        assert_eq!((&rolled.what[..], rolled.number), (purpose.as_str(), 1));
    }
    let after = lists(&world, "own").await;
    assert!(after[0].number > before[0].number);
    assert_ne!(signer(&after[0]), signer(&before[0]));
    // What was rolled can be revoked, and does not come back.
    world
        .server
        .revoke_certificate(&of_before, None, None)
        .await
        .unwrap();
    let last = lists(&world, "own").await;
    assert_eq!(signer(&last[0]), signer(&after[0]));
    world.reopen().await;
    assert_eq!(lists(&world, "own").await, last);
    assert!(world.server.discovery().await.is_ok());
}

#[tokio::test]
async fn every_authority_whose_certificates_last_goes_on_to_say_what_is_revoked() {
    let mut world = World::new().await;
    let old = world.device(1).await;
    world.clock.advance(365 * DAY);
    for purpose in [
        Purpose::DeviceAuthority,
        Purpose::PackagerAuthority,
        Purpose::ServerAuthority,
    ] {
        roll_authority(&world, purpose).await;
    }
    let new = world.device(2).await;
    world.server.revoke_device(old.id()).await.unwrap();
    world
        .server
        .revoke_certificate(new.certificate().serial(), None, None)
        .await
        .unwrap();
    for reopened in [false, true] {
        let of_devices = lists(&world, "device-authority").await;
        assert_eq!(of_devices.len(), 2, "{reopened}");
        assert_ne!(of_devices[0].id, of_devices[1].id);
        for list in &of_devices {
            for device in [&old, &new] {
                assert!(names(&world, list, device.certificate().serial()), "{reopened}");
            }
        }
        assert_eq!(lists(&world, "server-authority").await.len(), 2);
        world.reopen().await;
    }
    // Until the first has ended: then nothing of it is accepted.
    world.clock.advance(4 * 365 * DAY);
    world.reopen().await;
    assert_eq!(lists(&world, "device-authority").await.len(), 2);
    world.clock.advance(1);
    world.reopen().await;
    assert_eq!(lists(&world, "device-authority").await.len(), 1);
}

/// A repeated request gets its licenses again, under a certificate that is trusted.
#[tokio::test]
async fn what_was_revoked_signs_nothing_again() {
    let mut world = World::new().await;
    let mut device = world.device(1).await;
    let request = asked(&world, &mut device).await;
    let before = answered(&world, &request).await;
    let signer = newest(&world, "license-server").await;
    world.server.roll_key(Purpose::LicenseServer).await.unwrap();
    assert_eq!(answered(&world, &request).await.signers, before.signers);
    world
        .server
        .revoke_certificate(&signer, None, None)
        .await
        .unwrap();
    for reopened in [false, true] {
        let again = answered(&world, &request).await;
        assert_eq!(again.id, before.id);
        for (again, before) in again.signers.iter().zip(&before.signers) {
            assert_ne!(again, before, "{reopened}");
        }
        world.reopen().await;
    }
}

/// As well where nobody asked for a license between the roll and the revocation.
#[tokio::test]
async fn what_was_revoked_before_the_next_request_signs_nothing_again() {
    let world = World::new().await;
    let mut device = world.device(1).await;
    let request = asked(&world, &mut device).await;
    let before = answered(&world, &request).await;
    let signer = newest(&world, "license-server").await;
    world.server.roll_key(Purpose::LicenseServer).await.unwrap();
    world
        .server
        .revoke_certificate(&signer, None, None)
        .await
        .unwrap();
    let again = answered(&world, &request).await;
    assert_eq!(again.id, before.id);
    for (again, before) in again.signers.iter().zip(&before.signers) {
        assert_ne!(again, before);
    }
}

#[tokio::test]
async fn v_064_a_server_authority_is_not_revoked_before_what_it_certified_is_rolled() {
    let world = World::new().await;
    let mut device = world.device(1).await;
    let first = newest(&world, "server-authority").await;
    roll_authority(&world, Purpose::ServerAuthority).await;
    let key = root_key(&world);
    let revoke = || {
        let revoked = RevokedAuthority {
            serial: first.clone(),
            invalid_since: None,
            reason: None,
        };
        world.server.revoke_authority(&key, Some(revoked), 90 * DAY)
    };
    for purpose in [
        Purpose::LicenseServer,
        Purpose::RequestEncryption,
        Purpose::Receipt,
        Purpose::RevocationList,
    ] {
        let refused = revoke().await.unwrap_err();
        assert!(matches!(refused, Error::CertificateInUse(_)), "{refused}");
        assert!(refused.hint().contains(purpose.as_str()));
        world.server.roll_key(purpose).await.unwrap();
    }
    revoke().await.unwrap();
    ask(&world, &mut device).await;
    assert_eq!(lists(&world, "root").await[0].entries, 1);
}

/// Two who revoke at the same time: what one was told that it did stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v_064_authorities_that_are_revoked_together_are_both_on_the_roots_list() {
    let world = World::new().await;
    let key = root_key(&world);
    let mut old = Vec::new();
    for purpose in [Purpose::DeviceAuthority, Purpose::PackagerAuthority] {
        old.push(newest(&world, purpose.as_str()).await);
        roll_authority(&world, purpose).await;
    }
    let revoke = |serial: &Vec<u8>| {
        let revoked = RevokedAuthority {
            serial: serial.clone(),
            invalid_since: None,
            reason: None,
        };
        world.server.revoke_authority(&key, Some(revoked), 90 * DAY)
    };
    let (one, two) = tokio::join!(revoke(&old[0]), revoke(&old[1]));
    let list = lists(&world, "root").await.remove(0);
    for (done, serial) in [one, two].iter().zip(&old) {
        match done {
            Ok(()) => assert!(names(&world, &list, serial)),
            Err(refused) => assert!(matches!(refused, Error::ListRefused(_)), "{refused}"),
        }
    }
    for serial in &old {
        revoke(serial).await.unwrap();
    }
    assert_eq!(lists(&world, "root").await[0].entries, 2);
}

#[tokio::test]
async fn v_041_v_047_what_is_revoked_is_not_renewed() {
    let world = World::new().await;
    let mut device = world.device(1).await;
    let mut other = Device::new(2, &Suite::ALL);
    let token = world.token_for(TokenRequest {
        maker: "Acme".into(),
        ..TokenRequest::new(crate::common::ACCOUNT)
    });
    other.enrol(&world, &token.await).await.unwrap();
    let mut packager = world.packager(3, &Suite::ALL).await;
    world.clock.advance(LATE);
    for party in [&device, &packager] {
        let serial = party.certificate().serial().to_vec();
        world
            .server
            .revoke_certificate(&serial, None, None)
            .await
            .unwrap();
    }
    for party in [&mut device, &mut packager] {
        assert_eq!(renewal::renew(&world, party).await.unwrap_err().code, 204);
    }
    renewal::renew(&world, &mut other).await.unwrap();
    world.server.revoke_model(acme()).await.unwrap();
    world.clock.advance(LATE);
    assert_eq!(renewal::renew(&world, &mut other).await.unwrap_err().code, 204);
    assert_eq!(
        world
            .count("SELECT count(*) FROM device_certificates WHERE token IS NULL")
            .await,
        1
    );
}
