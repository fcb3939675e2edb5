//! What may the account have? Key ids of the request, each with its key and terms or its denial.
//!
//! ```text
//!  key ids, and their roots ─► registered? ─► sources, in their order ─► terms of each grant, narrowed ─► used before?
//! ```
//! Sources are handlers (see [`handler`](crate::handler)): the first that grants or denies a key id decides it, and so
//! does the first that grants a root of it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use keyward_content::header::ContentHeader;
use keyward_license::{
    error_code::ErrorCode,
    ids::Kid,
    request::{LicenseRequest, MAX_KIDS},
    response::Denial,
    time::Timestamp,
};

use crate::{
    Error, Refusal,
    authenticate::Authenticated,
    handler::{
        Asked, AskedKey, AuthorizationToken, Decision, EntitlementRow, HandlerError, Narrowing, Once,
        Permission, Source, Terms, Verdict,
    },
    key_exchange::license::Licensed,
    policy::{Policy, PolicyFault, PolicyTerms},
    roots::chain::{self, Chains},
    server::Inner,
    store::{
        Grant, KeyRow, Rests, RightRow,
        roots::{RootRow, TrackRow},
    },
};

/// A key id that the account is entitled to.
#[derive(Debug)]
pub(crate) struct Entitled {
    pub(crate) key: KeyRow,
    /// The terms, narrowed.
    pub(crate) grant: Grant,
    /// What is asked about once more when the license is recorded.
    pub(crate) rests: Rests,
    /// What must not have been used before, and is used up with the license.
    pub(crate) once: Option<Once>,
    /// The keys themselves, of an exchange key once they were found.
    pub(crate) exchange: Option<Licensed>,
    /// Where the key belongs, if a packager asked for it.
    pub(crate) track: Option<TrackRow>,
    /// The root that was granted, if the license is to be a leaf under it.
    pub(crate) root: Option<RootRow>,
    /// What is tried if this cannot be issued: the same key under another root.
    pub(crate) or_else: Option<Box<Self>>,
    /// Of a test operator, which has no rows about it: the license's own terms.
    pub(crate) test: Option<Arc<PolicyTerms>>,
}

impl Entitled {
    /// Another key on the same grant: the root's own, or one under it.
    pub(crate) fn under_same(&self, key: KeyRow, track: Option<TrackRow>, root: Option<RootRow>) -> Self {
        let granted = Granted {
            grant: self.grant.clone(),
            rests: self.rests.clone(),
            once: self.once.clone(),
        };
        Self {
            test: self.test.clone(),
            ..granted.to(key, track, root)
        }
    }
}

/// Under which terms a key id, or its root, was granted.
struct Granted {
    grant: Grant,
    rests: Rests,
    once: Option<Once>,
}

impl Granted {
    fn to(self, key: KeyRow, track: Option<TrackRow>, root: Option<RootRow>) -> Entitled {
        Entitled {
            key,
            grant: self.grant,
            rests: self.rests,
            once: self.once,
            exchange: None,
            track,
            root,
            or_else: None,
            test: None,
        }
    }
}

/// A denial, and whose words it is in.
#[derive(Debug)]
pub(crate) enum Denied {
    /// The server's, which the operator's configuration may replace.
    Ours(Denial),
    /// A handler's.
    Theirs(Denial),
}

/// What the sources said.
#[derive(Debug)]
pub(crate) struct Rights {
    pub(crate) keys: Vec<(Kid, Result<Entitled, Denied>)>,
    /// For the application.
    pub(crate) custom_data: Option<Vec<u8>>,
}

