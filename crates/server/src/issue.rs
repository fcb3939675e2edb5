//! A license is issued in eight numbered steps.
//!
//! ```text
//!  1 decode        bytes -> opened request           sealed to us? does it open?
//!  2 authenticate  whose signature, which device?    enrolled, not revoked, fresh nonce, store not rolled back;
//!                                                    who is revoked gets a denial for each key id
//!  3 entitle       may the account have the key id?  a handler says so: rows, a verified token, a webhook
//!  4 decide        policy -> terms                   nothing that the device could not use
//!  5 prepare       complete but for the signatures   keys sealed under the hash of the terms
//!  6 record        committed to the database         checks 2 and 3 once more; may refuse
//!  7 sign          what was recorded, by move        licenses, then the response
//!  8 answer        sealed to the request             kept for a while, in case the request comes again
//! ```
//! The types keep the order: signing takes a [`Recorded`], which only the database makes, out of what
//! [`prepare`] returns. A crash after step 6 loses nothing: the same request is signed from what was
//! recorded and gets the same licenses, for as long as the signer's certificate of then lasts. Key ids fail
//! one by one, with a denial each; everything else fails the request.
//!
//! A key id that is under a root which the account has gets a leaf license. To a client that takes more than it asked
//! for, the root's license goes along, and other leaves of the root where the root says so.

mod along;
mod decide;
mod revoked;

use core::time::Duration;
use std::sync::OnceLock;

use keyward_crypto::Secret;
use keyward_license::{
    codec::{Bytes, Wire, grease},
    envelope::SealedResponse,
    ids::{DeviceId, Digest, Kid, TransactionId},
    license::{LicenseBody, LicenseKeys, LicenseKind, PreparedLicense},
    request::LicenseRequest,
    response::{KeyResult, LicenseResponse},
    revocation::RevocationList,
    signed::{self, MessageError, PROTOCOL_VERSION, SignedBody},
    time::Timestamp,
};

use crate::{
    Error, Refusal,
    authenticate::{self, Authenticated},
    chance::rng,
    entitle::{self, Rights},
    fail_points::{Exchange, Point, Stage, reach},
    key_exchange,
    metrics::ChainLicense,
    operator::Identity,
    revocation::{self, Trust},
    roots::{
        leaf::{self, RootKeys},
        renewal,
    },
    server::Inner,
    store::{PreparedAnswer, PreparedOutcome, PreparedResult, Purpose, Recorded, Recording},
    test_mode::{self, TestRequest},
};
use decide::{Decided, Decisions, Sealing, basis, decide_all};

/// An answer, and what the log says of it.
pub(crate) struct Issued {
    /// The sealed license response.
    pub(crate) answer: Vec<u8>,
    pub(crate) told: Told,
}

/// What a license request came to.
pub(crate) struct Outcome<E> {
    pub(crate) issued: Result<Issued, E>,
    /// For how long whoever answers keeps it back: what a request to a test operator asks for, and nothing of any other.
    pub(crate) latency: Duration,
}

/// Who was answered, and what became of each key id.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) device: DeviceId,
    pub(crate) results: String,
    /// Of each key id its license, or the number of its denial. None of them if the answer was given before.
    pub(crate) keys: Vec<KeyTold>,
}

/// A key id, and the number of its denial if it got no license.
pub(crate) type KeyTold = (Kid, Option<u64>);

impl Told {
    fn of(device: DeviceId, keys: Vec<KeyTold>) -> Self {
        let results: Vec<_> = keys
            .iter()
            .map(|(kid, denied)| match denied {
                None => format!("{kid}:license"),
                Some(code) => format!("{kid}:{code}"),
            })
            .collect();
        Self {
            device,
            results: results.join(" "),
            keys,
        }
    }

    fn again(device: DeviceId) -> Self {
        Self {
            device,
            results: "again".to_owned(),
            keys: Vec::new(),
        }
    }
}

