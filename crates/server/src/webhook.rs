//! The authorization webhook: the operator's own service decides, over HTTP.
//!
//! ```text
//!  license server ── POST url, JSON, Keyward-Signature ──► the operator's service
//!                 ◄── 200, JSON: for each key id a grant, a denial, or nothing ──
//! ```
//! One URL is called, that of the configuration, and no other: redirects are not followed, and nothing in a request
//! names an address. Whatever goes wrong denies: a service that is slow, down, answers too much or answers something
//! else grants nothing. One that does not answer is left alone for a while, so that requests are denied at once.
//! `docs/guides/authorization.md` has the messages.

use core::time::Duration;
use std::{
    borrow::Cow,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use axum::{
    body::Bytes,
    http::{
        HeaderValue, Request, StatusCode, Uri,
        header::{CONTENT_ENCODING, CONTENT_TYPE},
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use keyward_crypto::{SecretBytes, kdf::hmac_sha256};
use keyward_license::{error_code::ErrorCode, ids::Kid, license::KeyType};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    Error,
    config::{self, ConfigError},
    handler::{Asked, AskedKey, Decision, HandlerError, LicenseHandler, Narrowing, Permission},
    jwt,
    policy::PolicyTerms,
    proxy::tls,
};

/// The webhook, as the server asks it.
pub(crate) struct Hook {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    settings: config::Webhook,
    secret: SecretBytes,
    places: Semaphore,
    breaker: Breaker,
}

/// Why the webhook decided nothing.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the authorization webhook was absent several times in a row and is left alone for a while")]
    LeftAlone,
    #[error("the authorization webhook did not answer in time")]
    TimedOut,
    #[error("the authorization webhook cannot be reached")]
    Unreachable(#[source] Box<dyn core::error::Error + Send + Sync>),
    #[error("the authorization webhook answered with HTTP status {0}")]
    Status(u16),
    #[error("the authorization webhook's answer is larger than it may be")]
    TooLarge,
    #[error("the authorization webhook answered with something other than plain application/json")]
    MediaType,
    #[error("the authorization webhook's answer cannot be read")]
    NotAnAnswer(#[source] serde_json::Error),
    #[error("the authorization webhook's answer {0}")]
    WrongAnswer(&'static str),
    #[error("the question to the authorization webhook could not be made")]
    Unasked(#[source] Box<dyn core::error::Error + Send + Sync>),
}

impl Hook {
    /// Reads the webhook's files, which are named relative to `dir`.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::SecretExposed`], [`Error::Config`].
    pub(crate) fn load(settings: &config::Webhook, dir: &Path) -> Result<Self, Error> {
        let secret = jwt::secret(&dir.join(&settings.secret_file))?;
        let authorities = settings.authorities_file.as_ref().map(|file| {
            let path = dir.join(file);
            fs::read(&path).map_err(Error::file("read", path))
        });
        let is_https = settings.url.scheme_str() == Some("https");
        let tls =
            tls::config(authorities.transpose()?.as_deref(), is_https).map_err(|_| ConfigError::Value {
                key: "authorization.webhook.authorities_file",
                expected: "a file with certificates in PEM, or left out where the system trusts some",
            })?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self {
            client,
            secret,
            places: Semaphore::new(settings.concurrent),
            breaker: Breaker::default(),
            settings: settings.clone(),
        })
    }

    async fn ask(&self, asked: &Asked) -> Result<Decision, Fault> {
        if !self.breaker.admits(Instant::now()) {
            return Err(Fault::LeftAlone);
        }
        let exchange = tokio::time::timeout(self.settings.timeout, self.exchange(asked)).await;
        let decision = exchange.unwrap_or(Err(Fault::TimedOut));
        // Who answers, if only to refuse, is there: no device can have others denied by what it asks.
        let absent = matches!(decision, Err(Fault::TimedOut | Fault::Unreachable(_)));
        self.breaker.note(!absent, Instant::now());
        decision
    }

    async fn exchange(&self, asked: &Asked) -> Result<Decision, Fault> {
        let _place = self
            .places
            .acquire()
            .await
            .map_err(|error| Fault::Unasked(error.into()))?;
        let request = self.request(asked)?;
        let unreachable = |error: hyper_util::client::legacy::Error| Fault::Unreachable(error.into());
        let (parts, body) = self
            .client
            .request(request)
            .await
            .map_err(unreachable)?
            .into_parts();
        if parts.status != StatusCode::OK {
            return Err(Fault::Status(parts.status.as_u16()));
        }
        if !is_json(parts.headers.get(CONTENT_TYPE)) || parts.headers.contains_key(CONTENT_ENCODING) {
            return Err(Fault::MediaType);
        }
        let body = Limited::new(body, self.settings.answer_bytes).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                Fault::TooLarge
            } else {
                Fault::Unreachable(error)
            }
        })?;
        let answer: Answer = serde_json::from_slice(&body.to_bytes()).map_err(Fault::NotAnAnswer)?;
        answer.into_decision(asked).map_err(Fault::WrongAnswer)
    }

    fn request(&self, asked: &Asked) -> Result<Request<Full<Bytes>>, Fault> {
        let unasked = |error: Box<dyn core::error::Error + Send + Sync>| Fault::Unasked(error);
        let body = serde_json::to_vec(&Question::of(asked)).map_err(|error| unasked(error.into()))?;
        let signature = self
            .signature(asked.now.0, &body)
            .map_err(|error| unasked(error.into()))?;
        let uri: &Uri = &self.settings.url;
        Request::post(uri.clone())
            .header(CONTENT_TYPE, JSON)
            .header(SIGNATURE, signature)
            .body(Full::new(body.into()))
            .map_err(|error| unasked(error.into()))
    }

    /// HMAC-SHA-256 over the time, a full stop and the body, so that neither can be changed, and an old question is
    /// known as one.
    fn signature(&self, time: u64, body: &[u8]) -> Result<String, keyward_crypto::CryptoError> {
        let time = time.to_string();
        let mac = hmac_sha256(self.secret.expose(), &[time.as_bytes(), b".", body])?;
        Ok(format!("t={time},v1={}", hex::encode(mac)))
    }
}

impl LicenseHandler for Hook {
    async fn decide(&self, asked: &Asked) -> Result<Decision, HandlerError> {
        Ok(self.ask(asked).await?)
    }
}

/// What is asked.
#[derive(Serialize)]
struct Question<'a> {
    version: u32,
    /// SHA-256 of the license request's body, in hexadecimal digits. The answer repeats it.
    request: String,
    time: u64,
    device: AskingDevice<'a>,
    client: AskingClient<'a>,
    persistent: bool,
    keys: Vec<Key<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization: Option<&'a str>,
    /// In base64url without padding.
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_data: Option<String>,
}

