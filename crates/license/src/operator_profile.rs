//! The operator profile: what a client is configured with to trust one operator. It is not signed; the
//! way it reaches the device (bundled, over TLS, on a stick) is what makes it trusted.

use http::Uri;
use keyward_crypto::x509::Anchor;

use crate::{cbor_map, codec::Bytes, ids::Digest};

cbor_map! {
    /// One operator, as a client knows it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct OperatorProfile = "operator profile" {
        /// Version of this format: 1.
        [1] version: u64,
        /// The operator's name, for people.
        [2] name: String,
        /// DER of the root certificate: the trust anchor.
        [3] root: Bytes,
        /// License server URLs that content may name. A client calls no other host.
        [4] license_servers: Vec<String>,
        /// Smallest suite number that licenses may be sealed with.
        [5] minimum_suite: u64,
    }
}

impl OperatorProfile {
    /// SHA-256 of the root certificate: names the operator.
    #[must_use]
    pub fn operator(&self) -> Digest {
        Digest::new(keyward_crypto::kdf::sha256(&[&self.root.0]))
    }
}

impl OperatorProfile {
    /// Version of the format that this crate reads.
    pub const VERSION: u64 = 1;

    /// The trust anchor, from the root certificate.
    ///
    /// # Errors
    /// [`ProfileFault`].
    pub fn anchor(&self) -> Result<Anchor, ProfileFault> {
        if self.version != Self::VERSION {
            return Err(ProfileFault::OtherVersion);
        }
        Anchor::from_der(&self.root.0).map_err(|_| ProfileFault::NoRoot)
    }

    /// Where a URL leads, if the profile permits it: scheme, host and port.
    ///
    /// # Errors
    /// [`UrlFault`].
    pub fn permitted_origin(&self, url: &str) -> Result<String, UrlFault> {
        let wanted = origin(url).ok_or(UrlFault::NotAbsolute)?;
        if !wanted.is_private() {
            return Err(UrlFault::NotPrivate);
        }
        let mut known = self.license_servers.iter().filter_map(|known| origin(known));
        if known.any(|known| known == wanted) {
            Ok(wanted.to_string())
        } else {
            Err(UrlFault::NotNamed)
        }
    }

    /// Puts the license server of this URL first: a client enrols with the first one, and asks it for content
    /// that names none.
    ///
    /// # Errors
    /// [`UrlFault`].
    pub fn prefer(&mut self, url: &str) -> Result<(), UrlFault> {
        let wanted = self.permitted_origin(url)?;
        // A stable sort: the others keep their order.
        self.license_servers
            .sort_by_key(|known| origin(known).is_none_or(|known| known.to_string() != wanted));
        Ok(())
    }
}

/// Why an operator profile is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileFault {
    /// Another version of the format.
    #[error("it is of another version")]
    OtherVersion,
    /// The root is not a certificate.
    #[error("its root is not a certificate")]
    NoRoot,
}

/// Why a license server URL must not be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlFault {
    /// Not a URL with scheme and host.
    #[error("it is not an absolute http or https URL")]
    NotAbsolute,
    /// What is said there can be heard by others.
    #[error("http is permitted to this machine alone, use https")]
    NotPrivate,
    /// The profile does not list it.
    #[error("the operator's profile does not name this host")]
    NotNamed,
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

/// Whether two absolute URLs name the same scheme, host and port; a client looks at nothing else of them.
#[must_use]
pub fn same_origin(one: &str, other: &str) -> bool {
    origin(one)
        .zip(origin(other))
        .is_some_and(|(one, other)| one == other)
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
            assert_eq!(profile().permitted_origin(url).unwrap(), origin);
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
            assert!(profile().permitted_origin(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_license_server_of_the_profile_is_preferred_and_no_other() {
        let mut preferring = profile();
        preferring.license_servers.push("https://proxy.example".into());
        preferring.prefer("https://PROXY.example:443/any").unwrap();
        assert_eq!(
            preferring.license_servers,
            [
                "https://proxy.example",
                "https://drm.example/",
                "http://127.0.0.1:8470"
            ]
        );
        let before = preferring.clone();
        assert_eq!(preferring.prefer("https://evil.example"), Err(UrlFault::NotNamed));
        assert_eq!(preferring, before);
    }

    #[test]
    fn a_profile_of_another_version_or_without_a_root_is_refused() {
        let other = OperatorProfile {
            version: 2,
            ..profile()
        };
        assert_eq!(other.anchor().unwrap_err(), ProfileFault::OtherVersion);
        assert_eq!(profile().anchor().unwrap_err(), ProfileFault::NoRoot);
    }
}
