//! Protected MP4 as its reader sees it: which keys it needs, and its clear view.
//!
//! ```text
//!   protected  ftyp │ moov … encv( … sinf ) … pssh │ moof … senc saiz saio │ mdat ▒▒▒▒▒▒▒▒▒▒ │ …
//!   clear view ftyp │ moov … avc1( … free ) … free │ moof … free free free │ mdat samples    │ …
//!              same length, same offsets, every other byte the same
//! ```
//!
//! | step | type | what it may be used for |
//! | --- | --- | --- |
//! | open | [`LockedMedia`] | finding licenses: key ids, content header; tracks, places of samples |
//! | look ahead | [`Needs`] | the keys of a part, and the licenses that ride there: keys that rotate |
//! | add a [`KeyRing`] | [`ClearView`] | the clear bytes, from any place, and sample by sample |
//!
//! A view decrypts in place and moves nothing, so whatever points into the file stays right (`sidx`,
//! `tfra`, `stco`, boxes that nobody knows), seeking costs nothing, and memory holds the samples of one
//! window and the tables of two fragments. It reads progressive and fragmented files, and initialisation and
//! media segments one after the other, in all four schemes of ISO/IEC 23001-7, with sample groups: keys that
//! rotate, several keys in a track, clear samples among protected ones. `spec/media.md` is normative.
//!
//! What it refuses: a protected sample without a key, without auxiliary information or with information that
//! does not fit it; protection that is not common encryption; protected samples that lie outside of their
//! fragment, or over one another. No such sample is handed out as if it were clear. What it cannot know:
//! common encryption is not authenticated, so whoever can write to a file can change what it decrypts to.
//! WebM is not read; [`Matroska`] tells one by its first bytes, so that whoever names it learns why.
//!
//! ```
//! use std::io::{Cursor, Read};
//! use keyward_content::media::{ClearView, danger::RawKeys};
//!
//! // A movie without tracks, with something unknown behind it.
//! let file = b"\0\0\0\x74moov\0\0\0\x6cmvhd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x03\xe8".to_vec();
//! let file = [file, vec![0; 84], b"\0\0\0\x0cabcd1234".to_vec()].concat();
//! let mut view = ClearView::open(Cursor::new(file.clone()), RawKeys::new())?;
//! assert!(view.media().required_kids().is_empty());
//! let mut clear = Vec::new();
//! view.read_to_end(&mut clear)?;
//! assert_eq!(clear, file);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod danger;
mod file;
mod index;
mod keys;
mod locked;
mod map;
mod needs;
mod samples;
mod view;
mod webm;

use std::io;

use keyward_license::ids::Kid;

use crate::{
    cenc::CencError,
    isobmff::{BoxError, ScanError},
};

pub use keys::{KeyError, KeyRing};
pub use locked::{LockedMedia, MediaEntry, MediaTrack};
pub use needs::{MAX_RIDING_LICENSES, Needs};
pub use samples::{SampleCursor, SampleSpan};
pub use view::ClearView;
pub use webm::{Matroska, WEBM_HEAD_LEN};

/// Most bytes of a sample.
pub const MAX_SAMPLE_LEN: u32 = 256 << 20;
/// Most bytes of a `moov` box.
pub const MAX_MOVIE_LEN: u64 = 256 << 20;
/// Most bytes of a `moof` box.
pub const MAX_FRAGMENT_LEN: u64 = 64 << 20;
/// Most samples of a progressive file, or of fragments without media data between them.
pub const MAX_SAMPLES: u64 = 1 << 24;

