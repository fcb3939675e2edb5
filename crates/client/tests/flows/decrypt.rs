//! Media under licenses: a key serves its own key id and its own cipher, and nothing else.

use std::io::{Cursor, Read};

use keyward_client::session::{Acquisition, Opened};
use keyward_content::{
    cenc::{Iv, Pattern, SampleCipher, Scheme},
    media::{ClearView, KeyError, LockedMedia, MediaError},
    pssh::Pssh,
};
use keyward_crypto::ContentKey;
use keyward_license::license::KeyType;

use crate::world::{World, content_key, header, kid, wanted};

const CLEAR: &[u8; 100] = &[0x2a; 100];

/// A movie with a track for each of these keys. Each has one sample, [`CLEAR`], protected as a whole under a
/// constant IV (`cbcs`) or an IV of its own.
pub(crate) fn movie(scheme: Scheme, numbers: &[u8]) -> Vec<u8> {
    let place = |len: usize| {
        let mut moov = full(b"mvhd", &[&[0; 8], words(&[1000]).as_slice(), &[0; 84]].concat());
        for (number, at) in numbers.iter().zip((len + 8..).step_by(CLEAR.len())) {
            moov.extend(track(scheme, *number, u32::try_from(at).unwrap()));
        }
        moov.extend(Pssh::keyward(header(1, None)).to_bytes().unwrap());
        bx(b"moov", &moov)
    };
    let moov = place(place(0).len());
    let samples = numbers.iter().flat_map(|number| {
        let mut sample = CLEAR.to_vec();
        let key = ContentKey::new(content_key(*number));
        let cipher = SampleCipher::new(&key, scheme, Pattern::NONE).unwrap();
        cipher
            .encrypt(&mut sample, &Iv::new(&[7; 16]).unwrap(), &[])
            .unwrap();
        sample
    });
    [moov, bx(b"mdat", &samples.collect::<Vec<_>>())].concat()
}

fn track(scheme: Scheme, number: u8, at: u32) -> Vec<u8> {
    let constant = scheme == Scheme::Cbcs;
    let mut tenc = vec![0, 0, 1, if constant { 0 } else { 16 }];
    tenc.extend(kid(number).as_bytes());
    if constant {
        tenc.push(16);
        tenc.extend([7; 16]);
    }
    let sinf = [
        bx(b"frma", b"mp4a"),
        full(b"schm", &[scheme.fourcc().as_slice(), &[0, 1, 0, 0]].concat()),
        bx(b"schi", &full(b"tenc", &tenc)),
    ];
    let entry = [vec![0; 28], bx(b"sinf", &sinf.concat())].concat();
    let size = u32::try_from(CLEAR.len()).unwrap();
    let mut stbl = vec![
        full(b"stsd", &[words(&[1]), bx(b"enca", &entry)].concat()),
        full(b"stts", &words(&[1, 1, 1])),
        full(b"stsc", &words(&[1, 1, 1, 1])),
        full(b"stsz", &words(&[0, 1, size])),
        full(b"stco", &words(&[1, at])),
    ];
    if !constant {
        stbl.push(full(b"senc", &[words(&[1]), vec![7; 16]].concat()));
    }
    let mdia = [
        full(b"mdhd", &words(&[0, 0, 1000, 0, 0])),
        full(b"hdlr", b"\0\0\0\0soun\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        bx(b"minf", &bx(b"stbl", &stbl.concat())),
    ];
    let tkhd = full(b"tkhd", &[words(&[0, 0, number.into()]), vec![0; 68]].concat());
    bx(b"trak", &[tkhd, bx(b"mdia", &mdia.concat())].concat())
}

fn bx(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 8).unwrap();
    [&len.to_be_bytes(), kind.as_slice(), body].concat()
}

