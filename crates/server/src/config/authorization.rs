//! Who decides about licenses: the rows of the database, authorization tokens, a webhook.

use core::time::Duration;
use std::{collections::BTreeSet, path::PathBuf};

use axum::http::{Uri, uri::Scheme};
use serde::Deserialize;

use super::{ConfigError, is_loopback, within};

/// Who decides about licenses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// Who is asked, in this order: the first that grants or denies a key id decides it.
    pub sources: Vec<AuthorizationSource>,
    /// Keys that authorization tokens are signed with.
    pub jwt: Vec<JwtKey>,
    /// The authorization webhook, if there is one.
    pub webhook: Option<Webhook>,
}

impl Default for Authorization {
    /// The rows alone.
    fn default() -> Self {
        Self {
            sources: vec![AuthorizationSource::Rows],
            jwt: Vec::new(),
            webhook: None,
        }
    }
}

/// Who may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthorizationSource {
    /// Entitlements in the database.
    Rows,
    /// The authorization token in the request.
    Jwt,
    /// The operator's own service, over HTTP.
    Webhook,
}

/// A key that authorization tokens (JWT, RFC 7519) are signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtKey {
    /// Its name: the `kid` of tokens that name their key.
    pub name: String,
    /// The one algorithm that it is for, whatever a token says.
    pub algorithm: JwtAlgorithm,
    /// What `aud` of a token must name.
    pub audience: String,
    /// What `iss` of a token must be; none for any.
    pub issuer: Option<String>,
    /// The key's file: a public key in PEM or JWK, or the secret of `HS256`. Relative to the operator directory.
    pub key_file: PathBuf,
    /// Whether a token is good for one answer: it must then have a `jti`.
    pub single_use: bool,
    /// Most seconds that a token may be valid, counted from its use and, where it says when it was made, from then.
    pub max_age: u64,
}

/// Algorithms of authorization tokens (RFC 7518 §3.1, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum JwtAlgorithm {
    /// ECDSA, P-256.
    #[serde(rename = "ES256")]
    Es256,
    /// ECDSA, P-384.
    #[serde(rename = "ES384")]
    Es384,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSA, PKCS #1 v1.5, 2048 bits or more.
    #[serde(rename = "RS256")]
    Rs256,
    /// RSA, PSS, 2048 bits or more.
    #[serde(rename = "PS256")]
    Ps256,
    /// HMAC: who can verify a token can make one.
    #[serde(rename = "HS256")]
    Hs256,
}

/// The authorization webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where it is asked: `https`, or `http` on loopback. Nothing else is ever called.
    pub url: Uri,
    /// File of the secret that requests to it are signed with. Relative to the operator directory.
    pub secret_file: PathBuf,
    /// File of the certificates, in PEM, that its TLS certificate must chain to, instead of those that the system
    /// trusts. Relative to the operator directory.
    pub authorities_file: Option<PathBuf>,
    /// Time for one exchange, waiting for a place included.
    pub timeout: Duration,
    /// Largest answer, in bytes.
    pub answer_bytes: usize,
    /// Exchanges at the same time.
    pub concurrent: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuthorizationFile {
    sources: Vec<AuthorizationSource>,
    jwt: Vec<JwtKeyFile>,
    webhook: Option<WebhookFile>,
}

