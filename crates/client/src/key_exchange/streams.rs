//! Messages that come in pieces: the license is judged at every one, the use is taken at the beginning.

use core::marker::PhantomData;

use keyward_license::key_exchange::{self, ExchangeError};
use zeroize::zeroize_stack;

use super::{Inner, PerformError, STACK_OF_CALL, flows::Tool};
use crate::locked::Locked;
use crate::{device::STACK, flow::Moment};

/// A message that is being encrypted.
pub type EncryptStream<'k> = Stream<'k, key_exchange::Encryptor, key_exchange::StreamEncryptor>;
/// The result of a stream that is being decrypted. With GCM every byte that comes out was verified in its place, and
/// `finish` says that it was the whole; with CBC and CTR nothing is verified.
pub type DecryptStream<'k> = Stream<'k, key_exchange::Decryptor, key_exchange::StreamDecryptor>;
/// A message that is being signed.
pub type SignStream<'k> = Stream<'k, key_exchange::Signer, key_exchange::StreamSigner>;
/// A message that is being verified.
pub type VerifyStream<'k> = Stream<'k, key_exchange::Verifier, key_exchange::StreamVerifier>;

/// A message that comes in pieces, under a prepared key. What it holds of the key is wiped when it ends, fails, is
/// dropped, or comes to a piece that the license does not permit.
pub struct Stream<'k, T, S> {
    key: &'k Inner,
    state: Locked<S>,
    operation: PhantomData<fn() -> T>,
}

impl<'k, T, S> Stream<'k, T, S> {
    /// One use of the key.
    pub(super) fn begin(
        key: &'k Inner,
        moment: Moment,
        begin: impl FnOnce(&T) -> Result<S, ExchangeError>,
    ) -> Result<Self, PerformError>
    where
        T: Tool,
    {
        let mut state = Locked::empty(&*key.memory);
        key.perform(moment, |tool: &T| {
            state.put(begin(tool)?);
            Ok(())
        })?;
        key.state().streams += 1;
        Ok(Self {
            key,
            state,
            operation: PhantomData,
        })
    }

    /// One piece, or the end.
    fn go_on<V>(
        &mut self,
        moment: Moment,
        go_on: impl FnOnce(&mut Locked<S>) -> Option<Result<V, ExchangeError>>,
    ) -> Result<V, PerformError> {
        let outcome = self.go_on_uncleared(moment, go_on);
        if outcome.is_err() {
            self.state.take();
            zeroize_stack::<STACK>();
        } else {
            zeroize_stack::<STACK_OF_CALL>();
        }
        outcome
    }

    #[inline(never)]
    fn go_on_uncleared<V>(
        &mut self,
        moment: Moment,
        go_on: impl FnOnce(&mut Locked<S>) -> Option<Result<V, ExchangeError>>,
    ) -> Result<V, PerformError> {
        self.key.permit_piece(moment)?;
        let operation = self.key.about.operation;
        go_on(&mut self.state)
            .unwrap_or(Err(ExchangeError::Failed(operation)))
            .map_err(PerformError::from)
    }
}

impl<T, S> Drop for Stream<'_, T, S> {
    fn drop(&mut self) {
        self.state.take();
        zeroize_stack::<STACK>();
        self.key.state().streams -= 1;
    }
}

/// Without the key.
impl<T, S> core::fmt::Debug for Stream<'_, T, S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Stream")
            .field("kid", &self.key.about.kid)
            .field("operation", &self.key.about.operation)
            .finish_non_exhaustive()
    }
}

impl EncryptStream<'_> {
    /// Encrypts the next piece, of any length, and appends to `output` what is ready of the result.
    ///
    /// # Errors
    /// [`PerformError`], as of every method here. After one nothing more comes of the stream.
    pub fn update(&mut self, moment: Moment, piece: &[u8], output: &mut Vec<u8>) -> Result<(), PerformError> {
        self.go_on(moment, |state| {
            state.get_mut().map(|stream| stream.update(piece, output))
        })
    }

    /// Appends the rest of the result to `output`.
    ///
    /// # Errors
    /// [`PerformError`].
    pub fn finish(mut self, moment: Moment, output: &mut Vec<u8>) -> Result<(), PerformError> {
        self.go_on(moment, |state| state.take().map(|stream| stream.finish(output)))
    }
}

impl DecryptStream<'_> {
    /// Takes the next piece of the result, of any length, and appends to `output` the plaintext that is ready.
    ///
    /// # Errors
    /// [`PerformError`].
    pub fn update(&mut self, moment: Moment, piece: &[u8], output: &mut Vec<u8>) -> Result<(), PerformError> {
        self.go_on(moment, |state| {
            state.get_mut().map(|stream| stream.update(piece, output))
        })
    }

    /// Appends the rest of the plaintext to `output`, and says that the result was whole. With CTR a missing end is not
    /// noticed.
    ///
    /// # Errors
    /// [`PerformError`].
    pub fn finish(mut self, moment: Moment, output: &mut Vec<u8>) -> Result<(), PerformError> {
        self.go_on(moment, |state| state.take().map(|stream| stream.finish(output)))
    }
}

impl SignStream<'_> {
    /// Takes the next piece of the message.
    ///
    /// # Errors
    /// [`PerformError`].
    pub fn update(&mut self, moment: Moment, piece: &[u8]) -> Result<(), PerformError> {
        self.go_on(moment, |state| state.get_mut().map(|stream| stream.update(piece)))
    }

    /// The result: the same as of the message in memory.
    ///
    /// # Errors
    /// [`PerformError`].
    pub fn finish(mut self, moment: Moment) -> Result<Vec<u8>, PerformError> {
        self.go_on(moment, |state| {
            state.take().map(key_exchange::StreamSigner::finish)
        })
    }
}

impl VerifyStream<'_> {
    /// Takes the next piece of the message.
    ///
    /// # Errors
    /// [`PerformError`].
    pub fn update(&mut self, moment: Moment, piece: &[u8]) -> Result<(), PerformError> {
        self.go_on(moment, |state| state.get_mut().map(|stream| stream.update(piece)))
    }

    /// Says whether the result was made of this message.
    ///
    /// # Errors
    /// [`PerformError`]: it was not.
    pub fn finish(mut self, moment: Moment) -> Result<(), PerformError> {
        self.go_on(moment, |state| {
            state.take().map(key_exchange::StreamVerifier::finish)
        })
    }
}
