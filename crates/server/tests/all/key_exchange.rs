//! Key exchange: exchange keys from their making to their end, apart from content, in licenses and on the server.

mod backups;
mod keys;
mod licenses;
mod operations;
mod served;
mod spaces;
mod streams;
mod tokens;
mod wire;

use crate::common::World;
use keyward_crypto::{
    SecretBytes,
    exchange::{Algorithm, Operation},
};
use keyward_license::ids::Kid;
use keyward_server::{
    Error, Server,
    key_exchange::{Caller, Item, NewKey, Output},
};

/// The key id that most tests are about.
const METERS: Kid = Kid::new([0xe1; 16]);

/// An exchange key of a key id, with nothing else.
fn new_key(kid: Kid, algorithm: Algorithm, operation: Operation) -> NewKey {
    NewKey {
        kid: Some(kid),
        ..NewKey::new("meters", algorithm, operation)
    }
}

/// An operator with an exchange key under [`METERS`].
async fn world_with(algorithm: Algorithm, operation: Operation) -> World {
    let world = World::new().await;
    let new = new_key(METERS, algorithm, operation);
    world.server.create_exchange_key(new).await.unwrap();
    world
}

fn value(byte: u8, len: usize) -> SecretBytes {
    SecretBytes::new(vec![byte; len])
}

/// Performs one item as the operator.
async fn perform_one(server: &Server, kid: Kid, item: Item) -> Result<Output, String> {
    let results = server
        .exchange_perform(&Caller::operator(), kid, vec![item])
        .await;
    let result = results.map_err(|error| error.to_string())?.pop().unwrap();
    result.map_err(|fault| fault.name().to_owned())
}

async fn encrypt(server: &Server, kid: Kid, data: &[u8]) -> Vec<u8> {
    let item = Item::Encrypt {
        data: SecretBytes::new(data.to_vec()),
        aad: Vec::new(),
    };
    match perform_one(server, kid, item).await.unwrap() {
        Output::Encrypted(result) => result,
        other => panic!("{other:?}"),
    }
}

async fn decrypt(server: &Server, kid: Kid, result: &[u8]) -> Result<Vec<u8>, String> {
    let item = Item::Decrypt {
        result: result.to_vec(),
        aad: Vec::new(),
    };
    match perform_one(server, kid, item).await? {
        Output::Decrypted(data) => Ok(data.expose().to_vec()),
        other => panic!("{other:?}"),
    }
}

/// What was refused, as it is told.
fn told<T>(result: Result<T, Error>) -> String {
    result.err().unwrap().to_string()
}
