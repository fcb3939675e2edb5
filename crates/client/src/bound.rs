//! A key that a license has released, for as long as the license permits.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use keyward_content::{
    cenc::{Pattern, SampleCipher, Scheme},
    file::{FileError, LockedFile, Opener},
    media::{KeyError, KeyRing},
};
use keyward_crypto::ContentKey;
use keyward_license::{
    ids::{Digest, Kid, LicenseId},
    license::{KeyType, LicenseBody, Resolution},
    time::Timestamp,
    usage_rules::{Action, Allowed, Output, OutputDecision},
};

use crate::{choose::Stop, device::STACK, verified::TrustedLicense};

/// A content key that a license has released, for one key id and one purpose.
///
/// The key goes when the license does not permit its use any more; what was made of it before
/// ([`Opener`], [`SampleCipher`]) has a copy of its own, which is why whoever hands out content asks
/// ([`Client::go_on`](crate::Client::go_on)) for every piece.
pub struct Bound {
    pub(crate) slot: Arc<Slot>,
    pub(crate) license: Arc<TrustedLicense>,
    /// The root license that a leaf was opened under.
    pub(crate) root: Option<Arc<TrustedLicense>>,
    /// Whose license server signed it.
    pub(crate) operator: Digest,
    /// Security level of the device under that operator.
    pub(crate) level: u64,
    /// as it is recorded.
    pub(crate) first_play: Option<Timestamp>,
    pub(crate) action: Action,
    pub(crate) allowed: Allowed,
    /// What [`Bound::outputs`] decides about.
    pub(crate) outputs: Vec<Output>,
    /// [`Outputs::changes`](crate::host::Outputs::changes) when they were listed.
    pub(crate) outputs_seen: u64,
    pub(crate) frame: Option<Resolution>,
    /// when time changes what the rules say while it plays.
    pub(crate) changes_at: Option<Timestamp>,
    /// When the playback came to this key last, in places that it came to.
    pub(crate) reached: u64,
}

impl Bound {
    /// The key id.
    #[must_use]
    pub fn kid(&self) -> Kid {
        self.slot.kid
    }

    /// The license that released the key; another one after the playback went on under it.
    #[must_use]
    pub fn license(&self) -> LicenseId {
        self.license.body().id
    }

    /// The terms of that license.
    #[must_use]
    pub fn terms(&self) -> &LicenseBody {
        self.license.body()
    }

    /// The terms of the root license that it was opened under, if it is a leaf: limits in time are there.
    #[must_use]
    pub fn root(&self) -> Option<&LicenseBody> {
        self.root.as_deref().map(|root| root.body())
    }

    /// What is judged together, a root before its leaf.
    pub(crate) fn chain(&self) -> Vec<&TrustedLicense> {
        self.root
            .iter()
            .chain([&self.license])
            .map(|license| &**license)
            .collect()
    }

    /// Key id of the root that a leaf stands under.
    pub(crate) fn root_kid(&self) -> Option<Kid> {
        self.terms().leaf_of()
    }

    /// Whether its end, of a chain that of both, has not come: it could be opened by it. Without a clock nobody knows.
    pub(crate) fn has_not_ended(&self, now: Option<Timestamp>) -> bool {
        let until = self.allowed.until;
        until.is_none_or(|until| now.is_some_and(|now| now < until))
    }

    /// The license that ends, and is renewed: of a chain the root.
    pub(crate) fn renewed(&self) -> LicenseId {
        self.root().unwrap_or_else(|| self.terms()).id
    }

    /// Until when the license (of a chain, both) can be opened, if it ends.
    #[must_use]
    pub const fn until(&self) -> Option<Timestamp> {
        self.allowed.until
    }

    /// when what plays has to stop, if it ever has to.
    #[must_use]
    pub const fn playback_ends(&self) -> Option<Timestamp> {
        self.allowed.playback_ends
    }

    /// the license is in its grace period: acquire a new one.
    #[must_use]
    pub const fn is_in_grace(&self) -> bool {
        self.allowed.in_grace
    }

    /// the largest frame that may be decoded.
    #[must_use]
    pub const fn largest_frame(&self) -> Option<Resolution> {
        self.allowed.largest_frame
    }

    /// the first play that the license's record holds, of a chain the root's.
    #[must_use]
    pub const fn first_play(&self) -> Option<Timestamp> {
        self.first_play
    }

    /// The host's outputs as they were judged, each with its decision. The host carries it out: it keeps content
    /// off what is blocked, reduces, and engages what is asked for.
    pub fn outputs(&self) -> impl Iterator<Item = (&Output, &OutputDecision)> {
        self.outputs.iter().zip(&self.allowed.outputs)
    }

    /// Whether the license is in the store or in content (true), or in memory (false); of a chain, both.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.chain().iter().all(|license| license.body().persistent)
    }

    /// Why the key is gone, once it is.
    #[must_use]
    pub fn stopped(&self) -> Option<Stop> {
        self.slot.stopped()
    }

    /// Unlocks a protected file. The key serves files of its own key id and nothing else.
    ///
    /// # Errors
    /// [`FileError::WrongKey`] for a file of another key, a license whose key is not for files, or one that does
    /// not permit it any more ([`Bound::stopped`]).
    pub fn unlock(&self, file: LockedFile) -> Result<Opener, FileError> {
        if file.kid() != self.kid() || self.slot.key_type != KeyType::File {
            return Err(FileError::WrongKey);
        }
        let key = self.slot.duplicate().map_err(|_| FileError::WrongKey)?;
        file.unlock(&key)
    }
}

