//! Looking after an operator and a client: doctor, backups, licenses, request ids, completions, manual pages.

mod revocation;
mod rolling;
mod tending;

use std::{
    fs::File,
    process::{Command, Stdio},
};

use crate::world::{World, content, text};

/// A world with a protected file and a device that has its license, stored.
fn licensed() -> World {
    let world = World::new();
    world.write("film", &content(10_000));
    world.ok(&["package", "film", "--operator", "operator", "-o", "film.kw"]);
    let server = world.serve();
    world.enrol("device", "alice");
    world.device_ok("device", &["acquire", "film.kw"]);
    server.stop();
    world
}

fn json(said: &str) -> serde_json::Value {
    serde_json::from_str(said).unwrap()
}

#[test]
fn licenses_are_listed_shown_and_deleted() {
    let world = licensed();
    let listed = json(&world.device_ok("device", &["--json", "licenses", "list"]));
    let [license] = &listed["licenses"].as_array().unwrap()[..] else {
        panic!("{listed}")
    };
    let (kid, id) = (
        license["kid"].as_str().unwrap(),
        license["license"].as_str().unwrap(),
    );
    assert_eq!(license["operator_name"], "Test operator");
    assert_eq!(
        (&license["persistent"], &license["ended"]),
        (&true.into(), &false.into())
    );
    let words = world.device_ok("device", &["licenses", "list"]);
    assert!(
        words.starts_with(&format!("key {kid}: license {id} of Test operator, ")),
        "{words}"
    );
    assert!(words.trim_end().ends_with(", persistent, usable"), "{words}");

    for named in [kid, id] {
        let shown = world.device_ok("device", &["licenses", "show", named]);
        for words in [
            "verified under operator",
            "play (R-001)",
            "this device",
            "yes: may be stored",
            id,
            kid,
        ] {
            assert!(shown.contains(words), "{words} in {shown}");
        }
        let shown = json(&world.device_ok("device", &["--json", "licenses", "show", named]));
        assert_eq!(shown["licenses"][0]["verified"]["id"], id);
    }
    let nobody = "00".repeat(16);
    for verb in ["show", "delete"] {
        let said = world.fails("device", 3, &["licenses", verb, &nobody]);
        assert!(said.contains("no license in the store"), "{said}");
    }

    // A second one for the same key: deleting by license id takes one, by key id what is left.
    let server = world.serve();
    world.device_ok("device", &["acquire", "film.kw"]);
    world.device_ok("device", &["acquire", "film.kw"]);
    server.stop();
    assert_eq!(
        world.device_ok("device", &["licenses", "delete", id]),
        "1 license deleted\n"
    );
    let left = json(&world.device_ok("device", &["--json", "licenses", "list"]));
    let left: Vec<_> = left["licenses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|license| &license["license"])
        .collect();
    assert!(
        left.len() == 2 && left.iter().all(|license| *license != id),
        "{left:?}"
    );
    world.device_ok("device", &["check", "film.kw"]);
    assert_eq!(
        world.device_ok("device", &["licenses", "delete", kid]),
        "2 licenses deleted\n"
    );
    assert_eq!(
        world.device_ok("device", &["licenses", "list"]),
        "there is no license in the store\n"
    );
    world.fails("device", 3, &["check", "film.kw"]);
}

#[test]
fn a_full_store_is_refused_and_goes_on_with_room_or_less() {
    let world = licensed();
    let server = world.serve();
    for (bound, what) in [
        ("--store-licenses=1", "may hold 1 licenses"),
        ("--store-bytes=100", "may hold 100 bytes of licenses"),
    ] {
        let said = world.fails("device", 1, &["acquire", bound, "film.kw"]);
        assert!(
            said.contains(what) && said.contains("hint: nothing was stored or lost"),
            "{said}"
        );
        world.device_ok("device", &["check", bound, "film.kw"]);
    }
    world.device_ok("device", &["acquire", "--store-licenses=2", "film.kw"]);
    server.stop();
    let before = std::fs::read(world.path("device/licenses.epoch")).unwrap();
    world.device_ok("device", &["licenses", "renew-key"]);
    assert!(std::fs::read(world.path("device/licenses.epoch")).unwrap() != before);
    world.device_ok("device", &["check", "film.kw"]);
}

#[test]
fn licenses_of_a_client_that_is_not_there_make_none() {
    let world = World::new();
    let said = world.fails("device", 1, &["licenses", "list"]);
    assert!(said.contains("there is no client in"), "{said}");
    assert!(!world.path("device").exists());
}

/// Nobody is sent to look for what may never have arrived, or for free space where a file is missing.
#[test]
fn a_failure_promises_no_more_than_is_known() {
    let world = licensed();
    let said = world.fails("device", 4, &["acquire", "film.kw"]);
    assert!(
        said.contains(", in the license server's log if it came that far"),
        "{said}"
    );
    let said = world.fails("device", 1, &["play", "no-such-file.kw"]);
    assert!(said.contains("hint: check the path\n"), "{said}");
}

/// The id stands in the message for the person at the device and in the license server's log.
#[test]
fn a_refusal_names_its_request_as_the_server_does() {
    let world = licensed();
    let log = File::create(world.path("log")).unwrap();
    let mut server = world
        .command(&["serve", "--operator", "operator"])
        .stdout(Stdio::null())
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap();
    let is_ready = || {
        let said = world.as_device("device", &["doctor", "--operator", "operator"]);
        text(&said.stdout).contains("is ready")
    };
    while !is_ready() {
        assert!(server.try_wait().unwrap().is_none(), "the server ended");
    }
    let devices = json(&world.ok(&["--json", "admin", "devices"]));
    let device = devices["devices"][0]["device"].as_str().unwrap();
    world.ok(&["admin", "revoke-device", device]);
    let said = world.fails("device", 3, &["acquire", "film.kw"]);
    let request = said
        .lines()
        .find_map(|line| line.strip_prefix("request: "))
        .unwrap();
    let id = request.split(',').next().unwrap();
    assert!(
        id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{said}"
    );
    let refused = world.fails("device", 3, &["--json", "acquire", "film.kw"]);
    let other = json(&refused)["request_id"].as_str().unwrap().to_owned();
    assert_ne!(other, id);
    let pid = server.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(server.wait().unwrap().success());
    let log = text(&world.read("log"));
    for id in [id, &other] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(id)).collect();
        assert!(lines.iter().any(|line| line.contains(":204")), "{id} in {log}");
    }
    // What happens on this device alone names no request.
    let said = world.fails("nobody", 1, &["acquire", "film.kw"]);
    assert!(!said.contains("request:"), "{said}");
    let said = world.fails("device", 4, &["acquire", "film.kw"]);
    assert!(
        said.contains("request:"),
        "a proxy in between may know it: {said}"
    );
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = world.ok(&["completions", shell]);
        for word in ["keyward", "doctor", "backup", "licenses"] {
            assert!(script.contains(word), "{word} for {shell}");
        }
    }
    world.fails("nobody", 2, &["completions", "cmd.exe"]);
    world.ok(&["man", "--output", "pages/of/keyward"]);
    for (page, words) in [
        ("keyward.1", "content protection"),
        ("keyward-admin-backup.1", "with\\-secrets"),
        ("keyward-licenses-delete.1", "Delete licenses"),
    ] {
        let page = text(&world.read(&format!("pages/of/keyward/{page}")));
        assert!(page.contains(words), "{words} in {page}");
    }
}
