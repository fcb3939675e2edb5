//! Directories that are made whole or not at all: filled in a hidden directory beside their place, flushed to the
//! disk, and moved into place as the last step.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use crate::Error;

/// A directory that is being made. What was made is removed unless it is finished.
pub(crate) struct Making {
    hidden: tempfile::TempDir,
    place: PathBuf,
    exists: fn(PathBuf) -> Error,
}

impl Making {
    /// Begins a directory that will be at `place`, where nothing may be: else it fails with `exists`.
    ///
    /// # Errors
    /// `exists`, [`Error::File`].
    pub(crate) fn begin(place: &Path, prefix: &str, exists: fn(PathBuf) -> Error) -> Result<Self, Error> {
        if fs::symlink_metadata(place).is_ok() {
            return Err(exists(place.to_owned()));
        }
        let parent = parent(place);
        let hidden = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir_in(parent)
            .map_err(Error::file("make a directory in", parent))?;
        restrict(hidden.path())?;
        Ok(Self {
            hidden,
            place: place.to_owned(),
            exists,
        })
    }

    /// Where its files go.
    pub(crate) fn path(&self) -> &Path {
        self.hidden.path()
    }

    /// Moves it into place.
    ///
    /// # Errors
    /// As [`Making::begin`].
    pub(crate) fn finish(self) -> Result<(), Error> {
        let Self {
            hidden,
            place,
            exists,
        } = self;
        flush(hidden.path())?;
        fs::rename(hidden.path(), &place).map_err(|source| match source.kind() {
            ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists => exists(place.clone()),
            _ => Error::file("make", &place)(source),
        })?;
        // Moved into place: there is nothing left to remove.
        let _ = hidden.keep();
        if let Err(error) = flush(parent(&place)) {
            // It is whole; only a power cut in the next seconds could take it away.
            tracing::warn!(error = %error, "the new directory's name was not flushed to the disk");
        }
        Ok(())
    }
}

/// Begins a new file that only its owner can read.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn create_private(path: &Path) -> Result<fs::File, Error> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(Error::file("write", path))
}

/// Writes a new file that only its owner can read, and flushes it.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = create_private(path)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(Error::file("write", path))
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
