//! The frame header, `uncompressed_header()`, 5.9.2: its length, how many tiles follow, and what later headers
//! depend on.

mod filters;
mod motion;

use super::{
    super::bits::Bits,
    Layers,
    quantizer::{Quantizer, Segmentation},
    references::{Reference, References, USED},
    sequence::{Choice, Sequence, one_more},
    tiles::TileInfo,
};

/// `PRIMARY_REF_NONE`.
const NO_PRIMARY: u32 = 7;
const ALL_FRAMES: u32 = 0xff;

/// What a frame header shows.
#[derive(Debug)]
pub(super) enum Shown {
    /// A frame that was there before.
    Before,
    /// A new frame, which may also be kept to be shown later.
    New(Frame),
}

/// A frame, as far as its tiles and later frames depend on it.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) tiles: TileInfo,
    /// The reference frames that it replaces, a bit each.
    pub(super) refresh: u32,
    /// Width before it was scaled down, and height.
    pub(super) size: (u32, u32),
    pub(super) order_hint: u32,
    pub(super) segmentation: Segmentation,
    pub(super) is_key_frame: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FrameType {
    Key,
    Inter,
    IntraOnly,
    Switch,
}

impl FrameType {
    const fn is_intra(self) -> bool {
        matches!(self, Self::Key | Self::IntraOnly)
    }

    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        Some(match bits.bits(2)? {
            0 => Self::Key,
            1 => Self::Inter,
            2 => Self::IntraOnly,
            _ => Self::Switch,
        })
    }
}

/// The first fields of a header.
#[derive(Debug, Clone, Copy)]
struct Start {
    kind: FrameType,
    shown: bool,
    showable: bool,
    /// `error_resilient_mode`.
    resilient: bool,
}

/// What a frame refers to, and how large it is.
#[derive(Debug, Clone, Copy, Default)]
struct Basis {
    references: [u32; USED],
    /// Width before it was scaled down, and height.
    size: (u32, u32),
    /// Width that is coded.
    coded_width: u32,
    intra_block_copy: bool,
    high_precision_motion: bool,
}

impl Frame {
    /// Reads a header to its last bit; nothing if it is cut off, not a legal one, or depends on what is not there.
    pub(super) fn read(
        bits: &mut Bits<'_>,
        sequence: &Sequence,
        layers: Option<Layers>,
        references: &mut References,
    ) -> Option<Shown> {
        if !sequence.reduced_still_picture_header && bits.flag()? {
            show_existing(bits, sequence, references)?;
            return Some(Shown::Before);
        }
        let start = Start::read(bits, sequence)?;
        if start.is_shown_key_frame() {
            references.clear();
        }
        let choices = Choices::read(bits, sequence, start, layers)?;
        if choices.states_order_hints(start, sequence) {
            for index in 0..8 {
                references.expect(index, bits.bits(sequence.order_hint_bits)?)?;
            }
        }
        let basis = if start.kind.is_intra() {
            Basis::intra(bits, sequence, choices)?
        } else {
            Basis::inter(bits, sequence, references, start, choices)?
        };
        if !sequence.reduced_still_picture_header && !choices.fixed_probabilities {
            bits.skip(1)?; // disable_frame_end_update_cdf
        }
        let coded_size = (basis.coded_width, basis.size.1);
        let tiles = TileInfo::read(bits, coded_size, sequence.large_superblocks)?;
        let before = match choices.primary {
            Some(primary) => Some(basis.reference(references, primary)?.segmentation),
            None => None,
        };
        let quantizer = Quantizer::read(bits, sequence, before, basis.intra_block_copy)?;
        filters::skip(bits, sequence, &basis, quantizer.lossless)?;
        skip_prediction(bits, sequence, references, start, choices, &basis)?;
        if sequence.film_grain && (start.shown || start.showable) {
            filters::skip_film_grain(bits, sequence, start.kind == FrameType::Inter)?;
        }
        Some(Shown::New(Self {
            tiles,
            refresh: choices.refresh,
            size: basis.size,
            order_hint: choices.order_hint,
            segmentation: quantizer.segmentation,
            is_key_frame: start.kind == FrameType::Key,
        }))
    }
}

