//! Packaging data, as the server and the packager judge it.

use keyward_crypto::x509::Role;
use keyward_license::{
    codec::{Bytes, Wire},
    license::SealedKey,
    packaging::{PackagingKeys, PackagingRequest, PackagingResponse, key_binding},
    signed::Unverified,
};

use super::{
    Input,
    cbor::read,
    messages::{BODY, assert_genuine, verified},
    world::{LEAF_KID, ROOT, WORLD, packaging},
};
use crate::pki::NOW;

/// A packaging request as the server judges it: a message, or a body that the packager signs.
#[must_use]
pub fn packaging_request(bytes: &[u8]) -> bool {
    let packager = &WORLD.packager.identity;
    let Some(verified) = verified::<PackagingRequest>(bytes, packager, Role::Packager) else {
        return false;
    };
    assert_genuine(bytes, &verified, &packaging::request().encode());
    let request = verified.body();
    let accepted = request.check_bounds().is_ok() && request.check_supported().is_ok();
    if accepted {
        assert!((1..=64).contains(&request.tracks.len()));
        assert!(!request.content_id.is_empty());
    }
    accepted
}

/// A packaging response as the packager reads it: a message, or a body, a sealed part and leaf licenses that the
/// license server signs. The keys open under the one body that they were sealed under.
#[must_use]
pub fn packaging_response(bytes: &[u8]) -> bool {
    let genuine = packaging::response().encode();
    let message = match bytes.split_first() {
        Some((&BODY, parts)) => {
            let mut input = Input(parts);
            let body = input.part();
            let sealed = input.part();
            let _ = (read::<PackagingResponse>(body), read::<SealedKey>(sealed));
            let _ = read::<Vec<Bytes>>(input.rest());
            WORLD.sign::<PackagingResponse>(body, &[sealed, input.rest()])
        }
        _ => bytes.get(1..).unwrap_or_default().to_vec(),
    };
    let Ok(response) = Unverified::<PackagingResponse>::parse(&message).and_then(|parsed| {
        parsed.verify(&WORLD.anchor, Role::LicenseServer, |body| {
            vec![NOW, body.server_time]
        })
    }) else {
        return false;
    };
    assert!(bytes.first() == Some(&BODY) || response.body_bytes() == genuine);
    let sealed = response.attachments().first().unwrap();
    let Ok(sealed) = SealedKey::decode(&sealed.0) else {
        return false;
    };
    let Some(suite) = keyward_crypto::hpke::Suite::from_number(sealed.suite) else {
        return false;
    };
    let info = key_binding(suite, response.body_bytes());
    let pair = WORLD.packager.sealing_key(suite);
    let Ok(opened) = pair.open(&info, &sealed.encapsulated.0, &sealed.ciphertext.0) else {
        return false;
    };
    assert_eq!(
        response.body_bytes(),
        genuine,
        "keys opened under a body that they were not sealed with"
    );
    let request = packaging::request();
    let periods = request.periods();
    let tracks = response.body().check_tracks(&request.tracks, periods);
    let leaves = PackagingResponse::leaves(&response, &WORLD.anchor, NOW);
    for leaf in leaves.iter().flatten() {
        assert_eq!((leaf.root(), leaf.kid()), (ROOT, LEAF_KID));
        assert_eq!(leaf.bytes(), WORLD.leaf());
    }
    PackagingKeys::decode(opened.expose()).is_ok_and(|keys| {
        tracks.is_ok() && leaves.is_ok() && keys.check(response.body().tracks.len()).is_ok()
    })
}
