//! The one writer, with group commit.
//!
//! ```text
//!  issue ─┐                 BEGIN IMMEDIATE; SAVEPOINT item
//!  enrol ─┼─► queue ─► task  item 1 ... RELEASE item; SAVEPOINT item
//!  admin ─┘                 item 2 refused: ROLLBACK TO item
//!                           RELEASE item; COMMIT, then every item gets its answer
//! ```
//! A commit costs a flush of the disk; items that wait at the same time share it. Where there are several, each
//! stands in a savepoint of its own, so that one that is refused takes nothing from the others. No item is
//! answered before the commit. How the last commit went stands in [`Health`].

use core::{future::Future, pin::Pin};

use prometheus_client::metrics::histogram::Histogram;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::health::Health;
use crate::{
    Error, Refusal,
    error::DatabaseFault,
    fail_points::{Moment, Point, Side, Write, reach, reach_each},
};

/// What one item does with the database.
pub(crate) type Work<'c, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>;

/// The way to the writer task.
pub(crate) struct Writer {
    queue: mpsc::Sender<Message>,
    commits: Histogram,
    task: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Item(Box<dyn Item>),
    Stop,
}

impl Writer {
    /// Starts the task on its own connection; at most `group` items share a commit.
    pub(super) fn start(db: SqliteConnection, group: usize, health: Health) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let commits = Histogram::new(COMMIT_ITEMS);
        let task = tokio::spawn(work(db, waiting, group.max(1), (commits.clone(), health)));
        Self {
            queue,
            commits,
            task: Mutex::new(Some(task)),
        }
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
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T, E> + Send + 'static,
    {
        self.run_many(write, 1, work).await
    }

