//! What other programs make of our files, and we of theirs.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use keyward_testkit::{
    media::{
        BEYOND, FIXTURES, Fixture, Key, Keys, Kind, Sample, Samples, Scheme, assert_same_samples,
        assert_same_times, fixture, samples, shaka_decrypt, shaka_encrypt,
    },
    peers::{self, MediaPeers},
};

use crate::media::workshop::{Keying, Workshop};

/// Bytes of a sample above which something in it must be protected: every header ends before.
const SURELY_PROTECTED: u64 = 256;

/// One test for each fixture, so that they run side by side.
macro_rules! round_trips {
    ($($test:ident $name:literal)*) => {
        $(
            #[test]
            fn $test() {
                round_trip($name);
            }
        )*

        #[test]
        fn every_fixture_is_packaged_and_read_by_the_peers() {
            let tested = BTreeSet::from([$($name),*]);
            let made = FIXTURES.iter().map(|fixture| fixture.name).collect::<BTreeSet<_>>();
            assert_eq!(tested, made);
        }
    };
}

round_trips! {
    aac "aac"
    aac_fragmented "aac-fragmented"
    ac3 "ac-3"
    av1_opus "av1-opus"
    av1_opus_fragmented "av1-opus-fragmented"
    eac3 "e-ac-3"
    flac "flac"
    h264 "h264"
    h264_aac "h264-aac"
    h264_aac_absolute_offsets "h264-aac-absolute-offsets"
    h264_aac_chapters "h264-aac-chapters"
    h264_aac_fragmented "h264-aac-fragmented"
    h264_aac_indexed "h264-aac-indexed"
    h264_aac_moov_first "h264-aac-moov-first"
    h264_aac_sample_fragments "h264-aac-sample-fragments"
    h264_aac_signed_offsets "h264-aac-signed-offsets"
    h264_aac_text "h264-aac-text"
    h264_aac_tracks_apart "h264-aac-tracks-apart"
    h264_aac_unknown_boxes "h264-aac-unknown-boxes"
    h264_aac_was_fragmented "h264-aac-was-fragmented"
    h264_b_frames "h264-b-frames"
    h264_fragmented "h264-fragmented"
    h264_in_band "h264-in-band"
    h264_interlaced "h264-interlaced"
    h264_slices "h264-slices"
    h264_two_aac "h264-two-aac"
    h265_aac "h265-aac"
    h265_aac_fragmented "h265-aac-fragmented"
    h265_in_band "h265-in-band"
    h265_two_layers "h265-two-layers"
    opus "opus"
    vp8 "vp8"
    vp9_opus "vp9-opus"
    vp9_opus_fragmented "vp9-opus-fragmented"
}

#[test]
fn what_cannot_be_protected_sample_by_sample_is_refused_and_leaves_nothing() {
    let Some(peers) = peers::media() else { return };
    let workshop = Workshop::new();
    for fixture in BEYOND {
        let clear = fixture.file(&peers).display().to_string();
        for scheme in Scheme::USUAL {
            let args = [
                "package",
                "--scheme",
                scheme.name(),
                "-o",
                "protected.mp4",
                &clear,
            ];
            let output = workshop.run(&args);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{}: {errors}", fixture.name);
            assert!(
                errors.contains("cannot protect") && errors.contains("hint: "),
                "{errors}"
            );
            assert!(!workshop.path("protected.mp4").exists(), "{}", fixture.name);
        }
    }
}

#[test]
fn what_shaka_packager_protects_is_decrypted() {
    let Some(peers) = peers::media() else { return };
    let workshop = Workshop::new();
    for name in [
        "h264-aac",
        "h264-slices",
        "h264-b-frames",
        "h265-aac",
        "h265-in-band",
        "av1-opus",
        "vp9-opus",
        "vp8",
    ] {
        let fixture = fixture(name);
        let clear = fixture.file(&peers);
        let wanted = samples(&peers.ffmpeg, &clear, Keys::None);
        for (scheme, keying) in combinations(name) {
            let keys = keying.keys(fixture, scheme);
            let folder = workshop.path("shaka");
            let files = shaka_encrypt(&peers.packager, &clear, scheme, &keys, &folder);
            for ((kind, key), file) in keys.iter().zip(files) {
                let what = format!("{name} in {} by Shaka Packager, decrypted", scheme.name());
                decrypts_to(&workshop, &peers, &file, &[*key], &only(&wanted, *kind), &what);
            }
        }
    }
}

