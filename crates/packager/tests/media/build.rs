//! Tiny MP4 files made by code, in many forms.

/// What ffmpeg's x264 wrote for 320 by 180: `avcC`, and how its slices begin.
const AVCC: &[u8] = &[
    0x01, 0x64, 0x00, 0x0c, 0xff, 0xe1, 0x00, 0x1a, 0x67, 0x64, 0x00, 0x0c, 0xac, 0xd9, 0x41, 0x41, 0x9f,
    0x9f, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x42, 0x99, 0x60,
    0x01, 0x00, 0x05, 0x68, 0xea, 0xe5, 0x2c, 0x8b, 0xfd, 0xf8, 0xf8, 0x00,
];
const SYNC_SLICE: &[u8] = &[0x65, 0x88, 0x84, 0x00, 0x9f, 0xcc, 0xff, 0x9e];
const OTHER_SLICE: &[u8] = &[0x41, 0x9a, 0x24, 0x6c, 0x4d, 0xff, 0xc2, 0xb4];

pub(crate) fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 8).unwrap();
    [&len.to_be_bytes()[..], kind, body].concat()
}

pub(crate) fn full(kind: &[u8; 4], version: u8, flags: u32, body: &[u8]) -> Vec<u8> {
    let head = u32::from(version) << 24 | flags;
    boxed(kind, &[&head.to_be_bytes()[..], body].concat())
}

/// Numbers of 32 bits, big-endian.
pub(crate) fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

/// A table with its count in front.
fn table(kind: &[u8; 4], rows: &[Vec<u32>]) -> Vec<u8> {
    let count = u32::try_from(rows.len()).unwrap();
    full(kind, 0, 0, &[words(&[count]), words(&rows.concat())].concat())
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) bytes: Vec<u8>,
    pub(crate) duration: u32,
    pub(crate) composition: i32,
    pub(crate) sync: bool,
    pub(crate) description: u32,
}

impl Piece {
    /// One NAL unit: a slice of `len` bytes, at least 8, behind its length field.
    pub(crate) fn video(len: usize, sync: bool, seed: u8) -> Self {
        let head = if sync { SYNC_SLICE } else { OTHER_SLICE };
        let data = (head.len()..len).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed) | 1);
        let bytes = u32::try_from(len).unwrap().to_be_bytes().into_iter();
        Self {
            bytes: bytes.chain(head.iter().copied()).chain(data).collect(),
            duration: 512,
            composition: 0,
            sync,
            description: 1,
        }
    }

    pub(crate) fn other(len: usize, duration: u32, seed: u8) -> Self {
        Self {
            bytes: (0..len)
                .map(|at| (at as u8).wrapping_mul(7).wrapping_add(seed))
                .collect(),
            duration,
            composition: 0,
            sync: true,
            description: 1,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub(crate) id: u32,
    pub(crate) handler: [u8; 4],
    pub(crate) timescale: u32,
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) pieces: Vec<Piece>,
    /// More boxes for `stbl`.
    pub(crate) tables: Vec<Vec<u8>>,
    /// More boxes for `trak`, in front of `mdia`.
    pub(crate) boxes: Vec<Vec<u8>>,
    /// Flags of the data reference: 1 is "in this file".
    pub(crate) reference: u32,
}

impl Lane {
    /// Pictures, 25 a second, a sync sample every `distance`.
    pub(crate) fn video(id: u32, count: usize, distance: usize) -> Self {
        let piece = |at: usize| Piece::video(40 + at * 37 % 300, at.is_multiple_of(distance), at as u8);
        Self::new(
            id,
            b"vide",
            12_800,
            entry_of_video(b"avc1"),
            (0..count).map(piece).collect(),
        )
    }

    /// Sound, samples of 1024 at 48 kHz.
    pub(crate) fn audio(id: u32, count: usize) -> Self {
        let piece = |at: usize| Piece::other(20 + at * 11 % 90, 1024, at as u8);
        Self::new(
            id,
            b"soun",
            48_000,
            entry_of_audio(b"mp4a"),
            (0..count).map(piece).collect(),
        )
    }

