//! Operations in place and in pieces.

use keyward_client::{
    ClientError,
    key_exchange::{Ended, PerformError},
};
use keyward_crypto::exchange::{self, Algorithm, Operation};
use keyward_license::{key_exchange::ExchangeError, license::KeyDescription};
use keyward_testkit::pki::NOW;

use crate::{
    exchanging::{
        decryptor, encrypting, encryptor_of_1, encrypts, exchange_world, gone, rng, server_decrypts,
        server_encrypts, server_signs, server_verifies, signer_of_1, verifier, versioned, whole_key,
    },
    licensed::pass,
    world::kid,
};

static MESSAGE: [u8; 200_000] = [0x6b; 200_000];

#[test]
fn messages_are_encrypted_and_decrypted_in_place() {
    for algorithm in [Algorithm::A128Gcm, Algorithm::A256Ctr] {
        let key = whole_key(algorithm, 1);
        let (mut world, mut client) = exchange_world(algorithm, Operation::Encrypt, |_| (), |_| ());
        let handle = encryptor_of_1(&mut world, &mut client).unwrap();
        let mut buffer = *b"a reading";
        let around = handle
            .encrypt_in_place(world.moment, b"", &mut buffer, &mut rng())
            .unwrap();
        let mut result = [around.front(), &buffer, around.tag()].concat();
        assert_eq!(
            server_decrypts(&key, b"", &result[4..]).unwrap().expose(),
            b"a reading"
        );
        let (mut world, mut client) = exchange_world(algorithm, Operation::Decrypt, |_| (), |_| ());
        let handle = decryptor(&mut world, &mut client, kid(1), None).unwrap();
        assert_eq!(
            handle.decrypt_in_place(world.moment, b"", &mut result).unwrap(),
            b"a reading"
        );
    }
    let (mut world, mut client) = exchange_world(Algorithm::A128Cbc, Operation::Encrypt, |_| (), |_| ());
    let handle = encryptor_of_1(&mut world, &mut client).unwrap();
    let refused = handle.encrypt_in_place(world.moment, b"", &mut [0; 16], &mut rng());
    assert!(
        matches!(refused, Err(PerformError::Exchange(ExchangeError::NotInPlace(_)))),
        "{refused:?}"
    );
}

#[test]
fn large_messages_are_encrypted_and_decrypted_in_pieces() {
    for algorithm in [
        Algorithm::A128Gcm,
        Algorithm::A256Gcm,
        Algorithm::A128Cbc,
        Algorithm::A256Ctr,
    ] {
        let key = whole_key(algorithm, 1);
        let (mut world, mut client) = exchange_world(algorithm, Operation::Encrypt, |_| (), |_| ());
        let handle = encryptor_of_1(&mut world, &mut client).unwrap();
        let mut result = Vec::new();
        let mut stream = handle.stream(world.moment, b"", &mut rng()).unwrap();
        for piece in MESSAGE.chunks(70_001) {
            stream.update(world.moment, piece, &mut result).unwrap();
        }
        stream.finish(world.moment, &mut result).unwrap();
        assert_eq!(result[..4], [0, 0, 0, 1]);
        let mirror = exchange::Decryptor::new(&key.material(Operation::Decrypt).unwrap()).unwrap();
        let mut opened = Vec::new();
        let mut server = mirror.stream(b"", &[0, 0, 0, 1]).unwrap();
        server.update(&result[4..], &mut opened).unwrap();
        server.finish(&mut opened).unwrap();
        assert_eq!(opened, MESSAGE, "{algorithm}");

        let (mut world, mut client) = exchange_world(algorithm, Operation::Decrypt, |_| (), |_| ());
        let handle = decryptor(&mut world, &mut client, kid(1), None).unwrap();
        let decrypt = |result: &[u8]| {
            let mut opened = Vec::new();
            let mut stream = handle.stream(world.moment, b"").unwrap();
            for piece in result.chunks(9_999) {
                stream.update(world.moment, piece, &mut opened)?;
            }
            stream.finish(world.moment, &mut opened).map(|()| opened)
        };
        assert_eq!(decrypt(&result).unwrap(), MESSAGE, "{algorithm}");
        if algorithm.is_authenticated() {
            assert!(decrypt(&result[..result.len() - 1]).is_err(), "cut off");
        } else {
            // The formats of streams and messages are one.
            let whole = handle.decrypt(world.moment, b"", &result).unwrap();
            assert_eq!(whole.expose(), MESSAGE);
        }
    }
}

