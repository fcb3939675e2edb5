//! Generated trees, and bytes that were changed at random.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

const CONTAINERS: [&[u8; 4]; 5] = [b"moov", b"trak", b"mdia", b"moof", b"traf"];

/// A box, its header in any form that may stand before others.
fn any_header(kind: &[u8; 4], form: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap();
    match form {
        0 => bx(kind, &[body]),
        1 => [&words(&[1])[..], kind, &words(&[0, len + 16]), body].concat(),
        2 => bx(b"uuid", &[&[form; 16], body]),
        _ => [
            &words(&[1])[..],
            b"uuid",
            &words(&[0, len + 32]),
            &[form; 16],
            body,
        ]
        .concat(),
    }
}

fn any_tree() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..20);
    let leaf = (0_u8..4, body).prop_map(|(form, body)| any_header(b"leaf", form, &body));
    let inner = leaf.prop_recursive(5, 40, 6, |child| {
        let children = prop::collection::vec(child, 0..6);
        (
            prop::sample::select(&CONTAINERS[..]),
            0_u8..2,
            children,
            0_usize..8,
        )
            .prop_map(|(kind, form, children, padding)| {
                any_header(kind, form, &[children.concat(), vec![0; padding]].concat())
            })
    });
    prop::collection::vec(inner, 0..6)
        .prop_map(|children| bx(b"moov", &[&children.concat(), &bx(b"leaf", &[b"!"])]))
}

/// The leaves of an opened tree, in order.
fn leaves<'n, 'a>(node: &'n mut Node<'a>, out: &mut Vec<&'n mut Node<'a>>) {
    if node.kind() == FourCc(*b"leaf") || matches!(node.kind(), BoxKind::Uuid(_)) {
        out.push(node);
        return;
    }
    for child in node.children_mut().unwrap() {
        leaves(child, out);
    }
}

/// For results that only must not panic on their way.
fn ignore<T>(_: T) {}

/// Reads everything that can be read of a file, and counts the samples whose protection was found.
fn read_all(file: &[u8]) -> Result<usize, BoxError> {
    let mut known = 0;
    let mut movie_bytes = None;
    let mut fragments = vec![];
    for found in TopBoxes::new(Cursor::new(file)).unwrap() {
        let Ok(found) = found else { break };
        let bytes = found.read(&mut Cursor::new(file), 1 << 20).unwrap();
        match found.kind().fourcc() {
            kind::MOOV => movie_bytes = Some((found.offset, bytes)),
            kind::MOOF => fragments.push((found.offset, bytes)),
            kind::SIDX => ignore(SegmentIndex::parse(&BoxSpan::parse(&bytes, 0)?)),
            kind::MFRA => ignore(move_fragments(
                &mut Node::from_span(&BoxSpan::parse(&bytes, 0)?),
                Some,
            )),
            _ => {}
        }
    }
    let Some((offset, bytes)) = movie_bytes else {
        return Ok(known);
    };
    let root = BoxSpan::parse(&bytes, offset)?;
    let mut tree = Node::from_span(&root);
    if tree.open_all().is_ok() {
        assert_eq!(tree.to_vec(), bytes);
    }
    ignore(edit::make_fragmented(&mut tree, &[], 0));
    let movie = Movie::parse(&root)?;
    ignore(clear_movie(&movie, |_| true));
    let file_len = file.len() as u64;
    for track in &movie.tracks {
        for entry in &track.entries {
            ignore((entry.coding(), entry.configuration()));
        }
        let protection = TrackProtection::of(track);
        if let (Ok(mut cursor), Ok(samples)) = (
            ProtectionCursor::of_track(track, &protection),
            track.tables.samples(file_len),
        ) {
            known += ask(&mut cursor, samples);
        }
    }
    for (offset, bytes) in &fragments {
        known += read_fragment(&BoxSpan::parse(bytes, *offset)?, &movie);
    }
    Ok(known)
}

fn read_fragment(root: &BoxSpan<'_>, movie: &Movie<'_>) -> usize {
    let mut known = 0;
    let Ok(fragment) = Fragment::parse(root, &movie.defaults) else {
        return known;
    };
    ignore(clear_fragment(&fragment, |_| true));
    let mut tree = Node::from_span(root);
    if edit::make_moof_relative(&mut tree, &fragment).is_ok() {
        ignore(edit::shift_data_offsets(&mut tree, 0, 100));
        ignore(edit::point_auxiliary(&mut tree));
    }
    for traf in &fragment.tracks {
        let Some(track) = movie.track(traf.track_id) else {
            continue;
        };
        let protection = TrackProtection::of(track);
        if let Ok(mut cursor) = ProtectionCursor::of_fragment(&fragment, traf, &protection) {
            known += ask(&mut cursor, traf.samples(0).take(1000));
        }
    }
    known
}

fn ask(cursor: &mut ProtectionCursor<'_>, samples: impl Iterator<Item = Result<Sample, BoxError>>) -> usize {
    let mut known = 0;
    for sample in samples.map_while(Result::ok) {
        let Ok(SampleProtection::Protected(protected)) = cursor.next(&sample) else {
            break;
        };
        let data = match protected.data {
            AuxiliaryData::Here(data) => data,
            AuxiliaryData::InFile { .. } => continue,
        };
        known += usize::from(
            protected
                .details(data)
                .is_ok_and(|details| details.subsamples.iter().count() < 2),
        );
    }
    known
}

