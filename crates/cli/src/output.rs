//! Output files: written beside their destination, flushed, renamed. Never half-written, also not by a
//! signal. What is no file (a device, a pipe) is written to as it is, or at the end, where the output is gone
//! back in before.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use keyward_packager::OutputSink;
use tempfile::NamedTempFile;

use crate::{
    failure::{Failure, file_error},
    unfinished,
};

/// An output that appears when it is committed, and not before.
pub(crate) struct FileSink {
    target: Target,
    path: PathBuf,
}

enum Target {
    /// A file beside the destination, to be renamed over it if `force`, or where nothing is.
    Beside { file: NamedTempFile, force: bool },
    /// A device, a pipe or standard output: nothing to rename.
    Direct(Box<dyn Write + Send>),
    /// The same, for an output that is whole before the first byte goes there.
    Spooled { spool: File, out: Box<dyn Write + Send> },
}

impl FileSink {
    /// Begins a file that will have the mode of other new files. An existing one is replaced only if
    /// `force` says so; `-` is standard output.
    pub(crate) fn create(path: &Path, force: bool) -> Result<Self, Failure> {
        // The process's umask takes away what others may not have.
        Self::create_with_mode(path, force, 0o666)
    }

    /// Begins an output that is gone back in, as [`FileSink::create`] does. If it is no file, a private one
    /// without a name, in the folder for temporary files, keeps it until it is whole.
    pub(crate) fn create_seekable(path: &Path, force: bool) -> Result<Self, Failure> {
        let mut sink = Self::create(path, force)?;
        sink.target = match sink.target {
            Target::Direct(out) => Target::Spooled {
                spool: unfinished::spool(None)?,
                out,
            },
            target => target,
        };
        Ok(sink)
    }

    /// Whether the output is a file when it is committed, and no device or pipe.
    pub(crate) const fn is_file(&self) -> bool {
        matches!(self.target, Target::Beside { .. })
    }

    /// The file that the output is when it is committed.
    pub(crate) fn file_mut(&mut self) -> Option<&mut File> {
        match &mut self.target {
            Target::Beside { file, .. } => Some(file.as_file_mut()),
            Target::Direct(_) | Target::Spooled { .. } => None,
        }
    }

    /// A private file without a name, beside the output if that is a file.
    pub(crate) fn spool(&self) -> Result<File, Failure> {
        unfinished::spool(match self.target {
            Target::Beside { .. } => Some(folder_of(&self.path)),
            Target::Direct(_) | Target::Spooled { .. } => None,
        })
    }

    /// Begins a file that only its owner may read.
    pub(crate) fn create_private(path: &Path, force: bool) -> Result<Self, Failure> {
        Self::create_with_mode(path, force, 0o600)
    }

    fn create_with_mode(path: &Path, force: bool, mode: u32) -> Result<Self, Failure> {
        let failed = file_error("write", path);
        if path == Path::new("-") {
            let target = Target::Direct(Box::new(io::stdout()));
            return Ok(Self {
                target,
                path: path.to_path_buf(),
            });
        }
        // A link stays a link; what it leads to is written.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => Err(Failure::new(
                format!("cannot write {}: it is a folder", path.display()),
                "name a file in it",
            )),
            Ok(found) if !found.is_file() => {
                let device = OpenOptions::new().write(true).open(&path).map_err(&failed)?;
                Ok(Self {
                    target: Target::Direct(Box::new(device)),
                    path,
                })
            }
            Ok(_) if !force => Err(exists(&path)),
            _ => {
                let file = unfinished::file(folder_of(&path), mode).map_err(&failed)?;
                Ok(Self {
                    target: Target::Beside { file, force },
                    path,
                })
            }
        }
    }
}

impl Write for FileSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.target {
            Target::Beside { file, .. } => file.write(bytes),
            Target::Spooled { spool, .. } => spool.write(bytes),
            Target::Direct(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.target {
            Target::Beside { file, .. } => file.flush(),
            Target::Spooled { spool, .. } => spool.flush(),
            Target::Direct(out) => out.flush(),
        }
    }
}

impl OutputSink for FileSink {
    type Output = PathBuf;

    fn can_overwrite(&self) -> bool {
        !matches!(self.target, Target::Direct(_))
    }

    fn overwrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.target {
            Target::Beside { file, .. } => file.as_file_mut(),
            Target::Spooled { spool, .. } => spool,
            Target::Direct(_) => return Err(ErrorKind::Unsupported.into()),
        };
        let end = file.stream_position()?;
        if offset
            .checked_add(bytes.len() as u64)
            .is_none_or(|last| last > end)
        {
            return Err(ErrorKind::InvalidInput.into());
        }
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)?;
        file.seek(SeekFrom::Start(end))?;
        Ok(())
    }

    fn commit(self) -> io::Result<PathBuf> {
        match self.target {
            Target::Direct(mut out) => out.flush()?,
            Target::Spooled { mut spool, mut out } => {
                spool.rewind()?;
                io::copy(&mut spool, &mut out)?;
                out.flush()?;
            }
            Target::Beside { file, force } => {
                file.as_file().sync_all()?;
                let persisted = if force {
                    file.persist(&self.path)
                } else {
                    file.persist_noclobber(&self.path)
                };
                persisted.map_err(|error| error.error)?;
                if cfg!(unix) {
                    File::open(folder_of(&self.path))?.sync_all()?;
                }
            }
        }
        Ok(self.path)
    }
}

/// Refuses an output that is the input: the input would be lost.
pub(crate) fn differs(input: &Path, output: &Path) -> Result<(), Failure> {
    match (input.canonicalize(), output.canonicalize()) {
        (Ok(same), Ok(output)) if same == output && same.is_file() => Err(Failure::new(
            format!("{} is the input as well as the output", input.display()),
            "name another output",
        )),
        _ => Ok(()),
    }
}

/// For `map_err` of a commit.
pub(crate) fn commit_error(path: &Path) -> impl Fn(io::Error) -> Failure {
    let path = path.to_path_buf();
    move |error| match error.kind() {
        ErrorKind::AlreadyExists => exists(&path),
        _ => file_error("write", &path)(error),
    }
}

fn exists(path: &Path) -> Failure {
    Failure::new(
        format!("{} exists already", path.display()),
        "name another output (`-o FILE`), or replace it with `--force`",
    )
}

/// The folder that a file or folder is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_to_a_file_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words");
        let mut sink = FileSink::create(&path, false).unwrap();
        assert!(sink.can_overwrite() && sink.is_file());
        sink.write_all(b"some words").unwrap();
        sink.overwrite(5, b"W").unwrap();
        for (offset, bytes) in [(9, &b"ab"[..]), (11, b""), (u64::MAX, b"a")] {
            let refused = sink.overwrite(offset, bytes).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{offset}");
        }
        sink.write_all(b"!").unwrap();
        sink.commit().unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"some Words!");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_kept_until_it_is_whole_is_gone_back_in() {
        let mut sink = FileSink::create_seekable(Path::new("/dev/null"), false).unwrap();
        assert!(sink.can_overwrite() && !sink.is_file());
        sink.write_all(b"some words").unwrap();
        sink.overwrite(5, b"W").unwrap();
        assert!(sink.overwrite(9, b"ab").is_err());
        sink.commit().unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_device_cannot_be_gone_back_in() {
        let mut sink = FileSink::create(Path::new("/dev/null"), false).unwrap();
        assert!(!sink.can_overwrite());
        sink.write_all(b"some words").unwrap();
        let refused = sink.overwrite(0, b"S").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
    }
}
