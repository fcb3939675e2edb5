//! `spec/messages.cddl` and the decoders say the same about every map: what one refuses, the other does.
//!
//! Every map is encoded with all its entries and altered mechanically: an entry left out, a value of
//! another type, an unknown critical key, an unknown optional key. CDDL and decoder must agree on each.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failure is a failed test"
)]

mod chains;
mod samples;

use keyward_crypto::{
    Secret,
    exchange::{Algorithm, Operation},
    hpke::Suite,
};
use keyward_license::{
    acknowledgement::{AcknowledgedLicense, LicenseOutcome},
    codec::{Bytes, DecodeError, Wire},
    enrolment::EnrolmentRole,
    envelope::binding,
    error_code::{ErrorCode, Problem},
    ids::{Digest, Kid, Nonce},
    license::{
        BindingKind, CoseAlgorithm, ExtendedRestriction, Guid, KeyDescription, KeyType, LicenseBody,
        LicenseKind, OutputProtectionLevels, PlayEnabler, Right,
    },
    packaging::WantedTrack,
    request::{ClientInfo, ClockKind, ClockState, LicenseRequest},
    response::{Denial, KeyResult},
    revocation::{DeviceRevocationList, ListId, ListNumber, RevocationList, RevokedDevices},
    time::Timestamp,
};
use keyward_testkit::vectors::{MessageType, Verdict, all, examples};
use minicbor::{Decoder, Encoder};

use samples::{
    acknowledge_request, client_info, device_revocation_list, exchange_license, full_license, full_request,
    maps, packaging_request, read, read_acknowledge_request, read_device_revocation_list, read_license,
    read_packaging_request, read_request, read_result, signed_license,
};

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

#[test]
fn lengths_and_ranges_get_one_verdict() {
    let request = full_request();
    let with_kids = |count: usize| {
        let mut request = full_request();
        request.kids = Some(vec![Kid::new([1; 16]); count]);
        request
    };
    let with_name = |length: usize| ClientInfo {
        name: "n".repeat(length),
        ..client_info()
    };
    let packaging = |content_id: usize, label: usize, tracks: usize| {
        let mut request = packaging_request();
        request.content_id = "c".repeat(content_id);
        let track = |at: usize| WantedTrack {
            label: format!("{at:0label$}"),
            key_type: KeyType::File,
        };
        request.tracks = (0..tracks).map(track).collect();
        request.encode()
    };
    for (content_id, label, tracks, accepted) in [
        (1, 2, 64, true),
        (255, 64, 1, true),
        (256, 1, 1, false),
        (0, 1, 1, false),
        (1, 65, 1, false),
        (1, 2, 65, false),
        (1, 1, 0, false),
    ] {
        let map = Map {
            rule: "packaging-request",
            full: Vec::new(),
            read: read_packaging_request,
        };
        let bytes = packaging(content_id, label, tracks);
        assert_eq!(agree(&map, &bytes), accepted, "{content_id} {label} {tracks}");
    }
    let cases: [(&str, Vec<u8>, Read, bool); 11] = [
        ("license-request", with_kids(256).encode(), read_request, true),
        ("license-request", with_kids(257).encode(), read_request, false),
        (
            "license-request",
            LicenseRequest {
                client: with_name(255),
                ..full_request()
            }
            .encode(),
            read_request,
            true,
        ),
        (
            "license-request",
            LicenseRequest {
                client: with_name(256),
                ..full_request()
            }
            .encode(),
            read_request,
            false,
        ),
        (
            "license-request",
            LicenseRequest {
                version: 2,
                ..full_request()
            }
            .encode(),
            read_request,
            false,
        ),
        (
            "license-request",
            LicenseRequest {
                custom_data: Some(Bytes(vec![0; 16_385])),
                ..full_request()
            }
            .encode(),
            read_request,
            false,
        ),
        (
            "license-request",
            LicenseRequest {
                authorization: Some("t".repeat(8193)),
                ..request
            }
            .encode(),
            read_request,
            false,
        ),
        (
            "license",
            LicenseBody {
                name: Some("n".repeat(255)),
                ..full_license()
            }
            .encode(),
            read_license,
            true,
        ),
        (
            "license",
            LicenseBody {
                name: Some("n".repeat(256)),
                ..full_license()
            }
            .encode(),
            read_license,
            false,
        ),
        (
            "license",
            LicenseBody {
                rights: vec![],
                extended_rights: None,
                ..full_license()
            }
            .encode(),
            read_license,
            false,
        ),
        (
            "license",
            LicenseBody {
                keys: vec![],
                ..full_license()
            }
            .encode(),
            read_license,
            false,
        ),
    ];
    for (rule, bytes, read, accepted) in cases {
        assert_eq!(
            agree(
                &Map {
                    rule,
                    full: Vec::new(),
                    read
                },
                &bytes
            ),
            accepted,
            "{rule}"
        );
    }
    for (rule, last, read) in [
        ("license-kind", 4, read::<LicenseKind> as Read),
        ("right", 2, read::<Right>),
        ("key-type", 5, read::<KeyType>),
        ("binding-kind", 3, read::<BindingKind>),
        ("clock-state", 3, read::<ClockState>),
        ("clock-kind", 2, read::<ClockKind>),
        ("enrolment-role", 11, read::<EnrolmentRole>),
        ("license-outcome", 2, read::<LicenseOutcome>),
    ] {
        let map = Map {
            rule,
            full: Vec::new(),
            read,
        };
        assert!(
            agree(&map, &uint(last)) && !agree(&map, &uint(last + 1)),
            "{rule}"
        );
        let from_zero = matches!(rule, "clock-kind" | "license-outcome");
        assert_eq!(agree(&map, &uint(0)), from_zero, "{rule}");
    }
    for (rule, length, read) in [
        ("kid", 16, read::<Kid> as Read),
        ("nonce", 16, read::<Nonce>),
        ("digest", 32, read::<Digest>),
        ("secret", 32, read::<Secret<32>>),
        ("timestamp", 0, read::<Timestamp>),
    ] {
        for length in [length - 1_i32, length, length + 1]
            .into_iter()
            .filter_map(|length| usize::try_from(length).ok())
        {
            agree(
                &Map {
                    rule,
                    full: Vec::new(),
                    read,
                },
                &Bytes(vec![1; length]).encode(),
            );
        }
    }
}

