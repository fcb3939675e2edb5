//! Bundles of channels: windows of crypto periods, regions, blackouts.

use keyward_license::license::LicenseKind;
use keyward_server::roots::Periods;

use super::*;

const LEAF: Result<LicenseKind, u64> = Ok(LicenseKind::Leaf);
const NONE: Result<LicenseKind, u64> = Err(NOT_ENTITLED);

/// What becomes of each of these key ids, each asked for by itself.
async fn each(world: &World, device: &mut Device, kids: &[Kid]) -> Vec<Result<LicenseKind, u64>> {
    let mut kinds = Vec::new();
    for kid in kids {
        let response = ask(world, device, &[*kid]).await;
        kinds.push(super::kinds(world, &response)[0].1);
    }
    kinds
}

#[tokio::test]
async fn a_window_and_a_blackout_say_which_periods_have_leaves() {
    let world = world().await;
    let server = &world.server;
    grant(&world, ACCOUNT, ROOT).await;
    server
        .put_content_under_root(
            ROOT,
            "news",
            Periods {
                from: Some(11),
                to: Some(14),
            },
        )
        .await
        .unwrap();
    let blackout = server.black_out(ROOT, "news", 12, Some(13)).await.unwrap();
    let packaged = package(&world, "news", 10, 5).await;
    let kids = packaged.kids();
    assert_eq!(packaged.body.roots, Some(vec![ROOT]));
    let leaves: Vec<_> = packaged
        .leaves
        .iter()
        .map(|leaf| leaf.body().keys[0].kid)
        .collect();
    assert_eq!(leaves, [kids[1], kids[3]]);

    let mut device = world.device(1).await;
    assert_eq!(
        each(&world, &mut device, &kids).await,
        [NONE, LEAF, NONE, LEAF, NONE]
    );
    let response = ask(&world, &mut device, &kids).await;
    assert_eq!(response.results.len(), 6);
    let (_, key) = open_root(&world, &device, result(&response, ROOT));
    // The leaf that rides in the content opens as well, and to the same key.
    let riding = packaged.leaves.iter().zip([1, 3]);
    for (leaf, place) in riding {
        let answered = license(&world, result(&response, kids[place]));
        assert_eq!(open_leaf(leaf, &key), open_leaf(&answered, &key));
        assert_eq!(open_leaf(leaf, &key), packaged.keys[place]);
    }
    server.lift_blackout(ROOT, blackout).await.unwrap();
    assert_eq!(each(&world, &mut device, &kids[2..3]).await, [LEAF]);
    server
        .put_content_under_root(ROOT, "news", Periods::ALL)
        .await
        .unwrap();
    assert_eq!(each(&world, &mut device, &kids).await, [LEAF; 5]);
    server.take_content_off_root(ROOT, "news").await.unwrap();
    assert_eq!(each(&world, &mut device, &kids).await, [NONE; 5]);
}

#[tokio::test]
async fn a_blacked_out_region_cannot_have_the_programme_and_others_can() {
    let world = world().await;
    let server = &world.server;
    root(&world, OTHER_ROOT, "south").await;
    for region in [ROOT, OTHER_ROOT] {
        for channel in ["match", "news"] {
            server
                .put_content_under_root(region, channel, Periods::ALL)
                .await
                .unwrap();
        }
    }
    server.black_out(ROOT, "match", 1, Some(2)).await.unwrap();
    for (account, roots) in [
        ("north", &[ROOT][..]),
        ("south", &[OTHER_ROOT]),
        ("both", &[ROOT, OTHER_ROOT]),
    ] {
        for root in roots {
            grant(&world, account, *root).await;
        }
    }
    let packaged = package(&world, "match", 0, 3).await;
    assert_eq!(packaged.body.roots, Some(vec![ROOT, OTHER_ROOT]));
    assert_eq!(packaged.leaves.len(), 5);
    let (kids, news) = (packaged.kids(), periods(&world, "news", 1, 1).await);

    let mut north = device_of(&world, "north", 1).await;
    assert_eq!(each(&world, &mut north, &kids).await, [LEAF, NONE, LEAF]);
    assert_eq!(
        each(&world, &mut north, &news).await,
        [LEAF],
        "another channel goes on"
    );
    let mut south = device_of(&world, "south", 2).await;
    assert_eq!(each(&world, &mut south, &kids).await, [LEAF; 3]);
    let mut both = device_of(&world, "both", 3).await;
    let response = ask(&world, &mut both, &kids).await;
    let under: Vec<_> = kids
        .iter()
        .map(|kid| license(&world, result(&response, *kid)).body().leaf_of().unwrap())
        .collect();
    assert_eq!(under, [ROOT, OTHER_ROOT, ROOT]);
    assert_eq!(response.results.len(), 5, "both roots go along");

    // No leaf under the one root opens under the other.
    let answer = ask(&world, &mut north, &kids).await;
    let (_, key) = open_root(&world, &north, result(&answer, ROOT));
    for leaf in &packaged.leaves {
        let opens = leaf.open_under(&key).is_ok();
        assert_eq!(opens, leaf.body().leaf_of() == Some(ROOT));
    }
}

#[tokio::test]
async fn the_archive_is_sold_by_the_programme_as_well() {
    let world = world().await;
    world
        .server
        .put_content_under_root(ROOT, "news", Periods::ALL)
        .await
        .unwrap();
    let kids = periods(&world, "news", 0, 3).await;
    grant(&world, "subscriber", ROOT).await;
    grant(&world, "buyer", kids[1]).await;
    let mut subscriber = device_of(&world, "subscriber", 1).await;
    assert_eq!(each(&world, &mut subscriber, &kids).await, [LEAF; 3]);
    let mut buyer = device_of(&world, "buyer", 2).await;
    let simple = Ok(LicenseKind::Simple);
    assert_eq!(each(&world, &mut buyer, &kids).await, [NONE, simple, NONE]);
}

#[tokio::test]
async fn content_is_under_so_many_roots_and_no_more() {
    let world = world().await;
    let server = &world.server;
    for number in 1..=64_u8 {
        let kid = Kid::new([0x80 | number; 16]);
        root(&world, kid, &format!("region {number}")).await;
        server
            .put_content_under_root(kid, "news", Periods::ALL)
            .await
            .unwrap();
        server.put_key_under_root(kid, KID).await.unwrap();
    }
    let told = |refused: keyward_server::Error| refused.to_string();
    let refused = server.put_content_under_root(ROOT, "news", Periods::ALL).await;
    assert_eq!(told(refused.unwrap_err()), "`news` is under 64 roots already");
    let refused = server.put_key_under_root(ROOT, KID).await;
    assert_eq!(
        told(refused.unwrap_err()),
        format!("`{KID}` is under 64 roots already")
    );
    // All of them are put before who decides, and each can be named in an answer.
    let packaged = package(&world, "news", 0, 1).await;
    assert_eq!(packaged.body.roots.map(|roots| roots.len()), Some(64));
    assert_eq!(packaged.leaves.len(), 64);
    let last = Kid::new([0x80 | 64; 16]);
    grant(&world, ACCOUNT, last).await;
    let mut device = world.device(1).await;
    assert_eq!(each(&world, &mut device, &[KID]).await, [LEAF]);
}
