//! AV1: open bitstream units (OBUs), tile groups, and the length of frame headers.
//!
//! ```text
//!   sample      OBU │ OBU …                                                    one temporal unit
//!   OBU         header ░ │ size ░ │ payload
//!   frame       frame header ░ │ tile group
//!   tile group  header ░ │ size ░ tile ▒ │ size ░ tile ▒ │ … │ tile ▒
//! ```
//!
//! Clauses are those of the AV1 Bitstream and Decoding Process Specification, version 1.0.0 with errata 1. What a
//! frame header says depends on the sequence header and on the frames before it. A frame header is read to
//! its last bit, and what stands behind that bit has to be the padding the standard asks for: a header that was
//! misread is refused rather than protected wrongly.

mod frame;
mod quantizer;
mod references;
mod sequence;
mod tiles;

use crate::cenc::{Alignment, Subsample, SubsampleMap};

use super::{CodecError, SampleSource, bits::Bits, fetch};
use frame::{Frame, Shown};
use references::References;
use sequence::Sequence;
use tiles::{TileGroup, TileInfo};

/// Longest frame header and header of a tile group: 128 sizes of tiles, film grain, segmentation, motion.
const MAX_HEADER: u64 = 2048;
/// Longest sequence header: 32 operating points.
const MAX_SEQUENCE: u64 = 1024;
/// Longest header of an OBU, its size included.
const MAX_OBU_HEADER: u64 = 10;

/// Bytes of a decoder configuration record in front of its OBUs.
const RECORD_FIELDS: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Av1 {
    sequence: Option<Sequence>,
    references: References,
    /// The frame whose tiles are not all there yet, with the number of the next one.
    open: Option<(Frame, u32)>,
}

/// The layers that an OBU belongs to.
#[derive(Debug, Clone, Copy, Default)]
struct Layers {
    temporal: u32,
    spatial: u32,
}

/// An OBU in a sample.
#[derive(Debug, Clone, Copy)]
struct Obu {
    kind: u8,
    layers: Option<Layers>,
    /// Where it begins in the sample, where its payload does, and where it ends.
    at: u64,
    payload: u64,
    end: u64,
}

impl Av1 {
    /// By the body of an `av1C` box (AV1-ISOBMFF, 2.3).
    pub(super) fn new(record: &[u8]) -> Result<Self, CodecError> {
        const MARKER_AND_VERSION: u8 = 0x81;
        let fields = record.split_at_checked(RECORD_FIELDS);
        let (_, mut obus) = fields
            .filter(|(fields, _)| fields.first() == Some(&MARKER_AND_VERSION))
            .ok_or(CodecError::Record)?;
        let mut codec = Self::default();
        let mut at = 0;
        while at < obus.len() as u64 {
            let obu = Obu::read(&mut obus, at).ok_or(CodecError::Record)?;
            match obu.kind {
                obu_type::SEQUENCE_HEADER => {
                    let payload = fetch(&mut obus, obu.payload, obu.len())?;
                    codec.sequence = Some(Sequence::read(payload).ok_or(CodecError::Record)?);
                }
                obu_type::METADATA | obu_type::PADDING => {}
                _ => return Err(CodecError::Record),
            }
            at = obu.end;
        }
        Ok(codec)
    }

    pub(super) fn map(
        &mut self,
        sample: &mut impl SampleSource,
        alignment: Alignment,
        out: &mut Vec<Subsample>,
    ) -> Result<(), CodecError> {
        let mut map = Map {
            map: SubsampleMap::new(out, alignment),
            at: 0,
        };
        let mut at = 0;
        while at < sample.len() {
            let obu = Obu::read(sample, at).ok_or(CodecError::Obu { at })?;
            self.unit(sample, &obu, &mut map)?;
            map.clear_to(obu.end)?;
            at = obu.end;
        }
        if self.open.is_some() {
            return Err(CodecError::Obu { at });
        }
        map.map.finish()?;
        Ok(())
    }

