//! Takes a copy of the disk whenever a point is reached on its thread.

use std::{
    cell::RefCell,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use super::Point;

/// What a process would leave that died at a point.
pub(super) struct Copy {
    pub(super) point: Point,
    /// The step of the scenario that was not answered yet.
    pub(super) step: usize,
    pub(super) home: tempfile::TempDir,
}

struct Recorder {
    home: PathBuf,
    step: usize,
    copies: Vec<Copy>,
}

thread_local! {
    static RECORDER: RefCell<Option<Arc<Mutex<Recorder>>>> = const { RefCell::new(None) };
}

/// Tells the recorder of this thread, if there is one.
pub(crate) fn reach(point: Point) {
    RECORDER.with_borrow(|recorder| {
        if let Some(recorder) = recorder {
            let mut recorder = recorder.lock().unwrap();
            let home = tempfile::tempdir().unwrap();
            copy_tree(&recorder.home, home.path()).unwrap();
            let step = recorder.step;
            recorder.copies.push(Copy { point, step, home });
        }
    });
}

/// What a thread does that works for this one: whoever listens here, listens there.
pub(crate) fn heard<F: FnOnce() + Send>(work: F) -> impl FnOnce() + Send {
    let recorder = RECORDER.with_borrow(Clone::clone);
    move || {
        RECORDER.set(recorder);
        work();
    }
}

/// As [`reach`], of each.
pub(crate) fn reach_each(points: impl Iterator<Item = Point>) {
    points.for_each(reach);
}

/// Begins to take copies of `home`.
pub(super) fn record(home: &Path) {
    let recorder = Recorder {
        home: home.to_owned(),
        step: 0,
        copies: Vec::new(),
    };
    RECORDER.set(Some(Arc::new(Mutex::new(recorder))));
}

/// What comes is part of this step.
pub(super) fn begin_step(step: usize) {
    RECORDER.with_borrow(|recorder| recorder.as_ref().unwrap().lock().unwrap().step = step);
}

/// Ends the recording.
pub(super) fn recorded() -> Vec<Copy> {
    let recorder = RECORDER.take().unwrap();
    let mut recorder = recorder.lock().unwrap();
    core::mem::take(&mut recorder.copies)
}

/// A directory in memory where the system has such: what is cut off there is cut off as on a disk, without its time.
pub(super) fn memory() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    let parent = if shared.is_dir() {
        shared.to_owned()
    } else {
        std::env::temp_dir()
    };
    tempfile::tempdir_in(parent).unwrap()
}

/// Copies files as a process leaves them that dies: what is written is there, what is mapped (the index of the
/// write-ahead log) is made anew by who comes next.
pub(super) fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(from)?.collect::<io::Result<_>>()?;
    // The database before its log: what is moved from one to the other meanwhile is then in both.
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            fs::set_permissions(&target, entry.metadata()?.permissions())?;
            copy_tree(&entry.path(), &target)?;
        } else if !entry.file_name().to_string_lossy().ends_with("-shm") {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
