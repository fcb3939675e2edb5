//! Key exchange on a real disk: every operation through the host, and use limits that outlive the process.

use keyward_client::{ClientError, acquire::Wanted, enforce::Availability, session::Acquisition};
use keyward_client_native::{NativeClient, NativeError};
use keyward_crypto::exchange::{Algorithm, ExchangeKey, Operation};
use keyward_license::usage_rules::Action;
use keyward_testkit::fake_server::ExchangeKeys;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::world::{World, kid, open_offline};

const USES: u64 = 3;

/// A client directory with licenses for both operations of each of these algorithms, and one that may be used three
/// times to sign.
fn world() -> (World, NativeClient) {
    let world = World::licensed();
    let mut client = world.open().unwrap();
    let mut kids = Vec::new();
    for (number, algorithm) in [Algorithm::A256Gcm, Algorithm::Ed25519, Algorithm::A128Kw]
        .into_iter()
        .enumerate()
    {
        let key = ExchangeKey::generate(algorithm, &mut ChaCha20Rng::from_seed([7; 32]));
        for (way, operation) in algorithm.operations().into_iter().enumerate() {
            let of = kid(u8::try_from(100 + 2 * number + way).unwrap());
            let keys = ExchangeKeys::new(of, operation, &[(1, &key)]);
            world.server.borrow_mut().exchange.insert(of, keys);
            kids.push(of);
        }
    }
    let key = ExchangeKey::generate(Algorithm::HmacSha256, &mut ChaCha20Rng::from_seed([7; 32]));
    let limited =
        ExchangeKeys::new(kid(120), Operation::Sign, &[(1, &key)]).with(|key| key.uses = Some(USES));
    world.server.borrow_mut().exchange.insert(kid(120), limited);
    kids.push(kid(120));
    let wanted = Wanted {
        kids,
        ..Wanted::default()
    };
    client.acquire(wanted).unwrap();
    (world, client)
}

#[test]
fn every_operation_goes_through_the_host_and_its_mirror_undoes_it() {
    let (_world, mut client) = world();
    let (wanted, never) = (Wanted::default, Acquisition::Never);
    let encryptor = client.prepare_encryptor(kid(100), None, wanted(), never).unwrap();
    let decryptor = client.prepare_decryptor(kid(101), None, wanted(), never).unwrap();
    let result = client.encrypt(&encryptor, b"aad", b"text").unwrap();
    assert_eq!(
        client.decrypt(&decryptor, b"aad", &result).unwrap().expose(),
        b"text"
    );
    assert!(client.decrypt(&decryptor, b"", &result).is_err());
    let again = client.encrypt(&encryptor, b"aad", b"text").unwrap();
    assert_ne!(result, again, "the nonce is another one");
    let signer = client.prepare_signer(kid(102), None, wanted(), never).unwrap();
    let verifier = client.prepare_verifier(kid(103), None, wanted(), never).unwrap();
    let result = client.sign(&signer, b"text").unwrap();
    client.verify(&verifier, b"text", &result).unwrap();
    let forged = client.verify(&verifier, b"texts", &result).unwrap_err();
    assert!(matches!(forged, NativeError::Perform(_)) && !forged.hint().is_empty());
    let wrapper = client.prepare_wrapper(kid(104), None, wanted(), never).unwrap();
    let unwrapper = client.prepare_unwrapper(kid(105), None, wanted(), never).unwrap();
    let result = client.wrap(&wrapper, &[9; 16]).unwrap();
    assert_eq!(client.unwrap(&unwrapper, &result).unwrap().expose(), [9; 16]);
    client.close(encryptor).unwrap();
    client.close(unwrapper).unwrap();
    let found = client.find_for(Action::Perform, kid(100)).unwrap();
    assert!(matches!(found, Availability::Ready { .. }), "{found:?}");
}

#[test]
fn r_052_a_use_limit_outlives_the_process() {
    let (world, mut client) = world();
    let (wanted, never) = (Wanted::default, Acquisition::Never);
    let signer = client.prepare_signer(kid(120), None, wanted(), never).unwrap();
    client.sign(&signer, b"text").unwrap();
    client.close(signer).unwrap();
    drop(client);
    let mut client = open_offline(&world.folder()).unwrap();
    let signer = client.prepare_signer(kid(120), None, wanted(), never).unwrap();
    assert_eq!(signer.uses_left(), Some(USES - 1));
    client.sign(&signer, b"text").unwrap();
    // Uses are recorded one by one: the client keeps up by itself.
    client.sign(&signer, b"text").unwrap();
    let used_up = client.sign(&signer, b"text").unwrap_err();
    assert!(
        matches!(used_up, NativeError::Client(ClientError::UsedUp { .. })),
        "{used_up}"
    );
    drop(client);
    let mut client = open_offline(&world.folder()).unwrap();
    assert_eq!(
        client.find_for(Action::Perform, kid(120)).unwrap(),
        Availability::UsedUp
    );
}
