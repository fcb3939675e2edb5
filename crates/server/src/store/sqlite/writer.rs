//! The one writer, with group commit.
//!
//! ```text
//!  issue ─┐                   BEGIN IMMEDIATE; SAVEPOINT item
//!  enrol ─┼─► queue ─► thread  item 1 ... RELEASE item; SAVEPOINT item
//!  admin ─┘                   item 2 refused: ROLLBACK TO item; RELEASE item
//!                             COMMIT, then every item gets its answer
//! ```
//! A commit costs a flush of the disk, and has all readers read anew; items that wait at the same time share it.
//! Where a crowd shared one lately, the next waits a little while the processors are at work on further license
//! requests ([`AtWork`]): where they are not, whoever asks is waiting for the commit. Where there are several
//! items, each stands in a savepoint of its own, so that one that is refused takes nothing from the others. Answers
//! to license requests that wait together are one item: none is refused once it has written something. No item is
//! answered before the commit. How the last commit went stands in [`Health`].

mod at_work;
mod item;

use core::time::Duration;
use std::thread;

use prometheus_client::metrics::histogram::Histogram;
use rusqlite::Connection;
use tokio::sync::{Mutex, mpsc, oneshot};
use tracing::{Dispatch, dispatcher};

use super::{connection::Statements, health::Health, lookup::KnownPolicies};
use crate::{
    Error,
    error::DatabaseFault,
    fail_points::{self, Moment, Point, Side, Write, reach, reach_each},
    store::{Recording, Verdict},
};
pub(crate) use at_work::{AtWork, Working};
pub(crate) use item::Failure;
use item::{Item, Recordings, Waiting};

/// The way to the writer's thread.
pub(crate) struct Writer {
    queue: mpsc::Sender<Message>,
    at_work: AtWork,
    commits: Histogram,
    /// Told when the thread has ended.
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

/// What to do with a recording, and who asked.
type Recorded = (Recording, oneshot::Sender<Result<(Recording, Verdict), Error>>);

enum Message {
    Item(Box<dyn Item>),
    /// An answer to a license request, as an item with the others that wait.
    Recording(Box<Recorded>),
    Stop,
}

impl Writer {
    /// Starts the thread on its own connection; at most `group` items share a commit.
    ///
    /// # Errors
    /// [`Error::Thread`] if the system has none.
    pub(super) fn start(
        db: Connection,
        group: usize,
        health: Health,
        known: KnownPolicies,
    ) -> Result<Self, Error> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (ending, ended) = oneshot::channel();
        let (commits, at_work) = (Histogram::new(COMMIT_ITEMS), AtWork::default());
        let work = Work {
            db,
            group: group.max(1),
            at_work: at_work.clone(),
            commits: commits.clone(),
            health,
            known: known.in_transaction(),
            log: dispatcher::get_default(Dispatch::clone),
        };
        let work = fail_points::heard(move || {
            work.run(waiting);
            ending.send(()).ok();
        });
        thread::Builder::new()
            .name("writer".to_owned())
            .spawn(work)
            .map_err(Error::Thread)?;
        Ok(Self {
            queue,
            at_work,
            commits,
            ended: Mutex::new(Some(ended)),
        })
    }

    /// Runs `work` in a savepoint and returns when it is committed.
    ///
    /// If the caller stops waiting, the work is done all the same.
    ///
    /// # Errors
    /// What `work` returns (then nothing of it happened), [`Error::NotCommitted`] (then nothing of the
    /// whole group happened), [`Error::Stopping`].
    pub(crate) async fn run<T, E, F>(&self, write: Write, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: Failure,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let answer = self.submit(write, work).await?;
        answer.await.map_err(|_| Error::Stopping)?
    }

