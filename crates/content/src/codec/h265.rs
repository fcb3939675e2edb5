//! H.265 (ISO/IEC 23008-2): kinds of NAL units and the length of slice segment headers.

mod slice;

use std::{borrow::Cow, io::Cursor};

use cros_codecs::codec::{
    h264::nalu::Header,
    h265::parser::{Nalu, NaluHeader, Parser},
};

use super::{
    nal::{NalCodec, NalKind},
    sets::{SetParser, Sets, guarded},
};

const SEQUENCE_SET: u8 = 33;
const PICTURE_SET: u8 = 34;
/// Byte of a sequence parameter set, emulation prevention bytes left out: behind the NAL unit header, ids,
/// profile and 80 bits of flags.
const LEVEL_AT: usize = 14;
/// Most temporal sub-layers but the first, 7.4.3.2.1.
const MAX_LAYERS: u8 = 6;
/// Bytes of the profile of a sub-layer, 7.3.3.
const PROFILE_LEN: u32 = 11;

#[derive(Debug, Default)]
pub(super) struct H265(Sets<Parser>);

impl NalCodec for H265 {
    /// Table 7-1. Types below 32 are picture data. Slices of other layers than the base layer, as MV-HEVC has for the other
    /// view, have a header (F.7.3.6.1) that rests on the extension of the video parameter set.
    fn kind(&self, head: &[u8]) -> Option<NalKind> {
        let (kind, layer) = header(head)?;
        Some(match kind {
            0..=9 | 16..=21 if layer == 0 => NalKind::Slice,
            0..=9 | 16..=21 => NalKind::WholeSlice(slice::NAL_HEADER),
            0..=31 => NalKind::Undefined(kind),
            SEQUENCE_SET | PICTURE_SET if layer == 0 => NalKind::ParameterSet,
            _ => NalKind::Other,
        })
    }

    fn take_in(&mut self, nal: &[u8]) -> Option<()> {
        match header(nal)?.0 {
            SEQUENCE_SET => self.0.take_sequence(nal),
            _ => self.0.take_picture(nal),
        }
    }

    fn header_len(&mut self, head: &[u8]) -> Option<usize> {
        let (kind, _) = header(head)?;
        let payload = head.get(slice::NAL_HEADER..)?;
        slice::header_len(kind, payload, |id| self.0.parser_for(id)?.get_pps(id))?
            .checked_add(slice::NAL_HEADER)
    }
}

/// `nal_unit_type` and `nuh_layer_id` of a legal NAL unit header, 7.3.1.2.
fn header(nal: &[u8]) -> Option<(u8, u8)> {
    let [first, second] = *nal.first_chunk()?;
    let forbidden = first & 0x80 != 0;
    let temporal_id_plus1 = second & 7;
    if forbidden || temporal_id_plus1 == 0 {
        return None;
    }
    Some((first >> 1 & 0x3f, (first & 1) << 5 | second >> 3))
}

impl SetParser for Parser {
    fn sequence(&mut self, nal: &[u8]) -> Option<u8> {
        let simple = simplified(nal)?;
        guarded(|| Some(self.parse_sps(&nalu(&simple)?).ok()?.seq_parameter_set_id))
    }

    fn picture(&mut self, nal: &[u8]) -> Option<u8> {
        guarded(|| Some(self.parse_pps(&nalu(nal)?).ok()?.pic_parameter_set_id))
    }
}

/// A sequence parameter set with what no slice header depends on in a form that the parser reads
/// (`profile_tier_level`, 7.3.3). It refuses levels that it does not know, such as 8.5 of lossless video:
/// `general_level_idc` is replaced by level 5.1. And it takes the presence of a sub-layer's level for that of its
/// profile: nothing of sub-layers is left.
fn simplified(sequence_set: &[u8]) -> Option<Vec<u8>> {
    let payload = unescaped(sequence_set);
    let (head, rest) = payload.split_at_checked(LEVEL_AT)?;
    let (level, mut rest) = rest.split_first()?;
    let layers = head.get(slice::NAL_HEADER)? >> 1 & 7;
    if *level == 0 || layers > MAX_LAYERS {
        return None;
    }
    let mut simple = [head, &[153]].concat();
    if layers > 0 {
        let (flags, behind) = rest.split_first_chunk()?;
        let flags = u16::from_be_bytes(*flags);
        let known = flags >> (16 - 2 * u32::from(layers));
        let levels = (known & 0x5555).count_ones();
        let profiles = (known & 0xaaaa).count_ones();
        let len = profiles.checked_mul(PROFILE_LEN)?.checked_add(levels)?;
        rest = behind.get(usize::try_from(len).ok()?..)?;
        simple.extend([0; 2]);
    }
    simple.extend(rest);
    Some(escaped(&simple))
}

/// Without emulation prevention bytes, 7.3.1.1.
fn unescaped(nal: &[u8]) -> Vec<u8> {
    let mut zeros = 0_u8;
    let payload = nal.iter().copied().filter(|byte| {
        let emulation_prevention = zeros >= 2 && *byte == 3;
        zeros = if *byte == 0 { zeros.saturating_add(1) } else { 0 };
        !emulation_prevention
    });
    payload.collect()
}

/// With emulation prevention bytes.
fn escaped(payload: &[u8]) -> Vec<u8> {
    let mut nal = Vec::with_capacity(payload.len());
    let mut zeros = 0_u8;
    for byte in payload {
        if zeros >= 2 && *byte <= 3 {
            nal.push(3);
            zeros = 0;
        }
        zeros = if *byte == 0 { zeros.saturating_add(1) } else { 0 };
        nal.push(*byte);
    }
    nal
}

fn nalu(bytes: &[u8]) -> Option<Nalu<'_>> {
    Some(Nalu {
        header: NaluHeader::parse(&mut Cursor::new(bytes)).ok()?,
        data: Cow::Borrowed(bytes),
        size: bytes.len(),
        offset: 0,
    })
}
