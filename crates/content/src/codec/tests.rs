//! Samples of real encoders with the maps that Shaka Packager gives them, and streams written bit by bit
//! whose header lengths are known.

mod frames;
mod streams;

use std::io;

use proptest::prelude::*;

use super::*;
use crate::cenc::{Subsample, total_len};
use streams::{Slice, avc_record, hevc_record, nals};

type Ranges = Vec<(u16, u32)>;

fn map(mapper: &mut SampleMapper, mut sample: &[u8], scheme: Scheme) -> Result<Ranges, CodecError> {
    let mut out = vec![Subsample {
        clear: 1,
        protected: 1,
    }];
    let mapped = mapper.map(&mut sample, scheme, &mut out);
    assert!(mapped.is_ok() || out.is_empty());
    mapped.map(|()| out.iter().map(|range| (range.clear, range.protected)).collect())
}

/// x264: two slices, an access unit delimiter, B pictures, CABAC.
const AVC_RECORD: &str =
    "0164000affe100186764000aace4109b011000000300100000030320f122512001000668ebe0592c8bfdf8f800";
const AVC_SAMPLES: [&str; 4] = [
    "0000000209100000003d658884037f663f01b251eb246723905051ebcc80255ab52467fbc7412a72d15b0e7e63fe43c6f51b18a451bb\
     f8025848339875e7d97c4167817c2b226100000054651222100dff0e9810ff53d635f2f4cfcc89eddb652d27db36d7c3cea94585846a\
     d5d9d468616c66d70a8bdaab7263910c4f687d7cfa34dd15a833b0a333e53cebaaeb575e356315ff335e0c147e53a1c7cf1877",
    "0000000209300000000b419a29b137f438249396e80000000d411268a6c4dfce4b1fe234829f",
    "00000002095000000007019e45e4dfcf810000000801127917937fcf81",
    "0000000209300000000b419a4d4c137ff38b66d0180000001841126935304dfff38f21128e2a0fbf6d1dc47a871946eff8",
];

/// x265: wavefronts of eight rows, so seven entry points.
const HEVC_RECORD: &str = "0101600000009000000000001ef000fcfdf8f800000f03a00001001840010c01ffff01600000030090000003000003001e91\
                           3024a10001002942010101600000030090000003000003001ea020808165913abcaf016808000003000800000300c840a200\
                           0100064401c173d189";
const HEVC_SAMPLES: [&str; 4] = [
    "000000f42801af065106d519628154a0fc37ac536de214c3d40450fd5fe125c0732233dc1a39ffc05b159cf6df62472a49fd357b8bd0\
     7e3e51a2fccebdb2c3dd5e7645d5b840ed824d8e342ee9bfba9e03738e539de037509aeba105487e86555e4f11f9ba5f84ee00068fb2\
     e1b2abb815b70d9f50d441fc3bf436367da8f4202fe975ecb8cfae195ef056a2caf15496d11e19a5f6db79db2265890a5ffcd1076037\
     0daddc589f8821a36766e4717f98eba459e1acffff02838e3297305333e664d063683630a14e81eec46fe1671ab624cfba80347953c8\
     030cb53fd2190e09ca802e4bf222380a312c1d9b23deb6bba404061f1eb72340",
    "0000001e0201d0097e10c60ca214aab0fb4ef0ddfed20490480d6811f017703474c0",
    "0000001e0201d019d7f510c18320852aacfb4ef0ddfed20490480d6811f017701e50",
    "0000001c0001e046bff51832084aaac00ac8063c0aa8111017301f5026203160",
];

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

