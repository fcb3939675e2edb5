//! The sequence header, 5.5: what frame headers depend on.

use super::super::bits::Bits;

/// What is chosen for all frames of a sequence, or by each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    All(bool),
    EachFrame,
}

#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) reduced_still_picture_header: bool,
    pub(super) equal_picture_interval: bool,
    pub(super) decoder_model: Option<DecoderModel>,
    pub(super) operating_points: Vec<OperatingPoint>,
    /// Bits of a width and of a height.
    pub(super) size_bits: (u32, u32),
    pub(super) max_size: (u32, u32),
    /// Bits of a difference of frame ids, and of a frame id.
    pub(super) frame_ids: Option<(u32, u32)>,
    pub(super) large_superblocks: bool,
    pub(super) warped_motion: bool,
    pub(super) reference_motion_vectors: bool,
    pub(super) screen_content_tools: Choice,
    pub(super) integer_motion_vectors: Choice,
    /// Bits of an order hint; 0 if there are none.
    pub(super) order_hint_bits: u32,
    pub(super) superres: bool,
    pub(super) cdef: bool,
    pub(super) restoration: bool,
    pub(super) color: Color,
    pub(super) film_grain: bool,
}

/// Bits of the times in the decoder model.
#[derive(Debug, Clone, Copy)]
pub(super) struct DecoderModel {
    buffer_delay: u32,
    pub(super) buffer_removal_time: u32,
    pub(super) frame_presentation_time: u32,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct OperatingPoint {
    /// `operating_point_idc`: its layers, a bit each.
    pub(super) layers: u32,
    /// `decoder_model_present_for_this_op`.
    pub(super) timed: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Color {
    pub(super) monochrome: bool,
    /// Of chroma: `subsampling_x`, `subsampling_y`.
    pub(super) subsampling: (bool, bool),
    pub(super) separate_uv_delta_q: bool,
}

/// What stands in front of the sizes.
struct Timing {
    equal_picture_interval: bool,
    decoder_model: Option<DecoderModel>,
    operating_points: Vec<OperatingPoint>,
}

/// The tools that reduced still pictures have not.
struct Tools {
    warped_motion: bool,
    reference_motion_vectors: bool,
    screen_content_tools: Choice,
    integer_motion_vectors: Choice,
    order_hint_bits: u32,
}

impl Sequence {
    /// Reads the payload of a sequence header OBU; nothing if it is not a legal one.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let mut bits = Bits::plain(payload);
        let profile = bits.bits(3).filter(|profile| *profile <= 2)?;
        bits.skip(1)?; // still_picture
        let reduced = bits.flag()?;
        let timing = if reduced {
            bits.skip(5)?; // seq_level_idx
            Timing::none()
        } else {
            Timing::read(&mut bits)?
        };
        let size_bits = (one_more(&mut bits, 4)?, one_more(&mut bits, 4)?);
        let max_size = (
            one_more(&mut bits, size_bits.0)?,
            one_more(&mut bits, size_bits.1)?,
        );
        let frame_ids = if !reduced && bits.flag()? {
            let difference = bits.bits(4)? + 2;
            Some((difference, difference + 1 + bits.bits(3)?))
        } else {
            None
        };
        let large_superblocks = bits.flag()?;
        bits.skip(2)?; // enable_filter_intra, enable_intra_edge_filter
        let tools = if reduced {
            Tools::none()
        } else {
            Tools::read(&mut bits)?
        };
        let sequence = Self {
            reduced_still_picture_header: reduced,
            equal_picture_interval: timing.equal_picture_interval,
            decoder_model: timing.decoder_model,
            operating_points: timing.operating_points,
            size_bits,
            max_size,
            frame_ids,
            large_superblocks,
            warped_motion: tools.warped_motion,
            reference_motion_vectors: tools.reference_motion_vectors,
            screen_content_tools: tools.screen_content_tools,
            integer_motion_vectors: tools.integer_motion_vectors,
            order_hint_bits: tools.order_hint_bits,
            superres: bits.flag()?,
            cdef: bits.flag()?,
            restoration: bits.flag()?,
            color: Color::read(&mut bits, profile)?,
            film_grain: bits.flag()?,
        };
        super::ends_in_trailing_bits(&mut bits, payload.len() as u64).then_some(sequence)
    }

    /// `get_relative_dist()`, 7.20.
    pub(super) fn distance(&self, a: u32, b: u32) -> i64 {
        let Some(top) = self.order_hint_bits.checked_sub(1) else {
            return 0;
        };
        let difference = i64::from(a) - i64::from(b);
        let half = 1_i64 << top;
        (difference & (half - 1)) - (difference & half)
    }
}

impl Timing {
    const fn none() -> Self {
        Self {
            equal_picture_interval: false,
            decoder_model: None,
            operating_points: Vec::new(),
        }
    }

    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let mut timing = Self::none();
        if bits.flag()? {
            bits.skip(64)?; // num_units_in_display_tick, time_scale
            timing.equal_picture_interval = bits.flag()?;
            if timing.equal_picture_interval {
                bits.skip_exp_golomb()?; // num_ticks_per_picture_minus_1
            }
            if bits.flag()? {
                timing.decoder_model = Some(DecoderModel::read(bits)?);
            }
        }
        let with_display_delay = bits.flag()?;
        for _ in 0..one_more(bits, 5)? {
            let point = OperatingPoint::read(bits, timing.decoder_model, with_display_delay)?;
            timing.operating_points.push(point);
        }
        Some(timing)
    }
}

