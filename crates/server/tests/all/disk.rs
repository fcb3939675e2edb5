//! A disk that is full, read-only or damaged, a database that somebody else holds, and a second server: what is
//! told, and that nothing is lost.

mod full;

use core::time::Duration;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use crate::common::{ACCOUNT, Device, KID, NOW, World, ids, options, pending, read};
use full::SmallDisk;
use keyward_crypto::hpke::Suite;
use keyward_license::{ids::LicenseId, request::LicenseRequest};
use keyward_server::{Error, Server, backup::back_up, error::DatabaseFault, operator, sealing::KekSource};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// A server on free ports.
struct Served {
    url: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

async fn serve(server: Server) -> Served {
    let listen = || TcpListener::bind("127.0.0.1:0");
    let (public, admin) = (listen().await.unwrap(), listen().await.unwrap());
    let url = format!("http://{}", public.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel();
    let until = async { stopped.await.unwrap_or_default() };
    let task = tokio::spawn(server.serve(public, admin, until));
    Served { url, stop, task }
}

impl Served {
    /// The status of the answer to `GET /health/ready`.
    async fn ready(&self) -> u16 {
        let url = format!("{}/health/ready", self.url);
        let exchange = move || {
            let config = ureq::Agent::config_builder().http_status_as_error(false);
            let agent =
                ureq::Agent::new_with_config(config.timeout_global(Some(Duration::from_secs(30))).build());
            agent.get(url).call().unwrap().status().as_u16()
        };
        tokio::task::spawn_blocking(exchange).await.unwrap()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

/// Requests of one device, with what was answered to each.
struct Asked {
    device: Device,
    requests: Vec<(LicenseRequest, Vec<u8>)>,
    answered: BTreeMap<usize, Vec<LicenseId>>,
}

impl Asked {
    async fn begin(world: &World) -> Self {
        Self {
            device: world.device(1).await,
            requests: Vec::new(),
            answered: BTreeMap::new(),
        }
    }

    /// Another request, and the number and status of its refusal if it is refused.
    async fn ask(&mut self, world: &World) -> Result<(), (u64, u64)> {
        let recipient = world.recipient().await;
        let body = self.device.request(&recipient, &[KID]);
        let sealed = self.device.seal(&recipient, Suite::P256, &body);
        self.requests.push((body, sealed));
        self.send(world, self.requests.len() - 1).await
    }

    async fn send(&mut self, world: &World, number: usize) -> Result<(), (u64, u64)> {
        let (body, sealed) = &self.requests[number];
        let answer = world.server.issue(sealed).await;
        let answer = answer.map_err(|problem| (problem.code, problem.status))?;
        let ids = ids(world, &read(world, &answer, &pending(body)));
        assert_eq!(ids.len(), 1);
        match self.answered.get(&number) {
            Some(before) => assert_eq!(*before, ids, "the same request gets the same licenses"),
            None => drop(self.answered.insert(number, ids)),
        }
        Ok(())
    }

    /// Everything that was asked is answered now, as before where it was, and counts once.
    async fn all_hold(&mut self, world: &World) {
        for number in 0..self.requests.len() {
            self.send(world, number).await.unwrap();
        }
        let asked = i64::try_from(self.requests.len()).unwrap();
        assert_eq!(world.count("SELECT count(*) FROM issued").await, asked);
        assert_eq!(world.count("SELECT count(*) FROM answers").await, asked);
    }
}

const BUSY: (u64, u64) = (502, 503);
const INTERNAL: (u64, u64) = (501, 500);

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || log.clone());
        tracing::subscriber::set_default(subscriber.finish())
    }

    fn assert_says(&self, what: &str, hint: &str) {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let says = |line: &str| line.contains("ERROR") && line.contains(what) && line.contains(hint);
        assert!(log.lines().any(says), "{log}");
    }
}

fn fault(error: &Error) -> DatabaseFault {
    error.database_fault().unwrap()
}

async fn open(world: &World) -> Result<Server, Error> {
    Server::open(&world.dir(), KekSource::File, world.clock.clone()).await
}

/// A world with `busy_seconds` at its least.
async fn impatient() -> World {
    let mut world = World::new().await;
    let path = world.dir().join("operator.toml");
    let toml = fs::read_to_string(&path).unwrap();
    assert!(toml.contains("# busy_seconds = 5"));
    fs::write(&path, toml.replace("# busy_seconds = 5", "busy_seconds = 1")).unwrap();
    world.reopen().await;
    world
}

#[tokio::test]
async fn a_second_server_of_the_same_operator_is_refused() {
    let world = World::new().await;
    let first = serve(world.server.clone()).await;
    assert_eq!(first.ready().await, 200);
    let second = open(&world).await.unwrap();
    let refused = serve(second).await.task.await.unwrap().unwrap_err();
    assert!(matches!(refused, Error::AlreadyServed(_)));
    assert_eq!(
        refused.to_string(),
        format!("another server serves the operator `{}`", world.dir().display())
    );
    assert!(refused.hint().starts_with("stop the other server first"));

    // What administers beside the server is no second server.
    let command = open(&world).await.unwrap();
    command.grant("bob", None, "default", None).await.unwrap();
    command.close().await;
    assert_eq!(world.server.entitlements("bob").await.unwrap().len(), 1);
    assert_eq!(first.ready().await, 200);

    first.stop().await;
    let third = serve(open(&world).await.unwrap()).await;
    assert_eq!(third.ready().await, 200);
    third.stop().await;
}

#[tokio::test]
async fn a_locked_database_refuses_for_the_time_being_and_nothing_is_lost() {
    let log = Log::default();
    let _listening = log.listen();
    let world = impatient().await;
    let served = serve(world.server.clone()).await;
    let mut asked = Asked::begin(&world).await;
    asked.ask(&world).await.unwrap();
    let token = world.token().await;

    let mut locked = world.locked().await;
    assert_eq!(asked.ask(&world).await, Err(BUSY));
    let mut newcomer = Device::new(2, &Suite::ALL);
    let refused = newcomer.enrol(&world, &token).await.unwrap_err();
    assert_eq!((refused.code, refused.status), BUSY);
    assert_eq!(
        refused.detail,
        "the server's database is not available at present"
    );
    let refused = world
        .server
        .grant("bob", None, "default", None)
        .await
        .unwrap_err();
    assert_eq!(fault(&refused), DatabaseFault::Locked);
    assert_eq!(
        refused.to_string(),
        "the database could not commit a write: another process holds it locked"
    );
    assert_eq!(served.ready().await, 503);
    // What was recorded is answered all the same.
    asked.send(&world, 0).await.unwrap();
    log.assert_says("another process holds it locked", "database.busy_seconds");

    sqlx::query("COMMIT").execute(&mut *locked).await.unwrap();
    assert_eq!(served.ready().await, 200, "without a restart");
    asked.all_hold(&world).await;
    newcomer.enrol(&world, &token).await.unwrap();
    assert_eq!(world.server.entitlements("bob").await.unwrap().len(), 0);
    served.stop().await;
}

#[tokio::test]
async fn a_database_that_is_taken_away_while_the_server_runs_is_not_written_to() {
    let log = Log::default();
    let _listening = log.listen();
    let world = World::new().await;
    let served = serve(world.server.clone()).await;
    let mut asked = Asked::begin(&world).await;
    asked.ask(&world).await.unwrap();
    let (file, away) = (world.dir().join("keyward.db"), world.dir().join("away"));
    fs::rename(&file, &away).unwrap();
    assert_eq!(served.ready().await, 503);
    assert_eq!(asked.ask(&world).await, Err(BUSY));
    log.assert_says(
        "moved, replaced or removed while the server runs",
        "start the server again",
    );
    // Another file in its place is not it.
    fs::copy(&away, &file).unwrap();
    assert_eq!(served.ready().await, 503);
    assert_eq!(asked.send(&world, 1).await, Err(BUSY));
    fs::rename(&away, &file).unwrap();
    assert_eq!(served.ready().await, 200);
    asked.all_hold(&world).await;
    served.stop().await;
}

#[tokio::test]
async fn a_write_ahead_log_that_is_taken_away_while_the_server_runs_is_not_written_to() {
    let world = World::new().await;
    let served = serve(world.server.clone()).await;
    let mut asked = Asked::begin(&world).await;
    asked.ask(&world).await.unwrap();
    let (log, away) = (world.dir().join("keyward.db-wal"), world.dir().join("away"));
    fs::rename(&log, &away).unwrap();
    assert_eq!(served.ready().await, 503);
    // What was told now would be lost with the process.
    assert_eq!(asked.ask(&world).await, Err(BUSY));
    fs::rename(&away, &log).unwrap();
    assert_eq!(served.ready().await, 200);
    asked.all_hold(&world).await;
    served.stop().await;
}

#[tokio::test]
async fn certificates_in_force_serve_on_while_the_database_takes_no_writes() {
    let world = impatient().await;
    let certificates = "SELECT count(*) FROM certificates";
    let before = world.count(certificates).await;
    // Four are due now, and their announcement cannot be written.
    world.clock.advance(245 * 86_400);
    let mut locked = world.locked().await;
    world.server.discovery().await.unwrap();
    sqlx::query("COMMIT").execute(&mut *locked).await.unwrap();
    assert_eq!(world.count(certificates).await, before);
    world.clock.advance(12 * 3600);
    world.server.discovery().await.unwrap();
    assert_eq!(
        world.count(certificates).await,
        before + 4,
        "at the next occasion"
    );

    // Without one in force there is nothing to serve.
    world.clock.advance(400 * 86_400);
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *locked)
        .await
        .unwrap();
    let refused = world.server.discovery().await.unwrap_err();
    assert_eq!((refused.code, refused.status), BUSY);
    sqlx::query("COMMIT").execute(&mut *locked).await.unwrap();
    world.server.discovery().await.unwrap();
}

