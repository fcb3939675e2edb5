//! Licenses that travel with content: what each says of itself, in a few words. The file of a license says all.

use keyward_license::{embedded::EmbeddedStore, license::LicenseBody, signed::MessageError};

use super::{
    explanation::{Fields, Standing, Value, list, plain, size},
    license::kind,
    message::{self, Said, Signed},
};

/// What an embedded license store holds.
pub(super) fn store_fields(store: &[u8]) -> Fields {
    let reserved = Fields::default()
        .with("reserved_bytes", size(store))
        .with("used", store.iter().any(|byte| *byte != 0));
    match EmbeddedStore::read(store) {
        Ok(held) => reserved.with("licenses", licenses(held.licenses())),
        // V-038: readers take it for an empty one.
        Err(error) => reserved.faults([error.to_string()]),
    }
}

/// Licenses, each in a few words. None of them is verified.
pub(super) fn licenses<'l>(licenses: impl IntoIterator<Item = &'l Vec<u8>>) -> Value {
    list(licenses, |license| match body(license) {
        Ok(body) => label(&body).with("license_bytes", size(license)).into(),
        Err(error) => Fields::default()
            .with("license_bytes", size(license))
            .faults([error.to_string()])
            .into(),
    })
}

fn body(license: &[u8]) -> Result<LicenseBody, MessageError> {
    let message = message::parse(license)?;
    let signed = Signed {
        bytes: license,
        message,
    };
    let said: Said<LicenseBody> = signed.unverified(Standing::unverified(""));
    Ok(said.body?)
}

fn label(body: &LicenseBody) -> Fields {
    Fields::default()
        .with("id", plain(body.id))
        .with("license_kind", plain(kind(body.kind)))
        .with("kid", body.asked_kid().ok().map(plain))
        .with("root", body.leaf_of().map(plain))
}
