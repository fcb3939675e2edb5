use keyward_crypto::exchange::{ExchangeKey, MAX_AAD, MAX_MESSAGE};
use proptest::prelude::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::*;
use crate::{
    codec::Bytes,
    ids::{DeviceId, LicenseId},
    license::{Binding, CoseAlgorithm, KeyType, LicenseKind},
    time::Timestamp,
};
use keyward_crypto::Secret;

const KID: Kid = Kid::new([7; 16]);

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([5; 32])
}

fn key(algorithm: Algorithm, seed: u8) -> ExchangeKey {
    ExchangeKey::generate(algorithm, &mut ChaCha20Rng::from_seed([seed; 32]))
}

/// A ring of versions; the seed of each key is its version.
fn ring(algorithm: Algorithm, operation: Operation, versions: &[u8]) -> Ring {
    let material = |version: &u8| {
        let material = key(algorithm, *version).material(operation).unwrap();
        (u32::from(*version), material)
    };
    Ring::new(KID, None, versions.iter().map(material).collect()).unwrap()
}

fn with_context(operation: Operation, context: &[u8]) -> Ring {
    let material = key(Algorithm::A256Gcm, 1).material(operation).unwrap();
    Ring::new(KID, Some(context.to_vec()), vec![(1, material)]).unwrap()
}

fn performer(algorithm: Algorithm, operation: Operation, versions: &[u8]) -> Performer {
    Performer::new(ring(algorithm, operation, versions)).unwrap()
}

/// Does the producing operation, and the consuming one with it.
fn there_and_back(
    algorithm: Algorithm,
    data: &[u8],
    made_with: &[u8],
    held: &[u8],
) -> Result<Vec<u8>, ExchangeError> {
    let [produces, consumes] = algorithm.operations();
    let input = Input {
        data,
        ..Input::default()
    };
    let made = performer(algorithm, produces, made_with).perform(&input, &mut rng())?;
    let Output::Result(result) = made else {
        panic!("{made:?}")
    };
    let input = match consumes {
        Operation::Verify => Input {
            signature: Some(&result),
            ..input
        },
        _ => Input {
            data: &result,
            ..input
        },
    };
    match performer(algorithm, consumes, held).perform(&input, &mut rng())? {
        Output::Secret(secret) => assert_eq!(secret.expose(), data),
        Output::Verified => (),
        made @ Output::Result(_) => panic!("{made:?}"),
    }
    Ok(result)
}

#[test]
fn every_algorithm_goes_there_and_back_with_its_version_in_front() {
    for algorithm in Algorithm::ALL {
        let result = there_and_back(algorithm, &[9; 32], &[3, 2], &[5, 4, 3]).unwrap();
        assert_eq!(result[..4], [0, 0, 0, 3], "{algorithm}");
    }
}

#[test]
fn v_035_a_result_names_a_version_that_is_held() {
    for algorithm in Algorithm::ALL {
        let error = there_and_back(algorithm, &[9; 32], &[3], &[5, 4]).unwrap_err();
        let expected = ExchangeError::UnknownVersion {
            made_with: 3,
            held: vec![5, 4],
        };
        assert_eq!(error, expected, "{algorithm}");
        assert_eq!(
            error.to_string(),
            "it was made with version 3 of the key, and here is versions 5, 4"
        );
    }
}

