//! Boxes, protection and codecs of media.

use core::{ops::Range, time::Duration};
use std::{
    collections::BTreeSet,
    io::{Cursor, Read, Seek, SeekFrom},
    panic,
    sync::{Mutex, PoisonError},
};

use keyward_content::{
    cenc::{Scheme, Subsample, total_len},
    codec::{CodecError, SampleMapper},
    isobmff::{
        AuxiliaryData, BoxError, BoxSpan, Fragment, Movie, Node, ProtectionCursor, Sample, SampleProtection,
        TopBox, TopBoxes, TrackProtection, kind,
    },
    media::{ClearView, MAX_RIDING_LICENSES, Matroska, SampleSpan, danger::RawKeys},
    pssh::Pssh,
};
use keyward_crypto::ContentKey;
use keyward_license::ids::Kid;
use keyward_packager::{
    CryptoPeriods, KeySource, MediaOptions, MemorySink, PackagerError, PeriodBatch, PeriodKeys, PeriodSource,
    ProtectedMedia, RidingLicense, Rotation, TrackKey, TrackSelector, protect_media, protect_rotating,
    segments,
};

use super::{
    Input,
    world::{KEY, KID, WORLD, draws},
};

/// Bytes of the file that [`movie`] takes its tables to be of.
const FILE_LEN: u64 = 1 << 16;

/// One box as an editable tree: as long as nothing is changed, it is written as it was read.
#[must_use]
pub fn box_tree(bytes: &[u8]) -> bool {
    let Ok(span) = BoxSpan::parse(bytes, 0) else {
        return false;
    };
    let mut tree = Node::from_span(&span);
    assert_eq!(tree.to_vec(), bytes);
    let is_sound = tree.open_all().is_ok();
    assert_eq!(tree.encoded_len(), bytes.len() as u64);
    assert_eq!(tree.to_vec(), bytes);
    // A box that owns its bytes is the same box.
    let mut changed = tree.clone();
    changed.body_mut();
    let _ = changed.children_mut();
    assert_eq!(changed.to_vec(), bytes);
    is_sound
}

/// A movie box: its tracks, all samples of its tables, and what protects each. No sample lies outside of the
/// file, and nothing takes more steps than there are bytes.
#[must_use]
pub fn movie(bytes: &[u8]) -> bool {
    let Ok(movie) = BoxSpan::parse(bytes, 0).and_then(|span| Movie::parse(&span)) else {
        return false;
    };
    movie.tracks.iter().all(|track| {
        let protection = TrackProtection::of(track);
        assert!(protection.is_protected() || protection.keys().next().is_none());
        let samples = track.tables.samples(FILE_LEN);
        let cursor = ProtectionCursor::of_track(track, &protection);
        let (Ok(samples), Ok(cursor)) = (samples, cursor) else {
            return false;
        };
        let most = FILE_LEN + bytes.len() as u64;
        walk(samples.inspect(ends_in_file), cursor, most).is_some_and(|count| count == track.tables.count())
    })
}

/// Two bytes of length, a movie box, then a fragment of it: its samples, and what protects each.
#[must_use]
pub fn movie_fragment(bytes: &[u8]) -> bool {
    let mut input = Input(bytes);
    let (movie, fragment) = (input.part(), input.rest());
    let Ok(movie) = BoxSpan::parse(movie, 0).and_then(|span| Movie::parse(&span)) else {
        return false;
    };
    let fragment = BoxSpan::parse(fragment, movie.span.bytes().len() as u64);
    let Ok(fragment) = fragment.and_then(|span| Fragment::parse(&span, &movie.defaults)) else {
        return false;
    };
    fragment.tracks.iter().all(|traf| {
        let Some(track) = movie.track(traf.track_id) else {
            return false;
        };
        let protection = TrackProtection::of(track);
        let Ok(cursor) = ProtectionCursor::of_fragment(&fragment, traf, &protection) else {
            return false;
        };
        let samples = traf.samples(traf.decode_time.unwrap_or_default());
        walk(samples, cursor, traf.sample_count().into()).is_some_and(|count| count == traf.sample_count())
    })
}

