//! What a client may do, by `spec/rules.md` and `spec/license.md` alone.

use std::collections::{BTreeMap, BTreeSet};

use keyward_client::flow::Moment;
use keyward_license::{
    ids::{Kid, LicenseId},
    license::LicenseBody,
    time::Timestamp,
    usage_rules::{Action, Output, Usage, Verdict},
};

use crate::{
    generate::Case,
    naive::{self, Answer},
    playback::{Part, Playback},
    world::kid,
};

/// how far the clock may read before the floor.
pub(crate) const TOLERANCE: u64 = 300;
/// by how much the floor has risen when it is stored.
const STEP: u64 = 60;
/// Longest round trip of a time that stands in for the clock, in milliseconds.
const LONGEST_ROUND_TRIP: u64 = 300_000;

/// A license that is held.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held {
    pub(crate) body: LicenseBody,
    pub(crate) first_play: Option<Timestamp>,
    /// In the store: when, if the clock could be read.
    pub(crate) installed: Option<u64>,
}

/// A license request over the network, and what came back.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    /// Number of the request.
    pub(crate) number: usize,
    pub(crate) brought: Vec<LicenseBody>,
    pub(crate) stated: Timestamp,
    /// In milliseconds.
    pub(crate) round_trip: u64,
    /// When the answer was there.
    pub(crate) moment: Moment,
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
    pub(crate) floor: u64,
    /// A server has stated the floor, not the local clock alone.
    floor_is_told: bool,
    /// The latest time that a server told with a short round trip.
    told_freshly: Option<u64>,
    /// The latest time that a server stated.
    stated: u64,
    /// What a server told this process, and when.
    told: Option<(u64, u64)>,
    pub(crate) playback: Option<Playback>,
    /// Leaves that ride in the content that was opened last, and were taken up because their root was there.
    riding: Vec<Held>,
    /// It was there for certain.
    rides_surely: bool,
    /// Licenses that the store, and memory, hold of a key id.
    per_kid: usize,
    /// How many have made room for others.
    pub(crate) evicted: usize,
}

/// The circumstances of an operation.
pub(crate) struct Scene<'s> {
    pub(crate) moment: Moment,
    pub(crate) outputs: &'s [Output],
    /// a list that the client has taken in names its device.
    pub(crate) revoked: bool,
    /// Nobody has tricked the clock or the store: what is permitted has to work.
    pub(crate) plain: bool,
}

pub(crate) type Judged = Result<(), String>;

impl Model {
    /// The process ends.
    pub(crate) fn restart(&mut self) {
        self.memory.clear();
        (self.told, self.playback) = (None, None);
        self.riding.clear();
    }

    /// A device that has been enrolled in another process, and told the time.
    pub(crate) fn enrolled(time: u64, per_kid: usize) -> Self {
        Self {
            floor: time,
            floor_is_told: true,
            told_freshly: Some(time),
            stated: time,
            per_kid,
            ..Self::default()
        }
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
        mut self,
        number: usize,
        brought: &[LicenseBody],
        server: (Timestamp, Option<u64>),
        moment: Moment,
    ) -> Result<Vec<Self>, String> {
        if !self.pending.remove(&number) {
            return Err("V-010: an answer to no pending request was taken in".into());
        }
        // Who makes room in the store is settled before the answer tells the time, who makes room in memory after that.
        let now = self.now(moment);
        self.hear(server.0.0, server.1, moment);
        let told = self.now(moment);
        if brought.iter().any(|body| self.is_removed(body)) {
            return Err("V-028: a license that was removed came back".into());
        }
        let mut places = vec![self];
        for body in brought {
            places = places
                .into_iter()
                .flat_map(|model| model.hold(body, now, told))
                .collect();
        }
        Ok(places)
    }

