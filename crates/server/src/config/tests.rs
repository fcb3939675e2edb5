use super::*;

fn with(line: &str) -> Result<Config, ConfigError> {
    let key = line.split(' ').next().unwrap();
    let lines: Vec<_> = SAMPLE
        .lines()
        .map(|old| {
            if old.starts_with(&format!("{key} =")) || old.starts_with(&format!("# {key} =")) {
                line
            } else {
                old
            }
        })
        .collect();
    Config::from_toml(&lines.join("\n"))
}

#[test]
fn the_sample_documents_every_key_with_its_default() {
    let sample = Config::from_toml(SAMPLE).unwrap();
    let is_setting = |line: &str| {
        line.strip_prefix("# ").is_some_and(|rest| {
            rest.split_once(" = ")
                .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        })
    };
    let spelled: Vec<_> = SAMPLE
        .lines()
        .map(|line| if is_setting(line) { &line[2..] } else { line })
        .collect();
    let spelled = spelled.join("\n");
    assert_eq!(Config::from_toml(&spelled).unwrap(), sample);
    for (section, keys) in known_keys() {
        for key in keys {
            let stands = SAMPLE
                .lines()
                .any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = ")));
            // Sections stand as tables.
            let is_table = SAMPLE.lines().any(|line| line == format!("[{key}]"));
            assert!(stands || is_table, "{section}.{key} is not in the sample");
        }
    }
}

#[test]
fn the_page_about_running_names_every_limit() {
    let page = include_str!("../../../../docs/operate/license-server.md");
    let (_, page) = page.split_once("\n## Limits\n").unwrap();
    let (page, _) = page.split_once("\n## ").unwrap();
    let limits = known_keys()
        .into_iter()
        .find(|(section, _)| *section == "[limits]");
    for key in limits.unwrap().1 {
        assert!(
            page.contains(&format!("`{key}`")) || page.contains(&format!("`limits.{key}`")),
            "{key}"
        );
    }
}

#[test]
fn unknown_keys_and_wrong_values_are_refused_with_the_reason() {
    let cases = [
        (
            "listen = \"nowhere\"",
            "operator.toml: listen must be an address and port, such as 127.0.0.1:8470",
        ),
        (
            "admin_listen = \"0.0.0.0:8471\"",
            "operator.toml: admin_listen must be on loopback (see danger_admin_beyond_loopback)",
        ),
        (
            "public_url = \"http://license.example.org\"",
            "operator.toml: public_url must be https, or http on loopback",
        ),
        (
            "public_url = \"https://license.example.org/path\"",
            "operator.toml: public_url must be an origin: scheme, host and port alone",
        ),
        (
            "public_url = \"https://a@license.example.org\"",
            "operator.toml: public_url must be an origin: scheme, host and port alone",
        ),
        (
            "proxy_urls = [\"https://proxy.example.org/path\"]",
            "operator.toml: proxy_urls must be an origin: scheme, host and port alone",
        ),
        ("minimum_suite = 3", "operator.toml: minimum_suite must be 1 or 2"),
        (
            "name = \"\"",
            "operator.toml: name must be 1 to 40 characters, without space around it",
        ),
        (
            "body_bytes = 1",
            "operator.toml: limits.body_bytes must be 4096 to 16777216",
        ),
        (
            "connections_per_address = 0",
            "operator.toml: limits.connections_per_address must be 1 to 65536",
        ),
        (
            "address_rate = 1000001",
            "operator.toml: limits.address_rate must be 0 to 1000000",
        ),
        (
            "device_burst = 0",
            "operator.toml: limits.device_burst must be 1 to 1000000",
        ),
        (
            "forwarders = [\"10.0.0.0/8\", \"localhost\"]",
            "operator.toml: limits.forwarders must be addresses, or networks such as 10.0.0.0/8",
        ),
        (
            "seed = 0",
            "operator.toml: packaging.seed must be 1 to 4294967295, or \"newest\"",
        ),
        (
            "overlap_days = 0",
            "operator.toml: certificates.overlap_days must be at least lifetimes.discovery_hours, and at most 3650",
        ),
        (
            "busy_seconds = 0",
            "operator.toml: database.busy_seconds must be 1 to 60",
        ),
    ];
    for (line, message) in cases {
        assert_eq!(with(line).unwrap_err().to_string(), message, "{line}");
    }
    let unknown = Config::from_toml(&format!("surprise = 1\n{SAMPLE}"))
        .unwrap_err()
        .to_string();
    assert!(
        unknown.contains("surprise") && unknown.contains("line"),
        "{unknown}"
    );
}

#[test]
fn loopback_may_be_http() {
    for url in [
        "http://127.0.0.1:8470",
        "http://localhost:1/",
        "http://[::1]:8470",
    ] {
        let config = with(&format!("public_url = \"{url}\"")).unwrap();
        assert_eq!(config.public_url, url.trim_end_matches('/'));
    }
}

#[test]
fn a_rate_of_nothing_is_no_rate() {
    let limits = |line| with(line).unwrap().limits;
    let rate = limits("address_rate = 7").address_rate.unwrap();
    assert_eq!((rate.per_second.get(), rate.burst.get()), (7, 1000));
    assert_eq!(limits("address_rate = 0").address_rate, None);
    assert_eq!(limits("forwarders = []").forwarders, []);
    let forwarders = limits("forwarders = [\"10.0.0.0/8\"]").forwarders;
    assert!(forwarders[0].contains([10, 1, 2, 3].into()));
}

/// The keys of each section, as the parser names them to who gets one wrong.
fn known_keys() -> Vec<(&'static str, Vec<String>)> {
    let sections = [
        "",
        "[limits]",
        "[lifetimes]",
        "[packaging]",
        "[services]",
        "[database]",
    ];
    let keys = |section| {
        let text = match section {
            "" => format!("surprise = 1\n{SAMPLE}"),
            section => SAMPLE.replace(section, &format!("{section}\nsurprise = 1")),
        };
        let refused = Config::from_toml(&text).unwrap_err().to_string();
        assert!(refused.contains("unknown field `surprise`"), "{refused}");
        let names = refused.split('`').skip(3).step_by(2);
        (section, names.map(str::to_owned).collect::<Vec<_>>())
    };
    let known: Vec<_> = sections.into_iter().map(keys).collect();
    assert!(known.iter().all(|(_, keys)| !keys.is_empty()), "{known:?}");
    known
}
