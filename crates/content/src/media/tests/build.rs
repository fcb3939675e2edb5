//! Tiny MP4 files, made byte by byte: each in its protected form, and as the clear view should be.

use keyward_crypto::ContentKey;
use keyward_license::ids::Kid;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::{
    cenc::{Iv, Pattern, SampleCipher, Scheme, Subsample},
    header::ContentHeader,
    media::danger::RawKeys,
    pssh::Pssh,
};

/// Where the samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In chunks that the movie box describes, which stands in front of them or behind.
    Progressive { movie_first: bool },
    /// In fragments; `moof` is the base of offsets, by a flag or not, or the file is.
    Fragmented(Base),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    Moof,
    File,
    /// Each track has a `moof` of its own, and the media data of both follow.
    MoofsTogether,
}

/// Where IVs and subsamples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Info {
    Senc,
    /// As a box of PIFF.
    PiffSenc,
    /// In front of the samples; `saiz` and `saio` say where.
    InMediaData,
    /// Nowhere: the IV is constant and samples are protected as a whole.
    None,
}

#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub(super) scheme: Scheme,
    pub(super) pattern: Pattern,
    pub(super) iv_len: u8,
    pub(super) constant_iv: bool,
    pub(super) layout: Layout,
    pub(super) info: Info,
    pub(super) tracks: Vec<TrackSpec>,
}

#[derive(Debug, Clone)]
pub(super) struct TrackSpec {
    pub(super) video: bool,
    /// Its default key; nothing for a track that is clear.
    pub(super) key: Option<u8>,
    /// Its chunks or fragments.
    pub(super) chunks: Vec<Vec<SampleSpec>>,
}

#[derive(Debug, Clone)]
pub(super) struct SampleSpec {
    pub(super) clear: Vec<u8>,
    pub(super) subsamples: Vec<Subsample>,
    pub(super) key: SampleKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SampleKey {
    /// That of the track.
    Default,
    /// Another one, by a sample group.
    Group(u8),
    /// None, by a sample group.
    ClearGroup,
}

/// What was made.
pub(super) struct Made {
    pub(super) protected: Vec<u8>,
    pub(super) clear: Vec<u8>,
    /// Of each track the samples, in decoding order.
    pub(super) samples: Vec<Vec<Vec<u8>>>,
}

pub(super) fn kid(number: u8) -> Kid {
    Kid::new([number; 16])
}

pub(super) fn key(number: u8) -> ContentKey {
    ContentKey::new([number ^ 0x5a; 16])
}

/// The keys of every number below 16.
pub(super) fn keys() -> RawKeys {
    let mut keys = RawKeys::new();
    (0..16).for_each(|number| keys.insert(kid(number), key(number)));
    keys
}

/// The content header in the Keyward `pssh` box of every file.
pub(super) fn header() -> Vec<u8> {
    ContentHeader::for_file(kid(1), None).to_object_bytes().unwrap()
}

impl Spec {
    /// Two tracks, `cenc`, fragments: what most files are.
    pub(super) fn plain() -> Self {
        Self::random(&mut ChaCha20Rng::seed_from_u64(1)).with(|spec| {
            spec.scheme = Scheme::Cenc;
            spec.pattern = Pattern::NONE;
            (spec.iv_len, spec.constant_iv) = (8, false);
            spec.layout = Layout::Fragmented(Base::Moof);
            spec.info = Info::Senc;
            spec.tracks = vec![
                TrackSpec::of(1, &[&[40, 70], &[100]]),
                TrackSpec::of(2, &[&[33], &[20, 21]]),
            ];
        })
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(super) fn random(rng: &mut ChaCha20Rng) -> Self {
        let mut pick = |count: u32| usize::try_from(rng.next_u32() % count).unwrap();
        let scheme = Scheme::ALL[pick(4)];
        let pattern = match (scheme.has_pattern(), pick(3)) {
            (true, 0) => Pattern::VIDEO,
            (true, 1) => Pattern::new(2, 1).unwrap(),
            _ => Pattern::NONE,
        };
        let info = [Info::Senc, Info::PiffSenc, Info::InMediaData, Info::None][pick(4)];
        let layout = [
            Layout::Progressive { movie_first: true },
            Layout::Progressive { movie_first: false },
            Layout::Fragmented(Base::Moof),
            Layout::Fragmented(Base::File),
            Layout::Fragmented(Base::MoofsTogether),
        ][pick(5)];
        let constant_iv = info == Info::None || pick(4) == 0;
        let iv_len = [8, 16][pick(2)];
        let (tracks, chunks) = (1 + pick(3), pick(4));
        let whole = info == Info::None;
        Self {
            scheme,
            pattern,
            iv_len,
            constant_iv,
            layout,
            info,
            tracks: (0..tracks)
                .map(|_| TrackSpec::random(chunks, whole, rng))
                .collect(),
        }
    }

    pub(super) fn build(&self) -> Made {
        let samples = self.tracks.iter().map(|track| {
            let samples = track.chunks.iter().flatten();
            samples.map(|sample| sample.clear.clone()).collect()
        });
        Made {
            protected: Writer {
                spec: self,
                view: false,
            }
            .file(),
            clear: Writer {
                spec: self,
                view: true,
            }
            .file(),
            samples: samples.collect(),
        }
    }
}

impl TrackSpec {
    /// A video track under a key, with samples of these sizes.
    pub(super) fn of(key: u8, chunks: &[&[u32]]) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(key.into());
        let mut sample = |size: &u32| SampleSpec::of(*size, false, SampleKey::Default, &mut rng);
        Self {
            video: true,
            key: Some(key),
            chunks: chunks
                .iter()
                .map(|sizes| sizes.iter().map(&mut sample).collect())
                .collect(),
        }
    }

