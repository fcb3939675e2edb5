//! What comes through a pipe: read once, in pieces of any size, and as good as a file when it is protected.

use std::io::{self, Read};

use keyward_content::{
    cenc::Scheme,
    isobmff::{BoxKind, SegmentIndex, TopBox, kind},
};
use keyward_packager::{
    MediaError, MediaOptions, MemorySink, PackagerError, PipedMedia, ProtectedMedia, protect_stream,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::{build::*, flow::Padded, read::*};

/// Gives a few bytes at a time, and is interrupted now and then.
pub(crate) struct Trickle<R> {
    inner: R,
    most: usize,
    calls: usize,
}

impl<R: Read> Read for Trickle<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.calls.is_multiple_of(7) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let most = out.len().min(self.most);
        self.inner.read(&mut out[..most])
    }
}

pub(crate) fn trickle(bytes: &[u8], most: usize) -> Trickle<&[u8]> {
    Trickle {
        inner: bytes,
        most,
        calls: 0,
    }
}

fn protect_piped(
    pipe: impl Read + Send,
    options: &MediaOptions,
) -> Result<ProtectedMedia<Vec<u8>>, PackagerError> {
    let PipedMedia::Fragments(stream) = PipedMedia::open(pipe)? else {
        panic!("these are fragments");
    };
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let mut told = Vec::new();
    let sink = MemorySink::default();
    let made = protect_stream(stream, sink, options, &mut rng, &mut |done| told.push(done))?;
    assert!(told.is_sorted());
    assert_eq!(told.last(), Some(&made.clear_len));
    Ok(made)
}

fn lanes() -> Vec<Lane> {
    vec![Lane::video(1, 55, 10), Lane::audio(2, 55), Lane::text(7, 3)]
}

fn forms() -> Vec<Fragmented> {
    let plain = Fragmented::new(lanes());
    let mut forms = vec![plain.clone()];
    for base in [Base::Moof, Base::Explicit, Base::Nothing] {
        forms.push(Fragmented {
            base,
            data: DataForm::Large,
            before: [boxed(b"styp", b"msdh\0\0\0\0"), full(b"emsg", 1, 0, &[7; 40])].concat(),
            between: boxed(b"free", &[6; 11]),
            behind_movie: full(b"sidx", 0, 0, &words(&[1, 1000, 0, 0, 0])),
            random_access: true,
            each: 1,
            ..plain.clone()
        });
        forms.push(Fragmented {
            base,
            decode_times: false,
            each: 1000,
            ..plain.clone()
        });
    }
    forms
}

/// The segment index at the end of the free space behind the movie box: references of whole boxes, with one
/// fragment or more, that cover the rest but for a random access table.
pub(crate) fn assert_open_index(file: &[u8]) -> SegmentIndex {
    let boxes = top_boxes(file);
    let at = boxes.iter().position(|found| found.kind() == kind::SIDX).unwrap();
    let before = [boxes[at - 2].kind(), boxes[at - 1].kind()];
    assert_eq!(before, [kind::MOOV, kind::FREE].map(BoxKind::Type));
    let index = SegmentIndex::parse(&of_kind(file, kind::SIDX)[0]).unwrap();
    assert_eq!(index.first_offset, 0);
    let mut rest = boxes[at + 1..].iter();
    for reference in &index.references {
        let (mut len, mut moofs) = (0, 0);
        while len < u64::from(reference.size) {
            let found = rest.next().unwrap();
            len += found.header.len;
            moofs += usize::from(found.kind() == kind::MOOF);
        }
        assert_eq!(len, reference.size.into());
        assert!(moofs > 0);
    }
    let left: Vec<_> = rest.map(TopBox::kind).collect();
    assert!(left.is_empty() || left == [BoxKind::Type(kind::MFRA)], "{left:?}");
    index
}

