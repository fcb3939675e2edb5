//! Licenses: what a device and its account may have, and what was issued.

use keyward_license::{
    ids::{DeviceId, Kid, LicenseId, Nonce},
    license::{KeyType, PreparedLicense},
    request::StoreState,
    time::Timestamp,
};
use sqlx::SqliteConnection;

use super::{Store, id, milliseconds, signed, timestamp, unsigned};
use crate::{
    Error, Refusal,
    policy::{Policy, PolicyTerms},
    store::{
        AnswerRecord, AnsweredRow, Basis, DeviceRow, Grant, KeyRow, KeySource, PreparedAnswer,
        PreparedOutcome, PreparedResult, Recorded, RightRow, records::decode_results,
    },
};

impl Store {
    /// The device, with what it did with this nonce and this epoch of its store.
    pub(crate) async fn device(
        &self,
        device: &DeviceId,
        nonce: &Nonce,
        store: &StoreState,
    ) -> Result<Option<DeviceRow>, Error> {
        let mut db = self.readers.acquire().await?;
        read_device(&mut db, device, nonce, store).await
    }

    /// What `account` may have of `kid` at `now`: an entitlement to the key id goes before one to all.
    pub(crate) async fn right(&self, account: i64, kid: &Kid, now: Timestamp) -> Result<RightRow, Error> {
        let mut db = self.readers.acquire().await?;
        read_right(&mut db, account, kid, now).await
    }

    /// Records an answer, unless the device, the nonce, the store generation or a right forbid it. All are
    /// judged here again, in the transaction: they were read before it, and others write meanwhile.
    ///
    /// # Errors
    /// V-042, V-043, V-044; [`Refusal::Busy`] if what the answer was decided on has changed, so that it
    /// must be decided again; [`Refusal::Failed`].
    pub(crate) async fn record_answer(
        &self,
        answer: PreparedAnswer,
        basis: Basis,
    ) -> Result<AnswerRecord, Refusal> {
        self.writer
            .run(move |db| Box::pin(record_answer(db, answer, basis)))
            .await
    }

    /// Keeps the signed answer for the case that the same request comes again. Nobody waits for it: if
    /// it is lost, the answer is signed again from what was recorded.
    pub(crate) async fn keep_answer(
        &self,
        device: DeviceId,
        nonce: Nonce,
        answer: Vec<u8>,
    ) -> Result<(), Error> {
        self.writer
            .submit(move |db| {
                Box::pin(async move {
                    sqlx::query(
                        "UPDATE answers SET answer = ?3 WHERE device = ?1 AND nonce = ?2 AND answer IS NULL",
                    )
                    .bind(&device.as_bytes()[..])
                    .bind(&nonce.as_bytes()[..])
                    .bind(answer)
                    .execute(&mut *db)
                    .await?;
                    Ok::<_, Error>(())
                })
            })
            .await
            .map(drop)
    }
}

type RightTuple = (
    i64,
    Option<i64>,
    Option<Vec<u8>>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<bool>,
    Option<i64>,
    Option<i64>,
);

pub(super) fn key_row(
    kid: Kid,
    key_type: i64,
    seed: Option<i64>,
    sealed: Option<Vec<u8>>,
) -> Result<KeyRow, Error> {
    let key_type =
        KeyType::from_number(unsigned(key_type)?).ok_or(Error::Damaged("a key has no known type"))?;
    let source = match (seed, sealed) {
        (Some(seed), None) => KeySource::Seed(unsigned(seed)?),
        (None, Some(sealed)) => KeySource::Sealed(sealed),
        _ => return Err(Error::Damaged("a key has not exactly one source")),
    };
    Ok(KeyRow {
        kid,
        key_type,
        source,
    })
}

pub(super) fn policy(
    name: String,
    version: i64,
    begin: Option<i64>,
    duration: Option<i64>,
    persistent_allowed: bool,
    level: i64,
) -> Result<Policy, Error> {
    let terms = PolicyTerms {
        begin_offset_seconds: begin,
        duration_seconds: duration.map(unsigned).transpose()?,
        persistent_allowed,
        minimum_security_level: unsigned(level)?,
    };
    Ok(Policy {
        name,
        version: unsigned(version)?,
        terms,
    })
}

async fn read_right(
    db: &mut SqliteConnection,
    account: i64,
    kid: &Kid,
    now: Timestamp,
) -> Result<RightRow, Error> {
    let row: Option<RightTuple> = sqlx::query_as(
        "SELECT k.key_type, k.seed, k.sealed, p.name, p.version, p.begin_offset_seconds,
                p.duration_seconds, p.persistent_allowed, p.minimum_security_level, e.expires_at
         FROM keys k
         LEFT JOIN entitlements e ON e.account = ?1 AND (e.kid = k.kid OR e.kid IS NULL)
             AND e.revoked_at IS NULL AND (e.expires_at IS NULL OR e.expires_at > ?2)
         LEFT JOIN policies p ON p.name = e.policy
             AND p.version = (SELECT max(version) FROM policies WHERE name = e.policy)
         WHERE k.kid = ?3 ORDER BY e.kid IS NULL LIMIT 1",
    )
    .bind(account)
    .bind(milliseconds(now))
    .bind(&kid.as_bytes()[..])
    .fetch_optional(db)
    .await?;
    let Some((key_type, seed, sealed, name, version, begin, duration, persistent, level, expires)) = row
    else {
        return Ok(RightRow {
            key: None,
            grant: None,
        });
    };
    let key = Some(key_row(*kid, key_type, seed, sealed)?);
    let grant = match (name, version, persistent, level) {
        (Some(name), Some(version), Some(persistent), Some(level)) => Some(Grant {
            policy: policy(name, version, begin, duration, persistent, level)?,
            expires: expires.map(timestamp),
        }),
        _ => None,
    };
    Ok(RightRow { key, grant })
}

