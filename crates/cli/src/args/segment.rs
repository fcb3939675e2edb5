//! What `keyward segment` takes.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub(crate) struct SegmentArgs {
    /// An MP4 in fragments, as `keyward package` writes it; no pipe
    pub(crate) file: PathBuf,
    /// The folder for `init.mp4`, `segment-00001.m4s` and those that follow. It must not be there yet, and appears when all
    /// of them are written
    #[arg(long, short, value_name = "FOLDER")]
    pub(crate) output: PathBuf,
}
