//! Qualities of tracks, and keys of the whole content in each of its files.

use std::io::Cursor;

use keyward_content::{cenc::Scheme, header::ContentHeader, media::LockedMedia};
use keyward_license::ids::Kid;
use keyward_packager::{
    ContentKeyId, KeySource, MediaError, MediaOptions, PackagerError, PipedMedia, Quality, QualityTrack,
    qualities,
};

use crate::{build::*, read::*};

/// A lane of pictures that states this size.
fn sized(id: u32, width: u16, height: u16) -> Lane {
    let mut lane = Lane::video(id, 20, 5);
    lane.entries = vec![entry_of_size(width, height)];
    lane
}

fn entry_of_size(width: u16, height: u16) -> Vec<u8> {
    let mut entry = entry_of_video(b"avc1");
    entry.splice(32..36, [width.to_be_bytes(), height.to_be_bytes()].concat());
    entry
}

fn named(kid: Kid) -> ContentKeyId {
    ContentKeyId {
        kid,
        key: KeySource::Raw(key_of(kid)),
    }
}

/// The key ids that a file's content header names.
fn named_in(file: &[u8]) -> Vec<Kid> {
    let media = LockedMedia::open(Cursor::new(file)).unwrap();
    let header = ContentHeader::read_object(media.content_header().unwrap()).unwrap();
    header.kids.iter().map(|key| key.kid).collect()
}

#[test]
fn each_track_has_the_quality_of_its_pictures() {
    let lanes = vec![
        sized(1, 1920, 1080),
        Lane::audio(2, 20),
        sized(3, 640, 360),
        Lane::text(4, 3),
        sized(9, 3840, 1600),
    ];
    let wanted = [
        (1, Quality::Hd),
        (2, Quality::Audio),
        (3, Quality::Sd),
        (9, Quality::Uhd1),
    ]
    .map(|(id, quality)| QualityTrack { id, quality });
    let fragmented = Fragmented::new(lanes.clone()).to_bytes();
    assert_eq!(qualities(Cursor::new(&fragmented)).unwrap(), wanted);
    assert_eq!(
        qualities(Cursor::new(Progressive::new(lanes).to_bytes())).unwrap(),
        wanted
    );
    let PipedMedia::Fragments(stream) = PipedMedia::open(&fragmented[..]).unwrap() else {
        panic!("these are fragments");
    };
    assert_eq!(stream.qualities().unwrap(), wanted);
}

#[test]
fn the_highest_of_several_sample_entries_counts_and_none_is_without_a_size() {
    let mut lane = sized(1, 640, 360);
    lane.entries.push(entry_of_size(2560, 1440));
    let file = |lane: &Lane| Progressive::new(vec![lane.clone()]).to_bytes();
    let found = qualities(Cursor::new(file(&lane))).unwrap();
    assert_eq!(found[0].quality, Quality::Uhd1);
    for (width, height) in [(0, 360), (640, 0)] {
        lane.entries[0] = entry_of_size(width, height);
        let error = qualities(Cursor::new(file(&lane))).unwrap_err();
        assert!(
            matches!(error, PackagerError::Media(MediaError::NoPictureSize(1))),
            "{error:?}"
        );
    }
}

#[test]
fn keys_of_the_whole_content_are_named_first_and_once() {
    let file = Progressive::new(vec![Lane::video(1, 20, 5), Lane::audio(2, 20)]).to_bytes();
    let other = Kid::new([9; 16]);
    for scheme in Scheme::ALL {
        let options = MediaOptions {
            content_keys: [AUDIO_KID, other, AUDIO_KID].map(named).into(),
            ..two_keys(scheme)
        };
        let made = protect(&file, &options).unwrap().output;
        assert_eq!(named_in(&made), [AUDIO_KID, other, VIDEO_KID], "{scheme}");
        let media = LockedMedia::open(Cursor::new(&made)).unwrap();
        assert_eq!(media.required_kids().len(), 2, "{scheme}");
    }
    let under = |kid, key| ContentKeyId {
        kid,
        key: KeySource::Raw(key_of(key)),
    };
    for content_keys in [
        vec![under(AUDIO_KID, other)],
        vec![named(other), under(other, AUDIO_KID)],
    ] {
        let options = MediaOptions {
            content_keys,
            ..two_keys(Scheme::Cbcs)
        };
        let error = protect(&file, &options).unwrap_err();
        assert!(
            matches!(error, PackagerError::Media(MediaError::KeyConflict(_))),
            "{error:?}"
        );
    }
}