    /// Where the model may stand after an exchange: what came was taken in, or refused because it was removed earlier.
    pub(crate) fn heard(&self, exchange: &Exchange) -> Vec<Self> {
        let mut requested = self.clone();
        requested.request(exchange.number);
        let server = (exchange.stated, Some(exchange.round_trip));
        let taken = requested
            .clone()
            .installed(exchange.number, &exchange.brought, server, exchange.moment);
        let was_removed = |body: &LicenseBody| self.tombstones.contains_key(&body.id);
        let refused = exchange.brought.iter().any(was_removed).then(|| {
            requested.consume(exchange.number);
            requested
        });
        taken.unwrap_or_default().into_iter().chain(refused).collect()
    }

    /// V-028: a tombstone stays until a server has stated a time at which the license is of no use any more.
    fn is_removed(&self, body: &LicenseBody) -> bool {
        let over = |end: &Option<u64>| end.is_some_and(|end| end <= self.stated);
        self.tombstones.get(&body.id).is_some_and(|end| !over(end))
    }

    /// Takes in a license. Where it is not known which one makes room, there are several places to stand.
    fn hold(mut self, body: &LicenseBody, now: Option<u64>, told: Option<u64>) -> Vec<Self> {
        let kid = body.keys[0].kid;
        let coming = |first_play| Held {
            body: body.clone(),
            first_play,
            installed: now,
        };
        if !body.persistent {
            let of_kid = |held: &Held| held.body.keys[0].kid == kid;
            if self.memory.iter().filter(|held| of_kid(held)).count() >= self.per_kid {
                let over = |held: &Held| {
                    let end = held.body.usable_until().map(|end| end.0);
                    of_kid(held) && end.zip(told).is_some_and(|(end, told)| told >= end)
                };
                let oldest = self.memory.iter().position(of_kid).unwrap();
                let leaves = self.memory.iter().position(over).unwrap_or(oldest);
                self.memory.remove(leaves);
                self.evicted += 1;
            }
            self.memory.push(coming(None));
            return vec![self];
        }
        // the same license again keeps its first play.
        if let Some(same) = self.stored.iter_mut().find(|held| held.body.id == body.id) {
            *same = coming(same.first_play);
            return vec![self];
        }
        let mut places = self.without_what_may_be_gone(kid);
        while places.iter().any(|model| model.stored_of(kid) >= model.per_kid) {
            places = places
                .into_iter()
                .flat_map(|model| model.with_room(kid, now))
                .collect();
        }
        for model in &mut places {
            model.stored.push(coming(None));
        }
        places
    }

    fn stored_of(&self, kid: Kid) -> usize {
        self.stored
            .iter()
            .filter(|held| held.body.keys[0].kid == kid)
            .count()
    }

    /// what may be removed by a server's word is gone, or not yet.
    fn without_what_may_be_gone(self, kid: Kid) -> Vec<Self> {
        let is_due = |held: &&Held| {
            let due = held.body.removal_date.is_some_and(|date| date.0 <= self.stated);
            due && held.body.keys[0].kid == kid
        };
        let due: Vec<_> = self
            .stored
            .iter()
            .filter(is_due)
            .map(|held| held.body.id)
            .collect();
        let mut places = vec![self];
        for id in due {
            let gone = places.clone().into_iter().map(|mut model| {
                model.stored.retain(|held| held.body.id != id);
                model
            });
            places = gone.chain(places.clone()).collect();
        }
        places
    }

