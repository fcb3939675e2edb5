//! where it may go.

use keyward_license::{
    license::{
        AgcAndColourStripe, CopyControl, ExplicitRestriction, HdcpType, LicenseBody, PlayEnabler, Resolution,
    },
    usage_rules::{Hdcp, HdcpVersion, Output, OutputKind, Protections, Verdict},
};

use super::{all_explicit, has};
use crate::generate::Case;

/// The strictest of what the rules say that apply, the rule of the lowest number that says it, and what to engage.
pub(super) fn decide(case: &Case, output: &Output) -> (Verdict, &'static str, Protections) {
    let mut decided: Option<(Verdict, &'static str)> = None;
    for (rule, says) in WHERE_IT_MAY_GO {
        let verdict = match says(case, output) {
            None => continue,
            Some(Verdict::Reduced) if case.security_level >= 3000 => Verdict::Block,
            Some(Verdict::Reduced) if !output.can_reduce && !is_known_small(output) => Verdict::Block,
            Some(verdict) => verdict,
        };
        if decided.is_none_or(|(so_far, _)| strictness(verdict) > strictness(so_far)) {
            decided = Some((verdict, rule));
        }
    }
    let (verdict, rule) = decided.unwrap_or((Verdict::Block, "no rule applies to the output"));
    (verdict, rule, engage(case, output))
}

fn strictness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Reduced => 1,
        Verdict::Block => 2,
    }
}

/// The rules of the second table, by number: each says what it says of an output that it applies to.
pub(super) const WHERE_IT_MAY_GO: [(&str, Says); 17] = [
    ("R-020", r_020),
    ("R-021", r_021),
    ("R-022", r_022),
    ("R-023", r_023),
    ("R-024", r_024),
    ("R-025", r_025),
    ("R-026", r_026),
    ("R-027", r_027),
    ("R-028", r_028),
    ("R-029", r_029),
    ("R-030", r_030),
    ("R-031", r_031),
    ("R-032", r_032),
    ("R-033", r_033),
    ("R-034", r_034),
    ("R-035", r_035),
    ("R-036", r_036),
];

type Says = fn(&Case, &Output) -> Option<Verdict>;

/// built-in passes.
fn r_020(_: &Case, output: &Output) -> Option<Verdict> {
    (output.kind == OutputKind::BuiltIn).then_some(Verdict::Pass)
}

/// internal screen only.
fn r_021(case: &Case, output: &Output) -> Option<Verdict> {
    let applies = is_picture(output) && has(case, &ExplicitRestriction::InternalScreenOnly);
    applies.then_some(Verdict::Block)
}

/// digital video only.
fn r_022(case: &Case, output: &Output) -> Option<Verdict> {
    let kind = is_analog_picture(output) || output.kind == OutputKind::Unknown;
    let applies = kind && has(case, &ExplicitRestriction::DigitalVideoOnly);
    applies.then_some(Verdict::Block)
}

/// unknown outputs and their two enablers.
fn r_023(case: &Case, output: &Output) -> Option<Verdict> {
    if output.kind != OutputKind::Unknown {
        return None;
    }
    if case.security_level >= 3000 {
        return Some(Verdict::Block);
    }
    if is_enabled(case, PlayEnabler::UNKNOWN_OUTPUT) {
        return Some(Verdict::Pass);
    }
    if is_enabled(case, PlayEnabler::UNKNOWN_OUTPUT_REDUCED) {
        return Some(Verdict::Reduced);
    }
    Some(Verdict::Block)
}

/// R-024: export needs the system's enabler.
fn r_024(case: &Case, output: &Output) -> Option<Verdict> {
    match output.kind {
        OutputKind::Export(system) => Some(pass_if(is_enabled(case, system))),
        _ => None,
    }
}

/// compressed digital video never leaves.
fn r_025(_: &Case, output: &Output) -> Option<Verdict> {
    (output.kind == OutputKind::CompressedDigitalVideo).then_some(Verdict::Block)
}

/// the level of uncompressed digital video.
fn r_026(case: &Case, output: &Output) -> Option<Verdict> {
    if output.kind != OutputKind::UncompressedDigitalVideo {
        return None;
    }
    Some(match digital_video_level(case) {
        0..=200 => Verdict::Pass,
        201..=250 => Verdict::Pass,
        251..=270 if has_hdcp(output) => Verdict::Pass,
        251..=270 => Verdict::Reduced,
        271..=300 => pass_if(has_hdcp(output)),
        301.. => Verdict::Block,
    })
}

/// the HDCP type.
fn r_027(case: &Case, output: &Output) -> Option<Verdict> {
    if output.kind != OutputKind::UncompressedDigitalVideo {
        return None;
    }
    match hdcp_type(case)? {
        HdcpType::Type0 => Some(pass_if(has_hdcp(output))),
        HdcpType::Type1 => Some(pass_if(match output.hdcp {
            Hdcp::Engaged {
                version: HdcpVersion { major, minor },
                stream_type,
            } => (major > 2 || major == 2 && minor >= 2) && stream_type == HdcpType::Type1,
            Hdcp::Off => false,
        })),
    }
}

