//! The license server: decides, records, signs, serves.
//!
//! ```text
//!  operator   the directory: configuration, keys, certificates; made whole or not at all
//!  config     operator.toml, parsed, then validated
//!  server     Server: open, call or serve, close
//!  issue      a license in eight numbered steps                  authenticate, entitle, policy
//!  handler    who decides: rows, tokens, a webhook, or whoever writes Rust
//!  test_mode  a test operator issues what a request asks for      spec/test-server.md
//!  packaging  key ids and keys for a packager in eight numbered steps
//!  acknowledge  what became of licenses at the client; the receipt for that
//!  revocation   what is not trusted any more, and the lists that say so
//!  provision  a certificate in six numbered steps
//!  discovery  where devices find the server, signed
//!  backup     a copy of an operator while its server runs, and back
//!  rolls      another key in the place of one, while the server serves
//!  doctor     what is wrong with an operator, and what will go wrong
//!  jwt, webhook  who decides, besides the rows
//!  metrics    what is counted, for a monitoring system
//!  vault      one key id, one type, one source                   danger: handing out seeds, opening requests
//!  roots      what opens leaf licenses, and what is under it; channels
//!  key_exchange  keys for the application's own data, and what the server does with them
//!  admin      accounts, devices, policies, keys, tokens
//!  services   who carries requests, by name
//!  proxy      carries requests to a license server elsewhere, unread
//!  store      the database in verbs; every write in a group commit
//!  http       one file per endpoint; errors made in one place; whose connection and request it is
//!  rate       who asks too often is told to come again
//!  refusal    what a device is told, by rule and number          spec/rules.md, spec/errors.md
//! ```
//!
//! A request goes through it like this (`issue` has the steps in full):
//!
//! ```text
//!  sealed request ─► open ─► signature, chain ─► device's row ─► entitlement, policy ─► terms
//!                                                                                         │
//!  sealed response ◄─ sign response ◄─ sign licenses ◄─ record (may still refuse) ◄─ seal keys
//! ```
//!
//! What it refuses: to sign what is not recorded, to issue what the device could not use, to take an
//! account or a security level from a request, to let one key serve in two modes, to open a secret that
//! was moved to another row, and to start under the wrong key-encryption key.
//!
//! ```
//! use std::sync::Arc;
//! use keyward_license::{ids::Kid, license::KeyType, time::Timestamp};
//! use keyward_server::{Server, clock::SystemClock, operator::{self, InitOptions}, sealing::KekSource};
//! # use rand_chacha::rand_core::SeedableRng;
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let home = tempfile::tempdir()?;
//! # let rng = &mut rand_chacha::ChaCha20Rng::from_seed([7; 32]);
//! # let dir = home.path().join("operator");
//! # let now = Timestamp(1_900_000_000);
//! let options = InitOptions {
//!     name: "Example".into(),
//!     public_url: "http://127.0.0.1:8470".into(),
//!     listen: "127.0.0.1:8470".into(),
//!     admin_listen: "127.0.0.1:8471".into(),
//!     kek: KekSource::File,
//! };
//! operator::init(&dir, options, now, rng).await?;
//!
//! let server = Server::open(&dir, KekSource::File, Arc::new(SystemClock)).await?;
//! let kid = Kid::new([1; 16]);
//! server.register_key(kid, KeyType::File, 1).await?;
//! server.grant("alice", Some(kid), "default", None).await?;
//! assert_eq!(server.issue(b"not a request").await.unwrap_err().code, 101);
//! server.close().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod acknowledgements;
pub mod admin;
mod answers;
mod authenticate;
pub mod backup;
pub mod carried;
mod chance;
pub mod clock;
pub mod config;
pub mod danger;
pub mod discovery;
pub mod doctor;
mod entitle;
pub mod error;
mod fail_points;
pub mod handler;
mod http;
mod issue;
mod jwt;
pub mod key_exchange;
mod metrics;
pub mod operator;
mod packaging;
pub mod policy;
mod provision;
pub mod proxy;
mod rate;
pub mod refusal;
pub mod revocation;
pub mod rolls;
pub mod roots;
pub mod sealing;
mod server;
pub mod services;
mod store;
pub mod test_mode;
pub mod token;
pub mod vault;
mod webhook;

#[cfg(test)]
#[expect(dead_code, reason = "the tests outside use the rest")]
#[path = "../tests/all/common.rs"]
mod common;
/// Tests that stand inside share their world with those outside.
#[cfg(test)]
extern crate self as keyward_server;

pub use error::Error;
pub use refusal::Refusal;
pub use server::Server;
