//! What a client says of itself, as text: one line a fact, its name before a colon.

use keyward_license::{certificate::certificate_digest, enrolment::EnrolmentRole, request::ClockState};

use crate::{authenticate::Authenticated, operator::Identity};

/// Everything that a request says about the client, and its certificate.
pub(super) fn text(identity: &Identity, asked: &Authenticated) -> String {
    let request = asked.request.body();
    let (info, announced, clock) = (&request.client, &request.capabilities, &request.clock);
    let mut lines = vec![
        line("client", &info.name),
        line("client version", &info.version),
        line("client platform", &info.platform),
        line("client time", &time(clock.now.map(|now| now.0))),
        line("last server time", &time(clock.last_trusted.map(|at| at.0))),
        line(
            "clock state",
            match clock.state {
                ClockState::Set => "set",
                ClockState::NotSet => "not set",
                ClockState::RolledBack => "rolled back",
            },
        ),
        line("clock", &format!("{:?}", announced.clock)),
        line("key types", &list(&announced.key_types)),
        line("terms", &list(&announced.terms)),
        line("suites", &list(&announced.suites)),
        line(
            "explicit restrictions",
            &list(announced.explicit_restrictions.as_deref().unwrap_or_default()),
        ),
        line(
            "extended restrictions",
            &list(announced.extended_restrictions.as_deref().unwrap_or_default()),
        ),
        line(
            "source ids",
            &list(announced.source_ids.as_deref().unwrap_or_default()),
        ),
        line(
            "watermarks",
            &list(announced.watermarks.as_deref().unwrap_or_default()),
        ),
        line(
            "key exchange algorithms",
            &list(announced.exchange_algorithms.as_deref().unwrap_or_default()),
        ),
        line(
            "several exchange keys",
            flag(announced.exchange_multiple.is_some()),
        ),
        line("licenses that go along", flag(announced.more_licenses.is_some())),
        line("wants to store licenses", flag(request.persistent)),
        line("device", &asked.device.to_string()),
        line("security level", &asked.security_level.to_string()),
        line("maker", asked.claims.maker.as_deref().unwrap_or("none")),
        line("model", asked.claims.model.as_deref().unwrap_or("none")),
        line(
            "robustness version",
            &asked
                .claims
                .robustness_version
                .as_ref()
                .map_or_else(|| "none".to_owned(), ToString::to_string),
        ),
    ];
    let signer = asked.request.signer();
    let authority = signer.and_then(|signer| identity.issuer_of(EnrolmentRole::Device, signer.der()).ok());
    for (what, certificate) in [("certificate", signer), ("its authority", authority)] {
        if let Some(certificate) = certificate {
            lines.push(line(what, certificate.subject()));
            lines.push(line(
                &format!("{what}: digest"),
                &certificate_digest(certificate).to_string(),
            ));
            lines.push(line(
                &format!("{what}: valid until"),
                &certificate.not_after().to_string(),
            ));
        }
    }
    lines.concat()
}

/// What a stranger says stays on its line.
fn line(name: &str, value: &str) -> String {
    format!("{name}: {}\n", keyward_license::carrier::one_line(value))
}

fn time(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "none".to_owned(), |seconds| seconds.to_string())
}

fn list<T: core::fmt::Debug>(values: &[T]) -> String {
    let written: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
    match written.is_empty() {
        true => "none".to_owned(),
        false => written.join(" "),
    }
}

const fn flag(is_set: bool) -> &'static str {
    if is_set { "yes" } else { "no" }
}
