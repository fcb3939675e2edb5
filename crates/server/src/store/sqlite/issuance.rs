//! Licenses: what a device and its account may have, and what was issued.

use keyward_license::{
    ids::{DeviceId, Kid, LicenseId, Nonce},
    license::{KeyType, PreparedLicense},
};
use rusqlite::{Connection, params};

use super::{
    Store,
    authorization::use_up,
    connection::Statements,
    id,
    lookup::{KnownPolicies, look_up},
    milliseconds, signed, timestamp, unsigned,
    writer::Working,
};
use crate::{
    Error, Refusal,
    store::{
        Found, KeyRow, KeySource, LicenseBasis, PreparedAnswer, PreparedOutcome, PreparedResult, Question,
        Recorded, Recording, Rests, RightRow, Verdict, records::decode_results,
    },
};

impl Store {
    /// The processors are at work on a license request that is to be recorded, until what is returned is dropped.
    pub(crate) fn at_work(&self) -> Working {
        self.writer.at_work().begin()
    }

    /// The device, with what it did with this nonce and this epoch of its store, and what its account may
    /// have at this time.
    pub(crate) async fn look_up(&self, question: &Question) -> Result<Found, Error> {
        self.read(|db| look_up(db, question, &self.known)).await
    }

    /// Records an answer, unless the device, the nonce, the store generation or a right forbid it. All are
    /// judged here again, in the transaction: they were read before it, and others write meanwhile. If the
    /// same request was recorded before, the answer is the one that was recorded then.
    ///
    /// # Errors
    /// V-042, V-043, V-044; [`Refusal::Busy`] if what the answer was decided on has changed, so that it
    /// must be decided again; [`Refusal::Failed`].
    pub(crate) async fn record_answer(
        &self,
        recording: Recording,
    ) -> Result<Recorded<PreparedAnswer>, Refusal> {
        match self.writer.record(recording).await? {
            (recording, Verdict::Recorded) => Ok(Recorded(recording.answer)),
            (_, Verdict::Before(answer)) => Ok(Recorded(answer)),
            (_, Verdict::Refused(refusal)) => Err(refusal),
        }
    }

    /// What was recorded for a request that was answered before.
    pub(crate) async fn recorded_answer(
        &self,
        device: DeviceId,
        nonce: Nonce,
    ) -> Result<Recorded<PreparedAnswer>, Error> {
        self.read(|db| read_answer(db, device, nonce)).await.map(Recorded)
    }
}

pub(super) fn key_row(
    kid: Kid,
    key_type: i64,
    (seed, sealed): (Option<i64>, Option<Vec<u8>>),
    minimum_security_level: Option<i64>,
) -> Result<KeyRow, Error> {
    let key_type =
        KeyType::from_number(unsigned(key_type)?).ok_or(Error::Damaged("a key has no known type"))?;
    let source = match (seed, sealed) {
        (Some(seed), None) => KeySource::Seed(unsigned(seed)?),
        (None, Some(sealed)) => KeySource::Sealed(sealed),
        (None, None) if key_type == KeyType::Exchange => KeySource::Exchange,
        _ => return Err(Error::Damaged("a key has not exactly one source")),
    };
    Ok(KeyRow {
        kid,
        key_type,
        source,
        minimum_security_level: minimum_security_level.map(unsigned).transpose()?,
    })
}

/// Records the answers that may be recorded, one after the other, so that each is judged by what those before it did.
/// Refusing one takes nothing from the others; if it fails, nothing of it counts.
pub(super) fn record(
    db: &Connection,
    recordings: &[Recording],
    known: &KnownPolicies,
) -> Result<Vec<Verdict>, Error> {
    recordings
        .iter()
        .map(|recording| record_one(db, recording, known))
        .collect()
}

fn record_one(db: &Connection, recording: &Recording, known: &KnownPolicies) -> Result<Verdict, Error> {
    let found = match look_up(db, &question(recording), known) {
        Ok(found) => found,
        Err(error) => return refused(error),
    };
    match judge(recording, &found) {
        Ok(Judgement::Record) => match use_up(db, recording, known)? {
            Ok(()) => {
                insert(db, recording)?;
                Ok(Verdict::Recorded)
            }
            Err(refusal) => Ok(Verdict::Refused(refusal)),
        },
        Ok(Judgement::Repeat) => {
            let PreparedAnswer { device, nonce, .. } = recording.answer;
            let answer = match read_answer(db, device, nonce) {
                Ok(answer) => answer,
                Err(error) => return refused(error),
            };
            // V-042: what was issued before is not issued again. That the device is revoked stands in the database.
            if recording.revoked && answer.has_license() {
                return Ok(Verdict::Recorded);
            }
            Ok(Verdict::Before(answer))
        }
        Err(refusal) => Ok(Verdict::Refused(refusal)),
    }
}

/// A row that cannot be read refuses the request that it belongs to. If the database failed, it may have ended the
/// transaction: what would be written now, would stay alone.
fn refused(error: Error) -> Result<Verdict, Error> {
    match error.database_fault() {
        Some(_) => Err(error),
        None => Ok(Verdict::Refused(error.into())),
    }
}

fn question(recording: &Recording) -> Question {
    Question {
        device: recording.answer.device,
        nonce: recording.answer.nonce,
        store: recording.store.clone(),
        kids: recording.basis.grants.iter().map(|one| one.kid).collect(),
        now: recording.answer.server_time,
    }
}

enum Judgement {
    Record,
    /// It was recorded before.
    Repeat,
}

