//! What a license request asks the database: who is the device, and what may its account have? Many requests
//! in one statement.
//!
//! What it finds comes as one JSON document: SQLite hands out every value by itself, each with an allocation
//! under a lock that all its threads share, and two dozen a license cost more than finding them.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use keyward_license::ids::{Digest, Kid};
use moka::sync::Cache;
use serde::Deserialize;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{issuance::key_row, milliseconds, policies::policy, timestamp, unsigned};
use crate::{
    Error,
    policy::Policy,
    store::{DeviceRow, Found, Grant, Question, RightRow, roots::TrackRow},
};

/// Answers each of at most [`TOGETHER`](super::issuance::TOGETHER) questions, in their order. A row that is
/// damaged fails the question that it belongs to.
pub(super) async fn look_up(
    db: &mut SqliteConnection,
    questions: &[&Question],
    known: &KnownPolicies,
) -> Result<Vec<Result<Found, Error>>, Error> {
    let mut statement =
        QueryBuilder::<Sqlite>::new("WITH asked (item, place, device, nonce, epoch, kid, at) AS (");
    statement.push_values(lines(questions), |mut row, (item, place, question, kid)| {
        row.push_bind(item)
            .push_bind(place)
            .push_bind(question.device.as_bytes().to_vec())
            .push_bind(question.nonce.as_bytes().to_vec())
            .push_bind(question.store.epoch.as_bytes().to_vec())
            .push_bind(kid.map(|kid| kid.as_bytes().to_vec()))
            .push_bind(milliseconds(question.now));
    });
    statement.push(LOOK_UP);
    let rows: String = statement.build_query_scalar().fetch_one(&mut *db).await?;
    let rows: Vec<Row> =
        serde_json::from_str(&rows).map_err(|_| Error::Damaged("what a device may have cannot be read"))?;
    let policies = policies(db, &rows, known).await?;
    let mut rows_of: Vec<Vec<Row>> = questions.iter().map(|_| Vec::new()).collect();
    for row in rows {
        if let Some(rows) = rows_of.get_mut(row.item) {
            rows.push(row);
        }
    }
    Ok(questions
        .iter()
        .zip(rows_of)
        .map(|(question, rows)| found(question, rows, &policies))
        .collect())
}

/// Policies that were read before. What a version of a policy says stays as it is, and so do its row and what is
/// kept here; which version is the newest is asked every time.
#[derive(Clone)]
pub(super) struct KnownPolicies {
    held: Cache<(String, i64), Arc<Policy>>,
    /// Whether what is read now is kept.
    grows: bool,
}

impl KnownPolicies {
    pub(super) fn new() -> Self {
        Self {
            held: Cache::new(POLICIES),
            grows: true,
        }
    }

    /// The same, for reading what is not committed and may never be: nothing of it is kept.
    pub(super) fn in_transaction(self) -> Self {
        Self { grows: false, ..self }
    }
}

/// Policies held, some hundred bytes each.
const POLICIES: u64 = 1000;

/// The policies that rows name; none for one that cannot be read.
type Policies = HashMap<(String, i64), Option<Arc<Policy>>>;

async fn policies(db: &mut SqliteConnection, rows: &[Row], known: &KnownPolicies) -> Result<Policies, Error> {
    let mut policies = Policies::new();
    for row in rows {
        let Some(key) = row.name.clone().zip(row.version) else {
            continue;
        };
        let Entry::Vacant(place) = policies.entry(key) else {
            continue;
        };
        let (name, version) = place.key();
        let read = match known.held.get(place.key()) {
            Some(policy) => Some(policy),
            None => {
                let terms: String =
                    sqlx::query_scalar("SELECT terms FROM policies WHERE name = ?1 AND version = ?2")
                        .bind(name)
                        .bind(version)
                        .fetch_one(&mut *db)
                        .await?;
                let read = policy(name.clone(), *version, &terms).ok().map(Arc::new);
                if let Some(policy) = read.as_ref().filter(|_| known.grows) {
                    known.held.insert(place.key().clone(), Arc::clone(policy));
                }
                read
            }
        };
        place.insert(read);
    }
    Ok(policies)
}

