//! The authenticated index: a radix tree over the first two bytes of record names.

use std::collections::{BTreeMap, BTreeSet};

use keyward_crypto::{SecretBytes, kdf::sha256};
use keyward_license::{
    cbor_map,
    codec::{Bytes, Wire},
    time::Timestamp,
};
use rand_core::CryptoRng;

use super::{
    Batch, KIND_LICENSE, KIND_MESSAGE_COUNT, KIND_NODE, KIND_TOMBSTONE, RecordKey, Store, records::Totals,
};
use crate::{ClientError, flow::Io};

/// First 16 bytes of SHA-256 over a sealed record: which of all the valid records of this key is the
/// newest. The seal itself already keeps out every record that the store did not make.
pub(super) type RecordDigest = [u8; 16];

/// What the index knows of a record, or of all the records below a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed {
    digest: RecordDigest,
    /// Earliest time at which a record may go: this one, or one below.
    pub(super) due: Option<Timestamp>,
    /// Bytes of a license's sealed record.
    size: Option<u64>,
}

impl Listed {
    /// A sealed record; `due` if it may go some day.
    pub(super) fn record(key: &RecordKey, sealed: &[u8], due: Option<Timestamp>) -> Self {
        let size = u64::try_from(sealed.len()).unwrap_or(u64::MAX);
        Self {
            digest: digest(sealed),
            due,
            size: (key.kind() == KIND_LICENSE).then_some(size),
        }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}

/// Records of one bucket.
pub(super) type Bucket = BTreeMap<RecordKey, Listed>;

/// One changed record: what it is now, or none if it was deleted.
pub(super) struct Change {
    pub(super) key: RecordKey,
    pub(super) record: Option<Listed>,
}

/// The index after changes, as the head states it.
pub(super) struct Updated {
    pub(super) root: Option<RecordDigest>,
    pub(super) due: Option<Timestamp>,
    pub(super) totals: Totals,
}

cbor_map! {
    /// One entry of a node.
    struct Entry = "index entry" {
        /// Inner nodes: the child's byte. Buckets: the record's key.
        [1] key: Bytes,
        /// The child's or record's digest.
        [2] digest: [u8; 16],
        /// Earliest time at which a record may go.
        [3?] due: Timestamp,
        /// Buckets: bytes of a license's sealed record.
        [4?] size: u64,
    }
}

type Node = BTreeMap<u8, Listed>;

fn digest(sealed: &[u8]) -> RecordDigest {
    let mut short = [0; 16];
    short
        .iter_mut()
        .zip(sha256(&[sealed]))
        .for_each(|(to, from)| *to = from);
    short
}

impl Store {
    /// The bucket of names that start with these two bytes, verified from the head down.
    pub(super) async fn bucket(&self, io: &Io, first: u8, second: u8) -> Result<Bucket, ClientError> {
        let root = self.inner(io, ROOT, self.head.index).await?;
        let middle = self.inner(io, middle_key(first), at(&root, first)).await?;
        self.leaf(io, bucket_key(first, second), at(&middle, second))
            .await
    }

    /// Reads records of a bucket and checks each against it.
    pub(super) async fn read_all(
        &self,
        io: &Io,
        bucket: &Bucket,
        keys: Vec<RecordKey>,
    ) -> Result<Vec<(RecordKey, SecretBytes)>, ClientError> {
        let records = io.get(keys.clone()).await?;
        keys.into_iter()
            .zip(records)
            .map(|(key, sealed)| {
                let expected = bucket.get(&key).map(|listed| listed.digest);
                Ok((key, self.check(&key, sealed, expected)?))
            })
            .collect()
    }

    /// Every bucket, by walking the tree.
    pub(super) async fn buckets(&self, io: &Io) -> Result<Vec<Bucket>, ClientError> {
        let mut buckets = Vec::new();
        for (first, middle) in self.inner(io, ROOT, self.head.index).await? {
            for (second, bucket) in self.inner(io, middle_key(first), Some(middle.digest)).await? {
                let key = bucket_key(first, second);
                buckets.push(self.leaf(io, key, Some(bucket.digest)).await?);
            }
        }
        Ok(buckets)
    }

