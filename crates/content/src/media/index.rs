//! The parts of a file: where its movie box is, and where fragments begin.

use std::{
    io::{Read, Seek},
    ops::Range,
};

use super::MediaError;
use crate::isobmff::{BoxError, BoxPath, Place, TopBox, TopBoxes, kind};

/// Found by hopping over the boxes at the top level: 8 bytes for each part.
///
/// ```text
///   part 0                  part 1                part 2
///   ftyp moov (mdat) sidx │ moof moof mdat mdat │ styp moof mdat …
/// ```
///
/// A part begins with the first `moof` behind media data. Its protected samples lie in its media data.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) file_len: u64,
    pub(super) movie: TopBox,
    /// Where the parts from the first `moof` on begin.
    parts: Vec<u64>,
}

/// Most parts of a file.
const MAX_PARTS: u64 = 1 << 24;

impl Index {
    pub(super) fn scan(source: impl Read + Seek) -> Result<Self, MediaError> {
        let mut boxes = TopBoxes::new(source)?;
        let file_len = boxes.file_len();
        let mut movie = None;
        let mut parts: Vec<u64> = Vec::new();
        let mut in_fragments = false;
        for found in boxes.by_ref() {
            let found = found?;
            let fourcc = found.kind().fourcc();
            match fourcc {
                kind::MOOV => {
                    check_movie(found, movie, &parts)?;
                    movie = Some(found);
                }
                kind::MOOF if !in_fragments => {
                    if parts.len() as u64 >= MAX_PARTS {
                        return Err(MediaError::TooMany {
                            what: "fragments",
                            limit: MAX_PARTS,
                        });
                    }
                    parts.push(found.offset);
                }
                _ => {}
            }
            in_fragments = (in_fragments || fourcc == kind::MOOF) && fourcc != kind::MDAT;
        }
        Ok(Self {
            file_len,
            movie: movie.ok_or(MediaError::NoMovie)?,
            parts,
        })
    }

    /// How many parts there are: the one with the movie box, and those of fragments.
    pub(super) fn len(&self) -> usize {
        self.parts.len().saturating_add(1)
    }

    /// Which part a byte of the file is in.
    pub(super) fn part_of(&self, at: u64) -> usize {
        self.parts.partition_point(|start| *start <= at)
    }

    /// The bytes of a part.
    pub(super) fn range(&self, part: usize) -> Range<u64> {
        let begins = part.checked_sub(1).and_then(|before| self.parts.get(before));
        let ends = self.parts.get(part);
        begins.copied().unwrap_or(0)..ends.copied().unwrap_or(self.file_len)
    }
}

/// One movie box, and before the fragments that it describes: a second one would make other tracks of them.
fn check_movie(found: TopBox, earlier: Option<TopBox>, parts: &[u64]) -> Result<(), BoxError> {
    let place = Place::in_file(found.offset);
    if earlier.is_some() {
        return Err(BoxError::Repeated {
            place,
            repeated: kind::MOOV,
        });
    }
    match parts.first() {
        None => Ok(()),
        Some(_) => Err(BoxError::Invalid {
            place: Place {
                path: BoxPath::TOP,
                ..place
            },
            rule: "the movie box is behind a fragment",
        }),
    }
}
