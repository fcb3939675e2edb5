//! What the server judges by: the operator's root with the lists that it signs or was given.

use core::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use keyward_crypto::{
    ChainFault, CryptoError,
    x509::{Certificate, revocation::RevocationList as CertificateRevocationList},
};
use keyward_license::{
    revocation::{
        DeviceFault, ISSUED_AHEAD, ListBounds, ListFault, ListHeld, MAX_LISTS_IN_FILE, MAX_PUSHED,
        RevocationList, RevocationLists, UnknownStatus,
    },
    signed::MessageError,
    time::Timestamp,
};
use tokio::sync::Mutex;

use super::{PublishedList, signing};
use crate::{
    Error, Refusal,
    authenticate::ChainCache,
    operator::Identity,
    server::Inner,
    store::{
        Purpose,
        revocation::{Generations, ListOf},
    },
};

/// The lists of one time.
pub(crate) struct Trust {
    /// How often what lists say had changed.
    pub(crate) generation: i64,
    pub(crate) lists: RevocationLists,
    /// Chains that were verified by these lists.
    pub(crate) chains: ChainCache,
    /// Whose they are: of keys and certificates that were read since, they may say something else.
    identity: Arc<Identity>,
    /// Whether the operator's own list is among them, if it says anything.
    knows_models: bool,
    pushed: Vec<Pushed>,
    made: Timestamp,
    /// When they are made anew.
    renew: Timestamp,
}

/// A list on its way to devices.
struct Pushed {
    list: PublishedList,
    /// Bytes that it takes in a response.
    size: usize,
    whom: Whom,
}

/// Whom a list is pushed to. Long ones tell nothing to devices that they do not name.
enum Whom {
    Everybody,
    Named(Box<CertificateRevocationList>),
    Nobody,
}

/// The lists that are judged by now.
#[derive(Default)]
pub(crate) struct TrustCache {
    held: RwLock<Option<Arc<Trust>>>,
    /// One makes them at a time.
    turn: Mutex<()>,
}

impl TrustCache {
    /// Forgets the lists: whose they are has changed.
    pub(crate) fn forget(&self) {
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Those that were asked for last.
    pub(crate) fn held(&self) -> Option<Arc<Trust>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The lists as they were when they were asked for last, or new ones in the middle of their life. Whether something
/// has been revoked since, the database says when it is asked about the device.
pub(crate) async fn current(server: &Inner, now: Timestamp) -> Result<Arc<Trust>, Error> {
    match server.trust.held() {
        Some(held) if held.serves(server, now) => Ok(held),
        stale => make_once(server, stale.as_ref(), now).await,
    }
}

/// Lists in the place of `stale`, which do not say any more what the database says.
pub(crate) async fn renew(server: &Inner, stale: &Arc<Trust>, now: Timestamp) -> Result<Arc<Trust>, Error> {
    make_once(server, Some(stale), now).await
}

/// Judges by the lists of now, and anew as long as what is revoked changes meanwhile.
///
/// # Errors
/// What judging fails with; [`Refusal::ListsChanged`] if that does not end.
pub(crate) async fn judged<T, F>(
    server: &Inner,
    now: Timestamp,
    judge: impl Fn(Arc<Trust>) -> F,
) -> Result<T, Refusal>
where
    F: Future<Output = Result<T, Refusal>>,
{
    let mut trust = current(server, now).await?;
    for _ in 0..ATTEMPTS {
        let judged = judge(Arc::clone(&trust)).await;
        let is_stale = match &judged {
            Err(Refusal::ListsChanged) => true,
            // Refused before the database was asked about anything.
            Err(refusal) if refusal.rests_on_lists() => {
                server.store.generations().await?.sum() != trust.generation
            }
            _ => false,
        };
        if !is_stale {
            return judged;
        }
        trust = renew(server, &trust, now).await?;
    }
    Err(Refusal::ListsChanged)
}

/// How often a request is judged.
const ATTEMPTS: usize = 4;

async fn make_once(server: &Inner, stale: Option<&Arc<Trust>>, now: Timestamp) -> Result<Arc<Trust>, Error> {
    let _turn = server.trust.turn.lock().await;
    let held = server.trust.held();
    if let Some(held) = &held
        && stale.is_none_or(|stale| !Arc::ptr_eq(stale, held))
        && held.serves(server, now)
    {
        return Ok(Arc::clone(held));
    }
    let made = Arc::new(make(server, now).await?);
    *server.trust.held.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&made));
    Ok(made)
}

