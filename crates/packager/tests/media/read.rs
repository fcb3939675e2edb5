//! What a file holds, as a reader sees it.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read},
};

use keyward_content::{
    cenc::Scheme,
    isobmff::{BoxKind, BoxSpan, FourCc, Fragment, Movie, SegmentIndex, TopBox, TopBoxes, kind},
    media::{ClearView, danger::RawKeys},
};
use keyward_crypto::ContentKey;
use keyward_license::ids::Kid;
use keyward_packager::{
    KeySource, MediaOptions, MemorySink, PackagerError, ProtectedMedia, TrackKey, TrackKind, TrackSelector,
    protect_media,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::build::Piece;

pub(crate) const VIDEO_KID: Kid = Kid::new([1; 16]);
pub(crate) const AUDIO_KID: Kid = Kid::new([2; 16]);

pub(crate) fn key_of(kid: Kid) -> ContentKey {
    ContentKey::new(kid.as_bytes().map(|byte| byte.wrapping_mul(77)))
}

pub(crate) fn track_key(tracks: TrackSelector, kid: Kid) -> TrackKey {
    TrackKey {
        tracks,
        kid,
        key: KeySource::Raw(key_of(kid)),
    }
}

/// One key for everything.
pub(crate) fn one_key(scheme: Scheme) -> MediaOptions {
    MediaOptions::new(scheme, vec![track_key(TrackSelector::All, VIDEO_KID)])
}

pub(crate) fn two_keys(scheme: Scheme) -> MediaOptions {
    let keys = [(TrackKind::Video, VIDEO_KID), (TrackKind::Audio, AUDIO_KID)];
    let keys = keys.map(|(kind, kid)| track_key(TrackSelector::Kind(kind), kid));
    MediaOptions::new(scheme, keys.into())
}

pub(crate) fn protect(file: &[u8], options: &MediaOptions) -> Result<ProtectedMedia<Vec<u8>>, PackagerError> {
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    protect_media(
        Cursor::new(file),
        MemorySink::default(),
        options,
        &mut rng,
        &mut |_| {},
    )
}

/// The clear view of a protected file: as long, and everything in its place.
pub(crate) fn clear_view(file: &[u8]) -> Vec<u8> {
    let mut keys = RawKeys::new();
    for kid in [VIDEO_KID, AUDIO_KID] {
        keys.insert(kid, key_of(kid));
    }
    let mut clear = Vec::new();
    ClearView::open(Cursor::new(file), keys)
        .unwrap()
        .read_to_end(&mut clear)
        .unwrap();
    assert_eq!(clear.len(), file.len());
    clear
}

pub(crate) fn top_boxes(file: &[u8]) -> Vec<TopBox> {
    TopBoxes::new(Cursor::new(file))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

pub(crate) fn bytes_of<'f>(file: &'f [u8], found: &TopBox) -> &'f [u8] {
    &file[found.offset as usize..found.end() as usize]
}

pub(crate) fn of_kind(file: &[u8], kind: FourCc) -> Vec<BoxSpan<'_>> {
    let found = top_boxes(file).into_iter().filter(|found| found.kind() == kind);
    found
        .map(|found| BoxSpan::parse(bytes_of(file, &found), found.offset).unwrap())
        .collect()
}

pub(crate) fn movie(file: &[u8]) -> Movie<'_> {
    Movie::parse(&of_kind(file, kind::MOOV)[0]).unwrap()
}

pub(crate) fn fragments(file: &[u8]) -> Vec<Fragment<'_>> {
    let defaults = movie(file).defaults;
    of_kind(file, kind::MOOF)
        .iter()
        .map(|moof| Fragment::parse(moof, &defaults).unwrap())
        .collect()
}

/// The samples of a fragmented file that is clear, by track, each with its decode time and flags.
pub(crate) fn samples(file: &[u8]) -> BTreeMap<u32, Vec<(Piece, u64, u32)>> {
    let mut found: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    let mut next = BTreeMap::new();
    for fragment in fragments(file) {
        for traf in &fragment.tracks {
            let next = next.entry(traf.track_id).or_insert(0);
            for sample in traf.samples(traf.decode_time.unwrap_or(*next)) {
                let sample = sample.unwrap();
                *next = sample.decode_time + u64::from(sample.duration);
                let piece = Piece {
                    bytes: file[sample.offset as usize..sample.end() as usize].to_vec(),
                    duration: sample.duration,
                    composition: sample.composition_offset as i32,
                    sync: sample.is_sync(),
                    description: sample.description_index,
                };
                found
                    .entry(traf.track_id)
                    .or_default()
                    .push((piece, sample.decode_time, sample.flags.0));
            }
        }
    }
    found
}

/// Holds the samples of a clear file against those that it was made of.
pub(crate) fn assert_samples(file: &[u8], lanes: &[super::build::Lane]) {
    let mut found = samples(file);
    for lane in lanes {
        let found = found.remove(&lane.id).unwrap_or_default();
        let mut time = 0;
        assert_eq!(found.len(), lane.pieces.len(), "track {}", lane.id);
        for (at, ((found, decode_time, _), piece)) in found.iter().zip(&lane.pieces).enumerate() {
            assert_eq!(
                (found, *decode_time),
                (piece, time),
                "track {}, sample {at}",
                lane.id
            );
            time += u64::from(piece.duration);
        }
    }
    assert!(found.is_empty());
}

/// The one segment index, which must stand behind the movie box and cover the rest of the file, but for a
/// random access table: each reference whole boxes with one fragment.
pub(crate) fn assert_index(file: &[u8]) -> SegmentIndex {
    let boxes = top_boxes(file);
    let at = boxes.iter().position(|found| found.kind() == kind::SIDX).unwrap();
    assert!(boxes[at - 1].kind() == kind::MOOV);
    assert_eq!(of_kind(file, kind::SIDX).len(), 1);
    let index = SegmentIndex::parse(&of_kind(file, kind::SIDX)[0]).unwrap();
    assert_eq!(index.first_offset, 0);
    let mut rest = boxes[at + 1..].iter();
    for reference in &index.references {
        let (mut len, mut moofs) = (0, 0);
        while len < u64::from(reference.size) {
            let found = rest.next().unwrap();
            len += found.header.len;
            moofs += usize::from(found.kind() == kind::MOOF);
        }
        assert_eq!((len, moofs), (reference.size.into(), 1));
    }
    let left: Vec<_> = rest.map(TopBox::kind).collect();
    assert!(left.is_empty() || left == [BoxKind::Type(kind::MFRA)], "{left:?}");
    index
}
