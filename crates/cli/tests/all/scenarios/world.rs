//! One operator, its devices, the network between them, and time. All of it is virtual but the disk.

use std::{
    cell::{Cell, RefCell},
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use getrandom::SysRng;
use keyward_client::{
    ClientError,
    acquire::Wanted,
    flow::{Answer, Moment, Outgoing},
    host::HostProfile,
    install::{Acquired, AcquiredKey},
    session::{Acquisition, Opened},
};
use keyward_client_native::{Clock, NativeClient, NativeError, Options, Transport};
use keyward_content::{
    file::{FileHeader, LockedFile, Sealer},
    header::ContentHeader,
};
use keyward_crypto::exchange::Algorithm;
use keyward_license::{
    codec::Wire,
    discovery::WELL_KNOWN_PATH,
    ids::{Kid, LicenseId},
    license::KeyType,
    operator_profile::OperatorProfile,
    request::ClockKind,
    time::Timestamp,
    usage_rules::Refusal,
};
use keyward_server::{
    Server,
    admin::TokenRequest,
    clock::{Clock as _, SettableClock},
    operator::{self, InitOptions},
    policy::{PolicyTerms, Preset},
    sealing::KekSource,
};
use rand_core::UnwrapErr;
use tokio::runtime::Runtime;

pub(crate) const NOW: Timestamp = Timestamp(1_900_000_000);
pub(crate) const MINUTE: u64 = 60;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;
pub(crate) const FILM: Kid = Kid::new([1; 16]);
pub(crate) const ALICE: &str = "alice";
/// Where the operator's server is.
pub(crate) const ORIGIN: &str = "http://127.0.0.1:8470";

/// The operator and its license server.
pub(crate) struct World {
    home: tempfile::TempDir,
    pub(crate) network: Rc<Network>,
    /// The server's clock.
    pub(crate) clock: Arc<SettableClock>,
    devices: RefCell<Vec<Rc<DeviceClock>>>,
}

impl World {
    /// An operator that offers the film to alice under a preset.
    pub(crate) fn offering(preset: Preset) -> Self {
        Self::under(preset.terms())
    }

    /// An operator that offers the film to alice under these terms.
    pub(crate) fn under(terms: PolicyTerms) -> Self {
        Self::beginning(NOW, terms)
    }

    /// The same, at another time than [`NOW`].
    pub(crate) fn beginning(now: Timestamp, terms: PolicyTerms) -> Self {
        Self::at(ORIGIN, now, terms)
    }

    /// The same, at another origin than [`ORIGIN`].
    pub(crate) fn at(origin: &'static str, now: Timestamp, terms: PolicyTerms) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (clock, runtime) = (Arc::new(SettableClock::new(now)), Runtime::new().unwrap());
        let server = runtime.block_on(async {
            let dir = home.path().join("operator");
            let rng = &mut UnwrapErr(SysRng);
            operator::init(&dir, options(origin), now, rng).await.unwrap();
            let server = open_server(&dir, &clock).await;
            server.register_key(FILM, KeyType::File, 1).await.unwrap();
            server.create_policy("offer", terms).await.unwrap();
            server.grant(ALICE, Some(FILM), "offer", None).await.unwrap();
            server
        });
        let network = Network {
            runtime,
            server: RefCell::new(server),
            online: Cell::new(true),
            slow: Cell::new(0),
            sent: Cell::new(0),
            origin,
            other: RefCell::new(None),
            instead: RefCell::new(None),
            between: RefCell::new(None),
            waited: RefCell::new(Vec::new()),
            carried: RefCell::new(Vec::new()),
        };
        Self {
            home,
            network: Rc::new(network),
            clock,
            devices: RefCell::default(),
        }
    }

    /// Asks the server something, as its operator.
    pub(crate) fn operator<T>(&self, ask: impl AsyncFnOnce(&Server) -> T) -> T {
        let server = self.network.server();
        self.network.runtime.block_on(async { ask(&server).await })
    }

    /// Where the operator's folder is, and those of the devices.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Stops the server and starts it again.
    pub(crate) fn restart_server(&self) {
        let dir = self.home.path().join("operator");
        let old = self.network.server();
        let server = self.network.runtime.block_on(async {
            old.close().await;
            open_server(&dir, &self.clock).await
        });
        *self.network.server.borrow_mut() = server;
    }

    /// Sets a value of a section of the configuration, and starts the server again.
    pub(crate) fn configure(&self, section: &str, line: &str) {
        let path = self.home.path().join("operator/operator.toml");
        let toml = fs::read_to_string(&path).unwrap();
        let header = format!("[{section}]\n");
        assert!(toml.contains(&header), "there is no {header}");
        fs::write(&path, toml.replace(&header, &format!("{header}{line}\n"))).unwrap();
        self.restart_server();
    }

    /// What a thief has who copied the operator's directory, keys and all: a server of its own, with its own clock.
    pub(crate) fn stolen(&self) -> (Server, Arc<SettableClock>) {
        let copy = self.home.path().join("stolen");
        let old = self.network.server();
        self.network.runtime.block_on(old.close());
        fs::create_dir(&copy).unwrap();
        copy_files(&self.home.path().join("operator"), &copy, |_| true);
        self.restart_server();
        let clock = Arc::new(SettableClock::new(self.clock.now()));
        let server = self.network.runtime.block_on(open_server(&copy, &clock));
        (server, clock)
    }

    /// Puts another server in the place of the one that devices reach. Returns that.
    pub(crate) fn put_in_place(&self, server: Server) -> Server {
        self.network.server.replace(server)
    }

    /// Ends what alice is entitled to.
    pub(crate) fn end_entitlements(&self) {
        self.operator(async |server| {
            for entitlement in server.entitlements(ALICE).await.unwrap() {
                server.revoke_entitlement(entitlement.id).await.unwrap();
            }
        });
    }

    /// Lets time pass, for the server and for every device.
    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(seconds);
        self.devices.borrow().iter().for_each(|clock| clock.pass(seconds));
    }

    /// A software device of alice's, enrolled.
    pub(crate) fn device(&self, name: &str) -> Device {
        self.device_of(name, TokenRequest::new(ALICE))
    }

    pub(crate) fn device_of(&self, name: &str, request: TokenRequest) -> Device {
        let device = self.place(name);
        let mut device = device.started();
        self.enrol(&mut device, request).unwrap();
        device
    }

    /// Enrols a device, anew if it was before.
    pub(crate) fn enrol(&self, device: &mut Device, request: TokenRequest) -> Result<(), NativeError> {
        let (profile, token) = self.invitation(request);
        device.client().enrol(profile, token).map(drop)
    }

    /// What it takes to enrol: the operator's profile, and a token.
    pub(crate) fn invitation(&self, request: TokenRequest) -> (OperatorProfile, String) {
        let token = self.operator(async |server| server.create_enrolment_token(request).await.unwrap());
        let profile = operator::read_profile(&self.home.path().join("operator")).unwrap();
        let profile = OperatorProfile::decode(&profile).unwrap();
        (profile, token.expose().to_owned())
    }

    /// A device that was never started.
    pub(crate) fn place(&self, name: &str) -> Device {
        let clock = Rc::new(DeviceClock {
            utc: Cell::new(Some(self.clock.now())),
            monotonic: Cell::new(1_000),
            kind: Cell::new(ClockKind::AntiRollback),
        });
        self.devices.borrow_mut().push(Rc::clone(&clock));
        Device {
            folder: self.home.path().join(name),
            clock,
            network: Rc::clone(&self.network),
            client: None,
            exchange_algorithms: Algorithm::ALL.to_vec(),
            exchange_multiple: true,
            demands_lists: false,
            wanted: Wanted {
                kids: vec![FILM],
                ..Wanted::default()
            },
        }
    }

    /// Whether what was opened unlocks a file that was protected under the key id.
    pub(crate) fn unlocks(&self, opened: &Opened, kid: Kid) -> bool {
        let key = self.operator(async |server| server.content_key_for_packaging(kid).await.unwrap().key);
        let header = ContentHeader::for_file(kid, None).to_object_bytes().unwrap();
        let rng = &mut UnwrapErr(SysRng);
        let (sealer, _) = Sealer::new(&key, &FileHeader::new(header, kid), rng).unwrap();
        let file = LockedFile::read_from(&mut sealer.prefix()).unwrap();
        opened.unlock(*file).is_ok()
    }
}

