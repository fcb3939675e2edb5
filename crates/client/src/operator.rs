//! One operator as this client knows it: trust anchor, license servers, the device's certificate.

use http::Uri;
use keyward_crypto::{
    hpke::Suite,
    x509::{Anchor, Certificate, Role},
};
use keyward_license::{
    certificate::{Claims, certificate_digest},
    codec::{Bytes, Wire},
    discovery::{Discovery, WELL_KNOWN_PATH},
    envelope::SealedResponse,
    ids::Digest,
    operator_profile::OperatorProfile,
    signed::{ChainVerifier, Unverified},
    time::Timestamp,
};

use crate::{
    ClientError,
    clock::{self, Reading},
    device::KeyStore,
    flow::{Answer, Io, Moment, Outgoing},
    store::{Clock, OperatorRecord},
};

/// How far ahead of this clock a discovery document may have been issued, in seconds.
const ISSUED_AHEAD: u64 = 300;

/// An operator that the device is enrolled with.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) profile: OperatorProfile,
    pub(crate) anchor: Anchor,
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) claims: Claims,
    pub(crate) discovery: Vec<u8>,
    pub(crate) best_suite: u64,
}

impl Operator {
    /// Reads a stored record. Its certificate was verified when it was stored.
    pub(crate) fn from_record(record: &OperatorRecord) -> Result<Self, ClientError> {
        let profile = OperatorProfile::decode(&record.profile.0)?;
        let chain: Vec<Vec<u8>> = record.chain.iter().map(|der| der.0.clone()).collect();
        let leaf = chain
            .first()
            .ok_or(ClientError::StoreDamaged("an operator record has no certificate"))?;
        Ok(Self {
            anchor: Anchor::from_der(&profile.root.0)?,
            claims: Claims::of(&Certificate::parse(leaf)?)?,
            profile,
            chain,
            discovery: record.discovery.0.clone(),
            best_suite: record.best_suite,
        })
    }

    pub(crate) fn to_record(&self) -> OperatorRecord {
        OperatorRecord {
            profile: Bytes(self.profile.encode()),
            chain: self.chain.iter().cloned().map(Bytes).collect(),
            discovery: Bytes(self.discovery.clone()),
            best_suite: self.best_suite,
        }
    }

    /// The suite a license must at least be sealed with (V-027).
    pub(crate) fn weakest_suite(&self) -> u64 {
        self.profile.minimum_suite.max(self.best_suite)
    }
}

/// A license server that the profile permits: where to send, and whom to seal to.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) license_url: String,
    pub(crate) enrolment_url: String,
    pub(crate) recipient: Digest,
    pub(crate) suite: Suite,
    pub(crate) public_key: Vec<u8>,
}

/// Where a URL leads, if the profile permits it: scheme and authority.
pub(crate) fn permitted_origin(profile: &OperatorProfile, url: &str) -> Result<String, ClientError> {
    let refused = |why| ClientError::UrlRefused {
        url: url.to_owned(),
        why,
    };
    let wanted = origin(url).ok_or_else(|| refused("it is not an absolute http or https URL"))?;
    if !wanted.is_private() {
        return Err(refused("http is permitted to this machine alone, use https"));
    }
    if profile
        .license_servers
        .iter()
        .filter_map(|known| origin(known))
        .any(|known| known == wanted)
    {
        Ok(wanted.to_string())
    } else {
        Err(refused("the operator's profile does not name this host"))
    }
}

/// Fetches the discovery document of the server at `origin`.
pub(crate) async fn fetch_discovery(io: &Io, origin: &str) -> Result<Vec<u8>, ClientError> {
    let outgoing = Outgoing {
        url: format!("{origin}{WELL_KNOWN_PATH}"),
        content_type: None,
        body: Vec::new(),
    };
    match io.send(outgoing).await? {
        Answer { status: 200, body } => Ok(body),
        other => Err(refusal_of(&other)),
    }
}

/// Posts a sealed request; returns the sealed response and the round trip in milliseconds.
pub(crate) async fn post(
    io: &Io,
    url: &str,
    content_type: &'static str,
    body: Vec<u8>,
) -> Result<(Vec<u8>, u64), ClientError> {
    let sent = io.moment().monotonic;
    let outgoing = Outgoing {
        url: url.to_owned(),
        content_type: Some(content_type),
        body,
    };
    match io.send(outgoing).await? {
        Answer { status: 200, body } if SealedResponse::decode(&body).is_ok() => {
            Ok((body, io.moment().monotonic.saturating_sub(sent)))
        }
        Answer { status: 200, .. } => Err(ClientError::NotAnAnswer { status: 200 }),
        other => Err(refusal_of(&other)),
    }
}

