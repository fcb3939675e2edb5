//! Progressive input: fragments that are made.

use core::time::Duration;
use std::io::{self, Read, Seek};

use keyward_content::isobmff::{BoxError, NewTrackFragment, Node, Sample, edit, kind, new_fragment};

use super::{Worker, check_entry, clear_entry};
use crate::{
    MediaError, PackagerError,
    media::{
        carried::Carried,
        encrypt::{FragmentCipher, FragmentMap, Run},
        index::Times,
        segment::Segmenter,
        source::Source,
    },
};

/// Makes all fragments of a progressive file.
pub(super) fn fragments<R: Read + Seek>(
    worker: &mut Worker<'_>,
    source: &mut Source<R>,
    target: Duration,
) -> Result<(), PackagerError> {
    let tracks = &worker.movie.tracks;
    let mut segmenter = Segmenter::new(tracks.iter(), source.len(), target)?;
    let mut carried = tracks.iter().map(Carried::of).collect::<Result<Vec<_>, _>>()?;
    let mut taken = Vec::new();
    let mut sequence = 0_u32;
    while segmenter.next_into(&mut taken)? {
        sequence = sequence
            .checked_add(1)
            .ok_or(MediaError::TooLarge("the number of fragments"))?;
        for (carried, samples) in carried.iter_mut().zip(&mut taken) {
            carried.amend(samples);
        }
        hold(source, &taken).map_err(PackagerError::Read)?;
        worker.reach(begin(worker, &taken))?;
        let fragment = Fragment::map(worker, source, &taken)?;
        let moof = fragment.to_box(worker, &taken, &mut carried, sequence)?;
        worker.index.push(times(worker, &taken));
        worker.outlet.write(&moof)?;
        fragment.write_data(worker, source, &taken)?;
        worker.index.end_at(worker.outlet.position());
    }
    Ok(())
}

/// Holds the samples if they lie close together, as they do where the tracks are interleaved.
fn hold<R: Read + Seek>(source: &mut Source<R>, taken: &[Vec<Sample>]) -> io::Result<()> {
    let samples = || taken.iter().flatten();
    let len = samples().fold(0, |sum: u64, sample| sum.saturating_add(sample.size.into()));
    let start = samples().map(|sample| sample.offset).min().unwrap_or_default();
    let end = samples().map(Sample::end).max().unwrap_or_default();
    let extent = end.saturating_sub(start);
    if extent / 2 > len {
        return Ok(());
    }
    source.hold(start, extent)
}

/// When the reference track begins in a fragment.
fn begin(worker: &Worker<'_>, taken: &[Vec<Sample>]) -> Option<u64> {
    let mut tracks = worker.movie.tracks.iter().zip(taken);
    let (_, samples) = tracks.find(|(track, _)| track.id == worker.index.track_id())?;
    samples.first().map(|sample| sample.decode_time)
}

fn times(worker: &Worker<'_>, taken: &[Vec<Sample>]) -> Option<Times> {
    let mut times = None;
    let tracks = worker.movie.tracks.iter().zip(taken);
    for (_, samples) in tracks.filter(|(track, _)| track.id == worker.index.track_id()) {
        samples
            .iter()
            .for_each(|sample| Times::include(&mut times, sample));
    }
    times
}

/// A fragment whose samples are mapped: those of the first track, then those of the next, and so on.
struct Fragment {
    /// By track.
    maps: Vec<Option<FragmentMap>>,
    runs: Vec<(usize, Run)>,
    /// Where the data of each track begins.
    starts: Vec<u64>,
    data_len: u64,
}

impl Fragment {
    fn map<R: Read + Seek>(
        worker: &mut Worker<'_>,
        source: &mut Source<R>,
        taken: &[Vec<Sample>],
    ) -> Result<Self, PackagerError> {
        let mut fragment = Self {
            maps: Vec::new(),
            runs: Vec::new(),
            starts: Vec::new(),
            data_len: 0,
        };
        for (track, (state, samples)) in worker.tracks.iter_mut().zip(taken).enumerate() {
            if let (Some(track), Some(first)) = (worker.movie.tracks.get(track), samples.first()) {
                check_entry(track, first.description_index)?;
            }
            let start = fragment.data_len;
            let len = samples
                .iter()
                .fold(0, |sum: u64, sample| sum.saturating_add(sample.size.into()));
            let map = match state.protector.as_mut().filter(|_| !samples.is_empty()) {
                Some(protector) => {
                    let mut map = protector.begin();
                    let samples = samples.iter().map(|sample| Ok(*sample));
                    // Clear samples are mapped as well: later ones depend on their headers.
                    let run = protector.map(samples, start, source, &mut map)?;
                    let is_protected = !worker.lead.is_on;
                    state.is_protected |= is_protected;
                    is_protected.then(|| {
                        fragment.runs.push((track, run));
                        map
                    })
                }
                None => None,
            };
            fragment.maps.push(map);
            fragment.starts.push(start);
            fragment.data_len = start.saturating_add(len);
        }
        Ok(fragment)
    }

