//! Requests that were carried here as files: which message each is shows by what it opens as, and whoever carried it is
//! told whose it is and what became of it.

use keyward_license::{
    error_code::{ErrorCode, Problem},
    ids::{DeviceId, Kid},
};

use crate::{
    Refusal, Server,
    acknowledgements::receipt,
    issue::{Issued, Outcome},
    provision, test_mode,
};

/// A request that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// What it was.
    pub message: Message,
    /// The sealed answer.
    pub answer: Vec<u8>,
    /// Who asked: a device or a packager.
    pub device: DeviceId,
    /// Of a license request, each key id with the number of its denial (`spec/errors.md`) if it got no license; none
    /// of them if the same request was answered before.
    pub keys: Vec<(Kid, Option<u64>)>,
}

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// A license request.
    License,
    /// An enrolment request.
    Enrolment,
    /// An acknowledgement.
    Acknowledgement,
}

impl Server {
    /// Answers a sealed license request, enrolment request or acknowledgement. The same request again gets the same
    /// licenses, the same certificate, or another receipt.
    ///
    /// # Errors
    /// A problem of `spec/errors.md`; its cause stands in the log.
    pub async fn answer_carried(&self, request: &[u8]) -> Result<Carried, Problem> {
        let licenses = self.carried_license_request(request).await;
        if !is_not_opened(&licenses) {
            return licenses;
        }
        let of = |message| move |(device, answer)| Carried::new(message, device, answer);
        let enrolled = provision::enrol(self.inner(), request).await;
        let enrolled = enrolled
            .map(of(Message::Enrolment))
            .map_err(Refusal::into_problem);
        if !is_not_opened(&enrolled) {
            return enrolled;
        }
        let acknowledged = receipt::acknowledge(self.inner(), request).await;
        acknowledged
            .map(of(Message::Acknowledgement))
            .map_err(Refusal::into_problem)
    }

    async fn carried_license_request(&self, request: &[u8]) -> Result<Carried, Problem> {
        let Outcome { issued, latency } = self.issued(request, None).await;
        test_mode::keep_back(latency).await;
        let Issued { answer, told } = issued?;
        tracing::info!(device = %told.device, results = told.results, "license request answered");
        Ok(Carried {
            keys: told.keys,
            ..Carried::new(Message::License, told.device, answer)
        })
    }
}

impl Carried {
    const fn new(message: Message, device: DeviceId, answer: Vec<u8>) -> Self {
        Self {
            message,
            answer,
            device,
            keys: Vec::new(),
        }
    }
}

/// Whether a request does not open as what it was tried as.
fn is_not_opened(answered: &Result<Carried, Problem>) -> bool {
    answered
        .as_ref()
        .is_err_and(|problem| problem.code == ErrorCode::NotOpened.number())
}
