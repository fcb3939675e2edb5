//! Questions that wait at the same time are answered together.
//!
//! ```text
//!  request ─┐
//!  request ─┼─► queue ─► task: all that wait ─► one call ─► each its answer
//!  request ─┘
//! ```
//! Every statement is carried to the database's own thread and back, which costs several times what the
//! statement does. While one batch is away, the next one gathers, and before one leaves, all who are ready to
//! run get their turn: the busier the server, the larger the batches, and a server that is not busy makes nobody
//! wait.

use core::future::Future;
use std::sync::Arc;

use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::{JoinHandle, yield_now},
};

use crate::Error;

/// The way to the task that answers `Q` with `A`.
pub(super) struct Batches<Q, A> {
    queue: mpsc::Sender<Message<Q, A>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

type Reply<Q, A> = oneshot::Sender<Result<(Q, A), Error>>;

enum Message<Q, A> {
    Ask(Q, Reply<Q, A>),
    Stop,
}

impl<Q, A> Batches<Q, A>
where
    Q: Send + Sync + 'static,
    A: Send + 'static,
{
    /// Starts the task. `answer` gets at most `most` questions and returns one answer each, in their order.
    pub(super) fn start<F, R>(most: usize, answer: F) -> Self
    where
        F: Fn(Arc<Vec<Q>>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Vec<A>, Error>> + Send + 'static,
    {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let task = tokio::spawn(work(waiting, most.max(1), answer));
        Self {
            queue,
            task: Mutex::new(Some(task)),
        }
    }

    /// Asks, and gets the question back with its answer.
    ///
    /// If the caller stops waiting, the work is done all the same.
    ///
    /// # Errors
    /// What the batch failed with; [`Error::Stopping`].
    pub(super) async fn ask(&self, question: Q) -> Result<(Q, A), Error> {
        let (reply, answer) = oneshot::channel();
        let asked = self.queue.send(Message::Ask(question, reply)).await;
        asked.map_err(|_| Error::Stopping)?;
        answer.await.map_err(|_| Error::Stopping)?
    }

    /// How many wait.
    pub(super) fn queued(&self) -> usize {
        self.queue.max_capacity().saturating_sub(self.queue.capacity())
    }

    /// Whether the task takes work.
    pub(super) fn is_open(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Answers what is queued. What comes later is refused.
    pub(super) async fn stop(&self) {
        self.queue.send(Message::Stop).await.ok();
        if let Some(task) = self.task.lock().await.take() {
            task.await.ok();
        }
    }
}

async fn work<Q, A, F, R>(mut waiting: mpsc::Receiver<Message<Q, A>>, most: usize, answer: F)
where
    F: Fn(Arc<Vec<Q>>) -> R,
    R: Future<Output = Result<Vec<A>, Error>>,
{
    let mut batch = Vec::with_capacity(most);
    while let Some(first) = waiting.recv().await {
        // Who asks first would be alone otherwise: it wakes this task, which runs before all others.
        yield_now().await;
        batch.push(first);
        while batch.len() < most
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        let (mut questions, mut replies) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for message in batch.drain(..) {
            match message {
                Message::Ask(question, reply) => {
                    questions.push(question);
                    replies.push(reply);
                }
                // What is in the queue by now is still answered; nothing new enters.
                Message::Stop => waiting.close(),
            }
        }
        if !questions.is_empty() {
            let questions = Arc::new(questions);
            let answers = answer(Arc::clone(&questions)).await;
            reply(replies, questions, answers);
        }
    }
}

fn reply<Q, A>(replies: Vec<Reply<Q, A>>, questions: Arc<Vec<Q>>, answers: Result<Vec<A>, Error>) {
    let whole = Arc::into_inner(questions)
        .ok_or(Error::Damaged("a batch is still in use"))
        .and_then(|questions| Ok((questions, answers?)));
    match whole {
        // Nobody waits if the client has gone.
        Ok((questions, answers)) => replies
            .into_iter()
            .zip(questions.into_iter().zip(answers))
            .for_each(|(reply, answered)| drop(reply.send(Ok(answered)))),
        Err(error) => {
            let error = Arc::new(error);
            for reply in replies {
                reply.send(Err(Error::of_batch(&error))).ok();
            }
        }
    }
}

/// Questions that may wait; whoever comes later waits to enter the queue.
const QUEUE: usize = 1024;

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_waits_together_is_answered_together_and_each_gets_its_own() {
        let batches = Arc::new(Batches::start(8, |questions: Arc<Vec<u32>>| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let size = questions.len();
            Ok(questions.iter().map(|question| (question * 2, size)).collect())
        }));
        let asked: Vec<_> = (0..20)
            .map(|question| {
                let batches = Arc::clone(&batches);
                tokio::spawn(async move { batches.ask(question).await.unwrap() })
            })
            .collect();
        let mut largest = 0;
        for (number, task) in (0..).zip(asked) {
            let (question, (answer, size)) = task.await.unwrap();
            assert_eq!((question, answer), (number, number * 2));
            largest = largest.max(size);
        }
        assert_eq!(largest, 8, "no batch is larger than it may be");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn who_is_ready_to_ask_is_in_the_first_batch() {
        let sizes = tokio::spawn(async {
            let batches = Arc::new(Batches::start(8, |questions: Arc<Vec<u32>>| async move {
                Ok(vec![questions.len(); questions.len()])
            }));
            yield_now().await;
            let asked: Vec<_> = (0..3)
                .map(|question| {
                    let batches = Arc::clone(&batches);
                    tokio::spawn(async move { batches.ask(question).await.unwrap().1 })
                })
                .collect();
            let mut sizes = Vec::new();
            for task in asked {
                sizes.push(task.await.unwrap());
            }
            sizes
        });
        assert_eq!(sizes.await.unwrap(), [3, 3, 3]);
    }

    #[tokio::test]
    async fn a_batch_that_fails_fails_for_all_in_it() {
        let batches = Batches::start(8, |_: Arc<Vec<u32>>| async {
            Err::<Vec<u32>, _>(Error::Damaged("broken"))
        });
        let (one, other) = tokio::join!(batches.ask(1), batches.ask(2));
        for failed in [one, other] {
            assert_eq!(failed.unwrap_err().to_string(), "the database is damaged: broken");
        }
        let stopping = Batches::start(8, |_: Arc<Vec<u32>>| async {
            Err::<Vec<u32>, _>(Error::Stopping)
        });
        assert!(matches!(stopping.ask(1).await, Err(Error::Stopping)));
    }

    #[tokio::test]
    async fn stopping_answers_what_is_queued_and_refuses_the_rest() {
        let batches = Arc::new(Batches::start(1, |questions: Arc<Vec<u32>>| async move {
            yield_now().await;
            Ok(questions.to_vec())
        }));
        let waiting = tokio::spawn({
            let batches = Arc::clone(&batches);
            async move { batches.ask(7).await }
        });
        yield_now().await;
        assert!(batches.is_open());
        batches.stop().await;
        assert_eq!(waiting.await.unwrap().unwrap(), (7, 7));
        assert!(!batches.is_open());
        assert!(matches!(batches.ask(8).await, Err(Error::Stopping)));
    }
}