    fn random(chunks: usize, whole: bool, rng: &mut ChaCha20Rng) -> Self {
        let video = rng.next_u32().is_multiple_of(2);
        let key =
            (!rng.next_u32().is_multiple_of(4)).then_some(1 + u8::try_from(rng.next_u32() % 3).unwrap());
        let mut sample = |_| {
            let group = match rng.next_u32() % 6 {
                0 => SampleKey::ClearGroup,
                1 => SampleKey::Group(5),
                2 => SampleKey::Group(6),
                _ => SampleKey::Default,
            };
            let group = if key.is_some() { group } else { SampleKey::Default };
            SampleSpec::of(rng.next_u32() % 90, whole, group, rng)
        };
        Self {
            video,
            key,
            chunks: (0..chunks)
                .map(|chunk| (0..(chunk * 7) % 5).map(&mut sample).collect())
                .collect(),
        }
    }
}

impl SampleSpec {
    fn of(size: u32, whole: bool, key: SampleKey, rng: &mut ChaCha20Rng) -> Self {
        let mut clear = vec![0; usize::try_from(size).unwrap()];
        rng.fill_bytes(&mut clear);
        let mut subsamples = Vec::new();
        let mut left = if whole { 0 } else { size };
        while left > 0 {
            let clear = (rng.next_u32() % 9).min(left);
            let protected = (rng.next_u32() % (50 + size / 8)).min(left - clear);
            left -= clear + protected;
            subsamples.push(Subsample {
                clear: u16::try_from(clear).unwrap(),
                protected,
            });
        }
        Self {
            clear,
            subsamples,
            key,
        }
    }
}

/// Writes one of the two forms.
struct Writer<'s> {
    spec: &'s Spec,
    /// The clear view: types of clear boxes, and clear samples.
    view: bool,
}

