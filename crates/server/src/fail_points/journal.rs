//! The write-ahead log cut off within every commit: a process, or its machine, that died while it was written.
//!
//! ```text
//!  log     header, then frames: 24 bytes and a page each; the last frame of a commit says so
//!  cut     at the end of every frame, in the middle of it, and with a byte of it that is wrong
//! ```
//! (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>)

use std::{
    fs,
    path::{Path, PathBuf},
};

use sqlx::{
    AssertSqlSafe, Connection, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};

use super::{
    Moment, Point, Side, Write,
    recorder::{Copy, copy_tree, memory},
    scenario::{Step, live},
};

/// The write-ahead log of a database that lies in `dir`.
pub(crate) struct Journal {
    dir: PathBuf,
    log: Vec<u8>,
    /// Where each frame ends, and whether a commit ends with it.
    frames: Vec<(usize, bool)>,
}

impl Journal {
    pub(crate) fn of(dir: &Path) -> Self {
        let log = fs::read(dir.join(LOG)).unwrap();
        let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
        let page = usize::try_from(number(8)).unwrap();
        // Frames of an earlier round of the log have another salt, and do not count.
        let salt = &log[16..24];
        let starts = (HEADER..log.len()).step_by(FRAME + page);
        let frames = starts
            .take_while(|at| log.len() >= at + FRAME + page && &log[at + 8..at + 16] == salt)
            .map(|at| (at + FRAME + page, number(at + 4) > 0))
            .collect();
        Self {
            dir: dir.to_owned(),
            log,
            frames,
        }
    }

    /// Where commits end, before the first of them as well.
    pub(crate) fn commits(&self) -> Vec<usize> {
        let ends = self
            .frames
            .iter()
            .filter(|(_, commits)| *commits)
            .map(|(end, _)| *end);
        core::iter::once(HEADER).chain(ends).collect()
    }

    /// Everything that may be left of the log when it was being written from one commit to the next, each with
    /// what it is.
    fn broken(&self, from: usize, to: usize) -> Vec<(String, Vec<u8>)> {
        let mut broken = Vec::new();
        let mut begin = from;
        for (end, _) in self
            .frames
            .iter()
            .filter(|(end, _)| (from + 1..=to).contains(end))
        {
            let middle = begin.midpoint(*end);
            for cut in [begin, begin + 1, begin + FRAME, middle, end - 1] {
                broken.push((format!("cut at {cut}"), self.log[..cut].to_vec()));
            }
            let mut garbled = self.log[..to].to_vec();
            garbled[middle] ^= 1;
            broken.push((format!("garbled at {middle}"), garbled));
            begin = *end;
        }
        broken
    }

    /// Everything that may be left of the whole log.
    pub(crate) fn all_broken(&self) -> Vec<(String, Vec<u8>)> {
        let commits = self.commits();
        let pairs = commits.iter().zip(commits.iter().skip(1));
        pairs.flat_map(|(from, to)| self.broken(*from, *to)).collect()
    }

    /// The directory as it is with this log.
    pub(crate) fn with_log(&self, log: &[u8]) -> tempfile::TempDir {
        let home = memory();
        copy_tree(&self.dir, home.path()).unwrap();
        fs::write(home.path().join(LOG), log).unwrap();
        home
    }

    /// The directory as it was after a commit.
    pub(crate) fn at(&self, end: usize) -> tempfile::TempDir {
        self.with_log(&self.log[..end])
    }
}

/// Every row of every table.
async fn rows(dir: &Path) -> Vec<String> {
    let file = SqliteConnectOptions::new()
        .filename(dir.join("keyward.db"))
        .synchronous(SqliteSynchronous::Off);
    let mut db = SqliteConnection::connect_with(&file).await.unwrap();
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_one(&mut db)
        .await
        .unwrap();
    assert_eq!(sound, "ok");
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            .fetch_all(&mut db)
            .await
            .unwrap();
    let mut all = Vec::new();
    for table in tables {
        all.push(table.clone());
        let rows = sqlx::query(AssertSqlSafe(format!("SELECT * FROM {table}")));
        for row in rows.fetch_all(&mut db).await.unwrap() {
            let column = |at| row.get_unchecked::<Option<Vec<u8>>, usize>(at).map(hex::encode);
            all.push(format!("{:?}", (0..row.len()).map(column).collect::<Vec<_>>()));
        }
    }
    db.close().await.unwrap();
    all
}

/// Whether the database is as after one commit or another, whatever is left of its log. Returns each state.
async fn never_between(dir: &Path) -> Vec<Vec<String>> {
    let journal = Journal::of(dir);
    let commits = journal.commits();
    assert!(commits.len() > 2, "there is something to cut");
    let mut states = vec![rows(journal.at(HEADER).path()).await];
    for (from, to) in commits.iter().zip(commits.iter().skip(1)) {
        for (how, log) in journal.broken(*from, *to) {
            let left = rows(journal.with_log(&log).path()).await;
            assert_eq!(left, *states.last().unwrap(), "{how}, between {from} and {to}");
        }
        states.push(rows(journal.at(*to).path()).await);
    }
    states
}

fn copy_at(copies: &[Copy], point: Point, step: Step) -> &Copy {
    let found = copies
        .iter()
        .find(|copy| copy.point == point && Step::ALL[copy.step] == step);
    found.unwrap()
}

/// The hidden directory of an operator that is being made.
fn making(home: &Path) -> PathBuf {
    let mut entries = fs::read_dir(home).unwrap();
    entries.next().unwrap().unwrap().path()
}

#[tokio::test]
async fn a_log_that_is_cut_off_anywhere_gives_the_last_commit_and_never_half_of_one() {
    let run = live().await;
    let founding = copy_at(
        &run.copies,
        Point::Write(Write::Founding, Moment::Committed),
        Step::Init,
    );
    never_between(&making(founding.home.path())).await;

    let life = copy_at(&run.copies, Point::Checkpoint(Side::Before), Step::Close);
    let dir = life.home.path().join("operator");
    let states = never_between(&dir).await;
    // Whatever was told was told after a commit, and is in every later state.
    let whole = Journal::of(&dir).log;
    for copy in &run.copies {
        let committed =
            matches!(copy.point, Point::Write(write, Moment::Committed) if write != Write::Founding);
        if committed {
            let then = copy.home.path().join("operator");
            let log = fs::read(then.join(LOG)).unwrap();
            assert!(whole.starts_with(&log), "the log is only added to");
            assert!(Journal::of(&then).commits().last() == Some(&log.len()));
            assert!(states.contains(&rows(&then).await), "{:?}", copy.point);
        }
    }
}

const LOG: &str = "keyward.db-wal";
const HEADER: usize = 32;
const FRAME: usize = 24;
