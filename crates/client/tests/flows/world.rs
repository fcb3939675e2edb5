//! One client's surroundings: store, keys, clock, network. Everything is virtual and a test may touch it.

use keyward_client::{
    Client, ClientError,
    acquire::Wanted,
    device::SoftwareKeys,
    enforce::Bound,
    flow::{Answer, Flow, Moment, Outgoing, Progress, Reply, Step},
    store::{Batch, StoreLimits, memory::MemoryStore},
};
use keyward_content::{
    file::{FileHeader, LockedFile, Sealer},
    header::ContentHeader,
};
use keyward_crypto::{ContentKey, SecretBytes, hpke::Suite};
use keyward_license::{ids::Kid, operator_profile::OperatorProfile, request::ClientInfo};
use keyward_testkit::{
    fake_server::{ENROLMENT_PATH, FakeServer, LICENSE_PATH, ORIGIN},
    pki::NOW,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

pub(crate) type TestClient = Client<SoftwareKeys, ChaCha20Rng>;

/// Kinds of record, the first byte of their keys.
pub(crate) const KIND_LICENSE: u8 = 2;
pub(crate) const KIND_PENDING: u8 = 3;
pub(crate) const KIND_TOMBSTONE: u8 = 4;

/// Milliseconds that an answer takes unless a test says otherwise.
const ROUND_TRIP: u64 = 40;

/// A step that a flow asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trace {
    Get(usize),
    Commit,
    Send(String),
    Wait(u64),
}

/// Where a crash falls: before a step, between the two writes of a commit, or after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Before,
    Between,
    After,
}

/// What a device keeps: its keys and its store.
pub(crate) struct Device {
    pub(crate) store: MemoryStore,
    keys: SecretBytes,
}

impl Device {
    pub(crate) fn new(seed: u8) -> Self {
        let keys = SoftwareKeys::generate(&mut ChaCha20Rng::from_seed([seed; 32]));
        Self {
            store: MemoryStore::default(),
            keys: keys.to_secret_bytes(),
        }
    }

    pub(crate) fn keys(&self) -> SoftwareKeys {
        SoftwareKeys::from_secret_bytes(&self.keys).unwrap()
    }

    /// How many records of a kind there are.
    pub(crate) fn count(&mut self, kind: u8) -> usize {
        self.store
            .records_mut()
            .keys()
            .filter(|key| key.as_bytes()[0] == kind)
            .count()
    }
}

/// Somebody between client and server.
type Meddler = Box<dyn Fn(&Outgoing, &mut Answer)>;

