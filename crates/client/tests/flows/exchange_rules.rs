//! Key exchange: the rules at every call, time, and what becomes of a key whose license goes.

use keyward_client::{
    ClientError,
    acquire::Wanted,
    enforce::Stop,
    key_exchange::{Ended, PerformError},
    session::Acquisition,
};
use keyward_crypto::exchange::{Algorithm, Operation};
use keyward_license::{
    codec::Bytes,
    key_exchange::ExchangeError,
    license::{ExtendedRestriction, KeyDescription},
    usage_rules::{Refusal, Understood},
};
use keyward_testkit::pki::NOW;

use crate::{
    exchanging::{
        ANY, NO_TERMS, encrypting, encryptor_of_1, encrypts, exchange_keys, exchange_world, get_license,
        gone, of_gcm, rng, server_decrypts, signer, signer_of_1, signs, whole_key,
    },
    licensed::{commits, pass, restarted},
    world::{KIND_LICENSE, TestClient, World, kid, wanted},
};

#[test]
fn r_051_the_additional_data_equals_the_context() {
    let described = |key: &mut KeyDescription| {
        key.context = Some(Bytes(b"meter 17".to_vec()));
        key.uses = Some(1);
    };
    let (mut world, mut client) = exchange_world(Algorithm::A128Gcm, Operation::Encrypt, described, NO_TERMS);
    let key = encryptor_of_1(&mut world, &mut client).unwrap();
    assert_eq!(key.context(), Some(&b"meter 17"[..]));
    for wrong in [&b""[..], b"meter 18", b"meter 170"] {
        let refused = key.encrypt(world.moment, wrong, b"42", &mut rng()).unwrap_err();
        assert!(
            matches!(refused, PerformError::Exchange(ExchangeError::WrongContext)),
            "{refused}"
        );
    }
    // what was refused before the key was touched is no use.
    let result = key.encrypt(world.moment, b"meter 17", b"42", &mut rng()).unwrap();
    let opened = server_decrypts(&whole_key(Algorithm::A128Gcm, 1), b"meter 17", &result[4..]);
    assert_eq!(opened.unwrap().expose(), b"42");
    let again = key.encrypt(world.moment, b"meter 17", b"42", &mut rng());
    assert_eq!(gone(again.map(drop)), Ended::UsedUp);
}

#[test]
fn r_053_the_license_is_judged_at_every_call_and_what_is_refused_stays_so() {
    let (mut world, mut client) = encrypting(|body| {
        body.begin = Some(NOW.plus(100));
        body.end = Some(NOW.plus(1_000));
    });
    let early = encryptor_of_1(&mut world, &mut client);
    let begin = NOW.plus(100);
    assert!(
        matches!(early, Err(ClientError::Refused { refusal: Refusal::NotYetValid { begin: at }, .. }) if at == begin),
        "{early:?}"
    );
    pass(&mut world, 100);
    let key = encryptor_of_1(&mut world, &mut client).unwrap();
    assert_eq!(key.until(), Some(NOW.plus(1_000)));
    pass(&mut world, 899);
    encrypts(&world, &key).unwrap();
    pass(&mut world, 1);
    let over = Ended::Refused(Stop::Refused(Refusal::Ended { end: NOW.plus(1_000) }));
    assert_eq!(gone(encrypts(&world, &key)), over);
    // The clock is set back: the key is gone all the same.
    world.moment.utc = Some(NOW.plus(200));
    assert_eq!((gone(encrypts(&world, &key)), key.ended()), (over, Some(over)));
    assert!(!key.is_locked());
    let kept_up = world.run(client.keep_up(&key));
    assert!(matches!(
        kept_up,
        Err(ClientError::Refused {
            refusal: Refusal::Ended { .. },
            ..
        })
    ));
}

#[test]
fn r_053_r_013_within_the_grace_period_a_key_performs_and_says_so() {
    let (mut world, mut client) = encrypting(|body| {
        body.end = Some(NOW.plus(100));
        body.grace_period = Some(50);
    });
    let key = encryptor_of_1(&mut world, &mut client).unwrap();
    encrypts(&world, &key).unwrap();
    assert!(!key.is_in_grace());
    // Soon after the client kept up, and yet what it knew does not hold any more.
    pass(&mut world, 99);
    world.run(client.keep_up(&key)).unwrap();
    assert!(key.holds(world.moment, client.host()));
    pass(&mut world, 1);
    assert!(!key.holds(world.moment, client.host()));
    pass(&mut world, 49);
    encrypts(&world, &key).unwrap();
    assert!(key.is_in_grace());
    pass(&mut world, 1);
    gone(encrypts(&world, &key));
}

