//! Where an MP4 in fragments is cut into an initialisation segment and media segments.
//!
//! ```text
//!   ftyp │ moov │ sidx │ moof │ mdat │ moof │ mdat │ mfra
//!   └── init ──┘        └ segment 1 ┘ └ segment 2 ┘
//! ```
//! Every box goes along byte for byte, but for those that say where others are in the file (`sidx`, `mfra`) and free
//! space in front of the first segment. The segments, one behind the other, are an MP4 again.

use core::{mem, ops::Range};
use std::io::{Read, Seek};

use keyward_content::{
    isobmff::{BaseForm, BoxSpan, Fragment, FragmentDefaults, Movie, TopBox, TopBoxes, kind},
    media::{MAX_FRAGMENT_LEN, MAX_MOVIE_LEN},
};

use super::probe::{self, MAX_SMALL_LEN, misplaced};
use crate::{MediaError, PackagerError};

/// Most media segments. With five digits their names are in the order of their numbers; segments of two seconds are two days.
pub const MAX_SEGMENTS: usize = 99_999;

/// Bytes of a segment, in order.
type Ranges = Vec<Range<u64>>;

/// Which bytes of a file are in which segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Segments {
    /// Those of the initialisation segment.
    pub initialisation: Ranges,
    /// Those of each media segment: a fragment, with the boxes in front of it.
    pub media: Vec<Ranges>,
}

/// Finds the segments of `file`. Its samples are not looked at: they may be protected or not.
///
/// # Errors
/// [`PackagerError::Read`]; [`MediaError::NoMovie`], [`MediaError::NotFragmented`], [`MediaError::PartlyFragmented`],
/// [`MediaError::Misplaced`], [`MediaError::OtherFile`]; [`MediaError::DataElsewhere`] for a fragment whose data would be in
/// another segment; [`MediaError::TooManySegments`]; [`MediaError::Box`] for a box that cannot be read, or that
/// says where in the file something is.
pub fn segments<R: Read + Seek>(file: R) -> Result<Segments, PackagerError> {
    let mut boxes = TopBoxes::new(file).map_err(PackagerError::Read)?;
    let (mut cut, mut movie, mut branded) = (Cut::default(), None, false);
    while let Some(found) = boxes.next().transpose()? {
        let mut data = None;
        if found.kind() == kind::MOOV {
            let bytes = found.read(boxes.reader(), MAX_MOVIE_LEN)?;
            if movie.replace(defaults(&bytes, &found)?).is_some() {
                return Err(misplaced(&found).into());
            }
        } else if found.kind() == kind::MOOF {
            let movie = movie.as_ref().ok_or_else(|| misplaced(&found))?;
            let bytes = found.read(boxes.reader(), MAX_FRAGMENT_LEN)?;
            data = data_of(&bytes, &found, movie)?;
        } else if found.kind() == kind::META {
            let bytes = found.read(boxes.reader(), MAX_SMALL_LEN)?;
            let meta = BoxSpan::parse(&bytes, found.offset).map_err(MediaError::from)?;
            probe::check_items(&meta)?;
        } else if found.kind() == kind::FTYP && mem::replace(&mut branded, true) {
            return Err(misplaced(&found).into());
        }
        cut.push(&found, data)?;
    }
    if movie.is_none() {
        return Err(MediaError::NoMovie.into());
    }
    let segments = cut.finish()?;
    if segments.media.is_empty() {
        return Err(MediaError::NotFragmented.into());
    }
    Ok(segments)
}

/// What fragments go by. A movie that describes samples itself, or that says where something is, is refused.
fn defaults(movie: &[u8], found: &TopBox) -> Result<FragmentDefaults, MediaError> {
    let movie = BoxSpan::parse(movie, found.offset)?;
    let movie = Movie::parse(&movie)?;
    probe::check_metadata(&movie.span)?;
    for track in &movie.tracks {
        if !track.self_contained {
            return Err(MediaError::OtherFile(track.id));
        }
        probe::check_metadata(&track.span)?;
    }
    match movie.tracks.iter().any(|track| track.tables.count() > 0) {
        true if movie.fragmented => Err(MediaError::PartlyFragmented),
        true => Err(MediaError::NotFragmented),
        false => Ok(movie.defaults),
    }
}

/// Where the data of a fragment is. One that states a position in the file cannot leave it.
fn data_of(moof: &[u8], found: &TopBox, movie: &FragmentDefaults) -> Result<Option<Range<u64>>, MediaError> {
    let moof = BoxSpan::parse(moof, found.offset)?;
    let fragment = Fragment::parse(&moof, movie)?;
    let mut tracks = fragment.tracks.iter();
    if let Some(track) = tracks.find(|track| track.base_form == BaseForm::Explicit) {
        let what = "the position of its data in the file, in what is cut into segments";
        return Err(track.span.unsupported(what).into());
    }
    let runs = fragment.tracks.iter().flat_map(|track| &track.runs);
    let data = runs.map(|run| run.start..run.end).filter(|run| !run.is_empty());
    Ok(data.reduce(|one, other| one.start.min(other.start)..one.end.max(other.end)))
}

