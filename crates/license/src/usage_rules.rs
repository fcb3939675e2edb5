//! The usage rules: one pure function that the server (before it issues), the client (before it
//! decrypts) and a person who asks "why" all call. Rule numbers are those of `spec/rules.md`.

use crate::{
    license::{LicenseBody, Right},
    time::Timestamp,
};

/// The device that wants to use a license, and its circumstances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// Security level from the device's certificate.
    pub security_level: u64,
    /// The time, if the host has a clock that may be used.
    pub now: Option<Timestamp>,
}

/// The answer to "may this be done now?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Yes; the answer holds until the given time, or for good.
    Allowed {
        /// When to ask again.
        until: Option<Timestamp>,
    },
    /// No, and why.
    Refused(Refusal),
}

/// Why a license does not permit an action now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// the right is not granted.
    #[error("the license does not grant this right")]
    RightNotGranted,
    /// the device's security level is too low.
    #[error("the license needs security level {needed}, this device has {actual}")]
    SecurityLevelTooLow {
        /// The license's minimum.
        needed: u64,
        /// The device's level.
        actual: u64,
    },
    /// the license is limited in time and there is no clock that may be used.
    #[error("the license is limited in time and the clock cannot be used")]
    NoUsableClock,
    /// the license is not valid yet.
    #[error("the license is not valid yet")]
    NotYetValid {
        /// When it will be.
        begin: Timestamp,
    },
    /// the license has ended.
    #[error("the license has ended")]
    Ended {
        /// When it did.
        end: Timestamp,
    },
}

impl Refusal {
    /// The rule's number in `spec/rules.md`.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::RightNotGranted => "R-001",
            Self::SecurityLevelTooLow { .. } => "R-002",
            Self::NoUsableClock => "R-003",
            Self::NotYetValid { .. } => "R-004",
            Self::Ended { .. } => "R-005",
        }
    }
}

/// Judges one license for one action.
#[must_use]
pub fn evaluate(license: &LicenseBody, host: &Host, action: Right) -> Decision {
    match judge(license, host, action) {
        Ok(until) => Decision::Allowed { until },
        Err(refusal) => Decision::Refused(refusal),
    }
}

fn judge(license: &LicenseBody, host: &Host, action: Right) -> Result<Option<Timestamp>, Refusal> {
    //
    if !license.rights.contains(&action) {
        return Err(Refusal::RightNotGranted);
    }
    //
    if let Some(needed) = license
        .minimum_security_level
        .filter(|needed| *needed > host.security_level)
    {
        return Err(Refusal::SecurityLevelTooLow {
            needed,
            actual: host.security_level,
        });
    }
    if !license.is_time_limited() {
        return Ok(None);
    }
    //
    let now = host.now.ok_or(Refusal::NoUsableClock)?;
    //
    if let Some(begin) = license.begin.filter(|begin| now < *begin) {
        return Err(Refusal::NotYetValid { begin });
    }
    //
    if let Some(end) = license.end.filter(|end| now >= *end) {
        return Err(Refusal::Ended { end });
    }
    Ok(license.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{DeviceId, Kid, LicenseId},
        license::{Binding, KeyDescription, KeyType, LicenseKind},
    };

    fn license(begin: Option<u64>, end: Option<u64>, level: Option<u64>) -> LicenseBody {
        LicenseBody {
            version: 1,
            id: LicenseId::new([1; 16]),
            kind: LicenseKind::Simple,
            keys: vec![KeyDescription {
                kid: Kid::new([2; 16]),
                key_type: KeyType::File,
                algorithm: None,
                operation: None,
            }],
            binding: Binding::device(&DeviceId::new([3; 32])),
            issued: Timestamp(0),
            persistent: true,
            nonce: None,
            rights: vec![Right::Play],
            begin: begin.map(Timestamp),
            end: end.map(Timestamp),
            minimum_security_level: level,
            name: None,
        }
    }

    fn at(now: impl Into<Option<u64>>) -> Host {
        Host {
            security_level: 2000,
            now: now.into().map(Timestamp),
        }
    }

    #[test]
    fn r_001_a_right_must_be_granted() {
        let none = LicenseBody {
            rights: vec![],
            ..license(None, None, None)
        };
        assert_eq!(
            evaluate(&none, &at(1), Right::Play),
            Decision::Refused(Refusal::RightNotGranted)
        );
    }

    #[test]
    fn r_002_the_security_level_must_suffice() {
        let refused = Refusal::SecurityLevelTooLow {
            needed: 3000,
            actual: 2000,
        };
        assert_eq!(
            evaluate(&license(None, None, Some(3000)), &at(1), Right::Play),
            Decision::Refused(refused)
        );
        let allowed = Decision::Allowed { until: None };
        assert_eq!(
            evaluate(&license(None, None, Some(2000)), &at(None), Right::Play),
            allowed
        );
    }

    #[test]
    fn r_003_a_time_limit_needs_a_clock() {
        for (begin, end) in [(Some(1), None), (None, Some(9)), (Some(1), Some(9))] {
            let decision = evaluate(&license(begin, end, None), &at(None), Right::Play);
            assert_eq!(decision, Decision::Refused(Refusal::NoUsableClock));
        }
    }

    #[test]
    fn r_004_and_r_005_the_window_is_half_open() {
        let license = license(Some(10), Some(20), None);
        let expected = [
            (
                9,
                Decision::Refused(Refusal::NotYetValid { begin: Timestamp(10) }),
            ),
            (
                10,
                Decision::Allowed {
                    until: Some(Timestamp(20)),
                },
            ),
            (
                19,
                Decision::Allowed {
                    until: Some(Timestamp(20)),
                },
            ),
            (20, Decision::Refused(Refusal::Ended { end: Timestamp(20) })),
        ];
        for (now, decision) in expected {
            assert_eq!(evaluate(&license, &at(now), Right::Play), decision, "at {now}");
        }
    }

    #[test]
    fn refusals_name_their_rule_and_say_why() {
        let refusals = [
            Refusal::RightNotGranted,
            Refusal::SecurityLevelTooLow {
                needed: 3000,
                actual: 150,
            },
            Refusal::NoUsableClock,
            Refusal::NotYetValid { begin: Timestamp(1) },
            Refusal::Ended { end: Timestamp(1) },
        ];
        let lines: Vec<_> = refusals
            .iter()
            .map(|refusal| format!("{} {refusal}", refusal.rule()))
            .collect();
        assert_eq!(
            lines.join("\n"),
            "R-001 the license does not grant this right\n\
            R-002 the license needs security level 3000, this device has 150\n\
            R-003 the license is limited in time and the clock cannot be used\n\
            R-004 the license is not valid yet\n\
            R-005 the license has ended"
        );
    }
}