impl Writer<'_> {
    fn file(&self) -> Vec<u8> {
        let ftyp = bx(b"ftyp", b"isom\0\0\0\0isom");
        let unknown = bx(b"abcd", b"unknown to all");
        match self.spec.layout {
            Layout::Progressive { movie_first } => self.progressive(&ftyp, movie_first),
            Layout::Fragmented(base) => {
                let mut file = [ftyp, self.moov(&[]), unknown.clone()].concat();
                let fragments = self.spec.tracks.iter().map(|track| track.chunks.len()).max();
                for number in 0..fragments.unwrap_or(0) {
                    let fragment = self.fragment(number, base, file.len());
                    file.extend(fragment);
                    file.extend(&unknown);
                }
                file
            }
        }
    }

    /// Chunks of all tracks in turn, each with its information in front of it if that is there.
    fn progressive(&self, ftyp: &[u8], movie_first: bool) -> Vec<u8> {
        let place = |start: usize| {
            let mut data = Vec::new();
            let mut offsets = vec![Vec::new(); self.spec.tracks.len()];
            let longest = self.spec.tracks.iter().map(|track| track.chunks.len()).max();
            for number in 0..longest.unwrap_or(0) {
                for (track, offsets) in self.spec.tracks.iter().zip(&mut offsets) {
                    let Some(chunk) = track.chunks.get(number) else {
                        continue;
                    };
                    let info = start + data.len();
                    if self.spec.info == Info::InMediaData && track.key.is_some() {
                        data.extend(chunk.iter().flat_map(|sample| self.info(track, sample)));
                    }
                    offsets.push((start + data.len(), info));
                    data.extend(chunk.iter().flat_map(|sample| self.sample(track, sample)));
                }
            }
            (data, offsets)
        };
        let moov_len = self.moov(&place(0).1).len();
        let before = ftyp.len() + if movie_first { moov_len } else { 0 } + 8;
        let (data, offsets) = place(before);
        let (moov, mdat) = (self.moov(&offsets), bx(b"mdat", &data));
        match movie_first {
            true => [ftyp, &moov, &mdat].concat(),
            false => [ftyp, &mdat, &moov].concat(),
        }
    }

    /// `chunks`: of each track, where its chunks and their information are; empty for fragmented files.
    fn moov(&self, chunks: &[Vec<(usize, usize)>]) -> Vec<u8> {
        let mut body = full(
            b"mvhd",
            0,
            0,
            &[&[0; 8], words(&[1000]).as_slice(), &[0; 84]].concat(),
        );
        for (index, track) in self.spec.tracks.iter().enumerate() {
            body.extend(self.trak(index, track, chunks.get(index).map_or(&[], Vec::as_slice)));
        }
        if matches!(self.spec.layout, Layout::Fragmented(_)) {
            let trex = |index| full(b"trex", 0, 0, &words(&[index + 1, 1, 1, 0, 0]));
            let count = u32::try_from(self.spec.tracks.len()).unwrap();
            body.extend(bx(b"mvex", &(0..count).flat_map(trex).collect::<Vec<_>>()));
        }
        let mut pssh = Pssh::keyward(header()).to_bytes().unwrap();
        pssh[4..8].copy_from_slice(self.kind(b"pssh"));
        body.extend(pssh);
        bx(b"moov", &body)
    }

    fn trak(&self, index: usize, track: &TrackSpec, chunks: &[(usize, usize)]) -> Vec<u8> {
        let id = u32::try_from(index + 1).unwrap();
        let handler: &[u8; 4] = if track.video { b"vide" } else { b"soun" };
        let tkhd = full(b"tkhd", 0, 3, &[words(&[0, 0, id]).as_slice(), &[0; 68]].concat());
        let mdhd = full(b"mdhd", 0, 0, &words(&[0, 0, 1000, 0, 0]));
        let hdlr = full(b"hdlr", 0, 0, &[&[0; 4], handler.as_slice(), &[0; 13]].concat());
        let minf = bx(b"minf", &bx(b"stbl", &self.stbl(track, chunks)));
        bx(
            b"trak",
            &[tkhd, bx(b"mdia", &[mdhd, hdlr, minf].concat())].concat(),
        )
    }

    fn stbl(&self, track: &TrackSpec, chunks: &[(usize, usize)]) -> Vec<u8> {
        let stsd = full(b"stsd", 0, 0, &[words(&[1]), self.entry(track)].concat());
        let samples: Vec<_> = if chunks.is_empty() {
            Vec::new()
        } else {
            track.chunks.iter().flatten().collect()
        };
        let count = u32::try_from(samples.len()).unwrap();
        let sizes: Vec<_> = samples
            .iter()
            .map(|sample| u32::try_from(sample.clear.len()).unwrap())
            .collect();
        let per_chunk = chunks.iter().zip(&track.chunks).zip(1..);
        let stsc: Vec<_> = per_chunk
            .map(|((_, chunk), number)| words(&[number, u32::try_from(chunk.len()).unwrap(), 1]))
            .collect();
        let offsets = |of: fn(&(usize, usize)) -> usize| {
            let offsets: Vec<_> = chunks
                .iter()
                .map(|chunk| u32::try_from(of(chunk)).unwrap())
                .collect();
            [words(&[u32::try_from(chunks.len()).unwrap()]), words(&offsets)].concat()
        };
        let mut out = [
            stsd,
            full(b"stts", 0, 0, &words(&[1, count, 1])),
            full(
                b"stsc",
                0,
                0,
                &[words(&[u32::try_from(stsc.len()).unwrap()]), stsc.concat()].concat(),
            ),
            full(b"stsz", 0, 0, &[words(&[0, count]), words(&sizes)].concat()),
            full(b"stco", 0, 0, &offsets(|chunk| chunk.0)),
        ]
        .concat();
        if !chunks.is_empty() {
            out.extend(self.describe(track, &samples, Some(offsets(|chunk| chunk.1)), 0));
        }
        out
    }

    fn entry(&self, track: &TrackSpec) -> Vec<u8> {
        let (original, protected, fields): (&[u8; 4], &[u8; 4], _) = match track.video {
            true => (b"avc1", b"encv", 78),
            false => (b"mp4a", b"enca", 28),
        };
        let config = bx(b"test", b"configuration");
        let Some(number) = track.key else {
            return bx(original, &[vec![0; fields], config].concat());
        };
        let spec = self.spec;
        let schm = full(
            b"schm",
            0,
            0,
            &[spec.scheme.fourcc().as_slice(), &[0, 1, 0, 0]].concat(),
        );
        let version = u8::from(spec.pattern != Pattern::NONE);
        let tenc = full(b"tenc", version, 0, &self.encryption(Some(number)));
        let sinf = [bx(b"frma", original), schm, bx(b"schi", &tenc)].concat();
        bx(
            if self.view { original } else { protected },
            &[vec![0; fields], config, bx(self.kind(b"sinf"), &sinf)].concat(),
        )
    }

    /// The fields of `tenc` and of a `seig` group.
    fn encryption(&self, number: Option<u8>) -> Vec<u8> {
        let spec = self.spec;
        let Some(number) = number else {
            return [0; 20].to_vec();
        };
        let mut out = vec![0, spec.pattern.crypt() << 4 | spec.pattern.skip(), 1];
        out.push(if spec.constant_iv { 0 } else { spec.iv_len });
        out.extend(kid(number).as_bytes());
        if spec.constant_iv {
            out.push(spec.iv_len);
            out.extend(vec![7; spec.iv_len.into()]);
        }
        out
    }

    fn fragment(&self, number: usize, base: Base, start: usize) -> Vec<u8> {
        let tracks: Vec<_> = self
            .spec
            .tracks
            .iter()
            .enumerate()
            .filter(|(_, track)| track.chunks.len() > number)
            .collect();
        let group = |together: &[(usize, &TrackSpec)], data: &[usize]| {
            let mfhd = full(b"mfhd", 0, 0, &words(&[1]));
            let trafs = together.iter().zip(data);
            let trafs =
                trafs.flat_map(|((index, track), data)| self.traf(*index, track, number, base, *data));
            let pssh = bx(self.kind(b"pssh"), b"anything at all");
            bx(b"moof", &[mfhd, trafs.collect(), pssh].concat())
        };
        let groups: Vec<Vec<_>> = match base {
            Base::MoofsTogether => tracks.iter().map(|track| vec![*track]).collect(),
            _ => vec![tracks.clone()],
        };
        // The boxes have the same length wherever the data is.
        let lens: Vec<_> = groups
            .iter()
            .map(|together| group(together, &vec![0; together.len()]).len())
            .collect();
        let all: usize = lens.iter().sum();
        let (mut out, mut data, mut moof) = (Vec::new(), Vec::new(), start);
        for (together, len) in groups.iter().zip(lens) {
            let mut places = Vec::new();
            for (_, track) in together {
                let origin = if base == Base::File { 0 } else { moof };
                places.push(start + all + 8 + data.len() - origin);
                let chunk = &track.chunks[number];
                if self.spec.info == Info::InMediaData && track.key.is_some() {
                    data.extend(chunk.iter().flat_map(|sample| self.info(track, sample)));
                }
                data.extend(chunk.iter().flat_map(|sample| self.sample(track, sample)));
            }
            out.extend(group(together, &places));
            moof += len;
        }
        out.extend(bx(b"mdat", &data));
        out
    }

    fn traf(&self, index: usize, track: &TrackSpec, number: usize, base: Base, data: usize) -> Vec<u8> {
        let id = u32::try_from(index + 1).unwrap();
        let samples: Vec<_> = track.chunks[number].iter().collect();
        let tfhd = match base {
            Base::File => full(b"tfhd", 0, 1, &[words(&[id]), vec![0; 8]].concat()),
            _ => full(b"tfhd", 0, 0x2_0000, &words(&[id])),
        };
        let info_len: usize = match self.spec.info {
            Info::InMediaData if track.key.is_some() => {
                samples.iter().map(|sample| self.info(track, sample).len()).sum()
            }
            _ => 0,
        };
        let sizes: Vec<_> = samples
            .iter()
            .map(|sample| u32::try_from(sample.clear.len()).unwrap())
            .collect();
        let head = words(&[
            u32::try_from(samples.len()).unwrap(),
            u32::try_from(data + info_len).unwrap(),
        ]);
        let trun = full(b"trun", 0, 0x201, &[head, words(&sizes)].concat());
        let offsets = words(&[1, u32::try_from(data).unwrap()]);
        let described = self.describe(track, &samples, Some(offsets), 0x1_0000);
        bx(b"traf", &[tfhd, trun, described].concat())
    }

    /// Sample groups and auxiliary information. Group numbers are counted from `first_group`.
    fn describe(
        &self,
        track: &TrackSpec,
        samples: &[&SampleSpec],
        offsets: Option<Vec<u8>>,
        first_group: u32,
    ) -> Vec<u8> {
        if track.key.is_none() {
            return Vec::new();
        }
        let mut out = Vec::new();
        let count = u32::try_from(samples.len()).unwrap();
        if samples.iter().any(|sample| sample.key != SampleKey::Default) {
            let groups = [None, Some(5), Some(6)].map(|number| self.encryption(number));
            let groups = groups.map(|group| [words(&[u32::try_from(group.len()).unwrap()]), group].concat());
            let sgpd = [b"seig".as_slice(), &words(&[0, 3]), &groups.concat()].concat();
            let number = |sample: &&SampleSpec| match sample.key {
                SampleKey::Default => 0,
                SampleKey::ClearGroup => first_group + 1,
                SampleKey::Group(5) => first_group + 2,
                SampleKey::Group(_) => first_group + 3,
            };
            let map: Vec<_> = samples.iter().map(|sample| words(&[1, number(sample)])).collect();
            let sbgp = [b"seig".as_slice(), &words(&[count]), &map.concat()].concat();
            out.extend(full(self.kind(b"sgpd"), 1, 0, &sgpd));
            out.extend(full(self.kind(b"sbgp"), 0, 0, &sbgp));
        }
        let records: Vec<_> = samples.iter().map(|sample| self.info(track, sample)).collect();
        match self.spec.info {
            Info::None => {}
            Info::Senc => out.extend(full(
                self.kind(b"senc"),
                0,
                2,
                &[words(&[count]), records.concat()].concat(),
            )),
            Info::PiffSenc => {
                let uuid = 0xa239_4f52_5a9b_4f14_a244_6c42_7c64_8df4_u128.to_be_bytes();
                let body = [
                    uuid.as_slice(),
                    &[0, 0, 0, 2],
                    &words(&[count]),
                    &records.concat(),
                ];
                out.extend(bx(self.kind(b"uuid"), &body.concat()));
            }
            Info::InMediaData => {
                let sizes: Vec<_> = records
                    .iter()
                    .map(|record| u8::try_from(record.len()).unwrap())
                    .collect();
                out.extend(full(
                    self.kind(b"saiz"),
                    0,
                    0,
                    &[&[0], words(&[count]).as_slice(), &sizes].concat(),
                ));
                out.extend(full(self.kind(b"saio"), 0, 0, &offsets.unwrap()));
            }
        }
        out
    }

    /// IV and subsamples of a sample. One that a group makes clear has no IV and no subsamples.
    fn info(&self, track: &TrackSpec, sample: &SampleSpec) -> Vec<u8> {
        if self.number(track, sample).is_none() {
            return vec![0, 0];
        }
        let mut out = Vec::new();
        if !self.spec.constant_iv {
            out.extend(self.iv(sample).as_bytes());
        }
        out.extend(u16::try_from(sample.subsamples.len()).unwrap().to_be_bytes());
        for subsample in &sample.subsamples {
            out.extend(subsample.clear.to_be_bytes());
            out.extend(subsample.protected.to_be_bytes());
        }
        out
    }

    fn iv(&self, sample: &SampleSpec) -> Iv {
        let fill = match self.spec.constant_iv {
            true => 7,
            false => u8::try_from(sample.clear.len() % 200).unwrap(),
        };
        Iv::new(&vec![fill; self.spec.iv_len.into()]).unwrap()
    }

    fn number(&self, track: &TrackSpec, sample: &SampleSpec) -> Option<u8> {
        match sample.key {
            SampleKey::Default => track.key,
            SampleKey::Group(number) => Some(number),
            SampleKey::ClearGroup => None,
        }
    }

    fn sample(&self, track: &TrackSpec, sample: &SampleSpec) -> Vec<u8> {
        let mut bytes = sample.clear.clone();
        if let (false, Some(number)) = (self.view, self.number(track, sample)) {
            let cipher = SampleCipher::new(&key(number), self.spec.scheme, self.spec.pattern).unwrap();
            cipher
                .encrypt(&mut bytes, &self.iv(sample), &sample.subsamples)
                .unwrap();
        }
        bytes
    }

    /// The type of a box that describes protection.
    fn kind(&self, kind: &'static [u8; 4]) -> &'static [u8; 4] {
        if self.view { b"free" } else { kind }
    }
}

/// A box.
pub(super) fn bx(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 8).unwrap();
    [&len.to_be_bytes(), kind.as_slice(), body].concat()
}

/// A full box.
pub(super) fn full(kind: &[u8; 4], version: u8, flags: u32, body: &[u8]) -> Vec<u8> {
    let head = (u32::from(version) << 24 | flags).to_be_bytes();
    bx(kind, &[&head, body].concat())
}

pub(super) fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}
