//! The COSE working group's examples of ES256: their signatures verify with our key type, and each
//! message is refused by our profile for the reason that the profile gives.
//!
//! No example is in the profile (none has `typ`), so each is also signed again in the profile with the
//! example's key and payload, which must be accepted. `KEYWARD_VECTORS` names the folder.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a failure is a failed test"
)]

use std::{fs, path::PathBuf};

use coset::{CborSerializable, CoseSign1, TaggedCborSerializable};
use keyward_crypto::{
    CryptoError, Secret,
    cose::{Sign1, sign1},
    ecdsa::{PublicKey, SigningKey},
};
use serde_json::Value;

/// File, why the profile refuses the message, and whether its signature verifies (`None`: it is not an
/// ES256 signature over a COSE_Sign1 that could be tried).
const EXPECTED: [(&str, &str, Option<bool>); 17] = [
    ("ecdsa-examples/ecdsa-01", "not a COSE_Sign1", None),
    ("ecdsa-examples/ecdsa-02", "not a COSE_Sign1", None),
    ("ecdsa-examples/ecdsa-03", "not a COSE_Sign1", None),
    ("ecdsa-examples/ecdsa-04", "not a COSE_Sign1", None),
    (
        "ecdsa-examples/ecdsa-sig-01",
        "the unprotected header is not empty",
        Some(true),
    ),
    (
        "ecdsa-examples/ecdsa-sig-02",
        "the unprotected header is not empty",
        None,
    ),
    (
        "ecdsa-examples/ecdsa-sig-03",
        "the unprotected header is not empty",
        None,
    ),
    // P-256 with SHA-512: the right curve with another hash is no ES256 signature.
    (
        "ecdsa-examples/ecdsa-sig-04",
        "the unprotected header is not empty",
        Some(false),
    ),
    // Tagged 998; the signature itself is sound.
    ("sign1-tests/sign-fail-01", "not a COSE_Sign1", None),
    (
        "sign1-tests/sign-fail-02",
        "the unprotected header is not empty",
        Some(false),
    ),
    ("sign1-tests/sign-fail-03", "not a COSE_Sign1", None),
    (
        "sign1-tests/sign-fail-04",
        "the unprotected header is not empty",
        Some(false),
    ),
    (
        "sign1-tests/sign-fail-06",
        "the unprotected header is not empty",
        Some(false),
    ),
    (
        "sign1-tests/sign-fail-07",
        "the unprotected header is not empty",
        Some(false),
    ),
    // Its protected header is an encoded empty map, which RFC 9052 §4.4 signs as an empty string and the
    // COSE library as it stands. The profile has no empty header.
    (
        "sign1-tests/sign-pass-01",
        "the unprotected header is not empty",
        Some(false),
    ),
    (
        "sign1-tests/sign-pass-02",
        "the unprotected header is not empty",
        Some(true),
    ),
    ("sign1-tests/sign-pass-03", "not a COSE_Sign1", Some(true)),
];

#[test]
fn every_example_has_its_verdict() {
    let Some(folder) = folder() else { return };
    let mut files = 0;
    for group in ["ecdsa-examples", "sign1-tests"] {
        files += fs::read_dir(folder.join(group)).unwrap().count();
    }
    assert_eq!(files, EXPECTED.len(), "a new example needs a line in the table");
    for (name, reason, signature) in EXPECTED {
        let text = fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let example: Value = serde_json::from_str(&text).unwrap();
        let message = bytes(&example["output"]["cbor"]);
        assert_eq!(
            Sign1::parse(&message).err(),
            Some(CryptoError::MalformedCose(reason)),
            "{name}"
        );
        assert_eq!(signature_verifies(&example, &message), signature, "{name}");
        if name.contains("-pass-") || name.ends_with("sig-01") {
            let (_, stated) = message.split_last_chunk::<64>().unwrap();
            let signed = bytes(&example["intermediates"]["ToBeSign_hex"]);
            signing_key().public_key().verify(&signed, stated).unwrap();
        }
    }
}

#[test]
fn the_examples_keys_and_payloads_pass_in_the_profile() {
    let Some(folder) = folder() else { return };
    for name in ["ecdsa-examples/ecdsa-sig-01", "sign1-tests/sign-pass-02"] {
        let text = fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let example: Value = serde_json::from_str(&text).unwrap();
        let (key, external) = (&example["input"]["sign0"]["key"], external(&example));
        let signer = signing_key();
        assert_eq!(Some(*signer.public_key()), public_key(key), "{name}");
        let payload = example["input"]["plaintext"].as_str().unwrap().as_bytes();
        let signed = sign1(
            "application/example+cose",
            &[vec![1]],
            payload,
            &external,
            &signer,
        )
        .unwrap();
        let verified = Sign1::parse(&signed)
            .unwrap()
            .verify(&external, signer.public_key());
        assert_eq!(verified.unwrap(), payload, "{name}");
    }
}

/// Whether the example's signature verifies with our key type, where it is of our kind.
fn signature_verifies(example: &Value, message: &[u8]) -> Option<bool> {
    let signer = &example["input"]["sign0"];
    let key = public_key(&signer["key"])?;
    let parsed = CoseSign1::from_tagged_slice(message)
        .or_else(|_| CoseSign1::from_slice(message))
        .ok()?;
    let signed = parsed.tbs_data(&external(example));
    Some(key.verify(&signed, &parsed.signature).is_ok())
}

fn external(example: &Value) -> Vec<u8> {
    example["input"]["sign0"]["external"]
        .as_str()
        .map(|text| hex::decode(text).unwrap())
        .unwrap_or_default()
}

/// The key "11" of RFC 8152, which signs every P-256 example.
fn signing_key() -> SigningKey {
    let scalar = hex::decode("57c92077664146e876760c9520d054aa93c3afb04e306705db6090308507b4d3").unwrap();
    SigningKey::from_scalar(Secret::from_slice(&scalar).unwrap()).unwrap()
}

fn public_key(key: &Value) -> Option<PublicKey> {
    const X: &str = "usWxHK2PmfnHKwXPS54m0kTcGJ90UiglWiGahtagnv8";
    (key["crv"] == "P-256").then(|| {
        assert_eq!(key["x"], X, "another key than the one that is known here");
        *signing_key().public_key()
    })
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
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
    folder.map(|folder| folder.join("cose"))
}
