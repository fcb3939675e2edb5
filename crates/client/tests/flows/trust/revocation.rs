//! what the device knows of its own revocation.

use keyward_client::{ClientError, enforce::Availability, lists::Revoked, session::Acquisition};
use keyward_crypto::x509::Role;
use keyward_license::{
    error_code::Behaviour,
    ids::Digest,
    revocation::{DeviceFault, RevokedDevices},
    usage_rules::Refusal,
};
use keyward_testkit::{fake_server::FakeServer, pki::NOW};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::{ends_with_revocation, install, later, own_certificate, revoked_denial};
use crate::{
    exchanging::{encrypting, encryptor_of_1},
    licensed::{licensed, open, pass, refusal, restarted},
    world::{World, kid, wanted},
};

#[test]
fn r_015_a_license_that_is_refused_takes_no_revocation_back() {
    let (mut world, mut client) = licensed(ends_with_revocation);
    let thief = FakeServer::new([9; 32]).roll_signer();
    world.server.bent.license_signer = Some(thief);
    world.server.denials.insert(kid(2), revoked_denial());
    world.run(client.acquire(wanted(&[2]))).unwrap();
    let revoked = Some(Revoked::Denied { since: NOW });
    assert_eq!(world.run(client.trust()).unwrap()[0].revoked, revoked);
    // A license that is refused takes nothing back.
    world.server.denials.clear();
    assert!(world.run(client.acquire(wanted(&[3]))).is_err());
    let client = restarted(&mut world, client);
    assert_eq!(world.run(client.trust()).unwrap()[0].revoked, revoked);
}

#[test]
fn r_015_a_model_that_was_revoked_before_the_certificate_counts_from_then_on() {
    let (mut world, mut client) = encrypting(ends_with_revocation);
    let own = own_certificate(&client);
    let of_model = world.server.device_list(1, |body| {
        body.revoked = Some(vec![RevokedDevices {
            maker: "Keyward".into(),
            model: None,
            robustness_below: None,
            since: NOW.plus(100),
            reason: None,
        }]);
    });
    let of_certificate = world.server.list(Some(Role::Device), 1, &[(&own, NOW.plus(200))]);
    assert_eq!(
        install(&mut world, &mut client, vec![of_model, of_certificate]),
        []
    );
    let prepared = encryptor_of_1(&mut world, &mut client).unwrap();
    let mut rng = ChaCha20Rng::from_seed([4; 32]);
    pass(&mut world, 99);
    prepared.encrypt(world.moment, b"", b"data", &mut rng).unwrap();
    pass(&mut world, 1);
    assert!(prepared.encrypt(world.moment, b"", b"data", &mut rng).is_err());
}

#[test]
fn r_015_a_denial_ends_licenses_that_say_so_until_another_comes() {
    let (mut world, mut client) = licensed(ends_with_revocation);
    open(&mut world, &mut client).unwrap();
    world.server.denials.insert(kid(2), revoked_denial());
    world.run(client.acquire(wanted(&[2]))).unwrap();
    for _ in 0..2 {
        assert_eq!(refusal(&mut world, &mut client), Refusal::DeviceRevoked);
        let found = world.run(client.find(kid(1))).unwrap();
        assert_eq!(found, Availability::Refused(Refusal::DeviceRevoked));
        let trust = world.run(client.trust()).unwrap();
        assert_eq!(trust[0].revoked, Some(Revoked::Denied { since: NOW }));
        client = restarted(&mut world, client);
    }
    world.server.denials.clear();
    world.run(client.acquire(wanted(&[3]))).unwrap();
    open(&mut world, &mut client).unwrap();
    let mut client = restarted(&mut world, client);
    open(&mut world, &mut client).unwrap();
    assert_eq!(world.run(client.trust()).unwrap()[0].revoked, None);
}

