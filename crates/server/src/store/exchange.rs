//! Exchange keys, as they go into the database and come out of it.

use core::fmt;

use keyward_license::{
    ids::{Digest, Kid},
    time::Timestamp,
};

use crate::key_exchange::{Destroy, KeyState, UseOutcome};

/// An exchange key with its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExchangeKeyRow {
    pub(crate) kid: Kid,
    pub(crate) name: String,
    /// COSE number.
    pub(crate) algorithm: i64,
    /// COSE number of the operation that clients get.
    pub(crate) operation: u64,
    pub(crate) context: Option<Vec<u8>>,
    pub(crate) uses: Option<u64>,
    pub(crate) minimum_version: u32,
    pub(crate) minimum_security_level: Option<u64>,
    /// The key in whose licenses this one travels as well.
    pub(crate) beside: Option<Kid>,
    pub(crate) state: KeyState,
    /// Grows with every change.
    pub(crate) revision: u64,
    pub(crate) created: Timestamp,
    /// Newest first.
    pub(crate) versions: Vec<ExchangeVersionRow>,
}

/// One version of an exchange key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ExchangeVersionRow {
    pub(crate) version: u32,
    /// None once it is destroyed.
    pub(crate) sealed: Option<Vec<u8>>,
    /// What the server encrypted with it in GCM.
    pub(crate) messages: u64,
    pub(crate) created: Timestamp,
}

impl fmt::Debug for ExchangeVersionRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeVersionRow")
            .field("version", &self.version)
            .field("destroyed", &self.sealed.is_none())
            .finish_non_exhaustive()
    }
}

/// An exchange key that is to be registered, with its first version.
pub(crate) struct NewExchangeKey {
    pub(crate) kid: Kid,
    pub(crate) name: String,
    pub(crate) algorithm: i64,
    pub(crate) operation: u64,
    pub(crate) context: Option<Vec<u8>>,
    pub(crate) uses: Option<u64>,
    pub(crate) minimum_security_level: Option<u64>,
    pub(crate) beside: Option<Kid>,
    /// Whether the value is somebody else's, for the record.
    pub(crate) imported: bool,
    pub(crate) value: NewExchangeValue,
}

/// The value of a version, sealed for its place, and what tells whether it serves elsewhere.
pub(crate) struct NewExchangeValue {
    pub(crate) sealed: Vec<u8>,
    pub(crate) fingerprints: Vec<[u8; 32]>,
}

/// What is changed of an exchange key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExchangeChange {
    MinimumVersion(u32),
    MinimumSecurityLevel(Option<u64>),
    Disable,
    Enable,
    Destroy(Destroy),
}

/// A call for mirror operations that is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewUse {
    pub(crate) kid: Kid,
    /// The one version that was used.
    pub(crate) version: Option<u32>,
    /// COSE number of what the server did.
    pub(crate) operation: u64,
    pub(crate) items: u64,
    pub(crate) failed: u64,
    pub(crate) bytes: u64,
    pub(crate) caller: String,
    pub(crate) outcome: UseOutcome,
    /// What the results rest on.
    pub(crate) rests: UseBasis,
}

/// What must still be so when a use is recorded, or its results do not leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UseBasis {
    /// Nothing: there are no results.
    Nothing,
    /// The key at this revision, and room for so many messages of a version in GCM.
    Key {
        revision: u64,
        messages: Option<(u32, u64)>,
    },
}

/// What recording a use came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UseVerdict {
    /// It stands in the database, under this number: results may leave.
    Recorded(i64),
    /// The key was changed meanwhile; nothing was recorded.
    Changed,
    /// The version has made all the messages that it may; nothing was recorded.
    Spent,
}

/// A recorded use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UseRow {
    pub(crate) id: i64,
    pub(crate) at: Timestamp,
    pub(crate) version: Option<u32>,
    pub(crate) operation: u64,
    pub(crate) items: u64,
    pub(crate) failed: u64,
    pub(crate) bytes: u64,
    pub(crate) caller: String,
    pub(crate) outcome: UseOutcome,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamEnd {
    pub(crate) id: i64,
    pub(crate) version: Option<u32>,
    pub(crate) bytes: u64,
    pub(crate) outcome: UseOutcome,
}

/// What noting the end of a stream came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamVerdict {
    /// It is noted as it was.
    Noted,
    /// It would have been a good one, and is noted as aborted: the key is in this state.
    OutOfUse(KeyState),
}

/// An exchange token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExchangeTokenRow {
    pub(crate) hash: Digest,
    pub(crate) name: String,
    /// None: every exchange key.
    pub(crate) kids: Option<Vec<Kid>>,
    pub(crate) created: Timestamp,
    pub(crate) revoked: Option<Timestamp>,
}
