//! The flow as a caller sees it: whole outputs or none.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

use std::{
    cell::Cell,
    io::{self, ErrorKind, Read, Write},
    rc::Rc,
};

use keyward_content::file::{ChunkSize, FileError, LockedFile};
use keyward_crypto::{ContentKey, seed::LicenseKeySeed};
use keyward_license::ids::Kid;
use keyward_packager::{
    KeySource, MemorySink, OutputSink, PackagerError, ProtectOptions, Protected, protect_file,
};
use proptest::prelude::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

const KID: Kid = Kid::new([0xa2; 16]);

fn options(log2: u64) -> ProtectOptions {
    let mut options = ProtectOptions::new(KID, KeySource::Raw(ContentKey::new([1; 16])));
    options.chunk_size = ChunkSize::from_log2(log2).unwrap();
    options
}

fn protect(input: impl Read + Send, options: &ProtectOptions) -> Result<Protected<Vec<u8>>, PackagerError> {
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    protect_file(input, MemorySink::default(), options, &mut rng, &mut |_| {})
}

fn open(mut file: &[u8], key: &ContentKey) -> Vec<u8> {
    let locked = LockedFile::read_from(&mut file).unwrap();
    let mut plain = Vec::new();
    locked
        .unlock(key)
        .unwrap()
        .stream(file)
        .read_to_end(&mut plain)
        .unwrap();
    plain
}

#[test]
fn sizes_around_chunk_and_batch_borders_round_trip() {
    let batch = 512 * 1024_usize;
    for log2 in [12, 16, 19] {
        let chunk = 1_usize << log2;
        for border in [0, chunk, 2 * chunk, batch, 2 * batch, 3 * batch + chunk] {
            for size in [border.saturating_sub(1), border, border + 1] {
                let plain: Vec<u8> = (0..=250).cycle().take(size).collect();
                let made = protect(plain.as_slice(), &options(log2)).unwrap();
                assert_eq!(
                    (made.plain_len, made.sealed_len),
                    (size as u64, made.output.len() as u64)
                );
                assert!(
                    open(&made.output, &ContentKey::new([1; 16])) == plain,
                    "2^{log2}: {size} bytes"
                );
            }
        }
    }
}

#[test]
fn the_options_stand_in_the_file() {
    let seed = LicenseKeySeed::new(&[9; 30]).unwrap();
    let key = seed.derive(KID.as_bytes());
    let mut options = ProtectOptions::new(KID, KeySource::Seed(std::sync::Arc::new(seed)));
    options.license_url = Some("https://license.example/a?b=1&c=2".into());
    options.license_ui_url = Some("https://shop.example/".into());
    options.domain_service_id = Some([4; 16]);
    options.custom_attributes = Some("<a>b</a>".into());
    options.name = Some("words.txt".into());
    options.media_type = Some("text/plain".into());
    options.store_len = 100;
    let made = protect(b"words".as_slice(), &options).unwrap();
    let locked = LockedFile::read_from(&mut made.output.as_slice()).unwrap();
    assert_eq!(locked.embedded_store(), [0; 100]);
    let content_header = locked.content_header().clone();
    assert_eq!(content_header.license_url, options.license_url);
    assert_eq!(content_header.license_ui_url, options.license_ui_url);
    assert_eq!(content_header.domain_service_id, options.domain_service_id);
    assert_eq!(content_header.custom_attributes, options.custom_attributes);
    assert!(
        content_header
            .kids
            .iter()
            .all(|key| key.kid == KID && key.algorithm.is_none())
    );
    let opener = locked.unlock(&key).unwrap();
    assert_eq!(opener.header().name.as_deref(), Some("words.txt"));
    assert_eq!(opener.header().media_type.as_deref(), Some("text/plain"));
    assert_eq!(open(&made.output, &key), b"words");
}

#[test]
fn progress_ends_at_the_length() {
    let mut seen = Vec::new();
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let input = vec![0; 3_000_000];
    protect_file(
        input.as_slice(),
        MemorySink::default(),
        &options(16),
        &mut rng,
        &mut |done| seen.push(done),
    )
    .unwrap();
    assert!(seen.is_sorted() && seen.len() > 2);
    assert_eq!(seen.last(), Some(&3_000_000));
}

