//! Headers, spans, errors and the scan of a file.

use std::io::Cursor;

use super::*;

fn headers(bytes: &[u8]) -> Vec<(BoxKind, SizeForm, u8, u64)> {
    TopBoxes::new(Cursor::new(bytes))
        .unwrap()
        .map(|found| found.unwrap().header)
        .map(|header| (header.kind, header.form, header.header_len, header.len))
        .collect()
}

#[test]
fn a_file_is_scanned_header_by_header() {
    let large = [&words(&[1])[..], b"mdat", &words(&[0, 20]), &[9; 4]].concat();
    let uuid = bx(b"uuid", &[&kind::PIFF_SENC, &[1]]);
    let large_uuid = [&words(&[1])[..], b"uuid", &words(&[0, 33]), &[7; 16], &[0]].concat();
    let to_end = [&words(&[0])[..], b"mdat", &[0; 5]].concat();
    let file = [bx(b"ftyp", &[b"isom"]), large, uuid, large_uuid, to_end].concat();
    let types = |code: &[u8; 4]| BoxKind::Type(FourCc(*code));
    assert_eq!(
        headers(&file),
        [
            (types(b"ftyp"), SizeForm::Compact, 8, 12),
            (types(b"mdat"), SizeForm::Large, 16, 20),
            (BoxKind::Uuid(kind::PIFF_SENC), SizeForm::Compact, 24, 25),
            (BoxKind::Uuid([7; 16]), SizeForm::Large, 32, 33),
            (types(b"mdat"), SizeForm::ToEnd, 8, 13),
        ]
    );
}

#[test]
fn a_box_is_read_whole_and_within_its_limit() {
    let file = [bx(b"free", &[&[0; 9]]), bx(b"moov", &[b"body"])].concat();
    let mut scan = TopBoxes::new(Cursor::new(&file)).unwrap();
    let moov = scan.nth(1).unwrap().unwrap();
    assert_eq!((moov.offset, moov.body_offset(), moov.end()), (17, 25, 29));
    assert_eq!(moov.read(scan.reader(), 12).unwrap(), bx(b"moov", &[b"body"]));
    let error = moov.read(scan.reader(), 11).unwrap_err();
    assert_eq!(error.to_string(), "moov has more than 11 bytes");
    assert!(scan.next().is_none());
}

#[test]
fn a_box_longer_than_the_file_ends_the_scan() {
    for (file, message) in [
        (words(&[9]), "the file at byte 8: the box ends inside a field"),
        (
            [&words(&[17])[..], b"mdat"].concat(),
            "the file at byte 8: a box states 17 bytes where there are 8",
        ),
        (
            [&words(&[7])[..], b"mdat"].concat(),
            "the file at byte 8: a box states 7 bytes where there are 8",
        ),
        (
            [&words(&[1])[..], b"mdat", &[255; 8]].concat(),
            "the file at byte 8: a box states 18446744073709551615 bytes where there are 16",
        ),
        (
            [&words(&[20])[..], b"uuid", &[0; 12]].concat(),
            "the file at byte 24: the box ends inside a field",
        ),
    ] {
        let file = [bx(b"free", &[]), file].concat();
        let mut scan = TopBoxes::new(Cursor::new(&file)).unwrap();
        assert!(scan.next().unwrap().is_ok());
        let error = scan.next().unwrap().unwrap_err();
        let place = error.to_string();
        assert!(place.contains(message.split_once(": ").unwrap().1), "{place}");
        assert!(scan.next().is_none());
    }
}

#[test]
fn children_know_their_place() {
    let file = bx(
        b"moov",
        &[&bx(b"free", &[&[0; 3]]), &bx(b"trak", &[&[1, 2]]), &[0; 4]],
    );
    let moov = BoxSpan::parse(&file, 500).unwrap();
    let trak = moov.need(kind::TRAK).unwrap();
    assert_eq!(
        (trak.offset(), trak.body_offset(), trak.body()),
        (519, 527, &[1, 2][..])
    );
    assert_eq!(trak.path().to_string(), "moov/trak");
    assert_eq!(moov.children().count(), 2, "four zeros are padding");
    assert!(moov.child(kind::MVEX).unwrap().is_none());
    assert_eq!(
        moov.need(kind::MVEX).unwrap_err().to_string(),
        "moov lacks the box mvex"
    );
}

#[test]
fn a_box_may_not_be_there_twice() {
    let file = bx(b"moov", &[&bx(b"mvhd", &[]), &bx(b"mvhd", &[])]);
    let error = span(&file).child(kind::MVHD).unwrap_err();
    assert_eq!(error.to_string(), "moov at byte 16: the box mvhd is there twice");
}