#[test]
fn r_010_a_clock_that_went_back_ends_a_key_that_is_limited_in_time_and_no_other() {
    for limited in [true, false] {
        let (mut world, mut client) = encrypting(move |body| {
            body.end = Some(NOW.plus(10_000)).filter(|_| limited);
        });
        let key = encryptor_of_1(&mut world, &mut client).unwrap();
        pass(&mut world, 5_000);
        encrypts(&world, &key).unwrap();
        // A little back is what network time does; the time of the call before counts.
        world.moment.utc = Some(NOW.plus(4_800));
        encrypts(&world, &key).unwrap();
        world.moment.utc = Some(NOW.plus(4_000));
        let outcome = encrypts(&world, &key);
        if limited {
            assert_eq!(
                gone(outcome),
                Ended::Refused(Stop::Refused(Refusal::NoUsableClock))
            );
        } else {
            outcome.unwrap();
        }
    }
}

#[test]
fn r_010_time_goes_on_for_a_key_whatever_the_clock_says() {
    let (mut world, mut client) = encrypting(|body| body.end = Some(NOW.plus(600)));
    let key = encryptor_of_1(&mut world, &mut client).unwrap();
    // Set back to where it was, again and again, by less than what is noticed.
    for _ in 0..5 {
        world.moment.monotonic += 100_000;
        encrypts(&world, &key).unwrap();
    }
    world.moment.monotonic += 100_000;
    assert!(matches!(gone(encrypts(&world, &key)), Ended::Refused(_)));
}

#[test]
fn r_010_the_time_of_calls_and_of_their_refusal_is_stored_when_the_client_keeps_up() {
    let (mut world, mut client) = encrypting(|body| body.end = Some(NOW.plus(10_000)));
    let key = encryptor_of_1(&mut world, &mut client).unwrap();
    let holds = |world: &World, client: &TestClient, key: &_| {
        let key: &keyward_client::key_exchange::Encryptor = key;
        key.holds(world.moment, client.host())
    };
    assert!(holds(&world, &client, &key));
    pass(&mut world, 59);
    assert!(holds(&world, &client, &key));
    pass(&mut world, 5_000);
    assert!(!holds(&world, &client, &key), "a minute is over");
    encrypts(&world, &key).unwrap();
    world.run(client.keep_up(&key)).unwrap();
    assert!(holds(&world, &client, &key));
    assert_eq!(client.clock_floor(), NOW.plus(5_059));
    world.trace.clear();
    world.run(client.keep_up(&key)).unwrap();
    assert_eq!(commits(&world), 0, "nothing has changed");
    pass(&mut world, 10_000);
    gone(encrypts(&world, &key));
    assert!(!holds(&world, &client, &key));
    assert!(world.run(client.keep_up(&key)).is_err());
    assert_eq!(client.clock_floor(), NOW.plus(15_059));
    drop(key);
    client = restarted(&mut world, client);
    world.clock(0);
    let back = encryptor_of_1(&mut world, &mut client);
    assert!(
        matches!(
            back,
            Err(ClientError::Refused {
                refusal: Refusal::NoUsableClock,
                ..
            })
        ),
        "{back:?}"
    );
}

#[test]
fn r_053_r_002_the_security_level_suffices_or_nothing_is_prepared() {
    let (mut world, mut client) = encrypting(|body| body.minimum_security_level = Some(3_000));
    let refused = encryptor_of_1(&mut world, &mut client);
    assert!(
        matches!(
            refused,
            Err(ClientError::Refused {
                refusal: Refusal::SecurityLevelTooLow { .. },
                ..
            })
        ),
        "{refused:?}"
    );
}

#[test]
fn r_053_r_008_a_restriction_that_cannot_be_carried_out_any_more_ends_the_key() {
    let understood = |engaged| vec![Understood { kind: 400, engaged }];
    let (mut world, mut client) = encrypting(|body| {
        body.extended_restrictions = Some(vec![ExtendedRestriction {
            kind: 400,
            must_understand: true,
            best_effort: false,
            data: Bytes(Vec::new()),
        }]);
    });
    let refused = encryptor_of_1(&mut world, &mut client);
    assert!(matches!(refused, Err(ClientError::Refused { .. })), "{refused:?}");
    client.host_mut().extended = understood(true);
    let key = encryptor_of_1(&mut world, &mut client).unwrap();
    assert!(key.holds(world.moment, client.host()));
    encrypts(&world, &key).unwrap();
    client.host_mut().extended = understood(false);
    assert!(!key.holds(world.moment, client.host()));
    assert!(world.run(client.keep_up(&key)).is_err());
    let stopped = Ended::Refused(Stop::Refused(Refusal::RestrictionNotEngaged { kind: 400 }));
    assert_eq!(gone(encrypts(&world, &key)), stopped);
}

