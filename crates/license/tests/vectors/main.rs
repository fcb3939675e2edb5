//! Every file in `vectors/` gets the verdict that it states, for the reason that it states.
//!
//! Steps that are the client's or the server's own (who it is bound to, what was asked for) are taken
//! here as `spec/protocol.md` words them; everything else is this crate's.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failure is a failed test"
)]

mod licenses;
mod operators;
mod packaging;
mod trust;

use std::{collections::BTreeSet, fs, path::Path};

use keyward_crypto::{
    ChainFault, CryptoError, Secret, SecretBytes,
    hpke::{KeyPair, Suite},
    x509::{Anchor, Certificate, Role},
};
use keyward_license::{
    certificate::certificate_digest,
    codec::{DecodeError, Wire},
    envelope::{SealedRequest, SealedResponse},
    exchange::{Request, Response},
    ids::Digest,
    signed::{MessageError, Unverified, Verified},
    time::Timestamp,
};
use keyward_testkit::vectors::{MessageType, Vector, Verdict};

/// Which step refused, and our words for it where they are this crate's.
#[derive(Debug)]
struct Refused(&'static str, String);

type Answer = Result<Vec<(&'static str, String)>, Refused>;

#[test]
fn every_vector_gets_its_verdict() {
    let mut ran = BTreeSet::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut wrong = Vec::new();
    for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
        let vector: Vector = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), vector.name);
        wrong.extend(hold(&vector));
        ran.insert((vector.message_type, vector.verdict == Verdict::Valid));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(ran.len(), 32, "every message type has valid and invalid cases");
}

/// What is wrong with the answer to a vector, if anything.
pub(crate) fn hold(vector: &Vector) -> Option<String> {
    let stated = match vector.verdict {
        Verdict::Valid => format!("valid, {:?}", vector.learns),
        Verdict::Invalid => format!(
            "{}: {}",
            vector.rule.as_ref().unwrap(),
            vector.error.as_ref().unwrap()
        ),
    };
    let answered = match judge(vector) {
        Ok(learned) => {
            let learned: std::collections::BTreeMap<_, _> = learned.into_iter().collect();
            format!("valid, {learned:?}")
        }
        Err(Refused(rule, error)) => format!("{rule}: {error}"),
    };
    (stated != answered).then(|| format!("{}\n  stated   {stated}\n  answered {answered}", vector.name))
}

fn judge(vector: &Vector) -> Answer {
    let message = hex::decode(&vector.message).unwrap();
    match vector.message_type {
        MessageType::License => licenses::license(vector, &message),
        MessageType::LicenseRequest => licenses::license_request(vector, &message),
        MessageType::LicenseResponse => licenses::license_response(vector, &message),
        MessageType::EnrolmentRequest => operators::enrolment_request(vector, &message),
        MessageType::EnrolmentResponse => operators::enrolment_response(vector, &message),
        MessageType::PackagingRequest => packaging::packaging_request(vector, &message),
        MessageType::PackagingResponse => packaging::packaging_response(vector, &message),
        MessageType::Discovery => operators::discovery(vector, &message),
        MessageType::OperatorProfile => operators::operator_profile(&message),
        MessageType::Problem => operators::problem(&message),
        MessageType::ExchangeResult => licenses::exchange_result(vector, &message),
        MessageType::EmbeddedStore => licenses::embedded_store(&message),
        MessageType::AcknowledgeRequest => trust::acknowledge_request(vector, &message),
        MessageType::Receipt => trust::receipt(vector, &message),
        MessageType::RevocationList => trust::revocation_list(vector, &message),
        MessageType::RevocationLists => trust::revocation_lists(&message),
    }
}

