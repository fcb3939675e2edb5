//! Progressive files become fragmented ones with the same samples.

use core::time::Duration;

use keyward_content::{
    cenc::{Pattern, Scheme},
    header::{Algorithm, ContentHeader},
    isobmff::{FourCc, kind},
    pssh::{Pssh, SystemId},
};
use keyward_packager::{MediaOptions, ProtectedTrack, TrackKind, TrackSelector};
use proptest::prelude::*;

use crate::{build::*, read::*};

fn lanes() -> Vec<Lane> {
    vec![Lane::video(1, 200, 25), Lane::audio(2, 380), Lane::text(7, 8)]
}

#[test]
fn every_form_gives_the_same_samples() {
    let plain = Progressive::new(lanes());
    let forms = [
        plain.clone(),
        Progressive {
            movie_first: true,
            ..plain.clone()
        },
        Progressive {
            data: DataForm::Large,
            ..plain.clone()
        },
        Progressive {
            data: DataForm::ToEnd,
            movie_first: true,
            ..plain.clone()
        },
        Progressive {
            split: true,
            ..plain.clone()
        },
        Progressive {
            split: true,
            data: DataForm::Large,
            movie_first: true,
            ..plain.clone()
        },
        Progressive {
            long_offsets: true,
            ..plain.clone()
        },
        Progressive {
            short_sizes: true,
            ..plain.clone()
        },
        Progressive {
            chunk: 1,
            ..plain.clone()
        },
        Progressive {
            chunk: 1000,
            ..plain.clone()
        },
        Progressive {
            front: Vec::new(),
            ..plain.clone()
        },
        Progressive {
            front: [boxed(b"free", &[1; 9]), brands()].concat(),
            ..plain
        },
    ];
    for (number, form) in forms.iter().enumerate() {
        for scheme in Scheme::ALL {
            let made = protect(&form.to_bytes(), &two_keys(scheme)).unwrap();
            let file = made.output;
            assert_eq!(made.protected_len, file.len() as u64);
            assert_eq!(made.clear_len, form.to_bytes().len() as u64);
            assert!(top_boxes(&file)[0].kind() == kind::FTYP, "form {number}");
            assert_index(&file);
            assert_samples(&clear_view(&file), &form.lanes);
        }
    }
}

#[test]
fn data_in_front_of_the_brands_is_found() {
    let form = Progressive {
        front: Vec::new(),
        ..Progressive::new(lanes())
    };
    let file = [form.to_bytes(), brands()].concat();
    let made = protect(&file, &one_key(Scheme::Cenc)).unwrap().output;
    assert!(top_boxes(&made)[0].kind() == kind::FTYP);
    assert_samples(&clear_view(&made), &form.lanes);
}

#[test]
fn a_movie_box_that_reaches_to_the_end_gets_a_size() {
    let form = Progressive::new(lanes());
    let mut file = form.to_bytes();
    let start = of_kind(&file, kind::MOOV)[0].offset() as usize;
    file[start..start + 4].fill(0);
    let made = protect(&file, &one_key(Scheme::Cbcs)).unwrap().output;
    assert_samples(&clear_view(&made), &form.lanes);
}

#[test]
fn what_was_protected_is_told() {
    let made = protect(&Progressive::new(lanes()).to_bytes(), &two_keys(Scheme::Cenc)).unwrap();
    let track = |id, kind, codec, kid, samples| ProtectedTrack {
        id,
        kind,
        codec: FourCc(codec),
        kid,
        samples,
    };
    let expected = [
        track(1, TrackKind::Video, *b"avc1", VIDEO_KID, 200),
        track(2, TrackKind::Audio, *b"mp4a", AUDIO_KID, 380),
    ];
    assert_eq!(made.tracks, expected);
}

#[test]
fn video_without_subsamples_has_no_pattern() {
    let lane = Lane {
        entries: vec![entry_of_vp8()],
        ..Lane::video(1, 50, 25)
    };
    let form = Progressive::new(vec![lane]);
    for scheme in Scheme::ALL {
        let file = protect(&form.to_bytes(), &one_key(scheme)).unwrap().output;
        assert_eq!(pattern(&file), Pattern::NONE, "{scheme}");
        for moof in of_kind(&file, kind::MOOF) {
            let senc = moof.need(kind::TRAF).unwrap().need(kind::SENC).unwrap();
            assert_eq!(senc.body()[..4], [0; 4], "{scheme}: subsamples");
        }
        assert_samples(&clear_view(&file), &form.lanes);
    }
}

