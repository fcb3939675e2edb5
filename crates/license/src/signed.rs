//! Signed messages: parsed into [`Unverified`], turned into [`Verified`] by the checks that every
//! message shares. Only a `Verified` has readable fields.
//!
//! A signed payload is `[body: bstr .cbor Body, * attachment: bstr .cbor any]`. Hashes, bindings and
//! identities are over the stored body bytes, never over a re-encoding.

use core::marker::PhantomData;

use keyward_crypto::{
    CryptoError,
    cose::{self, Sign1},
    ecdsa::{PublicKey, Signer},
    kdf::sha256,
    x509::{Anchor, Certificate, Role},
};

use zeroize::Zeroizing;

use crate::{
    codec::{Bytes, DecodeError, Reader, Wire, gate},
    ids::Digest,
    time::Timestamp,
};

/// Version of the protocol that this crate speaks, in every body.
pub const PROTOCOL_VERSION: u64 = 1;

/// A message body that travels inside a COSE_Sign1.
pub trait SignedBody: Wire {
    /// The media type in the protected header's `typ`.
    const MEDIA_TYPE: &'static str;
    /// The context string: external AAD of the signature.
    const CONTEXT: &'static str;
    /// Byte strings that follow the body in the payload.
    const ATTACHMENTS: usize = 0;
}

/// Why a message was not accepted. Verification steps are those of `spec/rules.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// V-001: the bytes are not a message in the profile.
    #[error("the message is malformed: {0}")]
    Decode(#[from] DecodeError),
    /// V-001: the COSE layer is not in the profile.
    #[error("the message is malformed: {0}")]
    Cose(CryptoError),
    /// V-002: a well-formed message of another type.
    #[error("this is not {expected}")]
    WrongType {
        /// The media type that was expected.
        expected: &'static str,
    },
    /// V-003: the signature does not verify.
    #[error("the signature does not verify")]
    BadSignature,
    /// V-004: the signer's certificate chain was refused.
    #[error("the signer is not trusted: {0}")]
    Signer(CryptoError),
    /// V-005: a version of the protocol that this build does not speak.
    #[error("protocol version {0} is not supported")]
    UnsupportedVersion(u64),
    /// The message does not open: it was sealed to somebody else, or altered.
    #[error("the message does not open")]
    NotOpened,
    /// The message could not be made; a bug, or a signer that failed.
    #[error("the message could not be made: {0}")]
    Making(CryptoError),
}

/// Validates certificate chains. [`Anchor`] is one; a server puts a cache in front.
pub trait ChainVerifier {
    /// Validates `chain` (leaf first) for `role` at `at` and returns the leaf.
    ///
    /// # Errors
    /// As [`Anchor::verify`].
    fn verify_chain(&self, chain: &[Vec<u8>], role: Role, at: Timestamp) -> Result<Certificate, CryptoError>;

    /// Reads the leaf of `chain`, of which nothing is validated: a signature is held against its key before the chain
    /// is.
    ///
    /// # Errors
    /// As [`Certificate::parse`]; [`CryptoError::MalformedCose`] without a leaf.
    fn read_leaf(&self, chain: &[Vec<u8>], _role: Role) -> Result<Certificate, CryptoError> {
        let leaf = chain.first().ok_or(CryptoError::MalformedCose("no x5chain"))?;
        Certificate::parse(leaf)
    }
}

impl ChainVerifier for Anchor {
    fn verify_chain(&self, chain: &[Vec<u8>], role: Role, at: Timestamp) -> Result<Certificate, CryptoError> {
        self.verify(chain, role, at.0)
    }
}

/// Encodes and signs a body. `chain` is leaf first, without the root; empty only for enrolment.
///
/// # Errors
/// [`MessageError::Making`].
pub fn sign<T: SignedBody>(
    body: &[u8],
    attachments: &[&[u8]],
    chain: &[Vec<u8>],
    signer: &dyn Signer,
) -> Result<Vec<u8>, MessageError> {
    let items: Vec<Bytes> = core::iter::once(body)
        .chain(attachments.iter().copied())
        .map(|item| Bytes(item.to_vec()))
        .collect();
    cose::sign1(
        T::MEDIA_TYPE,
        chain,
        &items.encode(),
        T::CONTEXT.as_bytes(),
        signer,
    )
    .map_err(MessageError::Making)
}

/// A message that was parsed and not checked. It has no readable fields.
#[derive(Debug)]
pub struct Unverified<T> {
    message: Sign1,
    body: PhantomData<T>,
}

