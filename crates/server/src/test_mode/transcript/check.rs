//! Holding a transcript against the protocol: every request opens and verifies, and every answer answers it.

use keyward_crypto::{ecdsa::PublicKey, x509::Role};
use keyward_license::{
    acknowledgement::{AcknowledgeRequest, Receipt},
    codec::Wire,
    discovery::{Discovery, WELL_KNOWN_PATH},
    enrolment::{EnrolmentRequest, EnrolmentResponse},
    envelope::{SealedRequest, SealedResponse},
    error_code::Problem,
    exchange::{PendingRequest, Response, ResponseError},
    license::License,
    packaging::{PackagingRequest, PackagingResponse},
    request::LicenseRequest,
    response::LicenseResponse,
    signed::{MessageError, SignedBody, Unverified, Verified},
    time::Timestamp,
};

use super::{Exchange, Transcript};
use crate::discovery::{ACKNOWLEDGEMENT_PATH, ENROLMENT_PATH, LICENSE_PATH, PACKAGING_PATH};

/// What is wrong with a recorded exchange.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeFault {
    /// No endpoint has this path.
    #[error("no endpoint has its path")]
    Path,
    /// The request does not open or verify.
    #[error("its request is refused: {0}")]
    Request(MessageError),
    /// The answer does not open or verify, or answers another request.
    #[error("its answer is refused: {0}")]
    Answer(ResponseError),
    /// The answer is no problem document, or one of another status.
    #[error("its answer is no problem document of its status")]
    Problem,
}

impl Transcript {
    /// Holds each exchange against the protocol, at the time of then.
    pub fn check(&self) -> impl Iterator<Item = Result<(), ExchangeFault>> + '_ {
        self.exchanges.iter().map(|exchange| self.check_one(exchange))
    }

    fn check_one(&self, exchange: &Exchange) -> Result<(), ExchangeFault> {
        let path = exchange.path.split('?').next().unwrap_or_default();
        if exchange.status != 200 {
            let problem = Problem::decode(&exchange.answer.0).map_err(|_| ExchangeFault::Problem)?;
            return match problem.status == u64::from(exchange.status) {
                true => Ok(()),
                false => Err(ExchangeFault::Problem),
            };
        }
        match path {
            WELL_KNOWN_PATH => self.check_discovery(exchange),
            LICENSE_PATH => self.check_license(exchange),
            ENROLMENT_PATH => self.check_enrolment(exchange),
            PACKAGING_PATH => self.check_packaging(exchange),
            ACKNOWLEDGEMENT_PATH => self.check_acknowledgement(exchange),
            _ => Err(ExchangeFault::Path),
        }
    }

    fn check_discovery(&self, exchange: &Exchange) -> Result<(), ExchangeFault> {
        let document = Unverified::<Discovery>::parse(&exchange.answer.0);
        let role = Role::LicenseServer;
        let verified = document.and_then(|one| one.verify(&self.anchor, role, |body| vec![body.issued]));
        verified
            .map(drop)
            .map_err(|fault| ExchangeFault::Answer(fault.into()))
    }

    fn check_license(&self, exchange: &Exchange) -> Result<(), ExchangeFault> {
        let request = self.certified::<LicenseRequest>(exchange, Role::Device)?;
        let body = request.body();
        let digest = request.digest();
        let verify = || -> Result<(), ResponseError> {
            let envelope = SealedResponse::decode(&exchange.answer.0)?;
            let opened = envelope.open(LicenseResponse::CONTEXT, &body.response_key, &digest)?;
            let response = Unverified::<LicenseResponse>::parse(opened.expose())?;
            let at = |body: &LicenseResponse| vec![body.server_time];
            let response = response
                .verify(&self.anchor, Role::LicenseServer, at)?
                .into_body();
            // V-012
            if (response.request, response.nonce) != (digest, body.nonce) {
                return Err(ResponseError::OtherRequest);
            }
            let mut licenses = response.results.iter().filter_map(|one| one.license.as_ref());
            licenses.try_for_each(|license| Ok(License::verify(&license.0, &self.anchor, None).map(drop)?))
        };
        verify().map_err(ExchangeFault::Answer)
    }

    fn check_enrolment(&self, exchange: &Exchange) -> Result<(), ExchangeFault> {
        let message = self.opened_as::<EnrolmentRequest>(exchange)?;
        let key = |body: &EnrolmentRequest| PublicKey::from_spki_der(&body.public_key.0);
        let request = match message.renewal().map_err(ExchangeFault::Request)? {
            Some(role) => message.verify(&self.anchor, role.role(), |_| vec![exchange.time]),
            None => message.verify_with_own_key(key),
        }
        .map_err(ExchangeFault::Request)?;
        let body = request.body();
        let pending = (request.digest(), body.nonce, body.response_key.duplicate());
        self.answered::<EnrolmentResponse>(exchange, pending).map(drop)
    }

    fn check_packaging(&self, exchange: &Exchange) -> Result<(), ExchangeFault> {
        let request = self.certified::<PackagingRequest>(exchange, Role::Packager)?;
        let body = request.body();
        let pending = (request.digest(), body.nonce, body.response_key.duplicate());
        self.answered::<PackagingResponse>(exchange, pending).map(drop)
    }

    fn check_acknowledgement(&self, exchange: &Exchange) -> Result<(), ExchangeFault> {
        let request = self.certified::<AcknowledgeRequest>(exchange, Role::Device)?;
        let body = request.body();
        let pending = (request.digest(), body.nonce, body.response_key.duplicate());
        self.answered::<Receipt>(exchange, pending).map(drop)
    }

    fn opened_as<T: SignedBody>(&self, exchange: &Exchange) -> Result<Unverified<T>, ExchangeFault> {
        let envelope = SealedRequest::decode(&exchange.request.0).map_err(MessageError::from);
        let opened = envelope.and_then(|envelope| envelope.open(T::CONTEXT, &self.keys));
        opened
            .and_then(|opened| Unverified::parse(opened.expose()))
            .map_err(ExchangeFault::Request)
    }

    fn certified<T: SignedBody>(
        &self,
        exchange: &Exchange,
        role: Role,
    ) -> Result<Verified<T>, ExchangeFault> {
        self.opened_as::<T>(exchange)?
            .verify(&self.anchor, role, |_| vec![exchange.time])
            .map_err(ExchangeFault::Request)
    }

    fn answered<T: Response>(
        &self,
        exchange: &Exchange,
        (digest, nonce, response_key): Pending,
    ) -> Result<Verified<T>, ExchangeFault> {
        let pending = PendingRequest {
            digest,
            nonce,
            response_key,
        };
        let at = |stated: Timestamp| vec![stated];
        pending
            .open(&exchange.answer.0, &self.anchor, at)
            .map_err(ExchangeFault::Answer)
    }
}

type Pending = (
    keyward_license::ids::Digest,
    keyward_license::ids::Nonce,
    keyward_crypto::Secret<32>,
);
