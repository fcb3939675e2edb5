//! Results and messages that come piece by piece, in flat memory.

use keyward_crypto::{
    CryptoError,
    exchange::{self, Operation},
};
use zeroize::Zeroizing;

use super::{ExchangeError, VERSION_LEN};

/// A message that is being encrypted, see [`Encryptor::stream`](super::Encryptor::stream).
#[derive(Debug)]
pub struct StreamEncryptor(exchange::StreamEncryptor);

impl StreamEncryptor {
    pub(super) const fn new(stream: exchange::StreamEncryptor) -> Self {
        Self(stream)
    }

    /// Encrypts the next piece, of any length, and appends to `output` what is ready of the result.
    ///
    /// # Errors
    /// [`ExchangeError::LongStream`]. After an error the key is gone.
    pub fn update(&mut self, piece: &[u8], output: &mut Vec<u8>) -> Result<(), ExchangeError> {
        self.0.update(piece, output).map_err(of(Operation::Encrypt))
    }

    /// Appends the rest of the result to `output`.
    ///
    /// # Errors
    /// As [`StreamEncryptor::update`].
    pub fn finish(self, output: &mut Vec<u8>) -> Result<(), ExchangeError> {
        self.0.finish(output).map_err(of(Operation::Encrypt))
    }
}

/// The result of a stream that is being decrypted, see [`Decryptor::stream`](super::Decryptor::stream).
///
/// With GCM every byte that comes out was verified in its place, and whether it is the whole is known when
/// [`finish`](Self::finish) has said so. With CBC and CTR nothing is verified.
#[derive(Debug)]
pub struct StreamDecryptor {
    state: State,
    held: Vec<u32>,
}

#[derive(Debug)]
enum State {
    /// Before the version is whole: a stream for each that there is, newest first.
    Version {
        begun: Vec<u8>,
        streams: Vec<(u32, exchange::StreamDecryptor)>,
    },
    Known(exchange::StreamDecryptor),
    Failed,
}

impl StreamDecryptor {
    pub(super) fn new(streams: Vec<(u32, exchange::StreamDecryptor)>) -> Self {
        let held = streams.iter().map(|(version, _)| *version).collect();
        let begun = Vec::with_capacity(VERSION_LEN);
        Self {
            state: State::Version { begun, streams },
            held,
        }
    }

    /// Takes the next piece, of any length, and appends to `output` the plaintext that is ready.
    ///
    /// # Errors
    /// V-035: [`ExchangeError::UnknownVersion`], [`ExchangeError::NotAStream`], [`ExchangeError::Failed`];
    /// [`ExchangeError::LongStream`]. After an error the key is gone and every later call fails.
    pub fn update(&mut self, piece: &[u8], output: &mut Vec<u8>) -> Result<(), ExchangeError> {
        let state = core::mem::replace(&mut self.state, State::Failed);
        self.state = self.next(state, piece, output)?;
        Ok(())
    }

    /// Appends the rest of the plaintext to `output`, and says that the result was whole.
    ///
    /// # Errors
    /// As [`update`](Self::update), and V-035: [`ExchangeError::Failed`] or [`ExchangeError::NotAResult`] without its
    /// end. With CTR a missing end is not noticed.
    pub fn finish(self, output: &mut Vec<u8>) -> Result<(), ExchangeError> {
        match self.state {
            State::Known(stream) => stream.finish(output).map_err(of(Operation::Decrypt)),
            State::Version { .. } => Err(ExchangeError::NotAResult),
            State::Failed => Err(ExchangeError::Failed(Operation::Decrypt)),
        }
    }

    fn next(&self, state: State, piece: &[u8], output: &mut Vec<u8>) -> Result<State, ExchangeError> {
        let (mut stream, piece) = match state {
            State::Known(stream) => (stream, piece),
            State::Version { mut begun, streams } => {
                let missing = VERSION_LEN.saturating_sub(begun.len()).min(piece.len());
                let (version, rest) = piece.split_at(missing);
                begun.extend_from_slice(version);
                let Some(version) = begun.first_chunk::<VERSION_LEN>() else {
                    return Ok(State::Version { begun, streams });
                };
                (self.of_version(u32::from_be_bytes(*version), streams)?, rest)
            }
            State::Failed => return Err(ExchangeError::Failed(Operation::Decrypt)),
        };
        stream.update(piece, output).map_err(of(Operation::Decrypt))?;
        Ok(State::Known(stream))
    }

    /// V-035
    fn of_version(
        &self,
        made_with: u32,
        streams: Vec<(u32, exchange::StreamDecryptor)>,
    ) -> Result<exchange::StreamDecryptor, ExchangeError> {
        let of_version = streams.into_iter().find(|(version, _)| *version == made_with);
        let (_, stream) = of_version.ok_or_else(|| ExchangeError::UnknownVersion {
            made_with,
            held: self.held.clone(),
        })?;
        Ok(stream)
    }
}

/// A message that is being signed, see [`Signer::stream`](super::Signer::stream).
#[derive(Debug)]
pub struct StreamSigner {
    version: [u8; VERSION_LEN],
    stream: exchange::StreamSigner,
}

impl StreamSigner {
    pub(super) const fn new(version: [u8; VERSION_LEN], stream: exchange::StreamSigner) -> Self {
        Self { version, stream }
    }

    /// Takes the next piece of the message.
    ///
    /// # Errors
    /// [`ExchangeError::LongStream`].
    pub fn update(&mut self, piece: &[u8]) -> Result<(), ExchangeError> {
        self.stream.update(piece).map_err(of(Operation::Sign))
    }

    /// The result: the same as of the message in memory.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub fn finish(self) -> Result<Vec<u8>, ExchangeError> {
        let signature = self.stream.finish().map_err(of(Operation::Sign))?;
        Ok([&self.version[..], &signature].concat())
    }
}

/// A message that is being verified, see [`Verifier::stream`](super::Verifier::stream).
#[derive(Debug)]
pub struct StreamVerifier {
    stream: exchange::StreamVerifier,
    signature: Zeroizing<Vec<u8>>,
}

impl StreamVerifier {
    pub(super) fn new(stream: exchange::StreamVerifier, signature: Vec<u8>) -> Self {
        let signature = Zeroizing::new(signature);
        Self { stream, signature }
    }

    /// Takes the next piece of the message.
    ///
    /// # Errors
    /// [`ExchangeError::LongStream`].
    pub fn update(&mut self, piece: &[u8]) -> Result<(), ExchangeError> {
        self.stream.update(piece).map_err(of(Operation::Verify))
    }

    /// Checks that the result was made by signing what came.
    ///
    /// # Errors
    /// V-035: [`ExchangeError::Failed`] if it was not.
    pub fn finish(self) -> Result<(), ExchangeError> {
        self.stream.finish(&self.signature).map_err(of(Operation::Verify))
    }
}

fn of(operation: Operation) -> impl Fn(CryptoError) -> ExchangeError {
    move |error| match error {
        CryptoError::LimitReached(_) => ExchangeError::LongStream,
        other => ExchangeError::of(other, operation),
    }
}