    /// As [`Writer::run`], for work that is `writes` writes.
    ///
    /// # Errors
    /// As [`Writer::run`].
    pub(super) async fn run_many<T, E, F>(&self, write: Write, writes: usize, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: Failure,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T, E> + Send + 'static,
    {
        let answer = self.enqueue(write, writes, work).await?;
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
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T, E> + Send + 'static,
    {
        self.enqueue(write, 1, work).await
    }

    async fn enqueue<T, E, F>(
        &self,
        write: Write,
        writes: usize,
        work: F,
    ) -> Result<oneshot::Receiver<Result<T, E>>, Error>
    where
        T: Send + 'static,
        E: Failure,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T, E> + Send + 'static,
    {
        let (answer, receiver) = oneshot::channel();
        let item = Waiting {
            write,
            writes,
            work: Some(work),
            result: None,
            answer,
        };
        self.queue
            .send(Message::Item(Box::new(item)))
            .await
            .map_err(|_| Error::Stopping)?;
        Ok(receiver)
    }

    /// How many items shared each commit.
    pub(super) fn commit_sizes(&self) -> Histogram {
        self.commits.clone()
    }

    /// How many items wait.
    pub(super) fn queued(&self) -> usize {
        self.queue.max_capacity().saturating_sub(self.queue.capacity())
    }

    /// Whether the task takes work.
    pub(super) fn is_open(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Writes what is queued, moves the write-ahead log into the database, and closes. What comes later
    /// is refused.
    pub(super) async fn stop(&self) {
        self.queue.send(Message::Stop).await.ok();
        if let Some(task) = self.task.lock().await.take() {
            task.await.ok();
        }
    }
}

/// What an item may fail with.
pub(crate) trait Failure: From<Error> + Send + 'static {
    /// What is wrong with the database, if it is that.
    fn database_fault(&self) -> Option<DatabaseFault>;
}

impl Failure for Error {
    fn database_fault(&self) -> Option<DatabaseFault> {
        Self::database_fault(self)
    }
}

impl Failure for Refusal {
    fn database_fault(&self) -> Option<DatabaseFault> {
        match self {
            Self::Failed(error) | Self::Unavailable(error) => error.database_fault(),
            _ => None,
        }
    }
}

/// One item, whatever it returns.
trait Item: Send {
    /// Does the work; true if it is to be kept.
    fn run<'c>(&'c mut self, db: &'c mut SqliteConnection)
    -> Pin<Box<dyn Future<Output = bool> + Send + 'c>>;
    /// Hands the result to whoever waits; with a fault, nothing of the group is in the database.
    fn answer(self: Box<Self>, fault: Option<DatabaseFault>);
    /// Which write it is.
    fn write(&self) -> Write;
    /// How many writes it is.
    fn writes(&self) -> usize;
    /// The fault of the disk that the work met.
    fn fault(&self) -> Option<DatabaseFault>;
}

struct Waiting<F, T, E> {
    write: Write,
    writes: usize,
    work: Option<F>,
    result: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Item for Waiting<F, T, E>
where
    T: Send,
    E: Failure,
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T, E> + Send,
{
    fn run<'c>(
        &'c mut self,
        db: &'c mut SqliteConnection,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'c>> {
        Box::pin(async move {
            if let Some(work) = self.work.take() {
                self.result = Some(work(db).await);
            }
            matches!(self.result, Some(Ok(_)))
        })
    }

    fn answer(self: Box<Self>, fault: Option<DatabaseFault>) {
        let result = match (self.result, fault) {
            (Some(result), None) => result,
            // A refusal as well: it may rest on what a neighbour wrote that is not there now.
            (_, fault) => Err(Error::NotCommitted(fault.unwrap_or(DatabaseFault::Other)).into()),
        };
        // Nobody waits if the client has gone; the work is done all the same.
        self.answer.send(result).ok();
    }

    fn write(&self) -> Write {
        self.write
    }

    fn writes(&self) -> usize {
        self.writes
    }

    fn fault(&self) -> Option<DatabaseFault> {
        let failed = self.result.as_ref()?.as_ref().err()?;
        failed.database_fault().filter(|fault| fault.is_of_the_disk())
    }
}

async fn work(
    mut db: SqliteConnection,
    mut waiting: mpsc::Receiver<Message>,
    group: usize,
    (commits, health): (Histogram, Health),
) {
    let mut batch = Vec::with_capacity(group);
    while waiting.recv_many(&mut batch, group).await > 0 {
        let mut items = Vec::with_capacity(batch.len());
        for message in batch.drain(..) {
            match message {
                Message::Item(item) => items.push(item),
                // What is in the queue by now is still written; nothing new enters.
                Message::Stop => waiting.close(),
            }
        }
        if !items.is_empty() {
            let writes: usize = items.iter().map(|item| item.writes()).sum();
            commits.observe(f64::from(u32::try_from(writes).unwrap_or(u32::MAX)));
            write_group(&mut db, items, &health).await;
        }
    }
    reach(Point::Checkpoint(Side::Before));
    if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut db)
        .await
    {
        tracing::warn!(error = %error, "the write-ahead log could not be moved into the database");
    }
    reach(Point::Checkpoint(Side::After));
    db.close().await.ok();
}

async fn write_group(db: &mut SqliteConnection, mut items: Vec<Box<dyn Item>>, health: &Health) {
    let committed = commit(db, &mut items, health).await;
    // What an item met says more than what came of it: SQLite may have ended the transaction by itself.
    let met = items.iter().find_map(|item| item.fault());
    let fault = match committed {
        Ok(()) => None,
        Err((fault, error)) => {
            // Fails where SQLite has rolled back by itself, which is as good.
            sqlx::query("ROLLBACK").execute(&mut *db).await.ok();
            let fault = met.unwrap_or(fault);
            let writes: Vec<_> = items.iter().map(|item| item.write()).collect();
            tracing::error!(%fault, error, hint = fault.hint(), ?writes, "a group of writes was not committed");
            Some(fault)
        }
    };
    health.wrote(fault.or(met));
    items.into_iter().for_each(|item| item.answer(fault));
}

async fn commit(
    db: &mut SqliteConnection,
    items: &mut [Box<dyn Item>],
    health: &Health,
) -> Result<(), (DatabaseFault, String)> {
    if health.is_gone() {
        return Err((DatabaseFault::Gone, String::new()));
    }
    reached(items, Moment::Before);
    let committed = match items {
        [item] => commit_one(db, item).await,
        items => commit_many(db, items).await,
    };
    committed.map_err(|error| (DatabaseFault::of(&error), error.to_string()))
}

/// One item alone needs no savepoint: what is refused with it is all there is.
async fn commit_one(db: &mut SqliteConnection, item: &mut Box<dyn Item>) -> Result<(), sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *db).await?;
    if !item.run(db).await {
        sqlx::query("ROLLBACK").execute(&mut *db).await?;
        return Ok(());
    }
    let write = item.write();
    reach(Point::Write(write, Moment::Within));
    reach(Point::Write(write, Moment::Complete));
    sqlx::query("COMMIT").execute(&mut *db).await?;
    reach(Point::Write(write, Moment::Committed));
    Ok(())
}

