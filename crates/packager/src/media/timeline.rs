//! Which crypto period each fragment is in: known before the first one is made, or found as they come.

use core::time::Duration;
use std::io::{Read, Seek};

use keyward_content::{
    isobmff::{BoxSpan, Fragment, Movie, Sample, Track, kind},
    media::MAX_FRAGMENT_LEN,
};
use keyward_license::packaging::END_OF_PERIODS;

use super::{fragments::Lead, periods::CryptoPeriods, source::Source};
use crate::{MediaError, PackagerError};

/// The crypto periods of the fragments.
#[derive(Debug)]
pub(super) enum Timeline {
    /// For each fragment its period; nothing for one that the clear lead leaves clear.
    Known(Vec<Option<u64>>),
    /// Of fragments that come through a pipe.
    Open(Open),
}

impl Timeline {
    /// The first fragment that is protected, and its period.
    pub(super) fn first(&self) -> Option<(usize, u64)> {
        match self {
            Self::Known(periods) => {
                let mut fragments = periods.iter().enumerate();
                fragments.find_map(|(at, period)| Some((at, (*period)?)))
            }
            Self::Open(open) => Some((0, open.first)),
        }
    }

    /// The period of a fragment, in which the leading track begins at `time`, if it is there; nothing if it stays
    /// clear. Each fragment of a pipe is asked for once, in order.
    pub(super) fn period(&mut self, fragment: usize, time: Option<u64>) -> Result<Option<u64>, MediaError> {
        match self {
            Self::Known(periods) => Ok(periods.get(fragment).copied().flatten()),
            Self::Open(open) => open.builder.period(time),
        }
    }

    /// The next fragment behind `fragment` that is known to be in another period, and that period.
    pub(super) fn next(&self, fragment: usize) -> Option<(usize, u64)> {
        let periods = self.known();
        let own = periods.get(fragment).copied().flatten()?;
        let mut behind = periods.iter().enumerate().skip(fragment);
        behind.find_map(|(at, period)| Some((at, period.filter(|period| *period != own)?)))
    }

    /// How many periods are needed from `index` on, that of the fragment `at`: up to the last one below
    /// `index` + `most` that a fragment is known to need before another one is needed.
    pub(super) fn run(&self, at: usize, index: u64, most: u64) -> u64 {
        let rest = self.known().get(at..).unwrap_or_default().iter().flatten();
        let ahead = rest.map_while(|period| period.checked_sub(index).filter(|ahead| *ahead < most));
        ahead.max().unwrap_or(0).saturating_add(1)
    }

    /// How many periods to ask for from `index` on if `needed` of them are needed: at most `most`, and more than are
    /// needed for what may come. Of a pipe twice as many each time: many at once of a long film, few in vain of a
    /// short one. With `next` the one behind the last that is needed.
    pub(super) fn hoped(&mut self, index: u64, needed: u64, most: u64, next: bool) -> u64 {
        let end = index.saturating_add(needed);
        let hoped = match self {
            Self::Known(periods) => {
                let last = periods.iter().copied().flatten().next_back();
                let is_last = last.and_then(|last| last.checked_add(1)) == Some(end);
                needed.saturating_add((next && is_last).into())
            }
            Self::Open(open) => {
                let ahead = open.ahead;
                open.ahead = ahead.saturating_mul(2).min(most);
                ahead
            }
        };
        hoped
            .min(most)
            .min(END_OF_PERIODS.saturating_sub(index))
            .max(needed)
    }

    fn known(&self) -> &[Option<u64>] {
        match self {
            Self::Known(periods) => periods,
            Self::Open(_) => &[],
        }
    }
}

/// What is known of fragments before they come.
#[derive(Debug)]
pub(super) struct Open {
    builder: TimelineBuilder,
    /// The period behind the clear lead.
    first: u64,
    /// Periods that are asked for next.
    ahead: u64,
}

/// Puts one fragment behind the other on the timeline.
#[derive(Debug)]
pub(super) struct TimelineBuilder {
    periods: CryptoPeriods,
    lead: Lead,
    timescale: u32,
    /// The last period; fragments without the leading track are in it.
    current: Option<u64>,
    known: Vec<Option<u64>>,
}

