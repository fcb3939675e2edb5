//! Packaging data is given in eight numbered steps.
//!
//! ```text
//!  1 decode        bytes -> opened request           sealed to us? does it open?
//!  2 authenticate  whose signature, which packager?  enrolled, not revoked, fresh nonce
//!  3 decide        can it be made at all?
//!  4 assign        a key id and key for each track   of each crypto period: the registered one, else a fresh one
//!  5 prepare       complete but for the signatures   keys sealed under the hash of the rest, leaves under their roots
//!  6 record        fresh key ids, leaves and answer, in one transaction; may refuse, or lead back to 4
//!  7 sign          what was recorded, by move
//!  8 answer        sealed to the request             kept, so that a repeat gets the same bytes
//! ```
//! The same content id, crypto period, label and key type get the same key id, whoever asks: step 6 registers what is
//! fresh only if nobody else has registered it since step 4. Leaves are made for each answer, under every root that the
//! content is under; what is blacked out has none, and step 6 asks once more.

use keyward_content::header::{Algorithm, ContentHeader, KeyReference};
use keyward_crypto::{ContentKey, hpke::Suite};
use keyward_license::{
    codec::{Bytes, Wire, grease},
    envelope::SealedResponse,
    ids::Kid,
    packaging::{
        MAX_LEAVES, MAX_ROOTS, PackagedTrack, PackagingKeys, PackagingRequest, PackagingResponse,
        PreparedPackaging, WantedTrack,
    },
    signed::{PROTOCOL_VERSION, SignedBody},
    time::Timestamp,
};

use crate::{
    Error, Refusal,
    authenticate::{self, AuthenticatedPackager},
    chance::rng,
    fail_points::{Exchange, Point, Stage, reach},
    metrics::ChainLicense,
    operator::Identity,
    revocation::{self, Trust},
    roots::leaf::{self, RootKeys},
    server::Inner,
    store::{
        AssignedTrack, PackagedContent, PackagingAnswer, PackagingRecord, Purpose, Recorded,
        roots::{Holdings, PackagedLeaf, RootRow, TrackRow},
    },
};

/// Answers a sealed packaging request with a sealed packaging response.
///
/// # Errors
/// V-001 to V-005, V-040, V-070 to V-073; [`Refusal::Failed`], [`Refusal::Busy`].
pub(crate) async fn package(server: &Inner, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let now = server.clock.now();
    revocation::judged(server, now, |trust| async move {
        package_by(server, &trust, bytes, now).await
    })
    .await
}

