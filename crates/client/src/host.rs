//! What the host of the client says of itself: where content would go, what it can carry out, how good its
//! clock is. What a client announces to license servers is made of this and of nothing else.
//!
//! A host that says nothing is [`HostProfile::default`]: it cannot tell where content goes, asks for no decision
//! while content plays, and its clock is the anti-rollback clock. It gets no license that needs more, and what
//! it was given is refused where the rules cannot be held.

use keyward_license::{
    license::{ExplicitRestriction, Guid, LicenseBody},
    request::{Capabilities, ClockKind},
    usage_rules::{Connector, Output, OutputKind, Understood},
};

/// Key of the term "real-time expiration".
const REAL_TIME_EXPIRATION: u64 = 14;

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
    pub clock: ClockKind,
    /// Whether the host calls [`Client::go_on`](crate::Client::go_on) for every piece of content that it hands
    /// out. Without that, a license with a real-time expiration is not asked for.
    pub asks_while_playing: bool,
    /// Whether the host sets the frame size ([`Opened::set_frame`](crate::session::Opened::set_frame)) and
    /// decodes nothing larger than the license permits. Without that, a license with a maximum decode resolution
    /// is not asked for.
    pub states_frames: bool,
    /// Source ids whose rules it follows.
    pub sources: Vec<u64>,
    /// Extended restrictions that the application understands.
    pub extended: Vec<Understood>,
    /// Watermark technologies that it embeds.
    pub watermarks: Vec<Guid>,
}

impl Default for HostProfile {
    fn default() -> Self {
        Self {
            outputs: Box::new(Unlisted),
            clock: ClockKind::AntiRollback,
            asks_while_playing: false,
            states_frames: false,
            sources: Vec::new(),
            extended: Vec::new(),
            watermarks: Vec::new(),
        }
    }
}

impl core::fmt::Debug for HostProfile {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("HostProfile")
            .field("clock", &self.clock)
            .field("asks_while_playing", &self.asks_while_playing)
            .field("states_frames", &self.states_frames)
            .finish_non_exhaustive()
    }
}

impl HostProfile {
    /// What is announced: exactly what is enforced on this host. V-029 holds licenses against it.
    pub(crate) fn capabilities(&self, key_types: Vec<u64>, suites: Vec<u64>) -> Capabilities {
        let enforced = |term: &u64| self.asks_while_playing || *term != REAL_TIME_EXPIRATION;
        let terms = LicenseBody::TERMS.into_iter().filter(enforced).collect();
        let restrictions = ExplicitRestriction::ALL.into_iter().filter(|guid| match *guid {
            ExplicitRestriction::WATERMARK => !self.watermarks.is_empty(),
            ExplicitRestriction::MAXIMUM_DECODE_RESOLUTION => self.states_frames,
            _ => true,
        });
        Capabilities {
            explicit_restrictions: Some(restrictions.collect()),
            extended_restrictions: some(self.extended.iter().map(|known| known.kind).collect()),
            source_ids: some(self.sources.clone()),
            watermarks: some(self.watermarks.clone()),
            ..Capabilities::new(key_types, terms, suites, self.clock)
        }
    }

    /// the outputs that a license is judged with. Where the host cannot tell, a license that demands
    /// anything of outputs is judged with one unknown output, and any other without outputs.
    pub(crate) fn outputs_for(&self, license: &LicenseBody) -> Vec<Output> {
        self.outputs.list().unwrap_or_else(|| unlisted(license))
    }
}

/// As [`HostProfile::outputs_for`], of a host that cannot tell.
fn unlisted(license: &LicenseBody) -> Vec<Output> {
    let about_outputs = |one: &ExplicitRestriction| {
        !matches!(
            one,
            ExplicitRestriction::Watermark(_) | ExplicitRestriction::MaximumDecodeResolution(_)
        )
    };
    let demands = license.output_protection_levels.is_some()
        || license.play_enablers.is_some()
        || license.explicit_restrictions().iter().any(about_outputs);
    let unknown = Output::bare(Connector::Other, OutputKind::Unknown);
    demands.then_some(unknown).into_iter().collect()
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}
