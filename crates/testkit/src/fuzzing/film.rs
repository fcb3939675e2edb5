//! Tiny films, box by box: the right inputs of the media targets. Written without the code under test, but for
//! the ciphers and the subsample maps.

use keyward_content::{
    cenc::{Iv, Pattern, SampleCipher, Scheme, Subsample},
    codec::SampleMapper,
};
use keyward_crypto::ContentKey;

use super::world::{KEY, KID};

/// `avcC` of a film of 32 by 32: High profile, CABAC.
pub(super) const AVC_RECORD: &str = "0164000affe100176764000aacec96c044000003000400000300c83c4894e001000668eae04d2c\
     8bfdf8f800";

/// Its samples: IDR, P, B.
pub(super) const AVC_SAMPLES: [&str; 3] = [
    "00000038658884019f663f01872cd78b9cae293e1ddb36a4826aba4c8ce5efde9400836543d18d3ee0a9afd9f3ad5739ccd3ebda53\
     d8d2f86c0f264f",
    "00000008419a29b119ffcb80",
    "00000007019e45e467e481",
];

/// `hvcC` of the same pictures.
pub(super) const HEVC_RECORD: &str = "0101600000009000000000001ef000fcfdf8f800000f03a00001001840010c01ffff01600000\
     030090000003000003001e913024a10001002742010101600000030090000003000003001ea0420859644ee4caf016808000000300\
     8000000c84a2000100064401c173d089";

/// Their samples: IDR, B, B.
pub(super) const HEVC_SAMPLES: [&str; 3] = [
    "0000004c2801af0618fedfc09d76ba5686f4cfebc67a6a337336062371ccb42ac02054da9392b5ad00910c3ca46a76437819fcaf71\
     aa29f24944120d8f79622d9c5677aa7113109450d29deeae377cc0",
    "0000000c0201d01157843080c1fe9350",
    "0000000a0001e024bf82032c7dc0",
];

/// `av1C` of pictures of 128 by 64 in two tiles.
pub(super) const AV1_RECORD: &str = "81000c000a0a000000032fffcdaf9804";

