//! Open enrolment: the token `test`.

use keyward_license::{certificate::Claims, enrolment::EnrolmentRole};

use super::*;

#[tokio::test]
async fn any_number_of_devices_enrols_with_the_same_token() {
    let world = world().await;
    for seed in 10..13 {
        let device = device(&world, seed).await;
        let claims = Claims::of(&device.certificate()).unwrap();
        assert_eq!(
            (
                claims.security_level,
                claims.maker.as_deref(),
                claims.model.as_deref()
            ),
            (Some(150), Some("test"), Some("test"))
        );
    }
    let devices = world.server.devices().await.unwrap();
    assert_eq!(devices.len(), 3);
    assert!(devices.iter().all(|device| device.account == "test"));
}

#[tokio::test]
async fn a_device_gets_its_certificate_again_and_a_new_one_on_another_day() {
    let world = world().await;
    let mut one = device(&world, 10).await;
    let first = one.chain.clone();
    one.enrol(&world, "test").await.unwrap();
    assert_eq!(one.chain, first);
    world.clock.advance(86_400);
    one.enrol(&world, "test").await.unwrap();
    assert_ne!(one.chain, first);
}

#[tokio::test]
async fn packagers_enrol_as_well_and_no_other_token_is_good() {
    let world = world().await;
    let mut packager = Device::new(11, &Suite::ALL);
    packager.role = EnrolmentRole::Packager;
    packager.enrol(&world, "test").await.unwrap();
    for token in ["", "Test", "test ", "kw_test"] {
        let mut device = Device::new(12, &Suite::ALL);
        assert_eq!(
            device.enrol(&world, token).await.unwrap_err().code,
            401,
            "{token}"
        );
    }
}
