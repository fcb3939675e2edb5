//! A disk in memory that logs every change, in order, so that a test can cut the power anywhere in between; and
//! that fails at the change a test names.
//!
//! What survives a cut is what a disk promises and no more: a file's bytes from before its last flush, a
//! folder's names from before its last flush. Of what came after, anything may be there or not; the tests
//! take all of it, none of it, the last change alone, and the first half of the last change.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keyward_client_native::disk::{Disk, UnfinishedFile};
use redb::{DatabaseError, StorageBackend};

/// One change.
#[derive(Clone)]
pub(crate) enum Change {
    MakeFolder(PathBuf),
    /// A new, empty file.
    Create(PathBuf, u64),
    Write(u64, u64, Vec<u8>),
    SetLen(u64, u64),
    SyncFile(u64),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncFolder(PathBuf),
}

/// Names, and the bytes of files.
#[derive(Clone, Default, Hash)]
pub(crate) struct Image {
    folders: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, u64>,
    files: BTreeMap<u64, Vec<u8>>,
}

impl Image {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::MakeFolder(path) => drop(self.folders.insert(path.clone())),
            Change::Create(path, file) => {
                self.names.insert(path.clone(), *file);
                self.files.entry(*file).or_default();
            }
            Change::Write(file, offset, bytes) => {
                let content = self.files.entry(*file).or_default();
                let (from, to) = (at(*offset), at(*offset) + bytes.len());
                if content.len() < to {
                    content.resize(to, 0);
                }
                content[from..to].copy_from_slice(bytes);
            }
            Change::SetLen(file, length) => self.files.entry(*file).or_default().resize(at(*length), 0),
            Change::Rename(from, to) => {
                if let Some(file) = self.names.remove(from) {
                    self.names.insert(to.clone(), file);
                }
            }
            Change::Remove(path) => drop(self.names.remove(path)),
            Change::SyncFile(_) | Change::SyncFolder(_) => (),
        }
    }

    /// Without the bytes that no name leads to.
    fn without_orphans(mut self) -> Self {
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.files.retain(|file, _| named.contains(file));
        self
    }
}

/// How the power is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// After this many changes, all of which are on disk: the process died and the machine did not.
    Kept,
    /// After this many changes, of which those are on disk that were flushed.
    Lost,
    /// In the middle of the change after these, all of which are on disk.
    TornKept,
    /// In the middle of the change after these, of which those are on disk that were flushed.
    TornLost,
    /// The change after these is on disk, and of these what was flushed: a disk writes in any order.
    Alone,
}

impl Cut {
    pub(crate) const ALL: [Self; 5] = [
        Self::Kept,
        Self::Lost,
        Self::TornKept,
        Self::TornLost,
        Self::Alone,
    ];
}

/// What fails, from which operation on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// Operations that may still succeed.
    pub(crate) after: usize,
    pub(crate) kind: FaultKind,
}

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// From here on nothing that needs space succeeds; half of a write still fits.
    Full,
    /// From here on nothing can be changed.
    ReadOnly,
    /// This one operation fails, reading and flushing included.
    Broken,
}

#[derive(Default)]
struct State {
    start: Image,
    now: Image,
    log: Vec<Change>,
    next_file: u64,
    fault: Option<Fault>,
    operations: usize,
    faults: usize,
}

/// The disk. A copy is the same disk.
#[derive(Clone, Default)]
pub(crate) struct ModelDisk(Arc<Mutex<State>>);

impl fmt::Debug for ModelDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ModelDisk")
    }
}

impl ModelDisk {
    /// A disk that holds this.
    pub(crate) fn of(image: Image) -> Self {
        let next_file = image.files.keys().next_back().map_or(0, |last| last + 1);
        Self(Arc::new(Mutex::new(State {
            start: image.clone(),
            now: image,
            next_file,
            ..State::default()
        })))
    }

    /// Changes so far.
    pub(crate) fn changes(&self) -> usize {
        self.state().log.len()
    }

