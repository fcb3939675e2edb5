//! Every algorithm in both directions, through the handles: round trips, refusals, bounds.

use proptest::prelude::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::*;
use crate::SecretBytes;

const ENCRYPTING: [Algorithm; 6] = [
    Algorithm::A128Gcm,
    Algorithm::A256Gcm,
    Algorithm::A128Cbc,
    Algorithm::A256Cbc,
    Algorithm::A128Ctr,
    Algorithm::A256Ctr,
];
const WRAPPING: [Algorithm; 2] = [Algorithm::A128Kw, Algorithm::A256Kw];
const SIGNING: [Algorithm; 5] = [
    Algorithm::HmacSha256,
    Algorithm::HmacSha384,
    Algorithm::HmacSha512,
    Algorithm::Esp256,
    Algorithm::Ed25519,
];

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

fn key(algorithm: Algorithm) -> ExchangeKey {
    ExchangeKey::generate(algorithm, &mut rng(1))
}

fn encryption(algorithm: Algorithm) -> (Encryptor, Decryptor) {
    let key = key(algorithm);
    (
        Encryptor::new(&key.material(Operation::Encrypt).unwrap()).unwrap(),
        Decryptor::new(&key.material(Operation::Decrypt).unwrap()).unwrap(),
    )
}

fn wrapping(algorithm: Algorithm) -> (Wrapper, Unwrapper) {
    let key = key(algorithm);
    (
        Wrapper::new(&key.material(Operation::Wrap).unwrap()).unwrap(),
        Unwrapper::new(&key.material(Operation::Unwrap).unwrap()).unwrap(),
    )
}

fn signing(algorithm: Algorithm) -> (Signer, Verifier) {
    let key = key(algorithm);
    (
        Signer::new(&key.material(Operation::Sign).unwrap()).unwrap(),
        Verifier::new(&key.material(Operation::Verify).unwrap()).unwrap(),
    )
}

fn plaintext(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

/// Cuts `data` at the ends of pieces of the given lengths, over and over.
fn pieces<'a>(mut data: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for len in lengths.iter().cycle() {
        if data.is_empty() {
            break;
        }
        let (piece, rest) = data.split_at((*len).min(data.len()));
        pieces.push(piece);
        data = rest;
    }
    pieces
}

fn encrypt_stream(mut stream: StreamEncryptor, data: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut output = Vec::new();
    for piece in pieces(data, cuts) {
        stream.update(piece, &mut output).unwrap();
    }
    stream.finish(&mut output).unwrap();
    output
}

/// Decrypts piece by piece; returns what came out, and whether it was whole.
fn decrypt_stream(
    mut stream: StreamDecryptor,
    data: &[u8],
    cuts: &[usize],
) -> (Vec<u8>, Result<(), CryptoError>) {
    let mut output = Vec::new();
    for piece in pieces(data, cuts) {
        if let Err(error) = stream.update(piece, &mut output) {
            return (output, Err(error));
        }
    }
    let whole = stream.finish(&mut output);
    (output, whole)
}

