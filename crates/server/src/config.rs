//! Configuration: `operator.toml` is parsed with unknown keys refused, then validated into [`Config`].
//!
//! `operator.sample.toml` documents every key with its default; a test keeps it and the defaults equal.

mod authorization;
mod denials;
mod limits;
mod revocation;

use core::time::Duration;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use axum::http::Uri;
use keyward_crypto::hpke::Suite;
use keyward_license::packaging::MAX_LABEL;
use serde::Deserialize;

use crate::{Error, policy::is_security_level, store::Store};

use authorization::AuthorizationFile;
pub use authorization::{Authorization, AuthorizationSource, JwtAlgorithm, JwtKey, Webhook};
pub(crate) use denials::is_page;
pub use denials::{DenialText, Denials};
use limits::LimitsFile;
pub use limits::{Limits, Network, NetworkError, Rate};
pub use revocation::{Acknowledgement, Revocation};
use revocation::{AcknowledgementFile, RevocationFile};

/// The sample file: what [`init`](crate::operator::init) writes with the operator's own values.
pub const SAMPLE: &str = include_str!("../operator.sample.toml");

/// A validated configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The operator's name.
    pub name: String,
    /// Origin under which devices reach the server, without a slash at its end.
    pub public_url: String,
    /// Origins of proxies under which devices reach the server as well, without a slash at their ends.
    pub proxy_urls: Vec<String>,
    /// Address of the license server.
    pub listen: SocketAddr,
    /// Address of the administration interface.
    pub admin_listen: SocketAddr,
    /// Smallest suite that licenses are sealed with.
    pub minimum_suite: Suite,
    /// Bounds on requests and connections.
    pub limits: Limits,
    /// How long what the server signs is valid.
    pub lifetimes: Lifetimes,
    /// What is accepted after a roll.
    pub certificates: Certificates,
    /// What packagers are given.
    pub packaging: Packaging,
    /// Who decides about licenses.
    pub authorization: Authorization,
    /// What viewers are told when a license is denied.
    pub denials: Denials,
    /// How revocation lists are made and judged by.
    pub revocation: Revocation,
    /// What is asked of clients that acknowledge.
    pub acknowledgement: Acknowledgement,
    /// Who may carry requests.
    pub services: Services,
    /// How the database is used.
    pub database: Database,
}

/// How long what the server signs is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Device certificates, in seconds.
    pub device_certificate: u64,
    /// Discovery documents, in seconds.
    pub discovery: u64,
    /// The seconds before the end of licenses over which requests for new ones are spread; `None` where clients are
    /// told nothing.
    pub renewal_spread: Option<u64>,
}

/// What is accepted after a roll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificates {
    /// Seconds for which requests are accepted that are sealed to a key that was rolled: at least the lifetime of
    /// discovery documents.
    pub overlap: u64,
}

/// What packagers are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packaging {
    /// Where the keys of new tracks come from.
    pub new_keys: NewKeys,
    /// Smallest security level of a device that gets the key of a new track, by the track's label.
    pub minimum_security_levels: BTreeMap<String, u64>,
}

/// Where new content keys come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewKeys {
    /// Derived from the license key seed of this number.
    Seed(u64),
    /// Derived from the newest license key seed that was made here.
    NewestSeed,
    /// Drawn, and sealed in the vault.
    Vault,
}

/// Who may carry requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Services {
    /// Whether sealed requests must come through a named service.
    pub required: bool,
}

/// How the database is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Database {
    /// Connections that read.
    pub readers: u32,
    /// Most writes in one commit.
    pub group_commit: usize,
    /// Time to wait for another process that writes.
    pub busy: Duration,
}

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("operator.toml cannot be read: {0}")]
    Syntax(String),
    /// A value outside its range.
    #[error("operator.toml: {key} must be {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// What its value should be.
        expected: &'static str,
    },
}

impl ConfigError {
    /// What to do next.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        "compare operator.toml with the sample that documents every key"
    }
}

