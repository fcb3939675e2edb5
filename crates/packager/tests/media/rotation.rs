//! Keys that rotate: written, and read again from every place.

use core::time::Duration;
use std::{
    collections::BTreeSet,
    io::{BufRead, Cursor, Read, Seek, SeekFrom},
};

use keyward_content::{
    cenc::Scheme,
    header::ContentHeader,
    isobmff::kind,
    media::{ClearView, LockedMedia, MediaError as ReadError, danger::RawKeys},
    pssh::{Pssh, SystemId},
};
use keyward_crypto::{
    ContentKey, CryptoError,
    ecdsa::{PublicKey, Signer, SigningKey},
};
use keyward_license::{
    codec::Wire,
    ids::{Kid, LicenseId},
    license::{Binding, KeyDescription, KeyType, LicenseBody, LicenseKind},
    signed,
    time::Timestamp,
};
use keyward_packager::{
    ContentKeyId, CryptoPeriods, KeySource, MediaError, MediaOptions, MemorySink, PackagerError, PeriodBatch,
    PeriodKeys, PeriodSource, ProtectedMedia, RidingLicense, Rotation, TrackKey, TrackKind, TrackSelector,
    exchange::ExchangeError, protect_rotating,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::{build::*, chromium, read::*};

/// What a license server would give.
pub(crate) struct Periods {
    pub(crate) per_kind: bool,
    pub(crate) roots: u8,
    most: u64,
    /// First index and count of each request.
    pub(crate) asked: Vec<(u64, u64)>,
    /// There are no periods from this one on.
    pub(crate) end: u64,
    /// Says beforehand whether there are roots.
    says_roots: bool,
    bend: fn(&mut PeriodBatch),
}

impl Periods {
    pub(crate) fn new(per_kind: bool, roots: u8) -> Self {
        Self {
            per_kind,
            roots,
            most: 3,
            asked: Vec::new(),
            end: u64::MAX,
            says_roots: false,
            bend: |_| {},
        }
    }

    fn keys_of(&self, index: u64) -> Vec<TrackKey> {
        let key = |tracks, kid| TrackKey {
            tracks,
            kid,
            key: KeySource::Raw(key_of(kid)),
        };
        match self.per_kind {
            false => vec![key(TrackSelector::All, kid(1, index))],
            true => [(TrackKind::Video, 2), (TrackKind::Audio, 3)]
                .map(|(kind, number)| key(TrackSelector::Kind(kind), kid(number, index)))
                .into(),
        }
    }

    fn kids_of(&self, index: u64) -> Vec<Kid> {
        self.keys_of(index).into_iter().map(|key| key.kid).collect()
    }

    fn leaves_of(&self, index: u64) -> Vec<RidingLicense> {
        let keys = self.keys_of(index);
        let under = |root| keys.iter().map(move |key| (key.kid, root_kid(root)));
        let all = (0..self.roots).flat_map(under);
        all.map(|(kid, root)| RidingLicense {
            kid,
            license: leaf(kid, root),
        })
        .collect()
    }
}

impl PeriodSource for Periods {
    fn keys(&mut self, first: u64, count: u64) -> Result<PeriodBatch, PackagerError> {
        self.asked.push((first, count));
        if first + count > self.end {
            return Err(ExchangeError::Answer("it has no such periods").into());
        }
        let mut batch = PeriodBatch {
            roots: (0..self.roots).map(root_kid).collect(),
            periods: (first..first + count)
                .map(|index| PeriodKeys {
                    index,
                    keys: self.keys_of(index),
                    leaves: self.leaves_of(index),
                })
                .collect(),
        };
        (self.bend)(&mut batch);
        Ok(batch)
    }

    fn most(&self) -> u64 {
        self.most
    }

    fn has_roots(&self) -> Option<bool> {
        self.says_roots.then_some(self.roots > 0)
    }
}

/// The key id of a kind of track in a period.
pub(crate) fn kid(number: u8, index: u64) -> Kid {
    let mut bytes = [number; 16];
    bytes[8..].copy_from_slice(&index.to_be_bytes());
    Kid::new(bytes)
}

pub(crate) fn root_kid(number: u8) -> Kid {
    Kid::new([0xf0 | number; 16])
}

/// Signs everything alike.
struct Stamp(PublicKey);

impl Signer for Stamp {
    fn sign(&self, _: &[u8]) -> Result<[u8; 64], CryptoError> {
        Ok([7; 64])
    }

    fn public_key(&self) -> &PublicKey {
        &self.0
    }
}

/// A leaf license, as long as real ones are.
pub(crate) fn leaf(kid: Kid, root: Kid) -> Vec<u8> {
    let key = SigningKey::generate(&mut ChaCha20Rng::from_seed([9; 32]));
    let mut id = *kid.as_bytes();
    id[0] ^= root.as_bytes()[0];
    let body = LicenseBody::new(
        LicenseId::new(id),
        LicenseKind::Leaf,
        KeyDescription::content(kid, KeyType::CencCtr),
        Binding::root(root),
        Timestamp(1),
    );
    let (chain, signer) = ([vec![0x5a; 900]], Stamp(*key.public_key()));
    signed::sign::<LicenseBody>(&body.encode(), &[b"sealed"], &chain, &signer).unwrap()
}

pub(crate) const FIRST: u64 = 41;

pub(crate) fn options(scheme: Scheme) -> MediaOptions {
    MediaOptions {
        license_url: Some("https://license.example/".into()),
        ..MediaOptions::new(scheme, Vec::new())
    }
}

pub(crate) fn rotate(
    file: &[u8],
    options: &MediaOptions,
    source: &mut Periods,
) -> Result<ProtectedMedia<Vec<u8>>, PackagerError> {
    let rotation = Rotation {
        periods: CryptoPeriods {
            duration: Duration::from_secs(2),
            first: FIRST,
        },
        source,
    };
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let (input, sink) = (Cursor::new(file), MemorySink::default());
    protect_rotating(input, sink, options, rotation, &mut rng, &mut |_| {})
}

/// Nine seconds of pictures, a sync sample each 0.4 s, and sound.
pub(crate) fn lanes() -> Vec<Lane> {
    vec![Lane::video(1, 225, 10), Lane::audio(2, 422), Lane::text(7, 9)]
}

pub(crate) fn all_keys(source: &Periods) -> RawKeys {
    let mut keys = RawKeys::new();
    for index in FIRST..FIRST + 5 {
        for TrackKey { kid, .. } in source.keys_of(index) {
            keys.insert(kid, key_of(kid));
        }
    }
    keys
}

pub(crate) fn clear(file: &[u8], keys: RawKeys) -> Vec<u8> {
    let mut clear = Vec::new();
    let mut view = ClearView::open(Cursor::new(file), keys).unwrap();
    view.read_to_end(&mut clear).unwrap();
    assert_eq!(clear.len(), file.len());
    clear
}

/// Forms in which the same samples stand.
pub(crate) fn forms() -> Vec<Vec<u8>> {
    let fragmented = Fragmented {
        each: 20,
        ..Fragmented::new(lanes())
    };
    // As CMAF has it: each segment begins with its brands.
    let segments = Fragmented {
        before: boxed(b"styp", b"msdh\0\0\0\0"),
        ..fragmented.clone()
    };
    let absolute = Fragmented {
        base: Base::Explicit,
        decode_times: false,
        random_access: true,
        between: boxed(b"free", &[6; 11]),
        ..fragmented.clone()
    };
    vec![
        Progressive::new(lanes()).to_bytes(),
        fragmented.to_bytes(),
        segments.to_bytes(),
        absolute.to_bytes(),
    ]
}

#[test]
fn every_form_in_every_scheme_is_read_again() {
    for (number, file) in forms().into_iter().enumerate() {
        for scheme in Scheme::ALL {
            for (per_kind, roots) in [(false, 0), (true, 2)] {
                let mut source = Periods::new(per_kind, roots);
                let made = rotate(&file, &options(scheme), &mut source).unwrap();
                assert_index(&made.output);
                assert_samples(&clear(&made.output, all_keys(&source)), &lanes());
                // It has no use for fragments without decode times, which the last form comes with.
                if number < 3 {
                    chromium::check(&made.output);
                }
                let periods = made.periods.unwrap();
                assert_eq!((periods.first, periods.last), (FIRST, FIRST + 4));
                assert_eq!(periods.licenses, source.leaves_of(FIRST).len() as u64 * 5);
                assert_eq!(made.tracks[0].kid, source.keys_of(FIRST)[0].kid);
            }
        }
    }
}

#[test]
fn keys_are_fetched_in_batches_as_they_are_needed() {
    let file = Fragmented::new(lanes()).to_bytes();
    let mut source = Periods::new(true, 1);
    rotate(&file, &options(Scheme::Cenc), &mut source).unwrap();
    assert_eq!(source.asked, [(FIRST, 3), (FIRST + 3, 2)]);
}

/// What each part says of itself before it is read is what its samples turn out to need.
#[test]
fn a_part_says_which_keys_it_needs_and_brings_its_licenses() {
    for (per_kind, roots) in [(false, 0), (false, 1), (true, 14)] {
        let mut source = Periods::new(per_kind, roots);
        let file = rotate(&forms()[1], &options(Scheme::Cbcs), &mut source)
            .unwrap()
            .output;
        let mut view = ClearView::open(Cursor::new(&file), all_keys(&source)).unwrap();
        let media = view.media();
        assert!(media.is_on_demand() && media.is_protected());
        let roots: Vec<Kid> = (0..roots).map(root_kid).collect();
        let wanted = match roots.is_empty() {
            true => [source.kids_of(FIRST), source.kids_of(FIRST + 1)].concat(),
            false => roots.clone(),
        };
        assert_eq!(media.required_kids(), wanted);

        let whole = view.needs_at(0).unwrap();
        assert!(whole.kids.is_empty() && whole.licenses.is_empty() && whole.range.start == 0);
        let (mut at, mut seen) = (whole.range.end, Vec::new());
        while at < file.len() as u64 {
            let needs = view.needs_at(at).unwrap();
            assert_eq!(needs.range.start, at);
            assert_eq!(needs.faulty_stores, 0);
            let index = needs.kids[0].as_bytes()[8..]
                .try_into()
                .map(u64::from_be_bytes)
                .unwrap();
            seen.push(index);
            let header = ContentHeader::read_object(needs.content_header.as_ref().unwrap()).unwrap();
            let named: Vec<Kid> = header.kids.iter().map(|key| key.kid).collect();
            let (own, next) = named.split_at(needs.kids.len());
            assert_eq!(own, needs.kids);
            let stacked = match roots.is_empty() {
                true => source.kids_of(index + 1),
                false => Vec::new(),
            };
            assert_eq!(next, stacked);
            assert!(header.on_demand && header.license_url.as_deref() == Some("https://license.example/"));
            let mut leaves = source.leaves_of(index);
            leaves.retain(|leaf| needs.kids.contains(&leaf.kid));
            let leaves = leaves.into_iter();
            let leaves: BTreeSet<Vec<u8>> = leaves.map(|leaf| leaf.license).collect();
            assert_eq!(needs.licenses.iter().cloned().collect::<BTreeSet<_>>(), leaves);
            at = needs.range.end;
        }
        assert!(seen.is_sorted() && seen.len() == of_kind(&file, kind::MOOF).len());
        assert_eq!(BTreeSet::from_iter(seen).len(), 5);
    }
}

#[test]
fn a_key_that_is_missing_is_bound_in_the_middle() {
    let mut source = Periods::new(true, 0);
    let file = rotate(&forms()[0], &options(Scheme::Cenc), &mut source)
        .unwrap()
        .output;
    let wanted = clear(&file, all_keys(&source));
    let mut view = ClearView::open(Cursor::new(&file), RawKeys::new()).unwrap();
    let (mut read, mut bound) = (Vec::new(), Vec::new());
    while (read.len() as u64) < view.media().len() {
        match view.fill_buf() {
            Ok(bytes) => {
                let len = bytes.len();
                read.extend_from_slice(bytes);
                view.consume(len);
            }
            Err(error) => {
                let Some(ReadError::Key { kid, .. }) = ReadError::within(&error) else {
                    panic!("{error}");
                };
                let kid = *kid;
                // It was said before that this key would be needed.
                let at = view.stream_position().unwrap();
                assert_eq!(at, read.len() as u64);
                assert!(view.needs_at(at).unwrap().kids.contains(&kid));
                view.keys_mut().insert(kid, key_of(kid));
                bound.push(kid);
            }
        }
    }
    assert_eq!(bound.len(), 10);
    assert_eq!(read, wanted);
}

/// Late join, and seeking back: what a place needs is found there alone.
#[test]
fn one_may_begin_anywhere() {
    for scheme in [Scheme::Cenc, Scheme::Cbcs] {
        let mut source = Periods::new(false, 1);
        let file = rotate(&forms()[2], &options(scheme), &mut source).unwrap().output;
        let wanted = clear(&file, all_keys(&source));
        let len = file.len() as u64;
        for at in [len - 1, len / 2, len / 3, len * 3 / 4, len / 5] {
            let mut view = ClearView::open(Cursor::new(&file), RawKeys::new()).unwrap();
            let needs = view.needs_at(at).unwrap();
            assert!(needs.range.contains(&at));
            needs
                .kids
                .iter()
                .for_each(|kid| view.keys_mut().insert(*kid, key_of(*kid)));
            view.seek(SeekFrom::Start(at)).unwrap();
            let mut part = vec![0; (needs.range.end - at) as usize];
            view.read_exact(&mut part).unwrap();
            assert_eq!(part, wanted[at as usize..needs.range.end as usize]);
        }
    }
}

/// Two parts of one broadcast, packaged apart, have the same keys at the same times.
#[test]
fn periods_are_those_of_the_media_time() {
    let form = Fragmented {
        each: 20,
        ..Fragmented::new(vec![Lane::video(1, 225, 10)])
    };
    let file = form.to_bytes();
    let mut source = Periods::new(false, 0);
    let whole = rotate(&file, &options(Scheme::Cenc), &mut source).unwrap();
    // From the seventh fragment on, which begins at 4.8 s.
    let moofs = of_kind(&file, kind::MOOF);
    let late = [
        &file[..moofs[0].offset() as usize],
        &file[moofs[6].offset() as usize..],
    ]
    .concat();
    let late = rotate(&late, &options(Scheme::Cenc), &mut source).unwrap();
    assert_eq!(late.periods.as_ref().unwrap().first, FIRST + 2);
    let kids = |file: &[u8], skip: u64| {
        let mut media = LockedMedia::open(Cursor::new(file.to_vec())).unwrap();
        let (mut at, mut kids) = (media.needs_at(0).unwrap().range.end, Vec::new());
        while at < media.len() {
            let needs = media.needs_at(at).unwrap();
            kids.push(needs.kids);
            at = needs.range.end;
        }
        kids.split_off(skip as usize)
    };
    assert_eq!(kids(&whole.output, 6), kids(&late.output, 0));
}

#[test]
fn a_clear_lead_needs_no_key() {
    for (number, file) in forms().into_iter().enumerate() {
        let options = MediaOptions {
            clear_lead: Duration::from_secs(3),
            ..options(Scheme::Cenc)
        };
        let mut source = Periods::new(true, 1);
        let made = rotate(&file, &options, &mut source).unwrap();
        let (first, _) = source.asked[0];
        assert!(first > FIRST, "the first period passes in the lead");
        let mut media = LockedMedia::open(Cursor::new(&made.output)).unwrap();
        let begin = media.needs_at(0).unwrap().range.end;
        let lead = media.needs_at(begin).unwrap();
        assert!(lead.kids.is_empty() && lead.licenses.is_empty() && lead.content_header.is_none());
        let mut samples = samples(&clear(&made.output, all_keys(&source)));
        // The samples of the lead name the clear forms of the sample entries.
        for lane in lanes() {
            let found = samples.remove(&lane.id).unwrap();
            let found = found.iter().map(|(piece, ..)| &piece.bytes);
            let wrong = found
                .zip(&lane.pieces)
                .position(|(found, piece)| *found != piece.bytes);
            assert_eq!(wrong, None, "form {number}, track {}", lane.id);
        }
        let too_long = MediaOptions {
            clear_lead: Duration::from_secs(60),
            ..options
        };
        let refused = rotate(&file, &too_long, &mut source).unwrap_err();
        assert!(
            matches!(refused, PackagerError::Media(MediaError::NothingBehindLead(1))),
            "{refused}"
        );
    }
}

#[test]
fn without_licenses_the_movie_box_names_the_first_keys() {
    let mut source = Periods::new(true, 0);
    let playready = MediaOptions {
        playready_pssh: true,
        ..options(Scheme::Cenc)
    };
    let file = rotate(&forms()[1], &playready, &mut source).unwrap().output;
    let first = source.kids_of(FIRST);
    let named = [first.clone(), source.kids_of(FIRST + 1)].concat();
    let boxes = |home: &keyward_content::isobmff::BoxSpan<'_>| -> Vec<Pssh> {
        let found = home
            .children()
            .map(Result::unwrap)
            .filter(|child| child.kind() == kind::PSSH);
        found.map(|child| Pssh::parse(child.bytes()).unwrap()).collect()
    };
    for home in of_kind(&file, kind::MOOV)
        .iter()
        .chain(of_kind(&file, kind::MOOF).first())
    {
        let found = boxes(home);
        let systems: Vec<_> = found.iter().map(|pssh| pssh.system_id).collect();
        assert_eq!(
            systems,
            [SystemId::KEYWARD, SystemId::COMMON, SystemId::PLAYREADY]
        );
        assert_eq!(found[1].kids.as_ref(), Some(&first));
        for pssh in [&found[0], &found[2]] {
            let header = ContentHeader::read_object(&pssh.data).unwrap();
            assert_eq!(header.kids.len(), named.len());
            for (key, wanted) in header.kids.iter().zip(&named) {
                assert_eq!((key.kid, key.fits(&key_of(*wanted))), (*wanted, Some(true)));
            }
        }
    }
    // With roots, the movie box names them alone: no reader takes them for keys of samples.
    let mut source = Periods::new(true, 2);
    let file = rotate(&forms()[1], &options(Scheme::Cenc), &mut source)
        .unwrap()
        .output;
    let found = boxes(&of_kind(&file, kind::MOOV)[0]);
    assert!(found.len() == 1 && found[0].system_id == SystemId::KEYWARD);
}

