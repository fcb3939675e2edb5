//! Tokens of those who may have mirror operations performed.

use std::collections::HashMap;

use keyward_license::{
    ids::{Digest, Kid},
    time::Timestamp,
};
use sqlx::SqliteConnection;

use super::{
    super::{Store, founding::record_event, id, milliseconds, timestamp},
    is_exchange_kid,
};
use crate::{Error, fail_points::Write, store::exchange::ExchangeTokenRow};

impl Store {
    /// Every exchange token, also those that were revoked, in the order of their making.
    pub(crate) async fn exchange_tokens(&self) -> Result<Vec<ExchangeTokenRow>, Error> {
        let mut db = self.readers.acquire().await?;
        let read = read(&mut db).await;
        self.noted(read)
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
                Box::pin(async move { add(db, &hash, &name, kids.as_deref(), now).await })
            })
            .await
    }

    /// Revokes an exchange token, for good. Revoking it again changes nothing.
    pub(crate) async fn revoke_exchange_token(&self, name: String, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::ExchangeTokenRevocation, move |db| {
                Box::pin(async move { revoke(db, name, now).await })
            })
            .await
    }
}

async fn read(db: &mut SqliteConnection) -> Result<Vec<ExchangeTokenRow>, Error> {
    type Row = (Vec<u8>, String, bool, i64, Option<i64>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT hash, name, every_key, created_at, revoked_at FROM exchange_tokens ORDER BY created_at, name",
    )
    .fetch_all(&mut *db)
    .await?;
    let named: Vec<(Vec<u8>, Vec<u8>)> =
        sqlx::query_as("SELECT token, kid FROM exchange_token_keys ORDER BY token, kid")
            .fetch_all(db)
            .await?;
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

async fn add(
    db: &mut SqliteConnection,
    hash: &Digest,
    name: &str,
    kids: Option<&[Kid]>,
    now: Timestamp,
) -> Result<(), Error> {
    let taken: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM exchange_tokens WHERE name = ?1)")
        .bind(name)
        .fetch_one(&mut *db)
        .await?;
    if taken {
        return Err(Error::OutOfRange {
            what: "the token's name",
            expected: "one that no other exchange token has",
        });
    }
    sqlx::query("INSERT INTO exchange_tokens (hash, name, every_key, created_at) VALUES (?1, ?2, ?3, ?4)")
        .bind(&hash.as_bytes()[..])
        .bind(name)
        .bind(kids.is_none())
        .bind(milliseconds(now))
        .execute(&mut *db)
        .await?;
    for kid in kids.unwrap_or_default() {
        if !is_exchange_kid(db, kid).await? {
            return Err(Error::ExchangeKeyUnknown(*kid));
        }
        sqlx::query("INSERT INTO exchange_token_keys (token, kid) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
            .bind(&hash.as_bytes()[..])
            .bind(&kid.as_bytes()[..])
            .execute(&mut *db)
            .await?;
    }
    let detail = match kids {
        None => "all".to_owned(),
        Some(kids) => kids.iter().map(Kid::to_string).collect::<Vec<_>>().join(" "),
    };
    record_event(db, now, "exchange-token-added", name, &detail).await
}

async fn revoke(db: &mut SqliteConnection, name: String, now: Timestamp) -> Result<(), Error> {
    let revoked: Option<Option<i64>> =
        sqlx::query_scalar("SELECT revoked_at FROM exchange_tokens WHERE name = ?1")
            .bind(&name)
            .fetch_optional(&mut *db)
            .await?;
    match revoked {
        None => Err(Error::ExchangeTokenUnknown(name)),
        Some(Some(_)) => Ok(()),
        Some(None) => {
            sqlx::query("UPDATE exchange_tokens SET revoked_at = ?2 WHERE name = ?1")
                .bind(&name)
                .bind(milliseconds(now))
                .execute(&mut *db)
                .await?;
            record_event(db, now, "exchange-token-revoked", &name, "").await
        }
    }
}
