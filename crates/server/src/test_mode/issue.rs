//! How the issuing of licenses takes a test request: in the place of step 3, entitle.

use core::time::Duration;
use std::sync::Arc;

use keyward_crypto::{ContentKey, RootKey, kdf::hmac_sha256};
use keyward_license::{
    error_code::ErrorCode,
    ids::{Kid, TransactionId},
    license::{KeyType, LicenseBody},
    request::LicenseRequest,
    response::Denial,
    time::Timestamp,
};

use super::{
    Fault, MAX_LATENCY, TEST_SEED_NUMBER, TestAnswer, TestKey, TestKeyType, TestLicense, TestPlace,
    TestRequest, TestTransaction, client_info,
    plan::{Planned, plan},
};
use crate::{
    Error, Refusal,
    authenticate::Authenticated,
    chance::rng,
    entitle::{Denied, Entitled, Rights, denial, own},
    key_exchange::license::Licensed,
    operator::Identity,
    policy::PolicyTerms,
    server::Inner,
    store::{KeyRow, KeySource, Rests, RightRow, roots::RootRow},
};

/// What a request asks of a test operator; none of any other operator, whatever the request says.
pub(crate) fn wishes(
    identity: &Identity,
    query: Option<&str>,
    request: &LicenseRequest,
) -> Option<TestRequest> {
    if !identity.anchor.is_test() {
        return None;
    }
    let custom_data = request.custom_data.as_ref().map(|data| &data.0[..]);
    let refused = |fault| TestRequest {
        answer: TestAnswer {
            refused: Some(fault),
            ..TestAnswer::default()
        },
        ..TestRequest::default()
    };
    Some(TestRequest::read(query, custom_data).unwrap_or_else(refused))
}

impl TestRequest {
    /// The time that the answer is given by.
    ///
    /// # Errors
    /// [`Refusal::TestError`], an error that nothing signed carries.
    pub(crate) fn begin(&self, now: Timestamp) -> Result<Timestamp, Refusal> {
        if let Some(code) = self.answer.error.filter(|code| !is_told_as_denial(*code)) {
            return Err(Refusal::TestError(code));
        }
        let shift = self.answer.clock.unwrap_or_default();
        Ok(Timestamp(now.0.saturating_add_signed(shift)))
    }

    /// The transaction that the client is to acknowledge, if the request asks for one.
    pub(crate) fn transaction(&self) -> Option<TransactionId> {
        self.answer.transaction.map(|transaction| match transaction {
            TestTransaction::Named(id) => id,
            TestTransaction::Drawn => TransactionId::random(&mut rng()),
        })
    }
}

impl TestAnswer {
    /// What every key id is denied with, if nothing is to be issued.
    fn denial(&self) -> Option<Denial> {
        if let Some(fault) = &self.refused {
            return Some(told(fault));
        }
        if self.revoked {
            let sentence = "the test request asked to be answered as a revoked device";
            return Some(denial(ErrorCode::DeviceRevoked, sentence));
        }
        if let Some(code) = self.error {
            let sentence = format!(
                "the test request asked for error {} ({})",
                code.number(),
                code.name()
            );
            return Some(denial(code, &sentence));
        }
        let sentence = "what the client says of itself is in the custom data of this answer";
        self.client_info
            .then(|| denial(ErrorCode::ServiceSpecific, sentence))
    }
}

/// The licenses that a test operator gives, to any device, for any key id.
pub(crate) async fn rights(
    server: &Inner,
    identity: &Identity,
    authenticated: &mut Authenticated,
    test: &TestRequest,
    now: Timestamp,
) -> Result<Rights, Error> {
    let found = core::mem::take(&mut authenticated.rights);
    let request = authenticated.request.body();
    let client_info = test.answer.client_info;
    let custom_data = client_info.then(|| client_info::text(identity, authenticated).into_bytes());
    let asked: Vec<Kid> = found.iter().map(|(kid, _)| *kid).collect();
    let takes_more = request.capabilities.more_licenses.is_some();
    let planned = match test.answer.denial() {
        Some(denial) => Err(denial),
        None => plan(&test.licenses, &asked, takes_more, now).map_err(|fault| told(&fault)),
    };
    let usual = TestLicense::by_default();
    let making = Making {
        server,
        identity,
        now,
    };
    let mut keys = Vec::with_capacity(found.len());
    for (kid, right) in found {
        let right = match &planned {
            Err(denial) => Err(Denied::Theirs(denial.clone())),
            Ok(_) if test.licenses.is_empty() => Ok(making.entitled(kid, right, &usual.alone()).await?),
            Ok(planned) => match planned.get(&kid) {
                Some(planned) => Ok(making.entitled(kid, right, planned).await?),
                None => Err(Denied::Theirs(denial(
                    ErrorCode::NotEntitled,
                    "the test request has no group for this key id",
                ))),
            },
        };
        keys.push((kid, right));
    }
    Ok(Rights { keys, custom_data })
}

/// What a leaf says by itself, in the place of what its root's terms say.
pub(crate) fn leaf_body(body: LicenseBody, terms: &PolicyTerms) -> LicenseBody {
    terms.apply(body, None)
}

impl TestLicense {
    fn alone(&self) -> Planned<'_> {
        Planned {
            license: self,
            terms: self.terms.clone(),
            root: None,
        }
    }
}

