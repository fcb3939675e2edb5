//! What clients say became of their licenses: it is recorded and answered with a receipt, and listed for administration.

pub(crate) mod receipt;

use keyward_license::{
    acknowledgement::AcknowledgedLicense,
    codec::Wire,
    ids::{DeviceId, TransactionId},
    time::Timestamp,
};

pub use crate::metrics::outcome_name;
use crate::{Error, Server};

/// An answer that was to be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Its id.
    pub id: TransactionId,
    /// Whose it is.
    pub device: DeviceId,
    /// When the answer was given.
    pub answered: Timestamp,
    /// When it was acknowledged, if it was, and what became of each license.
    pub acknowledged: Option<(Timestamp, Vec<AcknowledgedLicense>)>,
}

/// Most transactions that are listed at a time.
pub const MAX_LISTED: u32 = 1000;

impl Server {
    /// Transactions, the newest first, at most [`MAX_LISTED`]: those that were acknowledged (`Some(true)`), those that
    /// were not, or all.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn transactions(&self, acknowledged: Option<bool>) -> Result<Vec<Transaction>, Error> {
        let rows = self.store().transactions(acknowledged, MAX_LISTED).await?;
        let listed = rows.into_iter().map(|row| {
            let read = |(at, results): (Timestamp, Vec<u8>)| {
                let licenses = Vec::<AcknowledgedLicense>::decode(&results);
                licenses
                    .map(|licenses| (at, licenses))
                    .map_err(|_| Error::Damaged("an acknowledgement does not decode"))
            };
            Ok(Transaction {
                id: row.id,
                device: row.device,
                answered: row.answered,
                acknowledged: row.acknowledged.map(read).transpose()?,
            })
        });
        listed.collect()
    }
}
