//! The movie box: tracks, their sample entries, and what fragments take from it.

use super::{BoxError, BoxSpan, FourCc, Groups, SampleEntry, SampleFlags, SampleTables, kind};

/// Most tracks of a file.
pub const MAX_TRACKS: usize = 1024;

/// What a `moov` box says (ISO/IEC 14496-12, 8.2).
#[derive(Debug, Clone)]
pub struct Movie<'a> {
    /// The box.
    pub span: BoxSpan<'a>,
    /// Units a second of [`Movie::duration`] and of edit lists.
    pub timescale: u32,
    /// Duration as the header states it; 0 is usual in fragmented files, all ones means unknown.
    pub duration: u64,
    /// The duration with all fragments, if `mehd` states it.
    pub fragment_duration: Option<u64>,
    /// Whether there is a `mvex` box: fragments may follow.
    pub fragmented: bool,
    /// The tracks, in file order.
    pub tracks: Vec<Track<'a>>,
    /// What fragments take from `trex` boxes.
    pub defaults: FragmentDefaults,
}

impl<'a> Movie<'a> {
    /// Reads a `moov` box.
    ///
    /// # Errors
    /// Any [`BoxError`] about a box that it reads; boxes that it does not know are passed over.
    pub fn parse(span: &BoxSpan<'a>) -> Result<Self, BoxError> {
        if span.kind() != kind::MOOV {
            return Err(span.invalid("the box is not a movie"));
        }
        let (timescale, duration) = media_time(&span.need(kind::MVHD)?)?;
        let mut tracks = Vec::new();
        let mut traks = span.children();
        while let Some(child) = traks.next().transpose()? {
            if child.kind() != kind::TRAK {
                continue;
            }
            if tracks.len() >= MAX_TRACKS {
                return Err(BoxError::TooMany {
                    path: span.path(),
                    what: "tracks",
                    limit: MAX_TRACKS as u64,
                });
            }
            tracks.push(Track::parse(&child)?);
        }
        check_ids(&tracks)?;
        let mvex = span.child(kind::MVEX)?;
        let fragment_duration = match mvex.map(|mvex| mvex.child(kind::MEHD)).transpose()?.flatten() {
            Some(mehd) => {
                let mut fields = mehd.fields();
                let (version, _) = fields.version_and_flags()?;
                Some(fields.u32_or_u64(version == 1)?)
            }
            None => None,
        };
        Ok(Self {
            span: *span,
            timescale,
            duration,
            fragment_duration,
            fragmented: mvex.is_some(),
            tracks,
            defaults: mvex.map_or(Ok(FragmentDefaults::default()), |mvex| {
                FragmentDefaults::parse(&mvex)
            })?,
        })
    }

    /// The track of an id.
    #[must_use]
    pub fn track(&self, id: u32) -> Option<&Track<'a>> {
        self.tracks.iter().find(|track| track.id == id)
    }
}

fn check_ids(tracks: &[Track<'_>]) -> Result<(), BoxError> {
    let mut ids: Vec<_> = tracks.iter().map(|track| track.id).collect();
    ids.sort_unstable();
    let repeated = ids.windows(2).find_map(|pair| match pair {
        [a, b] if a == b => Some(*a),
        _ => None,
    });
    let zero = ids.first().copied().filter(|id| *id == 0);
    match (repeated.or(zero), tracks.first()) {
        (Some(id), Some(track)) => Err(BoxError::TrackId {
            path: track.span.path(),
            id,
        }),
        _ => Ok(()),
    }
}

/// Timescale and duration of `mvhd` or `mdhd`, which begin alike (8.2.2, 8.4.2).
fn media_time(span: &BoxSpan<'_>) -> Result<(u32, u64), BoxError> {
    let mut fields = span.fields();
    let long = match fields.version_and_flags()?.0 {
        0 => false,
        1 => true,
        _ => return Err(span.unsupported("this version of the header")),
    };
    fields.bytes(if long { 16 } else { 8 })?;
    let timescale = fields.u32()?;
    if timescale == 0 {
        return Err(fields.invalid("the timescale is 0"));
    }
    Ok((timescale, fields.u32_or_u64(long)?))
}

/// What a track holds, by its handler (8.4.3, clause 12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Handler {
    /// `vide`, and the auxiliary forms `auxv` and `pict`: visual sample entries.
    Video,
    /// `soun`: audio sample entries.
    Audio,
    /// Anything else.
    Other(FourCc),
}

impl Handler {
    fn of(code: FourCc) -> Self {
        match code {
            kind::VIDE | kind::AUXV | kind::PICT => Self::Video,
            kind::SOUN => Self::Audio,
            other => Self::Other(other),
        }
    }
}