#[test]
fn a_license_that_lacks_or_has_ended_is_acquired_where_that_is_permitted() {
    let (mut world, mut client) = encrypting(|body| body.end = Some(body.issued.plus(100)));
    for round in 0..2 {
        pass(&mut world, 200);
        world.server.now = world.moment.utc.unwrap();
        let never = encryptor_of_1(&mut world, &mut client);
        assert!(matches!(never, Err(ClientError::Refused { .. })), "{never:?}");
        let sent = world.sent.len();
        let flow = client.prepare_encryptor(kid(1), None, wanted(&[1]), Acquisition::Reactive);
        let key = world.run(flow).unwrap();
        encrypts(&world, &key).unwrap();
        assert!(world.sent.len() > sent, "round {round}");
    }
    world.run(client.remove_licenses(kid(1))).unwrap();
    world.server.exchange.clear();
    world.server.keys.clear();
    let denied = world.run(client.prepare_encryptor(kid(1), None, wanted(&[1]), Acquisition::Reactive));
    assert!(matches!(denied, Err(ClientError::Denied { .. })), "{denied:?}");
}

#[test]
fn a_key_beside_that_lacks_is_acquired_and_a_content_key_that_comes_instead_is_refused() {
    let (mut world, mut client) = encrypting(NO_TERMS);
    let beside = of_gcm().beside(exchange_keys(2, Algorithm::HmacSha256, Operation::Sign));
    world.server.exchange.insert(kid(1), beside);
    let hmac = Some(Algorithm::HmacSha256);
    let never = signer(&mut world, &mut client, kid(1), hmac);
    assert!(
        matches!(never, Err(ClientError::WrongAlgorithm { .. })),
        "{never:?}"
    );
    let flow = client.prepare_signer(kid(1), hmac, wanted(&[1]), Acquisition::Reactive);
    let key = world.run(flow).unwrap();
    signs(&world, &key).unwrap();
    let flow = client.prepare_signer(kid(3), hmac, wanted(&[3]), Acquisition::Reactive);
    let content = world.run(flow);
    assert!(
        matches!(content, Err(ClientError::NotAnExchangeKey { .. })),
        "{content:?}"
    );
}

#[test]
fn a_license_that_only_lacks_a_clock_gets_the_time_and_no_other_license() {
    let (mut world, mut client) = encrypting(|body| body.end = Some(NOW.plus(10_000)));
    client = restarted(&mut world, client);
    world.moment.utc = None;
    let never = encryptor_of_1(&mut world, &mut client);
    assert!(matches!(
        never,
        Err(ClientError::Refused {
            refusal: Refusal::NoUsableClock,
            ..
        })
    ));
    let flow = client.prepare_encryptor(kid(1), None, wanted(&[1]), Acquisition::Reactive);
    let key = world.run(flow).unwrap();
    encrypts(&world, &key).unwrap();
    assert_eq!(world.device.count(KIND_LICENSE), 1);
    world.moment.monotonic += 10_000_000;
    gone(encrypts(&world, &key));
}

#[test]
fn removal_wipes_the_keys_that_were_prepared_and_of_no_other_license() {
    let (mut world, mut client) = encrypting(NO_TERMS);
    let first = encryptor_of_1(&mut world, &mut client).unwrap();
    let in_memory = Wanted {
        in_memory: true,
        ..wanted(&[1])
    };
    pass(&mut world, 10);
    world.server.now = world.moment.utc.unwrap();
    let in_memory = get_license(&mut world, &mut client, in_memory).unwrap();
    assert!(world.run(client.remove_license(kid(1), first.license())).unwrap());
    assert_eq!(first.ended(), Some(Ended::Removed));
    assert_eq!(gone(encrypts(&world, &first)), Ended::Removed);
    let second = encryptor_of_1(&mut world, &mut client).unwrap();
    assert_eq!(second.license(), in_memory);
    assert!(!world.run(client.remove_license(kid(2), in_memory)).unwrap());
    encrypts(&world, &second).unwrap();
    assert_eq!(world.run(client.remove_licenses(kid(1))).unwrap(), 1);
    assert_eq!(gone(encrypts(&world, &second)), Ended::Removed);
    let kept_up = world.run(client.keep_up(&second));
    assert!(
        matches!(kept_up, Err(ClientError::NoLicense { .. })),
        "{kept_up:?}"
    );
    world.run(client.close(second)).unwrap();
}

#[test]
fn a_license_that_made_room_for_others_leaves_no_key_behind() {
    for in_memory in [false, true] {
        // Without limits nothing makes the host let the client keep up.
        let (mut world, mut client) = exchange_world(Algorithm::HmacSha256, Operation::Sign, ANY, NO_TERMS);
        world.run(client.remove_licenses(kid(1))).unwrap();
        let wanted = || Wanted {
            in_memory,
            ..wanted(&[1])
        };
        let get_later = |world: &mut World, client: &mut TestClient| {
            pass(world, 1);
            world.server.now = world.moment.utc.unwrap();
            get_license(world, client, wanted()).unwrap();
        };
        get_later(&mut world, &mut client);
        let first = signer_of_1(&mut world, &mut client).unwrap();
        for _ in 1..8 {
            get_later(&mut world, &mut client);
        }
        let last = signer_of_1(&mut world, &mut client).unwrap();
        signs(&world, &first).unwrap();
        get_later(&mut world, &mut client);
        assert_eq!(gone(signs(&world, &first)), Ended::Removed);
        signs(&world, &last).unwrap();
    }
}
