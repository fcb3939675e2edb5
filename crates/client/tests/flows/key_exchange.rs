//! Key exchange: licenses that are taken in, keys that are prepared, and operations under the rules.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use keyward_client::{
    ClientError, LicenseFault,
    acquire::Wanted,
    enforce::{Availability, Stop},
    explain::Circumstances,
    host::{HostProfile, KeptInMemory, MemoryLock},
    key_exchange::PerformError,
    session::Acquisition,
};
use keyward_crypto::exchange::{self, Algorithm, Operation};
use keyward_license::{
    codec::Bytes,
    key_exchange::ExchangeError,
    license::{CoseAlgorithm, LicenseBody, LicenseKind},
    signed::MessageError,
    usage_rules::{Action, Refusal},
};
use keyward_testkit::{fake_server::ExchangeKeys, pki::NOW};

use crate::{
    exchanging::{
        ANY, NO_TERMS, decryptor, encrypting, encryptor, encryptor_of_1, encrypts, exchange_keys,
        exchange_world, get_license, gone, of_gcm, rng, server_decrypts, server_encrypts, server_signs,
        server_verifies, signer, signer_of_1, signing, signs, unwrapper, verifier, versioned, whole_key,
        wrapper,
    },
    licensed::{asking, commits, pass, restarted},
    world::{KIND_LICENSE, TestClient, World, kid, wanted},
};

#[test]
fn every_algorithm_does_its_one_operation_and_the_server_the_mirror() {
    for algorithm in Algorithm::ALL {
        for operation in algorithm.operations() {
            let (mut world, mut client) = exchange_world(algorithm, operation, ANY, NO_TERMS);
            let key = whole_key(algorithm, 1);
            let moment = world.moment;
            let (world, client) = (&mut world, &mut client);
            let expected = Some(algorithm);
            match operation {
                Operation::Encrypt => {
                    let handle = encryptor(world, client, kid(1), expected).unwrap();
                    let result = handle.encrypt(moment, b"", b"text", &mut rng()).unwrap();
                    assert_eq!(result[..4], [0, 0, 0, 1]);
                    assert_eq!(
                        server_decrypts(&key, b"", &result[4..]).unwrap().expose(),
                        b"text"
                    );
                }
                Operation::Decrypt => {
                    let handle = decryptor(world, client, kid(1), expected).unwrap();
                    let result = server_encrypts(&key, 1, b"", b"text");
                    assert_eq!(handle.decrypt(moment, b"", &result).unwrap().expose(), b"text");
                }
                Operation::Sign => {
                    let handle = signer(world, client, kid(1), expected).unwrap();
                    let result = handle.sign(moment, b"text").unwrap();
                    assert!(server_verifies(&key, b"text", &result[4..]));
                }
                Operation::Verify => {
                    let handle = verifier(world, client, kid(1), expected).unwrap();
                    let result = server_signs(&key, 1, b"text");
                    handle.verify(moment, b"text", &result).unwrap();
                    assert!(handle.verify(moment, b"texts", &result).is_err());
                }
                Operation::Wrap => {
                    let handle = wrapper(world, client, kid(1), expected).unwrap();
                    let result = handle.wrap(moment, &[7; 32]).unwrap();
                    let mirror = key.material(Operation::Unwrap).unwrap();
                    let unwrapped = exchange::Unwrapper::new(&mirror).unwrap().unwrap(&result[4..]);
                    assert_eq!(unwrapped.unwrap().expose(), [7; 32]);
                }
                Operation::Unwrap => {
                    let handle = unwrapper(world, client, kid(1), expected).unwrap();
                    let mirror = key.material(Operation::Wrap).unwrap();
                    let wrapped = exchange::Wrapper::new(&mirror).unwrap().wrap(&[7; 32]).unwrap();
                    let result = versioned(1, &wrapped);
                    assert_eq!(handle.unwrap(moment, &result).unwrap().expose(), [7; 32]);
                }
            }
        }
    }
}

