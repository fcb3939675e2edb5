//! A license is issued in eight numbered steps.
//!
//! ```text
//!  1 decode        bytes -> opened request           sealed to us? does it open?
//!  2 authenticate  whose signature, which device?    enrolled, not revoked, fresh nonce, store not rolled back
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

use keyward_crypto::{Secret, hpke::Suite, kdf::hmac_sha256};
use keyward_license::{
    codec::{Bytes, Wire, grease},
    envelope::SealedResponse,
    error_code::ErrorCode,
    ids::{DeviceId, Digest, Kid, LicenseId},
    license::{Binding, KeyDescription, LicenseBody, LicenseKeys, LicenseKind, PreparedLicense},
    request::{ClockKind, LicenseRequest, NotAnnounced},
    response::{Denial, KeyResult, LicenseResponse},
    signed::{self, MessageError, PROTOCOL_VERSION, SignedBody},
    time::Timestamp,
    usage_rules::{self, Action, Decision, Host, Understood, Usage},
};

use crate::{
    Error, Refusal,
    authenticate::{self, Authenticated},
    chance::rng,
    entitle::{self, Denied, Entitled, Rights, denial},
    fail_points::{Exchange, Point, Stage, reach},
    key_exchange::{self, license::Licensed},
    operator::Identity,
    policy::{explicit_restriction_name, term_name},
    server::Inner,
    store::{Basis, LicenseBasis, PreparedAnswer, PreparedOutcome, PreparedResult, Recorded, Recording},
};

/// Answers a sealed license request with a sealed license response.
///
/// # Errors
/// V-001 to V-005, V-040 to V-044; [`Refusal::Failed`], [`Refusal::Busy`].
pub(crate) async fn issue(server: &Inner, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let now = server.clock.now();
    let identity = server.identity();

    // 1. Decode: the envelope is ours and opens.
    let opened = authenticate::open::<LicenseRequest>(&identity, bytes, now)?;

    // 2. Authenticate: signature and chain, then the device's row. A request that was answered before
    //    ends here, with the same answer.
    let request = authenticate::verify(&identity, &server.chains, &opened, now)?;
    let kids = entitle::kids(request.body())?;
    let mut asked =
        authenticate::authenticate(&server.store, &server.rates.devices, request, kids, now).await?;
    if asked.answered {
        return answer_again(server, &identity, &asked).await;
    }

    // 3. Entitle: each key id by the handlers that this operator asks.
    let Rights { keys, custom_data } = entitle::entitle(server, &mut asked, now).await?;
    let keys = key_exchange::license::find_keys(server, &asked, keys).await?;

    // 4. Decide: terms from the policy, tried on the device.
    let decisions = decide_all(server, &asked, keys, now)?;

    // 5. Prepare: keys sealed to the device, bound to the terms.
    let basis = basis(&asked, &decisions);
    let answer = PreparedAnswer {
        custom_data,
        ..prepare(server, &identity, &asked, decisions, now).await?
    };

    // 6. Record: nothing is signed that does not stand in the database.
    let store = asked.request.body().store.clone();
    let recording = Recording { answer, store, basis };
    let recorded = server.store.record_answer(recording).await?;

    reach(Point::Answer(Exchange::License, Stage::Recorded));

    // 7. Sign: the licenses, then the response that carries them.
    let signed = sign(&identity, recorded)?;

    // 8. Answer: sealed to the request, and kept for its repetition.
    let answer = signed.seal(&asked.request.body().response_key)?;
    reach(Point::Answer(Exchange::License, Stage::Signed));
    server.answers.keep(signed.device, signed.request, &answer);
    server.metrics.licenses_issued(signed.licenses);
    signed
        .denials
        .iter()
        .for_each(|code| server.metrics.license_denied(*code));
    tracing::info!(device = %signed.device, results = %signed.summary, "license request answered");
    Ok(answer)
}

