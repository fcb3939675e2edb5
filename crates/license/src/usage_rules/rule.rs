//! The rules' numbers, and the refusals.

use crate::{
    license::{Guid, Resolution},
    time::Timestamp,
};

/// Declares [`Rule`]: a variant, its number in `spec/rules.md`, and what it says, in one line.
macro_rules! rules {
    ($( $(#[$doc:meta])* $name:ident = $number:literal, $says:literal; )*) => {
        /// A usage rule. It prints as its number in `spec/rules.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Rule { $( $(#[$doc])* $name ),* }

        impl Rule {
            /// Every rule, by number.
            pub const ALL: &[Self] = &[ $( Self::$name ),* ];

            /// The rule's number in `spec/rules.md`.
            #[must_use]
            pub const fn number(self) -> &'static str {
                match self { $( Self::$name => $number ),* }
            }

            /// What the rule says, in one line for people.
            #[must_use]
            pub const fn says(self) -> &'static str {
                match self { $( Self::$name => $says ),* }
            }
        }
    };
}

rules! {
    /// the right is granted.
    Right = "R-001", "the license grants the right";
    /// the security level suffices.
    SecurityLevel = "R-002", "the device's security level is at least the license's minimum";
    /// a time limit needs a clock.
    Clock = "R-003", "a license that is limited in time needs a clock that may be used";
    /// not before the begin.
    Begin = "R-004", "the license is not used before it begins";
    /// not from the end on.
    End = "R-005", "the license is not used after its end and grace period";
    /// the rules of the source are followed.
    Source = "R-006", "content of a restricted source needs a host that follows the source's rules";
    /// a restriction that must be understood is.
    MustUnderstand = "R-007", "an extended restriction that must be understood is understood";
    /// a restriction that must be engaged can be.
    Engage = "R-008", "an extended restriction that is not best effort can be carried out";
    /// the watermark is embedded.
    Watermark = "R-009", "the host embeds the watermark that is demanded";
    /// the frame fits.
    DecodeResolution = "R-011", "no frame larger than the license's maximum is decoded";
    /// not from the expiration after first play on.
    FirstPlay = "R-012", "the license is not used once its time after first play is over";
    /// the license has ended and is in its grace period.
    Grace = "R-013", "within the grace period the license may be used, and a new one is to be asked for";
    /// expiration stops a playback.
    RealTime = "R-014", "a real-time expiration stops a playback too";
    /// the license ends with a revocation of the device.
    Revocation = "R-015", "a license that ends with revocation is not used by a revoked device";
    /// built-in screens and speakers pass.
    BuiltIn = "R-020", "a built-in screen or speaker is no way out";
    /// the picture stays on the built-in screen.
    InternalScreenOnly = "R-021", "the picture stays on the built-in screen";
    /// no analog video.
    DigitalVideoOnly = "R-022", "the picture leaves by digital outputs only";
    /// unknown outputs need an enabler.
    UnknownOutput = "R-023", "an unknown output needs a play enabler, and a device below hardware security";
    /// exports need their enabler.
    Export = "R-024", "an export needs the play enabler of its system";
    /// compressed video never leaves.
    CompressedDigitalVideo = "R-025", "decrypted compressed video never leaves";
    /// the level of uncompressed digital video.
    UncompressedDigitalVideo = "R-026", "the level of uncompressed digital video says whether HDCP is needed";
    /// the HDCP type.
    HdcpType = "R-027", "digital video needs HDCP of the type that the license sets";
    /// the level of analog video.
    AnalogVideo = "R-028", "the level of analog video says whether CGMS-A is needed";
    /// the CGMS-A signal.
    CgmsA = "R-029", "analog video carries the CGMS-A signal that the license sets";
    /// AGC and colour stripe.
    AgcAndColourStripe = "R-030", "analog television carries AGC and colour stripe as the license sets";
    /// analog computer monitors are reduced.
    AnalogComputerMonitor = "R-031", "analog computer monitors get a reduced picture";
    /// analog component outputs are reduced.
    AnalogComponent = "R-032", "analog component outputs get a reduced picture";
    /// the level of compressed digital audio.
    CompressedDigitalAudio = "R-033", "the level of compressed digital audio says whether it may leave";
    /// the level of uncompressed digital audio.
    UncompressedDigitalAudio = "R-034", "the level of uncompressed digital audio says what protects it";
    /// analog and USB audio.
    AnalogAudio = "R-035", "analog audio leaves up to level 300 of uncompressed digital audio";
    /// the SCMS signal.
    Scms = "R-036", "digital audio carries the SCMS signal that the license sets, or HDCP";
}

impl core::fmt::Display for Rule {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.number())
    }
}

