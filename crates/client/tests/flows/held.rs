//! What the client holds, listed and removed one by one.

use keyward_client::acquire::Wanted;
use keyward_crypto::kdf::sha256;
use keyward_license::{ids::LicenseId, license::License};

use crate::world::{World, kid, wanted};

#[test]
fn licenses_are_removed_one_by_one_wherever_they_live() {
    let (mut world, mut client) = World::enrolled();
    world.run(client.acquire(wanted(&[1, 2]))).unwrap();
    world.run(client.acquire(wanted(&[1]))).unwrap();
    let in_memory = Wanted {
        in_memory: true,
        ..wanted(&[1])
    };
    world.run(client.acquire(in_memory.clone())).unwrap();
    world.run(client.acquire(in_memory)).unwrap();
    let held = world.run(client.held_licenses()).unwrap();
    assert_eq!(held.len(), 5);
    let of_kid = |persistent| {
        let of = |license: &&keyward_client::held::HeldLicense| {
            license.body.keys[0].kid == kid(1) && license.body.persistent == persistent
        };
        held.iter()
            .filter(of)
            .map(|license| license.body.id)
            .collect::<Vec<_>>()
    };
    let (stored, memory) = (of_kid(true), of_kid(false));
    assert_eq!((stored.len(), memory.len()), (2, 2));
    assert!(
        held.iter()
            .all(|license| license.installed.is_some() == license.body.persistent)
    );

    for (gone, left) in [(stored[0], 4), (memory[0], 3)] {
        assert!(
            !world.run(client.remove_license(kid(2), gone)).unwrap(),
            "of another key id"
        );
        assert!(world.run(client.remove_license(kid(1), gone)).unwrap());
        assert!(!world.run(client.remove_license(kid(1), gone)).unwrap(), "once");
        let held = world.run(client.licenses()).unwrap();
        assert!(
            held.len() == left && held.iter().all(|body| body.id != gone),
            "{held:?}"
        );
    }
    assert!(
        !world
            .run(client.remove_license(kid(1), LicenseId::new([9; 16])))
            .unwrap()
    );
    assert_eq!(world.run(client.remove_licenses(kid(1))).unwrap(), 2);
    assert_eq!(world.run(client.licenses()).unwrap().len(), 1);
}

#[test]
fn a_held_license_is_whole_and_its_operator_known() {
    let (mut world, mut client) = World::enrolled();
    world.run(client.acquire(wanted(&[1]))).unwrap();
    let held = world.run(client.held_licenses()).unwrap();
    let enrolment = client.enrolments().next().unwrap();
    assert_eq!(held[0].operator, enrolment.profile().operator());
    assert_eq!(
        *held[0].operator.as_bytes(),
        sha256(&[&enrolment.profile().root.0])
    );
    let anchor = keyward_crypto::x509::Anchor::from_der(&enrolment.profile().root.0).unwrap();
    let license = License::verify(&held[0].signed, &anchor, None).unwrap();
    assert_eq!(license.body().id, held[0].body.id);
    assert!(enrolment.certificate().unwrap().not_after() > 0);
    assert!(client.clock_floor().0 > 0);
}
