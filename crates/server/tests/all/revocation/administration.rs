//! Revocations over HTTP, and what doctor makes of lists.

use keyward_license::{codec::Wire, revocation::RevocationListsFile};
use keyward_server::doctor::{Standing, examine};
use serde_json::{Value, json};

use super::*;
use crate::{common::NOW, served_world::Served};

const NOTHING: (u16, Value) = (204, Value::Null);

impl Served {
    /// The status of an answer, and its bytes.
    async fn bytes(
        &self,
        method: &'static str,
        path: &str,
        media_type: &'static str,
        body: Vec<u8>,
    ) -> (u16, Vec<u8>) {
        let url = format!("http://{}{path}", self.admin);
        let token = format!("Bearer {}", self.world.admin_token);
        let exchange = move || {
            let config = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .allow_non_standard_methods(true);
            let request = ureq::http::Request::builder()
                .method(method)
                .uri(url)
                .header("authorization", token)
                .header("content-type", media_type);
            let agent = ureq::Agent::new_with_config(config.build());
            let mut answer = agent.run(request.body(&body[..]).unwrap()).unwrap();
            (answer.status().as_u16(), answer.body_mut().read_to_vec().unwrap())
        };
        tokio::task::spawn_blocking(exchange).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_revoked_over_http() {
    let served = Served::new().await;
    let device = served.world.device(1).await;
    let (_, devices) = served.get("/devices").await;
    let expected = json!([{
        "serial": hex::encode(device.certificate().serial()),
        "not_after": device.certificate().not_after(),
        "is_revoked": false,
    }]);
    assert_eq!(devices[0]["certificates"], expected);
    let serial = devices[0]["certificates"][0]["serial"]
        .as_str()
        .unwrap()
        .to_owned();
    let (status, own) = served.get("/certificates").await;
    assert_eq!(status, 200);
    let purposes: Vec<_> = own
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["purpose"].as_str().unwrap())
        .collect();
    for purpose in ["license-server", "receipt", "revocation-list", "device-authority"] {
        assert!(purposes.contains(&purpose), "{purposes:?}");
    }
    let revoke = json!({"serial": serial, "invalid_since": NOW.0 - 9, "reason": "key-compromise"});
    assert_eq!(served.post("/revocations", revoke).await, NOTHING);
    let (_, listed) = served.get("/revocations").await;
    let expected = json!([{
        "serial": serial,
        "authority": "device-authority",
        "device": device.id().to_string(),
        "purpose": null,
        "not_after": device.certificate().not_after(),
        "revoked": NOW.0,
        "invalid_since": NOW.0 - 9,
        "reason": "key-compromise",
    }]);
    assert_eq!(listed, expected);
    let (_, devices) = served.get("/devices").await;
    assert_eq!(devices[0]["certificates"][0]["is_revoked"], true);
    let in_use = own
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["purpose"] == "receipt")
        .unwrap();
    for (body, status) in [
        (json!({"serial": "00"}), 404),
        (json!({"serial": "zz"}), 400),
        (json!({"serial": serial, "reason": "spite"}), 400),
        (json!({"serial": in_use["serial"]}), 400),
    ] {
        assert_eq!(
            served.post("/revocations", body.clone()).await.0,
            status,
            "{body}"
        );
    }
    assert_eq!(served.delete(&format!("/revocations/{serial}")).await, NOTHING);
    assert_eq!(served.delete(&format!("/revocations/{serial}")).await.0, 404);
    assert_eq!(served.get("/revocations").await, (200, json!([])));
    let key = async || served.get("/certificates").await.1[0]["key"].clone();
    assert_eq!(key().await, 0);
    let purpose = keyward_server::rolls::Purpose::Receipt;
    served.world.server.roll_key(purpose).await.unwrap();
    assert_eq!(key().await, 1, "the newest certificate is for the newest key");
    served.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_own_list_is_kept_over_http() {
    let served = Served::new().await;
    let device = device_of(&served.world, 2, "Acme", "One").await;
    let (status, made) = served
        .post(
            "/revocations/models",
            json!({"maker": "Acme", "model": "One", "reason": "broken"}),
        )
        .await;
    assert_eq!(status, 201);
    assert_eq!(made["devices"], 1);
    let expected = json!([{
        "id": made["id"], "maker": "Acme", "model": "One", "robustness_below": null, "since": NOW.0,
        "reason": "broken", "created": NOW.0,
    }]);
    assert_eq!(served.get("/revocations/models").await, (200, expected));
    let digest = hex::encode(device.certificate().digest());
    let by_device = json!({"device": device.id().to_string()});
    assert_eq!(
        served.post("/revocations/allowed", by_device).await,
        (201, json!({"certificate": digest}))
    );
    let by_digest = json!({"certificate": digest});
    assert_eq!(served.post("/revocations/allowed", by_digest).await.0, 201);
    assert_eq!(served.post("/revocations/allowed", json!({})).await.0, 400);
    assert_eq!(
        served.get("/revocations/allowed").await,
        (
            200,
            json!([{"certificate": digest, "device": device.id().to_string()}])
        )
    );
    assert_eq!(
        served.delete(&format!("/revocations/allowed/{digest}")).await,
        NOTHING
    );
    assert_eq!(
        served.delete(&format!("/revocations/allowed/{digest}")).await.0,
        404
    );
    assert_eq!(
        served
            .delete(&format!("/revocations/models/{}", made["id"]))
            .await,
        NOTHING
    );
    assert_eq!(served.delete("/revocations/models/99").await.0, 404);
    served.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_handed_out_and_the_roots_is_taken() {
    let served = Served::new().await;
    let list = root_list(&served.world, 1, &[]);
    let put = |body: Vec<u8>, media_type| served.bytes("PUT", "/revocation-lists/root", media_type, body);
    assert_eq!(put(list.clone(), "application/json").await.0, 415);
    assert_eq!(put(b"nothing".to_vec(), "application/pkix-crl").await.0, 400);
    assert_eq!(put(list, "application/pkix-crl").await, (204, vec![]));
    let older = root_list(
        &served.world,
        1,
        &[Revoked {
            serial: &[9],
            at: NOW.0,
            invalid_since: None,
            reason: None,
        }],
    );
    assert_eq!(put(older, "application/pkix-crl").await.0, 400);

    let (status, listed) = served.get("/revocation-lists").await;
    assert_eq!(status, 200);
    let names: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|list| list["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "device-authority",
            "packager-authority",
            "server-authority",
            "root"
        ]
    );
    assert_eq!(
        (&listed[3]["number"], &listed[3]["entries"]),
        (&json!("1"), &json!(0))
    );
    let (status, file) = served
        .bytes("GET", "/revocation-lists/bundle", "application/json", vec![])
        .await;
    assert_eq!(status, 200);
    let file = RevocationListsFile::decode(&file).unwrap();
    assert_eq!(file.lists.len(), 3);

    let (_, text) = served.bytes("GET", "/metrics", "application/json", vec![]).await;
    let text = String::from_utf8(text).unwrap();
    for line in [
        format!(
            "keyward_revocation_list_expiry_seconds{{list=\"root\"}} {}",
            90 * DAY
        ),
        format!(
            "keyward_revocation_list_expiry_seconds{{list=\"server-authority\"}} {}",
            7 * DAY
        ),
        "keyward_revocation_list_entries{list=\"device-authority\"} 0".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    served.close().await;
}

#[tokio::test]
async fn doctor_tells_of_lists_that_are_old() {
    let world = World::new().await;
    list(&world, "device-authority").await;
    world
        .server
        .import_revocation_list(&root_list(&world, 1, &[]))
        .await
        .unwrap();
    let found = async |seconds: u64| {
        let at = keyward_license::time::Timestamp(NOW.0 + seconds);
        let findings = examine(&world.dir(), KekSource::File, at).await;
        let of_lists = findings
            .into_iter()
            .filter(|finding| finding.about == "revocation");
        of_lists.map(|finding| finding.standing).collect::<Vec<_>>()
    };
    let (good, warning) = (Standing::Good, Standing::Warning);
    assert_eq!(found(0).await, [good; 4]);
    assert_eq!(found(4 * DAY).await, [warning, warning, warning, good]);
    assert_eq!(found(46 * DAY).await, [warning; 4]);
    assert_eq!(found(91 * DAY).await, [warning; 4]);
}

/// As of a row that no certificate has: it may keep nobody from being told of what is wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_cannot_be_made_are_told_by_readiness_and_doctor() {
    let served = Served::new().await;
    let ready = async || served.public("/health/ready").await;
    assert_eq!(ready().await, 200);
    let serial = format!("c8{}", "0".repeat(30));
    served
        .world
        .sql(
            "INSERT INTO revoked_certificates (serial, authority, not_after, revoked_at)
                 VALUES (unhex('c8000000000000000000000000000000'), 'device-authority', 1900000000000, 1);
             UPDATE revocation_generations SET generation = generation + 1 WHERE list = 'device-authority'",
        )
        .await;
    assert_eq!(ready().await, 503);
    let findings = async || {
        let found = examine(&served.world.dir(), KekSource::File, served.world.clock.now()).await;
        let mut errors = found
            .into_iter()
            .filter(|finding| finding.standing == Standing::Error && finding.about == "revocation");
        errors.next().map(|finding| (finding.what, finding.hint))
    };
    let (what, hint) = findings().await.unwrap();
    assert!(
        what.contains("cannot be made") && what.contains(&serial),
        "{what}"
    );
    assert!(hint.contains(&format!("restore-certificate {serial}")), "{hint}");

    served
        .world
        .server
        .restore_certificate(&hex::decode(&serial).unwrap())
        .await
        .unwrap();
    assert_eq!((ready().await, findings().await), (200, None));
    served.close().await;
}
