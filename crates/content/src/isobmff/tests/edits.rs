//! Edits of movies and fragments.

use keyward_license::ids::Kid;

use super::*;
use crate::cenc::{Iv, Pattern, Scheme, Subsample};

fn protection(scheme: Scheme) -> EntryProtection {
    EntryProtection {
        original_format: FourCc(*b"avc1"),
        scheme_type: FourCc(scheme.fourcc()),
        scheme_version: 0x1_0000,
        scheme: Some(scheme),
        default: Some(TrackEncryption {
            protected: true,
            pattern: if scheme.has_pattern() {
                Pattern::VIDEO
            } else {
                Pattern::NONE
            },
            iv_size: if scheme == Scheme::Cbcs { 0 } else { 8 },
            kid: Kid::new([0xaa; 16]),
            constant_iv: (scheme == Scheme::Cbcs).then(|| Iv::new(&[7; 16]).unwrap()),
        }),
    }
}

#[test]
fn a_sample_entry_becomes_a_protected_one() {
    for scheme in Scheme::ALL {
        let file = progressive();
        let movie = Movie::parse(&span(&file)).unwrap();
        let mut moov = Node::from_span(&span(&file));
        let trak = edit::track_mut(&mut moov, 1).unwrap();
        let first = movie.tracks[0].entries[0].span.offset();
        edit::protect_entries(trak, &movie.tracks[0], |entry| {
            (entry.span.offset() == first).then_some(protection(scheme))
        })
        .unwrap();
        let edited = moov.to_vec();
        let edited = Movie::parse(&span(&edited)).unwrap();
        let (before, after) = (&movie.tracks[0].entries, &edited.tracks[0].entries);
        assert_eq!(after[0].format, kind::ENCV);
        assert_eq!(after[0].coding(), Ok(FourCc(*b"avc1")));
        assert_eq!(after[0].protection, Some(protection(scheme)));
        assert_eq!(after[0].configuration(), before[0].configuration());
        let kept = before[0].span.bytes().len();
        assert_eq!(after[0].span.bytes()[8..kept], before[0].span.bytes()[8..]);
        assert_eq!(after[1].span.bytes(), before[1].span.bytes());
    }
}

#[test]
fn the_boxes_of_protection_are_these() {
    let cenc = protection(Scheme::Cenc).to_node().to_vec();
    let tenc = full(b"tenc", 0, 0, &[&[0, 0, 1, 8], &[0xaa; 16]]);
    let schm = full(b"schm", 0, 0, &[b"cenc", &words(&[0x1_0000])]);
    assert_eq!(
        cenc,
        bx(
            b"sinf",
            &[&bx(b"frma", &[b"avc1"]), &schm, &bx(b"schi", &[&tenc])]
        )
    );
    let cbcs = protection(Scheme::Cbcs).default.unwrap().to_node(true).to_vec();
    assert_eq!(
        cbcs,
        full(b"tenc", 1, 0, &[&[0, 0x19, 1, 0], &[0xaa; 16], &[16], &[7; 16]])
    );
}

#[test]
fn entries_are_not_protected_twice_nor_blindly() {
    let file = progressive();
    let movie = Movie::parse(&span(&file)).unwrap();
    let mut moov = Node::from_span(&span(&file));
    let trak = edit::track_mut(&mut moov, 1).unwrap();
    edit::protect_entries(trak, &movie.tracks[0], |_| Some(protection(Scheme::Cenc))).unwrap();
    let file = moov.to_vec();
    let movie = Movie::parse(&span(&file)).unwrap();
    let mut moov = Node::from_span(&span(&file));
    let trak = edit::track_mut(&mut moov, 1).unwrap();
    let error =
        edit::protect_entries(trak, &movie.tracks[0], |_| Some(protection(Scheme::Cenc))).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("encv cannot be edited: its samples are protected already"),
        "{error}"
    );

    let file = super::moov(&[&trak_of_text()]);
    let movie = Movie::parse(&span(&file)).unwrap();
    let mut moov = Node::from_span(&span(&file));
    let trak = edit::track_mut(&mut moov, 3).unwrap();
    let error =
        edit::protect_entries(trak, &movie.tracks[0], |_| Some(protection(Scheme::Cenc))).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("stpp cannot be edited: it is neither visual nor audio"),
        "{error}"
    );
    assert!(matches!(
        edit::track_mut(&mut moov, 4),
        Err(BoxError::UnknownTrack { id: 4, .. })
    ));
}

