//! Why boxes are not what they should be, and where.

use core::fmt;

use super::{BoxKind, FourCc};

/// Deepest nesting of boxes that is followed. `moov/trak/mdia/minf/stbl/stsd/encv/sinf/schi/tenc` has ten.
pub const MAX_DEPTH: usize = 12;

/// The boxes around a place, the outermost first: `moov/trak/tkhd`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BoxPath {
    kinds: [FourCc; MAX_DEPTH],
    depth: u8,
}

impl BoxPath {
    /// The place outside of every box.
    pub(crate) const TOP: Self = Self {
        kinds: [FourCc([0; 4]); MAX_DEPTH],
        depth: 0,
    };

    /// The path of a box inside of this one; nothing if that is too deep.
    pub(crate) fn join(mut self, kind: BoxKind) -> Option<Self> {
        *self.kinds.get_mut(usize::from(self.depth))? = kind.fourcc();
        self.depth = self.depth.saturating_add(1);
        Some(self)
    }

    /// The boxes, the outermost first.
    pub fn kinds(&self) -> impl Iterator<Item = FourCc> {
        self.kinds.into_iter().take(self.depth.into())
    }
}

impl fmt::Display for BoxPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.depth == 0 {
            return f.write_str("the file");
        }
        for (depth, kind) in self.kinds().enumerate() {
            write!(f, "{}{kind}", if depth == 0 { "" } else { "/" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for BoxPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A place in a box: which one, and the byte, counted from the first byte of its header. Of the path "the
/// file" it is the byte in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The box.
    pub path: BoxPath,
    /// The byte in it.
    pub offset: u64,
}

impl Place {
    /// A place outside of every box.
    pub(crate) const fn in_file(offset: u64) -> Self {
        Self {
            path: BoxPath::TOP,
            offset,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.path, self.offset)
    }
}

/// Why boxes cannot be read or edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoxError {
    /// A box ends inside one of its fields.
    #[error("{0}: the box ends inside a field")]
    CutOff(Place),
    /// A box states a size that its container does not have, or that is less than its header.
    #[error("{place}: a box states {stated} bytes where there are {available}")]
    Size {
        /// Where the box begins, in its container.
        place: Place,
        /// The size field.
        stated: u64,
        /// Bytes from there to the end of the container.
        available: u64,
    },
    /// More nested boxes than [`MAX_DEPTH`].
    #[error("{0}: boxes are nested more than 12 deep")]
    TooDeep(Place),
    /// A required box is absent.
    #[error("{path} lacks the box {missing}")]
    Missing {
        /// The container.
        path: BoxPath,
        /// The box.
        missing: FourCc,
    },
    /// A box stands twice where it may stand once.
    #[error("{place}: the box {repeated} is there twice")]
    Repeated {
        /// Where the second one begins, in its container.
        place: Place,
        /// The box.
        repeated: FourCc,
    },
    /// A table states more entries than its bytes hold.
    #[error("{place}: {stated} entries are stated but there are bytes for {held}")]
    Count {
        /// Where the table begins.
        place: Place,
        /// Entries stated.
        stated: u64,
        /// Entries that the bytes hold.
        held: u64,
    },
    /// A table has no entry for something that needs one.
    #[error("{path} has no entry for sample {sample}")]
    NoEntry {
        /// The table.
        path: BoxPath,
        /// The sample, from 0.
        sample: u64,
    },
    /// A field breaks a rule of the standard.
    #[error("{place}: {rule}")]
    Invalid {
        /// The field.
        place: Place,
        /// The rule, as a sentence about the field.
        rule: &'static str,
    },
    /// The bytes may follow the standard, but ask for something that is not built.
    #[error("{place}: {what} is not supported")]
    Unsupported {
        /// The field or box.
        place: Place,
        /// What it asks for.
        what: &'static str,
    },
    /// Two tracks with one id, or a track of id 0.
    #[error("{path}: the track id {id} is 0 or not unique")]
    TrackId {
        /// Where it stands.
        path: BoxPath,
        /// The id.
        id: u32,
    },
    /// A fragment or an index of a track that the movie does not have.
    #[error("{path}: there is no track {id}")]
    UnknownTrack {
        /// Where it stands.
        path: BoxPath,
        /// The id.
        id: u32,
    },
    /// More of something than is followed.
    #[error("{path} has more than {limit} {what}")]
    TooMany {
        /// The container.
        path: BoxPath,
        /// Of what.
        what: &'static str,
        /// Most that are followed.
        limit: u64,
    },
    /// A position or size above what its field holds, or past the end of the file.
    #[error("{path}: {what} is past the end of the file or of its field")]
    OutOfRange {
        /// The box.
        path: BoxPath,
        /// Of what.
        what: &'static str,
    },
    /// A cursor was asked for another sample than the next one: a program did that, not a file.
    #[error("{path}: the samples are not asked for in order (sample {sample})")]
    OutOfOrder {
        /// The track or track fragment.
        path: BoxPath,
        /// The sample that was asked for, from 0.
        sample: u64,
    },
    /// A new box does not fit its place: a program asked for it, not a file.
    #[error("{path} cannot be edited: {why}")]
    Edit {
        /// The box to be edited.
        path: BoxPath,
        /// Why not.
        why: &'static str,
    },
}

impl BoxError {
    /// What the person who met the error can do next.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } => "make the file again without that feature, or update Keyward",
            Self::TooMany { .. } | Self::TooDeep(_) => {
                "make the file again with fewer tracks, shorter fragments or fewer nested boxes"
            }
            Self::Edit { .. } | Self::OutOfOrder { .. } => "this is a fault of Keyward; please report it",
            Self::OutOfRange { .. } | Self::Size { .. } | Self::CutOff(_) => {
                "the file is damaged or not complete; get it again from its source"
            }
            _ => "the file was damaged or made by a faulty program; make it again, or remux it",
        }
    }
}
