//! Media before its keys are there.

use core::fmt;
use std::{
    collections::BTreeSet,
    io::{Read, Seek},
    ops::Range,
};

use keyward_license::ids::Kid;

use super::{
    ClearView, KeyRing, MAX_FRAGMENT_LEN, MAX_MOVIE_LEN, MediaError, SampleCursor, SampleSpan,
    file::{Fetch, box_at, header_at},
    index::Index,
    map::{SampleMap, Spot},
    needs::{Needs, Riding},
};
use crate::{
    header::ContentHeader,
    isobmff::{
        BoxError, BoxSpan, EntryProtection, FourCc, Fragment, FragmentDefaults, Handler, Movie, Overwrite,
        ProtectionCursor, Track, TrackProtection, clear_fragment, clear_movie, kind,
    },
};

/// A protected MP4 whose boxes were read: what keys it needs and where its samples are.
///
/// Nothing in it is verified: boxes are as a stranger wrote them.
pub struct LockedMedia<R> {
    pub(super) source: R,
    index: Index,
    tracks: Vec<MediaTrack>,
    protections: Vec<TrackProtection>,
    defaults: FragmentDefaults,
    /// The keys that the content header names, if keys become known while the media plays.
    on_demand: Option<Vec<Kid>>,
    /// What the movie box describes.
    movie: Part,
    /// The fragments that were read last, each with the number of its part; the latest first. Two, so that one
    /// may look at the needs of the next part.
    fragments: Vec<(usize, Part)>,
}

/// A track.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MediaTrack {
    /// Its id.
    pub id: u32,
    /// What it holds.
    pub handler: Handler,
    /// Its sample entries, in order.
    pub entries: Vec<MediaEntry>,
    /// Whether its samples are in this file.
    pub self_contained: bool,
}

/// A sample entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MediaEntry {
    /// The format of its samples when they are clear: `avc1`, `mp4a`, …
    pub coding: FourCc,
    /// How its samples are protected, unless they are clear.
    pub protection: Option<EntryProtection>,
}

/// What the boxes of one part of the file say.
#[derive(Default)]
pub(super) struct Part {
    pub(super) map: SampleMap,
    /// In file order.
    pub(super) overwrites: Vec<Overwrite>,
    pub(super) riding: Riding,
}

/// Parts of fragments that are kept.
const MAX_HELD_PARTS: usize = 2;

/// Most boxes of one part that describe protection.
const MAX_OVERWRITES: usize = 1 << 20;
/// Samples that a part may have beyond one for each of its bytes: empty ones.
const FREE_SAMPLES: u64 = 256;
/// Most boxes of media data in one part.
const MAX_MEDIA_DATA: usize = 1 << 16;

impl<R: Read + Seek> LockedMedia<R> {
    /// Reads the movie box, and finds the fragments by hopping from box to box.
    ///
    /// # Errors
    /// [`MediaError`]: the source's own, and whatever the boxes and tables have wrong.
    pub fn open(mut source: R) -> Result<Self, MediaError> {
        let index = Index::scan(&mut source)?;
        let (at, len) = (index.movie.offset, index.movie.header.len);
        let bytes = box_at(&mut source, at, len, kind::MOOV, MAX_MOVIE_LEN)?;
        let span = BoxSpan::parse(&bytes, at)?;
        let movie = Movie::parse(&span)?;
        let protections: Vec<_> = movie.tracks.iter().map(TrackProtection::of).collect();
        let part = read_movie(&mut source, &index, &movie, &protections)?;
        Ok(Self {
            source,
            tracks: movie
                .tracks
                .iter()
                .map(MediaTrack::of)
                .collect::<Result<_, _>>()?,
            protections,
            on_demand: on_demand(part.riding.content_header.as_deref()),
            defaults: movie.defaults,
            movie: part,
            index,
            fragments: Vec::new(),
        })
    }

    /// Bytes of the file, and of its clear view.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a file with a movie box is not empty")]
    pub const fn len(&self) -> u64 {
        self.index.file_len
    }

    /// The tracks, in file order.
    #[must_use]
    pub fn tracks(&self) -> &[MediaTrack] {
        &self.tracks
    }

