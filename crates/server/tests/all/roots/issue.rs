//! A leaf for what is under a root, and the root's license.

use keyward_crypto::hpke::Suite;
use keyward_license::{
    license::{Chain, ExtendedRight, KeyType, LicenseKind, Sealing},
    request::LicenseRequest,
};
use keyward_server::{policy::PolicyTerms, roots::NewRoot};

use super::*;
use crate::common::{denial, ids, pending, read};

#[tokio::test]
async fn a_leaf_opens_under_its_root_whose_license_alone_ends() {
    let world = granted().await;
    let mut device = world.device(1).await;
    let response = ask(&world, &mut device, &[KID]).await;
    assert_eq!(
        kinds(&world, &response),
        [(KID, Ok(LicenseKind::Leaf)), (ROOT, Ok(LicenseKind::Root))]
    );
    let (root, key) = open_root(&world, &device, &response.results[1]);
    let leaf = license(&world, &response.results[0]);
    let expected = world.server.content_key_for_packaging(KID).await.unwrap();
    assert_eq!(&open_leaf(&leaf, &key), expected.key.expose());
    assert_eq!(leaf.sealing(), Sealing::Root);
    assert!(Chain::new(root.body(), leaf.body()).is_ok());

    let terms = root.body();
    assert_eq!(terms.keys[0].key_type, KeyType::Root);
    assert_eq!(
        (terms.begin, terms.end, terms.minimum_security_level),
        (Some(NOW.minus(300)), Some(NOW.plus(30 * 86_400)), Some(2000))
    );
    let terms = leaf.body();
    assert_eq!(terms.leaf_of(), Some(ROOT));
    assert_eq!((terms.persistent, terms.nonce, terms.issued), (true, None, NOW));
    assert_eq!(terms.terms().count(), 0, "{terms:?}");
    // Each answer has a leaf of its own.
    let again = ask(&world, &mut device, &[KID]).await;
    assert_ne!(license(&world, &again.results[0]).body().id, terms.id);
}

#[tokio::test]
async fn nothing_goes_along_to_who_did_not_say_that_it_takes_it() {
    let world = granted().await;
    let mut device = world.device(1).await;
    let body = request(&world, &mut device, &[KID]).await;
    let mut body = LicenseRequest { ..body };
    body.capabilities.more_licenses = None;
    let response = answered(&world, &mut device, &body).await;
    assert_eq!(kinds(&world, &response), [(KID, Ok(LicenseKind::Leaf))]);
    // The root may be asked for as well, and is not there twice.
    for kids in [[KID, ROOT], [ROOT, KID]] {
        let response = ask(&world, &mut device, &kids).await;
        assert_eq!(response.results.len(), 2);
        assert!(result(&response, ROOT).license.is_some() && result(&response, KID).license.is_some());
    }
    // Who does not know roots can use neither.
    let body = device.request(&world.recipient().await, &[KID, ROOT]);
    let response = answered(&world, &mut device, &body).await;
    assert_eq!(
        kinds(&world, &response),
        [(KID, Err(LACKS_CAPABILITY)), (ROOT, Err(LACKS_CAPABILITY))]
    );
}

#[tokio::test]
async fn a_root_that_the_account_has_not_gives_nothing() {
    let world = granted().await;
    let mut device = device_of(&world, "bob", 1).await;
    let response = ask(&world, &mut device, &[KID, ROOT]).await;
    assert_eq!(
        kinds(&world, &response),
        [(KID, Err(NOT_ENTITLED)), (ROOT, Err(NOT_ENTITLED))]
    );
    // A root that is no root, and one that holds nothing.
    let response = ask(&world, &mut device, &[OTHER_ROOT]).await;
    assert_eq!(denial(&response.results[0]), 302);
    world.server.take_key_off_root(ROOT, KID).await.unwrap();
    grant(&world, "bob", ROOT).await;
    let response = ask(&world, &mut device, &[KID, ROOT]).await;
    assert_eq!(
        kinds(&world, &response),
        [(KID, Err(NOT_ENTITLED)), (ROOT, Ok(LicenseKind::Root))]
    );
}

