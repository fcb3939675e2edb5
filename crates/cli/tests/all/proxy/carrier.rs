//! A license server, a device, and somebody who carries their messages and may do so badly.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use getrandom::SysRng;
use keyward_client::{acquire::Wanted, enforce::Availability, flow::Moment};
use keyward_client_native::{NativeClient, NoTransport, Transport};
use keyward_license::{
    carrier::{Answer, Outgoing},
    codec::Wire,
    discovery::WELL_KNOWN_PATH,
    error_code::Problem,
    ids::Kid,
    license::KeyType,
    operator_profile::OperatorProfile,
    time::Timestamp,
};
use keyward_server::{
    Server,
    admin::TokenRequest,
    clock::{Clock, SettableClock},
    operator::{self, InitOptions},
    policy::DEFAULT_POLICY,
    sealing::KekSource,
};
use rand_core::UnwrapErr;
use tokio::runtime::Runtime;

pub(crate) const KID: Kid = Kid::new([0x11; 16]);

/// What the carrier does with one message: it has the way to the license server, and returns what the client
/// gets.
pub(crate) type Conduct = dyn FnMut(&Outgoing, &dyn Fn(&Outgoing) -> Answer) -> Result<Answer, String> + Send;

/// An operator and the carrier between its license server and devices.
pub(crate) struct Carried {
    home: tempfile::TempDir,
    pub(crate) server: Server,
    clock: WallClock,
    runtime: Arc<Runtime>,
    conduct: Arc<Mutex<Option<Box<Conduct>>>>,
}

/// The time of everybody in this world. It stands still until a test moves it.
#[derive(Debug, Clone)]
struct WallClock(Arc<SettableClock>);

impl keyward_client_native::Clock for WallClock {
    fn moment(&self) -> Moment {
        Moment {
            utc: Some(self.0.now()),
            monotonic: self.0.milliseconds(),
        }
    }
}

struct Carrier {
    server: Server,
    runtime: Arc<Runtime>,
    conduct: Arc<Mutex<Option<Box<Conduct>>>>,
}

