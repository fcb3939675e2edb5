//! A license is issued in eight numbered steps.
//!
//! ```text
//!  1 decode        bytes -> opened request           sealed to us? does it open?
//!  2 authenticate  whose signature, which device?    enrolled, not revoked, fresh nonce, store not rolled back
//!  3 entitle       may the account have the key id?  a row, found with the device; never a field of the request
//!  4 decide        policy -> terms                   nothing that the device could not use
//!  5 prepare       complete but for the signatures   keys sealed under the hash of the terms
//!  6 record        committed to the database         checks 2 and 3 once more; may refuse
//!  7 sign          what was recorded, by move        licenses, then the response
//!  8 answer        sealed to the request             kept for a while, in case the request comes again
//! ```
//! The types keep the order: signing takes a [`Recorded`], which only the database makes, out of what
//! [`prepare`] returns. A crash after step 6 loses nothing: the same request is signed from what was
//! recorded and gets the same licenses, now or in a year. Key ids fail one by one, with a denial each;
//! everything else fails the request.

use keyward_crypto::{Secret, hpke::Suite, kdf::hmac_sha256};
use keyward_license::{
    codec::{Bytes, Wire, grease},
    envelope::SealedResponse,
    error_code::ErrorCode,
    ids::{DeviceId, Digest, Kid, LicenseId},
    license::{Binding, KeyDescription, LicenseBody, LicenseKeys, LicenseKind, PreparedLicense, Right},
    request::{ClockKind, LicenseRequest},
    response::{Denial, KeyResult, LicenseResponse},
    signed::{self, MessageError, PROTOCOL_VERSION, SignedBody},
    time::Timestamp,
    usage_rules::{self, Decision, Host},
};