impl Start {
    fn read(bits: &mut Bits<'_>, sequence: &Sequence) -> Option<Self> {
        if sequence.reduced_still_picture_header {
            return Some(Self {
                kind: FrameType::Key,
                shown: true,
                showable: false,
                resilient: true,
            });
        }
        let kind = FrameType::read(bits)?;
        let shown = bits.flag()?;
        if shown {
            presentation_time(bits, sequence)?;
        }
        let showable = if shown {
            kind != FrameType::Key
        } else {
            bits.flag()?
        };
        let mut start = Self {
            kind,
            shown,
            showable,
            resilient: true,
        };
        if kind != FrameType::Switch && !start.is_shown_key_frame() {
            start.resilient = bits.flag()?;
        }
        Some(start)
    }

    fn is_shown_key_frame(self) -> bool {
        self.kind == FrameType::Key && self.shown
    }
}

/// What stands between the first fields and the sizes.
#[derive(Debug, Clone, Copy)]
struct Choices {
    /// `disable_cdf_update`.
    fixed_probabilities: bool,
    screen_content: bool,
    integer_motion: bool,
    /// `frame_size_override_flag`.
    own_size: bool,
    order_hint: u32,
    /// `primary_ref_frame`, if there is one.
    primary: Option<u32>,
    /// The reference frames that it replaces, a bit each.
    refresh: u32,
}

impl Choices {
    fn read(bits: &mut Bits<'_>, sequence: &Sequence, start: Start, layers: Option<Layers>) -> Option<Self> {
        let fixed_probabilities = bits.flag()?;
        let screen_content = chosen(bits, sequence.screen_content_tools)?;
        let integer_motion = screen_content && chosen(bits, sequence.integer_motion_vectors)?;
        if let Some((_, id_bits)) = sequence.frame_ids {
            bits.skip(id_bits)?; // current_frame_id
        }
        let own_size = match start.kind {
            FrameType::Switch => true,
            _ => !sequence.reduced_still_picture_header && bits.flag()?,
        };
        let order_hint = bits.bits(sequence.order_hint_bits)?;
        let mut primary = None;
        if !start.kind.is_intra() && !start.resilient {
            primary = Some(bits.bits(3)?).filter(|primary| *primary != NO_PRIMARY);
        }
        buffer_removal_times(bits, sequence, layers)?;
        let replaces_all = start.kind == FrameType::Switch || start.is_shown_key_frame();
        Some(Self {
            fixed_probabilities,
            screen_content,
            integer_motion,
            own_size,
            order_hint,
            primary,
            refresh: if replaces_all { ALL_FRAMES } else { bits.bits(8)? },
        })
    }

    /// Whether the order hints of all references are stated.
    fn states_order_hints(&self, start: Start, sequence: &Sequence) -> bool {
        let may = !start.kind.is_intra() || self.refresh != ALL_FRAMES;
        may && start.resilient && sequence.order_hint_bits > 0
    }
}

impl Basis {
    fn intra(bits: &mut Bits<'_>, sequence: &Sequence, choices: Choices) -> Option<Self> {
        let mut basis = Self::default();
        basis.read_size(bits, sequence, choices.own_size)?;
        if choices.screen_content && basis.coded_width == basis.size.0 {
            basis.intra_block_copy = bits.flag()?;
        }
        Some(basis)
    }

    fn inter(
        bits: &mut Bits<'_>,
        sequence: &Sequence,
        references: &References,
        start: Start,
        choices: Choices,
    ) -> Option<Self> {
        let mut basis = Self::default();
        let by_order = sequence.order_hint_bits > 0 && bits.flag()?;
        if by_order {
            let (last, golden) = (bits.bits(3)?, bits.bits(3)?);
            basis.references = references.by_order(sequence, choices.order_hint, last, golden)?;
        }
        for index in &mut basis.references {
            if !by_order {
                *index = bits.bits(3)?;
            }
            if let Some((difference_bits, _)) = sequence.frame_ids {
                bits.skip(difference_bits)?; // delta_frame_id_minus_1
            }
            references.get(*index)?;
        }
        if choices.own_size && !start.resilient {
            basis.read_size_with_references(bits, sequence, references)?;
        } else {
            basis.read_size(bits, sequence, choices.own_size)?;
        }
        basis.high_precision_motion = !choices.integer_motion && bits.flag()?;
        if !bits.flag()? {
            bits.skip(2)?; // interpolation_filter
        }
        bits.skip(1)?; // is_motion_mode_switchable
        if !start.resilient && sequence.reference_motion_vectors {
            bits.skip(1)?; // use_ref_frame_mvs
        }
        Some(basis)
    }

