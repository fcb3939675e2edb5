//! What other programs make of media whose keys rotate.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests: a failure is a failed test"
)]

use core::time::Duration;
use std::{
    fs,
    io::{Cursor, Read},
    path::Path,
};

use keyward_content::{
    cenc::Scheme,
    isobmff::{Handler, TopBoxes, kind},
    media::{ClearView, LockedMedia, MediaTrack, danger::RawKeys},
};
use keyward_crypto::ContentKey;
use keyward_license::ids::Kid;
use keyward_packager::{
    CryptoPeriods, KeySource, MediaOptions, MemorySink, PackagerError, PeriodBatch, PeriodKeys, PeriodSource,
    RidingLicense, Rotation, TrackKey, TrackKind, TrackSelector, protect_rotating,
};
use keyward_testkit::{
    media::{Key, Keys, Kind, Samples, Track, assert_same_samples, fixture, samples, shaka_decrypt},
    peers::{self, MediaPeers},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

/// Keys for a video and an audio track, or one for both, with licenses that ride along or without.
struct Source {
    per_kind: bool,
    riding: Option<Vec<u8>>,
}

impl Source {
    fn key(&self, kind: Kind, index: u64) -> Key {
        let kind = u8::from(self.per_kind && kind == Kind::Audio);
        Key::numbered(8 + kind * 8 + u8::try_from(index).unwrap())
    }

    fn all(&self) -> Vec<Key> {
        let keys =
            (0..PERIODS).flat_map(|index| [Kind::Video, Kind::Audio].map(|kind| self.key(kind, index)));
        let mut keys: Vec<Key> = keys.collect();
        keys.dedup();
        keys
    }
}

/// Of five seconds of media.
const PERIODS: u64 = 3;

impl PeriodSource for Source {
    fn keys(&mut self, first: u64, count: u64) -> Result<PeriodBatch, PackagerError> {
        let of = |index| {
            let keys = [(TrackKind::Video, Kind::Video), (TrackKind::Audio, Kind::Audio)];
            let keys = keys.map(|(selected, kind)| {
                let key = self.key(kind, index);
                TrackKey {
                    tracks: TrackSelector::Kind(selected),
                    kid: Kid::new(key.kid),
                    key: KeySource::Raw(ContentKey::new(key.key)),
                }
            });
            let riding = self.riding.iter().flat_map(|license| {
                keys.iter().map(|key| RidingLicense {
                    kid: key.kid,
                    license: license.clone(),
                })
            });
            PeriodKeys {
                index,
                leaves: riding.collect(),
                keys: keys.into(),
            }
        };
        Ok(PeriodBatch {
            roots: self.riding.iter().map(|_| Kid::new([0xf0; 16])).collect(),
            periods: (first..first + count).map(of).collect(),
        })
    }
}

/// A license of the published vectors: what rides along is none of a decryptor's business.
fn license() -> Vec<u8> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors");
    let mut files: Vec<_> = fs::read_dir(vectors)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let vector: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).ok()?;
        let bytes = hex::decode(vector.get("message")?.as_str()?).ok()?;
        let mut store = keyward_license::embedded::EmbeddedStore::default();
        store.put(&bytes).ok().map(|()| bytes)
    };
    files.iter().find_map(read).unwrap()
}

fn protect(clear: &[u8], scheme: Scheme, source: &mut Source) -> Vec<u8> {
    let options = MediaOptions {
        license_url: Some("https://license.example/".into()),
        fragment_duration: Duration::from_secs(1),
        ..MediaOptions::new(scheme, Vec::new())
    };
    let rotation = Rotation {
        periods: CryptoPeriods {
            duration: Duration::from_secs(2),
            first: 0,
        },
        source,
    };
    let mut rng = ChaCha20Rng::from_seed([4; 32]);
    let (input, sink) = (Cursor::new(clear), MemorySink::default());
    protect_rotating(input, sink, &options, rotation, &mut rng, &mut |_| {})
        .unwrap()
        .output
}

/// Each scheme that players read, one key or one for each kind, with licenses and without; of progressive and
/// fragmented files. Each is read by ours and by both others to the samples of the clear file.
fn round_trip(name: &str, peers: &MediaPeers) {
    let folder = tempfile::tempdir().unwrap();
    let clear = fixture(name).file(peers);
    let wanted = samples(&peers.ffmpeg, &clear, Keys::None);
    let license = license();
    for scheme in [Scheme::Cenc, Scheme::Cbcs] {
        for (per_kind, riding) in [(true, true), (true, false), (false, true)] {
            let mut source = Source {
                per_kind,
                riding: riding.then(|| license.clone()),
            };
            let file = protect(&fs::read(&clear).unwrap(), scheme, &mut source);
            let path = folder.path().join("protected.mp4");
            let what = format!("{name} {scheme}, a key per kind: {per_kind}, licenses: {riding}");
            by_us(&file, &source, folder.path(), peers, &wanted, &what);
            by_others((&path, &file), scheme, &source, peers, &wanted, &what);
        }
    }
}

