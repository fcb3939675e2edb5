//! Licenses: their terms in the words of the usage rules.

use keyward_crypto::exchange::Operation;
use keyward_license::{
    codec::Wire,
    ids::DeviceId,
    license::{
        Binding, BindingKind, KeyDescription, KeyType, License, LicenseBody, LicenseKind, Right, SealedKey,
        Sealing,
    },
};

use super::{
    explanation::{Explanation, Fields, Kind, Standing, Value, foreign, length, list, plain, said, size},
    message::{Said, Signed, suite, version_fault},
    terms,
    trust::Trust,
};
use crate::report;

/// Explains a license.
pub(super) fn explain(signed: &Signed<'_>, trust: &Trust) -> Explanation {
    // V-001 to V-005, V-020, V-021, V-026, V-030, V-031: as the client verifies a license in its store.
    let verified = trust.verify(|anchor| License::verify(signed.bytes, anchor, None));
    let (body, sealed, standing) = match verified {
        Ok((license, known)) => {
            let body = license.body().clone();
            let standing = known.verified(body.issued);
            (Ok(body), Some(license.sealed().clone()), standing)
        }
        Err(reason) => {
            let said: Said<LicenseBody> = signed.unverified(Standing::unverified(reason));
            let sealed = said
                .attachments
                .first()
                .map(|sealed| SealedKey::decode(&sealed.0));
            (said.body, sealed.and_then(Result::ok), said.standing)
        }
    };
    let body = match body {
        Ok(body) => body,
        Err(error) => return signed.unreadable(Kind::License, standing, &error),
    };
    let faults = [
        version_fault(body.version),
        body.check().err().map(|fault| fault.to_string()),
        sealed_fault(sealed.as_ref()),
    ];
    let fields = fields(&body, trust.device)
        .with("sealed_key", sealed.map(|sealed| sealed_key(&sealed)))
        .and(signed.signer())
        .faults(faults.into_iter().flatten());
    Explanation::new(Kind::License, length(signed.bytes), standing, fields).not_checked(&[
        "that the sealed key opens on the device, and is the key of the content",
        "whether the device was revoked, and whether the time permits use",
    ])
}

fn fields(body: &LicenseBody, device: Option<DeviceId>) -> Fields {
    let unlimited = !body.is_time_limited();
    Fields::default()
        .with("version", body.version)
        .with("id", plain(body.id))
        .with("name", body.name.as_deref().map(foreign))
        .with("license_kind", plain(kind(body.kind)))
        .with("keys", list(&body.keys, key))
        .with("binding", binding(&body.binding, device))
        .with("issued", body.issued)
        .with(
            "persistent",
            said(
                body.persistent,
                if body.persistent {
                    "yes: may be stored"
                } else {
                    "no: in memory only, for the request with this nonce"
                },
            ),
        )
        .with("nonce", body.nonce.map(plain))
        .with("rights", list(&body.rights, right))
        .with(
            "begin",
            body.begin
                .map(|begin| said(begin.0, format!("not before {} (R-004)", report::time(begin)))),
        )
        .with(
            "end",
            match body.end {
                Some(end) => said(end.0, format!("not from {} on (R-005)", report::time(end))),
                None if body.leaf_of().is_some() => said(serde_json::Value::Null, "that of the root license"),
                None if unlimited => said(serde_json::Value::Null, "without end"),
                None => Value::Absent,
            },
        )
        .with(
            "minimum_security_level",
            body.minimum_security_level
                .map(|level| said(level, format!("at least {level} (R-002)"))),
        )
        .and(terms::fields(body))
}

fn key(key: &KeyDescription) -> Value {
    Fields::default()
        .with("kid", plain(key.kid))
        .with("key_type", key_type(key.key_type))
        .with("algorithm", key.algorithm.map(plain))
        .with("operation", key.operation.map(operation))
        .with("version", key.version)
        .with(
            "context",
            key.context.as_ref().map(|context| plain(hex::encode(&context.0))),
        )
        .with("uses", key.uses)
        .into()
}

/// What an exchange key permits.
fn operation(number: u64) -> Value {
    match Operation::from_number(number) {
        Some(operation) => said(number, format!("{operation} (R-050)")),
        None => number.into(),
    }
}

/// What a key serves.
pub(super) fn key_type(key_type: KeyType) -> Value {
    let (name, words) = match key_type {
        KeyType::CencCtr => ("cenc-ctr", "media in AES-CTR (cenc, cens)"),
        KeyType::CencCbc => ("cenc-cbc", "media in AES-CBC (cbcs, cbc1)"),
        KeyType::File => ("file", "a file"),
        KeyType::Root => ("root", "leaf licenses"),
        KeyType::Exchange => ("exchange", "data of the application"),
    };
    said(name, words)
}

/// The kind of a license.
pub(in crate::commands) const fn kind(kind: LicenseKind) -> &'static str {
    match kind {
        LicenseKind::Simple => "simple",
        LicenseKind::Root => "root",
        LicenseKind::Leaf => "leaf",
        LicenseKind::KeyExchange => "key-exchange",
    }
}

fn right(right: &Right) -> Value {
    match right {
        Right::Play => said("play", "play (R-001)"),
        Right::Perform => said("perform", "perform the operation of the key (R-001, R-050)"),
    }
}

fn binding(binding: &Binding, device: Option<DeviceId>) -> Value {
    let kind = match binding.kind {
        BindingKind::Device => "device",
        BindingKind::Domain => "domain",
        BindingKind::Root => "root license",
    };
    Fields::default()
        .with("to", said(kind.replace(' ', "-"), kind))
        .with("id", plain(hex::encode(&binding.id.0)))
        .with("revision", binding.revision)
        .with("this_device", device.map(|device| binding.is_device(&device)))
        .into()
}

/// What is wrong with the sealed key, as far as that shows from outside.
fn sealed_fault(sealed: Option<&SealedKey>) -> Option<String> {
    let Some(sealed) = sealed else {
        return Some("the license has no readable sealed key".to_owned());
    };
    let known = Sealing::from_number(sealed.suite);
    known
        .is_none()
        .then(|| format!("suite {} is not one of this version", sealed.suite))
}

/// A key that is sealed to somebody.
pub(super) fn sealed_key(sealed: &SealedKey) -> Fields {
    Fields::default()
        .with("suite", suite(sealed.suite))
        .with("encapsulated_key_bytes", size(&sealed.encapsulated.0))
        .with("ciphertext_bytes", size(&sealed.ciphertext.0))
}
