//! Authorities, whose certificates the root signs.

use keyward_license::enrolment::EnrolmentRole;
use keyward_server::{Error, admin::TokenRequest, rolls::AuthorityRequest};

use super::*;

#[tokio::test]
async fn a_rolled_device_authority_certifies_what_is_new_and_what_was_certified_stays() {
    let mut world = World::new().await;
    let token = world.token().await;
    let mut old = Device::new(1, &Suite::ALL);
    old.enrol(&world, &token).await.unwrap();
    let chain = old.chain.clone();

    world.clock.advance(3600);
    let rolled = roll_authority(&world, Purpose::DeviceAuthority).await;
    let now = world.clock.now();
    assert_eq!((rolled.number, rolled.ends), (1, now.0 + 5 * 365 * DAY));
    assert_eq!(rolled.before_accepted_until, Some(now.0 - 3600 + 5 * 365 * DAY));

    let mut new = world.device(2).await;
    assert_ne!(issuer(&new.chain), issuer(&chain));
    for reopened in [false, true] {
        for device in [&mut old, &mut new] {
            let answered = ask(&world, device).await;
            assert!(is_good(&world, &answered.license), "{reopened}");
        }
        // The same enrolment again: the certificate that was recorded, under the authority that issued it.
        old.enrol(&world, &token).await.unwrap();
        assert_eq!(old.chain, chain);
        world.reopen().await;
    }
}

#[tokio::test]
async fn packagers_of_before_go_on_and_one_that_had_no_authority_gets_one() {
    let mut world = World::new().await;
    let mut packager = world.packager(1, &Suite::ALL).await;
    roll_authority(&world, Purpose::PackagerAuthority).await;
    let mut other = world.packager(2, &Suite::ALL).await;
    assert_ne!(issuer(&packager.chain), issuer(&other.chain));
    for packager in [&mut packager, &mut other] {
        let recipient = world.recipient().await;
        let body = asking::request(packager, &recipient, "film", asking::media());
        assert!(asking::send(&world, packager, &body).await.is_ok());
    }

    // As of an operator that was made before packagers had certificates.
    world
        .sql("DELETE FROM certificates WHERE purpose = 'packager-authority'")
        .await;
    world
        .sql("DELETE FROM secrets WHERE name LIKE 'packager-authority%'")
        .await;
    world.reopen().await;
    let token = || {
        let role = EnrolmentRole::Packager;
        let wanted = TokenRequest {
            role,
            ..TokenRequest::new("packaging")
        };
        world.server.create_enrolment_token(wanted)
    };
    assert!(matches!(token().await, Err(Error::NoPackagerAuthority)));
    let first = roll_authority(&world, Purpose::PackagerAuthority).await;
    assert_eq!((first.number, first.before_accepted_until), (0, None));
    assert!(token().await.is_ok());
    world.packager(3, &Suite::ALL).await;
}

#[tokio::test]
async fn a_rolled_server_authority_certifies_the_next_keys_and_renewals() {
    let mut world = World::new().await;
    let mut device = world.device(1).await;
    let request = asked(&world, &mut device).await;
    let before = answered(&world, &request).await;
    roll_authority(&world, Purpose::ServerAuthority).await;
    // The certificates that are there go on, under the authority that issued them.
    let same = ask(&world, &mut device).await;
    assert_eq!(same.signers, before.signers);
    assert!(is_good(&world, &same.license));

    world.clock.advance(60);
    for purpose in [Purpose::LicenseServer, Purpose::RequestEncryption] {
        world.server.roll_key(purpose).await.unwrap();
    }
    let after = ask(&world, &mut device).await;
    assert!(is_good(&world, &after.license) && is_good(&world, &before.license));
    assert_ne!(after.signers, before.signers);
    world.reopen().await;
    let again = answered(&world, &request).await;
    assert_eq!((again.id, again.signers), (before.id, before.signers.clone()));

    // In the last year of the first authority, certificates are renewed by the second, whole years.
    world.clock.advance(4 * 365 * DAY + 200 * DAY);
    world.reopen().await;
    let renewed: i64 =
        sqlx::query_scalar("SELECT max(not_after) / 1000 FROM certificates WHERE purpose = 'license-server'")
            .fetch_one(&world.pool().await)
            .await
            .unwrap();
    assert!(u64::try_from(renewed).unwrap() > world.clock.now().0 + 150 * DAY);
    world.recipient().await;
}

