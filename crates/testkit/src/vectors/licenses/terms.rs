//! The terms of licenses: each once as it should be, and in the ways that it must not be.

use keyward_license::{
    codec::{Bytes, Wire},
    license::{
        AgcAndColourStripe, CopyControl, ExplicitRestriction, ExtendedRestriction, ExtendedRight, Flag, Guid,
        HdcpType, LicenseBody, OutputProtectionLevels, PlayEnabler, Resolution,
    },
};

use super::{
    super::build::{array, bytes, uint, with_entry, with_value, without_entry},
    Cases, Draft,
};
use crate::pki::{DAY, NOW};

/// Alters a body's terms.
type Terms = fn(&mut LicenseBody);

/// Writes a term by hand into an encoded body.
type Raw = fn(&[u8]) -> Vec<u8>;

impl Cases<'_> {
    pub(super) fn known_terms(&mut self) {
        let cases: [(&str, &str, Terms); 10] = [
            (
                "license-valid-rental",
                "end, expiration after first play and removal date",
                |body| {
                    body.expiration_after_first_play = Some(2 * DAY);
                    body.removal_date = Some(NOW.plus(2 * DAY));
                },
            ),
            (
                "license-valid-first-play-without-end",
                "an expiration after first play needs no end, and a real-time expiration none beside it",
                |body| {
                    body.end = None;
                    body.expiration_after_first_play = Some(60);
                    body.real_time_expiration = Some(Flag);
                },
            ),
            (
                "license-valid-grace-period",
                "a grace period, and a removal at its very end",
                |body| {
                    body.grace_period = Some(DAY);
                    body.removal_date = Some(NOW.plus(3 * DAY));
                },
            ),
            (
                "license-valid-output-protection-levels",
                "a level of each scale",
                |body| body.output_protection_levels = Some(every_level()),
            ),
            (
                "license-valid-explicit-restrictions",
                "every explicit restriction, each with its data in the byte order of its GUID",
                |body| {
                    body.output_protection_levels = Some(every_level());
                    body.explicit_restrictions = Some(every_restriction());
                },
            ),
            (
                "license-valid-play-enablers",
                "an enabler that the reader does not know is no reason to refuse",
                |body| {
                    body.play_enablers = Some(vec![
                        PlayEnabler::UNKNOWN_OUTPUT,
                        PlayEnabler::AIRPLAY,
                        PlayEnabler(Guid::new([0xee; 16])),
                    ]);
                },
            ),
            (
                "license-valid-source-id",
                "content of a restricted source",
                |body| body.source_id = Some(267),
            ),
            (
                "license-valid-ends-with-revocation",
                "a license that a revoked device uses no more",
                |body| body.ends_with_revocation = Some(Flag),
            ),
            (
                "license-valid-extended-restrictions",
                "a kind that nobody knows and that must be understood is refused when judged, not when read",
                |body| {
                    body.extended_restrictions = Some(vec![
                        extended(400, true, &[2]),
                        extended(4_000_000_000, false, &[]),
                    ]);
                },
            ),
            (
                "license-valid-extended-right-alone",
                "a license may grant nothing but an extended right",
                |body| {
                    body.rights.clear();
                    body.extended_rights = Some(vec![ExtendedRight {
                        kind: 500,
                        restrictions: Some(vec![extended(400, true, &[2])]),
                    }]);
                },
            ),
        ];
        for (name, proves, edit) in cases {
            self.accept(name, proves, |draft, _| edit(&mut draft.body));
        }
    }

    pub(super) fn unfit_terms(&mut self) {
        let malformed = |error: &str| format!("the message is malformed: {error}");
        let cases: [(&str, &str, &str, Terms); 5] = [
            (
                "license-grace-without-end",
                "there is nothing to lengthen",
                "a grace period needs an end",
                |body| {
                    body.end = None;
                    body.grace_period = Some(1);
                },
            ),
            (
                "license-real-time-without-expiration",
                "there is nothing that stops a playback",
                "a real-time expiration needs an end or an expiration after first play",
                |body| {
                    body.end = None;
                    body.real_time_expiration = Some(Flag);
                },
            ),
            (
                "license-removal-without-end",
                "a license that may be used for good is not removed",
                "a removal date needs an end and does not come before it",
                |body| {
                    body.end = None;
                    body.removal_date = Some(NOW);
                },
            ),
            (
                "license-removal-within-grace",
                "a license is not removed while its grace period lasts",
                "a removal date needs an end and does not come before it",
                |body| {
                    body.grace_period = Some(DAY);
                    body.removal_date = Some(NOW.plus(3 * DAY).minus(1));
                },
            ),
            (
                "license-hdcp-type-without-level",
                "an HDCP type at a level that does without HDCP",
                "an HDCP type needs a level of uncompressed digital video of at least 271",
                |body| {
                    body.output_protection_levels = Some(OutputProtectionLevels {
                        uncompressed_digital_video: Some(270),
                        ..OutputProtectionLevels::default()
                    });
                    body.explicit_restrictions = Some(vec![ExplicitRestriction::HdcpType(HdcpType::Type1)]);
                },
            ),
        ];
        for (name, proves, error, edit) in cases {
            self.refuse(name, proves, ("V-031", &malformed(error)), |draft, _| {
                edit(&mut draft.body);
            });
        }
    }

    pub(super) fn wrong_terms(&mut self) {
        let malformed = |error: &str| format!("the message is malformed: {error}");
        let cases: [(&str, &str, &str, Terms); 9] = [
            (
                "license-first-play-of-no-seconds",
                "an expiration at the first play itself",
                NO_DURATION,
                |body| body.expiration_after_first_play = Some(0),
            ),
            (
                "license-level-not-published",
                "level 251 of uncompressed digital video",
                UNPUBLISHED_LEVEL,
                |body| {
                    body.output_protection_levels = Some(OutputProtectionLevels {
                        uncompressed_digital_video: Some(251),
                        ..every_level()
                    });
                },
            ),
            (
                "license-level-of-another-scale",
                "150 is a level of analog video and audio, not of uncompressed digital video",
                UNPUBLISHED_LEVEL,
                |body| {
                    body.output_protection_levels = Some(OutputProtectionLevels {
                        uncompressed_digital_video: Some(150),
                        ..every_level()
                    });
                },
            ),
            (
                "license-levels-empty",
                "output protection levels without a level",
                UNPUBLISHED_LEVEL,
                |body| body.output_protection_levels = Some(OutputProtectionLevels::default()),
            ),
            (
                "license-explicit-restriction-twice",
                "two SCMS values",
                NO_SET,
                |body| {
                    let scms = |number| CopyControl::from_number(number).map(ExplicitRestriction::Scms);
                    body.explicit_restrictions = Some([scms(1), scms(2)].into_iter().flatten().collect());
                },
            ),
            (
                "license-play-enablers-empty",
                "a term that is there says something",
                NO_SET,
                |body| body.play_enablers = Some(Vec::new()),
            ),
            (
                "license-play-enablers-too-many",
                "33 play enablers",
                NO_SET,
                |body| body.play_enablers = Some((0..33).map(|at| PlayEnabler(Guid::of(at))).collect()),
            ),
            (
                "license-extended-restriction-twice",
                "two restrictions of a kind",
                NO_SET,
                |body| {
                    body.extended_restrictions =
                        Some(vec![extended(400, true, &[1]), extended(400, false, &[2])]);
                },
            ),
            (
                "license-extended-data-too-long",
                "1025 bytes of data, in a right's restriction",
                "an extended restriction holds too much data",
                |body| {
                    body.extended_rights = Some(vec![ExtendedRight {
                        kind: 500,
                        restrictions: Some(vec![extended(400, true, &[0; 1025])]),
                    }]);
                },
            ),
        ];
        for (name, proves, error, edit) in cases {
            self.refuse(name, proves, ("V-030", &malformed(error)), |draft, _| {
                edit(&mut draft.body);
            });
        }
    }

    pub(super) fn wrong_data(&mut self) {
        let malformed = |error: &str| format!("the message is malformed: {error}");
        let data = "an explicit restriction holds data that is not of its GUID";
        let cases: [(&str, &str, &str, Raw); 8] = [
            (
                "license-explicit-restriction-unknown",
                "a GUID that the reader does not know is a demand that it cannot meet",
                "the license holds an explicit restriction that this version does not know",
                |body| explicit(body, Guid::new([0xee; 16]), &[]),
            ),
            (
                "license-agc-big-endian",
                "AGC and colour stripe is little-endian",
                data,
                |body| explicit(body, ExplicitRestriction::AGC_AND_COLOUR_STRIPE, &[0, 0, 0, 2]),
            ),
            (
                "license-digital-only-little-endian",
                "digital video only is big-endian",
                data,
                |body| explicit(body, ExplicitRestriction::DIGITAL_VIDEO_ONLY, &[1, 0, 0, 0]),
            ),
            (
                "license-hdcp-type-2",
                "an HDCP type that nobody published",
                data,
                |body| explicit(body, ExplicitRestriction::HDCP_TYPE, &[0, 0, 0, 2]),
            ),
            ("license-scms-of-four-bytes", "SCMS has one byte", data, |body| {
                explicit(body, ExplicitRestriction::SCMS, &[0, 0, 0, 3])
            }),
            (
                "license-resolution-of-no-height",
                "a frame of no height",
                data,
                |body| {
                    let frame = [0, 0, 0, 0, 0, 0, 7, 0x80];
                    explicit(body, ExplicitRestriction::MAXIMUM_DECODE_RESOLUTION, &frame)
                },
            ),
            (
                "license-real-time-false",
                "a flag that is not set is left out",
                "a flag that is not set is left out",
                |body| with_entry(body, 14, &[0xf4]),
            ),
            (
                "license-ends-with-revocation-false",
                "a flag that is not set is left out",
                "a flag that is not set is left out",
                |body| with_entry(body, 29, &[0xf4]),
            ),
        ];
        for (name, proves, error, edit) in cases {
            self.refuse(name, proves, ("V-030", &malformed(error)), raw(edit));
        }
    }

    pub(super) fn wrong_forms(&mut self) {
        let malformed = |error: &str| format!("the message is malformed: {error}");
        let critical = |map: &str, key: u64| {
            malformed(&format!(
                "{map} holds critical key {key}, which this version does not know"
            ))
        };
        let cases: [(&str, &str, String, Raw); 4] = [
            (
                "license-levels-unknown-critical",
                "a sixth scale",
                critical("output protection levels", 6),
                |body| with_entry(body, 17, &with_entry(&every_level().encode(), 6, &uint(100))),
            ),
            (
                "license-explicit-restriction-unknown-critical",
                "an unknown critical key in a restriction",
                critical("explicit restriction", 3),
                |body| {
                    let restriction = ExplicitRestriction::InternalScreenOnly.encode();
                    with_entry(body, 18, &array(&[with_entry(&restriction, 3, &uint(0))]))
                },
            ),
            (
                "license-extended-restriction-unknown-critical",
                "an unknown critical key, three maps deep",
                critical("extended restriction", 5),
                |body| {
                    let restriction = with_entry(&extended(400, true, &[]).encode(), 5, &uint(0));
                    let right = ExtendedRight {
                        kind: 500,
                        restrictions: None,
                    };
                    let right = with_entry(&right.encode(), 2, &array(&[restriction]));
                    with_entry(body, 28, &array(&[right]))
                },
            ),
            (
                "license-extended-restriction-without-best-effort",
                "each modifier is stated",
                malformed("extended restriction lacks required key 3"),
                |body| {
                    let restriction = without_entry(&extended(400, true, &[]).encode(), 3);
                    with_entry(body, 25, &array(&[restriction]))
                },
            ),
        ];
        for (name, proves, error, edit) in cases {
            self.refuse(name, proves, ("V-001", &error), raw(edit));
        }
    }
}

