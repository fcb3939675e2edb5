//! The top-level boxes of a file, found by hopping from header to header.

use std::io::{self, Read, Seek, SeekFrom};

use super::{BoxError, BoxHeader, BoxKind, Place, SizeForm, boxes::MAX_HEADER_LEN};

/// A box at the top level of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopBox {
    /// Where its header begins in the file.
    pub offset: u64,
    /// Its header.
    pub header: BoxHeader,
}

impl TopBox {
    /// What box it is.
    #[must_use]
    pub const fn kind(&self) -> BoxKind {
        self.header.kind
    }

    /// Where its body begins in the file.
    #[must_use]
    pub fn body_offset(&self) -> u64 {
        self.offset.saturating_add(self.header.header_len.into())
    }

    /// Where the next box begins, or the file ends.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(self.header.len)
    }

    /// Reads the whole box, header and body. The reader is left behind it.
    ///
    /// # Errors
    /// [`BoxError::TooMany`] if it has more than `limit` bytes; the reader's own errors.
    pub fn read<R: Read + Seek>(&self, reader: &mut R, limit: u64) -> Result<Vec<u8>, ScanError> {
        let too_long = BoxError::TooMany {
            path: super::BoxPath::TOP
                .join(self.kind())
                .unwrap_or(super::BoxPath::TOP),
            what: "bytes",
            limit,
        };
        let len = usize::try_from(self.header.len).map_err(|_| too_long)?;
        if self.header.len > limit {
            return Err(too_long.into());
        }
        reader.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::with_capacity(len);
        reader.take(self.header.len).read_to_end(&mut bytes)?;
        if bytes.len() != len {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(bytes)
    }
}

/// Why the boxes of a file cannot be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// The reader failed.
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The bytes are not boxes.
    #[error(transparent)]
    Box(#[from] BoxError),
}

impl ScanError {
    /// What the person who met the error can do next.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Io(_) => "check that the file can be read, then try again",
            Self::Box(error) => error.hint(),
        }
    }
}

/// The top-level boxes of a file in order. After an error nothing follows.
///
/// Only headers are read: 32 bytes a box. A box that states more bytes than the file has is an error.
#[derive(Debug)]
pub struct TopBoxes<R> {
    reader: R,
    next: u64,
    file_len: u64,
    /// Whether only the reader knows where the file ends.
    is_stream: bool,
}

impl<R: Read + Seek> TopBoxes<R> {
    /// Begins at the first byte of the file; its length is asked of the reader.
    ///
    /// # Errors
    /// The reader's own.
    pub fn new(mut reader: R) -> io::Result<Self> {
        let file_len = reader.seek(SeekFrom::End(0))?;
        Ok(Self {
            reader,
            next: 0,
            file_len,
            is_stream: false,
        })
    }

    /// Begins at the first byte of a stream whose length nobody knows: it ends where the reader does. Whether
    /// a box is all there shows when it is read, and one that is to reach to the end is an error.
    pub const fn of_stream(reader: R) -> Self {
        Self {
            reader,
            next: 0,
            file_len: u64::MAX,
            is_stream: true,
        }
    }

    /// Bytes of the file; of a stream, the most there can be.
    #[must_use]
    pub const fn file_len(&self) -> u64 {
        self.file_len
    }

    /// The reader, to read a box that was found. Its position does not matter to the scan.
    pub const fn reader(&mut self) -> &mut R {
        &mut self.reader
    }

    /// Gives the reader back.
    pub fn into_reader(self) -> R {
        self.reader
    }

    /// Nothing where a stream ends.
    fn read_header(&mut self) -> Result<Option<TopBox>, ScanError> {
        let available = self.file_len.saturating_sub(self.next);
        self.reader.seek(SeekFrom::Start(self.next))?;
        let mut bytes = [0; MAX_HEADER_LEN];
        let mut filled = 0;
        while let Some(gap @ [_, ..]) = bytes.get_mut(filled..) {
            match self.reader.read(gap) {
                Ok(0) => break,
                Ok(read) => filled = filled.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.is_stream && filled == 0 {
            return Ok(None);
        }
        let bytes = bytes.get(..filled).unwrap_or_default();
        let place = Place::in_file(self.next);
        let header = BoxHeader::parse(bytes, available, place)?;
        if self.is_stream && header.form == SizeForm::ToEnd {
            let what = "a box that reaches to the end of a stream";
            return Err(BoxError::Unsupported { place, what }.into());
        }
        Ok(Some(TopBox {
            offset: self.next,
            header,
        }))
    }
}

impl<R: Read + Seek> Iterator for TopBoxes<R> {
    type Item = Result<TopBox, ScanError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.file_len {
            return None;
        }
        let found = self.read_header().transpose();
        self.next = match &found {
            Some(Ok(found)) => found.end(),
            _ => self.file_len,
        };
        found
    }
}
