//! Movies, tracks and the sample tables of progressive files.

use super::*;

fn tables_of(boxes: &[Vec<u8>]) -> Result<Vec<Sample>, BoxError> {
    let stbl = bx(b"stbl", &[&boxes.concat()]);
    SampleTables::parse(&span(&stbl))?.samples(4000)?.collect()
}

/// [`five_samples`] with one table in place of another.
fn with(replaced: &[u8; 4], boxes: &[Vec<u8>]) -> Result<Vec<Sample>, BoxError> {
    let mut tables = five_samples();
    tables.retain(|table| table[4..8] != *replaced);
    tables.extend_from_slice(boxes);
    tables_of(&tables)
}

fn sizes(samples: &[Sample]) -> Vec<u32> {
    samples.iter().map(|sample| sample.size).collect()
}

#[test]
fn samples_come_from_all_tables_together() {
    let samples = with(
        b"none",
        &[
            table(b"ctts", 0, &[2, 4, 7, 1, u32::MAX]),
            table(b"stss", 0, &[2, 1, 4]),
            full(b"sdtp", 0, 0, &[&[0x20, 0x10, 0x14, 0x20, 0x08]]),
        ],
    )
    .unwrap();
    let row = |s: &Sample| {
        (
            s.index,
            s.offset,
            s.size,
            s.decode_time,
            s.duration,
            s.description_index,
            s.chunk,
        )
    };
    assert_eq!(
        samples.iter().map(row).collect::<Vec<_>>(),
        [
            (0, 1000, 10, 0, 100, 1, 0),
            (1, 1010, 20, 100, 100, 1, 0),
            (2, 2000, 30, 200, 100, 1, 1),
            (3, 2030, 40, 300, 50, 1, 1),
            (4, 3000, 50, 350, 50, 2, 2),
        ]
    );
    let offsets: Vec<_> = samples.iter().map(|sample| sample.composition_offset).collect();
    assert_eq!(offsets, [7, 7, 7, 7, i64::from(u32::MAX)]);
    let flags: Vec<_> = samples
        .iter()
        .map(|sample| (sample.is_sync(), sample.flags.0))
        .collect();
    assert_eq!(
        flags,
        [
            (true, 0x0200_0000),
            (false, 0x0101_0000),
            (false, 0x0141_0000),
            (true, 0x0200_0000),
            (false, 0x0081_0000)
        ]
    );
}

#[test]
fn without_stss_every_sample_is_a_sync_sample() {
    assert!(with(b"none", &[]).unwrap().iter().all(Sample::is_sync));
    assert!(
        !with(b"none", &[table(b"stss", 0, &[0])])
            .unwrap()
            .iter()
            .any(Sample::is_sync)
    );
}

#[test]
fn composition_offsets_of_version_1_are_signed() {
    let samples = with(b"none", &[table(b"ctts", 1, &[1, 5, (-3_i32).cast_unsigned()])]).unwrap();
    assert_eq!(samples[4].composition_offset, -3);
}

#[test]
fn sizes_come_in_five_forms() {
    let stz2 = |bits: u32, bytes: &[u8]| full(b"stz2", 0, 0, &[&words(&[bits, 5]), bytes]);
    for (form, expected) in [
        (table(b"stsz", 0, &[6, 5]), [6, 6, 6, 6, 6]),
        (table(b"stsz", 0, &[0, 5, 1, 2, 3, 4, 5]), [1, 2, 3, 4, 5]),
        (stz2(4, &[0x12, 0x34, 0x5f]), [1, 2, 3, 4, 5]),
        (stz2(8, &[9, 8, 7, 6, 5]), [9, 8, 7, 6, 5]),
        (stz2(16, &[1, 0, 0, 2, 0, 3, 0, 4, 0, 5]), [256, 2, 3, 4, 5]),
    ] {
        assert_eq!(sizes(&with(b"stsz", &[form]).unwrap()), expected);
    }
}

#[test]
fn chunk_positions_may_have_64_bits() {
    let co64 = full(b"co64", 0, 0, &[&words(&[3, 0, 1000, 0, 2000, 0, 3000])]);
    assert_eq!(with(b"stco", &[co64]), with(b"none", &[]));
    let far = full(
        b"co64",
        0,
        0,
        &[&words(&[3, 0, 1000, 0, 2000, u32::MAX, u32::MAX])],
    );
    assert!(matches!(with(b"stco", &[far]), Err(BoxError::OutOfRange { .. })));
}

