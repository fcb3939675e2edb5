//! Store and forward: no server runs, and every message is a file. The commands of the first test are those
//! of `docs/guides/store-and-forward.md`.

use std::process::{Output, Stdio};

use crate::world::{World, text};

/// The fenced commands of the guide, without comments, and what each party does.
const GUIDE: &str = include_str!("../../../../../docs/guides/store-and-forward.md");

/// Runs the command lines of the guide's shell blocks, in the world's folder: those that begin with `keyward`.
/// `$TOKEN` is what a shell assigns by `TOKEN=$(…)`.
fn follow(world: &World, guide: &str) -> usize {
    let mut token = String::new();
    let lines = guide
        .split("```sh\n")
        .skip(1)
        .filter_map(|block| block.split_once("```"))
        .flat_map(|(block, _)| block.lines());
    let mut followed = 0;
    for line in lines {
        let command = line.split_once(" #").map_or(line, |(command, _)| command).trim();
        let assigned = command
            .strip_prefix("TOKEN=$(")
            .and_then(|rest| rest.strip_suffix(')'));
        let Some(typed) = assigned.unwrap_or(command).strip_prefix("keyward ") else {
            continue;
        };
        let args: Vec<String> = typed
            .split_ascii_whitespace()
            .map(|arg| arg.trim_matches('"').replace("$TOKEN", &token))
            .collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let said = world.device_ok("device", &args);
        if assigned.is_some() {
            said.trim().clone_into(&mut token);
        }
        followed += 1;
    }
    followed
}

#[test]
fn the_guide_does_what_it_says() {
    let world = World::new();
    std::fs::remove_dir_all(world.path("operator")).unwrap();
    world.write("report.pdf", b"a document");
    world.write("annex.pdf", b"another document");
    assert!(follow(&world, GUIDE) >= 14);
    assert_eq!(world.read("report.out.pdf"), b"a document");
    assert_eq!(world.read("annex.out.pdf"), b"another document");
}

/// Runs a command with a message on its standard input.
fn pipe(world: &World, device: &str, args: &[&str], input: &[u8]) -> Output {
    world.write("piped", input);
    world
        .command(args)
        .env("KEYWARD_CLIENT_DIR", world.path(device))
        .stdin(Stdio::from(std::fs::File::open(world.path("piped")).unwrap()))
        .output()
        .unwrap()
}

fn piped(world: &World, device: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    let output = pipe(world, device, args, input);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    output.stdout
}

const PROFILE: &str = "operator/operator-profile";

/// Enrols a device through pipes.
fn enrol(world: &World, device: &str, account: &str) {
    let token = world.token(account);
    let document = piped(world, "nobody", &["admin", "discovery", "-o", "-"], b"");
    let ask = [
        "enrol",
        "--profile",
        PROFILE,
        "--token",
        &token,
        "--discovery",
        "-",
        "--request",
        "-",
    ];
    let request = piped(world, device, &ask, &document);
    let response = piped(world, "nobody", &["answer", "-", "-o", "-"], &request);
    let said = piped(world, device, &["install", "-"], &response);
    assert!(text(&said).contains("is enrolled with"), "{}", text(&said));
}

#[test]
fn messages_go_through_pipes_unmixed() {
    let world = World::new();
    world.write("film", b"film");
    let protected = piped(&world, "nobody", &["package", "film", "-o", "-"], b"");
    world.write("film.kw", &protected);
    world.ok(&["admin", "grant", "--account", "alice", "--all"]);
    enrol(&world, "phone", "alice");
    let document = piped(
        &world,
        "nobody",
        &["admin", "discovery", "--hours", "720", "-o", "-"],
        b"",
    );
    let request = piped(
        &world,
        "phone",
        &["request", "film.kw", "--discovery", "-", "-o", "-"],
        &document,
    );
    let response = piped(&world, "nobody", &["--json", "answer", "-", "-o", "-"], &request);
    let installed = piped(&world, "phone", &["--json", "install", "-"], &response);
    let installed: serde_json::Value = serde_json::from_slice(&installed).unwrap();
    assert_eq!(installed["keys"][0]["persistent"], true);
    assert_eq!(
        world.device_ok("phone", &["play", "film.kw", "--offline"]),
        "film"
    );
}

