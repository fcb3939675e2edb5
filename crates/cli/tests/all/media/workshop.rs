//! A folder in which the program works, as people run it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use keyward_testkit::media::{Fixture, Key, Kind, Scheme};

/// Which tracks share a content key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keying {
    /// All.
    Shared,
    /// Those that carry the same.
    PerKind,
}

impl Keying {
    pub(crate) const ALL: [Self; 2] = [Self::Shared, Self::PerKind];

    /// The key of each kind of track that can be protected. None is used for two schemes.
    pub(crate) fn keys(self, fixture: &Fixture, scheme: Scheme) -> Vec<(Kind, Key)> {
        let number = |kind: Kind| match (self, kind) {
            (Self::Shared, _) => 1,
            (Self::PerKind, Kind::Video) => 2,
            (Self::PerKind, _) => 3,
        } + match scheme {
            Scheme::Cenc => 0,
            Scheme::Cens => 8,
            Scheme::Cbcs => 16,
            Scheme::Cbc1 => 24,
        };
        [Kind::Video, Kind::Audio]
            .into_iter()
            .filter(|kind| fixture.tracks.contains(kind))
            .map(|kind| (kind, Key::numbered(number(kind))))
            .collect()
    }
}

/// A temporary folder with an operator in it.
pub(crate) struct Workshop(tempfile::TempDir);

impl Workshop {
    pub(crate) fn new() -> Self {
        let workshop = Self(tempfile::tempdir().unwrap());
        workshop.ok(&["init", "operator"]);
        workshop
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs the program; it must succeed. Returns what it wrote to standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "keyward {args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
        command.args(args).current_dir(self.0.path());
        command
    }

    /// The names of what is in the folder.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        entries.map(|entry| name(entry).into_string().unwrap()).collect()
    }

    /// Protects a clear file under keys that are given.
    pub(crate) fn package(
        &self,
        clear: &Path,
        scheme: Scheme,
        keying: Keying,
        keys: &[(Kind, Key)],
    ) -> PathBuf {
        self.package_with(clear, scheme, keying, keys, &[])
    }

    /// The same, with more arguments.
    pub(crate) fn package_with(
        &self,
        clear: &Path,
        scheme: Scheme,
        keying: Keying,
        keys: &[(Kind, Key)],
        more: &[&str],
    ) -> PathBuf {
        let output = self.path("protected.mp4");
        let mut args: Vec<String> = ["package", "--force", "--scheme", scheme.name()]
            .map(Into::into)
            .into();
        args.extend(more.iter().map(|argument| (*argument).to_owned()));
        args.extend([
            clear.display().to_string(),
            "-o".into(),
            output.display().to_string(),
        ]);
        for (kind, key) in keys {
            let file = self.path(&key.kid_hex());
            std::fs::write(&file, key.key_hex()).unwrap();
            match keying {
                Keying::PerKind => {
                    let named = format!("{}={}:{}", kind.name(), key.kid_hex(), file.display());
                    args.extend(["--track-key".into(), named]);
                }
                Keying::Shared => {
                    args.extend(["--kid".into(), key.kid_hex()]);
                    args.extend(["--key-file".into(), file.display().to_string()]);
                    break;
                }
            }
        }
        self.ok(&args.iter().map(String::as_str).collect::<Vec<_>>());
        output
    }

    /// Decrypts a file as a whole.
    pub(crate) fn decrypt(&self, protected: &Path, keys: &[Key]) -> PathBuf {
        let output = self.path("decrypted.mp4");
        let (keys, file) = (self.listed(keys), protected.display().to_string());
        let output_name = output.display().to_string();
        self.ok(&[
            "danger",
            "decrypt",
            "--keys",
            &keys,
            "--force",
            "-o",
            &output_name,
            &file,
        ]);
        output
    }

    /// MD5 of each decrypted sample of the first track of a kind, in decoding order.
    pub(crate) fn md5(&self, files: &[PathBuf], kind: &str, keys: &str) -> Result<Vec<String>, String> {
        let mut args = vec!["danger", "decrypt", "--track", kind, "--keys", keys, "--md5"];
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        args.extend(files.iter().map(String::as_str));
        let output = self.run(&args);
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let listed = String::from_utf8(output.stdout).unwrap();
        Ok(listed.lines().map(ToOwned::to_owned).collect())
    }

    /// As `--keys` takes them.
    pub(crate) fn listed(&self, keys: &[Key]) -> String {
        let pairs = keys.iter().map(|key| [key.kid_hex(), key.key_hex()].join(":"));
        pairs.collect::<Vec<_>>().join(",")
    }
}