    /// Text, a line a second.
    pub(crate) fn text(id: u32, count: usize) -> Self {
        let piece = |at: usize| Piece::other(2 + at % 20, 1000, at as u8);
        Self::new(
            id,
            b"sbtl",
            1000,
            boxed(b"tx3g", &[0; 38]),
            (0..count).map(piece).collect(),
        )
    }

    fn new(id: u32, handler: &[u8; 4], timescale: u32, entry: Vec<u8>, pieces: Vec<Piece>) -> Self {
        Self {
            id,
            handler: *handler,
            timescale,
            entries: vec![entry],
            pieces,
            tables: Vec::new(),
            boxes: Vec::new(),
            reference: 1,
        }
    }

    /// The `trak` box around a sample table.
    fn trak(&self, tables: &[Vec<u8>]) -> Vec<u8> {
        let id = self.id.to_be_bytes();
        let tkhd = full(b"tkhd", 0, 3, &[&[0; 8], &id[..], &[0; 68]].concat());
        let mdhd = full(b"mdhd", 0, 0, &words(&[0, 0, self.timescale, 0, 0x55c4_0000]));
        let hdlr = full(b"hdlr", 0, 0, &[&[0; 4], &self.handler[..], &[0; 13]].concat());
        let url = full(b"url ", 0, self.reference, &[]);
        let dref = full(b"dref", 0, 0, &[words(&[1]), url].concat());
        let count = u32::try_from(self.entries.len()).unwrap();
        let stsd = full(b"stsd", 0, 0, &[words(&[count]), self.entries.concat()].concat());
        let stbl = boxed(b"stbl", &[stsd, tables.concat()].concat());
        let minf = boxed(b"minf", &[boxed(b"dinf", &dref), stbl].concat());
        let mdia = boxed(b"mdia", &[mdhd, hdlr, minf].concat());
        boxed(b"trak", &[tkhd, self.boxes.concat(), mdia].concat())
    }

    pub(crate) fn duration(&self) -> u64 {
        self.pieces.iter().map(|piece| u64::from(piece.duration)).sum()
    }
}

pub(crate) fn entry_of_video(format: &[u8; 4]) -> Vec<u8> {
    let fields = [&[0; 7][..], &[1], &[0; 70]].concat();
    boxed(
        format,
        &[fields, boxed(b"avcC", AVCC), boxed(b"pasp", &words(&[1, 1]))].concat(),
    )
}

/// Of VP8, whose samples are protected as a whole.
pub(crate) fn entry_of_vp8() -> Vec<u8> {
    const RECORD: [u8; 8] = [0, 10, 0x82, 2, 2, 2, 0, 0];
    let fields = [&[0; 7][..], &[1], &[0; 70]].concat();
    boxed(b"vp08", &[fields, full(b"vpcC", 1, 0, &RECORD)].concat())
}

pub(crate) fn entry_of_audio(format: &[u8; 4]) -> Vec<u8> {
    let fields = [&[0; 7][..], &[1], &[0; 20]].concat();
    boxed(format, &[fields, full(b"esds", 0, 0, &[3; 20])].concat())
}

/// How a box of media data states its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataForm {
    Compact,
    Large,
    ToEnd,
}

pub(crate) fn data_box(form: DataForm, body: &[u8]) -> Vec<u8> {
    match form {
        DataForm::Compact => boxed(b"mdat", body),
        DataForm::Large => {
            let len = body.len() as u64 + 16;
            [&[0, 0, 0, 1][..], b"mdat", &len.to_be_bytes(), body].concat()
        }
        DataForm::ToEnd => [&[0; 4][..], b"mdat", body].concat(),
    }
}

pub(crate) fn brands() -> Vec<u8> {
    boxed(b"ftyp", b"isom\0\0\x02\0isomiso2avc1mp41")
}

fn movie_header(duration: u32) -> Vec<u8> {
    full(
        b"mvhd",
        0,
        0,
        &[words(&[0, 0, 1000, duration]), vec![0; 80]].concat(),
    )
}

