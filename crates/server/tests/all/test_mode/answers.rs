//! What the whole answer is to be: errors, revocation, transactions, another time, later, what the client says.

use keyward_license::{error_code::ErrorCode, ids::TransactionId, time::Timestamp};

use super::*;

#[tokio::test]
async fn an_error_is_told_as_a_server_tells_it() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    for (asked, code) in [
        ("0x8004c605", ErrorCode::DomainRequired),
        ("0x8004C606", ErrorCode::DomainRenewalRequired),
        ("0X8004C602", ErrorCode::DeviceLimitReached),
        ("0x8004C604", ErrorCode::ServiceSpecific),
        ("0x8004C60A", ErrorCode::NotAMember),
        ("0x8004C60C", ErrorCode::AccountUnknown),
        ("0x8004C065", ErrorCode::DeviceRevoked),
        ("301", ErrorCode::NotEntitled),
        ("303", ErrorCode::SecurityLevelTooLow),
    ] {
        let query = format!("cfg=(errorcode:{asked})");
        let told = denied(&ask(&world, &mut device, &[FILM, ROOT], &query).await);
        assert_eq!(told.code, code.number(), "{asked}");
    }
    for (asked, code) in [
        ("0x8004C600", ErrorCode::Internal),
        ("0x8004C601", ErrorCode::Malformed),
        ("0x8004C60B", ErrorCode::UnsupportedVersion),
        ("502", ErrorCode::Busy),
        ("503", ErrorCode::RateLimited),
    ] {
        let body = request(&world, &mut device, &[FILM]).await;
        let query = format!("cfg=(errorcode:{asked})");
        let problem = send(&world, &mut device, &body, Some(&query)).await.unwrap_err();
        assert_eq!(
            (problem.code, problem.status),
            (code.number(), code.status().into()),
            "{asked}"
        );
    }
    for asked in ["0x8004C60D", "8004C600", "0x", "999", "0x18004C600"] {
        let query = format!("cfg=(errorcode:{asked})");
        let told = denied(&ask(&world, &mut device, &[FILM], &query).await);
        assert!(
            told.sentence.contains("`errorcode` must be"),
            "{asked}: {}",
            told.sentence
        );
    }
}

#[tokio::test]
async fn a_refused_parameter_goes_before_revocation_and_errors() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    for (query, code) in [
        ("cfg=(revoked:true)", ErrorCode::DeviceRevoked),
        ("cfg=(revoked:true,errorcode:301)", ErrorCode::DeviceRevoked),
        ("cfg=(revoked:true,securestop:true)", ErrorCode::ServiceSpecific),
        (
            "cfg=(errorcode:301),(kid:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a,accountid:AA==)",
            ErrorCode::DomainRequired,
        ),
        ("cfg=(errorcode:301,msg:clientinfo)", ErrorCode::NotEntitled),
    ] {
        let told = denied(&ask(&world, &mut device, &[FILM], query).await);
        assert_eq!(told.code, code.number(), "{query}");
    }
    // Nobody was revoked by it.
    let response = ask(&world, &mut device, &[FILM], "cfg=(revoked:false)").await;
    license(&world, result(&response, FILM));
}

#[tokio::test]
async fn a_transaction_is_named_or_drawn() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    let named = "cfg=(tid:3033E8F0-FB1B-4170-AD5C-60549AAB2C79)";
    let response = ask(&world, &mut device, &[FILM], named).await;
    let expected: Kid = "3033E8F0FB1B4170AD5C60549AAB2C79".parse().unwrap();
    assert_eq!(
        response.transaction,
        Some(TransactionId::new(*expected.as_bytes()))
    );
    // It may be named again, when it was acknowledged too, and there is none where there is no license.
    world
        .sql(
            "UPDATE transactions SET nonce = randomblob(16), request = randomblob(32), results = x'80',
                 acknowledged_at = 1",
        )
        .await;
    let again = ask(&world, &mut device, &[FILM], named).await;
    assert_eq!(again.transaction, response.transaction);
    let denied = ask(
        &world,
        &mut device,
        &[FILM],
        "cfg=(transaction:true,errorcode:301)",
    )
    .await;
    assert_eq!(denied.transaction, None);
    let mut drawn = Vec::new();
    for _ in 0..2 {
        let response = ask(&world, &mut device, &[FILM], "cfg=(transaction:true)").await;
        drawn.push(response.transaction.unwrap());
    }
    assert_ne!(drawn[0], drawn[1]);
    for query in ["cfg=(transaction:false)", "cfg=()"] {
        assert_eq!(ask(&world, &mut device, &[FILM], query).await.transaction, None);
    }
}