    /// Whether a sample entry of any track is protected.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.protections.iter().any(TrackProtection::is_protected)
    }

    /// The content header (a PlayReady Object): that of Keyward's `pssh` box, else of PlayReady's, if the
    /// movie box has one.
    #[must_use]
    pub fn content_header(&self) -> Option<&[u8]> {
        self.movie.riding.content_header.as_deref()
    }

    /// Whether the content header says that keys become known while the media plays (ONDEMAND): see
    /// [`Self::needs_at`].
    #[must_use]
    pub const fn is_on_demand(&self) -> bool {
        self.on_demand.is_some()
    }

    /// The key ids that have to be there before playback begins, each once: those that the movie box names in
    /// sample entries and sample groups; where the content header is ONDEMAND, those of the header alone, which may
    /// be of root licenses. Fragments may name others: see [`Self::all_kids`] and [`Self::needs_at`].
    ///
    /// A key id of all zeros in a sample entry names no key: the sample groups of the fragments do.
    #[must_use]
    pub fn required_kids(&self) -> Vec<Kid> {
        if let Some(kids) = &self.on_demand {
            return kids.clone();
        }
        let mut seen = BTreeSet::new();
        let named = self.protections.iter().flat_map(TrackProtection::keys);
        named
            .map(|(kid, _)| kid)
            .filter(|kid| kid.as_bytes() != &[0; 16] && seen.insert(*kid))
            .collect()
    }

    /// What the part of the media with the byte `at` needs before it is read, and which licenses it brings
    /// along. Behind the end that is what the last part needs. Costs the reading of one fragment's boxes, unless
    /// it is one of the last two.
    ///
    /// # Errors
    /// [`MediaError`] for a fragment that cannot be read.
    pub fn needs_at(&mut self, at: u64) -> Result<Needs, MediaError> {
        let number = self.index.part_of(at);
        let range = self.index.range(number);
        let (_, part) = self.load(number)?;
        let mut seen = BTreeSet::new();
        Ok(Needs {
            range,
            kids: part.map.kids().filter(|kid| seen.insert(*kid)).collect(),
            content_header: part.riding.content_header.clone(),
            licenses: part.riding.licenses.clone(),
            faulty_stores: part.riding.faulty_stores,
        })
    }

    /// [`Self::required_kids`], and the key ids of all samples: reads the boxes of every fragment.
    ///
    /// # Errors
    /// [`MediaError`] for fragments that cannot be read.
    pub fn all_kids(&mut self) -> Result<Vec<Kid>, MediaError> {
        let mut kids = self.required_kids();
        let mut seen: BTreeSet<_> = kids.iter().copied().collect();
        for part in 0..self.index.len() {
            let (_, part) = self.load(part)?;
            kids.extend(part.map.kids().filter(|kid| seen.insert(*kid)));
        }
        Ok(kids)
    }

    /// Begins with the samples of a track.
    ///
    /// # Errors
    /// [`MediaError::NoTrack`]; [`MediaError::OtherFile`] if they are not in this file.
    pub fn samples(&self, track_id: u32) -> Result<SampleCursor, MediaError> {
        let track = self.tracks.iter().find(|track| track.id == track_id);
        match track {
            None => Err(MediaError::NoTrack(track_id)),
            Some(track) if !track.self_contained => Err(MediaError::OtherFile(track_id)),
            Some(_) => Ok(SampleCursor {
                track_id,
                part: 0,
                spot: Spot::default(),
            }),
        }
    }

    /// The next sample in decoding order; nothing at the end. Fragments are read when they are reached.
    ///
    /// # Errors
    /// [`MediaError`] for a fragment that cannot be read.
    pub fn next_sample(&mut self, cursor: &mut SampleCursor) -> Result<Option<SampleSpan>, MediaError> {
        while cursor.part < self.index.len() {
            let (_, part) = self.load(cursor.part)?;
            if let Some(sample) = part.map.next_of(cursor.track_id, &mut cursor.spot) {
                return Ok(Some(sample));
            }
            cursor.part = cursor.part.saturating_add(1);
            cursor.spot = Spot::default();
        }
        Ok(None)
    }

    /// The clear view, with keys. They are asked for when a sample needs them.
    #[must_use]
    pub fn clear_view<K: KeyRing>(self, keys: K) -> ClearView<R, K> {
        ClearView::new(self, keys)
    }

    /// The part of the file that the byte `at` is in, where that part ends, and the source.
    pub(super) fn load_at(&mut self, at: u64) -> Result<(&mut R, &Part, u64), MediaError> {
        let part = self.index.part_of(at);
        let end = self.index.range(part).end;
        let (source, part) = self.load(part)?;
        Ok((source, part, end))
    }

    fn load(&mut self, number: usize) -> Result<(&mut R, &Part), MediaError> {
        if number > 0 {
            let held = self.fragments.iter().position(|(held, _)| *held == number);
            let part = match held {
                Some(at) => self.fragments.remove(at),
                None => {
                    // Before the memory of another one is taken.
                    self.fragments.truncate(MAX_HELD_PARTS.saturating_sub(1));
                    (number, self.read_fragments(number)?)
                }
            };
            self.fragments.insert(0, part);
        }
        let held = self.fragments.first().filter(|_| number > 0);
        Ok((&mut self.source, held.map_or(&self.movie, |(_, part)| part)))
    }

    /// Reads the `moof` boxes that a part begins with.
    fn read_fragments(&mut self, number: usize) -> Result<Part, MediaError> {
        let range = self.index.range(number);
        let mut part = Part::default();
        // A box of a hundred bytes can count millions of samples. All parts together must not cost more work
        // than the file has bytes.
        let limit = range.end.saturating_sub(range.start).saturating_add(FREE_SAMPLES);
        let mut counted: u64 = 0;
        let mut at = range.start;
        while at < range.end {
            let header = header_at(&mut self.source, at, range.end)?;
            if header.kind == kind::MDAT {
                break;
            }
            if header.kind == kind::MOOF {
                let bytes = box_at(&mut self.source, at, header.len, kind::MOOF, MAX_FRAGMENT_LEN)?;
                let span = BoxSpan::parse(&bytes, at)?;
                let fragment = Fragment::parse(&span, &self.defaults)?;
                for traf in &fragment.tracks {
                    counted = counted.saturating_add(traf.sample_count().into());
                }
                if counted > limit {
                    return Err(MediaError::TooMany {
                        what: "samples for its bytes",
                        limit,
                    });
                }
                self.add_fragment(&fragment, &mut part)?;
            }
            at = at.saturating_add(header.len);
        }
        part.map.finish(&media_data(&mut self.source, at..range.end)?)?;
        Ok(part)
    }

    fn add_fragment(&mut self, fragment: &Fragment<'_>, part: &mut Part) -> Result<(), MediaError> {
        let mut file = Fetch::new(&mut self.source);
        for traf in &fragment.tracks {
            let tracks = self.tracks.iter().zip(&self.protections);
            let (track, protection) =
                { tracks }
                    .find(|(track, _)| track.id == traf.track_id)
                    .ok_or(BoxError::UnknownTrack {
                        path: traf.span.path(),
                        id: traf.track_id,
                    })?;
            if track.self_contained {
                let cursor = ProtectionCursor::of_fragment(fragment, traf, protection)?;
                part.map.add(track.id, traf.samples(0), cursor, &mut file)?;
            }
        }
        let protected = |id| {
            let mut tracks = self.tracks.iter().zip(&self.protections);
            tracks.any(|(track, protection)| track.id == id && protection.is_protected())
        };
        part.overwrites.extend(clear_fragment(fragment, protected)?);
        part.riding.add(&fragment.span)?;
        if part.overwrites.len() > MAX_OVERWRITES {
            return Err(MediaError::TooMany {
                what: "protection boxes",
                limit: MAX_OVERWRITES as u64,
            });
        }
        Ok(())
    }
}

