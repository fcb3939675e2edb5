//! Enrolment requests and responses, opened. The token is counted, not shown.

use keyward_crypto::{ecdsa::PublicKey, x509::Role};
use keyward_license::{
    certificate::device_id,
    enrolment::{EnrolmentRequest, EnrolmentResponse},
    signed::Unverified,
};

use super::{
    certificate,
    explanation::{Explanation, Fields, Kind, Standing, length, list, plain, size},
    message::{Said, Signed, suite, version_fault},
    request::{client, hidden},
    trust::Trust,
};

/// Explains an enrolment request. It is signed with the key that it names, which proves that its sender
/// has that key, and nothing else: it is as unverified as any stranger's words.
pub(super) fn explain_request(signed: &Signed<'_>) -> Explanation {
    let own_key = Unverified::<EnrolmentRequest>::parse(signed.bytes)
        .and_then(|request| request.verify_with_own_key(|body| PublicKey::from_spki_der(&body.public_key.0)));
    let standing = Standing::unverified(match own_key {
        Ok(_) => "its signature proves that the sender has the key that it names, not who that is".to_owned(),
        Err(error) => format!("it does not prove possession of the key that it names: {error}"),
    });
    let said: Said<EnrolmentRequest> = signed.unverified(standing);
    let body = match &said.body {
        Ok(body) => body,
        Err(error) => return signed.unreadable(Kind::EnrolmentRequest, said.standing, error),
    };
    let device = PublicKey::from_spki_der(&body.public_key.0).and_then(|key| device_id(&key));
    let faults = [
        version_fault(body.version),
        body.check_bounds().err().map(|fault| fault.to_string()),
        body.checked_sealing_keys().err().map(|fault| fault.to_string()),
    ];
    let fields = Fields::default()
        .with("version", body.version)
        .with("recipient", plain(body.recipient))
        .with("nonce", plain(body.nonce))
        .with("role", plain(certificate::role_name(body.role.role())))
        .with("device", device.ok().map(plain))
        .with(
            "sealing_key_suites",
            list(&body.sealing_keys, |key| suite(key.suite)),
        )
        .with("client", client(&body.client))
        .with("token_bytes", hidden(Some(body.token.as_bytes())))
        .with("body_digest", plain(said.digest))
        .faults(faults.into_iter().flatten());
    Explanation::new(
        Kind::EnrolmentRequest,
        length(signed.bytes),
        said.standing.clone(),
        fields,
    )
    .not_checked(&["whether the enrolment token is known and unused"])
}

/// Explains an enrolment response. The certificate in it opens with the device's sealing keys alone.
pub(super) fn explain_response(signed: &Signed<'_>, trust: &Trust) -> Explanation {
    let said: Said<EnrolmentResponse> =
        signed.read(trust, Role::LicenseServer, |body: &EnrolmentResponse| {
            body.server_time
        });
    let body = match &said.body {
        Ok(body) => body,
        Err(error) => return signed.unreadable(Kind::EnrolmentResponse, said.standing, error),
    };
    let shares = list(&body.shares, |share| {
        Fields::default()
            .with("suite", suite(share.suite))
            .with("encapsulated_key_bytes", size(&share.encapsulated.0))
            .with("ciphertext_bytes", size(&share.ciphertext.0))
            .into()
    });
    let fields = Fields::default()
        .with("version", body.version)
        .with("request", plain(body.request))
        .with("answers_the_request", trust.answers(&body.request))
        .with("nonce", plain(body.nonce))
        .with("server_time", body.server_time)
        .with("shares", shares)
        .with("sealed_chain_bytes", size(&body.chain.0))
        .and(signed.signer())
        .faults(version_fault(body.version));
    Explanation::new(
        Kind::EnrolmentResponse,
        length(signed.bytes),
        said.standing.clone(),
        fields,
    )
    .not_checked(&["the certificate in it: it opens with the device's sealing keys alone"])
}
