//! Asking the usage rules.

use clap::Args;
use keyward_license::time::Timestamp;

use super::{ClientDir, policy::time};
use crate::commands::explain::outputs::TypedOutput;

#[derive(Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) client: ClientDir,
    /// Protected file, protected MP4, key id, license id, or a license in a file
    #[arg(value_name = "FILE|KID|LICENSE")]
    pub(crate) target: String,
    /// Judge at this time in the place of now, as in `2030-12-31T23:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) at: Option<Timestamp>,
    /// Judge a device of this security level in the place of this one
    #[arg(long, value_name = "LEVEL")]
    pub(crate) level: Option<u64>,
    /// Judge with this output, KIND[:PROPERTY,…]; may be given again. Without it, as `play` does: where content
    /// goes is not known
    ///
    /// Kinds: built-in, digital-video, compressed-video, analog-tv, analog-component, analog-monitor, digital-audio,
    /// compressed-audio, analog-audio, airplay, unknown. Properties: hdcp=0 or hdcp=1 (stream type), size=WxH,
    /// reduces, cgms-a=0…3, scms=0…3, agc=0…3.
    #[arg(long, value_name = "OUTPUT")]
    pub(crate) output: Vec<TypedOutput>,
    /// Ask for the extended right of this number in the place of the right to play
    #[arg(long, value_name = "KIND")]
    pub(crate) right: Option<u64>,
}
