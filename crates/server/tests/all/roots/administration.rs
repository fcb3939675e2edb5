//! Roots and channels over HTTP; what doctor and a backup make of them.

use std::sync::Arc;

use keyward_server::{
    Server, backup,
    clock::Clock,
    doctor::{Standing, examine},
    roots::{NewRoot, Periods},
    sealing::KekSource,
};
use serde_json::{Value, json};

use super::*;
use crate::served_world::Served;

const NOTHING: (u16, Value) = (204, Value::Null);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roots_are_administered_over_http() {
    let served = Served::new().await;
    let (status, made) = served
        .post(
            "/roots",
            json!({"name": "sport", "minimum_security_level": 2000, "accompany": true}),
        )
        .await;
    assert_eq!(status, 201, "{made}");
    let kid = made["kid"].as_str().unwrap().to_owned();
    let named = json!({"kid": ROOT.to_string(), "name": "news"});
    assert_eq!(
        served.post("/roots", named).await,
        (201, json!({"kid": ROOT.to_string()}))
    );
    let path = format!("/roots/{kid}");

    for (of, body) in [
        ("contents", json!({"content_id": "match/1"})),
        ("contents", json!({"content_id": "news", "from_period": 5})),
        (
            "contents",
            json!({"content_id": "news", "from_period": 5, "to_period": 9}),
        ),
        ("keys", json!({"kid": KID.to_string()})),
    ] {
        assert_eq!(served.post(&format!("{path}/{of}"), body).await, NOTHING, "{of}");
    }
    for _ in 0..2 {
        let blackout = json!({"content_id": "news", "from_period": 6, "to_period": 7});
        let made = served.post(&format!("{path}/blackouts"), blackout).await;
        assert_eq!(made, (201, json!({"id": 1})), "the same again is the same");
    }
    let (status, shown) = served.get(&path).await;
    let expected = json!({
        "kid": kid, "name": "sport", "minimum_security_level": 2000, "accompany": true, "created": 1_900_000_000,
        "contents": [{"content_id": "match/1", "from_period": null, "to_period": null},
                     {"content_id": "news", "from_period": 5, "to_period": 9}],
        "keys": [KID.to_string()],
        "blackouts": [{"id": 1, "content_id": "news", "from_period": 6, "to_period": 7}],
    });
    assert_eq!((status, shown), (200, expected));

    let (status, listed) = served.get("/roots").await;
    assert_eq!((status, listed.as_array().unwrap().len()), (200, 2));
    assert_eq!(
        listed[0],
        json!({"kid": ROOT.to_string(), "name": "news", "minimum_security_level": null, "accompany": false,
               "created": 1_900_000_000}),
        "of two made in the same second, the lower key id first"
    );
    for of in ["contents/match%2F1", &format!("keys/{KID}"), "blackouts/1"] {
        assert_eq!(served.delete(&format!("{path}/{of}")).await, NOTHING, "{of}");
        let (status, problem) = served.delete(&format!("{path}/{of}")).await;
        assert_eq!((status, &problem["title"]), (404, &json!("not-found")), "{of}");
    }
    let (_, shown) = served.get(&path).await;
    assert_eq!((&shown["keys"], &shown["blackouts"]), (&json!([]), &json!([])));
    assert_eq!(shown["contents"].as_array().unwrap().len(), 1);
    served.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_with_roots_are_explained() {
    let served = Served::new().await;
    let named = json!({"kid": ROOT.to_string(), "name": "news"});
    served.post("/roots", named.clone()).await;
    let path = format!("/roots/{ROOT}");
    let high = json!({"kid": OTHER_ROOT.to_string(), "key_type": "file", "minimum_security_level": 3000});
    assert_eq!(served.post("/keys", high).await, NOTHING);
    let news = |from: Value, to: Value| json!({"content_id": "news", "from_period": from, "to_period": to});
    for (path, body, status, code) in [
        ("/roots".to_owned(), named, 400, 101),
        ("/roots".to_owned(), json!({"name": "news"}), 400, 101),
        ("/roots".to_owned(), json!({"name": ""}), 400, 101),
        ("/roots".to_owned(), json!({"name": "x".repeat(256)}), 400, 101),
        (
            "/roots".to_owned(),
            json!({"name": "x", "kid": KID.to_string()}),
            400,
            101,
        ),
        (
            "/roots".to_owned(),
            json!({"name": "x", "minimum_security_level": 1}),
            400,
            101,
        ),
        ("/roots".to_owned(), json!({"name": "x", "key": "00"}), 400, 101),
        (
            "/roots/xyz/keys".to_owned(),
            json!({"kid": KID.to_string()}),
            400,
            101,
        ),
        (
            format!("/roots/{OTHER_ROOT}/contents"),
            json!({"content_id": "news"}),
            404,
            302,
        ),
        (format!("{path}/contents"), json!({"content_id": ""}), 400, 101),
        (format!("{path}/contents"), news(json!(5), json!(5)), 400, 101),
        (format!("{path}/contents"), news(Value::Null, json!(0)), 400, 101),
        (
            format!("{path}/contents"),
            news(json!(1_u64 << 48), Value::Null),
            400,
            101,
        ),
        (format!("{path}/keys"), json!({"kid": ROOT.to_string()}), 404, 302),
        (
            format!("{path}/keys"),
            json!({"kid": OTHER_ROOT.to_string()}),
            400,
            101,
        ),
        (
            format!("{path}/blackouts"),
            json!({"content_id": "news"}),
            400,
            101,
        ),
        (format!("{path}/blackouts"), news(json!(7), json!(6)), 400, 101),
    ] {
        let (told, problem) = served.post(&path, body.clone()).await;
        assert_eq!(
            (told, &problem["code"]),
            (status, &json!(code)),
            "{path} {body} {problem}"
        );
        assert!(!problem["hint"].as_str().unwrap().is_empty());
    }
    let (status, _) = served.delete(&format!("{path}/blackouts/one")).await;
    assert_eq!(status, 400);
    assert_eq!(served.get(&format!("/roots/{OTHER_ROOT}")).await.0, 404);
    // Who may read may read.
    let reader = served
        .world
        .server
        .create_admin_token("reader", keyward_server::admin::Scope::Read)
        .await
        .unwrap();
    let ask = |method, path: &'static str, body| served.ask(method, path, reader.expose(), body);
    assert_eq!(ask("GET", "/roots", None).await.0, 200);
    assert_eq!(ask("POST", "/roots", Some(json!({"name": "x"}))).await.0, 401);
    assert_eq!(ask("POST", "/channels", Some(json!({}))).await.0, 401);
    served.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_are_administered_over_http() {
    let served = Served::new().await;
    for body in [
        json!({"content_id": "news", "period_seconds": 60}),
        json!({"content_id": "film", "period_seconds": 3600, "anchor": 1_900_000_000, "renewal_spread_seconds": 2700}),
        json!({"content_id": "news", "period_seconds": 120, "anchor": 5}),
    ] {
        assert_eq!(served.post("/channels", body).await, NOTHING);
    }
    let (status, listed) = served.get("/channels").await;
    let expected = json!([
        {"content_id": "film", "period_seconds": 3600, "anchor": 1_900_000_000, "renewal_spread_seconds": 2700},
        {"content_id": "news", "period_seconds": 120, "anchor": 5, "renewal_spread_seconds": 60},
    ]);
    assert_eq!((status, listed), (200, expected));
    for body in [
        json!({"content_id": "", "period_seconds": 60}),
        json!({"content_id": "x", "period_seconds": 0}),
        json!({"content_id": "x", "period_seconds": 31_536_001}),
        json!({"content_id": "x", "period_seconds": 60, "renewal_spread_seconds": 46}),
        json!({"content_id": "x", "period_seconds": 60, "anchor": u64::MAX}),
        json!({"content_id": "x"}),
    ] {
        assert_eq!(served.post("/channels", body.clone()).await.0, 400, "{body}");
    }
    served.close().await;
}

#[tokio::test]
async fn doctor_says_what_is_wrong_with_roots() {
    let world = World::new().await;
    let findings = || async {
        let found = examine(&world.dir(), KekSource::File, world.clock.now()).await;
        let about = found.into_iter().filter(|finding| finding.about == "roots");
        about
            .map(|finding| (finding.standing, finding.what))
            .collect::<Vec<_>>()
    };
    assert_eq!(findings().await, []);
    root(&world, ROOT, "sport").await;
    let good = (Standing::Good, "the keys of all roots open (1)".to_owned());
    let empty = format!("nothing is under root `sport` ({ROOT}): whoever has it can play nothing");
    assert_eq!(findings().await, [(Standing::Warning, empty), good.clone()]);
    world
        .server
        .put_content_under_root(
            ROOT,
            "news",
            Periods {
                from: Some(1),
                to: Some(2),
            },
        )
        .await
        .unwrap();
    world.server.put_key_under_root(ROOT, KID).await.unwrap();
    let kids = periods(&world, "news", 0, 2).await;
    assert_eq!(findings().await, core::slice::from_ref(&good));
    // Of these, the first is out of the window.
    for kid in kids {
        let (server, key_type) = (&world.server, KeyType::CencCtr);
        server
            .register_key_of_level(kid, key_type, 1, Some(2000))
            .await
            .unwrap();
    }
    let above = |keys: &str| {
        let what = format!(
            "{keys} under root `sport` ({ROOT}) and for a higher security level than it: they have no leaf"
        );
        (Standing::Warning, what)
    };
    assert_eq!(findings().await, [above("1 key is"), good.clone()]);
    world
        .server
        .register_key_of_level(KID, KeyType::File, 1, Some(2000))
        .await
        .unwrap();
    assert_eq!(findings().await, [above("2 keys are"), good]);
    world
        .sql("DROP TRIGGER roots_keep_their_key; UPDATE roots SET sealed = zeroblob(60)")
        .await;
    let found = findings().await;
    assert_eq!(found[1].1, format!("keys of roots do not open: {ROOT}"));
    world
        .sql(
            "DROP TRIGGER keys_are_not_of_roots;
             INSERT INTO keys (kid, key_type, seed, fingerprint, created_at)
             SELECT kid, 1, 1, randomblob(32), 0 FROM roots",
        )
        .await;
    let found = examine(&world.dir(), KekSource::File, world.clock.now()).await;
    let fault = found.iter().find(|finding| finding.about == "database").unwrap();
    assert!(
        fault
            .what
            .contains("1 keys of roots serve content or key exchange as well"),
        "{fault:?}"
    );
}

#[tokio::test]
async fn an_operator_that_was_restored_has_its_roots() {
    let mut world = granted().await;
    let server = &world.server;
    server
        .put_content_under_root(ROOT, "news", Periods::ALL)
        .await
        .unwrap();
    server.black_out(ROOT, "news", 1, None).await.unwrap();
    let kids = periods(&world, "news", 0, 2).await;
    let mut device = world.device(1).await;
    let before = ask(&world, &mut device, &[KID]).await;
    let (_, key) = open_root(&world, &device, result(&before, ROOT));
    let (copy, restored) = (world.home.path().join("copy"), world.home.path().join("restored"));
    backup::back_up(&world.dir(), &copy, true, world.clock.now())
        .await
        .unwrap();
    let later = NewRoot::new("after the backup");
    world.server.create_root(later).await.unwrap();
    backup::restore(&copy, &restored, None, world.clock.now())
        .await
        .unwrap();
    world.server.close().await;
    let clock = Arc::clone(&world.clock);
    world.server = Server::open(&restored, KekSource::File, clock).await.unwrap();
    assert_eq!(world.server.roots().await.unwrap().len(), 1);
    let response = ask(&world, &mut device, &[KID, kids[0], kids[1]]).await;
    assert_eq!(response.results.len(), 4);
    open_leaf(&license(&world, result(&response, kids[0])), &key);
    assert!(result(&response, kids[1]).denial.is_some(), "blacked out");
}
