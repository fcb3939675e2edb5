//! Signed messages: read verified where an operator that was named vouches for them, else unverified.

use keyward_crypto::{cose::Sign1, kdf::sha256, x509::Role};
use keyward_license::{
    acknowledgement::{AcknowledgeRequest, Receipt},
    codec::{Bytes, DecodeError, Wire, gate},
    discovery::Discovery,
    enrolment::{EnrolmentRequest, EnrolmentResponse},
    ids::Digest,
    license::LicenseBody,
    packaging::{PackagingRequest, PackagingResponse},
    request::LicenseRequest,
    response::LicenseResponse,
    revocation::{DeviceRevocationList, RevocationList},
    signed::{MessageError, PROTOCOL_VERSION, SignedBody, Unverified},
    time::Timestamp,
};
use zeroize::Zeroizing;

use super::{
    acknowledgement, certificate, enrolment,
    explanation::{Explanation, Fields, Kind, Standing, Value, foreign, length, said, size},
    license, lists, operator, packaging, request, response,
    trust::Trust,
};
use crate::failure::Failure;

/// Explains a signed message of any type.
pub(super) fn explain(bytes: &[u8], trust: &Trust) -> Result<Explanation, Failure> {
    let message = parse(bytes).map_err(|error| {
        Failure::new(
            format!("this begins like a signed message, but {error}"),
            "check that it was carried whole and as binary",
        )
    })?;
    let signed = Signed { bytes, message };
    Ok(match signed.message.typ() {
        LicenseBody::MEDIA_TYPE => license::explain(&signed, trust),
        LicenseRequest::MEDIA_TYPE => request::explain(&signed, trust),
        LicenseResponse::MEDIA_TYPE => response::explain(&signed, trust),
        EnrolmentRequest::MEDIA_TYPE => enrolment::explain_request(&signed),
        EnrolmentResponse::MEDIA_TYPE => enrolment::explain_response(&signed, trust),
        PackagingRequest::MEDIA_TYPE => packaging::explain_request(&signed, trust),
        PackagingResponse::MEDIA_TYPE => packaging::explain_response(&signed, trust),
        AcknowledgeRequest::MEDIA_TYPE => acknowledgement::explain_request(&signed, trust),
        Receipt::MEDIA_TYPE => acknowledgement::explain_receipt(&signed, trust),
        DeviceRevocationList::MEDIA_TYPE => {
            let list = RevocationList::Devices(Bytes(bytes.to_vec()));
            lists::explain_one(bytes, &list, trust)
        }
        Discovery::MEDIA_TYPE => operator::explain_discovery(&signed, trust),
        _ => unknown(&signed),
    })
}

/// A message in the form that all have.
pub(super) struct Signed<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) message: Sign1,
}

/// What a message says, and whether that may be believed.
pub(super) struct Said<T> {
    pub(super) body: Result<T, DecodeError>,
    pub(super) digest: Digest,
    pub(super) attachments: Vec<Bytes>,
    pub(super) standing: Standing,
}

/// V-001: the form.
pub(super) fn parse(bytes: &[u8]) -> Result<Sign1, MessageError> {
    gate::check(bytes).map_err(DecodeError::from)?;
    Sign1::parse(bytes).map_err(MessageError::Cose)
}

impl Signed<'_> {
    /// Reads a message whose signer must have `role` at the time that `at` takes from it.
    pub(super) fn read<T: SignedBody>(
        &self,
        trust: &Trust,
        role: Role,
        at: impl Fn(&T) -> Timestamp,
    ) -> Said<T> {
        let verified = trust.verify(|anchor| -> Result<_, MessageError> {
            Unverified::<T>::parse(self.bytes)?.verify(anchor, role, |body| vec![at(body)])
        });
        match verified {
            Ok((verified, known)) => Said {
                digest: verified.digest(),
                attachments: verified.attachments().to_vec(),
                standing: known.verified(at(verified.body())),
                body: Ok(verified.into_body()),
            },
            Err(reason) => self.unverified(Standing::unverified(reason)),
        }
    }

    /// Reads a message that nobody vouches for.
    pub(super) fn unverified<T: SignedBody>(&self, standing: Standing) -> Said<T> {
        let mut items = Vec::<Bytes>::decode(self.message.unverified_payload())
            .unwrap_or_default()
            .into_iter()
            .map(|item| Zeroizing::new(item.0));
        let body = items.next().unwrap_or_default();
        let attachments: Vec<Bytes> = items.map(|item| Bytes(item.to_vec())).collect();
        Said {
            body: if attachments.len() == T::ATTACHMENTS {
                T::decode(&body)
            } else {
                Err(DecodeError::Invalid("the payload has the wrong number of items"))
            },
            digest: Digest::new(sha256(&[&body])),
            attachments,
            standing,
        }
    }

    /// The explanation of a message whose body cannot be read.
    pub(super) fn unreadable(&self, kind: Kind, standing: Standing, error: &DecodeError) -> Explanation {
        let fields = self.signer().faults([error.to_string()]);
        Explanation::new(kind, length(self.bytes), standing, fields)
    }

    /// Who signed: the certificates that the message brings.
    pub(super) fn signer(&self) -> Fields {
        let chain = self.message.chain().iter().map(|der| &der[..]);
        Fields::default().with("signer_chain", certificate::chain(chain))
    }
}

/// A message of a type that is not the protocol's.
fn unknown(signed: &Signed<'_>) -> Explanation {
    let fields = Fields::default()
        .with("type", foreign(signed.message.typ()))
        .with("payload_bytes", size(signed.message.unverified_payload()))
        .and(signed.signer());
    let standing = Standing::unverified("it is of a type that this program does not know");
    Explanation::new(Kind::SignedMessage, length(signed.bytes), standing, fields)
}

/// V-005: what is wrong with a version.
pub(super) fn version_fault(version: u64) -> Option<String> {
    (version != PROTOCOL_VERSION).then(|| MessageError::UnsupportedVersion(version).to_string())
}

/// A suite for sealing.
pub(super) fn suite(number: u64) -> Value {
    let name = match number {
        1 => "P-256",
        2 => "X-Wing",
        16 => "under a root license's key",
        _ => "unknown",
    };
    said(number, format!("{number} ({name})"))
}
