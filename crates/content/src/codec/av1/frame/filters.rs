//! Filters, transforms and film grain: nothing depends on them but the length of the header.

use super::{super::super::bits::Bits, super::sequence::Sequence, Basis};

/// From `loop_filter_params()` to `read_tx_mode()`, 5.9.11 and 5.9.19 to 5.9.21.
pub(super) fn skip(bits: &mut Bits<'_>, sequence: &Sequence, basis: &Basis, lossless: bool) -> Option<()> {
    let filtered = !lossless && !basis.intra_block_copy;
    if filtered {
        loop_filter(bits, sequence)?;
    }
    if filtered && sequence.cdef {
        directional_enhancement(bits, sequence)?;
    }
    let all_lossless = lossless && basis.coded_width == basis.size.0;
    if !all_lossless && !basis.intra_block_copy && sequence.restoration {
        restoration(bits, sequence)?;
    }
    if !lossless {
        bits.skip(1)?; // tx_mode_select
    }
    Some(())
}

fn loop_filter(bits: &mut Bits<'_>, sequence: &Sequence) -> Option<()> {
    let levels = (bits.bits(6)?, bits.bits(6)?);
    if !sequence.color.monochrome && levels != (0, 0) {
        bits.skip(12)?; // loop_filter_level of both chroma planes
    }
    bits.skip(3)?; // loop_filter_sharpness
    if bits.flag()? && bits.flag()? {
        for _ in 0..10 {
            // loop_filter_ref_deltas, loop_filter_mode_deltas
            if bits.flag()? {
                bits.skip(7)?;
            }
        }
    }
    Some(())
}

fn directional_enhancement(bits: &mut Bits<'_>, sequence: &Sequence) -> Option<()> {
    bits.skip(2)?; // cdef_damping_minus_3
    let strengths = 1_u32.checked_shl(bits.bits(2)?)?;
    bits.skip(strengths * if sequence.color.monochrome { 6 } else { 12 })
}

fn restoration(bits: &mut Bits<'_>, sequence: &Sequence) -> Option<()> {
    let luma = bits.bits(2)? != 0;
    let chroma = !sequence.color.monochrome && {
        let planes = (bits.bits(2)?, bits.bits(2)?);
        planes != (0, 0)
    };
    if !luma && !chroma {
        return Some(());
    }
    // lr_unit_shift, lr_unit_extra_shift
    if bits.flag()? && !sequence.large_superblocks {
        bits.skip(1)?;
    }
    if chroma && sequence.color.subsampling == (true, true) {
        bits.skip(1)?; // lr_uv_shift
    }
    Some(())
}

/// `film_grain_params()`, 5.9.30, of a frame that is shown or may be.
pub(super) fn skip_film_grain(bits: &mut Bits<'_>, sequence: &Sequence, inter: bool) -> Option<()> {
    if !bits.flag()? {
        return Some(()); // apply_grain
    }
    bits.skip(16)?; // grain_seed
    if inter && !bits.flag()? {
        return bits.skip(3); // film_grain_params_ref_idx
    }
    let color = &sequence.color;
    let luma = points(bits, 14)?;
    let from_luma = !color.monochrome && bits.flag()?;
    let without_chroma = color.monochrome || from_luma || (color.subsampling == (true, true) && luma == 0);
    let (blue, red) = if without_chroma {
        (0, 0)
    } else {
        (points(bits, 10)?, points(bits, 10)?)
    };
    bits.skip(2)?; // grain_scaling_minus_8
    let lag = bits.bits(2)?;
    let coefficients = 2 * lag * (lag + 1);
    let of_chroma = coefficients + u32::from(luma > 0);
    for (there, count) in [
        (luma > 0, coefficients),
        (from_luma || blue > 0, of_chroma),
        (from_luma || red > 0, of_chroma),
    ] {
        bits.skip(if there { 8 * count } else { 0 })?;
    }
    bits.skip(4)?; // ar_coeff_shift_minus_6, grain_scale_shift
    for plane in [blue, red] {
        bits.skip(if plane > 0 { 25 } else { 0 })?; // multipliers and offset
    }
    bits.skip(2) // overlap_flag, clip_to_restricted_range
}

/// A number of points, at most `max`, and the points.
fn points(bits: &mut Bits<'_>, max: u32) -> Option<u32> {
    let count = bits.bits(4).filter(|count| *count <= max)?;
    bits.skip(16 * count)?;
    Some(count)
}
