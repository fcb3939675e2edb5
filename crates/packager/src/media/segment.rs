//! Cutting a progressive file into fragments.
//!
//! ```text
//!   video   S··········S··········S····     cut at the first sync sample 2 s or more after the last cut
//!   audio   aaaaaaaaaa|aaaaaaaaaa|aaaaa     what is decoded before that sample
//!   text    t         | t        |
//! ```

use core::{cmp::Ordering, time::Duration};

use keyward_content::isobmff::{BoxError, Handler, ProgressiveSamples, Sample, Track};

/// Most samples of a fragment, all tracks together: some MiB of tables.
const MAX_SAMPLES: usize = 1 << 15;
/// Most bytes of a fragment, all tracks together: its data offsets have 31 bits.
const MAX_LEN: u64 = 1 << 30;

/// Gives the samples of one fragment after the other.
#[derive(Debug, Clone)]
pub(super) struct Segmenter<'m> {
    feeds: Vec<Feed<'m>>,
    /// Indexes of `feeds`; the first that has samples left says where to cut.
    preference: Vec<usize>,
    target: Duration,
}

impl<'m> Segmenter<'m> {
    /// Fragments of at least `target` for the tracks of a file of `file_len` bytes.
    ///
    /// # Errors
    /// Those of sample tables.
    pub(super) fn new<'t>(
        tracks: impl Iterator<Item = &'t Track<'m>> + Clone,
        file_len: u64,
        target: Duration,
    ) -> Result<Self, BoxError>
    where
        'm: 't,
    {
        let share = tracks.clone().count().max(1);
        let mut preference: Vec<_> = (0..share).collect();
        preference.sort_by_key(|index| tracks.clone().nth(*index).map(|track| rank(track.handler)));
        Ok(Self {
            feeds: tracks
                .map(|track| Feed::new(track, file_len, share))
                .collect::<Result<_, _>>()?,
            preference,
            target,
        })
    }

    /// Takes the samples of the next fragment, for each track those of one sample entry; `false` if none
    /// are left.
    ///
    /// # Errors
    /// Those of sample tables.
    pub(super) fn next_into(&mut self, out: &mut Vec<Vec<Sample>>) -> Result<bool, BoxError> {
        out.resize_with(self.feeds.len(), Vec::new);
        out.iter_mut().for_each(Vec::clear);
        let has_samples = |index: &usize| self.feeds.get(*index).is_some_and(|feed| feed.next.is_some());
        let Some(leader) = self.preference.iter().copied().find(has_samples) else {
            return Ok(false);
        };
        let end = self.end(leader)?;
        for (index, (feed, out)) in self.feeds.iter_mut().zip(out).enumerate() {
            while let Some(sample) = feed.next {
                let before = match end {
                    None => true,
                    Some(cut) if cut.feed == index => out.len() < cut.taken,
                    Some(cut) => feed.time(&sample).is_before(cut.time),
                };
                if !before {
                    break;
                }
                out.push(sample);
                feed.advance()?;
            }
        }
        Ok(true)
    }

    /// Where the fragment that comes next ends; nothing if it takes all that is left.
    fn end(&self, leader: usize) -> Result<Option<Cut>, BoxError> {
        let of = |index: usize, target, end| match self.feeds.get(index) {
            Some(feed) => feed.clone().cut(index, target, end),
            None => Ok(end),
        };
        let mut end = of(leader, Some(self.target), None)?;
        for index in (0..self.feeds.len()).filter(|index| *index != leader) {
            // Where the leader ends, the others may go on a little, not for the rest of a long file.
            let target = end.is_none().then(|| self.target.saturating_mul(2));
            end = of(index, target, end)?;
        }
        Ok(end)
    }
}

const fn rank(handler: Handler) -> u8 {
    match handler {
        Handler::Video => 0,
        Handler::Audio => 1,
        Handler::Other(_) => 2,
    }
}

/// A track whose samples are taken one fragment after the other.
#[derive(Debug, Clone)]
struct Feed<'m> {
    samples: ProgressiveSamples<'m>,
    next: Option<Sample>,
    timescale: u32,
    /// Most samples and bytes of a fragment.
    max_samples: usize,
    max_len: u64,
}

/// Where a fragment ends.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// The track whose sample is the first of the next fragment.
    feed: usize,
    /// Samples of that track before it, at least one.
    taken: usize,
    /// When it is decoded.
    time: Time,
}

impl<'m> Feed<'m> {
    fn new(track: &Track<'m>, file_len: u64, share: usize) -> Result<Self, BoxError> {
        let mut feed = Self {
            samples: track.tables.samples(file_len)?,
            next: None,
            timescale: track.timescale,
            max_samples: MAX_SAMPLES / share,
            max_len: MAX_LEN / share as u64,
        };
        feed.advance()?;
        Ok(feed)
    }

    fn advance(&mut self) -> Result<(), BoxError> {
        self.next = self.samples.next().transpose()?;
        Ok(())
    }

    const fn time(&self, sample: &Sample) -> Time {
        Time {
            units: sample.decode_time,
            timescale: self.timescale,
        }
    }

    /// Looks for a cut before `end`: at a sample that has another sample entry or is one too many; with a
    /// target also at a sync sample that comes so much after the first.
    fn cut(
        mut self,
        index: usize,
        target: Option<Duration>,
        end: Option<Cut>,
    ) -> Result<Option<Cut>, BoxError> {
        let (first, mut taken, mut len) = (self.next, 0, 0_u64);
        while let (Some(first), Some(sample)) = (first, self.next) {
            let time = self.time(&sample);
            if end.is_some_and(|cut| !time.is_before(cut.time)) {
                break;
            }
            len = len.saturating_add(sample.size.into());
            let full = taken >= self.max_samples || len > self.max_len;
            let other = sample.description_index != first.description_index;
            let due = target
                .is_some_and(|target| sample.is_sync() && self.time(&first).until(time) >= target.as_nanos());
            if taken > 0 && (full || other || due) {
                return Ok(Some(Cut {
                    feed: index,
                    taken,
                    time,
                }));
            }
            taken = taken.saturating_add(1);
            self.advance()?;
        }
        Ok(end)
    }
}

/// A time in the timescale of a track.
#[derive(Debug, Clone, Copy)]
struct Time {
    units: u64,
    timescale: u32,
}

impl Time {
    fn is_before(self, other: Self) -> bool {
        let scaled = |time: Self, by: u32| u128::from(time.units).saturating_mul(by.into());
        scaled(self, other.timescale).cmp(&scaled(other, self.timescale)) == Ordering::Less
    }

    /// Nanoseconds to a later time of the same track.
    fn until(self, later: Self) -> u128 {
        let units = u128::from(later.units.saturating_sub(self.units));
        let nanos = units.saturating_mul(1_000_000_000);
        nanos.checked_div(self.timescale.into()).unwrap_or_default()
    }
}
