//! One exchange with a license server, as its asking side sees it: a request is signed and sealed, and
//! its answer is opened and held against it.

use keyward_crypto::{CryptoError, Secret, SecretBytes, ecdsa::Signer, kdf::sha256, x509::Role};
use rand_core::CryptoRng;

use crate::{
    codec::Wire,
    discovery::LicenseServer,
    envelope::{SealedRequest, SealedResponse},
    ids::{Digest, Nonce},
    signed::{self, ChainVerifier, MessageError, SignedBody, Unverified, Verified},
    time::Timestamp,
};

/// What the maker of a request remembers of it until the answer is there.
pub struct PendingRequest {
    /// SHA-256 of the request's body.
    pub digest: Digest,
    /// Its nonce.
    pub nonce: Nonce,
    /// What only the answer is sealed under.
    pub response_key: Secret<32>,
}

/// A request that is sealed to a license server, and says under what alone its answer is to be sealed.
pub trait Request: SignedBody {
    /// What answers it.
    type Response: Response;
    /// SHA-256 of the certificate that it is sealed to.
    fn recipient(&self) -> &Digest;
    /// Drawn for it.
    fn nonce(&self) -> &Nonce;
    /// Key material that only its answer is sealed under.
    fn response_key(&self) -> &Secret<32>;
}

/// A response that says which request it answers.
pub trait Response: SignedBody {
    /// Who signs it.
    const SIGNER: Role;
    /// SHA-256 of the request's body.
    fn request(&self) -> &Digest;
    /// The request's nonce.
    fn nonce(&self) -> &Nonce;
    /// The server's time.
    fn server_time(&self) -> Timestamp;
}

/// Why a response was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// V-001 to V-005, V-011: form, type, signature, signer, version, or it does not open.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// V-012: it answers another request.
    #[error("it answers another request")]
    OtherRequest,
}

impl From<crate::codec::DecodeError> for ResponseError {
    fn from(error: crate::codec::DecodeError) -> Self {
        Self::Message(error.into())
    }
}

/// A request, its response and who signs that, by the fields that all of them have.
macro_rules! exchange {
    ($request:ty => $response:ty, signed by $signer:ident) => {
        impl $crate::exchange::Request for $request {
            type Response = $response;

            fn recipient(&self) -> &$crate::ids::Digest {
                &self.recipient
            }

            fn nonce(&self) -> &$crate::ids::Nonce {
                &self.nonce
            }

            fn response_key(&self) -> &keyward_crypto::Secret<32> {
                &self.response_key
            }
        }

        impl $crate::exchange::Response for $response {
            const SIGNER: keyward_crypto::x509::Role = keyward_crypto::x509::Role::$signer;

            fn request(&self) -> &$crate::ids::Digest {
                &self.request
            }

            fn nonce(&self) -> &$crate::ids::Nonce {
                &self.nonce
            }

            fn server_time(&self) -> $crate::time::Timestamp {
                self.server_time
            }
        }
    };
}
pub(crate) use exchange;

impl PendingRequest {
    /// The request whose encoded body this is.
    #[must_use]
    pub fn of(body: &[u8], nonce: Nonce, response_key: Secret<32>) -> Self {
        Self {
            digest: Digest::new(sha256(&[body])),
            nonce,
            response_key,
        }
    }

    /// V-001 to V-005, V-011, V-012: opens the answer, verifies it as signed by the server's certificate for
    /// [`Response::SIGNER`] at each of `times` (they may depend on the time that it states), and holds it against the request.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub fn open<T: Response>(
        &self,
        answer: &[u8],
        verifier: &dyn ChainVerifier,
        times: impl FnOnce(Timestamp) -> Vec<Timestamp>,
    ) -> Result<Verified<T>, ResponseError> {
        let opened = SealedResponse::decode(answer)?.open(T::CONTEXT, &self.response_key, &self.digest)?;
        let response = Unverified::<T>::parse(opened.expose())?
            .verify(verifier, T::SIGNER, |body| times(body.server_time()))?;
        // V-012
        if *response.body().request() == self.digest && *response.body().nonce() == self.nonce {
            Ok(response)
        } else {
            Err(ResponseError::OtherRequest)
        }
    }
}

impl core::fmt::Debug for PendingRequest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PendingRequest")
            .field("nonce", &self.nonce)
            .finish_non_exhaustive()
    }
}

/// Signs an encoded body and seals it to a license server. `chain` is leaf first, without the root;
/// empty only for enrolment.
///
/// # Errors
/// [`MessageError::Making`].
pub fn seal_request<T: SignedBody>(
    body: &[u8],
    (chain, signer): (&[Vec<u8>], &dyn Signer),
    server: &LicenseServer,
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, MessageError> {
    let message = SecretBytes::new(signed::sign::<T>(body, &[], chain, signer)?);
    let sealed = SealedRequest::seal(
        T::CONTEXT,
        server.suite,
        server.recipient,
        &server.public_key,
        message.expose(),
        rng,
    )?;
    Ok(sealed.encode())
}

impl From<CryptoError> for MessageError {
    fn from(error: CryptoError) -> Self {
        Self::Making(error)
    }
}
