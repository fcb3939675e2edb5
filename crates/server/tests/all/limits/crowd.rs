//! Many connections, most of them of no use: what they cost, and what is left for others. The addresses of a
//! crowd are those of the loopback network, all of which are this machine's.

use core::time::Duration;
use std::net::SocketAddr;

use keyward_crypto::hpke::Suite;
use keyward_license::discovery::{WELL_KNOWN_PATH, media_type};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::{
    common::{Device, KID, Recipient, World, pending, read},
    surroundings::{Serving, license_server, send},
};

/// Everybody is counted for its own address, and asks as often as it likes.
const STRANGERS: [(&str, &str); 2] = [
    ("# forwarders = [\"127.0.0.1\", \"::1\"]", "forwarders = []"),
    ("# address_rate = 200", "address_rate = 0"),
];

/// Both ends of every connection are this process's.
fn room_for_files(files: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    let soft = limit.current.unwrap_or(u64::MAX);
    if soft < files {
        limit.current = Some(files.min(limit.maximum.unwrap_or(u64::MAX)));
        setrlimit(Resource::Nofile, limit).unwrap();
        let hard = limit.maximum;
        assert_eq!(
            limit.current,
            Some(files),
            "this test needs more files: ulimit -Hn is {hard:?}"
        );
    }
}

async fn connect(server: &Serving, from: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // Little of an answer that is not read leaves the server.
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(server.address().parse().unwrap()).await.unwrap()
}

/// A sample of what is counted.
async fn counted(world: &World, sample: &str) -> i64 {
    let text = world.server.metrics().await.unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(sample));
    value.map_or(0, |value| value.trim().parse().unwrap())
}

const OPEN: &str = r#"keyward_connections{listener="public"}"#;
const SILENT: &str = r#"keyward_connections_closed_total{listener="public",reason="silent"}"#;
const CROWDED: &str = r#"keyward_connections_closed_total{listener="public",reason="address"}"#;

