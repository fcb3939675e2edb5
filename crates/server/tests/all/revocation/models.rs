//! The operator's own list: models, companies, exemptions.

use keyward_crypto::x509::{
    Role,
    issue::{Profile, issue},
};
use keyward_license::{ids::Digest, revocation::DeviceRevocationList, signed::Unverified, time::Timestamp};
use keyward_server::{
    Error,
    revocation::{MAX_ALLOWED, MAX_MODELS, NewModel},
};

use super::*;
use crate::common::NOW;

fn model(maker: &str, model: Option<&str>) -> NewModel {
    NewModel {
        maker: maker.into(),
        model: model.map(str::to_owned),
        robustness_below: None,
        since: None,
        reason: None,
    }
}

fn body(world: &World, list: &RevocationList) -> DeviceRevocationList {
    let RevocationList::Devices(list) = list else {
        unreachable!("a list of certificates");
    };
    let verified = Unverified::<DeviceRevocationList>::parse(&list.0)
        .unwrap()
        .verify(&world.anchor(), Role::RevocationList, |_| vec![world.clock.now()])
        .unwrap();
    let body = verified.into_body();
    body.check_bounds().unwrap();
    assert_eq!(body.operator, world.server.operator());
    body
}

#[tokio::test]
async fn v_047_a_model_and_a_company_are_refused_but_for_certificates_that_are_allowed() {
    let world = World::new().await;
    let mut one = device_of(&world, 1, "Acme", "One").await;
    let mut two = device_of(&world, 2, "Acme", "Two").await;
    let mut other = device_of(&world, 3, "Other", "One").await;
    let of_one = world
        .server
        .revoke_model(model("Acme", Some("One")))
        .await
        .unwrap();
    assert_eq!(told(&world, &mut one).await, 204);
    assert_eq!(told(&world, &mut two).await, 0);
    assert_eq!(told(&world, &mut other).await, 0);

    let of_all = world.server.revoke_model(model("Acme", None)).await.unwrap();
    assert_eq!(told(&world, &mut two).await, 204);
    assert_eq!(told(&world, &mut other).await, 0);

    let digest = world.server.allow_device(two.id()).await.unwrap();
    assert_eq!(digest, Digest::new(two.certificate().digest()));
    assert_eq!(told(&world, &mut two).await, 0);
    // From nothing else: its certificate is refused by the authority's list.
    let serial = two.certificate().serial().to_vec();
    world
        .server
        .revoke_certificate(&serial, None, None)
        .await
        .unwrap();
    assert_eq!(told(&world, &mut two).await, 204);
    world.server.restore_certificate(&serial).await.unwrap();
    world.server.disallow_certificate(digest).await.unwrap();
    assert_eq!(told(&world, &mut two).await, 204);

    for id in [of_one, of_all] {
        world.server.restore_model(id).await.unwrap();
        let again = world.server.restore_model(id).await.unwrap_err();
        assert!(matches!(again, Error::ModelUnknown(_)), "{again}");
    }
    assert_eq!(told(&world, &mut one).await, 0);
    assert_eq!(told(&world, &mut two).await, 0);
}

#[tokio::test]
async fn v_047_early_robustness_versions_and_times_to_come() {
    let world = World::new().await;
    // Its token says no robustness version, which is version 0.
    let mut device = device_of(&world, 4, "Acme", "One").await;
    let later = NewModel {
        since: Some(Timestamp(NOW.0 + 100)),
        robustness_below: Some(1),
        ..model("Acme", None)
    };
    world.server.revoke_model(later).await.unwrap();
    assert_eq!(told(&world, &mut device).await, 0);
    world.clock.advance(99);
    assert_eq!(told(&world, &mut device).await, 0);
    world.clock.advance(1);
    assert_eq!(told(&world, &mut device).await, 204);
}

