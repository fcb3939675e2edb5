//! Packaging requests and responses, opened.

use keyward_crypto::x509::Role;
use keyward_license::{
    codec::{Bytes, Wire},
    license::{Flag, KeyType, SealedKey},
    packaging::{PackagingRequest, PackagingResponse},
};

use super::{
    content_header, embedded,
    explanation::{Explanation, Fields, Kind, foreign, length, list, plain},
    license::{key_type, sealed_key},
    message::{Said, Signed, version_fault},
    request::client,
    trust::Trust,
};

/// Explains a packaging request.
pub(super) fn explain_request(signed: &Signed<'_>, trust: &Trust) -> Explanation {
    let said: Said<PackagingRequest> = signed.read(trust, Role::Packager, |_| trust.now);
    let body = match &said.body {
        Ok(body) => body,
        Err(error) => return signed.unreadable(Kind::PackagingRequest, said.standing, error),
    };
    let faults = [
        version_fault(body.version),
        body.check_bounds().err().map(|fault| fault.to_string()),
        body.check_supported().err().map(|fault| fault.to_string()),
    ];
    let fields = Fields::default()
        .with("version", body.version)
        .with("recipient", plain(body.recipient))
        .with("nonce", plain(body.nonce))
        .with("content_id", foreign(&body.content_id))
        .with(
            "tracks",
            list(&body.tracks, |wanted| {
                track(&wanted.label, wanted.key_type).into()
            }),
        )
        .with("content_header", body.content_header)
        .with("crypto_periods", body.crypto_periods)
        .with("first_period", body.first_period)
        .with("leaves", body.leaves.map(|Flag| true))
        .with("client", client(&body.client))
        .with("body_digest", plain(said.digest))
        .and(signed.signer())
        .faults(faults.into_iter().flatten());
    Explanation::new(
        Kind::PackagingRequest,
        length(signed.bytes),
        said.standing.clone(),
        fields,
    )
    .not_checked(&["whether the packager is enrolled and not revoked"])
}

/// Explains a packaging response. The keys in it open with the packager's sealing key alone.
pub(super) fn explain_response(signed: &Signed<'_>, trust: &Trust) -> Explanation {
    let said: Said<PackagingResponse> =
        signed.read(trust, Role::LicenseServer, |body: &PackagingResponse| {
            body.server_time
        });
    let body = match &said.body {
        Ok(body) => body,
        Err(error) => return signed.unreadable(Kind::PackagingResponse, said.standing, error),
    };
    let tracks = list(&body.tracks, |packaged| {
        track(&packaged.label, packaged.key_type)
            .with("kid", plain(packaged.kid))
            .with("period", packaged.period)
            .into()
    });
    let header = body
        .content_header
        .as_ref()
        .map(|object| content_header::object_fields(&object.0));
    let sealed = said
        .attachments
        .first()
        .and_then(|sealed| SealedKey::decode(&sealed.0).ok());
    // Each is a license of its own, which says who vouches for it.
    let leaves: Vec<Vec<u8>> = said
        .attachments
        .get(1)
        .and_then(|leaves| Vec::<Bytes>::decode(&leaves.0).ok())
        .unwrap_or_default()
        .into_iter()
        .map(|leaf| leaf.0)
        .collect();
    let unsealed = sealed
        .is_none()
        .then(|| "the response has no readable sealed keys".to_owned());
    let fields = Fields::default()
        .with("version", body.version)
        .with("request", plain(body.request))
        .with("answers_the_request", trust.answers(&body.request))
        .with("nonce", plain(body.nonce))
        .with("server_time", body.server_time)
        .with("tracks", tracks)
        .with("license_url", foreign(&body.license_url))
        .with("content_header", header)
        .with("roots", list(body.roots.iter().flatten(), plain))
        .with("leaf_licenses", embedded::licenses(&leaves))
        .with("sealed_keys", sealed.map(|sealed| sealed_key(&sealed)))
        .and(signed.signer())
        .faults([version_fault(body.version), unsealed].into_iter().flatten());
    Explanation::new(
        Kind::PackagingResponse,
        length(signed.bytes),
        said.standing.clone(),
        fields,
    )
    .not_checked(&[
        "that the sealed keys open for the packager",
        "whether each leaf license is one of the operator's",
    ])
}

fn track(label: &str, serves: KeyType) -> Fields {
    Fields::default()
        .with("label", foreign(label))
        .with("key_type", key_type(serves))
}
