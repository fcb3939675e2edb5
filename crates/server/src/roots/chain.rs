//! What the account may have through roots.
//!
//! ```text
//!  key ids asked for ─► which are roots? under which roots are the others? ─► handlers are asked about all of these
//!                                                                                  │
//!  key id decided by itself ◄───────────────────────────────────────────────────────┤
//!  otherwise its roots that were granted: a leaf under one of them ◄────────────────┘
//! ```

use std::collections::{BTreeSet, HashMap};

use keyward_license::{ids::Kid, time::Timestamp};

use crate::{
    Error,
    server::Inner,
    store::{
        RightRow,
        roots::{Holdings, RootRow},
    },
};

/// Most roots that are put before the handlers beside the key ids of a request.
const MAX_CONSIDERED: usize = 256;

/// The roots that a request has to do with.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    /// Those that the request does not name itself, as key ids.
    pub(crate) beside: Vec<(Kid, RightRow)>,
    rows: HashMap<Kid, RootRow>,
    /// The roots of each key, those that are asked for first.
    under: HashMap<Kid, Vec<Kid>>,
}

impl Chains {
    /// A root.
    pub(crate) fn root(&self, kid: &Kid) -> Option<&RootRow> {
        self.rows.get(kid)
    }

    /// The roots under which the key of a key id has a leaf, in the order in which they are tried.
    pub(crate) fn of(&self, kid: &Kid) -> &[Kid] {
        self.under.get(kid).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Finds the roots. What is found of those that the request names is put with its key ids.
pub(crate) async fn find(
    server: &Inner,
    account: i64,
    asked: &mut [(Kid, RightRow)],
    now: Timestamp,
) -> Result<Chains, Error> {
    let chained: Vec<_> = asked.iter().filter(|(_, right)| right.chained).collect();
    if chained.is_empty() {
        return Ok(Chains::default());
    }
    let found = server.store.chains(account, &chained, now).await?;
    let mut grants: HashMap<Kid, _> = found
        .holdings
        .roots
        .iter()
        .map(|root| root.kid)
        .zip(found.grants)
        .collect();
    for (kid, right) in asked.iter_mut() {
        if let Some(root) = found.holdings.root(kid) {
            right.key = Some(root.key());
            right.grant = grants.remove(kid).flatten();
        }
    }
    let mut chains = chains(asked, &found.holdings);
    for (kid, right) in &mut chains.beside {
        right.grant = grants.remove(kid).flatten();
    }
    Ok(chains)
}

fn chains(asked: &[(Kid, RightRow)], holdings: &Holdings) -> Chains {
    let named: BTreeSet<Kid> = asked.iter().map(|(kid, _)| *kid).collect();
    let mut chains = Chains::default();
    let rows = asked.iter().filter_map(|(kid, _)| holdings.root(kid));
    chains.rows.extend(rows.map(|root| (root.kid, root.clone())));
    for (kid, right) in asked {
        let Some(key) = right.key.as_ref().filter(|key| key.key_type.is_for_content()) else {
            continue;
        };
        let mut under = Vec::new();
        for root in holdings.roots_of(key, right.track.as_ref()) {
            if chains.take(root) {
                under.push(root.kid);
            }
        }
        under.sort_by_key(|root| !named.contains(root));
        chains.under.insert(*kid, under);
    }
    chains
}

impl Chains {
    /// Considers a root, if it is not one too many.
    fn take(&mut self, root: &RootRow) -> bool {
        if self.rows.contains_key(&root.kid) {
            return true;
        }
        if self.beside.len() >= MAX_CONSIDERED {
            tracing::warn!(root = %root.kid, "the keys of one request are under too many roots");
            return false;
        }
        let right = RightRow {
            key: Some(root.key()),
            ..RightRow::default()
        };
        self.beside.push((root.kid, right));
        self.rows.insert(root.kid, root.clone());
        true
    }
}
