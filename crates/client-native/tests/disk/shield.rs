//! A process that keeps its memory to itself.

use std::process::{Command, Stdio};

use keyward_client_native::process::{is_shielded, shield};

const JOB: &str = "KEYWARD_TEST_SHIELD";
const SHIELDED: &str = "the shield is up";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the environment is how a parent tells its child the job"
)]
fn child() {
    use std::io::Write;
    if std::env::var(JOB).is_err() {
        return;
    }
    assert!(!is_shielded() || !cfg!(unix));
    shield().unwrap();
    shield().unwrap();
    assert!(is_shielded());
    std::io::stdout()
        .write_all(format!("\n{SHIELDED}\n").as_bytes())
        .unwrap();
    // A program that crashes: it leaves nothing behind.
    std::process::abort();
}

#[test]
fn a_shielded_process_leaves_no_core_and_cannot_be_looked_into() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "shield::child", "--nocapture"])
        .env(JOB, "1")
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.lines().any(|line| line == SHIELDED), "{said}");
    assert!(!output.status.success());
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        assert!(output.status.signal().is_some() && !output.status.core_dumped());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
