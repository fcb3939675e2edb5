//! What the input is made of, and whether all of it can be protected.

use std::io::{Read, Seek};

use keyward_content::{
    isobmff::{BoxSpan, FourCc, Movie, TopBox, TopBoxes, Track, kind},
    media::MAX_MOVIE_LEN,
};

use super::{
    source::Source,
    tracks::{self, TrackKind},
};
use crate::{MediaError, PackagerError};

/// Most bytes of other boxes that are read as a whole.
pub(super) const MAX_SMALL_LEN: u64 = 16 << 20;

/// The parts of a file.
#[derive(Debug)]
pub(super) struct Layout {
    /// The `ftyp` box, if there is one.
    pub(super) brands: Option<Vec<u8>>,
    /// The `moov` box.
    pub(super) movie: Vec<u8>,
    pub(super) movie_at: u64,
    /// How many `moof` boxes there are; nothing if they come through a pipe.
    pub(super) fragments: Option<u64>,
}

impl Layout {
    /// Finds the parts by hopping from box to box.
    pub(super) fn scan<R: Read + Seek>(source: &mut Source<R>) -> Result<Self, PackagerError> {
        let (mut brands, mut movie, mut fragments) = (None, None, 0_u64);
        let mut boxes = TopBoxes::new(source).map_err(PackagerError::Read)?;
        while let Some(found) = boxes.next().transpose()? {
            let repeated = if found.kind() == kind::FTYP {
                brands
                    .replace(found.read(boxes.reader(), MAX_SMALL_LEN)?)
                    .is_some()
            } else if found.kind() == kind::MOOV {
                let bytes = found.read(boxes.reader(), MAX_MOVIE_LEN)?;
                movie.replace((bytes, found.offset)).is_some()
            } else {
                if found.kind() == kind::MOOF {
                    fragments = fragments.saturating_add(1);
                } else if found.kind() == kind::META {
                    let bytes = found.read(boxes.reader(), MAX_SMALL_LEN)?;
                    check_items(&BoxSpan::parse(&bytes, found.offset)?)?;
                }
                found.kind() == kind::MOOF && movie.is_none()
            };
            if repeated {
                return Err(misplaced(&found).into());
            }
        }
        let (movie, movie_at) = movie.ok_or(MediaError::NoMovie)?;
        Ok(Self {
            brands,
            movie,
            movie_at,
            fragments: Some(fragments),
        })
    }

    /// The `moov` box as a span.
    pub(super) fn movie_span(&self) -> Result<BoxSpan<'_>, MediaError> {
        Ok(BoxSpan::parse(&self.movie, self.movie_at)?)
    }

    /// Whether the samples are in fragments.
    pub(super) const fn is_fragmented(&self) -> bool {
        !matches!(self.fragments, Some(0))
    }
}

/// Looks at a box behind a fragment that came through a pipe, as [`Layout::scan`] does at those of a file.
pub(super) fn check_behind<R: Read + Seek>(
    source: &mut Source<R>,
    found: &TopBox,
) -> Result<(), PackagerError> {
    if source.is_pipe() && (found.kind() == kind::FTYP || found.kind() == kind::MOOV) {
        return Err(misplaced(found).into());
    }
    check_passing(source, found)
}

/// The same, of any box.
pub(super) fn check_passing<R: Read + Seek>(
    source: &mut Source<R>,
    found: &TopBox,
) -> Result<(), PackagerError> {
    if source.is_pipe() && found.kind() == kind::META {
        let bytes = found.read(source, MAX_SMALL_LEN)?;
        check_items(&BoxSpan::parse(&bytes, found.offset)?)?;
    }
    Ok(())
}

/// The error for a box that is there twice, or a fragment before the movie box.
pub(super) fn misplaced(found: &TopBox) -> MediaError {
    MediaError::Misplaced {
        kind: found.kind().fourcc(),
        offset: found.offset,
        why: if found.kind() == kind::MOOF {
            "stands before the movie box"
        } else {
            "is there twice"
        },
    }
}

/// Refuses what cannot be protected as a whole: nothing is left clear that a person may think protected.
pub(super) fn check(movie: &Movie<'_>, layout: &Layout) -> Result<(), MediaError> {
    check_metadata(&movie.span)?;
    for track in &movie.tracks {
        check_track(track, layout.is_fragmented())?;
    }
    if !movie
        .tracks
        .iter()
        .any(|track| TrackKind::of(track.handler).is_some())
    {
        return Err(MediaError::NothingToProtect);
    }
    let with_samples = movie.tracks.iter().any(|track| track.tables.count() > 0);
    match (layout.is_fragmented(), with_samples) {
        (true, true) => Err(MediaError::PartlyFragmented),
        (false, false) => Err(MediaError::NoSamples),
        _ => Ok(()),
    }
}

fn check_track(track: &Track<'_>, fragmented: bool) -> Result<(), MediaError> {
    if track.entries.iter().any(|entry| entry.protection.is_some()) {
        return Err(MediaError::AlreadyProtected(track.id));
    }
    if !track.self_contained {
        return Err(MediaError::OtherFile(track.id));
    }
    if let Some(kind) = TrackKind::of(track.handler) {
        tracks::mappers(track, kind)?;
    }
    check_metadata(&track.span)?;
    if !fragmented {
        check_tables(&track.stbl)?;
    }
    Ok(())
}

/// Tables of a progressive track that fragments could hold, but that are not carried over.
fn check_tables(stbl: &BoxSpan<'_>) -> Result<(), MediaError> {
    for table in stbl.children() {
        let table = table?;
        match table.kind().fourcc() {
            kind::SAIZ | kind::SAIO | kind::SENC => {
                return Err(table.unsupported("auxiliary information of samples").into());
            }
            kind::CSGP => return Err(table.unsupported("the compact form of sample groups").into()),
            _ => {}
        }
    }
    Ok(())
}

/// The `meta` boxes in a `moov` or `trak` box.
pub(super) fn check_metadata(home: &BoxSpan<'_>) -> Result<(), MediaError> {
    for child in home.children() {
        let child = child?;
        if child.kind() == kind::META {
            check_items(&child)?;
        }
    }
    Ok(())
}

/// Items are found by their place in the file (ISO/IEC 14496-12, 8.11.3), and everything moves.
pub(super) fn check_items(meta: &BoxSpan<'_>) -> Result<(), MediaError> {
    const ITEM_LOCATIONS: FourCc = FourCc(*b"iloc");
    let mut fields = meta.fields();
    // QuickTime's form of the box has no version and holds no items.
    if fields.version_and_flags().is_err() {
        return Ok(());
    }
    let mut children = meta.children_behind(&fields).map_while(Result::ok);
    match children.find(|child| child.kind() == ITEM_LOCATIONS) {
        Some(items) => Err(items.unsupported("metadata in items").into()),
        None => Ok(()),
    }
}

/// The track that the segment index is of: the first video track, else the first audio track.
pub(super) fn reference_track<'t, 'm>(movie: &'t Movie<'m>) -> Result<&'t Track<'m>, MediaError> {
    let of_kind = |wanted| {
        movie
            .tracks
            .iter()
            .find(move |track| TrackKind::of(track.handler) == Some(wanted))
    };
    of_kind(TrackKind::Video)
        .or_else(|| of_kind(TrackKind::Audio))
        .ok_or(MediaError::NothingToProtect)
}
