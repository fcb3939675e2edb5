//! The administration interface, from the first token to a license.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn administration_needs_its_token() {
    let served = serve(&[]).await;
    for (headers, code) in [
        (vec![], 207),
        (vec![("authorization", "Basic abc".to_owned())], 207),
    ] {
        let answer = send("GET", format!("{}/devices", served.admin), headers, vec![]).await;
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            (answer.status, &answer.content_type[..]),
            (401, "application/problem+json")
        );
        assert_eq!(json["code"], code);
    }
    // A stranger does not learn which paths there are.
    for path in ["/devices", "/nowhere"] {
        assert_eq!(served.admin("GET", path, "guess", "").await.0, 401, "{path}");
    }
    assert_eq!(served.full("GET", "/nowhere", "").await.0, 404);
    assert_eq!(served.full("PUT", "/devices", "").await.0, 404);
    let reader = served
        .world
        .server
        .create_admin_token("reader", keyward_server::admin::Scope::Read)
        .await
        .unwrap();
    assert_eq!(served.admin("GET", "/devices", reader.expose(), "").await.0, 200);
    let grant = r#"{"account":"eve"}"#;
    assert_eq!(
        served
            .admin("POST", "/entitlements", reader.expose(), grant)
            .await
            .0,
        401
    );
    // The public listener has none of it.
    assert_eq!(served.get("/entitlements").await.status, 404);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn administration_from_token_to_license() {
    let served = serve(&[]).await;
    let kid = "22222222-2222-2222-2222-222222222222";
    let policy = r#"{"name":"rental","terms":{"duration_seconds":172800,"persistent_allowed":true,"minimum_security_level":2000}}"#;
    assert_eq!(
        served.full("POST", "/policies", policy).await,
        (201, serde_json::json!({"name": "rental", "version": 1}))
    );
    let import = format!(
        r#"{{"kid":"{kid}","key_type":"file","key":"{}"}}"#,
        "5a".repeat(16)
    );
    assert_eq!(served.full("POST", "/keys/import", &import).await.0, 204);
    let register =
        r#"{"kid":"33333333333333333333333333333333","key_type":"cenc-ctr","minimum_security_level":3000}"#;
    assert_eq!(served.full("POST", "/keys", register).await.0, 204);
    let (status, granted) = served
        .full(
            "POST",
            "/entitlements",
            &format!(r#"{{"account":"carol","kid":"{kid}","policy":"rental"}}"#),
        )
        .await;
    assert_eq!(status, 201);
    let (status, made) = served
        .full("POST", "/enrolment-tokens", r#"{"account":"carol"}"#)
        .await;
    assert_eq!(
        (status, &made["expires_in_seconds"]),
        (201, &serde_json::json!(86400))
    );

    let world = &served.world;
    let mut device = Device::new(3, &Suite::ALL);
    device
        .enrol(world, made["token"].as_str().unwrap())
        .await
        .unwrap();
    let recipient = world.recipient().await;
    let body = device.request(&recipient, &[kid.parse().unwrap()]);
    let response = device.ask(world, &body).await.unwrap();
    assert_eq!(device.open(world, &response.results[0]).1, [0x5a; 16]);

    let (_, keys) = served.full("GET", "/keys", "").await;
    assert_eq!(
        keys[1],
        serde_json::json!({"kid": "2".repeat(32), "key_type": "file", "seed": null, "minimum_security_level": null})
    );
    assert_eq!(
        keys[2],
        serde_json::json!({"kid": "3".repeat(32), "key_type": "cenc-ctr", "seed": 1, "minimum_security_level": 3000})
    );
    let (_, policies) = served.full("GET", "/policies", "").await;
    assert_eq!(policies[1]["name"], "rental");
    let (_, listed) = served.full("GET", "/accounts/carol/entitlements", "").await;
    assert_eq!(
        (&listed[0]["id"], &listed[0]["policy"]),
        (&granted["id"], &serde_json::json!("rental"))
    );
    let path = format!("/entitlements/{}", granted["id"]);
    assert_eq!(served.full("DELETE", &path, "").await.0, 204);
    assert_eq!(served.full("DELETE", &path, "").await.0, 404);
    let (_, devices) = served.full("GET", "/devices", "").await;
    assert_eq!(
        (&devices[0]["account"], &devices[0]["revoked"]),
        (&serde_json::json!("carol"), &serde_json::Value::Null)
    );
    for act in ["accept-restored-store", "revoke"] {
        assert_eq!(
            served
                .full("POST", &format!("/devices/{}/{act}", device.id()), "")
                .await
                .0,
            204,
            "{act}"
        );
    }
    let body = device.request(&recipient, &[KID]);
    let response = device.ask(world, &body).await.unwrap();
    assert_eq!(crate::common::denial(&response.results[0]), 204);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_by_preset_with_changes_and_by_version() {
    let served = serve(&[]).await;
    let (status, presets) = served.full("GET", "/policy-presets", "").await;
    assert_eq!((status, &presets[0]["name"]), (200, &serde_json::json!("rental")));
    let day = r#"{"preset":"rental","terms":{"expiration_after_first_play_seconds":86400,"removal_after_end_seconds":null}}"#;
    let named = r#"{"name":"film-night","preset":"rental-streaming"}"#;
    for (body, name, version) in [
        (r#"{"preset":"rental"}"#, "rental", 1),
        (day, "rental", 2),
        (named, "film-night", 1),
    ] {
        let written = served.full("POST", "/policies", body).await;
        let expected = serde_json::json!({"name": name, "version": version});
        assert_eq!(written, (201, expected));
    }
    let (_, versions) = served.full("GET", "/policies/rental", "").await;
    assert_eq!(versions[1]["terms"], presets[0]["terms"]);
    let changed = serde_json::json!({
        "begin_offset_seconds": -300,
        "duration_seconds": 2_592_000,
        "expiration_after_first_play_seconds": 86_400,
        "persistent_allowed": true,
        "minimum_security_level": 2000,
    });
    assert_eq!(
        versions[0],
        serde_json::json!({"name": "rental", "version": 2, "terms": changed})
    );
    // What is shown can be written again.
    let again = serde_json::json!({"name": "again", "terms": versions[0]["terms"]});
    assert_eq!(served.full("POST", "/policies", &again.to_string()).await.0, 201);
    let (status, unknown) = served.full("GET", "/policies/lease", "").await;
    assert_eq!(
        (status, &unknown["detail"]),
        (404, &serde_json::json!("there is no policy `lease`"))
    );
    for (body, expected) in [
        (
            r#"{"preset":"lease"}"#,
            "the policy was refused: there is no preset `lease`",
        ),
        (
            r#"{"preset":"rental","terms":{"duration":1}}"#,
            "the policy was refused: its terms cannot be read: unknown field `duration`",
        ),
        (
            r#"{"name":"p","terms":{"persistent_allowed":true}}"#,
            "the policy was refused: its terms cannot be read: missing field `minimum_security_level`",
        ),
        (
            r#"{"terms":{"persistent_allowed":true,"minimum_security_level":2000}}"#,
            "the policy was refused: its name must be",
        ),
    ] {
        let (status, problem) = served.full("POST", "/policies", body).await;
        assert_eq!(status, 400, "{body}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with(expected), "{detail}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn administrative_mistakes_are_explained() {
    let served = serve(&[]).await;
    let terms = |change: &str| {
        format!(
            r#"{{"name":"p","terms":{{"persistent_allowed":false,"minimum_security_level":2000{change}}}}}"#
        )
    };
    let later = terms(r#","begin_offset_seconds":60"#);
    let kid = KID.to_string();
    let conflict = format!(r#"{{"kid":"{kid}","key_type":"cenc-ctr"}}"#);
    let cases = [
        (
            "/policies",
            later.as_str(),
            "the policy was refused: a license that begins after its issue must be allowed to be stored",
        ),
        (
            "/policies",
            r#"{"name":"p","surprise":1}"#,
            "the body is not what this path takes, at line 1, column 22",
        ),
        (
            "/keys",
            &conflict,
            "key id 11111111111111111111111111111111 is registered with another key type or source",
        ),
        (
            "/keys",
            r#"{"kid":"11","key_type":"file"}"#,
            "`kid` cannot be read",
        ),
        (
            "/keys",
            r#"{"kid":"11","key_type":"exchange"}"#,
            "the key type must be `cenc-ctr`, `cenc-cbc` or `file`",
        ),
        (
            "/keys/import",
            r#"{"kid":"11","key_type":"file","key":"5a"}"#,
            "the key must be 32 hexadecimal digits",
        ),
        (
            "/entitlements",
            r#"{"account":"a","policy":"none"}"#,
            "there is no policy `none`",
        ),
        ("/devices/12/revoke", "", "a device id is 64 hexadecimal digits"),
    ];
    for (path, body, detail) in cases {
        let (status, json) = served.full("POST", path, body).await;
        assert_eq!(
            (status, &json["detail"]),
            (400, &serde_json::json!(detail)),
            "{path} {body}"
        );
        assert_eq!(json["type"], "urn:oid:2.25.1843534794.3.101");
        assert!(!json["hint"].as_str().unwrap().is_empty());
    }
    let unknown = format!("/devices/{}/revoke", "0".repeat(64));
    assert_eq!(served.full("POST", &unknown, "").await.0, 404);
    let listed = served
        .full("GET", &format!("/accounts/{ACCOUNT}/entitlements"), "")
        .await;
    assert_eq!(listed.1.as_array().unwrap().len(), 1, "nothing of this was done");
    served.stop().await;
}
