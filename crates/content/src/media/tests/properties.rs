//! Whatever the file and the order of reading: the view is the same.

use std::io::{Cursor, Read, Seek, SeekFrom};

use proptest::prelude::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::{
    super::{ClearView, danger::RawKeys},
    all_samples,
    build::{Spec, keys},
    check, read_all,
};

fn spec(seed: u64) -> Spec {
    Spec::random(&mut ChaCha20Rng::seed_from_u64(seed))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_file_reads_as_its_clear_form(seed: u64) {
        check(&spec(seed));
    }

    #[test]
    fn reading_in_pieces_from_anywhere_is_reading_the_whole(
        seed: u64,
        pieces in prop::collection::vec((0.0_f64..1.1, 0_usize..400), 1..30),
    ) {
        let made = spec(seed).build();
        let mut view = ClearView::open(Cursor::new(&made.protected), keys()).unwrap();
        for (place, len) in pieces {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a small file")]
            let at = (made.clear.len() as f64 * place) as usize;
            view.seek(SeekFrom::Start(at as u64)).unwrap();
            let mut piece = Vec::new();
            (&mut view).take(len as u64).read_to_end(&mut piece).unwrap();
            let rest = made.clear.get(at..).unwrap_or_default();
            prop_assert!(piece == rest[..len.min(rest.len())]);
        }
    }

    #[test]
    fn altered_bytes_end_in_an_error_or_in_other_bytes(
        seed: u64,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut file = spec(seed).build().protected;
        for (place, byte) in changes {
            let at = place.index(file.len());
            file[at] = byte;
        }
        let (read, error) = read_all(&file, keys());
        prop_assert!(error.is_some() || read.len() == file.len());
        all_samples(&file, keys()).ok();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25))]

    #[test]
    fn a_file_that_ends_early_gives_what_is_clear_or_an_error(seed: u64) {
        let made = spec(seed).build();
        for len in 0..made.protected.len() {
            let (read, _) = read_all(&made.protected[..len], keys());
            prop_assert!(made.clear.starts_with(&read), "cut to {len}");
            // And without keys nothing that is protected: every byte is one of the clear form.
            let (read, _) = read_all(&made.protected[..len], RawKeys::new());
            prop_assert!(made.clear.starts_with(&read), "cut to {len}, without keys");
            all_samples(&made.protected[..len], keys()).ok();
        }
    }
}
