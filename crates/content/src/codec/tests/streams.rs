//! Bitstreams, written bit by bit.

/// A slice NAL unit and the bytes of it that are headers.
pub(super) struct Slice {
    pub(super) nal: Vec<u8>,
    pub(super) header: usize,
}

/// Writes a raw byte sequence payload.
#[derive(Default)]
pub(super) struct Writer {
    bits: Vec<bool>,
}

impl Writer {
    pub(super) fn bits(&mut self, value: u64, count: u32) -> &mut Self {
        self.bits
            .extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    pub(super) fn flags(&mut self, flags: &[u8]) -> &mut Self {
        self.bits.extend(flags.iter().map(|flag| *flag == 1));
        self
    }

    /// `ue(v)`; zero of `se(v)` is the same.
    fn numbers(&mut self, values: &[u32]) -> &mut Self {
        for value in values {
            let code = u64::from(*value) + 1;
            self.bits(code, 2 * code.ilog2() + 1);
        }
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        bytes
            .iter()
            .fold(self, |writer, byte| writer.bits((*byte).into(), 8))
    }

    /// A stop bit and zeros to the end of the byte.
    pub(super) fn stop(&mut self) -> &mut Self {
        self.flags(&[1]);
        let missing = self.bits.len().next_multiple_of(8) - self.bits.len();
        self.bits(0, u32::try_from(missing).unwrap())
    }

    /// The bits, with zeros to the end of the last byte.
    pub(super) fn plain(&self) -> Vec<u8> {
        self.bits.chunks(8).map(byte).collect()
    }

    /// The NAL unit with this header: the bits with emulation prevention bytes.
    fn nal(&self, header: &[u8]) -> Vec<u8> {
        let mut nal = header.to_vec();
        let mut zeros = 0;
        for byte in self.plain() {
            if zeros >= 2 && byte <= 3 {
                nal.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            nal.push(byte);
        }
        nal
    }
}

fn byte(bits: &[bool]) -> u8 {
    let numbered = bits.iter().enumerate();
    numbered.fold(0, |value, (bit, set)| value | u8::from(*set) << (7 - bit))
}

/// An OBU of this type, with its size in one byte.
pub(super) fn obu(kind: u8, payload: &[u8]) -> Vec<u8> {
    let size = u8::try_from(payload.len()).unwrap();
    assert!(size < 0x80);
    [&[kind << 3 | 2, size], payload].concat()
}

/// Sequence and picture parameter set of H.264: Baseline, 64x64, CAVLC, `frame_num` of 4 + `log2` bits.
pub(super) fn avc_sets(log2: u32) -> [Vec<u8>; 2] {
    let mut sequence = Writer::default();
    sequence
        .bytes(&[66, 0xc0, 30])
        .numbers(&[0, log2, 2, 1])
        .flags(&[0])
        .numbers(&[3, 3]);
    sequence.flags(&[1, 1, 0, 0]).stop();
    let mut picture = Writer::default();
    picture
        .numbers(&[0, 0])
        .flags(&[0, 0])
        .numbers(&[0, 0, 0])
        .flags(&[0, 0, 0]);
    picture.numbers(&[0, 0, 0]).flags(&[0, 0, 0]).stop();
    [sequence.nal(&[0x67]), picture.nal(&[0x68])]
}

/// An IDR slice of H.264 with `data` bytes of slice data.
pub(super) fn avc_slice(log2: u32, frame_num: u64, data: usize) -> Slice {
    let mut header = Writer::default();
    header
        .numbers(&[0, 7, 0])
        .bits(frame_num, 4 + log2)
        .numbers(&[65_534]) // idr_pic_id: it begins with 15 zeros
        .flags(&[0, 0])
        .numbers(&[0]);
    // CAVLC: slice data goes on in the middle of the byte; its bits here are ones.
    let missing = header.bits.len().next_multiple_of(8) - header.bits.len();
    header.flags(&vec![1; missing]);
    finish(&header.nal(&[0x65]), data)
}

/// Sequence and picture parameter set of H.265: Main, 64x64, with wavefronts or not.
pub(super) fn hevc_sets(wavefronts: bool) -> [Vec<u8>; 2] {
    hevc_sets_of_layers(wavefronts, &[])
}

/// The same with more temporal sub-layers: of each, whether its profile and its level are stated.
pub(super) fn hevc_sets_of_layers(wavefronts: bool, layers: &[(bool, bool)]) -> [Vec<u8>; 2] {
    const PROFILE: [u8; 11] = [1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0];
    let mut sequence = Writer::default();
    sequence
        .bits(0, 4)
        .bits(layers.len() as u64, 3)
        .flags(&[1])
        .bytes(&PROFILE)
        .bytes(&[30]);
    for (profile, level) in layers {
        sequence.flags(&[(*profile).into(), (*level).into()]);
    }
    if !layers.is_empty() {
        sequence.bits(0, 16 - 2 * u32::try_from(layers.len()).unwrap());
    }
    for (profile, level) in layers {
        sequence.bytes(if *profile { &PROFILE } else { &[] });
        sequence.bytes(if *level { &[29] } else { &[] });
    }
    // Ids, chroma, size; window; depths, order counts; layers; block sizes and depths.
    sequence
        .numbers(&[0, 1, 64, 64])
        .flags(&[0])
        .numbers(&[0, 0, 4])
        .flags(&[1]);
    for _ in 0..=layers.len() {
        sequence.numbers(&[4, 2, 0]);
    }
    sequence.numbers(&[0, 1, 0, 2, 0, 0]);
    // Lists, motion partitions, offsets, pulse code; reference sets; long-term, temporal, smoothing; rest.
    sequence
        .flags(&[0, 0, 0, 0])
        .numbers(&[0])
        .flags(&[0, 0, 0])
        .flags(&[0, 0])
        .stop();
    let mut picture = Writer::default();
    picture
        .numbers(&[0, 0])
        .flags(&[0, 0, 0, 0, 0, 0, 0])
        .numbers(&[0, 0, 0])
        .flags(&[0, 0, 0]);
    picture
        .numbers(&[0, 0])
        .flags(&[0, 0, 0, 0])
        .flags(&[0, wavefronts.into()]);
    picture.flags(&[0, 0, 0, 0]).numbers(&[0]).flags(&[0, 0]).stop();
    [sequence.nal(&[66, 1]), picture.nal(&[68, 1])]
}

/// An IDR slice of H.265 with `data` bytes of slice data and, as wavefronts want, this many entry points of
/// 32 bits.
pub(super) fn hevc_slice(entry_points: Option<u32>, data: usize) -> Slice {
    let mut header = Writer::default();
    header.flags(&[1, 0]).numbers(&[0, 2, 0]);
    if let Some(count) = entry_points {
        header.numbers(&[count]);
        header.numbers(if count > 0 { &[31] } else { &[] });
        for point in 0..count {
            header.bits(point.into(), 32);
        }
    }
    header.stop();
    finish(&header.nal(&[20 << 1, 1]), data)
}

fn finish(header: &[u8], data: usize) -> Slice {
    Slice {
        nal: [header, &vec![0xff; data]].concat(),
        header: header.len(),
    }
}

/// NAL units behind their lengths.
pub(super) fn nals(length_size: usize, nals: &[&[u8]]) -> Vec<u8> {
    let mut sample = Vec::new();
    for nal in nals {
        let length = u32::try_from(nal.len()).unwrap().to_be_bytes();
        sample.extend(&length[4 - length_size..]);
        sample.extend(*nal);
    }
    sample
}

pub(super) fn avc_record(length_size: u8, sets: &[Vec<u8>]) -> Vec<u8> {
    let (sequence, picture): (Vec<_>, Vec<_>) = sets.iter().partition(|set| set.first() == Some(&0x67));
    let mut record = vec![1, 66, 0xc0, 30, 0xfc | (length_size - 1)];
    for (sets, reserved) in [(sequence, 0xe0), (picture, 0)] {
        record.push(reserved | u8::try_from(sets.len()).unwrap());
        sets.into_iter().for_each(|set| record.extend(nals(2, &[set])));
    }
    record
}

pub(super) fn hevc_record(length_size: u8, sets: &[Vec<u8>]) -> Vec<u8> {
    let mut record = vec![1; 21];
    record.extend([0xfc | (length_size - 1), u8::try_from(sets.len()).unwrap()]);
    for set in sets {
        record.extend([0xa0, 0, 1]);
        record.extend(nals(2, &[set]));
    }
    record
}
