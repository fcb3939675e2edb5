//! Packaging data is given in eight numbered steps.
//!
//! ```text
//!  1 decode        bytes -> opened request           sealed to us? does it open?
//!  2 authenticate  whose signature, which packager?  enrolled, not revoked, fresh nonce
//!  3 decide        can it be made at all?
//!  4 assign        a key id and key for each track   the registered one, else a fresh one
//!  5 prepare       complete but for the signature    keys sealed under the hash of the rest
//!  6 record        fresh key ids and the answer, in one transaction; may refuse, or lead back to 4
//!  7 sign          what was recorded, by move
//!  8 answer        sealed to the request             kept, so that a repeat gets the same bytes
//! ```
//! The same content id, label and key type get the same key id, whoever asks: step 6 registers what is
//! fresh only if nobody else has registered it since step 4.

use keyward_content::header::{Algorithm, ContentHeader, KeyReference};
use keyward_crypto::{ContentKey, hpke::Suite};
use keyward_license::{
    codec::{Bytes, Wire, grease},
    envelope::SealedResponse,
    packaging::{
        PackagedTrack, PackagingKeys, PackagingRequest, PackagingResponse, PreparedPackaging, WantedTrack,
    },
    signed::{PROTOCOL_VERSION, SignedBody},
    time::Timestamp,
};

use crate::{
    Error, Refusal,
    authenticate::{self, AuthenticatedPackager},
    chance::rng,
    fail_points::{Exchange, Point, Stage, reach},
    operator::Identity,
    server::Inner,
    store::{AssignedTrack, PackagingAnswer, PackagingRecord, Recorded},
};

/// Answers a sealed packaging request with a sealed packaging response.
///
/// # Errors
/// V-001 to V-005, V-040, V-070 to V-073; [`Refusal::Failed`], [`Refusal::Busy`].
pub(crate) async fn package(server: &Inner, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let now = server.clock.now();
    let identity = server.identity();

    // 1. Decode: the envelope is ours and opens.
    let opened = authenticate::open::<PackagingRequest>(&identity, bytes, now)?;

    // 2. Authenticate: signature and chain, then the packager's row. A request that was answered before
    //    ends here, with the same bytes.
    let request = authenticate::verify_packager(&identity, &server.chains, &opened, now)?;
    let mut asked =
        authenticate::authenticate_packager(&server.store, &server.rates.devices, request).await?;
    if let Some(answer) = asked.answered.take() {
        return Ok(again(&asked, answer));
    }

    // 3. Decide (V-073): one crypto period, one header for one key type, a suite in common.
    asked.request.body().check_supported()?;
    let receiver = receiver(server, &asked)?;

    for _ in 0..ATTEMPTS {
        // 4. Assign: a key id and key for each track.
        let tracks = assign(server, &identity, &asked).await?;

        // 5. Prepare: header and body, then the keys under the hash of the body.
        let prepared = prepare(server, &asked, receiver, &tracks, now)?;

        // 6. Record: nothing is signed that does not stand in the database.
        let tracks = tracks.into_iter().map(|(track, _)| track).collect();
        let content_id = asked.request.body().content_id.clone();
        match server
            .store
            .record_packaging(prepared, content_id, tracks)
            .await?
        {
            PackagingRecord::ToSign(recorded) => return answer(server, &identity, &asked, recorded).await,
            PackagingRecord::Answered(answer) => return Ok(again(&asked, answer)),
            PackagingRecord::Overtaken => {}
        }
    }
    Err(Refusal::Busy("other packagers register the same tracks"))
}

/// The bytes that the same request was answered with before.
fn again(asked: &AuthenticatedPackager, answer: Vec<u8>) -> Vec<u8> {
    tracing::info!(packager = %asked.packager, "packaging request answered again");
    answer
}

/// How often a request that others overtake begins again. Each time at least one track was registered by
/// somebody; most requests are overtaken once at most.
const ATTEMPTS: usize = 8;

/// The suite that the keys are sealed with, and the packager's key of it. It comes from the certificate
/// alone: what a request claims cannot weaken it.
fn receiver<'a>(server: &Inner, asked: &'a AuthenticatedPackager) -> Result<(Suite, &'a [u8]), Refusal> {
    asked
        .claims
        .best_sealing_key(&Suite::ALL)
        .filter(|(suite, _)| *suite >= server.config.minimum_suite)
        .ok_or(Refusal::PackagerSuite)
}

type Assigned = Vec<(AssignedTrack, ContentKey)>;

