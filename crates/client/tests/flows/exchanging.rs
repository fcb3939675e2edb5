//! A device with a license for key exchange of any terms, and the server's side of the operations, which is done with
//! the raw algorithms.

use keyward_client::{
    ClientError,
    acquire::Wanted,
    install::AcquiredKey,
    key_exchange::{Decryptor, Encryptor, Ended, PerformError, Signer, Unwrapper, Verifier, Wrapper},
    session::Acquisition,
};
use keyward_crypto::{
    SecretBytes,
    exchange::{self, Algorithm, ExchangeKey, Operation},
};
use keyward_license::{
    ids::{Kid, LicenseId},
    license::{KeyDescription, LicenseBody},
};
use keyward_testkit::fake_server::ExchangeKeys;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::{
    licensed::asking,
    world::{TestClient, World, kid, wanted},
};

/// The whole key of a number, as a server has it.
pub(crate) fn whole_key(algorithm: Algorithm, number: u8) -> ExchangeKey {
    ExchangeKey::generate(algorithm, &mut ChaCha20Rng::from_seed([number; 32]))
}

/// One version of a key for the client's operation, with version 1 and number 1.
pub(crate) fn exchange_keys(number: u8, algorithm: Algorithm, operation: Operation) -> ExchangeKeys {
    ExchangeKeys::new(kid(number), operation, &[(1, &whole_key(algorithm, 1))])
}

/// A world whose device has a license for the exchange key 1, described and termed like this.
pub(crate) fn exchange_world(
    algorithm: Algorithm,
    operation: Operation,
    describe: impl Fn(&mut KeyDescription),
    edit: impl Fn(&mut LicenseBody) + 'static,
) -> (World, TestClient) {
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(asking());
    let keys = exchange_keys(1, algorithm, operation).with(describe);
    world.server.exchange.insert(kid(1), keys);
    world.server.bent.license = Some(Box::new(edit));
    get_license(&mut world, &mut client, wanted(&[1])).unwrap();
    world.trace.clear();
    (world, client)
}

/// A world whose device may encrypt with GCM, without terms.
pub(crate) fn encrypting(edit: impl Fn(&mut LicenseBody) + 'static) -> (World, TestClient) {
    exchange_world(Algorithm::A256Gcm, Operation::Encrypt, |_| (), edit)
}

/// A world whose device may sign so many times.
pub(crate) fn signing(uses: u64) -> (World, TestClient) {
    let limit = move |key: &mut KeyDescription| key.uses = Some(uses);
    exchange_world(Algorithm::HmacSha256, Operation::Sign, limit, |_| ())
}

/// Acquires one license.
pub(crate) fn get_license(
    world: &mut World,
    client: &mut TestClient,
    wanted: Wanted,
) -> Result<LicenseId, ClientError> {
    let acquired = world.run(client.acquire(wanted))?;
    match acquired.outcomes[..] {
        [(_, AcquiredKey::Stored(id) | AcquiredKey::InMemory(id))] => Ok(id),
        _ => panic!("{acquired:?}"),
    }
}

macro_rules! prepare {
    ($($name:ident $flow:ident $handle:ident)*) => {
        $(
            pub(crate) fn $name(
                world: &mut World,
                client: &mut TestClient,
                kid: Kid,
                algorithm: Option<Algorithm>,
            ) -> Result<$handle, ClientError> {
                let wanted = Wanted { kids: vec![kid], ..Wanted::default() };
                world.run(client.$flow(kid, algorithm, wanted, Acquisition::Never))
            }
        )*
    };
}

prepare! {
    encryptor prepare_encryptor Encryptor
    decryptor prepare_decryptor Decryptor
    signer prepare_signer Signer
    verifier prepare_verifier Verifier
    wrapper prepare_wrapper Wrapper
    unwrapper prepare_unwrapper Unwrapper
}

/// The encryptor of key 1.
pub(crate) fn encryptor_of_1(world: &mut World, client: &mut TestClient) -> Result<Encryptor, ClientError> {
    encryptor(world, client, kid(1), None)
}

/// The signer of key 1.
pub(crate) fn signer_of_1(world: &mut World, client: &mut TestClient) -> Result<Signer, ClientError> {
    signer(world, client, kid(1), None)
}

/// Encrypts something now, and has the server open it.
pub(crate) fn encrypts(world: &World, key: &Encryptor) -> Result<(), PerformError> {
    let mut rng = ChaCha20Rng::from_seed([4; 32]);
    let result = key.encrypt(world.moment, b"", b"a reading", &mut rng)?;
    assert_eq!(result[..4], [0, 0, 0, 1]);
    let opened = server_decrypts(&whole_key(key.algorithm(), 1), b"", &result[4..]);
    assert_eq!(opened.unwrap().expose(), b"a reading");
    Ok(())
}

/// Signs something now, and has the server verify it.
pub(crate) fn signs(world: &World, key: &Signer) -> Result<(), PerformError> {
    let result = key.sign(world.moment, b"a reading")?;
    assert_eq!(result[..4], [0, 0, 0, 1]);
    assert!(server_verifies(
        &whole_key(key.algorithm(), 1),
        b"a reading",
        &result[4..]
    ));
    Ok(())
}

/// Why the key is gone.
pub(crate) fn gone(outcome: Result<(), PerformError>) -> Ended {
    match outcome {
        Err(PerformError::Ended { kid: of, why }) if of == kid(1) => why,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn server_encrypts(key: &ExchangeKey, version: u32, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let encryptor = exchange::Encryptor::new(&key.material(Operation::Encrypt).unwrap()).unwrap();
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    versioned(version, &encryptor.encrypt(aad, plaintext, &mut rng).unwrap())
}

pub(crate) fn server_decrypts(key: &ExchangeKey, aad: &[u8], output: &[u8]) -> Option<SecretBytes> {
    let decryptor = exchange::Decryptor::new(&key.material(Operation::Decrypt).unwrap()).unwrap();
    decryptor.decrypt(aad, output).ok()
}

pub(crate) fn server_signs(key: &ExchangeKey, version: u32, message: &[u8]) -> Vec<u8> {
    let signer = exchange::Signer::new(&key.material(Operation::Sign).unwrap()).unwrap();
    versioned(version, &signer.sign(message).unwrap())
}

pub(crate) fn server_verifies(key: &ExchangeKey, message: &[u8], signature: &[u8]) -> bool {
    let verifier = exchange::Verifier::new(&key.material(Operation::Verify).unwrap()).unwrap();
    verifier.verify(message, signature).is_ok()
}

pub(crate) fn versioned(version: u32, output: &[u8]) -> Vec<u8> {
    [&version.to_be_bytes()[..], output].concat()
}

/// A key without further entries.
pub(crate) const ANY: fn(&mut KeyDescription) = |_| ();
/// A license without terms.
pub(crate) const NO_TERMS: fn(&mut LicenseBody) = |_| ();

/// What the application draws nonces with.
pub(crate) fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([6; 32])
}

/// One version of a key that encrypts with GCM.
pub(crate) fn of_gcm() -> ExchangeKeys {
    exchange_keys(1, Algorithm::A256Gcm, Operation::Encrypt)
}
