//! What protects each sample.

use keyward_license::ids::Kid;

use super::{encryption::entry_protection, *};
use crate::cenc::{Pattern, Scheme, Subsample};

pub(super) const KID: [u8; 16] = [0xaa; 16];
pub(super) const OTHER_KID: [u8; 16] = [0xbb; 16];

/// The fields of `tenc` or `seig` from the pattern on.
pub(super) fn fields(pattern: u8, protected: u8, iv_size: u8, kid: [u8; 16], constant_iv: &[u8]) -> Vec<u8> {
    let mut fields = [&[pattern, protected, iv_size][..], &kid].concat();
    if !constant_iv.is_empty() {
        fields.push(u8::try_from(constant_iv.len()).unwrap());
        fields.extend_from_slice(constant_iv);
    }
    fields
}

pub(super) fn sinf(format: &[u8; 4], scheme: &[u8; 4], inside: &[u8]) -> Vec<u8> {
    let schm = full(b"schm", 0, 0, &[scheme, &words(&[0x1_0000])]);
    bx(
        b"sinf",
        &[&bx(b"frma", &[format]), &schm, &bx(b"schi", &[inside])],
    )
}

pub(super) fn tenc(version: u8, fields: &[u8]) -> Vec<u8> {
    full(b"tenc", version, 0, &[&[0], fields])
}

pub(super) fn cenc() -> Vec<u8> {
    sinf(b"avc1", b"cenc", &tenc(0, &fields(0, 1, 8, KID, &[])))
}

pub(super) fn cbcs() -> Vec<u8> {
    sinf(b"avc1", b"cbcs", &tenc(1, &fields(0x19, 1, 0, KID, &[7; 16])))
}

/// A movie with a protected and a clear sample entry.
pub(super) fn movie(sinf: &[u8], tables: &[Vec<u8>]) -> Vec<u8> {
    let entries = [visual(b"encv", &[sinf]), visual(b"avc1", &[])];
    let entries: Vec<_> = entries.iter().map(Vec::as_slice).collect();
    moov(&[&trak(1, b"vide", &entries, tables), &mvex(&[1])])
}

fn protections(
    sinf: &[u8],
    stbl: &[Vec<u8>],
    description: u32,
    sizes: &[u32],
    parts: &[Vec<u8>],
) -> Vec<Said> {
    let file = movie(sinf, &[no_samples(), stbl.to_vec()].concat());
    let movie = Movie::parse(&span(&file)).unwrap();
    let header = full(b"tfhd", 0, 0x2_0002, &[&words(&[1, description])]);
    let count = u32::try_from(sizes.len()).unwrap();
    let run = full(b"trun", 0, 0x200, &[&words(&[count]), &words(sizes)]);
    let bytes = moof(&[bx(b"traf", &[&header, &run, &parts.concat()])]);
    let fragment = BoxSpan::parse(&bytes, 1000).unwrap();
    let fragment = Fragment::parse(&fragment, &movie.defaults).unwrap();
    let track = TrackProtection::of(&movie.tracks[0]);
    let traf = &fragment.tracks[0];
    let mut cursor = match ProtectionCursor::of_fragment(&fragment, traf, &track) {
        Ok(cursor) => cursor,
        Err(error) => return vec![Said::Refused(error.to_string())],
    };
    traf.samples(0)
        .map(|sample| Said::of(cursor.next(&sample.unwrap())))
        .collect()
}

#[derive(Debug, Clone, PartialEq)]
enum Said {
    Clear,
    Protected {
        scheme: Scheme,
        kid: Kid,
        pattern: Pattern,
        iv: Vec<u8>,
        subsamples: Vec<Subsample>,
    },
    Elsewhere(u64, u8),
    Refused(String),
}

