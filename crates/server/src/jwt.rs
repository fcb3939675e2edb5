//! Authorization tokens: entitlements signed by the operator's own service, as JWT (RFC 7519).
//!
//! ```text
//!  token ─► header: which key? ─► signature, by that key's one algorithm ─► audience, issuer, times
//!        ─► for this account, or for this device? ─► key ids it grants, under a policy, narrowed
//! ```
//! A token speaks for the account in `sub`. The device that brings it must be of that account, or be named by `cnf`:
//! a token that was stolen is of no use on a stranger's device. What the token says about keys
//! stands in the claim `keyward`; `docs/guides/authorization.md` has it all. A token can only narrow a policy of the
//! operator, and grants nothing that it does not name.
//!
//! The algorithm belongs to the configured key and never to the token, so that no public key serves as the secret of
//! an HMAC, and `none` is no algorithm. What a header says about where keys are (`jku`, `x5u`, `jwk`, `x5c`) is not
//! looked at.

use std::{fs, path::Path};

use jsonwebtoken::{
    Algorithm, DecodingKey, Header, Validation, decode, decode_header, errors::ErrorKind, jwk::Jwk,
};
use keyward_crypto::SecretBytes;
use keyward_license::{error_code::ErrorCode, ids::Kid, license::KeyType, time::Timestamp};
use serde::{Deserialize, Deserializer, de::Error as _};
use zeroize::Zeroizing;

use crate::{
    Error,
    config::{ConfigError, JwtAlgorithm, JwtKey},
    handler::{Asked, AskedKey, Decision, HandlerError, LicenseHandler, Narrowing, Permission},
    policy::DEFAULT_POLICY,
    sealing,
};

/// Decides by the authorization token in the request.
pub(crate) struct Tokens(Vec<Key>);

/// A key, and what a token of it must say.
struct Key {
    settings: JwtKey,
    decoding: DecodingKey,
    validation: Validation,
}

/// V-045: why an authorization token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwtFault {
    /// Not a signed token, or of an algorithm that is none.
    #[error("it is not a signed token")]
    Malformed,
    /// RFC 7515 §4.1.11: no critical extension is understood.
    #[error("it has a critical extension")]
    Critical,
    /// No key of this name, or none for the algorithm.
    #[error("no key of this operator is for it")]
    UnknownKey,
    /// The signature does not verify.
    #[error("its signature does not verify")]
    BadSignature,
    /// A claim is missing or malformed.
    #[error("a claim is missing or malformed")]
    Claims,
    /// For another use.
    #[error("it is for another audience")]
    Audience,
    /// From somebody else.
    #[error("it is from another issuer")]
    Issuer,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYetValid,
    /// Valid for longer than the key's tokens may be.
    #[error("it is valid for longer than this operator permits")]
    TooLong,
    /// V-045: `sub` is not the device's account, and no `cnf` names the device.
    #[error("it is for another account")]
    OtherAccount,
    /// `cnf` names another device.
    #[error("it is for another device")]
    OtherDevice,
    /// The key's tokens are good for one use, and this one cannot be told from others.
    #[error("it has no `jti`")]
    NoId,
}

impl Tokens {
    /// Reads the keys' files, which are named relative to `dir`.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::SecretExposed`], [`Error::Config`] for a file that holds no key for its algorithm.
    pub(crate) fn load(settings: &[JwtKey], dir: &Path) -> Result<Self, Error> {
        let keys = settings.iter().map(|key| Key::load(key.clone(), dir));
        keys.collect::<Result<_, _>>().map(Self)
    }

    /// V-045: the token is signed by a key of ours, for this use, now, for this account or device.
    fn verify(&self, token: &str, asked: &Asked) -> Result<(&Key, Claims), JwtFault> {
        let header = decode_header(token).map_err(|_| JwtFault::Malformed)?;
        if header.crit.is_some() {
            return Err(JwtFault::Critical);
        }
        let mut fault = JwtFault::UnknownKey;
        for key in self.0.iter().filter(|key| key.may_have_signed(&header)) {
            match key.open(token) {
                Ok(claims) => {
                    key.judge(&claims, asked)?;
                    return Ok((key, claims));
                }
                Err(JwtFault::BadSignature) => fault = JwtFault::BadSignature,
                Err(other) => return Err(other),
            }
        }
        Err(fault)
    }
}

