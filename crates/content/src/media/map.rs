//! Where samples are and what protects them, for one part of a file at a time.

use std::{
    io::{Read, Seek},
    ops::Range,
};

use keyward_license::ids::Kid;

use super::{MAX_SAMPLES, MediaError, SampleSpan, file::Fetch};
use crate::{
    cenc::{CencError, Iv, Scheme, Subsample},
    isobmff::{
        AuxiliaryData, BoxError, ProtectionCursor, Sample, SampleDetails, SampleProtection, TrackEncryption,
    },
};

/// The samples that a movie box, or the fragments of one part, describe.
///
/// It is made once from the boxes, which are not needed any longer. It has 4 bytes for each sample, the IVs
/// and subsamples, and something for each run.
#[derive(Default)]
pub(super) struct SampleMap {
    /// In decoding order of each track.
    runs: Vec<Run>,
    /// Indexes of the protected runs, by their place in the file.
    protected: Vec<usize>,
    /// Of samples, run by run.
    sizes: Vec<u32>,
    /// IV, number of subsamples and subsamples of each protected sample, run by run.
    info: Vec<u8>,
    ways: Vec<Way>,
}

/// How samples are protected that are protected alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) scheme: Scheme,
    pub(super) encryption: TrackEncryption,
}

/// Samples that lie one behind the other and are protected alike.
#[derive(Debug, Clone, Copy)]
struct Run {
    track_id: u32,
    description_index: u32,
    /// Index in `ways`; nothing if they are clear.
    way: Option<u32>,
    offset: u64,
    end: u64,
    count: u32,
    /// Index of the first sample in `sizes`.
    sizes: usize,
    /// Index of the first sample in `info`.
    info: usize,
}

/// Longest run: so far one has to go to find a sample.
const MAX_RUN: u32 = 256;
/// Most bytes of IVs and subsamples.
const MAX_INFO: usize = 256 << 20;

impl SampleMap {
    /// Adds samples of a track, in decoding order.
    pub(super) fn add(
        &mut self,
        track_id: u32,
        samples: impl Iterator<Item = Result<Sample, BoxError>>,
        mut protection: ProtectionCursor<'_>,
        file: &mut Fetch<'_, impl Read + Seek>,
    ) -> Result<(), MediaError> {
        let mut first = true;
        for sample in samples {
            let sample = sample?;
            let info = self.info.len();
            let way = match protection.next(&sample)? {
                SampleProtection::Clear => None,
                SampleProtection::Protected(protected) => {
                    let data = match protected.data {
                        AuxiliaryData::Here(data) => data,
                        AuxiliaryData::InFile { offset, len } => file.bytes(offset, len)?,
                    };
                    let way = Way {
                        scheme: protected.scheme,
                        encryption: protected.encryption,
                    };
                    Some(self.push_info(way, &protected.details(data)?)?)
                }
            };
            if first || !self.runs.last().is_some_and(|run| run.goes_on(&sample, way)) {
                self.runs.push(Run {
                    track_id,
                    description_index: sample.description_index,
                    way,
                    offset: sample.offset,
                    end: sample.offset,
                    count: 0,
                    sizes: self.sizes.len(),
                    info,
                });
            }
            first = false;
            self.push_size(&sample)?;
        }
        Ok(())
    }

    fn push_size(&mut self, sample: &Sample) -> Result<(), MediaError> {
        if self.sizes.len() as u64 >= MAX_SAMPLES {
            return Err(MediaError::TooMany {
                what: "samples",
                limit: MAX_SAMPLES,
            });
        }
        self.sizes.push(sample.size);
        if let Some(run) = self.runs.last_mut() {
            run.count = run.count.saturating_add(1);
            run.end = sample.end();
        }
        Ok(())
    }

