//! The chunked form in which a GCM key encrypts streams, see [`Encryptor::stream`](super::Encryptor::stream).

use core::ops::RangeInclusive;

use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::{block::append, material::copy};
use crate::{
    CryptoError, SecretBytes, kdf,
    stream::{COMMITMENT_LEN, ChunkCipher, TAG_LEN},
};

/// Bytes of the header that stands before the chunks: format, salt, log2 of the chunk size, commitment.
pub const HEADER_LEN: usize = 66;
/// The chunk sizes there are, as log2 of their bytes: 4 KiB to 1 MiB.
pub const CHUNK_LOG2: RangeInclusive<u8> = 12..=20;
/// The chunk size used unless asked otherwise, as log2 of its bytes: 64 KiB.
pub const DEFAULT_CHUNK_LOG2: u8 = 16;

const FORMAT: u8 = 1;
const SALT_LEN: usize = 32;
const CHUNK_KEY_LABEL: &[u8] = b"keyward exchange stream v1 chunk key";
const COMMITMENT_LABEL: &[u8] = b"keyward exchange stream v1 key commitment";

/// Encrypts the chunks of one message.
pub(super) struct ChunkSealer {
    cipher: ChunkCipher,
    chunk_len: usize,
    index: u64,
    /// At most one chunk, with room for it from the beginning.
    pending: Zeroizing<Vec<u8>>,
}

