//! Keys that rotate, with a key for each quality and from standard input.

use std::{fs::File, path::Path, process::Command};

use keyward_testkit::peers;
use serde_json::Value;

use crate::{
    the_loop::{
        live::{broadcaster, json},
        qualities::samples,
    },
    world::{World, text},
};

/// Six seconds of each, in fragments of two.
const RENDITIONS: [(&str, &str, &str); 3] = [
    ("sd.mp4", "testsrc2=s=320x180:r=25:d=6", "SD"),
    ("hd.mp4", "testsrc2=s=1280x720:r=25:d=6", "HD"),
    ("sound.mp4", "sine=d=6", "AUDIO"),
];

fn make_renditions(world: &World, ffmpeg: &Path) {
    for (name, source, _) in RENDITIONS {
        let mut command = Command::new(ffmpeg);
        command.args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", source]);
        command.args(["-preset", "ultrafast", "-g", "50", "-movflags"]);
        command.arg("+frag_keyframe+empty_moov+default_base_moof");
        let made = command
            .args(["-frag_duration", "2000000"])
            .arg(world.path(name))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
    }
}

fn package<'a>(files: &[&'a str], output: &'a str, key: &'a str) -> Vec<&'a str> {
    let exchange = ["--packager", "packager", "--content-id", "channel-1"];
    let periods = ["--crypto-period", "2s", "--first-period", "1000"];
    [
        &["--json", "package", "-o", output, key],
        &exchange[..],
        &periods,
        files,
    ]
    .concat()
}

#[test]
fn each_quality_has_a_key_in_each_period_and_a_pipe_gives_the_same() {
    let Some(peers) = peers::media() else { return };
    let (world, server) = broadcaster();
    make_renditions(&world, &peers.ffmpeg);
    let root = world.ok(&["admin", "root", "create", "sports"]).trim().to_owned();
    world.ok(&["admin", "root", "put", "sports", "--content-id", "channel-1"]);
    world.ok(&["admin", "grant", "--account", "alice", "--root", "sports"]);

    let names = RENDITIONS.map(|(name, ..)| name);
    let made = json(&world.ok(&package(&names, "out", "--key-per-quality")));
    let files = made["files"].as_array().unwrap();
    let first_kid = |file: &Value| file["tracks"][0]["kid"].as_str().unwrap().to_owned();
    for file in files {
        let periods = &file["periods"];
        assert_eq!(
            (&periods["first"], &periods["last"]),
            (&1000.into(), &1002.into())
        );
        assert_eq!(periods["roots"][0], root.as_str(), "{made}");
        assert_eq!(periods["leaf_licenses"], 3, "{made}");
    }
    let kids: std::collections::BTreeSet<_> = files.iter().map(first_kid).collect();
    assert_eq!(kids.len(), 3, "{made}");

    // As it comes through a pipe, with the keys that the file has.
    for (number, (name, ..)) in RENDITIONS.into_iter().enumerate() {
        let output = format!("piped-{name}");
        let piped = world
            .command(&package(&["-"], &output, "--key-per-quality"))
            .stdin(File::open(world.path(name)).unwrap())
            .output()
            .unwrap();
        assert!(piped.status.success(), "{}", text(&piped.stderr));
        let piped = json(&text(&piped.stdout));
        assert_eq!(first_kid(&piped["files"][0]), first_kid(&files[number]));
        assert_eq!(piped["files"][0]["periods"], files[number]["periods"]);
    }

    // One root's license opens all of it, and nobody is asked any more.
    world.device_ok("alice", &["acquire", "out/sd.mp4"]);
    server.stop();
    for (name, _, quality) in RENDITIONS {
        let track = if quality == "AUDIO" { "audio" } else { "video" };
        for file in [format!("out/{name}"), format!("piped-{name}")] {
            world.device_ok("alice", &["play", &file, "-o", "played.mp4", "--force"]);
            let played = samples(&world, "played.mp4", track);
            assert_eq!(played, samples(&world, name, track), "{file}");
        }
    }
}

#[test]
fn leaves_are_embedded_in_each_file_and_not_in_a_pipe() {
    let Some(peers) = peers::media() else { return };
    let (world, server) = broadcaster();
    make_renditions(&world, &peers.ffmpeg);
    world.ok(&["admin", "root", "create", "films"]);
    world.ok(&["admin", "root", "put", "films", "--content-id", "film"]);
    world.ok(&["admin", "grant", "--account", "alice", "--root", "films"]);
    let exchange = ["--packager", "packager", "--content-id", "film", "--leaves"];
    let names = ["sd.mp4", "hd.mp4", "sound.mp4"];
    let quality = ["--json", "package", "--key-per-quality", "-o"];
    let made = json(&world.ok(&[&quality[..], &["out"], &exchange, &names].concat()));
    for file in made["files"].as_array().unwrap() {
        assert_eq!(file["leaf_licenses"], 3, "{made}");
    }
    let refused = world.fails(
        "alice",
        1,
        &[&quality[..], &["-"], &exchange, &["sd.mp4"]].concat(),
    );
    assert!(
        refused.contains("leaf licenses are embedded in a file"),
        "{refused}"
    );

    world.device_ok("alice", &["acquire", "out/sd.mp4"]);
    server.stop();
    for (name, track) in [("sd.mp4", "video"), ("hd.mp4", "video"), ("sound.mp4", "audio")] {
        let file = format!("out/{name}");
        world.device_ok("alice", &["play", &file, "-o", "played.mp4", "--force"]);
        let played = samples(&world, "played.mp4", track);
        assert_eq!(played, samples(&world, name, track), "{file}");
    }
}