fn judge(recording: &Recording, found: &Found) -> Result<Judgement, Refusal> {
    let Recording {
        answer, store, basis, ..
    } = recording;
    // V-041, V-042, V-047
    let device = found.device.as_ref().ok_or(Refusal::DeviceUnknown)?;
    if found.generation != recording.generation {
        return Err(Refusal::ListsChanged);
    }
    if device.revoked && !recording.revoked || recording.revoked && answer.has_license() {
        return Err(Refusal::DeviceRevoked);
    }
    // V-043
    match device.answered {
        Some(request) if request == answer.request => return Ok(Judgement::Repeat),
        Some(_) => return Err(Refusal::NonceReused),
        None => {}
    }
    if recording.revoked {
        return Ok(Judgement::Record);
    }
    // V-044
    if device.generation.is_some_and(|seen| store.generation < seen) {
        return Err(Refusal::StoreRolledBack);
    }
    if (device.account, device.security_level) != (basis.account, basis.security_level) {
        return Err(Refusal::Busy("the device was enrolled anew meanwhile"));
    }
    let mut granted = basis.grants.iter().zip(&found.rights);
    let holds = |(one, right): (&LicenseBasis, &RightRow)| match &one.rests {
        Rests::Row(grant) => right.grant.as_ref() == Some(&**grant),
        Rests::Policy(..) | Rests::Handler => true,
    };
    if !granted.all(holds) {
        return Err(Refusal::Busy("the account's entitlements changed meanwhile"));
    }
    let levels = basis.grants.iter().map(|one| Some(one.key_level));
    let now = found.rights.iter();
    if !levels.eq(now.map(|right| right.key.as_ref().map(|key| key.minimum_security_level))) {
        return Err(Refusal::Busy("the security level of a key changed meanwhile"));
    }
    Ok(Judgement::Record)
}

/// Writes an answer with its licenses.
fn insert(db: &Connection, recording: &Recording) -> Result<(), Error> {
    let Recording { answer, store, .. } = recording;
    let (device, now) = (answer.device.as_bytes(), milliseconds(answer.server_time));
    // Of a revoked device, V-044 was not judged.
    if !recording.revoked {
        let generation = signed("the store generation", store.generation)?;
        db.run(
            "INSERT INTO store_epochs (device, epoch, generation, seen_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET generation = excluded.generation, seen_at = excluded.seen_at",
            params![device, store.epoch.as_bytes(), generation, now],
        )?;
    }
    db.run(
        "INSERT INTO answers (device, nonce, request, results, answered_at, custom_data, renew_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            device,
            answer.nonce.as_bytes(),
            answer.request.as_bytes(),
            answer.encode_results(),
            now,
            answer.custom_data,
            answer.renew_at.map(milliseconds),
        ],
    )?;
    let row = db.last_insert_rowid();
    if let Some(transaction) = &answer.transaction {
        db.run(
            // Drawn ids are new. A test operator's are what a request says, and may come again.
            "INSERT INTO transactions (id, answer, device) VALUES (?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET answer = excluded.answer, device = excluded.device,
                 nonce = NULL, request = NULL, results = NULL, acknowledged_at = NULL",
            params![transaction.as_bytes(), row, device],
        )?;
    }
    insert_licenses(db, row, answer)
}

fn insert_licenses(db: &Connection, row: i64, answer: &PreparedAnswer) -> Result<(), Error> {
    for PreparedResult { kid, outcome } in &answer.results {
        if let PreparedOutcome::License {
            id,
            license,
            policy,
            policy_version,
        } = outcome
        {
            db.run(
                "INSERT INTO issued (license, answer, kid, policy, policy_version, body, sealed)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    id.as_bytes(),
                    row,
                    kid.as_bytes(),
                    policy,
                    signed("a policy version", *policy_version)?,
                    license.body,
                    license.sealed,
                ],
            )?;
        }
    }
    Ok(())
}

/// What was recorded for a request.
fn read_answer(db: &Connection, device: DeviceId, nonce: Nonce) -> Result<PreparedAnswer, Error> {
    type Row = (i64, Vec<u8>, Vec<u8>, i64, Option<Vec<u8>>, Option<i64>);
    let (row, request, results, answered_at, custom_data, renew_at): Row = db.row(
        "SELECT id, request, results, answered_at, custom_data, renew_at FROM answers
         WHERE device = ?1 AND nonce = ?2",
        [&device.as_bytes()[..], nonce.as_bytes()],
    )?;
    let transaction: Option<Vec<u8>> =
        db.value_if_any("SELECT id FROM transactions WHERE answer = ?1", [row])?;
    let stored = decode_results(&results).map_err(|_| Error::Damaged("an answer does not decode"))?;
    let mut results = Vec::with_capacity(stored.len());
    for result in stored {
        let outcome = match (result.license, result.denial) {
            (Some(license), None) => read_license(db, row, license)?,
            (None, Some(denial)) => PreparedOutcome::Denied(denial),
            _ => return Err(Error::Damaged("a result is not a license or a denial")),
        };
        results.push(PreparedResult {
            kid: result.kid,
            outcome,
        });
    }
    Ok(PreparedAnswer {
        device,
        nonce,
        request: id(&request)?,
        server_time: timestamp(answered_at),
        results,
        custom_data,
        renew_at: renew_at.map(timestamp),
        transaction: transaction.as_deref().map(id).transpose()?,
    })
}

fn read_license(db: &Connection, answer: i64, id: LicenseId) -> Result<PreparedOutcome, Error> {
    let (policy, policy_version, body, sealed): (String, i64, Vec<u8>, Vec<u8>) = db.row(
        "SELECT policy, policy_version, body, sealed FROM issued WHERE answer = ?1 AND license = ?2",
        params![answer, id.as_bytes()],
    )?;
    let license = PreparedLicense { body, sealed };
    Ok(PreparedOutcome::License {
        id,
        license,
        policy,
        policy_version: unsigned(policy_version)?,
    })
}
