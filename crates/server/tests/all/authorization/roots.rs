//! Roots, granted by others than the rows: a handler in Rust, an authorization token, the webhook.

use std::sync::{Arc, Mutex};

use keyward_license::{
    error_code::ErrorCode,
    ids::Kid,
    license::{Flag, KeyType, License, LicenseKind},
    response::{KeyResult, LicenseResponse},
};
use keyward_server::{
    Server,
    handler::{Decision, Permission},
    policy::Preset,
    roots::NewRoot,
    sealing::KekSource,
};
use serde_json::json;

use super::{
    AUTHORIZATION_REFUSED, NOT_ENTITLED, OTHER,
    handlers::{Handler, deciding},
    tokens::Shop,
    webhook::{Reply, Service, reply},
    world,
};
use crate::common::{ACCOUNT, Device, KID, NOW, World};

const ROOT: Kid = Kid::new([0x0a; 16]);

/// [`KID`] and [`OTHER`] stand under the root.
async fn with_root(world: &World) {
    let new = NewRoot {
        kid: Some(ROOT),
        ..NewRoot::new("sport")
    };
    world.server.create_root(new).await.unwrap();
    for kid in [KID, OTHER] {
        world.server.put_key_under_root(ROOT, kid).await.unwrap();
    }
}

/// Asks as a client that knows roots.
async fn ask(world: &World, device: &mut Device, kids: &[Kid], token: Option<String>) -> LicenseResponse {
    let mut body = device.request(&world.recipient().await, kids);
    body.capabilities.key_types.push(KeyType::Root.number());
    body.capabilities.more_licenses = Some(Flag);
    body.authorization = token;
    device.ask(world, &body).await.unwrap()
}

/// What became of each key id.
fn kinds(world: &World, response: &LicenseResponse) -> Vec<(Kid, Result<LicenseKind, u64>)> {
    let kind = |result: &KeyResult| match &result.denial {
        Some(denial) => Err(denial.code),
        None => {
            let bytes = &result.license.as_ref().unwrap().0;
            let license = License::verify(bytes, &world.anchor(), Some(NOW)).unwrap();
            Ok(license.body().kind)
        }
    };
    let results = response.results.iter();
    results.map(|result| (result.kid, kind(result))).collect()
}

const LEAF: Result<LicenseKind, u64> = Ok(LicenseKind::Leaf);
const SIMPLE: Result<LicenseKind, u64> = Ok(LicenseKind::Simple);
const WITH_ROOT: (Kid, Result<LicenseKind, u64>) = (ROOT, Ok(LicenseKind::Root));

#[tokio::test]
async fn a_handler_is_asked_about_roots_and_whoever_denies_a_key_denies_it() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let world = deciding({
        let seen = Arc::clone(&seen);
        move |asked| {
            seen.lock().unwrap().push(asked.keys.clone());
            let mut decision = Decision::default();
            decision.grant(ROOT, Permission::own(Preset::Rental.terms()));
            decision.deny(OTHER, ErrorCode::NotEntitled, "Not in your region.", None);
            Ok(decision)
        }
    })
    .await;
    with_root(&world).await;
    let mut device = world.device(3).await;
    let response = ask(&world, &mut device, &[KID, OTHER], None).await;
    assert_eq!(
        kinds(&world, &response),
        [(KID, LEAF), (OTHER, Err(NOT_ENTITLED)), WITH_ROOT]
    );
    let denial = response.results[1].denial.as_ref().unwrap();
    assert_eq!(denial.sentence, "Not in your region.");
    let seen = seen.lock().unwrap();
    let [keys] = &seen[..] else {
        panic!("asked {} times", seen.len());
    };
    let told: Vec<_> = keys
        .iter()
        .map(|key| (key.kid, key.key_type, key.root.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            (KID, KeyType::File, None),
            (OTHER, KeyType::File, None),
            (ROOT, KeyType::Root, Some("sport"))
        ]
    );
    assert!(
        keys[2].entitlement.is_some(),
        "the rows say something of roots, to all"
    );
}

