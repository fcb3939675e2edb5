//! Fragments: where the samples of runs are.

use super::*;

fn tfhd(flags: u32, track: u32, rest: &[u32]) -> Vec<u8> {
    full(b"tfhd", 0, flags, &[&words(&[track]), &words(rest)])
}

fn trun(flags: u32, values: &[u32]) -> Vec<u8> {
    full(b"trun", 0, flags, &[&words(values)])
}

fn traf(parts: &[Vec<u8>]) -> Vec<u8> {
    bx(b"traf", &[&parts.concat()])
}

/// Places of the samples of each track fragment, of a `moof` box at 1000.
fn read(trafs: &[Vec<u8>]) -> Vec<Vec<(u64, u32)>> {
    let bytes = moof(trafs);
    let span = BoxSpan::parse(&bytes, 1000).unwrap();
    let fragment = Fragment::parse(&span, &defaults(&[1, 2])).unwrap();
    assert_eq!(fragment.sequence, 7);
    fragment
        .tracks
        .iter()
        .map(|track| places(track.samples(0)))
        .collect()
}

fn refused(trafs: &[Vec<u8>]) -> BoxError {
    let bytes = moof(trafs);
    Fragment::parse(&span(&bytes), &defaults(&[1])).unwrap_err()
}

#[test]
fn an_explicit_base_counts() {
    let run = trun(0x201, &[2, (-8_i32).cast_unsigned(), 3, 4]);
    assert_eq!(
        read(&[traf(&[tfhd(1, 1, &[1, 0]), run])]),
        [[((1 << 32) - 8, 3), ((1 << 32) - 5, 4)]]
    );
}

#[test]
fn data_follows_the_data_before_it() {
    let sizes = [2, 30, 40];
    let first = traf(&[tfhd(0, 1, &[]), trun(0x201, &[1, 500, 10]), trun(0x200, &sizes)]);
    let second = traf(&[tfhd(0, 2, &[]), trun(0x200, &sizes)]);
    let third = traf(&[tfhd(0x2_0000, 1, &[]), trun(0x201, &[1, 9, 1])]);
    assert_eq!(
        read(&[first, second, third]),
        [
            vec![(1500, 10), (1510, 30), (1540, 40)],
            vec![(1580, 30), (1610, 40)],
            vec![(1009, 1)],
        ]
    );
}

#[test]
fn a_run_without_offset_begins_at_the_base() {
    assert_eq!(
        read(&[traf(&[tfhd(0x2_0000, 1, &[]), trun(0, &[2])])]),
        [[(1000, 5), (1005, 5)]]
    );
}

#[test]
fn defaults_come_from_trex_header_and_run() {
    let header = tfhd(0x2_003a, 1, &[2, 33, 9, 0x0001_0000]);
    let tfdt = full(b"tfdt", 1, 0, &[&words(&[1, 0])]);
    let runs = [
        trun(0x5, &[2, 100, 0x0200_0000]),
        full(b"trun", 1, 0x500, &[&words(&[1, 44, 0x0300_0000])]),
        full(b"trun", 1, 0x800, &[&words(&[1, (-4_i32).cast_unsigned()])]),
    ];
    let bytes = moof(&[traf(&[header, tfdt, runs.concat()])]);
    let fragment = Fragment::parse(&span(&bytes), &defaults(&[1])).unwrap();
    let track = &fragment.tracks[0];
    assert_eq!((track.decode_time, track.description_index), (Some(1 << 32), 2));
    let samples: Vec<_> = track.samples(1 << 32).map(Result::unwrap).collect();
    let row = |s: &Sample| {
        let time = s.decode_time - (1 << 32);
        (
            s.index,
            s.offset,
            s.size,
            time,
            s.duration,
            s.composition_offset,
            s.flags.0,
            s.chunk,
        )
    };
    assert_eq!(
        samples.iter().map(row).collect::<Vec<_>>(),
        [
            (0, 100, 9, 0, 33, 0, 0x0200_0000, 0),
            (1, 109, 9, 33, 33, 0, 0x0001_0000, 0),
            (2, 118, 9, 66, 44, 0, 0x0300_0000, 1),
            (3, 127, 9, 110, 33, -4, 0x0001_0000, 2),
        ]
    );
    assert!(samples.iter().all(|sample| sample.description_index == 2));
    assert!(samples[0].is_sync() && !samples[1].is_sync());
}

