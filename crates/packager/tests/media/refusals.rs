//! What is refused, in which words, and that nothing is left behind.

use keyward_content::{cenc::Scheme, isobmff::kind};
use keyward_crypto::ContentKey;
use keyward_packager::{
    KeySource, MediaError, MediaOptions, PackagerError, TrackKey, TrackKind, TrackSelector,
};

use crate::{build::*, flow::Padded, read::*};

fn lanes() -> Vec<Lane> {
    vec![Lane::video(1, 20, 10), Lane::audio(2, 20)]
}

fn refused_with(file: &[u8], options: &MediaOptions) -> String {
    match protect(file, options) {
        Err(error) => {
            assert!(!error.hint().is_empty());
            error.to_string()
        }
        Ok(_) => panic!("it was protected"),
    }
}

fn refused(file: &[u8]) -> String {
    refused_with(file, &one_key(Scheme::Cenc))
}

fn progressive(change: impl Fn(&mut Vec<Lane>)) -> Vec<u8> {
    let mut lanes = lanes();
    change(&mut lanes);
    Progressive::new(lanes).to_bytes()
}

/// Where the body of the `number`-th box of a kind begins, found by its letters.
fn body_of(file: &[u8], kind: &[u8; 4], number: usize) -> usize {
    let places = file.windows(4).enumerate().filter(|(_, window)| window == kind);
    places.map(|(at, _)| at + 4).nth(number).unwrap()
}

