//! What holds of every file and every change to one.

use proptest::prelude::*;

use super::{fields::with_header, *};

/// A changed file is refused by both readers, and the stream gives out nothing but true beginnings.
fn assert_refused(changed: &[u8], original: &[u8], what: &str) {
    let (given, ended) = stream(changed);
    assert!(ended.is_err(), "{what}: the stream ended well");
    assert!(
        original.starts_with(&given),
        "{what}: the stream gave out foreign bytes"
    );
    let whole = seekable(changed)
        .ok()
        .map(|mut reader| reader.read_to_end(&mut Vec::new()));
    assert!(
        !matches!(whole, Some(Ok(_))),
        "{what}: the seekable reader read it through"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_size_round_trips(size in 0..5 * CHUNK, seed: u8) {
        let plain = plaintext(size);
        prop_assert_eq!(stream(&seal(&header(), &plain, seed)), (plain, Ok(())));
    }

    #[test]
    fn any_flipped_bit_of_a_chunk_is_detected(size in 0..3 * CHUNK, at: prop::sample::Index, bit in 0..8_u8) {
        let plain = plaintext(size);
        let mut file = seal(&header(), &plain, 1);
        let start = usize::try_from(opener(&file).unwrap().chunks_start()).unwrap();
        let position = start + at.index(file.len() - start);
        file[position] ^= 1 << bit;
        assert_refused(&file, &plain, &format!("bit {bit} of byte {position}"));
    }

    #[test]
    fn any_truncation_is_detected(size in 0..3 * CHUNK, at: prop::sample::Index) {
        let plain = plaintext(size);
        let file = seal(&header(), &plain, 1);
        let len = at.index(file.len());
        assert_refused(&file[..len], &plain, &format!("cut to {len}"));
        prop_assert!(seekable(&file[..len]).is_err(), "a seeking reader notices at once");
    }

    #[test]
    fn any_extension_is_detected(size in 0..3 * CHUNK, extra in prop::collection::vec(any::<u8>(), 1..2 * CHUNK)) {
        let plain = plaintext(size);
        let file = [seal(&header(), &plain, 1), extra].concat();
        assert_refused(&file, &plain, "extended");
        prop_assert!(seekable(&file).is_err(), "a seeking reader notices at once");
    }

    #[test]
    fn any_two_swapped_chunks_are_detected(chunks in 2..6_usize, a: prop::sample::Index, b: prop::sample::Index) {
        let (a, b) = (a.index(chunks), b.index(chunks));
        prop_assume!(a != b);
        let plain = vec![0; chunks * CHUNK];
        let mut file = seal(&header(), &plain, 1);
        let start = usize::try_from(opener(&file).unwrap().chunks_start()).unwrap();
        let (first, second) = (a.min(b), a.max(b));
        let (left, right) = file[start..].split_at_mut(second * SEALED);
        left[first * SEALED..][..SEALED].swap_with_slice(&mut right[..SEALED]);
        assert_refused(&file, &plain, "swapped");
    }

    #[test]
    fn any_chunk_left_out_or_repeated_is_detected(chunks in 2..5_usize, at: prop::sample::Index, repeat: bool) {
        let plain = vec![0; chunks * CHUNK];
        let file = seal(&header(), &plain, 1);
        let start = usize::try_from(opener(&file).unwrap().chunks_start()).unwrap();
        let chunk = start + at.index(chunks) * SEALED;
        let resume = if repeat { chunk } else { chunk + SEALED };
        let cut = if repeat { chunk + SEALED } else { chunk };
        let changed = [&file[..cut], &file[resume..]].concat();
        assert_refused(&changed, &plain, "left out or repeated");
    }

    #[test]
    fn any_splice_from_another_file_under_the_same_key_is_detected(size in CHUNK..4 * CHUNK, at: prop::sample::Index) {
        let (one, two) = (plaintext(size), vec![7; size]);
        let (file, other) = (seal(&header(), &one, 1), seal(&header(), &two, 2));
        let start = usize::try_from(opener(&file).unwrap().chunks_start()).unwrap();
        let other_start = usize::try_from(opener(&other).unwrap().chunks_start()).unwrap();
        let chunk = at.index(size.div_ceil(CHUNK)) * SEALED;
        let spliced = [&file[..start + chunk], &other[other_start + chunk..]].concat();
        assert_refused(&spliced, &one, "spliced chunks");
        let changed_head = [&other[..other_start], &file[start..]].concat();
        assert_refused(&changed_head, &two, "header of another file");
    }

    #[test]
    fn seeks_equal_slices(size in 0..4 * CHUNK, seeks in prop::collection::vec((any::<prop::sample::Index>(), 0..2 * CHUNK), 1..8)) {
        let plain = plaintext(size);
        let file = seal(&header(), &plain, 1);
        let mut reader = seekable(&file).unwrap();
        for (at, len) in seeks {
            let from = at.index(size + 1);
            reader.seek(SeekFrom::Start(from as u64)).unwrap();
            let mut given = Vec::new();
            reader.by_ref().take(len as u64).read_to_end(&mut given).unwrap();
            prop_assert_eq!(&given, &plain[from..(from + len).min(size)]);
            prop_assert_eq!(reader.stream_position().unwrap(), (from + given.len()) as u64);
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
        LockedFile::parse(&bytes).ok();
        LockedFile::parse(&with_header(&bytes)).ok();
        let mut file = seal(&header(), b"words", 1);
        for (at, byte) in flips {
            let position = at.index(file.len());
            file[position] = byte;
        }
        LockedFile::parse(&file).ok();
    }
}
