//! `keyward package`: encrypts a file and writes its content header.

mod embedded;
mod file;
mod keys;
mod media;
mod rotating;

use std::{ffi::OsString, fs::File, io::Seek, path::Path};

use keyward_content::{cenc::Scheme, media::begins_like_mp4};

use crate::{
    args::{PackageArgs, Protection},
    failure::{Failure, file_error},
    protected::beginning,
    report::Report,
};

pub(crate) fn run(args: &PackageArgs, report: Report) -> Result<(), Failure> {
    if args.file == Path::new("-") {
        return match args.scheme {
            None | Some(Protection::File) if args.segments.is_empty() => {
                file::run(args, file::Input::Pipe, report)
            }
            _ => Err(Failure::new(
                "media cannot be protected from standard input: its parts are read out of order",
                "name the file",
            )),
        };
    }
    let mut input = File::open(&args.file).map_err(file_error("open", &args.file))?;
    let scheme = match args.scheme {
        Some(Protection::File) => None,
        Some(protection) => protection.scheme(),
        // What looks like an MP4 is protected as one, or refused with the way to protect it as a file.
        None => {
            let failed = file_error("read", &args.file);
            let head = beginning(&mut input).map_err(&failed)?;
            input.rewind().map_err(&failed)?;
            begins_like_mp4(&head).then_some(Scheme::Cenc)
        }
    };
    match scheme {
        Some(scheme) => media::run(args, scheme, report),
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

/// Devices call only the license servers that the operator's profile names.
fn warn_of_url(named: Option<&str>, known: Option<&str>, report: Report) {
    if let (Some(named), Some(known)) = (named, known)
        && named != known
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