#[test]
fn what_ffmpeg_protects_is_decrypted() {
    let Some(peers) = peers::media() else { return };
    let workshop = Workshop::new();
    let key = Key::numbered(9);
    for name in ["h264-aac", "h264-slices", "h265-aac", "av1-opus", "aac"] {
        let clear = fixture(name).file(&peers);
        let wanted = samples(&peers.ffmpeg, &clear, Keys::None);
        for ffmpeg in [&peers.ffmpeg, &peers.ffmpeg_old] {
            // The old one writes no IVs for AV1, and reads no such file either.
            if name.starts_with("av1") && *ffmpeg == peers.ffmpeg_old {
                continue;
            }
            let protected = ffmpeg_encrypt(ffmpeg, &clear, &key, &workshop.path("ffmpeg.mp4"));
            let what = format!("{name} by {}, decrypted", ffmpeg.display());
            decrypts_to(&workshop, &peers, &protected, &[key], &wanted, &what);
        }
    }
}

#[test]
fn a_clear_lead_is_clear_for_everybody_and_the_rest_is_not() {
    let Some(peers) = peers::media() else { return };
    let workshop = Workshop::new();
    for name in [
        "h264-aac",
        "h264-aac-fragmented",
        "av1-opus-fragmented",
        "vp9-opus",
    ] {
        let fixture = fixture(name);
        let clear = fixture.file(&peers);
        let wanted = samples(&peers.ffmpeg, &clear, Keys::None);
        for scheme in Scheme::USUAL {
            let keying = Keying::PerKind;
            let keys = keying.keys(fixture, scheme);
            let protected = Protected {
                file: workshop.package_with(&clear, scheme, keying, &keys, &["--clear-lead", "2"]),
                peers: &peers,
                workshop: &workshop,
                fixture,
                wanted: &wanted,
                scheme,
                keying,
                keys,
            };
            protected.is_read_by_ffmpeg();
            protected.is_read_by_the_old_ffmpeg();
            protected.is_read_by_shaka_packager();
            let (file, keys) = (&protected.file, protected.all_keys());
            let what = protected.read_by("keyward danger decrypt");
            decrypts_to(&workshop, &peers, file, &keys, &wanted, &what);
            let found = samples(&peers.ffmpeg, file, Keys::None);
            for kind in [Kind::Video, Kind::Audio] {
                for (found, wanted) in found.of(kind).zip(wanted.of(kind)) {
                    let pairs: Vec<_> = found.samples.iter().zip(&wanted.samples).collect();
                    let is_clear = |(found, wanted): &&(&Sample, &Sample)| found.md5 == wanted.md5;
                    let third = pairs.len() / 3;
                    let (lead, rest) = pairs.split_at(third);
                    assert_eq!(lead.iter().filter(is_clear).count(), third, "{what}");
                    // The smallest ones have no whole block.
                    let left = rest.iter().skip(third).filter(|(found, _)| found.size >= 256);
                    assert_eq!(left.filter(is_clear).count(), 0, "{what}");
                    assert!(rest.iter().any(|pair| !is_clear(&pair)), "{what}");
                }
            }
        }
    }
}

