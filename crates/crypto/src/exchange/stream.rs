//! Encrypting and decrypting messages of any size, piece by piece, in flat memory.

use core::fmt;

use rand_core::CryptoRng;

use super::{
    Counted,
    block::{Aes, BLOCK_LEN, CbcDecryptStream, CbcEncryptStream, CtrStream},
    chunked::{ChunkOpener, ChunkSealer},
};
use crate::{CryptoError, SecretBytes};

/// A message that is being encrypted, see [`Encryptor::stream`](super::Encryptor::stream). It holds what
/// it needs of the key until it is dropped.
pub struct StreamEncryptor {
    counted: Counted,
    /// What is put out before the first ciphertext.
    start: Vec<u8>,
    state: Option<Sealing>,
}

enum Sealing {
    Chunked(ChunkSealer),
    Cbc(CbcEncryptStream),
    Ctr(CtrStream),
}

impl StreamEncryptor {
    /// Encrypts the next piece, of any length, and appends what is ready to `output`.
    ///
    /// # Errors
    /// [`CryptoError::LimitReached`] above [`MAX_STREAM`](super::MAX_STREAM) bytes or 2^32 chunks. After
    /// an error the key is gone and every later call fails.
    pub fn update(&mut self, piece: &[u8], output: &mut Vec<u8>) -> Result<(), CryptoError> {
        let counted = self.counted.add(piece);
        let Some(state) = self.state.as_mut() else {
            return Err(OVER);
        };
        output.append(&mut self.start);
        let result = counted.and_then(|()| match state {
            Sealing::Chunked(sealer) => sealer.update(piece, output),
            Sealing::Cbc(chain) => {
                chain.update(piece, output);
                Ok(())
            }
            Sealing::Ctr(stream) => {
                stream.update(piece, output);
                Ok(())
            }
        });
        if result.is_err() {
            self.state = None;
        }
        result
    }

    /// Ends the message and appends the rest of it to `output`.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn finish(mut self, output: &mut Vec<u8>) -> Result<(), CryptoError> {
        let state = self.state.take().ok_or(OVER)?;
        output.append(&mut self.start);
        match state {
            Sealing::Chunked(sealer) => sealer.finish(output),
            Sealing::Cbc(chain) => chain.finish(output),
            Sealing::Ctr(_) => Ok(()),
        }
    }
}

impl fmt::Debug for StreamEncryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamEncryptor(redacted)")
    }
}

/// A message that is being decrypted, see [`Decryptor::stream`](super::Decryptor::stream). It holds what
/// it needs of the key until it is dropped.
///
/// The message is whole only when [`finish`](Self::finish) has said so: what came out before is verified
/// piece by piece (with a GCM key), but its end may still be missing.
///
/// The plaintext goes to a buffer of the caller. Empty it piece by piece, or give it room beforehand: a
/// buffer that grows leaves a copy behind.
pub struct StreamDecryptor {
    counted: Counted,
    state: Option<Opening>,
}

enum Opening {
    Chunked(ChunkOpener),
    /// Before the IV or first counter block is whole.
    Start(Aes, Mode, Vec<u8>),
    Cbc(CbcDecryptStream),
    Ctr(CtrStream),
}

#[derive(Clone, Copy)]
enum Mode {
    Cbc,
    Ctr,
}

impl StreamDecryptor {
    /// Takes the next piece, of any length, and appends the plaintext that is ready to `output`.
    ///
    /// # Errors
    /// [`CryptoError::NotOpened`] for a wrong key, prefix or `aad`, and for altered, removed, repeated or
    /// reordered bytes; [`CryptoError::MalformedStream`] for a header of another form;
    /// [`CryptoError::LimitReached`] above [`MAX_STREAM`](super::MAX_STREAM) bytes. After an error the
    /// key is gone and every later call fails.
    pub fn update(&mut self, piece: &[u8], output: &mut Vec<u8>) -> Result<(), CryptoError> {
        let counted = self.counted.add(piece);
        let Some(state) = self.state.as_mut() else {
            return Err(CryptoError::NotOpened);
        };
        let result = counted.and_then(|()| state.update(piece, output));
        if result.is_err() {
            self.state = None;
        }
        result
    }

