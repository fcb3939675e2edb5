//! Taking in a license response: every check of `spec/rules.md`, then one commit.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use keyward_crypto::x509::{Anchor, Role};
use keyward_license::{
    codec::{Bytes, DecodeError, Wire},
    envelope::SealedResponse,
    ids::{Digest, Kid, LicenseId, Nonce, TransactionId},
    license::{License, LicenseKind},
    request::Capabilities,
    response::{Denial, LicenseResponse, Outcome},
    signed::{SignedBody, Unverified},
    time::Timestamp,
};
use rand_core::CryptoRng;

use crate::{
    Client, ClientError, Held, LicenseFault, acknowledge,
    chain::{self, RootKeys, Verified},
    choose::{Kept, Place, Recorded},
    clock::{self, Told},
    device::{KeyStore, STACK},
    flow::Io,
    lists::{self, Learnt, TakenLists},
    operator::{self, Operator},
    store::{LicenseRecord, Pending, PendingTable, StoreBound, StoreLimits, Write},
};

/// What a response brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acquired {
    /// One outcome a key id: of each that was asked for, and of those whose licenses went along (V-014).
    pub outcomes: Vec<(Kid, AcquiredKey)>,
    /// The server's time.
    pub server_time: Timestamp,
    /// The service's own bytes for the application.
    pub custom_data: Option<Vec<u8>>,
    /// from when on to ask for what comes next, if the server has drawn a time. A playback that acquired this
    /// sees to it ([`Client::renew`]).
    pub renew_at: Option<Timestamp>,
    /// V-063, V-064: what became of the revocation lists that came along.
    pub lists: TakenLists,
    /// Names the response, if the license server is to be told what became of it ([`Client::acknowledge`]).
    pub transaction: Option<TransactionId>,
    /// the licenses that the application writes into the embedded license store of the content that they are
    /// for. If there is no room, they stay usable all the same.
    pub embed: Vec<ToEmbed>,
}

/// A license that says that it is to be embedded in its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToEmbed {
    /// Key id of the content.
    pub kid: Kid,
    /// The license.
    pub id: LicenseId,
    /// The signed license, as it is embedded.
    pub license: Vec<u8>,
}

impl Acquired {
    /// Both, of two answers one after the other.
    pub(crate) fn and(mut self, later: Self) -> Self {
        let is_told_anew = |kid: &Kid| later.outcomes.iter().any(|(other, _)| other == kid);
        self.outcomes.retain(|(kid, _)| !is_told_anew(kid));
        self.outcomes.extend(later.outcomes);
        self.embed.extend(later.embed);
        Self {
            outcomes: self.outcomes,
            embed: self.embed,
            lists: self.lists.and(later.lists),
            renew_at: later.renew_at.or(self.renew_at),
            ..later
        }
    }

    /// Of these those that were denied.
    pub(crate) fn denied(&self, kids: &[Kid]) -> Vec<Kid> {
        let denied = self.outcomes.iter().filter_map(|(kid, outcome)| match outcome {
            AcquiredKey::Denied(_) => Some(*kid),
            AcquiredKey::Stored(_) | AcquiredKey::InMemory(_) => None,
        });
        denied.filter(|kid| kids.contains(kid)).collect()
    }

    /// A denial of one of these, as the error that says why.
    pub(crate) fn denial(&self, kids: &[Kid]) -> Option<ClientError> {
        self.outcomes.iter().find_map(|(kid, outcome)| match outcome {
            AcquiredKey::Denied(denial) if kids.contains(kid) => Some(ClientError::Denied {
                kid: *kid,
                denial: denial.clone(),
            }),
            _ => None,
        })
    }
}

/// What became of one key id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcquiredKey {
    /// A license is in the store.
    Stored(LicenseId),
    /// A license is in memory, for as long as this client lives.
    InMemory(LicenseId),
    /// The server denied one.
    Denied(Denial),
}

/// The exchange that an answer came back on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    /// Nonce of the request that was sent.
    pub(crate) nonce: Nonce,
    /// From sending to the answer, in milliseconds of a clock that never steps.
    pub(crate) round_trip: u64,
}

/// A response that passed its own checks.
struct Checked {
    response: LicenseResponse,
    /// Its licenses, all of them.
    accepted: Result<Vec<Accepted>, Refusal>,
    learnt: Learnt,
    taken: TakenLists,
}

