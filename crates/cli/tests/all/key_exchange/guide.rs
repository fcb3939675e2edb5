//! The commands of `docs/guides/key-exchange.md`, as they stand.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    key_exchange::{device, enrolled, operator},
    world::{World, text},
};

const GUIDE: &str = include_str!("../../../../../docs/guides/key-exchange.md");

/// Every shell block of the guide, one after the other, for one shell: `$KEY` is what the guide says it is.
fn script() -> String {
    let blocks = GUIDE.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split_once("```").unwrap().0)
        .collect::<Vec<_>>()
        .join("\n")
}

fn follow(world: &World) {
    let folder = Path::new(env!("CARGO_BIN_EXE_keyward")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let script = script();
    assert!(script.matches("\nkeyward ").count() >= 12, "{script}");
    let followed = Command::new("sh")
        .args(["-eu", "-c", &script])
        .current_dir(world.path(""))
        .env("PATH", path)
        .env("KEYWARD_CLIENT_DIR", world.path("device"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (said, complained) = (text(&followed.stdout), text(&followed.stderr));
    assert!(followed.status.success(), "{said}\n{complained}");
    assert!(said.contains("the signature is of key"), "{said}");
    assert!(complained.contains("license "), "{complained}");
}

/// The key id of a key by its name.
fn kid(world: &World, name: &str) -> String {
    let listed = world.ok(&["--json", "admin", "key-exchange", "list"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let keys = listed["exchange_keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["name"] == name).unwrap();
    key["kid"].as_str().unwrap().to_owned()
}

#[test]
fn the_guide_does_what_it_says() {
    let (world, _server) = enrolled();
    world.write("settings.json", br#"{"volume": 11}"#);
    world.write("readings.json", br#"{"degrees": 21}"#);
    world.write("order.json", br#"{"pieces": 3}"#);
    follow(&world);
    assert_eq!(world.read("readings.out.json"), br#"{"degrees": 21}"#);
    assert_eq!(world.read("readings.enc").len(), 4 + 12 + 15 + 16);
    let [configuration, telemetry, requests] =
        ["configuration", "telemetry", "requests"].map(|name| kid(&world, name));

    // What was altered is found out, by whoever looks.
    world.write("settings.json", br#"{"volume": 12}"#);
    let verify = ["settings.json", "--signature", "settings.sig"];
    let altered = world.fails("device", 1, &device("verify", &configuration, &verify));
    assert!(
        altered.contains("the signature is not of this key over these bytes"),
        "{altered}"
    );
    let earlier = world.fails(
        "nobody",
        1,
        &operator("verify", &requests, &["order.json", "--signature", "order.sig"]),
    );
    assert!(
        earlier.contains("the result was made with version 1 of the key, which is not accepted"),
        "{earlier}"
    );
    world.ok(&operator("minimum-version", &requests, &["1"]));
    world.ok(&operator(
        "verify",
        &requests,
        &["order.json", "--signature", "order.sig"],
    ));
    world.write("order.json", br#"{"pieces": 4}"#);
    let verify = ["order.json", "--signature", "order.sig"];
    let altered = world.fails("nobody", 1, &operator("verify", &requests, &verify));
    assert!(
        altered.contains("the signature is not of this key over these bytes"),
        "{altered}"
    );
    let mut encrypted = world.read("readings.enc");
    encrypted[20] ^= 1;
    world.write("altered.enc", &encrypted);
    for (file, aad) in [("altered.enc", "sensor 7"), ("readings.enc", "sensor 8")] {
        let decrypt = [file, "--aad", aad, "-o", "never.json"];
        let refused = world.fails("nobody", 1, &operator("decrypt", &telemetry, &decrypt));
        assert!(refused.contains("the result does not verify"), "{refused}");
        assert!(!world.path("never.json").exists());
    }

    // The other direction is nobody's.
    for (other, kid, permitted) in [
        ("sign", &configuration, "verify"),
        ("decrypt", &telemetry, "encrypt"),
        ("verify", &requests, "sign"),
    ] {
        let signature: &[&str] = if other == "verify" {
            &["--signature", "order.sig"]
        } else {
            &["-o", "never.json"]
        };
        let asked = [&["order.json"][..], signature].concat();
        let refused = world.fails("device", 3, &device(other, kid, &asked));
        let expected = format!("the license for key {kid} permits to {permitted}, not to {other} (R-050)");
        assert!(refused.contains(&expected), "{refused}");
        assert!(!world.path("never.json").exists());
    }
    let refused = world.fails(
        "nobody",
        3,
        &operator("encrypt", &telemetry, &["order.json", "-o", "never"]),
    );
    let expected =
        format!("the server does not encrypt with exchange key {telemetry}: it performs `decrypt`");
    assert!(refused.contains(&expected), "{refused}");
}

#[test]
fn every_algorithm_stands_in_the_table() {
    for algorithm in keyward_crypto::exchange::Algorithm::ALL {
        assert!(GUIDE.contains(&format!("`{algorithm}`")), "{algorithm}");
    }
}
