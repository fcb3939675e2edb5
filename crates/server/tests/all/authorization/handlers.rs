//! Whoever writes Rust decides alone: `LicenseHandler`.

use std::sync::Arc;

use keyward_license::{error_code::ErrorCode, ids::Kid, time::Timestamp};
use keyward_server::{
    Server,
    handler::{Asked, Decision, HandlerError, LicenseHandler, Narrowing, Permission, Rows},
    policy::{PolicyTerms, Preset},
    sealing::KekSource,
};

use super::{AUTHORIZATION_REFUSED, BUSY, NOT_ENTITLED, OTHER, ask, licensed, world};
use crate::common::{ACCOUNT, KID, NOW, World};

/// Decides as the function says.
pub(crate) struct Handler<F>(pub(crate) F);

impl<F> LicenseHandler for Handler<F>
where
    F: Fn(&Asked) -> Result<Decision, HandlerError> + Send + Sync + 'static,
{
    async fn decide(&self, asked: &Asked) -> Result<Decision, HandlerError> {
        (self.0)(asked)
    }
}

pub(crate) async fn deciding(
    decide: impl Fn(&Asked) -> Result<Decision, HandlerError> + Send + Sync + 'static,
) -> World {
    let mut world = world("[\"rows\"]", "", &[]).await;
    world.server.close().await;
    world.server = opened(&world, Handler(decide)).await;
    world
}

async fn opened(world: &World, handler: impl LicenseHandler) -> Server {
    Server::open_with_handler(&world.dir(), KekSource::File, world.clock.clone(), handler)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_handler_is_asked_what_was_verified_and_decides_alone() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let world = deciding({
        let seen = Arc::clone(&seen);
        move |asked| {
            seen.lock().unwrap().push(asked.clone());
            let mut decision = Decision::default();
            decision.grant(KID, Permission::own(Preset::Rental.terms()));
            decision.deny(
                KID,
                ErrorCode::NotEntitled,
                "too late: the first verdict counts",
                None,
            );
            decision.deny(
                OTHER,
                ErrorCode::NotEntitled,
                "Not tonight.",
                Some("https://shop.example/"),
            );
            decision.grant(Kid::new([0x77; 16]), Permission::policy("default"));
            decision.set_custom_data(b"enjoy".to_vec())?;
            Ok(decision)
        }
    })
    .await;
    let mut device = world.device(3).await;
    let unknown = Kid::new([0x33; 16]);
    let response = ask(&world, &mut device, &[KID, OTHER, unknown], Some("token"))
        .await
        .unwrap();
    let license = licensed(&world, &device, &response.results[0]);
    assert_eq!(license.expiration_after_first_play, Some(48 * 3600));
    let denial = response.results[1].denial.as_ref().unwrap();
    assert_eq!(
        (&denial.sentence[..], denial.url.as_deref()),
        ("Not tonight.", Some("https://shop.example/"))
    );
    assert_eq!(response.results[2].denial.as_ref().unwrap().code, 302);
    assert_eq!(response.custom_data.as_ref().unwrap().0, b"enjoy");
    let seen = seen.lock().unwrap();
    let [asked] = &seen[..] else { panic!("asked once") };
    assert_eq!(
        (asked.device, &asked.account[..], asked.security_level),
        (device.id(), ACCOUNT, 2000)
    );
    assert_eq!(
        asked.keys.iter().map(|key| key.kid).collect::<Vec<_>>(),
        [KID, OTHER]
    );
    assert_eq!(asked.authorization.as_ref().unwrap().expose(), "token");
    assert!(!format!("{asked:?}").contains("token"), "{asked:?}");
    assert_eq!(asked.now, NOW);
}