/// Two bytes of length and a decoder configuration record of H.264, then samples in the same form.
#[must_use]
pub fn avc_samples(bytes: &[u8]) -> bool {
    let mut input = Input(bytes);
    let record = input.part();
    let length_size = record.get(4).map_or(0, |byte| usize::from(byte & 3) + 1);
    SampleMapper::avc(record).is_ok_and(|mapper| samples(mapper, input, length_size, 1))
}

/// The same of H.265.
#[must_use]
pub fn hevc_samples(bytes: &[u8]) -> bool {
    let mut input = Input(bytes);
    let record = input.part();
    let length_size = record.get(21).map_or(0, |byte| usize::from(byte & 3) + 1);
    SampleMapper::hevc(record).is_ok_and(|mapper| samples(mapper, input, length_size, 2))
}

/// Two bytes of length and a decoder configuration record of AV1, then samples in the same form.
#[must_use]
pub fn av1_samples(bytes: &[u8]) -> bool {
    frames(bytes, SampleMapper::av1)
}

/// The same of VP9.
#[must_use]
pub fn vp9_samples(bytes: &[u8]) -> bool {
    frames(bytes, SampleMapper::vp9)
}

/// `pssh` boxes, one after the other: they are written as they were read, unless they were longer than need be.
#[must_use]
pub fn pssh(bytes: &[u8]) -> bool {
    let Ok(boxes) = Pssh::parse_all(bytes) else {
        return false;
    };
    for pssh in &boxes {
        let written = pssh.to_bytes().unwrap();
        assert!(written.len() <= bytes.len());
        assert_eq!(Pssh::parse(&written).as_ref(), Ok(pssh));
    }
    true
}

/// The beginning of a file in the Matroska container, accepted if it says that it is encrypted: the bytes have
/// what is said of them.
#[must_use]
pub fn webm(bytes: &[u8]) -> bool {
    let Some(found) = Matroska::of(bytes) else {
        return false;
    };
    let has = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    assert!(Matroska::begins(bytes));
    assert!(!found.is_webm || has(b"\x42\x82") && has(b"webm"));
    assert!(found.is_encrypted.is_none() || has(b"\x16\x54\xae\x6b"));
    let is_encrypted = found.is_encrypted == Some(true);
    assert!(!is_encrypted || has(b"\x6d\x80") && has(b"\x50\x35"));
    is_encrypted
}

/// A whole file, decrypted with one key for whatever it asks for. Every byte has one clear form, from wherever
/// it is read; boxes stay where they are; and what came out is clear: decrypted again, it stays as it is.
#[must_use]
pub fn clear_view(bytes: &[u8]) -> bool {
    let Some((mut view, clear)) = decrypted(bytes) else {
        return false;
    };
    for start in [bytes.len() / 3, 0, bytes.len() / 2, bytes.len().saturating_sub(7)] {
        view.seek(SeekFrom::Start(start as u64)).unwrap();
        let mut piece = Vec::new();
        view.by_ref().take(100).read_to_end(&mut piece).unwrap();
        let wanted = clear.get(start..(start + 100).min(clear.len())).unwrap();
        assert_eq!(piece, wanted, "another byte from another place");
    }
    for (protected, clear) in top_boxes(bytes).zip(top_boxes(&clear)) {
        assert_eq!((protected.offset, protected.end()), (clear.offset, clear.end()));
        let same = protected.kind() == clear.kind();
        assert!(same || clear.kind() == kind::FREE, "another box");
    }
    each_sample_is_in_place(&mut view, &clear);
    each_part_says_what_it_needs(&mut view);
    let (mut again, still_clear) = decrypted(&clear).unwrap();
    each_sample(&mut again, |_, span| {
        assert_eq!(span.kid, None, "protection that is left")
    });
    assert!(still_clear == clear, "clear bytes that are decrypted");
    true
}

/// First byte of an input of [`media_packager`]: the scheme, and whether keys rotate.
pub(super) const CBCS: u8 = 1;
pub(super) const ROTATING: u8 = 2;

