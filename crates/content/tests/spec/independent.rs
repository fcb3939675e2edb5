//! The any-file container as an independent program reads it: `spec/content.md` and stock libraries
//! alone (HKDF, SHA-256, STREAM, AES-GCM, CBOR), none of Keyward's cryptography.

use std::io::Read;

use aead_stream::DecryptorBE32;
use aes_gcm::{Aes128Gcm, KeyInit};
use hkdf::Hkdf;
use keyward_content::{
    file::{ChunkSize, FileHeader, LockedFile, Sealer},
    header::ContentHeader,
};
use keyward_crypto::ContentKey;
use keyward_license::ids::Kid;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use sha2::{Digest, Sha256};

/// What the spec's example shows beside the file.
pub(crate) struct Derived {
    pub(crate) header_hash: [u8; 32],
    pub(crate) chunk_key: [u8; 16],
    pub(crate) commitment: [u8; 32],
    pub(crate) plaintext: Vec<u8>,
}

/// Section "Reading" of the spec, step by step.
pub(crate) fn read_by_the_spec(file: &[u8], content_key: &[u8; 16]) -> Derived {
    assert_eq!(&file[..8], b"\x89KWF\r\n\x1a\n");
    let header_end = 12 + usize::try_from(u32::from_be_bytes(file[8..12].try_into().unwrap())).unwrap();
    let header_hash: [u8; 32] = Sha256::digest(&file[..header_end]).into();
    let (mut salt, mut chunk_len, mut store_len) = ([0; 32], 0, 0);
    let mut decoder = minicbor::Decoder::new(&file[12..header_end]);
    for _ in 0..decoder.map().unwrap().unwrap() {
        match decoder.u64().unwrap() {
            3 => salt = decoder.bytes().unwrap().try_into().unwrap(),
            4 => chunk_len = 1_usize << decoder.u32().unwrap(),
            5 => store_len = usize::try_from(decoder.u64().unwrap()).unwrap(),
            _ => decoder.skip().unwrap(),
        }
    }
    let hkdf = Hkdf::<Sha256>::new(Some(&salt), content_key);
    let (mut chunk_key, mut commitment) = ([0; 16], [0; 32]);
    hkdf.expand_multi_info(&[b"keyward file v1 chunk key", &header_hash], &mut chunk_key)
        .unwrap();
    hkdf.expand_multi_info(
        &[b"keyward file v1 key commitment", &header_hash],
        &mut commitment,
    )
    .unwrap();
    assert_eq!(file[header_end..header_end + 32], commitment);

    // STREAM with a 7-byte nonce prefix of zeros and a 32-bit counter is our 11-byte counter.
    let mut stream = DecryptorBE32::from_aead(Aes128Gcm::new(&chunk_key.into()), &[0; 7].into());
    let mut chunks = file[header_end + 32 + store_len..]
        .chunks(chunk_len + 16)
        .peekable();
    let mut plaintext = Vec::new();
    while let Some(chunk) = chunks.next() {
        if chunks.peek().is_none() {
            plaintext.extend(stream.decrypt_last(chunk).unwrap());
            return Derived {
                header_hash,
                chunk_key,
                commitment,
                plaintext,
            };
        }
        plaintext.extend(stream.decrypt_next(chunk).unwrap());
    }
    unreachable!("a file has a last chunk");
}

fn seal(plaintext: &[u8], log2: u64, store_len: u32) -> Vec<u8> {
    let kid = Kid::new([3; 16]);
    let header = FileHeader {
        chunk_size: ChunkSize::from_log2(log2).unwrap(),
        store_len,
        name: Some("a".into()),
        ..FileHeader::new(ContentHeader::for_file(kid, None).to_object_bytes().unwrap(), kid)
    };
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    let (sealer, mut positions) = Sealer::new(&ContentKey::new([5; 16]), &header, &mut rng).unwrap();
    let mut file = sealer.prefix().to_vec();
    let full = plaintext.len().saturating_sub(1) / sealer.chunk_len();
    let (head, tail) = plaintext.split_at(full * sealer.chunk_len());
    for chunk in head.chunks(sealer.chunk_len()) {
        let mut buffer = [chunk, &[0; 16]].concat();
        sealer.seal(positions.full().unwrap(), &mut buffer).unwrap();
        file.extend(buffer);
    }
    let mut buffer = [tail, &[0; 16]].concat();
    sealer.seal(positions.last(), &mut buffer).unwrap();
    [file, buffer].concat()
}

#[test]
fn an_independent_program_reads_our_files() {
    for (len, log2, store_len) in [
        (0, 16, 0),
        (1, 12, 8),
        (4096, 12, 0),
        (4097, 12, 65_536),
        (200_000, 16, 100),
    ] {
        let plaintext: Vec<u8> = (0..=255).cycle().take(len).collect();
        let file = seal(&plaintext, log2, store_len);
        assert_eq!(
            read_by_the_spec(&file, &[5; 16]).plaintext,
            plaintext,
            "{len} bytes"
        );
        let mut source = file.as_slice();
        let locked = LockedFile::read_from(&mut source).unwrap();
        let mut ours = Vec::new();
        locked
            .unlock(&ContentKey::new([5; 16]))
            .unwrap()
            .stream(source)
            .read_to_end(&mut ours)
            .unwrap();
        assert_eq!(ours, plaintext, "{len} bytes");
    }
}
