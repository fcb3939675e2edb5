//! What goes along with the licenses that were asked for, to a client that takes it: the root's license of a leaf, and
//! other leaves of the root where the root says so.

use std::{collections::BTreeSet, sync::Arc};

use keyward_license::{ids::Kid, time::Timestamp};

use super::decide::{Decided, Decisions, decide, decide_leaf};
use crate::{
    Error, authenticate::Authenticated, entitle::Entitled, roots::MAX_ALONG, server::Inner,
    store::roots::RootRow,
};

/// Adds it to what was decided. What the device could not use does not go along.
pub(super) async fn add(
    server: &Inner,
    asked: &Authenticated,
    decisions: &mut Decisions,
    now: Timestamp,
) -> Result<(), Error> {
    if asked.request.body().capabilities.more_licenses.is_none() {
        return Ok(());
    }
    let mut present: BTreeSet<Kid> = decisions.iter().map(|(kid, _)| *kid).collect();
    let mut allowance = Allowance::of(|| server.rates.devices.admit((asked.device, false)));
    let mut leaves = Decisions::new();
    for of_root in roots(decisions) {
        // Another source may deny a key by itself although it grants the root, and what nobody asked for is put
        // before no source.
        if of_root.row.accompany && server.rows_alone {
            let beside = (&mut present, &mut allowance);
            let others = others(server, asked, &of_root, beside, now).await?;
            leaves.extend(others.into_iter().map(|leaf| (leaf.entitled.key.kid, Ok(leaf))));
        }
        let kid = of_root.row.kid;
        if present.insert(kid)
            && let Ok(license) = decide(server, asked, of_root.entitled, now)?
        {
            decisions.push((kid, Ok(license)));
        }
    }
    decisions.append(&mut leaves);
    Ok(())
}

/// A root of which there is a leaf.
struct OfRoot {
    row: RootRow,
    /// What its own license would be issued on.
    entitled: Entitled,
    /// That license, for its leaves.
    license: Arc<Decided>,
}

/// The roots of which there is a leaf, each once.
fn roots(decisions: &Decisions) -> Vec<OfRoot> {
    let mut roots: Vec<OfRoot> = Vec::new();
    for decided in decisions
        .iter()
        .filter_map(|(_, decision)| decision.as_ref().ok())
    {
        if let Some((root, license)) = decided.root()
            && roots.iter().all(|held| held.row.kid != root.kid)
        {
            roots.push(OfRoot {
                row: root.clone(),
                entitled: license.entitled.under_same(root.key(), None, None),
                license: Arc::clone(license),
            });
        }
    }
    roots
}

/// The other leaves of a root that the device can use.
async fn others(
    server: &Inner,
    asked: &Authenticated,
    root: &OfRoot,
    (present, allowance): (&mut BTreeSet<Kid>, &mut Allowance<impl FnMut() -> bool>),
    now: Timestamp,
) -> Result<Vec<Decided>, Error> {
    let limit = allowance.limit();
    if limit == 0 {
        return Ok(Vec::new());
    }
    let of = root.row.kid;
    let (mut keys, holdings) = server.store.accompanying(&of, limit).await?;
    keys.retain(|(key, track)| {
        let mut under = holdings.roots_of(key, track.as_ref()).into_iter();
        !present.contains(&key.kid) && under.any(|held| held.kid == of)
    });
    keys.truncate(allowance.take(keys.len()));
    let mut leaves = Vec::with_capacity(keys.len());
    for (key, track) in keys {
        let kid = key.kid;
        let entitled = root.entitled.under_same(key, track, Some(root.row.clone()));
        let license = (of, Arc::clone(&root.license));
        if let Ok(leaf) = decide_leaf(asked, entitled, license, now)? {
            present.insert(kid);
            leaves.push(leaf);
        }
    }
    Ok(leaves)
}

/// How many leaves may go along. They cost what requests cost, and before they are looked up or decided: a device that
/// asks too often gets what it asked for, and no more.
struct Allowance<T> {
    /// Takes a turn of the device, if there is one.
    turn: T,
    /// What is left of [`MAX_ALONG`].
    room: usize,
    /// What is left of the turns that were taken.
    paid: usize,
}

impl<T: FnMut() -> bool> Allowance<T> {
    const fn of(turn: T) -> Self {
        Self {
            turn,
            room: MAX_ALONG,
            paid: 0,
        }
    }

    /// How many may be looked up: none, if there is no turn for one of them.
    fn limit(&mut self) -> usize {
        match self.paid_for(self.room.min(1)) {
            0 => 0,
            _ => self.room,
        }
    }

    /// How many of those that were found may be decided.
    fn take(&mut self, found: usize) -> usize {
        let taken = self.paid_for(found.min(self.room));
        self.room = self.room.saturating_sub(taken);
        self.paid = self.paid.saturating_sub(taken);
        taken
    }

    /// Takes as many turns as these leaves need, or as there are; for how many of them that is.
    fn paid_for(&mut self, leaves: usize) -> usize {
        while self.paid < leaves && (self.turn)() {
            self.paid = self.paid.saturating_add(LEAVES_A_TURN);
        }
        self.paid.min(leaves)
    }
}

/// How many leaves that go along count as one request of the device.
const LEAVES_A_TURN: usize = 64;

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    fn take(turns: &Cell<u32>) -> impl FnMut() -> bool {
        move || {
            let left = turns.get().checked_sub(1);
            left.is_some_and(|left| {
                turns.set(left);
                true
            })
        }
    }

    #[test]
    fn without_a_turn_nothing_is_looked_up() {
        let turns = Cell::new(1);
        assert_eq!(Allowance::of(take(&turns)).limit(), MAX_ALONG);
        assert_eq!(Allowance::of(take(&turns)).limit(), 0);
    }

    #[test]
    fn turns_are_taken_for_what_is_there_and_no_more() {
        let turns = Cell::new(9);
        let mut allowance = Allowance::of(take(&turns));
        for found in [3, 60, 1] {
            assert!(allowance.limit() > 0);
            assert_eq!(allowance.take(found), found);
            assert_eq!(turns.get(), 8);
        }
        assert_eq!(allowance.take(65), 65);
        assert_eq!(turns.get(), 6);

        turns.set(2);
        let mut allowance = Allowance::of(take(&turns));
        allowance.limit();
        assert_eq!(allowance.take(200), 2 * LEAVES_A_TURN);
        assert_eq!(allowance.limit(), 0);
    }

    #[test]
    fn no_more_are_looked_up_than_may_go_along() {
        let mut allowance = Allowance::of(|| true);
        assert_eq!(allowance.take(MAX_ALONG - 1), MAX_ALONG - 1);
        assert_eq!(allowance.limit(), 1);
        assert_eq!(allowance.take(9), 1);
        assert_eq!(allowance.limit(), 0);
    }
}
