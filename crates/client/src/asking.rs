//! What a playback has asked a license server for: it does not ask for the same again at every place.
//!
//! A host that cannot send a request drops its flow, so what is asked for is noted before.

use keyward_license::ids::Kid;

use crate::flow::Moment;

/// For how many seconds nothing is asked for again after it could not be had.
const PAUSE: u64 = 60;
/// The shortest such time, in seconds, and from one renewal to the next.
const SHORTEST_PAUSE: u64 = 5;
/// Most key ids of which a playback remembers that it asked for them.
const ASKED: usize = 64;

/// When a playback may ask, and for what. Its times are of the clock that never steps, in milliseconds.
#[derive(Debug)]
pub(crate) struct Asking {
    /// In seconds.
    pause: u64,
    /// Before it nothing is asked for because of a place.
    again_at: u64,
    /// Key ids that were asked for because of a leaf, each with when it may be asked for again.
    asked: Vec<(Kid, u64)>,
}

impl Default for Asking {
    fn default() -> Self {
        Self {
            pause: PAUSE,
            again_at: 0,
            asked: Vec::new(),
        }
    }
}

impl Asking {
    /// the server wants to be asked after so many seconds. Returns after how many it is asked, since one that states
    /// a time that has passed is not asked without end. What could not be had waits no longer than that either.
    pub(crate) fn paced(&mut self, seconds: u64) -> u64 {
        let wait = seconds.max(SHORTEST_PAUSE);
        self.pause = wait.min(PAUSE);
        wait
    }

    /// In seconds.
    pub(crate) const fn pause(&self) -> u64 {
        self.pause
    }

    /// Whether a place may ask.
    pub(crate) const fn may(&self, moment: Moment) -> bool {
        moment.monotonic >= self.again_at
    }

    /// A request is about to be made because of a place. Unless everything comes, the next one waits.
    pub(crate) const fn begin(&mut self, moment: Moment) {
        self.again_at = moment.monotonic.saturating_add(self.pause.saturating_mul(1000));
    }

    /// Everything that was lacking has come.
    pub(crate) const fn has_all(&mut self) {
        self.again_at = 0;
    }

    /// Of these key ids those that may be asked for.
    pub(crate) fn unasked(&self, kids: &[Kid], moment: Moment) -> Vec<Kid> {
        let waits = |kid: &Kid| {
            let mut asked = self.asked.iter();
            asked.any(|(of, again_at)| of == kid && moment.monotonic < *again_at)
        };
        kids.iter().filter(|kid| !waits(kid)).copied().collect()
    }

    /// These are about to be asked for, in the request that has begun.
    pub(crate) fn note(&mut self, kids: &[Kid]) {
        self.put(kids, self.again_at);
    }

    /// These were asked for and gave nothing that is of use.
    pub(crate) fn settle(&mut self, kids: &[Kid]) {
        self.put(kids, u64::MAX);
    }

    fn put(&mut self, kids: &[Kid], again_at: u64) {
        self.asked.retain(|(of, _)| !kids.contains(of));
        self.asked.extend(kids.iter().map(|kid| (*kid, again_at)));
        let surplus = self.asked.len().saturating_sub(ASKED);
        self.asked.drain(..surplus);
    }

    /// A root that has served may be asked for again when it ends.
    pub(crate) fn has_served(&mut self, root: Kid) {
        self.asked.retain(|(asked, _)| *asked != root);
    }
}