    /// Records that may go at `now`, `most` of them at most: every node on the way has one below it, so this
    /// reads two nodes a record, and the root.
    pub(super) async fn records_due(
        &self,
        io: &Io,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<RecordKey>, ClientError> {
        let mut found = Vec::new();
        if self.head.due.is_none_or(|due| due > now) {
            return Ok(found);
        }
        let root = self.inner(io, ROOT, self.head.index).await?;
        for (first, middle) in due_in(root, now) {
            let middle = self.inner(io, middle_key(first), Some(middle.digest)).await?;
            for (second, bucket) in due_in(middle, now) {
                let key = bucket_key(first, second);
                let bucket = self.leaf(io, key, Some(bucket.digest)).await?;
                found.extend(due_in(bucket, now).map(|(key, _)| key));
                if found.len() >= most {
                    found.truncate(most);
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    /// Applies changes to the tree, adds the changed nodes to the batch and returns what the head states.
    pub(super) async fn update_index(
        &self,
        io: &Io,
        rng: &mut impl CryptoRng,
        changes: Vec<Change>,
        batch: &mut Batch,
    ) -> Result<Updated, ClientError> {
        let mut totals = self.head.totals;
        if changes.is_empty() {
            return Ok(Updated {
                root: self.head.index,
                due: self.head.due,
                totals,
            });
        }
        let paths: BTreeSet<(u8, u8)> = changes.iter().map(|change| path(&change.key)).collect();
        let firsts: BTreeSet<u8> = paths.iter().map(|(first, _)| *first).collect();
        let mut root = self.inner(io, ROOT, self.head.index).await?;
        for first in firsts {
            let mut middle = self.inner(io, middle_key(first), at(&root, first)).await?;
            for (_, second) in paths.iter().filter(|(at, _)| *at == first) {
                let key = bucket_key(first, *second);
                let mut bucket = self.leaf(io, key, at(&middle, *second)).await?;
                let here = |change: &&Change| path(&change.key) == (first, *second);
                for change in changes.iter().filter(here) {
                    let before = match change.record {
                        Some(record) => bucket.insert(change.key, record),
                        None => bucket.remove(&change.key),
                    };
                    count(&mut totals, &change.key, before, change.record)?;
                }
                let entries = bucket.iter().map(|(key, listed)| (key.0.to_vec(), *listed));
                set(&mut middle, *second, self.write_node(key, entries, rng, batch)?);
            }
            let listed = self.write_node(middle_key(first), by_byte(&middle), rng, batch)?;
            set(&mut root, first, listed);
        }
        let root = self.write_node(ROOT, by_byte(&root), rng, batch)?;
        Ok(Updated {
            root: root.map(|root| root.digest),
            due: root.and_then(|root| root.due),
            totals,
        })
    }

    /// Seals a node into the batch, or deletes it if it is empty.
    fn write_node(
        &self,
        key: RecordKey,
        entries: impl Iterator<Item = (Vec<u8>, Listed)>,
        rng: &mut impl CryptoRng,
        batch: &mut Batch,
    ) -> Result<Option<Listed>, ClientError> {
        let entries: Vec<Entry> = entries
            .map(|(key, listed)| Entry {
                key: Bytes(key),
                digest: listed.digest,
                due: listed.due,
                size: listed.size,
            })
            .collect();
        if entries.is_empty() {
            batch.deletes.push(key);
            return Ok(None);
        }
        let sealed = self.seal(&key, &entries.encode(), rng)?;
        let due = entries.iter().filter_map(|entry| entry.due).min();
        let listed = Listed::record(&key, &sealed, due);
        batch.puts.push((key, sealed));
        Ok(Some(listed))
    }

    async fn inner(
        &self,
        io: &Io,
        key: RecordKey,
        expected: Option<RecordDigest>,
    ) -> Result<Node, ClientError> {
        let entries = self.entries(io, key, expected).await?;
        let byte = |entry: &Entry| <[u8; 1]>::try_from(&entry.key.0[..]).map(|[byte]| byte);
        entries
            .iter()
            .map(|entry| Ok((byte(entry).map_err(|_| MALFORMED)?, listed(entry))))
            .collect()
    }

    async fn leaf(
        &self,
        io: &Io,
        key: RecordKey,
        expected: Option<RecordDigest>,
    ) -> Result<Bucket, ClientError> {
        let entries = self.entries(io, key, expected).await?;
        let record = |entry: &Entry| <[u8; 33]>::try_from(&entry.key.0[..]).map(RecordKey);
        entries
            .iter()
            .map(|entry| Ok((record(entry).map_err(|_| MALFORMED)?, listed(entry))))
            .collect()
    }

    async fn entries(
        &self,
        io: &Io,
        key: RecordKey,
        expected: Option<RecordDigest>,
    ) -> Result<Vec<Entry>, ClientError> {
        self.ensure_confirmed()?;
        if expected.is_none() {
            return Ok(Vec::new());
        }
        let sealed = io.get(vec![key]).await?.pop().flatten();
        let value = self.check(&key, sealed, expected)?;
        Ok(Vec::decode(value.expose())?)
    }

    fn check(
        &self,
        key: &RecordKey,
        sealed: Option<Vec<u8>>,
        expected: Option<RecordDigest>,
    ) -> Result<SecretBytes, ClientError> {
        let sealed = sealed.ok_or(ClientError::StoreDamaged("a record was removed"))?;
        if Some(digest(&sealed)) != expected {
            return Err(ClientError::StoreDamaged(
                "a record was altered or is an older one",
            ));
        }
        self.unseal(key, &sealed)
    }
}

const MALFORMED: ClientError = ClientError::StoreDamaged("an index entry is malformed");

const ROOT: RecordKey = RecordKey(node_name(0, 0, 0));

const fn middle_key(first: u8) -> RecordKey {
    RecordKey(node_name(1, first, 0))
}

const fn bucket_key(first: u8, second: u8) -> RecordKey {
    RecordKey(node_name(2, first, second))
}

const fn node_name(depth: u8, first: u8, second: u8) -> [u8; 33] {
    let mut name = [0; 33];
    (name[0], name[1], name[2], name[3]) = (KIND_NODE, depth, first, second);
    name
}

const fn path(key: &RecordKey) -> (u8, u8) {
    (key.0[1], key.0[2])
}

fn at(node: &Node, byte: u8) -> Option<RecordDigest> {
    node.get(&byte).map(|listed| listed.digest)
}

const fn listed(entry: &Entry) -> Listed {
    Listed {
        digest: entry.digest,
        due: entry.due,
        size: entry.size,
    }
}

fn by_byte(node: &Node) -> impl Iterator<Item = (Vec<u8>, Listed)> {
    node.iter().map(|(byte, listed)| (vec![*byte], *listed))
}

/// The entries of a node or bucket below which a record may go at `now`.
fn due_in<K>(node: BTreeMap<K, Listed>, now: Timestamp) -> impl Iterator<Item = (K, Listed)> {
    node.into_iter().filter(move |(_, listed)| listed.is_due(now))
}

fn set(node: &mut Node, at: u8, listed: Option<Listed>) {
    match listed {
        Some(listed) => node.insert(at, listed),
        None => node.remove(&at),
    };
}

/// Takes what a record was out of the totals, and what it is now in.
fn count(
    totals: &mut Totals,
    key: &RecordKey,
    before: Option<Listed>,
    after: Option<Listed>,
) -> Result<(), ClientError> {
    let replace = |total: &mut u64, before: u64, after: u64| {
        let rest = total.checked_sub(before).ok_or(MISCOUNTED)?;
        *total = rest.checked_add(after).ok_or(MISCOUNTED)?;
        Ok(())
    };
    let bytes = |listed: Option<Listed>| listed.and_then(|listed| listed.size).unwrap_or_default();
    let (one_before, one_after) = (u64::from(before.is_some()), u64::from(after.is_some()));
    match key.kind() {
        KIND_LICENSE => {
            replace(&mut totals.licenses, one_before, one_after)?;
            replace(&mut totals.license_bytes, bytes(before), bytes(after))
        }
        KIND_TOMBSTONE => replace(&mut totals.tombstones, one_before, one_after),
        KIND_MESSAGE_COUNT => {
            let mut counted = totals.counted_keys.unwrap_or_default();
            replace(&mut counted, one_before, one_after)?;
            totals.counted_keys = Some(counted).filter(|counted| *counted > 0);
            Ok(())
        }
        _ => Ok(()),
    }
}

const MISCOUNTED: ClientError = ClientError::StoreDamaged("the head does not count what the index lists");