/// Why a license does not permit an action now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// the right is not granted.
    #[error("the license does not grant this right")]
    RightNotGranted,
    /// the device's security level is too low.
    #[error("the license needs security level {needed}, this device has {actual}")]
    SecurityLevelTooLow {
        /// The license's minimum.
        needed: u64,
        /// The device's level.
        actual: u64,
    },
    /// the license is limited in time and there is no clock that may be used.
    #[error("the license is limited in time and the clock cannot be used")]
    NoUsableClock,
    /// the license is not valid yet.
    #[error("the license is not valid yet")]
    NotYetValid {
        /// When it will be.
        begin: Timestamp,
    },
    /// the license has ended.
    #[error("the license has ended")]
    Ended {
        /// When it did, grace period included.
        end: Timestamp,
    },
    /// the device was revoked.
    #[error("this device was revoked, and the license ends with that")]
    DeviceRevoked,
    /// the content comes from a source whose rules the host does not follow.
    #[error("the content comes from source {id}, whose rules this player does not follow")]
    SourceNotFollowed {
        /// The source id.
        id: u64,
    },
    /// an extended restriction must be understood and is not.
    #[error("the license holds restriction {kind}, which this player does not understand")]
    RestrictionNotUnderstood {
        /// The restriction's kind.
        kind: u64,
    },
    /// an extended restriction cannot be carried out.
    #[error("the license holds restriction {kind}, which this player cannot carry out now")]
    RestrictionNotEngaged {
        /// The restriction's kind.
        kind: u64,
    },
    /// a watermark is demanded that the host does not embed.
    #[error("the license demands a watermark of {technology}, which this player does not embed")]
    WatermarkNotEmbedded {
        /// The technology.
        technology: Guid,
    },
    /// the frame is larger than may be decoded.
    #[error(
        "the picture has {}x{} pixels, the license permits {}x{}",
        frame.width, frame.height, largest.width, largest.height
    )]
    FrameTooLarge {
        /// The frame's size.
        frame: Resolution,
        /// The license's maximum.
        largest: Resolution,
    },
    /// the time after first play is over.
    #[error("the license's time after first play is over")]
    FirstPlayExpired {
        /// When it was.
        at: Timestamp,
    },
}

impl Refusal {
    /// The rule that decided.
    #[must_use]
    pub const fn rule(&self) -> Rule {
        match self {
            Self::RightNotGranted => Rule::Right,
            Self::SecurityLevelTooLow { .. } => Rule::SecurityLevel,
            Self::NoUsableClock => Rule::Clock,
            Self::NotYetValid { .. } => Rule::Begin,
            Self::Ended { .. } => Rule::End,
            Self::DeviceRevoked => Rule::Revocation,
            Self::SourceNotFollowed { .. } => Rule::Source,
            Self::RestrictionNotUnderstood { .. } => Rule::MustUnderstand,
            Self::RestrictionNotEngaged { .. } => Rule::Engage,
            Self::WatermarkNotEmbedded { .. } => Rule::Watermark,
            Self::FrameTooLarge { .. } => Rule::DecodeResolution,
            Self::FirstPlayExpired { .. } => Rule::FirstPlay,
        }
    }

    /// When time alone makes it another answer; never, if absent.
    #[must_use]
    pub const fn changes_at(&self) -> Option<Timestamp> {
        match self {
            Self::NotYetValid { begin } => Some(*begin),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_in_the_order_of_their_numbers() {
        let numbers: Vec<_> = Rule::ALL.iter().map(|rule| rule.number()).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    }

    #[test]
    fn refusals_name_their_rule_and_say_why() {
        let size = |width, height| Resolution { width, height };
        let refusals = [
            Refusal::RightNotGranted,
            Refusal::SecurityLevelTooLow {
                needed: 3000,
                actual: 150,
            },
            Refusal::NoUsableClock,
            Refusal::NotYetValid { begin: Timestamp(1) },
            Refusal::Ended { end: Timestamp(1) },
            Refusal::SourceNotFollowed { id: 267 },
            Refusal::RestrictionNotUnderstood { kind: 400 },
            Refusal::RestrictionNotEngaged { kind: 401 },
            Refusal::WatermarkNotEmbedded {
                technology: Guid::new([1; 16]),
            },
            Refusal::FrameTooLarge {
                frame: size(3840, 2160),
                largest: size(1920, 1080),
            },
            Refusal::FirstPlayExpired { at: Timestamp(1) },
            Refusal::DeviceRevoked,
        ];
        let lines: Vec<_> = refusals
            .iter()
            .map(|refusal| format!("{} {refusal}", refusal.rule()))
            .collect();
        assert_eq!(
            lines.join("\n"),
            "R-001 the license does not grant this right\n\
            R-002 the license needs security level 3000, this device has 150\n\
            R-003 the license is limited in time and the clock cannot be used\n\
            R-004 the license is not valid yet\n\
            R-005 the license has ended\n\
            R-006 the content comes from source 267, whose rules this player does not follow\n\
            R-007 the license holds restriction 400, which this player does not understand\n\
            R-008 the license holds restriction 401, which this player cannot carry out now\n\
            R-009 the license demands a watermark of 01010101-0101-0101-0101-010101010101, which this player does not embed\n\
            R-011 the picture has 3840x2160 pixels, the license permits 1920x1080\n\
            R-012 the license's time after first play is over\n\
            R-015 this device was revoked, and the license ends with that"
        );
    }
}
