//! The model's playback: what say while content plays.

use keyward_client::flow::Moment;
use keyward_license::{license::LicenseBody, time::Timestamp};

use crate::model::{Exchange, Judged, Model, Scene, TOLERANCE, Under, is_by_time, permits};

/// What plays: content under one key or several.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Playback {
    parts: Vec<Part>,
    /// To how many places it came.
    places: u64,
    /// It may ask a license server.
    reactive: bool,
    /// Its time, and when that was on the clock that never steps.
    time: Option<(u64, u64)>,
    /// It goes by a time that a server told.
    told: bool,
    /// The clock could be used when the rules were last asked.
    usable: bool,
    /// The floor when the rules were last asked.
    floor: u64,
}

/// One key of what plays.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    pub(crate) number: u8,
    pub(crate) body: LicenseBody,
    pub(crate) root: Option<LicenseBody>,
    pub(crate) first_play: Option<Timestamp>,
    pub(crate) plays: bool,
    /// The place that needed it last.
    pub(crate) reached: u64,
}

impl Part {
    fn check(&self, now: Option<u64>, scene: &Scene<'_>) -> Result<(), &'static str> {
        let chain = self.root.iter().chain([&self.body]).cloned().collect();
        permits(chain, self.first_play, true, now, scene).map(drop)
    }

    /// Whether its licenses have not ended.
    fn has_not_ended(&self, now: Option<u64>, scene: &Scene<'_>) -> bool {
        let chain: Vec<_> = self.root.iter().chain([&self.body]).cloned().collect();
        let ends = |body: &LicenseBody| body.end.is_some() || body.expiration_after_first_play.is_some();
        let bare = Scene {
            outputs: &[],
            // What is there is not asked about it before it is judged again.
            revoked: false,
            ..*scene
        };
        !chain.iter().any(ends) || now.is_some() && permits(chain, self.first_play, false, now, &bare).is_ok()
    }

    fn under(&self) -> Under {
        (self.body.id, self.root.as_ref().map(|root| root.id))
    }
}

impl Playback {
    fn carried(&self, moment: Moment) -> Option<u64> {
        self.time.map(|(time, at)| time + (moment.monotonic - at) / 1000)
    }

    /// its time never goes back, and never runs more slowly than the clock that never steps.
    fn see(&mut self, now: Option<u64>, told: bool, moment: Moment) {
        self.usable = now.is_some() || self.told;
        if let Some(now) = now.filter(|now| self.carried(moment).is_none_or(|carried| *now > carried)) {
            (self.time, self.told) = (Some((now, moment.monotonic)), told);
        }
    }

    /// Its time, as the host that hands out content reads it.
    fn now(&self, moment: Moment) -> Option<u64> {
        let carried = self.carried(moment).filter(|_| self.usable)?;
        if self.told {
            return Some(carried);
        }
        let is_believed = |utc: &u64| utc + TOLERANCE >= self.floor;
        let utc = moment.utc.map(|utc| utc.0).filter(is_believed)?;
        Some(carried.max(utc))
    }
}

impl Model {
    /// Content was opened: it plays.
    pub(crate) fn begin(&mut self, parts: Vec<Part>, reactive: bool, now: Option<u64>, moment: Moment) {
        self.playback = Some(Playback {
            parts,
            places: 0,
            reactive,
            time: now.map(|now| (now, moment.monotonic)),
            told: now.is_some() && self.own(moment).is_none(),
            usable: now.is_some(),
            floor: self.floor,
        });
    }

    /// A piece of what plays was handed out without judging again.
    pub(crate) fn piece(&self, scene: &Scene<'_>) -> Judged {
        let playback = self.playback.as_ref().ok_or("nothing plays")?;
        let now = playback.now(scene.moment);
        for part in playback.parts.iter().filter(|part| part.plays) {
            part.check(now, scene)
                .map_err(|rule| format!("{rule} refuses and it went on at {now:?}: {part:?}"))?;
        }
        Ok(())
    }

