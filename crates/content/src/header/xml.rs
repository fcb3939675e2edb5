//! The PlayReady Header: reading versions 4.0 to 4.3, writing them in canonical form.
//!
//! The reader is strict about what the rules say of elements (namespace, version, at most one of each,
//! never empty, values in range), skips elements and attributes it does not know, and is indifferent to
//! what Canonical XML fixes about spelling (order of attributes, self-closing tags, white space between
//! elements): two spellings of one header mean the same keys.

mod write;

use base64::{Engine, engine::general_purpose::STANDARD};
use keyward_crypto::seed;
use keyward_license::ids::Kid;
use roxmltree::{Document, Node, ParsingOptions};

use super::{Algorithm, ContentHeader, HeaderError, HeaderVersion, KeyReference};

pub use write::write;

/// XML namespace of a PlayReady Header.
pub const NAMESPACE: &str = "http://schemas.microsoft.com/DRM/2007/03/PlayReadyHeader";

/// More nodes than a header of the greatest length can have, so that a parser fault stays bounded too.
const MAX_NODES: u32 = 8192;

/// Reads a PlayReady Header of version 4.0, 4.1, 4.2 or 4.3.
///
/// # Errors
/// [`HeaderError`], the first fault met.
pub fn read(text: &str) -> Result<ContentHeader, HeaderError> {
    if text.starts_with('\u{feff}') {
        return Err(HeaderError::ByteOrderMark);
    }
    if text.starts_with("<?xml") {
        return Err(HeaderError::XmlDeclaration);
    }
    let options = ParsingOptions {
        nodes_limit: MAX_NODES,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(text, options).map_err(|error| {
        let at = error.pos();
        HeaderError::NotXml {
            line: at.row,
            column: at.col,
        }
    })?;
    let root = document.root_element();
    if !root.has_tag_name((NAMESPACE, "WRMHEADER")) {
        return Err(HeaderError::WrongRoot);
    }
    let version = read_version(root)?;
    let mut header = ContentHeader {
        version,
        ..ContentHeader::new(Vec::new())
    };
    match child(root, "DATA")? {
        Some(data) => read_data(data, &mut header)?,
        None if version == HeaderVersion::V4_0 => return Err(HeaderError::Missing("DATA")),
        None => {}
    }
    check_keys(&header.kids)?;
    Ok(header)
}

fn read_version(root: Node<'_, '_>) -> Result<HeaderVersion, HeaderError> {
    let stated = root.attribute("version").ok_or(HeaderError::Missing("version"))?;
    HeaderVersion::ALL
        .into_iter()
        .find(|version| version.as_str() == stated)
        .ok_or(HeaderError::UnsupportedVersion)
}

fn read_data(data: Node<'_, '_>, header: &mut ContentHeader) -> Result<(), HeaderError> {
    let protect_info = child(data, "PROTECTINFO")?;
    header.kids = match (header.version, protect_info) {
        (HeaderVersion::V4_0, info) => vec![read_key_v4_0(
            data,
            info.ok_or(HeaderError::Missing("PROTECTINFO"))?,
        )?],
        (_, None) => Vec::new(),
        (HeaderVersion::V4_1, Some(info)) => match child(info, "KID")? {
            Some(kid) => vec![read_key(kid, HeaderVersion::V4_1)?],
            None => Vec::new(),
        },
        (version, Some(info)) => read_kids(info, version)?,
    };
    header.license_url = optional(data, "LA_URL", read_url)?;
    header.license_ui_url = optional(data, "LUI_URL", read_url)?;
    header.domain_service_id = optional(data, "DS_ID", read_guid)?;
    header.custom_attributes = optional(data, "CUSTOMATTRIBUTES", read_custom)?;
    if header.version >= HeaderVersion::V4_1 {
        header.on_demand = optional(data, "DECRYPTORSETUP", read_decryptor_setup)?.is_some();
    }
    if header.version >= HeaderVersion::V4_3 {
        header.license_requested = protect_info.map_or(Ok(true), read_license_requested)?;
    }
    Ok(())
}

/// Version 4.0: KEYLEN and ALGID in PROTECTINFO, KID and CHECKSUM beside it.
fn read_key_v4_0(data: Node<'_, '_>, info: Node<'_, '_>) -> Result<KeyReference, HeaderError> {
    let required = |parent, name| child(parent, name)?.ok_or(HeaderError::Missing(name));
    let algorithm = read_algorithm(text(required(info, "ALGID")?, "ALGID")?, HeaderVersion::V4_0)?;
    let key_len = if algorithm == Algorithm::Cocktail {
        "7"
    } else {
        "16"
    };
    if text(required(info, "KEYLEN")?, "KEYLEN")? != key_len {
        return Err(HeaderError::Invalid {
            element: "KEYLEN",
            expected: "the key length of its ALGID",
        });
    }
    let kid = Kid::new(read_guid(required(data, "KID")?, "KID")?);
    let checksum = optional(data, "CHECKSUM", text)?;
    let checksum = checksum
        .map(|checksum| read_checksum(checksum, Some(algorithm)))
        .transpose()?;
    Ok(KeyReference {
        kid,
        algorithm: Some(algorithm),
        checksum,
    })
}

/// Version 4.2 and 4.3: one or more KID elements in KIDS.
fn read_kids(info: Node<'_, '_>, version: HeaderVersion) -> Result<Vec<KeyReference>, HeaderError> {
    let Some(kids) = child(info, "KIDS")? else {
        return Ok(Vec::new());
    };
    let keys: Vec<_> = children(kids, "KID")
        .map(|kid| read_key(kid, version))
        .collect::<Result<_, _>>()?;
    if keys.is_empty() {
        Err(HeaderError::Empty("KIDS"))
    } else {
        Ok(keys)
    }
}

/// Version 4.1 and later: a KID element with attributes and no body.
fn read_key(kid: Node<'_, '_>, version: HeaderVersion) -> Result<KeyReference, HeaderError> {
    // Published examples have white space for a body; anything else is a fault.
    if kid
        .children()
        .any(|node| !node.is_text() || node.text().is_some_and(|text| !text.trim().is_empty()))
    {
        return Err(HeaderError::Invalid {
            element: "KID",
            expected: "an element without content",
        });
    }
    let algorithm = kid
        .attribute("ALGID")
        .map(|name| read_algorithm(name, version))
        .transpose()?;
    if algorithm.is_none() && version < HeaderVersion::V4_3 {
        return Err(HeaderError::Missing("ALGID"));
    }
    let value = kid.attribute("VALUE").ok_or(HeaderError::Missing("VALUE"))?;
    let checksum = kid
        .attribute("CHECKSUM")
        .map(|checksum| read_checksum(checksum, algorithm))
        .transpose()?;
    Ok(KeyReference {
        kid: Kid::new(guid(value, "KID")?),
        algorithm,
        checksum,
    })
}

fn read_algorithm(name: &str, version: HeaderVersion) -> Result<Algorithm, HeaderError> {
    [Algorithm::AesCtr, Algorithm::AesCbc, Algorithm::Cocktail]
        .into_iter()
        .find(|algorithm| algorithm.as_str() == name)
        .filter(|algorithm| *algorithm != Algorithm::AesCbc || version >= HeaderVersion::V4_3)
        .ok_or(HeaderError::Invalid {
            element: "ALGID",
            expected: "an algorithm of its header version",
        })
}

fn read_checksum(value: &str, algorithm: Option<Algorithm>) -> Result<Vec<u8>, HeaderError> {
    let expected_len = match algorithm {
        None | Some(Algorithm::AesCtr) => seed::CHECKSUM_LEN,
        Some(Algorithm::Cocktail) => 7,
        Some(Algorithm::AesCbc) => {
            return Err(HeaderError::Invalid {
                element: "CHECKSUM",
                expected: "absent, as ALGID is AESCBC",
            });
        }
    };
    STANDARD
        .decode(value)
        .ok()
        .filter(|checksum| checksum.len() == expected_len)
        .ok_or(HeaderError::Invalid {
            element: "CHECKSUM",
            expected: "the checksum of its ALGID in base64",
        })
}

/// What holds of the keys together: no key id twice, and one ALGID for all or none.
fn check_keys(keys: &[KeyReference]) -> Result<(), HeaderError> {
    for (index, key) in keys.iter().enumerate() {
        for earlier in keys.iter().take(index) {
            if earlier.kid == key.kid {
                return Err(HeaderError::RepeatedKid);
            }
            if earlier.algorithm != key.algorithm {
                return Err(HeaderError::MixedAlgorithms);
            }
        }
    }
    Ok(())
}

fn read_url(node: Node<'_, '_>, name: &'static str) -> Result<String, HeaderError> {
    let url = text(node, name)?;
    if is_absolute_url(url) {
        Ok(url.to_owned())
    } else {
        Err(HeaderError::Invalid {
            element: name,
            expected: "an absolute URL",
        })
    }
}

/// RFC 3986 §4.3 as far as safety needs it: a scheme, `://`, something after it, nothing unprintable.
/// Whoever connects to it parses it in full and decides whether the host is allowed.
fn is_absolute_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else {
        return false;
    };
    let mut letters = scheme.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        && !rest.is_empty()
        && !url.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn read_guid(node: Node<'_, '_>, name: &'static str) -> Result<[u8; 16], HeaderError> {
    guid(text(node, name)?, name)
}

/// Reads the base64 of a GUID and gives its big-endian bytes.
fn guid(value: &str, element: &'static str) -> Result<[u8; 16], HeaderError> {
    let bytes = STANDARD
        .decode(value)
        .ok()
        .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    bytes
        .map(|bytes| seed::swap_guid(&bytes))
        .ok_or(HeaderError::Invalid {
            element,
            expected: "16 bytes in base64",
        })
}

/// The source text between the tags, so that the application gets what it wrote.
fn read_custom(node: Node<'_, '_>, name: &'static str) -> Result<String, HeaderError> {
    let inner = node
        .first_child()
        .zip(node.last_child())
        .and_then(|(first, last)| {
            let source = node.document().input_text();
            source.get(first.range().start..last.range().end)
        });
    inner
        .filter(|inner| !inner.trim().is_empty())
        .map(str::to_owned)
        .ok_or(HeaderError::Empty(name))
}

fn read_decryptor_setup(node: Node<'_, '_>, name: &'static str) -> Result<(), HeaderError> {
    match text(node, name)? {
        "ONDEMAND" => Ok(()),
        _ => Err(HeaderError::Invalid {
            element: name,
            expected: "ONDEMAND",
        }),
    }
}

fn read_license_requested(info: Node<'_, '_>) -> Result<bool, HeaderError> {
    match info.attribute("LICENSEREQUESTED") {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(HeaderError::Invalid {
            element: "LICENSEREQUESTED",
            expected: "true or false",
        }),
    }
}

fn optional<'a, 'input, T>(
    parent: Node<'a, 'input>,
    name: &'static str,
    read: impl FnOnce(Node<'a, 'input>, &'static str) -> Result<T, HeaderError>,
) -> Result<Option<T>, HeaderError> {
    child(parent, name)?.map(|node| read(node, name)).transpose()
}

/// The one child element of that name, if there is any.
fn child<'a, 'input>(
    parent: Node<'a, 'input>,
    name: &'static str,
) -> Result<Option<Node<'a, 'input>>, HeaderError> {
    let mut found = children(parent, name);
    let first = found.next();
    if found.next().is_some() {
        Err(HeaderError::Repeated(name))
    } else {
        Ok(first)
    }
}

fn children<'a, 'input>(
    parent: Node<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    parent
        .children()
        .filter(move |node| node.has_tag_name((NAMESPACE, name)))
}

/// The text of an element that holds text alone; a comment or element inside would let two readers
/// see two values.
fn text<'a>(node: Node<'a, '_>, name: &'static str) -> Result<&'a str, HeaderError> {
    let mut inside = node.children();
    match (inside.next(), inside.next()) {
        (None, _) => Err(HeaderError::Empty(name)),
        (Some(only), None) if only.is_text() => Ok(only.text().unwrap_or_default()),
        _ => Err(HeaderError::Invalid {
            element: name,
            expected: "text alone",
        }),
    }
}

#[cfg(test)]
mod tests;
