//! The dependencies against `deny.toml`: bans, licences and sources.
//!
//! Advisories need a database that is fetched from a git host, so they are asked for where a network
//! allows it (`cargo deny check advisories`) and not here.

use anyhow::Result;

use crate::process;
use crate::tools::{self, Tool};

const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    build_time: "about 8 minutes",
};

/// Fails when a dependency is banned, doubled, unlicensed or from elsewhere.
pub(crate) fn run() -> Result<()> {
    let program = tools::ensure(&CARGO_DENY)?;
    process::run(process::command(program).args(["--locked", "check", "bans", "licenses", "sources"]))
}
