//! A few seconds of every fuzz target, from the committed corpora.
//!
//! Finds what a change broke at once; long runs are for a night. Inputs found here stay in
//! `target/fuzz/corpus`, a failing one in `fuzz/artifacts`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, env, root, say};
use crate::tools::{self, Tool};

/// Seconds for each target where `KEYWARD_FUZZ_SECONDS` says nothing else.
const SECONDS: u32 = 5;

/// Seconds after which a single input counts as hung.
const HANG: u32 = 10;

const CARGO_FUZZ: Tool = Tool {
    name: "cargo-fuzz",
    version: "0.13.2",
    build_time: "about 2 minutes",
};

/// Builds all targets and runs each; fails on the first finding, and when there is nothing to run.
pub(crate) fn run() -> Result<()> {
    if !root().join("fuzz/Cargo.toml").is_file() {
        bail!("FUZZ TARGETS: NOT RUN, fuzz/Cargo.toml does not exist");
    }
    let seconds = seconds()?;
    let program = tools::ensure(&CARGO_FUZZ)?;
    let listed = process::read(process::command(&program).args(["fuzz", "list"]))?;
    let targets: Vec<&str> = listed.split_whitespace().collect();
    if targets.is_empty() {
        bail!("FUZZ TARGETS: NOT RUN, fuzz/Cargo.toml names none");
    }
    process::run(&mut cargo_fuzz(&program, "build"))?;
    for target in &targets {
        smoke(&program, target, seconds).with_context(|| format!("fuzz target `{target}`"))?;
    }
    say(format!(
        "fuzz: {} targets ran {seconds} s each and found nothing",
        targets.len()
    ));
    Ok(())
}

fn smoke(program: &Path, target: &str, seconds: u32) -> Result<()> {
    let found = root().join("target/fuzz/corpus").join(target);
    std::fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let committed = root().join("fuzz/corpus").join(target);

    let mut command = cargo_fuzz(program, "run");
    // libFuzzer writes what it finds into the first folder only, so the committed corpus stays as it is.
    command.arg(target).arg(&found);
    if committed.is_dir() {
        command.arg(&committed);
    }
    command
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={HANG}"));
    process::run(&mut command)
}

/// The stable compiler takes the coverage flags with `RUSTC_BOOTSTRAP=1`. No address sanitizer: the crates
/// are safe Rust throughout, and overflow checks, debug assertions and panics are what a target can hit. No line
/// tables, which cargo-fuzz asks for: the standard library's are nine tenths of each of the many targets, and a panic
/// names its line without them.
fn cargo_fuzz(program: &Path, verb: &str) -> Command {
    let mut command = process::command(program);
    command
        .args(["fuzz", verb, "--sanitizer", "none", "--target-dir"])
        .arg(root().join("target/fuzz"));
    command
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Cdebuginfo=0 -Cstrip=debuginfo");
    command
}

fn seconds() -> Result<u32> {
    let Some(text) = env("KEYWARD_FUZZ_SECONDS") else {
        return Ok(SECONDS);
    };
    let number = text
        .to_str()
        .and_then(|text| text.parse().ok())
        .filter(|seconds| *seconds > 0);
    number.with_context(|| format!("KEYWARD_FUZZ_SECONDS is {text:?}, expected a number of seconds above 0"))
}
