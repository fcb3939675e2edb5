//! Enrolment: a device or a packager proves its keys and gets its certificate.
//!
//! The request is signed by the key that it names, so it proves possession of that key. The
//! answer proves possession of the sealing keys: the certificate chain is encrypted under a key made
//! of one share per sealing key, each share sealed to that key, so that only a party that holds all
//! of them can read its certificate. [`applicant`] is the side that asks.

pub mod applicant;

use keyward_crypto::{
    CryptoError, Secret, SecretBytes, aead,
    hpke::{self, Suite},
    kdf::hkdf_sha256,
    x509::Role,
};
use rand_core::CryptoRng;

use crate::{
    cbor_enum, cbor_map,
    certificate::SealingKey,
    codec::{Bytes, DecodeError, Wire},
    envelope::binding,
    exchange::exchange,
    ids::{Digest, Nonce},
    request::ClientInfo,
    signed::{MessageError, SignedBody, Unverified},
    time::Timestamp,
};

/// Longest enrolment token, in bytes.
pub const MAX_ENROLMENT_TOKEN: usize = 255;

/// Context of the shares that are sealed to each sealing key.
pub const SHARE_CONTEXT: &str = "keyward/1 enrolment-share";

cbor_map! {
    /// Body of an enrolment request.
    pub struct EnrolmentRequest = "enrolment request" {
        /// Protocol version.
        [1] version: u64,
        /// SHA-256 of the request-encryption certificate it is sealed to.
        [2] recipient: Digest,
        /// Drawn for this request.
        [3] nonce: Nonce,
        /// Key material that only this request's answer is sealed under.
        [4] response_key: Secret<32>,
        /// The device's signing key: DER SubjectPublicKeyInfo.
        [5] public_key: Bytes,
        /// Keys that licenses may be sealed to, one a suite, ascending.
        [6] sealing_keys: Vec<SealingKey>,
        /// The single-use enrolment token; it names the account. Empty in a renewal, whose message brings the
        /// certificate that it is for in the place of a token.
        [7] token: String,
        /// The client program.
        [8] client: ClientInfo,
        /// What the certificate is to be for. The token must be for the same.
        [9] role: EnrolmentRole,
    }
}

cbor_enum! {
    /// What a party enrols as, by the number of the role.
    pub enum EnrolmentRole = "enrolment role" {
        /// Requests and keeps licenses.
        Device = 1,
        /// Asks for packaging data.
        Packager = 11,
    }
}

impl EnrolmentRole {
    /// The role that the certificate names.
    #[must_use]
    pub const fn role(self) -> Role {
        match self {
            Self::Device => Role::Device,
            Self::Packager => Role::Packager,
        }
    }
}

impl SignedBody for EnrolmentRequest {
    const MEDIA_TYPE: &'static str = "application/vnd.keyward.enrolment-request+cose";
    const CONTEXT: &'static str = "keyward/1 enrolment-request";
}

impl Unverified<EnrolmentRequest> {
    /// V-055: whether it is a renewal, which brings a chain and no token, and if so for which role that chain is to be
    /// verified. Nothing of it is verified yet.
    ///
    /// # Errors
    /// [`MessageError::Decode`], [`MessageError::UnsupportedVersion`].
    pub fn renewal(&self) -> Result<Option<EnrolmentRole>, MessageError> {
        if !self.has_chain() {
            return Ok(None);
        }
        let body = EnrolmentRequest::decode(&self.unverified_body()?)?;
        Ok(body.token.is_empty().then_some(body.role))
    }
}

/// Without the token, which is a credential.
impl core::fmt::Debug for EnrolmentRequest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("EnrolmentRequest")
            .field("nonce", &self.nonce)
            .field("client", &self.client)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl EnrolmentRequest {
    /// Checks lengths that the decoder does not.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`].
    pub fn check_bounds(&self) -> Result<(), DecodeError> {
        if self.token.len() > MAX_ENROLMENT_TOKEN {
            return Err(DecodeError::Invalid("the token is too long"));
        }
        if !self.client.is_bounded() {
            return Err(DecodeError::Invalid("a client text is too long"));
        }
        Ok(())
    }

    /// V-052: the sealing keys, each of a known suite and of its length, suites ascending and suite 1
    /// among them.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`].
    pub fn checked_sealing_keys(&self) -> Result<Vec<(Suite, &[u8])>, DecodeError> {
        let keys: Vec<_> = self
            .sealing_keys
            .iter()
            .map(|key| {
                Suite::from_number(key.suite)
                    .filter(|suite| key.public_key.0.len() == suite.public_key_len())
                    .map(|suite| (suite, &key.public_key.0[..]))
                    .ok_or(DecodeError::Invalid(
                        "a sealing key is of an unknown suite or the wrong length",
                    ))
            })
            .collect::<Result<_, _>>()?;
        let ascending = keys.is_sorted_by(|(left, _), (right, _)| left < right);
        if ascending && keys.first().is_some_and(|(suite, _)| *suite == Suite::P256) {
            Ok(keys)
        } else {
            Err(DecodeError::Invalid(
                "sealing keys are one a suite, ascending, suite 1 first",
            ))
        }
    }
}

