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
    isobmff::{BaseForm, BoxError, BoxSpan, Fragment, FragmentDefaults, Movie, TopBox, TopBoxes, kind},
    media::{MAX_FRAGMENT_LEN, MAX_MOVIE_LEN},
};

use crate::{MediaError, PackagerError, media::misplaced};

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
/// [`MediaError::Misplaced`]; [`MediaError::Box`] for a box that cannot be read, and for a fragment that says where its data
/// is in the file.
pub fn segments<R: Read + Seek>(file: R) -> Result<Segments, PackagerError> {
    let mut boxes = TopBoxes::new(file).map_err(PackagerError::Read)?;
    let (mut cut, mut movie) = (Cut::default(), None);
    while let Some(found) = boxes.next().transpose()? {
        if found.kind() == kind::MOOV {
            let bytes = found.read(boxes.reader(), MAX_MOVIE_LEN)?;
            let defaults = defaults(&bytes, &found)?;
            if movie.replace(defaults).is_some() || cut.begun {
                return Err(misplaced(&found).into());
            }
        } else if found.kind() == kind::MOOF {
            let movie = movie.as_ref().ok_or_else(|| misplaced(&found))?;
            if cut.has_data_before {
                return Err(MediaError::PartlyFragmented.into());
            }
            let bytes = found.read(boxes.reader(), MAX_FRAGMENT_LEN)?;
            check_relative(&bytes, &found, movie)?;
        }
        cut.push(&found);
    }
    if movie.is_none() {
        return Err(MediaError::NoMovie.into());
    }
    let segments = cut.finish();
    if segments.media.is_empty() {
        return Err(MediaError::NotFragmented.into());
    }
    Ok(segments)
}

fn defaults(movie: &[u8], found: &TopBox) -> Result<FragmentDefaults, MediaError> {
    Ok(Movie::parse(&BoxSpan::parse(movie, found.offset)?)?.defaults)
}

/// A fragment that states a position in the file cannot leave it.
fn check_relative(moof: &[u8], found: &TopBox, movie: &FragmentDefaults) -> Result<(), MediaError> {
    let fragment = Fragment::parse(&BoxSpan::parse(moof, found.offset)?, movie)?;
    let mut tracks = fragment.tracks.iter();
    match tracks.find(|track| track.base_form == BaseForm::Explicit) {
        None => Ok(()),
        Some(track) => Err(absolute(&track.span).into()),
    }
}

fn absolute(track: &BoxSpan<'_>) -> BoxError {
    track.unsupported("the position of its data in the file, in what is cut into segments")
}

/// What was cut so far.
#[derive(Default)]
struct Cut {
    segments: Segments,
    /// Boxes that belong to the segment that comes, or to the last one if none comes.
    next: Ranges,
    /// Whether the first media segment has begun.
    begun: bool,
    /// Whether the segment at hand has its data: the next box that is none begins another.
    has_data: bool,
    /// Whether there is media data that is of no fragment.
    has_data_before: bool,
}

impl Cut {
    fn push(&mut self, found: &TopBox) {
        let (kind, range) = (found.kind(), found.offset..found.end());
        if kind == kind::SIDX || kind == kind::MFRA {
            return;
        }
        if kind == kind::MOOF {
            append(&mut self.next, range);
            self.segments.media.push(mem::take(&mut self.next));
            (self.begun, self.has_data) = (true, false);
        } else if kind == kind::MDAT {
            self.has_data_before |= !self.begun;
            self.has_data = true;
            self.append_to_last(range);
        } else if self.has_data || (!self.begun && self.is_ahead(found)) {
            append(&mut self.next, range);
        } else if self.begun {
            self.append_to_last(range);
        } else if kind != kind::FREE {
            append(&mut self.segments.initialisation, range);
        }
    }

    /// Whether a box before the first fragment is one that stands in front of fragments.
    fn is_ahead(&self, found: &TopBox) -> bool {
        const AHEAD: [[u8; 4]; 3] = [*b"styp", *b"prft", *b"emsg"];
        !self.next.is_empty() || AHEAD.contains(&found.kind().fourcc().0)
    }

    fn append_to_last(&mut self, range: Range<u64>) {
        // Boxes between data and data are of the same segment.
        let ahead = mem::take(&mut self.next);
        let last = self.segments.media.last_mut();
        let last = last.unwrap_or(&mut self.segments.initialisation);
        ahead
            .into_iter()
            .chain([range])
            .for_each(|range| append(last, range));
    }

    fn finish(mut self) -> Segments {
        if let Some(last) = self.segments.media.last_mut() {
            mem::take(&mut self.next)
                .into_iter()
                .for_each(|range| append(last, range));
        }
        self.segments
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

    /// With default-base-is-moof, or with a position in the file.
    fn fragment(absolute: bool) -> Vec<u8> {
        let tfhd = if absolute {
            full_box(b"tfhd", 1, &[1, 0, 0])
        } else {
            full_box(b"tfhd", 0x02_0000, &[1])
        };
        let mfhd = full_box(b"mfhd", 0, &[1]);
        a_box(b"moof", &[mfhd, a_box(b"traf", &tfhd)].concat())
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
        let [brands, free, index, ahead, random] =
            [b"ftyp", b"free", b"sidx", b"styp", b"mfra"].map(|kind| a_box(kind, b"some"));
        let [data, unknown, event] = [b"mdat", b"kwxx", b"emsg"].map(|kind| a_box(kind, b"bytes"));
        let (movie, moof) = (movie(), fragment(false));
        let (first, media) = cut(&[
            &brands, &movie, &unknown, &free, &index, &ahead, &event, &moof, &data, &event, &data, &moof,
            &free, &data, &unknown, &random,
        ])
        .unwrap();
        assert_eq!(first, [&brands[..], &movie, &unknown].concat());
        assert_eq!(media.len(), 2);
        assert_eq!(
            media[0],
            [&ahead[..], &event, &moof, &data, &event, &data].concat()
        );
        assert_eq!(media[1], [&moof[..], &free, &data, &unknown].concat());
    }

    #[test]
    fn what_is_no_whole_file_in_fragments_is_refused() {
        let (movie, moof, data) = (movie(), fragment(false), a_box(b"mdat", b"some"));
        let media = |boxes: &[&[u8]]| match cut(boxes) {
            Err(PackagerError::Media(error)) => error,
            other => panic!("{other:?}"),
        };
        assert!(matches!(media(&[&movie, &data]), MediaError::NotFragmented));
        assert!(matches!(media(&[&data]), MediaError::NoMovie));
        let partly = media(&[&movie, &data, &moof, &data]);
        assert!(matches!(partly, MediaError::PartlyFragmented));
        for misplaced in [
            media(&[&moof, &data, &movie]),
            media(&[&movie, &movie, &moof]),
            media(&[&movie, &moof, &data, &movie]),
        ] {
            assert!(matches!(misplaced, MediaError::Misplaced { .. }), "{misplaced}");
        }
        let absolute = media(&[&movie, &fragment(true), &data]);
        assert!(matches!(absolute, MediaError::Box(_)), "{absolute}");
        assert!(cut(&[&movie, &moof, &data[..data.len() - 1]]).is_err());
    }
}
