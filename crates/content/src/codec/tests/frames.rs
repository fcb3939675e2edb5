//! Samples of AV1 and VP9: of real encoders with the maps that Shaka Packager gives them, and written bit by
//! bit.

use super::{
    streams::{Writer, obu},
    *,
};

/// libaom: 128 by 64 in two tiles; a key frame behind its sequence header, two inter frames.
const AV1_RECORD: &str = "81000c000a0a000000032fffcdaf9804";
const AV1_SAMPLES: [&str; 3] = [
    "0a0a000000032fffcdaf980432cd02140031dc0c30c1d01675d01000a0d437e3bfd14b3be77ca654fc95c2ed97b858f5d728617b\
     c0705e75e74045adc07f2cf06327b2436f5972756c30635abd1a467f7f91acecc38d48f5e157c51e196acb17bbc70757ec0a8c7a\
     e543ab5807241879727b3f912cdd6f6adbf881ba3a79505bd8f93b72a5ec96a0b843b61f2c1906a9be95a09bbc4d3fc2f2ba1e02\
     0c25192bfcbe42224e5d37a919b0c27a32b5f9358a032730e11c9eaf0846ad14c4d0ccb84618bab981a0e3cd0a2a9934f6967acc\
     63dc17c586dea00c315167373e0d008ca75a619d453acf8c8bdad06d00af26c81dfc3ecf14a9cdd884dbce4236675dfb5d016250\
     4c7a94435b91e239a62586ff34996cf46ad3eb90f36cc7b3ca4f8a72e91de75ec9ff0fb502a6b1b88affa357f67c83adf4893b96\
     56f1bdfb02555dee8f2f505bfc1cd4335e29495a19e632c37ec32d6153367cbd1ca25620",
    "323a3201e04000000373e005140cc1675d004000000a2509a6b86c5c566eced860de6f011ad4fe37d907d030189eb626e27d2d53\
     dd13f127202b3788",
    "32463202008200000373e808e31d41645d004000000ed086192cb78392c6f64650860a3380db7f936355b4cf25cd54307bb27a12\
     85128ab968138eb7c9b0c57b6999cefd2cd85280",
];

/// libvpx: 64 by 32; a key frame, an inter frame, two inter frames in a superframe.
const VP9_RECORD: &str = "01000000000a820202020000";
const VP9_SAMPLES: [&str; 3] = [
    "824983420003f001f62e38241c19400000707caf065f0000007d062f9ad70c811bbdc5705fd9ffa3d4b28386e6e419f01781332c\
     dbe70d81a55b14e6fa76fd15eaccb7390d651ec586a6b01692961b20c8e26b9acd0e8fe03ef8ad49098f5838294b7186b71eae8b\
     66ac3dc4602171ecd9b4dbe14d6ba9b40bf3c1716e4bf09a3176bbd5499188eb2eea3a45682b507185106aa8f2a1f9b16dd0d421\
     d318fa33a83d9261f893ded50eb8814c471f79c2deb97c79ccca6169b8fd5927609eac0d2d8f928e7b623834a999713e093a31e8\
     5802ef07e9f4bffe3cfb27c0af5d662c607c210efee6d6f706931cc7a251e68747a33491923c2b9a69bda7ad8751707fa5f47ff2\
     22ac07aca872c7750fa27378aa606a08c5d7ea022d1bfc4d2ed60a9e094d4bec6079c8ece3c0c010596db65c66c107d8b9795a26\
     1998fddf2cd48a15531cb187d00f2d1027247563de93c3ab57c5728118b01921398b9082e2503f077a63f1b04f4417a8faefa201\
     f50999c8694e8217615e172dbbd72436d7b001373c88f02e161be9bfb8ee9de6b9d34c80",
    "860040929c48540000036000007fd9d6d4dffd588640fff3f4102a0ac22d8be07566d5583c",
    "860040929c48540000036000007fd9d6d4dffd588640fff3f4102a0ac22d8be07566d5583c860040929c04540000036000007d7f\
     ff4a72dfe3efdf1fb8a3af8da8d000c1251ec1",
];

