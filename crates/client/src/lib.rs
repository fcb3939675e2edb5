//! The client component: asks, stores, enforces, decrypts, performs. A sans-I/O core for PC, phone, tablet and
//! browser.
//!
//! ```text
//!            application: "may I play this, and give me the bytes"
//!                 │
//!   session   steps 4 to 11 of the main job
//!   acquire   a license request, sealed to the server        ── Send ──►  host: HTTP, file
//!   install   every check on response and license
//!   lists     revocation lists, and whether this device is revoked
//!   acknowledge   license servers are told what became of their answers
//!   enforce   the usage rules; the best license releases its key
//!   playback  the rules while content plays; from one license to the next, from one key to the next
//!   chain     leaf licenses under root licenses
//!   riding    licenses that ride in the content
//!   decrypt   clear bytes, none without having been asked for
//!   key_exchange   a key for one operation on the application's own data, never for content
//!   host      outputs, clock and abilities, as the host states them
//!   clock     the highest time already seen
//!   store     sealed, authenticated records                  ── Get, Commit ──►  host: database
//!   device    the device's keys, behind a trait
//!   held      what there is, for people: licenses to list and remove, enrolments
//! ```
//!
//! A [`Client`] starts [`Flow`]s; the host resumes them step by step (see [`flow`]). There
//! are no sockets, files, clocks or threads in here, and plaintext and key use come only after the
//! commit that they depend on was confirmed.
//!
//! What a store may hold has bounds, which the host sets ([`store::StoreLimits`]).
//!
//! # Chains
//!
//! A leaf license holds a content key and no limit in time; it opens under the license of its root, which holds those for
//! everything that stands under it (V-037). A leaf is in the store, in memory, or rides in the content, and is judged with
//! each license of its root that this client has: what ends the root ends it, what renews the root revives it, the first
//! play of any leaf is the root's, and of several chains the best is used (R-040).
//!
//! ```text
//!   acquire    the root, by the header of the content         once
//!   open       the content                                    no key yet
//!   reach      the keys of a place, under leaves that ride    no request, for as long as the root lasts
//!              there ([`session::Needs`])
//!   go_on      what plays, piece by piece                     a root with a real-time expiration stops it
//!   renew      when the license, or the server, says so       R-013, R-046
//! ```
//! A playback holds a few keys, however many it goes through. A license that says so is handed to the application to be
//! written into its content ([`install::Acquired::embed`], R-045); what rides in content is judged by its own signature and
//! skipped if it is of no use ([`acquire::Wanted::licenses`], V-039).
//!
//! What it refuses: a license server URL that the operator's profile does not name, a response to no
//! pending request, a license that is signed by somebody else, bound to another device, sealed with a
//! weaker suite than both sides have, or removed earlier, a store that was edited or set back, more than
//! the store may hold, a clock that runs backwards, a license with a term that the host does not enforce, to go
//! on playing once time or an output says no, a leaf under the root of another operator or bundle, of a lower level, that
//! has ended or is not there, and any operation of an exchange key but the one that its license permits.
//!
//! ```
//! use keyward_client::{Client, device::SoftwareKeys, flow::{Moment, Progress, Reply, Step}, store::memory::MemoryStore};
//! use keyward_license::{request::ClientInfo, time::Timestamp};
//! # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! let mut rng = ChaCha20Rng::from_seed([1; 32]);
//! let keys = SoftwareKeys::generate(&mut rng);
//! let info = ClientInfo { name: "example".into(), version: "1".into(), platform: "test".into() };
//! let mut store = MemoryStore::default();
//! let moment = Moment { utc: Some(Timestamp(1_800_000_000)), monotonic: 0 };
//!
//! let mut flow = Client::open(keys, rng, info, store.epoch().map(<[u8]>::to_vec));
//! let mut reply = Reply::Start;
//! let client = loop {
//!     reply = match flow.resume(reply, moment) {
//!         Progress::Step(Step::Get(keys)) => Reply::Records(store.get(&keys)),
//!         Progress::Step(Step::Commit(batch)) => { store.commit(batch); Reply::Committed }
//!         Progress::Step(Step::Send(_) | Step::Wait(_)) => unreachable!("opening sends nothing"),
//!         Progress::Done(client) => break client?,
//!     };
//! };
//! assert!(client.operators().next().is_none());
//! # Ok::<(), keyward_client::ClientError>(())
//! ```

