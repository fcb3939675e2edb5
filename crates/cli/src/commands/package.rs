//! `keyward package`: encrypts a file and writes its content header.

mod embedded;
mod file;
mod keys;
mod media;
mod pipe;
mod qualities;
mod rotating;

use std::{ffi::OsString, fs::File, io::Seek, path::Path};

use keyward_content::{
    cenc::Scheme,
    media::{Matroska, begins_like_mp4},
};
use keyward_license::operator_profile::same_origin;

use crate::{
    args::{PackageArgs, Protection},
    failure::{Failure, file_error},
    protected::beginning,
    report::Report,
    webm,
};

pub(crate) fn run(args: &PackageArgs, report: Report) -> Result<(), Failure> {
    if args.file == Path::new("-") {
        return piped(args, report);
    }
    let mut input = File::open(&args.file).map_err(file_error("open", &args.file))?;
    let failed = file_error("read", &args.file);
    let head = beginning(&mut input).map_err(&failed)?;
    let webm = webm::recognise(&head, &mut input, &args.file)?;
    input.rewind().map_err(&failed)?;
    match scheme(args, &head, webm, report)? {
        Some(scheme) => media::run(args, scheme, None, report),
        None if !args.segments.is_empty() => Err(Failure::new(
            format!(
                "{} is no initialisation segment: segments belong to an MP4",
                args.file.display()
            ),
            "name one file, or the initialisation segment first",
        )),
        None => file::run(args, file::Input::File(input), report),
    }
}

/// Protects standard input, which is looked at and not gone back in.
fn piped(args: &PackageArgs, report: Report) -> Result<(), Failure> {
    if args.key_per_quality && !args.segments.is_empty() {
        return Err(Failure::new(
            "standard input cannot be one of several files",
            "name files, or package standard input alone",
        ));
    }
    if !args.segments.is_empty() {
        return Err(Failure::new(
            "segments come through standard input as well, behind their initialisation segment",
            "name all of them, or none",
        ));
    }
    let (input, head) = pipe::standard_input()?;
    match scheme(args, &head, Matroska::of(&head), report)? {
        Some(scheme) => media::run(args, scheme, Some(input), report),
        None => file::run(args, file::Input::Pipe(input), report),
    }
}

/// How to protect what begins like this; nothing as a file of any kind.
fn scheme(
    args: &PackageArgs,
    head: &[u8],
    webm: Option<Matroska>,
    report: Report,
) -> Result<Option<Scheme>, Failure> {
    match (args.scheme.map(Protection::scheme), webm) {
        (Some(Some(_)), Some(found)) => Err(webm::cannot_protect(&args.file, found)),
        (Some(scheme), _) => Ok(scheme),
        (None, Some(found)) => {
            report.note(&webm::note(&args.file, found));
            Ok(None)
        }
        // What looks like an MP4 is protected as one, or refused with the way to protect it as a file.
        (None, None) => Ok(begins_like_mp4(head).then_some(Scheme::Cenc)),
    }
}

/// Devices call only the license servers that the operator's profile names.
fn warn_of_url(named: Option<&str>, known: Option<&str>, report: Report) {
    if let (Some(named), Some(known)) = (named, known)
        && named != known
        && !same_origin(named, known)
    {
        report.note(&format!(
            "devices call only license servers that the operator's profile names ({known}); {named} must be among them"
        ));
    }
}

/// The input's name with `part` added: at the end, or before the extension.
fn beside(input: &Path, part: &str, before_extension: bool) -> OsString {
    match (input.file_stem(), input.extension()) {
        (Some(stem), Some(extension)) if before_extension => {
            let mut name = OsString::from(stem);
            name.push(part);
            name.push(".");
            name.push(extension);
            input.with_file_name(name).into_os_string()
        }
        _ => {
            let mut name = OsString::from(input);
            name.push(part);
            name
        }
    }
}