#[test]
fn h264_samples_have_the_maps_of_shaka_packager() {
    let expected: [(Ranges, Ranges, Ranges); 4] = [
        (
            vec![(15, 48), (18, 64), (14, 0)],
            vec![(15, 56), (10, 78)],
            vec![(23, 48), (24, 64)],
        ),
        (vec![(38, 0)], vec![(15, 6), (10, 7)], vec![(38, 0)]),
        (vec![(29, 0)], vec![(15, 2), (10, 2)], vec![(29, 0)]),
        (vec![(32, 16), (1, 0)], vec![(16, 5), (11, 17)], vec![(33, 16)]),
    ];
    let mut mapper = SampleMapper::video(*b"avc1", &bytes(AVC_RECORD)).unwrap();
    let mut to_end = SampleMapper::avc(&bytes(AVC_RECORD)).unwrap().aligned_to_end();
    for (sample, (whole_blocks, all, blocks_to_end)) in AVC_SAMPLES.iter().zip(expected) {
        let sample = bytes(sample);
        assert_eq!(map(&mut mapper, &sample, Scheme::Cbcs).unwrap(), all);
        assert_eq!(map(&mut to_end, &sample, Scheme::Cbcs).unwrap(), all);
        for scheme in [Scheme::Cenc, Scheme::Cens, Scheme::Cbc1] {
            assert_eq!(map(&mut mapper, &sample, scheme).unwrap(), whole_blocks);
            assert_eq!(map(&mut to_end, &sample, scheme).unwrap(), blocks_to_end);
        }
    }
}

#[test]
fn h265_samples_have_the_maps_of_shaka_packager() {
    let expected: [(Ranges, Ranges); 4] = [
        (vec![(16, 224), (8, 0)], vec![(16, 232)]),
        (vec![(16, 16), (2, 0)], vec![(16, 18)]),
        (vec![(17, 16), (1, 0)], vec![(17, 17)]),
        (vec![(16, 16)], vec![(16, 16)]),
    ];
    let mut mapper = SampleMapper::video(*b"hvc1", &bytes(HEVC_RECORD)).unwrap();
    for (sample, (whole_blocks, all)) in HEVC_SAMPLES.iter().zip(expected) {
        assert_eq!(map(&mut mapper, &bytes(sample), Scheme::Cbcs).unwrap(), all);
        assert_eq!(
            map(&mut mapper, &bytes(sample), Scheme::Cenc).unwrap(),
            whole_blocks
        );
    }
}

#[test]
fn audio_is_protected_as_a_whole() {
    let mut mapper = SampleMapper::audio();
    assert!(mapper.protects_whole_samples());
    assert!(
        !SampleMapper::avc(&avc_record(4, &[]))
            .unwrap()
            .protects_whole_samples()
    );
    assert_eq!(map(&mut mapper, &[0; 40], Scheme::Cbcs).unwrap(), []);
}

#[test]
fn other_codecs_are_refused() {
    for format in [b"vp10", b"vvc1", b"mp4v", b"encv"] {
        let refused = SampleMapper::video(*format, &bytes(AVC_RECORD)).unwrap_err();
        let name = String::from_utf8_lossy(format);
        assert_eq!(
            refused.to_string(),
            format!("no subsample map for the sample entry '{name}'")
        );
        assert!(!refused.hint().is_empty());
    }
}

#[test]
fn a_record_with_a_broken_parameter_set_is_refused() {
    let [sequence, picture] = streams::avc_sets(0);
    for sets in [
        vec![sequence[..5].to_vec(), picture.clone()],
        vec![picture.clone()],
        vec![sequence, vec![]],
    ] {
        let refused = SampleMapper::avc(&avc_record(4, &sets));
        assert!(matches!(refused, Err(CodecError::ParameterSet)), "{sets:02x?}");
    }
    let broken = SampleMapper::hevc(&hevc_record(4, &[streams::hevc_sets(false)[0][..9].to_vec()]));
    assert!(matches!(broken, Err(CodecError::ParameterSet)));
}

