//! Connections that are asked on the thread that asks, and their statements.
//!
//! A statement is prepared once a connection and kept: preparing one costs more than carrying it out.

use core::time::Duration;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Params, Row, types::FromSql};

use super::PRAGMAS;
use crate::{Error, config};

/// Opens the database at `path`, which is there, as every connection of the server is opened; `more` pragmas come
/// last.
pub(super) fn connect(
    path: &Path,
    settings: &config::Database,
    more: &[(&str, &str)],
) -> Result<Connection, Error> {
    // Nobody shares a connection while it is at work: SQLite need not keep its callers apart.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(settings.busy)?;
    for (name, value) in PRAGMAS.iter().chain(more) {
        db.execute_batch(&format!("PRAGMA {name} = {value}"))?;
    }
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(db)
}

/// Opens the database at `path` for reading alone.
pub(super) fn connect_to_read(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(Duration::from_secs(5))?;
    Ok(db)
}

/// Statements kept of a connection: all that a license needs, and those of other requests.
const STATEMENTS: usize = 128;

/// A row that becomes a value of the program.
pub(super) trait FromRow: Sized {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self>;
}

impl<T> FromRow for T
where
    T: for<'r> TryFrom<&'r Row<'r>, Error = rusqlite::Error>,
{
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Self::try_from(row)
    }
}

/// What is done with one statement.
pub(super) trait Statements {
    /// Carries it out; how many rows it changed.
    fn run(&self, sql: &str, values: impl Params) -> rusqlite::Result<usize>;
    /// Its rows.
    fn rows<T: FromRow>(&self, sql: &str, values: impl Params) -> rusqlite::Result<Vec<T>>;
    /// Its row; an error if there is none.
    fn row<T: FromRow>(&self, sql: &str, values: impl Params) -> rusqlite::Result<T>;
    /// The first column of its row; an error if there is none.
    fn value<T: FromSql>(&self, sql: &str, values: impl Params) -> rusqlite::Result<T>;
    /// The first column of its rows.
    fn values<T: FromSql>(&self, sql: &str, values: impl Params) -> rusqlite::Result<Vec<T>>;

    /// As [`Statements::row`], or none.
    fn row_if_any<T: FromRow>(&self, sql: &str, values: impl Params) -> rusqlite::Result<Option<T>> {
        self.row(sql, values).optional()
    }

    /// As [`Statements::value`], or none.
    fn value_if_any<T: FromSql>(&self, sql: &str, values: impl Params) -> rusqlite::Result<Option<T>> {
        self.value(sql, values).optional()
    }
}

/// Has what `work` takes out of the database overwritten where it stood. A copy in the write-ahead log goes when the log
/// is written over, one in a backup stays, and all of them are sealed.
pub(super) fn overwriting<T>(db: &Connection, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let overwrites: i64 = db.value("PRAGMA secure_delete", [])?;
    db.value::<i64>("PRAGMA secure_delete = ON", [])?;
    let done = work();
    if overwrites == 0 {
        db.value::<i64>("PRAGMA secure_delete = OFF", [])?;
    }
    done
}

impl Statements for Connection {
    fn run(&self, sql: &str, values: impl Params) -> rusqlite::Result<usize> {
        self.prepare_cached(sql)?.execute(values)
    }

    fn rows<T: FromRow>(&self, sql: &str, values: impl Params) -> rusqlite::Result<Vec<T>> {
        self.prepare_cached(sql)?
            .query_map(values, T::from_row)?
            .collect()
    }

    fn row<T: FromRow>(&self, sql: &str, values: impl Params) -> rusqlite::Result<T> {
        self.prepare_cached(sql)?.query_row(values, T::from_row)
    }

    fn value<T: FromSql>(&self, sql: &str, values: impl Params) -> rusqlite::Result<T> {
        self.prepare_cached(sql)?.query_row(values, |row| row.get(0))
    }

    fn values<T: FromSql>(&self, sql: &str, values: impl Params) -> rusqlite::Result<Vec<T>> {
        self.prepare_cached(sql)?
            .query_map(values, |row| row.get(0))?
            .collect()
    }
}
