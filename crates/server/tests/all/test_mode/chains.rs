//! Roots and leaves, both in one answer.

use keyward_license::license::{Chain, LicenseKind};

use super::*;
use keyward_crypto::RootKey;
use keyward_license::time::Timestamp;

const CHAIN: &str = "(isroot:true,kid:0a0a0a0a-0a0a-0a0a-0a0a-0a0a0a0a0a0a)";
const LEAF: &str = "rootid:0a0a0a0a-0a0a-0a0a-0a0a-0a0a0a0a0a0a";

/// A root license and its key, opened by the device.
fn open_root(world: &World, device: &Device, result: &KeyResult) -> (License, RootKey) {
    let root = license(world, result);
    assert!(root.body().binding.is_device(&device.id()));
    let suite = root.sealing().suite();
    let key = device
        .sealing
        .iter()
        .find(|key| Some(key.suite()) == suite)
        .unwrap();
    let sealed = root.sealed();
    let opened = key
        .open(&root.key_binding(), &sealed.encapsulated.0, &sealed.ciphertext.0)
        .unwrap();
    let key = root.read_keys(&opened).unwrap().root_key().unwrap();
    (root, key)
}

/// The published scenario: two licenses, and the chain ends five minutes after its issue.
#[tokio::test]
async fn a_leaf_and_its_root_come_in_one_answer() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    let query = format!("cfg=({LEAF},kid:header),{CHAIN}");
    let response = ask(&world, &mut device, &[FILM], &query).await;
    assert_eq!(response.results.len(), 2);
    let (root, key) = open_root(&world, &device, result(&response, ROOT));
    assert_eq!(root.body().kind, LicenseKind::Root);
    assert_eq!(root.body().end, Some(Timestamp(NOW.0 + 300)));
    let leaf = license(&world, result(&response, FILM));
    Chain::new(root.body(), leaf.body()).unwrap();
    assert_eq!(leaf.open_under(&key).unwrap().keys[0].0, keys::of_test_seed(FILM));
    assert_eq!((root.body().persistent, leaf.body().persistent), (false, false));
}

#[tokio::test]
async fn a_root_has_the_same_key_in_every_answer() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    let other = Kid::new([0x62; 16]);
    let both = "cfg=(isroot:true,persist:true,firstexp:60)";
    let response = ask(&world, &mut device, &[ROOT], both).await;
    let (root, key) = open_root(&world, &device, result(&response, ROOT));
    assert_eq!((root.body().end, root.body().persistent), (None, true));
    let query = format!("cfg=({LEAF},kid:62626262-6262-6262-6262-626262626262),{CHAIN}");
    let response = ask(&world, &mut device, &[other], &query).await;
    let leaf = license(&world, result(&response, other));
    assert_eq!(
        leaf.open_under(&key).unwrap().keys[0].0,
        keys::of_test_seed(other)
    );
}

#[tokio::test]
async fn leaf_and_root_have_terms_of_their_own() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    let root = "(isroot:true,kid:0a0a0a0a-0a0a-0a0a-0a0a-0a0a0a0a0a0a,enddate:20300401,ucvopl:250)";
    let query = format!("cfg=({LEAF},ucvopl:300,ckt:aescbc,sourceid:267),{root}");
    let response = ask(&world, &mut device, &[FILM], &query).await;
    let [root, leaf] = [ROOT, FILM].map(|kid| license(&world, result(&response, kid)).body().clone());
    let level = |body: &LicenseBody| body.output_protection_levels.unwrap().uncompressed_digital_video;
    assert_eq!((level(&root), level(&leaf)), (Some(250), Some(300)));
    assert_eq!((root.source_id, leaf.source_id), (None, Some(267)));
    assert_eq!(leaf.keys[0].key_type, KeyType::CencCbc);
    assert_eq!((root.end, leaf.end), (Some(Timestamp(1_901_232_000)), None));
}

#[tokio::test]
async fn what_is_no_chain_is_denied_with_the_reason() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    for (groups, expected) in [
        (format!("({LEAF})"), "no group with `isroot:true`"),
        (
            format!("({LEAF},enddate:20300401),{CHAIN}"),
            "`enddate` is refused",
        ),
        (
            format!("({LEAF},begindate:20300401),{CHAIN}"),
            "`begindate` is refused",
        ),
        (format!("({LEAF},firstexp:60),{CHAIN}"), "`firstexp` is refused"),
        (format!("({LEAF},realtime:true),{CHAIN}"), "`realtime` is refused"),
        (
            format!("({LEAF},removaldate:20300401),{CHAIN}"),
            "`removaldate` is refused",
        ),
        (format!("({LEAF},sl:2000),{CHAIN}"), "`sl` is refused"),
        (format!("({LEAF},persist:true),{CHAIN}"), "`persist` is refused"),
        (format!("({LEAF},ckt:keyexchange),{CHAIN}"), "`ckt` is refused"),
        (
            format!("({LEAF},isroot:true),{CHAIN}"),
            "`rootid` must be of a license that is no root",
        ),
        ("(isroot:true,ckt:file)".to_owned(), "`isroot` is refused"),
        (CHAIN.to_owned(), "the request does not ask for it"),
    ] {
        let told = denied(&ask(&world, &mut device, &[FILM], &format!("cfg={groups}")).await);
        assert_eq!(told.code, SERVICE_SPECIFIC);
        assert!(told.sentence.contains(expected), "{groups}: {}", told.sentence);
    }
    // A client that takes nothing along asks for both.
    let query = format!("cfg=({LEAF},kid:61616161616161616161616161616161),{CHAIN}");
    for (kids, licensed) in [(&[FILM][..], false), (&[FILM, ROOT], true)] {
        let mut body = request(&world, &mut device, kids).await;
        body.capabilities.more_licenses = None;
        let response = send(&world, &mut device, &body, Some(&query)).await.unwrap();
        assert_eq!(response.results.len(), kids.len());
        assert_eq!(
            response.results.iter().all(|result| result.license.is_some()),
            licensed
        );
    }
}

#[tokio::test]
async fn groups_are_for_the_key_ids_of_the_request() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    let other = Kid::new([0x62; 16]);
    let two = [FILM, other];
    let named = "cfg=(kid:YWFhYWFhYWFhYWFhYWFhYQ==,persist:true)";
    let response = ask(&world, &mut device, &two, named).await;
    assert!(license(&world, result(&response, FILM)).body().persistent);
    let told = result(&response, other).denial.as_ref().unwrap();
    assert_eq!((told.code, told.sentence.contains("no group")), (301, true));
    for (query, expected) in [
        (
            "cfg=(persist:true)",
            "`header` needs a request for exactly one key id",
        ),
        (
            "cfg=(kid:YWFhYWFhYWFhYWFhYWFhYQ==),(kid:YWFhYWFhYWFhYWFhYWFhYQ==)",
            "one license for a key id",
        ),
        (
            "cfg=(kid:63636363636363636363636363636363)",
            "the request does not ask for it",
        ),
    ] {
        let told = denied(&ask(&world, &mut device, &two, query).await);
        assert!(told.sentence.contains(expected), "{query}: {}", told.sentence);
    }
}
