//! The worker: reads the input in order and makes the whole output, fragment by fragment.

mod edited;
mod made;

use core::time::Duration;
use std::{
    io::{Read, Seek},
    sync::Arc,
};

use keyward_content::isobmff::{
    BoxError, BoxKind, FourCc, Movie, Node, SizeForm, TopBoxes, Track, TrackFragment, edit, kind,
};

use super::{
    encrypt::{FragmentMap, TrackProtector},
    index::IndexBuilder,
    outlet::Outlet,
    periods::ProtectedPeriods,
    rotation::RotationState,
    source::Source,
    tracks::{TrackCipher, TrackPlan},
};
use crate::{MediaError, PackagerError};

/// What the worker works from.
pub(super) struct Job<'m> {
    pub(super) movie: &'m Movie<'m>,
    pub(super) plans: &'m [TrackPlan<'m>],
    /// Of each track of the movie, at the beginning.
    pub(super) ciphers: Vec<Option<Arc<TrackCipher>>>,
    pub(super) rotation: Option<RotationState<'m>>,
    /// The `ftyp` box of the output.
    pub(super) brands: Vec<u8>,
    /// The `moov` box of the output.
    pub(super) movie_box: Vec<u8>,
    pub(super) index: IndexBuilder,
    pub(super) form: Form,
    pub(super) clear_lead: Duration,
}

/// How the input holds its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Described by the movie box; to be cut into fragments of at least this length.
    Progressive(Duration),
    /// In fragments; with its own `ftyp` box or without.
    Fragmented {
        /// Whether there is a `ftyp` box.
        branded: bool,
    },
}

/// What the worker made.
#[derive(Debug)]
pub(super) struct Made {
    /// Samples of each track that were protected.
    pub(super) samples: Vec<u64>,
    pub(super) periods: Option<ProtectedPeriods>,
    /// Where the segment index is, and its bytes.
    pub(super) index_at: u64,
    pub(super) index: Vec<u8>,
    /// Bytes of the output.
    pub(super) len: u64,
    /// Bytes of the input.
    pub(super) input_len: u64,
}

/// Makes the whole output.
pub(super) fn run<R: Read + Seek>(
    job: Job<'_>,
    mut source: Source<R>,
    outlet: Outlet,
) -> Result<Made, PackagerError> {
    let rotates = job.rotation.is_some();
    let tracks = job.plans.iter().zip(&job.ciphers);
    let tracks = tracks.map(|(plan, cipher)| TrackState::new(plan, cipher.as_ref(), rotates));
    let mut worker = Worker {
        movie: job.movie,
        plans: job.plans,
        tracks: tracks.collect::<Result<_, _>>()?,
        rotation: job.rotation,
        outlet,
        index: job.index,
        index_at: 0,
        index_is_whole: false,
        lead: Lead::new(job.clear_lead),
    };
    match job.form {
        Form::Progressive(target) => {
            worker.outlet.write(&job.brands)?;
            worker.copy_others(&mut source)?;
            worker.write_head(&job.movie_box)?;
            made::fragments(&mut worker, &mut source, target)?;
        }
        Form::Fragmented { branded } => {
            if !branded {
                worker.outlet.write(&job.brands)?;
            }
            let brands = branded.then_some(&job.brands[..]);
            edited::file(&mut worker, &mut source, brands, &job.movie_box)?;
        }
    }
    worker.finish(source.len())
}

/// What both forms of input are worked on with.
struct Worker<'m> {
    movie: &'m Movie<'m>,
    plans: &'m [TrackPlan<'m>],
    /// By track of the movie.
    tracks: Vec<TrackState<'m>>,
    rotation: Option<RotationState<'m>>,
    outlet: Outlet,
    index: IndexBuilder,
    index_at: u64,
    /// Whether what comes is behind the last fragment and all that belongs to it.
    index_is_whole: bool,
    lead: Lead,
}

/// The clear lead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lead {
    length: Duration,
    /// When the reference track begins, in its timescale.
    start: Option<u64>,
    /// Whether the fragment at hand stays clear.
    pub(super) is_on: bool,
}

impl Lead {
    pub(super) const fn new(length: Duration) -> Self {
        Self {
            length,
            start: None,
            is_on: !length.is_zero(),
        }
    }

    pub(super) const fn length(&self) -> Duration {
        self.length
    }

    /// Goes on to a fragment in which the reference track begins at `time`. One without it is as the one before.
    pub(super) fn reach(&mut self, time: Option<u64>, timescale: u32) {
        let Some(time) = time.filter(|_| self.is_on) else {
            return;
        };
        let start = *self.start.get_or_insert(time);
        let passed = u128::from(time.saturating_sub(start)).saturating_mul(1_000_000_000);
        let lead = self.length.as_nanos().saturating_mul(timescale.into());
        self.is_on = passed < lead;
    }
}

/// A track on its way through the fragments.
struct TrackState<'m> {
    /// Nothing for a track that stays clear.
    protector: Option<TrackProtector<'m>>,
    /// Where the fragment that comes next begins, if it does not say so.
    decode_time: u64,
    /// Whether it has samples that are protected.
    is_protected: bool,
}

impl<'m> TrackState<'m> {
    fn new(
        plan: &'m TrackPlan<'_>,
        cipher: Option<&Arc<TrackCipher>>,
        rotates: bool,
    ) -> Result<Self, MediaError> {
        Ok(Self {
            protector: TrackProtector::new(plan, cipher, rotates)?,
            decode_time: 0,
            is_protected: false,
        })
    }
}

