//! The segment index: one for the whole file, filled in when the fragments are written.

use keyward_content::isobmff::{BoxError, Movie, Node, Sample, SegmentIndex, SegmentReference, Track, kind};

use crate::{MediaError, PackagerError};

/// Gathers what the segment index says of each fragment.
#[derive(Debug)]
pub(super) struct IndexBuilder {
    track_id: u32,
    timescale: u32,
    /// What the edit list adds to composition times.
    shift: i64,
    /// Fragments of a reference: one, unless there are more than an index holds.
    per_reference: u64,
    references: u16,
    /// Whether nobody knows how many fragments will come: there is room for `references` at most.
    is_open: bool,
    /// Fragments so far.
    fragments: u64,
    entries: Vec<Entry>,
}

/// One reference to be.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// Where it ends in the output.
    end: u64,
    times: Option<Times>,
}

/// When the samples of the reference track are presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// The first to be presented.
    earliest: i64,
    /// The end of the last to be presented.
    latest: i64,
    /// The first in decoding order.
    first: i64,
    first_is_sync: bool,
}

impl Times {
    /// Takes in the next sample in decoding order.
    pub(super) fn include(times: &mut Option<Self>, sample: &Sample) {
        let decoded = i64::try_from(sample.decode_time).unwrap_or(i64::MAX);
        let begin = decoded.saturating_add(sample.composition_offset);
        let end = begin.saturating_add(sample.duration.into());
        let known = times.get_or_insert(Self {
            earliest: begin,
            latest: end,
            first: begin,
            first_is_sync: sample.is_sync(),
        });
        known.earliest = known.earliest.min(begin);
        known.latest = known.latest.max(end);
    }

    /// Of samples that follow one another.
    fn both(first: Option<Self>, later: Option<Self>) -> Option<Self> {
        let (Some(known), Some(later)) = (first, later) else {
            return first.or(later);
        };
        Some(Self {
            earliest: known.earliest.min(later.earliest),
            latest: known.latest.max(later.latest),
            ..known
        })
    }
}

/// References that there is room for if nobody knows how many fragments will come: films of two hours, at two
/// seconds a fragment.
const MOST_OPEN: u64 = 4096;
/// Bytes of free space without content.
const FREE_LEN: u64 = 8;

impl IndexBuilder {
    /// An index of `track` for that many fragments, at least one, or for as many as will come.
    pub(super) fn new(
        movie: &Movie<'_>,
        track: &Track<'_>,
        fragments: Option<u64>,
    ) -> Result<Self, BoxError> {
        let shift = edit_shift(movie, track)?;
        Ok(match fragments {
            Some(fragments) => Self::with_shift(track.id, track.timescale, shift, fragments),
            None => Self {
                is_open: true,
                ..Self::with_shift(track.id, track.timescale, shift, MOST_OPEN)
            },
        })
    }

    fn with_shift(track_id: u32, timescale: u32, shift: i64, fragments: u64) -> Self {
        let max = SegmentIndex::MAX_REFERENCES as u64;
        let per_reference = fragments.div_ceil(max).max(1);
        Self {
            track_id,
            timescale,
            shift,
            per_reference,
            references: u16::try_from(fragments.div_ceil(per_reference)).unwrap_or(u16::MAX),
            is_open: false,
            fragments: 0,
            entries: Vec::new(),
        }
    }

    /// The track that the index is of.
    pub(super) const fn track_id(&self) -> u32 {
        self.track_id
    }

    /// Bytes of the box, and of free space where it is not known how long it will be.
    pub(super) const fn room(&self) -> u64 {
        let free = if self.is_open { FREE_LEN } else { 0 };
        SegmentIndex::encoded_len(self.references).saturating_add(free)
    }