/// The key ids that the content headers of the movie box and of the fragments name, each part with those of its
/// samples.
fn named_in(file: &[u8]) -> Vec<(Vec<Kid>, Vec<Kid>)> {
    let mut media = LockedMedia::open(Cursor::new(file)).unwrap();
    let (mut at, mut named) = (0, Vec::new());
    while at < media.len() {
        let needs = media.needs_at(at).unwrap();
        let header = ContentHeader::read_object(needs.content_header.as_ref().unwrap()).unwrap();
        named.push((needs.kids, header.kids.iter().map(|key| key.kid).collect()));
        at = needs.range.end;
    }
    named
}

/// So one response has both, and nobody has to ask at the switch.
#[test]
fn without_roots_headers_name_the_keys_of_the_next_period_as_well() {
    // How many periods are asked for at a time, one request behind the other.
    let batches: [(u64, bool, &[u64]); 5] = [
        (3, false, &[3, 3]),
        (2, false, &[2, 2, 2]),
        (1, true, &[1; 6]),
        (64, false, &[5, 1]),
        (64, true, &[6]),
    ];
    let mut files = BTreeSet::new();
    for (most, says_roots, asked) in batches {
        let mut source = Periods {
            most,
            says_roots,
            ..Periods::new(true, 0)
        };
        let made = rotate(&forms()[1], &options(Scheme::Cenc), &mut source).unwrap();
        let mut from = FIRST;
        for (request, count) in source.asked.iter().zip(asked) {
            assert_eq!(*request, (from, *count), "{most} at once");
            from += count;
        }
        assert_eq!((source.asked.len(), from), (asked.len(), FIRST + 6));
        let periods = made.periods.unwrap();
        assert_eq!((periods.first, periods.last), (FIRST, FIRST + 4));
        assert_samples(&clear(&made.output, all_keys(&source)), &lanes());
        files.insert(made.output);
    }
    // However they were asked for.
    assert_eq!(files.len(), 1);
    let source = Periods::new(true, 0);
    let named = named_in(&files.pop_first().unwrap());
    let (movie, fragments) = named.split_first().unwrap();
    assert_eq!(
        movie.1,
        [source.kids_of(FIRST), source.kids_of(FIRST + 1)].concat()
    );
    let mut seen = BTreeSet::new();
    for (own, named) in fragments {
        let of = |index: &u64| source.kids_of(*index).contains(&own[0]);
        let index = (FIRST..FIRST + 5).find(of).unwrap();
        assert_eq!(*named, [own.clone(), source.kids_of(index + 1)].concat());
        seen.insert(index);
    }
    assert_eq!(seen.len(), 5, "the last one too");
}

