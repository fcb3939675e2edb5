//! AES in CTR and CBC mode (SP 800-38A) for whole messages and streams. Nothing is authenticated.
//!
//! RustCrypto on every platform. With the newest AES instructions aws-lc decrypts faster, but both do
//! gigabytes a second, and one implementation has one behaviour, in streams as in memory. Feature
//! `zeroize` of `aes`, `ctr` and `cbc` wipes round keys, chains and buffered key stream.

use aes::{
    Aes128, Aes256, Block,
    cipher::{
        Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, BlockSizeUser,
        InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper, consts::U16,
    },
};
use cbc::cipher::block_padding::{Padding, Pkcs7};
use ctr::{CtrCore, flavors::Ctr128BE};
use zeroize::{Zeroizing, zeroize_stack};

use crate::CryptoError;

/// Bytes of a block, an IV and a counter block.
pub(super) const BLOCK_LEN: usize = 16;

/// Bytes that `len` bytes have with their padding (RFC 5652 §6.3): always more.
pub(super) const fn padded_len(len: usize) -> usize {
    len.saturating_sub(len % BLOCK_LEN).saturating_add(BLOCK_LEN)
}

/// An expanded key. Boxed, so that moving it leaves no copies of the round keys behind.
pub(super) enum Aes {
    Aes128(Box<Aes128>),
    Aes256(Box<Aes256>),
}

impl Aes {
    /// Expands `key`, 16 or 32 bytes.
    pub(super) fn new(key: &[u8]) -> Result<Self, CryptoError> {
        match key.len() {
            16 => Aes128::new_from_slice(key).map(|key| Self::Aes128(Box::new(key))),
            _ => Aes256::new_from_slice(key).map(|key| Self::Aes256(Box::new(key))),
        }
        .map_err(|_| CryptoError::MalformedKey("an AES key has 16 or 32 bytes"))
    }

    /// A second copy, for a stream that outlives its handle.
    pub(super) fn duplicate(&self) -> Self {
        clear_stack_after(|| self.copy())
    }

    fn copy(&self) -> Self {
        match self {
            Self::Aes128(key) => Self::Aes128(key.clone()),
            Self::Aes256(key) => Self::Aes256(key.clone()),
        }
    }

    /// Encrypts or decrypts `data`. All of `start` counts up, big-endian, by one a block.
    pub(super) fn ctr(&self, start: &[u8; BLOCK_LEN], data: &mut [u8]) {
        match self {
            Self::Aes128(key) => key_stream(&**key, start).unchecked_apply_keystream_inout(data.into()),
            Self::Aes256(key) => key_stream(&**key, start).unchecked_apply_keystream_inout(data.into()),
        }
    }

    /// Encrypts the first `len` bytes of `buffer`, which has room for the padding and no more.
    pub(super) fn cbc_encrypt(
        &self,
        iv: &[u8; BLOCK_LEN],
        buffer: &mut [u8],
        len: usize,
    ) -> Result<(), CryptoError> {
        match self {
            Self::Aes128(key) => pad(cbc::Encryptor::inner_iv_init(&**key, iv.into()), buffer, len),
            Self::Aes256(key) => pad(cbc::Encryptor::inner_iv_init(&**key, iv.into()), buffer, len),
        }
    }

    /// Decrypts `buffer` and returns how many bytes of it are plaintext.
    pub(super) fn cbc_decrypt(&self, iv: &[u8; BLOCK_LEN], buffer: &mut [u8]) -> Result<usize, CryptoError> {
        match self {
            Self::Aes128(key) => unpad(cbc::Decryptor::inner_iv_init(&**key, iv.into()), buffer),
            Self::Aes256(key) => unpad(cbc::Decryptor::inner_iv_init(&**key, iv.into()), buffer),
        }
    }

    pub(super) fn ctr_stream(&self, start: &[u8; BLOCK_LEN]) -> CtrStream {
        clear_stack_after(|| match self {
            Self::Aes128(key) => CtrStream::Aes128(Box::new(key_stream((**key).clone(), start))),
            Self::Aes256(key) => CtrStream::Aes256(Box::new(key_stream((**key).clone(), start))),
        })
    }