#[test]
fn nesting_is_bounded() {
    let deepest = (0..MAX_DEPTH).fold(vec![], |inner, _| bx(b"moov", &[&inner]));
    let deeper = bx(b"moov", &[&deepest]);
    let descend = |bytes: &[u8]| {
        let mut inner = span(bytes);
        while let Some(child) = inner.children().next() {
            inner = child?;
        }
        Ok::<_, BoxError>(inner.body().len())
    };
    assert_eq!(descend(&deepest), Ok(0));
    assert!(matches!(descend(&deeper), Err(BoxError::TooDeep(_))));
}

#[test]
fn fields_are_held_against_the_bytes() {
    let file = bx(b"test", &[&[1, 0, 2, 0, 0, 3, 255, 255, 255, 254]]);
    let mut fields = span(&file).fields();
    assert_eq!(fields.u8(), Ok(1));
    assert_eq!(fields.u16(), Ok(2));
    assert_eq!(fields.bytes(3), Ok(&[0, 0, 3][..]));
    let mut signed = fields;
    assert_eq!(signed.i32(), Ok(-2));
    assert_eq!(fields.u64(), Err(BoxError::CutOff(fields.place())));
    assert_eq!(fields.place().offset, 14);
    let error = fields.table::<2>(3).unwrap_err();
    assert_eq!(
        error.to_string(),
        "test at byte 14: 3 entries are stated but there are bytes for 2"
    );
    assert_eq!(fields.table::<2>(2), Ok(&[[255, 255], [255, 254]][..]));
}

#[test]
fn codes_print_safely() {
    assert_eq!(FourCc(*b"a\x1b\n\xff").to_string(), r"a\x1b\n\xff");
    assert_eq!(
        format!("{:?}", BoxKind::Uuid([0xab; 16])),
        format!("uuid {}", "ab".repeat(16))
    );
}

#[test]
fn every_error_says_what_why_and_what_next() {
    let place = span(&bx(b"moov", &[])).fields().place();
    let path = place.path;
    let errors = [
        BoxError::CutOff(place),
        BoxError::Size {
            place,
            stated: 9,
            available: 8,
        },
        BoxError::TooDeep(place),
        BoxError::Missing {
            path,
            missing: kind::MVHD,
        },
        BoxError::Repeated {
            place,
            repeated: kind::MVHD,
        },
        BoxError::Count {
            place,
            stated: 3,
            held: 2,
        },
        BoxError::NoEntry { path, sample: 4 },
        BoxError::Invalid {
            place,
            rule: "the timescale is 0",
        },
        BoxError::Unsupported {
            place,
            what: "this version of the header",
        },
        BoxError::TrackId { path, id: 0 },
        BoxError::UnknownTrack { path, id: 5 },
        BoxError::TooMany {
            path,
            what: "tracks",
            limit: 6,
        },
        BoxError::OutOfRange {
            path,
            what: "the data offset",
        },
        BoxError::OutOfOrder { path, sample: 7 },
        BoxError::Edit {
            path,
            why: "it is fragmented already",
        },
    ];
    let lines: Vec<_> = errors
        .iter()
        .map(|error| format!("{error}; {}", error.hint()))
        .collect();
    let damaged = "the file is damaged or not complete; get it again from its source";
    let ours = "this is a fault of Keyward; please report it";
    let faulty = "the file was damaged or made by a faulty program; make it again, or remux it";
    let smaller = "make the file again with fewer tracks, shorter fragments or fewer nested boxes";
    assert_eq!(
        lines,
        [
            format!("moov at byte 8: the box ends inside a field; {damaged}"),
            format!("moov at byte 8: a box states 9 bytes where there are 8; {damaged}"),
            format!("moov at byte 8: boxes are nested more than 12 deep; {smaller}"),
            format!("moov lacks the box mvhd; {faulty}"),
            format!("moov at byte 8: the box mvhd is there twice; {faulty}"),
            format!("moov at byte 8: 3 entries are stated but there are bytes for 2; {faulty}"),
            format!("moov has no entry for sample 4; {faulty}"),
            format!("moov at byte 8: the timescale is 0; {faulty}"),
            "moov at byte 8: this version of the header is not supported; \
             make the file again without that feature, or update Keyward"
                .into(),
            format!("moov: the track id 0 is 0 or not unique; {faulty}"),
            format!("moov: there is no track 5; {faulty}"),
            format!("moov has more than 6 tracks; {smaller}"),
            format!("moov: the data offset is past the end of the file or of its field; {damaged}"),
            format!("moov: the samples are not asked for in order (sample 7); {ours}"),
            format!("moov cannot be edited: it is fragmented already; {ours}"),
        ]
    );
}
