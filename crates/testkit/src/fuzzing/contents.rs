//! Content header and any-file container.

use std::{
    io::{Cursor, Read, Seek, SeekFrom},
    sync::LazyLock,
};

use keyward_content::{
    file::{ChunkSize, FileHeader, LockedFile, Parsed, Sealer},
    header::{ContentHeader, HeaderVersion, Object, xml},
};
use keyward_crypto::{ContentKey, stream::TAG_LEN};

use super::{
    Input,
    world::{KEY, KID, draws},
};

/// A PlayReady Object: what is read comes out again when it is written.
#[must_use]
pub fn playready_object(bytes: &[u8]) -> bool {
    let Ok(object) = Object::parse(bytes) else {
        return false;
    };
    let written = object.to_bytes().unwrap();
    assert!(written.len() <= bytes.len());
    assert_eq!(Object::parse(&written), Ok(object));
    ContentHeader::read_object(bytes).is_ok()
}

/// A PlayReady Header: every version that can carry what was read means the same.
#[must_use]
pub fn playready_header(bytes: &[u8]) -> bool {
    let Some(header) = core::str::from_utf8(bytes)
        .ok()
        .and_then(|text| xml::read(text).ok())
    else {
        return false;
    };
    for version in HeaderVersion::ALL {
        let wanted = ContentHeader {
            version,
            ..header.clone()
        };
        if let Ok(text) = xml::write(&wanted) {
            assert_eq!(xml::read(&text), Ok(wanted));
        }
    }
    for key in &header.kids {
        assert!(key.checksum.is_some() || key.fits(&ContentKey::new(KEY)).is_none());
    }
    true
}

/// The beginning of a protected file, whole and piece by piece. The content key proves the one header
/// that it was used with.
#[must_use]
pub fn file_header(bytes: &[u8]) -> bool {
    let file = match LockedFile::parse(bytes) {
        Err(_) => return false,
        Ok(Parsed::NeedsMore(needed)) => {
            assert!(bytes.len() < needed && needed <= LockedFile::MAX_PREFIX_LEN);
            return false;
        }
        Ok(Parsed::Complete(file)) => file,
    };
    let end = usize::try_from(file.embedded_store_range().end).unwrap();
    let mut source = bytes;
    let read = LockedFile::read_from(&mut source).unwrap();
    assert_eq!(source.len(), bytes.len() - end);
    assert_eq!(read.unverified_header(), file.unverified_header());
    let shorter = bytes.get(..end - 1).unwrap();
    assert!(matches!(LockedFile::parse(shorter), Ok(Parsed::NeedsMore(needed)) if needed <= end));
    let header = file.unverified_header().clone();
    if file.unlock(&ContentKey::new(KEY)).is_ok() {
        assert!(FILES.iter().any(|known| known.header == header));
    }
    true
}

/// The chunks of a protected file: bytes, or a script of what an attacker does to one that is right.
/// No reader gives out a byte that was not sealed at that place, nor an end that is not the end.
#[must_use]
pub fn file_reader(bytes: &[u8]) -> bool {
    let file = match bytes.split_first() {
        Some((&SCRIPT, script)) => altered(script),
        Some((_, file)) => file.to_vec(),
        None => return false,
    };
    let streamed = stream(&file);
    let sought = seek(&file);
    assert_eq!(streamed, sought, "both readers take the same files");
    streamed
}

/// First byte of an input whose rest is a script.
pub(super) const SCRIPT: u8 = 1;

/// What a script may do; each is followed by two numbers of 16 bits.
pub(super) mod act {
    /// Cuts the file off at the first number.
    pub(in crate::fuzzing) const CUT: u8 = 0;
    /// Swaps two chunks.
    pub(in crate::fuzzing) const SWAP: u8 = 1;
    /// Puts a copy of the first chunk over the second.
    pub(in crate::fuzzing) const REPEAT: u8 = 2;
    /// Takes the first chunk out.
    pub(in crate::fuzzing) const REMOVE: u8 = 3;
    /// Takes the first chunk from another file under the same content key.
    pub(in crate::fuzzing) const SPLICE: u8 = 4;
    /// Changes the byte at the first number by the second.
    pub(in crate::fuzzing) const FLIP: u8 = 5;
    /// Appends the first number's bytes of the file to it.
    pub(in crate::fuzzing) const APPEND: u8 = 6;
    /// Writes the second number into the embedded license store, which anyone may.
    pub(in crate::fuzzing) const EMBED: u8 = 7;
    pub(super) const ALL: u8 = 8;
}

/// A file that is right.
pub(super) struct Sealed {
    header: FileHeader,
    plain: Vec<u8>,
    pub(super) bytes: Vec<u8>,
    prefix_len: usize,
}

/// Three chunks; three others under the same key; and none.
pub(super) static FILES: LazyLock<[Sealed; 3]> =
    LazyLock::new(|| [sealed(1, 2 * CHUNK + 100), sealed(2, 3 * CHUNK), sealed(3, 0)]);

const CHUNK: usize = 4096;

