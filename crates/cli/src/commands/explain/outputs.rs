//! Outputs as they are typed, and what the rules decided about them, in words.

use std::str::FromStr;

use keyward_license::{
    license::{AgcAndColourStripe, CopyControl, HdcpType, PlayEnabler, Resolution},
    usage_rules::{Connector, Hdcp, HdcpVersion, Output, OutputDecision, OutputKind, Protections, Verdict},
};
use serde_json::{Value, json};

/// An output of `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TypedOutput(pub(crate) Output);

/// Every kind, by the name that is typed.
const KINDS: [(&str, OutputKind); 11] = [
    ("built-in", OutputKind::BuiltIn),
    ("digital-video", OutputKind::UncompressedDigitalVideo),
    ("compressed-video", OutputKind::CompressedDigitalVideo),
    ("analog-tv", OutputKind::AnalogTelevision),
    ("analog-component", OutputKind::AnalogComponent),
    ("analog-monitor", OutputKind::AnalogComputerMonitor),
    ("digital-audio", OutputKind::UncompressedDigitalAudio),
    ("compressed-audio", OutputKind::CompressedDigitalAudio),
    ("analog-audio", OutputKind::AnalogAudio),
    ("airplay", OutputKind::Export(PlayEnabler::AIRPLAY)),
    ("unknown", OutputKind::Unknown),
];

impl FromStr for TypedOutput {
    type Err = String;

    fn from_str(typed: &str) -> Result<Self, String> {
        let (kind, properties) = typed.split_once(':').unwrap_or((typed, ""));
        let known = KINDS.iter().find(|(name, _)| *name == kind);
        let (_, kind) = known.ok_or_else(|| {
            let names: Vec<_> = KINDS.iter().map(|(name, _)| *name).collect();
            format!("no kind of output; the kinds are {}", names.join(", "))
        })?;
        let mut output = Output::bare(Connector::Other, *kind);
        for property in properties.split(',').filter(|property| !property.is_empty()) {
            set(&mut output, property)?;
        }
        Ok(Self(output))
    }
}

fn set(output: &mut Output, property: &str) -> Result<(), String> {
    let (name, value) = property.split_once('=').unwrap_or((property, ""));
    let control = || {
        let number = value.parse().ok().and_then(CopyControl::from_number);
        number.ok_or_else(|| format!("{name} is 0 to 3"))
    };
    match name {
        "hdcp" => output.hdcp = hdcp(value)?,
        "size" => output.picture = Some(size(value)?),
        "reduces" if value.is_empty() => output.can_reduce = true,
        "cgms-a" => output.cgms_a = Some(control()?),
        "scms" => output.scms = Some(control()?),
        "agc" => {
            let number = value.parse().ok().and_then(AgcAndColourStripe::from_number);
            output.agc = number.ok_or("agc is 0 to 3")?;
        }
        _ => return Err(format!("no property `{name}` of an output")),
    }
    Ok(())
}

/// A stream of type 1 is sent by version 2.2 and later alone.
fn hdcp(value: &str) -> Result<Hdcp, String> {
    let number = value.parse().ok().and_then(HdcpType::from_number);
    let stream_type = number.ok_or("hdcp is 0 or 1")?;
    let version = match stream_type {
        HdcpType::Type0 => HdcpVersion { major: 1, minor: 4 },
        HdcpType::Type1 => HdcpVersion::V2_2,
    };
    Ok(Hdcp::Engaged { version, stream_type })
}

fn size(value: &str) -> Result<Resolution, String> {
    let (width, height) = value.split_once('x').ok_or("size is WIDTHxHEIGHT")?;
    let side = |side: &str| side.parse().ok().filter(|side| *side > 0);
    match (side(width), side(height)) {
        (Some(width), Some(height)) => Ok(Resolution { width, height }),
        _ => Err("size is WIDTHxHEIGHT".to_owned()),
    }
}

/// The decision about an output, in words.
pub(super) fn words(output: &Output, decision: &OutputDecision) -> String {
    let verdict = match decision.verdict {
        Verdict::Pass => "passes",
        Verdict::Reduced => "passes, reduced to 520,000 pixels a frame",
        Verdict::Block => "is blocked",
    };
    let engage = engaged(&decision.engage);
    let engage = if engage.is_empty() {
        String::new()
    } else {
        format!("; it should engage {}", engage.join(", "))
    };
    let rule = decision.decided_by;
    format!(
        "output {} {verdict} ({rule}: {}){engage}",
        name(output.kind),
        rule.says()
    )
}

/// The same for programs.
pub(super) fn fields(output: &Output, decision: &OutputDecision) -> Value {
    json!({
        "kind": name(output.kind),
        "verdict": match decision.verdict {
            Verdict::Pass => "pass",
            Verdict::Reduced => "reduced",
            Verdict::Block => "block",
        },
        "rule": decision.decided_by.number(),
        "says": decision.decided_by.says(),
        "engage": engaged(&decision.engage),
    })
}

fn engaged(engage: &Protections) -> Vec<String> {
    let hdcp = engage.hdcp.map(|hdcp| format!("hdcp={}", hdcp.number()));
    let cgms_a = engage
        .cgms_a
        .map(|control| format!("cgms-a={}", control.number()));
    let scms = engage.scms.map(|control| format!("scms={}", control.number()));
    let agc = Some(engage.agc.number()).filter(|number| *number > 0);
    let agc = agc.map(|number| format!("agc={number}"));
    [hdcp, cgms_a, scms, agc].into_iter().flatten().collect()
}

fn name(kind: OutputKind) -> &'static str {
    let known = KINDS.iter().find(|(_, known)| *known == kind);
    known.map_or("export", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_what_was_typed() {
        let typed: TypedOutput = "digital-video:hdcp=1,size=1920x1080,reduces".parse().unwrap();
        let expected = Output {
            picture: Some(Resolution {
                width: 1920,
                height: 1080,
            }),
            can_reduce: true,
            hdcp: Hdcp::Engaged {
                version: HdcpVersion::V2_2,
                stream_type: HdcpType::Type1,
            },
            ..Output::bare(Connector::Other, OutputKind::UncompressedDigitalVideo)
        };
        assert_eq!(typed.0, expected);
        let typed: TypedOutput = "analog-tv:cgms-a=3,agc=2".parse().unwrap();
        assert_eq!(typed.0.cgms_a, Some(CopyControl::NEVER));
        assert_eq!(typed.0.agc.number(), 2);
    }

    #[test]
    fn what_is_no_output_is_refused() {
        for typed in [
            "hdmi",
            "",
            "unknown:hdcp=2",
            "unknown:size=0x1",
            "unknown:size=1",
            "unknown:scms=4",
            "unknown:reduces=1",
            "unknown:loud",
        ] {
            assert!(typed.parse::<TypedOutput>().is_err(), "{typed}");
        }
    }
}