#[tokio::test]
async fn v_047_devices_below_a_robustness_version_and_how_many_there_are() {
    let world = World::new().await;
    let mut devices = Vec::new();
    for (seed, robustness_version) in [(21, None), (22, Some(2)), (23, Some(3))] {
        let mut device = Device::new(seed, &keyward_crypto::hpke::Suite::ALL);
        let token = world.token_for(TokenRequest {
            maker: "Acme".into(),
            model: "One".into(),
            robustness_version,
            ..TokenRequest::new(crate::common::ACCOUNT)
        });
        device.enrol(&world, &token.await).await.unwrap();
        devices.push(device);
    }
    let listed = world.server.devices().await.unwrap();
    let mut versions: Vec<_> = listed.iter().map(|device| device.robustness_version).collect();
    versions.sort();
    assert_eq!(versions, [None, Some(2), Some(3)]);
    let named = async |maker, model, below| world.server.devices_named(maker, model, below).await.unwrap();
    assert_eq!(named("Acme", None, None).await, 3);
    assert_eq!(named("Acme", Some("One"), Some(3)).await, 2);
    assert_eq!(named("Acme", Some("Two"), None).await, 0);
    assert_eq!(named("Acmee", None, None).await, 0);
    let below = NewModel {
        robustness_below: Some(3),
        ..model("Acme", None)
    };
    world.server.revoke_model(below).await.unwrap();
    for (device, expected) in devices.iter_mut().zip([204, 204, 0]) {
        assert_eq!(told(&world, device).await, expected);
    }
    world.server.revoke_device(devices[0].id()).await.unwrap();
    assert_eq!(named("Acme", None, None).await, 2);
}

/// What is revoked does not become trusted because somebody says from when on it will be revoked.
#[tokio::test]
async fn what_is_revoked_now_is_not_put_off() {
    let world = World::new().await;
    let mut device = device_of(&world, 24, "Acme", "One").await;
    let later = || NewModel {
        since: Some(Timestamp(NOW.0 + 100)),
        ..model("Acme", None)
    };
    let earlier = world.server.revoke_model(model("Acme", None)).await.unwrap();
    let refused = world.server.revoke_model(later()).await.unwrap_err();
    assert!(
        matches!(refused, Error::RevokedEarlier(id) if id == earlier),
        "{refused}"
    );
    assert_eq!(told(&world, &mut device).await, 204);
    world.server.restore_model(earlier).await.unwrap();
    // What is not revoked yet may be, later or at once.
    for since in [later(), later(), model("Acme", None)] {
        world.server.revoke_model(since).await.unwrap();
    }
    assert_eq!(told(&world, &mut device).await, 204);
}

#[tokio::test]
async fn the_list_is_signed_numbered_and_says_what_the_rows_say() {
    let mut world = World::new().await;
    assert!(
        world
            .server
            .revocation_lists()
            .await
            .unwrap()
            .iter()
            .all(|list| list.name != "own")
    );
    let full = NewModel {
        robustness_below: Some(3),
        since: Some(Timestamp(NOW.0 - 5)),
        reason: Some("keys can be read".into()),
        ..model("Acme", Some("One"))
    };
    world.server.revoke_model(full).await.unwrap();
    let first = list(&world, "own").await;
    let said = body(&world, &first.list);
    let entry = &said.revoked.as_ref().unwrap()[0];
    assert_eq!((&entry.maker[..], entry.model.as_deref()), ("Acme", Some("One")));
    assert_eq!((entry.robustness_below, entry.since.0), (Some(3), NOW.0 - 5));
    assert_eq!(entry.reason.as_deref(), Some("keys can be read"));
    assert_eq!((said.issued, said.next_update.0), (NOW, NOW.0 + 7 * DAY));

    // The same again takes its place; other lists stay as they are.
    let before = list(&world, "device-authority").await;
    world
        .server
        .revoke_model(model("Acme", Some("One")))
        .await
        .unwrap();
    world.reopen().await;
    let second = list(&world, "own").await;
    let said = body(&world, &second.list);
    assert!(second.number > first.number);
    assert_eq!(said.revoked.as_ref().unwrap().len(), 1);
    assert_eq!(said.revoked.unwrap()[0].robustness_below, None);
    assert_eq!(list(&world, "device-authority").await.number, before.number);

    // Once it said something, a list that says nothing takes that back.
    let id = world.server.revoked_models().await.unwrap()[0].id;
    world.server.restore_model(id).await.unwrap();
    let last = list(&world, "own").await;
    assert_eq!((last.entries, body(&world, &last.list).revoked), (0, None));
    assert!(last.number > second.number);
}

