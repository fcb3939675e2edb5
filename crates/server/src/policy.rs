//! Policies: named, versioned terms from which the body of a license is made.

use keyward_license::{
    certificate::{SECURITY_LEVEL_HARDWARE, SECURITY_LEVEL_SOFTWARE, SECURITY_LEVEL_TEST},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// The terms that a policy gives to licenses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyTerms {
    /// A license begins this many seconds after it is issued (before, if negative). Without: at once,
    /// and no clock is needed to begin.
    #[serde(default)]
    pub begin_offset_seconds: Option<i64>,
    /// A license ends this many seconds after it is issued or begins, whichever is later. Without:
    /// never.
    #[serde(default)]
    pub duration_seconds: Option<u64>,
    /// Whether a client may store the license if it wants to; otherwise it lives in memory.
    pub persistent_allowed: bool,
    /// Smallest security level of a device: 150, 2000 or 3000.
    pub minimum_security_level: u64,
}

/// One version of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Its version, from 1.
    pub version: u64,
    /// The terms.
    #[serde(flatten)]
    pub terms: PolicyTerms,
}

/// Why terms do not make a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFault {
    /// The name is empty, too long, or of other letters.
    #[error("its name must be 1 to 64 of the letters a-z, digits, `-` and `_`")]
    Name,
    /// A duration of nothing, or beyond a century.
    #[error("its duration must be 1 second to 100 years")]
    Duration,
    /// A begin more than ten years away.
    #[error("its begin must be within 10 years of the issue")]
    Begin,
    /// No such security level.
    #[error("its minimum security level must be 150, 2000 or 3000")]
    SecurityLevel,
    /// In-memory licenses end with their session, so that one that begins later is never of use.
    #[error("a license that begins after its issue must be allowed to be stored")]
    LaterInMemory,
}

/// When a license begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Not usable before.
    pub begin: Option<Timestamp>,
    /// Not usable from this time on.
    pub end: Option<Timestamp>,
}

impl PolicyTerms {
    /// The policy `default`: thirty days, five minutes of tolerance for clocks that are behind, may be
    /// stored, no devices whose keys anybody could read.
    pub const DEFAULT: Self = Self {
        begin_offset_seconds: Some(-300),
        duration_seconds: Some(30 * DAY),
        persistent_allowed: true,
        minimum_security_level: SECURITY_LEVEL_SOFTWARE,
    };

    /// Checks that licenses under these terms can be of use.
    ///
    /// # Errors
    /// [`PolicyFault`].
    pub const fn check(&self) -> Result<(), PolicyFault> {
        if let Some(duration) = self.duration_seconds
            && (duration == 0 || duration > 100 * YEAR)
        {
            return Err(PolicyFault::Duration);
        }
        if let Some(offset) = self.begin_offset_seconds
            && offset.unsigned_abs() > 10 * YEAR
        {
            return Err(PolicyFault::Begin);
        }
        if !is_security_level(self.minimum_security_level) {
            return Err(PolicyFault::SecurityLevel);
        }
        match self.begin_offset_seconds {
            Some(1..) if !self.persistent_allowed => Err(PolicyFault::LaterInMemory),
            _ => Ok(()),
        }
    }

    /// When a license that is issued at `issued` begins and ends.
    #[must_use]
    pub fn window(&self, issued: Timestamp) -> Window {
        let begin = self.begin_offset_seconds.map(|offset| match offset {
            0.. => issued.plus(offset.unsigned_abs()),
            _ => issued.minus(offset.unsigned_abs()),
        });
        let counted_from = begin.map_or(issued, |begin| begin.max(issued));
        Window {
            begin,
            end: self.duration_seconds.map(|duration| counted_from.plus(duration)),
        }
    }
}

/// Name of the policy that every operator starts with.
pub const DEFAULT_POLICY: &str = "default";

/// Whether `level` is one of the security levels.
#[must_use]
pub const fn is_security_level(level: u64) -> bool {
    matches!(
        level,
        SECURITY_LEVEL_TEST | SECURITY_LEVEL_SOFTWARE | SECURITY_LEVEL_HARDWARE
    )
}

pub(crate) fn check_name(name: &str) -> Result<(), PolicyFault> {
    let letters = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
    if letters && (1..=64).contains(&name.len()) {
        Ok(())
    } else {
        Err(PolicyFault::Name)
    }
}

const DAY: u64 = 86_400;
const YEAR: u64 = 365 * DAY;

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(begin: Option<i64>, duration: Option<u64>) -> PolicyTerms {
        PolicyTerms {
            begin_offset_seconds: begin,
            duration_seconds: duration,
            ..PolicyTerms::DEFAULT
        }
    }

    #[test]
    fn a_window_counts_from_the_later_of_issue_and_begin() {
        let at = |begin: Option<u64>, end: Option<u64>| Window {
            begin: begin.map(Timestamp),
            end: end.map(Timestamp),
        };
        let cases = [
            (terms(None, None), at(None, None)),
            (terms(None, Some(60)), at(None, Some(1060))),
            (terms(Some(-300), Some(60)), at(Some(700), Some(1060))),
            (terms(Some(500), Some(60)), at(Some(1500), Some(1560))),
            (terms(Some(-5000), None), at(Some(0), None)),
        ];
        for (terms, window) in cases {
            assert_eq!(terms.window(Timestamp(1000)), window, "{terms:?}");
        }
    }

    #[test]
    fn impossible_terms_are_refused() {
        let default = PolicyTerms::DEFAULT;
        let in_memory = PolicyTerms {
            persistent_allowed: false,
            ..terms(Some(1), None)
        };
        let cases = [
            (default.clone(), Ok(())),
            (terms(None, Some(0)), Err(PolicyFault::Duration)),
            (terms(None, Some(u64::MAX)), Err(PolicyFault::Duration)),
            (terms(Some(i64::MIN), None), Err(PolicyFault::Begin)),
            (
                PolicyTerms {
                    minimum_security_level: 1000,
                    ..default.clone()
                },
                Err(PolicyFault::SecurityLevel),
            ),
            (in_memory, Err(PolicyFault::LaterInMemory)),
            (
                PolicyTerms {
                    persistent_allowed: false,
                    ..terms(Some(0), None)
                },
                Ok(()),
            ),
        ];
        for (terms, expected) in cases {
            assert_eq!(terms.check(), expected, "{terms:?}");
        }
        for name in ["", "Rental", "a b", &"a".repeat(65)] {
            assert_eq!(check_name(name), Err(PolicyFault::Name), "{name}");
        }
        assert_eq!(check_name("rental-48h"), Ok(()));
    }
}
