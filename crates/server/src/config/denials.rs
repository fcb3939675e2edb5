//! What viewers are told when a license is denied: a sentence and a page for each reason.

use std::collections::BTreeMap;

use axum::http::Uri;
use keyward_license::{error_code::ErrorCode, response::Denial};
use serde::Deserialize;

use super::{ConfigError, is_loopback};

/// The operator's own sentences and pages for denials, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Denials(BTreeMap<u64, DenialText>);

/// What is said for one reason. What is absent is as the server says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DenialText {
    /// A sentence for people; 1 to 500 characters.
    pub sentence: Option<String>,
    /// A page that helps: to buy, to sign in, to get another device. `https`, or `http` on loopback.
    pub url: Option<String>,
}

impl Denials {
    /// The denial with the operator's sentence and page for its reason.
    #[must_use]
    pub fn tell(&self, denial: Denial) -> Denial {
        let Some(text) = self.0.get(&denial.code) else {
            return denial;
        };
        Denial {
            code: denial.code,
            sentence: text.sentence.clone().unwrap_or(denial.sentence),
            url: text.url.clone().or(denial.url),
        }
    }

    pub(super) fn validate(file: BTreeMap<String, DenialText>) -> Result<Self, ConfigError> {
        let named = |(name, text): (String, DenialText)| {
            let reason = REASONS.into_iter().find(|reason| reason.name() == name);
            let reason = reason.ok_or(refused(
                "named `not-entitled`, `kid-unknown`, `security-level-too-low`, `client-lacks-capability`, \
                 `no-license-requested`, `authorization-refused` or `device-revoked`",
            ))?;
            text.check()?;
            Ok((reason.number(), text))
        };
        file.into_iter().map(named).collect::<Result<_, _>>().map(Self)
    }
}

impl DenialText {
    fn check(&self) -> Result<(), ConfigError> {
        if self.sentence.is_none() && self.url.is_none() {
            return Err(refused("a `sentence`, a `url` or both"));
        }
        let readable =
            |text: &String| (1..=500).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        if !self.sentence.as_ref().is_none_or(readable) {
            return Err(refused(
                "of 1 to 500 characters, none of them a control character",
            ));
        }
        if !self.url.as_ref().is_none_or(|url| is_page(url)) {
            return Err(refused("with a `url` that is https, or http on loopback"));
        }
        Ok(())
    }
}

/// Whether a viewer may be sent there: `https`, or `http` on loopback.
pub(crate) fn is_page(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let named = uri
        .authority()
        .is_some_and(|authority| !authority.as_str().contains('@'));
    let safe = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => uri.host().is_some_and(is_loopback),
        _ => false,
    };
    url.len() <= 1024 && named && safe
}

const fn refused(expected: &'static str) -> ConfigError {
    ConfigError::Value {
        key: "each entry of [denials]",
        expected,
    }
}

/// The reasons for which a key id is denied.
const REASONS: [ErrorCode; 7] = [
    ErrorCode::NotEntitled,
    ErrorCode::KidUnknown,
    ErrorCode::SecurityLevelTooLow,
    ErrorCode::ClientLacksCapability,
    ErrorCode::NoLicenseRequested,
    ErrorCode::AuthorizationRefused,
    ErrorCode::DeviceRevoked,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, SAMPLE};

    fn with(section: &str) -> Result<Denials, ConfigError> {
        let text = SAMPLE.replace("[denials]\n", &format!("[denials]\n{section}\n"));
        assert_ne!(text, SAMPLE);
        Config::from_toml(&text).map(|config| config.denials)
    }

    #[test]
    fn a_denial_is_told_as_the_operator_says() {
        let denials = with(
            "not-entitled = { sentence = \"Not part of your plan.\", url = \"https://shop.example/plans?from=tv\" }
             security-level-too-low = { url = \"http://localhost/devices\" }",
        )
        .unwrap();
        let denied = |code: ErrorCode| {
            denials.tell(Denial {
                code: code.number(),
                sentence: "the server's own".to_owned(),
                url: None,
            })
        };
        let cases = [
            (
                ErrorCode::NotEntitled,
                "Not part of your plan.",
                Some("https://shop.example/plans?from=tv"),
            ),
            (
                ErrorCode::SecurityLevelTooLow,
                "the server's own",
                Some("http://localhost/devices"),
            ),
            (ErrorCode::KidUnknown, "the server's own", None),
        ];
        for (code, sentence, url) in cases {
            let told = denied(code);
            assert_eq!(
                (told.code, &told.sentence[..], told.url.as_deref()),
                (code.number(), sentence, url)
            );
        }
    }

    #[test]
    fn other_reasons_and_other_pages_are_refused() {
        for (section, expected) in [
            ("busy = { sentence = \"x\" }", "named `not-entitled`"),
            ("not-entitled = { }", "a `sentence`, a `url` or both"),
            ("not-entitled = { sentence = \"\" }", "of 1 to 500 characters"),
            (
                "not-entitled = { sentence = \"a\\nb\" }",
                "of 1 to 500 characters",
            ),
            (
                "not-entitled = { url = \"http://shop.example\" }",
                "https, or http on loopback",
            ),
            (
                "not-entitled = { url = \"https://a:b@shop.example\" }",
                "https, or http on loopback",
            ),
            (
                "not-entitled = { url = \"/plans\" }",
                "https, or http on loopback",
            ),
            ("not-entitled = { page = \"https://a.example\" }", "unknown field"),
        ] {
            let refused = with(section).unwrap_err().to_string();
            assert!(refused.contains(expected), "{section}: {refused}");
        }
        assert_eq!(with("").unwrap(), Denials::default());
    }
}
