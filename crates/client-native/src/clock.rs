//! Where the time comes from.

use core::time::Duration;
use std::{
    rc::Rc,
    time::{SystemTime, UNIX_EPOCH},
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

/// The operating system's clock. Its monotonic part counts while the machine sleeps: else whoever lets it sleep would
/// stop the time that a server told, and that of a playback.
#[derive(Debug)]
pub struct SystemClock(ticking::Origin);

impl SystemClock {
    /// Starts measuring.
    #[must_use]
    pub fn new() -> Self {
        Self(ticking::Origin::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

/// The clock that never steps and never sleeps.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
mod ticking {
    use super::Duration;
    use rustix::time::{ClockId, clock_gettime};

    #[cfg(not(target_vendor = "apple"))]
    const CLOCK: ClockId = ClockId::Boottime;
    /// There, this one counts while the machine sleeps.
    #[cfg(target_vendor = "apple")]
    const CLOCK: ClockId = ClockId::Monotonic;

    /// The moment from which on it is measured.
    #[derive(Debug)]
    pub(super) struct Origin(Duration);

    impl Origin {
        pub(super) fn now() -> Self {
            Self(read())
        }

        pub(super) fn elapsed(&self) -> Duration {
            read().saturating_sub(self.0)
        }
    }

    pub(super) fn read() -> Duration {
        let read = clock_gettime(CLOCK);
        let seconds = u64::try_from(read.tv_sec).unwrap_or_default();
        let nanoseconds = u64::try_from(read.tv_nsec).unwrap_or_default();
        Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanoseconds))
    }
}

/// What the standard library has. On Windows it counts while the machine sleeps.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
mod ticking {
    use super::Duration;
    use std::time::Instant;

    /// The moment from which on it is measured.
    #[derive(Debug)]
    pub(super) struct Origin(Instant);

    impl Origin {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is where the ambient clock enters the client"
        )]
        pub(super) fn now() -> Self {
            Self(Instant::now())
        }

        pub(super) fn elapsed(&self) -> Duration {
            self.0.elapsed()
        }
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;

    use super::*;

    /// Set in a process for which the machine has slept for ten years.
    const SLEPT: &str = "KEYWARD_TEST_SLEPT";

    const TEN_YEARS: u64 = 315_360_000;

    /// A time namespace tells its processes that the machine has slept, and changes no other clock.
    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's own process is told by its environment what it is for"
    )]
    fn it_counts_while_the_machine_sleeps() {
        let time = ticking::read();
        if std::env::var_os(SLEPT).is_some() {
            assert!(time.as_secs() > TEN_YEARS, "{time:?}");
            return;
        }
        let inside = Command::new("unshare")
            .args(["--user", "--map-root-user", "--time", "--fork", "--boottime"])
            .arg(TEN_YEARS.to_string())
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "clock::tests::it_counts_while_the_machine_sleeps"])
            .env(SLEPT, "1")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&inside.stderr);
        if told.starts_with("unshare: ") && std::env::var_os("CI").is_none() {
            eprintln!("not tested, because there are no namespaces here: {told}");
            return;
        }
        assert!(
            inside.status.success(),
            "{told}{}",
            String::from_utf8_lossy(&inside.stdout)
        );
    }
}