    /// One of a key id makes room: one that has ended, then the oldest. One that was begun does not come back.
    fn with_room(self, kid: Kid, now: Option<u64>) -> Vec<Self> {
        if self.stored_of(kid) < self.per_kid {
            return vec![self];
        }
        let rank = |held: &Held| {
            let end = held.body.usable_until().map(|end| end.0);
            let is_over = end.zip(now).is_some_and(|(end, now)| now >= end);
            (!is_over, held.installed)
        };
        let of_kid = || self.stored.iter().filter(|held| held.body.keys[0].kid == kid);
        let first = of_kid().map(rank).min();
        let victims = of_kid().filter(|held| Some(rank(held)) == first);
        let without = victims.map(|victim| {
            let mut model = self.clone();
            model.stored.retain(|held| held.body.id != victim.body.id);
            model.evicted += 1;
            if victim.first_play.is_some() {
                model
                    .tombstones
                    .insert(victim.body.id, victim.body.usable_until().map(|end| end.0));
            }
            model
        });
        without.collect()
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
    pub(crate) fn see(&mut self, now: Option<u64>) {
        if let Some(now) = now.filter(|now| *now >= self.floor + STEP) {
            (self.floor, self.floor_is_told) = (now, false);
        }
    }

    /// the time of a clock that reads this.
    fn read(&self, utc: u64) -> Option<u64> {
        (utc > 0 && utc + TOLERANCE >= self.floor).then(|| utc.max(self.floor))
    }

    /// The time by the host's own clock.
    pub(crate) fn own(&self, moment: Moment) -> Option<u64> {
        moment.utc.and_then(|utc| self.read(utc.0))
    }

    pub(crate) fn now(&self, moment: Moment) -> Option<u64> {
        self.own(moment).or_else(|| {
            let (time, at) = self.told?;
            self.read(time + (moment.monotonic - at) / 1000)
        })
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Held> {
        self.stored.iter().chain(&self.memory)
    }

    fn of_kid(&self, number: u8) -> impl Iterator<Item = &Held> {
        self.all()
            .chain(&self.riding)
            .filter(move |held| held.body.keys[0].kid == kid(number))
    }

    /// V-037: every license of a key id; a leaf with each license of its root that is of no lower level.
    fn chains(&self, number: u8) -> Vec<Chain<'_>> {
        let chains = self.of_kid(number).flat_map(|license| {
            let Some(root) = license.body.leaf_of() else {
                return vec![Chain { root: None, license }];
            };
            let level = |held: &Held| held.body.minimum_security_level.unwrap_or(0);
            let roots = self.all().filter(|held| held.body.keys[0].kid == root);
            let above = roots.filter(|root| level(root) >= level(license));
            above
                .map(|root| Chain {
                    root: Some(root),
                    license,
                })
                .collect()
        });
        chains.collect()
    }

    /// What plays comes to where a leaf rides.
    pub(crate) fn pass_by(&mut self, leaf: &LicenseBody) {
        let (before, was_sure) = (self.riding.clone(), self.rides_surely || self.riding.is_empty());
        if before.iter().any(|held| held.body.id == leaf.id) {
            return;
        }
        self.ride(core::slice::from_ref(leaf));
        let is_sure = self.rides_surely || self.riding.is_empty();
        self.riding.extend(before);
        self.rides_surely = was_sure && is_sure;
    }

    /// Content is opened in which these leaves ride, or none.
    pub(crate) fn ride(&mut self, leaves: &[LicenseBody]) {
        self.riding.clear();
        let held = leaves.iter().map(|body| Held {
            body: body.clone(),
            first_play: None,
            installed: None,
        });
        let all: Vec<_> = held.collect();
        self.riding.clone_from(&all);
        self.rides_surely = true;
        let mut taken = Vec::new();
        for leaf in all {
            let chains = self.chains(leaf.body.keys[0].kid.as_bytes()[0]);
            let roots = chains.iter().filter(|chain| *chain.license == leaf);
            let roots: Vec<_> = roots.filter_map(|chain| chain.root).collect();
            let is_sure = roots.iter().any(|root| root.body.removal_date.is_none());
            if !roots.is_empty() {
                taken.push((leaf, is_sure));
            }
        }
        self.rides_surely = taken.iter().all(|(_, is_sure)| *is_sure);
        self.riding = taken.into_iter().map(|(leaf, _)| leaf).collect();
    }

    /// Whether some license of a key id permits to play it.
    pub(crate) fn permitted(&self, number: u8, now: Option<u64>, scene: &Scene<'_>) -> bool {
        let mut chains = self.chains(number).into_iter();
        chains.any(|chain| chain.permits(now, scene).is_ok())
    }

    /// The same, of licenses that are there for certain: one with a removal date may be gone.
    pub(crate) fn surely_permitted(&self, number: u8, now: Option<u64>, scene: &Scene<'_>) -> bool {
        let chains = self.chains(number).into_iter();
        let mut sure = chains.filter(|chain| {
            let stays = chain.bodies().iter().all(|body| body.removal_date.is_none());
            stays && (self.rides_surely || !self.riding.contains(chain.license))
        });
        sure.any(|chain| chain.permits(now, scene).is_ok())
    }

    /// Content was opened: under these licenses, one a key id; or it was not.
    pub(crate) fn play(
        &mut self,
        numbers: &[u8],
        used: Option<&[Under]>,
        reactive: bool,
        scene: &Scene<'_>,
    ) -> Judged {
        let now = self.now(scene.moment);
        self.playback = None;
        let Some(used) = used else {
            if scene.plain
                && numbers
                    .iter()
                    .all(|number| self.surely_permitted(*number, now, scene))
            {
                return Err(format!(
                    "{numbers:?} were not played, and it is permitted at {now:?}: {self:?}"
                ));
            }
            self.refuse(numbers, now, scene);
            return Ok(());
        };
        let mut parts = Vec::new();
        for (number, under) in numbers.iter().zip(used) {
            parts.push(self.used(*number, *under, now, scene)?);
        }
        self.begin(parts, reactive, now, scene.moment);
        Ok(())
    }

    /// Content was opened with leave to ask a license server.
    pub(crate) fn stream(
        mut self,
        numbers: &[u8],
        used: Option<&[Under]>,
        exchanges: &[Exchange],
        (before, after): (&Scene<'_>, &Scene<'_>),
    ) -> Result<Vec<Self>, String> {
        let now = self.now(before.moment);
        let (sure, none) = (
            numbers
                .iter()
                .all(|number| self.surely_permitted(*number, now, before)),
            numbers.iter().any(|number| self.of_kid(*number).next().is_none()),
        );
        if before.plain && sure && !exchanges.is_empty() {
            return Err("a license server was asked, and nothing was lacking".into());
        }
        if before.plain && none && exchanges.is_empty() {
            return Err("there is no license, and no license server was asked".into());
        }
        self.refuse(numbers, now, before);
        let mut places = vec![self];
        for exchange in exchanges {
            places = places.iter().flat_map(|model| model.heard(exchange)).collect();
        }
        let mut why = Err("what came was neither taken in nor refused".to_owned());
        places.retain_mut(|model| {
            let judged = model.play(numbers, used, true, after);
            let stays = judged.is_ok();
            why = core::mem::replace(&mut why, Ok(())).and(judged);
            stays
        });
        if places.is_empty() {
            why.map(|()| places)
        } else {
            Ok(places)
        }
    }

    /// Some key may not be used: if time is why for any license of its key id, it has been seen.
    pub(crate) fn refuse(&mut self, numbers: &[u8], now: Option<u64>, scene: &Scene<'_>) {
        for number in numbers
            .iter()
            .filter(|number| !self.permitted(**number, now, scene))
        {
            let is_refused = |chain: Chain<'_>| is_by_time(chain.permits(now, scene).map(drop));
            if self.chains(*number).into_iter().any(is_refused) {
                return self.see(now);
            }
        }
    }

    /// A license is opened.
    pub(crate) fn used(
        &mut self,
        number: u8,
        under: Under,
        now: Option<u64>,
        scene: &Scene<'_>,
    ) -> Result<Part, String> {
        let chains = self.chains(number);
        let chain = chains.iter().find(|chain| chain.under() == under);
        let chain = chain.ok_or_else(|| format!("{under:?} is no chain that is held, and was used"))?;
        let first_play = chain
            .permits(now, scene)
            .map_err(|rule| format!("{rule} refuses and it was played at {now:?}: {chain:?}"))?;
        let (body, root) = (
            chain.license.body.clone(),
            chain.root.map(|root| root.body.clone()),
        );
        // the first play of a leaf is its root's.
        let records = root.as_ref().unwrap_or(&body).clone();
        let mut all = self.stored.iter_mut().chain(&mut self.memory);
        if let (Some(held), Some(_)) = (all.find(|held| held.body.id == records.id), first_play) {
            held.first_play = first_play;
        }
        if records.begin.is_some() || records.end.is_some() || records.expiration_after_first_play.is_some() {
            self.see(now);
        }
        Ok(Part {
            number,
            body,
            root,
            first_play,
            plays: true,
            reached: 0,
        })
    }

    /// What plays under a chain, as it stands.
    pub(crate) fn part(&self, number: u8, under: Under) -> Option<Part> {
        let chains = self.chains(number);
        let chain = chains.iter().find(|chain| chain.under() == under)?;
        Some(Part {
            number,
            body: chain.license.body.clone(),
            root: chain.root.map(|root| root.body.clone()),
            first_play: chain.root.unwrap_or(chain.license).first_play,
            plays: true,
            reached: 0,
        })
    }

    /// What may have become of opening content where the process ended after its one commit.
    pub(crate) fn may_have_played(&self, numbers: &[u8], scene: &Scene<'_>) -> Vec<Self> {
        let mut refused = self.clone();
        refused.refuse(numbers, self.now(scene.moment), scene);
        let mut chosen = vec![Vec::new()];
        for number in numbers {
            let chains = self.chains(*number);
            let ids: Vec<_> = chains.iter().map(Chain::under).collect();
            let with = |id: &Under| {
                let id = *id;
                chosen
                    .iter()
                    .map(move |before: &Vec<_>| [&before[..], &[id]].concat())
            };
            chosen = ids.iter().flat_map(with).collect();
        }
        let used = chosen.iter().filter_map(|ids| {
            let mut one = self.clone();
            one.play(numbers, Some(ids), false, scene).ok().map(|()| one)
        });
        used.chain([refused]).collect()
    }

    /// The licenses of a key id are removed.
    pub(crate) fn delete(&mut self, number: u8) {
        self.remove(|body| body.keys[0].kid == kid(number));
    }

    /// One license is removed, if it is there; whether it was, unless it may have gone of itself.
    pub(crate) fn delete_one(&mut self, id: LicenseId, was_there: Option<bool>) -> Judged {
        let held = self.all().find(|held| held.body.id == id);
        let may_be_gone = held.is_some_and(|held| held.body.removal_date.is_some());
        if was_there.is_some_and(|was_there| was_there != held.is_some()) && !may_be_gone {
            return Err(format!("it was there: {was_there:?}, by the model: {held:?}"));
        }
        self.remove(|body| body.id == id);
        Ok(())
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

/// The license that holds a key, and the root license that it stands under.
pub(crate) type Under = (LicenseId, Option<LicenseId>);

/// What is judged together.
#[derive(Debug, Clone, Copy)]
struct Chain<'m> {
    root: Option<&'m Held>,
    license: &'m Held,
}

impl Chain<'_> {
    fn under(&self) -> Under {
        (self.license.body.id, self.root.map(|root| root.body.id))
    }

    fn bodies(&self) -> Vec<LicenseBody> {
        let root = self.root.into_iter();
        root.chain([self.license]).map(|held| held.body.clone()).collect()
    }

    fn permits(&self, now: Option<u64>, scene: &Scene<'_>) -> Result<Option<Timestamp>, &'static str> {
        let first_play = self.root.unwrap_or(self.license).first_play;
        permits(self.bodies(), first_play, false, now, scene)
    }
}

/// the first play to record, or the rule that refuses.
pub(crate) fn permits(
    chain: Vec<LicenseBody>,
    first_play: Option<Timestamp>,
    playing: bool,
    now: Option<u64>,
    scene: &Scene<'_>,
) -> Result<Option<Timestamp>, &'static str> {
    let case = Case {
        chain,
        usage: Usage { first_play, playing },
        security_level: keyward_license::certificate::SECURITY_LEVEL_SOFTWARE,
        revoked: scene.revoked,
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

pub(crate) fn is_by_time(judged: Result<(), &'static str>) -> bool {
    matches!(judged, Err("R-004" | "R-005" | "R-012"))
}
