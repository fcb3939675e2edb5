//! What an application asks of its client: to prepare a key, to keep it up, to close it.

use keyward_crypto::exchange::{Algorithm, Operation};
use keyward_license::ids::Kid;
use rand_core::CryptoRng;

use super::{Asked, Decryptor, Encryptor, Prepared, Signer, Unwrapper, Verifier, Wrapper};
use crate::{Client, acquire::Wanted, device::KeyStore, flow::Flow, session::Acquisition};

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// Prepares the key that encrypts under this key id: looks in the store and, if `acquisition` permits, acquires
    /// what is missing. With an `algorithm` it is the key of that one, be it this key id's or one beside it; without,
    /// the key id's own. The key is released for this one operation, see [`key_exchange`](super).
    ///
    /// The flow ends with [`ClientError::WrongOperation`](crate::ClientError::WrongOperation) or [`ClientError::WrongAlgorithm`](crate::ClientError::WrongAlgorithm) if the license permits
    /// another, and with [`ClientError::NotAnExchangeKey`](crate::ClientError::NotAnExchangeKey) for a key of content.
    pub fn prepare_encryptor(
        &mut self,
        kid: Kid,
        algorithm: Option<Algorithm>,
        wanted: Wanted,
        acquisition: Acquisition,
    ) -> Flow<'_, Encryptor> {
        let asked = Asked::new(kid, algorithm, Operation::Encrypt);
        Flow::new(move |io| async move { self.run_prepare(&io, asked, wanted, acquisition).await })
    }

    /// Prepares the key that decrypts, as [`Client::prepare_encryptor`] does the one that encrypts.
    pub fn prepare_decryptor(
        &mut self,
        kid: Kid,
        algorithm: Option<Algorithm>,
        wanted: Wanted,
        acquisition: Acquisition,
    ) -> Flow<'_, Decryptor> {
        let asked = Asked::new(kid, algorithm, Operation::Decrypt);
        Flow::new(move |io| async move { self.run_prepare(&io, asked, wanted, acquisition).await })
    }

    /// Prepares the key that signs, as [`Client::prepare_encryptor`] does the one that encrypts.
    pub fn prepare_signer(
        &mut self,
        kid: Kid,
        algorithm: Option<Algorithm>,
        wanted: Wanted,
        acquisition: Acquisition,
    ) -> Flow<'_, Signer> {
        let asked = Asked::new(kid, algorithm, Operation::Sign);
        Flow::new(move |io| async move { self.run_prepare(&io, asked, wanted, acquisition).await })
    }

    /// Prepares the key that verifies, as [`Client::prepare_encryptor`] does the one that encrypts.
    pub fn prepare_verifier(
        &mut self,
        kid: Kid,
        algorithm: Option<Algorithm>,
        wanted: Wanted,
        acquisition: Acquisition,
    ) -> Flow<'_, Verifier> {
        let asked = Asked::new(kid, algorithm, Operation::Verify);
        Flow::new(move |io| async move { self.run_prepare(&io, asked, wanted, acquisition).await })
    }

    /// Prepares the key that wraps, as [`Client::prepare_encryptor`] does the one that encrypts.
    pub fn prepare_wrapper(
        &mut self,
        kid: Kid,
        algorithm: Option<Algorithm>,
        wanted: Wanted,
        acquisition: Acquisition,
    ) -> Flow<'_, Wrapper> {
        let asked = Asked::new(kid, algorithm, Operation::Wrap);
        Flow::new(move |io| async move { self.run_prepare(&io, asked, wanted, acquisition).await })
    }

    /// Prepares the key that unwraps, as [`Client::prepare_encryptor`] does the one that encrypts.
    pub fn prepare_unwrapper(
        &mut self,
        kid: Kid,
        algorithm: Option<Algorithm>,
        wanted: Wanted,
        acquisition: Acquisition,
    ) -> Flow<'_, Unwrapper> {
        let asked = Asked::new(kid, algorithm, Operation::Unwrap);
        Flow::new(move |io| async move { self.run_prepare(&io, asked, wanted, acquisition).await })
    }

    /// judges a prepared key with what the client and its host know now, stores the clock's
    /// floor, and records further uses if those that were are made. Whoever performs calls it whenever
    /// [`Prepared::holds`] says no.
    ///
    /// If the license does not permit any use, or was removed, the key is wiped and the flow ends with the reason.
    pub fn keep_up<'a, T>(&'a mut self, prepared: &'a Prepared<T>) -> Flow<'a, ()> {
        Flow::new(move |io| async move { self.run_keep_up(&io, prepared).await })
    }

    /// Wipes a prepared key, at once, and then gives back the uses that were recorded and not made. A handle
    /// that is dropped is wiped as well, and its recorded uses count as made.
    pub fn close<T>(&mut self, prepared: Prepared<T>) -> Flow<'_, ()> {
        let rest = prepared.wind_up();
        Flow::new(move |io| async move { self.run_close(&io, rest).await })
    }
}