use crate::{
    Error, Refusal,
    authenticate::{self, Authenticated},
    chance::rng,
    entitle::{self, Entitled, denial},
    operator::Identity,
    server::Inner,
    store::{Basis, Grant, KeyRow, PreparedAnswer, PreparedOutcome, PreparedResult, Recorded, Recording},
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
    let mut asked = authenticate::authenticate(&server.store, request, kids, now).await?;
    if asked.answered {
        return answer_again(server, &identity, &asked).await;
    }

    // 3. Entitle: each key id by the account of the device's enrolment.
    let rights = entitle_all(&mut asked);

    // 4. Decide: terms from the policy, tried on the device.
    let decisions = decide_all(server, &asked, rights, now)?;

    // 5. Prepare: keys sealed to the device, bound to the terms.
    let basis = basis(&asked, &decisions);
    let answer = prepare(server, &identity, &asked, decisions, now).await?;

    // 6. Record: nothing is signed that does not stand in the database.
    let store = asked.request.body().store.clone();
    let recording = Recording { answer, store, basis };
    let recorded = server.store.record_answer(recording).await?;

    // 7. Sign: the licenses, then the response that carries them.
    let signed = sign(&identity, recorded)?;

    // 8. Answer: sealed to the request, and kept for its repetition.
    let answer = signed.seal(&asked.request.body().response_key)?;
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

type Rights = Vec<(Kid, Result<Entitled, Denial>)>;
type Decisions = Vec<(Kid, Result<Decided, Denial>)>;

/// A license that may be issued: its terms and where its key is.
struct Decided {
    body: LicenseBody,
    key: KeyRow,
    grant: Grant,
    suite: Suite,
    public_key: Vec<u8>,
}

fn entitle_all(asked: &mut Authenticated) -> Rights {
    let rights = core::mem::take(&mut asked.rights).into_iter();
    let requested = asked.request.body().license_requested;
    let entitle = |(kid, right)| {
        let right = if requested {
            entitle::entitle(right)
        } else {
            Err(denial(
                ErrorCode::NoLicenseRequested,
                "the request asks for no license",
            ))
        };
        (kid, right)
    };
    rights.map(entitle).collect()
}

fn decide_all(
    server: &Inner,
    asked: &Authenticated,
    rights: Rights,
    now: Timestamp,
) -> Result<Decisions, Error> {
    rights
        .into_iter()
        .map(|(kid, right)| {
            let decision = match right {
                Ok(entitled) => decide(server, asked, entitled, now)?,
                Err(denial) => Err(denial),
            };
            Ok((kid, decision))
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
    let body = terms(asked, &entitled, now);
    // A license may begin later than now; it must be of use when it does.
    let judged_at = body.begin.map_or(now, |begin| begin.max(now));
    if body.end.is_some_and(|end| end <= judged_at) {
        return Ok(Err(denial(
            ErrorCode::NotEntitled,
            "the entitlement ends before a license would begin",
        )));
    }
    body.check()?;
    let request = asked.request.body();
    let lacks = |sentence| Ok(Err(denial(ErrorCode::ClientLacksCapability, sentence)));
    if !request
        .capabilities
        .key_types
        .contains(&entitled.key.key_type.number())
    {
        return lacks("the client cannot use a key of this type");
    }
    let required = [
        (10, body.begin.is_some()),
        (11, body.end.is_some()),
        (12, body.minimum_security_level.is_some()),
    ];
    if required
        .iter()
        .any(|(term, used)| *used && !request.capabilities.terms.contains(term))
    {
        return lacks("the client does not enforce a term of the license");
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
    let clock = Some(judged_at).filter(|_| request.capabilities.clock != ClockKind::None);
    let host = Host {
        security_level: asked.security_level,
        now: clock,
    };
    if let Decision::Refused(refusal) = usage_rules::evaluate(&body, &host, Right::Play) {
        return Ok(Err(denial(refusal_code(&refusal), &refusal.to_string())));
    }
    let public_key = public_key.to_vec();
    Ok(Ok(Decided {
        body,
        key: entitled.key,
        grant: entitled.grant,
        suite,
        public_key,
    }))
}

fn terms(asked: &Authenticated, entitled: &Entitled, now: Timestamp) -> LicenseBody {
    let request = asked.request.body();
    let terms = &entitled.grant.policy.terms;
    let window = terms.window(now);
    // No license outlasts the entitlement that it was issued on.
    let end = window.end.into_iter().chain(entitled.grant.expires).min();
    let persistent = request.persistent && terms.persistent_allowed;
    let key = &entitled.key;
    LicenseBody {
        version: PROTOCOL_VERSION,
        id: LicenseId::random(&mut rng()),
        kind: LicenseKind::Simple,
        keys: vec![KeyDescription {
            kid: key.kid,
            key_type: key.key_type,
            algorithm: None,
            operation: None,
        }],
        binding: Binding::device(&asked.device),
        issued: now,
        persistent,
        nonce: (!persistent).then_some(request.nonce),
        rights: vec![Right::Play],
        begin: window.begin,
        end,
        minimum_security_level: Some(terms.minimum_security_level),
        name: None,
    }
}

/// R-001 to R-005, as the device is told them.
const fn refusal_code(refusal: &usage_rules::Refusal) -> ErrorCode {
    match refusal {
        usage_rules::Refusal::SecurityLevelTooLow { .. } => ErrorCode::SecurityLevelTooLow,
        usage_rules::Refusal::NoUsableClock => ErrorCode::ClientLacksCapability,
        _ => ErrorCode::NotEntitled,
    }
}

/// What the licenses rest on, to be asked about once more when they are recorded.
fn basis(asked: &Authenticated, decisions: &Decisions) -> Basis {
    let granted = |(kid, decision): &(Kid, Result<Decided, Denial>)| {
        let decided = decision.as_ref().ok()?;
        Some((*kid, decided.grant.clone()))
    };
    Basis {
        account: asked.account,
        security_level: asked.enrolled_level,
        grants: decisions.iter().filter_map(granted).collect(),
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
    })
}

async fn prepare_license(
    server: &Inner,
    identity: &Identity,
    decided: Decided,
) -> Result<PreparedOutcome, Error> {
    let id = decided.body.id;
    let content_key = server.vault.content_key(&server.store, &decided.key).await?;
    let proof_key = Secret::new(hmac_sha256(identity.proof_secret.expose(), &[id.as_bytes()])?);
    let keys = LicenseKeys {
        keys: vec![Bytes(content_key.expose().to_vec())],
        proof_key,
    };
    let rng = &mut rng();
    let body = grease(&decided.body.encode(), rng)?;
    let license = PreparedLicense::for_device(body, &keys, decided.suite, &decided.public_key, rng)
        .map_err(Error::Making)?;
    let policy = decided.grant.policy;
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
    let (chain, key) = (&identity.license_server_chain, &identity.license_server);
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
        custom_data: None,
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
