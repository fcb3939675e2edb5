//! What goes into keys and handles, what they refuse, and what they show.

use super::*;

#[test]
fn material_of_another_operation_makes_no_handle() {
    for algorithm in Algorithm::ALL {
        let key = key(algorithm);
        for operation in Operation::ALL {
            let Ok(material) = key.material(operation) else {
                assert!(!algorithm.permits(operation));
                let bytes = SecretBytes::new(key.bytes().expose().to_vec());
                assert!(matches!(
                    Material::from_bytes(algorithm, operation, bytes),
                    Err(CryptoError::NotPermitted(_))
                ));
                continue;
            };
            assert_eq!(
                (material.algorithm(), material.operation()),
                (algorithm, operation)
            );
            assert_eq!(material.expose().len(), algorithm.material_len(operation));
            let made = [
                (Operation::Encrypt, Encryptor::new(&material).err()),
                (Operation::Decrypt, Decryptor::new(&material).err()),
                (Operation::Sign, Signer::new(&material).err()),
                (Operation::Verify, Verifier::new(&material).err()),
                (Operation::Wrap, Wrapper::new(&material).err()),
                (Operation::Unwrap, Unwrapper::new(&material).err()),
            ];
            for (other, error) in made {
                let expected = (other != operation)
                    .then_some(CryptoError::NotPermitted("the key is for another operation"));
                assert_eq!(
                    error, expected,
                    "{algorithm}: {other} with material for {operation}"
                );
            }
        }
    }
}

#[test]
fn a_verifier_of_an_asymmetric_key_holds_the_public_half_only() {
    for algorithm in [Algorithm::Esp256, Algorithm::Ed25519] {
        assert!(algorithm.is_asymmetric());
        let key = key(algorithm);
        let public = key.material(Operation::Verify).unwrap();
        let private = key.bytes().expose();
        assert!(!public.expose().windows(32).any(|window| window == private));
        assert_eq!(key.material(Operation::Sign).unwrap().expose(), private);
    }
}

#[test]
fn keys_are_checked_when_they_come_in() {
    let bytes = |bytes: &[u8]| SecretBytes::new(bytes.to_vec());
    for algorithm in Algorithm::ALL {
        let key = key(algorithm);
        let again = ExchangeKey::import(algorithm, key.bytes()).unwrap();
        assert_eq!(again.bytes().expose(), key.bytes().expose());
        assert_eq!(again.algorithm(), algorithm);
        let len = algorithm.key_len();
        for wrong in [0, len - 1, len + 1, 24, 128] {
            let error = ExchangeKey::import(algorithm, &bytes(&vec![1; wrong])).unwrap_err();
            assert!(matches!(error, CryptoError::MalformedKey(_)));
            for operation in algorithm.operations() {
                let refused = Material::from_bytes(algorithm, operation, bytes(&vec![1; wrong]));
                assert!(
                    matches!(refused, Err(CryptoError::MalformedKey(_))),
                    "{algorithm} {operation}"
                );
            }
        }
    }
    for scalar in [[0; 32], [0xff; 32]] {
        assert!(ExchangeKey::import(Algorithm::Esp256, &bytes(&scalar)).is_err());
        assert!(Material::from_bytes(Algorithm::Esp256, Operation::Sign, bytes(&scalar)).is_err());
    }
    let point = key(Algorithm::Esp256).material(Operation::Verify).unwrap();
    let mut off_the_curve = point.expose().to_vec();
    off_the_curve[64] ^= 1;
    assert!(Material::from_bytes(Algorithm::Esp256, Operation::Verify, bytes(&off_the_curve)).is_err());
}

/// RFC 8032 §5.1.3 and the points of small order: the neutral one, that of order 2, and one of order 4,
/// the neutral one again as `y = p + 1`, and the sign of an `x` that is zero.
#[test]
fn weak_and_non_canonical_public_keys_of_ed25519_are_refused() {
    for text in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "0200000000000000000000000000000000000000000000000000000000000000",
    ] {
        let bytes = SecretBytes::new(hex::decode(text).unwrap());
        assert_eq!(
            Material::from_bytes(Algorithm::Ed25519, Operation::Verify, bytes).unwrap_err(),
            CryptoError::MalformedKey("not an Ed25519 public key"),
            "{text}"
        );
    }
}