/// the level of analog video.
fn r_028(case: &Case, output: &Output) -> Option<Verdict> {
    if !is_analog_picture(output) {
        return None;
    }
    Some(match analog_video_level(case) {
        0..=100 => Verdict::Pass,
        101..=150 => Verdict::Pass,
        151..=200 => pass_if(signals(output.cgms_a, CopyControl::NEVER)),
        201.. => Verdict::Block,
    })
}

/// CGMS-A.
fn r_029(case: &Case, output: &Output) -> Option<Verdict> {
    if !is_analog_picture(output) {
        return None;
    }
    let level = analog_video_level(case);
    if let Some(value) = cgms_a_required(case) {
        return (level <= 150).then(|| pass_if(signals(output.cgms_a, value)));
    }
    (cgms_a_best_effort(case).is_some() && level <= 100).then_some(Verdict::Pass)
}

/// AGC and colour stripe.
fn r_030(case: &Case, output: &Output) -> Option<Verdict> {
    let value = agc_and_colour_stripe(case)?;
    r_030_applies(case, output).then(|| pass_if(output.agc.number() >= value.number()))
}

fn r_030_applies(case: &Case, output: &Output) -> bool {
    let kind = matches!(
        output.kind,
        OutputKind::AnalogTelevision | OutputKind::AnalogComponent
    );
    let known_large = output.picture.is_some_and(|picture| pixels(picture) > 520_000);
    kind && (!known_large || r_032(case, output).is_some())
}

/// analog computer monitors.
fn r_031(case: &Case, output: &Output) -> Option<Verdict> {
    let applies = output.kind == OutputKind::AnalogComputerMonitor
        && has(case, &ExplicitRestriction::AnalogComputerMonitor);
    applies.then_some(Verdict::Reduced)
}

/// analog component outputs.
fn r_032(case: &Case, output: &Output) -> Option<Verdict> {
    let applies =
        output.kind == OutputKind::AnalogComponent && has(case, &ExplicitRestriction::AnalogComponent);
    applies.then_some(Verdict::Reduced)
}

/// the level of compressed digital audio.
fn r_033(case: &Case, output: &Output) -> Option<Verdict> {
    let applies = output.kind == OutputKind::CompressedDigitalAudio;
    applies.then(|| pass_if(compressed_audio_level(case) <= 100))
}

/// the level of uncompressed digital audio.
fn r_034(case: &Case, output: &Output) -> Option<Verdict> {
    if output.kind != OutputKind::UncompressedDigitalAudio {
        return None;
    }
    Some(match uncompressed_audio_level(case) {
        0..=200 => Verdict::Pass,
        201..=250 => pass_if(has_hdcp(output) || signals(output.scms, CopyControl::NEVER)),
        251..=300 => pass_if(has_hdcp(output)),
        301.. => Verdict::Block,
    })
}

/// analog audio.
fn r_035(case: &Case, output: &Output) -> Option<Verdict> {
    let applies = output.kind == OutputKind::AnalogAudio;
    applies.then(|| pass_if(uncompressed_audio_level(case) <= 300))
}

/// SCMS.
fn r_036(case: &Case, output: &Output) -> Option<Verdict> {
    let value = scms(case)?;
    let applies = matches!(
        output.kind,
        OutputKind::CompressedDigitalAudio | OutputKind::UncompressedDigitalAudio
    );
    applies.then(|| pass_if(signals(output.scms, value) || has_hdcp(output)))
}

/// The table of what the output is asked to engage.
fn engage(case: &Case, output: &Output) -> Protections {
    let mut engage = Protections::default();
    match output.kind {
        OutputKind::UncompressedDigitalVideo => {
            let by_level = (201..=300).contains(&digital_video_level(case));
            engage.hdcp = match hdcp_type(case) {
                Some(set) => Some(set),
                None => by_level.then_some(HdcpType::Type0),
            };
        }
        OutputKind::UncompressedDigitalAudio => {
            let level = uncompressed_audio_level(case);
            engage.hdcp = (201..=300).contains(&level).then_some(HdcpType::Type0);
            engage.scms = if (201..=250).contains(&level) {
                Some(CopyControl::NEVER)
            } else {
                scms(case)
            };
        }
        OutputKind::CompressedDigitalAudio => engage.scms = scms(case),
        OutputKind::AnalogTelevision | OutputKind::AnalogComponent | OutputKind::AnalogComputerMonitor => {
            engage.cgms_a = match (
                analog_video_level(case),
                cgms_a_required(case),
                cgms_a_best_effort(case),
            ) {
                (101..=200, _, _) => Some(CopyControl::NEVER),
                (0..=100, Some(required), _) => Some(required),
                (0..=100, None, Some(best_effort)) => Some(best_effort),
                _ => None,
            };
            if let (Some(value), true) = (agc_and_colour_stripe(case), r_030_applies(case, output)) {
                engage.agc = value;
            }
        }
        OutputKind::BuiltIn
        | OutputKind::CompressedDigitalVideo
        | OutputKind::AnalogAudio
        | OutputKind::Export(_)
        | OutputKind::Unknown => {}
    }
    engage
}