/// Fragments that are longer than a period skip some: the next one is that of the next fragment.
#[test]
fn the_next_period_is_the_one_that_comes_next_in_the_file() {
    let form = Fragmented {
        each: 75,
        ..Fragmented::new(vec![Lane::video(1, 225, 10)])
    };
    let mut source = Periods::new(false, 0);
    let file = rotate(&form.to_bytes(), &options(Scheme::Cbcs), &mut source).unwrap();
    let named: Vec<_> = { named_in(&file.output).into_iter() }
        .map(|(_, named)| named)
        .collect();
    let pair = |own, next| vec![kid(1, FIRST + own), kid(1, FIRST + next)];
    assert_eq!(named, [pair(0, 1), pair(0, 1), pair(1, 3), pair(3, 4)]);
}

#[test]
fn a_next_period_that_cannot_be_had_is_not_named() {
    for (most, says_roots) in [(64, true), (64, false), (3, false), (2, false)] {
        let mut source = Periods {
            most,
            says_roots,
            end: FIRST + 5,
            ..Periods::new(false, 0)
        };
        let made = rotate(&forms()[2], &options(Scheme::Cenc), &mut source).unwrap();
        assert_samples(&clear(&made.output, all_keys(&source)), &lanes());
        for (own, named) in named_in(&made.output).into_iter().skip(1) {
            let last = own == [kid(1, FIRST + 4)];
            assert_eq!(named.len(), if last { 1 } else { 2 });
            assert_eq!(named[0], own[0]);
        }
    }
    // What the media needs itself is needed.
    let mut source = Periods {
        end: FIRST + 4,
        ..Periods::new(false, 0)
    };
    let refused = rotate(&forms()[2], &options(Scheme::Cenc), &mut source).unwrap_err();
    assert!(matches!(refused, PackagerError::Exchange(_)), "{refused}");
}