/// Shows reference frame 0 again.
const AV1_SHOW: [u8; 3] = [0x1a, 1, 0x88];
const VP9_SHOW: [u8; 1] = [0x88];

fn av1() -> SampleMapper {
    SampleMapper::video(*b"av01", &bytes(AV1_RECORD)).unwrap()
}

fn vp9() -> SampleMapper {
    SampleMapper::video(*b"vp09", &bytes(VP9_RECORD)).unwrap()
}

#[test]
fn av1_samples_have_the_maps_of_the_binding_and_of_shaka_packager() {
    let expected: [[Ranges; 3]; 3] = [
        [
            vec![(30, 160), (14, 144)],
            vec![(29, 160), (1, 144), (14, 0)],
            vec![(29, 161), (0, 158)],
        ],
        [vec![(44, 16)], vec![(33, 16), (11, 0)], vec![(22, 11), (0, 27)]],
        [vec![(40, 32)], vec![(37, 32), (3, 0)], vec![(22, 15), (0, 35)]],
    ];
    let (mut own, mut shaka) = (av1(), av1().aligned_from_start());
    for (sample, [to_end, from_start, all]) in AV1_SAMPLES.iter().zip(expected) {
        let sample = bytes(sample);
        for scheme in [Scheme::Cenc, Scheme::Cens, Scheme::Cbc1] {
            assert_eq!(map(&mut own, &sample, scheme).unwrap(), to_end, "{scheme}");
            assert_eq!(map(&mut shaka, &sample, scheme).unwrap(), from_start, "{scheme}");
        }
        for mapper in [&mut own, &mut shaka] {
            assert_eq!(map(mapper, &sample, Scheme::Cbcs).unwrap(), all);
        }
    }
    assert_eq!(map(&mut own, &AV1_SHOW, Scheme::Cenc).unwrap(), [(3, 0)]);
}

#[test]
fn vp9_samples_have_the_maps_of_the_binding_and_of_shaka_packager() {
    let expected: [[Ranges; 2]; 3] = [
        [vec![(32, 368)], vec![(18, 368), (14, 0)]],
        [vec![(21, 16)], vec![(10, 16), (11, 0)]],
        [vec![(21, 16), (14, 16), (4, 0)], vec![(10, 16), (21, 16), (8, 0)]],
    ];
    let (mut own, mut shaka) = (vp9(), vp9().aligned_from_start());
    for (sample, [to_end, from_start]) in VP9_SAMPLES.iter().zip(expected) {
        let sample = bytes(sample);
        for scheme in Scheme::ALL {
            assert_eq!(map(&mut own, &sample, scheme).unwrap(), to_end, "{scheme}");
            assert_eq!(map(&mut shaka, &sample, scheme).unwrap(), from_start, "{scheme}");
        }
    }
    assert_eq!(map(&mut own, &VP9_SHOW, Scheme::Cenc).unwrap(), [(1, 0)]);
}

#[test]
fn vp8_is_protected_as_a_whole() {
    let mut mapper = SampleMapper::video(*b"vp08", &bytes(VP9_RECORD)).unwrap();
    assert!(mapper.protects_whole_samples());
    assert_eq!(map(&mut mapper, &[0; 40], Scheme::Cenc).unwrap(), []);
    for (format, record) in [(b"vp08", &[][..]), (b"vp09", &[0; 12]), (b"av01", &[1, 0, 0, 0])] {
        let refused = SampleMapper::video(*format, record);
        assert!(matches!(refused, Err(CodecError::Record)));
    }
}

/// A still picture of 256 by 64 in tiles of 128, 64 and 64 by 64, whose header is the first in its sample.
struct Still {
    sequence: Vec<u8>,
    header: Vec<u8>,
}