#[tokio::test]
async fn a_missing_database_is_named() {
    let world = World::new().await;
    world.server.close().await;
    let file = world.dir().join("keyward.db");
    fs::rename(&file, world.dir().join("away")).unwrap();
    let refused = open(&world).await.unwrap_err();
    assert!(matches!(&refused, Error::NoDatabase(path) if *path == file));
    assert_eq!(
        refused.to_string(),
        format!("the operator's database `{}` is missing", file.display())
    );
    assert!(refused.hint().contains("keyward admin restore"));
    let refused = back_up(&world.dir(), &world.home.path().join("backup"), false, NOW).await;
    assert!(matches!(refused, Err(Error::NoDatabase(_))));
    assert!(!file.exists(), "an empty one is not put in its place");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told_as_damage() {
    let world = World::new().await;
    world.server.close().await;
    let file = world.dir().join("keyward.db");
    let whole = fs::read(&file).unwrap();
    let damages = [
        vec![0x55; whole.len()],
        b"not a database, but text that somebody wrote over it".repeat(100),
        whole[..whole.len() / 2].to_vec(),
    ];
    for damaged in damages {
        fs::write(&file, &damaged).unwrap();
        let refused = match open(&world).await {
            Err(refused) => refused,
            // The first half may be enough to open; whoever asks for more is told.
            Ok(server) => {
                let refused = server.devices().await.unwrap_err();
                server.close().await;
                refused
            }
        };
        assert_eq!(fault(&refused), DatabaseFault::Damaged, "{refused}");
        assert!(
            refused
                .to_string()
                .starts_with("the database failed: its file is damaged (")
        );
        assert!(refused.hint().contains("restore the newest backup"));
    }
    fs::write(&file, &whole).unwrap();
    open(&world).await.unwrap().close().await;
}

#[tokio::test]
async fn damage_within_the_database_is_noticed_when_it_is_met_and_turns_the_server_unready() {
    let log = Log::default();
    let _listening = log.listen();
    let mut world = World::new().await;
    let mut asked = Asked::begin(&world).await;
    asked.ask(&world).await.unwrap();
    let page = world
        .count("SELECT rootpage FROM sqlite_master WHERE name = 'devices'")
        .await;
    world.server.close().await;
    let before = overwrite_page(&world.dir().join("keyward.db"), page, None);

    world.server = open(&world).await.unwrap();
    let served = serve(world.server.clone()).await;
    assert_eq!(served.ready().await, 200, "nobody has met it yet");
    assert_eq!(asked.ask(&world).await, Err(INTERNAL));
    log.assert_says("its file is damaged", "restore the newest backup");
    assert_eq!(served.ready().await, 503);
    // That something can be written does not make it whole.
    world
        .server
        .create_policy("other", keyward_server::policy::PolicyTerms::DEFAULT)
        .await
        .unwrap();
    assert_eq!(served.ready().await, 503);
    served.stop().await;

    overwrite_page(&world.dir().join("keyward.db"), page, Some(before));
    world.server = open(&world).await.unwrap();
    asked.all_hold(&world).await;
}

#[tokio::test]
async fn damage_that_a_service_meets_turns_the_server_unready_as_well() {
    let mut world = World::new().await;
    let token = world.server.create_service_token("edge").await.unwrap();
    let page = world
        .count("SELECT rootpage FROM sqlite_master WHERE name = 'service_tokens'")
        .await;
    world.server.close().await;
    overwrite_page(&world.dir().join("keyward.db"), page, None);

    world.server = open(&world).await.unwrap();
    let served = serve(world.server.clone()).await;
    assert_eq!(served.ready().await, 200);
    let refused = world
        .server
        .authenticate_service(token.expose())
        .await
        .unwrap_err();
    assert_eq!(fault(&refused), DatabaseFault::Damaged, "{refused}");
    assert_eq!(served.ready().await, 503);
    served.stop().await;
}

/// Writes over a page, with nonsense if nothing else is given, and returns what stood there.
fn overwrite_page(file: &Path, page: i64, with: Option<Vec<u8>>) -> Vec<u8> {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let at = SeekFrom::Start((u64::try_from(page).unwrap() - 1) * 4096);
    let mut before = vec![0; 4096];
    file.seek(at).unwrap();
    file.read_exact(&mut before).unwrap();
    file.seek(at).unwrap();
    file.write_all(&with.unwrap_or_else(|| vec![0xa5; 4096])).unwrap();
    before
}

#[tokio::test]
async fn a_disk_that_may_only_be_read_is_refused_when_the_operator_is_opened() {
    let Some(disk) = SmallDisk::mount() else { return };
    let mut world = World::at_home(disk.home(), 1).await;
    let mut asked = Asked::begin(&world).await;
    asked.ask(&world).await.unwrap();
    world.server.close().await;
    disk.remount("ro");
    let refused = open(&world).await.unwrap_err();
    assert!(
        matches!(&refused, Error::File { action: "write", source, .. }
            if source.kind() == io::ErrorKind::ReadOnlyFilesystem),
        "{refused}"
    );
    assert!(
        refused.hint().contains("a disk that can be written"),
        "{}",
        refused.hint()
    );
    disk.remount("rw");
    world.server = open(&world).await.unwrap();
    asked.all_hold(&world).await;
}

/// Permissions bind everybody but the system's administrator.
#[cfg(unix)]
#[tokio::test]
async fn a_file_or_folder_that_may_not_be_written_is_refused_when_the_operator_is_opened() {
    use std::os::unix::fs::PermissionsExt;
    let mut world = World::new().await;
    world.server.close().await;
    for (name, closed, open_again) in [("keyward.db", 0o400, 0o600), ("", 0o500, 0o700)] {
        let place = world.dir().join(name);
        fs::set_permissions(&place, fs::Permissions::from_mode(closed)).unwrap();
        match open(&world).await {
            Ok(server) => {
                let writes = fs::write(world.dir().join("probe"), []).is_ok();
                assert!(writes, "only the system's administrator may write there");
                server.close().await;
            }
            Err(refused) => {
                let denied = io::ErrorKind::PermissionDenied;
                assert!(
                    matches!(&refused, Error::File { source, .. } if source.kind() == denied),
                    "{refused}"
                );
                assert_eq!(refused.hint(), "check the path and its permissions");
            }
        }
        fs::set_permissions(&place, fs::Permissions::from_mode(open_again)).unwrap();
    }
    world.server = open(&world).await.unwrap();
    world.server.grant(ACCOUNT, None, "default", None).await.unwrap();
}