/// A file that is protected: what comes out is protected, and decrypted it has the samples that went in.
#[must_use]
pub fn media_packager(bytes: &[u8]) -> bool {
    let Some((&form, file)) = bytes.split_first() else {
        return false;
    };
    let scheme = match form & CBCS {
        0 => Scheme::Cenc,
        _ => Scheme::Cbcs,
    };
    let rotates = form & ROTATING != 0;
    let made = if rotates {
        rotating(file, &MediaOptions::new(scheme, Vec::new()))
    } else {
        let options = MediaOptions::new(scheme, vec![key(KID)]);
        let sink = MemorySink::default();
        protect_media(Cursor::new(file), sink, &options, &mut draws(30), &mut |_| {})
    };
    let Ok(made) = made else {
        return false;
    };
    assert_eq!(made.output.len() as u64, made.protected_len);
    // A packager carries along what it need not know; samples that nobody can read cannot be compared.
    let Some((mut clear, _)) = decrypted(file) else {
        return false;
    };
    let (mut protected, _) = decrypted(&made.output).unwrap();
    let ids = |view: &View<'_>| {
        view.media()
            .tracks()
            .iter()
            .map(|track| track.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&protected), ids(&clear));
    let of = |id| made.tracks.iter().find(|track| track.id == id);
    for id in ids(&clear) {
        let is_right = |found: Option<Kid>| match of(id) {
            None => found.is_none(),
            Some(_) if rotates => found.is_some_and(|kid| kid != KID),
            Some(track) => found == Some(track.kid),
        };
        let (wanted, found) = (samples_of(&mut clear, id), samples_of(&mut protected, id));
        assert!(wanted.iter().all(|(kid, _)| kid.is_none()));
        assert!(
            found.iter().all(|(found, _)| is_right(*found)),
            "samples that are not protected"
        );
        assert!(of(id).is_none_or(|track| track.samples == found.len() as u64));
        let bytes = |samples: Vec<(Option<Kid>, Vec<u8>)>| samples.into_iter().map(|(_, bytes)| bytes);
        assert!(bytes(wanted).eq(bytes(found)), "other samples of track {id}");
    }
    true
}

/// A file that is cut into segments: joined again, they are cut at the same places, and hold the same samples.
#[must_use]
pub fn media_cut(bytes: &[u8]) -> bool {
    let Some((first, media)) = cut(bytes) else {
        return false;
    };
    let joined = [&first[..], &media.concat()].concat();
    assert_eq!(cut(&joined), Some((first, media)), "cut otherwise when joined");
    if let Some((mut whole, _)) = decrypted(bytes) {
        let (mut joined, _) = decrypted(&joined).unwrap();
        let ids: Vec<_> = whole.media().tracks().iter().map(|track| track.id).collect();
        for id in ids {
            assert_eq!(
                samples_of(&mut joined, id),
                samples_of(&mut whole, id),
                "track {id}"
            );
        }
    }
    true
}

/// The initialisation segment and the media segments of a file.
fn cut(file: &[u8]) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let found = segments(Cursor::new(file)).ok()?;
    let bytes = |ranges: &Vec<Range<u64>>| -> Vec<u8> {
        let parts = ranges.iter().map(|range| {
            let [start, end] = [range.start, range.end].map(|at| usize::try_from(at).unwrap());
            file.get(start..end).unwrap()
        });
        parts.collect::<Vec<_>>().concat()
    };
    Some((
        bytes(&found.initialisation),
        found.media.iter().map(bytes).collect(),
    ))
}

/// Protects a file under keys that rotate each 40 ms, with licenses that ride along.
pub(super) fn rotating(
    file: &[u8],
    options: &MediaOptions,
) -> Result<ProtectedMedia<Vec<u8>>, PackagerError> {
    let rotation = Rotation {
        periods: CryptoPeriods {
            duration: Duration::from_millis(40),
            first: 5,
        },
        source: &mut Rotating,
    };
    let sink = MemorySink::default();
    protect_rotating(
        Cursor::new(file),
        sink,
        options,
        rotation,
        &mut draws(30),
        &mut |_| {},
    )
}

/// One key, under another key id in each crypto period.
struct Rotating;