#[test]
fn flags_of_a_sample_outrank_those_of_the_first() {
    let run = trun(0x405, &[1, 0, 0x0200_0000, 0x0101_0000]);
    let bytes = moof(&[traf(&[tfhd(0, 1, &[]), run])]);
    let fragment = Fragment::parse(&span(&bytes), &defaults(&[1])).unwrap();
    let sample = fragment.tracks[0].samples(0).next().unwrap().unwrap();
    assert_eq!(sample.flags, SampleFlags(0x0101_0000));
}

#[test]
fn fragments_that_cannot_be_read_are_refused() {
    let header = tfhd(0, 1, &[]);
    let cases = [
        (vec![tfhd(0, 9, &[])], "moof/traf/tfhd: there is no track 9"),
        (vec![], "moof/traf lacks the box tfhd"),
        (
            vec![header.clone(), header.clone()],
            "moof/traf at byte 24: the box tfhd is there twice",
        ),
        (
            vec![header.clone(), trun(0x200, &[3, 1, 1])],
            "moof/traf/trun at byte 16: 3 entries are stated but there are bytes for 2",
        ),
        (
            vec![header.clone(), trun(0xf00, &[u32::MAX])],
            "moof/traf/trun at byte 16: 4294967295 entries are stated but there are bytes for 0",
        ),
        (
            vec![header.clone(), trun(0, &[u32::MAX])],
            "moof/traf/trun has more than 4194304 samples",
        ),
        (
            vec![header.clone(), trun(0x1, &[1, u32::MAX])],
            "moof/traf/trun: the data offset is past the end of the file or of its field",
        ),
        (
            vec![tfhd(1, 1, &[u32::MAX; 2]), trun(0x200, &[1, 1])],
            "moof/traf/trun: the end of the data is past the end of the file or of its field",
        ),
    ];
    for (parts, message) in cases {
        assert_eq!(refused(&[traf(&parts)]).to_string(), message);
    }
}

#[test]
fn the_parts_of_a_fragment_are_bounded() {
    let header = tfhd(0, 1, &[]);
    let runs = trun(0, &[0]).repeat(MAX_RUNS as usize + 1);
    let error = refused(&[traf(&[header.clone(), runs])]);
    assert_eq!(error.to_string(), "moof/traf/trun has more than 65536 runs");
    let tracks = traf(&[header]).repeat(MAX_TRACK_FRAGMENTS as usize + 1);
    assert_eq!(
        refused(&[tracks]).to_string(),
        "moof/traf has more than 4096 track fragments"
    );
}

#[test]
fn decode_times_do_not_wrap() {
    let bytes = moof(&[traf(&[tfhd(0, 1, &[]), trun(0, &[3])])]);
    let fragment = Fragment::parse(&span(&bytes), &defaults(&[1])).unwrap();
    let found: Vec<_> = fragment.tracks[0].samples(u64::MAX - 15).collect();
    assert_eq!(found.len(), 2, "nothing follows an error");
    assert!(found[0].is_ok());
    assert!(matches!(found[1], Err(BoxError::OutOfRange { .. })));
}

#[test]
fn samples_without_any_bytes_are_few() {
    let empty = |count| trun(0, &[count]);
    let header = tfhd(0x10, 1, &[0]);
    let most = [header.clone(), empty(MAX_EMPTY_SAMPLES - 1), empty(1)];
    let found = read(&[traf(&most)]);
    assert_eq!(found[0].len(), MAX_EMPTY_SAMPLES as usize);
    let above = traf(&[header.clone(), empty(MAX_EMPTY_SAMPLES), empty(1)]);
    assert_eq!(
        refused(&[above]).to_string(),
        "moof/traf/trun has more than 256 empty samples"
    );
    // Those that the run says something of have bytes there.
    let stated = [&[1000][..], &[0; 1000]].concat();
    assert_eq!(read(&[traf(&[header, trun(0x200, &stated)])])[0].len(), 1000);
}

#[test]
fn the_data_of_a_fragment_is_counted() {
    let first = traf(&[tfhd(0, 1, &[]), trun(0x200, &[2, 10, 7]), trun(0, &[3])]);
    let second = traf(&[tfhd(0, 2, &[]), trun(0, &[MAX_FRAGMENT_SAMPLES - 5])]);
    let bytes = moof(&[first, second]);
    let fragment = Fragment::parse(&span(&bytes), &defaults(&[1, 2])).unwrap();
    assert_eq!(
        fragment.data_len(),
        17 + 15 + 5 * u64::from(MAX_FRAGMENT_SAMPLES - 5)
    );
}