impl LicenseHandler for Tokens {
    async fn decide(&self, asked: &Asked) -> Result<Decision, HandlerError> {
        let mut decision = Decision::default();
        let Some(token) = &asked.authorization else {
            return Ok(decision);
        };
        let (key, claims) = match self.verify(token.expose(), asked) {
            Ok(verified) => verified,
            Err(fault) => {
                let sentence = format!("the authorization token was refused: {fault}");
                decision.deny_all(asked, ErrorCode::AuthorizationRefused, &sentence);
                return Ok(decision);
            }
        };
        tracing::info!(device = %asked.device, key = %key.settings.name, "authorization token accepted");
        if let Some(granted) = &claims.keyward {
            for wanted in asked.keys.iter().filter(|wanted| granted.covers(wanted)) {
                decision.grant(wanted.kid, granted.permission());
            }
        }
        if let (true, Some(id)) = (key.settings.single_use, &claims.jti) {
            decision.only_once(&key.settings.name, id.as_bytes(), Timestamp(claims.exp));
        }
        Ok(decision)
    }
}

impl Key {
    fn load(settings: JwtKey, dir: &Path) -> Result<Self, Error> {
        let path = dir.join(&settings.key_file);
        let decoding = if settings.algorithm == JwtAlgorithm::Hs256 {
            DecodingKey::from_secret(secret(&path)?.expose())
        } else {
            let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
            public_key(&text, settings.algorithm).ok_or(ConfigError::Value {
                key: "authorization.jwt.key_file",
                expected: "a file with a public key for the algorithm, in PEM or as JWK",
            })?
        };
        Ok(Self {
            validation: validation(&settings),
            decoding,
            settings,
        })
    }

    fn may_have_signed(&self, header: &Header) -> bool {
        let named = header.kid.as_ref().is_none_or(|kid| *kid == self.settings.name);
        named && algorithm(self.settings.algorithm) == header.alg
    }

    /// The claims of a token that this key has signed, for its audience and from its issuer.
    fn open(&self, token: &str) -> Result<Claims, JwtFault> {
        let opened = decode::<Claims>(token, &self.decoding, &self.validation);
        let opened = opened.map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => JwtFault::BadSignature,
            ErrorKind::InvalidAudience => JwtFault::Audience,
            ErrorKind::InvalidIssuer => JwtFault::Issuer,
            ErrorKind::InvalidToken | ErrorKind::Base64(_) => JwtFault::Malformed,
            _ => JwtFault::Claims,
        })?;
        Ok(opened.claims)
    }

    /// Times, by the server's clock, and whom the token is for.
    fn judge(&self, claims: &Claims, asked: &Asked) -> Result<(), JwtFault> {
        let (now, longest) = (asked.now.0, self.settings.max_age);
        let begins = claims.nbf.into_iter().chain(claims.iat).max().unwrap_or_default();
        if claims.exp <= now {
            return Err(JwtFault::Expired);
        }
        if begins > now.saturating_add(TOLERANCE) {
            return Err(JwtFault::NotYetValid);
        }
        let from = claims.iat.map_or(now, |made| made.min(now));
        if claims.exp.saturating_sub(from) > longest {
            return Err(JwtFault::TooLong);
        }
        let device = claims
            .cnf
            .as_ref()
            .map(|cnf| cnf.kid.eq_ignore_ascii_case(&asked.device.to_string()));
        match device {
            Some(false) => return Err(JwtFault::OtherDevice),
            None if claims.sub != asked.account => return Err(JwtFault::OtherAccount),
            Some(true) | None => {}
        }
        if self.settings.single_use && claims.jti.as_ref().is_none_or(String::is_empty) {
            return Err(JwtFault::NoId);
        }
        Ok(())
    }
}

/// What is read of a token. Claims that are not listed are somebody else's.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
    #[serde(default)]
    nbf: Option<u64>,
    #[serde(default)]
    iat: Option<u64>,
    #[serde(default)]
    jti: Option<String>,
    #[serde(default)]
    cnf: Option<Confirmation>,
    #[serde(default)]
    keyward: Option<Granted>,
}

/// RFC 7800 §3.4: the device by its id. A way of confirmation that is not understood is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    kid: String,
}

/// What the token grants.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Granted {
    #[serde(default, deserialize_with = "kids")]
    keys: Vec<Kid>,
    #[serde(default)]
    content: Vec<String>,
    #[serde(default)]
    all: bool,
    #[serde(default = "default_policy")]
    policy: String,
    #[serde(default)]
    limits: Narrowing,
}

impl Granted {
    fn covers(&self, wanted: &AskedKey) -> bool {
        let content = wanted
            .content
            .as_ref()
            .is_some_and(|content| self.content.contains(content));
        // Exchange keys are granted by name alone.
        let all = self.all && wanted.key_type != KeyType::Exchange;
        all || content || self.keys.contains(&wanted.kid)
    }

    fn permission(&self) -> Permission {
        Permission {
            narrowing: self.limits,
            ..Permission::policy(&self.policy)
        }
    }
}

fn default_policy() -> String {
    DEFAULT_POLICY.to_owned()
}

fn kids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Kid>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let kids = texts.iter().map(|text| text.parse().map_err(D::Error::custom));
    kids.collect()
}

