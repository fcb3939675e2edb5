//! Key exchange on this host: the clock, the random numbers and the store are brought to every call.

use getrandom::SysRng;
use keyward_client::{
    acquire::Wanted,
    enforce::Availability,
    flow::Moment,
    key_exchange::{Decryptor, Encryptor, Prepared, Signer, Unwrapper, Verifier, Wrapper},
    session::Acquisition,
};
use keyward_crypto::{SecretBytes, exchange::Algorithm};
use keyward_license::{ids::Kid, usage_rules::Action};
use rand_core::UnwrapErr;

use crate::{NativeClient, NativeError};

impl NativeClient {
    /// As [`Client::find_for`](keyward_client::Client::find_for).
    ///
    /// # Errors
    /// [`NativeError`], as every method here.
    pub fn find_for(&mut self, action: Action, kid: Kid) -> Result<Availability, NativeError> {
        self.host.drive(self.client.find_for(action, kid))
    }

    /// As [`Client::prepare_encryptor`](keyward_client::Client::prepare_encryptor).
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn prepare_encryptor(
        &mut self,
        kid: Kid,
        algorithm: Option<Algorithm>,
        wanted: Wanted,
        acquisition: Acquisition,
    ) -> Result<Encryptor, NativeError> {
        let flow = self.client.prepare_encryptor(kid, algorithm, wanted, acquisition);
        let outcome = self.host.drive(flow);
        self.told(outcome)
    }

    /// As [`Client::prepare_decryptor`](keyward_client::Client::prepare_decryptor).
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn prepare_decryptor(
        &mut self,
        kid: Kid,
        algorithm: Option<Algorithm>,
        wanted: Wanted,
        acquisition: Acquisition,
    ) -> Result<Decryptor, NativeError> {
        let flow = self.client.prepare_decryptor(kid, algorithm, wanted, acquisition);
        let outcome = self.host.drive(flow);
        self.told(outcome)
    }

    /// As [`Client::prepare_signer`](keyward_client::Client::prepare_signer).
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn prepare_signer(
        &mut self,
        kid: Kid,
        algorithm: Option<Algorithm>,
        wanted: Wanted,
        acquisition: Acquisition,
    ) -> Result<Signer, NativeError> {
        let flow = self.client.prepare_signer(kid, algorithm, wanted, acquisition);
        let outcome = self.host.drive(flow);
        self.told(outcome)
    }

    /// As [`Client::prepare_verifier`](keyward_client::Client::prepare_verifier).
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn prepare_verifier(
        &mut self,
        kid: Kid,
        algorithm: Option<Algorithm>,
        wanted: Wanted,
        acquisition: Acquisition,
    ) -> Result<Verifier, NativeError> {
        let flow = self.client.prepare_verifier(kid, algorithm, wanted, acquisition);
        let outcome = self.host.drive(flow);
        self.told(outcome)
    }

    /// As [`Client::prepare_wrapper`](keyward_client::Client::prepare_wrapper).
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn prepare_wrapper(
        &mut self,
        kid: Kid,
        algorithm: Option<Algorithm>,
        wanted: Wanted,
        acquisition: Acquisition,
    ) -> Result<Wrapper, NativeError> {
        let flow = self.client.prepare_wrapper(kid, algorithm, wanted, acquisition);
        let outcome = self.host.drive(flow);
        self.told(outcome)
    }

    /// As [`Client::prepare_unwrapper`](keyward_client::Client::prepare_unwrapper).
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn prepare_unwrapper(
        &mut self,
        kid: Kid,
        algorithm: Option<Algorithm>,
        wanted: Wanted,
        acquisition: Acquisition,
    ) -> Result<Unwrapper, NativeError> {
        let flow = self.client.prepare_unwrapper(kid, algorithm, wanted, acquisition);
        let outcome = self.host.drive(flow);
        self.told(outcome)
    }

    /// Makes a prepared key ready for one call, or one piece of a stream: lets the client keep up where it has to
    /// ([`Prepared::holds`]), and returns the moment to call with.
    ///
    /// # Errors
    /// [`NativeError`]: the license permits no further call.
    pub fn ready<T>(&mut self, prepared: &Prepared<T>) -> Result<Moment, NativeError> {
        if !prepared.holds(self.host.clock.moment(), self.client.host()) {
            self.host.drive(self.client.keep_up(prepared))?;
        }
        Ok(self.host.clock.moment())
    }

    /// As [`Client::close`](keyward_client::Client::close).
    ///
    /// # Errors
    /// [`NativeError`]: the key is wiped all the same.
    pub fn close<T>(&mut self, prepared: Prepared<T>) -> Result<(), NativeError> {
        self.host.drive(self.client.close(prepared))
    }

    /// Encrypts a message: [`NativeClient::ready`], then [`Encryptor::encrypt`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn encrypt(&mut self, key: &Encryptor, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, NativeError> {
        let moment = self.ready(key)?;
        Ok(key.encrypt(moment, aad, plaintext, &mut UnwrapErr(SysRng))?)
    }

    /// Decrypts a result: [`NativeClient::ready`], then [`Decryptor::decrypt`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn decrypt(
        &mut self,
        key: &Decryptor,
        aad: &[u8],
        result: &[u8],
    ) -> Result<SecretBytes, NativeError> {
        let moment = self.ready(key)?;
        Ok(key.decrypt(moment, aad, result)?)
    }

    /// Signs a message: [`NativeClient::ready`], then [`Signer::sign`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn sign(&mut self, key: &Signer, message: &[u8]) -> Result<Vec<u8>, NativeError> {
        let moment = self.ready(key)?;
        Ok(key.sign(moment, message)?)
    }

    /// Verifies a signature: [`NativeClient::ready`], then [`Verifier::verify`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn verify(&mut self, key: &Verifier, message: &[u8], result: &[u8]) -> Result<(), NativeError> {
        let moment = self.ready(key)?;
        Ok(key.verify(moment, message, result)?)
    }

    /// Wraps a key: [`NativeClient::ready`], then [`Wrapper::wrap`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn wrap(&mut self, key: &Wrapper, secret: &[u8]) -> Result<Vec<u8>, NativeError> {
        let moment = self.ready(key)?;
        Ok(key.wrap(moment, secret)?)
    }

    /// Unwraps a key: [`NativeClient::ready`], then [`Unwrapper::unwrap`].
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn unwrap(&mut self, key: &Unwrapper, result: &[u8]) -> Result<SecretBytes, NativeError> {
        let moment = self.ready(key)?;
        Ok(key.unwrap(moment, result)?)
    }
}