impl core::fmt::Debug for Bound {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Bound")
            .field("kid", &self.kid())
            .field("license", &self.license())
            .finish_non_exhaustive()
    }
}

/// The place of a key, shared by everything that uses it.
pub(crate) struct Slot {
    kid: Kid,
    key_type: KeyType,
    /// What is asked for every sample, without a lock.
    is_open: AtomicBool,
    key: Mutex<Result<ContentKey, Stop>>,
}

impl Slot {
    pub(crate) fn new(kid: Kid, key_type: KeyType, key: ContentKey) -> Self {
        Self {
            kid,
            key_type,
            is_open: AtomicBool::new(true),
            key: Mutex::new(Ok(key)),
        }
    }

    /// Takes the key out. Until [`Slot::reopen`] everybody is told why.
    pub(crate) fn close(&self, why: Stop) -> Option<ContentKey> {
        self.is_open.store(false, Ordering::Release);
        core::mem::replace(&mut *self.lock(), Err(why)).ok()
    }

    /// Whether another slot holds the same key, for the same purpose.
    pub(crate) fn holds(&self, key: &ContentKey, key_type: KeyType) -> bool {
        self.key_type == key_type && self.lock().as_ref().is_ok_and(|held| held == key)
    }

    pub(crate) const fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// Puts the key back.
    pub(crate) fn reopen(&self, key: ContentKey) {
        *self.lock() = Ok(key);
        self.is_open.store(true, Ordering::Release);
    }

    fn stopped(&self) -> Option<Stop> {
        self.lock().as_ref().err().copied()
    }

    /// A copy of the key.
    fn duplicate(&self) -> Result<ContentKey, Stop> {
        self.lock()
            .as_ref()
            .map(ContentKey::duplicate)
            .map_err(|why| *why)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Result<ContentKey, Stop>> {
        // Nobody can panic while holding it: what is done under it is one assignment or one copy.
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cipher(&self, scheme: Scheme, pattern: Pattern) -> Result<SampleCipher, KeyError> {
        if self.key_type != scheme.key_type() {
            return Err(KeyError::KeyType(scheme));
        }
        Ok(SampleCipher::new(
            &self.duplicate().map_err(key_error)?,
            scheme,
            pattern,
        )?)
    }

    fn permits(&self) -> Result<(), KeyError> {
        if self.is_open.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(self.stopped().map_or(KeyError::Missing, key_error))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The key wipes itself; calls that had a copy of it may have left one on the stack.
        zeroize::zeroize_stack::<STACK>();
    }
}

const fn key_error(why: Stop) -> KeyError {
    match why {
        Stop::Refused(refusal) => KeyError::Refused(refusal),
        Stop::Blocked(rule) => KeyError::Blocked(rule),
        Stop::NoRoot(_) | Stop::Distrusted => KeyError::Missing,
    }
}

/// The keys of a playback, for whoever reads samples. A key for CTR serves `cenc` and `cens`, one for CBC `cbc1`
/// and `cbcs`, one for files neither. Once a license does not permit it any more, its key is gone from every
/// copy of these; and every copy has the keys that the playback reaches later ([`Client::reach`](crate::Client::reach)).
#[derive(Clone, Default)]
pub struct Keys(Arc<RwLock<Vec<Arc<Slot>>>>);

impl Keys {
    /// Has these keys and no others from now on.
    pub(crate) fn set<'a>(&self, bound: impl IntoIterator<Item = &'a Bound>) {
        let slots = bound.into_iter().map(|bound| Arc::clone(&bound.slot)).collect();
        // Nobody can panic while holding it: what is done under it is one assignment or one search.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = slots;
    }

    fn slots(&self) -> RwLockReadGuard<'_, Vec<Arc<Slot>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was reached last is asked for first.
    fn find(&self, kid: Kid) -> Result<Arc<Slot>, KeyError> {
        let slots = self.slots();
        let found = slots.iter().rev().find(|slot| slot.kid == kid);
        found.map(Arc::clone).ok_or(KeyError::Missing)
    }
}

impl KeyRing for Keys {
    fn cipher(&self, kid: Kid, scheme: Scheme, pattern: Pattern) -> Result<SampleCipher, KeyError> {
        self.find(kid)?.cipher(scheme, pattern)
    }

    fn permits(&self, kid: Kid) -> Result<(), KeyError> {
        self.find(kid)?.permits()
    }
}

/// With a single key.
impl KeyRing for Bound {
    fn cipher(&self, kid: Kid, scheme: Scheme, pattern: Pattern) -> Result<SampleCipher, KeyError> {
        self.of_kid(kid)?.cipher(scheme, pattern)
    }

    fn permits(&self, kid: Kid) -> Result<(), KeyError> {
        self.of_kid(kid)?.permits()
    }
}

impl Bound {
    fn of_kid(&self, kid: Kid) -> Result<&Slot, KeyError> {
        (kid == self.kid())
            .then_some(&*self.slot)
            .ok_or(KeyError::Missing)
    }
}

/// The key ids alone.
impl core::fmt::Debug for Keys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list()
            .entries(self.slots().iter().map(|slot| slot.kid))
            .finish()
    }
}
