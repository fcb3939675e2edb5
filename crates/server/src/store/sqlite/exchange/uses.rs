//! What the server did with its exchange keys.

use keyward_license::{ids::Kid, time::Timestamp};
use rusqlite::{Connection, params};

use super::{
    super::{Store, connection::Statements, milliseconds, signed, timestamp, unsigned},
    basis::{count_messages, read_revision},
};
use crate::{
    Error,
    fail_points::Write,
    key_exchange::{KeyState, UseOutcome},
    store::exchange::{NewUse, StreamEnd, StreamVerdict, UseBasis, UseRow, UseVerdict},
};

impl Store {
    /// Records a call for mirror operations, unless what its results rest on has changed.
    pub(crate) async fn record_use(&self, made: NewUse, now: Timestamp) -> Result<UseVerdict, Error> {
        self.writer
            .run(Write::ExchangeUse, move |db| record(db, &made, now))
            .await
    }

    /// Notes how a stream ended that was recorded when it began. None ends well whose key went out of use meanwhile.
    pub(crate) async fn end_stream(&self, end: StreamEnd) -> Result<StreamVerdict, Error> {
        self.writer
            .run(Write::ExchangeUse, move |db| note_end(db, end))
            .await
    }

    /// Uses of a key, newest first: at most `limit`, of those before number `before`.
    pub(crate) async fn exchange_uses(
        &self,
        kid: &Kid,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<UseRow>, Error> {
        let rows: Vec<Columns> = self.noted(
            sqlx::query_as(
                "SELECT id, at, version, operation, items, failed, bytes, caller, outcome FROM exchange_uses
                 WHERE kid = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3",
            )
            .bind(&kid.as_bytes()[..])
            .bind(before.unwrap_or(i64::MAX))
            .bind(limit)
            .fetch_all(&self.lists)
            .await,
        )?;
        rows.into_iter().map(Columns::row).collect()
    }
}

fn note_end(db: &Connection, end: StreamEnd) -> Result<StreamVerdict, Error> {
    let state: String = db.value(
        "SELECT k.state FROM exchange_uses u JOIN exchange_keys k ON k.kid = u.kid WHERE u.id = ?1",
        params![end.id],
    )?;
    let state = KeyState::from_name(&state).ok_or(Error::Damaged("an exchange key has no state"))?;
    let (outcome, verdict) = match end.outcome {
        UseOutcome::Done if state != KeyState::Enabled => {
            (UseOutcome::Aborted, StreamVerdict::OutOfUse(state))
        }
        outcome => (outcome, StreamVerdict::Noted),
    };
    db.run(
        "UPDATE exchange_uses SET outcome = ?2, bytes = ?3, failed = ?4, version = ?5
         WHERE id = ?1 AND outcome = 'begun'",
        params![
            end.id,
            outcome.name(),
            signed("bytes", end.bytes)?,
            i64::from(outcome != UseOutcome::Done),
            end.version
        ],
    )?;
    Ok(verdict)
}

fn record(db: &Connection, made: &NewUse, now: Timestamp) -> Result<UseVerdict, Error> {
    if let UseBasis::Key { revision, messages } = made.rests {
        if read_revision(db, &made.kid)? != Some(revision) {
            return Ok(UseVerdict::Changed);
        }
        if let Some(messages) = messages
            && !count_messages(db, &made.kid, messages)?
        {
            return Ok(UseVerdict::Spent);
        }
    }
    db.run(
        "INSERT INTO exchange_uses (at, kid, version, operation, items, failed, bytes, caller, outcome)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            milliseconds(now),
            &made.kid.as_bytes()[..],
            made.version,
            signed("an operation", made.operation)?,
            signed("items", made.items)?,
            signed("items", made.failed)?,
            signed("bytes", made.bytes)?,
            &made.caller,
            made.outcome.name()
        ],
    )?;
    Ok(UseVerdict::Recorded(db.last_insert_rowid()))
}

#[derive(sqlx::FromRow)]
struct Columns {
    id: i64,
    at: i64,
    version: Option<u32>,
    operation: i64,
    items: i64,
    failed: i64,
    bytes: i64,
    caller: String,
    outcome: String,
}

impl Columns {
    fn row(self) -> Result<UseRow, Error> {
        Ok(UseRow {
            id: self.id,
            at: timestamp(self.at),
            version: self.version,
            operation: unsigned(self.operation)?,
            items: unsigned(self.items)?,
            failed: unsigned(self.failed)?,
            bytes: unsigned(self.bytes)?,
            caller: self.caller,
            outcome: UseOutcome::from_name(&self.outcome).ok_or(Error::Damaged("a use has no outcome"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use keyward_crypto::exchange::{Algorithm, Operation};

    use super::*;
    use crate::{
        common::{NOW, World},
        key_exchange::{MAX_MESSAGES, NewKey},
    };

    /// Judged where the use is recorded, whatever was read before: results do not leave otherwise.
    #[tokio::test]
    async fn a_use_is_recorded_of_a_key_as_it_is() {
        let world = World::new().await;
        let store = world.server.store();
        let new = NewKey::new("meters", Algorithm::A256Gcm, Operation::Decrypt);
        let kid = world.server.create_exchange_key(new).await.unwrap();
        let revision = store.exchange_key(&kid).await.unwrap().unwrap().revision;
        let made = |messages| NewUse {
            kid,
            version: Some(1),
            operation: 3,
            items: 1,
            failed: 0,
            bytes: 4,
            caller: "operator".to_owned(),
            outcome: UseOutcome::Done,
            rests: UseBasis::Key { revision, messages },
        };
        let verdict = |messages| store.record_use(made(messages), NOW);
        assert_eq!(verdict(None).await.unwrap(), UseVerdict::Recorded(1));
        let most = Some((1, MAX_MESSAGES));
        assert_eq!(verdict(most).await.unwrap(), UseVerdict::Recorded(2));
        assert_eq!(verdict(Some((1, 1))).await.unwrap(), UseVerdict::Spent);
        world.server.disable_exchange_key(kid).await.unwrap();
        assert_eq!(verdict(None).await.unwrap(), UseVerdict::Changed);
        let refused = NewUse {
            outcome: UseOutcome::Refused,
            rests: UseBasis::Nothing,
            ..made(None)
        };
        let recorded = store.record_use(refused, NOW).await.unwrap();
        assert_eq!(recorded, UseVerdict::Recorded(3));
        assert_eq!(store.exchange_uses(&kid, None, 9).await.unwrap().len(), 3);
        assert_eq!(store.exchange_uses(&kid, Some(2), 9).await.unwrap()[0].id, 1);
    }
}
