//! The editable tree.

use super::*;

fn node(bytes: &[u8]) -> Node<'_> {
    Node::from_span(&span(bytes))
}

#[test]
fn what_is_not_touched_stays_as_it_was() {
    let large = [&words(&[1])[..], b"trak", &words(&[0, 24]), &bx(b"tkhd", &[])].concat();
    let uuid = bx(b"uuid", &[&[5; 16], b"data"]);
    let to_end = [&words(&[0])[..], b"trak", &bx(b"mdia", &[])].concat();
    for file in [
        bx(b"moov", &[]),
        bx(b"moov", &[&large, &uuid, &to_end]),
        bx(b"moov", &[&large, &bx(b"udta", &[b"odd"]), &[0; 4]]),
        progressive(),
    ] {
        let mut opened = node(&file);
        opened.open_all().unwrap();
        assert_eq!(opened.to_vec(), file);
        assert_eq!(opened.encoded_len(), file.len() as u64);
        let mut written = vec![];
        opened.into_owned().write_to(&mut written).unwrap();
        assert_eq!(written, file);
    }
}

#[test]
fn an_edit_changes_its_place_and_the_sizes_around_it() {
    let file = progressive();
    let mut moov = node(&file);
    let stsd = moov
        .descend_mut(&[kind::TRAK, kind::MDIA, kind::MINF, kind::STBL, kind::STSD])
        .unwrap();
    let entry = &mut stsd.children_mut().unwrap()[1];
    entry
        .children_behind_mut(78)
        .unwrap()
        .push(Node::new(kind::FREE, b"12".to_vec()));
    let edited = moov.to_vec();
    assert_eq!(edited.len(), file.len() + 10);

    let before = Movie::parse(&span(&file)).unwrap();
    let after = span(&edited);
    let after = Movie::parse(&after).unwrap();
    let (old, new) = (&before.tracks[0], &after.tracks[0]);
    assert_eq!(old.entries[0].span.bytes(), new.entries[0].span.bytes());
    let old_entry = old.entries[1].span.bytes();
    let new_entry = new.entries[1].span.bytes();
    assert_eq!(new_entry[4..old_entry.len()], old_entry[4..]);
    assert_eq!(new_entry[old_entry.len()..], bx(b"free", &[b"12"]));
    assert_eq!(
        old.stbl.need(kind::STSZ).unwrap().bytes(),
        new.stbl.need(kind::STSZ).unwrap().bytes()
    );
}

#[test]
fn a_box_to_the_end_gets_a_size_when_others_follow() {
    let to_end = [&words(&[0])[..], b"trak", &[1]].concat();
    let file = bx(b"moov", &[&to_end]);
    let mut moov = node(&file);
    moov.children_mut().unwrap().push(Node::new(kind::FREE, vec![]));
    assert_eq!(
        moov.to_vec(),
        bx(b"moov", &[&bx(b"trak", &[&[1]]), &bx(b"free", &[])])
    );
}

#[test]
fn descendants_know_where_they_will_stand() {
    let mut moov = Node::container(kind::MOOV, vec![Node::new(kind::FREE, vec![1, 2, 3])]);
    moov.children_mut().unwrap().push(Node::container(
        BoxKind::Uuid([1; 16]),
        vec![Node::new(kind::MDAT, vec![])],
    ));
    let offset = moov.offset_of(&[1, 0]).unwrap();
    let bytes = moov.to_vec();
    assert_eq!(offset, 8 + 11 + 24);
    assert_eq!(bytes[usize::try_from(offset).unwrap() + 4..], *b"mdat");
    assert_eq!(moov.offset_of(&[1, 1]), None);
    assert_eq!(moov.offset_of(&[]), Some(0));
}

#[test]
fn a_body_that_was_changed_can_be_opened() {
    let file = bx(b"moov", &[&bx(b"free", &[])]);
    let mut moov = node(&file);
    moov.body_mut().extend_from_slice(&bx(b"mdat", &[b"!"]));
    moov.child_mut(kind::MDAT).unwrap().unwrap().body_mut().clear();
    assert_eq!(
        moov.to_vec(),
        bx(b"moov", &[&bx(b"free", &[]), &bx(b"mdat", &[])])
    );
}

#[test]
fn fields_that_are_not_there_are_not_replaced() {
    let mut node = Node::full(kind::MFRO, 0, 0, &[0; 4]);
    assert_eq!(node.replace_u32(4, 7), Ok(()));
    assert_eq!(node.body(), [0, 0, 0, 0, 0, 0, 0, 7]);
    for at in [5, 9, usize::MAX] {
        assert!(
            matches!(node.replace_u32(at, 7), Err(BoxError::CutOff(_))),
            "{at}"
        );
    }
}

#[test]
fn opening_is_bounded() {
    let child = bx(b"free", &[]);
    let file = bx(b"moov", &[&child.repeat(MAX_CHILDREN)]);
    assert_eq!(node(&file).children_mut().unwrap().len(), MAX_CHILDREN);
    let file = bx(b"moov", &[&child.repeat(MAX_CHILDREN + 1)]);
    assert!(matches!(
        node(&file).children_mut(),
        Err(BoxError::TooMany { .. })
    ));
}

#[test]
fn missing_boxes_are_named() {
    let file = bx(b"moov", &[&bx(b"trak", &[])]);
    let mut moov = node(&file);
    let error = moov.descend_mut(&[kind::TRAK, kind::MDIA]).unwrap_err();
    assert_eq!(error.to_string(), "moov/trak lacks the box mdia");
}
