use keyward_license::license::{AgcAndColourStripe, CopyControl, Guid, HdcpType, Resolution};
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp(1_000_000_000);

fn terms(begin: Option<i64>, duration: Option<u64>) -> PolicyTerms {
    PolicyTerms {
        begin_offset_seconds: begin,
        duration_seconds: duration,
        ..PolicyTerms::DEFAULT
    }
}

fn read(json: &serde_json::Value) -> Result<PolicyTerms, PolicyFault> {
    Overrides::from_json(json.to_string().as_bytes())?.into_terms()
}

/// What is wrong with the terms that differ from the default ones in these.
fn fault(overrides: &serde_json::Value) -> String {
    let overrides = Overrides::from_json(overrides.to_string().as_bytes()).unwrap();
    let terms = PolicyTerms::of_level(2000).with(overrides);
    match terms.and_then(|terms| terms.check(NOW)) {
        Ok(()) => "fine".to_owned(),
        Err(fault) => fault.to_string(),
    }
}

#[test]
fn a_license_counts_from_the_later_of_issue_and_begin() {
    let cases = [
        (terms(None, None), None, None),
        (terms(None, Some(60)), None, Some(1060)),
        (terms(Some(-300), Some(60)), Some(700), Some(1060)),
        (terms(Some(500), Some(60)), Some(1500), Some(1560)),
        (terms(Some(-5000), None), Some(0), None),
        (
            PolicyTerms {
                end: Some(Timestamp(1030)),
                ..terms(None, Some(60))
            },
            None,
            Some(1030),
        ),
        (
            PolicyTerms {
                end: Some(Timestamp(1090)),
                ..terms(None, Some(60))
            },
            None,
            Some(1060),
        ),
    ];
    for (terms, begin, end) in cases {
        let license = terms.specimen(Timestamp(1000));
        assert_eq!(
            (license.begin, license.end),
            (begin.map(Timestamp), end.map(Timestamp)),
            "{terms:?}"
        );
    }
}

#[test]
fn neither_end_nor_grace_period_outlasts_the_entitlement() {
    let terms = PolicyTerms {
        grace_period_seconds: Some(100),
        removal_after_end_seconds: Some(7),
        ..terms(None, Some(1000))
    };
    let issued = |expires: Option<u64>| {
        let license = terms.apply(terms.specimen(Timestamp(0)), expires.map(Timestamp));
        let [end, until, removal] = [license.end, license.usable_until(), license.removal_date];
        assert_eq!(license.check(), Ok(()));
        [end, until, removal].map(|time| time.unwrap().0)
    };
    assert_eq!(issued(None), [1000, 1100, 1107]);
    assert_eq!(issued(Some(5000)), [1000, 1100, 1107]);
    assert_eq!(issued(Some(1040)), [1000, 1040, 1047]);
    assert_eq!(issued(Some(1000)), [1000, 1000, 1007]);
    assert_eq!(issued(Some(10)), [10, 10, 17]);

    // Nor the policy's own fixed end.
    let fixed = PolicyTerms {
        end: Some(Timestamp(1060)),
        ..terms
    };
    let license = fixed.specimen(Timestamp(0));
    assert_eq!(
        (license.end, license.usable_until()),
        (Some(Timestamp(1000)), Some(Timestamp(1060)))
    );
    let license = fixed.apply(license, Some(Timestamp(1010)));
    assert_eq!(license.usable_until(), Some(Timestamp(1010)));
}

#[test]
fn every_preset_is_a_policy_and_has_a_name_of_one() {
    for preset in Preset::ALL {
        assert_eq!(preset.terms().check(NOW), Ok(()), "{preset:?}");
        assert_eq!(check_name(preset.name()), Ok(()));
        assert_eq!(Preset::from_name(preset.name()), Ok(preset));
        let guide = include_str!("../../../../docs/guides/policies.md");
        assert!(guide.contains(&format!("### `{}`", preset.name())), "{preset:?}");
    }
    assert_eq!(PolicyTerms::DEFAULT.check(NOW), Ok(()));
    assert!(Preset::from_name("lease").is_err());
}