#[test]
fn v_035_an_altered_or_short_result_fails() {
    for algorithm in Algorithm::ALL.into_iter().filter(|one| one.is_authenticated()) {
        let result = there_and_back(algorithm, &[9; 32], &[1], &[1]).unwrap();
        let [_, consumes] = algorithm.operations();
        let taker = performer(algorithm, consumes, &[2, 1]);
        let take = |result: &[u8]| {
            let input = match consumes {
                Operation::Verify => Input {
                    data: &[9; 32],
                    signature: Some(result),
                    ..Input::default()
                },
                _ => Input {
                    data: result,
                    ..Input::default()
                },
            };
            taker.perform(&input, &mut rng()).map(drop)
        };
        assert_eq!(take(&result), Ok(()));
        for at in 4..result.len() {
            let mut altered = result.clone();
            altered[at] ^= 1;
            assert_eq!(
                take(&altered),
                Err(ExchangeError::Failed(consumes)),
                "{algorithm} {at}"
            );
        }
        let mut other_version = result.clone();
        other_version[3] = 2;
        assert_eq!(
            take(&other_version),
            Err(ExchangeError::Failed(consumes)),
            "{algorithm}"
        );
        for length in 4..result.len() {
            assert_eq!(
                take(&result[..length]),
                Err(ExchangeError::Failed(consumes)),
                "{algorithm}"
            );
        }
        for length in 0..4 {
            assert_eq!(
                take(&result[..length]),
                Err(ExchangeError::NotAResult),
                "{algorithm}"
            );
        }
    }
}

#[test]
fn r_050_a_ring_becomes_the_handle_of_its_operation_alone() {
    type Make = fn(Ring) -> Result<(), ExchangeError>;
    let handles: [(Operation, Make); 6] = [
        (Operation::Sign, |ring| Signer::new(ring).map(drop)),
        (Operation::Verify, |ring| Verifier::new(ring).map(drop)),
        (Operation::Encrypt, |ring| Encryptor::new(ring).map(drop)),
        (Operation::Decrypt, |ring| Decryptor::new(ring).map(drop)),
        (Operation::Wrap, |ring| Wrapper::new(ring).map(drop)),
        (Operation::Unwrap, |ring| Unwrapper::new(ring).map(drop)),
    ];
    for algorithm in Algorithm::ALL {
        for permitted in algorithm.operations() {
            for (asked, make) in handles {
                let made = make(ring(algorithm, permitted, &[1]));
                let expected = match permitted == asked {
                    true => Ok(()),
                    false => Err(ExchangeError::WrongOperation { permitted, asked }),
                };
                assert_eq!(made, expected, "{algorithm}");
            }
        }
    }
}

#[test]
fn r_051_additional_data_equals_the_context() {
    let encryptor = Encryptor::new(with_context(Operation::Encrypt, b"meter 17")).unwrap();
    let decryptor = Decryptor::new(with_context(Operation::Decrypt, b"meter 17")).unwrap();
    let result = encryptor.encrypt(b"meter 17", b"42", &mut rng()).unwrap();
    assert_eq!(decryptor.decrypt(b"meter 17", &result).unwrap().expose(), b"42");
    for other in [&b""[..], b"meter 1", b"meter 170", b"METER 17"] {
        let wrong = Err(ExchangeError::WrongContext);
        assert_eq!(encryptor.encrypt(other, b"42", &mut rng()), wrong);
        assert_eq!(
            encryptor.stream(other, &mut rng()).map(drop),
            wrong.clone().map(|_| ())
        );
        assert_eq!(
            decryptor.decrypt(other, &result).map(drop),
            wrong.clone().map(|_| ())
        );
        assert_eq!(decryptor.stream(other).map(drop), wrong.clone().map(|_| ()));
        assert_eq!(
            decryptor.decrypt_in_place(other, &mut result.clone()).map(drop),
            wrong.clone().map(|_| ())
        );
        assert_eq!(
            encryptor.encrypt_in_place(other, &mut [1], &mut rng()).map(drop),
            wrong.map(|_| ())
        );
    }
}

#[test]
fn r_052_gcm_encrypts_so_many_messages_and_no_more() {
    let encryptor = Encryptor::new(ring(Algorithm::A128Gcm, Operation::Encrypt, &[1])).unwrap();
    encryptor.has_encrypted(MAX_MESSAGES - 2);
    assert!(encryptor.encrypt(b"", b"", &mut rng()).is_ok());
    assert_eq!(
        encryptor.encrypt(&[0; MAX_AAD + 1], b"", &mut rng()),
        Err(ExchangeError::LongAdditionalData),
        "what is refused before is no message"
    );
    assert!(encryptor.stream(b"", &mut rng()).is_ok());
    for _ in 0..2 {
        assert_eq!(
            encryptor.encrypt(b"", b"", &mut rng()),
            Err(ExchangeError::MessagesUsedUp)
        );
    }
    let ctr = Encryptor::new(ring(Algorithm::A128Ctr, Operation::Encrypt, &[1])).unwrap();
    ctr.has_encrypted(MAX_MESSAGES);
    assert!(ctr.encrypt(b"", b"", &mut rng()).is_ok());
}