/// What was cut so far.
#[derive(Default)]
struct Cut {
    segments: Segments,
    /// Boxes that belong to the segment that comes, or to the last one if none comes.
    next: Ranges,
    /// Whether the segment at hand has its data: the next box that is none begins another.
    has_data: bool,
    /// Of the segment at hand, where its `moof` box begins and which data it names.
    named: Option<(u64, Range<u64>)>,
}

impl Cut {
    fn push(&mut self, found: &TopBox, data: Option<Range<u64>>) -> Result<(), MediaError> {
        const SUBSEGMENT_INDEX: [u8; 4] = *b"ssix";
        let (kind, range) = (found.kind(), found.offset..found.end());
        let begun = !self.segments.media.is_empty();
        if kind == kind::MOOF {
            if self.segments.media.len() >= MAX_SEGMENTS {
                return Err(MediaError::TooManySegments);
            }
            self.check_data()?;
            append(&mut self.next, range);
            self.segments.media.push(mem::take(&mut self.next));
            self.named = data.map(|data| (found.offset, data));
            self.has_data = false;
        } else if kind == kind::FTYP && begun {
            return Err(misplaced(found));
        } else if kind == kind::MDAT || kind == kind::FTYP || kind == kind::MOOV {
            self.has_data |= begun;
            self.append_to_last(range);
        } else if kind == kind::SIDX || kind == kind::MFRA || kind.fourcc().0 == SUBSEGMENT_INDEX {
            // It says where others are.
        } else if self.has_data || (!begun && self.is_ahead(found)) {
            append(&mut self.next, range);
        } else if begun {
            self.append_to_last(range);
        } else if kind != kind::FREE {
            append(&mut self.segments.initialisation, range);
        }
        Ok(())
    }

    /// Whether a box before the first fragment is one that stands in front of fragments.
    fn is_ahead(&self, found: &TopBox) -> bool {
        const AHEAD: [[u8; 4]; 3] = [*b"styp", *b"prft", *b"emsg"];
        !self.next.is_empty() || AHEAD.contains(&found.kind().fourcc().0)
    }

    /// Boxes in front of one that goes with what is there go with it too.
    fn append_to_last(&mut self, range: Range<u64>) {
        let ahead = mem::take(&mut self.next);
        let last = self.segments.media.last_mut();
        let last = last.unwrap_or(&mut self.segments.initialisation);
        ahead
            .into_iter()
            .chain([range])
            .for_each(|range| append(last, range));
    }

    /// Data offsets count from the `moof` box: all between it and the data must have gone along.
    fn check_data(&mut self) -> Result<(), MediaError> {
        let Some((moof, data)) = self.named.take() else {
            return Ok(());
        };
        let mut parts = self.segments.media.last().into_iter().flatten();
        match parts.find(|part| part.contains(&moof)) {
            Some(part) if moof < data.start && data.end <= part.end => Ok(()),
            _ => Err(MediaError::DataElsewhere(moof)),
        }
    }

    fn finish(mut self) -> Result<Segments, MediaError> {
        if let Some(last) = self.segments.media.last_mut() {
            let trailing = mem::take(&mut self.next);
            trailing.into_iter().for_each(|range| append(last, range));
        }
        self.check_data()?;
        Ok(self.segments)
    }
}

