//! Content in several qualities, a key for each: files that are packaged together, or one with several tracks.
//!
//! ```text
//!   film-480.mp4    SD ─────┐                         ┌─▶ DIR/film-480.mp4
//!   film-1080.mp4   HD ─────┼─▶ a key for each, all ──┼─▶ DIR/film-1080.mp4
//!   film-2160.mp4   UHD1 ───┤   of them in each       ├─▶ DIR/film-2160.mp4
//!   sound.mp4       AUDIO ──┘   content header        └─▶ DIR/sound.mp4
//! ```

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use keyward_content::cenc::Scheme;
use keyward_crypto::ContentKey;
use keyward_license::ids::Kid;
use keyward_packager::{
    ContentKeyId, KeySource, MediaOptions, OutputSink, ProtectedMedia, Quality, QualityTrack, TrackKey,
    TrackSelector,
};
use serde_json::{Value, json};

use super::{
    embedded::{Embedded, leaf_licenses},
    keys::Keys,
    media::{described, options, output_path},
    pipe::{Input, Piped},
    rotating::{self, Periods},
    warn_of_url,
};
use crate::{
    args::PackageArgs,
    failure::{Failure, file_error},
    joined::Joined,
    output::{FileSink, commit_error, differs},
    report::{self, Report},
};

/// A file on its way.
struct File {
    name: PathBuf,
    output: PathBuf,
    input: Input,
    sink: FileSink,
    tracks: Vec<QualityTrack>,
}

/// The key of a quality.
struct QualityKey {
    quality: Quality,
    kid: Kid,
    key: ContentKey,
}

pub(super) fn run(
    args: &PackageArgs,
    scheme: Scheme,
    piped: Option<Piped>,
    report: Report,
) -> Result<(), Failure> {
    // 1. The outputs, and what quality the tracks of the inputs have: before keys are asked for.
    let folder = Folder::of(args)?;
    let files = match piped {
        Some(piped) => vec![of_pipe(args, piped)?],
        None => of_files(args, &folder)?,
    };

    if let Some(duration) = args.crypto_period {
        return rotate(args, scheme, duration, files, report);
    }

    // 2. A key for each quality that is there.
    let found: BTreeSet<Quality> = files
        .iter()
        .flat_map(|file| &file.tracks)
        .map(|track| track.quality)
        .collect();
    let (keys, quality_keys) = quality_keys(args, scheme, found, report)?;
    warn_of_url(args.license_url.as_deref(), keys.license_url().as_deref(), report);
    let embedded = Embedded::plan(args, keys.leaves(), report)?;

    // 3. Each file under the keys of its tracks, with all keys in its content header.
    let mut made = Vec::new();
    for file in files {
        let options = MediaOptions {
            content_keys: quality_keys.iter().map(QualityKey::named).collect(),
            store_len: embedded.reserve,
            ..options(args, &keys, scheme, track_keys(&file.tracks, &quality_keys))
        };
        let protected = file
            .input
            .protect(&file.name, Uncommitted(file.sink), &options, None, report)?;
        made.push((file.output, protected, options));
    }
    let leaves = made
        .iter_mut()
        .map(|(output, protected, _)| embedded.put(&mut protected.output, output));
    let leaves: Vec<_> = leaves.collect::<Result<_, Failure>>()?;

    // 4. They become visible when all of them are whole.
    let mut told = finish(made, described)?;
    for ((words, json), leaves) in told.iter_mut().zip(leaves) {
        if leaves > 0 {
            *words += &format!("\n  embedded: {}", leaf_licenses(leaves));
        }
        *json = report::with(json.take(), [("leaf_licenses", leaves.into())]);
    }
    for key in &quality_keys {
        if let Some(note) = keys.to_register(key.kid, scheme.as_str()) {
            report.note(&note);
        }
    }
    tell(args, told, &quality_keys, report)
}

fn quality_keys(
    args: &PackageArgs,
    scheme: Scheme,
    wanted: BTreeSet<Quality>,
    report: Report,
) -> Result<(Keys, Vec<QualityKey>), Failure> {
    let labels: Vec<_> = wanted.iter().map(|quality| quality.label()).collect();
    let keys = Keys::open(args, (&labels, scheme.key_type()), report)?;
    let quality_keys = wanted.into_iter().map(|quality| {
        let (kid, key) = keys.fresh(args, quality.label(), scheme.key_type())?;
        let key = key.content_key(kid);
        Ok(QualityKey { quality, kid, key })
    });
    let quality_keys = quality_keys.collect::<Result<_, Failure>>()?;
    Ok((keys, quality_keys))
}

/// The same with keys that change: in each crypto period one for each quality, whichever file it is in.
fn rotate(
    args: &PackageArgs,
    scheme: Scheme,
    duration: Duration,
    files: Vec<File>,
    report: Report,
) -> Result<(), Failure> {
    let periods = Periods::of(args, scheme, duration, report)?;
    let mut made = Vec::new();
    for file in files {
        let tracks = file.tracks.iter();
        let tracks = tracks.map(|track| (TrackSelector::Id(track.id), track.quality.label().to_owned()));
        let (input, sink) = (file.input, Uncommitted(file.sink));
        let (protected, options) = periods.protect(&file.name, (input, sink), tracks.collect(), report)?;
        made.push((file.output, protected, options));
    }
    tell(args, finish(made, rotating::told)?, &[], report)
}

