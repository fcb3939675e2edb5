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
//! is durable on disk before the core goes on. Files are whole or absent, and the database is: the power may fail
//! before, within or after any write, and the directory opens and goes on from what was confirmed. A client that has
//! nothing to write changes nothing on the disk, and waits for no flush.
//!
//! A disk that is full, read-only or broken gives an error that says so, and nothing that was confirmed is lost.
//! After an error of the disk a client is dropped and opened again. What the store may hold has bounds
//! ([`StoreLimits`]); they, the clock and the [disk](disk::Disk) stand in [`Options`].
//!
//! ```
//! use keyward_client_native::{NativeClient, NoTransport};
//! let folder = tempfile::tempdir()?;
//! let client = NativeClient::open(folder.path(), Box::new(NoTransport))?;
//! assert_eq!(client.operators().count(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! What is wrong with such a directory, [`doctor`] says.
//!
//! Exchange keys lie in memory that is not swapped out ([`memory`]), and a program that holds them keeps its memory
//! to itself ([`process::shield`]).

mod afterwards;
mod clock;
pub mod disk;
pub mod doctor;
mod error;
mod exchange;
mod files;
mod keys;
pub mod memory;
pub mod process;
pub mod sealed_file;
mod store;
mod transport;

use std::{
    io::{self, BufRead},
    path::Path,
    sync::Arc,
    time::Duration,
};

use getrandom::SysRng;
use keyward_client::{
    Client,
    acquire::Wanted,
    decrypt::Watched,
    device::SoftwareKeys,
    enforce::Availability,
    enrol::Enrolled,
    explain::{Circumstances, Explained},
    flow::{Flow, Progress, Reply, Step},
    held::{Enrolment, HeldLicense},
    host::HostProfile,
    install::Acquired,
    lists::{Distrusted, OperatorTrust, TakenLists},
    playback::Standing,
    session::{Acquisition, Needs, Opened},
    store::{StoreLimits, StoreUsage},
};
use keyward_license::{
    ids::{DeviceId, Digest, Kid, LicenseId},
    license::LicenseBody,
    operator_profile::OperatorProfile,
    request::ClientInfo,
    time::Timestamp,
};
use rand_core::UnwrapErr;

pub use clock::{Clock, SystemClock};
use disk::{Disk, SystemDisk};
pub use error::{KeysFault, NativeError};
use memory::LockedPages;
use store::StoreFiles;
pub use transport::{NoTransport, Transport};

/// How a client directory is opened.
pub struct Options {
    /// Reads the time: the operating system's clock.
    pub clock: Box<dyn Clock>,
    /// What the store may hold.
    pub limits: StoreLimits,
    /// What the program says of itself: nothing. How good the clock is, [`Clock::kind`] says, memory is locked
    /// by [`LockedPages`], and this client acknowledges what license servers want to have acknowledged.
    pub host: HostProfile,
    /// Where the directory is: the operating system's file system.
    pub disk: Arc<dyn Disk>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Box::new(SystemClock::new()),
            limits: StoreLimits::default(),
            host: HostProfile::default(),
            disk: Arc::new(SystemDisk),
        }
    }
}