/// Counts commits and fails after so many bytes.
struct CountingSink {
    room: usize,
    commits: Rc<Cell<u32>>,
    fail_commit: bool,
}

impl Write for CountingSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.room = self.room.checked_sub(bytes.len()).ok_or(ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl OutputSink for CountingSink {
    type Output = ();

    fn commit(self) -> io::Result<()> {
        if self.fail_commit {
            return Err(ErrorKind::PermissionDenied.into());
        }
        self.commits.set(self.commits.get() + 1);
        Ok(())
    }
}

fn into_counting_sink(
    input: impl Read + Send,
    room: usize,
    fail_commit: bool,
) -> (Result<(), PackagerError>, u32) {
    let commits = Rc::new(Cell::new(0));
    let sink = CountingSink {
        room,
        commits: Rc::clone(&commits),
        fail_commit,
    };
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let made = protect_file(input, sink, &options(12), &mut rng, &mut |_| {});
    (made.map(drop), commits.get())
}

/// Gives some bytes, then fails.
struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let given = out.len().min(self.0);
        self.0 -= given;
        Ok(given)
    }
}

#[test]
fn an_output_is_committed_once_or_never() {
    let input = vec![0; 5_000_000];
    let (made, commits) = into_counting_sink(input.as_slice(), usize::MAX, false);
    assert!(made.is_ok() && commits == 1);
    for room in [0, 100, 700_000, 4_999_999] {
        let (made, commits) = into_counting_sink(input.as_slice(), room, false);
        assert!(matches!(made, Err(PackagerError::Write(error)) if error.kind() == ErrorKind::StorageFull));
        assert_eq!(commits, 0, "room for {room} bytes");
    }
    for given in [0, 1, 524_288, 3_000_000] {
        let (made, commits) = into_counting_sink(Failing(given), usize::MAX, false);
        assert!(
            matches!(made, Err(PackagerError::Read(error)) if error.kind() == ErrorKind::ConnectionReset)
        );
        assert_eq!(commits, 0, "{given} bytes of input");
    }
    let (made, commits) = into_counting_sink(input.as_slice(), usize::MAX, true);
    assert!(matches!(made, Err(PackagerError::Write(_))) && commits == 0);
}

#[test]
fn bad_options_are_refused_before_anything_is_written() {
    let refused = |change: &dyn Fn(&mut ProtectOptions)| {
        let mut options = options(16);
        change(&mut options);
        protect(b"words".as_slice(), &options).unwrap_err()
    };
    let error = refused(&|options| options.license_url = Some("license.example".into()));
    assert_eq!(
        error.to_string(),
        "cannot make the content header: LA_URL of the content header is not an absolute URL"
    );
    assert_eq!(
        error.hint(),
        "URLs must be absolute, and custom attributes well-formed XML"
    );
    let error = refused(&|options| options.name = Some("../words.txt".into()));
    assert!(matches!(error, PackagerError::File(FileError::Name)));
    let error = refused(&|options| options.store_len = 65_537);
    assert!(matches!(
        error,
        PackagerError::File(FileError::StoreLength(65_537))
    ));
}

/// Gives its bytes in pieces, with interruptions, and does not stay at its end.
struct Pieces<'a> {
    rest: &'a [u8],
    piece: usize,
    calls: usize,
    ended: bool,
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.calls.is_multiple_of(3) {
            return Err(ErrorKind::Interrupted.into());
        }
        assert!(!self.ended, "read again after the end");
        let most = out.len().min(self.piece);
        let read = self.rest.read(&mut out[..most])?;
        self.ended = read == 0;
        Ok(read)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_size_in_any_pieces_round_trips(size in 0..1_200_000_usize, piece in 1..100_000_usize) {
        let plain: Vec<u8> = (0..=250).cycle().take(size).collect();
        let input = Pieces { rest: &plain, piece: piece.max(size / 2000), calls: 0, ended: false };
        let made = protect(input, &options(12)).unwrap();
        prop_assert!(open(&made.output, &ContentKey::new([1; 16])) == plain);
    }
}
