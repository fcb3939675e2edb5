//! Fragmented files keep their fragments, and every box that is not about places or protection.

use keyward_content::{
    cenc::Scheme,
    isobmff::{BoxKind, Node, SizeForm, kind},
};
use proptest::prelude::*;

use crate::{build::*, read::*};

fn lanes() -> Vec<Lane> {
    vec![Lane::video(1, 55, 10), Lane::audio(2, 55), Lane::text(7, 3)]
}

/// Forms in all of which the same samples stand.
fn forms() -> Vec<Fragmented> {
    let plain = Fragmented::new(lanes());
    let mut forms = Vec::new();
    for base in [Base::Moof, Base::Explicit, Base::Nothing] {
        forms.push(Fragmented {
            base,
            ..plain.clone()
        });
        forms.push(Fragmented {
            base,
            data: DataForm::Large,
            before: [boxed(b"styp", b"msdh\0\0\0\0"), full(b"emsg", 1, 0, &[7; 40])].concat(),
            between: boxed(b"free", &[6; 11]),
            random_access: true,
            ..plain.clone()
        });
        forms.push(Fragmented {
            base,
            decode_times: false,
            in_traf: boxed(b"kwxx", b"?"),
            ..plain.clone()
        });
        forms.push(Fragmented {
            base,
            each: 1,
            ..plain.clone()
        });
        forms.push(Fragmented {
            base,
            each: 1000,
            data: DataForm::ToEnd,
            ..plain.clone()
        });
    }
    forms
}

#[test]
fn every_form_gives_the_same_samples() {
    for (number, form) in forms().iter().enumerate() {
        let input = form.to_bytes();
        assert_samples(&input, &form.lanes);
        for scheme in Scheme::ALL {
            let made = protect(&input, &two_keys(scheme)).unwrap();
            assert_eq!(made.tracks[0].samples, 55, "form {number}");
            let file = made.output;
            assert_index(&file);
            assert_samples(&clear_view(&file), &form.lanes);
        }
    }
}

/// Boxes that are made anew or edited.
const EDITED: [keyward_content::isobmff::FourCc; 6] = [
    kind::FTYP,
    kind::MOOV,
    kind::SIDX,
    kind::MOOF,
    kind::MDAT,
    kind::MFRA,
];

#[test]
fn other_boxes_go_through_byte_for_byte() {
    for form in forms() {
        let input = form.to_bytes();
        let file = protect(&input, &one_key(Scheme::Cbcs)).unwrap().output;
        let clear = clear_view(&file);
        let others = |file: &[u8]| {
            let boxes = top_boxes(file).into_iter();
            let others = boxes.filter(|found| !EDITED.iter().any(|kind| found.kind() == *kind));
            others
                .map(|found| bytes_of(file, &found).to_vec())
                .collect::<Vec<_>>()
        };
        assert_eq!(others(&file), others(&input));
        // Clear again, the data is what it was, header and bytes that no sample names included.
        let data = |file: &[u8]| {
            let boxes = top_boxes(file)
                .into_iter()
                .filter(|found| found.kind() == kind::MDAT);
            boxes
                .map(|found| bytes_of(file, &found).to_vec())
                .collect::<Vec<_>>()
        };
        assert_eq!(data(&clear), data(&input));
        assert_ne!(data(&file), data(&input));
        assert_eq!(stripped_movie(&file), of_kind(&input, kind::MOOV)[0].bytes());
        assert_eq!(stripped_fragments(&file), stripped_fragments(&input));
    }
}

/// The movie box without protection.
fn stripped_movie(file: &[u8]) -> Vec<u8> {
    let movie = movie(file);
    let mut node = Node::from_span(&movie.span);
    node.children_mut()
        .unwrap()
        .retain(|child| child.kind() != kind::PSSH);
    for (trak, track) in traks(&mut node).zip(&movie.tracks) {
        let entries = trak
            .descend_mut(&[kind::MDIA, kind::MINF, kind::STBL, kind::STSD])
            .unwrap();
        for (node, entry) in entries.children_mut().unwrap().iter_mut().zip(&track.entries) {
            if let Some(protection) = entry.protection {
                node.set_kind(protection.original_format);
                let children = node.children_behind_mut(entry.fields_len.unwrap()).unwrap();
                children.retain(|child| child.kind() != kind::SINF);
            }
        }
    }
    node.to_vec()
}