fn trak_of_text() -> Vec<u8> {
    trak(3, b"subt", &[&bx(b"stpp", &[&[0; 11]])], &five_samples())
}

#[test]
fn a_progressive_movie_becomes_a_fragmented_one() {
    let file = progressive();
    let before = Movie::parse(&span(&file)).unwrap();
    let defaults = TrackDefaults {
        track_id: 1,
        description_index: 1,
        duration: 2,
        size: 3,
        flags: SampleFlags::NOT_SYNC,
    };
    let mut moov = Node::from_span(&span(&file));
    edit::make_fragmented(&mut moov, &[defaults], before.duration).unwrap();
    let edited = moov.to_vec();
    let root = span(&edited);
    let after = Movie::parse(&root).unwrap();
    assert!(after.fragmented);
    assert_eq!((after.duration, after.fragment_duration), (0, Some(270)));
    assert_eq!(after.defaults.get(1), Some(&defaults));
    assert_eq!(after.tracks[0].duration, 0);
    assert_eq!(after.tracks[0].tables.samples(0).unwrap().count(), 0);
    let kinds = |span: &BoxSpan<'_>| {
        span.children()
            .map(|child| child.unwrap().kind().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(&root), ["mvhd", "trak", "mvex", "udta"]);
    assert_eq!(
        kinds(&after.tracks[0].stbl),
        ["stsd", "stts", "stsc", "stsz", "stco", "sgpd"]
    );
    assert_eq!(
        before.tracks[0].stbl.need(kind::STSD).unwrap().bytes(),
        after.tracks[0].stbl.need(kind::STSD).unwrap().bytes()
    );
    let tkhd = after.tracks[0].span.need(kind::TKHD).unwrap();
    assert_eq!(
        tkhd.body(),
        [&words(&[0, 0, 0, 1, 0, 0])[..], &words(&[0, 0])].concat()
    );

    let error = edit::make_fragmented(&mut Node::from_span(&root), &[defaults], 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "moov cannot be edited: it is fragmented already"
    );
}

#[test]
fn sample_entries_are_appended() {
    let file = progressive();
    let movie = Movie::parse(&span(&file)).unwrap();
    let mut moov = Node::from_span(&span(&file));
    let trak = edit::track_mut(&mut moov, 1).unwrap();
    let entries = &movie.tracks[0].entries;
    let more = entries.iter().map(|entry| Node::from_span(&entry.span));
    edit::append_entries(trak, more.collect()).unwrap();
    let edited = moov.to_vec();
    let edited = Movie::parse(&span(&edited)).unwrap();
    let bytes = |entries: &[SampleEntry<'_>]| {
        let bytes = entries.iter().map(|entry| entry.span.bytes().to_vec());
        bytes.collect::<Vec<_>>()
    };
    let expected = [bytes(entries), bytes(entries)].concat();
    assert_eq!(bytes(&edited.tracks[0].entries), expected);
}