/// What has no subsamples becomes one where others have some: a count of zero may mean either.
#[test]
fn whole_samples_beside_others_are_one_subsample() {
    let mut lane = Lane::video(1, 50, 25);
    lane.entries.push(entry_of_vp8());
    for piece in lane.pieces.iter_mut().skip(25) {
        piece.description = 2;
    }
    let whole = u32::try_from(lane.pieces[25].bytes.len()).unwrap();
    let form = Progressive::new(vec![lane]);
    for scheme in Scheme::ALL {
        let file = protect(&form.to_bytes(), &one_key(scheme)).unwrap().output;
        let moof = of_kind(&file, kind::MOOF).pop().unwrap();
        let senc = moof.need(kind::TRAF).unwrap().need(kind::SENC).unwrap();
        let iv = match scheme {
            Scheme::Cbcs => 0,
            Scheme::Cbc1 => 16,
            _ => 8,
        };
        let expected = [&[0, 1, 0, 0], &whole.to_be_bytes()[..]].concat();
        assert_eq!(senc.body()[8 + iv..][..8], expected, "{scheme}");
        assert_samples(&clear_view(&file), &form.lanes);
    }
}

/// 8 s in fragments of 2 s: with a clear lead of 3 s, two of them are clear.
#[test]
fn a_clear_lead_is_of_the_clear_sample_entries() {
    let fragmented = Fragmented {
        each: 50,
        ..Fragmented::new(vec![Lane::video(1, 200, 25)])
    };
    let progressive = Progressive::new(vec![
        Lane::video(1, 200, 50),
        Lane::audio(2, 380),
        Lane::text(7, 8),
    ]);
    for scheme in Scheme::ALL {
        let options = MediaOptions {
            clear_lead: Duration::from_secs(3),
            ..two_keys(scheme)
        };
        for (file, lanes) in [
            (progressive.to_bytes(), &progressive.lanes),
            (fragmented.to_bytes(), &fragmented.lanes),
        ] {
            let made = protect(&file, &options).unwrap().output;
            let movie = movie(&made);
            let formats = movie.tracks[0].entries.iter().map(|entry| entry.format.0);
            assert_eq!(formats.collect::<Vec<_>>(), [*b"encv", *b"avc1"]);
            let entries: Vec<Vec<u32>> = fragments(&made)
                .iter()
                .map(|fragment| {
                    let protected = fragment.tracks.iter().filter(|traf| traf.track_id < 7);
                    protected.map(|traf| traf.description_index).collect()
                })
                .collect();
            let of = |entry: u32| vec![entry; lanes.len().min(2)];
            assert_eq!(entries, [of(2), of(2), of(1), of(1)], "{scheme}");
            let clear = lanes[0].pieces[0].bytes.as_slice();
            assert!(made.windows(clear.len()).any(|bytes| bytes == clear));
            assert_index(&made);
            let found = samples(&clear_view(&made));
            for lane in lanes {
                let found = found[&lane.id].iter().map(|(piece, ..)| &piece.bytes);
                assert!(found.eq(lane.pieces.iter().map(|piece| &piece.bytes)), "{scheme}");
            }
        }
    }
}

#[test]
fn a_clear_lead_shall_leave_something() {
    let file = Progressive::new(vec![Lane::video(1, 200, 50), Lane::audio(2, 380)]).to_bytes();
    for (seconds, is_protected) in [(5, true), (6, true), (7, false), (u64::MAX, false)] {
        let options = MediaOptions {
            clear_lead: Duration::from_secs(seconds),
            ..one_key(Scheme::Cenc)
        };
        let made = protect(&file, &options);
        assert_eq!(made.is_ok(), is_protected, "{seconds}");
        if let Err(refused) = made {
            let words = "the clear lead covers all of track 1: nothing of it would be protected";
            assert_eq!(refused.to_string(), words);
            assert!(!refused.hint().is_empty());
        }
    }
}

