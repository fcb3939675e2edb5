//! Everything a change has to pass, in one run, with the time each step took.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process::{self, cargo, command, root, say};
use crate::{arrows, deny, fuzz, rules, test, wasm};

type Step = fn() -> Result<()>;

/// Quick checks first. All run, so that one run names all faults.
const STEPS: [(&str, Step); 10] = [
    ("formatting", formatting),
    ("arrows", arrows::check),
    ("rules", rules::check),
    ("lints", lints),
    ("wasm", wasm::run),
    ("documentation", documentation),
    ("dependencies", deny::run),
    ("fuzz smoke", fuzz::run),
    ("tests", test::run),
    ("tree clean", tree_clean),
];

/// Runs all steps, prints a table, and fails if any of them did.
pub(crate) fn run() -> Result<()> {
    let mut report = Vec::new();
    for (name, step) in STEPS {
        say(format!("\n=== {name} ==="));
        let started = now();
        let outcome = step();
        if let Err(error) = &outcome {
            say(format!("error: {name}: {error:#}"));
        }
        report.push((name, outcome.is_ok(), started.elapsed()));
    }
    say("");
    for line in table(&report) {
        say(line);
    }
    let failed: Vec<&str> = report
        .iter()
        .filter(|(_, passed, _)| !passed)
        .map(|(name, ..)| *name)
        .collect();
    // The last line of a run that passed, for whoever reads logs with a program.
    say(format!(
        "steps: {} passed, {} failed",
        report.len() - failed.len(),
        failed.len()
    ));
    if !failed.is_empty() {
        bail!(
            "{} of {} steps failed: {}",
            failed.len(),
            report.len(),
            failed.join(", ")
        );
    }
    Ok(())
}

fn formatting() -> Result<()> {
    let mut outcome = process::run(cargo().args(["fmt", "--all", "--check"]));
    for manifest in ["fuzz/Cargo.toml", "tests-wasm/Cargo.toml"] {
        if root().join(manifest).is_file() {
            let formatted = process::run(cargo().args(["fmt", "--manifest-path", manifest, "--check"]));
            outcome = outcome.and(formatted);
        }
    }
    outcome
}

fn lints() -> Result<()> {
    process::run(cargo().args([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

fn documentation() -> Result<()> {
    let mut doc = cargo();
    doc.args(["doc", "--locked", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings");
    process::run(&mut doc)
}

/// Generated files that differ from the committed ones, and files that tests leave behind, show up here.
fn tree_clean() -> Result<()> {
    let changes = process::read(command("git").args(["status", "--porcelain"]))?;
    if !changes.is_empty() {
        bail!(
            "the tree differs from its commit after the checks:\n{}",
            changes.trim_end()
        );
    }
    Ok(())
}

fn table(report: &[(&str, bool, Duration)]) -> Vec<String> {
    let total: Duration = report.iter().map(|(.., took)| *took).sum();
    let row = |(name, passed, took): &(&str, bool, Duration)| {
        let verdict = if *passed { "ok" } else { "FAILED" };
        format!("{name:<16}{:>8.1} s  {verdict}", took.as_secs_f64())
    };
    let mut lines: Vec<String> = report.iter().map(row).collect();
    lines.push(format!("{:<16}{:>8.1} s", "all", total.as_secs_f64()));
    lines
}

#[expect(
    clippy::disallowed_methods,
    reason = "the table tells how long each step took"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_each_step_its_time_and_the_sum() {
        let report = [
            ("lints", true, Duration::from_millis(1_500)),
            ("tests", false, Duration::from_secs(60)),
        ];
        let lines = [
            "lints                1.5 s  ok",
            "tests               60.0 s  FAILED",
            "all                 61.5 s",
        ];
        assert_eq!(table(&report), lines);
    }
}
