//! Cargo's own helpers at pinned versions, built once into a cache outside the tree.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::process::{self, env, say};

/// A program that `cargo install` provides.
pub(crate) struct Tool {
    /// Package and program name.
    pub(crate) name: &'static str,
    /// Exact version; it is raised by hand.
    pub(crate) version: &'static str,
    /// How long a cold build takes, for the person who waits.
    pub(crate) build_time: &'static str,
}

/// Path of the tool: from the search path if that has the pinned version, else from the cache, else built.
pub(crate) fn ensure(tool: &Tool) -> Result<PathBuf> {
    if is_pinned(tool, &PathBuf::from(tool.name)) {
        return Ok(tool.name.into());
    }
    let home = cache()?.join(format!("{}-{}", tool.name, tool.version));
    let program = home.join("bin").join(tool.name);
    if !is_pinned(tool, &program) {
        say(format!(
            "set-up: building {} {} into {} (takes {})",
            tool.name,
            tool.version,
            home.display(),
            tool.build_time
        ));
        let mut install = process::cargo();
        install
            .args([
                "install",
                "--locked",
                "--force",
                "--version",
                tool.version,
                "--root",
            ])
            .arg(&home);
        process::run(install.arg(tool.name))?;
    }
    Ok(program)
}

fn is_pinned(tool: &Tool, program: &PathBuf) -> bool {
    process::read(process::command(program).arg("--version"))
        .is_ok_and(|printed| printed.split_whitespace().any(|word| word == tool.version))
}

fn cache() -> Result<PathBuf> {
    let base = match (env("XDG_CACHE_HOME"), env("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => PathBuf::from(home).join(".cache"),
        (None, None) => {
            return Err(anyhow::anyhow!("neither XDG_CACHE_HOME nor HOME is set"))
                .context("cannot tell where to keep the tools of the checks");
        }
    };
    Ok(base.join("keyward").join("tools"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARGO: Tool = Tool {
        name: "cargo",
        version: "0.0.0",
        build_time: "never",
    };

    #[test]
    fn another_version_of_a_tool_does_not_pass() {
        assert!(!is_pinned(&CARGO, &PathBuf::from("cargo")));
    }

    #[test]
    fn the_pinned_version_passes() {
        let printed = process::read(process::command("cargo").arg("--version")).unwrap();
        let version: &'static str = printed.split_whitespace().nth(1).unwrap().to_owned().leak();
        assert!(is_pinned(&Tool { version, ..CARGO }, &PathBuf::from("cargo")));
    }
}
