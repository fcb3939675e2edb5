//! The database as it lies there, read without changing it: what `doctor` and backups judge.

use core::time::Duration;
use std::path::Path;

use keyward_license::time::Timestamp;
use rusqlite::{Connection, params};
use sqlx::{
    ConnectOptions, Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};

use super::{
    connection::{Statements, connect_to_read},
    exchange::read_keys,
    founding::{CERTIFICATES, CertificateColumns, EVENT, certificate},
    milliseconds,
    revocation::read_revoked,
    roots::read_roots,
    signed, timestamp, unsigned,
};
use crate::{
    Error,
    store::{OperatorCertificate, exchange::ExchangeKeyRow, revocation::RevokedRow, roots::RootRow},
};

/// How far the schema of a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schema {
    /// This version's.
    Current,
    /// An earlier one; opening the operator brings it up to date.
    Earlier,
    /// Of a later version of this program, or changed by somebody, or half made.
    Foreign,
}

/// What stands in the database of an operator.
#[derive(Debug)]
pub(crate) struct Examination {
    /// What is broken, as the database says it; nothing if it is whole.
    pub(crate) faults: Vec<String>,
    pub(crate) schema: Schema,
    /// Set if the schema is this version's.
    pub(crate) rows: Option<Rows>,
}

/// The rows that an operator cannot do without.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) root: Option<Vec<u8>>,
    /// Names and sealed values.
    pub(crate) secrets: Vec<(String, Vec<u8>)>,
    /// Numbers and sealed values.
    pub(crate) seeds: Vec<(u64, Vec<u8>)>,
    /// Newest first.
    pub(crate) certificates: Vec<OperatorCertificate>,
    /// When something was last written, as far as it says so.
    pub(crate) newest: Option<Timestamp>,
    pub(crate) exchange_keys: Vec<ExchangeKeyRow>,
    pub(crate) roots: Vec<ExaminedRoot>,
    /// The newest signed list of each authority.
    pub(crate) lists: Vec<ExaminedList>,
    /// What the lists of authorities name.
    pub(crate) revoked: Vec<RevokedRow>,
    /// Lists that somebody else signs, in DER.
    pub(crate) imported_lists: Vec<Vec<u8>>,
    /// Tokens that are in use.
    pub(crate) admin_tokens: u64,
    pub(crate) service_tokens: u64,
}

/// A revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExaminedList {
    /// SHA-256 of the authority's key; empty for the operator's own.
    pub(crate) authority: Vec<u8>,
    pub(crate) issued: Timestamp,
    pub(crate) next_update: Timestamp,
}

/// A root, and how much is under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExaminedRoot {
    pub(crate) row: RootRow,
    /// Pieces of content and single keys.
    pub(crate) held: u64,
    /// Keys of these that are for a higher security level than the root's.
    pub(crate) above: u64,
}

impl Examination {
    /// Reads the database at `path`, whose server may run.
    ///
    /// # Errors
    /// [`Error::NoDatabase`], [`Error::Database`] if it cannot be read at all.
    pub(crate) async fn of(path: &Path) -> Result<Self, Error> {
        find(path)?;
        let mut db = options(path).read_only(true).connect().await?;
        let examined = Self::read(path, &mut db).await;
        db.close().await.ok();
        examined
    }

    async fn read(path: &Path, db: &mut SqliteConnection) -> Result<Self, Error> {
        let mut faults = faults(db).await?;
        let schema = schema(db).await?;
        if schema == Schema::Current {
            faults.extend(key_faults(db).await?);
        }
        let rows = match schema {
            Schema::Current if faults.is_empty() => Some(rows(path, db).await?),
            _ => None,
        };
        Ok(Self { faults, schema, rows })
    }
}

/// What every schema has: the root certificate, and names and values of the sealed secrets.
pub(crate) type Core = (Vec<u8>, Vec<(String, Vec<u8>)>);

/// Reads the [`Core`] of the database at `path`, whatever its version.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn core(path: &Path) -> Result<Core, Error> {
    let mut db = options(path).read_only(true).connect().await?;
    let read = async {
        let root = root(&mut db)
            .await?
            .ok_or(Error::Damaged("the root certificate is missing"))?;
        Ok((root, secrets(&mut db).await?))
    }
    .await;
    db.close().await.ok();
    read
}

/// Records in the database at `path`, which nobody else has open, that it was restored.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn record_restored(path: &Path, made: Timestamp, now: Timestamp) -> Result<(), Error> {
    let mut db = options(path).connect().await?;
    let detail = format!("backup of {}", made.0);
    let recorded = record_event(&mut db, now, "operator-restored", &detail).await;
    db.close().await?;
    recorded
}

