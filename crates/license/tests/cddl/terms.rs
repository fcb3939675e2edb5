//! Terms of licenses and descriptions of keys: one verdict of CDDL and decoder.

use keyward_crypto::exchange::{Algorithm, Operation};
use keyward_license::{
    codec::{Bytes, Wire},
    ids::Kid,
    license::{
        CoseAlgorithm, ExtendedRestriction, Guid, KeyDescription, KeyType, LicenseBody, LicenseKind,
        OutputProtectionLevels, PlayEnabler, Right,
    },
    time::Timestamp,
};

use super::{
    Map, agree, edited,
    samples::{exchange_license, full_license, read_license},
};

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