    /// What is on the disk now.
    pub(crate) fn image(&self) -> Image {
        self.state().now.clone().without_orphans()
    }

    /// Whether the change after the first `count` is the flush of a file: what a commit ends with.
    pub(crate) fn is_flush(&self, count: usize) -> bool {
        matches!(self.state().log.get(count), Some(Change::SyncFile(_)))
    }

    /// What is on the disk after a cut at `count` changes; none where this cut is not possible.
    pub(crate) fn cut(&self, count: usize, cut: Cut) -> Option<Image> {
        let state = self.state();
        let (before, next) = (&state.log[..count], state.log.get(count));
        let torn = || match next? {
            Change::Write(file, offset, bytes) if bytes.len() > 1 => {
                Some(Change::Write(*file, *offset, bytes[..bytes.len() / 2].to_vec()))
            }
            _ => None,
        };
        let (durable, last) = match cut {
            Cut::Kept => (false, None),
            Cut::Lost => (true, None),
            Cut::TornKept => (false, Some(torn()?)),
            Cut::TornLost => (true, Some(torn()?)),
            Cut::Alone => (true, Some(next?.clone())),
        };
        // File systems keep the order of names, and not that of names and bytes.
        let names = cut == Cut::Alone && next.is_some_and(is_of_names);
        let mut image = state.start.clone();
        for (at, change) in before.iter().enumerate() {
            if !durable || is_durable(change, &before[at..]) || (names && is_of_names(change)) {
                image.apply(change);
            }
        }
        last.iter().for_each(|change| image.apply(change));
        Some(image.without_orphans())
    }

    /// Lets the disk fail.
    pub(crate) fn fail(&self, fault: Fault) {
        let mut state = self.state();
        (state.fault, state.operations, state.faults) = (Some(fault), 0, 0);
    }

    /// Mends the disk; says how often it has failed.
    pub(crate) fn mend(&self) -> usize {
        let mut state = self.state();
        state.fault = None;
        state.faults
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.state();
        let growing = match &change {
            Change::SetLen(file, length) => {
                let known = state.now.files.get(file).map_or(0, Vec::len);
                at(*length) > known
            }
            Change::Remove(_) | Change::SyncFile(_) | Change::SyncFolder(_) => false,
            _ => true,
        };
        let fault = state.fault_of(|kind| match kind {
            FaultKind::Full => growing,
            FaultKind::ReadOnly => !matches!(change, Change::SyncFile(_) | Change::SyncFolder(_)),
            FaultKind::Broken => true,
        });
        let Some(kind) = fault else {
            state.apply(change);
            return Ok(());
        };
        if let (FaultKind::Full, Change::Write(file, offset, bytes)) = (kind, change) {
            let half = bytes[..bytes.len() / 2].to_vec();
            state.apply(Change::Write(file, offset, half));
        }
        Err(kind.error())
    }

    fn read_only<T>(&self, look: impl FnOnce(&Image) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        match state.fault_of(|kind| kind == FaultKind::Broken) {
            Some(kind) => Err(kind.error()),
            None => look(&state.now),
        }
    }

    fn create(&self, path: &Path) -> io::Result<u64> {
        let file = {
            let mut state = self.state();
            state.next_file += 1;
            state.next_file
        };
        self.change(Change::Create(path.to_owned(), file))?;
        Ok(file)
    }
}

impl State {
    fn apply(&mut self, change: Change) {
        self.now.apply(&change);
        self.log.push(change);
    }

    /// Counts an operation; says whether it fails, and how.
    fn fault_of(&mut self, concerns: impl Fn(FaultKind) -> bool) -> Option<FaultKind> {
        let Fault { after, kind } = self.fault.filter(|fault| concerns(fault.kind))?;
        let number = self.operations;
        self.operations += 1;
        let fails = match kind {
            FaultKind::Broken => number == after,
            _ => number >= after,
        };
        self.faults += usize::from(fails);
        fails.then_some(kind)
    }
}

impl FaultKind {
    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::Full => 28,
            Self::ReadOnly => 30,
            Self::Broken => 5,
        })
    }
}