    pub(super) fn cbc_encrypt_stream(&self, iv: &[u8; BLOCK_LEN]) -> CbcEncryptStream {
        let chain = clear_stack_after(|| match self {
            Self::Aes128(key) => EncryptChain::Aes128(Box::new(cbc::Encryptor::inner_iv_init(
                (**key).clone(),
                iv.into(),
            ))),
            Self::Aes256(key) => EncryptChain::Aes256(Box::new(cbc::Encryptor::inner_iv_init(
                (**key).clone(),
                iv.into(),
            ))),
        });
        CbcEncryptStream {
            chain,
            held: Zeroizing::new(Vec::with_capacity(BLOCK_LEN)),
        }
    }

    pub(super) fn cbc_decrypt_stream(&self, iv: &[u8; BLOCK_LEN]) -> CbcDecryptStream {
        let chain = clear_stack_after(|| match self {
            Self::Aes128(key) => DecryptChain::Aes128(Box::new(cbc::Decryptor::inner_iv_init(
                (**key).clone(),
                iv.into(),
            ))),
            Self::Aes256(key) => DecryptChain::Aes256(Box::new(cbc::Decryptor::inner_iv_init(
                (**key).clone(),
                iv.into(),
            ))),
        });
        CbcDecryptStream {
            chain,
            held: Vec::with_capacity(BLOCK_LEN),
        }
    }
}

type KeyStream<C> = StreamCipherCoreWrapper<CtrCore<C, Ctr128BE>>;

/// A key stream of AES-CTR.
pub(super) enum CtrStream {
    Aes128(Box<KeyStream<Aes128>>),
    Aes256(Box<KeyStream<Aes256>>),
}

impl CtrStream {
    /// Encrypts or decrypts the next piece.
    pub(super) fn update(&mut self, piece: &[u8], output: &mut Vec<u8>) {
        let appended = append(output, &[piece]);
        match self {
            Self::Aes128(stream) => stream.unchecked_apply_keystream_inout(appended.into()),
            Self::Aes256(stream) => stream.unchecked_apply_keystream_inout(appended.into()),
        }
    }
}

/// A chain of AES-CBC that encrypts; the bytes of a block that is not whole are held back.
pub(super) struct CbcEncryptStream {
    chain: EncryptChain,
    held: Zeroizing<Vec<u8>>,
}

enum EncryptChain {
    Aes128(Box<cbc::Encryptor<Aes128>>),
    Aes256(Box<cbc::Encryptor<Aes256>>),
}

impl CbcEncryptStream {
    pub(super) fn update(&mut self, piece: &[u8], output: &mut Vec<u8>) {
        let total = self.held.len().saturating_add(piece.len());
        let ready = total.saturating_sub(total % BLOCK_LEN);
        let Some((now, later)) = piece.split_at_checked(ready.saturating_sub(self.held.len())) else {
            return;
        };
        if ready > 0 {
            let blocks = as_blocks(append(output, &[&self.held, now]));
            match &mut self.chain {
                EncryptChain::Aes128(chain) => chain.encrypt_blocks(blocks),
                EncryptChain::Aes256(chain) => chain.encrypt_blocks(blocks),
            }
            self.held.clear();
        }
        self.held.extend_from_slice(later);
    }

    /// The chain is used where it is: what is moved out of a box leaves its bytes there, and nobody wipes them.
    pub(super) fn finish(mut self, output: &mut Vec<u8>) -> Result<(), CryptoError> {
        let last = append(output, &[&self.held, &[0; BLOCK_LEN]]);
        let (last, _room) = last.split_at_mut(BLOCK_LEN);
        if self.held.len() >= BLOCK_LEN {
            return Err(CryptoError::Internal("AES-CBC"));
        }
        Pkcs7::raw_pad(last, self.held.len());
        let last = as_blocks(last);
        match &mut self.chain {
            EncryptChain::Aes128(chain) => chain.encrypt_blocks(last),
            EncryptChain::Aes256(chain) => chain.encrypt_blocks(last),
        }
        output.truncate(output.len().saturating_sub(self.held.len()));
        Ok(())
    }
}

