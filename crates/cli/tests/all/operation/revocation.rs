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
    let known = devices["devices"][0]["certificates"][0]["serial"]
        .as_str()
        .unwrap();
    let words = world.ok(&["admin", "devices"]);
    assert!(
        words.contains(&format!("\n  certificate {known} until ")),
        "{words}"
    );
    let allowed = json(&world.ok(&["--json", "admin", "revocation", "allow", device]));
    let certificate = allowed["certificate"].as_str().unwrap();
    let said = world.ok(&["admin", "revocation", "device", device]);
    assert_eq!(said.trim(), format!("device {device} is revoked"));
    let said = world.ok(&["admin", "revoke-device", device]);
    assert!(
        said.starts_with(&format!("device {device} has been revoked since ")),
        "{said}"
    );
    let words = world.ok(&["admin", "devices"]);
    assert!(words.trim_end().ends_with(", revoked"), "{words}");
    let listed = json(&world.ok(&["--json", "admin", "revocation", "list"]));
    assert_eq!(listed["allowed"][0]["certificate"], *certificate);
    assert_eq!(listed["allowed"][0]["device"], *device);
    assert_eq!(listed["certificates"][0]["device"], *device);
    assert_eq!(listed["certificates"][0]["serial"], *known);
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
            "certificate {serial} of device-authority ({device}): revoked since "
        )),
        "{words}"
    );
    assert!(!words.contains("exempt"), "{words}");
}

#[test]
fn licenses_that_are_not_trusted_any_more_are_told_from_none() {
    let world = licensed();
    let before = serial(&world, "license-server");
    world.ok(&["admin", "roll", "license-server"]);
    let revoke = ["admin", "revocation", "certificate", &before];
    world.ok(&[&revoke[..], &["--since", "2020-01-01T00:00:00Z"]].concat());
    world.ok(&["admin", "revocation", "export", "-o", "lists"]);
    world.device_ok("device", &["install", "lists"]);
    for command in [
        &["check", "film.kw"][..],
        &["play", "--offline", "film.kw", "-o", "-"],
    ] {
        let said = world.fails("device", 3, command);
        assert!(
            said.contains(" any more: ") && said.contains("a certificate has been revoked"),
            "{said}"
        );
    }
    let listed = world.device_ok("device", &["licenses", "list"]);
    assert!(
        listed.starts_with("key ") && listed.contains(": no license any more: "),
        "{listed}"
    );
    let said = world.as_device("nobody", &["doctor", "--client-dir", "device"]);
    let said = crate::world::text(&said.stdout);
    assert!(said.contains("not trusted any more, besides those: 1"), "{said}");
}

#[test]
fn companies_and_models_are_revoked_and_restored() {
    let world = World::new();
    let said = world.ok(&["admin", "revocation", "company", "Acme"]);
    assert!(said.contains("it names no enrolled device at present"), "{said}");
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

/// What the enrolment token says is what a company is revoked by.
#[test]
fn a_device_is_of_the_company_that_its_token_names() {
    let world = licensed();
    let made = world.ok(&[
        "--json",
        "admin",
        "enrolment-token",
        "--account",
        "bob",
        "--maker",
        "Acme",
        "--model",
        "One",
        "--robustness-version",
        "2",
    ]);
    let token = json(&made)["token"].as_str().unwrap().to_owned();
    let server = world.serve();
    let profile = "operator/operator-profile";
    world.device_ok("other", &["enrol", "--profile", profile, "--token", &token]);
    server.stop();
    let words = world.ok(&["admin", "devices"]);
    let made = ", model \"One\" of \"Acme\", robustness version 2, enrolled ";
    assert!(words.contains(made), "{words}");
    for (below, devices) in [("2", 0), ("3", 1)] {
        let company = [
            "--json",
            "admin",
            "revocation",
            "company",
            "Acme",
            "--below",
            below,
        ];
        assert_eq!(json(&world.ok(&company))["devices"], devices, "{below}");
    }
    let later = [
        "admin",
        "revocation",
        "company",
        "Acme",
        "--since",
        "2040-01-01T00:00:00Z",
    ];
    let said = world.fails("nobody", 1, &later);
    assert!(said.contains("revokes the same already"), "{said}");
}

#[test]
fn the_roots_list_is_made_with_the_root_key_wherever_it_is() {
    let world = World::new();
    let authority = serial(&world, "device-authority");
    let words = world.ok(&["admin", "revocation", "certificates"]);
    assert!(words.lines().all(|line| line.ends_with(", in use")), "{words}");
    assert!(
        words.lines().all(|line| line.contains(", key 0, until ")),
        "{words}"
    );
    let words = world.ok(&["admin", "revocation", "list"]);
    let named = format!("list device-authority ({authority}) ");
    assert!(words.lines().any(|line| line.starts_with(&named)), "{words}");
    let said = world.fails("nobody", 1, &["admin", "revoke-authority", &authority]);
    assert!(said.contains("the server works with the certificate"), "{said}");
    let said = world.fails(
        "nobody",
        1,
        &["admin", "revocation", "certificate", &serial(&world, "receipt")],
    );
    assert!(said.contains("hint: put another in its place first"), "{said}");
    let said = world.fails("nobody", 1, &["admin", "revocation", "certificate", &authority]);
    assert!(said.contains("keyward admin revoke-authority"), "{said}");
    let said = world.fails(
        "nobody",
        1,
        &["admin", "revoke-authority", &serial(&world, "license-server")],
    );
    assert!(said.contains("keyward admin revocation certificate"), "{said}");
    let words = world.ok(&["admin", "revoke-authority", "--days", "90"]);
    assert!(
        words.starts_with("list root ") && words.contains(": 0 entries, issued "),
        "{words}"
    );
    world.ok(&["admin", "revocation", "export", "-o", "lists.cbor"]);
    let file = RevocationListsFile::parse(&world.read("lists.cbor")).unwrap();
    assert_eq!(file.lists.len(), 3);

    std::fs::rename(world.path("operator/root-key.sealed"), world.path("safe")).unwrap();
    let said = world.fails("nobody", 1, &["admin", "revoke-authority"]);
    assert!(said.contains("root-key.sealed"), "{said}");
    world.ok(&["admin", "revoke-authority", "--root-key", "safe"]);
}