#[test]
fn a_license_for_key_exchange_is_kept_in_the_store_or_in_memory() {
    for in_memory in [false, true] {
        let (mut world, mut client) = encrypting(NO_TERMS);
        world.run(client.remove_licenses(kid(1))).unwrap();
        let wanted = Wanted {
            in_memory,
            ..wanted(&[1])
        };
        get_license(&mut world, &mut client, wanted).unwrap();
        assert_eq!(world.device.count(KIND_LICENSE), usize::from(!in_memory));
        let handle = encryptor_of_1(&mut world, &mut client).unwrap();
        encrypts(&world, &handle).unwrap();
        drop(handle);
        client = restarted(&mut world, client);
        let again = encryptor_of_1(&mut world, &mut client);
        assert_eq!(again.is_err(), in_memory);
    }
}

/// What became of a response that brings this exchange key, on a host like this.
fn fault(host: HostProfile, keys: ExchangeKeys, edit: fn(&mut LicenseBody)) -> LicenseFault {
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(host);
    world.server.exchange.insert(kid(1), keys);
    world.server.bent.license = Some(Box::new(edit));
    let refused = get_license(&mut world, &mut client, wanted(&[1]));
    assert_eq!(world.device.count(KIND_LICENSE), 0, "nothing is stored");
    let missing = encryptor_of_1(&mut world, &mut client).unwrap_err();
    assert!(matches!(missing, ClientError::NoLicense { .. }), "{missing}");
    match refused {
        Err(ClientError::LicenseRefused { kid: of, fault }) if of == kid(1) => fault,
        other => panic!("{other:?}"),
    }
}

fn two_versions(operation: Operation) -> ExchangeKeys {
    let [new, old] = [2, 1].map(|number| whole_key(Algorithm::A256Gcm, number));
    ExchangeKeys::new(kid(1), operation, &[(2, &new), (1, &old)])
}

#[test]
fn v_033_a_license_holds_only_exchange_keys_that_were_announced() {
    let without = |algorithm: Algorithm| HostProfile {
        exchange_algorithms: Algorithm::ALL
            .into_iter()
            .filter(|other| *other != algorithm)
            .collect(),
        ..asking()
    };
    let single = || HostProfile {
        exchange_multiple: false,
        ..asking()
    };
    let not_announced = LicenseFault::ExchangeNotAnnounced;
    assert_eq!(
        fault(without(Algorithm::A256Gcm), of_gcm(), NO_TERMS),
        not_announced
    );
    assert_eq!(
        fault(single(), two_versions(Operation::Decrypt), NO_TERMS),
        not_announced
    );
    let beside = of_gcm().beside(exchange_keys(2, Algorithm::HmacSha256, Operation::Sign));
    assert_eq!(fault(single(), beside, NO_TERMS), not_announced);
    let none = HostProfile {
        exchange_algorithms: Vec::new(),
        ..asking()
    };
    // The key type is not announced either.
    assert_eq!(fault(none, of_gcm(), NO_TERMS), LicenseFault::NotAnnounced);
}

#[test]
fn v_033_what_the_host_wants_is_what_is_announced() {
    let announced = |host: HostProfile| {
        let (mut world, client) = World::enrolled();
        let mut client = client.on_host(host);
        world.run(client.acquire(wanted(&[1]))).unwrap();
        let capabilities = world.server.requests.pop().unwrap().capabilities;
        let algorithms = capabilities.exchange_algorithms.unwrap_or_default();
        let numbers: Vec<_> = algorithms.iter().map(|algorithm| algorithm.0).collect();
        let exchange = capabilities.key_types.contains(&5);
        (numbers, capabilities.exchange_multiple.is_some(), exchange)
    };
    let all = [-65_534, -65_532, -65_531, -65_529, -19, -9, -5, -3, 1, 3, 5, 6, 7];
    assert_eq!(announced(HostProfile::default()), (all.to_vec(), true, true));
    let some = HostProfile {
        exchange_algorithms: vec![Algorithm::Esp256, Algorithm::A128Gcm, Algorithm::Esp256],
        exchange_multiple: false,
        ..HostProfile::default()
    };
    assert_eq!(announced(some), (vec![-9, 1], false, true));
    let none = HostProfile {
        exchange_algorithms: Vec::new(),
        ..HostProfile::default()
    };
    assert_eq!(announced(none), (vec![], false, false));
}

