//! The side that asks to be enrolled: its request, and every check of the answer.

use keyward_crypto::{
    Secret, SecretBytes,
    hpke::Suite,
    x509::{Anchor, Certificate},
};
use rand_core::CryptoRng;

use super::{EnrolmentRequest, EnrolmentResponse, EnrolmentRole, SHARE_CONTEXT, SealedShare, open_chain};
use crate::{
    certificate::{Claims, SealingKey},
    codec::{Bytes, Wire, grease},
    discovery::LicenseServer,
    envelope::binding,
    exchange::{PendingRequest, ResponseError, seal_request},
    ids::{Digest, Nonce},
    party::PartyKeys,
    request::ClientInfo,
    signed::{ChainVerifier, MessageError, PROTOCOL_VERSION},
    time::Timestamp,
};

/// An enrolment that was asked for and not answered.
#[derive(Debug)]
pub struct PendingEnrolment {
    /// What opens the answer, and what it is held against.
    pub pending: PendingRequest,
    /// The role that was asked for.
    pub role: EnrolmentRole,
}

/// A certificate that an operator gave a party.
#[derive(Debug, Clone)]
pub struct Certified {
    /// Its chain, leaf first, without the root.
    pub chain: Vec<Vec<u8>>,
    /// The leaf.
    pub certificate: Certificate,
    /// What the leaf claims.
    pub claims: Claims,
}

/// V-053: why a certificate is not one for the party that asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CertificateFault(pub &'static str);

impl PendingEnrolment {
    /// Makes a request for a certificate: sealed bytes, and what to remember of them.
    ///
    /// # Errors
    /// [`MessageError::Making`]; [`MessageError::Decode`] if the token or a text is too long.
    pub fn request(
        server: &LicenseServer,
        role: EnrolmentRole,
        (token, client): (String, ClientInfo),
        keys: &dyn PartyKeys,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, Vec<u8>), MessageError> {
        Self::make(server, role, (token, &[], client), keys, rng)
    }

    /// Makes a request for a certificate that follows the one at the head of `chain`, which the party has for the same
    /// keys: sealed bytes, and what to remember of them.
    ///
    /// # Errors
    /// Those of [`PendingEnrolment::request`].
    pub fn renewal(
        server: &LicenseServer,
        role: EnrolmentRole,
        (chain, client): (&[Vec<u8>], ClientInfo),
        keys: &dyn PartyKeys,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, Vec<u8>), MessageError> {
        Self::make(server, role, (String::new(), chain, client), keys, rng)
    }

    fn make(
        server: &LicenseServer,
        role: EnrolmentRole,
        (token, chain, client): (String, &[Vec<u8>], ClientInfo),
        keys: &dyn PartyKeys,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, Vec<u8>), MessageError> {
        let (nonce, response_key) = (Nonce::random(rng), Secret::random(rng));
        let body = EnrolmentRequest {
            version: PROTOCOL_VERSION,
            recipient: server.recipient,
            nonce,
            response_key: response_key.duplicate(),
            public_key: Bytes(keys.signer().public_key().to_spki_der()?),
            sealing_keys: keys.sealing_keys(),
            token,
            client,
            role,
        };
        // With the response key and the token.
        let body = SecretBytes::new(body.encode());
        let body = SecretBytes::new(grease(body.expose(), rng)?);
        let sealed = seal_request::<EnrolmentRequest>(body.expose(), (chain, keys.signer()), server, rng)?;
        let pending = PendingRequest::of(body.expose(), nonce, response_key);
        Ok((Self { pending, role }, sealed))
    }

    /// V-001 to V-005, V-012: opens the answer and verifies it at each of `times`, which may depend on the
    /// time that it states.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub fn open(
        &self,
        answer: &[u8],
        anchor: &Anchor,
        times: impl FnOnce(Timestamp) -> Vec<Timestamp>,
    ) -> Result<EnrolmentResponse, ResponseError> {
        let response = self.pending.open::<EnrolmentResponse>(answer, anchor, times)?;
        Ok(response.into_body())
    }

    /// V-053: opens the certificate chain and checks that it is the party's, at the time `at`.
    ///
    /// # Errors
    /// [`CertificateFault`].
    pub fn certificate(
        &self,
        response: &EnrolmentResponse,
        anchor: &Anchor,
        keys: &dyn PartyKeys,
        at: Timestamp,
    ) -> Result<Certified, CertificateFault> {
        let refused = CertificateFault;
        if response.shares.len() != keys.sealing_keys().len() {
            return Err(refused("it has not one share for each sealing key"));
        }
        let request = &self.pending.digest;
        let shares = response
            .shares
            .iter()
            .map(|share| open_share(share, keys, request));
        let chain = open_chain(&response.chain, &shares.collect::<Result<Vec<_>, _>>()?, request)
            .map_err(|_| refused("the chain does not open under this device's keys"))?;
        let certificate = anchor
            .verify_chain(&chain, self.role.role(), at)
            .map_err(|_| refused("its chain does not lead to the operator's root"))?;
        let claims = Claims::of(&certificate).map_err(|_| refused("it has no claims"))?;
        if certificate.public_key() != keys.signer().public_key() {
            return Err(refused("it names another signing key"));
        }
        let certified: &[SealingKey] = claims.sealing_keys.as_deref().unwrap_or_default();
        if certified != keys.sealing_keys() {
            return Err(refused("it names other sealing keys"));
        }
        Ok(Certified {
            chain,
            certificate,
            claims,
        })
    }
}

fn open_share(
    share: &SealedShare,
    keys: &dyn PartyKeys,
    request: &Digest,
) -> Result<SecretBytes, CertificateFault> {
    let suite = Suite::from_number(share.suite).ok_or(CertificateFault("a share is of an unknown suite"))?;
    let info = binding(SHARE_CONTEXT, suite, request);
    keys.open(suite, &info, &share.encapsulated.0, &share.ciphertext.0)
        .map_err(|_| CertificateFault("a share does not open under this device's keys"))
}
