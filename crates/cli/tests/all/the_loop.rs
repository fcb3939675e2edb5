//! The loop in real processes: every command is a process of its own, as people run them.

mod authorized;
mod carried;
mod embedded;
mod live;
mod media;
mod packaging;
mod policies;
mod qualities;
mod roots;
mod rotating;
mod rules;
mod webm;

use std::{io::Write, process::Stdio};

use crate::world::{World, content, files_below, text};

#[test]
fn a_protected_file_plays_reactively_and_then_from_the_store_without_the_server() {
    let world = World::new();
    let clear = content(300_000);
    world.write("film.mkv", &clear);
    let server = world.serve();
    world.ok(&["package", "film.mkv", "-o", "film.kw"]);
    assert!(world.read("film.kw") != clear);
    world.enrol("phone", "alice");

    // Reactive: nothing usable in the store, so it acquires and goes on.
    let missing = world.fails("phone", 3, &["check", "film.kw"]);
    assert!(
        missing.contains("no license in the store covers key"),
        "{missing}"
    );
    let played = world.as_device("phone", &["play", "film.kw"]);
    assert!(played.status.success(), "{}", text(&played.stderr));
    assert!(played.stdout == clear, "what was played differs");
    assert!(
        text(&played.stderr).contains("(acquired)"),
        "{}",
        text(&played.stderr)
    );

    // From the store, in another process, with the server stopped.
    server.stop();
    let played = world.as_device("phone", &["play", "film.kw", "-o", "again.mkv"]);
    assert!(played.status.success(), "{}", text(&played.stderr));
    assert!(
        text(&played.stderr).contains("(from the store)"),
        "{}",
        text(&played.stderr)
    );
    assert!(world.read("again.mkv") == clear, "what was played differs");

    // A part of it, by seeking; and through a viewer.
    let part = world.as_device(
        "phone",
        &["play", "film.kw", "--start", "131000", "--length", "70000"],
    );
    assert!(part.stdout == clear[131_000..201_000], "what was played differs");
    let viewed = world.as_device("phone", &["play", "film.kw", "--", "sha256sum"]);
    assert!(
        text(&viewed.stdout).starts_with(&sha256(&clear)),
        "{}",
        text(&viewed.stdout)
    );
    // A viewer that is closed early is no failure.
    assert!(
        world
            .as_device("phone", &["play", "film.kw", "--", "true"])
            .status
            .success()
    );
}

#[test]
fn proactive_acquisition_by_file_and_by_key_id() {
    let world = World::new();
    world.write("a", b"first");
    world.write("b", b"second");
    let made: serde_json::Value =
        serde_json::from_str(&world.ok(&["--json", "package", "a", "-o", "a.kw"])).unwrap();
    let kid = made["kid"].as_str().unwrap();
    world.ok(&["package", "b", "-o", "b.kw", "--vault-key"]);
    let server = world.serve();
    world.enrol("tablet", "bob");
    world.device_ok("tablet", &["acquire", kid, "b.kw"]);
    server.stop();
    assert_eq!(world.device_ok("tablet", &["play", "a.kw", "--offline"]), "first");
    assert_eq!(
        world.device_ok("tablet", &["play", "b.kw", "--offline"]),
        "second"
    );
}

#[test]
fn request_answer_and_install_in_different_processes_without_a_network() {
    let world = World::new();
    world.write("report.pdf", b"a document");
    world.ok(&["package", "report.pdf", "-o", "report.kw"]);
    let server = world.serve();
    world.enrol("laptop", "carol");
    server.stop();

    world.device_ok("laptop", &["request", "report.kw", "-o", "request"]);
    world.ok(&["answer", "request", "-o", "response"]);
    // The same request again gets the same license, signed again: it is one answer, consumed once.
    world.ok(&["answer", "request", "-o", "response-2"]);
    world.device_ok("laptop", &["install", "response"]);
    assert_eq!(
        world.device_ok("laptop", &["play", "report.kw", "--offline"]),
        "a document"
    );

    // V-010: a response is consumed once, and answers its own device alone.
    for again in ["response", "response-2"] {
        let replayed = world.fails("laptop", 1, &["install", again]);
        assert!(replayed.contains("answers no pending request"), "{replayed}");
    }
    let other = world.fails("stranger", 1, &["install", "response"]);
    assert!(other.contains("answers no pending request"), "{other}");
}

