//! Fragmented input: every box goes through as it is, except those that say where things are or how they
//! are protected.

use std::io::{Read, Seek};

use keyward_content::{
    isobmff::{
        BoxKind, BoxSpan, Fragment, Node, TopBox, TopBoxes, TrackFragment, edit, kind, move_fragments,
    },
    media::MAX_FRAGMENT_LEN,
};

use super::{Worker, clear_entry};
use crate::{
    MediaError, PackagerError,
    media::{
        encrypt::{FragmentCipher, FragmentMap, Run},
        index::Times,
        probe,
        source::Source,
    },
};

/// Most bytes of a `mfra` box.
const MAX_TABLE_LEN: u64 = 64 << 20;

/// Goes through the boxes of a fragmented file, with other brands if it has any.
pub(super) fn file<R: Read + Seek>(
    worker: &mut Worker<'_>,
    source: &mut Source<R>,
    brands: Option<&[u8]>,
    movie_box: &[u8],
) -> Result<(), PackagerError> {
    let mut moved = Moved::default();
    // Brands that come late are those of another file: ours stand in front already.
    let (mut branded, mut begun) = (brands.is_none(), false);
    let mut boxes = source.boxes().map_err(PackagerError::Read)?;
    let mut next = boxes.next().transpose()?;
    while let Some(found) = next {
        boxes.reader().release(found.offset);
        next = match found.kind().fourcc() {
            kind::MOOF => {
                moved.push(found.offset, worker.outlet.position());
                fragment(worker, &mut boxes, &found)?
            }
            other => {
                let repeated = match other {
                    kind::FTYP => core::mem::replace(&mut branded, true),
                    kind::MOOV => core::mem::replace(&mut begun, true),
                    _ => false,
                };
                if repeated {
                    return Err(probe::misplaced(&found).into());
                }
                probe::check_passing(boxes.reader(), &found)?;
                match other {
                    kind::FTYP => worker.outlet.write(brands.unwrap_or_default())?,
                    kind::MOOV => worker.write_head(movie_box)?,
                    kind::SIDX => {}
                    kind::MFRA => random_access(worker, boxes.reader(), &found, &moved)?,
                    _ => worker
                        .outlet
                        .copy(boxes.reader(), found.offset, found.header.len)?,
                }
                boxes.next().transpose()?
            }
        };
    }
    if moved.0.is_empty() {
        return Err(MediaError::NoSamples.into());
    }
    Ok(())
}

/// Old and new places of `moof` boxes, ascending.
#[derive(Debug, Default)]
struct Moved(Vec<(u64, u64)>);

impl Moved {
    /// Most places that are remembered: 64 MiB. A random access table loses fragments behind those.
    const MOST: usize = 1 << 22;

    fn push(&mut self, old: u64, new: u64) {
        if self.0.len() < Self::MOST {
            self.0.push((old, new));
        }
    }

    fn place(&self, old: u64) -> Option<u64> {
        let at = self.0.binary_search_by_key(&old, |(old, _)| *old).ok()?;
        self.0.get(at).map(|(_, new)| *new)
    }
}

/// Writes the random access table with the new places. The index ends before it.
fn random_access<R: Read + Seek>(
    worker: &mut Worker<'_>,
    source: &mut Source<R>,
    found: &TopBox,
    moved: &Moved,
) -> Result<(), PackagerError> {
    let bytes = found.read(source, MAX_TABLE_LEN)?;
    let mut mfra = Node::from_span(&BoxSpan::parse(&bytes, found.offset)?);
    move_fragments(&mut mfra, |old| moved.place(old))?;
    worker.index.end_at(worker.outlet.position());
    worker.index_is_whole = true;
    worker.outlet.write(&mfra.to_vec())
}