#[test]
fn samples_of_a_fragment_become_those_of_another_entry() {
    for (flags, fields, expected) in [
        (0, &[5][..], &[5, 3][..]),
        (0x2, &[5, 1], &[5, 3]),
        (0x38, &[5, 512, 9, 7], &[5, 3, 512, 9, 7]),
        (0x3a, &[5, 2, 512, 9, 7], &[5, 3, 512, 9, 7]),
    ] {
        let of = |flags, fields| {
            let tfhd = full(b"tfhd", 0, flags, &[&words(fields)]);
            moof(&[bx(b"traf", &[&tfhd])])
        };
        let file = of(flags, fields);
        let mut moof = Node::from_span(&span(&file));
        edit::set_description_index(&mut moof, 0, 3).unwrap();
        assert_eq!(moof.to_vec(), of(flags | 0x2, expected), "{flags:x}");
        let missing = edit::set_description_index(&mut moof, 1, 3);
        assert!(matches!(missing, Err(BoxError::Edit { .. })));
    }
}

/// Two track fragments, the first with an explicit base, the second behind it; the data of the `moof` box at 1000
/// begins at 1600.
fn old_fragment() -> Vec<u8> {
    let first = [
        full(b"tfhd", 0, 0x1, &[&words(&[1, 0, 1500])]),
        full(b"trun", 0, 0x201, &[&words(&[1, 100, 10])]),
        full(b"trun", 0, 0x200, &[&words(&[1, 20])]),
        full(b"saio", 0, 1, &[b"else", &[0; 4], &words(&[1, 300])]),
    ];
    let second = [
        full(b"tfhd", 0, 0x2, &[&words(&[2, 1])]),
        full(b"trun", 0, 0x204, &[&words(&[2, 0x0200_0000, 7, 8])]),
    ];
    moof(&[bx(b"traf", &[&first.concat()]), bx(b"traf", &[&second.concat()])])
}

#[test]
fn positions_become_relative_to_the_fragment() {
    let file = old_fragment();
    let root = BoxSpan::parse(&file, 1000).unwrap();
    let before = Fragment::parse(&root, &defaults(&[1, 2])).unwrap();
    let forms: Vec<_> = before.tracks.iter().map(|track| track.base_form).collect();
    assert_eq!(forms, [BaseForm::Explicit, BaseForm::AfterPrevious]);
    let mut moof = Node::from_span(&root);
    edit::make_moof_relative(&mut moof, &before).unwrap();
    let relative = moof.to_vec();
    assert_eq!(relative.len(), file.len() - 8 + 4 + 4);
    let root = BoxSpan::parse(&relative, 1000).unwrap();
    let after = Fragment::parse(&root, &defaults(&[1, 2])).unwrap();
    for (old, new) in before.tracks.iter().zip(&after.tracks) {
        assert_eq!((new.base, new.base_form), (1000, BaseForm::Moof));
        assert!(old.samples(0).eq(new.samples(0)));
    }
    assert_eq!(places(after.tracks[0].samples(0)), [(1600, 10), (1610, 20)]);
    assert_eq!(places(after.tracks[1].samples(0)), [(1630, 7), (1637, 8)]);
    let saio = after.tracks[0].span.need(kind::SAIO).unwrap();
    assert_eq!(saio.body()[16..], 800_u32.to_be_bytes(), "1800, from 1000 on");

    // Elsewhere in another file, 50 bytes further from its data.
    let mut moof = Node::from_span(&root);
    edit::shift_data_offsets(&mut moof, 600, 50).unwrap();
    let shifted = moof.to_vec();
    let root = BoxSpan::parse(&shifted, 70_000).unwrap();
    let shifted = Fragment::parse(&root, &defaults(&[1, 2])).unwrap();
    assert_eq!(places(shifted.tracks[1].samples(0)), [(70_680, 7), (70_687, 8)]);
    let saio = shifted.tracks[0].span.need(kind::SAIO).unwrap();
    assert_eq!(saio.body()[16..], 850_u32.to_be_bytes());
}

