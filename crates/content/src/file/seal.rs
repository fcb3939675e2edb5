//! Sealing the chunks of a new file.

use keyward_crypto::{
    ContentKey,
    stream::{ChunkCipher, TAG_LEN},
};
use rand_core::CryptoRng;

use super::{ChunkSize, FileError, FileHeader};

/// Seals the chunks of one new file, from any number of threads.
#[derive(Debug)]
pub struct Sealer {
    cipher: ChunkCipher,
    chunk_size: ChunkSize,
    prefix: Vec<u8>,
}

impl Sealer {
    /// Starts a file: draws its salt, derives its keys, and hands out the positions of its chunks.
    ///
    /// # Errors
    /// [`FileError`] if a field of `header` breaks its rule.
    pub fn new(
        content_key: &ContentKey,
        header: &FileHeader,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, Positions), FileError> {
        let (prefix, keys) = header.lock(content_key, rng)?;
        let cipher = keys.into_cipher().map_err(FileError::Crypto)?;
        let positions = Positions {
            next: 0,
            limit: header.chunk_size.max_chunks(),
        };
        Ok((
            Self {
                cipher,
                chunk_size: header.chunk_size,
                prefix,
            },
            positions,
        ))
    }

    /// Everything before the first chunk; the embedded license store is zero.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Plaintext bytes in a full chunk.
    #[must_use]
    pub const fn chunk_len(&self) -> usize {
        self.chunk_size.bytes()
    }

    /// Bytes of a full chunk in the file.
    #[must_use]
    pub const fn sealed_len(&self) -> usize {
        self.chunk_size.bytes() + TAG_LEN
    }

    /// Seals the chunk at `position` in place: `buffer` holds the plaintext followed by 16 bytes of room
    /// for the tag.
    ///
    /// # Errors
    /// [`FileError::ChunkLength`] unless a chunk before the last is full, and the last one is not more
    /// than full and not empty, except in an empty file.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a position is used up, so that no two chunks share it"
    )]
    pub fn seal(&self, position: Position, buffer: &mut [u8]) -> Result<(), FileError> {
        let len = buffer.len().saturating_sub(TAG_LEN);
        let Position { index, last } = position;
        let fits = if last {
            len <= self.chunk_len() && (len > 0 || index == 0)
        } else {
            len == self.chunk_len()
        };
        if !fits || buffer.len() < TAG_LEN {
            return Err(FileError::ChunkLength(len));
        }
        self.cipher.seal(index, last, buffer).map_err(FileError::Crypto)
    }
}

/// The positions of the chunks of one file, each given out once: to seal two chunks at one position
/// would give both away.
#[derive(Debug)]
pub struct Positions {
    next: u64,
    limit: u64,
}

impl Positions {
    /// The position of the next full chunk, which is not the last.
    ///
    /// # Errors
    /// [`FileError::TooLarge`] where only a last chunk fits.
    pub const fn full(&mut self) -> Result<Position, FileError> {
        let index = self.next;
        let after = index.saturating_add(1);
        if after >= self.limit {
            return Err(FileError::TooLarge);
        }
        self.next = after;
        Ok(Position { index, last: false })
    }

    /// The position of the last chunk.
    #[must_use]
    pub const fn last(self) -> Position {
        Position {
            index: self.next,
            last: true,
        }
    }
}

/// Where one chunk stands in its file. Only for the [`Sealer`] that it was made with.
#[derive(Debug, PartialEq, Eq)]
pub struct Position {
    index: u64,
    last: bool,
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;
    use crate::file::tests::{KEY, header};

    fn sealer() -> (Sealer, Positions) {
        let header = FileHeader {
            chunk_size: ChunkSize::from_log2(12).unwrap(),
            ..header()
        };
        Sealer::new(
            &ContentKey::new(KEY),
            &header,
            &mut ChaCha20Rng::from_seed([1; 32]),
        )
        .unwrap()
    }

    #[test]
    fn chunk_lengths_are_checked() {
        for (index, last, len, accepted) in [
            (0, false, 4096, true),
            (0, false, 4095, false),
            (0, false, 4097, false),
            (0, true, 0, true),
            (1, true, 0, false),
            (1, true, 1, true),
            (1, true, 4096, true),
            (1, true, 4097, false),
        ] {
            let sealed = sealer()
                .0
                .seal(Position { index, last }, &mut vec![0; len + TAG_LEN]);
            let expected = if accepted {
                Ok(())
            } else {
                Err(FileError::ChunkLength(len))
            };
            assert_eq!(sealed, expected, "chunk {index}, last {last}, {len} bytes");
        }
        let (sealer, positions) = sealer();
        assert_eq!(
            sealer.seal(positions.last(), &mut [0; 15]),
            Err(FileError::ChunkLength(0))
        );
    }

    #[test]
    fn positions_are_given_out_once_and_end_at_the_limit() {
        let (_, mut positions) = sealer();
        assert_eq!(
            positions.full(),
            Ok(Position {
                index: 0,
                last: false
            })
        );
        assert_eq!(
            positions.full(),
            Ok(Position {
                index: 1,
                last: false
            })
        );
        assert_eq!(positions.last(), Position { index: 2, last: true });
        let mut positions = Positions { next: 3, limit: 5 };
        assert_eq!(
            positions.full(),
            Ok(Position {
                index: 3,
                last: false
            })
        );
        assert_eq!(positions.full(), Err(FileError::TooLarge));
        assert_eq!(positions.last(), Position { index: 4, last: true });
    }

    #[test]
    fn chunks_times_size_stay_within_the_limit() {
        for log2 in 12..=24 {
            let size = ChunkSize::from_log2(log2).unwrap();
            let most = size.max_chunks() * size.bytes() as u64;
            assert!(most <= super::super::MAX_FILE_LEN && size.max_chunks() <= 1 << 32);
        }
        assert_eq!(ChunkSize::default().max_chunks(), 1 << 32);
        assert_eq!(ChunkSize::from_log2(24).unwrap().max_chunks(), 1 << 24);
    }
}
