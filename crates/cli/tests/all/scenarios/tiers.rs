//! Tiered quality: one policy and one entitlement, and each device gets the keys that it may have.

use keyward_client::{ClientError, install::AcquiredKey};
use keyward_license::{
    certificate::{SECURITY_LEVEL_HARDWARE, SECURITY_LEVEL_SOFTWARE},
    error_code::ErrorCode,
    ids::Kid,
    license::KeyType,
};
use keyward_server::{admin::TokenRequest, policy::Preset};

use crate::scenarios::world::{ALICE, Device, FILM, World};

const UHD: Kid = Kid::new([2; 16]);

fn tiered() -> World {
    let world = World::offering(Preset::Purchase);
    world.operator(async |server| {
        let registered = server
            .register_key_of_level(UHD, KeyType::File, 1, Some(SECURITY_LEVEL_HARDWARE))
            .await;
        registered.unwrap();
        server.grant(ALICE, Some(UHD), "offer", None).await.unwrap();
    });
    world
}

fn device(world: &World, security_level: u64) -> Device {
    let request = TokenRequest {
        security_level,
        ..TokenRequest::new(ALICE)
    };
    let mut device = world.device_of("player", request);
    device.wanted.kids = vec![FILM, UHD];
    device
}

#[test]
fn a_software_device_gets_the_hd_key_alone_and_is_told_why() {
    let world = tiered();
    let mut device = device(&world, SECURITY_LEVEL_SOFTWARE);
    let acquired = device.acquire().unwrap();
    let of = |kid| {
        &acquired
            .outcomes
            .iter()
            .find(|(other, _)| *other == kid)
            .unwrap()
            .1
    };
    assert!(matches!(of(FILM), AcquiredKey::Stored(_)));
    let AcquiredKey::Denied(denial) = of(UHD) else {
        panic!("{acquired:?}");
    };
    assert_eq!(
        (denial.code, &denial.sentence[..]),
        (
            ErrorCode::SecurityLevelTooLow.number(),
            "the license needs security level 3000, this device has 2000"
        )
    );
    for _ in 0..2 {
        // The keys are released together or not at all.
        assert!(matches!(device.play(), Err(ClientError::NoLicense { kid: UHD })));
        device.restart();
    }
    device.wanted.kids = vec![FILM];
    let opened = device.play().unwrap();
    assert!(world.unlocks(&opened, FILM) && !world.unlocks(&opened, UHD));
}

#[test]
fn a_hardware_device_gets_both_keys() {
    let world = tiered();
    let mut device = device(&world, SECURITY_LEVEL_HARDWARE);
    let acquired = device.acquire().unwrap();
    let stored = |(_, key): &(Kid, AcquiredKey)| matches!(key, AcquiredKey::Stored(_));
    assert!(acquired.outcomes.len() == 2 && acquired.outcomes.iter().all(stored));
    device.restart();
    let opened = device.play().unwrap();
    assert!(world.unlocks(&opened, FILM) && world.unlocks(&opened, UHD));
}

#[test]
fn r_002_a_hardware_device_that_enrols_as_software_cannot_use_the_uhd_key_any_more() {
    let world = tiered();
    let mut device = device(&world, SECURITY_LEVEL_HARDWARE);
    device.acquire().unwrap();
    world.enrol(&mut device, TokenRequest::new(ALICE)).unwrap();
    device.restart();
    assert!(matches!(
        device.play(),
        Err(ClientError::Refused { kid: UHD, .. })
    ));
    device.wanted.kids = vec![UHD];
    assert_eq!(
        device.refused_by_server(),
        ErrorCode::SecurityLevelTooLow.number()
    );
}
