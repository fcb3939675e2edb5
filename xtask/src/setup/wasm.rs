//! What the WebAssembly build needs beside the toolchain: a compiler whose standard library can be built for
//! it, and Node to run what was built.
//!
//! The toolchain has neither a standard library for that target nor the sources to build one. Debian keeps a
//! newer compiler for its browsers, with sources; it links with the linker of the toolchain.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::debian;
use crate::process::{self, command};

/// Debian's compiler. It stands behind the toolchain's on the search path, so nothing else uses it.
const COMPILER: &str = "/usr/bin/rustc";

const COMPILER_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// The compiler that the workspace asks for at least.
const LEAST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Where a sysroot keeps the sources of the standard library.
const STD_SOURCES: &str = "lib/rustlib/src/rust/library/std/Cargo.toml";

/// The programs.
pub(crate) struct WasmTools {
    /// A compiler that has the sources of its standard library.
    pub(crate) compiler: PathBuf,
    /// LLVM's linker.
    pub(crate) linker: PathBuf,
    /// Runs modules outside of a browser.
    pub(crate) node: PathBuf,
}

impl WasmTools {
    /// Finds the programs, and installs those that are missing.
    pub(crate) fn ensure() -> Result<Self> {
        let has_node = || process::succeeds(command("node").arg("--version"));
        let mut missing = Vec::new();
        if !compiler_serves() {
            missing.extend(COMPILER_PACKAGES);
        }
        if !has_node() {
            missing.push("nodejs");
        }
        if !missing.is_empty() {
            debian::install(&missing)?;
        }
        if !compiler_serves() {
            bail!(
                "{COMPILER} is older than Rust {LEAST}, or the sources of its standard library are missing, \
                 with the newest Debian packages {}",
                COMPILER_PACKAGES.join(" and ")
            );
        }
        if !has_node() {
            bail!("the Debian package nodejs was installed and does not run");
        }
        Ok(Self {
            compiler: COMPILER.into(),
            linker: linker()?,
            node: "node".into(),
        })
    }
}

/// Whether the compiler is there, new enough, and has the sources of its standard library.
fn compiler_serves() -> bool {
    let read = |args: &[&str]| process::read(command(COMPILER).args(args)).ok();
    let installed = read(&["--version"]).and_then(|printed| version(printed.split_whitespace().nth(1)?));
    let sysroot = read(&["--print", "sysroot"]);
    installed >= version(LEAST)
        && sysroot.is_some_and(|path| PathBuf::from(path.trim()).join(STD_SOURCES).is_file())
}

/// Major and minor number.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The linker that lies with the toolchain.
fn linker() -> Result<PathBuf> {
    let rustc = |args: &[&str]| process::read(command("rustc").args(args));
    let sysroot = rustc(&["--print", "sysroot"])?;
    let about = rustc(&["--version", "--verbose"])?;
    let host = about
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc does not say what it runs on")?;
    let linker = PathBuf::from(sysroot.trim()).join(format!("lib/rustlib/{host}/bin/rust-lld"));
    if !linker.is_file() {
        bail!("the toolchain has no linker {}", linker.display());
    }
    Ok(linker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(version("1.96.0"), Some((1, 96)));
        assert!(version("1.100.0-nightly") > version("1.96.0") && version("1.63.0") < version("1.95"));
        assert_eq!(version("unknown"), None);
        assert!(version(LEAST).is_some());
    }

    #[test]
    fn the_toolchain_has_the_linker() {
        assert!(linker().unwrap().is_file());
    }
}
