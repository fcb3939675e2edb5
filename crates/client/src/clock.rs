//! The host's clock, and what of it is believed (R-010).
//!
//! ```text
//!  none           no time, whatever comes
//!  anti-rollback  anybody may set it: the floor below which it is not believed is the highest time seen
//!  secure         set by a secure service alone, or not set: believed as it reads
//!                 └── may not be used ──► the time that a server told this process, if one did
//! ```
//! The floor is kept in the store's head. A time that a server states in answer to a fresh nonce counts as
//! trusted; it may lower a floor that came from the local clock, so that a clock once set far ahead does not
//! brick the device, and never one that came from a server. It speaks for one operator's licenses: who may enrol with an
//! operator of their own may have it tell any time. What a secure clock reads lowers it in the same way.

use keyward_license::{
    ids::Digest,
    request::{ClientClock, ClockKind, ClockState},
    time::Timestamp,
};

use crate::{
    Client,
    flow::{Io, Moment},
    store::{Clock, Head},
};

/// A local clock this many seconds behind the floor is taken to read the floor: network time steps
/// clocks back by small amounts. Time does not run backwards for the rules even then.
pub const TOLERANCE: u64 = 300;

/// The floor is stored again when the time has advanced by this many seconds.
const FLOOR_STEP: u64 = 60;

/// Longest round trip, in milliseconds, after which a server's time still counts as the present.
const LONGEST_ROUND_TRIP: u64 = 5 * 60 * 1000;

fn is_fresh(round_trip: Option<u64>) -> bool {
    round_trip.is_some_and(|millis| millis <= LONGEST_ROUND_TRIP)
}

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
        is_fresh(round_trip).then_some(Self {
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

/// The moment as a host with a clock of this kind has it: one without a clock has no time, whatever it says.
pub(crate) fn of_kind(kind: ClockKind, moment: Moment) -> Moment {
    match kind {
        ClockKind::None => Moment { utc: None, ..moment },
        ClockKind::AntiRollback | ClockKind::Secure => moment,
    }
}

impl<K, R> Client<K, R> {
    /// R-010: reads the clock, and where it may not be used the time that a server told this process.
    pub(crate) fn reading(&self, io: &Io) -> Reading {
        let clock = &self.store.head().clock;
        let (kind, at) = (self.host.clock, io.moment());
        let own = read_as(kind, clock, at);
        match self.told {
            Some(_) if own.now.is_none() && kind != ClockKind::None => {
                read(clock, moment(clock, self.told, unset(at)))
            }
            _ => own,
        }
    }

    /// The reading for a playback, which goes on by it.
    pub(crate) fn clocked(&self, io: &Io) -> Clocked {
        let clock = &self.store.head().clock;
        let kind = self.host.clock;
        Clocked {
            now: self.reading(io).now,
            told: read_as(kind, clock, io.moment()).now.is_none(),
            floor: believed_from(kind, clock),
        }
    }

    /// R-010: whether the floor was lowered by another operator's answer, and this one has not told the time since.
    pub(crate) fn is_untimed(&self, operator: &Digest) -> bool {
        let untimed = self.store.head().untimed.as_deref();
        untimed.is_some_and(|untimed| untimed.contains(operator))
    }

    /// The clock as a request states it: the host's own, whatever a server has told meanwhile.
    pub(crate) fn stated_clock(&self, io: &Io) -> ClientClock {
        let (kind, clock) = (self.host.clock, &self.store.head().clock);
        ClientClock {
            now: of_kind(kind, io.moment()).utc,
            last_trusted: clock.last_trusted,
            state: read_as(kind, clock, io.moment()).state,
        }
    }
}

/// From which time on a clock of this kind is believed, [`TOLERANCE`] aside.
const fn believed_from(kind: ClockKind, clock: &Clock) -> Timestamp {
    match kind {
        ClockKind::Secure => Timestamp(0),
        ClockKind::None | ClockKind::AntiRollback => clock.floor,
    }
}

const fn unset(moment: Moment) -> Moment {
    Moment { utc: None, ..moment }
}

/// The time, and where it comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocked {
    /// The time, if there is one that may be used.
    pub(crate) now: Option<Timestamp>,
    /// The host's clock may not be used: the time is one that a server told, if there is one.
    pub(crate) told: bool,
    /// Below it the host's clock is not believed.
    pub(crate) floor: Timestamp,
}

/// Time as a playback sees it: it never goes back, and never more slowly than the clock that never steps. Who
/// sets the host's clock back a little, again and again, gains nothing.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// A time, and when that was on the clock that never steps.
    seen: Option<(Timestamp, u64)>,
    /// It was told by a server, and goes on whatever the host's clock says.
    told: bool,
    /// Whether the clock could be used when it was read last. While it cannot, what was seen is kept: a clock that
    /// can be used again does not begin anew.
    usable: bool,
    floor: Timestamp,
}