impl Said {
    fn of(found: Result<SampleProtection<'_>, BoxError>) -> Self {
        let protected = match found {
            Ok(SampleProtection::Protected(protected)) => protected,
            Ok(SampleProtection::Clear) => return Self::Clear,
            Err(error) => return Self::Refused(error.to_string()),
        };
        let data = match protected.data {
            AuxiliaryData::Here(data) => data,
            AuxiliaryData::InFile { offset, len } => return Self::Elsewhere(offset, len),
        };
        match protected.details(data) {
            Err(error) => Self::Refused(error.to_string()),
            Ok(details) => Self::Protected {
                scheme: protected.scheme,
                kid: protected.encryption.kid,
                pattern: protected.encryption.pattern,
                iv: details.iv.as_bytes().to_vec(),
                subsamples: details.subsamples.iter().collect(),
            },
        }
    }

    fn cenc(kid: [u8; 16], iv: &[u8], subsamples: &[(u16, u32)]) -> Self {
        Self::Protected {
            scheme: Scheme::Cenc,
            kid: Kid::new(kid),
            pattern: Pattern::NONE,
            iv: iv.to_vec(),
            subsamples: subsamples
                .iter()
                .map(|&(clear, protected)| Subsample { clear, protected })
                .collect(),
        }
    }
}

/// A record of auxiliary information.
fn record(iv: &[u8], subsamples: &[(u16, u32)]) -> Vec<u8> {
    let mut record = iv.to_vec();
    record.extend_from_slice(&u16::try_from(subsamples.len()).unwrap().to_be_bytes());
    for (clear, protected) in subsamples {
        record.extend_from_slice(&clear.to_be_bytes());
        record.extend_from_slice(&protected.to_be_bytes());
    }
    record
}

pub(super) fn senc(flags: u32, records: &[Vec<u8>]) -> Vec<u8> {
    let count = u32::try_from(records.len()).unwrap();
    full(b"senc", 0, flags, &[&words(&[count]), &records.concat()])
}

/// Descriptions of groups, of one length, in a `sgpd` of version 1.
pub(super) fn sgpd(entries: &[Vec<u8>]) -> Vec<u8> {
    let entries: Vec<_> = entries.iter().map(|entry| [&[0][..], entry].concat()).collect();
    let len = u32::try_from(entries[0].len()).unwrap();
    let count = u32::try_from(entries.len()).unwrap();
    full(
        b"sgpd",
        1,
        0,
        &[b"seig", &words(&[len, count]), &entries.concat()],
    )
}

pub(super) fn sbgp(runs: &[u32]) -> Vec<u8> {
    let count = u32::try_from(runs.len() / 2).unwrap();
    full(b"sbgp", 0, 0, &[b"seig", &words(&[count]), &words(runs)])
}

#[test]
fn an_original_format_of_an_extended_type() {
    let sinf = sinf(b"uuid", b"cenc", &tenc(0, &fields(0, 1, 8, KID, &[])));
    let file = movie(&sinf, &no_samples());
    let error = Movie::parse(&span(&file)).unwrap_err().to_string();
    assert!(
        error.contains("sinf/frma") && error.contains("original format"),
        "{error}"
    );
}

#[test]
fn of_several_protections_common_encryption_counts() {
    let other = bx(
        b"sinf",
        &[
            &bx(b"frma", &[b"avc1"]),
            &full(b"schm", 0, 0, &[b"othr", &[0; 4]]),
        ],
    );
    let both = [other.clone(), cenc()].concat();
    assert_eq!(
        entry_protection(&both).unwrap().unwrap().scheme,
        Some(Scheme::Cenc)
    );
    let both = [cenc(), other.clone()].concat();
    assert_eq!(
        entry_protection(&both).unwrap().unwrap().scheme,
        Some(Scheme::Cenc)
    );
    let alone = entry_protection(&other).unwrap().unwrap();
    assert_eq!(
        (alone.scheme, alone.scheme_type, alone.default),
        (None, FourCc(*b"othr"), None)
    );
    let said = protections(&other, &[], 1, &[5], &[]);
    assert!(
        matches!(&said[..], [Said::Refused(why)] if why.contains("other than common encryption")),
        "{said:?}"
    );
}

#[test]
fn samples_of_a_clear_entry_are_clear() {
    assert_eq!(
        protections(&cenc(), &[], 2, &[10, 20], &[]),
        [Said::Clear, Said::Clear]
    );
}

