//! The ISO base media file format (ISO/IEC 14496-12), as far as protection needs it, byte for byte.
//!
//! ```text
//!   file ──TopBoxes──► ftyp   moov          moof            mdat   sidx, mfra, …
//!                              │             │
//!          read              Movie         Fragment                SegmentIndex
//!                            └ Track       └ TrackFragment
//!                              └ samples     └ samples             Sample: where it is, what is said of it
//!          protection          └────ProtectionCursor────►          ProtectedSample: scheme, KID, IV, subsamples
//!          clear, in place   clear_movie   clear_fragment          Overwrite: four bytes here, four bytes there
//!          edit              Node, edit::…, new_fragment           what is not touched stays as it was
//! ```
//!
//! Boxes that are read are spans of borrowed bytes, in memory once. Tables are read by cursors over those
//! bytes: a count that a file states is held against the bytes there are, and never makes an allocation.
//! [`Node`] is the editable form; it opens only where somebody looks inside.
//!
//! What it refuses: boxes that reach over the end of their container or nest too deep, required boxes that
//! are missing or there twice, tables that do not cover their samples, samples outside of the file, and every
//! form of protection that it cannot read completely, rather than to take a sample for clear. Nothing here is
//! authenticated; a file can say anything that is well-formed.
//!
//! ```
//! use keyward_content::isobmff::{BoxSpan, Fragment, FragmentDefaults, SampleFlags, TrackDefaults};
//! use keyward_content::isobmff::{NewTrackFragment, Sample, edit, new_fragment};
//!
//! // A fragment of two samples of track 1 …
//! let sample = |size| Sample {
//!     index: 0, offset: 0, size, decode_time: 0, duration: 512, composition_offset: 0,
//!     flags: SampleFlags::SYNC, description_index: 1, chunk: 0,
//! };
//! let track = NewTrackFragment {
//!     track_id: 1, description_index: 1, decode_time: 7, data_start: 0, samples: &[sample(100), sample(20)],
//! };
//! let mut moof = new_fragment(1, &[track])?;
//! // … whose data comes behind the header of `mdat`.
//! let len = moof.encoded_len();
//! edit::shift_data_offsets(&mut moof, len, i64::try_from(len)? + 8)?;
//!
//! // Read back, at byte 1000 of a file.
//! let defaults = FragmentDefaults::new(vec![TrackDefaults {
//!     track_id: 1, description_index: 1, duration: 0, size: 0, flags: SampleFlags::SYNC,
//! }]);
//! let bytes = moof.to_vec();
//! let fragment = Fragment::parse(&BoxSpan::parse(&bytes, 1000)?, &defaults)?;
//! let samples: Result<Vec<_>, _> = fragment.tracks[0].samples(7).collect();
//! let samples = samples?;
//! assert_eq!(samples[1].offset, 1000 + len + 8 + 100);
//! assert_eq!(samples[1].decode_time, 7 + 512);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod auxiliary;
mod boxes;
mod clear;
pub mod edit;
mod encryption;
mod entry;
mod error;
mod fields;
mod fourcc;
mod fragment;
mod groups;
mod index;
mod movie;
mod protection;
mod sample;
mod scan;
mod tables;
mod tree;
mod write;

use auxiliary::Auxiliary;

pub use boxes::{BoxHeader, BoxSpan, Children, MAX_HEADER_LEN, SizeForm};
pub use clear::{Overwrite, clear_fragment, clear_movie};
pub use encryption::{EntryProtection, TrackEncryption};
pub use entry::{MAX_ENTRIES, SampleEntry};
pub use error::{BoxError, BoxPath, MAX_DEPTH, Place};
pub use fields::Fields;
pub use fourcc::{BoxKind, FourCc, kind};
pub use fragment::{
    BaseForm, Fragment, FragmentSamples, MAX_EMPTY_SAMPLES, MAX_FRAGMENT_SAMPLES, MAX_RUNS,
    MAX_TRACK_FRAGMENTS, TrackFragment, TrackRun,
};
pub use groups::Groups;
pub use index::{SegmentIndex, SegmentReference, move_fragments};
pub use movie::{FragmentDefaults, Handler, MAX_TRACKS, Movie, Track, TrackDefaults};
pub use protection::{
    AuxiliaryData, ProtectedSample, ProtectionCursor, SampleDetails, SampleProtection, Subsamples,
    TrackProtection,
};
pub use sample::{Sample, SampleFlags};
pub use scan::{ScanError, TopBox, TopBoxes};
pub use tables::{ProgressiveSamples, SampleTables};
pub use tree::{MAX_CHILDREN, Node};
pub use write::{AuxiliaryBoxes, NewTrackFragment, new_fragment};

#[cfg(test)]
mod tests;
