//! Commented hex: the worked examples of `spec/`, renewed in place.
//!
//! A fenced block whose info string is `hex NAME` holds the example of that name. One line an item:
//! its head's bytes, indented by depth, and what they mean.

use std::fmt::Write as _;

use keyward_crypto::hpke::Suite;
use keyward_license::{codec::Wire, envelope::binding, ids::Digest, license::KEY_CONTEXT};
use minicbor::data::Type;

use super::{
    World, acknowledgements, documents, enrolments, licenses, packaging, requests, responses, revocation,
};

/// The examples by name: CBOR bytes made from the fixed seeds.
#[must_use]
pub fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let world = World::new();
    let license = licenses::example(&world);
    let digest = Digest::new(keyward_crypto::kdf::sha256(&[&license.body]));
    vec![
        ("license", license.body),
        ("license-keys", license.keys),
        ("hpke-info", binding(KEY_CONTEXT, Suite::P256, &digest)),
        ("sealed-key", license.sealed),
        ("signed-license", license.message),
        ("license-request", requests::example(&world)),
        ("license-response", responses::example(&world)),
        ("enrolment-request", enrolments::example(&world)),
        ("discovery-document", documents::example(&world)),
        ("packaging-request", packaging::example_request(&world)),
        ("packaging-response", packaging::example_response(&world)),
        ("device-revocation-list", revocation::example(&world)),
        ("acknowledge-request", acknowledgements::example_request(&world)),
        ("receipt", acknowledgements::example_receipt()),
        ("operator-profile", world.operator.profile().encode()),
        (
            "certificate-claims",
            world.device.identity.leaf().claims().unwrap().to_vec(),
        ),
        ("problem-document", documents::example_problem()),
    ]
}

/// The page with every worked example made anew.
#[must_use]
pub fn renew_examples(page: &str) -> String {
    let examples = examples();
    let mut renewed = String::new();
    let mut skipping = false;
    for line in page.lines() {
        if skipping && line != "```" {
            continue;
        }
        skipping = false;
        writeln!(renewed, "{line}").unwrap();
        if let Some(name) = line.strip_prefix("```hex ") {
            let (_, bytes) = examples.iter().find(|(known, _)| *known == name).unwrap();
            renewed.push_str(&commented(bytes));
            skipping = true;
        }
    }
    renewed
}

/// One line an item of deterministic CBOR.
fn commented(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut decoder = minicbor::Decoder::new(bytes);
    item(&mut decoder, 0, &mut text);
    text
}

fn item(decoder: &mut minicbor::Decoder<'_>, depth: usize, text: &mut String) {
    let start = decoder.position();
    match decoder.datatype().unwrap() {
        Type::Map => {
            let pairs = decoder.map().unwrap().unwrap();
            line(decoder, start, depth, &format!("map of {pairs}"), text);
            (0..pairs).for_each(|_| pair(decoder, depth + 1, text));
        }
        Type::Array => {
            let items = decoder.array().unwrap().unwrap();
            line(decoder, start, depth, &format!("array of {items}"), text);
            (0..items).for_each(|_| item(decoder, depth + 1, text));
        }
        Type::Tag => {
            let tag = decoder.tag().unwrap().as_u64();
            line(decoder, start, depth, &format!("tag {tag}"), text);
            item(decoder, depth + 1, text);
        }
        _ => {
            let meaning = scalar(decoder);
            line(decoder, start, depth, &meaning, text);
        }
    }
}

/// A key and, where it is short, its value on the same line.
fn pair(decoder: &mut minicbor::Decoder<'_>, depth: usize, text: &mut String) {
    let start = decoder.position();
    let key = scalar(decoder);
    match decoder.datatype().unwrap() {
        Type::Map | Type::Array | Type::Tag => {
            line(decoder, start, depth, &format!("{key}:"), text);
            item(decoder, depth + 1, text);
        }
        _ => {
            let value = scalar(decoder);
            line(decoder, start, depth, &format!("{key}: {value}"), text);
        }
    }
}

fn scalar(decoder: &mut minicbor::Decoder<'_>) -> String {
    match decoder.datatype().unwrap() {
        Type::Bool => decoder.bool().unwrap().to_string(),
        Type::String => format!("{:?}", decoder.str().unwrap()),
        Type::Bytes => format!("{} bytes", decoder.bytes().unwrap().len()),
        _ => decoder.int().unwrap().to_string(),
    }
}

/// The bytes since `start`, 32 a line; long strings in the middle are cut, since the vectors hold them.
fn line(decoder: &minicbor::Decoder<'_>, start: usize, depth: usize, meaning: &str, text: &mut String) {
    const WIDTH: usize = 40;
    let bytes = decoder.input().get(start..decoder.position()).unwrap();
    let hex = if bytes.len() > WIDTH {
        let (head, tail) = (bytes.get(..12).unwrap(), bytes.get(bytes.len() - 4..).unwrap());
        format!("{} ... {}", hex::encode(head), hex::encode(tail))
    } else {
        hex::encode(bytes)
    };
    writeln!(text, "{:indent$}{hex}  # {meaning}", "", indent = depth * 2).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_commented() {
        let bytes = hex::decode("a20143abcdef0281f5").unwrap();
        let expected = "a2  # map of 2\n  0143abcdef  # 1: 3 bytes\n  02  # 2:\n    81  # array of 1\n      f5  # true\n";
        assert_eq!(commented(&bytes), expected);
    }

    #[test]
    fn blocks_are_renewed_in_place() {
        let page = "before\n```hex problem-document\nold\n```\nafter\n";
        let renewed = renew_examples(page);
        assert!(renewed.starts_with("before\n```hex problem-document\na2  # map of 2\n"));
        assert!(renewed.ends_with("```\nafter\n") && !renewed.contains("old"));
        assert_eq!(renew_examples(&renewed), renewed);
    }
}