impl DecoderModel {
    /// 5.5.4.
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let buffer_delay = one_more(bits, 5)?;
        bits.skip(32)?; // num_units_in_decoding_tick
        Some(Self {
            buffer_delay,
            buffer_removal_time: one_more(bits, 5)?,
            frame_presentation_time: one_more(bits, 5)?,
        })
    }
}

impl OperatingPoint {
    fn read(bits: &mut Bits<'_>, model: Option<DecoderModel>, with_display_delay: bool) -> Option<Self> {
        let layers = bits.bits(12)?;
        if bits.bits(5)? > 7 {
            bits.skip(1)?; // seq_tier
        }
        let mut timed = false;
        if let Some(model) = model {
            timed = bits.flag()?;
            if timed {
                bits.skip(model.buffer_delay * 2 + 1)?; // operating_parameters_info()
            }
        }
        if with_display_delay && bits.flag()? {
            bits.skip(4)?; // initial_display_delay_minus_1
        }
        Some(Self { layers, timed })
    }
}

impl Tools {
    const fn none() -> Self {
        Self {
            warped_motion: false,
            reference_motion_vectors: false,
            screen_content_tools: Choice::EachFrame,
            integer_motion_vectors: Choice::EachFrame,
            order_hint_bits: 0,
        }
    }

    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        bits.skip(2)?; // enable_interintra_compound, enable_masked_compound
        let warped_motion = bits.flag()?;
        bits.skip(1)?; // enable_dual_filter
        let order_hints = bits.flag()?;
        let mut reference_motion_vectors = false;
        if order_hints {
            bits.skip(1)?; // enable_jnt_comp
            reference_motion_vectors = bits.flag()?;
        }
        let screen_content_tools = choice(bits)?;
        let integer_motion_vectors = match screen_content_tools {
            Choice::All(false) => Choice::EachFrame,
            _ => choice(bits)?,
        };
        Some(Self {
            warped_motion,
            reference_motion_vectors,
            screen_content_tools,
            integer_motion_vectors,
            order_hint_bits: if order_hints { one_more(bits, 3)? } else { 0 },
        })
    }
}

impl Color {
    /// 5.5.2.
    fn read(bits: &mut Bits<'_>, profile: u32) -> Option<Self> {
        const SRGB: [u32; 3] = [1, 13, 0];
        let high_bit_depth = bits.flag()?;
        let twelve_bits = profile == 2 && high_bit_depth && bits.flag()?;
        let monochrome = profile != 1 && bits.flag()?;
        let mut description = [2; 3];
        if bits.flag()? {
            description = [bits.bits(8)?, bits.bits(8)?, bits.bits(8)?];
        }
        if monochrome {
            bits.skip(1)?; // color_range
            return Some(Self {
                monochrome,
                subsampling: (true, true),
                separate_uv_delta_q: false,
            });
        }
        let mut subsampling = (false, false);
        if description != SRGB {
            bits.skip(1)?; // color_range
            subsampling = match profile {
                0 => (true, true),
                1 => (false, false),
                _ if !twelve_bits => (true, false),
                _ => {
                    let x = bits.flag()?;
                    (x, x && bits.flag()?)
                }
            };
            if subsampling == (true, true) {
                bits.skip(2)?; // chroma_sample_position
            }
        }
        Some(Self {
            monochrome,
            subsampling,
            separate_uv_delta_q: bits.flag()?,
        })
    }
}

/// A flag that each frame chooses, or what is chosen for all.
fn choice(bits: &mut Bits<'_>) -> Option<Choice> {
    Some(if bits.flag()? {
        Choice::EachFrame
    } else {
        Choice::All(bits.flag()?)
    })
}

/// A number that is stated as one less, in at most 31 bits.
pub(super) fn one_more(bits: &mut Bits<'_>, count: u32) -> Option<u32> {
    bits.bits(count)?.checked_add(1)
}
