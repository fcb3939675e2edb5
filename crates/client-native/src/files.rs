//! Files that are whole or absent: written beside, flushed, renamed.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::Path,
};

use crate::NativeError;

/// Makes a directory that only its owner may enter, if it is not there. One that is there keeps its
/// permissions: it may be shared, and each file in it is its owner's alone.
pub(crate) fn make_private_dir(path: &Path) -> Result<(), NativeError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(at("make", path))
}

/// Replaces a file atomically and durably. The new file can be read by its owner alone.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), NativeError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // `tempfile` makes files with mode 0600.
    let mut file = tempfile::Builder::new()
        .prefix(PART_PREFIX)
        .tempfile_in(folder)
        .map_err(at("write", path))?;
    file.write_all(content).map_err(at("write", path))?;
    file.as_file().sync_all().map_err(at("write", path))?;
    file.persist(path)
        .map_err(|error| at("write", path)(error.error))?;
    sync_folder(folder)
}

/// Opens a file that its owner alone may, and waits until it is this process's.
pub(crate) fn lock(path: &Path) -> Result<File, NativeError> {
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(at("lock", path))?;
    file.lock().map_err(at("lock", path))?;
    Ok(file)
}

/// Removes what a crash left of files that were never finished. The caller holds the folder's lock.
pub(crate) fn remove_unfinished(folder: &Path) -> Result<(), NativeError> {
    for entry in fs::read_dir(folder).map_err(at("read", folder))? {
        let path = entry.map_err(at("read", folder))?.path();
        let unfinished = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(PART_PREFIX.as_bytes()));
        if unfinished {
            fs::remove_file(&path).map_err(at("remove", &path))?;
        }
    }
    Ok(())
}

/// Names files that are being written.
const PART_PREFIX: &str = ".keyward-part-";

/// A file's content, or none if there is no file.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, NativeError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at("read", path)(error)),
    }
}

/// A rename is durable once its folder is.
fn sync_folder(folder: &Path) -> Result<(), NativeError> {
    if cfg!(unix) {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(at("write", folder))?;
    }
    Ok(())
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> NativeError {
    let path = path.to_path_buf();
    move |error| NativeError::File { action, path, error }
}