impl Carried {
    /// An operator that knows one key id, and an honest carrier.
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("operator");
        let runtime = Arc::new(Runtime::new().unwrap());
        let clock = WallClock(Arc::new(SettableClock::new(Timestamp(1_800_000_000))));
        let options = InitOptions {
            name: "Example".into(),
            public_url: "http://127.0.0.1:8470".into(),
            listen: "127.0.0.1:8470".into(),
            admin_listen: "127.0.0.1:8471".into(),
            kek: KekSource::File,
        };
        let server = runtime.block_on(async {
            operator::init(&dir, options, clock.0.now(), &mut UnwrapErr(SysRng))
                .await
                .unwrap();
            let server = Server::open(&dir, KekSource::File, Arc::clone(&clock.0) as Arc<dyn Clock>)
                .await
                .unwrap();
            server.register_key(KID, KeyType::File, 1).await.unwrap();
            server.grant("alice", None, DEFAULT_POLICY, None).await.unwrap();
            server
        });
        Self {
            home,
            server,
            clock,
            runtime,
            conduct: Arc::default(),
        }
    }

    /// A device whose messages this carrier carries.
    pub(crate) fn device(&self, name: &str) -> NativeClient {
        let carrier = Carrier {
            server: self.server.clone(),
            runtime: Arc::clone(&self.runtime),
            conduct: Arc::clone(&self.conduct),
        };
        self.open(name, Box::new(carrier))
    }

    /// A device that has no network.
    pub(crate) fn lonely(&self, name: &str) -> NativeClient {
        self.open(name, Box::new(NoTransport))
    }

    fn open(&self, name: &str, transport: Box<dyn Transport>) -> NativeClient {
        NativeClient::open_with_clock(&self.folder(name), transport, Box::new(self.clock.clone())).unwrap()
    }

    /// Time goes on.
    pub(crate) fn days_later(&self, days: u64) {
        self.clock.0.advance(days * 86_400);
    }

    /// What the license server answers to a license request that was carried as a file.
    pub(crate) fn answer(&self, request: &[u8]) -> Vec<u8> {
        self.runtime.block_on(self.server.issue(request)).unwrap()
    }

    /// The same in another process, which has what was recorded and nothing more.
    pub(crate) fn answer_elsewhere(&self, request: &[u8]) -> Vec<u8> {
        self.runtime.block_on(async {
            let clock = Arc::clone(&self.clock.0) as Arc<dyn Clock>;
            let folder = self.folder("operator");
            let server = Server::open(&folder, KekSource::File, clock).await.unwrap();
            let answer = server.issue(request).await.unwrap();
            server.close().await;
            answer
        })
    }

    /// Copies what a device keeps.
    pub(crate) fn copy_device(&self, from: &str, to: &str) {
        std::fs::create_dir(self.folder(to)).unwrap();
        for file in std::fs::read_dir(self.folder(from)).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), self.folder(to).join(file.file_name())).unwrap();
        }
    }

    /// The same for an enrolment request.
    pub(crate) fn answer_enrolment(&self, request: &[u8]) -> Vec<u8> {
        self.runtime.block_on(self.server.enrol(request)).unwrap()
    }

    /// A device that is enrolled for an account that may have everything.
    pub(crate) fn enrolled(&self, name: &str) -> NativeClient {
        let mut device = self.device(name);
        device.enrol(self.profile(), self.token()).unwrap();
        device
    }

    pub(crate) fn profile(&self) -> OperatorProfile {
        OperatorProfile::decode(&operator::read_profile(&self.folder("operator")).unwrap()).unwrap()
    }

    pub(crate) fn token(&self) -> String {
        let token = self
            .runtime
            .block_on(self.server.create_enrolment_token(TokenRequest::new("alice")));
        token.unwrap().expose().to_owned()
    }

    /// The license server's discovery document.
    pub(crate) fn document(&self) -> Vec<u8> {
        self.runtime.block_on(self.server.discovery()).unwrap()
    }

    /// A discovery document for devices without a network.
    pub(crate) fn document_to_carry(&self, hours: Option<u64>) -> Vec<u8> {
        let lifetime = hours.map(|hours| hours * 3600);
        self.server.discovery_to_carry(lifetime).unwrap()
    }

    /// From now on the carrier does this.
    pub(crate) fn carries(
        &self,
        conduct: impl FnMut(&Outgoing, &dyn Fn(&Outgoing) -> Answer) -> Result<Answer, String> + Send + 'static,
    ) {
        *self.conduct.lock().unwrap() = Some(Box::new(conduct));
    }

    /// From now on the carrier is honest.
    pub(crate) fn carries_well(&self) {
        *self.conduct.lock().unwrap() = None;
    }

    fn folder(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.home.path()).join(name)
    }
}

impl Transport for Carrier {
    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String> {
        let deliver = |outgoing: &Outgoing| self.runtime.block_on(answer(&self.server, outgoing));
        match &mut *self.conduct.lock().unwrap() {
            Some(conduct) => conduct(outgoing, &deliver),
            None => Ok(deliver(outgoing)),
        }
    }

    fn wait(&mut self, _: std::time::Duration) {}
}

/// What the license server answers.
async fn answer(server: &Server, outgoing: &Outgoing) -> Answer {
    let path = outgoing.url.rsplit(":8470").next().unwrap();
    let answered: Result<Vec<u8>, Problem> = match path {
        WELL_KNOWN_PATH => server.discovery().await,
        "/license" => server.issue(&outgoing.body).await,
        "/enrolment" => server.enrol(&outgoing.body).await,
        other => panic!("nothing is at {other}"),
    };
    match answered {
        Ok(body) => Answer { status: 200, body },
        Err(problem) => Answer {
            status: u16::try_from(problem.status).unwrap(),
            body: problem.encode(),
        },
    }
}

pub(crate) fn wanted() -> Wanted {
    Wanted {
        kids: vec![KID],
        ..Wanted::default()
    }
}

/// Whether the device can use the key without asking anybody.
pub(crate) fn has_license(device: &mut NativeClient) -> bool {
    matches!(device.find(KID).unwrap(), Availability::Ready { .. })
}

/// Whether a message is about licenses.
pub(crate) fn is_license(outgoing: &Outgoing) -> bool {
    outgoing.url.ends_with("/license")
}
