//! Roots and leaves: who gets them, what is under a root, when to renew.

mod administration;
mod along;
mod bundles;
mod issue;
mod renewal;
mod spaces;

use crate::asking;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::common::{ACCOUNT, Device, KID, NOW, World};
use keyward_crypto::RootKey;
use keyward_license::{
    ids::Kid,
    license::{Flag, KeyType, License, LicenseKind},
    packaging::PackagingRequest,
    request::LicenseRequest,
    response::{KeyResult, LicenseResponse},
};
use keyward_server::{admin::TokenRequest, roots::NewRoot};
use rand_chacha::rand_core::SeedableRng;

pub(crate) const ROOT: Kid = Kid::new([0x0a; 16]);
pub(crate) const OTHER_ROOT: Kid = Kid::new([0x0b; 16]);
static REQUESTS: AtomicU8 = AtomicU8::new(0);

pub(crate) const NOT_ENTITLED: u64 = 301;
pub(crate) const LACKS_CAPABILITY: u64 = 304;

/// A world where nobody may have anything, with a root.
pub(crate) async fn world() -> World {
    let world = World::new().await;
    for entitlement in world.server.entitlements(ACCOUNT).await.unwrap() {
        world.server.revoke_entitlement(entitlement.id).await.unwrap();
    }
    root(&world, ROOT, "sport").await;
    world
}

pub(crate) async fn root(world: &World, kid: Kid, name: &str) {
    let new = NewRoot {
        kid: Some(kid),
        ..NewRoot::new(name)
    };
    assert_eq!(world.server.create_root(new).await.unwrap(), kid);
}

/// The world with [`KID`] under the root, which the account has.
pub(crate) async fn granted() -> World {
    let world = world().await;
    world.server.put_key_under_root(ROOT, KID).await.unwrap();
    grant(&world, ACCOUNT, ROOT).await;
    world
}

pub(crate) async fn grant(world: &World, account: &str, kid: Kid) {
    world
        .server
        .grant(account, Some(kid), "default", None)
        .await
        .unwrap();
}

pub(crate) async fn device_of(world: &World, account: &str, seed: u8) -> Device {
    let mut device = Device::new(seed, &keyward_crypto::hpke::Suite::ALL);
    let token = world.token_for(TokenRequest::new(account)).await;
    device.enrol(world, &token).await.unwrap();
    device
}

/// A request of a client that knows roots, and takes licenses that go along.
pub(crate) async fn request(world: &World, device: &mut Device, kids: &[Kid]) -> LicenseRequest {
    let mut body = device.request(&world.recipient().await, kids);
    body.capabilities.key_types.push(KeyType::Root.number());
    body.capabilities.more_licenses = Some(Flag);
    body
}

/// Asks as such a client.
pub(crate) async fn ask(world: &World, device: &mut Device, kids: &[Kid]) -> LicenseResponse {
    let body = request(world, device, kids).await;
    answered(world, device, &body).await
}

/// The answer, whose results are as V-014 wants them.
pub(crate) async fn answered(world: &World, device: &mut Device, body: &LicenseRequest) -> LicenseResponse {
    let response = device.ask(world, body).await.unwrap();
    let more = body.capabilities.more_licenses.is_some();
    let asked = body.kids.as_deref().unwrap();
    response.check_results(|kid| asked.contains(kid), more).unwrap();
    response
}

/// What became of each key id, in the order of the results.
pub(crate) fn kinds(world: &World, response: &LicenseResponse) -> Vec<(Kid, Result<LicenseKind, u64>)> {
    let kind = |result: &KeyResult| match &result.denial {
        Some(denial) => Err(denial.code),
        None => Ok(license(world, result).body().kind),
    };
    let results = response.results.iter();
    results.map(|result| (result.kid, kind(result))).collect()
}

pub(crate) fn license(world: &World, result: &KeyResult) -> License {
    let bytes = &result.license.as_ref().unwrap().0;
    License::verify(bytes, &world.anchor(), Some(NOW)).unwrap()
}

/// The result for a key id.
pub(crate) fn result(response: &LicenseResponse, kid: Kid) -> &KeyResult {
    response.results.iter().find(|result| result.kid == kid).unwrap()
}

/// A root license and the root's key, opened by the device.
pub(crate) fn open_root(world: &World, device: &Device, result: &KeyResult) -> (License, RootKey) {
    let license = license(world, result);
    assert!(license.body().binding.is_device(&device.id()));
    let suite = license.sealing().suite();
    let key = device.sealing.iter().find(|key| Some(key.suite()) == suite);
    let sealed = license.sealed();
    let opened = key
        .unwrap()
        .open(
            &license.key_binding(),
            &sealed.encapsulated.0,
            &sealed.ciphertext.0,
        )
        .unwrap();
    let root = license.read_keys(&opened).unwrap().root_key().unwrap();
    (license, root)
}

/// A content key out of a leaf.
pub(crate) fn open_leaf(leaf: &License, root: &RootKey) -> [u8; 16] {
    leaf.open_under(root).unwrap().keys[0].0[..].try_into().unwrap()
}

/// The key ids of crypto periods of a piece of content with one track.
pub(crate) async fn periods(world: &World, content_id: &str, first: u64, count: u64) -> Vec<Kid> {
    let packaged = package(world, content_id, first, count).await;
    packaged.kids()
}

pub(crate) async fn package(world: &World, content_id: &str, first: u64, count: u64) -> asking::Packaged {
    let mut packager = world.packager(200, &keyward_crypto::hpke::Suite::ALL).await;
    let recipient = world.recipient().await;
    // Each request has a nonce of its own.
    let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
    packager.rng = SeedableRng::from_seed([number; 32]);
    let tracks = vec![asking::track("video", KeyType::CencCtr)];
    let body = PackagingRequest {
        content_header: false,
        crypto_periods: Some(count),
        first_period: Some(first),
        leaves: Some(Flag),
        ..asking::request(&mut packager, &recipient, content_id, tracks)
    };
    asking::ask(world, &mut packager, &body).await.unwrap()
}
