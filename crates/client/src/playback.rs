//! Playing on: the rules while content plays, and from one license to the next.
//!
//! ```text
//!  for every piece   Opened::holds      nothing has changed: no I/O, no client
//!       │ no
//!       ▼
//!  Client::go_on     judge again (R-014) ──► holds
//!       │ refused
//!       ▼
//!  the key is taken back, the next license of the key id is bound (R-040) ──► the same key, put back
//!       │ none
//!       ▼
//!  Standing::stopped, with the rule; reading goes no further
//! ```

use std::{collections::BTreeSet, sync::Arc};

use keyward_crypto::ContentKey;
use keyward_license::{
    ids::Kid,
    request::MAX_KIDS,
    time::Timestamp,
    usage_rules::{Refusal, Usage},
};
use rand_core::CryptoRng;

use crate::{
    Client, ClientError,
    acquire::Wanted,
    bound::Bound,
    choose::{Chosen, Stop, Unusable},
    device::KeyStore,
    enforce::{Question, bodies},
    flow::{Io, Moment},
    host::Outputs,
    install::Acquired,
    patience::Occasion,
    riding::Riding,
    session::{Acquisition, Needs, Opened, Opening, Renewal},
};

/// How a playback stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The keys that were taken back, each with what decided.
    pub stopped: Vec<(Kid, Stop)>,
    /// How many keys can still be used.
    pub playing: usize,
    /// When time changes this answer next, if it does.
    pub changes_at: Option<Timestamp>,
    /// R-013: a license is in its grace period: acquire a new one ([`Opened::renewal`]).
    pub in_grace: bool,
}

impl Standing {
    fn of(opened: &Opened) -> Self {
        let bound = opened.bound.iter();
        let stopped = bound
            .clone()
            .filter_map(|bound| Some((bound.kid(), bound.stopped()?)));
        let stopped: Vec<_> = stopped.collect();
        Self {
            playing: opened.bound.len().saturating_sub(stopped.len()),
            stopped,
            changes_at: opened.changes_at(),
            in_grace: bound.clone().any(Bound::is_in_grace),
        }
    }
}

impl Standing {
    /// Refuses to go on where no key is left. Of several keys, each that was taken back fails where it is used.
    ///
    /// # Errors
    /// [`ClientError::Refused`] or [`ClientError::Blocked`], of the first key.
    pub fn check(&self) -> Result<(), ClientError> {
        match self.stopped.first() {
            Some((kid, stop)) if self.playing == 0 => Err(stop.of(*kid)),
            _ => Ok(()),
        }
    }
}

impl Opened {
    /// Whether nothing has happened since the rules were last asked that could make them say something else: then
    /// content may be handed out. Otherwise [`Client::go_on`] says whether it may.
    ///
    /// Costs no I/O and needs no client. `moment` is read from the clocks that were there when the content was
    /// opened, and `outputs` are the host's.
    #[must_use]
    pub fn holds(&self, moment: Moment, outputs: &dyn Outputs) -> bool {
        let changes = outputs.changes();
        let same_outputs = self.bound.iter().all(|bound| bound.outputs_seen == changes);
        // Of several keys, those that were taken back are no reason to ask again: their samples do not open.
        let is_open = self.bound.iter().any(|bound| bound.stopped().is_none());
        let now = self.pace.now(moment);
        let in_time = match self.changes_at() {
            None => true,
            Some(end) => now.is_some_and(|now| now < end),
        };
        let is_open = is_open || self.bound.is_empty();
        let is_settled = self.trusted == self.changes.count() && !self.frame_changed;
        is_open && same_outputs && in_time && is_settled && !self.renews(now)
    }

    /// R-046: whether the time has come to ask for what comes next, and nobody has been told yet.
    fn renews(&self, now: Option<Timestamp>) -> bool {
        let has_come = self.renewal.at.zip(now).is_some_and(|(at, now)| now >= at);
        has_come && !self.renewal.is_due && self.acquisition == Acquisition::Reactive
    }

    /// R-013, R-046: what to acquire because a license is in its grace period, or because the time that the server
    /// drew for it has come: once for each license and each such time, and only for content that was opened
    /// reactively. Whether that succeeds changes nothing for the license that is in use.
    ///
    /// [`Client::renew`] asks for it as well, and takes in the next such time.
    pub fn renewal(&mut self) -> Option<Wanted> {
        if self.acquisition == Acquisition::Never {
            return None;
        }
        if self.renewal.is_due {
            self.renewal = Renewal::default();
            return Some(self.next());
        }
        self.renewed
            .retain(|id| self.bound.iter().any(|bound| bound.renewed() == *id));
        let in_grace = self.bound.iter().filter(|bound| bound.is_in_grace());
        let new = in_grace
            .map(Bound::renewed)
            .find(|id| !self.renewed.contains(id))?;
        self.renewed.push(new);
        Some(self.next())
    }

