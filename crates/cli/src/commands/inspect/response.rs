//! License responses, opened.

use keyward_crypto::x509::Role;
use keyward_license::{
    codec::Wire as _,
    error_code::ErrorCode,
    license::LicenseBody,
    response::{Denial, KeyResult, LicenseResponse, MAX_RESULTS, Outcome},
    signed::SignedBody,
};

use super::{
    explanation::{Explanation, Fields, Kind, Value, foreign, length, list, plain, said, size},
    license,
    message::{self, Said, Signed, version_fault},
    request::hidden,
    trust::Trust,
};

/// Explains a license response.
pub(super) fn explain(signed: &Signed<'_>, trust: &Trust) -> Explanation {
    // V-001 to V-005, at the time that the server tells.
    let said: Said<LicenseResponse> = signed.read(trust, Role::LicenseServer, |body: &LicenseResponse| {
        body.server_time
    });
    let body = match &said.body {
        Ok(body) => body,
        Err(error) => return signed.unreadable(Kind::LicenseResponse, said.standing, error),
    };
    let results = list(body.results.iter().take(MAX_RESULTS), |found| {
        result(found, trust)
    });
    let fields = Fields::default()
        .with("version", body.version)
        .with("request", plain(body.request))
        .with("answers_the_request", trust.answers(&body.request))
        .with("nonce", plain(body.nonce))
        .with("server_time", body.server_time)
        .with("results", results)
        .with(
            "revocation_lists_bytes",
            list(body.revocation_lists.iter().flatten(), |held| {
                size(&held.encode())
            }),
        )
        .with("renew_at", body.renew_at)
        .with("transaction", body.transaction.map(plain))
        .with(
            "custom_data_bytes",
            hidden(body.custom_data.as_ref().map(|data| &data.0[..])),
        )
        .and(signed.signer())
        .faults(
            [version_fault(body.version), count_fault(body)]
                .into_iter()
                .flatten(),
        );
    Explanation::new(
        Kind::LicenseResponse,
        length(signed.bytes),
        said.standing.clone(),
        fields,
    )
    .not_checked(&["that the request asked for these key ids"])
}

fn count_fault(body: &LicenseResponse) -> Option<String> {
    let results = body.results.len();
    (results > MAX_RESULTS).then(|| format!("it has {results} results, more than the {MAX_RESULTS} allowed"))
}

/// What became of one key id; each license is verified for itself.
fn result(found: &KeyResult, trust: &Trust) -> Value {
    let fields = Fields::default().with("kid", plain(found.kid));
    match found.outcome() {
        Ok(Outcome::License(bytes)) => match message::parse(bytes) {
            Ok(message) if message.typ() == LicenseBody::MEDIA_TYPE => {
                fields.with("license", license::explain(&Signed { bytes, message }, trust))
            }
            Ok(_) => fields
                .with("license_bytes", size(bytes))
                .faults(["this is not a license".to_owned()]),
            Err(error) => fields
                .with("license_bytes", size(bytes))
                .faults([error.to_string()]),
        },
        Ok(Outcome::Denied(denied)) => fields.with("denial", denial(denied)),
        Err(error) => fields.faults([error.to_string()]),
    }
    .into()
}

fn denial(denied: &Denial) -> Fields {
    Fields::default()
        .with("code", error_code(denied.code))
        .with("sentence", foreign(&denied.sentence))
        .with("url", denied.url.as_deref().map(foreign))
}

/// A number of `spec/errors.md`.
pub(super) fn error_code(number: u64) -> Value {
    let name = ErrorCode::from_number(number).map_or("unknown", ErrorCode::name);
    said(number, format!("{number} ({name})"))
}
