//! What an operator publishes: its profile, its discovery document; and the problems that its server tells.

use keyward_crypto::{kdf::sha256, x509::Role};
use keyward_license::{
    codec::DecodeError,
    discovery::Discovery,
    error_code::{ErrorCode, Problem},
    ids::Digest,
    operator_profile::OperatorProfile,
    signed::{MessageError, Unverified},
};

use super::{
    certificate,
    explanation::{Explanation, Fields, Kind, Standing, foreign, length, list, plain},
    message::{Said, Signed, suite, version_fault},
    response::error_code,
    trust::Trust,
};

/// Explains a discovery document.
pub(super) fn explain_discovery(signed: &Signed<'_>, trust: &Trust) -> Explanation {
    // V-060, at the time that it states.
    let verified = trust.verify(|anchor| -> Result<_, MessageError> {
        let verified =
            Unverified::<Discovery>::parse(signed.bytes)?
                .verify(anchor, Role::LicenseServer, |body| vec![body.issued])?;
        if verified.body().operator.as_bytes() == &anchor.operator() {
            Ok(verified.into_body())
        } else {
            Err(DecodeError::Invalid("it is of another operator than its signer").into())
        }
    });
    let said = match verified {
        Ok((body, known)) => Ok((known.verified(body.issued), body)),
        Err(reason) => {
            let said: Said<Discovery> = signed.unverified(Standing::unverified(reason));
            said.body
                .map(|body| (said.standing.clone(), body))
                .map_err(|error| (said.standing, error))
        }
    };
    let (standing, body) = match said {
        Ok(said) => said,
        Err((standing, error)) => return signed.unreadable(Kind::Discovery, standing, &error),
    };
    // What a request names as its receiver.
    let recipient = body
        .request_encryption
        .first()
        .map(|der| plain(Digest::new(sha256(&[&der.0]))));
    let fields = Fields::default()
        .with("version", body.version)
        .with("operator", plain(body.operator))
        .with("license_path", foreign(&body.license_path))
        .with("enrolment_path", foreign(&body.enrolment_path))
        .with("packaging_path", body.packaging_path.as_deref().map(foreign))
        .with(
            "acknowledgement_path",
            body.acknowledgement_path.as_deref().map(foreign),
        )
        .with("issued", body.issued)
        .with("expires", body.expires)
        .with("recipient", recipient)
        .with(
            "request_encryption_chain",
            certificate::chain(body.request_encryption.iter().map(|der| &der.0[..])),
        )
        .and(signed.signer())
        .faults(version_fault(body.version));
    Explanation::new(Kind::Discovery, length(signed.bytes), standing, fields).not_checked(&[
        "whether it is in use at this time",
        "the chain of the request-encryption certificate",
    ])
}

/// Explains an operator profile.
pub(super) fn explain_profile(bytes: &[u8], profile: &OperatorProfile) -> Explanation {
    let fault =
        (profile.version != 1).then(|| format!("version {} of the format is not known", profile.version));
    let is_test = profile.anchor().is_ok_and(|anchor| anchor.is_test());
    let fields = Fields::default()
        .with("version", profile.version)
        .with("name", foreign(&profile.name))
        .with("test_operator", is_test)
        .with("operator", plain(profile.operator()))
        .with(
            "license_servers",
            list(&profile.license_servers, |url| foreign(url)),
        )
        .with("minimum_suite", suite(profile.minimum_suite))
        .with("root_certificate", certificate::fields(&profile.root.0))
        .faults(fault);
    let standing = Standing::unverified(
        "an operator profile is not signed: it is to be trusted as far as the way it came",
    );
    Explanation::new(Kind::OperatorProfile, length(bytes), standing, fields)
}

/// Explains a problem document.
pub(super) fn explain_problem(bytes: &[u8], problem: &Problem) -> Explanation {
    let hint = ErrorCode::from_number(problem.code).map(|code| plain(code.hint()));
    let fields = Fields::default()
        .with("code", error_code(problem.code))
        .with("name", foreign(&problem.name))
        .with("detail", foreign(&problem.detail))
        .with("status", problem.status)
        .with("hint", hint);
    let standing = Standing::unverified("a problem document is not signed");
    Explanation::new(Kind::Problem, length(bytes), standing, fields)
}
