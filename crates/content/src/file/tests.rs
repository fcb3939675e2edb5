//! The container as a whole: what goes in comes out, and nothing else ever does.

mod fields;
mod properties;

use std::io::{self, BufRead, Cursor, ErrorKind, Read, Seek, SeekFrom};

use keyward_crypto::ContentKey;
use keyward_license::{
    codec::{DecodeError, GateError},
    ids::Kid,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::*;
use crate::header::ContentHeader;

pub(super) const KEY: [u8; 16] = [0x42; 16];
const CHUNK: usize = 4096;
const SEALED: usize = CHUNK + 16;
const KID: Kid = Kid::new([0xa2; 16]);

/// A header with small chunks, a name, a media type and 8 bytes for an embedded license store.
pub(super) fn header() -> FileHeader {
    let object = ContentHeader::for_file(KID, None).to_object_bytes().unwrap();
    FileHeader {
        chunk_size: ChunkSize::from_log2(12).unwrap(),
        store_len: 8,
        name: Some("film.mp4".into()),
        media_type: Some("video/mp4".into()),
        ..FileHeader::new(object, KID)
    }
}

fn plaintext(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

/// Seals a file in the obvious way; `seed` varies the salt.
fn seal(header: &FileHeader, plaintext: &[u8], seed: u8) -> Vec<u8> {
    let mut rng = ChaCha20Rng::from_seed([seed; 32]);
    let (sealer, mut positions) = Sealer::new(&ContentKey::new(KEY), header, &mut rng).unwrap();
    let mut file = sealer.prefix().to_vec();
    let mut rest = plaintext;
    loop {
        let (chunk, after) = rest.split_at(rest.len().min(sealer.chunk_len()));
        rest = after;
        let mut buffer = [chunk, &[0; 16]].concat();
        if rest.is_empty() {
            sealer.seal(positions.last(), &mut buffer).unwrap();
            return [file, buffer].concat();
        }
        sealer.seal(positions.full().unwrap(), &mut buffer).unwrap();
        file.extend_from_slice(&buffer);
    }
}

fn opener(file: &[u8]) -> Result<Opener, FileError> {
    match LockedFile::parse(file)? {
        Parsed::Complete(locked) => locked.unlock(&ContentKey::new(KEY)),
        Parsed::NeedsMore(_) => Err(FileError::CutOff),
    }
}

/// Everything a stream gave out, and how it ended.
fn stream(file: &[u8]) -> (Vec<u8>, Result<(), FileError>) {
    let mut given = Vec::new();
    let mut source = file;
    let ended = LockedFile::read_from(&mut source)
        .and_then(|locked| Ok(locked.unlock(&ContentKey::new(KEY))?))
        .and_then(|opener| opener.stream(source).read_to_end(&mut given));
    (
        given,
        ended
            .map(drop)
            .map_err(|error| FileError::within(&error).expect("only our errors")),
    )
}

fn seekable(file: &[u8]) -> Result<SeekReader<Cursor<&[u8]>>, FileError> {
    opener(file)?
        .seekable(Cursor::new(file))
        .map_err(|error| FileError::within(&error).unwrap())
}

#[test]
fn what_goes_in_comes_out_at_every_size_near_a_border() {
    for chunks in 0..=3 {
        for size in (chunks * CHUNK).saturating_sub(2)..=chunks * CHUNK + 2 {
            let plain = plaintext(size);
            let file = seal(&header(), &plain, 1);
            let expected_chunks = size.div_ceil(CHUNK).max(1);
            let start = usize::try_from(opener(&file).unwrap().chunks_start()).unwrap();
            assert_eq!(file.len(), start + size + 16 * expected_chunks, "{size} bytes");
            assert_eq!(stream(&file), (plain.clone(), Ok(())), "{size} bytes");
            let mut reader = seekable(&file).unwrap();
            assert_eq!(reader.plain_len(), size as u64);
            let mut given = Vec::new();
            reader.read_to_end(&mut given).unwrap();
            assert_eq!(given, plain, "{size} bytes");
        }
    }
}

#[test]
fn the_header_is_read_before_and_after_unlocking() {
    let file = seal(&header(), b"words", 1);
    let locked = LockedFile::read_from(&mut file.as_slice()).unwrap();
    assert_eq!(locked.kid(), KID);
    assert_eq!(locked.content_header().kids[0].kid, KID);
    assert_eq!(locked.unverified_header(), &header());
    assert_eq!(locked.embedded_store(), [0; 8]);
    let range = locked.embedded_store_range();
    let opener = locked.unlock(&ContentKey::new(KEY)).unwrap();
    assert_eq!(opener.header(), &header());
    assert_eq!((range.end, range.end - range.start), (opener.chunks_start(), 8));
}

#[test]
fn the_embedded_store_can_be_filled_in_place() {
    let mut file = seal(&header(), b"words", 1);
    let range = LockedFile::read_from(&mut file.as_slice())
        .unwrap()
        .embedded_store_range();
    file[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
        .copy_from_slice(b"licenses");
    assert_eq!(
        LockedFile::read_from(&mut file.as_slice())
            .unwrap()
            .embedded_store(),
        b"licenses"
    );
    assert_eq!(stream(&file), (b"words".to_vec(), Ok(())));
}

#[test]
fn each_file_has_keys_of_its_own() {
    let (one, two) = (seal(&header(), b"words", 1), seal(&header(), b"words", 2));
    assert_ne!(one[one.len() - 21..], two[two.len() - 21..]);
}

#[test]
fn a_wrong_key_is_told_from_the_commitment() {
    let file = seal(&header(), b"words", 1);
    let locked = LockedFile::read_from(&mut file.as_slice()).unwrap();
    assert_eq!(
        locked.unlock(&ContentKey::new([1; 16])).unwrap_err(),
        FileError::WrongKey
    );
}

#[test]
fn every_byte_before_the_chunks_counts_except_the_store() {
    let plain = plaintext(100);
    let file = seal(&header(), &plain, 1);
    let store = LockedFile::read_from(&mut file.as_slice())
        .unwrap()
        .embedded_store_range();
    for position in 0..usize::try_from(store.start).unwrap() {
        for bit in [0x01, 0x80] {
            let mut changed = file.clone();
            changed[position] ^= bit;
            let (given, ended) = stream(&changed);
            assert!(ended.is_err() && given.is_empty(), "byte {position}");
            assert!(seekable(&changed).is_err(), "byte {position}");
        }
    }
}

#[test]
fn a_prefix_of_any_length_needs_more_within_the_bound() {
    let file = seal(&header(), b"words", 1);
    let start = usize::try_from(opener(&file).unwrap().chunks_start()).unwrap();
    for len in 0..start {
        match LockedFile::parse(&file[..len]).unwrap() {
            Parsed::NeedsMore(needed) => assert!(needed > len && needed <= start, "{len}: {needed}"),
            Parsed::Complete(_) => panic!("{len} bytes are not enough"),
        }
        assert_eq!(
            stream(&file[..len]),
            (vec![], Err(FileError::CutOff)),
            "{len} bytes"
        );
    }
    assert!(matches!(
        LockedFile::parse(&file[..start]),
        Ok(Parsed::Complete(_))
    ));
    let longest = [MAGIC.as_slice(), &[0, 1, 0, 0]].concat();
    assert!(
        matches!(LockedFile::parse(&longest), Ok(Parsed::NeedsMore(needed)) if needed < LockedFile::MAX_PREFIX_LEN)
    );
}

/// The one other form that STREAM alone would open: full chunks, then an empty last one.
#[test]
fn an_empty_last_chunk_after_others_is_refused() {
    let (file, keys) = header()
        .lock(&ContentKey::new(KEY), &mut ChaCha20Rng::from_seed([1; 32]))
        .unwrap();
    let cipher = keys.into_cipher().unwrap();
    let (mut full, mut empty) = (vec![7; SEALED], vec![0; 16]);
    cipher.seal(0, false, &mut full).unwrap();
    cipher.seal(1, true, &mut empty).unwrap();
    assert_eq!(
        cipher.open(1, true, &mut empty.clone()),
        Ok([].as_mut_slice()),
        "the chunk itself is sound"
    );
    assert_eq!(
        opener(&file).unwrap().open(1, true, &mut empty.clone()),
        Err(FileError::Chunk(1))
    );
    let file = [file, full, empty].concat();
    assert_eq!(stream(&file), (vec![7; CHUNK], Err(FileError::Chunk(1))));
    assert_eq!(seekable(&file).map(drop), Err(FileError::Chunk(1)));
}

#[test]
fn a_file_cut_at_a_chunk_border_gives_nothing_to_a_seeking_reader() {
    let file = seal(&header(), &plaintext(3 * CHUNK), 1);
    assert_eq!(
        seekable(&file[..file.len() - SEALED]).map(drop),
        Err(FileError::Chunk(1))
    );
    let start = usize::try_from(opener(&file).unwrap().chunks_start()).unwrap();
    assert_eq!(seekable(&file[..start]).map(drop), Err(FileError::CutOff));
    assert_eq!(seekable(&file[..start + 15]).map(drop), Err(FileError::CutOff));
    assert_eq!(
        seekable(&file[..start + SEALED + 15]).map(drop),
        Err(FileError::CutOff)
    );
}

#[test]
fn a_failed_stream_keeps_failing() {
    let mut file = seal(&header(), &plaintext(3 * CHUNK), 1);
    let at = file.len() - 2 * SEALED;
    file[at] ^= 1;
    let mut source = file.as_slice();
    let locked = LockedFile::read_from(&mut source).unwrap();
    let mut reader = locked.unlock(&ContentKey::new(KEY)).unwrap().stream(source);
    let mut given = vec![0; CHUNK];
    reader.read_exact(&mut given).unwrap();
    for _ in 0..3 {
        let error = reader.read(&mut [0; 10]).unwrap_err();
        assert_eq!(
            (error.kind(), FileError::within(&error)),
            (ErrorKind::InvalidData, Some(FileError::Chunk(1)))
        );
    }
}

/// Gives out its bytes in pieces of odd sizes, with interruptions and one temporary error.
struct Hesitant<'a>(&'a [u8], u32);

impl Read for Hesitant<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.1 += 1;
        match self.1 {
            n if n % 5 == 0 => Err(ErrorKind::Interrupted.into()),
            7 => Err(ErrorKind::WouldBlock.into()),
            n => {
                let most = out.len().min(usize::try_from(n).unwrap() * 37 % 1000 + 1);
                self.0.read(&mut out[..most])
            }
        }
    }
}

