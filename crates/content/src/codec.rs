//! Which bytes of a sample are protected: subsample maps by codec.
//!
//! ```text
//!   H.264, H.265   clear: NAL length, NAL header, slice header │ protected: slice data
//!                  clear: every other NAL unit (parameter sets, SEI, delimiters, filler)
//!   AV1            clear: headers of OBUs, frames and tile groups, sizes of tiles │ protected: tiles
//!                  clear: every other OBU (sequence headers, metadata, delimiters, padding)
//!   VP9            clear: uncompressed header, superframe index │ protected: the rest of each frame
//!   VP8, audio     the whole sample is protected, there are no subsamples
//! ```
//!
//! A decoder's front end needs the headers before the key is there, and ISO/IEC 23001-7, 9.5 wants them
//! clear. The maps are those of Shaka Packager, sample by sample, in every scheme; where whole blocks alone
//! are protected, AV1 and VP9 align them to the end of the data, as their bindings to MP4 ask for. Samples are
//! read sparsely through [`SampleSource`]: only headers and in-band parameter sets.
//!
//! What is refused: samples that their units do not fill exactly, headers that cannot be read or refer to what
//! is not there, and kinds of units that hold picture data but have no map here (data partitions, auxiliary
//! pictures, layers and views, tile lists): nothing is left clear by guess.
//!
//! The parser of H.264 and H.265 may panic on hostile parameter sets and slices. That is caught here and becomes an
//! error; a program built with `panic = "abort"`, as WebAssembly is, ends instead. Only packaging maps samples:
//! a client decrypts by the subsamples in the file and never calls in here.
//!
//! ```
//! use keyward_content::{cenc::Scheme, codec::SampleMapper};
//!
//! let mut subsamples = Vec::new();
//! SampleMapper::audio().map(&mut [0x21, 0x10, 0x04].as_slice(), Scheme::Cenc, &mut subsamples)?;
//! assert!(subsamples.is_empty());
//! # Ok::<(), keyward_content::codec::CodecError>(())
//! ```

mod av1;
mod bits;
mod h264;
mod h265;
mod nal;
mod record;
mod sets;
mod vp9;

use std::io;

use crate::cenc::{Alignment, CencError, Scheme, Subsample};

use av1::Av1;
use h264::H264;
use h265::H265;
use nal::NalMapper;
use vp9::Vp9;

/// A sample that is read sparsely.
pub trait SampleSource {
    /// Bytes of the sample.
    fn len(&self) -> u64;

    /// The `len` bytes from byte `at` on. They are never asked for behind the sample's end.
    ///
    /// # Errors
    /// What keeps them from being read.
    fn bytes(&mut self, at: u64, len: usize) -> io::Result<&[u8]>;

    /// Whether the sample has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl SampleSource for &[u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn bytes(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        usize::try_from(at)
            .ok()
            .and_then(|at| self.get(at..at.checked_add(len)?))
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Maps the samples of one track, in decoding order.
///
/// It keeps the parameter sets it has seen. It is not `Send`: make it in the thread that maps.
#[derive(Debug)]
pub struct SampleMapper {
    kind: Kind,
    /// Where whole blocks begin, if that is not as the codec has it.
    blocks: Option<Alignment>,
}

#[derive(Debug)]
enum Kind {
    Whole,
    H264(Box<NalMapper<H264>>),
    H265(Box<NalMapper<H265>>),
    Av1(Box<Av1>),
    Vp9(Vp9),
}

impl SampleMapper {
    /// For audio: every sample is protected as a whole.
    #[must_use]
    pub const fn audio() -> Self {
        Self::of(Kind::Whole)
    }

    /// For a video track whose (original) sample entry has the format `format` and holds the decoder
    /// configuration record `record`: the body of its `avcC`, `hvcC`, `av1C` or `vpcC` box.
    ///
    /// # Errors
    /// [`CodecError::Format`] for a format that is not H.264, H.265, AV1, VP9 or VP8, and those of
    /// [`SampleMapper::avc`], [`SampleMapper::hevc`], [`SampleMapper::av1`], [`SampleMapper::vp9`] and
    /// [`SampleMapper::vp8`].
    pub fn video(format: [u8; 4], record: &[u8]) -> Result<Self, CodecError> {
        match &format {
            b"avc1" | b"avc3" | b"dva1" | b"dvav" => Self::avc(record),
            b"hvc1" | b"hev1" | b"dvh1" | b"dvhe" => Self::hevc(record),
            b"av01" => Self::av1(record),
            b"vp09" => Self::vp9(record),
            b"vp08" => Self::vp8(record),
            _ => Err(CodecError::Format(format)),
        }
    }