    /// What plays came to a place that needs a key, where a leaf of it rides: the key is released under a license, or
    /// not; what is released already stays so.
    pub(crate) fn reach(
        mut self,
        number: u8,
        under: Option<Under>,
        leaf: &LicenseBody,
        exchanges: &[Exchange],
        (before, after): (&Scene<'_>, &Scene<'_>),
    ) -> Result<Vec<Self>, String> {
        let mut playback = self.playback.take().ok_or("nothing plays")?;
        let (place, now) = (playback.places, playback.now(before.moment));
        let same = |part: &&mut Part| part.number == number && part.plays;
        let mut there = playback.parts.iter_mut().filter(same);
        if let Some(part) = there.find(|part| part.reached == place || part.has_not_ended(now, before)) {
            let is_same = under == Some(part.under()) && exchanges.is_empty();
            part.reached = place + 1;
            playback.places = place + 1;
            self.playback = Some(playback);
            return is_same
                .then(|| vec![self])
                .ok_or_else(|| "a key that is there was reached".into());
        }
        // R-014 shields what plays, and not what was there early and has ended.
        playback.parts.retain(|part| part.number != number || !part.plays);
        self.pass_by(leaf);
        let now = self.playback_now(&mut playback, before);
        let sure = self.surely_permitted(number, now, before);
        if before.plain && sure && !exchanges.is_empty() {
            return Err("a license server was asked, and nothing was lacking".into());
        }
        self.refuse(&[number], now, before);
        let mut places = vec![self];
        for exchange in exchanges {
            places = places.iter().flat_map(|model| model.heard(exchange)).collect();
        }
        let (mut stands, mut why) = (
            Vec::new(),
            "what came was neither taken in nor refused".to_owned(),
        );
        for mut model in places {
            model.pass_by(leaf);
            let mut playback = playback.clone();
            let now = model.playback_now(&mut playback, after);
            match under {
                Some(under) => match model.used(number, under, now, after) {
                    Ok(part) => {
                        playback.parts.retain(|part| part.number != number);
                        playback.places = place + 1;
                        let reached = playback.places;
                        playback.parts.push(Part { reached, ..part });
                    }
                    Err(fault) => {
                        why = fault;
                        continue;
                    }
                },
                None if after.plain && model.surely_permitted(number, now, after) => {
                    why = format!("key {number} was not reached, and it is permitted at {now:?}: {model:?}");
                    continue;
                }
                None => model.refuse(&[number], now, after),
            }
            model.playback = Some(playback);
            stands.push(model);
        }
        if stands.is_empty() { Err(why) } else { Ok(stands) }
    }

    /// The time of a playback.
    fn playback_now(&self, playback: &mut Playback, scene: &Scene<'_>) -> Option<u64> {
        let moment = scene.moment;
        playback.see(self.now(moment), self.own(moment).is_none(), moment);
        playback.floor = self.floor;
        playback.now(moment)
    }

    /// What plays was judged again: each key goes on under a license, or stopped. What was acquired meanwhile is in
    /// `exchanges`.
    pub(crate) fn go_on(
        mut self,
        under: &[Option<Under>],
        exchanges: &[Exchange],
        (before, after): (&Scene<'_>, &Scene<'_>),
    ) -> Result<Vec<Self>, String> {
        let moment = before.moment;
        let (now, told) = (self.now(moment), self.own(moment).is_none());
        let mut playback = self.playback.take().ok_or("nothing plays")?;
        playback.see(now, told, moment);
        playback.floor = self.floor;
        let now = playback.now(moment);
        let came_back = |(part, under): (&Part, &Option<Under>)| !part.plays && under.is_some();
        if playback.parts.iter().zip(under).any(came_back) {
            return Err("a key that was taken back came back".into());
        }
        let mut steps = Vec::new();
        let judged = playback.parts.iter().enumerate().zip(under);
        for ((at, part), under) in judged.filter(|((_, part), _)| part.plays) {
            let judged = part.check(now, before);
            if *under == Some(part.under()) && judged.is_ok() {
                continue;
            }
            let may_ask = playback.reactive && part.reached == playback.places;
            steps.push(Step {
                at,
                part,
                judged,
                under: *under,
                may_ask,
                now,
            });
        }
        let mut models = settle(vec![self], &steps, exchanges, before)?;
        // Their terms are the same wherever the model stands.
        let settled: Vec<_> = { steps.iter() }
            .map(|Step { at, part, under, .. }| {
                let next = |model: &Self| model.part(part.number, (*under)?);
                let reached = part.reached;
                let next = models.iter().find_map(next);
                (*at, next.map(|next| Part { reached, ..next }))
            })
            .collect();
        for (at, next) in settled {
            playback.parts[at].plays = next.is_some();
            if let Some(next) = next {
                playback.parts[at] = next;
            }
        }
        for model in &mut models {
            let mut playback = playback.clone();
            let (now, told) = (model.now(after.moment), model.own(after.moment).is_none());
            playback.see(now, told, after.moment);
            playback.floor = model.floor;
            model.playback = playback.parts.iter().any(|part| part.plays).then_some(playback);
        }
        Ok(models)
    }
}

/// A key that its license does not permit to go on.
struct Step<'s> {
    at: usize,
    part: &'s Part,
    judged: Result<(), &'static str>,
    under: Option<Under>,
    /// The content needs it where it is now, and may ask.
    may_ask: bool,
    now: Option<u64>,
}

