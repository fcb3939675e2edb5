//! Roots: keys that open leaf licenses, and what is under them.
//!
//! ```text
//!  account ── entitlement, policy ──► root license ──── opens ────► leaf licenses ──► content keys
//!             all that is limited      one a device and root          the same for everybody
//!             in time
//!
//!  root ── contents: whole, or a window of crypto periods ── blackouts ──► which keys have a leaf
//!       └─ single keys
//! ```
//! A root is what a subscription, a bundle of channels or a season is sold as. Whoever is granted the root's key id
//! gets the root license, by the same handlers and policies as any license; whoever asks for a key under it gets a
//! leaf. Leaves say nothing of time: when the root license ends, all of them do. A key may be under several roots, and
//! may be granted by itself as well, which then goes before its roots.
//!
//! A channel is a piece of content whose keys change: packagers ask for the keys of its crypto periods ahead, with
//! their leaves, and put them into the content. What is blacked out has no leaf under that root.
//!
//! What is refused: a key that is for a higher security level than the root's; a root whose key id or value is one of
//! content or key exchange; a content key that is a root's.

mod admin;
pub(crate) mod chain;
mod channels;
pub(crate) mod leaf;
pub(crate) mod renewal;

use keyward_license::{ids::Kid, time::Timestamp};

pub use channels::{Channel, MAX_PERIOD_SECONDS};

/// Most leaf licenses that go along with the one that was asked for.
pub const MAX_ALONG: usize = 512;
/// Most roots that a piece of content, or a single key, is under.
pub const MAX_ROOTS: usize = 64;
/// Crypto periods are numbered below this: 2^48.
pub const MAX_PERIOD: u64 = 1 << 48;

/// A root that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRoot {
    /// Key id; without, one is drawn.
    pub kid: Option<Kid>,
    /// What it is called: 1 to 255 bytes that no other root has.
    pub name: String,
    /// Smallest security level of a device that gets it, besides what the policy asks for: 150, 2000 or 3000. A key
    /// that is for a higher one has no leaf under the root.
    pub minimum_security_level: Option<u64>,
    /// Whether, with a leaf that is asked for, the others go along that are not of crypto periods, to clients that
    /// take them: at most [`MAX_ALONG`], and only where the rows of the database alone decide. Each 64, or
    /// fewer, count as one request in the device's rate, before they are looked up.
    pub accompany: bool,
}

impl NewRoot {
    /// A root with nothing but a name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            kid: None,
            name: name.into(),
            minimum_security_level: None,
            accompany: false,
        }
    }
}

/// A root, for people: no key in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Key id.
    pub kid: Kid,
    /// What it is called.
    pub name: String,
    /// Smallest security level of a device that gets it, besides what the policy asks for.
    pub minimum_security_level: Option<u64>,
    /// Whether, with a leaf that is asked for, others go along.
    pub accompany: bool,
    /// When it was made.
    pub created: Timestamp,
}

/// What is under a root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RootHoldings {
    /// Pieces of content, by content id.
    pub contents: Vec<RootContent>,
    /// Single keys, by key id.
    pub keys: Vec<Kid>,
    /// What has no leaf, in the order in which it was said.
    pub blackouts: Vec<Blackout>,
}

/// A piece of content under a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootContent {
    /// Its content id, as packagers name it.
    pub content_id: String,
    /// Which of its crypto periods.
    pub periods: Periods,
}

/// Crypto periods by index, from (inclusive) to (exclusive).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Periods {
    /// The first; without, from the beginning.
    pub from: Option<u64>,
    /// The first that is not meant any more; without, there is none.
    pub to: Option<u64>,
}

impl Periods {
    /// All of them, and content that has none.
    pub const ALL: Self = Self { from: None, to: None };

    /// Whether a period is one of them; what has no periods is in [`Periods::ALL`] alone.
    #[must_use]
    pub fn hold(&self, period: Option<u64>) -> bool {
        match period {
            Some(period) => {
                self.from.is_none_or(|from| from <= period) && self.to.is_none_or(|to| period < to)
            }
            None => *self == Self::ALL,
        }
    }

    /// Whether one of them is this one or comes after it.
    pub(crate) fn are_not_over(&self, from: Option<u64>) -> bool {
        match from {
            Some(from) => self.to.is_none_or(|to| from < to),
            None => *self == Self::ALL,
        }
    }
}

/// Crypto periods of a piece of content that have no leaf under a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blackout {
    /// Names it, to lift it.
    pub id: i64,
    /// The content id.
    pub content_id: String,
    /// The first period.
    pub from: u64,
    /// The first that is not blacked out any more; without, there is none.
    pub to: Option<u64>,
}
