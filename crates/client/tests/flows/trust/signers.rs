//! Signers that are revoked: of responses, licenses and discovery documents.

use keyward_client::{ClientError, LicenseFault, enforce::Availability, session::Acquisition};
use keyward_license::signed::MessageError;
use keyward_testkit::pki::NOW;

use super::{REVOKED, distrust, held, install, later, server_list};
use crate::{
    licensed::restarted,
    world::{KIND_LICENSE, World, kid, wanted},
};

#[test]
fn v_013_v_064_a_revoked_server_says_nothing_more_from_its_revocation_on() {
    let (mut world, mut client) = World::enrolled();
    let old = world.server.roll_signer();
    let list = server_list(&world, 1, &[(&old.chain[0], NOW.plus(100))]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    world.server.bent.response_signer = Some(old);
    world
        .run(client.acquire(wanted(&[1])))
        .expect("it is not revoked yet");
    later(&mut world, 100);
    assert_eq!(distrust(world.run(client.acquire(wanted(&[2])))), REVOKED);
    world.server.bent.response_signer = None;
    world.run(client.acquire(wanted(&[2]))).unwrap();
}

#[test]
fn v_020_v_064_licenses_are_judged_by_the_lists_that_come_with_them() {
    let (mut world, mut client) = World::enrolled();
    let thief = world.server.roll_signer();
    world.server.lists = vec![server_list(&world, 1, &[(&thief.chain[0], NOW.minus(60))])];
    world.server.bent.license_signer = Some(thief);
    let refused = world.run(client.acquire(wanted(&[1])));
    assert!(
        matches!(
            refused,
            Err(ClientError::LicenseRefused {
                fault: LicenseFault::Message(MessageError::Signer(REVOKED)),
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(world.device.count(KIND_LICENSE), 0);
    // What the response brought of trust stays all the same.
    let client = restarted(&mut world, client);
    assert_eq!(held(&mut world, &client).len(), 1);
}

#[test]
fn v_013_v_064_a_response_whose_lists_revoke_its_own_signer_is_refused() {
    let (mut world, mut client) = World::enrolled();
    let signer = world.server.signer().chain[0].clone();
    world.server.lists = vec![server_list(&world, 1, &[(&signer, NOW.minus(60))])];
    assert_eq!(distrust(world.run(client.acquire(wanted(&[1])))), REVOKED);
    assert_eq!(world.device.count(KIND_LICENSE), 0);
    // The list stands by its own signature: who was revoked is refused from here on, lists or none.
    let mut client = restarted(&mut world, client);
    assert_eq!(held(&mut world, &client).len(), 1);
    world.server.lists.clear();
    assert!(world.run(client.acquire(wanted(&[1]))).is_err());
}

#[test]
fn v_020_v_064_what_a_revoked_signer_signed_since_then_is_no_license_any_more() {
    let (mut world, mut client) = World::enrolled();
    world.run(client.acquire(wanted(&[1]))).unwrap();
    later(&mut world, 1_000);
    world.run(client.acquire(wanted(&[2]))).unwrap();
    // Both are known, so that what was remembered of their signer is held against the list too.
    assert_eq!(world.run(client.licenses()).unwrap().len(), 2);
    let thief = world.server.roll_signer();
    let list = server_list(&world, 1, &[(&thief.chain[0], NOW.plus(500))]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    for _ in 0..2 {
        let stays = world.run(client.licenses()).unwrap();
        assert_eq!(stays.len(), 1);
        assert_eq!(stays[0].keys[0].kid, kid(1), "what was signed before stays good");
        assert_eq!(world.run(client.find(kid(2))).unwrap(), Availability::Missing);
        let refused = world.run(client.open_content(vec![kid(2)], wanted(&[2]), Acquisition::Never));
        assert!(
            matches!(refused, Err(ClientError::NoLicense { .. })),
            "{refused:?}"
        );
        let distrusted = world.run(client.distrusted_licenses(None)).unwrap();
        assert_eq!(distrusted.len(), 1);
        assert_eq!(distrusted[0].body.keys[0].kid, kid(2));
        assert_eq!(distrusted[0].fault, Some(MessageError::Signer(REVOKED)));
        assert!(
            world
                .run(client.distrusted_licenses(Some(kid(1))))
                .unwrap()
                .is_empty()
        );
        client = restarted(&mut world, client);
    }
    // Another one takes its place.
    world.run(client.acquire(wanted(&[2]))).unwrap();
    assert!(matches!(
        world.run(client.find(kid(2))).unwrap(),
        Availability::Ready { .. }
    ));
}

#[test]
fn v_060_v_062_a_discovery_document_of_a_revoked_server_is_refused() {
    let (mut world, mut client) = World::enrolled();
    let old = world.server.roll_signer();
    let list = server_list(&world, 1, &[(&old.chain[0], NOW.minus(60))]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    world.server.bent.discovery_signer = Some(old);
    let document = world.server.discovery();
    assert_eq!(distrust(world.run(client.install_discovery(document))), REVOKED);
    // The certificate that requests are sealed to.
    world.server.bent.discovery_signer = None;
    let document = world.server.discovery();
    let recipient = keyward_license::discovery::unverified(&document)
        .unwrap()
        .request_encryption;
    let list = server_list(&world, 2, &[(&recipient[0].0, NOW.minus(60))]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    let refused = world.run(client.install_discovery(document));
    assert!(
        matches!(refused, Err(ClientError::DiscoveryRefused(_))),
        "{refused:?}"
    );
    // Nor does enrolling again make the device forget it.
    let profile = world.profile();
    let refused = world.run(client.enrol(profile, "token".into()));
    assert!(
        matches!(refused, Err(ClientError::DiscoveryRefused(_))),
        "{refused:?}"
    );
}
