//! The vault: which key serves under a key id, and the key itself.
//!
//! A key id is registered once, with one type and one source: the number of a license key seed, or a
//! key of its own. It keeps both for good, in the code and in the schema, so that no key ever serves in
//! two modes.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use keyward_crypto::{ContentKey, RootKey, Secret, SecretBytes, kdf::hmac_sha256, seed::LicenseKeySeed};
use keyward_license::{ids::Kid, license::KeyType, time::Timestamp};
use rand_core::CryptoRng;
use tokio::sync::{RwLockReadGuard, RwLockWriteGuard};

use crate::{
    Error,
    chance::rng,
    config::NewKeys,
    sealing::{Cell, KeyEncryptionKey},
    store::{KeyRow, KeySource, Store},
};

/// Where the content key of a registered key id comes from, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Derived from the license key seed of this number.
    Seed(u64),
    /// A key of its own.
    Stored,
}

/// A registered key id, for people: no key in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisteredKey {
    /// Key id.
    pub kid: Kid,
    /// What the key serves.
    pub key_type: KeyType,
    /// Where it comes from.
    pub source: Source,
    /// Smallest security level of a device that gets it, besides what the policy asks for.
    pub minimum_security_level: Option<u64>,
}

/// What a key id is registered as.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Registration {
    pub(crate) kid: Kid,
    pub(crate) key_type: KeyType,
    pub(crate) minimum_security_level: Option<u64>,
}

impl Registration {
    fn with(self, source: KeySource) -> KeyRow {
        KeyRow {
            kid: self.kid,
            key_type: self.key_type,
            source,
            minimum_security_level: self.minimum_security_level,
        }
    }
}

/// A content key with what it serves.
#[derive(Debug)]
pub struct PackagingKey {
    /// Key id.
    pub kid: Kid,
    /// What the key serves, and nothing else.
    pub key_type: KeyType,
    /// The key.
    pub key: ContentKey,
}

/// A key id that was drawn and is not registered yet.
pub(crate) struct FreshKey {
    pub(crate) row: KeyRow,
    pub(crate) key: ContentKey,
    pub(crate) fingerprint: [u8; 32],
}

/// Derives and unseals content keys.
pub(crate) struct Vault {
    kek: RwLock<Arc<KeyEncryptionKey>>,
    /// Read by who seals, until what was sealed is stored; written by who puts another key in its place.
    sealing: tokio::sync::RwLock<()>,
    /// Seeds that were unsealed, by number; wiped with the vault.
    seeds: RwLock<HashMap<u64, Arc<LicenseKeySeed>>>,
}

impl Vault {
    pub(crate) fn new(kek: KeyEncryptionKey) -> Self {
        Self {
            kek: RwLock::new(Arc::new(kek)),
            sealing: tokio::sync::RwLock::default(),
            seeds: RwLock::default(),
        }
    }

    /// The key-encryption key as it is now. Whoever seals with it holds [`Vault::sealing`] until that is stored.
    pub(crate) fn kek(&self) -> Arc<KeyEncryptionKey> {
        Arc::clone(&self.kek.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The right to seal: while it is held, the key-encryption key stays.
    pub(crate) async fn sealing(&self) -> RwLockReadGuard<'_, ()> {
        self.sealing.read().await
    }

    /// Waits until nobody seals, and keeps everybody from it.
    pub(crate) async fn nobody_seals(&self) -> RwLockWriteGuard<'_, ()> {
        self.sealing.write().await
    }

    /// Uses another key-encryption key from now on.
    pub(crate) fn adopt(&self, kek: KeyEncryptionKey) {
        *self.kek.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(kek);
    }

    /// The content key of a registered key id.
    pub(crate) async fn content_key(&self, store: &Store, key: &KeyRow) -> Result<ContentKey, Error> {
        check_key_type(key.key_type)?;
        match &key.source {
            KeySource::Seed(number) => Ok(self.seed(store, *number).await?.derive(key.kid.as_bytes())),
            KeySource::Sealed(sealed) => {
                let opened = self.kek().open(key_cell(&key.kid), sealed);
                let opened = opened.map_err(|_| Error::Damaged("a content key does not open"))?;
                Ok(Secret::from_slice(opened.expose())?)
            }
            // An exchange key never serves as one, nor a root.
            KeySource::Exchange => Err(Error::KeyTypeRefused(key.key_type.number())),
        }
    }