impl PeriodSource for Rotating {
    fn keys(&mut self, first: u64, count: u64) -> Result<PeriodBatch, PackagerError> {
        let of = |index: u64| {
            let kid = Kid::new((u128::from(index) << 1 | 1).to_be_bytes());
            PeriodKeys {
                index,
                keys: vec![key(kid)],
                leaves: vec![RidingLicense {
                    kid,
                    license: WORLD.leaf(),
                }],
            }
        };
        Ok(PeriodBatch {
            roots: Vec::new(),
            periods: (first..first + count).map(of).collect(),
        })
    }
}

fn key(kid: Kid) -> TrackKey {
    TrackKey {
        tracks: TrackSelector::All,
        kid,
        key: KeySource::Raw(ContentKey::new(KEY)),
    }
}

/// Keeps a panic that the code under test catches from ending the fuzzer, which libFuzzer's own hook does. One
/// that is not caught is printed, and ends it.
pub fn let_panics_be_caught() {
    static LAST: Mutex<String> = Mutex::new(String::new());
    panic::set_hook(Box::new(|info| {
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let panic = info.to_string();
        if panic.contains("cannot unwind") {
            report(&last);
        }
        *last = panic;
    }));
}

#[expect(clippy::print_stderr, reason = "a finding has to be seen")]
fn report(panic: &str) {
    eprintln!("{panic}");
}

/// Goes through samples and what protects them; how many there are, if there is no fault.
fn walk(
    samples: impl Iterator<Item = Result<Sample, BoxError>>,
    mut cursor: ProtectionCursor<'_>,
    most: u64,
) -> Option<u32> {
    let mut count = 0;
    for sample in samples {
        let sample = sample.ok()?;
        assert_eq!(sample.index, count, "samples are numbered");
        count += 1;
        assert!(u64::from(count) <= most, "more samples than bytes");
        let SampleProtection::Protected(protected) = cursor.next(&sample).ok()? else {
            continue;
        };
        let AuxiliaryData::Here(data) = protected.data else {
            continue;
        };
        let details = protected.details(data).ok()?;
        let subsamples: Vec<Subsample> = details.subsamples.iter().collect();
        assert!(subsamples.is_empty() || total_len(&subsamples) == u64::from(sample.size));
    }
    Some(count)
}

fn ends_in_file(sample: &Result<Sample, BoxError>) {
    if let Ok(sample) = sample {
        assert!(sample.end() <= FILE_LEN, "a sample outside of the file");
    }
}

/// Maps samples in both schemes that can be written. A NAL unit has a length field and a header of these sizes.
fn samples(mut mapper: SampleMapper, mut input: Input<'_>, length_size: usize, header: usize) -> bool {
    let mut all_mapped = true;
    while !input.is_empty() {
        let sample = input.part();
        for scheme in [Scheme::Cenc, Scheme::Cbcs] {
            let mut subsamples = Vec::new();
            let mapped = mapper.map(&mut &*sample, scheme, &mut subsamples);
            assert!(mapped.is_ok() || subsamples.is_empty());
            all_mapped &= mapped.is_ok();
            if mapped.is_ok() {
                assert_eq!(total_len(&subsamples), sample.len() as u64);
                framing_is_clear(sample, &subsamples, length_size, header);
            }
        }
    }
    all_mapped
}

/// Maps samples in both schemes that are usual. What is protected says nothing about the map: with other bytes in
/// its place, a sample has the same one.
fn frames(bytes: &[u8], mapper: impl Fn(&[u8]) -> Result<SampleMapper, CodecError>) -> bool {
    let mut all_mapped = true;
    for scheme in [Scheme::Cenc, Scheme::Cbcs] {
        let mut input = Input(bytes);
        let record = input.part();
        let (Ok(mut mapper), Ok(mut twin)) = (mapper(record), mapper(record)) else {
            return false;
        };
        while all_mapped && !input.is_empty() {
            let sample = input.part();
            let (mut subsamples, mut same) = (Vec::new(), Vec::new());
            all_mapped &= mapper.map(&mut &*sample, scheme, &mut subsamples).is_ok();
            assert!(all_mapped || subsamples.is_empty());
            if all_mapped {
                assert_eq!(total_len(&subsamples), sample.len() as u64);
                let mut other = sample.to_vec();
                for (protected, byte) in protected_bytes(&subsamples).zip(&mut other) {
                    *byte = if protected { 0 } else { *byte };
                }
                twin.map(&mut other.as_slice(), scheme, &mut same).unwrap();
                assert_eq!(subsamples, same);
            }
        }
    }
    all_mapped
}