#[test]
fn additional_data_is_for_gcm_alone() {
    for algorithm in Algorithm::ALL {
        let [produces, consumes] = algorithm.operations();
        for operation in [produces, consumes] {
            let input = Input {
                data: &[1; 16],
                aad: b"x",
                signature: (operation == Operation::Verify).then_some(&[0; 36]),
            };
            let refused = performer(algorithm, operation, &[1]).perform(&input, &mut rng());
            let no_aad = refused.is_err_and(|error| error == ExchangeError::NoAdditionalData(algorithm));
            assert_eq!(no_aad, !algorithm.takes_aad(), "{algorithm} {operation}");
        }
    }
}

#[test]
fn messages_in_memory_are_bounded() {
    let large = vec![0; MAX_MESSAGE + 1];
    let encryptor = Encryptor::new(ring(Algorithm::A256Gcm, Operation::Encrypt, &[1])).unwrap();
    let long = Err(ExchangeError::LongMessage);
    assert_eq!(encryptor.encrypt(b"", &large, &mut rng()), long);
    let signer = Signer::new(ring(Algorithm::HmacSha256, Operation::Sign, &[1])).unwrap();
    assert_eq!(signer.sign(&large), long);
    let wrapper = Wrapper::new(ring(Algorithm::A256Kw, Operation::Wrap, &[1])).unwrap();
    for length in [0, 8, 15, 17, 4097, 4104] {
        assert_eq!(
            wrapper.wrap(&large[..length]),
            Err(ExchangeError::WrapLength),
            "{length}"
        );
    }
    assert!(wrapper.wrap(&large[..16]).is_ok() && wrapper.wrap(&large[..4096]).is_ok());
}

#[test]
fn a_call_takes_what_its_operation_takes() {
    for algorithm in Algorithm::ALL {
        for operation in algorithm.operations() {
            let is_verify = operation == Operation::Verify;
            let input = Input {
                data: &[1; 16],
                aad: &[],
                signature: (!is_verify).then_some(&[0; 4]),
            };
            let refused = performer(algorithm, operation, &[1]).perform(&input, &mut rng());
            assert_eq!(refused.map(drop), Err(ExchangeError::WrongInput(operation)));
        }
    }
}

#[test]
fn in_place_is_the_same_result() {
    for algorithm in [Algorithm::A128Gcm, Algorithm::A256Ctr] {
        let encryptor = Encryptor::new(ring(algorithm, Operation::Encrypt, &[2])).unwrap();
        let mut buffer = *b"a secret of the application";
        let around = encryptor.encrypt_in_place(b"", &mut buffer, &mut rng()).unwrap();
        let mut result = [around.front(), &buffer, around.tag()].concat();
        assert_eq!(
            result,
            encryptor
                .encrypt(b"", b"a secret of the application", &mut rng())
                .unwrap()
        );
        let decryptor = Decryptor::new(ring(algorithm, Operation::Decrypt, &[2])).unwrap();
        assert_eq!(
            decryptor.decrypt_in_place(b"", &mut result).unwrap(),
            b"a secret of the application"
        );
    }
    let cbc = Encryptor::new(ring(Algorithm::A128Cbc, Operation::Encrypt, &[1])).unwrap();
    let refused = cbc.encrypt_in_place(b"", &mut [1; 16], &mut rng());
    assert_eq!(refused, Err(ExchangeError::NotInPlace(Algorithm::A128Cbc)));
}