fn pattern(file: &[u8]) -> Pattern {
    let protection = movie(file).tracks[0].entries[0].protection.unwrap();
    protection.default.unwrap().pattern
}

#[test]
fn fragments_begin_at_sync_samples_two_seconds_apart() {
    // A sync sample every 0.6 s: the first one 2 s or more behind the last cut is 2.4 s behind it.
    let file = Progressive::new(vec![Lane::audio(2, 380), Lane::video(1, 200, 15)]).to_bytes();
    let file = clear_view(&protect(&file, &one_key(Scheme::Cenc)).unwrap().output);
    let index = assert_index(&file);
    assert_eq!((index.reference_id, index.timescale), (1, 12_800));
    let durations: Vec<_> = index
        .references
        .iter()
        .map(|reference| reference.duration)
        .collect();
    assert_eq!(durations, [60 * 512, 60 * 512, 60 * 512, 20 * 512]);
    assert!(
        index
            .references
            .iter()
            .all(|reference| reference.starts_with_sap && reference.sap_type == 1)
    );
    for (number, fragment) in (0_u32..).zip(fragments(&file)) {
        assert_eq!(fragment.sequence, number + 1);
        let [audio, video] = &fragment.tracks[..] else {
            panic!("two tracks")
        };
        assert!(video.samples(0).next().unwrap().unwrap().is_sync());
        // Audio that is decoded before the cut comes before it.
        let cut = video.decode_time.unwrap();
        let audio = audio.decode_time.unwrap();
        assert!(audio * 12_800 >= cut * 48_000 && audio.saturating_sub(1024) * 12_800 <= cut * 48_000);
    }
}

#[test]
fn audio_alone_and_audio_behind_the_video_are_cut_by_time() {
    for lanes in [
        vec![Lane::audio(2, 380)],
        vec![Lane::video(1, 10, 10), Lane::audio(2, 380)],
    ] {
        let file = protect(
            &Progressive::new(lanes.clone()).to_bytes(),
            &one_key(Scheme::Cbcs),
        )
        .unwrap()
        .output;
        assert_index(&file);
        let clear = clear_view(&file);
        assert_samples(&clear, &lanes);
        let of_audio = fragments(&clear)
            .iter()
            .map(|found| found.tracks.last().unwrap().sample_count())
            .max();
        assert_eq!(of_audio, Some(if lanes.len() == 1 { 94 } else { 188 }));
    }
}

#[test]
fn another_sample_entry_begins_another_fragment() {
    let mut lanes = lanes();
    lanes[1].entries.push(entry_of_audio(b"ac-3"));
    lanes[1].pieces[100..250]
        .iter_mut()
        .for_each(|piece| piece.description = 2);
    let file = protect(
        &Progressive::new(lanes.clone()).to_bytes(),
        &one_key(Scheme::Cenc),
    )
    .unwrap()
    .output;
    assert_index(&file);
    for entry in &movie(&file).track(2).unwrap().entries {
        assert_eq!(entry.format, kind::ENCA);
        assert!(entry.protection.is_some());
    }
    assert_samples(&clear_view(&file), &lanes);
}

#[test]
fn one_sync_sample_does_not_make_one_fragment() {
    // All tracks share what a fragment may hold.
    let mut lanes = vec![Lane::video(1, 3000, usize::MAX)];
    lanes.extend((2..=16).map(|id| Lane::text(id, 0)));
    let form = Progressive::new(lanes);
    let file = protect(&form.to_bytes(), &one_key(Scheme::Cenc)).unwrap().output;
    let index = assert_index(&file);
    assert_eq!(index.references.len(), 2);
    assert_eq!(index.references[0].duration, 2048 * 512);
    assert!(index.references[0].starts_with_sap && !index.references[1].starts_with_sap);
    assert_samples(&clear_view(&file), &form.lanes);
}

