//! Sealed requests and responses: the outer layer for everybody, what is inside for who may open it.

use keyward_crypto::hpke::Suite;
use keyward_license::{
    acknowledgement::AcknowledgeRequest,
    enrolment::EnrolmentRequest,
    envelope::{SealedRequest, SealedResponse},
    exchange::Request,
    packaging::PackagingRequest,
    request::LicenseRequest,
    signed::SignedBody,
};
use keyward_server::{Error, danger::OpenedRequest};

use super::{
    explanation::{Explanation, Fields, Kind, Standing, length, plain, size},
    message::{self, Said, Signed, suite, version_fault},
    trust::{Asked, Trust},
};
use crate::failure::Failure;

/// Explains a sealed request; opens it if the operator was named that it is sealed to.
pub(super) fn explain_request(
    bytes: &[u8],
    envelope: &SealedRequest,
    trust: &Trust,
) -> Result<Explanation, Failure> {
    let (opened, refused) = match trust.open_request(bytes) {
        Ok(opened) => (opened, None),
        Err(error @ Error::RequestNotOpened(_)) => (None, Some(error.to_string())),
        Err(other) => return Err(other.into()),
    };
    let redirected = opened
        .as_ref()
        .and_then(|opened| asked(opened).ok())
        .filter(|asked| asked.recipient != envelope.recipient)
        .map(|_| "the request inside names another receiver (V-040)".to_owned());
    let faults = [
        version_fault(envelope.version),
        suite_fault(envelope),
        refused,
        redirected,
    ];
    let fields = Fields::default()
        .with("version", envelope.version)
        .with("suite", suite(envelope.suite))
        .with("recipient", plain(envelope.recipient))
        .with(
            "recipient_in_use",
            opened.as_ref().map(|opened| opened.recipient_in_use),
        )
        .with("encapsulated_key_bytes", size(&envelope.encapsulated.0))
        .with("ciphertext_bytes", size(&envelope.ciphertext.0))
        .faults(faults.into_iter().flatten());
    let inside = opened
        .map(|opened| message::explain(opened.message.expose(), trust))
        .transpose()?;
    Ok(explained(
        Kind::SealedRequest,
        bytes,
        fields,
        inside,
        REQUEST_UNOPENED,
    ))
}

/// Explains a sealed response; opens it if the request that it answers was named.
pub(super) fn explain_response(
    bytes: &[u8],
    envelope: &SealedResponse,
    trust: &Trust,
) -> Result<Explanation, Failure> {
    let opened = trust
        .request
        .as_ref()
        .map(|asked| envelope.open(asked.context, &asked.response_key, &asked.digest));
    let (opened, refused) = match opened {
        None => (None, None),
        Some(Ok(opened)) => (Some(opened), None),
        Some(Err(error)) => (
            None,
            Some(format!("it is no answer to the request that was named: {error}")),
        ),
    };
    let fields = Fields::default()
        .with("version", envelope.version)
        .with(
            "sealed_under",
            plain("the response key of the request that it answers"),
        )
        .with("ciphertext_bytes", size(&envelope.ciphertext.0))
        .faults([version_fault(envelope.version), refused].into_iter().flatten());
    let inside = opened
        .map(|opened| message::explain(opened.expose(), trust))
        .transpose()?;
    Ok(explained(
        Kind::SealedResponse,
        bytes,
        fields,
        inside,
        RESPONSE_UNOPENED,
    ))
}

/// What the response to a request is sealed under.
pub(super) fn asked(opened: &OpenedRequest) -> Result<Asked, Failure> {
    let bytes = opened.message.expose();
    let message = message::parse(bytes).map_err(|error| inside_unreadable(&error))?;
    let signed = Signed { bytes, message };
    match signed.message.typ() {
        EnrolmentRequest::MEDIA_TYPE => asked_by::<EnrolmentRequest>(&signed),
        PackagingRequest::MEDIA_TYPE => asked_by::<PackagingRequest>(&signed),
        AcknowledgeRequest::MEDIA_TYPE => asked_by::<AcknowledgeRequest>(&signed),
        _ => asked_by::<LicenseRequest>(&signed),
    }
}

fn asked_by<Q: Request>(signed: &Signed<'_>) -> Result<Asked, Failure> {
    let said: Said<Q> = signed.unverified(Standing::unverified(""));
    let body = said.body.map_err(|error| inside_unreadable(&error))?;
    Ok(Asked {
        recipient: *body.recipient(),
        context: <Q::Response as SignedBody>::CONTEXT,
        digest: said.digest,
        response_key: body.response_key().duplicate(),
    })
}

fn inside_unreadable(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        format!("the request opens, but what is inside cannot be read: {error}"),
        "name the request as it was sent",
    )
}

fn explained(
    kind: Kind,
    bytes: &[u8],
    fields: Fields,
    inside: Option<Explanation>,
    unopened: &[&'static str],
) -> Explanation {
    let unopened = if inside.is_none() { unopened } else { &[] };
    Explanation::new(kind, length(bytes), Standing::unverified(OUTER), fields)
        .not_checked(unopened)
        .inside(inside)
}

fn suite_fault(envelope: &SealedRequest) -> Option<String> {
    match Suite::from_number(envelope.suite) {
        None => Some(format!("suite {} is not known", envelope.suite)),
        Some(suite) if suite.encapsulated_len() != envelope.encapsulated.0.len() => {
            Some("the encapsulated key has not the length of its suite".to_owned())
        }
        Some(_) => None,
    }
}

const OUTER: &str = "the outer layer is not signed";

const REQUEST_UNOPENED: &[&str] = &[
    "what is inside: a license, enrolment, packaging or acknowledge request, to be opened with --operator",
    "who sent it, and what it asks for",
];

const RESPONSE_UNOPENED: &[&str] = &[
    "what is inside: a license, enrolment or packaging response or a receipt, to be opened with --operator and --request",
    "who sent it, to whom, and whether it grants anything",
];
