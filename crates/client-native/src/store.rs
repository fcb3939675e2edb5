//! The license store's host: one redb table and the epoch file.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use keyward_client::store::{Batch, RecordKey};
use redb::{Database, ReadableDatabase, TableDefinition};

use crate::{
    NativeError,
    files::{read_if_there, replace},
};

const RECORDS: TableDefinition<'_, &[u8; 33], &[u8]> = TableDefinition::new("records");

pub(crate) const DATABASE: &str = "licenses.redb";
pub(crate) const EPOCH: &str = "licenses.epoch";

/// The store's two files.
#[derive(Debug)]
pub(crate) struct StoreFiles {
    database: Database,
    path: PathBuf,
    epoch: PathBuf,
}

impl StoreFiles {
    /// Opens or makes the database. It stays locked against other processes until it is dropped.
    pub(crate) fn open(folder: &Path) -> Result<Self, NativeError> {
        let path = folder.join(DATABASE);
        let database =
            guarded(|| Database::create(&path).map_err(redb::Error::from)).map_err(|error| match error {
                redb::Error::DatabaseAlreadyOpen => NativeError::StoreInUse(path.clone()),
                other => NativeError::Store {
                    path: path.clone(),
                    error: Box::new(other),
                },
            })?;
        let files = Self {
            database,
            path,
            epoch: folder.join(EPOCH),
        };
        files.write(|_| Ok(()))?;
        protect(&files.path)?;
        Ok(files)
    }

    /// The epoch file's content, if there is one.
    pub(crate) fn epoch(&self) -> Result<Option<Vec<u8>>, NativeError> {
        read_if_there(&self.epoch)
    }

    /// Reads records, in the order asked for.
    pub(crate) fn get(&self, keys: &[RecordKey]) -> Result<Vec<Option<Vec<u8>>>, NativeError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(RECORDS)?;
            keys.iter()
                .map(|key| Ok(table.get(key.as_bytes())?.map(|value| value.value().to_vec())))
                .collect()
        };
        guarded(read).map_err(|error| self.failed(error))
    }

    /// Carries out a batch: the records first, then the epoch file.
    pub(crate) fn commit(&self, batch: &Batch) -> Result<(), NativeError> {
        if !batch.puts.is_empty() || !batch.deletes.is_empty() {
            self.write(|table| {
                for key in &batch.deletes {
                    table.remove(key.as_bytes())?;
                }
                for (key, value) in &batch.puts {
                    table.insert(key.as_bytes(), &value[..])?;
                }
                Ok(())
            })?;
        }
        replace(&self.epoch, &batch.epoch)
    }

    fn write(
        &self,
        change: impl FnOnce(&mut redb::Table<'_, &'static [u8; 33], &'static [u8]>) -> Result<(), redb::Error>,
    ) -> Result<(), NativeError> {
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            change(&mut transaction.open_table(RECORDS)?)?;
            // Durable before it returns: redb's default.
            transaction.commit()?;
            Ok(())
        };
        guarded(write).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: redb::Error) -> NativeError {
        NativeError::Store {
            path: self.path.clone(),
            error: Box::new(error),
        }
    }
}

/// redb panics on some pages that a disk or a person has garbled. To a caller that is damage like any
/// other: the flow ends with an error. Nothing is used after a panic but to close the file.
fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    let damaged = |_| {
        Err(redb::Error::Corrupted(
            "a page does not hold what it should".to_owned(),
        ))
    };
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(damaged)
}

fn protect(path: &Path) -> Result<(), NativeError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, private).map_err(|error| NativeError::File {
            action: "protect",
            path: path.to_path_buf(),
            error,
        })?;
    }
    Ok(())
}