    /// For H.264, by its decoder configuration record (ISO/IEC 14496-15, 5.3.3.1).
    ///
    /// # Errors
    /// [`CodecError::Record`] if it is cut off, of another version, or has NAL lengths of 3 bytes;
    /// [`CodecError::ParameterSet`] if a parameter set in it cannot be read.
    pub fn avc(record: &[u8]) -> Result<Self, CodecError> {
        let record = record::avc(record)?;
        let mapper = NalMapper::new(&record, H264::default())?;
        Ok(Self::of(Kind::H264(Box::new(mapper))))
    }

    /// For H.265, by its decoder configuration record (ISO/IEC 14496-15, 8.3.3.1).
    ///
    /// # Errors
    /// As [`SampleMapper::avc`].
    pub fn hevc(record: &[u8]) -> Result<Self, CodecError> {
        let record = record::hevc(record)?;
        let mapper = NalMapper::new(&record, H265::default())?;
        Ok(Self::of(Kind::H265(Box::new(mapper))))
    }

    /// For AV1, by its decoder configuration record (AV1 Codec ISO Media File Format Binding 1.3.0, 2.3).
    ///
    /// # Errors
    /// [`CodecError::Record`] if it is cut off, of another version, or has a sequence header that cannot be
    /// read or OBUs of frames.
    pub fn av1(record: &[u8]) -> Result<Self, CodecError> {
        Ok(Self::of(Kind::Av1(Box::new(Av1::new(record)?))))
    }

    /// For VP9, by its decoder configuration record (VP Codec ISO Media File Format Binding 1.0), version and
    /// flags of the box included.
    ///
    /// # Errors
    /// [`CodecError::Record`] if it is cut off or of another version.
    pub fn vp9(record: &[u8]) -> Result<Self, CodecError> {
        record::vp(record)?;
        Ok(Self::of(Kind::Vp9(Vp9::default())))
    }

    /// For VP8, by its decoder configuration record, as [`SampleMapper::vp9`]. Its binding to MP4 does not
    /// say which bytes of a sample are clear: none are.
    ///
    /// # Errors
    /// As [`SampleMapper::vp9`].
    pub fn vp8(record: &[u8]) -> Result<Self, CodecError> {
        record::vp(record)?;
        Ok(Self::of(Kind::Whole))
    }

    /// Makes maps with [`Alignment::ToEnd`] where whole blocks alone are protected, whatever the codec.
    ///
    /// The releases of Shaka Packager differ here: up to 3.4 it aligned to the end, from 3.5 to 3.8 from the
    /// start, both for every codec.
    #[must_use]
    pub fn aligned_to_end(self) -> Self {
        self.aligned(Alignment::ToEnd)
    }

    /// Makes maps with [`Alignment::FromStart`] where whole blocks alone are protected, whatever the codec, as
    /// Shaka Packager 3.5 to 3.8. For AV1 and VP9 that is not what their bindings to MP4 ask for.
    #[must_use]
    pub fn aligned_from_start(self) -> Self {
        self.aligned(Alignment::FromStart)
    }

    fn aligned(self, blocks: Alignment) -> Self {
        Self {
            blocks: Some(blocks),
            ..self
        }
    }

    /// Whether samples are protected as a whole and so have no subsamples.
    #[must_use]
    pub const fn protects_whole_samples(&self) -> bool {
        matches!(self.kind, Kind::Whole)
    }

    /// Writes the subsamples of the next sample to `out`, which is emptied first and stays empty if the
    /// sample is protected as a whole.
    ///
    /// # Errors
    /// [`CodecError`] if the sample is none of its codec; `out` is then empty.
    pub fn map(
        &mut self,
        sample: &mut impl SampleSource,
        scheme: Scheme,
        out: &mut Vec<Subsample>,
    ) -> Result<(), CodecError> {
        let alignment = self.alignment(scheme);
        let mapped = match &mut self.kind {
            Kind::Whole => {
                out.clear();
                Ok(())
            }
            Kind::H264(mapper) => mapper.map(sample, alignment, out),
            Kind::H265(mapper) => mapper.map(sample, alignment, out),
            Kind::Av1(mapper) => mapper.map(sample, alignment, out),
            Kind::Vp9(mapper) => mapper.map(sample, alignment, out),
        };
        mapped.inspect_err(|_| out.clear())
    }