#[test]
fn v_032_v_034_malformed_exchange_keys_are_refused() {
    let edits: [fn(&mut LicenseBody); 4] = [
        |body| body.keys[0].operation = Some(1),
        |body| body.keys[0].algorithm = Some(CoseAlgorithm(2)),
        |body| body.keys[0].version = None,
        |body| body.source_id = Some(267),
    ];
    for edit in edits {
        let refused = fault(asking(), of_gcm(), edit);
        assert!(
            matches!(refused, LicenseFault::Message(MessageError::Decode(_))),
            "{refused:?}"
        );
    }
    let cases = [
        (Algorithm::A256Gcm, Operation::Encrypt, vec![1; 16]),
        (Algorithm::HmacSha512, Operation::Sign, vec![1; 65]),
        (Algorithm::Esp256, Operation::Sign, vec![0; 32]),
        (Algorithm::Esp256, Operation::Sign, vec![0xff; 32]),
        (
            Algorithm::Esp256,
            Operation::Verify,
            [&[4][..], &[1; 64]].concat(),
        ),
        (Algorithm::Ed25519, Operation::Verify, vec![1; 33]),
    ];
    for (algorithm, operation, key) in cases {
        let (mut world, mut client) = World::enrolled();
        world
            .server
            .exchange
            .insert(kid(1), exchange_keys(1, algorithm, operation));
        world.server.bent.license_keys = Some(Box::new(move |keys| keys[0] = Bytes(key.clone())));
        let refused = get_license(&mut world, &mut client, wanted(&[1]));
        assert!(
            matches!(
                refused,
                Err(ClientError::LicenseRefused {
                    fault: LicenseFault::ExchangeKey,
                    ..
                })
            ),
            "{algorithm} {operation}: {refused:?}"
        );
    }
    let (mut world, mut client) = World::enrolled();
    world.server.exchange.insert(kid(1), of_gcm());
    world.server.bent.license_keys = Some(Box::new(Vec::clear));
    assert!(get_license(&mut world, &mut client, wanted(&[1])).is_err());
}

#[test]
fn v_022_v_025_the_license_is_for_this_device_and_the_key_that_was_asked_for() {
    let other = exchange_keys(2, Algorithm::A256Gcm, Operation::Encrypt);
    assert_eq!(fault(asking(), other, NO_TERMS), LicenseFault::OtherKid);
    // The key asked for has to come first, even if it is there.
    let second = exchange_keys(2, Algorithm::HmacSha256, Operation::Sign).beside(of_gcm());
    assert_eq!(fault(asking(), second, NO_TERMS), LicenseFault::OtherKid);
    let elsewhere: fn(&mut LicenseBody) = |body| body.binding.id = Bytes(vec![9; 32]);
    assert_eq!(fault(asking(), of_gcm(), elsewhere), LicenseFault::OtherDevice);
}

#[test]
fn v_021_other_kinds_are_still_refused() {
    let root: fn(&mut LicenseBody) = |body| body.kind = LicenseKind::Root;
    let refused = fault(asking(), of_gcm(), root);
    assert!(matches!(refused, LicenseFault::Message(_)), "{refused:?}");
}

#[test]
fn an_exchange_key_never_opens_content_and_a_content_key_never_performs() {
    let (mut world, mut client) = encrypting(NO_TERMS);
    world.run(client.acquire(wanted(&[2]))).err();
    world.server.bent.license = None;
    world.run(client.acquire(wanted(&[2]))).unwrap();
    world.trace.clear();
    let sent = world.sent.len();
    for acquisition in [Acquisition::Never, Acquisition::Reactive] {
        let opened = world.run(client.open_content(vec![kid(1)], wanted(&[1]), acquisition));
        assert!(
            matches!(opened, Err(ClientError::NotAContentKey { kid: of }) if of == kid(1)),
            "{opened:?}"
        );
        let extended = Action::Extended(500);
        let opened = world.run(client.open_content_for(extended, vec![kid(1)], wanted(&[1]), acquisition));
        assert!(
            matches!(opened, Err(ClientError::NotAContentKey { .. })),
            "{opened:?}"
        );
        let opened =
            world.run(client.open_content_for(Action::Perform, vec![kid(1)], wanted(&[1]), acquisition));
        assert!(
            matches!(opened, Err(ClientError::NotAContentKey { .. })),
            "{opened:?}"
        );
        let prepared = world.run(client.prepare_encryptor(kid(2), None, wanted(&[2]), acquisition));
        assert!(
            matches!(prepared, Err(ClientError::NotAnExchangeKey { kid: of }) if of == kid(2)),
            "{prepared:?}"
        );
    }
    assert!(matches!(
        world.run(client.find(kid(1))),
        Err(ClientError::NotAContentKey { .. })
    ));
    assert!(matches!(
        world.run(client.find_for(Action::Perform, kid(2))),
        Err(ClientError::NotAnExchangeKey { .. })
    ));
    assert_eq!(world.sent.len(), sent, "nothing was asked for");
    assert_eq!(commits(&world), 0);
}

