//! Which lists stay where there is not room for all.

use keyward_crypto::x509::{Certificate, Role};

use super::{ListFault, OfCertificates, OfDevices, RevocationLists};
use crate::time::Timestamp;

/// What a list is worth where room is short, the highest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Root,
    /// Of an authority that certifies servers, maybe others as well.
    Servers,
    /// The device revocation list.
    Own,
    /// Of an authority that certifies devices or packagers alone, and has certified the device that holds it.
    Chain,
    /// Of another authority that certifies devices or packagers alone.
    Parties,
}

/// Where a list is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Certificates(usize),
    Devices,
}

/// What decides about the room of one list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight {
    rank: Rank,
    authority_begins: u64,
    next_update: u64,
    size: usize,
}

impl Weight {
    /// Whether this list may go for `other` at `now` (seconds UTC).
    fn yields_to(&self, other: &Self, now: u64) -> bool {
        let is_outlived = self.next_update <= now && self.authority_begins < other.authority_begins;
        self.rank > other.rank || (self.rank == other.rank && is_outlived)
    }
}

impl RevocationLists {
    /// Which lists go for this one: those of the lowest rank first, of these the one whose next update is the longest
    /// past.
    pub(super) fn room_for(
        &self,
        new: &Weight,
        replaced: Option<Place>,
        now: Timestamp,
    ) -> Result<Vec<Place>, ListFault> {
        let held = self.weights().filter(|(place, _)| Some(*place) != replaced);
        let held: Vec<_> = held.collect();
        let mut count = held.len().saturating_add(1);
        let mut bytes = held
            .iter()
            .fold(new.size, |bytes, (_, held)| bytes.saturating_add(held.size));
        let mut yielding = held;
        yielding.retain(|(_, held)| held.yields_to(new, now.0));
        yielding.sort_by_key(|(_, held)| (core::cmp::Reverse(held.rank), held.next_update));
        let (mut yielding, mut gone) = (yielding.into_iter(), Vec::new());
        while bytes > self.bounds.bytes || count > self.bounds.lists {
            let (place, held) = yielding.next().ok_or(ListFault::NoRoom)?;
            gone.push(place);
            count = count.saturating_sub(1);
            bytes = bytes.saturating_sub(held.size);
        }
        Ok(gone)
    }

    fn weights(&self) -> impl Iterator<Item = (Place, Weight)> {
        let certificates = self.certificates.iter().enumerate();
        let certificates = certificates.map(|(at, held)| (Place::Certificates(at), held.weight()));
        let devices = self.devices.iter().map(|held| (Place::Devices, held.weight()));
        certificates.chain(devices)
    }

    pub(super) fn remove(&mut self, gone: &[Place]) {
        let mut at = 0_usize;
        self.certificates.retain(|_| {
            let stays = !gone.contains(&Place::Certificates(at));
            at = at.saturating_add(1);
            stays
        });
        if gone.contains(&Place::Devices) {
            self.devices = None;
        }
    }
}

impl OfCertificates {
    pub(super) fn weight(&self) -> Weight {
        Weight {
            rank: self.rank,
            authority_begins: self.authority_begins,
            next_update: self.list.next_update(),
            size: self.wire.size(),
        }
    }
}

impl OfDevices {
    /// There is one such list, which has no authority to be earlier than another's.
    pub(super) fn weight(&self) -> Weight {
        Weight {
            rank: Rank::Own,
            authority_begins: 0,
            next_update: self.body.next_update.0,
            size: self.wire.size(),
        }
    }
}

/// Rank of the lists of an authority by its path, and when its certificate begins. One that is below an authority of
/// devices and packagers is no higher than that. `chain` has the keys of the device's authorities.
pub(super) fn rank_of(path: &[Vec<u8>], chain: &[[u8; 32]]) -> (Rank, u64) {
    let authorities: Vec<_> = path.iter().map(|der| Certificate::parse(der)).collect();
    let (begins, has_certified) = match authorities.first() {
        Some(Ok(authority)) => (
            authority.not_before(),
            chain.contains(&authority.public_key_digest()),
        ),
        _ => (0, false),
    };
    // An authority without roles may certify anything.
    let of_parties_alone = |roles: &[Role]| {
        let mut others = roles
            .iter()
            .filter(|role| !matches!(role, Role::Device | Role::Packager));
        !roles.is_empty() && others.next().is_none()
    };
    let of_parties = authorities
        .iter()
        .flatten()
        .any(|authority| of_parties_alone(authority.roles()));
    let rank = match (path.is_empty(), of_parties, has_certified) {
        (true, ..) => Rank::Root,
        (false, false, _) => Rank::Servers,
        (false, true, true) => Rank::Chain,
        (false, true, false) => Rank::Parties,
    };
    (rank, begins)
}
