//! Rolls, by the program. The commands of the first test are those of `docs/operate/rolling.md`.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    operation::{json, licensed},
    world::{World, text},
};

const GUIDE: &str = include_str!("../../../../../docs/operate/rolling.md");

/// Acquires and plays what a device played before, without enrolling again.
fn plays(world: &World) {
    world.device_ok("device", &["acquire", "film.kw"]);
    world.device_ok("device", &["play", "film.kw", "-o", "film.clear", "--force"]);
    assert_eq!(world.read("film.clear"), world.read("film"));
}

#[test]
fn the_guide_rolls_everything_while_the_server_serves() {
    let world = licensed();
    std::fs::create_dir(world.path("stick")).unwrap();
    std::fs::rename(
        world.path("operator/root-key.sealed"),
        world.path("stick/root-key.sealed"),
    )
    .unwrap();
    let server = world.serve();
    let bin = world.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_keyward"));
    std::os::unix::fs::symlink(program, bin.join("keyward")).unwrap();
    let blocks = GUIDE.split("```sh\n").skip(1);
    let script = blocks
        .map(|block| block.split_once("```").unwrap().0)
        .collect::<Vec<_>>()
        .join("\n");
    assert!(script.matches("keyward admin roll").count() >= 8, "{script}");
    let followed = Command::new("sh")
        .args(["-eu", "-c", &script])
        .current_dir(world.path(""))
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .env("KEYWARD_CLIENT_DIR", world.path("device"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (said, complained) = (text(&followed.stdout), text(&followed.stderr));
    assert!(followed.status.success(), "{said}\n{complained}");
    for words in [
        "license-server has a new key, certified until ",
        "requests to the old one are accepted until ",
        "device-authority has a new key, certified until ",
        "values are sealed under a new key-encryption key; ",
        "license key seed 2 is made; new key ids derive from it",
    ] {
        assert!(said.contains(words), "{words} in {said}");
    }
    plays(&world);
    world.enrol("other", "bob");
    // The tokens with which the server was asked are of no use to anybody.
    let tokens = json(&world.ok(&["--json", "admin", "admin-token", "list"]));
    let tokens = tokens["admin_tokens"].as_array().unwrap().iter();
    let (of_rolls, others): (Vec<_>, Vec<_>) =
        tokens.partition(|token| token["name"].as_str().unwrap().starts_with("roll-"));
    assert!(of_rolls.len() >= 8 && of_rolls.iter().all(|token| token["revoked"].is_u64()));
    assert_eq!(others.len(), 1);
    // The next start finds everything.
    server.stop();
    let server = world.serve();
    plays(&world);
    server.stop();
}

#[test]
fn without_a_server_a_roll_is_made_here() {
    let world = licensed();
    let rolled = json(&world.ok(&["--json", "admin", "roll", "license-server"]));
    assert_eq!(
        (&rolled["what"], &rolled["number"]),
        (&"license-server".into(), &1.into())
    );
    let rolled = json(&world.ok(&["--json", "admin", "roll", "device-authority"]));
    assert_eq!(
        (&rolled["what"], &rolled["number"]),
        (&"device-authority".into(), &1.into())
    );
    let rolled = json(&world.ok(&["--json", "admin", "roll", "kek"]));
    assert_eq!(
        (&rolled["in_file"], &rolled["root_key_resealed"]),
        (&true.into(), &true.into())
    );
    assert_eq!(rolled["old_in"], "kek.old-1");
    let rolled = json(&world.ok(&["--json", "admin", "roll", "seed"]));
    assert_eq!(
        rolled,
        serde_json::json!({ "what": "seed", "number": 2, "used": true })
    );
    // New keys derive from it, old ones stay.
    let kid = "11".repeat(16);
    let registered = world.ok(&["admin", "register-key", &kid]);
    assert!(
        registered.contains("derives from license key seed 2"),
        "{registered}"
    );
    world.ok(&["admin", "export-seed", "-o", "newest"]);
    world.ok(&["admin", "export-seed", "--seed", "1", "-o", "first"]);
    assert_ne!(world.read("newest"), world.read("first"));
    world.ok(&["package", "film", "--operator", "operator", "-o", "again.kw"]);
    let server = world.serve();
    plays(&world);
    world.device_ok("device", &["acquire", "again.kw"]);
    server.stop();
    world.write("wrong-kek", "3c".repeat(32).as_bytes());
    let wrong = [
        "admin",
        "roll",
        "device-authority",
        "--root-kek-file",
        "wrong-kek",
    ];
    let said = world.fails("nobody", 1, &wrong);
    assert!(said.contains("key-encryption key that was named"), "{said}");
    // Without the root's key no authority is rolled, and what has nothing to do with a roll is refused.
    std::fs::remove_file(world.path("operator/root-key.sealed")).unwrap();
    let said = world.fails("nobody", 1, &["admin", "roll", "device-authority"]);
    assert!(said.contains("hint: bring the root's private key"), "{said}");
    for args in [
        &["license-server", "--root-key", "somewhere"][..],
        &["seed", "--new-kek-env", "NEW_KEK"],
        &["kek", "--root-kek-file", "somewhere"],
    ] {
        let said = world.fails("nobody", 1, &[&["admin", "roll"], args].concat());
        assert!(said.contains("has nothing to do with"), "{said}");
    }
}

#[test]
fn a_key_encryption_key_from_the_environment_is_followed_by_one_from_there() {
    let world = World::new();
    let (old, new) = ("1a".repeat(32), "2b".repeat(32));
    let run = |kek: &str, args: &[&str]| {
        let mut command = world.command(args);
        let ran = command
            .env("KEYWARD_KEK", kek)
            .env("NEW_KEK", &new)
            .output()
            .unwrap();
        (ran.status.success(), text(&ran.stderr))
    };
    assert!(run(&old, &["init", "elsewhere"]).0);
    assert!(!world.path("elsewhere/kek").exists());
    let (rolled, said) = run(&old, &["admin", "roll", "kek", "--operator", "elsewhere"]);
    assert!(!rolled && said.contains("--new-kek-env NAME"), "{said}");
    let roll = ["admin", "roll", "kek", "--operator", "elsewhere", "--new-kek-env"];
    let (rolled, said) = run(&old, &[&roll[..], &["NOT_SET"]].concat());
    assert!(!rolled && said.contains("NOT_SET is not set"), "{said}");
    let (rolled, said) = run(&new, &["init", "elsewhere-too"]);
    assert!(
        rolled && said.contains("the key-encryption key in KEYWARD_KEK"),
        "{said}"
    );
    assert!(!said.contains("elsewhere-too/kek"), "{said}");
    let same = [
        "admin",
        "roll",
        "kek",
        "--operator",
        "elsewhere-too",
        "--new-kek-env",
    ];
    let (rolled, said) = run(&new, &[&same[..], &["NEW_KEK"]].concat());
    assert!(!rolled && said.contains("is the one that is in use"), "{said}");
    let (rolled, said) = run(&new, &[&same[..], &["PATH"]].concat());
    assert!(
        !rolled
            && said.contains("PATH holds no key-encryption key")
            && said.contains("64 hexadecimal digits"),
        "{said}"
    );
    let (rolled, said) = run(&old, &[&roll[..], &["NEW_KEK"]].concat());
    assert!(
        rolled && said.contains("Supply the new one from now on"),
        "{said}"
    );
    assert!(!said.contains(&new), "a key is shown nowhere");
    let devices = ["admin", "devices", "--operator", "elsewhere"];
    assert!(run(&new, &devices).0);
    assert!(!run(&old, &devices).0);
    assert!(
        run(
            &new,
            &["admin", "roll", "packager-authority", "--operator", "elsewhere"]
        )
        .0
    );
}
