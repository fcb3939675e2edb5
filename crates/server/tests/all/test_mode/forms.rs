//! Where the wishes stand: query, base64, custom data, legacy; and that no other operator looks for any.

use base64::{Engine, engine::general_purpose::STANDARD};
use keyward_license::{codec::Bytes, finding::Standing, license::KeyType};

use super::*;
use crate::common::{ACCOUNT, denial};

#[tokio::test]
async fn without_a_wish_each_key_id_gets_a_license_in_memory() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    let other = Kid::new([0x62; 16]);
    for query in [None, Some("")] {
        let body = request(&world, &mut device, &[FILM, other]).await;
        let response = send(&world, &mut device, &body, query).await.unwrap();
        for kid in [FILM, other] {
            let (license, key) = device.open(&world, result(&response, kid));
            let license = license.body();
            assert_eq!((license.persistent, license.nonce), (false, Some(body.nonce)));
            assert_eq!(license.minimum_security_level, Some(150));
            assert_eq!(license.keys[0].key_type, KeyType::CencCtr);
            assert_eq!((license.begin, license.end), (None, None));
            assert_eq!(key, keys::of_test_seed(kid));
        }
    }
}

#[tokio::test]
async fn all_forms_say_the_same() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    let json = "[{'persist':'true','firstexp':'60'}]";
    let queries = [
        "cfg=(persist:true,firstexp:60)".to_owned(),
        "cfg=%28persist%3Atrue%2Cfirstexp%3A60%29".to_owned(),
        format!("cfg64={}", STANDARD.encode(json)),
        format!("cfg64={}", STANDARD.encode(json).trim_end_matches('=')),
        "PlayRight=1&FirstPlayExpiration=60".to_owned(),
        "playright=1&amp;firstplayexpiration=60".replace("amp;", ""),
    ];
    for query in queries {
        let response = ask(&world, &mut device, &[FILM], &query).await;
        let license = license(&world, result(&response, FILM));
        assert_eq!(
            (
                license.body().persistent,
                license.body().expiration_after_first_play
            ),
            (true, Some(60)),
            "{query}"
        );
    }
    for (data, stored) in [
        (format!("json={json}"), true),
        (json.to_owned(), false),
        ("the application's own".to_owned(), false),
    ] {
        let mut body = request(&world, &mut device, &[FILM]).await;
        body.custom_data = Some(Bytes(data.clone().into_bytes()));
        let response = send(&world, &mut device, &body, None).await.unwrap();
        let license = license(&world, result(&response, FILM));
        assert_eq!(license.body().persistent, stored, "{data}");
    }
}

#[tokio::test]
async fn what_is_not_understood_is_denied_with_the_reason() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    for (query, expected) in [
        ("cfg=(persist:true", "a bracket is not closed"),
        ("cfg=(presist:true)", "there is no test parameter `presist`"),
        ("cfg=(persist:true,persist:true)", "`persist` is given twice"),
        (
            "cfg=(enddate:20300101,expiration:20300101)",
            "`enddate` is given twice",
        ),
        ("cfg=(latency:1),(latency:2)", "`latency` is given twice"),
        ("cfg=(true)", "a value has no name"),
        ("cfg=(persist:true)&sl=150", "stands beside another name"),
        ("cfg64=%25", "not base64"),
        ("cfg64=W10=x", "not base64"),
        ("persist=true", "none of `cfg=`, `cfg64=` and the legacy form"),
        ("PlayRight=2", "`playright` must be `true` or `false`"),
        ("UseSimpleNonPersistentLicense=1", "`simple` is refused"),
    ] {
        let told = denied(&ask(&world, &mut device, &[FILM], query).await);
        assert_eq!(told.code, SERVICE_SPECIFIC, "{query}");
        assert!(told.sentence.contains(expected), "{query}: {}", told.sentence);
    }
    let mut body = request(&world, &mut device, &[FILM]).await;
    body.custom_data = Some(Bytes(b"json=[]".to_vec()));
    let twice = send(&world, &mut device, &body, Some("cfg=(sl:150)"))
        .await
        .unwrap();
    assert!(
        denied(&twice)
            .sentence
            .contains("in the query and in the custom data")
    );
}

#[tokio::test]
async fn an_operator_that_is_none_for_tests_listens_to_no_wish() {
    let world = World::new().await;
    assert!(!world.server.is_test());
    let mut enrolled = world.device(3).await;
    let mut body = enrolled.request(&world.recipient().await, &[crate::common::KID, FILM]);
    body.custom_data = Some(Bytes(b"json=[{'firstexp':'60'}]".to_vec()));
    let response = send(&world, &mut enrolled, &body, Some("cfg=(firstexp:60)"))
        .await
        .unwrap();
    let (license, _) = enrolled.open(&world, &response.results[0]);
    assert_eq!(license.body().expiration_after_first_play, None);
    assert_eq!(denial(&response.results[1]), 302, "no key without an operator's");
    // Nor does it enrol anybody.
    let mut stranger = Device::new(9, &Suite::ALL);
    assert_eq!(stranger.enrol(&world, "test").await.unwrap_err().code, 401);
    assert!(
        world
            .server
            .devices()
            .await
            .unwrap()
            .iter()
            .all(|device| device.account == ACCOUNT)
    );
}

#[tokio::test]
async fn doctor_says_that_it_is_a_test_operator_and_finds_nothing_wrong_with_its_licenses() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    ask(&world, &mut device, &[FILM], "cfg=(persist:true)").await;
    let findings = keyward_server::doctor::examine(&world.dir(), KekSource::File, NOW).await;
    let about = |name: &str| findings.iter().find(|finding| finding.about == name).unwrap();
    assert_eq!(about("operator").standing, Standing::Warning);
    assert_eq!(
        about("database").standing,
        Standing::Good,
        "{:?}",
        about("database")
    );
}