#[test]
fn senc_gives_ivs_and_subsamples() {
    let records = [record(&[1; 8], &[(4, 6)]), record(&[2; 8], &[(20, 0), (5, 15)])];
    let expected = [
        Said::cenc(KID, &[1; 8], &[(4, 6)]),
        Said::cenc(KID, &[2; 8], &[(20, 0), (5, 15)]),
    ];
    assert_eq!(
        protections(&cenc(), &[], 1, &[10, 40], &[senc(2, &records)]),
        expected
    );
    // The box of PIFF is the same.
    let body = senc(2, &records).split_off(8);
    let uuid = bx(b"uuid", &[&kind::PIFF_SENC, &body]);
    assert_eq!(protections(&cenc(), &[], 1, &[10, 40], &[uuid]), expected);
    // Without subsamples the sample is protected as a whole.
    let whole = senc(0, &[vec![3; 8], vec![4; 8]]);
    assert_eq!(
        protections(&cenc(), &[], 1, &[10, 40], &[whole]),
        [Said::cenc(KID, &[3; 8], &[]), Said::cenc(KID, &[4; 8], &[])]
    );
}

#[test]
fn piff_can_replace_the_default_of_a_fragment() {
    let fields = [&[0, 0, 1, 8][..], &OTHER_KID, &words(&[1]), &[5; 8]].concat();
    let uuid = bx(b"uuid", &[&kind::PIFF_SENC, &words(&[1]), &fields]);
    assert_eq!(
        protections(&cenc(), &[], 1, &[10], std::slice::from_ref(&uuid)),
        [Said::cenc(OTHER_KID, &[5; 8], &[])]
    );
    // Also of a track that is clear by default, and the other way round.
    let clear = sinf(b"avc1", b"cenc", &tenc(0, &fields_of(0, 0)));
    assert_eq!(
        protections(&clear, &[], 1, &[10], &[uuid]),
        [Said::cenc(OTHER_KID, &[5; 8], &[])]
    );
    let fields = [&[0, 0, 0, 0][..], &[0; 16], &words(&[1])].concat();
    let uuid = bx(b"uuid", &[&kind::PIFF_SENC, &words(&[1]), &fields]);
    assert_eq!(protections(&cenc(), &[], 1, &[10], &[uuid]), [Said::Clear]);
}

/// Fields without key.
fn fields_of(protected: u8, iv_size: u8) -> Vec<u8> {
    fields(0, protected, iv_size, [0; 16], &[])
}

#[test]
fn a_constant_iv_needs_no_information() {
    let expected = Said::Protected {
        scheme: Scheme::Cbcs,
        kid: Kid::new(KID),
        pattern: Pattern::VIDEO,
        iv: vec![7; 16],
        subsamples: vec![],
    };
    assert_eq!(protections(&cbcs(), &[], 1, &[10], &[]), vec![expected.clone()]);
    assert_eq!(
        protections(&cbcs(), &[], 1, &[10], &[senc(0, &[vec![]])]),
        [expected]
    );
}

#[test]
fn sizes_and_offsets_find_the_same_information() {
    let records = [record(&[1; 8], &[(4, 6)]), vec![2; 8]];
    let saiz = full(b"saiz", 0, 0, &[&[0], &words(&[2]), &[16, 8]]);
    // In the fragment: mfhd 16, traf 8, tfhd 20, trun 24, saiz 19, saio 20, then the header of the box.
    let at = 8 + 16 + 8 + 20 + 24 + 19 + 20 + 8;
    for version in [0, 1] {
        let (at, extra) = if version == 0 {
            (vec![at], 0)
        } else {
            (vec![0, at + 4], 4)
        };
        let saio = full(b"saio", version, 0, &[&words(&[1]), &words(&at)]);
        assert_eq!(saio.len(), 20 + extra);
        let free = bx(b"free", &[&records.concat()]);
        assert_eq!(
            protections(&cenc(), &[], 1, &[10, 40], &[saiz.clone(), saio, free]),
            [Said::cenc(KID, &[1; 8], &[(4, 6)]), Said::cenc(KID, &[2; 8], &[])]
        );
    }
    // Outside of the fragment, with the types stated and one size for all.
    let saiz = full(b"saiz", 0, 1, &[b"cenc", &[0; 4], &[8], &words(&[2])]);
    let saio = full(b"saio", 0, 1, &[b"cenc", &[0; 4], &words(&[1, 4000])]);
    let others = [
        full(b"saiz", 0, 1, &[b"else", &[0; 4], &[9], &words(&[2])]),
        full(b"saio", 0, 1, &[b"else", &[0; 4], &words(&[1, 1])]),
    ];
    assert_eq!(
        protections(&cenc(), &[], 1, &[10, 40], &[others.concat(), saiz, saio]),
        [Said::Elsewhere(5000, 8), Said::Elsewhere(5008, 8)]
    );
}