    /// Queues `work` behind what was queued before, without waiting for its commit.
    ///
    /// # Errors
    /// [`Error::Stopping`].
    pub(crate) async fn submit<T, E, F>(
        &self,
        write: Write,
        work: F,
    ) -> Result<oneshot::Receiver<Result<T, E>>, Error>
    where
        T: Send + 'static,
        E: Failure,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let (answer, receiver) = oneshot::channel();
        let item = Waiting {
            write,
            work: Some(work),
            result: None,
            answer,
        };
        self.send(Message::Item(Box::new(item))).await?;
        Ok(receiver)
    }

    /// Records an answer to a license request, unless something forbids it.
    ///
    /// If the caller stops waiting, it is recorded all the same.
    ///
    /// # Errors
    /// As [`Writer::run`].
    pub(super) async fn record(&self, recording: Recording) -> Result<(Recording, Verdict), Error> {
        let (answer, receiver) = oneshot::channel();
        self.send(Message::Recording(Box::new((recording, answer))))
            .await?;
        receiver.await.map_err(|_| Error::Stopping)?
    }

    /// Who is to be recorded soon: a commit waits for them a little.
    pub(super) const fn at_work(&self) -> &AtWork {
        &self.at_work
    }

    async fn send(&self, message: Message) -> Result<(), Error> {
        self.queue.send(message).await.map_err(|_| Error::Stopping)
    }

    /// How many items shared each commit.
    pub(super) fn commit_sizes(&self) -> Histogram {
        self.commits.clone()
    }

    /// How many items wait.
    pub(super) fn queued(&self) -> usize {
        self.queue.max_capacity().saturating_sub(self.queue.capacity())
    }

    /// Whether the thread takes work.
    pub(super) fn is_open(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Writes what is queued, moves the write-ahead log into the database, and closes. What comes later
    /// is refused.
    pub(super) async fn stop(&self) {
        self.queue.send(Message::Stop).await.ok();
        if let Some(ended) = self.ended.lock().await.take() {
            ended.await.ok();
        }
    }
}

/// What the thread works with.
struct Work {
    db: Connection,
    group: usize,
    at_work: AtWork,
    commits: Histogram,
    health: Health,
    known: KnownPolicies,
    /// Who listens where the writer was started.
    log: Dispatch,
}

impl Work {
    fn run(self, mut waiting: mpsc::Receiver<Message>) {
        let mut batch = Vec::with_capacity(self.group);
        let mut since_crowd = usize::MAX;
        while waiting.blocking_recv_many(&mut batch, self.group) > 0 {
            if since_crowd < REMEMBERED {
                self.gather(&mut waiting, &mut batch);
            }
            since_crowd = match batch.len() {
                CROWD.. => 0,
                _ => since_crowd.saturating_add(1),
            };
            let mut items = Vec::new();
            let mut recordings = Recordings::default();
            for message in batch.drain(..) {
                match message {
                    Message::Item(item) => items.push(item),
                    Message::Recording(recorded) => recordings.push(*recorded),
                    // What is in the queue by now is still written; nothing new enters.
                    Message::Stop => waiting.close(),
                }
            }
            if recordings.writes() > 0 {
                items.push(Box::new(recordings));
            }
            if !items.is_empty() {
                let writes: usize = items.iter().map(|item| item.writes()).sum();
                self.commits
                    .observe(f64::from(u32::try_from(writes).unwrap_or(u32::MAX)));
                self.write_group(items);
            }
        }
        reach(Point::Checkpoint(Side::Before));
        if let Err(error) = self.db.value::<i64>("PRAGMA wal_checkpoint(TRUNCATE)", []) {
            dispatcher::with_default(&self.log, || {
                tracing::warn!(error = %error, "the write-ahead log could not be moved into the database");
            });
        }
        reach(Point::Checkpoint(Side::After));
        self.db.close().ok();
    }

    /// Waits for those that are at work, a little. The processors are theirs meanwhile.
    fn gather(&self, waiting: &mut mpsc::Receiver<Message>, batch: &mut Vec<Message>) {
        for _ in 0..LOOKS {
            if batch.len() >= self.group || !self.at_work.is_anybody() {
                return;
            }
            thread::sleep(PAUSE);
            while batch.len() < self.group {
                let Ok(message) = waiting.try_recv() else {
                    break;
                };
                batch.push(message);
            }
        }
    }

    fn write_group(&self, mut items: Vec<Box<dyn Item>>) {
        let committed = self.commit(&mut items);
        // What an item met says more than what came of it: SQLite may have ended the transaction by itself.
        let met = items.iter().find_map(|item| item.fault());
        let mut fault = None;
        if let Err((found, error)) = committed {
            // Fails where SQLite has rolled back by itself, which is as good.
            self.db.run("ROLLBACK", []).ok();
            let found = met.unwrap_or(found);
            fault = Some(found);
            let writes: Vec<_> = items.iter().map(|item| item.write()).collect();
            dispatcher::with_default(&self.log, || {
                tracing::error!(fault = %found, error, hint = found.hint(), ?writes, "a group of writes was not committed");
            });
        }
        self.note(fault.or(met));
        items.into_iter().for_each(|item| item.answer(fault));
    }

    fn note(&self, fault: Option<DatabaseFault>) {
        if fault.is_some() || self.health.fault().is_some() {
            dispatcher::with_default(&self.log, || self.health.wrote(fault));
        }
    }

