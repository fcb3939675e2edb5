//! The server behind its listeners: endpoints, errors, limits, administration, stopping.

mod administration;

use core::time::Duration;
use std::io::{Read, Write};

use crate::common::{ACCOUNT, Device, KID, World, ids, pending, read};
use keyward_crypto::{
    Secret,
    exchange::{Algorithm, Operation},
    hpke::Suite,
    x509::Role,
};
use keyward_license::{
    codec::Wire,
    discovery::{Discovery, WELL_KNOWN_PATH, media_type},
    enrolment::EnrolmentRole,
    error_code::Problem,
    ids::Nonce,
    license::KeyType,
    packaging::{PackagingRequest, WantedTrack},
    signed::{self, Unverified},
};
use keyward_server::{Server, key_exchange::NewKey, sealing::KekSource};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// A world whose server listens.
struct Served {
    world: World,
    public: String,
    admin: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What came back.
struct Answer {
    status: u16,
    content_type: String,
    request_id: String,
    body: Vec<u8>,
}

async fn serve(settings: &[(&str, &str)]) -> Served {
    let mut world = World::new().await;
    let path = world.dir().join("operator.toml");
    let mut toml = std::fs::read_to_string(&path).unwrap();
    for (default, own) in settings {
        assert!(toml.contains(default));
        toml = toml.replace(default, own);
    }
    std::fs::write(&path, toml).unwrap();
    world.reopen().await;
    let [public, admin] = [
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    ];
    let [public_url, admin_url] =
        [&public, &admin].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    let (stop, stopped) = oneshot::channel();
    let server = world.server.clone();
    let task = tokio::spawn(async move {
        server
            .serve(public, admin, async { stopped.await.unwrap_or_default() })
            .await
            .unwrap();
    });
    Served {
        world,
        public: public_url,
        admin: admin_url,
        stop,
        task,
    }
}

async fn send(
    method: &'static str,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
) -> Answer {
    let exchange = move || {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true);
        let agent =
            ureq::Agent::new_with_config(config.timeout_global(Some(Duration::from_secs(30))).build());
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut response = agent.run(request.body(body).unwrap()).unwrap();
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
                .unwrap_or_default()
        };
        let (content_type, request_id) = (header("content-type"), header("x-request-id"));
        let status = response.status().as_u16();
        Answer {
            status,
            content_type,
            request_id,
            body: response.body_mut().read_to_vec().unwrap(),
        }
    };
    tokio::task::spawn_blocking(exchange).await.unwrap()
}

impl Served {
    async fn post(&self, path: &str, content_type: &str, body: Vec<u8>) -> Answer {
        send(
            "POST",
            format!("{}{path}", self.public),
            vec![("content-type", content_type.to_owned())],
            body,
        )
        .await
    }

    async fn get(&self, path: &str) -> Answer {
        send("GET", format!("{}{path}", self.public), vec![], vec![]).await
    }

    async fn admin(
        &self,
        method: &'static str,
        path: &str,
        token: &str,
        body: &str,
    ) -> (u16, serde_json::Value) {
        let headers = vec![
            ("authorization", format!("Bearer {token}")),
            ("content-type", "application/json".to_owned()),
        ];
        let answer = send(
            method,
            format!("{}{path}", self.admin),
            headers,
            body.as_bytes().to_vec(),
        )
        .await;
        let json = if answer.body.is_empty() {
            serde_json::Value::Null
        } else {
            serde_json::from_slice(&answer.body).unwrap()
        };
        assert_eq!(
            answer.status >= 400,
            answer.content_type == "application/problem+json"
        );
        (answer.status, json)
    }

    async fn full(&self, method: &'static str, path: &str, body: &str) -> (u16, serde_json::Value) {
        self.admin(method, path, &self.world.admin_token.clone(), body)
            .await
    }

    async fn stop(self) -> World {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
        self.world
    }
}