#[test]
fn a_device_without_entitlement_is_denied_with_a_reason() {
    let world = World::new();
    world.write("film", b"film");
    world.ok(&["package", "film", "-o", "film.kw"]);
    let server = world.serve();
    world.ok(&["admin", "grant", "--account", "somebody", "--all"]);
    world.ok(&[
        "admin",
        "policy",
        "write",
        "hardware",
        "--minimum-security-level",
        "3000",
    ]);
    let unentitled = world.token("dave");
    world.device_ok(
        "dave",
        &[
            "enrol",
            "--profile",
            "operator/operator-profile",
            "--token",
            &unentitled,
        ],
    );
    let denied = world.fails("dave", 3, &["play", "film.kw"]);
    assert!(denied.contains("denied a license for key"), "{denied}");

    // A second device on a used token.
    let used = world.fails(
        "eve",
        3,
        &[
            "enrol",
            "--profile",
            "operator/operator-profile",
            "--token",
            &unentitled,
        ],
    );
    assert!(used.contains("token-refused"), "{used}");

    // A revoked device.
    world.enrol("mallory", "somebody");
    let devices: serde_json::Value =
        serde_json::from_str(&world.ok(&["--json", "admin", "devices"])).unwrap();
    let mallory = devices["devices"]
        .as_array()
        .unwrap()
        .iter()
        .find(|device| device["account"] == "somebody")
        .and_then(|device| device["device"].as_str())
        .unwrap();
    world.ok(&["admin", "revoke-device", mallory]);
    let revoked = world.fails("mallory", 3, &["play", "film.kw"]);
    assert!(revoked.contains("the device was revoked"), "{revoked}");
    server.stop();
}