#[test]
fn the_guide_names_every_term() {
    let guide = include_str!("../../../../docs/guides/policies.md");
    let terms = LicenseBody::TERMS.map(|term| term_name(term).unwrap());
    let restrictions = ExplicitRestriction::ALL.map(|guid| explicit_restriction_name(guid).unwrap());
    for name in terms.into_iter().chain(restrictions) {
        assert!(guide.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn every_term_is_written_by_its_name_and_read_again() {
    let json = json!({
        "begin_offset_seconds": -300,
        "duration_seconds": 2_592_000,
        "end": 2_000_000_000,
        "expiration_after_first_play_seconds": 172_800,
        "real_time_expiration": true,
        "grace_period_seconds": 60,
        "removal_after_end_seconds": 0,
        "persistent_allowed": true,
        "minimum_security_level": 2000,
        "output_protection_levels": {
            "compressed_digital_audio": 150,
            "uncompressed_digital_audio": 250,
            "compressed_digital_video": 500,
            "uncompressed_digital_video": 300,
            "analog_video": 150,
        },
        "explicit_restrictions": {
            "maximum_decode_resolution": { "width": 1920, "height": 1080 },
            "hdcp_type": 1,
            "digital_video_only": true,
            "cgms_a_required": 3,
            "scms": 2,
            "agc_and_colour_stripe": 1,
            "analog_computer_monitor": true,
            "analog_component": true,
            "watermark": "00112233-4455-6677-8899-aabbccddeeff",
        },
        "play_enablers": ["airplay", "00112233-4455-6677-8899-aabbccddeeff"],
        "embed": true,
        "source_id": 267,
        "extended_restrictions": [
            { "kind": 400, "must_understand": true, "best_effort": false, "data": "c0ffee" },
        ],
        "extended_rights": [
            {
                "kind": 500,
                "restrictions": [{ "kind": 401, "must_understand": false, "best_effort": true, "data": "" }],
            },
        ],
        "on_revocation": "stop",
        "acknowledge": true,
    });
    let terms = read(&json).unwrap();
    assert_eq!(terms.check(NOW), Ok(()));
    assert_eq!(serde_json::to_value(&terms).unwrap(), json);
    let license = terms.specimen(NOW);
    assert_eq!(license.terms().collect::<Vec<_>>(), LicenseBody::TERMS);
    let hd = Resolution {
        width: 1920,
        height: 1080,
    };
    assert_eq!(
        license.explicit_restrictions(),
        [
            ExplicitRestriction::MaximumDecodeResolution(hd),
            ExplicitRestriction::HdcpType(HdcpType::Type1),
            ExplicitRestriction::DigitalVideoOnly,
            ExplicitRestriction::CgmsARequired(CopyControl::NEVER),
            ExplicitRestriction::Scms(CopyControl::from_number(2).unwrap()),
            ExplicitRestriction::AgcAndColourStripe(AgcAndColourStripe::from_number(1).unwrap()),
            ExplicitRestriction::AnalogComputerMonitor,
            ExplicitRestriction::AnalogComponent,
            ExplicitRestriction::Watermark(Guid::of(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff)),
        ]
    );
    // The two that the others of the list exclude.
    let json = json!({
        "persistent_allowed": false,
        "minimum_security_level": 150,
        "play": false,
        "explicit_restrictions": { "cgms_a_best_effort": 1, "internal_screen_only": true },
        "extended_rights": [{ "kind": 1 }],
    });
    let terms = read(&json).unwrap();
    assert_eq!(terms.check(NOW), Ok(()));
    assert_eq!(serde_json::to_value(&terms).unwrap(), json);
}

#[test]
fn what_is_no_term_is_refused_by_its_name() {
    let with = |term: &str, value: serde_json::Value| {
        let mut overrides = Overrides::default();
        overrides.set(term, value);
        PolicyTerms::DEFAULT.with(overrides).unwrap_err().to_string()
    };
    for (term, value, expected) in [
        ("surprise", json!(1), "unknown field `surprise`"),
        ("surprise", json!(null), "unknown field `surprise`"),
        ("duration_seconds", json!(-1), "invalid value: integer `-1`"),
        ("persistent_allowed", json!(null), "invalid type: null"),
        (
            "play_enablers",
            json!(["hdmi"]),
            "a play enabler is `unknown-output`",
        ),
        (
            "explicit_restrictions",
            json!({ "hdcp_type": 2 }),
            "hdcp_type must be 0 or 1",
        ),
        (
            "explicit_restrictions",
            json!({ "scms": 4 }),
            "scms must be 0 to 3",
        ),
        (
            "explicit_restrictions",
            json!({ "agc_and_colour_stripe": 4 }),
            "must be 0 to 3",
        ),
        (
            "explicit_restrictions",
            json!({ "9645e831-e01d-4fff-8342-0a720e3e028f": 1 }),
            "unknown field `9645e831",
        ),
        (
            "explicit_restrictions",
            json!({ "maximum_decode_resolution": { "width": 0, "height": 1 } }),
            "at least one pixel",
        ),
        (
            "explicit_restrictions",
            json!({ "watermark": "w" }),
            "a GUID is 32",
        ),
        (
            "extended_restrictions",
            json!([{ "kind": 1, "must_understand": true, "data": "abc" }]),
            "hexadecimal digits",
        ),
    ] {
        let refused = with(term, value);
        assert!(refused.contains(expected), "{term}: {refused}");
    }
    assert!(read(&json!({ "persistent_allowed": true })).is_err());
    assert!(Overrides::from_json(b"[]").is_err());
}

#[test]
fn a_term_is_taken_away_with_null() {
    let mut overrides = Overrides::default();
    overrides.set("expiration_after_first_play_seconds", serde_json::Value::Null);
    overrides.set("duration_seconds", 60);
    let terms = Preset::Rental.terms().with(overrides).unwrap();
    let expected = PolicyTerms {
        expiration_after_first_play_seconds: None,
        duration_seconds: Some(60),
        ..Preset::Rental.terms()
    };
    assert_eq!(terms, expected);
}

#[test]
fn v_030_and_v_031_are_asked_when_a_policy_is_written() {
    for (overrides, expected) in [
        (
            json!({ "grace_period_seconds": 60 }),
            "a grace period needs an end",
        ),
        (
            json!({ "real_time_expiration": true }),
            "a real-time expiration needs an end or an expiration after first play",
        ),
        (
            json!({ "removal_after_end_seconds": 60 }),
            "a removal date needs an end and does not come before it",
        ),
        (
            json!({ "explicit_restrictions": { "hdcp_type": 1 } }),
            "an HDCP type needs a level of uncompressed digital video of at least 271",
        ),
        (
            json!({ "output_protection_levels": { "analog_video": 250 } }),
            "an output protection level is not a published one",
        ),
        (
            json!({ "output_protection_levels": {} }),
            "an output protection level is not a published one",
        ),
        (
            json!({ "play_enablers": ["airplay", "5ABF0F0D-DC29-4B82-9982-FD8E57525BFC"] }),
            "a list of the license is empty, too long, or holds something twice",
        ),
        (json!({ "play": false }), "a license grants at least one right"),
        (
            json!({ "begin_offset_seconds": 60, "end": NOW.0 + 60 }),
            "the license ends before it begins",
        ),
    ] {
        assert_eq!(fault(&overrides), expected);
    }
}

#[test]
fn impossible_combinations_are_refused_with_the_reason() {
    let conflicts = [
        json!({ "duration_seconds": 0 }),
        json!({ "duration_seconds": u64::MAX }),
        json!({ "expiration_after_first_play_seconds": 0 }),
        json!({ "begin_offset_seconds": i64::MIN }),
        json!({ "minimum_security_level": 1000 }),
        json!({ "persistent_allowed": false, "begin_offset_seconds": 1 }),
        json!({ "persistent_allowed": false, "begin_offset_seconds": 0 }),
        json!({ "end": NOW.0 }),
        json!({ "end": NOW.0 + 1 }),
        json!({ "end": NOW.0 + 60, "grace_period_seconds": 1 }),
        json!({ "end": NOW.0 + 60, "duration_seconds": 60, "grace_period_seconds": 1 }),
        json!({ "duration_seconds": 60, "expiration_after_first_play_seconds": 61 }),
        json!({ "duration_seconds": 60, "expiration_after_first_play_seconds": 60 }),
        json!({ "duration_seconds": 60, "removal_after_end_seconds": 0, "persistent_allowed": false }),
        json!({ "embed": true, "persistent_allowed": false }),
        json!({ "explicit_restrictions": { "internal_screen_only": true }, "play_enablers": ["airplay"] }),
        json!({ "explicit_restrictions": { "digital_video_only": true }, "play_enablers": ["unknown-output"] }),
        json!({ "explicit_restrictions": { "digital_video_only": true }, "play_enablers": ["airplay"] }),
        json!({ "play_enablers": ["unknown-output", "unknown-output-reduced"] }),
        json!({ "play_enablers": ["unknown-output-reduced"], "minimum_security_level": 3000 }),
        json!({ "explicit_restrictions": { "cgms_a_required": 1, "cgms_a_best_effort": 1 } }),
        json!({
            "explicit_restrictions": { "cgms_a_required": 1 },
            "output_protection_levels": { "analog_video": 200 },
        }),
        json!({
            "explicit_restrictions": { "cgms_a_best_effort": 1 },
            "output_protection_levels": { "analog_video": 150 },
        }),
        json!({
            "play": false,
            "extended_rights": [{ "kind": 1 }],
            "duration_seconds": 60,
            "real_time_expiration": true,
        }),
    ];
    let told: Vec<_> = conflicts.iter().map(fault).collect();
    insta::assert_snapshot!(told.join("\n"), @"
    its duration must be 1 second to 100 years
    its duration must be 1 second to 100 years
    its duration must be 1 second to 100 years
    its begin must be within 10 years of the issue
    its minimum security level must be 150, 2000 or 3000
    a license that begins after its issue must be allowed to be stored
    fine
    licenses under it would have ended already
    fine
    a grace period follows a duration; nothing follows a fixed end
    fine
    the time after first play is longer than the license lasts
    fine
    a license that is not stored has no removal date
    a license that is not stored is not written into content
    a play enabler permits an output that the restriction to the internal screen blocks
    a play enabler permits unknown outputs, which the restriction to digital video blocks
    fine
    unknown outputs are permitted both whole and reduced
    devices of security level 3000 use no unknown output, with a play enabler or without
    CGMS-A is set as required and as best effort, and only the first would count
    analog video at level 200 has CGMS-A copy never, whatever CGMS-A is set to
    analog video above level 100 has CGMS-A copy never, and no best effort counts
    terms about playing need the right to play
    ");
    for name in ["", "Rental", "a b", &"a".repeat(65)] {
        assert_eq!(check_name(name), Err(PolicyFault::Name), "{name}");
    }
    assert_eq!(check_name("rental-48h"), Ok(()));
}
