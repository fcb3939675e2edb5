//! Quantizers: 5.9.12 to 5.9.14, 5.9.17 and 5.9.18. What later parts of a header depend on is whether they lose
//! anything.

use super::{
    super::bits::Bits,
    sequence::{Color, Sequence},
};

/// `Segmentation_Feature_Bits`, and a sign where there is one.
const FEATURE_BITS: [u32; 8] = [9, 7, 7, 7, 7, 3, 0, 0];

/// `FeatureData` of `SEG_LVL_ALT_Q`, for segments that have it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Segmentation([Option<i32>; 8]);

/// What the quantizers of a frame say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quantizer {
    /// `CodedLossless`.
    pub(super) lossless: bool,
    pub(super) segmentation: Segmentation,
}

impl Quantizer {
    /// Of a frame whose segments begin as `before`: those of its primary reference, or nothing if it has none.
    pub(super) fn read(
        bits: &mut Bits<'_>,
        sequence: &Sequence,
        before: Option<Segmentation>,
        intra_block_copy: bool,
    ) -> Option<Self> {
        let base = i32::try_from(bits.bits(8)?).ok()?;
        let without_deltas = deltas(bits, &sequence.color)?;
        if bits.flag()? {
            bits.skip(8)?; // qm_y, qm_u
            if sequence.color.separate_uv_delta_q {
                bits.skip(4)?; // qm_v
            }
        }
        let (enabled, segmentation) = Segmentation::read(bits, before)?;
        if base > 0 && bits.flag()? {
            bits.skip(2)?; // delta_q_res
            if !intra_block_copy && bits.flag()? {
                bits.skip(3)?; // delta_lf_res, delta_lf_multi
            }
        }
        let is_zero = |feature: &Option<i32>| match feature.filter(|_| enabled) {
            Some(change) => base.saturating_add(change) <= 0,
            None => base == 0,
        };
        Some(Self {
            lossless: without_deltas && segmentation.0.iter().all(is_zero),
            segmentation,
        })
    }
}

impl Segmentation {
    /// Whether it is enabled, and what is kept of it.
    fn read(bits: &mut Bits<'_>, before: Option<Self>) -> Option<(bool, Self)> {
        if !bits.flag()? {
            return Some((false, Self::default()));
        }
        if let Some(before) = before {
            if bits.flag()? {
                bits.skip(1)?; // segmentation_temporal_update
            }
            if !bits.flag()? {
                return Some((true, before));
            }
        }
        let mut segments = Self::default();
        for segment in &mut segments.0 {
            for (feature, len) in FEATURE_BITS.into_iter().enumerate() {
                if !bits.flag()? {
                    continue;
                }
                if feature == 0 {
                    *segment = Some(signed(bits, len)?.clamp(-255, 255));
                } else {
                    bits.skip(len)?;
                }
            }
        }
        Some((true, segments))
    }
}

/// Whether all differences of quantizers are 0.
fn deltas(bits: &mut Bits<'_>, color: &Color) -> Option<bool> {
    let mut zero = is_zero_delta(bits)?;
    if !color.monochrome {
        let different = color.separate_uv_delta_q && bits.flag()?;
        for _ in 0..if different { 4 } else { 2 } {
            zero &= is_zero_delta(bits)?;
        }
    }
    Some(zero)
}

/// `read_delta_q()`, 5.9.13.
fn is_zero_delta(bits: &mut Bits<'_>) -> Option<bool> {
    Some(!bits.flag()? || signed(bits, 7)? == 0)
}

/// `su(count)`, 4.10.6, of at most 16 bits.
fn signed(bits: &mut Bits<'_>, count: u32) -> Option<i32> {
    let value = i32::try_from(bits.bits(count)?).ok()?;
    let sign = 1_i32.checked_shl(count.checked_sub(1)?)?;
    Some(if value & sign == 0 {
        value
    } else {
        value - 2 * sign
    })
}