fn options(origin: &str) -> InitOptions {
    InitOptions {
        name: "Cinema".into(),
        public_url: origin.into(),
        listen: "127.0.0.1:8470".into(),
        admin_listen: "127.0.0.1:8471".into(),
        kek: KekSource::File,
    }
}

async fn open_server(dir: &Path, clock: &Arc<SettableClock>) -> Server {
    let clock = Arc::clone(clock);
    Server::open(dir, KekSource::File, clock).await.unwrap()
}

/// Stands between devices and server: answers in the place of the server, with what is said about coming again, or lets
/// the message pass.
pub(crate) type Between = Box<dyn FnMut(&Outgoing) -> Option<(Answer, Option<u64>)>>;

/// What lies between devices and server.
pub(crate) struct Network {
    runtime: Runtime,
    server: RefCell<Server>,
    /// False: nothing is carried.
    pub(crate) online: Cell<bool>,
    /// Milliseconds that an answer takes.
    pub(crate) slow: Cell<u64>,
    /// Messages that devices sent, whether or not they were carried.
    pub(crate) sent: Cell<usize>,
    /// Where the server is.
    origin: &'static str,
    /// The network of another operator, to which goes what is for other origins.
    pub(crate) other: RefCell<Option<Rc<Self>>>,
    /// What a device gets in the place of the next answer of the license server.
    pub(crate) instead: RefCell<Option<Vec<u8>>>,
    /// Who sees every message first.
    pub(crate) between: RefCell<Option<Between>>,
    /// Milliseconds that devices have waited before they asked again, each time.
    pub(crate) waited: RefCell<Vec<u64>>,
    /// Every answer of the license server.
    pub(crate) carried: RefCell<Vec<Vec<u8>>>,
}

