//! What the host of the client says of itself: where content would go, what it can carry out, how good its
//! clock is. What a client announces to license servers is made of this and of nothing else.
//!
//! A host that says nothing is [`HostProfile::default`]: it cannot tell where content goes, asks for no decision
//! while content plays, and its clock is the anti-rollback clock. It gets no license that needs more, and what
//! it was given is refused where the rules cannot be held.

use std::sync::Arc;

use keyward_crypto::exchange::Algorithm;
use keyward_license::{
    license::{CoseAlgorithm, ExplicitRestriction, Flag, Guid, LicenseBody},
    request::{Capabilities, ClockKind},
    usage_rules::{Connector, Output, OutputKind, Understood},
};

/// Key of the term "real-time expiration".
const REAL_TIME_EXPIRATION: u64 = 14;
/// Key of the term "embed flag".
pub(crate) const EMBED: u64 = 23;

/// The ways by which content leaves the host.
pub trait Outputs {
    /// Every output as it is now: screens, speakers, connectors, other programs. None if the host cannot tell.
    ///
    /// The host keeps content off every output whose decision blocks it, and reduces it where the decision says
    /// so; the client cannot.
    fn list(&self) -> Option<Vec<Output>>;

    /// A number that is another one after anything that [`Outputs::list`] says has changed. Asked for with every
    /// piece of content that is handed out, so it has to be cheap.
    fn changes(&self) -> u64;
}

/// A host that cannot tell where content goes: to a pipe, to a file, to another program.
#[derive(Debug, Clone, Copy)]
pub struct Unlisted;

impl Outputs for Unlisted {
    fn list(&self) -> Option<Vec<Output>> {
        None
    }

    fn changes(&self) -> u64 {
        0
    }
}

/// What a host is and can do.
pub struct HostProfile {
    /// Where content goes: [`Unlisted`] by default.
    pub outputs: Box<dyn Outputs>,
    /// How good the clock is that comes with every reply. With [`ClockKind::None`] no time is ever used.
    ///
    /// A host says [`ClockKind::Secure`] only if it vouches that a secure time service alone sets the clock, and that
    /// its time is none ([`Moment::utc`](crate::flow::Moment::utc)) from a reset on until that service has set it: it
    /// is believed as it reads. Any other clock that shows the time is [`ClockKind::AntiRollback`].
    pub clock: ClockKind,
    /// Whether the host calls [`Client::go_on`](crate::Client::go_on) for every piece of content that it hands
    /// out. Without that, a license with a real-time expiration is not asked for.
    pub asks_while_playing: bool,
    /// Whether the host sets the frame size ([`Opened::set_frame`](crate::session::Opened::set_frame)) and
    /// decodes nothing larger than the license permits. Without that, a license with a maximum decode resolution
    /// is not asked for.
    pub states_frames: bool,
    /// whether the application writes licenses that say so into the content's embedded license store
    /// ([`Acquired::embed`](crate::install::Acquired::embed)). Without that, none that says so is asked for.
    pub embeds: bool,
    /// Whether licenses are taken only from who is known not to be revoked, by revocation lists that are not over: no.
    /// Then a response has to bring them, or they are brought by other means. What a list names is refused in any case.
    pub demands_lists: bool,
    /// V-065: whether the host has license servers told what became of their answers
    /// ([`Client::acknowledge`](crate::Client::acknowledge)). Without that, none asks for it.
    pub acknowledges: bool,
    /// Whether the device may enrol with a test operator, which issues to anybody and has no secrets: no. A test of an
    /// application says yes; a device that is enrolled stays so.
    pub accept_test_operators: bool,
    /// V-014: whether a response may bring licenses that go along with those that were asked for, such as a leaf's
    /// root and other leaves of it: yes. A device with little room says no.
    pub takes_more: bool,
    /// Source ids whose rules it follows.
    pub sources: Vec<u64>,
    /// Extended restrictions that the application understands.
    pub extended: Vec<Understood>,
    /// Watermark technologies that it embeds.
    pub watermarks: Vec<Guid>,
    /// Algorithms of key exchange that the application wants: all that this client has. Without any, it asks for no
    /// exchange keys.
    pub exchange_algorithms: Vec<Algorithm>,
    /// Whether a license may hold several exchange keys, or several versions of one (V-033): yes. Without that, what
    /// was made with an earlier version of a key cannot be consumed.
    pub exchange_multiple: bool,
    /// Keeps memory that holds exchange keys from being swapped out: [`Unlocked`] by default.
    pub memory: Arc<dyn MemoryLock>,
}

