//! Why media cannot be protected.

use keyward_content::{
    cenc::CencError,
    codec::CodecError,
    isobmff::{BoxError, FourCc},
    pssh::PsshError,
};
use keyward_license::{embedded::EmbedError, ids::Kid};

use super::{TrackKind, cut::MAX_SEGMENTS, periods::CryptoPeriods};

/// Why an MP4 cannot be protected sample by sample.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// The output cannot be gone back in.
    #[error("the output is a pipe or a device, and its index is filled in when everything else is written")]
    NoOverwrite,
    /// The input has no `moov` box.
    #[error("the input is not an MP4 file: it has no movie box")]
    NoMovie,
    /// A box is malformed or asks for what is not built.
    #[error(transparent)]
    Box(#[from] BoxError),
    /// A box at the top level stands where it has no meaning, or is there twice.
    #[error("the box {kind} at byte {offset} {why}")]
    Misplaced {
        /// The box.
        kind: FourCc,
        /// Where it begins in the file.
        offset: u64,
        /// What is wrong about its place.
        why: &'static str,
    },
    /// Some samples are described by the movie box, others by fragments.
    #[error("the first samples are in the movie box and others in fragments")]
    PartlyFragmented,
    /// What is to be cut into segments has no fragments.
    #[error("the samples are not in fragments")]
    NotFragmented,
    /// What is to be cut into segments has more fragments than segments have names.
    #[error("there are more than {MAX_SEGMENTS} fragments, each of which would be a segment")]
    TooManySegments,
    /// Neither a video nor an audio track.
    #[error("there is neither video nor audio to protect")]
    NothingToProtect,
    /// A clear lead as long as the media.
    #[error("the clear lead covers all of track {0}: nothing of it would be protected")]
    NothingBehindLead(u32),
    /// The file describes media but holds none.
    #[error("the file has no samples")]
    NoSamples,
    /// A track that is protected already.
    #[error("track {0} is protected already")]
    AlreadyProtected(u32),
    /// A track whose samples are in another file.
    #[error("the samples of track {0} are in another file")]
    OtherFile(u32),
    /// A codec that has no defined protection here.
    #[error("track {track} holds `{format}`, which cannot be protected sample by sample")]
    Format {
        /// The track.
        track: u32,
        /// The format of its sample entry.
        format: FourCc,
    },
    /// A decoder configuration that cannot be read.
    #[error("track {track}: {source}")]
    Configuration {
        /// The track.
        track: u32,
        /// What is wrong with it.
        source: CodecError,
    },
    /// A sample that is none of its codec.
    #[error("sample {sample} of track {track}: {source}")]
    Sample {
        /// The track.
        track: u32,
        /// The sample, from 0.
        sample: u64,
        /// What is wrong with it.
        source: CodecError,
    },
    /// Samples of a sample entry that their track does not have.
    #[error("track {track} has no sample entry {entry}, which a sample names")]
    SampleEntry {
        /// The track.
        track: u32,
        /// The number of the entry, from 1.
        entry: u32,
    },
    /// Two samples share bytes.
    #[error("two samples share bytes")]
    Overlap,
    /// A track that no key is selected for.
    #[error("no key is given for track {track} ({kind})")]
    NoKey {
        /// The track.
        track: u32,
        /// What it holds.
        kind: TrackKind,
    },
    /// Pictures whose quality cannot be told.
    #[error("track {0} does not state the size of its pictures")]
    NoPictureSize(u32),
    /// One key id that stands for two keys.
    #[error("key id {0} is given twice, with different keys")]
    KeyConflict(Kid),
    /// Keys for the whole of the media beside keys of crypto periods.
    #[error("keys are given for all of the media and for crypto periods")]
    KeysAndPeriods,
    /// A crypto period that has no index, or lasts no time.
    #[error(
        "there is no crypto period there: they last {} s, the first is number {}, and they end at 2^48",
        .0.duration.as_secs_f64(), .0.first
    )]
    Period(CryptoPeriods),
    /// Other crypto periods than those that were asked for.
    #[error("the keys are not those of crypto periods {first} to {}", first.saturating_add(*count).saturating_sub(1))]
    OtherPeriods {
        /// Index of the first that was asked for.
        first: u64,
        /// How many were asked for.
        count: u64,
    },
    /// A key id that stands in two crypto periods.
    #[error("key id {0} is given for two crypto periods, one behind the other")]
    KeyStays(Kid),
    /// A license that cannot ride in a fragment.
    #[error("a license cannot ride in its fragment: {0}")]
    Riding(#[source] EmbedError),
    /// No room for as large an embedded license store.
    #[error("beside the content header there is room for an embedded license store of {room} bytes at most")]
    StoreRoom {
        /// Bytes that there is room for.
        room: usize,
    },
    /// Sample data that is not in an `mdat` box between its fragment and the next.
    #[error("the fragment at byte {0} describes data that is not in a media data box behind it")]
    DataElsewhere(u64),
    /// More than a field of the output can say.
    #[error("{0} is larger than players can read")]
    TooLarge(&'static str),
    /// More bytes than are held, in a fragment that cannot be gone back in.
    #[error("the fragment at byte {0} is longer than 128 MiB, too long for a pipe")]
    LongFragment(u64),
    /// A sample that goes on where its fragment has ended.
    #[error("a sample goes on behind the data of its fragment")]
    Unfinished,
    /// A protection system's header cannot be written.
    #[error(transparent)]
    Pssh(#[from] PsshError),
    /// The cipher refuses its parameters.
    #[error(transparent)]
    Cenc(#[from] CencError),
}

impl MediaError {
    /// What the person who met the error can do next.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoOverwrite => "name a file as the output",
            Self::NoMovie | Self::Format { .. } | Self::NothingToProtect => {
                "protect it as a file of any kind, with `--scheme file`"
            }
            Self::Box(error) => error.hint(),
            Self::PartlyFragmented => {
                "write it anew in one form: progressive, or in fragments alone (ffmpeg: `-movflags +empty_moov`)"
            }
            Self::NotFragmented => {
                "protect it, which makes fragments, or write it anew (ffmpeg: `-movflags frag_keyframe+empty_moov`)"
            }
            Self::TooManySegments => "make longer fragments, or several files",
            Self::NothingBehindLead(_) => "make the clear lead shorter, or the fragments",
            Self::NoSamples => "package the whole file, not its initialisation segment alone",
            Self::AlreadyProtected(_) => "package the clear original",
            Self::OtherFile(_) => "make one file of it first, for example with ffmpeg `-c copy`",
            Self::Configuration { source, .. } | Self::Sample { source, .. } => source.hint(),
            Self::NoKey { .. } => "give a key for every kind of track that the file has",
            Self::KeyConflict(_) => "give each key a key id of its own",
            Self::KeysAndPeriods => "give keys of one kind alone",
            Self::Period(_) => "give a duration, and a first index that leaves room for the media",
            Self::OtherPeriods { .. } | Self::KeyStays(_) => {
                "ask whoever gives the keys: each crypto period has keys and key ids of its own"
            }
            Self::Riding(_) => "package without leaf licenses, or have the content put under fewer roots",
            Self::StoreRoom { .. } => {
                "reserve fewer bytes for embedded licenses, or shorten the header's texts"
            }
            Self::TooLarge(_) => "encode it with shorter samples, and sync samples at shorter distances",
            Self::LongFragment(_) => {
                "package it from a file, or make shorter fragments (ffmpeg: `-frag_duration`)"
            }
            Self::Cenc(error) => error.hint(),
            Self::Pssh(error) => error.hint(),
            Self::Misplaced { .. }
            | Self::DataElsewhere(_)
            | Self::SampleEntry { .. }
            | Self::NoPictureSize(_)
            | Self::Overlap
            | Self::Unfinished => "write the file anew, for example with ffmpeg `-c copy`",
        }
    }
}