impl Network {
    /// Carries a license request by hand.
    pub(crate) fn issue(&self, request: &[u8]) -> Vec<u8> {
        self.runtime.block_on(self.server().issue(request)).unwrap()
    }

    fn server(&self) -> Server {
        self.server.borrow().clone()
    }

    pub(crate) fn carry(&self, outgoing: &Outgoing) -> Answer {
        if let Some(other) = &*self.other.borrow()
            && !outgoing.url.starts_with(self.origin)
        {
            return other.carry(outgoing);
        }
        let (server, body) = (self.server(), &outgoing.body[..]);
        let is_license = outgoing.url.ends_with("/license");
        let answered = self.runtime.block_on(async {
            match &outgoing.url {
                url if url.ends_with(WELL_KNOWN_PATH) => server.discovery().await,
                url if url.ends_with("/enrolment") => server.enrol(body).await,
                url if url.ends_with("/packaging") => server.package(body).await,
                url if url.ends_with("/acknowledgement") => server.acknowledge(body).await,
                _ if is_license => server.issue(body).await,
                url => panic!("the client called {url}"),
            }
        });
        match answered {
            Ok(body) if is_license => {
                self.carried.borrow_mut().push(body.clone());
                let body = self.instead.take().unwrap_or(body);
                Answer { status: 200, body }
            }
            Ok(body) => Answer { status: 200, body },
            Err(problem) => Answer {
                status: problem.status.try_into().unwrap(),
                body: problem.encode(),
            },
        }
    }
}

struct Cable {
    network: Rc<Network>,
    clock: Rc<DeviceClock>,
    retry_after: Option<u64>,
}

impl Transport for Cable {
    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String> {
        self.network.sent.set(self.network.sent.get() + 1);
        if !self.network.online.get() {
            return Err("no network".into());
        }
        let between = self
            .network
            .between
            .borrow_mut()
            .as_mut()
            .and_then(|between| between(outgoing));
        let (answer, retry_after) = between.unwrap_or_else(|| (self.network.carry(outgoing), None));
        self.retry_after = retry_after;
        let monotonic = &self.clock.monotonic;
        monotonic.set(monotonic.get() + self.network.slow.get());
        Ok(answer)
    }

    fn retry_after(&self) -> Option<u64> {
        self.retry_after
    }

    fn wait(&mut self, time: Duration) {
        self.network
            .waited
            .borrow_mut()
            .push(time.as_millis().try_into().unwrap());
        self.clock.pass(time.as_secs());
    }
}

/// A device's clock, which its owner sets as they like; what it counts since it was started they cannot change.
pub(crate) struct DeviceClock {
    utc: Cell<Option<Timestamp>>,
    monotonic: Cell<u64>,
    /// What the device says of it when it is started.
    pub(crate) kind: Cell<ClockKind>,
}

impl DeviceClock {
    pub(crate) fn set(&self, utc: Option<Timestamp>) {
        self.utc.set(utc);
    }

    fn pass(&self, seconds: u64) {
        self.utc.set(self.utc.get().map(|utc| utc.plus(seconds)));
        self.monotonic.set(self.monotonic.get() + seconds * 1000);
    }
}

impl Clock for DeviceClock {
    fn moment(&self) -> Moment {
        Moment {
            utc: self.utc.get(),
            monotonic: self.monotonic.get(),
        }
    }

    fn kind(&self) -> ClockKind {
        self.kind.get()
    }
}

/// A device: its directory, its clock, and the client while it runs.
pub(crate) struct Device {
    folder: PathBuf,
    pub(crate) clock: Rc<DeviceClock>,
    network: Rc<Network>,
    client: Option<NativeClient>,
    /// The algorithms of key exchange that it has when it is started, and whether it can use several keys.
    pub(crate) exchange_algorithms: Vec<Algorithm>,
    pub(crate) exchange_multiple: bool,
    /// Whether it takes licenses only from who is known not to be revoked, from its next start on.
    pub(crate) demands_lists: bool,
    /// What it asks for.
    pub(crate) wanted: Wanted,
}

