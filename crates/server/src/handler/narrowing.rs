//! Limits that make terms stricter, never looser.

use keyward_license::time::Timestamp;
use serde::{Deserialize, Deserializer};

use crate::policy::PolicyTerms;

/// Limits on terms. Each can only take something away: whoever may narrow a policy cannot widen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Narrowing {
    /// No license is used from this time on, in seconds since 1970-01-01T00:00:00Z.
    #[serde(deserialize_with = "seconds")]
    pub end: Option<Timestamp>,
    /// Licenses end at most this many seconds after they are issued or begin.
    pub duration_seconds: Option<u64>,
    /// And at most this many after their first play.
    pub expiration_after_first_play_seconds: Option<u64>,
    /// Licenses live in memory and are not stored.
    pub in_memory: bool,
    /// Devices of at least this security level.
    pub minimum_security_level: Option<u64>,
}

impl Narrowing {
    /// Nothing is narrowed.
    pub const NONE: Self = Self {
        end: None,
        duration_seconds: None,
        expiration_after_first_play_seconds: None,
        in_memory: false,
        minimum_security_level: None,
    };

    /// The terms, narrowed.
    #[must_use]
    pub fn of(&self, terms: PolicyTerms) -> PolicyTerms {
        let persistent_allowed = terms.persistent_allowed && !self.in_memory;
        let level = self.minimum_security_level.unwrap_or_default();
        PolicyTerms {
            end: least(terms.end, self.end),
            duration_seconds: least(terms.duration_seconds, self.duration_seconds),
            expiration_after_first_play_seconds: least(
                terms.expiration_after_first_play_seconds,
                self.expiration_after_first_play_seconds,
            ),
            persistent_allowed,
            embed: terms.embed && persistent_allowed,
            removal_after_end_seconds: terms.removal_after_end_seconds.filter(|_| persistent_allowed),
            minimum_security_level: terms.minimum_security_level.max(level),
            ..terms
        }
    }

    /// What both narrow by.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            end: least(self.end, other.end),
            duration_seconds: least(self.duration_seconds, other.duration_seconds),
            expiration_after_first_play_seconds: least(
                self.expiration_after_first_play_seconds,
                other.expiration_after_first_play_seconds,
            ),
            in_memory: self.in_memory || other.in_memory,
            minimum_security_level: self.minimum_security_level.max(other.minimum_security_level),
        }
    }
}

pub(crate) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(Option::deserialize(deserializer)?.map(Timestamp))
}

/// The smaller; what is absent does not limit.
fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    [one, other].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_become_stricter_and_never_looser() {
        let strict = PolicyTerms {
            duration_seconds: Some(100),
            expiration_after_first_play_seconds: Some(10),
            end: Some(Timestamp(1000)),
            removal_after_end_seconds: Some(7),
            ..PolicyTerms::of_level(2000)
        };
        let loose = Narrowing {
            end: Some(Timestamp(2000)),
            duration_seconds: Some(200),
            expiration_after_first_play_seconds: Some(20),
            in_memory: false,
            minimum_security_level: Some(150),
        };
        assert_eq!(loose.of(strict.clone()), strict);
        assert_eq!(Narrowing::NONE.of(strict.clone()), strict);
        let narrow = Narrowing {
            end: Some(Timestamp(500)),
            duration_seconds: Some(50),
            expiration_after_first_play_seconds: Some(5),
            in_memory: true,
            minimum_security_level: Some(3000),
        };
        let expected = PolicyTerms {
            duration_seconds: Some(50),
            expiration_after_first_play_seconds: Some(5),
            end: Some(Timestamp(500)),
            persistent_allowed: false,
            ..PolicyTerms::of_level(3000)
        };
        assert_eq!(narrow.of(strict), expected);
        assert_eq!(loose.and(narrow), narrow);
        assert_eq!(narrow.of(PolicyTerms::of_level(150)), expected);
    }
}
