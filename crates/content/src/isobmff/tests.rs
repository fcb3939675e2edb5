//! Boxes built by hand, byte by byte, and what is read from them.

mod boxes;
mod clear;
mod edits;
mod encryption;
mod fragment;
mod index;
mod protection;
mod random;
mod tables;
mod tree;

use super::*;

/// A box of a body in parts.
fn bx(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let len = u32::try_from(body.len() + 8).unwrap();
    [&len.to_be_bytes(), &kind[..], &body].concat()
}

/// A full box.
fn full(kind: &[u8; 4], version: u8, flags: u32, parts: &[&[u8]]) -> Vec<u8> {
    let head = u32::from(version) << 24 | flags;
    bx(kind, &[&head.to_be_bytes(), &parts.concat()])
}

/// Numbers of 32 bits.
fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

/// A full box of numbers of 32 bits.
fn table(kind: &[u8; 4], version: u8, values: &[u32]) -> Vec<u8> {
    full(kind, version, 0, &[&words(values)])
}

fn span(bytes: &[u8]) -> BoxSpan<'_> {
    BoxSpan::parse(bytes, 0).unwrap()
}

/// The tables of five samples of 10, 20, 30, 40, 50 bytes in the chunks 2 + 2 + 1 at 1000, 2000, 3000.
fn five_samples() -> Vec<Vec<u8>> {
    vec![
        table(b"stts", 0, &[2, 3, 100, 2, 50]),
        table(b"stsc", 0, &[2, 1, 2, 1, 3, 1, 2]),
        table(b"stsz", 0, &[0, 5, 10, 20, 30, 40, 50]),
        table(b"stco", 0, &[3, 1000, 2000, 3000]),
    ]
}

/// A sample entry for video.
fn visual(format: &[u8; 4], children: &[&[u8]]) -> Vec<u8> {
    bx(format, &[&[0; 6], &[0, 1], &[0; 70], &children.concat()])
}

/// A sample entry for audio.
fn audio(format: &[u8; 4], children: &[&[u8]]) -> Vec<u8> {
    bx(format, &[&[0; 6], &[0, 1], &[0; 20], &children.concat()])
}

fn trak(id: u32, handler: &[u8; 4], entries: &[&[u8]], tables: &[Vec<u8>]) -> Vec<u8> {
    let count = u32::try_from(entries.len()).unwrap();
    let stsd = full(b"stsd", 0, 0, &[&words(&[count]), &entries.concat()]);
    let stbl = bx(b"stbl", &[&stsd, &tables.concat()]);
    let url = full(b"url ", 0, 1, &[]);
    let dref = full(b"dref", 0, 0, &[&words(&[1]), &url]);
    let minf = bx(b"minf", &[&bx(b"dinf", &[&dref]), &stbl]);
    let hdlr = full(b"hdlr", 0, 0, &[&[0; 4], handler, &[0; 13]]);
    let mdia = bx(
        b"mdia",
        &[&table(b"mdhd", 0, &[0, 0, 1000, 450, 0]), &hdlr, &minf],
    );
    bx(b"trak", &[&table(b"tkhd", 0, &[0, 0, id, 0, 450, 0, 0]), &mdia])
}

fn moov(parts: &[&[u8]]) -> Vec<u8> {
    bx(
        b"moov",
        &[&table(b"mvhd", 0, &[0, 0, 600, 270, 0x1_0000]), &parts.concat()],
    )
}

/// A progressive movie: an H.264 track of five samples, with boxes of every kind that an edit must not touch.
fn progressive() -> Vec<u8> {
    let config = bx(b"avcC", &[&[1, 2, 3]]);
    let avc1 = visual(b"avc1", &[&config, &bx(b"pasp", &[&[0; 8]])]);
    let mut tables = five_samples();
    tables.push(table(b"stss", 0, &[2, 1, 4]));
    tables.push(table(b"sgpd", 1, &[u32::from_be_bytes(*b"roll"), 2, 0]));
    moov(&[
        &trak(1, b"vide", &[&avc1, &avc1], &tables),
        &bx(b"udta", &[b"anything"]),
    ])
}

/// The empty sample tables of a fragmented movie.
fn no_samples() -> Vec<Vec<u8>> {
    vec![
        table(b"stts", 0, &[0]),
        table(b"stsc", 0, &[0]),
        table(b"stsz", 0, &[0, 0]),
        table(b"stco", 0, &[0]),
    ]
}

fn mvex(track_ids: &[u32]) -> Vec<u8> {
    let trex = track_ids
        .iter()
        .flat_map(|id| table(b"trex", 0, &[*id, 1, 10, 5, 0x0100_0000]));
    bx(b"mvex", &[&trex.collect::<Vec<_>>()])
}

/// The defaults of [`mvex`].
fn defaults(track_ids: &[u32]) -> FragmentDefaults {
    let bytes = moov(&[&mvex(track_ids)]);
    Movie::parse(&span(&bytes)).unwrap().defaults
}

fn moof(trafs: &[Vec<u8>]) -> Vec<u8> {
    bx(b"moof", &[&table(b"mfhd", 0, &[7]), &trafs.concat()])
}

/// Position and size of each sample.
fn places(samples: impl Iterator<Item = Result<Sample, BoxError>>) -> Vec<(u64, u32)> {
    samples
        .map(|sample| sample.map(|sample| (sample.offset, sample.size)).unwrap())
        .collect()
}
