//! Which bytes of a sample are protected: subsample maps by codec.
//!
//! ```text
//!   H.264, H.265   clear: NAL length, NAL header, slice header │ protected: slice data
//!                  clear: every other NAL unit (parameter sets, SEI, delimiters, filler)
//!   audio          the whole sample is protected, there are no subsamples
//! ```
//!
//! A decoder's front end needs the headers before the key is there, and ISO/IEC 23001-7, 9.5 wants them
//! clear. The maps are those of Shaka Packager, sample by sample, in every scheme. Samples are read
//! sparsely through [`SampleSource`]: only NAL headers, slice headers and in-band parameter sets.
//!
//! What is refused: samples that their NAL units do not fill exactly, slices whose header cannot be read
//! or whose parameter sets are unknown, and kinds of NAL units that hold picture data but have no map
//! here (data partitions, auxiliary pictures, layers and views): nothing is left clear by guess.
//!
//! The bitstream parser may panic on hostile parameter sets and slices. That is caught here and becomes an
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

mod bits;
mod h264;
mod h265;
mod nal;
mod record;
mod sets;

use std::io;

use crate::cenc::{Alignment, CencError, Scheme, Subsample};

use h264::H264;
use h265::H265;
use nal::NalMapper;

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
    to_end: bool,
}

#[derive(Debug)]
enum Kind {
    Whole,
    H264(Box<NalMapper<H264>>),
    H265(Box<NalMapper<H265>>),
}

impl SampleMapper {
    /// For audio: every sample is protected as a whole.
    #[must_use]
    pub const fn audio() -> Self {
        Self::of(Kind::Whole)
    }

    /// For a video track whose (original) sample entry has the format `format` and holds the decoder
    /// configuration record `record`: the body of its `avcC` or `hvcC` box.
    ///
    /// # Errors
    /// [`CodecError::Format`] for a format that is neither H.264 nor H.265, and those of
    /// [`SampleMapper::avc`] and [`SampleMapper::hevc`].
    pub fn video(format: [u8; 4], record: &[u8]) -> Result<Self, CodecError> {
        match &format {
            b"avc1" | b"avc3" | b"dva1" | b"dvav" => Self::avc(record),
            b"hvc1" | b"hev1" | b"dvh1" | b"dvhe" => Self::hevc(record),
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

    /// Makes maps with [`Alignment::ToEnd`] where the scheme would have [`Alignment::FromStart`].
    ///
    /// The releases of Shaka Packager differ here: up to 3.4 it aligned to the end, from 3.5 to 3.8 from the
    /// start.
    #[must_use]
    pub fn aligned_to_end(self) -> Self {
        Self { to_end: true, ..self }
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
        let alignment = match scheme.alignment() {
            Alignment::FromStart if self.to_end => Alignment::ToEnd,
            alignment => alignment,
        };
        let mapped = match &mut self.kind {
            Kind::Whole => {
                out.clear();
                Ok(())
            }
            Kind::H264(mapper) => mapper.map(sample, alignment, out),
            Kind::H265(mapper) => mapper.map(sample, alignment, out),
        };
        mapped.inspect_err(|_| out.clear())
    }

    const fn of(kind: Kind) -> Self {
        Self { kind, to_end: false }
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
            Self::Format(_) | Self::NalType { .. } => "encode the video as plain H.264 or H.265",
            Self::Read(_) => "check that the input is complete and readable",
            _ => "the input is damaged, or uses a feature that is not supported; encode it again",
        }
    }
}

#[cfg(test)]
mod tests;