    /// 5.3.1.
    fn unit(
        &mut self,
        sample: &mut impl SampleSource,
        obu: &Obu,
        map: &mut Map<'_>,
    ) -> Result<(), CodecError> {
        let wrong = CodecError::Obu { at: obu.at };
        match obu.kind {
            obu_type::SEQUENCE_HEADER if self.open.is_none() => self.take_sequence(sample, obu),
            obu_type::TEMPORAL_DELIMITER if self.open.is_none() && obu.len() == 0 => Ok(()),
            // While a frame is open, frame headers repeat its own (6.8.1).
            obu_type::FRAME_HEADER | obu_type::REDUNDANT_FRAME_HEADER if self.open.is_some() => Ok(()),
            obu_type::FRAME_HEADER => self.begin_frame(sample, obu).map(drop),
            obu_type::FRAME if self.open.is_none() => {
                let header = self.begin_frame(sample, obu)?;
                self.tile_group(sample, obu, obu.payload.saturating_add(header), map)
            }
            obu_type::TILE_GROUP => self.tile_group(sample, obu, obu.payload, map),
            obu_type::METADATA | obu_type::PADDING => Ok(()),
            obu_type::SEQUENCE_HEADER
            | obu_type::TEMPORAL_DELIMITER
            | obu_type::REDUNDANT_FRAME_HEADER
            | obu_type::FRAME => Err(wrong),
            // Tile lists hold pictures, and nobody knows what reserved types hold.
            kind => Err(CodecError::ObuType { kind, at: obu.at }),
        }
    }

    fn take_sequence(&mut self, sample: &mut impl SampleSource, obu: &Obu) -> Result<(), CodecError> {
        let wrong = CodecError::FrameHeader { at: obu.at };
        if obu.len() > MAX_SEQUENCE {
            return Err(wrong);
        }
        let payload = fetch(sample, obu.payload, obu.len())?;
        self.sequence = Some(Sequence::read(payload).ok_or(wrong)?);
        Ok(())
    }

    /// Reads a frame header and returns its bytes. Unless all it says is which frame to show, tiles follow.
    fn begin_frame(&mut self, sample: &mut impl SampleSource, obu: &Obu) -> Result<u64, CodecError> {
        let wrong = CodecError::FrameHeader { at: obu.at };
        let Some(sequence) = &self.sequence else {
            return Err(wrong);
        };
        let head = fetch(sample, obu.payload, obu.len().min(MAX_HEADER))?;
        let mut bits = Bits::plain(head);
        let whole = obu.kind == obu_type::FRAME;
        let read = Frame::read(&mut bits, sequence, obu.layers, &mut self.references);
        match read {
            Some(Shown::Before) if !whole => {}
            Some(Shown::New(frame)) => self.open = Some((frame, 0)),
            _ => return Err(wrong),
        }
        let padded = if whole {
            bits.zeros_to_byte().is_some()
        } else {
            ends_in_trailing_bits(&mut bits, obu.len())
        };
        if !padded {
            return Err(wrong);
        }
        Ok(bits.bytes_read() as u64)
    }

    /// The tile group at `at`, which goes to the end of its OBU, 5.11.1.
    fn tile_group(
        &mut self,
        sample: &mut impl SampleSource,
        obu: &Obu,
        mut at: u64,
        map: &mut Map<'_>,
    ) -> Result<(), CodecError> {
        let wrong = || CodecError::FrameHeader { at: obu.at };
        let Some((frame, next)) = self.open.take() else {
            return Err(CodecError::Obu { at: obu.at });
        };
        let head = fetch(sample, at, obu.end.saturating_sub(at).min(MAX_OBU_HEADER))?;
        let group = TileGroup::read(head, &frame.tiles, next).ok_or_else(wrong)?;
        at = at.saturating_add(group.header);
        for _ in group.first..group.last {
            let (tile, end) = tile(sample, at, obu.end, &frame.tiles)?.ok_or_else(wrong)?;
            map.tile(tile, end)?;
            at = end;
        }
        if at >= obu.end {
            return Err(wrong());
        }
        map.tile(at, obu.end)?;
        let done = group.last.saturating_add(1);
        if done == frame.tiles.count() {
            self.references.update(&frame);
        } else {
            self.open = Some((frame, done));
        }
        Ok(())
    }
}

