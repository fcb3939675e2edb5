//! Envelopes: a signed request sealed to a server, a signed response sealed to the request.

use keyward_crypto::{
    CryptoError, Secret, SecretBytes, aead,
    hpke::{self, KeyPair, Suite},
    kdf::hkdf_sha256,
};
use rand_core::CryptoRng;

use crate::{
    cbor_map,
    codec::{Bytes, Wire, Writer},
    ids::Digest,
    signed::{MessageError, PROTOCOL_VERSION},
};

cbor_map! {
    /// A request, sealed to a server's request-encryption certificate.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SealedRequest = "sealed request" {
        /// Protocol version.
        [1] version: u64,
        /// Suite number, see [`Suite`].
        [2] suite: u64,
        /// SHA-256 of the receiver's certificate.
        [3] recipient: Digest,
        /// Encapsulated key.
        [4] encapsulated: Bytes,
        /// Ciphertext.
        [5] ciphertext: Bytes,
    }
}

impl SealedRequest {
    /// Seals `message` to `public_key`, which the certificate with digest `recipient` names.
    ///
    /// # Errors
    /// [`MessageError::Making`].
    pub fn seal(
        context: &str,
        suite: Suite,
        recipient: Digest,
        public_key: &[u8],
        message: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Self, MessageError> {
        let info = binding(context, suite, &recipient);
        let sealed = hpke::seal(suite, public_key, &info, message, rng).map_err(MessageError::Making)?;
        Ok(Self {
            version: PROTOCOL_VERSION,
            suite: suite.number(),
            recipient,
            encapsulated: Bytes(sealed.encapsulated),
            ciphertext: Bytes(sealed.ciphertext),
        })
    }

    /// Opens the envelope with the receiver's key of its suite.
    ///
    /// # Errors
    /// [`MessageError::UnsupportedVersion`] or [`MessageError::NotOpened`].
    pub fn open(&self, context: &str, keys: &[KeyPair]) -> Result<SecretBytes, MessageError> {
        if self.version != PROTOCOL_VERSION {
            return Err(MessageError::UnsupportedVersion(self.version));
        }
        let suite = Suite::from_number(self.suite).ok_or(MessageError::NotOpened)?;
        let key = keys
            .iter()
            .find(|key| key.suite() == suite)
            .ok_or(MessageError::NotOpened)?;
        let info = binding(context, suite, &self.recipient);
        key.open(&info, &self.encapsulated.0, &self.ciphertext.0)
            .map_err(|_| MessageError::NotOpened)
    }
}

cbor_map! {
    /// A response, sealed under the key that the request brought.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SealedResponse = "sealed response" {
        /// Protocol version.
        [1] version: u64,
        /// AES-256-GCM: nonce (12 bytes), ciphertext, tag (16 bytes).
        [2] ciphertext: Bytes,
    }
}

impl SealedResponse {
    /// Seals `message` for whoever made the request with this digest and response key.
    ///
    /// # Errors
    /// [`MessageError::Making`].
    pub fn seal(
        context: &str,
        response_key: &Secret<32>,
        request: &Digest,
        message: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Self, MessageError> {
        let key = response_aead_key(context, response_key, request).map_err(MessageError::Making)?;
        let ciphertext = aead::seal(&key, context.as_bytes(), message, rng).map_err(MessageError::Making)?;
        Ok(Self {
            version: PROTOCOL_VERSION,
            ciphertext: Bytes(ciphertext),
        })
    }

    /// Opens the response to the request with this digest and response key.
    ///
    /// # Errors
    /// [`MessageError::UnsupportedVersion`] or [`MessageError::NotOpened`].
    pub fn open(
        &self,
        context: &str,
        response_key: &Secret<32>,
        request: &Digest,
    ) -> Result<SecretBytes, MessageError> {
        if self.version != PROTOCOL_VERSION {
            return Err(MessageError::UnsupportedVersion(self.version));
        }
        response_aead_key(context, response_key, request)
            .and_then(|key| aead::open(&key, context.as_bytes(), &self.ciphertext.0))
            .map_err(|_| MessageError::NotOpened)
    }
}

/// The HPKE `info` of everything that is sealed here: `[context, suite, digest]` in CBOR.
#[must_use]
pub fn binding(context: &str, suite: Suite, digest: &Digest) -> Vec<u8> {
    numbered_binding(context, suite.number(), digest)
}

/// The same of any suite number, of which not all are HPKE's.
pub(crate) fn numbered_binding(context: &str, suite: u64, digest: &Digest) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.array(3);
    writer.text(context);
    writer.uint(suite);
    digest.write(&mut writer);
    writer.into_bytes()
}

fn response_aead_key(
    context: &str,
    response_key: &Secret<32>,
    request: &Digest,
) -> Result<Secret<32>, CryptoError> {
    hkdf_sha256(response_key.expose(), request.as_bytes(), context.as_bytes())
}
