//! What a device does in its life, on a disk in memory, and what it may rely on after each step.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    path::Path,
    rc::Rc,
    sync::Arc,
};

use keyward_client::{
    ClientError,
    acquire::Wanted,
    flow::{Answer, Moment, Outgoing},
    install::{Acquired, AcquiredKey},
    session::Acquisition,
};
use keyward_client_native::{Clock, NativeClient, NativeError, Options, Transport};
use keyward_license::{
    ids::{DeviceId, LicenseId},
    time::Timestamp,
};
use keyward_testkit::{
    fake_server::{FakeServer, LICENSE_PATH, ORIGIN},
    pki::{DAY, NOW},
};

use crate::{
    model::ModelDisk,
    world::{CONTENT_KEY, TOKEN, kid, opens, wanted},
};

const FOLDER: &str = "/home/client";

/// The server and the time. The same request gets the same answer, as V-043 demands.
#[derive(Clone)]
pub(crate) struct Party(Rc<Inner>);

struct Inner {
    server: RefCell<FakeServer>,
    answers: RefCell<BTreeMap<Vec<u8>, Answer>>,
    time: Cell<Timestamp>,
}

impl Party {
    pub(crate) fn new() -> Self {
        let mut server = FakeServer::new([1; 32]);
        server
            .keys
            .extend((1..=3).map(|number| (kid(number), CONTENT_KEY)));
        server.terms.end = Some(NOW.plus(DAY));
        server.wants_acknowledgements = true;
        Self(Rc::new(Inner {
            server: RefCell::new(server),
            answers: RefCell::default(),
            time: Cell::new(NOW),
        }))
    }

    pub(crate) fn open(&self, disk: &ModelDisk) -> Result<NativeClient, NativeError> {
        let options = Options {
            clock: Box::new(self.clone()),
            disk: Arc::new(disk.clone()),
            ..Options::default()
        };
        NativeClient::open_with(Path::new(FOLDER), Box::new(self.clone()), options)
    }

    fn answer(&self, url: &str, body: &[u8]) -> Answer {
        let ask = || {
            let reply = self.0.server.borrow_mut().answer(url, body);
            Answer {
                status: reply.status,
                body: reply.body,
            }
        };
        if body.is_empty() {
            return ask();
        }
        let mut answers = self.0.answers.borrow_mut();
        answers.entry(body.to_vec()).or_insert_with(ask).clone()
    }

    pub(crate) fn time(&self) -> Timestamp {
        self.0.time.get()
    }

    pub(crate) fn set_time(&self, time: Timestamp) {
        self.0.time.set(time);
    }

    /// The response to a request that is carried by hand.
    fn response(&self, request: &[u8]) -> Vec<u8> {
        let answer = self.answer(&format!("{ORIGIN}{LICENSE_PATH}"), request);
        assert_eq!(answer.status, 200);
        answer.body
    }
}

impl Transport for Party {
    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String> {
        Ok(self.answer(&outgoing.url, &outgoing.body))
    }

    fn wait(&mut self, _: std::time::Duration) {}
}

impl Clock for Party {
    fn moment(&self) -> Moment {
        Moment {
            utc: Some(self.0.time.get()),
            monotonic: 0,
        }
    }
}

/// A step of the scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Open,
    Enrol,
    Lists,
    Acquire,
    AcquireInMemory,
    Request,
    Play,
    Install,
    Renew,
    Remove,
}

impl Step {
    pub(crate) const ALL: [Self; 10] = [
        Self::Open,
        Self::Enrol,
        Self::Lists,
        Self::Acquire,
        Self::AcquireInMemory,
        Self::Request,
        Self::Play,
        Self::Install,
        Self::Renew,
        Self::Remove,
    ];
}

/// What the application was told, and so may rely on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    device: Option<DeviceId>,
    enrolled: bool,
    /// Revocation lists that were taken in.
    lists: usize,
    /// Licenses in the store, by the number of their key id.
    licenses: BTreeMap<u8, LicenseId>,
    floor: Timestamp,
    /// A request that was given out.
    request: Option<Vec<u8>>,
}

impl Known {
    /// Does a step, and notes what it gave.
    pub(crate) fn step(
        &mut self,
        step: Step,
        client: &mut NativeClient,
        party: &Party,
    ) -> Result<(), NativeError> {
        match step {
            Step::Open => self.device = Some(client.device_id()?),
            Step::Enrol => {
                let profile = party.0.server.borrow().operator.profile();
                client.enrol(profile, TOKEN.into())?;
                self.enrolled = true;
            }
            Step::Lists => {
                let server = party.0.server.borrow();
                let file = server.lists_file(vec![server.list(None, 1, &[])]);
                drop(server);
                assert!(client.install_lists(file)?.1.newer);
                self.lists = 1;
            }
            Step::Acquire => {
                let acquired = client.acquire(wanted(1))?;
                self.licenses.insert(1, stored(&acquired));
            }
            Step::AcquireInMemory => {
                let in_memory = Wanted {
                    in_memory: true,
                    ..wanted(3)
                };
                client.acquire(in_memory)?;
                let opened = client.open_content(vec![kid(3)], wanted(3), Acquisition::Never)?;
                assert!(opens(&opened.bound[0]));
            }
            Step::Request => self.request = Some(client.request(wanted(2))?),
            Step::Play => {
                party.0.time.set(NOW.plus(3_600));
                let opened = client.open_content(vec![kid(1)], wanted(1), Acquisition::Never)?;
                assert!(opens(&opened.bound[0]));
                // The key was released: from here on the time has been seen for good.
                self.floor = NOW.plus(3_600);
            }
            Step::Install => {
                let response = party.response(self.request.as_ref().unwrap());
                self.licenses.insert(2, stored(&client.install(response)?));
            }
            Step::Renew => client.renew_store_key()?,
            Step::Remove => {
                assert_eq!(client.remove_licenses(kid(1))?, 1);
                self.licenses.remove(&1);
            }
        }
        Ok(())
    }

