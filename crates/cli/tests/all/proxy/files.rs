//! Devices that never have a network: all that they get was carried to them as files, in its own time.

use keyward_client::acquire::Wanted;
use keyward_client::{ClientError, install::AcquiredKey};
use keyward_client_native::{NativeClient, NativeError};
use keyward_license::{error_code::ErrorCode, ids::Kid, operator_profile::OperatorProfile};

use crate::proxy::carrier::{Carried, has_license, wanted};

/// A device that was enrolled by files alone.
fn enrolled(world: &Carried, name: &str) -> NativeClient {
    let mut device = world.lonely(name);
    let request = device
        .request_enrolment(world.profile(), world.token(), world.document_to_carry(None))
        .unwrap();
    device
        .install_enrolment(world.answer_enrolment(&request))
        .unwrap();
    device
}

fn refusal<T>(result: Result<T, NativeError>) -> ClientError {
    match result.err().unwrap() {
        NativeError::Client(refusal) => refusal,
        other => panic!("{other}"),
    }
}

#[test]
fn a_device_without_a_network_gets_licenses_weeks_after_its_last_document() {
    let world = Carried::new();
    let mut device = enrolled(&world, "device");
    // The document of the enrolment is good for a day.
    let request = device.request(wanted()).unwrap();
    device.install(world.answer(&request)).unwrap();
    assert!(has_license(&mut device));

    world.days_later(21);
    let stale = NativeError::Client(refusal(device.request(wanted())));
    assert_eq!(
        stale.to_string(),
        "the discovery document was refused: it is not in use at this time"
    );
    assert!(
        stale.hint().contains("keyward admin discovery"),
        "{}",
        stale.hint()
    );
    device.install_discovery(world.document_to_carry(None)).unwrap();
    let request = device.request(wanted()).unwrap();
    let response = world.answer(&request);
    // The way back takes weeks as well, and another process installs.
    world.days_later(21);
    drop(device);
    let mut device = world.lonely("device");
    let acquired = device.install(response).unwrap();
    assert!(matches!(acquired.outcomes[..], [(_, AcquiredKey::Stored(_))]));
    assert!(has_license(&mut device));
}

#[test]
fn a_document_that_is_on_its_way_for_days_is_made_for_that() {
    let world = Carried::new();
    let mut device = enrolled(&world, "device");
    let [usual, long] = [None, Some(720)].map(|hours| world.document_to_carry(hours));
    world.days_later(29);
    let late = refusal(device.install_discovery(usual));
    assert!(matches!(late, ClientError::DiscoveryRefused(_)), "{late}");
    device.install_discovery(long).unwrap();
    let request = device.request(wanted()).unwrap();
    device.install(world.answer(&request)).unwrap();
    assert!(has_license(&mut device));
}

#[test]
fn a_denial_comes_back_as_a_file() {
    let world = Carried::new();
    let mut device = enrolled(&world, "device");
    let unknown = Kid::new([0x99; 16]);
    let wanted = Wanted {
        kids: vec![unknown],
        ..Wanted::default()
    };
    let request = device.request(wanted).unwrap();
    let acquired = device.install(world.answer(&request)).unwrap();
    let [(kid, AcquiredKey::Denied(denial))] = &acquired.outcomes[..] else {
        panic!("{acquired:?}")
    };
    assert_eq!((*kid, denial.code), (unknown, ErrorCode::KidUnknown.number()));
}

#[test]
fn a_document_that_is_altered_foreign_or_expired_is_refused_with_a_hint() {
    let (world, other) = (Carried::new(), Carried::new());
    let mut device = enrolled(&world, "device");
    let mut altered = world.document_to_carry(None);
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    let expired = world.document_to_carry(Some(1));
    world.days_later(1);
    for (document, what) in [
        (altered, "altered"),
        (other.document_to_carry(None), "foreign"),
        (expired, "expired"),
        (Vec::new(), "nothing"),
    ] {
        let refused = NativeError::Client(refusal(device.install_discovery(document.clone())));
        assert!(
            refused
                .to_string()
                .starts_with("the discovery document was refused: "),
            "{what}: {refused}"
        );
        assert!(!refused.hint().is_empty(), "{what}");
        // Nobody enrols by it either.
        let profile: OperatorProfile = world.profile();
        let refused = world
            .lonely("newcomer")
            .request_enrolment(profile, world.token(), document);
        assert!(refused.is_err(), "{what}");
        assert_eq!(world.lonely("newcomer").operators().count(), 0, "{what}");
    }
    // The device is as it was: its own document has expired, and a good one is taken.
    assert!(device.request(wanted()).is_err());
    device.install_discovery(world.document_to_carry(None)).unwrap();
    device.request(wanted()).unwrap();
}

#[test]
fn v_043_what_is_signed_again_is_the_same_license_in_other_bytes() {
    let world = Carried::new();
    let mut device = enrolled(&world, "device");
    let request = device.request(wanted()).unwrap();
    drop(device);
    world.copy_device("device", "copy");
    let first = world.answer(&request);
    assert_eq!(world.answer(&request), first, "it was kept");
    world.days_later(3);
    let again = world.answer_elsewhere(&request);
    assert_ne!(again, first, "it was signed again");
    let [one, other] = [("device", first), ("copy", again)].map(|(name, response)| {
        let mut device = world.lonely(name);
        device.install(response).unwrap();
        assert!(has_license(&mut device));
        device.held_licenses().unwrap().remove(0)
    });
    assert_eq!(one.body, other.body);
    // A signed license is one array: protected header, chain, payload with body and sealed key, signature.
    let payload = |signed: &[u8]| signed[..signed.len() - 64].to_vec();
    assert_eq!(payload(&one.signed), payload(&other.signed));
}

#[test]
fn a_response_to_another_device_installs_nothing() {
    let world = Carried::new();
    let [mut device, mut other] = ["device", "other"].map(|name| enrolled(&world, name));
    let request = device.request(wanted()).unwrap();
    other.request(wanted()).unwrap();
    let response = world.answer(&request);
    let refused = refusal(other.install(response.clone()));
    assert!(matches!(refused, ClientError::NoPendingRequest), "{refused}");
    assert!(!has_license(&mut other));
    device.install(response).unwrap();
    assert!(has_license(&mut device));

    let [mut first, mut second] = ["first", "second"].map(|name| world.lonely(name));
    let [request, _] = [&mut first, &mut second].map(|device| {
        device
            .request_enrolment(world.profile(), world.token(), world.document_to_carry(None))
            .unwrap()
    });
    let response = world.answer_enrolment(&request);
    let refused = refusal(second.install_enrolment(response.clone()));
    assert!(matches!(refused, ClientError::NoPendingRequest), "{refused}");
    assert_eq!(second.operators().count(), 0);
    first.install_enrolment(response).unwrap();
    assert_eq!(first.operators().count(), 1);
}
