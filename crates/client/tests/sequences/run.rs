//! A sequence, carried out by a client and followed by the model.
//!
//! Where a process ends on the way, it is not always known how far it came: then the model stands in several
//! places, and what the client does later has to be right in one of them.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use keyward_client::{ClientError, acquire::Wanted, flow::Flow, store::memory::MemoryStore};
use keyward_crypto::{RootKey, x509::Role};
use keyward_license::{
    license::{KeyType, LicenseBody},
    time::Timestamp,
    usage_rules::Output,
};
use keyward_testkit::pki::NOW;
use proptest::sample::Index;

use crate::{
    licensed::{INTERNAL, Screens, on, pass},
    model::{Judged, Model, Scene},
    operations::{MEDIA, Operation, ROOT, Sequence, Terms},
    playing::Playing,
    world::{Stop, TestClient, Trace, World, kid, wanted},
};

/// What has to come up in some sequence.
pub(crate) const TO_BE_SEEN: [&str; 32] = [
    "acquired",
    "acquired on the way",
    "acquired to go on",
    "crashed",
    "frame",
    "installed later",
    "made room",
    "not installed",
    "not played",
    "not streamed",
    "nothing to play",
    "list taken in",
    "list that was half taken in",
    "one deleted",
    "one of several stopped",
    "piece",
    "played",
    "played several",
    "played under a leaf of the content",
    "played under a root",
    "reached",
    "reached under a root",
    "reached what is there",
    "not reached",
    "replay refused",
    SET_BACK,
    "stopped",
    "stopped by a revocation",
    "stopped with its root",
    "streamed",
    "went on",
    "went on under another",
];

/// Only where somebody puts back copies of the store.
pub(crate) const SET_BACK: &str = "set back and noticed";

type Seen = BTreeMap<&'static str, usize>;

/// An answer that a server gave.
#[derive(Clone)]
pub(crate) struct Answered {
    pub(crate) bytes: Vec<u8>,
    pub(crate) brought: Vec<LicenseBody>,
    pub(crate) stated: Timestamp,
}

pub(crate) struct Run<'s> {
    terms: &'s [Terms],
    pub(crate) world: World,
    pub(crate) client: Option<TestClient>,
    pub(crate) screens: Screens,
    pub(crate) shown: Vec<Output>,
    pub(crate) playing: Option<Playing>,
    pub(crate) models: Vec<Model>,
    /// Every license that the server has issued, in order.
    pub(crate) issued: Rc<RefCell<Vec<LicenseBody>>>,
    /// Leaves that ride in the content of the keys, each as it is signed.
    pub(crate) content: Vec<(LicenseBody, Vec<u8>)>,
    /// By the number of the request.
    pub(crate) answers: Vec<Option<Answered>>,
    copies: Vec<(MemoryStore, Vec<Model>, bool)>,
    /// the list that the client has taken in last names its device.
    pub(crate) revoked: bool,
    /// A list that was being taken in when the process ended, and whether it names the device.
    unsettled: Option<(u64, bool)>,
    /// Lists that were made.
    lists: u64,
    /// The device's certificate.
    certificate: Vec<u8>,
    pub(crate) plain: bool,
    /// The whole store was put back: records of what came afterwards may be a commit ahead, as after a crash.
    was_put_back: bool,
    seen: &'s mut Seen,
}

/// Carries out a sequence; an error says which rule was broken.
pub(crate) fn run(sequence: &Sequence, seen: &mut Seen) -> Judged {
    let (mut world, client) = World::enrolled();
    let certificate = { client.enrolments().next() }.unwrap().certificate().unwrap();
    let certificate = certificate.der().to_vec();
    drop(client);
    let root = RootKey::from_slice(&[9; 32]).unwrap();
    world.server.roots.insert(kid(ROOT), root);
    let screens = Screens::default();
    screens.show(&[INTERNAL]);
    world.limits.licenses_per_kid = sequence.per_kid;
    let client = on(&mut world, &screens);
    let mut run = Run {
        terms: &sequence.terms,
        world,
        client: Some(client),
        screens,
        shown: vec![INTERNAL],
        playing: None,
        models: vec![Model::enrolled(NOW.0, sequence.per_kid)],
        issued: Rc::default(),
        content: Vec::new(),
        answers: Vec::new(),
        copies: Vec::new(),
        revoked: false,
        unsettled: None,
        lists: 0,
        certificate,
        plain: true,
        was_put_back: false,
        seen,
    };
    for number in [1, MEDIA] {
        run.put_into_content(number);
    }
    for (at, operation) in sequence.operations.iter().enumerate() {
        run.carry_out(operation)
            .map_err(|why| format!("operation {at}, {operation:?}: {why}"))?;
    }
    Ok(())
}

