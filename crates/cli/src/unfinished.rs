//! What a signal must not leave behind: files that are being written, and the demo's folder.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, Once, PoisonError},
};

use tempfile::{NamedTempFile, TempDir};

use crate::failure::Failure;

/// Removed if a signal ends the process. Finished ones are gone from their names by then, so nothing is
/// taken off the list.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A temporary file in `folder` with this mode (and the process's umask).
pub(crate) fn file(folder: &Path, mode: u32) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".keyward-").suffix(".part");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    remembered(|| builder.tempfile_in(folder), NamedTempFile::path)
}

/// A file without a name that only this process reads: nothing is left of it however the process ends. In
/// `folder`, or in the one for temporary files.
pub(crate) fn spool(folder: Option<&Path>) -> Result<File, Failure> {
    let made = match folder {
        Some(folder) => tempfile::tempfile_in(folder),
        None => tempfile::tempfile(),
    };
    made.map_err(|error| {
        let place = folder.map_or("the folder for temporary files".to_owned(), |folder| {
            folder.display().to_string()
        });
        Failure::new(
            format!("cannot make a temporary file in {place}: {error}"),
            "check its permissions and its free space",
        )
    })
}

/// A temporary folder that only its owner may enter.
pub(crate) fn folder(prefix: &str) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    remembered(|| builder.tempdir(), TempDir::path)
}

/// A folder in `folder`, to be renamed when it is whole. It has the mode of other new folders.
pub(crate) fn folder_beside(folder: &Path) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".keyward-").suffix(".part");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    remembered(|| builder.tempdir_in(folder), TempDir::path)
}

/// Gives a whole folder its name, with no signal in between: half of it could be removed by then.
pub(crate) fn finish(folder: TempDir, name: &Path) -> io::Result<()> {
    let _held = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
    std::fs::rename(folder.path(), name)?;
    // Nothing is at its old path any more.
    let _ = folder.keep();
    Ok(())
}

/// Makes something and puts it on the list, with no moment in between in which a signal would find the one and
/// not the other.
fn remembered<T>(make: impl FnOnce() -> io::Result<T>, path_of: impl FnOnce(&T) -> &Path) -> io::Result<T> {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(watch);
    let mut unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
    let made = make()?;
    let path = path_of(&made);
    unfinished.push(path.canonicalize().unwrap_or_else(|_| path.to_path_buf()));
    Ok(made)
}

/// Removes a file or a folder. What another thread makes in the folder meanwhile is removed by the next try.
#[cfg(unix)]
fn remove(path: &Path) {
    const TRIES: usize = 100;
    let mut tries = (0..TRIES).map(|_| std::fs::remove_file(path).or_else(|_| std::fs::remove_dir_all(path)));
    tries.any(|removed| removed.is_ok() || !path.exists());
}

/// Ends the process at Ctrl-C, SIGTERM and SIGHUP as it would end without us, after cleaning up.
fn watch() {
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        // Without the handler the process ends at once, as before.
        let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM]) else {
            return;
        };
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                // Held until the process has ended: nothing new comes.
                let unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
                unfinished.iter().for_each(|path| remove(path));
                signal_hook::low_level::emulate_default_handler(signal).ok();
            }
        });
    }
}
