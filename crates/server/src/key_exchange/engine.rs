//! One exchange key at its mirror operation: the newest version where it produces, every accepted one where it
//! consumes.

use keyward_crypto::exchange::Operation;
use keyward_license::key_exchange::{
    self as ring, ExchangeError, Input, Performer, Ring, StreamDecryptor, StreamEncryptor, StreamSigner,
    StreamVerifier, VERSION_LEN,
};

use super::{Item, ItemResult, Output, PerformFault, StreamOutput, StreamRequest, Verification, value};
use crate::{Error, chance::rng, sealing::KeyEncryptionKey, store::exchange::ExchangeKeyRow};

/// The handle of one key, wiped when it is dropped.
pub(super) struct Engine(Performer);

impl Engine {
    /// Opens the versions of a key that its mirror operation needs.
    pub(super) fn new(key: &ExchangeKeyRow, kek: &KeyEncryptionKey) -> Result<Self, Error> {
        let mirror = value::operation(key.operation)?.mirror();
        let accepted = key
            .versions
            .iter()
            .filter(|version| version.sealed.is_some() && version.version >= key.minimum_version)
            .take(if mirror.produces() { 1 } else { usize::MAX });
        let mut versions = Vec::new();
        for version in accepted {
            let material = value::open(kek, key, version)?.material(mirror)?;
            versions.push((version.version, material));
        }
        let ring = Ring::new(key.kid, key.context.clone(), versions);
        let performer = ring.and_then(Performer::new);
        performer
            .map(Self)
            .map_err(|_| Error::Damaged("the versions of an exchange key are not those of one key"))
    }

    /// Performs an item.
    pub(super) fn perform(&self, item: &Item) -> ItemResult {
        let operation = item.operation();
        if operation != self.0.about().operation {
            return Err(PerformFault::WrongOperation);
        }
        match (operation, self.0.perform(&input(item), &mut rng())) {
            (Operation::Encrypt, Ok(ring::Output::Result(result))) => Ok(Output::Encrypted(result)),
            (Operation::Sign, Ok(ring::Output::Result(result))) => Ok(Output::Signed(result)),
            (Operation::Wrap, Ok(ring::Output::Result(result))) => Ok(Output::Wrapped(result)),
            (Operation::Decrypt, Ok(ring::Output::Secret(data))) => Ok(Output::Decrypted(data)),
            (Operation::Unwrap, Ok(ring::Output::Secret(key))) => Ok(Output::Unwrapped(key)),
            (Operation::Verify, Ok(ring::Output::Verified)) => Ok(Output::Verified(Verification::Valid)),
            (Operation::Verify, Err(ExchangeError::Failed(_))) => Ok(Output::Verified(Verification::Invalid)),
            (_, Err(error)) => Err(fault(&error)),
            (_, Ok(_)) => Err(PerformFault::Failed),
        }
    }

    /// Begins a stream.
    pub(super) fn stream(self, request: &StreamRequest) -> Result<Streaming, PerformFault> {
        let newest = self.0.about().versions.first().copied();
        let begun = match (self.0, request) {
            (Performer::Encryptor(key), StreamRequest::Encrypt { aad }) => key
                .stream(aad, &mut rng())
                .map(|stream| (newest, State::Encrypt(stream))),
            (Performer::Decryptor(key), StreamRequest::Decrypt { aad }) => key.stream(aad).map(|stream| {
                let begun = Vec::with_capacity(VERSION_LEN);
                (None, State::Decrypt(stream, begun))
            }),
            (Performer::Signer(key), StreamRequest::Sign) => {
                key.stream().map(|stream| (newest, State::Sign(stream)))
            }
            (Performer::Verifier(key), StreamRequest::Verify { signature }) => key
                .stream(signature)
                .map(|stream| (version_of(signature), State::Verify(stream))),
            _ => return Err(PerformFault::WrongOperation),
        };
        let (version, state) = begun.map_err(|error| fault(&error))?;
        Ok(Streaming { version, state })
    }
}

