//! The model's playback: what say while content plays.

use keyward_client::flow::Moment;
use keyward_license::{ids::LicenseId, license::LicenseBody, time::Timestamp};

use crate::model::{Exchange, Held, Judged, Model, Scene, TOLERANCE, is_by_time, permits};

/// What plays: content under one key or several.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Playback {
    parts: Vec<Part>,
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
    pub(crate) first_play: Option<Timestamp>,
    pub(crate) plays: bool,
}

impl Part {
    fn check(&self, now: Option<u64>, scene: &Scene<'_>) -> Result<(), &'static str> {
        let held = Held {
            body: self.body.clone(),
            first_play: self.first_play,
            installed: None,
        };
        permits(&held, true, now, scene).map(drop)
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

    /// What plays was judged again: each key goes on under a license, or stopped. What was acquired meanwhile is in
    /// `exchanges`.
    pub(crate) fn go_on(
        mut self,
        under: &[Option<LicenseId>],
        exchanges: &[Exchange],
        (before, after): (&Scene<'_>, &Scene<'_>),
    ) -> Result<Vec<Self>, String> {
        let moment = before.moment;
        let (now, told) = (self.now(moment), self.own(moment).is_none());
        let mut playback = self.playback.take().ok_or("nothing plays")?;
        playback.see(now, told, moment);
        playback.floor = self.floor;
        let now = playback.now(moment);
        let came_back = |(part, under): (&Part, &Option<LicenseId>)| !part.plays && under.is_some();
        if playback.parts.iter().zip(under).any(came_back) {
            return Err("a key that was taken back came back".into());
        }
        let mut places = vec![(self, exchanges)];
        for (part, under) in playback
            .parts
            .iter_mut()
            .zip(under)
            .filter(|(part, _)| part.plays)
        {
            let judged = part.check(now, before);
            if *under == Some(part.body.id) && judged.is_ok() {
                continue;
            }
            let step = Step {
                part,
                judged,
                under: *under,
                reactive: playback.reactive,
                now,
            };
            places = step.from(places, before)?;
            // Its terms are the same wherever the model stands.
            let next = places
                .iter()
                .find_map(|(model, _)| model.all().find(|held| Some(held.body.id) == *under));
            part.plays = next.is_some();
            if let Some(next) = next {
                (part.body, part.first_play) = (next.body.clone(), next.first_play);
            }
        }
        let asked = |(model, left): (Self, &[Exchange])| left.is_empty().then_some(model);
        let mut models: Vec<_> = places.into_iter().filter_map(asked).collect();
        for model in &mut models {
            let mut playback = playback.clone();
            let (now, told) = (model.now(after.moment), model.own(after.moment).is_none());
            playback.see(now, told, after.moment);
            playback.floor = model.floor;
            model.playback = playback.parts.iter().any(|part| part.plays).then_some(playback);
        }
        if models.is_empty() {
            return Err("more was asked of the license server than was lacking".into());
        }
        Ok(models)
    }
}

/// A key that its license does not permit to go on.
struct Step<'s> {
    part: &'s Part,
    judged: Result<(), &'static str>,
    under: Option<LicenseId>,
    reactive: bool,
    now: Option<u64>,
}

type Places<'e> = Vec<(Model, &'e [Exchange])>;

impl Step<'_> {
    /// Where the model may stand afterwards, each place with what was asked of the server later.
    fn from<'e>(&self, places: Places<'e>, scene: &Scene<'_>) -> Result<Places<'e>, String> {
        let (mut after, mut why) = (Vec::new(), None);
        for (mut model, exchanges) in places {
            let (number, now) = (self.part.number, self.now);
            let is_permitted = model.permitted(number, now, scene);
            if is_by_time(self.judged) {
                model.see(now);
            }
            match model.clone().next(self, now, scene) {
                Ok(next) if !(scene.plain && self.asks(is_permitted)) => after.push((next, exchanges)),
                Ok(_) => why = Some("no license was asked for".into()),
                Err(fault) => why = Some(fault),
            }
            let Some((exchange, left)) = exchanges.split_first().filter(|_| self.reactive && !is_permitted)
            else {
                continue;
            };
            for heard in model.heard(exchange) {
                let now = heard.now(exchange.moment).max(now);
                match heard.next(self, now, scene) {
                    Ok(next) => after.push((next, left)),
                    Err(fault) => why = Some(fault),
                }
            }
        }
        match why {
            Some(why) if after.is_empty() => Err(why),
            _ => Ok(after),
        }
    }

    /// Whether a license server has to be asked.
    fn asks(&self, is_permitted: bool) -> bool {
        self.reactive && !is_permitted && self.under.is_none() && is_by_time(self.judged)
    }
}

impl Model {
    /// The key goes on under the next license, if it does.
    fn next(mut self, step: &Step<'_>, now: Option<u64>, scene: &Scene<'_>) -> Result<Self, String> {
        let number = step.part.number;
        match step.under {
            Some(id) => {
                self.used(number, id, now, scene)?;
            }
            None if scene.plain && (step.judged.is_ok() || self.surely_permitted(number, now, scene)) => {
                return Err(format!(
                    "it was stopped and may go on at {now:?}: {:?}",
                    step.part
                ));
            }
            None => {}
        }
        Ok(self)
    }
}