async fn make(server: &Inner, now: Timestamp) -> Result<Trust, Error> {
    let generations = server.store.generations().await?;
    let revocations = generations.of(Purpose::ServerAuthority.as_str());
    if server.identity().revocations != revocations {
        // What was revoked of the server's own is not used any more.
        let _rolling = server.rolling.lock().await;
        server.reload_identity(now).await?;
    }
    let identity = server.identity();
    let mut making = Making::new(&generations, now);
    for (purpose, issuer) in identity.list_issuers() {
        let (list, generation) = signing::of_authority(server, (purpose, issuer), &generations, now).await?;
        making.add(list, Some((ListOf::Authority(purpose), generation)))?;
    }
    let own = signing::own(server, &identity, &generations, now).await?;
    let mut knows_models = own.is_some() || generations.of(ListOf::Own.as_str()) == 0;
    if let Some((list, generation)) = own {
        making.add(list, Some((ListOf::Own, generation)))?;
    }
    for der in server.store.imported_lists().await? {
        let list = signing::imported(&der)?;
        if list.next_update <= now {
            tracing::warn!(
                due = list.next_update.0,
                "the root's revocation list is out of date: make a new one with the root key"
            );
        }
        making.add(list, None)?;
    }
    let unknown = match server.config.revocation.refuse_expired {
        true => UnknownStatus::Refuse,
        false => UnknownStatus::Accept,
    };
    let mut lists = RevocationLists::new(identity.anchor.clone(), BOUNDS, unknown);
    let wire: Vec<_> = making
        .pushed
        .iter()
        .map(|pushed| pushed.list.list.clone())
        .collect();
    let faults = lists.adopt_all(&wire, None).1;
    check_adopted(&faults)?;
    knows_models &= !faults.iter().any(|fault| matches!(fault, ListFault::Devices(_)));
    Ok(Trust {
        generation: making.generation(),
        lists,
        chains: ChainCache::new(),
        knows_models,
        pushed: making.pushed,
        made: now,
        renew: making.renew,
        identity,
    })
}

/// An authority that is over or revoked has no list that counts, and needs none: nothing under it is accepted. Without
/// the operator's own list, whose signer is, models are not known. For anything else, that a list of the server's own is not one is a fault of the database.
fn check_adopted(faults: &[ListFault]) -> Result<(), Error> {
    let is_over = |fault: &ListFault| {
        use ChainFault::{Expired, NotYetValid, Revoked};
        let (ListFault::Certificates(CryptoError::ChainRefused(fault))
        | ListFault::Devices(MessageError::Signer(CryptoError::ChainRefused(fault)))) = fault
        else {
            return false;
        };
        matches!(fault, Expired | NotYetValid | Revoked)
    };
    for fault in faults {
        tracing::error!(%fault, "a revocation list of this server was refused");
    }
    match faults.iter().all(is_over) {
        true => Ok(()),
        false => Err(Error::Damaged("a revocation list of this server does not verify")),
    }
}

/// Lists that are being put together.
struct Making<'a> {
    generations: &'a Generations,
    now: Timestamp,
    /// At which generation the lists of a name are; the lowest of several.
    at: Vec<(&'static str, i64)>,
    pushed: Vec<Pushed>,
    renew: Timestamp,
}

impl<'a> Making<'a> {
    const fn new(generations: &'a Generations, now: Timestamp) -> Self {
        Self {
            generations,
            now,
            at: Vec::new(),
            pushed: Vec::new(),
            renew: Timestamp(u64::MAX),
        }
    }

    /// Adds a list, and of one that this server signs, what it says at which generation.
    fn add(&mut self, list: PublishedList, ours: Option<(ListOf, i64)>) -> Result<(), Error> {
        let due = match ours {
            Some(_) => signing::renew_at(list.issued, list.next_update),
            // From then on it tells less, which chains that were verified do not know.
            None => list.next_update,
        };
        let due = match (self.now < due, ours) {
            (true, _) => due,
            // It could not be signed, and is tried again.
            (false, Some(_)) => self.now.plus(PATIENCE),
            (false, None) => Timestamp(u64::MAX),
        };
        self.renew = self.renew.min(due);
        if let Some((of, generation)) = ours {
            match self.at.iter_mut().find(|(name, _)| *name == of.as_str()) {
                Some((_, at)) => *at = generation.min(*at),
                None => self.at.push((of.as_str(), generation)),
            }
        }
        self.pushed.push(Pushed {
            whom: Whom::of(&list, ours.map(|(of, _)| of))?,
            size: list.list.size(),
            list,
        });
        Ok(())
    }

