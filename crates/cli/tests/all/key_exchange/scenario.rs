//! The acceptance scenario: one operation and an end date, performed again and again, and nothing else.

use keyward_client::{
    ClientError,
    enforce::Stop,
    install::AcquiredKey,
    key_exchange::{Encryptor, Ended, PerformError},
    session::Acquisition,
};
use keyward_client_native::NativeError;
use keyward_crypto::{
    SecretBytes,
    exchange::{Algorithm, Operation},
};
use keyward_license::{
    certificate::{SECURITY_LEVEL_HARDWARE, SECURITY_LEVEL_SOFTWARE, SECURITY_LEVEL_TEST},
    error_code::ErrorCode,
    ids::Kid,
    key_exchange::ExchangeError,
    license::{KeyType, LicenseKind, Right},
    usage_rules::Refusal,
};
use keyward_server::{
    Error, Server,
    admin::TokenRequest,
    key_exchange::{Caller, Destroy, Item, ItemResult, NewKey, Output, PerformFault},
    policy::{PolicyTerms, Preset},
};

use crate::scenarios::world::{ALICE, DAY, Device, FILM, HOUR, NOW, World};

/// The exchange key.
pub(crate) const DATA: Kid = Kid::new([0xd0; 16]);
/// One that travels beside it.
const BESIDE: Kid = Kid::new([0xd1; 16]);

pub(crate) fn new_key(algorithm: Algorithm, operation: Operation) -> NewKey {
    NewKey {
        kid: Some(DATA),
        ..NewKey::new("data", algorithm, operation)
    }
}

/// An operator that gives alice an exchange key for a day.
pub(crate) fn exchanging(key: NewKey) -> World {
    let terms = PolicyTerms {
        begin_offset_seconds: None,
        duration_seconds: Some(DAY),
        ..PolicyTerms::DEFAULT
    };
    let world = World::offering(Preset::Purchase);
    world.operator(async |server| {
        server.create_policy("exchange", terms).await.unwrap();
        server.create_exchange_key(key).await.unwrap();
        server.grant(ALICE, Some(DATA), "exchange", None).await.unwrap();
    });
    world
}

/// A device that asks for the exchange key.
pub(crate) fn asking(world: &World, name: &str) -> Device {
    let mut device = world.device(name);
    device.wanted.kids = vec![DATA];
    device
}

/// What the license server does with one item.
pub(crate) fn served(world: &World, item: Item) -> ItemResult {
    served_all(world, vec![item]).pop().unwrap()
}

fn served_all(world: &World, items: Vec<Item>) -> Vec<ItemResult> {
    let performed =
        world.operator(async |server| server.exchange_perform(&Caller::operator(), DATA, items).await);
    performed.unwrap()
}

/// What the license server decrypts.
pub(crate) fn opened(result: ItemResult) -> Vec<u8> {
    match result {
        Ok(Output::Decrypted(data)) => data.expose().to_vec(),
        other => panic!("{other:?}"),
    }
}

fn decrypt(result: Vec<u8>) -> Item {
    Item::Decrypt {
        result,
        aad: Vec::new(),
    }
}

fn encryptor(device: &mut Device, acquisition: Acquisition) -> Result<Encryptor, ClientError> {
    let wanted = device.wanted.clone();
    refusal(device.client().prepare_encryptor(DATA, None, wanted, acquisition))
}

pub(crate) fn refusal<T>(result: Result<T, NativeError>) -> Result<T, ClientError> {
    result.map_err(|error| match error {
        NativeError::Client(error) => error,
        other => panic!("{other}"),
    })
}

