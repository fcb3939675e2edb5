//! All tests of the workspace: set-up, documentation examples, unit and integration tests with the peers.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, cargo, env, root, say};
use crate::setup::Peers;

const NO_VECTORS: &str = "*** conformance suite: NOT RUN, set KEYWARD_VECTORS ***";

/// Installs what is missing and runs every test there is.
pub(crate) fn run() -> Result<()> {
    let peers = Peers::ensure()?;
    let vectors = vectors()?;
    say_about(vectors.as_ref());
    let with_peers = |command: &mut Command| {
        command.envs(peers.variables());
        if let Some(folder) = &vectors {
            command.env("KEYWARD_VECTORS", folder);
        }
        process::run(command)
    };
    let examples = with_peers(cargo().args(["test", "--workspace", "--doc", "--quiet"]));
    let tests = with_peers(&mut runner());
    say_about(vectors.as_ref());
    examples.and(tests)
}

/// nextest where it is installed, else cargo's own runner.
fn runner() -> Command {
    let mut command = cargo();
    if process::succeeds(cargo().args(["nextest", "--version"])) {
        command.args(["nextest", "run", "--workspace"]);
        if env("CI").is_some() {
            command.args(["--profile", "ci"]);
        }
    } else {
        command.args([
            "test",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--examples",
            "--no-fail-fast",
        ]);
    }
    command
}

/// Folder of third-party vectors: what `KEYWARD_VECTORS` says, else the one beside the tree, else none.
fn vectors() -> Result<Option<OsString>> {
    if let Some(folder) = env("KEYWARD_VECTORS") {
        if !PathBuf::from(&folder).is_dir() {
            bail!("KEYWARD_VECTORS names {}, which is no folder", folder.display());
        }
        return Ok(Some(folder));
    }
    let beside = root().join("../shared/vectors");
    if !beside.is_dir() {
        return Ok(None);
    }
    let found = beside
        .canonicalize()
        .with_context(|| format!("cannot resolve {}", beside.display()))?;
    Ok(Some(found.into_os_string()))
}

fn say_about(vectors: Option<&OsString>) {
    match vectors {
        Some(folder) => say(format!("conformance suite: vectors from {}", folder.display())),
        None => say(NO_VECTORS),
    }
}
