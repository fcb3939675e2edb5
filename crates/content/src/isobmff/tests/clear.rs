//! What must be overwritten so that a file reads as clear.

use super::{
    protection::{KID, OTHER_KID, cbcs, fields, movie, sbgp, senc, sgpd},
    *,
};

fn overwrite(file: &mut [u8], base: u64, overwrites: &[Overwrite]) {
    for change in overwrites {
        let at = usize::try_from(change.offset - base).unwrap();
        file[at..at + 4].copy_from_slice(&change.fourcc.0);
    }
}

#[test]
fn a_movie_is_cleared_by_overwriting_types_only() {
    let roll = table(b"sgpd", 1, &[u32::from_be_bytes(*b"roll"), 2, 0]);
    let seig = sgpd(&[fields(0, 1, 8, OTHER_KID, &[])]);
    let other_saiz = full(b"saiz", 0, 1, &[b"else", &[0; 4], &[9], &words(&[2])]);
    let boxes = [
        senc(0, &[]),
        full(b"saiz", 0, 0, &[&[0], &words(&[0])]),
        table(b"saio", 0, &[0]),
    ];
    let tables = [
        no_samples(),
        boxes.to_vec(),
        vec![roll.clone(), seig, sbgp(&[]), other_saiz.clone()],
    ]
    .concat();
    let encv = visual(b"encv", &[&bx(b"avcC", &[&[1]]), &cbcs()]);
    let file = moov(&[
        &full(b"pssh", 0, 0, &[&[0; 20]]),
        &trak(1, b"vide", &[&encv], &tables),
        &trak(2, b"vide", &[&encv], &tables),
    ]);
    let movie = Movie::parse(&BoxSpan::parse(&file, 700).unwrap()).unwrap();
    let overwrites = clear_movie(&movie, |track| track.id == 1).unwrap();
    assert_eq!(overwrites.len(), 1 + 2 + 5);
    assert!(overwrites.is_sorted_by_key(|change| change.offset));
    let mut cleared = file.clone();
    overwrite(&mut cleared, 700, &overwrites);

    let movie = span(&cleared);
    assert!(movie.child(kind::PSSH).unwrap().is_none());
    let movie = Movie::parse(&movie).unwrap();
    let track = &movie.tracks[0];
    assert_eq!(
        (track.entries[0].format, track.entries[0].protection),
        (FourCc(*b"avc1"), None)
    );
    let left: Vec<_> = track
        .stbl
        .children()
        .map(|child| child.unwrap().kind().fourcc())
        .collect();
    let codes = |codes: &[&[u8; 4]]| codes.iter().map(|code| FourCc(**code)).collect::<Vec<_>>();
    assert_eq!(
        left,
        codes(&[
            b"stsd", b"stts", b"stsc", b"stsz", b"stco", b"free", b"free", b"free", b"sgpd", b"free",
            b"free", b"saiz"
        ])
    );
    assert!(movie.tracks[1].entries[0].protection.is_some());
    assert!(movie.tracks[1].stbl.child(kind::SENC).unwrap().is_some());
}

#[test]
fn a_protection_that_is_not_common_encryption_stays() {
    let other = bx(
        b"sinf",
        &[
            &bx(b"frma", &[b"avc1"]),
            &full(b"schm", 0, 0, &[b"othr", &[0; 4]]),
        ],
    );
    let file = movie(&other, &no_samples());
    let movie = span(&file);
    let movie = Movie::parse(&movie).unwrap();
    assert_eq!(clear_movie(&movie, |_| true), Ok(vec![]));
}

#[test]
fn a_fragment_is_cleared_by_overwriting_types_only() {
    let header = full(b"tfhd", 0, 0x2_0000, &[&words(&[1])]);
    let uuid = bx(b"uuid", &[&kind::PIFF_SENC, &[0; 8]]);
    let kept = bx(b"uuid", &[&[9; 16]]);
    let boxes = [
        senc(0, &[]),
        uuid,
        kept.clone(),
        sbgp(&[]),
        sgpd(&[fields(0, 1, 8, KID, &[])]),
    ]
    .concat();
    let protected = bx(b"traf", &[&header, &boxes]);
    let file = bx(
        b"moof",
        &[
            &table(b"mfhd", 0, &[7]),
            &full(b"pssh", 0, 0, &[&[0; 20]]),
            &protected,
        ],
    );
    let fragment = BoxSpan::parse(&file, 1 << 33).unwrap();
    let fragment = Fragment::parse(&fragment, &defaults(&[1])).unwrap();
    assert_eq!(
        clear_fragment(&fragment, |_| false).unwrap().len(),
        1,
        "only the pssh"
    );
    let overwrites = clear_fragment(&fragment, |id| id == 1).unwrap();
    let mut cleared = file.clone();
    overwrite(&mut cleared, 1 << 33, &overwrites);
    let free = |original: &[u8]| bx(b"free", &[&original[8..]]);
    let expected = bx(
        b"moof",
        &[
            &table(b"mfhd", 0, &[7]),
            &free(&full(b"pssh", 0, 0, &[&[0; 20]])),
            &bx(
                b"traf",
                &[
                    &header,
                    &free(&senc(0, &[])),
                    &free(&bx(b"uuid", &[&kind::PIFF_SENC, &[0; 8]])),
                    &kept,
                    &free(&sbgp(&[])),
                    &free(&sgpd(&[fields(0, 1, 8, KID, &[])])),
                ],
            ),
        ],
    );
    assert_eq!(cleared, expected);
}