    const fn of(kind: Kind) -> Self {
        Self { kind, blocks: None }
    }

    /// Which part of the data that may be protected is: in `cbcs` all of it, but of VP9, whose binding asks for
    /// whole blocks whatever the scheme.
    fn alignment(&self, scheme: Scheme) -> Alignment {
        let blocks = match &self.kind {
            Kind::Whole | Kind::H264(_) | Kind::H265(_) => Alignment::FromStart,
            Kind::Av1(_) | Kind::Vp9(_) => Alignment::ToEnd,
        };
        match (scheme.alignment(), &self.kind) {
            (Alignment::Bytes, Kind::Vp9(_)) | (Alignment::FromStart | Alignment::ToEnd, _) => {
                self.blocks.unwrap_or(blocks)
            }
            (Alignment::Bytes, _) => Alignment::Bytes,
        }
    }
}

/// The `len` bytes of a sample from `at` on, all of them.
fn fetch(sample: &mut impl SampleSource, at: u64, len: u64) -> Result<&[u8], CodecError> {
    let len = usize::try_from(len).map_err(|_| CodecError::Framing { at })?;
    let bytes = sample.bytes(at, len)?;
    if bytes.len() == len {
        Ok(bytes)
    } else {
        Err(CodecError::Read(io::ErrorKind::UnexpectedEof.into()))
    }
}

/// Why there is no map of a sample.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// A sample entry of a codec without a map.
    #[error("no subsample map for the sample entry '{}'", .0.escape_ascii())]
    Format([u8; 4]),
    /// The decoder configuration record is not one.
    #[error("the decoder configuration record is cut off, of another version, or contradicts itself")]
    Record,
    /// A parameter set that cannot be read, or is longer than any real one.
    #[error("a parameter set of the video cannot be read")]
    ParameterSet,
    /// The NAL units do not fill the sample exactly.
    #[error("the NAL units do not fill the sample exactly (byte {at})")]
    Framing {
        /// Where the NAL unit begins that is wrong, in bytes of the sample.
        at: u64,
    },
    /// A NAL unit of a reserved type, or of one that holds picture data without a map.
    #[error("the sample has a NAL unit of type {kind}, whose protection is not defined (byte {at})")]
    NalType {
        /// `nal_unit_type`.
        kind: u8,
        /// Where the NAL unit begins, in bytes of the sample.
        at: u64,
    },
    /// A slice header that cannot be read.
    #[error("a slice header cannot be read, or its parameter sets are missing (byte {at})")]
    SliceHeader {
        /// Where the NAL unit begins, in bytes of the sample.
        at: u64,
    },
    /// The OBUs do not fill the sample exactly, stand in an order that is none, or leave a frame unfinished.
    #[error("the OBUs do not fill the sample exactly, or do not follow one another (byte {at})")]
    Obu {
        /// Where the OBU begins that is wrong, in bytes of the sample.
        at: u64,
    },
    /// An OBU of a reserved type, or of one that holds picture data without a map.
    #[error("the sample has an OBU of type {kind}, whose protection is not defined (byte {at})")]
    ObuType {
        /// `obu_type`.
        kind: u8,
        /// Where the OBU begins, in bytes of the sample.
        at: u64,
    },
    /// A header of an AV1 or VP9 frame that cannot be read, or that does not fit its frame.
    #[error("a frame header cannot be read, or the frames it refers to are missing (byte {at})")]
    FrameHeader {
        /// Where the OBU or the frame begins, in bytes of the sample.
        at: u64,
    },
    /// The index of a superframe does not say where its frames are.
    #[error("the index of a superframe does not fit its frames")]
    Superframe,
    /// A range too long for a subsample.
    #[error(transparent)]
    Cenc(#[from] CencError),
    /// The sample could not be read.
    #[error("the sample cannot be read: {0}")]
    Read(#[from] io::Error),
}

impl CodecError {
    /// What the person who met the error can do next.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Format(_) | Self::NalType { .. } | Self::ObuType { .. } => {
                "encode the video as plain H.264, H.265, AV1, VP9 or VP8"
            }
            Self::Read(_) => "check that the input is complete and readable",
            _ => "the input is damaged, or uses a feature that is not supported; encode it again",
        }
    }
}

#[cfg(test)]
mod tests;
