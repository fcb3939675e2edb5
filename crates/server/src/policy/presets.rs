//! Policies to begin with, one for each way in which content is usually offered.

use keyward_license::certificate::{SECURITY_LEVEL_SOFTWARE, SECURITY_LEVEL_TEST};

use super::{DAY, HOUR, MINUTE, PolicyFault, PolicyTerms, TOLERANCE};

/// A named set of terms. What a viewer experiences under each is in `docs/guides/policies.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// A month to begin, 48 hours to finish.
    Rental,
    /// The same from a stream: nothing is kept.
    RentalStreaming,
    /// As long as it is paid for, also without a network for a while.
    Subscription,
    /// Without end.
    Purchase,
    /// A channel: nothing is kept, and playback stops when the right does.
    Live,
    /// A minute at a time, to count who is playing.
    LimitedDuration,
    /// For devices whose keys anybody could read.
    Test,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 7] = [
        Self::Rental,
        Self::RentalStreaming,
        Self::Subscription,
        Self::Purchase,
        Self::Live,
        Self::LimitedDuration,
        Self::Test,
    ];

    /// Its name, which is that of the policy it makes unless another is given.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rental => "rental",
            Self::RentalStreaming => "rental-streaming",
            Self::Subscription => "subscription",
            Self::Purchase => "purchase",
            Self::Live => "live",
            Self::LimitedDuration => "limited-duration",
            Self::Test => "test",
        }
    }

    /// What it is for, in one line.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::Rental => "stored; 30 days to begin, 48 hours from the first play",
            Self::RentalStreaming => "in memory; for 48 hours, as long as the entitlement lasts",
            Self::Subscription => "stored; 30 days and 3 more to renew",
            Self::Purchase => "stored; without end, and without a clock",
            Self::Live => "in memory; 6 hours and 10 minutes to renew, then playback stops",
            Self::LimitedDuration => "in memory; renewed after 30 seconds, playback stops after 60",
            Self::Test => "stored; one day, on test devices too",
        }
    }

    /// The preset of a name.
    ///
    /// # Errors
    /// [`PolicyFault::Preset`].
    pub fn from_name(name: &str) -> Result<Self, PolicyFault> {
        let mut all = Self::ALL.into_iter();
        all.find(|preset| preset.name() == name)
            .ok_or_else(|| PolicyFault::Preset(name.to_owned()))
    }

    /// Its terms.
    #[must_use]
    pub fn terms(self) -> PolicyTerms {
        let software = PolicyTerms::of_level(SECURITY_LEVEL_SOFTWARE);
        match self {
            Self::Rental => PolicyTerms {
                begin_offset_seconds: Some(-TOLERANCE),
                duration_seconds: Some(30 * DAY),
                expiration_after_first_play_seconds: Some(48 * HOUR),
                removal_after_end_seconds: Some(0),
                ..software
            },
            Self::RentalStreaming => PolicyTerms {
                begin_offset_seconds: Some(-TOLERANCE),
                duration_seconds: Some(48 * HOUR),
                persistent_allowed: false,
                ..software
            },
            Self::Subscription => PolicyTerms {
                begin_offset_seconds: Some(-TOLERANCE),
                duration_seconds: Some(30 * DAY),
                grace_period_seconds: Some(3 * DAY),
                removal_after_end_seconds: Some(0),
                ..software
            },
            Self::Purchase => software,
            Self::Live => PolicyTerms {
                begin_offset_seconds: Some(-TOLERANCE),
                duration_seconds: Some(6 * HOUR),
                grace_period_seconds: Some(10 * MINUTE),
                real_time_expiration: true,
                persistent_allowed: false,
                ..software
            },
            Self::LimitedDuration => PolicyTerms {
                duration_seconds: Some(30),
                grace_period_seconds: Some(30),
                real_time_expiration: true,
                persistent_allowed: false,
                ..software
            },
            Self::Test => PolicyTerms {
                duration_seconds: Some(DAY),
                ..PolicyTerms::of_level(SECURITY_LEVEL_TEST)
            },
        }
    }
}