    /// Keeps the IV and the subsamples of a sample, and gives the index of its way.
    fn push_info(&mut self, way: Way, details: &SampleDetails<'_>) -> Result<u32, MediaError> {
        let too_many = |what, limit: usize| MediaError::TooMany {
            what,
            limit: limit as u64,
        };
        if way.iv_len() > 0 {
            self.info.extend_from_slice(details.iv.as_bytes());
        }
        let count = u16::try_from(details.subsamples.len())
            .map_err(|_| too_many("subsamples in a sample", u16::MAX.into()))?;
        self.info.extend_from_slice(&count.to_be_bytes());
        for subsample in details.subsamples.iter() {
            self.info.extend_from_slice(&subsample.clear.to_be_bytes());
            self.info.extend_from_slice(&subsample.protected.to_be_bytes());
        }
        if self.info.len() > MAX_INFO {
            return Err(too_many("bytes of IVs and subsamples", MAX_INFO));
        }
        if self.ways.last() != Some(&way) {
            self.ways.push(way);
        }
        u32::try_from(self.ways.len().saturating_sub(1)).map_err(|_| too_many("keys", u32::MAX as usize))
    }

    /// Ends the map: protected samples lie in the media data `data` of the part, which is in file order, and
    /// not over one another.
    pub(super) fn finish(&mut self, data: &[Range<u64>]) -> Result<(), MediaError> {
        for run in self.runs.iter().filter(|run| run.is_protected()) {
            let behind = data.partition_point(|data| data.start <= run.offset);
            let around = behind.checked_sub(1).and_then(|index| data.get(index));
            if around.is_none_or(|data| run.end > data.end) {
                return Err(MediaError::OutOfPlace {
                    track_id: run.track_id,
                    offset: run.offset,
                });
            }
        }
        let runs = self.runs.iter().enumerate();
        let mut places: Vec<_> = runs
            .filter(|(_, run)| run.is_protected())
            .map(|(index, run)| (run.offset, run.end, index))
            .collect();
        places.sort_unstable();
        let overlap = places.windows(2).find_map(|pair| match *pair {
            [(_, end, _), (offset, _, _)] if offset < end => Some(offset),
            _ => None,
        });
        if let Some(offset) = overlap {
            return Err(MediaError::Overlap { offset });
        }
        self.protected = places.into_iter().map(|(_, _, index)| index).collect();
        self.runs.shrink_to_fit();
        self.sizes.shrink_to_fit();
        self.info.shrink_to_fit();
        Ok(())
    }

    /// The key ids of all samples; one may come several times.
    pub(super) fn kids(&self) -> impl Iterator<Item = Kid> {
        self.ways.iter().map(|way| way.encryption.kid)
    }

    /// The protected samples that end behind `at`, by their place in the file. None is empty.
    pub(super) fn protected_from(&self, at: u64) -> ProtectedSamples<'_> {
        let begins_with = self
            .protected
            .partition_point(|index| self.runs.get(*index).is_some_and(|run| run.end <= at));
        ProtectedSamples {
            map: self,
            indexes: self.protected.get(begins_with..).unwrap_or_default().iter(),
            run: None,
            at,
        }
    }

    /// The next sample of a track, in decoding order.
    pub(super) fn next_of(&self, track_id: u32, spot: &mut Spot) -> Option<SampleSpan> {
        loop {
            let run = self.runs.get(spot.run)?;
            if run.track_id != track_id || spot.sample >= run.count {
                *spot = Spot {
                    run: spot.run.saturating_add(1),
                    ..Spot::default()
                };
                continue;
            }
            let offset = run.offset.saturating_add(spot.passed);
            let size = self.size_of(run, spot.sample)?;
            spot.sample = spot.sample.saturating_add(1);
            spot.passed = spot.passed.saturating_add(size.into());
            return Some(SampleSpan {
                track_id,
                offset,
                size,
                description_index: run.description_index,
                kid: self.way(run).map(|way| way.encryption.kid),
            });
        }
    }

    fn size_of(&self, run: &Run, sample: u32) -> Option<u32> {
        let index = run.sizes.checked_add(usize::try_from(sample).ok()?)?;
        self.sizes.get(index).copied()
    }

    fn way(&self, run: &Run) -> Option<&Way> {
        self.ways.get(usize::try_from(run.way?).ok()?)
    }
}