const fn is_of_names(change: &Change) -> bool {
    matches!(
        change,
        Change::MakeFolder(_) | Change::Create(..) | Change::Rename(..) | Change::Remove(_)
    )
}

/// Whether a change is flushed by those that follow it.
fn is_durable(change: &Change, following: &[Change]) -> bool {
    let of_file =
        |file: &u64| (following.iter()).any(|later| matches!(later, Change::SyncFile(of) if of == file));
    let of_name = |path: &Path| {
        following
            .iter()
            .any(|later| matches!(later, Change::SyncFolder(of) if Some(&**of) == path.parent()))
    };
    match change {
        Change::Write(file, ..) | Change::SetLen(file, _) | Change::SyncFile(file) => of_file(file),
        Change::MakeFolder(path) | Change::Create(path, _) | Change::Remove(path) => of_name(path),
        Change::Rename(_, to) => of_name(to),
        Change::SyncFolder(_) => true,
    }
}

fn at(position: u64) -> usize {
    usize::try_from(position).unwrap()
}

impl Disk for ModelDisk {
    fn is_folder(&self, path: &Path) -> bool {
        path == Path::new("/") || self.state().now.folders.contains(path)
    }

    fn is_file(&self, path: &Path) -> bool {
        self.state().now.names.contains_key(path)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.change(Change::MakeFolder(path.to_owned()))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let inside = |path: &&PathBuf| path.parent() == Some(folder);
        self.read_only(|image| Ok(image.names.keys().filter(inside).cloned().collect()))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_only(|image| {
            let file = image.names.get(path).ok_or(ErrorKind::NotFound)?;
            Ok(image.files[file].clone())
        })
    }

    fn start_file(&self, folder: &Path, prefix: &str) -> io::Result<Box<dyn UnfinishedFile>> {
        let number = self.state().next_file;
        let path = folder.join(format!("{prefix}{number}"));
        let file = self.create(&path)?;
        Ok(Box::new(Part {
            disk: self.clone(),
            path,
            is_named: false,
            file,
            length: 0,
        }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(Change::Remove(path.to_owned()))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.change(Change::SyncFolder(folder.to_owned()))
    }

    fn open_database(&self, path: &Path) -> Result<Arc<dyn StorageBackend>, DatabaseError> {
        let known = self.read_only(|image| Ok(image.names.get(path).copied()))?;
        let file = match known {
            Some(file) => file,
            None => self.create(path)?,
        };
        Ok(Arc::new(DatabaseFile {
            disk: self.clone(),
            file,
        }))
    }
}

/// A file on its way to its name.
#[derive(Debug)]
struct Part {
    disk: ModelDisk,
    path: PathBuf,
    is_named: bool,
    file: u64,
    length: u64,
}

impl UnfinishedFile for Part {
    fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk
            .change(Change::Write(self.file, self.length, bytes.to_vec()))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.change(Change::SyncFile(self.file))
    }

    fn rename(mut self: Box<Self>, path: &Path) -> io::Result<()> {
        self.disk
            .change(Change::Rename(self.path.clone(), path.to_owned()))?;
        self.is_named = true;
        Ok(())
    }

    fn rename_new(self: Box<Self>, path: &Path) -> io::Result<()> {
        if self.disk.is_file(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.rename(path)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_named {
            let _ = self.disk.change(Change::Remove(self.path.clone()));
        }
    }
}

/// The database's file.
#[derive(Debug)]
struct DatabaseFile {
    disk: ModelDisk,
    file: u64,
}

impl StorageBackend for DatabaseFile {
    fn len(&self) -> io::Result<u64> {
        self.disk
            .read_only(|image| Ok(image.files[&self.file].len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.read_only(|image| {
            let end = at(offset) + out.len();
            let bytes = image.files[&self.file].get(at(offset)..end);
            out.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.change(Change::SetLen(self.file, length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.change(Change::SyncFile(self.file))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.change(Change::Write(self.file, offset, data.to_vec()))
    }
}