#[test]
fn what_needs_the_whole_message_has_no_streams() {
    let algorithm = Algorithm::Ed25519;
    let signer = Signer::new(ring(algorithm, Operation::Sign, &[1])).unwrap();
    let refused = ExchangeError::NotStreamed(algorithm);
    assert_eq!(signer.stream().unwrap_err(), refused);
    let verifier = Verifier::new(ring(algorithm, Operation::Verify, &[1])).unwrap();
    assert_eq!(verifier.stream(&[0, 0, 0, 1]).unwrap_err(), refused);
}

fn encrypted(encryptor: &Encryptor, data: &[u8], piece: usize) -> Vec<u8> {
    let mut stream = encryptor.stream_with_chunks(b"", 12, &mut rng()).unwrap();
    let mut result = Vec::new();
    for piece in data.chunks(piece) {
        stream.update(piece, &mut result).unwrap();
    }
    stream.finish(&mut result).unwrap();
    result
}

fn decrypted(decryptor: &Decryptor, result: &[u8], piece: usize) -> (Vec<u8>, Result<(), ExchangeError>) {
    let mut stream = decryptor.stream(b"").unwrap();
    let mut output = Vec::new();
    for piece in result.chunks(piece) {
        if let Err(error) = stream.update(piece, &mut output) {
            let again = stream.update(b"more", &mut output);
            assert_eq!(again, Err(ExchangeError::Failed(Operation::Decrypt)));
            return (output, Err(error));
        }
    }
    let whole = stream.finish(&mut output);
    (output, whole)
}