/// The answer that was given, or the same licenses and denials signed again.
async fn answer_again(
    server: &Inner,
    identity: &Identity,
    asked: &Authenticated,
) -> Result<Vec<u8>, Refusal> {
    let (device, request) = (asked.device, asked.request.digest());
    let answer = match server.answers.kept(device, request) {
        Some(answer) => answer,
        None => {
            let nonce = asked.request.body().nonce;
            let recorded = server.store.recorded_answer(device, nonce).await?;
            let answer = sign(identity, recorded)?.seal(&asked.request.body().response_key)?;
            server.answers.keep(device, request, &answer);
            answer
        }
    };
    tracing::info!(%device, "license request answered again");
    Ok(answer)
}

type Decisions = Vec<(Kid, Result<Decided, Denial>)>;

/// A license that may be issued: its terms and where its key is.
struct Decided {
    body: LicenseBody,
    entitled: Entitled,
    suite: Suite,
    public_key: Vec<u8>,
}

fn decide_all(
    server: &Inner,
    asked: &Authenticated,
    keys: Vec<(Kid, Result<Entitled, Denied>)>,
    now: Timestamp,
) -> Result<Decisions, Error> {
    keys.into_iter()
        .map(|(kid, right)| {
            let decision = match right {
                Ok(entitled) => decide(server, asked, entitled, now)?.map_err(Denied::Ours),
                Err(denied) => Err(denied),
            };
            if let Err(Denied::Ours(denial) | Denied::Theirs(denial)) = &decision {
                tracing::info!(%kid, code = denial.code, reason = %denial.sentence, "denied");
            }
            let told = decision.map_err(|denied| match denied {
                Denied::Ours(denial) => server.config.denials.tell(denial),
                Denied::Theirs(denial) => denial,
            });
            Ok((kid, told))
        })
        .collect()
}

/// Makes the terms and tries them: what this device could not use is denied, not issued.
fn decide(
    server: &Inner,
    asked: &Authenticated,
    entitled: Entitled,
    now: Timestamp,
) -> Result<Result<Decided, Denial>, Error> {
    if let Some(denial) = playing_refused(&entitled) {
        return Ok(Err(denial));
    }
    let body = terms(asked, &entitled, now)?;
    // A license may begin later than now; it must be of use when it does.
    let judged_at = body.begin.map_or(now, |begin| begin.max(now));
    if body.end.is_some_and(|end| end <= judged_at) {
        return Ok(Err(denial(
            ErrorCode::NotEntitled,
            "the right to this content ends before a license would begin",
        )));
    }
    body.check()?;
    let request = asked.request.body();
    let lacks = |sentence: &str| Ok(Err(denial(ErrorCode::ClientLacksCapability, sentence)));
    // V-029, as the client will ask it.
    if let Err(missing) = request.capabilities.cover(&body) {
        return lacks(&not_announced(missing));
    }
    // The suite comes from the certificate alone: what a request claims cannot weaken it.
    let best = asked
        .claims
        .best_sealing_key(&Suite::ALL)
        .filter(|(suite, _)| *suite >= server.config.minimum_suite);
    let Some((suite, public_key)) =
        best.filter(|(suite, _)| request.capabilities.suites.contains(&suite.number()))
    else {
        return lacks("the device has no sealing key of a suite that it and this operator use");
    };
    if let Some(refusal) = dry_run(asked, &body, judged_at) {
        return Ok(Err(denial(refusal_code(&refusal), &refusal.to_string())));
    }
    let public_key = public_key.to_vec();
    Ok(Ok(Decided {
        body,
        entitled,
        suite,
        public_key,
    }))
}

/// V-031: what a policy demands of playing, no license for key exchange can say.
fn playing_refused(entitled: &Entitled) -> Option<Denial> {
    entitled.exchange.as_ref()?;
    let policy = &entitled.grant.policy;
    let term = key_exchange::license::about_playing(&policy.terms)?;
    tracing::warn!(
        policy = policy.name,
        term,
        "a policy about playing was granted to an exchange key"
    );
    let sentence =
        format!("the terms that were granted are about playing, and the key is for key exchange: `{term}`");
    Some(denial(ErrorCode::NotEntitled, &sentence))
}

