//! Why an exchange key did not do its operation.

use core::fmt;

use keyward_crypto::{
    CryptoError,
    exchange::{Algorithm, MAX_AAD, MAX_MESSAGE, MAX_WRAPPED, MIN_WRAPPED, Operation},
};

use crate::ids::Kid;

/// Why an exchange key did not do its operation. What depends on a secret is [`ExchangeError::Failed`], and no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// the key is for another operation.
    #[error("the key is to {permitted}, and does not {asked}")]
    WrongOperation {
        /// The one operation that it permits.
        permitted: Operation,
        /// What was asked of it.
        asked: Operation,
    },
    /// the key has a context, and the additional data does not equal it.
    #[error("the additional data is not the context of the key")]
    WrongContext,
    /// as many messages were encrypted with the key as is safe with random nonces.
    #[error("the key has encrypted as many messages as it may")]
    MessagesUsedUp,
    /// V-035: the result is of a version that is not here.
    #[error(
        "it was made with version {made_with} of the key, and here is {}",
        Versions(held)
    )]
    UnknownVersion {
        /// What the result says.
        made_with: u32,
        /// What there is, newest first.
        held: Vec<u32>,
    },
    /// V-035: the result is too short to begin with a version.
    #[error("it is too short for a result")]
    NotAResult,
    /// V-035: what should be a stream does not begin as one.
    #[error("it is not a stream of this version: {0}")]
    NotAStream(&'static str),
    /// V-035: the result does not open or verify. Wrong key, wrong additional data, or altered.
    #[error("{}", failed(*.0))]
    Failed(Operation),
    /// Additional data where the algorithm takes none.
    #[error("{0} takes no additional data")]
    NoAdditionalData(Algorithm),
    /// More additional data than is taken.
    #[error("the additional data is longer than {MAX_AAD} bytes")]
    LongAdditionalData,
    /// A message in memory that is too large.
    #[error("the message is longer than {MAX_MESSAGE} bytes")]
    LongMessage,
    /// A stream that is too large.
    #[error("the stream is longer than one may be")]
    LongStream,
    /// A key to be wrapped of a length that is not wrapped.
    #[error("a key to wrap has {MIN_WRAPPED} to {MAX_WRAPPED} bytes, a multiple of 8")]
    WrapLength,
    /// The algorithm needs the whole message.
    #[error("{0} needs the whole message and has no streams")]
    NotStreamed(Algorithm),
    /// The algorithm needs room.
    #[error("{0} does not encrypt in place")]
    NotInPlace(Algorithm),
    /// What was handed in is not what the operation takes.
    #[error("to {} takes {}", .0, takes(*.0))]
    WrongInput(Operation),
    /// The license holds no exchange key of this id.
    #[error("the license holds no exchange key {kid}")]
    NotInLicense {
        /// Key id.
        kid: Kid,
    },
    /// V-034: a key is not one of its algorithm and operation.
    #[error("the key is not one of its algorithm")]
    MalformedKey,
    /// Versions that are not those of one key.
    #[error("these are not the versions of one key, newest first")]
    NotARing,
    /// The cryptographic library failed; a bug or a broken machine.
    #[error(transparent)]
    Crypto(CryptoError),
}

impl ExchangeError {
    /// What to do next, for people.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::WrongOperation { .. } => {
                "ask for a key of that operation; the license server has the mirror operation"
            }
            Self::WrongContext => "give the context of the key as additional data, byte for byte",
            Self::MessagesUsedUp => "ask the operator for a new version of the key",
            Self::UnknownVersion { .. } => {
                "acquire the license again, which may hold that version; the license server reads old versions"
            }
            Self::NotAResult | Self::NotAStream(_) => {
                "check that it is whole, and whether it was made as a message or as a stream"
            }
            Self::Failed(_) => {
                "check that it is unaltered, of this key, and given with the same additional data"
            }
            Self::NoAdditionalData(_) => "leave the additional data out, or use a GCM key",
            Self::LongAdditionalData => "give a digest of it as additional data",
            Self::LongMessage => "use a stream",
            Self::LongStream => "divide the data among several streams",
            Self::WrapLength => "encrypt other data than keys with a GCM key",
            Self::NotStreamed(_) => "hand in the message whole; of large data sign a digest",
            Self::NotInPlace(_) => "encrypt into a buffer of its own",
            Self::WrongInput(_) => "hand in what the operation takes, and nothing else",
            Self::NotInLicense { .. } => "ask for a key id that the license names",
            Self::MalformedKey | Self::NotARing | Self::Crypto(_) => "report it to who makes this software",
        }
    }

    /// whether the key was used before the call failed, so that the use counts. What is refused before the
    /// key is touched is no use.
    #[must_use]
    pub const fn is_use(&self) -> bool {
        matches!(
            self,
            Self::Failed(_) | Self::NotAStream(_) | Self::LongStream | Self::Crypto(_)
        )
    }

    /// What a failure of the primitive means in this operation.
    pub(super) const fn of(error: CryptoError, operation: Operation) -> Self {
        match error {
            CryptoError::NotOpened | CryptoError::BadSignature => Self::Failed(operation),
            CryptoError::MalformedStream(why) => Self::NotAStream(why),
            CryptoError::WrongLength(_) => Self::WrapLength,
            other => Self::Crypto(other),
        }
    }
}

/// Keys are made of their bytes before they are in a ring.
impl From<CryptoError> for ExchangeError {
    fn from(error: CryptoError) -> Self {
        match error {
            CryptoError::MalformedKey(_) => Self::MalformedKey,
            other => Self::Crypto(other),
        }
    }
}

const fn failed(operation: Operation) -> &'static str {
    match operation {
        Operation::Verify => "it does not verify",
        Operation::Unwrap => "it does not unwrap",
        _ => "it does not decrypt",
    }
}

const fn takes(operation: Operation) -> &'static str {
    match operation {
        Operation::Encrypt => "a plaintext, and additional data",
        Operation::Decrypt => "a result, and additional data",
        Operation::Sign => "a message, and nothing else",
        Operation::Verify => "a message and the result of signing it",
        Operation::Wrap => "a key, and nothing else",
        Operation::Unwrap => "a result, and nothing else",
    }
}

struct Versions<'a>(&'a [u32]);

impl fmt::Display for Versions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [one] => write!(f, "version {one}"),
            [] => f.write_str("no version"),
            [first, rest @ ..] => {
                write!(f, "versions {first}")?;
                rest.iter().try_for_each(|version| write!(f, ", {version}"))
            }
        }
    }
}
