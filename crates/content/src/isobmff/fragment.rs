//! Movie fragments: which samples they hold, and where those are.

use super::{BoxError, BoxSpan, FragmentDefaults, Groups, Sample, SampleFlags, TrackDefaults, kind};

/// Most samples of a fragment. A run may count samples without any bytes for each of them.
pub const MAX_FRAGMENT_SAMPLES: u32 = 1 << 22;
/// Most samples of a fragment that have no bytes at all, neither of data nor in their run.
pub const MAX_EMPTY_SAMPLES: u32 = 1 << 8;
/// Most track fragments of a fragment.
pub const MAX_TRACK_FRAGMENTS: u32 = 1 << 12;
/// Most runs of a fragment.
pub const MAX_RUNS: u32 = 1 << 16;

/// What a `moof` box says (ISO/IEC 14496-12, 8.8.4).
#[derive(Debug, Clone)]
pub struct Fragment<'a> {
    /// The box; its offset is where it is in the file.
    pub span: BoxSpan<'a>,
    /// The sequence number of `mfhd`.
    pub sequence: u32,
    /// The track fragments, in file order. A track may have several.
    pub tracks: Vec<TrackFragment<'a>>,
}

impl<'a> Fragment<'a> {
    /// Reads a `moof` box. `defaults` are those of the movie.
    ///
    /// # Errors
    /// Any [`BoxError`] about a box that it reads; [`BoxError::UnknownTrack`] for a track without `trex`;
    /// [`BoxError::TooMany`] above [`MAX_FRAGMENT_SAMPLES`] and the other limits; [`BoxError::OutOfRange`] for
    /// data positions outside of 64 bits.
    pub fn parse(span: &BoxSpan<'a>, defaults: &FragmentDefaults) -> Result<Self, BoxError> {
        if span.kind() != kind::MOOF {
            return Err(span.invalid("the box is not a movie fragment"));
        }
        let mut fields = span.need(kind::MFHD)?.fields();
        fields.version_and_flags()?;
        let sequence = fields.u32()?;
        let mut tracks = Vec::new();
        // Where the next track fragment begins that says nothing about it: behind the data before it (8.8.7.1).
        let mut data_end = span.offset();
        let mut budget = Budget::default();
        for child in span.children() {
            let child = child?;
            if child.kind() == kind::TRAF {
                budget.tracks.take(1, &child)?;
                let track = TrackFragment::parse(&child, span.offset(), data_end, defaults, &mut budget)?;
                data_end = track.data_end;
                tracks.push(track);
            }
        }
        Ok(Self {
            span: *span,
            sequence,
            tracks,
        })
    }

    /// Bytes of all samples.
    ///
    /// A box of a hundred bytes can count millions of samples, but only of data that it claims to be there.
    /// Whoever goes through the samples of a stranger's file holds this against the bytes there are first.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        let runs = self.tracks.iter().flat_map(|track| &track.runs);
        runs.map(|run| run.end.saturating_sub(run.start))
            .fold(0, u64::saturating_add)
    }
}

/// What may still come in a fragment.
struct Budget {
    tracks: Allowance,
    runs: Allowance,
    samples: Allowance,
    empty_samples: Allowance,
}

struct Allowance {
    left: u32,
    limit: u32,
    what: &'static str,
}

impl Default for Budget {
    fn default() -> Self {
        let of = |limit, what| Allowance {
            left: limit,
            limit,
            what,
        };
        Self {
            tracks: of(MAX_TRACK_FRAGMENTS, "track fragments"),
            runs: of(MAX_RUNS, "runs"),
            samples: of(MAX_FRAGMENT_SAMPLES, "samples"),
            empty_samples: of(MAX_EMPTY_SAMPLES, "empty samples"),
        }
    }
}

impl Allowance {
    fn take(&mut self, count: u32, span: &BoxSpan<'_>) -> Result<(), BoxError> {
        self.left = self.left.checked_sub(count).ok_or(BoxError::TooMany {
            path: span.path(),
            what: self.what,
            limit: self.limit.into(),
        })?;
        Ok(())
    }
}

/// What a `traf` box says (8.8.6).
#[derive(Debug, Clone)]
pub struct TrackFragment<'a> {
    /// The box.
    pub span: BoxSpan<'a>,
    /// The track.
    pub track_id: u32,
    /// The base of data offsets and of `saio` offsets, as a position in the file, whichever way the header
    /// states it.
    pub base: u64,
    /// How the header states the base.
    pub base_form: BaseForm,
    /// Sample entry of all samples, from 1.
    pub description_index: u32,
    /// Decode time of the first sample, if `tfdt` states it.
    pub decode_time: Option<u64>,
    /// The runs, in file order.
    pub runs: Vec<TrackRun<'a>>,
    /// The `seig` sample groups of the track fragment.
    pub groups: Groups<'a>,
    defaults: TrackDefaults,
    data_end: u64,
}

