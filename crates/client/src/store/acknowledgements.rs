//! What was told of an answer and not confirmed yet: acknowledgements that wait for their receipts.

use keyward_crypto::Secret;
use keyward_license::{
    acknowledgement::AcknowledgedLicense,
    cbor_map,
    codec::{DecodeError, Reader, Wire, Writer},
    ids::{Digest, Nonce, TransactionId},
};

use super::{RecordKey, Store, Write};
use crate::{ClientError, flow::Io};

/// Kind of the record.
const KIND_ACKNOWLEDGEMENT: u8 = 9;

cbor_map! {
    /// An acknowledgement that waits for its receipt.
    #[derive(Debug)]
    pub(crate) struct WaitingAcknowledgement = "waiting acknowledgement" {
        /// The operator whose answer it is about.
        [1] operator: Digest,
        /// The answer's name.
        [2] transaction: TransactionId,
        /// What became of each license.
        [3] results: Vec<AcknowledgedLicense>,
        /// The request that was made of it last to be carried by other means.
        [4?] carried: CarriedAcknowledgement,
    }
}

cbor_map! {
    /// What opens the receipt of an acknowledgement that is carried.
    #[derive(Debug)]
    pub(crate) struct CarriedAcknowledgement = "carried acknowledgement" {
        /// The request's nonce.
        [1] nonce: Nonce,
        /// Its response key.
        [2] response_key: Secret<32>,
        /// SHA-256 of its body bytes.
        [3] digest: Digest,
    }
}

/// The waiting acknowledgements, oldest first.
#[derive(Debug, Default)]
pub(crate) struct WaitingAcknowledgements(pub(crate) Vec<WaitingAcknowledgement>);

impl WaitingAcknowledgements {
    /// Most that wait at a time; the oldest make room.
    pub(crate) const MAX: usize = 64;
    /// Most bytes of them; the oldest make room.
    const MAX_BYTES: usize = 1 << 20;

    /// How many there are, as the head states it.
    pub(crate) fn count(&self) -> Option<u64> {
        u64::try_from(self.0.len()).ok().filter(|count| *count > 0)
    }

    /// Adds one, dropping the oldest if there are too many.
    pub(crate) fn push(&mut self, waiting: WaitingAcknowledgement) {
        let named = (waiting.operator, waiting.transaction);
        self.0
            .retain(|other| (other.operator, other.transaction) != named);
        self.0.push(waiting);
        while self.0.len() > 1 && (self.0.len() > Self::MAX || self.encode().len() > Self::MAX_BYTES) {
            self.0.remove(0);
        }
    }
}

impl Wire for WaitingAcknowledgements {
    fn write(&self, writer: &mut Writer) {
        self.0.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Vec::read(reader).map(Self)
    }
}

impl Store {
    /// Those that wait. Nothing is read where the head says that there are none.
    pub(crate) async fn waiting_acknowledgements(
        &self,
        io: &Io,
    ) -> Result<WaitingAcknowledgements, ClientError> {
        if self.head().acknowledgements.is_none() {
            return Ok(WaitingAcknowledgements::default());
        }
        self.find(io, self.waiting_acknowledgements_key()?)
            .await
            .map(Option::unwrap_or_default)
    }

    /// The change that makes these the ones that wait.
    pub(crate) fn write_acknowledgements(
        &self,
        waiting: &WaitingAcknowledgements,
    ) -> Result<Write, ClientError> {
        let key = self.waiting_acknowledgements_key()?;
        Ok(match waiting.0.is_empty() {
            true => Write::Delete(key),
            false => Write::Put(key, waiting.encode()),
        })
    }

    fn waiting_acknowledgements_key(&self) -> Result<RecordKey, ClientError> {
        Ok(RecordKey::new(
            KIND_ACKNOWLEDGEMENT,
            self.name(&[b"acknowledgements"])?,
        ))
    }
}
