//! Operations of key exchange on files and pipes, whoever holds the key: a device under its license, or the operator.
//!
//! ```text
//!  Job: task, input, output ── perform ──►  in pieces, as large as may be      HMAC, ESP256, CBC, CTR; GCM with --stream
//!                                           at once, up to a bound             the rest
//! ```
//! The output appears when everything was performed, and not before, unless it is a pipe.

mod described;

use std::{
    fs::File,
    io::{self, ErrorKind, IsTerminal, Read, Write},
    path::{Path, PathBuf},
};

use keyward_crypto::{
    SecretBytes,
    exchange::{Algorithm, MAX_AAD, Operation},
};
use keyward_license::ids::Kid;
use keyward_packager::OutputSink;
use keyward_server::key_exchange::MAX_CALL_BYTES;
use serde_json::Value;
use zeroize::Zeroizing;

pub(crate) use described::Described;

use crate::{
    args::{CipherArgs, DataArgs, VerifyArgs},
    failure::{Failure, file_error},
    input,
    output::{FileSink, commit_error, differs},
    report::Report,
};

/// Most bytes that are encrypted or signed at once: what comes of them, with its additional data, is as much as the
/// license server takes in one call.
pub(crate) const MAX_AT_ONCE: usize = 7 << 20;
const _: () = assert!(
    MAX_AT_ONCE + MAX_AAD + 1024 <= MAX_CALL_BYTES,
    "what one side produces the other side consumes"
);

/// Bytes that are taken at a time where data go in pieces.
const PIECE: usize = 256 * 1024;

/// Whoever has the key, and performs.
pub(crate) trait Keyholder {
    /// The algorithm of the key.
    fn algorithm(&self) -> Algorithm;

    /// Most bytes that it takes at once.
    fn most_at_once(&self) -> usize;

    /// Performs on the whole data; there is nothing to put out of verifying.
    fn at_once(&mut self, task: &Task, data: &[u8]) -> Result<SecretBytes, Failure>;

    /// Begins to perform on data that come in pieces.
    fn in_pieces<'k>(&'k mut self, task: &Task) -> Result<Box<dyn Pieces + 'k>, Failure>;
}

/// An operation in progress.
pub(crate) trait Pieces {
    /// Takes a piece and appends what is ready.
    fn update(&mut self, piece: &[u8], output: &mut Vec<u8>) -> Result<(), Failure>;

    /// Appends the rest.
    fn finish(self: Box<Self>, output: &mut Vec<u8>) -> Result<(), Failure>;
}

/// What is to be done.
pub(crate) enum Task {
    Encrypt(Cipher),
    Decrypt(Cipher),
    Sign,
    Verify { signature: Vec<u8> },
    Wrap,
    Unwrap,
}

/// How data are encrypted or decrypted.
pub(crate) struct Cipher {
    pub(crate) aad: Vec<u8>,
    stream: bool,
}

impl Task {
    pub(crate) const fn operation(&self) -> Operation {
        match self {
            Self::Encrypt(_) => Operation::Encrypt,
            Self::Decrypt(_) => Operation::Decrypt,
            Self::Sign => Operation::Sign,
            Self::Verify { .. } => Operation::Verify,
            Self::Wrap => Operation::Wrap,
            Self::Unwrap => Operation::Unwrap,
        }
    }

    /// Only with GCM the result is another one in pieces, and so has to be asked for.
    const fn goes_in_pieces(&self, algorithm: Algorithm) -> bool {
        let is_same = !algorithm.takes_aad();
        match self {
            Self::Encrypt(cipher) | Self::Decrypt(cipher) => {
                algorithm.can_stream() && (is_same || cipher.stream)
            }
            Self::Sign | Self::Verify { .. } => algorithm.can_stream(),
            Self::Wrap | Self::Unwrap => false,
        }
    }
}

/// A task with its data.
pub(crate) struct Job {
    pub(crate) task: Task,
    pub(crate) input: PathBuf,
    /// Verifying puts nothing out.
    pub(crate) output: Option<PathBuf>,
    /// Whether something of it is on standard input.
    pub(crate) takes_stdin: bool,
    source: Box<dyn Read>,
    sink: Option<FileSink>,
}

impl Job {
    /// To encrypt.
    pub(crate) fn encrypt(args: CipherArgs) -> Result<Self, Failure> {
        Self::cipher(args, Task::Encrypt)
    }

    /// To decrypt.
    pub(crate) fn decrypt(args: CipherArgs) -> Result<Self, Failure> {
        Self::cipher(args, Task::Decrypt)
    }

    fn cipher(args: CipherArgs, task: fn(Cipher) -> Task) -> Result<Self, Failure> {
        let aad = match (&args.aad_file, args.aad) {
            (Some(file), _) => beside(&args.data.input, file)?,
            (None, text) => text.unwrap_or_default().into_bytes(),
        };
        let stream = args.stream;
        let takes_stdin = args.aad_file.as_deref().is_some_and(is_stdin);
        let mut job = Self::data(args.data, task(Cipher { aad, stream }))?;
        job.takes_stdin |= takes_stdin;
        Ok(job)
    }

    /// To sign, wrap or unwrap. An output that is refused is refused before anything is asked for it.
    pub(crate) fn data(args: DataArgs, task: Task) -> Result<Self, Failure> {
        if args.output == Path::new("-") && io::stdout().is_terminal() {
            return Err(Failure::new(
                "the result would go to the terminal",
                "name a file (`--output FILE`), or pipe the output",
            ));
        }
        differs(&args.input, &args.output)?;
        let source = open(&args.input)?;
        let sink = match task {
            // What comes out is a key.
            Task::Unwrap => FileSink::create_private(&args.output, args.force)?,
            _ => FileSink::create(&args.output, args.force)?,
        };
        Ok(Self {
            task,
            takes_stdin: is_stdin(&args.input),
            input: args.input,
            output: Some(args.output),
            source,
            sink: Some(sink),
        })
    }

