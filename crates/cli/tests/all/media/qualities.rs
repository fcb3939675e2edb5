//! A key for each quality: files of several qualities that are packaged together, and one with several tracks.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use keyward_content::{header::ContentHeader, media::LockedMedia};
use keyward_crypto::seed::LicenseKeySeed;
use keyward_license::ids::Kid;
use keyward_testkit::{
    media::{Key, Keys, Kind, Samples, Scheme, assert_same_samples, samples, shaka_decrypt},
    peers::{self, MediaPeers},
};
use serde_json::Value;

use crate::media::workshop::Workshop;

const SEED: &str = "5d5068bec9b384ff6044867159f16d6b755544fcd5116989b1acc4278e88";

/// Names, what ffmpeg makes them of, and their quality.
const RENDITIONS: [(&str, &str, &str); 6] = [
    ("film-480.mp4", "testsrc2=s=854x480:d=0.6", "SD"),
    ("film-576.mp4", "testsrc2=s=768x576:d=0.6", "SD"),
    ("film-544.mp4", "testsrc2=s=1280x544:d=0.6", "HD"),
    ("film-2160.mp4", "testsrc2=s=3840x2160:d=0.2", "UHD1"),
    ("film-4320.mp4", "testsrc2=s=7680x4320:d=0.08", "UHD2"),
    ("sound.mp4", "sine=d=1", "AUDIO"),
];

fn workshop() -> Workshop {
    let workshop = Workshop::new();
    std::fs::write(workshop.path("seed"), SEED).unwrap();
    workshop
}