    /// The key of a root.
    pub(crate) fn root_key(&self, root: &KeyRow) -> Result<RootKey, Error> {
        let damaged = || Error::Damaged("the key of a root does not open");
        match (&root.source, root.key_type) {
            (KeySource::Sealed(sealed), KeyType::Root) => {
                let opened = self
                    .kek()
                    .open(root_cell(&root.kid), sealed)
                    .map_err(|_| damaged())?;
                RootKey::from_slice(opened.expose()).map_err(|_| damaged())
            }
            _ => Err(Error::KeyTypeRefused(root.key_type.number())),
        }
    }

    /// The key of a new root, sealed for its place.
    pub(crate) fn seal_root(&self, kid: &Kid, key: &RootKey) -> Result<Vec<u8>, Error> {
        Ok(self.kek().seal(root_cell(kid), key.expose(), &mut rng())?)
    }

    /// A fresh key id with its key, not registered yet.
    pub(crate) async fn fresh(
        &self,
        store: &Store,
        fingerprints: &Secret<32>,
        (key_type, minimum_security_level): (KeyType, Option<u64>),
        source: NewKeys,
    ) -> Result<FreshKey, Error> {
        check_key_type(key_type)?;
        let kid = Kid::random(&mut rng());
        let source = match source {
            NewKeys::Seed(number) => KeySource::Seed(number),
            NewKeys::NewestSeed => KeySource::Seed(store.newest_seed().await?),
            NewKeys::Vault => {
                let key = ContentKey::random(&mut rng());
                KeySource::Sealed(self.kek().seal(key_cell(&kid), key.expose(), &mut rng())?)
            }
        };
        let row = KeyRow {
            kid,
            key_type,
            source,
            minimum_security_level,
        };
        let key = self.content_key(store, &row).await?;
        let fingerprint = fingerprint(fingerprints, key.expose())?;
        Ok(FreshKey {
            row,
            key,
            fingerprint,
        })
    }

    /// Registers a key id with a key derived from a seed.
    pub(crate) async fn register(
        &self,
        store: &Store,
        fingerprints: &Secret<32>,
        (asked, seed): (Registration, u64),
        now: Timestamp,
    ) -> Result<(), Error> {
        check_key_type(asked.key_type)?;
        let row = asked.with(KeySource::Seed(seed));
        let key = self.content_key(store, &row).await?;
        store
            .register_key(row, fingerprint(fingerprints, key.expose())?, now)
            .await
    }

    /// Registers a key id with a key of its own.
    pub(crate) async fn import(
        &self,
        store: &Store,
        fingerprints: &Secret<32>,
        (asked, key): (Registration, &ContentKey),
        now: Timestamp,
    ) -> Result<(), Error> {
        check_key_type(asked.key_type)?;
        let _sealing = self.sealing().await;
        let sealed = self.seal_content_key(&asked.kid, key)?;
        let row = asked.with(KeySource::Sealed(sealed));
        store
            .register_key(row, fingerprint(fingerprints, key.expose())?, now)
            .await
    }

    /// A content key, sealed for its place.
    pub(crate) fn seal_content_key(&self, kid: &Kid, key: &ContentKey) -> Result<Vec<u8>, Error> {
        Ok(self.kek().seal(key_cell(kid), key.expose(), &mut rng())?)
    }

    /// The bytes of a seed, for [`danger::export_seed`](crate::danger::export_seed).
    pub(crate) async fn open_seed(&self, store: &Store, number: u64) -> Result<SecretBytes, Error> {
        let sealed = store.seed(number).await?.ok_or(Error::SeedUnknown(number))?;
        let row = number.to_be_bytes();
        self.kek()
            .open(seed_cell(&row), &sealed)
            .map_err(|_| Error::Damaged("a license key seed does not open"))
    }