#[tokio::test]
async fn the_servers_time_is_shifted_in_licenses_and_answer() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    for (asked, expected) in [("+3600", NOW.0 + 3600), ("-60", NOW.0 - 60), ("5", NOW.0 + 5)] {
        let query = format!("cfg=(clock:{asked})");
        let response = ask(&world, &mut device, &[FILM], &query).await;
        assert_eq!(response.server_time, Timestamp(expected), "{asked}");
        assert_eq!(
            license(&world, result(&response, FILM)).body().issued,
            Timestamp(expected)
        );
    }
    for asked in ["x", "1.5", "+315360001", "-315360001"] {
        let query = format!("cfg=(clock:{asked})");
        let told = denied(&ask(&world, &mut device, &[FILM], &query).await);
        assert!(told.sentence.contains("`clock` must be"), "{asked}");
    }
}

#[tokio::test]
async fn an_answer_is_kept_back_for_as_long_as_was_asked() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    let body = request(&world, &mut device, &[FILM]).await;
    let recipient = world.recipient().await;
    let sealed = device.seal(&recipient, Suite::XWing, &body);
    let query = Some("cfg=(latency:60000)");
    let early = tokio::time::timeout(
        Duration::from_millis(20),
        world.server.issue_as_asked(&sealed, query),
    );
    assert!(early.await.is_err(), "the answer came at once");
    // It may be decided by then: the same request again is not kept back for that.
    let response = send(&world, &mut device, &body, Some("cfg=(latency:1)"))
        .await
        .unwrap();
    license(&world, result(&response, FILM));
    let told = denied(&ask(&world, &mut device, &[FILM], "cfg=(latency:60001)").await);
    assert!(
        told.sentence.contains("`latency` must be at most 60000"),
        "{}",
        told.sentence
    );
}

#[tokio::test]
async fn what_the_client_says_of_itself_comes_back() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    let response = ask(&world, &mut device, &[FILM], "cfg=(msg:clientinfo)").await;
    assert_eq!(denied(&response).code, SERVICE_SPECIFIC);
    let text = String::from_utf8(response.custom_data.unwrap().0).unwrap();
    for line in [
        "client: hand-made".to_owned(),
        "client version: 1".to_owned(),
        format!("client time: {}", NOW.0),
        "clock state: set".to_owned(),
        "suites: 1 2".to_owned(),
        "source ids: 267".to_owned(),
        "security level: 150".to_owned(),
        "maker: test".to_owned(),
        format!("device: {}", device.id()),
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
    let told = denied(&ask(&world, &mut device, &[FILM], "cfg=(msg:serverinfo)").await);
    assert!(told.sentence.contains("`msg` must be `clientinfo`"));
}

#[tokio::test]
async fn the_same_request_gets_the_same_licenses_whatever_its_query() {
    let mut world = world().await;
    let mut device = device(&world, 3).await;
    let body = request(&world, &mut device, &[FILM]).await;
    let first = send(&world, &mut device, &body, Some("cfg=(firstexp:60)"))
        .await
        .unwrap();
    world.reopen().await;
    let again = send(&world, &mut device, &body, Some("cfg=(firstexp:90)"))
        .await
        .unwrap();
    let ids = |response: &LicenseResponse| crate::common::ids(&world, response);
    assert_eq!(ids(&first), ids(&again));
}
