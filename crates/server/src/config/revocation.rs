//! Revocation lists and acknowledgements.

use serde::Deserialize;

use super::{ConfigError, within};

/// How revocation lists are made and judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// Seconds until the next list is due at the latest. Half of it is the longest that a list goes unrenewed.
    pub lifetime: u64,
    /// Whether devices and packagers are refused of whom no current list tells whether they are revoked. Those that a
    /// list names are refused in any case.
    pub refuse_expired: bool,
}

/// What is asked of clients that acknowledge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Whether each answer with a license is to be acknowledged; otherwise those under policies that say so.
    pub wanted: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RevocationFile {
    lifetime_hours: u64,
    expired: Expired,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Expired {
    Accept,
    Refuse,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AcknowledgementFile {
    wanted: bool,
}

impl Default for RevocationFile {
    fn default() -> Self {
        Self {
            lifetime_hours: 168,
            expired: Expired::Accept,
        }
    }
}

impl RevocationFile {
    pub(super) fn validate(&self) -> Result<Revocation, ConfigError> {
        within(
            "revocation.lifetime_hours",
            self.lifetime_hours,
            1,
            8_784,
            "1 to 8784",
        )?;
        Ok(Revocation {
            lifetime: self.lifetime_hours.saturating_mul(3_600),
            refuse_expired: self.expired == Expired::Refuse,
        })
    }
}

impl AcknowledgementFile {
    pub(super) const fn validate(&self) -> Acknowledgement {
        Acknowledgement { wanted: self.wanted }
    }
}