    async fn seed(&self, store: &Store, number: u64) -> Result<Arc<LicenseKeySeed>, Error> {
        let held = self
            .seeds
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&number)
            .cloned();
        if let Some(seed) = held {
            return Ok(seed);
        }
        let seed = Arc::new(LicenseKeySeed::new(
            self.open_seed(store, number).await?.expose(),
        )?);
        self.seeds
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, Arc::clone(&seed));
        Ok(seed)
    }
}

/// A fresh seed, sealed for its place.
pub(crate) fn seal_new_seed(
    kek: &KeyEncryptionKey,
    number: u64,
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, Error> {
    let seed = Secret::<{ keyward_crypto::seed::SEED_LEN }>::random(rng);
    Ok(kek.seal(seed_cell(&number.to_be_bytes()), seed.expose(), rng)?)
}

/// A seed of another system, sealed for its place.
pub(crate) fn seal_seed(kek: &KeyEncryptionKey, number: u64, seed: &SecretBytes) -> Result<Vec<u8>, Error> {
    Ok(kek.seal(seed_cell(&number.to_be_bytes()), seed.expose(), &mut rng())?)
}

/// Whether a sealed seed opens in its place.
pub(crate) fn seed_opens(kek: &KeyEncryptionKey, number: u64, sealed: &[u8]) -> bool {
    let row = number.to_be_bytes();
    kek.open(seed_cell(&row), sealed)
        .is_ok_and(|seed| LicenseKeySeed::new(seed.expose()).is_ok())
}

/// The vault keeps keys for media and files; the other types are never derived from a seed.
const fn check_key_type(key_type: KeyType) -> Result<(), Error> {
    match key_type {
        KeyType::CencCtr | KeyType::CencCbc | KeyType::File => Ok(()),
        other => Err(Error::KeyTypeRefused(other.number())),
    }
}

/// Keyed hash of the 16 bytes of a content key, or of as many of an exchange key.
pub(crate) fn fingerprint(secret: &Secret<32>, key: &[u8; 16]) -> Result<[u8; 32], Error> {
    Ok(hmac_sha256(secret.expose(), &[b"content key", key])?)
}

/// Keyed hashes of a value of another space and of each 16 bytes of a longer one, those made as a content key's is: no
/// part of it is a content key, or the other way about.
pub(crate) fn fingerprints(secret: &Secret<32>, value: &[u8]) -> Result<Vec<[u8; 32]>, Error> {
    let mut found = BTreeSet::new();
    let (blocks, _) = value.as_chunks();
    for block in blocks {
        found.insert(fingerprint(secret, block)?);
    }
    if value.len() != CONTENT_KEY {
        found.insert(hmac_sha256(secret.expose(), &[b"exchange key", value])?);
    }
    Ok(found.into_iter().collect())
}

/// Bytes of a content key.
const CONTENT_KEY: usize = 16;

/// Whether the key of a root opens in its place.
pub(crate) fn root_opens(kek: &KeyEncryptionKey, kid: &Kid, sealed: &[u8]) -> bool {
    kek.open(root_cell(kid), sealed)
        .is_ok_and(|key| RootKey::from_slice(key.expose()).is_ok())
}

pub(crate) fn root_cell(kid: &Kid) -> Cell<'_> {
    Cell {
        table: "roots",
        row: kid.as_bytes(),
        column: "sealed",
    }
}

pub(crate) fn key_cell(kid: &Kid) -> Cell<'_> {
    Cell {
        table: "keys",
        row: kid.as_bytes(),
        column: "sealed",
    }
}

pub(crate) fn seed_cell(number: &[u8; 8]) -> Cell<'_> {
    Cell {
        table: "seeds",
        row: number,
        column: "sealed",
    }
}

/// The name of a key type in configuration and JSON.
#[must_use]
pub const fn key_type_name(key_type: KeyType) -> &'static str {
    match key_type {
        KeyType::CencCtr => "cenc-ctr",
        KeyType::CencCbc => "cenc-cbc",
        KeyType::File => "file",
        KeyType::Root => "root",
        KeyType::Exchange => "exchange",
    }
}

/// The key type of a name, for types that the vault keeps.
#[must_use]
pub fn key_type_from_name(name: &str) -> Option<KeyType> {
    [KeyType::CencCtr, KeyType::CencCbc, KeyType::File]
        .into_iter()
        .find(|key_type| key_type_name(*key_type) == name)
}
