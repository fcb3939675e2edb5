//! Shaka Packager, which writes and reads each track in a file of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use super::{Key, Kind, Scheme};

/// Protects the tracks of a clear file, each kind under the key beside it and without a clear beginning.
/// Returns the files that were written, in the same order.
///
/// # Panics
/// If Shaka Packager refuses.
#[must_use]
pub fn shaka_encrypt(
    packager: &Path,
    file: &Path,
    scheme: Scheme,
    keys: &[(Kind, Key)],
    folder: &Path,
) -> Vec<PathBuf> {
    fs::create_dir_all(folder).unwrap();
    let mut command = Command::new(packager);
    let mut outputs = Vec::new();
    for (kind, _) in keys {
        let output = folder.join(format!("shaka-{}-{}.mp4", scheme.name(), kind.name()));
        command.arg(descriptor(file, *kind, &output, Some(kind.name())));
        outputs.push(output);
    }
    command.args(["--enable_raw_key_encryption", "--clear_lead", "0"]);
    command.args(["--segment_duration", "2", "--protection_scheme", scheme.name()]);
    let labelled = keys.iter().map(|(kind, key)| (kind.name().to_owned(), *key));
    run(&mut command, labelled, folder);
    outputs
}

/// Unprotects one track of a protected file into a clear file.
///
/// # Errors
/// What Shaka Packager printed, if it refuses.
pub fn shaka_decrypt(
    packager: &Path,
    file: &Path,
    kind: Kind,
    keys: &[Key],
    output: &Path,
) -> Result<(), String> {
    let mut command = Command::new(packager);
    command.arg(descriptor(file, kind, output, None));
    command.arg("--enable_raw_key_decryption");
    let labelled = keys.iter().enumerate().map(|(at, key)| (at.to_string(), *key));
    let folder = output.parent().unwrap();
    let printed = try_run(&mut command, labelled, folder);
    if printed.status.success() && output.is_file() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&printed.stderr).into_owned())
    }
}

/// Writes one track of a clear file into an MP4.
///
/// # Panics
/// If Shaka Packager refuses.
pub(super) fn shaka_package(packager: &Path, file: &Path, kind: Kind, output: &Path) {
    let mut command = Command::new(packager);
    command.arg(descriptor(file, kind, output, None)).arg("--quiet");
    let printed = command.output().unwrap();
    let errors = String::from_utf8_lossy(&printed.stderr);
    assert!(printed.status.success(), "{command:?}: {errors}");
}

fn descriptor(input: &Path, kind: Kind, output: &Path, label: Option<&str>) -> String {
    let label = label.map_or_else(String::new, |label| format!(",drm_label={label}"));
    format!(
        "in={},stream={},output={}{label}",
        input.display(),
        kind.name(),
        output.display()
    )
}

fn run(command: &mut Command, keys: impl Iterator<Item = (String, Key)>, folder: &Path) {
    let printed = try_run(command, keys, folder);
    let errors = String::from_utf8_lossy(&printed.stderr);
    assert!(printed.status.success(), "{command:?}: {errors}");
}

fn try_run(command: &mut Command, keys: impl Iterator<Item = (String, Key)>, folder: &Path) -> Output {
    let key =
        |(label, key): (String, Key)| format!("label={label}:key_id={}:key={}", key.kid_hex(), key.key_hex());
    command.args(["--keys", &keys.map(key).collect::<Vec<_>>().join(",")]);
    command.arg("--temp_dir").arg(folder).arg("--quiet");
    command
        .output()
        .unwrap_or_else(|error| unreachable!("{command:?}: {error}"))
}