/// Their samples: a key frame behind its sequence header, and two inter frames.
pub(super) const AV1_SAMPLES: [&str; 3] = [
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

/// `vpcC` of pictures of 64 by 32.
pub(super) const VP9_RECORD: &str = "01000000000a820202020000";

/// Their samples: a key frame, an inter frame, and a superframe of two.
pub(super) const VP9_SAMPLES: [&str; 3] = [
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

/// How a film is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Film {
    /// Its protection; nothing if it is clear.
    pub(super) scheme: Option<Scheme>,
    /// Whether its samples are in a fragment.
    pub(super) fragmented: bool,
    /// Whether a sample group says how its first video sample is protected, and that the others are clear.
    pub(super) grouped: bool,
}

impl Film {
    pub(super) const fn new(scheme: Option<Scheme>, fragmented: bool) -> Self {
        Self {
            scheme,
            fragmented,
            grouped: false,
        }
    }

    /// The whole file.
    pub(super) fn file(self) -> Vec<u8> {
        let mut file = boxed(b"ftyp", &[b"isom\0\0\x02\0isomiso6cenc"]);
        if self.fragmented {
            file.extend(self.moov(0));
            file.extend(self.moof());
            file.extend(boxed(b"mdat", &[&self.data()]));
        } else {
            let moov = self.moov(file.len() + self.moov(0).len() + 8);
            file.extend(moov);
            file.extend(boxed(b"mdat", &[&self.data()]));
        }
        file.extend(boxed(b"kwxx", &[b"unknown"]));
        file
    }

    /// The movie box; `data` is where the media data of a progressive film begins.
    pub(super) fn moov(self, data: usize) -> Vec<u8> {
        let mut at = data;
        let mut boxes = vec![full(
            b"mvhd",
            0,
            0,
            &[&[0; 8], &be(1000), &be(120), &[0; 76], &be(3)],
        )];
        for track in [Track::Video, Track::Audio] {
            boxes.push(self.trak(track, at));
            at += self.track_data(track).len();
        }
        if self.fragmented {
            let trex = |id: u32| full(b"trex", 0, 0, &[&be(id), &be(1), &be(40), &be(0), &be(0)]);
            boxes.push(boxed(b"mvex", &[&trex(1), &trex(2)]));
        }
        boxed(b"moov", &[&boxes.concat()])
    }

    /// A movie fragment; its media data follows in an `mdat` box.
    pub(super) fn moof(self) -> Vec<u8> {
        self.moof_before(self.moof_before(0).len() + 8)
    }

    /// `data` is where the media data begins, from the first byte of the box.
    fn moof_before(self, data: usize) -> Vec<u8> {
        let mut at = data;
        let mut boxes = full(b"mfhd", 0, 0, &[&be(1)]);
        for track in [Track::Video, Track::Audio] {
            let samples = track.samples();
            let sizes: Vec<u8> = samples.iter().flat_map(|sample| be(sample.len())).collect();
            let header = [
                full(b"tfhd", 0, 0x02_0000, &[&be(track.id())]),
                full(b"tfdt", 1, 0, &[&[0; 8]]),
                full(b"trun", 0, 0x201, &[&be(samples.len()), &be(at), &sizes]),
            ]
            .concat();
            at += samples.concat().len();
            let protection = self.auxiliary(track, boxes.len() + 8 + 8 + header.len());
            boxes.extend(boxed(b"traf", &[&header, &protection]));
        }
        boxed(b"moof", &[&boxes])
    }

    /// `senc` with `saiz` and `saio`, and sample groups; `at` is where they begin in the `moof` box.
    fn auxiliary(self, track: Track, at: usize) -> Vec<u8> {
        let Some(scheme) = self.scheme else {
            return Vec::new();
        };
        let records = self.records(track);
        let groups = self.groups(track);
        if records.iter().all(Vec::is_empty) {
            return [groups, full(b"senc", 0, 0, &[&be(records.len())])].concat();
        }
        let flags = u32::from(track == Track::Video) * 2;
        let senc = full(b"senc", 0, flags, &[&be(records.len()), &records.concat()]);
        let sizes: Vec<u8> = records.iter().map(|record| low(record.len())).collect();
        let saiz = full(
            b"saiz",
            0,
            1,
            &[&scheme.fourcc(), &[0; 5], &be(records.len()), &sizes],
        );
        let start = at + groups.len() + saiz.len() + 28 + 16;
        let saio = full(b"saio", 0, 1, &[&scheme.fourcc(), &[0; 4], &be(1), &be(start)]);
        [groups, saiz, saio, senc].concat()
    }

    /// The first sample of the video has its own description, the others are clear.
    fn groups(self, track: Track) -> Vec<u8> {
        if !self.grouped || track == Track::Audio {
            return Vec::new();
        }
        let protected = [&[0, 0, 1, 8][..], &kid()].concat();
        let clear = [0; 20];
        let descriptions = [b"seig", &be(20)[..], &be(2), &protected, &clear].concat();
        let runs = [b"seig", &be(2)[..], &be(1), &be(0x1_0001), &be(2), &be(0x1_0002)].concat();
        [
            full(b"sgpd", 1, 0, &[&descriptions]),
            full(b"sbgp", 0, 0, &[&runs]),
        ]
        .concat()
    }

    fn trak(self, track: Track, data: usize) -> Vec<u8> {
        let id = be(track.id());
        let tkhd = full(b"tkhd", 0, 7, &[&[0; 8], &id, &[0; 4], &be(120), &[0; 60]]);
        let mdhd = full(
            b"mdhd",
            0,
            0,
            &[&[0; 8], &be(1000), &be(120), &[0x55, 0xc4, 0, 0]],
        );
        let hdlr = full(b"hdlr", 0, 0, &[&[0; 4], track.handler(), &[0; 13]]);
        let url = full(b"url ", 0, 1, &[]);
        let dinf = boxed(b"dinf", &[&full(b"dref", 0, 0, &[&be(1), &url])]);
        let stbl = boxed(b"stbl", &[&self.stbl(track, data)]);
        let minf = boxed(b"minf", &[&dinf, &stbl]);
        boxed(b"trak", &[&tkhd, &boxed(b"mdia", &[&mdhd, &hdlr, &minf])])
    }

    fn stbl(self, track: Track, data: usize) -> Vec<u8> {
        let stsd = full(b"stsd", 0, 0, &[&be(1), &self.entry(track)]);
        let samples = track.samples();
        let mut sizes = be(samples.len()).to_vec();
        sizes.extend(samples.iter().flat_map(|sample| be(sample.len())));
        let one = |kind: &[u8; 4], fields: &[u32]| {
            let fields: Vec<u8> = fields.iter().flat_map(|field| be(*field)).collect();
            full(kind, 0, 0, &[&be(1), &fields])
        };
        let none = |kind: &[u8; 4]| full(kind, 0, 0, &[&be(0)]);
        if self.fragmented {
            let stsz = full(b"stsz", 0, 0, &[&be(0), &be(0)]);
            return [stsd, none(b"stts"), none(b"stsc"), stsz, none(b"stco")].concat();
        }
        let count = u32::try_from(samples.len()).unwrap();
        // The auxiliary information of a progressive track stands in front of its samples.
        let records = self.records(track);
        let start = data + records.concat().len();
        let mut boxes = vec![
            stsd,
            one(b"stts", &[count, 40]),
            one(b"stsc", &[1, count, 1]),
            full(b"stsz", 0, 0, &[&be(0), &sizes]),
            one(b"stco", &[u32::try_from(start).unwrap()]),
        ];
        if !records.concat().is_empty() {
            let sizes: Vec<u8> = records.iter().map(|record| low(record.len())).collect();
            boxes.push(full(b"saiz", 0, 0, &[&[0], &be(records.len()), &sizes]));
            boxes.push(full(b"saio", 0, 0, &[&be(1), &be(data)]));
        }
        boxes.concat()
    }

    fn entry(self, track: Track) -> Vec<u8> {
        let (kind, fields, configuration) = match track {
            Track::Video => {
                let fields = [&[0; 6][..], &[0, 1], &[0; 16], &[0, 32, 0, 32], &[0; 50]].concat();
                (b"avc1", fields, boxed(b"avcC", &[&hex(AVC_RECORD)]))
            }
            Track::Audio => {
                let fields = [
                    &[0; 6][..],
                    &[0, 1],
                    &[0; 8],
                    &[0, 2, 0, 16],
                    &[0; 4],
                    &be(48_000_u32 << 16),
                ]
                .concat();
                (b"mp4a", fields, full(b"esds", 0, 0, &[&hex(ESDS)]))
            }
        };
        let Some(scheme) = self.scheme else {
            return boxed(kind, &[&fields, &configuration]);
        };
        let frma = boxed(b"frma", &[kind]);
        let schm = full(b"schm", 0, 0, &[&scheme.fourcc(), &be(0x1_0000)]);
        let schi = boxed(b"schi", &[&tenc(scheme, track)]);
        let sinf = boxed(b"sinf", &[&frma, &schm, &schi]);
        let protected = match track {
            Track::Video => b"encv",
            Track::Audio => b"enca",
        };
        boxed(protected, &[&fields, &configuration, &sinf])
    }

    /// The media data of both tracks.
    fn data(self) -> Vec<u8> {
        [self.track_data(Track::Video), self.track_data(Track::Audio)].concat()
    }

    fn track_data(self, track: Track) -> Vec<u8> {
        let mut data = Vec::new();
        if !self.fragmented {
            data.extend(self.records(track).concat());
        }
        for (at, sample) in track.samples().into_iter().enumerate() {
            data.extend(self.protected(track, at, sample));
        }
        data
    }

    /// The auxiliary information of each sample.
    fn records(self, track: Track) -> Vec<Vec<u8>> {
        let Some(scheme) = self.scheme else {
            return Vec::new();
        };
        let mut mapper = track.mapper();
        let record = |(at, sample): (usize, Vec<u8>)| {
            if self.is_clear(track, at) {
                return vec![0, 0];
            }
            let mut record = Vec::new();
            if scheme == Scheme::Cenc {
                record.extend(iv(scheme, track, at).as_bytes());
            }
            let subsamples = subsamples(&mut mapper, &sample, scheme);
            if !subsamples.is_empty() {
                record.extend(u16::try_from(subsamples.len()).unwrap().to_be_bytes());
            }
            for subsample in subsamples {
                record.extend(subsample.clear.to_be_bytes());
                record.extend(subsample.protected.to_be_bytes());
            }
            record
        };
        track.samples().into_iter().enumerate().map(record).collect()
    }

    fn protected(self, track: Track, at: usize, mut sample: Vec<u8>) -> Vec<u8> {
        let Some(scheme) = self.scheme.filter(|_| !self.is_clear(track, at)) else {
            return sample;
        };
        let mut mapper = track.mapper();
        let subsamples = subsamples(&mut mapper, &sample, scheme);
        let cipher = SampleCipher::new(&ContentKey::new(KEY), scheme, pattern(scheme, track)).unwrap();
        cipher
            .encrypt(&mut sample, &iv(scheme, track, at), &subsamples)
            .unwrap();
        sample
    }

    fn is_clear(self, track: Track, at: usize) -> bool {
        self.grouped && track == Track::Video && at > 0
    }
}

/// The two tracks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Track {
    Video,
    Audio,
}

