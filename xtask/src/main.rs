//! The chores of the tree, one word each: `cargo xtask <command>`.
//!
//! | command | does |
//! | --- | --- |
//! | `test` | installs what the tests need, then runs all of them |
//! | `peers` | installs what the tests need, and prints where it is: `eval "$(cargo xtask peers)"` |
//! | `check-arrows` | holds the crates against the arrows and invariants of ARCHITECTURE.md |
//! | `check-rules` | holds the rule ids of `spec/rules.md` against code and tests |
//! | `deny` | holds the dependencies against `deny.toml` |
//! | `fuzz` | runs every fuzz target for a few seconds |
//! | `wasm` | compiles the client's crates for WebAssembly, and holds them against vectors and corpora in Node |
//! | `ci` | all of the above with formatting, lints and documentation |
//!
//! It refuses arguments it does not know, and every check names each fault it found before it fails.

mod arrows;
mod ci;
mod deny;
mod fuzz;
mod process;
mod rules;
mod setup;
mod sources;
mod test;
mod tools;
mod wasm;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str =
    "usage: cargo xtask <test | peers | check-arrows | check-rules | deny | fuzz | wasm | ci>";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            process::say(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Result<()> {
    let [command] = args else {
        bail!("expected one command, found {}\n{USAGE}", args.len());
    };
    match command.as_str() {
        "test" => test::run(),
        "peers" => setup::print(),
        "check-arrows" => arrows::check(),
        "check-rules" => rules::check(),
        "deny" => deny::run(),
        "fuzz" => fuzz::run(),
        "wasm" => wasm::run(),
        "ci" => ci::run(),
        unknown => bail!("there is no command `{unknown}`\n{USAGE}"),
    }
}
