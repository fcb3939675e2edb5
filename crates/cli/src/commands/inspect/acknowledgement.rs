//! Acknowledge requests and receipts, opened.

use keyward_crypto::x509::Role;
use keyward_license::{
    acknowledgement::{AcknowledgeRequest, AcknowledgedLicense, LicenseOutcome, Receipt},
    response::MAX_RESULTS,
};

use super::{
    explanation::{Explanation, Fields, Kind, foreign, length, list, plain},
    message::{Said, Signed, version_fault},
    trust::Trust,
};

/// Explains an acknowledge request: what a client says became of the licenses of a response.
pub(super) fn explain_request(signed: &Signed<'_>, trust: &Trust) -> Explanation {
    let said: Said<AcknowledgeRequest> = signed.read(trust, Role::Device, |_| trust.now);
    let body = match &said.body {
        Ok(body) => body,
        Err(error) => return signed.unreadable(Kind::AcknowledgeRequest, said.standing, error),
    };
    let faults = [
        version_fault(body.version),
        body.check_bounds().err().map(|fault| fault.to_string()),
    ];
    let fields = Fields::default()
        .with("version", body.version)
        .with("recipient", plain(body.recipient))
        .with("nonce", plain(body.nonce))
        .with("transaction", plain(body.transaction))
        .with(
            "licenses",
            list(body.licenses.iter().take(MAX_RESULTS), |license| {
                outcome(license).into()
            }),
        )
        .with("body_digest", plain(said.digest))
        .and(signed.signer())
        .faults(faults.into_iter().flatten());
    Explanation::new(
        Kind::AcknowledgeRequest,
        length(signed.bytes),
        said.standing.clone(),
        fields,
    )
    .not_checked(&[
        "whether the transaction is one of this device, and these are its licenses (V-048)",
        "whether the device is not revoked",
    ])
}

/// Explains a receipt: the license server has recorded an acknowledgement.
pub(super) fn explain_receipt(signed: &Signed<'_>, trust: &Trust) -> Explanation {
    let said: Said<Receipt> = signed.read(trust, Role::Receipt, |body: &Receipt| body.server_time);
    let body = match &said.body {
        Ok(body) => body,
        Err(error) => return signed.unreadable(Kind::Receipt, said.standing, error),
    };
    let fields = Fields::default()
        .with("version", body.version)
        .with("request", plain(body.request))
        .with("answers_the_request", trust.answers(&body.request))
        .with("nonce", plain(body.nonce))
        .with("transaction", plain(body.transaction))
        .with("server_time", body.server_time)
        .and(signed.signer())
        .faults(version_fault(body.version));
    Explanation::new(Kind::Receipt, length(signed.bytes), said.standing.clone(), fields)
        .not_checked(&["whether the transaction is the one that the request names (V-065)"])
}

fn outcome(license: &AcknowledgedLicense) -> Fields {
    let outcome = match license.outcome {
        LicenseOutcome::Stored => "stored",
        LicenseOutcome::InMemory => "in-memory",
        LicenseOutcome::Refused => "refused",
    };
    Fields::default()
        .with("kid", plain(license.kid))
        .with("license", license.license.map(plain))
        .with("outcome", plain(outcome))
        .with("reason", license.reason.as_deref().map(foreign))
}
