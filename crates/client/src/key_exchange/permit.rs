//! what a handle judges its license by, at every call and without the client.

use std::sync::Arc;

use keyward_license::{
    ids::Digest,
    time::Timestamp,
    usage_rules::{Action, Allowed, Host, Understood, Usage, evaluate},
};

use crate::{
    choose::{self, Stop},
    clock::{Clocked, Pace},
    enforce::has_come,
    flow::Moment,
    verified::TrustedLicense,
};

/// Seconds after which a handle asks its client to keep up, so that the clock's floor is stored.
const KEEPS_UP_EVERY: u64 = 60;

/// The terms of a license, and what is known of the device and the time.
pub(super) struct Permit {
    pub(super) license: Arc<TrustedLicense>,
    /// Whose license server signed it.
    pub(super) operator: Digest,
    level: u64,
    /// from when on the device is revoked, as far as is known.
    revoked_from: Option<Timestamp>,
    extended: Vec<Understood>,
    pace: Pace,
    /// The latest time that a call was judged at.
    pub(super) seen: Option<Timestamp>,
    /// When the client was asked last.
    kept_up: Option<Timestamp>,
    pub(super) allowed: Option<Allowed>,
}

impl Permit {
    pub(super) fn new(license: Arc<TrustedLicense>, operator: Digest) -> Self {
        Self {
            license,
            operator,
            level: 0,
            revoked_from: None,
            extended: Vec::new(),
            pace: Pace::default(),
            seen: None,
            kept_up: None,
            allowed: None,
        }
    }

    /// Takes in what the client knows now.
    pub(super) fn keep_up(
        &mut self,
        (level, revoked_from): (u64, Option<Timestamp>),
        extended: &[Understood],
        clocked: Clocked,
        moment: Moment,
    ) {
        (self.level, self.revoked_from) = (level, revoked_from);
        self.extended = extended.to_vec();
        self.pace.see(clocked, moment);
        self.kept_up = self.pace.now(moment);
    }

    /// May a call be made now? The time of one call is the least that the next one can have.
    pub(super) fn judge(&mut self, moment: Moment) -> Result<(), Stop> {
        let now = self.pace.advance(moment);
        self.seen = self.seen.max(now);
        let host = Host {
            extended: &self.extended,
            revoked: has_come(self.revoked_from, now),
            ..Host::of_level(self.level)
        };
        let decision = evaluate(
            &[self.license.body()],
            &Usage::default(),
            &host,
            Action::Perform,
            now,
        );
        self.allowed = Some(choose::judged(decision)?);
        Ok(())
    }

    /// Whether the client has nothing to add to what is known here.
    pub(super) fn is_kept_up(&self, moment: Moment, extended: &[Understood]) -> bool {
        let in_time = match (self.pace.now(moment), self.kept_up) {
            _ if !self.license.body().is_time_limited() => true,
            (Some(now), Some(last)) => {
                let changes = self.allowed.as_ref().and_then(|allowed| allowed.changes_at);
                now < last.plus(KEEPS_UP_EVERY) && changes.is_none_or(|changes| now < changes)
            }
            _ => false,
        };
        in_time && self.extended == extended
    }
}
