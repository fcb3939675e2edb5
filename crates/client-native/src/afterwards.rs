//! What is owed once a license server has answered: acknowledgements, and certificates to be renewed.

use keyward_client::{acknowledge::Acknowledged, enrol::Renewed};
use keyward_license::ids::TransactionId;

use crate::{NativeClient, NativeError};

impl NativeClient {
    /// As [`Client::acknowledge`](keyward_client::Client::acknowledge). This client does so by itself whenever a license server has answered; what could
    /// not be told then waits for the next time, or for this.
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn acknowledge(&mut self) -> Result<Acknowledged, NativeError> {
        self.host.drive(self.client.acknowledge())
    }

    /// As [`Client::waiting_acknowledgements`](keyward_client::Client::waiting_acknowledgements).
    #[must_use]
    pub const fn waiting_acknowledgements(&self) -> u64 {
        self.client.waiting_acknowledgements()
    }

    /// As [`Client::request_acknowledgement`](keyward_client::Client::request_acknowledgement).
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn request_acknowledgement(&mut self) -> Result<Vec<u8>, NativeError> {
        self.host.drive(self.client.request_acknowledgement())
    }

    /// As [`Client::replaces_acknowledgement`](keyward_client::Client::replaces_acknowledgement).
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn replaces_acknowledgement(&mut self) -> Result<bool, NativeError> {
        self.host.drive(self.client.replaces_acknowledgement())
    }

    /// As [`Client::install_receipt`](keyward_client::Client::install_receipt).
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn install_receipt(&mut self, receipt: Vec<u8>) -> Result<TransactionId, NativeError> {
        self.host.drive(self.client.install_receipt(receipt))
    }

    /// As [`Client::renew_certificates`](keyward_client::Client::renew_certificates). This client does so by itself whenever a license server has answered.
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn renew_certificates(&mut self) -> Result<Renewed, NativeError> {
        self.host.drive(self.client.renew_certificates())
    }

    /// As [`Client::request_renewal`](keyward_client::Client::request_renewal).
    ///
    /// # Errors
    /// [`NativeError`].
    pub fn request_renewal(&mut self) -> Result<Vec<u8>, NativeError> {
        self.host.drive(self.client.request_renewal())
    }

    /// As [`Client::owes_renewal`](keyward_client::Client::owes_renewal). After an answer that was carried, nobody has renewed anything by then.
    #[must_use]
    pub fn owes_renewal(&self) -> bool {
        self.client.owes_renewal()
    }

    /// Tells license servers what became of their answers, and renews what is coming to its end. What came of the
    /// exchange does not depend on the network then; a disk that fails meanwhile fails.
    pub(crate) fn told<T>(&mut self, outcome: Result<T, NativeError>) -> Result<T, NativeError> {
        let acknowledged = match self.client.owes_acknowledgement() {
            true => self.acknowledge().map(drop),
            false => Ok(()),
        };
        let renewed = match self.client.owes_renewal() {
            true => self.renew_certificates().map(drop),
            false => Ok(()),
        };
        let value = outcome?;
        for later in [acknowledged, renewed] {
            match later {
                Ok(()) | Err(NativeError::Transport(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(value)
    }
}
