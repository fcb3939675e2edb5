//! The usage rules as people meet them: what plays, what stops, and why.

use crate::world::{Server, World, content, text};

/// A world with a protected file, and a server whose account `alice` has it under a policy of these flags.
fn licensed(flags: &[&str]) -> (World, Server) {
    let world = World::new();
    world.write("film", &content(2_000_000));
    world.ok(&["package", "film", "-o", "film.kw"]);
    policy(&world, flags);
    world.ok(&[
        "admin",
        "grant",
        "--account",
        "alice",
        "--all",
        "--policy",
        "terms",
    ]);
    let server = world.serve();
    let token = world.token("alice");
    let profile = "operator/operator-profile";
    world.device_ok("phone", &["enrol", "--profile", profile, "--token", &token]);
    (world, server)
}

fn policy(world: &World, flags: &[&str]) {
    let write = ["admin", "policy", "write", "terms"];
    world.ok(&[&write[..], flags].concat());
}

fn json(world: &World, args: &[&str]) -> serde_json::Value {
    let printed = world.device_ok("phone", &[&["--json"], args].concat());
    serde_json::from_str(&printed).unwrap()
}

/// The first license of an explanation.
fn explained(world: &World, flags: &[&str]) -> serde_json::Value {
    let explained = json(world, &[&["explain", "film.kw"], flags].concat());
    explained["keys"][0]["licenses"][0].clone()
}

#[test]
fn explain_says_which_rule_decides_and_when_the_answer_changes() {
    let (world, server) = licensed(&["--duration", "30d", "--first-play", "48h"]);
    let nothing = world.device_ok("phone", &["explain", "film.kw"]);
    assert!(nothing.contains("refused, there is no license"), "{nothing}");
    world.device_ok("phone", &["acquire", "film.kw"]);
    server.stop();

    let now = explained(&world, &[]);
    assert_eq!((&now["allowed"], &now["rule"]), (&true.into(), &"R-012".into()));
    let until = now["until"].as_u64().unwrap();
    assert_eq!(until, now["at"].as_u64().unwrap() + 172_800);
    assert_eq!(now["first_play"], serde_json::Value::Null, "nothing was played");
    let words = world.device_ok("phone", &["explain", "film.kw"]);
    for said in [": allowed\n", "allowed by R-012", "the answer changes at"] {
        assert!(words.contains(said), "{words}");
    }

    let in_a_year = (now["at"].as_u64().unwrap() + 366 * 86_400).to_string();
    let later = explained(&world, &["--at", &in_a_year]);
    assert_eq!(
        (&later["allowed"], &later["rule"]),
        (&false.into(), &"R-005".into())
    );
    let long_ago = explained(&world, &["--at", "2020-01-01T00:00:00Z"]);
    assert_eq!(long_ago["allowed"], true, "it has no begin");
    let weak = explained(&world, &["--level", "150"]);
    assert_eq!(weak["rule"], "R-002");
    let right = explained(&world, &["--right", "500"]);
    assert_eq!(right["rule"], "R-001");

    // By key id and by license id; once it was played, with the first play.
    let listed = &json(&world, &["licenses", "list"])["licenses"][0];
    let kid = listed["kid"].as_str().unwrap();
    world.device_ok("phone", &["play", "film.kw", "--offline", "-o", "played"]);
    for id in [kid, listed["license"].as_str().unwrap()] {
        let explained = json(&world, &["explain", id]);
        assert_eq!(explained["keys"][0]["kid"], kid);
        assert!(explained["keys"][0]["licenses"][0]["first_play"].is_u64());
    }
    let listed = &json(&world, &["licenses", "list"])["licenses"][0];
    let first_play = listed["first_play"].as_u64().unwrap();
    assert_eq!(listed["until"], first_play + 172_800);
    assert_eq!(
        (&listed["usable"], &listed["security_level"]),
        (&true.into(), &2000.into())
    );
}

#[test]
fn explain_refuses_what_it_does_not_know() {
    let (world, server) = licensed(&[]);
    server.stop();
    for (args, said) in [
        (["explain", "film.kw", "--output", "hdmi"], "no kind of output"),
        (
            ["explain", "film.kw", "--at", "tomorrow"],
            "give a time with its zone",
        ),
    ] {
        let failed = world.fails("phone", 2, &args);
        assert!(failed.contains(said), "{failed}");
    }
    let other = world.fails("phone", 1, &["explain", "film"]);
    assert!(other.contains("is no license of an operator"), "{other}");
    let absent = world.fails("phone", 1, &["explain", "absent"]);
    assert!(absent.contains("cannot read absent"), "{absent}");
}