    /// The reference of this number.
    fn reference<'r>(&self, references: &'r References, number: u32) -> Option<&'r Reference> {
        let index = *self.references.get(usize::try_from(number).ok()?)?;
        references.get(index)
    }

    /// `frame_size()` and `render_size()`, 5.9.5 and 5.9.6.
    fn read_size(&mut self, bits: &mut Bits<'_>, sequence: &Sequence, own: bool) -> Option<()> {
        self.size = sequence.max_size;
        if own {
            let (width, height) = sequence.size_bits;
            self.size = (one_more(bits, width)?, one_more(bits, height)?);
        }
        self.read_scale(bits, sequence)?;
        if bits.flag()? {
            bits.skip(32)?; // render_width_minus_1, render_height_minus_1
        }
        Some(())
    }

    /// `frame_size_with_refs()`, 5.9.7.
    fn read_size_with_references(
        &mut self,
        bits: &mut Bits<'_>,
        sequence: &Sequence,
        references: &References,
    ) -> Option<()> {
        for index in self.references {
            if bits.flag()? {
                self.size = references.get(index)?.size;
                return self.read_scale(bits, sequence);
            }
        }
        self.read_size(bits, sequence, true)
    }

    /// `superres_params()`, 5.9.8.
    fn read_scale(&mut self, bits: &mut Bits<'_>, sequence: &Sequence) -> Option<()> {
        const NUMERATOR: u32 = 8;
        let mut denominator = NUMERATOR;
        if sequence.superres && bits.flag()? {
            denominator = bits.bits(3)?.checked_add(9)?;
        }
        self.coded_width = self
            .size
            .0
            .checked_mul(NUMERATOR)?
            .checked_add(denominator / 2)?
            .checked_div(denominator)?;
        Some(())
    }
}

fn show_existing(bits: &mut Bits<'_>, sequence: &Sequence, references: &mut References) -> Option<()> {
    let index = bits.bits(3)?;
    presentation_time(bits, sequence)?;
    if let Some((_, id_bits)) = sequence.frame_ids {
        bits.skip(id_bits)?; // display_frame_id
    }
    references.show(index)
}

/// `temporal_point_info()`, 5.9.31, where there is one.
fn presentation_time(bits: &mut Bits<'_>, sequence: &Sequence) -> Option<()> {
    match sequence.decoder_model {
        Some(model) if !sequence.equal_picture_interval => bits.skip(model.frame_presentation_time),
        _ => Some(()),
    }
}

fn buffer_removal_times(bits: &mut Bits<'_>, sequence: &Sequence, layers: Option<Layers>) -> Option<()> {
    let Some(model) = sequence.decoder_model else {
        return Some(());
    };
    if !bits.flag()? {
        return Some(());
    }
    let layers = layers.unwrap_or_default();
    for point in sequence.operating_points.iter().filter(|point| point.timed) {
        let in_temporal = point.layers >> layers.temporal & 1 == 1;
        let in_spatial = point.layers >> (layers.spatial + 8) & 1 == 1;
        if point.layers == 0 || (in_temporal && in_spatial) {
            bits.skip(model.buffer_removal_time)?;
        }
    }
    Some(())
}

/// What says how blocks are predicted: from `frame_reference_mode()` to `global_motion_params()`.
fn skip_prediction(
    bits: &mut Bits<'_>,
    sequence: &Sequence,
    references: &References,
    start: Start,
    choices: Choices,
    basis: &Basis,
) -> Option<()> {
    let intra = start.kind.is_intra();
    let two_references = !intra && bits.flag()?;
    if two_references && motion::has_skip_mode(sequence, references, basis, choices.order_hint)? {
        bits.skip(1)?; // skip_mode_present
    }
    if !intra && !start.resilient && sequence.warped_motion {
        bits.skip(1)?; // allow_warped_motion
    }
    bits.skip(1)?; // reduced_tx_set
    if !intra {
        motion::skip(bits, basis.high_precision_motion)?;
    }
    Some(())
}

fn chosen(bits: &mut Bits<'_>, choice: Choice) -> Option<bool> {
    match choice {
        Choice::All(chosen) => Some(chosen),
        Choice::EachFrame => bits.flag(),
    }
}