    fn commit(&self, items: &mut [Box<dyn Item>]) -> Result<(), (DatabaseFault, String)> {
        if self.health.is_gone() {
            return Err((DatabaseFault::Gone, String::new()));
        }
        reached(items, Moment::Before);
        let committed = match items {
            [item] => self.commit_one(item),
            items => self.commit_many(items),
        };
        committed.map_err(|error| (DatabaseFault::of_statement(&error), error.to_string()))
    }

    /// One item alone needs no savepoint: what is refused with it is all there is.
    fn commit_one(&self, item: &mut Box<dyn Item>) -> rusqlite::Result<()> {
        let db = &self.db;
        db.run("BEGIN IMMEDIATE", [])?;
        if !item.run(db, &self.known) {
            db.run("ROLLBACK", [])?;
            return Ok(());
        }
        let write = item.write();
        reach(Point::Write(write, Moment::Within));
        reach(Point::Write(write, Moment::Complete));
        db.run("COMMIT", [])?;
        reach(Point::Write(write, Moment::Committed));
        Ok(())
    }

    fn commit_many(&self, items: &mut [Box<dyn Item>]) -> rusqlite::Result<()> {
        let db = &self.db;
        db.run("BEGIN IMMEDIATE", [])?;
        for item in items.iter_mut() {
            db.run("SAVEPOINT item", [])?;
            if item.run(db, &self.known) {
                reach(Point::Write(item.write(), Moment::Within));
            } else {
                db.run("ROLLBACK TO item", [])?;
            }
            db.run("RELEASE item", [])?;
        }
        reached(items, Moment::Complete);
        db.run("COMMIT", [])?;
        reached(items, Moment::Committed);
        Ok(())
    }
}

fn reached(items: &[Box<dyn Item>], moment: Moment) {
    reach_each(items.iter().map(|item| Point::Write(item.write(), moment)));
}

/// Upper bounds of the sizes that are told apart.
const COMMIT_ITEMS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// So many that shared a commit are a crowd: the processors are busy without those who wait. Few who ask are served sooner
/// by commits of their own.
const CROWD: usize = 6;

/// A crowd is there for so many commits from the last one that it shared: now and then nobody is at work for a moment.
const REMEMBERED: usize = 8;

/// How often a commit looks whether anybody is at work.
const LOOKS: usize = 8;

/// Between two looks: about as long as the work on a request takes.
const PAUSE: Duration = Duration::from_micros(500);

