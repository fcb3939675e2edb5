//! AES-128 in CTR and CBC mode (SP 800-38A) as common encryption uses them (ISO/IEC 23001-7): in place,
//! over ranges of a sample, with patterns of encrypted and clear blocks.
//!
//! ```text
//!   MediaKey ──ctr(counter block)──► CtrStream      one key stream over any number of ranges
//!            ──cbc_encrypt(iv)─────► CbcEncryptor   one chain over any number of ranges
//!            ──cbc_decrypt(iv)─────► CbcDecryptor
//! ```
//!
//! The key schedule is made once a [`MediaKey`]; streams and chains borrow it and cost nothing to
//! begin. Nothing is authenticated. Which bytes of a sample are ranges, and where a chain begins, is
//! not decided here.
//!
//! A pattern encrypts one block in ten or so, and a block alone takes as long as eight together: the
//! blocks are gathered, processed in one call and put back.

use core::fmt;

use aes::{
    Aes128, Block,
    cipher::{Array, InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper, consts::U16},
};
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt};
use ctr::{CtrCore, flavors::Ctr64BE};

use crate::ContentKey;

/// Bytes of an AES block.
pub const BLOCK_LEN: usize = 16;

/// Blocks that are gathered for one call.
const GATHERED: usize = 120;
/// Blocks in a row that are worth a call of their own.
const LONG_RUN: usize = 16;

/// Which blocks of a range are encrypted: `crypt` blocks, then `skip` clear ones, and so on.
///
/// `skip` 0 or `crypt` 0 means every block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockPattern {
    /// Blocks to encrypt in a row.
    pub crypt: u8,
    /// Blocks to leave in a row.
    pub skip: u8,
}

/// A content key, expanded for media.
///
/// The round keys are wiped when it is dropped.
pub struct MediaKey(Aes128);

impl MediaKey {
    /// Expands `key`.
    #[must_use]
    pub fn new(key: &ContentKey) -> Self {
        Self(Aes128::new(key.expose().into()))
    }

    /// A key stream that begins at `counter_block`.
    ///
    /// Bytes 8 to 15 of the block count up, big-endian, by one a block, and wrap without touching bytes
    /// 0 to 7 (ISO/IEC 23001-7, 9.3).
    #[must_use]
    pub fn ctr(&self, counter_block: &[u8; BLOCK_LEN]) -> CtrStream<'_> {
        let core = CtrCore::inner_iv_init(&self.0, counter_block.into());
        CtrStream(StreamCipherCoreWrapper::from_core(core))
    }

    /// A chain for encryption that begins at `iv`.
    #[must_use]
    pub fn cbc_encrypt(&self, iv: &[u8; BLOCK_LEN]) -> CbcEncryptor<'_> {
        CbcEncryptor(cbc::Encryptor::inner_iv_init(&self.0, iv.into()))
    }

    /// A chain for decryption that begins at `iv`.
    #[must_use]
    pub fn cbc_decrypt(&self, iv: &[u8; BLOCK_LEN]) -> CbcDecryptor<'_> {
        CbcDecryptor(cbc::Decryptor::inner_iv_init(&self.0, iv.into()))
    }
}

impl fmt::Debug for MediaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MediaKey(redacted)")
    }
}

/// A key stream of AES-CTR; encryption and decryption are one.
pub struct CtrStream<'a>(StreamCipherCoreWrapper<CtrCore<&'a Aes128, Ctr64BE>>);

impl CtrStream<'_> {
    /// Exclusive or of `data` with the next bytes of the key stream. A range may end in the middle of a
    /// block; the next one goes on with the rest of that block.
    pub fn apply(&mut self, data: &mut [u8]) {
        self.0.unchecked_apply_keystream_inout(data.into());
    }

    /// The same to the blocks of `data` that `pattern` encrypts. Clear blocks use up no key stream, and
    /// the bytes behind the last whole block stay clear.
    pub fn apply_pattern(&mut self, data: &mut [u8], pattern: BlockPattern) {
        pattern.apply(data, |blocks| self.apply(blocks.as_flattened_mut()));
    }
}

impl fmt::Debug for CtrStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CtrStream(redacted)")
    }
}

/// A chain of AES-CBC for encryption.
pub struct CbcEncryptor<'a>(cbc::Encryptor<&'a Aes128>);