#[tokio::test]
async fn what_is_granted_by_itself_goes_before_the_root() {
    let world = granted().await;
    grant(&world, ACCOUNT, KID).await;
    let mut device = world.device(1).await;
    let response = ask(&world, &mut device, &[KID]).await;
    assert_eq!(kinds(&world, &response), [(KID, Ok(LicenseKind::Simple))]);
    // To all: content by itself, roots as roots.
    let world = super::world().await;
    world.server.put_key_under_root(ROOT, KID).await.unwrap();
    world.server.grant(ACCOUNT, None, "default", None).await.unwrap();
    let mut device = world.device(1).await;
    let response = ask(&world, &mut device, &[KID, ROOT]).await;
    assert_eq!(
        kinds(&world, &response),
        [(KID, Ok(LicenseKind::Simple)), (ROOT, Ok(LicenseKind::Root))]
    );
    // One to the root itself goes before that to all.
    let short = PolicyTerms {
        duration_seconds: Some(60),
        ..PolicyTerms::DEFAULT
    };
    world.server.create_policy("short", short).await.unwrap();
    world
        .server
        .grant(ACCOUNT, Some(ROOT), "short", None)
        .await
        .unwrap();
    let response = ask(&world, &mut device, &[ROOT]).await;
    let (root, _) = open_root(&world, &device, &response.results[0]);
    assert_eq!(root.body().end, Some(NOW.plus(60)));
}

#[tokio::test]
async fn a_policys_terms_stand_in_the_root_and_its_rights_in_both() {
    let world = granted().await;
    let right = ExtendedRight {
        kind: 500,
        restrictions: None,
    };
    let terms = PolicyTerms {
        persistent_allowed: false,
        expiration_after_first_play_seconds: Some(60),
        real_time_expiration: true,
        extended_rights: vec![right.clone()],
        minimum_security_level: 150,
        ..PolicyTerms::DEFAULT
    };
    world.server.create_policy("evening", terms).await.unwrap();
    world
        .server
        .grant(ACCOUNT, Some(ROOT), "evening", Some(NOW.plus(600)))
        .await
        .unwrap();
    let mut device = world.device(1).await;
    let body = request(&world, &mut device, &[KID]).await;
    let response = answered(&world, &mut device, &body).await;
    let (root, key) = open_root(&world, &device, result(&response, ROOT));
    let leaf = license(&world, result(&response, KID));
    open_leaf(&leaf, &key);
    let (root, leaf) = (root.body(), leaf.body());
    assert_eq!(root.end, Some(NOW.plus(600)));
    assert_eq!(root.expiration_after_first_play, Some(60));
    for license in [root, leaf] {
        assert_eq!((license.persistent, license.nonce), (false, Some(body.nonce)));
        assert_eq!(license.extended_rights, Some(vec![right.clone()]));
    }
    assert_eq!(
        leaf.terms().collect::<Vec<_>>(),
        [28],
        "its rights, and no term of time"
    );
}

#[tokio::test]
async fn a_leaf_is_embedded_where_the_policy_says_so_and_a_root_is_not() {
    let world = granted().await;
    let terms = PolicyTerms {
        embed: true,
        ..PolicyTerms::DEFAULT
    };
    world.server.create_policy("kept", terms).await.unwrap();
    world
        .server
        .grant(ACCOUNT, Some(ROOT), "kept", None)
        .await
        .unwrap();
    let mut device = world.device(1).await;
    let embedded =
        |response: &LicenseResponse, kid| license(&world, result(response, kid)).body().embed.is_some();
    let response = ask(&world, &mut device, &[KID]).await;
    assert!(embedded(&response, KID) && !embedded(&response, ROOT));
    world
        .server
        .grant(ACCOUNT, Some(KID), "kept", None)
        .await
        .unwrap();
    let response = ask(&world, &mut device, &[KID]).await;
    assert!(embedded(&response, KID));
    let body = LicenseRequest {
        persistent: false,
        ..request(&world, &mut device, &[KID]).await
    };
    let response = answered(&world, &mut device, &body).await;
    assert!(!embedded(&response, KID), "what is not stored is not embedded");
}

