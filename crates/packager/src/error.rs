//! What can go wrong while packaging.

use std::io;

use keyward_content::{
    file::FileError,
    header::HeaderError,
    isobmff::{BoxError, ScanError},
};

use crate::{MediaError, exchange::ExchangeError};

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
    /// The input is media that cannot be protected sample by sample.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The license server gave no keys for the crypto periods that the media reaches.
    #[error(transparent)]
    Exchange(Box<ExchangeError>),
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
            Self::Media(error) => error.hint(),
            Self::Exchange(error) => error.hint(),
        }
    }
}

impl From<ScanError> for PackagerError {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Io(error) => Self::Read(error),
            ScanError::Box(error) => MediaError::Box(error).into(),
            other => Self::Read(io::Error::other(other)),
        }
    }
}

impl From<BoxError> for PackagerError {
    fn from(error: BoxError) -> Self {
        MediaError::Box(error).into()
    }
}

impl From<ExchangeError> for PackagerError {
    fn from(error: ExchangeError) -> Self {
        Self::Exchange(Box::new(error))
    }
}
