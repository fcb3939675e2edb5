//! What `keyward admin root` and `keyward admin channel` take.

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Span, SpanRelativeTo};
use keyward_license::{ids::Kid, time::Timestamp};

use super::{
    OperatorDir,
    policy::{duration, time},
};

#[derive(Subcommand)]
pub(crate) enum RootCommand {
    /// Make a root; its key id is printed, and nothing else on standard output
    Create(CreateRootArgs),
    /// List roots
    List(OperatorDir),
    /// Show a root: the content and keys under it, and what is blacked out
    Show(RootArgs),
    /// Put content, or a single key, under a root; put there again, it is there with these crypto periods
    Put(PutArgs),
    /// Take content, or a single key, off a root: no new leaf licenses. Those that there are stay what they are
    Take(TakeArgs),
    /// Black out crypto periods of content: under this root they have no leaf license. To be said before they are
    /// packaged
    Blackout(BlackoutArgs),
    /// Lift a blackout
    LiftBlackout(LiftBlackoutArgs),
}

#[derive(Args)]
pub(crate) struct CreateRootArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// What it is called: a bundle, a subscription, a season. No other root has this name
    pub(crate) name: String,
    /// Key id, 32 hexadecimal digits [default: drawn]
    #[arg(long)]
    pub(crate) kid: Option<Kid>,
    /// Smallest security level of a device that gets it, whatever the policy says: 150, 2000 or 3000. No key for a
    /// higher one comes under it
    #[arg(long, value_name = "LEVEL")]
    pub(crate) level: Option<u64>,
    /// With a leaf license that a device asks for, give it the others along, at most 512: a season by its first episode
    #[arg(long)]
    pub(crate) accompany: bool,
}

#[derive(Args)]
pub(crate) struct RootArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// The root's name, or its key id
    pub(crate) name: String,
}

/// What comes under a root, or leaves it.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct UnderRootArgs {
    /// Content, by the content id that packagers give it
    #[arg(long, value_name = "ID")]
    pub(crate) content_id: Option<String>,
    /// A single key, by its key id
    #[arg(long)]
    pub(crate) kid: Option<Kid>,
}

#[derive(Args)]
pub(crate) struct PutArgs {
    #[command(flatten)]
    pub(crate) root: RootArgs,
    #[command(flatten)]
    pub(crate) what: UnderRootArgs,
    /// Of the content, the crypto periods from this index on [default: all, and content without]
    #[arg(long, value_name = "INDEX", conflicts_with = "kid")]
    pub(crate) from_period: Option<u64>,
    /// Of the content, the crypto periods below this index
    #[arg(long, value_name = "INDEX", conflicts_with = "kid")]
    pub(crate) to_period: Option<u64>,
}

#[derive(Args)]
pub(crate) struct TakeArgs {
    #[command(flatten)]
    pub(crate) root: RootArgs,
    #[command(flatten)]
    pub(crate) what: UnderRootArgs,
}

#[derive(Args)]
pub(crate) struct BlackoutArgs {
    #[command(flatten)]
    pub(crate) root: RootArgs,
    /// The content, by the content id that packagers give it
    #[arg(long, value_name = "ID")]
    pub(crate) content_id: String,
    /// Index of the first crypto period that is blacked out
    #[arg(long, value_name = "INDEX")]
    pub(crate) from_period: u64,
    /// Index of the first that is not any more [default: never]
    #[arg(long, value_name = "INDEX")]
    pub(crate) to_period: Option<u64>,
}

#[derive(Args)]
pub(crate) struct LiftBlackoutArgs {
    #[command(flatten)]
    pub(crate) root: RootArgs,
    /// Number of the blackout
    #[arg(value_name = "ID")]
    pub(crate) blackout: i64,
}

#[derive(Subcommand)]
pub(crate) enum ChannelCommand {
    /// Say how the crypto periods of content lie in time, or say so anew: devices are told when to ask for the next
    Create(CreateChannelArgs),
    /// List channels
    List(OperatorDir),
}

#[derive(Args)]
pub(crate) struct CreateChannelArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// The content, by the content id that packagers give it
    #[arg(value_name = "CONTENT_ID")]
    pub(crate) content_id: String,
    /// How long a crypto period is, in whole seconds, as in `2s`, `1h`
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) period: u64,
    /// When the crypto period of index 0 begins, as in `2030-12-31T23:00:00Z` [default: the periods follow no clock,
    /// and devices are told nothing]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) anchor: Option<Timestamp>,
    /// Over how long from the beginning of the last period that a device has its request for the next is drawn: at
    /// most three quarters of a period [default: half a period]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) renewal_spread: Option<u64>,
}

/// How long crypto periods are in the media: seconds, or as in `2s`, `1920ms`.
pub(super) fn crypto_period(text: &str) -> Result<Duration, String> {
    let of_span = |span: Span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok();
    let given = match text.parse() {
        Ok(seconds) => Some(SignedDuration::from_secs(seconds)),
        Err(_) => text.parse().ok().and_then(of_span),
    };
    given
        .and_then(|given| Duration::try_from(given).ok())
        .filter(|given| !given.is_zero())
        .ok_or_else(|| "give seconds, or a duration as in `2s`, `1920ms`, `1h`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crypto_periods_are_read_to_the_millisecond() {
        for (text, milliseconds) in [("2", 2000), ("2s", 2000), ("1920ms", 1920), ("1h 30m", 5_400_000)] {
            assert_eq!(
                crypto_period(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in ["", "0", "0ms", "-2s", "soon", "1 month"] {
            assert!(crypto_period(text).is_err(), "{text}");
        }
    }
}
