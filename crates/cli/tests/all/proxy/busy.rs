//! A license server that says to come again, and a person who does not want to wait.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use keyward_license::error_code::{ErrorCode, Problem};

use crate::world::{World, text};

#[test]
fn who_waits_for_a_busy_license_server_is_told_and_can_stop() {
    let world = World::new();
    let toml = text(&world.read("operator/operator.toml"));
    let listen = toml.lines().find_map(|line| line.strip_prefix("listen = "));
    let listener = TcpListener::bind(listen.unwrap().trim_matches('"')).unwrap();
    std::thread::spawn(move || {
        let problem = Problem::new(ErrorCode::Busy, "the server has too much to do".to_owned()).encode();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = BufReader::new(&stream).lines();
            request.find(|line| line.as_ref().is_ok_and(String::is_empty));
            let length = problem.len();
            let head = format!(
                "HTTP/1.1 503 x\r\nretry-after: 30\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&problem).unwrap();
        }
    });
    let profile = "operator/operator-profile";
    let mut waiting = world
        .command(&["enrol", "--profile", profile, "--token", &world.token("alice")])
        .env("KEYWARD_CLIENT_DIR", world.path("phone"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut log = BufReader::new(waiting.stderr.take().unwrap());
    log.read_line(&mut said).unwrap();
    assert!(
        said.contains("the license server says busy: asking again in 30.0 seconds"),
        "{said}"
    );
    let pid = waiting.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    // It would have asked three times more, and failed.
    assert_eq!(waiting.wait().unwrap().signal(), Some(2));
}