impl CbcEncryptor<'_> {
    /// Encrypts the blocks of `data` that `pattern` encrypts, each chained to the one encrypted before.
    /// The bytes behind the last whole block stay clear.
    pub fn apply(&mut self, data: &mut [u8], pattern: BlockPattern) {
        pattern.apply(data, |blocks| self.0.encrypt_blocks(as_blocks(blocks)));
    }
}

impl fmt::Debug for CbcEncryptor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CbcEncryptor(redacted)")
    }
}

/// A chain of AES-CBC for decryption.
pub struct CbcDecryptor<'a>(cbc::Decryptor<&'a Aes128>);

impl CbcDecryptor<'_> {
    /// Decrypts what [`CbcEncryptor::apply`] encrypted with the same `pattern`.
    pub fn apply(&mut self, data: &mut [u8], pattern: BlockPattern) {
        pattern.apply(data, |blocks| self.0.decrypt_blocks(as_blocks(blocks)));
    }
}

impl fmt::Debug for CbcDecryptor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CbcDecryptor(redacted)")
    }
}

impl BlockPattern {
    /// Every block.
    pub const ALL: Self = Self { crypt: 0, skip: 0 };

    /// Calls `cipher` with the encrypted blocks of `data`, in order, as many as possible at a time.
    fn apply(self, data: &mut [u8], mut cipher: impl FnMut(&mut [[u8; BLOCK_LEN]])) {
        let (blocks, _clear_tail) = data.as_chunks_mut();
        let crypt = usize::from(self.crypt);
        let period = crypt.saturating_add(self.skip.into());
        if self.skip == 0 || crypt == 0 {
            cipher(blocks);
        } else if crypt >= LONG_RUN {
            let runs = blocks
                .chunks_mut(period)
                .map(|group| group.split_at_mut(crypt.min(group.len())));
            runs.for_each(|(run, _clear)| cipher(run));
        } else {
            let mut gathered = [[0; BLOCK_LEN]; GATHERED];
            let groups = GATHERED.checked_div(crypt).unwrap_or(1);
            for batch in blocks.chunks_mut(period.saturating_mul(groups)) {
                gather(batch, crypt, period, &mut gathered, &mut cipher);
            }
        }
    }
}

/// Copies the first `crypt` blocks of each `period` blocks of `batch` to `gathered`, which has room for
/// them, calls `cipher` with them and puts them back.
fn gather(
    batch: &mut [[u8; BLOCK_LEN]],
    crypt: usize,
    period: usize,
    gathered: &mut [[u8; BLOCK_LEN]],
    cipher: &mut impl FnMut(&mut [[u8; BLOCK_LEN]]),
) {
    let mut slots = gathered.iter_mut();
    for group in batch.chunks(period) {
        let encrypted = group.iter().take(crypt).zip(slots.by_ref());
        encrypted.for_each(|(block, slot)| *slot = *block);
    }
    let unused = slots.len();
    let used = gathered.len().saturating_sub(unused);
    let (used, _unused) = gathered.split_at_mut(used);
    cipher(used);
    let mut slots = used.iter();
    for group in batch.chunks_mut(period) {
        let encrypted = group.iter_mut().take(crypt).zip(slots.by_ref());
        encrypted.for_each(|(block, slot)| *block = *slot);
    }
}

fn as_blocks(blocks: &mut [[u8; BLOCK_LEN]]) -> &mut [Block] {
    Array::<u8, U16>::cast_slice_from_core_mut(blocks)
}

#[cfg(test)]
mod tests {
    use aes::cipher::BlockCipherEncrypt;
    use proptest::prelude::*;

    use super::*;

    /// SP 800-38A, F.1: key and plaintext of every example with AES-128.
    const KEY: &str = "2b7e151628aed2a6abf7158809cf4f3c";
    const PLAINTEXT: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
                             30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";

    fn bytes(text: &str) -> Vec<u8> {
        hex::decode(text).unwrap()
    }

    fn block(text: &str) -> [u8; 16] {
        bytes(text).try_into().unwrap()
    }

    fn nist_key() -> MediaKey {
        MediaKey::new(&ContentKey::new(block(KEY)))
    }

