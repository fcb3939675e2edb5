//! `keyward package`: encrypts a file and writes its content header.

use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use getrandom::SysRng;
use keyward_content::file::is_base_name;
use keyward_crypto::{ContentKey, SecretBytes, seed::LicenseKeySeed};
use keyward_license::ids::Kid;
use keyward_packager::{KeySource, ProtectOptions, protect_file};
use rand_core::UnwrapErr;
use serde_json::json;

use crate::{
    args::PackageArgs,
    failure::{Failure, file_error},
    operator::Operator,
    output::{FileSink, differs},
    report::Report,
};

pub(crate) fn run(args: PackageArgs, report: Report) -> Result<(), Failure> {
    let mut rng = UnwrapErr(SysRng);
    let piped = args.file == Path::new("-");
    let output = output_path(&args, piped)?;
    let (source, total): (Box<dyn Read + Send>, _) = if piped {
        (Box::new(std::io::stdin()), None)
    } else {
        let file = File::open(&args.file).map_err(file_error("open", &args.file))?;
        let total = file.metadata().map_err(file_error("read", &args.file))?.len();
        (Box::new(file), Some(total))
    };
    let kid = args.kid.unwrap_or_else(|| Kid::random(&mut rng));
    let (key, license_url) = key(&args, kid)?;
    if let (Some(named), Some(known)) = (&args.license_url, &license_url)
        && named != known
    {
        report.note(&format!(
            "devices call only license servers that the operator's profile names ({known}); {named} must be among them"
        ));
    }
    let shared_seed = matches!(key, KeySource::Seed(_));

    let mut options = ProtectOptions::new(kid, key);
    options.license_url = args.license_url.or(license_url);
    options.media_type = args.media_type;
    options.name = args
        .file
        .file_name()
        .filter(|_| !piped)
        .map(|name| name.to_string_lossy().into_owned());
    if options.name.as_deref().is_some_and(|name| !is_base_name(name)) {
        report.note("the file's name has characters that a header may not carry, and is left out of it");
        options.name = None;
    }
    let bar = report.progress(total);
    let sink = FileSink::create(&output, args.force)?;
    let made = protect_file(source, sink, &options, &mut rng, &mut |done| {
        bar.set_position(done)
    })
    .map_err(|error| Failure::from(error).context(format!("cannot protect {}", args.file.display())))?;
    bar.finish_and_clear();

    if shared_seed {
        report.note(&format!(
            "The license server must know the key id: keyward admin register-key {kid}"
        ));
    }
    report.result(
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
        }),
    )
}

/// Where the protected file goes.
fn output_path(args: &PackageArgs, piped: bool) -> Result<PathBuf, Failure> {
    let output = match &args.output {
        Some(output) => output.clone(),
        None if piped => {
            return Err(Failure::new(
                "standard input has no name to derive the output's from",
                "name one: `-o FILE`",
            ));
        }
        None => {
            let mut name = OsString::from(&args.file);
            name.push(".kw");
            PathBuf::from(name)
        }
    };
    differs(&args.file, &output)?;
    Ok(output)
}

/// The content key, and the license server URL of the operator if one was asked.
fn key(args: &PackageArgs, kid: Kid) -> Result<(KeySource, Option<String>), Failure> {
    if let Some(path) = &args.seed_file {
        let seed = LicenseKeySeed::new(read_hex(path)?.expose())
            .map_err(|error| Failure::new(error, "use the file that `keyward admin export-seed` wrote"))?;
        return Ok((KeySource::Seed(seed), None));
    }
    let operator = Operator::open(&args.operator)?;
    let url = Some(operator.license_url());
    let key = if let Some(path) = &args.key {
        let key = ContentKey::from_slice(read_hex(path)?.expose()).map_err(|_| {
            Failure::new(
                format!("{} holds no content key", path.display()),
                "a content key is 32 hexadecimal digits",
            )
        })?;
        operator.import_key(kid, &key)?;
        KeySource::Raw(key)
    } else if args.vault_key {
        let key = ContentKey::random(&mut UnwrapErr(SysRng));
        operator.import_key(kid, &key)?;
        KeySource::Vault(key)
    } else {
        KeySource::Vault(operator.derived_key(kid)?)
    };
    Ok((key, url))
}

fn read_hex(path: &Path) -> Result<SecretBytes, Failure> {
    let text = SecretBytes::new(std::fs::read(path).map_err(file_error("read", path))?);
    hex::decode(text.expose().trim_ascii())
        .map(SecretBytes::new)
        .map_err(|_| {
            Failure::new(
                format!("{} is not hexadecimal text", path.display()),
                "check that it is the right file",
            )
        })
}
