//! Doctor, backup and restore.

use std::fs;

use crate::{
    operation::{json, licensed},
    world::{World, files_below},
};

#[test]
fn a_doctor_tells_words_json_and_exit_codes() {
    let world = licensed();
    let said = world.device_ok("device", &["doctor", "--operator", "operator"]);
    assert!(
        said.starts_with("operator operator\n") && said.contains("\nclient "),
        "{said}"
    );
    assert!(
        said.contains("  warning  files          the root's private key"),
        "{said}"
    );
    assert!(
        said.contains("\n                          do: move it to a place offline"),
        "{said}"
    );
    let found = json(&world.device_ok("device", &["--json", "doctor", "--operator", "operator"]));
    assert_eq!((&found["errors"], &found["warnings"]), (&0.into(), &1.into()));
    let kinds: Vec<_> = found["examined"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["kind"])
        .collect();
    assert_eq!(kinds, ["operator", "client"]);

    fs::remove_file(world.path("operator/kek")).unwrap();
    let said = world.fails("device", 1, &["doctor", "--operator", "operator"]);
    assert!(said.contains("error: one finding is an error\nhint: "), "{said}");
    let all = world.as_device("device", &["--json", "doctor", "--operator", "operator"]);
    assert_eq!(all.status.code(), Some(1));
    assert_eq!(
        json(&crate::operation::text(&all.stdout))["errors"],
        1,
        "what was found is told as well"
    );
}

#[test]
fn what_is_named_is_examined_and_what_is_not_if_it_is_there() {
    let world = World::new();
    // The operator lies where it usually does; the client that the environment names does not exist.
    let said = world.fails("device", 1, &["doctor"]);
    assert!(said.contains("one finding is an error"), "{said}");
    let bare = |args: &[&str]| {
        let mut command = world.command(args);
        let home = world.path("nobody's home");
        command
            .env_remove("KEYWARD_CLIENT_DIR")
            .env("XDG_DATA_HOME", home);
        command.output().unwrap()
    };
    assert!(bare(&["doctor"]).status.success());
    fs::rename(world.path("operator"), world.path("elsewhere")).unwrap();
    let nothing = bare(&["doctor"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(crate::operation::text(&nothing.stderr).contains("neither an operator nor a client"));
    assert!(bare(&["doctor", "--operator", "elsewhere"]).status.success());
    assert_eq!(bare(&["doctor", "--operator", "operator"]).status.code(), Some(1));
}

#[test]
fn an_operator_is_backed_up_while_it_serves_and_restored() {
    let world = licensed();
    let server = world.serve();
    let made = json(&world.ok(&["--json", "admin", "backup", "-o", "backup"]));
    server.stop();
    assert_eq!(made["files"].as_array().unwrap().len(), 3);
    assert_eq!(
        files_below(&world.path("backup")).len(),
        4,
        "and the manifest; no key"
    );
    let said = world.fails("nobody", 1, &["admin", "backup", "-o", "backup"]);
    assert!(said.contains("exists already"), "{said}");

    // The disk is lost; the key-encryption key is kept elsewhere.
    fs::rename(world.path("operator/kek"), world.path("kek")).unwrap();
    fs::remove_dir_all(world.path("operator")).unwrap();
    let said = world.ok(&["admin", "restore", "backup", "operator"]);
    let named = format!(
        "it needs the key-encryption key of operator {}",
        made["operator"].as_str().unwrap()
    );
    assert!(said.contains(&named), "{said}");
    let said = world.fails("nobody", 1, &["admin", "restore", "backup", "operator"]);
    assert!(said.contains("exists already"), "{said}");
    let restored = world.ok(&[
        "--json",
        "admin",
        "restore",
        "backup",
        "again",
        "--kek-file",
        "kek",
    ]);
    assert_eq!(json(&restored)["key_encryption_key"], "given");

    fs::rename(world.path("kek"), world.path("operator/kek")).unwrap();
    let server = world.serve();
    world.device_ok("device", &["licenses", "delete", &kid(&world)]);
    world.device_ok("device", &["play", "film.kw", "-o", "played"]);
    assert_eq!(world.read("played"), world.read("film"));
    server.stop();
}

fn kid(world: &World) -> String {
    let listed = json(&world.device_ok("device", &["--json", "licenses", "list"]));
    listed["licenses"][0]["kid"].as_str().unwrap().to_owned()
}