impl Still {
    fn new() -> Self {
        let mut sequence = Writer::default();
        sequence
            .bits(0b0_0011, 5)
            .bits(0, 5)
            .bits(0xff, 8)
            .bits(255, 16)
            .bits(63, 16)
            .bits(0, 6) // superblocks of 64 by 64, tools that are not there
            .bits(0, 3 + 1 + 2 + 1) // colors: 4:2:0
            .bits(0, 1);
        let mut header = Writer::default();
        header.bits(0, 2).bits(0, 1); // probabilities, screen content; no other size to show
        header.bits(0, 1).bits(1, 2).bits(0, 1); // tiles of two superblocks, one, and one that is not said
        header.bits(0, 2).bits(0, 2); // numbers of 2 bits, sizes of 1 byte
        header.bits(100, 8).bits(0, 3).bits(0, 1); // quantizer
        header.bits(0, 2).bits(0, 12 + 3 + 1).bits(0, 2); // segments, differences; filter; transforms
        Self {
            sequence: sequence.stop().plain(),
            header: header.stop().plain(),
        }
    }

    fn sample(&self, groups: &[&[u8]]) -> Vec<u8> {
        let mut sample = [obu(1, &self.sequence), obu(3, &self.header)].concat();
        for group in groups {
            sample.extend(obu(4, group));
            sample.extend(obu(7, &self.header));
        }
        sample.truncate(sample.len() - self.header.len() - 2);
        sample
    }
}

/// A tile group with numbers of 2 bits: the first and last tile, and the tiles, with their sizes but for the last.
fn group(first: u8, last: u8, tiles: &[usize]) -> Vec<u8> {
    let mut group = vec![0x80 | first << 5 | last << 3];
    for (at, len) in tiles.iter().enumerate() {
        if at + 1 < tiles.len() {
            group.push(u8::try_from(len - 1).unwrap());
        }
        group.extend(vec![0xff; *len]);
    }
    group
}

#[test]
fn tile_groups_are_followed_in_their_order() {
    let still = Still::new();
    let mut mapper = SampleMapper::av1(&[0x81, 0, 0, 0]).unwrap();
    let (first, second) = (group(0, 1, &[20, 40]), group(2, 2, &[17]));
    let sample = still.sample(&[&first, &second]);
    let head = u16::try_from(still.sequence.len() + still.header.len() + 4).unwrap();
    let between = u16::try_from(still.header.len() + 5).unwrap();
    assert_eq!(
        map(&mut mapper, &sample, Scheme::Cbcs).unwrap(),
        [(head + 4, 20), (0, 40), (between, 17)]
    );
    assert_eq!(
        map(&mut mapper, &sample, Scheme::Cenc).unwrap(),
        [(head + 8, 16), (8, 32), (between + 1, 16)]
    );
    let at = (sample.len() - second.len() - 2) as u64;
    for wrong in [
        group(1, 2, &[9, 9]),
        group(2, 3, &[9, 9]),
        group(2, 1, &[9]),
        vec![0xd1, 9],
        vec![0xd0],
    ] {
        let refused = map(&mut mapper, &still.sample(&[&first, &wrong]), Scheme::Cenc);
        let refused = refused.unwrap_err().to_string();
        assert!(refused.starts_with("a frame header"), "{wrong:02x?}: {refused}");
        mapper = SampleMapper::av1(&[0x81, 0, 0, 0]).unwrap();
    }
    let lie = [&first[..1], &[70], &first[2..]].concat();
    for (groups, at) in [
        (vec![lie.as_slice(), &second], None),
        (vec![first.as_slice()], Some(at)),
    ] {
        let refused = map(&mut mapper, &still.sample(&groups), Scheme::Cenc).unwrap_err();
        match at {
            None => assert!(matches!(refused, CodecError::FrameHeader { .. }), "{refused}"),
            Some(_) => assert!(
                matches!(refused, CodecError::Obu { .. }),
                "an unfinished frame: {refused}"
            ),
        }
        mapper = SampleMapper::av1(&[0x81, 0, 0, 0]).unwrap();
    }
}

