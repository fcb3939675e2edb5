//! The language that packager, license server and client speak: requests, licenses, responses, usage
//! rules. Bytes in, checked types out; no sockets, files, clock or threads.
//!
//! ```text
//!  codec        deterministic CBOR behind one strict gate          spec/overview.md
//!  signed       Unverified<T> -> Verified<T>                       spec/protocol.md
//!  envelope     sealed to a server, sealed to a request
//!  request      LicenseRequest         device  -> license server
//!  response     LicenseResponse        license server -> device
//!  license      LicenseBody, License   stored, forwarded, judged   spec/license.md
//!  key_exchange  one operation on the application's own data, with the keys of a license
//!  enrolment    a device's certificate
//!  revocation   what is no longer trusted: certificates, models, makers
//!  acknowledgement  what became of an answer at the client, and the receipt for that
//!  packaging    key ids, keys and content header for a packager
//!  embedded     licenses that travel in a content header          spec/content.md
//!  discovery    where a server answers and whom to seal to
//!  exchange     the asking side: seal a request, hold its answer against it
//!  party        the keys of whoever is enrolled; carrier: what is sent and what comes back
//!  usage_rules  evaluate(chain, usage, host, action, now): pure   spec/rules.md
//!  operator_profile  what a client is configured with to trust an operator
//!  error_code   the numbered errors of the wire                    spec/errors.md
//!  finding      what is found when a party examines its own files
//! ```
//!
//! What it refuses: CBOR that is not deterministic, critical map keys that it does not know, messages
//! of another type, signer or version, and a license whose terms do not fit together. Nothing that was
//! only parsed has readable fields.
//!
//! ```
//! use keyward_license::{ids::Nonce, signed::Unverified, response::LicenseResponse};
//! // Bytes from outside are never a `LicenseResponse` until they are verified:
//! assert!(Unverified::<LicenseResponse>::parse(b"not a response").is_err());
//! assert_eq!(Nonce::new([0xab; 16]).to_string(), "abababababababababababababababab");
//! ```

pub mod acknowledgement;
pub mod carrier;
pub mod certificate;
pub mod codec;
pub mod discovery;
pub mod embedded;
pub mod enrolment;
pub mod envelope;
pub mod error_code;
pub mod exchange;
pub mod finding;
pub mod ids;
pub mod key_exchange;
pub mod license;
pub mod operator_profile;
pub mod packaging;
pub mod party;
pub mod request;
pub mod response;
pub mod revocation;
pub mod signed;
pub mod time;
pub mod usage_rules;
