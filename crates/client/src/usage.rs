//! What the use of licenses leaves behind: first plays in the licenses' records, and the clock's floor.

use keyward_license::{codec::Wire, time::Timestamp};
use rand_core::CryptoRng;

use crate::{
    Client, ClientError,
    choose::{Chosen, Place},
    clock,
    device::KeyStore,
    flow::Io,
    store::{LicenseRecord, Write},
};

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// first plays are committed to the licenses' own records, of a chain the root's, before a key is released,
    /// in one commit with the clock's floor. Licenses in memory keep theirs there.
    pub(crate) async fn record_use(
        &mut self,
        io: &Io,
        chosen: &[Chosen],
        now: Option<Timestamp>,
    ) -> Result<(), ClientError> {
        let mut writes = Vec::new();
        for Chosen { candidate, allowed } in chosen {
            let begins = allowed.first_play.is_some() && allowed.first_play != candidate.recorded.first_play;
            if let (Place::Store(key, record), true) = (&candidate.place, begins) {
                let record = LicenseRecord {
                    first_play: allowed.first_play,
                    ..record.clone()
                };
                let due = candidate.records().removal_date;
                // Several keys may have been opened under one root.
                if writes.iter().all(|write: &Write| write.key() != key) {
                    writes.push(Write::PutUntil(*key, record.encode(), due));
                }
            }
        }
        let is_limited = |chosen: &Chosen| chosen.candidate.records().is_time_limited();
        let floor = now.filter(|now| {
            let is_due = clock::floor_is_due(self.host.clock, &self.store.head().clock, *now);
            is_due && chosen.iter().any(is_limited)
        });
        if floor.is_some() || !writes.is_empty() {
            self.commit_use(io, writes, floor).await?;
        }
        for Chosen { candidate, allowed } in chosen {
            let (id, first_play) = (candidate.records().id, allowed.first_play);
            let mut held = self.memory.iter_mut();
            if let (Place::Memory, Some(held)) = (&candidate.place, held.find(|held| held.id == id)) {
                held.recorded.first_play = first_play.or(held.recorded.first_play);
            }
        }
        Ok(())
    }

    /// the floor, if it has risen by enough.
    pub(crate) async fn store_floor(&mut self, io: &Io, now: Option<Timestamp>) -> Result<(), ClientError> {
        match now {
            Some(now) if clock::floor_is_due(self.host.clock, &self.store.head().clock, now) => {
                self.commit_use(io, Vec::new(), Some(now)).await
            }
            _ => Ok(()),
        }
    }

    /// Commits what use leaves behind, and the floor if there is one to store.
    pub(crate) async fn commit_use(
        &mut self,
        io: &Io,
        writes: Vec<Write>,
        floor: Option<Timestamp>,
    ) -> Result<(), ClientError> {
        let kind = self.host.clock;
        let settle = |head: &mut crate::store::Head| {
            if let Some(now) = floor {
                clock::settle(kind, &mut head.clock, now);
            }
        };
        self.store.commit(io, &mut self.rng, writes, settle).await
    }
}
