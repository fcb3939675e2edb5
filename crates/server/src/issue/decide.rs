//! Deciding: the terms of each license, tried on the device that asks.

use std::sync::Arc;

use keyward_crypto::hpke::Suite;
use keyward_license::{
    error_code::ErrorCode,
    ids::{Kid, LicenseId},
    license::{Binding, Chain, KeyDescription, KeyType, LicenseBody, LicenseKind},
    request::{ClockKind, NotAnnounced},
    response::Denial,
    time::Timestamp,
    usage_rules::{self, Action, Decision, Host, Understood, Usage},
};

use crate::{
    Error,
    authenticate::Authenticated,
    chance::rng,
    entitle::{Denied, Entitled, denial},
    key_exchange::{self, license::Licensed},
    policy::{explicit_restriction_name, term_name},
    roots::leaf,
    server::Inner,
    store::{
        Basis, KeyRow, LicenseBasis,
        roots::{ChainBasis, LeafBasis, RootBasis, RootRow},
    },
    test_mode,
};

pub(super) type Decisions = Vec<(Kid, Result<Decided, Denial>)>;

/// A license that may be issued: its terms and where its key is.
pub(super) struct Decided {
    pub(super) body: LicenseBody,
    pub(super) entitled: Entitled,
    pub(super) sealing: Sealing,
}

/// What the keys of a license are sealed under.
pub(super) enum Sealing {
    /// A sealing key of the device.
    Device(Suite, Vec<u8>),
    /// The key of a root, whose own license is here as it would be issued now, for all of its leaves.
    Root(KeyRow, Arc<Decided>),
}

impl Decided {
    /// The root under which it is, with the root's license.
    pub(super) fn root(&self) -> Option<(&RootRow, &Arc<Self>)> {
        match &self.sealing {
            Sealing::Root(_, license) => self.entitled.root.as_ref().map(|root| (root, license)),
            Sealing::Device(..) => None,
        }
    }

    /// The license that says until when this one may be used, if another one would say a later time: the end of the
    /// right itself is no reason to ask again.
    pub(super) fn movable_limits(&self) -> Option<&LicenseBody> {
        let limits = self.root().map_or(self, |(_, license)| license);
        let grant = &limits.entitled.grant;
        let last = [grant.policy.terms.end, grant.expires]
            .into_iter()
            .flatten()
            .min();
        (last.is_none() || limits.body.end < last).then_some(&limits.body)
    }
}