    /// Ends the message: appends the rest of the plaintext to `output` and says that it was whole.
    ///
    /// # Errors
    /// As [`update`](Self::update), and [`CryptoError::NotOpened`] for a message without its end or, with
    /// CBC, with wrong padding. With CTR a missing end is not noticed.
    pub fn finish(mut self, output: &mut Vec<u8>) -> Result<(), CryptoError> {
        match self.state.take() {
            Some(Opening::Chunked(opener)) => opener.finish(output),
            Some(Opening::Cbc(chain)) => chain.finish(output),
            Some(Opening::Ctr(_)) => Ok(()),
            Some(Opening::Start(..)) | None => Err(CryptoError::NotOpened),
        }
    }
}

impl fmt::Debug for StreamDecryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamDecryptor(redacted)")
    }
}

impl Opening {
    fn update(&mut self, mut piece: &[u8], output: &mut Vec<u8>) -> Result<(), CryptoError> {
        if let Self::Start(aes, mode, start) = self {
            let room = BLOCK_LEN.saturating_sub(start.len()).min(piece.len());
            let (now, rest) = piece.split_at(room);
            start.extend_from_slice(now);
            piece = rest;
            let Some(whole) = start.first_chunk() else {
                return Ok(());
            };
            *self = match mode {
                Mode::Cbc => Self::Cbc(aes.cbc_decrypt_stream(whole)),
                Mode::Ctr => Self::Ctr(aes.ctr_stream(whole)),
            };
        }
        match self {
            Self::Chunked(opener) => opener.update(piece, output)?,
            Self::Cbc(chain) => chain.update(piece, output),
            Self::Ctr(stream) => stream.update(piece, output),
            Self::Start(..) => {}
        }
        Ok(())
    }
}

const OVER: CryptoError = CryptoError::LimitReached("bytes of a stream");

pub(super) fn encrypt_chunked(
    key: &SecretBytes,
    aad: &[u8],
    prefix: &[u8],
    log2: u8,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<StreamEncryptor, CryptoError> {
    let (sealer, header) = ChunkSealer::new(key, aad, prefix, log2, rng)?;
    Ok(encrypt(prefix, &header, Sealing::Chunked(sealer)))
}

pub(super) fn encrypt_cbc(aes: &Aes, prefix: &[u8], iv: &[u8; BLOCK_LEN]) -> StreamEncryptor {
    encrypt(prefix, iv, Sealing::Cbc(aes.cbc_encrypt_stream(iv)))
}

pub(super) fn encrypt_ctr(aes: &Aes, prefix: &[u8], start: &[u8; BLOCK_LEN]) -> StreamEncryptor {
    encrypt(prefix, start, Sealing::Ctr(aes.ctr_stream(start)))
}

fn encrypt(prefix: &[u8], start: &[u8], state: Sealing) -> StreamEncryptor {
    StreamEncryptor {
        counted: Counted::MESSAGE,
        start: [prefix, start].concat(),
        state: Some(state),
    }
}

pub(super) fn decrypt_chunked(key: &SecretBytes, aad: &[u8], prefix: &[u8]) -> StreamDecryptor {
    decrypt(Opening::Chunked(ChunkOpener::new(key, aad, prefix)))
}

pub(super) fn decrypt_cbc(aes: Aes) -> StreamDecryptor {
    decrypt(Opening::Start(aes, Mode::Cbc, Vec::with_capacity(BLOCK_LEN)))
}

pub(super) fn decrypt_ctr(aes: Aes) -> StreamDecryptor {
    decrypt(Opening::Start(aes, Mode::Ctr, Vec::with_capacity(BLOCK_LEN)))
}

const fn decrypt(state: Opening) -> StreamDecryptor {
    StreamDecryptor {
        counted: Counted::OUTPUT,
        state: Some(state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_is_too_long_is_over() {
        let limit = CryptoError::LimitReached("bytes of a stream");
        let aes = Aes::new(&[1; 16]).unwrap();
        let mut output = Vec::new();
        let mut stream = encrypt_ctr(&aes, b"", &[0; 16]);
        stream.counted.bytes = stream.counted.limit;
        assert_eq!(stream.update(b"a", &mut output), Err(limit));
        assert_eq!(stream.update(b"", &mut output), Err(limit));
        assert_eq!(stream.finish(&mut output), Err(limit));

        let mut output = Vec::new();
        let mut stream = decrypt_ctr(aes);
        stream.update(&[0; 16], &mut output).unwrap();
        stream.counted.bytes = stream.counted.limit;
        assert_eq!(stream.update(b"a", &mut output), Err(limit));
        assert!(stream.state.is_none());
        assert_eq!(stream.finish(&mut output), Err(CryptoError::NotOpened));
        assert!(output.is_empty());
    }
}
