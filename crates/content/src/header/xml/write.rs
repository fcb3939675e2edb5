//! Writing a PlayReady Header in canonical form (Canonical XML 1.1: no declaration, explicit end tags,
//! attributes in alphabetical order, no white space between elements).

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use keyward_crypto::seed;
use keyward_license::ids::Kid;

use super::{NAMESPACE, read};
use crate::header::{Algorithm, ContentHeader, HeaderError, HeaderVersion, KeyReference};

/// Writes the header in its own version.
///
/// # Errors
/// [`HeaderError`] for a field outside its rule; [`HeaderError::NotExpressible`] if the version has no
/// place for a field that is set.
pub fn write(header: &ContentHeader) -> Result<String, HeaderError> {
    let data: String = [
        protection(header)?,
        element("LA_URL", header.license_url.as_deref().map(escape)),
        element("LUI_URL", header.license_ui_url.as_deref().map(escape)),
        element(
            "DS_ID",
            header
                .domain_service_id
                .map(|id| Cow::Owned(STANDARD.encode(seed::swap_guid(&id)))),
        ),
        element(
            "CUSTOMATTRIBUTES",
            header.custom_attributes.as_deref().map(Cow::Borrowed),
        ),
        element(
            "DECRYPTORSETUP",
            header.on_demand.then_some(Cow::Borrowed("ONDEMAND")),
        ),
    ]
    .concat();
    let version = header.version;
    let text =
        format!(r#"<WRMHEADER xmlns="{NAMESPACE}" version="{version}"><DATA>{data}</DATA></WRMHEADER>"#);
    // Reading it back holds every field against the rules, shows a field that the version lost, and
    // shows custom attributes that closed their element to add others.
    if read(&text)? == *header {
        Ok(text)
    } else {
        Err(HeaderError::NotExpressible(version))
    }
}

/// PROTECTINFO, and in version 4.0 the key beside it.
fn protection(header: &ContentHeader) -> Result<String, HeaderError> {
    let one = || match header.kids.as_slice() {
        [] => Ok(None),
        [key] => Ok(Some(key)),
        _ => Err(HeaderError::NotExpressible(header.version)),
    };
    match header.version {
        HeaderVersion::V4_0 => one()?.map(key_v4_0).ok_or(HeaderError::Missing("KID")),
        HeaderVersion::V4_1 => Ok(one()?.map_or_else(String::new, |key| protect_info("", &key_element(key)))),
        HeaderVersion::V4_2 | HeaderVersion::V4_3 => Ok(protection_with_kids(header)),
    }
}

fn protection_with_kids(header: &ContentHeader) -> String {
    let attributes = if header.license_requested {
        ""
    } else {
        r#" LICENSEREQUESTED="false""#
    };
    let keys: String = header.kids.iter().map(key_element).collect();
    match (keys.is_empty(), header.license_requested) {
        (true, true) => String::new(),
        (true, false) => protect_info(attributes, ""),
        (false, _) => protect_info(attributes, &format!("<KIDS>{keys}</KIDS>")),
    }
}

fn protect_info(attributes: &str, content: &str) -> String {
    format!("<PROTECTINFO{attributes}>{content}</PROTECTINFO>")
}

/// The published samples of version 4.0 have KEYLEN before ALGID. A key without ALGID is written as
/// AESCTR and then found not to be expressible.
fn key_v4_0(key: &KeyReference) -> String {
    let algorithm = key.algorithm.unwrap_or(Algorithm::AesCtr);
    let key_len = if algorithm == Algorithm::Cocktail { 7 } else { 16 };
    let algorithm = algorithm.as_str();
    let info = protect_info(
        "",
        &format!("<KEYLEN>{key_len}</KEYLEN><ALGID>{algorithm}</ALGID>"),
    );
    let checksum = element(
        "CHECKSUM",
        key.checksum
            .as_ref()
            .map(|checksum| Cow::Owned(STANDARD.encode(checksum))),
    );
    format!("{info}<KID>{}</KID>{checksum}", kid_text(key.kid))
}

fn key_element(key: &KeyReference) -> String {
    let attribute = |name, value| format!(r#" {name}="{value}""#);
    let algorithm = key
        .algorithm
        .map(|algorithm| attribute("ALGID", algorithm.as_str().to_owned()));
    let checksum = key
        .checksum
        .as_ref()
        .map(|checksum| attribute("CHECKSUM", STANDARD.encode(checksum)));
    let value = attribute("VALUE", kid_text(key.kid));
    format!(
        "<KID{}{}{value}></KID>",
        algorithm.unwrap_or_default(),
        checksum.unwrap_or_default()
    )
}

fn kid_text(kid: Kid) -> String {
    STANDARD.encode(seed::swap_guid(kid.as_bytes()))
}

fn element(name: &str, content: Option<Cow<'_, str>>) -> String {
    content.map_or_else(String::new, |content| format!("<{name}>{content}</{name}>"))
}

/// Text as Canonical XML 1.1 §2.3 writes it.
fn escape(text: &str) -> Cow<'_, str> {
    if text.contains(['&', '<', '>', '\r']) {
        let text = text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        return Cow::Owned(text.replace('\r', "&#xD;"));
    }
    Cow::Borrowed(text)
}