#[test]
fn what_describes_the_movie_stays() {
    let mut lanes = lanes();
    let edits = full(b"elst", 0, 0, &words(&[1, 8000, 1024, 0x1_0000]));
    lanes[0].boxes.push(boxed(b"edts", &edits));
    lanes[0].boxes.push(boxed(b"tref", &boxed(b"chap", &words(&[7]))));
    for (at, piece) in lanes[0].pieces.iter_mut().enumerate() {
        piece.composition = [1024, 2048, 512, 512][at % 4];
    }
    let in_movie = [
        boxed(b"udta", &boxed(b"name", b"a film")),
        boxed(b"kwxx", b"unknown"),
    ]
    .concat();
    let other = boxed(b"uuid", &[9; 40]);
    let form = Progressive {
        in_movie,
        front: [brands(), other.clone()].concat(),
        ..Progressive::new(lanes)
    };
    let file = protect(&form.to_bytes(), &one_key(Scheme::Cenc)).unwrap().output;
    let has = |bytes: &[u8]| file.windows(bytes.len()).any(|window| window == bytes);
    for kept in form.lanes[0].boxes.iter().chain([&form.in_movie, &other]) {
        assert!(has(kept));
    }
    assert_samples(&clear_view(&file), &form.lanes);
    // The edit list begins 1024 behind the first decoding time.
    let index = assert_index(&file);
    assert_eq!(index.earliest_presentation_time, 0);
    assert_eq!(movie(&file).fragment_duration, Some(8106));
    assert!(movie(&file).tracks.iter().all(|track| track.tables.count() == 0));
}

#[test]
fn negative_composition_offsets_and_delays_are_told() {
    let mut lanes = vec![Lane::video(1, 50, 25)];
    for (at, piece) in lanes[0].pieces.iter_mut().enumerate() {
        piece.composition = [0, 512, -512][at % 3];
    }
    let delay = full(
        b"elst",
        0,
        0,
        &words(&[2, 500, u32::MAX, 0x1_0000, 2000, 0, 0x1_0000]),
    );
    lanes[0].boxes.push(boxed(b"edts", &delay));
    let file = protect(
        &Progressive::new(lanes.clone()).to_bytes(),
        &one_key(Scheme::Cbcs),
    )
    .unwrap()
    .output;
    assert_samples(&clear_view(&file), &lanes);
    assert_eq!(assert_index(&file).earliest_presentation_time, 6400);
}

#[test]
fn tables_of_samples_go_along() {
    let mut lanes = vec![Lane::video(1, 100, 50)];
    let groups = full(
        b"sgpd",
        1,
        0,
        &[b"roll", &words(&[2, 1])[..], &[0xff, 0xff]].concat(),
    );
    let map = full(
        b"sbgp",
        0,
        0,
        &[b"roll", &words(&[3, 40, 1, 20, 0, 30, 1])[..]].concat(),
    );
    let parts = full(
        b"subs",
        0,
        3,
        &[
            words(&[2, 10]),
            vec![0, 1, 0, 9, 1, 2, 3, 4, 5, 6],
            words(&[50]),
            vec![0, 0],
        ]
        .concat(),
    );
    let dependencies = (0..100)
        .map(|at| if at % 50 == 0 { 0x24 } else { 0x18 })
        .collect::<Vec<u8>>();
    let priorities: Vec<u8> = (0..100_u16).flat_map(u16::to_be_bytes).collect();
    lanes[0].tables = vec![
        groups.clone(),
        map,
        parts,
        full(b"sdtp", 0, 0, &dependencies),
        full(b"stdp", 0, 0, &priorities),
        full(b"padb", 0, 0, &[words(&[100]), vec![0x53; 50]].concat()),
        full(b"cslg", 0, 0, &words(&[0, 1, 2, 3, 4])),
    ];
    let file = protect(
        &Progressive::new(lanes.clone()).to_bytes(),
        &one_key(Scheme::Cenc),
    )
    .unwrap()
    .output;
    let clear = clear_view(&file);
    assert_samples(&clear, &lanes);
    for (at, (_, _, flags)) in samples(&clear)[&1].iter().enumerate() {
        let other = u32::from(at % 50 != 0);
        let padding = if at % 2 == 0 { 5 } else { 3 };
        let expected = u32::from(dependencies[at]) << 20 | padding << 17 | other << 16 | at as u32;
        assert_eq!(*flags, expected, "sample {at}");
    }
    let track = movie(&file).tracks[0].clone();
    assert_eq!(track.stbl.child(kind::SGPD).unwrap().unwrap().bytes(), groups);
    let properties = movie(&file)
        .span
        .need(kind::MVEX)
        .unwrap()
        .need(FourCc(*b"trep"))
        .unwrap();
    assert_eq!(
        properties.body()[8..],
        full(b"cslg", 0, 0, &words(&[0, 1, 2, 3, 4]))
    );
    let in_traf = |kind| {
        let boxes = of_kind(&file, kind::MOOF).into_iter();
        boxes
            .map(move |moof| {
                moof.need(kind::TRAF)
                    .unwrap()
                    .child(kind)
                    .unwrap()
                    .map(|found| found.body()[4..].to_vec())
            })
            .collect::<Vec<_>>()
    };
    let map = |runs: &[u32]| Some([b"roll", &words(&[runs.len() as u32 / 2])[..], &words(runs)].concat());
    assert_eq!(in_traf(kind::SBGP), [map(&[40, 1, 10, 0]), map(&[10, 0, 30, 1])]);
    let first = [words(&[1, 10]), vec![0, 1, 0, 9, 1, 2, 3, 4, 5, 6]].concat();
    let second = [words(&[1, 10]), vec![0, 0]].concat();
    assert_eq!(in_traf(kind::SUBS), [Some(first), Some(second)]);
}

