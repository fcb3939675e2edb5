//! `keyward key-exchange …`: a device's operation on the application's own data, under a license for it.

use std::rc::Rc;

use getrandom::SysRng;
use keyward_client::{
    acquire::Wanted,
    key_exchange::{
        DecryptStream, Decryptor, EncryptStream, Encryptor, PerformError, Prepared, SignStream, Signer,
        Unwrapper, Verifier, VerifyStream, Wrapper,
    },
    session::Acquisition,
};
use keyward_client_native::{Clock, NativeClient, NativeError, SystemClock};
use keyward_crypto::{
    SecretBytes,
    exchange::{Algorithm, MAX_MESSAGE, Operation},
};
use keyward_license::{
    ids::{Kid, LicenseId},
    key_exchange::ExchangeError,
    time::Timestamp,
};
use rand_core::UnwrapErr;
use serde_json::json;

use crate::{
    args::{KeyExchangeCommand, OfDevice},
    client::Watcher,
    exchange::{self, Job, Keyholder, Pieces, Task},
    failure::Failure,
    report::{self, Report},
};

pub(crate) fn run(command: KeyExchangeCommand, report: Report) -> Result<(), Failure> {
    match command {
        KeyExchangeCommand::Encrypt(args) => perform(args, Job::encrypt, report),
        KeyExchangeCommand::Decrypt(args) => perform(args, Job::decrypt, report),
        KeyExchangeCommand::Sign(args) => perform(args, |data| Job::data(data, Task::Sign), report),
        KeyExchangeCommand::Verify(args) => perform(args, Job::verify, report),
        KeyExchangeCommand::Wrap(args) => perform(args, |data| Job::data(data, Task::Wrap), report),
        KeyExchangeCommand::Unwrap(args) => perform(args, |data| Job::data(data, Task::Unwrap), report),
    }
}

/// Prepares the key, performs, and closes it. The store is open only for the first and the last, so that other
/// programs can use it while data come and go.
fn perform<T: clap::Args>(
    args: OfDevice<T>,
    job: impl FnOnce(T) -> Result<Job, Failure>,
    report: Report,
) -> Result<(), Failure> {
    let job = job(args.task)?;
    if args.authorization.is_on_stdin() && job.takes_stdin {
        return Err(exchange::two_on_stdin());
    }
    let asked = Asked {
        kid: args.kid,
        algorithm: args.algorithm,
        wanted: Wanted {
            kids: vec![args.kid],
            license_url: args.server,
            authorization: args.authorization.token()?,
            ..Wanted::default()
        },
        acquisition: if args.offline {
            Acquisition::Never
        } else {
            Acquisition::Reactive
        },
    };
    let watcher = Watcher::of(args.client)?;
    let key = Key::prepare(&mut watcher.open()?, job.task.operation(), asked)?;
    let about = key.about();
    about.note(report);
    let (input, output) = (job.input.clone(), job.output.clone());
    let mut device = Device {
        key,
        clock: watcher.clock(),
    };
    let performed = job.perform(&mut device);
    let closed = watcher
        .open()
        .and_then(|mut client| Ok(device.key.close(&mut client)?));
    performed?;
    if let Err(failure) = closed {
        report.note(&format!("uses that were not made are not given back: {failure}"));
    }
    let mut said = json!({
        "kid": about.kid.to_string(),
        "algorithm": about.algorithm.name(),
        "operation": about.operation.name(),
        "license": about.license.to_string(),
        "input": input.display().to_string(),
    });
    exchange::tell((about.kid, output), &mut said, report)
}

/// What is asked of the client.
struct Asked {
    kid: Kid,
    algorithm: Option<Algorithm>,
    wanted: Wanted,
    acquisition: Acquisition,
}

/// A prepared key, whatever it is for.
enum Key {
    Encrypt(Encryptor),
    Decrypt(Decryptor),
    Sign(Signer),
    Verify(Verifier),
    Wrap(Wrapper),
    Unwrap(Unwrapper),
}

impl Key {
    fn prepare(client: &mut NativeClient, operation: Operation, asked: Asked) -> Result<Self, NativeError> {
        let Asked {
            kid,
            algorithm,
            wanted,
            acquisition,
        } = asked;
        Ok(match operation {
            Operation::Encrypt => {
                Self::Encrypt(client.prepare_encryptor(kid, algorithm, wanted, acquisition)?)
            }
            Operation::Decrypt => {
                Self::Decrypt(client.prepare_decryptor(kid, algorithm, wanted, acquisition)?)
            }
            Operation::Sign => Self::Sign(client.prepare_signer(kid, algorithm, wanted, acquisition)?),
            Operation::Verify => {
                Self::Verify(client.prepare_verifier(kid, algorithm, wanted, acquisition)?)
            }
            Operation::Wrap => Self::Wrap(client.prepare_wrapper(kid, algorithm, wanted, acquisition)?),
            Operation::Unwrap => {
                Self::Unwrap(client.prepare_unwrapper(kid, algorithm, wanted, acquisition)?)
            }
        })
    }

    fn about(&self) -> About {
        match self {
            Self::Encrypt(key) => About::of(key),
            Self::Decrypt(key) => About::of(key),
            Self::Sign(key) => About::of(key),
            Self::Verify(key) => About::of(key),
            Self::Wrap(key) => About::of(key),
            Self::Unwrap(key) => About::of(key),
        }
    }