impl Device {
    pub(crate) fn started(mut self) -> Self {
        self.restart();
        self
    }

    /// Ends the client's process and starts the next one.
    pub(crate) fn restart(&mut self) {
        self.try_start().unwrap();
    }

    pub(crate) fn try_start(&mut self) -> Result<(), NativeError> {
        self.client = None;
        let cable = Cable {
            network: Rc::clone(&self.network),
            clock: Rc::clone(&self.clock),
            retry_after: None,
        };
        let options = Options {
            clock: Box::new(Rc::clone(&self.clock)),
            host: HostProfile {
                asks_while_playing: true,
                exchange_algorithms: self.exchange_algorithms.clone(),
                exchange_multiple: self.exchange_multiple,
                demands_lists: self.demands_lists,
                ..HostProfile::default()
            },
            ..Options::default()
        };
        self.client = Some(NativeClient::open_with(&self.folder, Box::new(cable), options)?);
        Ok(())
    }

    /// Ends the client's process.
    pub(crate) fn stop(&mut self) {
        self.client = None;
    }

    pub(crate) fn client(&mut self) -> &mut NativeClient {
        self.client.as_mut().unwrap()
    }

    /// Asks the license server.
    pub(crate) fn acquire(&mut self) -> Result<Acquired, ClientError> {
        let wanted = self.wanted.clone();
        client_error(self.client().acquire(wanted))
    }

    /// Acquires the film's license.
    pub(crate) fn fetch(&mut self) -> LicenseId {
        match self.acquire().unwrap().outcomes[..] {
            [(FILM, AcquiredKey::Stored(id) | AcquiredKey::InMemory(id))] => id,
            ref other => panic!("{other:?}"),
        }
    }

    /// Asks the license server for the time alone.
    pub(crate) fn ask_time(&mut self) -> Result<Timestamp, ClientError> {
        let wanted = self.wanted.clone();
        client_error(self.client().ask_time(wanted))
    }

    /// Makes a request for the film's license, to be carried by hand.
    pub(crate) fn request(&mut self) -> Vec<u8> {
        let wanted = self.wanted.clone();
        self.client().request(wanted).unwrap()
    }

    /// Opens the film with what is there.
    pub(crate) fn play(&mut self) -> Result<Opened, ClientError> {
        self.open(Acquisition::Never)
    }

    /// Opens the film, with leave to ask the license server.
    pub(crate) fn stream(&mut self) -> Result<Opened, ClientError> {
        self.open(Acquisition::Reactive)
    }

    fn open(&mut self, acquisition: Acquisition) -> Result<Opened, ClientError> {
        let (wanted, kids) = (self.wanted.clone(), self.wanted.kids.clone());
        client_error(self.client().open_content(kids, wanted, acquisition))
    }

    /// Whether the film cannot be opened, for whatever reason.
    pub(crate) fn plays_not(&mut self) -> bool {
        let (wanted, kids) = (self.wanted.clone(), self.wanted.kids.clone());
        self.client()
            .open_content(kids, wanted, Acquisition::Never)
            .is_err()
    }

    /// The usage rule that keeps the film from being opened.
    pub(crate) fn refusal(&mut self) -> Refusal {
        match self.play() {
            Err(ClientError::Refused { refusal, .. }) => refusal,
            other => panic!("{other:?}"),
        }
    }

    /// The number with which the license server refuses to answer, or denies the film.
    pub(crate) fn refused_by_server(&mut self) -> u64 {
        match self.acquire() {
            Err(ClientError::ServerRefused(problem)) => problem.code,
            Ok(acquired) => match &acquired.outcomes[..] {
                [(_, AcquiredKey::Denied(denial))] => denial.code,
                other => panic!("{other:?}"),
            },
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Copies the directory, as it is while no client runs.
    pub(crate) fn copy(&mut self) -> tempfile::TempDir {
        self.client = None;
        let copy = tempfile::tempdir().unwrap();
        copy_files(&self.folder, copy.path(), |_| true);
        copy
    }

    /// Puts files of a copy in the place of the device's, and starts it.
    pub(crate) fn restore(&mut self, copy: &Path, which: impl Fn(&str) -> bool) -> Result<(), NativeError> {
        self.client = None;
        fs::create_dir_all(&self.folder).unwrap();
        copy_files(copy, &self.folder, which);
        self.try_start()
    }
}

fn copy_files(from: &Path, to: &Path, which: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        if which(name.to_str().unwrap()) {
            fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
    }
}

pub(crate) fn client_error<T>(result: Result<T, NativeError>) -> Result<T, ClientError> {
    result.map_err(|error| match error {
        NativeError::Client(error) => error,
        other => panic!("{other}"),
    })
}
