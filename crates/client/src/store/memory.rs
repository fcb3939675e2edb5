//! A store in memory: for tests, for hosts without a disk, and as the model of what a host does.

use std::collections::BTreeMap;

use super::{Batch, RecordKey};

/// Records and epoch file in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    records: BTreeMap<RecordKey, Vec<u8>>,
    epoch: Option<Vec<u8>>,
}

impl MemoryStore {
    /// Reads records, in the order asked for.
    #[must_use]
    pub fn get(&self, keys: &[RecordKey]) -> Vec<Option<Vec<u8>>> {
        keys.iter().map(|key| self.records.get(key).cloned()).collect()
    }

    /// Carries out a batch.
    pub fn commit(&mut self, batch: Batch) {
        for key in &batch.deletes {
            self.records.remove(key);
        }
        self.records.extend(batch.puts);
        self.epoch = Some(batch.epoch);
    }

    /// The epoch file, for opening a client.
    #[must_use]
    pub fn epoch(&self) -> Option<&[u8]> {
        self.epoch.as_deref()
    }

    /// The records themselves, for hosts that persist them in their own way and for tests that play the
    /// attacker.
    pub const fn records_mut(&mut self) -> &mut BTreeMap<RecordKey, Vec<u8>> {
        &mut self.records
    }
}