#[tokio::test]
async fn authorities_that_have_ended_are_rolled_all_the_same() {
    let mut world = World::new().await;
    let chain = world.device(1).await.chain;
    world.server.close().await;
    world.clock.advance(6 * 365 * DAY);
    world.reopen().await;
    assert!(world.server.discovery().await.is_err());
    let listener = || async { tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap() };
    let serving = world.server.clone();
    let refused = serving.serve(listener().await, listener().await, async {}).await;
    assert!(
        matches!(refused, Err(Error::Ended("device-authority"))),
        "{refused:?}"
    );
    world.reopen().await;
    drop(world.server.right_to_serve().await.unwrap());
    for purpose in [Purpose::ServerAuthority, Purpose::DeviceAuthority] {
        let rolled = roll_authority(&world, purpose).await;
        assert_eq!((rolled.number, rolled.before_accepted_until), (1, None));
    }
    let mut device = world.device(2).await;
    assert_ne!(issuer(&device.chain), issuer(&chain));
    assert!(is_good(&world, &ask(&world, &mut device).await.license));
}

#[tokio::test]
async fn what_the_root_is_to_sign_is_said_again_until_it_is_signed() {
    let mut world = World::new().await;
    let purpose = Purpose::DeviceAuthority;
    let first = world.server.request_authority(purpose).await.unwrap();
    world.clock.advance(DAY);
    world.reopen().await;
    assert_eq!(world.server.request_authority(purpose).await.unwrap(), first);
    // Nothing else changes meanwhile.
    let enrolled = world.device(1).await;
    let root = world.profile().root.0;
    let certificate = sign_authority(&first, &root, &root_key(&world), world.clock.now()).unwrap();
    let installed = world
        .server
        .install_authority(purpose, &certificate)
        .await
        .unwrap();
    assert_eq!(
        world
            .server
            .install_authority(purpose, &certificate)
            .await
            .unwrap(),
        installed
    );
    assert_ne!(issuer(&world.device(2).await.chain), issuer(&enrolled.chain));
    let second = world.server.request_authority(purpose).await.unwrap();
    assert!(second.serial != first.serial && second.public_key != first.public_key);
    let refused = world
        .server
        .install_authority(purpose, &certificate)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::NotTheAuthority(_)), "{refused}");
}

#[tokio::test]
async fn only_what_was_asked_for_becomes_an_authority() {
    let world = World::new().await;
    let (purpose, now) = (Purpose::DeviceAuthority, world.clock.now());
    let (root, key) = (world.profile().root.0, root_key(&world));
    let packagers = world
        .server
        .request_authority(Purpose::PackagerAuthority)
        .await
        .unwrap();
    let devices = world.server.request_authority(purpose).await.unwrap();
    let altered = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut request = serde_json::to_value(&devices).unwrap();
        change(&mut request);
        serde_json::from_value::<AuthorityRequest>(request).unwrap()
    };
    let wrong = [
        altered(&|request| request["what"] = "packager-authority".into()),
        altered(&|request| request["serial"] = packagers.serial.clone().into()),
        altered(&|request| request["public_key"] = packagers.public_key.clone().into()),
        altered(&|request| request["not_after"] = (devices.not_after - 1).into()),
        altered(&|request| request["not_before"] = (devices.not_before - 1).into()),
    ];
    for request in &wrong {
        let certificate = sign_authority(request, &root, &key, now).unwrap();
        let refused = world
            .server
            .install_authority(purpose, &certificate)
            .await
            .unwrap_err();
        assert!(matches!(refused, Error::NotTheAuthority(_)), "{refused}");
    }
    // Signed by somebody else's root, or nothing at all.
    let other = World::seeded(9).await;
    let forged = sign_authority(&devices, &other.profile().root.0, &root_key(&other), now).unwrap();
    for certificate in [&forged[..], b"no certificate"] {
        let refused = world
            .server
            .install_authority(purpose, certificate)
            .await
            .unwrap_err();
        assert!(matches!(refused, Error::NotTheAuthority(_)), "{refused}");
    }
    // The root's side refuses by itself what is no authority, or lasts too long.
    for request in [
        altered(&|request| request["what"] = "license-server".into()),
        altered(&|request| request["what"] = "root".into()),
        altered(&|request| request["not_after"] = (devices.not_after + 2 * DAY).into()),
        altered(&|request| request["not_before"] = (now.0 + 2 * DAY).into()),
        altered(&|request| request["serial"] = "00".into()),
        altered(&|request| request["public_key"] = "00".into()),
    ] {
        let refused = sign_authority(&request, &root, &key, now).unwrap_err();
        assert!(matches!(refused, Error::NotTheAuthority(_)), "{refused}");
    }
    // Nothing of this changed who certifies.
    let good = sign_authority(&devices, &root, &key, now).unwrap();
    assert_eq!(
        world
            .server
            .install_authority(purpose, &good)
            .await
            .unwrap()
            .number,
        1
    );
}
