//! Mirror operations on large data, piece by piece, in flat memory.
//!
//! A stream stands in the database before it puts anything out, and its end is noted before its last bytes leave. One
//! that is dropped before its end is noted as aborted.

use keyward_crypto::exchange::Operation;
use keyward_license::ids::Kid;

use super::{
    Caller, KeyState, PerformFault, UseOutcome, Verification,
    engine::{Engine, Streaming},
    perform::Call,
    value,
};
use crate::{
    Error, Server,
    store::exchange::{ExchangeKeyRow, StreamEnd, StreamVerdict, UseBasis, UseVerdict},
};

/// What is done with a stream of data. Only the mirror operation of the key is done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamRequest {
    /// For clients that decrypt streams. Additional data are empty, but with AES-GCM.
    Encrypt {
        /// Additional data.
        aad: Vec<u8>,
    },
    /// The stream that a client encrypted.
    Decrypt {
        /// Additional data, as they were.
        aad: Vec<u8>,
    },
    /// For clients that verify.
    Sign,
    /// What a client signed.
    Verify {
        /// What the client's operation put out.
        signature: Vec<u8>,
    },
}

impl StreamRequest {
    /// What is to be done.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Encrypt { .. } => Operation::Encrypt,
            Self::Decrypt { .. } => Operation::Decrypt,
            Self::Sign => Operation::Sign,
            Self::Verify { .. } => Operation::Verify,
        }
    }
}

/// What a stream came to at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamOutput {
    /// Everything was put out. Data that were decrypted with AES-GCM are whole only now.
    Data,
    /// The signature of the whole, for a client to verify.
    Signature(Vec<u8>),
    /// Whether a client made the signature over the whole.
    Verified(Verification),
}

/// A mirror operation in progress.
#[derive(Debug)]
pub struct ExchangeStream {
    streaming: Option<Streaming>,
    ending: Ending,
}

impl Server {
    /// Begins the mirror operation of an exchange key on a stream of data: AES-GCM (in chunks, each verified before it
    /// is put out), AES-CBC and AES-CTR (not authenticated), HMAC, ESP256. The stream stands in the database before
    /// this returns.
    ///
    /// # Errors
    /// Those of [`Server::exchange_perform`], [`Error::NotTheMirror`], and [`Error::NotPerformed`] for an algorithm
    /// that is not for streams and for additional data that cannot be.
    pub async fn exchange_stream(
        &self,
        caller: &Caller,
        kid: Kid,
        request: StreamRequest,
    ) -> Result<ExchangeStream, Error> {
        let call = Call {
            caller,
            kid,
            items: 1,
            bytes: 0,
        };
        for _ in 0..ATTEMPTS {
            let key = self.usable_key(&call).await?;
            let begun = self.begin(&key, &request);
            let streaming = match begun {
                Ok(streaming) => streaming,
                Err(error) => {
                    let failed = (UseOutcome::Failed, UseBasis::Nothing);
                    let used = call.record(&key, None, 1, failed)?;
                    self.store().record_use(used, self.inner().clock.now()).await?;
                    let metrics = &self.inner().metrics;
                    metrics.exchanged(value::operation(key.operation)?.mirror(), "failed", 1);
                    return Err(error);
                }
            };
            // A stream is one message.
            let gcm = value::algorithm(&key)?.takes_aad() && request.operation() == Operation::Encrypt;
            let rests = UseBasis::Key {
                revision: key.revision,
                messages: gcm.then_some((key.newest(), 1)),
            };
            let used = call.record(&key, streaming.version(), 0, (UseOutcome::Begun, rests))?;
            match self.store().record_use(used, self.inner().clock.now()).await? {
                UseVerdict::Recorded(id) => {
                    let version = streaming.version();
                    return Ok(ExchangeStream {
                        streaming: Some(streaming),
                        ending: Ending {
                            server: self.clone(),
                            kid,
                            operation: request.operation(),
                            end: StreamEnd {
                                id,
                                version,
                                bytes: 0,
                                outcome: UseOutcome::Aborted,
                            },
                            is_noted: false,
                        },
                    });
                }
                UseVerdict::Spent => return Err(Error::ExchangeKeySpent(kid)),
                UseVerdict::Changed => {}
            }
        }
        Err(Error::ExchangeKeyBusy(kid))
    }

