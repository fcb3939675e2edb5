//! What a client may do, by `spec/rules.md` and `spec/license.md` alone.

use std::collections::{BTreeMap, BTreeSet};

use keyward_client::flow::Moment;
use keyward_license::{
    ids::LicenseId,
    license::LicenseBody,
    time::Timestamp,
    usage_rules::{Action, Output, Usage, Verdict},
};

use crate::{
    generate::Case,
    naive::{self, Answer},
    world::kid,
};

/// how far the clock may read before the floor.
const TOLERANCE: u64 = 300;
/// by how much the floor has risen when it is stored.
const STEP: u64 = 60;
/// Longest round trip of a time that stands in for the clock, in milliseconds.
const LONGEST_ROUND_TRIP: u64 = 300_000;

/// A license that is held.
#[derive(Debug, Clone, PartialEq)]
struct Held {
    body: LicenseBody,
    first_play: Option<Timestamp>,
}

/// A playback that is going on.
#[derive(Debug, Clone, PartialEq)]
struct Playback {
    body: LicenseBody,
    first_play: Option<Timestamp>,
    /// Its time, and when that was on the clock that never steps.
    time: Option<(u64, u64)>,
    /// It goes by a time that a server told.
    told: bool,
    /// The floor when the rules were last asked.
    floor: u64,
}

/// Where the model stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Model {
    stored: Vec<Held>,
    memory: Vec<Held>,
    /// Removed licenses, each with the time from which it is of no use any more.
    tombstones: BTreeMap<LicenseId, Option<u64>>,
    /// Requests that wait for an answer.
    pending: BTreeSet<usize>,
    floor: u64,
    /// A server has stated the floor, not the local clock alone.
    floor_is_told: bool,
    /// The latest time that a server told with a short round trip.
    told_freshly: Option<u64>,
    /// The latest time that a server stated.
    stated: u64,
    /// What a server told this process, and when.
    told: Option<(u64, u64)>,
    playback: Option<Playback>,
}

/// The circumstances of an operation.
pub(crate) struct Scene<'s> {
    pub(crate) moment: Moment,
    pub(crate) outputs: &'s [Output],
    /// Nobody has tricked the clock or the store: what is permitted has to work.
    pub(crate) plain: bool,
}

pub(crate) type Judged = Result<(), String>;

impl Model {
    /// The process ends.
    pub(crate) fn restart(&mut self) {
        self.memory.clear();
        (self.told, self.playback) = (None, None);
    }

    /// The enrolment has stated the time, in another process.
    pub(crate) fn enrolled(&mut self, time: u64) {
        (self.floor, self.floor_is_told) = (time, true);
        (self.told_freshly, self.stated) = (Some(time), time);
    }

    pub(crate) fn end_playback(&mut self) {
        self.playback = None;
    }

    pub(crate) fn request(&mut self, number: usize) {
        self.pending.insert(number);
    }

    /// V-010: whatever comes of an answer, its request is consumed.
    pub(crate) fn consume(&mut self, number: usize) {
        self.pending.remove(&number);
    }

    /// V-010: an answer was looked at and refused; its request is consumed.
    pub(crate) fn refused(&mut self, number: usize, of: &[LicenseBody], scene: &Scene<'_>) -> Judged {
        let waited = self.pending.remove(&number);
        let is_removed = of.iter().any(|body| self.tombstones.contains_key(&body.id));
        if waited && !is_removed && scene.plain {
            return Err("an answer that was waited for was refused".into());
        }
        Ok(())
    }

    /// An answer was taken in, after a round trip if it came on the exchange of its request.
    pub(crate) fn installed(
        &mut self,
        number: usize,
        brought: &[LicenseBody],
        server: (Timestamp, Option<u64>),
        moment: Moment,
    ) -> Judged {
        if !self.pending.remove(&number) {
            return Err("V-010: an answer to no pending request was taken in".into());
        }
        self.hear(server.0.0, server.1, moment);
        for body in brought {
            // A tombstone stays until a server has stated a time at which the license is of no use any more.
            let over = |end: &Option<u64>| end.is_some_and(|end| end <= self.stated);
            if self.tombstones.get(&body.id).is_some_and(|end| !over(end)) {
                return Err("V-028: a license that was removed came back".into());
            }
            self.hold(body.clone());
        }
        Ok(())
    }

    fn hold(&mut self, body: LicenseBody) {
        let held = if body.persistent {
            &mut self.stored
        } else {
            &mut self.memory
        };
        // the same license again keeps its first play.
        match held.iter_mut().find(|held| held.body.id == body.id) {
            Some(same) => same.body = body,
            None => held.push(Held {
                body,
                first_play: None,
            }),
        }
    }