    /// What to ask for to go on: for what plays where the content came to last.
    fn next(&self) -> Wanted {
        let open = self.bound.iter().filter(|bound| bound.stopped().is_none());
        self.next_of(open.filter(|bound| self.is_present(bound)))
    }

    /// The roots of these keys, and those that stand under none, as the content needed them last; or if it never came to
    /// a place of its own, what it was opened with.
    fn next_of<'b>(&self, bounds: impl Iterator<Item = &'b Bound>) -> Wanted {
        let (mut kids, mut rootless) = (Vec::new(), Vec::new());
        for bound in bounds {
            match bound.root_kid() {
                Some(root) => kids.push(root),
                None => rootless.push(bound.kid()),
            }
        }
        if kids.is_empty() && (rootless.is_empty() || self.places == 0) {
            return self.wanted.clone();
        }
        let content_headers = match rootless.len() {
            0 => Vec::new(),
            _ => self.latest.content_headers.clone(),
        };
        kids.append(&mut rootless);
        kids.sort_unstable();
        kids.dedup();
        self.wanted_for(kids, content_headers)
    }

    /// Whether the content needs a key where it came to last.
    const fn is_present(&self, bound: &Bound) -> bool {
        bound.reached == self.places
    }

    /// From the same server as what it was opened with.
    fn wanted_for(&self, kids: Vec<Kid>, content_headers: Vec<Vec<u8>>) -> Wanted {
        Wanted {
            license_url: self.wanted.named_url().ok().flatten(),
            content_headers,
            kids,
            ..self.wanted.clone()
        }
    }

    /// Whether the content can come to a place with the keys that are released already. If so it has come there, and
    /// [`Client::reach`] need not be called, which would do the same.
    pub fn comes_to(&mut self, needs: &Needs, moment: Moment) -> bool {
        let has_all = self.lacking(&needs.kids, self.pace.now(moment)).is_empty();
        if has_all {
            self.come_to(needs);
        }
        has_all
    }

    /// Of the key ids that a place needs those whose keys are not released. What has ended is there for a playback that
    /// goes on with it (R-014), and not for one that comes to it: else whoever names a key early would have it after the
    /// end.
    fn lacking(&self, kids: &[Kid], now: Option<Timestamp>) -> Vec<Kid> {
        let open = self.bound.iter().filter(|bound| bound.stopped().is_none());
        let there = open.filter(|bound| bound.has_not_ended(now) || self.is_present(bound));
        let mut seen: BTreeSet<_> = there.map(Bound::kid).collect();
        kids.iter().copied().filter(|kid| seen.insert(*kid)).collect()
    }

    /// These keys have ended and no playback goes on with them: they go, whatever becomes of the place that needs them.
    fn take_back(&mut self, kids: &[Kid]) {
        let kids: BTreeSet<_> = kids.iter().copied().collect();
        self.bound
            .retain(|bound| bound.stopped().is_some() || !kids.contains(&bound.kid()));
        self.keys.set(&self.bound);
    }

    /// The content has come to a place, with the keys that it needs there.
    fn come_to(&mut self, needs: &Needs) {
        self.places = self.places.saturating_add(1);
        let kids: BTreeSet<_> = needs.kids.iter().copied().collect();
        let open = self.bound.iter_mut().filter(|bound| bound.stopped().is_none());
        for bound in open.filter(|bound| kids.contains(&bound.kid())) {
            bound.reached = self.places;
        }
        self.latest = Needs {
            kids: needs.kids.clone(),
            licenses: Vec::new(),
            content_headers: needs.content_headers.clone(),
        };
    }

    /// R-046: what could not be had is asked for again after a while, and not before what was planned already.
    fn renew_later(&mut self, now: Option<Timestamp>) {
        let later = now.map(|now| now.plus(self.asking.pause()));
        self.renewal.at = self.renewal.at.into_iter().chain(later).min();
    }

    /// The earliest time at which the rules say something else of what plays.
    fn changes_at(&self) -> Option<Timestamp> {
        let open = self.bound.iter().filter(|bound| bound.stopped().is_none());
        open.filter_map(|bound| bound.changes_at).min()
    }
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// R-043: judges again what plays, and goes on under another license where one does not permit it any more.
    pub(crate) async fn run_go_on(&mut self, io: &Io, opened: &mut Opened) -> Result<Standing, ClientError> {
        opened.pace.see(self.clocked(io), io.moment());
        // From here on it is this client's knowledge that counts, which may be a later one than that which opened it.
        opened.changes.clone_from(&self.changes);
        let known = self.changes.count();
        let now = opened.pace.now(io.moment());
        if opened.renews(now) {
            opened.renewal.is_due = true;
        }
        let lacking = self.judge_all(io, opened, now).await?;
        // All were judged. Where one could not be, nothing is settled.
        (opened.frame_changed, opened.trusted) = (false, known);
        let acquired = self.help(io, opened, &lacking).await;
        // A server may have told the time meanwhile.
        opened.pace.see(self.clocked(io), io.moment());
        if let Some(acquired) = acquired {
            let later = self.now(io).max(now);
            for Lacking { at, key, .. } in lacking {
                if let Some(bound) = opened.bound.get_mut(at)
                    && let Ok(next) = self.next_license(io, bound, later, &opened.riding).await?
                {
                    self.slide(io, bound, (key, next), later, &mut opened.riding)
                        .await?;
                }
            }
            opened.note_acquired(acquired, opened.pace.now(io.moment()));
        }
        opened.let_go_of_roots(now);
        Ok(Standing::of(opened))
    }

    /// Judges again every key that plays. One that may not be used goes on under another license; if there is none, it
    /// is lacking where the content is now and a license server may help, and gone elsewhere.
    async fn judge_all(
        &mut self,
        io: &Io,
        opened: &mut Opened,
        now: Option<Timestamp>,
    ) -> Result<Vec<Lacking>, ClientError> {
        let (places, may_ask) = (opened.places, opened.acquisition == Acquisition::Reactive);
        let mut lacking = Vec::new();
        for (at, bound) in opened.bound.iter_mut().enumerate() {
            if bound.stopped().is_some() {
                continue;
            }
            let Err(stop) = self.judge_again(bound, now) else {
                continue;
            };
            // It is out of everybody's reach until this is settled, and stays so if it never is.
            let Some(key) = bound.slot.close(stop) else {
                continue;
            };
            let next = self.next_license(io, bound, now, &opened.riding).await?;
            if stop.is_by_time() || next.as_ref().is_err_and(|unusable| unusable.by_time) {
                self.store_floor(io, now).await?;
            }
            match next {
                Ok(next) => {
                    self.slide(io, bound, (key, next), now, &mut opened.riding)
                        .await?;
                }
                Err(_) if may_ask && bound.reached == places && may_help(stop) => {
                    lacking.push(Lacking { at, stop, key });
                }
                Err(_) => {}
            }
        }
        Ok(lacking)
    }

    /// Content has come to a place, whose keys are judged as when it is opened (R-014 shields what plays, and no key
    /// that is new).
    pub(crate) async fn run_reach(
        &mut self,
        io: &Io,
        opened: &mut Opened,
        needs: Needs,
    ) -> Result<Standing, ClientError> {
        if needs.kids.len() > MAX_KIDS {
            return Err(ClientError::TooManyKeys { most: MAX_KIDS });
        }
        let now = opened.pace.now(io.moment());
        let lacking = opened.lacking(&needs.kids, now);
        if !lacking.is_empty() {
            opened.take_back(&lacking);
            let wanted = Wanted {
                licenses: needs.licenses.clone(),
                ..opened.wanted_for(lacking.clone(), needs.content_headers.clone())
            };
            let opening = Opening {
                kids: &lacking,
                wanted: &wanted,
                acquisition: opened.acquisition,
                action: opened.action,
                riding: &mut opened.riding,
                asking: &mut opened.asking,
                pace: Some(&mut opened.pace),
            };
            let released = self.run_release(io, opening).await;
            let now = opened.pace.now(io.moment());
            let (bound, acquired) = released.inspect_err(|_| opened.let_go_of_roots(now))?;
            opened.join(bound, &needs.kids);
            opened.let_go_of_roots(now);
            opened.note_acquired(acquired, now);
        }
        opened.come_to(&needs);
        Ok(Standing::of(opened))
    }

    /// R-013, R-046
    pub(crate) async fn run_renew(
        &mut self,
        io: &Io,
        opened: &mut Opened,
    ) -> Result<Option<Acquired>, ClientError> {
        let Some(wanted) = opened.renewal() else {
            return Ok(None);
        };
        // What plays goes on, and asks again later; a host that cannot send ends the flow here.
        opened.renew_later(opened.pace.now(io.moment()));
        let acquired = self.run_acquire(io, &wanted, Occasion::Ahead).await?;
        opened.pace.see(self.clocked(io), io.moment());
        opened.renewal = Renewal::default();
        opened.note_renewal(&acquired, opened.pace.now(io.moment()));
        Ok(Some(acquired))
    }

    /// R-014: a playback is going on.
    pub(crate) fn judge_again(&self, bound: &mut Bound, now: Option<Timestamp>) -> Result<(), Stop> {
        let changes = self.host.outputs.changes();
        if bound.outputs_seen != changes {
            bound.outputs = self.host.outputs_for(&bodies(&bound.chain()));
            bound.outputs_seen = changes;
        }
        let usage = Usage {
            first_play: bound.first_play,
            playing: true,
        };
        let question = Question {
            frame: bound.frame,
            ..Question::of(bound.action, now)
        };
        let (chain, of) = (bound.chain(), (&bound.operator, bound.level));
        let allowed = self.judge(&chain, usage, of, &bound.outputs, &question)?;
        // R-015: a revocation that is to come.
        let revoked_from = self.revoked_from(&bound.operator, &bodies(&chain));
        bound.allowed.outputs = allowed.outputs;
        bound.allowed.playback_ends = allowed.playback_ends;
        // A license that was in grace when it was opened stays so, whether or not its end stops what plays.
        bound.allowed.in_grace |= allowed.in_grace;
        bound.changes_at = allowed.changes_at.into_iter().chain(revoked_from).min();
        Ok(())
    }

    /// The best license that permits what plays to go on.
    async fn next_license(
        &self,
        io: &Io,
        bound: &Bound,
        now: Option<Timestamp>,
        riding: &Riding,
    ) -> Result<Result<Chosen, Unusable>, ClientError> {
        let question = Question {
            frame: bound.frame,
            riding: &riding.leaves,
            ..Question::of(bound.action, now)
        };
        self.best(io, bound.kid(), &question).await
    }

    /// Goes on under another license, if its key is the same.
    async fn slide(
        &mut self,
        io: &Io,
        bound: &mut Bound,
        (key, next): (ContentKey, Chosen),
        now: Option<Timestamp>,
        riding: &mut Riding,
    ) -> Result<(), ClientError> {
        let question = Question {
            frame: bound.frame,
            ..Question::of(bound.action, now)
        };
        let mut released = self.release(io, vec![next], &question, &mut riding.roots).await?;
        // Another key under the same key id would be of no use to what is being read.
        let fits = |next: &Bound| next.slot.holds(&key, bound.slot.key_type());
        if let Some(next) = released.pop().filter(fits) {
            let (slot, reached) = (Arc::clone(&bound.slot), bound.reached);
            *bound = Bound {
                slot,
                reached,
                ..next
            };
            bound.slot.reopen(key);
        }
        Ok(())
    }

    /// Asks a license server for what is lacking, in one request: licenses, or the time. What is denied, or cannot be
    /// had now, leaves the stops as they are. `None` if nothing came.
    async fn help(&mut self, io: &Io, opened: &Opened, lacking: &[Lacking]) -> Option<Option<Acquired>> {
        let asking = lacking.iter().filter(|lacking| lacking.stop.asks_for_another());
        let mut bounds = asking
            .filter_map(|lacking| opened.bound.get(lacking.at))
            .peekable();
        if bounds.peek().is_some() {
            let wanted = opened.next_of(bounds);
            let acquired = self.run_acquire(io, &wanted, Occasion::Needed).await;
            return acquired.ok().map(Some);
        }
        if lacking.is_empty() {
            return None;
        }
        let told = self.run_ask_time(io, &opened.wanted, Occasion::Needed).await;
        told.ok().map(|_| None)
    }
}

/// Whether a license server may help: with another license, or with the time.
const fn may_help(stop: Stop) -> bool {
    stop.asks_for_another() || matches!(stop, Stop::Refused(Refusal::NoUsableClock))
}

/// A key that no license permits to use any more.
struct Lacking {
    /// Where it is among those that were released.
    at: usize,
    stop: Stop,
    key: ContentKey,
}