/// Copies the database at `from`, whose server may run, to the empty file `to`: the state between two commits.
/// That it was copied stands in both, with the detail; `recorded` is called when it does in the first.
///
/// # Errors
/// [`Error::NoDatabase`], [`Error::Database`].
pub(crate) async fn copy(
    from: &Path,
    to: &Path,
    (detail, now): (&str, Timestamp),
    recorded: impl FnOnce(),
) -> Result<(), Error> {
    find(from)?;
    let target = to.to_str().ok_or(Error::OutOfRange {
        what: "the backup's path",
        expected: "UTF-8",
    })?;
    let mut db = options(from).connect().await?;
    let copied = async {
        record_event(&mut db, now, "backup-made", detail).await?;
        recorded();
        sqlx::query("VACUUM INTO ?1")
            .bind(target)
            .execute(&mut db)
            .await?;
        Ok(())
    }
    .await;
    db.close().await.ok();
    copied
}

async fn record_event(
    db: &mut SqliteConnection,
    now: Timestamp,
    kind: &str,
    detail: &str,
) -> Result<(), Error> {
    let event = sqlx::query(EVENT).bind(milliseconds(now)).bind(kind).bind("");
    event.bind(detail).execute(db).await?;
    Ok(())
}

fn find(path: &Path) -> Result<(), Error> {
    if path.exists() {
        Ok(())
    } else {
        Err(Error::NoDatabase(path.to_owned()))
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging()
}

async fn faults(db: &mut SqliteConnection) -> Result<Vec<String>, Error> {
    let mut faults: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(20)")
        .fetch_all(&mut *db)
        .await?;
    faults.retain(|fault| fault != "ok");
    let dangling: Vec<(String, Option<i64>, String, i64)> =
        sqlx::query_as("PRAGMA foreign_key_check").fetch_all(db).await?;
    let dangling = dangling.into_iter().take(20);
    faults.extend(dangling.map(|(table, _, parent, _)| format!("a row of {table} names none of {parent}")));
    Ok(faults)
}

/// What no foreign key says of key ids: whose a license is, and that content, key exchange and roots share none.
async fn key_faults(db: &mut SqliteConnection) -> Result<Vec<String>, Error> {
    let (unnamed, shared, of_roots): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM issued i WHERE NOT EXISTS (SELECT 1 FROM keys WHERE kid = i.kid)
                     AND NOT EXISTS (SELECT 1 FROM exchange_keys WHERE kid = i.kid)
                     AND NOT EXISTS (SELECT 1 FROM roots WHERE kid = i.kid)
                     AND NOT EXISTS (SELECT 1 FROM settings WHERE name = 'test-operator')),
                (SELECT count(*) FROM keys k WHERE EXISTS (SELECT 1 FROM exchange_keys WHERE kid = k.kid)
                     OR EXISTS (SELECT 1 FROM exchange_fingerprints WHERE fingerprint = k.fingerprint)),
                (SELECT count(*) FROM roots r WHERE EXISTS (SELECT 1 FROM keys WHERE kid = r.kid)
                     OR EXISTS (SELECT 1 FROM exchange_keys WHERE kid = r.kid))
                    + (SELECT count(*) FROM root_fingerprints r
                       WHERE EXISTS (SELECT 1 FROM keys WHERE fingerprint = r.fingerprint)
                           OR EXISTS (SELECT 1 FROM exchange_fingerprints WHERE fingerprint = r.fingerprint))",
    )
    .fetch_one(db)
    .await?;
    let told = [
        (unnamed, "licenses name a key id that is not registered"),
        (shared, "keys serve content and key exchange both"),
        (of_roots, "keys of roots serve content or key exchange as well"),
    ];
    let found = told.into_iter().filter(|(count, _)| *count > 0);
    Ok(found.map(|(count, what)| format!("{count} {what}")).collect())
}

/// Whether there is a schema, and it is to be brought to this version's.
pub(super) async fn is_of_earlier(db: &mut SqliteConnection) -> Result<bool, Error> {
    let founded = sqlx::query("SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations'")
        .fetch_optional(&mut *db)
        .await?;
    Ok(founded.is_some() && schema(db).await? == Schema::Earlier)
}

async fn schema(db: &mut SqliteConnection) -> Result<Schema, Error> {
    let applied: Vec<(i64, Vec<u8>, bool)> =
        sqlx::query_as("SELECT version, checksum, success FROM _sqlx_migrations ORDER BY version")
            .fetch_all(db)
            .await?;
    let ours = sqlx::migrate!("migrations/sqlite");
    let mut ours = ours.iter();
    for (version, checksum, success) in applied {
        let known = ours.next();
        let same = known.is_some_and(|known| known.version == version && *known.checksum == checksum[..]);
        if !(same && success) {
            return Ok(Schema::Foreign);
        }
    }
    Ok(if ours.next().is_none() {
        Schema::Current
    } else {
        Schema::Earlier
    })
}

