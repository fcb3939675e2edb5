//! Certificates on the lists of their authorities: packagers, the server's own, authorities.

use keyward_crypto::{
    ChainFault, CryptoError,
    x509::{
        Role,
        issue::{Profile, Reason, issue},
    },
};
use keyward_license::{revocation::ListNumber, time::Timestamp};
use keyward_server::{
    Error,
    revocation::{CertificateState, IssuedCertificate, RevokedAuthority},
    rolls::Purpose,
};

use super::*;
use crate::common::{NOW, Recipient};

#[tokio::test]
async fn v_070_a_packager_with_a_revoked_certificate_gets_nothing() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let mut packager = world.packager(1, &keyward_crypto::hpke::Suite::ALL).await;
    let serial = packager.certificate().serial().to_vec();
    world
        .server
        .revoke_certificate(&serial, None, Some(Reason::Superseded))
        .await
        .unwrap();
    let body = asking::request(&mut packager, &recipient, "film", asking::media());
    let sealed = asking::sealed(&mut packager, &recipient, &body);
    let refused = world.server.package(&sealed).await.unwrap_err();
    assert_eq!((refused.code, refused.status), (204, 403));
    world.server.restore_certificate(&serial).await.unwrap();
    world.server.package(&sealed).await.unwrap();

    let named = list(&world, "packager-authority").await;
    assert_eq!(named.entries, 0);
    world.server.revoke_device(packager.id()).await.unwrap();
    let named = certificates(&world, &list(&world, "packager-authority").await.list);
    assert_eq!(named.revoked_since(&serial), Some(NOW.0));
}

/// The certificates of one purpose, the newest first.
async fn of_purpose(world: &World, purpose: &str) -> Vec<IssuedCertificate> {
    let mut own = world.server.certificates().await.unwrap();
    own.retain(|one| one.purpose == purpose);
    own
}

/// Serial number and key of two certificates: in the last third of the first one's life there is another.
async fn renewed(world: &World, purpose: &str) -> [Vec<u8>; 2] {
    world.clock.advance(300 * DAY);
    world.recipient().await;
    let own = of_purpose(world, purpose).await;
    assert_eq!(own.iter().map(|one| one.key).collect::<Vec<_>>(), [0, 0]);
    [own[1].serial.clone(), own[0].serial.clone()]
}

#[tokio::test]
async fn a_certificate_is_not_revoked_while_the_server_works_with_its_key() {
    let world = World::new().await;
    let authority = of_purpose(&world, "server-authority").await.remove(0);
    let refused = world
        .server
        .revoke_certificate(&authority.serial, None, None)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, Error::OfAuthority(_)),
        "the root's list names it: {refused}"
    );

    let only = of_purpose(&world, "request-encryption").await.remove(0);
    let refused = world
        .server
        .revoke_certificate(&only.serial, None, None)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::CertificateInUse(_)), "{refused}");
    for serial in renewed(&world, "request-encryption").await {
        let why = Some(Reason::KeyCompromise);
        let refused = world
            .server
            .revoke_certificate(&serial, None, why)
            .await
            .unwrap_err();
        assert!(matches!(refused, Error::CertificateInUse(_)), "{refused}");
        assert!(refused.hint().contains("keyward admin roll"));
    }
    assert!(world.server.revoked_certificates().await.unwrap().is_empty());
}

