//! Key exchange: keys that protect the application's own data, never content.
//!
//! ```text
//!                      exchange key: one algorithm, one operation        sealed in the vault, version by version
//!                        │                              │
//!  license ─► device: the operation        the server: its mirror operation
//!             encrypt, sign, wrap    ◄──►  decrypt, verify, unwrap
//!             decrypt, verify, unwrap ◄──►  encrypt, sign, wrap
//! ```
//! A device gets an exchange key as it gets any license, of kind key exchange, for the one operation that the key was
//! made for. What the device does with it, the server undoes or checks, for callers with an exchange token or an admin
//! token: in batches ([`Server::exchange_perform`](crate::Server::exchange_perform)) or, for large data, as a stream
//! ([`Server::exchange_stream`](crate::Server::exchange_stream)). Every use is recorded before its result leaves.
//!
//! ```text
//!  keys      create, import, rotate, minimum version, disable, enable, destroy
//!  value     the value of a version: sealed, and told from every other value
//!  tokens    who may have what performed
//!  items     what is asked, and what comes of it
//!  engine    a key at its mirror operation
//!  license   the keys of a license
//!  perform   mirror operations, many in a call
//!  stream    mirror operations on large data
//! ```
//! ```
//! use keyward_crypto::exchange::{Algorithm, Operation};
//! use keyward_server::key_exchange::{Caller, Item, NewKey, Output};
//! # use std::sync::Arc;
//! # use keyward_license::time::Timestamp;
//! # use keyward_server::{Server, clock::SystemClock, operator::{self, InitOptions}, sealing::KekSource};
//! # use rand_chacha::rand_core::SeedableRng;
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let home = tempfile::tempdir()?;
//! # let rng = &mut rand_chacha::ChaCha20Rng::from_seed([7; 32]);
//! # let dir = home.path().join("operator");
//! # let options = InitOptions {
//! #     name: "Example".into(),
//! #     public_url: "http://127.0.0.1:8470".into(),
//! #     listen: "127.0.0.1:8470".into(),
//! #     admin_listen: "127.0.0.1:8471".into(),
//! #     kek: KekSource::File,
//! # };
//! # operator::init(&dir, options, Timestamp(1_900_000_000), rng).await?;
//! # let server = Server::open(&dir, KekSource::File, Arc::new(SystemClock)).await?;
//! // Meters sign what they read; nobody but the server checks it.
//! let meters = NewKey::new("meters", Algorithm::HmacSha256, Operation::Sign);
//! let kid = server.create_exchange_key(meters).await?;
//! server.grant("meter-17", Some(kid), "default", None).await?;
//!
//! let claimed = Item::Verify { data: b"12 kWh".to_vec(), signature: vec![0; 36] };
//! let results = server.exchange_perform(&Caller::operator(), kid, vec![claimed]).await?;
//! assert!(!matches!(&results[..], [Ok(Output::Verified(verification))] if verification.is_valid()));
//! # server.close().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is refused: a key id, or a value, that serves or served anything else; a version below the minimum; an
//! operation that is not the mirror; a license under terms about playing.

mod engine;
mod items;
mod keys;
pub(crate) mod license;
mod perform;
mod stream;
mod tokens;
mod value;

use keyward_crypto::exchange::{Algorithm, Operation};
use keyward_license::{ids::Kid, time::Timestamp};

pub use items::{Item, ItemResult, MAX_CALL_BYTES, MAX_ITEMS, Output, PerformFault, Verification};
pub use keys::NewKey;
/// Messages that one key may encrypt in GCM with random nonces (NIST SP 800-38D, 8.3).
pub use keyward_license::key_exchange::MAX_MESSAGES;
pub use stream::{ExchangeStream, StreamOutput, StreamRequest};
pub use tokens::{Caller, ExchangeToken};
pub(crate) use value::{cell as version_cell, opens, row as version_row};

/// Versions that a license for a consuming operation holds at most: the newest that are accepted.
pub const MAX_VERSIONS: usize = 8;

/// An exchange key, for people: no secret in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyListing {
    /// Key id.
    pub kid: Kid,
    /// What it is called, for people.
    pub name: String,
    /// Its one algorithm.
    pub algorithm: Algorithm,
    /// What clients do with it; the server does the mirror operation.
    pub operation: Operation,
    /// What the additional data of every use must be (R-051).
    pub context: Option<Vec<u8>>,
    /// How often a client may use it under one license (R-052).
    pub uses: Option<u64>,
    /// The least version that is still accepted.
    pub minimum_version: u32,
    /// Smallest security level of a device that gets it, besides what the policy asks for.
    pub minimum_security_level: Option<u64>,
    /// The exchange key in whose licenses it travels as well.
    pub beside: Option<Kid>,
    /// Whether it is in use.
    pub state: KeyState,
    /// When it was made.
    pub created: Timestamp,
    /// Its versions, the newest first.
    pub versions: Vec<VersionListing>,
}

/// A version of an exchange key, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionListing {
    /// Its number; the first is 1.
    pub version: u32,
    /// When it was made.
    pub created: Timestamp,
    /// Whether its value was destroyed.
    pub destroyed: bool,
    /// How many messages the server encrypted with it in GCM.
    pub messages: u64,
}

/// Whether an exchange key is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It is.
    Enabled,
    /// It is not, until it is enabled.
    Disabled,
    /// It never will be: its values are gone.
    Destroyed,
}

impl KeyState {
    /// Its name in the database and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Destroyed => "destroyed",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Enabled, Self::Disabled, Self::Destroyed];
        all.into_iter().find(|state| state.name() == name)
    }
}

/// What of an exchange key is destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destroy {
    /// One version, but not the newest.
    Version(u32),
    /// Every version: the key is gone.
    All,
}

/// A recorded use: one call of [`Server::exchange_perform`](crate::Server::exchange_perform), or one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Grows with every use.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// The version that was used, if it was one.
    pub version: Option<u32>,
    /// What the server did.
    pub operation: Operation,
    /// How many items there were; 1 for a stream.
    pub items: u64,
    /// How many of them could not be performed.
    pub failed: u64,
    /// Bytes that were given to the server.
    pub bytes: u64,
    /// Who asked: `operator`, `admin:` or `token:` with the token's name.
    pub caller: String,
    /// What came of it.
    pub outcome: UseOutcome,
}

/// What came of a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UseOutcome {
    /// A stream has begun; its end was not noted, or not yet.
    Begun,
    /// Every item was performed. A signature that was found to be invalid is one.
    Done,
    /// Some were.
    Partly,
    /// None was.
    Failed,
    /// Nothing was tried: the key is disabled or destroyed, or the caller may not use it.
    Refused,
    /// The stream's data did not come to its end.
    Aborted,
}

impl UseOutcome {
    /// Its name in the database and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Partly => "partly",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Aborted => "aborted",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::Begun,
            Self::Done,
            Self::Partly,
            Self::Failed,
            Self::Refused,
            Self::Aborted,
        ];
        all.into_iter().find(|outcome| outcome.name() == name)
    }
}