/// Of each byte of a sample, whether it is protected.
fn protected_bytes(subsamples: &[Subsample]) -> impl Iterator<Item = bool> {
    subsamples.iter().flat_map(|subsample| {
        let clear = std::iter::repeat_n(false, subsample.clear.into());
        clear.chain(std::iter::repeat_n(true, subsample.protected as usize))
    })
}

/// No protected byte is one of a NAL unit's length or header.
fn framing_is_clear(sample: &[u8], subsamples: &[Subsample], length_size: usize, header: usize) {
    let protected: Vec<bool> = protected_bytes(subsamples).collect();
    let mut at = 0;
    while at < sample.len() {
        let fields = protected.get(at..at + length_size + header).unwrap();
        assert!(!fields.contains(&true), "framing is protected");
        let length = sample.get(at..at + length_size).unwrap();
        at += length_size
            + length
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
    }
}

pub(super) type View<'a> = ClearView<Cursor<&'a [u8]>, RawKeys>;

/// A file, and its clear form if all of it can be read.
pub(super) fn decrypted(bytes: &[u8]) -> Option<(View<'_>, Vec<u8>)> {
    let mut keys = RawKeys::new();
    keys.insert_any(ContentKey::new(KEY));
    let mut view = ClearView::open(Cursor::new(bytes), keys).ok()?;
    assert_eq!(view.media().len(), bytes.len() as u64);
    let mut clear = Vec::new();
    let read = view.read_to_end(&mut clear);
    assert!(clear.len() <= bytes.len());
    read.ok()?;
    assert_eq!(clear.len(), bytes.len());
    Some((view, clear))
}

fn top_boxes(bytes: &[u8]) -> impl Iterator<Item = TopBox> {
    TopBoxes::new(Cursor::new(bytes)).unwrap().map_while(Result::ok)
}

fn each_sample_is_in_place(view: &mut View<'_>, clear: &[u8]) {
    let mut sample = Vec::new();
    each_sample(view, |view, span| {
        // A clear sample may be said to lie where the file has no bytes.
        let wanted = usize::try_from(span.offset)
            .ok()
            .and_then(|start| clear.get(start..start + span.size as usize));
        if let Some(wanted) = wanted {
            view.read_sample(&span, &mut sample).unwrap();
            assert!(sample == wanted, "another sample than at its place");
        }
    });
}

/// The parts fill the file, and say all keys of the samples in it before one is read.
fn each_part_says_what_it_needs(view: &mut View<'_>) {
    let (mut at, mut said) = (0, BTreeSet::new());
    while at < view.media().len() {
        let needs = view.needs_at(at).unwrap();
        assert!(needs.range.start == at && needs.range.end > at);
        assert!(needs.licenses.len() <= MAX_RIDING_LICENSES);
        assert_eq!(view.needs_at(needs.range.end - 1).unwrap(), needs);
        said.extend(needs.kids);
        at = needs.range.end;
    }
    each_sample(view, |_, span| {
        assert!(span.size == 0 || span.kid.is_none_or(|kid| said.contains(&kid)));
    });
}

fn each_sample<'a>(view: &mut View<'a>, mut act: impl FnMut(&mut View<'a>, SampleSpan)) {
    let tracks: Vec<u32> = view.media().tracks().iter().map(|track| track.id).collect();
    for track in tracks {
        let Ok(mut cursor) = view.media().samples(track) else {
            continue;
        };
        while let Ok(Some(span)) = view.next_sample(&mut cursor) {
            act(view, span);
        }
    }
}

/// The key ids and clear bytes of a track's samples.
pub(super) fn samples_of(view: &mut View<'_>, track: u32) -> Vec<(Option<Kid>, Vec<u8>)> {
    let mut cursor = view.media().samples(track).unwrap();
    let mut samples = Vec::new();
    while let Some(span) = view.next_sample(&mut cursor).unwrap() {
        let mut bytes = Vec::new();
        view.read_sample(&span, &mut bytes).unwrap();
        samples.push((span.kid, bytes));
    }
    samples
}
