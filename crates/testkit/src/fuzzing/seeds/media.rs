//! Seeds of media.

use std::io::Cursor;

use keyward_content::{
    cenc::Scheme,
    embed,
    file::{FileHeader, Sealer},
    header::ContentHeader,
    pssh::{Pssh, SystemId},
};
use keyward_crypto::ContentKey;
use keyward_license::{codec::Wire, ids::Kid};
use keyward_packager::MediaOptions;

use super::{Seeds, licenses::signed_license, part};
use crate::fuzzing::{
    film::{
        AV1_RECORD, AV1_SAMPLES, AVC_RECORD, AVC_SAMPLES, Film, HEVC_RECORD, HEVC_SAMPLES, VP9_RECORD,
        VP9_SAMPLES, be, boxed, full, hex,
    },
    media::{CBCS, ROTATING, rotating},
    world::{KEY, KID, WORLD, draws},
};

/// A film for each way that samples can be protected and stored.
fn films() -> [(&'static str, Film); 7] {
    let grouped = Film {
        grouped: true,
        ..Film::new(Some(Scheme::Cenc), true)
    };
    [
        ("clear-progressive", Film::new(None, false)),
        ("clear-fragmented", Film::new(None, true)),
        ("cenc-progressive", Film::new(Some(Scheme::Cenc), false)),
        ("cenc-fragmented", Film::new(Some(Scheme::Cenc), true)),
        ("cbcs-progressive", Film::new(Some(Scheme::Cbcs), false)),
        ("cbcs-fragmented", Film::new(Some(Scheme::Cbcs), true)),
        ("cenc-grouped", grouped),
    ]
}

impl Seeds {
    pub(super) fn media(&mut self) {
        self.boxes();
        self.movies();
        self.codecs();
        self.frames();
        self.system_headers();
        self.films();
        self.packaging();
        self.cuts();
        self.leads();
        self.streams();
        self.matroska();
    }

    fn system_headers(&mut self) {
        let object = Pssh::keyward(b"an object".to_vec()).to_bytes().unwrap();
        let common = Pssh::common(vec![KID, Kid::new([9; 16])]).to_bytes().unwrap();
        self.valid("pssh", "object", &object[..]);
        self.valid("pssh", "key-ids", &common[..]);
        self.accepted("pssh", "two", [&object[..], &common].concat());
        self.invalid("pssh", "count-lies", renamed(&common, b"pssh", 27, 3));
        self.invalid("pssh", "length-lies", renamed(&object, b"pssh", 27, 8));
        self.invalid("pssh", "other-version", renamed(&common, b"pssh", 4, 2));
    }

    fn films(&mut self) {
        for (name, film) in films() {
            self.accepted("clear_view", name, film.file());
        }
        for (scheme, fragmented) in [(Scheme::Cenc, true), (Scheme::Cbcs, true), (Scheme::Cenc, false)] {
            let name = format!(
                "{scheme}-rotating{}",
                if fragmented { "" } else { "-from-progressive" }
            );
            self.accepted("clear_view", &name, rotated(scheme, fragmented, 0));
        }
        self.embedding();
        let protected = Film::new(Some(Scheme::Cenc), true).file();
        let clear = Film::new(None, true).file();
        let half = protected.get(..protected.len() - 60).unwrap();
        self.invalid("clear_view", "cut-off", half);
        self.invalid("clear_view", "no-movie", renamed(&clear, b"moov", 0, b'x'));
        let without_sizes = renamed(&protected, b"saiz", 0, b'x');
        self.invalid(
            "clear_view",
            "no-information",
            renamed(&without_sizes, b"senc", 0, b'x'),
        );
        let faults: [(&str, &[u8], usize, u8); 3] = [
            ("subsamples-lie", b"senc\0\0\0\x02\0\0\0\x03", 23, 1),
            ("samples-behind-the-data", b"trun\0\0\x02\x01\0\0\0\x03", 14, 9),
            ("other-scheme", b"schm\0\0\0\0cenc", 8, b'x'),
        ];
        for (name, from, at, to) in faults {
            self.invalid("clear_view", name, renamed(&protected, from, at, to));
        }
    }

    fn embedding(&mut self) {
        let target = "content_embed";
        let with_room = rotated(Scheme::Cenc, true, 6000);
        self.accepted(target, "movie", &with_room[..]);
        let mut filled = Cursor::new(with_room.clone());
        let simple = signed_license(&WORLD.prepared(WORLD.license_body().encode()));
        embed::embed(&mut filled, &[simple], |_| Ok(())).unwrap();
        self.accepted(target, "movie-with-a-license", filled.into_inner());
        self.invalid(target, "movie-without-room", rotated(Scheme::Cenc, true, 0));
        self.invalid(target, "movie-with-little-room", rotated(Scheme::Cenc, true, 100));
        self.invalid(target, "movie-cut-off", with_room.get(..300).unwrap());
        self.invalid(
            target,
            "system-lies",
            renamed(&with_room, SystemId::KEYWARD.as_bytes(), 3, 1),
        );
        let object = ContentHeader::for_file(KID, None).to_object_bytes().unwrap();
        let header = FileHeader {
            store_len: 6000,
            ..FileHeader::new(object, KID)
        };
        let (sealer, _) = Sealer::new(&ContentKey::new(KEY), &header, &mut draws(31)).unwrap();
        self.accepted(target, "file", sealer.prefix());
        self.invalid(target, "file-cut-off", sealer.prefix().get(..700).unwrap());
        self.invalid(target, "text", b"neither of the two".to_vec());
    }

    fn boxes(&mut self) {
        let target = "box_tree";
        let moov = Film::new(Some(Scheme::Cenc), true).moov(0);
        self.accepted(target, "movie", &moov[..]);
        self.invalid(target, "movie-cut-off", moov.get(..moov.len() / 2).unwrap());
        self.invalid(target, "movie-trailing-byte", [&moov[..], &[0]].concat());
        self.accepted(target, "fragment", Film::new(Some(Scheme::Cbcs), true).moof());
        self.accepted(target, "to-the-end", b"\0\0\0\0moov\0\0\0\0free".to_vec());
        self.accepted(
            target,
            "large",
            b"\0\0\0\x01moov\0\0\0\0\0\0\0\x18\0\0\0\x08free".to_vec(),
        );
        self.accepted(target, "own-type", [&be(24)[..], b"uuid", &[7; 16]].concat());
        self.accepted(
            target,
            "padding",
            boxed(b"moov", &[&boxed(b"free", &[]), &[0; 4]]),
        );
        self.invalid(target, "size-lies", boxed(b"moov", &[&be(100), b"free"]));
        self.invalid(target, "size-below-header", boxed(b"moov", &[&be(7), b"free"]));
        self.invalid(
            target,
            "large-lies",
            boxed(b"moov", &[&be(1), b"free", &[0xff; 8]]),
        );
        let deep = (0..40).fold(Vec::new(), |inner, _| boxed(b"moov", &[&inner]));
        self.invalid(target, "deep", deep);
    }

    fn movies(&mut self) {
        for (name, film) in films() {
            let moov = film.moov(5000);
            self.accepted("movie", name, &moov[..]);
            if film.fragmented {
                let fragment = [part(&moov), film.moof()].concat();
                self.accepted("movie_fragment", name, &fragment[..]);
                let half = fragment.get(..fragment.len() - 20).unwrap();
                self.invalid("movie_fragment", &format!("{name}-cut-off"), half);
            }
        }
        let moov = Film::new(None, false).moov(5000);
        self.invalid("movie", "cut-off", moov.get(..moov.len() / 2).unwrap());
        self.invalid(
            "movie",
            "data-behind-the-file",
            Film::new(None, false).moov(70_000),
        );
        self.invalid(
            "movie",
            "two-tracks-of-one-id",
            renamed(&moov, b"\0\0\0\x02\0\0\0\0\0\0\0\x78", 3, 1),
        );
        self.invalid(
            "movie",
            "count-lies",
            renamed(&moov, b"stsz\0\0\0\0\0\0\0\0\0\0\0\x03", 12, 0xff),
        );
        self.invalid(
            "movie",
            "too-few-times",
            renamed(&moov, b"stts\0\0\0\0\0\0\0\x01\0\0\0\x03", 15, 2),
        );
        self.invalid(
            "movie",
            "chunk-zero",
            renamed(&moov, b"stsc\0\0\0\0\0\0\0\x01\0\0\0\x01", 15, 0),
        );
        let protected = Film::new(Some(Scheme::Cenc), false).moov(5000);
        self.invalid("movie", "iv-size", renamed(&protected, b"\0\0\x01\x08KKKK", 3, 7));
        let scheme = renamed(&protected, b"schm\0\0\0\0cenc", 8, b'x');
        self.invalid("movie", "other-scheme", scheme);

        let film = Film::new(Some(Scheme::Cenc), true);
        let fragment = |moof: Vec<u8>| [part(&film.moov(0)), moof].concat();
        let moof = film.moof();
        let faults: [(&str, &[u8], usize, u8); 3] = [
            ("other-track", b"tfhd\0\x02\0\0\0\0\0\x01", 11, 9),
            ("samples-lie", b"trun\0\0\x02\x01\0\0\0\x03", 8, 0x7f),
            ("subsamples-lie", b"senc\0\0\0\x02\0\0\0\x03", 23, 1),
        ];
        for (name, from, at, to) in faults {
            self.invalid("movie_fragment", name, fragment(renamed(&moof, from, at, to)));
        }
        // Without the box that holds it, the auxiliary information is where the offset says.
        let located = renamed(&moof, b"senc", 0, b'x');
        self.accepted(
            "movie_fragment",
            "information-by-offset",
            fragment(located.clone()),
        );
        let faults: [(&str, &[u8], usize, u8); 3] = [
            (
                "too-little-information",
                b"saiz\0\0\0\x01cenc\0\0\0\0\0\0\0\0\x03",
                20,
                2,
            ),
            ("other-size-of-information", b"saiz\0\0\0\x01cenc", 21, 9),
            (
                "other-place-of-information",
                b"saio\0\0\0\x01cenc\0\0\0\0\0\0\0\x01",
                23,
                50,
            ),
        ];
        for (name, from, at, to) in faults {
            self.invalid("movie_fragment", name, fragment(renamed(&located, from, at, to)));
        }
        // A run of as many samples as there can be, none of which has a byte in the file.
        let run = full(b"trun", 0, 0, &[&be(u32::MAX)]);
        let traf = [full(b"tfhd", 0, 0x02_0000, &[&be(1)]), run].concat();
        let many = [full(b"mfhd", 0, 0, &[&be(1)]), boxed(b"traf", &[&traf])].concat();
        self.invalid(
            "movie_fragment",
            "samples-without-bytes",
            fragment(boxed(b"moof", &[&many])),
        );
    }

    fn packaging(&mut self) {
        let target = "media_packager";
        for (name, film) in films() {
            for (scheme, byte) in [
                ("cenc", 0),
                ("cbcs", CBCS),
                ("cenc-rotating", ROTATING),
                ("cbcs-rotating", CBCS | ROTATING),
            ] {
                let input = [&[byte], &film.file()[..]].concat();
                if film.scheme.is_none() {
                    self.accepted(target, &format!("{name}-{scheme}"), input);
                } else {
                    self.invalid(target, &format!("{name}-{scheme}"), input);
                }
            }
        }
        let fragmented = [&[0], &Film::new(None, true).file()[..]].concat();
        let faults: [(&str, &[u8], usize, u8); 4] = [
            ("other-codec", b"avc1\0\0\0\0\0\0\0\x01", 3, b'x'),
            ("no-track-of-the-fragment", b"tfhd\0\x02\0\0\0\0\0\x01", 11, 9),
            ("sample-behind-the-data", b"trun\0\0\x02\x01\0\0\0\x03", 22, 0xff),
            ("unit-longer-than-its-sample", b"mdat\0\0\0\x38", 7, 0x39),
        ];
        for (name, from, at, to) in faults {
            self.invalid(target, name, renamed(&fragmented, from, at, to));
        }
    }

    fn cuts(&mut self) {
        let target = "media_cut";
        for (name, film) in films() {
            if film.fragmented {
                self.accepted(target, name, film.file());
            } else {
                self.invalid(target, name, film.file());
            }
        }
        let file = Film::new(None, true).file();
        let run = b"trun\0\0\x02\x01\0\0\0\x03";
        self.invalid(target, "sample-behind-the-data", renamed(&file, run, 22, 0xff));
        self.accepted(target, "two-fragments", two_fragments());
    }

    fn leads(&mut self) {
        let target = "media_lead";
        for (scheme, byte) in [("cenc", 0), ("cbcs", CBCS)] {
            let with = |lead: u8, file: &[u8]| [&[byte, lead], file].concat();
            let progressive = Film::new(None, false).file();
            self.accepted(target, &format!("progressive-{scheme}"), with(3, &progressive));
            // Nothing of the sound is behind it, then nothing of the pictures either.
            self.invalid(target, &format!("all-sound-{scheme}"), with(4, &progressive));
            self.invalid(target, &format!("all-{scheme}"), with(99, &progressive));
            self.accepted(
                target,
                &format!("fragmented-{scheme}"),
                with(50, &two_fragments()),
            );
            self.invalid(
                target,
                &format!("all-fragments-{scheme}"),
                with(255, &two_fragments()),
            );
        }
    }

    fn streams(&mut self) {
        let target = "media_stream";
        let fragmented = Film::new(None, true).file();
        for (scheme, byte) in [("cenc", 0), ("cbcs", CBCS)] {
            let with = |most: u8, file: &[u8]| [&[byte, most], file].concat();
            self.accepted(target, &format!("fragmented-{scheme}"), with(255, &fragmented));
            self.accepted(
                target,
                &format!("two-fragments-{scheme}"),
                with(6, &two_fragments()),
            );
        }
        let with = |file: &[u8]| [&[0, 50], file].concat();
        let end = fragmented.len();
        // Behind the data there is a box of 15 bytes.
        let to_end = renamed(fragmented.get(..end - 15).unwrap(), b"\0\0\0\x88mdat", 3, 0);
        let repeated = [&fragmented[..], &boxed(b"ftyp", &[b"isom\0\0\0\0"])].concat();
        let index = [&fragmented[..], b"\0\0\x10\0sidx"].concat();
        let items = [
            &fragmented[..],
            &full(b"meta", 0, 0, &[&full(b"iloc", 0, 0, &[])]),
        ]
        .concat();
        for (name, file) in [
            ("progressive", Film::new(None, false).file()),
            ("protected", Film::new(Some(Scheme::Cenc), true).file()),
            ("cut-off", fragmented.get(..end - 40).unwrap().to_vec()),
            ("cut-off-index", index),
            ("no-fragment", renamed(&fragmented, b"moof", 0, b'x')),
            ("to-the-end", to_end),
            ("repeated-brands", repeated),
            ("items", items),
            ("nothing", Vec::new()),
        ] {
            self.invalid(target, name, with(&file));
        }
    }

    fn matroska(&mut self) {
        let target = "webm";
        self.accepted(target, "encrypted", matroska(b"webm", true, 0x80));
        self.accepted(target, "matroska", matroska(b"matroska", true, 0x80));
        self.accepted(target, "unknown-sizes", matroska(b"webm", true, 0xff));
        self.invalid(target, "clear", matroska(b"webm", false, 0x80));
        self.invalid(
            target,
            "tracks-cut-off",
            matroska(b"webm", true, 0x80).get(..24).unwrap(),
        );
        self.invalid(target, "no-size", b"\x1a\x45\xdf\xa3\0".to_vec());
        self.invalid(target, "film", Film::new(None, true).file());
    }

    fn frames(&mut self) {
        let of = |record: &str, samples: &[Vec<u8>]| {
            let samples: Vec<u8> = samples.iter().flat_map(|sample| part(sample)).collect();
            [part(&hex(record)), samples].concat()
        };
        let av1 = |samples: &[Vec<u8>]| of(AV1_RECORD, samples);
        let vp9 = |samples: &[Vec<u8>]| of(VP9_RECORD, samples);

        let target = "av1_samples";
        let [key, inter, last] = AV1_SAMPLES.map(hex);
        let show = vec![0x1a, 1, 0x88];
        self.accepted(target, "film", av1(&[key.clone(), inter.clone(), last]));
        self.accepted(
            target,
            "two-frames",
            av1(&[[key.clone(), inter.clone()].concat()]),
        );
        self.accepted(target, "shown-again", av1(&[key.clone(), show.clone()]));
        self.invalid(target, "nothing-to-show", av1(&[show]));
        self.invalid(target, "nothing-to-refer-to", av1(std::slice::from_ref(&inter)));
        self.invalid(target, "record-cut-off", part(&[0x81, 0, 0]));
        self.invalid(
            target,
            "record-of-a-frame",
            part(&[&[0x81, 0, 0, 0], &key[..]].concat()),
        );
        self.invalid(target, "size-lies", av1(&[flipped(&key, 13, 0x40)]));
        self.invalid(target, "forbidden-bit", av1(&[flipped(&key, 12, 0x80)]));
        self.invalid(target, "tile-list", av1(&[vec![0x42, 0]]));
        self.invalid(
            target,
            "tile-size-lies",
            av1(&[key.clone(), flipped(&inter, 21, 0x80)]),
        );
        self.invalid(target, "header-cut-off", av1(&[key, vec![0x32, 2, 0x20, 1]]));

        let target = "vp9_samples";
        let [key, inter, superframe] = VP9_SAMPLES.map(hex);
        let end = superframe.len() - 1;
        let film = [key.clone(), inter.clone(), superframe.clone()];
        self.accepted(target, "film", vp9(&film));
        self.accepted(target, "shown-again", vp9(&[key.clone(), vec![0x88]]));
        self.invalid(target, "nothing-to-refer-to", vp9(&[inter]));
        self.invalid(target, "record-cut-off", part(&[1, 0, 0]));
        self.invalid(target, "frame-marker", vp9(&[flipped(&key, 0, 0x40)]));
        self.invalid(target, "sync-code", vp9(&[flipped(&key, 2, 1)]));
        self.invalid(target, "header-cut-off", vp9(&[key.get(..12).unwrap().to_vec()]));
        self.invalid(
            target,
            "superframe-size",
            vp9(&[key.clone(), flipped(&superframe, end - 1, 1)]),
        );
        self.invalid(
            target,
            "superframe-marker",
            vp9(&[key, flipped(&superframe, end - 3, 1)]),
        );
    }

    fn codecs(&mut self) {
        for (target, record, samples) in [
            ("avc_samples", hex(AVC_RECORD), AVC_SAMPLES.map(hex)),
            ("hevc_samples", hex(HEVC_RECORD), HEVC_SAMPLES.map(hex)),
        ] {
            let with = |samples: &[Vec<u8>]| {
                let samples: Vec<u8> = samples.iter().flat_map(|sample| part(sample)).collect();
                [part(&record), samples].concat()
            };
            let [first, second, _] = samples.clone();
            self.accepted(target, "film", with(&samples));
            self.accepted(
                target,
                "two-units",
                with(&[[first.clone(), second.clone()].concat()]),
            );
            self.invalid(target, "record-cut-off", part(record.get(..30).unwrap()));
            self.invalid(
                target,
                "length-lies",
                with(&[[&[0, 0, 1], first.get(3..).unwrap()].concat()]),
            );
            self.invalid(target, "empty-unit", with(&[[&first[..], &[0; 4]].concat()]));
            self.invalid(
                target,
                "header-cut-off",
                with(&[[&be(3), second.get(4..7).unwrap()].concat()]),
            );
            let mut forbidden = first;
            *forbidden.get_mut(4).unwrap() |= 0x80;
            self.invalid(target, "forbidden-bit", with(&[forbidden]));
        }
    }
}

/// A clear film whose fragment is there twice, a second later the second time.
fn two_fragments() -> Vec<u8> {
    let film = Film::new(None, true);
    let file = film.file();
    let start = file.windows(4).position(|window| window == b"moof").unwrap() - 4;
    let end = file.windows(4).position(|window| window == b"kwxx").unwrap() - 4;
    let mut later = file.get(start..end).unwrap().to_vec();
    let times: Vec<usize> = later
        .windows(4)
        .enumerate()
        .filter_map(|(at, window)| (window == b"tfdt").then_some(at + 8))
        .collect();
    for at in times {
        later.splice(at..at + 8, 1000_u64.to_be_bytes());
    }
    [file.get(..end).unwrap(), &later].concat()
}

/// The beginning of a Matroska file of one track; `marker` in the size of the segment says whether it is known.
fn matroska(doc_type: &[u8], is_encrypted: bool, marker: u8) -> Vec<u8> {
    // With AES, under a key id of two bytes; else with a compression.
    let encoding = if is_encrypted {
        element(b"\x50\x35", b"\x47\xe1\x81\x05\x47\xe2\x82\x01\x02")
    } else {
        element(b"\x50\x34", b"")
    };
    let encodings = element(b"\x6d\x80", &element(b"\x62\x40", &encoding));
    let tracks = element(b"\x16\x54\xae\x6b", &element(b"\xae", &encodings));
    let void = element(b"\xec", b"\0\0");
    let body = [void, tracks].concat();
    let mut segment = element(b"\x18\x53\x80\x67", &body);
    *segment.get_mut(4).unwrap() |= marker;
    let header = element(b"\x1a\x45\xdf\xa3", &element(b"\x42\x82", doc_type));
    [header, segment].concat()
}

/// An element of fewer than 127 bytes.
fn element(id: &[u8], body: &[u8]) -> Vec<u8> {
    [id, &[0x80 | u8::try_from(body.len()).unwrap()], body].concat()
}

fn flipped(bytes: &[u8], at: usize, bits: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    *bytes.get_mut(at).unwrap() ^= bits;
    bytes
}

/// A film under keys that rotate, with room for licenses.
fn rotated(scheme: Scheme, fragmented: bool, store_len: u32) -> Vec<u8> {
    let options = MediaOptions {
        store_len,
        ..MediaOptions::new(scheme, Vec::new())
    };
    rotating(&Film::new(None, fragmented).file(), &options)
        .unwrap()
        .output
}

/// Puts another byte at a place behind where a sequence is found, which must be somewhere.
fn renamed(bytes: &[u8], found: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let start = bytes
        .windows(found.len())
        .position(|window| window == found)
        .unwrap();
    let mut bytes = bytes.to_vec();
    *bytes.get_mut(start + at).unwrap() = byte;
    bytes
}