#[tokio::test]
async fn v_064_a_revoked_certificate_of_the_servers_takes_those_of_the_same_key_with_it() {
    let world = World::new().await;
    let [first, second] = renewed(&world, "license-server").await;
    let rolled = world.server.roll_key(Purpose::LicenseServer).await.unwrap();
    assert_eq!(rolled.number, 1);
    let third = of_purpose(&world, "license-server").await.remove(0);
    assert_eq!((third.key, third.state), (1, CertificateState::InUse));
    for (revoked, restored) in [(&second, &first), (&first, &second)] {
        let why = Some(Reason::KeyCompromise);
        world.server.revoke_certificate(revoked, None, why).await.unwrap();
        let named = certificates(&world, &list(&world, "server-authority").await.list);
        for serial in [&first, &second] {
            assert_eq!(named.revoked_since(serial), Some(world.clock.now().0));
        }
        // No other key, nor that of this number of another purpose.
        let rows = world.server.revoked_certificates().await.unwrap();
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(|row| row.reason == why));
        let states: Vec<_> = of_purpose(&world, "license-server").await;
        let states: Vec<_> = states.iter().map(|one| one.state).collect();
        assert_eq!(
            states,
            [
                CertificateState::InUse,
                CertificateState::Revoked,
                CertificateState::Revoked
            ]
        );
        world.server.restore_certificate(restored).await.unwrap();
        assert!(world.server.revoked_certificates().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_is_sealed_to_a_revoked_certificate_is_not_opened() {
    let world = World::new().await;
    let earlier = world.recipient().await;
    let [first, _] = renewed(&world, "request-encryption").await;
    let renewed = world.recipient().await;
    assert_ne!(renewed.digest, earlier.digest);
    world.server.roll_key(Purpose::RequestEncryption).await.unwrap();
    let rolled = world.recipient().await;
    let mut device = world.device(2).await;
    let mut sealed = |recipient: &Recipient| {
        let body = device.request(recipient, &[KID]);
        device.seal(recipient, keyward_crypto::hpke::Suite::P256, &body)
    };
    let old = [sealed(&earlier), sealed(&renewed)];
    for sealed in &old {
        assert!(
            world.server.issue(sealed).await.is_ok(),
            "accepted for the overlap"
        );
    }

    world
        .server
        .revoke_certificate(&first, None, Some(Reason::KeyCompromise))
        .await
        .unwrap();
    world.server.issue(&sealed(&rolled)).await.unwrap();
    for sealed in &old {
        assert_eq!(world.server.issue(sealed).await.unwrap_err().code, 103);
    }
}

#[tokio::test]
async fn since_when_a_key_may_be_known_to_others_stands_on_the_list() {
    let world = World::new().await;
    let device = world.device(3).await;
    let serial = device.certificate().serial().to_vec();
    let later = Some(Timestamp(NOW.0 + 1));
    let refused = world
        .server
        .revoke_certificate(&serial, later, None)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::OutOfRange { .. }), "{refused}");
    let since = |at| Some(Timestamp(at));
    world
        .server
        .revoke_certificate(&serial, since(NOW.0 - 50), None)
        .await
        .unwrap();
    // What is known later can only be earlier.
    world
        .server
        .revoke_certificate(&serial, since(NOW.0 - 10), None)
        .await
        .unwrap();
    world
        .server
        .revoke_certificate(&serial, None, Some(Reason::KeyCompromise))
        .await
        .unwrap();
    let named = certificates(&world, &list(&world, "device-authority").await.list);
    assert_eq!(named.revoked_since(&serial), Some(NOW.0 - 50));
    let row = world.server.revoked_certificates().await.unwrap().remove(0);
    assert_eq!(
        (row.invalid_since, row.reason),
        (since(NOW.0 - 50), Some(Reason::KeyCompromise))
    );
    let unknown = world
        .server
        .revoke_certificate(&[9; 16], None, None)
        .await
        .unwrap_err();
    assert!(matches!(unknown, Error::CertificateUnknown(_)), "{unknown}");
}

#[tokio::test]
async fn a_revoked_devices_certificate_stays_on_the_list() {
    let world = World::new().await;
    let device = world.device(4).await;
    let serial = device.certificate().serial().to_vec();
    world.server.revoke_device(device.id()).await.unwrap();
    let refused = world.server.restore_certificate(&serial).await.unwrap_err();
    assert!(matches!(refused, Error::DeviceRevokedForGood(_)), "{refused}");
    let refused = world.server.restore_certificate(&[9; 16]).await.unwrap_err();
    assert!(matches!(refused, Error::CertificateNotRevoked(_)), "{refused}");
}