/// Every bit behind the last one that a header has is laid down, so that no misread header goes by.
#[test]
fn headers_of_av1_end_where_they_end() {
    let still = Still::new();
    let groups = group(0, 2, &[20, 20, 20]);
    let good = [obu(1, &still.sequence), obu(3, &still.header), obu(4, &groups)].concat();
    let mapper = || SampleMapper::av1(&[0x81, 0, 0, 0]).unwrap();
    map(&mut mapper(), &good, Scheme::Cenc).unwrap();
    let padded = [still.header.clone(), vec![0; 3]].concat();
    let longer = [obu(1, &still.sequence), obu(3, &padded), obu(4, &groups)].concat();
    map(&mut mapper(), &longer, Scheme::Cenc).unwrap();
    for header in [
        [still.header.clone(), vec![1]].concat(),
        still.header[..still.header.len() - 1].to_vec(),
        [&still.header[..still.header.len() - 1], &[0]].concat(),
        Vec::new(),
    ] {
        for (kind, sequence) in [(3, &still.sequence), (1, &header)] {
            let sample = [obu(1, sequence), obu(kind, &header), obu(4, &groups)].concat();
            let refused = map(&mut mapper(), &sample, Scheme::Cenc);
            assert!(refused.is_err(), "{header:02x?} {kind}");
        }
    }
}

#[test]
fn obus_shall_fill_the_sample_and_be_known() {
    let still = Still::new();
    let tiles = group(0, 2, &[20, 20, 20]);
    let parts = [obu(1, &still.sequence), obu(3, &still.header), obu(4, &tiles)];
    let good = parts.concat();
    let mapper = || SampleMapper::av1(&[0x81, 0, 0, 0]).unwrap();
    let boundary = parts[0].len();
    for len in 1..good.len() {
        let refused = map(&mut mapper(), &good[..len], Scheme::Cenc);
        assert!(refused.is_err() || len == boundary, "{len}");
    }
    // The last OBU may leave out its size.
    let unsized_last = [&parts[0][..], &parts[1], &[4 << 3], &tiles].concat();
    assert!(map(&mut mapper(), &unsized_last, Scheme::Cenc).is_ok());
    for kind in 0..16_u8 {
        let mapped = map(
            &mut mapper(),
            &[obu(kind, &[]), good.clone()].concat(),
            Scheme::Cenc,
        );
        match (kind, mapped) {
            (2 | 5 | 15, Ok(_)) => {}
            (0 | 8..=14, Err(CodecError::ObuType { kind: found, at: 0 })) => assert_eq!(found, kind),
            (1 | 3 | 6, Err(CodecError::FrameHeader { at: 0 })) => {}
            (4 | 7, Err(CodecError::Obu { at: 0 })) => {}
            (_, mapped) => panic!("type {kind}: {mapped:?}"),
        }
    }
    for sample in [
        vec![0x92, 0],                                                 // forbidden bit
        vec![0x12, 1, 0],                                              // a delimiter with a body
        vec![0x12, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0], // a size of nine bytes
        vec![0x12, 0xff, 0xff, 0xff, 0xff, 0x10],                      // a size above 32 bits
        [parts[0].clone(), parts[1].clone(), vec![0x12, 0]].concat(),  // a delimiter within a frame
        [parts[0].clone(), parts[1].clone(), parts[0].clone()].concat(),
    ] {
        let refused = map(&mut mapper(), &sample, Scheme::Cenc);
        assert!(
            matches!(refused, Err(CodecError::Obu { .. })),
            "{sample:02x?}: {refused:?}"
        );
    }
    for record in [
        [&[0x81, 0, 0, 0][..], &parts[1]].concat(),
        vec![0x81, 0, 0, 0, 0x0a, 1, 0xff],
    ] {
        assert!(matches!(SampleMapper::av1(&record), Err(CodecError::Record)));
    }
}

