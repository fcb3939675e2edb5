//! The chunked form: what it is, and that nothing else is taken for it.

use aes_gcm::{Aes256Gcm, KeyInit, aead::Aead};
use hkdf::Hkdf;
use proptest::prelude::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use sha2::{Digest, Sha256};

use super::*;

const CHUNK: usize = 4096;
const SEALED: usize = CHUNK + TAG_LEN;
const PREFIX: &[u8] = &[0, 0, 0, 7];

fn key() -> SecretBytes {
    SecretBytes::new(vec![3; 16])
}

fn plaintext(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

/// Header and chunks of a message, encrypted in pieces of `cut` bytes.
fn encrypt(seed: u8, data: &[u8], cut: usize) -> Vec<u8> {
    let mut rng = ChaCha20Rng::from_seed([seed; 32]);
    let (mut sealer, header) = ChunkSealer::new(&key(), b"aad", PREFIX, 12, &mut rng).unwrap();
    let mut output = header.to_vec();
    for piece in data.chunks(cut) {
        sealer.update(piece, &mut output).unwrap();
    }
    sealer.finish(&mut output).unwrap();
    output
}

/// What comes out, and whether it was whole.
fn decrypt(mut opener: ChunkOpener, data: &[u8], cut: usize) -> (Vec<u8>, Result<(), CryptoError>) {
    let mut output = Vec::new();
    for piece in data.chunks(cut) {
        if let Err(error) = opener.update(piece, &mut output) {
            return (output, Err(error));
        }
    }
    let whole = opener.finish(&mut output);
    (output, whole)
}

fn opener() -> ChunkOpener {
    ChunkOpener::new(&key(), b"aad", PREFIX)
}

/// `data` is refused, in small and in large pieces, and of the `right` plaintext the first `verified`
/// bytes come out and nothing else.
fn refused(data: &[u8], right: &[u8], verified: usize) {
    for cut in [usize::MAX, 1000, SEALED] {
        let (output, whole) = decrypt(opener(), data, cut);
        assert_eq!(whole, Err(CryptoError::NotOpened));
        assert_eq!(output, right[..verified]);
    }
}

const LENGTHS: [usize; 9] = [0, 1, 4095, 4096, 4097, 8191, 8192, 8193, 20_000];

#[test]
fn any_length_comes_back_in_any_pieces() {
    for len in LENGTHS {
        let data = plaintext(len);
        let whole = encrypt(1, &data, usize::MAX);
        assert_eq!(
            whole.len(),
            HEADER_LEN + len + TAG_LEN * len.div_ceil(CHUNK).max(1)
        );
        for cut in [7, 100, 4095, 4096, 4097, 9000] {
            assert!(encrypt(1, &data, cut) == whole, "{len} bytes by {cut}");
            assert_eq!(
                decrypt(opener(), &whole, cut),
                (data.clone(), Ok(())),
                "{len} bytes by {cut}"
            );
        }
    }
}

/// The documented form, read with other means.
#[test]
fn the_form_is_the_documented_one() {
    let data = plaintext(5000);
    let output = encrypt(1, &data, 900);
    let (header, chunks) = output.split_at(HEADER_LEN);
    assert_eq!((header[0], header[33]), (1, 12));
    let aad_hash = Sha256::digest(b"aad");
    let binding = Sha256::digest([&header[..34], PREFIX, &aad_hash].concat());
    let hkdf = Hkdf::<Sha256>::new(Some(&header[1..33]), key().expose());
    let expand = |label: &[u8]| {
        let mut bytes = [0; 32];
        hkdf.expand(&[label, &binding].concat(), &mut bytes).unwrap();
        bytes
    };
    assert_eq!(header[34..], expand(b"keyward exchange stream v1 key commitment"));
    let cipher = Aes256Gcm::new(&expand(b"keyward exchange stream v1 chunk key").into());
    let (first, last) = chunks.split_at(SEALED);
    let first = cipher.decrypt(&[0; 12].into(), first).unwrap();
    let last = cipher
        .decrypt(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1].into(), last)
        .unwrap();
    assert_eq!([first, last].concat(), data);
}

#[test]
fn a_truncated_stream_is_refused() {
    let data = plaintext(3 * CHUNK);
    let output = encrypt(1, &data, 900);
    for chunks in 0..3 {
        // At the end of a chunk, the last whole one was not the last of the message.
        refused(
            &output[..HEADER_LEN + chunks * SEALED],
            &data,
            chunks.saturating_sub(1) * CHUNK,
        );
        for more in [1, 15, 16, 17, 100, SEALED - 1] {
            let cut = HEADER_LEN + chunks * SEALED + more;
            refused(&output[..cut], &data, chunks * CHUNK);
        }
    }
    for len in 0..HEADER_LEN {
        refused(&output[..len], &data, 0);
    }
}