/// A picture output is any but the audio kinds and built-in.
fn is_picture(output: &Output) -> bool {
    !matches!(
        output.kind,
        OutputKind::BuiltIn
            | OutputKind::UncompressedDigitalAudio
            | OutputKind::CompressedDigitalAudio
            | OutputKind::AnalogAudio
    )
}

fn is_analog_picture(output: &Output) -> bool {
    matches!(
        output.kind,
        OutputKind::AnalogTelevision | OutputKind::AnalogComponent | OutputKind::AnalogComputerMonitor
    )
}

fn is_known_small(output: &Output) -> bool {
    output.picture.is_some_and(|picture| pixels(picture) <= 520_000)
}

fn has_hdcp(output: &Output) -> bool {
    matches!(output.hdcp, Hdcp::Engaged { .. })
}

/// Its value or *copy never*.
fn signals(signal: Option<CopyControl>, value: CopyControl) -> bool {
    signal.is_some_and(|signal| signal.number() == value.number() || signal.number() == 3)
}

fn pass_if(holds: bool) -> Verdict {
    if holds { Verdict::Pass } else { Verdict::Block }
}

/// A play enabler counts if every license of the chain has it.
fn is_enabled(case: &Case, enabler: PlayEnabler) -> bool {
    case.chain
        .iter()
        .all(|license| license.play_enablers.iter().flatten().any(|one| *one == enabler))
}

fn digital_video_level(case: &Case) -> u64 {
    let level = |license: &LicenseBody| license.output_protection_levels?.uncompressed_digital_video;
    case.chain.iter().filter_map(level).max().unwrap_or(0)
}

fn analog_video_level(case: &Case) -> u64 {
    let level = |license: &LicenseBody| license.output_protection_levels?.analog_video;
    case.chain.iter().filter_map(level).max().unwrap_or(0)
}

fn compressed_audio_level(case: &Case) -> u64 {
    let level = |license: &LicenseBody| license.output_protection_levels?.compressed_digital_audio;
    case.chain.iter().filter_map(level).max().unwrap_or(0)
}

fn uncompressed_audio_level(case: &Case) -> u64 {
    let level = |license: &LicenseBody| license.output_protection_levels?.uncompressed_digital_audio;
    case.chain.iter().filter_map(level).max().unwrap_or(0)
}

/// Of several types the higher.
fn hdcp_type(case: &Case) -> Option<HdcpType> {
    let types = all_explicit(case).filter_map(|restriction| match restriction {
        ExplicitRestriction::HdcpType(hdcp) => Some(*hdcp),
        _ => None,
    });
    types.max_by_key(|hdcp| hdcp.number())
}

fn cgms_a_required(case: &Case) -> Option<CopyControl> {
    of_one_guid(all_explicit(case).filter_map(|restriction| match restriction {
        ExplicitRestriction::CgmsARequired(value) => Some(*value),
        _ => None,
    }))
}

fn cgms_a_best_effort(case: &Case) -> Option<CopyControl> {
    of_one_guid(all_explicit(case).filter_map(|restriction| match restriction {
        ExplicitRestriction::CgmsABestEffort(value) => Some(*value),
        _ => None,
    }))
}

fn scms(case: &Case) -> Option<CopyControl> {
    of_one_guid(all_explicit(case).filter_map(|restriction| match restriction {
        ExplicitRestriction::Scms(value) => Some(*value),
        _ => None,
    }))
}

/// Copy control values of one GUID that differ count as *copy never*.
fn of_one_guid(values: impl Iterator<Item = CopyControl>) -> Option<CopyControl> {
    let mut numbers: Vec<u8> = values.map(CopyControl::number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    match numbers[..] {
        [] => None,
        [same] => CopyControl::from_number(same),
        _ => CopyControl::from_number(3),
    }
}

/// Of AGC and colour stripe the highest counts.
fn agc_and_colour_stripe(case: &Case) -> Option<AgcAndColourStripe> {
    let values = all_explicit(case).filter_map(|restriction| match restriction {
        ExplicitRestriction::AgcAndColourStripe(value) => Some(*value),
        _ => None,
    });
    values.max_by_key(|value| value.number())
}

fn pixels(size: Resolution) -> u128 {
    u128::from(size.width) * u128::from(size.height)
}
