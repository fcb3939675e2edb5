//! The programs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use keyward_content::cenc::Scheme;
use tempfile::TempDir;

use crate::cases::Case;

pub(crate) const KEY: [u8; 16] = *b"\x4e\xdb\x77\x04\xcd\xbf\x03\x61\x7f\x48\x00\xbd\x87\x8a\x6d\xf2";
const KEYS: &str = "label=K:key_id=a2c786d0f9ef4cb3b333cd323a4284a5:key=4edb7704cdbf03617f4800bd878a6df2";

pub(crate) struct Peers {
    ffmpeg: PathBuf,
    /// It has encoders that the other one lacks.
    ffmpeg_old: PathBuf,
    packager: PathBuf,
    folder: TempDir,
}

impl Peers {
    /// Says loudly if a program is not named; that fails where `CI` is set.
    #[expect(
        clippy::disallowed_methods,
        reason = "the environment names the peers of a test"
    )]
    pub(crate) fn find() -> Option<Self> {
        let named = |variable| std::env::var_os(variable).map(PathBuf::from);
        let programs = ["KEYWARD_FFMPEG", "KEYWARD_FFMPEG_OLD", "KEYWARD_PACKAGER"].map(named);
        if let [Some(ffmpeg), Some(ffmpeg_old), Some(packager)] = programs {
            let folder = tempfile::tempdir().unwrap();
            return Some(Self {
                ffmpeg,
                ffmpeg_old,
                packager,
                folder,
            });
        }
        eprintln!(
            "*** Shaka Packager as a peer: NOT RUN, set KEYWARD_FFMPEG, KEYWARD_FFMPEG_OLD and KEYWARD_PACKAGER ***"
        );
        assert!(std::env::var_os("CI").is_none(), "CI runs every peer");
        None
    }

    pub(crate) fn encode(&self, case: &Case) -> PathBuf {
        let media = self
            .folder
            .path()
            .join(format!("{}.{}", case.name, case.container));
        // Some frames are hidden only where the encoder knows what comes.
        if case.encoder.contains("-pass 2") {
            let first = case.encoder.replace("-pass 2", "-pass 1 -f null");
            self.run_encoder(case, &first, Path::new("-"));
        }
        self.run_encoder(case, case.encoder, &media);
        media
    }

    fn run_encoder(&self, case: &Case, options: &str, output: &Path) {
        let mut command = Command::new(if case.old_encoder {
            &self.ffmpeg_old
        } else {
            &self.ffmpeg
        });
        command.args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", case.source]);
        command.args(options.split(' ')).arg(output);
        command.current_dir(self.folder.path());
        run(command, case.name);
    }

    /// The media as Shaka Packager writes it, clear or protected.
    pub(crate) fn package(&self, media: &Path, case: &Case, scheme: Option<Scheme>) -> Vec<u8> {
        let output = self.folder.path().join("packaged.mp4");
        let stream = format!(
            "in={},stream={},output={},drm_label=K",
            media.display(),
            case.stream,
            output.display()
        );
        let mut command = Command::new(&self.packager);
        command.arg(stream).args(["--segment_duration", "1"]);
        if let Some(scheme) = scheme {
            command.args(["--enable_raw_key_encryption", "--keys", KEYS, "--clear_lead", "0"]);
            command.args(["--protection_scheme", scheme.as_str()]);
        }
        run(command, case.name);
        fs::read(output).unwrap()
    }
}

fn run(mut command: Command, case: &str) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{case}: {command:?}\n{words}");
}
