//! Rolls: what comes after one is new, and what was made before it goes on as is said of it.

mod authorities;
mod kek;
mod keys;
mod renewal;
mod seeds;
mod served;
mod trust;

use crate::asking;
use crate::common::{Device, KID, Pending, World, ids, pending, read};
use keyward_crypto::{
    ecdsa::SigningKey,
    hpke::Suite,
    x509::{Certificate, Role},
};
use keyward_license::{
    codec::Wire,
    envelope::SealedResponse,
    ids::LicenseId,
    license::License,
    request::LicenseRequest,
    response::LicenseResponse,
    signed::{SignedBody, Unverified},
};
use keyward_server::{
    clock::Clock,
    operator,
    rolls::{Purpose, RolledKey, sign_authority},
    sealing::KeyEncryptionKey,
};

pub(crate) const DAY: u64 = 86_400;

/// A license request that was made once, to be sent as often as one likes.
pub(crate) struct Asked {
    pub(crate) sealed: Vec<u8>,
    pub(crate) pending: Pending,
}

pub(crate) async fn asked(world: &World, device: &mut Device) -> Asked {
    let recipient = world.recipient().await;
    let body: LicenseRequest = device.request(&recipient, &[KID]);
    Asked {
        sealed: device.seal(&recipient, Suite::XWing, &body),
        pending: pending(&body),
    }
}

/// What was answered: the response's signer, the license's signer, the license and its id.
pub(crate) struct Answered {
    pub(crate) signers: [Vec<u8>; 2],
    pub(crate) license: Vec<u8>,
    pub(crate) id: LicenseId,
}

pub(crate) async fn answered(world: &World, asked: &Asked) -> Answered {
    let answer = world.server.issue(&asked.sealed).await.unwrap();
    let response = read(world, &answer, &asked.pending);
    let opened = SealedResponse::decode(&answer).unwrap();
    let (key, digest) = (&asked.pending.response_key, &asked.pending.digest);
    let opened = opened.open(LicenseResponse::CONTEXT, key, digest).unwrap();
    // As a client judges it (V-013): now, and at the time that is stated.
    let verified = Unverified::<LicenseResponse>::parse(opened.expose())
        .unwrap()
        .verify(&world.anchor(), Role::LicenseServer, |body| {
            vec![body.server_time, world.clock.now()]
        })
        .unwrap();
    let license = response.results[0].license.as_ref().unwrap().0.clone();
    let signer = Unverified::<keyward_license::license::LicenseBody>::parse(&license);
    let signed = signer
        .unwrap()
        .verify(&world.anchor(), Role::LicenseServer, |body| vec![body.issued])
        .unwrap();
    Answered {
        signers: [
            verified.signer().unwrap().public_key_digest().to_vec(),
            signed.signer().unwrap().public_key_digest().to_vec(),
        ],
        id: ids(world, &response)[0],
        license,
    }
}

/// Asks once.
pub(crate) async fn ask(world: &World, device: &mut Device) -> Answered {
    let asked = asked(world, device).await;
    answered(world, &asked).await
}

/// A license that is good now.
pub(crate) fn is_good(world: &World, license: &[u8]) -> bool {
    License::verify(license, &world.anchor(), Some(world.clock.now())).is_ok()
}

/// The root's private key, which is where `init` put it.
pub(crate) fn root_key(world: &World) -> SigningKey {
    let hex = std::fs::read_to_string(world.dir().join("kek")).unwrap();
    let kek = KeyEncryptionKey::from_hex(&hex).unwrap();
    operator::read_root_key(&world.dir(), &world.server.operator(), &kek).unwrap()
}

pub(crate) async fn roll_authority(world: &World, purpose: Purpose) -> RolledKey {
    let request = world.server.request_authority(purpose).await.unwrap();
    let (root, now) = (world.profile().root.0, world.clock.now());
    let certificate = sign_authority(&request, &root, &root_key(world), now).unwrap();
    world
        .server
        .install_authority(purpose, &certificate)
        .await
        .unwrap()
}

/// The public key of the authority that issued the certificate of a chain.
pub(crate) fn issuer(chain: &[Vec<u8>]) -> [u8; 32] {
    Certificate::parse(&chain[1]).unwrap().public_key_digest()
}
