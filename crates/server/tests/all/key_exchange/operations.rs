//! Mirror operations, many in a call: each against a client's, mixed outcomes, records, races.

use keyward_crypto::{
    SecretBytes,
    exchange::{Algorithm, ExchangeKey, Operation},
};
use keyward_license::{
    ids::Kid,
    key_exchange::{Input, Output as Made, Performer, Ring},
};
use keyward_server::{
    Error,
    key_exchange::{
        Caller, Destroy, Item, MAX_CALL_BYTES, MAX_ITEMS, NewKey, Output, UseOutcome, Verification,
    },
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::{METERS, decrypt, encrypt, new_key, perform_one, told, world_with};
use crate::common::World;

const DATA: &[u8] = b"sixteen bytes... and a few more.";

/// What a client has of a key: its operation at one version.
fn client(kid: Kid, version: u32, key: &ExchangeKey, operation: Operation) -> Performer {
    let material = key.material(operation).unwrap();
    Performer::new(Ring::new(kid, None, vec![(version, material)]).unwrap()).unwrap()
}

fn item(operation: Operation, bytes: &[u8], signature: &[u8]) -> Item {
    let (data, aad) = (bytes.to_vec(), Vec::new());
    match operation {
        Operation::Encrypt => Item::Encrypt {
            data: SecretBytes::new(data),
            aad,
        },
        Operation::Decrypt => Item::Decrypt { result: data, aad },
        Operation::Sign => Item::Sign { data },
        Operation::Verify => Item::Verify {
            data,
            signature: signature.to_vec(),
        },
        Operation::Wrap => Item::Wrap {
            key: SecretBytes::new(data),
        },
        Operation::Unwrap => Item::Unwrap { result: data },
    }
}

fn bytes(output: Output) -> Vec<u8> {
    match output {
        Output::Encrypted(bytes) | Output::Signed(bytes) | Output::Wrapped(bytes) => bytes,
        Output::Decrypted(bytes) | Output::Unwrapped(bytes) => bytes.expose().to_vec(),
        Output::Verified(verification) => vec![u8::from(verification.is_valid())],
    }
}

/// What the client does, the server undoes or checks, and the other way about.
#[tokio::test]
async fn the_server_mirrors_every_operation_of_every_algorithm() {
    let world = World::new().await;
    let rng = &mut ChaCha20Rng::from_seed([4; 32]);
    for algorithm in Algorithm::ALL {
        for operation in algorithm.operations() {
            let key = ExchangeKey::generate(algorithm, rng);
            let new = NewKey::new("mirror", algorithm, operation);
            let kid = world.server.import_exchange_key(new, key.bytes()).await.unwrap();
            let client = client(kid, 1, &key, operation);
            let mirror = operation.mirror();
            let name = format!("{algorithm} {operation}");
            if operation.produces() {
                let made = client.perform(
                    &Input {
                        data: DATA,
                        ..Input::default()
                    },
                    rng,
                );
                let Ok(Made::Result(result)) = made else {
                    panic!("{name}")
                };
                let given = if mirror == Operation::Verify {
                    DATA
                } else {
                    &result
                };
                let output = perform_one(&world.server, kid, item(mirror, given, &result)).await;
                let expected = if mirror == Operation::Verify {
                    vec![1]
                } else {
                    DATA.to_vec()
                };
                assert_eq!(bytes(output.unwrap()), expected, "{name}");
            } else {
                let output = perform_one(&world.server, kid, item(mirror, DATA, &[])).await;
                let result = bytes(output.unwrap());
                assert_eq!(result[..4], [0, 0, 0, 1], "{name}");
                let input = match operation {
                    Operation::Verify => Input {
                        data: DATA,
                        signature: Some(&result),
                        ..Input::default()
                    },
                    _ => Input {
                        data: &result,
                        ..Input::default()
                    },
                };
                match client.perform(&input, rng).unwrap() {
                    Made::Secret(data) => assert_eq!(data.expose(), DATA, "{name}"),
                    Made::Verified => assert_eq!(operation, Operation::Verify),
                    Made::Result(_) => panic!("{name}"),
                }
            }
            // The client's own operation is not the server's.
            let own = perform_one(&world.server, kid, item(operation, DATA, DATA)).await;
            assert_eq!(own.unwrap_err(), "wrong-operation", "{name}");
        }
    }
}

#[tokio::test]
async fn each_item_of_a_call_has_its_own_outcome() {
    let world = world_with(Algorithm::A256Gcm, Operation::Encrypt).await;
    let server = &world.server;
    let key = ExchangeKey::import(Algorithm::A256Gcm, &super::value(9, 32)).unwrap();
    server.rotate_exchange_key_to(METERS, key.bytes()).await.unwrap();
    let client = client(METERS, 2, &key, Operation::Encrypt);
    let rng = &mut ChaCha20Rng::from_seed([5; 32]);
    let mut make = |aad: &[u8]| {
        let input = Input {
            data: DATA,
            aad,
            signature: None,
        };
        match client.perform(&input, rng).unwrap() {
            Made::Result(result) => result,
            other => panic!("{other:?}"),
        }
    };
    let good = make(b"");
    let with_aad = make(b"meter 7");
    let mut altered = good.clone();
    *altered.last_mut().unwrap() ^= 1;
    let mut other_version = good.clone();
    other_version[3] = 3;
    let decrypted = |result: &[u8], aad: &[u8]| Item::Decrypt {
        result: result.to_vec(),
        aad: aad.to_vec(),
    };
    let items = vec![
        decrypted(&good, b""),
        decrypted(&altered, b""),
        decrypted(&other_version, b""),
        decrypted(&with_aad, b""),
        decrypted(&with_aad, b"meter 7"),
        decrypted(b"abc", b""),
        decrypted(&good[..20], b""),
        Item::Sign { data: vec![1] },
    ];
    let count = items.len();
    let results = server
        .exchange_perform(&Caller::operator(), METERS, items)
        .await
        .unwrap();
    let told: Vec<_> = results
        .into_iter()
        .map(|result| match result {
            Ok(Output::Decrypted(data)) => {
                assert_eq!(data.expose(), DATA);
                "ok"
            }
            Ok(other) => panic!("{other:?}"),
            Err(fault) => fault.name(),
        })
        .collect();
    assert_eq!(
        told,
        [
            "ok",
            "not-verified",
            "version-refused",
            "not-verified",
            "ok",
            "malformed",
            "not-verified",
            "wrong-operation"
        ]
    );
    let uses = server.exchange_uses(METERS, None, 10).await.unwrap();
    assert_eq!(uses.len(), 1, "one row a call");
    assert_eq!((uses[0].items, uses[0].failed), (count as u64, 6));
    assert_eq!((uses[0].outcome, uses[0].version), (UseOutcome::Partly, Some(2)));
    assert_eq!(uses[0].operation, Operation::Decrypt);
    assert_eq!(uses[0].caller, "operator");
}

#[tokio::test]
async fn a_signature_is_valid_invalid_or_not_judged() {
    let world = world_with(Algorithm::Ed25519, Operation::Verify).await;
    let server = &world.server;
    let other = new_key(Kid::new([2; 16]), Algorithm::HmacSha256, Operation::Sign);
    let tags = server
        .import_exchange_key(other, &super::value(3, 32))
        .await
        .unwrap();
    let key = ExchangeKey::import(Algorithm::HmacSha256, &super::value(3, 32)).unwrap();
    let client = client(tags, 1, &key, Operation::Sign);
    let input = Input {
        data: DATA,
        ..Input::default()
    };
    let Ok(Made::Result(tag)) = client.perform(&input, &mut ChaCha20Rng::from_seed([6; 32])) else {
        panic!()
    };
    let verify = |data: &[u8], signature: &[u8]| Item::Verify {
        data: data.to_vec(),
        signature: signature.to_vec(),
    };
    let items = vec![
        verify(DATA, &tag),
        verify(b"other data", &tag),
        verify(DATA, &tag[..20]),
        verify(DATA, &[0, 0]),
        verify(DATA, &[&[0, 0, 0, 9][..], &tag[4..]].concat()),
    ];
    let results = server
        .exchange_perform(&Caller::operator(), tags, items)
        .await
        .unwrap();
    let told: Vec<_> = results
        .iter()
        .map(|result| match result {
            Ok(Output::Verified(verification)) => match verification {
                Verification::Valid => "valid",
                Verification::Invalid => "invalid",
            },
            Ok(other) => panic!("{other:?}"),
            Err(fault) => fault.name(),
        })
        .collect();
    assert_eq!(
        told,
        ["valid", "invalid", "invalid", "malformed", "version-refused"]
    );
}

#[tokio::test]
async fn additional_data_are_the_context_and_only_where_the_algorithm_takes_them() {
    let world = World::new().await;
    let server = &world.server;
    let with_context = NewKey {
        context: Some(b"meters of town".to_vec()),
        ..new_key(METERS, Algorithm::A128Gcm, Operation::Decrypt)
    };
    server.create_exchange_key(with_context).await.unwrap();
    let encrypt = |aad: &[u8]| Item::Encrypt {
        data: SecretBytes::new(DATA.to_vec()),
        aad: aad.to_vec(),
    };
    for (aad, refused) in [
        (&b""[..], true),
        (b"meters of towN", true),
        (b"meters of town", false),
    ] {
        let result = perform_one(server, METERS, encrypt(aad)).await;
        assert_eq!(result.err().as_deref(), refused.then_some("context"));
    }
    let ctr = NewKey::new("ctr", Algorithm::A128Ctr, Operation::Decrypt);
    let ctr = server.create_exchange_key(ctr).await.unwrap();
    let result = perform_one(server, ctr, encrypt(b"x")).await;
    assert_eq!(result.unwrap_err(), "additional-data");
}

#[tokio::test]
async fn old_results_open_until_their_version_is_below_the_minimum_or_destroyed() {
    let world = world_with(Algorithm::A256Gcm, Operation::Encrypt).await;
    let server = &world.server;
    let rng = &mut ChaCha20Rng::from_seed([7; 32]);
    let mut results = Vec::new();
    for version in 2..=4 {
        let key = ExchangeKey::generate(Algorithm::A256Gcm, rng);
        let added = server.rotate_exchange_key_to(METERS, key.bytes()).await.unwrap();
        assert_eq!(added, version);
        let input = Input {
            data: DATA,
            ..Input::default()
        };
        let made = client(METERS, version, &key, Operation::Encrypt).perform(&input, rng);
        let Ok(Made::Result(result)) = made else {
            panic!("{version}")
        };
        results.push(result);
    }
    for result in &results {
        assert_eq!(decrypt(server, METERS, result).await.unwrap(), DATA);
    }
    server.set_exchange_minimum_version(METERS, 3).await.unwrap();
    let refused = decrypt(server, METERS, &results[0]).await.unwrap_err();
    assert_eq!(refused, "version-refused");
    assert!(decrypt(server, METERS, &results[1]).await.is_ok());
    server
        .destroy_exchange_key(METERS, Destroy::Version(3))
        .await
        .unwrap();
    let refused = decrypt(server, METERS, &results[1]).await.unwrap_err();
    assert_eq!(refused, "version-refused");
    assert!(decrypt(server, METERS, &results[2]).await.is_ok());
}

#[tokio::test]
async fn what_is_out_of_use_performs_nothing_and_is_recorded() {
    let world = world_with(Algorithm::A256Gcm, Operation::Decrypt).await;
    let server = &world.server;
    encrypt(server, METERS, DATA).await;
    server.disable_exchange_key(METERS).await.unwrap();
    let items = || vec![item(Operation::Encrypt, DATA, &[])];
    let disabled = server
        .exchange_perform(&Caller::operator(), METERS, items())
        .await;
    assert_eq!(told(disabled), format!("exchange key {METERS} is disabled"));
    server.enable_exchange_key(METERS).await.unwrap();
    server.destroy_exchange_key(METERS, Destroy::All).await.unwrap();
    let destroyed = server
        .exchange_perform(&Caller::operator(), METERS, items())
        .await;
    assert_eq!(told(destroyed), format!("exchange key {METERS} was destroyed"));
    let none = Kid::new([8; 16]);
    let unknown = server.exchange_perform(&Caller::operator(), none, items()).await;
    assert_eq!(told(unknown), format!("there is no exchange key {none}"));
    let uses = server.exchange_uses(METERS, None, 10).await.unwrap();
    let outcomes: Vec<_> = uses.iter().map(|used| used.outcome).collect();
    assert_eq!(
        outcomes,
        [UseOutcome::Refused, UseOutcome::Refused, UseOutcome::Done],
        "newest first"
    );
    let before = server.exchange_uses(METERS, Some(uses[0].id), 1).await.unwrap();
    assert_eq!(before, uses[1..2]);
}

#[tokio::test]
async fn a_call_is_bounded() {
    let world = world_with(Algorithm::HmacSha256, Operation::Verify).await;
    let server = &world.server;
    let caller = Caller::operator();
    let call = |items: Vec<Item>| server.exchange_perform(&caller, METERS, items);
    let sign = |len: usize| Item::Sign { data: vec![1; len] };
    let most: Vec<_> = (0..MAX_ITEMS).map(|_| sign(1)).collect();
    assert_eq!(call(most).await.unwrap().len(), MAX_ITEMS);
    assert!(call(vec![sign(MAX_CALL_BYTES)]).await.is_ok());
    let many = (0..=MAX_ITEMS).map(|_| sign(1)).collect();
    for refused in [vec![], many, vec![sign(MAX_CALL_BYTES), sign(1)]] {
        let result = call(refused).await;
        assert!(matches!(result, Err(Error::NotPerformed { .. })));
    }
    assert_eq!(world.count("SELECT count(*) FROM exchange_uses").await, 2);
}

#[tokio::test]
async fn what_a_version_encrypts_in_gcm_is_counted_and_bounded() {
    let world = world_with(Algorithm::A256Gcm, Operation::Decrypt).await;
    let server = &world.server;
    for _ in 0..3 {
        encrypt(server, METERS, DATA).await;
    }
    let messages = || async { server.exchange_key(METERS).await.unwrap().versions[0].messages };
    assert_eq!(messages().await, 3);
    world
        .sql("UPDATE exchange_key_versions SET messages = 4294967295")
        .await;
    encrypt(server, METERS, DATA).await;
    let items = vec![item(Operation::Encrypt, DATA, &[])];
    let spent = server.exchange_perform(&Caller::operator(), METERS, items).await;
    assert!(matches!(spent, Err(Error::ExchangeKeySpent(_))));
    assert_eq!(messages().await, 1 << 32);
    server.rotate_exchange_key(METERS).await.unwrap();
    assert_eq!(encrypt(server, METERS, DATA).await[..4], [0, 0, 0, 2]);

    // Others have no such bound.
    let ctr = NewKey::new("ctr", Algorithm::A256Ctr, Operation::Decrypt);
    let ctr = server.create_exchange_key(ctr).await.unwrap();
    encrypt(server, ctr, DATA).await;
    assert_eq!(server.exchange_key(ctr).await.unwrap().versions[0].messages, 0);
}

/// A value that was moved to another key or version does not open there.
#[tokio::test]
async fn a_value_opens_in_its_place_alone() {
    let world = world_with(Algorithm::A256Gcm, Operation::Decrypt).await;
    let server = &world.server;
    server.rotate_exchange_key(METERS).await.unwrap();
    let moved = "DROP TRIGGER exchange_key_versions_are_only_destroyed;
                 UPDATE exchange_key_versions SET sealed =
                     (SELECT sealed FROM exchange_key_versions WHERE version = 1) WHERE version = 2";
    world.sql(moved).await;
    let items = vec![item(Operation::Encrypt, DATA, &[])];
    let result = server.exchange_perform(&Caller::operator(), METERS, items).await;
    assert_eq!(
        told(result),
        "the database is damaged: an exchange key does not open"
    );
}