    /// The `moof` box, and the header of the `mdat` box.
    fn to_box(
        &self,
        worker: &mut Worker<'_>,
        taken: &[Vec<Sample>],
        carried: &mut [Carried<'_>],
        sequence: u32,
    ) -> Result<Vec<u8>, PackagerError> {
        let tracks = worker.movie.tracks.iter().zip(&worker.tracks);
        let tracks = tracks.zip(taken).zip(&self.starts);
        let new = tracks.filter_map(|(((track, state), samples), start)| {
            let first = samples.first()?;
            let entry = first.description_index;
            let in_lead = worker.lead.is_on && state.protector.is_some();
            Some(NewTrackFragment {
                track_id: track.id,
                description_index: if in_lead { clear_entry(track, entry) } else { entry },
                decode_time: first.decode_time,
                data_start: *start,
                samples,
            })
        });
        let mut moof = new_fragment(sequence, &new.collect::<Vec<_>>())?;
        let with_samples = taken.iter().zip(&self.maps).zip(carried);
        let with_samples = with_samples.filter(|((samples, _), _)| !samples.is_empty());
        for (index, ((samples, _), carried)) in with_samples.enumerate() {
            let count = u32::try_from(samples.len()).unwrap_or(u32::MAX);
            append(&mut moof, index, carried.boxes(count)?)?;
        }
        let maps = taken
            .iter()
            .zip(&self.maps)
            .filter(|(samples, _)| !samples.is_empty());
        let maps = maps
            .enumerate()
            .filter_map(|(index, (_, map))| Some((index, map.as_ref()?)));
        worker.append_protection(&mut moof, maps)?;
        let header = data_header(self.data_len);
        let distance = moof.encoded_len().saturating_add(header.len() as u64);
        edit::shift_data_offsets(&mut moof, 0, i64::try_from(distance).unwrap_or(i64::MAX))?;
        edit::point_auxiliary(&mut moof)?;
        let mut bytes = moof.to_vec();
        bytes.extend_from_slice(&header);
        Ok(bytes)
    }

    /// Streams the samples, in pieces that follow one another in the input.
    fn write_data<R: Read + Seek>(
        self,
        worker: &mut Worker<'_>,
        source: &mut Source<R>,
        taken: &[Vec<Sample>],
    ) -> Result<(), PackagerError> {
        let mut cipher = FragmentCipher::new(&self.maps, self.runs);
        let mut input_done = worker.outlet.input_done();
        for samples in taken {
            for piece in samples.chunk_by(|before, sample| before.end() == sample.offset) {
                if let (Some(first), Some(last)) = (piece.first(), piece.last()) {
                    let len = last.end().saturating_sub(first.offset);
                    worker.outlet.encrypt(source, first.offset, len, &mut cipher)?;
                    input_done = input_done.saturating_add(len);
                    worker.outlet.set_input_done(input_done);
                }
            }
        }
        Ok(cipher.finish()?)
    }
}

/// Appends boxes to the `index`-th `traf` box.
fn append(moof: &mut Node<'static>, index: usize, boxes: Vec<Node<'static>>) -> Result<(), BoxError> {
    let mut trafs = moof
        .children_mut()?
        .iter_mut()
        .filter(|child| child.kind() == kind::TRAF);
    match trafs.nth(index) {
        Some(traf) => traf.children_mut().map(|children| children.extend(boxes)),
        None => Ok(()),
    }
}

/// The header of a `mdat` box with `len` bytes of data.
fn data_header(len: u64) -> Vec<u8> {
    match u32::try_from(len.saturating_add(8)) {
        Ok(len) => [&len.to_be_bytes()[..], b"mdat"].concat(),
        Err(_) => [&[0, 0, 0, 1][..], b"mdat", &len.saturating_add(16).to_be_bytes()].concat(),
    }
}
