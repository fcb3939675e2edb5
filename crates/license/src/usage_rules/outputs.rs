//! where content may go.

use super::{
    Rule,
    output::{Output, OutputKind},
};
use crate::license::{
    AgcAndColourStripe, CopyControl, ExplicitRestriction, HdcpType, LicenseBody, OutputProtectionLevels,
    PlayEnabler, REDUCED_PIXELS,
};

/// Whether content may leave by an output. Ordered from the mildest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It may.
    Pass,
    /// It may, with at most [`REDUCED_PIXELS`] a frame.
    Reduced,
    /// It may not.
    Block,
}

/// The decision about one output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputDecision {
    /// Whether content may leave by it, as it is now.
    pub verdict: Verdict,
    /// The rule that decided: [`Rule::says`] tells people why.
    pub decided_by: Rule,
    /// What the host is to engage, or to try; the verdict may be another one then.
    pub engage: Protections,
}

/// What protects an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Protections {
    /// HDCP of this type.
    pub hdcp: Option<HdcpType>,
    /// This CGMS-A signal.
    pub cgms_a: Option<CopyControl>,
    /// This SCMS signal.
    pub scms: Option<CopyControl>,
    /// At least this much of AGC and colour stripe.
    pub agc: AgcAndColourStripe,
}

/// What a chain demands of outputs: each scale's highest level and every restriction's strictest value.
#[derive(Debug, Clone, Copy)]
pub struct OutputRules<'a> {
    chain: &'a [&'a LicenseBody],
    compressed_audio: u64,
    uncompressed_audio: u64,
    digital_video: u64,
    analog_video: u64,
    hdcp_type: Option<HdcpType>,
    cgms_a_required: Option<CopyControl>,
    cgms_a_best_effort: Option<CopyControl>,
    scms: Option<CopyControl>,
    agc: AgcAndColourStripe,
    digital_video_only: bool,
    internal_screen_only: bool,
    reduces_computer_monitor: bool,
    reduces_component: bool,
}