/// Tries the license as the device would: a refusal if none of its rights could ever be used. Outputs and frame
/// sizes are the player's to know.
fn dry_run(asked: &Authenticated, body: &LicenseBody, at: Timestamp) -> Option<usage_rules::Refusal> {
    let announced = &asked.request.body().capabilities;
    let understood = |kind: &u64| Understood {
        kind: *kind,
        engaged: true,
    };
    let extended: Vec<_> = announced
        .extended_restrictions
        .iter()
        .flatten()
        .map(understood)
        .collect();
    let host = Host {
        extended: &extended,
        sources: announced.source_ids.as_deref().unwrap_or_default(),
        watermarks: announced.watermarks.as_deref().unwrap_or_default(),
        ..Host::of_level(asked.security_level)
    };
    let clock = Some(at).filter(|_| announced.clock != ClockKind::None);
    let extended_rights = body.extended_rights.iter().flatten();
    let actions = body
        .rights
        .iter()
        .map(|right| Action::from(*right))
        .chain(extended_rights.map(|right| Action::Extended(right.kind)));
    let mut first = None;
    for action in actions {
        match usage_rules::evaluate(&[body], &Usage::default(), &host, action, clock) {
            Decision::Allowed(_) => return None,
            Decision::Refused(refusal) => first = first.or(Some(refusal)),
        }
    }
    first
}

/// The policy's terms, for this device and key. The stricter of policy and key says which devices may have it.
fn terms(asked: &Authenticated, entitled: &Entitled, now: Timestamp) -> Result<LicenseBody, Error> {
    let request = asked.request.body();
    let policy = &entitled.grant.policy.terms;
    let persistent = request.persistent && policy.persistent_allowed;
    let key = &entitled.key;
    let content = || vec![KeyDescription::content(key.kid, key.key_type)];
    let (kind, keys, level) = match &entitled.exchange {
        None => (LicenseKind::Simple, content(), key.minimum_security_level),
        Some(exchange) => (
            LicenseKind::KeyExchange,
            exchange.descriptions()?,
            exchange.minimum_security_level(),
        ),
    };
    let (id, binding) = (LicenseId::random(&mut rng()), Binding::device(&asked.device));
    let description = KeyDescription::content(key.kid, key.key_type);
    let body = LicenseBody {
        keys,
        persistent,
        nonce: (!persistent).then_some(request.nonce),
        ..LicenseBody::new(id, kind, description, binding, now)
    };
    let body = policy.apply(body, entitled.grant.expires);
    Ok(LicenseBody {
        // A policy says nothing of key exchange, which has one right.
        rights: match kind {
            LicenseKind::KeyExchange => vec![kind.right()],
            _ => body.rights,
        },
        minimum_security_level: body.minimum_security_level.max(level),
        ..body
    })
}

/// What the client would have to announce, by its name.
fn not_announced(missing: NotAnnounced) -> String {
    let name = match missing {
        NotAnnounced::Term(term) => term_name(term),
        NotAnnounced::ExplicitRestriction(guid) => explicit_restriction_name(guid),
        NotAnnounced::ExchangeAlgorithm(algorithm) => key_exchange::license::algorithm_name(algorithm),
        _ => None,
    };
    match name {
        Some(name) => format!("{missing}: `{name}`"),
        None => missing.to_string(),
    }
}

/// The rules that may refuse a license to a device, as the device is told them.
const fn refusal_code(refusal: &usage_rules::Refusal) -> ErrorCode {
    match refusal {
        usage_rules::Refusal::SecurityLevelTooLow { .. } => ErrorCode::SecurityLevelTooLow,
        usage_rules::Refusal::NoUsableClock
        | usage_rules::Refusal::SourceNotFollowed { .. }
        | usage_rules::Refusal::RestrictionNotUnderstood { .. }
        | usage_rules::Refusal::WatermarkNotEmbedded { .. } => ErrorCode::ClientLacksCapability,
        _ => ErrorCode::NotEntitled,
    }
}