#[test]
fn parameter_sets_in_samples_are_taken_in() {
    let sets = streams::avc_sets(0);
    let slice = streams::avc_slice(0, 0x155, 100);
    let mut mapper = SampleMapper::video(*b"avc3", &avc_record(4, &[])).unwrap();
    let alone = nals(4, &[&slice.nal]);
    let missing = map(&mut mapper, &alone, Scheme::Cbcs);
    assert!(matches!(missing, Err(CodecError::SliceHeader { at: 0 })));
    let with_sets = nals(4, &[&sets[0], &sets[1], &slice.nal]);
    let clear = u16::try_from(with_sets.len() - slice.nal.len() + slice.header).unwrap();
    assert_eq!(
        map(&mut mapper, &with_sets, Scheme::Cbcs).unwrap(),
        [(clear, 100)]
    );
    let clear = u16::try_from(4 + slice.header).unwrap();
    assert_eq!(map(&mut mapper, &alone, Scheme::Cbcs).unwrap(), [(clear, 100)]);

    let sets = streams::hevc_sets(true);
    let slice = streams::hevc_slice(Some(3), 50);
    let mut mapper = SampleMapper::video(*b"hev1", &hevc_record(2, &[])).unwrap();
    let alone = nals(2, &[&slice.nal]);
    assert!(matches!(
        map(&mut mapper, &alone, Scheme::Cbcs),
        Err(CodecError::SliceHeader { at: 0 })
    ));
    map(&mut mapper, &nals(2, &[&sets[0], &sets[1]]), Scheme::Cbcs).unwrap();
    let clear = u16::try_from(2 + slice.header).unwrap();
    assert_eq!(map(&mut mapper, &alone, Scheme::Cbcs).unwrap(), [(clear, 50)]);
}

/// ISO/IEC 14496-15 recommends an order of the arrays of a record, and leaves it open.
#[test]
fn parameter_sets_of_a_record_come_in_any_order() {
    let [sequence, picture] = streams::hevc_sets(true);
    let slice = streams::hevc_slice(Some(3), 50);
    let mut mapper = SampleMapper::hevc(&hevc_record(4, &[picture, sequence])).unwrap();
    let clear = u16::try_from(4 + slice.header).unwrap();
    assert_eq!(
        map(&mut mapper, &nals(4, &[&slice.nal]), Scheme::Cbcs).unwrap(),
        [(clear, 50)]
    );
}

/// The picture parameter set stays, and what it refers to changes: `frame_num` has another length.
#[test]
fn a_replaced_sequence_parameter_set_is_in_force_at_once() {
    let [short, picture] = streams::avc_sets(0);
    let [long, _] = streams::avc_sets(12);
    let mut mapper = SampleMapper::avc(&avc_record(1, &[short.clone(), picture])).unwrap();
    for (set, log2) in [(&long, 12), (&short, 0), (&long, 12)] {
        let slice = streams::avc_slice(log2, 9, 40);
        let sample = nals(1, &[set, &slice.nal]);
        let clear = u16::try_from(sample.len() - 40).unwrap();
        assert_eq!(
            map(&mut mapper, &sample, Scheme::Cbcs).unwrap(),
            [(clear, 40)],
            "{log2}"
        );
    }
}

#[test]
fn emulation_prevention_bytes_in_slice_headers_are_clear() {
    let sets = streams::avc_sets(12);
    let slice = streams::avc_slice(12, 0, 64);
    assert!(
        slice.nal[..slice.header]
            .windows(3)
            .any(|bytes| bytes == [0, 0, 3]),
        "{:02x?}",
        slice.nal
    );
    let mut mapper = SampleMapper::avc(&avc_record(4, &sets)).unwrap();
    let clear = u16::try_from(4 + slice.header).unwrap();
    assert_eq!(
        map(&mut mapper, &nals(4, &[&slice.nal]), Scheme::Cbcs).unwrap(),
        [(clear, 64)]
    );
}