#[test]
fn the_content_header_names_keys_and_server() {
    for (scheme, algorithm) in [
        (Scheme::Cenc, Algorithm::AesCtr),
        (Scheme::Cbcs, Algorithm::AesCbc),
    ] {
        let mut options = two_keys(scheme);
        options.license_url = Some("https://license.example/".into());
        options.license_ui_url = Some("https://shop.example/".into());
        options.custom_attributes = Some("<a>1</a>".into());
        options.domain_service_id = Some([5; 16]);
        let systems = |playready: bool| {
            let mut options = two_keys(scheme);
            options.playready_pssh = playready;
            let file = protect(&Progressive::new(lanes()).to_bytes(), &options)
                .unwrap()
                .output;
            system_headers(&file)
                .iter()
                .map(|header| header.system_id)
                .collect::<Vec<_>>()
        };
        assert_eq!(systems(false), [SystemId::KEYWARD, SystemId::COMMON]);
        assert_eq!(
            systems(true),
            [SystemId::KEYWARD, SystemId::COMMON, SystemId::PLAYREADY]
        );
        let file = protect(&Progressive::new(lanes()).to_bytes(), &options)
            .unwrap()
            .output;
        let headers = system_headers(&file);
        assert_eq!(headers[1].kids, Some(vec![VIDEO_KID, AUDIO_KID]));
        let header = ContentHeader::read_object(&headers[0].data).unwrap();
        assert_eq!(header.license_url.as_deref(), Some("https://license.example/"));
        assert_eq!(header.license_ui_url.as_deref(), Some("https://shop.example/"));
        assert_eq!(header.custom_attributes.as_deref(), Some("<a>1</a>"));
        assert_eq!(header.domain_service_id, Some([5; 16]));
        for (key, kid) in header.kids.iter().zip([VIDEO_KID, AUDIO_KID]) {
            assert_eq!((key.kid, key.algorithm), (kid, Some(algorithm)));
            assert_eq!(key.fits(&key_of(kid)), (scheme == Scheme::Cenc).then_some(true));
        }
    }
}

fn system_headers(file: &[u8]) -> Vec<Pssh> {
    let movie = of_kind(file, kind::MOOV)[0];
    let boxes = movie
        .children()
        .map(Result::unwrap)
        .filter(|child| child.kind() == kind::PSSH);
    boxes.map(|child| Pssh::parse(child.bytes()).unwrap()).collect()
}

