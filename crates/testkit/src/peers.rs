//! Programs, libraries and vectors of other people, which tests hold ours against.
//!
//! The environment says where they are; `cargo xtask test` installs them and says so, and
//! `eval "$(cargo xtask peers)"` does it for tests that are run by hand. Where they are missing, a proof is
//! not run, and says that aloud; where the variable `CI` is set, that is a failure.
//!
//! | variable | names |
//! | --- | --- |
//! | `KEYWARD_PEERS_PYTHON` | a Python with independent COSE, CBOR, HPKE and X.509 libraries |
//! | `KEYWARD_FFMPEG` | ffmpeg of the pinned version; it also makes the media of tests |
//! | `KEYWARD_FFMPEG_OLD` | ffmpeg of the distribution |
//! | `KEYWARD_PACKAGER` | Shaka Packager of the pinned version |
//! | `KEYWARD_VECTORS` | folder of third-party vectors; without it `../shared/vectors` beside the tree |

use std::{env, ffi::OsString, path::PathBuf};

/// Programs that read and write protected media.
#[derive(Debug, Clone)]
pub struct MediaPeers {
    /// ffmpeg of the pinned version.
    pub ffmpeg: PathBuf,
    /// ffmpeg of the distribution: older, and stricter about what stands around the samples.
    pub ffmpeg_old: PathBuf,
    /// Shaka Packager.
    pub packager: PathBuf,
}

/// The Python with independent libraries, or `None` where there is none and nobody insists.
///
/// # Panics
/// If it is missing and the variable `CI` is set.
#[must_use]
pub fn python() -> Option<PathBuf> {
    told("KEYWARD_PEERS_PYTHON")
}

/// The programs for media, or `None` where one is missing and nobody insists.
///
/// # Panics
/// If one is missing and the variable `CI` is set.
#[must_use]
pub fn media() -> Option<MediaPeers> {
    Some(MediaPeers {
        ffmpeg: told("KEYWARD_FFMPEG")?,
        ffmpeg_old: told("KEYWARD_FFMPEG_OLD")?,
        packager: told("KEYWARD_PACKAGER")?,
    })
}

/// The folder of third-party vectors, or `None`, which is said aloud. No clone of the project has them, so
/// that they are missing is never a failure.
#[must_use]
pub fn vectors() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folder = variable("KEYWARD_VECTORS")
        .map(PathBuf::from)
        .or_else(|| beside.is_dir().then_some(beside));
    if folder.is_none() {
        not_run("*** conformance suite: NOT RUN, set KEYWARD_VECTORS ***");
    }
    folder
}

/// What a variable names, or `None`, which is said aloud.
fn told(name: &str) -> Option<PathBuf> {
    let path = variable(name).map(PathBuf::from);
    if path.is_none() {
        assert!(
            variable("CI").is_none(),
            "{name} is not set: the proof with other programs has to run in CI"
        );
        not_run(&format!(
            "*** proof with other programs: NOT RUN, {name} is not set: use `cargo xtask test`, or first \
             `eval \"$(cargo xtask peers)\"` ***"
        ));
    }
    path
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test set-up names its programs and folders in the environment"
)]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

#[expect(clippy::print_stderr, reason = "a proof that did not run has to be seen")]
fn not_run(line: &str) {
    eprintln!("{line}");
}