/// A line for each key id of each question, with their places; one for a question without any.
fn lines<'q>(questions: &[&'q Question]) -> Vec<(i64, Option<i64>, &'q Question, Option<&'q Kid>)> {
    let mut lines = Vec::with_capacity(questions.len());
    for (item, question) in (0..).zip(questions) {
        if question.kids.is_empty() {
            lines.push((item, None, *question, None));
        }
        let kids = (0..).zip(&question.kids);
        lines.extend(kids.map(|(place, kid)| (item, Some(place), *question, Some(kid))));
    }
    lines
}

/// An entitlement to the key id goes before one to all. The index of live entitlements has `x''` for all. A key id is
/// one of content or one of key exchange, never both; whose entitlement to all covers content alone.
const LOOK_UP: &str = ")
     SELECT json_group_array(json_array(
                a.item, a.place, d.account, d.security_level, d.revoked_at, s.generation, nullif(hex(n.request), ''),
                iif(x.kid IS NULL, k.key_type, 5), k.seed, nullif(hex(k.sealed), ''),
                ifnull(k.minimum_security_level, x.minimum_security_level),
                json(iif(e.kid IS NULL, 'false', 'true')), e.expires_at, p.name, p.version,
                c.name, t.content_id, t.label, nullif(t.period, -1),
                json(CASE WHEN NOT EXISTS (SELECT 1 FROM roots) THEN 'false'
                     WHEN EXISTS (SELECT 1 FROM roots WHERE kid = a.kid)
                         OR EXISTS (SELECT 1 FROM root_contents WHERE content_id = t.content_id)
                         OR EXISTS (SELECT 1 FROM root_keys WHERE kid = a.kid) THEN 'true' ELSE 'false' END)))
     FROM asked a
     LEFT JOIN devices d ON d.id = a.device AND d.role = 'device'
     LEFT JOIN accounts c ON c.id = d.account
     LEFT JOIN store_epochs s ON s.device = d.id AND s.epoch = a.epoch
     LEFT JOIN answers n ON n.device = d.id AND n.nonce = a.nonce
     LEFT JOIN keys k ON k.kid = a.kid
     LEFT JOIN exchange_keys x ON x.kid = a.kid
     LEFT JOIN tracks t ON t.kid = k.kid
     LEFT JOIN entitlements e ON e.account = d.account AND ifnull(e.kid, x'') IN (ifnull(k.kid, x.kid), x'')
         AND e.revoked_at IS NULL AND (e.expires_at IS NULL OR e.expires_at > a.at)
     LEFT JOIN policies p ON p.name = e.policy
         AND p.version = (SELECT max(version) FROM policies WHERE name = e.policy)";

/// A row, its values in the order in which they are selected; bytes are in hexadecimal.
#[derive(Deserialize)]
struct Row {
    item: usize,
    place: Option<usize>,
    account: Option<i64>,
    security_level: Option<i64>,
    revoked_at: Option<i64>,
    generation: Option<i64>,
    answered: Option<String>,
    key_type: Option<i64>,
    seed: Option<i64>,
    sealed: Option<String>,
    key_level: Option<i64>,
    particular: bool,
    expires_at: Option<i64>,
    name: Option<String>,
    version: Option<i64>,
    account_name: Option<String>,
    content_id: Option<String>,
    label: Option<String>,
    period: Option<i64>,
    chained: bool,
}

fn found(question: &Question, rows: Vec<Row>, policies: &Policies) -> Result<Found, Error> {
    let device = rows.first().map(device).transpose()?.flatten();
    let mut rights: Vec<Option<RightRow>> = question.kids.iter().map(|_| None).collect();
    for row in rows {
        let place = row
            .place
            .and_then(|place| rights.get_mut(place).zip(question.kids.get(place)));
        let Some((held, kid)) = place else {
            continue;
        };
        if row.particular || held.is_none() {
            *held = Some(right(*kid, row, policies)?);
        }
    }
    let rights = rights.into_iter().map(Option::unwrap_or_default).collect();
    Ok(Found { device, rights })
}