/// More entry points than the parser of parameter sets can keep, and a header beyond the first look.
#[test]
fn long_slice_headers_are_followed_to_their_end() {
    let mut mapper = SampleMapper::hevc(&hevc_record(4, &streams::hevc_sets(true))).unwrap();
    for entry_points in [0, 32, 33, 200, 3000] {
        let slice = streams::hevc_slice(Some(entry_points), 1000);
        let clear = u16::try_from(4 + slice.header).unwrap();
        let sample = nals(4, &[&slice.nal]);
        assert_eq!(
            map(&mut mapper, &sample, Scheme::Cbcs).unwrap(),
            [(clear, 1000)],
            "{entry_points}"
        );
        for cut in [1000 + 1, 1000 + slice.header / 2] {
            let cut = nals(4, &[&slice.nal[..slice.nal.len() - cut]]);
            let refused = map(&mut mapper, &cut, Scheme::Cbcs);
            assert!(
                matches!(refused, Err(CodecError::SliceHeader { at: 0 })),
                "{entry_points}"
            );
        }
    }
    let endless = streams::hevc_slice(Some(20_000), 10);
    let refused = map(&mut mapper, &nals(4, &[&endless.nal]), Scheme::Cbcs);
    assert!(matches!(refused, Err(CodecError::SliceHeader { at: 0 })));
}

#[test]
fn a_slice_may_end_with_its_header() {
    let mut mapper = SampleMapper::hevc(&hevc_record(4, &streams::hevc_sets(true))).unwrap();
    let slice = streams::hevc_slice(Some(1), 0);
    let sample = nals(4, &[&slice.nal]);
    let clear = u16::try_from(sample.len()).unwrap();
    assert_eq!(map(&mut mapper, &sample, Scheme::Cbcs).unwrap(), [(clear, 0)]);
    assert_eq!(map(&mut mapper, &[], Scheme::Cbcs).unwrap(), []);
}

#[test]
fn nal_units_shall_fill_the_sample() {
    let sets = streams::avc_sets(0);
    for field in [1_u8, 2, 4] {
        let length_size = usize::from(field);
        let mut mapper = SampleMapper::avc(&avc_record(field, &sets)).unwrap();
        let slice = streams::avc_slice(0, 1, 20).nal;
        let good = nals(length_size, &[&[9, 0x10], &slice]);
        map(&mut mapper, &good, Scheme::Cenc).unwrap();
        let second = (length_size + 2) as u64;
        for len in 1..good.len() {
            let boundary = len as u64 == second;
            let refused = map(&mut mapper, &good[..len], Scheme::Cenc);
            let at = if len as u64 > second { second } else { 0 };
            assert!(
                matches!(&refused, Err(CodecError::Framing { at: found }) if *found == at) || boundary,
                "{len}: {refused:?}"
            );
        }
        let empty = nals(length_size, &[&[9, 0x10], &[]]);
        let refused = map(&mut mapper, &empty, Scheme::Cenc);
        assert!(matches!(refused, Err(CodecError::Framing { at }) if at == second));
    }
}