impl<'m> Worker<'m> {
    /// The track of a track fragment.
    fn track_mut(&mut self, traf: &TrackFragment<'_>) -> Result<&mut TrackState<'m>, MediaError> {
        let mut tracks = self.movie.tracks.iter().zip(&mut self.tracks);
        let found = tracks.find(|(track, _)| track.id == traf.track_id);
        let (track, state) = found.ok_or(BoxError::UnknownTrack {
            path: traf.span.path(),
            id: traf.track_id,
        })?;
        if traf.sample_count() > 0 {
            check_entry(track, traf.description_index)?;
        }
        Ok(state)
    }

    /// Goes on to the next fragment, in which the reference track begins at `time`: its clear lead, its keys.
    fn reach(&mut self, time: Option<u64>) -> Result<(), PackagerError> {
        self.lead.reach(time, self.timescale());
        let Some(rotation) = &mut self.rotation else {
            return Ok(());
        };
        let Some(ciphers) = rotation.advance(time, self.plans)? else {
            return Ok(());
        };
        for (track, cipher) in self.tracks.iter_mut().zip(ciphers) {
            if let (Some(protector), Some(cipher)) = (&mut track.protector, cipher) {
                protector.set_cipher(cipher);
            }
        }
        Ok(())
    }

    /// Appends to a fragment what it says of its protection: each track fragment of its own, and where keys change
    /// also the whole. `maps` has each with the index of its `traf` box.
    fn append_protection<'f>(
        &mut self,
        moof: &mut Node<'_>,
        maps: impl Iterator<Item = (usize, &'f FragmentMap)>,
    ) -> Result<(), PackagerError> {
        let mut keys: Vec<&TrackCipher> = Vec::new();
        for (index, map) in maps {
            map.append_to(moof, index)?;
            let key = map.changing_key();
            keys.extend(key.filter(|key| keys.iter().all(|known| known.kid != key.kid)));
        }
        if let (Some(rotation), false) = (&mut self.rotation, keys.is_empty()) {
            edit::append_system_headers(moof, rotation.fragment_headers(&keys)?)?;
        }
        Ok(())
    }

    /// The timescale of the reference track.
    fn timescale(&self) -> u32 {
        let reference = self.index.track_id();
        let mut tracks = self.movie.tracks.iter();
        tracks
            .find(|track| track.id == reference)
            .map_or(1, |track| track.timescale)
    }

    /// Writes the movie box and leaves room for the segment index.
    fn write_head(&mut self, movie_box: &[u8]) -> Result<(), PackagerError> {
        self.outlet.write(movie_box)?;
        self.index_at = self.outlet.position();
        let len = usize::try_from(self.index.room()).unwrap_or_default();
        self.outlet.write(&vec![0; len])
    }

    /// Copies the boxes of a progressive file that are neither written anew nor about places of samples.
    fn copy_others<R: Read + Seek>(&mut self, source: &mut Source<R>) -> Result<(), PackagerError> {
        let mut boxes = TopBoxes::new(source).map_err(PackagerError::Read)?;
        while let Some(found) = boxes.next().transpose()? {
            if is_replaced(found.kind()) {
                continue;
            }
            let mut copied = 0;
            if found.header.form == SizeForm::ToEnd {
                // It reaches to the end of the input, and stands in front of the movie box here.
                let len = u32::try_from(found.header.len).map_err(|_| MediaError::TooLarge("a box"))?;
                self.outlet.write(&len.to_be_bytes())?;
                copied = 4;
            }
            let rest = found.header.len.saturating_sub(copied);
            self.outlet
                .copy(boxes.reader(), found.offset.saturating_add(copied), rest)?;
        }
        Ok(())
    }

    fn finish(mut self, input_len: u64) -> Result<Made, PackagerError> {
        for (track, state) in self.movie.tracks.iter().zip(&self.tracks) {
            let samples = state.protector.as_ref().map_or(0, TrackProtector::samples);
            if samples > 0 && !state.is_protected {
                return Err(MediaError::NothingBehindLead(track.id).into());
            }
        }
        let anchor = self.index_at.saturating_add(self.index.room());
        if !self.index_is_whole {
            // Whatever is behind the last fragment belongs to it: players take an index that ends before
            // the file does for one that says not all.
            self.index.end_at(self.outlet.position());
        }
        let protectors = self.tracks.iter().map(|track| track.protector.as_ref());
        Ok(Made {
            samples: protectors
                .map(|track| track.map_or(0, TrackProtector::samples))
                .collect(),
            periods: self.rotation.as_ref().and_then(RotationState::periods),
            index_at: self.index_at,
            index: self.index.fill_room(anchor)?,
            len: self.outlet.finish()?,
            input_len,
        })
    }
}

/// The clear form of a sample entry: those of the input stand behind the protected ones.
fn clear_entry(track: &Track<'_>, entry: u32) -> u32 {
    entry.saturating_add(u32::try_from(track.entries.len()).unwrap_or(u32::MAX))
}

/// Whether a track has a sample entry that samples name. A reader refuses samples without one, even where
/// nothing is protected.
fn check_entry(track: &Track<'_>, number: u32) -> Result<(), MediaError> {
    match track.entry(number) {
        Some(_) => Ok(()),
        None => Err(MediaError::SampleEntry {
            track: track.id,
            entry: number,
        }),
    }
}

/// Boxes of a progressive file that the output has no use for: those it has its own of, media data, and free
/// space.
fn is_replaced(found: BoxKind) -> bool {
    const REPLACED: [FourCc; 8] = [
        kind::FTYP,
        kind::MOOV,
        kind::MDAT,
        kind::SIDX,
        kind::MFRA,
        kind::FREE,
        FourCc(*b"skip"),
        FourCc(*b"wide"),
    ];
    REPLACED.iter().any(|kind| found == *kind)
}
