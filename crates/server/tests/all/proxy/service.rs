//! A service has a name. The viewer needs an entitlement all the same.

use std::{
    io,
    sync::{Arc, Mutex},
};

use keyward_crypto::hpke::Suite;
use keyward_license::discovery::{WELL_KNOWN_PATH, media_type};
use keyward_server::{Error, admin::TokenRequest};

use crate::{
    common::{Device, KID, World, denial, pending, read},
    surroundings::{license_server, named, options, proxy},
};

const REQUIRED: &[(&str, &str)] = &[("# required = false", "required = true")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_service_carries_and_the_entitlement_decides() {
    let mut world = World::new().await;
    let server = license_server(&mut world, REQUIRED).await;
    let token = world.server.create_service_token("shop").await.unwrap();
    let proxy = proxy(named(&server.url, token.expose())).await;
    assert_eq!(proxy.get("/health/ready").await.status, 200);
    let recipient = world.recipient().await;
    let mut entitled = world.device(1).await;
    let mut stranger = Device::new(2, &Suite::ALL);
    let stranger_token = world.token_for(TokenRequest::new("bob")).await;
    stranger.enrol(&world, &stranger_token).await.unwrap();
    for (device, allowed) in [(&mut entitled, true), (&mut stranger, false)] {
        let body = device.request(&recipient, &[KID]);
        let sealed = device.seal(&recipient, Suite::XWing, &body);
        let direct = server
            .post("/license", media_type::LICENSE_REQUEST, sealed.clone())
            .await;
        assert_eq!((direct.status, direct.problem().code), (401, 208));
        assert_eq!(direct.header("www-authenticate"), "Bearer");
        let answer = proxy.post("/license", media_type::LICENSE_REQUEST, sealed).await;
        assert_eq!(answer.status, 200);
        let response = read(&world, &answer.body, &pending(&body));
        let result = &response.results[0];
        assert_eq!(result.license.is_some(), allowed);
        assert!(allowed || denial(result) == 301);
    }
    proxy.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_in_use_is_refused_whether_one_is_required_or_not() {
    for settings in [&[][..], REQUIRED] {
        let mut world = World::new().await;
        let server = license_server(&mut world, settings).await;
        let token = world.server.create_service_token("shop").await.unwrap();
        let proxied = proxy(named(&server.url, token.expose())).await;
        let kind = media_type::LICENSE_REQUEST;
        // A message that is none: the license server says so once it has let the service pass.
        assert_eq!(
            proxied.post("/license", kind, vec![0xa0]).await.problem().code,
            101
        );
        world.server.revoke_service_token("shop").await.unwrap();
        for token in [token.expose(), &world.admin_token, "kw_made-up"] {
            let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
            let headers = vec![("content-type", kind.to_owned()), bearer(token)];
            let refused = server.post_with("/license", headers, vec![0xa0]).await;
            assert_eq!(refused.problem().code, 208, "{token}");
        }
        // The service learns it from every request, and from its health.
        for answer in [
            proxied.post("/license", kind, vec![0xa0]).await,
            proxied.get(WELL_KNOWN_PATH).await,
            proxied.get("/health/ready").await,
        ] {
            assert_eq!((answer.status, answer.problem().code), (502, 703));
        }
        // Without a token: what everybody may read, and messages where no service is required.
        let unnamed = proxy(options(&server.url)).await;
        assert_eq!(unnamed.get(WELL_KNOWN_PATH).await.status, 200);
        let code = unnamed.post("/license", kind, vec![0xa0]).await.problem().code;
        assert_eq!(code, if settings.is_empty() { 101 } else { 703 });
        for serving in [unnamed, proxied, server] {
            serving.stop().await;
        }
    }
}

#[tokio::test]
async fn service_tokens_are_named_hashed_listed_and_revoked() {
    let world = World::new().await;
    let server = &world.server;
    let token = server.create_service_token("shop").await.unwrap();
    server.create_service_token("portal").await.unwrap();
    let taken = server.create_service_token("shop").await.unwrap_err();
    assert!(matches!(taken, Error::OutOfRange { .. }));
    for bad in ["", "two words", "\u{e9}", &"x".repeat(65)] {
        assert!(server.create_service_token(bad).await.is_err(), "{bad}");
    }
    let known = |presented: String| async move { server.authenticate_service(&presented).await.unwrap() };
    assert_eq!(known(token.expose().to_owned()).await.as_deref(), Some("shop"));
    // Neither kind of token is of use in the place of the other.
    assert_eq!(known(world.admin_token.clone()).await, None);
    assert_eq!(server.authenticate_admin(token.expose()).await.unwrap(), None);
    server.revoke_service_token("shop").await.unwrap();
    server.revoke_service_token("shop").await.unwrap();
    assert_eq!(known(token.expose().to_owned()).await, None);
    assert!(
        server.create_service_token("shop").await.is_err(),
        "its name stays taken"
    );
    let unknown = server.revoke_service_token("nobody").await.unwrap_err();
    assert_eq!(unknown.to_string(), "there is no service token `nobody`");
    let listed = server.service_tokens().await.unwrap();
    let listed: Vec<_> = listed
        .iter()
        .map(|row| (&row.name[..], row.revoked.is_some()))
        .collect();
    assert_eq!(listed, [("portal", false), ("shop", true)]);
    assert_eq!(
        world
            .count("SELECT count(*) FROM events WHERE kind LIKE 'service-token-%'")
            .await,
        3
    );
    world.server.close().await;
    let database = std::fs::read(world.dir().join("keyward.db")).unwrap();
    let secret = token.expose().as_bytes();
    assert!(!database.windows(secret.len()).any(|window| window == secret));
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_id_leads_through_both_logs_and_the_services_name_stands_beside_it() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone());
    // The only test of this program that sets it; others may write into the log.
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    let mut world = World::new().await;
    let server = license_server(&mut world, REQUIRED).await;
    let token = world.server.create_service_token("shop-7f3a").await.unwrap();
    let proxy = proxy(named(&server.url, token.expose())).await;
    let headers = vec![
        ("content-type", media_type::LICENSE_REQUEST.to_owned()),
        ("x-request-id", "id-9b21".to_owned()),
    ];
    proxy.post_with("/license", headers, vec![0xa0]).await;
    proxy.stop().await;
    server.stop().await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let finished: Vec<_> = log
        .lines()
        .filter(|line| line.contains("id-9b21") && line.contains("request finished"))
        .collect();
    // The discovery and the message at the license server, the message at the proxy.
    assert_eq!(finished.len(), 3, "{finished:#?}");
    let named = finished.iter().filter(|line| line.contains("shop-7f3a")).count();
    assert_eq!(named, 2, "{finished:#?}");
    assert!(!log.contains(token.expose()), "the log holds the token");
}
