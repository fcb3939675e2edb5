//! V-063, V-064: revocation lists at the client; what they say of licenses and signers; and R-015, its own revocation.

mod lists;
mod opened;
mod revocation;
mod signers;

use keyward_client::ClientError;
use keyward_crypto::{ChainFault, CryptoError, x509::Role};
use keyward_license::{
    error_code::ErrorCode,
    license::{Flag, LicenseBody},
    response::Denial,
    revocation::{ListFault, RevocationList},
    signed::MessageError,
    time::Timestamp,
};

use crate::{
    licensed::pass,
    world::{TestClient, World},
};

const REVOKED: CryptoError = CryptoError::ChainRefused(ChainFault::Revoked);

/// The list of the server authority, by its number.
fn server_list(world: &World, number: u64, revoked: &[(&[u8], Timestamp)]) -> RevocationList {
    world.server.list(Some(Role::LicenseServer), number, revoked)
}

/// The device's own certificate.
fn own_certificate(client: &TestClient) -> Vec<u8> {
    let enrolment = client.enrolments().next().unwrap();
    enrolment.certificate().unwrap().der().to_vec()
}

fn install(world: &mut World, client: &mut TestClient, lists: Vec<RevocationList>) -> Vec<ListFault> {
    let file = world.server.lists_file(lists);
    let (operator, taken) = world.run(client.install_lists(file)).unwrap();
    assert_eq!(operator, world.server.operator.id());
    taken.refused
}

fn held(world: &mut World, client: &TestClient) -> Vec<(Vec<u8>, String)> {
    let trust = world.run(client.trust()).unwrap();
    let lists = trust[0].lists.iter();
    lists
        .map(|list| (list.list.as_bytes().to_vec(), list.number.to_string()))
        .collect()
}

/// A denial for that the device is revoked.
fn revoked_denial() -> Denial {
    Denial {
        code: ErrorCode::DeviceRevoked.number(),
        sentence: "this device was reported stolen".into(),
        url: None,
    }
}

/// Why a message was refused whose signer is not trusted.
fn distrust<T: core::fmt::Debug>(outcome: Result<T, ClientError>) -> CryptoError {
    match outcome {
        Err(ClientError::Message {
            error: MessageError::Signer(fault),
            ..
        }) => fault,
        other => panic!("{other:?}"),
    }
}

/// Lets time pass, here and at the server.
fn later(world: &mut World, seconds: u64) {
    pass(world, seconds);
    world.server.now = world.server.now.plus(seconds);
}

fn ends_with_revocation(body: &mut LicenseBody) {
    body.ends_with_revocation = Some(Flag);
}