#[tokio::test]
async fn what_a_handler_grants_wrongly_is_not_issued() {
    for (what, code, permission) in [
        ("no such policy", 501, Permission::policy("missing")),
        ("no policy at all", 501, Permission::own(PolicyTerms::of_level(7))),
        (
            "no security level",
            501,
            Permission {
                narrowing: Narrowing {
                    minimum_security_level: Some(2500),
                    ..Narrowing::NONE
                },
                ..Permission::policy("default")
            },
        ),
        (
            "over",
            NOT_ENTITLED,
            Permission {
                expires: Some(Timestamp(NOW.0 - 1)),
                ..Permission::policy("default")
            },
        ),
        (
            "not for this device",
            303,
            Permission::own(PolicyTerms::of_level(3000)),
        ),
    ] {
        let world = deciding(move |asked| {
            let mut decision = Decision::default();
            decision.grant(asked.keys[0].kid, permission.clone());
            Ok(decision)
        })
        .await;
        let mut device = world.device(3).await;
        let response = ask(&world, &mut device, &[KID], None).await.unwrap();
        assert_eq!(super::denied(&response).code, code, "{what}");
        assert_eq!(world.count("SELECT count(*) FROM issued").await, 0, "{what}");
    }
}

#[tokio::test]
async fn an_entitlement_that_the_account_has_not_is_not_issued() {
    let world = deciding(|asked| {
        let mut decision = Decision::default();
        decision.grant(asked.keys[0].kid, Permission::entitlement());
        Ok(decision)
    })
    .await;
    let mut device = world.device(3).await;
    let response = ask(&world, &mut device, &[KID], None).await.unwrap();
    licensed(&world, &device, &response.results[0]);
    for entitlement in world.server.entitlements(ACCOUNT).await.unwrap() {
        world.server.revoke_entitlement(entitlement.id).await.unwrap();
    }
    let response = ask(&world, &mut device, &[KID], None).await.unwrap();
    assert_eq!(super::denied(&response).code, 501);
}

#[tokio::test]
async fn a_handler_that_fails_or_says_nothing_denies() {
    let failing = deciding(|_| Err(HandlerError::new("out of order"))).await;
    let silent = deciding(|_| Ok(Decision::default())).await;
    for (world, code) in [(failing, BUSY), (silent, NOT_ENTITLED)] {
        let mut device = world.device(3).await;
        let response = ask(&world, &mut device, &[KID, OTHER], None).await.unwrap();
        let codes = response
            .results
            .iter()
            .map(|result| result.denial.as_ref().unwrap().code);
        assert_eq!(codes.collect::<Vec<_>>(), [code, code]);
    }
}

/// V-046: what a handler says is good once is recorded with the license.
#[tokio::test]
async fn v_046_a_ticket_is_good_for_one_answer() {
    let world = deciding(|asked| {
        let mut decision = Decision::default();
        for key in &asked.keys {
            decision.grant(key.kid, Permission::policy("default"));
        }
        let ticket = asked.custom_data.as_deref().unwrap_or_default();
        decision.only_once("box office", ticket, asked.now.plus(3600));
        Ok(decision)
    })
    .await;
    let mut device = world.device(3).await;
    let recipient = world.recipient().await;
    for (ticket, granted) in [("row 1", true), ("row 2", true), ("row 1", false)] {
        let mut body = device.request(&recipient, &[KID, OTHER]);
        body.custom_data = Some(keyward_license::codec::Bytes(ticket.into()));
        let response = device.ask(&world, &body).await.unwrap();
        for result in &response.results {
            let code = result.denial.as_ref().map(|denial| denial.code);
            assert_eq!(code, (!granted).then_some(AUTHORIZATION_REFUSED), "{ticket}");
        }
    }
}

#[tokio::test]
async fn a_handler_may_ask_the_rows_itself() {
    struct RowsByDay;
    impl LicenseHandler for RowsByDay {
        async fn decide(&self, asked: &Asked) -> Result<Decision, HandlerError> {
            if asked.now.0 % 86_400 < 43_200 {
                return Err(HandlerError::new("closed in the morning"));
            }
            Rows.decide(asked).await
        }
    }
    let mut world = world("[\"rows\"]", "", &[]).await;
    world.server.close().await;
    world.server = opened(&world, RowsByDay).await;
    let mut device = world.device(3).await;
    let morning = NOW.0 % 86_400 < 43_200;
    let response = ask(&world, &mut device, &[KID], None).await.unwrap();
    assert_eq!(response.results[0].denial.is_some(), morning);
    world.clock.advance(43_200);
    let response = ask(&world, &mut device, &[KID], None).await.unwrap();
    assert_eq!(response.results[0].denial.is_some(), !morning);
}