    /// F.5.1 and F.5.2.
    #[test]
    fn ctr_example_of_the_standard() {
        let key = nist_key();
        let mut data = bytes(PLAINTEXT);
        let counter = block("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
        key.ctr(&counter).apply(&mut data);
        let ciphertext = "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff\
                          5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee";
        assert_eq!(hex::encode(&data), ciphertext);
        let mut stream = key.ctr(&counter);
        for range in data.chunks_mut(7) {
            stream.apply(range);
        }
        assert_eq!(hex::encode(data), PLAINTEXT);
    }

    /// F.2.1 and F.2.2.
    #[test]
    fn cbc_example_of_the_standard() {
        let key = nist_key();
        let iv = block("000102030405060708090a0b0c0d0e0f");
        let mut data = bytes(PLAINTEXT);
        key.cbc_encrypt(&iv).apply(&mut data, BlockPattern::ALL);
        let ciphertext = "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2\
                          73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7";
        assert_eq!(hex::encode(&data), ciphertext);
        let mut chain = key.cbc_decrypt(&iv);
        for range in data.chunks_mut(32) {
            chain.apply(range, BlockPattern::ALL);
        }
        assert_eq!(hex::encode(data), PLAINTEXT);
    }

    /// ISO/IEC 23001-7, 9.3: the counter is bytes 8 to 15 alone.
    #[test]
    fn the_counter_wraps_in_its_own_half() {
        let key = nist_key();
        let mut stream = [0; 32];
        key.ctr(&block("0011223344556677ffffffffffffffff"))
            .apply(&mut stream);
        let mut second = block("00112233445566770000000000000000").into();
        key.0.encrypt_block(&mut second);
        assert_eq!(stream[16..], second[..]);
    }

    #[test]
    fn bytes_behind_the_last_whole_block_stay_clear() {
        let key = nist_key();
        for pattern in [BlockPattern::ALL, BlockPattern { crypt: 1, skip: 9 }] {
            let mut data = [7; 31];
            key.cbc_encrypt(&[0; 16]).apply(&mut data, pattern);
            assert_ne!(data[..16], [7; 16]);
            assert_eq!(data[16..], [7; 15]);
            let mut short = [7; 15];
            key.ctr(&[0; 16]).apply_pattern(&mut short, pattern);
            assert_eq!(short, [7; 15]);
        }
    }

    #[test]
    fn debug_never_shows_a_key_or_its_stream() {
        let key = nist_key();
        assert_eq!(format!("{key:?}"), "MediaKey(redacted)");
        assert_eq!(format!("{:?}", key.ctr(&[1; 16])), "CtrStream(redacted)");
        assert_eq!(
            format!("{:?}", key.cbc_encrypt(&[1; 16])),
            "CbcEncryptor(redacted)"
        );
        assert_eq!(
            format!("{:?}", key.cbc_decrypt(&[1; 16])),
            "CbcDecryptor(redacted)"
        );
    }

    /// The indices of the blocks that a pattern encrypts, counted one by one.
    fn encrypted(pattern: BlockPattern, blocks: usize) -> Vec<usize> {
        let (crypt, skip) = (usize::from(pattern.crypt), usize::from(pattern.skip));
        let all = crypt == 0 || skip == 0;
        (0..blocks)
            .filter(|block| all || block % (crypt + skip) < crypt)
            .collect()
    }

    proptest! {
        /// Gathered blocks come out as they do one at a time, for every mode.
        #[test]
        fn patterns_are_followed(
            crypt in 0_u8..=40,
            skip in 0_u8..=40,
            data in prop::collection::vec(any::<u8>(), 0..20_000),
        ) {
            let pattern = BlockPattern { crypt, skip };
            let key = nist_key();
            let mut chosen = Vec::new();
            for index in encrypted(pattern, data.len() / 16) {
                chosen.extend_from_slice(&data[index * 16..][..16]);
            }
            let put_back = |chosen: &[u8]| {
                let mut data = data.clone();
                for (index, block) in encrypted(pattern, data.len() / 16).into_iter().zip(chosen.chunks(16)) {
                    data[index * 16..][..16].copy_from_slice(block);
                }
                data
            };

            let mut stream = key.ctr(&[9; 16]);
            let mut alone = chosen.clone();
            alone.chunks_mut(16).for_each(|block| stream.apply(block));
            let mut whole = data.clone();
            key.ctr(&[9; 16]).apply_pattern(&mut whole, pattern);
            prop_assert_eq!(whole, put_back(&alone));

            let mut chain = key.cbc_encrypt(&[9; 16]);
            let mut alone = chosen.clone();
            alone.chunks_mut(16).for_each(|block| chain.apply(block, BlockPattern::ALL));
            let mut whole = data.clone();
            key.cbc_encrypt(&[9; 16]).apply(&mut whole, pattern);
            prop_assert_eq!(&whole, &put_back(&alone));
            key.cbc_decrypt(&[9; 16]).apply(&mut whole, pattern);
            prop_assert_eq!(&whole, &data);
        }
    }
}