#[test]
fn r_023_r_041_a_license_with_output_levels_does_not_play_into_a_pipe_unless_it_says_so() {
    let (world, server) = licensed(&[]);
    let terms = r#"{ "output_protection_levels": { "uncompressed_digital_video": 300 } }"#;
    world.write("terms.json", terms.as_bytes());
    policy(&world, &["--terms", "terms.json"]);
    world.device_ok("phone", &["acquire", "film.kw"]);
    for args in [
        &["play", "film.kw"][..],
        &["play", "film.kw", "-o", "out"],
        &["check", "film.kw"],
    ] {
        let refused = world.fails("phone", 3, args);
        assert!(
            refused.contains("(R-023)") && refused.contains("hint: "),
            "{refused}"
        );
    }
    assert!(!world.path("out").exists());
    let pipe = explained(&world, &[]);
    assert_eq!(
        (&pipe["allowed"], &pipe["rule"]),
        (&false.into(), &"R-023".into())
    );
    assert_eq!(pipe["outputs"][0]["verdict"], "block");
    // What a player with outputs of its own would be told.
    let screens = [
        "--output",
        "built-in",
        "--output",
        "digital-video",
        "--output",
        "digital-video:hdcp=0",
    ];
    let screens = explained(&world, &screens);
    let verdicts: Vec<_> = screens["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|output| &output["verdict"])
        .collect();
    assert_eq!(verdicts, ["pass", "block", "pass"]);
    assert_eq!(screens["outputs"][1]["engage"][0], "hdcp=0");

    let terms = terms.replace(" } }", r#" }, "play_enablers": ["unknown-output"] }"#);
    world.write("terms.json", terms.as_bytes());
    policy(&world, &["--terms", "terms.json"]);
    world.device_ok("phone", &["acquire", "film.kw"]);
    world.device_ok("phone", &["play", "film.kw", "--offline", "-o", "out"]);
    assert_eq!(world.read("out"), world.read("film"));
    server.stop();
}

#[test]
fn r_012_a_rental_cannot_be_started_after_its_time_and_can_until_then() {
    let (world, server) = licensed(&["--first-play", "3"]);
    world.device_ok("phone", &["acquire", "film.kw"]);
    server.stop();
    world.device_ok("phone", &["play", "film.kw", "--offline", "-o", "first"]);
    std::thread::sleep(std::time::Duration::from_secs(4));
    let over = world.fails("phone", 3, &["play", "film.kw", "--offline", "-o", "second"]);
    assert!(over.contains("time after first play is over (R-012)"), "{over}");
    let listed = world.device_ok("phone", &["licenses", "list"]);
    assert!(
        listed.contains("(ended)") && listed.contains("first played at"),
        "{listed}"
    );
}

#[test]
fn r_014_a_real_time_expiration_stops_a_viewer_and_the_next_license_does_not() {
    let (world, server) = licensed(&["--duration", "5", "--real-time"]);
    // A viewer that reads nothing until the license has ended: what it gets then is what was in the pipe.
    let viewer = ["--", "sh", "-c", "sleep 6; cat > seen"];
    world.device_ok("phone", &["acquire", "film.kw"]);
    let offline = [&["play", "film.kw", "--offline"], &viewer[..]].concat();
    let stopped = world.fails("phone", 3, &offline);
    assert!(
        stopped.contains("stopped playing film.kw") && stopped.contains("the license has ended (R-005)"),
        "{stopped}"
    );
    let seen = world.read("seen");
    assert!(
        seen.len() < 500_000 && world.read("film").starts_with(&seen),
        "{}",
        seen.len()
    );
    // With a network it goes on.
    let online = world.as_device("phone", &[&["play", "film.kw"], &viewer[..]].concat());
    assert!(online.status.success(), "{}", text(&online.stderr));
    assert!(
        text(&online.stderr).contains("playing stops at"),
        "{}",
        text(&online.stderr)
    );
    assert!(world.read("seen") == world.read("film"), "what was seen differs");
    server.stop();
}

#[test]
fn the_time_alone_is_asked_for_and_licenses_are_cleaned_up() {
    let (world, server) = licensed(&["--duration", "1h"]);
    let told = json(&world, &["acquire", "--time-only"]);
    assert!(told["server_time"].as_u64() >= told["clock_floor"].as_u64());
    assert_eq!(
        json(&world, &["licenses", "list"])["licenses"],
        serde_json::json!([])
    );
    let terms = r#"{ "removal_after_end_seconds": 0 }"#;
    world.write("terms.json", terms.as_bytes());
    policy(&world, &["--duration", "2", "--terms", "terms.json"]);
    world.device_ok("phone", &["acquire", "film.kw"]);
    server.stop();
    std::thread::sleep(std::time::Duration::from_secs(3));
    let cleaned = world.device_ok("phone", &["licenses", "clean"]);
    assert!(cleaned.contains("1 license deleted"), "{cleaned}");
    let again = json(&world, &["licenses", "clean"]);
    assert_eq!(again["deleted"], 0);
}