#[test]
fn a_table_that_does_not_fit_is_refused() {
    let cases: [(&[u8; 4], Vec<u8>, &str); 13] = [
        (
            b"stts",
            table(b"stts", 0, &[1, 4, 100]),
            "stbl/stts has no entry for sample 4",
        ),
        (
            b"stts",
            table(b"stts", 0, &[9, 4, 100]),
            "stbl/stts at byte 16: 9 entries are stated but there are bytes for 1",
        ),
        (
            b"none",
            table(b"ctts", 0, &[1, 4, 100]),
            "stbl/ctts has no entry for sample 4",
        ),
        (
            b"none",
            table(b"ctts", 2, &[0]),
            "stbl/ctts at byte 0: this version of the table is not supported",
        ),
        (
            b"stsc",
            table(b"stsc", 0, &[0]),
            "stbl/stsc has no entry for sample 0",
        ),
        (
            b"stsc",
            table(b"stsc", 0, &[1, 2, 2, 1]),
            "stbl/stsc at byte 16: the first chunks are not 1 and then ascending",
        ),
        (
            b"stsc",
            table(b"stsc", 0, &[2, 1, 2, 1, 1, 2, 1]),
            "stbl/stsc at byte 16: the first chunks are not 1 and then ascending",
        ),
        (
            b"stsc",
            table(b"stsc", 0, &[1, 1, 1, 1]),
            "stbl/stco has no entry for sample 3",
        ),
        (
            b"stco",
            table(b"stco", 0, &[3, 1000, 2000, 3999]),
            "stbl: the end of a sample is past the end of the file or of its field",
        ),
        (
            b"stsz",
            table(b"stsz", 0, &[0, 6, 1, 2, 3, 4, 5]),
            "stbl/stsz at byte 20: 6 entries are stated but there are bytes for 5",
        ),
        (
            b"stsz",
            table(b"stsz", 0, &[900, 5]),
            "stbl: the end of the samples is past the end of the file or of its field",
        ),
        (
            b"stsz",
            table(b"stsz", 0, &[1, u32::MAX]),
            "stbl: the end of the samples is past the end of the file or of its field",
        ),
        (
            b"stsz",
            full(b"stz2", 0, 0, &[&words(&[5, 0])]),
            "stbl/stz2 at byte 20: the field size is not 4, 8 or 16",
        ),
    ];
    for (replaced, table, message) in cases {
        assert_eq!(with(replaced, &[table]).unwrap_err().to_string(), message);
    }
    for missing in [b"stts", b"stsc", b"stsz", b"stco"] {
        assert!(matches!(with(missing, &[]), Err(BoxError::Missing { .. })));
    }
}

#[test]
fn nothing_follows_an_error() {
    let stbl = bx(b"stbl", &[&five_samples().concat()]);
    let tables = SampleTables::parse(&span(&stbl)).unwrap();
    let found: Vec<_> = tables.samples(2020).unwrap().collect();
    assert_eq!(found.len(), 3);
    assert!(found[1].is_ok() && found[2].is_err());
}

#[test]
fn a_clone_goes_on_from_its_place() {
    let stbl = bx(b"stbl", &[&five_samples().concat()]);
    let mut all = SampleTables::parse(&span(&stbl)).unwrap().samples(4000).unwrap();
    let first = all.next();
    let rest = all.clone();
    assert_eq!(places(rest), places(all));
    assert_eq!(first.unwrap().unwrap().offset, 1000);
}

#[test]
fn a_movie_is_read() {
    let file = progressive();
    let movie = Movie::parse(&span(&file)).unwrap();
    assert_eq!(
        (
            movie.timescale,
            movie.duration,
            movie.fragmented,
            movie.fragment_duration
        ),
        (600, 270, false, None)
    );
    let track = movie.track(1).unwrap();
    assert_eq!(
        (track.handler, track.timescale, track.duration),
        (Handler::Video, 1000, 450)
    );
    assert!(track.self_contained);
    let entry = track.entry(2).unwrap();
    assert_eq!(entry.coding(), Ok(FourCc(*b"avc1")));
    assert_eq!(
        entry.configuration(),
        Ok(Some((FourCc(*b"avcC"), &[1, 2, 3][..])))
    );
    assert_eq!(entry.data_reference_index(), Ok(1));
    assert_eq!(entry.protection, None);
    assert!(track.entry(0).is_none() && track.entry(3).is_none());
    assert_eq!(track.tables.samples(4000).unwrap().count(), 5);
}

