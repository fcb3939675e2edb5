//! Tokens of those who may have mirror operations performed.

use std::collections::HashMap;

use keyward_license::{
    ids::{Digest, Kid},
    time::Timestamp,
};
use rusqlite::{Connection, params};

use super::{
    super::{Store, connection::Statements, founding::record_event, id, milliseconds, timestamp},
    is_exchange_kid,
};
use crate::{Error, fail_points::Write, store::exchange::ExchangeTokenRow};

impl Store {
    /// Every exchange token, also those that were revoked, in the order of their making.
    pub(crate) async fn exchange_tokens(&self) -> Result<Vec<ExchangeTokenRow>, Error> {
        self.read(read).await
    }

    /// Adds a token for these keys, or for every exchange key.
    ///
    /// # Errors
    /// [`Error::ExchangeKeyUnknown`], [`Error::OutOfRange`] if the name is taken.
    pub(crate) async fn add_exchange_token(
        &self,
        hash: Digest,
        name: String,
        kids: Option<Vec<Kid>>,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.writer
            .run(Write::ExchangeToken, move |db| {
                add(db, &hash, &name, kids.as_deref(), now)
            })
            .await
    }

    /// Revokes an exchange token, for good. Revoking it again changes nothing.
    pub(crate) async fn revoke_exchange_token(&self, name: String, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::ExchangeTokenRevocation, move |db| revoke(db, name, now))
            .await
    }
}

fn read(db: &Connection) -> Result<Vec<ExchangeTokenRow>, Error> {
    type Row = (Vec<u8>, String, bool, i64, Option<i64>);
    let rows: Vec<Row> = db.rows(
        "SELECT hash, name, every_key, created_at, revoked_at FROM exchange_tokens ORDER BY created_at, name",
        [],
    )?;
    let named: Vec<(Vec<u8>, Vec<u8>)> = db.rows(
        "SELECT token, kid FROM exchange_token_keys ORDER BY token, kid",
        [],
    )?;
    let mut kids: HashMap<Vec<u8>, Vec<Kid>> = HashMap::new();
    for (token, kid) in named {
        kids.entry(token).or_default().push(id(&kid)?);
    }
    let token = |(hash, name, every_key, created, revoked): Row| {
        let named = kids.remove(&hash).unwrap_or_default();
        Ok(ExchangeTokenRow {
            hash: id(&hash)?,
            name,
            kids: (!every_key).then_some(named),
            created: timestamp(created),
            revoked: revoked.map(timestamp),
        })
    };
    rows.into_iter().map(token).collect()
}

fn add(
    db: &Connection,
    hash: &Digest,
    name: &str,
    kids: Option<&[Kid]>,
    now: Timestamp,
) -> Result<(), Error> {
    let taken: bool = db.value(
        "SELECT EXISTS (SELECT 1 FROM exchange_tokens WHERE name = ?1)",
        params![name],
    )?;
    if taken {
        return Err(Error::OutOfRange {
            what: "the token's name",
            expected: "one that no other exchange token has",
        });
    }
    db.run(
        "INSERT INTO exchange_tokens (hash, name, every_key, created_at) VALUES (?1, ?2, ?3, ?4)",
        params![&hash.as_bytes()[..], name, kids.is_none(), milliseconds(now)],
    )?;
    for kid in kids.unwrap_or_default() {
        if !is_exchange_kid(db, kid)? {
            return Err(Error::ExchangeKeyUnknown(*kid));
        }
        db.run(
            "INSERT INTO exchange_token_keys (token, kid) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![&hash.as_bytes()[..], &kid.as_bytes()[..]],
        )?;
    }
    let detail = match kids {
        None => "all".to_owned(),
        Some(kids) => kids.iter().map(Kid::to_string).collect::<Vec<_>>().join(" "),
    };
    record_event(db, now, "exchange-token-added", name, &detail)
}

fn revoke(db: &Connection, name: String, now: Timestamp) -> Result<(), Error> {
    let revoked: Option<Option<i64>> = db.value_if_any(
        "SELECT revoked_at FROM exchange_tokens WHERE name = ?1",
        params![&name],
    )?;
    match revoked {
        None => Err(Error::ExchangeTokenUnknown(name)),
        Some(Some(_)) => Ok(()),
        Some(None) => {
            db.run(
                "UPDATE exchange_tokens SET revoked_at = ?2 WHERE name = ?1",
                params![&name, milliseconds(now)],
            )?;
            record_event(db, now, "exchange-token-revoked", &name, "")
        }
    }
}
