//! The database in SQLite: write-ahead log, a commit flushed before it is answered, foreign keys on.

mod admin;
mod batch;
mod enrolment;
pub(crate) mod examination;
mod founding;
mod issuance;
mod keys;
mod lookup;
mod packaging;
mod services;
pub(crate) mod writer;

use std::{path::Path, sync::Arc};

use keyward_license::time::Timestamp;
use prometheus_client::metrics::histogram::Histogram;
use sqlx::{
    ConnectOptions, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    Error, config,
    store::{Found, Question, Recording, Verdict},
};

pub(crate) use admin::NewToken;
use batch::Batches;
use writer::Writer;

/// The open database.
pub(crate) struct Store {
    writer: Arc<Writer>,
    readers: SqlitePool,
    /// What license requests ask.
    lookups: Batches<Question, Result<Found, Error>>,
    /// What is answered to them, on its way to the writer.
    recordings: Batches<Recording, Verdict>,
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
        let writer = Arc::new(Writer::start(db, settings.group_commit));
        Ok(Self {
            lookups: lookups(readers.clone()),
            recordings: recordings(Arc::clone(&writer), settings.group_commit),
            writer,
            readers,
        })
    }

    /// Writes what is queued, moves the log into the database, and closes it.
    pub(crate) async fn close(&self) {
        self.lookups.stop().await;
        self.recordings.stop().await;
        self.writer.stop().await;
        self.readers.close().await;
    }

    /// How many writes shared each commit.
    pub(crate) fn commit_sizes(&self) -> Histogram {
        self.writer.commit_sizes()
    }

    /// How many writes wait.
    pub(crate) fn queued(&self) -> usize {
        self.recordings.queued().saturating_add(self.writer.queued())
    }

    /// Whether the database answers and writes are taken.
    pub(crate) async fn is_ready(&self) -> bool {
        let open = self.writer.is_open() && self.recordings.is_open() && self.lookups.is_open();
        open && sqlx::query("SELECT 1").execute(&self.readers).await.is_ok()
    }
}

fn lookups(readers: SqlitePool) -> Batches<Question, Result<Found, Error>> {
    Batches::start(issuance::TOGETHER, move |questions: Arc<Vec<Question>>| {
        let readers = readers.clone();
        async move {
            let mut db = readers.acquire().await?;
            lookup::look_up(&mut db, &questions.iter().collect::<Vec<_>>()).await
        }
    })
}

/// A batch is one item of the writer's group, so that it is committed with the other writes that wait.
fn recordings(writer: Arc<Writer>, group: usize) -> Batches<Recording, Verdict> {
    Batches::start(group, move |recordings: Arc<Vec<Recording>>| {
        let writer = Arc::clone(&writer);
        async move {
            let writes = recordings.len();
            writer
                .run_many(writes, move |db| {
                    Box::pin(async move { issuance::record(db, &recordings).await })
                })
                .await
        }
    })
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
    use sqlx::Connection;

    use super::*;

    fn empty() -> (tempfile::TempDir, std::path::PathBuf, config::Database) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyward.db");
        std::fs::write(&path, []).unwrap();
        let settings = config::Config::from_toml(config::SAMPLE).unwrap().database;
        (dir, path, settings)
    }

    /// A database as the first schema made it, with a row in each table that a later one changes.
    async fn of_the_first_schema(path: &Path, settings: &config::Database) {
        let mut db = options(path, settings).connect().await.unwrap();
        let mut first = sqlx::migrate!("migrations/sqlite");
        first.migrations.to_mut().truncate(1);
        first.run_direct(None, &mut db, false).await.unwrap();
        sqlx::raw_sql(
            "INSERT INTO certificates VALUES (4, 'device-authority', x'aa', 10, 1), (7, 'license-server', x'bb', 11, 2);
             INSERT INTO accounts VALUES (1, 'alice', 1);
             INSERT INTO devices VALUES (zeroblob(32), 1, 2000, 'm', 'n', 5, 6);
             INSERT INTO enrolment_tokens VALUES (zeroblob(32), 1, 2000, 'm', 'n', 1, 9, zeroblob(32), 5);
             INSERT INTO device_certificates VALUES
                 (zeroblob(16), zeroblob(32), zeroblob(32), x'a0', 5, 6, x'cc', 5);",
        )
        .execute(&mut db)
        .await
        .unwrap();
        db.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_database_of_the_first_schema_goes_on_as_one_of_devices() {
        let (_dir, path, settings) = empty();
        of_the_first_schema(&path, &settings).await;
        Store::open(&path, &settings).await.unwrap().close().await;

        let mut db = options(&path, &settings).connect().await.unwrap();
        let certificates: Vec<(i64, String, Vec<u8>, i64, i64)> =
            sqlx::query_as("SELECT id, purpose, der, not_after, created_at FROM certificates ORDER BY id")
                .fetch_all(&mut db)
                .await
                .unwrap();
        assert_eq!(
            certificates,
            [
                (4, "device-authority".to_owned(), vec![0xaa], 10, 1),
                (7, "license-server".to_owned(), vec![0xbb], 11, 2)
            ]
        );
        let roles: (String, i64, String, i64) = sqlx::query_as(
            "SELECT d.role, d.revoked_at, t.role, t.used_at FROM devices d JOIN enrolment_tokens t ON t.used_by = d.id",
        )
        .fetch_one(&mut db)
        .await
        .unwrap();
        assert_eq!(roles, ("device".to_owned(), 6, "device".to_owned(), 5));
        let dangling = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut db).await;
        assert!(dangling.unwrap().is_empty());
        let refused = sqlx::query("UPDATE devices SET role = 'packager'")
            .execute(&mut db)
            .await;
        assert!(refused.unwrap_err().to_string().contains("a key keeps its role"));
        sqlx::query("INSERT INTO certificates VALUES (8, 'packager-authority', x'dd', 12, 3)")
            .execute(&mut db)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn without_its_writer_the_database_is_not_ready() {
        let (_dir, path, settings) = empty();
        let store = Store::open(&path, &settings).await.unwrap();
        assert!(store.is_ready().await);
        store.writer.stop().await;
        assert!(!store.is_ready().await);
    }
}