#[test]
fn information_inside_of_a_fragment_is_not_moved_blindly() {
    let file = old_fragment();
    let root = BoxSpan::parse(&file, 1000).unwrap();
    let mut moof = Node::from_span(&root);
    let error = edit::shift_data_offsets(&mut moof, 301, 50).unwrap_err();
    assert!(
        matches!(
            error,
            BoxError::OutOfRange {
                what: "an offset",
                ..
            }
        ),
        "{error:?}"
    );
    for by in [i64::from(i32::MAX), i64::MAX, i64::MIN] {
        let mut moof = Node::from_span(&root);
        assert!(matches!(
            edit::shift_data_offsets(&mut moof, 0, by),
            Err(BoxError::OutOfRange { .. })
        ));
    }
}

/// Auxiliary information of two samples.
fn auxiliary() -> AuxiliaryBoxes {
    let mut boxes = AuxiliaryBoxes::new(true);
    let part = |clear, protected| Subsample { clear, protected };
    boxes.push(Some(&Iv::from_u64(1)), &[part(4, 3)]).unwrap();
    boxes
        .push(Some(&Iv::from_u64(2)), &[part(1, 0), part(2, 5)])
        .unwrap();
    boxes
}

#[test]
fn auxiliary_information_is_inserted_and_pointed_to() {
    let file = old_fragment();
    let root = BoxSpan::parse(&file, 1000).unwrap();
    let before = Fragment::parse(&root, &defaults(&[1, 2])).unwrap();
    let mut moof = Node::from_span(&root);
    edit::make_moof_relative(&mut moof, &before).unwrap();
    edit::append_auxiliary(&mut moof, 1, &auxiliary()).unwrap();
    let growth = i64::try_from(moof.encoded_len()).unwrap() - i64::try_from(file.len()).unwrap();
    edit::shift_data_offsets(&mut moof, file.len() as u64, growth).unwrap();
    edit::point_auxiliary(&mut moof).unwrap();
    let error = edit::append_auxiliary(&mut moof, 2, &auxiliary()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "moof cannot be edited: it has fewer track fragments"
    );

    let edited = moof.to_vec();
    let root = BoxSpan::parse(&edited, 1000).unwrap();
    let after = Fragment::parse(&root, &defaults(&[1, 2])).unwrap();
    let start = 1630 + u64::try_from(growth).unwrap();
    assert_eq!(places(after.tracks[1].samples(0)), [(start, 7), (start + 7, 8)]);
    let traf = after.tracks[1].span;
    let senc = traf.need(kind::SENC).unwrap();
    let saio = traf.need(kind::SAIO).unwrap();
    let offset = u32::from_be_bytes(saio.body()[8..].try_into().unwrap());
    assert_eq!(1000 + u64::from(offset), senc.body_offset() + 8);
    assert_eq!(
        traf.need(kind::SAIZ).unwrap().body(),
        [0, 0, 0, 0, 0, 0, 0, 0, 2, 16, 22]
    );
    let first = after.tracks[0].span.need(kind::SAIO).unwrap();
    assert_eq!(
        first.body()[16..],
        u32::try_from(800 + growth).unwrap().to_be_bytes(),
        "the other one moves with the data"
    );
}

