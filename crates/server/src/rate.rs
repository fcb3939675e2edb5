//! Rates: who asks more often than it may is told to come again.
//!
//! ```text
//!  address   every request, before anything is done for it     http::addresses
//!  service   a request that a named service carries instead    http::service
//!  device    a request that it signed, before it is decided    authenticate
//! ```
//! Each has a bucket of `burst` requests, filled up at `per_second`. Rates are whole numbers of requests in a
//! second, so that who was told to come again may come in a second at the latest.

use core::{hash::Hash, time::Duration};
use std::sync::Arc;

use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use keyward_license::ids::DeviceId;
use moka::{policy::EvictionPolicy, sync::Cache};

use crate::config::{Limits, Rate};

/// After this time, in seconds, who asked too often may ask again.
pub(crate) const RETRY_AFTER: &str = "1";

/// The rates of a license server, but for that of addresses.
pub(crate) struct Rates {
    pub(crate) devices: Limiter<Turn>,
    pub(crate) services: Limiter<String>,
    /// Addresses at the administration interface.
    pub(crate) administrators: Limiter<crate::http::addresses::Source>,
}

/// A device or packager, and whether it asks what was answered before. Who recorded a request can repeat it:
/// that must not use up what its device may ask.
pub(crate) type Turn = (DeviceId, bool);

impl Rates {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            devices: Limiter::new(limits.device_rate),
            services: Limiter::new(limits.service_rate),
            administrators: Limiter::new(limits.address_rate),
        }
    }
}

/// A rate that each key has for itself.
pub(crate) struct Limiter<K, C: Clock = MonotonicClock>(Option<Buckets<K, C>>);

struct Buckets<K, C: Clock> {
    quota: Quota,
    clock: C,
    held: Cache<K, Arc<Bucket<C>>>,
}

type Bucket<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

impl<K: Hash + Eq + Send + Sync + 'static> Limiter<K> {
    /// A limiter that lets everything pass if there is no rate.
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        Self::with_clock(rate, MonotonicClock)
    }
}

impl<K, C> Limiter<K, C>
where
    K: Hash + Eq + Send + Sync + 'static,
    C: Clock + Clone,
    Bucket<C>: Send + Sync + 'static,
{
    fn with_clock(rate: Option<Rate>, clock: C) -> Self {
        Self(rate.map(|rate| {
            let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
            // A bucket that nobody used for so long is full again: a new one in its place is the same.
            let full = quota
                .burst_size_replenished_in()
                .saturating_add(Duration::from_secs(1));
            let held = Cache::builder()
                .max_capacity(KEYS)
                .time_to_idle(full)
                .eviction_policy(EvictionPolicy::lru())
                .build();
            Buckets { quota, clock, held }
        }))
    }

    /// Counts a request of `key`, unless it is one too many.
    #[must_use]
    pub(crate) fn admit(&self, key: K) -> bool {
        self.0.as_ref().is_none_or(|buckets| {
            let fresh = || {
                Arc::new(RateLimiter::direct_with_clock(
                    buckets.quota,
                    buckets.clock.clone(),
                ))
            };
            buckets.held.get_with(key, fresh).check().is_ok()
        })
    }
}

/// Buckets held, about 300 bytes each. If more keys than these ask at once, those that asked least lately
/// start afresh.
const KEYS: u64 = 65_536;

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn a_key_may_ask_at_its_rate_and_not_at_anothers_cost() {
        let clock = FakeRelativeClock::default();
        let limiter = Limiter::with_clock(Rate::new(4, 3), clock.clone());
        let admitted = |key: u8| (0..10).filter(|_| limiter.admit(key)).count();
        assert_eq!(admitted(1), 3, "the burst");
        assert_eq!(admitted(1), 0);
        assert_eq!(admitted(2), 3, "another's is another's");
        clock.advance(Duration::from_millis(250));
        assert_eq!(admitted(1), 1, "one in a quarter of a second");
        clock.advance(Duration::from_secs(3600));
        assert_eq!(admitted(1), 3, "a rest brings the burst back, and no more");
    }

    #[test]
    fn after_the_time_that_is_told_there_is_room_for_one() {
        for per_second in [1, 3, 1000] {
            let clock = FakeRelativeClock::default();
            let limiter = Limiter::with_clock(Rate::new(per_second, 1), clock.clone());
            assert!(limiter.admit(()) && !limiter.admit(()));
            clock.advance(Duration::from_secs(RETRY_AFTER.parse().unwrap()));
            assert!(limiter.admit(()), "{per_second}");
        }
    }

    #[test]
    fn no_rate_is_no_bound() {
        let limiter = Limiter::new(None);
        assert!((0..100_000).all(|_| limiter.admit(1)));
    }

    #[test]
    fn what_is_held_is_bounded() {
        let limiter = Limiter::with_clock(Rate::new(1, 1), FakeRelativeClock::default());
        let keys = u32::try_from(KEYS).unwrap();
        assert!((0..keys + 5000).all(|key| limiter.admit(key)));
        let held = &limiter.0.as_ref().unwrap().held;
        held.run_pending_tasks();
        assert!(held.entry_count() <= KEYS, "{}", held.entry_count());
        // Who asked last is still known.
        assert!(!limiter.admit(keys + 4999));
    }
}
