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

#[derive(Debug, Default)]
pub(super) struct H265(Sets<Parser>);

impl NalCodec for H265 {
    /// Table 7-1. Types below 32 are picture data.
    fn kind(&self, head: &[u8]) -> Option<NalKind> {
        let (kind, layer) = header(head)?;
        Some(match kind {
            0..=9 | 16..=21 if layer == 0 => NalKind::Slice,
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
        let known = with_known_level(nal)?;
        guarded(|| Some(self.parse_sps(&nalu(&known)?).ok()?.seq_parameter_set_id))
    }

    fn picture(&mut self, nal: &[u8]) -> Option<u8> {
        guarded(|| Some(self.parse_pps(&nalu(nal)?).ok()?.pic_parameter_set_id))
    }
}

/// The parser refuses levels that it does not know, such as 8.5 of lossless video, and no slice header
/// depends on the level: `general_level_idc` (7.3.3) is replaced by level 5.1.
fn with_known_level(sequence_set: &[u8]) -> Option<Vec<u8>> {
    let mut nal = sequence_set.to_vec();
    let mut zeros = 0;
    let mut payload = nal.iter_mut().filter(|byte| {
        let emulation_prevention = zeros >= 2 && **byte == 3;
        zeros = if **byte == 0 { zeros + 1 } else { 0 };
        !emulation_prevention
    });
    let level = payload.nth(LEVEL_AT).filter(|level| **level != 0)?;
    *level = 153;
    Some(nal)
}

fn nalu(bytes: &[u8]) -> Option<Nalu<'_>> {
    Some(Nalu {
        header: NaluHeader::parse(&mut Cursor::new(bytes)).ok()?,
        data: Cow::Borrowed(bytes),
        size: bytes.len(),
        offset: 0,
    })
}