/// Answers a sealed license request with a sealed license response, or refuses it: V-001 to V-005, V-040 to V-044,
/// [`Refusal::Failed`], [`Refusal::Busy`], [`Refusal::TestError`]. The `query` that came with it is for a test operator.
pub(crate) async fn issue(server: &Inner, bytes: &[u8], query: Option<&str>) -> Outcome<Refusal> {
    let now = server.clock.now();
    let latency = OnceLock::new();
    let asked = Asked {
        bytes,
        query,
        latency: &latency,
    };
    let issued = revocation::judged(server, now, |trust| async move {
        issue_by(server, &trust, asked, now).await
    });
    Outcome {
        issued: issued.await,
        latency: latency.into_inner().unwrap_or_default(),
    }
}

/// A license request as it came.
#[derive(Clone, Copy)]
struct Asked<'a> {
    bytes: &'a [u8],
    query: Option<&'a str>,
    /// For how long the answer is to be kept back, once that is known.
    latency: &'a OnceLock<Duration>,
}

/// Answers by the revocation lists of one time.
async fn issue_by(
    server: &Inner,
    trust: &Trust,
    Asked {
        bytes,
        query,
        latency,
    }: Asked<'_>,
    now: Timestamp,
) -> Result<Issued, Refusal> {
    let identity = server.identity();
    let working = server.store.at_work();

    // 1. Decode: the envelope is ours and opens.
    let opened = authenticate::open::<LicenseRequest>(&identity, bytes, now)?;

    // 2. Authenticate: signature and chain, then the device's row. A request that was answered before
    //    ends here, with the same answer.
    let signed = authenticate::verify(&identity, trust, &opened, now)?;
    let kids = entitle::kids(signed.request.body())?;
    let by = (&server.store, trust);
    let mut asked = authenticate::authenticate(by, &server.rates.devices, signed, kids, now).await?;
    drop(working);
    if asked.revoked {
        return revoked::answer(server, (&identity, trust), &asked, now).await;
    }
    if asked.answered {
        return answer_again(server, (&identity, trust), &asked).await;
    }

    // 3. Entitle: each key id by the handlers that this operator asks. A test operator gives what the request asks for.
    let test = test_mode::wishes(&identity, query, asked.request.body());
    let now = match &test {
        Some(test) => {
            latency.get_or_init(|| test.answer.latency.unwrap_or_default());
            test.begin(now)?
        }
        None => now,
    };
    let Rights { keys, custom_data } = match &test {
        Some(test) if asked.request.body().license_requested => {
            test_mode::rights(server, &identity, &mut asked, test, now).await?
        }
        _ => entitle::entitle(server, &mut asked, now).await?,
    };
    let working = server.store.at_work();
    let keys = key_exchange::license::find_keys(server, &asked, keys).await?;

    // 4. Decide: terms from the policy, tried on the device; then what goes along.
    let mut decisions = decide_all(server, &asked, keys, now)?;
    along::add(server, &asked, &mut decisions, now).await?;

    // 5. Prepare: keys sealed to the device or under a root's, bound to the terms.
    let basis = basis(&asked, &decisions);
    let (kinds, renew_at) = (kinds(&decisions), renew_at(server, &decisions, now).await?);
    let transaction = transaction(server, &asked, &decisions, test.as_ref());
    let answer = PreparedAnswer {
        custom_data,
        renew_at,
        transaction,
        ..prepare(server, &identity, &asked, decisions, now).await?
    };

    // 6. Record: nothing is signed that does not stand in the database.
    let store = asked.request.body().store.clone();
    let recording = Recording {
        answer,
        store,
        basis,
        generation: trust.generation,
        revoked: false,
    };
    drop(working);
    let recorded = server.store.record_answer(recording).await?;

    reach(Point::Answer(Exchange::License, Stage::Recorded));

    // 7. Sign: the licenses, then the response that carries them.
    let signed = sign(&identity, recorded, lists(trust, &asked))?;

    // 8. Answer: sealed to the request, and kept for its repetition.
    let answer = signed.seal(&asked.request.body().response_key)?;
    reach(Point::Answer(Exchange::License, Stage::Signed));
    server.answers.keep(signed.device, signed.request, &answer);
    server.metrics.licenses_issued(signed.licenses);
    kinds
        .into_iter()
        .for_each(|kind| server.metrics.chain_license(kind, 1));
    signed
        .denials
        .iter()
        .for_each(|code| server.metrics.license_denied(*code));
    let told = Told::of(signed.device, signed.keys);
    Ok(Issued { answer, told })
}