/// Answers by the revocation lists of one time.
async fn package_by(server: &Inner, trust: &Trust, bytes: &[u8], now: Timestamp) -> Result<Vec<u8>, Refusal> {
    let identity = server.identity();

    // 1. Decode: the envelope is ours and opens.
    let opened = authenticate::open::<PackagingRequest>(&identity, bytes, now)?;

    // 2. Authenticate: signature and chain, then the packager's row. A request that was answered before
    //    ends here, with the same bytes.
    let request = authenticate::verify_packager(trust, &opened, now)?;
    let mut asked =
        authenticate::authenticate_packager((&server.store, trust), &server.rates.devices, request).await?;
    if let Some(answer) = asked.answered.take() {
        return Ok(again(&asked, answer));
    }

    // 3. Decide (V-073): no header for crypto periods, one header for one key type, a suite in common.
    asked.request.body().check_supported()?;
    let receiver = receiver(server, &asked)?;

    // What is sealed here is stored before the key-encryption key changes.
    let _sealing = server.vault.sealing().await;
    for _ in 0..ATTEMPTS {
        // 4. Assign: a key id and key for each track.
        let tracks = assign(server, &identity, &asked).await?;

        // 5. Prepare: header and body, then the keys under the hash of the body, and the leaves.
        let content_id = asked.request.body().content_id.clone();
        let kids: Vec<Kid> = tracks.iter().map(|(track, _)| track.key.kid).collect();
        let holdings = server.store.holdings(&content_id, &kids).await?;
        let under = Under::of(&asked, &tracks, &holdings)?;
        let leaves = leaves(server, &identity, (&under, &tracks), now).await?;
        let prepared = prepare(server, &asked, receiver, (&tracks, &under, leaves), now)?;

        // 6. Record: nothing is signed that does not stand in the database.
        let content = PackagedContent {
            content_id,
            tracks: tracks.into_iter().map(|(track, _)| track).collect(),
            holdings,
            generation: trust.generation,
        };
        match server.store.record_packaging(prepared, content).await? {
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
    let wanted = wanted(body);
    let registered = server
        .store
        .tracks(body.content_id.clone(), wanted.clone())
        .await?;
    let mut assigned = Vec::with_capacity(registered.len());
    for ((period, track), registered) in wanted.into_iter().zip(registered) {
        assigned.push(match registered {
            Some(key) => {
                let content_key = server.vault.content_key(&server.store, &key).await?;
                let label = track.label;
                let registered = AssignedTrack {
                    label,
                    period,
                    key,
                    fingerprint: None,
                };
                (registered, content_key)
            }
            None => fresh_track(server, identity, (period, track)).await?,
        });
    }
    Ok(assigned)
}

/// The tracks of each crypto period, period by period.
fn wanted(request: &PackagingRequest) -> Vec<(Option<u64>, WantedTrack)> {
    let of = |period: Option<u64>| request.tracks.iter().map(move |track| (period, track.clone()));
    match request.periods() {
        None => of(None).collect(),
        Some(periods) => periods.indices().flat_map(|period| of(Some(period))).collect(),
    }
}

async fn fresh_track(
    server: &Inner,
    identity: &Identity,
    (period, wanted): (Option<u64>, WantedTrack),
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
        label: wanted.label,
        period,
        key: fresh.row,
        fingerprint: Some(fresh.fingerprint),
    };
    Ok((track, fresh.key))
}

/// The roots of the content, and which keys have a leaf under which of them.
struct Under<'a> {
    /// In the order of their making.
    roots: Vec<&'a RootRow>,
    /// The place of a track, and a root.
    leaves: Vec<(usize, &'a RootRow)>,
}

impl<'a> Under<'a> {
    fn of(asked: &AuthenticatedPackager, tracks: &Assigned, holdings: &'a Holdings) -> Result<Self, Refusal> {
        let body = asked.request.body();
        let mut leaves = Vec::new();
        for (place, (track, _)) in tracks.iter().enumerate() {
            let row = TrackRow {
                content_id: body.content_id.clone(),
                label: track.label.clone(),
                period: track.period,
            };
            let under = holdings.roots_of(&track.key, Some(&row));
            leaves.extend(under.into_iter().map(|root| (place, root)));
        }
        let of_content = holdings.roots_of_content(&body.content_id, body.first_period);
        let is_one = |root: &&RootRow| {
            let held = leaves.iter().map(|(_, held)| held);
            let mut all = of_content.iter().chain(held);
            all.any(|one| one.kid == root.kid)
        };
        let roots: Vec<&RootRow> = holdings.roots.iter().filter(is_one).collect();
        if roots.len() > MAX_ROOTS {
            return Err(Refusal::TooManyRoots(MAX_ROOTS));
        }
        if body.leaves.is_none() {
            leaves.clear();
        }
        if leaves.len() > MAX_LEAVES {
            return Err(Refusal::TooManyLeaves(MAX_LEAVES));
        }
        Ok(Self { roots, leaves })
    }
}

/// A leaf license for each key and root, complete but for its signature.
async fn leaves(
    server: &Inner,
    identity: &Identity,
    (under, tracks): (&Under<'_>, &Assigned),
    now: Timestamp,
) -> Result<Vec<PackagedLeaf>, Error> {
    let mut keys = RootKeys::default();
    let mut leaves = Vec::with_capacity(under.leaves.len());
    for (place, root) in &under.leaves {
        let Some((track, key)) = tracks.get(*place) else {
            continue;
        };
        let body = leaf::body(&track.key, root.kid, now);
        let root_key = keys.open(&server.vault, &root.key())?;
        leaves.push(PackagedLeaf {
            id: body.id,
            root: root.kid,
            kid: track.key.kid,
            license: leaf::prepare(identity, &body, key, root_key)?,
        });
        // There may be many: others get their turn between.
        tokio::task::yield_now().await;
    }
    Ok(leaves)
}

fn prepare(
    server: &Inner,
    asked: &AuthenticatedPackager,
    receiver: (Suite, &[u8]),
    (tracks, under, leaves): (&Assigned, &Under<'_>, Vec<PackagedLeaf>),
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
        roots: (!under.roots.is_empty()).then(|| under.roots.iter().map(|root| root.kid).collect()),
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
        leaves,
    })
}

fn packaged(track: &AssignedTrack) -> PackagedTrack {
    PackagedTrack {
        label: track.label.clone(),
        kid: track.key.kid,
        key_type: track.key.key_type,
        period: track.period,
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
        leaves,
    } = recorded.into_inner();
    reach(Point::Answer(Exchange::Packaging, Stage::Recorded));

    // 7. Sign: the leaves, then the response that carries them.
    let signer = identity.signer_at(Purpose::LicenseServer, server_time)?;
    let (chain, key) = (&signer.chain[..], &*signer.key);
    let mut signed = Vec::with_capacity(leaves.len());
    for leaf in leaves {
        signed.push(leaf.license.sign(chain, key).map_err(Error::Making)?);
        tokio::task::yield_now().await;
    }
    let made = u64::try_from(signed.len()).unwrap_or(u64::MAX);
    let response = prepared.sign(signed, chain, key).map_err(Error::Making)?;

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
    server.metrics.chain_license(ChainLicense::PackagedLeaf, made);
    let (content, tracks) = (&body.content_id, body.tracks.len());
    tracing::info!(%packager, ?content, tracks, leaves = made, "packaging request answered");
    Ok(answer)
}