#[derive(Serialize)]
struct AskingDevice<'a> {
    id: String,
    account: &'a str,
    security_level: u64,
}

#[derive(Serialize)]
struct AskingClient<'a> {
    name: &'a str,
    version: &'a str,
    platform: &'a str,
}

#[derive(Serialize)]
struct Key<'a> {
    kid: String,
    key_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entitlement: Option<Entitlement<'a>>,
}

#[derive(Serialize)]
struct Entitlement<'a> {
    policy: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
}

impl<'a> Question<'a> {
    fn of(asked: &'a Asked) -> Self {
        Self {
            version: 1,
            request: asked.request.to_string(),
            time: asked.now.0,
            device: AskingDevice {
                id: asked.device.to_string(),
                account: &asked.account,
                security_level: asked.security_level,
            },
            client: AskingClient {
                name: &asked.client.name,
                version: &asked.client.version,
                platform: &asked.client.platform,
            },
            persistent: asked.persistent,
            keys: asked.keys.iter().map(Key::of).collect(),
            authorization: asked.authorization.as_ref().map(|token| token.expose()),
            custom_data: asked
                .custom_data
                .as_ref()
                .map(|data| URL_SAFE_NO_PAD.encode(data)),
        }
    }
}

impl<'a> Key<'a> {
    fn of(asked: &'a AskedKey) -> Self {
        Self {
            kid: asked.kid.to_string(),
            key_type: match asked.key_type {
                KeyType::CencCtr => "cenc-ctr",
                KeyType::CencCbc => "cenc-cbc",
                KeyType::File => "file",
                KeyType::Root => "root",
                KeyType::Exchange => "exchange",
            },
            content: asked.content.as_deref(),
            label: asked.label.as_deref(),
            root: asked.root.as_deref(),
            entitlement: asked.entitlement.as_ref().map(|row| Entitlement {
                policy: &row.policy,
                expires: row.expires.map(|expires| expires.0),
            }),
        }
    }
}

/// What is answered.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    request: String,
    keys: Vec<Answered>,
    custom_data: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    kid: String,
    grant: Option<Granted>,
    deny: Option<Refused>,
}

/// Under a policy by its name, under terms, or as the account's entitlement says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Granted {
    policy: Option<String>,
    terms: Option<Box<PolicyTerms>>,
    #[serde(default)]
    entitlement: bool,
    #[serde(default)]
    limits: Narrowing,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    reason: Reason,
    sentence: String,
    url: Option<String>,
}

/// Reasons that somebody else may have, by their names in `spec/errors.md`.
#[derive(Clone, Copy)]
struct Reason(ErrorCode);

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<'_, str>::deserialize(deserializer)?;
        let known = REASONS.into_iter().find(|code| code.name() == name);
        known
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("a reason that nobody may deny for"))
    }
}

const REASONS: [ErrorCode; 10] = [
    ErrorCode::NotEntitled,
    ErrorCode::SecurityLevelTooLow,
    ErrorCode::ClientLacksCapability,
    ErrorCode::AuthorizationRefused,
    ErrorCode::ServiceSpecific,
    ErrorCode::DomainRequired,
    ErrorCode::DomainRenewalRequired,
    ErrorCode::DeviceLimitReached,
    ErrorCode::NotAMember,
    ErrorCode::AccountUnknown,
];

