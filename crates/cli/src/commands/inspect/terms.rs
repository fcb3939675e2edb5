//! The terms of a license beyond its window, in the words of the usage rules.

use keyward_license::{
    license::{
        ExplicitRestriction, ExtendedRestriction, ExtendedRight, LicenseBody, OutputProtectionLevels,
        PlayEnabler,
    },
    usage_rules::Rule,
};

use super::explanation::{Fields, Value, list, plain, said};
use crate::report;

/// Every term but begin, end and security level.
pub(super) fn fields(body: &LicenseBody) -> Fields {
    times(body)
        .with(
            "output_protection_levels",
            body.output_protection_levels
                .as_ref()
                .map(|levels| Value::from(self::levels(levels))),
        )
        .with(
            "explicit_restrictions",
            body.explicit_restrictions.as_ref().map(|all| list(all, explicit)),
        )
        .with(
            "play_enablers",
            body.play_enablers.as_ref().map(|all| list(all, enabler)),
        )
        .with(
            "source_id",
            body.source_id
                .map(|id| said(id, format!("{id}: needs a player that follows its rules (R-006)"))),
        )
        .with(
            "extended_restrictions",
            body.extended_restrictions.as_ref().map(|all| list(all, extended)),
        )
        .with(
            "extended_rights",
            body.extended_rights.as_ref().map(|all| list(all, right)),
        )
        .with(
            "ends_with_revocation",
            body.ends_with_revocation
                .map(|_| said(true, "of no use once this device is revoked (R-015)")),
        )
}

fn times(body: &LicenseBody) -> Fields {
    let first_play = |seconds| {
        said(
            seconds,
            format!(
                "not from {} after the first play on (R-012)",
                report::seconds(seconds)
            ),
        )
    };
    let grace = |seconds| {
        said(
            seconds,
            format!("usable for {} after the end (R-013)", report::seconds(seconds)),
        )
    };
    Fields::default()
        .with(
            "expiration_after_first_play",
            body.expiration_after_first_play.map(first_play),
        )
        .with("grace_period", body.grace_period.map(grace))
        .with(
            "real_time_expiration",
            body.real_time_expiration
                .map(|_| said(true, "what ends it stops a playback too (R-014)")),
        )
        .with(
            "removal_date",
            body.removal_date
                .map(|at| said(at.0, format!("may be removed from {} on", report::time(at)))),
        )
        .with(
            "embed",
            body.embed
                .map(|_| said(true, "the client writes it into the content (R-045)")),
        )
}

fn levels(levels: &OutputProtectionLevels) -> Fields {
    let level = |level: Option<u64>, rule: Rule| level.map(|level| said(level, format!("{level} ({rule})")));
    Fields::default()
        .with(
            "compressed_digital_audio",
            level(levels.compressed_digital_audio, Rule::CompressedDigitalAudio),
        )
        .with(
            "uncompressed_digital_audio",
            level(levels.uncompressed_digital_audio, Rule::UncompressedDigitalAudio),
        )
        .with(
            "compressed_digital_video",
            level(levels.compressed_digital_video, Rule::CompressedDigitalVideo),
        )
        .with(
            "uncompressed_digital_video",
            level(levels.uncompressed_digital_video, Rule::UncompressedDigitalVideo),
        )
        .with("analog_video", level(levels.analog_video, Rule::AnalogVideo))
}

fn explicit(restriction: &ExplicitRestriction) -> Value {
    let demands = match restriction {
        ExplicitRestriction::MaximumDecodeResolution(largest) => {
            format!("frames of at most {}x{} (R-011)", largest.width, largest.height)
        }
        ExplicitRestriction::HdcpType(hdcp) => format!("HDCP type {} (R-027)", hdcp.number()),
        ExplicitRestriction::DigitalVideoOnly => "digital video only (R-022)".to_owned(),
        ExplicitRestriction::CgmsARequired(control) => {
            format!("CGMS-A {}, required (R-029)", control.number())
        }
        ExplicitRestriction::CgmsABestEffort(control) => {
            format!("CGMS-A {}, best effort (R-029)", control.number())
        }
        ExplicitRestriction::Scms(control) => format!("SCMS {} (R-036)", control.number()),
        ExplicitRestriction::AgcAndColourStripe(agc) => {
            format!("AGC and colour stripe {} (R-030)", agc.number())
        }
        ExplicitRestriction::AnalogComputerMonitor => {
            "a reduced picture on analog computer monitors (R-031)".to_owned()
        }
        ExplicitRestriction::AnalogComponent => {
            "a reduced picture on analog component outputs (R-032)".to_owned()
        }
        ExplicitRestriction::Watermark(technology) => format!("a watermark of {technology} (R-009)"),
        ExplicitRestriction::InternalScreenOnly => "the built-in screen only (R-021)".to_owned(),
    };
    let json = serde_json::json!({
        "guid": restriction.guid().to_string(),
        "data": hex::encode(restriction.data()),
    });
    said(json, demands)
}

fn enabler(enabler: &PlayEnabler) -> Value {
    let PlayEnabler(guid) = enabler;
    let permits = match *enabler {
        PlayEnabler::UNKNOWN_OUTPUT => "unknown outputs (R-023)".to_owned(),
        PlayEnabler::UNKNOWN_OUTPUT_REDUCED => "unknown outputs, with a reduced picture (R-023)".to_owned(),
        PlayEnabler::AIRPLAY => "export by AirPlay (R-024)".to_owned(),
        _ => format!("export by {guid} (R-024)"),
    };
    said(guid.to_string(), permits)
}

fn extended(restriction: &ExtendedRestriction) -> Value {
    Fields::default()
        .with("kind", restriction.kind)
        .with(
            "must_understand",
            said(
                restriction.must_understand,
                if restriction.must_understand {
                    "yes (R-007)"
                } else {
                    "no: skipped by who does not know it"
                },
            ),
        )
        .with(
            "best_effort",
            said(
                restriction.best_effort,
                if restriction.best_effort {
                    "yes: need only be tried"
                } else {
                    "no (R-008)"
                },
            ),
        )
        .with("data", plain(hex::encode(&restriction.data.0)))
        .into()
}

fn right(right: &ExtendedRight) -> Value {
    Fields::default()
        .with("kind", right.kind)
        .with(
            "restrictions",
            right.restrictions.as_ref().map(|all| list(all, extended)),
        )
        .into()
}
