//! The one packaging exchange of the world.

use keyward_crypto::{ContentKey, Secret, hpke::Suite, kdf::sha256};
use keyward_license::{
    codec::Wire,
    ids::{Digest, Kid, Nonce},
    license::{Flag, KeyType},
    packaging::{
        PackagedTrack, PackagingKeys, PackagingRequest, PackagingResponse, PreparedPackaging, WantedTrack,
    },
    request::ClientInfo,
};

use super::{ROOT, WORLD, draws};
use crate::pki::NOW;

/// What the packager asks for.
pub(in crate::fuzzing) fn request() -> PackagingRequest {
    let track = |label: &str| WantedTrack {
        label: label.into(),
        key_type: KeyType::CencCbc,
    };
    PackagingRequest {
        version: 1,
        recipient: WORLD.request_encryption.identity.digest(),
        nonce: Nonce::new([0x21; 16]),
        response_key: Secret::new([0x22; 32]),
        content_id: "film".into(),
        tracks: vec![track("video"), track("audio")],
        content_header: false,
        crypto_periods: Some(1),
        first_period: Some(7),
        leaves: Some(Flag),
        client: ClientInfo {
            name: "fuzz".into(),
            version: "1".into(),
            platform: "test".into(),
        },
    }
}

/// The body of its answer.
pub(in crate::fuzzing) fn response() -> PackagingResponse {
    let request = request();
    let track = |(at, track): (u8, &WantedTrack)| PackagedTrack {
        label: track.label.clone(),
        kid: Kid::new([at; 16]),
        key_type: track.key_type,
        period: Some(7),
    };
    PackagingResponse {
        version: 1,
        request: Digest::new(sha256(&[&request.encode()])),
        nonce: request.nonce,
        tracks: (1..).zip(&request.tracks).map(track).collect(),
        content_header: None,
        license_url: "https://license.example".into(),
        server_time: NOW,
        roots: Some(vec![ROOT]),
    }
}

/// The keys, sealed to the packager under this encoded body.
pub(in crate::fuzzing) fn prepared(body: Vec<u8>) -> PreparedPackaging {
    let keys = PackagingKeys {
        keys: vec![ContentKey::new([0x61; 16]), ContentKey::new([0x62; 16])],
    };
    let public = WORLD.packager.sealing_key(Suite::XWing).public_key();
    PreparedPackaging::new(body, &keys, (Suite::XWing, public), &mut draws(7)).unwrap()
}