impl<'a> OutputRules<'a> {
    /// Takes the demands of a chain together.
    #[must_use]
    pub fn of(chain: &'a [&'a LicenseBody]) -> Self {
        let level = |scale: fn(&OutputProtectionLevels) -> Option<u64>| {
            let levels = chain
                .iter()
                .filter_map(|license| license.output_protection_levels);
            levels
                .filter_map(|levels| scale(&levels))
                .max()
                .unwrap_or_default()
        };
        let mut rules = Self {
            chain,
            compressed_audio: level(|levels| levels.compressed_digital_audio),
            uncompressed_audio: level(|levels| levels.uncompressed_digital_audio),
            digital_video: level(|levels| levels.uncompressed_digital_video),
            analog_video: level(|levels| levels.analog_video),
            hdcp_type: None,
            cgms_a_required: None,
            cgms_a_best_effort: None,
            scms: None,
            agc: AgcAndColourStripe::NONE,
            digital_video_only: false,
            internal_screen_only: false,
            reduces_computer_monitor: false,
            reduces_component: false,
        };
        super::explicit(chain).for_each(|restriction| rules.add(restriction));
        rules
    }

    fn add(&mut self, restriction: &ExplicitRestriction) {
        match *restriction {
            ExplicitRestriction::HdcpType(hdcp) => self.hdcp_type = self.hdcp_type.max(Some(hdcp)),
            ExplicitRestriction::CgmsARequired(control) => stricter(&mut self.cgms_a_required, control),
            ExplicitRestriction::CgmsABestEffort(control) => stricter(&mut self.cgms_a_best_effort, control),
            ExplicitRestriction::Scms(control) => stricter(&mut self.scms, control),
            ExplicitRestriction::AgcAndColourStripe(agc) => self.agc = self.agc.max(agc),
            ExplicitRestriction::DigitalVideoOnly => self.digital_video_only = true,
            ExplicitRestriction::InternalScreenOnly => self.internal_screen_only = true,
            ExplicitRestriction::AnalogComputerMonitor => self.reduces_computer_monitor = true,
            ExplicitRestriction::AnalogComponent => self.reduces_component = true,
            // no matter of outputs.
            ExplicitRestriction::Watermark(_) | ExplicitRestriction::MaximumDecodeResolution(_) => {}
        }
    }

    /// Decides about an output of a device of a security level.
    #[must_use]
    pub fn decide(&self, output: &Output, security_level: u64) -> OutputDecision {
        //
        if output.kind == OutputKind::BuiltIn {
            return OutputDecision {
                verdict: Verdict::Pass,
                decided_by: Rule::BuiltIn,
                engage: Protections::default(),
            };
        }
        let mut strictest = Strictest::of(self.by_kind(output, security_level));
        //
        let may_be_analog = output.kind.is_analog_picture() || output.kind == OutputKind::Unknown;
        if self.digital_video_only && may_be_analog {
            strictest.add((Rule::DigitalVideoOnly, Verdict::Block));
        }
        //
        if self.internal_screen_only && output.kind.is_picture() {
            strictest.add((Rule::InternalScreenOnly, Verdict::Block));
        }
        for said in self.by_restriction(output, security_level).into_iter().flatten() {
            strictest.add(said);
        }
        OutputDecision {
            verdict: strictest.verdict,
            decided_by: strictest.rule,
            engage: self.engage(output),
        }
    }

    /// The rule that every output of a kind has, and what it says.
    fn by_kind(&self, output: &Output, security_level: u64) -> Said {
        match output.kind {
            OutputKind::BuiltIn => (Rule::BuiltIn, Verdict::Pass),
            OutputKind::Unknown => (Rule::UnknownOutput, self.unknown(output, security_level)),
            OutputKind::Export(system) => (Rule::Export, pass_if(self.enables(system))),
            OutputKind::CompressedDigitalVideo => (Rule::CompressedDigitalVideo, Verdict::Block),
            OutputKind::UncompressedDigitalVideo => {
                let said = self.digital_video(output, security_level);
                (Rule::UncompressedDigitalVideo, said)
            }
            OutputKind::AnalogTelevision
            | OutputKind::AnalogComponent
            | OutputKind::AnalogComputerMonitor => (Rule::AnalogVideo, self.analog_video(output)),
            OutputKind::CompressedDigitalAudio => (
                Rule::CompressedDigitalAudio,
                pass_if(self.compressed_audio <= 100),
            ),
            OutputKind::UncompressedDigitalAudio => {
                (Rule::UncompressedDigitalAudio, self.digital_audio(output))
            }
            OutputKind::AnalogAudio => (Rule::AnalogAudio, pass_if(self.uncompressed_audio <= 300)),
        }
    }

    /// The rules of explicit restrictions that apply to the output, and what they say.
    fn by_restriction(&self, output: &Output, security_level: u64) -> [Option<Said>; 3] {
        let copy_control = |needed: CopyControl, signalled: Option<CopyControl>| {
            pass_if(signalled.is_some_and(|signal| signal.satisfies(needed)))
        };
        match output.kind {
            //
            OutputKind::UncompressedDigitalVideo => {
                let said = self
                    .hdcp_type
                    .map(|hdcp| (Rule::HdcpType, pass_if(output.hdcp.satisfies(hdcp))));
                [said, None, None]
            }
            kind if kind.is_analog_picture() => {
                // R-029; best effort only tries.
                let required = self.cgms_a_required.filter(|_| self.analog_video <= 150);
                let cgms_a = required.map(|needed| (Rule::CgmsA, copy_control(needed, output.cgms_a)));
                //
                let agc = self
                    .agc_applies(output)
                    .then(|| (Rule::AgcAndColourStripe, pass_if(output.agc >= self.agc)));
                [cgms_a, agc, self.reducing(output, security_level)]
            }
            //
            OutputKind::CompressedDigitalAudio | OutputKind::UncompressedDigitalAudio => {
                let said = self
                    .scms
                    .filter(|_| !output.hdcp.is_engaged())
                    .map(|needed| (Rule::Scms, copy_control(needed, output.scms)));
                [said, None, None]
            }
            _ => [None; 3],
        }
    }

    ///
    fn reducing(&self, output: &Output, security_level: u64) -> Option<Said> {
        match output.kind {
            OutputKind::AnalogComputerMonitor if self.reduces_computer_monitor => {
                Some((Rule::AnalogComputerMonitor, reduced(output, security_level)))
            }
            OutputKind::AnalogComponent if self.reduces_component => {
                Some((Rule::AnalogComponent, reduced(output, security_level)))
            }
            _ => None,
        }
    }

    ///
    fn unknown(&self, output: &Output, security_level: u64) -> Verdict {
        if security_level >= HARDWARE {
            Verdict::Block
        } else if self.enables(PlayEnabler::UNKNOWN_OUTPUT) {
            Verdict::Pass
        } else if self.enables(PlayEnabler::UNKNOWN_OUTPUT_REDUCED) {
            reduced(output, security_level)
        } else {
            Verdict::Block
        }
    }

    ///
    fn digital_video(&self, output: &Output, security_level: u64) -> Verdict {
        match self.digital_video {
            0..=250 => Verdict::Pass,
            251..=300 if output.hdcp.is_engaged() => Verdict::Pass,
            251..=270 => reduced(output, security_level),
            _ => Verdict::Block,
        }
    }

    ///
    fn analog_video(&self, output: &Output) -> Verdict {
        match self.analog_video {
            0..=150 => Verdict::Pass,
            151..=200 => pass_if(output.cgms_a == Some(CopyControl::NEVER)),
            _ => Verdict::Block,
        }
    }

    ///
    fn digital_audio(&self, output: &Output) -> Verdict {
        let never = output.scms == Some(CopyControl::NEVER);
        match self.uncompressed_audio {
            0..=200 => Verdict::Pass,
            201..=250 => pass_if(output.hdcp.is_engaged() || never),
            251..=300 => pass_if(output.hdcp.is_engaged()),
            _ => Verdict::Block,
        }
    }

    /// whether AGC and colour stripe is asked of the output. What R-032 reduces is small.
    fn agc_applies(&self, output: &Output) -> bool {
        let television = match output.kind {
            OutputKind::AnalogTelevision => !is_known_large(output),
            OutputKind::AnalogComponent => self.reduces_component || !is_known_large(output),
            _ => false,
        };
        television && self.agc > AgcAndColourStripe::NONE
    }

    /// Whether every license of the chain holds the enabler.
    fn enables(&self, enabler: PlayEnabler) -> bool {
        let has = |license: &&LicenseBody| license.play_enablers().contains(&enabler);
        !self.chain.is_empty() && self.chain.iter().all(has)
    }

    fn engage(&self, output: &Output) -> Protections {
        let none = Protections::default();
        match output.kind {
            OutputKind::UncompressedDigitalVideo => {
                let by_level = (201..=300).contains(&self.digital_video);
                let hdcp = self.hdcp_type.or(by_level.then_some(HdcpType::Type0));
                Protections { hdcp, ..none }
            }
            OutputKind::UncompressedDigitalAudio => {
                let level = self.uncompressed_audio;
                let never = (201..=250).contains(&level).then_some(CopyControl::NEVER);
                Protections {
                    hdcp: (201..=300).contains(&level).then_some(HdcpType::Type0),
                    scms: never.or(self.scms),
                    ..none
                }
            }
            OutputKind::CompressedDigitalAudio => Protections {
                scms: self.scms,
                ..none
            },
            kind if kind.is_analog_picture() => Protections {
                cgms_a: self.cgms_a_to_engage(),
                agc: if self.agc_applies(output) {
                    self.agc
                } else {
                    none.agc
                },
                ..none
            },
            _ => none,
        }
    }

    fn cgms_a_to_engage(&self) -> Option<CopyControl> {
        match self.analog_video {
            0..=100 => self.cgms_a_required.or(self.cgms_a_best_effort),
            101..=200 => Some(CopyControl::NEVER),
            _ => None,
        }
    }
}