/// A progressive file.
#[derive(Debug, Clone)]
pub(crate) struct Progressive {
    pub(crate) lanes: Vec<Lane>,
    /// Samples of a chunk; the chunks of the tracks take turns.
    pub(crate) chunk: usize,
    pub(crate) movie_first: bool,
    pub(crate) data: DataForm,
    /// Whether each chunk has a data box of its own.
    pub(crate) split: bool,
    /// Whether chunk offsets have 64 bits.
    pub(crate) long_offsets: bool,
    /// Whether sizes stand in the compact table of 16 bits.
    pub(crate) short_sizes: bool,
    /// Boxes in front of everything else.
    pub(crate) front: Vec<u8>,
    /// Boxes for the end of `moov`.
    pub(crate) in_movie: Vec<u8>,
}

impl Progressive {
    pub(crate) fn new(lanes: Vec<Lane>) -> Self {
        Self {
            lanes,
            chunk: 5,
            movie_first: false,
            data: DataForm::Compact,
            split: false,
            long_offsets: false,
            short_sizes: false,
            front: brands(),
            in_movie: Vec::new(),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let (data, offsets) = self.data();
        if !self.movie_first {
            let movie = self.movie(&shifted(&offsets, self.front.len()));
            return [&self.front[..], &data, &movie].concat();
        }
        let start = self.front.len() + self.movie(&offsets).len();
        [&self.front[..], &self.movie(&shifted(&offsets, start)), &data].concat()
    }

    /// The data boxes, and where in them the chunks of each track are.
    fn data(&self) -> (Vec<u8>, Vec<Vec<u64>>) {
        let mut body = Vec::new();
        let mut offsets = vec![Vec::new(); self.lanes.len()];
        let header_len = data_box(self.data, &[]).len();
        let most = self.lanes.iter().map(|lane| lane.pieces.len()).max().unwrap_or(0);
        for turn in 0..most.div_ceil(self.chunk) {
            for (lane, offsets) in self.lanes.iter().zip(&mut offsets) {
                let Some(chunk) = lane.pieces.chunks(self.chunk).nth(turn) else {
                    continue;
                };
                let bytes: Vec<u8> = chunk.iter().flat_map(|piece| piece.bytes.clone()).collect();
                let before = body.len() + header_len;
                offsets.push(before as u64);
                body.extend(if self.split {
                    data_box(self.data, &bytes)
                } else {
                    bytes
                });
            }
        }
        let data = if self.split {
            body
        } else {
            data_box(self.data, &body)
        };
        (data, offsets)
    }

    fn movie(&self, offsets: &[Vec<u64>]) -> Vec<u8> {
        let traks = self
            .lanes
            .iter()
            .zip(offsets)
            .map(|(lane, offsets)| lane.trak(&self.tables(lane, offsets)));
        let traks: Vec<u8> = traks.collect::<Vec<_>>().concat();
        let duration = self
            .lanes
            .iter()
            .map(|lane| lane.duration() * 1000 / u64::from(lane.timescale))
            .max();
        let header = movie_header(u32::try_from(duration.unwrap_or(0)).unwrap());
        boxed(b"moov", &[header, traks, self.in_movie.clone()].concat())
    }

    fn tables(&self, lane: &Lane, offsets: &[u64]) -> Vec<Vec<u8>> {
        let pieces = &lane.pieces;
        let times: Vec<_> = pieces.iter().map(|piece| vec![1, piece.duration]).collect();
        let mut tables = vec![table(b"stts", &times)];
        if pieces.iter().any(|piece| piece.composition != 0) {
            let rows: Vec<_> = pieces
                .iter()
                .map(|piece| vec![1, piece.composition.cast_unsigned()])
                .collect();
            let mut ctts = table(b"ctts", &rows);
            ctts[8] = 1;
            tables.push(ctts);
        }
        if pieces.iter().any(|piece| !piece.sync) {
            let numbered = (1..).zip(pieces).filter(|(_, piece)| piece.sync);
            tables.push(table(
                b"stss",
                &numbered.map(|(number, _)| vec![number]).collect::<Vec<_>>(),
            ));
        }
        let chunks = (1..).zip(pieces.chunks(self.chunk));
        let chunks = chunks.map(|(number, chunk)| vec![number, chunk.len() as u32, chunk[0].description]);
        tables.push(table(b"stsc", &chunks.collect::<Vec<_>>()));
        let sizes: Vec<_> = pieces.iter().map(|piece| piece.bytes.len() as u32).collect();
        let count = sizes.len() as u32;
        tables.push(if self.short_sizes {
            let sizes = sizes
                .iter()
                .flat_map(|size| u16::try_from(*size).unwrap().to_be_bytes());
            full(b"stz2", 0, 0, &[words(&[16, count]), sizes.collect()].concat())
        } else {
            full(b"stsz", 0, 0, &[words(&[0, count]), words(&sizes)].concat())
        });
        tables.push(if self.long_offsets {
            let rows: Vec<_> = offsets
                .iter()
                .map(|at| vec![(at >> 32) as u32, *at as u32])
                .collect();
            table(b"co64", &rows)
        } else {
            table(
                b"stco",
                &offsets.iter().map(|at| vec![*at as u32]).collect::<Vec<_>>(),
            )
        });
        tables.extend(lane.tables.clone());
        tables
    }
}

fn shifted(offsets: &[Vec<u64>], by: usize) -> Vec<Vec<u64>> {
    let shift = |offsets: &Vec<u64>| offsets.iter().map(|at| at + by as u64).collect();
    offsets.iter().map(shift).collect()
}

/// How fragments say where their data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// Flag "default base is moof".
    Moof,
    /// A position in the file.
    Explicit,
    /// Nothing: behind the data of the track fragment before, which the first run says.
    Nothing,
}