fn problem(answer: &Answer) -> Problem {
    assert_eq!(answer.content_type, media_type::PROBLEM);
    let problem = Problem::decode(&answer.body).unwrap();
    assert_eq!(problem.status, u64::from(answer.status));
    problem
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packagers_are_enrolled_and_answered_over_http() {
    let served = serve(&[]).await;
    let body = r#"{"account":"encoder 1","role":"packager"}"#;
    let (status, made) = served.full("POST", "/enrolment-tokens", body).await;
    assert_eq!(status, 201);
    let wrong = r#"{"account":"encoder 1","role":"player"}"#;
    let (status, refused) = served.full("POST", "/enrolment-tokens", wrong).await;
    assert_eq!(
        (status, &refused["detail"]),
        (400, &serde_json::json!("`role` is `device` or `packager`"))
    );

    let mut packager = Device::new(3, &Suite::ALL);
    packager.role = EnrolmentRole::Packager;
    let world = &served.world;
    packager
        .enrol(world, made["token"].as_str().unwrap())
        .await
        .unwrap();
    let (_, listed) = served.full("GET", "/devices", "").await;
    assert_eq!(listed[0]["role"], "packager");

    let document = served.get(WELL_KNOWN_PATH).await.body;
    let document = Unverified::<Discovery>::parse(&document)
        .unwrap()
        .verify(&world.anchor(), Role::LicenseServer, |body| vec![body.issued])
        .unwrap();
    let path = document.body().packaging_path.clone().unwrap();
    let recipient = world.recipient().await;
    let body = PackagingRequest {
        version: 1,
        recipient: recipient.digest,
        nonce: Nonce::new([7; 16]),
        response_key: Secret::new([8; 32]),
        content_id: "film".into(),
        tracks: vec![WantedTrack {
            label: "video".into(),
            key_type: KeyType::CencCtr,
        }],
        content_header: true,
        crypto_periods: None,
        first_period: None,
        leaves: None,
        client: crate::common::client_info(),
    };
    let (body, chain) = (body.encode(), &packager.chain);
    let message = signed::sign::<PackagingRequest>(&body, &[], chain, &packager.signing).unwrap();
    let sealed =
        crate::common::seal::<PackagingRequest>(&recipient, Suite::P256, &message, &mut packager.rng);
    let answer = served
        .post(&path, media_type::PACKAGING_REQUEST, sealed.clone())
        .await;
    assert_eq!(
        (answer.status, &answer.content_type[..]),
        (200, media_type::PACKAGING_RESPONSE)
    );
    let wrong = served
        .post(&path, media_type::LICENSE_REQUEST, sealed.clone())
        .await;
    assert_eq!(problem(&wrong).code, 107);
    let elsewhere = served.post("/license", media_type::LICENSE_REQUEST, sealed).await;
    assert_eq!(problem(&elsewhere).code, 104, "it opens as no license request");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_license_travels_over_http() {
    let served = serve(&[]).await;
    let world = &served.world;
    let document = served.get(WELL_KNOWN_PATH).await;
    assert_eq!(
        (document.status, &document.content_type[..]),
        (200, media_type::DISCOVERY)
    );
    let recipient = crate::common::Recipient::read(
        &document.body,
        &world.anchor(),
        world.profile().operator(),
        crate::common::NOW,
    );
    let mut device = world.device(1).await;
    let body = device.request(&recipient, &[KID]);
    let sealed = device.seal(&recipient, Suite::XWing, &body);
    let answer = served.post("/license", media_type::LICENSE_REQUEST, sealed).await;
    assert_eq!(
        (answer.status, &answer.content_type[..]),
        (200, media_type::LICENSE_RESPONSE)
    );
    assert_eq!(answer.request_id.len(), 16);
    let response = read(world, &answer.body, &pending(&body));
    assert!(response.results[0].license.is_some());
    let enrolment = served
        .post("/enrolment", media_type::ENROLMENT_REQUEST, vec![0xa0])
        .await;
    assert_eq!(problem(&enrolment).code, 101);
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(served.get(path).await.status, 200, "{path}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_error_is_a_problem_document() {
    let served = serve(&[("# body_bytes = 1048576", "body_bytes = 4096")]).await;
    let cases = [
        (served.post("/license", "text/plain", vec![]).await, 107, 415),
        (
            served
                .post("/license", media_type::ENROLMENT_REQUEST, vec![])
                .await,
            107,
            415,
        ),
        (
            served
                .post("/license", media_type::LICENSE_REQUEST, vec![0; 4097])
                .await,
            105,
            413,
        ),
        (
            served
                .post("/license", media_type::LICENSE_REQUEST, vec![0; 4096])
                .await,
            101,
            400,
        ),
        (
            served
                .post("/license?a=1", media_type::LICENSE_REQUEST, vec![])
                .await,
            106,
            404,
        ),
        (served.get("/license").await, 106, 404),
        (served.get("/").await, 106, 404),
        (served.get("/devices").await, 106, 404),
        (
            served.post(WELL_KNOWN_PATH, media_type::DISCOVERY, vec![]).await,
            106,
            404,
        ),
    ];
    for (answer, code, status) in &cases {
        let problem = problem(answer);
        assert_eq!((problem.code, answer.status), (*code, *status), "{problem:?}");
        assert!(!answer.request_id.is_empty());
    }
    // In full: RFC 9290, -2 detail, and our own entry with number, name, HTTP status.
    assert_eq!(
        hex::encode(&cases[6].0.body),
        "a2\
         2178197468657265206973206e6f207375636820656e64706f696e74\
         781975726e3a6f69643a322e32352e313834333533343739342e33\
         a301186a02696e6f742d666f756e6403190194"
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_id_is_echoed_or_made() {
    let served = serve(&[]).await;
    let with = async |id: &str| {
        send(
            "GET",
            format!("{}/health/live", served.public),
            vec![("x-request-id", id.to_owned())],
            vec![],
        )
        .await
    };
    assert_eq!(with("proxy-7.a_B").await.request_id, "proxy-7.a_B");
    for unfit in ["two words", "quote\"", &"x".repeat(65)] {
        let id = with(unfit).await.request_id;
        assert!(
            id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{id}"
        );
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_cut_off() {
    let served = serve(&[("# arrival_seconds = 15", "arrival_seconds = 1")]).await;
    let address = |url: &str| url.trim_start_matches("http://").to_owned();
    let (public, admin) = (address(&served.public), address(&served.admin));
    let talk = |address: &str, text: String| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    // Headers that never end: the connection is closed.
    let head = "GET /health/live HTTP/1.1\r\nhost: a\r\n".to_owned();
    let cut = tokio::task::spawn_blocking({
        let public = public.clone();
        move || talk(&public, head)
    });
    assert!(!cut.await.unwrap().contains("200 OK"));
    // A body that never comes: a problem document.
    let token = format!("authorization: Bearer {}\r\n", served.world.admin_token);
    let tags = NewKey::new("tags", Algorithm::HmacSha256, Operation::Verify);
    let tags = served.world.server.create_exchange_key(tags).await.unwrap();
    let (perform, stream) = (
        format!("/exchange-keys/{tags}/perform"),
        format!("/exchange-keys/{tags}/stream/sign"),
    );
    for (address, path, kind, token) in [
        (public, "/license", media_type::LICENSE_REQUEST, ""),
        (admin.clone(), "/policies", "application/json", &token),
        (admin.clone(), &perform, "application/json", &token),
        (admin, &stream, "application/octet-stream", &token),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\n{token}content-type: {kind}\r\n\
             content-length: 9\r\n\r\n"
        );
        let answer = tokio::task::spawn_blocking(move || talk(&address, head));
        let answer = answer.await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("did not arrive in time"),
            "{answer}"
        );
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_at_once_are_told_to_come_again() {
    let served = serve(&[("# concurrent_requests = 256", "concurrent_requests = 1")]).await;
    let mut device = served.world.device(1).await;
    let recipient = served.world.recipient().await;
    let body = device.request(&recipient, &[KID]);
    let sealed = device.seal(&recipient, Suite::P256, &body);
    // One request takes the only place while the database keeps it waiting.
    let mut locked = served.world.locked().await;
    let url = format!("{}/license", served.public);
    let headers = vec![("content-type", media_type::LICENSE_REQUEST.to_owned())];
    let ask = || tokio::spawn(send("POST", url.clone(), headers.clone(), sealed.clone()));
    let mut slow = ask();
    let mut busy = served.post("/license", media_type::LICENSE_REQUEST, vec![]).await;
    for _ in 0..100 {
        if busy.status == 503 {
            break;
        }
        if slow.is_finished() {
            // It came while the question below held the place, and was sent away itself.
            assert_eq!(slow.await.unwrap().status, 503);
            slow = ask();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        busy = served.post("/license", media_type::LICENSE_REQUEST, vec![]).await;
    }
    assert_eq!(problem(&busy).code, 502);
    assert_eq!(
        served.get("/health/live").await.status,
        200,
        "its health can always be asked"
    );
    sqlx::query("COMMIT").execute(&mut *locked).await.unwrap();
    assert_eq!(slow.await.unwrap().status, 200);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_on_the_way_keeps_nobody_out() {
    let served = serve(&[("# concurrent_requests = 256", "concurrent_requests = 1")]).await;
    let address = served.public.trim_start_matches("http://").to_owned();
    let kind = media_type::LICENSE_REQUEST;
    let head = format!(
        "POST /license HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n"
    );
    let mut slow = std::net::TcpStream::connect(address).unwrap();
    slow.write_all(head.as_bytes()).unwrap();
    slow.write_all(&[0xa0]).unwrap();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let answer = served.post("/license", kind, vec![0xa0]).await;
        assert_eq!(problem(&answer).code, 101);
    }
    slow.write_all(&[0xa0]).unwrap();
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400"));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_loses_the_connection() {
    let served = serve(&[
        ("# departure_seconds = 15", "departure_seconds = 1"),
        ("# connections = 1024", "connections = 2"),
    ])
    .await;
    let address = served.public.trim_start_matches("http://").to_owned();
    let ask_without_reading = move || {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream
            .set_write_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let many = format!("GET {WELL_KNOWN_PATH} HTTP/1.1\r\nhost: a\r\n\r\n").repeat(1000);
        // Until the server takes no more.
        while stream.write_all(many.as_bytes()).is_ok() {}
        stream
    };
    let mut stuck = Vec::new();
    for _ in 0..2 {
        stuck.push(
            tokio::task::spawn_blocking(ask_without_reading.clone())
                .await
                .unwrap(),
        );
    }
    assert_eq!(served.get("/health/live").await.status, 200);
    drop(stuck);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_its_time() {
    let served = serve(&[("# connection_seconds = 300", "connection_seconds = 1")]).await;
    let address = served.public.trim_start_matches("http://").to_owned();
    let talk = move || {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // Polite, prompt, and endless: 15 seconds if nobody ends it.
        for served in 0..150 {
            let mut answer = [0; 4096];
            let sent = stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n");
            if sent.is_err() || !matches!(stream.read(&mut answer), Ok(1..)) {
                return served;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        150
    };
    let requests = tokio::task::spawn_blocking(talk).await.unwrap();
    assert!((1..100).contains(&requests), "{requests}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_finishes_what_is_in_work() {
    let served = serve(&[]).await;
    let address = served.public.trim_start_matches("http://").to_owned();
    let mut device = served.world.device(2).await;
    let recipient = served.world.recipient().await;
    let body = device.request(&recipient, &[KID]);
    let sealed = device.seal(&recipient, Suite::P256, &body);
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    let kind = media_type::LICENSE_REQUEST;
    let head = format!(
        "POST /license HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        sealed.len()
    );
    let (first, rest) = sealed.split_at(10);
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(first).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    served.stop.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(
        std::net::TcpStream::connect(&address).is_err(),
        "no new connection is accepted"
    );
    stream.write_all(rest).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    served.task.await.unwrap();
    // The log was moved into the database, which closed.
    assert!(!served.world.dir().join("keyward.db-wal").exists());
    let again = Server::open(&served.world.dir(), KekSource::File, served.world.clock.clone())
        .await
        .unwrap();
    let answered = again
        .issue(&device.seal(&recipient, Suite::P256, &body))
        .await
        .unwrap();
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let [given, again] =
        [&answer[head + 4..], &answered].map(|answer| read(&served.world, answer, &pending(&body)));
    assert_eq!(
        ids(&served.world, &given),
        ids(&served.world, &again),
        "the license was recorded before the server ended"
    );
}
