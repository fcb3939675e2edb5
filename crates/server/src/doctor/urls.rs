//! Where devices are told to go: configuration and operator profile.

use keyward_license::{codec::Wire, operator_profile::OperatorProfile};

use super::Finding;
use crate::{config::Config, operator};

/// Judges whether the profile is the one that this configuration and this root make.
pub(super) fn judge(config: &Config, profile: &[u8], root: &[u8]) -> Finding {
    let profile = match OperatorProfile::decode(profile) {
        Ok(profile) => profile,
        Err(error) => {
            let what = format!("operator-profile is malformed: {error}");
            return Finding::error("profile", what, RENEW);
        }
    };
    let ours = operator::profile(config, root);
    if profile.root != ours.root {
        return Finding::error(
            "profile",
            "operator-profile is another operator's: its devices trust nothing of this one",
            RENEW,
        );
    }
    if profile.license_servers != ours.license_servers {
        let what = format!(
            "operator-profile names {}, operator.toml {}",
            profile.license_servers.join(" and "),
            ours.license_servers.join(" and ")
        );
        return Finding::warning("profile", what, RENEW);
    }
    if profile != ours {
        return Finding::warning(
            "profile",
            "operator-profile has another name or minimum suite than operator.toml",
            RENEW,
        );
    }
    let what = format!("devices are told to ask {}", ours.license_servers.join(" or "));
    let loopback = ours.license_servers.iter().all(|url| url.starts_with("http://"));
    if loopback {
        Finding::good("profile", format!("{what}: from this machine alone"))
    } else {
        Finding::good("profile", what)
    }
}

const RENEW: &str =
    "write it anew: `keyward admin profile`; devices that are enrolled keep the one that they have";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::SAMPLE, doctor::Standing};

    #[test]
    fn a_profile_of_another_configuration_or_operator_is_found() {
        let config = Config::from_toml(SAMPLE).unwrap();
        let profile = operator::profile(&config, b"root");
        let judged = |profile: &OperatorProfile| judge(&config, &profile.encode(), b"root").standing;
        assert_eq!(judged(&profile), Standing::Good);
        let proxied = OperatorProfile {
            license_servers: vec![config.public_url.clone(), "https://proxy.example.org".into()],
            ..profile.clone()
        };
        assert_eq!(judged(&proxied), Standing::Warning);
        let weaker = OperatorProfile {
            minimum_suite: 2,
            ..profile.clone()
        };
        assert_eq!(judged(&weaker), Standing::Warning);
        assert_eq!(
            judge(&config, &profile.encode(), b"other").standing,
            Standing::Error
        );
        assert_eq!(judge(&config, b"garbage", b"root").standing, Standing::Error);
    }
}
