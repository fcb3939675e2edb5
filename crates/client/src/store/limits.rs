//! Bounds of what the store and the client's memory hold.

use super::records::Totals;
use crate::ClientError;

/// Most bytes that use adds to a license's record: its first play, or the uses of sixteen exchange keys.
const ROOM_FOR_USE: u64 = 512;

/// Bounds of one client. Each is checked before anything is written or held; what would exceed it ends with
/// [`ClientError::StoreFull`] and changes nothing, but for those that say who makes room.
///
/// A store that already holds more than a bound (the host has lowered it) opens, is used and shrinks as ever;
/// it only does not grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreLimits {
    /// Licenses in the store, of all operators and key ids. A million by default.
    pub licenses: u64,
    /// Bytes of their sealed records when they are stored. What use adds to them later (less than 64 bytes
    /// a license; up to 512 of one whose exchange keys have use limits), index and database come on top, together
    /// less than 400 bytes a license of content. 4 GiB by default.
    pub license_bytes: u64,
    /// Licenses in the store for one key id, and as many again in memory: one at least. Those that have ended
    /// make room first, then the oldest. 8 by default.
    pub licenses_per_kid: usize,
    /// Tombstones of removed licenses whose end has not come. A million by default.
    pub tombstones: u64,
    /// Requests that wait for their response: one at least. The oldest makes room. 64 by default.
    pub pending_requests: usize,
    /// Licenses in memory, of all key ids. Those that have ended make room first, then the oldest leaves. 1,024 by
    /// default, as many as one response may bring.
    pub licenses_in_memory: usize,
    /// Operators enrolled with. 64 by default.
    pub operators: usize,
    /// Versions of exchange keys whose messages are counted. A million by default.
    pub counted_keys: u64,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            licenses: 1_000_000,
            license_bytes: 4 << 30,
            licenses_per_kid: 8,
            tombstones: 1_000_000,
            pending_requests: 64,
            licenses_in_memory: 1_024,
            operators: 64,
            counted_keys: 1_000_000,
        }
    }
}

/// What a client holds of what is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreUsage {
    /// Licenses in the store.
    pub licenses: u64,
    /// Bytes of their sealed records.
    pub license_bytes: u64,
    /// Tombstones of removed licenses.
    pub tombstones: u64,
    /// Licenses in memory.
    pub licenses_in_memory: usize,
    /// Operators enrolled with.
    pub operators: usize,
    /// Versions of exchange keys whose messages are counted.
    pub counted_keys: u64,
}

impl StoreUsage {
    /// The bounds of which nine tenths are used up, each with its value.
    #[must_use]
    pub fn scarce(&self, limits: &StoreLimits) -> Vec<(StoreBound, u64)> {
        let count = |count| u64::try_from(count).unwrap_or(u64::MAX);
        [
            (self.licenses, limits.licenses, StoreBound::Licenses),
            (self.license_bytes, limits.license_bytes, StoreBound::LicenseBytes),
            (self.tombstones, limits.tombstones, StoreBound::Tombstones),
            (
                count(self.licenses_in_memory),
                count(limits.licenses_in_memory),
                StoreBound::LicensesInMemory,
            ),
            (
                count(self.operators),
                count(limits.operators),
                StoreBound::Operators,
            ),
            (self.counted_keys, limits.counted_keys, StoreBound::CountedKeys),
        ]
        .into_iter()
        .filter(|(used, limit, _)| *used >= limit - limit / 10)
        .map(|(_, limit, bound)| (bound, limit))
        .collect()
    }
}

/// The bound that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreBound {
    /// [`StoreLimits::licenses`].
    #[error("licenses")]
    Licenses,
    /// [`StoreLimits::license_bytes`].
    #[error("bytes of licenses")]
    LicenseBytes,
    /// [`StoreLimits::tombstones`].
    #[error("tombstones of removed licenses")]
    Tombstones,
    /// [`StoreLimits::licenses_in_memory`].
    #[error("licenses in memory")]
    LicensesInMemory,
    /// [`StoreLimits::operators`].
    #[error("operators")]
    Operators,
    /// [`StoreLimits::counted_keys`].
    #[error("exchange keys whose messages are counted")]
    CountedKeys,
}

impl StoreLimits {
    /// Refuses what grows beyond a bound.
    pub(super) fn check(&self, before: &Totals, after: &Totals) -> Result<(), ClientError> {
        // What is stored can be used though the store is full.
        let room = if after.licenses > before.licenses {
            0
        } else {
            after.licenses.saturating_mul(ROOM_FOR_USE)
        };
        let bounds = [
            (
                before.licenses,
                after.licenses,
                self.licenses,
                StoreBound::Licenses,
            ),
            (
                before.license_bytes,
                after.license_bytes,
                self.license_bytes.saturating_add(room),
                StoreBound::LicenseBytes,
            ),
            (
                before.tombstones,
                after.tombstones,
                self.tombstones,
                StoreBound::Tombstones,
            ),
            (
                before.counted_keys.unwrap_or_default(),
                after.counted_keys.unwrap_or_default(),
                self.counted_keys,
                StoreBound::CountedKeys,
            ),
        ];
        let exceeded = bounds
            .into_iter()
            .find(|(before, after, most, _)| after > before && after > most);
        exceeded.map_or(Ok(()), |(.., bound)| Err(self.full(bound)))
    }

    /// The error that says that a bound was reached.
    fn full(&self, bound: StoreBound) -> ClientError {
        let count = |count| u64::try_from(count).unwrap_or(u64::MAX);
        let limit = match bound {
            StoreBound::Licenses => self.licenses,
            StoreBound::LicenseBytes => self.license_bytes,
            StoreBound::Tombstones => self.tombstones,
            StoreBound::LicensesInMemory => count(self.licenses_in_memory),
            StoreBound::Operators => count(self.operators),
            StoreBound::CountedKeys => self.counted_keys,
        };
        ClientError::StoreFull { bound, limit }
    }

    /// Refuses to ask for a license that the store has no room for.
    pub(super) fn check_room(&self, totals: &Totals) -> Result<(), ClientError> {
        let one_more = Totals {
            licenses: totals.licenses.saturating_add(1),
            license_bytes: totals.license_bytes.saturating_add(1),
            ..*totals
        };
        self.check(totals, &one_more)
    }

    /// Refuses more than `limit` of something that is counted in memory.
    pub(crate) fn check_count(count: usize, limit: usize, bound: StoreBound) -> Result<(), ClientError> {
        if count <= limit {
            return Ok(());
        }
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        Err(ClientError::StoreFull { bound, limit })
    }
}
