//! What tests of every crate share. Never published, never part of a product.
//!
//! ```text
//!  pki          an operator's whole public key infrastructure from one seed
//!  fake_server  a license server in memory that a test can bend
//!  fuzzing      what the fuzz targets in `fuzz/` do
//!  vectors      generator of the files in `vectors/`
//!  peers        where other people's programs and vectors are
//!  media        media files made by them, and their judgement of ours
//! ```
//!
//! What it refuses: chance. The same seed gives the same certificates, signatures and sealed bytes, so
//! that a failing test fails again. Its keys protect nothing, and a failure in here is a failed test:
//! it panics.
//!
//! ```
//! use keyward_crypto::x509::Role;
//! use keyward_testkit::pki::{NOW, Operator};
//!
//! let mut operator = Operator::new([7; 32]);
//! let device = operator.device();
//! let leaf = operator.anchor().verify(&device.identity.chain, Role::Device, NOW.0)?;
//! assert_eq!(keyward_license::certificate::device_id(leaf.public_key())?, device.id());
//! # Ok::<(), keyward_crypto::CryptoError>(())
//! ```
#![expect(clippy::unwrap_used, reason = "a failure in the test kit is a failed test")]

pub mod fake_server;
pub mod fuzzing;
pub mod media;
pub mod peers;
pub mod pki;
pub mod vectors;
