//! Keys that change while media plays: from real media to a player, by the program. The commands of the first test are
//! those of `docs/guides/live.md`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use keyward_testkit::{
    media::{Keys, assert_same_samples, samples},
    peers::{self, MediaPeers},
};

use crate::{
    the_loop::packaging::enrol_packager,
    world::{Server, World, text},
};

const GUIDE: &str = include_str!("../../../../../docs/guides/live.md");

/// A world whose license server runs, with a packager that is enrolled, and devices of alice and bob who may have
/// nothing yet.
pub(crate) fn broadcaster() -> (World, Server) {
    let world = World::new();
    let server = world.serve();
    enrol_packager(&world, "packager");
    let profile = "operator/operator-profile";
    for account in ["alice", "bob"] {
        let token = world.token(account);
        world.device_ok(account, &["enrol", "--profile", profile, "--token", &token]);
    }
    (world, server)
}

pub(crate) fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

/// Twelve seconds of pictures and sound: six fragments of two seconds.
fn match_of_twelve_seconds(world: &World, peers: &MediaPeers) {
    let made = Command::new(&peers.ffmpeg)
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i"])
        .arg("testsrc2=size=320x180:rate=25")
        .args([
            "-f",
            "lavfi",
            "-i",
            "sine=frequency=440:sample_rate=48000",
            "-t",
            "12",
        ])
        .args([
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-g",
            "50",
            "-keyint_min",
            "50",
        ])
        .args(["-sc_threshold", "0", "-c:a", "aac", "-movflags"])
        .arg("+frag_keyframe+empty_moov+default_base_moof")
        .arg(world.path("match.mp4"))
        .status()
        .unwrap();
    assert!(made.success());
}

/// Packages the match with a key for every two seconds, from this period on.
fn package(world: &World, output: &str, first_period: u64) -> serde_json::Value {
    package_parts(world, &["match.mp4"], output, first_period)
}

/// The same of an initialisation segment and media segments.
fn package_parts(world: &World, parts: &[&str], output: &str, first_period: u64) -> serde_json::Value {
    let first = first_period.to_string();
    let of = [
        "-o",
        output,
        "--packager",
        "packager",
        "--content-id",
        "channel-1",
    ];
    let periods = ["--crypto-period", "2s", "--first-period", &first];
    json(&world.ok(&[&["--json", "package"], parts, &of, &periods].concat()))
}

/// Where each `moof` of a file begins.
fn fragments(file: &[u8]) -> Vec<usize> {
    let (mut at, mut found) = (0, Vec::new());
    while at < file.len() {
        let size = u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
        if &file[at + 4..at + 8] == b"moof" {
            found.push(at);
        }
        at += usize::try_from(size).unwrap();
    }
    found
}

/// A program by its path: of one that was named alone, where the system has it.
fn which(program: &Path) -> PathBuf {
    let found = if program.is_absolute() {
        program.to_path_buf()
    } else {
        Path::new("/usr/bin").join(program)
    };
    assert!(found.exists(), "{}", found.display());
    found
}

fn assert_clear(world: &World, peers: &MediaPeers, file: &str) {
    let of = |file: &str| samples(&peers.ffmpeg, &world.path(file), Keys::None);
    assert_same_samples(&of(file), &of("match.mp4"), file);
}

