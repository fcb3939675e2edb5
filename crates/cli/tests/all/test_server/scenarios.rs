//! The four scenarios that are published for test servers, each with a client on a device; time is virtual.

use std::{cell::Cell, rc::Rc, sync::Arc};

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
use keyward_license::{
    codec::Wire, error_code::ErrorCode, ids::Kid, operator_profile::OperatorProfile, time::Timestamp,
    usage_rules::Refusal,
};
use keyward_server::{
    Server,
    clock::{Clock as _, SettableClock},
    operator::{self, InitOptions},
    sealing::KekSource,
};
use rand_core::UnwrapErr;
use tokio::runtime::Runtime;

const NOW: Timestamp = Timestamp(1_900_000_000);
const ORIGIN: &str = "http://127.0.0.1:8470";

/// An operator, its server, and one device.
struct World {
    home: tempfile::TempDir,
    cable: Cable,
    client: NativeClient,
}

/// What lies between device and server, and their common time.
#[derive(Clone)]
struct Cable {
    runtime: Rc<Runtime>,
    server: Server,
    clock: Arc<SettableClock>,
    online: Rc<Cell<bool>>,
}

impl World {
    /// A device that has enrolled with a test operator.
    fn new() -> Self {
        let mut world = Self::with(true);
        world.client.host_mut().accept_test_operators = true;
        world.enrol().unwrap();
        world.client.host_mut().accept_test_operators = false;
        world
    }

    /// A device that has not enrolled with an operator.
    fn with(is_test: bool) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (runtime, clock) = (Runtime::new().unwrap(), Arc::new(SettableClock::new(NOW)));
        let dir = home.path().join("operator");
        let server = runtime.block_on(async {
            let rng = &mut UnwrapErr(SysRng);
            match is_test {
                true => operator::init_test(&dir, options(), NOW, rng).await.unwrap(),
                false => operator::init(&dir, options(), NOW, rng).await.unwrap(),
            };
            Server::open(&dir, KekSource::File, clock.clone()).await.unwrap()
        });
        let cable = Cable {
            runtime: Rc::new(runtime),
            server,
            clock,
            online: Rc::new(Cell::new(true)),
        };
        let client = open(&home, &cable);
        Self { home, cable, client }
    }

    fn enrol(&mut self) -> Result<(), NativeError> {
        let profile = operator::read_profile(&self.home.path().join("operator")).unwrap();
        let profile = OperatorProfile::decode(&profile).unwrap();
        self.client.enrol(profile, "test".to_owned()).map(drop)
    }

    /// Ends the process of the device and starts it again.
    fn restart(self) -> Self {
        let Self { home, cable, client } = self;
        drop(client);
        let client = open(&home, &cable);
        Self { home, cable, client }
    }

    fn pass(&self, seconds: u64) {
        self.cable.clock.advance(seconds);
    }

    fn acquire(&mut self, kid: Kid, query: &str) -> Acquired {
        self.client.acquire(wanted(kid, query)).unwrap()
    }

    fn play(&mut self, kid: Kid, query: &str, acquisition: Acquisition) -> Result<Opened, NativeError> {
        self.client
            .open_content(vec![kid], wanted(kid, query), acquisition)
    }
}

fn wanted(kid: Kid, query: &str) -> Wanted {
    Wanted {
        kids: vec![kid],
        license_url: Some(format!("{ORIGIN}/{query}")),
        ..Wanted::default()
    }
}

fn open(home: &tempfile::TempDir, cable: &Cable) -> NativeClient {
    let options = Options {
        clock: Box::new(cable.clone()),
        host: HostProfile {
            asks_while_playing: true,
            ..HostProfile::default()
        },
        ..Options::default()
    };
    NativeClient::open_with(&home.path().join("device"), Box::new(cable.clone()), options).unwrap()
}

fn options() -> InitOptions {
    InitOptions {
        name: "Tests".into(),
        public_url: ORIGIN.into(),
        listen: "127.0.0.1:8470".into(),
        admin_listen: "127.0.0.1:8471".into(),
        kek: KekSource::File,
    }
}

impl Transport for Cable {
    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String> {
        if !self.online.get() {
            return Err("no network".to_owned());
        }
        let path = outgoing.url.strip_prefix(ORIGIN).ok_or("another host")?;
        let (path, query) = path
            .split_once('?')
            .map_or((path, None), |(path, query)| (path, Some(query)));
        let answered = self.runtime.block_on(async {
            match path {
                "/.well-known/keyward" => self.server.discovery().await,
                "/enrolment" => self.server.enrol(&outgoing.body).await,
                "/license" => self.server.issue_as_asked(&outgoing.body, query).await,
                path => panic!("the client called {path}"),
            }
        });
        Ok(match answered {
            Ok(body) => Answer { status: 200, body },
            Err(problem) => Answer {
                status: problem.status.try_into().unwrap(),
                body: problem.encode(),
            },
        })
    }
}

impl Clock for Cable {
    fn moment(&self) -> Moment {
        Moment {
            utc: Some(self.clock.now()),
            monotonic: self.clock.milliseconds(),
        }
    }
}