cbor_map! {
    /// Body of the answer to an enrolment request.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct EnrolmentResponse = "enrolment response" {
        /// Protocol version.
        [1] version: u64,
        /// SHA-256 of the request's body bytes.
        [2] request: Digest,
        /// The request's nonce.
        [3] nonce: Nonce,
        /// One sealed share a sealing key, in the request's order.
        [4] shares: Vec<SealedShare>,
        /// The certificate chain (a CBOR array of DER byte strings, leaf first), AES-256-GCM under the
        /// key of all shares.
        [5] chain: Bytes,
        /// The server's time.
        [6] server_time: Timestamp,
    }
}

exchange!(EnrolmentRequest => EnrolmentResponse, signed by LicenseServer);

impl SignedBody for EnrolmentResponse {
    const MEDIA_TYPE: &'static str = "application/vnd.keyward.enrolment-response+cose";
    const CONTEXT: &'static str = "keyward/1 enrolment-response";
}

cbor_map! {
    /// A 32-byte share, sealed to one sealing key.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SealedShare = "sealed share" {
        /// Suite number.
        [1] suite: u64,
        /// Encapsulated key.
        [2] encapsulated: Bytes,
        /// Ciphertext.
        [3] ciphertext: Bytes,
    }
}

/// Encrypts `chain` so that only the holder of all `keys` reads it.
///
/// # Errors
/// [`MessageError::Making`]: a sealing key is not a point of its curve.
pub fn seal_chain(
    chain: &[Vec<u8>],
    keys: &[(Suite, &[u8])],
    request: &Digest,
    rng: &mut impl CryptoRng,
) -> Result<(Vec<SealedShare>, Bytes), MessageError> {
    let mut shares = Vec::with_capacity(keys.len());
    let mut all = zeroize::Zeroizing::new(Vec::with_capacity(32 * keys.len()));
    for (suite, public_key) in keys {
        let share = Secret::<32>::random(rng);
        all.extend_from_slice(share.expose());
        let info = binding(SHARE_CONTEXT, *suite, request);
        let sealed =
            hpke::seal(*suite, public_key, &info, share.expose(), rng).map_err(MessageError::Making)?;
        shares.push(SealedShare {
            suite: suite.number(),
            encapsulated: Bytes(sealed.encapsulated),
            ciphertext: Bytes(sealed.ciphertext),
        });
    }
    let chain: Vec<Bytes> = chain.iter().cloned().map(Bytes).collect();
    let sealed = chain_key(&all, request)
        .and_then(|key| aead::seal(&key, SHARE_CONTEXT.as_bytes(), &chain.encode(), rng))
        .map_err(MessageError::Making)?;
    Ok((shares, Bytes(sealed)))
}

/// Reads the chain with the opened shares, in the request's order. No shares open nothing: a chain that
/// was sealed to no key proves no possession.
///
/// # Errors
/// [`MessageError::NotOpened`] or [`MessageError::Decode`].
pub fn open_chain(
    chain: &Bytes,
    shares: &[SecretBytes],
    request: &Digest,
) -> Result<Vec<Vec<u8>>, MessageError> {
    if shares.is_empty() {
        return Err(MessageError::NotOpened);
    }
    let mut all = zeroize::Zeroizing::new(Vec::with_capacity(32 * shares.len()));
    shares
        .iter()
        .for_each(|share| all.extend_from_slice(share.expose()));
    let opened = chain_key(&all, request)
        .and_then(|key| aead::open(&key, SHARE_CONTEXT.as_bytes(), &chain.0))
        .map_err(|_| MessageError::NotOpened)?;
    Ok(Vec::<Bytes>::decode(opened.expose())?
        .into_iter()
        .map(|der| der.0)
        .collect())
}

fn chain_key(shares: &[u8], request: &Digest) -> Result<Secret<32>, CryptoError> {
    hkdf_sha256(shares, request.as_bytes(), SHARE_CONTEXT.as_bytes())
}
