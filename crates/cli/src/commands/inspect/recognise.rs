//! What is this? Told from the bytes, never from a name.

use std::{io::Cursor, path::Path};

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use keyward_content::file::MAGIC;
use keyward_crypto::x509::{Certificate, revocation::RevocationList as CertificateRevocationList};
use keyward_license::{
    codec::{Reader, Wire, gate},
    envelope::{SealedRequest, SealedResponse},
    error_code::Problem,
    operator_profile::OperatorProfile,
    revocation::{RevocationList, RevocationListsFile},
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject};

use super::{
    certificate, content_header, explanation::Explanation, file, lists, media, message, operator, pssh,
    sealed, trust::Trust,
};
use crate::failure::{Failure, file_error};

/// What was found in bytes: nothing known, or an explanation, or why there is none.
type Found = Option<Result<Explanation, Failure>>;

/// Explains bytes that are all there: of a message, or text that stands for one.
pub(super) fn explain(bytes: &[u8], trust: &Trust) -> Found {
    binary(bytes, trust).or_else(|| text(core::str::from_utf8(bytes).ok()?, trust))
}

/// The bytes that text stands for, or the bytes themselves where they are no such text.
pub(super) fn decoded(bytes: Vec<u8>) -> Vec<u8> {
    let read = |text: &str| from_hex(text).or_else(|| from_base64(text));
    core::str::from_utf8(&bytes).ok().and_then(read).unwrap_or(bytes)
}

fn binary(bytes: &[u8], trust: &Trust) -> Found {
    if bytes.starts_with(MAGIC) {
        return Some(file::explain(&mut Cursor::new(bytes)).map_err(unreadable));
    }
    if let Some(found) = pssh::explain(bytes) {
        return Some(found);
    }
    if media::begins_so(bytes) {
        return Some(media::explain(Cursor::new(bytes)).map_err(unreadable));
    }
    signed(bytes, trust)
        .or_else(|| map(bytes, trust))
        .or_else(|| certificate_list(bytes, trust))
        .or_else(|| certificate(bytes, trust))
        .or_else(|| content_header(bytes))
}

/// A tagged COSE_Sign1: an array of four.
fn signed(bytes: &[u8], trust: &Trust) -> Found {
    bytes
        .starts_with(&[0xd2, 0x84])
        .then(|| message::explain(bytes, trust))
}

/// A map of the protocol that is not signed. They differ in what their second entry is.
fn map(bytes: &[u8], trust: &Trust) -> Found {
    gate::check(bytes).ok()?;
    if let Ok(problem) = Problem::decode(bytes) {
        return Some(Ok(operator::explain_problem(bytes, &problem)));
    }
    // A sealed response has no third entry.
    if let Ok(file) = RevocationListsFile::parse(bytes) {
        return Some(Ok(lists::explain(bytes, &file, trust)));
    }
    // No other map has neither a version nor a code.
    if let Ok(list) = RevocationList::decode(bytes) {
        return Some(Ok(lists::explain_one(bytes, &list, trust)));
    }
    let second = || {
        let mut reader = Reader::new(bytes);
        let is_ours = reader.map().ok()? >= 2 && reader.uint().ok()? == 1 && reader.uint().is_ok();
        (is_ours && reader.uint().ok()? == 2).then_some(reader)
    };
    if second()?.uint().is_ok() {
        let envelope = SealedRequest::decode(bytes).map_err(malformed("a sealed request"));
        Some(envelope.and_then(|envelope| sealed::explain_request(bytes, &envelope, trust)))
    } else if second()?.bytes().is_ok() {
        let envelope = SealedResponse::decode(bytes).map_err(malformed("a sealed response"));
        Some(envelope.and_then(|envelope| sealed::explain_response(bytes, &envelope, trust)))
    } else if second()?.text().is_ok() {
        let profile = OperatorProfile::decode(bytes).map_err(malformed("an operator profile"));
        Some(profile.map(|profile| operator::explain_profile(bytes, &profile)))
    } else {
        None
    }
}

/// A certificate revocation list in DER.
fn certificate_list(bytes: &[u8], trust: &Trust) -> Found {
    let is_list = bytes.first() == Some(&0x30) && CertificateRevocationList::parse(bytes).is_ok();
    is_list.then(|| Ok(lists::explain_certificate_list(bytes, trust)))
}

