//! The uncompressed header, 6.2: only its length is wanted, and the sizes that later headers depend on.

use super::{super::bits::Bits, Size};

const SYNC_CODE: u32 = 0x49_83_42;
const RGB: u32 = 7;
/// `seg_feature_data_max_bits` and `seg_feature_data_signed`, with the sign: bits of a feature's value, 6.2.14.
const FEATURE_BITS: [u32; 4] = [9, 7, 2, 0];

/// What an uncompressed header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// A frame that was there before is shown: the header is all there is.
    Shown {
        /// Bytes of the header.
        len: u64,
    },
    /// A frame.
    Coded {
        /// Bytes of the header.
        len: u64,
        /// Bytes of the compressed header behind it.
        compressed: u64,
        size: Size,
        /// The reference frames that it replaces, a bit each.
        refresh: u32,
    },
}

impl Header {
    /// Reads the header that `frame` begins with; nothing if it is cut off, not a legal one, or depends on a
    /// reference frame that is not there.
    pub(super) fn read(frame: &[u8], references: &[Option<Size>; 8]) -> Option<Self> {
        let mut bits = Bits::plain(frame);
        let marker = bits.bits(2)?;
        let profile = bits.bits(1)? | bits.bits(1)? << 1;
        if marker != 2 || (profile == 3 && bits.flag()?) {
            return None;
        }
        if bits.flag()? {
            bits.skip(3)?; // frame_to_show_map_idx
            return Some(Self::Shown {
                len: bits.bytes_read() as u64,
            });
        }
        let inter = bits.flag()?;
        let shown = bits.flag()?;
        let resilient = bits.flag()?;
        let (size, refresh) = match inter {
            false => {
                sync_and_color(&mut bits, Some(profile))?;
                (frame_and_render_size(&mut bits)?, 0xff)
            }
            true => inter_frame(&mut bits, profile, shown, resilient, references)?,
        };
        if !resilient {
            bits.skip(2)?; // refresh_frame_context, frame_parallel_decoding_mode
        }
        bits.skip(2)?; // frame_context_idx
        loop_filter(&mut bits)?;
        quantization(&mut bits)?;
        segmentation(&mut bits)?;
        tiles(&mut bits, size.0)?;
        let compressed = bits.bits(16).filter(|len| *len > 0)?.into();
        bits.zeros_to_byte()?;
        Some(Self::Coded {
            len: bits.bytes_read() as u64,
            compressed,
            size,
            refresh,
        })
    }
}

/// Of a frame that is no key frame: its size and the references it replaces.
fn inter_frame(
    bits: &mut Bits<'_>,
    profile: u32,
    shown: bool,
    resilient: bool,
    references: &[Option<Size>; 8],
) -> Option<(Size, u32)> {
    let intra_only = !shown && bits.flag()?;
    if !resilient {
        bits.skip(2)?; // reset_frame_context
    }
    if intra_only {
        sync_and_color(bits, Some(profile).filter(|profile| *profile > 0))?;
        let refresh = bits.bits(8)?;
        return Some((frame_and_render_size(bits)?, refresh));
    }
    let refresh = bits.bits(8)?;
    let mut used = [(0, 0); 3];
    for size in &mut used {
        let index = usize::try_from(bits.bits(3)?).ok()?;
        *size = (*references.get(index)?)?;
        bits.skip(1)?; // ref_frame_sign_bias
    }
    let size = size_with_references(bits, used)?;
    bits.skip(1)?; // allow_high_precision_mv
    if !bits.flag()? {
        bits.skip(2)?; // raw_interpolation_filter
    }
    Some((size, refresh))
}

/// `frame_sync_code()`, and `color_config()` unless the profile implies the colors, 6.2.1 and 6.2.2.
fn sync_and_color(bits: &mut Bits<'_>, profile: Option<u32>) -> Option<()> {
    if bits.bits(24)? != SYNC_CODE {
        return None;
    }
    let Some(profile) = profile else {
        return Some(());
    };
    if profile >= 2 {
        bits.skip(1)?; // ten_or_twelve_bit
    }
    let more_than_420 = profile & 1 == 1;
    let rgb = bits.bits(3)? == RGB;
    if rgb && !more_than_420 {
        return None;
    }
    if !rgb {
        bits.skip(1)?; // color_range
    }
    if more_than_420 && !rgb {
        bits.skip(2)?; // subsampling_x, subsampling_y
    }
    if more_than_420 && bits.flag()? {
        return None; // reserved_zero
    }
    Some(())
}

fn frame_size(bits: &mut Bits<'_>) -> Option<Size> {
    Some((bits.bits(16)?.checked_add(1)?, bits.bits(16)?.checked_add(1)?))
}

fn render_size(bits: &mut Bits<'_>) -> Option<()> {
    if bits.flag()? {
        bits.skip(32)?;
    }
    Some(())
}

fn frame_and_render_size(bits: &mut Bits<'_>) -> Option<Size> {
    let size = frame_size(bits)?;
    render_size(bits)?;
    Some(size)
}

/// `frame_size_with_refs()`, 6.2.5.
fn size_with_references(bits: &mut Bits<'_>, used: [Size; 3]) -> Option<Size> {
    for size in used {
        if bits.flag()? {
            render_size(bits)?;
            return Some(size);
        }
    }
    frame_and_render_size(bits)
}

/// 6.2.8.
fn loop_filter(bits: &mut Bits<'_>) -> Option<()> {
    bits.skip(9)?; // loop_filter_level, loop_filter_sharpness
    if bits.flag()? && bits.flag()? {
        for _ in 0..6 {
            skip_if_told(bits, 7)?; // loop_filter_ref_deltas, loop_filter_mode_deltas
        }
    }
    Some(())
}

/// 6.2.9.
fn quantization(bits: &mut Bits<'_>) -> Option<()> {
    bits.skip(8)?; // base_q_idx
    (0..3).try_for_each(|_| skip_if_told(bits, 5))
}

/// 6.2.11.
fn segmentation(bits: &mut Bits<'_>) -> Option<()> {
    if !bits.flag()? {
        return Some(());
    }
    if bits.flag()? {
        (0..7).try_for_each(|_| skip_if_told(bits, 8))?; // tree probabilities
        if bits.flag()? {
            (0..3).try_for_each(|_| skip_if_told(bits, 8))?; // prediction probabilities
        }
    }
    if bits.flag()? {
        bits.skip(1)?; // segmentation_abs_or_delta_update
        for _ in 0..8 {
            FEATURE_BITS.iter().try_for_each(|len| skip_if_told(bits, *len))?;
        }
    }
    Some(())
}

/// 6.2.13. How many bits there are depends on the width.
fn tiles(bits: &mut Bits<'_>, width: u32) -> Option<()> {
    let columns = width.div_ceil(64);
    let mut log2 = 0;
    while 64_u32.checked_shl(log2)? < columns {
        log2 += 1;
    }
    while columns >> log2.checked_add(1)? >= 4 && bits.flag()? {
        log2 += 1;
    }
    if bits.flag()? {
        bits.skip(1)?; // tile_rows_log2
    }
    Some(())
}

/// A flag, and `count` bits if it is set.
fn skip_if_told(bits: &mut Bits<'_>, count: u32) -> Option<()> {
    if bits.flag()? { bits.skip(count) } else { Some(()) }
}