#[test]
fn a_key_for_one_operation_and_a_day_is_used_again_and_again_and_not_longer() {
    let world = exchanging(new_key(Algorithm::A256Gcm, Operation::Encrypt));
    let mut device = asking(&world, "sensor");
    let key = encryptor(&mut device, Acquisition::Reactive).unwrap();
    assert_eq!(key.terms().kind, LicenseKind::KeyExchange);
    assert_eq!(key.terms().rights, [Right::Perform]);
    assert_eq!(key.until(), Some(NOW.plus(DAY)));
    world.network.online.set(false);

    // Again and again, through a day, and in another process.
    let mut results = Vec::new();
    for hour in 0..23_u8 {
        results.push(device.client().encrypt(&key, b"", &[hour]).unwrap());
        world.pass(HOUR);
    }
    drop(key);
    device.restart();
    let key = encryptor(&mut device, Acquisition::Never).unwrap();
    results.push(device.client().encrypt(&key, b"", &[23]).unwrap());
    let read = served_all(&world, results.into_iter().map(decrypt).collect());
    let read: Vec<_> = read.into_iter().flat_map(opened).collect();
    assert_eq!(read, (0..24).collect::<Vec<u8>>());

    // The opposite direction is nobody's.
    let result = device.client().encrypt(&key, b"", b"mine").unwrap();
    let wanted = device.wanted.clone();
    let refused = device
        .client()
        .prepare_decryptor(DATA, None, wanted, Acquisition::Never);
    let refused = refusal(refused).unwrap_err();
    assert!(matches!(refused, ClientError::WrongOperation { .. }));
    assert_eq!(
        refused.to_string(),
        format!("the license for key {DATA} permits to encrypt, not to decrypt (R-050)")
    );
    let mirrored = Item::Encrypt {
        data: SecretBytes::new(b"theirs".to_vec()),
        aad: Vec::new(),
    };
    assert!(matches!(
        served(&world, mirrored),
        Err(PerformFault::WrongOperation)
    ));
    assert_eq!(opened(served(&world, decrypt(result))), b"mine");

    // After the end: the prepared key is gone, and no other is bound.
    world.pass(HOUR);
    let ended = Refusal::Ended { end: NOW.plus(DAY) };
    let late = device.client().encrypt(&key, b"", b"late");
    assert!(late.is_err());
    assert_eq!(key.ended(), Some(Ended::Refused(Stop::Refused(ended))));
    let late = encryptor(&mut device, Acquisition::Never).unwrap_err();
    assert!(
        matches!(late, ClientError::Refused { refusal, .. } if refusal == ended),
        "{late}"
    );
    device.clock.set(Some(NOW));
    device.restart();
    assert!(
        encryptor(&mut device, Acquisition::Never).is_err(),
        "nor by a clock that is set back"
    );
    // A new license, with the network.
    world.network.online.set(true);
    device.clock.set(Some(NOW.plus(DAY)));
    encryptor(&mut device, Acquisition::Reactive).unwrap();
}

#[test]
fn a_device_below_the_minimum_level_gets_none_and_loses_what_it_has() {
    let world = exchanging(NewKey {
        minimum_security_level: Some(SECURITY_LEVEL_HARDWARE),
        ..new_key(Algorithm::A256Gcm, Operation::Encrypt)
    });
    let mut software = asking(&world, "software");
    assert_eq!(
        software.refused_by_server(),
        ErrorCode::SecurityLevelTooLow.number()
    );
    assert!(encryptor(&mut software, Acquisition::Reactive).is_err());

    let of_level = |security_level| TokenRequest {
        security_level,
        ..TokenRequest::new(ALICE)
    };
    let mut device = world.device_of("hardware", of_level(SECURITY_LEVEL_HARDWARE));
    device.wanted.kids = vec![DATA];
    let key = encryptor(&mut device, Acquisition::Reactive).unwrap();
    device.client().encrypt(&key, b"", b"data").unwrap();
    drop(key);
    for level in [SECURITY_LEVEL_SOFTWARE, SECURITY_LEVEL_TEST] {
        world.enrol(&mut device, of_level(level)).unwrap();
        device.restart();
        let refused = encryptor(&mut device, Acquisition::Never).unwrap_err();
        assert!(matches!(refused, ClientError::Refused { .. }), "{refused}");
    }
}

