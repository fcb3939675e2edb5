//! The flows: a key is prepared, kept up, closed.

use core::marker::PhantomData;
use std::sync::{Arc, Mutex, Weak};

use keyward_license::{
    codec::Wire,
    ids::LicenseId,
    key_exchange::{self, ExchangeError, Ring},
    license::License,
    time::Timestamp,
    usage_rules::{Action, Refusal},
};
use rand_core::CryptoRng;
use zeroize::zeroize_stack;

use super::{
    About, Allowance, Asked, Ended, Handle, Inner, Prepared, State,
    bytes::KeyBytes,
    count::{Block, counts_messages},
    permit::Permit,
};
use crate::{
    Client, ClientError, LicenseFault,
    acquire::Wanted,
    choose::{Chosen, Place, Stop},
    clock,
    device::{KeyStore, STACK},
    enforce::{Question, has_come},
    flow::Io,
    install::AcquiredKey,
    locked::Locked,
    patience::Occasion,
    session::Acquisition,
    store::{KeyUses, LicenseRecord, MessageCount, RecordKey, Write},
};

/// What can be made of the versions of a key, for its one operation.
pub(crate) trait Tool: Sized {
    fn of(ring: Ring) -> Result<Self, ExchangeError>;
}

macro_rules! tools {
    ($($tool:ident)*) => {
        $(impl Tool for key_exchange::$tool {
            fn of(ring: Ring) -> Result<Self, ExchangeError> {
                Self::new(ring)
            }
        })*
    };
}

tools!(Encryptor Decryptor Signer Verifier Wrapper Unwrapper);

/// What lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Nothing,
    Time,
    License,
}

/// What a license has recorded about a key, and where.
struct Counted {
    about: About,
    license: LicenseId,
    is_time_limited: bool,
    due: Option<Timestamp>,
    is_persistent: bool,
}