#[test]
fn frames_that_refer_to_nothing_are_refused() {
    for sample in [bytes(AV1_SAMPLES[1]), AV1_SHOW.to_vec()] {
        let refused = map(&mut av1(), &sample, Scheme::Cenc);
        assert!(
            matches!(refused, Err(CodecError::FrameHeader { at: 0 })),
            "{refused:?}"
        );
    }
    let resized = Vp9Frame {
        width: None,
        ..Vp9Frame::new(64)
    };
    let refused = map(&mut vp9(), &resized.write(), Scheme::Cenc);
    assert!(matches!(refused, Err(CodecError::FrameHeader { at: 0 })));
}

/// A frame of VP9, written bit by bit: 32 bytes behind its uncompressed header.
struct Vp9Frame {
    profile: u64,
    /// Of a key frame; an inter frame takes that of its first reference.
    width: Option<u64>,
    /// Bits of `tile_info()`.
    tiles: &'static [u8],
    compressed: u64,
}

impl Vp9Frame {
    const fn new(width: u64) -> Self {
        Self {
            profile: 0,
            width: Some(width),
            tiles: &[0],
            compressed: 9,
        }
    }

    fn write(&self) -> Vec<u8> {
        let mut frame = self.header();
        frame.extend([0xee; 32]);
        frame
    }

    fn header(&self) -> Vec<u8> {
        let mut header = Writer::default();
        header
            .bits(2, 2)
            .bits(self.profile & 1, 1)
            .bits(self.profile >> 1, 1);
        header.bits(0, if self.profile == 3 { 2 } else { 1 });
        if let Some(width) = self.width {
            header.flags(&[0, 1, 0]).bits(0x49_83_42, 24);
            header
                .bits(0, if self.profile >= 2 { 1 } else { 0 })
                .bits(1, 3)
                .bits(0, 1);
            header.bits(0, if self.profile & 1 == 1 { 3 } else { 0 });
            header.bits(width - 1, 16).bits(63, 16).bits(0, 1);
        } else {
            header.flags(&[1, 1, 0]).bits(0, 2).bits(0xff, 8).bits(0, 12);
            header.flags(&[1, 0, 1, 1]); // the size of the first reference
        }
        header.bits(0, 2 + 2).bits(0, 9).flags(&[1, 1]);
        header.bits(0, 5).bits(0xff, 8); // the last difference of the loop filter
        header.bits(40, 8).bits(0, 3);
        header.flags(&[1, 0, 1, 0]);
        // Of each segment: a quantizer, none, a reference, the skip that has no value.
        for _ in 0..8 {
            header.flags(&[1]).bits(0x1ff, 9).flags(&[0, 1, 1, 1, 1]);
        }
        header.flags(self.tiles).bits(self.compressed, 16).plain()
    }
}

#[test]
fn headers_of_vp9_are_followed_through_all_their_parts() {
    for profile in 0..4 {
        let frame = Vp9Frame {
            profile,
            ..Vp9Frame::new(64)
        };
        let clear = u16::try_from(frame.header().len()).unwrap();
        assert_eq!(
            map(&mut vp9(), &frame.write(), Scheme::Cenc).unwrap(),
            [(clear, 32)],
            "{profile}"
        );
    }
    // 16 superblocks are at most four tiles side by side: two more flags; and two bits of rows.
    let mut mapper = vp9();
    let wide = Vp9Frame {
        tiles: &[1, 1, 1, 1],
        ..Vp9Frame::new(1024)
    };
    let inter = Vp9Frame { width: None, ..wide };
    for frame in [wide, inter] {
        let clear = u16::try_from(frame.header().len()).unwrap();
        assert_eq!(
            map(&mut mapper, &frame.write(), Scheme::Cbcs).unwrap(),
            [(clear, 32)]
        );
    }
}

