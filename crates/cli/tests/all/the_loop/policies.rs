//! Policies and entitlements from the command line, and what a viewer is told.

use crate::world::World;

fn json(world: &World, args: &[&str]) -> serde_json::Value {
    let args: Vec<_> = ["--json"].into_iter().chain(args.iter().copied()).collect();
    serde_json::from_str(&world.ok(&args)).unwrap()
}

#[test]
fn policies_are_written_by_preset_flag_and_file_and_shown_as_they_are() {
    let world = World::new();
    let presets = world.ok(&["admin", "policy", "presets"]);
    assert!(presets.contains("limited-duration: in memory"), "{presets}");
    world.ok(&["admin", "policy", "preset", "rental"]);
    let file = br#"{ "expiration_after_first_play_seconds": null, "output_protection_levels": { "analog_video": 150 } }"#;
    world.write("terms.json", file);
    let changed = [
        "--terms",
        "terms.json",
        "--duration",
        "2d",
        "--begin-after",
        "-1h",
        "--in-memory",
    ];
    let preset = ["admin", "policy", "preset", "rental"];
    let written = json(&world, &[&preset[..], &changed].concat());
    assert_eq!(written["version"], 2);
    let expected = serde_json::json!({
        "begin_offset_seconds": -3600,
        "duration_seconds": 172_800,
        "persistent_allowed": false,
        "minimum_security_level": 2000,
        "output_protection_levels": { "analog_video": 150 },
    });
    let shown = world.ok(&["admin", "policy", "show", "rental"]);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
        expected
    );
    // What is shown can be written.
    world.write("shown.json", shown.as_bytes());
    world.ok(&["admin", "policy", "write", "copy", "--terms", "shown.json"]);
    let copy = json(&world, &["admin", "policy", "show", "copy"]);
    assert_eq!((&copy["version"], &copy["terms"]), (&1.into(), &expected));
    let first = json(&world, &["admin", "policy", "show", "rental", "--version", "1"]);
    assert_eq!(first["terms"]["expiration_after_first_play_seconds"], 172_800);

    let listed = world.ok(&["admin", "policy", "list"]);
    assert_eq!(
        listed.lines().collect::<Vec<_>>(),
        [
            "copy, version 1: in memory, security level 2000, for 2 days",
            "default, version 1: stored, security level 2000, for 30 days",
            "rental, version 2: in memory, security level 2000, for 2 days",
        ]
    );
    world.write("hdcp.json", br#"{ "explicit_restrictions": { "hdcp_type": 1 } }"#);
    for (args, reason) in [
        (&["preset", "lease"][..], "there is no preset `lease`"),
        (
            &["write", "x", "--grace", "1h"],
            "the policy was refused: a grace period needs an end",
        ),
        (
            &["write", "x", "--terms", "hdcp.json"],
            "an HDCP type needs a level",
        ),
        (&["show", "rental", "--version", "3"], "no such version"),
        (&["show", "lease"], "there is no policy `lease`"),
    ] {
        let refused = world.fails("nobody", 1, &[&["admin", "policy"], args].concat());
        assert!(refused.contains(reason), "{refused}");
    }
}

#[test]
fn a_key_gets_the_level_of_its_label_when_the_operator_packages() {
    let world = World::new();
    world.write("film", b"film");
    let config = String::from_utf8(world.read("operator/operator.toml")).unwrap();
    let levels = "[packaging]\nminimum_security_levels = { film-uhd = 3000 }\n";
    assert!(config.contains("[packaging]\n"));
    world.write(
        "operator/operator.toml",
        config.replace("[packaging]\n", levels).as_bytes(),
    );
    let server = world.serve();
    world.enrol("phone", "alice");
    world.ok(&["package", "film", "-o", "hd.kw", "--label", "film-hd"]);
    world.ok(&["package", "film", "-o", "uhd.kw", "--label", "film-uhd"]);
    assert_eq!(world.device_ok("phone", &["play", "hd.kw"]), "film");
    let denied = world.fails("phone", 3, &["play", "uhd.kw"]);
    assert!(
        denied.contains("needs security level 3000, this device has 2000"),
        "{denied}"
    );
    server.stop();
}

#[test]
fn grants_are_listed_and_ended() {
    let world = World::new();
    let kid = "22".repeat(16);
    world.ok(&["admin", "register-key", &kid, "--minimum-security-level", "3000"]);
    let all = json(&world, &["admin", "grant", "--account", "alice", "--all"]);
    let until = ["--kid", &kid, "--expires", "2090-01-01T00:00:00Z"];
    let one = ["admin", "grant", "--account", "alice"];
    world.ok(&[&one[..], &until].concat());
    let grants = json(&world, &["admin", "grants", "alice"]);
    let entitlements = grants["entitlements"].as_array().unwrap();
    assert_eq!(
        (&entitlements[0]["kid"], &entitlements[0]["expires"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
    assert_eq!(
        (&entitlements[1]["kid"], &entitlements[1]["expires"]),
        (&serde_json::json!(kid), &serde_json::json!(3_786_912_000_u64))
    );
    let number = all["entitlement"].to_string();
    world.ok(&["admin", "end-grant", &number]);
    let again = world.fails("nobody", 1, &["admin", "end-grant", &number]);
    assert!(
        again.contains(&format!("there is no entitlement {number}")),
        "{again}"
    );
    let left = world.ok(&["admin", "grants", "alice"]);
    assert_eq!(left.lines().count(), 1, "{left}");
    assert_eq!(world.ok(&["admin", "grants", "bob"]), "bob may have nothing\n");
}

#[test]
fn a_viewer_is_told_the_operators_sentence_and_page() {
    let world = World::new();
    world.write("film", b"film");
    world.ok(&["package", "film", "-o", "film.kw"]);
    let config = String::from_utf8(world.read("operator/operator.toml")).unwrap();
    let text = "[denials]\nnot-entitled = { sentence = \"Not part of your plan.\", url = \"https://shop.example\" }\n";
    assert!(config.contains("[denials]\n"));
    world.write(
        "operator/operator.toml",
        config.replace("[denials]\n", text).as_bytes(),
    );
    let server = world.serve();
    world.enrol("phone", "alice");
    let grants = json(&world, &["admin", "grants", "alice"]);
    for grant in grants["entitlements"].as_array().unwrap() {
        world.ok(&["admin", "end-grant", &grant["entitlement"].to_string()]);
    }
    for command in ["acquire", "play"] {
        let told = world.fails("phone", 3, &[command, "film.kw"]);
        assert!(told.contains(": Not part of your plan."), "{told}");
        assert!(told.contains("hint: see https://shop.example"), "{told}");
    }
    server.stop();
}
