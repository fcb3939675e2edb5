//! The slice segment header of H.265, 7.3.6: only its length is wanted.
//!
//! It is read here because the parser that reads the parameter sets keeps at most 32 entry points, fewer
//! than a picture of 2160 rows in wavefronts has.

use cros_codecs::codec::h265::parser::{Pps, ShortTermRefPicSet, Sps};

use super::super::bits::Bits;

/// Bytes of a NAL unit header.
pub(super) const NAL_HEADER: usize = 2;

const MAX_REFERENCES: u32 = 15;
const MAX_PICTURES: u32 = 32;

/// Bytes of the slice segment header that `payload` (a NAL unit behind its header) begins with, by the
/// picture parameter set that `find` answers; nothing if it is cut off or not a legal one.
pub(super) fn header_len<'p>(
    nal_type: u8,
    payload: &[u8],
    find: impl FnOnce(u8) -> Option<&'p std::rc::Rc<Pps>>,
) -> Option<usize> {
    let mut bits = Bits::new(payload);
    let first_in_picture = bits.flag()?;
    if (16..=23).contains(&nal_type) {
        bits.skip(1)?; // no_output_of_prior_pics_flag
    }
    let pps = find(u8::try_from(bits.unsigned()?).ok()?)?;
    let mut dependent = false;
    if !first_in_picture {
        dependent = pps.dependent_slice_segments_enabled_flag && bits.flag()?;
        bits.skip(ceil_log2(pps.sps.pic_size_in_ctbs_y))?; // slice_segment_address
    }
    if !dependent {
        independent(&mut bits, nal_type, pps, &pps.sps)?;
    }
    if pps.tiles_enabled_flag || pps.entropy_coding_sync_enabled_flag {
        entry_points(&mut bits)?;
    }
    if pps.slice_segment_header_extension_present_flag {
        let bytes = bits.at_most(256)?;
        bits.skip(bytes.checked_mul(8)?)?;
    }
    bits.alignment()?;
    Some(bits.bytes_read())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SliceType {
    B,
    P,
    I,
}

/// What a slice segment header has unless it depends on the one before.
fn independent(bits: &mut Bits<'_>, nal_type: u8, pps: &Pps, sps: &Sps) -> Option<()> {
    bits.skip(pps.num_extra_slice_header_bits.into())?;
    let slice_type = match bits.unsigned()? {
        0 => SliceType::B,
        1 => SliceType::P,
        2 => SliceType::I,
        _ => return None,
    };
    if pps.output_flag_present_flag {
        bits.skip(1)?; // pic_output_flag
    }
    if sps.separate_colour_plane_flag {
        bits.skip(2)?; // colour_plane_id
    }
    let idr = matches!(nal_type, 19 | 20);
    let references = if idr {
        References::default()
    } else {
        references(bits, sps)?
    };
    let mut offsets_in_use = false;
    if sps.sample_adaptive_offset_enabled_flag {
        offsets_in_use = bits.flag()?;
        if sps.chroma_array_type != 0 {
            offsets_in_use |= bits.flag()?;
        }
    }
    if slice_type != SliceType::I {
        inter(bits, slice_type, &references, pps, sps)?;
    }
    bits.skip_exp_golomb()?; // slice_qp_delta
    if pps.slice_chroma_qp_offsets_present_flag {
        bits.skip_exp_golomb()?;
        bits.skip_exp_golomb()?;
    }
    if pps.scc_extension.slice_act_qp_offsets_present_flag {
        (0..3).try_for_each(|_| bits.skip_exp_golomb())?;
    }
    if pps.range_extension.chroma_qp_offset_list_enabled_flag {
        bits.skip(1)?; // cu_chroma_qp_offset_enabled_flag
    }
    loop_filter(bits, pps, offsets_in_use)
}

fn loop_filter(bits: &mut Bits<'_>, pps: &Pps, offsets_in_use: bool) -> Option<()> {
    let mut disabled = pps.deblocking_filter_disabled_flag;
    if pps.deblocking_filter_override_enabled_flag && bits.flag()? {
        disabled = bits.flag()?;
        if !disabled {
            bits.skip_exp_golomb()?; // slice_beta_offset_div2
            bits.skip_exp_golomb()?; // slice_tc_offset_div2
        }
    }
    if pps.loop_filter_across_slices_enabled_flag && (offsets_in_use || !disabled) {
        bits.skip(1)?; // slice_loop_filter_across_slices_enabled_flag
    }
    Some(())
}

#[derive(Default)]
struct References {
    /// `NumPicTotalCurr`, (7-55).
    used: u32,
    temporal_mvp: bool,
}

/// From `slice_pic_order_cnt_lsb` to `slice_temporal_mvp_enabled_flag`.
fn references(bits: &mut Bits<'_>, sps: &Sps) -> Option<References> {
    let poc_bits = u32::from(sps.log2_max_pic_order_cnt_lsb_minus4).checked_add(4)?;
    bits.skip(poc_bits)?;
    let mut used = if bits.flag()? {
        let index = bits.bits(ceil_log2(sps.num_short_term_ref_pic_sets.into()))?;
        used_pictures(sps.short_term_ref_pic_set.get(usize::try_from(index).ok()?)?)
    } else {
        short_term_set(bits, sps)?
    };
    if sps.long_term_ref_pics_present_flag {
        used = used.checked_add(long_term(bits, sps, poc_bits)?)?;
    }
    Some(References {
        used,
        temporal_mvp: sps.temporal_mvp_enabled_flag && bits.flag()?,
    })
}

fn used_pictures(set: &ShortTermRefPicSet) -> u32 {
    let (negative, positive) = (set.num_negative_pics.into(), set.num_positive_pics.into());
    let before = set.used_by_curr_pic_s0.iter().take(negative);
    let after = set.used_by_curr_pic_s1.iter().take(positive);
    before.chain(after).map(|used| u32::from(*used)).sum()
}

/// `st_ref_pic_set( num_short_term_ref_pic_sets )`, 7.3.7: how many of its pictures are used.
fn short_term_set(bits: &mut Bits<'_>, sps: &Sps) -> Option<u32> {
    let sets = u32::from(sps.num_short_term_ref_pic_sets);
    if sets > 0 && bits.flag()? {
        let back = bits.at_most(sets.checked_sub(1)?)?.checked_add(1)?; // delta_idx_minus1
        let from = sps
            .short_term_ref_pic_set
            .get(usize::try_from(sets.checked_sub(back)?).ok()?)?;
        return predicted_set(bits, from);
    }
    let negative = bits.at_most(MAX_PICTURES)?;
    let positive = bits.at_most(MAX_PICTURES)?;
    (0..negative.checked_add(positive)?).try_fold(0_u32, |used, _| {
        bits.skip_exp_golomb()?; // delta_poc_minus1
        used.checked_add(bits.flag()?.into())
    })
}

/// A set that is predicted from `from`, (7-61) and (7-62): its pictures moved by one distance, but for
/// the one that would become the current picture.
fn predicted_set(bits: &mut Bits<'_>, from: &ShortTermRefPicSet) -> Option<u32> {
    let backwards = bits.flag()?;
    let distance = i32::try_from(bits.at_most(32_767)?.checked_add(1)?).ok()?;
    let distance = if backwards {
        distance.checked_neg()?
    } else {
        distance
    };
    let before = from.delta_poc_s0.iter().take(from.num_negative_pics.into());
    let after = from.delta_poc_s1.iter().take(from.num_positive_pics.into());
    let mut used = 0_u32;
    for picture in before.chain(after).chain(&[0]) {
        if !bits.flag()? {
            bits.skip(1)?; // use_delta_flag
        } else if picture.checked_add(distance)? != 0 {
            used = used.checked_add(1)?;
        }
    }
    Some(used)
}

fn long_term(bits: &mut Bits<'_>, sps: &Sps, poc_bits: u32) -> Option<u32> {
    let known = u32::from(sps.num_long_term_ref_pics_sps);
    let by_index = if known > 0 { bits.at_most(known)? } else { 0 };
    let by_value = bits.at_most(MAX_PICTURES)?;
    let mut used = 0_u32;
    for picture in 0..by_index.checked_add(by_value)? {
        let is_used = if picture < by_index {
            let index = bits.bits(ceil_log2(known))?;
            *sps.used_by_curr_pic_lt_sps_flag
                .get(usize::try_from(index).ok()?)?
        } else {
            bits.skip(poc_bits)?; // poc_lsb_lt
            bits.flag()?
        };
        used = used.checked_add(is_used.into())?;
        if bits.flag()? {
            bits.skip_exp_golomb()?; // delta_poc_msb_cycle_lt
        }
    }
    Some(used)
}

/// What only slices of type P and B have.
fn inter(
    bits: &mut Bits<'_>,
    slice_type: SliceType,
    references: &References,
    pps: &Pps,
    sps: &Sps,
) -> Option<()> {
    let b = slice_type == SliceType::B;
    if pps.scc_extension.curr_pic_ref_enabled_flag {
        return None; // the length of the weight table would depend on picture order counts
    }
    let mut list0 = u32::from(pps.num_ref_idx_l0_default_active_minus1);
    let mut list1 = u32::from(pps.num_ref_idx_l1_default_active_minus1);
    if bits.flag()? {
        list0 = bits.at_most(MAX_REFERENCES)?;
        if b {
            list1 = bits.at_most(MAX_REFERENCES)?;
        }
    }
    let (list0, list1) = (list0.checked_add(1)?, list1.checked_add(1)?);
    if pps.lists_modification_present_flag && references.used > 1 {
        let entry = ceil_log2(references.used);
        for list in [Some(list0), b.then_some(list1)].into_iter().flatten() {
            if bits.flag()? {
                bits.skip(list.checked_mul(entry)?)?;
            }
        }
    }
    if b {
        bits.skip(1)?; // mvd_l1_zero_flag
    }
    if pps.cabac_init_present_flag {
        bits.skip(1)?; // cabac_init_flag
    }
    if references.temporal_mvp {
        let from_list0 = !b || bits.flag()?;
        if (if from_list0 { list0 } else { list1 }) > 1 {
            bits.skip_exp_golomb()?; // collocated_ref_idx
        }
    }
    if (pps.weighted_pred_flag && !b) || (pps.weighted_bipred_flag && b) {
        weights(bits, list0, b.then_some(list1), sps.chroma_array_type != 0)?;
    }
    bits.skip_exp_golomb()?; // five_minus_max_num_merge_cand
    if sps.scc_extension.motion_vector_resolution_control_idc == 2 {
        bits.skip(1)?; // use_integer_mv_flag
    }
    Some(())
}

/// `pred_weight_table()`, 7.3.6.3, for pictures of one layer.
fn weights(bits: &mut Bits<'_>, list0: u32, list1: Option<u32>, chroma: bool) -> Option<()> {
    bits.skip_exp_golomb()?; // luma_log2_weight_denom
    if chroma {
        bits.skip_exp_golomb()?; // delta_chroma_log2_weight_denom
    }
    for list in [Some(list0), list1].into_iter().flatten() {
        let luma_flags = bits.bits(list)?;
        let chroma_flags = if chroma { bits.bits(list)? } else { 0 };
        // Weight and offset, for luma once and for chroma twice.
        let values = luma_flags
            .count_ones()
            .checked_mul(2)?
            .checked_add(chroma_flags.count_ones().checked_mul(4)?)?;
        (0..values).try_for_each(|_| bits.skip_exp_golomb())?;
    }
    Some(())
}

fn entry_points(bits: &mut Bits<'_>) -> Option<()> {
    let count = bits.unsigned()?;
    if count > 0 {
        let len = bits.at_most(31)?.checked_add(1)?;
        (0..count).try_for_each(|_| bits.skip(len))?;
    }
    Some(())
}

/// The bits of a number below `count`: `Ceil( Log2( count ) )`.
const fn ceil_log2(count: u32) -> u32 {
    match count {
        0 | 1 => 0,
        _ => u32::BITS - (count - 1).leading_zeros(),
    }
}
