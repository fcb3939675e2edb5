//! Samples made of NAL units behind length fields (ISO/IEC 14496-15, 4.3.3).

use crate::cenc::{Alignment, Subsample, SubsampleMap};

use super::{CodecError, SampleSource, fetch, record::Record};

/// Bytes of a NAL unit that are fetched first. Most slice headers are below 32 bytes.
const FIRST_LOOK: u64 = 96;
/// Longest slice header: one of H.265 holds an entry point, of up to 4 bytes, for each tile and row.
const MAX_HEADER: u64 = 64 * 1024;
/// Longest parameter set.
const MAX_SET: u64 = 16 * 1024;

/// What a NAL unit is, as far as protection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NalKind {
    /// A slice: its data is protected.
    Slice,
    /// A slice whose header is not read: all of it behind so many bytes of NAL unit header is protected.
    WholeSlice(usize),
    /// A parameter set that slice headers depend on.
    ParameterSet,
    /// Not picture data: clear.
    Other,
    /// Picture data without a map, or a reserved type that may be that.
    Undefined(u8),
}

/// What a codec made of NAL units knows.
pub(super) trait NalCodec {
    /// What the NAL unit that begins with `head` is; nothing if its header is not a legal one.
    fn kind(&self, head: &[u8]) -> Option<NalKind>;

    /// Takes in a whole parameter set; nothing if it cannot be read.
    fn take_in(&mut self, nal: &[u8]) -> Option<()>;

    /// Bytes of NAL header and slice header of the slice that begins with `head`; nothing if the header
    /// does not end in `head` or cannot be read.
    fn header_len(&mut self, head: &[u8]) -> Option<usize>;
}

#[derive(Debug)]
pub(super) struct NalMapper<C> {
    length_size: usize,
    codec: C,
}

impl<C: NalCodec> NalMapper<C> {
    pub(super) fn new(record: &Record<'_>, mut codec: C) -> Result<Self, CodecError> {
        let mut early = Vec::new();
        for nal in &record.nals {
            let kind = codec.kind(nal).ok_or(CodecError::ParameterSet)?;
            // Of H.265 a picture parameter set may stand ahead of the sequence parameter set that it names.
            if kind == NalKind::ParameterSet && codec.take_in(nal).is_none() {
                early.push(nal);
            }
        }
        for nal in early {
            codec.take_in(nal).ok_or(CodecError::ParameterSet)?;
        }
        let length_size = record.length_size;
        Ok(Self { length_size, codec })
    }

    pub(super) fn map(
        &mut self,
        sample: &mut impl SampleSource,
        alignment: Alignment,
        out: &mut Vec<Subsample>,
    ) -> Result<(), CodecError> {
        let mut map = SubsampleMap::new(out, alignment);
        let mut at = 0;
        while at < sample.len() {
            let nal = self.unit(sample, at)?;
            map.push(nal.clear, nal.protected)?;
            at = at.saturating_add(nal.clear).saturating_add(nal.protected);
        }
        map.finish()?;
        Ok(())
    }

    /// The ranges of the NAL unit at `at`, its length field included.
    fn unit(&mut self, sample: &mut impl SampleSource, at: u64) -> Result<Ranges, CodecError> {
        let framing = CodecError::Framing { at };
        let field = self.length_size as u64;
        let there = sample.len().saturating_sub(at);
        let head = fetch(sample, at, there.min(FIRST_LOOK.saturating_add(field)))?;
        let Some((length, head)) = head.split_at_checked(self.length_size) else {
            return Err(framing);
        };
        let len = length.iter().fold(0_u64, |len, byte| len << 8 | u64::from(*byte));
        if len == 0 || len > there.saturating_sub(field) {
            return Err(framing);
        }
        let head = usize::try_from(len)
            .ok()
            .and_then(|len| head.get(..len))
            .unwrap_or(head);
        let start = at.saturating_add(field);
        let header = match self.codec.kind(head).ok_or(framing)? {
            NalKind::Undefined(kind) => return Err(CodecError::NalType { kind, at }),
            NalKind::Other => len,
            NalKind::WholeSlice(header) => header as u64,
            NalKind::ParameterSet => {
                let nal = Some(len)
                    .filter(|len| *len <= MAX_SET)
                    .ok_or(CodecError::ParameterSet)?;
                let nal = fetch(sample, start, nal)?;
                self.codec.take_in(nal).ok_or(CodecError::ParameterSet)?;
                len
            }
            NalKind::Slice => match self.codec.header_len(head) {
                Some(header) => header as u64,
                None => self
                    .long_header(sample, start, len)?
                    .ok_or(CodecError::SliceHeader { at })?,
            },
        };
        Ok(Ranges {
            clear: field.saturating_add(header),
            protected: len.saturating_sub(header),
        })
    }

    /// Looks for the end of a slice header behind the first bytes of its NAL unit.
    fn long_header(
        &mut self,
        sample: &mut impl SampleSource,
        start: u64,
        len: u64,
    ) -> Result<Option<u64>, CodecError> {
        let mut look = FIRST_LOOK;
        while look < len.min(MAX_HEADER) {
            look = look.saturating_mul(8).min(len).min(MAX_HEADER);
            if let Some(header) = self.codec.header_len(fetch(sample, start, look)?) {
                return Ok(Some(header as u64));
            }
        }
        Ok(None)
    }
}

struct Ranges {
    clear: u64,
    protected: u64,
}
