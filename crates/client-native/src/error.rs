//! What a host can run into.

use std::{io::ErrorKind, path::PathBuf};

use keyward_client::{ClientError, device::KeysError, key_exchange::PerformError};
use keyward_crypto::CryptoError;

/// An error of the native client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NativeError {
    /// The client core refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A prepared key refused a call.
    #[error(transparent)]
    Perform(#[from] PerformError),
    /// A file of the client directory cannot be read or written.
    #[error("cannot {action} {}: {error}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// Another process has the store open.
    #[error("the license store {} is in use by another process", .0.display())]
    StoreInUse(PathBuf),
    /// The database refused.
    #[error("the license store {} failed: {error}", path.display())]
    Store {
        /// The database file.
        path: PathBuf,
        /// What it says.
        error: Box<redb::Error>,
    },
    /// The keys of the device, or of another party, cannot be read.
    #[error("the keys in {} cannot be read: {error}", path.display())]
    Keys {
        /// The key file.
        path: PathBuf,
        /// Why.
        error: KeysFault,
    },
    /// The license server could not be reached.
    #[error("cannot reach the license server: {0}")]
    Transport(String),
}

/// Why keys cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysFault {
    /// The key file does not open under the secret file beside it.
    #[error("the key file and the secret file do not belong together")]
    Sealed(CryptoError),
    /// One of the two files is missing.
    #[error("the file {0} is missing")]
    Missing(&'static str),
    /// The secret file has the wrong length.
    #[error("the secret file is malformed")]
    Secret,
    /// The keys are malformed.
    #[error(transparent)]
    Malformed(KeysError),
}

impl NativeError {
    /// What to do next, for people.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        if let Some(hint) = self.disk_error().and_then(hint_of_disk) {
            return hint;
        }
        match self {
            Self::Client(error) => error.hint(),
            Self::Perform(error) => error.hint(),
            Self::File { .. } => {
                "check the disk and the folder's permissions, then try again; nothing that was confirmed is lost"
            }
            Self::StoreInUse(_) => "wait until the other process has ended, or name another client directory",
            Self::Store { error, .. } => hint_of_database(error),
            Self::Keys { .. } => {
                "restore the whole folder from its backup, or remove it and enrol anew with new keys"
            }
            Self::Transport(_) => "check the network and that the license server is running, then try again",
        }
    }

    /// What the operating system says, if that is what went wrong.
    fn disk_error(&self) -> Option<ErrorKind> {
        match self {
            Self::File { error, .. } => Some(error.kind()),
            Self::Store { error, .. } => match &**error {
                redb::Error::Io(error) => Some(error.kind()),
                _ => None,
            },
            _ => None,
        }
    }
}

const fn hint_of_disk(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            Some("free some space, then try again; nothing that was confirmed is lost")
        }
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => Some(
            "make the folder and its files writable for this user, then try again; nothing that was confirmed is lost",
        ),
        _ => None,
    }
}

fn hint_of_database(error: &redb::Error) -> &'static str {
    match error {
        redb::Error::PreviousIo => {
            "check the disk, then open the client again; nothing that was confirmed is lost"
        }
        redb::Error::Io(error) if error.raw_os_error().is_some() => {
            "check the disk and the folder's permissions, then try again; nothing that was confirmed is lost"
        }
        _ => {
            "check the disk and the folder's permissions; if it stays, restore the whole client directory from its backup"
        }
    }
}
