//! Why the database failed: SQLite's result codes, as far as they lead to different acts.

/// What is wrong with the database or its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseFault {
    /// The disk is full.
    #[error("the disk is full")]
    Full,
    /// Another process was writing for longer than `database.busy_seconds`.
    #[error("another process holds it locked")]
    Locked,
    /// The file, its directory or the disk may only be read.
    #[error("it may only be read")]
    ReadOnly,
    /// The file, or one beside it, does not open.
    #[error("its file does not open")]
    NotOpened,
    /// The disk reported an error.
    #[error("the disk reports errors")]
    Disk,
    /// The file is not a database, or not a whole one.
    #[error("its file is damaged")]
    Damaged,
    /// Another file, or none, is where the database was when the server started.
    #[error("its file was moved, replaced or removed while the server runs")]
    Gone,
    /// Every connection for lists was in use for longer than one waits.
    #[error("other lists are still being read")]
    Occupied,
    /// Something else.
    #[error("it refuses a statement")]
    Other,
}

/// What SQLite said, through one or the other of its clients.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// To a statement of the server's requests.
    #[error(transparent)]
    Statement(rusqlite::Error),
    /// To a statement of the administration, or while the schema was brought up to date.
    #[error(transparent)]
    Listing(sqlx::Error),
}

impl DatabaseFault {
    pub(crate) fn of(error: &DatabaseError) -> Self {
        let code = match error {
            DatabaseError::Statement(error) => return Self::of_statement(error),
            DatabaseError::Listing(sqlx::Error::Io(_)) => return Self::Disk,
            DatabaseError::Listing(sqlx::Error::PoolTimedOut) => return Self::Occupied,
            DatabaseError::Listing(error) => error
                .as_database_error()
                .and_then(|error| error.code())
                .and_then(|code| code.parse().ok()),
        };
        code.map_or(Self::Other, Self::of_code)
    }

    pub(crate) fn of_statement(error: &rusqlite::Error) -> Self {
        let code = error
            .sqlite_error()
            .and_then(|error| u32::try_from(error.extended_code).ok());
        code.map_or(Self::Other, Self::of_code)
    }

    /// The low byte of an extended result code is the primary one (<https://www.sqlite.org/rescode.html>).
    const fn of_code(code: u32) -> Self {
        match (code, code & 0xff) {
            // SQLITE_IOERR_SHMSIZE: there is no room for the write-ahead log's index.
            (4874, _) | (_, 13) => Self::Full,
            (_, 5 | 6) => Self::Locked,
            (_, 8) => Self::ReadOnly,
            (_, 10) => Self::Disk,
            (_, 11 | 26) => Self::Damaged,
            (_, 14) => Self::NotOpened,
            _ => Self::Other,
        }
    }

    /// Whether it may pass while the server runs.
    pub(crate) const fn is_passing(self) -> bool {
        match self {
            Self::Full
            | Self::Locked
            | Self::ReadOnly
            | Self::NotOpened
            | Self::Disk
            | Self::Gone
            | Self::Occupied => true,
            Self::Damaged | Self::Other => false,
        }
    }

    /// Whether it concerns the file or its disk, and with them every write.
    pub(crate) const fn is_of_the_disk(self) -> bool {
        !matches!(self, Self::Occupied | Self::Other)
    }

    /// What to do next.
    pub(crate) const fn hint(self) -> &'static str {
        match self {
            Self::Full => {
                "make room on the disk that the operator directory is on; a server that runs goes on by itself"
            }
            Self::Locked => {
                "end the process that keeps keyward.db locked, or raise `database.busy_seconds` in operator.toml"
            }
            Self::ReadOnly | Self::NotOpened => {
                "let the server's user write keyward.db and the operator directory, on a disk that can be written"
            }
            Self::Disk => {
                "look at the system's log for errors of the disk; move the operator to another disk if there are"
            }
            Self::Damaged => {
                "stop the server, keep a copy of the directory, and restore the newest backup: `keyward admin restore`"
            }
            Self::Gone => {
                "stop the server, put the file back or restore a backup, and start the server again"
            }
            Self::Occupied => "repeat when the lists that others asked for have been answered",
            Self::Other => "run `keyward doctor`, and report this with the log line that came with it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_codes_are_told_apart_by_what_to_do() {
        let table = [
            (13, DatabaseFault::Full),
            (4874, DatabaseFault::Full),
            (5, DatabaseFault::Locked),
            (261, DatabaseFault::Locked),
            (6, DatabaseFault::Locked),
            (8, DatabaseFault::ReadOnly),
            (1544, DatabaseFault::ReadOnly),
            (10, DatabaseFault::Disk),
            (778, DatabaseFault::Disk),
            (11, DatabaseFault::Damaged),
            (26, DatabaseFault::Damaged),
            (14, DatabaseFault::NotOpened),
            (1, DatabaseFault::Other),
            (2067, DatabaseFault::Other),
        ];
        for (code, fault) in table {
            assert_eq!(DatabaseFault::of_code(code), fault, "{code}");
        }
    }
}
