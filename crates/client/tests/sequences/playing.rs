//! Opening content and handing it out, piece by piece and frame by frame.

use std::{cell::RefCell, rc::Rc};

use keyward_client::{
    acquire::Wanted,
    bound::{Bound, Keys},
    session::{Acquisition, Needs, Opened},
};
use keyward_content::{
    cenc::{Iv, Pattern, SampleCipher, Scheme, Subsample},
    media::KeyRing,
};
use keyward_crypto::ContentKey;
use keyward_license::{license::LicenseBody, usage_rules::Rule};
use proptest::sample::Index;

use crate::{
    model::{Exchange, Judged, Under},
    operations::MEDIA,
    run::{Answered, Run},
    world::{content_key, kid, opens, wanted},
};

/// What is being watched.
pub(crate) struct Playing {
    numbers: Vec<u8>,
    opened: Opened,
    /// As the decoder has them, from the beginning on.
    keys: Keys,
    cipher: Option<SampleCipher>,
}

impl Playing {
    fn new(numbers: &[u8], opened: Opened) -> Self {
        let keys = opened.keys();
        Self {
            cipher: keys.cipher(kid(MEDIA), Scheme::Cenc, Pattern::NONE).ok(),
            keys,
            opened,
            numbers: numbers.to_vec(),
        }
    }

    /// The licenses that it goes on under, for each key; none where the key was taken back.
    fn under(&self) -> Vec<Option<Under>> {
        let bound = self.opened.bound.iter();
        let under = |bound: &Bound| (bound.license(), bound.root().map(|root| root.id));
        bound
            .map(|bound| bound.stopped().is_none().then(|| under(bound)))
            .collect()
    }

    fn is_stopped_by_revocation(&self) -> bool {
        let mut stops = self.opened.bound.iter().filter_map(Bound::stopped);
        stops.any(|stop| stop.rule() == Rule::Revocation)
    }

    fn under_key(&self, number: u8) -> Option<Under> {
        let at = self.numbers.iter().position(|of| *of == number)?;
        self.under().get(at).copied().flatten()
    }

    /// The keys are those that the playback has now; the decoder has had its own from the beginning on.
    fn came_to_new_keys(&mut self) {
        let bound = self.opened.bound.iter();
        self.numbers = bound.map(|bound| bound.kid().as_bytes()[0]).collect();
        self.cipher = self.keys.cipher(kid(MEDIA), Scheme::Cenc, Pattern::NONE).ok();
    }

