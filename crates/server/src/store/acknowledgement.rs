//! Acknowledgements as the database keeps them.

use keyward_license::{
    ids::{DeviceId, Digest, Kid, LicenseId, Nonce, TransactionId},
    time::Timestamp,
};

/// What the database says to an acknowledgement.
#[derive(Debug)]
pub(crate) struct AcknowledgingRow {
    pub(crate) revoked: bool,
    /// The acknowledgement that used the nonce asked about.
    pub(crate) used: Option<Digest>,
    /// None if the device has no such transaction.
    pub(crate) transaction: Option<TransactionRow>,
    /// How often what lists say has changed.
    pub(crate) generation: i64,
}

/// An answer that is to be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransactionRow {
    /// Its licenses by key id.
    pub(crate) licenses: Vec<(Kid, LicenseId)>,
    /// The results that it was acknowledged with.
    pub(crate) results: Option<Vec<u8>>,
}

/// An acknowledgement that is to be recorded.
#[derive(Debug)]
pub(crate) struct Acknowledging {
    pub(crate) device: DeviceId,
    pub(crate) nonce: Nonce,
    pub(crate) request: Digest,
    pub(crate) transaction: TransactionId,
    /// The licenses that the results name, as far as they could be read, by key id.
    pub(crate) licenses: Vec<(Kid, Option<LicenseId>)>,
    /// The results in one form, by key id.
    pub(crate) results: Vec<u8>,
    pub(crate) generation: i64,
}

/// What is recorded of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// It stands in the database now.
    First,
    /// The same results stood there before.
    Again,
}

/// A transaction as administration lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransactionListing {
    pub(crate) id: TransactionId,
    pub(crate) device: DeviceId,
    pub(crate) answered: Timestamp,
    /// When it was acknowledged, and with which results.
    pub(crate) acknowledged: Option<(Timestamp, Vec<u8>)>,
}
