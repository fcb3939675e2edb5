//! `keyward inspect`: what is this file, and what of it may be believed?
//!
//! ```text
//!  input        a file or a pipe, its first bytes           bounded
//!  recognise    what it is, from the bytes alone
//!  trust        the operators that were named
//!  …            one file for each kind of thing             fields, standing
//!  explanation  the same fields as words or as JSON
//! ```

mod acknowledgement;
mod certificate;
mod content_header;
mod embedded;
mod enrolment;
mod explanation;
mod file;
mod input;
mod license;
mod lists;
mod media;
mod message;
mod operator;
mod packaging;
mod pssh;
mod recognise;
mod request;
mod response;
mod sealed;
mod terms;
mod trust;

use std::{
    io::{self, Read, Seek},
    path::Path,
};

use keyward_client::flow::MAX_ANSWER;
use keyward_client_native::NativeClient;
use keyward_content::file::MAGIC;
use keyward_server::clock::{Clock, SystemClock};

use crate::{
    args::InspectArgs,
    failure::{Failure, file_error},
    report::Report,
};
use explanation::Explanation;
use input::Input;
use trust::{Asked, Trust};

pub(super) use license::kind as license_kind;

pub(crate) fn run(args: &InspectArgs, report: Report) -> Result<(), Failure> {
    let input = Input::open(&args.file)?;
    let mut trust = Trust::of(args)?;
    if let Some(path) = &args.request {
        trust.request = Some(request_at(path, &trust)?);
    }
    let found = explain(input, &args.file, &trust)
        .map_err(|failure| failure.context(format!("cannot explain {}", args.file.display())))?;
    let mut json = found.to_json();
    json.insert("file".to_owned(), args.file.display().to_string().into());
    report.result(&found.to_words(), &json.into())
}

/// A license of a client's store, in words and as JSON.
pub(super) fn held_license(
    signed: &[u8],
    client: &NativeClient,
) -> Result<(String, serde_json::Value), Failure> {
    let found = message::explain(signed, &Trust::of_client(client, SystemClock.now())?)?;
    Ok((found.to_words(), found.to_json().into()))
}

fn explain(input: Input, path: &Path, trust: &Trust) -> Result<Explanation, Failure> {
    let failed = file_error("read", path);
    if input.head().starts_with(MAGIC) {
        return file::explain(&mut input.into_read()).map_err(failed);
    }
    let head = input.head().to_vec();
    if media::begins_so(&head) {
        return boxes(input).map_err(failed)?;
    }
    let bytes = input.whole(LONGEST).map_err(failed)?;
    bytes
        .and_then(|bytes| recognise::explain(&bytes, trust))
        .unwrap_or_else(|| Err(unknown(&head)))
}

/// Explains an MP4, or `pssh` boxes that stand alone.
fn boxes(input: Input) -> io::Result<Result<Explanation, Failure>> {
    let mut source = input.into_seek()?;
    let mut bytes = Vec::new();
    source.by_ref().take(MAX_PSSH_LEN).read_to_end(&mut bytes)?;
    if let Some(found) = pssh::explain(&bytes) {
        return Ok(found);
    }
    source.rewind()?;
    media::explain(source).map(Ok)
}

/// Opens the request whose response is explained.
fn request_at(path: &Path, trust: &Trust) -> Result<Asked, Failure> {
    let bytes = Input::open(path)?
        .whole(LONGEST)
        .map_err(file_error("read", path))?
        .unwrap_or_default();
    let opened = trust.open_request(&recognise::decoded(bytes))?.ok_or_else(|| {
        Failure::new(
            format!("{} cannot be opened without its operator", path.display()),
            "name the operator: `--operator DIR`",
        )
    })?;
    sealed::asked(&opened)
}

/// Most bytes of `pssh` boxes that stand alone.
const MAX_PSSH_LEN: u64 = 1 << 20;

/// The longest message there is, in hexadecimal.
const LONGEST: usize = 2 * MAX_ANSWER;

fn unknown(head: &[u8]) -> Failure {
    let hint = NOT_OURS.iter().find(|(magic, _)| head.starts_with(magic)).map_or(
        "see `keyward inspect --help` for what is understood",
        |(_, hint)| hint,
    );
    if head.is_empty() {
        return Failure::new("it is empty", hint);
    }
    Failure::new(
        format!(
            "it is nothing that Keyward knows; it begins with {}",
            hex::encode(head)
        ),
        hint,
    )
}

/// What people may take for something of ours, and what to do with it.
const NOT_OURS: [(&[u8], &str); 5] = [
    (
        b"\x1a\x45\xdf\xa3",
        "this is Matroska or WebM: `keyward package` protects it as a file",
    ),
    (
        b"<MPD",
        "this is a DASH manifest: inspect the base64 text of a `cenc:pssh` or `mspr:pro` in it",
    ),
    (
        b"<?xml",
        "this is XML: inspect the base64 text of a `cenc:pssh` or `mspr:pro` in it",
    ),
    (
        b"#EXTM3U",
        "this is an HLS playlist: inspect the base64 text behind `base64,` in an `#EXT-X-KEY`",
    ),
    (
        b"SQLite format 3",
        "this is a database: see `keyward admin` for what is in an operator's",
    ),
];

#[cfg(test)]
mod tests;