#[test]
fn r_050_another_operation_or_algorithm_is_refused_and_named() {
    let (mut world, mut client) = encrypting(NO_TERMS);
    let wrong = [
        decryptor(&mut world, &mut client, kid(1), None).unwrap_err(),
        signer(&mut world, &mut client, kid(1), None).unwrap_err(),
        verifier(&mut world, &mut client, kid(1), None).unwrap_err(),
        wrapper(&mut world, &mut client, kid(1), None).unwrap_err(),
        unwrapper(&mut world, &mut client, kid(1), None).unwrap_err(),
    ];
    let said: Vec<_> = wrong.iter().map(ToString::to_string).collect();
    let sentence = |asked| {
        format!(
            "the license for key {} permits to encrypt, not to {asked} (R-050)",
            kid(1)
        )
    };
    assert_eq!(
        said,
        ["decrypt", "sign", "verify", "wrap", "unwrap"].map(sentence)
    );
    let other = encryptor(&mut world, &mut client, kid(1), Some(Algorithm::A128Gcm)).unwrap_err();
    assert_eq!(
        other.to_string(),
        format!(
            "the license for key {} holds no key of algorithm A128GCM (R-050)",
            kid(1)
        )
    );
    assert_eq!(commits(&world), 0);
}

#[test]
fn a_key_beside_another_is_found_under_that_ones_kid_by_its_algorithm() {
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(asking());
    let beside = of_gcm().beside(exchange_keys(2, Algorithm::HmacSha256, Operation::Sign));
    world.server.exchange.insert(kid(1), beside);
    get_license(&mut world, &mut client, wanted(&[1])).unwrap();
    let hmac = Some(Algorithm::HmacSha256);
    let key = signer(&mut world, &mut client, kid(1), hmac).unwrap();
    assert_eq!((key.kid(), key.asked_kid()), (kid(2), kid(1)));
    signs(&world, &key).unwrap();
    let own = encryptor_of_1(&mut world, &mut client).unwrap();
    encrypts(&world, &own).unwrap();
    let by_its_own = signer(&mut world, &mut client, kid(2), None);
    assert!(
        matches!(by_its_own, Err(ClientError::NoLicense { .. })),
        "{by_its_own:?}"
    );
    let unnamed = signer(&mut world, &mut client, kid(1), None);
    assert!(
        matches!(unnamed, Err(ClientError::WrongOperation { .. })),
        "{unnamed:?}"
    );
    let wrong = verifier(&mut world, &mut client, kid(1), hmac);
    assert!(
        matches!(wrong, Err(ClientError::WrongOperation { .. })),
        "{wrong:?}"
    );
}

#[test]
fn of_several_licenses_one_that_holds_what_is_needed_is_taken() {
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(asking());
    let beside = of_gcm().beside(exchange_keys(2, Algorithm::HmacSha256, Operation::Sign));
    world.server.exchange.insert(kid(1), beside);
    let ends = |world: &mut World, seconds| {
        let end = Some(NOW.plus(seconds));
        world.server.bent.license = Some(Box::new(move |body| body.end = end));
    };
    ends(&mut world, 100);
    let with = get_license(&mut world, &mut client, wanted(&[1])).unwrap();
    world.server.exchange.insert(kid(1), of_gcm());
    ends(&mut world, 900);
    let without = get_license(&mut world, &mut client, wanted(&[1])).unwrap();
    let hmac = Some(Algorithm::HmacSha256);
    assert_eq!(
        signer(&mut world, &mut client, kid(1), hmac).unwrap().license(),
        with
    );
    assert_eq!(
        encryptor_of_1(&mut world, &mut client).unwrap().license(),
        without
    );
    assert_eq!(
        encryptor(&mut world, &mut client, kid(1), Some(Algorithm::A256Gcm))
            .unwrap()
            .license(),
        without
    );
}