impl TimelineBuilder {
    pub(super) fn new(periods: CryptoPeriods, lead: Lead, timescale: u32) -> Self {
        Self {
            periods,
            lead,
            timescale,
            current: None,
            known: Vec::new(),
        }
    }

    /// Takes in the next fragment, in which the leading track begins at `time`, if it is there.
    pub(super) fn push(&mut self, time: Option<u64>) -> Result<(), MediaError> {
        let period = self.period(time)?;
        self.known.push(period);
        Ok(())
    }

    fn period(&mut self, time: Option<u64>) -> Result<Option<u64>, MediaError> {
        self.lead.reach(time, self.timescale);
        if let Some(time) = time {
            self.current = Some(self.periods.at(time, self.timescale)?);
        }
        let current = match self.current {
            Some(current) => current,
            None => *self.current.insert(self.periods.at(0, self.timescale)?),
        };
        Ok(Some(current).filter(|_| !self.lead.is_on))
    }

    /// Takes in the fragments of a fragmented file; of a pipe the first one, which is looked at before it is read.
    pub(super) fn of_fragments<R: Read + Seek>(
        mut self,
        source: &mut Source<R>,
        movie: &Movie<'_>,
        leading: &Track<'_>,
    ) -> Result<Timeline, PackagerError> {
        let (is_pipe, mut next) = (source.is_pipe(), 0);
        let mut boxes = source.boxes().map_err(PackagerError::Read)?;
        while let Some(found) = boxes.next().transpose()? {
            if found.kind() != kind::MOOF {
                continue;
            }
            let bytes = found.read(boxes.reader(), MAX_FRAGMENT_LEN)?;
            let fragment = Fragment::parse(&BoxSpan::parse(&bytes, found.offset)?, &movie.defaults)?;
            let begin = begin(&fragment, leading, &mut next)?;
            if is_pipe {
                return Ok(self.open(begin)?);
            }
            self.push(begin)?;
        }
        if is_pipe {
            return Err(MediaError::NoSamples.into());
        }
        Ok(self.finish())
    }

    /// The timeline of fragments that come, in the first of which the leading track begins at `begin`.
    fn open(self, begin: Option<u64>) -> Result<Timeline, MediaError> {
        let lead = units(self.lead.length(), self.timescale);
        let first = self
            .periods
            .at(begin.unwrap_or(0).saturating_add(lead), self.timescale)?;
        Ok(Timeline::Open(Open {
            builder: self,
            first,
            ahead: 1,
        }))
    }

    pub(super) fn finish(self) -> Timeline {
        Timeline::Known(self.known)
    }
}

/// When the leading track begins in a fragment. `next` is where it goes on if the fragment does not say it.
fn begin(fragment: &Fragment<'_>, leading: &Track<'_>, next: &mut u64) -> Result<Option<u64>, PackagerError> {
    let mut begin = None;
    for traf in fragment.tracks.iter().filter(|traf| traf.track_id == leading.id) {
        let time = traf.decode_time.unwrap_or(*next);
        if traf.sample_count() > 0 {
            begin.get_or_insert(time);
        }
        *next = time;
        for sample in traf.samples(time) {
            *next = end(&sample?);
        }
    }
    Ok(begin)
}