/// Writes a fragment and the boxes behind it, up to the next fragment or the random access table, which is
/// the answer.
fn fragment<R: Read + Seek>(
    worker: &mut Worker<'_>,
    boxes: &mut TopBoxes<&mut Source<R>>,
    found: &TopBox,
) -> Result<Option<TopBox>, PackagerError> {
    let bytes = found.read(boxes.reader(), MAX_FRAGMENT_LEN)?;
    let span = BoxSpan::parse(&bytes, found.offset)?;
    let fragment = Fragment::parse(&span, &worker.movie.defaults)?;
    worker.reach(begin(worker, &fragment))?;
    let mapped = Mapped::of(worker, boxes.reader(), &fragment, found)?;
    worker.index.push(mapped.times);
    let moof = edited(worker, &fragment, &mapped.maps)?;
    worker.outlet.write(&moof)?;
    write_data(worker, boxes, found, mapped)
}

/// When the reference track begins in a fragment.
fn begin(worker: &Worker<'_>, fragment: &Fragment<'_>) -> Option<u64> {
    let reference = worker.index.track_id();
    let mut trafs = fragment.tracks.iter();
    let traf = trafs.find(|traf| traf.track_id == reference && traf.sample_count() > 0)?;
    let mut tracks = worker.movie.tracks.iter().zip(&worker.tracks);
    let (_, state) = tracks.find(|(track, _)| track.id == reference)?;
    Some(traf.decode_time.unwrap_or(state.decode_time))
}

/// The `moof` box with sample entries, keys, auxiliary information and data offsets that fit.
fn edited(
    worker: &mut Worker<'_>,
    fragment: &Fragment<'_>,
    maps: &[Option<FragmentMap>],
) -> Result<Vec<u8>, PackagerError> {
    let mut moof = Node::from_span(&fragment.span);
    let old_len = moof.encoded_len();
    edit::make_moof_relative(&mut moof, fragment)?;
    for (index, traf) in fragment.tracks.iter().enumerate().filter(|_| worker.lead.is_on) {
        let mut tracks = worker.movie.tracks.iter().zip(&worker.tracks);
        let found = tracks.find(|(track, state)| track.id == traf.track_id && state.protector.is_some());
        if let Some((track, _)) = found {
            edit::set_description_index(&mut moof, index, clear_entry(track, traf.description_index))?;
        }
    }
    let maps = maps.iter().enumerate();
    worker.append_protection(
        &mut moof,
        maps.filter_map(|(index, map)| Some((index, map.as_ref()?))),
    )?;
    let new_len = moof.encoded_len();
    if new_len > MAX_FRAGMENT_LEN {
        return Err(MediaError::TooLarge("the description of a fragment").into());
    }
    // Of a clear lead it may have become shorter, without the bases that track fragments stated.
    let growth = new_len.checked_signed_diff(old_len).unwrap_or(i64::MAX);
    edit::shift_data_offsets(&mut moof, old_len, growth)?;
    edit::point_auxiliary(&mut moof)?;
    Ok(moof.to_vec())
}

/// A fragment whose samples are mapped. Places are counted from the end of the `moof` box in the input.
#[derive(Default)]
struct Mapped {
    /// By track fragment.
    maps: Vec<Option<FragmentMap>>,
    runs: Vec<(usize, Run)>,
    times: Option<Times>,
    /// Behind the last sample.
    end: u64,
}

impl Mapped {
    fn of<R: Read + Seek>(
        worker: &mut Worker<'_>,
        source: &mut Source<R>,
        fragment: &Fragment<'_>,
        found: &TopBox,
    ) -> Result<Self, PackagerError> {
        let mut mapped = Self::default();
        for traf in &fragment.tracks {
            mapped.take_ends(traf, found, source.len())?;
        }
        if !source.can_hold(mapped.end) {
            return Err(MediaError::LongFragment(found.offset).into());
        }
        source
            .hold(found.end(), mapped.end)
            .map_err(PackagerError::Read)?;
        for traf in &fragment.tracks {
            let map = mapped.map(worker, source, traf, found.end())?;
            mapped.maps.push(map);
        }
        Ok(mapped)
    }

    /// All data of a fragment must be behind it: what lies before it is written already.
    fn take_ends(
        &mut self,
        traf: &TrackFragment<'_>,
        found: &TopBox,
        file_len: u64,
    ) -> Result<(), MediaError> {
        for run in traf.runs.iter().filter(|run| run.end > run.start) {
            if run.start < found.end() || run.end > file_len {
                return Err(MediaError::DataElsewhere(found.offset));
            }
            self.end = self.end.max(run.end.saturating_sub(found.end()));
        }
        Ok(())
    }