/// V-064: a list of the root is one of this root, and newer than the one that is there.
#[tokio::test]
async fn v_064_the_roots_list_is_imported_and_refuses_what_is_under_a_revoked_authority() {
    let mut world = World::new().await;
    let mut device = world.device(5).await;
    assert_eq!(told(&world, &mut device).await, 0);
    let authority = Certificate::parse(&device.chain[1]).unwrap();
    let entry = Revoked {
        serial: authority.serial(),
        at: world.clock.now().0,
        invalid_since: None,
        reason: Some(Reason::AuthorityCompromise),
    };
    let first = root_list(&world, 7, core::slice::from_ref(&entry));
    world.server.import_revocation_list(&first).await.unwrap();
    world.server.import_revocation_list(&first).await.unwrap();
    for held in [root_list(&world, 7, &[]), root_list(&world, 6, &[])] {
        let refused = world.server.import_revocation_list(&held).await.unwrap_err();
        assert!(matches!(refused, Error::ListRefused(_)), "{refused}");
    }
    let other = World::seeded(2).await;
    for stranger in [root_list(&other, 8, &[]), b"no list".to_vec()] {
        let refused = world.server.import_revocation_list(&stranger).await.unwrap_err();
        assert!(matches!(refused, Error::ListUntrusted(_)), "{refused}");
    }
    let online = list(&world, "server-authority").await.list;
    let RevocationList::Certificates { list: online, .. } = online else {
        unreachable!()
    };
    let refused = world.server.import_revocation_list(&online.0).await.unwrap_err();
    assert!(matches!(refused, Error::ListUntrusted(_)), "{refused}");

    assert_eq!(told(&world, &mut device).await, 204);
    world.reopen().await;
    let response = ask(&world, &mut device).await;
    assert_eq!(denial(&response.results[0]), 204);
    let pushed = response.revocation_lists.unwrap();
    let of_root = pushed
        .iter()
        .find(|list| matches!(list, RevocationList::Certificates { path, .. } if path.is_empty()));
    let of_root = certificates(&world, of_root.unwrap());
    assert!(of_root.revoked_since(authority.serial()).is_some());
    let anchor = world
        .anchor()
        .with_revocation(vec![of_root], keyward_license::revocation::UnknownStatus::Accept);
    let judged = anchor.verify(&device.chain, Role::Device, world.clock.now().0);
    assert_eq!(
        judged.unwrap_err(),
        CryptoError::ChainRefused(ChainFault::Revoked)
    );
    // What the root takes back is trusted again.
    world
        .server
        .import_revocation_list(&root_list(&world, 8, &[]))
        .await
        .unwrap();
    assert_eq!(told(&world, &mut device).await, 0);
}

/// V-064: an authority is revoked with the root key, once it has a successor; what was revoked stays so.
#[tokio::test]
async fn v_064_the_root_revokes_an_authority_that_has_a_successor() {
    let world = World::new().await;
    let mut device = world.device(6).await;
    let key = root_key(&world);
    let authority = Certificate::parse(&device.chain[1]).unwrap();
    let revoked = || {
        Some(RevokedAuthority {
            serial: authority.serial().to_vec(),
            invalid_since: None,
            reason: Some(Reason::AuthorityCompromise),
        })
    };
    let refused = world
        .server
        .revoke_authority(&key, revoked(), 90 * DAY)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::CertificateInUse(_)), "{refused}");
    let unknown = Some(RevokedAuthority {
        serial: vec![9],
        ..revoked().unwrap()
    });
    let refused = world
        .server
        .revoke_authority(&key, unknown, 90 * DAY)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::CertificateUnknown(_)), "{refused}");
    let own = world.server.certificates().await.unwrap();
    assert!(own.iter().all(|one| one.state == CertificateState::InUse));
    let of_server = own.iter().find(|one| one.purpose == "license-server");
    let no_authority = Some(RevokedAuthority {
        serial: of_server.unwrap().serial.clone(),
        ..revoked().unwrap()
    });
    let refused = world
        .server
        .revoke_authority(&key, no_authority, 90 * DAY)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::NotOfAuthority(_)), "{refused}");

    let profile = Profile {
        subject: "Example device authority",
        roles: &[Role::Device],
        authority: Some(0),
        not_before: NOW.0,
        not_after: NOW.0 + 900 * DAY,
        claims: None,
        serial: [5; 16],
    };
    let root = Certificate::parse(world.anchor().der()).unwrap();
    let successor = issue(&profile, device.signing.public_key(), &root, &key).unwrap();
    let pool = world.pool().await;
    sqlx::query("INSERT INTO certificates (purpose, der, not_after, created_at) VALUES ('device-authority', ?1, ?2, 0)")
        .bind(successor)
        .bind(i64::MAX)
        .execute(&pool)
        .await
        .unwrap();
    let state = async || {
        let own = world.server.certificates().await.unwrap();
        let found = own.iter().find(|one| one.serial == authority.serial());
        found.unwrap().state
    };
    assert_eq!(state().await, CertificateState::Replaced);
    world
        .server
        .revoke_authority(&key, revoked(), 90 * DAY)
        .await
        .unwrap();
    assert_eq!(told(&world, &mut device).await, 204);
    assert_eq!(state().await, CertificateState::Revoked);
    let named = world.server.revoked_certificates().await.unwrap();
    let named: Vec<_> = named
        .iter()
        .map(|one| (&one.serial[..], one.authority, one.purpose))
        .collect();
    assert_eq!(named, [(authority.serial(), "root", Some("device-authority"))]);
    let first = list(&world, "root").await;
    assert_eq!((first.entries, first.next_update.0), (1, NOW.0 + 90 * DAY));

    // Another list, with nothing new, in the place of one that is getting old.
    world.clock.advance(3600);
    world.server.revoke_authority(&key, None, 90 * DAY).await.unwrap();
    let second = list(&world, "root").await;
    assert!(second.number > first.number && second.issued > first.issued);
    assert_eq!(
        certificates(&world, &second.list).revoked_since(authority.serial()),
        Some(NOW.0)
    );
    assert_eq!(told(&world, &mut device).await, 204);
    // Again: what was refused does not become good for the hour between.
    world
        .server
        .revoke_authority(&key, revoked(), 90 * DAY)
        .await
        .unwrap();
    let third = list(&world, "root").await;
    assert_eq!(
        (
            third.entries,
            certificates(&world, &third.list).revoked_since(authority.serial())
        ),
        (1, Some(NOW.0))
    );
    let other = Device::new(9, &keyward_crypto::hpke::Suite::ALL).signing;
    assert!(
        world
            .server
            .revoke_authority(&other, None, 90 * DAY)
            .await
            .is_err()
    );
}

