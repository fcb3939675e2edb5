//! Roots and what is under them: made, changed, listed, and asked about.
//!
//! Every write asks first what the schema would refuse as well, so that whoever is refused is told why.

mod chains;
mod changes;
mod channels;

use keyward_license::{ids::Kid, time::Timestamp};
use sqlx::SqliteConnection;

use super::{
    Store,
    exchange::{Space, is_content_value, is_exchange_value, space},
    founding::record_event,
    id, milliseconds, signed, timestamp, unsigned,
};
use crate::{
    Error,
    fail_points::Write,
    roots::{Blackout, Periods, RootContent, RootHoldings},
    store::roots::{NewRootRow, RootRow},
};

pub(super) use chains::{holdings, still_hold};
pub(crate) use channels::ChannelRow;

impl Store {
    /// Registers a root.
    ///
    /// # Errors
    /// [`Error::RootExists`], [`Error::KidOfContent`], [`Error::KidOfExchange`], [`Error::KidOfRoot`],
    /// [`Error::KeyOfContent`], [`Error::KeyOfExchange`], [`Error::KeyOfRoot`].
    pub(crate) async fn add_root(&self, root: NewRootRow, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::Root, move |db| {
                Box::pin(async move { add(db, &root, now).await })
            })
            .await
    }

    /// Every root, in the order of their making.
    pub(crate) async fn roots(&self) -> Result<Vec<RootRow>, Error> {
        let mut db = self.readers.acquire().await?;
        let read = read_roots(&mut db).await;
        self.noted(read)
    }

    /// A root.
    pub(crate) async fn root(&self, kid: &Kid) -> Result<Option<RootRow>, Error> {
        let mut db = self.readers.acquire().await?;
        let read = read_root(&mut db, kid).await;
        self.noted(read)
    }

    /// What is under a root.
    pub(crate) async fn root_holdings(&self, kid: &Kid) -> Result<RootHoldings, Error> {
        let mut db = self.readers.acquire().await?;
        let read = read_holdings(&mut db, kid).await;
        self.noted(read)
    }
}

async fn add(db: &mut SqliteConnection, root: &NewRootRow, now: Timestamp) -> Result<(), Error> {
    let NewRootRow { row, fingerprints } = root;
    match space(db, &row.kid).await? {
        Some(Space::Content) => return Err(Error::KidOfContent(row.kid)),
        Some(Space::Exchange) => return Err(Error::KidOfExchange(row.kid)),
        Some(Space::Root) => return Err(Error::KidOfRoot(row.kid)),
        None => {}
    }
    let taken = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM roots WHERE name = ?1)").bind(&row.name);
    if taken.fetch_one(&mut *db).await? {
        return Err(Error::RootExists(row.name.clone()));
    }
    for fingerprint in fingerprints {
        if is_content_value(db, fingerprint).await? {
            return Err(Error::KeyOfContent(row.kid));
        }
        if is_exchange_value(db, fingerprint).await? {
            return Err(Error::KeyOfExchange(row.kid));
        }
        if is_root_value(db, fingerprint).await? {
            return Err(Error::KeyOfRoot(row.kid));
        }
    }
    let level = row
        .minimum_security_level
        .map(|level| signed("a security level", level));
    sqlx::query(
        "INSERT INTO roots (kid, name, sealed, minimum_security_level, accompany, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )
    .bind(&row.kid.as_bytes()[..])
    .bind(&row.name)
    .bind(&row.sealed)
    .bind(level.transpose()?)
    .bind(row.accompany)
    .bind(milliseconds(now))
    .execute(&mut *db)
    .await?;
    for fingerprint in fingerprints {
        sqlx::query("INSERT INTO root_fingerprints (fingerprint, root) VALUES (?1, ?2)")
            .bind(&fingerprint[..])
            .bind(&row.kid.as_bytes()[..])
            .execute(&mut *db)
            .await?;
    }
    record_event(db, now, "root-created", &row.kid.to_string(), &row.name).await
}

/// Whether a value is a root's, or 16 bytes of one.
pub(super) async fn is_root_value(db: &mut SqliteConnection, fingerprint: &[u8; 32]) -> Result<bool, Error> {
    let known = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM root_fingerprints WHERE fingerprint = ?1)");
    Ok(known.bind(&fingerprint[..]).fetch_one(db).await?)
}

pub(super) async fn read_roots(db: &mut SqliteConnection) -> Result<Vec<RootRow>, Error> {
    let rows: Vec<Columns> = sqlx::query_as("SELECT * FROM roots ORDER BY created_at, kid")
        .fetch_all(db)
        .await?;
    rows.into_iter().map(Columns::row).collect()
}

async fn read_root(db: &mut SqliteConnection, kid: &Kid) -> Result<Option<RootRow>, Error> {
    let row: Option<Columns> = sqlx::query_as("SELECT * FROM roots WHERE kid = ?1")
        .bind(&kid.as_bytes()[..])
        .fetch_optional(db)
        .await?;
    row.map(Columns::row).transpose()
}

async fn read_holdings(db: &mut SqliteConnection, root: &Kid) -> Result<RootHoldings, Error> {
    let contents: Vec<(String, Option<i64>, Option<i64>)> = sqlx::query_as(
        "SELECT content_id, from_period, to_period FROM root_contents WHERE root = ?1 ORDER BY content_id",
    )
    .bind(&root.as_bytes()[..])
    .fetch_all(&mut *db)
    .await?;
    let keys: Vec<Vec<u8>> = sqlx::query_scalar("SELECT kid FROM root_keys WHERE root = ?1 ORDER BY kid")
        .bind(&root.as_bytes()[..])
        .fetch_all(&mut *db)
        .await?;
    let blackouts: Vec<(i64, String, i64, Option<i64>)> = sqlx::query_as(
        "SELECT id, content_id, from_period, to_period FROM blackouts WHERE root = ?1 ORDER BY id",
    )
    .bind(&root.as_bytes()[..])
    .fetch_all(db)
    .await?;
    let content = |(content_id, from, to)| {
        Ok::<_, Error>(RootContent {
            content_id,
            periods: periods(from, to)?,
        })
    };
    let blackout = |(id, content_id, from, to): (i64, String, i64, Option<i64>)| {
        Ok::<_, Error>(Blackout {
            id,
            content_id,
            from: unsigned(from)?,
            to: to.map(unsigned).transpose()?,
        })
    };
    Ok(RootHoldings {
        contents: contents.into_iter().map(content).collect::<Result<_, _>>()?,
        keys: keys.iter().map(|kid| id(kid)).collect::<Result<_, _>>()?,
        blackouts: blackouts.into_iter().map(blackout).collect::<Result<_, _>>()?,
    })
}

fn periods(from: Option<i64>, to: Option<i64>) -> Result<Periods, Error> {
    Ok(Periods {
        from: from.map(unsigned).transpose()?,
        to: to.map(unsigned).transpose()?,
    })
}

#[derive(sqlx::FromRow)]
struct Columns {
    kid: Vec<u8>,
    name: String,
    sealed: Vec<u8>,
    minimum_security_level: Option<i64>,
    accompany: bool,
    created_at: i64,
}

impl Columns {
    fn row(self) -> Result<RootRow, Error> {
        Ok(RootRow {
            kid: id(&self.kid)?,
            name: self.name,
            sealed: self.sealed,
            minimum_security_level: self.minimum_security_level.map(unsigned).transpose()?,
            accompany: self.accompany,
            created: timestamp(self.created_at),
        })
    }
}
