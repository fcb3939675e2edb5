//! Media for tests, made by ffmpeg, and the programs that judge what ours did to it.
//!
//! ```text
//!  media          what is in a file, sample by sample, as ffmpeg reads it; the comparison
//!   ├── fixtures  clear files of many forms, made once and kept below target/
//!   └── shaka     Shaka Packager: protects and unprotects
//! ```
//!
//! Two files hold the same media when ffmpeg finds the same samples in them: it exits with 0 after it gave up
//! in the middle of a file, so that only the samples themselves count, all of them.
//!
//! ```no_run
//! use keyward_testkit::{media, peers};
//!
//! let peers = peers::media().unwrap();
//! let clear = media::fixture("h264-aac").file(&peers);
//! let protected = std::path::Path::new("protected.mp4");
//! let key = media::Key::numbered(1);
//! media::assert_same_samples(
//!     &media::samples(&peers.ffmpeg, protected, media::Keys::ByKid(&[key])),
//!     &media::samples(&peers.ffmpeg, &clear, media::Keys::None),
//!     "what ffmpeg decrypts",
//! );
//! ```

mod fixtures;
mod shaka;

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

pub use fixtures::{BEYOND, FIXTURES, Fixture, fixture};
pub use shaka::{shaka_decrypt, shaka_encrypt};

/// What a track carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Video.
    Video,
    /// Audio.
    Audio,
    /// Text, which stays clear.
    Text,
}

impl Kind {
    /// The name by which command lines select a track: `video`, `audio`, `text`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Text => "text",
        }
    }

    /// As ffmpeg names it.
    fn of(media_type: &str) -> Self {
        match media_type {
            "video" => Self::Video,
            "audio" => Self::Audio,
            "subtitle" => Self::Text,
            other => unreachable!("ffmpeg found a track of {other}"),
        }
    }
}

/// A protection scheme of ISO/IEC 23001-7 that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// AES-CTR of subsamples.
    Cenc,
    /// AES-CTR, video in a pattern.
    Cens,
    /// AES-CBC of subsamples.
    Cbc1,
    /// AES-CBC, video in a pattern.
    Cbcs,
}

impl Scheme {
    /// All.
    pub const ALL: [Self; 4] = [Self::Cenc, Self::Cens, Self::Cbc1, Self::Cbcs];

    /// Those that players read.
    pub const USUAL: [Self; 2] = [Self::Cenc, Self::Cbcs];

    /// Whether video has a pattern.
    #[must_use]
    pub const fn has_pattern(self) -> bool {
        matches!(self, Self::Cens | Self::Cbcs)
    }

    /// Its four characters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cenc => "cenc",
            Self::Cens => "cens",
            Self::Cbc1 => "cbc1",
            Self::Cbcs => "cbcs",
        }
    }
}

/// A content key of a test; it protects nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Key id, in the byte order of the `tenc` box.
    pub kid: [u8; 16],
    /// The content key.
    pub key: [u8; 16],
}

impl Key {
    /// A key that differs for each number.
    #[must_use]
    pub const fn numbered(number: u8) -> Self {
        Self {
            kid: [0xa0 ^ number; 16],
            key: [0x5c ^ number; 16],
        }
    }

    /// The key id, 32 hexadecimal digits.
    #[must_use]
    pub fn kid_hex(&self) -> String {
        hex::encode(self.kid)
    }

    /// The content key, 32 hexadecimal digits.
    #[must_use]
    pub fn key_hex(&self) -> String {
        hex::encode(self.key)
    }
}

/// How ffmpeg is given keys.
#[derive(Debug, Clone, Copy)]
pub enum Keys<'a> {
    /// None: the file is clear.
    None,
    /// One for all tracks, whatever their key id. All that ffmpeg before version 8 can do.
    One(Key),
    /// Each for the tracks that name its key id.
    ByKid(&'a [Key]),
}

/// What ffmpeg finds in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Samples {
    /// Tracks of video, then audio, then text, each kind in the order of the file.
    pub tracks: Vec<Track>,
    /// What ffmpeg complained about.
    pub complaints: String,
}

/// The samples of one track, in decoding order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// What it carries.
    pub kind: Kind,
    /// Seconds of one unit of time, as ffmpeg writes the fraction.
    pub timescale: String,
    /// All samples.
    pub samples: Vec<Sample>,
}

/// One sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Decoding time, edit lists ignored.
    pub decoding_time: i64,
    /// Composition time, edit lists ignored.
    pub composition_time: i64,
    /// Bytes.
    pub size: u64,
    /// MD5 of the bytes, hexadecimal.
    pub md5: String,
}

/// Which times ffmpeg tells of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// All.
    All,
    /// Decoding times from the first one on. It moves all times when it meets a negative offset of a composition
    /// time, and not those of samples before it: what it tells depends on how much of the file it read ahead.
    Decoding,
}

impl Samples {
    /// The tracks of one kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Track> {
        self.tracks.iter().filter(move |track| track.kind == kind)
    }
}