/// Opens a request that the holder of a role signs, and sends to the server whose certificate it names.
fn signed_request<T: Request>(
    vector: &Vector,
    message: &[u8],
    (step, role): (&'static str, Role),
) -> Result<Verified<T>, Refused> {
    let certificate = Certificate::parse(&input(vector, "certificate")).unwrap();
    let opened = open_request(vector, message, T::CONTEXT)?;
    let verified = Unverified::<T>::parse(&opened)
        .map_err(rule)?
        .verify(&anchor(vector), role, |_| vec![now(vector)])
        .map_err(|error| signer_rule(step, error))?;
    // V-040
    if *verified.body().recipient() != certificate_digest(&certificate) {
        return Err(Refused(
            "V-040",
            "the body names another certificate than the envelope".into(),
        ));
    }
    Ok(verified)
}

fn open_request(vector: &Vector, message: &[u8], context: &str) -> Result<Vec<u8>, Refused> {
    let certificate = Certificate::parse(&input(vector, "certificate")).unwrap();
    let envelope = SealedRequest::decode(message).map_err(form)?;
    // V-040
    if envelope.recipient != certificate_digest(&certificate) {
        return Err(Refused(
            "V-040",
            "the request is sealed to another certificate".into(),
        ));
    }
    let keys: Vec<_> = Suite::ALL
        .into_iter()
        .map(|suite| sealing_key(vector, "server", suite))
        .collect();
    let opened = envelope.open(context, &keys).map_err(|error| match error {
        MessageError::NotOpened => Refused("V-040", error.to_string()),
        other => rule(other),
    })?;
    Ok(opened.expose().to_vec())
}

fn open_response(vector: &Vector, message: &[u8], context: &str) -> Result<Vec<u8>, Refused> {
    let envelope = SealedResponse::decode(message).map_err(form)?;
    let key = Secret::from_slice(&input(vector, "response-key")).unwrap();
    let digest = Digest::try_from(&input(vector, "request-digest")[..]).unwrap();
    // V-011
    let opened = envelope
        .open(context, &key, &digest)
        .map_err(|error| match error {
            MessageError::NotOpened => Refused("V-011", error.to_string()),
            other => rule(other),
        })?;
    Ok(opened.expose().to_vec())
}

/// V-012
fn answers_request(vector: &Vector, response: &impl Response) -> Result<(), Refused> {
    let matches = response.request().as_bytes()[..] == input(vector, "request-digest")
        && response.nonce().as_bytes()[..] == input(vector, "request-nonce");
    if matches { Ok(()) } else { refused("V-012") }
}

/// A refused signer is the step that names the signer of this message; the rest are everybody's.
fn signer_rule(step: &'static str, error: MessageError) -> Refused {
    let shared = rule(error);
    if shared.0 == "V-004" {
        Refused(step, shared.1)
    } else {
        shared
    }
}

/// The step of an error that every message may meet.
fn rule(error: MessageError) -> Refused {
    let step = match &error {
        MessageError::Decode(_) | MessageError::Cose(_) => "V-001",
        MessageError::WrongType { .. } => "V-002",
        MessageError::BadSignature => "V-003",
        MessageError::Signer(CryptoError::ChainRefused(fault)) => {
            assert_ne!(
                *fault,
                ChainFault::Invalid,
                "no vector is refused without a reason"
            );
            "V-004"
        }
        MessageError::UnsupportedVersion(_) => "V-005",
        other => panic!("no step refuses with {other:?}"),
    };
    Refused(step, error.to_string())
}

fn form(error: DecodeError) -> Refused {
    Refused("V-001", error.to_string())
}

fn refused<T>(step: &'static str) -> Result<T, Refused> {
    Err(Refused(step, String::new()))
}

fn anchor(vector: &Vector) -> Anchor {
    Anchor::from_der(&input(vector, "root")).unwrap()
}

const fn now(vector: &Vector) -> Timestamp {
    Timestamp(vector.now)
}

fn input(vector: &Vector, name: &str) -> Vec<u8> {
    hex::decode(&vector.inputs[name]).unwrap()
}

fn sealing_key(vector: &Vector, whose: &str, suite: Suite) -> KeyPair {
    let private = input(vector, &format!("{whose}-sealing-key-{}", suite.number()));
    KeyPair::from_private(suite, SecretBytes::new(private)).unwrap()
}
