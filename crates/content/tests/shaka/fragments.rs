//! A small reader of one track in movie fragments: enough for what Shaka Packager writes.

use keyward_content::cenc::Subsample;

pub(crate) struct Track {
    /// The original format.
    pub(crate) format: [u8; 4],
    /// Body of `avcC`, `hvcC`, `av1C` or `vpcC`.
    pub(crate) record: Vec<u8>,
    pub(crate) protection: Option<Protection>,
    pub(crate) samples: Vec<Sample>,
}

pub(crate) struct Protection {
    pub(crate) scheme: [u8; 4],
    pub(crate) crypt: u8,
    pub(crate) skip: u8,
    /// The constant IV, if there is one.
    pub(crate) iv: Vec<u8>,
    iv_size: usize,
}

pub(crate) struct Sample {
    pub(crate) bytes: Vec<u8>,
    pub(crate) iv: Vec<u8>,
    pub(crate) subsamples: Vec<Subsample>,
}

impl Track {
    pub(crate) fn read(file: &[u8]) -> Self {
        let mut track = Self::describe(file);
        let mut at = 0;
        for (kind, body) in boxes(file) {
            let next = at + 8 + body.len();
            if &kind == b"moof" {
                let traf = find(body, &[b"traf"]);
                track.fragment(traf, &file[at..]);
            }
            at = next;
        }
        track
    }

    fn describe(file: &[u8]) -> Self {
        let entries = find(file, &[b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"]);
        let (kind, entry) = boxes(&entries[8..]).next().unwrap();
        let audio = matches!(&kind, b"enca" | b"mp4a" | b"ac-3" | b"ec-3" | b"Opus");
        let children = &entry[if audio { 28 } else { 78 }..];
        let sinf = boxes(children)
            .find(|(kind, _)| kind == b"sinf")
            .map(|(_, sinf)| sinf);
        let record = boxes(children).find(|(kind, _)| matches!(kind, b"avcC" | b"hvcC" | b"av1C" | b"vpcC"));
        Self {
            format: sinf.map_or(kind, |sinf| find(sinf, &[b"frma"]).try_into().unwrap()),
            record: record.map_or_else(Vec::new, |(_, record)| record.to_vec()),
            protection: sinf.map(|sinf| {
                let tenc = &find(sinf, &[b"schi", b"tenc"])[4..];
                let iv_size = usize::from(tenc[3]);
                Protection {
                    scheme: find(sinf, &[b"schm"])[4..8].try_into().unwrap(),
                    crypt: tenc[1] >> 4,
                    skip: tenc[1] & 15,
                    iv: if iv_size == 0 {
                        tenc[21..].to_vec()
                    } else {
                        Vec::new()
                    },
                    iv_size,
                }
            }),
            samples: Vec::new(),
        }
    }

    fn fragment(&mut self, traf: &[u8], from_moof: &[u8]) {
        let header = find(traf, &[b"tfhd"]);
        let flags = number(&header[..4]) & 0xff_ffff;
        assert_eq!(flags & 1, 0, "no base data offset");
        let mut at = 8;
        let mut optional = |flag| {
            let there = flags & flag != 0;
            at += if there { 4 } else { 0 };
            there.then(|| number(&header[at - 4..at]))
        };
        let _ = (optional(2), optional(8));
        let default_size = optional(16);

        let run = find(traf, &[b"trun"]);
        let (flags, count) = (number(&run[..4]) & 0xff_ffff, number(&run[4..8]));
        assert_eq!(flags & 1, 1, "a data offset");
        let mut data = number(&run[8..12]);
        let mut at = if flags & 4 == 0 { 12 } else { 16 };
        let mut auxiliary = boxes(traf)
            .find(|(kind, _)| kind == b"senc")
            .map(|(_, senc)| senc);
        let with_subsamples = auxiliary.is_some_and(|senc| senc[3] & 2 != 0);
        auxiliary = auxiliary.map(|senc| &senc[8..]);
        for _ in 0..count {
            let mut size = default_size.unwrap_or(0);
            for flag in [0x100, 0x200, 0x400, 0x800] {
                if flags & flag != 0 {
                    if flag == 0x200 {
                        size = number(&run[at..at + 4]);
                    }
                    at += 4;
                }
            }
            let bytes = from_moof[data..data + size].to_vec();
            data += size;
            let (iv, subsamples) = self.auxiliary(&mut auxiliary, with_subsamples);
            self.samples.push(Sample {
                bytes,
                iv,
                subsamples,
            });
        }
    }

    fn auxiliary(&self, left: &mut Option<&[u8]>, with_subsamples: bool) -> (Vec<u8>, Vec<Subsample>) {
        let (Some(protection), Some(left)) = (&self.protection, left) else {
            return (Vec::new(), Vec::new());
        };
        let mut take = |len: usize| {
            let (now, later) = left.split_at(len);
            *left = later;
            now
        };
        let iv = take(protection.iv_size).to_vec();
        let count = if with_subsamples { number(take(2)) } else { 0 };
        let subsamples = (0..count)
            .map(|_| Subsample {
                clear: number(take(2)).try_into().unwrap(),
                protected: number(take(4)).try_into().unwrap(),
            })
            .collect();
        (iv, subsamples)
    }
}

fn boxes(mut bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (head, _) = bytes.split_first_chunk::<8>()?;
        let (whole, rest) = bytes.split_at(number(&head[..4]));
        bytes = rest;
        Some((head[4..].try_into().unwrap(), &whole[8..]))
    })
}

fn find<'a>(bytes: &'a [u8], path: &[&[u8; 4]]) -> &'a [u8] {
    path.iter().fold(bytes, |bytes, name| {
        let found = boxes(bytes).find(|(kind, _)| kind == *name);
        found.unwrap_or_else(|| panic!("no {}", name.escape_ascii())).1
    })
}

fn number(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |value, byte| value << 8 | usize::from(*byte))
}
