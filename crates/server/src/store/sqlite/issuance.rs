//! Licenses: what a device and its account may have, and what was issued.

use std::collections::HashSet;

use keyward_license::{
    ids::{DeviceId, Kid, LicenseId, Nonce},
    license::{KeyType, PreparedLicense},
};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{
    Store,
    authorization::use_up,
    id,
    lookup::{KnownPolicies, look_up},
    milliseconds, signed, timestamp, unsigned,
};
use crate::{
    Error, Refusal,
    store::{
        Found, KeyRow, KeySource, LicenseBasis, PreparedAnswer, PreparedOutcome, PreparedResult, Question,
        Recorded, Recording, Rests, RightRow, Verdict, records::decode_results,
    },
};

impl Store {
    /// The device, with what it did with this nonce and this epoch of its store, and what its account may
    /// have at this time. Questions that are asked at the same time share a statement.
    pub(crate) async fn look_up(&self, question: Question) -> Result<Found, Error> {
        let (_, found) = self.lookups.ask(question).await?;
        found
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
        match self.recordings.ask(recording).await? {
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
        let mut db = self.readers.acquire().await?;
        self.noted(read_answer(&mut db, device, nonce).await)
            .map(Recorded)
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

/// Records the answers that may be recorded. Refusing one takes nothing from the others; if it fails, nothing
/// of it counts.
pub(super) async fn record(
    db: &mut SqliteConnection,
    recordings: &[Recording],
    known: &KnownPolicies,
) -> Result<Vec<Verdict>, Error> {
    let mut verdicts = Vec::with_capacity(recordings.len());
    let mut left: Vec<(usize, &Recording)> = recordings.iter().enumerate().collect();
    // What a device asks later is judged by what it asked before, so each device has its turn once.
    while !left.is_empty() {
        let mut devices = HashSet::new();
        let (turn, later): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|(_, recording)| devices.insert(recording.answer.device));
        for some in turn.chunks(TOGETHER) {
            record_turn(db, some, known, &mut verdicts).await?;
        }
        left = later;
    }
    verdicts.sort_unstable_by_key(|(place, _)| *place);
    Ok(verdicts.into_iter().map(|(_, verdict)| verdict).collect())
}

/// Records answers to different devices.
async fn record_turn(
    db: &mut SqliteConnection,
    turn: &[(usize, &Recording)],
    known: &KnownPolicies,
    verdicts: &mut Vec<(usize, Verdict)>,
) -> Result<(), Error> {
    let questions: Vec<_> = turn.iter().map(|(_, recording)| question(recording)).collect();
    let found = look_up(db, &questions.iter().collect::<Vec<_>>(), known).await?;
    let mut kept = Vec::with_capacity(turn.len());
    for ((place, recording), found) in turn.iter().zip(found) {
        let verdict = match found
            .map_err(Refusal::from)
            .and_then(|found| judge(recording, &found))
        {
            Ok(Judgement::Record) => match use_up(db, recording).await? {
                Ok(()) => {
                    kept.push(*recording);
                    Verdict::Recorded
                }
                Err(refusal) => Verdict::Refused(refusal),
            },
            Ok(Judgement::Repeat) => {
                let PreparedAnswer { device, nonce, .. } = recording.answer;
                match read_answer(db, device, nonce).await {
                    Ok(answer) => Verdict::Before(answer),
                    // The database may have ended the transaction: what would be written now, would stay alone.
                    Err(error) if error.database_fault().is_some() => return Err(error),
                    Err(error) => Verdict::Refused(error.into()),
                }
            }
            Err(refusal) => Verdict::Refused(refusal),
        };
        verdicts.push((*place, verdict));
    }
    insert(db, &kept).await
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
    let Recording { answer, store, basis } = recording;
    // V-042
    let device = found.device.as_ref().ok_or(Refusal::DeviceUnknown)?;
    if device.revoked {
        return Err(Refusal::DeviceRevoked);
    }
    // V-043
    match device.answered {
        Some(request) if request == answer.request => return Ok(Judgement::Repeat),
        Some(_) => return Err(Refusal::NonceReused),
        None => {}
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

/// Writes answers to different devices, with their licenses, in one statement after the other at once.
async fn insert(db: &mut SqliteConnection, recordings: &[&Recording]) -> Result<(), Error> {
    if recordings.is_empty() {
        return Ok(());
    }
    let mut statements = QueryBuilder::<Sqlite>::new("");
    insert_epochs(&mut statements, recordings)?;
    insert_answers(&mut statements, recordings);
    insert_licenses(&mut statements, recordings)?;
    statements.build().execute(db).await?;
    Ok(())
}

fn insert_epochs(statements: &mut QueryBuilder<Sqlite>, recordings: &[&Recording]) -> Result<(), Error> {
    let generation = |recording: &Recording| signed("the store generation", recording.store.generation);
    let generations = recordings
        .iter()
        .map(|recording| Ok((recording, generation(recording)?)));
    let generations: Vec<_> = generations.collect::<Result<_, Error>>()?;
    statements.push("INSERT INTO store_epochs (device, epoch, generation, seen_at) ");
    statements.push_values(
        generations,
        |mut row, (Recording { answer, store, .. }, generation)| {
            row.push_bind(answer.device.as_bytes().to_vec())
                .push_bind(store.epoch.as_bytes().to_vec())
                .push_bind(generation)
                .push_bind(milliseconds(answer.server_time));
        },
    );
    statements
        .push(" ON CONFLICT DO UPDATE SET generation = excluded.generation, seen_at = excluded.seen_at;");
    Ok(())
}

fn insert_answers(statements: &mut QueryBuilder<Sqlite>, recordings: &[&Recording]) {
    statements
        .push("INSERT INTO answers (device, nonce, request, results, answered_at, custom_data, renew_at) ");
    statements.push_values(recordings, |mut row, Recording { answer, .. }| {
        row.push_bind(answer.device.as_bytes().to_vec())
            .push_bind(answer.nonce.as_bytes().to_vec())
            .push_bind(answer.request.as_bytes().to_vec())
            .push_bind(answer.encode_results())
            .push_bind(milliseconds(answer.server_time))
            .push_bind(answer.custom_data.clone())
            .push_bind(answer.renew_at.map(milliseconds));
    });
    statements.push(";");
}

fn insert_licenses(statements: &mut QueryBuilder<Sqlite>, recordings: &[&Recording]) -> Result<(), Error> {
    let mut licenses = Vec::new();
    for Recording { answer, .. } in recordings {
        for result in &answer.results {
            if let PreparedOutcome::License {
                id,
                license,
                policy,
                policy_version,
            } = &result.outcome
            {
                let version = signed("a policy version", *policy_version)?;
                licenses.push((answer, result.kid, id, license, policy, version));
            }
        }
    }
    for some in licenses.chunks(LICENSES) {
        insert_some(statements, some);
    }
    Ok(())
}

type Issued<'a> = (
    &'a PreparedAnswer,
    Kid,
    &'a LicenseId,
    &'a PreparedLicense,
    &'a String,
    i64,
);

fn insert_some(statements: &mut QueryBuilder<Sqlite>, licenses: &[Issued<'_>]) {
    statements.push("INSERT INTO issued (license, answer, kid, policy, policy_version, body, sealed) ");
    statements.push_values(
        licenses,
        |mut row, (answer, kid, id, license, policy, version)| {
            row.push_bind(id.as_bytes().to_vec())
                .push("(SELECT id FROM answers WHERE device = ")
                .push_bind_unseparated(answer.device.as_bytes().to_vec())
                .push_unseparated(" AND nonce = ")
                .push_bind_unseparated(answer.nonce.as_bytes().to_vec())
                .push_unseparated(")")
                .push_bind(kid.as_bytes().to_vec())
                .push_bind(policy.to_string())
                .push_bind(*version)
                .push_bind(license.body.clone())
                .push_bind(license.sealed.clone());
        },
    );
    statements.push(";");
}

/// What was recorded for a request.
async fn read_answer(
    db: &mut SqliteConnection,
    device: DeviceId,
    nonce: Nonce,
) -> Result<PreparedAnswer, Error> {
    type Row = (i64, Vec<u8>, Vec<u8>, i64, Option<Vec<u8>>, Option<i64>);
    let (row, request, results, answered_at, custom_data, renew_at): Row = sqlx::query_as(
        "SELECT id, request, results, answered_at, custom_data, renew_at FROM answers
         WHERE device = ?1 AND nonce = ?2",
    )
    .bind(&device.as_bytes()[..])
    .bind(&nonce.as_bytes()[..])
    .fetch_one(&mut *db)
    .await?;
    let stored = decode_results(&results).map_err(|_| Error::Damaged("an answer does not decode"))?;
    let mut results = Vec::with_capacity(stored.len());
    for result in stored {
        let outcome = match (result.license, result.denial) {
            (Some(license), None) => read_license(db, row, license).await?,
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
    })
}

async fn read_license(
    db: &mut SqliteConnection,
    answer: i64,
    id: LicenseId,
) -> Result<PreparedOutcome, Error> {
    let (policy, policy_version, body, sealed): (String, i64, Vec<u8>, Vec<u8>) = sqlx::query_as(
        "SELECT policy, policy_version, body, sealed FROM issued WHERE answer = ?1 AND license = ?2",
    )
    .bind(answer)
    .bind(&id.as_bytes()[..])
    .fetch_one(&mut *db)
    .await?;
    let license = PreparedLicense { body, sealed };
    Ok(PreparedOutcome::License {
        id,
        license,
        policy,
        policy_version: unsigned(policy_version)?,
    })
}

/// Licenses that share a statement of eight values each. An answer may hold more than were asked for.
const LICENSES: usize = 4000;

/// Requests that share a statement: with as many licenses each as a request may ask for, and eight values a
/// license, they stay below the 32,766 values that SQLite binds.
pub(super) const TOGETHER: usize = 15;