/// Reads all samples of all tracks of video, audio and text, without decoding them.
///
/// # Panics
/// If ffmpeg does not start, or writes what is no list of samples.
#[must_use]
pub fn samples(ffmpeg: &Path, file: &Path, keys: Keys<'_>) -> Samples {
    let mut command = Command::new(ffmpeg);
    command.args(["-nostdin", "-v", "error", "-copyts", "-ignore_editlist", "1"]);
    match keys {
        Keys::None => {}
        Keys::One(key) => drop(command.args(["-decryption_key", &key.key_hex()])),
        Keys::ByKid(keys) => {
            let pairs = keys.iter().map(|key| [key.kid_hex(), key.key_hex()].join("="));
            command.args(["-decryption_keys", &pairs.collect::<Vec<_>>().join(":")]);
        }
    }
    command.arg("-i").arg(file);
    command.args(["-map", "0:v?", "-map", "0:a?", "-map", "0:s?"]);
    let output = command
        .args(["-c", "copy", "-f", "framemd5", "-"])
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| unreachable!("{}: {error}", ffmpeg.display()));
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    Samples {
        tracks: tracks(&String::from_utf8(output.stdout).unwrap()),
        complaints,
    }
}

/// Holds two files against each other: the same tracks, with as many samples, of the same bytes.
///
/// # Panics
/// If they differ; the message says where.
pub fn assert_same_samples(found: &Samples, wanted: &Samples, what: &str) {
    let kinds = |samples: &Samples| samples.tracks.iter().map(|track| track.kind).collect::<Vec<_>>();
    let complaints = &found.complaints;
    assert_eq!(kinds(found), kinds(wanted), "{what}: other tracks\n{complaints}");
    assert!(!wanted.tracks.is_empty(), "{what}: nothing to compare");
    for (at, (found, wanted)) in found.tracks.iter().zip(&wanted.tracks).enumerate() {
        assert_same_track(found, wanted, &format!("{what}, track {at}"), complaints);
    }
}

/// Holds two files against each other: every sample at the same time, as far as these times are told.
///
/// # Panics
/// If they differ; the message says where.
pub fn assert_same_times(found: &Samples, wanted: &Samples, told: Times, what: &str) {
    for (at, (found, wanted)) in found.tracks.iter().zip(&wanted.tracks).enumerate() {
        assert_eq!(
            found.timescale, wanted.timescale,
            "{what}, track {at}: other timescale"
        );
        let times = |track: &Track| {
            let first = track.samples.first().map_or(0, |sample| sample.decoding_time);
            let of = |sample: &Sample| match told {
                Times::All => (sample.decoding_time, sample.composition_time),
                Times::Decoding => (sample.decoding_time - first, 0),
            };
            track.samples.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(times(found), times(wanted), "{what}, track {at}: other times");
    }
}

fn assert_same_track(found: &Track, wanted: &Track, what: &str, complaints: &str) {
    let same = |(found, wanted): &(&Sample, &Sample)| found.size == wanted.size && found.md5 == wanted.md5;
    let pairs = || found.samples.iter().zip(&wanted.samples);
    let right = pairs().filter(same).count();
    let first = pairs().position(|pair| !same(&pair));
    assert!(
        right == wanted.samples.len() && found.samples.len() == wanted.samples.len(),
        "{what} ({}): {right} samples of {} are right, {} were found, the first wrong one is {first:?}\n{complaints}",
        wanted.kind.name(),
        wanted.samples.len(),
        found.samples.len(),
    );
}

/// Takes the format `framemd5` apart: `#media_type`, `#tb`, then a line for each sample.
fn tracks(text: &str) -> Vec<Track> {
    let mut tracks: BTreeMap<usize, Track> = BTreeMap::new();
    let mut timescales: BTreeMap<usize, String> = BTreeMap::new();
    for line in text.lines() {
        if let Some((index, fraction)) = header(line, "#tb ") {
            timescales.insert(index, fraction.to_owned());
        } else if let Some((index, media_type)) = header(line, "#media_type ") {
            let track = Track {
                kind: Kind::of(media_type),
                timescale: timescales.get(&index).cloned().unwrap_or_default(),
                samples: Vec::new(),
            };
            tracks.insert(index, track);
        } else if !line.starts_with('#') {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let [index, decoding, composition, _, size, md5, ..] = fields.as_slice() else {
                unreachable!("no line of a sample: {line}");
            };
            let sample = Sample {
                decoding_time: decoding.parse().unwrap(),
                composition_time: composition.parse().unwrap(),
                size: size.parse().unwrap(),
                md5: (*md5).to_owned(),
            };
            let track = tracks.get_mut(&index.parse().unwrap()).unwrap();
            track.samples.push(sample);
        }
    }
    tracks.into_values().collect()
}

fn header<'a>(line: &'a str, name: &str) -> Option<(usize, &'a str)> {
    let (index, value) = line.strip_prefix(name)?.split_once(": ")?;
    Some((index.parse().ok()?, value))
}