fn ffmpeg(peers: &MediaPeers, args: &[&str], output: &Path) {
    let mut command = Command::new(&peers.ffmpeg);
    command.args(["-nostdin", "-v", "error"]).args(args).arg(output);
    let made = command.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn make_renditions(workshop: &Workshop, peers: &MediaPeers) {
    for (name, source, quality) in RENDITIONS {
        let encoder = if quality == "AUDIO" { "aac" } else { "libx264" };
        let args = ["-f", "lavfi", "-i", source, "-c", encoder, "-preset", "ultrafast"];
        let args = if quality == "AUDIO" { &args[..6] } else { &args[..] };
        ffmpeg(peers, args, &workshop.path(name));
    }
}

/// The key ids that were made, by quality.
fn kids(made: &Value) -> Vec<(String, Kid)> {
    let keys = made["keys"].as_array().unwrap().iter();
    let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
    keys.map(|key| (text(key, "quality"), text(key, "kid").parse().unwrap()))
        .collect()
}

fn kid_of(kids: &[(String, Kid)], quality: &str) -> Kid {
    kids.iter().find(|(found, _)| found == quality).unwrap().1
}

/// The key that the seed gives.
fn key(kid: Kid) -> Key {
    let seed = LicenseKeySeed::new(&hex::decode(SEED).unwrap()).unwrap();
    Key {
        kid: *kid.as_bytes(),
        key: *seed.derive(kid.as_bytes()).expose(),
    }
}

/// The key ids of a file's tracks, and those that its content header names.
fn named(file: &Path) -> (Vec<Kid>, Vec<Kid>) {
    let media = LockedMedia::open(File::open(file).unwrap()).unwrap();
    let header = ContentHeader::read_object(media.content_header().unwrap()).unwrap();
    let named = header.kids.iter().map(|key| key.kid).collect();
    (media.required_kids(), named)
}

#[test]
fn files_of_several_qualities_have_a_key_each_and_name_all_keys() {
    let Some(peers) = peers::media() else { return };
    let workshop = workshop();
    make_renditions(&workshop, &peers);
    for scheme in Scheme::USUAL {
        let folder = format!("out-{}", scheme.name());
        let mut args = vec!["--json", "package", "--key-per-quality", "--seed-file", "seed"];
        args.extend([
            "--scheme",
            scheme.name(),
            "--license-url",
            "https://license.example/",
            "-o",
            &folder,
        ]);
        args.extend(RENDITIONS.map(|(name, ..)| name));
        let made: Value = serde_json::from_str(&workshop.ok(&args)).unwrap();
        let kids = kids(&made);
        let order: Vec<_> = kids.iter().map(|(quality, _)| quality.as_str()).collect();
        assert_eq!(order, ["AUDIO", "SD", "HD", "UHD1", "UHD2"]);
        let all: Vec<Kid> = kids.iter().map(|(_, kid)| *kid).collect();
        for (name, _, quality) in RENDITIONS {
            let file = workshop.path(&folder).join(name);
            let kid = kid_of(&kids, quality);
            assert_eq!(named(&file), (vec![kid], all.clone()), "{name}");
            let kind = if quality == "AUDIO" {
                Kind::Audio
            } else {
                Kind::Video
            };
            let what = format!("{name}, {}", scheme.name());
            is_read_by_all(
                &workshop,
                &peers,
                &workshop.path(name),
                &file,
                kind,
                &key(kid),
                &what,
            );
            // Under no other of the keys.
            let other = all.iter().find(|other| **other != kid).unwrap();
            let keys = format!("{kid}:{}", key(*other).key_hex());
            let wrong = workshop.md5(&[file], kind.name(), &keys).unwrap();
            let clear = samples(&peers.ffmpeg, &workshop.path(name), Keys::None);
            let clear = &clear.of(kind).next().unwrap().samples;
            // The smallest ones have no whole block.
            let clear = clear.iter().map(|sample| (sample.size, &sample.md5));
            let mut left = wrong.iter().zip(clear).filter(|(_, (size, _))| *size >= 32);
            assert!(left.all(|(wrong, (_, clear))| wrong != clear), "{what}");
        }
    }
}

fn is_read_by_all(
    workshop: &Workshop,
    peers: &MediaPeers,
    clear: &Path,
    file: &Path,
    kind: Kind,
    key: &Key,
    what: &str,
) {
    let wanted = samples(&peers.ffmpeg, clear, Keys::None);
    let by = |program: &str| format!("{what}, by {program}");
    let found = samples(&peers.ffmpeg, file, Keys::ByKid(&[*key]));
    assert_eq!(found.complaints, "", "{what}");
    assert_same_samples(&found, &wanted, &by("ffmpeg"));
    let found = samples(&peers.ffmpeg_old, file, Keys::One(*key));
    assert_same_samples(&found, &wanted, &by("the old ffmpeg"));
    let output = workshop.path("shaka-clear.mp4");
    shaka_decrypt(&peers.packager, file, kind, &[*key], &output)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_same_samples(
        &samples(&peers.ffmpeg, &output, Keys::None),
        &wanted,
        &by("Shaka Packager"),
    );
    let found = samples(&peers.ffmpeg, &workshop.decrypt(file, &[*key]), Keys::None);
    assert_same_samples(&found, &wanted, &by("keyward"));
}

#[test]
fn tracks_of_several_qualities_in_one_file_have_a_key_each() {
    let Some(peers) = peers::media() else { return };
    let workshop = workshop();
    make_renditions(&workshop, &peers);
    let parts = ["film-544.mp4", "film-480.mp4", "sound.mp4"];
    let inputs: Vec<PathBuf> = parts.iter().map(|name| workshop.path(name)).collect();
    let inputs: Vec<String> = inputs.iter().map(|path| path.display().to_string()).collect();
    let mut args: Vec<&str> = inputs.iter().flat_map(|input| ["-i", input]).collect();
    args.extend(["-map", "0", "-map", "1", "-map", "2", "-c", "copy"]);
    ffmpeg(&peers, &args, &workshop.path("film.mp4"));
    let wanted = samples(&peers.ffmpeg, &workshop.path("film.mp4"), Keys::None);

    let package = [
        "--json",
        "package",
        "film.mp4",
        "--key-per-quality",
        "--seed-file",
        "seed",
        "-o",
        "out.mp4",
    ];
    let made: Value = serde_json::from_str(&workshop.ok(&package)).unwrap();
    let kids = kids(&made);
    let tracks = made["files"][0]["tracks"].as_array().unwrap();
    for (track, quality) in tracks.iter().zip(["HD", "SD", "AUDIO"]) {
        assert_eq!(track["kid"], kid_of(&kids, quality).to_string(), "{track}");
    }
    let file = workshop.path("out.mp4");
    let keys: Vec<Key> = kids.iter().map(|(_, kid)| key(*kid)).collect();
    let found = samples(&peers.ffmpeg, &file, Keys::ByKid(&keys));
    assert_same_samples(&found, &wanted, "several tracks, by ffmpeg");
    let found = samples(&peers.ffmpeg, &workshop.decrypt(&file, &keys), Keys::None);
    assert_same_samples(&found, &wanted, "several tracks, by keyward");
    for kind in [Kind::Video, Kind::Audio] {
        let output = workshop.path("shaka-clear.mp4");
        shaka_decrypt(&peers.packager, &file, kind, &keys, &output).unwrap();
        let first = Samples {
            tracks: wanted.of(kind).take(1).cloned().collect(),
            complaints: String::new(),
        };
        let found = samples(&peers.ffmpeg, &output, Keys::None);
        assert_same_samples(&found, &first, "several tracks, by Shaka Packager");
        std::fs::remove_file(output).unwrap();
    }

    // The same through a pipe.
    let piped = [
        "--json",
        "package",
        "-",
        "--key-per-quality",
        "--seed-file",
        "seed",
        "-o",
        "piped.mp4",
    ];
    let mut command = workshop.command(&piped);
    let made = command
        .stdin(File::open(workshop.path("film.mp4")).unwrap())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let keys: Vec<Key> = self::kids(&made).iter().map(|(_, kid)| key(*kid)).collect();
    let found = samples(&peers.ffmpeg, &workshop.path("piped.mp4"), Keys::ByKid(&keys));
    assert_same_samples(&found, &wanted, "several tracks, piped");
}

#[test]
fn all_files_are_packaged_or_none() {
    let Some(peers) = peers::media() else { return };
    let workshop = workshop();
    make_renditions(&workshop, &peers);
    std::fs::write(workshop.path("broken.mp4"), b"\0\0\0\x10ftypisom\0\0\0\0").unwrap();
    std::fs::create_dir(workshop.path("other")).unwrap();
    std::fs::copy(workshop.path("film-480.mp4"), workshop.path("other/film-480.mp4")).unwrap();
    let before = workshop.names();
    for (files, output, why) in [
        (
            &["film-480.mp4", "broken.mp4"][..],
            "out",
            "cannot protect broken.mp4",
        ),
        (&["film-480.mp4", "missing.mp4"], "out", "cannot open missing.mp4"),
        (
            &["film-480.mp4", "other/film-480.mp4"],
            "out",
            "two of the files would become",
        ),
        (
            &["film-480.mp4", "sound.mp4"],
            "-",
            "do not go to standard output",
        ),
        (&["film-480.mp4", "sound.mp4"], "seed", "cannot make seed"),
        (
            &["film-480.mp4", "sound.mp4"],
            ".",
            "is the input as well as the output",
        ),
        (&["film-480.mp4", "sound.mp4"], "other", "exists already"),
    ] {
        let args = [
            &[
                "package",
                "--key-per-quality",
                "--seed-file",
                "seed",
                "-o",
                output,
            ],
            files,
        ]
        .concat();
        let refused = workshop.run(&args);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains(why) && said.contains("hint: "), "{said}");
        assert_eq!(workshop.names(), before);
        assert_eq!(std::fs::read_dir(workshop.path("other")).unwrap().count(), 1);
    }
    for conflicting in [
        &["--label", "x"][..],
        &["--key-per-kind"],
        &["--track-key", "video=00"],
    ] {
        let args = [&["package", "film-480.mp4", "--key-per-quality"], conflicting].concat();
        assert_eq!(workshop.run(&args).status.code(), Some(2), "{conflicting:?}");
    }
    // Beside each, where no folder is named.
    workshop.ok(&["package", "--key-per-quality", "film-480.mp4", "sound.mp4"]);
    for name in ["film-480.protected.mp4", "sound.protected.mp4"] {
        assert!(workshop.names().contains(name), "{name}");
    }
}