fn sealed(number: u8, len: usize) -> Sealed {
    let object = ContentHeader::for_file(KID, Some("https://license.example/".into()))
        .to_object_bytes()
        .unwrap();
    let header = FileHeader {
        chunk_size: ChunkSize::from_log2(12).unwrap(),
        store_len: 16,
        name: Some(format!("{number}.txt")),
        media_type: Some("text/plain".into()),
        ..FileHeader::new(object, KID)
    };
    let plain: Vec<u8> = (0..=u8::MAX)
        .cycle()
        .take(len)
        .map(|byte| byte ^ number)
        .collect();
    let (sealer, mut positions) = Sealer::new(&ContentKey::new(KEY), &header, &mut draws(number)).unwrap();
    let mut bytes = sealer.prefix().to_vec();
    let last = plain.len().saturating_sub(1) / CHUNK;
    for chunk in plain.chunks(CHUNK).take(last) {
        let mut chunk = [chunk, &[0; TAG_LEN]].concat();
        sealer.seal(positions.full().unwrap(), &mut chunk).unwrap();
        bytes.extend(chunk);
    }
    let mut chunk = [plain.get(last * CHUNK..).unwrap(), &[0; TAG_LEN]].concat();
    sealer.seal(positions.last(), &mut chunk).unwrap();
    bytes.extend(chunk);
    Sealed {
        header,
        plain,
        prefix_len: sealer.prefix().len(),
        bytes,
    }
}

impl Sealed {
    fn prefix(&self) -> Vec<u8> {
        self.bytes.get(..self.prefix_len).unwrap().to_vec()
    }

    fn chunks(&self) -> Vec<Vec<u8>> {
        self.bytes
            .get(self.prefix_len..)
            .unwrap()
            .chunks(CHUNK + TAG_LEN)
            .map(<[u8]>::to_vec)
            .collect()
    }
}

/// The first file after a script.
fn altered(script: &[u8]) -> Vec<u8> {
    let [file, other, _] = &*FILES;
    let (mut prefix, mut chunks, others) = (file.prefix(), file.chunks(), other.chunks());
    let mut input = Input(script);
    for _ in 0..8 {
        if input.is_empty() || chunks.is_empty() {
            break;
        }
        let act = input.u8() % act::ALL;
        let (first, second) = (usize::from(input.u16()), input.u16());
        let (one, two) = (first % chunks.len(), usize::from(second) % chunks.len());
        let all: usize = prefix.len() + chunks.iter().map(Vec::len).sum::<usize>();
        match act {
            act::SWAP => chunks.swap(one, two),
            act::REMOVE => drop(chunks.remove(one)),
            act::REPEAT | act::SPLICE => {
                let from = if act == act::SPLICE {
                    others.get(one % others.len())
                } else {
                    chunks.get(one)
                };
                let from = from.unwrap().clone();
                *chunks.get_mut(two).unwrap() = from;
            }
            act::EMBED => prefix
                .iter_mut()
                .rev()
                .take(16)
                .for_each(|byte| *byte = second.to_be_bytes()[1]),
            act::CUT | act::FLIP | act::APPEND => {
                let mut whole = [prefix.clone(), chunks.concat()].concat();
                match act {
                    act::CUT => whole.truncate(first % all),
                    act::FLIP => whole.iter_mut().skip(first % all).take(1).for_each(|byte| {
                        *byte ^= second.to_be_bytes()[1];
                    }),
                    _ => whole.extend_from_within(..first % all),
                }
                let rest = whole.split_off(file.prefix_len.min(whole.len()));
                prefix = whole;
                chunks = rest.chunks(CHUNK + TAG_LEN).map(<[u8]>::to_vec).collect();
            }
            _ => {}
        }
    }
    [prefix, chunks.concat()].concat()
}

/// Reads once through; whether it came to an end.
fn stream(file: &[u8]) -> bool {
    let mut source = file;
    let opener =
        LockedFile::read_from(&mut source).and_then(|locked| Ok(locked.unlock(&ContentKey::new(KEY))?));
    let Ok(opener) = opener else { return false };
    let known = known(opener.header());
    let mut reader = opener.stream(source);
    let (mut at, mut piece) = (0, [0; 1000]);
    loop {
        match reader.read(&mut piece) {
            Ok(0) => {
                assert_eq!(at, known.plain.len(), "an end that is not the end");
                return true;
            }
            Ok(len) => {
                assert_eq!(
                    known.plain.get(at..at + len),
                    piece.get(..len),
                    "bytes that were not sealed here"
                );
                at += len;
            }
            Err(_) => {
                assert!(reader.read(&mut piece).is_err(), "a fault that heals");
                return false;
            }
        }
    }
}

/// Reads from several places; whether all could be read.
fn seek(file: &[u8]) -> bool {
    let opener =
        LockedFile::read_from(&mut &*file).and_then(|locked| Ok(locked.unlock(&ContentKey::new(KEY))?));
    let Ok(opener) = opener else { return false };
    let known = known(opener.header());
    let Ok(mut reader) = opener.seekable(Cursor::new(file)) else {
        return false;
    };
    let mut all_read = true;
    for start in [2 * CHUNK + 90, 0, CHUNK - 1, CHUNK, known.plain.len()] {
        reader.seek(SeekFrom::Start(start as u64)).unwrap();
        let (mut at, mut piece) = (start.min(known.plain.len()), [0; 3000]);
        loop {
            match reader.read(&mut piece) {
                Ok(0) => {
                    assert_eq!(at, known.plain.len(), "an end that is not the end");
                    break;
                }
                Ok(len) => {
                    assert_eq!(
                        known.plain.get(at..at + len),
                        piece.get(..len),
                        "bytes that were not sealed here"
                    );
                    at += len;
                }
                Err(_) => {
                    all_read = false;
                    break;
                }
            }
        }
    }
    assert!(!all_read || reader.plain_len() == known.plain.len() as u64);
    all_read
}

/// The file that a proven header belongs to.
fn known(header: &FileHeader) -> &'static Sealed {
    FILES.iter().find(|known| known.header == *header).unwrap()
}
