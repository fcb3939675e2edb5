//! What can go wrong while packaging.

use std::io;

use keyward_content::{file::FileError, header::HeaderError};

/// Why nothing was packaged. No output is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackagerError {
    /// The input could not be read.
    #[error("cannot read the input: {0}")]
    Read(#[source] io::Error),
    /// The output could not be written.
    #[error("cannot write the output: {0}")]
    Write(#[source] io::Error),
    /// An option breaks a rule of the content header.
    #[error("cannot make the content header: {0}")]
    ContentHeader(#[from] HeaderError),
    /// An option breaks a rule of the container, or the input is too large for it.
    #[error("cannot protect the file: {0}")]
    File(#[from] FileError),
}

impl PackagerError {
    /// What the person who met the error can do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read(_) => "check that the input exists, can be read, and does not change meanwhile",
            Self::Write(_) => "check that the output's folder exists and has room; nothing was left behind",
            Self::ContentHeader(_) => "URLs must be absolute, and custom attributes well-formed XML",
            Self::File(error) => error.hint(),
        }
    }
}
