//! The license store: sealed, authenticated records over a plain key-to-blob map that the host has.
//!
//! ```text
//!  epoch file   epoch id, epoch key, generation; sealed under the key store's key
//!  head         generation, digest of the index root, totals, clock, operators
//!  index        a radix tree of fan-out 256, two levels and a bucket: every node holds its children's
//!               digests, so a removed, swapped or older record is seen on the way down to it
//!  records      licenses, pending requests, tombstones, operators, waiting enrolments, message counts,
//!               revocation lists, acknowledgements
//! ```
//! Record keys are HMACs, so the file tells nobody which content is held; values are AES-256-GCM with
//! the record key as associated data. Finding the licenses of a key id reads head, two nodes, one
//! bucket and the licenses, however many there are in the store. All licenses of a key id lie in one
//! bucket, so no scan is needed and the host's map needs no order.
//!
//! Without the epoch file the records are noise to everybody. The generation counts commits: the
//! store must be as new as its epoch file says, or newer by the one commit between whose two writes a
//! crash may fall; opening closes that gap before anything else is written. The generation is also
//! signed into requests, and the server refuses one that falls.
//!
//! # Bounds
//!
//! The head counts what the index lists, and every commit is held against [`StoreLimits`] before it is handed
//! to the host: whatever a response brings, a commit is within the bounds or does not happen.
//!
//! | what | by default | beyond it |
//! | --- | --- | --- |
//! | licenses in the store | 1,000,000 | [`ClientError::StoreFull`]; the request goes on waiting |
//! | bytes of their records | 4 GiB | [`ClientError::StoreFull`]; the request goes on waiting |
//! | licenses of one key id | 8 | those that have ended make room, then the oldest |
//! | tombstones | 1,000,000 | [`ClientError::StoreFull`]; nothing is removed |
//! | versions of exchange keys whose messages are counted | 1,000,000 | [`ClientError::StoreFull`]; no other key encrypts |
//! | pending requests | 64, for 30 days | the oldest makes room |
//! | enrolments that wait for their response | 8 | the oldest makes room |
//! | licenses in memory | 1,024 | [`ClientError::StoreFull`]; the request goes on waiting |
//! | revocation lists of an operator | 32, 1 MiB of them | the list is not kept; it is told in [`Acquired`](crate::install::Acquired) |
//! | acknowledgements that wait | 64, 1 MiB of them | the oldest makes room |
//! | operators | 64 | [`ClientError::StoreFull`]; no enrolment is asked for |
//! | key ids of a request | 256 | [`ClientError::Decode`] |
//! | results of a response | 1,024, of key ids that were asked for or whose licenses go along | [`ClientError::ResponseMismatch`] |
//! | bytes of an answer | 8 MiB ([`MAX_ANSWER`](crate::flow::MAX_ANSWER)) | the host cuts it off |
//!
//! A tombstone goes when a server has stated a time at which its license could not be used any more, a license
//! when one has stated its removal date: every commit removes up to 16 of those, found by the earliest such
//! time that each node of the index states of what is below it. A time that only the local clock has shown is
//! not enough, since a server's answer may lower it again.
//!
//! # A new key
//!
//! What was removed lies in old pages and copies of the database, sealed. A new key turns it into noise: every
//! record is sealed under it, and the epoch file forgets the old one. Whoever has kept the epoch file too, and the
//! device's key, still reads such a copy.

mod acknowledgements;
mod enrolment;
mod index;
mod limits;
mod lists;
pub mod memory;
mod records;
mod renewal;

use keyward_crypto::{Secret, SecretBytes, aead, kdf};
use keyward_license::{
    cbor_map,
    codec::{DecodeError, Wire},
    ids::{Digest, EpochId, Kid, LicenseId},
    request::StoreState,
    time::Timestamp,
};
use rand_core::CryptoRng;

pub(crate) use acknowledgements::{CarriedAcknowledgement, WaitingAcknowledgement, WaitingAcknowledgements};
pub(crate) use enrolment::WaitingEnrolment;
pub use limits::{StoreBound, StoreLimits, StoreUsage};
pub(crate) use records::{
    Clock, Head, KeyUses, LicenseRecord, MessageCount, OperatorRecord, Pending, PendingTable, Tombstone,
};

use crate::{ClientError, clock, flow::Io};
use index::{Change, Listed};

