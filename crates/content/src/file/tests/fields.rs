//! Each field of the header, broken once.

use super::*;

/// Builds a file from header bytes, unkeyed: enough to be parsed.
pub(super) fn with_header(header_bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(header_bytes.len()).unwrap().to_be_bytes();
    [MAGIC.as_slice(), &len, header_bytes, &[0; 32 + 8 + 16]].concat()
}

/// The CBOR pairs of a good header, each to be replaced or left out by a test.
fn pairs() -> Vec<(u64, Vec<u8>)> {
    let object = header().content_header;
    let bstr = |bytes: &[u8]| {
        let len = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        if bytes.len() < 24 {
            [&[0x40 + len[1]], bytes].concat()
        } else if bytes.len() < 256 {
            [&[0x58, len[1]], bytes].concat()
        } else {
            [&[0x59], len.as_slice(), bytes].concat()
        }
    };
    vec![
        (1, vec![0x01]),
        (2, bstr(&object)),
        (3, bstr(&[7; 32])),
        (4, vec![0x0c]),
        (5, vec![0x08]),
        (6, bstr(KID.as_bytes())),
        (128, b"\x68film.mp4".to_vec()),
        (129, b"\x69video/mp4".to_vec()),
    ]
}

fn parse_pairs(pairs: &[(u64, Vec<u8>)]) -> Result<(), FileError> {
    let mut bytes = vec![0xa0 + u8::try_from(pairs.len()).unwrap()];
    for (key, value) in pairs {
        match u8::try_from(*key) {
            Ok(key @ ..24) => bytes.push(key),
            Ok(key) => bytes.extend([0x18, key]),
            Err(_) => bytes.extend([[0x19].as_slice(), &u16::try_from(*key).unwrap().to_be_bytes()].concat()),
        }
        bytes.extend_from_slice(value);
    }
    LockedFile::parse(&with_header(&bytes)).map(drop)
}