/// The answer that was given, or the same licenses and denials signed again.
async fn answer_again(
    server: &Inner,
    (identity, trust): (&Identity, &Trust),
    asked: &Authenticated,
) -> Result<Issued, Refusal> {
    let (device, request) = (asked.device, asked.request.digest());
    let answer = match server.answers.kept(device, request) {
        Some(answer) => answer,
        None => {
            let nonce = asked.request.body().nonce;
            let recorded = server.store.recorded_answer(device, nonce).await?;
            let signed = sign(identity, recorded, lists(trust, asked))?;
            let answer = signed.seal(&asked.request.body().response_key)?;
            server.answers.keep(device, request, &answer);
            answer
        }
    };
    let told = Told::again(device);
    Ok(Issued { answer, told })
}

/// The revocation lists that the device does not have.
fn lists(trust: &Trust, asked: &Authenticated) -> Option<Vec<RevocationList>> {
    let held = asked.request.body().revocation_lists.as_deref();
    trust.newer_than(held, asked.request.signer())
}

/// Names the answer, if the client is to acknowledge what becomes of its licenses.
fn transaction(
    server: &Inner,
    asked: &Authenticated,
    decisions: &Decisions,
    test: Option<&TestRequest>,
) -> Option<TransactionId> {
    let mut decided = decisions
        .iter()
        .filter_map(|(_, decision)| decision.as_ref().ok())
        .peekable();
    decided.peek()?;
    if let Some(named) = test.and_then(TestRequest::transaction) {
        return Some(named);
    }
    asked.request.body().capabilities.acknowledges?;
    let of_policy = |decided: &Decided| decided.entitled.grant.policy.terms.acknowledge;
    let wanted = server.config.acknowledgement.wanted || decided.any(of_policy);
    wanted.then(|| TransactionId::random(&mut rng()))
}

/// Which licenses are of a chain, to be counted.
fn kinds(decisions: &Decisions) -> Vec<ChainLicense> {
    let decided = decisions
        .iter()
        .filter_map(|(_, decision)| decision.as_ref().ok());
    let kind = |decided: &Decided| match decided.body.kind {
        LicenseKind::Root => Some(ChainLicense::Root),
        LicenseKind::Leaf => Some(ChainLicense::Leaf),
        LicenseKind::Simple | LicenseKind::KeyExchange => None,
    };
    decided.filter_map(kind).collect()
}

/// When the client should ask for what comes next, by what it is given.
async fn renew_at(server: &Inner, decisions: &Decisions, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    let decided = || {
        decisions
            .iter()
            .filter_map(|(_, decision)| decision.as_ref().ok())
    };
    let tracks = decided().filter_map(|decided| decided.entitled.track.as_ref());
    let limits: Vec<&LicenseBody> = decided().filter_map(Decided::movable_limits).collect();
    renewal::renew_at(server, &tracks.collect::<Vec<_>>(), &limits, now).await
}

async fn prepare(
    server: &Inner,
    identity: &Identity,
    asked: &Authenticated,
    decisions: Decisions,
    now: Timestamp,
) -> Result<PreparedAnswer, Error> {
    let mut results = Vec::with_capacity(decisions.len());
    let mut roots = RootKeys::default();
    for (kid, decision) in decisions {
        if !results.is_empty() {
            // Sealing takes the processor for a fraction of a millisecond; others get their turn between.
            tokio::task::yield_now().await;
        }
        let outcome = match decision {
            Ok(decided) => prepare_license(server, identity, decided, &mut roots).await?,
            Err(denial) => PreparedOutcome::Denied(denial),
        };
        results.push(PreparedResult { kid, outcome });
    }
    let nonce = asked.request.body().nonce;
    Ok(PreparedAnswer {
        device: asked.device,
        nonce,
        request: asked.request.digest(),
        server_time: now,
        results,
        custom_data: None,
        renew_at: None,
        transaction: None,
    })
}