#[test]
fn nal_units_without_a_map_are_refused() {
    let mut avc = SampleMapper::avc(&avc_record(4, &[])).unwrap();
    for kind in 0..32_u8 {
        let mapped = map(&mut avc, &nals(4, &[&[0x60 | kind, 0x80, 0x80]]), Scheme::Cenc);
        match (kind, mapped) {
            (1 | 5, Err(CodecError::SliceHeader { at: 0 })) | (7 | 8, Err(CodecError::ParameterSet)) => {}
            (2..=4 | 19..=23, Err(CodecError::NalType { kind: found, at: 0 })) => assert_eq!(found, kind),
            (0 | 6 | 9..=18 | 24..=31, Ok(ranges)) => assert_eq!(ranges, [(7, 0)]),
            (_, mapped) => panic!("H.264 type {kind}: {mapped:?}"),
        }
    }
    let mut hevc = SampleMapper::hevc(&hevc_record(4, &[])).unwrap();
    for kind in 0..64_u8 {
        let mapped = map(&mut hevc, &nals(4, &[&[kind << 1, 1, 0x80]]), Scheme::Cenc);
        match (kind, mapped) {
            (0..=9 | 16..=21, Err(CodecError::SliceHeader { at: 0 })) => {}
            (33 | 34, Err(CodecError::ParameterSet)) => {}
            (10..=15 | 22..=31, Err(CodecError::NalType { kind: found, at: 0 })) => assert_eq!(found, kind),
            (32 | 35..=63, Ok(ranges)) => assert_eq!(ranges, [(7, 0)]),
            (_, mapped) => panic!("H.265 type {kind}: {mapped:?}"),
        }
        // Of slices of another layer nothing is clear but the NAL unit header.
        let layer_1 = map(&mut hevc, &nals(4, &[&[kind << 1, 9, 0x80]]), Scheme::Cbcs);
        match (kind, layer_1) {
            (0..=9 | 16..=21, Ok(ranges)) => {
                assert_eq!(ranges, [(6, 1)]);
                // As of every range, what does not fill a block stays clear in `cenc`.
                let long = [&[kind << 1, 9][..], &[0x80; 35]].concat();
                let ranges = map(&mut hevc, &nals(4, &[&long]), Scheme::Cenc).unwrap();
                assert_eq!(ranges, [(6, 32), (3, 0)]);
            }
            (10..=15 | 22..=31, Err(CodecError::NalType { kind: found, at: 0 })) => assert_eq!(found, kind),
            (32..=63, Ok(ranges)) => assert_eq!(ranges, [(7, 0)]),
            (_, layer_1) => panic!("H.265 type {kind} of layer 1: {layer_1:?}"),
        }
    }
    for (is_avc, nal) in [
        (true, &[0x80 | 0x69][..]),
        (true, &[5, 0x80]),
        (false, &[0x80 | 70, 1]),
        (false, &[70, 0]),
        (false, &[70]),
    ] {
        let mapper = if is_avc { &mut avc } else { &mut hevc };
        let refused = map(mapper, &nals(4, &[nal]), Scheme::Cenc);
        assert!(
            matches!(refused, Err(CodecError::Framing { at: 0 })),
            "{nal:02x?}"
        );
    }
}

/// Level 8.5, which x265 gives to lossless video, and a level of nobody's.
#[test]
fn unknown_levels_do_not_matter() {
    for (codec, at) in [("avc", 3), ("hevc", 14 + 3)] {
        let (mut sets, slice) = match codec {
            "avc" => (streams::avc_sets(0), streams::avc_slice(0, 1, 9)),
            _ => (streams::hevc_sets(false), streams::hevc_slice(None, 9)),
        };
        for level in [255, 7] {
            sets[0][at] = level;
            let made = match codec {
                "avc" => SampleMapper::avc(&avc_record(4, &sets)),
                _ => SampleMapper::hevc(&hevc_record(4, &sets)),
            };
            let ranges = map(&mut made.unwrap(), &nals(4, &[&slice.nal]), Scheme::Cbcs).unwrap();
            assert_eq!(
                ranges,
                [(u16::try_from(4 + slice.header).unwrap(), 9)],
                "{codec} {level}"
            );
        }
    }
}

#[test]
fn temporal_layers_do_not_matter() {
    let slice = streams::hevc_slice(Some(2), 30);
    let clear = u16::try_from(4 + slice.header).unwrap();
    for layers in [
        vec![(false, false)],
        vec![(false, true)],
        vec![(true, false)],
        vec![(true, true), (false, true)],
        vec![
            (true, true),
            (false, false),
            (true, false),
            (false, true),
            (false, true),
            (true, true),
        ],
    ] {
        let sets = streams::hevc_sets_of_layers(true, &layers);
        let mut mapper = SampleMapper::hevc(&hevc_record(4, &sets)).unwrap();
        let ranges = map(&mut mapper, &nals(4, &[&slice.nal]), Scheme::Cbcs).unwrap();
        assert_eq!(ranges, [(clear, 30)], "{layers:?}");
    }
    let cut = streams::hevc_sets_of_layers(true, &[(true, true)])[0][..24].to_vec();
    let [many, _] = streams::hevc_sets_of_layers(true, &[(false, false); 7]);
    for set in [cut, many] {
        let refused = SampleMapper::hevc(&hevc_record(4, &[set]));
        assert!(matches!(refused, Err(CodecError::ParameterSet)));
    }
}