#[test]
fn large_messages_are_signed_and_verified_in_pieces() {
    for algorithm in [Algorithm::HmacSha384, Algorithm::Esp256] {
        let key = whole_key(algorithm, 1);
        let (mut world, mut client) = exchange_world(algorithm, Operation::Sign, |_| (), |_| ());
        let handle = signer_of_1(&mut world, &mut client).unwrap();
        let mut stream = handle.stream(world.moment).unwrap();
        for piece in MESSAGE.chunks(70_001) {
            stream.update(world.moment, piece).unwrap();
        }
        let result = stream.finish(world.moment).unwrap();
        assert!(server_verifies(&key, &MESSAGE, &result[4..]));

        let (mut world, mut client) = exchange_world(algorithm, Operation::Verify, |_| (), |_| ());
        let handle = verifier(&mut world, &mut client, kid(1), None).unwrap();
        let verify = |message: &[u8], result: &[u8]| {
            let mut stream = handle.stream(world.moment, result)?;
            for piece in message.chunks(70_001) {
                stream.update(world.moment, piece)?;
            }
            stream.finish(world.moment)
        };
        verify(&MESSAGE, &server_signs(&key, 1, &MESSAGE)).unwrap();
        assert!(verify(&MESSAGE[1..], &result).is_err());
        let other_version = versioned(2, &result[4..]);
        assert!(verify(&MESSAGE, &other_version).is_err());
    }
    let (mut world, mut client) = exchange_world(Algorithm::Ed25519, Operation::Sign, |_| (), |_| ());
    let handle = signer_of_1(&mut world, &mut client).unwrap();
    let refused = handle.stream(world.moment);
    assert!(
        matches!(
            refused,
            Err(PerformError::Exchange(ExchangeError::NotStreamed(_)))
        ),
        "{refused:?}"
    );
}

#[test]
fn r_053_a_stream_is_judged_at_every_piece_and_wiped_with_its_key() {
    let (mut world, mut client) = encrypting(|body| body.end = Some(NOW.plus(100)));
    let key = encryptor_of_1(&mut world, &mut client).unwrap();
    let mut result = Vec::new();
    let mut stream = key.stream(world.moment, b"", &mut rng()).unwrap();
    stream.update(world.moment, &MESSAGE, &mut result).unwrap();
    pass(&mut world, 99);
    stream.update(world.moment, &MESSAGE, &mut result).unwrap();
    pass(&mut world, 1);
    let given_out = result.len();
    let over = stream.update(world.moment, &MESSAGE, &mut result).unwrap_err();
    assert!(
        matches!(
            over,
            PerformError::Ended {
                why: Ended::Refused(_),
                ..
            }
        ),
        "{over}"
    );
    world.moment.utc = Some(NOW);
    assert!(stream.update(world.moment, &MESSAGE, &mut result).is_err());
    assert!(stream.finish(world.moment, &mut result).is_err());
    assert_eq!(result.len(), given_out);
    assert!(encrypts(&world, &key).is_err());
}

#[test]
fn r_053_a_stream_ends_when_its_license_is_removed() {
    let (mut world, mut client) = exchange_world(Algorithm::A256Gcm, Operation::Decrypt, |_| (), |_| ());
    let key = decryptor(&mut world, &mut client, kid(1), None).unwrap();
    let mut stream = key.stream(world.moment, b"").unwrap();
    world.run(client.remove_licenses(kid(1))).unwrap();
    let mut opened = Vec::new();
    let removed = stream
        .update(world.moment, &[0, 0, 0, 1], &mut opened)
        .unwrap_err();
    assert!(
        matches!(
            removed,
            PerformError::Ended {
                why: Ended::Removed,
                ..
            }
        ),
        "{removed}"
    );
}

