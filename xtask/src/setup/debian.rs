//! Packages of Debian and its descendants.

use anyhow::{Result, bail};

use crate::process::{self, command, say};

/// Installs packages, and says which; through `sudo` for anybody but root. What would have to go for them stays,
/// and they are then not installed.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    let packages_named = packages.join(" ");
    if !process::succeeds(command("apt-get").arg("--version")) {
        bail!("the tests need {packages_named}: install it with your package manager");
    }
    say(format!("set-up: installing Debian packages: {packages_named}"));
    let mut prefix = vec!["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"];
    if process::read(command("id").arg("-u"))?.trim() != "0" {
        prefix.insert(0, "sudo");
    }
    apt_get(&prefix, &["update", "--quiet"])?;
    apt_get(
        &prefix,
        &[
            &["install", "--yes", "--no-install-recommends", "--no-remove"],
            packages,
        ]
        .concat(),
    )
}

fn apt_get(prefix: &[&str], args: &[&str]) -> Result<()> {
    let [program, rest @ ..] = prefix else {
        bail!("no program to install packages with");
    };
    process::run(command(program).args(rest).args(args))
}