impl Default for AuthorizationFile {
    fn default() -> Self {
        Self {
            sources: vec![AuthorizationSource::Rows],
            jwt: Vec::new(),
            webhook: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JwtKeyFile {
    name: String,
    algorithm: JwtAlgorithm,
    audience: String,
    issuer: Option<String>,
    key_file: PathBuf,
    #[serde(default)]
    single_use: bool,
    #[serde(default = "a_day")]
    max_age_seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookFile {
    url: String,
    secret_file: PathBuf,
    authorities_file: Option<PathBuf>,
    #[serde(default = "two_seconds")]
    timeout_milliseconds: u64,
    #[serde(default = "answer_bytes")]
    answer_bytes: usize,
    #[serde(default = "concurrent")]
    concurrent: usize,
}

const fn a_day() -> u64 {
    86_400
}

const fn two_seconds() -> u64 {
    2_000
}

const fn answer_bytes() -> usize {
    65_536
}

const fn concurrent() -> usize {
    32
}

impl AuthorizationFile {
    pub(super) fn validate(self) -> Result<Authorization, ConfigError> {
        let distinct: BTreeSet<_> = self.sources.iter().collect();
        if self.sources.is_empty() || distinct.len() < self.sources.len() {
            return refused(
                "authorization.sources",
                "`rows`, `jwt`, `webhook`: one or more, each once",
            );
        }
        if distinct.contains(&AuthorizationSource::Jwt) && self.jwt.is_empty() {
            return refused("authorization.jwt", "one key or more, for the source `jwt`");
        }
        if distinct.contains(&AuthorizationSource::Webhook) && self.webhook.is_none() {
            return refused("authorization.webhook", "given, for the source `webhook`");
        }
        let names: BTreeSet<_> = self.jwt.iter().map(|key| &key.name).collect();
        if self.jwt.len() > MOST_KEYS || names.len() < self.jwt.len() {
            return refused(
                "authorization.jwt",
                "at most 16 keys, each with a name of its own",
            );
        }
        Ok(Authorization {
            jwt: self
                .jwt
                .into_iter()
                .map(JwtKeyFile::validate)
                .collect::<Result<_, _>>()?,
            webhook: self.webhook.map(WebhookFile::validate).transpose()?,
            sources: self.sources,
        })
    }
}

impl JwtKeyFile {
    fn validate(self) -> Result<JwtKey, ConfigError> {
        let printable = self.name.bytes().all(|byte| byte.is_ascii_graphic());
        if !printable || !(1..=64).contains(&self.name.len()) {
            return refused("authorization.jwt.name", "1 to 64 printable ASCII characters");
        }
        let bounded = |text: &str| (1..=255).contains(&text.len());
        if !bounded(&self.audience) || !self.issuer.as_deref().is_none_or(bounded) {
            return refused("audience and issuer of authorization.jwt", "of 1 to 255 bytes");
        }
        let (age, expected) = (self.max_age_seconds, "1 to 31536000");
        within("authorization.jwt.max_age_seconds", age, 1, 31_536_000, expected)?;
        Ok(JwtKey {
            name: self.name,
            algorithm: self.algorithm,
            audience: self.audience,
            issuer: self.issuer,
            key_file: self.key_file,
            single_use: self.single_use,
            max_age: self.max_age_seconds,
        })
    }
}

impl WebhookFile {
    fn validate(self) -> Result<Webhook, ConfigError> {
        let (time, bytes, places) = (self.timeout_milliseconds, self.answer_bytes, self.concurrent);
        within(
            "authorization.webhook.timeout_milliseconds",
            time,
            10,
            10_000,
            "10 to 10000",
        )?;
        within(
            "authorization.webhook.answer_bytes",
            bytes,
            256,
            1 << 20,
            "256 to 1048576",
        )?;
        within("authorization.webhook.concurrent", places, 1, 1024, "1 to 1024")?;
        Ok(Webhook {
            url: webhook_url(&self.url)?,
            secret_file: self.secret_file,
            authorities_file: self.authorities_file,
            timeout: Duration::from_millis(time),
            answer_bytes: bytes,
            concurrent: places,
        })
    }
}

fn webhook_url(text: &str) -> Result<Uri, ConfigError> {
    let expected = "a URL without user and password: https, or http on loopback";
    let refused = || ConfigError::Value {
        key: "authorization.webhook.url",
        expected,
    };
    let uri: Uri = text.parse().map_err(|_| refused())?;
    let private = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        Some(scheme) if *scheme == Scheme::HTTP => uri.host().is_some_and(is_loopback),
        _ => false,
    };
    let named = uri
        .authority()
        .is_some_and(|authority| !authority.as_str().contains('@'));
    if private && named && !text.contains('#') {
        Ok(uri)
    } else {
        Err(refused())
    }
}

const fn refused<T>(key: &'static str, expected: &'static str) -> Result<T, ConfigError> {
    Err(ConfigError::Value { key, expected })
}

/// Keys that are tried, at most, for a token that names none.
const MOST_KEYS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, SAMPLE};

    const KEY: &str = "[[authorization.jwt]]
        name = \"shop\"
        algorithm = \"ES256\"
        audience = \"licenses\"
        key_file = \"shop.pem\"";
    const WEBHOOK: &str = "[authorization.webhook]
        url = \"https://shop.example/licenses?from=keyward\"
        secret_file = \"webhook.secret\"";

    fn with(sources: &str, sections: &str) -> Result<Authorization, ConfigError> {
        let text = SAMPLE.replace(
            "# sources = [\"rows\"]\n",
            &format!("sources = {sources}\n{sections}\n"),
        );
        assert_ne!(text, SAMPLE);
        Config::from_toml(&text).map(|config| config.authorization)
    }

    #[test]
    fn rows_alone_decide_unless_others_are_named() {
        assert_eq!(
            Config::from_toml(SAMPLE).unwrap().authorization,
            Authorization::default()
        );
        let all = with("[\"webhook\", \"rows\", \"jwt\"]", &format!("{KEY}\n{WEBHOOK}")).unwrap();
        use AuthorizationSource as Source;
        assert_eq!(all.sources, [Source::Webhook, Source::Rows, Source::Jwt]);
        let [key] = &all.jwt[..] else { panic!("one key") };
        assert_eq!(
            (key.single_use, key.max_age, key.issuer.as_deref()),
            (false, 86_400, None)
        );
        let webhook = all.webhook.unwrap();
        assert_eq!(
            (
                webhook.timeout.as_millis(),
                webhook.answer_bytes,
                webhook.concurrent
            ),
            (2000, 65_536, 32)
        );
    }

    /// What the sample shows of tokens and webhook can be used as it stands.
    #[test]
    fn the_examples_of_the_sample_are_right() {
        let examples: Vec<_> = SAMPLE
            .lines()
            .filter_map(|line| line.strip_prefix("#   "))
            .collect();
        let examples = examples.join("\n");
        for key in [
            "single_use",
            "max_age_seconds",
            "issuer",
            "authorities_file",
            "timeout_milliseconds",
            "answer_bytes",
            "concurrent",
        ] {
            assert!(examples.contains(key), "{key} is not in the sample");
        }
        let shown = with("[\"rows\", \"jwt\", \"webhook\"]", &examples).unwrap();
        assert_eq!((shown.jwt.len(), shown.webhook.is_some()), (1, true));
    }

    #[test]
    fn what_cannot_decide_is_refused_with_the_reason() {
        let key = |line: &str| KEY.replace("name = \"shop\"", line);
        let webhook = |url: &str| WEBHOOK.replace("https://shop.example/licenses?from=keyward", url);
        let twice = format!("{KEY}\n{KEY}");
        for (sources, sections, expected) in [
            ("[]", String::new(), "authorization.sources must be `rows`"),
            (
                "[\"rows\", \"rows\"]",
                String::new(),
                "authorization.sources must be `rows`",
            ),
            ("[\"everybody\"]", String::new(), "unknown variant `everybody`"),
            (
                "[\"jwt\"]",
                String::new(),
                "authorization.jwt must be one key or more",
            ),
            (
                "[\"webhook\"]",
                String::new(),
                "authorization.webhook must be given",
            ),
            ("[\"jwt\"]", twice, "each with a name of its own"),
            (
                "[\"jwt\"]",
                key("name = \"two words\""),
                "authorization.jwt.name must be",
            ),
            (
                "[\"jwt\"]",
                key("name = \"a\"\nmax_age_seconds = 0"),
                "max_age_seconds must be 1",
            ),
            (
                "[\"jwt\"]",
                key("name = \"a\"\nissuer = \"\""),
                "of 1 to 255 bytes",
            ),
            (
                "[\"jwt\"]",
                KEY.replace("ES256", "none"),
                "unknown variant `none`",
            ),
            (
                "[\"webhook\"]",
                webhook("http://shop.example/"),
                "https, or http on loopback",
            ),
            (
                "[\"webhook\"]",
                webhook("https://a:b@shop.example/"),
                "https, or http on loopback",
            ),
            (
                "[\"webhook\"]",
                webhook("https://shop.example/#a"),
                "https, or http on loopback",
            ),
            (
                "[\"webhook\"]",
                webhook("/licenses"),
                "https, or http on loopback",
            ),
            (
                "[\"webhook\"]",
                format!("{WEBHOOK}\ntimeout_milliseconds = 60000"),
                "10 to 10000",
            ),
            (
                "[\"webhook\"]",
                format!("{WEBHOOK}\nfollow = true"),
                "unknown field `follow`",
            ),
        ] {
            let refused = with(sources, &sections).unwrap_err().to_string();
            assert!(refused.contains(expected), "{sources} {sections}: {refused}");
        }
    }
}
