//! Exchange keys over files, and through a proxy: the same messages as content keys.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Stdio},
};

use crate::{
    key_exchange::{create, device, operator},
    world::{World, text},
};

#[test]
fn a_device_without_a_network_gets_an_exchange_key_as_a_file() {
    let world = World::new();
    world.write("data", b"data");
    let profile = "operator/operator-profile";
    let token = world.token("alice");
    world.ok(&["admin", "discovery", "-o", "discovery"]);
    world.device_ok(
        "device",
        &[
            "enrol",
            "--profile",
            profile,
            "--token",
            &token,
            "--discovery",
            "discovery",
            "--request",
            "asked",
        ],
    );
    world.ok(&["answer", "asked", "-o", "answered"]);
    world.device_ok("device", &["install", "answered"]);

    let kid = create(&world, "A256GCM", "encrypt", &[]);
    world.device_ok("device", &["request", &kid, "-o", "request"]);
    world.ok(&["answer", "request", "-o", "response"]);
    let installed = world.device_ok("device", &["install", "response"]);
    assert!(installed.contains(&format!("key {kid}: license ")), "{installed}");
    let encrypt = ["data", "-o", "there", "--offline"];
    world.device_ok("device", &device("encrypt", &kid, &encrypt));
    world.ok(&operator("decrypt", &kid, &["there", "-o", "back"]));
    assert_eq!(world.read("back"), b"data");
    // Whoever needs the license server says that it cannot be reached.
    let other = create(&world, "HMAC256", "sign", &[]);
    let sign = device("sign", &other, &["data", "-o", "never"]);
    let unreachable = world.fails("device", 4, &sign);
    assert!(
        unreachable.contains("cannot reach the license server"),
        "{unreachable}"
    );
}

#[test]
fn what_was_not_granted_by_name_is_denied() {
    let world = World::new();
    let server = world.serve();
    world.write("data", b"data");
    let kid = create(&world, "A256GCM", "encrypt", &[]);
    // Everything, which is content.
    world.enrol("stranger", "bob");
    let encrypt = device("encrypt", &kid, &["data", "-o", "never"]);
    let denied = world.fails("stranger", 3, &encrypt);
    assert!(
        denied.contains(&format!("denied a license for key {kid}")),
        "{denied}"
    );
    assert!(!world.path("never").exists());
    server.stop();
}

/// A running proxy; stopped when it is dropped.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn start(world: &World, listen: &str) -> Proxy {
    let toml = text(&world.read("operator/operator.toml"));
    let upstream = toml.lines().find_map(|line| line.strip_prefix("public_url = "));
    let upstream = upstream.unwrap().trim_matches('"');
    let mut child = world
        .command(&["proxy", "--upstream", upstream, "--listen", listen])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let proxy = Proxy(child);
    let mut line = String::new();
    while !line.contains("proxy of") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the proxy ended");
    }
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    proxy
}

#[test]
fn a_proxy_carries_exchange_keys_unread() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = listener.local_addr().unwrap().to_string();
    drop(listener);
    let url = format!("http://{listen}");
    let toml = text(&world.read("operator/operator.toml"));
    let toml = toml.replace("# proxy_urls = []", &format!("proxy_urls = [\"{url}\"]"));
    world.write("operator/operator.toml", toml.as_bytes());
    world.ok(&["admin", "profile"]);
    let server = world.serve();
    let proxy = start(&world, &listen);
    world.enrol("device", "alice");
    world.write("order", b"three pieces");
    let kid = create(&world, "Ed25519", "sign", &[]);
    let sign = device("sign", &kid, &["order", "-o", "signature", "--server", &url]);
    world.device_ok("device", &sign);
    let verify = operator("verify", &kid, &["order", "--signature", "signature"]);
    world.ok(&verify);
    // It went that way: without the proxy there is no other license.
    drop(proxy);
    let other = create(&world, "Ed25519", "sign", &[]);
    let sign = device("sign", &other, &["order", "-o", "never", "--server", &url]);
    world.fails("device", 4, &sign);
    server.stop();
}