/// What a closed handle leaves behind.
pub(crate) struct Rest {
    counted: Counted,
    /// recorded and not made.
    unused: u64,
    seen: Option<Timestamp>,
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// Finds, verifies, judges, acquires if it has to and may, and binds.
    pub(crate) async fn run_prepare<T: Tool + 'static>(
        &mut self,
        io: &Io,
        asked: Asked,
        wanted: Wanted,
        acquisition: Acquisition,
    ) -> Result<Prepared<T>, ClientError> {
        let reactive = acquisition == Acquisition::Reactive;
        let mut missing = self.lacking(io, &asked, reactive).await?;
        // A license that only lacks a clock needs the time, and no other license.
        if reactive && missing == Missing::Time {
            self.run_ask_time(io, &wanted, Occasion::Needed).await?;
            missing = self.lacking(io, &asked, reactive).await?;
        }
        if reactive && missing != Missing::Nothing {
            let acquired = self.run_acquire(io, &wanted, Occasion::Needed).await?;
            let denial = acquired.outcomes.iter().find_map(|(kid, outcome)| match outcome {
                AcquiredKey::Denied(denial) if *kid == asked.kid => Some(denial.clone()),
                _ => None,
            });
            if let Some(denial) = denial {
                return Err(ClientError::Denied {
                    kid: asked.kid,
                    denial,
                });
            }
        }
        self.bind(io, &asked).await
    }

    /// What keeps a key from being prepared.
    async fn lacking(&mut self, io: &Io, asked: &Asked, reactive: bool) -> Result<Missing, ClientError> {
        let question = Question::of(Action::Perform, self.now(io));
        let unusable = match self.best_for(io, asked, &question).await {
            Ok(Ok(_)) => return Ok(Missing::Nothing),
            Ok(Err(unusable)) => unusable,
            // A license that is issued today may hold a key that an earlier one does not.
            Err(ClientError::WrongAlgorithm { .. }) if reactive => return Ok(Missing::License),
            Err(error) => return Err(error),
        };
        let now = self.now(io);
        self.remember_time(io, &unusable, now).await?;
        Ok(match unusable.stop {
            Some(Stop::Refused(Refusal::NoUsableClock)) if !unusable.used_up => Missing::Time,
            _ => Missing::License,
        })
    }

    async fn bind<T: Tool + 'static>(&mut self, io: &Io, asked: &Asked) -> Result<Prepared<T>, ClientError> {
        let question = Question::of(Action::Perform, self.now(io));
        let (chosen, about) = match self.best_for(io, asked, &question).await? {
            Ok(best) => best,
            Err(unusable) => {
                let now = self.now(io);
                self.remember_time(io, &unusable, now).await?;
                return Err(match unusable.stop {
                    Some(stop) => stop.of(asked.kid),
                    None if unusable.used_up => ClientError::UsedUp { kid: asked.kid },
                    None => ClientError::NoLicense { kid: asked.kid },
                });
            }
        };
        let key = self.unseal_key::<T>(&chosen.candidate.license, &about);
        zeroize_stack::<STACK>();
        let key = key?;
        let counted = Counted::of(&about, &chosen);
        let block = self.record_uses(io, &counted, question.now).await?;
        let mut permit = Permit::new(Arc::clone(&chosen.candidate.license), chosen.candidate.operator);
        self.inform(io, &mut permit);
        let mut allowance = Allowance::default();
        allowance.grant(block);
        let prepared = Prepared {
            inner: Arc::new(Inner {
                about,
                license: Arc::clone(&permit.license),
                memory: Arc::clone(&self.host.memory),
                state: Mutex::new(State {
                    key: Ok(key),
                    permit,
                    allowance,
                    streams: 0,
                }),
            }),
            operation: PhantomData,
        };
        // What permits to prepare it permits to perform.
        let outcome = prepared.inner.state().permit.judge(io.moment());
        outcome.map_err(|stop| stop.of(asked.kid))?;
        self.prepared.retain(|handle| handle.strong_count() > 0);
        let handle: Weak<Inner> = Arc::downgrade(&prepared.inner);
        self.prepared.push(handle);
        Ok(prepared)
    }

    /// V-023, V-034: opens a key of a license into its locked place. The caller clears the stack.
    #[inline(never)]
    fn unseal_key<T: Tool>(&self, license: &License, about: &About) -> Result<Locked<KeyBytes>, ClientError> {
        let mut place = Locked::empty(&*self.host.memory);
        let bytes = place.put(KeyBytes::empty());
        bytes.fill(license.body(), &self.open_keys(license)?, about)?;
        // What can be made once can be made for every call.
        bytes.tool::<T>(about)?;
        Ok(place)
    }

    /// V-023, V-034: whether each key of a license opens and is what its description says. The caller clears the
    /// stack.
    #[inline(never)]
    pub(crate) fn check_exchange_keys(&self, license: &License) -> Result<(), LicenseFault> {
        match self.open_keys(license) {
            Ok(_) => Ok(()),
            Err(ClientError::Decode(_)) => Err(LicenseFault::ExchangeKey),
            Err(_) => Err(LicenseFault::KeyNotOpened),
        }
    }

    fn inform(&self, io: &Io, permit: &mut Permit) {
        let level = self.level(&permit.operator);
        let revoked = self.revoked_from(&permit.operator, &[permit.license.body()]);
        permit.keep_up(
            (level, revoked),
            &self.host.extended,
            self.clocked(io),
            io.moment(),
        );
    }

    /// judges with what the client knows, stores the clock's floor, and records more uses.
    pub(crate) async fn run_keep_up<T>(
        &mut self,
        io: &Io,
        prepared: &Prepared<T>,
    ) -> Result<(), ClientError> {
        let inner = &prepared.inner;
        let kid = inner.about.kid;
        let (outcome, seen, is_there, is_streaming) = {
            let mut state = inner.state();
            self.inform(io, &mut state.permit);
            let outcome = state.judge_piece(kid, io.moment());
            let (allowance, streams) = (state.allowance, state.streams);
            (outcome, state.permit.seen, allowance.is_there(), streams > 0)
        };
        if outcome.is_err() {
            zeroize_stack::<STACK>();
        }
        if inner.terms().is_time_limited() {
            self.store_floor(io, seen).await?;
        }
        let counted = Counted::of_handle(inner);
        let missing = self.recorded(io, &counted).await?.is_none();
        if missing {
            inner.end(Ended::Removed);
        }
        match prepared.ended() {
            // A stream has its use: there need not be another one.
            Some(Ended::UsedUp) if is_streaming => return Ok(()),
            Some(why) => return Err(why.of(kid)),
            None if is_there => return Ok(()),
            None => {}
        }
        match self.record_uses(io, &counted, seen).await {
            Ok(block) => {
                inner.state().allowance.grant(block);
                Ok(())
            }
            Err(ClientError::UsedUp { .. }) if is_streaming => {
                inner.end(Ended::UsedUp);
                Ok(())
            }
            Err(error) => {
                if let ClientError::UsedUp { .. } = error {
                    inner.end(Ended::UsedUp);
                }
                Err(error)
            }
        }
    }

    /// gives back what was recorded and not made, if the license is still there.
    pub(crate) async fn run_close(&mut self, io: &Io, rest: Rest) -> Result<(), ClientError> {
        let Rest {
            counted,
            unused,
            seen,
        } = rest;
        let now = seen.filter(|_| counted.is_time_limited);
        if unused == 0 {
            return self.store_floor(io, now).await;
        }
        let taken_back = |taken: u64| taken.saturating_sub(unused);
        self.write_uses(io, &counted, taken_back, now).await
    }

    /// records a block of uses, before they are made; none where nothing limits them.
    async fn record_uses(
        &mut self,
        io: &Io,
        counted: &Counted,
        now: Option<Timestamp>,
    ) -> Result<Option<Block>, ClientError> {
        let kid = counted.about.kid;
        let by_license = match counted.about.uses {
            Some(limit) => {
                let recorded = self.recorded(io, counted).await?;
                let recorded = recorded.ok_or(ClientError::NoLicense { kid })?;
                Some(Block::of_uses(limit, recorded.taken(kid)))
            }
            None => None,
        };
        let by_key = match counted.message_version() {
            Some(version) => {
                let count = self.store.message_count(io, &kid, version).await?;
                Some(Block::of_messages(count.map_or(0, |count| count.taken)))
            }
            None => None,
        };
        let block = match (by_license, by_key) {
            (Some(one), Some(other)) => Some(one.and(other)),
            (one, other) => one.or(other),
        };
        let now = now.filter(|_| counted.is_time_limited);
        match block {
            Some(Block { uses: 0, .. }) => return Err(ClientError::UsedUp { kid }),
            Some(Block { uses, .. }) => {
                let taken = |taken: u64| taken.saturating_add(uses);
                self.write_uses(io, counted, taken, now).await?;
            }
            None => self.store_floor(io, now).await?,
        }
        Ok(block)
    }

    /// Changes what is recorded of a key's uses, in one commit with the clock's floor.
    async fn write_uses(
        &mut self,
        io: &Io,
        counted: &Counted,
        change: impl Fn(u64) -> u64,
        now: Option<Timestamp>,
    ) -> Result<(), ClientError> {
        let kid = counted.about.kid;
        let mut writes = Vec::new();
        let mut in_memory = None;
        if counted.about.uses.is_some()
            && let Some(mut recorded) = self.recorded(io, counted).await?
        {
            recorded.set_taken(kid, change(recorded.taken(kid)));
            if counted.is_persistent {
                writes.extend(self.license_write(io, counted, recorded.uses).await?);
            } else {
                in_memory = Some(recorded);
            }
        }
        if let Some(version) = counted.message_version() {
            let count = self.store.message_count(io, &kid, version).await?;
            let count = MessageCount {
                kid,
                version: version.into(),
                taken: change(count.map_or(0, |count| count.taken)),
            };
            let key = self.store.message_count_key(&kid, version)?;
            writes.push(Write::Put(key, count.encode()));
        }
        let kind = self.host.clock;
        let floor = now.filter(|now| clock::floor_is_due(kind, &self.store.head().clock, *now));
        if floor.is_some() || !writes.is_empty() {
            self.commit_use(io, writes, floor).await?;
        }
        // Memory only after the commit.
        if let Some(recorded) = in_memory {
            let mut held = self.memory.iter_mut();
            let held = held.find(|held| held.id == counted.license);
            held.into_iter().for_each(|held| held.recorded = recorded.clone());
        }
        Ok(())
    }

    async fn license_write(
        &self,
        io: &Io,
        counted: &Counted,
        uses: Vec<KeyUses>,
    ) -> Result<Option<Write>, ClientError> {
        let (asked, id) = (&counted.about.asked, &counted.license);
        let record = self.store.license(io, asked, id).await?;
        let key = self.store.license_key(asked, id)?;
        Ok(record.map(|record| {
            let uses = Some(uses).filter(|uses| !uses.is_empty());
            let record = LicenseRecord { uses, ..record };
            Write::PutUntil(key, record.encode(), counted.due)
        }))
    }

    /// What the license's use has left behind; none if the license is not there any more.
    async fn recorded(
        &self,
        io: &Io,
        counted: &Counted,
    ) -> Result<Option<crate::choose::Recorded>, ClientError> {
        if counted.is_persistent {
            let record = self
                .store
                .license(io, &counted.about.asked, &counted.license)
                .await?;
            return Ok(record.map(|record| record.recorded()));
        }
        let mut held = self.memory.iter();
        let held = held.find(|held| held.id == counted.license);
        Ok(held.map(|held| held.recorded.clone()))
    }

    /// Wipes the keys of every handle whose license has made room for others: in the store these were deleted.
    pub(crate) fn end_displaced(&mut self, deleted: &[RecordKey]) {
        let is_gone = |handle: &dyn Handle| {
            let id = handle.license();
            if handle.is_persistent() {
                let key = self.store.license_key(&handle.asked(), &id);
                !key.is_ok_and(|key| !deleted.contains(&key))
            } else {
                self.memory.iter().all(|held| held.id != id)
            }
        };
        let handles = self.prepared.iter().filter_map(Weak::upgrade);
        let gone = handles.filter(|handle| is_gone(&**handle));
        let gone: Vec<LicenseId> = gone.map(|handle| handle.license()).collect();
        self.end_handles(|license| gone.contains(&license));
    }

    /// V-020, R-015: wipes the keys of every handle whose license is none any more, or ends with a revocation, by what
    /// has become known.
    pub(crate) fn end_revoked(&self, io: &Io) {
        let now = self.now(io);
        for handle in self.prepared.iter().filter_map(Weak::upgrade) {
            let (license, operator) = handle.of();
            if !self.trusts(&operator, license) {
                handle.end(Ended::Refused(Stop::Distrusted));
            } else if has_come(self.revoked_from(&operator, &[license.body()]), now) {
                handle.end(Ended::Refused(Refusal::DeviceRevoked.into()));
            }
        }
    }

    /// Wipes the keys of every handle that was prepared under one of these licenses.
    pub(crate) fn end_handles(&mut self, is_removed: impl Fn(LicenseId) -> bool) {
        self.prepared.retain(|handle| {
            let Some(handle) = handle.upgrade() else {
                return false;
            };
            let removed = is_removed(handle.license());
            if removed {
                handle.end(Ended::Removed);
            }
            !removed
        });
    }
}

