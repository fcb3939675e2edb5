//! Lengths, counts and ranges: one verdict of CDDL and decoder.

use keyward_crypto::Secret;
use keyward_license::{
    acknowledgement::{AcknowledgedLicense, LicenseOutcome},
    codec::{Bytes, Wire},
    enrolment::EnrolmentRole,
    error_code::{ErrorCode, Problem},
    ids::{Digest, Kid, Nonce},
    license::{BindingKind, KeyType, LicenseBody, LicenseKind, Right},
    packaging::WantedTrack,
    request::{ClientInfo, ClockKind, ClockState, LicenseRequest},
    response::{Denial, KeyResult},
    revocation::{DeviceRevocationList, ListId, ListNumber, RevocationList, RevokedDevices},
    time::Timestamp,
};

use super::{
    Map, Read, agree, altered,
    samples::{
        acknowledge_request, client_info, device_revocation_list, full_license, full_request,
        packaging_request, read, read_acknowledge_request, read_device_revocation_list, read_license,
        read_packaging_request, read_request, read_result, signed_license,
    },
    uint,
};

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