fn traks<'n, 'a>(movie: &'n mut Node<'a>) -> impl Iterator<Item = &'n mut Node<'a>> {
    movie
        .children_mut()
        .unwrap()
        .iter_mut()
        .filter(|child| child.kind() == kind::TRAK)
}

/// What in fragments is neither about places nor about protection.
fn stripped_fragments(file: &[u8]) -> Vec<Vec<(BoxKind, Vec<u8>)>> {
    let moofs = of_kind(file, kind::MOOF);
    let stripped = moofs.iter().map(|moof| {
        let mut boxes = Vec::new();
        for child in moof.children().map(Result::unwrap) {
            if child.kind() != kind::TRAF {
                boxes.push((child.kind(), child.bytes().to_vec()));
                continue;
            }
            for child in child.children().map(Result::unwrap) {
                let placed = [kind::TFHD, kind::TRUN, kind::SAIZ, kind::SAIO, kind::SENC];
                if !placed.iter().any(|kind| child.kind() == *kind) {
                    boxes.push((child.kind(), child.bytes().to_vec()));
                }
            }
        }
        boxes
    });
    stripped.collect()
}

#[test]
fn an_index_of_the_input_is_replaced() {
    let old = full(
        b"sidx",
        0,
        0,
        &words(&[1, 1000, 0, 0, 1, 1000, 1000, 0x9000_0000]),
    );
    let behind_movie = [boxed(b"styp", b"msdh\0\0\0\0"), old.clone(), old.clone()].concat();
    let form = Fragmented {
        behind_movie,
        before: old,
        ..Fragmented::new(lanes())
    };
    let file = protect(&form.to_bytes(), &one_key(Scheme::Cenc)).unwrap().output;
    let index = assert_index(&file);
    let durations: Vec<_> = index
        .references
        .iter()
        .map(|reference| reference.duration)
        .collect();
    assert_eq!(durations, [5120, 5120, 5120, 5120, 5120, 2560]);
    assert!(index.references.iter().all(|reference| reference.starts_with_sap));
    assert_samples(&clear_view(&file), &form.lanes);
}

#[test]
fn random_access_points_to_the_fragments() {
    let form = Fragmented {
        random_access: true,
        ..Fragmented::new(lanes())
    };
    let file = protect(&form.to_bytes(), &one_key(Scheme::Cenc)).unwrap().output;
    let table = of_kind(&file, kind::MFRA)[0];
    let mut fields = table.need(kind::TFRA).unwrap().fields();
    fields.bytes(12).unwrap();
    let fragments = of_kind(&file, kind::MOOF);
    assert_eq!(fields.u32().unwrap() as usize, fragments.len());
    for fragment in fragments {
        fields.u32().unwrap();
        assert_eq!(u64::from(fields.u32().unwrap()), fragment.offset());
        assert_eq!(fields.bytes(3).unwrap(), [1, 1, 1]);
    }
    let mut size = table.need(kind::MFRO).unwrap().fields();
    size.version_and_flags().unwrap();
    assert_eq!(u64::from(size.u32().unwrap()), table.header().len);
    assert_eq!(file.len() as u64, table.offset() + table.header().len);
}

#[test]
fn auxiliary_information_is_where_readers_look() {
    for scheme in [Scheme::Cenc, Scheme::Cbcs] {
        let file = protect(&Fragmented::new(lanes()).to_bytes(), &one_key(scheme))
            .unwrap()
            .output;
        for fragment in fragments(&file) {
            for traf in &fragment.tracks {
                let senc = traf.span.child(kind::SENC).unwrap();
                let saio = traf.span.child(kind::SAIO).unwrap();
                let saiz = traf.span.child(kind::SAIZ).unwrap();
                match (traf.track_id, scheme) {
                    (7, _) => assert!(senc.is_none() && saio.is_none() && saiz.is_none()),
                    // A constant IV and no subsamples: there is nothing to say, and a box that says nothing
                    // keeps some players from reading the file.
                    (2, Scheme::Cbcs) => {
                        assert!(saio.is_none() && saiz.is_none());
                        assert_eq!(
                            senc.unwrap().body(),
                            [&[0; 4][..], &words(&[traf.sample_count()])].concat()
                        );
                    }
                    _ => {
                        let mut fields = saio.unwrap().fields();
                        fields.bytes(8).unwrap();
                        let at = u64::from(fields.u32().unwrap()) + fragment.span.offset();
                        assert_eq!(at, senc.unwrap().body_offset() + 8);
                        let mut fields = saiz.unwrap().fields();
                        fields.bytes(5).unwrap();
                        assert_eq!(fields.u32().unwrap(), traf.sample_count());
                    }
                }
            }
        }
    }
}