/// V-060 to V-062: verifies a discovery document and picks the best suite in common.
pub(crate) fn read_discovery(
    document: &[u8],
    anchor: &Anchor,
    profile: &OperatorProfile,
    weakest_suite: u64,
    keys: &dyn KeyStore,
    origin: &str,
    clock_now: (&Clock, Reading),
) -> Result<Server, ClientError> {
    let refused = ClientError::DiscoveryRefused;
    let (known_clock, reading) = clock_now;
    let message = |error| ClientError::Message {
        what: "the discovery document",
        error,
    };
    // V-060
    let verified = Unverified::<Discovery>::parse(document)
        .and_then(|document| {
            document.verify(anchor, Role::LicenseServer, |body| {
                vec![reading.now.unwrap_or(body.issued)]
            })
        })
        .map_err(message)?;
    let discovery = verified.body();
    if discovery.operator != profile.operator() {
        return Err(refused("it is of another operator"));
    }
    // V-061
    let now = reading.now.unwrap_or(discovery.issued);
    let stale = known_clock
        .last_trusted
        .is_some_and(|trusted| discovery.expires <= trusted);
    if discovery.issued > now.plus(ISSUED_AHEAD) || now >= discovery.expires || stale {
        return Err(refused("it is not in use at this time"));
    }
    // V-062
    let chain: Vec<Vec<u8>> = discovery
        .request_encryption
        .iter()
        .map(|der| der.0.clone())
        .collect();
    let certificate = anchor
        .verify_chain(&chain, Role::RequestEncryption, now)
        .map_err(|_| refused("its request-encryption certificate is not trusted"))?;
    let usable: Vec<Suite> = keys
        .sealing_keys()
        .iter()
        .filter_map(|key| Suite::from_number(key.suite))
        .collect();
    let claims =
        Claims::of(&certificate).map_err(|_| refused("its request-encryption certificate has no claims"))?;
    let (suite, public_key) = claims
        .best_sealing_key(&usable)
        .ok_or(refused("it offers no suite that this device has"))?;
    if suite.number() < weakest_suite {
        return Err(refused(
            "it offers weaker suites than the operator has used before",
        ));
    }
    Ok(Server {
        license_url: format!("{origin}{}", path(&discovery.license_path)?),
        enrolment_url: format!("{origin}{}", path(&discovery.enrolment_path)?),
        recipient: certificate_digest(&certificate),
        suite,
        public_key: public_key.to_vec(),
    })
}

/// What an answer that is not 200 means.
fn refusal_of(answer: &Answer) -> ClientError {
    match keyward_license::error_code::Problem::decode(&answer.body) {
        Ok(problem) => ClientError::ServerRefused(problem),
        Err(_) => ClientError::NotAnAnswer {
            status: answer.status,
        },
    }
}

/// The time to judge the signer of an answer at (V-013).
pub(crate) fn judge_at(known: &Clock, moment: Moment, stated: Timestamp) -> Result<Timestamp, ClientError> {
    clock::judge_at(known, moment, stated).ok_or(ClientError::ServerTimeWentBack)
}

/// A path of the discovery document: absolute, so that it cannot lead to another host.
fn path(path: &str) -> Result<&str, ClientError> {
    let plain = path
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte));
    if path.starts_with('/') && !path.starts_with("//") && plain {
        Ok(path)
    } else {
        Err(ClientError::DiscoveryRefused("a path in it is not one"))
    }
}

#[derive(PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// https anywhere, http on this machine alone.
    fn is_private(&self) -> bool {
        let address = self.host.trim_matches(['[', ']']).parse::<core::net::IpAddr>();
        self.scheme == "https"
            || self.host == "localhost"
            || address.is_ok_and(|address| address.is_loopback())
    }
}

impl core::fmt::Display for Origin {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

fn origin(url: &str) -> Option<Origin> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let default_port = match &scheme[..] {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    if uri.authority()?.as_str().contains('@') {
        return None;
    }
    let host = uri.host()?.to_ascii_lowercase();
    Some(Origin {
        scheme,
        host,
        port: uri.port_u16().unwrap_or(default_port),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> OperatorProfile {
        OperatorProfile {
            version: 1,
            name: "test".into(),
            root: Bytes(Vec::new()),
            license_servers: vec!["https://drm.example/".into(), "http://127.0.0.1:8470".into()],
            minimum_suite: 1,
        }
    }

    #[test]
    fn only_hosts_of_the_profile_are_called_and_only_privately() {
        let permitted = [
            ("https://drm.example/path?query", "https://drm.example:443"),
            ("HTTPS://DRM.example:443", "https://drm.example:443"),
            ("http://127.0.0.1:8470/license", "http://127.0.0.1:8470"),
        ];
        for (url, origin) in permitted {
            assert_eq!(permitted_origin(&profile(), url).unwrap(), origin);
        }
        let refused = [
            "http://drm.example/",
            "https://drm.example:444/",
            "https://evil.example/",
            "https://drm.example@evil.example/",
            "https://evil.example#drm.example",
            "ftp://drm.example/",
            "http://127.0.0.1:8471",
            "/relative",
            "",
        ];
        for url in refused {
            assert!(permitted_origin(&profile(), url).is_err(), "{url}");
        }
    }

    #[test]
    fn discovery_paths_stay_on_the_host() {
        assert!(path("/license").is_ok());
        for refused in [
            "",
            "license",
            "//evil.example/license",
            "/a?b",
            "/a#b",
            "/a b",
            "/a@b",
            "/\u{e9}",
        ] {
            assert!(path(refused).is_err(), "{refused}");
        }
    }
}