#[test]
fn r_052_a_stream_is_one_use() {
    let limit = |key: &mut KeyDescription| key.uses = Some(2);
    let (mut world, mut client) = exchange_world(Algorithm::A256Gcm, Operation::Encrypt, limit, |_| ());
    let key = encryptor_of_1(&mut world, &mut client).unwrap();
    let mut result = Vec::new();
    let mut stream = key.stream(world.moment, b"", &mut rng()).unwrap();
    for _ in 0..9 {
        stream.update(world.moment, &MESSAGE, &mut result).unwrap();
    }
    stream.finish(world.moment, &mut result).unwrap();
    assert_eq!(key.uses_left(), Some(1));
}

#[test]
fn a_stream_that_failed_gives_out_nothing_more() {
    let (mut world, mut client) = exchange_world(Algorithm::A256Gcm, Operation::Decrypt, |_| (), |_| ());
    let key = decryptor(&mut world, &mut client, kid(1), None).unwrap();
    let mut stream = key.stream(world.moment, b"").unwrap();
    let mut opened = Vec::new();
    let message = server_encrypts(&whole_key(Algorithm::A256Gcm, 1), 1, b"", &[7; 500]);
    assert!(
        stream.update(world.moment, &message, &mut opened).is_err(),
        "a message is no stream"
    );
    assert!(stream.update(world.moment, &message, &mut opened).is_err());
    assert!(stream.finish(world.moment, &mut opened).is_err());
    assert!(opened.is_empty());
}

#[test]
fn r_052_a_stream_that_began_with_the_last_use_is_finished() {
    let limit = |key: &mut KeyDescription| key.uses = Some(1);
    let (mut world, mut client) = exchange_world(Algorithm::HmacSha256, Operation::Sign, limit, |body| {
        body.end = Some(NOW.plus(1_000));
    });
    let key = signer_of_1(&mut world, &mut client).unwrap();
    let mut stream = key.stream(world.moment).unwrap();
    // As a host does before every piece.
    assert!(!key.holds(world.moment, client.host()));
    world.run(client.keep_up(&key)).unwrap();
    stream.update(world.moment, b"a read").unwrap();
    // Another call finds no use, and ends the key for calls alone.
    assert_eq!(gone(key.sign(world.moment, b"").map(drop)), Ended::UsedUp);
    pass(&mut world, 500);
    world.run(client.keep_up(&key)).unwrap();
    assert_eq!(client.clock_floor(), NOW.plus(500));
    stream.update(world.moment, b"ing").unwrap();
    let result = stream.finish(world.moment).unwrap();
    assert!(server_verifies(
        &whole_key(Algorithm::HmacSha256, 1),
        b"a reading",
        &result[4..]
    ));
    assert_eq!(gone(key.sign(world.moment, b"").map(drop)), Ended::UsedUp);
    let over = world.run(client.keep_up(&key)).unwrap_err();
    assert!(matches!(over, ClientError::UsedUp { .. }), "{over}");
}

#[test]
fn r_053_a_stream_whose_key_is_used_up_ends_with_its_license() {
    let limit = |key: &mut KeyDescription| key.uses = Some(1);
    for is_removed in [false, true] {
        let (mut world, mut client) = exchange_world(Algorithm::HmacSha256, Operation::Sign, limit, |body| {
            body.end = Some(NOW.plus(1_000));
        });
        let key = signer_of_1(&mut world, &mut client).unwrap();
        let mut streams = [(); 2].map(|()| key.stream(world.moment));
        let [Ok(stream), Err(_)] = &mut streams else {
            panic!("{streams:?}")
        };
        if is_removed {
            world.run(client.remove_licenses(kid(1))).unwrap();
        } else {
            pass(&mut world, 1_000);
        }
        world.run(client.keep_up(&key)).unwrap_err();
        let why = gone(stream.update(world.moment, b"piece"));
        assert_eq!(why == Ended::Removed, is_removed, "{why}");
        assert_eq!(matches!(why, Ended::Refused(_)), !is_removed, "{why}");
    }
}