async fn rows(path: &Path, db: &mut SqliteConnection) -> Result<Rows, Error> {
    let seeds: Vec<(i64, Vec<u8>)> = sqlx::query_as("SELECT number, sealed FROM seeds ORDER BY number")
        .fetch_all(&mut *db)
        .await?;
    let seeds = seeds
        .into_iter()
        .map(|(number, sealed)| Ok((unsigned(number)?, sealed)));
    let certificates: Vec<CertificateColumns> =
        sqlx::query_as(CERTIFICATES).bind(0).fetch_all(&mut *db).await?;
    let certificates = certificates.into_iter().map(certificate);
    let (exchange_keys, roots, revoked) = read_as_served(path)?;
    Ok(Rows {
        root: root(db).await?,
        secrets: secrets(db).await?,
        seeds: seeds.collect::<Result<_, Error>>()?,
        certificates: certificates.collect::<Result<_, Error>>()?,
        exchange_keys,
        roots,
        lists: lists(db).await?,
        revoked,
        imported_lists: sqlx::query_scalar("SELECT list FROM imported_lists ORDER BY authority")
            .fetch_all(&mut *db)
            .await?,
        newest: newest(db).await?,
        admin_tokens: live(db, "SELECT count(*) FROM admin_tokens WHERE revoked_at IS NULL").await?,
        service_tokens: live(db, "SELECT count(*) FROM service_tokens WHERE revoked_at IS NULL").await?,
    })
}

type Served = (Vec<ExchangeKeyRow>, Vec<ExaminedRoot>, Vec<RevokedRow>);

/// What is read as the server reads it.
fn read_as_served(path: &Path) -> Result<Served, Error> {
    let db = connect_to_read(path)?;
    Ok((read_keys(&db)?, examined_roots(&db)?, read_revoked(&db, None)?))
}

fn examined_roots(db: &Connection) -> Result<Vec<ExaminedRoot>, Error> {
    let examined = |row: RootRow| {
        let level = row
            .minimum_security_level
            .map(|level| signed("a security level", level));
        let (held, above): (i64, i64) = db.row(
            "SELECT (SELECT count(*) FROM root_contents WHERE root = ?1)
                        + (SELECT count(*) FROM root_keys WHERE root = ?1),
                    (SELECT count(*) FROM keys k WHERE k.minimum_security_level > ?2 AND k.kid IN (
                         SELECT kid FROM root_keys WHERE root = ?1
                         UNION ALL
                         SELECT t.kid FROM root_contents c JOIN tracks t ON t.content_id = c.content_id
                         WHERE c.root = ?1 AND t.period < ifnull(c.to_period, t.period + 1)
                             AND t.period >= ifnull(c.from_period, iif(c.to_period IS NULL, -1, 0))))",
            params![row.kid.as_bytes(), level.transpose()?.unwrap_or_default()],
        )?;
        let (held, above) = (unsigned(held)?, unsigned(above)?);
        Ok(ExaminedRoot { row, held, above })
    };
    read_roots(db)?.into_iter().map(examined).collect()
}

async fn root(db: &mut SqliteConnection) -> Result<Option<Vec<u8>>, Error> {
    let root = sqlx::query_scalar("SELECT value FROM settings WHERE name = 'root-certificate'");
    Ok(root.fetch_optional(db).await?)
}

async fn secrets(db: &mut SqliteConnection) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let secrets = sqlx::query_as("SELECT name, sealed FROM secrets");
    Ok(secrets.fetch_all(db).await?)
}

/// The newest time of what is written in the order of time; each table is asked for its last row alone.
async fn newest(db: &mut SqliteConnection) -> Result<Option<Timestamp>, Error> {
    let newest: Option<i64> = sqlx::query_scalar(
        "SELECT max(at) FROM (
             SELECT (SELECT at FROM events ORDER BY id DESC LIMIT 1) AS at
             UNION ALL SELECT (SELECT answered_at FROM answers ORDER BY id DESC LIMIT 1)
             UNION ALL SELECT (SELECT answered_at FROM packagings ORDER BY id DESC LIMIT 1)
             UNION ALL SELECT (SELECT at FROM exchange_uses ORDER BY id DESC LIMIT 1)
             UNION ALL SELECT (SELECT created_at FROM certificates ORDER BY id DESC LIMIT 1))",
    )
    .fetch_one(db)
    .await?;
    Ok(newest.map(timestamp))
}

/// Of each authority the row with the highest number that is signed.
async fn lists(db: &mut SqliteConnection) -> Result<Vec<ExaminedList>, Error> {
    let rows: Vec<(Vec<u8>, i64, i64)> = sqlx::query_as(
        "SELECT authority, this_update, next_update FROM revocation_lists l
         WHERE list IS NOT NULL AND number =
             (SELECT max(number) FROM revocation_lists WHERE authority = l.authority AND list IS NOT NULL)
         ORDER BY authority",
    )
    .fetch_all(db)
    .await?;
    let listed = rows
        .into_iter()
        .map(|(authority, issued, next_update)| ExaminedList {
            authority,
            issued: timestamp(issued),
            next_update: timestamp(next_update),
        });
    Ok(listed.collect())
}

async fn live(db: &mut SqliteConnection, statement: &'static str) -> Result<u64, Error> {
    unsigned(sqlx::query_scalar(statement).fetch_one(db).await?)
}
