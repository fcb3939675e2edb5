//! A client directory, a server for it, and what tests of it share.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use getrandom::SysRng;
use keyward_client::{
    acquire::Wanted,
    enforce::Bound,
    flow::{Answer, Moment, Outgoing},
};
use keyward_client_native::{Clock, NativeClient, NativeError, NoTransport, Transport};
use keyward_content::{
    file::{FileHeader, LockedFile, Sealer},
    header::ContentHeader,
};
use keyward_crypto::ContentKey;
use keyward_license::ids::Kid;
use keyward_testkit::{
    fake_server::FakeServer,
    pki::{DAY, NOW},
};
use rand_core::UnwrapErr;
use tempfile::TempDir;

/// A content key that a search can find.
pub(crate) const CONTENT_KEY: [u8; 16] = *b"the content key!";
pub(crate) const TOKEN: &str = "enrolment-token-5f1c";

pub(crate) type SharedServer = Rc<RefCell<FakeServer>>;

/// The time at which tests play.
pub(crate) struct StandingClock;

impl Clock for StandingClock {
    fn moment(&self) -> Moment {
        Moment {
            utc: Some(NOW),
            monotonic: 0,
        }
    }
}

struct ToServer(SharedServer);

impl Transport for ToServer {
    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String> {
        let reply = self.0.borrow_mut().answer(&outgoing.url, &outgoing.body);
        Ok(Answer {
            status: reply.status,
            body: reply.body,
        })
    }

    fn wait(&mut self, _: std::time::Duration) {}
}

/// A client directory whose device is enrolled and has a license for key 1.
pub(crate) struct World {
    pub(crate) server: SharedServer,
    outer: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut server = FakeServer::new([1; 32]);
        server.keys.insert(kid(1), CONTENT_KEY);
        server.keys.insert(kid(2), CONTENT_KEY);
        server.terms.end = Some(NOW.plus(DAY));
        Self {
            server: Rc::new(RefCell::new(server)),
            outer: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn licensed() -> Self {
        let world = Self::new();
        let mut client = world.open().unwrap();
        world.enrol(&mut client);
        client.acquire(wanted(1)).unwrap();
        world
    }

    /// The client directory.
    pub(crate) fn folder(&self) -> PathBuf {
        self.outer.path().join("client")
    }

    /// A place outside of the client directory.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.outer.path().join(name)
    }

    pub(crate) fn open(&self) -> Result<NativeClient, NativeError> {
        NativeClient::open_with_clock(&self.folder(), self.transport(), Box::new(StandingClock))
    }

    /// The network.
    pub(crate) fn transport(&self) -> Box<dyn Transport> {
        Box::new(ToServer(Rc::clone(&self.server)))
    }

    pub(crate) fn enrol(&self, client: &mut NativeClient) {
        let profile = self.server.borrow().operator.profile();
        client.enrol(profile, TOKEN.into()).unwrap();
    }

    /// The directory's files, by name.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(self.folder())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                (
                    path.file_name().unwrap().to_str().unwrap().to_owned(),
                    fs::read(path).unwrap(),
                )
            })
            .collect();
        files.sort();
        files
    }
}

/// Opens a client directory without a network.
pub(crate) fn open_offline(folder: &Path) -> Result<NativeClient, NativeError> {
    NativeClient::open_with_clock(folder, Box::new(NoTransport), Box::new(StandingClock))
}

pub(crate) fn kid(number: u8) -> Kid {
    Kid::new([number; 16])
}

pub(crate) fn wanted(number: u8) -> Wanted {
    Wanted {
        kids: vec![kid(number)],
        ..Wanted::default()
    }
}

/// Whether a released key opens a file that was protected under [`CONTENT_KEY`].
pub(crate) fn opens(bound: &Bound) -> bool {
    let object = ContentHeader::for_file(bound.kid(), None)
        .to_object_bytes()
        .unwrap();
    let header = FileHeader::new(object, bound.kid());
    let mut rng = UnwrapErr(SysRng);
    let (sealer, _) = Sealer::new(&ContentKey::new(CONTENT_KEY), &header, &mut rng).unwrap();
    bound
        .unlock(*LockedFile::read_from(&mut sealer.prefix()).unwrap())
        .is_ok()
}