fn full(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    bx(kind, &[&[0; 4], body].concat())
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// Opens media with licenses whose keys have these types.
fn open(movie: &[u8], types: &'static [(u8, KeyType)]) -> Opened {
    let (mut world, mut client) = World::enrolled();
    world.server.bent.license = Some(Box::new(move |body| {
        let of_kid = types.iter().find(|(number, _)| kid(*number) == body.keys[0].kid);
        body.keys[0].key_type = of_kid.unwrap().1;
    }));
    let media = LockedMedia::open(Cursor::new(movie)).unwrap();
    assert_eq!(media.content_header(), Some(header(1, None).as_slice()));
    let kids = media.required_kids();
    let numbers: Vec<_> = types.iter().map(|(number, _)| *number).collect();
    assert_eq!(
        kids,
        numbers.iter().map(|number| kid(*number)).collect::<Vec<_>>()
    );
    let sent = world.sent.len();
    let opened = world
        .run(client.open_content(kids, wanted(&numbers), Acquisition::Reactive))
        .unwrap();
    let requests = world.sent[sent..].iter();
    let requests = requests
        .filter(|(outgoing, _)| outgoing.url.ends_with("/license"))
        .count();
    assert_eq!(requests, 1, "all keys are asked for at once");
    opened
}

/// What a view gives of the media data, and the error it ends with.
fn play(movie: &[u8], opened: &Opened) -> (Vec<u8>, Option<MediaError>) {
    let mut view = ClearView::open(Cursor::new(movie), opened).unwrap();
    let mut read = Vec::new();
    let error = view.read_to_end(&mut read).err();
    let mdat = movie.windows(4).position(|window| window == b"mdat").unwrap() + 4;
    let error = error.map(|error| error.downcast().unwrap());
    (read.get(mdat..).unwrap_or_default().to_vec(), error)
}

#[test]
fn a_license_opens_media_in_the_schemes_of_its_key_type() {
    let ctr: &[_] = &[(1, KeyType::CencCtr)];
    let cbc: &[_] = &[(1, KeyType::CencCbc)];
    let schemes = [
        (Scheme::Cenc, ctr),
        (Scheme::Cens, ctr),
        (Scheme::Cbc1, cbc),
        (Scheme::Cbcs, cbc),
    ];
    for (scheme, types) in schemes {
        let movie = movie(scheme, &[1]);
        let (read, error) = play(&movie, &open(&movie, types));
        assert!(error.is_none(), "{scheme}: {error:?}");
        assert!(read == CLEAR, "{scheme}");
    }
}

#[test]
fn a_key_of_another_type_opens_nothing() {
    let types: [(Scheme, &[_]); 4] = [
        (Scheme::Cenc, &[(1, KeyType::CencCbc)]),
        (Scheme::Cens, &[(1, KeyType::File)]),
        (Scheme::Cbc1, &[(1, KeyType::File)]),
        (Scheme::Cbcs, &[(1, KeyType::CencCtr)]),
    ];
    for (scheme, types) in types {
        let movie = movie(scheme, &[1]);
        let (read, error) = play(&movie, &open(&movie, types));
        assert!(read.is_empty(), "{scheme}");
        let Some(MediaError::Key { kid: of, error }) = error else {
            panic!("{scheme}: {error:?}");
        };
        assert_eq!((of, error), (kid(1), KeyError::KeyType(scheme)));
    }
}

#[test]
fn each_track_under_its_own_license() {
    let movie = movie(Scheme::Cbcs, &[1, 2, 3]);
    let opened = open(
        &movie,
        &[
            (1, KeyType::CencCbc),
            (2, KeyType::CencCbc),
            (3, KeyType::CencCbc),
        ],
    );
    let (read, error) = play(&movie, &opened);
    assert!(error.is_none(), "{error:?}");
    assert!(read == CLEAR.repeat(3));
    // With one license alone, its own track can be read.
    let mut view = ClearView::open(Cursor::new(&movie), &opened.bound[1]).unwrap();
    for number in 1..=3 {
        let mut samples = view.media().samples(number).unwrap();
        let span = view.next_sample(&mut samples).unwrap().unwrap();
        let mut sample = Vec::new();
        match view.read_sample(&span, &mut sample) {
            Ok(()) => assert!(number == 2 && sample == CLEAR),
            Err(MediaError::Key { kid: of, error }) => {
                assert!(number != 2);
                assert_eq!(
                    (of, error),
                    (kid(u8::try_from(number).unwrap()), KeyError::Missing)
                );
            }
            Err(error) => panic!("{error}"),
        }
    }
}