/// A level of every scale.
pub(super) fn every_level() -> OutputProtectionLevels {
    OutputProtectionLevels {
        compressed_digital_audio: Some(200),
        uncompressed_digital_audio: Some(250),
        compressed_digital_video: Some(500),
        uncompressed_digital_video: Some(300),
        analog_video: Some(200),
    }
}

/// Every explicit restriction.
pub(super) fn every_restriction() -> Vec<ExplicitRestriction> {
    let control = |number| CopyControl::from_number(number).unwrap();
    vec![
        ExplicitRestriction::MaximumDecodeResolution(Resolution {
            width: 1920,
            height: 1080,
        }),
        ExplicitRestriction::HdcpType(HdcpType::Type1),
        ExplicitRestriction::DigitalVideoOnly,
        ExplicitRestriction::CgmsARequired(control(3)),
        ExplicitRestriction::CgmsABestEffort(control(1)),
        ExplicitRestriction::Scms(control(2)),
        ExplicitRestriction::AgcAndColourStripe(AgcAndColourStripe::from_number(2).unwrap()),
        ExplicitRestriction::AnalogComputerMonitor,
        ExplicitRestriction::AnalogComponent,
        ExplicitRestriction::Watermark(Guid::new([0x77; 16])),
        ExplicitRestriction::InternalScreenOnly,
    ]
}

pub(super) fn extended(kind: u64, must_understand: bool, data: &[u8]) -> ExtendedRestriction {
    ExtendedRestriction {
        kind,
        must_understand,
        best_effort: false,
        data: Bytes(data.to_vec()),
    }
}

/// The body with one explicit restriction, of any GUID and data.
fn explicit(body: &[u8], guid: Guid, data: &[u8]) -> Vec<u8> {
    let restriction = with_value(
        &ExplicitRestriction::InternalScreenOnly.encode(),
        1,
        &guid.encode(),
    );
    let restriction = with_value(&restriction, 2, &bytes(data));
    with_entry(body, 18, &array(&[restriction]))
}

fn raw(edit: Raw) -> impl FnOnce(&mut Draft<'_>, &mut rand_chacha::ChaCha20Rng) {
    move |draft, _| draft.raw_body = Some(edit(&draft.body.encode()))
}

const NO_DURATION: &str = "a duration of the license is of no seconds";
const UNPUBLISHED_LEVEL: &str = "an output protection level is not a published one";
const NO_SET: &str = "a list of the license is empty, too long, or holds something twice";
