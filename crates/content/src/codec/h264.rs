//! H.264 (ISO/IEC 14496-10): kinds of NAL units and the length of slice headers.

use std::{borrow::Cow, io::Cursor};

use cros_codecs::codec::h264::{
    nalu::Header,
    parser::{Nalu, NaluHeader, Parser},
};

use super::{
    bits::Bits,
    nal::{NalCodec, NalKind},
    sets::{SetParser, Sets, guarded},
};

/// Byte of a sequence parameter set that holds `level_idc`. The parser refuses levels that it does not
/// know, and no slice header depends on the level: it is replaced by level 4.
const LEVEL_AT: usize = 3;

#[derive(Debug, Default)]
pub(super) struct H264(Sets<Parser>);

impl NalCodec for H264 {
    /// Table 7-1 and, for `nal_ref_idc`, 7.4.1.
    fn kind(&self, head: &[u8]) -> Option<NalKind> {
        let header = *head.first()?;
        let (forbidden, referenced, kind) = (header & 0x80 != 0, header & 0x60 != 0, header & 0x1f);
        if forbidden || (kind == 5 && !referenced) {
            return None;
        }
        Some(match kind {
            1 | 5 => NalKind::Slice,
            7 | 8 => NalKind::ParameterSet,
            // Data partitions; auxiliary pictures; extensions for layers, views and depth; reserved.
            2..=4 | 19..=23 => NalKind::Undefined(kind),
            _ => NalKind::Other,
        })
    }

    fn take_in(&mut self, nal: &[u8]) -> Option<()> {
        if nal.first()? & 0x1f == 7 {
            self.0.take_sequence(nal)
        } else {
            self.0.take_picture(nal)
        }
    }

    fn header_len(&mut self, head: &[u8]) -> Option<usize> {
        let parser = self.0.parser_for(picture_set(head)?)?;
        guarded(|| {
            let slice = parser.parse_slice_header(nalu(head)?).ok()?.header;
            let bits = slice.header_bit_size;
            let len = bits.div_ceil(8).checked_add(slice.n_emulation_prevention_bytes)?;
            let cabac = parser
                .get_pps(slice.pic_parameter_set_id)?
                .entropy_coding_mode_flag;
            let last = *head.get(len.checked_sub(1)?)?;
            (!cabac || ends_in_ones(last, bits)).then_some(len)
        })
    }
}

/// `pic_parameter_set_id` of a slice: behind `first_mb_in_slice` and `slice_type`, 7.3.3.
fn picture_set(slice: &[u8]) -> Option<u8> {
    let mut bits = Bits::new(slice.get(1..)?);
    bits.skip_exp_golomb()?;
    bits.skip_exp_golomb()?;
    u8::try_from(bits.unsigned()?).ok()
}

/// `cabac_alignment_one_bit`, 7.3.4: the rest of the header's last byte is ones. Anything else shows that
/// the header was misread.
const fn ends_in_ones(last: u8, bits: usize) -> bool {
    let used = bits % 8;
    used == 0 || last.trailing_ones() as usize >= 8 - used
}

impl SetParser for Parser {
    fn sequence(&mut self, nal: &[u8]) -> Option<u8> {
        let mut known = nal.to_vec();
        *known.get_mut(LEVEL_AT).filter(|level| **level != 0)? = 40;
        guarded(|| Some(self.parse_sps(&nalu(&known)?).ok()?.seq_parameter_set_id))
    }

    fn picture(&mut self, nal: &[u8]) -> Option<u8> {
        guarded(|| Some(self.parse_pps(&nalu(nal)?).ok()?.pic_parameter_set_id))
    }
}

fn nalu(bytes: &[u8]) -> Option<Nalu<'_>> {
    let header = NaluHeader::parse(&mut Cursor::new(bytes)).ok()?;
    Some(Nalu {
        header,
        data: Cow::Borrowed(bytes),
        size: bytes.len(),
        offset: 0,
    })
}