/// How a track fragment header states the base of its data offsets (8.8.7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseForm {
    /// By a position in the file.
    Explicit,
    /// The first byte of the `moof` box, by a flag or because it is the first track fragment.
    Moof,
    /// Behind the data of the track fragment before it.
    AfterPrevious,
}

impl<'a> TrackFragment<'a> {
    fn parse(
        span: &BoxSpan<'a>,
        moof: u64,
        data_end: u64,
        defaults: &FragmentDefaults,
        budget: &mut Budget,
    ) -> Result<Self, BoxError> {
        let tfhd = span.need(kind::TFHD)?;
        let mut fields = tfhd.fields();
        let (_, flags) = fields.version_and_flags()?;
        let track_id = fields.u32()?;
        let mut track = *defaults.get(track_id).ok_or(BoxError::UnknownTrack {
            path: tfhd.path(),
            id: track_id,
        })?;
        let mut explicit = None;
        if flags & header_flag::BASE != 0 {
            explicit = Some(fields.u64()?);
        }
        if flags & header_flag::DESCRIPTION != 0 {
            track.description_index = fields.u32()?;
        }
        if flags & header_flag::DURATION != 0 {
            track.duration = fields.u32()?;
        }
        if flags & header_flag::SIZE != 0 {
            track.size = fields.u32()?;
        }
        if flags & header_flag::FLAGS != 0 {
            track.flags = SampleFlags(fields.u32()?);
        }
        let (base, base_form) = match explicit {
            Some(base) => (base, BaseForm::Explicit),
            None if flags & header_flag::MOOF_BASE != 0 || data_end == moof => (moof, BaseForm::Moof),
            None => (data_end, BaseForm::AfterPrevious),
        };
        let mut fragment = Self {
            span: *span,
            track_id,
            base,
            base_form,
            description_index: track.description_index,
            decode_time: decode_time(span)?,
            runs: Vec::new(),
            groups: Groups::parse(span)?,
            defaults: track,
            data_end,
        };
        fragment.parse_runs(budget)?;
        Ok(fragment)
    }

    fn parse_runs(&mut self, budget: &mut Budget) -> Result<(), BoxError> {
        let mut start = self.base;
        for child in self.span.children() {
            let child = child?;
            if child.kind() != kind::TRUN {
                continue;
            }
            let run = TrackRun::parse(&child, self.base, start, &self.defaults)?;
            budget.runs.take(1, &child)?;
            budget.samples.take(run.count, &child)?;
            if run.entries.is_empty() && run.start == run.end {
                budget.empty_samples.take(run.count, &child)?;
            }
            start = run.end;
            self.data_end = run.end;
            self.runs.push(run);
        }
        Ok(())
    }

    /// Samples of all runs.
    #[must_use]
    pub fn sample_count(&self) -> u32 {
        self.runs.iter().map(|run| run.count).fold(0, u32::saturating_add)
    }

    /// The samples in decoding order. The first is decoded at `decode_time`: [`Self::decode_time`], or if
    /// there is none the end of the track's fragment before.
    #[must_use]
    pub const fn samples(&self, decode_time: u64) -> FragmentSamples<'_> {
        FragmentSamples {
            track: self,
            run: 0,
            entries: &[],
            left: 0,
            index: 0,
            offset: 0,
            decode_time,
            failed: false,
        }
    }
}

/// Flags of `tfhd` (8.8.7.1).
pub(crate) mod header_flag {
    pub(crate) const BASE: u32 = 0x1;
    pub(crate) const DESCRIPTION: u32 = 0x2;
    pub(crate) const DURATION: u32 = 0x8;
    pub(crate) const SIZE: u32 = 0x10;
    pub(crate) const FLAGS: u32 = 0x20;
    pub(crate) const MOOF_BASE: u32 = 0x2_0000;
}

/// Flags of `trun` (8.8.8.1).
pub(crate) mod run_flag {
    pub(crate) const DATA_OFFSET: u32 = 0x1;
    pub(crate) const FIRST_FLAGS: u32 = 0x4;
    pub(crate) const DURATION: u32 = 0x100;
    pub(crate) const SIZE: u32 = 0x200;
    pub(crate) const FLAGS: u32 = 0x400;
    pub(crate) const COMPOSITION: u32 = 0x800;
}

fn decode_time(traf: &BoxSpan<'_>) -> Result<Option<u64>, BoxError> {
    let Some(tfdt) = traf.child(kind::TFDT)? else {
        return Ok(None);
    };
    let mut fields = tfdt.fields();
    let (version, _) = fields.version_and_flags()?;
    fields.u32_or_u64(version == 1).map(Some)
}

/// What a `trun` box says (8.8.8): samples whose bytes follow one another.
#[derive(Debug, Clone, Copy)]
pub struct TrackRun<'a> {
    /// The box.
    pub span: BoxSpan<'a>,
    /// Samples.
    pub count: u32,
    /// Where its first sample begins in the file.
    pub start: u64,
    /// Behind its last sample.
    pub end: u64,
    flags: u32,
    signed: bool,
    first_flags: Option<SampleFlags>,
    /// The fields of the samples: none to four numbers of 32 bits each.
    entries: &'a [[u8; 4]],
}