/// A file that was made, and its place.
type Made = (PathBuf, ProtectedMedia<FileSink>, MediaOptions);

/// Makes the files visible, and says what they are.
fn finish(
    made: Vec<Made>,
    told: impl Fn(&ProtectedMedia<FileSink>, &Path, &MediaOptions) -> (String, Value),
) -> Result<Vec<(String, Value)>, Failure> {
    let mut all = Vec::new();
    for (output, protected, options) in made {
        all.push(told(&protected, &output, &options));
        protected.output.commit().map_err(commit_error(&output))?;
    }
    Ok(all)
}

fn tell(
    args: &PackageArgs,
    told: Vec<(String, Value)>,
    quality_keys: &[QualityKey],
    report: Report,
) -> Result<(), Failure> {
    let (words, files): (Vec<_>, Vec<_>) = told.into_iter().unzip();
    let keys = quality_keys
        .iter()
        .map(|key| (key.quality.label(), key.kid.to_string()));
    let lines = keys.clone().map(|(label, kid)| format!("key of {label}: {kid}"));
    let words: Vec<_> = words.into_iter().chain(lines).collect();
    let keys: Vec<_> = keys
        .map(|(label, kid)| json!({ "quality": label, "kid": kid }))
        .collect();
    report.result_beside(
        args.output.as_deref().unwrap_or(Path::new("")),
        &words.join("\n"),
        &json!({ "files": files, "keys": keys }),
    )
}

fn of_pipe(args: &PackageArgs, piped: Piped) -> Result<File, Failure> {
    let output = output_path(args, &args.file, true)?;
    let sink = FileSink::create_seekable(&output, args.force)?;
    let input = Input::of_pipe(piped, &sink)?;
    File::new(args, args.file.clone(), output, (input, sink))
}

fn of_files(args: &PackageArgs, folder: &Folder) -> Result<Vec<File>, Failure> {
    let names = [&[args.file.clone()][..], &args.segments].concat();
    let outputs = names.iter().map(|name| folder.output(args, name));
    let outputs: Vec<PathBuf> = outputs.collect::<Result<_, _>>()?;
    for (at, output) in outputs.iter().enumerate() {
        names.iter().try_for_each(|name| differs(name, output))?;
        if outputs.iter().take(at).any(|other| other == output) {
            return Err(Failure::new(
                format!("two of the files would become {}", output.display()),
                "give each file a name of its own",
            ));
        }
    }
    let files = names.into_iter().zip(outputs).map(|(name, output)| {
        let sink = FileSink::create_seekable(&output, args.force)?;
        let input = Input::Files(Joined::open(core::slice::from_ref(&name))?);
        File::new(args, name, output, (input, sink))
    });
    files.collect()
}

impl File {
    fn new(
        args: &PackageArgs,
        name: PathBuf,
        output: PathBuf,
        (mut input, sink): (Input, FileSink),
    ) -> Result<Self, Failure> {
        Embedded::fits(args, &sink)?;
        let tracks = input.qualities(&name)?;
        Ok(Self {
            name,
            output,
            input,
            sink,
            tracks,
        })
    }
}

impl QualityKey {
    fn named(&self) -> ContentKeyId {
        ContentKeyId {
            kid: self.kid,
            key: KeySource::Raw(self.key.duplicate()),
        }
    }
}

/// The key of each track, by its quality.
fn track_keys(tracks: &[QualityTrack], keys: &[QualityKey]) -> Vec<TrackKey> {
    let of_track = |track: &QualityTrack| {
        let found = keys.iter().find(|key| key.quality == track.quality)?;
        Some(TrackKey {
            tracks: TrackSelector::Id(track.id),
            kid: found.kid,
            key: KeySource::Raw(found.key.duplicate()),
        })
    };
    tracks.iter().filter_map(of_track).collect()
}

/// The folder for the outputs of several files. If it was made here and stays empty, it goes again.
struct Folder {
    path: Option<PathBuf>,
    is_new: bool,
}

impl Folder {
    fn of(args: &PackageArgs) -> Result<Self, Failure> {
        let path = args.output.clone().filter(|_| !args.segments.is_empty());
        if path.as_deref() == Some(Path::new("-")) {
            return Err(Failure::new(
                "several files do not go to standard output",
                "name a folder: `-o DIR`",
            ));
        }
        let is_new = match &path {
            Some(path) if !path.is_dir() => {
                std::fs::create_dir(path).map_err(file_error("make", path))?;
                true
            }
            _ => false,
        };
        Ok(Self { path, is_new })
    }

    /// Where the protected form of a file goes.
    fn output(&self, args: &PackageArgs, file: &Path) -> Result<PathBuf, Failure> {
        match (&self.path, file.file_name()) {
            (Some(folder), Some(name)) => Ok(folder.join(name)),
            _ => output_path(args, file, false),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let (Some(path), true) = (&self.path, self.is_new) {
            // One that is not empty stays.
            std::fs::remove_dir(path).ok();
        }
    }
}

/// A sink that is whole, and not yet visible.
struct Uncommitted(FileSink);

impl Write for Uncommitted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl OutputSink for Uncommitted {
    type Output = FileSink;

    fn can_overwrite(&self) -> bool {
        self.0.can_overwrite()
    }

    fn overwrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.overwrite(offset, bytes)
    }

    fn commit(self) -> io::Result<FileSink> {
        Ok(self.0)
    }
}