pub mod acknowledge;
pub mod acquire;
mod asking;
pub mod bound;
mod chain;
mod choose;
mod clock;
pub mod decrypt;
pub mod device;
pub mod enforce;
pub mod enrol;
pub mod error;
pub mod explain;
pub mod flow;
pub mod held;
pub mod host;
pub mod install;
pub mod key_exchange;
pub mod lists;
mod locked;
mod operator;
mod patience;
pub mod playback;
mod riding;
pub mod session;
pub mod store;
mod test_operator;
mod usage;
mod verified;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Weak,
};

use keyward_license::{
    ids::{DeviceId, Digest, Kid, LicenseId, TransactionId},
    license::LicenseBody,
    operator_profile::OperatorProfile,
    request::ClientInfo,
    time::Timestamp,
    usage_rules::Action,
};
use rand_core::CryptoRng;

pub use clock::TOLERANCE as CLOCK_TOLERANCE;
pub use error::{ClientError, LicenseFault};

use acknowledge::Acknowledged;
use acquire::Wanted;
use choose::Recorded;
use clock::Told;
use device::KeyStore;
use enforce::Availability;
use enrol::{Enrolled, Renewed};
use explain::{Circumstances, Explained};
use flow::Flow;
use held::{Enrolment, HeldLicense};
use host::HostProfile;
use install::Acquired;
use key_exchange::Handle;
use lists::{Changes, Distrusted, OperatorTrust, TakenLists};
use operator::Operator;
use patience::Occasion;
use playback::Standing;
use session::{Acquisition, Needs, Opened};
use store::{Store, StoreLimits, StoreUsage};
use verified::Verified;

/// The client component of one device.
#[derive(Debug)]
pub struct Client<K, R> {
    keys: K,
    rng: R,
    info: ClientInfo,
    store: Store,
    operators: BTreeMap<Digest, Operator>,
    memory: Vec<Held>,
    told: Option<Told>,
    host: HostProfile,
    /// What was verified and is asked for again.
    verified: Verified,
    /// Exchange keys that were released.
    prepared: Vec<Weak<dyn Handle>>,
    /// Operators that have told this process that the device is revoked, each with when it said so.
    told_revoked: BTreeMap<Digest, Timestamp>,
    /// What has become known of trust.
    changes: Changes,
    /// Where the license servers of operators were asked last: scheme and authority.
    asked_at: BTreeMap<Digest, String>,
    /// Operators whose license servers have answered since acknowledgements were last told.
    contacts: BTreeSet<Digest>,
    /// V-055: operators whose certificates are to be renewed.
    ending: BTreeSet<Digest>,
}

/// A license that lives in memory alone.
#[derive(Debug)]
struct Held {
    kid: Kid,
    id: LicenseId,
    operator: Digest,
    license: Vec<u8>,
    /// It is a leaf, which records nothing.
    is_leaf: bool,
    recorded: Recorded,
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// Opens the client of the device with these keys. `epoch` is the epoch file's content, if there
    /// is one.
    ///
    /// The flow ends with an error of the store if its records are damaged or older than its epoch file.
    #[must_use]
    pub fn open<'a>(keys: K, rng: R, info: ClientInfo, epoch: Option<Vec<u8>>) -> Flow<'a, Self>
    where
        K: 'a,
        R: 'a,
    {
        Self::open_with_limits(keys, rng, info, epoch, StoreLimits::default())
    }