/// The key ids that a request asks for, each once, in the order of their first mention. Of content
/// headers nothing else counts: they are a stranger's words.
pub(crate) fn kids(request: &LicenseRequest) -> Result<Vec<Kid>, Refusal> {
    let mut kids: Vec<Kid> = Vec::new();
    let mut add = |kid: Kid| {
        if !kids.contains(&kid) {
            kids.push(kid);
        }
        if kids.len() > MAX_KIDS {
            Err(Refusal::TooManyKids(MAX_KIDS))
        } else {
            Ok(())
        }
    };
    for header in request.content_headers.iter().flatten() {
        for key in ContentHeader::read_object(&header.0)?.kids {
            add(key.kid)?;
        }
    }
    request.kids.iter().flatten().copied().try_for_each(add)?;
    Ok(kids)
}

/// Puts the key ids before the sources, and finds the terms of what they grant.
pub(crate) async fn entitle(
    server: &Inner,
    authenticated: &mut Authenticated,
    now: Timestamp,
) -> Result<Rights, Error> {
    let mut found = core::mem::take(&mut authenticated.rights);
    if !authenticated.request.body().license_requested {
        let none = |(kid, _)| {
            (
                kid,
                ours(ErrorCode::NoLicenseRequested, "the request asks for no license"),
            )
        };
        return Ok(Rights {
            keys: found.into_iter().map(none).collect(),
            custom_data: None,
        });
    }
    let mut chains = chain::find(server, authenticated.account, &mut found, now).await?;
    let asked = asked(authenticated, &found, &chains, now);
    let heard = hear(&server.sources, asked, &chains).await;
    let judge = Judge {
        used: used(server, &heard).await?,
        policies: policies(server, &heard).await?,
        rows: found
            .iter_mut()
            .chain(&mut chains.beside)
            .filter_map(|(kid, right)| Some((*kid, right.grant.take()?)))
            .collect(),
        heard,
        now,
    };
    let keys = found.into_iter().map(|(kid, right)| {
        let Some(key) = right.key else {
            return (
                kid,
                ours(ErrorCode::KidUnknown, "this operator does not know the key id"),
            );
        };
        let entitled = match judge.granted(&kid) {
            Some(granted) => granted.map(|granted| granted.to(key, right.track, None)),
            None => judge.under_a_root(&key, right.track.as_ref(), &chains),
        };
        (kid, entitled)
    });
    Ok(Rights {
        keys: keys.collect(),
        custom_data: judge.heard.custom_data,
    })
}

/// What the sources said, and what is needed to make terms of it.
struct Judge {
    heard: Heard,
    used: HashSet<Once>,
    policies: HashMap<String, Option<Policy>>,
    /// What the rows say, of each key id.
    rows: HashMap<Kid, Grant>,
    now: Timestamp,
}

impl Judge {
    /// What was decided about a key id, if anything.
    fn granted(&self, kid: &Kid) -> Option<Result<Granted, Denied>> {
        Some(match self.heard.verdicts.get(kid)? {
            (Verdict::Deny(denial), _) => Err(Denied::Theirs(denial.clone())),
            // V-046
            (Verdict::Grant(_), Some(once)) if self.used.contains(once) => ours(
                ErrorCode::AuthorizationRefused,
                "the authorization was used before",
            ),
            (Verdict::Grant(permission), once) => {
                let row = self.rows.get(kid).cloned();
                let resolved = resolve(*permission.clone(), row, &self.policies, self.now);
                resolved.map(|(grant, rests)| Granted {
                    grant,
                    rests,
                    once: once.clone(),
                })
            }
        })
    }

    /// A leaf under each root that was granted, the first before the others; what was said of the first root otherwise.
    fn under_a_root(
        &self,
        key: &KeyRow,
        track: Option<&TrackRow>,
        chains: &Chains,
    ) -> Result<Entitled, Denied> {
        let mut refused = None;
        let mut entitled = Vec::new();
        for root in chains.of(&key.kid).iter().filter_map(|root| chains.root(root)) {
            match self.granted(&root.kid) {
                Some(Ok(granted)) => {
                    entitled.push(granted.to(key.clone(), track.cloned(), Some(root.clone())));
                }
                Some(Err(denied)) => refused = refused.or(Some(denied)),
                None => {}
            }
        }
        let linked = entitled.into_iter().rev().reduce(|later, earlier| Entitled {
            or_else: Some(Box::new(later)),
            ..earlier
        });
        let nobody = || Denied::Ours(denial(ErrorCode::NotEntitled, NOT_ENTITLED));
        linked.ok_or_else(|| refused.unwrap_or_else(nobody))
    }
}