/// Key of a record in the host's map: a kind byte and 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey([u8; 33]);

impl RecordKey {
    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 33] {
        &self.0
    }

    const fn kind(&self) -> u8 {
        self.0[0]
    }

    fn new(kind: u8, name: [u8; 32]) -> Self {
        let mut bytes = [kind; 33];
        bytes
            .iter_mut()
            .skip(1)
            .zip(name)
            .for_each(|(to, from)| *to = from);
        Self(bytes)
    }
}

/// Changes that the host carries out atomically and durably: the records first, then the epoch file.
#[derive(Debug)]
pub struct Batch {
    /// Records to write.
    pub puts: Vec<(RecordKey, Vec<u8>)>,
    /// Records to delete.
    pub deletes: Vec<RecordKey>,
    /// New content of the epoch file, to be replaced atomically after the records are durable.
    pub epoch: Vec<u8>,
}

const HEAD: RecordKey = RecordKey([0; 33]);
const KIND_NODE: u8 = 1;
const KIND_LICENSE: u8 = 2;
const KIND_PENDING: u8 = 3;
const KIND_TOMBSTONE: u8 = 4;
const KIND_OPERATOR: u8 = 5;
const KIND_MESSAGE_COUNT: u8 = 7;

/// Most records that one commit removes because their time has come.
const REMOVED_A_COMMIT: usize = 16;

cbor_map! {
    /// The epoch file's content.
    struct EpochFile = "epoch file" {
        /// Format version.
        [1] version: u64,
        /// Names the epoch.
        [2] id: EpochId,
        /// Seals every record.
        [3] key: Secret<32>,
        /// Generation of the newest commit that this file knows of.
        [4] generation: u64,
        /// The key that follows, while the records are being sealed under it.
        [5?] next_key: Secret<32>,
        /// Names every record, where the key of the records does not: names stay the same for good.
        [6?] name_key: Secret<32>,
    }
}

const STORE_VERSION: u64 = 1;
const EPOCH_AAD: &[u8] = b"keyward/1 store-epoch";

/// An open store: keys of the epoch and the verified head.
pub(crate) struct Store {
    file_key: Secret<32>,
    epoch: EpochFile,
    value_key: Secret<32>,
    name_key: Secret<32>,
    head: Head,
    limits: StoreLimits,
    /// A commit was handed to the host and its end is not known: `head` may be older than the records.
    unconfirmed: bool,
}

/// A record to write or delete.
pub(crate) enum Write {
    Put(RecordKey, Vec<u8>),
    /// A record that goes by itself once a server has stated this time; never, without one.
    PutUntil(RecordKey, Vec<u8>, Option<Timestamp>),
    Delete(RecordKey),
}

impl Write {
    /// The record that is deleted, if it is that.
    pub(crate) const fn deleted(&self) -> Option<RecordKey> {
        match self {
            Self::Delete(key) => Some(*key),
            Self::Put(..) | Self::PutUntil(..) => None,
        }
    }

    pub(crate) const fn key(&self) -> &RecordKey {
        match self {
            Self::Put(key, _) | Self::PutUntil(key, ..) | Self::Delete(key) => key,
        }
    }
}

