//! Transactions: answers that are to be acknowledged, and what they were acknowledged with.

use keyward_license::{
    ids::{DeviceId, Nonce, TransactionId},
    time::Timestamp,
};
use rusqlite::{Connection, params};

use super::{Store, connection::Statements, id, milliseconds, revocation, timestamp};
use crate::{
    Error, Refusal,
    acknowledgements::receipt,
    fail_points::Write,
    store::{
        Recorded,
        acknowledgement::{
            Acknowledged, Acknowledging, AcknowledgingRow, TransactionListing, TransactionRow,
        },
    },
};

impl Store {
    /// The device, with what it did with this nonce and this transaction; none if it is not enrolled.
    pub(crate) async fn acknowledging(
        &self,
        device: DeviceId,
        nonce: Nonce,
        transaction: TransactionId,
    ) -> Result<Option<AcknowledgingRow>, Error> {
        self.read(|db| read(db, device, nonce, transaction)).await
    }

    /// Records an acknowledgement, unless the device, the nonce or the transaction forbid it: all are judged here
    /// again, in the transaction.
    ///
    /// # Errors
    /// V-042, V-043, V-048; [`Refusal::Failed`].
    pub(crate) async fn record_acknowledgement(
        &self,
        asked: Acknowledging,
        now: Timestamp,
    ) -> Result<Recorded<Acknowledged>, Refusal> {
        self.writer
            .run(Write::Acknowledgement, move |db| record(db, &asked, now))
            .await
    }

    /// Transactions, the newest answers first: those that are acknowledged, those that are not, or all.
    pub(crate) async fn transactions(
        &self,
        acknowledged: Option<bool>,
        limit: u32,
    ) -> Result<Vec<TransactionListing>, Error> {
        self.read(|db| read_transactions(db, acknowledged, limit)).await
    }
}

fn read(
    db: &Connection,
    device: DeviceId,
    nonce: Nonce,
    transaction: TransactionId,
) -> Result<Option<AcknowledgingRow>, Error> {
    let row: Option<(Option<i64>, Option<Vec<u8>>)> = db.row_if_any(
        "SELECT d.revoked_at, t.request FROM devices d
         LEFT JOIN transactions t ON t.device = d.id AND t.nonce = ?2
         WHERE d.id = ?1 AND d.role = 'device'",
        params![&device.as_bytes()[..], &nonce.as_bytes()[..]],
    )?;
    let Some((revoked_at, used)) = row else {
        return Ok(None);
    };
    Ok(Some(AcknowledgingRow {
        revoked: revoked_at.is_some(),
        used: used.as_deref().map(id).transpose()?,
        transaction: read_transaction(db, device, transaction)?,
        generation: revocation::generation(db)?,
    }))
}

fn read_transaction(
    db: &Connection,
    device: DeviceId,
    transaction: TransactionId,
) -> Result<Option<TransactionRow>, Error> {
    let row: Option<(i64, Option<Vec<u8>>)> = db.row_if_any(
        "SELECT answer, results FROM transactions WHERE id = ?1 AND device = ?2",
        params![&transaction.as_bytes()[..], &device.as_bytes()[..]],
    )?;
    let Some((answer, results)) = row else {
        return Ok(None);
    };
    let licenses: Vec<(Vec<u8>, Vec<u8>)> = db.rows(
        "SELECT kid, license FROM issued WHERE answer = ?1 ORDER BY kid",
        [answer],
    )?;
    let licenses = licenses.iter().map(|(kid, license)| Ok((id(kid)?, id(license)?)));
    Ok(Some(TransactionRow {
        licenses: licenses.collect::<Result<_, Error>>()?,
        results,
    }))
}

fn record(db: &Connection, asked: &Acknowledging, now: Timestamp) -> Result<Recorded<Acknowledged>, Refusal> {
    let row = read(db, asked.device, asked.nonce, asked.transaction)?;
    let judged = receipt::judge(row.as_ref(), asked)?;
    if judged == Acknowledged::First {
        let acknowledged = db.run(
            "UPDATE transactions SET nonce = ?2, request = ?3, results = ?4, acknowledged_at = ?5 WHERE id = ?1",
            params![
                &asked.transaction.as_bytes()[..],
                &asked.nonce.as_bytes()[..],
                &asked.request.as_bytes()[..],
                &asked.results,
                milliseconds(now)
            ],
        );
        acknowledged.map_err(Error::from)?;
    }
    Ok(Recorded(judged))
}

fn read_transactions(
    db: &Connection,
    acknowledged: Option<bool>,
    limit: u32,
) -> Result<Vec<TransactionListing>, Error> {
    type Row = (Vec<u8>, Vec<u8>, i64, Option<i64>, Option<Vec<u8>>);
    let rows: Vec<Row> = db.rows(
        "SELECT t.id, t.device, a.answered_at, t.acknowledged_at, t.results
         FROM transactions t JOIN answers a ON a.id = t.answer
         WHERE ?1 IS NULL OR (t.acknowledged_at IS NOT NULL) = ?1
         ORDER BY t.answer DESC LIMIT ?2",
        params![acknowledged, limit],
    )?;
    rows.into_iter()
        .map(|(transaction, device, answered, acknowledged, results)| {
            Ok(TransactionListing {
                id: id(&transaction)?,
                device: id(&device)?,
                answered: timestamp(answered),
                acknowledged: acknowledged.map(timestamp).zip(results),
            })
        })
        .collect()
}