async fn prepare_license(
    server: &Inner,
    identity: &Identity,
    decided: Decided,
    roots: &mut RootKeys,
) -> Result<PreparedOutcome, Error> {
    let Decided {
        body,
        entitled,
        sealing,
    } = decided;
    let license = match sealing {
        Sealing::Root(root, _) => {
            let key = server.vault.content_key(&server.store, &entitled.key).await?;
            leaf::prepare(identity, &body, &key, roots.open(&server.vault, &root)?)?
        }
        Sealing::Device(suite, public_key) => {
            let mut keys = LicenseKeys {
                keys: Vec::with_capacity(body.keys.len()),
                proof_key: leaf::proof_key(identity, &body.id)?,
            };
            match (&entitled.exchange, body.kind) {
                (Some(exchange), _) => exchange.open(&server.vault.kek(), &mut keys)?,
                (None, LicenseKind::Root) => {
                    let key = roots.open(&server.vault, &entitled.key)?;
                    keys.keys.push(Bytes(key.expose().to_vec()));
                }
                (None, _) => {
                    let key = server.vault.content_key(&server.store, &entitled.key);
                    keys.keys.push(Bytes(key.await?.expose().to_vec()));
                }
            }
            let rng = &mut rng();
            let encoded = grease(&body.encode(), rng)?;
            PreparedLicense::for_device(encoded, &keys, suite, &public_key, rng).map_err(Error::Making)?
        }
    };
    let policy = entitled.grant.policy;
    Ok(PreparedOutcome::License {
        id: body.id,
        license,
        policy: policy.name.clone(),
        policy_version: policy.version,
    })
}

/// A signed response. Only [`sign`] makes one.
struct Signed {
    device: DeviceId,
    request: Digest,
    response: Vec<u8>,
    keys: Vec<KeyTold>,
    licenses: u64,
    /// Numbers of the denials.
    denials: Vec<u64>,
}

/// Signs what was recorded. The revocation lists beside it are those of now, each signed by itself.
fn sign(
    identity: &Identity,
    recorded: Recorded<PreparedAnswer>,
    revocation_lists: Option<Vec<RevocationList>>,
) -> Result<Signed, Error> {
    let answer = recorded.into_inner();
    let signer = identity.signer_at(Purpose::LicenseServer, answer.server_time)?;
    let (chain, key) = (&signer.chain[..], &*signer.key);
    let mut keys = Vec::with_capacity(answer.results.len());
    let mut results = Vec::with_capacity(answer.results.len());
    let (mut licenses, mut denials) = (0, Vec::new());
    for PreparedResult { kid, outcome } in answer.results {
        let (license, denial) = match outcome {
            PreparedOutcome::License { license, .. } => {
                keys.push((kid, None));
                licenses += 1;
                (
                    Some(Bytes(license.sign(chain, key).map_err(Error::Making)?)),
                    None,
                )
            }
            PreparedOutcome::Denied(denial) => {
                keys.push((kid, Some(denial.code)));
                denials.push(denial.code);
                (None, Some(denial))
            }
        };
        results.push(KeyResult { kid, license, denial });
    }
    let body = LicenseResponse {
        version: PROTOCOL_VERSION,
        request: answer.request,
        nonce: answer.nonce,
        results,
        revocation_lists,
        server_time: answer.server_time,
        transaction: answer.transaction,
        custom_data: answer.custom_data.map(Bytes),
        renew_at: answer.renew_at,
    };
    let body = grease(&body.encode(), &mut rng())?;
    let response = signed::sign::<LicenseResponse>(&body, &[], chain, key).map_err(Error::Making)?;
    let (device, request) = (answer.device, answer.request);
    Ok(Signed {
        device,
        request,
        response,
        keys,
        licenses,
        denials,
    })
}

impl Signed {
    fn seal(&self, response_key: &Secret<32>) -> Result<Vec<u8>, Error> {
        let sealed = SealedResponse::seal(
            LicenseResponse::CONTEXT,
            response_key,
            &self.request,
            &self.response,
            &mut rng(),
        );
        sealed
            .map(|sealed| sealed.encode())
            .map_err(|error: MessageError| Error::Making(error))
    }
}
