//! The operator profile: what a client is configured with to trust one operator. It is not signed; the
//! way it reaches the device (bundled, over TLS, on a stick) is what makes it trusted.

use crate::{cbor_map, codec::Bytes, ids::Digest};

cbor_map! {
    /// One operator, as a client knows it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct OperatorProfile = "operator profile" {
        /// Version of this format: 1.
        [1] version: u64,
        /// The operator's name, for people.
        [2] name: String,
        /// DER of the root certificate: the trust anchor.
        [3] root: Bytes,
        /// License server URLs that content may name. A client calls no other host.
        [4] license_servers: Vec<String>,
        /// Smallest suite number that licenses may be sealed with.
        [5] minimum_suite: u64,
    }
}

impl OperatorProfile {
    /// SHA-256 of the root certificate: names the operator.
    #[must_use]
    pub fn operator(&self) -> Digest {
        Digest::new(keyward_crypto::kdf::sha256(&[&self.root.0]))
    }
}
