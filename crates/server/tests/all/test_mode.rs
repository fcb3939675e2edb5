//! Test operators: what a request can ask of one, and that no other operator listens.

mod answers;
mod chains;
mod enrolment;
mod forms;
mod keys;
mod parameters;
mod places;
mod specification;
mod transcript;

use core::time::Duration;
use std::sync::Arc;

use crate::common::{Device, NOW, World, options, pending, read};
use keyward_crypto::hpke::Suite;
use keyward_license::{
    error_code::Problem,
    ids::Kid,
    license::{CoseAlgorithm, ExplicitRestriction, Flag, KeyType, License, LicenseBody},
    request::LicenseRequest,
    response::{Denial, KeyResult, LicenseResponse},
};
use keyward_server::{Server, clock::SettableClock, operator, sealing::KekSource};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

/// A key id that no operator knows.
pub(crate) const FILM: Kid = Kid::new([0x61; 16]);
pub(crate) const ROOT: Kid = Kid::new([0x0a; 16]);

pub(crate) const SERVICE_SPECIFIC: u64 = 308;

/// A test operator.
pub(crate) async fn world() -> World {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("operator");
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let made = operator::init_test(&dir, options(KekSource::File), NOW, &mut rng)
        .await
        .unwrap();
    let clock = Arc::new(SettableClock::new(NOW));
    let server = Server::open(&dir, KekSource::File, clock.clone()).await.unwrap();
    World {
        home,
        clock,
        server,
        admin_token: made.admin_token.expose().to_owned(),
    }
}

/// A device that has enrolled with the token of everybody.
pub(crate) async fn device(world: &World, seed: u8) -> Device {
    let mut device = Device::new(seed, &Suite::ALL);
    device.enrol(world, "test").await.unwrap();
    device
}

/// A request of a client that can do everything.
pub(crate) async fn request(world: &World, device: &mut Device, kids: &[Kid]) -> LicenseRequest {
    let mut body = device.request(&world.recipient().await, kids);
    let capabilities = &mut body.capabilities;
    let key_types = [
        KeyType::CencCtr,
        KeyType::CencCbc,
        KeyType::File,
        KeyType::Root,
        KeyType::Exchange,
    ];
    capabilities.key_types = key_types.map(KeyType::number).to_vec();
    capabilities.terms = LicenseBody::TERMS.to_vec();
    capabilities.explicit_restrictions = Some(ExplicitRestriction::ALL.to_vec());
    capabilities.extended_restrictions = Some(vec![400, 401]);
    capabilities.source_ids = Some(vec![267]);
    capabilities.exchange_algorithms = Some(vec![CoseAlgorithm(1), CoseAlgorithm(-3)]);
    capabilities.more_licenses = Some(Flag);
    body
}

/// Asks with a query.
pub(crate) async fn send(
    world: &World,
    device: &mut Device,
    body: &LicenseRequest,
    query: Option<&str>,
) -> Result<LicenseResponse, Problem> {
    let recipient = world.recipient().await;
    let sealed = device.seal(&recipient, Suite::XWing, body);
    let answer = world.server.issue_as_asked(&sealed, query).await?;
    Ok(read(world, &answer, &pending(body)))
}

/// Asks for key ids with a query; the answer is as V-014 wants it.
pub(crate) async fn ask(world: &World, device: &mut Device, kids: &[Kid], query: &str) -> LicenseResponse {
    let body = request(world, device, kids).await;
    let response = send(world, device, &body, Some(query)).await.unwrap();
    response.check_results(|kid| kids.contains(kid), true).unwrap();
    response
}

/// The denial that every key id got.
pub(crate) fn denied(response: &LicenseResponse) -> Denial {
    let denials: Vec<_> = response
        .results
        .iter()
        .map(|result| result.denial.clone().unwrap())
        .collect();
    assert!(denials.windows(2).all(|pair| pair[0] == pair[1]), "{denials:?}");
    denials.into_iter().next().unwrap()
}

/// The result for a key id.
pub(crate) fn result(response: &LicenseResponse, kid: Kid) -> &KeyResult {
    response.results.iter().find(|result| result.kid == kid).unwrap()
}

pub(crate) fn license(world: &World, result: &KeyResult) -> License {
    assert_eq!(result.denial, None);
    let bytes = &result.license.as_ref().unwrap().0;
    License::verify(bytes, &world.anchor(), Some(NOW)).unwrap()
}
