//! What a monitoring system reads.

use core::time::Duration;

use crate::common::{KID, World};
use keyward_crypto::hpke::Suite;
use keyward_license::{discovery::media_type, ids::Kid};
use keyward_server::admin::Scope;
use tokio::{net::TcpListener, sync::oneshot};

/// What answers, on another thread: status, media type, body.
async fn ask(url: String, token: Option<String>, body: Option<Vec<u8>>) -> (u16, String, String) {
    let exchange = move || {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent =
            ureq::Agent::new_with_config(config.timeout_global(Some(Duration::from_secs(30))).build());
        let bearer = token.map(|token| format!("Bearer {token}")).unwrap_or_default();
        let mut answer = match body {
            Some(body) => agent
                .post(url)
                .content_type(media_type::LICENSE_REQUEST)
                .send(&body[..])
                .unwrap(),
            None => agent.get(url).header("authorization", bearer).call().unwrap(),
        };
        let media = answer
            .headers()
            .get("content-type")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let text = answer.body_mut().read_to_vec().unwrap();
        (
            answer.status().as_u16(),
            media,
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    tokio::task::spawn_blocking(exchange).await.unwrap()
}

/// The value of a line of the text.
fn value(text: &str, name: &str) -> Option<f64> {
    let line = text
        .lines()
        .find(|line| line.rsplit_once(' ').is_some_and(|(key, _)| key == name))?;
    line.rsplit_once(' ').unwrap().1.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_counted_and_names_nobody() {
    let world = World::new().await;
    let [public, admin] = [
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    ];
    let [public_url, admin_url] =
        [&public, &admin].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    let (stop, stopped) = oneshot::channel::<()>();
    let server = world.server.clone();
    let task = tokio::spawn(async move { server.serve(public, admin, async { drop(stopped.await) }).await });

    let mut device = world.device(1).await;
    let recipient = world.recipient().await;
    let unknown = Kid::new([0x99; 16]);
    let body = device.request(&recipient, &[KID, unknown]);
    let sealed = device.seal(&recipient, Suite::XWing, &body);
    let license = format!("{public_url}/license");
    let (status, ..) = ask(license.clone(), None, Some(sealed)).await;
    assert_eq!(status, 200);
    ask(license, None, Some(b"garbage".to_vec())).await;
    ask(format!("{public_url}/made/up"), None, None).await;
    ask(format!("{public_url}/.well-known/keyward"), None, None).await;

    let metrics = format!("{admin_url}/metrics");
    let (status, ..) = ask(metrics.clone(), None, None).await;
    assert_eq!(status, 401);
    let token = world
        .server
        .create_admin_token("monitor", Scope::Read)
        .await
        .unwrap();
    let (status, media, text) = ask(metrics, Some(token.expose().to_owned()), None).await;
    assert_eq!((status, &media[..29]), (200, "application/openmetrics-text;"));
    assert!(text.ends_with("# EOF\n"), "{text}");

    for (name, count) in [
        (r#"keyward_requests_total{endpoint="license",code="ok"}"#, 1.0),
        (
            r#"keyward_requests_total{endpoint="license",code="malformed"}"#,
            1.0,
        ),
        (
            r#"keyward_requests_total{endpoint="other",code="not-found"}"#,
            1.0,
        ),
        (r#"keyward_requests_total{endpoint="discovery",code="ok"}"#, 1.0),
        (
            r#"keyward_requests_total{endpoint="admin",code="unauthorized"}"#,
            1.0,
        ),
        ("keyward_licenses_issued_total", 1.0),
        (r#"keyward_licenses_denied_total{code="kid-unknown"}"#, 1.0),
        ("keyward_issue_seconds_count", 2.0),
        ("keyward_queue_items", 0.0),
        (
            r#"keyward_certificate_expiry_seconds{certificate="license-server"}"#,
            365.0 * 86_400.0,
        ),
        (
            r#"keyward_certificate_expiry_seconds{certificate="root"}"#,
            3650.0 * 86_400.0,
        ),
        (
            &format!("keyward_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")),
            1.0,
        ),
    ] {
        assert_eq!(value(&text, name), Some(count), "{name} in\n{text}");
    }
    let commits = value(&text, "keyward_commit_items_count").unwrap();
    let items = value(&text, "keyward_commit_items_sum").unwrap();
    assert!(commits > 0.0 && items >= commits, "{text}");
    assert!(
        value(&text, r#"keyward_connections{listener="admin"}"#).unwrap() >= 1.0,
        "{text}"
    );
    for somebody in [
        device.id().to_string(),
        KID.to_string(),
        unknown.to_string(),
        crate::common::ACCOUNT.to_owned(),
    ] {
        assert!(!text.contains(&somebody), "{somebody} in\n{text}");
    }
    stop.send(()).unwrap();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn ends_count_down_and_beyond() {
    let world = World::new().await;
    let before = world.server.metrics().await.unwrap();
    world.clock.advance(1000);
    let after = world.server.metrics().await.unwrap();
    let name = r#"keyward_certificate_expiry_seconds{certificate="device-authority"}"#;
    assert_eq!(
        value(&before, name).unwrap() - value(&after, name).unwrap(),
        1000.0
    );
    world.clock.advance(20 * 365 * 86_400);
    let ended = world.server.metrics().await.unwrap();
    assert!(value(&ended, name).unwrap() < 0.0);
}