#[test]
fn frames_of_vp9_that_are_none_are_refused() {
    let frame = Vp9Frame::new(64).write();
    let changed = |at: usize, to: u8| {
        let mut changed = frame.clone();
        changed[at] = to;
        changed
    };
    let cut = |len: usize| frame[..len].to_vec();
    let longer = |compressed| {
        Vp9Frame {
            compressed,
            ..Vp9Frame::new(64)
        }
        .write()
    };
    for sample in [
        changed(0, 0x42), // another marker
        changed(1, 0x48), // another sync code
        cut(9),
        longer(0),
        longer(33),
        [&VP9_SHOW[..], &[0]].concat(),
    ] {
        let refused = map(&mut vp9(), &sample, Scheme::Cenc);
        assert!(
            matches!(refused, Err(CodecError::FrameHeader { at: 0 })),
            "{sample:02x?}: {refused:?}"
        );
    }
    assert!(map(&mut vp9(), &longer(32), Scheme::Cenc).is_ok());
}

#[test]
fn the_frames_of_a_superframe_shall_fill_it() {
    let frame = Vp9Frame::new(64).write();
    let len = u8::try_from(frame.len()).unwrap();
    let indexed = |index: &[u8]| [&frame[..], &frame, &VP9_SHOW, index].concat();
    let clear = u16::try_from(frame.len() - 32).unwrap();
    let good = indexed(&[0xca, len, 0, len, 0, 1, 0, 0xca]);
    assert_eq!(
        map(&mut vp9(), &good, Scheme::Cenc).unwrap(),
        [(clear, 32), (clear, 32), (9, 0)]
    );
    let one = [&frame[..], &[0xc0, len, 0xc0]].concat();
    assert_eq!(
        map(&mut vp9(), &one, Scheme::Cenc).unwrap(),
        [(clear, 32), (3, 0)]
    );
    for index in [
        &[0xca, len, 0, len, 0, 2, 0, 0xca][..],
        &[0xca, len, 0, len, 0, 0, 0, 0xca],
        &[0xcb, len, 0, len, 0, 1, 0, 0xca],
        &[0xc1, len, len, 0xc1],
        &[0xdf],
    ] {
        let refused = map(&mut vp9(), &indexed(index), Scheme::Cenc);
        assert!(
            matches!(refused, Err(CodecError::Superframe)),
            "{index:02x?}: {refused:?}"
        );
    }
    assert!(matches!(
        map(&mut vp9(), &[0xc9, 0xc9], Scheme::Cenc),
        Err(CodecError::Superframe)
    ));
    assert_eq!(map(&mut vp9(), &[], Scheme::Cenc).unwrap(), []);
    assert_eq!(map(&mut av1(), &[], Scheme::Cenc).unwrap(), []);
}

proptest! {
    /// Whatever a sample holds, it is refused or its map covers it.
    #[test]
    fn hostile_frames_are_refused_or_mapped(
        is_av1 in any::<bool>(),
        changes in prop::collection::vec((0_usize..3, 0_usize..60, any::<u8>()), 0..4),
        noise in prop::collection::vec(any::<u8>(), 0..80),
        scheme in prop::sample::select(&Scheme::ALL),
    ) {
        let (mut mapper, samples) = if is_av1 { (av1(), AV1_SAMPLES) } else { (vp9(), VP9_SAMPLES) };
        let mut samples = samples.map(bytes);
        for (sample, at, value) in changes {
            let at = at % samples[sample].len();
            samples[sample][at] = value;
        }
        for sample in samples.into_iter().chain([noise]) {
            if let Ok(ranges) = map(&mut mapper, &sample, scheme) {
                let covered: u64 = ranges.iter().map(|(clear, data)| u64::from(*clear) + u64::from(*data)).sum();
                prop_assert_eq!(covered, sample.len() as u64);
            }
        }
    }
}
