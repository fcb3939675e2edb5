//! Encrypting and decrypting messages in memory: GCM, CBC and CTR.

use core::fmt;

use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::{
    Algorithm, Material, Operation, StreamDecryptor, StreamEncryptor,
    block::{Aes, BLOCK_LEN, padded_len},
    check_aad, check_message, check_prefix,
    chunked::DEFAULT_CHUNK_LOG2,
    material::{WRONG_ALGORITHM, copy},
    stream,
};
use crate::{
    CryptoError, SecretBytes,
    gcm::{self, NONCE_LEN, TAG_LEN},
};

/// Encrypts messages.
///
/// With random nonces one key may encrypt at most 2^32 messages with GCM (SP 800-38D §8.3), by all its
/// holders together; the caller counts. The same is wise for CBC and CTR.
pub struct Encryptor {
    algorithm: Algorithm,
    key: Key,
}

impl Encryptor {
    /// A handle of material for [`Operation::Encrypt`].
    ///
    /// # Errors
    /// [`CryptoError::NotPermitted`] if the material is for another operation.
    pub fn new(material: &Material) -> Result<Self, CryptoError> {
        let bytes = material.for_operation(Operation::Encrypt)?;
        let algorithm = material.algorithm();
        Ok(Self {
            algorithm,
            key: Key::new(algorithm, bytes)?,
        })
    }

