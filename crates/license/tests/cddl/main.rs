//! `spec/messages.cddl` and the decoders say the same about every map: what one refuses, the other does.
//!
//! Every map is encoded with all its entries and altered mechanically: an entry left out, a value of
//! another type, an unknown critical key, an unknown optional key. CDDL and decoder must agree on each.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failure is a failed test"
)]

mod bounds;
mod chains;
mod samples;
mod terms;

use keyward_crypto::hpke::Suite;
use keyward_license::{
    codec::{DecodeError, Wire},
    envelope::binding,
    ids::Digest,
    license::LicenseBody,
};
use keyward_testkit::vectors::{MessageType, Verdict, all, examples};
use minicbor::{Decoder, Encoder};

use samples::{maps, read_license};

type Read = fn(&[u8]) -> Result<(), DecodeError>;

/// A rule of the CDDL, an encoded map with every entry, and the decoder that reads it.
struct Map {
    rule: &'static str,
    full: Vec<u8>,
    read: Read,
}

#[test]
fn full_maps_fit() {
    for Map { rule, full, read } in maps() {
        assert_eq!((fits(rule, &full), read(&full)), (Ok(()), Ok(())), "{rule}");
    }
}

#[test]
fn an_entry_left_out_gets_one_verdict() {
    let mut refused = 0;
    for map in maps() {
        for at in 0..entries(&map.full).len() {
            let altered = altered(&map.full, |entries| drop(entries.remove(at)));
            refused += usize::from(!agree(&map, &altered));
        }
    }
    assert!(refused > 80, "only {refused} entries are required");
}

#[test]
fn a_value_of_another_type_is_refused() {
    for map in maps() {
        for at in 0..entries(&map.full).len() {
            // null, a negative number and a nested array are values of no entry.
            for value in [&[0xf6][..], &[0x20], &[0x81, 0x81, 0xf6]] {
                let altered = altered(&map.full, |entries| entries[at].1 = value.to_vec());
                assert!(
                    !agree(&map, &altered),
                    "{} entry {at} took {value:02x?}",
                    map.rule
                );
            }
        }
    }
}

#[test]
fn unknown_critical_keys_are_refused_and_unknown_optional_keys_are_not() {
    for map in maps() {
        for (key, accepted) in [
            (100, false),
            (127, false),
            (128, true),
            (300, true),
            (65_536, true),
            (1 << 40, true),
        ] {
            for value in [&[0x00][..], &[0xf6], &[0xa1, 0x01, 0x80]] {
                let altered = altered(&map.full, |entries| {
                    entries.push((uint(key), value.to_vec()));
                    entries.sort();
                });
                assert_eq!(agree(&map, &altered), accepted, "{} with key {key}", map.rule);
            }
        }
        let text_key = altered(&map.full, |entries| entries.push((vec![0x61, b'a'], uint(0))));
        assert!(!agree(&map, &text_key), "{} with a text key", map.rule);
    }
}

/// Whether CDDL and decoder take a license that was edited.
fn edited(mut body: LicenseBody, edit: fn(&mut LicenseBody)) -> bool {
    edit(&mut body);
    let map = Map {
        rule: "license",
        full: Vec::new(),
        read: read_license,
    };
    agree(&map, &body.encode())
}

#[test]
fn worked_examples_fit() {
    for (rule, bytes) in examples() {
        assert_eq!(fits(rule, untagged(&bytes)), Ok(()), "{rule}");
    }
    let info = binding("keyward/1 license-key", Suite::XWing, &Digest::new([1; 32]));
    assert_eq!(fits("hpke-info", &info), Ok(()));
}