#[test]
fn a_client_that_takes_one_key_gets_one_key() {
    let world = exchanging(new_key(Algorithm::A256Gcm, Operation::Decrypt));
    world.operator(async |server| {
        let beside = NewKey {
            kid: Some(BESIDE),
            beside: Some(DATA),
            ..NewKey::new("beside", Algorithm::HmacSha256, Operation::Sign)
        };
        server.create_exchange_key(beside).await.unwrap();
        server.rotate_exchange_key(DATA).await.unwrap();
    });
    for (multiple, versions, beside) in [(true, &[2, 1][..], true), (false, &[2][..], false)] {
        let mut device = asking(&world, if multiple { "several" } else { "one" });
        device.exchange_multiple = multiple;
        device.restart();
        let wanted = device.wanted.clone();
        let key = device
            .client()
            .prepare_decryptor(DATA, None, wanted.clone(), Acquisition::Reactive)
            .unwrap();
        assert_eq!(key.versions(), versions);
        let hmac = Some(Algorithm::HmacSha256);
        let other = device
            .client()
            .prepare_signer(DATA, hmac, wanted, Acquisition::Never);
        match refusal(other) {
            Ok(other) => assert!(beside && other.kid() == BESIDE && other.asked_kid() == DATA),
            Err(error) => assert!(
                !beside && matches!(error, ClientError::WrongAlgorithm { .. }),
                "{error}"
            ),
        }
    }
}

#[test]
fn an_algorithm_that_was_not_announced_is_denied_with_its_name() {
    let world = exchanging(new_key(Algorithm::A256Gcm, Operation::Encrypt));
    let mut device = asking(&world, "old");
    device.exchange_algorithms = vec![Algorithm::A128Gcm, Algorithm::HmacSha256];
    device.restart();
    let acquired = device.acquire().unwrap();
    let [(DATA, AcquiredKey::Denied(denial))] = &acquired.outcomes[..] else {
        panic!("{acquired:?}");
    };
    assert_eq!(denial.code, ErrorCode::ClientLacksCapability.number());
    assert_eq!(
        denial.sentence,
        "the client does not have the key exchange algorithm `A256GCM`"
    );
}

#[test]
fn content_keys_and_exchange_keys_are_never_one_another() {
    let world = exchanging(new_key(Algorithm::A128Ctr, Operation::Encrypt));
    world.operator(keys_are_kept_apart);
    let mut device = asking(&world, "device");
    device.wanted.kids = vec![FILM, DATA];
    for stored in [false, true] {
        if stored {
            device.acquire().unwrap();
            device.restart();
        }
        // A content key is no exchange key, whatever is asked of it.
        let wanted = device.wanted.clone();
        let client = device.client();
        let film = refusal(client.prepare_encryptor(FILM, None, wanted.clone(), Acquisition::Reactive));
        assert!(
            matches!(film, Err(ClientError::NotAnExchangeKey { kid: FILM })),
            "{film:?}"
        );
        // An exchange key opens no content.
        let opened = refusal(client.open_content(vec![DATA], wanted, Acquisition::Reactive));
        assert!(
            matches!(opened, Err(ClientError::NotAContentKey { kid: DATA })),
            "{opened:?}"
        );
    }
    device.wanted.kids = vec![FILM];
    let film = device.play().unwrap();
    assert!(world.unlocks(&film, FILM));
    device.wanted.kids = vec![DATA];
    encryptor(&mut device, Acquisition::Never).unwrap();
}

async fn keys_are_kept_apart(server: &Server) {
    let as_content = server.register_key(DATA, KeyType::File, 1).await;
    assert!(matches!(as_content, Err(Error::KidOfExchange(DATA))));
    let film = || NewKey {
        kid: Some(FILM),
        ..new_key(Algorithm::A128Gcm, Operation::Encrypt)
    };
    let as_exchange = server.create_exchange_key(film()).await;
    assert!(matches!(as_exchange, Err(Error::KidOfContent(FILM))));
    let key = server.content_key_for_packaging(FILM).await.unwrap().key;
    let value = SecretBytes::new(key.expose().to_vec());
    let other = NewKey { kid: None, ..film() };
    let imported = server.import_exchange_key(other, &value).await;
    assert!(matches!(imported, Err(Error::KeyOfContent(_))));
}