/// Without what is read from the source.
impl<R> fmt::Debug for LockedMedia<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedMedia")
            .field("tracks", &self.tracks)
            .field("len", &self.index.file_len)
            .finish_non_exhaustive()
    }
}

impl MediaTrack {
    fn of(track: &Track<'_>) -> Result<Self, MediaError> {
        let entries = track.entries.iter().map(|entry| {
            Ok(MediaEntry {
                coding: entry.coding()?,
                protection: entry.protection,
            })
        });
        Ok(Self {
            id: track.id,
            handler: track.handler,
            entries: entries.collect::<Result<_, BoxError>>()?,
            self_contained: track.self_contained,
        })
    }
}

/// What the movie box says of the samples that are in no fragment.
fn read_movie(
    source: &mut (impl Read + Seek),
    index: &Index,
    movie: &Movie<'_>,
    protections: &[TrackProtection],
) -> Result<Part, MediaError> {
    let mut part = Part::default();
    let mut file = Fetch::new(source);
    for (track, protection) in movie.tracks.iter().zip(protections) {
        match (track.self_contained, protection.is_protected()) {
            (true, _) => {
                let cursor = ProtectionCursor::of_track(track, protection)?;
                let samples = track.tables.samples(index.file_len)?;
                part.map.add(track.id, samples, cursor, &mut file)?;
            }
            // Some of its samples may be in this file.
            (false, true) => return Err(MediaError::OtherFile(track.id)),
            (false, false) => {}
        }
    }
    part.map
        .finish(&media_data(file.into_source(), index.range(0))?)?;
    let protected = |track: &Track<'_>| TrackProtection::of(track).is_protected();
    part.overwrites = clear_movie(movie, protected)?;
    part.riding.add(&movie.span)?;
    Ok(part)
}

/// Where in `range`, which begins and ends with boxes, media data is: the bodies of its `mdat` boxes, in file
/// order.
fn media_data(source: &mut (impl Read + Seek), range: Range<u64>) -> Result<Vec<Range<u64>>, MediaError> {
    let mut data = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let header = header_at(source, at, range.end)?;
        let end = at.saturating_add(header.len);
        if header.kind == kind::MDAT {
            if data.len() >= MAX_MEDIA_DATA {
                return Err(MediaError::TooMany {
                    what: "media data boxes",
                    limit: MAX_MEDIA_DATA as u64,
                });
            }
            data.push(at.saturating_add(header.header_len.into())..end);
        }
        at = end;
    }
    Ok(data)
}

/// The keys of a content header that is ONDEMAND. A header that cannot be read says nothing.
fn on_demand(object: Option<&[u8]>) -> Option<Vec<Kid>> {
    let header = ContentHeader::read_object(object?).ok()?;
    let kids = header.kids.iter().map(|key| key.kid);
    header.on_demand.then(|| kids.collect())
}