struct Making<'a> {
    server: &'a Inner,
    identity: &'a Identity,
    now: Timestamp,
}

impl Making<'_> {
    async fn entitled(&self, kid: Kid, right: RightRow, planned: &Planned<'_>) -> Result<Entitled, Error> {
        let license = planned.license;
        let (key, exchange) = match (license.place, license.key_type) {
            (TestPlace::Root, _) => (self.root(kid)?.key(), None),
            (_, Some(TestKeyType::Exchange(algorithm, operation))) if !is_exchange(&right) => {
                let key = self.content_key(kid, &license.key).await?;
                let (kek, secret) = (self.server.vault.kek(), &self.identity.fingerprint_secret);
                let kind = (algorithm, operation);
                let exchange = Licensed::of_bytes(&kek, secret, kid, kind, key.expose(), self.now)?;
                (row(kid, KeyType::Exchange, KeySource::Exchange), Some(exchange))
            }
            _ => (self.key(kid, right, license)?, None),
        };
        let (root, of_root) = planned.root.clone().unzip();
        Ok(Entitled {
            key,
            grant: own(of_root.unwrap_or_else(|| planned.terms.clone())),
            rests: Rests::Handler,
            once: None,
            exchange,
            track: None,
            root: root.map(|root| self.root(root)).transpose()?,
            or_else: None,
            test: Some(Arc::new(planned.terms.clone())),
        })
    }

    /// The key of a key id, of the type that was asked for.
    fn key(&self, kid: Kid, right: RightRow, license: &TestLicense) -> Result<KeyRow, Error> {
        let asked = match license.key_type {
            Some(TestKeyType::Content(key_type)) => Some(key_type),
            Some(TestKeyType::Exchange(..)) => Some(KeyType::Exchange),
            None => None,
        };
        let registered = right.key;
        let was_given = |key: &ContentKey| {
            let sealed = self.server.vault.seal_content_key(&kid, key)?;
            let kept = registered.as_ref().map(|key| key.key_type);
            let kept = kept.filter(|key_type| key_type.is_for_content());
            let key_type = asked.or(kept).unwrap_or(KeyType::CencCtr);
            Ok(row(kid, key_type, KeySource::Sealed(sealed)))
        };
        match (&license.key, &registered) {
            (TestKey::Given(key), _) => was_given(key),
            (TestKey::Seed(seed), _) => was_given(&seed.derive(kid.as_bytes())),
            (TestKey::Registered, Some(key)) if asked.is_none_or(|asked| serves(key, asked)) => {
                Ok(row(kid, asked.unwrap_or(key.key_type), key.source.clone()))
            }
            (TestKey::Registered, _) => {
                let key_type = asked.unwrap_or(KeyType::CencCtr);
                Ok(row(kid, key_type, KeySource::Seed(TEST_SEED_NUMBER)))
            }
        }
    }

    async fn content_key(&self, kid: Kid, key: &TestKey) -> Result<ContentKey, Error> {
        match key {
            TestKey::Given(key) => Ok(key.duplicate()),
            TestKey::Seed(seed) => Ok(seed.derive(kid.as_bytes())),
            TestKey::Registered => {
                let of_seed = row(kid, KeyType::CencCtr, KeySource::Seed(TEST_SEED_NUMBER));
                self.server.vault.content_key(&self.server.store, &of_seed).await
            }
        }
    }

    /// The root of a key id. Its key is always the same, so that a leaf opens under a root that was issued before.
    fn root(&self, kid: Kid) -> Result<RootRow, Error> {
        let secret = self.identity.proof_secret.expose();
        let key = hmac_sha256(secret, &[b"keyward test root", kid.as_bytes()])?;
        let key = RootKey::from_slice(&key)?;
        Ok(RootRow {
            kid,
            name: "test".to_owned(),
            sealed: self.server.vault.seal_root(&kid, &key)?,
            minimum_security_level: None,
            accompany: false,
            created: self.now,
        })
    }
}

/// Whether the key id is registered for key exchange.
fn is_exchange(right: &RightRow) -> bool {
    right
        .key
        .as_ref()
        .is_some_and(|key| key.key_type == KeyType::Exchange)
}

/// Whether a registered key can be taken for a type: content keys serve content, and no other.
fn serves(key: &KeyRow, asked: KeyType) -> bool {
    key.key_type == asked || key.key_type.is_for_content() && asked.is_for_content()
}

/// A key for devices of any level.
const fn row(kid: Kid, key_type: KeyType, source: KeySource) -> KeyRow {
    KeyRow {
        kid,
        key_type,
        source,
        minimum_security_level: None,
    }
}

fn told(fault: &Fault) -> Denial {
    denial(fault.code(), &fault.to_string())
}

/// Keeps an answer back. Whoever waits holds nothing that others could use meanwhile but its connection.
pub(crate) async fn keep_back(latency: Duration) {
    if !latency.is_zero() {
        tokio::time::sleep(latency.min(MAX_LATENCY)).await;
    }
}

/// Whether a server would tell this error of single key ids, in a signed answer.
fn is_told_as_denial(code: ErrorCode) -> bool {
    code == ErrorCode::DeviceRevoked || (300..400).contains(&code.number())
}