#[test]
fn every_bound_is_checked() {
    let large = vec![0; MAX_MESSAGE + 1];
    let limit = |what| CryptoError::LimitReached(what);
    for algorithm in ENCRYPTING {
        let (encryptor, decryptor) = encryption(algorithm);
        let message = limit("bytes of a message in memory");
        assert_eq!(encryptor.encrypt(b"", &large, &mut rng(2)).unwrap_err(), message);
        let (aad, longest) = (vec![0; MAX_AAD + 1], vec![0; MAX_AAD]);
        let refused = if algorithm.takes_aad() {
            assert!(encryptor.encrypt(&longest, b"", &mut rng(2)).is_ok());
            limit("bytes of additional authenticated data")
        } else {
            CryptoError::NotPermitted("the algorithm takes no additional authenticated data")
        };
        assert_eq!(encryptor.encrypt(&aad, b"", &mut rng(2)).unwrap_err(), refused);
        assert_eq!(
            encryptor
                .encrypt_in_place(&aad, &mut [], &mut rng(2))
                .unwrap_err(),
            refused
        );
        assert_eq!(encryptor.stream(&aad, b"", &mut rng(2)).unwrap_err(), refused);
        assert_eq!(decryptor.decrypt(&aad, b"").unwrap_err(), refused);
        assert_eq!(decryptor.decrypt_in_place(&aad, &mut []).unwrap_err(), refused);
        assert_eq!(decryptor.stream(&aad, b"").unwrap_err(), refused);
        let prefix = limit("bytes of a prefix");
        assert_eq!(
            encryptor
                .encrypt_into(&[0; 256], b"", b"", &mut rng(2))
                .unwrap_err(),
            prefix
        );
        assert_eq!(encryptor.stream(b"", &[0; 256], &mut rng(2)).unwrap_err(), prefix);
        assert_eq!(decryptor.stream(b"", &[0; 256]).unwrap_err(), prefix);
        // Whatever its overhead, an output of twice 32 bytes more is of too large a message.
        let output = vec![0; MAX_MESSAGE + 64];
        assert_eq!(decryptor.decrypt(b"", &output).unwrap_err(), message);
    }
    for algorithm in SIGNING {
        let (signer, verifier) = signing(algorithm);
        let message = limit("bytes of a message in memory");
        assert_eq!(signer.sign(&large).unwrap_err(), message);
        assert_eq!(verifier.verify(&large, &[0; 64]).unwrap_err(), message);
        assert_eq!(
            signer.sign_into(&[0; 256], b"").unwrap_err(),
            limit("bytes of a prefix")
        );
    }
    for algorithm in WRAPPING {
        let (wrapper, unwrapper) = wrapping(algorithm);
        for len in [0, 8, 15, 17, 20, 4095, 4097, 4104] {
            assert!(matches!(
                wrapper.wrap(&vec![0; len]),
                Err(CryptoError::WrongLength(_))
            ));
            assert_eq!(
                unwrapper.unwrap(&vec![0; len + 8]).unwrap_err(),
                CryptoError::NotOpened
            );
        }
        assert_eq!(
            wrapper.wrap_into(&[0; 256], &[0; 16]).unwrap_err(),
            limit("bytes of a prefix")
        );
    }
}

#[test]
fn the_longest_messages_are_taken() {
    let large = plaintext(MAX_MESSAGE);
    let (encryptor, decryptor) = encryption(Algorithm::A256Gcm);
    let mut output = encryptor.encrypt(b"", &large, &mut rng(2)).unwrap();
    assert!(*decryptor.decrypt_in_place(b"", &mut output).unwrap() == *large);
    let (signer, verifier) = signing(Algorithm::HmacSha256);
    verifier.verify(&large, &signer.sign(&large).unwrap()).unwrap();
}

#[test]
fn a_stream_counts_its_bytes() {
    for mut counted in [Counted::MESSAGE, Counted::OUTPUT] {
        counted.bytes = counted.limit - 2;
        assert_eq!(counted.add(&[0; 2]), Ok(()));
        assert_eq!(counted.add(&[]), Ok(()));
        let limit = Err(CryptoError::LimitReached("bytes of a stream"));
        assert_eq!((counted.add(&[0]), counted.check()), (limit, limit));
    }
    // What the longest message becomes in the smallest chunks is taken again.
    let smallest = 1_u64 << CHUNK_LOG2.start();
    assert!(MAX_STREAM + 66 + MAX_STREAM / smallest * 16 <= Counted::OUTPUT.limit);
}