/// Waits for what must come to pass; how fast is not this test's business.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..6000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came to pass: {what}");
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Asks for a license as a device does, and opens what it gets.
async fn is_served(world: &World, server: &Serving, recipient: &Recipient, device: &mut Device) {
    let body = device.request(recipient, &[KID]);
    let sealed = device.seal(recipient, Suite::P256, &body);
    let answer = server.post("/license", media_type::LICENSE_REQUEST, sealed).await;
    assert_eq!(answer.status, 200);
    let response = read(world, &answer.body, &pending(&body));
    device.open(world, response.results.first().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_dead_and_slow_connections_leave_others_served() {
    room_for_files(4096);
    let mut world = World::new().await;
    let times = [
        ("# arrival_seconds = 15", "arrival_seconds = 8"),
        ("# departure_seconds = 15", "departure_seconds = 8"),
    ];
    let server = license_server(&mut world, &[&STRANGERS[..], &times].concat()).await;
    let recipient = world.recipient().await;
    let mut device = world.device(1).await;
    is_served(&world, &server, &recipient, &mut device).await;
    let before = resident_bytes();

    // A third says nothing, a third dribbles, a third asks for much and reads none of it.
    let many = format!("GET {WELL_KNOWN_PATH} HTTP/1.1\r\nhost: a\r\n\r\n").repeat(200);
    let (mut dead, mut slow, mut deaf) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..1000_u16 {
        let from = [127, 0, 1, u8::try_from(1 + number / 125).unwrap()];
        let mut stream = connect(&server, from).await;
        match number % 3 {
            0 => dead.push(stream),
            1 => slow.push(stream),
            _ => {
                stream.write_all(many.as_bytes()).await.unwrap();
                deaf.push(stream);
            }
        }
    }
    let kind = media_type::LICENSE_REQUEST;
    let head = format!(
        "POST /license HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\ncontent-length: 1000000\r\n\r\n"
    );
    let dribble = tokio::spawn(async move {
        for byte in head.bytes().chain(core::iter::repeat(0)) {
            for stream in &mut slow {
                stream.write_all(&[byte]).await.ok();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });

    until("the crowd is there", async || counted(&world, OPEN).await >= 900).await;
    for _ in 0..20 {
        is_served(&world, &server, &recipient, &mut device).await;
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(
        grown < 1000 * 48 * 1024,
        "{grown} bytes for a thousand connections"
    );

    // All of them are let go, though none of them goes.
    until("the crowd has gone", async || counted(&world, OPEN).await == 0).await;
    is_served(&world, &server, &recipient, &mut device).await;
    dribble.abort();
    drop((dead, deaf));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_gives_way_to_who_comes() {
    let mut world = World::new().await;
    // Nothing but giving way ends a silent connection in this test's time.
    let full = [
        ("# connections = 1024", "connections = 50"),
        ("# arrival_seconds = 15", "arrival_seconds = 300"),
    ];
    let server = license_server(&mut world, &[&STRANGERS[..], &full].concat()).await;
    let recipient = world.recipient().await;
    let mut device = world.device(1).await;
    let head = format!(
        "POST /license HTTP/1.1\r\nhost: a\r\ncontent-type: {}\r\ncontent-length: 9\r\n\r\n",
        media_type::LICENSE_REQUEST
    );
    let mut silent = Vec::new();
    for number in 0..50_u8 {
        let mut stream = connect(&server, [127, 0, 2, 1 + number / 10]).await;
        // Some begin, and leave it there: with half a head, or with half a body.
        let begun = match number % 3 {
            0 => "",
            1 => &head[..30],
            _ => &head,
        };
        stream.write_all(begun.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    until("all places are taken", async || counted(&world, OPEN).await == 50).await;
    for _ in 0..5 {
        is_served(&world, &server, &recipient, &mut device).await;
    }
    assert!(counted(&world, SILENT).await >= 1);
    // The longest silence went first.
    let mut first = silent.remove(0);
    assert!(matches!(first.read(&mut [0]).await, Ok(0) | Err(_)));
    drop(silent);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_cannot_take_all_places() {
    let mut world = World::new().await;
    let few = [("# connections_per_address = 128", "connections_per_address = 8")];
    let server = license_server(&mut world, &[&STRANGERS[..], &few].concat()).await;
    let recipient = world.recipient().await;
    let mut device = world.device(1).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(connect(&server, [127, 0, 3, 1]).await);
    }
    until("eight are open", async || counted(&world, OPEN).await == 8).await;
    let mut ninth = connect(&server, [127, 0, 3, 1]).await;
    assert!(
        matches!(ninth.read(&mut [0]).await, Ok(0) | Err(_)),
        "it is closed at once"
    );
    assert_eq!(counted(&world, CROWDED).await, 1);
    is_served(&world, &server, &recipient, &mut device).await;
    // One that goes makes room for another.
    held.pop();
    until("seven are open", async || counted(&world, OPEN).await == 7).await;
    let mut again = connect(&server, [127, 0, 3, 1]).await;
    again
        .write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 15];
    again.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_without_end_is_refused_when_it_is_too_long() {
    let mut world = World::new().await;
    let server = license_server(&mut world, &STRANGERS).await;
    let mut stream = connect(&server, [127, 0, 4, 1]).await;
    let (mut reading, mut writing) = stream.split();
    let send = async {
        writing
            .write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\nx-long: ")
            .await?;
        loop {
            writing.write_all(&[b'x'; 1024]).await?;
        }
    };
    let mut answer = Vec::new();
    let refused = tokio::select! {
        sent = send => { let _: std::io::Result<()> = sent; reading.read_to_end(&mut answer).await }
        read = reading.read_to_end(&mut answer) => read,
    };
    // The connection may be reset before the answer is read.
    assert!(
        refused.is_err() || answer.starts_with(b"HTTP/1.1 431"),
        "{answer:?}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_work_gives_way_to_nobody() {
    let mut world = World::new().await;
    let one = [
        ("# connections = 1024", "connections = 1"),
        ("# busy_seconds = 5", "busy_seconds = 60"),
    ];
    let server = license_server(&mut world, &[&STRANGERS[..], &one].concat()).await;
    let recipient = world.recipient().await;
    let mut device = world.device(1).await;
    let mut locked = world.locked().await;
    let url = server.url.clone();
    let body = device.request(&recipient, &[KID]);
    let sealed = device.seal(&recipient, Suite::P256, &body);
    let headers = vec![("content-type", media_type::LICENSE_REQUEST.to_owned())];
    // It has the only place while the database keeps it waiting, for longer than silence is borne.
    let first = tokio::spawn(send(format!("{url}/license"), headers, Some(sealed)));
    until("it is there", async || counted(&world, OPEN).await == 1).await;
    let second = tokio::spawn(send(format!("{url}/health/live"), vec![], None));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!second.is_finished());
    sqlx::query("COMMIT").execute(&mut *locked).await.unwrap();
    let first = first.await.unwrap();
    assert_eq!(first.status, 200);
    read(&world, &first.body, &pending(&body));
    assert_eq!(second.await.unwrap().status, 200);
    server.stop().await;
}
