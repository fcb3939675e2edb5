//! The discovery document: where a license server answers and whom to seal to, signed.

use crate::{cbor_map, codec::Bytes, ids::Digest, signed::SignedBody, time::Timestamp};

/// Where the document is found below the license server URL's origin.
pub const WELL_KNOWN_PATH: &str = "/.well-known/keyward";

/// Media types of the HTTP bodies (the COSE messages inside have their own, see
/// [`SignedBody::MEDIA_TYPE`]).
pub mod media_type {
    /// A sealed license request.
    pub const LICENSE_REQUEST: &str = "application/vnd.keyward.license-request+cbor";
    /// A sealed license response.
    pub const LICENSE_RESPONSE: &str = "application/vnd.keyward.license-response+cbor";
    /// A sealed enrolment request.
    pub const ENROLMENT_REQUEST: &str = "application/vnd.keyward.enrolment-request+cbor";
    /// A sealed enrolment response.
    pub const ENROLMENT_RESPONSE: &str = "application/vnd.keyward.enrolment-response+cbor";
    /// A discovery document.
    pub const DISCOVERY: &str = "application/vnd.keyward.discovery+cose";
    /// Concise problem details (RFC 9290 §6.3).
    pub const PROBLEM: &str = "application/concise-problem-details+cbor";
}

cbor_map! {
    /// Body of the discovery document.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Discovery = "discovery document" {
        /// Protocol version.
        [1] version: u64,
        /// SHA-256 of the operator's root certificate.
        [2] operator: Digest,
        /// Chain of the request-encryption certificate, leaf first, without the root.
        [3] request_encryption: Vec<Bytes>,
        /// Path of license acquisition, below the origin.
        [4] license_path: String,
        /// Path of enrolment, below the origin.
        [5] enrolment_path: String,
        /// When the document was made.
        [6] issued: Timestamp,
        /// Not to be used from this time on.
        [7] expires: Timestamp,
    }
}

impl SignedBody for Discovery {
    const MEDIA_TYPE: &'static str = media_type::DISCOVERY;
    const CONTEXT: &'static str = "keyward/1 discovery";
}
