//! Encrypting the samples of a fragment: first which bytes, then the bytes as they stream by.

use std::{
    io::{Read, Seek},
    sync::Arc,
};

use keyward_content::{
    cenc::{Direction, Iv, SampleRun, Scheme, Subsample},
    codec::{CodecError, SampleMapper},
    isobmff::{AuxiliaryBoxes, BoxError, Node, Sample, TrackEncryption, edit},
    media::MAX_SAMPLE_LEN,
};

use super::{
    source::Source,
    tracks::{self, Protection, TrackCipher, TrackPlan},
};
use crate::{MediaError, PackagerError};

/// A protected track on its way through the fragments.
pub(super) struct TrackProtector<'m> {
    track: u32,
    protection: &'m Protection,
    cipher: Arc<TrackCipher>,
    /// Whether the key changes: fragments then say which one is theirs.
    rotates: bool,
    /// Of each sample entry.
    mappers: Vec<SampleMapper>,
    whole_samples: bool,
    ivs: Ivs,
    /// Samples so far.
    samples: u64,
}

impl<'m> TrackProtector<'m> {
    /// Nothing for a track that stays clear, which has no cipher.
    pub(super) fn new(
        plan: &'m TrackPlan<'_>,
        cipher: Option<&Arc<TrackCipher>>,
        rotates: bool,
    ) -> Result<Option<Self>, MediaError> {
        let (Some(protection), Some(cipher)) = (&plan.protection, cipher) else {
            return Ok(None);
        };
        let mappers = tracks::mappers(plan.track, protection.kind)?;
        Ok(Some(Self {
            track: plan.track.id,
            protection,
            cipher: Arc::clone(cipher),
            rotates,
            whole_samples: mappers.iter().all(SampleMapper::protects_whole_samples),
            mappers,
            ivs: match protection.scheme {
                Scheme::Cbcs => Ivs::Constant(protection.first_iv),
                _ => Ivs::Each(protection.first_iv),
            },
            samples: 0,
        }))
    }

    /// The key of the samples that come next.
    pub(super) fn set_cipher(&mut self, cipher: &Arc<TrackCipher>) {
        self.cipher = Arc::clone(cipher);
    }

    /// Samples that were mapped.
    pub(super) const fn samples(&self) -> u64 {
        self.samples
    }

    /// Begins the samples of a fragment.
    pub(super) fn begin(&self) -> FragmentMap {
        let group = self.rotates.then(|| self.protection.encryption(self.cipher.kid));
        FragmentMap {
            cipher: Arc::clone(&self.cipher),
            group,
            subsamples: Vec::new(),
            auxiliary: AuxiliaryBoxes::new(!self.whole_samples),
            samples: Vec::new(),
        }
    }

    /// Maps the samples that come next in decoding order, whose bytes follow one another, and gives the run
    /// of them that begins at `start` of the fragment's data.
    pub(super) fn map<R: Read + Seek>(
        &mut self,
        samples: impl Iterator<Item = Result<Sample, BoxError>>,
        start: u64,
        source: &mut Source<R>,
        map: &mut FragmentMap,
    ) -> Result<Run, PackagerError> {
        let mut run = Run {
            start,
            samples: map.samples.len()..map.samples.len(),
            subsample: map.subsamples.len(),
            ivs: self.ivs,
        };
        let mut subsamples = Vec::new();
        for sample in samples {
            let sample = sample?;
            self.map_one(&sample, source, &mut subsamples)?;
            // In a track where other samples have subsamples, a whole one is a subsample too.
            if !self.whole_samples && subsamples.is_empty() && sample.size > 0 {
                subsamples.push(Subsample {
                    clear: 0,
                    protected: sample.size,
                });
            }
            map.push(sample.size, &self.ivs, &subsamples)?;
            self.ivs.advance(sample.size, &subsamples);
            self.samples = self.samples.saturating_add(1);
        }
        run.samples.end = map.samples.len();
        Ok(run)
    }