#[test]
fn each_chunk_of_a_progressive_track_can_have_its_offset() {
    let mut tables = five_samples();
    tables[1] = table(b"stsc", 0, &[1, 1, 2, 1]);
    tables.push(full(b"saiz", 0, 0, &[&[0], &words(&[4]), &[8, 8, 9, 8]]));
    tables.push(full(b"saio", 0, 0, &[&words(&[3, 100, 300, 200])]));
    let file = movie(&cenc(), &tables);
    let movie = Movie::parse(&BoxSpan::parse(&file, 9000).unwrap()).unwrap();
    let track = &movie.tracks[0];
    let protection = TrackProtection::of(track);
    let mut cursor = ProtectionCursor::of_track(track, &protection).unwrap();
    let said: Vec<_> = track
        .tables
        .samples(4000)
        .unwrap()
        .map(|sample| Said::of(cursor.next(&sample.unwrap())))
        .collect();
    let found = [(100, 8), (108, 8), (300, 9), (309, 8)];
    let mut expected: Vec<_> = found
        .iter()
        .map(|(offset, len)| Said::Elsewhere(*offset, *len))
        .collect();
    expected.push(Said::Refused(
        "moov/trak/mdia/minf/stbl at byte 0: a sample has no IV".into(),
    ));
    assert_eq!(said, expected);
}

#[test]
fn groups_of_the_fragment_and_of_the_track_change_the_key() {
    let in_track = sgpd(&[fields(0, 1, 8, OTHER_KID, &[])]);
    let in_fragment = sgpd(&[fields(0, 0, 0, [0; 16], &[]), fields(0, 1, 16, [0xcc; 16], &[])]);
    let map = sbgp(&[1, 1, 1, 0x1_0001, 1, 0x1_0002, 1, 0]);
    let records = [
        record(&[1; 8], &[(0, 10)]),
        record(&[], &[]),
        record(&[2; 16], &[(0, 10)]),
        record(&[3; 8], &[(0, 10)]),
        record(&[4; 8], &[(0, 10)]),
    ];
    let said = protections(
        &cenc(),
        &[in_track],
        1,
        &[10; 5],
        &[in_fragment, map, senc(2, &records)],
    );
    assert_eq!(
        said,
        [
            Said::cenc(OTHER_KID, &[1; 8], &[(0, 10)]),
            Said::Clear,
            Said::cenc([0xcc; 16], &[2; 16], &[(0, 10)]),
            Said::cenc(KID, &[3; 8], &[(0, 10)]),
            Said::cenc(KID, &[4; 8], &[(0, 10)]),
        ]
    );
}

#[test]
fn descriptions_come_in_five_forms() {
    let entry = [&[0][..], &fields(0, 1, 8, OTHER_KID, &[])].concat();
    let len = u32::try_from(entry.len()).unwrap();
    let forms = [
        full(b"sgpd", 0, 0, &[b"seig", &words(&[1]), &entry]),
        full(b"sgpd", 1, 0, &[b"seig", &words(&[len, 1]), &entry]),
        full(b"sgpd", 1, 0, &[b"seig", &words(&[0, 1, len]), &entry]),
        full(b"sgpd", 2, 0, &[b"seig", &words(&[len, 0, 1]), &entry]),
        full(b"sgpd", 2, 0, &[b"seig", &words(&[0, 1]), &entry]),
    ];
    let map = sbgp(&[1, 0x1_0001]);
    for form in forms {
        let said = protections(
            &cenc(),
            &[],
            1,
            &[10],
            &[form, map.clone(), senc(0, &[vec![1; 8]])],
        );
        assert_eq!(said, [Said::cenc(OTHER_KID, &[1; 8], &[])]);
    }
}

