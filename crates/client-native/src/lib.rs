//! The client on a PC or phone: a directory with the license store, the device's keys and nothing
//! else, the operating system's clock and random numbers, and a transport that the program brings.
//!
//! ```text
//!  licenses.redb    the records, sealed by the core      one process at a time
//!  licenses.epoch   the keys of the records
//!  device.keys      the device's private keys, sealed
//!  device.secret    what they are sealed under
//! ```
//! [`NativeClient`] carries out the steps that the core's flows ask for, one after the other: a batch
//! is durable on disk before the core goes on. Files are whole or absent; a crash between any two
//! writes leaves a directory that opens.
//!
//! ```
//! use keyward_client_native::{NativeClient, NoTransport};
//! let folder = tempfile::tempdir()?;
//! let client = NativeClient::open(folder.path(), Box::new(NoTransport))?;
//! assert_eq!(client.operators().count(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! What is wrong with such a directory, [`doctor`] says.

pub mod doctor;
mod error;
mod files;
mod keys;
pub mod sealed_file;
mod store;

use std::{
    path::Path,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use getrandom::SysRng;
use keyward_client::{
    Client,
    acquire::Wanted,
    device::SoftwareKeys,
    enforce::Availability,
    enrol::Enrolled,
    flow::{Answer, Flow, Moment, Outgoing, Progress, Reply, Step},
    held::{Enrolment, HeldLicense},
    install::Acquired,
    session::{Acquisition, Opened},
};
use keyward_license::{
    ids::{DeviceId, Kid, LicenseId},
    license::LicenseBody,
    operator_profile::OperatorProfile,
    request::ClientInfo,
    time::Timestamp,
};
use rand_core::UnwrapErr;

pub use error::{KeysFault, NativeError};
use store::StoreFiles;

/// Carries bytes to a license server and back.
pub trait Transport {
    /// Sends and waits for the answer. Follows no redirects; cuts off answers beyond
    /// [`MAX_ANSWER`](keyward_client::flow::MAX_ANSWER).
    ///
    /// # Errors
    /// A sentence about what went wrong; an answer with any status is not an error.
    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String>;
}

/// A transport for hosts without a network.
#[derive(Debug, Clone, Copy)]
pub struct NoTransport;

impl Transport for NoTransport {
    fn send(&mut self, _: &Outgoing) -> Result<Answer, String> {
        Err("this client has no network".to_owned())
    }
}

/// Reads the time; a test brings its own.
pub trait Clock {
    /// The time now.
    fn moment(&self) -> Moment;
}

/// The operating system's clock.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// Starts measuring.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the ambient clock enters the client"
    )]
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the ambient clock enters the client"
    )]
    fn moment(&self) -> Moment {
        let utc = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let monotonic = self.0.elapsed().as_millis();
        Moment {
            utc: utc.map(|since| Timestamp(since.as_secs())),
            monotonic: u64::try_from(monotonic).unwrap_or(u64::MAX),
        }
    }
}

/// The client component over one directory.
pub struct NativeClient {
    client: Client<SoftwareKeys, Random>,
    host: Host,
}

type Random = UnwrapErr<SysRng>;

struct Host {
    files: StoreFiles,
    transport: Box<dyn Transport>,
    clock: Box<dyn Clock>,
}

impl NativeClient {
    /// Opens the client directory, making it and the device's keys if they are not there.
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn open(folder: &Path, transport: Box<dyn Transport>) -> Result<Self, NativeError> {
        Self::open_with_clock(folder, transport, Box::new(SystemClock::new()))
    }

    /// [`NativeClient::open`] with another clock.
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn open_with_clock(
        folder: &Path,
        transport: Box<dyn Transport>,
        clock: Box<dyn Clock>,
    ) -> Result<Self, NativeError> {
        files::make_private_dir(folder)?;
        let files = StoreFiles::open(folder)?;
        files::remove_unfinished(folder)?;
        let epoch = files.epoch()?;
        let keys = keys::open(folder, epoch.is_some(), &mut UnwrapErr(SysRng))?;
        let mut host = Host {
            files,
            transport,
            clock,
        };
        let client = host.drive(Client::open(keys, UnwrapErr(SysRng), client_info(), epoch))?;
        Ok(Self { client, host })
    }

