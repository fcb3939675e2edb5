//! What `keyward danger` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Subcommand)]
pub(crate) enum DangerCommand {
    /// Decrypt a protected MP4 with raw keys: no license, no rules, no record
    Decrypt(DecryptArgs),
}

#[derive(Args)]
pub(crate) struct DecryptArgs {
    /// The protected MP4; of several files, each goes on where the one before it ends (an initialisation
    /// segment, then media segments)
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Content keys, each 32 hexadecimal digits, by key id; `*` stands for every other key id. Whoever
    /// can list this machine's processes sees them here: name a file instead
    #[arg(
        long,
        value_name = "KID:KEY",
        value_delimiter = ',',
        required_unless_present = "keys_file"
    )]
    pub(crate) keys: Vec<String>,
    /// A file of such pairs, with commas, spaces or line ends between them
    #[arg(long, value_name = "FILE")]
    pub(crate) keys_file: Option<PathBuf>,
    /// Print the MD5 of each clear sample of a track, in decoding order, one a line
    #[arg(long, requires = "track", conflicts_with = "output")]
    pub(crate) md5: bool,
    /// Which track: the first one of this kind
    #[arg(long, value_enum, requires = "md5")]
    pub(crate) track: Option<TrackChoice>,
    /// Where the clear file goes; `-` is standard output [default: -]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace the output if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

/// A kind of track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TrackChoice {
    /// Pictures
    Video,
    /// Sound
    Audio,
}
