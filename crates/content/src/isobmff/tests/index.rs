//! Segment index and random access table.

use super::*;

fn sample_index() -> SegmentIndex {
    let media = SegmentReference {
        to_index: false,
        size: 0x7fff_ffff,
        duration: 5,
        starts_with_sap: true,
        sap_type: 7,
        sap_delta_time: 0x0fff_ffff,
    };
    SegmentIndex {
        reference_id: 1,
        timescale: 90000,
        earliest_presentation_time: 1 << 40,
        first_offset: 3,
        references: vec![
            media,
            SegmentReference {
                to_index: true,
                size: 2,
                ..SegmentReference::default()
            },
        ],
    }
}

#[test]
fn an_index_is_written_and_read() {
    let index = sample_index();
    let bytes = index.to_node().unwrap().to_vec();
    let header = words(&[64, u32::from_be_bytes(*b"sidx"), 0x0100_0000]);
    let body = words(&[
        1,
        90000,
        256,
        0,
        0,
        3,
        2,
        0x7fff_ffff,
        5,
        u32::MAX,
        0x8000_0002,
        0,
        0,
    ]);
    assert_eq!(bytes, [header, body].concat());
    assert_eq!(SegmentIndex::encoded_len(2), 64);
    assert_eq!(SegmentIndex::parse(&span(&bytes)), Ok(index));
}

#[test]
fn version_0_has_times_of_32_bits() {
    let bytes = table(b"sidx", 0, &[1, 1000, 44, 55, 1, 10, 20, 0x9000_0000]);
    let index = SegmentIndex::parse(&span(&bytes)).unwrap();
    assert_eq!((index.earliest_presentation_time, index.first_offset), (44, 55));
    let reference = index.references[0];
    assert_eq!((reference.size, reference.duration), (10, 20));
    assert!(reference.starts_with_sap && reference.sap_type == 1);
}

#[test]
fn an_index_that_does_not_fit_is_refused() {
    let mut index = sample_index();
    index.references[1].size = 1 << 31;
    assert!(matches!(index.to_node(), Err(BoxError::Edit { .. })));
    index.references[1].size = 0;
    index
        .references
        .resize(SegmentIndex::MAX_REFERENCES + 1, SegmentReference::default());
    assert!(matches!(index.to_node(), Err(BoxError::Edit { .. })));
    let bytes = table(b"sidx", 0, &[1, 1000, 44, 55, 2, 10, 20, 0]);
    assert!(matches!(
        SegmentIndex::parse(&span(&bytes)),
        Err(BoxError::Count { .. })
    ));
    let bytes = table(b"sidx", 2, &[1; 9]);
    assert!(matches!(
        SegmentIndex::parse(&span(&bytes)),
        Err(BoxError::Unsupported { .. })
    ));
}

/// Two entries: time, position, then numbers of 1, 2 and 3 bytes.
fn random_access() -> Vec<u8> {
    let numbers = [1, 0, 2, 0, 0, 3];
    let entries = [&words(&[10, 100])[..], &numbers, &words(&[20, 200]), &numbers].concat();
    let tfra = full(b"tfra", 0, 0, &[&words(&[1, 0b00_01_10, 2]), &entries]);
    let len = u32::try_from(tfra.len() + 24).unwrap();
    bx(b"mfra", &[&tfra, &table(b"mfro", 0, &[len])])
}

#[test]
fn fragments_move_in_the_random_access_table() {
    let file = random_access();
    let mut mfra = Node::from_span(&span(&file));
    move_fragments(&mut mfra, Some).unwrap();
    assert_eq!(mfra.to_vec(), file);
    move_fragments(&mut mfra, |position| position.checked_add(7)).unwrap();
    let moved = mfra.to_vec();
    let changed: Vec<_> = (0..file.len()).filter(|at| file[*at] != moved[*at]).collect();
    assert_eq!(changed, [8 + 24 + 7, 8 + 24 + 14 + 7]);
    assert_eq!((moved[changed[0]], moved[changed[1]]), (107, 207));
}

#[test]
fn positions_above_32_bits_widen_the_table() {
    let file = random_access();
    let mut mfra = Node::from_span(&span(&file));
    move_fragments(&mut mfra, |position| position.checked_add(1 << 32)).unwrap();
    let moved = mfra.to_vec();
    assert_eq!(moved.len(), file.len() + 16);
    let entries = &moved[8 + 24..];
    assert_eq!(entries[..16], words(&[0, 10, 1, 100]));
    assert_eq!(entries[16..22], [1, 0, 2, 0, 0, 3]);
    assert_eq!(entries[22..38], words(&[0, 20, 1, 200]));
    let stated = u32::try_from(moved.len()).unwrap().to_be_bytes();
    assert_eq!(moved[moved.len() - 4..], stated, "the size in mfro");
}

#[test]
fn positions_without_a_fragment_are_refused() {
    let file = random_access();
    let mut mfra = Node::from_span(&span(&file));
    let error = move_fragments(&mut mfra, |position| (position == 100).then_some(0)).unwrap_err();
    assert!(matches!(error, BoxError::OutOfRange { .. }));
    let file = bx(b"mfra", &[&table(b"tfra", 0, &[1, 0, u32::MAX, 0, 0])]);
    let error = move_fragments(&mut Node::from_span(&span(&file)), Some).unwrap_err();
    assert!(matches!(error, BoxError::Count { .. }));
}
