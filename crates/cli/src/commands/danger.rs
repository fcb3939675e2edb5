//! `keyward danger`: what needs no license. For tests, and for holding files against other programs.

use std::{
    io::{self, ErrorKind, IsTerminal, Seek, Write},
    path::Path,
};

use keyward_content::{
    isobmff::Handler,
    media::{ClearView, MediaError, danger::RawKeys},
};
use keyward_crypto::{ContentKey, SecretBytes, md5};
use keyward_packager::OutputSink;
use serde_json::json;

use crate::{
    args::{DangerCommand, DecryptArgs, TrackChoice},
    failure::{Failure, file_error},
    joined::Joined,
    output::{FileSink, commit_error, differs},
    protected::{Stopped, beginning, pour},
    report::Report,
    webm,
};

pub(crate) fn run(command: DangerCommand, report: Report) -> Result<(), Failure> {
    match command {
        DangerCommand::Decrypt(args) => decrypt(&args, report),
    }
}

/// A clear view of files under raw keys.
type View = ClearView<Joined, RawKeys>;

fn decrypt(args: &DecryptArgs, report: Report) -> Result<(), Failure> {
    let keys = read_keys(args)?;
    let mut files = Joined::open(&args.files)?;
    refuse_webm(args, &mut files)?;
    let view = ClearView::open(files, keys);
    let view = view.map_err(|error| failed(args, "open", &error))?;
    match args.track {
        Some(track) if args.md5 => fingerprint(view, track, args, report),
        _ => write_out(view, args),
    }
}

/// Says what WebM is, before it is taken for a broken MP4.
fn refuse_webm(args: &DecryptArgs, files: &mut Joined) -> Result<(), Failure> {
    let path = args.files.first().map_or(Path::new(""), |path| path);
    let failed = file_error("read", path);
    let head = beginning(files).map_err(&failed)?;
    match webm::recognise(&head, files, path)? {
        Some(found) => Err(webm::cannot_open(path, found)),
        None => files.rewind().map_err(&failed),
    }
}

/// Prints the MD5 of each sample.
fn fingerprint(
    mut view: View,
    choice: TrackChoice,
    args: &DecryptArgs,
    report: Report,
) -> Result<(), Failure> {
    let failed = |error| failed(args, "decrypt", &error);
    let wanted = match choice {
        TrackChoice::Video => Handler::Video,
        TrackChoice::Audio => Handler::Audio,
    };
    let track = view.media().tracks().iter().find(|track| track.handler == wanted);
    let track = track.map(|track| track.id).ok_or_else(|| {
        Failure::new(
            "the file has no track of that kind",
            "see its tracks: `keyward inspect FILE`",
        )
    })?;
    let mut samples = view.media().samples(track).map_err(failed)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let (mut sample, mut digests) = (Vec::new(), Vec::new());
    while let Some(span) = view.next_sample(&mut samples).map_err(failed)? {
        view.read_sample(&span, &mut sample).map_err(failed)?;
        let digest = hex::encode(md5::fingerprint(&[&sample]));
        if report.json {
            digests.push(digest);
        } else if !still_read(writeln!(out, "{digest}"))? {
            return Ok(());
        }
    }
    still_read(out.flush())?;
    drop(out);
    if report.json {
        return report.result("", &json!({ "track": track, "md5": digests }));
    }
    Ok(())
}

/// Writes the whole clear file.
fn write_out(mut view: View, args: &DecryptArgs) -> Result<(), Failure> {
    let output = args.output.as_deref().unwrap_or(Path::new("-"));
    if output == Path::new("-") && io::stdout().is_terminal() {
        return Err(Failure::new(
            "the clear bytes would go to the terminal",
            "name a file (`--output FILE`), or pipe the output",
        ));
    }
    for file in &args.files {
        differs(file, output)?;
    }
    let mut sink = FileSink::create(output, args.force)?;
    match pour(&mut view, &mut sink) {
        Ok(()) => sink.commit().map(drop).map_err(commit_error(output)),
        Err(Stopped::Writing(error)) => still_read(Err(error)).map(drop),
        Err(Stopped::Reading(error)) => Err(match MediaError::within(&error) {
            Some(inner) => failed(args, "decrypt", inner),
            None => failed(args, "decrypt", &MediaError::Io(error)),
        }),
    }
}

/// False if whoever reads the output has seen enough.
fn still_read(written: io::Result<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(
            format!("cannot write the output: {error}"),
            "check the free space and where the output goes",
        )),
    }
}

fn failed(args: &DecryptArgs, action: &str, error: &MediaError) -> Failure {
    let file = args.files.first().map(|file| file.display().to_string());
    let doing = format!("cannot {action} {}", file.unwrap_or_default());
    Failure::from(error).context(doing)
}

fn read_keys(args: &DecryptArgs) -> Result<RawKeys, Failure> {
    let mut keys = RawKeys::new();
    for pair in &args.keys {
        add_pair(pair, &mut keys)?;
    }
    if let Some(path) = &args.keys_file {
        let text = SecretBytes::new(std::fs::read(path).map_err(file_error("read", path))?);
        let text = core::str::from_utf8(text.expose()).map_err(|_| no_pair())?;
        for pair in text
            .split([',', ' ', '\t', '\r', '\n'])
            .filter(|pair| !pair.is_empty())
        {
            add_pair(pair, &mut keys)?;
        }
    }
    Ok(keys)
}

/// Reads `KID:KEY` or `*:KEY`.
fn add_pair(pair: &str, keys: &mut RawKeys) -> Result<(), Failure> {
    let (kid, key) = pair.split_once(':').ok_or_else(no_pair)?;
    let key = SecretBytes::new(hex::decode(key).map_err(|_| no_pair())?);
    let key = ContentKey::from_slice(key.expose()).map_err(|_| no_pair())?;
    match kid {
        "*" => keys.insert_any(key),
        kid => keys.insert(kid.parse().map_err(|_| no_pair())?, key),
    }
    Ok(())
}

/// Without the text, which holds a key.
fn no_pair() -> Failure {
    Failure::new(
        "a key is not given as KID:KEY",
        "write key id and key as 32 hexadecimal digits each, with a colon between them",
    )
}