async fn read_device(
    db: &mut SqliteConnection,
    device: &DeviceId,
    nonce: &Nonce,
    store: &StoreState,
) -> Result<Option<DeviceRow>, Error> {
    type Row = (
        i64,
        i64,
        Option<i64>,
        Option<i64>,
        Option<Vec<u8>>,
        Option<Vec<u8>>,
    );
    let row: Option<Row> = sqlx::query_as(
        "SELECT d.account, d.security_level, d.revoked_at, s.generation, a.request, a.answer
         FROM devices d
         LEFT JOIN store_epochs s ON s.device = d.id AND s.epoch = ?3
         LEFT JOIN answers a ON a.device = d.id AND a.nonce = ?2
         WHERE d.id = ?1 AND d.role = 'device'",
    )
    .bind(&device.as_bytes()[..])
    .bind(&nonce.as_bytes()[..])
    .bind(&store.epoch.as_bytes()[..])
    .fetch_optional(db)
    .await?;
    let Some((account, level, revoked_at, generation, request, answer)) = row else {
        return Ok(None);
    };
    let answered = request
        .map(|request| {
            Ok::<_, Error>(AnsweredRow {
                request: id(&request)?,
                answer,
            })
        })
        .transpose()?;
    Ok(Some(DeviceRow {
        account,
        security_level: unsigned(level)?,
        revoked: revoked_at.is_some(),
        generation: generation.map(unsigned).transpose()?,
        answered,
    }))
}

async fn record_answer(
    db: &mut SqliteConnection,
    answer: PreparedAnswer,
    basis: Basis,
) -> Result<AnswerRecord, Refusal> {
    let store = &basis.store;
    let row = read_device(db, &answer.device, &answer.nonce, store)
        .await?
        .ok_or(Refusal::DeviceUnknown)?;
    // V-042
    if row.revoked {
        return Err(Refusal::DeviceRevoked);
    }
    // V-043
    match row.answered {
        Some(answered) if answered.request != answer.request => return Err(Refusal::NonceReused),
        Some(AnsweredRow {
            answer: Some(bytes), ..
        }) => return Ok(AnswerRecord::Answered(bytes)),
        Some(_) => return Ok(AnswerRecord::ToSign(read_answer(db, &answer).await?)),
        None => {}
    }
    // V-044
    if row.generation.is_some_and(|seen| store.generation < seen) {
        return Err(Refusal::StoreRolledBack);
    }
    if (row.account, row.security_level) != (basis.account, basis.security_level) {
        return Err(Refusal::Busy("the device was enrolled anew meanwhile"));
    }
    for (kid, grant) in &basis.grants {
        let right = read_right(db, basis.account, kid, answer.server_time).await?;
        if right.grant.as_ref() != Some(grant) {
            return Err(Refusal::Busy("the account's entitlements changed meanwhile"));
        }
    }
    insert_answer(db, &answer, store).await?;
    Ok(AnswerRecord::ToSign(Recorded(answer)))
}

async fn insert_answer(
    db: &mut SqliteConnection,
    answer: &PreparedAnswer,
    store: &StoreState,
) -> Result<(), Error> {
    let device = &answer.device.as_bytes()[..];
    sqlx::query(
        "INSERT INTO store_epochs (device, epoch, generation, seen_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET generation = excluded.generation, seen_at = excluded.seen_at",
    )
    .bind(device)
    .bind(&store.epoch.as_bytes()[..])
    .bind(signed("the store generation", store.generation)?)
    .bind(milliseconds(answer.server_time))
    .execute(&mut *db)
    .await?;
    let row = sqlx::query(
        "INSERT INTO answers (device, nonce, request, results, answered_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .bind(device)
    .bind(&answer.nonce.as_bytes()[..])
    .bind(&answer.request.as_bytes()[..])
    .bind(answer.encode_results())
    .bind(milliseconds(answer.server_time))
    .execute(&mut *db)
    .await?
    .last_insert_rowid();
    for result in &answer.results {
        if let PreparedOutcome::License {
            id,
            license,
            policy,
            policy_version,
        } = &result.outcome
        {
            sqlx::query(
                "INSERT INTO issued (license, answer, kid, policy, policy_version, body, sealed)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )
            .bind(&id.as_bytes()[..])
            .bind(row)
            .bind(&result.kid.as_bytes()[..])
            .bind(policy)
            .bind(signed("a policy version", *policy_version)?)
            .bind(&license.body)
            .bind(&license.sealed)
            .execute(&mut *db)
            .await?;
        }
    }
    Ok(())
}

/// What was recorded for the same request earlier.
async fn read_answer(
    db: &mut SqliteConnection,
    asked: &PreparedAnswer,
) -> Result<Recorded<PreparedAnswer>, Error> {
    let (row, results, answered_at): (i64, Vec<u8>, i64) =
        sqlx::query_as("SELECT id, results, answered_at FROM answers WHERE device = ?1 AND nonce = ?2")
            .bind(&asked.device.as_bytes()[..])
            .bind(&asked.nonce.as_bytes()[..])
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
    Ok(Recorded(PreparedAnswer {
        device: asked.device,
        nonce: asked.nonce,
        request: asked.request,
        server_time: timestamp(answered_at),
        results,
    }))
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