#[tokio::test]
async fn the_security_level_of_the_key_is_the_leafs_and_no_higher_than_the_roots() {
    let world = world().await;
    let server = &world.server;
    let high = NewRoot {
        kid: Some(OTHER_ROOT),
        minimum_security_level: Some(2000),
        ..NewRoot::new("high")
    };
    server.create_root(high).await.unwrap();
    server
        .register_key_of_level(KID, KeyType::File, 1, Some(2000))
        .await
        .unwrap();
    let refused = server.put_key_under_root(ROOT, KID).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("key {KID} is for a higher security level than root {ROOT}")
    );
    server.put_key_under_root(OTHER_ROOT, KID).await.unwrap();
    grant(&world, ACCOUNT, OTHER_ROOT).await;
    let mut device = world.device(1).await;
    let response = ask(&world, &mut device, &[KID]).await;
    for result in &response.results {
        assert_eq!(license(&world, result).body().minimum_security_level, Some(2000));
    }
    // Raised when it is under the root already.
    server
        .register_key_of_level(KID, KeyType::File, 1, Some(3000))
        .await
        .unwrap();
    let response = ask(&world, &mut device, &[KID]).await;
    assert_eq!(kinds(&world, &response), [(KID, Err(NOT_ENTITLED))]);
}

#[tokio::test]
async fn a_root_that_the_device_cannot_use_gives_way_to_one_that_it_can() {
    let world = world().await;
    let server = &world.server;
    let hardware = NewRoot {
        kid: Some(Kid::new([1; 16])),
        minimum_security_level: Some(3000),
        ..NewRoot::new("hardware")
    };
    // Made in the same second: the order is that of the key ids, and the one for hardware is the first.
    let hardware = server.create_root(hardware).await.unwrap();
    for kid in [hardware, ROOT] {
        server.put_key_under_root(kid, KID).await.unwrap();
        grant(&world, ACCOUNT, kid).await;
    }
    let mut device = world.device(1).await;
    let response = ask(&world, &mut device, &[KID]).await;
    assert_eq!(
        license(&world, result(&response, KID)).body().leaf_of(),
        Some(ROOT)
    );
    server.take_key_off_root(ROOT, KID).await.unwrap();
    let response = ask(&world, &mut device, &[KID]).await;
    assert_eq!(kinds(&world, &response), [(KID, Err(303))]);
}

#[tokio::test]
async fn a_root_that_is_asked_for_is_the_first_to_be_tried() {
    let world = granted().await;
    root(&world, OTHER_ROOT, "all").await;
    world.server.put_key_under_root(OTHER_ROOT, KID).await.unwrap();
    grant(&world, ACCOUNT, OTHER_ROOT).await;
    let mut device = world.device(1).await;
    for (kids, first) in [(&[KID][..], ROOT), (&[KID, OTHER_ROOT], OTHER_ROOT)] {
        let response = ask(&world, &mut device, kids).await;
        let leaf = license(&world, result(&response, KID));
        assert_eq!(leaf.body().leaf_of(), Some(first));
        assert_eq!(response.results.len(), 2, "one root is enough");
    }
}

#[tokio::test]
async fn the_same_request_gets_the_same_chain() {
    let mut world = granted().await;
    let mut device = world.device(1).await;
    let body = request(&world, &mut device, &[KID]).await;
    let sealed = device.seal(&world.recipient().await, Suite::P256, &body);
    let first = read(
        &world,
        &world.server.issue(&sealed).await.unwrap(),
        &pending(&body),
    );
    // As after a crash: everything recorded, nothing signed.
    world.reopen().await;
    world.clock.advance(60);
    let again = read(
        &world,
        &world.server.issue(&sealed).await.unwrap(),
        &pending(&body),
    );
    assert_eq!(ids(&world, &again), ids(&world, &first));
    assert_eq!(kinds(&world, &again), kinds(&world, &first));
    assert_eq!(again.renew_at, first.renew_at);
    let (_, key) = open_root(&world, &device, result(&again, ROOT));
    open_leaf(&license(&world, result(&first, KID)), &key);
    assert_eq!(world.count("SELECT count(*) FROM issued").await, 2);
    let named = "SELECT count(*) FROM issued WHERE policy = 'default' AND policy_version = 1";
    assert_eq!(world.count(named).await, 2);
}

#[tokio::test]
async fn time_alone_brings_no_root() {
    let world = granted().await;
    let mut device = world.device(1).await;
    let body = LicenseRequest {
        license_requested: false,
        ..request(&world, &mut device, &[KID, ROOT]).await
    };
    let response = answered(&world, &mut device, &body).await;
    let codes: Vec<_> = response.results.iter().map(denial).collect();
    assert_eq!((codes, response.renew_at), (vec![305, 305], None));
}