    /// What the key is for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Encrypts `plaintext`: nonce, IV or first counter block (random), then ciphertext, then with GCM the
    /// tag. `aad` is authenticated, not stored, and taken by GCM only.
    ///
    /// # Errors
    /// [`CryptoError::NotPermitted`] for `aad` with another algorithm than GCM;
    /// [`CryptoError::LimitReached`] above [`MAX_MESSAGE`](super::MAX_MESSAGE) or
    /// [`MAX_AAD`](super::MAX_AAD).
    pub fn encrypt(
        &self,
        aad: &[u8],
        plaintext: &[u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Vec<u8>, CryptoError> {
        self.encrypt_into(&[], aad, plaintext, rng)
    }

    /// The same with `prefix` in front, without a second copy. The prefix is not authenticated.
    ///
    /// # Errors
    /// As [`encrypt`](Self::encrypt), and [`CryptoError::LimitReached`] for a prefix above
    /// [`MAX_PREFIX`](super::MAX_PREFIX).
    pub fn encrypt_into(
        &self,
        prefix: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Vec<u8>, CryptoError> {
        check_prefix(prefix)?;
        self.check(aad, plaintext)?;
        // Room for all of it at once: a buffer that grows leaves copies of the plaintext behind.
        let mut output = Vec::with_capacity(
            prefix
                .len()
                .saturating_add(plaintext.len())
                .saturating_add(BLOCK_LEN.saturating_add(TAG_LEN)),
        );
        output.extend_from_slice(prefix);
        let start = Start::random(self.algorithm, rng);
        output.extend_from_slice(start.as_bytes());
        let body = output.len();
        output.extend_from_slice(plaintext);
        if let Key::Cbc(aes) = &self.key {
            output.resize(body.saturating_add(padded_len(plaintext.len())), 0);
            let (_, buffer) = output.split_at_mut(body);
            aes.cbc_encrypt(&start.0, buffer, plaintext.len())?;
        } else {
            let (_, buffer) = output.split_at_mut(body);
            let tag = self.key.encrypt_whole(&start, aad, buffer)?;
            output.extend_from_slice(tag.as_ref().map_or(&[], |tag| &tag[..]));
        }
        Ok(output)
    }

    /// Encrypts `buffer` where it stands, with GCM or CTR. What [`encrypt`](Self::encrypt) would return is
    /// [`Detached::start`], `buffer`, [`Detached::tag`].
    ///
    /// # Errors
    /// As [`encrypt`](Self::encrypt), and [`CryptoError::NotPermitted`] for CBC, whose padding has no room.
    pub fn encrypt_in_place(
        &self,
        aad: &[u8],
        buffer: &mut [u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Detached, CryptoError> {
        self.check(aad, buffer)?;
        let start = Start::random(self.algorithm, rng);
        let tag = self.key.encrypt_whole(&start, aad, buffer)?;
        Ok(Detached { start, tag })
    }

    /// Begins a message that comes piece by piece, with `prefix` in front of the output.
    ///
    /// With CBC and CTR the output is that of [`encrypt_into`](Self::encrypt_into). With GCM it is a
    /// chunked form, so that a reader is never given what it could not verify yet:
    ///
    /// ```text
    ///   prefix ‖ format (1 byte: 1) ‖ salt (32) ‖ log2 of the chunk size (1 byte) ‖ key commitment (32) ‖ chunks
    ///
    ///   binding = SHA-256(format ‖ salt ‖ log2 of the chunk size ‖ prefix ‖ SHA-256(AAD))
    ///   chunk key (32 bytes) = HKDF-SHA256(exchange key, salt, "keyward exchange stream v1 chunk key" ‖ binding)
    ///   key commitment       = HKDF-SHA256(exchange key, salt, "keyward exchange stream v1 key commitment" ‖ binding)
    /// ```
    ///
    /// Each chunk is sealed with AES-256-GCM under the chunk key as in [`crate::stream`]: its nonce says
    /// where it stands and whether it is the last. All but the last are full; the last is empty only if
    /// the message is. `prefix` and `aad` are authenticated.
    ///
    /// ```
    /// use keyward_crypto::exchange::{Algorithm, Decryptor, Encryptor, ExchangeKey, Operation};
    /// # use rand_core::SeedableRng;
    /// # let mut rng = rand_chacha::ChaCha20Rng::from_seed([7; 32]);
    /// let key = ExchangeKey::generate(Algorithm::A128Gcm, &mut rng);
    /// let encryptor = Encryptor::new(&key.material(Operation::Encrypt)?)?;
    /// let mut stream = encryptor.stream(b"log of monday", b"\0\0\0\x01", &mut rng)?;
    /// let mut output = Vec::new();
    /// for line in ["one\n", "two\n"] {
    ///     stream.update(line.as_bytes(), &mut output)?;
    /// }
    /// stream.finish(&mut output)?;
    ///
    /// let (prefix, rest) = output.split_at(4);
    /// let decryptor = Decryptor::new(&key.material(Operation::Decrypt)?)?;
    /// let mut stream = decryptor.stream(b"log of monday", prefix)?;
    /// let mut lines = Vec::new();
    /// for piece in rest.chunks(4096) {
    ///     stream.update(piece, &mut lines)?;
    /// }
    /// stream.finish(&mut lines)?;
    /// assert_eq!(lines, b"one\ntwo\n");
    /// # Ok::<(), keyward_crypto::CryptoError>(())
    /// ```
    ///
    /// # Errors
    /// As [`encrypt_into`](Self::encrypt_into).
    pub fn stream(
        &self,
        aad: &[u8],
        prefix: &[u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<StreamEncryptor, CryptoError> {
        self.stream_with_chunks(aad, prefix, DEFAULT_CHUNK_LOG2, rng)
    }

    /// The same with chunks of 2^`log2` bytes, where `log2` is in [`CHUNK_LOG2`](super::CHUNK_LOG2). The
    /// other side buffers one chunk. CBC and CTR have no chunks and ignore it.
    ///
    /// # Errors
    /// As [`stream`](Self::stream), and [`CryptoError::LimitReached`] for another `log2`.
    pub fn stream_with_chunks(
        &self,
        aad: &[u8],
        prefix: &[u8],
        log2: u8,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<StreamEncryptor, CryptoError> {
        check_prefix(prefix)?;
        check_aad(self.algorithm, aad)?;
        match &self.key {
            Key::Gcm { bytes, .. } => stream::encrypt_chunked(bytes, aad, prefix, log2, rng),
            Key::Cbc(aes) => {
                let start = Start::random(self.algorithm, rng);
                Ok(stream::encrypt_cbc(aes, prefix, &start.0))
            }
            Key::Ctr(aes) => {
                let start = Start::random(self.algorithm, rng);
                Ok(stream::encrypt_ctr(aes, prefix, &start.0))
            }
        }
    }

    fn check(&self, aad: &[u8], plaintext: &[u8]) -> Result<(), CryptoError> {
        check_aad(self.algorithm, aad)?;
        check_message(plaintext.len())
    }
}

impl fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encryptor({}, redacted)", self.algorithm)
    }
}

/// Decrypts what an [`Encryptor`] encrypted.
pub struct Decryptor {
    algorithm: Algorithm,
    key: Key,
}

impl Decryptor {
    /// A handle of material for [`Operation::Decrypt`].
    ///
    /// # Errors
    /// [`CryptoError::NotPermitted`] if the material is for another operation.
    pub fn new(material: &Material) -> Result<Self, CryptoError> {
        let bytes = material.for_operation(Operation::Decrypt)?;
        let algorithm = material.algorithm();
        Ok(Self {
            algorithm,
            key: Key::new(algorithm, bytes)?,
        })
    }

    /// What the key is for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The plaintext of `output`.
    ///
    /// With CBC and CTR it is not authenticated: it may be anything that somebody made of the ciphertext.
    ///
    /// # Errors
    /// [`CryptoError::NotOpened`] for a wrong key, wrong `aad`, altered or short bytes, or wrong padding;
    /// [`CryptoError::NotPermitted`] for `aad` with another algorithm than GCM;
    /// [`CryptoError::LimitReached`] above [`MAX_MESSAGE`](super::MAX_MESSAGE) or
    /// [`MAX_AAD`](super::MAX_AAD).
    pub fn decrypt(&self, aad: &[u8], output: &[u8]) -> Result<SecretBytes, CryptoError> {
        self.check(aad, output)?;
        let (start, body) = Start::read(self.algorithm, output)?;
        let mut buffer = Zeroizing::new(body.to_vec());
        let len = self.key.decrypt(&start, aad, &mut buffer)?;
        buffer.truncate(len);
        Ok(SecretBytes::new(core::mem::take(&mut *buffer)))
    }

    /// Decrypts `output`, the whole of what [`Encryptor::encrypt`] returned, where it stands, and returns
    /// the part of it that is now the plaintext.
    ///
    /// # Errors
    /// As [`decrypt`](Self::decrypt); then nothing of the plaintext is left in `output`.
    pub fn decrypt_in_place<'a>(
        &self,
        aad: &[u8],
        output: &'a mut [u8],
    ) -> Result<&'a mut [u8], CryptoError> {
        self.check(aad, output)?;
        let (start, body) = Start::read(self.algorithm, output)?;
        let begin = output.len().saturating_sub(body.len());
        let (_, body) = output.split_at_mut(begin);
        let len = self.key.decrypt(&start, aad, body)?;
        body.get_mut(..len).ok_or(CryptoError::NotOpened)
    }

    /// Begins the output of [`Encryptor::stream`] that comes piece by piece. `prefix` is what stood in
    /// front of it, and is not put in again.
    ///
    /// What a GCM key decrypts comes out only after it was verified. With CBC and CTR it comes out at once
    /// and is not authenticated.
    ///
    /// # Errors
    /// [`CryptoError::NotPermitted`] for `aad` with another algorithm than GCM;
    /// [`CryptoError::LimitReached`] above [`MAX_AAD`](super::MAX_AAD) or
    /// [`MAX_PREFIX`](super::MAX_PREFIX).
    pub fn stream(&self, aad: &[u8], prefix: &[u8]) -> Result<StreamDecryptor, CryptoError> {
        check_prefix(prefix)?;
        check_aad(self.algorithm, aad)?;
        Ok(match &self.key {
            Key::Gcm { bytes, .. } => stream::decrypt_chunked(bytes, aad, prefix),
            Key::Cbc(aes) => stream::decrypt_cbc(aes.duplicate()),
            Key::Ctr(aes) => stream::decrypt_ctr(aes.duplicate()),
        })
    }

    fn check(&self, aad: &[u8], output: &[u8]) -> Result<(), CryptoError> {
        check_aad(self.algorithm, aad)?;
        check_message(output.len().saturating_sub(overhead(self.algorithm)))
    }
}

impl fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decryptor({}, redacted)", self.algorithm)
    }
}

/// What stands around a message that was encrypted in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detached {
    start: Start,
    tag: Option<[u8; TAG_LEN]>,
}

impl Detached {
    /// What goes in front: the nonce of GCM (12 bytes), the first counter block of CTR (16 bytes).
    #[must_use]
    pub fn start(&self) -> &[u8] {
        self.start.as_bytes()
    }