fn overwrite(file: &mut [u8], at: usize, value: u32) {
    file[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

#[test]
fn files_of_another_kind() {
    assert_eq!(
        refused(&brands()),
        "the input is not an MP4 file: it has no movie box"
    );
    assert_eq!(refused(b""), "the input is not an MP4 file: it has no movie box");
    let twice = [progressive(|_| {}), Fragmented::new(lanes()).movie()].concat();
    let offset = progressive(|_| {}).len();
    assert_eq!(
        refused(&twice),
        format!("the box moov at byte {offset} is there twice")
    );
    let backwards = Fragmented::new(lanes()).to_bytes();
    let moof = of_kind(&backwards, kind::MOOF)[0].offset() as usize;
    assert_eq!(
        refused(&backwards[moof..]),
        "the box moof at byte 0 stands before the movie box"
    );
    let text = Progressive::new(vec![Lane::text(1, 5)]).to_bytes();
    assert_eq!(refused(&text), "there is neither video nor audio to protect");
    let head = [brands(), Fragmented::new(lanes()).movie()].concat();
    assert_eq!(refused(&head), "the file has no samples");
    let cut_off = progressive(|_| {});
    assert!(refused(&cut_off[..cut_off.len() - 1]).starts_with("the file at byte "));
}

#[test]
fn samples_partly_in_the_movie_box() {
    let fragments = Fragmented::new(lanes());
    let (movie, file) = (fragments.movie(), fragments.to_bytes());
    let mvex = of_kind(&file, kind::MOOV)[0]
        .need(kind::MVEX)
        .unwrap()
        .bytes()
        .to_vec();
    let first = Progressive {
        in_movie: mvex,
        ..Progressive::new(lanes())
    }
    .to_bytes();
    let both = [&first[..], &file[brands().len() + movie.len()..]].concat();
    assert_eq!(
        refused(&both),
        "the first samples are in the movie box and others in fragments"
    );
}

#[test]
fn tracks_that_cannot_be_protected() {
    let format = |file: Vec<u8>| match protect(&file, &one_key(Scheme::Cenc)) {
        Err(PackagerError::Media(error @ MediaError::Format { .. })) => {
            assert_eq!(
                error.hint(),
                "protect it as a file of any kind, with `--scheme file`"
            );
            error.to_string()
        }
        other => panic!("{other:?}"),
    };
    for format_of_video in [b"mp4v", b"resv", b"jpeg"] {
        let file = progressive(|lanes| lanes[0].entries = vec![entry_of_video(format_of_video)]);
        let name = String::from_utf8_lossy(format_of_video).into_owned();
        assert_eq!(
            format(file),
            format!("track 1 holds `{name}`, which cannot be protected sample by sample")
        );
    }
    for format_of_audio in [b"sowt", b"twos", b"lpcm", b"ulaw", b"????"] {
        let file = progressive(|lanes| lanes[1].entries.push(entry_of_audio(format_of_audio)));
        assert!(format(file).starts_with("track 2 holds"));
    }
    let mut broken = progressive(|_| {});
    let record = body_of(&broken, b"avcC", 0);
    broken[record] = 9;
    assert!(refused(&broken).starts_with("track 1: the decoder configuration record is"));
    assert_eq!(
        refused(&progressive(|lanes| lanes[1].reference = 0)),
        "the samples of track 2 are in another file"
    );
    let again = protect(&progressive(|_| {}), &one_key(Scheme::Cenc))
        .unwrap()
        .output;
    assert_eq!(refused(&again), "track 1 is protected already");
    for senc in [full(b"senc", 0, 0, &[0; 4]), full(b"saiz", 0, 0, &[0; 5])] {
        let form = Fragmented {
            in_traf: senc,
            ..Fragmented::new(lanes())
        };
        assert_eq!(refused(&form.to_bytes()), "track 1 is protected already");
        // Of fragments without samples as well: a reader looks at them once the track is protected.
        let mut file = form.to_bytes();
        for at in 0..file.len() - 8 {
            if file[at..].starts_with(b"trun") {
                overwrite(&mut file, at + 8, 0);
            }
        }
        assert_eq!(refused(&file), "track 1 is protected already");
    }
}

#[test]
fn what_would_be_lost_or_point_nowhere() {
    let path = "moov/trak/mdia/minf/stbl";
    let table = full(b"csgp", 0, 0, &[0; 12]);
    let file = progressive(|lanes| lanes[1].tables.push(table.clone()));
    assert_eq!(
        refused(&file),
        format!("{path}/csgp at byte 0: the compact form of sample groups is not supported")
    );
    let table = full(b"saio", 0, 0, &[0; 4]);
    let file = progressive(|lanes| lanes[1].tables.push(table.clone()));
    assert_eq!(
        refused(&file),
        format!("{path}/saio at byte 0: auxiliary information of samples is not supported")
    );
    let items = full(b"meta", 0, 0, &full(b"iloc", 0, 0, &[0; 8]));
    let form = Progressive {
        in_movie: items.clone(),
        ..Progressive::new(lanes())
    };
    assert_eq!(
        refused(&form.to_bytes()),
        "moov/meta/iloc at byte 0: metadata in items is not supported"
    );
    let form = Progressive {
        front: [brands(), items.clone()].concat(),
        ..Progressive::new(lanes())
    };
    assert_eq!(
        refused(&form.to_bytes()),
        "meta/iloc at byte 0: metadata in items is not supported"
    );
    assert!(refused(&progressive(|lanes| lanes[0].boxes.push(items.clone()))).contains("trak/meta/iloc"));
}

#[test]
fn samples_that_are_not_what_the_tables_say() {
    let file = progressive(|lanes| lanes[0].pieces[7].bytes[0] = 9);
    assert_eq!(
        refused(&file),
        "sample 7 of track 1: the NAL units do not fill the sample exactly (byte 0)"
    );
    let file = progressive(|lanes| lanes[0].pieces[7].bytes[4] = 0x62);
    assert!(refused(&file).starts_with("sample 7 of track 1: the sample has a NAL unit of type 2"));
    let mut outside = progressive(|_| {});
    let at = body_of(&outside, b"stco", 1) + 8;
    let len = u32::try_from(outside.len()).unwrap();
    overwrite(&mut outside, at, len);
    assert!(refused(&outside).ends_with("the end of a sample is past the end of the file or of its field"));
    // Both tracks name the same bytes, more than the file has.
    let pieces = || vec![Piece::other(5000, 1024, 1)];
    let lanes = [
        Lane {
            pieces: pieces(),
            ..Lane::audio(1, 0)
        },
        Lane {
            pieces: pieces(),
            ..Lane::audio(2, 0)
        },
    ];
    let form = Progressive {
        movie_first: true,
        data: DataForm::ToEnd,
        ..Progressive::new(lanes.into())
    };
    let mut shared = form.to_bytes();
    let first = u32::try_from(shared.len() - 10_000).unwrap();
    let at = body_of(&shared, b"stco", 1) + 8;
    overwrite(&mut shared, at, first);
    shared.truncate(shared.len() - 5000);
    assert_eq!(refused(&shared), "two samples share bytes");
}

#[test]
fn sample_entries_that_are_not_there() {
    // Of protected tracks, and of one that stays clear.
    let tracks = || vec![Lane::video(1, 20, 10), Lane::audio(2, 20), Lane::text(3, 4)];
    for track in 0..tracks().len() {
        let mut lanes = tracks();
        lanes[track]
            .pieces
            .iter_mut()
            .for_each(|piece| piece.description = 3);
        let message = format!(
            "track {} has no sample entry 3, which a sample names",
            lanes[track].id
        );
        assert_eq!(refused(&Progressive::new(lanes.clone()).to_bytes()), message);
        assert_eq!(refused(&Fragmented::new(lanes).to_bytes()), message);
    }
}

#[test]
fn a_sample_that_no_reader_takes() {
    let mut file = Progressive {
        movie_first: true,
        data: DataForm::ToEnd,
        ..Progressive::new(lanes())
    }
    .to_bytes();
    let at = body_of(&file, b"stsz", 1) + 12;
    overwrite(&mut file, at + 4, (256 << 20) + 1);
    let input = Padded::new(file, 600 << 20);
    let error = crate::flow::into_nothing(input, &one_key(Scheme::Cenc)).unwrap_err();
    assert_eq!(error.to_string(), "a sample is larger than players can read");
}

#[test]
fn data_that_is_not_behind_its_fragment() {
    let form = Fragmented {
        between: boxed(b"free", &[0; 20]),
        ..Fragmented::new(lanes())
    };
    let plain = form.to_bytes();
    let moof = of_kind(&plain, kind::MOOF)[0];
    let (start, len) = (moof.offset(), moof.bytes().len() as u32);
    let elsewhere =
        format!("the fragment at byte {start} describes data that is not in a media data box behind it");
    // In the movie fragment itself, in front of it, in the free space, in a header, behind the next fragment.
    for place in [
        16,
        (-10_i32).cast_unsigned(),
        len + 8,
        len + 24,
        plain.len() as u32 - start as u32 - 200,
    ] {
        for track in [0, 2] {
            let mut file = plain.clone();
            let at = body_of(&file, b"trun", track) + 8;
            overwrite(&mut file, at, place);
            let words = refused(&file);
            assert!(
                words == elsewhere || words == "two samples share bytes" || words.starts_with("sample "),
                "{words}"
            );
        }
    }
    let mut overlapping = plain.clone();
    let (one, two) = (
        body_of(&overlapping, b"trun", 2) + 8,
        body_of(&overlapping, b"trun", 3) + 8,
    );
    overlapping.copy_within(one..one + 4, two);
    assert_eq!(refused(&overlapping), "two samples share bytes");
    // What is taken away between a fragment and its data would move the data.
    let form = Fragmented {
        between: full(b"sidx", 0, 0, &[0; 20]),
        ..form
    };
    let words = refused(&form.to_bytes());
    assert!(
        words.ends_with("describes data that is not in a media data box behind it"),
        "{words}"
    );
    // The data of a clear track is behind the next fragment.
    let mut file = Fragmented::new(vec![Lane::video(1, 20, 10), Lane::text(2, 20)]).to_bytes();
    let at = body_of(&file, b"trun", 3) + 8;
    let place = file.len() as u32 - of_kind(&file, kind::MOOF)[0].offset() as u32 - 100;
    overwrite(&mut file, at, place);
    assert!(refused(&file).ends_with("describes data that is not in a media data box behind it"));
}

#[test]
fn keys_that_are_missing_or_contradict() {
    let file = progressive(|_| {});
    let mut options = two_keys(Scheme::Cenc);
    options.keys.pop();
    assert_eq!(
        refused_with(&file, &options),
        "no key is given for track 2 (audio)"
    );
    let other = TrackKey {
        tracks: TrackSelector::Kind(TrackKind::Audio),
        kid: VIDEO_KID,
        key: KeySource::Raw(ContentKey::new([9; 16])),
    };
    options.keys.push(other);
    let words = format!("key id {VIDEO_KID} is given twice, with different keys");
    assert_eq!(refused_with(&file, &options), words);
    let mut options = one_key(Scheme::Cenc);
    options.license_url = Some("license.example".into());
    let words = "cannot make the content header: LA_URL of the content header is not an absolute URL";
    assert_eq!(refused_with(&file, &options), words);
}

#[test]
fn every_cut_off_file_is_refused() {
    for file in [progressive(|_| {}), Fragmented::new(lanes()).to_bytes()] {
        for len in (0..file.len()).step_by(61) {
            // A cut between two fragments leaves a whole file.
            if let Ok(made) = protect(&file[..len], &one_key(Scheme::Cenc)) {
                assert!(
                    of_kind(&file, kind::MOOF)
                        .iter()
                        .any(|moof| moof.offset() == len as u64)
                );
                assert_index(&made.output);
            }
        }
    }
}

#[test]
fn changed_files_are_protected_or_refused() {
    let files = [
        progressive(|_| {}),
        Fragmented {
            random_access: true,
            ..Fragmented::new(lanes())
        }
        .to_bytes(),
    ];
    for file in files {
        let movie = &of_kind(&file, kind::MOOV)[0];
        let moofs = of_kind(&file, kind::MOOF);
        let spans = moofs
            .iter()
            .chain([movie])
            .map(|span| span.offset() as usize..span.offset() as usize + span.bytes().len());
        for at in spans.flatten().step_by(11) {
            for value in [0, 0x7f, 0xff] {
                let mut changed = file.clone();
                changed[at] = value;
                if let Ok(made) = protect(&changed, &one_key(Scheme::Cenc)) {
                    assert_index(&made.output);
                }
            }
        }
    }
}
