//! Mirror operations, many in a call.
//!
//! ```text
//!  1 bounds      items, bytes
//!  2 permission  may the caller use the key?            refusals are recorded as well
//!  3 key         enabled; its versions are opened
//!  4 perform     each item for itself: an output, or why there is none
//!  5 record      committed to the database, if the key is as it was in 3; else again from 3
//! ```
//! No output leaves before step 5.

use keyward_license::ids::Kid;

use super::{
    Caller, Item, ItemResult, KeyState, MAX_CALL_BYTES, MAX_ITEMS, Output, PerformFault, UseOutcome,
    Verification,
    engine::{Engine, version_of},
    value,
};
use crate::{
    Error, Server,
    store::exchange::{ExchangeKeyRow, NewUse, UseBasis, UseVerdict},
};

impl Server {
    /// Performs the mirror operation of an exchange key: undoes or checks what clients did with it, or makes what they
    /// undo or check. Each item has its own outcome, in their order. The call stands in the database, with how many
    /// items it had and how many failed, before this returns.
    ///
    /// # Errors
    /// [`Error::NotPerformed`] for too many items or bytes, [`Error::ExchangeNotPermitted`],
    /// [`Error::ExchangeKeyUnknown`], [`Error::ExchangeKeyDisabled`], [`Error::ExchangeKeyDestroyed`],
    /// [`Error::ExchangeKeySpent`], [`Error::ExchangeKeyBusy`], or a failure of the database. Nothing was performed
    /// then.
    pub async fn exchange_perform(
        &self,
        caller: &Caller,
        kid: Kid,
        items: Vec<Item>,
    ) -> Result<Vec<ItemResult>, Error> {
        // 1. Bounds.
        let bytes = check_bounds(&items).map_err(|fault| Error::NotPerformed { kid, fault })?;
        let call = Call {
            caller,
            kid,
            items: u64::try_from(items.len()).unwrap_or(u64::MAX),
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        };
        let mut items = items;
        for _ in 0..ATTEMPTS {
            // 2. Permission, 3. key.
            let key = self.usable_key(&call).await?;
            // 4. Perform: beside the tasks that answer others.
            let server = self.clone();
            let performed = tokio::task::spawn_blocking(move || {
                let engine = Engine::new(&key, &server.vault().kek())?;
                let results: Vec<_> = items.iter().map(|item| engine.perform(item)).collect();
                Ok::<_, Error>((key, items, results))
            });
            let (key, tried, results) = performed.await.map_err(|_| Error::Stopping)??;
            items = tried;
            // 5. Record.
            let used = call.used(&key, &items, &results)?;
            match self.store().record_use(used, self.inner().clock.now()).await? {
                UseVerdict::Recorded(_) => {
                    self.count_items(&key, &results);
                    return Ok(results);
                }
                UseVerdict::Spent => return Err(Error::ExchangeKeySpent(kid)),
                UseVerdict::Changed => {}
            }
        }
        Err(Error::ExchangeKeyBusy(kid))
    }

    /// The key of a call, if the caller may use it and it is in use; otherwise the call is recorded as refused.
    pub(super) async fn usable_key(&self, call: &Call<'_>) -> Result<ExchangeKeyRow, Error> {
        let kid = call.kid;
        if !call.caller.may_use(&kid) {
            return Err(self.refuse_stranger(call));
        }
        let key = self.exchange_row(kid).await?;
        let refusal = match key.state {
            KeyState::Enabled => return Ok(key),
            KeyState::Disabled => Error::ExchangeKeyDisabled(kid),
            KeyState::Destroyed => Error::ExchangeKeyDestroyed(kid),
        };
        self.record_refused(call, &key).await?;
        tracing::warn!(%kid, caller = call.caller.name(), reason = %refusal, "use of an exchange key refused");
        Err(refusal)
    }