/// A rule, and what it says.
type Said = (Rule, Verdict);

/// The strictest of what the rules say, and of those that say it the one with the lowest number.
struct Strictest {
    rule: Rule,
    verdict: Verdict,
}

impl Strictest {
    const fn of((rule, verdict): Said) -> Self {
        Self { rule, verdict }
    }

    fn add(&mut self, (rule, verdict): Said) {
        if verdict > self.verdict || verdict == self.verdict && rule < self.rule {
            *self = Self { rule, verdict };
        }
    }
}

/// Takes over a copy control value; another one than is there already makes it *copy never*.
fn stricter(into: &mut Option<CopyControl>, control: CopyControl) {
    *into = Some(match *into {
        Some(other) if other != control => CopyControl::NEVER,
        _ => control,
    });
}

const fn pass_if(holds: bool) -> Verdict {
    if holds { Verdict::Pass } else { Verdict::Block }
}

/// Reduced, or blocked where the host cannot reduce, and on a device with hardware security: what its hardware
/// shows, it shows protected or not at all.
fn reduced(output: &Output, security_level: u64) -> Verdict {
    let is_small = output
        .picture
        .is_some_and(|picture| picture.pixels() <= u64::from(REDUCED_PIXELS));
    if security_level < HARDWARE && (output.can_reduce || is_small) {
        Verdict::Reduced
    } else {
        Verdict::Block
    }
}

fn is_known_large(output: &Output) -> bool {
    output
        .picture
        .is_some_and(|picture| picture.pixels() > u64::from(REDUCED_PIXELS))
}

/// Security level from which on a device knows its outputs, and reduces nothing.
const HARDWARE: u64 = crate::certificate::SECURITY_LEVEL_HARDWARE;

#[cfg(test)]
mod tests;