#[test]
fn a_license_that_ends_stops_playing() {
    let world = World::new();
    world.write("film", b"film");
    world.ok(&["package", "film", "-o", "film.kw"]);
    world.ok(&["admin", "policy", "write", "short", "--duration", "2"]);
    world.ok(&[
        "admin",
        "grant",
        "--account",
        "frank",
        "--all",
        "--policy",
        "short",
    ]);
    let server = world.serve();
    let token = world.token("frank");
    world.device_ok(
        "frank",
        &[
            "enrol",
            "--profile",
            "operator/operator-profile",
            "--token",
            &token,
        ],
    );
    assert_eq!(world.device_ok("frank", &["play", "film.kw"]), "film");
    server.stop();
    std::thread::sleep(std::time::Duration::from_secs(3));
    let ended = world.fails("frank", 3, &["play", "film.kw", "--offline"]);
    assert!(ended.contains("the license has ended (R-005)"), "{ended}");
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_left_behind() {
    let world = World::new();
    world.write("film", &content(200_000));
    world.ok(&["package", "film", "-o", "film.kw"]);

    let cases: [(&[&str], i32, &str); 7] = [
        (&["play", "absent.kw"], 1, "cannot open absent.kw"),
        (&["play", "film"], 1, "not a Keyward protected file"),
        (
            &["play", "film.kw"],
            1,
            "no enrolled operator has the license server",
        ),
        (&["package", "absent", "-o", "out.kw"], 1, "cannot open absent"),
        (&["package", "film", "-o", "film.kw"], 1, "exists already"),
        (
            &["enrol", "--profile", "film", "--token", "x"],
            1,
            "is not an operator profile",
        ),
        (&["init", "operator"], 1, "exists already"),
    ];
    for (args, code, expected) in cases {
        let said = world.fails("phone", code, args);
        assert!(
            said.contains(expected) && said.contains("\nhint: "),
            "{args:?}:\n{said}"
        );
        assert!(said.starts_with("error: "), "{args:?}:\n{said}");
    }
    // The server is down.
    let enrolled = World::new();
    enrolled.write("film", b"film");
    enrolled.ok(&["package", "film", "-o", "film.kw"]);
    let server = enrolled.serve();
    enrolled.enrol("phone", "alice");
    server.stop();
    let down = enrolled.fails("phone", 4, &["play", "film.kw"]);
    assert!(down.contains("cannot reach the license server"), "{down}");

    // An altered file stops before any altered byte comes out, and leaves no output.
    let server = enrolled.serve();
    enrolled.write("long", &content(200_000));
    enrolled.ok(&["package", "long", "-o", "long.kw"]);
    let mut altered = enrolled.read("long.kw");
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    enrolled.write("altered.kw", &altered);
    altered.truncate(middle);
    enrolled.write("cut.kw", &altered);
    for file in ["altered.kw", "cut.kw"] {
        let said = enrolled.fails("phone", 1, &["play", file, "-o", "out"]);
        assert!(said.contains("was altered, or the file was cut off"), "{said}");
        assert!(!enrolled.path("out").exists());
    }
    server.stop();
    let leftovers: Vec<_> = files_below(&enrolled.path(""))
        .into_iter()
        .filter(|path| path.to_string_lossy().contains(".part"))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

#[test]
fn files_go_through_pipes() {
    let world = World::new();
    let clear = content(150_000);
    let server = world.serve();
    world.enrol("phone", "alice");
    let mut package = world
        .command(&["package", "-", "-o", "piped.kw"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    package.stdin.take().unwrap().write_all(&clear).unwrap();
    assert!(package.wait().unwrap().success());
    let mut play = world
        .command(&["play", "-", "--start", "10"])
        .env("KEYWARD_CLIENT_DIR", world.path("phone"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = play.stdin.take().unwrap();
    let protected = world.read("piped.kw");
    let feeder = std::thread::spawn(move || input.write_all(&protected).unwrap());
    let output = play.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.stdout == clear[10..], "what was played differs");
    server.stop();
}

#[test]
fn outputs_replace_nothing_that_nobody_asked_to_replace() {
    let world = World::new();
    world.write("film", b"film");
    let server = world.serve();
    world.ok(&["package", "film", "-o", "film.kw"]);
    world.enrol("phone", "alice");
    world.device_ok("phone", &["play", "film.kw", "-o", "out"]);
    let again = world.fails("phone", 1, &["play", "film.kw", "-o", "out"]);
    assert!(again.contains("exists already"), "{again}");
    world.device_ok("phone", &["play", "film.kw", "-o", "out", "--force"]);
    assert_eq!(world.read("out"), b"film");
    assert_eq!(world.device_ok("phone", &["play", "film.kw", "-o", "-"]), "film");
    let json = world.device_ok("phone", &["--json", "play", "film.kw", "-o", "json-out"]);
    assert!(json.contains("\"output\""), "{json}");

    // The input is never the output, whatever it is called.
    std::os::unix::fs::symlink(world.path("film.kw"), world.path("link.kw")).unwrap();
    let protected = world.read("film.kw");
    for output in ["film.kw", "./film.kw", "link.kw"] {
        let said = world.fails("phone", 1, &["play", "film.kw", "--force", "-o", output]);
        assert!(said.contains("is the input as well as the output"), "{said}");
    }
    let said = world.fails("phone", 1, &["package", "film", "--force", "-o", "film"]);
    assert!(said.contains("is the input as well as the output"), "{said}");
    assert!(world.read("film.kw") == protected);

    // A device or a pipe stays what it is.
    let fifo = world.path("fifo");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let reader = {
        let fifo = fifo.clone();
        std::thread::spawn(move || std::fs::read(fifo).unwrap())
    };
    world.device_ok("phone", &["play", "film.kw", "-o", "fifo"]);
    assert_eq!(reader.join().unwrap(), b"film");
    assert!(!std::fs::metadata(&fifo).unwrap().is_file());
    server.stop();
}

#[test]
fn a_signal_leaves_nothing_half_written() {
    let world = World::new();
    for signal in ["-INT", "-TERM", "-HUP"] {
        // The input stays open: the packager waits for more, with an unfinished output beside it.
        let mut package = world
            .command(&["package", "-", "-o", "out.kw"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        // To wait for a process closes the input that it has: then it would be complete.
        let mut input = package.stdin.take().unwrap();
        input.write_all(&content(1_000_000)).unwrap();
        let parts = || {
            let files = files_below(&world.path(""));
            files
                .iter()
                .filter(|path| path.to_string_lossy().ends_with(".part"))
                .count()
        };
        for _ in 0..200 {
            if parts() == 1 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(parts(), 1);
        let pid = package.id().to_string();
        assert!(
            std::process::Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        assert!(!package.wait().unwrap().success());
        drop(input);
        assert_eq!(parts(), 0, "after {signal}");
        assert!(!world.path("out.kw").exists());
    }
}

#[test]
fn several_players_share_one_client_and_a_failing_viewer_is_reported() {
    let world = World::new();
    world.write("film", &content(3_000_000));
    let server = world.serve();
    world.ok(&["package", "film", "-o", "film.kw"]);
    world.enrol("phone", "alice");
    world.device_ok("phone", &["acquire", "film.kw"]);
    let players: Vec<_> = (0..4)
        .map(|_| {
            world
                .command(&["play", "film.kw", "-o", "-"])
                .env("KEYWARD_CLIENT_DIR", world.path("phone"))
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut player in players {
        assert!(player.wait().unwrap().success());
    }
    let failed = world.fails("phone", 1, &["play", "film.kw", "--", "sh", "-c", "exit 9"]);
    assert!(failed.contains("sh ended with exit status: 9"), "{failed}");
    server.stop();
}

#[test]
fn admin_tokens_are_made_listed_and_revoked() {
    let world = World::new();
    world.ok(&["admin", "admin-token", "add", "monitor", "--read-only"]);
    let taken = world.fails("nobody", 1, &["admin", "admin-token", "add", "monitor"]);
    assert!(taken.contains("the token's name"), "{taken}");
    world.ok(&["admin", "admin-token", "revoke", "monitor"]);
    let listed: serde_json::Value =
        serde_json::from_str(&world.ok(&["--json", "admin", "admin-token", "list"])).unwrap();
    let tokens = listed["admin_tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 2, "that of `init` and ours: {listed}");
    let ours = tokens.iter().find(|token| token["name"] == "monitor").unwrap();
    assert_eq!(ours["scope"], "read");
    assert!(ours["revoked"].is_u64(), "{ours}");
    let unknown = world.fails("nobody", 1, &["admin", "admin-token", "revoke", "nobody"]);
    assert!(unknown.contains("\nhint: "), "{unknown}");
}

#[test]
fn what_is_no_response_is_not_installed() {
    let world = World::new();
    world.write("film", b"film");
    let said = world.fails("phone", 1, &["install", "film"]);
    assert!(said.contains("not a license response"), "{said}");
}

#[test]
fn no_key_or_token_is_in_any_file_or_log() {
    let world = World::new();
    world.write("film", b"film");
    world.write("key", b"00112233445566778899aabbccddeeff");
    let kid = "a2c786d0f9ef4cb3b333cd323a4284a5";
    world.ok(&[
        "package",
        "film",
        "-o",
        "film.kw",
        "--key-file",
        "key",
        "--kid",
        kid,
    ]);
    std::fs::remove_file(world.path("key")).unwrap();
    let server = world.serve();
    world.ok(&["admin", "grant", "--account", "alice", "--all"]);
    let token = world.token("alice");
    world.device_ok(
        "phone",
        &[
            "enrol",
            "--profile",
            "operator/operator-profile",
            "--token",
            &token,
        ],
    );
    assert_eq!(world.device_ok("phone", &["play", "film.kw"]), "film");
    server.stop();

    let raw: [u8; 16] = core::array::from_fn(|at| u8::try_from(at * 0x11).unwrap());
    let secrets: [&[u8]; 3] = [&raw, b"00112233445566778899aabbccddeeff", token.as_bytes()];
    // First that the search finds what is there.
    world.write("planted", &[b"before".as_slice(), &raw, b"after"].concat());
    let find = |secret: &[u8]| {
        files_below(&world.path(""))
            .into_iter()
            .filter(|path| {
                std::fs::read(path)
                    .unwrap()
                    .windows(secret.len())
                    .any(|window| window == secret)
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(find(&raw), [world.path("planted")]);
    std::fs::remove_file(world.path("planted")).unwrap();
    for secret in secrets {
        assert_eq!(find(secret), Vec::<std::path::PathBuf>::new());
    }
}

fn sha256(bytes: &[u8]) -> String {
    keyward_crypto::kdf::sha256(&[bytes])
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