    /// The device's id.
    ///
    /// # Errors
    /// [`NativeError::Client`] never in practice.
    pub fn device_id(&self) -> Result<DeviceId, NativeError> {
        Ok(self.client.device_id()?)
    }

    /// Profiles of the operators that this device is enrolled with.
    pub fn operators(&self) -> impl Iterator<Item = &OperatorProfile> {
        self.client.operators()
    }

    /// As [`Client::enrol`].
    ///
    /// # Errors
    /// [`NativeError`], as every method here.
    pub fn enrol(&mut self, profile: OperatorProfile, token: String) -> Result<Enrolled, NativeError> {
        self.host.drive(self.client.enrol(profile, token))
    }

    /// As [`Client::find`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn find(&mut self, kid: Kid) -> Result<Availability, NativeError> {
        self.host.drive(self.client.find(kid))
    }

    /// As [`Client::acquire`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn acquire(&mut self, wanted: Wanted) -> Result<Acquired, NativeError> {
        self.host.drive(self.client.acquire(wanted))
    }

    /// As [`Client::open_content`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn open_content(
        &mut self,
        kids: Vec<Kid>,
        wanted: Wanted,
        acquisition: Acquisition,
    ) -> Result<Opened, NativeError> {
        self.host
            .drive(self.client.open_content(kids, wanted, acquisition))
    }

    /// As [`Client::request`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn request(&mut self, wanted: Wanted) -> Result<Vec<u8>, NativeError> {
        self.host.drive(self.client.request(wanted))
    }

    /// As [`Client::install`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn install(&mut self, response: Vec<u8>) -> Result<Acquired, NativeError> {
        self.host.drive(self.client.install(response))
    }

    /// As [`Client::licenses`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn licenses(&mut self) -> Result<Vec<LicenseBody>, NativeError> {
        self.host.drive(self.client.licenses())
    }

    /// As [`Client::held_licenses`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn held_licenses(&mut self) -> Result<Vec<HeldLicense>, NativeError> {
        self.host.drive(self.client.held_licenses())
    }

    /// As [`Client::remove_licenses`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn remove_licenses(&mut self, kid: Kid) -> Result<usize, NativeError> {
        self.host.drive(self.client.remove_licenses(kid))
    }

    /// As [`Client::remove_license`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn remove_license(&mut self, kid: Kid, license: LicenseId) -> Result<bool, NativeError> {
        self.host.drive(self.client.remove_license(kid, license))
    }

    /// As [`Client::enrolments`].
    pub fn enrolments(&self) -> impl Iterator<Item = Enrolment<'_>> {
        self.client.enrolments()
    }

    /// As [`Client::clock_floor`].
    #[must_use]
    pub const fn clock_floor(&self) -> Timestamp {
        self.client.clock_floor()
    }
}

impl core::fmt::Debug for NativeClient {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("NativeClient")
            .field("files", &self.host.files)
            .finish_non_exhaustive()
    }
}

impl Host {
    /// Carries out a flow's steps until it ends. A step that fails ends it: nothing that the core had
    /// not been told to be durable has happened.
    fn drive<T>(&mut self, mut flow: Flow<'_, T>) -> Result<T, NativeError> {
        let mut reply = Reply::Start;
        loop {
            reply = match flow.resume(reply, self.clock.moment()) {
                Progress::Done(result) => return Ok(result?),
                Progress::Step(Step::Get(keys)) => Reply::Records(self.files.get(&keys)?),
                Progress::Step(Step::Commit(batch)) => {
                    self.files.commit(&batch)?;
                    Reply::Committed
                }
                Progress::Step(Step::Send(outgoing)) => {
                    Reply::Answer(self.transport.send(&outgoing).map_err(NativeError::Transport)?)
                }
            };
        }
    }
}

/// This program, as it names itself to license servers.
#[must_use]
pub fn client_info() -> ClientInfo {
    ClientInfo {
        name: "keyward".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
    }
}