/// What the licenses rest on, to be asked about once more when they are recorded.
fn basis(asked: &Authenticated, decisions: &Decisions) -> Basis {
    let decided = || {
        decisions
            .iter()
            .filter_map(|(_, decision)| decision.as_ref().ok())
    };
    let grants = decided().map(|Decided { entitled, .. }| LicenseBasis {
        kid: entitled.key.kid,
        rests: entitled.rests.clone(),
        key_level: entitled.key.minimum_security_level,
        exchange: entitled
            .exchange
            .as_ref()
            .map(Licensed::revisions)
            .unwrap_or_default(),
    });
    let mut once = Vec::new();
    for one in decided().filter_map(|decided| decided.entitled.once.as_ref()) {
        if !once.contains(one) {
            once.push(one.clone());
        }
    }
    Basis {
        account: asked.account,
        security_level: asked.enrolled_level,
        grants: grants.collect(),
        once,
    }
}

async fn prepare(
    server: &Inner,
    identity: &Identity,
    asked: &Authenticated,
    decisions: Decisions,
    now: Timestamp,
) -> Result<PreparedAnswer, Error> {
    let mut results = Vec::with_capacity(decisions.len());
    for (kid, decision) in decisions {
        let outcome = match decision {
            Ok(decided) => prepare_license(server, identity, decided).await?,
            Err(denial) => PreparedOutcome::Denied(denial),
        };
        results.push(PreparedResult { kid, outcome });
        // Sealing takes the processor for a fraction of a millisecond; others get their turn between.
        tokio::task::yield_now().await;
    }
    let nonce = asked.request.body().nonce;
    Ok(PreparedAnswer {
        device: asked.device,
        nonce,
        request: asked.request.digest(),
        server_time: now,
        results,
        custom_data: None,
    })
}

async fn prepare_license(
    server: &Inner,
    identity: &Identity,
    decided: Decided,
) -> Result<PreparedOutcome, Error> {
    let id = decided.body.id;
    let proof_key = Secret::new(hmac_sha256(identity.proof_secret.expose(), &[id.as_bytes()])?);
    let mut keys = LicenseKeys {
        keys: Vec::with_capacity(decided.body.keys.len()),
        proof_key,
    };
    match &decided.entitled.exchange {
        Some(exchange) => exchange.open(server.vault.kek(), &mut keys)?,
        None => {
            let key = server.vault.content_key(&server.store, &decided.entitled.key);
            keys.keys.push(Bytes(key.await?.expose().to_vec()));
        }
    }
    let rng = &mut rng();
    let body = grease(&decided.body.encode(), rng)?;
    let license = PreparedLicense::for_device(body, &keys, decided.suite, &decided.public_key, rng)
        .map_err(Error::Making)?;
    let policy = decided.entitled.grant.policy;
    Ok(PreparedOutcome::License {
        id,
        license,
        policy: policy.name,
        policy_version: policy.version,
    })
}

/// A signed response. Only [`sign`] makes one.
struct Signed {
    device: DeviceId,
    request: Digest,
    response: Vec<u8>,
    summary: String,
    licenses: u64,
    /// Numbers of the denials.
    denials: Vec<u64>,
}

fn sign(identity: &Identity, recorded: Recorded<PreparedAnswer>) -> Result<Signed, Error> {
    let answer = recorded.into_inner();
    let (chain, key) = (
        identity.signer_chain(answer.server_time),
        &identity.license_server,
    );
    let mut summary = Vec::with_capacity(answer.results.len());
    let mut results = Vec::with_capacity(answer.results.len());
    let (mut licenses, mut denials) = (0, Vec::new());
    for PreparedResult { kid, outcome } in answer.results {
        let (license, denial) = match outcome {
            PreparedOutcome::License { license, .. } => {
                summary.push(format!("{kid}:license"));
                licenses += 1;
                (
                    Some(Bytes(license.sign(chain, key).map_err(Error::Making)?)),
                    None,
                )
            }
            PreparedOutcome::Denied(denial) => {
                summary.push(format!("{kid}:{}", denial.code));
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
        revocation_lists: None,
        server_time: answer.server_time,
        transaction: None,
        custom_data: answer.custom_data.map(Bytes),
    };
    let body = grease(&body.encode(), &mut rng())?;
    let response = signed::sign::<LicenseResponse>(&body, &[], chain, key).map_err(Error::Making)?;
    let (device, request) = (answer.device, answer.request);
    Ok(Signed {
        device,
        request,
        response,
        summary: summary.join(" "),
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
