//! When clients are told to ask for what comes next.

use std::collections::BTreeSet;

use keyward_license::time::Timestamp;
use keyward_server::{
    policy::PolicyTerms,
    roots::{Channel, Periods},
};

use super::*;

const PERIOD: u64 = 1000;

/// A world with a channel whose first period begins now, and its first periods' key ids.
async fn channel(anchor: Option<Timestamp>) -> (World, Vec<Kid>) {
    let world = world().await;
    let channel = Channel {
        renewal_spread_seconds: 600,
        ..Channel::new("news", PERIOD, anchor)
    };
    world.server.set_channel(channel).await.unwrap();
    let kids = periods(&world, "news", 0, 3).await;
    world.server.grant(ACCOUNT, None, "default", None).await.unwrap();
    (world, kids)
}

#[tokio::test]
async fn devices_of_a_channel_ask_at_times_of_their_own_in_the_last_period_that_they_have() {
    let (world, kids) = channel(Some(NOW)).await;
    let mut times = BTreeSet::new();
    let mut device = world.device(1).await;
    for _ in 0..60 {
        // The current period and the next, as clients do.
        let response = ask(&world, &mut device, &kids[..2]).await;
        let at = response.renew_at.unwrap();
        assert!((NOW.plus(PERIOD)..NOW.plus(PERIOD + 600)).contains(&at), "{at:?}");
        times.insert(at);
    }
    // Of 60 drawn out of 600, a handful at most are the same.
    assert!(times.len() > 45, "{}", times.len());
    let middle = NOW.plus(PERIOD + 300);
    let before = times.iter().filter(|at| **at < middle).count();
    assert!((10..=50).contains(&before), "spread over all of it: {before}");
}

#[tokio::test]
async fn the_last_period_that_is_licensed_counts_and_what_is_left_of_it() {
    let (world, kids) = channel(Some(NOW)).await;
    let mut device = world.device(1).await;
    let renew_at = async |device: &mut Device, kids: &[Kid]| ask(&world, device, kids).await.renew_at;
    let window = |from, to| NOW.plus(from)..NOW.plus(to);
    let at = renew_at(&mut device, &kids[..1]).await.unwrap();
    assert!(window(0, 600).contains(&at));
    let at = renew_at(&mut device, &[kids[2], kids[0]]).await.unwrap();
    assert!(window(2000, 2600).contains(&at));
    world.clock.advance(500);
    let at = renew_at(&mut device, &kids[..1]).await.unwrap();
    assert!(window(500, 600).contains(&at), "not before now");
    world.clock.advance(300);
    let at = renew_at(&mut device, &kids[..1]).await.unwrap();
    assert!(window(800, 1000).contains(&at), "in what is left");
    world.clock.advance(200);
    assert_eq!(renew_at(&mut device, &kids[..1]).await, None, "nothing is left");
    // What was denied does not count.
    let mut bob = device_of(&world, "bob", 2).await;
    assert_eq!(renew_at(&mut bob, &kids).await, None);
}

#[tokio::test]
async fn without_a_clock_or_a_channel_nothing_is_told() {
    let (world, kids) = channel(None).await;
    let mut device = world.device(1).await;
    assert_eq!(ask(&world, &mut device, &kids).await.renew_at, None);
    assert_eq!(ask(&world, &mut device, &[KID]).await.renew_at, None);
}

#[tokio::test]
async fn leaves_of_a_channel_are_renewed_as_simple_licenses_are() {
    let (world, kids) = channel(Some(NOW)).await;
    world
        .server
        .put_content_under_root(ROOT, "news", Periods::ALL)
        .await
        .unwrap();
    grant(&world, "bob", ROOT).await;
    let mut device = device_of(&world, "bob", 1).await;
    let response = ask(&world, &mut device, &kids[..2]).await;
    assert_eq!(response.results.len(), 3);
    let at = response.renew_at.unwrap();
    assert!((NOW.plus(PERIOD)..NOW.plus(PERIOD + 600)).contains(&at));
    assert_eq!(
        ask(&world, &mut device, &[ROOT]).await.renew_at,
        None,
        "a root has no period"
    );
}

#[tokio::test]
async fn licenses_that_end_are_renewed_before_they_do_where_the_operator_says_so() {
    let mut world = granted().await;
    let path = world.dir().join("operator.toml");
    let toml = std::fs::read_to_string(&path).unwrap();
    let (unset, set) = ("# renewal_spread_seconds = 0", "renewal_spread_seconds = 400");
    assert!(toml.contains(unset));
    std::fs::write(&path, toml.replace(unset, set)).unwrap();
    world.reopen().await;
    let terms = PolicyTerms {
        duration_seconds: Some(2000),
        ..PolicyTerms::DEFAULT
    };
    world.server.create_policy("short", terms).await.unwrap();
    for kid in [ROOT, OTHER_ROOT] {
        world
            .server
            .grant(ACCOUNT, Some(kid), "short", None)
            .await
            .unwrap();
    }
    world
        .server
        .register_key(OTHER_ROOT, KeyType::File, 1)
        .await
        .unwrap();
    let mut device = world.device(1).await;
    let mut times = BTreeSet::new();
    // A root, a leaf under it, a license by itself.
    for kids in [&[ROOT][..], &[KID], &[OTHER_ROOT]].repeat(10) {
        let at = ask(&world, &mut device, kids).await.renew_at.unwrap();
        assert!((NOW.plus(1600)..NOW.plus(1900)).contains(&at), "{at:?}");
        times.insert(at);
    }
    assert!(times.len() > 20);
    let mut body = request(&world, &mut device, &[KID]).await;
    body.capabilities.more_licenses = None;
    let leaf = answered(&world, &mut device, &body).await;
    assert_eq!(leaf.results.len(), 1);
    assert!(leaf.renew_at.is_some(), "a leaf ends with its root");
    // A license without an end is not renewed.
    let endless = PolicyTerms {
        duration_seconds: None,
        ..PolicyTerms::DEFAULT
    };
    world.server.create_policy("endless", endless).await.unwrap();
    world
        .server
        .grant(ACCOUNT, Some(ROOT), "endless", None)
        .await
        .unwrap();
    assert_eq!(ask(&world, &mut device, &[KID]).await.renew_at, None);
    // Nor one whose right ends: whoever asked again would be told the same end.
    for policy in ["short", "endless"] {
        let ends = Some(NOW.plus(1900));
        world
            .server
            .grant(ACCOUNT, Some(ROOT), policy, ends)
            .await
            .unwrap();
        assert_eq!(ask(&world, &mut device, &[KID]).await.renew_at, None, "{policy}");
    }
}
