//! VP9: superframes, and the length of uncompressed headers.
//!
//! ```text
//!   sample   frame │ frame … │ superframe index       one frame and no index, or up to eight and an index
//!   frame    uncompressed header ░ │ compressed header ▒ │ tiles ▒
//! ```
//!
//! Clauses are those of the VP9 Bitstream and Decoding Process Specification, version 0.6.

mod header;

use crate::cenc::{Alignment, Subsample, SubsampleMap};

use super::{CodecError, SampleSource, fetch};
use header::Header;

/// Longest uncompressed header: segmentation data of eight segments, sizes, deltas.
const MAX_HEADER: u64 = 256;
/// Bytes of a superframe index of eight frames with sizes of 4 bytes.
const MAX_INDEX: u64 = 34;

/// Width and height of a frame.
type Size = (u32, u32);

#[derive(Debug, Default)]
pub(super) struct Vp9 {
    /// The size of each reference frame that is there.
    references: [Option<Size>; 8],
}

impl Vp9 {
    pub(super) fn map(
        &mut self,
        sample: &mut impl SampleSource,
        alignment: Alignment,
        out: &mut Vec<Subsample>,
    ) -> Result<(), CodecError> {
        let mut map = SubsampleMap::new(out, alignment);
        let len = sample.len();
        let mut at = 0;
        for frame in frames(sample)? {
            let header = self.frame(sample, at, frame)?;
            map.push(header, frame.saturating_sub(header))?;
            at = at.saturating_add(frame);
        }
        map.push(len.saturating_sub(at), 0)?;
        map.finish()?;
        Ok(())
    }

    /// Bytes of the frame at `at` that are clear.
    fn frame(&mut self, sample: &mut impl SampleSource, at: u64, len: u64) -> Result<u64, CodecError> {
        let head = fetch(sample, at, len.min(MAX_HEADER))?;
        match Header::read(head, &self.references) {
            Some(Header::Shown { len: header }) if header == len => Ok(len),
            Some(Header::Coded {
                len: header,
                compressed,
                size,
                refresh,
            }) if header.saturating_add(compressed) <= len => {
                for (number, reference) in (0..).zip(&mut self.references) {
                    if refresh & (1 << number) != 0 {
                        *reference = Some(size);
                    }
                }
                Ok(header)
            }
            _ => Err(CodecError::FrameHeader { at }),
        }
    }
}

/// The sizes of the frames in a sample, Annex B.
fn frames(sample: &mut impl SampleSource) -> Result<Vec<u64>, CodecError> {
    let len = sample.len();
    if len == 0 {
        return Ok(Vec::new());
    }
    let tail = fetch(sample, len.saturating_sub(MAX_INDEX), len.min(MAX_INDEX))?;
    let Some(marker) = tail.last().copied().filter(|marker| marker & 0xe0 == 0xc0) else {
        return Ok(vec![len]);
    };
    let size_len = usize::from(marker >> 3 & 3).saturating_add(1);
    let count = usize::from(marker & 7).saturating_add(1);
    let index_len = size_len.saturating_mul(count).saturating_add(2);
    let superframe = CodecError::Superframe;
    let index = tail
        .len()
        .checked_sub(index_len)
        .and_then(|start| tail.get(start..));
    let Some([first, sizes @ .., _]) = index else {
        return Err(superframe);
    };
    let little_endian = |size: &[u8]| {
        size.iter()
            .rev()
            .fold(0, |size: u64, byte| size << 8 | u64::from(*byte))
    };
    let frames: Vec<u64> = sizes.chunks(size_len).map(little_endian).collect();
    let total = frames
        .iter()
        .fold(index_len as u64, |sum: u64, frame| sum.saturating_add(*frame));
    if *first != marker || total != len || frames.contains(&0) {
        return Err(superframe);
    }
    Ok(frames)
}