/// Ranges that meet become one.
fn append(ranges: &mut Ranges, range: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn a_box(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(8 + body.len()).unwrap();
        [&len.to_be_bytes()[..], kind, body].concat()
    }

    fn full_box(kind: &[u8; 4], flags: u32, fields: &[u32]) -> Vec<u8> {
        let fields: Vec<u8> = [flags]
            .iter()
            .chain(fields)
            .flat_map(|field| field.to_be_bytes())
            .collect();
        a_box(kind, &fields)
    }

    fn movie() -> Vec<u8> {
        let mvhd = full_box(b"mvhd", 0, &[1; 24]);
        let mvex = a_box(b"mvex", &full_box(b"trex", 0, &[1, 1, 0, 0, 0]));
        a_box(b"moov", &[mvhd, mvex].concat())
    }

    /// One sample of 4 bytes, so many behind the beginning of the `moof` box; or a position in the file.
    fn fragment(distance: Option<u32>) -> Vec<u8> {
        let (tfhd, distance) = match distance {
            Some(distance) => (full_box(b"tfhd", 0x02_0000, &[1]), distance),
            None => (full_box(b"tfhd", 1, &[1, 0, 0]), 0),
        };
        let mfhd = full_box(b"mfhd", 0, &[1]);
        let trun = full_box(b"trun", 0x201, &[1, distance, 4]);
        a_box(b"moof", &[mfhd, a_box(b"traf", &[tfhd, trun].concat())].concat())
    }

    /// With its data in the box behind it.
    fn moof() -> Vec<u8> {
        let len = u32::try_from(fragment(Some(0)).len()).unwrap();
        fragment(Some(len + 8))
    }

    fn cut(boxes: &[&[u8]]) -> Result<(Vec<u8>, Vec<Vec<u8>>), PackagerError> {
        let file = boxes.concat();
        let found = segments(Cursor::new(&file))?;
        let bytes = |ranges: &Ranges| {
            let parts = ranges.iter().map(|range| {
                let [start, end] = [range.start, range.end].map(|at| usize::try_from(at).unwrap());
                &file[start..end]
            });
            parts.collect::<Vec<_>>().concat()
        };
        Ok((
            bytes(&found.initialisation),
            found.media.iter().map(bytes).collect(),
        ))
    }

    #[test]
    fn every_box_is_in_the_segment_that_it_belongs_to() {
        let [brands, free, index, levels, ahead, random] =
            [b"ftyp", b"free", b"sidx", b"ssix", b"styp", b"mfra"].map(|kind| a_box(kind, b"some"));
        let [data, unknown, event] = [b"mdat", b"kwxx", b"emsg"].map(|kind| a_box(kind, b"bytes"));
        let (movie, moof) = (movie(), moof());
        let far = fragment(Some(u32::try_from(moof.len() + free.len() + 8).unwrap()));
        let (first, media) = cut(&[
            &brands, &movie, &unknown, &free, &index, &levels, &ahead, &event, &moof, &data, &event, &data,
            &far, &free, &data, &unknown, &random,
        ])
        .unwrap();
        assert_eq!(first, [&brands[..], &movie, &unknown].concat());
        assert_eq!(media.len(), 2);
        assert_eq!(
            media[0],
            [&ahead[..], &event, &moof, &data, &event, &data].concat()
        );
        assert_eq!(media[1], [&far[..], &free, &data, &unknown].concat());

        // What stands in front of the movie box is of no fragment.
        let (first, media) = cut(&[&ahead, &brands, &event, &movie, &moof, &data]).unwrap();
        assert_eq!(first, [&ahead[..], &brands, &event, &movie].concat());
        assert_eq!(media, [[&moof[..], &data].concat()]);
    }

    #[test]
    fn what_is_no_whole_file_in_fragments_is_refused() {
        let (movie, moof, data) = (movie(), moof(), a_box(b"mdat", b"some"));
        let [brands, index] = [b"ftyp", b"sidx"].map(|kind| a_box(kind, b"some"));
        let media = |boxes: &[&[u8]]| match cut(boxes) {
            Err(PackagerError::Media(error)) => error,
            other => panic!("{other:?}"),
        };
        assert!(matches!(media(&[&movie, &data]), MediaError::NotFragmented));
        assert!(matches!(media(&[&data]), MediaError::NoMovie));
        for misplaced in [
            media(&[&moof, &data, &movie]),
            media(&[&movie, &movie, &moof]),
            media(&[&movie, &moof, &data, &movie]),
            media(&[&brands, &brands, &movie, &moof, &data]),
            media(&[&movie, &moof, &data, &brands]),
        ] {
            assert!(matches!(misplaced, MediaError::Misplaced { .. }), "{misplaced}");
        }
        let to_the_next = fragment(Some(u32::try_from(2 * moof.len() + data.len() + 8).unwrap()));
        for elsewhere in [
            media(&[&movie, &moof, &moof, &data, &data]),
            media(&[&movie, &to_the_next, &data, &moof, &data]),
            media(&[&movie, &moof, &index, &data]),
            media(&[&movie, &moof]),
        ] {
            assert!(matches!(elsewhere, MediaError::DataElsewhere(_)), "{elsewhere}");
        }
        let items = a_box(b"meta", &[&[0; 4][..], &a_box(b"iloc", b"")].concat());
        for boxed in [
            media(&[&movie, &fragment(None), &data]),
            media(&[&items, &movie, &moof, &data]),
        ] {
            assert!(matches!(boxed, MediaError::Box(_)), "{boxed}");
        }
        assert!(cut(&[&movie, &moof, &data[..data.len() - 1]]).is_err());
    }

    #[test]
    fn there_are_no_more_segments_than_names() {
        let moof = a_box(b"moof", &full_box(b"mfhd", 0, &[1]));
        let file = |count| [movie(), moof.repeat(count)].concat();
        assert_eq!(
            segments(Cursor::new(file(MAX_SEGMENTS))).unwrap().media.len(),
            MAX_SEGMENTS
        );
        let refused = segments(Cursor::new(file(MAX_SEGMENTS + 1))).unwrap_err();
        assert!(matches!(
            refused,
            PackagerError::Media(MediaError::TooManySegments)
        ));
    }
}