#[test]
fn samples_that_are_not_mapped_are_in_the_default_group() {
    let entry = [&[0][..], &fields(0, 1, 8, OTHER_KID, &[])].concat();
    let len = u32::try_from(entry.len()).unwrap();
    let groups = full(b"sgpd", 2, 0, &[b"seig", &words(&[len, 1, 1]), &entry]);
    let information = senc(0, &[vec![1; 8], vec![2; 8]]);
    let expected = [
        Said::cenc(OTHER_KID, &[1; 8], &[]),
        Said::cenc(OTHER_KID, &[2; 8], &[]),
    ];
    let parts = [groups.clone(), information.clone()];
    assert_eq!(protections(&cenc(), &[], 1, &[10; 2], &parts), expected);
    assert_eq!(
        protections(
            &cenc(),
            std::slice::from_ref(&groups),
            1,
            &[10; 2],
            std::slice::from_ref(&information)
        ),
        expected
    );
    let said = protections(&cenc(), &[], 1, &[10; 2], &[groups, sbgp(&[1, 0]), information]);
    assert_eq!(
        said,
        [Said::cenc(KID, &[1; 8], &[]), Said::cenc(OTHER_KID, &[2; 8], &[])]
    );
}

#[test]
fn no_sample_is_clear_for_want_of_information() {
    let long = record(&[1; 8], &[(4, 6), (0, 1)]);
    let mut cut = record(&[1; 8], &[(4, 6)]);
    cut.pop();
    let many_keys = [&[0x80][..], &fields(0, 1, 8, KID, &[])].concat();
    let many_keys = full(b"sgpd", 0, 0, &[b"seig", &words(&[1]), &many_keys]);
    let cases: [(Vec<Vec<u8>>, &str); 11] = [
        (vec![], "moof/traf at byte 0: a sample has no IV"),
        (
            vec![senc(2, &[long])],
            "moof/traf at byte 0: the subsamples of a sample are not as long as the sample",
        ),
        (
            vec![senc(2, &[cut])],
            "moof/traf/senc at byte 16: the box ends inside a field",
        ),
        (
            vec![senc(0, &[vec![1; 7]])],
            "moof/traf/senc at byte 16: the box ends inside a field",
        ),
        (
            vec![senc(0, &[vec![1; 8]]); 2],
            "moof/traf/senc at byte 0: the sample encryption box is there twice",
        ),
        (
            vec![full(b"senc", 1, 0, &[&words(&[0])])],
            "moof/traf/senc at byte 0: this version of the sample encryption box is not supported",
        ),
        (
            vec![sgpd(&[fields(0, 1, 8, KID, &[])]), sbgp(&[1, 2])],
            "moof/traf/sgpd has no entry for sample 0",
        ),
        (
            vec![sbgp(&[1, 0x1_0000])],
            "moof/traf/sgpd has no entry for sample 0",
        ),
        (
            vec![sbgp(&[1, 0x1_0001])],
            "moof/traf/sgpd has no entry for sample 0",
        ),
        (
            vec![
                full(b"saiz", 0, 0, &[&[8], &words(&[1])]),
                full(b"saio", 0, 0, &[&words(&[0])]),
            ],
            "moof/traf/saio has no entry for sample 0",
        ),
        (
            vec![
                full(b"saiz", 0, 0, &[&[9], &words(&[1])]),
                full(b"saio", 0, 0, &[&words(&[1, 0])]),
            ],
            "moof/traf at byte 0: the auxiliary information of a sample is cut off",
        ),
    ];
    for (parts, message) in cases {
        assert_eq!(
            protections(&cenc(), &[], 1, &[10], &parts),
            [Said::Refused(message.into())]
        );
    }
    for (part, what) in [
        (many_keys, "several keys in one sample"),
        (
            full(b"csgp", 0, 0, &[b"seig"]),
            "the compact form of sample groups",
        ),
    ] {
        let bytes = bx(b"traf", &[&part]);
        let error = Groups::parse(&span(&bytes)).unwrap_err();
        assert!(
            matches!(error, BoxError::Unsupported { what: found, .. } if found == what),
            "{error}"
        );
    }
}