impl Pace {
    /// Takes in a reading of the clock.
    pub(crate) fn see(&mut self, clocked: Clocked, moment: Moment) {
        self.floor = clocked.floor;
        let carried = self.carried(moment);
        match clocked.now {
            // A later process of this playback has not heard the server, and need not.
            None => self.usable = self.told,
            Some(now) => {
                self.usable = true;
                if carried.is_none_or(|carried| now > carried) {
                    (self.seen, self.told) = (Some((now, moment.monotonic)), clocked.told);
                }
            }
        }
    }

    /// The time, if the clock may be used.
    pub(crate) fn now(&self, moment: Moment) -> Option<Timestamp> {
        let carried = self.carried(moment).filter(|_| self.usable)?;
        if self.told {
            return Some(carried);
        }
        let read = moment.utc.filter(|utc| utc.plus(TOLERANCE) >= self.floor)?;
        Some(read.max(carried))
    }

    /// The time, if the clock may be used. From then on no earlier one is believed, as if it had been stored.
    pub(crate) fn advance(&mut self, moment: Moment) -> Option<Timestamp> {
        let now = self.now(moment)?;
        if self.carried(moment).is_none_or(|carried| now > carried) {
            self.seen = Some((now, moment.monotonic));
        }
        // A clock that is believed wherever it is has no floor.
        if self.floor > Timestamp(0) && !self.told {
            self.floor = moment.utc.map_or(self.floor, |read| read.max(self.floor));
        }
        Some(now)
    }

    fn carried(&self, moment: Moment) -> Option<Timestamp> {
        let (seen, at) = self.seen?;
        Some(seen.plus(moment.monotonic.saturating_sub(at) / 1000))
    }
}

/// What the clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The time, if it may be used.
    pub(crate) now: Option<Timestamp>,
    pub(crate) state: ClockState,
}

/// R-010: reads the host's clock of this kind.
fn read_as(kind: ClockKind, clock: &Clock, moment: Moment) -> Reading {
    let from = Clock {
        floor: believed_from(kind, clock),
        ..*clock
    };
    read(&from, of_kind(kind, moment))
}

/// R-010: reads a clock that is not believed below the floor.
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

/// Whether the floor must be stored before a time-limited license is used at `now`, a reading of a clock of this
/// kind.
pub(crate) fn floor_is_due(kind: ClockKind, clock: &Clock, now: Timestamp) -> bool {
    let settled = settled(kind, clock, now);
    settled >= clock.floor.plus(FLOOR_STEP) || settled.plus(FLOOR_STEP) <= clock.floor
}

/// Takes over a reading of a clock of this kind into the floor.
pub(crate) fn settle(kind: ClockKind, clock: &mut Clock, now: Timestamp) {
    let settled = settled(kind, clock, now);
    if settled != clock.floor {
        (clock.floor, clock.floor_is_trusted) = (settled, false);
    }
}

/// The floor after a reading: a secure clock lowers one that the local clock alone has set, as the fresh answer
/// of a server does, and as far.
fn settled(kind: ClockKind, clock: &Clock, now: Timestamp) -> Timestamp {
    if kind == ClockKind::Secure && !clock.floor_is_trusted {
        clock.last_trusted.map_or(now, |told| told.max(now))
    } else {
        now.max(clock.floor)
    }
}