    /// Refuses a caller who may not use the key. They do not wait for what is done about it: its time would tell
    /// whether there is such a key.
    fn refuse_stranger(&self, call: &Call<'_>) -> Error {
        let (server, caller) = (self.clone(), call.caller.clone());
        let Call {
            kid, items, bytes, ..
        } = *call;
        let name = caller.name().to_owned();
        tracing::warn!(%kid, caller = name, "an exchange key was asked for by somebody who may not use it");
        tokio::spawn(async move {
            let call = Call {
                caller: &caller,
                kid,
                items,
                bytes,
            };
            let recorded = match server.exchange_row(kid).await {
                Ok(key) => server.record_refused(&call, &key).await,
                Err(Error::ExchangeKeyUnknown(_)) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = recorded {
                tracing::warn!(%kid, error = %error, "a refused use of an exchange key could not be recorded");
            }
        });
        Error::ExchangeNotPermitted { caller: name, kid }
    }

    async fn record_refused(&self, call: &Call<'_>, key: &ExchangeKeyRow) -> Result<(), Error> {
        let used = call.refused(key)?;
        self.store().record_use(used, self.inner().clock.now()).await?;
        let mirror = value::operation(key.operation)?.mirror();
        self.inner().metrics.exchanged(mirror, "refused", call.items);
        Ok(())
    }

    fn count_items(&self, key: &ExchangeKeyRow, results: &[ItemResult]) {
        let Ok(operation) = value::operation(key.operation) else {
            return;
        };
        let metrics = &self.inner().metrics;
        for result in results {
            let outcome = match result {
                Ok(Output::Verified(Verification::Invalid)) => "invalid",
                Ok(_) => "ok",
                Err(_) => "failed",
            };
            metrics.exchanged(operation.mirror(), outcome, 1);
        }
    }
}

/// How often a call begins again whose key was changed meanwhile.
const ATTEMPTS: usize = 8;

/// A call, for its record.
pub(super) struct Call<'a> {
    pub(super) caller: &'a Caller,
    pub(super) kid: Kid,
    pub(super) items: u64,
    pub(super) bytes: u64,
}

impl Call<'_> {
    /// The record of a call that was not permitted.
    fn refused(&self, key: &ExchangeKeyRow) -> Result<NewUse, Error> {
        self.record(key, None, self.items, (UseOutcome::Refused, UseBasis::Nothing))
    }

    /// The record of a call that was performed.
    fn used(&self, key: &ExchangeKeyRow, items: &[Item], results: &[ItemResult]) -> Result<NewUse, Error> {
        let count = |is: fn(&ItemResult) -> bool| -> u64 {
            let found = results.iter().filter(|result| is(result)).count();
            u64::try_from(found).unwrap_or(u64::MAX)
        };
        let (failed, encrypted) = (
            count(Result::is_err),
            count(|result| matches!(result, Ok(Output::Encrypted(_)))),
        );
        let outcome = match failed {
            0 => UseOutcome::Done,
            failed if failed == self.items => UseOutcome::Failed,
            _ => UseOutcome::Partly,
        };
        let gcm = value::algorithm(key)?.takes_aad();
        let rests = UseBasis::Key {
            revision: key.revision,
            messages: (gcm && encrypted > 0).then_some((key.newest(), encrypted)),
        };
        self.record(key, one_version(items, results), failed, (outcome, rests))
    }

    pub(super) fn record(
        &self,
        key: &ExchangeKeyRow,
        version: Option<u32>,
        failed: u64,
        (outcome, rests): (UseOutcome, UseBasis),
    ) -> Result<NewUse, Error> {
        let mirror = value::operation(key.operation)?.mirror();
        Ok(NewUse {
            kid: self.kid,
            version,
            operation: mirror.number().into(),
            items: self.items,
            failed,
            bytes: self.bytes,
            caller: self.caller.name().to_owned(),
            outcome,
            rests,
        })
    }
}

/// The version that performed all the items that were performed, if it is one.
fn one_version(items: &[Item], results: &[ItemResult]) -> Option<u32> {
    let performed = items.iter().zip(results).filter_map(|(item, result)| {
        let output = result.as_ref().ok()?;
        version_of(item.result().or_else(|| output.result())?)
    });
    let mut versions: Vec<u32> = performed.collect();
    versions.dedup();
    match versions[..] {
        [one] => Some(one),
        _ => None,
    }
}

fn check_bounds(items: &[Item]) -> Result<usize, PerformFault> {
    if !(1..=MAX_ITEMS).contains(&items.len()) {
        return Err(PerformFault::Items);
    }
    let bytes = items
        .iter()
        .fold(0_usize, |sum, item| sum.saturating_add(item.bytes()));
    if bytes > MAX_CALL_BYTES {
        return Err(PerformFault::TooLarge);
    }
    Ok(bytes)
}