impl Config {
    /// Parses and validates the text of `operator.toml`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let file: ConfigFile = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(0, |before| before.lines().count());
            ConfigError::Syntax(format!("{} (line {line})", error.message().replace('\n', " ")))
        })?;
        file.validate()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    name: String,
    public_url: String,
    #[serde(default)]
    proxy_urls: Vec<String>,
    listen: String,
    admin_listen: String,
    #[serde(default)]
    danger_admin_beyond_loopback: bool,
    #[serde(default = "one")]
    minimum_suite: u64,
    #[serde(default)]
    limits: LimitsFile,
    #[serde(default)]
    lifetimes: LifetimesFile,
    #[serde(default)]
    certificates: CertificatesFile,
    #[serde(default)]
    packaging: PackagingFile,
    #[serde(default)]
    authorization: AuthorizationFile,
    #[serde(default)]
    denials: BTreeMap<String, DenialText>,
    #[serde(default)]
    revocation: RevocationFile,
    #[serde(default)]
    acknowledgement: AcknowledgementFile,
    #[serde(default)]
    services: ServicesFile,
    #[serde(default)]
    database: DatabaseFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LifetimesFile {
    device_certificate_days: u64,
    discovery_hours: u64,
    renewal_spread_seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CertificatesFile {
    overlap_days: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PackagingFile {
    seed: SeedChoice,
    vault_keys: bool,
    minimum_security_levels: BTreeMap<String, u64>,
}

/// A seed by its number, or by a word.
#[derive(Deserialize, Clone, Copy)]
#[serde(untagged)]
enum SeedChoice {
    Number(u64),
    Word(SeedWord),
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum SeedWord {
    Newest,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ServicesFile {
    required: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DatabaseFile {
    readers: u32,
    group_commit: usize,
    busy_seconds: u64,
}

impl Default for LifetimesFile {
    fn default() -> Self {
        Self {
            device_certificate_days: 730,
            discovery_hours: 24,
            renewal_spread_seconds: 0,
        }
    }
}

impl Default for CertificatesFile {
    fn default() -> Self {
        Self { overlap_days: 30 }
    }
}

impl Default for PackagingFile {
    fn default() -> Self {
        Self {
            seed: SeedChoice::Word(SeedWord::Newest),
            vault_keys: false,
            minimum_security_levels: BTreeMap::new(),
        }
    }
}

impl Default for DatabaseFile {
    fn default() -> Self {
        Self {
            readers: 4,
            group_commit: 64,
            busy_seconds: 5,
        }
    }
}

const fn one() -> u64 {
    1
}

impl ConfigFile {
    fn validate(self) -> Result<Config, ConfigError> {
        let admin_listen = address("admin_listen", &self.admin_listen)?;
        if !admin_listen.ip().is_loopback() && !self.danger_admin_beyond_loopback {
            let expected = "on loopback (see danger_admin_beyond_loopback)";
            return Err(ConfigError::Value {
                key: "admin_listen",
                expected,
            });
        }
        Ok(Config {
            name: operator_name(self.name)?,
            public_url: origin("public_url", &self.public_url)?,
            proxy_urls: self
                .proxy_urls
                .iter()
                .map(|url| origin("proxy_urls", url))
                .collect::<Result<_, _>>()?,
            listen: address("listen", &self.listen)?,
            admin_listen,
            minimum_suite: Suite::from_number(self.minimum_suite).ok_or(ConfigError::Value {
                key: "minimum_suite",
                expected: "1 or 2",
            })?,
            limits: self.limits.validate()?,
            certificates: self.certificates.validate(&self.lifetimes)?,
            lifetimes: self.lifetimes.validate()?,
            packaging: self.packaging.validate()?,
            authorization: self.authorization.validate()?,
            denials: Denials::validate(self.denials)?,
            revocation: self.revocation.validate()?,
            acknowledgement: self.acknowledgement.validate(),
            services: Services {
                required: self.services.required,
            },
            database: self.database.validate()?,
        })
    }
}

impl LifetimesFile {
    fn validate(&self) -> Result<Lifetimes, ConfigError> {
        within(
            "lifetimes.device_certificate_days",
            self.device_certificate_days,
            1,
            3650,
            "1 to 3650",
        )?;
        within(
            "lifetimes.discovery_hours",
            self.discovery_hours,
            1,
            720,
            "1 to 720",
        )?;
        within(
            "lifetimes.renewal_spread_seconds",
            self.renewal_spread_seconds,
            0,
            31_536_000,
            "0 to 31536000",
        )?;
        let spread = Some(self.renewal_spread_seconds);
        Ok(Lifetimes {
            device_certificate: self.device_certificate_days.saturating_mul(86_400),
            discovery: self.discovery_hours.saturating_mul(3_600),
            renewal_spread: spread.filter(|seconds| *seconds > 0),
        })
    }
}

impl CertificatesFile {
    /// A discovery document that was just fetched must not end before it says so.
    fn validate(&self, lifetimes: &LifetimesFile) -> Result<Certificates, ConfigError> {
        let overlap = self.overlap_days.saturating_mul(86_400);
        within(
            "certificates.overlap_days",
            overlap,
            lifetimes.discovery_hours.saturating_mul(3_600),
            3650 * 86_400,
            "at least lifetimes.discovery_hours, and at most 3650",
        )?;
        Ok(Certificates { overlap })
    }
}

impl NewKeys {
    /// The number of the license key seed that they derive from.
    pub(crate) async fn seed(self, store: &Store) -> Result<Option<u64>, Error> {
        match self {
            Self::Seed(number) => Ok(Some(number)),
            Self::NewestSeed => store.newest_seed().await.map(Some),
            Self::Vault => Ok(None),
        }
    }
}

impl PackagingFile {
    fn validate(self) -> Result<Packaging, ConfigError> {
        if let SeedChoice::Number(seed) = self.seed {
            let most = u64::from(u32::MAX);
            within("packaging.seed", seed, 1, most, "1 to 4294967295, or \"newest\"")?;
        }
        let named = |label: &String| (1..=MAX_LABEL).contains(&label.len());
        let levels = &self.minimum_security_levels;
        if !levels.keys().all(named) || !levels.values().all(|level| is_security_level(*level)) {
            return Err(ConfigError::Value {
                key: "packaging.minimum_security_levels",
                expected: "labels of 1 to 64 bytes, each with 150, 2000 or 3000",
            });
        }
        Ok(Packaging {
            minimum_security_levels: self.minimum_security_levels,
            new_keys: match self.seed {
                _ if self.vault_keys => NewKeys::Vault,
                SeedChoice::Number(seed) => NewKeys::Seed(seed),
                SeedChoice::Word(SeedWord::Newest) => NewKeys::NewestSeed,
            },
        })
    }
}

impl DatabaseFile {
    fn validate(&self) -> Result<Database, ConfigError> {
        within("database.readers", self.readers, 1, 64, "1 to 64")?;
        within("database.group_commit", self.group_commit, 1, 4096, "1 to 4096")?;
        within("database.busy_seconds", self.busy_seconds, 1, 60, "1 to 60")?;
        Ok(Database {
            readers: self.readers,
            group_commit: self.group_commit,
            busy: Duration::from_secs(self.busy_seconds),
        })
    }
}

fn within<T: PartialOrd + Copy>(
    key: &'static str,
    value: T,
    least: T,
    most: T,
    expected: &'static str,
) -> Result<(), ConfigError> {
    if least <= value && value <= most {
        Ok(())
    } else {
        Err(ConfigError::Value { key, expected })
    }
}

fn address(key: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| ConfigError::Value {
        key,
        expected: "an address and port, such as 127.0.0.1:8470",
    })
}

/// The name stands in certificates as part of a common name, which holds 64 characters (RFC 5280
/// appendix A.1).
fn operator_name(name: String) -> Result<String, ConfigError> {
    let good = (1..=40).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if good && name.trim() == name {
        Ok(name)
    } else {
        Err(ConfigError::Value {
            key: "name",
            expected: "1 to 40 characters, without space around it",
        })
    }
}

fn origin(key: &'static str, text: &str) -> Result<String, ConfigError> {
    let refused = |expected| ConfigError::Value { key, expected };
    let uri: Uri = text.parse().map_err(|_| refused("a URL"))?;
    let host = uri.host().ok_or(refused("a URL with a host"))?;
    let bare = uri.path() == "/" && uri.query().is_none();
    if !bare
        || uri
            .authority()
            .is_none_or(|authority| authority.as_str().contains('@'))
    {
        return Err(refused("an origin: scheme, host and port alone"));
    }
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if is_loopback(host) => {}
        _ => return Err(refused("https, or http on loopback")),
    }
    Ok(text.trim_end_matches('/').to_owned())
}

pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests;
