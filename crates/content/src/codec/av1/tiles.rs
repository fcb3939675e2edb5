//! Tiles: how many a frame has, 5.9.15, and which of them a tile group has, 5.11.1.

use super::{super::bits::Bits, sequence::one_more};

/// Most tiles side by side, and one above the other.
const MAX_TILES: u32 = 64;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TileInfo {
    columns: u32,
    rows: u32,
    /// Bits of a tile's number.
    number_bits: u32,
    /// Bytes of a tile's size.
    pub(super) size_bytes: u32,
}

impl TileInfo {
    /// Of a frame of `size` in pixels, with superblocks of 128 by 128 or of 64 by 64.
    pub(super) fn read(bits: &mut Bits<'_>, size: (u32, u32), large_superblocks: bool) -> Option<Self> {
        let log2 = if large_superblocks { 7 } else { 6 };
        // In units of 4 pixels, of which there is an even number.
        let superblocks = |pixels: u32| (2 * pixels.div_ceil(8)).div_ceil(1 << (log2 - 2));
        let (columns, rows) = (superblocks(size.0), superblocks(size.1));
        let max_width = 4096 >> log2;
        let max_area = (4096 * 2304) >> (2 * log2);
        let area = columns.checked_mul(rows)?;
        let min_log2_columns = tile_log2(max_width, columns)?;
        let min_log2 = min_log2_columns.max(tile_log2(max_area, area)?);
        let (columns, rows) = if bits.flag()? {
            let columns = uniform(bits, columns, min_log2_columns)?;
            let rows = uniform(bits, rows, min_log2.saturating_sub(columns.log2))?;
            (columns, rows)
        } else {
            let columns = stated(bits, columns, max_width)?;
            let max_area = match min_log2 {
                0 => area,
                _ => area >> (min_log2 + 1),
            };
            let max_height = max_area.checked_div(columns.widest)?.max(1);
            (columns, stated(bits, rows, max_height)?)
        };
        let number_bits = columns.log2.checked_add(rows.log2)?;
        let mut size_bytes = 0;
        if number_bits > 0 {
            bits.skip(number_bits)?; // context_update_tile_id
            size_bytes = one_more(bits, 2)?;
        }
        Some(Self {
            columns: columns.count,
            rows: rows.count,
            number_bits,
            size_bytes,
        })
    }

    /// Tiles of the frame.
    pub(super) const fn count(&self) -> u32 {
        self.columns.saturating_mul(self.rows)
    }
}

/// Columns or rows.
struct Cut {
    count: u32,
    log2: u32,
    /// Superblocks of the widest one.
    widest: u32,
}

/// Parts of the same size.
fn uniform(bits: &mut Bits<'_>, superblocks: u32, min_log2: u32) -> Option<Cut> {
    let max_log2 = tile_log2(1, superblocks.min(MAX_TILES))?;
    let mut log2 = min_log2;
    while log2 < max_log2 && bits.flag()? {
        log2 += 1;
    }
    let widest = superblocks.div_ceil(1_u32.checked_shl(log2)?).max(1);
    Some(Cut {
        count: superblocks.div_ceil(widest),
        log2,
        widest,
    })
}

/// Parts of stated sizes, of at most `max` superblocks each.
fn stated(bits: &mut Bits<'_>, superblocks: u32, max: u32) -> Option<Cut> {
    let (mut count, mut widest, mut left) = (0, 0, superblocks);
    while left > 0 {
        let size = non_symmetric(bits, left.min(max))?.checked_add(1)?;
        widest = size.max(widest);
        left = left.checked_sub(size)?;
        count += 1;
        if count > MAX_TILES {
            return None;
        }
    }
    Some(Cut {
        count,
        log2: tile_log2(1, count)?,
        widest,
    })
}

/// 5.9.16: the smallest `k` for which `size << k` is at least `target`.
fn tile_log2(size: u32, target: u32) -> Option<u32> {
    (0..32).find(|k| u64::from(size) << k >= target.into())
}

/// `ns(n)`, 4.10.7.
pub(super) fn non_symmetric(bits: &mut Bits<'_>, n: u32) -> Option<u32> {
    let width = n.checked_ilog2()?.checked_add(1)?;
    let short = 1_u32.checked_shl(width)?.checked_sub(n)?;
    let value = bits.bits(width.checked_sub(1)?)?;
    if value < short {
        return Some(value);
    }
    let more = u32::from(bits.flag()?);
    (value << 1).checked_sub(short)?.checked_add(more)
}

/// The tiles of a tile group.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TileGroup {
    pub(super) first: u32,
    pub(super) last: u32,
    /// Bytes in front of the first one.
    pub(super) header: u64,
}

impl TileGroup {
    /// Reads the header that `head` begins with; nothing if its first tile is not the `next` one.
    pub(super) fn read(head: &[u8], tiles: &TileInfo, next: u32) -> Option<Self> {
        let mut bits = Bits::plain(head);
        let count = tiles.count();
        let (mut first, mut last) = (0, count.checked_sub(1)?);
        if count > 1 && bits.flag()? {
            first = bits.bits(tiles.number_bits)?;
            last = bits.bits(tiles.number_bits)?;
        }
        bits.zeros_to_byte()?;
        (first == next && first <= last && last < count).then_some(Self {
            first,
            last,
            header: bits.bytes_read() as u64,
        })
    }
}