impl Run<'_> {
    fn carry_out(&mut self, operation: &Operation) -> Judged {
        match operation {
            Operation::Acquire(terms) => self.acquire(*terms, None),
            Operation::Replay(earlier) => self.replay(*earlier),
            Operation::Request(terms) => self.request(*terms),
            Operation::Install(answer) => self.install(*answer),
            Operation::AskTime(round_trip) => self.ask_time(*round_trip),
            Operation::Play(numbers) => self.play(numbers, false),
            Operation::PlayCarried(numbers) => self.play(numbers, true),
            Operation::Stream(numbers, terms) => self.stream(numbers, *terms),
            Operation::Reach(number, terms) => self.reach(*number, *terms),
            Operation::Piece => self.piece(),
            Operation::GoOn => self.go_on(),
            Operation::EndPlayback => self.end_playback(),
            Operation::Pass(seconds) => {
                self.world.server.now = self.world.server.now.plus(*seconds);
                pass(&mut self.world, *seconds);
                Ok(())
            }
            Operation::SetClock(offset) => {
                self.plain &= *offset == 0;
                let truth = self.world.server.now.0;
                self.world.moment.utc = Some(Timestamp(truth.checked_add_signed(*offset).unwrap()));
                Ok(())
            }
            Operation::UnsetClock => {
                (self.plain, self.world.moment.utc) = (false, None);
                Ok(())
            }
            Operation::Restart => self.restart(),
            Operation::Crash(operation, at, stop) => self.crash(operation, *at, *stop),
            Operation::List(names_device) => self.list(*names_device),
            Operation::Delete(number) => self.delete(*number),
            Operation::DeleteOne(license) => self.delete_one(*license),
            Operation::Clean => {
                let moment = self.world.moment;
                self.drive(|client| client.clean());
                self.each(|model| {
                    model.clean(moment);
                    Ok(())
                })
            }
            Operation::Copy => {
                let (store, models) = (self.world.device.store.clone(), self.models.clone());
                self.copies.push((store, models, self.revoked));
                Ok(())
            }
            Operation::PutBack(copy) => self.put_back(*copy),
            Operation::PutBackRecords(copy) => self.put_back_records(*copy),
            Operation::Show(outputs) => {
                self.screens.show(outputs);
                self.shown.clone_from(outputs);
                Ok(())
            }
        }
    }

    pub(crate) fn drive<T>(
        &mut self,
        start: impl for<'c> FnOnce(&'c mut TestClient) -> Flow<'c, T>,
    ) -> Option<Result<T, ClientError>> {
        let flow = start(self.client.as_mut().unwrap());
        self.world.drive(flow)
    }

    /// Follows with every model; those that the client contradicts go, and one has to stay.
    pub(crate) fn each(&mut self, step: impl Fn(&mut Model) -> Judged) -> Judged {
        self.fork(|model| {
            let mut one = model.clone();
            step(&mut one).map(|()| vec![one])
        })
    }

    /// The same, where one may come to stand in several places.
    pub(crate) fn fork(&mut self, step: impl Fn(&Model) -> Result<Vec<Model>, String>) -> Judged {
        let (mut places, mut why) = (Vec::new(), Err("there is no place to stand".to_owned()));
        let evicted = self.models.iter().map(|model| model.evicted).max();
        for model in &self.models {
            match step(model) {
                Ok(more) => places.extend(more),
                Err(fault) => why = Err(fault),
            }
        }
        self.stand(places);
        if self.models.is_empty() {
            return why;
        }
        if self.models.iter().all(|model| Some(model.evicted) > evicted) {
            self.note("made room");
        }
        Ok(())
    }

    /// Stands in these places, in each once.
    pub(crate) fn stand(&mut self, places: Vec<Model>) {
        self.models.clear();
        for place in places {
            if !self.models.contains(&place) {
                self.models.push(place);
            }
        }
    }

    fn follow(&mut self, step: impl Fn(&mut Model, &Scene<'_>) -> Judged) -> Judged {
        let outputs = self.shown.clone();
        let scene = self.scene(&outputs);
        self.each(|model| step(model, &scene))
    }

    pub(crate) const fn scene<'o>(&self, outputs: &'o [Output]) -> Scene<'o> {
        Scene {
            moment: self.world.moment,
            outputs,
            revoked: self.revoked,
            plain: self.plain,
        }
    }

    pub(crate) fn note(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// A leaf of a key for the content that it protects.
    fn put_into_content(&mut self, number: u8) {
        let made = Rc::new(RefCell::new(None));
        let kept = Rc::clone(&made);
        self.world.server.bent.license = Some(Box::new(move |body| {
            if number == MEDIA {
                body.keys[0].key_type = KeyType::CencCtr;
            }
            *kept.borrow_mut() = Some(body.clone());
        }));
        let signed = self.world.server.leaf(kid(number), kid(ROOT));
        self.content.push((made.take().unwrap(), signed));
    }

    /// Has the server issue these terms, and says what to ask for.
    pub(crate) fn order(&mut self, terms: Index) -> Wanted {
        let terms = terms.get(self.terms).clone();
        let wanted = Wanted {
            in_memory: terms.in_memory,
            ..wanted(&[terms.kid])
        };
        self.world.server.leaves.clear();
        if terms.leaf {
            let leaves = [1, MEDIA].map(|number| (kid(number), kid(ROOT)));
            self.world.server.leaves.extend(leaves);
        }
        let issued = Rc::clone(&self.issued);
        self.world.server.bent.license = Some(Box::new(move |body| {
            terms.write(body);
            issued.borrow_mut().push(body.clone());
        }));
        wanted
    }

    fn acquire(&mut self, terms: Index, instead: Option<Vec<u8>>) -> Judged {
        let wanted = self.order(terms);
        let (sent, issued) = (self.world.sent.len(), self.issued.borrow().len());
        let honest = Rc::new(RefCell::new(None));
        let kept = Rc::clone(&honest);
        let is_replay = instead.is_some();
        self.world.on_the_way = Some(Box::new(move |outgoing, answer| {
            if outgoing.url.ends_with("/license") {
                *kept.borrow_mut() = Some(answer.body.clone());
                if let Some(instead) = &instead {
                    answer.body.clone_from(instead);
                }
            }
        }));
        let commits = self.commits();
        let acquired = self.drive(|client| client.acquire(wanted));
        self.world.on_the_way = None;
        assert!(self.world.sent.len() <= sent + 2);
        let brought = self.issued.borrow()[issued..].to_vec();
        let stated = self.world.server.now;
        let number = self.answers.len();
        self.answers.push(honest.take().map(|bytes| Answered {
            bytes,
            brought: brought.clone(),
            stated,
        }));
        let round_trip = Some(self.world.round_trip);
        match acquired {
            Some(Ok(_)) if is_replay => Err("V-012: an earlier answer was taken in".into()),
            Some(Ok(_)) => {
                self.note("acquired");
                let moment = self.world.moment;
                self.fork(|model| {
                    let mut requested = model.clone();
                    requested.request(number);
                    requested.installed(number, &brought, (stated, round_trip), moment)
                })
            }
            Some(Err(_)) if is_replay => {
                self.note("replay refused");
                self.follow(|model, _| {
                    model.request(number);
                    Ok(())
                })
            }
            Some(Err(_)) => self.follow(|model, scene| {
                model.request(number);
                model.refused(number, &brought, scene)
            }),
            None if self.commits() == commits => Ok(()),
            None => {
                let moment = self.world.moment;
                self.or_else(|model| {
                    let mut requested = model.clone();
                    requested.request(number);
                    let server = (stated, round_trip);
                    let installed = requested.clone().installed(number, &brought, server, moment);
                    installed
                        .unwrap_or_default()
                        .into_iter()
                        .chain([requested])
                        .collect()
                });
                Ok(())
            }
        }
    }

    /// Where the client may stand besides where it stood.
    fn or_else(&mut self, places: impl Fn(&Model) -> Vec<Model>) {
        let more: Vec<_> = self.models.iter().flat_map(places).collect();
        let here = core::mem::take(&mut self.models);
        self.stand(here.into_iter().chain(more).collect());
    }

    fn replay(&mut self, earlier: Index) -> Judged {
        let known: Vec<_> = self.answers.iter().flatten().collect();
        if known.is_empty() {
            return Ok(());
        }
        let bytes = earlier.get(&known).bytes.clone();
        self.acquire(earlier, Some(bytes))
    }

    fn request(&mut self, terms: Index) -> Judged {
        let wanted = self.order(terms);
        let Some(Ok(request)) = self.drive(|client| client.request(wanted)) else {
            return Ok(());
        };
        let issued = self.issued.borrow().len();
        let bytes = self.world.answer(&request);
        let number = self.answers.len();
        self.answers.push(Some(Answered {
            bytes,
            brought: self.issued.borrow()[issued..].to_vec(),
            stated: self.world.server.now,
        }));
        self.follow(|model, _| {
            model.request(number);
            Ok(())
        })
    }

    fn install(&mut self, answer: Index) -> Judged {
        if self.answers.is_empty() {
            return Ok(());
        }
        let number = answer.index(self.answers.len());
        let Some(answer) = self.answers[number].clone() else {
            return Ok(());
        };
        let commits = self.commits();
        let Answered {
            bytes,
            brought,
            stated,
        } = answer;
        match self.drive(|client| client.install(bytes)) {
            Some(Ok(_)) => {
                self.note("installed later");
                let moment = self.world.moment;
                self.fork(|model| {
                    let server = (stated, None);
                    model.clone().installed(number, &brought, server, moment)
                })
            }
            Some(Err(_)) => {
                self.note("not installed");
                self.follow(|model, scene| model.refused(number, &brought, scene))
            }
            None if self.commits() == commits => Ok(()),
            None => {
                let moment = self.world.moment;
                self.fork(|model| {
                    let server = (stated, None);
                    let installed = model.clone().installed(number, &brought, server, moment);
                    let mut refused = model.clone();
                    refused.consume(number);
                    Ok(installed
                        .unwrap_or_default()
                        .into_iter()
                        .chain([refused])
                        .collect())
                })
            }
        }
    }

    fn ask_time(&mut self, round_trip: u64) -> Judged {
        self.world.round_trip = round_trip;
        self.plain = false;
        let asked = self.drive(|client| client.ask_time(wanted(&[])));
        self.world.round_trip = 40;
        let number = self.answers.len();
        self.answers.push(None);
        let Some(Ok(stated)) = asked else { return Ok(()) };
        let moment = self.world.moment;
        self.fork(|model| {
            let mut requested = model.clone();
            requested.request(number);
            requested.installed(number, &[], (stated, Some(round_trip)), moment)
        })
    }

    /// V-064, R-015: what a list says of the device counts from its commit on.
    fn list(&mut self, names_device: bool) -> Judged {
        self.lists += 1;
        let named = [(&self.certificate[..], NOW)];
        let named = if names_device { &named[..] } else { &[] };
        let list = self.world.server.list(Some(Role::Device), self.lists, named);
        let file = self.world.server.lists_file(vec![list]);
        match self.drive(|client| client.install_lists(file)) {
            Some(Ok((_, taken))) if taken.newer => {
                self.note("list taken in");
                self.revoked = names_device;
            }
            // The clock is so far behind that the list comes from the future.
            Some(Ok((_, taken))) if !self.plain && !taken.refused.is_empty() => {}
            Some(other) => return Err(format!("a newer list was not taken in: {other:?}")),
            None => {
                self.note("list that was half taken in");
                self.unsettled = Some((self.lists, names_device));
            }
        }
        Ok(())
    }

    /// A process ended while a list was taken in: all of it is there, or nothing.
    fn settle_list(&mut self) {
        let Some((number, names_device)) = self.unsettled.take() else {
            return;
        };
        let client = self.client.as_ref().unwrap();
        let trust = self.world.run(client.trust()).unwrap();
        let held = trust[0].lists.first().map(|list| list.number.to_string());
        if held == Some(number.to_string()) {
            self.revoked = names_device;
        }
    }

    fn delete(&mut self, number: u8) -> Judged {
        let commits = self.commits();
        let removed = self.drive(|client| client.remove_licenses(kid(number)));
        if removed.is_none() && self.commits() == commits {
            return Ok(());
        }
        self.each(|model| {
            model.delete(number);
            Ok(())
        })
    }

    /// Removes a license that was issued once, of whichever key id.
    fn delete_one(&mut self, license: Index) -> Judged {
        let issued = self.issued.borrow().clone();
        if issued.is_empty() {
            return Ok(());
        }
        let body = license.get(&issued);
        let (kid, id, commits) = (body.keys[0].kid, body.id, self.commits());
        let removed = self.drive(|client| client.remove_license(kid, id));
        if removed.is_none() && self.commits() == commits {
            return Ok(());
        }
        let was_there = removed.map(Result::unwrap);
        if was_there == Some(true) {
            self.note("one deleted");
        }
        self.each(|model| model.delete_one(id, was_there))
    }

    fn restart(&mut self) -> Judged {
        (self.playing, self.client) = (None, None);
        self.client = Some(on(&mut self.world, &self.screens));
        self.settle_list();
        self.each(|model| {
            model.restart();
            Ok(())
        })
    }

    fn crash(&mut self, operation: &Operation, at: usize, stop: Stop) -> Judged {
        self.world.stop = Some((self.world.trace.len() + at, stop));
        let judged = self.carry_out(operation);
        let is_cut = self.world.trace.len() > self.world.stop.take().unwrap().0;
        judged?;
        if is_cut {
            self.note("crashed");
        }
        self.restart()
    }

    /// Commits that were carried out.
    pub(crate) fn commits(&self) -> usize {
        let trace = &self.world.trace;
        let all = trace.iter().filter(|step| **step == Trace::Commit).count();
        let cut = match self.world.stop {
            Some((at, Stop::Before)) => trace.get(at) == Some(&Trace::Commit),
            _ => false,
        };
        all - usize::from(cut)
    }

    /// Nothing on the device notices that: only the server does.
    fn put_back(&mut self, copy: Index) -> Judged {
        if self.copies.is_empty() {
            return Ok(());
        }
        (self.plain, self.was_put_back) = (false, true);
        (self.world.device.store, self.models, self.revoked) = copy.get(&self.copies).clone();
        self.restart()
    }

    /// Older records than the epoch file knows of are noticed.
    fn put_back_records(&mut self, copy: Index) -> Judged {
        if self.copies.is_empty() {
            return Ok(());
        }
        self.plain = false;
        (self.playing, self.client) = (None, None);
        let mut present = self.world.device.store.clone();
        let mut old = copy.get(&self.copies).0.clone();
        let is_present = old.records_mut() == present.records_mut();
        core::mem::swap(self.world.device.store.records_mut(), old.records_mut());
        let epoch = present.epoch().map(<[u8]>::to_vec);
        match self.world.open_with_epoch(epoch) {
            Ok(_) if !is_present && !self.was_put_back => {
                return Err("records from before were not noticed".into());
            }
            Err(ClientError::StoreRolledBack) => self.note(SET_BACK),
            Err(other) => return Err(format!("{other:?}")),
            Ok(_) => {}
        }
        self.world.device.store = present;
        self.restart()
    }
}