/// Items that may wait; whoever comes later waits to enter the queue.
const QUEUE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    async fn table() -> (tempfile::TempDir, Writer, sqlx::SqlitePool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE numbers (number INTEGER PRIMARY KEY)")
            .unwrap();
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        let writer = Writer::start(db, 8, Health::default(), KnownPolicies::new()).unwrap();
        (dir, writer, pool)
    }

    async fn put(writer: &Writer, number: i64) -> oneshot::Receiver<Result<(), Error>> {
        let work = writer.submit(Write::Act, move |db| {
            db.run("INSERT INTO numbers VALUES (?1 + 1000)", [number])?;
            db.run("INSERT INTO numbers VALUES (?1)", [number])?;
            Ok(())
        });
        work.await.unwrap()
    }

    /// Keeps the writer from going on until the sender is dropped, so that what is submitted meanwhile is one group.
    async fn hold(writer: &Writer) -> std::sync::mpsc::Sender<()> {
        let (go_on, waiting) = std::sync::mpsc::channel::<()>();
        let (begun, holding) = oneshot::channel();
        let held = writer.submit(Write::Act, move |_| {
            begun.send(()).ok();
            waiting.recv().ok();
            Ok::<_, Error>(())
        });
        held.await.unwrap();
        holding.await.unwrap();
        go_on
    }

    async fn numbers(pool: &sqlx::SqlitePool) -> Vec<i64> {
        let all = sqlx::query_scalar("SELECT number FROM numbers WHERE number < 1000 ORDER BY number");
        all.fetch_all(pool).await.unwrap()
    }

    #[tokio::test]
    async fn one_refused_item_does_not_lose_the_others() {
        let (_dir, writer, pool) = table().await;
        let held = hold(&writer).await;
        let mut answers = Vec::new();
        for number in [1, 2, 1, 3] {
            answers.push(put(&writer, number).await);
        }
        drop(held);
        let mut kept = Vec::new();
        for answer in answers {
            kept.push(answer.await.unwrap().is_ok());
        }
        assert_eq!(kept, [true, true, false, true]);
        assert_eq!(numbers(&pool).await, [1, 2, 3]);
        let whole: i64 = sqlx::query_scalar("SELECT count(*) FROM numbers")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(whole, 6, "the refused item's first row was rolled back");
    }

    #[tokio::test]
    async fn an_item_that_is_refused_alone_leaves_nothing_and_stops_nobody() {
        let (_dir, writer, pool) = table().await;
        let mut kept = Vec::new();
        for number in [1, 1, 2] {
            kept.push(put(&writer, number).await.await.unwrap().is_ok());
        }
        assert_eq!(kept, [true, false, true]);
        assert_eq!(numbers(&pool).await, [1, 2]);
        // Its first statement is undone as well.
        let half = writer.run(Write::Act, |db| {
            db.run("INSERT INTO numbers VALUES (3)", [])?;
            Err::<(), _>(Error::Stopping)
        });
        assert!(matches!(half.await, Err(Error::Stopping)));
        assert_eq!(numbers(&pool).await, [1, 2]);
    }

    /// Has a crowd share a commit, from this number on.
    async fn crowd(writer: &Writer, first: i64) {
        let held = hold(writer).await;
        let mut answers = Vec::new();
        for number in (first..).take(CROWD) {
            answers.push(put(writer, number).await);
        }
        drop(held);
        for answer in answers {
            assert!(answer.await.unwrap().is_ok());
        }
    }

    /// On a busy machine not every time.
    #[tokio::test]
    async fn after_a_crowd_a_commit_waits_for_who_is_at_work() {
        let (_dir, writer, _pool) = table().await;
        let commits = writer.commit_sizes();
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register("commits", "", commits);
        let commits = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            let count = text.lines().find_map(|line| line.strip_prefix("commits_count "));
            count.unwrap().parse::<u64>().unwrap()
        };
        for round in 0..20 {
            let first = 20 * round;
            crowd(&writer, first).await;
            let before = commits();
            let working = writer.at_work().begin();
            let one = put(&writer, first + 10).await;
            tokio::time::sleep(PAUSE).await;
            let other = put(&writer, first + 11).await;
            drop(working);
            assert!(one.await.unwrap().is_ok() && other.await.unwrap().is_ok());
            if commits() == before + 1 {
                return;
            }
        }
        panic!("nobody waited");
    }

    #[tokio::test]
    async fn who_is_at_work_for_ever_keeps_nobody_waiting() {
        let (_dir, writer, pool) = table().await;
        crowd(&writer, 1).await;
        let _working = writer.at_work().begin();
        assert!(put(&writer, 101).await.await.unwrap().is_ok());
        assert_eq!(numbers(&pool).await.last(), Some(&101));
    }

    #[tokio::test]
    async fn stopping_writes_what_is_queued_and_refuses_the_rest() {
        let (_dir, writer, pool) = table().await;
        let queued = put(&writer, 7).await;
        writer.stop().await;
        assert!(queued.await.unwrap().is_ok());
        assert_eq!(numbers(&pool).await, [7]);
        let refused: Result<(), Error> = writer.run(Write::Act, |_| Ok(())).await;
        assert!(matches!(refused, Err(Error::Stopping)));
    }

    #[tokio::test]
    async fn a_refusal_counts_only_if_its_group_does() {
        let (_dir, writer, pool) = table().await;
        let held = hold(&writer).await;
        let doomed = writer.submit(Write::Act, |db| {
            // Broken when the group commits, not before.
            db.execute_batch(
                "PRAGMA defer_foreign_keys = ON;
                 CREATE TABLE references_ (number INTEGER REFERENCES numbers (number));
                 INSERT INTO references_ VALUES (404);
                 INSERT INTO numbers VALUES (5)",
            )?;
            Ok::<_, Error>(())
        });
        let doomed = doomed.await.unwrap();
        // Refused for the neighbour's row, which will never have been.
        let refused = put(&writer, 5).await;
        drop(held);
        assert!(matches!(
            doomed.await.unwrap(),
            Err(Error::NotCommitted(DatabaseFault::Other))
        ));
        assert!(matches!(
            refused.await.unwrap(),
            Err(Error::NotCommitted(DatabaseFault::Other))
        ));
        assert_eq!(numbers(&pool).await, [0_i64; 0]);
    }

    #[tokio::test]
    async fn a_writer_that_ended_is_not_open() {
        let (_dir, writer, _pool) = table().await;
        assert!(writer.is_open());
        let died: Result<(), Error> = writer.run(Write::Act, |_| panic!("ends the thread")).await;
        assert!(died.is_err());
        writer.queue.closed().await;
        assert!(!writer.is_open());
    }
}
