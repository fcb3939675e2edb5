//! use limits of exchange keys.

use keyward_client::{
    ClientError,
    acquire::Wanted,
    key_exchange::{Ended, PerformError, Signer},
    session::Acquisition,
    store::{StoreBound, StoreLimits},
};
use keyward_crypto::exchange::{Algorithm, ExchangeKey, Operation};
use keyward_license::ids::LicenseId;
use keyward_testkit::fake_server::ExchangeKeys;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::{
    exchanging::{
        encryptor, encryptor_of_1, encrypts, exchange_keys, exchange_world, get_license, gone, signer_of_1,
        signing, signs, whole_key,
    },
    licensed::{asking, commits, restarted},
    world::{Stop as Crash, TestClient, Trace, World, kid, wanted},
};

/// Signs until there is no more, letting the client keep up; how often that was.
fn sign_out(world: &mut World, client: &mut TestClient, key: &Signer) -> u64 {
    for made in 0..1_000 {
        if !key.holds(world.moment, client.host())
            && let Err(error) = world.run(client.keep_up(key))
        {
            assert!(
                matches!(error, ClientError::UsedUp { kid: of } if of == kid(1)),
                "{error}"
            );
            assert_eq!(gone(signs(world, key)), Ended::UsedUp);
            return made;
        }
        match signs(world, key) {
            Ok(()) => {}
            Err(PerformError::Ended {
                why: Ended::UsedUp, ..
            }) => return made,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("no limit")
}

#[test]
fn r_052_a_key_is_used_as_often_as_its_license_permits() {
    for limit in [1, 2, 16, 17, 100] {
        let (mut world, mut client) = signing(limit);
        let key = signer_of_1(&mut world, &mut client).unwrap();
        assert_eq!(key.uses_left(), Some(limit));
        assert_eq!(sign_out(&mut world, &mut client, &key), limit);
        assert_eq!(key.uses_left(), Some(0));
        let again = signer_of_1(&mut world, &mut client);
        assert!(matches!(again, Err(ClientError::UsedUp { .. })), "{again:?}");
    }
}

#[test]
fn r_052_uses_are_recorded_before_they_are_made() {
    let (mut world, mut client) = signing(100);
    let key = signer_of_1(&mut world, &mut client).unwrap();
    assert_eq!(world.trace.last(), Some(&Trace::Commit));
    assert_eq!(commits(&world), 1);
    let taken =
        |world: &mut World, client: &TestClient| world.run(client.held_licenses()).unwrap()[0].uses.clone();
    assert_eq!(taken(&mut world, &client), [(kid(1), 6)]);
    for _ in 0..6 {
        signs(&world, &key).unwrap();
    }
    // The key is there, and waits until more are recorded.
    assert!(!key.holds(world.moment, client.host()));
    let waits = signs(&world, &key).unwrap_err();
    assert!(matches!(waits, PerformError::NotRecorded { .. }), "{waits}");
    world.run(client.keep_up(&key)).unwrap();
    signs(&world, &key).unwrap();
    assert_eq!(taken(&mut world, &client), [(kid(1), 12)]);
}

#[test]
fn r_052_uses_outlive_restarts_and_crashes_and_are_given_back_by_closing_alone() {
    let (mut world, mut client) = signing(32);
    // Two are recorded at once: one is made, the other given back.
    let key = signer_of_1(&mut world, &mut client).unwrap();
    signs(&world, &key).unwrap();
    world.run(client.close(key)).unwrap();
    client = restarted(&mut world, client);
    let key = signer_of_1(&mut world, &mut client).unwrap();
    assert_eq!(key.uses_left(), Some(31));
    // One that is dropped, as by a crash, gives nothing back.
    signs(&world, &key).unwrap();
    drop(key);
    client = restarted(&mut world, client);
    let key = signer_of_1(&mut world, &mut client).unwrap();
    assert_eq!(key.uses_left(), Some(29));
    assert_eq!(sign_out(&mut world, &mut client, &key), 29);
    client = restarted(&mut world, client);
    let none = signer_of_1(&mut world, &mut client);
    assert!(matches!(none, Err(ClientError::UsedUp { .. })), "{none:?}");
}

#[test]
fn r_052_a_crash_at_any_step_gains_no_use() {
    let steps = {
        let (mut world, mut client) = signing(5);
        signer_of_1(&mut world, &mut client).unwrap();
        world.trace.len()
    };
    for step in 0..steps {
        for crash in [Crash::Before, Crash::Between, Crash::After] {
            let (mut world, mut client) = signing(5);
            let mut made = 0;
            world.stop = Some((step, crash));
            let flow = client.prepare_signer(kid(1), None, wanted(&[1]), Acquisition::Never);
            if let Some(Ok(key)) = world.drive(flow) {
                signs(&world, &key).unwrap();
                made += 1;
            }
            world.stop = None;
            client = restarted(&mut world, client);
            let key = signer_of_1(&mut world, &mut client).unwrap();
            made += sign_out(&mut world, &mut client, &key);
            assert!((4..=5).contains(&made), "step {step}, {crash:?}: {made}");
        }
    }
}

#[test]
fn r_052_a_crash_while_closing_costs_uses_and_gains_none() {
    for crash in [Crash::Before, Crash::Between, Crash::After] {
        let (mut world, mut client) = signing(32);
        let key = signer_of_1(&mut world, &mut client).unwrap();
        signs(&world, &key).unwrap();
        world.trace.clear();
        let steps = {
            let (mut world, mut client) = signing(32);
            let key = signer_of_1(&mut world, &mut client).unwrap();
            signs(&world, &key).unwrap();
            world.trace.clear();
            world.run(client.close(key)).unwrap();
            world.trace.len()
        };
        world.stop = Some((steps - 1, crash));
        world.drive(client.close(key));
        world.stop = None;
        client = restarted(&mut world, client);
        let key = signer_of_1(&mut world, &mut client).unwrap();
        let left = if crash == Crash::Before { 30 } else { 31 };
        assert_eq!(key.uses_left(), Some(left), "{crash:?}");
    }
}

#[test]
fn r_052_two_handles_share_the_limit() {
    let (mut world, mut client) = signing(20);
    let [one, two] = [(); 2].map(|()| signer_of_1(&mut world, &mut client).unwrap());
    let made = sign_out(&mut world, &mut client, &one) + sign_out(&mut world, &mut client, &two);
    assert_eq!(made, 20);
}

#[test]
fn r_052_the_same_license_again_does_not_begin_anew_and_a_removed_one_does_not_come_back() {
    let fixed = LicenseId::new([7; 16]);
    let limit = |key: &mut keyward_license::license::KeyDescription| key.uses = Some(4);
    let (mut world, mut client) =
        exchange_world(Algorithm::HmacSha256, Operation::Sign, limit, move |body| {
            body.id = fixed
        });
    let key = signer_of_1(&mut world, &mut client).unwrap();
    signs(&world, &key).unwrap();
    drop(key);
    get_license(&mut world, &mut client, wanted(&[1])).unwrap();
    let key = signer_of_1(&mut world, &mut client).unwrap();
    assert_eq!(key.uses_left(), Some(3));
    assert_eq!(world.run(client.remove_licenses(kid(1))).unwrap(), 1);
    let again = get_license(&mut world, &mut client, wanted(&[1]));
    assert!(
        matches!(again, Err(ClientError::LicenseRefused { .. })),
        "{again:?}"
    );
    // What the closed handle gives back is of no license any more.
    world.run(client.close(key)).unwrap();
    assert!(signer_of_1(&mut world, &mut client).is_err());
}

#[test]
fn r_052_a_used_license_that_made_room_for_others_does_not_begin_anew() {
    let fixed = LicenseId::new([7; 16]);
    let limit = |key: &mut keyward_license::license::KeyDescription| key.uses = Some(4);
    let (mut world, mut client) =
        exchange_world(Algorithm::HmacSha256, Operation::Sign, limit, move |body| {
            body.id = fixed
        });
    let key = signer_of_1(&mut world, &mut client).unwrap();
    world.server.bent.license = None;
    for number in 1..=8 {
        world.clock(number);
        get_license(&mut world, &mut client, wanted(&[1])).unwrap();
    }
    let displaced = world.run(client.keep_up(&key));
    assert!(
        matches!(displaced, Err(ClientError::NoLicense { .. })),
        "{displaced:?}"
    );
    assert_eq!(gone(signs(&world, &key)), Ended::Removed);
    world.server.bent.license = Some(Box::new(move |body| body.id = fixed));
    let again = get_license(&mut world, &mut client, wanted(&[1]));
    assert!(
        matches!(again, Err(ClientError::LicenseRefused { .. })),
        "{again:?}"
    );
}

#[test]
fn r_052_uses_of_a_license_in_memory_are_counted_there() {
    let (mut world, mut client) = signing(5);
    world.run(client.remove_licenses(kid(1))).unwrap();
    let in_memory = Wanted {
        in_memory: true,
        ..wanted(&[1])
    };
    get_license(&mut world, &mut client, in_memory).unwrap();
    let key = signer_of_1(&mut world, &mut client).unwrap();
    signs(&world, &key).unwrap();
    world.run(client.close(key)).unwrap();
    let key = signer_of_1(&mut world, &mut client).unwrap();
    assert_eq!(sign_out(&mut world, &mut client, &key), 4);
    assert!(matches!(
        signer_of_1(&mut world, &mut client),
        Err(ClientError::UsedUp { .. })
    ));
}

#[test]
fn r_052_a_used_up_license_makes_way_for_another_and_is_acquired_anew() {
    let (mut world, mut client) = signing(1);
    let first = signer_of_1(&mut world, &mut client).unwrap();
    signs(&world, &first).unwrap();
    let flow = client.prepare_signer(kid(1), None, wanted(&[1]), Acquisition::Reactive);
    let second = world.run(flow).unwrap();
    assert_ne!(second.license(), first.license());
    signs(&world, &second).unwrap();
    assert!(matches!(
        signer_of_1(&mut world, &mut client),
        Err(ClientError::UsedUp { .. })
    ));
    let third = get_license(&mut world, &mut client, wanted(&[1])).unwrap();
    assert_eq!(signer_of_1(&mut world, &mut client).unwrap().license(), third);
}

#[test]
fn r_052_what_fails_under_the_key_is_a_use() {
    let limit = |key: &mut keyward_license::license::KeyDescription| key.uses = Some(2);
    let (mut world, mut client) = exchange_world(Algorithm::HmacSha256, Operation::Verify, limit, |_| ());
    let wanted = wanted(&[1]);
    let key = world
        .run(client.prepare_verifier(kid(1), None, wanted, Acquisition::Never))
        .unwrap();
    let forged = [&[0, 0, 0, 1][..], &[9; 32]].concat();
    // An unknown version is refused before the key is touched.
    assert!(key.verify(world.moment, b"text", &[9; 36]).is_err());
    assert_eq!(key.uses_left(), Some(2));
    assert!(key.verify(world.moment, b"text", &forged).is_err());
    assert_eq!(key.uses_left(), Some(1));
}

#[test]
fn messages_under_a_gcm_key_are_counted_for_the_key_whatever_its_licenses() {
    let (mut world, mut client) = World::enrolled();
    client = client.on_host(asking());
    world.limits = StoreLimits {
        counted_keys: 1,
        ..StoreLimits::default()
    };
    drop(client);
    client = world.open().unwrap();
    for number in [1, 2] {
        let keys = exchange_keys(number, Algorithm::A128Gcm, Operation::Encrypt);
        world.server.exchange.insert(kid(number), keys);
    }
    get_license(&mut world, &mut client, wanted(&[1])).unwrap();
    assert_eq!(client.store_usage().counted_keys, 0);
    let key = encryptor_of_1(&mut world, &mut client).unwrap();
    assert_eq!(client.store_usage().counted_keys, 1);
    assert_eq!(key.uses_left(), Some(1 << 32));
    encrypts(&world, &key).unwrap();
    world.run(client.close(key)).unwrap();
    // Another license for the same key counts on.
    world.run(client.remove_licenses(kid(1))).unwrap();
    client = restarted(&mut world, client);
    get_license(&mut world, &mut client, wanted(&[1])).unwrap();
    let key = encryptor_of_1(&mut world, &mut client).unwrap();
    assert_eq!(key.uses_left(), Some((1 << 32) - 1));
    // There is room to count one key.
    get_license(&mut world, &mut client, wanted(&[2])).unwrap();
    let full = encryptor(&mut world, &mut client, kid(2), None);
    assert!(
        matches!(
            full,
            Err(ClientError::StoreFull {
                bound: StoreBound::CountedKeys,
                limit: 1
            })
        ),
        "{full:?}"
    );
    encrypts(&world, &key).unwrap();
}

#[test]
fn messages_are_counted_for_the_version_that_encrypts() {
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(asking());
    let [new, old] = [2, 1].map(|number| whole_key(Algorithm::A256Gcm, number));
    let mut left = |versions: &[(u32, &ExchangeKey)]| {
        let keys = ExchangeKeys::new(kid(1), Operation::Encrypt, versions);
        world.server.exchange.insert(kid(1), keys);
        get_license(&mut world, &mut client, wanted(&[1])).unwrap();
        let key = encryptor_of_1(&mut world, &mut client).unwrap();
        let left = key.uses_left().unwrap();
        key.encrypt(
            world.moment,
            b"",
            b"a reading",
            &mut ChaCha20Rng::from_seed([4; 32]),
        )
        .unwrap();
        world.run(client.close(key)).unwrap();
        world.run(client.remove_licenses(kid(1))).unwrap();
        left
    };
    assert_eq!(left(&[(2, &new), (1, &old)]), 1 << 32);
    assert_eq!(left(&[(2, &new)]), (1 << 32) - 1);
    assert_eq!(left(&[(1, &old)]), 1 << 32);
}
