//! Files of revocation lists: each list is signed, the file around them is not.

use keyward_crypto::x509::revocation::RevocationList as CertificateRevocationList;
use keyward_license::{
    codec::Bytes,
    revocation::{
        DeviceRevocationList, ListBounds, ListId, ListNumber, RevocationList, RevocationLists,
        RevocationListsFile, RevokedDevices, UnknownStatus,
    },
    time::Timestamp,
};

use super::{
    certificate,
    explanation::{Explanation, Fields, Kind, Standing, Value, foreign, length, list, plain, size},
    message::{self, Said, Signed},
    trust::Trust,
};

/// Explains a file of revocation lists.
pub(super) fn explain(bytes: &[u8], file: &RevocationListsFile, trust: &Trust) -> Explanation {
    let fields = Fields::default()
        .with("version", file.version)
        .with("operator", plain(file.operator))
        .with("lists", list(&file.lists, |list| fields(list).into()));
    Explanation::new(
        Kind::RevocationLists,
        length(bytes),
        standing(file, trust),
        fields,
    )
    .not_checked(&["whether there are newer lists"])
}

/// V-063, V-064: the lists are verified if each of them is.
fn standing(file: &RevocationListsFile, trust: &Trust) -> Standing {
    let Some((anchor, known)) = trust.with_id(&file.operator) else {
        return Standing::unverified("the operator that it names was not named to verify it under");
    };
    let bounds = ListBounds {
        lists: file.lists.len(),
        bytes: usize::MAX,
    };
    let mut lists = RevocationLists::new(anchor, bounds, UnknownStatus::Accept);
    match lists.adopt_all(&file.lists, Some(trust.now)).1.first() {
        None => known.verified(trust.now),
        Some(fault) => Standing::unverified(fault),
    }
}

fn fields(list: &RevocationList) -> Fields {
    match list {
        RevocationList::Certificates { list, path } => of_certificates(&list.0, path),
        RevocationList::Devices(message) => of_devices(&message.0),
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
        .with("number", body.number)
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

fn unreadable(bytes: &[u8], error: &dyn std::fmt::Display) -> Fields {
    Fields::default()
        .with("list_bytes", size(bytes))
        .faults([error.to_string()])
}
