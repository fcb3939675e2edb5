//! The anti-rollback clock: the host's clock, with a floor below which it is not believed.
//!
//! The floor is the highest time seen, kept in the store's head. A time that a server states in answer
//! to a fresh nonce counts as trusted; it may lower a floor that came from the local clock, so that a
//! clock once set far ahead does not brick the device, and never one that came from a server.

use keyward_license::{
    request::{ClientClock, ClockState},
    time::Timestamp,
};

use crate::{flow::Moment, store::Clock};

/// A local clock this many seconds behind the floor is taken to read the floor: network time steps
/// clocks back by small amounts. Time does not run backwards for the rules even then.
pub const TOLERANCE: u64 = 300;

/// The floor is stored again when the time has advanced by this many seconds.
const FLOOR_STEP: u64 = 60;

/// Longest round trip, in milliseconds, after which a server's time still counts as the present.
const LONGEST_ROUND_TRIP: u64 = 5 * 60 * 1000;

/// A time that a server told this process in answer to a fresh nonce, and when that was on the clock
/// that never steps. It is lost with the process: that clock has no meaning in another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    time: Timestamp,
    monotonic: u64,
}

impl Told {
    /// The time of an answer whose round trip was short enough to call it the present.
    pub(crate) fn fresh(time: Timestamp, round_trip: Option<u64>, moment: Moment) -> Option<Self> {
        round_trip
            .filter(|millis| *millis <= LONGEST_ROUND_TRIP)
            .map(|_| Self {
                time,
                monotonic: moment.monotonic,
            })
    }

    fn now(self, moment: Moment) -> Timestamp {
        self.time
            .plus(moment.monotonic.saturating_sub(self.monotonic) / 1000)
    }
}

/// The moment to read the clock with: the host's, or, where the host's clock may not be used, the time
/// that a server told this process, with what has passed since.
pub(crate) fn moment(clock: &Clock, told: Option<Told>, moment: Moment) -> Moment {
    match told {
        Some(told) if read(clock, moment).now.is_none() => Moment {
            utc: Some(told.now(moment)),
            ..moment
        },
        _ => moment,
    }
}

/// What the clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The time, if it may be used.
    pub(crate) now: Option<Timestamp>,
    pub(crate) state: ClockState,
}

/// reads the clock.
pub(crate) fn read(clock: &Clock, moment: Moment) -> Reading {
    let Some(utc) = moment.utc.filter(|utc| *utc > Timestamp(0)) else {
        return Reading {
            now: None,
            state: ClockState::NotSet,
        };
    };
    if utc.plus(TOLERANCE) < clock.floor {
        return Reading {
            now: None,
            state: ClockState::RolledBack,
        };
    }
    Reading {
        now: Some(utc.max(clock.floor)),
        state: ClockState::Set,
    }
}

/// The clock as a request states it.
pub(crate) fn stated(clock: &Clock, moment: Moment) -> ClientClock {
    let reading = read(clock, moment);
    ClientClock {
        now: moment.utc,
        last_trusted: clock.last_trusted,
        state: reading.state,
    }
}

/// Whether the floor must be stored before a time-limited license is used at `now`.
pub(crate) fn floor_is_due(clock: &Clock, now: Timestamp) -> bool {
    now >= clock.floor.plus(FLOOR_STEP)
}

/// Raises the floor to a time read from the local clock.
pub(crate) fn raise(clock: &mut Clock, now: Timestamp) {
    if now > clock.floor {
        (clock.floor, clock.floor_is_trusted) = (now, false);
    }
}

/// Takes over the time of a nonce-bound answer. The floor never falls below a time that a server told
/// freshly before, even if the local clock has raised it since. `round_trip` is in milliseconds, measured on a clock
/// that never steps; `None` if request and answer were handled by different processes.
pub(crate) fn adopt(clock: &mut Clock, server_time: Timestamp, round_trip: Option<u64>) {
    let fresh = round_trip.is_some_and(|millis| millis <= LONGEST_ROUND_TRIP);
    let may_lower = fresh && !clock.floor_is_trusted;
    if fresh {
        clock.last_trusted = clock.last_trusted.max(Some(server_time));
    }
    if server_time > clock.floor || may_lower {
        clock.floor = clock
            .last_trusted
            .map_or(server_time, |told| told.max(server_time));
        clock.floor_is_trusted = true;
    }
}

