//! Roots and what is under them: made, changed, listed, and asked about.
//!
//! Every write asks first what the schema would refuse as well, so that whoever is refused is told why.

mod chains;
mod changes;
mod channels;

use keyward_license::{ids::Kid, time::Timestamp};
use rusqlite::{Connection, Row, params};

use super::{
    Store,
    connection::Statements,
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
        self.run_sealed(Write::Root, move |db| add(db, &root, now)).await
    }

    /// Every root, in the order of their making.
    pub(crate) async fn roots(&self) -> Result<Vec<RootRow>, Error> {
        self.read(read_roots).await
    }

    /// A root.
    pub(crate) async fn root(&self, kid: &Kid) -> Result<Option<RootRow>, Error> {
        self.read(|db| read_root(db, kid)).await
    }

    /// What is under a root.
    pub(crate) async fn root_holdings(&self, kid: &Kid) -> Result<RootHoldings, Error> {
        self.read(|db| read_holdings(db, kid)).await
    }
}

fn add(db: &Connection, root: &NewRootRow, now: Timestamp) -> Result<(), Error> {
    let NewRootRow { row, fingerprints } = root;
    match space(db, &row.kid)? {
        Some(Space::Content) => return Err(Error::KidOfContent(row.kid)),
        Some(Space::Exchange) => return Err(Error::KidOfExchange(row.kid)),
        Some(Space::Root) => return Err(Error::KidOfRoot(row.kid)),
        None => {}
    }
    let taken = "SELECT EXISTS (SELECT 1 FROM roots WHERE name = ?1)";
    if db.value(taken, [&row.name])? {
        return Err(Error::RootExists(row.name.clone()));
    }
    for fingerprint in fingerprints {
        if is_content_value(db, fingerprint)? {
            return Err(Error::KeyOfContent(row.kid));
        }
        if is_exchange_value(db, fingerprint)? {
            return Err(Error::KeyOfExchange(row.kid));
        }
        if is_root_value(db, fingerprint)? {
            return Err(Error::KeyOfRoot(row.kid));
        }
    }
    let level = row
        .minimum_security_level
        .map(|level| signed("a security level", level));
    db.run(
        "INSERT INTO roots (kid, name, sealed, minimum_security_level, accompany, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            row.kid.as_bytes(),
            &row.name,
            &row.sealed,
            level.transpose()?,
            row.accompany,
            milliseconds(now)
        ],
    )?;
    for fingerprint in fingerprints {
        db.run(
            "INSERT INTO root_fingerprints (fingerprint, root) VALUES (?1, ?2)",
            params![fingerprint, row.kid.as_bytes()],
        )?;
    }
    record_event(db, now, "root-created", &row.kid.to_string(), &row.name)
}

/// Whether a value is a root's, or 16 bytes of one.
pub(super) fn is_root_value(db: &Connection, fingerprint: &[u8; 32]) -> Result<bool, Error> {
    let known = "SELECT EXISTS (SELECT 1 FROM root_fingerprints WHERE fingerprint = ?1)";
    Ok(db.value(known, [fingerprint])?)
}

pub(super) fn read_roots(db: &Connection) -> Result<Vec<RootRow>, Error> {
    let rows: Vec<Columns> = db.rows("SELECT * FROM roots ORDER BY created_at, kid", [])?;
    rows.into_iter().map(Columns::row).collect()
}

fn read_root(db: &Connection, kid: &Kid) -> Result<Option<RootRow>, Error> {
    let row: Option<Columns> = db.row_if_any("SELECT * FROM roots WHERE kid = ?1", [kid.as_bytes()])?;
    row.map(Columns::row).transpose()
}

fn read_holdings(db: &Connection, root: &Kid) -> Result<RootHoldings, Error> {
    let contents: Vec<(String, Option<i64>, Option<i64>)> = db.rows(
        "SELECT content_id, from_period, to_period FROM root_contents WHERE root = ?1 ORDER BY content_id",
        [root.as_bytes()],
    )?;
    let keys: Vec<Vec<u8>> = db.values(
        "SELECT kid FROM root_keys WHERE root = ?1 ORDER BY kid",
        [root.as_bytes()],
    )?;
    let blackouts: Vec<(i64, String, i64, Option<i64>)> = db.rows(
        "SELECT id, content_id, from_period, to_period FROM blackouts WHERE root = ?1 ORDER BY id",
        [root.as_bytes()],
    )?;
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

struct Columns {
    kid: Vec<u8>,
    name: String,
    sealed: Vec<u8>,
    minimum_security_level: Option<i64>,
    accompany: bool,
    created_at: i64,
}

impl TryFrom<&Row<'_>> for Columns {
    type Error = rusqlite::Error;

    fn try_from(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            kid: row.get("kid")?,
            name: row.get("name")?,
            sealed: row.get("sealed")?,
            minimum_security_level: row.get("minimum_security_level")?,
            accompany: row.get("accompany")?,
            created_at: row.get("created_at")?,
        })
    }
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
