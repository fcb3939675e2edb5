//! Connections for look-ups, which are carried out where they are asked for.
//!
//! A look-up of a few rows takes some microseconds, and carrying it to another thread and back takes several times
//! that. It does not wait for writers: in write-ahead log mode readers go on beside them. Where it would have to wait
//! all the same (another process holds the database for itself, or mends it after a crash), it gives up at once and is
//! repeated, so that no thread of the server stands still; after `database.busy_seconds` it fails.

use core::time::Duration;
use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
};

use rusqlite::Connection;

use super::connection::{Statements, connect};
use crate::{Error, config, error::DatabaseFault};

/// Connections that only read.
pub(super) struct Readers {
    connections: Vec<Mutex<Option<Connection>>>,
    busy: Duration,
}

impl Readers {
    /// Opens as many as are configured.
    pub(super) fn open(path: &Path, settings: &config::Database) -> Result<Self, Error> {
        let open = || {
            let db = connect(path, settings, &[("query_only", "ON")])?;
            db.busy_timeout(Duration::ZERO)?;
            Ok(Mutex::new(Some(db)))
        };
        let connections = (0..settings.readers).map(|_| open());
        Ok(Self {
            connections: connections.collect::<Result<_, Error>>()?,
            busy: settings.busy,
        })
    }

    /// Reads one state of the database, whatever is written meanwhile. `read` may be called again.
    ///
    /// # Errors
    /// What `read` fails with; [`Error::Stopping`].
    pub(super) async fn read<T>(&self, read: impl Fn(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let mut waited = Duration::ZERO;
        loop {
            match self.read_at_once(&read) {
                Err(error) if is_locked(&error) && waited < self.busy => {
                    tokio::time::sleep(PAUSE).await;
                    waited = waited.saturating_add(PAUSE);
                }
                read => return read,
            }
        }
    }

    fn read_at_once<T>(&self, read: impl Fn(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let held = self.idle().ok_or(Error::Stopping)?;
        let db = held.as_ref().ok_or(Error::Stopping)?;
        if !db.is_autocommit() {
            // Whoever read last panicked.
            db.run("ROLLBACK", [])?;
        }
        db.run("BEGIN", [])?;
        let found = read(db);
        // Nothing was written: whichever way it ends is the same.
        let ended = db.run("ROLLBACK", []);
        let found = found?;
        ended?;
        Ok(found)
    }

    /// The first that nobody uses: what it keeps of the database is newer than what the others keep. If all are in
    /// use, which they are for microseconds, the first as soon as it is not.
    fn idle(&self) -> Option<Held<'_>> {
        let free = self
            .connections
            .iter()
            .find_map(|connection| match connection.try_lock() {
                Ok(held) => Some(held),
                Err(TryLockError::Poisoned(held)) => Some(held.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            });
        free.or_else(|| self.connections.first().map(lock))
    }

    /// Closes every connection. What is asked later is refused.
    pub(super) fn close(&self) {
        for connection in &self.connections {
            drop(lock(connection).take());
        }
    }
}

/// A connection, until it was closed.
type Held<'a> = MutexGuard<'a, Option<Connection>>;

fn lock(connection: &Mutex<Option<Connection>>) -> Held<'_> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_locked(error: &Error) -> bool {
    error.database_fault() == Some(DatabaseFault::Locked)
}

/// Between two tries to read a database that is locked.
const PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> (tempfile::TempDir, config::Database, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch("CREATE TABLE numbers (number INTEGER); INSERT INTO numbers VALUES (1)")
            .unwrap();
        let settings = config::Database {
            readers: 2,
            group_commit: 1,
            busy: PAUSE * 3,
        };
        (dir, settings, path)
    }

    fn count(db: &Connection) -> Result<i64, Error> {
        Ok(db.value("SELECT count(*) FROM numbers", [])?)
    }

    #[tokio::test]
    async fn one_state_is_read_and_nothing_is_written() {
        let (_dir, settings, path) = database();
        let readers = Readers::open(&path, &settings).unwrap();
        let writer = connect(&path, &settings, &[]).unwrap();
        let insert = |db: &Connection| db.run("INSERT INTO numbers VALUES (2)", []);
        let twice = readers.read(|db| {
            let before = count(db)?;
            insert(&writer)?;
            Ok((before, count(db)?))
        });
        assert_eq!(twice.await.unwrap(), (1, 1));
        assert_eq!(readers.read(count).await.unwrap(), 2);
        assert!(readers.read(|db| Ok(insert(db)?)).await.is_err());
        let within = readers.read(|_| readers.read_at_once(count));
        assert_eq!(within.await.unwrap(), 2, "the other connection is free");
        assert_eq!(readers.read(count).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn whoever_panics_leaves_a_connection_that_reads() {
        let (_dir, settings, path) = database();
        let readers = std::sync::Arc::new(Readers::open(&path, &settings).unwrap());
        let reads = std::sync::Arc::clone(&readers);
        let panicked = tokio::spawn(async move {
            reads
                .read(|_| -> Result<(), Error> { panic!("while it reads") })
                .await
        });
        assert!(panicked.await.unwrap_err().is_panic());
        let writer = connect(&path, &settings, &[]).unwrap();
        writer.run("INSERT INTO numbers VALUES (2)", []).unwrap();
        assert_eq!(readers.read(count).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_locked_database_is_asked_again_until_the_time_is_over() {
        let (_dir, settings, path) = database();
        let readers = Readers::open(&path, &settings).unwrap();
        let tries = core::cell::Cell::new(0);
        let locked = |last: u32| {
            tries.set(0);
            let tries = &tries;
            move |db: &Connection| {
                tries.set(tries.get() + 1);
                if tries.get() < last {
                    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY_RECOVERY);
                    return Err(rusqlite::Error::SqliteFailure(code, None).into());
                }
                count(db)
            }
        };
        assert_eq!(readers.read(locked(3)).await.unwrap(), 1);
        assert_eq!(tries.get(), 3);
        let refused = readers.read(locked(u32::MAX)).await.unwrap_err();
        assert!(is_locked(&refused));
        assert_eq!(tries.get(), 4, "at once, and after each of three pauses");
    }

    #[tokio::test]
    async fn what_was_closed_is_not_read() {
        let (_dir, settings, path) = database();
        let readers = Readers::open(&path, &settings).unwrap();
        readers.close();
        assert!(matches!(readers.read(count).await, Err(Error::Stopping)));
    }
}
