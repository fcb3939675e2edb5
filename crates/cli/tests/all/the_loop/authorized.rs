//! A viewer's authorization token, from a file, from standard input and from the environment.

use std::{
    io::Write,
    process::{Output, Stdio},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use keyward_crypto::kdf::hmac_sha256;
use keyward_server::clock::{Clock, SystemClock};

use crate::world::{World, files_below, text};

const SECRET: &str = "a secret of thirty-two bytes or more";

/// An operator that asks tokens alone, with a film and alice's device.
fn world() -> World {
    let world = World::new();
    world.write("film", b"film");
    world.ok(&["package", "film", "-o", "film.kw"]);
    world.write("operator/shop.secret", SECRET.as_bytes());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(world.path("operator/shop.secret"), mode).unwrap();
    }
    let config = text(&world.read("operator/operator.toml"));
    let asked = config.replace(
        "# sources = [\"rows\"]\n",
        "sources = [\"jwt\"]\n[[authorization.jwt]]\nname = \"shop\"\nalgorithm = \"HS256\"\naudience = \"licenses\"\n\
         key_file = \"shop.secret\"\n",
    );
    assert_ne!(asked, config);
    world.write("operator/operator.toml", asked.as_bytes());
    world
}

/// A token for alice, for every key, that expires so many seconds from now.
fn token(expires: i64) -> String {
    let now = SystemClock.now().0;
    let claims = serde_json::json!({
        "aud": "licenses", "sub": "alice", "exp": now.checked_add_signed(expires).unwrap(),
        "keyward": { "all": true },
    });
    let signed =
        [r#"{"alg":"HS256"}"#.to_owned(), claims.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part));
    let signed = signed.join(".");
    let mac = hmac_sha256(SECRET.as_bytes(), &[signed.as_bytes()]).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
}

#[test]
fn a_token_from_a_file_standard_input_or_the_environment_gets_a_license() {
    let world = world();
    let server = world.serve();
    world.enrol("phone", "alice");
    let denied = world.fails("phone", 3, &["acquire", "film.kw"]);
    assert!(denied.contains("not entitled"), "{denied}");
    world.write("expired", token(-1).as_bytes());
    let from_file = |file| ["acquire", "film.kw", "--authorization-file", file];
    let denied = world.fails("phone", 3, &from_file("expired"));
    assert!(
        denied.contains("the authorization token was refused: it has expired"),
        "{denied}"
    );
    let token = token(600);
    world.write("token", format!("{token}\n").as_bytes());
    world.device_ok("phone", &from_file("token"));
    assert_eq!(
        world.device_ok("phone", &["play", "film.kw", "--offline"]),
        "film"
    );
    // The same from elsewhere, into other stores.
    let ran = [
        with_input(&world, "tablet", &token),
        with_environment(&world, "laptop", &token),
    ];
    for output in ran {
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(!text(&output.stderr).contains(&token));
    }
    server.stop();
    let with_token = |path: &std::path::PathBuf| {
        let content = std::fs::read(path).unwrap();
        content
            .windows(token.len())
            .any(|window| window == token.as_bytes())
    };
    let found: Vec<_> = files_below(&world.path(""))
        .into_iter()
        .filter(with_token)
        .collect();
    assert_eq!(found, [world.path("token")], "the token is kept nowhere");
}

fn with_input(world: &World, device: &str, token: &str) -> Output {
    world.enrol(device, "alice");
    let mut child = world
        .command(&["acquire", "film.kw", "--authorization-file", "-"])
        .env("KEYWARD_CLIENT_DIR", world.path(device))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn with_environment(world: &World, device: &str, token: &str) -> Output {
    world.enrol(device, "alice");
    let mut command = world.command(&["acquire", "film.kw"]);
    command.env("KEYWARD_CLIENT_DIR", world.path(device));
    command.env("KEYWARD_AUTHORIZATION", token).output().unwrap()
}
