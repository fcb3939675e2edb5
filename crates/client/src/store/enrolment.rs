//! Enrolments that were asked for by other means than the network, until their responses come.

use keyward_crypto::Secret;
use keyward_license::{
    cbor_map,
    codec::{Bytes, DecodeError, Reader, Wire, Writer},
    ids::{Digest, Nonce},
};

use super::{RecordKey, Store};
use crate::{ClientError, flow::Io};

/// Kind of the record: operators, certificates among them, are the kind before.
const KIND_ENROLMENT: u8 = 6;

cbor_map! {
    /// An enrolment request that waits for its response.
    #[derive(Debug)]
    pub(crate) struct WaitingEnrolment = "waiting enrolment" {
        /// The request's nonce.
        [1] nonce: Nonce,
        /// Its response key.
        [2] response_key: Secret<32>,
        /// SHA-256 of its body bytes.
        [3] digest: Digest,
        /// The encoded operator profile.
        [4] profile: Bytes,
        /// The discovery document that it was sealed by.
        [5] discovery: Bytes,
        /// The suite that it was sealed with.
        [6] suite: u64,
    }
}

/// The waiting enrolments, oldest first.
#[derive(Debug, Default)]
pub(crate) struct WaitingEnrolments(pub(crate) Vec<WaitingEnrolment>);

impl WaitingEnrolments {
    /// Most that wait at a time; the oldest make room.
    pub(crate) const MAX: usize = 8;

    /// Adds one, dropping the oldest if there are too many.
    pub(crate) fn push(&mut self, waiting: WaitingEnrolment) {
        self.0.push(waiting);
        let surplus = self.0.len().saturating_sub(Self::MAX);
        self.0.drain(..surplus);
    }
}

impl Wire for WaitingEnrolments {
    fn write(&self, writer: &mut Writer) {
        self.0.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Vec::read(reader).map(Self)
    }
}

impl Store {
    pub(crate) async fn waiting_enrolments(&self, io: &Io) -> Result<WaitingEnrolments, ClientError> {
        self.find(io, self.waiting_enrolments_key()?)
            .await
            .map(Option::unwrap_or_default)
    }

    pub(crate) fn waiting_enrolments_key(&self) -> Result<RecordKey, ClientError> {
        Ok(RecordKey::new(KIND_ENROLMENT, self.name(&[b"enrolments"])?))
    }
}