/// A certificate in DER: a sequence that is as long as it says.
fn certificate(bytes: &[u8], trust: &Trust) -> Found {
    let [0x30, 0x82, high, low, rest @ ..] = bytes else {
        return None;
    };
    (usize::from(u16::from_be_bytes([*high, *low])) == rest.len()).then_some(())?;
    Some(match Certificate::parse(bytes) {
        Ok(_) => Ok(certificate::explain(&[bytes.to_vec()], trust)),
        Err(error) => Err(Failure::new(
            format!("this begins like a certificate, but {error}"),
            "certificates of the protocol have a P-256 key and a common name; inspect others with `openssl x509`",
        )),
    })
}

/// A PlayReady Object begins with its length; a PlayReady Header with `<WRMHEADER` in UTF-16LE.
fn content_header(bytes: &[u8]) -> Found {
    let length = bytes.first_chunk().map(|length| u32::from_le_bytes(*length));
    if length.is_some_and(|length| length >= 6 && usize::try_from(length) == Ok(bytes.len())) {
        return Some(content_header::explain_object(bytes));
    }
    bytes
        .starts_with(b"<\0W\0R\0M\0")
        .then(|| content_header::explain_utf16(bytes))
}

fn text(text: &str, trust: &Trust) -> Found {
    let text = text.trim();
    if text.contains(PEM) {
        return Some(pem(text, trust).map(|found| found.encoded("pem")));
    }
    if text.contains(PEM_LIST) {
        return Some(pem_list(text, trust).map(|found| found.encoded("pem")));
    }
    if text.trim_start_matches('\u{feff}').starts_with('<') && text.contains("<WRMHEADER") {
        return Some(content_header::explain_xml(text));
    }
    let hexadecimal = || {
        let found = binary(&from_hex(text)?, trust)?;
        Some(found.map(|found| found.encoded("hexadecimal")))
    };
    let base64 = || {
        let found = binary(&from_base64(text)?, trust)?;
        Some(found.map(|found| found.encoded("base64")))
    };
    hexadecimal().or_else(base64)
}

fn pem(text: &str, trust: &Trust) -> Result<Explanation, Failure> {
    let ders: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes())
        .map(|der| der.map(|der| der.to_vec()))
        .collect();
    match ders {
        Ok(ders) if !ders.is_empty() => Ok(certificate::explain(&ders, trust)),
        Ok(_) => Err(no_pem("there is none in it")),
        Err(error) => Err(no_pem(&error.to_string())),
    }
}

/// One certificate revocation list.
fn pem_list(text: &str, trust: &Trust) -> Result<Explanation, Failure> {
    let list = CertificateRevocationListDer::from_pem_slice(text.as_bytes())
        .map_err(|error| no_pem(&error.to_string()))?;
    let found = certificate_list(&list, trust);
    found.unwrap_or_else(|| Err(no_pem("it is no certificate revocation list of the protocol")))
}

fn no_pem(why: &str) -> Failure {
    Failure::new(
        format!("this looks like PEM, but {why}"),
        "check that it was copied whole",
    )
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.split_ascii_whitespace().collect();
    hex::decode(digits).ok().filter(|bytes| !bytes.is_empty())
}

/// Base64 in either alphabet, with or without padding, in any lines.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text: String = text.split_ascii_whitespace().collect();
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [STANDARD, URL_SAFE]
        .into_iter()
        .find_map(|alphabet| GeneralPurpose::new(&alphabet, config).decode(&text).ok())
        .filter(|bytes| !bytes.is_empty())
}

fn malformed<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Failure {
    move |error| {
        Failure::new(
            format!("this looks like {what}, but {error}"),
            "get it again from where it was made, or update Keyward",
        )
    }
}

/// What is in memory can always be read; its form may have faults.
fn unreadable(error: std::io::Error) -> Failure {
    file_error("read", Path::new("the decoded text"))(error)
}

const PEM: &str = "-----BEGIN CERTIFICATE-----";
const PEM_LIST: &str = "-----BEGIN X509 CRL-----";
