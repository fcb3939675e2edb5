//! One server serves an operator at a time.
//!
//! Two that answer for one operator would each keep recent answers and renew certificates for itself, and whoever
//! counts or stops one would believe that it was the only one. The lock is the system's: it ends with the process,
//! whatever ends it. Commands that write to the database beside a running server do not take it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
};

use crate::Error;

/// The right to serve an operator, until it is dropped.
#[derive(Debug)]
pub struct Serving {
    _lock: File,
}

impl Serving {
    /// Takes the right to serve the operator in `dir`.
    ///
    /// # Errors
    /// [`Error::AlreadyServed`]; [`Error::File`] if the lock's file cannot be made.
    pub fn begin(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let lock = options.open(&path).map_err(Error::file("write", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::AlreadyServed(dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(Error::file("lock", &path)(source)),
        }
    }
}

/// It stays when the server has ended, and means nothing then.
const LOCK_FILE: &str = "serving.lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_to_serve_ends_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let first = Serving::begin(dir.path()).unwrap();
        assert!(matches!(Serving::begin(dir.path()), Err(Error::AlreadyServed(_))));
        drop(first);
        Serving::begin(dir.path()).unwrap();
    }
}
