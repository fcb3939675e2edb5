//! The discovery document: where a license server answers and whom to seal to, signed.

use keyward_crypto::{
    hpke::Suite,
    x509::{Anchor, Certificate, Role},
};

use crate::{
    cbor_map,
    certificate::{Claims, certificate_digest},
    codec::{Bytes, Reader, Wire},
    ids::Digest,
    signed::{ChainVerifier, MessageError, SignedBody, Unverified},
    time::Timestamp,
};

/// Where the document is found below the license server URL's origin.
pub const WELL_KNOWN_PATH: &str = "/.well-known/keyward";

/// Longest document, in bytes: clients keep one for each operator.
pub const MAX_DOCUMENT: usize = 64 * 1024;

/// How far ahead of the reader's clock a document may have been issued, in seconds.
pub const ISSUED_AHEAD: u64 = 300;

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
    /// A sealed packaging request.
    pub const PACKAGING_REQUEST: &str = "application/vnd.keyward.packaging-request+cbor";
    /// A sealed packaging response.
    pub const PACKAGING_RESPONSE: &str = "application/vnd.keyward.packaging-response+cbor";
    /// A sealed acknowledgement of what a license response brought.
    pub const ACKNOWLEDGE_REQUEST: &str = "application/vnd.keyward.acknowledge-request+cbor";
    /// A sealed receipt for an acknowledgement.
    pub const RECEIPT: &str = "application/vnd.keyward.receipt+cbor";
    /// Revocation lists that are carried without a network.
    pub const REVOCATION_LISTS: &str = "application/vnd.keyward.revocation-lists+cbor";
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
        /// Path of packaging data, below the origin, if the server has any.
        [8?] packaging_path: String,
        /// Path of acknowledgement, below the origin, if the server asks for any.
        [9?] acknowledgement_path: String,
    }
}

impl SignedBody for Discovery {
    const MEDIA_TYPE: &'static str = media_type::DISCOVERY;
    const CONTEXT: &'static str = "keyward/1 discovery";
}

/// A license server that the operator profile permits: where to send, and whom to seal to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LicenseServer {
    /// Where licenses are acquired.
    pub license_url: String,
    /// Where parties enrol.
    pub enrolment_url: String,
    /// Where packaging data is asked for, if the server has any.
    pub packaging_url: Option<String>,
    /// Where what a response brought is acknowledged, if the server asks for that.
    pub acknowledgement_url: Option<String>,
    /// SHA-256 of the request-encryption certificate.
    pub recipient: Digest,
    /// The best suite in common.
    pub suite: Suite,
    /// The server's public key of that suite.
    pub public_key: Vec<u8>,
}

/// What a discovery document is held against.
#[derive(Debug, Clone, Copy)]
pub struct DiscoveryReader<'a> {
    /// The operator's root.
    pub anchor: &'a Anchor,
    /// SHA-256 of the root certificate.
    pub operator: Digest,
    /// The smallest suite number to go on with.
    pub weakest_suite: u64,
    /// The reader's suites.
    pub suites: &'a [Suite],
    /// Scheme, host and port that the document came from.
    pub origin: &'a str,
    /// The reader's time; without one the document is judged at its own.
    pub now: Option<Timestamp>,
    /// The last time that a server told the reader.
    pub last_trusted: Option<Timestamp>,
}

