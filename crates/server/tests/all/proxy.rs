//! A proxy between clients and a license server: what it carries, whom it names, what it says when the
//! license server does not answer as it should.

mod metrics;
mod service;
mod trouble;

use crate::surroundings;
use core::time::Duration;

use keyward_license::discovery::{WELL_KNOWN_PATH, media_type};
use keyward_server::{
    config::Rate,
    operator,
    proxy::{Proxy, ProxyError, ProxyOptions},
};

use crate::common::World;
use crate::surroundings::{Double, Reply, named, options, proxy};

/// Bytes that a careless carrier would change: every value, line ends, an end of text.
fn awkward(length: usize) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\x04\x1a\xef\xbb\xbf0\r\n\r\n".to_vec();
    bytes.extend((0..=255).cycle().take(length.saturating_sub(bytes.len())));
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_pass_unaltered_both_ways_and_name_the_service() {
    let world = World::new().await;
    let (double, upstream) = Double::new(&world).await;
    let proxy = proxy(named(&upstream, "kw_secret")).await;

    let document = proxy.get(WELL_KNOWN_PATH).await;
    assert_eq!(document.status, 200);
    assert_eq!(document.header("content-type"), media_type::DISCOVERY);
    assert_eq!(document.body, world.server.discovery().await.unwrap());
    let asked = double.got.lock().unwrap().clone();
    assert_eq!(asked[0].header("authorization"), Some("Bearer kw_secret"));

    let exchanges = [
        (
            "/license",
            media_type::LICENSE_REQUEST,
            media_type::LICENSE_RESPONSE,
        ),
        (
            "/enrolment",
            media_type::ENROLMENT_REQUEST,
            media_type::ENROLMENT_RESPONSE,
        ),
        (
            "/packaging",
            media_type::PACKAGING_REQUEST,
            media_type::PACKAGING_RESPONSE,
        ),
    ];
    for (path, request_type, response_type) in exchanges {
        for length in [0, 1, 20, 70_000, 1 << 20] {
            let (request, response) = (awkward(length), awkward(length * 2));
            let mut reply = Reply::of(response_type, response.clone());
            reply.headers.push(("cache-control", "no-store".to_owned()));
            reply.headers.push(("set-cookie", "a=b".to_owned()));
            double.answers(reply);
            let headers = vec![
                ("content-type", request_type.to_owned()),
                ("authorization", "Bearer of-the-client".to_owned()),
                ("cookie", "c=d".to_owned()),
                ("x-request-id", "given-7".to_owned()),
            ];
            let answer = proxy.post_with(path, headers, request.clone()).await;
            assert_eq!((answer.status, &answer.body), (200, &response));
            assert_eq!(answer.header("content-type"), response_type);
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.header("x-request-id"), "given-7");
            assert_eq!(answer.header("set-cookie"), "");

            let got = double.take();
            let [got] = &got[..] else { panic!("{got:?}") };
            assert_eq!((&got.method[..], &got.path[..]), ("POST", path));
            assert!(got.body == request, "{length} bytes to {path} were altered");
            assert_eq!(got.header("content-type"), Some(request_type));
            assert_eq!(got.header("authorization"), Some("Bearer kw_secret"));
            assert_eq!(got.header("x-request-id"), Some("given-7"));
            assert_eq!(got.header("cookie"), None);
        }
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_problem_of_the_license_server_passes_as_it_is() {
    let mut world = World::new().await;
    let server = surroundings::license_server(&mut world, &[]).await;
    let proxy = proxy(options(&server.url)).await;
    let kind = media_type::LICENSE_REQUEST;
    let (direct, carried) = (
        server.post("/license", kind, vec![0xa0]).await,
        proxy.post("/license", kind, vec![0xa0]).await,
    );
    assert_eq!((carried.status, &carried.body), (400, &direct.body));
    assert_eq!(carried.problem().code, 101);
    // The same id stands in both logs, whoever gave it.
    let (double, upstream) = Double::new(&world).await;
    let second = surroundings::proxy(options(&upstream)).await;
    let answer = second.post("/license", kind, vec![]).await;
    let id = answer.header("x-request-id");
    assert_eq!(id.len(), 16);
    assert_eq!(double.take()[0].header("x-request-id"), Some(id));
    for serving in [second, proxy, server] {
        serving.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_exchanges_of_the_discovery_document_are_carried() {
    let world = World::new().await;
    let (double, upstream) = Double::new(&world).await;
    let proxy = proxy(options(&upstream)).await;
    let kind = media_type::LICENSE_REQUEST;
    // The first message comes before any discovery: the proxy looks itself.
    assert_eq!(proxy.post("/license", kind, vec![1]).await.status, 200);
    assert_eq!(double.take().len(), 1);
    for (path, content_type, code) in [
        ("/devices", kind, 106),
        ("/license/", kind, 106),
        ("/license?a=1", kind, 106),
        ("//license", kind, 106),
        ("/health/ready", kind, 106),
        (WELL_KNOWN_PATH, kind, 106),
        ("/license", "application/json", 107),
        ("/license", "", 107),
    ] {
        let answer = proxy.post(path, content_type, vec![1]).await;
        assert_eq!(answer.problem().code, code, "{path} {content_type}");
    }
    assert_eq!(proxy.get("/license").await.problem().code, 106);
    assert_eq!(double.take(), [], "nothing of this was the license server's");
    // It was looked for in a document once, not at each of them.
    let looked = double.got.lock().unwrap().len();
    assert_eq!(looked, 0);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_bounded_as_at_a_license_server() {
    let world = World::new().await;
    let (double, upstream) = Double::new(&world).await;
    let mut bounded = options(&upstream);
    bounded.limits.body_bytes = 4096;
    bounded.limits.arrival = Duration::from_millis(300);
    bounded.limits.concurrent_requests = 1;
    let proxy = proxy(bounded).await;
    let kind = media_type::LICENSE_REQUEST;
    assert_eq!(proxy.get("/health/live").await.body, b"live\n");
    assert_eq!(proxy.post("/license", kind, vec![0; 4096]).await.status, 200);
    let too_large = proxy.post("/license", kind, vec![0; 4097]).await;
    assert_eq!(too_large.problem().code, 105);
    // Slow ones are cut off: headers that never end, a body that never comes.
    let cut = proxy
        .talk("GET /health/live HTTP/1.1\r\nhost: a\r\n".into())
        .await;
    assert!(!cut.contains("200 OK"), "{cut}");
    let head =
        format!("POST /license HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\ncontent-length: 9\r\n\r\n");
    let cut = proxy.talk(head).await;
    assert!(cut.contains("did not arrive in time"), "{cut}");
    // One at a time: the second is told to come again.
    let mut slow = Reply::of(media_type::LICENSE_RESPONSE, "slow");
    slow.after = Duration::from_millis(400);
    double.answers(slow);
    double.take();
    let (first, second) = tokio::join!(proxy.post("/license", kind, vec![1]), async {
        while double.got.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        proxy.post("/license", kind, vec![2]).await
    });
    assert_eq!(first.body, b"slow");
    assert_eq!((second.problem().code, second.header("retry-after")), (502, "1"));
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_asks_too_often_does_not_reach_the_license_server() {
    let world = World::new().await;
    let (double, upstream) = Double::new(&world).await;
    let mut bounded = options(&upstream);
    bounded.limits.address_rate = Rate::new(1, 3);
    let proxy = proxy(bounded).await;
    let ask = async |address: &str| {
        let headers = vec![
            ("content-type", media_type::LICENSE_REQUEST.to_owned()),
            ("x-forwarded-for", address.to_owned()),
        ];
        proxy.post_with("/license", headers, vec![1]).await
    };
    let (mut carried, mut refused) = (0, None);
    while refused.is_none() && carried < 500 {
        let answer = ask("192.0.2.1").await;
        if answer.status == 200 {
            carried += 1;
        } else {
            refused = Some(answer);
        }
    }
    let refused = refused.unwrap();
    assert_eq!(
        (refused.problem().code, refused.header("retry-after")),
        (503, "1")
    );
    assert!(carried >= 3);
    assert_eq!(double.take().len(), carried);
    assert_eq!(ask("192.0.2.2").await.status, 200);
    assert_eq!(proxy.get("/health/live").await.status, 200);
    proxy.stop().await;
}

/// The rates of a license server are told through a proxy as they are, with the time to wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_of_the_license_server_is_told_through_the_proxy() {
    let mut world = World::new().await;
    let rate = [
        ("# service_rate = 1000", "service_rate = 1"),
        ("# service_burst = 2000", "service_burst = 1"),
    ];
    let server = surroundings::license_server(&mut world, &rate).await;
    let token = world.server.create_service_token("shop").await.unwrap();
    let proxy = proxy(named(&server.url, token.expose())).await;
    let mut refused = proxy.get(WELL_KNOWN_PATH).await;
    for _ in 0..500 {
        if refused.status == 429 {
            break;
        }
        refused = proxy.get(WELL_KNOWN_PATH).await;
    }
    assert_eq!(
        (refused.problem().code, refused.header("retry-after")),
        (503, "1")
    );
    for serving in [proxy, server] {
        serving.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_and_deaf_clients_leave_others_served() {
    let world = World::new().await;
    let (_double, upstream) = Double::new(&world).await;
    let mut bounded = options(&upstream);
    bounded.limits.forwarders = Vec::new();
    bounded.limits.address_rate = None;
    bounded.limits.connections = 40;
    bounded.limits.connections_per_address = 20;
    // Nothing but giving way, or not reading, ends a connection in this test's time.
    bounded.limits.arrival = Duration::from_secs(300);
    bounded.limits.departure = Duration::from_secs(1);
    let proxy = proxy(bounded).await;
    let many = format!("GET {WELL_KNOWN_PATH} HTTP/1.1\r\nhost: a\r\n\r\n").repeat(1000);
    let mut held = Vec::new();
    for number in 0..8 {
        let stream = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
        if number % 2 == 0 {
            // Until the proxy takes no more.
            let asks = async {
                loop {
                    stream.writable().await.unwrap();
                    stream.try_write(many.as_bytes()).ok();
                }
            };
            tokio::time::timeout(Duration::from_millis(100), asks)
                .await
                .unwrap_err();
        }
        held.push(stream);
    }
    let kind = media_type::LICENSE_REQUEST;
    for _ in 0..5 {
        assert_eq!(proxy.post("/license", kind, vec![1]).await.body, b"an answer");
    }
    // One address has so many and no more: what comes beyond is closed at once.
    for _ in 0..24 {
        held.push(tokio::net::TcpStream::connect(proxy.address()).await.unwrap());
    }
    let mut last = held.pop().unwrap();
    let read = tokio::io::AsyncReadExt::read(&mut last, &mut [0]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    drop(held);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_finishes_what_is_in_work() {
    let world = World::new().await;
    let (double, upstream) = Double::new(&world).await;
    let mut slow = Reply::of(media_type::LICENSE_RESPONSE, "in time");
    slow.after = Duration::from_millis(300);
    double.answers(slow);
    let proxy = proxy(options(&upstream)).await;
    let (url, address) = (proxy.url.clone(), proxy.address().to_owned());
    let asking = tokio::spawn(async move {
        let kind = vec![("content-type", media_type::LICENSE_REQUEST.to_owned())];
        surroundings::send(format!("{url}/license"), kind, Some(vec![1])).await
    });
    while double.take().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    proxy.stopping().await.unwrap();
    assert_eq!(asking.await.unwrap().body, b"in time");
    assert!(std::net::TcpStream::connect(address).is_err(), "it still listens");
}

#[tokio::test]
async fn the_profile_names_proxies_once_it_is_written_anew() {
    let mut world = World::new().await;
    let before = world.profile();
    assert_eq!(before.license_servers, ["http://127.0.0.1:8470"]);
    let urls = r#"proxy_urls = ["https://proxy.example/", "http://127.0.0.1:8470"]"#;
    let server = surroundings::license_server(&mut world, &[("# proxy_urls = []", urls)]).await;
    assert_eq!(world.profile(), before, "it changes when it is told to");
    let renewed = operator::renew_profile(&world.dir(), &world.server).unwrap();
    assert_eq!(world.profile(), renewed);
    assert_eq!(
        renewed.license_servers,
        ["http://127.0.0.1:8470", "https://proxy.example"]
    );
    assert_eq!(renewed.root, before.root);
    server.stop().await;
    let mut files = std::fs::read_dir(world.dir()).unwrap();
    assert!(
        files.all(|file| {
            use std::os::unix::fs::PermissionsExt;
            file.unwrap().metadata().unwrap().permissions().mode() & 0o077 == 0
        }),
        "a file of the operator can be read by others"
    );
}

#[test]
fn a_proxy_that_could_not_work_is_not_started() {
    let refused = |options: ProxyOptions| Proxy::new(options).unwrap_err();
    let malformed = refused(options("license.example.org"));
    assert!(matches!(malformed, ProxyError::UpstreamMalformed));
    let others = refused(options("http://license.example.org"));
    assert!(matches!(others, ProxyError::UpstreamNotPrivate));
    let token = refused(named("https://license.example.org", "two words"));
    assert!(matches!(token, ProxyError::TokenMalformed));
    for pem in [
        &b""[..],
        b"no certificate",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let authorities = ProxyOptions {
            authorities: Some(pem.to_vec()),
            ..options("https://license.example.org")
        };
        assert!(matches!(refused(authorities), ProxyError::AuthoritiesMalformed));
    }
    let shown = format!("{:?}", named("https://license.example.org", "kw_secret"));
    assert!(!shown.contains("kw_"), "{shown}");
}
