//! What a monitoring system reads of a proxy.

use core::{net::SocketAddr, time::Duration};

use keyward_license::{
    discovery::{WELL_KNOWN_PATH, media_type},
    error_code::{ErrorCode, Problem},
};
use keyward_server::{
    config::Rate,
    proxy::{Proxy, ProxyError, ProxyOptions},
};

use crate::{
    common::World,
    surroundings::{Double, Reply, listener, monitored, named, options, send},
};

/// The value of a line of the text; what was never counted has none.
fn value(text: &str, name: &str) -> Option<f64> {
    let line = text
        .lines()
        .find(|line| line.rsplit_once(' ').is_some_and(|(key, _)| key == name))?;
    line.rsplit_once(' ').unwrap().1.parse().ok()
}

async fn read(url: &str) -> String {
    let answer = send(url.to_owned(), vec![], None).await;
    assert_eq!(answer.status, 200);
    let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), media);
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_proxy_does_is_counted_and_names_nobody() {
    let world = World::new().await;
    let (double, upstream) = Double::new(&world).await;
    let mut bounded = named(&upstream, "kw_secret");
    bounded.limits.body_bytes = 4096;
    let (proxy, metrics) = monitored(bounded).await;
    let license = media_type::LICENSE_REQUEST;

    assert_eq!(proxy.get(WELL_KNOWN_PATH).await.status, 200);
    assert_eq!(proxy.post("/license", license, vec![1]).await.status, 200);
    let problem = Problem::new(ErrorCode::Malformed, "why".to_owned());
    let mut refusal = Reply::of(media_type::PROBLEM, problem.encode());
    refusal.status = 400;
    double.answers(refusal);
    assert_eq!(proxy.post("/license", license, vec![1]).await.status, 400);
    double.answers(Reply::of("text/html", "a web page"));
    assert_eq!(
        proxy
            .post("/enrolment", media_type::ENROLMENT_REQUEST, vec![1])
            .await
            .status,
        502
    );
    assert_eq!(proxy.post("/license", license, vec![0; 4097]).await.status, 413);
    assert_eq!(proxy.get("/made/up").await.status, 404);
    // The metrics are not the clients' to read, and nothing else is read there.
    assert_eq!(proxy.get("/metrics").await.status, 404);
    let elsewhere = metrics.replace("/metrics", "/health/live");
    assert_eq!(send(elsewhere, vec![], None).await.status, 404);

    let text = read(&metrics).await;
    let version = format!("keyward_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    for (name, count) in [
        (r#"requests_total{endpoint="discovery",code="ok"}"#, 1.0),
        (r#"requests_total{endpoint="license",code="ok"}"#, 1.0),
        (r#"requests_total{endpoint="license",code="malformed"}"#, 1.0),
        (r#"requests_total{endpoint="license",code="too-large"}"#, 1.0),
        (
            r#"requests_total{endpoint="enrolment",code="upstream-not-an-answer"}"#,
            1.0,
        ),
        (r#"requests_total{endpoint="other",code="not-found"}"#, 2.0),
        (r#"requests_total{endpoint="metrics",code="not-found"}"#, 1.0),
        (r#"upstream_failures_total{code="upstream-not-an-answer"}"#, 1.0),
        (r#"refused_total{code="too-large"}"#, 1.0),
        ("upstream_seconds_count", 4.0),
        (
            r#"connections_closed_total{listener="public",reason="address"}"#,
            0.0,
        ),
        (
            r#"connections_closed_total{listener="public",reason="silent"}"#,
            0.0,
        ),
    ] {
        assert_eq!(
            value(&text, &format!("keyward_{name}")),
            Some(count),
            "{name} in\n{text}"
        );
    }
    assert_eq!(value(&text, &version), Some(1.0), "{text}");
    let open = value(&text, r#"keyward_connections{listener="metrics"}"#);
    assert!(open.unwrap() >= 1.0, "{text}");
    // A fault of the client is none of the license server's, nor a limit.
    assert!(!text.contains(r#"failures_total{code="malformed"#), "{text}");
    for somebody in ["kw_secret", "made/up", "127.0.0.1"] {
        assert!(!text.contains(somebody), "{somebody} in\n{text}");
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_a_license_server_that_is_down_are_counted() {
    let nobody = format!("http://{}", listener().await.local_addr().unwrap());
    let mut bounded = options(&nobody);
    bounded.limits.address_rate = Rate::new(1, 1);
    // Of somebody else than who reads the metrics, and none that is told apart by X-Forwarded-For.
    bounded.limits.forwarders = Vec::new();
    bounded.limits.connections_per_address = 20;
    bounded.limits.departure = Duration::from_secs(60);
    let (proxy, metrics) = monitored(bounded).await;
    assert_eq!(proxy.get(WELL_KNOWN_PATH).await.problem().code, 701);
    let mut code = 701;
    for _ in 0..500 {
        code = proxy.get(WELL_KNOWN_PATH).await.problem().code;
        if code != 701 {
            break;
        }
    }
    assert_eq!(code, 503);
    let text = read(&metrics).await;
    let count = |name: &str| value(&text, &format!("keyward_{name}"));
    assert_eq!(
        count(r#"refused_total{code="rate-limited"}"#),
        Some(1.0),
        "{text}"
    );
    let down = count(r#"upstream_failures_total{code="upstream-unreachable"}"#);
    assert_eq!(down, count("upstream_seconds_count"), "{text}");
    assert!(down >= Some(1.0), "{text}");

    // One address has so many connections: what comes beyond is closed at once, and counted.
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(tokio::net::TcpStream::connect(proxy.address()).await.unwrap());
    }
    let mut last = held.pop().unwrap();
    let read_last = tokio::io::AsyncReadExt::read(&mut last, &mut [0]).await;
    assert!(matches!(read_last, Ok(0) | Err(_)), "{read_last:?}");
    let text = read(&metrics).await;
    let closed = r#"keyward_connections_closed_total{listener="public",reason="address"}"#;
    assert!(value(&text, closed) >= Some(20.0), "{text}");
    let open = r#"keyward_connections{listener="public"}"#;
    let open = value(&text, open).unwrap();
    assert!((1.0..=20.0).contains(&open), "{text}");
    drop(held);
    proxy.stop().await;
}

#[test]
fn metrics_are_read_on_loopback_unless_told_otherwise() {
    let at = |address: &str, danger| {
        Proxy::new(ProxyOptions {
            metrics_listen: Some(address.parse::<SocketAddr>().unwrap()),
            danger_metrics_beyond_loopback: danger,
            ..options("https://license.example.org")
        })
    };
    for private in ["127.0.0.1:8481", "127.9.9.9:1", "[::1]:8481"] {
        assert!(at(private, false).is_ok(), "{private}");
    }
    for public in ["0.0.0.0:8481", "[::]:8481", "192.0.2.1:8481"] {
        let refused = at(public, false).unwrap_err();
        assert!(matches!(refused, ProxyError::MetricsNotPrivate), "{public}");
        assert!(at(public, true).is_ok(), "{public}");
    }
}