impl Answer {
    fn into_decision(self, asked: &Asked) -> Result<Decision, &'static str> {
        if self.request != asked.request.to_string() {
            return Err("is to another request");
        }
        let mut decision = Decision::default();
        let mut open: Vec<Kid> = asked.keys.iter().map(|key| key.kid).collect();
        for answered in self.keys {
            let kid = answered
                .kid
                .parse()
                .map_err(|_| "names something that is no key id")?;
            let place = open.iter().position(|open| *open == kid);
            open.swap_remove(place.ok_or("is about a key id that was not asked about, or twice about one")?);
            match (answered.grant, answered.deny) {
                (Some(granted), None) => decision.grant(kid, granted.into_permission()?),
                (
                    None,
                    Some(Refused {
                        reason,
                        sentence,
                        url,
                    }),
                ) => {
                    decision.deny(kid, reason.0, &sentence, url.as_deref());
                }
                _ => return Err("neither grants nor denies, or does both"),
            }
        }
        if let Some(data) = self.custom_data {
            let data = URL_SAFE_NO_PAD
                .decode(data)
                .map_err(|_| "has custom data that is not base64url")?;
            decision
                .set_custom_data(data)
                .map_err(|_| "has more custom data than may be passed on")?;
        }
        Ok(decision)
    }
}

impl Granted {
    fn into_permission(self) -> Result<Permission, &'static str> {
        let permission = match (self.policy, self.terms, self.entitlement) {
            (Some(name), None, false) => Permission::policy(&name),
            (None, Some(terms), false) => Permission::own(*terms),
            (None, None, true) => Permission::entitlement(),
            _ => return Err("grants under none or several of `policy`, `terms` and `entitlement`"),
        };
        Ok(Permission {
            narrowing: self.limits,
            ..permission
        })
    }
}

/// Leaves a service alone that does not answer, again and again; after a pause, one request tries it.
#[derive(Default)]
struct Breaker(Mutex<Failures>);

#[derive(Default)]
struct Failures {
    in_a_row: u32,
    /// When the next one tries, once there were too many.
    next: Option<Instant>,
}

impl Breaker {
    /// Whether to ask now. Who is let through when it was left alone is the only one for another pause.
    fn admits(&self, now: Instant) -> bool {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.next {
            Some(next) if now < next => false,
            Some(_) => {
                failures.next = Some(now + PAUSE);
                true
            }
            None => true,
        }
    }

    fn note(&self, good: bool, now: Instant) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if good {
            *failures = Failures::default();
            return;
        }
        failures.in_a_row = failures.in_a_row.saturating_add(1);
        if failures.in_a_row >= TOO_MANY {
            failures.next = Some(now + PAUSE);
        }
    }
}

fn is_json(stated: Option<&HeaderValue>) -> bool {
    let stated = stated.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (media_type, parameters) = stated.split_once(';').unwrap_or((stated, ""));
    let parameters = parameters.trim();
    media_type.trim().eq_ignore_ascii_case(JSON)
        && (parameters.is_empty() || parameters.eq_ignore_ascii_case("charset=utf-8"))
}

const JSON: &str = "application/json";
const SIGNATURE: &str = "keyward-signature";

/// Failures in a row after which the service is left alone.
const TOO_MANY: u32 = 5;
const PAUSE: Duration = Duration::from_secs(5);

/// For which an idle connection is kept: less than common servers do, so that none is used in the moment in which it
/// is closed.
const IDLE: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_keeps_failing_is_left_alone_and_tried_by_one() {
        let breaker = Breaker::default();
        let start = Instant::now();
        for _ in 1..TOO_MANY {
            breaker.note(false, start);
            assert!(breaker.admits(start));
        }
        breaker.note(true, start);
        for _ in 0..TOO_MANY {
            assert!(
                breaker.admits(start),
                "a success in between starts the count again"
            );
            breaker.note(false, start);
        }
        assert!(!breaker.admits(start));
        assert!(breaker.admits(start + PAUSE), "one tries");
        assert!(!breaker.admits(start + PAUSE), "and one only");
        breaker.note(false, start + PAUSE);
        assert!(!breaker.admits(start + PAUSE + PAUSE / 2));
        assert!(breaker.admits(start + PAUSE * 2));
        breaker.note(true, start + PAUSE * 2);
        assert!(breaker.admits(start + PAUSE * 2) && breaker.admits(start + PAUSE * 2));
    }

    #[test]
    fn plain_json_is_one_media_type() {
        let is = |text: &'static str| is_json(Some(&HeaderValue::from_static(text)));
        assert!(
            is("application/json")
                && is("application/json; charset=utf-8")
                && is("Application/JSON;charset=UTF-8")
        );
        assert!(
            !is("text/html")
                && !is("application/json; charset=utf-16")
                && !is("application/jsonp")
                && !is("")
        );
        assert!(!is_json(None));
    }
}