/// Where the tile behind the size at `at` begins and ends; nothing if that leaves no byte for the next one.
fn tile(
    sample: &mut impl SampleSource,
    at: u64,
    end: u64,
    tiles: &TileInfo,
) -> Result<Option<(u64, u64)>, CodecError> {
    let field = u64::from(tiles.size_bytes);
    let begin = at.saturating_add(field);
    if begin >= end {
        return Ok(None);
    }
    let size = fetch(sample, at, field)?
        .iter()
        .rev()
        .fold(0, |size: u64, byte| size << 8 | u64::from(*byte));
    let behind = begin.saturating_add(size).saturating_add(1);
    Ok((behind < end).then_some((begin, behind)))
}

/// `trailing_bits()` of a payload of `len` bytes, 5.3.4: a one, then zeros to the end of the payload.
fn ends_in_trailing_bits(bits: &mut Bits<'_>, len: u64) -> bool {
    bits.alignment().is_some() && bits.zero_bytes_to(len).is_some()
}

impl Obu {
    /// 5.3.2; nothing if it is no legal one or goes beyond the sample. The last one of a sample may come
    /// without its size (AV1-ISOBMFF, 2.4).
    fn read(sample: &mut impl SampleSource, at: u64) -> Option<Self> {
        let there = sample.len().saturating_sub(at);
        let head = fetch(sample, at, there.min(MAX_OBU_HEADER)).ok()?;
        let mut bits = Bits::plain(head);
        if bits.flag()? {
            return None; // obu_forbidden_bit
        }
        let kind = u8::try_from(bits.bits(4)?).ok()?;
        let (extended, sized) = (bits.flag()?, bits.flag()?);
        bits.skip(1)?; // obu_reserved_1bit
        let mut layers = None;
        if extended {
            layers = Some(Layers {
                temporal: bits.bits(3)?,
                spatial: bits.bits(2)?,
            });
            bits.skip(3)?; // extension_header_reserved_3bits
        }
        let size = if sized { Some(leb128(&mut bits)?) } else { None };
        let header = bits.bytes_read() as u64;
        let len = size.unwrap_or_else(|| there.saturating_sub(header));
        let payload = at.saturating_add(header);
        let end = payload.saturating_add(len);
        (end <= sample.len()).then_some(Self {
            kind,
            layers,
            at,
            payload,
            end,
        })
    }

    /// Bytes of the payload.
    const fn len(&self) -> u64 {
        self.end.saturating_sub(self.payload)
    }
}

/// 4.10.5.
fn leb128(bits: &mut Bits<'_>) -> Option<u64> {
    let mut value = 0_u64;
    for byte in 0..8_u32 {
        let more = bits.flag()?;
        value |= u64::from(bits.bits(7)?) << (7 * byte);
        if !more {
            return (value <= u32::MAX.into()).then_some(value);
        }
    }
    None
}

/// A map that is written by places in the sample.
struct Map<'a> {
    map: SubsampleMap<'a>,
    /// What is before is mapped.
    at: u64,
}

impl Map<'_> {
    fn tile(&mut self, begin: u64, end: u64) -> Result<(), CodecError> {
        let clear = begin.saturating_sub(self.at);
        self.map.push(clear, end.saturating_sub(begin))?;
        self.at = end;
        Ok(())
    }

    fn clear_to(&mut self, end: u64) -> Result<(), CodecError> {
        self.map.push(end.saturating_sub(self.at), 0)?;
        self.at = end;
        Ok(())
    }
}

/// `obu_type`, 6.2.2.
mod obu_type {
    pub(super) const SEQUENCE_HEADER: u8 = 1;
    pub(super) const TEMPORAL_DELIMITER: u8 = 2;
    pub(super) const FRAME_HEADER: u8 = 3;
    pub(super) const TILE_GROUP: u8 = 4;
    pub(super) const METADATA: u8 = 5;
    pub(super) const FRAME: u8 = 6;
    pub(super) const REDUNDANT_FRAME_HEADER: u8 = 7;
    pub(super) const PADDING: u8 = 15;
}