impl Track {
    const fn id(self) -> u32 {
        match self {
            Self::Video => 1,
            Self::Audio => 2,
        }
    }

    const fn handler(self) -> &'static [u8] {
        match self {
            Self::Video => b"vide",
            Self::Audio => b"soun",
        }
    }

    fn samples(self) -> Vec<Vec<u8>> {
        match self {
            Self::Video => AVC_SAMPLES.map(hex).into(),
            Self::Audio => vec![vec![0x21; 40], vec![0x22; 5]],
        }
    }

    fn mapper(self) -> SampleMapper {
        match self {
            Self::Video => SampleMapper::avc(&hex(AVC_RECORD)).unwrap(),
            Self::Audio => SampleMapper::audio(),
        }
    }
}

const ESDS: &str = "03190001000411401500000000000000000000000005021190060102";

fn tenc(scheme: Scheme, track: Track) -> Vec<u8> {
    if scheme == Scheme::Cenc {
        return full(b"tenc", 0, 0, &[&[0, 0, 1, 8], &kid()]);
    }
    let pattern = pattern(scheme, track);
    let pattern = pattern.crypt() << 4 | pattern.skip();
    let iv = iv(scheme, track, 0);
    full(
        b"tenc",
        1,
        0,
        &[&[0, pattern, 1, 0], &kid(), &[16], iv.as_bytes()],
    )
}