/// As of the lists that the server signs: numbers only rise, whatever became of them, and what a clock far ahead made
/// keeps nothing from being revoked.
#[tokio::test]
async fn v_064_the_roots_lists_are_numbered_as_the_others_are() {
    let world = World::new().await;
    let server = &world.server;
    let key = root_key(&world);
    let make = || server.revoke_authority(&key, None, 90 * DAY);
    make().await.unwrap();
    let first = list(&world, "root").await;
    // One that was announced and not signed has used its number up.
    let other = Device::new(9, &keyward_crypto::hpke::Suite::ALL).signing;
    assert!(server.revoke_authority(&other, None, 90 * DAY).await.is_err());
    assert_eq!(list(&world, "root").await, first);
    make().await.unwrap();
    let second = list(&world, "root").await;
    assert_eq!(second.issued, first.issued);
    let announced = "SELECT count(DISTINCT detail) FROM events WHERE kind = 'revocation-list-announced' AND subject = 'root'";
    assert_eq!(world.count(announced).await, 3);
    assert_eq!(
        second.number,
        ListNumber::from(NOW.0 + 2),
        "after the time, the time and one, which nobody got"
    );

    // A clock that is a little behind makes none older.
    world.clock.set(Timestamp(NOW.0 - 60));
    make().await.unwrap();
    let third = list(&world, "root").await;
    assert!(third.number > second.number && third.issued == NOW);
    world.clock.set(Timestamp(NOW.0 + 30 * DAY));
    make().await.unwrap();
    let ahead = list(&world, "root").await;
    assert_eq!(ahead.issued.0, NOW.0 + 30 * DAY);
    world.clock.set(NOW);
    make().await.unwrap();
    let last = list(&world, "root").await;
    assert!(last.number > ahead.number && last.issued == NOW);
    assert_eq!(
        world
            .count("SELECT count(*) FROM revocation_lists WHERE list IS NULL")
            .await,
        1,
        "the newest number is kept"
    );
    // One from elsewhere counts as well.
    let elsewhere = root_list(&world, 3_000_000_000, &[]);
    server.import_revocation_list(&elsewhere).await.unwrap();
    make().await.unwrap();
    assert_eq!(list(&world, "root").await.number, ListNumber::from(3_000_000_001));
    // And of these none is taken that is older than the one that is there (V-064).
    world.clock.advance(60);
    make().await.unwrap();
    world.clock.set(NOW);
    let older = root_list(&world, u64::MAX, &[]);
    let refused = server.import_revocation_list(&older).await.unwrap_err();
    assert!(matches!(refused, Error::ListRefused(_)), "{refused}");
}
