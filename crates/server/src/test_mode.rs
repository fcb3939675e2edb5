//! Test-server mode: an operator that issues whatever a request asks for, to anybody.
//!
//! ```text
//!  ?cfg=(name:value,…),(…)     bracket form  ─┐
//!  ?cfg64=BASE64               JSON form     ─┼─► TestRequest ─► rights of each key id ─► terms, tried on the device
//!  custom data json=[{'n':'v'}]              ─┤   TestLicense*                            ─► recorded ─► signed
//!  ?PlayRight=1&…              legacy form   ─┘   what else the answer is to be
//! ```
//! Only an operator whose root certificate is marked ([`operator::init_test`](crate::operator::init_test)) reads any of
//! this; elsewhere a query is refused (106) and custom data is what a handler makes of it. A license that is asked for
//! this way goes the way of every other: terms are checked, tried on the device, recorded, and signed last.
//! `spec/test-server.md` has every parameter and what it does.
//!
//! What it refuses: a parameter that it does not know or that stands twice, by its name; a value that is not the
//! parameter's; and what this version cannot do. Each is told as a signed denial of every key id, with the reason.
//!
//! ```
//! use keyward_server::test_mode::TestRequest;
//!
//! let asked = TestRequest::read(Some("cfg=(persist:true,firstexp:60)"), None)?;
//! let [license] = &asked.licenses[..] else { panic!("one group is one license") };
//! assert!(license.terms.persistent_allowed);
//! assert_eq!(license.terms.expiration_after_first_play_seconds, Some(60));
//!
//! let refused = TestRequest::read(Some("cfg=(persist:maybe)"), None).unwrap_err();
//! assert_eq!(refused.to_string(), "test parameter `persist` must be `true` or `false`");
//! # Ok::<(), keyward_server::test_mode::Fault>(())
//! ```

mod brackets;
mod client_info;
pub(crate) mod enrolment;
mod issue;
mod json;
mod legacy;
mod parameters;
mod plan;
mod reading;
pub mod transcript;
mod values;

use core::time::Duration;

use keyward_crypto::{
    ContentKey,
    exchange::{Algorithm, Operation},
    seed::LicenseKeySeed,
};
use keyward_license::{
    error_code::ErrorCode,
    ids::{Kid, TransactionId},
    license::KeyType,
    time::Timestamp,
};

use crate::policy::PolicyTerms;

pub use brackets::{MAX_GROUPS, MAX_LENGTH};
pub(crate) use issue::{keep_back, leaf_body, rights, wishes};
pub use parameters::{Does, PARAMETERS, Parameter};

/// The published test key seed: everybody has it, so that content can be packaged for a test operator anywhere.
pub const TEST_SEED: [u8; 30] = [
    0x5d, 0x50, 0x68, 0xbe, 0xc9, 0xb3, 0x84, 0xff, 0x60, 0x44, 0x86, 0x71, 0x59, 0xf1, 0x6d, 0x6b, 0x75,
    0x55, 0x44, 0xfc, 0xd5, 0x11, 0x69, 0x89, 0xb1, 0xac, 0xc4, 0x27, 0x8e, 0x88,
];

/// The number that a test operator has the seed under.
pub(crate) const TEST_SEED_NUMBER: u64 = 1;

/// Longest latency that a request can ask for.
pub const MAX_LATENCY: Duration = Duration::from_secs(60);

/// What a request to a test operator asks for.
#[derive(Debug, Default)]
pub struct TestRequest {
    /// The licenses, at most [`MAX_GROUPS`]. None: one for each key id, in memory.
    pub licenses: Vec<TestLicense>,
    /// What else the answer is to be.
    pub answer: TestAnswer,
}

/// What the answer to a test request is to be, besides its licenses.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TestAnswer {
    /// A transaction, which the client acknowledges.
    pub transaction: Option<TestTransaction>,
    /// An error in the place of licenses.
    pub error: Option<ErrorCode>,
    /// As to a device that was revoked.
    pub revoked: bool,
    /// What the client says of itself, in the answer's custom data.
    pub client_info: bool,
    /// By how many seconds the server's time is shifted.
    pub clock: Option<i64>,
    /// How long the answer is kept back.
    pub latency: Option<Duration>,
    /// What was asked for and cannot be done: every key id is denied with it.
    pub refused: Option<Fault>,
}

/// A transaction id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestTransaction {
    /// This one.
    Named(TransactionId),
    /// A fresh one.
    Drawn,
}

/// One license that is asked for.
#[derive(Debug)]
pub struct TestLicense {
    /// For this key id; for the only one of the request if absent.
    pub kid: Option<Kid>,
    /// Where the key comes from.
    pub key: TestKey,
    /// What the key serves; what the key id is registered for if absent, and `cenc` CTR if it is not.
    pub key_type: Option<TestKeyType>,
    /// Simple, root, or leaf.
    pub place: TestPlace,
    /// Its terms, without those that count from an absolute time.
    pub terms: PolicyTerms,
    /// Not usable before.
    pub begin: Option<Timestamp>,
    /// May be removed from the store from this time on.
    pub removal: Option<Timestamp>,
}

/// Where the key of a license comes from.
#[derive(Debug)]
pub enum TestKey {
    /// What is registered for the key id, else the published test seed.
    Registered,
    /// This seed.
    Seed(LicenseKeySeed),
    /// This key.
    Given(ContentKey),
}

/// What a key serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestKeyType {
    /// Content.
    Content(KeyType),
    /// The application's own data, by this algorithm and operation.
    Exchange(Algorithm, Operation),
}

/// Where a license stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestPlace {
    /// Alone.
    Simple,
    /// Others are opened by it.
    Root,
    /// It is opened by the root of this key id.
    Leaf(Kid),
}

/// Why a test request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Not of the form.
    #[error("the test request cannot be read: {0}")]
    Form(&'static str),
    /// No such parameter.
    #[error("there is no test parameter `{0}`")]
    Unknown(String),
    /// It stands twice, or two groups contradict one another.
    #[error("test parameter `{0}` is given twice")]
    Twice(&'static str),
    /// The value is not one of the parameter's.
    #[error("test parameter `{name}` must be {expected}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// The parameter is known and refused.
    #[error("test parameter `{name}` is refused: {why}")]
    Refused {
        /// The parameter.
        name: &'static str,
        /// The reason.
        why: &'static str,
        /// What the device is told.
        code: ErrorCode,
    },
    /// What is asked for does not make a license.
    #[error("the test request asks for terms that no license has: {0}")]
    Terms(crate::policy::PolicyFault),
}

impl Fault {
    /// The number of `spec/errors.md`.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Refused { code, .. } => *code,
            Self::Form(_) | Self::Unknown(_) | Self::Twice(_) | Self::Value { .. } | Self::Terms(_) => {
                ErrorCode::ServiceSpecific
            }
        }
    }
}
