//! What a host can run into.

use std::path::PathBuf;

use keyward_client::{ClientError, device::KeysError};
use keyward_crypto::CryptoError;

/// An error of the native client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NativeError {
    /// The client core refused.
    #[error(transparent)]
    Client(#[from] ClientError),
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
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Client(error) => error.hint(),
            Self::File { .. } => {
                "check the folder's permissions and the free space, then try again; nothing was lost"
            }
            Self::StoreInUse(_) => "wait until the other process has ended, or name another client directory",
            Self::Store { .. } => {
                "check the folder's permissions, the free space and the disk; nothing that was confirmed is lost"
            }
            Self::Keys { .. } => {
                "restore the whole folder from its backup, or remove it and enrol anew with new keys"
            }
            Self::Transport(_) => "check the network and that the license server is running, then try again",
        }
    }
}