#[test]
fn outputs_have_the_documented_form() {
    for (algorithm, start, end) in [
        (Algorithm::A128Gcm, 12, 16),
        (Algorithm::A256Gcm, 12, 16),
        (Algorithm::A128Cbc, 16, 3),
        (Algorithm::A256Cbc, 16, 3),
        (Algorithm::A128Ctr, 16, 0),
        (Algorithm::A256Ctr, 16, 0),
    ] {
        let (encryptor, _) = encryption(algorithm);
        let one = encryptor.encrypt(b"", &[7; 13], &mut rng(2)).unwrap();
        let other = encryptor.encrypt(b"", &[7; 13], &mut rng(3)).unwrap();
        assert_eq!(one.len(), start + 13 + end, "{algorithm}");
        assert_ne!(one[..start], other[..start], "{algorithm}: a start of its own");
        let prefixed = encryptor
            .encrypt_into(b"\0\0\0\x01", b"", &[7; 13], &mut rng(2))
            .unwrap();
        assert_eq!(prefixed, [b"\0\0\0\x01", &one[..]].concat(), "{algorithm}");
    }
    for (algorithm, len) in SIGNING.into_iter().zip([32, 48, 64, 64, 64]) {
        let (signer, verifier) = signing(algorithm);
        let signature = signer.sign_into(b"\0\0\0\x01", b"message").unwrap();
        assert_eq!(signature.len(), 4 + len, "{algorithm}");
        verifier.verify(b"message", &signature[4..]).unwrap();
    }
    for algorithm in WRAPPING {
        let (wrapper, unwrapper) = wrapping(algorithm);
        let wrapped = wrapper.wrap_into(b"\0\0\0\x01", &[5; 32]).unwrap();
        assert_eq!(wrapped.len(), 4 + 40, "{algorithm}");
        assert_eq!(unwrapper.unwrap(&wrapped[4..]).unwrap().expose(), [5; 32]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_message_comes_back(data in prop::collection::vec(any::<u8>(), 0..700), seed: u8) {
        for algorithm in ENCRYPTING {
            let (encryptor, decryptor) = encryption(algorithm);
            let aad: &[u8] = if algorithm.takes_aad() { b"context" } else { b"" };
            let mut output = encryptor.encrypt(aad, &data, &mut rng(seed)).unwrap();
            let decrypted = decryptor.decrypt(aad, &output).unwrap();
            prop_assert_eq!(decrypted.expose(), &data[..]);

            if let Ok(detached) = encryptor.encrypt_in_place(aad, &mut data.clone(), &mut rng(seed)) {
                let mut buffer = data.clone();
                prop_assert_eq!(encryptor.encrypt_in_place(aad, &mut buffer, &mut rng(seed)).unwrap(), detached);
                prop_assert_eq!(&output, &[detached.start(), &buffer, detached.tag()].concat());
            }
            prop_assert_eq!(&*decryptor.decrypt_in_place(aad, &mut output).unwrap(), &data[..]);
        }
    }

    #[test]
    fn cbc_and_ctr_streams_are_the_messages_in_memory(
        data in prop::collection::vec(any::<u8>(), 0..700),
        cuts in prop::collection::vec(1_usize..80, 1..6),
    ) {
        for algorithm in &ENCRYPTING[2..] {
            let (encryptor, decryptor) = encryption(*algorithm);
            let whole = encryptor.encrypt_into(b"pre", b"", &data, &mut rng(4)).unwrap();
            let stream = encryptor.stream(b"", b"pre", &mut rng(4)).unwrap();
            prop_assert_eq!(&encrypt_stream(stream, &data, &cuts), &whole);
            let stream = decryptor.stream(b"", b"pre").unwrap();
            let (decrypted, ended) = decrypt_stream(stream, &whole[3..], &cuts);
            prop_assert_eq!((decrypted, ended), (data.clone(), Ok(())));
        }
    }

    #[test]
    fn signed_streams_are_the_messages_in_memory(
        data in prop::collection::vec(any::<u8>(), 0..700),
        cuts in prop::collection::vec(1_usize..80, 1..6),
        flip: prop::sample::Index,
    ) {
        for algorithm in SIGNING.into_iter().filter(|algorithm| algorithm.can_stream()) {
            let (signer, verifier) = signing(algorithm);
            let mut stream = signer.stream().unwrap();
            pieces(&data, &cuts).into_iter().for_each(|piece| stream.update(piece).unwrap());
            let mut signature = stream.finish().unwrap();
            verifier.verify(&data, &signature).unwrap();
            if algorithm != Algorithm::Esp256 {
                prop_assert_eq!(&signer.sign(&data).unwrap(), &signature);
            }
            let verify = |signature: &[u8]| {
                let mut stream = verifier.stream().unwrap();
                pieces(&data, &cuts).into_iter().for_each(|piece| stream.update(piece).unwrap());
                stream.finish(signature)
            };
            prop_assert_eq!(verify(&signer.sign(&data).unwrap()), Ok(()));
            let position = flip.index(signature.len());
            signature[position] ^= 1;
            prop_assert_eq!(verify(&signature), Err(CryptoError::BadSignature));
            prop_assert_eq!(verify(&[]), Err(CryptoError::BadSignature));
        }
    }

    #[test]
    fn any_key_comes_back_from_its_wrapping(words in 2_usize..=512, seed: u8) {
        for algorithm in WRAPPING {
            let (wrapper, unwrapper) = wrapping(algorithm);
            let mut key = vec![0; words * 8];
            rng(seed).fill_bytes(&mut key);
            let wrapped = wrapper.wrap(&key).unwrap();
            prop_assert_eq!(wrapped.len(), key.len() + 8);
            let unwrapped = unwrapper.unwrap(&wrapped).unwrap();
            prop_assert_eq!(unwrapped.expose(), &key[..]);
        }
    }
}

#[test]
fn any_change_of_a_gcm_output_is_refused_and_leaves_nothing() {
    for algorithm in [Algorithm::A128Gcm, Algorithm::A256Gcm] {
        let (encryptor, decryptor) = encryption(algorithm);
        let output = encryptor.encrypt(b"aad", b"secret words", &mut rng(2)).unwrap();
        for position in 0..output.len() {
            let mut altered = output.clone();
            altered[position] ^= 4;
            assert_eq!(
                decryptor.decrypt(b"aad", &altered).unwrap_err(),
                CryptoError::NotOpened
            );
            assert_eq!(
                decryptor.decrypt_in_place(b"aad", &mut altered),
                Err(CryptoError::NotOpened)
            );
            assert_eq!(altered[12..24], [0; 12]);
            let mut short = output[..position].to_vec();
            assert_eq!(
                decryptor.decrypt(b"aad", &short).unwrap_err(),
                CryptoError::NotOpened
            );
            assert_eq!(
                decryptor.decrypt_in_place(b"aad", &mut short),
                Err(CryptoError::NotOpened)
            );
        }
        let longer = [&output[..], b"\0"].concat();
        for (aad, output) in [(&b"aad"[..], longer), (b"", output.clone()), (b"aae", output)] {
            assert_eq!(
                decryptor.decrypt(aad, &output).unwrap_err(),
                CryptoError::NotOpened
            );
        }
    }
}

#[test]
fn any_change_of_a_signature_message_or_wrapped_key_is_refused() {
    for algorithm in SIGNING {
        let (signer, verifier) = signing(algorithm);
        let signature = signer.sign(b"message").unwrap();
        verifier.verify(b"message", &signature).unwrap();
        let refused = |message: &[u8], signature: &[u8]| {
            assert_eq!(
                verifier.verify(message, signature),
                Err(CryptoError::BadSignature),
                "{algorithm}"
            );
        };
        refused(b"messagf", &signature);
        refused(b"", &signature);
        refused(b"message", &[&signature[..], b"\0"].concat());
        for position in 0..signature.len() {
            let mut altered = signature.clone();
            altered[position] ^= 1;
            refused(b"message", &altered);
            refused(b"message", &signature[..position]);
        }
    }
    for algorithm in WRAPPING {
        let (wrapper, unwrapper) = wrapping(algorithm);
        let wrapped = wrapper.wrap(&[9; 24]).unwrap();
        for position in 0..wrapped.len() {
            let mut altered = wrapped.clone();
            altered[position] ^= 1;
            assert_eq!(unwrapper.unwrap(&altered).unwrap_err(), CryptoError::NotOpened);
            assert_eq!(
                unwrapper.unwrap(&wrapped[..position]).unwrap_err(),
                CryptoError::NotOpened
            );
        }
    }
}

#[test]
fn cbc_failures_look_all_the_same_and_leave_nothing() {
    for algorithm in [Algorithm::A128Cbc, Algorithm::A256Cbc] {
        let (encryptor, decryptor) = encryption(algorithm);
        let output = encryptor.encrypt(b"", &[7; 40], &mut rng(2)).unwrap();
        // Another last byte of padding than 8 that ends with nothing valid before it.
        let mut padding = output.clone();
        padding[16 + 31] ^= 8 ^ 0x55;
        let cases = [
            padding,
            output[..15].to_vec(),
            output[..16].to_vec(),
            output[..50].to_vec(),
            Vec::new(),
        ];
        for mut case in cases {
            let (_, streamed) = decrypt_stream(decryptor.stream(b"", b"").unwrap(), &case, &[5]);
            assert_eq!(streamed, Err(CryptoError::NotOpened));
            assert_eq!(decryptor.decrypt(b"", &case).unwrap_err(), CryptoError::NotOpened);
            assert_eq!(
                decryptor.decrypt_in_place(b"", &mut case),
                Err(CryptoError::NotOpened)
            );
            assert!(case.iter().skip(16).all(|byte| *byte == 0));
        }
        assert!(matches!(
            encryptor.encrypt_in_place(b"", &mut [0; 16], &mut rng(2)),
            Err(CryptoError::NotPermitted(_))
        ));
    }
}

/// What the documentation warns of, so that it stays true: no change of CBC and CTR is noticed as such.
#[test]
fn cbc_and_ctr_do_not_authenticate() {
    for algorithm in &ENCRYPTING[2..] {
        assert!(!algorithm.is_authenticated());
        let (encryptor, decryptor) = encryption(*algorithm);
        let mut output = encryptor.encrypt(b"", b"pay 100", &mut rng(2)).unwrap();
        let position = if algorithm.name().ends_with("CBC") {
            4
        } else {
            16 + 4
        };
        output[position] ^= b'1' ^ b'9';
        assert_eq!(decryptor.decrypt(b"", &output).unwrap().expose(), b"pay 900");
    }
}

#[test]
fn gcm_streams_come_back_and_are_bound() {
    let data = plaintext(200_000);
    for algorithm in [Algorithm::A128Gcm, Algorithm::A256Gcm] {
        let (encryptor, decryptor) = encryption(algorithm);
        let stream = encryptor.stream(b"aad", b"\0\0\0\x07", &mut rng(2)).unwrap();
        let output = encrypt_stream(stream, &data, &[50_000, 1, 70_000]);
        // Prefix, header, and four chunks of at most 64 KiB.
        assert_eq!(output.len(), 4 + HEADER_LEN + data.len() + 4 * 16);
        let (prefix, rest) = output.split_at(4);
        assert_eq!(prefix, b"\0\0\0\x07");
        let decrypt = |aad, prefix| decrypt_stream(decryptor.stream(aad, prefix).unwrap(), rest, &[30_000]);
        assert!(decrypt(b"aad", prefix) == (data.clone(), Ok(())));
        for (aad, prefix) in [
            (&b"aae"[..], prefix),
            (b"", prefix),
            (b"aad", b"\0\0\0\x08"),
            (b"aad", b""),
        ] {
            assert_eq!(decrypt(aad, prefix), (Vec::new(), Err(CryptoError::NotOpened)));
        }
        // Neither form is taken for the other.
        assert_eq!(
            decryptor.decrypt(b"aad", rest).unwrap_err(),
            CryptoError::NotOpened
        );
        let whole = encryptor.encrypt(b"aad", &data, &mut rng(3)).unwrap();
        let (nothing, error) = decrypt_stream(decryptor.stream(b"aad", b"").unwrap(), &whole, &[30_000]);
        assert!(nothing.is_empty());
        assert!(matches!(error, Err(CryptoError::MalformedStream(_))));
    }
}

#[test]
fn chunks_have_the_size_that_is_asked_for() {
    let (encryptor, decryptor) = encryption(Algorithm::A128Gcm);
    let data = plaintext(10_000);
    let stream = encryptor.stream_with_chunks(b"", b"", 12, &mut rng(2)).unwrap();
    let output = encrypt_stream(stream, &data, &[999]);
    assert_eq!(output.len(), HEADER_LEN + data.len() + 3 * 16);
    let (decrypted, whole) = decrypt_stream(decryptor.stream(b"", b"").unwrap(), &output, &[999]);
    assert_eq!((decrypted, whole), (data, Ok(())));
    for log2 in [0, 11, 21, 64, 255] {
        let refused = encryptor.stream_with_chunks(b"", b"", log2, &mut rng(2));
        assert_eq!(refused.unwrap_err(), CryptoError::LimitReached("chunk size"));
    }
}

#[test]
fn a_stream_that_failed_stays_so() {
    let (encryptor, decryptor) = encryption(Algorithm::A256Gcm);
    let stream = encryptor.stream_with_chunks(b"", b"", 12, &mut rng(2)).unwrap();
    let output = encrypt_stream(stream, &plaintext(10_000), &[10_000]);
    let mut altered = output.clone();
    altered[HEADER_LEN + 4112] ^= 1;
    let mut stream = decryptor.stream(b"", b"").unwrap();
    let mut released = Vec::new();
    assert_eq!(
        stream.update(&altered, &mut released),
        Err(CryptoError::NotOpened)
    );
    assert_eq!(released, plaintext(4096));
    assert_eq!(
        stream.update(&output[HEADER_LEN + 4112..], &mut released),
        Err(CryptoError::NotOpened)
    );
    assert_eq!(stream.finish(&mut released), Err(CryptoError::NotOpened));
    assert_eq!(released, plaintext(4096));
}

/// The counter is the whole block: behind the last one comes block zero.
#[test]
fn the_counter_wraps_over_the_whole_block() {
    for algorithm in [Algorithm::A128Ctr, Algorithm::A256Ctr] {
        let (_, decryptor) = encryption(algorithm);
        let key_stream = |start: u8, len: usize| {
            let output = [vec![start; 16], vec![0; len]].concat();
            let streamed = decrypt_stream(decryptor.stream(b"", b"").unwrap(), &output, &[7]).0;
            assert_eq!(decryptor.decrypt(b"", &output).unwrap().expose(), streamed);
            streamed
        };
        assert_eq!(key_stream(0xff, 48)[16..], key_stream(0, 32));
    }
}

mod handles;
