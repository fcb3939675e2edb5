//! The commands of `docs/guides/test-server.md`, and of transcripts, in processes of their own.

use base64::{Engine, engine::general_purpose::STANDARD};
use std::{net::TcpStream, process::Stdio, thread, time::Duration};

use crate::world::{Server, World, text};

const GUIDE: &str = include_str!("../../../../../docs/guides/test-server.md");
const KID: &str = "11111111111111111111111111111111";

/// The command lines of the guide's shell blocks, each as its arguments.
fn commands() -> Vec<Vec<String>> {
    let blocks = GUIDE.split("```sh\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split_once("```"));
    let lines = blocks.flat_map(|(block, _)| block.lines());
    let words = |line: &str| {
        line.split(' ')
            .map(|word| word.trim_matches('"').to_owned())
            .collect()
    };
    lines
        .filter_map(|line| line.strip_prefix("keyward "))
        .map(words)
        .collect()
}

#[test]
fn the_guide_does_what_it_says() {
    let world = test_operator();
    let _server = world.serve();
    let commands = commands();
    assert_eq!(commands.len(), 6);
    for command in commands
        .into_iter()
        .filter(|command| !["init", "serve"].contains(&&command[0][..]))
    {
        let command: Vec<String> = command
            .iter()
            .map(|word| word.replace("http://127.0.0.1:8470", &url(&world)))
            .collect();
        let args: Vec<&str> = command.iter().map(String::as_str).collect();
        if args.iter().any(|arg| arg.contains("errorcode")) {
            let told = world.fails("device", 3, &args);
            assert!(told.contains("domain"), "{told}");
        } else {
            let said = world.device_ok("device", &args);
            if args[0] == "licenses" {
                assert!(said.contains(KID), "{said}");
            }
        }
    }
}

#[test]
fn a_test_operator_says_what_it_is() {
    let world = test_operator();
    let output = world
        .command(&["init", "another", "--test", "--name", "Another"])
        .output()
        .unwrap();
    assert!(
        text(&output.stderr).contains("This is a test operator"),
        "{}",
        text(&output.stderr)
    );
    let _server = world.serve();
    let enrol = [
        "enrol",
        "--profile",
        "operator/operator-profile",
        "--token",
        "test",
    ];
    let told = world.fails("device", 1, &enrol);
    assert!(
        told.contains("the operator is one for tests") && told.contains("--accept-test-operator"),
        "{told}"
    );
    let packager = ["packager", "--packager", "packager"];
    let enrol = [&["packager"][..], &enrol[..1], &packager[1..], &enrol[1..]].concat();
    let told = world.fails("nobody", 1, &enrol);
    assert!(
        told.contains("the seed of its keys is published") && told.contains("--accept-test-operator"),
        "{told}"
    );
    world.ok(&[&enrol[..], &["--accept-test-operator"]].concat());
    let said = world.ok(&["inspect", "operator/operator-profile"]);
    let is_marked = |line: &str| line.trim_start().starts_with("test operator ") && line.ends_with(" yes");
    assert!(said.lines().any(is_marked), "{said}");
}

#[test]
fn what_a_test_asks_for_is_never_overlooked() {
    let world = test_operator();
    let server = world.serve();
    let accepting = ["--token", "test", "--accept-test-operator"];
    let enrol = [
        &["enrol", "--profile", "operator/operator-profile"][..],
        &accepting,
    ]
    .concat();
    world.device_ok("device", &enrol);
    let wish = format!("{}/?cfg=(errorcode:301)", url(&world));
    let asking = ["request", KID, "-o", "request", "--server"];
    let told = world.fails("device", 1, &[&asking[..], &[&wish]].concat());
    assert!(
        told.contains("does not travel with a request in a file") && told.contains("keyward acquire"),
        "{told}"
    );
    assert!(!world.path("request").exists());
    world.device_ok("device", &[&asking[..], &[&url(&world)]].concat());
    let wish_2 = format!("{}/?cfg=(msg:clientinfo)", url(&world));
    let told = world.as_device("device", &["--json", "acquire", "--server", &wish_2, KID]);
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let data = STANDARD.decode(told["custom_data"].as_str().unwrap()).unwrap();
    assert!(text(&data).contains("keyward"), "{}", text(&data));
    // The denial's own code says what to do; nothing is looked up in a log for it.
    let told = world.fails("device", 3, &["acquire", "--server", &wish, KID]);
    assert!(
        told.contains("hint: obtain the right to this content\n"),
        "{told}"
    );
    let wish = format!("{}/?cfg=(revoked:true)", url(&world));
    let told = world.fails("device", 3, &["acquire", "--server", &wish, KID]);
    assert!(told.contains("hint: ask the operator\n"), "{told}");
    server.stop();
    let said = text(
        &world
            .as_device("device", &["doctor", "--client-dir", "device"])
            .stdout,
    );
    assert!(said.contains("has revoked this device"), "{said}");
    assert!(said.contains("enrolled with the test operator"), "{said}");
}

#[test]
fn content_names_what_its_license_is_to_be() {
    let world = test_operator();
    world.write("film", b"a film");
    let wish = format!("{}/?cfg=(persist:true)", url(&world));
    let package = ["package", "film", "-o", "film.kw", "--license-url", &wish];
    let packaged = world.as_device("nobody", &package);
    assert!(packaged.status.success());
    let told = text(&packaged.stderr);
    assert!(
        !told.contains("must be among them"),
        "the profile names it: {told}"
    );
    let server = world.serve();
    let accepting = ["--token", "test", "--accept-test-operator"];
    let enrol = [
        &["enrol", "--profile", "operator/operator-profile"][..],
        &accepting,
    ]
    .concat();
    world.device_ok("device", &enrol);
    assert_eq!(world.device_ok("device", &["play", "film.kw"]), "a film");
    server.stop();
    assert_eq!(
        world.device_ok("device", &["play", "film.kw", "--offline"]),
        "a film"
    );
    let said = world.as_device("nobody", &["doctor", "--operator", "operator"]);
    assert!(
        text(&said.stdout).contains("this is a test operator"),
        "{}",
        text(&said.stdout)
    );
}

#[test]
fn what_was_recorded_is_checked_and_served_again() {
    let world = test_operator();
    let recording = serve(
        &world,
        &["serve", "--operator", "operator", "--record", "transcript"],
    );
    let accepting = ["--token", "test", "--accept-test-operator"];
    let enrol = [
        &["enrol", "--profile", "operator/operator-profile"][..],
        &accepting,
    ]
    .concat();
    world.device_ok("device", &enrol);
    let url = format!("{}/?cfg=(persist:true)", url(&world));
    world.device_ok("device", &["acquire", "--server", &url, KID]);
    recording.stop();
    let said = world.ok(&["replay", "--check", "transcript"]);
    assert!(
        said.contains("POST /license?cfg=(persist:true): 200: good"),
        "{said}"
    );
    assert!(!said.contains("refused"), "{said}");
    // It answers where the recorded server listened; a request that was never made has no answer.
    let replaying = serve(&world, &["replay", "transcript"]);
    let told = world.fails("device", 3, &["acquire", "--server", &url, KID]);
    assert!(told.contains("the transcript holds no answer"), "{told}");
    replaying.stop();
    let altered = text(&world.read("transcript")).replace("persist:true", "persist:false");
    world.write(
        "transcript",
        altered.replace("\"status\":200", "\"status\":500").as_bytes(),
    );
    let told = world.fails("device", 1, &["replay", "--check", "transcript"]);
    assert!(told.contains("are not as the protocol says"), "{told}");
    // An operator of a service is not recorded.
    let service = World::new();
    let told = service.fails(
        "nobody",
        1,
        &["serve", "--operator", "operator", "--record", "transcript"],
    );
    assert!(told.contains("a transcript is of a test operator"), "{told}");
}

/// A world whose operator is one for tests.
fn test_operator() -> World {
    let world = World::new();
    let (url, listen) = (url(&world), setting(&world, "listen"));
    let admin = setting(&world, "admin_listen");
    std::fs::remove_dir_all(world.path("operator")).unwrap();
    let listening = [
        "--public-url",
        &url,
        "--listen",
        &listen,
        "--admin-listen",
        &admin,
    ];
    world.ok(&[&["init", "operator", "--test"][..], &listening].concat());
    world
}

/// Where the license server answers.
fn url(world: &World) -> String {
    setting(world, "public_url")
}

/// A setting of the operator.
fn setting(world: &World, name: &str) -> String {
    let settings = text(&world.read("operator/operator.toml"));
    let of_name = |line: &str| line.strip_prefix(name)?.strip_prefix(" = ").map(str::to_owned);
    settings
        .lines()
        .find_map(of_name)
        .unwrap()
        .trim_matches('"')
        .to_owned()
}

/// Starts a command that serves, and waits until somebody listens.
fn serve(world: &World, args: &[&str]) -> Server {
    let mut command = world.command(args);
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server(child);
    let address = setting(world, "listen");
    let listens = (0..400).any(|_| {
        thread::sleep(Duration::from_millis(25));
        TcpStream::connect(&address).is_ok()
    });
    assert!(listens, "nobody listens on {address}");
    server
}