    /// [`Client::open`] with other bounds of the store.
    #[must_use]
    pub fn open_with_limits<'a>(
        keys: K,
        mut rng: R,
        info: ClientInfo,
        epoch: Option<Vec<u8>>,
        limits: StoreLimits,
    ) -> Flow<'a, Self>
    where
        K: 'a,
        R: 'a,
    {
        Flow::new(move |io| async move {
            let store = Store::open(&io, keys.store_key()?, epoch.as_deref(), &mut rng).await?;
            let store = store.bounded_by(limits);
            let mut operators = BTreeMap::new();
            for id in &store.head().operators {
                let record = store.operator(&io, id).await?;
                let record = record.ok_or(ClientError::StoreDamaged("an operator's record was removed"))?;
                let lists = match record.has_lists {
                    Some(_) => store.lists(&io, id).await?,
                    None => Vec::new(),
                };
                operators.insert(*id, Operator::from_record(&record, &lists)?);
            }
            Ok(Self {
                keys,
                rng,
                info,
                store,
                operators,
                memory: Vec::new(),
                told: None,
                host: HostProfile::default(),
                verified: Verified::default(),
                prepared: Vec::new(),
                told_revoked: BTreeMap::new(),
                changes: Changes::default(),
                asked_at: BTreeMap::new(),
                contacts: BTreeSet::new(),
                ending: BTreeSet::new(),
            })
        })
    }

    /// The client on a host that says something of itself: where content goes, what it can carry out.
    #[must_use]
    pub fn on_host(mut self, host: HostProfile) -> Self {
        self.host = host;
        self
    }

    /// What the host has said of itself.
    #[must_use]
    pub const fn host(&self) -> &HostProfile {
        &self.host
    }

    /// What the host has said of itself, to be changed as it changes. What plays notices at its next
    /// [`Client::go_on`].
    pub const fn host_mut(&mut self) -> &mut HostProfile {
        &mut self.host
    }

    /// The device's id.
    ///
    /// # Errors
    /// [`ClientError::Crypto`] never in practice.
    pub fn device_id(&self) -> Result<DeviceId, ClientError> {
        Ok(self.keys.device_id()?)
    }

    /// Profiles of the operators that this device is enrolled with.
    pub fn operators(&self) -> impl Iterator<Item = &OperatorProfile> {
        self.operators.values().map(|operator| &operator.profile)
    }

    /// Enrols with the operator of a profile, with a token that the operator gave out.
    pub fn enrol(&mut self, profile: OperatorProfile, token: String) -> Flow<'_, Enrolled> {
        Flow::new(|io| async move { self.run_enrol(&io, profile, token).await })
    }

    /// Makes an enrolment request to be carried by other means. The discovery document was carried to the
    /// device in the same way, and passes the same checks as one that was fetched.
    pub fn request_enrolment(
        &mut self,
        profile: OperatorProfile,
        token: String,
        discovery: Vec<u8>,
    ) -> Flow<'_, Vec<u8>> {
        Flow::new(|io| async move { self.run_request_enrolment(&io, profile, token, discovery).await })
    }

    /// Installs an enrolment response that came by other means, in this process or a later one.
    pub fn install_enrolment(&mut self, response: Vec<u8>) -> Flow<'_, Enrolled> {
        Flow::new(|io| async move { self.run_install_enrolment(&io, &response).await })
    }

    /// Can content under this key be opened now, with what is in the store?
    pub fn find(&self, kid: Kid) -> Flow<'_, Availability> {
        self.find_for(Action::Play, kid)
    }

    /// [`Client::find`] for another right than to play. For [`Action::Perform`] it answers for the key that licenses
    /// of this key id are kept under, whatever its operation.
    ///
    /// The flow ends with [`ClientError::NotAContentKey`] or [`ClientError::NotAnExchangeKey`] if all licenses of the
    /// key id are for the other purpose.
    pub fn find_for(&self, action: Action, kid: Kid) -> Flow<'_, Availability> {
        Flow::new(move |io| async move { self.run_find(&io, kid, action).await })
    }

    /// What the rules say of every license of a key, the best first (R-040). Nothing is released or recorded.
    pub fn explain(&self, kid: Kid, circumstances: Circumstances) -> Flow<'_, Vec<Explained>> {
        Flow::new(move |io| async move { self.run_explain(&io, kid, &circumstances).await })
    }

    /// What the rules say of a license that need not be in the store. `None` if it verifies under no operator of
    /// this client.
    pub fn explain_license(
        &self,
        license: Vec<u8>,
        circumstances: Circumstances,
    ) -> Flow<'_, Option<Explained>> {
        Flow::new(move |io| async move { self.run_explain_license(&io, &license, &circumstances).await })
    }

    /// R-043: judges again what plays, and takes its keys back where the rules do not permit it any more and no
    /// other license of the key id does. Content that is opened reactively acquires one before that.
    ///
    /// Whoever hands out content calls it whenever [`Opened::holds`] says no. Where nothing has changed it asks for
    /// no step.
    pub fn go_on<'a>(&'a mut self, opened: &'a mut Opened) -> Flow<'a, Standing> {
        Flow::new(move |io| async move { self.run_go_on(&io, opened).await })
    }

    /// The content that plays has come to a place: releases the keys that it needs there and that are not released yet,
    /// all of them or none. It looks in the store and at the licenses that ride there (V-039), and asks a license server
    /// only if nothing is found and the content was opened with leave to.
    ///
    /// A key that is new is judged as one that is opened: the end of a root license stops what plays at the next key at
    /// the latest. So is one whose licenses have ended and that the place before did not need. Where nothing is new it
    /// asks for no step. The keys are in [`Opened::keys`] from then on, in every copy of it; of what is not needed any
    /// more, only a few are kept.
    ///
    /// If the flow ends with an error, what the place before needs plays on. After a license server that denied
    /// something, or did not answer, no place asks it for a minute, or for less where it wants to be asked more often
    /// (R-046).
    pub fn reach<'a>(&'a mut self, opened: &'a mut Opened, needs: Needs) -> Flow<'a, Standing> {
        Flow::new(move |io| async move { self.run_reach(&io, opened, needs).await })
    }

    /// R-013, R-046: asks for what [`Opened::renewal`] names, if anything, and takes in when to ask next. The playback
    /// goes on whether or not it succeeds.
    pub fn renew<'a>(&'a mut self, opened: &'a mut Opened) -> Flow<'a, Option<Acquired>> {
        Flow::new(move |io| async move { self.run_renew(&io, opened).await })
    }

    /// Proactive acquisition: asks for licenses before anything is played.
    pub fn acquire(&mut self, wanted: Wanted) -> Flow<'_, Acquired> {
        Flow::new(|io| async move { self.run_acquire(&io, &wanted, Occasion::Asked).await })
    }

    /// Asks the license server that `wanted` leads to for the time and for nothing else. With a round trip of at
    /// most five minutes it stands in for a clock that may not be used, until this client ends, and lowers a floor
    /// that only the local clock has set (R-010).
    pub fn ask_time(&mut self, wanted: Wanted) -> Flow<'_, Timestamp> {
        Flow::new(|io| async move { self.run_ask_time(&io, &wanted, Occasion::Asked).await })
    }

    /// Opens content that needs the keys `kids`: looks in the store and, if `acquisition` permits, acquires
    /// what is missing. The keys of all are released, or of none.
    pub fn open_content(
        &mut self,
        kids: Vec<Kid>,
        wanted: Wanted,
        acquisition: Acquisition,
    ) -> Flow<'_, Opened> {
        self.open_content_for(Action::Play, kids, wanted, acquisition)
    }

    /// [`Client::open_content`] for another right than to play.
    pub fn open_content_for(
        &mut self,
        action: Action,
        kids: Vec<Kid>,
        wanted: Wanted,
        acquisition: Acquisition,
    ) -> Flow<'_, Opened> {
        Flow::new(move |io| async move { self.run_open(&io, &kids, wanted, acquisition, action).await })
    }

    /// Takes in a discovery document that came by other means, for the requests that follow: it passes the
    /// same checks as one that was fetched. One that is older than the stored one replaces nothing, and is
    /// refused if that is not in use any more. Returns the operator: SHA-256 of its root certificate.
    pub fn install_discovery(&mut self, document: Vec<u8>) -> Flow<'_, Digest> {
        Flow::new(|io| async move { self.run_install_discovery(&io, document).await })
    }

    /// Makes a license request to be carried by other means (a file, a proxy of the application's own). It
    /// is sealed as the stored discovery document says, which must be in use.
    pub fn request(&mut self, wanted: Wanted) -> Flow<'_, Vec<u8>> {
        Flow::new(|io| async move { self.run_request(&io, &wanted).await })
    }

    /// Installs a response that came by other means, in this process or a later one.
    pub fn install(&mut self, response: Vec<u8>) -> Flow<'_, Acquired> {
        Flow::new(|io| async move { self.run_install(&io, &response, None).await })
    }

    /// Takes in a file of revocation lists that came by other means (V-063, V-064). Returns whose they are: SHA-256 of the
    /// operator's root certificate. One that is refused keeps no other out.
    pub fn install_lists(&mut self, file: Vec<u8>) -> Flow<'_, (Digest, TakenLists)> {
        Flow::new(|io| async move { self.run_install_lists(&io, &file).await })
    }

    /// What is known of trust in each operator's name: its revocation lists, and whether this device is revoked (R-015).
    /// The flow asks for no step.
    pub fn trust(&self) -> Flow<'_, Vec<OperatorTrust>> {
        Flow::new(|io| async move { Ok(self.trust_at(self.now(&io))) })
    }

    /// The licenses in the store that are none any more, since their signer was revoked before they were issued: of a key
    /// id, or of all. They are never used, and go as others do.
    pub fn distrusted_licenses(&self, kid: Option<Kid>) -> Flow<'_, Vec<Distrusted>> {
        Flow::new(move |io| async move { self.run_distrusted(&io, kid).await })
    }

    /// Tells license servers that asked for it what became of their answers. Whatever keeps one from being told, it goes
    /// on waiting, and so does what else is for that operator.
    ///
    /// It tells the operators that have answered since the last time, so that one that cannot be reached keeps nothing
    /// from the others; all of them if none has.
    ///
    /// A host calls it whenever [`Client::owes_acknowledgement`] says yes: right after a license server has answered.
    /// That is no part of [`Client::acquire`], since what was acquired is there whether or not it can be told.
    pub fn acknowledge(&mut self) -> Flow<'_, Acknowledged> {
        Flow::new(|io| async move { self.run_acknowledge(&io).await })
    }

    /// Whether a license server has answered since acknowledgements were last told, and some wait. Nothing is read for
    /// it.
    #[must_use]
    pub fn owes_acknowledgement(&self) -> bool {
        !self.contacts.is_empty() && self.waiting_acknowledgements() > 0
    }

    /// V-055: gets the certificates that follow those in the last third of their lives, for the same keys.
    ///
    /// A host calls it whenever [`Client::owes_renewal`] says yes: after a license server has answered. That is no part
    /// of [`Client::acquire`], since what was acquired is there whether or not a certificate can be renewed.
    pub fn renew_certificates(&mut self) -> Flow<'_, Renewed> {
        Flow::new(|io| async move { self.run_renew_certificates(&io).await })
    }

    /// V-055: makes a request to be carried by other means for the certificate that follows one in the last third of its
    /// life; of several, the one that ends first. It is sealed as the stored discovery document says, which must be in use.
    /// [`Client::install_enrolment`] takes the response.
    ///
    /// The flow ends with [`ClientError::NothingToRenew`] if there is none.
    pub fn request_renewal(&mut self) -> Flow<'_, Vec<u8>> {
        Flow::new(|io| async move { self.run_request_renewal(&io).await })
    }

    /// Whether a certificate of this device is to be renewed: the last third of its life has begun, by the time that its
    /// operator's license server has told with its last answer, whether that was sent or carried.
    #[must_use]
    pub fn owes_renewal(&self) -> bool {
        !self.ending.is_empty()
    }

    /// How many acknowledgements wait for their receipts. Nothing is read for it.
    #[must_use]
    pub const fn waiting_acknowledgements(&self) -> u64 {
        match self.store.head().acknowledgements {
            Some(count) => count,
            None => 0,
        }
    }

    /// Makes a request of an acknowledgement to be carried by other means: of the one that has waited for longest, and
    /// of another one at the next call.
    pub fn request_acknowledgement(&mut self) -> Flow<'_, Vec<u8>> {
        Flow::new(|io| async move { self.run_request_acknowledgement(&io).await })
    }

    /// Whether [`Client::request_acknowledgement`] would make a request of an acknowledgement that is on its way already:
    /// then the receipt for the earlier one is not taken any more.
    pub fn replaces_acknowledgement(&self) -> Flow<'_, bool> {
        Flow::new(|io| async move { self.run_replaces_acknowledgement(&io).await })
    }

    /// Takes in a receipt that came by other means, in this process or a later one.
    pub fn install_receipt(&mut self, receipt: Vec<u8>) -> Flow<'_, TransactionId> {
        Flow::new(|io| async move { self.run_install_receipt(&io, &receipt).await })
    }

    /// The terms of every license in the store and in memory, for listing.
    pub fn licenses(&self) -> Flow<'_, Vec<LicenseBody>> {
        Flow::new(|io| async move {
            let held = self.run_held(&io).await?;
            Ok(held.into_iter().map(|held| held.body).collect())
        })
    }

    /// Every license in the store and in memory that still verifies, whole.
    pub fn held_licenses(&self) -> Flow<'_, Vec<HeldLicense>> {
        Flow::new(|io| async move { self.run_held(&io).await })
    }

    /// Removes the licenses of a key id. A tombstone stays for each until its end, so that an old
    /// response does not bring it back. Exchange keys that were prepared under them are wiped. Returns how many were
    /// removed.
    pub fn remove_licenses(&mut self, kid: Kid) -> Flow<'_, usize> {
        Flow::new(move |io| async move { self.run_remove(&io, kid, None).await })
    }

    /// Removes one license of a key id, as [`Client::remove_licenses`] does all. Returns whether it was there.
    pub fn remove_license(&mut self, kid: Kid, license: LicenseId) -> Flow<'_, bool> {
        Flow::new(move |io| async move { Ok(self.run_remove(&io, kid, Some(license)).await? > 0) })
    }

    /// R-044: removes every license whose removal date has come by this device's clock. Those whose date has come by
    /// a server's word go by themselves, a few with every commit. Returns how many were removed.
    pub fn clean(&mut self) -> Flow<'_, usize> {
        Flow::new(|io| async move { self.run_clean(&io).await })
    }

    /// Seals every record of the store under a new key and forgets the old one: what was removed before cannot be
    /// read from any copy of the records any more. Licenses, tombstones and operators stay.
    ///
    /// The records are one commit. A store of more than 256 MiB of licenses ends the flow with
    /// [`ClientError::TooMuchToRenew`].
    pub fn renew_store_key(&mut self) -> Flow<'_, ()> {
        Flow::new(|io| async move { self.store.renew_key(&io, &mut self.rng).await })
    }

    /// The operators that this device is enrolled with, each with the device's certificate.
    pub fn enrolments(&self) -> impl Iterator<Item = Enrolment<'_>> {
        self.operators.values().map(Enrolment::of)
    }

    /// What this client may hold.
    #[must_use]
    pub const fn store_limits(&self) -> &StoreLimits {
        self.store.limits()
    }

    /// What it holds of that. Nothing is read for it.
    #[must_use]
    pub fn store_usage(&self) -> StoreUsage {
        let totals = self.store.head().totals;
        StoreUsage {
            licenses: totals.licenses,
            license_bytes: totals.license_bytes,
            tombstones: totals.tombstones,
            licenses_in_memory: self.memory.len(),
            operators: self.operators.len(),
            counted_keys: totals.counted_keys.unwrap_or_default(),
        }
    }

    /// R-010: whether [`Client::clock_floor`] is a time that a license server stated. No fresher answer lowers such a
    /// one.
    #[must_use]
    pub const fn clock_floor_is_stated(&self) -> bool {
        self.store.head().clock.floor_is_trusted
    }

    /// R-010: operators, each by SHA-256 of its root certificate, whose licenses have no time: another operator's answer
    /// lowered [`Client::clock_floor`], and theirs have not told the time since.
    #[must_use]
    pub fn untimed_operators(&self) -> &[Digest] {
        self.store.head().untimed.as_deref().unwrap_or_default()
    }

    /// R-010: the time below which the host's clock is not believed.
    #[must_use]
    pub const fn clock_floor(&self) -> Timestamp {
        self.store.head().clock.floor
    }
}