fn device(row: &Row) -> Result<Option<DeviceRow>, Error> {
    let (Some(account), Some(level), Some(name)) = (row.account, row.security_level, &row.account_name)
    else {
        return Ok(None);
    };
    Ok(Some(DeviceRow {
        account,
        account_name: name.clone(),
        security_level: unsigned(level)?,
        revoked: row.revoked_at.is_some(),
        generation: row.generation.map(unsigned).transpose()?,
        answered: row.answered.as_deref().map(digest).transpose()?,
    }))
}

fn digest(hexadecimal: &str) -> Result<Digest, Error> {
    let mut digest = [0; 32];
    hex::decode_to_slice(hexadecimal, &mut digest)
        .map_err(|_| Error::Damaged("an id has the wrong length"))?;
    Ok(Digest::new(digest))
}

fn right(kid: Kid, row: Row, policies: &Policies) -> Result<RightRow, Error> {
    let sealed = row.sealed.as_deref().map(hex::decode).transpose();
    let sealed = sealed.map_err(|_| Error::Damaged("a sealed key cannot be read"))?;
    let key = match row.key_type {
        Some(key_type) => Some(key_row(kid, key_type, (row.seed, sealed), row.key_level)?),
        None => None,
    };
    let covered = row.particular || row.key_type != Some(EXCHANGE);
    let grant = match row.name.filter(|_| covered).zip(row.version) {
        Some(named) => {
            let read = policies.get(&named).and_then(Option::as_deref);
            let policy = read.ok_or(Error::Damaged(
                "the terms of a policy cannot be read by this version",
            ))?;
            Some(Grant {
                policy: policy.clone(),
                expires: row.expires_at.map(timestamp),
            })
        }
        None => None,
    };
    let period = row.period.map(unsigned).transpose()?;
    let track = row.content_id.zip(row.label).map(|(content_id, label)| TrackRow {
        content_id,
        label,
        period,
    });
    Ok(RightRow {
        key,
        grant,
        track,
        chained: row.chained,
    })
}

/// The type of exchange keys, as the license numbers it.
const EXCHANGE: i64 = 5;

#[cfg(test)]
mod tests {
    use keyward_license::{
        ids::{EpochId, Nonce},
        request::StoreState,
    };

    use super::*;
    use crate::{
        common::{KID, NOW, World},
        policy::PolicyTerms,
        store::sqlite::policies::insert_policy,
    };

    /// The version of the policy that the device's account has the key under, and whether licenses are stored.
    async fn granted(db: &mut SqliteConnection, question: &Question, known: &KnownPolicies) -> (u64, bool) {
        let found = look_up(db, &[question], known).await.unwrap().remove(0).unwrap();
        let policy = found.rights.into_iter().next().unwrap().grant.unwrap().policy;
        (policy.version, policy.terms.persistent_allowed)
    }

    #[tokio::test]
    async fn a_policy_that_was_not_committed_is_not_remembered() {
        let world = World::new().await;
        let question = Question {
            device: world.device(3).await.id(),
            nonce: Nonce::new([1; 16]),
            store: StoreState {
                epoch: EpochId::new([1; 16]),
                generation: 1,
            },
            kids: vec![KID],
            now: NOW,
        };
        let known = KnownPolicies::new();
        let inside = known.clone().in_transaction();
        let terms = |persistent_allowed| PolicyTerms {
            persistent_allowed,
            ..PolicyTerms::DEFAULT
        };
        let mut db = world.locked().await;
        insert_policy(&mut db, "default", &terms(false), NOW)
            .await
            .unwrap();
        assert_eq!(granted(&mut db, &question, &inside).await, (2, false));
        sqlx::query("ROLLBACK").execute(&mut *db).await.unwrap();
        assert_eq!(granted(&mut db, &question, &known).await, (1, true));

        insert_policy(&mut db, "default", &terms(true), NOW)
            .await
            .unwrap();
        for _ in 0..2 {
            assert_eq!(granted(&mut db, &question, &known).await, (2, true));
            assert_eq!(granted(&mut db, &question, &inside).await, (2, true));
        }
    }
}
