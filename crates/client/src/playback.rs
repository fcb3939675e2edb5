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

use keyward_license::{
    ids::Kid,
    time::Timestamp,
    usage_rules::{Refusal, Usage},
};
use rand_core::CryptoRng;

use crate::{
    Client, ClientError,
    acquire::Wanted,
    bound::Bound,
    choose::Stop,
    device::KeyStore,
    enforce::Question,
    flow::{Io, Moment},
    host::Outputs,
    session::{Acquisition, Opened},
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
        let in_time = match self.changes_at() {
            None => true,
            Some(end) => self.pace.now(moment).is_some_and(|now| now < end),
        };
        is_open && same_outputs && in_time && !self.frame_changed
    }

    /// R-013: what to acquire because a license is in its grace period: once for each license, and only for content
    /// that was opened reactively. Whether that succeeds changes nothing for the license that is in use.
    pub fn renewal(&mut self) -> Option<Wanted> {
        if self.acquisition == Acquisition::Never {
            return None;
        }
        self.renewed
            .retain(|id| self.bound.iter().any(|bound| bound.license() == *id));
        let in_grace = self.bound.iter().filter(|bound| bound.is_in_grace());
        let new = in_grace
            .map(Bound::license)
            .find(|id| !self.renewed.contains(id))?;
        self.renewed.push(new);
        Some(self.wanted.clone())
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
        opened.frame_changed = false;
        let now = opened.pace.now(io.moment());
        let renewal = (opened.acquisition == Acquisition::Reactive).then_some(&opened.wanted);
        for bound in &mut opened.bound {
            if bound.stopped().is_none()
                && let Err(stop) = self.judge_again(bound, now)
            {
                self.slide(io, bound, stop, now, renewal).await?;
            }
        }
        // A server may have told the time meanwhile.
        opened.pace.see(self.clocked(io), io.moment());
        Ok(Standing::of(opened))
    }

    /// R-014: a playback is going on.
    pub(crate) fn judge_again(&self, bound: &mut Bound, now: Option<Timestamp>) -> Result<(), Stop> {
        let changes = self.host.outputs.changes();
        if bound.outputs_seen != changes {
            bound.outputs = self.host.outputs_for(&bound.license);
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
        let allowed = self.judge(&bound.license, usage, bound.level, &bound.outputs, &question)?;
        bound.allowed.outputs = allowed.outputs;
        bound.allowed.playback_ends = allowed.playback_ends;
        // A license that was in grace when it was opened stays so, whether or not its end stops what plays.
        bound.allowed.in_grace |= allowed.in_grace;
        bound.changes_at = allowed.changes_at;
        Ok(())
    }

    /// Goes on under the best license that permits it now. The key is out of everybody's reach until that is
    /// settled, and stays so if it never is.
    async fn slide(
        &mut self,
        io: &Io,
        bound: &mut Bound,
        stop: Stop,
        now: Option<Timestamp>,
        renewal: Option<&Wanted>,
    ) -> Result<(), ClientError> {
        let key = bound.slot.close(stop);
        let mut question = Question {
            frame: bound.frame,
            ..Question::of(bound.action, now)
        };
        let mut next = self.best(io, bound.kid(), &question).await?;
        if stop.is_by_time() || next.as_ref().is_err_and(|unusable| unusable.by_time) {
            self.store_floor(io, now).await?;
        }
        if let (Err(_), Some(wanted)) = (&next, renewal)
            && self.is_helped(io, stop, wanted).await
        {
            question.now = self.now(io).max(now);
            next = self.best(io, bound.kid(), &question).await?;
        }
        let (Ok(chosen), Some(key)) = (next, key) else {
            return Ok(());
        };
        let mut released = self.release(io, vec![chosen], &question).await?;
        // Another key under the same key id would be of no use to what is being read.
        let fits = |next: &Bound| next.slot.holds(&key, bound.slot.key_type());
        if let Some(next) = released.pop().filter(fits) {
            let slot = std::sync::Arc::clone(&bound.slot);
            *bound = Bound { slot, ..next };
            bound.slot.reopen(key);
        }
        Ok(())
    }

    /// Asks a license server for what was lacking: the time, or a license. What is denied, or cannot be had now,
    /// leaves the stop as it is.
    async fn is_helped(&mut self, io: &Io, stop: Stop, wanted: &Wanted) -> bool {
        match stop {
            Stop::Refused(Refusal::NoUsableClock) => self.run_ask_time(io, wanted).await.is_ok(),
            stop if stop.is_by_time() => self.run_acquire(io, wanted).await.is_ok(),
            _ => false,
        }
    }
}
