//! Where licenses go that passed every check: the store, or memory, and what makes room for them.

use keyward_license::{
    codec::{Bytes, Wire},
    ids::Digest,
    time::Timestamp,
};
use rand_core::CryptoRng;

use super::Accepted;
use crate::{
    Client, ClientError, Held,
    device::KeyStore,
    flow::Io,
    store::{LicenseRecord, StoreBound, StoreLimits, Write},
};

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// V-039: installs a license that came with content. Where there is no room for it, it is not installed.
    pub(crate) async fn install_carried(
        &mut self,
        io: &Io,
        operator: Digest,
        accepted: &Accepted,
    ) -> Result<(), ClientError> {
        let mut writes = Vec::new();
        self.add_license(io, &operator, accepted, &mut writes).await?;
        let deleted: Vec<_> = writes.iter().filter_map(Write::deleted).collect();
        match self.store.commit(io, &mut self.rng, writes, |_| ()).await {
            Err(ClientError::StoreFull { .. }) => return Ok(()),
            other => other?,
        }
        self.end_displaced(&deleted);
        Ok(())
    }

    /// Adds a license to the writes, making room among those of the same key id.
    pub(super) async fn add_license(
        &self,
        io: &Io,
        operator: &Digest,
        license: &Accepted,
        writes: &mut Vec<Write>,
    ) -> Result<(), ClientError> {
        let key = self.store.license_key(&license.kid, &license.id())?;
        let now = self.now(io);
        let mut kept = self.store.licenses(io, &license.kid).await?;
        // the same license again takes its own place, and what was used of it stays used.
        let same = kept.iter().find(|(other, _)| *other == key);
        // Ids are random: who repeats one that another operator drew wants that one's license gone.
        if same.is_some_and(|(_, record)| record.operator != *operator) {
            return Err(ClientError::ResponseMismatch(
                "it brings a license with the id of another operator's",
            ));
        }
        let recorded = same.map(|(_, record)| record.recorded()).unwrap_or_default();
        kept.retain(|(other, _)| *other != key);
        let surplus = (kept.len() + 1).saturating_sub(self.store.limits().licenses_per_kid.max(1));
        if surplus > 0 {
            // What has ended goes first, then the oldest; one from before the clock was set counts as oldest.
            kept.sort_by_cached_key(|(_, record)| {
                let over = self.is_over(&record.operator, &record.license.0, now);
                (!over, record.installed)
            });
        }
        for (key, record) in kept.into_iter().take(surplus) {
            writes.push(Write::Delete(key));
            // what was begun does not begin anew. Others may come again.
            let license = self.verified(&record.operator, &record.license.0);
            if let Some(license) = license.filter(|_| record.recorded().is_begun()) {
                writes.extend(self.tombstone_of(&license)?);
            }
        }
        let record = LicenseRecord {
            license: Bytes(license.license.signed().to_vec()),
            operator: *operator,
            installed: now,
            first_play: recorded.first_play,
            uses: Some(recorded.uses).filter(|uses| !uses.is_empty()),
        };
        let due = license.license.body().removal_date;
        writes.push(Write::PutUntil(key, record.encode(), due));
        Ok(())
    }

    /// Whether a license can never be used again.
    fn is_over(&self, operator: &Digest, license: &[u8], now: Option<Timestamp>) -> bool {
        let end = self
            .verified(operator, license)
            .map(|license| license.body().usable_until());
        end.is_none_or(|end| end.zip(now).is_some_and(|(end, now)| now >= end))
    }

    /// Refuses more licenses in memory than there may be. Before that those go that have ended, then the oldest leaves:
    /// they record nothing, and come again.
    pub(super) fn make_room_in_memory(&mut self, io: &Io, accepted: &[Accepted]) -> Result<(), ClientError> {
        let coming = accepted.iter().filter(|license| !license.is_persistent()).count();
        let limit = self.store.limits().licenses_in_memory;
        if coming == 0 || self.memory.len().saturating_add(coming) <= limit {
            return Ok(());
        }
        let now = self.now(io);
        let mut held = core::mem::take(&mut self.memory);
        held.retain(|held| !self.is_over(&held.operator, &held.license, now));
        self.memory = held;
        let surplus = self.memory.len().saturating_add(coming).saturating_sub(limit);
        let leaves = self.memory.iter().filter(|held| held.is_leaf).count();
        let others = self.memory.len().saturating_sub(leaves);
        let count = others.saturating_add(coming);
        StoreLimits::check_count(count, limit, StoreBound::LicensesInMemory)?;
        let mut going = surplus;
        self.memory.retain(|held| {
            let goes = held.is_leaf && going > 0;
            going = going.saturating_sub(usize::from(goes));
            !goes
        });
        Ok(())
    }

    /// Keeps a license in memory. Of those of its key id one that has ended makes room, else the oldest.
    pub(super) fn hold(&mut self, mut license: Held, now: Option<Timestamp>) {
        // the same license again takes its own place, and what was used of it stays used.
        let is_same = |held: &Held| (held.id, held.operator) == (license.id, license.operator);
        if let Some(at) = self.memory.iter().position(is_same) {
            license.recorded = self.memory.remove(at).recorded;
        }
        let of_kid = |held: &Held| held.kid == license.kid;
        let count = self.memory.iter().filter(|held| of_kid(held)).count();
        if count >= self.store.limits().licenses_per_kid.max(1) {
            let mut held = self.memory.iter();
            let ended =
                held.position(|held| of_kid(held) && self.is_over(&held.operator, &held.license, now));
            let leaves = ended.or_else(|| self.memory.iter().position(of_kid));
            leaves.map(|at| self.memory.remove(at));
        }
        self.memory.push(license);
    }
}
