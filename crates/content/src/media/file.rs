//! Reading the source at places.

use std::io::{self, Read, Seek, SeekFrom};

use crate::isobmff::{BoxError, BoxHeader, BoxPath, FourCc, MAX_HEADER_LEN, Place};

use super::MediaError;

/// Fills `bytes` with those from `at` on.
pub(super) fn read_at(source: &mut (impl Read + Seek), at: u64, bytes: &mut [u8]) -> io::Result<()> {
    source.seek(SeekFrom::Start(at))?;
    source.read_exact(bytes)
}

/// Reads the header of the box at `at`, which ends at `end` or before.
pub(super) fn header_at(source: &mut (impl Read + Seek), at: u64, end: u64) -> Result<BoxHeader, MediaError> {
    let available = end.saturating_sub(at);
    let len = usize::try_from(available)
        .unwrap_or(MAX_HEADER_LEN)
        .min(MAX_HEADER_LEN);
    let mut bytes = [0; MAX_HEADER_LEN];
    let bytes = bytes.get_mut(..len).unwrap_or_default();
    read_at(source, at, bytes)?;
    Ok(BoxHeader::parse(bytes, available, Place::in_file(at))?)
}

/// Reads the whole box at `at`, unless it is longer than `limit`.
pub(super) fn box_at(
    source: &mut (impl Read + Seek),
    at: u64,
    len: u64,
    kind: FourCc,
    limit: u64,
) -> Result<Vec<u8>, MediaError> {
    let path = BoxPath::TOP.join(kind.into()).unwrap_or(BoxPath::TOP);
    let too_long = BoxError::TooMany {
        path,
        what: "bytes",
        limit,
    };
    if len > limit {
        return Err(too_long.into());
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| too_long)?];
    read_at(source, at, &mut bytes)?;
    Ok(bytes)
}

/// Small pieces of the source, most of them one behind the other.
pub(super) struct Fetch<'r, R> {
    source: &'r mut R,
    start: u64,
    bytes: Vec<u8>,
}

/// Bytes read at once.
const FETCHED: usize = 16 * 1024;

impl<'r, R: Read + Seek> Fetch<'r, R> {
    pub(super) const fn new(source: &'r mut R) -> Self {
        Self {
            source,
            start: 0,
            bytes: Vec::new(),
        }
    }

    /// The source again.
    pub(super) fn into_source(self) -> &'r mut R {
        self.source
    }

    /// The `len` bytes from `at` on.
    pub(super) fn bytes(&mut self, at: u64, len: u8) -> Result<&[u8], MediaError> {
        let held = |fetch: &Self| {
            let from = usize::try_from(at.checked_sub(fetch.start)?).ok()?;
            let range = from..from.checked_add(len.into())?;
            (range.end <= fetch.bytes.len()).then_some(range)
        };
        if held(self).is_none() {
            self.fill(at)?;
        }
        held(self)
            .and_then(|range| self.bytes.get(range))
            .ok_or(MediaError::InfoOutOfPlace { offset: at })
    }

    fn fill(&mut self, at: u64) -> io::Result<()> {
        self.bytes.clear();
        self.start = at;
        self.source.seek(SeekFrom::Start(at))?;
        let piece = self.source.take(FETCHED as u64);
        { piece }.read_to_end(&mut self.bytes).map(drop)
    }
}