impl<'a> TrackRun<'a> {
    fn parse(
        span: &BoxSpan<'a>,
        base: u64,
        follows: u64,
        defaults: &TrackDefaults,
    ) -> Result<Self, BoxError> {
        let out_of_range = |what| BoxError::OutOfRange {
            path: span.path(),
            what,
        };
        let mut fields = span.fields();
        let (version, flags) = fields.version_and_flags()?;
        let count = fields.u32()?;
        let mut start = follows;
        if flags & run_flag::DATA_OFFSET != 0 {
            start = base
                .checked_add_signed(fields.i32()?.into())
                .ok_or(out_of_range("the data offset"))?;
        }
        let mut first_flags = None;
        if flags & run_flag::FIRST_FLAGS != 0 {
            first_flags = Some(SampleFlags(fields.u32()?));
        }
        let per_sample = (flags & 0xF00).count_ones();
        let words = count.checked_mul(per_sample).ok_or(BoxError::Count {
            place: fields.place(),
            stated: count.into(),
            held: 0,
        })?;
        let mut run = Self {
            span: *span,
            count,
            start,
            end: start,
            flags,
            signed: version > 0,
            first_flags,
            entries: fields.table(words)?,
        };
        run.end = start
            .checked_add(run.total_size(defaults))
            .ok_or(out_of_range("the end of the data"))?;
        Ok(run)
    }

    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    fn total_size(&self, defaults: &TrackDefaults) -> u64 {
        if !self.has(run_flag::SIZE) {
            return u64::from(self.count).saturating_mul(defaults.size.into());
        }
        let step = usize::try_from((self.flags & 0xF00).count_ones()).unwrap_or(1);
        let skip = usize::from(self.has(run_flag::DURATION));
        self.entries
            .iter()
            .skip(skip)
            .step_by(step)
            .map(|size| u64::from(u32::from_be_bytes(*size)))
            .fold(0, u64::saturating_add)
    }
}

/// The samples of a track fragment in decoding order. After an error nothing follows.
#[derive(Debug, Clone)]
pub struct FragmentSamples<'f> {
    track: &'f TrackFragment<'f>,
    /// Runs begun.
    run: usize,
    /// Fields of the samples that are left of the run.
    entries: &'f [[u8; 4]],
    /// Samples that are left of the run.
    left: u32,
    index: u32,
    offset: u64,
    decode_time: u64,
    failed: bool,
}

impl FragmentSamples<'_> {
    /// Goes to the next run that has samples, and gives it if the sample is its first.
    fn begin_run(&mut self) -> Option<()> {
        while self.left == 0 {
            let run = self.track.runs.get(self.run)?;
            self.run = self.run.saturating_add(1);
            self.entries = run.entries;
            self.left = run.count;
            self.offset = run.start;
        }
        Some(())
    }

    fn take(&mut self, run: &TrackRun<'_>, flag: u32) -> Option<u32> {
        if !run.has(flag) {
            return None;
        }
        let (word, rest) = self.entries.split_first()?;
        self.entries = rest;
        Some(u32::from_be_bytes(*word))
    }

    fn read(&mut self, run: &TrackRun<'_>) -> Result<Sample, BoxError> {
        let defaults = &self.track.defaults;
        let first = self.left == run.count;
        let duration = self.take(run, run_flag::DURATION).unwrap_or(defaults.duration);
        let size = self.take(run, run_flag::SIZE).unwrap_or(defaults.size);
        let flags = self.take(run, run_flag::FLAGS).map(SampleFlags);
        let first_flags = run.first_flags.filter(|_| first);
        let composition = self.take(run, run_flag::COMPOSITION).unwrap_or(0);
        let out_of_range = |what| BoxError::OutOfRange {
            path: run.span.path(),
            what,
        };
        let (offset, decode_time) = (self.offset, self.decode_time);
        self.offset = offset
            .checked_add(size.into())
            .ok_or(out_of_range("the end of a sample"))?;
        self.decode_time = decode_time
            .checked_add(duration.into())
            .ok_or(out_of_range("the decode time"))?;
        Ok(Sample {
            index: self.index,
            offset,
            size,
            decode_time,
            duration,
            composition_offset: if run.signed {
                composition.cast_signed().into()
            } else {
                composition.into()
            },
            flags: flags.or(first_flags).unwrap_or(defaults.flags),
            description_index: defaults.description_index,
            chunk: u32::try_from(self.run.saturating_sub(1)).unwrap_or(u32::MAX),
        })
    }
}

impl Iterator for FragmentSamples<'_> {
    type Item = Result<Sample, BoxError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        self.begin_run()?;
        let track = self.track;
        let run = track.runs.get(self.run.checked_sub(1)?)?;
        let sample = self.read(run);
        self.failed = sample.is_err();
        self.left = self.left.saturating_sub(1);
        self.index = self.index.saturating_add(1);
        Some(sample)
    }
}
