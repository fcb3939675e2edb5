//! V-030 and V-031: what terms may be, and which fit together.

use keyward_crypto::exchange::{Algorithm, Operation};

use super::*;
use crate::{
    ids::{DeviceId, Kid, LicenseId},
    license::{Binding, CopyControl, HdcpType, KeyDescription, KeyType, Right},
};

fn license() -> LicenseBody {
    let key = KeyDescription::content(Kid::new([3; 16]), KeyType::CencCbc);
    let binding = Binding::device(&DeviceId::new([2; 32]));
    LicenseBody::new(
        LicenseId::new([1; 16]),
        LicenseKind::Simple,
        key,
        binding,
        Timestamp(1),
    )
}

fn fault(body: &LicenseBody) -> Option<&'static str> {
    match body.check() {
        Err(DecodeError::Invalid(fault)) => Some(fault),
        _ => None,
    }
}

fn restricted(kind: u64, length: usize) -> ExtendedRestriction {
    ExtendedRestriction {
        kind,
        must_understand: true,
        best_effort: false,
        data: Bytes(vec![0; length]),
    }
}

#[test]
fn v_030_only_published_levels_stand_in_a_license() {
    type Scale = fn(&mut OutputProtectionLevels, u64);
    let scales: [(Scale, &[u64]); 5] = [
        (
            |levels, level| levels.compressed_digital_audio = Some(level),
            &OutputProtectionLevels::AUDIO,
        ),
        (
            |levels, level| levels.uncompressed_digital_audio = Some(level),
            &OutputProtectionLevels::AUDIO,
        ),
        (
            |levels, level| levels.compressed_digital_video = Some(level),
            &[400, 500],
        ),
        (
            |levels, level| levels.uncompressed_digital_video = Some(level),
            &[100, 250, 270, 300],
        ),
        (
            |levels, level| levels.analog_video = Some(level),
            &[100, 150, 200],
        ),
    ];
    for (set, published) in scales {
        for level in 0..=600 {
            let mut levels = OutputProtectionLevels::default();
            set(&mut levels, level);
            let body = LicenseBody {
                output_protection_levels: Some(levels),
                ..license()
            };
            let expected = (!published.contains(&level)).then_some(UNPUBLISHED_LEVEL);
            assert_eq!(fault(&body), expected, "{levels:?}");
        }
    }
    let none = LicenseBody {
        output_protection_levels: Some(OutputProtectionLevels::default()),
        ..license()
    };
    assert_eq!(fault(&none), Some(UNPUBLISHED_LEVEL));
}

#[test]
fn v_030_lists_are_sets_of_bounded_size() {
    let enablers = |count: u128| (0..count).map(|at| PlayEnabler(Guid::of(at))).collect::<Vec<_>>();
    let kinds = |count: u64| (0..count).map(|kind| restricted(kind, 0)).collect::<Vec<_>>();
    let right = |kind, restrictions| ExtendedRight { kind, restrictions };
    let rights = |count: u64| (0..count).map(|kind| right(kind, None)).collect::<Vec<_>>();
    let scms = |number| ExplicitRestriction::Scms(CopyControl::from_number(number).unwrap());
    let of_enablers = |list| LicenseBody {
        play_enablers: Some(list),
        ..license()
    };
    let of_kinds = |list| LicenseBody {
        extended_restrictions: Some(list),
        ..license()
    };
    let of_rights = |list| LicenseBody {
        extended_rights: Some(list),
        ..license()
    };
    let of_explicit = |list| LicenseBody {
        explicit_restrictions: Some(list),
        ..license()
    };
    for (body, fits) in [
        (of_enablers(enablers(32)), true),
        (of_enablers(enablers(33)), false),
        (of_enablers(vec![]), false),
        (of_enablers(vec![PlayEnabler::AIRPLAY; 2]), false),
        (of_kinds(kinds(32)), true),
        (of_kinds(kinds(33)), false),
        (of_kinds(vec![]), false),
        (
            of_kinds(vec![restricted(1, 0), restricted(2, 0), restricted(1, 9)]),
            false,
        ),
        (of_rights(rights(16)), true),
        (of_rights(rights(17)), false),
        (of_rights(vec![]), false),
        (of_rights(vec![right(1, None), right(1, None)]), false),
        (of_rights(vec![right(1, Some(vec![]))]), false),
        (of_rights(vec![right(1, Some(kinds(32)))]), true),
        (of_rights(vec![right(1, Some(kinds(33)))]), false),
        (of_explicit(vec![scms(1)]), true),
        (of_explicit(vec![]), false),
        (of_explicit(vec![scms(1), scms(2)]), false),
    ] {
        let expected = (!fits).then_some(NO_SET);
        assert_eq!(fault(&body), expected, "{body:?}");
    }
}

#[test]
fn v_030_durations_and_data_are_bounded() {
    let first_play = LicenseBody {
        expiration_after_first_play: Some(0),
        ..license()
    };
    assert_eq!(fault(&first_play), Some(NO_DURATION));
    let grace = LicenseBody {
        end: Some(Timestamp(9)),
        grace_period: Some(0),
        ..license()
    };
    assert_eq!(fault(&grace), Some(NO_DURATION));
    for (length, expected) in [
        (MAX_EXTENDED_DATA, None),
        (MAX_EXTENDED_DATA + 1, Some(LONG_DATA)),
    ] {
        let of_license = LicenseBody {
            extended_restrictions: Some(vec![restricted(1, length)]),
            ..license()
        };
        let of_right = LicenseBody {
            rights: vec![],
            extended_rights: Some(vec![ExtendedRight {
                kind: 1,
                restrictions: Some(vec![restricted(1, length)]),
            }]),
            ..license()
        };
        assert_eq!((fault(&of_license), fault(&of_right)), (expected, expected));
    }
    assert!(Flag::decode(&[0xf5]).is_ok() && Flag::decode(&[0xf4]).is_err());
}