/// A fragmented file.
#[derive(Debug, Clone)]
pub(crate) struct Fragmented {
    pub(crate) lanes: Vec<Lane>,
    /// Samples of each track in a fragment.
    pub(crate) each: usize,
    pub(crate) base: Base,
    pub(crate) data: DataForm,
    /// Whether `tfdt` boxes are there.
    pub(crate) decode_times: bool,
    /// Boxes in front of each fragment.
    pub(crate) before: Vec<u8>,
    /// Boxes between `moof` and `mdat`, and bytes that no run names at the end of `mdat`.
    pub(crate) between: Vec<u8>,
    /// Boxes for the end of each `traf`.
    pub(crate) in_traf: Vec<u8>,
    /// Boxes between movie and first fragment.
    pub(crate) behind_movie: Vec<u8>,
    pub(crate) random_access: bool,
}

impl Fragmented {
    pub(crate) fn new(lanes: Vec<Lane>) -> Self {
        Self {
            lanes,
            each: 10,
            base: Base::Moof,
            data: DataForm::Compact,
            decode_times: true,
            before: Vec::new(),
            between: Vec::new(),
            in_traf: Vec::new(),
            behind_movie: Vec::new(),
            random_access: false,
        }
    }

    pub(crate) fn movie(&self) -> Vec<u8> {
        let none: [(&[u8; 4], usize); 4] = [(b"stts", 4), (b"stsc", 4), (b"stsz", 8), (b"stco", 4)];
        let none = none.map(|(kind, len)| full(kind, 0, 0, &vec![0; len]));
        let traks: Vec<_> = self.lanes.iter().map(|lane| lane.trak(&none)).collect();
        let trex = |lane: &Lane| full(b"trex", 0, 0, &words(&[lane.id, 1, 0, 0, 0]));
        let mvex = boxed(b"mvex", &self.lanes.iter().map(trex).collect::<Vec<_>>().concat());
        boxed(b"moov", &[movie_header(0), traks.concat(), mvex].concat())
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut file = [brands(), self.movie(), self.behind_movie.clone()].concat();
        let most = self.lanes.iter().map(|lane| lane.pieces.len()).max().unwrap_or(0);
        let mut moofs = Vec::new();
        let mut times = vec![0_u64; self.lanes.len()];
        for number in 0..most.div_ceil(self.each) {
            file.extend_from_slice(&self.before);
            moofs.push((times[0], file.len() as u64));
            let parts: Vec<_> = self
                .lanes
                .iter()
                .map(|lane| lane.pieces.chunks(self.each).nth(number).unwrap_or_default())
                .collect();
            let fragment = self.fragment(number as u32 + 1, &parts, &times, file.len());
            file.extend_from_slice(&fragment);
            for (time, part) in times.iter_mut().zip(parts) {
                *time += part.iter().map(|piece| u64::from(piece.duration)).sum::<u64>();
            }
        }
        if self.random_access {
            file.extend(self.table_of(&moofs));
        }
        file
    }

