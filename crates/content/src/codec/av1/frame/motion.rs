//! Global motion, 5.9.24, and when two references may be skipped, 5.9.22.

use super::{
    super::{super::bits::Bits, references::References, sequence::Sequence, tiles::non_symmetric},
    Basis,
};

/// Bits of a translation, and of every other parameter.
const TRANSLATION_BITS: u32 = 9;
const PARAMETER_BITS: u32 = 12;

/// `global_motion_params()`. The length of a parameter depends on no other, and so not on earlier frames.
pub(super) fn skip(bits: &mut Bits<'_>, high_precision: bool) -> Option<()> {
    for _ in 0..7 {
        if !bits.flag()? {
            continue; // is_global
        }
        let (count, len) = if bits.flag()? {
            (4, PARAMETER_BITS) // is_rot_zoom
        } else if bits.flag()? {
            (2, TRANSLATION_BITS - u32::from(!high_precision)) // is_translation
        } else {
            (6, PARAMETER_BITS)
        };
        (0..count).try_for_each(|_| skip_parameter(bits, len))?;
    }
    Some(())
}

/// `decode_signed_subexp_with_ref()` of numbers from -2^len to 2^len, 5.9.26 to 5.9.28.
fn skip_parameter(bits: &mut Bits<'_>, len: u32) -> Option<()> {
    let symbols = 2_u32.checked_shl(len)?.checked_add(1)?;
    let (mut begin, mut width) = (0_u32, 3);
    for round in 0.. {
        let step = 1_u32.checked_shl(width)?;
        if symbols <= begin.checked_add(step.checked_mul(3)?)? {
            return non_symmetric(bits, symbols.checked_sub(begin)?).map(drop);
        }
        if !bits.flag()? {
            return bits.skip(width);
        }
        begin = begin.checked_add(step)?;
        width += u32::from(round > 0);
    }
    None
}

/// `skipModeAllowed`: whether a reference before the frame and one behind it, or two before it, are there.
pub(super) fn has_skip_mode(
    sequence: &Sequence,
    references: &References,
    basis: &Basis,
    order_hint: u32,
) -> Option<bool> {
    if sequence.order_hint_bits == 0 {
        return Some(false);
    }
    let mut hints = Vec::new();
    for index in basis.references {
        hints.push(references.order_hint(index)?);
    }
    let (mut latest, mut behind) = (None, false);
    for hint in &hints {
        let distance = sequence.distance(*hint, order_hint);
        behind |= distance > 0;
        if distance < 0 && latest.is_none_or(|latest| sequence.distance(*hint, latest) > 0) {
            latest = Some(*hint);
        }
    }
    let Some(latest) = latest else {
        return Some(false);
    };
    Some(behind || hints.iter().any(|hint| sequence.distance(*hint, latest) < 0))
}