#[tokio::test]
async fn entries_are_bounded() {
    let world = World::new().await;
    for wrong in [
        model("", None),
        model(&"m".repeat(256), None),
        model("Acme", Some("")),
        NewModel {
            robustness_below: Some(0),
            ..model("Acme", None)
        },
        NewModel {
            reason: Some("r".repeat(256)),
            ..model("Acme", None)
        },
    ] {
        let refused = world.server.revoke_model(wrong).await.unwrap_err();
        assert!(matches!(refused, Error::OutOfRange { .. }), "{refused}");
    }
    world
        .sql(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1024)
             INSERT INTO revoked_models (maker, since, created_at) SELECT 'maker ' || i, 0, 0 FROM n",
        )
        .await;
    assert_eq!(world.server.revoked_models().await.unwrap().len(), MAX_MODELS);
    let refused = world.server.revoke_model(model("Acme", None)).await.unwrap_err();
    assert!(matches!(refused, Error::ListFull(MAX_MODELS)), "{refused}");
    // One in the place of another needs no room.
    world.server.revoke_model(model("maker 5", None)).await.unwrap();
    assert_eq!(list(&world, "own").await.entries, MAX_MODELS);
}

/// What the list named is not known any more, and nobody gets a license by that; all else goes on.
#[tokio::test]
async fn v_047_a_list_whose_signer_is_revoked_leaves_models_unknown_and_nothing_else() {
    let world = World::new().await;
    let mut device = device_of(&world, 7, "Other", "One").await;
    world.server.revoke_model(model("Acme", None)).await.unwrap();
    assert_eq!(told(&world, &mut device).await, 0);
    let certificates = world.server.certificates().await.unwrap();
    let authority = certificates.iter().find(|one| one.purpose == "server-authority");
    let entry = Revoked {
        serial: &authority.unwrap().serial,
        at: NOW.0 - 1,
        invalid_since: None,
        reason: None,
    };
    let list = root_list(&world, 7, core::slice::from_ref(&entry));
    world.server.import_revocation_list(&list).await.unwrap();
    assert!(world.server.revocation_lists().await.is_ok());
    let recipient = world.recipient().await;
    let body = device.request(&recipient, &[KID]);
    let sealed = device.seal(&recipient, keyward_crypto::hpke::Suite::P256, &body);
    assert_eq!(world.server.issue(&sealed).await.unwrap_err().status, 503);
    device_of(&world, 8, "Other", "One").await;
}

/// As of an operator whose server authority may not certify a signer of the list.
#[tokio::test]
async fn v_047_without_a_signer_the_newest_list_counts_as_long_as_it_says_everything() {
    let mut world = World::new().await;
    let mut named = device_of(&world, 9, "Acme", "One").await;
    let mut other = device_of(&world, 10, "Other", "One").await;
    world.server.revoke_model(model("Acme", None)).await.unwrap();
    assert_eq!(told(&world, &mut named).await, 204);
    let certificates = world.server.certificates().await.unwrap();
    let authority = certificates.iter().find(|one| one.purpose == "server-authority");
    let authority = Certificate::parse(&authority.unwrap().der).unwrap();
    let profile = Profile {
        subject: "Example server authority",
        roles: &[Role::LicenseServer, Role::RequestEncryption, Role::Time],
        authority: Some(0),
        not_before: authority.not_before(),
        not_after: authority.not_after(),
        claims: None,
        serial: [5; 16],
    };
    let root = Certificate::parse(world.anchor().der()).unwrap();
    let narrower = issue(&profile, authority.public_key(), &root, &root_key(&world)).unwrap();
    let pool = world.pool().await;
    sqlx::query("INSERT INTO certificates (purpose, der, not_after, created_at) VALUES ('server-authority', ?1, ?2, 0)")
        .bind(narrower)
        .bind(i64::MAX)
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    world
        .sql("DELETE FROM certificates WHERE purpose = 'revocation-list'")
        .await;
    world.reopen().await;
    let refused = world.server.revoke_model(model("Third", None)).await.unwrap_err();
    assert!(matches!(refused, Error::NoListSigner), "{refused}");
    assert_eq!(told(&world, &mut named).await, 204);
    assert_eq!(told(&world, &mut other).await, 0);
    world
        .sql("UPDATE revocation_generations SET generation = generation + 1 WHERE list = 'own'")
        .await;
    let recipient = world.recipient().await;
    let body = other.request(&recipient, &[KID]);
    let sealed = other.seal(&recipient, keyward_crypto::hpke::Suite::P256, &body);
    assert_eq!(world.server.issue(&sealed).await.unwrap_err().status, 503);
}