#[test]
fn r_015_without_the_term_a_revoked_device_keeps_what_it_has() {
    let (mut world, mut client) = licensed(|_| ());
    world.server.denials.insert(kid(2), revoked_denial());
    world.run(client.acquire(wanted(&[2]))).unwrap();
    open(&mut world, &mut client).unwrap();
    let own = own_certificate(&client);
    let list = world.server.list(Some(Role::Device), 1, &[(&own, NOW)]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    open(&mut world, &mut client).unwrap();
}

#[test]
fn r_015_an_earlier_license_that_was_carried_takes_no_later_denial_back() {
    let (mut world, mut client) = licensed(ends_with_revocation);
    let request = world.run(client.request(wanted(&[3]))).unwrap();
    let early = world.answer(&request);
    later(&mut world, 60);
    world.server.denials.insert(kid(2), revoked_denial());
    world.run(client.acquire(wanted(&[2]))).unwrap();
    world.run(client.install(early)).unwrap();
    assert_eq!(refusal(&mut world, &mut client), Refusal::DeviceRevoked);
}

#[test]
fn r_015_the_devices_own_certificate_on_a_list_ends_them_from_its_revocation_on() {
    let (mut world, mut client) = licensed(ends_with_revocation);
    let own = own_certificate(&client);
    let list = world.server.list(Some(Role::Device), 1, &[(&own, NOW.plus(100))]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    open(&mut world, &mut client).unwrap();
    pass(&mut world, 100);
    assert_eq!(refusal(&mut world, &mut client), Refusal::DeviceRevoked);
    let trust = world.run(client.trust()).unwrap();
    let listed = DeviceFault::Certificate { since: NOW.plus(100) };
    assert_eq!(trust[0].revoked, Some(Revoked::Listed(listed)));
    // No license takes back what a list says.
    world.run(client.acquire(wanted(&[3]))).unwrap();
    assert_eq!(refusal(&mut world, &mut client), Refusal::DeviceRevoked);
    // A later list does.
    world.server.now = NOW.plus(200);
    pass(&mut world, 100);
    let list = world.server.list(Some(Role::Device), 2, &[]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    open(&mut world, &mut client).unwrap();
}

#[test]
fn r_015_the_devices_model_on_a_list_ends_them_unless_its_certificate_is_allowed() {
    let (mut world, mut client) = licensed(ends_with_revocation);
    let entry = |robustness_below| RevokedDevices {
        maker: "Keyward".into(),
        model: Some("test".into()),
        robustness_below,
        since: NOW,
        reason: Some("its keys were read out".into()),
    };
    let list = world
        .server
        .device_list(1, |body| body.revoked = Some(vec![entry(Some(1))]));
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    open(&mut world, &mut client).expect("it was made to later rules");
    let list = world
        .server
        .device_list(2, |body| body.revoked = Some(vec![entry(None)]));
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    assert_eq!(refusal(&mut world, &mut client), Refusal::DeviceRevoked);
    let own = Digest::new(keyward_crypto::kdf::sha256(&[&own_certificate(&client)]));
    let list = world.server.device_list(3, |body| {
        body.revoked = Some(vec![entry(None)]);
        body.allowed = Some(vec![own]);
    });
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    open(&mut world, &mut client).unwrap();
}

#[test]
fn r_015_a_device_that_was_told_asks_no_more_by_itself() {
    let (mut world, mut client) = World::enrolled();
    world.server.denials.insert(kid(1), revoked_denial());
    let denied = world
        .run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive))
        .unwrap_err();
    assert!(matches!(&denied, ClientError::Denied { .. }));
    assert_eq!(denied.behaviour(), Some(Behaviour::Stop));
    let sent = world.sent.len();
    let refused = world.run(client.open_content(vec![kid(2)], wanted(&[2]), Acquisition::Reactive));
    assert!(
        matches!(refused, Err(ClientError::DeviceRevoked { since, .. }) if since == NOW),
        "{refused:?}"
    );
    assert_eq!(world.sent.len(), sent, "nothing is sent");
    // Who asks for just that is asked for, and told anew.
    world.server.denials.clear();
    world.run(client.acquire(wanted(&[2]))).unwrap();
    world
        .run(client.open_content(vec![kid(3)], wanted(&[3]), Acquisition::Reactive))
        .unwrap();
    // In another process it asks once.
    world.server.denials.insert(kid(1), revoked_denial());
    world.run(client.acquire(wanted(&[1]))).unwrap();
    let mut client = restarted(&mut world, client);
    let sent = world.sent.len();
    for _ in 0..2 {
        assert!(
            world
                .run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive))
                .is_err()
        );
    }
    assert_eq!(world.sent.len(), sent + 1);
}
