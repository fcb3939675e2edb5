//! What goes along with the licenses that were asked for, to a client that takes it: the root's license of a leaf, and
//! other leaves of the root where the root says so.

use std::collections::BTreeSet;

use keyward_license::{ids::Kid, time::Timestamp};

use super::decide::{Decided, Decisions, decide};
use crate::{
    Error, authenticate::Authenticated, entitle::Entitled, roots::MAX_ALONG, server::Inner,
    store::roots::RootRow,
};

/// How many leaves that go along count as one request of the device.
const LEAVES_A_TURN: usize = 64;

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
    let (mut room, mut leaves) = (MAX_ALONG, Decisions::new());
    for (root, of_root) in roots(decisions) {
        // Another source may deny a key by itself although it grants the root, and what nobody asked for is put
        // before no source.
        if root.accompany && room > 0 && server.rows_alone {
            for decided in others(server, asked, (&root, &of_root), now).await? {
                let kid = decided.entitled.key.kid;
                if room > 0 && present.insert(kid) {
                    room = room.saturating_sub(1);
                    leaves.push((kid, Ok(decided)));
                }
            }
        }
        if present.insert(root.kid)
            && let Ok(license) = decide(server, asked, of_root, now)?
        {
            decisions.push((root.kid, Ok(license)));
        }
    }
    // They cost what requests cost: a device that asks too often gets what it asked for, and no more.
    let turn = (asked.device, false);
    let admitted = leaves
        .chunks(LEAVES_A_TURN)
        .take_while(|_| server.rates.devices.admit(turn))
        .count();
    leaves.truncate(admitted.saturating_mul(LEAVES_A_TURN));
    decisions.append(&mut leaves);
    Ok(())
}

/// The roots of which there is a leaf, each once, with what their own licenses would be issued on.
fn roots(decisions: &Decisions) -> Vec<(RootRow, Entitled)> {
    let mut roots: Vec<(RootRow, Entitled)> = Vec::new();
    for decided in decisions
        .iter()
        .filter_map(|(_, decision)| decision.as_ref().ok())
    {
        if let Some((root, license)) = decided.root()
            && roots.iter().all(|(held, _)| held.kid != root.kid)
        {
            roots.push((root.clone(), license.entitled.under_same(root.key(), None, None)));
        }
    }
    roots
}

/// The other leaves of a root that the device can use.
async fn others(
    server: &Inner,
    asked: &Authenticated,
    (root, of_root): (&RootRow, &Entitled),
    now: Timestamp,
) -> Result<Vec<Decided>, Error> {
    let (keys, holdings) = server.store.accompanying(&root.kid, MAX_ALONG).await?;
    let mut leaves = Vec::with_capacity(keys.len());
    for (key, track) in keys {
        let under = holdings.roots_of(&key, track.as_ref());
        if !under.iter().any(|held| held.kid == root.kid) {
            continue;
        }
        let entitled = of_root.under_same(key, track, Some(root.clone()));
        leaves.extend(decide(server, asked, entitled, now)?.ok());
    }
    Ok(leaves)
}