    fn map_one<R: Read + Seek>(
        &mut self,
        sample: &Sample,
        source: &mut Source<R>,
        out: &mut Vec<Subsample>,
    ) -> Result<(), PackagerError> {
        let entry = sample.description_index.checked_sub(1);
        let mapper = entry
            .and_then(|index| self.mappers.get_mut(usize::try_from(index).ok()?))
            .ok_or(MediaError::SampleEntry {
                track: self.track,
                entry: sample.description_index,
            })?;
        if sample.size > MAX_SAMPLE_LEN {
            return Err(MediaError::TooLarge("a sample").into());
        }
        let mut bytes = source.sample(sample.offset, sample.size.into());
        mapper
            .map(&mut bytes, self.protection.scheme, out)
            .map_err(|source| match source {
                CodecError::Read(error) => PackagerError::Read(error),
                source => PackagerError::Media(MediaError::Sample {
                    track: self.track,
                    sample: self.samples,
                    source,
                }),
            })
    }
}

/// The IVs of a track from some sample on.
#[derive(Debug, Clone, Copy)]
enum Ivs {
    Constant(Iv),
    Each(Iv),
}

impl Ivs {
    const fn current(&self) -> &Iv {
        match self {
            Self::Constant(iv) | Self::Each(iv) => iv,
        }
    }

    fn advance(&mut self, size: u32, subsamples: &[Subsample]) {
        if let Self::Each(iv) = self {
            let protected = subsamples
                .iter()
                .fold(0, |sum: u64, part| sum.saturating_add(part.protected.into()));
            let whole = subsamples.is_empty();
            *iv = iv.following(if whole { size.into() } else { protected });
        }
    }
}

/// What of the samples of one track in one fragment is protected.
pub(super) struct FragmentMap {
    cipher: Arc<TrackCipher>,
    /// What the fragment says of its key, where keys change.
    group: Option<TrackEncryption>,
    samples: Vec<MappedSample>,
    subsamples: Vec<Subsample>,
    auxiliary: AuxiliaryBoxes,
}

#[derive(Debug, Clone, Copy)]
struct MappedSample {
    size: u32,
    subsamples: u32,
}

impl FragmentMap {
    /// Appends the boxes that say how the samples are protected to the `index`-th `traf` box.
    pub(super) fn append_to(&self, moof: &mut Node<'_>, index: usize) -> Result<(), BoxError> {
        if let Some(group) = &self.group {
            let count = u32::try_from(self.samples.len()).unwrap_or(u32::MAX);
            edit::append_group(moof, index, group, count)?;
        }
        edit::append_auxiliary(moof, index, &self.auxiliary)
    }

    /// The key, where keys change.
    pub(super) fn changing_key(&self) -> Option<&TrackCipher> {
        self.group.and(Some(self.cipher.as_ref()))
    }

    fn push(&mut self, size: u32, ivs: &Ivs, subsamples: &[Subsample]) -> Result<(), PackagerError> {
        let own = match ivs {
            Ivs::Constant(_) => None,
            Ivs::Each(iv) => Some(iv),
        };
        self.auxiliary.push(own, subsamples)?;
        self.subsamples.extend_from_slice(subsamples);
        self.samples.push(MappedSample {
            size,
            subsamples: u32::try_from(subsamples.len())
                .map_err(|_| MediaError::TooLarge("the number of subsamples"))?,
        });
        Ok(())
    }
}

/// Samples of one track whose bytes follow one another.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// Where they begin in the data of the fragment.
    pub(super) start: u64,
    samples: core::ops::Range<usize>,
    /// The subsamples of the first begin here.
    subsample: usize,
    ivs: Ivs,
}

/// Encrypts the data of a fragment as it streams by, from its first byte to its last.
pub(super) struct FragmentCipher<'f> {
    maps: &'f [Option<FragmentMap>],
    /// Runs that are not begun, with the index of their track; the next one last.
    runs: Vec<(usize, Run)>,
    /// Bytes that went by.
    at: u64,
    /// The run that is begun, with the rest of its samples.
    current: Option<(usize, Run)>,
    sample: Option<SampleRun<'f>>,
}

