//! A new key: every record is sealed under it, and the old key is gone.
//!
//! ```text
//!  1  epoch file   old key, new key     a crash here: the records open under the old key, as before
//!  2  records      under the new key    a crash here: they open under the new key, which is in the file
//!  3  epoch file   new key              what was deleted before is noise now, wherever a copy of it is
//! ```
//! 2 and 3 are one commit, whose two writes may be parted by a crash like those of any other. The epoch keeps its id
//! and goes on counting: else a store that was set back would get past the server with a new key.

use keyward_crypto::Secret;
use rand_core::CryptoRng;

use super::{Batch, EpochFile, HEAD, Head, Store, StoreLimits, Write, records::Totals};
use crate::{ClientError, flow::Io};

/// Most bytes of licenses that are sealed anew: they are one batch, which the host holds in memory.
const MAX_RENEWED: u64 = 256 << 20;

impl EpochFile {
    /// The file once the records are under another key. They keep their names.
    fn under(&self, key: &Secret<32>) -> Result<Self, ClientError> {
        Ok(Self {
            key: key.duplicate(),
            name_key: Some(self.name_key()?),
            ..self.duplicate()
        })
    }
}

impl Store {
    /// The store that a head belongs to: under the new key, if the records are.
    pub(super) fn of_head(file_key: Secret<32>, epoch: EpochFile, head: &[u8]) -> Result<Self, ClientError> {
        if let Some(next) = &epoch.next_key {
            let store = Self::new(file_key.duplicate(), epoch.under(next)?, Head::default())?;
            if store.unseal(&HEAD, head).is_ok() {
                return store.with_head(head);
            }
        }
        Self::new(file_key, epoch, Head::default())?.with_head(head)
    }

    /// Seals every record under a new key, and forgets the old one.
    pub(crate) async fn renew_key(&mut self, io: &Io, rng: &mut impl CryptoRng) -> Result<(), ClientError> {
        self.ensure_confirmed()?;
        if self.head.totals.license_bytes > MAX_RENEWED {
            return Err(ClientError::TooMuchToRenew { limit: MAX_RENEWED });
        }
        let writes = self.all_records(io).await?;
        let next = Secret::random(rng);
        let both = EpochFile {
            next_key: Some(next.duplicate()),
            ..self.epoch.duplicate()
        };
        let epoch = both.seal(&self.file_key, rng)?;
        self.unconfirmed = true;
        io.commit(Batch {
            puts: Vec::new(),
            deletes: Vec::new(),
            epoch,
        })
        .await?;
        // From an empty index on, so that no node or record is left under the old key.
        let head = Head {
            index: None,
            due: None,
            totals: Totals::default(),
            ..self.head.clone()
        };
        let mut renewed = Self::new(self.file_key.duplicate(), both.under(&next)?, head)?;
        // What is there stays, whatever the bounds are now.
        renewed.limits = StoreLimits {
            licenses: u64::MAX,
            license_bytes: u64::MAX,
            tombstones: u64::MAX,
            counted_keys: u64::MAX,
            ..self.limits
        };
        renewed.commit(io, rng, writes, |_| ()).await?;
        renewed.limits = self.limits;
        *self = renewed;
        Ok(())
    }

    /// Every record of the index, to be written again.
    async fn all_records(&self, io: &Io) -> Result<Vec<Write>, ClientError> {
        let mut writes = Vec::new();
        for bucket in self.buckets(io).await? {
            let keys = bucket.keys().copied().collect();
            for (key, value) in self.read_all(io, &bucket, keys).await? {
                let due = bucket.get(&key).and_then(|listed| listed.due);
                writes.push(Write::PutUntil(key, value.expose().to_vec(), due));
            }
        }
        Ok(writes)
    }
}
