//! An MP4, protected sample by sample.

use std::{path::PathBuf, time::Duration};

use getrandom::SysRng;
use keyward_content::cenc::Scheme;
use keyward_packager::{MediaOptions, ProtectedMedia, TrackKey, TrackKind, TrackSelector, protect_media};
use rand_core::UnwrapErr;
use serde_json::{Value, json};

use super::{
    beside,
    embedded::{Embedded, leaf_licenses},
    keys::Keys,
    rotating, warn_of_url,
};
use crate::{
    args::PackageArgs,
    failure::Failure,
    joined::Joined,
    output::{FileSink, differs},
    report::{self, Report},
};

pub(super) fn run(args: &PackageArgs, scheme: Scheme, report: Report) -> Result<(), Failure> {
    if args.media_type.is_some() {
        return Err(Failure::new(
            "an MP4 says itself what it is; there is no place for a media type",
            "leave `--media-type` out, or protect it as a file with `--scheme file`",
        ));
    }
    let output = match &args.output {
        Some(output) => output.clone(),
        None => PathBuf::from(beside(&args.file, ".protected", true)),
    };
    let inputs = [&[args.file.clone()][..], &args.segments].concat();
    inputs.iter().try_for_each(|input| differs(input, &output))?;
    let input = Joined::open(&inputs)?;
    // Before keys are asked for: no key leaves the license server for an output that cannot be.
    let sink = FileSink::create(&output, args.force)?;
    if let Some(duration) = args.crypto_period {
        return rotating::run(args, scheme, duration, (input, sink), report);
    }
    Embedded::fits(args, &sink)?;
    let labels: Vec<_> = selectors(args).map(|(label, _)| label).collect();
    let keys = Keys::open(args, &labels, scheme.key_type())?;
    warn_of_url(args.license_url.as_deref(), keys.license_url().as_deref(), report);
    let embedded = Embedded::plan(args, keys.leaves(), report)?;
    let options = MediaOptions {
        license_url: args.license_url.clone().or_else(|| keys.license_url()),
        playready_pssh: args.playready_pssh,
        clear_lead: Duration::from_secs(args.clear_lead.into()),
        store_len: embedded.reserve,
        ..MediaOptions::new(scheme, track_keys(args, &keys, scheme)?)
    };

    let bar = report.progress(Some(input.len()));
    let made = protect_media(input, sink, &options, &mut UnwrapErr(SysRng), &mut |done| {
        bar.set_position(done)
    })
    .map_err(|error| Failure::from(error).context(format!("cannot protect {}", args.file.display())))?;
    bar.finish_and_clear();
    let leaves = embedded.write(&made.output)?;

    for key in &options.keys {
        if let Some(note) = keys.to_register(key.kid, scheme.as_str()) {
            report.note(&note);
        }
    }
    let (mut words, json) = told(&made, &options);
    if leaves > 0 {
        words += &format!("\n  embedded: {}", leaf_licenses(leaves));
    }
    report.result(&words, &report::with(json, [("leaf_licenses", leaves.into())]))
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

/// What was made, for people and for programs.
pub(super) fn told(made: &ProtectedMedia<PathBuf>, options: &MediaOptions) -> (String, Value) {
    let scheme = options.scheme;
    let mut words = format!("{} protected with {scheme}:", made.output.display());
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
        "output": made.output.display().to_string(),
        "scheme": scheme.as_str(),
        "tracks": tracks,
        "clear_bytes": made.clear_len,
        "protected_bytes": made.protected_len,
        "license_url": options.license_url,
        "reserved_bytes": options.store_len,
    });
    (words, json)
}
