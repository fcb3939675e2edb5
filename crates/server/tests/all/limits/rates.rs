//! How often each may ask. Rates count real seconds, so that a test asks until it is refused, not so many times.

use keyward_crypto::{Secret, hpke::Suite};
use keyward_license::{
    codec::Wire,
    discovery::WELL_KNOWN_PATH,
    error_code::Problem,
    ids::Nonce,
    license::KeyType,
    packaging::{PackagingRequest, WantedTrack},
    signed,
};
use keyward_server::admin::Scope;

use crate::{
    common::{KID, World, client_info, seal},
    surroundings::{Answer, Serving, license_server, listener, send},
};

const ONE_AT_A_TIME: [(&str, &str); 2] = [
    ("# address_rate = 200", "address_rate = 1"),
    ("# address_burst = 1000", "address_burst = 3"),
];

async fn get(server: &Serving, path: &str, headers: &[(&'static str, &str)]) -> Answer {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned()));
    send(format!("{}{path}", server.url), headers.collect(), None).await
}

/// Asks until it is refused: with a rate of one in a second, soon.
async fn until_refused(server: &Serving, path: &str, headers: &[(&'static str, &str)]) -> Problem {
    for _ in 0..500 {
        let answer = get(server, path, headers).await;
        if answer.status == 429 {
            assert_eq!(answer.header("retry-after"), "1");
            assert_eq!(answer.header("cache-control"), "no-store");
            let problem = answer.problem();
            assert_eq!((problem.code, &problem.name[..]), (503, "rate-limited"));
            return problem;
        }
    }
    panic!("it may ask 500 times")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_asks_too_often_is_told_to_come_again() {
    let mut world = World::new().await;
    let server = license_server(&mut world, &ONE_AT_A_TIME).await;
    let one = [("x-forwarded-for", "192.0.2.1")];
    for _ in 0..3 {
        assert_eq!(get(&server, WELL_KNOWN_PATH, &one).await.status, 200);
    }
    let problem = until_refused(&server, WELL_KNOWN_PATH, &one).await;
    assert_eq!(problem.detail, "this address asks too often");
    // Whatever it asks for, but for the sign of life.
    for path in ["/license", "/nowhere", "/health/ready"] {
        until_refused(&server, path, &one).await;
    }
    assert_eq!(get(&server, "/health/live", &one).await.status, 200);
    // Nobody else pays for it; a /64 is one.
    let other = [("x-forwarded-for", "192.0.2.1, 192.0.2.2")];
    assert_eq!(get(&server, WELL_KNOWN_PATH, &other).await.status, 200);
    until_refused(&server, WELL_KNOWN_PATH, &[("x-forwarded-for", "2001:db8::1")]).await;
    until_refused(&server, WELL_KNOWN_PATH, &[("x-forwarded-for", "2001:db8::2")]).await;
    let elsewhere = [("x-forwarded-for", "2001:db8:0:1::1")];
    assert_eq!(get(&server, WELL_KNOWN_PATH, &elsewhere).await.status, 200);
    // A forwarder that names nobody is not taken for one who asks.
    for _ in 0..10 {
        assert_eq!(get(&server, WELL_KNOWN_PATH, &[]).await.status, 200);
    }
    let counted = world.server.metrics().await.unwrap();
    assert!(counted.contains(r#"keyward_requests_total{endpoint="discovery",code="rate-limited"}"#));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_forwarder_cannot_say_that_it_is_somebody_else() {
    let mut world = World::new().await;
    let nobody = [("# forwarders = [\"127.0.0.1\", \"::1\"]", "forwarders = []")];
    let server = license_server(&mut world, &[&ONE_AT_A_TIME[..], &nobody].concat()).await;
    let mut refused = 0;
    for number in 0..250 {
        let address = format!("192.0.2.{number}");
        let answer = get(&server, WELL_KNOWN_PATH, &[("x-forwarded-for", &address)]).await;
        refused += usize::from(answer.status == 429);
    }
    assert!(refused > 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_service_has_a_rate_of_its_own() {
    let mut world = World::new().await;
    let server = license_server(&mut world, &ONE_AT_A_TIME).await;
    let token = world.server.create_service_token("shop").await.unwrap();
    let token = format!("Bearer {}", token.expose());
    let address = ("x-forwarded-for", "192.0.2.1");
    let named = [address, ("authorization", &token[..])];
    for _ in 0..100 {
        assert_eq!(get(&server, WELL_KNOWN_PATH, &named).await.status, 200);
    }
    // It is known for what a service asks, and for nothing else: there is no `GET /license`.
    for path in ["/nowhere", "/license"] {
        until_refused(&server, path, &named).await;
    }
    // A token that is not known counts for the address that presents it.
    let guessed = [address, ("authorization", "Bearer kw_guessed")];
    let problem = until_refused(&server, WELL_KNOWN_PATH, &guessed).await;
    assert_eq!(problem.detail, "this address asks too often");
    // So does one that was revoked.
    world.server.revoke_service_token("shop").await.unwrap();
    let revoked = get(&server, WELL_KNOWN_PATH, &named).await;
    assert_eq!(revoked.problem().code, 208);
    until_refused(&server, WELL_KNOWN_PATH, &named).await;
    server.stop().await;

    let slow = [
        ("# service_rate = 1000", "service_rate = 1"),
        ("# service_burst = 2000", "service_burst = 1"),
    ];
    let server = license_server(&mut world, &slow).await;
    let token = world.server.create_service_token("kiosk").await.unwrap();
    let token = format!("Bearer {}", token.expose());
    let problem = until_refused(&server, WELL_KNOWN_PATH, &[("authorization", &token)]).await;
    assert_eq!(problem.detail, "the service that carries this asks too often");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_tokens_are_not_guessed_at_any_rate() {
    let mut world = World::new().await;
    // Here addresses are those of the peers: nobody forwards to the administration.
    let server = serve_with_admin(&mut world, &ONE_AT_A_TIME).await;
    let full = format!("Bearer {}", world.admin_token);
    let reader = world
        .server
        .create_admin_token("reader", Scope::Read)
        .await
        .unwrap();
    let reader = format!("Bearer {}", reader.expose());
    for known in [&full, &reader] {
        assert_eq!(
            get(&server, "/devices", &[("authorization", known)]).await.status,
            200
        );
    }
    let mut refused = None;
    for number in 0..500 {
        let guess = format!("Bearer kw_{number}");
        let answer = get(&server, "/devices", &[("authorization", &guess)]).await;
        assert!([401, 429].contains(&answer.status));
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused.header("retry-after"), "1");
    let problem: serde_json::Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(
        (&problem["code"], &problem["title"]),
        (&503.into(), &"rate-limited".into())
    );
    // Who is known goes on.
    for _ in 0..10 {
        assert_eq!(
            get(&server, "/devices", &[("authorization", &full)]).await.status,
            200
        );
    }
    world.server.revoke_admin_token("reader").await.unwrap();
    assert_eq!(
        get(&server, "/devices", &[("authorization", &reader)])
            .await
            .status,
        401
    );
    server.stop().await;
}

/// A license server whose URL is that of its administration.
async fn serve_with_admin(world: &mut World, settings: &[(&str, &str)]) -> Serving {
    crate::surroundings::configure(world, settings).await;
    let (public, admin) = (listener().await, listener().await);
    let (url, server) = (
        format!("http://{}", admin.local_addr().unwrap()),
        world.server.clone(),
    );
    Serving::start(url, |until| async move {
        server.serve(public, admin, until).await.unwrap()
    })
}

const SLOW_DEVICES: [(&str, &str); 2] = [
    ("# device_rate = 10", "device_rate = 1"),
    ("# device_burst = 100", "device_burst = 3"),
];

#[tokio::test]
async fn a_device_that_asks_too_often_costs_no_other() {
    let mut world = World::new().await;
    crate::surroundings::configure(&mut world, &SLOW_DEVICES).await;
    let mut device = world.device(1).await;
    let recipient = world.recipient().await;
    let mut answered = 0;
    let problem = loop {
        let body = device.request(&recipient, &[KID]);
        match device.ask(&world, &body).await {
            Ok(_) => answered += 1,
            Err(problem) => break problem,
        }
        assert!(answered < 500);
    };
    assert!(answered >= 3);
    assert_eq!((problem.code, problem.status), (503, 429));
    assert_eq!(problem.detail, "the device asks too often");
    // Nothing became of the one that was refused.
    assert_eq!(world.count("SELECT count(*) FROM answers").await, answered);
    let mut other = world.device(2).await;
    let body = other.request(&recipient, &[KID]);
    assert!(other.ask(&world, &body).await.is_ok());
    world.server.close().await;
}

#[tokio::test]
async fn repeating_what_was_recorded_is_bounded_and_costs_the_device_nothing() {
    let mut world = World::new().await;
    crate::surroundings::configure(&mut world, &SLOW_DEVICES).await;
    let mut device = world.device(1).await;
    let recipient = world.recipient().await;
    let body = device.request(&recipient, &[KID]);
    let sealed = device.seal(&recipient, Suite::P256, &body);
    let first = world.server.issue(&sealed).await.unwrap();
    let mut repeated = 0;
    let problem = loop {
        match world.server.issue(&sealed).await {
            Ok(again) => assert_eq!(again, first),
            Err(problem) => break problem,
        }
        repeated += 1;
        assert!(repeated < 500);
    };
    assert!(repeated >= 3);
    assert_eq!(problem.code, 503);
    let body = device.request(&recipient, &[KID]);
    assert!(
        device.ask(&world, &body).await.is_ok(),
        "the device itself may go on"
    );
    world.server.close().await;
}

#[tokio::test]
async fn a_packager_has_a_rate_as_devices_have() {
    let mut world = World::new().await;
    crate::surroundings::configure(&mut world, &SLOW_DEVICES).await;
    let recipient = world.recipient().await;
    let mut packager = world.packager(3, &Suite::ALL).await;
    let mut answered: u8 = 0;
    let problem = loop {
        let body = PackagingRequest {
            version: 1,
            recipient: recipient.digest,
            nonce: Nonce::new([answered; 16]),
            response_key: Secret::new([8; 32]),
            content_id: "film".into(),
            tracks: vec![WantedTrack {
                label: "video".into(),
                key_type: KeyType::CencCtr,
            }],
            content_header: false,
            crypto_periods: None,
            first_period: None,
            leaves: None,
            client: client_info(),
        };
        let (body, chain) = (body.encode(), &packager.chain);
        let message = signed::sign::<PackagingRequest>(&body, &[], chain, &packager.signing).unwrap();
        let sealed = seal::<PackagingRequest>(&recipient, Suite::P256, &message, &mut packager.rng);
        if let Err(problem) = world.server.package(&sealed).await {
            break problem;
        }
        answered += 1;
    };
    assert!(answered >= 3);
    assert_eq!(
        (problem.code, &problem.detail[..]),
        (503, "the packager asks too often")
    );
    world.server.close().await;
}