#[test]
fn a_denial_and_refusals_travel_as_files() {
    let world = World::new();
    world.write("film", b"film");
    world.ok(&["package", "film", "-o", "film.kw"]);
    enrol(&world, "dave", "dave");
    world.device_ok("dave", &["request", "film.kw", "-o", "request"]);
    let said = world.ok(&["answer", "request", "-o", "response"]);
    assert!(
        said.contains("\nfor device ") && said.contains(" of dave\n"),
        "{said}"
    );
    assert!(said.contains(": denied: not-entitled (301)\n"), "{said}");
    let again = world.ok(&["--json", "answer", "request", "-o", "again"]);
    let again: serde_json::Value = serde_json::from_str(&again).unwrap();
    assert_eq!(
        (&again["account"], &again["response"]),
        (&"dave".into(), &"again".into())
    );
    let denied = world.fails("dave", 3, &["install", "response"]);
    assert!(denied.contains("denied a license for key"), "{denied}");
    assert!(denied.contains("\nhint: "), "{denied}");
    assert!(!denied.contains("\nrequest: "), "nothing was sent: {denied}");
    world.device_ok("dave", &["request", "film.kw", "-o", "request-2"]);
    let said = world.ok(&["--json", "answer", "request-2", "-o", "response-2"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["keys"][0]["denied"]["name"], "not-entitled", "{said}");
    let output = world.as_device("dave", &["--json", "install", "response-2"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["keys"][0]["denied"]["name"], "not-entitled", "{told}");
    let told: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(
        (&told["code"], &told["name"]),
        (&301.into(), &"not-entitled".into())
    );
    let other = world.fails("nobody", 1, &["answer", "film.kw", "-o", "none"]);
    assert!(other.contains("film.kw is no request"), "{other}");

    // A token that was used is refused at the operator's side, and nothing is written.
    let token = world.token("eve");
    world.ok(&["admin", "discovery", "-o", "discovery"]);
    for device in ["eve", "mallory"] {
        let request = format!("{device}.request");
        let ask = ["enrol", "--profile", PROFILE, "--token", &token];
        let by_file = ["--discovery", "discovery", "--request", &request];
        world.device_ok(device, &[&ask[..], &by_file].concat());
    }
    world.ok(&["answer", "eve.request", "-o", "eve.response"]);
    let used = world.fails(
        "nobody",
        3,
        &["answer", "mallory.request", "-o", "mallory.response"],
    );
    assert!(used.contains("token-refused"), "{used}");
    assert!(!world.path("mallory.response").exists());
    // Each response is for its own device.
    let other = world.fails("mallory", 1, &["install", "eve.response"]);
    assert!(other.contains("answers no pending request"), "{other}");
    world.device_ok("eve", &["install", "eve.response"]);
    // Once.
    let again = world.fails("eve", 1, &["install", "eve.response"]);
    assert!(again.contains("answers no pending request"), "{again}");
}

#[test]
fn v_055_a_certificate_that_does_not_come_to_its_end_is_not_renewed_over_files() {
    let world = World::new();
    let none = world.fails("phone", 1, &["renew", "-o", "renewal"]);
    assert!(none.contains("not enrolled"), "{none}");
    enrol(&world, "phone", "alice");
    let early = world.fails("phone", 1, &["renew", "-o", "renewal"]);
    assert!(
        early.contains("no certificate of this device is to be renewed yet"),
        "{early}"
    );
    assert!(early.contains("\nhint: ") && !world.path("renewal").exists());
}

/// V-063 to V-065, without a network.
#[test]
fn acknowledgements_and_revocation_lists_travel_as_files() {
    let world = World::new();
    let config = text(&world.read("operator/operator.toml"));
    assert!(config.contains("[acknowledgement]"));
    let config = config.replace("# wanted = false", "wanted = true");
    world.write("operator/operator.toml", config.as_bytes());
    world.write("film", b"film");
    world.ok(&["package", "film", "-o", "film.kw"]);
    world.ok(&["admin", "grant", "--account", "alice", "--all"]);
    enrol(&world, "phone", "alice");
    world.device_ok("phone", &["request", "film.kw", "-o", "request"]);
    world.ok(&["answer", "request", "-o", "response"]);
    let installed = world.as_device("phone", &["install", "response"]);
    assert!(installed.status.success());
    let told = text(&installed.stderr);
    assert!(told.contains("wants to know what became of it"), "{told}");

    let open = world.ok(&["admin", "acknowledgements"]);
    assert!(
        open.contains("transaction ") && open.contains(": not acknowledged"),
        "{open}"
    );
    let on_way = |output: &Output| text(&output.stderr).contains("One is on its way already");
    let first = world.as_device("phone", &["acknowledge", "-o", "lost"]);
    assert!(first.status.success() && !on_way(&first));
    let second = world.as_device("phone", &["acknowledge", "-o", "acknowledgement"]);
    assert!(second.status.success() && on_way(&second));
    let said = world.ok(&["answer", "acknowledgement", "-o", "receipt"]);
    assert!(said.starts_with("receipt of "), "{said}");
    let listed = world.ok(&["admin", "acknowledgements", "--state", "acknowledged"]);
    assert!(
        listed.contains(": acknowledged 2") && listed.contains(": stored\n"),
        "{listed}"
    );
    let open = world.ok(&["admin", "acknowledgements", "--state", "open"]);
    assert!(open.starts_with("no answer is to be acknowledged"), "{open}");
    let said = world.device_ok("phone", &["install", "receipt"]);
    assert!(said.contains("is acknowledged"), "{said}");
    assert!(
        world
            .device_ok("phone", &["acknowledge"])
            .contains("nothing waits to be acknowledged")
    );
    let none = world.fails("phone", 1, &["acknowledge", "-o", "another"]);
    assert!(none.contains("nothing waits to be acknowledged"), "{none}");

    // What the operator no longer trusts, before and after this device is among it.
    world.ok(&["admin", "revocation", "export", "-o", "lists"]);
    let said = world.device_ok("phone", &["install", "lists"]);
    assert!(said.contains("the revocation lists are in use"), "{said}");
    let held = world.device_ok("phone", &["licenses", "lists"]);
    assert!(
        held.contains("list of authority") && held.contains("is not revoked"),
        "{held}"
    );
    let inspected = world.ok(&["--json", "inspect", "lists", "--profile", PROFILE]);
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["kind"], "revocation_lists");
    assert_eq!(inspected["standing"], "verified", "{inspected}");
    let again = world.device_ok("phone", &["install", "lists"]);
    assert!(again.contains("no revocation list is newer"), "{again}");
    let devices = world.ok(&["--json", "admin", "devices"]);
    let devices: serde_json::Value = serde_json::from_str(&devices).unwrap();
    let device = devices["devices"][0]["device"].as_str().unwrap().to_owned();
    world.ok(&["admin", "revocation", "device", &device]);
    world.ok(&["admin", "revocation", "export", "-o", "lists-2"]);
    world.device_ok("phone", &["install", "lists-2"]);
    let held = world.device_ok("phone", &["licenses", "lists"]);
    assert!(held.contains("this device is revoked"), "{held}");
    assert_eq!(
        world.device_ok("phone", &["play", "film.kw", "--offline"]),
        "film",
        "its license does not end with that"
    );
}

#[test]
fn documents_and_requests_of_another_operator_are_refused_with_a_hint() {
    let (world, other) = (World::new(), World::new());
    world.write("film", b"film");
    world.ok(&["package", "film", "-o", "film.kw"]);
    world.ok(&["admin", "grant", "--account", "alice", "--all"]);
    enrol(&world, "phone", "alice");
    other.ok(&["admin", "discovery", "-o", "discovery"]);
    let mut altered = {
        world.ok(&["admin", "discovery", "-o", "own"]);
        world.read("own")
    };
    altered[100] ^= 1;
    world.write("altered", &altered);
    world.write("foreign", &other.read("discovery"));
    for document in ["altered", "foreign", "film"] {
        let asked = ["request", "film.kw", "--discovery", document, "-o", "request"];
        let refused = world.fails("phone", 1, &asked);
        assert!(
            refused.contains("the discovery document was refused"),
            "{document}: {refused}"
        );
        assert!(refused.contains("\nhint: "), "{document}: {refused}");
        assert!(!world.path("request").exists(), "{document}");
    }
    let asked = ["install", "foreign"];
    let refused = world.fails("phone", 1, &asked);
    assert!(refused.contains("not enrolled with its operator"), "{refused}");
    world.device_ok("phone", &["install", "own"]);
    world.device_ok("phone", &["request", "film.kw", "-o", "request"]);
    other.write("request", &world.read("request"));
    let refused = other.fails("nobody", 3, &["answer", "request", "-o", "response"]);
    assert!(
        refused.contains("wrong-recipient") && refused.contains("keyward admin discovery"),
        "{refused}"
    );
}