    fn close(self, client: &mut NativeClient) -> Result<(), NativeError> {
        match self {
            Self::Encrypt(key) => client.close(key),
            Self::Decrypt(key) => client.close(key),
            Self::Sign(key) => client.close(key),
            Self::Verify(key) => client.close(key),
            Self::Wrap(key) => client.close(key),
            Self::Unwrap(key) => client.close(key),
        }
    }
}

/// What is said of a prepared key.
struct About {
    kid: Kid,
    algorithm: Algorithm,
    operation: Operation,
    license: LicenseId,
    until: Option<Timestamp>,
    is_in_grace: bool,
}

impl About {
    fn of<T>(key: &Prepared<T>) -> Self {
        Self {
            kid: key.kid(),
            algorithm: key.algorithm(),
            operation: key.operation(),
            license: key.license(),
            until: key.until(),
            is_in_grace: key.is_in_grace(),
        }
    }

    fn note(&self, report: Report) {
        report.note(&format!(
            "license {}, {}",
            self.license,
            report::until(self.until)
        ));
        if self.is_in_grace {
            report.note("the license has ended and is in its grace period (R-013)");
        }
        if let Some(warning) = exchange::warning(self.algorithm, self.operation) {
            report.note(&warning);
        }
    }
}

/// The device, with the key that its license released and the clock by which every call is judged.
struct Device {
    key: Key,
    clock: Rc<SystemClock>,
}

impl Keyholder for Device {
    fn algorithm(&self) -> Algorithm {
        self.key.about().algorithm
    }

    fn most_at_once(&self) -> usize {
        // With what a result has beyond its message.
        MAX_MESSAGE.saturating_add(64)
    }

    fn at_once(&mut self, task: &Task, data: &[u8]) -> Result<SecretBytes, Failure> {
        let (moment, rng) = (self.clock.moment(), &mut UnwrapErr(SysRng));
        let result = match (&self.key, task) {
            (Key::Encrypt(key), Task::Encrypt(cipher)) => key.encrypt(moment, &cipher.aad, data, rng),
            (Key::Decrypt(key), Task::Decrypt(cipher)) => {
                return Ok(key.decrypt(moment, &cipher.aad, data)?);
            }
            (Key::Sign(key), Task::Sign) => key.sign(moment, data),
            (Key::Verify(key), Task::Verify { signature }) => {
                key.verify(moment, data, signature).map_err(verify_failure)?;
                Ok(Vec::new())
            }
            (Key::Wrap(key), Task::Wrap) => key.wrap(moment, data),
            (Key::Unwrap(key), Task::Unwrap) => return Ok(key.unwrap(moment, data)?),
            _ => return Err(self.wrong(task)),
        };
        Ok(SecretBytes::new(result?))
    }

    fn in_pieces<'k>(&'k mut self, task: &Task) -> Result<Box<dyn Pieces + 'k>, Failure> {
        let (moment, rng) = (self.clock.moment(), &mut UnwrapErr(SysRng));
        let stream = match (&self.key, task) {
            (Key::Encrypt(key), Task::Encrypt(cipher)) => {
                Stream::Encrypt(key.stream(moment, &cipher.aad, rng)?)
            }
            (Key::Decrypt(key), Task::Decrypt(cipher)) => Stream::Decrypt(key.stream(moment, &cipher.aad)?),
            (Key::Sign(key), Task::Sign) => Stream::Sign(key.stream(moment)?),
            (Key::Verify(key), Task::Verify { signature }) => {
                Stream::Verify(key.stream(moment, signature).map_err(verify_failure)?)
            }
            _ => return Err(self.wrong(task)),
        };
        Ok(Box::new(Streaming {
            stream,
            clock: &self.clock,
        }))
    }
}

impl Device {
    /// The key was prepared for the task, so this does not come to pass.
    fn wrong(&self, task: &Task) -> Failure {
        let (permitted, asked) = (self.key.about().operation, task.operation());
        PerformError::from(ExchangeError::WrongOperation { permitted, asked }).into()
    }
}

/// Data on their way.
struct Streaming<'k> {
    stream: Stream<'k>,
    clock: &'k SystemClock,
}

enum Stream<'k> {
    Encrypt(EncryptStream<'k>),
    Decrypt(DecryptStream<'k>),
    Sign(SignStream<'k>),
    Verify(VerifyStream<'k>),
}

impl Pieces for Streaming<'_> {
    fn update(&mut self, piece: &[u8], output: &mut Vec<u8>) -> Result<(), Failure> {
        let moment = self.clock.moment();
        let updated = match &mut self.stream {
            Stream::Encrypt(stream) => stream.update(moment, piece, output),
            Stream::Decrypt(stream) => stream.update(moment, piece, output),
            Stream::Sign(stream) => stream.update(moment, piece),
            Stream::Verify(stream) => stream.update(moment, piece),
        };
        Ok(updated?)
    }

    fn finish(self: Box<Self>, output: &mut Vec<u8>) -> Result<(), Failure> {
        let moment = self.clock.moment();
        match self.stream {
            Stream::Encrypt(stream) => stream.finish(moment, output)?,
            Stream::Decrypt(stream) => stream.finish(moment, output)?,
            Stream::Sign(stream) => output.extend(stream.finish(moment)?),
            Stream::Verify(stream) => stream.finish(moment).map_err(verify_failure)?,
        }
        Ok(())
    }
}

/// What is no result of the key at all is no signature of it either.
fn verify_failure(error: PerformError) -> Failure {
    match error {
        PerformError::Exchange(ExchangeError::Failed(_) | ExchangeError::NotAResult) => {
            exchange::not_a_signature()
        }
        other => other.into(),
    }
}