#[test]
fn headers_of_version_1_have_64_bits() {
    let mvhd = full(b"mvhd", 1, 0, &[&words(&[0, 0, 0, 0, 90000, 1, 2])]);
    let mehd = full(b"mehd", 1, 0, &[&words(&[3, 4])]);
    let file = bx(b"moov", &[&mvhd, &bx(b"mvex", &[&mehd])]);
    let movie = Movie::parse(&span(&file)).unwrap();
    assert_eq!(
        (movie.duration, movie.fragment_duration),
        (1 << 32 | 2, Some(3 << 32 | 4))
    );
    assert!(movie.fragmented);
}

#[test]
fn audio_entries_of_quicktime_are_longer() {
    let config = bx(b"esds", &[&[1]]);
    for (version, extra, stsd_version) in [(0, 0, 0), (1, 16, 0), (2, 36, 0), (1, 0, 1)] {
        let entry = bx(
            b"mp4a",
            &[&[0; 7], &[1], &[0, version], &[0; 18], &vec![0; extra], &config],
        );
        let stsd = full(b"stsd", stsd_version, 0, &[&words(&[1]), &entry]);
        let entries = SampleEntry::parse_all(&span(&stsd), Handler::Audio).unwrap();
        assert_eq!(
            entries[0].configuration(),
            Ok(Some((FourCc(*b"esds"), &[1][..]))),
            "{version}"
        );
    }
}

#[test]
fn movies_that_cannot_be_read_are_refused() {
    let track = |id| trak(id, b"vide", &[], &five_samples());
    let cases = [
        (
            moov(&[&track(1), &track(2), &track(1)]),
            "moov/trak: the track id 1 is 0 or not unique",
        ),
        (moov(&[&track(0)]), "moov/trak: the track id 0 is 0 or not unique"),
        (moov(&[&bx(b"trak", &[])]), "moov/trak lacks the box mdia"),
        (bx(b"moov", &[]), "moov lacks the box mvhd"),
        (bx(b"moof", &[]), "moof at byte 0: the box is not a movie"),
        (
            bx(b"moov", &[&table(b"mvhd", 0, &[0, 0, 0, 0])]),
            "moov/mvhd at byte 24: the timescale is 0",
        ),
        (
            moov(&[&trak(1, b"vide", &[&bx(b"avc1", &[&[0; 77]])], &five_samples())]),
            "moov/trak/mdia/minf/stbl/stsd/avc1 at byte 8: the box ends inside a field",
        ),
        (
            moov(&[&trak(1, b"vide", &[&visual(b"encv", &[])], &five_samples())]),
            "moov/trak/mdia/minf/stbl/stsd/encv at byte 0: \
             a protected sample entry without known protection is not supported",
        ),
    ];
    for (file, message) in cases {
        assert_eq!(Movie::parse(&span(&file)).unwrap_err().to_string(), message);
    }
    let many: Vec<_> = (1..).take(MAX_TRACKS + 1).flat_map(track).collect();
    assert!(matches!(
        Movie::parse(&span(&moov(&[&many]))),
        Err(BoxError::TooMany { .. })
    ));
}

#[test]
fn samples_in_other_files_are_seen() {
    let file = progressive();
    let at = file.windows(4).position(|window| window == b"url ").unwrap();
    let mut elsewhere = file.clone();
    elsewhere[at + 7] = 0;
    let movie = span(&elsewhere);
    assert!(!Movie::parse(&movie).unwrap().tracks[0].self_contained);
}

#[test]
fn sample_entries_are_bounded() {
    let entry = bx(b"stpp", &[]);
    let movie = |count| moov(&[&trak(1, b"subt", &vec![&entry[..]; count], &five_samples())]);
    let most = movie(MAX_ENTRIES);
    assert_eq!(
        Movie::parse(&span(&most)).unwrap().tracks[0].entries.len(),
        MAX_ENTRIES
    );
    let error = Movie::parse(&span(&movie(MAX_ENTRIES + 1))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "moov/trak/mdia/minf/stbl/stsd has more than 1024 sample entries"
    );
}