#[test]
fn a_key_that_is_disabled_or_destroyed_gives_no_licenses_and_performs_nothing() {
    let world = exchanging(new_key(Algorithm::HmacSha512, Operation::Sign));
    let mut device = asking(&world, "device");
    let wanted = device.wanted.clone();
    let key = device
        .client()
        .prepare_signer(DATA, None, wanted, Acquisition::Reactive)
        .unwrap();
    let signature = device.client().sign(&key, b"order").unwrap();
    let verify = || Item::Verify {
        data: b"order".to_vec(),
        signature: signature.clone(),
    };
    assert!(matches!(served(&world, verify()), Ok(Output::Verified(v)) if v.is_valid()));
    let performed = || {
        world.operator(async |server| {
            server
                .exchange_perform(&Caller::operator(), DATA, vec![verify()])
                .await
        })
    };
    world.operator(async |server| server.disable_exchange_key(DATA).await.unwrap());
    assert!(matches!(performed(), Err(Error::ExchangeKeyDisabled(DATA))));
    assert_eq!(
        device.refused_by_server(),
        ErrorCode::ExchangeKeyDisabled.number()
    );
    // What was issued stays until it ends.
    device.client().sign(&key, b"order").unwrap();
    world.operator(async |server| server.enable_exchange_key(DATA).await.unwrap());
    assert!(performed().is_ok());
    device.acquire().unwrap();
    world.operator(async |server| server.destroy_exchange_key(DATA, Destroy::All).await.unwrap());
    world.restart_server();
    assert!(matches!(performed(), Err(Error::ExchangeKeyDestroyed(DATA))));
    assert_eq!(
        device.refused_by_server(),
        ErrorCode::ExchangeKeyDisabled.number()
    );
    world.pass(DAY);
    assert!(device.client().sign(&key, b"order").is_err());
}

#[test]
fn r_052_uses_are_counted_across_processes() {
    let world = exchanging(NewKey {
        uses: Some(3),
        ..new_key(Algorithm::A128Cbc, Operation::Encrypt)
    });
    let mut device = asking(&world, "device");
    device.acquire().unwrap();
    world.network.online.set(false);
    for _ in 0..3 {
        device.restart();
        let key = encryptor(&mut device, Acquisition::Never).unwrap();
        device.client().encrypt(&key, b"", b"data").unwrap();
        let closed = device.client().close(key);
        closed.unwrap();
    }
    device.restart();
    let used_up = encryptor(&mut device, Acquisition::Never).unwrap_err();
    assert!(matches!(used_up, ClientError::UsedUp { kid: DATA }), "{used_up}");
    // Another license has uses of its own.
    world.network.online.set(true);
    let key = encryptor(&mut device, Acquisition::Reactive).unwrap();
    assert_eq!(key.uses_left(), Some(3));
}

#[test]
fn r_051_a_context_holds_on_both_sides() {
    let world = exchanging(NewKey {
        context: Some(b"meters".to_vec()),
        ..new_key(Algorithm::A256Gcm, Operation::Encrypt)
    });
    let mut device = asking(&world, "device");
    let key = encryptor(&mut device, Acquisition::Reactive).unwrap();
    let other = device.client().encrypt(&key, b"motors", b"data");
    let wrong = NativeError::Perform(PerformError::Exchange(ExchangeError::WrongContext));
    assert_eq!(other.unwrap_err().to_string(), wrong.to_string());
    let result = device.client().encrypt(&key, b"meters", b"data").unwrap();
    assert!(matches!(
        served(&world, decrypt(result.clone())),
        Err(PerformFault::Context)
    ));
    let read = served(
        &world,
        Item::Decrypt {
            result,
            aad: b"meters".to_vec(),
        },
    );
    assert_eq!(opened(read), b"data");
}

#[test]
fn a_license_for_key_exchange_is_carried_by_hand() {
    let world = exchanging(new_key(Algorithm::A256Gcm, Operation::Encrypt));
    let mut device = asking(&world, "device");
    let request = device.request();
    device.restart();
    let response = world.network.issue(&request);
    world.network.online.set(false);
    let acquired = device.client().install(response.clone()).unwrap();
    assert!(matches!(acquired.outcomes[..], [(DATA, AcquiredKey::Stored(_))]));
    assert!(
        device.client().install(response).is_err(),
        "a response is consumed once"
    );
    let key = encryptor(&mut device, Acquisition::Never).unwrap();
    let result = device.client().encrypt(&key, b"", b"data").unwrap();
    assert_eq!(opened(served(&world, decrypt(result))), b"data");
}
