//! Output files: written beside their destination, flushed, renamed. Never half-written.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use keyward_packager::OutputSink;
use tempfile::NamedTempFile;

use crate::failure::{Failure, file_error};

/// A file that appears when it is committed, and not before.
pub(crate) struct FileSink {
    file: NamedTempFile,
    path: PathBuf,
}

impl FileSink {
    /// Begins a file that will have the mode of other new files.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        // The process's umask takes away what others may not have.
        Self::create_with_mode(path, 0o666)
    }

    /// Begins a file that only its owner may read.
    pub(crate) fn create_private(path: &Path) -> Result<Self, Failure> {
        Self::create_with_mode(path, 0o600)
    }

    fn create_with_mode(path: &Path, mode: u32) -> Result<Self, Failure> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".keyward-").suffix(".part");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
        let file = builder
            .tempfile_in(folder_of(path))
            .map_err(file_error("write", path))?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
        })
    }
}

impl Write for FileSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl OutputSink for FileSink {
    type Output = PathBuf;

    fn commit(self) -> io::Result<PathBuf> {
        self.file.as_file().sync_all()?;
        self.file.persist(&self.path).map_err(|error| error.error)?;
        if cfg!(unix) {
            File::open(folder_of(&self.path))?.sync_all()?;
        }
        Ok(self.path)
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}
