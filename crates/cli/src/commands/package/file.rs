//! A file of any kind, protected as a whole.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use getrandom::SysRng;
use keyward_content::file::is_base_name;
use keyward_license::license::KeyType;
use keyward_packager::{ProtectOptions, protect_file};
use rand_core::UnwrapErr;
use serde_json::json;

use super::{
    beside,
    embedded::Embedded,
    keys::Keys,
    pipe::{Piped, nameless},
    warn_of_url,
};
use crate::{
    args::PackageArgs,
    failure::{Failure, file_error},
    output::{FileSink, differs},
    report::Report,
};

/// What is read.
pub(super) enum Input {
    File(File),
    Pipe(Piped),
}

pub(super) fn run(args: &PackageArgs, input: Input, report: Report) -> Result<(), Failure> {
    if args.clear_lead > 0 {
        return Err(Failure::new(
            "a file of any kind has no clear lead",
            "leave `--clear-lead` out, or protect an MP4 sample by sample",
        ));
    }
    if args.pattern.is_some() {
        return Err(Failure::new(
            "a file of any kind has no pattern",
            "leave `--pattern` out, or protect an MP4 with `--scheme cbcs`",
        ));
    }
    if args.key_per_kind || args.key_per_quality || !args.track_key.is_empty() {
        return Err(Failure::new(
            "a file of any kind has one key, and no tracks",
            "name its key id with `--kid`",
        ));
    }
    if args.crypto_period.is_some() {
        return Err(Failure::new(
            "a file of any kind has one key, and no crypto periods",
            "leave `--crypto-period` out, or protect an MP4 sample by sample",
        ));
    }
    let mut rng = UnwrapErr(SysRng);
    let output = output_path(args, &input)?;
    // Before keys are asked for: no key leaves the license server for an output that cannot be.
    let sink = FileSink::create(&output, args.force)?;
    Embedded::fits(args, &sink)?;
    let label = args.exchange.label.as_deref().unwrap_or("file");
    let keys = Keys::open(args, (&[label], KeyType::File), report)?;
    warn_of_url(args.license_url.as_deref(), keys.license_url().as_deref(), report);

    let embedded = Embedded::plan(args, keys.leaves(), report)?;
    let (kid, key) = keys.fresh(args, label, KeyType::File)?;
    let mut options = ProtectOptions::new(kid, key);
    options.license_url = args.license_url.clone().or_else(|| keys.license_url());
    options.store_len = embedded.reserve;
    options.media_type = args.media_type.clone();
    options.name = name(args, &input, report);
    let (source, total): (Box<dyn Read + Send>, _) = match input {
        Input::Pipe(pipe) => (Box::new(pipe), None),
        Input::File(file) => {
            let total = file.metadata().map_err(file_error("read", &args.file))?.len();
            (Box::new(file), Some(total))
        }
    };
    let bar = report.progress(total);
    let made = protect_file(source, sink, &options, &mut rng, &mut |done| {
        bar.set_position(done)
    })
    .map_err(|error| Failure::from(error).context(format!("cannot protect {}", args.file.display())))?;
    bar.finish_and_clear();
    let leaves = embedded.write(&made.output)?;

    if let Some(note) = keys.to_register(kid, "file") {
        report.note(&note);
    }
    report.result_beside(
        &output,
        &format!(
            "{} bytes protected in {} under key {kid}",
            made.plain_len,
            made.output.display()
        ),
        &json!({
            "kid": kid.to_string(),
            "output": made.output.display().to_string(),
            "clear_bytes": made.plain_len,
            "protected_bytes": made.sealed_len,
            "license_url": options.license_url,
            "reserved_bytes": embedded.reserve,
            "leaf_licenses": leaves,
        }),
    )
}

/// Where the protected file goes.
fn output_path(args: &PackageArgs, input: &Input) -> Result<PathBuf, Failure> {
    let output = match (&args.output, input) {
        (Some(output), _) => output.clone(),
        (None, Input::Pipe(_)) => return Err(nameless()),
        (None, Input::File(_)) => PathBuf::from(beside(&args.file, ".kw", false)),
    };
    differs(&args.file, &output)?;
    Ok(output)
}

/// The name that the header carries.
fn name(args: &PackageArgs, input: &Input, report: Report) -> Option<String> {
    let Input::File(_) = input else { return None };
    let name = Path::new(args.file.file_name()?).to_string_lossy().into_owned();
    if is_base_name(&name) {
        return Some(name);
    }
    report.note("the file's name has characters that a header may not carry, and is left out of it");
    None
}
