//! Keys that rotate, in media that comes through a pipe.

use core::time::Duration;

use keyward_content::{cenc::Scheme, isobmff::kind};
use keyward_packager::{
    CryptoPeriods, MediaError, MediaOptions, MemorySink, PackagerError, PipedMedia, ProtectedMedia, Rotation,
    protect_rotating_stream,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::{
    read::*,
    rotation::{FIRST, Periods, all_keys, clear, forms, lanes, options, rotate},
    stream::{assert_open_index, trickle, without_index},
};

fn rotate_piped(
    file: &[u8],
    options: &MediaOptions,
    source: &mut Periods,
) -> Result<ProtectedMedia<Vec<u8>>, PackagerError> {
    let PipedMedia::Fragments(stream) = PipedMedia::open(trickle(file, 997)).unwrap() else {
        panic!("these are fragments");
    };
    let rotation = Rotation {
        periods: CryptoPeriods {
            duration: Duration::from_secs(2),
            first: FIRST,
        },
        source,
    };
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let sink = MemorySink::default();
    protect_rotating_stream(stream, sink, options, rotation, &mut rng, &mut |_| {})
}

#[test]
fn a_pipe_gives_what_a_file_gives() {
    for (number, file) in forms().iter().enumerate().skip(1) {
        for scheme in [Scheme::Cenc, Scheme::Cbcs] {
            for (per_kind, roots) in [(false, 0), (true, 2)] {
                let mut source = Periods::new(per_kind, roots);
                let made = rotate(file, &options(scheme), &mut source).unwrap();
                let piped = rotate_piped(file, &options(scheme), &mut source).unwrap();
                assert_open_index(&piped.output);
                assert_samples(&clear(&piped.output, all_keys(&source)), &lanes());
                assert_eq!(piped.tracks, made.tracks);
                assert_eq!(piped.periods, made.periods);
                // The last form has a table of places.
                if number < 3 {
                    assert!(without_index(&piped.output) == without_index(&made.output));
                }
            }
        }
    }
}

#[test]
fn more_and_more_keys_are_fetched_at_once() {
    let mut source = Periods::new(true, 1);
    rotate_piped(&forms()[1], &options(Scheme::Cenc), &mut source).unwrap();
    assert_eq!(source.asked, [(FIRST, 1), (FIRST + 1, 2), (FIRST + 3, 3)]);
}

#[test]
fn behind_a_clear_lead_the_first_period_is_that_in_which_it_ends() {
    let options = MediaOptions {
        clear_lead: Duration::from_secs(3),
        ..options(Scheme::Cenc)
    };
    for file in &forms()[1..3] {
        let mut source = Periods::new(true, 0);
        let made = rotate(file, &options, &mut source).unwrap();
        source.asked.clear();
        let piped = rotate_piped(file, &options, &mut source).unwrap();
        assert_eq!(source.asked[0], (FIRST + 1, 1));
        assert_eq!(piped.periods, made.periods);
        assert!(without_index(&piped.output) == without_index(&made.output));
    }
    let too_long = MediaOptions {
        clear_lead: Duration::from_secs(60),
        ..options
    };
    let refused = rotate_piped(&forms()[1], &too_long, &mut Periods::new(true, 0)).unwrap_err();
    assert!(
        matches!(refused, PackagerError::Media(MediaError::NothingBehindLead(1))),
        "{refused}"
    );
}

#[test]
fn without_fragments_no_key_is_asked_for() {
    let file = &forms()[1];
    let head = &file[..of_kind(file, kind::MOOF)[0].offset() as usize];
    let mut source = Periods::new(true, 1);
    let refused = rotate_piped(head, &options(Scheme::Cenc), &mut source).unwrap_err();
    assert!(
        matches!(refused, PackagerError::Media(MediaError::NoSamples)),
        "{refused}"
    );
    let keyed = rotate_piped(file, &one_key(Scheme::Cenc), &mut source).unwrap_err();
    assert!(matches!(keyed, PackagerError::Media(MediaError::KeysAndPeriods)));
    assert!(source.asked.is_empty());
}

/// A list of periods that ends with the media: more than there is may be hoped for, but not needed.
#[test]
fn periods_that_the_media_does_not_reach_need_not_be_there() {
    for roots in [0, 1] {
        let mut source = Periods::new(true, roots);
        source.end = FIRST + 5;
        let made = rotate(&forms()[1], &options(Scheme::Cenc), &mut source).unwrap();
        source.asked.clear();
        let piped = rotate_piped(&forms()[1], &options(Scheme::Cenc), &mut source).unwrap();
        assert!(source.asked.contains(&(FIRST + 3, 3)), "{:?}", source.asked);
        assert!(without_index(&piped.output) == without_index(&made.output));
    }
    let mut source = Periods::new(true, 1);
    source.end = FIRST + 4;
    let refused = rotate_piped(&forms()[1], &options(Scheme::Cenc), &mut source).unwrap_err();
    assert!(matches!(refused, PackagerError::Exchange(_)), "{refused}");
}