impl Counted {
    fn of(about: &About, chosen: &Chosen) -> Self {
        let body = chosen.candidate.body();
        Self {
            about: about.clone(),
            license: body.id,
            is_time_limited: body.is_time_limited(),
            due: body.removal_date,
            is_persistent: matches!(chosen.candidate.place, Place::Store(..)),
        }
    }

    fn of_handle(inner: &Inner) -> Self {
        Self {
            about: inner.about.clone(),
            license: inner.terms().id,
            is_time_limited: inner.terms().is_time_limited(),
            due: inner.terms().removal_date,
            is_persistent: inner.terms().persistent,
        }
    }

    /// The version whose messages are counted, if they are: the one that encrypts.
    fn message_version(&self) -> Option<u32> {
        let About {
            algorithm,
            operation,
            versions,
            ..
        } = &self.about;
        versions
            .first()
            .copied()
            .filter(|_| counts_messages(*algorithm, *operation))
    }
}

impl<T> Prepared<T> {
    /// Wipes the key, and says what is to be given back.
    pub(crate) fn wind_up(self) -> Rest {
        let counted = Counted::of_handle(&self.inner);
        let (unused, seen) = {
            let mut state = self.inner.state();
            (state.allowance.give_up(), state.permit.seen)
        };
        // The key goes with the handle.
        Rest {
            counted,
            unused,
            seen,
        }
    }
}
