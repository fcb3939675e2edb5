//! The media of tests: every fixture is what its name says, and the comparison finds a single wrong byte.

use std::fs;

use keyward_testkit::{
    media::{
        BEYOND, FIXTURES, Key, Keys, Kind, Scheme, assert_same_samples, assert_same_times, fixture, samples,
        shaka_decrypt, shaka_encrypt,
    },
    peers,
};

#[test]
fn every_fixture_can_be_made_and_has_its_tracks() {
    let Some(peers) = peers::media() else { return };
    for fixture in FIXTURES.iter().chain(BEYOND) {
        let made = samples(&peers.ffmpeg, &fixture.file(&peers), Keys::None);
        let kinds: Vec<Kind> = made.tracks.iter().map(|track| track.kind).collect();
        assert_eq!(kinds, fixture.tracks, "{}", fixture.name);
        assert_eq!(made.complaints, "", "{}", fixture.name);
        let other = samples(&peers.ffmpeg_old, &fixture.file(&peers), Keys::None);
        assert_same_samples(&other, &made, fixture.name);
        assert_same_times(&other, &made, fixture.times, fixture.name);
    }
}

#[test]
fn the_same_samples_are_the_same_in_every_container() {
    let Some(peers) = peers::media() else { return };
    let listed = |name: &str| samples(&peers.ffmpeg, &fixture(name).file(&peers), Keys::None);
    let wanted = listed("h264-aac");
    for fragmented in [
        "h264-aac-fragmented",
        "h264-aac-absolute-offsets",
        "h264-aac-tracks-apart",
    ] {
        assert_same_samples(&listed(fragmented), &wanted, fragmented);
    }
}

#[test]
#[should_panic(expected = "124 samples of 125 are right")]
fn one_wrong_byte_is_found() {
    let Some(peers) = peers::media() else {
        unreachable!("124 samples of 125 are right, had there been any");
    };
    let clear = fixture("h264").file(&peers);
    let mut bytes = fs::read(&clear).unwrap();
    let mdat = bytes.windows(4).position(|window| window == b"mdat").unwrap();
    let middle = mdat + 30_000;
    *bytes.get_mut(middle).unwrap() ^= 1;
    let folder = tempfile::tempdir().unwrap();
    let altered = folder.path().join("altered.mp4");
    fs::write(&altered, bytes).unwrap();
    let list = |file| samples(&peers.ffmpeg, file, Keys::None);
    assert_same_samples(&list(&altered), &list(&clear), "altered");
}

#[test]
fn the_peers_read_what_shaka_packager_protects() {
    let Some(peers) = peers::media() else { return };
    let folder = tempfile::tempdir().unwrap();
    let clear = fixture("h264-aac").file(&peers);
    let wanted = samples(&peers.ffmpeg, &clear, Keys::None);
    let keys = [(Kind::Video, Key::numbered(1)), (Kind::Audio, Key::numbered(2))];
    for scheme in Scheme::USUAL {
        let files = shaka_encrypt(&peers.packager, &clear, scheme, &keys, folder.path());
        for ((kind, key), file) in keys.iter().zip(files) {
            let mut wanted = wanted.clone();
            wanted.tracks.retain(|track| track.kind == *kind);
            let protected = samples(&peers.ffmpeg, &file, Keys::None);
            assert!(protected.tracks != wanted.tracks, "{scheme:?} {kind:?} is clear");
            for (name, found) in [
                ("8", samples(&peers.ffmpeg, &file, Keys::ByKid(&[*key]))),
                ("old", samples(&peers.ffmpeg_old, &file, Keys::One(*key))),
            ] {
                assert_same_samples(&found, &wanted, &format!("{scheme:?} {kind:?} by ffmpeg {name}"));
            }
            let output = folder.path().join("clear.mp4");
            shaka_decrypt(&peers.packager, &file, *kind, &[*key], &output).unwrap();
            let found = samples(&peers.ffmpeg, &output, Keys::None);
            assert_same_samples(&found, &wanted, &format!("{scheme:?} {kind:?} by Shaka Packager"));
        }
    }
}