async fn commit_many(db: &mut SqliteConnection, items: &mut [Box<dyn Item>]) -> Result<(), sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE; SAVEPOINT item")
        .execute(&mut *db)
        .await?;
    for item in items.iter_mut() {
        let kept = item.run(db).await;
        let next = if kept {
            reach(Point::Write(item.write(), Moment::Within));
            "RELEASE item; SAVEPOINT item"
        } else {
            "ROLLBACK TO item"
        };
        sqlx::query(next).execute(&mut *db).await?;
    }
    reached(items, Moment::Complete);
    sqlx::query("RELEASE item; COMMIT").execute(&mut *db).await?;
    reached(items, Moment::Committed);
    Ok(())
}

fn reached(items: &[Box<dyn Item>], moment: Moment) {
    reach_each(items.iter().map(|item| Point::Write(item.write(), moment)));
}

/// Upper bounds of the sizes that are told apart.
const COMMIT_ITEMS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Items that may wait; whoever comes later waits to enter the queue.
const QUEUE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    async fn table() -> (tempfile::TempDir, Writer, sqlx::SqlitePool) {
        let dir = tempfile::tempdir().unwrap();
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(dir.path().join("test.db"))
            .create_if_missing(true)
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
        let mut db = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")
            .execute(&mut db)
            .await
            .unwrap();
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        (dir, Writer::start(db, 8, Health::default()), pool)
    }

    async fn put(writer: &Writer, number: i64) -> oneshot::Receiver<Result<(), Error>> {
        let work = writer.submit(Write::Act, move |db| {
            Box::pin(async move {
                sqlx::query("INSERT INTO numbers VALUES (?1 + 1000)")
                    .bind(number)
                    .execute(&mut *db)
                    .await?;
                sqlx::query("INSERT INTO numbers VALUES (?1)")
                    .bind(number)
                    .execute(&mut *db)
                    .await?;
                Ok(())
            })
        });
        work.await.unwrap()
    }

    async fn numbers(pool: &sqlx::SqlitePool) -> Vec<i64> {
        let all = sqlx::query_scalar("SELECT number FROM numbers WHERE number < 1000 ORDER BY number");
        all.fetch_all(pool).await.unwrap()
    }

    #[tokio::test]
    async fn one_refused_item_does_not_lose_the_others() {
        let (_dir, writer, pool) = table().await;
        let mut answers = Vec::new();
        for number in [1, 2, 1, 3] {
            answers.push(put(&writer, number).await);
        }
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
            Box::pin(async move {
                sqlx::query("INSERT INTO numbers VALUES (3)").execute(db).await?;
                Err::<(), _>(Error::Stopping)
            })
        });
        assert!(matches!(half.await, Err(Error::Stopping)));
        assert_eq!(numbers(&pool).await, [1, 2]);
    }

    #[tokio::test]
    async fn stopping_writes_what_is_queued_and_refuses_the_rest() {
        let (_dir, writer, pool) = table().await;
        let queued = put(&writer, 7).await;
        writer.stop().await;
        assert!(queued.await.unwrap().is_ok());
        assert_eq!(numbers(&pool).await, [7]);
        let refused: Result<(), Error> = writer.run(Write::Act, |_| Box::pin(async { Ok(()) })).await;
        assert!(matches!(refused, Err(Error::Stopping)));
    }

    #[tokio::test]
    async fn a_refusal_counts_only_if_its_group_does() {
        let (_dir, writer, pool) = table().await;
        let doomed = writer.submit(Write::Act, |db| {
            Box::pin(async move {
                // Broken when the group commits, not before.
                sqlx::raw_sql(
                    "PRAGMA defer_foreign_keys = ON;
                     CREATE TABLE references_ (number INTEGER REFERENCES numbers (number));
                     INSERT INTO references_ VALUES (404);
                     INSERT INTO numbers VALUES (5)",
                )
                .execute(&mut *db)
                .await?;
                Ok::<_, Error>(())
            })
        });
        let doomed = doomed.await.unwrap();
        // Refused for the neighbour's row, which will never have been.
        let refused = put(&writer, 5).await;
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
        let died: Result<(), Error> = writer
            .run(Write::Act, |_| Box::pin(async { panic!("ends the task") }))
            .await;
        assert!(died.is_err());
        assert!(!writer.is_open());
    }
}
