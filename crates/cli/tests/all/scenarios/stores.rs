//! License stores that were copied, set back, mixed and edited.

use std::fs;

use keyward_client::ClientError;
use keyward_client_native::NativeError;
use keyward_license::{error_code::ErrorCode, usage_rules::Refusal};
use keyward_server::policy::Preset;

use crate::scenarios::world::{Device, HOUR, NOW, World};

const DATABASE: &str = "licenses.redb";
const EPOCH: &str = "licenses.epoch";

/// A device whose rental is over, and a copy of its directory from before the first play.
fn over() -> (World, Device, tempfile::TempDir) {
    let world = World::offering(Preset::Rental);
    let mut device = world.device("phone");
    device.fetch();
    let before = device.copy();
    device.restart();
    device.play().unwrap();
    for _ in 0..8 {
        device.ask_time().unwrap();
    }
    world.pass(48 * HOUR);
    assert!(is_over(&mut device));
    (world, device, before)
}

fn is_over(device: &mut Device) -> bool {
    let at = NOW.plus(48 * HOUR);
    device.refusal() == Refusal::FirstPlayExpired { at }
}

#[test]
fn v_044_a_directory_that_was_set_back_whole_is_seen_by_the_server() {
    let (world, mut device, before) = over();
    device.restore(before.path(), |_| true).unwrap();
    // A device that keeps everything in one directory cannot know by itself. The server finds out who asks, as
    // long as the store has not made as many changes again as it lost.
    device.play().unwrap();
    for _ in 0..2 {
        assert_eq!(device.refused_by_server(), ErrorCode::StoreRolledBack.number());
        device.restart();
    }
    device.ask_time().unwrap_err();
    // Under a new key of the store it is still the same store.
    device.client().renew_store_key().unwrap();
    assert_eq!(device.refused_by_server(), ErrorCode::StoreRolledBack.number());

    // Until the operator accepts it, as after a broken disk.
    let id = device.client().device_id().unwrap();
    world.operator(async |server| server.accept_restored_store(id).await.unwrap());
    device.fetch();
    device.restart();
    device.play().unwrap();
}

#[test]
fn v_044_of_two_devices_that_share_a_directory_one_is_refused() {
    let world = World::offering(Preset::Purchase);
    let mut device = world.device("phone");
    device.fetch();
    let copy = device.copy();
    device.restart();
    let mut twin = world.place("twin");
    twin.restore(copy.path(), |_| true).unwrap();
    for _ in 0..3 {
        device.fetch();
    }
    assert_eq!(twin.refused_by_server(), ErrorCode::StoreRolledBack.number());
    device.fetch();
}

#[test]
fn files_of_different_times_do_not_open_together() {
    let (_world, mut device, before) = over();
    let now = device.copy();
    for old in [DATABASE, EPOCH] {
        let mixed = device.restore(before.path(), |name| name == old);
        let rolled_back = matches!(
            mixed,
            Err(NativeError::Client(
                ClientError::StoreRolledBack | ClientError::StoreDamaged(_)
            ))
        );
        assert!(rolled_back, "{old}: {mixed:?}");
        // What was there goes on where it was.
        device.restore(now.path(), |_| true).unwrap();
        assert!(is_over(&mut device));
    }
}

#[test]
fn an_edited_store_permits_nothing_more() {
    let (_world, mut device, _before) = over();
    let now = device.copy();
    let edited = tempfile::tempdir().unwrap();
    for name in [DATABASE, EPOCH] {
        let bytes = fs::read(now.path().join(name)).unwrap();
        // Only what is written differs from zero; the rest of the database is room.
        let written: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        for at in written.iter().step_by((written.len() / 24).max(1)) {
            let mut bent = bytes.clone();
            bent[*at] ^= 0x55;
            fs::write(edited.path().join(name), &bent).unwrap();
            device.restore(now.path(), |_| true).unwrap();
            if device.restore(edited.path(), |other| other == name).is_ok() {
                assert!(device.plays_not(), "{name}, byte {at}");
            }
        }
    }
    device.restore(now.path(), |_| true).unwrap();
    assert!(is_over(&mut device));
}
