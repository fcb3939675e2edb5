//! Streams: the same as in memory where it is the same, verified as they go, recorded from the beginning.

use keyward_crypto::exchange::{Algorithm, ExchangeKey, Operation};
use keyward_license::key_exchange::{Decryptor, Encryptor, Ring, Signer, Verifier};
use keyward_server::{
    Error, Server,
    key_exchange::{Caller, Destroy, PerformFault, StreamOutput, StreamRequest, UseOutcome, Verification},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::{METERS, new_key, told, value};
use crate::common::World;

/// An operator with the key of these bytes, and the key.
async fn world_of(algorithm: Algorithm, operation: Operation) -> (World, ExchangeKey) {
    let world = World::new().await;
    let bytes = value(0x42, algorithm.key_len());
    let new = new_key(METERS, algorithm, operation);
    world.server.import_exchange_key(new, &bytes).await.unwrap();
    (world, ExchangeKey::import(algorithm, &bytes).unwrap())
}

fn ring(key: &ExchangeKey, operation: Operation) -> Ring {
    Ring::new(METERS, None, vec![(1, key.material(operation).unwrap())]).unwrap()
}

/// Sends pieces through a stream; what came out, and how it ended.
async fn send(
    server: &Server,
    request: StreamRequest,
    pieces: impl Iterator<Item = &[u8]>,
) -> (Vec<u8>, Result<StreamOutput, Error>) {
    let mut output = Vec::new();
    let stream = server.exchange_stream(&Caller::operator(), METERS, request).await;
    let mut stream = stream.unwrap();
    for piece in pieces {
        if let Err(error) = stream.update(piece, &mut output).await {
            return (output, Err(error));
        }
    }
    let ended = stream.finish(&mut output).await;
    (output, ended)
}

fn none() -> Vec<u8> {
    Vec::new()
}

async fn last_outcome(server: &Server) -> UseOutcome {
    server.exchange_uses(METERS, None, 1).await.unwrap()[0].outcome
}

#[tokio::test]
async fn what_the_server_encrypts_a_client_decrypts_and_the_other_way_about() {
    let data: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let rng = &mut ChaCha20Rng::from_seed([9; 32]);
    for algorithm in [
        Algorithm::A128Gcm,
        Algorithm::A256Gcm,
        Algorithm::A256Cbc,
        Algorithm::A128Ctr,
    ] {
        let (world, key) = world_of(algorithm, Operation::Decrypt).await;
        let request = StreamRequest::Encrypt { aad: none() };
        let (result, ended) = send(&world.server, request, data.chunks(7000)).await;
        assert_eq!(ended.unwrap(), StreamOutput::Data);
        let client = Decryptor::new(ring(&key, Operation::Decrypt)).unwrap();
        let (mut stream, mut plain) = (client.stream(b"").unwrap(), Vec::new());
        stream.update(&result, &mut plain).unwrap();
        stream.finish(&mut plain).unwrap();
        assert!(plain == data, "{algorithm}");

        let (world, key) = world_of(algorithm, Operation::Encrypt).await;
        let client = Encryptor::new(ring(&key, Operation::Encrypt)).unwrap();
        let (mut stream, mut result) = (client.stream(b"", rng).unwrap(), Vec::new());
        stream.update(&data, &mut result).unwrap();
        stream.finish(&mut result).unwrap();
        let request = StreamRequest::Decrypt { aad: none() };
        let (plain, ended) = send(&world.server, request, result.chunks(999)).await;
        assert_eq!(ended.unwrap(), StreamOutput::Data);
        assert!(plain == data, "{algorithm}");
        let uses = world.server.exchange_uses(METERS, None, 9).await.unwrap();
        assert_eq!(uses.len(), 1);
        assert_eq!((uses[0].outcome, uses[0].version), (UseOutcome::Done, Some(1)));
        assert_eq!(uses[0].bytes, result.len() as u64);
    }
}

#[tokio::test]
async fn a_stream_that_was_altered_or_cut_gives_nothing_out_that_is_not_genuine() {
    let (world, key) = world_of(Algorithm::A256Gcm, Operation::Encrypt).await;
    let rng = &mut ChaCha20Rng::from_seed([9; 32]);
    let data = vec![0x5a; 300_000];
    let client = Encryptor::new(ring(&key, Operation::Encrypt)).unwrap();
    let (mut stream, mut result) = (client.stream(b"day 1", rng).unwrap(), Vec::new());
    stream.update(&data, &mut result).unwrap();
    stream.finish(&mut result).unwrap();
    let request = |aad: &[u8]| StreamRequest::Decrypt { aad: aad.to_vec() };

    let whole = send(&world.server, request(b"day 1"), result.chunks(4096)).await;
    assert!(whole.0 == data && whole.1.is_ok());
    let mut altered = result.clone();
    altered[150_000] ^= 1;
    let mut wrong_version = result.clone();
    wrong_version[0] = 1;
    let cases: [(&[u8], &[u8], PerformFault); 6] = [
        (b"day 1", &altered, PerformFault::NotVerified),
        (b"day 2", &result, PerformFault::NotVerified),
        (b"day 1", &result[..250_000], PerformFault::NotVerified),
        (b"day 1", &result[..3], PerformFault::Malformed),
        (b"day 1", &[], PerformFault::Malformed),
        (
            b"day 1",
            &wrong_version,
            PerformFault::VersionRefused(0x0100_0001),
        ),
    ];
    for (aad, bytes, expected) in cases {
        let (output, ended) = send(&world.server, request(aad), bytes.chunks(4096)).await;
        let Err(Error::NotPerformed { fault, .. }) = ended else {
            panic!("{ended:?}");
        };
        assert_eq!(fault, expected);
        assert!(output.len() < data.len() && output.iter().all(|byte| *byte == 0x5a));
        assert_eq!(last_outcome(&world.server).await, UseOutcome::Failed);
    }
}

#[tokio::test]
async fn signatures_of_streams_are_those_of_the_whole() {
    let data = vec![7; 100_000];
    for algorithm in [Algorithm::HmacSha256, Algorithm::HmacSha512, Algorithm::Esp256] {
        let (world, key) = world_of(algorithm, Operation::Verify).await;
        let (_, ended) = send(&world.server, StreamRequest::Sign, data.chunks(1000)).await;
        let Ok(StreamOutput::Signature(signature)) = ended else {
            panic!("{ended:?}")
        };
        let client = Verifier::new(ring(&key, Operation::Verify)).unwrap();
        client.verify(&data, &signature).unwrap();

        let (world, key) = world_of(algorithm, Operation::Sign).await;
        let signature = Signer::new(ring(&key, Operation::Sign))
            .unwrap()
            .sign(&data)
            .unwrap();
        for (bytes, expected) in [
            (&data[..], Verification::Valid),
            (&data[1..], Verification::Invalid),
        ] {
            let request = StreamRequest::Verify {
                signature: signature.clone(),
            };
            let (output, ended) = send(&world.server, request, bytes.chunks(777)).await;
            assert_eq!(ended.unwrap(), StreamOutput::Verified(expected));
            assert!(output.is_empty());
            assert_eq!(last_outcome(&world.server).await, UseOutcome::Done);
        }
    }
}

#[tokio::test]
async fn what_is_no_stream_is_refused_and_recorded() {
    for (algorithm, operation, request, fault) in [
        (
            Algorithm::Ed25519,
            Operation::Verify,
            StreamRequest::Sign,
            PerformFault::NotStreamed,
        ),
        (
            Algorithm::A256Ctr,
            Operation::Decrypt,
            StreamRequest::Encrypt { aad: vec![1] },
            PerformFault::AdditionalData,
        ),
        (
            Algorithm::HmacSha256,
            Operation::Sign,
            StreamRequest::Verify { signature: vec![0] },
            PerformFault::Malformed,
        ),
    ] {
        let (world, _) = world_of(algorithm, operation).await;
        let refused = world
            .server
            .exchange_stream(&Caller::operator(), METERS, request)
            .await;
        let Err(Error::NotPerformed { fault: found, .. }) = refused else {
            panic!("{algorithm}")
        };
        assert_eq!(found, fault, "{algorithm}");
        assert_eq!(last_outcome(&world.server).await, UseOutcome::Failed);
    }
    let (world, _) = world_of(Algorithm::A256Kw, Operation::Wrap).await;
    let refused = world
        .server
        .exchange_stream(&Caller::operator(), METERS, StreamRequest::Sign)
        .await;
    let expected = format!("the server does not sign with exchange key {METERS}: it performs `unwrap`");
    assert_eq!(told(refused), expected);
    assert_eq!(last_outcome(&world.server).await, UseOutcome::Failed);
}

#[tokio::test]
async fn a_stream_stands_in_the_database_before_its_first_byte_and_its_end_is_noted() {
    let (world, _) = world_of(Algorithm::A256Gcm, Operation::Decrypt).await;
    let server = &world.server;
    let encrypt = || StreamRequest::Encrypt { aad: none() };
    let mut stream = server
        .exchange_stream(&Caller::operator(), METERS, encrypt())
        .await
        .unwrap();
    assert_eq!(last_outcome(server).await, UseOutcome::Begun);
    let mut output = Vec::new();
    stream.update(&[1; 100], &mut output).await.unwrap();
    drop(stream);
    while last_outcome(server).await == UseOutcome::Begun {
        tokio::task::yield_now().await;
    }
    let uses = server.exchange_uses(METERS, None, 1).await.unwrap();
    assert_eq!((uses[0].outcome, uses[0].bytes), (UseOutcome::Aborted, 100));
    assert_eq!(uses[0].version, Some(1), "whose bytes may have left");
    // A stream is one message, whatever became of it.
    assert_eq!(server.exchange_key(METERS).await.unwrap().versions[0].messages, 1);

    world
        .sql("UPDATE exchange_key_versions SET messages = 4294967296")
        .await;
    let spent = server
        .exchange_stream(&Caller::operator(), METERS, encrypt())
        .await;
    assert!(matches!(spent, Err(Error::ExchangeKeySpent(_))));
    server.disable_exchange_key(METERS).await.unwrap();
    let disabled = server
        .exchange_stream(&Caller::operator(), METERS, encrypt())
        .await;
    assert!(matches!(disabled, Err(Error::ExchangeKeyDisabled(_))));
    assert_eq!(last_outcome(server).await, UseOutcome::Refused);
}

/// Of a key that went out of use meanwhile, no stream comes to its end.
#[tokio::test]
async fn a_stream_does_not_end_well_that_outlives_its_key() {
    for destroys in [false, true] {
        let (world, _) = world_of(Algorithm::A256Gcm, Operation::Decrypt).await;
        let server = &world.server;
        let request = StreamRequest::Encrypt { aad: none() };
        let mut stream = server
            .exchange_stream(&Caller::operator(), METERS, request)
            .await
            .unwrap();
        let mut output = Vec::new();
        stream.update(&[1; 100_000], &mut output).await.unwrap();
        let left = output.len();
        if destroys {
            server.destroy_exchange_key(METERS, Destroy::All).await.unwrap();
        } else {
            server.disable_exchange_key(METERS).await.unwrap();
        }
        let ended = stream.finish(&mut output).await;
        match destroys {
            true => assert!(
                matches!(ended, Err(Error::ExchangeKeyDestroyed(METERS))),
                "{ended:?}"
            ),
            false => assert!(
                matches!(ended, Err(Error::ExchangeKeyDisabled(METERS))),
                "{ended:?}"
            ),
        }
        assert_eq!(output.len(), left, "the last chunk did not leave");
        assert_eq!(last_outcome(server).await, UseOutcome::Aborted);
    }
}

/// 64 MiB each way, with no more in memory than a chunk and a piece.
#[tokio::test]
async fn memory_stays_flat() {
    const PIECE: usize = 64 * 1024;
    const PIECES: usize = 1024;
    let (world, key) = world_of(Algorithm::A256Gcm, Operation::Decrypt).await;
    let server = &world.server;
    let request = StreamRequest::Encrypt { aad: none() };
    let mut stream = server
        .exchange_stream(&Caller::operator(), METERS, request)
        .await
        .unwrap();
    let client = Decryptor::new(ring(&key, Operation::Decrypt)).unwrap();
    let mut reader = client.stream(b"").unwrap();
    let piece = vec![0xc3; PIECE];
    let (mut output, mut plain) = (Vec::new(), Vec::new());
    let (mut most, mut total) = (0, 0);
    for _ in 0..PIECES {
        stream.update(&piece, &mut output).await.unwrap();
        most = most.max(output.len());
        reader.update(&output, &mut plain).unwrap();
        total += plain.len();
        output.clear();
        plain.clear();
    }
    stream.finish(&mut output).await.unwrap();
    reader.update(&output, &mut plain).unwrap();
    reader.finish(&mut plain).unwrap();
    total += plain.len();
    assert_eq!(total, PIECE * PIECES);
    assert!(most <= 2 * PIECE + 4096, "{most} bytes came out at once");
    assert!(output.capacity() <= 4 * PIECE && plain.capacity() <= 4 * PIECE);
}
