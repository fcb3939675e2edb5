//! Samples of a track, one after the other.

use keyward_license::ids::Kid;

use super::map::Spot;

/// A sample: where it is, in the protected file and in its clear view alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SampleSpan {
    /// Its track.
    pub track_id: u32,
    /// Its first byte in the file.
    pub offset: u64,
    /// Its bytes.
    pub size: u32,
    /// Its sample entry, from 1.
    pub description_index: u32,
    /// The key it is protected with; nothing if it is clear.
    pub kid: Option<Kid>,
}

/// A place between two samples of a track, in decoding order:
/// [`LockedMedia::next_sample`](super::LockedMedia::next_sample) goes on from it.
#[derive(Debug, Clone)]
pub struct SampleCursor {
    pub(super) track_id: u32,
    /// Which part of the file: the movie box, then fragments.
    pub(super) part: usize,
    pub(super) spot: Spot,
}
