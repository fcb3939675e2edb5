//! The clear view of tiny files, held against what it should be byte for byte.

mod build;
mod faults;
mod properties;

use std::io::{Cursor, Read, Seek, SeekFrom};

use super::{ClearView, KeyError, LockedMedia, MediaError, danger::RawKeys};
use crate::cenc::{Pattern, Scheme};
use build::{Base, Info, Layout, Made, SampleKey, Spec, TrackSpec, key, keys, kid};

/// Reads until the end or an error.
fn read_all(file: &[u8], keys: RawKeys) -> (Vec<u8>, Option<MediaError>) {
    let mut view = match ClearView::open(Cursor::new(file), keys) {
        Ok(view) => view,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut read = Vec::new();
    let error = view.read_to_end(&mut read).err();
    (read, error.map(|error| error.downcast().unwrap()))
}

/// The samples of every track, in decoding order.
fn all_samples(file: &[u8], keys: RawKeys) -> Result<Vec<Vec<Vec<u8>>>, MediaError> {
    let mut view = ClearView::open(Cursor::new(file), keys)?;
    let ids: Vec<_> = view.media().tracks().iter().map(|track| track.id).collect();
    let mut tracks = Vec::new();
    for id in ids {
        let mut cursor = view.media().samples(id)?;
        let mut samples = Vec::new();
        while let Some(span) = view.next_sample(&mut cursor)? {
            let mut sample = vec![9; 3];
            view.read_sample(&span, &mut sample)?;
            samples.push(sample);
        }
        tracks.push(samples);
    }
    Ok(tracks)
}

fn check(spec: &Spec) -> Made {
    let made = spec.build();
    let (read, error) = read_all(&made.protected, keys());
    assert!(error.is_none(), "{error:?} of {spec:?}");
    assert!(read == made.clear, "the view differs: {spec:?}");
    assert!(
        all_samples(&made.protected, keys()).unwrap() == made.samples,
        "{spec:?}"
    );
    made
}

#[test]
fn every_scheme_layout_and_form_of_information() {
    let layouts = [
        Layout::Progressive { movie_first: true },
        Layout::Progressive { movie_first: false },
        Layout::Fragmented(Base::Moof),
        Layout::Fragmented(Base::File),
        Layout::Fragmented(Base::MoofsTogether),
    ];
    for scheme in Scheme::ALL {
        for layout in layouts {
            for info in [Info::Senc, Info::PiffSenc, Info::InMediaData] {
                for iv_len in [8, 16] {
                    let made = check(&Spec::plain().with(|spec| {
                        spec.scheme = scheme;
                        spec.layout = layout;
                        spec.info = info;
                        spec.iv_len = iv_len;
                        if scheme.has_pattern() {
                            spec.pattern = Pattern::VIDEO;
                        }
                    }));
                    assert!(made.protected != made.clear);
                }
            }
        }
    }
}

#[test]
fn a_constant_iv_needs_no_information_about_samples() {
    let mut spec = Spec::plain().with(|spec| {
        spec.scheme = Scheme::Cbcs;
        spec.info = Info::None;
        spec.constant_iv = true;
    });
    for sample in spec
        .tracks
        .iter_mut()
        .flat_map(|track| track.chunks.iter_mut().flatten())
    {
        sample.subsamples.clear();
    }
    check(&spec);
}

#[test]
fn a_clear_file_is_its_own_view() {
    let spec = Spec::plain().with(|spec| spec.tracks.iter_mut().for_each(|track| track.key = None));
    let made = spec.build();
    let (read, error) = read_all(&made.protected, RawKeys::new());
    assert!(error.is_none(), "{error:?}");
    assert!(read == made.clear);
    let media = LockedMedia::open(Cursor::new(&made.protected)).unwrap();
    assert!(!media.is_protected() && media.required_kids().is_empty());
}

#[test]
fn a_sample_longer_than_a_window_comes_whole_and_in_pieces() {
    let spec = Spec::plain().with(|spec| {
        spec.tracks = vec![TrackSpec::of(1, &[&[40, 700_000, 70], &[300_000, 300_000]])];
    });
    let made = check(&spec);
    let mut view = ClearView::open(Cursor::new(&made.protected), keys()).unwrap();
    let middle = made.protected.len() / 3;
    view.seek(SeekFrom::Start(middle as u64)).unwrap();
    let mut piece = [0; 1000];
    view.read_exact(&mut piece).unwrap();
    assert!(piece == made.clear[middle..middle + 1000]);
}

#[test]
fn what_the_boxes_say() {
    let spec = Spec::plain().with(|spec| {
        spec.tracks[1].video = false;
        spec.tracks[1].chunks[0][0].key = SampleKey::Group(5);
    });
    let made = spec.build();
    let mut media = LockedMedia::open(Cursor::new(&made.protected)).unwrap();
    assert_eq!(media.len(), made.protected.len() as u64);
    assert!(media.is_protected());
    assert_eq!(media.content_header(), Some(build::header().as_slice()));
    assert_eq!(media.required_kids(), [kid(1), kid(2)]);
    // The movie box does not name the key that a fragment brings.
    assert_eq!(media.all_kids().unwrap(), [kid(1), kid(2), kid(5)]);
    let codings: Vec<_> = media
        .tracks()
        .iter()
        .map(|track| track.entries[0].coding.0)
        .collect();
    assert_eq!(codings, [*b"avc1", *b"mp4a"]);
    let mut cursor = media.samples(2).unwrap();
    let first = media.next_sample(&mut cursor).unwrap().unwrap();
    assert_eq!((first.size, first.kid), (33, Some(kid(5))));
    assert!(matches!(media.samples(3), Err(MediaError::NoTrack(3))));
}

#[test]
fn a_missing_key_hides_its_samples_and_no_others() {
    let made = Spec::plain().build();
    let mut one = RawKeys::new();
    one.insert(kid(1), key(1));
    let mut view = ClearView::open(Cursor::new(&made.protected), one).unwrap();
    let mut others = Vec::new();
    for id in [1, 2] {
        let mut cursor = view.media().samples(id).unwrap();
        while let Some(span) = view.next_sample(&mut cursor).unwrap() {
            let mut sample = Vec::new();
            match view.read_sample(&span, &mut sample) {
                Ok(()) => assert!(id == 1 && made.samples[0].contains(&sample)),
                Err(error) => others.push((id, error.to_string())),
            }
        }
    }
    let missing = format!("key {} cannot be used: no license was opened for it", kid(2));
    assert_eq!(others, vec![(2, missing); 3]);
    // The view ends there, and everything in front of it was right.
    let mut read = Vec::new();
    view.seek(SeekFrom::Start(0)).unwrap();
    let error = view.read_to_end(&mut read).unwrap_err();
    let within = MediaError::within(&error).unwrap();
    assert!(matches!(within, MediaError::Key { kid: hidden, error: KeyError::Missing } if *hidden == kid(2)));
    assert!(made.clear.starts_with(&read) && read.len() > 110);
}

#[test]
fn a_wrong_key_gives_other_bytes_of_the_same_number() {
    let made = Spec::plain().build();
    let mut wrong = RawKeys::new();
    wrong.insert_any(key(9));
    let (read, error) = read_all(&made.protected, wrong);
    assert!(error.is_none());
    assert!(read != made.clear && read.len() == made.clear.len());
}

#[test]
fn more_keys_than_are_kept_at_once() {
    let tracks = (16..76).map(|number| TrackSpec::of(number, &[&[30], &[30]]));
    let made = Spec::plain().with(|spec| spec.tracks = tracks.collect()).build();
    let mut keys = RawKeys::new();
    (16..76).for_each(|number| keys.insert(kid(number), key(number)));
    let (read, error) = read_all(&made.protected, keys);
    assert!(error.is_none(), "{error:?}");
    assert!(read == made.clear, "the view differs");
}

#[test]
fn keys_do_not_show() {
    let made = Spec::plain().build();
    let mut view = ClearView::open(Cursor::new(&made.protected), keys()).unwrap();
    view.read_to_end(&mut Vec::new()).unwrap();
    let shown = format!("{view:?} {:?}", keys());
    let hidden = format!("{:?}", key(1).expose());
    assert!(!shown.contains(hidden.trim_matches(['[', ']'])), "{shown}");
}