/// A source that counts what it is asked for, or fails.
struct Source<'a> {
    bytes: &'a [u8],
    asked: usize,
    fails: bool,
    shortens: bool,
}

impl SampleSource for Source<'_> {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn bytes(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        if self.fails {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.asked += len;
        let at = usize::try_from(at).unwrap();
        Ok(&self.bytes[at..at + len - usize::from(self.shortens)])
    }
}

#[test]
fn samples_are_read_sparsely() {
    let mut mapper = SampleMapper::avc(&avc_record(4, &streams::avc_sets(0))).unwrap();
    let Slice { nal, header } = streams::avc_slice(0, 1, 1 << 20);
    let sample = nals(4, &[&nal, &nal, &[9, 0x10]]);
    let source = |fails, shortens| Source {
        bytes: &sample,
        asked: 0,
        fails,
        shortens,
    };
    let mut out = Vec::new();
    let mut sparse = source(false, false);
    mapper.map(&mut sparse, Scheme::Cbcs, &mut out).unwrap();
    assert!(sparse.asked < 300, "{} bytes", sparse.asked);
    assert_eq!(usize::from(out[1].clear), 4 + header);
    for (fails, shortens, kind) in [
        (true, false, io::ErrorKind::BrokenPipe),
        (false, true, io::ErrorKind::UnexpectedEof),
    ] {
        let refused = mapper.map(&mut source(fails, shortens), Scheme::Cbcs, &mut out);
        assert!(matches!(refused, Err(CodecError::Read(error)) if error.kind() == kind));
        assert!(out.is_empty());
    }
}

#[test]
fn slices_of_memory_are_bounded() {
    let mut sample: &[u8] = &[1, 2, 3];
    assert_eq!(sample.bytes(1, 2).unwrap(), [2, 3]);
    assert!(!SampleSource::is_empty(&sample));
    for (at, len) in [(0, 4), (3, 1), (4, 0), (u64::MAX, 1), (1, usize::MAX)] {
        assert!(sample.bytes(at, len).is_err(), "{at} {len}");
    }
}

proptest! {
    /// Whatever a sample holds, it is refused or its map covers it, and nothing panics out of the mapper.
    #[test]
    fn hostile_samples_are_refused_or_mapped(
        hevc in any::<bool>(),
        index in 0_usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        noise in prop::collection::vec(any::<u8>(), 0..80),
        scheme in prop::sample::select(&Scheme::ALL),
    ) {
        let (mut mapper, sample, set) = if hevc {
            (SampleMapper::hevc(&bytes(HEVC_RECORD)).unwrap(), HEVC_SAMPLES[index], 33 << 1)
        } else {
            (SampleMapper::avc(&bytes(AVC_RECORD)).unwrap(), AVC_SAMPLES[index], 0x67)
        };
        let mut changed = bytes(sample);
        for (at, value) in changes {
            let at = at.index(changed.len());
            changed[at] = value;
        }
        let random_set = [&[set, 1], noise.as_slice()].concat();
        for sample in [changed, noise, nals(4, &[&random_set])] {
            if let Ok(ranges) = map(&mut mapper, &sample, scheme) {
                let ranges: Vec<_> = ranges
                    .into_iter()
                    .map(|(clear, protected)| Subsample { clear, protected })
                    .collect();
                prop_assert_eq!(total_len(&ranges), sample.len() as u64);
            }
        }
    }
}
