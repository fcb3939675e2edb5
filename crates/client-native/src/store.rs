//! The license store's host: one redb table and the epoch file.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use keyward_client::store::{Batch, RecordKey};
use redb::{
    Builder, Database, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, StorageBackend, TableDefinition,
    TransactionError,
};

use crate::{
    NativeError,
    disk::Disk,
    files::{PART_PREFIX, at, read_if_there, replace},
};

const RECORDS: TableDefinition<'_, &[u8; 33], &[u8]> = TableDefinition::new("records");

pub(crate) const DATABASE: &str = "licenses.redb";
pub(crate) const EPOCH: &str = "licenses.epoch";

/// The store's two files.
#[derive(Debug)]
pub(crate) struct StoreFiles {
    disk: Arc<dyn Disk>,
    database: Records,
    file: HeldFile,
    path: PathBuf,
    epoch: PathBuf,
}

impl StoreFiles {
    /// Opens the database, or makes it. It stays locked against other processes until it is dropped.
    pub(crate) fn open(disk: Arc<dyn Disk>, folder: &Path) -> Result<Self, NativeError> {
        let path = folder.join(DATABASE);
        if !disk.is_file(&path) {
            make(&*disk, folder, &path)?;
        }
        let open = || {
            let file = HeldFile::open(&*disk, &path)?;
            Ok((Records::open(&file)?, file))
        };
        let (database, file) = open().map_err(|error| failed(&path, error))?;
        Ok(Self {
            disk,
            database,
            file,
            path,
            epoch: folder.join(EPOCH),
        })
    }

    /// The epoch file's content, if there is one.
    pub(crate) fn epoch(&self) -> Result<Option<Vec<u8>>, NativeError> {
        read_if_there(&*self.disk, &self.epoch)
    }

    /// Reads records, in the order asked for.
    pub(crate) fn get(&self, keys: &[RecordKey]) -> Result<Vec<Option<Vec<u8>>>, NativeError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(RECORDS)?;
            keys.iter()
                .map(|key| Ok(table.get(key.as_bytes())?.map(|value| value.value().to_vec())))
                .collect()
        };
        guarded(read).map_err(|error| failed(&self.path, error))
    }

    /// Carries out a batch: the records first, then the epoch file.
    pub(crate) fn commit(&mut self, batch: &Batch) -> Result<(), NativeError> {
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
        replace(&*self.disk, &self.epoch, &batch.epoch)
    }

    fn write(
        &mut self,
        change: impl FnOnce(&mut redb::Table<'_, &'static [u8; 33], &'static [u8]>) -> Result<(), redb::Error>,
    ) -> Result<(), NativeError> {
        let (database, file) = (&mut self.database, &self.file);
        guarded(|| write(database.writing(file)?, change)).map_err(|error| failed(&self.path, error))
    }
}

/// The records. Opening them for writing marks the file as open, and closing takes that back: six flushes of the
/// disk, which who only reads does not wait for. The file is held all the while, so what was read is still so when
/// it is written.
enum Records {
    Reading(ReadOnlyDatabase),
    Writing(Database),
}

impl Records {
    /// Opens the records to be read; to be written if nothing else will do: a file that was not closed has to be
    /// mended, and of one that is damaged it says how.
    fn open(file: &HeldFile) -> Result<Self, redb::Error> {
        let reading = guarded(|| Ok(Builder::new().open_read_only_with_backend(file.clone())?));
        reading
            .map(Self::Reading)
            .or_else(|_| open_to_write(file).map(Self::Writing))
    }

    fn begin_read(&self) -> Result<ReadTransaction, TransactionError> {
        match self {
            Self::Reading(database) => database.begin_read(),
            Self::Writing(database) => database.begin_read(),
        }
    }

    fn writing(&mut self, file: &HeldFile) -> Result<&Database, redb::Error> {
        if let Self::Reading(_) = self {
            *self = Self::Writing(open_to_write(file)?);
        }
        match self {
            Self::Writing(database) => Ok(database),
            Self::Reading(_) => Err(redb::Error::DatabaseClosed),
        }
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reading(_) => "Reading",
            Self::Writing(_) => "Writing",
        })
    }
}

/// The database's file: the same for who reads and who writes, locked until the last has let go of it.
#[derive(Debug, Clone)]
struct HeldFile(Arc<dyn StorageBackend>);

impl HeldFile {
    fn open(disk: &dyn Disk, path: &Path) -> Result<Self, redb::Error> {
        Ok(Self(disk.open_database(path)?))
    }
}

/// Without what closes and locks the file: it is locked already, and stays so while its database is opened anew.
impl StorageBackend for HeldFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

/// Makes an empty database under its name, whole or not at all: one whose making was cut short opens no more.
/// If another process has made it meanwhile (and taken this one's for unfinished), that one is it.
fn make(disk: &dyn Disk, folder: &Path, path: &Path) -> Result<(), NativeError> {
    let made = make_new(disk, folder, path);
    if !disk.is_file(path) {
        made?;
    }
    disk.sync_folder(folder).map_err(at("write", folder))
}

fn make_new(disk: &dyn Disk, folder: &Path, path: &Path) -> Result<(), NativeError> {
    let mut file = disk.start_file(folder, PART_PREFIX).map_err(at("write", path))?;
    let fill = || {
        let database = open_to_write(&HeldFile::open(disk, file.path())?)?;
        guarded(|| write(&database, |_| Ok(())))
    };
    fill().map_err(|error| failed(path, error))?;
    file.sync()
        .and_then(|()| file.rename_new(path))
        .map_err(at("write", path))
}

fn open_to_write(file: &HeldFile) -> Result<Database, redb::Error> {
    guarded(|| Ok(Builder::new().create_with_backend(file.clone())?))
}

fn write(
    database: &Database,
    change: impl FnOnce(&mut redb::Table<'_, &'static [u8; 33], &'static [u8]>) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    change(&mut transaction.open_table(RECORDS)?)?;
    // Durable before it returns: redb's default.
    transaction.commit()?;
    Ok(())
}

fn failed(path: &Path, error: redb::Error) -> NativeError {
    let path = path.to_path_buf();
    match error {
        redb::Error::DatabaseAlreadyOpen => NativeError::StoreInUse(path),
        other => NativeError::Store {
            path,
            error: Box::new(other),
        },
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