/// A chain of AES-CBC that decrypts; the last block so far is held back, since it may be the padding.
pub(super) struct CbcDecryptStream {
    chain: DecryptChain,
    held: Vec<u8>,
}

enum DecryptChain {
    Aes128(Box<cbc::Decryptor<Aes128>>),
    Aes256(Box<cbc::Decryptor<Aes256>>),
}

impl CbcDecryptStream {
    pub(super) fn update(&mut self, piece: &[u8], output: &mut Vec<u8>) {
        let total = self.held.len().saturating_add(piece.len());
        let before_last = total.saturating_sub(1);
        let ready = before_last.saturating_sub(before_last % BLOCK_LEN);
        let Some((now, later)) = piece.split_at_checked(ready.saturating_sub(self.held.len())) else {
            return;
        };
        if ready > 0 {
            let blocks = as_blocks(append(output, &[&self.held, now]));
            match &mut self.chain {
                DecryptChain::Aes128(chain) => chain.decrypt_blocks(blocks),
                DecryptChain::Aes256(chain) => chain.decrypt_blocks(blocks),
            }
            self.held.clear();
        }
        self.held.extend_from_slice(later);
    }

    /// The chain is used where it is, as that which encrypts. Wrong length and wrong padding are one error.
    pub(super) fn finish(mut self, output: &mut Vec<u8>) -> Result<(), CryptoError> {
        let mut last = Zeroizing::new(core::mem::take(&mut self.held));
        if last.len() != BLOCK_LEN {
            return Err(CryptoError::NotOpened);
        }
        let blocks = as_blocks(&mut last);
        match &mut self.chain {
            DecryptChain::Aes128(chain) => chain.decrypt_blocks(blocks),
            DecryptChain::Aes256(chain) => chain.decrypt_blocks(blocks),
        }
        let plaintext = Pkcs7::raw_unpad(&last).map_err(|_| CryptoError::NotOpened)?;
        output.extend_from_slice(plaintext);
        Ok(())
    }
}

/// Does what puts round keys on the stack on their way into a box, and overwrites what it left there: what is built
/// next may be moved to the heap with whatever lies between its fields.
fn clear_stack_after<T>(make: impl FnOnce() -> T) -> T {
    #[inline(never)]
    fn apart<T>(make: impl FnOnce() -> T) -> T {
        make()
    }
    let made = apart(make);
    zeroize_stack::<4096>();
    made
}

/// Appends `parts` to `output`, which grows once, and returns them.
pub(super) fn append<'a>(output: &'a mut Vec<u8>, parts: &[&[u8]]) -> &'a mut [u8] {
    let before = output.len();
    output.reserve(parts.iter().fold(0, |sum, part| part.len().saturating_add(sum)));
    parts.iter().for_each(|part| output.extend_from_slice(part));
    output.split_at_mut(before).1
}

fn key_stream<C>(cipher: C, start: &[u8; BLOCK_LEN]) -> KeyStream<C>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    StreamCipherCoreWrapper::from_core(CtrCore::inner_iv_init(cipher, start.into()))
}

fn pad<C>(chain: cbc::Encryptor<C>, buffer: &mut [u8], len: usize) -> Result<(), CryptoError>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    chain
        .encrypt_padded::<Pkcs7>(buffer, len)
        .map(|_| ())
        .map_err(|_| CryptoError::Internal("AES-CBC"))
}

/// Wrong length and wrong padding are one error with all that can be wrong.
fn unpad<C>(chain: cbc::Decryptor<C>, buffer: &mut [u8]) -> Result<usize, CryptoError>
where
    C: BlockCipherDecrypt + BlockSizeUser<BlockSize = U16>,
{
    chain
        .decrypt_padded::<Pkcs7>(buffer)
        .map(|plaintext| plaintext.len())
        .map_err(|_| CryptoError::NotOpened)
}

fn as_blocks(bytes: &mut [u8]) -> &mut [Block] {
    let (blocks, _none) = bytes.as_chunks_mut();
    Array::<u8, U16>::cast_slice_from_core_mut(blocks)
}
