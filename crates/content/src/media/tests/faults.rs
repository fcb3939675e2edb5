//! What is refused.

use std::io::{self, Read, Seek, SeekFrom};

use super::{
    super::{ClearView, MAX_SAMPLE_LEN, MediaError, danger::RawKeys},
    all_samples,
    build::{Info, Layout, Made, Spec, TrackSpec, bx, full, keys, words},
    read_all,
};
use crate::isobmff::BoxError;

/// The error that reading ends with. What was read in front of it is right.
fn fault(made: &Made, file: &[u8]) -> MediaError {
    let (read, error) = read_all(file, keys());
    assert!(made.clear.starts_with(&read), "wrong bytes were handed out");
    error.expect("nothing was refused")
}

/// Where the body of the first box of a type begins.
fn find(file: &[u8], kind: &[u8; 4]) -> usize {
    file.windows(4).position(|window| window == kind).unwrap() + 4
}

/// The same file with some of its bytes replaced.
fn with(file: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn a_protected_sample_without_information() {
    for info in [Info::Senc, Info::InMediaData] {
        let made = Spec::plain().with(|spec| spec.info = info).build();
        let kind = if info == Info::Senc { b"senc" } else { b"saiz" };
        let at = find(&made.protected, kind) - 4;
        let error = fault(&made, &with(&made.protected, at, b"skip"));
        assert!(error.to_string().contains("a sample has no IV"), "{error}");
    }
}

#[test]
fn information_about_fewer_samples_than_there_are() {
    let made = Spec::plain().build();
    let count = find(&made.protected, b"senc") + 4;
    let error = fault(&made, &with(&made.protected, count, &words(&[1])));
    assert!(
        matches!(error, MediaError::Box(BoxError::NoEntry { .. })),
        "{error}"
    );
}

#[test]
fn subsamples_that_do_not_cover_their_sample() {
    let made = Spec::plain().build();
    let protected = find(&made.protected, b"senc") + 8 + 8 + 2 + 2;
    let error = fault(&made, &with(&made.protected, protected, &words(&[70])));
    assert!(error.to_string().contains("not as long as the sample"), "{error}");
}

#[test]
fn a_scheme_that_is_not_common_encryption() {
    let foreign = |layout| {
        let made = Spec::plain().with(|spec| spec.layout = layout).build();
        let scheme = find(&made.protected, b"schm") + 4;
        let (read, error) = read_all(&with(&made.protected, scheme, b"itun"), keys());
        let error = error.expect("nothing was refused");
        assert!(
            matches!(error, MediaError::Box(BoxError::Unsupported { .. })),
            "{error}"
        );
        (read.len(), made)
    };
    // It is noticed where the samples are described, and the sample entries stay as they are.
    let (read, made) = foreign(Spec::plain().layout);
    assert_eq!(read, find(&made.protected, b"moof") - 8);
    assert_eq!(foreign(Layout::Progressive { movie_first: true }).0, 0);
}

#[test]
fn protected_samples_over_one_another() {
    let made = Spec::plain().build();
    let first = find(&made.protected, b"trun") + 8;
    let second = first + find(&made.protected[first..], b"trun") + 8;
    let place: [u8; 4] = made.protected[first..first + 4].try_into().unwrap();
    let error = fault(&made, &with(&made.protected, second, &place));
    assert!(matches!(error, MediaError::Overlap { .. }), "{error}");
}

#[test]
fn protected_samples_in_another_fragment() {
    let made = Spec::plain().build();
    let moof = find(&made.protected, b"moof");
    let second = moof + find(&made.protected[moof..], b"moof");
    let place = second + find(&made.protected[second..], b"trun") + 8;
    let before = (-200_i32).to_be_bytes();
    let error = fault(&made, &with(&made.protected, place, &before));
    assert!(
        matches!(error, MediaError::OutOfPlace { track_id: 1, .. }),
        "{error}"
    );
}

#[test]
fn protected_samples_over_boxes() {
    let made = Spec::plain().build();
    let place = find(&made.protected, b"trun") + 8;
    // In their own movie fragment box, and over the header of the media data.
    for place_in_fragment in [8_i32, i32::try_from(moof_len(&made.protected)).unwrap()] {
        let file = with(&made.protected, place, &place_in_fragment.to_be_bytes());
        let error = fault(&made, &file);
        assert!(
            matches!(error, MediaError::OutOfPlace { track_id: 1, .. }),
            "{error}"
        );
    }
}

#[test]
fn a_fragment_that_counts_more_samples_than_its_part_has_bytes() {
    let made = Spec::plain().build();
    let init = &made.protected[..find(&made.protected, b"moof") - 8];
    let file = |count: u32, size: u32| {
        // Sizes come from the header: a run of any number of samples is as long as this.
        let tfhd = full(b"tfhd", 0, 0x02_0010, &words(&[1, size]));
        let trun = full(b"trun", 0, 0, &words(&[count]));
        let traf = bx(b"traf", &[tfhd, trun].concat());
        let moof = bx(b"moof", &[full(b"mfhd", 0, 0, &words(&[1])), traf].concat());
        [init, &moof, &bx(b"mdat", &[0; 64])].concat()
    };
    let error = fault(&made, &file(4_000_000, 1));
    assert!(matches!(error, MediaError::TooMany { .. }), "{error}");
    // Empty ones are refused where they stand.
    let error = fault(&made, &file(4_000_000, 0));
    assert!(error.to_string().contains("empty samples"), "{error}");
    // As many as there are bytes, they are looked at, and miss their IVs.
    let error = fault(&made, &file(64, 1));
    assert!(matches!(error, MediaError::Box(_)), "{error}");
}

/// Length of the first movie fragment box.
fn moof_len(file: &[u8]) -> u32 {
    let at = find(file, b"moof") - 8;
    u32::from_be_bytes(file[at..at + 4].try_into().unwrap())
}

#[test]
fn a_movie_box_that_is_missing_there_twice_or_late() {
    let made = Spec::plain().build();
    let at = find(&made.protected, b"moov") - 4;
    let error = fault(&made, &with(&made.protected, at, b"skip"));
    assert!(matches!(error, MediaError::NoMovie), "{error}");
    let len = u32::from_be_bytes(made.protected[at - 4..at].try_into().unwrap());
    let moov = &made.protected[at - 4..at - 4 + usize::try_from(len).unwrap()];
    let twice = [made.protected.as_slice(), moov].concat();
    assert!(matches!(
        fault(&made, &twice),
        MediaError::Box(BoxError::Repeated { .. })
    ));
    let late = with(&twice, at, b"skip");
    let error = fault(&made, &late);
    assert!(
        error.to_string().ends_with("the movie box is behind a fragment"),
        "{error}"
    );
}

#[test]
fn a_fragment_of_a_track_that_is_not_there() {
    let made = Spec::plain().build();
    let id = find(&made.protected, b"tfhd") + 4;
    let error = fault(&made, &with(&made.protected, id, &words(&[9])));
    assert!(
        matches!(error, MediaError::Box(BoxError::UnknownTrack { id: 9, .. })),
        "{error}"
    );
}

#[test]
fn samples_of_a_protected_track_in_another_file() {
    let made = Spec::plain().build();
    let dref = full(
        b"dref",
        0,
        0,
        &[words(&[1]), full(b"url ", 0, 0, b"b.mp4\0")].concat(),
    );
    let dinf = bx(b"dinf", &dref);
    // Into the first `minf`, with everything around it as much longer.
    let mut file = made.protected.clone();
    let at = find(&file, b"minf");
    for kind in [b"moov", b"trak", b"mdia", b"minf"] {
        let size = find(&file, kind) - 8;
        let len = u32::from_be_bytes(file[size..size + 4].try_into().unwrap());
        let longer = len + u32::try_from(dinf.len()).unwrap();
        file = with(&file, size, &longer.to_be_bytes());
    }
    file.splice(at..at, dinf);
    let (read, error) = read_all(&file, RawKeys::new());
    assert!(matches!(error, Some(MediaError::OtherFile(1))) && read.is_empty());
}

#[test]
fn a_clear_sample_behind_the_end_of_the_file() {
    let spec = Spec::plain().with(|spec| {
        spec.tracks = vec![TrackSpec {
            key: None,
            ..TrackSpec::of(1, &[&[16]])
        }];
    });
    let made = spec.build();
    let size = find(&made.protected, b"trun") + 12;
    let file = with(&made.protected, size, &words(&[MAX_SAMPLE_LEN]));
    // The view is what is there; the sample is not.
    assert!(read_all(&file, keys()).1.is_none());
    let error = all_samples(&file, keys()).unwrap_err();
    assert!(
        matches!(error, MediaError::OutOfPlace { track_id: 1, .. }),
        "{error}"
    );
}

#[test]
fn an_empty_sample_behind_the_end_of_the_file() {
    let made = Spec::plain()
        .with(|spec| spec.tracks = vec![TrackSpec::of(1, &[&[0]])])
        .build();
    let place = find(&made.protected, b"trun") + 8;
    let file = with(&made.protected, place, &1_000_000_i32.to_be_bytes());
    assert_eq!(all_samples(&file, keys()).unwrap(), [[Vec::new()]]);
}

#[test]
fn a_sample_that_is_too_long() {
    let size = MAX_SAMPLE_LEN + 16;
    let spec = Spec::plain().with(|spec| {
        spec.tracks = vec![TrackSpec::of(1, &[&[16]])];
    });
    let made = spec.build();
    let mut file = made.protected;
    let trun = find(&file, b"trun") + 12;
    file = with(&file, trun, &words(&[size]));
    let count = find(&file, b"senc") + 8 + 8;
    file = with(&file, count, &[0, 0]);
    let mdat = find(&file, b"mdat") - 8;
    file = with(&file, mdat, &words(&[size + 8]));
    file.truncate(mdat + 8);
    // The information in `senc` goes on behind its two bytes, which its records do not reach.
    let len = file.len() as u64 + u64::from(size);
    let mut view = ClearView::open(Hollow { file, len, at: 0 }, keys()).unwrap();
    let mut read = Vec::new();
    let error = view.read_to_end(&mut read).unwrap_err();
    let within = MediaError::within(&error);
    assert!(
        matches!(within, Some(MediaError::SampleTooLong { .. })),
        "{error}"
    );
    assert_eq!(read.len(), mdat + 8);
}

/// A file that goes on with zeros.
struct Hollow {
    file: Vec<u8>,
    len: u64,
    at: u64,
}

impl Read for Hollow {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.len.saturating_sub(self.at).min(out.len() as u64);
        let out = &mut out[..usize::try_from(left).unwrap()];
        for (byte, at) in out.iter_mut().zip(usize::try_from(self.at).unwrap()..) {
            *byte = self.file.get(at).copied().unwrap_or(0);
        }
        self.at += left;
        Ok(out.len())
    }
}

impl Seek for Hollow {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(by) => self.len.strict_add_signed(by),
            SeekFrom::Current(by) => self.at.strict_add_signed(by),
        };
        Ok(self.at)
    }
}