#[test]
fn what_cannot_be_streamed_says_so() {
    let (signer, verifier) = signing(Algorithm::Ed25519);
    assert!(!Algorithm::Ed25519.can_stream());
    let text = "the key does not permit this: Ed25519 needs the whole message at once and is not streamed";
    assert_eq!(signer.stream().unwrap_err().to_string(), text);
    assert_eq!(verifier.stream().unwrap_err().to_string(), text);
}

#[test]
fn debug_never_shows_a_key() {
    let shown = |value: &dyn core::fmt::Debug| format!("{value:?}");
    let key = key(Algorithm::A128Gcm);
    assert_eq!(shown(&key), "ExchangeKey(A128GCM, redacted)");
    let material = key.material(Operation::Encrypt).unwrap();
    assert_eq!(shown(&material), "Material(A128GCM, encrypt, redacted)");
    let (encryptor, decryptor) = encryption(Algorithm::A256Cbc);
    assert_eq!(shown(&encryptor), "Encryptor(A256CBC, redacted)");
    assert_eq!(shown(&decryptor), "Decryptor(A256CBC, redacted)");
    let stream = encryptor.stream(b"", b"", &mut rng(2)).unwrap();
    assert_eq!(shown(&stream), "StreamEncryptor(redacted)");
    assert_eq!(
        shown(&decryptor.stream(b"", b"").unwrap()),
        "StreamDecryptor(redacted)"
    );
    let (signer, verifier) = signing(Algorithm::Esp256);
    assert_eq!(shown(&signer), "Signer(ESP256, redacted)");
    assert_eq!(shown(&verifier), "Verifier(ESP256, redacted)");
    assert_eq!(shown(&signer.stream().unwrap()), "StreamSigner(redacted)");
    assert_eq!(shown(&verifier.stream().unwrap()), "StreamVerifier(redacted)");
    let (wrapper, unwrapper) = wrapping(Algorithm::A256Kw);
    assert_eq!(shown(&wrapper), "Wrapper(A256KW, redacted)");
    assert_eq!(shown(&unwrapper), "Unwrapper(A256KW, redacted)");
}

/// Handles and streams go where their application works: into other threads, shared by several.
#[test]
fn handles_are_shared_between_threads() {
    const fn shared<T: Send + Sync>() {}
    const fn sent<T: Send>() {}
    shared::<(ExchangeKey, Material)>();
    shared::<(Encryptor, Decryptor)>();
    shared::<(Signer, Verifier)>();
    shared::<(Wrapper, Unwrapper)>();
    sent::<(StreamEncryptor, StreamDecryptor)>();
    sent::<(StreamSigner, StreamVerifier)>();
}

#[test]
fn generated_keys_differ() {
    let mut rng = rng(1);
    for algorithm in Algorithm::ALL {
        let one = ExchangeKey::generate(algorithm, &mut rng);
        let other = ExchangeKey::generate(algorithm, &mut rng);
        assert_ne!(one.bytes().expose(), other.bytes().expose());
    }
}

/// Features decide whether the libraries wipe what they expand a key to; without them this does not
/// compile. aws-lc wipes in its own C code.
#[test]
fn expanded_keys_are_wiped() {
    use aes::{Aes128, Aes256, cipher::StreamCipherCoreWrapper};
    use ctr::{CtrCore, flavors::Ctr128BE};
    use sha2::{Sha256, Sha384, Sha512};
    use zeroize::ZeroizeOnDrop;

    const fn wiped<T: ZeroizeOnDrop>() {}
    wiped::<SecretBytes>();
    wiped::<Aes128>();
    wiped::<Aes256>();
    wiped::<cbc::Encryptor<Aes128>>();
    wiped::<cbc::Decryptor<Aes256>>();
    wiped::<StreamCipherCoreWrapper<CtrCore<Aes256, Ctr128BE>>>();
    wiped::<aes_kw::KwAes128>();
    wiped::<aes_kw::KwAes256>();
    wiped::<aes_gcm::Aes128Gcm>();
    wiped::<aes_gcm::Aes256Gcm>();
    // HMAC has no state of its own: two of these and a buffer, which wipe themselves.
    wiped::<Sha256>();
    wiped::<Sha384>();
    wiped::<Sha512>();
    wiped::<ed25519_dalek::SigningKey>();
    wiped::<p256::SecretKey>();
    wiped::<p256::ecdsa::SigningKey>();
}
