//! Rolls over the administration interface, of a server that serves.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use keyward_server::{Error, Server, admin::Scope, rolls::AuthorityRequest, sealing::KekSource};
use serde_json::json;

use super::*;
use crate::served_world::Served;

#[tokio::test]
async fn every_roll_has_its_path() {
    let served = Served::new().await;
    let world = &served.world;
    let mut device = world.device(1).await;
    for (number, what) in [
        (1, "license-server"),
        (1, "request-encryption"),
        (2, "license-server"),
    ] {
        let (status, rolled) = served.post(&format!("/rolls/{what}"), json!({})).await;
        assert_eq!(
            (status, &rolled["what"], &rolled["number"]),
            (200, &what.into(), &number.into())
        );
        ask(world, &mut device).await;
    }
    let (status, request) = served.post("/rolls/device-authority", json!({})).await;
    assert_eq!(status, 200);
    let request: AuthorityRequest = serde_json::from_value(request).unwrap();
    let (root, now) = (world.profile().root.0, world.clock.now());
    let certificate = sign_authority(&request, &root, &root_key(world), now).unwrap();
    let body = json!({ "certificate": URL_SAFE_NO_PAD.encode(certificate) });
    let put = |body| served.ask("PUT", "/rolls/device-authority", &world.admin_token, Some(body));
    let (status, rolled) = put(body).await;
    assert_eq!((status, &rolled["number"]), (200, &1.into()));
    let (status, refused) = put(json!({ "certificate": "AAAA" })).await;
    assert_eq!((status, &refused["code"]), (400, &101.into()));

    let (status, rolled) = served.post("/rolls/seed", json!({})).await;
    assert_eq!((status, rolled), (200, json!({ "number": 2, "used": true })));
    let (status, rolled) = served.post("/rolls/kek", json!({})).await;
    assert_eq!((status, &rolled["in_file"]), (200, &true.into()));
    ask(world, &mut device).await;
    served.close().await;
}

#[tokio::test]
async fn what_is_rolling_is_listed() {
    let served = Served::new().await;
    let world = &served.world;
    let now = world.clock.now().0;
    let of = |rolls: &serde_json::Value, what: &str| {
        let mut rolls = rolls.as_array().unwrap().iter();
        rolls.find(|keys| keys["what"] == what).cloned().unwrap()
    };
    let (status, rolls) = served.get("/rolls").await;
    assert_eq!(
        (status, rolls.as_array().unwrap().len()),
        (200, Purpose::ALL.len())
    );
    assert_eq!(
        of(&rolls, "request-encryption"),
        json!({
            "what": "request-encryption", "number": 0, "ends": now + 365 * DAY, "before": [],
            "awaits_certificate": false
        })
    );
    world.clock.advance(DAY);
    for what in ["request-encryption", "license-server", "device-authority"] {
        assert_eq!(served.post(&format!("/rolls/{what}"), json!({})).await.0, 200);
    }
    let (_, rolls) = served.get("/rolls").await;
    let before = |until| json!([{ "number": 0, "accepted_until": until }]);
    let encryption = of(&rolls, "request-encryption");
    assert_eq!(encryption["number"], 1);
    assert_eq!(encryption["ends"], now + 366 * DAY);
    assert_eq!(encryption["before"], before(now + 31 * DAY));
    assert_eq!(of(&rolls, "license-server")["before"], before(now + 365 * DAY));
    let authority = of(&rolls, "device-authority");
    assert_eq!(
        (&authority["number"], &authority["awaits_certificate"]),
        (&0.into(), &true.into())
    );
    let reader = world
        .server
        .create_admin_token("reader", Scope::Read)
        .await
        .unwrap();
    assert_eq!(served.ask("GET", "/rolls", reader.expose(), None).await.0, 200);
    assert_eq!(served.ask("GET", "/rolls", "nobody", None).await.0, 401);
    served.close().await;
}

#[tokio::test]
async fn who_may_not_roll_does_not_and_what_is_no_roll_is_none() {
    let served = Served::new().await;
    let world = &served.world;
    let reader = world
        .server
        .create_admin_token("reader", Scope::Read)
        .await
        .unwrap();
    let (status, _) = served
        .ask("POST", "/rolls/seed", reader.expose(), Some(json!({})))
        .await;
    assert_eq!(status, 401);
    let (status, refused) = served.post("/rolls/root", json!({})).await;
    assert_eq!((status, &refused["code"]), (404, &106.into()), "{refused}");
    for (path, body) in [
        ("/rolls/seed", json!({ "new_kek": "00".repeat(32) })),
        ("/rolls/kek", json!({ "new_kek": "00".repeat(32) })),
        ("/rolls/kek", json!({ "new_kek": "00" })),
        ("/rolls/kek", json!({ "other": 1 })),
    ] {
        let (status, refused) = served.post(path, body).await;
        assert_eq!(status, 400, "{path}: {refused}");
    }
    assert_eq!(
        world
            .count("SELECT count(*) FROM events WHERE kind = 'key-rolled'")
            .await,
        0
    );
    // Beside a server that serves, nobody else rolls.
    let other = Server::open(&world.dir(), KekSource::File, world.clock.clone())
        .await
        .unwrap();
    let refused = other.right_to_serve().await.map(drop).unwrap_err();
    assert!(matches!(refused, Error::AlreadyServed(_)));
    other.close().await;
    served.close().await;
}