    /// To verify.
    pub(crate) fn verify(args: VerifyArgs) -> Result<Self, Failure> {
        let signature = beside(&args.input, &args.signature)?;
        Ok(Self {
            task: Task::Verify { signature },
            takes_stdin: is_stdin(&args.input) || is_stdin(&args.signature),
            source: open(&args.input)?,
            input: args.input,
            output: None,
            sink: None,
        })
    }

    /// Performs, and makes the output appear.
    pub(crate) fn perform(mut self, key: &mut dyn Keyholder) -> Result<(), Failure> {
        let is_whole = if self.task.goes_in_pieces(key.algorithm()) {
            self.in_pieces(key)?
        } else {
            self.at_once(key)?
        };
        match (self.sink, self.output) {
            (Some(sink), Some(output)) if is_whole => sink.commit().map(drop).map_err(commit_error(&output)),
            _ => Ok(()),
        }
    }

    /// False if whoever reads the output has seen enough.
    fn in_pieces(&mut self, key: &mut dyn Keyholder) -> Result<bool, Failure> {
        let mut stream = key
            .in_pieces(&self.task)
            .map_err(|failure| self.failed(failure))?;
        let mut buffer = Zeroizing::new(vec![0; PIECE]);
        let mut ready = Zeroizing::new(Vec::new());
        loop {
            let length = match self.source.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.map_err(file_error("read", &self.input))?,
            };
            let Some(piece) = buffer.get(..length).filter(|piece| !piece.is_empty()) else {
                break;
            };
            stream
                .update(piece, &mut ready)
                .map_err(|failure| self.failed(failure))?;
            if !self.put(&ready)? {
                return Ok(false);
            }
            ready.clear();
        }
        stream
            .finish(&mut ready)
            .map_err(|failure| self.failed(failure))?;
        self.put(&ready)
    }

    /// The same.
    fn at_once(&mut self, key: &mut dyn Keyholder) -> Result<bool, Failure> {
        let most = match self.task {
            Task::Encrypt(_) | Task::Sign => MAX_AT_ONCE,
            _ => key.most_at_once(),
        };
        let data = self.read(most)?;
        let result = key.at_once(&self.task, data.expose());
        self.put(result.map_err(|failure| self.failed(failure))?.expose())
    }

    fn read(&mut self, most: usize) -> Result<SecretBytes, Failure> {
        let mut data = Vec::new();
        let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        let read = self.source.by_ref().take(bound).read_to_end(&mut data);
        read.map_err(file_error("read", &self.input))?;
        if data.len() > most {
            let hint = match self.task {
                Task::Encrypt(_) | Task::Decrypt(_) => "use `--stream`, on both sides",
                Task::Sign | Task::Verify { .. } => {
                    "sign a digest of the data, or take a key of ESP256 or HMAC"
                }
                Task::Wrap | Task::Unwrap => "encrypt other data than keys, with a key of AES-GCM",
            };
            let (doing, mebibytes) = (self.task.operation(), most >> 20);
            let why = format!("there are more than {mebibytes} MiB, too many to {doing} at once");
            return Err(self.failed(Failure::new(why, hint)));
        }
        Ok(SecretBytes::new(data))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        let Some(sink) = &mut self.sink else {
            return Ok(true);
        };
        match sink.write_all(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(file_error(
                "write",
                self.output.as_deref().unwrap_or(Path::new("-")),
            )(error)),
        }
    }

    fn failed(&self, failure: Failure) -> Failure {
        failure.context(format!(
            "cannot {} {}",
            self.task.operation(),
            self.input.display()
        ))
    }
}

/// That standard input is to be read for two things.
pub(crate) fn two_on_stdin() -> Failure {
    Failure::new(
        "standard input cannot be two things",
        "name a file for one of them",
    )
}

/// That a signature was not made by the key, or not over these bytes.
pub(crate) fn not_a_signature() -> Failure {
    Failure::new(
        "the signature is not of this key over these bytes",
        "check that both are unaltered, and that the signature is of this key",
    )
}

/// Says what was done: of an operation that puts data out only to programs, and only where the data are not in the
/// way.
pub(crate) fn tell(
    (kid, output): (Kid, Option<PathBuf>),
    said: &mut Value,
    report: Report,
) -> Result<(), Failure> {
    let Some(output) = output else {
        said["valid"] = true.into();
        return report.result(&format!("the signature is of key {kid} over these bytes"), said);
    };
    if !report.json || output == Path::new("-") {
        return Ok(());
    }
    said["output"] = output.display().to_string().into();
    report.result("", said)
}

/// What is said of a key whose results nothing authenticates.
pub(crate) fn warning(algorithm: Algorithm, operation: Operation) -> Option<String> {
    let is_cipher = matches!(operation, Operation::Encrypt | Operation::Decrypt);
    (is_cipher && !algorithm.is_authenticated()).then(|| {
        format!("nothing authenticates data in {algorithm}: whoever carries them can alter them unseen")
    })
}

fn open(path: &Path) -> Result<Box<dyn Read>, Failure> {
    if is_stdin(path) {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(path).map_err(file_error("read", path))?;
    Ok(Box::new(file))
}

/// Reads a small file that comes with the data.
fn beside(input: &Path, file: &Path) -> Result<Vec<u8>, Failure> {
    if is_stdin(input) && is_stdin(file) {
        return Err(two_on_stdin());
    }
    input::read(file)
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}
