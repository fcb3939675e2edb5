//! An MP4 of one audio track, whose samples are noise.

/// Bytes of a sample.
pub(crate) const SAMPLE: u32 = 60_000;

/// A film of so many samples.
pub(crate) fn mp4(samples: u32) -> Vec<u8> {
    let sizes = vec![SAMPLE; samples.try_into().unwrap()];
    let stbl = [
        full(b"stsd", &[words(&[1]), bx(b"mp4a", &entry())].concat()),
        full(b"stts", &words(&[1, samples, 1024])),
        full(b"stsc", &words(&[1, 1, samples, 1])),
        full(b"stsz", &[words(&[0, samples]), words(&sizes)].concat()),
        full(b"stco", &words(&[1, 8 + 16])),
    ];
    let dref = full(b"dref", &[words(&[1]), bx(b"url ", &words(&[1]))].concat());
    let minf = [
        full(b"smhd", &words(&[0])),
        bx(b"dinf", &dref),
        bx(b"stbl", &stbl.concat()),
    ];
    let mdia = [
        full(b"mdhd", &words(&[0, 0, 48_000, 1024 * samples, 0x55c4_0000])),
        full(b"hdlr", b"\0\0\0\0soun\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        bx(b"minf", &minf.concat()),
    ];
    let tkhd = full(b"tkhd", &[words(&[0, 0, 1, 0, 1000]), vec![0; 60]].concat());
    let trak = [tkhd, bx(b"mdia", &mdia.concat())];
    let mvhd = [words(&[0, 0, 1000, 1000]), vec![0; 76], words(&[2])];
    let moov = [full(b"mvhd", &mvhd.concat()), bx(b"trak", &trak.concat())];
    [
        bx(b"ftyp", b"isom\0\0\0\0"),
        bx(b"mdat", &noise((SAMPLE * samples).try_into().unwrap())),
        bx(b"moov", &moov.concat()),
    ]
    .concat()
}

fn entry() -> Vec<u8> {
    [
        vec![0, 0, 0, 0, 0, 0, 0, 1],
        vec![0; 8],
        vec![0, 2, 0, 16, 0, 0, 0, 0],
        words(&[48_000 << 16]),
        full(
            b"esds",
            b"\x03\x19\0\0\0\x04\x11\x40\x15\0\0\0\0\0\0\0\0\0\0\0\x05\x02\x11\x90\x06\x01\x02",
        ),
    ]
    .concat()
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = core::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    next.flatten().take(length).collect()
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
