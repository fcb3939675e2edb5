//! Every vector, cut and altered in every way: explained or refused, and never verified without being so.

pub(super) mod film;

use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use keyward_content::{
    file::{FileHeader, MAGIC, Sealer},
    header::ContentHeader,
    pssh::Pssh,
};
use keyward_crypto::ContentKey;
use keyward_license::{
    codec::{Bytes, Wire},
    ids::Kid,
    operator_profile::OperatorProfile,
    revocation::RevocationList,
    time::Timestamp,
};
use proptest::prelude::*;
use rand_core::UnwrapErr;
use serde_json::Value;

use super::{embedded, explanation::Explanation, recognise, trust::Trust};

const NOW: Timestamp = Timestamp(1_800_000_000);

struct Vector {
    name: String,
    kind: &'static str,
    valid: bool,
    rule: String,
    message: Vec<u8>,
    root: Option<Vec<u8>>,
    /// Whether its receiver holds lists that tell more than the message.
    has_lists: bool,
}

fn vectors() -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let vectors: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        .filter_map(|json: Value| vector(&json))
        .collect();
    assert!(vectors.len() > 100, "the vectors are there");
    vectors
}

/// The vectors whose message is of this type.
fn of_type(message_type: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors");
    let files = std::fs::read_dir(folder).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap())
        .filter(|json| json["message_type"] == message_type)
        .collect()
}

fn vector(json: &Value) -> Option<Vector> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Some(Vector {
        name: text(&json["name"])?,
        kind: match json["message_type"].as_str()? {
            "license" => "license",
            "license-request" | "enrolment-request" | "packaging-request" | "acknowledge-request" => {
                "sealed_request"
            }
            "license-response" | "enrolment-response" | "packaging-response" | "receipt" => "sealed_response",
            "discovery" => "discovery_document",
            "operator-profile" => "operator_profile",
            "problem" => "problem_document",
            "revocation-lists" => "revocation_lists",
            "revocation-list" => {
                match RevocationList::decode(&hex::decode(json["message"].as_str()?).unwrap()) {
                    Ok(RevocationList::Devices(_)) => "device_revocation_list",
                    _ => "certificate_revocation_list",
                }
            }
            // Bytes that nothing tells from others.
            "exchange-result" | "embedded-store" => return None,
            other => panic!("a new type of message: {other}"),
        },
        valid: json["verdict"] == "valid",
        rule: text(&json["rule"]).unwrap_or_default(),
        message: hex::decode(json["message"].as_str()?).unwrap(),
        has_lists: !json["inputs"]["lists-held"].is_null(),
        root: json["inputs"]["root"]
            .as_str()
            .map(|root| hex::decode(root).unwrap()),
    })
}

/// Whom the receiver of a vector trusts.
fn trust(root: Option<&[u8]>) -> Trust {
    let mut trust = Trust::nobody(NOW);
    if let Some(root) = root {
        let profile = OperatorProfile {
            version: 1,
            name: "Test".into(),
            root: Bytes(root.to_vec()),
            license_servers: Vec::new(),
            minimum_suite: 1,
        };
        trust.know(&profile).unwrap();
    }
    trust
}

fn json(found: &Explanation) -> Value {
    Value::Object(found.to_json())
}

/// What is found, if it is anything; both forms are made.
fn explained(bytes: &[u8], trust: &Trust) -> Option<Value> {
    let found = recognise::explain(bytes, trust)?.ok()?;
    assert!(!found.to_words().is_empty());
    Some(json(&found))
}

#[test]
fn valid_vectors_are_explained_and_the_signed_ones_verified() {
    for vector in vectors().into_iter().filter(|vector| vector.valid) {
        let name = &vector.name;
        let found = explained(&vector.message, &trust(vector.root.as_deref())).unwrap();
        assert_eq!(found["kind"], vector.kind, "{name}");
        let signed = matches!(
            vector.kind,
            "license" | "discovery_document" | "certificate_revocation_list" | "device_revocation_list"
        );
        let standing = if signed { "verified" } else { "unverified" };
        assert_eq!(found["standing"], standing, "{name}");
        assert_eq!(
            found[standing]["faults"].as_array().map_or(0, Vec::len),
            0,
            "{name}"
        );
        assert!(
            found
                .get(if signed { "unverified" } else { "verified" })
                .is_none(),
            "{name}"
        );

        // Without an operator the same words are unverified.
        let found = explained(&vector.message, &trust(None)).unwrap();
        assert_eq!(
            (&found["kind"], &found["standing"]),
            (&vector.kind.into(), &"unverified".into()),
            "{name}"
        );
        assert!(found.get("verified").is_none(), "{name}");
    }
}

#[test]
fn embedded_stores_are_explained_and_malformed_ones_are_faults() {
    let (mut licenses, mut faults) = (0, 0);
    for vector in of_type("embedded-store") {
        let store = hex::decode(vector["message"].as_str().unwrap()).unwrap();
        let found = embedded::store_fields(&store).to_json();
        let found_faults = found["faults"].as_array().map_or(0, Vec::len);
        let is_valid = vector["verdict"] == "valid";
        assert_eq!(found_faults == 0, is_valid, "{}: {found}", vector["name"]);
        faults += found_faults;
        let held = found["licenses"].as_array().into_iter().flatten();
        // A store takes what it is given: some hold a byte in the place of a license.
        for license in held.filter(|license| license["license_bytes"].as_u64() > Some(1)) {
            licenses += 1;
            assert!(license["kid"].is_string(), "{}: {license}", vector["name"]);
            assert_eq!(license["root"].is_string(), license["license_kind"] == "leaf");
        }
    }
    assert!(licenses > 2 && faults > 5, "{licenses} {faults}");
}