/// Why a discovery document was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// V-001 to V-005, V-060: form, type, signature, signer, version.
    #[error("the discovery document was refused: {0}")]
    Message(#[from] MessageError),
    /// V-060, V-061, V-062: not one of this operator, not in use, or names nobody to seal to.
    #[error("the discovery document was refused: {0}")]
    Refused(&'static str),
}

impl DiscoveryReader<'_> {
    /// V-060 to V-062: verifies a discovery document and picks the best suite in common.
    ///
    /// # Errors
    /// [`DiscoveryError`].
    pub fn read(&self, document: &[u8]) -> Result<LicenseServer, DiscoveryError> {
        let refused = DiscoveryError::Refused;
        if document.len() > MAX_DOCUMENT {
            return Err(refused("it is longer than 64 KiB"));
        }
        // V-060
        let verified =
            Unverified::<Discovery>::parse(document)?.verify(self.anchor, Role::LicenseServer, |body| {
                vec![self.now.unwrap_or(body.issued)]
            })?;
        let discovery = verified.body();
        if discovery.operator != self.operator {
            return Err(refused("it is of another operator"));
        }
        // V-061
        let now = self.now.unwrap_or(discovery.issued);
        let stale = self
            .last_trusted
            .is_some_and(|trusted| discovery.expires <= trusted);
        if discovery.issued > now.plus(ISSUED_AHEAD) || now >= discovery.expires || stale {
            return Err(refused("it is not in use at this time"));
        }
        let (certificate, suite, public_key) = self.recipient(discovery, now)?;
        let url = |path_of: &str| Ok::<_, DiscoveryError>(format!("{}{}", self.origin, path(path_of)?));
        Ok(LicenseServer {
            license_url: url(&discovery.license_path)?,
            enrolment_url: url(&discovery.enrolment_path)?,
            packaging_url: discovery.packaging_path.as_deref().map(url).transpose()?,
            acknowledgement_url: discovery.acknowledgement_path.as_deref().map(url).transpose()?,
            recipient: certificate_digest(&certificate),
            suite,
            public_key,
        })
    }

    /// V-062: whom requests are sealed to.
    fn recipient(
        &self,
        discovery: &Discovery,
        now: Timestamp,
    ) -> Result<(Certificate, Suite, Vec<u8>), DiscoveryError> {
        let refused = DiscoveryError::Refused;
        let chain = discovery.request_encryption.iter().map(|der| der.0.clone());
        let certificate = self
            .anchor
            .verify_chain(&chain.collect::<Vec<_>>(), Role::RequestEncryption, now)
            .map_err(|_| refused("its request-encryption certificate is not trusted"))?;
        let claims = Claims::of(&certificate)
            .map_err(|_| refused("its request-encryption certificate has no claims"))?;
        let (suite, public_key) = claims
            .best_sealing_key(self.suites)
            .ok_or(refused("it offers no suite that this device has"))?;
        if suite.number() < self.weakest_suite {
            return Err(refused(
                "it offers weaker suites than the operator has used before",
            ));
        }
        let public_key = public_key.to_vec();
        Ok((certificate, suite, public_key))
    }
}

/// What a discovery document says: to choose whose root it is verified under. Nothing is verified.
///
/// # Errors
/// [`MessageError`] if this is no discovery document, or one of another version.
pub fn unverified(document: &[u8]) -> Result<Discovery, MessageError> {
    let body = Unverified::<Discovery>::parse(document)?.unverified_body()?;
    Ok(Discovery::decode(&body)?)
}

/// The paths that a discovery document names, under whatever keys: for who carries messages of exchanges
/// that it need not know. Nothing is verified.
///
/// # Errors
/// [`MessageError`] if this is no discovery document, or one of another version.
pub fn unverified_paths(document: &[u8]) -> Result<Vec<String>, MessageError> {
    let body = Unverified::<Discovery>::parse(document)?.unverified_body()?;
    let mut reader = Reader::new(&body);
    let mut paths = Vec::new();
    for _ in 0..reader.map()? {
        reader.uint()?;
        let text = reader.text_or_skip()?;
        paths.extend(text.filter(|text| path(text).is_ok()).map(str::to_owned));
    }
    Ok(paths)
}

/// A path of the discovery document: absolute, so that it cannot lead to another host.
fn path(path: &str) -> Result<&str, DiscoveryError> {
    let plain = path
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte));
    if path.starts_with('/') && !path.starts_with("//") && plain {
        Ok(path)
    } else {
        Err(DiscoveryError::Refused("a path in it is not one"))
    }
}

#[cfg(test)]
mod tests {
    use keyward_crypto::ecdsa::SigningKey;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;
    use crate::{codec::Writer, response::LicenseResponse, signed};

    #[test]
    fn discovery_paths_stay_on_the_host() {
        assert!(path("/license").is_ok());
        for refused in [
            "",
            "license",
            "//evil.example/license",
            "/a?b",
            "/a#b",
            "/a b",
            "/a@b",
            "/\u{e9}",
        ] {
            assert!(path(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn whoever_carries_learns_the_paths_of_exchanges_that_it_does_not_know() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let signer = SigningKey::generate(&mut rng);
        let mut body = Writer::default();
        body.map(6);
        body.uint(1);
        body.uint(1);
        for (key, text) in [
            (4, "/license"),
            (99, "/later"),
            (100, "//evil.example"),
            (128, "no path"),
        ] {
            body.uint(key);
            body.text(text);
        }
        body.uint(129);
        body.bytes(b"/bytes");
        let body = body.into_bytes();
        let sign = |body: &[u8]| signed::sign::<Discovery>(body, &[], &[], &signer).unwrap();
        assert_eq!(unverified_paths(&sign(&body)).unwrap(), ["/license", "/later"]);
        let other = Writer::default();
        for (refused, what) in [
            (b"".to_vec(), "nothing"),
            (b"<html>".to_vec(), "a page"),
            (sign(&[0xa1, 1, 2]), "another version"),
            (sign(&other.into_bytes()), "no body"),
            (
                signed::sign::<LicenseResponse>(&body, &[], &[], &signer).unwrap(),
                "another message",
            ),
        ] {
            assert!(unverified_paths(&refused).is_err(), "{what}");
        }
    }
}
