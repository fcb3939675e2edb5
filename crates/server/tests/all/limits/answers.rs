//! The largest answers are far below what clients and proxies take.

use keyward_crypto::{Secret, hpke::Suite};
use keyward_license::{
    carrier::MAX_ANSWER,
    codec::Wire,
    ids::{Kid, Nonce},
    license::KeyType,
    packaging::{PackagingRequest, WantedTrack},
    signed,
};

use crate::common::{World, client_info, pending, read, seal};

#[tokio::test]
async fn the_answer_with_the_most_licenses_is_one_that_clients_read() {
    let world = World::new().await;
    let kids: Vec<_> = (0..=255).map(|number| Kid::new([number; 16])).collect();
    for kid in kids.iter().filter(|kid| **kid != crate::common::KID) {
        world.server.register_key(*kid, KeyType::File, 1).await.unwrap();
    }
    let recipient = world.recipient().await;
    let mut device = world.device(1).await;
    let body = device.request(&recipient, &kids);
    let sealed = device.seal(&recipient, Suite::XWing, &body);
    let answer = world.server.issue(&sealed).await.unwrap();
    let results = read(&world, &answer, &pending(&body)).results;
    let licenses = results.iter().filter(|result| result.license.is_some());
    assert_eq!(licenses.count(), 256);
    assert!(answer.len() < MAX_ANSWER / 8, "{}", answer.len());
}

#[tokio::test]
async fn the_answer_with_the_most_tracks_is_one_that_packagers_read() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let mut packager = world.packager(2, &Suite::ALL).await;
    let tracks = (0..64).map(|number| WantedTrack {
        label: format!("{number:064}"),
        key_type: KeyType::CencCtr,
    });
    let body = PackagingRequest {
        version: 1,
        recipient: recipient.digest,
        nonce: Nonce::new([7; 16]),
        response_key: Secret::new([8; 32]),
        content_id: "f".repeat(255),
        tracks: tracks.collect(),
        content_header: true,
        crypto_periods: None,
        first_period: None,
        leaves: None,
        client: client_info(),
    };
    let (body, chain) = (body.encode(), &packager.chain);
    let message = signed::sign::<PackagingRequest>(&body, &[], chain, &packager.signing).unwrap();
    let sealed = seal::<PackagingRequest>(&recipient, Suite::XWing, &message, &mut packager.rng);
    let answer = world.server.package(&sealed).await.unwrap();
    assert!(answer.len() < MAX_ANSWER / 64, "{}", answer.len());
}
