//! Content headers: PlayReady Objects and PlayReady Headers.

use keyward_content::header::{ContentHeader, HeaderError, KeyReference, Object, xml};

use super::{
    embedded::store_fields,
    explanation::{Explanation, Fields, Kind, Standing, Value, foreign, length, list, plain, size},
};
use crate::failure::Failure;

/// Explains a PlayReady Object.
pub(super) fn explain_object(bytes: &[u8]) -> Result<Explanation, Failure> {
    Object::parse(bytes).map_err(|error| malformed("a PlayReady Object", error))?;
    let fields = object_fields(bytes);
    Ok(Explanation::new(
        Kind::PlayReadyObject,
        length(bytes),
        standing(),
        fields,
    ))
}

/// Explains a PlayReady Header that stands alone, as text.
pub(super) fn explain_xml(text: &str) -> Result<Explanation, Failure> {
    let header = xml::read(text).map_err(|error| malformed("a PlayReady Header", error))?;
    let fields = fields(&header);
    Ok(Explanation::new(
        Kind::PlayReadyHeader,
        length(text.as_bytes()),
        standing(),
        fields,
    ))
}

/// Explains a PlayReady Header that stands alone, in UTF-16LE.
pub(super) fn explain_utf16(bytes: &[u8]) -> Result<Explanation, Failure> {
    let object = Object {
        header: Some(bytes),
        embedded_store: None,
    };
    let header = object
        .to_bytes()
        .and_then(|object| ContentHeader::read_object(&object))
        .map_err(|error| malformed("a PlayReady Header", error))?;
    Ok(Explanation::new(
        Kind::PlayReadyHeader,
        length(bytes),
        standing(),
        fields(&header),
    ))
}

/// What a PlayReady Object says, or why it says nothing.
pub(super) fn object_fields(bytes: &[u8]) -> Fields {
    let object = match Object::parse(bytes) {
        Ok(object) => object,
        Err(error) => {
            return Fields::default()
                .with("object_bytes", size(bytes))
                .faults([error.to_string()]);
        }
    };
    let said = match ContentHeader::read_object(bytes) {
        Ok(header) => fields(&header),
        Err(error) => Fields::default()
            .with("header_bytes", object.header.map(size))
            .faults([error.to_string()]),
    };
    said.with("embedded_license_store", object.embedded_store.map(store_fields))
}

/// What a content header says.
pub(super) fn fields(header: &ContentHeader) -> Fields {
    Fields::default()
        .with("header_version", plain(header.version))
        .with("kids", list(&header.kids, key))
        .with("license_url", header.license_url.as_deref().map(foreign))
        .with("license_ui_url", header.license_ui_url.as_deref().map(foreign))
        .with(
            "domain_service_id",
            header.domain_service_id.map(|id| plain(hex::encode(id))),
        )
        .with(
            "custom_attributes",
            header.custom_attributes.as_deref().map(foreign),
        )
        .with("on_demand", header.on_demand)
        .with("license_requested", header.license_requested)
}

fn key(key: &KeyReference) -> Value {
    Fields::default()
        .with("kid", plain(key.kid))
        .with(
            "algorithm",
            key.algorithm.map(|algorithm| plain(algorithm.as_str())),
        )
        .with(
            "checksum",
            key.checksum
                .as_deref()
                .map(|checksum| plain(hex::encode(checksum))),
        )
        .into()
}

fn standing() -> Standing {
    Standing::unverified(
        "a content header is not signed: only its key ids count, and they say which license to look for",
    )
}

fn malformed(what: &str, error: HeaderError) -> Failure {
    Failure::new(format!("this begins like {what}, but {error}"), error.hint())
}