/// A time that has come for certain: a server has stated it, and no fresher answer lowers the floor below it.
pub(crate) fn told(clock: &Clock) -> Option<Timestamp> {
    if clock.floor_is_trusted {
        Some(clock.floor)
    } else {
        clock.last_trusted
    }
}

/// Raises the floor to a time read from a clock that anybody may set.
#[cfg(test)]
pub(crate) fn raise(clock: &mut Clock, now: Timestamp) {
    settle(ClockKind::AntiRollback, clock, now);
}

/// Takes over the time of a nonce-bound answer. The floor never falls below a time that a server told
/// freshly before, even if the local clock has raised it since. `round_trip` is in milliseconds, measured on a clock
/// that never steps; `None` if request and answer were handled by different processes.
pub(crate) fn adopt(clock: &mut Clock, server_time: Timestamp, round_trip: Option<u64>) {
    let fresh = is_fresh(round_trip);
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

/// R-010: takes over the time of an operator's answer, as [`adopt`] does. One operator's word lowers the floor for its own
/// licenses: those of the others have no time until their own operator has told it.
pub(crate) fn hear(head: &mut Head, operator: Digest, server_time: Timestamp, round_trip: Option<u64>) {
    let floor = head.clock.floor;
    adopt(&mut head.clock, server_time, round_trip);
    let mut untimed = if head.clock.floor < floor {
        head.operators.clone()
    } else {
        head.untimed.take().unwrap_or_default()
    };
    if is_fresh(round_trip) {
        untimed.retain(|other| *other != operator);
    }
    head.untimed = Some(untimed).filter(|untimed| !untimed.is_empty());
}

/// V-013: the time at which to judge the signer of an answer, or `None` if the stated time contradicts
/// a time that a server stated earlier.
pub(crate) fn judge_at(clock: &Clock, reading: Reading, stated: Timestamp) -> Option<Timestamp> {
    match reading.now {
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
    fn r_010_a_secure_clock_is_believed_as_it_reads_and_lowers_a_floor_that_no_server_told() {
        let mut clock = Clock::default();
        adopt(&mut clock, Timestamp(1_000), Some(20));
        raise(&mut clock, Timestamp(9_000_000));
        let set = Reading {
            now: Some(Timestamp(2_000)),
            state: ClockState::Set,
        };
        assert_eq!(read_as(ClockKind::Secure, &clock, at(2_000)), set);
        assert_eq!(read_as(ClockKind::AntiRollback, &clock, at(2_000)).now, None);
        assert_eq!(read_as(ClockKind::None, &clock, at(2_000)).now, None);
        for utc in [None, Some(Timestamp(0))] {
            let moment = Moment { utc, monotonic: 0 };
            let unset = Reading {
                now: None,
                state: ClockState::NotSet,
            };
            assert_eq!(read_as(ClockKind::Secure, &clock, moment), unset);
        }

        // A clock that anybody may set lowers nothing.
        assert!(!floor_is_due(ClockKind::AntiRollback, &clock, Timestamp(2_000)));
        assert!(floor_is_due(ClockKind::Secure, &clock, Timestamp(2_000)));
        settle(ClockKind::Secure, &mut clock, Timestamp(2_000));
        assert_eq!((clock.floor, clock.floor_is_trusted), (Timestamp(2_000), false));
        assert_eq!(told(&clock), Some(Timestamp(1_000)), "no server has said so");
        // Not below what a server has told.
        settle(ClockKind::Secure, &mut clock, Timestamp(500));
        assert_eq!(clock.floor, Timestamp(1_000));
        adopt(&mut clock, Timestamp(5_000), Some(20));
        assert!(!floor_is_due(ClockKind::Secure, &clock, Timestamp(2_000)));
        settle(ClockKind::Secure, &mut clock, Timestamp(2_000));
        assert_eq!((clock.floor, clock.floor_is_trusted), (Timestamp(5_000), true));
    }

    #[test]
    fn r_010_the_floor_is_stored_when_it_rose_or_fell_by_a_minute() {
        let mut clock = Clock::default();
        raise(&mut clock, Timestamp(10_000));
        for (kind, now, is_due) in [
            (ClockKind::AntiRollback, 10_059, false),
            (ClockKind::AntiRollback, 10_060, true),
            (ClockKind::AntiRollback, 9_940, false),
            (ClockKind::Secure, 10_059, false),
            (ClockKind::Secure, 10_060, true),
            (ClockKind::Secure, 9_941, false),
            (ClockKind::Secure, 9_940, true),
        ] {
            assert_eq!(
                floor_is_due(kind, &clock, Timestamp(now)),
                is_due,
                "{kind:?} {now}"
            );
        }
    }

    #[test]
    fn r_010_a_playback_does_not_begin_anew_when_its_clock_can_be_used_again() {
        let mut pace = Pace::default();
        let own = |now: Option<u64>| Clocked {
            now: now.map(Timestamp),
            told: false,
            floor: Timestamp(1_000),
        };
        let read_at = |seconds: u64, utc: u64| Moment {
            utc: Some(Timestamp(utc)),
            monotonic: seconds * 1000,
        };
        pace.see(own(Some(1_000)), read_at(0, 1_000));
        pace.see(own(None), read_at(10, 500));
        assert_eq!(pace.now(read_at(10, 500)), None, "a clock that was set back");
        pace.see(own(Some(1_000)), read_at(500, 900));
        assert_eq!(pace.now(read_at(500, 900)), Some(Timestamp(1_500)));
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
    fn r_043_the_time_of_a_playback_goes_on_however_often_the_clock_is_set_back() {
        let moment = |utc: u64, monotonic| Moment {
            utc: Some(Timestamp(utc)),
            monotonic,
        };
        let mut clock = Clock::default();
        raise(&mut clock, Timestamp(10_000));
        let clocked = |moment| Clocked {
            now: read(&clock, moment).now,
            told: false,
            floor: clock.floor,
        };
        let mut pace = Pace::default();
        pace.see(clocked(moment(10_000, 0)), moment(10_000, 0));
        for tenth in 1..600 {
            // Set back to where it was, ten times a second.
            let now = moment(10_000, tenth * 100);
            assert_eq!(pace.now(now), Some(Timestamp(10_000 + tenth / 10)));
            pace.see(clocked(now), now);
        }
        let ahead = moment(10_500, 60_000);
        assert_eq!(pace.now(ahead), Some(Timestamp(10_500)));
        let far_back = moment(9_699, 60_000);
        assert_eq!(pace.now(far_back), None);
        pace.see(clocked(far_back), far_back);
        assert_eq!(pace.now(moment(10_500, 60_000)), None, "until it is read anew");
        let told = Clocked {
            now: Some(Timestamp(20_000)),
            told: true,
            floor: Timestamp(10_000),
        };
        pace.see(told, moment(1, 70_000));
        assert_eq!(pace.now(moment(1, 80_000)), Some(Timestamp(20_010)));
        pace.see(clocked(moment(1, 80_000)), moment(1, 80_000));
        assert_eq!(pace.now(moment(1, 90_000)), Some(Timestamp(20_020)));
    }

    #[test]
    fn v_013_an_unset_clock_takes_the_stated_time_unless_it_went_back() {
        let unset = Moment {
            utc: None,
            monotonic: 0,
        };
        let mut clock = Clock::default();
        let judge_at = |clock: &Clock, moment, stated| judge_at(clock, read(clock, moment), stated);
        assert_eq!(judge_at(&clock, unset, Timestamp(5_000)), Some(Timestamp(5_000)));
        adopt(&mut clock, Timestamp(5_000), Some(1));
        assert_eq!(judge_at(&clock, unset, Timestamp(1_000)), None);
        assert_eq!(
            judge_at(&clock, at(7_000), Timestamp(1_000)),
            Some(Timestamp(7_000))
        );
    }
}
