//! The mirror operation, with the key that the operator keeps. Each use is recorded before its result leaves.

use clap::Args;
use keyward_crypto::{SecretBytes, exchange::Algorithm};
use keyward_license::ids::Kid;
use keyward_server::{
    Error,
    key_exchange::{Item, MAX_CALL_BYTES, Output, PerformFault, StreamOutput, StreamRequest, Verification},
};
use serde_json::json;

use crate::{
    args::OfOperator,
    exchange::{self, Job, Keyholder, Pieces, Task},
    failure::Failure,
    operator::{Operator, Streaming},
    report::Report,
};

pub(super) fn run<T: Args>(
    args: OfOperator<T>,
    job: impl FnOnce(T) -> Result<Job, Failure>,
    report: Report,
) -> Result<(), Failure> {
    let (kid, job) = (args.kid, job(args.task)?);
    let operator = Operator::open(&args.operator)?;
    let key = operator.exchange_key(kid)?;
    let (algorithm, operation, mirror) = (key.algorithm, job.task.operation(), key.operation.mirror());
    if operation != mirror {
        let (asked, mirror) = (operation.name(), mirror.name());
        return Err(Error::NotTheMirror { kid, asked, mirror }.into());
    }
    if let Some(warning) = exchange::warning(algorithm, operation) {
        report.note(&warning);
    }
    let (input, output) = (job.input.clone(), job.output.clone());
    job.perform(&mut Kept {
        operator,
        kid,
        algorithm,
    })?;
    let mut said = json!({
        "kid": kid.to_string(),
        "algorithm": algorithm.name(),
        "operation": operation.name(),
        "input": input.display().to_string(),
    });
    exchange::tell((kid, output), &mut said, report)
}

/// A key that the operator keeps.
struct Kept {
    operator: Operator,
    kid: Kid,
    algorithm: Algorithm,
}

impl Keyholder for Kept {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn most_at_once(&self) -> usize {
        MAX_CALL_BYTES
    }

    fn at_once(&mut self, task: &Task, data: &[u8]) -> Result<SecretBytes, Failure> {
        let output = self.operator.exchange(self.kid, item(task, data))?;
        match output.map_err(|fault| self.fault(task, fault))? {
            Output::Encrypted(result) | Output::Signed(result) | Output::Wrapped(result) => {
                Ok(SecretBytes::new(result))
            }
            Output::Decrypted(data) | Output::Unwrapped(data) => Ok(data),
            Output::Verified(verification) => verified(verification).map(|()| SecretBytes::new(Vec::new())),
        }
    }

    fn in_pieces<'k>(&'k mut self, task: &Task) -> Result<Box<dyn Pieces + 'k>, Failure> {
        let request = request(task).ok_or_else(|| self.fault(task, PerformFault::NotStreamed))?;
        match self.operator.exchange_stream(self.kid, request) {
            Ok(streaming) => Ok(Box::new(Flowing(streaming))),
            Err(Error::NotPerformed { fault, .. }) => Err(self.fault(task, fault)),
            Err(other) => Err(other.into()),
        }
    }
}

impl Kept {
    fn fault(&self, task: &Task, fault: PerformFault) -> Failure {
        match (task, fault) {
            // What is no result at all is no signature of the key either.
            (Task::Verify { .. }, PerformFault::Malformed | PerformFault::NotVerified) => {
                exchange::not_a_signature()
            }
            (Task::Encrypt(_) | Task::Decrypt(_), PerformFault::TooLarge) => {
                Failure::new(fault, "use `--stream`, on both sides")
            }
            _ => Error::NotPerformed { kid: self.kid, fault }.into(),
        }
    }
}

fn item(task: &Task, data: &[u8]) -> Item {
    let (bytes, secret) = (|| data.to_vec(), || SecretBytes::new(data.to_vec()));
    match task {
        Task::Encrypt(cipher) => Item::Encrypt {
            data: secret(),
            aad: cipher.aad.clone(),
        },
        Task::Decrypt(cipher) => Item::Decrypt {
            result: bytes(),
            aad: cipher.aad.clone(),
        },
        Task::Sign => Item::Sign { data: bytes() },
        Task::Verify { signature } => Item::Verify {
            data: bytes(),
            signature: signature.clone(),
        },
        Task::Wrap => Item::Wrap { key: secret() },
        Task::Unwrap => Item::Unwrap { result: bytes() },
    }
}

/// The same for data that come in pieces, which keys to wrap do not.
fn request(task: &Task) -> Option<StreamRequest> {
    Some(match task {
        Task::Encrypt(cipher) => StreamRequest::Encrypt {
            aad: cipher.aad.clone(),
        },
        Task::Decrypt(cipher) => StreamRequest::Decrypt {
            aad: cipher.aad.clone(),
        },
        Task::Sign => StreamRequest::Sign,
        Task::Verify { signature } => StreamRequest::Verify {
            signature: signature.clone(),
        },
        Task::Wrap | Task::Unwrap => return None,
    })
}

/// Data on their way.
struct Flowing<'o>(Streaming<'o>);

impl Pieces for Flowing<'_> {
    fn update(&mut self, piece: &[u8], output: &mut Vec<u8>) -> Result<(), Failure> {
        Ok(self.0.update(piece, output)?)
    }

    fn finish(self: Box<Self>, output: &mut Vec<u8>) -> Result<(), Failure> {
        match self.0.finish(output)? {
            StreamOutput::Data => Ok(()),
            StreamOutput::Signature(signature) => {
                output.extend(signature);
                Ok(())
            }
            StreamOutput::Verified(verification) => verified(verification),
            other => Err(Failure::new(
                format!("the license server put out {other:?}"),
                "report it to who makes this software",
            )),
        }
    }
}

fn verified(verification: Verification) -> Result<(), Failure> {
    if verification.is_valid() {
        Ok(())
    } else {
        Err(exchange::not_a_signature())
    }
}
