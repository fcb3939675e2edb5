//! Where the time comes from.

use std::{
    rc::Rc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use keyward_client::flow::Moment;
use keyward_license::{request::ClockKind, time::Timestamp};

/// Reads the time; a test brings its own.
pub trait Clock {
    /// The time now.
    fn moment(&self) -> Moment;

    /// How good this clock is. One that says [`ClockKind::Secure`] vouches for that its time is set by a secure
    /// service alone, and is none ([`Moment::utc`]) until it was.
    fn kind(&self) -> ClockKind {
        ClockKind::AntiRollback
    }
}

/// A clock that is shared with whoever watches a playback: its monotonic part has one origin then.
impl<C: Clock + ?Sized> Clock for Rc<C> {
    fn moment(&self) -> Moment {
        (**self).moment()
    }

    fn kind(&self) -> ClockKind {
        (**self).kind()
    }
}

/// The operating system's clock.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// Starts measuring.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the ambient clock enters the client"
    )]
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the ambient clock enters the client"
    )]
    fn moment(&self) -> Moment {
        let utc = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let monotonic = self.0.elapsed().as_millis();
        Moment {
            utc: utc.map(|since| Timestamp(since.as_secs())),
            monotonic: u64::try_from(monotonic).unwrap_or(u64::MAX),
        }
    }
}