/// Where the model may stand, and the keys for which a server is asked there.
type Place<'s> = (Model, Vec<&'s Step<'s>>);

/// Where the model may stand after these keys: each goes on under a license or stopped, or one request was made for all
/// that were lacking.
fn settle(
    models: Vec<Model>,
    steps: &[Step<'_>],
    exchanges: &[Exchange],
    scene: &Scene<'_>,
) -> Result<Vec<Model>, String> {
    let mut places: Vec<Place<'_>> = models.into_iter().map(|model| (model, Vec::new())).collect();
    for step in steps {
        let (mut after, mut why) = (Vec::new(), None);
        for place in places {
            why = step
                .from(place, !exchanges.is_empty(), scene, &mut after)
                .err()
                .or(why);
        }
        match why {
            Some(why) if after.is_empty() => return Err(why),
            _ => places = after,
        }
    }
    let [exchange] = exchanges else {
        let settled = places.into_iter().filter(|(_, lacking)| lacking.is_empty());
        let settled: Vec<_> = settled.map(|(model, _)| model).collect();
        return match exchanges {
            [] => Ok(settled),
            _ => Err("what was lacking was not asked for in one request".into()),
        };
    };
    let mut why = "more was asked of the license server than was lacking".to_owned();
    let mut settled = Vec::new();
    for (model, lacking) in places.iter().filter(|(_, lacking)| !lacking.is_empty()) {
        for mut heard in model.heard(exchange) {
            let mut came = Ok(());
            for step in lacking {
                let now = heard.now(exchange.moment).max(step.now);
                came = came.and_then(|()| heard.next(step, now, scene));
            }
            match came {
                Ok(()) => settled.push(heard),
                Err(fault) => why = fault,
            }
        }
    }
    if settled.is_empty() { Err(why) } else { Ok(settled) }
}

impl<'s> Step<'s> {
    /// Where the model may stand after this key.
    fn from(
        &'s self,
        (mut model, lacking): Place<'s>,
        was_asked: bool,
        scene: &Scene<'_>,
        after: &mut Vec<Place<'s>>,
    ) -> Result<(), String> {
        let is_permitted = model.permitted(self.part.number, self.now, scene);
        if is_by_time(self.judged) {
            model.see(self.now);
        }
        if self.may_ask && !is_permitted && was_asked {
            after.push((model.clone(), [&lacking[..], &[self]].concat()));
        }
        let must_ask = self.may_ask && !is_permitted && self.under.is_none() && is_by_time(self.judged);
        if scene.plain && must_ask {
            return Err("no license was asked for".into());
        }
        model.next(self, self.now, scene)?;
        after.push((model, lacking));
        Ok(())
    }
}

impl Model {
    /// The key goes on under the next license, if it does.
    fn next(&mut self, step: &Step<'_>, now: Option<u64>, scene: &Scene<'_>) -> Judged {
        let number = step.part.number;
        match step.under {
            Some(under) => {
                self.used(number, under, now, scene)?;
            }
            None if scene.plain && (step.judged.is_ok() || self.surely_permitted(number, now, scene)) => {
                return Err(format!(
                    "it was stopped and may go on at {now:?}: {:?}",
                    step.part
                ));
            }
            None => {}
        }
        Ok(())
    }
}
