//! What the rules say about a fleet, by times and words alone: it knows no certificate, no signature and no program.

use std::collections::BTreeMap;

use crate::scenarios::world::DAY;

/// How long a license is good.
pub(crate) const LASTS: u64 = 400 * DAY;
/// How long a device's certificate is good. In the last third of that it is renewed at the next occasion.
pub(crate) const CERTIFIED: u64 = 365 * DAY;
/// How long before its end a license is renewed.
const AHEAD: u64 = 60 * DAY;

/// Numbers that look like chance and are the same each time (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    /// One of so many places.
    pub(crate) fn place(&mut self, places: usize) -> usize {
        let place = self.below(places.try_into().unwrap());
        place.try_into().unwrap()
    }

    pub(crate) fn one_in(&mut self, sides: u64) -> bool {
        self.below(sides) == 0
    }
}

/// How the operator revokes a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revocation {
    /// By itself, for good.
    Device,
    /// Its certificate.
    Certificate,
    /// Its model; exempt certificates are not meant.
    Model,
}

/// What a device gets that asks for a license.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    License,
    /// It is revoked, and is told so.
    Revoked,
    /// Its certificate has ended.
    EnrolAgain,
}

/// What is true of a device.
#[derive(Debug, Default)]
pub(crate) struct Device {
    /// Its licenses end when it knows that it is revoked.
    stops: bool,
    /// Its certificate is exempt from what is said of its model.
    pub(crate) exempt: bool,
    pub(crate) revoked: Option<Revocation>,
    /// It was told that it is revoked, and nothing else since.
    told: bool,
    certificate_ends: u64,
    /// When the licenses of each title end.
    licenses: BTreeMap<usize, Vec<u64>>,
    /// When what a thief gave out ends.
    loot: BTreeMap<usize, u64>,
    /// It has heard of the thief.
    knows_thief: bool,
}

impl Device {
    pub(crate) fn new(stops: bool) -> Self {
        Self {
            stops,
            ..Self::default()
        }
    }

    pub(crate) fn enrols(&mut self, now: u64) {
        self.certificate_ends = now + CERTIFIED;
        self.exempt = false;
    }

    pub(crate) fn is_certified(&self, now: u64) -> bool {
        now <= self.certificate_ends
    }

    pub(crate) fn is_in_last_third(&self, now: u64) -> bool {
        self.is_certified(now) && self.certificate_ends - now < CERTIFIED / 3
    }

    pub(crate) fn is_revoked(&self) -> bool {
        match self.revoked {
            Some(Revocation::Model) => !self.exempt,
            revoked => revoked.is_some(),
        }
    }

    /// It asks the operator's server for a title.
    pub(crate) fn asks(&mut self, title: usize, (now, thief): (u64, bool)) -> Answer {
        if !self.is_certified(now) {
            return Answer::EnrolAgain;
        }
        // A certificate that follows another is exempt if that was.
        if self.is_in_last_third(now) && !self.is_revoked() {
            self.certificate_ends = now + CERTIFIED;
        }
        self.hears(thief);
        self.told = self.is_revoked();
        if self.told {
            return Answer::Revoked;
        }
        self.licenses.entry(title).or_default().push(now + LASTS);
        Answer::License
    }

    /// It gets the revocation lists.
    pub(crate) fn hears(&mut self, thief: bool) {
        self.knows_thief |= thief;
    }

    /// The thief answers in the place of the server. Whether it gets a license by that.
    pub(crate) fn is_served_by_thief(&mut self, title: usize, now: u64) -> bool {
        if !self.knows_thief {
            self.loot.insert(title, now + LASTS);
        }
        !self.knows_thief
    }

    pub(crate) fn has_loot(&self) -> bool {
        !self.loot.is_empty()
    }

    fn holds(&self, title: usize, now: u64) -> bool {
        let mut ends = self.licenses.get(&title).into_iter().flatten();
        ends.any(|end| now < *end)
    }

    /// Whether a title plays.
    pub(crate) fn plays(&self, title: usize, now: u64) -> bool {
        let is_loot = self.loot.get(&title).is_some_and(|end| now < *end) && !self.knows_thief;
        (self.holds(title, now) || is_loot) && !(self.stops && self.told)
    }

    /// Whether it renews a title: what it has ends soon.
    pub(crate) fn renews(&self, title: usize, now: u64) -> bool {
        let last = self.licenses.get(&title).and_then(|ends| ends.iter().max());
        last.is_some_and(|end| *end < now + AHEAD)
    }

    /// Licenses that it was given.
    pub(crate) fn given(&self) -> usize {
        self.licenses.values().map(Vec::len).sum()
    }
}
