//! The project's own test vectors: one self-describing JSON file a case, made from fixed seeds.
//!
//! The generator builds messages and states the verdict that it expects; it never asks the code under
//! test for one. `crates/license/tests/vectors/main.rs` reads the files and holds the code to the verdicts,
//! and any other implementation can do the same: `vectors/README.md` says what the fields mean.
//!
//! ```text
//!  vectors          the form of a file; all of them; the examples in `spec/`
//!   ├── build       parts of messages, right and wrong
//!   ├── licenses    judged alone, as when they come out of a store or a file
//!   ├── requests    license requests, sealed to a license server
//!   ├── responses   license responses, sealed to a request
//!   ├── enrolments  both directions
//!   ├── packaging   both directions
//!   ├── acknowledgements  both directions
//!   ├── revocation  lists, alone and in a file
//!   ├── embedded    license stores of content headers
//!   ├── results     of exchange keys
//!   ├── documents   discovery, operator profile, problem
//!   └── annotate    commented hex for `spec/`
//! ```

mod acknowledgements;
mod annotate;
mod build;
mod documents;
mod embedded;
mod enrolments;
mod licenses;
mod packaging;
mod requests;
mod responses;
mod results;
mod revocation;

use std::collections::BTreeMap;

use keyward_crypto::{hpke::KeyPair, kdf::sha256};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

pub use annotate::{examples, renew_examples};

use crate::pki::{Device, Identity, NOW, Operator, Recipient};
use keyward_crypto::x509::Role;

/// One vector file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// The file's name without `.json`.
    pub name: String,
    /// One sentence: what the case proves.
    pub proves: String,
    /// What `message` is.
    pub message_type: MessageType,
    /// Whether a receiver accepts it.
    pub verdict: Verdict,
    /// The step of `spec/rules.md` that refuses an invalid message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// How this project words the refusal. Other implementations need not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The receiver's time, seconds UTC.
    pub now: u64,
    /// What else the receiver knows, hexadecimal unless `vectors/README.md` says otherwise.
    pub inputs: BTreeMap<String, String>,
    /// The message, hexadecimal.
    pub message: String,
    /// What the receiver learns from a valid message.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub learns: BTreeMap<String, String>,
}

/// What a vector's message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageType {
    /// A signed license.
    License,
    /// A license request, sealed to a server.
    LicenseRequest,
    /// A license response, sealed to a request.
    LicenseResponse,
    /// An enrolment request, sealed to a server.
    EnrolmentRequest,
    /// An enrolment response, sealed to a request.
    EnrolmentResponse,
    /// A packaging request, sealed to a server.
    PackagingRequest,
    /// A packaging response, sealed to a request.
    PackagingResponse,
    /// A signed discovery document.
    Discovery,
    /// An operator profile.
    OperatorProfile,
    /// A problem document.
    Problem,
    /// What an operation of an exchange key put out.
    ExchangeResult,
    /// The license store of a content header.
    EmbeddedStore,
    /// What became of the licenses of a response, sealed to a server.
    AcknowledgeRequest,
    /// A receipt for that, sealed to a request.
    Receipt,
    /// A revocation list, as it travels.
    RevocationList,
    /// A file of revocation lists.
    RevocationLists,
}

/// Whether a receiver accepts a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It does.
    Valid,
    /// It does not.
    Invalid,
}

impl Vector {
    /// The file's text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap() + "\n"
    }
}

/// All vectors, in the order of the modules. The same bytes on every call.
#[must_use]
pub fn all() -> Vec<Vector> {
    let mut world = World::new();
    let mut all = Vec::new();
    licenses::add(&mut world, &mut all);
    requests::add(&mut world, &mut all);
    responses::add(&mut world, &mut all);
    enrolments::add(&mut world, &mut all);
    documents::add(&mut world, &mut all);
    packaging::add(&world, &mut all);
    embedded::add(&world, &mut all);
    acknowledgements::add(&world, &mut all);
    revocation::add(&world, &mut all);
    all.extend(exchange_results());
    all
}

/// Those of the vectors that are results of exchange keys.
#[must_use]
pub fn exchange_results() -> Vec<Vector> {
    let mut all = Vec::new();
    results::add(&mut all);
    all
}

/// Every party that plays in a vector.
struct World {
    operator: Operator,
    license_server: Identity,
    time_server: Identity,
    request_encryption: Recipient,
    device: Device,
    other_device: Device,
    other_operator: Operator,
    other_license_server: Identity,
    other_request_encryption: Recipient,
    foreign_device: Device,
    packager: Recipient,
    /// Of the other operator.
    other_packager: Recipient,
}

impl World {
    fn new() -> Self {
        let mut operator = Operator::new([1; 32]);
        let mut other_operator = Operator::new([2; 32]);
        Self {
            license_server: operator.server(Role::LicenseServer),
            time_server: operator.server(Role::Time),
            request_encryption: operator.recipient(Role::RequestEncryption),
            device: operator.device(),
            other_device: operator.device(),
            operator,
            other_license_server: other_operator.server(Role::LicenseServer),
            other_request_encryption: other_operator.recipient(Role::RequestEncryption),
            foreign_device: other_operator.device(),
            other_operator,
            packager: packager(1),
            other_packager: packager(2),
        }
    }
}

/// A packager of the operator of a seed. It is drawn apart, so that it changes nothing that others draw.
fn packager(seed: u8) -> Recipient {
    let mut operator = Operator::new([seed; 32]);
    *operator.rng() = draws(&format!("packager {seed}"));
    operator.recipient(Role::Packager)
}

/// The draws of one case: seeded by its name, so that a new case changes no other.
fn draws(name: &str) -> ChaCha20Rng {
    ChaCha20Rng::from_seed(sha256(&[b"keyward vectors ", name.as_bytes()]))
}

/// What the receiver of `message` answers.
enum Expect<'a> {
    /// It accepts and learns this.
    Valid(&'a [(&'a str, String)]),
    /// The step refuses, in our words.
    Invalid(&'a str, &'a str),
}

fn vector(
    message_type: MessageType,
    (name, proves): (&str, &str),
    inputs: BTreeMap<String, String>,
    message: &[u8],
    expect: &Expect<'_>,
) -> Vector {
    let (verdict, rule, error, learns) = match expect {
        Expect::Valid(learns) => {
            let learns = learns
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone()))
                .collect();
            (Verdict::Valid, None, None, learns)
        }
        Expect::Invalid(rule, error) => (
            Verdict::Invalid,
            Some((*rule).to_owned()),
            Some((*error).to_owned()),
            BTreeMap::new(),
        ),
    };
    Vector {
        name: name.to_owned(),
        proves: proves.to_owned(),
        message_type,
        verdict,
        rule,
        error,
        now: NOW.0,
        inputs,
        message: hex::encode(message),
        learns,
    }
}

fn inputs<const N: usize>(pairs: [(&str, &[u8]); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(key, bytes)| (key.to_owned(), hex::encode(bytes)))
        .collect()
}

fn sealing_inputs(whose: &str, pairs: &[KeyPair]) -> BTreeMap<String, String> {
    let named = pairs.iter().map(|pair| {
        let name = format!("{whose}-sealing-key-{}", pair.suite().number());
        (name, hex::encode(pair.private_key().expose()))
    });
    named.collect()
}