#[test]
fn what_is_no_rotation_is_refused() {
    let refused = |options: &MediaOptions, bend: fn(&mut PeriodBatch)| {
        let mut source = Periods {
            bend,
            ..Periods::new(true, 1)
        };
        match rotate(&forms()[1], options, &mut source) {
            Err(PackagerError::Media(error)) => {
                assert!(!error.hint().is_empty());
                error
            }
            other => panic!("{other:?}"),
        }
    };
    let plain = options(Scheme::Cenc);
    let error = refused(&plain, |batch| drop(batch.periods.pop()));
    assert!(
        matches!(
            error,
            MediaError::OtherPeriods {
                first: FIRST,
                count: 3
            }
        ),
        "{error}"
    );
    let error = refused(&plain, |batch| batch.periods.swap(0, 1));
    assert!(matches!(error, MediaError::OtherPeriods { .. }), "{error}");
    let error = refused(&plain, |batch| batch.periods[2].keys.truncate(1));
    assert!(matches!(error, MediaError::NoKey { track: 2, .. }), "{error}");
    let error = refused(&plain, |batch| batch.periods[1].keys[0].kid = kid(2, FIRST));
    assert!(
        matches!(error, MediaError::KeyStays(stays) if stays == kid(2, FIRST)),
        "{error}"
    );
    let error = refused(&plain, |batch| {
        batch.periods[1].keys[0].kid = batch.periods[1].keys[1].kid;
    });
    assert!(matches!(error, MediaError::KeyConflict(_)), "{error}");
    let error = refused(&plain, |batch| batch.periods[0].leaves[0].license = vec![1, 2, 3]);
    assert!(matches!(error, MediaError::Riding(_)), "{error}");
    let error = refused(&plain, |batch| {
        batch.periods[0].leaves[0].license = vec![0; 20_000]
    });
    assert!(matches!(error, MediaError::Riding(_)), "{error}");
    let keyed = one_key(Scheme::Cenc);
    assert!(matches!(refused(&keyed, |_| {}), MediaError::KeysAndPeriods));
    // The period behind the last one is held against the same rules.
    let bends: [fn(&mut PeriodBatch); 3] = [
        |batch| batch.periods.retain(|period| period.index < FIRST + 5),
        |batch| {
            let behind = batch
                .periods
                .iter_mut()
                .filter(|period| period.index == FIRST + 5);
            behind.for_each(|period| period.keys[0].kid = kid(2, FIRST + 4));
        },
        |batch| {
            let behind = batch
                .periods
                .iter_mut()
                .filter(|period| period.index == FIRST + 5);
            behind.for_each(|period| period.keys.truncate(1));
        },
    ];
    for (bend, wanted) in bends.into_iter().zip(["OtherPeriods", "KeyStays", "NoKey"]) {
        for most in [3, 64] {
            let mut source = Periods {
                bend,
                most,
                ..Periods::new(true, 0)
            };
            match rotate(&forms()[1], &plain, &mut source) {
                Err(PackagerError::Media(error)) => {
                    assert!(format!("{error:?}").starts_with(wanted), "{error}")
                }
                other => panic!("{other:?}"),
            }
        }
    }
    let named = ContentKeyId {
        kid: kid(2, FIRST),
        key: KeySource::Raw(key_of(kid(2, FIRST))),
    };
    let named = MediaOptions {
        content_keys: vec![named],
        ..plain
    };
    assert!(matches!(refused(&named, |_| {}), MediaError::KeysAndPeriods));
}

#[test]
fn a_key_does_not_show() {
    let source = Periods::new(false, 0);
    let key = source.keys_of(FIRST).remove(0);
    let shown = format!(
        "{:?}",
        PeriodKeys {
            index: 0,
            keys: vec![key],
            leaves: Vec::new()
        }
    );
    let secret: &ContentKey = &key_of(kid(1, FIRST));
    assert!(
        !shown.contains(format!("{:?}", secret.expose()).trim_matches(['[', ']'])),
        "{shown}"
    );
}
