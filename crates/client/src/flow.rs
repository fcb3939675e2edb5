//! The sans-I/O step machine: flows are written as plain `async` code and driven by hand.
//!
//! A [`Flow`] yields one [`Step`] at a time (read records, commit a batch, send bytes, wait); the host
//! carries it out in its own way (a database, IndexedDB, callbacks of a C program) and resumes the flow
//! with the [`Reply`]. There is no runtime, no thread and no clock inside: the host brings the time with
//! every reply. A host that cannot carry out a step drops the flow; nothing that was not committed has
//! happened then, because plaintext and key use come only after the commit was confirmed.

use core::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, Waker},
};
use std::rc::Rc;

pub use keyward_license::carrier::{Answer, MAX_ANSWER, Outgoing};
use keyward_license::time::Timestamp;

use crate::{
    ClientError,
    store::{Batch, RecordKey},
};

/// What a flow wants its host to do.
#[derive(Debug)]
pub enum Step {
    /// Read these records; reply with [`Reply::Records`], one entry a key in the same order.
    Get(Vec<RecordKey>),
    /// Carry out the batch atomically and durably, then reply with [`Reply::Committed`].
    Commit(Batch),
    /// Send the bytes and reply with [`Reply::Answer`], or with [`Reply::ComeAgain`].
    Send(Outgoing),
    /// Let so many milliseconds pass, and reply with [`Reply::Waited`]: a license server wants to be asked again
    /// later. A host that cannot wait drops the flow.
    Wait(u64),
}

/// What the host did.
#[derive(Debug)]
pub enum Reply {
    /// The first call, when no step has been asked for yet.
    Start,
    /// The records asked for; `None` where there is none.
    Records(Vec<Option<Vec<u8>>>),
    /// The batch is durable.
    Committed,
    /// The other side's answer.
    Answer(Answer),
    /// The other side's answer, and after how many seconds it says to come again (`Retry-After`, RFC 9110, 10.2.3).
    ComeAgain(Answer, u64),
    /// The time has passed.
    Waited,
}

impl Reply {
    /// The other side's answer, with what it said of coming again, if anything.
    #[must_use]
    pub fn answered(answer: Answer, retry_after: Option<u64>) -> Self {
        match retry_after {
            Some(seconds) => Self::ComeAgain(answer, seconds),
            None => Self::Answer(answer),
        }
    }
}

/// The time as the host reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The operating system's clock, UTC; `None` if it was never set.
    pub utc: Option<Timestamp>,
    /// Milliseconds of a clock that never steps, from any origin, and that counts while the machine sleeps: measures
    /// round trips, and what has passed since a server told the time or content was opened.
    pub monotonic: u64,
}

/// How far a flow has come.
#[derive(Debug)]
pub enum Progress<T> {
    /// The host must carry out this step and resume.
    Step(Step),
    /// The flow has ended.
    Done(Result<T, ClientError>),
}

type Running<'a, T> = Pin<Box<dyn Future<Output = Result<T, ClientError>> + 'a>>;

/// A running flow.
pub struct Flow<'a, T> {
    /// None once the flow has ended: a future must not be polled again then.
    future: Option<Running<'a, T>>,
    port: Rc<RefCell<Port>>,
}

impl<'a, T> Flow<'a, T> {
    /// Starts a flow; nothing runs before the first [`Flow::resume`].
    pub(crate) fn new<F>(start: impl FnOnce(Io) -> F) -> Self
    where
        F: Future<Output = Result<T, ClientError>> + 'a,
    {
        let port = Rc::new(RefCell::new(Port::default()));
        Self {
            future: Some(Box::pin(start(Io(Rc::clone(&port))))),
            port,
        }
    }

    /// Runs until the next step or the end. The first reply is [`Reply::Start`]. A flow that has ended
    /// answers [`ClientError::HostOutOfStep`].
    pub fn resume(&mut self, reply: Reply, moment: Moment) -> Progress<T> {
        {
            let mut port = self.port.borrow_mut();
            port.moment = Some(moment);
            port.reply = match reply {
                Reply::Start => None,
                other => Some(other),
            };
        }
        let Some(mut future) = self.future.take() else {
            return Progress::Done(Err(ClientError::HostOutOfStep));
        };
        // The future only ever waits for a reply, which the next `resume` brings: no waker is needed.
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Progress::Done(result),
            Poll::Pending => match self.port.borrow_mut().step.take() {
                Some(step) => {
                    self.future = Some(future);
                    Progress::Step(step)
                }
                None => Progress::Done(Err(ClientError::HostOutOfStep)),
            },
        }
    }
}

impl<T> core::fmt::Debug for Flow<'_, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Flow").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Port {
    step: Option<Step>,
    reply: Option<Reply>,
    moment: Option<Moment>,
}

/// A flow's side of the port.
#[derive(Clone)]
pub(crate) struct Io(Rc<RefCell<Port>>);

impl Io {
    pub(crate) async fn get(&self, keys: Vec<RecordKey>) -> Result<Vec<Option<Vec<u8>>>, ClientError> {
        let asked = keys.len();
        match self.step(Step::Get(keys)).await {
            Reply::Records(records) if records.len() == asked => Ok(records),
            _ => Err(ClientError::HostOutOfStep),
        }
    }

    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), ClientError> {
        match self.step(Step::Commit(batch)).await {
            Reply::Committed => Ok(()),
            _ => Err(ClientError::HostOutOfStep),
        }
    }

    /// The answer, and after how many seconds its sender says to come again.
    pub(crate) async fn send(&self, outgoing: Outgoing) -> Result<(Answer, Option<u64>), ClientError> {
        match self.step(Step::Send(outgoing)).await {
            Reply::Answer(answer) => Ok((answer, None)),
            Reply::ComeAgain(answer, seconds) => Ok((answer, Some(seconds))),
            _ => Err(ClientError::HostOutOfStep),
        }
    }

    pub(crate) async fn wait(&self, milliseconds: u64) -> Result<(), ClientError> {
        match self.step(Step::Wait(milliseconds)).await {
            Reply::Waited => Ok(()),
            _ => Err(ClientError::HostOutOfStep),
        }
    }

    /// The time that came with the latest reply.
    pub(crate) fn moment(&self) -> Moment {
        self.0.borrow().moment.unwrap_or(Moment {
            utc: None,
            monotonic: 0,
        })
    }

    async fn step(&self, step: Step) -> Reply {
        self.0.borrow_mut().step = Some(step);
        poll_fn(|_| {
            self.0
                .borrow_mut()
                .reply
                .take()
                .map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