#[tokio::test]
async fn the_denial_of_a_root_is_told_where_a_key_gets_nothing_else() {
    let world = deciding(|asked| {
        let mut decision = Decision::default();
        for key in asked.keys.iter().filter(|key| key.root.is_some()) {
            let sentence = "Sport is not part of your plan.";
            decision.deny(
                key.kid,
                ErrorCode::NotEntitled,
                sentence,
                Some("https://shop.example/sport"),
            );
        }
        Ok(decision)
    })
    .await;
    with_root(&world).await;
    let mut device = world.device(3).await;
    let response = ask(&world, &mut device, &[KID], None).await;
    let denial = response.results[0].denial.as_ref().unwrap();
    assert_eq!(
        (&denial.sentence[..], denial.url.as_deref()),
        (
            "Sport is not part of your plan.",
            Some("https://shop.example/sport")
        )
    );
    assert_eq!(response.results.len(), 1);
}

#[tokio::test]
async fn what_is_good_for_one_answer_is_used_up_by_a_root() {
    let world = deciding(|asked| {
        let mut decision = Decision::default();
        decision.grant(ROOT, Permission::own(Preset::Rental.terms()));
        decision.only_once("shop", b"voucher", asked.now.plus(600));
        Ok(decision)
    })
    .await;
    with_root(&world).await;
    let mut device = world.device(3).await;
    let response = ask(&world, &mut device, &[KID, OTHER], None).await;
    assert_eq!(kinds(&world, &response), [(KID, LEAF), (OTHER, LEAF), WITH_ROOT]);
    let response = ask(&world, &mut device, &[KID, ROOT], None).await;
    let refused = Err(AUTHORIZATION_REFUSED);
    assert_eq!(kinds(&world, &response), [(KID, refused), (ROOT, refused)]);
}

#[tokio::test]
async fn a_token_grants_a_root_by_its_key_id_or_all_of_them() {
    let shop = Shop::new();
    let world = shop.world("").await;
    with_root(&world).await;
    let mut device = world.device(3).await;
    let token = |keyward: serde_json::Value| {
        Some(shop.sign(&json!({
            "iss": "https://shop.example", "aud": "licenses", "sub": ACCOUNT,
            "iat": NOW.0 - 10, "exp": NOW.0 + 600, "keyward": keyward,
        })))
    };
    let of_root = json!({"keys": [ROOT.to_string()], "limits": {"duration_seconds": 60}});
    let response = ask(&world, &mut device, &[KID], token(of_root)).await;
    assert_eq!(kinds(&world, &response), [(KID, LEAF), WITH_ROOT]);
    let ends: Vec<_> = response
        .results
        .iter()
        .map(|result| {
            let bytes = &result.license.as_ref().unwrap().0;
            let license = License::verify(bytes, &world.anchor(), Some(NOW)).unwrap();
            license.body().end
        })
        .collect();
    assert_eq!(
        ends,
        [None, Some(NOW.plus(60))],
        "the root's license alone is limited"
    );

    let both = json!({"keys": [ROOT.to_string(), KID.to_string()]});
    let response = ask(&world, &mut device, &[KID, OTHER], token(both)).await;
    assert_eq!(
        kinds(&world, &response),
        [(KID, SIMPLE), (OTHER, LEAF), WITH_ROOT]
    );
    let all = token(json!({"all": true}));
    let response = ask(&world, &mut device, &[KID, ROOT], all).await;
    assert_eq!(kinds(&world, &response), [(KID, SIMPLE), WITH_ROOT]);
    let nothing = token(json!({"content": ["sport"]}));
    let response = ask(&world, &mut device, &[KID], nothing).await;
    assert_eq!(kinds(&world, &response), [(KID, Err(NOT_ENTITLED))]);
    let response = ask(&world, &mut device, &[KID], Some("not a token".into())).await;
    assert_eq!(kinds(&world, &response), [(KID, Err(AUTHORIZATION_REFUSED))]);
}

