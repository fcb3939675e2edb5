//! Files that are whole or absent: written beside, flushed, renamed.

use std::{
    fs::File,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::{NativeError, disk::Disk};

/// Makes a directory that only its owner may enter, and those above it, if they are not there. One that is
/// there keeps its permissions: it may be shared, and each file in it is its owner's alone.
pub(crate) fn make_private_dir(disk: &dyn Disk, path: &Path) -> Result<(), NativeError> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|above| !above.as_os_str().is_empty() && !disk.is_folder(above))
        .collect();
    for folder in missing.into_iter().rev() {
        disk.make_folder(folder).map_err(at("make", folder))?;
        let above = above(folder);
        disk.sync_folder(above).map_err(at("write", above))?;
    }
    Ok(())
}

/// Replaces a file atomically and durably. The new file can be read by its owner alone.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, content: &[u8]) -> Result<(), NativeError> {
    let folder = above(path);
    let write = || {
        let mut file = disk.start_file(folder, PART_PREFIX)?;
        file.write(content)?;
        file.sync()?;
        file.rename(path)
    };
    write().map_err(at("write", path))?;
    // A rename is durable once its folder is.
    disk.sync_folder(folder).map_err(at("write", folder))
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
pub(crate) fn remove_unfinished(disk: &dyn Disk, folder: &Path) -> Result<(), NativeError> {
    let is_unfinished = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(PART_PREFIX.as_bytes()))
    };
    let found = disk.list(folder).map_err(at("read", folder))?;
    for path in found.into_iter().filter(is_unfinished) {
        match disk.remove(&path) {
            // Another process has finished it, or given it up, meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other.map_err(at("remove", &path))?,
        }
    }
    Ok(())
}

/// A file's content, or none if there is no file.
pub(crate) fn read_if_there(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, NativeError> {
    match disk.read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at("read", path)(error)),
    }
}

/// Names files that are being written.
pub(crate) const PART_PREFIX: &str = ".keyward-part-";

pub(crate) fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    }
}

pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> NativeError {
    let path = path.to_path_buf();
    move |error| NativeError::File { action, path, error }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use redb::{DatabaseError, StorageBackend};

    use super::*;
    use crate::disk::{SystemDisk, UnfinishedFile};

    /// Lists a file that is gone when it is to be removed.
    #[derive(Debug)]
    struct Racing;

    impl Disk for Racing {
        fn is_folder(&self, path: &Path) -> bool {
            SystemDisk.is_folder(path)
        }

        fn is_file(&self, path: &Path) -> bool {
            SystemDisk.is_file(path)
        }

        fn make_folder(&self, path: &Path) -> io::Result<()> {
            SystemDisk.make_folder(path)
        }

        fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
            let mut found = vec![folder.join(format!("{PART_PREFIX}gone"))];
            found.extend(SystemDisk.list(folder)?);
            Ok(found)
        }

        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            SystemDisk.read(path)
        }

        fn start_file(&self, folder: &Path, prefix: &str) -> io::Result<Box<dyn UnfinishedFile>> {
            SystemDisk.start_file(folder, prefix)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            SystemDisk.remove(path)
        }

        fn sync_folder(&self, folder: &Path) -> io::Result<()> {
            SystemDisk.sync_folder(folder)
        }

        fn open_database(&self, path: &Path) -> Result<Arc<dyn StorageBackend>, DatabaseError> {
            SystemDisk.open_database(path)
        }
    }

    #[test]
    fn what_another_process_has_finished_meanwhile_is_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let (left, kept) = (
            folder.path().join(format!("{PART_PREFIX}left")),
            folder.path().join("kept"),
        );
        for path in [&left, &kept] {
            std::fs::write(path, b"secret").unwrap();
        }
        remove_unfinished(&Racing, folder.path()).unwrap();
        assert!(!left.exists() && kept.exists());
    }
}