    /// What a client shows of itself; the index is walked, and so verified, from end to end.
    fn seen(client: &mut NativeClient) -> (bool, BTreeSet<LicenseId>, Timestamp) {
        let listed = client.licenses().expect("the index is whole");
        let ids = listed.iter().map(|body| body.id).collect();
        (client.operators().count() == 1, ids, client.clock_floor())
    }

    fn ids(&self) -> BTreeSet<LicenseId> {
        self.licenses.values().copied().collect()
    }

    /// What holds of a client that is opened on what is left: everything that the application was told, and of
    /// the step that was cut short (to which `next` would have led) all or nothing.
    pub(crate) fn check(&self, next: &Self, client: &mut NativeClient) {
        let (enrolled, ids, floor) = Self::seen(client);
        let device = client.device_id().unwrap();
        assert!(
            self.device.is_none_or(|known| known == device),
            "the device is another"
        );
        assert!(enrolled >= self.enrolled && enrolled <= next.enrolled);
        assert!(ids == self.ids() || ids == next.ids(), "{ids:?}");
        let lists = lists(client);
        assert!(lists == self.lists || lists == next.lists, "{lists}");
        assert!(floor >= self.floor, "the floor fell to {floor:?}");
    }

    /// What holds after a step that ended with an error: it has happened, or it has not.
    pub(crate) fn check_tried(&self, step: Step, client: &mut NativeClient) {
        let (enrolled, ids, floor) = Self::seen(client);
        assert!(
            self.device
                .is_none_or(|known| known == client.device_id().unwrap())
        );
        assert!(enrolled == self.enrolled || step == Step::Enrol);
        assert!(lists(client) == self.lists || step == Step::Lists);
        assert!(floor >= self.floor, "the floor fell to {floor:?}");
        let (gone, new): (Vec<_>, Vec<_>) =
            (self.ids().symmetric_difference(&ids).copied()).partition(|id| self.ids().contains(id));
        let most = match step {
            Step::Acquire | Step::Install => (0, 1),
            Step::Remove => (1, 0),
            _ => (0, 0),
        };
        assert!(gone.len() <= most.0 && new.len() <= most.1, "{gone:?} {new:?}");
    }

    /// V-065: what was installed by hand waits to be acknowledged, from the same commit on.
    pub(crate) fn check_told(next: &Self, client: &mut NativeClient) {
        let (_, ids, _) = Self::seen(client);
        let is_there = next.licenses.get(&2).is_some_and(|id| ids.contains(id));
        assert!(!is_there || client.waiting_acknowledgements() > 0);
    }

    /// Takes the flow up where it was cut, and brings it to its end, the same as if nothing had happened.
    pub(crate) fn finish(&self, next: &Self, client: &mut NativeClient, party: &Party) {
        let (enrolled, ids, _) = Self::seen(client);
        let mut known = self.clone();
        if !enrolled {
            known.step(Step::Enrol, client, party).unwrap();
        }
        if known.request.is_none() {
            known.step(Step::Request, client, party).unwrap();
        }
        let response = party.response(known.request.as_ref().unwrap());
        let installed = client.install(response.clone());
        match next.licenses.get(&2).filter(|id| ids.contains(id)) {
            // It had come to its end, and nobody was told. The same response brings nothing else.
            Some(_) => assert!(is_used_up(&installed), "{installed:?}"),
            None => {
                let installed = stored(&installed.unwrap());
                assert!(next.licenses.get(&2).is_none_or(|id| *id == installed));
            }
        }
        assert!(is_used_up(&client.install(response)));
        for number in [1, 2] {
            let opened = client.open_content(vec![kid(number)], wanted(number), Acquisition::Reactive);
            assert!(opens(&opened.unwrap().bound[0]));
        }
        assert!(client.remove_licenses(kid(1)).unwrap() >= 1);
        let left = client.licenses().unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].keys[0].kid, kid(2));
    }
}

/// How many revocation lists are held.
fn lists(client: &mut NativeClient) -> usize {
    let trust = client.trust().unwrap();
    trust.first().map_or(0, |known| known.lists.len())
}

fn stored(acquired: &Acquired) -> LicenseId {
    match acquired.outcomes[..] {
        [(_, AcquiredKey::Stored(id))] => id,
        _ => panic!("{acquired:?}"),
    }
}

fn is_used_up(result: &Result<Acquired, NativeError>) -> bool {
    matches!(result, Err(NativeError::Client(ClientError::NoPendingRequest)))
}
