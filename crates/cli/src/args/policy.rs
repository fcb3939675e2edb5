//! Policies and what is granted under them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::{Span, SpanRelativeTo};
use keyward_license::{ids::Kid, time::Timestamp};

use super::OperatorDir;

#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// List the presets, each with what it is for
    Presets,
    /// Write a policy of a preset's terms, or of some that differ from them
    Preset(PresetArgs),
    /// Write a policy of terms alone; without any, licenses may be stored and never end
    Write(WritePolicyArgs),
    /// List policies, each in its newest version
    List(OperatorDir),
    /// Show the terms of a policy, as JSON
    Show(ShowPolicyArgs),
}

#[derive(Args)]
pub(crate) struct PresetArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// Name of the preset, see `keyward admin policy presets`
    pub(crate) preset: String,
    /// The policy's name [default: the preset's]
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) terms: TermsArgs,
}

#[derive(Args)]
pub(crate) struct WritePolicyArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// The policy's name; a new version replaces the old one for new licenses
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) terms: TermsArgs,
}

#[derive(Args)]
pub(crate) struct ShowPolicyArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// The policy's name
    pub(crate) name: String,
    /// Which version [default: the newest]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) version: Option<u64>,
}

/// Terms by their flags. Durations are seconds, or as in `48h`, `30d`, `1h 30m`.
#[derive(Args)]
pub(crate) struct TermsArgs {
    /// JSON file of terms (`-`: standard input); flags count before it, and `null` takes a term of the preset away
    #[arg(long, value_name = "FILE")]
    pub(crate) terms: Option<PathBuf>,
    /// When a license begins, counted from its issue; before it, if negative. As in `90`, `48h`, `30d`
    #[arg(long, value_name = "DURATION", value_parser = offset, allow_hyphen_values = true)]
    pub(crate) begin_after: Option<i64>,
    /// How long a license lasts, from its issue or begin, whichever is later
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) duration: Option<u64>,
    /// When licenses end at the latest, as in `2030-12-31T23:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) end: Option<Timestamp>,
    /// How long a license lasts from the first play on
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) first_play: Option<u64>,
    /// How long a license may be used after its end, while the client asks for a new one
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) grace: Option<u64>,
    /// What ends a license stops a playback as well
    #[arg(long)]
    pub(crate) real_time: bool,
    /// Licenses in memory only
    #[arg(long)]
    pub(crate) in_memory: bool,
    /// Devices write licenses into the content that they are for, where room was reserved for them
    #[arg(long)]
    pub(crate) embed: bool,
    /// Smallest security level of a device: 150, 2000 or 3000
    #[arg(long, value_name = "LEVEL")]
    pub(crate) minimum_security_level: Option<u64>,
}

#[derive(Args)]
pub(crate) struct GrantArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// The account; made if it is new
    #[arg(long)]
    pub(crate) account: String,
    /// Key id, 32 hexadecimal digits
    #[arg(long, required_unless_present_any = ["root", "all"], conflicts_with_all = ["root", "all"])]
    pub(crate) kid: Option<Kid>,
    /// Everything under a root: its name, or its key id
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    pub(crate) root: Option<String>,
    /// Every key of content of the operator, and every root, present and future; an exchange key is named
    #[arg(long)]
    pub(crate) all: bool,
    /// Name of the policy for its licenses
    #[arg(long, default_value = "default")]
    pub(crate) policy: String,
    /// When the entitlement ends, and its licenses at the latest, as in `2030-12-31T23:00:00Z` [default: never]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) expires: Option<Timestamp>,
}

#[derive(Args)]
pub(crate) struct GrantsArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// The account
    pub(crate) account: String,
}

#[derive(Args)]
pub(crate) struct EndGrantArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// Number of the entitlement
    #[arg(value_name = "ID")]
    pub(crate) entitlement: i64,
}

fn offset(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let span: Span = text.parse().map_err(|_| DURATION.to_owned())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours());
    duration
        .map(|duration| duration.as_secs())
        .map_err(|_| DURATION.to_owned())
}

pub(super) fn duration(text: &str) -> Result<u64, String> {
    u64::try_from(offset(text)?).map_err(|_| "a duration is not negative".to_owned())
}

pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Timestamp(seconds));
    }
    let at: jiff::Timestamp = text.parse().map_err(|_| TIME.to_owned())?;
    u64::try_from(at.as_second())
        .map(Timestamp)
        .map_err(|_| TIME.to_owned())
}

const DURATION: &str = "give seconds, or weeks, days, hours, minutes as in `48h`, `30d`, `1h 30m`";
const TIME: &str = "give a time with its zone as in `2030-12-31T23:00:00Z`, from 1970 on";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("0", 0),
            ("90", 90),
            ("48h", 172_800),
            ("30d", 2_592_000),
            ("2 weeks", 1_209_600),
            ("1h 30m", 5400),
            ("PT5M", 300),
        ] {
            assert_eq!(duration(text), Ok(seconds), "{text}");
        }
        assert_eq!((offset("-300"), offset("-5m")), (Ok(-300), Ok(-300)));
        for text in ["", "soon", "1 month", "-5m", "1e3", "99999999999999999999"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(time("2030-12-31T23:00:00Z"), Ok(Timestamp(1_924_988_400)));
        assert_eq!(time("2030-12-31T23:00:00+01:00"), Ok(Timestamp(1_924_984_800)));
        assert_eq!(time("1900000000"), Ok(Timestamp(1_900_000_000)));
        for text in ["2030-12-31", "1969-12-31T00:00:00Z", "tomorrow", "-1"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