#[test]
fn an_entry_without_default_protects_only_groups() {
    let no_default = sinf(b"avc1", b"cenc", &[]);
    let parts = [
        sgpd(&[fields(0, 1, 8, KID, &[])]),
        sbgp(&[1, 0x1_0001]),
        senc(0, &[vec![1; 8], vec![]]),
    ];
    let said = protections(&no_default, &[], 1, &[10; 2], &parts);
    assert_eq!(said[0], Said::cenc(KID, &[1; 8], &[]));
    assert_eq!(
        said[1],
        Said::Refused("moof/traf/sgpd has no entry for sample 1".into())
    );
}

#[test]
fn offsets_are_wanted_only_for_information() {
    let saiz = full(b"saiz", 0, 0, &[&[0], &words(&[2]), &[0, 0]]);
    let saio = full(b"saio", 0, 0, &[&words(&[0])]);
    let said = protections(&cbcs(), &[], 1, &[10; 2], &[saiz, saio.clone()]);
    assert!(
        matches!(&said[..], [Said::Protected { iv, subsamples, .. }, Said::Protected { .. }]
            if *iv == [7; 16] && subsamples.is_empty()),
        "{said:?}"
    );
    let saiz = full(b"saiz", 0, 0, &[&[0], &words(&[2]), &[0, 8]]);
    let said = protections(&cbcs(), &[], 1, &[10; 2], &[saiz, saio]);
    assert_eq!(
        said[1],
        Said::Refused("moof/traf/saio has no entry for sample 1".into())
    );
}

#[test]
fn piff_replaces_nothing_in_other_schemes() {
    let fields = [&[0, 0, 0, 0][..], &[0; 16], &words(&[1])].concat();
    let uuid = bx(b"uuid", &[&kind::PIFF_SENC, &words(&[1]), &fields]);
    let said = protections(&sinf(b"avc1", b"othr", &[]), &[], 1, &[10], &[uuid]);
    assert!(
        matches!(&said[..], [Said::Refused(why)] if why.contains("other than common encryption")),
        "{said:?}"
    );
}

/// The key that replaces the default is in the box; no other information is then taken.
#[test]
fn piff_that_replaces_the_default_covers_every_sample() {
    let fields = [&[0, 0, 1, 8][..], &OTHER_KID, &words(&[1]), &[5; 8]].concat();
    let uuid = bx(b"uuid", &[&kind::PIFF_SENC, &words(&[1]), &fields]);
    let saiz = full(b"saiz", 0, 0, &[&[8], &words(&[2])]);
    let saio = full(b"saio", 0, 0, &[&words(&[1, 0])]);
    assert_eq!(
        protections(&cenc(), &[], 1, &[10; 2], &[uuid, saiz, saio]),
        [
            Said::cenc(OTHER_KID, &[5; 8], &[]),
            Said::Refused("moof/traf/uuid has no entry for sample 1".into()),
        ]
    );
}

#[test]
fn samples_are_asked_for_in_order() {
    let file = movie(&cbcs(), &five_samples());
    let movie = Movie::parse(&span(&file)).unwrap();
    let track = &movie.tracks[0];
    let protection = TrackProtection::of(track);
    let samples: Vec<_> = track.tables.samples(4000).unwrap().map(Result::unwrap).collect();
    for order in [&[1][..], &[0, 0], &[0, 2], &[0, 1, 3, 2]] {
        let mut cursor = ProtectionCursor::of_track(track, &protection).unwrap();
        let (last, before) = order.split_last().unwrap();
        let asked: Vec<_> = before
            .iter()
            .map(|at| cursor.next(&samples[*at]).is_ok())
            .collect();
        assert!(asked.iter().take(2).all(|found| *found));
        let refused = cursor.next(&samples[*last]).unwrap_err();
        assert!(matches!(refused, BoxError::OutOfOrder { .. }), "{order:?}");
        assert!(cursor.next(&samples[*last]).is_err(), "nothing follows an error");
    }
}
