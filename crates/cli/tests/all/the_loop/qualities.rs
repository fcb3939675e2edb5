//! Content in several qualities: one content id, a key for each quality, one request for all of them, and a device
//! that gets those that its level permits.

use std::{path::Path, process::Command};

use keyward_testkit::peers;
use serde_json::Value;

use crate::{
    the_loop::packaging::enrol_packager,
    world::{World, text},
};

/// Names, and what ffmpeg makes them of.
const RENDITIONS: [(&str, &str); 4] = [
    ("film-sd.mp4", "testsrc2=s=320x180:d=0.4"),
    ("film-hd.mp4", "testsrc2=s=1280x720:d=0.4"),
    ("film-uhd.mp4", "testsrc2=s=3840x2160:d=0.08"),
    ("sound.mp4", "sine=d=0.4"),
];

fn make_renditions(world: &World, ffmpeg: &Path) {
    for (name, source) in RENDITIONS {
        let mut command = Command::new(ffmpeg);
        command.args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", source]);
        command.args(["-preset", "ultrafast"]).arg(world.path(name));
        let made = command.output().unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
    }
}

/// Packages all renditions with these arguments, and returns the key ids by quality.
fn package(world: &World, args: &[&str]) -> Vec<(String, String)> {
    let files = RENDITIONS.map(|(name, _)| name);
    let args = [&["--json", "package", "--key-per-quality"], args, &files].concat();
    let made: Value = serde_json::from_str(&world.ok(&args)).unwrap();
    let field = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
    let keys = made["keys"].as_array().unwrap().iter();
    keys.map(|key| (field(key, "quality"), field(key, "kid")))
        .collect()
}

/// MD5 of the samples of a file, which is clear or under keys that are not given.
pub(crate) fn samples(world: &World, file: &str, track: &str) -> String {
    let no_key = "*:00000000000000000000000000000000";
    world.ok(&[
        "danger", "decrypt", "--keys", no_key, "--md5", "--track", track, file,
    ])
}

fn set_level_of_uhd(world: &World) {
    let config = String::from_utf8(world.read("operator/operator.toml")).unwrap();
    let levels = "[packaging]\nminimum_security_levels = { UHD1 = 3000 }\n";
    world.write(
        "operator/operator.toml",
        config.replace("[packaging]\n", levels).as_bytes(),
    );
}

#[test]
fn one_content_id_gives_each_quality_a_key_and_one_request_asks_for_all() {
    let Some(peers) = peers::media() else { return };
    let world = World::new();
    make_renditions(&world, &peers.ffmpeg);
    set_level_of_uhd(&world);
    let server = world.serve();
    enrol_packager(&world, "encoder");

    // The same content id and quality get the same key again, whoever else is packaged with them.
    let exchange = [
        "--packager",
        "encoder",
        "--content-id",
        "film-1",
        "--operator",
        "nowhere",
    ];
    let keys = package(&world, &[&exchange[..], &["-o", "out"]].concat());
    let order: Vec<_> = keys.iter().map(|(quality, _)| quality.as_str()).collect();
    assert_eq!(order, ["AUDIO", "SD", "HD", "UHD1"]);
    assert_eq!(package(&world, &[&exchange[..], &["-o", "again"]].concat()), keys);

    // One file acquires the keys of all, but for the one above the device's level.
    world.enrol("phone", "alice");
    world.as_device("phone", &["acquire", "out/film-sd.mp4"]);
    server.stop();
    for (name, track) in [("film-sd", "video"), ("film-hd", "video"), ("sound", "audio")] {
        let (file, played) = (format!("out/{name}.mp4"), format!("{name}.played.mp4"));
        world.device_ok("phone", &["play", "--offline", &file, "-o", &played]);
        let wanted = samples(&world, &format!("{name}.mp4"), track);
        assert_eq!(samples(&world, &played, track), wanted, "{name}");
    }
    let refused = world.fails(
        "phone",
        3,
        &["play", "--offline", "out/film-uhd.mp4", "-o", "uhd.mp4"],
    );
    assert!(refused.contains(&keys[3].1), "{refused}");
}

#[test]
fn the_operators_folder_gives_each_quality_a_key_and_its_level() {
    let Some(peers) = peers::media() else { return };
    let world = World::new();
    make_renditions(&world, &peers.ffmpeg);
    set_level_of_uhd(&world);
    let server = world.serve();
    let keys = package(&world, &["-o", "out", "--scheme", "cbcs"]);
    let other = package(&world, &["-o", "other", "--scheme", "cbcs", "--vault-key"]);
    assert!(
        keys.iter()
            .zip(&other)
            .all(|(one, other)| one.0 == other.0 && one.1 != other.1)
    );
    world.enrol("phone", "alice");
    for folder in ["out", "other"] {
        let hd = format!("{folder}/film-hd.mp4");
        world.as_device("phone", &["acquire", &hd]);
        let played = format!("{folder}.mp4");
        world.device_ok("phone", &["play", "--offline", &hd, "-o", &played]);
        assert_eq!(
            samples(&world, &played, "video"),
            samples(&world, "film-hd.mp4", "video")
        );
        let denied = world.fails(
            "phone",
            3,
            &["play", &format!("{folder}/film-uhd.mp4"), "-o", "uhd.mp4"],
        );
        assert!(
            denied.contains("needs security level 3000, this device has 2000"),
            "{denied}"
        );
    }
    server.stop();
}