#[test]
fn r_040_of_several_licenses_the_one_with_the_newest_version_is_taken() {
    let versions_of = |numbers: &[u8], operation| {
        let keys: Vec<_> = numbers
            .iter()
            .map(|number| (u32::from(*number), whole_key(Algorithm::A256Gcm, *number)))
            .collect();
        let keys: Vec<_> = keys.iter().map(|(version, key)| (*version, key)).collect();
        ExchangeKeys::new(kid(1), operation, &keys)
    };
    for operation in [Operation::Encrypt, Operation::Decrypt] {
        let (mut world, client) = World::enrolled();
        let mut client = client.on_host(asking());
        // The older version is in a license that could be used for longer.
        for (numbers, seconds) in [(&[2, 1][..], 100), (&[1], 900)] {
            world
                .server
                .exchange
                .insert(kid(1), versions_of(numbers, operation));
            let end = Some(NOW.plus(seconds));
            world.server.bent.license = Some(Box::new(move |body| body.end = end));
            get_license(&mut world, &mut client, wanted(&[1])).unwrap();
        }
        let versions = |world: &mut World, client: &mut TestClient| match operation {
            Operation::Encrypt => encryptor_of_1(world, client).unwrap().versions().to_vec(),
            _ => decryptor(world, client, kid(1), None)
                .unwrap()
                .versions()
                .to_vec(),
        };
        assert_eq!(versions(&mut world, &mut client), [2, 1]);
        let found = world.run(client.find_for(Action::Perform, kid(1))).unwrap();
        assert!(
            matches!(found, Availability::Ready { until: Some(until), .. } if until == NOW.plus(100)),
            "{found:?}"
        );
        // Once that license has ended, what the other holds is better than nothing.
        pass(&mut world, 100);
        assert_eq!(versions(&mut world, &mut client), [1]);
    }
}

#[test]
fn results_of_every_version_that_the_license_holds_are_consumed() {
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(asking());
    world
        .server
        .exchange
        .insert(kid(1), two_versions(Operation::Decrypt));
    get_license(&mut world, &mut client, wanted(&[1])).unwrap();
    let key = decryptor(&mut world, &mut client, kid(1), None).unwrap();
    assert_eq!(key.versions(), [2, 1]);
    for version in [1, 2] {
        let made_by = whole_key(Algorithm::A256Gcm, u8::try_from(version).unwrap());
        let result = server_encrypts(&made_by, version, b"", b"text");
        assert_eq!(key.decrypt(world.moment, b"", &result).unwrap().expose(), b"text");
        let other = versioned(3 - version, &result[4..]);
        assert!(
            key.decrypt(world.moment, b"", &other).is_err(),
            "another version is another key"
        );
    }
    let newer = server_encrypts(&whole_key(Algorithm::A256Gcm, 2), 3, b"", b"text");
    let refused = key.decrypt(world.moment, b"", &newer).unwrap_err();
    assert!(refused.to_string().contains("version 3"), "{refused}");
    assert!(key.decrypt(world.moment, b"", &[0, 0]).is_err());
}