#[test]
fn short_reads_and_temporary_errors_lose_nothing() {
    let plain = plaintext(3 * CHUNK + 5);
    let file = seal(&header(), &plain, 1);
    let opener = opener(&file).unwrap();
    let chunks = &file[usize::try_from(opener.chunks_start()).unwrap()..];
    let mut reader = opener.stream(Hesitant(chunks, 0));
    let mut given = Vec::new();
    assert_eq!(
        reader.read_to_end(&mut given).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    reader.read_to_end(&mut given).unwrap();
    assert_eq!(given, plain);
}

#[test]
fn a_seek_before_the_start_is_refused_and_one_past_the_end_reads_nothing() {
    let file = seal(&header(), &plaintext(10), 1);
    let mut reader = seekable(&file).unwrap();
    assert_eq!(
        reader.seek(SeekFrom::End(-11)).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(reader.seek(SeekFrom::End(-1)).unwrap(), 9);
    assert_eq!(reader.fill_buf().unwrap(), &plaintext(10)[9..]);
    reader.seek(SeekFrom::Start(u64::MAX)).unwrap();
    assert_eq!(reader.read(&mut [0; 4]).unwrap(), 0);
    assert_eq!(
        reader.seek(SeekFrom::Current(1)).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn debug_never_shows_plaintext() {
    let file = seal(&header(), &[0xab; 100], 1);
    let mut seeking = seekable(&file).unwrap();
    assert_eq!(seeking.fill_buf().unwrap()[0], 0xab);
    let mut source = file.as_slice();
    let locked = LockedFile::read_from(&mut source).unwrap();
    let mut streaming = locked.unlock(&ContentKey::new(KEY)).unwrap().stream(source);
    assert_eq!(streaming.fill_buf().unwrap()[0], 0xab);
    assert_eq!(
        format!("{streaming:?}"),
        "StreamReader { next_chunk: 1, state: Ended, .. }"
    );
    assert!(!format!("{seeking:?}").contains("171"));
}

#[test]
fn messages_say_what_and_hints_say_what_next() {
    let error = FileError::UnsupportedVersion(2);
    assert_eq!(
        error.to_string(),
        "the file has container version 2, this program knows version 1"
    );
    assert_eq!(error.hint(), "update Keyward, or have the file protected again");
    let error = FileError::ContentHeader(HeaderError::UnsupportedVersion);
    assert_eq!(
        error.to_string(),
        "the version of the content header is not 4.0, 4.1, 4.2 or 4.3"
    );
    assert!(error.hint().contains("4.3"));
    assert_eq!(
        FileError::NotAFile.to_string(),
        "this is not a Keyward protected file"
    );
}