impl<T: SignedBody> Unverified<T> {
    /// V-001, V-002: parses a message of this type.
    ///
    /// # Errors
    /// [`MessageError::Decode`], [`MessageError::Cose`] or [`MessageError::WrongType`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        gate::check(bytes).map_err(DecodeError::from)?;
        let message = Sign1::parse(bytes).map_err(MessageError::Cose)?;
        if message.typ() != T::MEDIA_TYPE {
            return Err(MessageError::WrongType {
                expected: T::MEDIA_TYPE,
            });
        }
        Ok(Self {
            message,
            body: PhantomData,
        })
    }

    /// Whether it brings a certificate chain, as every message does but one whose signer has none yet.
    pub(crate) fn has_chain(&self) -> bool {
        !self.message.chain().is_empty()
    }

    /// V-003 to V-005: verifies the signature with the chain's leaf, and the chain for `role` at every
    /// time that `times` names (they may depend on the body: a license states when it was issued).
    ///
    /// # Errors
    /// [`MessageError`], the first step that fails.
    pub fn verify(
        self,
        verifier: &dyn ChainVerifier,
        role: Role,
        times: impl FnOnce(&T) -> Vec<Timestamp>,
    ) -> Result<Verified<T>, MessageError> {
        let chain = self.message.chain().to_vec();
        if chain.is_empty() {
            return Err(MessageError::Cose(CryptoError::MalformedCose("no x5chain")));
        }
        let leaf = verifier.read_leaf(&chain, role).map_err(MessageError::Signer)?;
        let (body, body_bytes, attachments) = self.open(leaf.public_key())?;
        let times = times(&body);
        if times.is_empty() {
            return Err(MessageError::Signer(CryptoError::Internal(
                "no time to judge the chain at",
            )));
        }
        for at in times {
            verifier
                .verify_chain(&chain, role, at)
                .map_err(MessageError::Signer)?;
        }
        Ok(Verified {
            body,
            digest: Digest::new(sha256(&[&body_bytes])),
            body_bytes: Zeroizing::new(body_bytes),
            attachments,
            signer: Some(leaf),
        })
    }

    /// V-003, V-005 for a body that names its own key: nobody has certified a device before enrolment.
    /// The signature proves possession of that key, no more.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn verify_with_own_key(
        self,
        key: impl FnOnce(&T) -> Result<PublicKey, CryptoError>,
    ) -> Result<Verified<T>, MessageError> {
        if !self.message.chain().is_empty() {
            return Err(MessageError::Cose(CryptoError::MalformedCose(
                "unexpected x5chain",
            )));
        }
        let (body, ..) = read_payload::<T>(self.message.unverified_payload())?;
        let key = key(&body).map_err(MessageError::Cose)?;
        let (body, body_bytes, attachments) = self.open(&key)?;
        Ok(Verified {
            body,
            digest: Digest::new(sha256(&[&body_bytes])),
            body_bytes: Zeroizing::new(body_bytes),
            attachments,
            signer: None,
        })
    }

    /// V-005: the body's bytes, of which nothing else is checked.
    pub(crate) fn unverified_body(&self) -> Result<Vec<u8>, MessageError> {
        split_payload(self.message.unverified_payload(), T::ATTACHMENTS).map(|(body, _)| body)
    }

    fn open(self, key: &PublicKey) -> Result<(T, Vec<u8>, Vec<Bytes>), MessageError> {
        let payload = self
            .message
            .verify(T::CONTEXT.as_bytes(), key)
            .map_err(|_| MessageError::BadSignature)?;
        read_payload::<T>(&payload)
    }
}

/// A message whose signature and signer were checked.
#[derive(Debug)]
pub struct Verified<T> {
    body: T,
    /// Wiped, because a request's body holds its response key and its token.
    body_bytes: Zeroizing<Vec<u8>>,
    digest: Digest,
    attachments: Vec<Bytes>,
    signer: Option<Certificate>,
}

impl<T> Verified<T> {
    /// The body.
    #[must_use]
    pub const fn body(&self) -> &T {
        &self.body
    }

    /// The body's bytes as they were signed.
    #[must_use]
    pub fn body_bytes(&self) -> &[u8] {
        &self.body_bytes
    }

    /// SHA-256 of the body's bytes.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The byte strings behind the body.
    #[must_use]
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// The signer's certificate; none for a message that was verified with its own key.
    #[must_use]
    pub const fn signer(&self) -> Option<&Certificate> {
        self.signer.as_ref()
    }

    /// Takes the body out.
    #[must_use]
    pub fn into_body(self) -> T {
        self.body
    }
}

fn read_payload<T: SignedBody>(payload: &[u8]) -> Result<(T, Vec<u8>, Vec<Bytes>), MessageError> {
    let (body_bytes, attachments) = split_payload(payload, T::ATTACHMENTS)?;
    // The body passed the gate when its version was read.
    let body = T::read(&mut Reader::new(&body_bytes))?;
    Ok((body, body_bytes, attachments))
}

/// The body of a payload, of this version of the protocol, and what stands behind it.
fn split_payload(payload: &[u8], expected: usize) -> Result<(Vec<u8>, Vec<Bytes>), MessageError> {
    let mut items = Vec::<Bytes>::decode(payload)?.into_iter();
    let body_bytes = items
        .next()
        .ok_or(DecodeError::Invalid("the payload has no body"))?
        .0;
    let attachments: Vec<Bytes> = items.collect();
    if attachments.len() != expected {
        return Err(DecodeError::Invalid("the payload has the wrong number of items").into());
    }
    // V-005 before anything else of the body: another version may have other critical keys.
    match version(&body_bytes)? {
        PROTOCOL_VERSION => Ok((body_bytes, attachments)),
        other => Err(MessageError::UnsupportedVersion(other)),
    }
}

/// The version that a body states: key 1, the first of every body's map.
fn version(body: &[u8]) -> Result<u64, DecodeError> {
    gate::check(body)?;
    let mut reader = Reader::new(body);
    if reader.map()? == 0 || reader.uint()? != 1 {
        return Err(DecodeError::Invalid("the body does not begin with its version"));
    }
    reader.uint()
}