impl core::fmt::Debug for Options {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Options")
            .field("limits", &self.limits)
            .field("host", &self.host)
            .field("disk", &self.disk)
            .finish_non_exhaustive()
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
        Self::open_with(folder, transport, Options::default())
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
        let options = Options {
            clock,
            ..Options::default()
        };
        Self::open_with(folder, transport, options)
    }

    /// [`NativeClient::open`] with another clock, other bounds of the store, or on another disk.
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn open_with(
        folder: &Path,
        transport: Box<dyn Transport>,
        options: Options,
    ) -> Result<Self, NativeError> {
        let Options {
            clock,
            limits,
            host: profile,
            disk,
        } = options;
        let profile = HostProfile {
            clock: clock.kind(),
            memory: Arc::new(LockedPages::of_process()),
            acknowledges: true,
            ..profile
        };
        files::make_private_dir(&*disk, folder)?;
        let files = StoreFiles::open(Arc::clone(&disk), folder)?;
        files::remove_unfinished(&*disk, folder)?;
        let epoch = files.epoch()?;
        let rng = &mut UnwrapErr(SysRng);
        let keys = keys::open(disk, folder, epoch.is_some(), rng)?;
        let mut host = Host {
            files,
            transport,
            clock,
        };
        let (rng, info) = (UnwrapErr(SysRng), client_info());
        let client = host.drive(Client::open_with_limits(keys, rng, info, epoch, limits))?;
        let client = client.on_host(profile);
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

    /// As [`Client::request_enrolment`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn request_enrolment(
        &mut self,
        profile: OperatorProfile,
        token: String,
        discovery: Vec<u8>,
    ) -> Result<Vec<u8>, NativeError> {
        self.host
            .drive(self.client.request_enrolment(profile, token, discovery))
    }

    /// As [`Client::install_enrolment`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn install_enrolment(&mut self, response: Vec<u8>) -> Result<Enrolled, NativeError> {
        self.host.drive(self.client.install_enrolment(response))
    }

    /// As [`Client::install_discovery`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn install_discovery(&mut self, document: Vec<u8>) -> Result<Digest, NativeError> {
        self.host.drive(self.client.install_discovery(document))
    }

    /// As [`Client::find`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn find(&mut self, kid: Kid) -> Result<Availability, NativeError> {
        self.host.drive(self.client.find(kid))
    }

    /// Reads clear bytes for as long as the playback goes on: asks before every piece (R-043), acquires in a grace
    /// period (R-013) and when the server has said (R-046), and fails with a [`NativeError`] inside once it was stopped.
    ///
    /// `reader` was made of the keys of `opened`.
    pub fn watch<'c, R: BufRead>(
        &'c mut self,
        opened: &'c mut Opened,
        reader: R,
    ) -> Watched<R, impl FnMut() -> io::Result<()> + use<'c, R>> {
        Watched::new(reader, move || self.ask(opened).map_err(io::Error::other))
    }

    fn ask(&mut self, opened: &mut Opened) -> Result<(), NativeError> {
        if opened.holds(self.host.clock.moment(), &*self.client.host().outputs) {
            return Ok(());
        }
        let standing = self.go_on(opened)?;
        // The license in use does not depend on the next one.
        self.renew(opened).ok();
        Ok(standing.check()?)
    }

    /// As [`Client::host_mut`].
    pub const fn host_mut(&mut self) -> &mut HostProfile {
        self.client.host_mut()
    }

    /// As [`Client::go_on`].
    ///
    /// # Errors
    /// [`NativeError`]: nothing may be handed out then.
    pub fn go_on(&mut self, opened: &mut Opened) -> Result<Standing, NativeError> {
        let outcome = self.host.drive(self.client.go_on(opened));
        self.told(outcome)
    }

    /// As [`Client::renew`].
    ///
    /// # Errors
    /// [`NativeError`]: there is no new license yet.
    pub fn renew(&mut self, opened: &mut Opened) -> Result<Option<Acquired>, NativeError> {
        let outcome = self.host.drive(self.client.renew(opened));
        self.told(outcome)
    }

    /// As [`Client::reach`].
    ///
    /// # Errors
    /// [`NativeError`]: the content does not go on from that place.
    pub fn reach(&mut self, opened: &mut Opened, needs: Needs) -> Result<Standing, NativeError> {
        let outcome = self.host.drive(self.client.reach(opened, needs));
        self.told(outcome)
    }

    /// As [`Client::ask_time`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn ask_time(&mut self, wanted: Wanted) -> Result<Timestamp, NativeError> {
        let outcome = self.host.drive(self.client.ask_time(wanted));
        self.told(outcome)
    }

    /// As [`Client::explain`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn explain(&mut self, kid: Kid, circumstances: Circumstances) -> Result<Vec<Explained>, NativeError> {
        self.host.drive(self.client.explain(kid, circumstances))
    }

    /// As [`Client::explain_license`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn explain_license(
        &mut self,
        license: Vec<u8>,
        circumstances: Circumstances,
    ) -> Result<Option<Explained>, NativeError> {
        self.host
            .drive(self.client.explain_license(license, circumstances))
    }

    /// As [`Client::acquire`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn acquire(&mut self, wanted: Wanted) -> Result<Acquired, NativeError> {
        let outcome = self.host.drive(self.client.acquire(wanted));
        self.told(outcome)
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
        let outcome = self
            .host
            .drive(self.client.open_content(kids, wanted, acquisition));
        self.told(outcome)
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

    /// As [`Client::install_lists`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn install_lists(&mut self, file: Vec<u8>) -> Result<(Digest, TakenLists), NativeError> {
        self.host.drive(self.client.install_lists(file))
    }

    /// As [`Client::trust`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn trust(&mut self) -> Result<Vec<OperatorTrust>, NativeError> {
        self.host.drive(self.client.trust())
    }

    /// As [`Client::distrusted_licenses`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn distrusted_licenses(&mut self, kid: Option<Kid>) -> Result<Vec<Distrusted>, NativeError> {
        self.host.drive(self.client.distrusted_licenses(kid))
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

    /// As [`Client::clean`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn clean(&mut self) -> Result<usize, NativeError> {
        self.host.drive(self.client.clean())
    }

    /// As [`Client::renew_store_key`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn renew_store_key(&mut self) -> Result<(), NativeError> {
        self.host.drive(self.client.renew_store_key())
    }

    /// As [`Client::enrolments`].
    pub fn enrolments(&self) -> impl Iterator<Item = Enrolment<'_>> {
        self.client.enrolments()
    }

    /// As [`Client::store_limits`].
    #[must_use]
    pub const fn store_limits(&self) -> &StoreLimits {
        self.client.store_limits()
    }

    /// As [`Client::store_usage`].
    #[must_use]
    pub fn store_usage(&self) -> StoreUsage {
        self.client.store_usage()
    }

    /// As [`Client::clock_floor_is_stated`].
    #[must_use]
    pub const fn clock_floor_is_stated(&self) -> bool {
        self.client.clock_floor_is_stated()
    }

    /// As [`Client::untimed_operators`].
    #[must_use]
    pub fn untimed_operators(&self) -> &[Digest] {
        self.client.untimed_operators()
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
                    let answer = self.transport.send(&outgoing).map_err(NativeError::Transport)?;
                    Reply::answered(answer, self.transport.retry_after())
                }
                Progress::Step(Step::Wait(milliseconds)) => {
                    self.transport.wait(Duration::from_millis(milliseconds));
                    Reply::Waited
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