const NOT_ENTITLED: &str = "the account is not entitled to this content";

/// A denial with its number and sentence.
pub(crate) fn denial(code: ErrorCode, sentence: &str) -> Denial {
    Denial {
        code: code.number(),
        sentence: sentence.to_owned(),
        url: None,
    }
}

fn ours<T>(code: ErrorCode, sentence: &str) -> Result<T, Denied> {
    Err(Denied::Ours(denial(code, sentence)))
}

/// The request as handlers see it: of the key ids those that are registered, and the roots that they are under.
fn asked(authenticated: &Authenticated, found: &[(Kid, RightRow)], chains: &Chains, now: Timestamp) -> Asked {
    let body = authenticated.request.body();
    let key = |(kid, right): &(Kid, RightRow)| {
        let key = right.key.as_ref()?;
        let track = right.track.clone();
        let (content, label) = track.map(|track| (track.content_id, track.label)).unzip();
        Some(AskedKey {
            kid: *kid,
            key_type: key.key_type,
            minimum_security_level: key.minimum_security_level,
            content,
            label,
            root: chains.root(kid).map(|root| root.name.clone()),
            entitlement: right.grant.as_ref().map(|grant| EntitlementRow {
                policy: grant.policy.name.clone(),
                version: grant.policy.version,
                expires: grant.expires,
            }),
        })
    };
    Asked {
        request: authenticated.request.digest(),
        device: authenticated.device,
        account: authenticated.account_name.clone(),
        security_level: authenticated.security_level,
        client: body.client.clone(),
        capabilities: body.capabilities.clone(),
        persistent: body.persistent,
        keys: found.iter().chain(&chains.beside).filter_map(key).collect(),
        authorization: body.authorization.clone().map(AuthorizationToken::new),
        custom_data: body.custom_data.as_ref().map(|data| data.0.clone()),
        now,
    }
}

/// What all sources said together.
#[derive(Default)]
struct Heard {
    /// With what must not be used twice for it.
    verdicts: HashMap<Kid, (Verdict, Option<Once>)>,
    custom_data: Option<Vec<u8>>,
}

/// Asks one source after the other about what is left to decide.
async fn hear(sources: &[Box<dyn Source>], mut asked: Asked, chains: &Chains) -> Heard {
    let mut heard = Heard::default();
    for source in sources {
        if asked.keys.is_empty() {
            break;
        }
        let decision = source.ask(&asked).await;
        let decision = decision.unwrap_or_else(|error| failed(&asked, &error));
        heard.take(&asked, decision);
        asked.keys.retain(|key| !heard.has_decided(&key.kid, chains));
    }
    heard
}

/// Nothing is granted because somebody could not be asked.
fn failed(asked: &Asked, error: &HandlerError) -> Decision {
    tracing::warn!(device = %asked.device, %error, "who decides about licenses could not be asked");
    let mut decision = Decision::default();
    let sentence = "who decides about this content cannot be asked at present";
    decision.deny_all(asked, ErrorCode::Busy, sentence);
    decision
}

impl Heard {
    /// Whether somebody decided about the key id, or granted a root that it is under.
    fn has_decided(&self, kid: &Kid, chains: &Chains) -> bool {
        let granted = |root| matches!(self.verdicts.get(root), Some((Verdict::Grant(_), _)));
        self.verdicts.contains_key(kid) || chains.of(kid).iter().any(granted)
    }