fn pattern(scheme: Scheme, track: Track) -> Pattern {
    match (scheme, track) {
        (Scheme::Cbcs, Track::Video) => Pattern::new(1, 9).unwrap(),
        _ => Pattern::new(0, 0).unwrap(),
    }
}

/// Each sample's own for `cenc`, else the track's.
fn iv(scheme: Scheme, track: Track, at: usize) -> Iv {
    let track = u64::from(track.id());
    match scheme {
        Scheme::Cenc => Iv::from_u64(track << 32 | at as u64),
        _ => Iv::new(&[low(track.try_into().unwrap()); 16]).unwrap(),
    }
}

fn subsamples(mapper: &mut SampleMapper, sample: &[u8], scheme: Scheme) -> Vec<Subsample> {
    let mut subsamples = Vec::new();
    mapper.map(&mut &*sample, scheme, &mut subsamples).unwrap();
    subsamples
}

fn kid() -> [u8; 16] {
    *KID.as_bytes()
}

/// A box.
pub(super) fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&be(body.len() + 8)[..], kind, &body].concat()
}

/// A box with version and flags.
pub(super) fn full(kind: &[u8; 4], version: u8, flags: u32, parts: &[&[u8]]) -> Vec<u8> {
    let [_, a, b, c] = flags.to_be_bytes();
    boxed(kind, &[&[version, a, b, c], &parts.concat()])
}

/// 32 bits, big-endian.
pub(super) fn be(number: impl TryInto<u32>) -> [u8; 4] {
    let number: Option<u32> = number.try_into().ok();
    number.unwrap().to_be_bytes()
}

fn low(number: usize) -> u8 {
    u8::try_from(number).unwrap()
}

pub(super) fn hex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}