    /// Maps the samples of a track fragment; nothing if its track stays clear.
    fn map<R: Read + Seek>(
        &mut self,
        worker: &mut Worker<'_>,
        source: &mut Source<R>,
        traf: &TrackFragment<'_>,
        data: u64,
    ) -> Result<Option<FragmentMap>, PackagerError> {
        let index_track = worker.index.track_id();
        let is_protected = !worker.lead.is_on;
        let track = worker.track_mut(traf)?;
        let Some(protector) = track.protector.as_mut() else {
            return Ok(None);
        };
        check_clear(traf)?;
        if traf.sample_count() == 0 {
            return Ok(None);
        }
        let mut time = traf.decode_time.unwrap_or(track.decode_time);
        let mut map = protector.begin();
        let mut samples = traf.samples(time).inspect(|sample| {
            if let Ok(sample) = sample {
                time = sample.decode_time.saturating_add(sample.duration.into());
                if traf.track_id == index_track {
                    Times::include(&mut self.times, sample);
                }
            }
        });
        for run in &traf.runs {
            let part = samples
                .by_ref()
                .take(usize::try_from(run.count).unwrap_or(usize::MAX));
            let mapped = protector.map(part, run.start.saturating_sub(data), source, &mut map)?;
            if run.end > run.start && is_protected {
                self.runs.push((self.maps.len(), mapped));
            }
        }
        drop(samples);
        track.decode_time = time;
        track.is_protected |= is_protected;
        // Clear samples are mapped as well: later ones depend on their headers.
        Ok(Some(map).filter(|_| is_protected))
    }
}

/// Refuses a fragment of a clear track that says something of its protection.
fn check_clear(traf: &TrackFragment<'_>) -> Result<(), MediaError> {
    let mut protected = !traf.groups.descriptions().is_empty();
    for child in traf.span.children() {
        let child = child?;
        protected |= child.kind() == kind::SENC || child.kind() == BoxKind::Uuid(kind::PIFF_SENC);
        if child.kind() == kind::SAIZ || child.kind() == kind::SAIO {
            // Without a type the information is that of the protection scheme.
            protected |= child.fields().version_and_flags()?.1 & 1 == 0;
        }
    }
    if protected {
        return Err(MediaError::AlreadyProtected(traf.track_id));
    }
    Ok(())
}

/// Streams the boxes behind a fragment, up to the next fragment or the random access table, which is the
/// answer.
fn write_data<R: Read + Seek>(
    worker: &mut Worker<'_>,
    boxes: &mut TopBoxes<&mut Source<R>>,
    fragment: &TopBox,
    mapped: Mapped,
) -> Result<Option<TopBox>, PackagerError> {
    let elsewhere = MediaError::DataElsewhere(fragment.offset);
    let mut cipher = FragmentCipher::new(&mapped.maps, mapped.runs);
    let mut reached = fragment.end();
    worker.index.end_at(worker.outlet.position());
    let next = loop {
        let next = boxes.next().transpose()?;
        let Some(found) = next.filter(|found| found.kind() != kind::MOOF && found.kind() != kind::MFRA)
        else {
            break next;
        };
        if found.kind() == kind::SIDX {
            if reached < fragment.end().saturating_add(mapped.end) {
                return Err(elsewhere.into());
            }
            continue;
        }
        probe::check_behind(boxes.reader(), &found)?;
        let is_data = found.kind() == kind::MDAT;
        let clear = if is_data {
            found.header.header_len.into()
        } else {
            found.header.len
        };
        if !cipher.is_clear(clear)? {
            return Err(elsewhere.into());
        }
        worker
            .outlet
            .encrypt(boxes.reader(), found.offset, found.header.len, &mut cipher)?;
        if cipher.is_in_sample() {
            return Err(elsewhere.into());
        }
        reached = found.end();
        worker.outlet.set_input_done(reached);
        if is_data {
            worker.index.end_at(worker.outlet.position());
        }
    };
    cipher.finish()?;
    if reached < fragment.end().saturating_add(mapped.end) {
        return Err(elsewhere.into());
    }
    Ok(next)
}