/// All boxes but the segment index and the free space in front of it.
pub(crate) fn without_index(file: &[u8]) -> Vec<&[u8]> {
    let boxes = top_boxes(file);
    let at = boxes.iter().position(|found| found.kind() == kind::SIDX).unwrap();
    let left_out =
        |position: usize| position == at || position + 1 == at && boxes[position].kind() == kind::FREE;
    let others = boxes
        .iter()
        .enumerate()
        .filter(|(position, _)| !left_out(*position));
    others.map(|(_, found)| bytes_of(file, found)).collect()
}

#[test]
fn a_pipe_gives_what_a_file_gives_but_for_room_in_front_of_the_index() {
    for (number, form) in forms().iter().enumerate() {
        let input = form.to_bytes();
        for scheme in [Scheme::Cenc, Scheme::Cbcs] {
            let options = two_keys(scheme);
            let piped = protect_piped(trickle(&input, 1 + number * 97), &options).unwrap();
            let made = protect(&input, &options).unwrap();
            assert_eq!(piped.tracks, made.tracks);
            assert_eq!(piped.clear_len, input.len() as u64);
            assert_eq!(piped.protected_len, piped.output.len() as u64);
            let index = assert_open_index(&piped.output);
            assert_eq!(index.references, assert_index(&made.output).references);
            if !form.random_access {
                assert_eq!(without_index(&piped.output), without_index(&made.output));
            }
            assert_samples(&clear_view(&piped.output), &form.lanes);
        }
    }
}

#[test]
fn random_access_points_to_the_fragments_of_the_output() {
    let form = Fragmented {
        random_access: true,
        ..Fragmented::new(lanes())
    };
    let file = protect_piped(trickle(&form.to_bytes(), 1000), &one_key(Scheme::Cenc))
        .unwrap()
        .output;
    let table = of_kind(&file, kind::MFRA)[0];
    let mut fields = table.need(kind::TFRA).unwrap().fields();
    fields.bytes(16).unwrap();
    for fragment in of_kind(&file, kind::MOOF) {
        fields.u32().unwrap();
        assert_eq!(u64::from(fields.u32().unwrap()), fragment.offset());
        fields.bytes(3).unwrap();
    }
}