/// Whether a file that begins with `head`, at least 8 bytes of it, is an MP4 or a segment of one: a box that
/// may be the first.
#[must_use]
pub fn begins_like_mp4(head: &[u8]) -> bool {
    const FIRST: [&[u8; 4]; 13] = [
        b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"mdat", b"free", b"skip", b"wide", b"pdin", b"emsg",
        b"prft", b"uuid",
    ];
    let Some([size, _, _, _, fourcc @ ..]) = head.first_chunk::<8>() else {
        return false;
    };
    // A text may have such letters there. It has no size below 16 MiB, as all but two of these boxes have.
    FIRST.contains(&fourcc) && (*size == 0 || matches!(fourcc, b"mdat" | b"moov"))
}

/// Why protected media cannot be read.
///
/// The reader gives it inside a [`std::io::Error`]; [`MediaError::within`] finds it there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// The source failed.
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The boxes are malformed, or ask for something that is not built.
    #[error(transparent)]
    Box(#[from] BoxError),
    /// There is no movie box: not an MP4, or media segments without their initialisation segment.
    #[error("there is no movie box (moov)")]
    NoMovie,
    /// There is no such track.
    #[error("there is no track {0}")]
    NoTrack(u32),
    /// The samples of a track are in another file.
    #[error("the samples of track {0} are in another file")]
    OtherFile(u32),
    /// The key of a sample is not there, or not for it.
    #[error("key {kid} cannot be used: {error}")]
    Key {
        /// Key id.
        kid: Kid,
        /// Why not.
        error: KeyError,
    },
    /// A sample does not decrypt as it is described.
    #[error("the sample at byte {offset} cannot be decrypted: {error}")]
    Sample {
        /// Its first byte in the file.
        offset: u64,
        /// Why not.
        error: CencError,
    },
    /// A sample behind the end of the file, or a protected one that is not where the samples of its fragment
    /// (or of the movie box) can be.
    #[error("a sample of track {track_id} at byte {offset} lies outside of its part of the file")]
    OutOfPlace {
        /// The track.
        track_id: u32,
        /// Its first byte in the file.
        offset: u64,
    },
    /// IVs and subsamples are said to be where the file has ended.
    #[error("the auxiliary information of a sample is at byte {offset}, behind the end of the file")]
    InfoOutOfPlace {
        /// Where it should be.
        offset: u64,
    },
    /// Two protected samples share bytes.
    #[error("two protected samples share the byte {offset}")]
    Overlap {
        /// A byte of both.
        offset: u64,
    },
    /// A sample longer than [`MAX_SAMPLE_LEN`].
    #[error("the sample at byte {offset} has {size} bytes, more than the 268435456 allowed")]
    SampleTooLong {
        /// Its first byte in the file.
        offset: u64,
        /// Its bytes.
        size: u32,
    },
    /// More samples, or more auxiliary information, than is held at once.
    #[error("more than {limit} {what} between two pieces of media data")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// Most that are held.
        limit: u64,
    },
}

impl MediaError {
    /// What the person who met the error can do next.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Io(_) => "check that the file can be read, then try again",
            Self::Box(error) => error.hint(),
            Self::NoMovie => "give the initialisation segment before the media segments, or another file",
            Self::NoTrack(_) => "name a track that the file has",
            Self::OtherFile(_) => "make the file self-contained: remux it",
            Self::Key { error, .. } => error.hint(),
            Self::Sample { error, .. } => error.hint(),
            Self::TooMany { .. } | Self::SampleTooLong { .. } => {
                "package the media with shorter fragments and samples"
            }
            Self::OutOfPlace { .. } | Self::InfoOutOfPlace { .. } | Self::Overlap { .. } => {
                "the content was damaged or made by a faulty packager; get it again from its source"
            }
        }
    }

    /// The error that a reader put into a [`std::io::Error`], if it is one of ours.
    #[must_use]
    pub fn within(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<MediaError> for io::Error {
    fn from(error: MediaError) -> Self {
        match error {
            MediaError::Io(error) => error,
            error => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

impl From<ScanError> for MediaError {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Io(error) => Self::Io(error),
            ScanError::Box(error) => Self::Box(error),
        }
    }
}

#[cfg(test)]
mod tests;
