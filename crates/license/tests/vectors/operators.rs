//! Enrolment, and what an operator publishes.

use keyward_crypto::{
    CryptoError, SecretBytes,
    ecdsa::PublicKey,
    hpke::Suite,
    kdf::sha256,
    x509::{Certificate, Role},
};
use keyward_license::{
    certificate::{Claims, certificate_digest},
    codec::Wire,
    discovery::Discovery,
    enrolment::{EnrolmentRequest, EnrolmentResponse, SHARE_CONTEXT, open_chain},
    envelope::binding,
    error_code::Problem,
    ids::Digest,
    operator_profile::OperatorProfile,
    signed::{MessageError, SignedBody, Unverified},
};
use keyward_testkit::vectors::Vector;

use super::{
    Answer, Refused, anchor, answers_request, form, input, now, open_request, open_response, refused, rule,
    sealing_key, signer_rule,
};

pub(super) fn enrolment_request(vector: &Vector, message: &[u8]) -> Answer {
    let opened = open_request(vector, message, EnrolmentRequest::CONTEXT)?;
    let parsed = Unverified::<EnrolmentRequest>::parse(&opened).map_err(rule)?;
    // V-050
    let verified = parsed.verify_with_own_key(|body| PublicKey::from_spki_der(&body.public_key.0));
    let verified = verified.map_err(|error| match error {
        MessageError::BadSignature | MessageError::Cose(CryptoError::MalformedKey(_)) => {
            Refused("V-050", error.to_string())
        }
        other => rule(other),
    })?;
    let body = verified.body();
    // V-052
    let keys = body
        .checked_sealing_keys()
        .map_err(|error| Refused("V-052", error.to_string()))?;
    let suites: Vec<_> = keys.iter().map(|(suite, _)| suite.number().to_string()).collect();
    Ok(vec![
        ("public-key", hex::encode(&body.public_key.0)),
        ("token", body.token.clone()),
        ("role", body.role.number().to_string()),
        ("suites", suites.join(" ")),
    ])
}

pub(super) fn enrolment_response(vector: &Vector, message: &[u8]) -> Answer {
    let opened = open_response(vector, message, EnrolmentResponse::CONTEXT)?;
    let parsed = Unverified::<EnrolmentResponse>::parse(&opened).map_err(rule)?;
    let verified = parsed
        .verify(&anchor(vector), Role::LicenseServer, |_| vec![now(vector)])
        .map_err(rule)?;
    let body = verified.body();
    answers_request(vector, body)?;
    let leaf = read_certificate(vector, body).ok_or(Refused("V-053", String::new()))?;
    Ok(vec![("leaf", hex::encode(leaf.der()))])
}

/// V-053
fn read_certificate(vector: &Vector, body: &EnrolmentResponse) -> Option<Certificate> {
    let own: Vec<_> = Suite::ALL
        .into_iter()
        .map(|suite| sealing_key(vector, "device", suite))
        .collect();
    let opened = body.shares.iter().map(|share| {
        let suite = Suite::from_number(share.suite)?;
        let pair = own.iter().find(|pair| pair.suite() == suite)?;
        pair.open(
            &binding(SHARE_CONTEXT, suite, &body.request),
            &share.encapsulated.0,
            &share.ciphertext.0,
        )
        .ok()
    });
    let shares = opened.collect::<Option<Vec<SecretBytes>>>()?;
    let chain = (shares.len() == own.len())
        .then(|| open_chain(&body.chain, &shares, &body.request))?
        .ok()?;
    let leaf = anchor(vector).verify(&chain, Role::Device, now(vector).0).ok()?;
    let named = Claims::of(&leaf).ok()?.sealing_keys?;
    let names_own = leaf.public_key().to_spki_der().ok()? == input(vector, "device-public-key")
        && named.len() == own.len()
        && named
            .iter()
            .zip(&own)
            .all(|(named, own)| named.public_key.0 == own.public_key());
    names_own.then_some(leaf)
}

pub(super) fn discovery(vector: &Vector, message: &[u8]) -> Answer {
    let anchor = anchor(vector);
    let parsed = Unverified::<Discovery>::parse(message).map_err(rule)?;
    // V-060
    let verified = parsed
        .verify(&anchor, Role::LicenseServer, |_| vec![now(vector)])
        .map_err(|error| signer_rule("V-060", error))?;
    let body = verified.body();
    if *body.operator.as_bytes() != anchor.operator() {
        return refused("V-060");
    }
    // V-061
    if body.issued > now(vector).plus(300) || now(vector) >= body.expires {
        return refused("V-061");
    }
    // V-062
    let chain: Vec<_> = body.request_encryption.iter().map(|der| der.0.clone()).collect();
    let recipient = anchor.verify(&chain, Role::RequestEncryption, now(vector).0);
    let recipient = recipient.map_err(|_| Refused("V-062", String::new()))?;
    let claims = Claims::of(&recipient).map_err(|_| Refused("V-062", String::new()))?;
    assert_eq!(
        claims.best_sealing_key(&Suite::ALL).map(|(suite, _)| suite),
        Some(Suite::XWing)
    );
    Ok(vec![
        ("license-path", body.license_path.clone()),
        ("enrolment-path", body.enrolment_path.clone()),
        ("packaging-path", body.packaging_path.clone().unwrap_or_default()),
        (
            "acknowledgement-path",
            body.acknowledgement_path.clone().unwrap_or_default(),
        ),
        ("certificate-digest", certificate_digest(&recipient).to_string()),
    ])
}

pub(super) fn operator_profile(message: &[u8]) -> Answer {
    let profile = OperatorProfile::decode(message).map_err(form)?;
    assert_eq!(profile.operator(), Digest::new(sha256(&[&profile.root.0])));
    Ok(vec![
        ("operator", profile.operator().to_string()),
        ("name", profile.name),
        ("license-servers", profile.license_servers.join(" ")),
    ])
}

pub(super) fn problem(message: &[u8]) -> Answer {
    let problem = Problem::decode(message).map_err(form)?;
    Ok(vec![
        ("code", problem.code.to_string()),
        ("name", problem.name),
        ("detail", problem.detail),
    ])
}