/// V-013: the time at which to judge the signer of an answer, or `None` if the stated time contradicts
/// a time that a server stated earlier.
pub(crate) fn judge_at(clock: &Clock, moment: Moment, stated: Timestamp) -> Option<Timestamp> {
    match read(clock, moment).now {
        Some(now) => Some(now),
        None if clock
            .last_trusted
            .is_some_and(|trusted| stated.plus(TOLERANCE) < trusted) =>
        {
            None
        }
        None => Some(stated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(utc: u64) -> Moment {
        Moment {
            utc: Some(Timestamp(utc)),
            monotonic: 0,
        }
    }

    #[test]
    fn r_010_a_clock_behind_the_floor_may_not_be_used() {
        let mut clock = Clock::default();
        raise(&mut clock, Timestamp(10_000));
        assert_eq!(
            read(&clock, at(9_699)),
            Reading {
                now: None,
                state: ClockState::RolledBack
            }
        );
        assert_eq!(
            read(&clock, at(9_700)),
            Reading {
                now: Some(Timestamp(10_000)),
                state: ClockState::Set
            }
        );
        assert_eq!(
            read(&clock, at(10_001)),
            Reading {
                now: Some(Timestamp(10_001)),
                state: ClockState::Set
            }
        );
        let unset = Moment {
            utc: None,
            monotonic: 0,
        };
        assert_eq!(
            read(&clock, unset),
            Reading {
                now: None,
                state: ClockState::NotSet
            }
        );
    }

    #[test]
    fn a_fresh_server_time_frees_a_clock_that_was_set_ahead() {
        let mut clock = Clock::default();
        raise(&mut clock, Timestamp(9_000_000));
        adopt(&mut clock, Timestamp(1_000), None);
        assert_eq!(
            clock.floor,
            Timestamp(9_000_000),
            "without a measured round trip it only raises"
        );
        adopt(&mut clock, Timestamp(1_000), Some(LONGEST_ROUND_TRIP + 1));
        assert_eq!(
            clock.floor,
            Timestamp(9_000_000),
            "too slow an answer only raises"
        );
        adopt(&mut clock, Timestamp(1_000), Some(20));
        assert_eq!(
            (clock.floor, clock.last_trusted),
            (Timestamp(1_000), Some(Timestamp(1_000)))
        );
        adopt(&mut clock, Timestamp(500), Some(20));
        assert_eq!(
            clock.floor,
            Timestamp(1_000),
            "a floor that a server told is not lowered"
        );
        raise(&mut clock, Timestamp(5_000));
        adopt(&mut clock, Timestamp(500), Some(20));
        assert_eq!(
            clock.floor,
            Timestamp(1_000),
            "not even after the local clock has raised it"
        );
    }

    #[test]
    fn a_told_time_stands_in_for_a_clock_that_may_not_be_used() {
        let mut clock = Clock::default();
        adopt(&mut clock, Timestamp(5_000), Some(10));
        let heard = Moment {
            utc: None,
            monotonic: 1_000,
        };
        let told = Told::fresh(Timestamp(5_000), Some(10), heard);
        assert!(told.is_some());
        let later = Moment {
            utc: None,
            monotonic: 61_000,
        };
        assert_eq!(
            read(&clock, moment(&clock, told, later)).now,
            Some(Timestamp(5_060))
        );
        let rolled_back = Moment {
            utc: Some(Timestamp(1)),
            ..later
        };
        assert_eq!(
            read(&clock, moment(&clock, told, rolled_back)).now,
            Some(Timestamp(5_060))
        );
        let set = Moment {
            utc: Some(Timestamp(9_000)),
            ..later
        };
        assert_eq!(moment(&clock, told, set), set, "a clock that may be used is used");
        assert!(Told::fresh(Timestamp(5_000), None, heard).is_none());
        assert!(Told::fresh(Timestamp(5_000), Some(LONGEST_ROUND_TRIP + 1), heard).is_none());
    }

    #[test]
    fn v_013_an_unset_clock_takes_the_stated_time_unless_it_went_back() {
        let unset = Moment {
            utc: None,
            monotonic: 0,
        };
        let mut clock = Clock::default();
        assert_eq!(judge_at(&clock, unset, Timestamp(5_000)), Some(Timestamp(5_000)));
        adopt(&mut clock, Timestamp(5_000), Some(1));
        assert_eq!(judge_at(&clock, unset, Timestamp(1_000)), None);
        assert_eq!(
            judge_at(&clock, at(7_000), Timestamp(1_000)),
            Some(Timestamp(7_000))
        );
    }
}