#[test]
fn the_guide_does_what_it_says() {
    let Some(peers) = peers::media() else { return };
    let (world, _server) = broadcaster();
    world.write("report.pdf", b"a report");
    let bin = world.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_keyward"));
    std::os::unix::fs::symlink(program, bin.join("keyward")).unwrap();
    std::os::unix::fs::symlink(which(&peers.ffmpeg), bin.join("ffmpeg")).unwrap();
    let blocks = GUIDE.split("```sh\n").skip(1);
    let script = blocks
        .map(|block| block.split_once("```").unwrap().0)
        .collect::<Vec<_>>()
        .join("\n");
    assert!(script.matches("\nkeyward ").count() >= 25, "{script}");
    let followed = Command::new("sh")
        .args(["-eu", "-c", &script])
        .current_dir(world.path(""))
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .env("KEYWARD_CLIENT_DIR", world.path("alice"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (said, complained) = (text(&followed.stdout), text(&followed.stderr));
    assert!(followed.status.success(), "{said}\n{complained}");
    for clear in [
        "match.clear.mp4",
        "derby.clear.mp4",
        "s1e1.clear.mp4",
        "s1e2.clear.mp4",
    ] {
        assert_clear(&world, &peers, clear);
    }

    // The blackout: before it bob sees what alice sees, in it nothing.
    let derby = world.as_device("bob", &["play", "derby.protected.mp4"]);
    assert_eq!(derby.status.code(), Some(3), "{}", text(&derby.stderr));
    assert!(
        text(&derby.stderr).contains("stopped playing derby.protected.mp4"),
        "{}",
        text(&derby.stderr)
    );
    let protected = world.read("derby.protected.mp4");
    let begins = fragments(&protected);
    let clear = world.read("derby.clear.mp4");
    assert_eq!(derby.stdout.len(), begins[2], "periods 2000 and 2001");
    assert!(derby.stdout == clear[..begins[2]]);
    let after = begins[4].to_string();
    let after = world.as_device("bob", &["play", "derby.protected.mp4", "--start", &after]);
    assert!(after.status.success(), "{}", text(&after.stderr));
    assert!(after.stdout == clear[begins[4]..]);

    // The embedded license is there when the store is not, on the same device. Of others it is no license.
    assert!(complained.contains("is embedded in report.kw"), "{complained}");
    for file in ["licenses.redb", "licenses.epoch"] {
        std::fs::remove_file(world.path("alice").join(file)).unwrap();
    }
    let profile = "operator/operator-profile";
    let token = world.token("alice");
    world.device_ok("alice", &["enrol", "--profile", profile, "--token", &token]);
    let told = world.ok(&["--json", "inspect", "report.kw"]);
    let embedded = &json(&told)["unverified"]["embedded_license_store"]["licenses"];
    assert_eq!(embedded.as_array().unwrap().len(), 1, "{told}");
    let license = embedded[0]["id"].as_str().unwrap();
    world.device_ok(
        "alice",
        &["play", "report.kw", "--offline", "-o", "report.pdf", "--force"],
    );
    assert_eq!(world.read("report.pdf"), b"a report");
    // One that was deleted does not come back with the file; and bob's device has no use for it.
    world.device_ok("alice", &["licenses", "delete", license]);
    for device in ["alice", "bob"] {
        let gone = world.fails(device, 3, &["play", "report.kw", "--offline"]);
        assert!(gone.contains("no license in the store covers key"), "{gone}");
    }
}

#[test]
fn a_channel_plays_under_one_root_without_the_server_from_any_place() {
    let Some(peers) = peers::media() else { return };
    let (world, server) = broadcaster();
    match_of_twelve_seconds(&world, &peers);
    let root = world.ok(&["admin", "root", "create", "sports"]).trim().to_owned();
    world.ok(&["admin", "root", "put", "sports", "--content-id", "channel-1"]);
    world.ok(&["admin", "channel", "create", "channel-1", "--period", "2s"]);
    world.ok(&["admin", "grant", "--account", "alice", "--root", "sports"]);
    let made = package(&world, "match.protected.mp4", 1000);
    assert_eq!(made["periods"]["first"], 1000, "{made}");
    assert_eq!(made["periods"]["last"], 1005, "{made}");
    assert_eq!(made["periods"]["leaf_licenses"], 6, "{made}");
    assert_eq!(made["periods"]["roots"][0], root.as_str(), "{made}");

    // Without the root's license: nothing is handed out that is not clear.
    let missing = world.fails("alice", 3, &["check", "match.protected.mp4"]);
    assert!(
        missing.contains(&format!("needs the license of its root, {root}")),
        "{missing}"
    );
    let denied = world.fails("bob", 3, &["play", "match.protected.mp4", "-o", "none.mp4"]);
    assert!(denied.contains("denied a license for key"), "{denied}");
    assert!(!world.path("none.mp4").exists());

    // A second encoder, which gets segments: the same periods have the same keys.
    let clear = world.read("match.mp4");
    let mut cuts = vec![0];
    cuts.extend(fragments(&clear));
    cuts.push(clear.len());
    let names: Vec<String> = (0..cuts.len() - 1).map(|at| format!("part-{at}.m4s")).collect();
    for (name, cut) in names.iter().zip(cuts.windows(2)) {
        world.write(name, &clear[cut[0]..cut[1]]);
    }
    let parts: Vec<&str> = names.iter().map(String::as_str).collect();
    let second = package_parts(&world, &parts, "second.protected.mp4", 1000);
    assert_eq!(second["tracks"][0]["kid"], made["tracks"][0]["kid"]);
    let kids = |file: &str| {
        let found = json(&world.ok(&["--json", "inspect", file]));
        found["unverified"]["tracks"][0]["samples_by_kid"].clone()
    };
    assert_eq!(kids("second.protected.mp4"), kids("match.protected.mp4"));

    // Proactively: one license, the root's.
    let acquired = world.device_ok("alice", &["--json", "acquire", "match.protected.mp4"]);
    let acquired = json(&acquired);
    assert_eq!(acquired["keys"].as_array().unwrap().len(), 1, "{acquired}");
    assert_eq!(acquired["keys"][0]["kid"], root.as_str(), "{acquired}");
    server.stop();

    world.device_ok("alice", &["play", "match.protected.mp4", "-o", "played.mp4"]);
    let second = ["play", "second.protected.mp4", "--offline", "-o", "second.mp4"];
    world.device_ok("alice", &second);
    for played in ["played.mp4", "second.mp4"] {
        assert_clear(&world, &peers, played);
    }
    let (clear, protected) = (world.read("played.mp4"), world.read("match.protected.mp4"));
    assert_eq!(clear.len(), protected.len());

    // Late joins: from the beginning of a fragment, from the middle of one, and a piece over several keys.
    let begins = fragments(&protected);
    assert_eq!(begins.len(), 6);
    for (start, length) in [
        (begins[3], None),
        (begins[5] + 1000, None),
        (begins[1] + 7, Some(begins[4] - begins[1])),
    ] {
        let (from, many) = (start.to_string(), length.unwrap_or(clear.len()).to_string());
        let args = ["play", "match.protected.mp4", "--start", &from, "--length", &many];
        let joined = world.as_device("alice", &args);
        assert!(joined.status.success(), "{}", text(&joined.stderr));
        let end = length.map_or(clear.len(), |length| start + length);
        assert!(joined.stdout == clear[start..end], "from {start}");
    }

    // A late joiner gets the initialisation segment and then the fragments from where it joins.
    let joined = [&protected[..begins[0]], &protected[begins[2]..]].concat();
    world.write("joined.mp4", &joined);
    let played = world.as_device("alice", &["play", "joined.mp4"]);
    assert!(played.status.success(), "{}", text(&played.stderr));
    assert!(played.stdout == [&clear[..begins[0]], &clear[begins[2]..]].concat());

    // What people are told of it.
    let checked = world.device_ok("alice", &["check", "match.protected.mp4"]);
    assert!(checked.contains(&format!("a leaf of root {root}")), "{checked}");
    let explained = json(&world.device_ok("alice", &["--json", "explain", "match.protected.mp4"]));
    let leaf = &explained["keys"][0]["licenses"][0];
    assert_eq!(
        (&leaf["kind"], &leaf["root"]),
        (&"leaf".into(), &root.as_str().into()),
        "{explained}"
    );
    assert!(
        leaf["until"].is_u64() && leaf["root_license"].is_string(),
        "{explained}"
    );
    let listed = json(&world.device_ok("alice", &["--json", "licenses", "list"]));
    assert_eq!(
        listed["licenses"].as_array().unwrap().len(),
        1,
        "leaves of content are not stored: {listed}"
    );
    assert_eq!(listed["licenses"][0]["kind"], "root", "{listed}");
    let inspected = json(&world.ok(&["--json", "inspect", "match.protected.mp4"]));
    let riding = &inspected["unverified"]["riding"];
    assert_eq!(
        (&riding["fragments"], &riding["licenses"]),
        (&6.into(), &6.into()),
        "{inspected}"
    );

    // When the root's license is gone, so is everything under it.
    world.device_ok("alice", &["licenses", "delete", &root]);
    let gone = world.fails(
        "alice",
        3,
        &["play", "match.protected.mp4", "--offline", "-o", "none.mp4"],
    );
    assert!(gone.contains(&root) && !world.path("none.mp4").exists(), "{gone}");
}

#[test]
fn a_root_license_in_memory_lasts_as_long_as_the_playback() {
    let Some(peers) = peers::media() else { return };
    let (world, server) = broadcaster();
    match_of_twelve_seconds(&world, &peers);
    world.ok(&["admin", "root", "create", "sports"]);
    world.ok(&["admin", "root", "put", "sports", "--content-id", "channel-1"]);
    world.ok(&["admin", "policy", "preset", "live"]);
    let grant = [
        "admin",
        "grant",
        "--account",
        "alice",
        "--root",
        "sports",
        "--policy",
        "live",
    ];
    world.ok(&grant);
    package(&world, "match.protected.mp4", 0);

    // The viewer ends the server when it has the first byte. There are five keys to come.
    let viewer = format!(
        "head -c 1 > seen.mp4; kill -KILL {}; sleep 0.2; cat >> seen.mp4",
        server.0.id()
    );
    let viewed = ["play", "match.protected.mp4", "--", "sh", "-c", &viewer];
    let played = world.as_device("alice", &viewed);
    assert!(played.status.success(), "{}", text(&played.stderr));
    assert_eq!(
        text(&played.stderr).matches("(acquired)").count(),
        1,
        "{}",
        text(&played.stderr)
    );
    assert_clear(&world, &peers, "seen.mp4");

    // Nothing of it was kept.
    let gone = world.fails(
        "alice",
        3,
        &["play", "match.protected.mp4", "--offline", "-o", "none.mp4"],
    );
    assert!(!world.path("none.mp4").exists(), "{gone}");
}

#[test]
fn without_roots_a_device_has_the_keys_of_two_periods_from_one_response() {
    let Some(peers) = peers::media() else { return };
    let (world, server) = broadcaster();
    match_of_twelve_seconds(&world, &peers);
    let made = package(&world, "match.protected.mp4", 7);
    assert_eq!(
        (&made["periods"]["last"], &made["periods"]["leaf_licenses"]),
        (&12.into(), &0.into())
    );
    world.ok(&["admin", "grant", "--account", "alice", "--all"]);

    // R-046: with the keys of the first period and the next comes a time at which to ask for what follows, in the
    // window that the operator has said.
    let channel = ["admin", "channel", "create", "channel-1", "--period", "1h"];
    let in_time = ["--anchor", "2090-01-01T00:00:00Z", "--renewal-spread", "30m"];
    world.ok(&[&channel[..], &in_time].concat());
    let acquired = world.device_ok("alice", &["--json", "acquire", "match.protected.mp4"]);
    let acquired = json(&acquired);
    let kids = acquired["keys"].as_array().unwrap().iter().map(|key| &key["kid"]);
    let kids: Vec<_> = kids.collect();
    assert!(
        kids.len() == 2 && kids.contains(&&made["tracks"][0]["kid"]),
        "{acquired}"
    );
    let begins = 3_786_912_000 + 8 * 3600;
    let renew_at = acquired["renew_at"].as_u64().unwrap();
    assert!((begins..begins + 1800).contains(&renew_at), "{renew_at}");
    world.ok(&channel);

    let played = world.as_device("alice", &["play", "match.protected.mp4", "-o", "played.mp4"]);
    assert!(played.status.success(), "{}", text(&played.stderr));
    assert_eq!(
        text(&played.stderr).matches("(acquired)").count(),
        2,
        "{}",
        text(&played.stderr)
    );
    server.stop();
    world.device_ok(
        "alice",
        &["play", "match.protected.mp4", "--offline", "-o", "again.mp4"],
    );
    for file in ["played.mp4", "again.mp4"] {
        assert_clear(&world, &peers, file);
    }
}