#[test]
fn offsets_of_other_auxiliary_information_are_moved() {
    // At the 3rd byte of `mdat`; the type says that it is not that of common encryption.
    let saiz = full(
        b"saiz",
        0,
        1,
        &[b"abcd", &[0; 4][..], &[4], &words(&[10])].concat(),
    );
    let at = |offset: u32| {
        full(
            b"saio",
            0,
            1,
            &[b"abcd", &[0; 4][..], &words(&[1, offset])].concat(),
        )
    };
    let bare = Fragmented {
        in_traf: [saiz.clone(), at(0)].concat(),
        ..Fragmented::new(vec![Lane::video(1, 10, 5)])
    };
    let len = of_kind(&bare.to_bytes(), kind::MOOF)[0].bytes().len() as u32;
    let form = Fragmented {
        in_traf: [saiz, at(len + 11)].concat(),
        ..bare
    };
    let file = protect(&form.to_bytes(), &one_key(Scheme::Cenc)).unwrap().output;
    let moof = of_kind(&file, kind::MOOF)[0];
    let found = moof
        .need(kind::TRAF)
        .unwrap()
        .children()
        .map(Result::unwrap)
        .find(|child| child.kind() == kind::SAIO);
    let len = moof.bytes().len() as u32;
    assert_eq!(found.unwrap().bytes(), at(len + 11));
}

#[test]
fn data_headers_keep_their_form() {
    for (form, expected) in [
        (DataForm::Compact, SizeForm::Compact),
        (DataForm::Large, SizeForm::Large),
        (DataForm::ToEnd, SizeForm::ToEnd),
    ] {
        let input = Fragmented {
            data: form,
            each: 100,
            ..Fragmented::new(lanes())
        };
        let file = protect(&input.to_bytes(), &one_key(Scheme::Cenc)).unwrap().output;
        assert_eq!(of_kind(&file, kind::MDAT)[0].header().form, expected);
    }
}

#[test]
fn a_brand_is_added_where_it_is_missing() {
    let form = Fragmented::new(lanes());
    let (input, old) = (form.to_bytes(), brands());
    let with = |brands: &[u8]| {
        protect(&[brands, &input[old.len()..]].concat(), &one_key(Scheme::Cenc))
            .unwrap()
            .output
    };
    let first = |file: &[u8]| bytes_of(file, &top_boxes(file)[0]).to_vec();
    assert_eq!(first(&with(&old)), boxed(b"ftyp", &[&old[8..], b"iso6"].concat()));
    assert_eq!(first(&with(&[])), boxed(b"ftyp", b"iso6\0\0\0\0iso6mp41"));
    for enough in [b"iso9\0\0\0\0mp42", b"mp42\0\0\0\0isoc"] {
        assert_eq!(first(&with(&boxed(b"ftyp", enough))), boxed(b"ftyp", enough));
    }
    // The version of the first brand is none.
    let version = with(&boxed(b"ftyp", b"mp42iso6mp41"));
    assert_eq!(first(&version), boxed(b"ftyp", b"mp42iso6mp41iso6"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_fragments_are_protected_and_read(
        counts in (1..60_usize, 0..60_usize, 0..4_usize),
        each in 1..40_usize,
        base in 0..3_usize,
        decode_times: bool,
        padding in 0..40_usize,
        scheme in 0..4_usize,
    ) {
        let lanes = vec![Lane::audio(3, counts.1), Lane::video(1, counts.0, 7), Lane::text(2, counts.2)];
        let base = [Base::Moof, Base::Explicit, Base::Nothing][base];
        let between = boxed(b"free", &vec![1; padding]);
        let form = Fragmented { each, base, decode_times, between, ..Fragmented::new(lanes) };
        let file = protect(&form.to_bytes(), &one_key(Scheme::ALL[scheme])).unwrap().output;
        assert_index(&file);
        assert_samples(&clear_view(&file), &form.lanes);
    }
}