#[test]
fn v_035_a_stream_of_gcm_gives_out_nothing_that_is_not_verified() {
    let encryptor = Encryptor::new(ring(Algorithm::A128Gcm, Operation::Encrypt, &[3])).unwrap();
    let decryptor = Decryptor::new(ring(Algorithm::A128Gcm, Operation::Decrypt, &[4, 3])).unwrap();
    let data: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let result = encrypted(&encryptor, &data, 777);
    assert_eq!(result[..5], [0, 0, 0, 3, 1]);
    assert_eq!(decrypted(&decryptor, &result, 1000), (data.clone(), Ok(())));
    // Header, first, second and last chunk.
    for (at, verified) in [(5, 0), (40, 0), (100, 0), (4200, 4096), (9000, 8192)] {
        let mut altered = result.clone();
        altered[at] ^= 1;
        let (output, whole) = decrypted(&decryptor, &altered, 1000);
        assert_eq!(output, data[..verified], "{at}");
        assert!(whole.is_err(), "{at}");
    }
    let (output, whole) = decrypted(&decryptor, &result[..result.len() - 1], 1000);
    assert_eq!(
        (&output[..], whole),
        (&data[..8192], Err(ExchangeError::Failed(Operation::Decrypt)))
    );
    let (_, whole) = decrypted(&decryptor, &result[..3], 2);
    assert_eq!(whole, Err(ExchangeError::NotAResult));
    let mut other_version = result.clone();
    other_version[3] = 4;
    let (_, whole) = decrypted(&decryptor, &other_version, 1000);
    assert_eq!(whole, Err(ExchangeError::Failed(Operation::Decrypt)));
    other_version[3] = 9;
    let (_, whole) = decrypted(&decryptor, &other_version, 1);
    assert!(matches!(
        whole,
        Err(ExchangeError::UnknownVersion { made_with: 9, .. })
    ));
    let message = encryptor.encrypt(b"", &data, &mut rng()).unwrap();
    let (output, whole) = decrypted(&decryptor, &message, 1000);
    assert!(output.is_empty() && whole.is_err(), "a message is no stream");
    assert_eq!(
        decryptor.decrypt(b"", &result).unwrap_err(),
        ExchangeError::Failed(Operation::Decrypt),
        "nor the reverse"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pieces_make_no_difference(
        data in prop::collection::vec(any::<u8>(), 0..9000),
        piece in 1_usize..5000,
        other in 1_usize..5000,
    ) {
        for algorithm in [Algorithm::A256Gcm, Algorithm::A128Cbc, Algorithm::A256Ctr] {
            let encryptor = Encryptor::new(ring(algorithm, Operation::Encrypt, &[2])).unwrap();
            let decryptor = Decryptor::new(ring(algorithm, Operation::Decrypt, &[2, 1])).unwrap();
            let result = encrypted(&encryptor, &data, piece);
            prop_assert_eq!(decrypted(&decryptor, &result, other), (data.clone(), Ok(())));
            if !algorithm.takes_aad() {
                let whole = encryptor.encrypt(b"", &data, &mut rng()).unwrap();
                prop_assert_eq!(&whole, &result);
            }
        }
        for algorithm in [Algorithm::HmacSha384, Algorithm::Esp256] {
            let signer = Signer::new(ring(algorithm, Operation::Sign, &[2])).unwrap();
            let verifier = Verifier::new(ring(algorithm, Operation::Verify, &[3, 2])).unwrap();
            let mut stream = signer.stream().unwrap();
            data.chunks(piece).for_each(|piece| stream.update(piece).unwrap());
            let result = stream.finish().unwrap();
            prop_assert_eq!(verifier.verify(&data, &result), Ok(()));
            let mut stream = verifier.stream(&signer.sign(&data).unwrap()).unwrap();
            data.chunks(other).for_each(|piece| stream.update(piece).unwrap());
            prop_assert_eq!(stream.finish(), Ok(()));
        }
    }

    #[test]
    fn no_bytes_are_a_result(bytes in prop::collection::vec(any::<u8>(), 0..200), versioned in any::<bool>()) {
        let mut result = bytes;
        if versioned && result.len() > 4 {
            result[..4].copy_from_slice(&[0, 0, 0, 1]);
        }
        for algorithm in Algorithm::ALL.into_iter().filter(|one| one.is_authenticated()) {
            let [_, consumes] = algorithm.operations();
            let signature = (consumes == Operation::Verify).then_some(&result[..]);
            let input = Input { data: &result, aad: &[], signature };
            let taken = performer(algorithm, consumes, &[1]).perform(&input, &mut rng());
            prop_assert!(taken.is_err(), "{}", algorithm);
        }
    }
}

#[test]
fn a_ring_is_one_key() {
    let gcm = |version| {
        (
            version,
            key(Algorithm::A256Gcm, 1).material(Operation::Encrypt).unwrap(),
        )
    };
    let other = |algorithm, operation| (1, key(algorithm, 1).material(operation).unwrap());
    let cases = [
        vec![],
        vec![gcm(0)],
        vec![gcm(1), gcm(2)],
        vec![gcm(2), gcm(2)],
        vec![gcm(2), other(Algorithm::A128Gcm, Operation::Encrypt)],
        vec![gcm(2), other(Algorithm::A256Gcm, Operation::Decrypt)],
    ];
    for versions in cases {
        assert_eq!(
            Ring::new(KID, None, versions).unwrap_err(),
            ExchangeError::NotARing
        );
    }
    let no_place = vec![other(Algorithm::A256Ctr, Operation::Encrypt)];
    let refused = Ring::new(KID, Some(vec![1]), no_place);
    assert_eq!(refused.unwrap_err(), ExchangeError::NotARing);
}

#[test]
fn a_ring_of_a_license_is_that_of_one_key_id() {
    let gcm = KeyDescription {
        context: Some(Bytes(b"meter".to_vec())),
        ..KeyDescription::exchange(KID, Algorithm::A256Gcm, Operation::Decrypt, 2)
    };
    let older = KeyDescription {
        version: Some(1),
        ..gcm.clone()
    };
    let hmac_kid = Kid::new([8; 16]);
    let hmac = KeyDescription::exchange(hmac_kid, Algorithm::HmacSha256, Operation::Verify, 5);
    let binding = Binding::device(&DeviceId::new([3; 32]));
    let mut body = LicenseBody::new(
        LicenseId::new([1; 16]),
        LicenseKind::KeyExchange,
        gcm,
        binding,
        Timestamp(0),
    );
    body.keys.extend([older, hmac]);
    assert_eq!((body.check(), body.asked_kid()), (Ok(()), Ok(KID)));
    let mut keys = LicenseKeys {
        keys: vec![Bytes(vec![2; 32]), Bytes(vec![1; 32]), Bytes(vec![5; 32])],
        proof_key: Secret::new([0; 32]),
    };
    let ring = Ring::of(&body, &keys, KID).unwrap();
    let expected = About {
        kid: KID,
        algorithm: Algorithm::A256Gcm,
        operation: Operation::Decrypt,
        context: Some(b"meter".to_vec()),
        versions: vec![2, 1],
    };
    assert_eq!(ring.about(), &expected);
    let found: Vec<_> = ring
        .materials
        .iter()
        .map(|material| material.expose()[0])
        .collect();
    assert_eq!(found, [2, 1]);
    assert_eq!(Ring::of(&body, &keys, hmac_kid).unwrap().about().versions, [5]);
    let kid = Kid::new([9; 16]);
    assert_eq!(
        Ring::of(&body, &keys, kid).unwrap_err(),
        ExchangeError::NotInLicense { kid }
    );
    // V-034
    keys.keys[1].0.pop();
    assert_eq!(
        Ring::of(&body, &keys, KID).unwrap_err(),
        ExchangeError::MalformedKey
    );
    body.keys[0] = KeyDescription::content(KID, KeyType::File);
    body.keys[1].algorithm = Some(CoseAlgorithm(99));
    assert_eq!(
        Ring::of(&body, &keys, KID).unwrap_err(),
        ExchangeError::NotInLicense { kid: KID },
        "a content key is in no ring"
    );
}

#[test]
fn nothing_prints_a_key() {
    for algorithm in Algorithm::ALL {
        for operation in algorithm.operations() {
            let secret = key(algorithm, 1).material(operation).unwrap().expose().to_vec();
            let ring = ring(algorithm, operation, &[1]);
            let printed = [
                format!("{ring:?}"),
                format!("{:?}", Performer::new(ring).unwrap()),
            ]
            .concat();
            let bytes = |one: &[u8]| one.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
            assert!(printed.contains("redacted"), "{printed}");
            assert!(!printed.contains(&hex::encode(&secret[..8])) && !printed.contains(&bytes(&secret[..8])));
        }
    }
}

#[test]
fn errors_say_what_and_what_next() {
    use Operation::{Decrypt, Encrypt, Unwrap, Verify};
    let held = |held: &[u32]| ExchangeError::UnknownVersion {
        made_with: 3,
        held: held.to_vec(),
    };
    let wrong = ExchangeError::WrongOperation {
        permitted: Encrypt,
        asked: Decrypt,
    };
    let cases = [
        (wrong, "the key is to encrypt, and does not decrypt"),
        (
            held(&[4]),
            "it was made with version 3 of the key, and here is version 4",
        ),
        (
            held(&[5, 4]),
            "it was made with version 3 of the key, and here is versions 5, 4",
        ),
        (ExchangeError::Failed(Decrypt), "it does not decrypt"),
        (ExchangeError::Failed(Verify), "it does not verify"),
        (ExchangeError::Failed(Unwrap), "it does not unwrap"),
        (
            ExchangeError::LongMessage,
            "the message is longer than 67108864 bytes",
        ),
        (
            ExchangeError::LongAdditionalData,
            "the additional data is longer than 65536 bytes",
        ),
        (
            ExchangeError::WrapLength,
            "a key to wrap has 16 to 4096 bytes, a multiple of 8",
        ),
        (
            ExchangeError::NoAdditionalData(Algorithm::A128Cbc),
            "A128CBC takes no additional data",
        ),
        (
            ExchangeError::NotStreamed(Algorithm::Ed25519),
            "Ed25519 needs the whole message and has no streams",
        ),
        (
            ExchangeError::WrongInput(Verify),
            "to verify takes a message and the result of signing it",
        ),
    ];
    for (error, line) in cases {
        assert_eq!(error.to_string(), line);
        assert!(!error.hint().is_empty());
    }
}