    /// A server states the time.
    fn hear(&mut self, time: u64, round_trip: Option<u64>, moment: Moment) {
        let fresh = round_trip.is_some_and(|millis| millis <= LONGEST_ROUND_TRIP);
        self.stated = self.stated.max(time);
        if fresh {
            self.told_freshly = self.told_freshly.max(Some(time));
            self.told = Some((time, moment.monotonic));
        }
        // What the local clock alone has shown, a fresh answer lowers; never below what a server told freshly.
        if time > self.floor || (fresh && !self.floor_is_told) {
            (self.floor, self.floor_is_told) = (time.max(self.told_freshly.unwrap_or(0)), true);
        }
    }

    /// the floor is stored if it has risen by enough.
    fn see(&mut self, now: Option<u64>) {
        if let Some(now) = now.filter(|now| *now >= self.floor + STEP) {
            (self.floor, self.floor_is_told) = (now, false);
        }
    }

    /// the time of a clock that reads this.
    fn read(&self, utc: u64) -> Option<u64> {
        (utc > 0 && utc + TOLERANCE >= self.floor).then(|| utc.max(self.floor))
    }

    /// The time by the host's own clock.
    fn own(&self, moment: Moment) -> Option<u64> {
        moment.utc.and_then(|utc| self.read(utc.0))
    }

    fn now(&self, moment: Moment) -> Option<u64> {
        self.own(moment).or_else(|| {
            let (time, at) = self.told?;
            self.read(time + (moment.monotonic - at) / 1000)
        })
    }

    fn of_kid(&self, number: u8) -> impl Iterator<Item = &Held> {
        let all = self.stored.iter().chain(&self.memory);
        all.filter(move |held| held.body.keys[0].kid == kid(number))
    }

    /// A license was opened under a key id: `Some` license, or none was.
    pub(crate) fn play(&mut self, number: u8, used: Option<LicenseId>, scene: &Scene<'_>) -> Judged {
        let now = self.now(scene.moment);
        self.playback = None;
        let Some(id) = used else {
            // One with a removal date may be gone.
            let is_sure = |held: &&Held| held.body.removal_date.is_none();
            let permitted = |held: &&Held| permits(held, false, now, scene).is_ok();
            let unused = self.of_kid(number).filter(is_sure).find(permitted).cloned();
            if let Some(unused) = unused.filter(|_| scene.plain) {
                return Err(format!("nothing was played, and it is permitted: {unused:?}"));
            }
            self.refuse(number, now, scene);
            return Ok(());
        };
        let (body, first_play) = self.used(number, id, now, scene)?;
        self.playback = Some(Playback {
            body,
            first_play,
            time: now.map(|now| (now, scene.moment.monotonic)),
            told: now.is_some() && self.own(scene.moment).is_none(),
            floor: self.floor,
        });
        Ok(())
    }

    /// Nothing may be used: if time is why for any license of the key id, it has been seen.
    fn refuse(&mut self, number: u8, now: Option<u64>, scene: &Scene<'_>) {
        let is_refused = |held| is_by_time(permits(held, false, now, scene));
        let by_time = self.of_kid(number).any(is_refused);
        if by_time {
            self.see(now);
        }
    }

    /// A license is opened.
    fn used(
        &mut self,
        number: u8,
        id: LicenseId,
        now: Option<u64>,
        scene: &Scene<'_>,
    ) -> Result<(LicenseBody, Option<Timestamp>), String> {
        let held = self.of_kid(number).find(|held| held.body.id == id);
        let held = held.ok_or_else(|| format!("{id:?} is not held and was used"))?;
        let first_play = permits(held, false, now, scene)
            .map_err(|rule| format!("{rule} refuses and it was played at {now:?}: {held:?}"))?;
        let body = held.body.clone();
        let mut all = self.stored.iter_mut().chain(&mut self.memory);
        if let (Some(held), Some(_)) = (all.find(|held| held.body.id == id), first_play) {
            held.first_play = first_play;
        }
        if body.begin.is_some() || body.end.is_some() || body.expiration_after_first_play.is_some() {
            self.see(now);
        }
        Ok((body, first_play))
    }

    /// What may have become of opening content where the process ended after its one commit.
    pub(crate) fn may_have_played(&self, number: u8, scene: &Scene<'_>) -> Vec<Self> {
        let mut refused = self.clone();
        refused.refuse(number, self.now(scene.moment), scene);
        let ids = self.of_kid(number).map(|held| held.body.id);
        let used = ids.filter_map(|id| {
            let mut one = self.clone();
            one.play(number, Some(id), scene).ok().map(|()| one)
        });
        used.chain([refused]).collect()
    }

    /// A piece of what plays was handed out without judging again.
    pub(crate) fn piece(&self, scene: &Scene<'_>) -> Judged {
        let playback = self.playback.as_ref().ok_or("nothing plays")?;
        let now = playback.now(scene.moment, |utc| utc + TOLERANCE >= playback.floor);
        playback.check(now, scene)
    }