#[test]
fn keys_are_selected_in_order() {
    let mut lanes = lanes();
    lanes.push(Lane::audio(3, 20));
    let mut options = two_keys(Scheme::Cenc);
    options.keys.insert(0, track_key(TrackSelector::Id(3), VIDEO_KID));
    let made = protect(&Progressive::new(lanes.clone()).to_bytes(), &options).unwrap();
    let kids: Vec<_> = made.tracks.iter().map(|track| (track.id, track.kid)).collect();
    assert_eq!(kids, [(1, VIDEO_KID), (2, AUDIO_KID), (3, VIDEO_KID)]);
    assert_samples(&clear_view(&made.output), &lanes);
}

/// IVs of each track, in order.
fn ivs(file: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let movie = movie(file);
    let mut ivs = Vec::new();
    for track in &movie.tracks {
        let encryption = track.entries[0]
            .protection
            .and_then(|protection| protection.default);
        ivs.extend(
            encryption
                .and_then(|found| found.constant_iv)
                .map(|iv| (track.id, iv.as_bytes().to_vec())),
        );
    }
    for traf in fragments(file)
        .iter()
        .flat_map(|fragment| fragment.tracks.clone())
    {
        let Some(senc) = traf.span.child(kind::SENC).unwrap() else {
            continue;
        };
        let mut fields = senc.fields();
        let (_, flags) = fields.version_and_flags().unwrap();
        let protection = movie.track(traf.track_id).unwrap().entries[0].protection.unwrap();
        let iv_size = usize::from(protection.default.unwrap().iv_size);
        for _ in 0..fields.u32().unwrap() {
            if iv_size > 0 {
                ivs.push((traf.track_id, fields.bytes(iv_size).unwrap().to_vec()));
            }
            if flags & 2 != 0 {
                let count = fields.u16().unwrap();
                fields.bytes(usize::from(count) * 6).unwrap();
            }
        }
    }
    ivs
}

#[test]
fn no_iv_serves_twice() {
    let lanes = vec![Lane::video(1, 60, 10), Lane::audio(2, 100), Lane::audio(3, 100)];
    let file = Progressive::new(lanes).to_bytes();
    for (scheme, count) in [
        (Scheme::Cenc, 260),
        (Scheme::Cens, 260),
        (Scheme::Cbc1, 260),
        (Scheme::Cbcs, 3),
    ] {
        let ivs = ivs(&protect(&file, &one_key(scheme)).unwrap().output);
        assert_eq!(ivs.len(), count, "{scheme}");
        let mut bytes: Vec<_> = ivs.into_iter().map(|(_, iv)| iv).collect();
        bytes.sort();
        bytes.dedup();
        assert_eq!(bytes.len(), count, "{scheme}");
    }
}

prop_compose! {
    fn any_video()(count in 1..90_usize, distance in 1..40_usize, seed: u8) -> Lane {
        let mut lane = Lane::video(1, count, distance);
        for (at, piece) in lane.pieces.iter_mut().enumerate() {
            let composition = [0, 1024, 512, -300][(at + usize::from(seed)) % 4];
            let len = 8 + (at * 7919 + usize::from(seed) * 31) % 1500;
            *piece = Piece { composition, ..Piece::video(len, piece.sync, seed) };
        }
        lane
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_tracks_are_protected_and_read(
        video in any_video(),
        audio in 0..200_usize,
        text in 0..5_usize,
        chunk in 1..30_usize,
        movie_first: bool,
        split: bool,
        scheme in 0..4_usize,
        target in 0..5000_u64,
    ) {
        let lanes = vec![Lane::text(9, text), video, Lane::audio(2, audio)];
        let form = Progressive { chunk, movie_first, split, ..Progressive::new(lanes) };
        let mut options = one_key(Scheme::ALL[scheme]);
        options.fragment_duration = Duration::from_millis(target);
        let file = protect(&form.to_bytes(), &options).unwrap().output;
        assert_index(&file);
        let clear = clear_view(&file);
        assert_samples(&clear, &form.lanes);
        // Nothing of a track but its short samples went through as it was.
        let clear_data: Vec<_> = of_kind(&clear, kind::MDAT).iter().map(|data| data.body()).collect();
        let data: Vec<_> = of_kind(&file, kind::MDAT).iter().map(|data| data.body()).collect();
        prop_assert!(data != clear_data || audio == 0);
    }
}