/// What a `trak` box says (8.3).
#[derive(Debug, Clone)]
pub struct Track<'a> {
    /// The box.
    pub span: BoxSpan<'a>,
    /// The track id, not 0.
    pub id: u32,
    /// What the track holds.
    pub handler: Handler,
    /// Units a second of all times of the track.
    pub timescale: u32,
    /// Duration as the media header states it.
    pub duration: u64,
    /// The sample entries. A sample names its entry by a number from 1.
    pub entries: Vec<SampleEntry<'a>>,
    /// Where the samples are that are not in fragments.
    pub tables: SampleTables<'a>,
    /// Whether all data references say that the samples are in this file (8.7.2).
    pub self_contained: bool,
    /// The `stbl` box.
    pub stbl: BoxSpan<'a>,
    /// The `seig` sample groups of the sample table.
    pub groups: Groups<'a>,
}

impl<'a> Track<'a> {
    fn parse(span: &BoxSpan<'a>) -> Result<Self, BoxError> {
        let mdia = span.need(kind::MDIA)?;
        let (timescale, duration) = media_time(&mdia.need(kind::MDHD)?)?;
        let mut fields = mdia.need(kind::HDLR)?.fields();
        fields.bytes(8)?;
        let handler = Handler::of(fields.fourcc()?);
        let minf = mdia.need(kind::MINF)?;
        let stbl = minf.need(kind::STBL)?;
        Ok(Self {
            span: *span,
            id: track_id(&span.need(kind::TKHD)?)?,
            handler,
            timescale,
            duration,
            entries: SampleEntry::parse_all(&stbl.need(kind::STSD)?, handler)?,
            tables: SampleTables::parse(&stbl)?,
            self_contained: self_contained(&minf)?,
            stbl,
            groups: Groups::parse(&stbl)?,
        })
    }

    /// The sample entry of a number from 1.
    #[must_use]
    pub fn entry(&self, description_index: u32) -> Option<&SampleEntry<'a>> {
        self.entries
            .get(usize::try_from(description_index).ok()?.checked_sub(1)?)
    }
}

fn track_id(tkhd: &BoxSpan<'_>) -> Result<u32, BoxError> {
    let mut fields = tkhd.fields();
    match fields.version_and_flags()?.0 {
        0 => fields.bytes(8)?,
        1 => fields.bytes(16)?,
        _ => return Err(tkhd.unsupported("this version of the header")),
    };
    fields.u32()
}

/// A data reference box with flag 1 says "in this file". Without the boxes there is nothing else either.
fn self_contained(minf: &BoxSpan<'_>) -> Result<bool, BoxError> {
    let Some(dref) = minf
        .child(kind::DINF)?
        .map(|dinf| dinf.child(kind::DREF))
        .transpose()?
        .flatten()
    else {
        return Ok(true);
    };
    let mut fields = dref.fields();
    fields.bytes(8)?;
    let mut all = true;
    for reference in dref.children_behind(&fields) {
        all &= reference?.fields().version_and_flags()?.1 & 1 == 1;
    }
    Ok(all)
}

/// What the fragments of a track take from its `trex` box (8.8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackDefaults {
    /// The track.
    pub track_id: u32,
    /// Sample entry, from 1.
    pub description_index: u32,
    /// Duration of a sample.
    pub duration: u32,
    /// Size of a sample in bytes.
    pub size: u32,
    /// Flags of a sample.
    pub flags: SampleFlags,
}

/// The `trex` boxes of a movie.
#[derive(Debug, Clone, Default)]
pub struct FragmentDefaults(Vec<TrackDefaults>);

impl FragmentDefaults {
    /// Of the given tracks. Of several for one track the first counts.
    #[must_use]
    pub fn new(mut defaults: Vec<TrackDefaults>) -> Self {
        defaults.sort_by_key(|track| track.track_id);
        Self(defaults)
    }

    fn parse(mvex: &BoxSpan<'_>) -> Result<Self, BoxError> {
        let mut defaults = Vec::new();
        for child in mvex.children() {
            let child = child?;
            if child.kind() != kind::TREX {
                continue;
            }
            let mut fields = child.fields();
            fields.version_and_flags()?;
            defaults.push(TrackDefaults {
                track_id: fields.u32()?,
                description_index: fields.u32()?,
                duration: fields.u32()?,
                size: fields.u32()?,
                flags: SampleFlags(fields.u32()?),
            });
        }
        Ok(Self::new(defaults))
    }

    /// Those of a track.
    #[must_use]
    pub fn get(&self, track_id: u32) -> Option<&TrackDefaults> {
        let at = self.0.partition_point(|track| track.track_id < track_id);
        self.0.get(at).filter(|track| track.track_id == track_id)
    }
}