    fn generation(&self) -> i64 {
        let at = |name: &str| self.at.iter().find(|(of, _)| *of == name).map(|(_, at)| *at);
        self.generations
            .sum_by(|name, generation| at(name).unwrap_or(generation))
    }
}

impl Whom {
    fn of(list: &PublishedList, of: Option<ListOf>) -> Result<Self, Error> {
        Ok(match (of, &list.list) {
            (
                Some(ListOf::Authority(Purpose::DeviceAuthority)),
                RevocationList::Certificates { list, .. },
            ) => Self::Named(Box::new(CertificateRevocationList::parse(&list.0)?)),
            (Some(ListOf::Authority(Purpose::PackagerAuthority)), _) => Self::Nobody,
            _ => Self::Everybody,
        })
    }

    /// Whether the device is one of them. Who holds an earlier list may have been named by it, and has to learn that it
    /// is not any more.
    fn is_with(&self, device: Option<&Certificate>, holds_earlier: bool) -> bool {
        match self {
            Self::Everybody => true,
            Self::Named(names) => {
                holds_earlier || device.is_some_and(|device| names.revoked_since(device.serial()).is_some())
            }
            Self::Nobody => false,
        }
    }
}

impl Trust {
    /// Whether they are judged by now: not after their time, not under other keys, and not by a clock that was ahead.
    fn serves(&self, server: &Inner, now: Timestamp) -> bool {
        now < self.renew
            && self.made <= now.plus(ISSUED_AHEAD)
            && Arc::ptr_eq(&self.identity, &server.identity())
    }

    /// V-047: whether the operator's own list names the device's model, by now.
    ///
    /// # Errors
    /// [`Refusal::StatusUnknown`] if that is required to be known and no current list tells, or if something is on the
    /// list and nothing signs it.
    pub(crate) fn names_model(&self, certificate: &Certificate, now: Timestamp) -> Result<bool, Refusal> {
        match self.lists.check_model(certificate, now) {
            Ok(()) if self.knows_models => Ok(false),
            Err(DeviceFault::Model { .. } | DeviceFault::Certificate { .. }) => Ok(true),
            _ => Err(Refusal::StatusUnknown),
        }
    }

    /// Every list.
    pub(crate) fn published(&self) -> impl Iterator<Item = &PublishedList> {
        self.pushed.iter().map(|pushed| &pushed.list)
    }

    /// The lists that are newer than those that a device says it holds, the smallest first, as many as a response
    /// takes.
    pub(crate) fn newer_than(
        &self,
        held: Option<&[ListHeld]>,
        device: Option<&Certificate>,
    ) -> Option<Vec<RevocationList>> {
        let held = held.unwrap_or_default();
        let is_newer = |pushed: &&Pushed| {
            let list = &pushed.list;
            let earlier = held.iter().find(|held| held.list == list.id);
            earlier.is_none_or(|held| held.number < list.number)
                && pushed.whom.is_with(device, earlier.is_some())
        };
        let mut newer: Vec<_> = self.pushed.iter().filter(is_newer).collect();
        newer.sort_by_key(|pushed| pushed.size);
        let mut room = MAX_BYTES;
        let fits = |pushed: &Pushed| {
            room = room.checked_sub(pushed.size)?;
            Some(pushed.list.list.clone())
        };
        let newer: Vec<_> = newer.into_iter().take(MAX_PUSHED).map_while(fits).collect();
        (!newer.is_empty()).then_some(newer)
    }
}

impl core::fmt::Debug for Trust {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Trust")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// What a server holds: its own lists, however long they are.
const BOUNDS: ListBounds = ListBounds {
    lists: MAX_LISTS_IN_FILE,
    bytes: usize::MAX,
};

/// Most bytes of lists in a response.
const MAX_BYTES: usize = 1 << 20;

/// Seconds after which a list that could not be signed is tried again.
const PATIENCE: u64 = 60;
