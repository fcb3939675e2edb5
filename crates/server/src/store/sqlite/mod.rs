//! The database in SQLite: write-ahead log, a commit flushed before it is answered, foreign keys on.

mod admin;
mod enrolment;
mod founding;
mod issuance;
mod keys;
mod packaging;
mod services;
pub(crate) mod writer;

use std::path::Path;

use keyward_license::time::Timestamp;
use sqlx::{
    ConnectOptions, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{Error, config};

pub(crate) use admin::NewToken;
use writer::Writer;

/// The open database.
pub(crate) struct Store {
    writer: Writer,
    readers: SqlitePool,
}

impl Store {
    /// Opens the database of an operator and brings it to this version's schema.
    pub(crate) async fn open(path: &Path, settings: &config::Database) -> Result<Self, Error> {
        let options = options(path, settings);
        let mut db = options.connect().await?;
        sqlx::migrate!("migrations/sqlite")
            .run_direct(None, &mut db, false)
            .await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(settings.readers)
            .test_before_acquire(false)
            .connect_with(options.pragma("query_only", "ON"))
            .await?;
        Ok(Self {
            writer: Writer::start(db, settings.group_commit),
            readers,
        })
    }

    /// Writes what is queued, moves the log into the database, and closes it.
    pub(crate) async fn close(&self) {
        self.writer.stop().await;
        self.readers.close().await;
    }

    /// Whether the database answers and writes are taken.
    pub(crate) async fn is_ready(&self) -> bool {
        self.writer.is_open() && sqlx::query("SELECT 1").execute(&self.readers).await.is_ok()
    }
}

fn options(path: &Path, settings: &config::Database) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(settings.busy)
        // Statements carry no values, but a log is no place for them either.
        .disable_statement_logging()
}

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
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_its_writer_the_database_is_not_ready() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyward.db");
        std::fs::write(&path, []).unwrap();
        let settings = config::Config::from_toml(config::SAMPLE).unwrap().database;
        let store = Store::open(&path, &settings).await.unwrap();
        assert!(store.is_ready().await);
        store.writer.stop().await;
        assert!(!store.is_ready().await);
    }
}