/// Keeps memory in memory: it is not written to a swap file or partition.
pub trait MemoryLock: Send + Sync {
    /// Locks the pages that `length` bytes from `address` on lie in, before a key comes there. `None` if the
    /// operating system does not: then the key is used all the same.
    fn lock(&self, address: usize, length: usize) -> Option<Box<dyn KeptInMemory>>;
}

/// Pages that are locked for as long as this lives. The keys there are wiped before it goes.
pub trait KeptInMemory: Send {}

/// A host without swap, or that cannot lock memory: a browser.
#[derive(Debug, Clone, Copy)]
pub struct Unlocked;

impl MemoryLock for Unlocked {
    fn lock(&self, _: usize, _: usize) -> Option<Box<dyn KeptInMemory>> {
        None
    }
}

impl Default for HostProfile {
    fn default() -> Self {
        Self {
            outputs: Box::new(Unlisted),
            clock: ClockKind::AntiRollback,
            asks_while_playing: false,
            states_frames: false,
            embeds: false,
            acknowledges: false,
            demands_lists: false,
            accept_test_operators: false,
            takes_more: true,
            sources: Vec::new(),
            extended: Vec::new(),
            watermarks: Vec::new(),
            exchange_algorithms: Algorithm::ALL.to_vec(),
            exchange_multiple: true,
            memory: Arc::new(Unlocked),
        }
    }
}

impl core::fmt::Debug for HostProfile {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("HostProfile")
            .field("clock", &self.clock)
            .field("asks_while_playing", &self.asks_while_playing)
            .field("states_frames", &self.states_frames)
            .field("embeds", &self.embeds)
            .finish_non_exhaustive()
    }
}

impl HostProfile {
    /// What is announced: exactly what is enforced on this host. V-029 holds licenses against it.
    pub(crate) fn capabilities(&self, key_types: Vec<u64>, suites: Vec<u64>) -> Capabilities {
        let enforced = |term: &u64| match *term {
            REAL_TIME_EXPIRATION => self.asks_while_playing,
            EMBED => self.embeds,
            _ => true,
        };
        let terms = LicenseBody::TERMS.into_iter().filter(enforced).collect();
        let restrictions = ExplicitRestriction::ALL.into_iter().filter(|guid| match *guid {
            ExplicitRestriction::WATERMARK => !self.watermarks.is_empty(),
            ExplicitRestriction::MAXIMUM_DECODE_RESOLUTION => self.states_frames,
            _ => true,
        });
        let mut algorithms = self.exchange_algorithms.clone();
        algorithms.sort_unstable_by_key(|algorithm| algorithm.number());
        algorithms.dedup();
        let algorithms = algorithms
            .iter()
            .map(|algorithm| CoseAlgorithm(algorithm.number()));
        Capabilities {
            explicit_restrictions: Some(restrictions.collect()),
            extended_restrictions: some(self.extended.iter().map(|known| known.kind).collect()),
            source_ids: some(self.sources.clone()),
            watermarks: some(self.watermarks.clone()),
            exchange_algorithms: some(algorithms.collect()),
            exchange_multiple: (self.exchange_multiple && !self.exchange_algorithms.is_empty())
                .then_some(Flag),
            more_licenses: self.takes_more.then_some(Flag),
            acknowledges: self.acknowledges.then_some(Flag),
            ..Capabilities::new(key_types, terms, suites, self.clock)
        }
    }

    /// the outputs that a chain of licenses is judged with. Where the host cannot tell, one that demands
    /// anything of outputs is judged with one unknown output, and any other without outputs.
    pub(crate) fn outputs_for(&self, chain: &[&LicenseBody]) -> Vec<Output> {
        let listed = self.outputs.list();
        listed.unwrap_or_else(|| match chain.iter().any(|license| demands_outputs(license)) {
            true => vec![Output::bare(Connector::Other, OutputKind::Unknown)],
            false => Vec::new(),
        })
    }
}

/// Whether a license demands anything of outputs.
fn demands_outputs(license: &LicenseBody) -> bool {
    let about_outputs = |one: &ExplicitRestriction| {
        !matches!(
            one,
            ExplicitRestriction::Watermark(_) | ExplicitRestriction::MaximumDecodeResolution(_)
        )
    };
    license.output_protection_levels.is_some()
        || license.play_enablers.is_some()
        || license.explicit_restrictions().iter().any(about_outputs)
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}
