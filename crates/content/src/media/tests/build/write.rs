//! The bytes of the boxes.

use super::{Base, Info, Layout, SampleKey, SampleSpec, Spec, TrackSpec, header, key, kid};
use crate::{
    cenc::{Iv, Pattern, SampleCipher},
    pssh::Pssh,
};

/// Writes one of the two forms.
pub(super) struct Writer<'s> {
    pub(super) spec: &'s Spec,
    /// The clear view: types of clear boxes, and clear samples.
    pub(super) view: bool,
}

impl Writer<'_> {
    pub(super) fn file(&self) -> Vec<u8> {
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
pub(in crate::media::tests) fn bx(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 8).unwrap();
    [&len.to_be_bytes(), kind.as_slice(), body].concat()
}

/// A full box.
pub(in crate::media::tests) fn full(kind: &[u8; 4], version: u8, flags: u32, body: &[u8]) -> Vec<u8> {
    let head = (u32::from(version) << 24 | flags).to_be_bytes();
    bx(kind, &[&head, body].concat())
}

pub(in crate::media::tests) fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}