#[tokio::test]
async fn a_webhook_is_told_what_a_root_is_called_and_grants_it() {
    let service = Service::new(|question| {
        let keys = question["keys"].as_array().unwrap();
        let root = keys.iter().find(|key| key["root"] == "sport");
        let granted = root.map(|root| {
            assert_eq!(root["key_type"], "root");
            json!({"kid": root["kid"], "grant": {"policy": "default"}})
        });
        Reply::Json(reply(question, granted.into_iter().collect()))
    })
    .await;
    let world = service.world("[\"webhook\"]", "").await;
    with_root(&world).await;
    let mut device = world.device(3).await;
    let response = ask(&world, &mut device, &[KID, OTHER], None).await;
    assert_eq!(kinds(&world, &response), [(KID, LEAF), (OTHER, LEAF), WITH_ROOT]);
    // Without a root there is nothing that it grants.
    for kid in [KID, OTHER] {
        world.server.take_key_off_root(ROOT, kid).await.unwrap();
    }
    let response = ask(&world, &mut device, &[KID], None).await;
    assert_eq!(kinds(&world, &response), [(KID, Err(NOT_ENTITLED))]);
}

/// Who grants a root has decided what is under it: who is asked after it is asked about the rest.
#[tokio::test]
async fn who_is_asked_later_is_not_asked_about_what_is_under_a_root_that_was_granted() {
    let service = Service::new(|question| {
        let denied = question["keys"].as_array().unwrap().iter().map(|key| {
            let deny = json!({"reason": "not-entitled", "sentence": "No."});
            json!({"kid": key["kid"], "deny": deny})
        });
        Reply::Json(reply(question, denied.collect()))
    })
    .await;
    let world = service.world("[\"rows\", \"webhook\"]", "").await;
    with_root(&world).await;
    let server = &world.server;
    for entitlement in server.entitlements(ACCOUNT).await.unwrap() {
        server.revoke_entitlement(entitlement.id).await.unwrap();
    }
    let mut device = world.device(3).await;
    let response = ask(&world, &mut device, &[KID], None).await;
    assert_eq!(
        (kinds(&world, &response), service.asked()),
        (vec![(KID, Err(NOT_ENTITLED))], 1)
    );
    server.grant(ACCOUNT, Some(ROOT), "default", None).await.unwrap();
    let response = ask(&world, &mut device, &[KID], None).await;
    assert_eq!(
        (kinds(&world, &response), service.asked()),
        (vec![(KID, LEAF), WITH_ROOT], 1)
    );
    // What is under no root of the account is asked about as ever.
    server.take_key_off_root(ROOT, OTHER).await.unwrap();
    let response = ask(&world, &mut device, &[KID, OTHER], None).await;
    assert_eq!(
        kinds(&world, &response),
        [(KID, LEAF), (OTHER, Err(NOT_ENTITLED)), WITH_ROOT]
    );
    assert_eq!(service.asked(), 2);
}

/// A handler that grants a key id to which nothing belongs that could be issued has granted nothing.
#[tokio::test]
async fn a_root_under_an_entitlement_that_is_not_there_fails() {
    let mut world = world("[\"rows\"]", "", &[]).await;
    with_root(&world).await;
    let server = &world.server;
    for entitlement in server.entitlements(ACCOUNT).await.unwrap() {
        server.revoke_entitlement(entitlement.id).await.unwrap();
    }
    server.close().await;
    let handler = Handler(|_: &_| {
        let mut decision = Decision::default();
        decision.grant(ROOT, Permission::entitlement());
        Ok(decision)
    });
    world.server = Server::open_with_handler(&world.dir(), KekSource::File, world.clock.clone(), handler)
        .await
        .unwrap();
    let mut device = world.device(3).await;
    let response = ask(&world, &mut device, &[KID], None).await;
    assert_eq!(kinds(&world, &response), [(KID, Err(501))]);
}