fn validation(settings: &JwtKey) -> Validation {
    let mut validation = Validation::new(algorithm(settings.algorithm));
    let mut required = vec!["exp", "aud", "sub"];
    validation.set_audience(&[&settings.audience]);
    if let Some(issuer) = &settings.issuer {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    validation.set_required_spec_claims(&required);
    // Times are judged by the server's clock.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation
}

const fn algorithm(configured: JwtAlgorithm) -> Algorithm {
    match configured {
        JwtAlgorithm::Es256 => Algorithm::ES256,
        JwtAlgorithm::Es384 => Algorithm::ES384,
        JwtAlgorithm::EdDsa => Algorithm::EdDSA,
        JwtAlgorithm::Rs256 => Algorithm::RS256,
        JwtAlgorithm::Ps256 => Algorithm::PS256,
        JwtAlgorithm::Hs256 => Algorithm::HS256,
    }
}

/// A public key in PEM (RFC 7468 §13) or as JWK (RFC 7517), if it is one for the algorithm.
fn public_key(text: &str, algorithm: JwtAlgorithm) -> Option<DecodingKey> {
    let text = text.trim();
    let key = if text.starts_with('{') {
        let members: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
        // Who can verify must not be able to sign.
        if members.contains_key("d") {
            return None;
        }
        DecodingKey::from_jwk(&serde_json::from_str::<Jwk>(text).ok()?)
    } else if text.starts_with("-----BEGIN PUBLIC KEY-----") {
        match algorithm {
            JwtAlgorithm::Es256 | JwtAlgorithm::Es384 => DecodingKey::from_ec_pem(text.as_bytes()),
            JwtAlgorithm::EdDsa => DecodingKey::from_ed_pem(text.as_bytes()),
            JwtAlgorithm::Rs256 | JwtAlgorithm::Ps256 => DecodingKey::from_rsa_pem(text.as_bytes()),
            JwtAlgorithm::Hs256 => return None,
        }
    } else {
        return None;
    };
    let key = key.ok()?;
    let of_family = key.family() == self::algorithm(algorithm).family();
    let length = key.try_get_as_bytes().map(<[u8]>::len).ok();
    let fits = match algorithm {
        JwtAlgorithm::Es256 => length == Some(65),
        JwtAlgorithm::Es384 => length == Some(97),
        JwtAlgorithm::EdDsa => length == Some(32),
        JwtAlgorithm::Rs256 | JwtAlgorithm::Ps256 => true,
        JwtAlgorithm::Hs256 => false,
    };
    (of_family && fits).then_some(key)
}

/// Reads a shared secret: what stands in the file, without a line break at its end. What looks like a public key is
/// refused: everybody knows it.
///
/// # Errors
/// [`Error::File`], [`Error::SecretExposed`], [`Error::Config`].
pub(crate) fn secret(path: &Path) -> Result<SecretBytes, Error> {
    if sealing::is_exposed(path)? {
        return Err(Error::SecretExposed(path.to_owned()));
    }
    let text = Zeroizing::new(fs::read(path).map_err(Error::file("read", path))?);
    let secret = text.trim_ascii_end();
    if secret.len() < SHORTEST_SECRET || secret.starts_with(b"-----BEGIN") || secret.starts_with(b"{") {
        return Err(Error::Config(ConfigError::Value {
            key: "a secret's file of [authorization]",
            expected: "32 bytes or more that nobody else knows",
        }));
    }
    Ok(SecretBytes::new(secret.to_vec()))
}

/// RFC 7518 §3.2: as long as the hash.
const SHORTEST_SECRET: usize = 32;

/// Seconds by which the clock of who makes tokens may be ahead.
const TOLERANCE: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    /// A token for everything is for content and its roots: an exchange key is granted by name.
    #[test]
    fn all_is_all_content() {
        let kid = Kid::new([0xe1; 16]);
        let wanted = |key_type| AskedKey {
            kid,
            key_type,
            minimum_security_level: None,
            content: None,
            label: None,
            root: None,
            entitlement: None,
        };
        let covers = |granted: &str, key_type| {
            let granted: Granted = serde_json::from_str(granted).unwrap();
            granted.covers(&wanted(key_type))
        };
        let named = format!(r#"{{"keys": ["{kid}"]}}"#);
        for (granted, content, exchange) in [
            (r#"{"all": true}"#, true, false),
            (&named, true, true),
            (r#"{"keys": []}"#, false, false),
        ] {
            for key_type in [KeyType::File, KeyType::CencCtr, KeyType::CencCbc, KeyType::Root] {
                assert_eq!(covers(granted, key_type), content, "{granted}");
            }
            assert_eq!(covers(granted, KeyType::Exchange), exchange, "{granted}");
        }
    }
}