    /// Every key that is there opens its content, and no other does.
    fn check(&self) -> Judged {
        for ((number, bound), under) in self.numbers.iter().zip(&self.opened.bound).zip(self.under()) {
            let is_open = if *number == MEDIA {
                self.frames().to_vec()
            } else {
                vec![opens(bound, *number)]
            };
            match under {
                None if is_open.contains(&true) => {
                    return Err(format!("key {number} was taken back and opens content"));
                }
                Some(_) if is_open.contains(&false) => {
                    return Err(format!("key {number} was released and opens nothing"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a frame is decrypted by a decoder that has had its cipher from the beginning on and asks whether it may,
    /// and by one that makes its cipher now.
    fn frames(&self) -> [bool; 2] {
        let first = self.keys.permits(kid(MEDIA)).ok().and(self.cipher.as_ref());
        let now = self.keys.cipher(kid(MEDIA), Scheme::Cenc, Pattern::NONE).ok();
        [first, now.as_ref()].map(|cipher| cipher.is_some_and(decrypts))
    }

    fn has_frames(&self) -> bool {
        self.frames() == [true; 2]
    }
}

/// Whether a cipher decrypts a frame that was protected under the key of [`MEDIA`].
fn decrypts(cipher: &SampleCipher) -> bool {
    let clear = [7; 40];
    let subsamples = [Subsample {
        clear: 9,
        protected: 31,
    }];
    let iv = Iv::new(&[3; 8]).unwrap();
    let key = ContentKey::new(content_key(MEDIA));
    let protect = SampleCipher::new(&key, Scheme::Cenc, Pattern::NONE).unwrap();
    let mut sample = clear;
    protect.encrypt(&mut sample, &iv, &subsamples).unwrap();
    cipher.decrypt(&mut sample, &iv, &subsamples).is_ok() && sample == clear
}

impl Run<'_> {
    pub(crate) fn play(&mut self, numbers: &[u8], with_leaves: bool) -> Judged {
        self.playing = None;
        let licenses = self.ride(if with_leaves { numbers } else { &[] });
        let commits = self.commits();
        let kids: Vec<_> = numbers.iter().map(|number| kid(*number)).collect();
        let wanted = Wanted {
            licenses,
            ..wanted(numbers)
        };
        let played = self.drive(|client| client.open_content(kids, wanted, Acquisition::Never));
        let outputs = self.shown.clone();
        let scene = self.scene(&outputs);
        match played {
            Some(Ok(opened)) => {
                self.note(if numbers.len() > 1 {
                    "played several"
                } else {
                    "played"
                });
                let used = self.begin(numbers, opened)?;
                self.each(|model| model.play(numbers, Some(&used), false, &scene))
            }
            Some(Err(_)) => {
                let is_held = |number: &u8| self.models.iter().any(|model| model.licenses_of(*number) > 0);
                let is_held = numbers.iter().any(is_held);
                self.note(if is_held { "not played" } else { "nothing to play" });
                self.each(|model| model.play(numbers, None, false, &scene))
            }
            None if self.commits() == commits => Ok(()),
            None => self.fork(|model| Ok(model.may_have_played(numbers, &scene))),
        }
    }

    /// Plays from now on; under which licenses.
    fn begin(&mut self, numbers: &[u8], opened: Opened) -> Result<Vec<Under>, String> {
        let playing = self.playing.insert(Playing::new(numbers, opened));
        playing.check()?;
        let under: Vec<_> = playing.under().into_iter().flatten().collect();
        if under.iter().any(|(_, root)| root.is_some()) {
            self.note("played under a root");
        }
        let of_content = |(id, _): &Under| self.content.iter().any(|(body, _)| body.id == *id);
        if under.iter().any(of_content) {
            self.note("played under a leaf of the content");
        }
        Ok(under)
    }

    /// Content is opened in which leaves of these keys ride.
    fn ride(&mut self, numbers: &[u8]) -> Vec<Vec<u8>> {
        let of = |body: &LicenseBody| numbers.iter().any(|number| body.asked_kid() == Ok(kid(*number)));
        let riding = self.content.iter().filter(|(body, _)| of(body)).cloned();
        let (bodies, signed): (Vec<_>, Vec<_>) = riding.unzip();
        for model in &mut self.models {
            model.ride(&bodies);
        }
        signed
    }

    pub(crate) fn stream(&mut self, numbers: &[u8], terms: Index) -> Judged {
        self.playing = None;
        self.ride(&[]);
        let kids: Vec<_> = numbers.iter().map(|number| kid(*number)).collect();
        let wanted = Wanted {
            in_memory: self.order(terms).in_memory,
            ..wanted(numbers)
        };
        let outputs = self.shown.clone();
        let before = self.scene(&outputs);
        let (streamed, exchanges) = self.exchanging(|run| {
            run.drive(|client| client.open_content(kids, wanted, Acquisition::Reactive))
                .unwrap()
        });
        let after = self.scene(&outputs);
        if exchanges.iter().any(|exchange| !exchange.brought.is_empty()) {
            self.note("acquired on the way");
        }
        let used = match streamed {
            Ok(opened) => Some(self.begin(numbers, opened)?),
            Err(_) => None,
        };
        self.note(if used.is_some() {
            "streamed"
        } else {
            "not streamed"
        });
        self.fork(|model| {
            let model = model.clone();
            model.stream(numbers, used.as_deref(), &exchanges, (&before, &after))
        })
    }

    /// Runs something, and says what was asked of the license server meanwhile.
    fn exchanging<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> (T, Vec<Exchange>) {
        let answers = Rc::new(RefCell::new(Vec::new()));
        let (kept, issued) = (Rc::clone(&answers), Rc::clone(&self.issued));
        self.world.on_the_way = Some(Box::new(move |_, answer| {
            kept.borrow_mut()
                .push((answer.body.clone(), issued.borrow().len()));
        }));
        let (mut moment, sent) = (self.world.moment, self.world.sent.len());
        let mut from = self.issued.borrow().len();
        let outcome = run(self);
        self.world.on_the_way = None;
        let mut exchanges = Vec::new();
        for ((outgoing, _), (bytes, until)) in self.world.sent[sent..].iter().zip(answers.take()) {
            moment.monotonic += self.world.round_trip;
            if !outgoing.url.ends_with("/license") {
                continue;
            }
            let brought = self.issued.borrow()[from..until].to_vec();
            from = until;
            exchanges.push(Exchange {
                number: self.answers.len(),
                brought: brought.clone(),
                stated: self.world.server.now,
                round_trip: self.world.round_trip,
                moment,
            });
            let stated = self.world.server.now;
            self.answers.push(Some(Answered {
                bytes,
                brought,
                stated,
            }));
        }
        (outcome, exchanges)
    }

    pub(crate) fn reach(&mut self, number: u8, terms: Index) -> Judged {
        if self.playing.is_none() {
            return Ok(());
        }
        self.order(terms);
        let mut playing = self.playing.take().unwrap();
        let earlier = playing.under_key(number);
        let carried = self
            .content
            .iter()
            .find(|(body, _)| body.asked_kid() == Ok(kid(number)));
        let (leaf, signed) = carried.cloned().unwrap();
        let needs = Needs {
            kids: vec![kid(number)],
            licenses: vec![signed],
            ..Needs::default()
        };
        let outputs = self.shown.clone();
        let before = self.scene(&outputs);
        let (reached, exchanges) = self.exchanging(|run| {
            let client = run.client.as_mut().unwrap();
            run.world.run(client.reach(&mut playing.opened, needs))
        });
        let after = self.scene(&outputs);
        playing.came_to_new_keys();
        playing.check()?;
        let under = playing.under_key(number).filter(|_| reached.is_ok());
        match (earlier, under) {
            (Some(_), _) => self.note("reached what is there"),
            (None, None) => self.note("not reached"),
            (None, Some((_, root))) => self.note(if root.is_some() {
                "reached under a root"
            } else {
                "reached"
            }),
        }
        self.playing = Some(playing);
        self.fork(|model| {
            let model = model.clone();
            model.reach(number, under, &leaf, &exchanges, (&before, &after))
        })
    }

    pub(crate) fn piece(&mut self) -> Judged {
        let Some(playing) = &self.playing else {
            return Ok(());
        };
        if !playing.opened.holds(self.world.moment, &self.screens) {
            return self.go_on();
        }
        playing.check()?;
        if playing.has_frames() {
            self.note("frame");
        }
        self.note("piece");
        let outputs = self.shown.clone();
        let scene = self.scene(&outputs);
        self.each(|model| model.piece(&scene))
    }

    pub(crate) fn go_on(&mut self) -> Judged {
        let Some(mut playing) = self.playing.take() else {
            return Ok(());
        };
        let (earlier, outputs) = (playing.under(), self.shown.clone());
        let before = self.scene(&outputs);
        let ((), exchanges) = self.exchanging(|run| {
            let client = run.client.as_mut().unwrap();
            run.world.run(client.go_on(&mut playing.opened)).ok();
        });
        let after = self.scene(&outputs);
        playing.check()?;
        let under = playing.under();
        self.note_how_it_went(&earlier, &under);
        if playing.is_stopped_by_revocation() {
            self.note("stopped by a revocation");
        }
        if exchanges.iter().any(|exchange| !exchange.brought.is_empty()) {
            self.note("acquired to go on");
        }
        self.playing = under.iter().any(Option::is_some).then_some(playing);
        self.fork(|model| model.clone().go_on(&under, &exchanges, (&before, &after)))
    }

    fn note_how_it_went(&mut self, earlier: &[Option<Under>], under: &[Option<Under>]) {
        let has_root = |under: &Option<Under>| matches!(under, Some((_, Some(_))));
        if { earlier.iter().zip(under) }.any(|(earlier, now)| has_root(earlier) && now.is_none()) {
            self.note("stopped with its root");
        }
        if under.iter().all(Option::is_none) {
            self.note("stopped");
        } else if under.iter().any(Option::is_none) {
            self.note("one of several stopped");
        } else if under == earlier {
            self.note("went on");
        } else {
            self.note("went on under another");
        }
    }

    pub(crate) fn end_playback(&mut self) -> Judged {
        self.playing = None;
        self.each(|model| {
            model.end_playback();
            Ok(())
        })
    }
}