/// The world.
pub(crate) struct World {
    pub(crate) server: FakeServer,
    pub(crate) device: Device,
    /// The host's clock.
    pub(crate) moment: Moment,
    /// False: the network is gone, and a flow that sends is dropped.
    pub(crate) online: bool,
    /// Milliseconds until an answer comes.
    pub(crate) round_trip: u64,
    /// What somebody on the way does to answers.
    pub(crate) on_the_way: Option<Meddler>,
    /// After how many seconds the server says to come again, with every answer.
    pub(crate) retry_after: Option<u64>,
    /// Everything sent, and everything answered to it.
    pub(crate) sent: Vec<(Outgoing, Answer)>,
    /// Every step carried out.
    pub(crate) trace: Vec<Trace>,
    /// At which step of the trace everything ends, and how.
    pub(crate) stop: Option<(usize, Stop)>,
    /// Bounds of the clients that are opened.
    pub(crate) limits: StoreLimits,
    /// Processes started so far: each draws other random numbers.
    opened: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_suites(&Suite::ALL)
    }

    pub(crate) fn with_suites(suites: &[Suite]) -> Self {
        let mut server = FakeServer::with_suites([1; 32], suites);
        server
            .keys
            .extend((0..=255).map(|number| (kid(number), content_key(number))));
        Self {
            server,
            device: Device::new(2),
            moment: Moment {
                utc: Some(NOW),
                monotonic: 1_000,
            },
            online: true,
            round_trip: ROUND_TRIP,
            on_the_way: None,
            retry_after: None,
            sent: Vec::new(),
            trace: Vec::new(),
            stop: None,
            limits: StoreLimits::default(),
            opened: 0,
        }
    }

    /// A world whose device is enrolled, and its client.
    pub(crate) fn enrolled() -> (Self, TestClient) {
        let mut world = Self::new();
        let client = world.enrol_new();
        (world, client)
    }

    /// Opens the device's client and enrols it.
    pub(crate) fn enrol_new(&mut self) -> TestClient {
        let mut client = self.open().unwrap();
        let profile = self.profile();
        self.run(client.enrol(profile, "token".into())).unwrap();
        client
    }

    pub(crate) fn profile(&self) -> OperatorProfile {
        self.server.operator.profile()
    }

    /// Starts a process on the device's store.
    pub(crate) fn open(&mut self) -> Result<TestClient, ClientError> {
        let epoch = self.device.store.epoch().map(<[u8]>::to_vec);
        self.open_with_epoch(epoch)
    }

    /// As [`World::open`], with another epoch file.
    pub(crate) fn open_with_epoch(&mut self, epoch: Option<Vec<u8>>) -> Result<TestClient, ClientError> {
        self.drive_open(epoch).expect("opening was stopped")
    }

    pub(crate) fn drive_open(&mut self, epoch: Option<Vec<u8>>) -> Option<Result<TestClient, ClientError>> {
        self.opened += 1;
        let rng = ChaCha20Rng::seed_from_u64(self.opened);
        let info = ClientInfo {
            name: "test".into(),
            version: "1".into(),
            platform: "none".into(),
        };
        let (keys, limits) = (self.device.keys(), self.limits);
        self.drive(Client::open_with_limits(keys, rng, info, epoch, limits))
    }

    /// Runs a flow to its end.
    pub(crate) fn run<T>(&mut self, flow: Flow<'_, T>) -> Result<T, ClientError> {
        self.drive(flow)
            .expect("the flow was dropped: no network, or stopped")
    }

    /// Runs a flow; `None` if it was dropped on the way.
    pub(crate) fn drive<T>(&mut self, mut flow: Flow<'_, T>) -> Option<Result<T, ClientError>> {
        let mut reply = Reply::Start;
        loop {
            reply = match flow.resume(reply, self.moment) {
                Progress::Done(result) => return Some(result),
                Progress::Step(step) => self.carry_out(step)?,
            };
        }
    }

    fn carry_out(&mut self, step: Step) -> Option<Reply> {
        let here = self
            .stop
            .filter(|(at, _)| *at == self.trace.len())
            .map(|(_, stop)| stop);
        self.trace.push(match &step {
            Step::Get(keys) => Trace::Get(keys.len()),
            Step::Commit(_) => Trace::Commit,
            Step::Send(outgoing) => Trace::Send(outgoing.url.clone()),
            Step::Wait(milliseconds) => Trace::Wait(*milliseconds),
        });
        if here == Some(Stop::Before) {
            return None;
        }
        let reply = match step {
            Step::Get(keys) => Reply::Records(self.device.store.get(&keys)),
            Step::Commit(batch) => self.commit(batch, here)?,
            Step::Send(outgoing) => Reply::answered(self.send(outgoing)?, self.retry_after),
            Step::Wait(milliseconds) => {
                self.wait(milliseconds);
                Reply::Waited
            }
        };
        if here.is_some() { None } else { Some(reply) }
    }

    /// Lets time pass, on both clocks.
    fn wait(&mut self, milliseconds: u64) {
        self.moment.monotonic += milliseconds;
        self.moment.utc = self.moment.utc.map(|utc| utc.plus(milliseconds / 1000));
    }

    fn commit(&mut self, batch: Batch, stop: Option<Stop>) -> Option<Reply> {
        let epoch = match (stop, self.device.store.epoch()) {
            (Some(Stop::Between), Some(old)) => old.to_vec(),
            // The very first commit writes nothing but the epoch file.
            (Some(Stop::Between), None) => return None,
            _ => batch.epoch,
        };
        self.device.store.commit(Batch { epoch, ..batch });
        Some(Reply::Committed)
    }

    fn send(&mut self, outgoing: Outgoing) -> Option<Answer> {
        if !self.online {
            return None;
        }
        let reply = self.server.answer(&outgoing.url, &outgoing.body);
        let mut answer = Answer {
            status: reply.status,
            body: reply.body,
        };
        if let Some(change) = &self.on_the_way {
            change(&outgoing, &mut answer);
        }
        self.moment.monotonic += self.round_trip;
        self.sent.push((outgoing, answer.clone()));
        Some(answer)
    }

    /// What the server answers to a request that was carried by other means.
    pub(crate) fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        let reply = self.server.answer(&format!("{ORIGIN}{LICENSE_PATH}"), request);
        assert_eq!(reply.status, 200);
        reply.body
    }

    /// What the server answers to an enrolment request that was carried by other means.
    pub(crate) fn answer_enrolment(&mut self, request: &[u8]) -> Vec<u8> {
        let reply = self.server.answer(&format!("{ORIGIN}{ENROLMENT_PATH}"), request);
        assert_eq!(reply.status, 200);
        reply.body
    }

    /// An enrolment request to be carried by other means, by a discovery document that was.
    pub(crate) fn request_enrolment(&mut self, client: &mut TestClient) -> Vec<u8> {
        let (profile, document) = (self.profile(), self.server.discovery());
        self.run(client.request_enrolment(profile, "token".into(), document))
            .unwrap()
    }

    /// Makes a request, has it answered, and installs the answer.
    pub(crate) fn by_hand(
        &mut self,
        client: &mut TestClient,
        wanted: Wanted,
    ) -> Result<keyward_client::install::Acquired, ClientError> {
        let request = self.run(client.request(wanted)).unwrap();
        let response = self.answer(&request);
        self.run(client.install(response))
    }

    /// Sets the host's clock, seconds after [`NOW`].
    pub(crate) fn clock(&mut self, after_now: i64) {
        self.moment.utc = Some(keyward_license::time::Timestamp(
            NOW.0.checked_add_signed(after_now).unwrap(),
        ));
    }
}

/// The key id of a number.
pub(crate) fn kid(number: u8) -> Kid {
    Kid::new([number; 16])
}

/// The content key that the server has for the key id of a number.
pub(crate) fn content_key(number: u8) -> [u8; 16] {
    [number ^ 0xc5; 16]
}

/// Licenses for the key ids of these numbers.
pub(crate) fn wanted(numbers: &[u8]) -> Wanted {
    Wanted {
        kids: numbers.iter().map(|number| kid(*number)).collect(),
        ..Wanted::default()
    }
}

/// The header of content under the key of a number.
pub(crate) fn header(number: u8, license_url: Option<&str>) -> Vec<u8> {
    ContentHeader::for_file(kid(number), license_url.map(str::to_owned))
        .to_object_bytes()
        .unwrap()
}

/// Whether a released key opens a file that was protected under the key of `number`. The file commits to
/// its key, so this is true of the right key alone.
pub(crate) fn opens(bound: &Bound, number: u8) -> bool {
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    let key = ContentKey::new(content_key(number));
    let (sealer, _) = Sealer::new(
        &key,
        &FileHeader::new(header(number, None), kid(number)),
        &mut rng,
    )
    .unwrap();
    let file = LockedFile::read_from(&mut sealer.prefix()).unwrap();
    bound.unlock(*file).is_ok()
}
