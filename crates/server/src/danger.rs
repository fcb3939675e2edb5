//! Acts that hand out secrets. Each says what an attacker gains.

use keyward_crypto::{SecretBytes, kdf::sha256};
use keyward_license::{
    acknowledgement::AcknowledgeRequest,
    codec::Wire,
    enrolment::EnrolmentRequest,
    envelope::SealedRequest,
    ids::Digest,
    packaging::PackagingRequest,
    request::LicenseRequest,
    signed::{MessageError, SignedBody},
};

use crate::{Error, Server};

/// The bytes of a license key seed, to share with a packager.
///
/// **The attack:** whoever has a seed can compute the content key of every key id registered under it,
/// past and future, without a license and without a trace. It cannot be taken back: what was packaged
/// under the seed stays open to them. Share a seed only with a packager that is guarded like this
/// server, over a channel that is; use
/// [`Server::content_key_for_packaging`](crate::Server::content_key_for_packaging) where single keys
/// are enough.
///
/// The export stands in the database, as an event `seed-exported` with the seed's number, before the seed
/// is returned.
///
/// # Errors
/// [`Error::SeedUnknown`], or a failure of the database.
pub async fn export_seed(server: &Server, number: u64) -> Result<SecretBytes, Error> {
    let seed = server.vault().open_seed(server.store(), number).await?;
    let now = server.inner().clock.now();
    server
        .store()
        .record_act("seed-exported", number.to_string(), now)
        .await?;
    tracing::warn!(seed = number, "license key seed exported");
    Ok(seed)
}

/// A request as its sender signed it, opened to be explained to a person.
#[derive(Debug)]
pub struct OpenedRequest {
    /// The signed message: a license, enrolment, packaging or acknowledge request. Nothing in it is verified.
    pub message: SecretBytes,
    /// V-040: whether the certificate that it is sealed to is in use now. The license server refuses it if not.
    pub recipient_in_use: bool,
}

/// Opens a sealed license, enrolment, packaging or acknowledge request of this operator, without answering it.
///
/// **The attack:** whoever opens requests learns who asks for what, reads the authorization token or the
/// enrolment token and can use it as its owner, and has the response key, which opens the response if it
/// was overheard. Keys in that response stay sealed to who asked for them. Show nobody the message; show
/// fields of it, without tokens and keys.
///
/// It stands in the database, as an event `request-opened` with the SHA-256 of the sealed request, before
/// the message is returned.
///
/// # Errors
/// [`Error::RequestNotOpened`], or a failure of the database.
pub async fn open_request(server: &Server, sealed: &[u8]) -> Result<OpenedRequest, Error> {
    let identity = server.inner().identity();
    let now = server.inner().clock.now();
    let envelope = SealedRequest::decode(sealed)
        .map_err(MessageError::from)
        .map_err(Error::RequestNotOpened)?;
    let keys = identity.keys_of(&envelope.recipient);
    let message = envelope
        .open(LicenseRequest::CONTEXT, keys)
        .or_else(|_| envelope.open(EnrolmentRequest::CONTEXT, keys))
        .or_else(|_| envelope.open(PackagingRequest::CONTEXT, keys))
        .or_else(|_| envelope.open(AcknowledgeRequest::CONTEXT, keys))
        .map_err(Error::RequestNotOpened)?;
    let subject = Digest::new(sha256(&[sealed])).to_string();
    server.store().record_act("request-opened", subject, now).await?;
    tracing::warn!("request opened to be explained");
    Ok(OpenedRequest {
        message,
        recipient_in_use: identity.recipient(&envelope.recipient, now).is_some(),
    })
}