    /// Takes what was decided about the key ids that were asked about, and nothing else.
    fn take(&mut self, asked: &Asked, decision: Decision) {
        for (kid, verdict) in decision.verdicts {
            if !asked.keys.iter().any(|key| key.kid == kid) {
                tracing::warn!(%kid, "a handler decided about a key id that it was not asked about");
                continue;
            }
            let once = match &verdict {
                Verdict::Grant(_) => decision.once.clone(),
                Verdict::Deny(_) => None,
            };
            self.verdicts.entry(kid).or_insert((verdict, once));
        }
        self.custom_data = self.custom_data.take().or(decision.custom_data);
    }
}

/// What must not be used twice, and was used.
async fn used(server: &Inner, heard: &Heard) -> Result<HashSet<Once>, Error> {
    let distinct: HashSet<&Once> = heard
        .verdicts
        .values()
        .filter_map(|(_, once)| once.as_ref())
        .collect();
    let mut used = HashSet::new();
    for once in distinct {
        if server.store.is_used(once).await? {
            used.insert(once.clone());
        }
    }
    Ok(used)
}

/// The newest version of each policy that is named.
async fn policies(server: &Inner, heard: &Heard) -> Result<HashMap<String, Option<Policy>>, Error> {
    let mut policies = HashMap::new();
    for (verdict, _) in heard.verdicts.values() {
        let Verdict::Grant(permission) = verdict else {
            continue;
        };
        if let Terms::Policy(name) = &permission.terms
            && !policies.contains_key(name)
        {
            policies.insert(name.clone(), server.store.newest_policy(name).await?);
        }
    }
    Ok(policies)
}

/// Finds the terms of a permission and narrows them.
fn resolve(
    permission: Permission,
    row: Option<Grant>,
    policies: &HashMap<String, Option<Policy>>,
    now: Timestamp,
) -> Result<(Grant, Rests), Denied> {
    let wrong = |what: &'static str| {
        tracing::error!(what, "a handler granted what cannot be issued");
        Denied::Ours(denial(ErrorCode::Internal, "the server failed"))
    };
    let (grant, rests) = match permission.terms {
        Terms::Entitlement => {
            let grant = row.ok_or_else(|| wrong("an entitlement that the account has not"))?;
            (grant.clone(), Rests::Row(Box::new(grant)))
        }
        Terms::Policy(name) => {
            let policy = policies.get(&name).cloned().flatten();
            let policy = policy.ok_or_else(|| wrong("a policy that this operator has not"))?;
            let rests = Rests::Policy(name, policy.version);
            (
                Grant {
                    policy: Arc::new(policy),
                    expires: None,
                },
                rests,
            )
        }
        Terms::Own(terms) => {
            terms.check(now).map_err(|_| wrong("terms that are no policy"))?;
            (own(*terms), Rests::Handler)
        }
    };
    let expires = [grant.expires, permission.expires].into_iter().flatten().min();
    if permission.narrowing == Narrowing::NONE {
        return Ok((Grant { expires, ..grant }, rests));
    }
    let terms = permission.narrowing.of(grant.policy.terms.clone());
    match terms.check(now) {
        // What has no effect beside a stricter term does no harm.
        Ok(()) | Err(PolicyFault::Conflict(_)) => {}
        Err(PolicyFault::Over) => {
            return ours(
                ErrorCode::NotEntitled,
                "the entitlement ends before a license would begin",
            );
        }
        Err(_) => return Err(wrong("limits that leave nothing of a policy")),
    }
    let policy = Arc::new(Policy {
        name: grant.policy.name.clone(),
        version: grant.policy.version,
        terms,
    });
    Ok((Grant { policy, expires }, rests))
}

/// Terms that are no policy of the operator are recorded under no name; versions of policies begin at 1.
pub(crate) fn own(terms: PolicyTerms) -> Grant {
    let policy = Policy {
        name: String::new(),
        version: 0,
        terms,
    };
    Grant {
        policy: Arc::new(policy),
        expires: None,
    }
}
