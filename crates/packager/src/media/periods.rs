//! Crypto periods: keys that change while the media plays.
//!
//! ```text
//!   media time   0 s        2 s        4 s        6 s
//!   fragments    │  A   B   │    C     │  D   E   │       a fragment is in the period that it begins in
//!   period       │   first  │ first+1  │ first+2  │       keys: one for each track or kind, another each period
//! ```

use core::time::Duration;

use keyward_license::{ids::Kid, packaging::END_OF_PERIODS};

use super::tracks::TrackKey;
use crate::{MediaError, PackagerError};

/// How long crypto periods last, and how they are counted.
///
/// A fragment is in the period that the leading track (the first of video, else of audio) begins in, by its decode
/// time in the media itself. So renditions that are packaged apart, and parts of one broadcast, have the same
/// periods at the same times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CryptoPeriods {
    /// Media time that a period lasts; not zero.
    pub duration: Duration,
    /// Index of the period that begins at time 0 of the media.
    pub first: u64,
}

impl CryptoPeriods {
    /// The index of the period at a time of the media.
    ///
    /// # Errors
    /// [`MediaError::Period`] for a duration of zero, and from index 2^48 on.
    pub fn at(&self, time: u64, timescale: u32) -> Result<u64, MediaError> {
        let passed = u128::from(time).saturating_mul(1_000_000_000);
        let period = self.duration.as_nanos().saturating_mul(timescale.into());
        let passed = passed
            .checked_div(period)
            .and_then(|periods| u64::try_from(periods).ok());
        let index = passed.and_then(|passed| self.first.checked_add(passed));
        index
            .filter(|index| *index < END_OF_PERIODS)
            .ok_or(MediaError::Period(*self))
    }
}

/// Whoever has the keys of crypto periods: a license server, or a list.
pub trait PeriodSource {
    /// The keys of `count` periods from `first` on, at most [`Self::most`], in order. The same period has the
    /// same keys whenever it is asked for.
    ///
    /// Of content that is under no root license, one period behind the last one of the media is asked for as well:
    /// content headers name the keys of a period and of the next. Of media that comes through a pipe, some are asked for
    /// that it may not reach.
    ///
    /// # Errors
    /// [`PackagerError`]: then nothing is packaged, unless all the periods that the media needs are given when they
    /// are asked for without those behind them.
    fn keys(&mut self, first: u64, count: u64) -> Result<PeriodBatch, PackagerError>;

    /// Most periods that are asked for at once.
    fn most(&self) -> u64 {
        64
    }

    /// Whether the content is under root licenses, where that is known before the first keys are there.
    fn has_roots(&self) -> Option<bool> {
        None
    }
}

/// The keys of some crypto periods, one behind the other.
#[derive(Debug)]
pub struct PeriodBatch {
    /// Key ids of the root licenses under which the content is offered. Those of the first batch go into the movie
    /// box: with a root license a client needs no other from a license server.
    pub roots: Vec<Kid>,
    /// The periods, in order.
    pub periods: Vec<PeriodKeys>,
}

/// The keys of one crypto period.
#[derive(Debug)]
pub struct PeriodKeys {
    /// Its index.
    pub index: u64,
    /// The keys of the tracks, with key ids that no other period has.
    pub keys: Vec<TrackKey>,
    /// Licenses that ride in the fragments of the period.
    pub leaves: Vec<RidingLicense>,
}

/// A signed license that rides in the fragments that have samples under its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RidingLicense {
    /// The key that it holds.
    pub kid: Kid,
    /// The license as it was signed.
    pub license: Vec<u8>,
}

/// Key rotation of one packaging: what the periods are, and where their keys come from.
pub struct Rotation<'s> {
    /// The periods.
    pub periods: CryptoPeriods,
    /// Their keys. Asked from another thread, for some periods at a time, as the media reaches them.
    pub source: &'s mut (dyn PeriodSource + Send),
}

impl core::fmt::Debug for Rotation<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Rotation")
            .field("periods", &self.periods)
            .finish_non_exhaustive()
    }
}

/// The crypto periods of media that was protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedPeriods {
    /// Index of the first that has samples.
    pub first: u64,
    /// Index of the last that has samples.
    pub last: u64,
    /// The root licenses that the movie box names.
    pub roots: Vec<Kid>,
    /// Licenses that ride in the fragments, each counted once.
    pub licenses: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn periods(seconds: u64, first: u64) -> CryptoPeriods {
        CryptoPeriods {
            duration: Duration::from_secs(seconds),
            first,
        }
    }

    #[test]
    fn a_period_begins_at_its_first_unit_of_time() {
        for (time, index) in [(0, 7), (179_999, 7), (180_000, 8), (359_999, 8), (360_000, 9)] {
            assert_eq!(periods(2, 7).at(time, 90_000).unwrap(), index, "{time}");
        }
        // A duration that is no whole number of units.
        let third = CryptoPeriods {
            duration: Duration::from_nanos(1_000_000_001),
            first: 0,
        };
        assert_eq!(
            (third.at(1000, 1000).unwrap(), third.at(1001, 1000).unwrap()),
            (0, 1)
        );
    }

    #[test]
    fn what_is_no_period_is_refused() {
        let refused = |periods: CryptoPeriods, time| {
            assert!(matches!(periods.at(time, 1000), Err(MediaError::Period(_))));
        };
        refused(periods(0, 0), 0);
        refused(periods(2, END_OF_PERIODS), 0);
        refused(periods(2, END_OF_PERIODS - 1), 2000);
        refused(periods(2, u64::MAX), u64::MAX);
        assert_eq!(
            periods(2, END_OF_PERIODS - 1).at(1999, 1000).unwrap(),
            END_OF_PERIODS - 1
        );
    }
}
