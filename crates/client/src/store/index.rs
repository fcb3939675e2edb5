//! The authenticated index: a radix tree over the first two bytes of record names.

use std::collections::{BTreeMap, BTreeSet};

use keyward_crypto::{SecretBytes, kdf::sha256};
use keyward_license::{
    cbor_map,
    codec::{Bytes, Wire},
};
use rand_core::CryptoRng;

use super::{Batch, KIND_NODE, RecordKey, Store};
use crate::{ClientError, flow::Io};

/// First 16 bytes of SHA-256 over a sealed record: which of all the valid records of this key is the
/// newest. The seal itself already keeps out every record that the store did not make.
pub(super) type RecordDigest = [u8; 16];

/// Records of one bucket.
pub(super) type Bucket = BTreeMap<RecordKey, RecordDigest>;

/// One changed record: its new digest, or none if it was deleted.
pub(super) struct Change {
    pub(super) key: RecordKey,
    pub(super) digest: Option<RecordDigest>,
}

cbor_map! {
    /// One entry of a node.
    struct Entry = "index entry" {
        /// Inner nodes: the child's byte. Buckets: the record's key.
        [1] key: Bytes,
        /// The child's or record's digest.
        [2] digest: [u8; 16],
    }
}

type Node = BTreeMap<u8, RecordDigest>;

pub(super) fn digest(sealed: &[u8]) -> RecordDigest {
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
        let middle = self
            .inner(io, middle_key(first), root.get(&first).copied())
            .await?;
        self.leaf(io, bucket_key(first, second), middle.get(&second).copied())
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
            .map(|(key, sealed)| Ok((key, self.check(&key, sealed, bucket.get(&key).copied())?)))
            .collect()
    }

    /// Every bucket, by walking the tree.
    pub(super) async fn buckets(&self, io: &Io) -> Result<Vec<Bucket>, ClientError> {
        let mut buckets = Vec::new();
        for (first, middle) in self.inner(io, ROOT, self.head.index).await? {
            for (second, bucket) in self.inner(io, middle_key(first), Some(middle)).await? {
                buckets.push(self.leaf(io, bucket_key(first, second), Some(bucket)).await?);
            }
        }
        Ok(buckets)
    }

    /// Applies changes to the tree, adds the changed nodes to the batch and returns the root's digest.
    pub(super) async fn update_index(
        &self,
        io: &Io,
        rng: &mut impl CryptoRng,
        changes: Vec<Change>,
        batch: &mut Batch,
    ) -> Result<Option<RecordDigest>, ClientError> {
        if changes.is_empty() {
            return Ok(self.head.index);
        }
        let paths: BTreeSet<(u8, u8)> = changes.iter().map(|change| path(&change.key)).collect();
        let firsts: BTreeSet<u8> = paths.iter().map(|(first, _)| *first).collect();
        let mut root = self.inner(io, ROOT, self.head.index).await?;
        for first in firsts {
            let mut middle = self
                .inner(io, middle_key(first), root.get(&first).copied())
                .await?;
            for (_, second) in paths.iter().filter(|(at, _)| *at == first) {
                let key = bucket_key(first, *second);
                let mut bucket = self.leaf(io, key, middle.get(second).copied()).await?;
                for change in changes
                    .iter()
                    .filter(|change| path(&change.key) == (first, *second))
                {
                    match change.digest {
                        Some(digest) => bucket.insert(change.key, digest),
                        None => bucket.remove(&change.key),
                    };
                }
                let entries = bucket.iter().map(|(key, digest)| (key.0.to_vec(), *digest));
                set(&mut middle, *second, self.write_node(key, entries, rng, batch)?);
            }
            let digest = self.write_node(middle_key(first), by_byte(&middle), rng, batch)?;
            set(&mut root, first, digest);
        }
        self.write_node(ROOT, by_byte(&root), rng, batch)
    }

    /// Seals a node into the batch, or deletes it if it is empty.
    fn write_node(
        &self,
        key: RecordKey,
        entries: impl Iterator<Item = (Vec<u8>, RecordDigest)>,
        rng: &mut impl CryptoRng,
        batch: &mut Batch,
    ) -> Result<Option<RecordDigest>, ClientError> {
        let entries: Vec<Entry> = entries
            .map(|(key, digest)| Entry {
                key: Bytes(key),
                digest,
            })
            .collect();
        if entries.is_empty() {
            batch.deletes.push(key);
            return Ok(None);
        }
        let sealed = self.seal(&key, &entries.encode(), rng)?;
        let digest = digest(&sealed);
        batch.puts.push((key, sealed));
        Ok(Some(digest))
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
            .map(|entry| Ok((byte(entry).map_err(|_| MALFORMED)?, entry.digest)))
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
            .map(|entry| Ok((record(entry).map_err(|_| MALFORMED)?, entry.digest)))
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

fn by_byte(node: &Node) -> impl Iterator<Item = (Vec<u8>, RecordDigest)> {
    node.iter().map(|(byte, digest)| (vec![*byte], *digest))
}

fn set(node: &mut Node, at: u8, digest: Option<RecordDigest>) {
    match digest {
        Some(digest) => node.insert(at, digest),
        None => node.remove(&at),
    };
}