impl Store {
    /// Opens the store whose epoch file is `epoch`, or makes a new one if there is nothing at all.
    pub(crate) async fn open(
        io: &Io,
        file_key: Secret<32>,
        epoch: Option<&[u8]>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ClientError> {
        let stored_head = io.get(vec![HEAD]).await?.pop().flatten();
        let known = match epoch {
            Some(sealed) => Some(read_epoch(&file_key, sealed)?),
            None => None,
        };
        match (known, stored_head) {
            (None, None) => Self::create(io, file_key, rng).await,
            (None, Some(_)) => Err(ClientError::EpochMissing),
            (Some(epoch), None) if epoch.generation == 0 => Self::new(file_key, epoch, Head::default()),
            (Some(_), None) => Err(ClientError::StoreRolledBack),
            (Some(epoch), Some(head)) => {
                let mut store = Self::of_head(file_key, epoch, &head)?;
                store.catch_up(io, rng).await?;
                Ok(store)
            }
        }
    }

    /// Writes the epoch file before any record, so that no crash leaves records without their key.
    async fn create(io: &Io, file_key: Secret<32>, rng: &mut impl CryptoRng) -> Result<Self, ClientError> {
        let epoch = EpochFile::fresh(rng);
        let sealed = epoch.seal(&file_key, rng)?;
        io.commit(Batch {
            puts: Vec::new(),
            deletes: Vec::new(),
            epoch: sealed,
        })
        .await?;
        Self::new(file_key, epoch, Head::default())
    }

    /// Writes the epoch file that a crash kept from being written. Without that, a second crash at the
    /// same place would leave the records two commits ahead, which is what a set-back store looks like.
    async fn catch_up(&mut self, io: &Io, rng: &mut impl CryptoRng) -> Result<(), ClientError> {
        if self.epoch.generation < self.head.generation {
            self.epoch.generation = self.head.generation;
            let epoch = self.epoch.seal(&self.file_key, rng)?;
            io.commit(Batch {
                puts: Vec::new(),
                deletes: Vec::new(),
                epoch,
            })
            .await?;
        }
        Ok(())
    }

    fn new(file_key: Secret<32>, epoch: EpochFile, head: Head) -> Result<Self, ClientError> {
        let (value_key, name_key) = (epoch.derive(b"keyward/1 store-value")?, epoch.name_key()?);
        Ok(Self {
            file_key,
            epoch,
            value_key,
            name_key,
            head,
            limits: StoreLimits::default(),
            unconfirmed: false,
        })
    }

    /// The store with other bounds.
    pub(crate) const fn bounded_by(mut self, limits: StoreLimits) -> Self {
        self.limits = limits;
        self
    }

    pub(crate) const fn limits(&self) -> &StoreLimits {
        &self.limits
    }

    /// A time that has come for certain, and that no fresher answer undercuts.
    pub(crate) fn told(&self) -> Option<Timestamp> {
        let clock = &self.head.clock;
        // A floor of an answer that was carried may fall again to what an answer states that comes at once.
        clock::told(clock).min(clock.last_trusted)
    }

    /// Refuses to ask for a license if there is no room for one.
    pub(crate) fn check_room(&self) -> Result<(), ClientError> {
        self.limits.check_room(&self.head.totals)
    }

    fn with_head(mut self, sealed: &[u8]) -> Result<Self, ClientError> {
        self.head = Head::decode(self.unseal(&HEAD, sealed)?.expose())?;
        // The records are committed before the epoch file: a crash leaves them one commit ahead.
        let ahead = self.head.generation.checked_sub(self.epoch.generation);
        if matches!(ahead, Some(0 | 1)) {
            Ok(self)
        } else {
            Err(ClientError::StoreRolledBack)
        }
    }

    pub(crate) const fn head(&self) -> &Head {
        &self.head
    }

    pub(crate) const fn state(&self) -> StoreState {
        StoreState {
            epoch: self.epoch.id,
            generation: self.head.generation,
        }
    }

    /// All licenses of a key id.
    pub(crate) async fn licenses(
        &self,
        io: &Io,
        kid: &Kid,
    ) -> Result<Vec<(RecordKey, LicenseRecord)>, ClientError> {
        let prefix = self.name(&[b"kid", kid.as_bytes()])?;
        let [first, second, ..] = prefix;
        let bucket = self.bucket(io, first, second).await?;
        let wanted = RecordKey::new(KIND_LICENSE, prefix);
        let keys: Vec<RecordKey> = bucket
            .keys()
            .filter(|key| key.0.get(..17) == wanted.0.get(..17))
            .copied()
            .collect();
        let values = self.read_all(io, &bucket, keys).await?;
        values
            .into_iter()
            .map(|(key, value)| Ok((key, LicenseRecord::decode(value.expose())?)))
            .collect()
    }

    /// Every license in the store, by walking the index: for listing, not for playback.
    pub(crate) async fn all_licenses(&self, io: &Io) -> Result<Vec<LicenseRecord>, ClientError> {
        let mut licenses = Vec::new();
        for bucket in self.buckets(io).await? {
            let keys = bucket
                .keys()
                .filter(|key| key.kind() == KIND_LICENSE)
                .copied()
                .collect();
            for (_, value) in self.read_all(io, &bucket, keys).await? {
                licenses.push(LicenseRecord::decode(value.expose())?);
            }
        }
        Ok(licenses)
    }

    pub(crate) async fn pending(&self, io: &Io) -> Result<PendingTable, ClientError> {
        self.find(io, self.pending_key()?)
            .await
            .map(Option::unwrap_or_default)
    }

    /// One license, as it is stored now.
    pub(crate) async fn license(
        &self,
        io: &Io,
        kid: &Kid,
        id: &LicenseId,
    ) -> Result<Option<LicenseRecord>, ClientError> {
        self.find(io, self.license_key(kid, id)?).await
    }

    pub(crate) async fn message_count(
        &self,
        io: &Io,
        kid: &Kid,
        version: u32,
    ) -> Result<Option<MessageCount>, ClientError> {
        self.find(io, self.message_count_key(kid, version)?).await
    }

    pub(crate) fn message_count_key(&self, kid: &Kid, version: u32) -> Result<RecordKey, ClientError> {
        Ok(RecordKey::new(
            KIND_MESSAGE_COUNT,
            self.name(&[b"messages", kid.as_bytes(), &version.to_be_bytes()])?,
        ))
    }

    pub(crate) async fn tombstone(&self, io: &Io, id: &LicenseId) -> Result<Option<Tombstone>, ClientError> {
        self.find(io, self.tombstone_key(id)?).await
    }

    pub(crate) async fn operator(
        &self,
        io: &Io,
        operator: &Digest,
    ) -> Result<Option<OperatorRecord>, ClientError> {
        self.find(io, self.operator_key(operator)?).await
    }

    pub(crate) fn license_key(&self, kid: &Kid, id: &LicenseId) -> Result<RecordKey, ClientError> {
        let mut name = self.name(&[b"kid", kid.as_bytes()])?;
        let license = self.name(&[b"license", id.as_bytes()])?;
        name.iter_mut()
            .skip(16)
            .zip(license)
            .for_each(|(to, from)| *to = from);
        Ok(RecordKey::new(KIND_LICENSE, name))
    }

    pub(crate) fn pending_key(&self) -> Result<RecordKey, ClientError> {
        Ok(RecordKey::new(KIND_PENDING, self.name(&[b"pending"])?))
    }

    pub(crate) fn tombstone_key(&self, id: &LicenseId) -> Result<RecordKey, ClientError> {
        Ok(RecordKey::new(
            KIND_TOMBSTONE,
            self.name(&[b"tombstone", id.as_bytes()])?,
        ))
    }

    pub(crate) fn operator_key(&self, operator: &Digest) -> Result<RecordKey, ClientError> {
        Ok(RecordKey::new(
            KIND_OPERATOR,
            self.name(&[b"operator", operator.as_bytes()])?,
        ))
    }

    /// Commits the writes together with a changed head. The store in memory changes only after the host
    /// has confirmed; if it never does, the store refuses to go on until it is opened again.
    pub(crate) async fn commit(
        &mut self,
        io: &Io,
        rng: &mut impl CryptoRng,
        writes: Vec<Write>,
        change_head: impl FnOnce(&mut Head),
    ) -> Result<(), ClientError> {
        self.ensure_confirmed()?;
        let mut batch = Batch {
            puts: Vec::new(),
            deletes: Vec::new(),
            epoch: Vec::new(),
        };
        let mut changes = Vec::new();
        for key in self.records_that_go(io, &writes).await? {
            changes.push(Change { key, record: None });
            batch.deletes.push(key);
        }
        for write in writes {
            changes.push(self.change(write, &mut batch, rng)?);
        }
        let updated = self.update_index(io, rng, changes, &mut batch).await?;
        self.limits.check(&self.head.totals, &updated.totals)?;
        let mut head = Head {
            index: updated.root,
            due: updated.due,
            totals: updated.totals,
            ..self.head.clone()
        };
        change_head(&mut head);
        head.generation = head.generation.saturating_add(1);
        batch.puts.push((HEAD, self.seal(&HEAD, &head.encode(), rng)?));
        let epoch = EpochFile {
            generation: head.generation,
            ..self.epoch.duplicate()
        };
        batch.epoch = epoch.seal(&self.file_key, rng)?;
        self.unconfirmed = true;
        io.commit(batch).await?;
        (self.head, self.epoch, self.unconfirmed) = (head, epoch, false);
        Ok(())
    }

    /// Records whose time has come by a server's word, but for those that are written anyway.
    async fn records_that_go(&self, io: &Io, writes: &[Write]) -> Result<Vec<RecordKey>, ClientError> {
        let Some(now) = self.told() else {
            return Ok(Vec::new());
        };
        let mut due = self.records_due(io, now, REMOVED_A_COMMIT).await?;
        due.retain(|key| writes.iter().all(|write| write.key() != key));
        Ok(due)
    }

    /// Adds a write to the batch, and says what it changes in the index.
    fn change(
        &self,
        write: Write,
        batch: &mut Batch,
        rng: &mut impl CryptoRng,
    ) -> Result<Change, ClientError> {
        let (key, value, due) = match write {
            Write::Put(key, value) => (key, value, None),
            Write::PutUntil(key, value, due) => (key, value, due),
            Write::Delete(key) => {
                batch.deletes.push(key);
                return Ok(Change { key, record: None });
            }
        };
        let value = SecretBytes::new(value);
        let sealed = self.seal(&key, value.expose(), rng)?;
        let record = Some(Listed::record(&key, &sealed, due));
        batch.puts.push((key, sealed));
        Ok(Change { key, record })
    }

    const fn ensure_confirmed(&self) -> Result<(), ClientError> {
        if self.unconfirmed {
            Err(ClientError::CommitUnconfirmed)
        } else {
            Ok(())
        }
    }

    async fn find<T: Wire>(&self, io: &Io, key: RecordKey) -> Result<Option<T>, ClientError> {
        let [_, first, second, ..] = key.0;
        let bucket = self.bucket(io, first, second).await?;
        if !bucket.contains_key(&key) {
            return Ok(None);
        }
        let found = self.read_all(io, &bucket, vec![key]).await?.pop();
        found
            .map(|(_, value)| T::decode(value.expose()))
            .transpose()
            .map_err(ClientError::from)
    }

    /// A name that tells nobody what it stands for.
    fn name(&self, parts: &[&[u8]]) -> Result<[u8; 32], ClientError> {
        Ok(kdf::hmac_sha256(self.name_key.expose(), parts)?)
    }

    fn seal(&self, key: &RecordKey, value: &[u8], rng: &mut impl CryptoRng) -> Result<Vec<u8>, ClientError> {
        Ok(aead::seal(&self.value_key, &key.0, value, rng)?)
    }

    fn unseal(&self, key: &RecordKey, sealed: &[u8]) -> Result<SecretBytes, ClientError> {
        aead::open(&self.value_key, &key.0, sealed)
            .map_err(|_| ClientError::StoreDamaged("a record does not open under its key"))
    }
}

impl core::fmt::Debug for Store {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Store")
            .field("epoch", &self.epoch.id)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl EpochFile {
    fn fresh(rng: &mut impl CryptoRng) -> Self {
        Self {
            version: STORE_VERSION,
            id: EpochId::random(rng),
            key: Secret::random(rng),
            generation: 0,
            next_key: None,
            name_key: None,
        }
    }

    fn derive(&self, label: &[u8]) -> Result<Secret<32>, ClientError> {
        Ok(kdf::hkdf_sha256(self.key.expose(), self.id.as_bytes(), label)?)
    }

    fn name_key(&self) -> Result<Secret<32>, ClientError> {
        match &self.name_key {
            Some(key) => Ok(key.duplicate()),
            None => self.derive(b"keyward/1 store-name"),
        }
    }

    fn seal(&self, file_key: &Secret<32>, rng: &mut impl CryptoRng) -> Result<Vec<u8>, ClientError> {
        let clear = SecretBytes::new(self.encode());
        Ok(aead::seal(file_key, EPOCH_AAD, clear.expose(), rng)?)
    }

    /// The same, without a key that follows.
    fn duplicate(&self) -> Self {
        Self {
            version: self.version,
            id: self.id,
            key: self.key.duplicate(),
            generation: self.generation,
            next_key: None,
            name_key: self.name_key.as_ref().map(Secret::duplicate),
        }
    }
}

fn read_epoch(file_key: &Secret<32>, sealed: &[u8]) -> Result<EpochFile, ClientError> {
    let opened = aead::open(file_key, EPOCH_AAD, sealed)
        .map_err(|_| ClientError::StoreDamaged("the epoch file does not open under this device's key"))?;
    let epoch = EpochFile::decode(opened.expose())?;
    if epoch.version == STORE_VERSION {
        Ok(epoch)
    } else {
        Err(DecodeError::Invalid("the store is of another version").into())
    }
}

#[cfg(test)]
mod tests;
