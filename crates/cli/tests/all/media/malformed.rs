//! Files that made other readers of MP4 crash, hang or take all memory: ours must end, say what is wrong or
//! find the file sound, and need little for it. `KEYWARD_VECTORS` names the folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use keyward_testkit::peers;

use crate::media::workshop::Workshop;

/// Address space of a run, in KiB; the program alone, with its libraries and stacks, takes most of it.
const MOST_MEMORY: u32 = 400 << 10;

/// Seconds after which a run counts as hung.
const LONGEST: u32 = 10;

#[test]
fn malformed_media_is_refused_in_bounded_time_and_memory() {
    let Some(folder) = peers::vectors() else { return };
    let workshop = Workshop::new();
    let files = listed(&folder.join("media/malformed"));
    assert!(
        files.len() >= 27,
        "only {} malformed files were found",
        files.len()
    );
    let (clear, protected) = (workshop.path("clear.mp4"), workshop.path("protected.mp4"));
    let mut faults = Vec::new();
    for file in files {
        let file = file.display().to_string();
        let (clear, protected) = (clear.display().to_string(), protected.display().to_string());
        let keys = "*:00000000000000000000000000000000";
        for command in [
            &[
                "danger", "decrypt", "--track", "video", "--keys", keys, "--md5", &file,
            ][..],
            &[
                "danger", "decrypt", "--track", "audio", "--keys", keys, "--md5", &file,
            ],
            &[
                "danger", "decrypt", "--keys", keys, "--force", "-o", &clear, &file,
            ],
            &["package", "--scheme", "cenc", "--force", "-o", &protected, &file],
            &["package", "--scheme", "cbcs", "--force", "-o", &protected, &file],
            &["inspect", &file],
            &[
                "play",
                "--client-dir",
                "client",
                "--offline",
                "--force",
                "-o",
                &clear,
                &file,
            ],
        ] {
            faults.extend(fault(&workshop, command));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What is wrong with a run, beside that it may fail.
fn fault(workshop: &Workshop, args: &[&str]) -> Option<String> {
    let limited = format!("ulimit -v {MOST_MEMORY}; exec timeout --kill-after 1 {LONGEST} \"$0\" \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &limited, env!("CARGO_BIN_EXE_keyward")])
        .args(args)
        .current_dir(workshop.path(""))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let ended_well = matches!(output.status.code(), Some(0 | 1 | 3));
    let panicked = errors.contains("panicked") || errors.contains("memory allocation");
    (!ended_well || panicked).then(|| format!("keyward {}: {}\n{errors}", args.join(" "), output.status))
}

fn listed(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}