#[test]
fn an_initialisation_segment_and_media_segments_become_one_file() {
    let Some(peers) = peers::media() else { return };
    let workshop = Workshop::new();
    let key = Key::numbered(5);
    let key_file = workshop.path("key");
    std::fs::write(&key_file, key.key_hex()).unwrap();
    let mut args = [
        "package",
        "--kid",
        &key.kid_hex(),
        "-o",
        "joined.mp4",
        "--key-file",
    ]
    .map(ToOwned::to_owned)
    .to_vec();
    args.push(key_file.display().to_string());
    let clear = fixture("av1-opus-fragmented").file(&peers);
    let pieces = segments(&std::fs::read(&clear).unwrap());
    assert!(pieces.len() > 2);
    for (at, piece) in pieces.iter().enumerate() {
        let name = format!("{at}.m4s");
        std::fs::write(workshop.path(&name), piece).unwrap();
        args.push(name);
    }
    workshop.ok(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let protected = workshop.path("joined.mp4");
    let wanted = samples(&peers.ffmpeg, &clear, Keys::None);
    decrypts_to(
        &workshop,
        &peers,
        &protected,
        &[key],
        &wanted,
        "segments, decrypted",
    );
    let found = samples(&peers.ffmpeg, &protected, Keys::ByKid(&[key]));
    assert_same_samples(&found, &wanted, "segments, by ffmpeg");

    let refused = workshop.run(&["package", "--scheme", "file", "-o", "other.kw", "key", "1.m4s"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is no initialisation segment"));
}

/// A fragmented file, cut in front of each `moof`; a `styp` is in front of every piece but the first.
fn segments(file: &[u8]) -> Vec<Vec<u8>> {
    const STYP: &[u8] = b"\0\0\0\x10stypmsdh\0\0\0\0";
    let (mut pieces, mut rest) = (vec![Vec::new()], file);
    while let Some((size, _)) = rest.split_first_chunk() {
        let (found, behind) = rest.split_at(u32::from_be_bytes(*size) as usize);
        if found.get(4..8) == Some(b"moof") {
            pieces.push(STYP.to_vec());
        }
        // It says where fragments are in the whole.
        if found.get(4..8) != Some(b"mfra") {
            pieces.last_mut().unwrap().extend(found);
        }
        rest = behind;
    }
    pieces
}

/// A fixture, protected in one way.
struct Protected<'a> {
    peers: &'a MediaPeers,
    workshop: &'a Workshop,
    fixture: &'a Fixture,
    wanted: &'a Samples,
    scheme: Scheme,
    keying: Keying,
    keys: Vec<(Kind, Key)>,
    file: PathBuf,
}

/// Both versions of ffmpeg decrypt samples otherwise where a pattern encrypts several blocks in a row, and refuse subsamples
/// without a pattern. ISO/IEC 23001-7, 9.6, follows the pattern until the range ends, and so does Shaka
/// Packager.
#[test]
fn every_pattern_is_read_by_the_peers() {
    for (name, pattern, by_ffmpeg) in [
        ("h264-aac", "10:0", false),
        ("h264-aac", "0:0", false),
        ("h264-slices", "5:5", false),
        ("h265-aac", "10:0", false),
        ("h265-aac", "15:15", false),
        ("h265-aac", "1:0", true),
        ("av1-opus", "1:1", true),
    ] {
        let combination = [(Scheme::Cbcs, Keying::PerKind)];
        round_trip_with(name, combination, &["--pattern", pattern], by_ffmpeg);
    }
}

/// Of the other layer nothing is clear behind the NAL unit header, which ffmpeg's packets do not tell.
#[test]
fn of_another_layer_no_picture_data_stays_clear() {
    // Longer than the slice headers, which are clear in the base layer, and a block.
    const LONG: usize = 80;
    let Some(peers) = peers::media() else { return };
    let workshop = Workshop::new();
    let fixture = fixture("h265-two-layers");
    let clear = fixture.file(&peers);
    let stream = Command::new(&peers.ffmpeg)
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(&clear)
        .args(["-c", "copy", "-f", "hevc", "-"])
        .output()
        .unwrap()
        .stdout;
    let starts = stream.windows(5 + LONG).filter_map(|bytes| match *bytes {
        // A slice with `nuh_layer_id` 1.
        [0, 0, 1, kind, layer, ..] if kind >> 1 < 32 && kind & 1 == 0 && layer >> 3 == 1 => bytes.get(5..),
        _ => None,
    });
    let starts: BTreeSet<_> = starts.collect();
    assert!(starts.len() >= 100, "{}", starts.len());
    let found = |file: &Path| {
        let file = std::fs::read(file).unwrap();
        file.windows(LONG).filter(|bytes| starts.contains(bytes)).count()
    };
    assert!(found(&clear) >= 200);
    for scheme in Scheme::ALL {
        let keys = Keying::Shared.keys(fixture, scheme);
        let protected = workshop.package(&clear, scheme, Keying::Shared, &keys);
        assert_eq!(found(&protected), 0, "{}", scheme.name());
    }
}

#[test]
fn a_pattern_that_cannot_be_is_refused() {
    let workshop = Workshop::new();
    std::fs::write(workshop.path("words"), "no film").unwrap();
    for (pattern, scheme, code, expected) in [
        ("0:9", "cbcs", 2, "0:9"),
        ("16:0", "cbcs", 2, "16:0"),
        ("1", "cbcs", 2, "expected two numbers of blocks"),
        ("+1:9", "cbcs", 2, "expected two numbers of blocks"),
        ("1:9", "cenc", 1, "`cenc` has no pattern"),
        ("1:9", "file", 1, "a file of any kind has no pattern"),
    ] {
        let output = workshop.run(&["package", "--scheme", scheme, "--pattern", pattern, "words"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{pattern}: {errors}");
        assert!(errors.contains(expected), "{errors}");
    }
}

/// Protects a fixture in all ways; every program must find the clear samples in what comes out.
fn round_trip(name: &str) {
    round_trip_with(name, combinations(name), &[], true);
}

fn round_trip_with(
    name: &str,
    combinations: impl IntoIterator<Item = (Scheme, Keying)>,
    more: &[&str],
    by_ffmpeg: bool,
) {
    let Some(peers) = peers::media() else { return };
    let workshop = Workshop::new();
    let fixture = fixture(name);
    let clear = fixture.file(&peers);
    let wanted = samples(&peers.ffmpeg, &clear, Keys::None);
    for (scheme, keying) in combinations {
        let keys = keying.keys(fixture, scheme);
        let protected = Protected {
            file: workshop.package_with(&clear, scheme, keying, &keys, more),
            peers: &peers,
            workshop: &workshop,
            fixture,
            wanted: &wanted,
            scheme,
            keying,
            keys,
        };
        protected.tells_nothing_without_a_key();
        if by_ffmpeg {
            protected.is_read_by_ffmpeg();
            protected.is_read_by_the_old_ffmpeg();
        }
        protected.is_read_by_shaka_packager();
        let what = protected.read_by("keyward danger decrypt");
        decrypts_to(
            &workshop,
            &peers,
            &protected.file,
            &protected.all_keys(),
            &wanted,
            &what,
        );
    }
}

/// Fixtures that are tried in every scheme: one of each codec of video. The others differ in what is around the
/// samples.
const IN_EVERY_SCHEME: [&str; 5] = ["h264-aac", "h265-aac", "av1-opus", "vp9-opus", "vp8"];

fn combinations(name: &str) -> impl Iterator<Item = (Scheme, Keying)> {
    let schemes = if IN_EVERY_SCHEME.contains(&name) {
        Scheme::ALL.to_vec()
    } else {
        Scheme::USUAL.to_vec()
    };
    let of = |scheme| Keying::ALL.map(|keying| (scheme, keying));
    schemes.into_iter().flat_map(of)
}

impl Protected<'_> {
    /// Nothing comes out but samples of the same sizes and other bytes.
    fn tells_nothing_without_a_key(&self) {
        let what = self.read_by("nobody");
        let found = samples(&self.peers.ffmpeg, &self.file, Keys::None);
        for kind in [Kind::Video, Kind::Audio] {
            let name = kind.name();
            for (found, wanted) in found.of(kind).zip(self.wanted.of(kind)) {
                // A parser of ffmpeg's may take the noise of VP8 for a frame without content, and drops it; it looks for the
                // frames of AC-3 in theirs.
                if ["vp8", "ac-3", "e-ac-3"].contains(&self.fixture.name) {
                    let clear =
                        |sample: &Sample| wanted.samples.iter().any(|wanted| wanted.md5 == sample.md5);
                    assert!(!found.samples.iter().any(clear), "{what}: a sample is clear");
                    continue;
                }
                assert_eq!(found.samples.len(), wanted.samples.len(), "{what}: {name}");
                for (at, (found, wanted)) in found.samples.iter().zip(&wanted.samples).enumerate() {
                    assert_eq!(found.size, wanted.size, "{what}: sample {at} of {name}");
                    assert!(
                        found.size < SURELY_PROTECTED || found.md5 != wanted.md5,
                        "{what}: sample {at} of {name} is clear"
                    );
                }
            }
        }
    }

    fn is_read_by_ffmpeg(&self) {
        let what = self.read_by("ffmpeg");
        let mut found = samples(&self.peers.ffmpeg, &self.file, Keys::ByKid(&self.all_keys()));
        let mut wanted = self.wanted.clone();
        assert_same_times(&found, &wanted, self.fixture.times, &what);
        if wanted
            .tracks
            .iter()
            .all(|track| !self.is_beyond_ffmpeg(track.kind))
        {
            assert_eq!(found.complaints, "", "{what}");
        }
        for samples in [&mut found, &mut wanted] {
            samples.tracks.retain(|track| !self.is_beyond_ffmpeg(track.kind));
        }
        if !wanted.tracks.is_empty() {
            assert_same_samples(&found, &wanted, &what);
        }
    }

    /// Of a sample without subsamples in `cens` it also takes the bytes behind the last whole block for encrypted.
    /// Shaka Packager leaves them clear, as clause 10.3 of the standard has it.
    fn is_beyond_ffmpeg(&self, kind: Kind) -> bool {
        self.scheme == Scheme::Cens && (kind == Kind::Audio || self.fixture.name == "vp8")
    }

    /// It takes one key, so that it reads the tracks of one kind where each has its own.
    fn is_read_by_the_old_ffmpeg(&self) {
        let what = self.read_by("the old ffmpeg");
        for (kind, key) in &self.keys {
            if self.is_beyond_ffmpeg(*kind) {
                continue;
            }
            let found = only(
                &samples(&self.peers.ffmpeg_old, &self.file, Keys::One(*key)),
                *kind,
            );
            let wanted = only(self.wanted, *kind);
            assert_same_samples(&found, &wanted, &what);
            assert_same_times(&found, &wanted, self.fixture.times, &what);
        }
    }

    /// It reads the first track of a kind, and wants the keys of all.
    fn is_read_by_shaka_packager(&self) {
        let what = self.read_by("Shaka Packager");
        for (kind, _) in &self.keys {
            if self.is_beyond_shaka_packager(*kind) {
                continue;
            }
            let output = self.workshop.path("shaka-clear.mp4");
            shaka_decrypt(&self.peers.packager, &self.file, *kind, &self.all_keys(), &output)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let found = samples(&self.peers.ffmpeg, &output, Keys::None);
            let mut wanted = only(self.wanted, *kind);
            wanted.tracks.truncate(1);
            assert_same_samples(&found, &wanted, &what);
            std::fs::remove_file(&output).unwrap();
        }
    }

    /// It keeps one decryptor for a key id, with the pattern of the track that it met first: video, in a
    /// pattern, and audio, without one, cannot have the same key in one file. With a key for each it reads
    /// both, and audio alone with either.
    fn is_beyond_shaka_packager(&self, kind: Kind) -> bool {
        let with_video = self.fixture.tracks.contains(&Kind::Video);
        self.scheme.has_pattern() && self.keying == Keying::Shared && kind == Kind::Audio && with_video
    }

    fn all_keys(&self) -> Vec<Key> {
        self.keys.iter().map(|(_, key)| *key).collect()
    }

    fn read_by(&self, program: &str) -> String {
        let (name, scheme, keying) = (self.fixture.name, self.scheme.name(), self.keying);
        format!("{name}, {scheme}, {keying:?}, by {program}")
    }
}

/// Our own decryption, of the file and of its samples one by one.
pub(super) fn decrypts_to(
    workshop: &Workshop,
    peers: &MediaPeers,
    protected: &Path,
    keys: &[Key],
    wanted: &Samples,
    what: &str,
) {
    let clear = workshop.decrypt(protected, keys);
    let found = samples(&peers.ffmpeg, &clear, Keys::None);
    assert_same_samples(&found, wanted, what);
    assert_eq!(found.complaints, "", "{what}");
    for kind in [Kind::Video, Kind::Audio] {
        let Some(first) = wanted.of(kind).next() else {
            continue;
        };
        let listed = workshop.md5(&[protected.to_owned()], kind.name(), &workshop.listed(keys));
        let wanted: Vec<&str> = first.samples.iter().map(|sample| sample.md5.as_str()).collect();
        assert_eq!(listed.unwrap(), wanted, "{what}, samples of {}", kind.name());
    }
}

/// Progressive, and `cenc` alone: that is what it does rightly.
fn ffmpeg_encrypt(ffmpeg: &Path, clear: &Path, key: &Key, output: &Path) -> PathBuf {
    let mut command = Command::new(ffmpeg);
    command.args(["-nostdin", "-v", "error", "-y", "-i"]).arg(clear);
    command.args([
        "-map",
        "0:v?",
        "-map",
        "0:a?",
        "-c",
        "copy",
        "-encryption_scheme",
        "cenc-aes-ctr",
    ]);
    command.args([
        "-encryption_key",
        &key.key_hex(),
        "-encryption_kid",
        &key.kid_hex(),
    ]);
    let made = command.arg(output).output().unwrap();
    let errors = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{}: {errors}", ffmpeg.display());
    output.to_owned()
}

fn only(samples: &Samples, kind: Kind) -> Samples {
    Samples {
        tracks: samples.of(kind).cloned().collect(),
        complaints: samples.complaints.clone(),
    }
}
