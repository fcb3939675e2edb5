//! What is not trusted any more, from the command line.

use keyward_license::revocation::RevocationListsFile;

use super::{World, json, licensed};

/// The serial number of an operator's own certificate.
fn serial(world: &World, purpose: &str) -> String {
    let listed = json(&world.ok(&["--json", "admin", "revocation", "certificates"]));
    let found = listed["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["purpose"] == purpose);
    found.unwrap()["serial"].as_str().unwrap().to_owned()
}

#[test]
fn a_device_is_revoked_with_its_certificates() {
    let world = licensed();
    let devices = json(&world.ok(&["--json", "admin", "devices"]));
    let device = devices["devices"][0]["device"].as_str().unwrap();
    let allowed = json(&world.ok(&["--json", "admin", "revocation", "allow", device]));
    let certificate = allowed["certificate"].as_str().unwrap();
    world.ok(&["admin", "revocation", "device", device]);
    let listed = json(&world.ok(&["--json", "admin", "revocation", "list"]));
    assert_eq!(listed["allowed"][0], *certificate);
    assert_eq!(listed["certificates"][0]["authority"], "device-authority");
    let serial = listed["certificates"][0]["serial"].as_str().unwrap();
    let said = world.fails(
        "nobody",
        1,
        &["admin", "revocation", "restore-certificate", serial],
    );
    assert!(said.contains("is revoked, for good"), "{said}");
    world.ok(&["admin", "revocation", "disallow", certificate]);
    let words = world.ok(&["admin", "revocation", "list"]);
    assert!(
        words.contains(&format!(
            "certificate {serial} of device-authority: revoked since "
        )),
        "{words}"
    );
    assert!(!words.contains("exempt"), "{words}");
}

#[test]
fn companies_and_models_are_revoked_and_restored() {
    let world = World::new();
    world.ok(&["admin", "revocation", "company", "Acme"]);
    let since = [
        "--below",
        "3",
        "--since",
        "2031-01-01T00:00:00Z",
        "--reason",
        "old keys",
    ];
    let model = [
        &["--json", "admin", "revocation", "model", "Acme", "One"][..],
        &since,
    ]
    .concat();
    let made = json(&world.ok(&model));
    let number = made["number"].to_string();
    let words = world.ok(&["admin", "revocation", "list"]);
    let line = format!(
        "entry {number}: model \"One\" of \"Acme\" of a robustness version below 3, revoked since \
         2031-01-01T00:00:00Z: \"old keys\""
    );
    assert!(words.lines().any(|found| found == line), "{words}");
    assert!(words.contains("company \"Acme\", revoked since "), "{words}");
    assert!(words.contains("list own "), "{words}");
    world.ok(&["admin", "revocation", "restore-model", &number]);
    let said = world.fails("nobody", 1, &["admin", "revocation", "restore-model", &number]);
    assert!(
        said.contains(&format!("there is no revoked model {number}")),
        "{said}"
    );
}

#[test]
fn the_roots_list_is_made_with_the_root_key_wherever_it_is() {
    let world = World::new();
    let authority = serial(&world, "device-authority");
    let said = world.fails("nobody", 1, &["admin", "revoke-authority", &authority]);
    assert!(said.contains("the server works with the certificate"), "{said}");
    let said = world.fails(
        "nobody",
        1,
        &["admin", "revocation", "certificate", &serial(&world, "receipt")],
    );
    assert!(said.contains("hint: put another in its place first"), "{said}");
    let words = world.ok(&["admin", "revoke-authority", "--days", "90"]);
    assert!(
        words.starts_with("list root ") && words.contains(": 0 entries, issued "),
        "{words}"
    );
    world.ok(&["admin", "revocation", "export", "lists.cbor"]);
    let file = RevocationListsFile::parse(&world.read("lists.cbor")).unwrap();
    assert_eq!(file.lists.len(), 3);

    std::fs::rename(world.path("operator/root-key.sealed"), world.path("safe")).unwrap();
    let said = world.fails("nobody", 1, &["admin", "revoke-authority"]);
    assert!(said.contains("root-key.sealed"), "{said}");
    world.ok(&["admin", "revoke-authority", "--root-key", "safe"]);
}