    /// Takes in the next fragment.
    pub(super) fn push(&mut self, times: Option<Times>) {
        if self.is_open && self.entries.len() >= usize::from(self.references) {
            self.join_pairs();
        }
        if self.fragments.is_multiple_of(self.per_reference) {
            self.entries.push(Entry { end: 0, times });
        } else if let (Some(entry), Some(later)) = (self.entries.last_mut(), times) {
            let known = entry.times.get_or_insert(later);
            known.earliest = known.earliest.min(later.earliest);
            known.latest = known.latest.max(later.latest);
        }
        self.fragments = self.fragments.saturating_add(1);
    }

    /// Says where the last fragment ends, so far.
    pub(super) fn end_at(&mut self, position: u64) {
        if let Some(entry) = self.entries.last_mut() {
            entry.end = position;
        }
    }

    /// Makes one reference of every two, once all that there is room for are full.
    fn join_pairs(&mut self) {
        if !self.fragments.is_multiple_of(self.per_reference) {
            return;
        }
        let pairs = self.entries.chunks(2).filter_map(|pair| {
            let (first, last) = (pair.first()?, pair.last()?);
            Some(Entry {
                end: last.end,
                times: Times::both(first.times, last.times),
            })
        });
        self.entries = pairs.collect();
        self.per_reference = self.per_reference.saturating_mul(2);
    }

    /// What fills the room: free space, if it is larger than the box, then the box, for fragments that follow
    /// it from `anchor` on.
    pub(super) fn fill_room(&self, anchor: u64) -> Result<Vec<u8>, PackagerError> {
        let index = self.to_box(anchor)?;
        let free = self.room().saturating_sub(index.len() as u64);
        if !self.is_open {
            return Ok(index);
        }
        let body = usize::try_from(free.saturating_sub(FREE_LEN)).unwrap_or_default();
        Ok([Node::new(kind::FREE, vec![0; body]).to_vec(), index].concat())
    }

    /// The box, for fragments that follow it from `anchor` on.
    fn to_box(&self, anchor: u64) -> Result<Vec<u8>, PackagerError> {
        let mut begin = anchor;
        let mut references = Vec::with_capacity(self.entries.len());
        for (at, entry) in self.entries.iter().enumerate() {
            let size = entry.end.saturating_sub(begin);
            references.push(SegmentReference {
                size: u32::try_from(size)
                    .ok()
                    .filter(|size| size >> 31 == 0)
                    .ok_or(MediaError::TooLarge("a fragment"))?,
                duration: self.duration(at)?,
                ..entry.access_point()
            });
            begin = entry.end;
        }
        let earliest = self
            .entries
            .iter()
            .find_map(|entry| entry.times)
            .map_or(0, |times| times.earliest);
        let index = SegmentIndex {
            reference_id: self.track_id,
            timescale: self.timescale,
            earliest_presentation_time: u64::try_from(earliest.saturating_add(self.shift)).unwrap_or(0),
            first_offset: 0,
            references,
        };
        Ok(index.to_node()?.to_vec())
    }

    /// From the earliest presentation of an entry to that of the next one that has samples (8.16.3.3).
    fn duration(&self, at: usize) -> Result<u32, MediaError> {
        let mut known = self.entries.iter().skip(at).map(|entry| entry.times);
        let Some(own) = known.next().flatten() else {
            return Ok(0);
        };
        let next = known.flatten().next().map_or(own.latest, |next| next.earliest);
        let duration = next.saturating_sub(own.earliest).max(0);
        u32::try_from(duration).map_err(|_| MediaError::TooLarge("the duration of a fragment"))
    }
}

impl Entry {
    /// Sync samples are stream access points of type 1, or 2 if others are presented before them.
    fn access_point(&self) -> SegmentReference {
        let sync = self.times.filter(|times| times.first_is_sync);
        SegmentReference {
            starts_with_sap: sync.is_some(),
            sap_type: sync.map_or(0, |times| if times.first == times.earliest { 1 } else { 2 }),
            ..SegmentReference::default()
        }
    }
}