/// Why nothing of a response is used but what it brought of trust.
enum Refusal {
    /// Its signer is trusted no more, by the lists that came along.
    Signer(ClientError),
    /// The license of a key id was refused.
    License(Kid, ClientError),
}

/// What the licenses of a response are judged by.
struct Judging<'a> {
    operator: &'a Operator,
    /// With the lists that came along.
    anchor: &'a Anchor,
    verified: Verified,
}

/// A license that passed every check of installation.
pub(crate) struct Accepted {
    kid: Kid,
    license: Arc<License>,
    bytes: Vec<u8>,
}

impl Accepted {
    pub(crate) fn new(kid: Kid, license: Arc<License>, bytes: &[u8]) -> Self {
        Self {
            kid,
            license,
            bytes: bytes.to_vec(),
        }
    }

    fn id(&self) -> LicenseId {
        self.license.body().id
    }

    fn is_persistent(&self) -> bool {
        self.license.body().persistent
    }
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// Steps 9 and 10 of the main job. `exchange` is `None` for a response that was carried by other means.
    pub(crate) async fn run_install(
        &mut self,
        io: &Io,
        response: &[u8],
        exchange: Option<Exchange>,
    ) -> Result<Acquired, ClientError> {
        let round_trip = exchange.map(|exchange| exchange.round_trip);
        let mut table = self.store.pending(io).await?;
        // V-010, V-011: only the request's maker and its server know the key that opens the response.
        let (pending, opened) = take_matching(&mut table, response)?;
        // V-012: an answer that somebody kept would state an old time, and have the short round trip of a
        // request made today.
        if exchange.is_some_and(|exchange| exchange.nonce != pending.nonce) {
            return Err(ClientError::ResponseMismatch("it answers an earlier request"));
        }
        let checked = self.check_response(io, &pending, opened.expose()).await;
        let mut writes = vec![if table.0.is_empty() {
            Write::Delete(self.store.pending_key()?)
        } else {
            Write::Put(self.store.pending_key()?, table.encode())
        }];
        // The pending request is consumed whatever comes of its response.
        let checked = match checked {
            Ok(checked) => checked,
            Err(refused) => {
                self.store.commit(io, &mut self.rng, writes, |_| ()).await?;
                return Err(refused);
            }
        };
        let Checked {
            response,
            accepted,
            learnt,
            taken,
        } = checked;
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(refusal) => {
                let came = (pending.operator, &response);
                self.commit_refusal(io, writes, came, (&refusal, learnt)).await?;
                let (Refusal::Signer(refused) | Refusal::License(_, refused)) = refusal;
                return Err(refused);
            }
        };
        self.make_room_in_memory(io, &accepted)?;
        for license in accepted.iter().filter(|license| license.is_persistent()) {
            self.add_license(io, &pending.operator, license, &mut writes)
                .await?;
        }
        let deleted: Vec<_> = writes.iter().filter_map(Write::deleted).collect();
        writes.extend(self.trust_writes(&pending.operator, &learnt)?);
        let outcome = acknowledge::Told::Accepted;
        let told = self
            .acknowledgement(io, pending.operator, &response, outcome)
            .await?;
        let (write, waiting) = told.unzip();
        writes.extend(write);
        let server_time = response.server_time;
        self.store
            .commit(io, &mut self.rng, writes, |head| {
                clock::adopt(&mut head.clock, server_time, round_trip);
                head.acknowledgements = waiting.unwrap_or(head.acknowledgements);
            })
            .await?;
        self.told = Told::fresh(server_time, round_trip, io.moment()).or(self.told);
        match (lists::says_revoked(&response), learnt.revoked) {
            (Some(true), _) => drop(self.told_revoked.insert(pending.operator, server_time)),
            (_, None) => drop(self.told_revoked.remove(&pending.operator)),
            _ => {}
        }
        self.learn(io, &pending.operator, learnt);
        // Memory only after the commit: whatever fails before leaves nothing usable.
        let now = self.now(io);
        for license in accepted.iter().filter(|license| !license.is_persistent()) {
            let held = Held {
                kid: license.kid,
                id: license.id(),
                operator: pending.operator,
                license: license.bytes.clone(),
                is_leaf: license.license.body().leaf_of().is_some(),
                recorded: Recorded::default(),
            };
            self.hold(held, now);
        }
        self.end_displaced(&deleted);
        Ok(Acquired {
            lists: taken,
            transaction: response.transaction.filter(|_| waiting.is_some()),
            ..summary(response, &accepted)
        })
    }

    /// What is left of a response that was refused: its request is consumed, and what it brought of trust is known. If
    /// it is its licenses that were refused, the license server is to be told.
    async fn commit_refusal(
        &mut self,
        io: &Io,
        mut writes: Vec<Write>,
        (operator, response): (Digest, &LicenseResponse),
        (refusal, learnt): (&Refusal, Learnt),
    ) -> Result<(), ClientError> {
        writes.extend(self.trust_writes(&operator, &learnt)?);
        let told = match refusal {
            Refusal::Signer(_) => None,
            Refusal::License(kid, why) => {
                let outcome = acknowledge::Told::Refused(*kid, why);
                self.acknowledgement(io, operator, response, outcome).await?
            }
        };
        let (write, waiting) = told.unzip();
        writes.extend(write);
        self.store
            .commit(io, &mut self.rng, writes, |head| {
                head.acknowledgements = waiting.unwrap_or(head.acknowledgements);
            })
            .await?;
        self.learn(io, &operator, learnt);
        Ok(())
    }

    /// Refuses more licenses in memory than there may be. Before that those go that have ended, then the oldest leaves:
    /// they record nothing, and come again.
    fn make_room_in_memory(&mut self, io: &Io, accepted: &[Accepted]) -> Result<(), ClientError> {
        let coming = accepted.iter().filter(|license| !license.is_persistent()).count();
        let limit = self.store.limits().licenses_in_memory;
        if coming == 0 || self.memory.len().saturating_add(coming) <= limit {
            return Ok(());
        }
        let now = self.now(io);
        let mut held = core::mem::take(&mut self.memory);
        held.retain(|held| !self.is_over(&held.operator, &held.license, now));
        self.memory = held;
        let surplus = self.memory.len().saturating_add(coming).saturating_sub(limit);
        let leaves = self.memory.iter().filter(|held| held.is_leaf).count();
        let others = self.memory.len().saturating_sub(leaves);
        let count = others.saturating_add(coming);
        StoreLimits::check_count(count, limit, StoreBound::LicensesInMemory)?;
        let mut going = surplus;
        self.memory.retain(|held| {
            let goes = held.is_leaf && going > 0;
            going = going.saturating_sub(usize::from(goes));
            !goes
        });
        Ok(())
    }

    /// Keeps a license in memory. Of those of its key id one that has ended makes room, else the oldest.
    fn hold(&mut self, mut license: Held, now: Option<Timestamp>) {
        // the same license again takes its own place, and what was used of it stays used.
        let is_same = |held: &Held| (held.id, held.operator) == (license.id, license.operator);
        if let Some(at) = self.memory.iter().position(is_same) {
            license.recorded = self.memory.remove(at).recorded;
        }
        let of_kid = |held: &Held| held.kid == license.kid;
        let count = self.memory.iter().filter(|held| of_kid(held)).count();
        if count >= self.store.limits().licenses_per_kid.max(1) {
            let mut held = self.memory.iter();
            let ended =
                held.position(|held| of_kid(held) && self.is_over(&held.operator, &held.license, now));
            let leaves = ended.or_else(|| self.memory.iter().position(of_kid));
            leaves.map(|at| self.memory.remove(at));
        }
        self.memory.push(license);
    }

    /// V-012 to V-014 for the response, V-063 and V-064 for its revocation lists, V-020 to V-037 for each license in it.
    async fn check_response(
        &self,
        io: &Io,
        pending: &Pending,
        opened: &[u8],
    ) -> Result<Checked, ClientError> {
        let operator = self
            .operators
            .get(&pending.operator)
            .ok_or(ClientError::OperatorNotNamed("the operator was removed"))?;
        let known = self.store.head().clock;
        let response = self.verify_response(io, opened, operator.anchor())?;
        let at = operator::judge_at(&known, self.reading(io), response.server_time)?;
        // V-012
        if response.request != pending.digest || response.nonce != pending.nonce {
            return Err(ClientError::ResponseMismatch(
                "it repeats another request's digest or nonce",
            ));
        }
        // V-014: nothing goes along with the time alone.
        let takes_more = self.host.takes_more && !pending.kids.is_empty();
        response
            .check_results(|kid| pending.kids.contains(kid), takes_more)
            .map_err(|error| ClientError::ResponseMismatch(mismatch(error)))?;
        // V-063, V-064: what comes along counts for the rest of the response already.
        let mut lists = operator.lists.clone();
        let brought = response.revocation_lists.as_deref().unwrap_or_default();
        let taken = TakenLists::of(lists.adopt_all(brought, Some(at.max(response.server_time))));
        let demanding = self.host.demands_lists.then(|| lists::demanding(&lists));
        let judging = Judging {
            operator,
            anchor: demanding.as_ref().unwrap_or(&lists).anchor(),
            verified: Verified::default(),
        };
        let again = (taken.newer || demanding.is_some())
            .then(|| self.verify_response(io, opened, judging.anchor))
            .transpose();
        let accepted = match again {
            // What the lists say stands by their own signatures.
            Err(refused) => Err(Refusal::Signer(refused)),
            Ok(_) => {
                let licenses = self.check_licenses(io, pending, &response, (&judging, at));
                let refused = |(kid, why)| Refusal::License(kid, why);
                licenses.await?.map_err(refused)
            }
        };
        let said = || lists::own_revocation(&response, operator.revoked);
        let revoked = match &accepted {
            Ok(_) => said(),
            // A license that was refused takes nothing back.
            Err(Refusal::License(..)) => said().max(operator.revoked),
            Err(Refusal::Signer(_)) => operator.revoked,
        };
        Ok(Checked {
            response,
            accepted,
            learnt: Learnt {
                lists: taken.newer.then_some(lists),
                revoked,
            },
            taken,
        })
    }

    /// V-013
    fn verify_response(
        &self,
        io: &Io,
        opened: &[u8],
        anchor: &Anchor,
    ) -> Result<LicenseResponse, ClientError> {
        let (known, reading) = (self.store.head().clock, self.reading(io));
        let times = |body: &LicenseResponse| {
            // At the stated time as well: a signer cannot state a time beyond its own end.
            let now = clock::judge_at(&known, reading, body.server_time);
            now.into_iter().chain([body.server_time]).collect()
        };
        let verified = Unverified::<LicenseResponse>::parse(opened)
            .and_then(|message| message.verify(anchor, Role::LicenseServer, times));
        let response = verified.map_err(|error| ClientError::Message {
            what: "the license response",
            error,
        })?;
        Ok(response.into_body())
    }

    /// V-020 to V-037: all licenses of a response, or which one was refused and why.
    async fn check_licenses(
        &self,
        io: &Io,
        pending: &Pending,
        response: &LicenseResponse,
        (judging, at): (&Judging<'_>, Timestamp),
    ) -> Result<Result<Vec<Accepted>, (Kid, ClientError)>, ClientError> {
        let refused = |kid, fault| Ok(Err((kid, ClientError::LicenseRefused { kid, fault })));
        let mut accepted = Vec::new();
        for result in &response.results {
            let kid = result.kid;
            if let Outcome::License(bytes) = result.outcome()? {
                let license = match self.check_license(bytes, kid, pending, (judging, at)) {
                    Ok(license) => license,
                    Err(fault) => return refused(kid, fault),
                };
                // V-028
                if self.store.tombstone(io, &license.id()).await?.is_some() {
                    return refused(kid, LicenseFault::Removed);
                }
                accepted.push(license);
            }
        }
        match self.check_leaves(io, &pending.operator, &accepted).await {
            Err(ClientError::LicenseRefused { kid, fault }) => refused(kid, fault),
            Err(other) => Err(other),
            Ok(()) => Ok(Ok(accepted)),
        }
    }

    /// V-023: each leaf opens under its root, if that one is here or comes along. A leaf may come before its root.
    async fn check_leaves(
        &self,
        io: &Io,
        operator: &Digest,
        accepted: &[Accepted],
    ) -> Result<(), ClientError> {
        let (mut roots, mut keys) = (BTreeMap::new(), RootKeys::default());
        for one in accepted {
            let Some(root) = one.license.body().leaf_of() else {
                continue;
            };
            if let Entry::Vacant(new) = roots.entry(root) {
                let mut here = self.roots(io, root).await?;
                let along = accepted.iter().filter(|other| other.kid == root);
                here.extend(along.map(|other| Self::fresh(operator, other)));
                new.insert(here);
            }
            let leaf = Self::fresh(operator, one);
            let mut above = roots.get(&root).into_iter().flatten();
            let Some(root) = above.find(|root| chain::stands_under(&leaf, root)) else {
                continue;
            };
            let root = Some((operator, &*root.license));
            let opened = self.open_content_key(&one.license, root, &mut keys);
            zeroize::zeroize_stack::<STACK>();
            if opened.is_err() {
                return Err(ClientError::LicenseRefused {
                    kid: one.kid,
                    fault: LicenseFault::KeyNotOpened,
                });
            }
        }
        Ok(())
    }

    /// A license of which no use is recorded.
    fn fresh(operator: &Digest, accepted: &Accepted) -> Kept {
        Kept {
            license: Arc::clone(&accepted.license),
            operator: *operator,
            place: Place::Memory,
            recorded: Recorded::default(),
        }
    }

    /// V-039: installs a license that came with content. Where there is no room for it, it is not installed.
    pub(crate) async fn install_carried(
        &mut self,
        io: &Io,
        operator: Digest,
        accepted: &Accepted,
    ) -> Result<(), ClientError> {
        let mut writes = Vec::new();
        self.add_license(io, &operator, accepted, &mut writes).await?;
        let deleted: Vec<_> = writes.iter().filter_map(Write::deleted).collect();
        match self.store.commit(io, &mut self.rng, writes, |_| ()).await {
            Err(ClientError::StoreFull { .. }) => return Ok(()),
            other => other?,
        }
        self.end_displaced(&deleted);
        Ok(())
    }

    fn check_license(
        &self,
        bytes: &[u8],
        kid: Kid,
        pending: &Pending,
        (judging, at): (&Judging<'_>, Timestamp),
    ) -> Result<Accepted, LicenseFault> {
        // V-020, V-021, V-026, V-030, V-031, V-032, V-036
        let signers = judging.verified.signers(&pending.operator, judging.anchor);
        let license = License::verify(bytes, &signers, Some(at)).map_err(LicenseFault::Message)?;
        let body = license.body();
        // V-024
        if body.nonce.is_some_and(|nonce| nonce != pending.nonce) {
            return Err(LicenseFault::OtherNonce);
        }
        // V-025
        if body.asked_kid() != Ok(kid) {
            return Err(LicenseFault::OtherKid);
        }
        self.check_for_device(&license, judging.operator, &self.capabilities())?;
        Ok(Accepted::new(kid, Arc::new(license), bytes))
    }

    /// V-022, V-023, V-027, V-029, V-033, V-034: whether a license is for this device and can be used here. A leaf is
    /// for whoever has its root: it is opened where that one is.
    pub(crate) fn check_for_device(
        &self,
        license: &License,
        operator: &Operator,
        capabilities: &Capabilities,
    ) -> Result<(), LicenseFault> {
        let body = license.body();
        // V-029, V-033
        capabilities.cover(body).map_err(LicenseFault::of)?;
        if body.leaf_of().is_some() {
            return Ok(());
        }
        // V-022
        let device = self.keys.device_id().map_err(|_| LicenseFault::OtherDevice)?;
        if !body.binding.is_device(&device) {
            return Err(LicenseFault::OtherDevice);
        }
        // V-027
        if license.sealing().number() < operator.weakest_suite() {
            return Err(LicenseFault::WeakSuite);
        }
        // V-023, V-034
        let opened = match body.kind {
            LicenseKind::KeyExchange => self.check_exchange_keys(license),
            LicenseKind::Root => self.check_root_key(license),
            LicenseKind::Simple | LicenseKind::Leaf => self.check_content_key(license),
        };
        zeroize::zeroize_stack::<STACK>();
        opened
    }

    /// V-023. The caller clears the stack.
    #[inline(never)]
    fn check_content_key(&self, license: &License) -> Result<(), LicenseFault> {
        let opened = self.open_content_key(license, None, &mut RootKeys::default());
        opened.map(drop).map_err(|_| LicenseFault::KeyNotOpened)
    }

    /// V-023. The caller clears the stack.
    #[inline(never)]
    fn check_root_key(&self, license: &License) -> Result<(), LicenseFault> {
        let opened = self.open_root(license);
        opened.map(drop).map_err(|_| LicenseFault::KeyNotOpened)
    }

    /// Adds a license to the writes, making room among those of the same key id.
    async fn add_license(
        &self,
        io: &Io,
        operator: &Digest,
        license: &Accepted,
        writes: &mut Vec<Write>,
    ) -> Result<(), ClientError> {
        let key = self.store.license_key(&license.kid, &license.id())?;
        let now = self.now(io);
        let mut kept = self.store.licenses(io, &license.kid).await?;
        // the same license again takes its own place, and what was used of it stays used.
        let same = kept.iter().find(|(other, _)| *other == key);
        // Ids are random: who repeats one that another operator drew wants that one's license gone.
        if same.is_some_and(|(_, record)| record.operator != *operator) {
            return Err(ClientError::ResponseMismatch(
                "it brings a license with the id of another operator's",
            ));
        }
        let recorded = same.map(|(_, record)| record.recorded()).unwrap_or_default();
        kept.retain(|(other, _)| *other != key);
        let surplus = (kept.len() + 1).saturating_sub(self.store.limits().licenses_per_kid.max(1));
        if surplus > 0 {
            // What has ended goes first, then the oldest; one from before the clock was set counts as oldest.
            kept.sort_by_cached_key(|(_, record)| {
                let over = self.is_over(&record.operator, &record.license.0, now);
                (!over, record.installed)
            });
        }
        for (key, record) in kept.into_iter().take(surplus) {
            writes.push(Write::Delete(key));
            // what was begun does not begin anew. Others may come again.
            let license = self.verified(&record.operator, &record.license.0);
            if let Some(license) = license.filter(|_| record.recorded().is_begun()) {
                writes.extend(self.tombstone_of(&license)?);
            }
        }
        let record = LicenseRecord {
            license: Bytes(license.bytes.clone()),
            operator: *operator,
            installed: now,
            first_play: recorded.first_play,
            uses: Some(recorded.uses).filter(|uses| !uses.is_empty()),
        };
        let due = license.license.body().removal_date;
        writes.push(Write::PutUntil(key, record.encode(), due));
        Ok(())
    }

    /// Whether a license can never be used again.
    fn is_over(&self, operator: &Digest, license: &[u8], now: Option<Timestamp>) -> bool {
        let end = self
            .verified(operator, license)
            .map(|license| license.body().usable_until());
        end.is_none_or(|end| end.zip(now).is_some_and(|(end, now)| now >= end))
    }
}

/// Takes the request out of the table whose key opens the response.
fn take_matching(
    table: &mut PendingTable,
    response: &[u8],
) -> Result<(Pending, keyward_crypto::SecretBytes), ClientError> {
    let envelope = SealedResponse::decode(response).map_err(|_| ClientError::NotAResponse)?;
    let open = |pending: &Pending| {
        envelope
            .open(LicenseResponse::CONTEXT, &pending.response_key, &pending.digest)
            .ok()
    };
    let found = table
        .0
        .iter()
        .enumerate()
        .find_map(|(at, pending)| Some((at, open(pending)?)));
    let (at, opened) = found.ok_or(ClientError::NoPendingRequest)?;
    Ok((table.0.remove(at), opened))
}

/// V-014: why a response does not answer its request.
const fn mismatch(error: DecodeError) -> &'static str {
    match error {
        DecodeError::Invalid(why) => why,
        _ => "a result is neither a license nor a denial",
    }
}

fn summary(response: LicenseResponse, accepted: &[Accepted]) -> Acquired {
    let licensed = accepted.iter().map(|license| {
        let kept = if license.is_persistent() {
            AcquiredKey::Stored
        } else {
            AcquiredKey::InMemory
        };
        (license.kid, kept(license.id()))
    });
    let denied = response.results.iter().filter_map(|result| {
        result
            .denial
            .as_ref()
            .map(|denial| (result.kid, AcquiredKey::Denied(denial.clone())))
    });
    Acquired {
        outcomes: licensed.chain(denied).collect(),
        server_time: response.server_time,
        custom_data: response.custom_data.map(|data| data.0),
        renew_at: response.renew_at,
        lists: TakenLists::default(),
        transaction: None,
        embed: { accepted.iter() }.filter_map(to_embed).collect(),
    }
}

///
fn to_embed(accepted: &Accepted) -> Option<ToEmbed> {
    accepted.license.body().embed?;
    Some(ToEmbed {
        kid: accepted.kid,
        id: accepted.id(),
        license: accepted.bytes.clone(),
    })
}