/// An item as its operation takes it.
fn input(item: &Item) -> Input<'_> {
    let (data, aad, signature): (&[u8], &[u8], _) = match item {
        Item::Encrypt { data, aad } => (data.expose(), aad, None),
        Item::Decrypt { result, aad } => (result, aad, None),
        Item::Sign { data } => (data, &[], None),
        Item::Verify { data, signature } => (data, &[], Some(&signature[..])),
        Item::Wrap { key } => (key.expose(), &[], None),
        Item::Unwrap { result } => (result, &[], None),
    };
    Input { data, aad, signature }
}

/// The version that a result says made it.
pub(super) fn version_of(result: &[u8]) -> Option<u32> {
    let (version, _) = result.split_first_chunk::<VERSION_LEN>()?;
    Some(u32::from_be_bytes(*version))
}

/// What a caller is told of a failure: of one that depends on a secret, nothing more than that.
fn fault(error: &ExchangeError) -> PerformFault {
    match error {
        ExchangeError::WrongOperation { .. } | ExchangeError::WrongInput(_) => PerformFault::WrongOperation,
        ExchangeError::WrongContext => PerformFault::Context,
        ExchangeError::UnknownVersion { made_with, .. } => PerformFault::VersionRefused(*made_with),
        ExchangeError::NotAResult | ExchangeError::NotAStream(_) | ExchangeError::WrapLength => {
            PerformFault::Malformed
        }
        ExchangeError::Failed(_) => PerformFault::NotVerified,
        ExchangeError::NoAdditionalData(_) => PerformFault::AdditionalData,
        ExchangeError::LongAdditionalData | ExchangeError::LongMessage | ExchangeError::LongStream => {
            PerformFault::TooLarge
        }
        ExchangeError::NotStreamed(_) => PerformFault::NotStreamed,
        other => {
            tracing::error!(error = %other, "an exchange key could not be used");
            PerformFault::Failed
        }
    }
}

/// A stream in work.
pub(super) struct Streaming {
    version: Option<u32>,
    state: State,
}

enum State {
    Encrypt(StreamEncryptor),
    /// With as much of the version as has come.
    Decrypt(StreamDecryptor, Vec<u8>),
    Sign(StreamSigner),
    Verify(StreamVerifier),
}

impl Streaming {
    /// The version, once it is known.
    pub(super) const fn version(&self) -> Option<u32> {
        self.version
    }

    pub(super) fn update(&mut self, piece: &[u8], output: &mut Vec<u8>) -> Result<(), PerformFault> {
        let updated = match &mut self.state {
            State::Encrypt(stream) => stream.update(piece, output),
            State::Decrypt(stream, begun) => {
                let missing = VERSION_LEN.saturating_sub(begun.len());
                begun.extend(piece.iter().take(missing));
                self.version = version_of(begun);
                stream.update(piece, output)
            }
            State::Sign(stream) => stream.update(piece),
            State::Verify(stream) => stream.update(piece),
        };
        updated.map_err(|error| fault(&error))
    }

    pub(super) fn finish(self, output: &mut Vec<u8>) -> Result<StreamOutput, PerformFault> {
        let finished = match self.state {
            State::Encrypt(stream) => stream.finish(output).map(|()| StreamOutput::Data),
            State::Decrypt(stream, _) => stream.finish(output).map(|()| StreamOutput::Data),
            State::Sign(stream) => stream.finish().map(StreamOutput::Signature),
            State::Verify(stream) => match stream.finish() {
                Ok(()) => Ok(StreamOutput::Verified(Verification::Valid)),
                Err(ExchangeError::Failed(_)) => Ok(StreamOutput::Verified(Verification::Invalid)),
                Err(other) => Err(other),
            },
        };
        finished.map_err(|error| fault(&error))
    }
}

impl core::fmt::Debug for Streaming {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Streaming")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
