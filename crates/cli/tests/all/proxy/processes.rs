//! The loop in real processes, with `keyward proxy` between the devices and the license server.

use std::{
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::world::{World, content, text};

/// A running proxy; stopped when it is dropped.
struct Proxy {
    process: Child,
    url: String,
    log: Arc<Mutex<String>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Proxy {
    fn stop(mut self) {
        let pid = self.process.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(told.success());
        assert!(
            self.process.wait().unwrap().success(),
            "the proxy did not end well"
        );
    }
}

/// A world whose license server answers through a named proxy alone, and the proxy's address.
fn world() -> (World, String) {
    let world = World::new();
    let proxy = free_address();
    let toml = text(&world.read("operator/operator.toml"))
        .replace("# proxy_urls = []", &format!("proxy_urls = [\"http://{proxy}\"]"))
        .replace("# required = false", "required = true");
    world.write("operator/operator.toml", toml.as_bytes());
    let named = world.ok(&["admin", "profile"]);
    assert!(named.contains(&proxy), "{named}");
    let made = world.ok(&["--json", "admin", "service-token", "add", "shop"]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    world.write("token", made["token"].as_str().unwrap().as_bytes());
    (world, proxy)
}

/// An address of this machine where nobody listens.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// The license server's URL, as the operator's configuration has it.
fn upstream(world: &World) -> String {
    let toml = text(&world.read("operator/operator.toml"));
    let line = toml.lines().find_map(|line| line.strip_prefix("public_url = "));
    line.unwrap().trim_matches('"').to_owned()
}

fn start(world: &World, listen: &str, more: &[&str]) -> Proxy {
    let mut process = world
        .command(&["proxy", "--upstream", &upstream(world), "--listen", listen])
        .args(more)
        .env("KEYWARD_LOG", "trace")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("proxy of") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the proxy ended");
    }
    let kept = Arc::new(Mutex::new(String::new()));
    let keep = Arc::clone(&kept);
    std::thread::spawn(move || {
        let mut line = String::new();
        while log.read_line(&mut line).is_ok_and(|read| read > 0) {
            keep.lock().unwrap().push_str(&line);
            line.clear();
        }
    });
    Proxy {
        process,
        url: format!("http://{listen}"),
        log: kept,
    }
}

fn enrol(world: &World, device: &str, account: &str, url: &str) {
    let token = world.token(account);
    let profile = "operator/operator-profile";
    world.device_ok(
        device,
        &["enrol", "--profile", profile, "--token", &token, "--server", url],
    );
}

#[test]
fn the_whole_loop_through_a_named_proxy() {
    let (world, listen) = world();
    let clear = content(200_000);
    world.write("film", &clear);
    let server = world.serve();
    let metrics = free_address();
    let options = ["--token-file", "token", "--metrics-listen", &metrics];
    let proxy = start(&world, &listen, &options);
    let url = proxy.url.clone();
    // One names the license server in its content header, the other the proxy.
    world.ok(&["package", "film", "-o", "film.kw"]);
    world.ok(&["package", "film", "-o", "carried.kw", "--license-url", &url]);
    world.ok(&["admin", "grant", "--account", "alice", "--all"]);
    enrol(&world, "phone", "alice", &url);
    enrol(&world, "stranger", "bob", &url);

    let played = world.as_device("phone", &["play", "film.kw", "--server", &url]);
    assert!(played.status.success(), "{}", text(&played.stderr));
    assert!(played.stdout == clear, "what was played differs");
    let played = world.as_device("phone", &["play", "carried.kw"]);
    assert!(played.stdout == clear, "{}", text(&played.stderr));

    // The packaging exchange goes the same way.
    let made = world.ok(&[
        "--json",
        "admin",
        "enrolment-token",
        "--account",
        "encoder",
        "--role",
        "packager",
    ]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let packager = ["packager", "enrol", "--packager", "encoder", "--server", &url];
    let profile = ["--profile", "operator/operator-profile", "--token"];
    world.ok(&[&packager[..], &profile, &[made["token"].as_str().unwrap()]].concat());
    let exchange = [
        "package",
        "film",
        "--packager",
        "encoder",
        "--content-id",
        "film-1",
    ];
    world.ok(&[&exchange[..], &["-o", "exchanged.kw"]].concat());
    let played = world.as_device("phone", &["play", "exchanged.kw", "--server", &url]);
    assert!(played.stdout == clear, "{}", text(&played.stderr));

    let counted = ureq::get(format!("http://{metrics}/metrics")).call().unwrap();
    let counted = counted.into_body().read_to_string().unwrap();
    for endpoint in ["discovery", "license", "enrolment", "packaging"] {
        let name = format!("keyward_requests_total{{endpoint=\"{endpoint}\",code=\"ok\"}}");
        assert!(counted.contains(&name), "{name} in\n{counted}");
    }

    // Nobody gets past the proxy, and the proxy entitles nobody.
    world.ok(&["package", "film", "-o", "other.kw"]);
    let direct = world.fails("phone", 3, &["play", "other.kw"]);
    assert!(direct.contains("(service-refused)"), "{direct}");
    assert!(direct.contains("ask through a proxy of the operator"), "{direct}");
    let denied = world.fails("stranger", 3, &["play", "carried.kw"]);
    assert!(denied.contains("denied a license for key"), "{denied}");

    // The service's token is revoked: at once.
    world.ok(&["admin", "service-token", "revoke", "shop"]);
    let refused = world.fails("phone", 1, &["play", "other.kw", "--server", &url]);
    assert!(refused.contains("(upstream-refuses)"), "{refused}");
    let listed = world.ok(&["admin", "service-token", "list"]);
    assert!(
        listed.starts_with("shop, made") && listed.contains("revoked"),
        "{listed}"
    );

    let log = proxy.log.lock().unwrap().clone();
    assert!(log.contains("\"path\":\"/license\""), "{log}");
    assert!(
        !log.contains(text(&world.read("token")).trim()),
        "the log holds the token"
    );

    // The license server is down, then the proxy as well; what is in the store plays on.
    server.stop();
    let down = world.fails("phone", 4, &["play", "other.kw", "--server", &url]);
    assert!(down.contains("(upstream-unreachable)"), "{down}");
    proxy.stop();
    let down = world.fails("phone", 4, &["play", "other.kw", "--server", &url]);
    assert!(down.contains("cannot reach the license server"), "{down}");
    assert!(world.as_device("phone", &["play", "film.kw"]).stdout == clear);
}

#[test]
fn a_proxy_that_cannot_work_says_so() {
    let world = World::new();
    world.write("empty", b"");
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--upstream", "license.example.org"], 1, "must be an origin"),
        (&["--upstream", "http://license.example.org"], 1, "not https"),
        (
            &[
                "--upstream",
                "https://license.example.org",
                "--token-file",
                "absent",
            ],
            1,
            "cannot read absent",
        ),
        (
            &[
                "--upstream",
                "https://license.example.org",
                "--token-file",
                "empty",
            ],
            1,
            "the service token is not one",
        ),
        (
            &["--upstream", "https://license.example.org", "--ca-file", "empty"],
            1,
            "not certificates in PEM",
        ),
        (
            &[
                "--upstream",
                "https://license.example.org",
                "--metrics-listen",
                "0.0.0.0:0",
            ],
            1,
            "other machines reach",
        ),
        (
            &["--upstream", "https://license.example.org", "--timeout", "0"],
            2,
            "--timeout",
        ),
    ];
    for (args, code, expected) in cases {
        let args = [&["proxy", "--listen", "127.0.0.1:0"], args].concat();
        let said = world.fails("nobody", code, &args);
        assert!(said.contains(expected), "{args:?}:\n{said}");
    }
    // An address that is taken.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let listen = address.to_string();
    let said = world.fails(
        "nobody",
        1,
        &["proxy", "--upstream", "http://127.0.0.1:9", "--listen", &listen],
    );
    assert!(said.contains("cannot listen on"), "{said}");
    assert!(TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok());
}
