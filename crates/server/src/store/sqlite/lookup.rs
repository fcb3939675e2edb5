//! What a license request asks the database: who is the device, and what may its account have? Many requests
//! in one statement.

use std::collections::HashMap;

use keyward_license::ids::Kid;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{id, issuance::key_row, milliseconds, policies::policy, timestamp, unsigned};
use crate::{
    Error,
    store::{DeviceRow, Found, Grant, Question, RightRow},
};

/// Answers each of at most [`TOGETHER`](super::issuance::TOGETHER) questions, in their order. A row that is
/// damaged fails the question that it belongs to.
pub(super) async fn look_up(
    db: &mut SqliteConnection,
    questions: &[&Question],
) -> Result<Vec<Result<Found, Error>>, Error> {
    let mut statement = QueryBuilder::<Sqlite>::new("WITH asked (item, device, nonce, epoch, kid, at) AS (");
    statement.push_values(lines(questions), |mut row, (item, question, kid)| {
        row.push_bind(item)
            .push_bind(question.device.as_bytes().to_vec())
            .push_bind(question.nonce.as_bytes().to_vec())
            .push_bind(question.store.epoch.as_bytes().to_vec())
            .push_bind(kid.map(|kid| kid.as_bytes().to_vec()))
            .push_bind(milliseconds(question.now));
    });
    statement.push(LOOK_UP);
    let rows: Vec<Row> = statement.build_query_as().fetch_all(db).await?;
    let mut rows_of: Vec<Vec<Row>> = questions.iter().map(|_| Vec::new()).collect();
    for row in rows {
        let item = usize::try_from(row.item).ok();
        if let Some(rows) = item.and_then(|item| rows_of.get_mut(item)) {
            rows.push(row);
        }
    }
    Ok(questions
        .iter()
        .zip(rows_of)
        .map(|(question, rows)| found(question, rows))
        .collect())
}

/// A line for each key id of each question; one for a question without any.
fn lines<'q>(questions: &[&'q Question]) -> Vec<(i64, &'q Question, Option<&'q Kid>)> {
    let mut lines = Vec::new();
    for (item, question) in (0..).zip(questions) {
        if question.kids.is_empty() {
            lines.push((item, *question, None));
        }
        lines.extend(question.kids.iter().map(|kid| (item, *question, Some(kid))));
    }
    lines
}

/// An entitlement to the key id goes before one to all. The index of live entitlements has `x''` for all.
const LOOK_UP: &str = ")
     SELECT a.item, a.kid, d.account, d.security_level, d.revoked_at, s.generation, n.request AS answered,
            k.key_type, k.seed, k.sealed, k.minimum_security_level AS key_level,
            e.kid IS NOT NULL AS particular, e.expires_at, p.name, p.version, p.terms,
            c.name AS account_name, t.content_id, t.label
     FROM asked a
     LEFT JOIN devices d ON d.id = a.device AND d.role = 'device'
     LEFT JOIN accounts c ON c.id = d.account
     LEFT JOIN store_epochs s ON s.device = d.id AND s.epoch = a.epoch
     LEFT JOIN answers n ON n.device = d.id AND n.nonce = a.nonce
     LEFT JOIN keys k ON k.kid = a.kid
     LEFT JOIN tracks t ON t.kid = k.kid
     LEFT JOIN entitlements e ON e.account = d.account AND ifnull(e.kid, x'') IN (k.kid, x'')
         AND e.revoked_at IS NULL AND (e.expires_at IS NULL OR e.expires_at > a.at)
     LEFT JOIN policies p ON p.name = e.policy
         AND p.version = (SELECT max(version) FROM policies WHERE name = e.policy)";

#[derive(sqlx::FromRow)]
struct Row {
    item: i64,
    kid: Option<Vec<u8>>,
    account: Option<i64>,
    security_level: Option<i64>,
    revoked_at: Option<i64>,
    generation: Option<i64>,
    answered: Option<Vec<u8>>,
    key_type: Option<i64>,
    seed: Option<i64>,
    sealed: Option<Vec<u8>>,
    key_level: Option<i64>,
    particular: bool,
    expires_at: Option<i64>,
    name: Option<String>,
    version: Option<i64>,
    terms: Option<String>,
    account_name: Option<String>,
    content_id: Option<String>,
    label: Option<String>,
}

fn found(question: &Question, rows: Vec<Row>) -> Result<Found, Error> {
    let device = rows.first().map(device).transpose()?.flatten();
    let mut rights: HashMap<Kid, (bool, RightRow)> = HashMap::with_capacity(question.kids.len());
    for row in rows {
        let Some(kid) = row.kid.as_deref().map(id::<Kid>).transpose()? else {
            continue;
        };
        let particular = row.particular;
        if particular || !rights.contains_key(&kid) {
            rights.insert(kid, (particular, right(kid, row)?));
        }
    }
    let rights = question.kids.iter().map(|kid| match rights.remove(kid) {
        Some((_, right)) => right,
        None => RightRow::default(),
    });
    let rights = rights.collect();
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
        answered: row.answered.as_deref().map(id).transpose()?,
    }))
}

fn right(kid: Kid, row: Row) -> Result<RightRow, Error> {
    let key = match row.key_type {
        Some(key_type) => Some(key_row(kid, key_type, (row.seed, row.sealed), row.key_level)?),
        None => None,
    };
    let grant = match (row.name, row.version, row.terms) {
        (Some(name), Some(version), Some(terms)) => Some(Grant {
            policy: policy(name, version, &terms)?,
            expires: row.expires_at.map(timestamp),
        }),
        _ => None,
    };
    let track = row.content_id.zip(row.label);
    Ok(RightRow { key, grant, track })
}
