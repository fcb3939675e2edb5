//! Whether the database takes writes, as far as the last one showed, and whether its files are still there.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use crate::error::DatabaseFault;

/// What is known of the database's state. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    fault: Arc<Mutex<Option<DatabaseFault>>>,
    files: Arc<[(PathBuf, Identity)]>,
}

/// Names a file for as long as it is open, whatever its path.
type Identity = (u64, u64);

impl Health {
    /// Of the database at `path`, which is open and stays so: its write-ahead log is there until it is closed.
    pub(super) fn of(path: &Path) -> Self {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let files = [path.to_owned(), log.into()];
        let known = files
            .into_iter()
            .filter_map(|file| identity(&file).map(|known| (file, known)));
        Self {
            fault: Arc::default(),
            files: known.collect(),
        }
    }

    /// What failed last, unless a write has succeeded since.
    pub(super) fn fault(&self) -> Option<DatabaseFault> {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write was committed, or was not for this fault.
    pub(super) fn wrote(&self, fault: Option<DatabaseFault>) {
        let mut held = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match (*held, fault) {
            // A damaged file may take writes all the same.
            (Some(lasting), _) if !lasting.is_passing() => {}
            (Some(_), None) => {
                tracing::info!("the database takes writes again");
                *held = None;
            }
            (_, Some(fault)) if fault.is_of_the_disk() => *held = Some(fault),
            _ => {}
        }
    }

    /// A read failed for this fault. Only one that lasts counts: reads go on where writes do not.
    pub(super) fn read(&self, fault: DatabaseFault) {
        if fault.is_of_the_disk() && !fault.is_passing() {
            self.wrote(Some(fault));
        }
    }

    /// Whether another file, or none, is where an open one was. SQLite does not look: it would go on writing
    /// to a file that nobody finds again.
    pub(super) fn is_gone(&self) -> bool {
        self.files
            .iter()
            .any(|(file, known)| identity(file) != Some(*known))
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

/// Where an open file can be neither moved nor removed.
#[cfg(not(unix))]
fn identity(_: &Path) -> Option<Identity> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passing_fault_ends_with_the_next_write_and_damage_does_not() {
        let health = Health::default();
        assert_eq!(health.fault(), None);
        health.wrote(Some(DatabaseFault::Other));
        assert_eq!(
            health.fault(),
            None,
            "a statement that was refused says nothing of the disk"
        );
        for passing in [DatabaseFault::Locked, DatabaseFault::Occupied] {
            health.read(passing);
            assert_eq!(health.fault(), None);
        }
        health.wrote(Some(DatabaseFault::Occupied));
        assert_eq!(
            health.fault(),
            None,
            "lists that are read say nothing of the disk"
        );
        health.wrote(Some(DatabaseFault::Full));
        assert_eq!(health.fault(), Some(DatabaseFault::Full));
        health.wrote(None);
        assert_eq!(health.fault(), None);
        health.read(DatabaseFault::Damaged);
        health.wrote(None);
        assert_eq!(health.fault(), Some(DatabaseFault::Damaged));
    }
}