/// Steps that `inspect` takes; a license that fails a later one may be verified and of no use to a device.
const STEPS: [&str; 11] = [
    "V-001", "V-002", "V-003", "V-004", "V-005", "V-020", "V-021", "V-026", "V-060", "V-063", "V-064",
];

#[test]
fn no_invalid_vector_is_verified() {
    let mut refused = 0;
    for vector in vectors() {
        // Judged in the store, where its signer was valid when it was issued.
        let later = vector.name == "license-signer-expired-on-arrival";
        if vector.valid || later || vector.has_lists || !STEPS.contains(&&vector.rule[..]) {
            continue;
        }
        refused += 1;
        if let Some(found) = explained(&vector.message, &trust(vector.root.as_deref())) {
            assert_eq!(found["standing"], "unverified", "{}", vector.name);
        }
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn text_stands_for_bytes() {
    for vector in vectors().into_iter().filter(|vector| vector.valid) {
        let nobody = trust(None);
        let plain = explained(&vector.message, &nobody).unwrap();
        let base64 = STANDARD.encode(&vector.message);
        let lines = base64.as_bytes().chunks(64).map(|line| [line, b"\r\n"].concat());
        let hexadecimal = hex::encode_upper(&vector.message) + "\n";
        for (text, encoding) in [
            (lines.collect::<Vec<_>>().concat(), "base64"),
            (
                base64
                    .replace('+', "-")
                    .replace('/', "_")
                    .replace('=', "")
                    .into_bytes(),
                "base64",
            ),
            (hexadecimal.into_bytes(), "hexadecimal"),
        ] {
            let mut found = explained(&text, &nobody).unwrap();
            assert_eq!(found["encoding"], encoding, "{}", vector.name);
            found["encoding"] = Value::Null;
            assert_eq!(found, plain, "{}", vector.name);
        }
    }
}

/// Things that are no message.
fn others() -> Vec<Vec<u8>> {
    let kid = Kid::new([7; 16]);
    let object = ContentHeader::for_file(kid, None).to_object_bytes().unwrap();
    let header = object[10..].to_vec();
    let (sealer, positions) = Sealer::new(
        &ContentKey::new([1; 16]),
        &FileHeader::new(object.clone(), kid),
        &mut UnwrapErr(getrandom::SysRng),
    )
    .unwrap();
    let mut chunk = vec![0; 40];
    sealer.seal(positions.last(), &mut chunk).unwrap();
    let boxes = [
        Pssh::keyward(object.clone()).to_bytes().unwrap(),
        Pssh::common(vec![kid]).to_bytes().unwrap(),
    ];
    let xml =
        "<WRMHEADER xmlns=\"http://schemas.microsoft.com/DRM/2007/03/PlayReadyHeader\" version=\"4.3.0.0\"/>";
    vec![
        object,
        header,
        [sealer.prefix(), &chunk].concat(),
        boxes.concat(),
        film::film(),
        xml.into(),
    ]
}

#[test]
fn prefixes_and_flipped_bits_never_panic() {
    let messages = vectors()
        .into_iter()
        .filter(|vector| vector.valid)
        .map(|vector| (vector.message, vector.root));
    let others = others().into_iter().map(|bytes| (bytes, None));
    for (bytes, root) in messages.chain(others) {
        let trust = trust(root.as_deref());
        assert!(explained(&bytes, &trust).is_some());
        for end in (0..bytes.len()).step_by(1 + bytes.len() / 500) {
            let cut = explained(&bytes[..end], &trust);
            assert!(cut.is_none_or(|found| found["standing"] == "unverified"));
        }
        for position in (0..bytes.len()).step_by(1 + bytes.len() / 300) {
            let mut altered = bytes.clone();
            altered[position] ^= 1 << (position % 8);
            explained(&altered, &trust);
        }
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(
        begin in prop::sample::select(vec![
            &b""[..], b"\xd2\x84", b"\xa5\x01\x01\x02", b"\xa2\x01\x01\x02", b"\x30\x82\x00\x40", MAGIC,
            b"\0\0\0\x18ftyp", b"\0\0\0\x40moov", b"\0\0\0\x40pssh\0\0\0\0", b"<\0W\0R\0M\0", b"<WRMHEADER",
            b"\x40\0\0\0\x01\0", b"-----BEGIN CERTIFICATE-----\n",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let bytes = [begin, &rest].concat();
        if let Some(found) = explained(&bytes, &trust(None)) {
            prop_assert_eq!(&found["standing"], "unverified");
        }
    }

    #[test]
    fn text_never_panics(text in "[0-9a-zA-Z+/=_ <>\\-]{0,100}") {
        explained(text.as_bytes(), &trust(None));
    }
}

#[test]
fn ordinary_files_are_not_ours() {
    for bytes in [
        &b""[..],
        b"The free software definition: text whose letters stand where a box would have its type.",
        b"test",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"\x7fELF\x02\x01\x01",
        b"{\"json\": true}",
        b"deadbeef",
        b"<html><body>no header</body></html>",
        b"0000000000000000",
    ] {
        assert!(recognise::explain(bytes, &trust(None)).is_none(), "{bytes:?}");
    }
}