/// How far the edit list moves the presentation, in the timescale of the track: an initial delay, less the
/// media time of the first edit that shows media (ISO/IEC 14496-12, 8.6.6).
fn edit_shift(movie: &Movie<'_>, track: &Track<'_>) -> Result<i64, BoxError> {
    let edits = track
        .span
        .child(kind::EDTS)?
        .map(|edts| edts.child(kind::ELST))
        .transpose()?
        .flatten();
    let Some(edits) = edits else {
        return Ok(0);
    };
    let mut fields = edits.fields();
    let long = fields.version_and_flags()?.0 == 1;
    let count = fields.u32()?;
    let mut delay = 0_u64;
    for _ in 0..count {
        let duration = fields.u32_or_u64(long)?;
        let media_time = if long {
            fields.u64()?.cast_signed()
        } else {
            fields.i32()?.into()
        };
        fields.u32()?;
        if media_time >= 0 {
            let units = u128::from(delay).saturating_mul(track.timescale.into());
            let delay = units.checked_div(movie.timescale.into()).unwrap_or_default();
            return Ok(i64::try_from(delay)
                .unwrap_or(i64::MAX)
                .saturating_sub(media_time));
        }
        delay = delay.saturating_add(duration);
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use keyward_content::isobmff::BoxSpan;

    use super::*;

    fn times(earliest: i64, latest: i64) -> Option<Times> {
        Some(Times {
            earliest,
            latest,
            first: earliest,
            first_is_sync: true,
        })
    }

    fn index(builder: &IndexBuilder, anchor: u64) -> SegmentIndex {
        let bytes = builder.to_box(anchor).unwrap();
        assert_eq!(bytes.len() as u64, builder.room());
        SegmentIndex::parse(&BoxSpan::parse(&bytes, 0).unwrap()).unwrap()
    }

    #[test]
    fn more_fragments_than_an_index_holds_share_references() {
        for (fragments, references, each) in [(65_535, 65_535, 1), (65_536, 32_768, 2), (131_071, 43_691, 3)]
        {
            let mut builder = IndexBuilder::with_shift(1, 1000, 0, fragments);
            for number in 0..fragments {
                let begin = number as i64 * 10;
                builder.push(times(begin, begin + 10));
                builder.end_at(500 + (number + 1) * 100);
            }
            let index = index(&builder, 500);
            assert_eq!(index.references.len(), references);
            let first = index.references.first().unwrap();
            assert_eq!((first.size, first.duration), (each * 100, each * 10));
            let total: u64 = index
                .references
                .iter()
                .map(|reference| u64::from(reference.size))
                .sum();
            assert_eq!(total, fragments * 100);
        }
    }

    #[test]
    fn a_fragment_without_the_reference_track_lasts_nothing() {
        let mut builder = IndexBuilder::with_shift(1, 1000, -20, 4);
        for (number, times) in (1..).zip([None, times(30, 60), None, times(70, 90)]) {
            builder.push(times);
            builder.end_at(number * 100);
        }
        let index = index(&builder, 0);
        assert_eq!(index.earliest_presentation_time, 10);
        let durations: Vec<_> = index
            .references
            .iter()
            .map(|reference| reference.duration)
            .collect();
        assert_eq!(durations, [0, 40, 0, 20]);
        let points: Vec<_> = index
            .references
            .iter()
            .map(|reference| reference.starts_with_sap)
            .collect();
        assert_eq!(points, [false, true, false, true]);
    }

    #[test]
    fn what_an_index_cannot_say_is_refused() {
        let mut builder = IndexBuilder::with_shift(1, 1000, 0, 1);
        builder.push(times(0, 10));
        builder.end_at(1 << 31);
        assert!(matches!(
            builder.to_box(0),
            Err(PackagerError::Media(MediaError::TooLarge("a fragment")))
        ));
        builder.end_at(1 << 30);
        assert!(builder.to_box(0).is_ok());
        builder.push(times(i64::MAX, i64::MAX));
        assert!(builder.to_box(0).is_err());
    }
}