#[test]
fn revocation_lists_get_one_verdict() {
    type Edit = fn(&mut DeviceRevocationList, &mut RevokedDevices);
    let edits: [(Edit, bool); 13] = [
        (|_, _| (), true),
        (|list, _| list.number = 0, false),
        (|list, _| list.revoked = Some(vec![]), false),
        (|list, _| list.allowed = Some(vec![]), false),
        (
            |list, _| list.allowed = Some(vec![Digest::new([1; 32]); 4096]),
            true,
        ),
        (
            |list, _| list.allowed = Some(vec![Digest::new([1; 32]); 4097]),
            false,
        ),
        (|list, entry| list.revoked = Some(vec![entry.clone(); 1024]), true),
        (
            |list, entry| list.revoked = Some(vec![entry.clone(); 1025]),
            false,
        ),
        (|_, entry| entry.maker.clear(), false),
        (|_, entry| entry.model = Some("m".repeat(255)), true),
        (|_, entry| entry.model = Some("m".repeat(256)), false),
        (|_, entry| entry.robustness_below = Some(0), false),
        (|_, entry| entry.reason = Some("r".repeat(256)), false),
    ];
    let map = |rule, read| Map {
        rule,
        full: Vec::new(),
        read,
    };
    for (at, (edit, accepted)) in edits.into_iter().enumerate() {
        let mut list = device_revocation_list();
        let mut entry = list.revoked.take().unwrap().remove(0);
        edit(&mut list, &mut entry);
        list.revoked.get_or_insert_with(|| vec![entry]);
        let map = map("device-revocation-list", read_device_revocation_list);
        assert_eq!(agree(&map, &list.encode()), accepted, "case {at}");
    }
    for (length, accepted) in [(0, false), (1, true), (20, true), (21, false)] {
        let map = map("list-number", read::<ListNumber>);
        assert_eq!(
            agree(&map, &Bytes(vec![1; length]).encode()),
            accepted,
            "{length}"
        );
    }
    for (length, accepted) in [(0, true), (64, true), (65, false)] {
        let map = map("list-id", read::<ListId>);
        assert_eq!(
            agree(&map, &Bytes(vec![1; length]).encode()),
            accepted,
            "{length}"
        );
    }
    for (path, accepted) in [(0, true), (4, true), (5, false)] {
        let map = map("revocation-list", read::<RevocationList>);
        let list = RevocationList::Certificates {
            list: Bytes(vec![1]),
            path: vec![Bytes(vec![2]); path],
        };
        assert_eq!(agree(&map, &list.encode()), accepted, "{path}");
    }
}