/// The units of time in a duration, the last one begun included.
fn units(duration: Duration, timescale: u32) -> u64 {
    let units = duration.as_nanos().saturating_mul(timescale.into());
    u64::try_from(units.div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
}

fn end(sample: &Sample) -> u64 {
    sample.decode_time.saturating_add(sample.duration.into())
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn builder(lead: u64) -> TimelineBuilder {
        let periods = CryptoPeriods {
            duration: Duration::from_secs(2),
            first: 100,
        };
        TimelineBuilder::new(periods, Lead::new(Duration::from_secs(lead)), 10)
    }

    fn built(lead: u64, times: &[Option<u64>]) -> Timeline {
        let mut builder = builder(lead);
        times.iter().for_each(|time| builder.push(*time).unwrap());
        builder.finish()
    }

    fn all(timeline: &mut Timeline, times: &[Option<u64>]) -> Vec<Option<u64>> {
        let times = times.iter().enumerate();
        times
            .map(|(at, time)| timeline.period(at, *time).unwrap())
            .collect()
    }

    /// What is known beforehand, and what is found as the fragments come.
    fn assert_periods(lead: u64, times: &[Option<u64>], wanted: &[Option<u64>]) {
        let mut known = built(lead, times);
        assert_eq!(all(&mut known, times), wanted);
        assert_eq!(known.period(times.len(), None).unwrap(), None);
        let mut open = builder(lead).open(times[0]).unwrap();
        assert_eq!(all(&mut open, times), wanted);
        assert_eq!(open.next(0), None);
    }

    #[test]
    fn a_fragment_is_in_the_period_it_begins_in() {
        let times = [None, Some(5), Some(19), Some(20), None, Some(65)];
        assert_periods(0, &times, &[100, 100, 100, 101, 101, 103].map(Some));
        let made = built(0, &times);
        assert_eq!(made.first(), Some((0, 100)));
        for (at, next) in [(0, Some((3, 101))), (3, Some((5, 103))), (5, None), (6, None)] {
            assert_eq!(made.next(at), next, "{at}");
        }
        let back = built(0, &[Some(20), Some(25), Some(0)]);
        assert_eq!(back.next(0), Some((2, 100)));
    }

    #[test]
    fn a_clear_lead_needs_no_period() {
        let times = [Some(0), Some(15), None, Some(30), Some(40)];
        assert_periods(3, &times, &[None, None, None, Some(101), Some(102)]);
        assert_eq!(built(3, &times).first(), Some((3, 101)));
        let all = built(9, &[Some(0), Some(20)]);
        assert_eq!((all.first(), all.next(0)), (None, None));
    }

    #[test]
    fn the_first_period_of_a_pipe_is_that_in_which_the_lead_ends() {
        for (lead, begin, first) in [
            (0, None, 100),
            (0, Some(45), 102),
            (1, Some(5), 100),
            (1, Some(10), 101),
            (4, None, 102),
        ] {
            let open = builder(lead).open(begin).unwrap();
            assert_eq!(open.first(), Some((0, first)), "{lead} {begin:?}");
        }
        assert_eq!(units(Duration::from_nanos(100_000_001), 10), 2);
    }

    #[test]
    fn what_is_needed_together_is_fetched_together() {
        let made = built(0, &[Some(0), Some(20), Some(60), Some(61), Some(200), Some(40)]);
        for (at, index, most, count) in [
            (0, 100, 64, 11),
            (0, 100, 3, 2),
            (0, 100, 4, 4),
            (0, 100, 1, 1),
            (2, 103, 64, 8),
            (4, 110, 64, 1),
            (5, 102, 64, 1),
        ] {
            assert_eq!(made.run(at, index, most), count, "{at} {index} {most}");
        }
    }

    #[test]
    fn the_period_behind_the_last_is_hoped_for() {
        let mut made = built(0, &[Some(0), Some(20), Some(40)]);
        for (index, needed, most, next, hoped) in [
            (100, 3, 64, true, 4),
            (100, 3, 64, false, 3),
            (100, 3, 3, true, 3),
            (100, 2, 64, true, 2),
            (102, 1, 64, true, 2),
            (103, 1, 64, true, 1),
        ] {
            assert_eq!(
                made.hoped(index, needed, most, next),
                hoped,
                "{index} {needed} {most}"
            );
        }
    }

    #[test]
    fn of_a_pipe_more_and_more_are_hoped_for() {
        let mut open = builder(0).open(None).unwrap();
        assert_eq!(open.run(0, 100, 10), 1);
        let counts: Vec<_> = (0..5).map(|_| open.hoped(100, 1, 10, true)).collect();
        assert_eq!(counts, [1, 2, 4, 8, 10]);
        assert_eq!(
            open.hoped(END_OF_PERIODS - 3, 1, 10, true),
            3,
            "there are no more"
        );
        assert_eq!(open.hoped(100, 1, 1, true), 1);
    }
}