#[test]
fn each_fault_of_a_header_field_has_its_error() {
    assert_eq!(parse_pairs(&pairs()), Ok(()));
    let text = |text: &str| [&[0x78, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let short_text = |text: &str| [&[0x60 + u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let wrong_type = |expected| move |error: &FileError| matches!(error, FileError::Malformed(DecodeError::WrongType { expected: e, .. }) if *e == expected);
    let is = |expected: FileError| move |error: &FileError| *error == expected;
    type Fault = (u64, Vec<u8>, Box<dyn Fn(&FileError) -> bool>);
    let cases: Vec<Fault> = vec![
        (1, vec![0x00], Box::new(is(FileError::UnsupportedVersion(0)))),
        (1, vec![0x02], Box::new(is(FileError::UnsupportedVersion(2)))),
        (1, vec![0x61, b'1'], Box::new(wrong_type("an unsigned integer"))),
        (
            2,
            vec![0x40],
            Box::new(is(FileError::ContentHeader(HeaderError::RecordBounds))),
        ),
        (2, vec![0x60], Box::new(wrong_type("a byte string"))),
        (
            3,
            vec![0x41, 0x00],
            Box::new(wrong_type("a byte string of the fixed length")),
        ),
        (4, vec![0x0b], Box::new(is(FileError::ChunkSize(11)))),
        (4, vec![0x18, 25], Box::new(is(FileError::ChunkSize(25)))),
        (
            4,
            vec![0x1b, 255, 255, 255, 255, 255, 255, 255, 255],
            Box::new(is(FileError::ChunkSize(u64::MAX))),
        ),
        (
            5,
            vec![0x1a, 0, 1, 0, 1],
            Box::new(is(FileError::StoreLength(65_537))),
        ),
        (
            5,
            vec![0x1b, 0, 0, 0, 1, 0, 0, 0, 0],
            Box::new(is(FileError::StoreLength(1 << 32))),
        ),
        (
            6,
            [&[0x50], [9; 16].as_slice()].concat(),
            Box::new(is(FileError::KidNotInHeader(Kid::new([9; 16])))),
        ),
        (
            6,
            vec![0x4f; 16],
            Box::new(wrong_type("a byte string of the fixed length")),
        ),
        (128, short_text(""), Box::new(is(FileError::Name))),
        (128, short_text("."), Box::new(is(FileError::Name))),
        (128, short_text(".."), Box::new(is(FileError::Name))),
        (128, short_text("a/b"), Box::new(is(FileError::Name))),
        (128, short_text("a\\b"), Box::new(is(FileError::Name))),
        (128, short_text("C:b"), Box::new(is(FileError::Name))),
        (128, short_text("a\0b"), Box::new(is(FileError::Name))),
        (128, short_text("a\nb"), Box::new(is(FileError::Name))),
        (128, short_text("a\u{202e}4pm.exe"), Box::new(is(FileError::Name))),
        (128, vec![0x42, 0x61, 0x62], Box::new(wrong_type("a text string"))),
        (129, short_text("video"), Box::new(is(FileError::MediaType))),
        (129, short_text("video/"), Box::new(is(FileError::MediaType))),
        (129, short_text("/mp4"), Box::new(is(FileError::MediaType))),
        (129, short_text("video/mp4/x"), Box::new(is(FileError::MediaType))),
        (129, short_text("text/a;b=c"), Box::new(is(FileError::MediaType))),
        (
            129,
            text(&format!("video/{}", "a".repeat(128))),
            Box::new(is(FileError::MediaType)),
        ),
    ];
    for (key, value, fits) in cases {
        let mut changed = pairs();
        changed
            .iter_mut()
            .filter(|(k, _)| *k == key)
            .for_each(|(_, v)| v.clone_from(&value));
        let error = parse_pairs(&changed).expect_err("a fault");
        assert!(fits(&error), "key {key}, value {}: {error}", hex::encode(value));
    }
    let mut longest = pairs();
    longest[6].1 = text(&"n".repeat(255));
    assert_eq!(parse_pairs(&longest), Ok(()));
    longest[6].1 = [&[0x79, 1, 0], "n".repeat(256).as_bytes()].concat();
    assert_eq!(parse_pairs(&longest), Err(FileError::Name));
}

#[test]
fn absent_and_unknown_keys_are_judged_by_their_number() {
    for absent in 1..=6 {
        let rest: Vec<_> = pairs().into_iter().filter(|(key, _)| *key != absent).collect();
        let missing = DecodeError::Missing {
            map: "file header",
            key: absent,
        };
        assert_eq!(parse_pairs(&rest), Err(FileError::Malformed(missing)));
    }
    for absent in [128, 129] {
        let rest: Vec<_> = pairs().into_iter().filter(|(key, _)| *key != absent).collect();
        assert_eq!(parse_pairs(&rest), Ok(()));
    }
    let with = |key: u64| {
        let mut pairs = pairs();
        let at = pairs.iter().position(|(k, _)| *k > key).unwrap_or(pairs.len());
        pairs.insert(at, (key, vec![0xf5]));
        parse_pairs(&pairs)
    };
    for key in [0, 7, 127] {
        let unknown = DecodeError::UnknownCritical {
            map: "file header",
            key,
        };
        assert_eq!(with(key), Err(FileError::Malformed(unknown)));
    }
    assert_eq!((with(130), with(60_000)), (Ok(()), Ok(())));
}

#[test]
fn faults_before_the_fields_have_their_errors() {
    let parse = |bytes: &[u8]| LockedFile::parse(bytes).map(drop);
    assert_eq!(parse(b"PK\x03\x04"), Err(FileError::NotAFile));
    assert_eq!(parse(&[0x89, b'K', b'W', b'F', b'\n']), Err(FileError::NotAFile));
    let too_long = [MAGIC.as_slice(), &[0, 1, 0, 1]].concat();
    assert_eq!(parse(&too_long), Err(FileError::HeaderLength(65_537)));
    let too_long = [MAGIC.as_slice(), &[0xff; 4]].concat();
    assert_eq!(parse(&too_long), Err(FileError::HeaderLength(u32::MAX)));
    for (header, fault) in [
        ("", GateError::Truncated),
        ("a1", GateError::Truncated),
        ("a000", GateError::TrailingBytes),
        ("a201010101", GateError::MapOrder),
        ("a202000101", GateError::MapOrder),
        ("a1011801", GateError::NotShortest),
        ("bfff", GateError::IndefiniteLength),
    ] {
        let malformed = FileError::Malformed(DecodeError::Gate(fault));
        assert_eq!(
            parse(&with_header(&hex::decode(header).unwrap())),
            Err(malformed),
            "{header}"
        );
    }
    let no_map = LockedFile::parse(&with_header(&[0x80]));
    assert!(matches!(
        no_map,
        Err(FileError::Malformed(DecodeError::WrongType {
            expected: "a map",
            ..
        }))
    ));
}

#[test]
fn a_writer_refuses_what_a_reader_refuses() {
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let mut new = |header: &FileHeader| Sealer::new(&ContentKey::new(KEY), header, &mut rng).map(drop);
    assert_eq!(
        new(&FileHeader {
            name: Some("a/b".into()),
            ..header()
        }),
        Err(FileError::Name)
    );
    assert_eq!(
        new(&FileHeader {
            media_type: Some("x".into()),
            ..header()
        }),
        Err(FileError::MediaType)
    );
    assert_eq!(
        new(&FileHeader {
            store_len: 65_537,
            ..header()
        }),
        Err(FileError::StoreLength(65_537))
    );
    let other = Kid::new([1; 16]);
    assert_eq!(
        new(&FileHeader {
            kid: other,
            ..header()
        }),
        Err(FileError::KidNotInHeader(other))
    );
    let broken = FileHeader {
        content_header: vec![],
        ..header()
    };
    assert_eq!(
        new(&broken),
        Err(FileError::ContentHeader(HeaderError::RecordBounds))
    );
    assert_eq!(
        new(&FileHeader {
            store_len: 65_536,
            ..header()
        }),
        Ok(())
    );
}

#[test]
fn a_short_file_of_another_kind_is_not_called_cut_off() {
    let read = |bytes: &[u8]| {
        let error = LockedFile::read_from(&mut &bytes[..]).unwrap_err();
        FileError::within(&error)
    };
    assert_eq!(read(b"hello\n"), Some(FileError::NotAFile));
    assert_eq!(read(b"\x89KWF\r\n"), Some(FileError::CutOff));
    assert_eq!(read(b""), Some(FileError::CutOff));
}
