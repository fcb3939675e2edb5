//! `spec/content.md` and `spec/content.cddl` hold what the code does: the worked example is made again
//! and compared, and header maps are held against the CDDL.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod independent;

use keyward_content::{
    file::{FileHeader, LockedFile, Parsed, Sealer},
    header::ContentHeader,
};
use keyward_crypto::{ContentKey, seed::LicenseKeySeed};
use keyward_license::ids::Kid;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

const SPEC: &str = include_str!("../../../../spec/content.md");
const CDDL: &str = include_str!("../../../../spec/content.cddl");
const PLAINTEXT: &[u8] = b"Hello, Keyward\n";

fn kid() -> Kid {
    "a2c786d0-f9ef-4cb3-b333-cd323a4284a5".parse().unwrap()
}

/// The content key of the example, derived from the public test seed of the PlayReady documentation.
fn content_key() -> ContentKey {
    let seed = hex::decode("5d5068bec9b384ff6044867159f16d6b755544fcd5116989b1acc4278e88").unwrap();
    LicenseKeySeed::new(&seed).unwrap().derive(kid().as_bytes())
}

fn header() -> FileHeader {
    let url = Some("https://license.example/keyward".to_owned());
    FileHeader {
        store_len: 16,
        name: Some("hello.txt".into()),
        media_type: Some("text/plain".into()),
        ..FileHeader::new(
            ContentHeader::for_file(kid(), url).to_object_bytes().unwrap(),
            kid(),
        )
    }
}

fn example_file() -> Vec<u8> {
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let (sealer, positions) = Sealer::new(&content_key(), &header(), &mut rng).unwrap();
    let mut chunk = [PLAINTEXT, &[0; 16]].concat();
    sealer.seal(positions.last(), &mut chunk).unwrap();
    [sealer.prefix(), &chunk].concat()
}

/// Sixteen bytes a line, with the offset of the first.
fn dump(bytes: &[u8]) -> String {
    let line = |(row, bytes): (usize, &[u8])| format!("{:04x}  {}\n", row * 16, spaced(bytes));
    bytes.chunks(16).enumerate().map(line).collect()
}

fn spaced(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn the_worked_example_is_what_the_code_writes() {
    let file = example_file();
    let derived = independent::read_by_the_spec(&file, content_key().expose());
    assert_eq!(derived.plaintext, PLAINTEXT);
    for (what, block) in [
        ("file", dump(&file)),
        ("content key", hex::encode(content_key().expose())),
        ("header hash", hex::encode(derived.header_hash)),
        ("chunk key", hex::encode(derived.chunk_key)),
        ("key commitment", hex::encode(derived.commitment)),
    ] {
        assert!(
            SPEC.contains(&block),
            "the spec lacks the example's {what}:\n{block}"
        );
    }
}

#[test]
fn the_example_of_the_spec_opens() {
    let block = SPEC
        .split("```text\n0000  ")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    let digits: String = format!("0000  {block}")
        .lines()
        .map(|line| line[6..].replace(' ', ""))
        .collect();
    let file = hex::decode(digits).unwrap();
    let Ok(Parsed::Complete(locked)) = LockedFile::parse(&file) else {
        panic!("the example does not parse")
    };
    assert_eq!(locked.unverified_header(), &header());
    let opener = locked.unlock(&content_key()).unwrap();
    let start = usize::try_from(opener.chunks_start()).unwrap();
    assert_eq!(
        opener.open(0, true, &mut file[start..].to_vec()).unwrap(),
        PLAINTEXT
    );
}

/// The header map of a file: between the length and the commitment.
fn header_map(header: &FileHeader) -> Vec<u8> {
    let mut rng = ChaCha20Rng::from_seed([2; 32]);
    let (sealer, _) = Sealer::new(&content_key(), header, &mut rng).unwrap();
    let prefix = sealer.prefix();
    let len = usize::try_from(u32::from_be_bytes(prefix[8..12].try_into().unwrap())).unwrap();
    prefix[12..12 + len].to_vec()
}

fn fits_cddl(map: &[u8]) -> bool {
    cddl_cat::validate_cbor_bytes("file-header", CDDL, map).is_ok()
}

#[test]
fn header_maps_fit_the_cddl() {
    assert!(fits_cddl(&header_map(&header())));
    assert!(fits_cddl(&header_map(&FileHeader::new(
        header().content_header,
        kid()
    ))));
}

#[test]
fn the_cddl_refuses_what_the_code_refuses() {
    let good = header_map(&header());
    let changed = |from: &[u8], to: &[u8]| {
        let at = good
            .windows(from.len())
            .position(|window| window == from)
            .expect("the bytes to change");
        [&good[..at], to, &good[at + from.len()..]].concat()
    };
    // Version 2; chunk size 2^11; a key id of 15 bytes; a name that is a byte string; a critical key 7.
    for (from, to) in [
        ([0x01, 0x01].as_slice(), [0x01, 0x02].as_slice()),
        (&[0x04, 0x10, 0x05], &[0x04, 0x0b, 0x05]),
        (&[0x06, 0x50, 0xa2], &[0x06, 0x4f]),
        (&[0x18, 0x80, 0x69], &[0x18, 0x80, 0x49]),
        (&[0x18, 0x80, 0x69], &[0x07, 0x69]),
    ] {
        let map = changed(from, to);
        let file = [
            b"\x89KWF\r\n\x1a\n".as_slice(),
            &u32::try_from(map.len()).unwrap().to_be_bytes(),
            &map,
            &[0; 64],
        ];
        assert!(
            LockedFile::parse(&file.concat()).is_err(),
            "the code takes {}",
            hex::encode(to)
        );
        assert!(!fits_cddl(&map), "the CDDL takes {}", hex::encode(to));
    }
}
