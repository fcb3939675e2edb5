//! Directories that are made whole or not at all: filled in a hidden directory beside their place, flushed to the
//! disk, and moved into place as the last step.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use crate::{
    Error,
    fail_points::{Act, Extent, Point, Progress, reach},
};

/// A directory that is being made. What was made is removed unless it is finished.
pub(crate) struct Making {
    hidden: tempfile::TempDir,
    place: PathBuf,
    act: Act,
}

impl Making {
    /// Begins a directory that will be at `place`, where nothing may be.
    ///
    /// # Errors
    /// [`Error::OperatorExists`] or [`Error::BackupExists`], [`Error::File`].
    pub(crate) fn begin(place: &Path, act: Act) -> Result<Self, Error> {
        if fs::symlink_metadata(place).is_ok() {
            return Err(exists(act, place));
        }
        let parent = parent(place);
        let hidden = tempfile::Builder::new()
            .prefix(prefix(act))
            .tempdir_in(parent)
            .map_err(Error::file("make a directory in", parent))?;
        restrict(hidden.path())?;
        let making = Self {
            hidden,
            place: place.to_owned(),
            act,
        };
        making.has_come_to(Progress::Begun);
        Ok(making)
    }

    /// Where its files go.
    pub(crate) fn path(&self) -> &Path {
        self.hidden.path()
    }

    /// Begins a new file in it that only its owner can read.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn create(&self, name: &'static str) -> Result<fs::File, Error> {
        let file = create_private(&self.path().join(name))?;
        reach(Point::File(self.act, name, Extent::Made));
        Ok(file)
    }

    /// Writes a new file in it that only its owner can read, and flushes it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn write(&self, name: &'static str, bytes: &[u8]) -> Result<(), Error> {
        let mut file = self.create(name)?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(Error::file("write", self.path().join(name)))?;
        self.has_written(name);
        Ok(())
    }

    /// A file in it that was begun is whole and flushed.
    pub(crate) fn has_written(&self, name: &'static str) {
        reach(Point::File(self.act, name, Extent::Written));
    }

    /// What is done beside the files has come so far.
    pub(crate) fn has_come_to(&self, progress: Progress) {
        reach(Point::Making(self.act, progress));
    }

    /// Moves it into place.
    ///
    /// # Errors
    /// As [`Making::begin`].
    pub(crate) fn finish(self) -> Result<(), Error> {
        flush(self.path())?;
        self.has_come_to(Progress::Filled);
        let Self { hidden, place, act } = self;
        fs::rename(hidden.path(), &place).map_err(|source| match source.kind() {
            ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists => exists(act, &place),
            _ => Error::file("make", &place)(source),
        })?;
        // Moved into place: there is nothing left to remove.
        let _ = hidden.keep();
        reach(Point::Making(act, Progress::Placed));
        if let Err(error) = flush(parent(&place)) {
            // It is whole; only a power cut in the next seconds could take it away.
            tracing::warn!(error = %error, "the new directory's name was not flushed to the disk");
        }
        Ok(())
    }
}

/// Flushes a directory's entries, where the system can.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn flush(dir: &Path) -> Result<(), Error> {
    if cfg!(unix) {
        fs::File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(Error::file("flush", dir))?;
    }
    Ok(())
}

const fn prefix(act: Act) -> &'static str {
    match act {
        Act::Init => ".keyward-init-",
        Act::Backup => ".keyward-backup-",
        Act::Restore => ".keyward-restore-",
    }
}

fn exists(act: Act, place: &Path) -> Error {
    let place = place.to_owned();
    match act {
        Act::Init | Act::Restore => Error::OperatorExists(place),
        Act::Backup => Error::BackupExists(place),
    }
}

pub(super) fn create_private(path: &Path) -> Result<fs::File, Error> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(Error::file("write", path))
}

fn parent(place: &Path) -> &Path {
    place
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(unix)]
fn restrict(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(Error::file("protect", path))
}

#[cfg(not(unix))]
fn restrict(_: &Path) -> Result<(), Error> {
    Ok(())
}
