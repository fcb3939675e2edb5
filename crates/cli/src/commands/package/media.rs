//! An MP4, protected sample by sample.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use keyward_content::cenc::Scheme;
use keyward_packager::{MediaOptions, ProtectedMedia, TrackKey, TrackKind, TrackSelector};
use serde_json::{Value, json};

use super::{
    beside,
    embedded::{Embedded, leaf_licenses},
    keys::Keys,
    pipe::{self, Input, Piped},
    qualities, rotating, warn_of_url,
};
use crate::{
    args::PackageArgs,
    failure::Failure,
    joined::Joined,
    output::{FileSink, differs},
    report::{self, Report},
};

/// Protects the files that are named, or what comes through the pipe.
pub(super) fn run(
    args: &PackageArgs,
    scheme: Scheme,
    piped: Option<Piped>,
    report: Report,
) -> Result<(), Failure> {
    if args.media_type.is_some() {
        return Err(Failure::new(
            "an MP4 says itself what it is; there is no place for a media type",
            "leave `--media-type` out, or protect it as a file with `--scheme file`",
        ));
    }
    if args.pattern.is_some() && !scheme.has_pattern() {
        return Err(Failure::new(
            format!("`{scheme}` has no pattern"),
            "leave `--pattern` out, or protect with `--scheme cbcs`",
        ));
    }
    if args.key_per_quality {
        return qualities::run(args, scheme, piped, report);
    }
    let output = output_path(args, &args.file, piped.is_some())?;
    let inputs = [&[args.file.clone()][..], &args.segments].concat();
    inputs.iter().try_for_each(|input| differs(input, &output))?;
    // Before keys are asked for: no key leaves the license server for an output that cannot be.
    let sink = FileSink::create_seekable(&output, args.force)?;
    let input = match piped {
        Some(piped) => Input::of_pipe(piped, &sink)?,
        None => Input::Files(Joined::open(&inputs)?),
    };
    if let Some(duration) = args.crypto_period {
        return rotating::run(args, scheme, duration, (input, sink), report);
    }
    Embedded::fits(args, &sink)?;
    let labels: Vec<_> = selectors(args).map(|(label, _)| label).collect();
    let keys = Keys::open(args, (&labels, scheme.key_type()), report)?;
    warn_of_url(args.license_url.as_deref(), keys.license_url().as_deref(), report);
    let embedded = Embedded::plan(args, keys.leaves(), report)?;
    let options = MediaOptions {
        store_len: embedded.reserve,
        ..options(args, &keys, scheme, track_keys(args, &keys, scheme)?)
    };

    let made = input.protect(&args.file, sink, &options, None, report)?;
    let leaves = embedded.write(&made.output)?;

    for key in &options.keys {
        if let Some(note) = keys.to_register(key.kid, scheme.as_str()) {
            report.note(&note);
        }
    }
    let (mut words, json) = described(&made, &made.output, &options);
    if leaves > 0 {
        words += &format!("\n  embedded: {}", leaf_licenses(leaves));
    }
    let json = report::with(json, [("leaf_licenses", leaves.into())]);
    report.result_beside(&output, &words, &json)
}

/// Where the protected form of a file goes.
pub(super) fn output_path(args: &PackageArgs, file: &Path, is_piped: bool) -> Result<PathBuf, Failure> {
    match &args.output {
        Some(output) => Ok(output.clone()),
        None if is_piped => Err(pipe::nameless()),
        None => Ok(PathBuf::from(beside(file, ".protected", true))),
    }
}

/// What all files of a packaging have in common.
pub(super) fn options(
    args: &PackageArgs,
    keys: &Keys,
    scheme: Scheme,
    track_keys: Vec<TrackKey>,
) -> MediaOptions {
    MediaOptions {
        license_url: args.license_url.clone().or_else(|| keys.license_url()),
        playready_pssh: args.playready_pssh,
        clear_lead: Duration::from_secs(args.clear_lead.into()),
        pattern: args.pattern(),
        ..MediaOptions::new(scheme, track_keys)
    }
}

/// Which track has which key.
fn track_keys(args: &PackageArgs, keys: &Keys, scheme: Scheme) -> Result<Vec<TrackKey>, Failure> {
    let key_type = scheme.key_type();
    if !args.track_key.is_empty() {
        let named = args.track_key.iter().map(|named| {
            Ok(TrackKey {
                tracks: TrackSelector::Kind(named.kind),
                kid: named.kid,
                key: keys.key(
                    named.kid,
                    key_type,
                    label_of(named.kind),
                    named.key_file.as_deref(),
                )?,
            })
        });
        return named.collect();
    }
    let fresh = selectors(args).map(|(label, tracks)| {
        let (kid, key) = keys.fresh(args, label, key_type)?;
        Ok(TrackKey { tracks, kid, key })
    });
    fresh.collect()
}

/// Which tracks share a key, and its name within the content.
pub(super) fn selectors(args: &PackageArgs) -> impl Iterator<Item = (&str, TrackSelector)> {
    let kinds = [TrackKind::Video, TrackKind::Audio].map(|kind| (label_of(kind), TrackSelector::Kind(kind)));
    let all = (
        args.exchange.label.as_deref().unwrap_or("media"),
        TrackSelector::All,
    );
    let per_kind = args.key_per_kind;
    kinds
        .into_iter()
        .filter(move |_| per_kind)
        .chain(Some(all).filter(|_| !per_kind))
}

const fn label_of(kind: TrackKind) -> &'static str {
    match kind {
        TrackKind::Video => "video",
        TrackKind::Audio => "audio",
    }
}

/// What was made, in words and as JSON.
pub(super) fn described<T>(
    made: &ProtectedMedia<T>,
    output: &Path,
    options: &MediaOptions,
) -> (String, Value) {
    let scheme = options.scheme;
    let mut words = format!("{} protected with {scheme}:", output.display());
    let mut tracks = Vec::new();
    for track in &made.tracks {
        words += &format!(
            "\n  track {} ({}, {}): {} samples under key {}",
            track.id, track.kind, track.codec, track.samples, track.kid
        );
        tracks.push(json!({
            "id": track.id,
            "kind": track.kind.to_string(),
            "codec": track.codec.to_string(),
            "kid": track.kid.to_string(),
            "samples": track.samples,
        }));
    }
    let json = json!({
        "output": output.display().to_string(),
        "scheme": scheme.as_str(),
        "tracks": tracks,
        "clear_bytes": made.clear_len,
        "protected_bytes": made.protected_len,
        "license_url": options.license_url,
        "reserved_bytes": options.store_len,
    });
    (words, json)
}