async fn assign(
    server: &Inner,
    identity: &Identity,
    asked: &AuthenticatedPackager,
) -> Result<Assigned, Error> {
    let body = asked.request.body();
    let registered = server
        .store
        .tracks(body.content_id.clone(), body.tracks.clone())
        .await?;
    let mut assigned = Vec::with_capacity(registered.len());
    for (wanted, registered) in body.tracks.iter().zip(registered) {
        assigned.push(match registered {
            Some(key) => {
                let content_key = server.vault.content_key(&server.store, &key).await?;
                (registered_track(wanted, key), content_key)
            }
            None => fresh_track(server, identity, wanted).await?,
        });
    }
    Ok(assigned)
}

fn registered_track(wanted: &WantedTrack, key: crate::store::KeyRow) -> AssignedTrack {
    AssignedTrack {
        label: wanted.label.clone(),
        key,
        fingerprint: None,
    }
}

async fn fresh_track(
    server: &Inner,
    identity: &Identity,
    wanted: &WantedTrack,
) -> Result<(AssignedTrack, ContentKey), Error> {
    let packaging = &server.config.packaging;
    let level = packaging.minimum_security_levels.get(&wanted.label).copied();
    let fresh = server
        .vault
        .fresh(
            &server.store,
            &identity.fingerprint_secret,
            (wanted.key_type, level),
            packaging.new_keys,
        )
        .await?;
    let track = AssignedTrack {
        label: wanted.label.clone(),
        key: fresh.row,
        fingerprint: Some(fresh.fingerprint),
    };
    Ok((track, fresh.key))
}

fn prepare(
    server: &Inner,
    asked: &AuthenticatedPackager,
    receiver: (Suite, &[u8]),
    tracks: &Assigned,
    now: Timestamp,
) -> Result<PackagingAnswer, Error> {
    let request = asked.request.body();
    let license_url = server.config.public_url.clone();
    let body = PackagingResponse {
        version: PROTOCOL_VERSION,
        request: asked.request.digest(),
        nonce: request.nonce,
        tracks: tracks.iter().map(|(track, _)| packaged(track)).collect(),
        content_header: request
            .content_header
            .then(|| content_header(tracks, &license_url))
            .transpose()?,
        license_url,
        server_time: now,
    };
    let keys = PackagingKeys {
        keys: tracks.iter().map(|(_, key)| key.duplicate()).collect(),
    };
    let rng = &mut rng();
    let body = grease(&body.encode(), rng)?;
    Ok(PackagingAnswer {
        packager: asked.packager,
        nonce: request.nonce,
        request: asked.request.digest(),
        server_time: now,
        prepared: PreparedPackaging::new(body, &keys, receiver, rng).map_err(Error::Making)?,
    })
}

fn packaged(track: &AssignedTrack) -> PackagedTrack {
    PackagedTrack {
        label: track.label.clone(),
        kid: track.key.kid,
        key_type: track.key.key_type,
    }
}

fn content_header(tracks: &Assigned, license_url: &str) -> Result<Bytes, Error> {
    let references = tracks.iter().map(|(track, _)| KeyReference {
        algorithm: Algorithm::of_key_type(track.key.key_type),
        ..KeyReference::new(track.key.kid)
    });
    let header = ContentHeader {
        license_url: Some(license_url.to_owned()),
        ..ContentHeader::new(references.collect())
    };
    Ok(Bytes(header.to_object_bytes()?))
}

/// Steps 7 and 8.
async fn answer(
    server: &Inner,
    identity: &Identity,
    asked: &AuthenticatedPackager,
    recorded: Recorded<PackagingAnswer>,
) -> Result<Vec<u8>, Refusal> {
    let PackagingAnswer {
        packager,
        nonce,
        request,
        server_time,
        prepared,
    } = recorded.into_inner();
    reach(Point::Answer(Exchange::Packaging, Stage::Recorded));

    // 7. Sign.
    let response = prepared
        .sign(identity.signer_chain(server_time), &identity.license_server)
        .map_err(Error::Making)?;

    // 8. Answer: sealed to the request, and kept for its repetition.
    let body = asked.request.body();
    let context = PackagingResponse::CONTEXT;
    let sealed = SealedResponse::seal(context, &body.response_key, &request, &response, &mut rng());
    let answer = sealed.map_err(Error::Making)?.encode();
    reach(Point::Answer(Exchange::Packaging, Stage::Signed));
    server
        .store
        .keep_packaging(packager, nonce, answer.clone())
        .await?;
    tracing::info!(%packager, content = ?body.content_id, tracks = body.tracks.len(), "packaging request answered");
    Ok(answer)
}