    /// What goes behind: the tag of GCM (16 bytes), nothing with CTR.
    #[must_use]
    pub fn tag(&self) -> &[u8] {
        self.tag.as_ref().map_or(&[], |tag| &tag[..])
    }
}

/// An expanded key, wiped when it is dropped: see [`gcm`] and `block`.
enum Key {
    /// `bytes` is what a stream derives its chunk key from.
    Gcm {
        cipher: gcm::Cipher,
        bytes: SecretBytes,
    },
    Cbc(Aes),
    Ctr(Aes),
}

impl Key {
    fn new(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, CryptoError> {
        match algorithm {
            Algorithm::A128Gcm | Algorithm::A256Gcm => Ok(Self::Gcm {
                cipher: gcm::Cipher::new(bytes)?,
                bytes: copy(bytes),
            }),
            Algorithm::A128Cbc | Algorithm::A256Cbc => Aes::new(bytes).map(Self::Cbc),
            Algorithm::A128Ctr | Algorithm::A256Ctr => Aes::new(bytes).map(Self::Ctr),
            _ => Err(WRONG_ALGORITHM),
        }
    }

    /// Encrypts with the modes that keep the length.
    fn encrypt_whole(
        &self,
        start: &Start,
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<Option<[u8; TAG_LEN]>, CryptoError> {
        match self {
            Self::Gcm { cipher, .. } => cipher.seal(start.nonce(), aad, buffer).map(Some),
            Self::Ctr(aes) => {
                aes.ctr(&start.0, buffer);
                Ok(None)
            }
            Self::Cbc(_) => Err(CryptoError::NotPermitted(
                "CBC pads the message and does not encrypt in place",
            )),
        }
    }

    /// Decrypts `buffer`, the output behind its start, and returns how many bytes of it are plaintext.
    /// If it does not open, it is wiped.
    fn decrypt(&self, start: &Start, aad: &[u8], buffer: &mut [u8]) -> Result<usize, CryptoError> {
        match self {
            Self::Gcm { cipher, .. } => {
                let (text, tag) = buffer
                    .split_last_chunk_mut::<TAG_LEN>()
                    .ok_or(CryptoError::NotOpened)?;
                cipher.open(start.nonce(), aad, text, tag)?;
                Ok(text.len())
            }
            Self::Cbc(aes) => {
                let len = aes.cbc_decrypt(&start.0, buffer);
                if len.is_err() {
                    buffer.zeroize();
                }
                len
            }
            Self::Ctr(aes) => {
                aes.ctr(&start.0, buffer);
                Ok(buffer.len())
            }
        }
    }
}

/// What an output begins with: an IV or counter block of 16 bytes, or a nonce of 12.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Start([u8; BLOCK_LEN], usize);

impl Start {
    fn random(algorithm: Algorithm, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut start = Self([0; BLOCK_LEN], start_len(algorithm));
        let (used, _) = start.0.split_at_mut(start.1);
        rng.fill_bytes(used);
        start
    }

    fn read(algorithm: Algorithm, output: &[u8]) -> Result<(Self, &[u8]), CryptoError> {
        let len = start_len(algorithm);
        let (start, body) = output.split_at_checked(len).ok_or(CryptoError::NotOpened)?;
        let mut bytes = [0; BLOCK_LEN];
        let (used, _) = bytes.split_at_mut(len);
        used.copy_from_slice(start);
        Ok((Self(bytes, len), body))
    }

    fn as_bytes(&self) -> &[u8] {
        self.0.split_at(self.1).0
    }

    fn nonce(&self) -> [u8; NONCE_LEN] {
        let [nonce @ .., _, _, _, _] = self.0;
        nonce
    }
}

const fn start_len(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::A128Gcm | Algorithm::A256Gcm => NONCE_LEN,
        _ => BLOCK_LEN,
    }
}

/// Most bytes that an output is longer than its plaintext.
const fn overhead(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::A128Gcm | Algorithm::A256Gcm => NONCE_LEN.saturating_add(TAG_LEN),
        Algorithm::A128Cbc | Algorithm::A256Cbc => BLOCK_LEN.saturating_add(BLOCK_LEN),
        _ => BLOCK_LEN,
    }
}