#[test]
fn an_extended_stream_is_refused() {
    for len in [0, 100, CHUNK, CHUNK + 100, 2 * CHUNK] {
        let data = plaintext(len);
        let output = encrypt(1, &data, 900);
        // Full chunks before the last are still right; a full last one is not, when more follows.
        let before_last = len.saturating_sub(1) / CHUNK * CHUNK;
        for more in [1, 16, 17, SEALED, SEALED + 5] {
            refused(&[&output[..], &vec![0; more]].concat(), &data, before_last);
        }
        // An empty last chunk behind a whole message, sealed with the right key.
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let (mut sealer, header) = ChunkSealer::new(&key(), b"aad", PREFIX, 12, &mut rng).unwrap();
        let mut forged = header.to_vec();
        for chunk in data.chunks_exact(CHUNK) {
            seal(&sealer.cipher, &mut sealer.index, false, chunk, &mut forged).unwrap();
        }
        seal(&sealer.cipher, &mut sealer.index, true, b"", &mut forged).unwrap();
        if len > 0 && len % CHUNK == 0 {
            refused(&forged, &data, len);
        }
    }
}

#[test]
fn reordered_repeated_and_spliced_chunks_are_refused() {
    let data = plaintext(3 * CHUNK + 9);
    let (one, other) = (encrypt(1, &data, 900), encrypt(2, &data, 900));
    let chunks =
        |output: &[u8]| -> Vec<Vec<u8>> { output[HEADER_LEN..].chunks(SEALED).map(<[u8]>::to_vec).collect() };
    let (own, foreign) = (chunks(&one), chunks(&other));
    let with = |order: &[&Vec<u8>]| {
        let mut bytes = one[..HEADER_LEN].to_vec();
        order.iter().for_each(|chunk| bytes.extend_from_slice(chunk));
        bytes
    };
    assert_eq!(with(&[&own[0], &own[1], &own[2], &own[3]]), one);
    refused(&with(&[&own[1], &own[0], &own[2], &own[3]]), &data, 0);
    refused(&with(&[&own[0], &own[2], &own[1], &own[3]]), &data, CHUNK);
    refused(
        &with(&[&own[0], &own[0], &own[1], &own[2], &own[3]]),
        &data,
        CHUNK,
    );
    refused(&with(&[&own[0], &own[2], &own[3]]), &data, CHUNK);
    refused(&with(&[&own[0], &own[1], &own[3]]), &data, 2 * CHUNK);
    refused(&with(&[&own[0], &foreign[1], &own[2], &own[3]]), &data, CHUNK);
    refused(
        &with(&[&foreign[0], &foreign[1], &foreign[2], &foreign[3]]),
        &data,
        0,
    );
}

#[test]
fn another_key_prefix_or_aad_is_refused_before_any_chunk() {
    let output = encrypt(1, b"data", 900);
    for opener in [
        ChunkOpener::new(&SecretBytes::new(vec![4; 16]), b"aad", PREFIX),
        ChunkOpener::new(&key(), b"aae", PREFIX),
        ChunkOpener::new(&key(), b"", PREFIX),
        ChunkOpener::new(&key(), b"aad", &[0, 0, 0, 8]),
        ChunkOpener::new(&key(), b"aad", b""),
    ] {
        let mut opener = opener;
        let mut nothing = Vec::new();
        let refused = opener.update(&output[..HEADER_LEN], &mut nothing);
        assert_eq!((refused, nothing), (Err(CryptoError::NotOpened), Vec::new()));
    }
}

#[test]
fn every_byte_of_the_header_counts() {
    let output = encrypt(1, b"data", 900);
    for position in 0..HEADER_LEN {
        for bit in 0..8 {
            let mut altered = output.clone();
            altered[position] ^= 1 << bit;
            let (nothing, error) = decrypt(opener(), &altered, 50);
            assert!(nothing.is_empty());
            let malformed = position == 0 || (position == 33 && !CHUNK_LOG2.contains(&altered[33]));
            match error.unwrap_err() {
                CryptoError::MalformedStream(_) => assert!(malformed),
                error => assert_eq!((error, malformed), (CryptoError::NotOpened, false)),
            }
        }
    }
}

#[test]
fn chunk_sizes_have_bounds() {
    for log2 in 0..=u8::MAX {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let made = ChunkSealer::new(&key(), b"", b"", log2, &mut rng);
        assert_eq!(made.is_ok(), CHUNK_LOG2.contains(&log2));
        if let Ok((sealer, header)) = made {
            assert_eq!((sealer.chunk_len, header[33]), (1 << log2, log2));
        }
    }
    assert!(CHUNK_LOG2.contains(&DEFAULT_CHUNK_LOG2));
}

#[test]
fn the_chunks_of_a_stream_are_counted() {
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let (mut sealer, _) = ChunkSealer::new(&key(), b"", b"", 12, &mut rng).unwrap();
    sealer.index = crate::stream::MAX_CHUNKS;
    let mut output = b"before".to_vec();
    let full = CryptoError::LimitReached("chunks in a file");
    assert_eq!(sealer.update(&[7; 2 * CHUNK], &mut output), Err(full));
    assert_eq!(output, b"before");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is altered, only bytes of the message come out, from its beginning, and never as whole.
    #[test]
    fn no_unverified_byte_comes_out(
        len in 0_usize..15_000,
        position: prop::sample::Index,
        flip in 1_u8..,
        cut in 1_usize..9000,
    ) {
        let data = plaintext(len);
        let mut output = encrypt(1, &data, 5000);
        let position = position.index(output.len());
        output[position] ^= flip;
        let (released, whole) = decrypt(opener(), &output, cut);
        prop_assert!(whole.is_err());
        let chunks_before = position.saturating_sub(HEADER_LEN) / SEALED;
        prop_assert_eq!(&released[..], &data[..chunks_before * CHUNK]);
    }
}
