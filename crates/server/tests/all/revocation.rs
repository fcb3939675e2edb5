//! Who is not trusted any more: what the server refuses, and the lists that it makes, pushes and hands out.

mod administration;
mod certificates;
mod devices;
mod lists;
mod models;

use crate::asking;
use crate::common::{Device, KID, World, denial};
use keyward_crypto::ecdsa::SigningKey;
use keyward_crypto::x509::{
    Certificate,
    issue::{ListProfile, Revoked, revocation_list},
    revocation::RevocationList as CertificateRevocationList,
};
use keyward_license::{
    response::LicenseResponse,
    revocation::{ListHeld, RevocationList},
};
use keyward_server::{
    admin::TokenRequest,
    clock::Clock,
    operator,
    revocation::PublishedList,
    sealing::{KekSource, KeyEncryptionKey},
};

pub(crate) const DAY: u64 = 86_400;

/// Asks for [`KID`], holding these lists.
pub(crate) async fn ask_holding(world: &World, device: &mut Device, held: Vec<ListHeld>) -> LicenseResponse {
    let recipient = world.recipient().await;
    let mut body = device.request(&recipient, &[KID]);
    body.revocation_lists = (!held.is_empty()).then_some(held);
    device.ask(world, &body).await.unwrap()
}

pub(crate) async fn ask(world: &World, device: &mut Device) -> LicenseResponse {
    ask_holding(world, device, Vec::new()).await
}

/// The denial that a device gets for the one key id, 0 for a license.
pub(crate) async fn told(world: &World, device: &mut Device) -> u64 {
    let response = ask(world, device).await;
    match &response.results[0].license {
        Some(_) => 0,
        None => denial(&response.results[0]),
    }
}

/// A device of a maker and model.
pub(crate) async fn device_of(world: &World, seed: u8, maker: &str, model: &str) -> Device {
    let mut device = Device::new(seed, &keyward_crypto::hpke::Suite::ALL);
    let token = world.token_for(TokenRequest {
        maker: maker.into(),
        model: model.into(),
        ..TokenRequest::new(crate::common::ACCOUNT)
    });
    device.enrol(world, &token.await).await.unwrap();
    device
}

pub(crate) async fn list(world: &World, name: &str) -> PublishedList {
    let lists = world.server.revocation_lists().await.unwrap();
    lists.into_iter().find(|list| list.name == name).unwrap()
}

/// A list of certificates, verified as whoever gets it verifies it.
pub(crate) fn certificates(world: &World, list: &RevocationList) -> CertificateRevocationList {
    let RevocationList::Certificates { list, path } = list else {
        unreachable!("a list of devices");
    };
    let list = CertificateRevocationList::parse(&list.0).unwrap();
    let path: Vec<_> = path.iter().map(|der| der.0.clone()).collect();
    let now = world.clock.now().0;
    world.anchor().verify_list_of(&list, &path, now, now).unwrap();
    list
}

pub(crate) fn root_key(world: &World) -> SigningKey {
    let kek = std::fs::read_to_string(world.dir().join("kek")).unwrap();
    let kek = KeyEncryptionKey::from_hex(&kek).unwrap();
    operator::read_root_key(&world.dir(), &world.server.operator(), &kek).unwrap()
}

/// A list of the root, made with the root key.
pub(crate) fn root_list(world: &World, number: u64, revoked: &[Revoked<'_>]) -> Vec<u8> {
    let root = Certificate::parse(world.anchor().der()).unwrap();
    let now = world.clock.now().0;
    let profile = ListProfile {
        number,
        this_update: now,
        next_update: now + 90 * DAY,
        revoked,
    };
    revocation_list(&profile, &root, &root_key(world)).unwrap()
}
