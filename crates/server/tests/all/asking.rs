//! A packager written by hand on `keyward-license`, as the specification says.

use keyward_crypto::{Secret, hpke::Suite, kdf::sha256, x509::Role};
use keyward_license::{
    codec::Wire,
    envelope::SealedResponse,
    error_code::Problem,
    ids::{Digest, Kid, Nonce},
    license::{KeyType, License, SealedKey},
    packaging::{PackagingKeys, PackagingRequest, PackagingResponse, WantedTrack, key_binding},
    signed::{self, SignedBody, Unverified},
};

use crate::common::{Device, Recipient, World, client_info, seal};

/// What a packager learns.
pub(crate) struct Packaged {
    pub(crate) body: PackagingResponse,
    pub(crate) keys: Vec<[u8; 16]>,
    pub(crate) suite: u64,
    pub(crate) leaves: Vec<License>,
}

impl Packaged {
    pub(crate) fn kids(&self) -> Vec<Kid> {
        self.body.tracks.iter().map(|track| track.kid).collect()
    }

    pub(crate) fn pairs(&self) -> Vec<(Kid, [u8; 16])> {
        self.kids().into_iter().zip(self.keys.iter().copied()).collect()
    }
}

pub(crate) fn track(label: &str, key_type: KeyType) -> WantedTrack {
    WantedTrack {
        label: label.into(),
        key_type,
    }
}

pub(crate) fn media() -> Vec<WantedTrack> {
    vec![track("video", KeyType::CencCtr), track("audio", KeyType::CencCtr)]
}

/// A request; the caller changes what the test is about.
pub(crate) fn request(
    packager: &mut Device,
    recipient: &Recipient,
    content_id: &str,
    tracks: Vec<WantedTrack>,
) -> PackagingRequest {
    PackagingRequest {
        version: 1,
        recipient: recipient.digest,
        nonce: Nonce::random(&mut packager.rng),
        response_key: Secret::random(&mut packager.rng),
        content_id: content_id.into(),
        tracks,
        content_header: true,
        crypto_periods: None,
        first_period: None,
        leaves: None,
        client: client_info(),
    }
}

pub(crate) fn sealed(packager: &mut Device, recipient: &Recipient, body: &PackagingRequest) -> Vec<u8> {
    let message =
        signed::sign::<PackagingRequest>(&body.encode(), &[], &packager.chain, &packager.signing).unwrap();
    seal::<PackagingRequest>(recipient, Suite::XWing, &message, &mut packager.rng)
}

pub(crate) async fn send(
    world: &World,
    packager: &mut Device,
    body: &PackagingRequest,
) -> Result<Vec<u8>, Problem> {
    let recipient = world.recipient().await;
    let sealed = sealed(packager, &recipient, body);
    world.server.package(&sealed).await
}

/// Opens an answer by hand, as the specification says.
pub(crate) fn read(world: &World, packager: &Device, body: &PackagingRequest, answer: &[u8]) -> Packaged {
    let digest = Digest::new(sha256(&[&body.encode()]));
    let opened = SealedResponse::decode(answer)
        .unwrap()
        .open(PackagingResponse::CONTEXT, &body.response_key, &digest)
        .unwrap();
    let verified = Unverified::<PackagingResponse>::parse(opened.expose())
        .unwrap()
        .verify(&world.anchor(), Role::LicenseServer, |body| {
            vec![body.server_time]
        })
        .unwrap();
    assert_eq!(
        (verified.body().request, verified.body().nonce),
        (digest, body.nonce)
    );
    let sealed = SealedKey::decode(&verified.attachments().first().unwrap().0).unwrap();
    let suite = Suite::from_number(sealed.suite).unwrap();
    let pair = packager
        .sealing
        .iter()
        .find(|pair| pair.suite() == suite)
        .unwrap();
    let info = key_binding(suite, verified.body_bytes());
    let clear = pair
        .open(&info, &sealed.encapsulated.0, &sealed.ciphertext.0)
        .unwrap();
    let keys = PackagingKeys::decode(clear.expose()).unwrap();
    assert!(
        pair.open(b"other", &sealed.encapsulated.0, &sealed.ciphertext.0)
            .is_err(),
        "the keys are bound to the body"
    );
    verified
        .body()
        .check_tracks(&body.tracks, body.periods())
        .unwrap();
    let server_time = verified.body().server_time;
    let leaves = PackagingResponse::leaves(&verified, &world.anchor(), server_time).unwrap();
    let leaves = leaves.into_iter().map(|leaf| {
        let license = License::verify(leaf.bytes(), &world.anchor(), Some(server_time)).unwrap();
        assert_eq!(license.body().leaf_of(), Some(leaf.root()));
        license
    });
    Packaged {
        leaves: leaves.collect(),
        keys: keys.keys.iter().map(|key| *key.expose()).collect(),
        suite: sealed.suite,
        body: verified.into_body(),
    }
}

pub(crate) async fn ask(
    world: &World,
    packager: &mut Device,
    body: &PackagingRequest,
) -> Result<Packaged, Problem> {
    let answer = send(world, packager, body).await?;
    Ok(read(world, packager, body, &answer))
}
