//! The server's time: one trait, so that tests and the one-process world set it.

use core::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use keyward_license::time::Timestamp;

/// Where the server reads the time.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn milliseconds(&self) -> u64;

    /// The time in whole seconds, as messages carry it.
    fn now(&self) -> Timestamp {
        Timestamp(self.milliseconds() / 1000)
    }
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// A clock before 1970 reads 0: every certificate is then not yet valid, and nothing is answered.
    fn milliseconds(&self) -> u64 {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place where the server reads the time"
        )]
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock that stands until it is set: for tests and simulations.
#[derive(Debug)]
pub struct SettableClock(AtomicU64);

impl SettableClock {
    /// A clock that reads `now`.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.0.saturating_mul(1000)))
    }

    /// Sets the time, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0.saturating_mul(1000), Ordering::SeqCst);
    }

    /// Moves the time forward.
    pub fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds.saturating_mul(1000), Ordering::SeqCst);
    }
}

impl Clock for SettableClock {
    fn milliseconds(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settable_clock_stands_until_it_is_set() {
        let clock = SettableClock::new(Timestamp(100));
        assert_eq!((clock.now(), clock.milliseconds()), (Timestamp(100), 100_000));
        clock.advance(5);
        assert_eq!(clock.now(), Timestamp(105));
        clock.set(Timestamp(7));
        assert_eq!(clock.now(), Timestamp(7));
    }

    #[test]
    fn the_system_clock_reads_this_century() {
        assert!(SystemClock.now() > Timestamp(1_700_000_000));
    }
}
