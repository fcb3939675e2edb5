//! Revocation lists, one or a file of them: each list is signed, the file around them is not.

use keyward_crypto::x509::{Anchor, revocation::RevocationList as CertificateRevocationList};
use keyward_license::{
    codec::Bytes,
    revocation::{
        DeviceRevocationList, ListBounds, ListFault, ListId, ListNumber, RevocationList, RevocationLists,
        RevocationListsFile, RevokedDevices, UnknownStatus,
    },
    time::Timestamp,
};

use super::{
    certificate,
    explanation::{Explanation, Fields, Kind, Standing, Value, foreign, length, list, plain, said, size},
    message::{self, Said, Signed},
    trust::Trust,
};

/// Explains a file of revocation lists.
pub(super) fn explain(bytes: &[u8], file: &RevocationListsFile, trust: &Trust) -> Explanation {
    let standing = match trust.with_id(&file.operator) {
        None => Standing::unverified("the operator that it names was not named to verify it under"),
        Some((anchor, known)) => match adopt(anchor, &file.lists, trust) {
            Ok(()) => known.verified(trust.now),
            Err(fault) => Standing::unverified(fault),
        },
    };
    let fields = Fields::default()
        .with("version", file.version)
        .with("operator", plain(file.operator))
        .with("lists", list(&file.lists, |list| fields(list).into()));
    explained(Kind::RevocationLists, bytes, standing, fields)
}

/// Explains one list: as it travels, or the signed list alone.
pub(super) fn explain_one(bytes: &[u8], list: &RevocationList, trust: &Trust) -> Explanation {
    let standing = match trust.verify(|anchor| adopt(anchor.clone(), core::slice::from_ref(list), trust)) {
        Ok(((), known)) => known.verified(trust.now),
        Err(reason) => Standing::unverified(reason),
    };
    let kind = match list {
        RevocationList::Certificates { .. } => Kind::CertificateRevocationList,
        RevocationList::Devices(_) => Kind::DeviceRevocationList,
    };
    explained(kind, bytes, standing, fields(list))
}

/// Explains a certificate revocation list without the path of its authority: only the root's verifies so.
pub(super) fn explain_certificate_list(der: &[u8], trust: &Trust) -> Explanation {
    let list = RevocationList::Certificates {
        list: Bytes(der.to_vec()),
        path: Vec::new(),
    };
    explain_one(der, &list, trust)
}

fn explained(kind: Kind, bytes: &[u8], standing: Standing, fields: Fields) -> Explanation {
    Explanation::new(kind, length(bytes), standing, fields).not_checked(&["whether there are newer lists"])
}

/// V-063, V-064: the lists are verified if each of them is.
fn adopt(anchor: Anchor, lists: &[RevocationList], trust: &Trust) -> Result<(), ListFault> {
    let bounds = ListBounds {
        lists: lists.len(),
        bytes: usize::MAX,
    };
    let mut held = RevocationLists::new(anchor, bounds, UnknownStatus::Accept);
    match held.adopt_all(lists, Some(trust.now)).1.first() {
        None => Ok(()),
        Some(fault) => Err(*fault),
    }
}

fn fields(list: &RevocationList) -> Fields {
    match list {
        RevocationList::Certificates { list, path } => of_certificates(&list.0, path),
        RevocationList::Devices(message) => of_devices(&message.0),
    }
}

/// What a list is called: by its authority, or that it is the operator's own.
pub(super) fn name(list: &ListId) -> Value {
    match *list == ListId::DEVICES {
        true => said("devices", "the device revocation list, of companies and models"),
        false => plain(list),
    }
}

fn of_certificates(der: &[u8], path: &[Bytes]) -> Fields {
    let list = match CertificateRevocationList::parse(der) {
        Ok(list) => list,
        Err(error) => return unreadable(der, &error),
    };
    Fields::default()
        .with("authority", ListId::of(&list).map_or(Value::Absent, plain))
        .with("number", plain(ListNumber::new(*list.number())))
        .with("issued", Timestamp(list.this_update()))
        .with("next_update", Timestamp(list.next_update()))
        .with("entries", u64::try_from(list.len()).unwrap_or(u64::MAX))
        .with(
            "revoked",
            self::list(list.revoked().take(MAX_SHOWN), |(serial, since)| {
                let entry = Fields::default().with("serial", plain(hex::encode(serial)));
                entry.with("since", Timestamp(since)).into()
            }),
        )
        .with("list_bytes", size(der))
        .with("path", certificate::chain(path.iter().map(|der| &der.0[..])))
}

fn of_devices(bytes: &[u8]) -> Fields {
    let signed = match message::parse(bytes) {
        Ok(message) => Signed { bytes, message },
        Err(error) => return unreadable(bytes, &error),
    };
    let said: Said<DeviceRevocationList> = signed.unverified(Standing::unverified("read as it stands"));
    let body = match said.body {
        Ok(body) => body,
        Err(error) => return unreadable(bytes, &error),
    };
    let allowed = body.allowed.unwrap_or_default();
    Fields::default()
        .with("name", name(&ListId::DEVICES))
        .with("number", plain(body.number))
        .with("issued", body.issued)
        .with("next_update", body.next_update)
        .with(
            "revoked",
            list(body.revoked.iter().flatten(), |entry| revoked(entry).into()),
        )
        .with("allowed", list(&allowed, plain))
        .with("list_bytes", size(bytes))
        .and(signed.signer())
}

fn revoked(entry: &RevokedDevices) -> Fields {
    Fields::default()
        .with("maker", foreign(&entry.maker))
        .with("model", entry.model.as_deref().map(foreign))
        .with("robustness_below", entry.robustness_below.map(Value::from))
        .with("since", entry.since)
        .with("reason", entry.reason.as_deref().map(foreign))
}

/// Most revoked certificates that are shown of a list; how many there are is told in any case.
const MAX_SHOWN: usize = 1024;

fn unreadable(bytes: &[u8], error: &dyn std::fmt::Display) -> Fields {
    Fields::default()
        .with("list_bytes", size(bytes))
        .faults([error.to_string()])
}