#[test]
fn v_031_times_have_what_they_count_from() {
    let ends = || LicenseBody {
        end: Some(Timestamp(20)),
        ..license()
    };
    let grace = |body: LicenseBody| LicenseBody {
        grace_period: Some(5),
        ..body
    };
    let real_time = |body: LicenseBody| LicenseBody {
        real_time_expiration: Some(Flag),
        ..body
    };
    let removed = |at, body: LicenseBody| LicenseBody {
        removal_date: Some(Timestamp(at)),
        ..body
    };
    let first_play = LicenseBody {
        expiration_after_first_play: Some(5),
        ..license()
    };
    for (body, fits) in [
        (grace(ends()), true),
        (grace(license()), false),
        (grace(first_play.clone()), false),
        (real_time(ends()), true),
        (real_time(first_play.clone()), true),
        (real_time(license()), false),
        (removed(20, ends()), true),
        (removed(19, ends()), false),
        (removed(24, grace(ends())), false),
        (removed(25, grace(ends())), true),
        (removed(20, license()), false),
        (removed(20, first_play), false),
    ] {
        assert_eq!(body.check().is_ok(), fits, "{body:?}");
    }
    let body = removed(25, grace(ends()));
    assert!(!body.may_be_removed(Timestamp(24)) && body.may_be_removed(Timestamp(25)));
}

#[test]
fn v_031_an_hdcp_type_needs_its_level() {
    for (level, fits) in [
        (None, false),
        (Some(100), false),
        (Some(270), false),
        (Some(300), true),
    ] {
        let body = LicenseBody {
            output_protection_levels: Some(OutputProtectionLevels {
                uncompressed_digital_video: level,
                analog_video: Some(100),
                ..OutputProtectionLevels::default()
            }),
            explicit_restrictions: Some(vec![ExplicitRestriction::HdcpType(HdcpType::Type0)]),
            ..license()
        };
        assert_eq!(body.check().is_ok(), fits, "{level:?}");
    }
    let no_levels = LicenseBody {
        explicit_restrictions: Some(vec![ExplicitRestriction::HdcpType(HdcpType::Type1)]),
        ..license()
    };
    assert!(fault(&no_levels).is_some());
}

#[test]
fn v_031_a_key_exchange_license_is_not_about_playing() {
    let exchange = || {
        let mut body = license();
        (body.kind, body.rights) = (LicenseKind::KeyExchange, vec![Right::Perform]);
        body.keys = vec![KeyDescription::exchange(
            Kid::new([3; 16]),
            Algorithm::A256Gcm,
            Operation::Encrypt,
            1,
        )];
        body.end = Some(Timestamp(9));
        body
    };
    assert_eq!(fault(&exchange()), None);
    let edits: [fn(&mut LicenseBody); 6] = [
        |body| body.source_id = Some(267),
        |body| body.expiration_after_first_play = Some(1),
        |body| body.real_time_expiration = Some(Flag),
        |body| {
            body.output_protection_levels = Some(OutputProtectionLevels {
                analog_video: Some(100),
                ..OutputProtectionLevels::default()
            });
        },
        |body| body.explicit_restrictions = Some(vec![ExplicitRestriction::InternalScreenOnly]),
        |body| body.play_enablers = Some(vec![PlayEnabler::AIRPLAY]),
    ];
    for edit in edits {
        let mut body = exchange();
        edit(&mut body);
        assert_eq!(
            fault(&body),
            Some("a key exchange license holds a term about playing")
        );
    }
}

#[test]
fn terms_are_listed_by_their_keys() {
    assert_eq!(license().terms().count(), 0);
    let body = LicenseBody {
        source_id: Some(1),
        end: Some(Timestamp(9)),
        name: Some("no term".into()),
        ..license()
    };
    assert_eq!(body.terms().collect::<Vec<_>>(), [11, 24]);
}

#[test]
fn every_term_comes_back_from_the_wire() {
    let control = CopyControl::from_number(1).unwrap();
    let body = LicenseBody {
        begin: Some(Timestamp(1)),
        end: Some(Timestamp(20)),
        minimum_security_level: Some(2000),
        expiration_after_first_play: Some(5),
        real_time_expiration: Some(Flag),
        removal_date: Some(Timestamp(30)),
        grace_period: Some(10),
        output_protection_levels: Some(OutputProtectionLevels {
            compressed_digital_audio: Some(100),
            uncompressed_digital_audio: Some(150),
            compressed_digital_video: Some(400),
            uncompressed_digital_video: Some(300),
            analog_video: Some(200),
        }),
        explicit_restrictions: Some(vec![
            ExplicitRestriction::CgmsABestEffort(control),
            ExplicitRestriction::HdcpType(HdcpType::Type1),
        ]),
        play_enablers: Some(vec![PlayEnabler::UNKNOWN_OUTPUT]),
        embed: Some(Flag),
        source_id: Some(u64::MAX),
        extended_restrictions: Some(vec![restricted(u64::MAX, 3)]),
        extended_rights: Some(vec![ExtendedRight {
            kind: 0,
            restrictions: Some(vec![restricted(1, 0)]),
        }]),
        ends_with_revocation: Some(Flag),
        ..license()
    };
    assert_eq!(body.terms().collect::<Vec<_>>(), LicenseBody::TERMS);
    assert_eq!(body.check(), Ok(()));
    assert_eq!(LicenseBody::decode(&body.encode()), Ok(body));
}