/// A file with every box that is read: a protected fragmented track beside a progressive one.
fn rich_file() -> Vec<u8> {
    let tenc = full(b"tenc", 1, 0, &[&[0, 0x19, 1, 0], &[0xaa; 16], &[16], &[7; 16]]);
    let schm = full(b"schm", 0, 0, &[b"cbcs", &words(&[0x1_0000])]);
    let sinf = bx(
        b"sinf",
        &[&bx(b"frma", &[b"mp4a"]), &schm, &bx(b"schi", &[&tenc])],
    );
    let entry = [&[0][..], &[0x19, 1, 8], &[0xbb; 16]].concat();
    let sgpd = full(b"sgpd", 2, 0, &[b"seig", &words(&[20, 1, 1]), &entry]);
    let sbgp = full(b"sbgp", 0, 0, &[b"seig", &words(&[1, 2, 0x1_0001])]);
    let mut tables = five_samples();
    tables[3] = table(b"stco", 0, &[3, 100, 200, 300]);
    tables.push(table(b"ctts", 1, &[1, 5, 3]));
    tables.push(table(b"stss", 0, &[1, 1]));
    tables.push(full(b"saiz", 0, 0, &[&[0], &words(&[1]), &[8]]));
    tables.push(table(b"saio", 0, &[1, 100]));
    let movie = moov(&[
        &trak(
            1,
            b"soun",
            &[&audio(b"enca", &[&bx(b"esds", &[&[0; 4]]), &sinf])],
            &[no_samples(), vec![sgpd.clone()]].concat(),
        ),
        &trak(
            2,
            b"vide",
            &[&visual(b"encv", &[&sinf]), &visual(b"avc1", &[])],
            &tables,
        ),
        &mvex(&[1, 2]),
    ]);
    let header = full(b"tfhd", 0, 0x3b, &[&words(&[1, 0, 0, 1, 5, 6, 7])]);
    let run = full(b"trun", 1, 0xf01, &[&words(&[2, 64, 1, 20, 3, 4, 1, 20, 3, 4])]);
    let record = [&[1; 8][..], &[0, 1, 0, 4], &words(&[16])].concat();
    let senc = full(b"senc", 0, 2, &[&words(&[2]), &record, &record]);
    let saiz = full(b"saiz", 0, 1, &[b"cbcs", &[0; 4], &[16], &words(&[2])]);
    let saio = full(b"saio", 1, 1, &[b"cbcs", &[0; 4], &words(&[1, 0, 180])]);
    let traf = bx(b"traf", &[&header, &run, &sbgp, &sgpd, &senc, &saiz, &saio]);
    let sidx = table(b"sidx", 0, &[1, 1000, 44, 55, 1, 10, 20, 0x9000_0000]);
    let tfra = table(b"tfra", 1, &[1, 0, 1, 0, 5, 0, 6, 0x0101_0100]);
    let mfra = bx(b"mfra", &[&tfra, &table(b"mfro", 0, &[0])]);
    [movie, sidx, moof(&[traf]), bx(b"mdat", &[&[0; 64]]), mfra].concat()
}

#[test]
fn the_unchanged_file_is_read_to_its_end() {
    assert_eq!(read_all(&rich_file()), Ok(3 + 2));
}

proptest! {
    #[test]
    fn a_tree_is_written_as_it_was_read(file in any_tree()) {
        let root = span(&file);
        let mut tree = Node::from_span(&root);
        tree.open_all().unwrap();
        prop_assert_eq!(tree.encoded_len(), file.len() as u64);
        prop_assert_eq!(tree.to_vec(), file);
    }

    #[test]
    fn an_edited_leaf_leaves_all_others(file in any_tree(), chosen in any::<prop::sample::Index>(), body in prop::collection::vec(any::<u8>(), 0..20)) {
        let root = span(&file);
        let mut tree = Node::from_span(&root);
        let mut found = vec![];
        leaves(&mut tree, &mut found);
        let at = chosen.index(found.len());
        let mut before: Vec<_> = found.iter().map(|leaf| leaf.to_vec()).collect();
        *found[at].body_mut() = body.clone();
        before[at] = found[at].to_vec();
        drop(found);

        let edited = tree.to_vec();
        prop_assert_eq!(tree.encoded_len(), edited.len() as u64);
        let mut again = Node::from_span(&span(&edited)).into_owned();
        let mut found = vec![];
        leaves(&mut again, &mut found);
        prop_assert_eq!(found[at].body(), &body[..]);
        let after: Vec<_> = found.iter().map(|leaf| leaf.to_vec()).collect();
        prop_assert_eq!(before, after);
    }

    #[test]
    fn changed_bytes_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut file = rich_file();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if cuts {
            file.truncate(cut.index(file.len()));
        }
        ignore(read_all(&file));
    }

    #[test]
    fn changed_fields_never_panic(at in any::<prop::sample::Index>(), value in prop::sample::select(&[0_u32, 1, 2, 0x7fff_ffff, 0x8000_0000, u32::MAX][..])) {
        let mut file = rich_file();
        let at = at.index(file.len() / 4) * 4;
        file[at..at + 4].copy_from_slice(&value.to_be_bytes());
        ignore(read_all(&file));
    }

    #[test]
    fn any_bytes_never_panic(file in prop::collection::vec(any::<u8>(), 0..200)) {
        ignore(read_all(&file));
        ignore(read_all(&bx(b"moov", &[&file])));
    }
}
