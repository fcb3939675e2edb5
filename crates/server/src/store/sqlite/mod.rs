//! The database in SQLite: write-ahead log, a commit flushed before it is answered, foreign keys on.

mod acknowledgement;
mod admin;
mod authorization;
mod connection;
mod enrolment;
pub(crate) mod examination;
mod exchange;
mod founding;
mod health;
mod issuance;
mod keys;
mod lookup;
mod packaging;
mod policies;
mod readers;
mod revocation;
mod rolls;
mod roots;
mod services;
pub(crate) mod writer;

use std::{
    path::Path,
    sync::{Arc, RwLock},
};

use keyward_license::time::Timestamp;
use prometheus_client::metrics::histogram::Histogram;
use rusqlite::Connection;
use sqlx::{
    ConnectOptions, Connection as _, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use crate::{
    Error, config,
    fail_points::{Point, Side, Write, reach},
    operator::Serving,
};

pub(crate) use admin::{DeviceCertificateRow, NewToken};
use connection::{Statements, connect};
use health::Health;
use lookup::KnownPolicies;
use readers::Readers;
pub(crate) use roots::ChannelRow;
use writer::Writer;

/// The open database.
pub(crate) struct Store {
    writer: Writer,
    readers: Readers,
    /// What administration lists: as many rows as there are, read on threads of their own. Whoever is let in or asks for
    /// no list does not wait for them.
    lists: SqlitePool,
    known: KnownPolicies,
    health: Health,
    /// One asks at a time whether the database takes writes again.
    probing: tokio::sync::Mutex<()>,
    /// The sealed check of the key-encryption key that this store is used with.
    era: RwLock<Option<Arc<[u8]>>>,
}

impl Store {
    /// Opens the database of an operator and brings it to this version's schema.
    ///
    /// # Errors
    /// [`Error::NoDatabase`], [`Error::File`] if it cannot be written, [`Error::Database`], [`Error::Migration`],
    /// [`Error::EarlierServes`], [`Error::Thread`].
    pub(crate) async fn open(path: &Path, settings: &config::Database) -> Result<Self, Error> {
        check_writable(path)?;
        let options = options(path, settings);
        let mut changing = options.connect().await?;
        let alone = right_to_change(path, &mut changing).await?;
        reach(Point::Schema(Side::Before));
        sqlx::migrate!("migrations/sqlite")
            .run_direct(None, &mut changing, false)
            .await?;
        reach(Point::Schema(Side::After));
        drop(alone);
        // KiB of pages, of the indexes above all. Readers keep the 2 MiB that they have: whatever is committed empties
        // them.
        let db = connect(path, settings, &[("cache_size", "-16384")])?;
        let readers = Readers::open(path, settings)?;
        let lists = SqlitePoolOptions::new()
            .max_connections(LISTS)
            .test_before_acquire(false)
            .connect_with(options.pragma("query_only", "ON"))
            .await?;
        // The last to be open would move the log into the database.
        changing.close().await?;
        let (health, known) = (Health::of(path), KnownPolicies::new());
        Ok(Self {
            writer: Writer::start(db, settings.group_commit, health.clone(), known.clone())?,
            readers,
            lists,
            known,
            health,
            probing: tokio::sync::Mutex::default(),
            era: RwLock::default(),
        })
    }

    /// Writes what is queued, moves the log into the database, and closes it.
    pub(crate) async fn close(&self) {
        self.writer.stop().await;
        self.readers.close();
        self.lists.close().await;
    }

    /// How many writes shared each commit.
    pub(crate) fn commit_sizes(&self) -> Histogram {
        self.writer.commit_sizes()
    }

    /// How many writes wait.
    pub(crate) fn queued(&self) -> usize {
        self.writer.queued()
    }

    /// Whether the database answers and takes writes.
    pub(crate) async fn is_ready(&self) -> bool {
        self.writer.is_open() && self.reads().await && self.writes().await
    }

    /// Looks something up, of one state of the database. `read` may be called again.
    async fn read<T>(&self, read: impl Fn(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let read = self.readers.read(read).await;
        self.noted(read)
    }

    /// What a read came to; if it met damage, the database is known to be damaged from then on.
    fn noted<T, E: Into<Error>>(&self, read: Result<T, E>) -> Result<T, Error> {
        let read = read.map_err(Into::into);
        if let Some(fault) = read.as_ref().err().and_then(Error::database_fault) {
            self.health.read(fault);
        }
        read
    }

    async fn reads(&self) -> bool {
        let read = |db: &Connection| Ok(db.values::<String>("SELECT name FROM settings", [])?);
        self.read(read).await.is_ok()
    }

    /// Known from the last write. If that failed for something that passes, one is tried.
    async fn writes(&self) -> bool {
        match self.health.fault() {
            None => !self.health.is_gone(),
            Some(fault) if !fault.is_passing() => false,
            Some(_) => match self.probing.try_lock() {
                Ok(_alone) => self.probe().await.is_ok(),
                Err(_) => false,
            },
        }
    }

    /// Writes a row and takes it away again, so that the disk is asked and nothing stays.
    async fn probe(&self) -> Result<(), Error> {
        self.writer
            .run(Write::Probe, |db| {
                db.run(
                    "INSERT INTO events (at, kind, subject, detail) VALUES (0, 'probe', '', '')",
                    [],
                )?;
                db.run("DELETE FROM events WHERE id = last_insert_rowid()", [])?;
                Ok(())
            })
            .await
    }
}

/// Whether the database is there and may be written, told before SQLite opens it: it would open one that may only
/// be read, and fail at the first write.
fn check_writable(path: &Path) -> Result<(), Error> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NoDatabase(path.to_owned()));
        }
        found => found.map_err(Error::file("read", path))?,
    };
    // The write-ahead log is made beside it.
    for place in path.parent().into_iter().chain([path]) {
        may_write(place).map_err(Error::file("write", place))?;
    }
    Ok(())
}