/// The digests that the newest list of the operator exempts.
async fn exempt(world: &World) -> Vec<Digest> {
    let own = list(world, "own").await;
    body(world, &own.list).allowed.unwrap_or_default()
}

#[tokio::test]
async fn an_exemption_ends_with_its_certificate() {
    let world = World::new().await;
    let server = &world.server;
    let mut one = device_of(&world, 11, "Acme", "One").await;
    let two = device_of(&world, 12, "Acme", "Two").await;
    let ends = Timestamp(one.certificate().not_after());
    server.revoke_model(model("Acme", None)).await.unwrap();
    let by_device = server.allow_device(one.id()).await.unwrap();
    let by_digest = Digest::new(two.certificate().digest());
    server.allow_certificate(by_digest).await.unwrap();
    let stranger = Digest::new([0xff; 32]);
    server.allow_certificate(stranger).await.unwrap();
    let mut all = vec![by_device, by_digest, stranger];
    all.sort();
    assert_eq!(exempt(&world).await, all);
    let whose = server.exemptions().await.unwrap();
    let whose: Vec<_> = whose.iter().map(|one| (one.certificate, one.device)).collect();
    for expected in [
        (by_device, Some(one.id())),
        (by_digest, Some(two.id())),
        (stranger, None),
    ] {
        assert!(whose.contains(&expected), "{whose:?}");
    }

    world.clock.set(ends);
    assert_eq!(told(&world, &mut one).await, 0);
    assert_eq!(exempt(&world).await, all);
    // Then nobody can show it any more (V-041), and the next list is the shorter for it.
    world.clock.advance(1);
    assert_eq!(server.allowed_certificates().await.unwrap(), [stranger]);
    let recipient = world.recipient().await;
    let request = one.request(&recipient, &[KID]);
    assert_eq!(one.ask(&world, &request).await.unwrap_err().code, 202);
    world.clock.advance(4 * DAY);
    assert_eq!(exempt(&world).await, [stranger]);

    // A clock that was ahead has taken nothing away.
    world.clock.set(ends);
    assert_eq!(server.allowed_certificates().await.unwrap(), all);
    assert_eq!(exempt(&world).await, all);
    assert_eq!(told(&world, &mut one).await, 0);
}

/// As of an operator that exempted certificates before their ends were kept.
#[tokio::test]
async fn the_end_of_an_exemption_that_is_not_known_is_learnt_when_it_is_made_again() {
    let world = World::new().await;
    let device = world.device(13).await;
    let digest = world.server.allow_device(device.id()).await.unwrap();
    world
        .sql("UPDATE allowed_certificates SET not_after = NULL")
        .await;
    let left = device.certificate().not_after() - NOW.0;
    world.server.allow_certificate(digest).await.unwrap();
    world.clock.advance(left);
    assert_eq!(world.server.allowed_certificates().await.unwrap(), [digest]);
    world.clock.advance(1);
    assert_eq!(world.server.allowed_certificates().await.unwrap(), []);
}

#[tokio::test]
async fn exemptions_are_bounded_and_ended_ones_make_room() {
    let world = World::new().await;
    let device = world.device(14).await;
    world
        .sql(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4096)
             INSERT INTO allowed_certificates (digest, created_at, not_after)
             SELECT unhex(printf('%064X', i)), 0, 1900000000000 FROM n",
        )
        .await;
    let allow = || world.server.allow_device(device.id());
    let refused = allow().await.unwrap_err();
    assert!(matches!(refused, Error::ListFull(MAX_ALLOWED)), "{refused}");
    assert_eq!(
        world.server.allowed_certificates().await.unwrap().len(),
        MAX_ALLOWED
    );
    world.clock.advance(1);
    let digest = allow().await.unwrap();
    assert_eq!(world.server.allowed_certificates().await.unwrap(), [digest]);
    assert_eq!(exempt(&world).await, [digest]);
}