/// A key id as a content header has it: base64 of its GUID form.
fn guid_form(kid: Kid) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(keyward_crypto::seed::swap_guid(kid.as_bytes()))
}

#[test]
fn scenario_1_no_argument_is_a_license_in_memory() {
    let kid = Kid::new([0x31; 16]);
    let mut world = World::new();
    let opened = world.play(kid, "", Acquisition::Reactive).unwrap();
    assert!(!opened.bound.is_empty());
    // It is gone with the process.
    let mut world = world.restart();
    world.cable.online.set(false);
    assert!(world.play(kid, "", Acquisition::Never).is_err());
}

#[test]
fn scenario_2_a_stored_license_ends_a_minute_after_its_first_play() {
    let kid = Kid::new([0x32; 16]);
    let query = "?cfg=(persist:true,firstexp:60)";
    let mut world = World::new();
    world.acquire(kid, query);
    let mut world = world.restart();
    world.cable.online.set(false);
    world.pass(3600);
    world.play(kid, query, Acquisition::Never).unwrap();
    world.pass(59);
    world.play(kid, query, Acquisition::Never).unwrap();
    world.pass(1);
    let over = world.play(kid, query, Acquisition::Never).unwrap_err();
    let NativeError::Client(ClientError::Refused { refusal, .. }) = over else {
        panic!("{over}");
    };
    let at = NOW.plus(3660);
    assert_eq!(refusal, Refusal::FirstPlayExpired { at });
}

#[test]
fn scenario_3_a_chain_comes_in_one_answer_and_ends_after_five_minutes() {
    let (kid, root) = (Kid::new([0x33; 16]), Kid::new([0x0a; 16]));
    let (leaf_of, is_root) = (guid_form(root), guid_form(root));
    let query =
        format!("?cfg=(persist:true,rootid:{leaf_of},kid:header),(persist:true,isroot:true,kid:{is_root})");
    let mut world = World::new();
    let acquired = world.acquire(kid, &query);
    let stored = |(_, outcome): &(Kid, AcquiredKey)| matches!(outcome, AcquiredKey::Stored(_));
    assert_eq!(acquired.outcomes.len(), 2);
    assert!(acquired.outcomes.iter().all(stored));
    world.cable.online.set(false);
    world.pass(299);
    world.play(kid, &query, Acquisition::Never).unwrap();
    world.pass(1);
    assert!(world.play(kid, &query, Acquisition::Never).is_err());
    // As it is published: nothing is stored.
    let query = format!("?cfg=(rootid:{leaf_of},kid:header),(isroot:true,kid:{is_root})");
    world.cable.online.set(true);
    world.play(kid, &query, Acquisition::Reactive).unwrap();
}

#[test]
fn scenario_4_a_license_for_a_domain_is_refused_with_the_reason() {
    let kid = Kid::new([0x34; 16]);
    let mut world = World::new();
    let acquired = world.acquire(kid, "?cfg=(accountid:A/uHOj7F+UaM+Jlny2obFA==)");
    let [(_, AcquiredKey::Denied(denial))] = &acquired.outcomes[..] else {
        panic!("{:?}", acquired.outcomes);
    };
    assert_eq!(denial.code, ErrorCode::DomainRequired.number());
    assert!(
        denial.sentence.contains("`accountid` is refused"),
        "{}",
        denial.sentence
    );
}

#[test]
fn a_client_refuses_a_test_operator_unless_its_host_says_otherwise() {
    let mut world = World::with(true);
    world.cable.online.set(false);
    let refused = world.enrol().unwrap_err();
    assert!(
        matches!(refused, NativeError::Client(ClientError::TestOperator)),
        "{refused}: before anything was sent"
    );
    assert_eq!(world.client.operators().count(), 0);
    world.cable.online.set(true);
    world.client.host_mut().accept_test_operators = true;
    world.enrol().unwrap();
    // Enrolled, it stays so.
    let mut world = world.restart();
    world.acquire(Kid::new([1; 16]), "?cfg=(persist:true)");
    assert!(matches!(
        world.enrol().unwrap_err(),
        NativeError::Client(ClientError::TestOperator)
    ));
}

#[test]
fn no_other_operator_is_told_a_query() {
    let mut world = World::with(false);
    let token = world.cable.runtime.block_on(async {
        let request = keyward_server::admin::TokenRequest::new("alice");
        world.cable.server.create_enrolment_token(request).await.unwrap()
    });
    let profile = operator::read_profile(&world.home.path().join("operator")).unwrap();
    let profile = OperatorProfile::decode(&profile).unwrap();
    world.client.enrol(profile, token.expose().to_owned()).unwrap();
    let acquired = world.acquire(Kid::new([1; 16]), "?cfg=(persist:true)");
    let [(_, AcquiredKey::Denied(denial))] = &acquired.outcomes[..] else {
        panic!("{:?}", acquired.outcomes);
    };
    assert_eq!(denial.code, ErrorCode::KidUnknown.number());
}