impl ChunkSealer {
    /// Begins a message; returns the header that goes in front of it too.
    pub(super) fn new(
        key: &SecretBytes,
        aad: &[u8],
        prefix: &[u8],
        log2: u8,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(Self, [u8; HEADER_LEN]), CryptoError> {
        let mut salt = [0; SALT_LEN];
        rng.fill_bytes(&mut salt);
        let chunk_len = chunk_len(log2).ok_or(CryptoError::LimitReached("chunk size"))?;
        let (cipher, commitment) = derive(key.expose(), &salt, log2, prefix, &kdf::sha256(&[aad]))?;
        let mut header = [0; HEADER_LEN];
        let parts = [&[FORMAT][..], &salt, &[log2], &commitment].concat();
        header.copy_from_slice(&parts);
        let sealer = Self {
            cipher,
            chunk_len,
            index: 0,
            pending: Zeroizing::new(Vec::with_capacity(chunk_len)),
        };
        Ok((sealer, header))
    }

    pub(super) fn update(&mut self, mut piece: &[u8], output: &mut Vec<u8>) -> Result<(), CryptoError> {
        while !piece.is_empty() {
            // More follows, so this one is not the last.
            if self.pending.len() == self.chunk_len {
                seal(&self.cipher, &mut self.index, false, &self.pending, output)?;
                self.pending.clear();
            }
            if self.pending.is_empty() && piece.len() > self.chunk_len {
                let (chunk, rest) = piece.split_at(self.chunk_len);
                seal(&self.cipher, &mut self.index, false, chunk, output)?;
                piece = rest;
            } else {
                piece = fill(&mut self.pending, self.chunk_len, piece);
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self, output: &mut Vec<u8>) -> Result<(), CryptoError> {
        seal(&self.cipher, &mut self.index, true, &self.pending, output)
    }
}

/// Decrypts the chunks of one message and gives out what it verified.
pub(super) enum ChunkOpener {
    /// Before the header is whole.
    Header {
        key: SecretBytes,
        prefix: Vec<u8>,
        aad_hash: [u8; 32],
        header: Vec<u8>,
    },
    /// Behind the header.
    Chunks(Chunks),
}

pub(super) struct Chunks {
    cipher: ChunkCipher,
    sealed_len: usize,
    index: u64,
    /// At most one sealed chunk.
    pending: Vec<u8>,
}

impl ChunkOpener {
    pub(super) fn new(key: &SecretBytes, aad: &[u8], prefix: &[u8]) -> Self {
        Self::Header {
            key: copy(key.expose()),
            prefix: prefix.to_vec(),
            aad_hash: kdf::sha256(&[aad]),
            header: Vec::with_capacity(HEADER_LEN),
        }
    }

    pub(super) fn update(&mut self, mut piece: &[u8], output: &mut Vec<u8>) -> Result<(), CryptoError> {
        if let Self::Header {
            key,
            prefix,
            aad_hash,
            header,
        } = self
        {
            piece = fill(header, HEADER_LEN, piece);
            let Some(header) = header.first_chunk::<HEADER_LEN>() else {
                return Ok(());
            };
            let chunks = Chunks::begin(key, aad_hash, prefix, header)?;
            *self = Self::Chunks(chunks);
        }
        match self {
            Self::Chunks(chunks) => chunks.update(piece, output),
            Self::Header { .. } => Ok(()),
        }
    }

    pub(super) fn finish(self, output: &mut Vec<u8>) -> Result<(), CryptoError> {
        match self {
            Self::Chunks(chunks) => chunks.finish(output),
            Self::Header { .. } => Err(CryptoError::NotOpened),
        }
    }
}

impl Chunks {
    /// Reads the header, and refuses another key, prefix or `aad` by its commitment before any chunk.
    fn begin(
        key: &SecretBytes,
        aad_hash: &[u8; 32],
        prefix: &[u8],
        header: &[u8; HEADER_LEN],
    ) -> Result<Self, CryptoError> {
        let [format, rest @ ..] = header;
        let (salt, rest) = rest.split_first_chunk().ok_or(CryptoError::NotOpened)?;
        let [log2, claimed @ ..] = rest else {
            return Err(CryptoError::NotOpened);
        };
        if *format != FORMAT {
            return Err(CryptoError::MalformedStream(
                "it is not an encrypted stream, or of a later format",
            ));
        }
        let chunk_len = chunk_len(*log2).ok_or(CryptoError::MalformedStream("chunk size out of range"))?;
        let (cipher, commitment) = derive(key.expose(), salt, *log2, prefix, aad_hash)?;
        if !kdf::equal_constant_time(&commitment, claimed) {
            return Err(CryptoError::NotOpened);
        }
        let sealed_len = chunk_len.saturating_add(TAG_LEN);
        Ok(Self {
            cipher,
            sealed_len,
            index: 0,
            pending: Vec::with_capacity(sealed_len),
        })
    }

    fn update(&mut self, mut piece: &[u8], output: &mut Vec<u8>) -> Result<(), CryptoError> {
        while !piece.is_empty() {
            // More follows, so this one is not the last.
            if self.pending.len() == self.sealed_len {
                open(&self.cipher, &mut self.index, false, &self.pending, output)?;
                self.pending.clear();
            }
            if self.pending.is_empty() && piece.len() > self.sealed_len {
                let (chunk, rest) = piece.split_at(self.sealed_len);
                open(&self.cipher, &mut self.index, false, chunk, output)?;
                piece = rest;
            } else {
                piece = fill(&mut self.pending, self.sealed_len, piece);
            }
        }
        Ok(())
    }

    fn finish(mut self, output: &mut Vec<u8>) -> Result<(), CryptoError> {
        // An empty last chunk behind others is none of ours: every message has one form.
        if self.index > 0 && self.pending.len() <= TAG_LEN {
            return Err(CryptoError::NotOpened);
        }
        open(&self.cipher, &mut self.index, true, &self.pending, output)
    }
}

/// Seals the next chunk behind `output`, and leaves nothing of it there on failure.
fn seal(
    cipher: &ChunkCipher,
    index: &mut u64,
    last: bool,
    chunk: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), CryptoError> {
    let before = output.len();
    let buffer = append(output, &[chunk, &[0; TAG_LEN]]);
    if let Err(error) = cipher.seal(*index, last, buffer) {
        buffer.zeroize();
        output.truncate(before);
        return Err(error);
    }
    *index = index.saturating_add(1);
    Ok(())
}

/// Opens the next chunk behind `output`, which stays as it was if the chunk is not right.
fn open(
    cipher: &ChunkCipher,
    index: &mut u64,
    last: bool,
    chunk: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), CryptoError> {
    let before = output.len();
    let opened = cipher
        .open(*index, last, append(output, &[chunk]))
        .map(|plaintext| plaintext.len());
    output.truncate(before.saturating_add(*opened.as_ref().unwrap_or(&0)));
    *index = index.saturating_add(1);
    opened.map(|_| ())
}

/// Moves bytes of `piece` to `buffer` until it has `len`; returns the rest.
fn fill<'a>(buffer: &mut Vec<u8>, len: usize, piece: &'a [u8]) -> &'a [u8] {
    let room = len.saturating_sub(buffer.len());
    let (now, rest) = piece.split_at(room.min(piece.len()));
    buffer.extend_from_slice(now);
    rest
}

fn chunk_len(log2: u8) -> Option<usize> {
    CHUNK_LOG2
        .contains(&log2)
        .then(|| 1_usize.checked_shl(log2.into()))
        .flatten()
}

/// Chunk key and commitment, bound to all that must be the same on both sides. Every part but the
/// prefix has a fixed length, so that no two bindings are the same bytes.
fn derive(
    key: &[u8],
    salt: &[u8; SALT_LEN],
    log2: u8,
    prefix: &[u8],
    aad_hash: &[u8; 32],
) -> Result<(ChunkCipher, [u8; COMMITMENT_LEN]), CryptoError> {
    let binding = kdf::sha256(&[&[FORMAT], salt, &[log2], prefix, aad_hash]);
    let info = |label: &[u8]| [label, &binding].concat();
    let chunk_key = kdf::hkdf_sha256::<32>(key, salt, &info(CHUNK_KEY_LABEL))?;
    let commitment = kdf::hkdf_sha256::<COMMITMENT_LEN>(key, salt, &info(COMMITMENT_LABEL))?;
    Ok((ChunkCipher::new(chunk_key.expose())?, *commitment.expose()))
}

#[cfg(test)]
mod tests;