fn by_us(file: &[u8], source: &Source, folder: &Path, peers: &MediaPeers, wanted: &Samples, what: &str) {
    let mut keys = RawKeys::new();
    for key in source.all() {
        keys.insert(Kid::new(key.kid), ContentKey::new(key.key));
    }
    let mut clear = Vec::new();
    let mut view = ClearView::open(Cursor::new(file), keys).unwrap();
    view.read_to_end(&mut clear).unwrap();
    let path = folder.join("clear.mp4");
    fs::write(&path, clear).unwrap();
    let found = samples(&peers.ffmpeg, &path, Keys::None);
    assert_same_samples(&found, wanted, &format!("ours, {what}"));
}

/// Both look for the key of the sample entry's default key id alone and follow no sample groups, not even in files
/// of their own: they get each period by itself, with the period's key under the key id of all zeros.
fn by_others(
    (path, file): (&Path, &[u8]),
    scheme: Scheme,
    source: &Source,
    peers: &MediaPeers,
    wanted: &Samples,
    what: &str,
) {
    let alone = wanted.tracks.len() == 1;
    for kind in [Kind::Video, Kind::Audio] {
        let Some(track) = wanted.of(kind).next() else {
            continue;
        };
        let mut rest = track.samples.as_slice();
        for index in 0..PERIODS {
            let key = source.key(kind, index);
            let (part, count) = only_under(file, kind, Kid::new(key.kid));
            fs::write(path, part).unwrap();
            let (now, later) = rest.split_at(count);
            rest = later;
            let wanted = Samples {
                tracks: vec![Track {
                    samples: now.to_vec(),
                    ..track.clone()
                }],
                complaints: String::new(),
            };
            let what = format!("{}, period {index}, {what}", kind.name());
            assert!(count > 0, "{what}");
            let key = Key { kid: [0; 16], ..key };

            // It keeps one decryptor for a key id, with the pattern of the track that it met first, which is video.
            if scheme == Scheme::Cenc || kind == Kind::Video || alone {
                let output = path.with_file_name("shaka.mp4");
                shaka_decrypt(&peers.packager, path, kind, &[key], &output)
                    .unwrap_or_else(|error| panic!("Shaka Packager, {what}: {error}"));
                let found = samples(&peers.ffmpeg, &output, Keys::None);
                fs::remove_file(&output).unwrap();
                assert_same_samples(&found, &wanted, &format!("Shaka Packager, {what}"));
            }

            let mut found = samples(&peers.ffmpeg, path, Keys::ByKid(&[key]));
            found.tracks.retain(|track| track.kind == kind);
            assert_same_samples(&found, &wanted, &format!("ffmpeg, {what}"));
        }
        assert!(rest.is_empty(), "{what}: {} samples in no period", rest.len());
    }
}

/// The movie box, and the fragments with samples under a key; how many samples of a kind of track that is.
fn only_under(file: &[u8], kind: Kind, kid: Kid) -> (Vec<u8>, usize) {
    let mut media = LockedMedia::open(Cursor::new(file)).unwrap();
    let mut out = Vec::new();
    for found in TopBoxes::new(Cursor::new(file)).unwrap() {
        let found = found.unwrap();
        let (start, end) = (
            usize::try_from(found.offset).unwrap(),
            usize::try_from(found.end()).unwrap(),
        );
        let needs = media.needs_at(found.offset).unwrap();
        // An index would be one of fragments that are not there.
        if found.kind() != kind::SIDX && (needs.range.start == 0 || needs.kids.contains(&kid)) {
            out.extend_from_slice(file.get(start..end).unwrap());
        }
    }
    let of_kind = |track: &&MediaTrack| match track.handler {
        Handler::Video => kind == Kind::Video,
        _ => kind == Kind::Audio,
    };
    let id = media.tracks().iter().find(of_kind).unwrap().id;
    let mut cursor = media.samples(id).unwrap();
    let mut count = 0;
    while let Some(sample) = media.next_sample(&mut cursor).unwrap() {
        count += usize::from(sample.kid == Some(kid));
    }
    (out, count)
}

#[test]
fn rotating_keys_of_a_progressive_file_are_followed_by_others() {
    let Some(peers) = peers::media() else { return };
    round_trip("h264-aac", &peers);
}

#[test]
fn rotating_keys_of_a_fragmented_file_are_followed_by_others() {
    let Some(peers) = peers::media() else { return };
    round_trip("h264-aac-fragmented", &peers);
}

/// Sound alone leads the periods itself.
#[test]
fn rotating_keys_of_sound_alone_are_followed_by_others() {
    let Some(peers) = peers::media() else { return };
    round_trip("aac", &peers);
}