#[test]
fn auxiliary_boxes_are_left_out_where_nobody_needs_them() {
    let kinds = |boxes: &AuxiliaryBoxes| {
        let nodes = boxes.to_nodes().unwrap();
        nodes
            .iter()
            .map(|node| node.kind().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(&auxiliary()), ["saiz", "saio", "senc"]);
    // A constant IV and no subsamples: one empty record a sample.
    let mut constant = AuxiliaryBoxes::new(false);
    constant.push(None, &[]).unwrap();
    constant.push(None, &[]).unwrap();
    assert_eq!(kinds(&constant), ["senc"]);
    assert_eq!(constant.to_nodes().unwrap()[0].to_vec(), table(b"senc", 0, &[2]));
    // A record too long for `saiz`.
    let mut long = AuxiliaryBoxes::new(true);
    long.push(
        None,
        &[Subsample {
            clear: 1,
            protected: 1,
        }; 43],
    )
    .unwrap();
    assert_eq!(kinds(&long), ["senc"]);
    // All of one size.
    let mut same = AuxiliaryBoxes::new(false);
    same.push(Some(&Iv::from_u64(1)), &[]).unwrap();
    same.push(Some(&Iv::from_u64(2)), &[]).unwrap();
    assert_eq!(
        same.to_nodes().unwrap()[0].to_vec(),
        full(b"saiz", 0, 0, &[&[8], &words(&[2])])
    );
    assert!(matches!(
        same.push(
            None,
            &[Subsample {
                clear: 1,
                protected: 1
            }]
        ),
        Err(BoxError::Edit { .. })
    ));
}

#[test]
fn a_new_fragment_says_the_same_of_its_samples() {
    let sample = |index, size, duration, composition_offset, flags| Sample {
        index,
        offset: 0,
        size,
        decode_time: 0,
        duration,
        composition_offset,
        flags,
        description_index: 2,
        chunk: 0,
    };
    let (sync, other) = (SampleFlags::SYNC, SampleFlags::NOT_SYNC);
    let runs: [&[Sample]; 6] = [
        &[sample(0, 10, 5, 0, sync), sample(1, 10, 5, 0, sync)],
        &[
            sample(0, 10, 5, 3, sync),
            sample(1, 20, 5, 0, other),
            sample(2, 30, 5, 6, other),
        ],
        &[
            sample(0, 10, 5, -3, sync),
            sample(1, 20, 6, 4, other),
            sample(2, 30, 5, 6, sync),
        ],
        &[sample(0, 10, 5, i64::from(u32::MAX), other)],
        &[sample(0, 0, 0, 0, SampleFlags(0))],
        &[],
    ];
    let tracks: Vec<_> = (1..)
        .zip(&runs)
        .map(|(track_id, samples)| NewTrackFragment {
            track_id,
            description_index: 2,
            decode_time: u64::from(track_id) << 33,
            data_start: u64::from(track_id) * 1000,
            samples,
        })
        .collect();
    let mut moof = new_fragment(9, &tracks).unwrap();
    let len = moof.encoded_len();
    edit::shift_data_offsets(&mut moof, len, i64::try_from(len).unwrap() + 8).unwrap();
    let bytes = moof.to_vec();
    let root = BoxSpan::parse(&bytes, 50).unwrap();
    let fragment = Fragment::parse(&root, &defaults(&[1, 2, 3, 4, 5, 6])).unwrap();
    assert_eq!((fragment.sequence, fragment.tracks.len()), (9, 6));
    for (written, read) in tracks.iter().zip(&fragment.tracks) {
        let mut offset = 50 + len + 8 + written.data_start;
        let mut decode_time = written.decode_time;
        assert_eq!(read.decode_time, Some(decode_time));
        let expected: Vec<_> = written
            .samples
            .iter()
            .map(|sample| {
                let placed = Sample {
                    offset,
                    decode_time,
                    ..*sample
                };
                offset += u64::from(sample.size);
                decode_time += u64::from(sample.duration);
                placed
            })
            .collect();
        let found: Vec<_> = read.samples(decode_time_of(read)).map(Result::unwrap).collect();
        assert_eq!(found, expected);
    }
}

fn decode_time_of(track: &TrackFragment<'_>) -> u64 {
    track.decode_time.unwrap_or_default()
}

#[test]
fn values_that_do_not_fit_a_fragment_are_refused() {
    let sample = Sample {
        index: 0,
        offset: 0,
        size: 1,
        decode_time: 0,
        duration: 1,
        composition_offset: 0,
        flags: SampleFlags::SYNC,
        description_index: 1,
        chunk: 0,
    };
    let at = |composition_offset| Sample {
        composition_offset,
        ..sample
    };
    for samples in [[at(1 << 32), at(0)], [at(-1), at(1 << 31)], [at(i64::MIN), at(0)]] {
        let track = NewTrackFragment {
            track_id: 1,
            description_index: 1,
            decode_time: 0,
            data_start: 0,
            samples: &samples,
        };
        assert!(matches!(
            new_fragment(1, &[track]),
            Err(BoxError::OutOfRange { .. })
        ));
    }
    let far = NewTrackFragment {
        track_id: 1,
        description_index: 1,
        decode_time: 0,
        data_start: 1 << 31,
        samples: &[sample],
    };
    assert!(matches!(
        new_fragment(1, &[far]),
        Err(BoxError::OutOfRange { .. })
    ));
}

#[test]
fn auxiliary_information_of_others_keeps_its_offset() {
    let file = old_fragment();
    let mut moof = Node::from_span(&BoxSpan::parse(&file, 1000).unwrap());
    edit::append_auxiliary(&mut moof, 0, &auxiliary()).unwrap();
    edit::append_auxiliary(&mut moof, 1, &auxiliary()).unwrap();
    edit::point_auxiliary(&mut moof).unwrap();
    let edited = moof.to_vec();
    let root = BoxSpan::parse(&edited, 0).unwrap();
    let mut ours = 0;
    for traf in root.children().map(Result::unwrap) {
        let boxes: Vec<_> = traf.children().map(Result::unwrap).collect();
        let senc = boxes.iter().find(|child| child.kind() == kind::SENC);
        for saio in boxes.iter().filter(|child| child.kind() == kind::SAIO) {
            let offset = u32::from_be_bytes(*saio.body().last_chunk().unwrap());
            if saio.body()[3] & 1 == 1 {
                assert_eq!(offset, 300);
            } else {
                assert_eq!(u64::from(offset), senc.unwrap().body_offset() + 8);
                ours += 1;
            }
        }
    }
    assert_eq!(ours, 2);
}

#[test]
fn a_group_of_a_fragment_is_read_as_it_was_written() {
    let iv = |len: usize| Some(Iv::new(&vec![7; len]).unwrap());
    for (pattern, iv_size, constant_iv, len) in [
        (Pattern::NONE, 8, None, 20),
        (Pattern::NONE, 16, None, 20),
        (Pattern::VIDEO, 0, iv(16), 37),
        (Pattern::NONE, 0, iv(8), 29),
    ] {
        let encryption = TrackEncryption {
            protected: true,
            pattern,
            iv_size,
            kid: Kid::new([3; 16]),
            constant_iv,
        };
        let file = old_fragment();
        let mut moof = Node::from_span(&BoxSpan::parse(&file, 1000).unwrap());
        edit::append_group(&mut moof, 1, &encryption, 2).unwrap();
        let pssh = Node::new(kind::PSSH, b"said".as_slice());
        edit::append_system_headers(&mut moof, vec![pssh]).unwrap();
        let error = edit::append_group(&mut moof, 2, &encryption, 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "moof cannot be edited: it has fewer track fragments"
        );

        let edited = moof.to_vec();
        let root = BoxSpan::parse(&edited, 1000).unwrap();
        assert_eq!(root.need(kind::PSSH).unwrap().body(), b"said");
        let after = Fragment::parse(&root, &defaults(&[1, 2])).unwrap();
        assert!(after.tracks[0].groups.descriptions().is_empty());
        assert_eq!(after.tracks[1].groups.descriptions(), [encryption]);
        let traf = after.tracks[1].span;
        // ISO/IEC 14496-12, 8.9.3 and 8.9.2: default length, number of entries; number of runs, one run.
        let sgpd = traf.need(kind::SGPD).unwrap();
        assert_eq!(
            sgpd.body()[..16],
            [&[1, 0, 0, 0], &b"seig"[..], &[0, 0, 0, len, 0, 0, 0, 1]].concat()
        );
        assert_eq!(sgpd.body().len(), 16 + usize::from(len));
        let sbgp = traf.need(kind::SBGP).unwrap();
        assert_eq!(
            sbgp.body(),
            [&[0; 4], &b"seig"[..], &words(&[1, 2, 0x1_0001])].concat()
        );
    }
}