#[test]
fn what_is_held_is_found_and_explained_as_what_it_is() {
    let (mut world, mut client) = signing(3);
    let license = signer_of_1(&mut world, &mut client).unwrap().license();
    let found = world.run(client.find_for(Action::Perform, kid(1))).unwrap();
    assert_eq!(found, Availability::Ready { license, until: None });
    let missing = world.run(client.find_for(Action::Perform, kid(9))).unwrap();
    assert_eq!(missing, Availability::Missing);
    let held = world.run(client.held_licenses()).unwrap();
    assert!(held[0].verdict.is_ok() && held[0].is_for_this_host, "{held:?}");
    assert_eq!(held[0].uses, [(kid(1), 1)]);
    let ask = |action| Circumstances {
        action,
        ..Circumstances::default()
    };
    let explained = world.run(client.explain(kid(1), ask(Action::Perform))).unwrap();
    assert!(explained[0].verdict.is_ok() && explained[0].uses == [(kid(1), 1)]);
    let explained = world.run(client.explain(kid(1), ask(Action::Play))).unwrap();
    assert_eq!(explained[0].verdict, Err(Stop::Refused(Refusal::RightNotGranted)));
    let signed = held[0].signed.clone();
    let explained = world
        .run(client.explain_license(signed, ask(Action::Perform)))
        .unwrap()
        .unwrap();
    assert!(explained.is_usable_here && explained.verdict.is_ok());
    let key = signer_of_1(&mut world, &mut client).unwrap();
    signs(&world, &key).unwrap();
    let key = signer_of_1(&mut world, &mut client).unwrap();
    signs(&world, &key).unwrap();
    let found = world.run(client.find_for(Action::Perform, kid(1))).unwrap();
    assert_eq!(found, Availability::UsedUp);
}

#[test]
fn nothing_shows_the_key() {
    let (mut world, mut client) = encrypting(NO_TERMS);
    let key = encryptor_of_1(&mut world, &mut client).unwrap();
    fn can_be_shared<T: Send + Sync>(_: &T) {}
    can_be_shared(&key);
    let shown = format!("{key:?}");
    let license = key.license();
    assert_eq!(
        shown,
        format!(
            "Prepared {{ kid: {:?}, algorithm: A256Gcm, operation: Encrypt, license: {license:?}, .. }}",
            kid(1)
        )
    );
    let bytes = whole_key(Algorithm::A256Gcm, 1);
    let hex: String = bytes.bytes().expose()[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(!shown.contains(&hex) && !format!("{client:?}").contains(&hex));
}

#[test]
fn a_key_lies_in_memory_that_the_host_has_locked() {
    static LOCKED: AtomicUsize = AtomicUsize::new(0);
    struct Pages;
    struct Page;
    impl MemoryLock for Pages {
        fn lock(&self, _: usize, length: usize) -> Option<Box<dyn KeptInMemory>> {
            assert!(length > 0);
            LOCKED.fetch_add(1, Ordering::SeqCst);
            Some(Box::new(Page))
        }
    }
    impl KeptInMemory for Page {}
    impl Drop for Page {
        fn drop(&mut self) {
            LOCKED.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let (mut world, client) = encrypting(|body| body.end = Some(NOW.plus(100)));
    let mut client = client.on_host(HostProfile {
        memory: Arc::new(Pages),
        ..asking()
    });
    let locked = || LOCKED.load(Ordering::SeqCst);
    let (one, two) = (
        encryptor_of_1(&mut world, &mut client).unwrap(),
        encryptor_of_1(&mut world, &mut client).unwrap(),
    );
    assert!(one.is_locked() && locked() == 2);
    let stream = one.stream(world.moment, b"", &mut rng()).unwrap();
    assert_eq!(locked(), 3, "a stream holds a key of its own");
    drop(stream);
    world.run(client.close(one)).unwrap();
    assert_eq!(locked(), 1);
    pass(&mut world, 200);
    gone(encrypts(&world, &two));
    assert_eq!(locked(), 0, "wiped where it was refused");
}

#[test]
fn an_operation_that_fails_says_nothing_of_why() {
    let (mut world, mut client) = exchange_world(Algorithm::A256Gcm, Operation::Decrypt, ANY, NO_TERMS);
    let key = decryptor(&mut world, &mut client, kid(1), None).unwrap();
    let mut result = server_encrypts(&whole_key(Algorithm::A256Gcm, 1), 1, b"", b"text");
    *result.last_mut().unwrap() ^= 1;
    let failed = key.decrypt(world.moment, b"", &result).unwrap_err();
    assert!(
        matches!(
            failed,
            PerformError::Exchange(ExchangeError::Failed(Operation::Decrypt))
        ),
        "{failed:?}"
    );
    assert!(key.ended().is_none());
}
