//! A purchase: without end and without a clock, on each device that asked for it.

use keyward_client::ClientError;
use keyward_license::{error_code::ErrorCode, time::Timestamp};
use keyward_server::{admin::TokenRequest, policy::Preset};

use crate::scenarios::world::{ALICE, DAY, FILM, NOW, World};

#[test]
fn a_purchase_plays_for_good_and_needs_no_clock() {
    let world = World::offering(Preset::Purchase);
    let mut device = world.device("phone");
    let license = device.fetch();
    world.network.online.set(false);
    world.end_entitlements();
    for utc in [
        None,
        Some(Timestamp(0)),
        Some(NOW.minus(1_000 * DAY)),
        Some(NOW.plus(100 * 365 * DAY)),
        Some(NOW),
    ] {
        device.clock.set(utc);
        device.restart();
        let opened = device.play().unwrap();
        assert_eq!(
            (opened.bound[0].license(), opened.bound[0].until()),
            (license, None),
            "{utc:?}"
        );
        assert!(world.unlocks(&opened, FILM));
    }
}

#[test]
fn v_022_a_device_that_was_made_anew_asks_again_and_gets_it() {
    let world = World::offering(Preset::Purchase);
    let mut old = world.device("old");
    let license = old.fetch();
    let copy = old.copy();
    // The store of the old device under the keys of a new one does not open.
    let mut other = world.place("other").started();
    let copied = |name: &str| name.starts_with("licenses.");
    other.restore(copy.path(), copied).unwrap_err();

    world.pass(400 * DAY);
    world.restart_server();
    let mut new = world.device("new");
    assert!(matches!(new.play(), Err(ClientError::NoLicense { kid: FILM })));
    assert_ne!(new.fetch(), license);
    let opened = new.play().unwrap();
    assert!(world.unlocks(&opened, FILM));

    // Who has no right to it any more keeps what was issued, and gets no more.
    world.end_entitlements();
    let mut third = world.device("third");
    assert_eq!(third.refused_by_server(), ErrorCode::NotEntitled.number());
    new.restart();
    new.play().unwrap();
}

#[test]
fn v_041_a_device_whose_certificate_ended_plays_on_and_enrols_again_to_ask() {
    let world = World::offering(Preset::Purchase);
    let mut device = world.device("phone");
    device.fetch();
    world.pass(3 * 365 * DAY);
    world.restart_server();
    device.restart();
    device.play().unwrap();
    assert_eq!(device.refused_by_server(), ErrorCode::CertificateRefused.number());
    world.enrol(&mut device, TokenRequest::new(ALICE)).unwrap();
    device.fetch();
    device.restart();
    assert_eq!(device.client().licenses().unwrap().len(), 2);
    let opened = device.play().unwrap();
    assert!(world.unlocks(&opened, FILM));
}

#[test]
fn v_042_a_device_that_was_revoked_keeps_what_it_has_and_gets_no_more() {
    let world = World::offering(Preset::Purchase);
    let mut device = world.device("phone");
    device.fetch();
    let id = device.client().device_id().unwrap();
    world.operator(async |server| server.revoke_device(id).await.unwrap());
    device.restart();
    assert_eq!(device.refused_by_server(), ErrorCode::DeviceRevoked.number());
    device.play().unwrap();
}