    fn begin(&self, key: &ExchangeKeyRow, request: &StreamRequest) -> Result<Streaming, Error> {
        let mirror = value::operation(key.operation)?.mirror();
        if request.operation() != mirror {
            return Err(Error::NotTheMirror {
                kid: key.kid,
                asked: request.operation().name(),
                mirror: mirror.name(),
            });
        }
        let engine = Engine::new(key, &self.vault().kek())?;
        let fault = |fault| Error::NotPerformed { kid: key.kid, fault };
        engine.stream(request).map_err(fault)
    }
}

/// How often a stream begins again whose key was changed meanwhile.
const ATTEMPTS: usize = 8;

impl ExchangeStream {
    /// Takes the next piece of the data, of any length, and appends what is ready to `output`. It is flat in memory
    /// if pieces are small; a hundred kilobytes are enough.
    ///
    /// # Errors
    /// [`Error::NotPerformed`]: the stream is over, and what was put out of a decryption is not the whole.
    pub async fn update(&mut self, piece: &[u8], output: &mut Vec<u8>) -> Result<(), Error> {
        let Some(streaming) = &mut self.streaming else {
            return Err(self.failed(PerformFault::NotVerified));
        };
        self.ending.add(piece.len());
        let updated = streaming.update(piece, output);
        self.ending.end.version = streaming.version();
        match updated {
            Ok(()) => Ok(()),
            Err(fault) => {
                self.streaming = None;
                self.ending.note(UseOutcome::Failed).await?;
                Err(self.failed(fault))
            }
        }
    }

    /// Ends the data: appends the rest of what is put out to `output`, and says what the stream came to.
    ///
    /// # Errors
    /// [`Error::NotPerformed`]: what was put out of a decryption is not the whole. [`Error::ExchangeKeyDisabled`] and
    /// [`Error::ExchangeKeyDestroyed`] if the key went out of use meanwhile, or a failure of the database: then
    /// nothing is appended.
    pub async fn finish(mut self, output: &mut Vec<u8>) -> Result<StreamOutput, Error> {
        let Some(streaming) = self.streaming.take() else {
            return Err(self.failed(PerformFault::NotVerified));
        };
        let before = output.len();
        match streaming.finish(output) {
            Ok(done) => {
                if let Err(error) = self.ending.note(UseOutcome::Done).await {
                    output.truncate(before);
                    return Err(error);
                }
                let label = match done {
                    StreamOutput::Verified(Verification::Invalid) => "invalid",
                    _ => "ok",
                };
                self.ending.count(label);
                Ok(done)
            }
            Err(fault) => {
                self.ending.note(UseOutcome::Failed).await?;
                Err(self.failed(fault))
            }
        }
    }

    const fn failed(&self, fault: PerformFault) -> Error {
        let kid = self.ending.kid;
        Error::NotPerformed { kid, fault }
    }
}

/// The end of a stream, which is noted once.
struct Ending {
    server: Server,
    kid: Kid,
    operation: Operation,
    end: StreamEnd,
    is_noted: bool,
}

impl core::fmt::Debug for Ending {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Ending")
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Ending {
    fn add(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.end.bytes = self.end.bytes.saturating_add(bytes);
    }

    /// Notes an end. A good one there is with a key in use alone.
    async fn note(&mut self, outcome: UseOutcome) -> Result<(), Error> {
        self.is_noted = true;
        if outcome == UseOutcome::Failed {
            self.count("failed");
        }
        let end = StreamEnd { outcome, ..self.end };
        let refusal = match self.server.store().end_stream(end).await? {
            StreamVerdict::Noted => return Ok(()),
            StreamVerdict::OutOfUse(KeyState::Destroyed) => Error::ExchangeKeyDestroyed(self.kid),
            StreamVerdict::OutOfUse(_) => Error::ExchangeKeyDisabled(self.kid),
        };
        self.count("aborted");
        Err(refusal)
    }

    fn count(&self, outcome: &'static str) {
        let metrics = &self.server.inner().metrics;
        metrics.exchanged(self.operation, outcome, 1);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if self.is_noted {
            return;
        }
        self.count("aborted");
        // Nobody waits for it. Without a runtime it stays begun, which says as much.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (server, end) = (self.server.clone(), self.end);
            runtime.spawn(async move {
                if let Err(error) = server.store().end_stream(end).await {
                    tracing::warn!(error = %error, "the end of a stream could not be noted");
                }
            });
        }
    }
}
