//! Chains at the client: a leaf license under its root's (V-037).
//!
//! ```text
//!  device key ─► root license: limits in time, first play     one for all that stand under it
//!                   │ root key
//!                   ├─► leaf license ─► content key            in the store, in memory, or riding in content
//!                   └─► leaf license ─► content key
//! ```
//! A leaf is judged with each root license of its root and its operator that this client has, and the best of those
//! chains is used (R-040). So whatever ends the root ends its leaves, and whoever renews the root renews them all.
//! What stands under a root is found by its own key id: nothing is listed under the root, and thousands of leaves
//! cost no more than one.

use std::collections::{BTreeMap, btree_map::Entry};

use keyward_crypto::{ContentKey, CryptoError, RootKey};
use keyward_license::{
    ids::{Digest, Kid, LicenseId},
    license::{Chain, License, LicenseKeys, LicenseKind},
};
use rand_core::CryptoRng;

use crate::{
    Client, ClientError,
    choose::{Kept, Place},
    device::{KeyStore, STACK},
    flow::Io,
    host::MemoryLock,
    locked::Locked,
};

/// Most root keys that a playback keeps.
const ROOT_KEYS: usize = 4;

/// Root keys that were opened, each in locked memory: the device's key is used once a root, and not once a leaf. Which
/// root may be used is settled before, every time.
#[derive(Default)]
pub(crate) struct RootKeys(Vec<(Digest, LicenseId, Locked<RootKey>)>);

impl RootKeys {
    fn find(&self, operator: &Digest, root: &License) -> Option<&RootKey> {
        let is_its = |(of, id, _): &&(Digest, LicenseId, _)| (of, id) == (operator, &root.body().id);
        self.0.iter().find(is_its).and_then(|(.., key)| key.get())
    }

    /// Whether a root's key is here.
    pub(crate) fn has(&self, operator: &Digest, root: &License) -> bool {
        self.find(operator, root).is_some()
    }

    /// Keeps the keys of these root licenses alone.
    pub(crate) fn retain(&mut self, is_needed: impl Fn(LicenseId) -> bool) {
        self.0.retain(|(_, id, _)| is_needed(*id));
    }

    fn keep(&mut self, operator: &Digest, root: &License, key: RootKey, memory: &dyn MemoryLock) {
        if self.0.len() >= ROOT_KEYS {
            self.0.remove(0);
        }
        let mut place = Locked::empty(memory);
        place.put(key);
        self.0.push((*operator, root.body().id, place));
    }
}

/// How many keys there are.
impl core::fmt::Debug for RootKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("RootKeys").field(&self.0.len()).finish()
    }
}

/// V-037: whether a leaf may be opened under a root license: one of its operator, for the key id that it is bound to,
/// of no lower level.
pub(crate) fn stands_under(leaf: &Kept, root: &Kept) -> bool {
    leaf.operator == root.operator && Chain::new(root.license.body(), leaf.license.body()).is_ok()
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// Every license that this client keeps under a key id, verified again. One that no longer verifies (its operator
    /// was removed) is none.
    pub(crate) async fn kept(&self, io: &Io, kid: Kid) -> Result<Vec<Kept>, ClientError> {
        let mut kept = Vec::new();
        for (key, record) in self.store.licenses(io, &kid).await? {
            kept.extend(
                self.verified(&record.operator, &record.license.0)
                    .map(|license| Kept {
                        license,
                        operator: record.operator,
                        recorded: record.recorded(),
                        place: Place::Store(key, record),
                    }),
            );
        }
        for held in self.memory.iter().filter(|held| held.kid == kid) {
            kept.extend(self.verified(&held.operator, &held.license).map(|license| Kept {
                license,
                operator: held.operator,
                recorded: held.recorded.clone(),
                place: Place::Memory,
            }));
        }
        Ok(kept)
    }

    /// The root licenses of a root that this device and this host can use.
    pub(crate) async fn roots(&self, io: &Io, root: Kid) -> Result<Vec<Kept>, ClientError> {
        let fit = self.fit()?;
        let mut roots = self.kept(io, root).await?;
        roots.retain(|kept| {
            kept.license.body().kind == LicenseKind::Root && fit.covers(kept.license.body(), root)
        });
        Ok(roots)
    }

    /// The same of several roots, each looked up once.
    pub(crate) async fn roots_of(
        &self,
        io: &Io,
        roots: impl Iterator<Item = Kid>,
    ) -> Result<BTreeMap<Kid, Vec<Kept>>, ClientError> {
        let mut found = BTreeMap::new();
        for root in roots {
            if let Entry::Vacant(new) = found.entry(root) {
                new.insert(self.roots(io, root).await?);
            }
        }
        Ok(found)
    }

    /// V-023: opens the sealed part with the device's key, under the hash of the body.
    pub(crate) fn open_keys(&self, license: &License) -> Result<LicenseKeys, ClientError> {
        let suite = license.sealing().suite().ok_or(CryptoError::NotOpened)?;
        let sealed = license.sealed();
        let opened = self.keys.open(
            suite,
            &license.key_binding(),
            &sealed.encapsulated.0,
            &sealed.ciphertext.0,
        )?;
        Ok(license.read_keys(&opened)?)
    }

    /// V-023: the one content key that is described in a license, of a leaf under its root's key.
    pub(crate) fn open_content_key(
        &self,
        license: &License,
        root: Option<(&Digest, &License)>,
        keys: &mut RootKeys,
    ) -> Result<ContentKey, ClientError> {
        let opened = match root {
            None => self.open_keys(license)?,
            Some((operator, root)) => self.open_leaf(license, (operator, root), keys)?,
        };
        let key = opened.keys.first().ok_or(CryptoError::NotOpened)?;
        Ok(ContentKey::from_slice(&key.0)?)
    }

    fn open_leaf(
        &self,
        leaf: &License,
        (operator, root): (&Digest, &License),
        keys: &mut RootKeys,
    ) -> Result<LicenseKeys, ClientError> {
        if keys.find(operator, root).is_none() {
            let opened = self.open_root(root);
            zeroize::zeroize_stack::<STACK>();
            keys.keep(operator, root, opened?, &*self.host.memory);
        }
        let key = keys.find(operator, root).ok_or(CryptoError::NotOpened)?;
        Ok(leaf.open_under(key).map_err(|_| CryptoError::NotOpened)?)
    }

    /// V-023: the key of a root license. The caller clears the stack.
    #[inline(never)]
    pub(crate) fn open_root(&self, root: &License) -> Result<RootKey, ClientError> {
        Ok(self.open_keys(root)?.root_key()?)
    }
}