#[test]
fn vector_messages_fit() {
    let valid = all()
        .into_iter()
        .filter(|vector| vector.verdict == Verdict::Valid);
    let mut seen = 0;
    for vector in valid {
        let rule = match vector.message_type {
            MessageType::License | MessageType::Discovery => "cose-sign1",
            MessageType::LicenseRequest => "http-license-request",
            MessageType::LicenseResponse => "http-license-response",
            MessageType::EnrolmentRequest => "http-enrolment-request",
            MessageType::EnrolmentResponse => "http-enrolment-response",
            MessageType::PackagingRequest => "http-packaging-request",
            MessageType::PackagingResponse => "http-packaging-response",
            MessageType::AcknowledgeRequest => "http-acknowledge-request",
            MessageType::Receipt => "http-receipt",
            MessageType::RevocationList => "revocation-list",
            MessageType::RevocationLists => "revocation-lists",
            MessageType::OperatorProfile => "operator-profile",
            MessageType::Problem => "http-problem",
            // No CBOR, or not of this file of rules.
            MessageType::ExchangeResult | MessageType::EmbeddedStore => continue,
        };
        let message = hex::decode(&vector.message).unwrap();
        assert_eq!(fits(rule, untagged(&message)), Ok(()), "{}", vector.name);
        if rule == "cose-sign1" {
            assert_eq!(message[0], 0xd2, "{} is tagged 18", vector.name);
            let payload = payload(&message);
            let rule = if vector.message_type == MessageType::License {
                "license-payload"
            } else {
                "discovery-payload"
            };
            assert_eq!(fits(rule, &payload), Ok(()), "{}", vector.name);
        }
        seen += 1;
    }
    assert!(seen > 20, "only {seen} messages");
}

/// The validator does not know tags: the one rule with a tag and the one place that uses it are taken
/// without, and the tests look at the tag themselves.
fn fits(rule: &str, bytes: &[u8]) -> Result<(), String> {
    let mut text = include_str!("../../../../spec/messages.cddl").to_owned();
    for (tagged, plain) in [
        ("signed-message = #6.18(cose-sign1)", "signed-message = any"),
        ("bstr .cbor signed-license", "bstr"),
        ("bstr .cbor signed-revocation-list", "bstr"),
    ] {
        assert!(text.contains(tagged));
        text = text.replace(tagged, plain);
    }
    cddl_cat::cbor::validate_cbor_bytes(rule, &text, bytes).map_err(|error| error.to_string())
}

/// Whether both accept; they must agree.
fn agree(map: &Map, bytes: &[u8]) -> bool {
    let (cddl, decoder) = (fits(map.rule, bytes), (map.read)(bytes));
    assert_eq!(
        cddl.is_ok(),
        decoder.is_ok(),
        "{} {}: {cddl:?}, {decoder:?}",
        map.rule,
        hex::encode(bytes)
    );
    decoder.is_ok()
}

fn untagged(message: &[u8]) -> &[u8] {
    message.strip_prefix(&[0xd2]).unwrap_or(message)
}

fn payload(message: &[u8]) -> Vec<u8> {
    let mut decoder = Decoder::new(untagged(message));
    decoder.array().unwrap();
    decoder.skip().unwrap();
    decoder.skip().unwrap();
    decoder.bytes().unwrap().to_vec()
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn entries(map: &[u8]) -> Entries {
    let mut decoder = Decoder::new(map);
    let pairs = decoder.map().unwrap().unwrap();
    let mut item = || {
        let start = decoder.position();
        decoder.skip().unwrap();
        map[start..decoder.position()].to_vec()
    };
    (0..pairs).map(|_| (item(), item())).collect()
}

fn altered(map: &[u8], edit: impl FnOnce(&mut Entries)) -> Vec<u8> {
    let mut entries = entries(map);
    edit(&mut entries);
    let mut head = Encoder::new(Vec::new());
    head.map(entries.len() as u64).unwrap();
    let mut bytes = head.into_writer();
    entries
        .iter()
        .for_each(|(key, value)| bytes.extend(key.iter().chain(value)));
    bytes
}

fn uint(value: u64) -> Vec<u8> {
    minicbor::to_vec(value).unwrap()
}
