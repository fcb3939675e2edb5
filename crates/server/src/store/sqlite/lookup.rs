//! What a license request asks the database: who is the device, and what may its account have?

use std::sync::Arc;

use keyward_license::ids::Kid;
use moka::sync::Cache;
use rusqlite::{Connection, Row, params};

use super::{
    connection::Statements, id, issuance::key_row, milliseconds, policies::policy, revocation::generation,
    timestamp, unsigned,
};
use crate::{
    Error,
    policy::Policy,
    store::{DeviceRow, Found, Grant, Question, RightRow, roots::TrackRow},
};

/// Answers a question, within one transaction.
pub(super) fn look_up(db: &Connection, question: &Question, known: &KnownPolicies) -> Result<Found, Error> {
    let device = device(db, question)?;
    let account = device.as_ref().map(|device| device.account);
    let now = milliseconds(question.now);
    let rights = question
        .kids
        .iter()
        .map(|kid| right(db, *kid, (account, now), known));
    Ok(Found {
        rights: rights.collect::<Result<_, _>>()?,
        device,
        generation: generation(db)?,
    })
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

impl KnownPolicies {
    pub(super) fn get(&self, db: &Connection, name: String, version: i64) -> Result<Arc<Policy>, Error> {
        let key = (name, version);
        if let Some(policy) = self.held.get(&key) {
            return Ok(policy);
        }
        let terms: String = db.value(
            "SELECT terms FROM policies WHERE name = ?1 AND version = ?2",
            params![key.0, version],
        )?;
        let read = Arc::new(policy(key.0.clone(), version, &terms)?);
        if self.grows {
            self.held.insert(key, Arc::clone(&read));
        }
        Ok(read)
    }
}

fn device(db: &Connection, question: &Question) -> Result<Option<DeviceRow>, Error> {
    type Row = (i64, String, i64, Option<i64>, Option<i64>, Option<Vec<u8>>);
    let row: Option<Row> = db.row_if_any(
        "SELECT d.account, c.name, d.security_level, d.revoked_at, s.generation, n.request
         FROM devices d
         JOIN accounts c ON c.id = d.account
         LEFT JOIN store_epochs s ON s.device = d.id AND s.epoch = ?3
         LEFT JOIN answers n ON n.device = d.id AND n.nonce = ?2
         WHERE d.id = ?1 AND d.role = 'device'",
        params![
            question.device.as_bytes(),
            question.nonce.as_bytes(),
            question.store.epoch.as_bytes()
        ],
    )?;
    row.map(
        |(account, account_name, level, revoked_at, generation, request)| {
            Ok(DeviceRow {
                account,
                account_name,
                security_level: unsigned(level)?,
                revoked: revoked_at.is_some(),
                generation: generation.map(unsigned).transpose()?,
                answered: request.as_deref().map(id).transpose()?,
            })
        },
    )
    .transpose()
}

/// What an account may have of a key id. An entitlement to the key id goes before one to all.
fn right(
    db: &Connection,
    kid: Kid,
    (account, now): (Option<i64>, i64),
    known: &KnownPolicies,
) -> Result<RightRow, Error> {
    let row: RightColumns = db.row(RIGHT, params![kid.as_bytes(), account, now])?;
    let key = row
        .key_type
        .map(|key_type| key_row(kid, key_type, (row.seed, row.sealed), row.key_level));
    let covered = row.particular || row.key_type != Some(EXCHANGE);
    let named = row.policy.zip(row.version).filter(|_| covered);
    let grant = named.map(|(name, version)| {
        Ok::<_, Error>(Grant {
            policy: known.get(db, name, version)?,
            expires: row.expires_at.map(timestamp),
        })
    });
    let period = row.period.map(unsigned).transpose()?;
    let track = row.content_id.zip(row.label).map(|(content_id, label)| TrackRow {
        content_id,
        label,
        period,
    });
    Ok(RightRow {
        key: key.transpose()?,
        grant: grant.transpose()?,
        track,
        chained: row.chained,
    })
}

/// In the order in which they are selected.
struct RightColumns {
    key_type: Option<i64>,
    seed: Option<i64>,
    sealed: Option<Vec<u8>>,
    key_level: Option<i64>,
    particular: bool,
    expires_at: Option<i64>,
    policy: Option<String>,
    version: Option<i64>,
    content_id: Option<String>,
    label: Option<String>,
    period: Option<i64>,
    chained: bool,
}

impl TryFrom<&Row<'_>> for RightColumns {
    type Error = rusqlite::Error;

    fn try_from(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            key_type: row.get(0)?,
            seed: row.get(1)?,
            sealed: row.get(2)?,
            key_level: row.get(3)?,
            particular: row.get(4)?,
            expires_at: row.get(5)?,
            policy: row.get(6)?,
            version: row.get(7)?,
            content_id: row.get(8)?,
            label: row.get(9)?,
            period: row.get(10)?,
            chained: row.get(11)?,
        })
    }
}

/// One row, whatever there is. The index of live entitlements has `x''` for all. A key id is one of content or one of key
/// exchange, never both; an entitlement to all covers content alone.
const RIGHT: &str = "
     SELECT iif(x.kid IS NULL, k.key_type, 5), k.seed, k.sealed,
            ifnull(k.minimum_security_level, x.minimum_security_level),
            e.id IS NOT NULL, iif(e.id IS NULL, a.expires_at, e.expires_at), ifnull(e.policy, a.policy),
            (SELECT max(version) FROM policies WHERE name = ifnull(e.policy, a.policy)),
            t.content_id, t.label, nullif(t.period, -1),
            EXISTS (SELECT 1 FROM roots)
                AND (EXISTS (SELECT 1 FROM roots WHERE kid = ?1)
                     OR EXISTS (SELECT 1 FROM root_contents WHERE content_id = t.content_id)
                     OR EXISTS (SELECT 1 FROM root_keys WHERE kid = ?1))
     FROM (SELECT 1)
     LEFT JOIN keys k ON k.kid = ?1
     LEFT JOIN exchange_keys x ON x.kid = ?1
     LEFT JOIN tracks t ON t.kid = ?1
     LEFT JOIN entitlements e ON e.account = ?2 AND ifnull(e.kid, x'') = ?1
         AND e.revoked_at IS NULL AND (e.expires_at IS NULL OR e.expires_at > ?3)
     LEFT JOIN entitlements a ON a.account = ?2 AND ifnull(a.kid, x'') = x''
         AND a.revoked_at IS NULL AND (a.expires_at IS NULL OR a.expires_at > ?3)";

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
    fn granted(db: &Connection, question: &Question, known: &KnownPolicies) -> (u64, bool) {
        let found = look_up(db, question, known).unwrap();
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
        let db = Connection::open(world.dir().join("keyward.db")).unwrap();
        db.run("BEGIN IMMEDIATE", []).unwrap();
        insert_policy(&db, "default", &terms(false), NOW).unwrap();
        assert_eq!(granted(&db, &question, &inside), (2, false));
        db.run("ROLLBACK", []).unwrap();
        assert_eq!(granted(&db, &question, &known), (1, true));

        insert_policy(&db, "default", &terms(true), NOW).unwrap();
        for _ in 0..2 {
            assert_eq!(granted(&db, &question, &known), (2, true));
            assert_eq!(granted(&db, &question, &inside), (2, true));
        }
    }
}