#[test]
fn what_is_not_in_fragments_is_handed_back_from_its_first_byte() {
    let progressive = Progressive::new(lanes());
    let movie_first = Progressive {
        movie_first: true,
        ..progressive.clone()
    };
    let to_end = Progressive {
        data: DataForm::ToEnd,
        ..progressive.clone()
    };
    let long_front = Progressive {
        front: boxed(b"free", &vec![0; 17 << 20]),
        ..progressive.clone()
    };
    let no_movie = [brands(), boxed(b"moof", b"?")].concat();
    let others = [
        progressive.to_bytes(),
        movie_first.to_bytes(),
        to_end.to_bytes(),
        long_front.to_bytes(),
        no_movie,
        b"some words".to_vec(),
        b"\0\0\0\x02ftyp".to_vec(),
        [&brands()[..], b"\0\0\x01\0moov"].concat(),
        Vec::new(),
    ];
    for bytes in others {
        let PipedMedia::Other(mut other) = PipedMedia::open(trickle(&bytes, 5000)).unwrap() else {
            panic!("these are no fragments");
        };
        let mut back = Vec::new();
        other.read_to_end(&mut back).unwrap();
        assert!(back == bytes);
    }
    let failing = Trickle {
        inner: io::empty().chain(Failing),
        most: 100,
        calls: 0,
    };
    assert!(matches!(PipedMedia::open(failing), Err(PackagerError::Read(_))));
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

#[test]
fn a_pipe_that_ends_between_fragments_is_whole_and_else_an_error() {
    let form = Fragmented::new(vec![Lane::video(1, 30, 10)]);
    let input = form.to_bytes();
    let mut ends: Vec<u64> = top_boxes(&input).iter().map(TopBox::end).collect();
    let head = ends
        .iter()
        .position(|end| *end == of_kind(&input, kind::MOOF)[0].offset())
        .unwrap();
    let ends = ends.split_off(head);
    let options = one_key(Scheme::Cenc);
    let mut whole = 0;
    let near = |len: &u64| ends.iter().any(|end| end.abs_diff(*len) < 3) || len.is_multiple_of(61);
    for len in (ends[0]..input.len() as u64).filter(near) {
        let cut = &input[..len as usize];
        match protect_piped(cut, &options) {
            Ok(made) => {
                assert_eq!(ends.iter().position(|end| *end == len).unwrap() % 2, 0, "{len}");
                assert_open_index(&made.output);
                whole += 1;
            }
            Err(PackagerError::Read(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{len}");
            }
            Err(PackagerError::Media(MediaError::NoSamples)) => assert_eq!(len, ends[0]),
            // A header that is cut off, or data that has not come.
            Err(PackagerError::Media(MediaError::Box(_) | MediaError::DataElsewhere(_))) => {}
            Err(other) => panic!("{len}: {other:?}"),
        }
    }
    assert_eq!(whole, form.lanes[0].pieces.len() / form.each - 1);
}

#[test]
fn a_fragment_that_is_too_long_to_be_held_is_refused_before_it_is_read() {
    let mut head = Fragmented::new(vec![Lane::audio(1, 4)]).to_bytes();
    let moof = of_kind(&head, kind::MOOF)[0].offset();
    let run = head.windows(4).position(|window| window == b"trun").unwrap();
    // Version, flags, count, data offset, then duration and size of the first sample.
    let size = run + 4 + 4 + 4 + 4 + 4;
    head[size..size + 4].copy_from_slice(&(129_u32 << 20).to_be_bytes());
    let error = protect_piped(Padded::new(head, 1 << 40), &one_key(Scheme::Cenc)).unwrap_err();
    assert!(
        matches!(error, PackagerError::Media(MediaError::LongFragment(at)) if at == moof),
        "{error:?}"
    );
}

#[test]
fn a_box_without_end_is_not_waited_for() {
    let form = Fragmented {
        data: DataForm::ToEnd,
        each: 1000,
        ..Fragmented::new(lanes())
    };
    let error = protect_piped(&form.to_bytes()[..], &one_key(Scheme::Cenc)).unwrap_err();
    assert!(
        error.to_string().contains("reaches to the end of a stream"),
        "{error}"
    );
}

#[test]
fn boxes_are_judged_as_they_pass() {
    let form = Fragmented::new(lanes());
    let plain = form.to_bytes();
    let (head, fragments) = plain.split_at(of_kind(&plain, kind::MOOF)[0].offset() as usize);
    let refused = |parts: &[&[u8]]| protect_piped(&parts.concat()[..], &one_key(Scheme::Cenc)).unwrap_err();
    for repeated in [brands(), form.movie()] {
        for parts in [[head, &repeated, fragments], [head, fragments, &repeated]] {
            let error = refused(&parts);
            assert!(
                matches!(error, PackagerError::Media(MediaError::Misplaced { .. })),
                "{error:?}"
            );
        }
    }
    let items = full(b"meta", 0, 0, &full(b"iloc", 0, 0, &[0; 4]));
    for parts in [
        [&items, head, fragments],
        [head, &items, fragments],
        [head, fragments, &items],
    ] {
        let error = refused(&parts);
        assert!(error.to_string().contains("metadata in items"), "{error}");
    }
}

#[test]
fn more_fragments_than_there_is_room_for_share_references() {
    let form = Fragmented {
        each: 1,
        ..Fragmented::new(vec![Lane::audio(1, 9_001)])
    };
    let made = protect_piped(&form.to_bytes()[..], &one_key(Scheme::Cbcs)).unwrap();
    let index = assert_open_index(&made.output);
    // Four in each: twice as many as there is room for were joined twice.
    assert_eq!(index.references.len(), 9_001_usize.div_ceil(4));
    let durations: u64 = index
        .references
        .iter()
        .map(|reference| u64::from(reference.duration))
        .sum();
    assert_eq!(durations, form.lanes[0].duration());
    assert_samples(&clear_view(&made.output), &form.lanes);
}
