//! The operator's exchange keys.

use keyward_crypto::SecretBytes;
use keyward_license::ids::Kid;
use keyward_server::key_exchange::{
    Caller, Destroy, ExchangeStream, ExchangeToken, Item, ItemResult, KeyListing, NewKey, PerformFault,
    StreamOutput, StreamRequest, Use,
};
use keyward_server::{Error, token::Token};

use super::Operator;
use crate::failure::Failure;

impl Operator {
    /// Makes an exchange key, with a value from elsewhere if one is given.
    pub(crate) fn add_exchange_key(&self, new: NewKey, value: Option<&SecretBytes>) -> Result<Kid, Failure> {
        Ok(match value {
            Some(value) => self.run(self.server.import_exchange_key(new, value))?,
            None => self.run(self.server.create_exchange_key(new))?,
        })
    }

    /// Gives an exchange key a new version, with a value from elsewhere if one is given. Returns its number.
    pub(crate) fn rotate_exchange_key(&self, kid: Kid, value: Option<&SecretBytes>) -> Result<u32, Failure> {
        Ok(match value {
            Some(value) => self.run(self.server.rotate_exchange_key_to(kid, value))?,
            None => self.run(self.server.rotate_exchange_key(kid))?,
        })
    }

    pub(crate) fn set_exchange_minimum_version(&self, kid: Kid, version: u32) -> Result<(), Failure> {
        Ok(self.run(self.server.set_exchange_minimum_version(kid, version))?)
    }

    pub(crate) fn disable_exchange_key(&self, kid: Kid) -> Result<(), Failure> {
        Ok(self.run(self.server.disable_exchange_key(kid))?)
    }

    pub(crate) fn enable_exchange_key(&self, kid: Kid) -> Result<(), Failure> {
        Ok(self.run(self.server.enable_exchange_key(kid))?)
    }

    pub(crate) fn destroy_exchange_key(&self, kid: Kid, what: Destroy) -> Result<(), Failure> {
        Ok(self.run(self.server.destroy_exchange_key(kid, what))?)
    }

    pub(crate) fn exchange_keys(&self) -> Result<Vec<KeyListing>, Failure> {
        Ok(self.run(self.server.exchange_keys())?)
    }

    pub(crate) fn exchange_key(&self, kid: Kid) -> Result<KeyListing, Failure> {
        Ok(self.run(self.server.exchange_key(kid))?)
    }

    pub(crate) fn exchange_uses(
        &self,
        kid: Kid,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Use>, Failure> {
        Ok(self.run(self.server.exchange_uses(kid, before, limit))?)
    }

    /// Performs the mirror operation of an exchange key once.
    pub(crate) fn exchange(&self, kid: Kid, item: Item) -> Result<ItemResult, Failure> {
        let caller = Caller::operator();
        let results = self.run(self.server.exchange_perform(&caller, kid, vec![item]))?;
        Ok(results.into_iter().next().unwrap_or(Err(PerformFault::Failed)))
    }

    /// Begins the mirror operation of an exchange key on data that come in pieces.
    pub(crate) fn exchange_stream(&self, kid: Kid, request: StreamRequest) -> Result<Streaming<'_>, Error> {
        let caller = Caller::operator();
        let stream = self.run(self.server.exchange_stream(&caller, kid, request))?;
        Ok(Streaming {
            operator: self,
            stream,
        })
    }

    pub(crate) fn add_exchange_token(&self, name: &str, kids: Option<Vec<Kid>>) -> Result<Token, Failure> {
        Ok(self.run(self.server.create_exchange_token(name, kids))?)
    }

    pub(crate) fn exchange_tokens(&self) -> Result<Vec<ExchangeToken>, Failure> {
        Ok(self.run(self.server.exchange_tokens())?)
    }

    pub(crate) fn revoke_exchange_token(&self, name: &str) -> Result<(), Failure> {
        Ok(self.run(self.server.revoke_exchange_token(name))?)
    }
}

/// A mirror operation in progress.
pub(crate) struct Streaming<'o> {
    operator: &'o Operator,
    stream: ExchangeStream,
}

impl Streaming<'_> {
    /// Takes a piece and appends what is ready.
    pub(crate) fn update(&mut self, piece: &[u8], output: &mut Vec<u8>) -> Result<(), Error> {
        self.operator.run(self.stream.update(piece, output))
    }

    /// Appends the rest.
    pub(crate) fn finish(self, output: &mut Vec<u8>) -> Result<StreamOutput, Error> {
        self.operator.run(self.stream.finish(output))
    }
}