/// Decides about each key id. What goes along with them is another question.
pub(super) fn decide_all(
    server: &Inner,
    asked: &Authenticated,
    keys: Vec<(Kid, Result<Entitled, Denied>)>,
    now: Timestamp,
) -> Result<Decisions, Error> {
    keys.into_iter()
        .map(|(kid, right)| {
            let decision = match right {
                Ok(entitled) => decide_first(server, asked, entitled, now)?.map_err(Denied::Ours),
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

/// The first that can be issued, of a key that is under several roots; the denial is of the first of all.
fn decide_first(
    server: &Inner,
    asked: &Authenticated,
    mut entitled: Entitled,
    now: Timestamp,
) -> Result<Result<Decided, Denial>, Error> {
    let mut next = entitled.or_else.take();
    let mut decided = decide(server, asked, entitled, now)?;
    while let (Err(_), Some(mut other)) = (&decided, next) {
        next = other.or_else.take();
        if let Ok(other) = decide(server, asked, *other, now)? {
            decided = Ok(other);
        }
    }
    Ok(decided)
}

/// Makes the terms and tries them: what this device could not use is denied, not issued.
pub(super) fn decide(
    server: &Inner,
    asked: &Authenticated,
    entitled: Entitled,
    now: Timestamp,
) -> Result<Result<Decided, Denial>, Error> {
    match entitled.root.clone() {
        None => decide_for_device(server, asked, entitled, now),
        Some(root) => decide_under(server, asked, (root, entitled), now),
    }
}

/// A leaf is of use where its root's license is, and both together.
fn decide_under(
    server: &Inner,
    asked: &Authenticated,
    (root, entitled): (RootRow, Entitled),
    now: Timestamp,
) -> Result<Result<Decided, Denial>, Error> {
    let of_root = entitled.under_same(root.key(), None, None);
    match decide_for_device(server, asked, of_root, now)? {
        Ok(license) => decide_leaf(asked, entitled, (root.kid, Arc::new(license)), now),
        Err(denial) => Ok(Err(denial)),
    }
}

/// [`decide`] of a leaf whose root's license, on the same grant, is decided.
pub(super) fn decide_leaf(
    asked: &Authenticated,
    entitled: Entitled,
    (root, license): (Kid, Arc<Decided>),
    now: Timestamp,
) -> Result<Result<Decided, Denial>, Error> {
    let terms = (&entitled.grant.policy.terms, &license.body);
    let body = leaf::body_for(&entitled.key, root, terms, asked.request.body().nonce);
    let body = match &entitled.test {
        Some(own) => test_mode::leaf_body(body, own),
        None => body,
    };
    body.check()?;
    let capabilities = &asked.request.body().capabilities;
    // V-029, as the client will ask it.
    if let Err(missing) = capabilities.cover(&body) {
        return Ok(Err(denial(
            ErrorCode::ClientLacksCapability,
            &not_announced(missing),
        )));
    }
    // V-037. What is under a root has no higher level than it.
    let chain = Chain::new(&license.body, &body)
        .map_err(|_| Error::Damaged("a key is under a root that it does not fit"))?;
    let judged_at = license.body.begin.map_or(now, |begin| begin.max(now));
    if let Some(refusal) = dry_run(asked, &chain.licenses(), judged_at) {
        return Ok(Err(denial(refusal_code(&refusal), &refusal.to_string())));
    }
    let sealing = Sealing::Root(license.entitled.key.clone(), license);
    Ok(Ok(Decided {
        body,
        entitled,
        sealing,
    }))
}

fn decide_for_device(
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
    if let Some(refusal) = dry_run(asked, &[&body], judged_at) {
        return Ok(Err(denial(refusal_code(&refusal), &refusal.to_string())));
    }
    let sealing = Sealing::Device(suite, public_key.to_vec());
    Ok(Ok(Decided {
        body,
        entitled,
        sealing,
    }))
}

/// What the licenses rest on, to be asked about once more when they are recorded.
pub(super) fn basis(asked: &Authenticated, decisions: &Decisions) -> Basis {
    // What a test operator issues rests on no row.
    let decided = || {
        let decided = decisions
            .iter()
            .filter_map(|(_, decision)| decision.as_ref().ok());
        decided.filter(|decided| decided.entitled.test.is_none())
    };
    let alone =
        |decided: &&Decided| decided.root().is_none() && decided.entitled.key.key_type != KeyType::Root;
    let grants = decided()
        .filter(alone)
        .map(|Decided { entitled, .. }| LicenseBasis {
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
        chains: chain_basis(decided()),
    }
}

/// What leaves and root licenses rest on. A leaf rests on what its root was granted by, whether the root's license is in
/// the answer or not.
fn chain_basis<'a>(decided: impl Iterator<Item = &'a Decided>) -> ChainBasis {
    let mut basis = ChainBasis::default();
    for one in decided {
        let root = match one.root() {
            Some((root, _)) => {
                basis.leaves.push(LeafBasis {
                    root: root.kid,
                    kid: one.entitled.key.kid,
                    key_level: one.entitled.key.minimum_security_level,
                    track: one.entitled.track.clone(),
                });
                root.kid
            }
            None if one.entitled.key.key_type == KeyType::Root => one.entitled.key.kid,
            None => continue,
        };
        if basis.roots.iter().all(|held| held.kid != root) {
            basis.roots.push(RootBasis {
                kid: root,
                rests: one.entitled.rests.clone(),
            });
        }
    }
    basis
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

/// Tries the license, or the chain that it is in, as the device would: a refusal if none of its rights could ever be
/// used. Outputs and frame sizes are the player's to know.
fn dry_run(asked: &Authenticated, chain: &[&LicenseBody], at: Timestamp) -> Option<usage_rules::Refusal> {
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
    let body = chain.last()?;
    let extended_rights = body.extended_rights.iter().flatten();
    let actions = body
        .rights
        .iter()
        .map(|right| Action::from(*right))
        .chain(extended_rights.map(|right| Action::Extended(right.kind)));
    let mut first = None;
    for action in actions {
        match usage_rules::evaluate(chain, &Usage::default(), &host, action, clock) {
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
    let of_key = match key.key_type {
        KeyType::Root => LicenseKind::Root,
        _ => LicenseKind::Simple,
    };
    let (kind, keys, level) = match &entitled.exchange {
        None => (of_key, content(), key.minimum_security_level),
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
