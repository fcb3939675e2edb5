//! License requests, opened. Tokens, the response key and the application's bytes are counted, not shown.

use keyward_crypto::x509::Role;
use keyward_license::{
    license::{Flag, KeyType},
    request::{Capabilities, ClientClock, ClientInfo, ClockKind, ClockState, LicenseRequest},
};

use super::{
    content_header,
    explanation::{Explanation, Fields, Kind, Value, foreign, length, list, plain, said},
    license::key_type,
    lists,
    message::{Said, Signed, suite, version_fault},
    trust::Trust,
};

/// Explains a license request.
pub(super) fn explain(signed: &Signed<'_>, trust: &Trust) -> Explanation {
    // V-001 to V-005, V-041, at this time.
    let said: Said<LicenseRequest> = signed.read(trust, Role::Device, |_| trust.now);
    let body = match &said.body {
        Ok(body) => body,
        Err(error) => return signed.unreadable(Kind::LicenseRequest, said.standing, error),
    };
    let faults = [
        version_fault(body.version),
        body.check_bounds().err().map(|fault| fault.to_string()),
    ];
    let fields = fields(body)
        .with("body_digest", plain(said.digest))
        .and(signed.signer())
        .faults(faults.into_iter().flatten());
    Explanation::new(
        Kind::LicenseRequest,
        length(signed.bytes),
        said.standing.clone(),
        fields,
    )
    .not_checked(&[
        "whether the device is enrolled, not revoked, and entitled",
        "whether the nonce is fresh and the store has not gone back",
    ])
}

fn fields(body: &LicenseRequest) -> Fields {
    Fields::default()
        .with("version", body.version)
        .with("recipient", plain(body.recipient))
        .with("nonce", plain(body.nonce))
        .with("license_requested", body.license_requested)
        .with("kids", list(body.kids.iter().flatten(), plain))
        .with(
            "content_headers",
            list(body.content_headers.iter().flatten(), |object| {
                content_header::object_fields(&object.0).into()
            }),
        )
        .with("persistent", body.persistent)
        .with("client", client(&body.client))
        .with("capabilities", capabilities(&body.capabilities))
        .with(
            "revocation_lists",
            list(body.revocation_lists.iter().flatten(), |held| {
                Fields::default()
                    .with("list", lists::name(&held.list))
                    .with("number", plain(held.number))
                    .into()
            }),
        )
        .with(
            "memberships",
            list(body.memberships.iter().flatten(), |membership| {
                Fields::default()
                    .with("domain", plain(membership.domain))
                    .with("revision", membership.revision)
                    .into()
            }),
        )
        .with("clock", clock(&body.clock))
        .with(
            "store",
            Fields::default()
                .with("epoch", plain(body.store.epoch))
                .with("generation", body.store.generation),
        )
        .with(
            "authorization_bytes",
            hidden(body.authorization.as_deref().map(str::as_bytes)),
        )
        .with(
            "custom_data_bytes",
            hidden(body.custom_data.as_ref().map(|data| &data.0[..])),
        )
}

/// How long a credential is.
pub(super) fn hidden(bytes: Option<&[u8]>) -> Value {
    bytes
        .map(|bytes| said(length(bytes), format!("{} bytes, not shown", bytes.len())))
        .into()
}

/// The client program.
pub(super) fn client(client: &ClientInfo) -> Fields {
    Fields::default()
        .with("name", foreign(&client.name))
        .with("version", foreign(&client.version))
        .with("platform", foreign(&client.platform))
}

fn capabilities(capabilities: &Capabilities) -> Fields {
    let clock = match capabilities.clock {
        ClockKind::None => "none",
        ClockKind::AntiRollback => "anti-rollback",
        ClockKind::Secure => "secure",
    };
    Fields::default()
        .with(
            "key_types",
            list(&capabilities.key_types, |number| known_key_type(*number)),
        )
        .with("terms", list(&capabilities.terms, |number| term(*number)))
        .with(
            "exchange_algorithms",
            list(capabilities.exchange_algorithms.iter().flatten(), plain),
        )
        .with(
            "exchange_multiple",
            capabilities.exchange_multiple.map(|Flag| true),
        )
        .with(
            "more_licenses",
            capabilities
                .more_licenses
                .map(|Flag| said(true, "licenses may go along with those that it asks for (V-014)")),
        )
        .with(
            "acknowledges",
            capabilities
                .acknowledges
                .map(|Flag| said(true, "it tells what became of a response (V-065)")),
        )
        .with("suites", list(&capabilities.suites, |number| suite(*number)))
        .with("clock", plain(clock))
}

/// Numbers that a reader does not know are of no use to it, and are named as they are.
fn known_key_type(number: u64) -> Value {
    KeyType::from_number(number).map_or_else(|| number.into(), key_type)
}

fn term(number: u64) -> Value {
    let name = match number {
        10 => "begin",
        11 => "end",
        12 => "minimum-security-level",
        13 => "expiration-after-first-play",
        14 => "real-time-expiration",
        15 => "removal-date",
        16 => "grace-period",
        17 => "output-protection-levels",
        18 => "explicit-restrictions",
        19 => "play-enablers",
        23 => "embed",
        24 => "source-id",
        25 => "extended-restrictions",
        26 => "name",
        28 => "extended-rights",
        29 => "ends-with-revocation",
        _ => return number.into(),
    };
    plain(name)
}

fn clock(clock: &ClientClock) -> Fields {
    let state = match clock.state {
        ClockState::Set => "set",
        ClockState::NotSet => "not-set",
        ClockState::RolledBack => "rolled-back",
    };
    Fields::default()
        .with("state", plain(state))
        .with("now", clock.now)
        .with("last_trusted", clock.last_trusted)
}