    /// What plays was judged again: it goes on under a license, or stopped.
    pub(crate) fn go_on(&mut self, number: u8, under: Option<LicenseId>, scene: &Scene<'_>) -> Judged {
        let (now, own) = (self.now(scene.moment), self.own(scene.moment));
        let mut playback = self.playback.take().ok_or("nothing plays")?;
        playback.see(now, own.is_none(), scene.moment);
        let time = playback
            .carried(scene.moment)
            .filter(|_| now.is_some() || playback.told);
        playback.floor = self.floor;
        let judged = playback.check(time, scene);
        match under {
            Some(id) if id == playback.body.id && judged.is_ok() => {}
            Some(id) => {
                self.stop(&playback, time, scene);
                (playback.body, playback.first_play) = self.used(number, id, time, scene)?;
                playback.floor = self.floor;
            }
            None => {
                self.stop(&playback, time, scene);
                let mut next = self
                    .of_kid(number)
                    .filter(|held| held.body.removal_date.is_none());
                let goes_on = judged.is_ok() || next.any(|held| permits(held, false, time, scene).is_ok());
                if scene.plain && goes_on {
                    return Err(format!("it was stopped and may go on: {playback:?}"));
                }
                return Ok(());
            }
        }
        self.playback = Some(playback);
        Ok(())
    }

    fn stop(&mut self, playback: &Playback, time: Option<u64>, scene: &Scene<'_>) {
        if is_by_time(permits(&playback.held(), true, time, scene)) {
            self.see(time);
        }
    }

    /// The licenses of a key id are removed.
    pub(crate) fn delete(&mut self, number: u8) {
        self.remove(|body| body.keys[0].kid == kid(number));
    }

    /// what may be removed by the client's own clock is.
    pub(crate) fn clean(&mut self, moment: Moment) {
        if let Some(now) = self.now(moment) {
            self.remove(|body| body.removal_date.is_some_and(|date| date.0 <= now));
        }
    }

    fn remove(&mut self, goes: impl Fn(&LicenseBody) -> bool) {
        for held in self.stored.extract_if(.., |held| goes(&held.body)) {
            let grace = held.body.grace_period.unwrap_or(0);
            let over = held.body.end.map(|end| end.0 + grace);
            self.tombstones.insert(held.body.id, over);
        }
        self.memory.retain(|held| !goes(&held.body));
    }

    pub(crate) fn licenses_of(&self, number: u8) -> usize {
        self.of_kid(number).count()
    }
}

impl Playback {
    fn held(&self) -> Held {
        Held {
            body: self.body.clone(),
            first_play: self.first_play,
        }
    }

    fn carried(&self, moment: Moment) -> Option<u64> {
        self.time.map(|(time, at)| time + (moment.monotonic - at) / 1000)
    }

    /// its time never goes back, and never runs more slowly than the clock that never steps.
    fn see(&mut self, now: Option<u64>, told: bool, moment: Moment) {
        match now {
            None if !self.told => self.time = None,
            Some(now) if self.carried(moment).is_none_or(|carried| now > carried) => {
                (self.time, self.told) = (Some((now, moment.monotonic)), told);
            }
            _ => {}
        }
    }

    fn now(&self, moment: Moment, is_usable: impl Fn(u64) -> bool) -> Option<u64> {
        let carried = self.carried(moment)?;
        if self.told {
            return Some(carried);
        }
        let utc = moment.utc.map(|utc| utc.0).filter(|utc| is_usable(*utc))?;
        Some(carried.max(utc))
    }

    fn check(&self, now: Option<u64>, scene: &Scene<'_>) -> Judged {
        permits(&self.held(), true, now, scene)
            .map(|_| ())
            .map_err(|rule| format!("{rule} refuses and it went on at {now:?}: {self:?}"))
    }
}

/// the first play to record, or the rule that refuses.
fn permits(
    held: &Held,
    playing: bool,
    now: Option<u64>,
    scene: &Scene<'_>,
) -> Result<Option<Timestamp>, &'static str> {
    let case = Case {
        chain: vec![held.body.clone()],
        usage: Usage {
            first_play: held.first_play,
            playing,
        },
        security_level: keyward_license::certificate::SECURITY_LEVEL_SOFTWARE,
        outputs: scene.outputs.to_vec(),
        frame: None,
        extended: Vec::new(),
        sources: Vec::new(),
        watermarks: Vec::new(),
        action: Action::Play,
        now: now.map(Timestamp),
    };
    match naive::answer(&case) {
        Answer::Refused { rule, .. } => Err(rule),
        Answer::Allowed {
            outputs, first_play, ..
        } => match outputs.first() {
            Some((_, rule, _)) if outputs.iter().all(|(verdict, ..)| *verdict == Verdict::Block) => Err(rule),
            _ => Ok(first_play.map(Timestamp)),
        },
    }
}

fn is_by_time(judged: Result<Option<Timestamp>, &'static str>) -> bool {
    matches!(judged, Err("R-004" | "R-005" | "R-012"))
}
