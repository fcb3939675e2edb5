//! What is written in a commit: items, each with its answer.

use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    super::{issuance, lookup::KnownPolicies},
    Recorded,
};
use crate::{
    Error, Refusal,
    error::DatabaseFault,
    fail_points::Write,
    store::{Recording, Verdict},
};

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
pub(super) trait Item: Send {
    /// Does the work; true if it is to be kept.
    fn run(&mut self, db: &Connection, known: &KnownPolicies) -> bool;
    /// Hands the result to whoever waits; with a fault, nothing of the group is in the database.
    fn answer(self: Box<Self>, fault: Option<DatabaseFault>);
    /// Which write it is.
    fn write(&self) -> Write;
    /// How many writes it is.
    fn writes(&self) -> usize;
    /// The fault of the disk that the work met.
    fn fault(&self) -> Option<DatabaseFault>;
}

pub(super) struct Waiting<F, T, E> {
    pub(super) write: Write,
    pub(super) work: Option<F>,
    pub(super) result: Option<Result<T, E>>,
    pub(super) answer: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Item for Waiting<F, T, E>
where
    T: Send,
    E: Failure,
    F: FnOnce(&Connection) -> Result<T, E> + Send,
{
    fn run(&mut self, db: &Connection, _: &KnownPolicies) -> bool {
        if let Some(work) = self.work.take() {
            self.result = Some(work(db));
        }
        matches!(self.result, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, fault: Option<DatabaseFault>) {
        // Nobody waits if the client has gone; the work is done all the same.
        self.answer.send(committed(self.result, fault)).ok();
    }

    fn write(&self) -> Write {
        self.write
    }

    fn writes(&self) -> usize {
        1
    }

    fn fault(&self) -> Option<DatabaseFault> {
        fault_of_the_disk(self.result.as_ref())
    }
}

/// The answers to license requests that wait together: one item, whose refusals take nothing from each other.
#[derive(Default)]
pub(super) struct Recordings {
    recordings: Vec<Recording>,
    answers: Vec<oneshot::Sender<Result<(Recording, Verdict), Error>>>,
    result: Option<Result<Vec<Verdict>, Error>>,
}

impl Item for Recordings {
    fn run(&mut self, db: &Connection, known: &KnownPolicies) -> bool {
        let result = issuance::record(db, &self.recordings, known);
        self.result.insert(result).is_ok()
    }

    fn answer(self: Box<Self>, fault: Option<DatabaseFault>) {
        let answered = self.answers.into_iter().zip(self.recordings);
        match committed(self.result, fault) {
            Ok(verdicts) => answered
                .zip(verdicts)
                .for_each(|((answer, recording), verdict)| drop(answer.send(Ok((recording, verdict))))),
            Err(error) => {
                let error = Arc::new(error);
                answered.for_each(|(answer, _)| drop(answer.send(Err(Error::of_batch(&error)))));
            }
        }
    }

    fn write(&self) -> Write {
        Write::License
    }

    fn writes(&self) -> usize {
        self.recordings.len()
    }

    fn fault(&self) -> Option<DatabaseFault> {
        fault_of_the_disk(self.result.as_ref())
    }
}

fn committed<T, E: Failure>(result: Option<Result<T, E>>, fault: Option<DatabaseFault>) -> Result<T, E> {
    match (result, fault) {
        (Some(result), None) => result,
        // A refusal as well: it may rest on what a neighbour wrote that is not there now.
        (_, fault) => Err(Error::NotCommitted(fault.unwrap_or(DatabaseFault::Other)).into()),
    }
}

fn fault_of_the_disk<T, E: Failure>(result: Option<&Result<T, E>>) -> Option<DatabaseFault> {
    let failed = result?.as_ref().err()?;
    failed.database_fault().filter(|fault| fault.is_of_the_disk())
}

impl Recordings {
    pub(super) fn push(&mut self, (recording, answer): Recorded) {
        self.recordings.push(recording);
        self.answers.push(answer);
    }
}