impl<'f> FragmentCipher<'f> {
    /// For the runs of a fragment, each with the index of its track in `maps`.
    pub(super) fn new(maps: &'f [Option<FragmentMap>], mut runs: Vec<(usize, Run)>) -> Self {
        runs.sort_by_key(|(_, run)| core::cmp::Reverse(run.start));
        Self {
            maps,
            runs,
            at: 0,
            current: None,
            sample: None,
        }
    }

    /// Encrypts the bytes that come next, in place, and returns how many are done. The bytes that are left
    /// over, fewer than 480, are to be first in the next call.
    ///
    /// # Errors
    /// [`MediaError`] if runs overlap.
    pub(super) fn process(&mut self, bytes: &mut [u8]) -> Result<usize, MediaError> {
        let mut done = 0;
        while let Some(rest @ [_, ..]) = bytes.get_mut(done..) {
            if self.sample.is_none() {
                self.next_sample()?;
            }
            let step = match &mut self.sample {
                Some(sample) => sample.process(rest),
                None => rest
                    .len()
                    .min(usize::try_from(self.clear_ahead()).unwrap_or(usize::MAX)),
            };
            done = done.saturating_add(step);
            self.at = self.at.saturating_add(step as u64);
            match &self.sample {
                // It goes on in the bytes that come next.
                Some(sample) if sample.remaining() > 0 => break,
                _ => self.sample = None,
            }
        }
        Ok(done)
    }

    /// Whether nothing of the `len` bytes that come next is encrypted.
    ///
    /// # Errors
    /// As [`FragmentCipher::process`].
    pub(super) fn is_clear(&mut self, len: u64) -> Result<bool, MediaError> {
        Ok(self.sample.is_none() && !self.next_sample()? && self.clear_ahead() >= len)
    }

    /// Whether the bytes that come next belong to a sample that has begun.
    pub(super) const fn is_in_sample(&self) -> bool {
        self.sample.is_some()
    }

    /// Bytes to the next run.
    fn clear_ahead(&self) -> u64 {
        self.runs
            .last()
            .map_or(u64::MAX, |(_, run)| run.start.saturating_sub(self.at))
    }

    /// Ends the data.
    ///
    /// # Errors
    /// [`MediaError::Unfinished`] if a sample goes on.
    pub(super) fn finish(&mut self) -> Result<(), MediaError> {
        if self.sample.is_some() || self.next_sample()? || !self.runs.is_empty() {
            return Err(MediaError::Unfinished);
        }
        Ok(())
    }

    /// Begins the sample at this place; `false` if there is none.
    fn next_sample(&mut self) -> Result<bool, MediaError> {
        loop {
            if self.current.is_none() {
                match self.runs.last() {
                    Some((_, run)) if run.start < self.at => return Err(MediaError::Overlap),
                    Some((_, run)) if run.start == self.at => self.current = self.runs.pop(),
                    _ => return Ok(false),
                }
            }
            let Some((track, run)) = &mut self.current else {
                return Ok(false);
            };
            let map = self.maps.get(*track).and_then(Option::as_ref);
            let next = map
                .zip(run.samples.next())
                .and_then(|(map, index)| Some((map, map.samples.get(index)?)));
            let Some((map, sample)) = next else {
                self.current = None;
                continue;
            };
            let count = usize::try_from(sample.subsamples).unwrap_or(usize::MAX);
            let end = run.subsample.saturating_add(count);
            let subsamples = map.subsamples.get(run.subsample..end).unwrap_or_default();
            let started = map.cipher.cipher.begin(
                Direction::Encrypt,
                sample.size.into(),
                run.ivs.current(),
                subsamples,
            )?;
            run.ivs.advance(sample.size, subsamples);
            run.subsample = end;
            if sample.size > 0 {
                self.sample = Some(started);
                return Ok(true);
            }
        }
    }
}
