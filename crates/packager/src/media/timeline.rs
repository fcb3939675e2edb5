//! Which crypto period each fragment is in, known before the first one is made.

use std::io::{Read, Seek};

use keyward_content::{
    isobmff::{BoxSpan, Fragment, Movie, Sample, TopBoxes, Track, kind},
    media::MAX_FRAGMENT_LEN,
};

use super::{fragments::Lead, periods::CryptoPeriods, source::Source};
use crate::{MediaError, PackagerError};

/// For each fragment its period; nothing for one that the clear lead leaves clear.
#[derive(Debug, Default)]
pub(super) struct Timeline(Vec<Option<u64>>);

impl Timeline {
    /// The first fragment that is protected, and its period.
    pub(super) fn first(&self) -> Option<(usize, u64)> {
        let mut fragments = self.0.iter().enumerate();
        fragments.find_map(|(at, period)| Some((at, (*period)?)))
    }

    /// The period of a fragment.
    pub(super) fn period(&self, fragment: usize) -> Option<u64> {
        self.0.get(fragment).copied().flatten()
    }

    /// The period of the last fragment that is protected.
    pub(super) fn last(&self) -> Option<u64> {
        self.0.iter().copied().flatten().next_back()
    }

    /// The next fragment behind `fragment` that is in another period, and that period.
    pub(super) fn next(&self, fragment: usize) -> Option<(usize, u64)> {
        let own = self.period(fragment)?;
        let mut behind = self.0.iter().enumerate().skip(fragment);
        behind.find_map(|(at, period)| Some((at, period.filter(|period| *period != own)?)))
    }

    /// How many periods are needed from `index` on, that of the fragment `at`: up to the last one below
    /// `index` + `most` that a fragment needs before another one is needed.
    pub(super) fn run(&self, at: usize, index: u64, most: u64) -> u64 {
        let rest = self.0.get(at..).unwrap_or_default().iter().flatten();
        let ahead = rest.map_while(|period| period.checked_sub(index).filter(|ahead| *ahead < most));
        ahead.max().unwrap_or(0).saturating_add(1)
    }
}

/// Puts one fragment behind the other on the timeline.
#[derive(Debug)]
pub(super) struct TimelineBuilder {
    periods: CryptoPeriods,
    lead: Lead,
    timescale: u32,
    /// The last period; fragments without the leading track are in it.
    current: Option<u64>,
    timeline: Timeline,
}

impl TimelineBuilder {
    pub(super) fn new(periods: CryptoPeriods, lead: Lead, timescale: u32) -> Self {
        Self {
            periods,
            lead,
            timescale,
            current: None,
            timeline: Timeline::default(),
        }
    }

    /// Takes in the next fragment, in which the leading track begins at `time`, if it is there.
    pub(super) fn push(&mut self, time: Option<u64>) -> Result<(), MediaError> {
        self.lead.reach(time, self.timescale);
        if let Some(time) = time {
            self.current = Some(self.periods.at(time, self.timescale)?);
        }
        let current = match self.current {
            Some(current) => current,
            None => *self.current.insert(self.periods.at(0, self.timescale)?),
        };
        self.timeline.0.push(Some(current).filter(|_| !self.lead.is_on));
        Ok(())
    }

    /// Takes in the fragments of a fragmented file.
    pub(super) fn push_all<R: Read + Seek>(
        &mut self,
        source: &mut Source<R>,
        movie: &Movie<'_>,
        leading: &Track<'_>,
    ) -> Result<(), PackagerError> {
        let mut next = 0;
        let mut boxes = TopBoxes::new(source).map_err(PackagerError::Read)?;
        while let Some(found) = boxes.next().transpose()? {
            if found.kind() != kind::MOOF {
                continue;
            }
            let bytes = found.read(boxes.reader(), MAX_FRAGMENT_LEN)?;
            let fragment = Fragment::parse(&BoxSpan::parse(&bytes, found.offset)?, &movie.defaults)?;
            let mut begin = None;
            for traf in fragment.tracks.iter().filter(|traf| traf.track_id == leading.id) {
                let time = traf.decode_time.unwrap_or(next);
                if traf.sample_count() > 0 {
                    begin.get_or_insert(time);
                }
                next = time;
                for sample in traf.samples(time) {
                    next = end(&sample?);
                }
            }
            self.push(begin)?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Timeline {
        self.timeline
    }
}

fn end(sample: &Sample) -> u64 {
    sample.decode_time.saturating_add(sample.duration.into())
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn built(lead: u64, times: &[Option<u64>]) -> Timeline {
        let periods = CryptoPeriods {
            duration: Duration::from_secs(2),
            first: 100,
        };
        let mut builder = TimelineBuilder::new(periods, Lead::new(Duration::from_secs(lead)), 10);
        times.iter().for_each(|time| builder.push(*time).unwrap());
        builder.finish()
    }

    #[test]
    fn a_fragment_is_in_the_period_it_begins_in() {
        let made = built(0, &[None, Some(5), Some(19), Some(20), None, Some(65)]);
        assert_eq!(made.0, [100, 100, 100, 101, 101, 103].map(Some));
        assert_eq!(made.first(), Some((0, 100)));
        assert_eq!(made.period(6), None);
        for (at, next) in [(0, Some((3, 101))), (3, Some((5, 103))), (5, None), (6, None)] {
            assert_eq!(made.next(at), next, "{at}");
        }
        assert_eq!(made.last(), Some(103));
        let back = built(0, &[Some(20), Some(25), Some(0)]);
        assert_eq!((back.next(0), back.last()), (Some((2, 100)), Some(100)));
    }

    #[test]
    fn a_clear_lead_needs_no_period() {
        let made = built(3, &[Some(0), Some(15), None, Some(30), Some(40)]);
        assert_eq!(made.0, [None, None, None, Some(101), Some(102)]);
        assert_eq!(made.first(), Some((3, 101)));
        let all = built(9, &[Some(0), Some(20)]);
        assert_eq!((all.first(), all.last(), all.next(0)), (None, None, None));
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
}
