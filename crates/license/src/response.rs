//! The license response: results, time and lists, signed by the license server, sealed to the request.

use crate::{
    cbor_map,
    codec::{Bytes, DecodeError},
    ids::{Digest, Kid, Nonce, TransactionId},
    signed::SignedBody,
    time::Timestamp,
};

/// Most results one response may hold.
pub const MAX_RESULTS: usize = 1024;

cbor_map! {
    /// Body of a license response.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct LicenseResponse = "license response" {
        /// Protocol version.
        [1] version: u64,
        /// SHA-256 of the request's body bytes.
        [2] request: Digest,
        /// The request's nonce.
        [3] nonce: Nonce,
        /// One result a key id asked for.
        [4] results: Vec<KeyResult>,
        /// Revocation lists newer than those the client holds.
        [5?] revocation_lists: Vec<Bytes>,
        /// The server's time.
        [6] server_time: Timestamp,
        /// Present when the client must acknowledge.
        [7?] transaction: TransactionId,
        /// The service's own bytes for the application.
        [8?] custom_data: Bytes,
    }
}

impl SignedBody for LicenseResponse {
    const MEDIA_TYPE: &'static str = "application/vnd.keyward.license-response+cose";
    const CONTEXT: &'static str = "keyward/1 license-response";
}

cbor_map! {
    /// What became of one key id: a license or a denial.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct KeyResult = "result" {
        /// Key id.
        [1] kid: Kid,
        /// The signed license.
        [2?] license: Bytes,
        /// Why there is none.
        [3?] denial: Denial,
    }
}

impl KeyResult {
    /// The result as one or the other.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] unless exactly one is there.
    pub fn outcome(&self) -> Result<Outcome<'_>, DecodeError> {
        match (&self.license, &self.denial) {
            (Some(license), None) => Ok(Outcome::License(&license.0)),
            (None, Some(denial)) => Ok(Outcome::Denied(denial)),
            _ => Err(DecodeError::Invalid("a result is either a license or a denial")),
        }
    }
}

/// What became of one key id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// The bytes of a signed license.
    License(&'a [u8]),
    /// A denial.
    Denied(&'a Denial),
}

cbor_map! {
    /// Why a key id got no license.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Denial = "denial" {
        /// Number in `spec/errors.md`.
        [1] code: u64,
        /// A sentence for people.
        [2] sentence: String,
        /// A page that helps (to buy, to sign in).
        [3?] url: String,
    }
}