#[test]
fn acknowledgements_get_one_verdict() {
    type Edit = fn(&mut AcknowledgedLicense);
    let edits: [(Edit, bool); 6] = [
        (|_| (), true),
        (|one| one.license = None, true),
        (|one| one.reason = None, true),
        (|one| one.reason = Some("w".repeat(256)), false),
        (|one| one.outcome = LicenseOutcome::Stored, false),
        (
            |one| {
                one.outcome = LicenseOutcome::InMemory;
                one.reason = None;
                one.license = None;
            },
            false,
        ),
    ];
    for (at, (edit, accepted)) in edits.into_iter().enumerate() {
        let mut request = acknowledge_request();
        edit(&mut request.licenses[1]);
        let map = Map {
            rule: "acknowledge-request",
            full: Vec::new(),
            read: read_acknowledge_request,
        };
        assert_eq!(agree(&map, &request.encode()), accepted, "case {at}");
    }
}

#[test]
fn terms_get_one_verdict() {
    type Edit = fn(&mut LicenseBody);
    let edits: [(Edit, bool); 17] = [
        (|body| body.rights.clear(), true),
        (|body| body.extended_rights = Some(vec![]), false),
        (|body| body.extended_restrictions = Some(vec![]), false),
        (|body| body.explicit_restrictions = Some(vec![]), false),
        (|body| body.play_enablers = Some(vec![]), false),
        (|body| body.play_enablers = Some(enablers(32)), true),
        (|body| body.play_enablers = Some(enablers(33)), false),
        (|body| body.expiration_after_first_play = Some(0), false),
        (|body| body.grace_period = Some(0), false),
        (without_end, true),
        (
            |body| {
                without_end(body);
                body.expiration_after_first_play = None;
            },
            false,
        ),
        (
            |body| {
                without_end(body);
                body.expiration_after_first_play = None;
                body.real_time_expiration = None;
            },
            true,
        ),
        (
            |body| {
                without_end(body);
                body.grace_period = Some(1);
            },
            false,
        ),
        (
            |body| {
                without_end(body);
                body.removal_date = Some(Timestamp(9));
            },
            false,
        ),
        (
            |body| body.output_protection_levels = Some(levels(Some(271))),
            false,
        ),
        (
            |body| body.output_protection_levels = Some(levels(Some(270))),
            true,
        ),
        (
            |body| body.extended_restrictions = Some(vec![restriction(1025)]),
            false,
        ),
    ];
    for (at, (edit, accepted)) in edits.into_iter().enumerate() {
        assert_eq!(edited(full_license(), edit), accepted, "case {at}");
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
fn exchange_keys_get_one_verdict() {
    let map = Map {
        rule: "license",
        full: Vec::new(),
        read: read_license,
    };
    let with = |algorithm: i64, operation: u64, edit: fn(&mut KeyDescription)| {
        let mut body = exchange_license();
        let key = &mut body.keys[0];
        (key.algorithm, key.operation, key.context) = (Some(CoseAlgorithm(algorithm)), Some(operation), None);
        edit(key);
        agree(&map, &body.encode())
    };
    for algorithm in (-66..=66).chain(-65540..=-65520) {
        for operation in 0..=7 {
            let permitted = Algorithm::from_number(algorithm)
                .zip(Operation::from_number(operation))
                .is_some_and(|(algorithm, operation)| algorithm.permits(operation));
            assert_eq!(
                with(algorithm, operation, |_| ()),
                permitted,
                "{algorithm} {operation}"
            );
        }
    }
    type Edit = fn(&mut KeyDescription);
    let edits: [(Edit, bool); 8] = [
        (|key| key.version = Some(0), false),
        (|key| key.version = Some(u32::MAX.into()), true),
        (|key| key.version = Some(1 << 32), false),
        (|key| key.context = Some(Bytes(vec![7; 255])), true),
        (|key| key.context = Some(Bytes(vec![7; 256])), false),
        (|key| key.context = Some(Bytes(vec![])), false),
        (|key| key.uses = Some(1 << 32), true),
        (|key| key.uses = Some((1 << 32) + 1), false),
    ];
    for (at, (edit, accepted)) in edits.into_iter().enumerate() {
        assert_eq!(with(3, 4, edit), accepted, "case {at}");
    }
    assert!(!with(-65532, 4, |key| key.context = Some(Bytes(vec![7]))));
    let edits: [fn(&mut LicenseBody); 5] = [
        |body| body.rights = vec![Right::Play],
        |body| body.source_id = Some(7),
        |body| body.keys.clear(),
        |body| body.keys = vec![KeyDescription::content(Kid::new([1; 16]), KeyType::File)],
        |body| body.kind = LicenseKind::Simple,
    ];
    for (at, edit) in edits.into_iter().enumerate() {
        let mut body = exchange_license();
        edit(&mut body);
        assert!(!agree(&map, &body.encode()), "case {at}");
    }
}

fn enablers(count: u128) -> Vec<PlayEnabler> {
    (0..count).map(|at| PlayEnabler(Guid::of(at))).collect()
}

fn levels(uncompressed_digital_video: Option<u64>) -> OutputProtectionLevels {
    OutputProtectionLevels {
        uncompressed_digital_video,
        ..OutputProtectionLevels::default()
    }
}

fn restriction(length: usize) -> ExtendedRestriction {
    ExtendedRestriction {
        kind: 1,
        must_understand: false,
        best_effort: true,
        data: Bytes(vec![0; length]),
    }
}

fn without_end(body: &mut LicenseBody) {
    body.end = None;
    body.removal_date = None;
    body.grace_period = None;
}

#[test]
fn a_result_is_a_license_or_a_denial() {
    let kid = Kid::new([1; 16]);
    let license = Some(Bytes(signed_license()));
    let denial = Some(Denial {
        code: 301,
        sentence: "no".into(),
        url: None,
    });
    let cases = [
        (
            KeyResult {
                kid,
                license: license.clone(),
                denial: None,
            },
            true,
        ),
        (
            KeyResult {
                kid,
                license: None,
                denial: denial.clone(),
            },
            true,
        ),
        (KeyResult { kid, license, denial }, false),
        (
            KeyResult {
                kid,
                license: None,
                denial: None,
            },
            false,
        ),
    ];
    for (result, accepted) in cases {
        assert_eq!(
            agree(
                &Map {
                    rule: "result",
                    full: Vec::new(),
                    read: read_result
                },
                &result.encode()
            ),
            accepted
        );
    }
}

#[test]
fn a_problem_document_has_two_entries_and_no_other() {
    let full = Problem::new(ErrorCode::Busy, "the server is stopping".into()).encode();
    let map = Map {
        rule: "problem-document",
        full,
        read: |bytes| Problem::decode(bytes).map(drop),
    };
    assert!(agree(&map, &map.full));
    for at in 0..2 {
        assert!(!agree(
            &map,
            &altered(&map.full, |entries| drop(entries.remove(at)))
        ));
        assert!(!agree(
            &map,
            &altered(&map.full, |entries| entries[at].1 = vec![0xf6])
        ));
    }
    for key in [1, 127, 128, 65_536] {
        assert!(
            !agree(
                &map,
                &altered(&map.full, |entries| entries.insert(0, (uint(key), uint(0))))
            ),
            "{key}"
        );
    }
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