/// Asks without opening: closing a database's file takes SQLite's locks on it away from the whole process.
#[cfg(unix)]
fn may_write(path: &Path) -> std::io::Result<()> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    Ok(rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?)
}

#[cfg(not(unix))]
fn may_write(path: &Path) -> std::io::Result<()> {
    if std::fs::metadata(path)?.permissions().readonly() && !path.is_dir() {
        return Err(std::io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

/// The right to change the schema, if it is an earlier one: who serves with that one would go on with statements
/// that are not for the new one.
async fn right_to_change(path: &Path, db: &mut SqliteConnection) -> Result<Option<Serving>, Error> {
    if !examination::is_of_earlier(db).await? {
        return Ok(None);
    }
    match Serving::begin(path.parent().unwrap_or(path)) {
        Err(Error::AlreadyServed(dir)) => Err(Error::EarlierServes(dir)),
        right => right.map(Some),
    }
}

fn options(path: &Path, settings: &config::Database) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(settings.busy)
        // Statements carry no values, but a log is no place for them either.
        .disable_statement_logging();
    PRAGMAS
        .into_iter()
        .fold(options, |options, (name, value)| options.pragma(name, value))
}

/// How every connection works.
const PRAGMAS: [(&str, &str); 5] = [
    ("journal_mode", "WAL"),
    ("synchronous", "FULL"),
    ("foreign_keys", "ON"),
    // Kept beside statements and savepoints, to undo them: no file is made for it.
    ("temp_store", "MEMORY"),
    // Pages of the log before they are moved into the database: a page that is written again and again is moved
    // once.
    ("wal_autocheckpoint", "4000"),
];

/// Connections for lists, which administrators ask for.
const LISTS: u32 = 2;

/// Milliseconds, as the database keeps times.
fn milliseconds(time: Timestamp) -> i64 {
    i64::try_from(time.0.saturating_mul(1000)).unwrap_or(i64::MAX)
}

fn timestamp(milliseconds: i64) -> Timestamp {
    Timestamp(u64::try_from(milliseconds).unwrap_or_default() / 1000)
}

fn unsigned(value: i64) -> Result<u64, Error> {
    u64::try_from(value).map_err(|_| Error::Damaged("a number is negative"))
}

fn signed(what: &'static str, value: u64) -> Result<i64, Error> {
    i64::try_from(value).map_err(|_| Error::OutOfRange {
        what,
        expected: "below 2^63",
    })
}

/// An id of fixed length.
fn id<T: for<'a> TryFrom<&'a [u8]>>(bytes: &[u8]) -> Result<T, Error> {
    T::try_from(bytes).map_err(|_| Error::Damaged("an id has the wrong length"))
}

#[cfg(test)]
mod tests;