impl Run {
    fn goes_on(&self, sample: &Sample, way: Option<u32>) -> bool {
        self.end == sample.offset
            && self.way == way
            && self.description_index == sample.description_index
            && self.count < MAX_RUN
    }

    /// Whether there are protected bytes.
    const fn is_protected(&self) -> bool {
        self.way.is_some() && self.end > self.offset
    }
}

impl Way {
    /// Bytes of IV that each sample has.
    fn iv_len(&self) -> usize {
        match self.encryption.constant_iv {
            Some(_) => 0,
            None => self.encryption.iv_size.into(),
        }
    }
}

/// A place between two samples of a track, in decoding order.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spot {
    run: usize,
    /// Samples of the run that are passed.
    sample: u32,
    /// Their bytes.
    passed: u64,
}

/// Protected samples by their place in the file.
#[derive(Clone)]
pub(super) struct ProtectedSamples<'m> {
    map: &'m SampleMap,
    /// Of the runs that are not begun.
    indexes: core::slice::Iter<'m, usize>,
    run: Option<Rest<'m>>,
    at: u64,
}

/// What is left of a run.
#[derive(Clone, Copy)]
struct Rest<'m> {
    run: &'m Run,
    way: &'m Way,
    sample: u32,
    offset: u64,
    info: &'m [u8],
}

/// A protected sample.
#[derive(Clone, Copy)]
pub(super) struct Protected<'m> {
    pub(super) offset: u64,
    pub(super) size: u32,
    pub(super) way: &'m Way,
    /// IV, unless it is constant.
    iv: &'m [u8],
    subsamples: &'m [[u8; 6]],
}

impl<'m> Iterator for ProtectedSamples<'m> {
    type Item = Protected<'m>;

    fn next(&mut self) -> Option<Protected<'m>> {
        loop {
            let Some(sample) = self.run.as_mut().and_then(|rest| rest.next(self.map)) else {
                let run = self.map.runs.get(*self.indexes.next()?)?;
                self.run = Some(Rest {
                    run,
                    way: self.map.way(run)?,
                    sample: 0,
                    offset: run.offset,
                    info: self.map.info.get(run.info..)?,
                });
                continue;
            };
            if sample.size > 0 && sample.end() > self.at {
                return Some(sample);
            }
        }
    }
}

impl<'m> Rest<'m> {
    fn next(&mut self, map: &'m SampleMap) -> Option<Protected<'m>> {
        if self.sample >= self.run.count {
            return None;
        }
        let size = map.size_of(self.run, self.sample)?;
        let (iv, rest) = self.info.split_at_checked(self.way.iv_len())?;
        let (count, rest) = rest.split_first_chunk()?;
        let (subsamples, _) = rest.as_chunks();
        let (subsamples, _) = subsamples.split_at_checked(u16::from_be_bytes(*count).into())?;
        self.info = rest.get(subsamples.as_flattened().len()..)?;
        let sample = Protected {
            offset: self.offset,
            size,
            way: self.way,
            iv,
            subsamples,
        };
        self.sample = self.sample.saturating_add(1);
        self.offset = sample.end();
        Some(sample)
    }
}

impl Protected<'_> {
    pub(super) const fn end(&self) -> u64 {
        self.offset.saturating_add(self.size as u64)
    }

    /// The IV; the subsamples go to `out`, which is emptied first.
    pub(super) fn details(&self, out: &mut Vec<Subsample>) -> Result<Iv, CencError> {
        out.clear();
        out.extend(self.subsamples.iter().map(|&[a, b, c, d, e, f]| Subsample {
            clear: u16::from_be_bytes([a, b]),
            protected: u32::from_be_bytes([c, d, e, f]),
        }));
        match self.way.encryption.constant_iv {
            Some(iv) => Ok(iv),
            None => Iv::new(self.iv),
        }
    }
}
