//! The client's crates as WebAssembly: they compile, and what they answer in Node is what the vectors and
//! corpora say.
//!
//! It is the one target of theirs whose `usize` has 32 bits, where a panic ends the program, and where all
//! cryptography is the portable one.

use std::process::Command;

use anyhow::{Context, Result};

use crate::arrows;
use crate::process::{self, cargo, command, root};
use crate::setup::WasmTools;

const TARGET: &str = "wasm32-unknown-unknown";

/// From the top of the tree, for this target alone: its standard library takes a minute to build.
const TARGET_FOLDER: &str = "target/wasm";

/// The module that the host calls, a workspace of its own.
const TESTS: &str = "tests-wasm";

/// Quick to build, and the sums are still checked: a release is another build.
const PROFILE: [(&str, &str); 4] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true"),
];

/// Builds the crates as a client would have them, then the module with vectors and fuzz targets, and runs it.
pub(crate) fn run() -> Result<()> {
    let tools = WasmTools::ensure()?;
    let mut crates = build(&tools);
    crates.arg("--locked");
    for name in arrows::SANS_IO {
        crates.args(["--package", name]);
    }
    process::run(&mut crates)?;

    // The same versions of everything: cargo takes from a lock file what it needs.
    std::fs::copy(root().join("Cargo.lock"), root().join(TESTS).join("Cargo.lock"))
        .with_context(|| format!("cannot copy Cargo.lock to {TESTS}"))?;
    process::run(
        build(&tools)
            .arg("--manifest-path")
            .arg(format!("{TESTS}/Cargo.toml")),
    )?;

    let module = format!("{TARGET_FOLDER}/{TARGET}/release/keyward_tests_wasm.wasm");
    process::run(command(&tools.node).arg(format!("{TESTS}/run.mjs")).arg(module))
}

/// Building the standard library is an unstable feature of cargo, which a stable one offers with
/// `RUSTC_BOOTSTRAP=1` alone. It is built without its backtraces: Node shows the stack of a trap.
fn build(tools: &WasmTools) -> Command {
    let mut command = cargo();
    command.args(["build", "--release", "--target", TARGET]);
    command.args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features="]);
    command.arg("--target-dir").arg(root().join(TARGET_FOLDER));
    command.envs(PROFILE);
    command.env("RUSTC", &tools.compiler);
    command.env("RUSTC_BOOTSTRAP", "1");
    command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", &tools.linker);
    command
}
