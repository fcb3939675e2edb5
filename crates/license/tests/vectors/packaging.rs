//! Packaging data.

use keyward_crypto::{hpke::Suite, kdf::sha256, x509::Role};
use keyward_license::{
    certificate::device_id,
    codec::{DecodeError, Wire},
    ids::Kid,
    license::{KeyType, SealedKey},
    packaging::{PackagingKeys, PackagingRequest, PackagingResponse, Periods, WantedTrack, key_binding},
    signed::{SignedBody, Unverified},
};
use keyward_testkit::vectors::Vector;

use super::{
    Answer, Refused, anchor, answers_request, form, now, open_response, rule, sealing_key, signed_request,
    signer_rule,
};

pub(super) fn packaging_request(vector: &Vector, message: &[u8]) -> Answer {
    // V-070
    let verified = signed_request::<PackagingRequest>(vector, message, ("V-070", Role::Packager))?;
    let body = verified.body();
    body.check_bounds().map_err(form)?;
    // V-073
    body.check_supported()
        .map_err(|error| Refused("V-073", error.to_string()))?;
    let tracks = body.tracks.iter();
    let tracks: Vec<_> = tracks
        .map(|track| format!("{}:{}", track.label, track.key_type.number()))
        .collect();
    let mut learned = vec![
        (
            "packager-id",
            device_id(verified.signer().unwrap().public_key())
                .unwrap()
                .to_string(),
        ),
        ("nonce", body.nonce.to_string()),
        ("content-id", body.content_id.clone()),
        ("tracks", tracks.join(" ")),
        ("content-header", body.content_header.to_string()),
        ("leaves", body.leaves.is_some().to_string()),
    ];
    let periods = body.periods();
    learned.extend(periods.map(|periods| ("periods", format!("{}:{}", periods.first, periods.count))));
    Ok(learned)
}

pub(super) fn packaging_response(vector: &Vector, message: &[u8]) -> Answer {
    let opened = open_response(vector, message, PackagingResponse::CONTEXT)?;
    let parsed = Unverified::<PackagingResponse>::parse(&opened).map_err(rule)?;
    // V-074
    let verified = parsed
        .verify(&anchor(vector), Role::LicenseServer, |body| {
            vec![now(vector), body.server_time]
        })
        .map_err(|error| signer_rule("V-074", error))?;
    let body = verified.body();
    answers_request(vector, body)?;
    // V-075
    let asked: Vec<_> = vector.inputs["request-tracks"]
        .split(' ')
        .map(|track| {
            let (label, number) = track.split_once(':').unwrap();
            WantedTrack {
                label: label.to_owned(),
                key_type: KeyType::from_number(number.parse().unwrap()).unwrap(),
            }
        })
        .collect();
    let tracks = |error: DecodeError| Refused("V-075", error.to_string());
    let periods = vector.inputs.get("request-periods").map(|text| {
        let (first, count) = text.split_once(':').unwrap();
        Periods {
            first: first.parse().unwrap(),
            count: count.parse().unwrap(),
        }
    });
    body.check_tracks(&asked, periods).map_err(tracks)?;
    // V-076
    let sealed = SealedKey::decode(&verified.attachments()[0].0).map_err(form)?;
    let suite = Suite::from_number(sealed.suite).unwrap();
    let clear = sealing_key(vector, "packager", suite)
        .open(
            &key_binding(suite, verified.body_bytes()),
            &sealed.encapsulated.0,
            &sealed.ciphertext.0,
        )
        .map_err(|_| Refused("V-076", String::new()))?;
    let keys = PackagingKeys::decode(clear.expose()).map_err(form)?;
    keys.check(body.tracks.len())
        .map_err(|error| Refused("V-076", error.to_string()))?;
    // V-078
    let leaves = PackagingResponse::leaves(&verified, &anchor(vector), now(vector))
        .map_err(|error| Refused("V-078", error.to_string()))?;
    let learned: Vec<_> = body
        .tracks
        .iter()
        .zip(&keys.keys)
        .map(|(track, key)| format!("{}:{}:{}", track.label, track.kid, hex::encode(key.expose())))
        .collect();
    let roots: Vec<_> = body.roots.iter().flatten().map(Kid::to_string).collect();
    let leaves: Vec<_> = leaves
        .iter()
        .map(|leaf| hex::encode(sha256(&[leaf.bytes()])))
        .collect();
    Ok(vec![
        ("tracks", learned.join(" ")),
        ("license-url", body.license_url.clone()),
        (
            "content-header",
            hex::encode(body.content_header.as_ref().map_or(&[][..], |header| &header.0)),
        ),
        ("roots", roots.join(" ")),
        ("leaves", leaves.join(" ")),
    ])
}
