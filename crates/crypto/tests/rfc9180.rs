//! HPKE against other people's numbers: the RFC 9180 vectors, the X-Wing draft's, and a key schedule
//! written here from the RFC's text alone.
//!
//! `KEYWARD_VECTORS` names the folder of the RFC's vectors; without it the folder `../shared/vectors`
//! beside the repository is tried. The rest needs no files.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a failure is a failed test"
)]

use std::{convert::Infallible, path::PathBuf};

use aes_gcm::{
    Aes256Gcm, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use hpke::{
    Deserializable, OpModeR, Serializable,
    aead::{Aead as HpkeAead, AesGcm128, AesGcm256},
    kdf::HkdfSha256,
    kem::DhP256HkdfSha256,
    setup_receiver, single_shot_open, single_shot_seal_with_rng,
};
use keyward_crypto::{
    CryptoError, SecretBytes,
    hpke::{KeyPair, Suite, seal},
    kdf::sha256,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use rand_core::{TryCryptoRng, TryRng};
use serde_json::Value;
use sha2::Sha256;

const KEM_P256: u16 = 0x0010;
const KEM_XWING: u16 = 0x647a;
const KDF_HKDF_SHA256: u16 = 1;
const AEAD_AES_256_GCM: u16 = 2;

#[test]
fn rfc_9180_p256_base_mode() {
    let Some(vectors) = vectors() else { return };
    let mut ran = 0;
    for vector in vectors.as_array().unwrap() {
        if (number(&vector["mode"]), number(&vector["kem_id"])) != (0, u64::from(KEM_P256)) {
            continue;
        }
        match number(&vector["aead_id"]) {
            1 => library_opens::<AesGcm128>(vector),
            2 => {
                library_opens::<AesGcm256>(vector);
                ours_opens(vector);
                schedule_agrees(vector);
            }
            _ => continue,
        }
        ran += 1;
    }
    assert_eq!(ran, 2);
}

/// The library under ours opens every encryption of the vector.
fn library_opens<A: HpkeAead>(vector: &Value) {
    let private = <DhP256HkdfSha256 as hpke::Kem>::PrivateKey::from_bytes(&bytes(&vector["skRm"])).unwrap();
    let encapsulated =
        <DhP256HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(&bytes(&vector["enc"])).unwrap();
    let info = bytes(&vector["info"]);
    let mut context =
        setup_receiver::<A, HkdfSha256, DhP256HkdfSha256>(&OpModeR::Base, &private, &encapsulated, &info)
            .unwrap();
    let encryptions = vector["encryptions"].as_array().unwrap();
    assert!(encryptions.len() >= 2);
    for encryption in encryptions {
        let opened = context
            .open(&bytes(&encryption["ct"]), &bytes(&encryption["aad"]))
            .unwrap();
        assert_eq!(opened, bytes(&encryption["pt"]));
    }
}

/// Our interface has no `aad`, the vector's messages have one. So its message does not open, and one
/// that is sealed here under the vector's own key and nonce, with empty `aad`, does.
fn ours_opens(vector: &Value) {
    let pair = KeyPair::from_private(Suite::P256, SecretBytes::new(bytes(&vector["skRm"]))).unwrap();
    assert_eq!(pair.public_key(), bytes(&vector["pkRm"]));
    let (info, encapsulated) = (bytes(&vector["info"]), bytes(&vector["enc"]));
    let with_aad = bytes(&vector["encryptions"][0]["ct"]);
    assert_eq!(
        pair.open(&info, &encapsulated, &with_aad).unwrap_err(),
        CryptoError::NotOpened
    );
    let ciphertext = encrypt(&bytes(&vector["key"]), &bytes(&vector["base_nonce"]), b"secret");
    assert_eq!(
        pair.open(&info, &encapsulated, &ciphertext).unwrap().expose(),
        b"secret"
    );
    assert!(pair.open(b"other", &encapsulated, &ciphertext).is_err());
}

/// The schedule of this file is right for the RFC's numbers, so it may judge X-Wing below.
fn schedule_agrees(vector: &Value) {
    let (key, nonce) = key_schedule(
        KEM_P256,
        &bytes(&vector["shared_secret"]),
        &bytes(&vector["info"]),
    );
    assert_eq!(
        (key, nonce),
        (bytes(&vector["key"]), bytes(&vector["base_nonce"]))
    );
}

/// Seed, randomness of the encapsulation, shared secret, SHA-256 of the public key, SHA-256 of the
/// encapsulated key: draft-connolly-cfrg-xwing-kem, appendix C.
const XWING: [[&str; 5]; 3] = [
    [
        "7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26",
        "3cb1eea988004b93103cfb0aeefd2a686e01fa4a58e8a3639ca8a1e3f9ae57e235b8cc873c23dc62b8d260169afa2f75ab916a58d974918835d25e6a435085b2",
        "d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384",
        "2e816deebcd76c5c80d0cd2d174478871658e8e2ff42bc9d4a6e486372e856bb",
        "17cd532d657e44c897ca6583e548a5424fc70bf54f99515a4d2bcf99e3469f33",
    ],
    [
        "badfd6dfaac359a5efbb7bcc4b59d538df9a04302e10c8bc1cbf1a0b3a5120ea",
        "17cda7cfad765f5623474d368ccca8af0007cd9f5e4c849f167a580b14aabdefaee7eef47cb0fca9767be1fda69419dfb927e9df07348b196691abaeb580b32d",
        "f2e86241c64d60f6649fbc6c5b7d17180b780a3f34355e64a85749949c45f150",
        "c42ba5f8430d7d2c83739338203819f090e8303ce9c8b02107c272bfa5376916",
        "1661ea86d608a1924ba30840cb0a65f13ae051e3aec9cf0f064efc0bc92f2154",
    ],
    [
        "ef58538b8d23f87732ea63b02b4fa0f4873360e2841928cd60dd4cee8cc0d4c9",
        "22a96188d032675c8ac850933c7aff1533b94c834adbb69c6115bad4692d8619f90b0cdf8a7b9c264029ac185b70b83f2801f2f4b3f70c593ea3aeeb613a7f1b",
        "953f7f4e8c5b5049bdc771d1dffada0dd961477d1a2ae0988baa7ea6898d893f",
        "6b080d6b84f095342092fa7a22423e58bd681397ad0ef00eac92bd254db4fa95",
        "d3ca5578500344b5896cffc4fd740c9311946b82951df155e6fd86a7966b43c6",
    ],
];

#[test]
fn x_wing_draft_vectors() {
    for [seed, randomness, shared_secret, public_key, encapsulated] in XWING {
        let pair = KeyPair::from_private(Suite::XWing, SecretBytes::new(hex::decode(seed).unwrap())).unwrap();
        assert_eq!(hex::encode(sha256(&[pair.public_key()])), public_key);
        // Encapsulation draws once, 64 bytes: with the draft's randomness it gives the draft's message.
        let mut fixed = Fixed(hex::decode(randomness).unwrap());
        let sealed = seal(Suite::XWing, pair.public_key(), b"info", b"secret", &mut fixed).unwrap();
        assert!(fixed.0.is_empty());
        assert_eq!(hex::encode(sha256(&[&sealed.encapsulated])), encapsulated);
        // And the ciphertext is that of RFC 9180's schedule over the draft's shared secret.
        let (key, nonce) = key_schedule(KEM_XWING, &hex::decode(shared_secret).unwrap(), b"info");
        assert_eq!(sealed.ciphertext, encrypt(&key, &nonce, b"secret"));
        assert_eq!(
            pair.open(b"info", &sealed.encapsulated, &sealed.ciphertext)
                .unwrap()
                .expose(),
            b"secret"
        );
    }
}

#[test]
fn ours_and_the_library_open_each_other() {
    type Kem = DhP256HkdfSha256;
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let pair = KeyPair::generate(Suite::P256, &mut rng);
    let private = <Kem as hpke::Kem>::PrivateKey::from_bytes(pair.private_key().expose()).unwrap();
    let public = <Kem as hpke::Kem>::PublicKey::from_bytes(pair.public_key()).unwrap();

    let ours = seal(Suite::P256, pair.public_key(), b"info", b"ours", &mut rng).unwrap();
    let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(&ours.encapsulated).unwrap();
    let opened = single_shot_open::<AesGcm256, HkdfSha256, Kem>(
        &OpModeR::Base,
        &private,
        &encapsulated,
        b"info",
        &ours.ciphertext,
        b"",
    );
    assert_eq!(opened.unwrap(), b"ours");

    for (aad, opens) in [(&b""[..], true), (b"aad", false)] {
        let (encapsulated, ciphertext) = single_shot_seal_with_rng::<AesGcm256, HkdfSha256, Kem>(
            &hpke::OpModeS::Base,
            &public,
            b"info",
            b"theirs",
            aad,
            &mut rng,
        )
        .unwrap();
        assert_eq!(
            pair.open(b"info", &encapsulated.to_bytes(), &ciphertext).is_ok(),
            opens
        );
    }
}

/// RFC 9180 §5.1 `KeySchedule` in base mode with HKDF-SHA256 and AES-256-GCM: key and base nonce.
fn key_schedule(kem: u16, shared_secret: &[u8], info: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let [kem, kdf, aead] = [kem, KDF_HKDF_SHA256, AEAD_AES_256_GCM].map(u16::to_be_bytes);
    let suite = [&b"HPKE"[..], &kem, &kdf, &aead].concat();
    let extract = |salt: &[u8], label: &[u8], input: &[u8]| {
        let labeled = [b"HPKE-v1", &suite[..], label, input].concat();
        Hkdf::<Sha256>::extract(Some(salt), &labeled).0.to_vec()
    };
    let context = [
        &[0][..],
        &extract(b"", b"psk_id_hash", b""),
        &extract(b"", b"info_hash", info),
    ]
    .concat();
    let secret = extract(shared_secret, b"secret", b"");
    let expand = |label: &[u8], length: u16| {
        let labeled = [&length.to_be_bytes()[..], b"HPKE-v1", &suite, label, &context].concat();
        let mut output = vec![0; usize::from(length)];
        Hkdf::<Sha256>::from_prk(&secret)
            .unwrap()
            .expand(&labeled, &mut output)
            .unwrap();
        output
    };
    (expand(b"key", 32), expand(b"base_nonce", 12))
}

fn encrypt(key: &[u8], nonce: &[u8], message: &[u8]) -> Vec<u8> {
    let nonce: [u8; 12] = nonce.try_into().unwrap();
    Aes256Gcm::new_from_slice(key)
        .unwrap()
        .encrypt(
            &Nonce::from(nonce),
            Payload {
                msg: message,
                aad: b"",
            },
        )
        .unwrap()
}

/// Gives out fixed bytes, once.
struct Fixed(Vec<u8>);

impl TryRng for Fixed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let rest = self.0.split_off(bytes.len());
        bytes.copy_from_slice(&self.0);
        self.0 = rest;
        Ok(())
    }
}

impl TryCryptoRng for Fixed {}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

fn vectors() -> Option<Value> {
    let path = folder()?.join("hpke/rfc9180-subset.json");
    Some(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
}

/// The folder of other people's vectors, or `None`, which is said aloud.
#[expect(
    clippy::disallowed_methods,
    reason = "the test set-up names the folder in the environment"
)]
fn folder() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folder = std::env::var_os("KEYWARD_VECTORS")
        .map(PathBuf::from)
        .or_else(|| beside.is_dir().then_some(beside));
    if folder.is_none() {
        eprintln!("*** conformance suite: NOT RUN, set KEYWARD_VECTORS ***");
    }
    folder
}
