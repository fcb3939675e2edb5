//! `keyward doctor`: what is wrong with an operator or a client, and what will go wrong.

use std::path::{Path, PathBuf};

use keyward_client::host::MemoryLock;
use keyward_client_native::{doctor as client_doctor, memory::LockedPages, process};
use keyward_license::finding::{Finding, Standing};
use keyward_server::{
    clock::{Clock, SystemClock},
    doctor as operator_doctor,
};
use serde_json::json;

use crate::{args::DoctorArgs, client, failure::Failure, operator, report::Report};

/// What was examined.
struct Examined {
    kind: &'static str,
    dir: PathBuf,
    findings: Vec<Finding>,
}

pub(crate) fn run(args: DoctorArgs, report: Report) -> Result<(), Failure> {
    let mut examined = Vec::new();
    if let Some(dir) = named_or_there(args.operator, || Some(PathBuf::from("operator"))) {
        let kek = operator::kek(args.kek_file.as_deref())?;
        let examination = operator_doctor::examine(&dir, kek, SystemClock.now());
        let findings = operator::runtime()?.block_on(examination);
        examined.push(Examined {
            kind: "operator",
            dir,
            findings,
        });
    }
    if let Some(dir) = named_or_there(args.client_dir, || client::default_folder().ok()) {
        let mut findings = client_doctor::examine(&dir);
        findings.push(judge_memory());
        examined.push(Examined {
            kind: "client",
            dir,
            findings,
        });
    }
    if examined.is_empty() {
        return Err(Failure::new(
            "there is neither an operator nor a client here",
            "name one: `--operator DIR` or `--client-dir DIR`",
        ));
    }
    tell(&examined, report)
}

/// Whether keys stay in the memory of programs like this one: out of core dumps, of other processes' sight, and of the
/// swap file.
fn judge_memory() -> Finding {
    let (probe, length) = (Box::new([0_u8; 64]), 64);
    let locked = LockedPages::of_process().lock(probe.as_ptr().addr(), length);
    match (process::is_shielded(), locked.is_some()) {
        (true, true) => Finding::good("memory", "keys are kept out of core dumps and of the swap file"),
        (false, _) => Finding::warning(
            "memory",
            "core dumps of programs that hold keys cannot be switched off",
            "forbid them in the system's limits (`ulimit -c 0`), and see who may debug other processes",
        ),
        (true, false) => Finding::warning(
            "memory",
            "pages of memory that hold keys cannot be locked: they may come into the swap file",
            "raise the limit of locked memory (`ulimit -l`), or encrypt the swap space",
        ),
    }
}

/// What was named is examined, be it there or not; what was not named, if it is there.
fn named_or_there(named: Option<PathBuf>, usual: impl FnOnce() -> Option<PathBuf>) -> Option<PathBuf> {
    named.or_else(|| usual().filter(|usual| usual.exists()))
}

fn tell(examined: &[Examined], report: Report) -> Result<(), Failure> {
    let all = || examined.iter().flat_map(|examined| &examined.findings);
    let count = |standing| all().filter(|finding| finding.standing == standing).count();
    let (errors, warnings) = (count(Standing::Error), count(Standing::Warning));
    let text: Vec<String> = examined
        .iter()
        .map(|examined| words(examined.kind, &examined.dir, &examined.findings))
        .collect();
    let json: Vec<_> = examined
        .iter()
        .map(|examined| {
            json!({
                "kind": examined.kind,
                "dir": examined.dir.display().to_string(),
                "findings": examined.findings.iter().map(finding_json).collect::<Vec<_>>(),
            })
        })
        .collect();
    report.result(
        &text.join("\n"),
        &json!({ "examined": json, "errors": errors, "warnings": warnings }),
    )?;
    match errors {
        0 => Ok(()),
        1 => Err(Failure::new("one finding is an error", AGAIN)),
        errors => Err(Failure::new(format!("{errors} findings are errors"), AGAIN)),
    }
}

fn words(kind: &str, dir: &Path, findings: &[Finding]) -> String {
    let mut lines = vec![format!("{kind} {}", dir.display())];
    for finding in findings {
        lines.push(format!(
            "  {:7}  {:13}  {}",
            finding.standing.name(),
            finding.about,
            finding.what
        ));
        if !finding.hint.is_empty() {
            lines.push(format!("{:26}do: {}", "", finding.hint));
        }
    }
    lines.join("\n")
}

fn finding_json(finding: &Finding) -> serde_json::Value {
    json!({
        "about": finding.about,
        "standing": finding.standing.name(),
        "what": finding.what,
        "hint": Some(&finding.hint).filter(|hint| !hint.is_empty()),
    })
}

const AGAIN: &str = "do what is said with it, then run `keyward doctor` again";