    /// `mfra`, for the first track.
    fn table_of(&self, moofs: &[(u64, u64)]) -> Vec<u8> {
        let rows = moofs
            .iter()
            .flat_map(|(time, at)| [words(&[*time as u32, *at as u32]), vec![1, 1, 1]].concat());
        let head = words(&[self.lanes[0].id, 0, moofs.len() as u32]);
        let tfra = full(b"tfra", 0, 0, &[head, rows.collect()].concat());
        let len = tfra.len() as u32 + 8 + 16;
        boxed(b"mfra", &[tfra, full(b"mfro", 0, 0, &words(&[len]))].concat())
    }

    fn fragment(&self, sequence: u32, parts: &[&[Piece]], times: &[u64], at: usize) -> Vec<u8> {
        let data_header = data_box(self.data, &[]).len();
        let bare = self.moof(sequence, parts, times, at, 0);
        let start = bare.len() + self.between.len() + data_header;
        let moof = self.moof(sequence, parts, times, at, start);
        let mut data: Vec<u8> = parts
            .concat()
            .iter()
            .flat_map(|piece| piece.bytes.clone())
            .collect();
        data.extend_from_slice(&self.between);
        [moof, self.between.clone(), data_box(self.data, &data)].concat()
    }

    fn moof(&self, sequence: u32, parts: &[&[Piece]], times: &[u64], at: usize, data: usize) -> Vec<u8> {
        let mut body = full(b"mfhd", 0, 0, &words(&[sequence]));
        let mut data = data;
        let mut first = true;
        for ((lane, part), time) in self.lanes.iter().zip(parts).zip(times) {
            if part.is_empty() {
                continue;
            }
            body.extend(self.traf(lane, part, *time, at, data, first));
            data += part.iter().map(|piece| piece.bytes.len()).sum::<usize>();
            first = false;
        }
        boxed(b"moof", &body)
    }

    fn traf(&self, lane: &Lane, part: &[Piece], time: u64, at: usize, data: usize, first: bool) -> Vec<u8> {
        let (flags, base) = match self.base {
            Base::Moof => (0x02_0000, Vec::new()),
            Base::Explicit => (1, (at as u64).to_be_bytes().to_vec()),
            Base::Nothing => (0, Vec::new()),
        };
        let description = part[0].description;
        let tfhd = [words(&[lane.id]), base, words(&[description])].concat();
        let mut boxes = vec![full(b"tfhd", 0, flags | 2, &tfhd)];
        if self.decode_times {
            boxes.push(full(b"tfdt", 1, 0, &time.to_be_bytes()));
        }
        // Two runs; without a base only the very first says where it is.
        let (one, two) = part.split_at(part.len() / 2);
        let explicit = self.base != Base::Nothing;
        boxes.push(run(one, (explicit || first).then_some(data)));
        let len: usize = one.iter().map(|piece| piece.bytes.len()).sum();
        boxes.push(run(two, explicit.then_some(data + len)));
        boxes.push(self.in_traf.clone());
        boxed(b"traf", &boxes.concat())
    }
}

fn run(pieces: &[Piece], data: Option<usize>) -> Vec<u8> {
    let mut body = words(&[pieces.len() as u32]);
    body.extend(data.map_or(Vec::new(), |data| words(&[data as u32])));
    for piece in pieces {
        let flags = if piece.sync { 0x0200_0000 } else { 0x0101_0000 };
        let composition = piece.composition.cast_unsigned();
        body.extend(words(&[
            piece.duration,
            piece.bytes.len() as u32,
            flags,
            composition,
        ]));
    }
    full(b"trun", 1, 0xf00 | u32::from(data.is_some()), &body)
}
