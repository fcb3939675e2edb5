//! What the client asks of a disk: a database file, and small files that are whole or absent.
//!
//! [`SystemDisk`] is the operating system's file system. A host that keeps its files elsewhere brings its own;
//! so does a test, with one that is full, fails, or loses power at any point.

use std::{
    fmt,
    fs::{self, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{DatabaseError, StorageBackend, backends::FileBackend};
use tempfile::NamedTempFile;

/// A place for the client's files. Everything that is made can be read by its owner alone.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Whether there is a folder under this name.
    fn is_folder(&self, path: &Path) -> bool;

    /// Whether there is a file under this name.
    fn is_file(&self, path: &Path) -> bool;

    /// Makes one folder in another that is there. One that has been made meanwhile is no failure.
    ///
    /// # Errors
    /// What the disk says, as for every method.
    fn make_folder(&self, path: &Path) -> io::Result<()>;

    /// The paths of everything in a folder, in any order.
    ///
    /// # Errors
    /// What the disk says.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// A file's content.
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound) if there is no file; otherwise what the disk says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Starts a file in a folder, under a name of the disk's choice that begins with `prefix`.
    ///
    /// # Errors
    /// What the disk says.
    fn start_file(&self, folder: &Path, prefix: &str) -> io::Result<Box<dyn UnfinishedFile>>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the disk says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable: a rename counts from then on.
    ///
    /// # Errors
    /// What the disk says.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Opens the file of a database, to read and to write it, or makes an empty one. It is locked against other
    /// processes until what is returned is dropped: the locks of the [`StorageBackend`] itself are not used.
    ///
    /// # Errors
    /// [`DatabaseError::DatabaseAlreadyOpen`] if another holds it; otherwise what the disk says.
    fn open_database(&self, path: &Path) -> Result<Arc<dyn StorageBackend>, DatabaseError>;
}

/// A file that is being written and does not have its name yet. Dropped, it is removed.
pub trait UnfinishedFile: fmt::Debug {
    /// The name for the time being.
    fn path(&self) -> &Path;

    /// Adds bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// What the disk says.
    fn sync(&mut self) -> io::Result<()>;

    /// Gives the file its name, in the place of any other of that name, at once.
    ///
    /// # Errors
    /// What the disk says.
    fn rename(self: Box<Self>, path: &Path) -> io::Result<()>;

    /// Gives the file its name, if there is no other of that name.
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if there is; otherwise what the disk says.
    fn rename_new(self: Box<Self>, path: &Path) -> io::Result<()>;
}

/// The operating system's file system.
#[derive(Debug, Clone, Copy)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn start_file(&self, folder: &Path, prefix: &str) -> io::Result<Box<dyn UnfinishedFile>> {
        // `tempfile` makes files with mode 0600.
        let file = tempfile::Builder::new().prefix(prefix).tempfile_in(folder)?;
        Ok(Box::new(file))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if cfg!(unix) {
            fs::File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    fn open_database(&self, path: &Path) -> Result<Arc<dyn StorageBackend>, DatabaseError> {
        let mut options = fs::File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(DatabaseError::DatabaseAlreadyOpen),
            Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => {
                return Err(error.into());
            }
            _ => {}
        }
        protect(path)?;
        Ok(Arc::new(FileBackend::new(file)?))
    }
}

impl UnfinishedFile for NamedTempFile {
    fn path(&self) -> &Path {
        Self::path(self)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.as_file().sync_all()
    }

    fn rename(self: Box<Self>, path: &Path) -> io::Result<()> {
        self.persist(path).map(drop).map_err(|error| error.error)
    }

    fn rename_new(self: Box<Self>, path: &Path) -> io::Result<()> {
        self.persist_noclobber(path)
            .map(drop)
            .map_err(|error| error.error)
    }
}

/// Lets nobody but the owner at a file. One that is so already is left alone: it may be another user's.
fn protect(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path)?.permissions().mode();
        if mode & 0o777 != 0o600 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}
